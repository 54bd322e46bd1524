// The way of IPv6 through a burst: TCP and UDP without extension headers, to endpoints and to leased ports, in the stages of the roads
// of IPv4 (pipeline.c, snat_road.h) and one before them, in which the destination's name is looked for.
//
//   parse, hash --> name of the destination --> VIP's line --> bucket's owner, or lessee --> address of the DIP, outer header
//
// Only what goes to the DIP itself over IPv6 is finished here; what has a way of the other family is encapsulated as a
// single frame is. Everything else is left for the scalar road, whose twin this is. Pins are asked one by one.
// Threads: the worker.
#pragma once

#include "common/packet/addr_names.h"
#include "mux/core/encapsulate.h"
#include "mux/core/tables.h"

struct ip6_passage {
	struct mux_frame *frame;
	uint64_t hash;
	uint64_t key; // of the endpoint; at first without the VIP
	const struct addr_name_slot *slot; // where the search for the destination's name begins
	const struct vip_line *line; // of the endpoint, or of the VIP itself
	const struct vip_entry *entry;
	union {
		const uint16_t *owner; // see struct passage
		const _Atomic be32 *lessee;
	};
	uint32_t inner_bytes;
};

// The passages of a burst, and how far they are filled: those to endpoints from the front, those to leased ports from the back.
struct ip6_road {
	uint32_t n;
	uint32_t n_leased;
	bool has_gateways; // looked for when the first IPv6 frame of the burst comes, before what that may say of them
	struct gateways gateways;
	struct ip6_passage passages[MUX_BURST_MAX];
};

static inline void ip6_road_init(struct ip6_road *r)
{
	r->n = 0;
	r->n_leased = 0;
	r->has_gateways = false;
}

static inline bool ip6_road_is_empty(const struct ip6_road *r)
{
	return r->n + r->n_leased == 0;
}

// Stage 1, of the first of n frames and those behind it, as long as they are for this road. Returns how many were: 0, and nothing is
// done, when the first one is for another. ret_bytes: of their frames.
uint32_t ip6_road_enter(struct ip6_road *r, const struct mux_worker *w, const struct mux_tables *t,
                        struct mux_frame *frames, uint32_t n, uint64_t *ret_bytes);

// The other stages. What goes to no DIP stays: it is written to ret_left, which has room for all. Returns how many.
uint32_t ip6_road_take(struct ip6_road *r, struct mux_worker *w, const struct mux_tables *t,
                       struct mux_frame **ret_left);
