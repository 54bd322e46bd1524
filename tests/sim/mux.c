// A mux of the simulation: the real tables and pipeline, fed one frame at a time.
#include <string.h>

#include "common/base/check.h"
#include "common/base/memory.h"
#include "common/packet/checksum.h"
#include "tests/sim/sim.h"

static const struct mac mux_mac = { { 2, 0, 0, 0, 0, 2 } };
static const struct mac gateway_mac = { { 2, 0, 0, 0, 0, 1 } };

static void learn_gateway(struct neighbor_table *t, uint64_t now_us)
{
	struct arp_info arp = { .operation = ARP_REPLY, .sender_mac = gateway_mac, .sender_ip = be32_from(GATEWAY) };
	CHECK(neighbor_table_insert(t, be32_from(GATEWAY)));
	neighbor_table_on_arp(t, &arp, mono_from_us(now_us));
}

void mux_start(struct sim *s, uint32_t mux)
{
	struct sim_mux *m = &s->muxes[mux];
	struct mux_settings settings = { .mac = mux_mac, .address = m->address, .mtu = 1600 };
	m->is_alive = true;
	m->back_us = 0;
	m->hangs_until_us = 0;
	store_init(&m->store);
	m->vips = memory_aligned(64, sizeof *m->vips);
	m->slots = memory_array(1, sizeof *m->slots);
	CHECK(m->vips != NULL && m->slots != NULL);
	vip_slots_init(m->slots);
	mux_worker_init(&m->worker, &settings, m->vips, sim_now(s));
	learn_gateway(&m->worker.neighbors, s->now_us);
	if (s->options.mode == MODE_FLOW_TABLE) {
		m->chosen = memory_array(s->options.n_connections, sizeof *m->chosen);
		CHECK(m->chosen != NULL);
	}
	managers_subscribe(s, mux);
}

void mux_free(struct sim *s, uint32_t mux)
{
	struct sim_mux *m = &s->muxes[mux];
	mux_tables_destroy(m->tables);
	snat_maps_fini(&m->snat, NULL);
	store_fini(&m->store);
	memory_free(m->vips);
	memory_free(m->slots);
	memory_free(m->chosen);
	m->tables = NULL;
	m->vips = NULL;
	m->slots = NULL;
	m->chosen = NULL;
	m->snat = (struct snat_maps){ 0 };
}

void mux_collect(struct sim *s, uint32_t mux)
{
	const struct sim_mux *m = &s->muxes[mux];
	for (uint32_t i = 0; i < DROP_REASON_COUNT; i++)
		s->stats.mux_drops += m->worker.counters.drops[i];
}

void mux_kill(struct sim *s, uint32_t mux)
{
	struct sim_mux *m = &s->muxes[mux];
	mux_collect(s, mux);
	managers_unsubscribe(s, mux);
	mux_free(s, mux);
	m->is_alive = false;
	m->has_tables = false;
	s->stats.mux_kills++;
	network_mux_changed(s);
}

void mux_use_store(struct sim *s, uint32_t mux)
{
	struct sim_mux *m = &s->muxes[mux];
	struct snat_maps snat;
	struct mux_tables *tables;
	CHECK(vip_slots_update(m->slots, &m->store, NULL) == 0);
	CHECK(snat_maps_create(&m->store, &m->snat, &snat) == 0);
	struct mux_tables_sources from = {
		.store = &m->store, .own_addr = m->address, .slots = m->slots, .snat = &snat, .before = m->tables
	};
	CHECK(mux_tables_create(&from, &tables) == 0);
	mux_tables_destroy(m->tables);
	snat_maps_fini(&m->snat, &snat);
	m->tables = tables;
	m->snat = snat;
	if (m->has_tables)
		return;
	m->has_tables = true;
	network_mux_changed(s);
}

static void readdress(uint8_t *frame, be32 dst)
{
	struct ip4_header *ip = (struct ip4_header *)(frame + ETH_BYTES);
	ip->dst = dst;
	ip->checksum = 0;
	ip->checksum = checksum_compute(ip, IP4_BYTES);
}

// The flow table of the Ananta paper (section 3.3.3): asked for all but TCP SYNs, and told what was chosen.
static void ask_flow_table(struct sim_mux *m, uint32_t connection, uint8_t *frame, const uint8_t *inner)
{
	bool is_syn = inner[9] == IP_PROTO_TCP && tcp_is_syn(inner[IP4_BYTES + 13]);
	uint16_t *chosen = &m->chosen[connection];
	if (*chosen != 0 && !is_syn)
		readdress(frame, dip_address(*chosen - 1u));
	else
		*chosen = (uint16_t)(be32_to(load32(frame + ETH_BYTES + 16)) - DIP_BASE + 1);
}

static void note_target(struct sim *s, uint32_t mux, uint32_t connection, const uint8_t *inner, uint32_t dip)
{
	struct connection *c = &s->connections[connection];
	c->target = dip;
	TRACE(s, connection, "mux %u sends it to DIP %u (%s)", mux, dip,
	      inner[9] == IP_PROTO_TCP ? trace_flags(inner[IP4_BYTES + 13]) : "udp");
	if (c->state != CONN_LIVE || c->vm == dip || c->was_moved)
		return;
	c->was_moved = true;
	s->stats.moved++;
}

void mux_on_packet(struct sim *s, uint32_t mux, struct packet *p)
{
	struct sim_mux *m = &s->muxes[mux];
	if (!m->is_alive || m->hangs_until_us > s->now_us) {
		s->stats.lost++;
		packet_give_back(s, p);
		return;
	}
	struct mux_frame frame = { .data = packet_frame(p), .len = p->len };
	memcpy(frame.data, mux_mac.bytes, MAC_BYTES);
	m->worker.now = sim_now(s);
	mux_pipeline_one(&m->worker, m->tables, &frame);
	if (frame.verdict != MUX_TO_UPLINK) {
		packet_give_back(s, p);
		return;
	}
	p->offset = (uint16_t)(frame.data - p->bytes);
	p->len = (uint16_t)frame.len;
	const uint8_t *inner = frame.data + ETH_BYTES + IP4_BYTES;
	uint32_t connection = connection_of(load32(inner + 12), load16(inner + IP4_BYTES));
	if (m->chosen != NULL)
		ask_flow_table(m, connection, frame.data, inner);
	note_target(s, mux, connection, inner, be32_to(load32(frame.data + ETH_BYTES + 16)) - DIP_BASE);
	network_by_address(s, p);
}
