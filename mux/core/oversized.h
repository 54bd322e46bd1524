// Packets that are too long for the way to their DIP together with the outer header.
//
// With DF, and over IPv6, the VIP answers fragmentation needed, packet too big, with what fits inside (RFC 1191, RFC 8201), so that the sender
// sends less; without DF the
// packet inside is cut in two, each part encapsulated for itself, or dropped, by setting. The outer packet is never fragmented:
// agents do not reassemble. Both is bounded: errors by a rate, second halves by the buffers that the caller lent (side_frames.h).
// Threads: the worker.
#pragma once

#include "common/packet/encap.h"
#include "mux/core/verdict.h"

// Of encapsulate(), whose arguments these are. True when it goes to the DIP, in two frames.
bool oversized_take(struct mux_worker *w, struct mux_frame *f, const struct encap_template *template, uint64_t hash,
                    uint32_t inner_bytes);
