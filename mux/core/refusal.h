// What an endpoint answers that refuses (all its DIPs are unhealthy, and its VIP wants new connections refused then): a SYN with a
// RST (RFC 9293 section 3.10.7.1), UDP with ICMP port unreachable (RFC 1122 section 4.1.3.1), both in the VIP's name, up to
// MUX_REFUSAL_RATE_PER_S; beyond that they are dropped. Everything else passes: established connections go on.
// The entries of such endpoints are kept apart (mux/core/tables.h), so that the stages of a burst do not find them and nothing is
// asked of packets to all others.
// Pure. Threads: the worker.
#pragma once

#include "mux/core/pipeline.h"

// True when it was answered or dropped; false when it goes to its owner. Needs ICMP6_ERROR_BYTES of headroom.
bool refusal_take(struct mux_worker *w, struct mux_frame *f, const struct parsed *p);
