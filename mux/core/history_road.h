// The way by the pins: of packets whose bucket had other owners, which may still have the flow.
//
// Such a packet goes to the DIP that its flow is pinned to, and to the present owner of its bucket when it is not (mux/core/pins.h).
// The burst and one packet at a time do the same. Threads: the worker.
#pragma once

#include "mux/core/encapsulate.h"
#include "mux/core/tables.h"

// ---- one packet ----

// To the owner of a flow's bucket; where that had other owners, first of all to the DIP that the flow is pinned to.
const struct encap_template *history_template_of(struct mux_worker *w, const struct vip_entry *e, uint64_t hash);

// ---- in a burst ----

// A packet on its way to an endpoint, through the stages of the main road.
struct passage {
	struct mux_frame *frame;
	uint64_t hash;
	uint64_t key;
	const struct vip_line *line;
	const struct vip_entry *entry; // NULL when it left the main road
	const uint16_t *owner;
	struct pin_set *pins; // when its bucket had other owners
	uint32_t inner_bytes;
};

// Those of them whose bucket had other owners.
struct history_road {
	uint32_t n;
	struct passage *passages[MUX_BURST_MAX];
};

extern const struct pin_set no_pins;

static inline struct pin_set *set_of(const struct pins *pins, uint64_t hash)
{
	return pins == NULL ? (struct pin_set *)&no_pins : pins_set_of(pins, hash);
}

// Begins to load the packet's pins.
static inline void history_road_enter(struct history_road *r, const struct pins *pins, struct passage *x)
{
	x->pins = set_of(pins, x->hash);
	__builtin_prefetch(x->pins);
	r->passages[r->n++] = x;
}

void history_road_take(const struct history_road *r, struct mux_worker *w, const struct gateways *g);
