// What comes for the node itself: ARP and what is for its address are the kernel's, behind the tap; pins are the worker's.
// Threads: the worker.
#pragma once

#include "mux/core/pipeline.h"

// What ARP says of next hops is noted on the way to the tap.
void own_traffic_take_arp(struct mux_worker *w, struct mux_frame *f);

// IPv4 to the node's own address; t NULL: no configuration yet. A fragment has no ports.
void own_traffic_take_ip4(struct mux_worker *w, const struct mux_tables *t, struct mux_frame *f, const struct parsed *p,
                          bool is_fragment);
