// The way of fragments of packets to VIPs: where their first one, which has the ports, goes.
//
// Each is encapsulated for itself, nothing is reassembled. Fragments of an echo request to a VIP are turned round one by one: the
// checksum in the first covers the whole, of which nothing but the type changes. All fragments of a datagram must come to one
// mux: routers that hash the ports of whole packets leave those of fragments out, and so they do.
// Where the first one went is kept in common/packet/fragments.h, as the DIP and what to count: new tables change nothing of it.
// Threads: the worker.
#pragma once

#include "mux/core/tables.h"
#include "mux/core/verdict.h"

// `p` is of this frame: parse_ip4 was DROP_FRAGMENT.
void fragment_road_take(struct mux_worker *w, const struct mux_tables *t, struct mux_frame *f, const struct parsed *p);

// A fragment that is not the first, by what that one decided.
void fragment_road_send(struct mux_worker *w, struct mux_frame *f, uint64_t decision);
