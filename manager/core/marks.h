// Marks other than drains of DIPs: the rules, and whom a mark concerns.
//
//   unhealthy   a DIP that is attached, in an endpoint that has a probe. Goes with the endpoint, the DIP's place in it, the
//               probe, and when the DIP is detached or attached on another host; stays when the probe is defined anew
//   host gone   of a known host; goes with it
//   mux drain   of a known mux, and one that is not drained must be left; goes with the mux
//
// Putting a mark that is there changes nothing. Deleting one that is not there is ERR_NOT_FOUND for a mux drain, which is an
// operator's; nothing for the others, which are the leader's own (rules_check_operators).
// Pure. Threads: as the state.
#pragma once

#include "manager/core/cluster_state.h"

NODISCARD int marks_check_change(const struct cluster_state *s, const struct change *c, struct error *err);

// The endpoint that an unhealthy mark of this key can be of now; NULL: none, and the mark may not be.
const struct endpoint *marks_lookup_endpoint(const struct store *store, const struct object_key *key);

// The index in store->unhealthy of the first mark of this DIP; the others follow it.
uint32_t marks_first_of_dip(const struct store *store, const struct ip_addr *dip);

// Appends the VIPs whose eligible DIPs depend on the mark of this key. ERR_NO_MEMORY.
struct addr_list;
NODISCARD int marks_list_vips(const struct cluster_state *s, const struct object_key *key, struct addr_list *vips);
