// The way of what comes for a port of a VIP that is no endpoint's: to the DIP that has leased it, when one has.
//
// In a burst these packets are gathered beside the main road, and need no flow hash, no bucket and no template: the VIP's entry,
// the map's entry, and the outer header's sum from the DIP. The burst and one packet at a time do the same.
// Threads: the worker. Source: the paper, section 3.5.1.
#pragma once

#include "mux/core/encapsulate.h"
#include "mux/core/tables.h"

enum { LEASED_PORT_MIN = 1024 }; // below it no port is ever leased

// ---- one packet ----

// The DIP that has leased a port of the VIP whose own entry this is; 0: none.
static inline be32 lessee_of(const struct vip_entry *vip, be16 port)
{
	return vip->snat == NULL ? 0 : snat_map_lookup(vip->snat, be16_to(port));
}

// Why a packet to a port without an endpoint is dropped when nobody has leased it.
static inline enum drop_reason snat_reason_of(const struct vip_entry *vip, be16 port)
{
	return vip->snat != NULL && be16_to(port) >= LEASED_PORT_MIN ? DROP_SNAT_NO_LEASE : DROP_NO_ENDPOINT;
}

// A reply to a connection that the DIP began.
void snat_send_to_lessee(struct mux_worker *w, const struct mux_tables *t, struct mux_frame *f, const struct parsed *p,
                         const struct vip_entry *vip, be32 dip);

// TCP or UDP to a port of the VIP whose own entry this is: to its lessee, or dropped, or
// answered with port unreachable when it is the last probe of a traceroute.
void snat_take(struct mux_worker *w, const struct mux_tables *t, struct mux_frame *f, const struct parsed *p,
               const struct vip_entry *vip);

// ---- in a burst ----

struct snat_passage {
	struct mux_frame *frame;
	uint64_t key;
	const struct vip_line *line; // of the VIP itself
	const struct vip_entry *entry;
	const _Atomic be32 *lessee; // who has leased the port
	uint32_t inner_bytes;
};

// The passages of a burst, and how far they are filled.
struct snat_road {
	uint32_t n;
	struct snat_passage passages[MUX_BURST_MAX];
};

// Begins to load the line of the VIP. The key is of the packet, as if it were for an endpoint.
static inline void snat_road_enter(struct snat_road *r, const struct mux_tables *t, struct mux_frame *f, uint64_t key,
                                   uint32_t inner_bytes)
{
	struct snat_passage *x = &r->passages[r->n++];
	x->frame = f;
	x->inner_bytes = inner_bytes;
	x->key = key;
	x->line = &t->lines[vip_line_at(vip_own_key_ip4((be32)key), t->line_shift)];
	__builtin_prefetch(x->line);
}

// Sends all to their lessees. What goes to nobody stays: it is written to ret_left, which has room for all. Returns how many.
uint32_t snat_road_take(struct snat_road *r, struct mux_worker *w, const struct mux_tables *t, const struct gateways *g,
                        struct mux_frame **ret_left);
