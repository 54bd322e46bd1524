// ICMP errors of the mux's own: to who sent a packet, about that packet. Threads: the worker.
#pragma once

#include "common/packet/icmp.h"
#include "mux/core/verdict.h"

// Turns the frame, an IPv4 packet as it came, into the error, which goes back to where it came from. It is dropped instead for
// DROP_RATE_LIMITED, or for `otherwise` when packets of its kind are never answered (icmp_may_answer).
void answer_with_error(struct mux_worker *w, struct mux_frame *f, const struct parsed *p, const struct icmp_answer *a,
                       enum drop_reason otherwise);
