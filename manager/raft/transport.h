// libraft's TCP transport, less patient: a connection on which data stays unacknowledged for TRANSPORT_DEAD_MS is given up,
// so that the library makes a new one. Without this a network that comes back after a partition finds connections that
// wait for the next of TCP's ever rarer retransmissions (RFC 6298 section 5.5), and elections take seconds.
// And without Nagle's algorithm, which libraft leaves on: together with delayed acknowledgements it held every tenth entry
// back for 40 ms.
// Threads: the loop's.
#pragma once

#include <raft/uv.h>
#include <uv.h>

#include "common/base/error.h"

#define TRANSPORT_DEAD_MS 1000
#define TRANSPORT_RETRY_MS 200 // between attempts to connect

struct transport {
	struct raft_uv_transport raft; // what the library is given
	int (*connect)(struct raft_uv_transport *t, struct raft_uv_connect *request, raft_id id, const char *address,
	               raft_uv_connect_cb on_connected); // libraft's own
};

// ERR_IO with the library's reason. transport_fini afterwards, when raft_io is closed.
NODISCARD int transport_init(struct transport *t, uv_loop_t *loop, struct error *err);
void transport_fini(struct transport *t);
