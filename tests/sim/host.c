// A host of the simulation: the real agent between the uplink and the ports of its VMs.
#include <stdlib.h>
#include <string.h>

#include "common/base/check.h"
#include "common/base/memory.h"
#include "hostagent/core/agent.h"
#include "tests/sim/snat.h"

#define FLOW_OWNER 7
#define TURN_US 50 // of the agent's loop: pins that come up meanwhile leave together

struct host_core {
	struct agent agent;
	struct agent_config *config;
	void *block; // of the flow table
	uint32_t capacity;
	bool is_flush_due;
};

static const struct mac host_mac = { { 2, 0, 0, 0, 0, 3 } };
static const struct mac gateway_mac = { { 2, 0, 0, 0, 0, 1 } };

static void init_agent(struct sim *s, struct sim_host *h)
{
	struct host_core *core = h->core;
	struct agent_settings settings = { .uplink_mac = host_mac, .address = h->address, .mss = 1440 };
	struct ip_addr gateway = ip_addr_from_v4(be32_from(GATEWAY));
	struct arp_info arp = { .operation = ARP_REPLY, .sender_mac = gateway_mac, .sender_ip = be32_from(GATEWAY) };
	agent_init(&core->agent, &settings, &gateway, 1);
	neighbor_table_on_arp(&core->agent.neighbors, &arp, sim_now(s));
	memset(core->agent.port_is_open, true, sizeof core->agent.port_is_open);
	core->agent.config = core->config;
}

static void make_flow_table(struct sim *s, struct sim_host *h)
{
	uint64_t seed = hash_mix64(s->options.seed ^ (uint64_t)h->address << 8);
	flow_table_init(&h->core->agent.flows, h->core->block, h->core->capacity, seed, FLOW_OWNER, NULL, sim_now(s));
}

void host_start(struct sim *s, uint32_t host)
{
	struct sim_host *h = &s->hosts[host];
	uint64_t share = (uint64_t)s->options.n_connections * 3 / s->options.n_hosts;
	h->core = memory_array(1, sizeof *h->core);
	CHECK(h->core != NULL);
	h->core->capacity = (uint32_t)(share + 4096);
	h->core->block = memory_aligned(4096, (flow_table_bytes(h->core->capacity) + 4095) & ~(size_t)4095);
	CHECK(h->core->block != NULL);
	h->is_alive = true;
	store_init(&h->store);
	init_agent(s, h);
	make_flow_table(s, h);
	if (sim_has_snat(s))
		agent_side_create(s, host);
	managers_subscribe(s, node_of_host(s, host));
}

void host_free(struct sim *s, uint32_t host)
{
	struct sim_host *h = &s->hosts[host];
	store_fini(&h->store);
	if (h->core == NULL)
		return;
	agent_side_destroy(s, host);
	agent_config_destroy(h->core->config);
	memory_free(h->core->block);
	memory_free(h->core);
	h->core = NULL;
}

void host_collect(struct sim *s, uint32_t host)
{
	const struct agent_counters *c = &s->hosts[host].core->agent.counters;
	for (uint32_t i = 0; i < DROP_REASON_COUNT; i++)
		s->stats.agent_drops += c->drops[i];
	s->stats.drops_skew += c->drops[DROP_CHAIN_SKEW];
	s->stats.adopted += c->flows_adopted;
	s->stats.chain_adopted += c->chain_adopted;
	s->stats.pins_sent += c->pins_sent;
	s->stats.snat_flows += c->snat_flows;
	s->stats.snat_held += c->snat_held;
	agent_side_collect(s, host);
}

// A new process of the agent: its configuration and its flows are what the one before it left.
void host_restart(struct sim *s, uint32_t host, bool keeps_flows)
{
	struct sim_host *h = &s->hosts[host];
	struct host_core *core = h->core;
	struct flow_table flows;
	host_collect(s, host);
	init_agent(s, h);
	if (keeps_flows) {
		CHECK(flow_table_attach(&flows, core->block, flow_table_bytes(core->capacity), core->capacity, FLOW_OWNER, NULL,
		                        sim_now(s), NULL) == 0);
		agent_use_flows(&core->agent, &flows);
	} else {
		make_flow_table(s, h);
	}
	agent_side_restart(s, host);
	managers_subscribe(s, node_of_host(s, host));
}

void host_kill(struct sim *s, uint32_t host)
{
	struct sim_host *h = &s->hosts[host];
	h->is_alive = false;
	host_collect(s, host);
	managers_unsubscribe(s, node_of_host(s, host));
	for (uint32_t i = 0; i < s->options.n_dips; i++) {
		if (s->vms[i].host != host)
			continue;
		s->vms[i].is_alive = false;
		vm_forget(s, i);
	}
}

void host_use_store(struct sim *s, uint32_t host)
{
	struct sim_host *h = &s->hosts[host];
	struct agent_config *config;
	CHECK(agent_config_create(&h->store, h->name, AGENT_PORTS_MAX, s->names, h->core->config, &config, NULL) == 0);
	agent_config_destroy(h->core->config);
	h->core->config = config;
	h->core->agent.config = config;
}

bool host_is_up(const struct sim *s, uint32_t host)
{
	const struct sim_host *h = &s->hosts[host];
	return h->is_alive && h->down_until_us <= s->now_us;
}

struct agent *host_agent(struct sim *s, uint32_t host)
{
	return &s->hosts[host].core->agent;
}

static void lose(struct sim *s, struct packet *p)
{
	s->stats.lost++;
	packet_give_back(s, p);
}

// ---- Packets ----

// The VM of the packet's address; or, where that is broken on purpose, its neighbour.
static uint32_t vm_of(const struct sim *s, const struct packet *p, const uint8_t *frame)
{
	uint32_t vm = be32_to(load32(frame + ETH_BYTES + 16)) - DIP_BASE;
	bool is_astray = p->outbound != NONE && sim_is_sabotaged(s, "wrong-vm") && p->idx % 64 == 0;
	return is_astray ? (vm + 1) % s->options.n_dips : vm;
}

void host_forward(struct sim *s, struct packet *p, const struct agent_packet *ap)
{
	p->offset = (uint16_t)(ap->frame - p->bytes);
	p->len = (uint16_t)ap->len;
	if (ap->verdict == AGENT_TO_UPLINK && p->outbound != NONE && is_server(load32(ap->frame + ETH_BYTES + 16)))
		truth_on_leaving(s, p);
	if (ap->verdict == AGENT_TO_UPLINK)
		network_by_address(s, p);
	else if (ap->verdict == AGENT_TO_VM)
		vm_on_packet(s, vm_of(s, p, ap->frame), p);
	else
		packet_give_back(s, p);
}

static void note_detour(struct sim *s, struct packet *p, uint32_t connection, const struct agent_packet *ap)
{
	struct connection *c = &s->connections[connection];
	s->stats.hops++;
	if (!p->is_detoured) {
		s->stats.detours++;
		s->stats.detours_moved += c->was_moved;
	}
	p->is_detoured = true;
	TRACE(s, connection, "    sent on to DIP %u, mark %04x", be32_to(load32(ap->frame + ETH_BYTES + 16)) - DIP_BASE,
	      be16_to(load16(ap->frame + ETH_BYTES + 4)));
}

static void note_verdict(struct sim *s, struct packet *p, uint32_t host, uint32_t connection,
                         const struct agent_packet *ap, uint64_t n_adopted)
{
	if (n_adopted > 0)
		TRACE(s, connection, "    host %u adopts it", host);
	if (ap->verdict == AGENT_TO_UPLINK)
		note_detour(s, p, connection, ap);
	else if (ap->verdict == AGENT_DROP)
		TRACE(s, connection, "    host %u drops it: %s", host, drop_reason_name(ap->reason));
}

static void plan_flush(struct sim *s, uint32_t host)
{
	struct host_core *core = s->hosts[host].core;
	if (core->agent.pin_reports.n == 0 || core->is_flush_due)
		return;
	core->is_flush_due = true;
	sim_at(s, s->now_us + TURN_US, EVENT_FLUSH, host);
}

void host_on_packet(struct sim *s, uint32_t host, struct packet *p)
{
	struct sim_host *h = &s->hosts[host];
	const uint8_t *inner = packet_frame(p) + ETH_BYTES + IP4_BYTES;
	uint32_t connection =
		p->outbound != NONE ? p->outbound : connection_of(load32(inner + 12), load16(inner + IP4_BYTES));
	if (!host_is_up(s, host)) {
		TRACE(s, connection, "    host %u is not there", host);
		lose(s, p);
		return;
	}
	struct agent *a = &h->core->agent;
	struct agent_packet ap = { .frame = packet_frame(p), .len = p->len };
	uint64_t adopted = a->counters.flows_adopted;
	memcpy(ap.frame, host_mac.bytes, MAC_BYTES);
	agent_set_now(a, sim_now(s));
	agent_inbound(a, &ap, 1);
	note_verdict(s, p, host, connection, &ap, a->counters.flows_adopted - adopted);
	plan_flush(s, host);
	host_forward(s, p, &ap);
}

void host_from_vm(struct sim *s, uint32_t vm, struct packet *p)
{
	uint32_t host = s->vms[vm].host;
	struct host_core *core = s->hosts[host].core;
	uint16_t port = AGENT_NO_PORT;
	if (host_is_up(s, host) && core->config != NULL)
		port = agent_config_lookup_dip(core->config, dip_address(vm));
	if (port == AGENT_NO_PORT) {
		lose(s, p);
		return;
	}
	agent_set_now(&core->agent, sim_now(s));
	if (p->outbound != NONE) {
		agent_side_outbound(s, host, port, p);
		return;
	}
	struct agent_packet ap = { .frame = packet_frame(p), .len = p->len, .port = port };
	agent_outbound(&core->agent, &ap, 1);
	host_forward(s, p, &ap);
}

// ---- Pins ----

// Pins for another DIP of the VIP than the one that has the connection.
static void misdirect(const struct sim *s, struct agent *a)
{
	for (uint32_t i = 0; i < a->pin_reports.n; i++) {
		uint32_t dip = be32_to(pin_addr_to_ip4(&a->pin_reports.items[i].dip)) - DIP_BASE;
		be32 wrong = dip_address((dip + s->options.n_vips) % s->options.n_dips);
		a->pin_reports.items[i].dip = pin_addr_from_ip4(wrong);
	}
}

void host_on_flush(struct sim *s, uint32_t host)
{
	struct sim_host *h = &s->hosts[host];
	struct agent *a = &h->core->agent;
	uint8_t frame[PIN_REPORTS_FRAME_BYTES];
	h->core->is_flush_due = false;
	if (!host_is_up(s, host))
		return;
	if (sim_is_sabotaged(s, "wrong-pins"))
		misdirect(s, a);
	uint32_t n = agent_pins_begin(a, sim_wall_us(s) + (uint64_t)h->clock_us);
	for (uint32_t i = 0; i < n; i++) {
		uint32_t n_bytes = agent_pins_write(a, i, frame);
		uint32_t mux = be32_to(load32(frame + ETH_BYTES + 16)) - MUX_BASE;
		if (sim_is_sabotaged(s, "damaged-pins"))
			frame[n_bytes - 1] ^= 1;
		network_pins(s, mux, frame, n_bytes);
	}
}

void host_on_tick(struct sim *s, uint32_t host)
{
	if (!host_is_up(s, host))
		return;
	agent_expire_flows(host_agent(s, host), sim_now(s), 100000);
	agent_side_tick(s, host);
}
