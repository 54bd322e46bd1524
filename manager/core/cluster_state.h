// The managers' replicated state machine: what the cluster is configured to be, as a pure function of the commands that
// Raft has ordered. Every replica applies the same commands and comes to the same state, and to the same refusals.
//
//   command --rules_check_change--> refused (an error with the field, nothing changed)
//           `----------------------> store, indexes, change log; version + 1
//
// Deterministic: no clock, no randomness, no iteration in the order of memory. The store is the state; the indexes and the
// change log are derived from it and from the commands since, and are in no snapshot.
// Threads: one owner. Cost of a command: O(log n) per change, plus the size of the lists that it holds.
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "common/model/store.h"
#include "manager/core/addr_index.h"
#include "manager/core/change_log.h"

struct cluster_state {
	struct store store; // store.version counts the commands that changed something
	struct addr_index holders; // of a DIP: the VIPs that hold it
	struct addr_index attached; // of a host's name: the DIPs attached there
	struct change_log log;
};

struct apply_result {
	uint64_t version; // of the state, after the command
	bool is_changed; // false: everything that it asked for was so already
};

NODISCARD int cluster_state_init(struct cluster_state *s);
void cluster_state_fini(struct cluster_state *s);

// Applies all changes of a command in their order, each under the rules of manager/core/rules.h, or none of them. VIPs are
// moved out of `changes`. Refusals: ERR_INVALID, ERR_NOT_FOUND, ERR_CONFLICT, ERR_LIMIT, the same on every replica.
// ERR_NO_MEMORY: the state is no longer that of the other replicas; the program must end.
NODISCARD int cluster_state_apply(struct cluster_state *s, struct change_list *changes, struct apply_result *ret_result,
                                  struct error *err);

// Everything that a snapshot holds beside the version, in key order. ERR_NO_MEMORY.
NODISCARD int cluster_state_get_snapshot(const struct cluster_state *s, struct change_list *ret_objects);

// Becomes what a snapshot holds; VIPs are moved out of `objects`. ERR_NO_MEMORY: *s is as it was.
NODISCARD int cluster_state_restore(struct cluster_state *s, uint64_t version, struct change_list *objects);

// The i-th VIP that holds the DIP, in ascending order from 0; NULL after the last.
const struct vip_config *cluster_state_next_holder(const struct cluster_state *s, const struct ip_addr *dip,
                                                   uint32_t *i);

// The i-th DIP attached on the host, in ascending order from 0; NULL after the last.
const struct dip_info *cluster_state_next_attached(const struct cluster_state *s, const char *host, uint32_t *i);
