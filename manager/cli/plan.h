// What a change of the configuration would do, before it is made: computed here, from the leader's state and by the managers' own
// state machine, of which a copy makes the change.
//
//   refusals      are those of the managers, but for leases of SNAT ranges, which the state does not show here
//   buckets       of an endpoint that have another owner afterwards, by the tables of muxes and agents (bucket_moves.h)
//   connections   from the agents' counts of flows per DIP, which are of all VIPs and endpoints of the DIP together: `leaving` is the sum over
//                 the DIPs that get no new connections of the endpoint any more, an upper bound; `moved`, over those that stay, each one's
//                 count times the share of its buckets that it loses, an estimate. Null where an agent does not answer. All
//                 of them go on, for drain_s at least (docs/connection-survival.md), unless the endpoint goes
//
// A plan is a JSON document, which `-o json` prints, and from which the text is made:
//   { "version": 12, "create": 0, "change": 1, "delete": 0, "unchanged": 2,
//     "settings": [ FIELD, .. ] (only when they change),
//     "vips": [ { "vip": .., "tenant": .., "action": "create" | "change" | "delete", "fields": [ FIELD, .. ],
//                 "endpoints": [ { "name": .., "protocol": .., "port": N, "action": "add" | "change" | "remove" | "none", "fields": [ FIELD, .. ],
//                                  "dips": [ { "dip": .., "action": "add" | "change" | "remove", "fields": [ FIELD, .. ] }, .. ],
//                                  "buckets": N, "buckets_moved": N, "moved_percent": N.N,
//                                  "connections": { "leaving": N, "moved": N } | null }, .. ],
//                 "snat": { "add": [ DIP, .. ], "remove": [ DIP, .. ] }, "warnings": [ .., .. ] }, .. ] }
//   FIELD: { "field": .., "from": .., "to": .. }, with null where there is nothing
#pragma once

#include <jansson.h>

#include "manager/cli/client.h"

// *ret_after is what the state would be, for store_fini. Refusals as cluster_state_apply, ERR_NO_MEMORY. The changes stay the
// caller's.
NODISCARD int plan_apply(const struct store *before, const struct change_list *changes, uint64_t now_ms,
                         struct store *ret_after, struct error *err);

// `hosts`: what agents say; NULL: they were not asked. NULL when memory is short.
json_t *plan_make(const struct store *before, const struct store *after, const struct change_list *changes,
                  uint32_t n_unchanged, const struct node_list *hosts);

// Does the plan change anything?
bool plan_has_change(const json_t *plan);

void plan_print(const json_t *plan);
