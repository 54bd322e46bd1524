// The cluster's state as a machine that Raft replicates: decodes commands and snapshots, applies them, tells the server.
#pragma once

#include "manager/core/cluster_state.h"
#include "manager/raft/replica.h"

// What the replica hands back of a command, in the place of a version: the state's version after it, and whether anything changed.
static inline uint64_t machine_result(uint64_t version, bool is_changed)
{
	return version << 1 | is_changed;
}

static inline uint64_t machine_result_version(uint64_t result)
{
	return result >> 1;
}

static inline bool machine_result_is_changed(uint64_t result)
{
	return (result & 1) != 0;
}

struct machine {
	struct cluster_state state;
	// A command was carried out: objects or leases changed, or operations have outcomes.
	void (*on_applied)(const struct change_list *changes, const struct apply_result *result, void *user);
	void (*on_restored)(void *user); // everything may have changed
	void *user;
};

NODISCARD int machine_init(struct machine *m);
void machine_fini(struct machine *m);

// The callbacks for a replica; on_leadership is left to the caller.
struct replica_machine machine_callbacks(struct machine *m);
