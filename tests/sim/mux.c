// A mux of the simulation: the real tables and pipeline, fed one frame at a time.
#include "mux/core/pipeline.h"

#include <string.h>

#include "common/base/check.h"
#include "common/base/memory.h"
#include "common/packet/checksum.h"
#include "tests/sim/snat.h"

struct mux_core {
	struct mux_worker worker;
	struct pins pins;
	void *pins_memory;
	struct vip_counters *vips;
	struct vip_slots *slots;
	struct snat_maps snat;
	struct mux_tables *tables;
	uint16_t *chosen; // of MODE_FLOW_TABLE: connection -> DIP + 1
};

static const struct mac mux_mac = { { 2, 0, 0, 0, 0, 2 } };
static const struct mac gateway_mac = { { 2, 0, 0, 0, 0, 1 } };

static void learn_gateway(struct neighbor_table *t, uint64_t now_us)
{
	struct arp_info arp = { .operation = ARP_REPLY, .sender_mac = gateway_mac, .sender_ip = be32_from(GATEWAY) };
	CHECK(neighbor_table_insert(t, be32_from(GATEWAY)));
	neighbor_table_on_arp(t, &arp, mono_from_us(now_us));
}

static void make_pins(struct sim *s, struct mux_core *core)
{
	uint32_t max_pins = s->options.max_pins;
	if (max_pins == 0)
		return;
	core->pins_memory = memory_aligned(64, pins_memory_bytes(max_pins));
	CHECK(core->pins_memory != NULL);
	pins_init(&core->pins, max_pins, core->pins_memory);
	core->worker.pins = &core->pins;
}

void mux_start(struct sim *s, uint32_t mux)
{
	struct sim_mux *m = &s->muxes[mux];
	struct mux_settings settings = { .mac = mux_mac, .address = m->address, .mtu = 1600 };
	struct mux_core *core = memory_aligned(64, sizeof *core);
	CHECK(core != NULL);
	m->core = core;
	m->is_alive = true;
	m->back_us = 0;
	m->hangs_until_us = 0;
	m->is_fenced = false;
	m->excused_version = 0;
	m->subscriber.have_lease_version = 0;
	store_init(&m->store);
	core->vips = memory_aligned(64, sizeof *core->vips);
	core->slots = memory_array(1, sizeof *core->slots);
	CHECK(core->vips != NULL && core->slots != NULL);
	vip_slots_init(core->slots);
	mux_worker_init(&core->worker, &settings, core->vips, sim_now(s));
	learn_gateway(&core->worker.neighbors, s->now_us);
	make_pins(s, core);
	if (s->options.mode == MODE_FLOW_TABLE) {
		core->chosen = memory_array(s->options.n_connections, sizeof *core->chosen);
		CHECK(core->chosen != NULL);
	}
	managers_subscribe(s, mux);
}

void mux_free(struct sim *s, uint32_t mux)
{
	struct sim_mux *m = &s->muxes[mux];
	struct mux_core *core = m->core;
	mux_tables_destroy(core->tables);
	snat_maps_fini(&core->snat, NULL);
	store_fini(&m->store);
	memory_free(core->vips);
	memory_free(core->slots);
	memory_free(core->chosen);
	memory_free(core->pins_memory);
	memory_free(core);
	m->core = NULL;
}

void mux_collect(struct sim *s, uint32_t mux)
{
	const struct mux_counters *c = &s->muxes[mux].core->worker.counters;
	for (uint32_t i = 0; i < DROP_REASON_COUNT; i++)
		s->stats.mux_drops += c->drops[i];
	s->stats.pins_taken += c->pins_taken;
	s->stats.pin_hits += c->pin_hits;
	s->stats.pins_refused += c->drops[DROP_PIN_MALFORMED] + c->drops[DROP_PIN_FORGED] + c->drops[DROP_PIN_REPLAYED];
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

// Maps for the store's VIPs with the update's leases in them, and tables for both, as mux/io/control.c has it.
static void use_objects(struct sim_mux *m, const struct distribution_update *u)
{
	struct mux_core *core = m->core;
	struct snat_maps snat;
	struct mux_tables *tables;
	CHECK(vip_slots_update(core->slots, &m->store, NULL) == 0);
	CHECK(snat_maps_create(&m->store, NULL, u->replaces_leases ? NULL : &core->snat, &snat) == 0);
	(void)snat_maps_apply(&snat, &u->leases);
	struct mux_tables_sources from = {
		.store = &m->store, .own_addr = m->address, .slots = core->slots, .snat = &snat, .before = core->tables
	};
	CHECK(mux_tables_create(&from, &tables) == 0);
	mux_tables_destroy(core->tables);
	snat_maps_fini(&core->snat, &snat);
	core->tables = tables;
	core->snat = snat;
}

void mux_on_update(struct sim *s, uint32_t mux, const struct distribution_update *u)
{
	struct sim_mux *m = &s->muxes[mux];
	if (u->from_version == 0 || u->changes.n > 0 || u->replaces_leases)
		use_objects(m, u);
	else
		(void)snat_maps_apply(&m->core->snat, &u->leases);
	if (m->has_tables)
		return;
	m->has_tables = true;
	network_mux_changed(s);
}

void mux_on_fence(struct sim *s, uint32_t mux, bool is_fenced)
{
	struct sim_mux *m = &s->muxes[mux];
	if (m->is_fenced == is_fenced)
		return;
	m->is_fenced = is_fenced;
	network_mux_changed(s);
}

be32 mux_lessee(const struct sim *s, uint32_t mux, be32 vip, uint16_t port)
{
	struct ip_addr addr = ip_addr_from_v4(vip);
	const struct snat_map *map = snat_maps_lookup(&s->muxes[mux].core->snat, &addr);
	return map == NULL ? 0 : snat_map_lookup(map, port);
}

static void readdress(uint8_t *frame, be32 dst)
{
	struct ip4_header *ip = (struct ip4_header *)(frame + ETH_BYTES);
	ip->dst = dst;
	ip->checksum = 0;
	ip->checksum = checksum_compute(ip, IP4_BYTES);
}

// The flow table of the Ananta paper (section 3.3.3): asked for all but TCP SYNs, and told what was chosen.
static void ask_flow_table(struct mux_core *core, uint32_t connection, uint8_t *frame, const uint8_t *inner)
{
	bool is_syn = inner[9] == IP_PROTO_TCP && tcp_flags_begin(inner[IP4_BYTES + 13]);
	uint16_t *chosen = &core->chosen[connection];
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

static bool mux_is_up(const struct sim *s, const struct sim_mux *m)
{
	return m->is_alive && m->hangs_until_us <= s->now_us;
}

static void run_pipeline(struct sim *s, struct mux_core *core, struct mux_frame *frame)
{
	memcpy(frame->data, mux_mac.bytes, MAC_BYTES);
	core->worker.now = sim_now(s);
	core->worker.now_real_us = sim_wall_us(s);
	mux_pipeline_one(&core->worker, core->tables, frame);
}

// A reply to a VM: which DIP the mux took it for.
static void note_steered(struct sim *s, uint32_t mux, uint32_t connection, const struct mux_frame *frame)
{
	bool is_sent = frame->verdict == MUX_TO_UPLINK;
	const uint8_t *ip = frame->data + ETH_BYTES;
	be32 dip = is_sent ? load32(ip + 16) : 0;
	ip += is_sent ? IP4_BYTES : 0;
	TRACE(s, connection, "mux %u %s %d", mux,
	      is_sent ? "sends it to DIP" : "drops it:", is_sent ? (int)(be32_to(dip) - DIP_BASE) : (int)frame->reason);
	truth_on_steered(s, mux, connection, load32(ip + 16), be16_to(load16(ip + IP4_BYTES + 2)), dip);
}

static void note_sent(struct sim *s, uint32_t mux, const struct mux_frame *frame)
{
	const uint8_t *inner = frame->data + ETH_BYTES + IP4_BYTES;
	uint32_t connection = connection_of(load32(inner + 12), load16(inner + IP4_BYTES));
	if (s->muxes[mux].core->chosen != NULL)
		ask_flow_table(s->muxes[mux].core, connection, frame->data, inner);
	note_target(s, mux, connection, inner, be32_to(load32(frame->data + ETH_BYTES + 16)) - DIP_BASE);
}

void mux_on_packet(struct sim *s, uint32_t mux, struct packet *p)
{
	struct sim_mux *m = &s->muxes[mux];
	if (!mux_is_up(s, m)) {
		s->stats.lost++;
		packet_give_back(s, p);
		return;
	}
	struct mux_frame frame = { .data = packet_frame(p), .len = p->len };
	run_pipeline(s, m->core, &frame);
	if (p->outbound != NONE)
		note_steered(s, mux, p->outbound, &frame);
	if (frame.verdict != MUX_TO_UPLINK) {
		packet_give_back(s, p);
		return;
	}
	p->offset = (uint16_t)(frame.data - p->bytes);
	p->len = (uint16_t)frame.len;
	if (p->outbound == NONE)
		note_sent(s, mux, &frame);
	network_by_address(s, p);
}

void mux_on_pins(struct sim *s, uint32_t pin_frame)
{
	struct pin_frame *f = &s->pin_frames[pin_frame];
	struct sim_mux *m = &s->muxes[f->mux];
	struct mux_frame frame = { .data = f->bytes, .len = f->n_bytes };
	if (mux_is_up(s, m))
		run_pipeline(s, m->core, &frame);
	else
		s->stats.lost++;
	f->next_free = s->free_pin_frame;
	s->free_pin_frame = pin_frame;
}
