// The buffers of a worker's side frames (mux/core/side_frames.h): of fragments that wait, and spare ones. Threads: the worker;
// init and fini are the control thread's, while it does not run.
#pragma once

#include "common/base/error.h"
#include "mux/core/side_frames.h"
#include "mux/dpdk/burst.h"

struct side_buffers {
	struct side_frames frames;
	void *memory; // of the table of datagrams
	struct rte_mempool *pool;
	struct rte_mbuf *held[FRAGMENT_SLOTS];
	struct rte_mbuf *spares[SIDE_SPARES];
};

// ERR_NO_MEMORY. The seed: see fragments_init.
NODISCARD int side_buffers_init(struct side_buffers *s, struct rte_mempool *pool, uint64_t seed);
void side_buffers_fini(struct side_buffers *s); // after init, failed or not

// Keeps what a burst held.
void side_buffers_hold(struct side_buffers *s, const struct burst_out *out);

// Takes what comes out, up to n_max buffers to send; lends spares anew when there is no more. Returns how many.
uint16_t side_buffers_take(struct side_buffers *s, struct mux_worker *w, struct rte_mbuf **ret_mbufs, uint16_t n_max);
