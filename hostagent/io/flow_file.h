// The flow table's memory: its entries in a file of state_dir, which a new process attaches to, its index beside them in
// anonymous memory, in one block of addresses (core/flow_table.h).
//
// A file that attach refuses is set aside as flows.damaged, with an event that says why, and the agent begins with an empty
// table. A file of a layout without IPv6 gets room for its addresses. A file of another capacity (max_flows was changed) is carried over. All memory is allocated here, at the start: a
// tmpfs that is too small is an error now, and not a SIGBUS later.
// Threads: open and close on the main one, before and after the data plane.
#pragma once

#include "common/base/mono.h"
#include "hostagent/core/flow_table.h"
#include "common/io/state_dir.h"

struct flow_file {
	void *map; // all that is mapped
	size_t map_bytes;
	bool is_restored; // attached to what another process left
};

// Gives the table for `capacity` flows of this host. `names`: of the process, which the calling thread gives. ERR_IO, ERR_NO_MEMORY.
NODISCARD int flow_file_open(struct flow_file *f, const struct state_dir *dir, const char *host, uint32_t capacity,
                             struct addr_names *names, struct mono_time now, struct flow_table *ret_table,
                             struct error *err);
void flow_file_close(struct flow_file *f);
