// Links that delay, lose, double and reorder; routers that spread packets over the muxes that announce.
#include <string.h>

#include "common/base/check.h"
#include "common/base/memory.h"
#include "common/model/flow_hash.h"
#include "tests/sim/sim.h"

#define REORDER_JITTERS 20

static uint64_t link_delay(struct sim *s, uint32_t base_us)
{
	uint64_t jitter = s->options.jitter_us;
	if (random_hits(&s->net, s->options.reorder))
		jitter *= REORDER_JITTERS;
	return base_us + random_below(&s->net, jitter + 1);
}

static void send(struct sim *s, struct packet *p, enum place to, uint32_t idx, uint32_t base_us)
{
	p->to = (uint8_t)to;
	p->to_idx = idx;
	sim_at(s, s->now_us + link_delay(s, base_us), EVENT_PACKET, p->idx);
}

static void send_over_link(struct sim *s, struct packet *p, enum place to, uint32_t idx, uint32_t base_us)
{
	if (random_hits(&s->net, s->options.loss)) {
		s->stats.lost++;
		packet_give_back(s, p);
		return;
	}
	if (random_hits(&s->net, s->options.duplicate))
		send(s, packet_copy(s, p), to, idx, base_us);
	send(s, p, to, idx, base_us);
}

void network_to(struct sim *s, struct packet *p, enum place to, uint32_t idx)
{
	send_over_link(s, p, to, idx,
	               to == AT_CLIENT || to == AT_SERVER ? s->options.client_delay_us : s->options.delay_us);
}

static void lose(struct sim *s, struct packet *p)
{
	s->stats.lost++;
	packet_give_back(s, p);
}

// Next hops by the remainder of a hash, as many routers do it: nearly all flows move when their number changes.
void network_from_client(struct sim *s, struct packet *p, uint32_t connection)
{
	const uint8_t *ip = packet_frame(p) + ETH_BYTES;
	const struct sim_router *r = &s->routers[hash_mix64(connection ^ 0x70) % s->options.n_routers];
	if (r->n_next_hops == 0) {
		lose(s, p);
		return;
	}
	uint64_t hash =
		flow_hash_v4(load32(ip + 12), load32(ip + 16), load16(ip + 20), load16(ip + 22), ip[9], r->hash_seed);
	send_over_link(s, p, AT_MUX, r->next_hops[hash % r->n_next_hops], s->options.client_delay_us);
}

void network_by_address(struct sim *s, struct packet *p)
{
	const uint8_t *ip = packet_frame(p) + ETH_BYTES;
	uint32_t dst = be32_to(load32(ip + 16));
	if (p->is_detoured && sim_is_sabotaged(s, "lost-chain")) {
		lose(s, p);
		return;
	}
	if (dst - DIP_BASE < s->options.n_dips)
		network_to(s, p, AT_HOST, s->vms[dst - DIP_BASE].host);
	else if (dst - CLIENT_BASE < 1u << 22)
		network_to(s, p, AT_CLIENT, 0);
	else if (is_server(be32_from(dst)))
		network_to(s, p, AT_SERVER, dst - SERVER_BASE); // host.c has looked at it
	else
		lose(s, p);
}

static uint32_t take_pin_frame(struct sim *s)
{
	uint32_t i = s->free_pin_frame;
	if (i != NONE) {
		s->free_pin_frame = s->pin_frames[i].next_free;
		return i;
	}
	if (s->n_pin_frames == s->pin_frames_capacity) {
		s->pin_frames_capacity = s->pin_frames_capacity == 0 ? 256 : s->pin_frames_capacity * 2;
		s->pin_frames = memory_resize(s->pin_frames, s->pin_frames_capacity, sizeof *s->pin_frames);
		CHECK(s->pin_frames != NULL);
	}
	return s->n_pin_frames++;
}

void network_pins(struct sim *s, uint32_t mux, const uint8_t *frame, uint32_t n_bytes)
{
	if (random_hits(&s->net, s->options.loss)) {
		s->stats.lost++;
		return;
	}
	uint32_t i = take_pin_frame(s);
	struct pin_frame *f = &s->pin_frames[i];
	f->mux = mux;
	f->n_bytes = n_bytes;
	memcpy(f->bytes, frame, n_bytes);
	sim_at(s, s->now_us + link_delay(s, s->options.delay_us), EVENT_PINS, i);
}

static bool mux_announces(const struct sim *s, uint32_t mux)
{
	const struct sim_mux *m = &s->muxes[mux];
	return m->is_alive && m->has_tables && !m->is_fenced && m->hangs_until_us <= s->now_us;
}

void network_on_router(struct sim *s, uint32_t router)
{
	struct sim_router *r = &s->routers[router];
	r->n_next_hops = 0;
	for (uint32_t i = 0; i < s->options.n_muxes; i++)
		if (mux_announces(s, i))
			r->next_hops[r->n_next_hops++] = i;
}

void network_mux_changed(struct sim *s)
{
	uint64_t detect_us = us_of(s->options.detect_s);
	for (uint32_t i = 0; i < s->options.n_routers; i++)
		sim_at(s, s->now_us + detect_us / 2 + random_below(&s->trouble, detect_us + 1), EVENT_ROUTER, i);
}
