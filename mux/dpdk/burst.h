// A burst of packet buffers through the pipeline: what the worker does between receiving and sending, and what the
// benchmark measures.
#pragma once

#include <rte_mbuf.h>

#include "mux/core/pipeline.h"

#define BURST_MAX MUX_BURST_MAX

struct burst_out {
	uint16_t n_uplink;
	uint16_t n_tap;
	uint16_t n_drop;
	uint16_t n_held;
	struct rte_mbuf *uplink[BURST_MAX];
	struct rte_mbuf *tap[BURST_MAX];
	struct rte_mbuf *drop[BURST_MAX]; // and those that were for the worker itself
	struct rte_mbuf *held[BURST_MAX]; // fragments that wait, in the order in which they came,
	uint16_t held_slots[BURST_MAX]; // and where
};

static inline void burst_hold(struct burst_out *out, struct rte_mbuf *m, uint16_t slot)
{
	out->held[out->n_held] = m;
	out->held_slots[out->n_held++] = slot;
}

// Sorts n buffers (single-segment, up to BURST_MAX) by verdict; their data follows what the core made of the frames. The
// caller sends, keeps or frees every one of them.
static inline void burst_process(struct mux_worker *w, const struct mux_tables *tables, struct rte_mbuf **mbufs,
                                 uint16_t n, struct burst_out *out)
{
	struct mux_frame frames[BURST_MAX];
	for (uint16_t i = 0; i < n; i++) {
		frames[i].data = rte_pktmbuf_mtod(mbufs[i], uint8_t *);
		frames[i].len = mbufs[i]->data_len;
		__builtin_prefetch(frames[i].data);
		__builtin_prefetch(frames[i].data - ENCAP_BYTES, 1); // where the outer header goes
	}
	mux_pipeline_burst(w, tables, frames, n);
	struct rte_mbuf **uplink =
		out->uplink; // in registers: a write to a buffer could change `out`, for all that compilers know
	uint16_t n_tap = 0;
	uint16_t n_drop = 0;
	out->n_held = 0;
	for (uint16_t i = 0; i < n; i++) {
		struct rte_mbuf *m = mbufs[i];
		if (__builtin_expect(frames[i].verdict == MUX_DROP, 0)) {
			out->drop[n_drop++] = m;
			continue;
		}
		m->data_off = (uint16_t)(frames[i].data - (uint8_t *)m->buf_addr);
		const uint32_t len = frames[i].len;
		m->data_len = (uint16_t)len;
		m->pkt_len = len;
		if (__builtin_expect(frames[i].verdict == MUX_TO_UPLINK, 1))
			*uplink++ = m;
		else if (frames[i].verdict == MUX_TO_TAP)
			out->tap[n_tap++] = m;
		else if (frames[i].verdict == MUX_HELD)
			burst_hold(out, m, frames[i].slot);
		else
			out->drop[n_drop++] = m;
	}
	out->n_uplink = (uint16_t)(uplink - out->uplink);
	out->n_tap = n_tap;
	out->n_drop = n_drop;
}
