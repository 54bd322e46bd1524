// What a port has, taken in one gulp and sorted: the node's own frames, which are to go first, and the rest.
//
// Bursts are taken as long as the port gives full ones, so that under a flood an own frame is found behind up to
// GULP_MAX - 1 others and not when its burst's turn comes. What lies deeper in the port's ring waits, and what comes when that ring is
// full nobody sees but the port, which counts it (rx_missed).
// Threads: the worker.
#pragma once

#include <rte_mbuf.h>

#include "mux/core/pipeline.h"

#define GULP_BURST 32
#define GULP_MAX 256

struct gulp {
	uint16_t n_own;
	uint16_t n_rest;
	struct rte_mbuf *own[GULP_MAX];
	struct rte_mbuf *rest[GULP_MAX];
};

// Returns how many there are. skips_sent: AF_PACKET also gives what the kernel itself sends on the interface; that is freed.
uint32_t gulp_take(struct gulp *g, uint16_t port, const struct mux_settings *settings, bool skips_sent);
