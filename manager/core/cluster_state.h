// The managers' replicated state machine: what the cluster is configured to be, as a pure function of the commands that
// Raft has ordered. Every replica applies the same commands and comes to the same state, and to the same refusals.
//
//   a part of a transaction (staging.h) waits; with the commit all parts are one command
//   command: changes --rules_check_change--> refused (an error with the field, nothing changed)
//                    `----------------------> store, indexes, change log
//            then    marks that are of nothing vanish, generations begin (generations.h); version + 1 if anything changed
//            then    events: what the changes came to, then those that the leader saw; they make no version
//            then    VIPs that are others than before get a version (vip_versions.h)
//            then    leases are brought in line with what changed (snat_state_reconcile)
//            then    operations on leases, each with its outcome; lease version + 1 if any lease changed
//
// A command without changes, operations and events is there for its time: what has been kept long enough is dropped
// (generations_next_expire_ms says when there is something).
//
// Deterministic: no clock but the command's, no randomness, no iteration in the order of memory. The store, the
// leases, the events, the versions of VIPs and what is staged are the state; the indexes and the logs of changes are derived from it and from the commands since, and are in no snapshot.
// Threads: one owner. Cost of a command: O(log n) per change, plus the size of the lists that it holds, plus the SNAT DIPs of
// the VIPs that it touches.
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "common/model/command.h"
#include "common/model/store.h"
#include "manager/core/addr_index.h"
#include "manager/core/change_log.h"
#include "manager/core/endpoint_states.h"
#include "manager/core/events.h"
#include "manager/core/snat_outcome.h"
#include "manager/core/snat_state.h"
#include "manager/core/staging.h"
#include "manager/core/vip_versions.h"

struct cluster_state {
	struct store store; // store.version counts the commands that changed something
	struct addr_index holders; // of a DIP: the VIPs that hold it
	struct addr_index in_history; // of a DIP: the VIPs whose history has it
	struct addr_index attached; // of a host's name: the DIPs attached there
	struct addr_index vias; // of a `via`: the DIP that has it
	struct endpoint_states endpoint_states; // derived
	struct change_log log;
	struct snat_state snat;
	struct event_ring events;
	struct vip_versions versions;
	struct staged_list staged;
};

struct apply_result {
	uint64_t version; // of the state, after the command
	bool is_changed; // false: everything that it asked for was so already
	uint64_t lease_version; // after the command
	bool leases_changed;
	uint64_t event_seq; // of the last event, after the command
	struct snat_outcome_list outcomes; // one for each operation, in their order
};

void apply_result_fini(struct apply_result *r);

NODISCARD int cluster_state_init(struct cluster_state *s);
void cluster_state_fini(struct cluster_state *s);

// Applies all changes of a command in their order, each under the rules of manager/core/rules.h, or none of them; then its
// operations, unless the changes were refused. VIPs are moved out of the command; one that commits a transaction holds all of its
// changes afterwards, a part none. *ret_result is the caller's to finish on
// success only. Refusals: ERR_INVALID, ERR_NOT_FOUND, ERR_CONFLICT, ERR_LIMIT, the same on every replica.
// ERR_NO_MEMORY: the state is no longer that of the other replicas; the program must end.
NODISCARD int cluster_state_apply(struct cluster_state *s, struct state_command *command,
                                  struct apply_result *ret_result, struct error *err);

// Everything that is replicated, in an order of its own that is the same on every replica. ERR_NO_MEMORY.
NODISCARD int cluster_state_get_snapshot(const struct cluster_state *s, struct state_snapshot *ret_snapshot);

// Becomes what a snapshot holds; VIPs are moved out of it. ERR_NO_MEMORY: *s is as it was.
NODISCARD int cluster_state_restore(struct cluster_state *s, struct state_snapshot *snapshot);

// The i-th VIP that holds the DIP, in ascending order from 0; NULL after the last.
const struct vip_config *cluster_state_next_holder(const struct cluster_state *s, const struct ip_addr *dip,
                                                   uint32_t *i);

// The i-th history of a VIP that has the DIP in a generation, likewise; and whether that of this VIP has.
const struct vip_history *cluster_state_next_history(const struct cluster_state *s, const struct ip_addr *dip,
                                                     uint32_t *i);
bool cluster_state_history_has(const struct cluster_state *s, const struct ip_addr *vip, const struct ip_addr *dip);

// The i-th DIP attached on the host, in ascending order from 0; NULL after the last.
const struct dip_info *cluster_state_next_attached(const struct cluster_state *s, const char *host, uint32_t *i);

// The DIP whose packets are sent to this address of the other family; NULL: the address is no `via`.
const struct dip_info *cluster_state_lookup_via(const struct cluster_state *s, const struct ip_addr *via);

// The VIP from which the DIP's next request for ports would be served; when none of its VIPs has room, the first one. NULL: the
// DIP is in no `snat` list, or not attached.
const struct vip_config *cluster_state_snat_vip(const struct cluster_state *s, const struct ip_addr *dip);
