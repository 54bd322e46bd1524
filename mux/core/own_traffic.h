// What comes for the node itself: ARP, Neighbor Discovery and what is for its address are the kernel's, behind the tap; pins are the worker's.
// Threads: the worker.
#pragma once

#include "common/packet/martian.h"
#include "mux/core/pipeline.h"

// What ARP says of next hops is noted on the way to the tap.
void own_traffic_take_arp(struct mux_worker *w, struct mux_frame *f);

// IP to the node's own address; t NULL: no configuration yet. A fragment has no ports.
void own_traffic_take_ip(struct mux_worker *w, const struct mux_tables *t, struct mux_frame *f, const struct parsed *p,
                         bool is_fragment);

// Is an IPv6 packet the node's own? Its address, a link-local one (of the tap), or a group: Neighbor Discovery and its like.
static inline bool own_traffic_is_own6(const struct mux_settings *s, const uint8_t *dst)
{
	return (s->has_address6 && memcmp(dst, s->address6, sizeof s->address6) == 0) || ip6_is_link_local(dst) ||
	       ip6_is_multicast(dst);
}
