// A host of the simulation: the real agent between the uplink and the ports of its VMs.
#include <stdlib.h>
#include <string.h>

#include "common/base/check.h"
#include "common/base/memory.h"
#include "tests/sim/sim.h"

#define FLOW_OWNER 7
#define PORTS_MAX AGENT_PORTS_MAX

static const struct mac host_mac = { { 2, 0, 0, 0, 0, 3 } };
static const struct mac gateway_mac = { { 2, 0, 0, 0, 0, 1 } };

static void init_agent(struct sim *s, struct sim_host *h)
{
	struct agent_settings settings = { .uplink_mac = host_mac, .address = h->address, .mss = 1440 };
	be32 gateway = be32_from(GATEWAY);
	struct arp_info arp = { .operation = ARP_REPLY, .sender_mac = gateway_mac, .sender_ip = gateway };
	agent_init(&h->agent, &settings, &gateway, 1);
	neighbor_table_on_arp(&h->agent.neighbors, &arp, sim_now(s));
	memset(h->agent.port_is_open, true, sizeof h->agent.port_is_open);
	h->agent.config = h->config;
}

static uint64_t flow_seed(const struct sim *s, const struct sim_host *h)
{
	return hash_mix64(s->options.seed ^ ((uint64_t)h->address << 8));
}

void host_start(struct sim *s, uint32_t host)
{
	struct sim_host *h = &s->hosts[host];
	uint64_t share = (uint64_t)s->options.n_connections * 3 / s->options.n_hosts;
	h->capacity = (uint32_t)(share + 4096);
	h->is_alive = true;
	h->block = aligned_alloc(4096, (flow_table_bytes(h->capacity) + 4095) & ~(size_t)4095);
	CHECK(h->block != NULL);
	store_init(&h->store);
	init_agent(s, h);
	flow_table_init(&h->agent.flows, h->block, h->capacity, flow_seed(s, h), FLOW_OWNER, sim_now(s));
	managers_subscribe(s, node_of_host(s, host));
}

void host_free(struct sim *s, uint32_t host)
{
	struct sim_host *h = &s->hosts[host];
	agent_config_destroy(h->config);
	store_fini(&h->store);
	free(h->block);
	h->config = NULL;
	h->block = NULL;
}

void host_collect(struct sim *s, uint32_t host)
{
	const struct sim_host *h = &s->hosts[host];
	for (uint32_t i = 0; i < DROP_REASON_COUNT; i++)
		s->stats.agent_drops += h->agent.counters.drops[i];
	s->stats.adopted += h->agent.counters.flows_adopted;
}

// A new process of the agent: its configuration and its flows are what the one before it left.
void host_restart(struct sim *s, uint32_t host, bool keeps_flows)
{
	struct sim_host *h = &s->hosts[host];
	host_collect(s, host);
	init_agent(s, h);
	if (keeps_flows)
		CHECK(flow_table_attach(&h->agent.flows, h->block, flow_table_bytes(h->capacity), h->capacity, FLOW_OWNER,
		                        sim_now(s), NULL) == 0);
	else
		flow_table_init(&h->agent.flows, h->block, h->capacity, flow_seed(s, h), FLOW_OWNER, sim_now(s));
	managers_subscribe(s, node_of_host(s, host));
}

void host_kill(struct sim *s, uint32_t host)
{
	struct sim_host *h = &s->hosts[host];
	h->is_alive = false;
	host_collect(s, host);
	managers_unsubscribe(s, node_of_host(s, host));
	for (uint32_t i = host; i < s->options.n_dips; i += s->options.n_hosts)
		s->vms[i].is_alive = false;
	vm_forget_host(s, host);
}

void host_use_store(struct sim *s, uint32_t host)
{
	struct sim_host *h = &s->hosts[host];
	struct agent_config *config;
	CHECK(agent_config_create(&h->store, h->name, PORTS_MAX, h->config, &config, NULL) == 0);
	agent_config_destroy(h->config);
	h->config = config;
	h->agent.config = config;
}

static bool host_is_up(const struct sim *s, const struct sim_host *h)
{
	return h->is_alive && h->down_until_us <= s->now_us;
}

static void lose(struct sim *s, struct packet *p)
{
	s->stats.lost++;
	packet_give_back(s, p);
}

// The verdict of the agent, whichever way the packet came.
static void follow_verdict(struct sim *s, struct packet *p, const struct agent_packet *ap)
{
	p->offset = (uint16_t)(ap->frame - p->bytes);
	p->len = (uint16_t)ap->len;
	if (ap->verdict == AGENT_TO_UPLINK)
		network_by_address(s, p);
	else if (ap->verdict == AGENT_TO_VM)
		vm_on_packet(s, be32_to(load32(ap->frame + ETH_BYTES + 16)) - DIP_BASE, p);
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

void host_on_packet(struct sim *s, uint32_t host, struct packet *p)
{
	struct sim_host *h = &s->hosts[host];
	const uint8_t *inner = packet_frame(p) + ETH_BYTES + IP4_BYTES;
	uint32_t connection = connection_of(load32(inner + 12), load16(inner + IP4_BYTES));
	if (!host_is_up(s, h)) {
		TRACE(s, connection, "    host %u is not there", host);
		lose(s, p);
		return;
	}
	struct agent_packet ap = { .frame = packet_frame(p), .len = p->len };
	uint64_t adopted = h->agent.counters.flows_adopted;
	memcpy(ap.frame, host_mac.bytes, MAC_BYTES);
	agent_set_now(&h->agent, sim_now(s));
	agent_inbound(&h->agent, &ap, 1);
	if (h->agent.counters.flows_adopted != adopted)
		TRACE(s, connection, "    host %u adopts it", host);
	if (ap.verdict == AGENT_TO_UPLINK)
		note_detour(s, p, connection, &ap);
	else if (ap.verdict == AGENT_DROP)
		TRACE(s, connection, "    host %u drops it: %s", host, drop_reason_name(ap.reason));
	follow_verdict(s, p, &ap);
}

void host_from_vm(struct sim *s, uint32_t vm, struct packet *p)
{
	struct sim_host *h = &s->hosts[s->vms[vm].host];
	if (!host_is_up(s, h) || h->config == NULL) {
		lose(s, p);
		return;
	}
	uint16_t port = agent_config_lookup_dip(h->config, dip_address(vm));
	if (port == AGENT_NO_PORT) {
		lose(s, p);
		return;
	}
	struct agent_packet ap = { .frame = packet_frame(p), .len = p->len, .port = port };
	agent_set_now(&h->agent, sim_now(s));
	agent_outbound(&h->agent, &ap, 1);
	follow_verdict(s, p, &ap);
}

void host_on_tick(struct sim *s, uint32_t host)
{
	struct sim_host *h = &s->hosts[host];
	if (host_is_up(s, h))
		agent_expire_flows(&h->agent, sim_now(s), 100000);
}
