// What becomes of one frame, and what is counted of it. Counts are plain stores of the worker.
#pragma once

#include "mux/core/pipeline.h"

// A function that is not to be inlined: what is done beside it needs the registers.
#define APART __attribute__((noinline))

static inline void mux_drop(struct mux_worker *w, struct mux_frame *f, enum drop_reason reason)
{
	f->verdict = MUX_DROP;
	f->reason = (uint8_t)reason;
	w->counters.drops[reason]++;
}

static inline void mux_pass_to_tap(struct mux_worker *w, struct mux_frame *f)
{
	f->verdict = MUX_TO_TAP;
	f->reason = DROP_NONE;
	w->counters.to_tap_packets++;
}

static inline void count_vip(struct vip_traffic *vip, uint32_t inner_bytes)
{
	vip->packets++;
	vip->bytes += inner_bytes;
}
