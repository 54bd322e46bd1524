// From the VMs to the world, top to bottom: stage_parse checks every frame of a VM, stage_forward sends it on its way.
#include "common/packet/nat.h"
#include "hostagent/core/agent.h"
#include "hostagent/core/rewrite.h"
#include "hostagent/core/verdict.h"

// ---- Stage 1: is it the VM's to send? ----

// The VM's whole world is behind the gateway: whatever it asks for, the answer is the gateway's MAC. Not for its own
// address, so that its duplicate address detection (RFC 5227) finds no duplicate.
static void on_arp(struct agent *a, struct agent_packet *p)
{
	static const struct mac gateway = AGENT_GATEWAY_MAC;
	struct arp_info arp;
	enum drop_reason reason = arp_parse(p->frame, p->len, &arp);
	if (reason != DROP_NONE) {
		verdict_drop(a, p, reason);
		return;
	}
	if (!mac_equal(&arp.sender_mac, &a->config->ports[p->port].mac)) {
		verdict_drop(a, p, DROP_SPOOFED_MAC);
		return;
	}
	bool is_probe = arp.sender_ip == 0;
	if (!is_probe && agent_config_lookup_dip(a->config, arp.sender_ip) != p->port) {
		verdict_drop(a, p, DROP_SPOOFED_SOURCE);
		return;
	}
	bool is_own = arp.sender_ip == arp.target_ip || agent_config_lookup_dip(a->config, arp.target_ip) == p->port;
	if (arp.operation != ARP_REQUEST || is_own) {
		verdict_drop(a, p, DROP_NOT_FOR_US);
		return;
	}
	arp_write_reply(p->frame, &gateway);
	p->len = ARP_FRAME_BYTES;
	p->verdict = AGENT_TO_VM;
	counter_add(&a->counters.arp_replies, 1);
}

// To a VM of this host directly, else by the gateway. The packet is final but for its MAC addresses.
static void forward(struct agent *a, struct agent_packet *p)
{
	uint16_t local_port = agent_config_lookup_dip(a->config, p->ip.dst);
	if (local_port == AGENT_NO_PORT) {
		verdict_to_gateway(a, p, p->hash);
		return;
	}
	verdict_to_vm(a, p, local_port);
	if (p->verdict == AGENT_TO_VM)
		counter_add(&a->counters.local_packets, 1);
}

static void forward_plain(struct agent *a, struct agent_packet *p)
{
	forward(a, p);
	if (p->verdict == AGENT_TO_UPLINK)
		counter_add(&a->counters.outbound_plain_packets, 1);
}

static inline void on_ip4(struct agent *a, struct agent_packet *p)
{
	struct parsed ip;
	enum drop_reason reason = parse_ip4(p->frame, p->len, ETH_BYTES, &ip);
	if (!reason_is_carried(reason)) {
		verdict_drop(a, p, reason);
		return;
	}
	if (agent_config_lookup_dip(a->config, ip.src) != p->port) {
		verdict_drop(a, p, DROP_SPOOFED_SOURCE);
		return;
	}
	if (ip.protocol == IP_PROTO_IPIP) {
		verdict_drop(a, p, DROP_VM_ENCAP);
		return;
	}
	if (reason == DROP_NONE && (ip.protocol == IP_PROTO_TCP || ip.protocol == IP_PROTO_UDP)) {
		packet_wait(a, p, &ip, WAIT_REPLY);
		return;
	}
	struct flow_key key = packet_key(&ip, FLOW_REPLY);
	p->ip = ip;
	p->hash = flow_table_hash(&a->flows, &key); // chooses among several gateways
	forward_plain(a, p);
}

static inline void stage_parse(struct agent *a, struct agent_packet *p)
{
	p->wait = WAIT_NOTHING;
	p->reason = DROP_NONE;
	if (a->config == NULL) {
		verdict_drop(a, p, DROP_NO_CONFIG);
		return;
	}
	if (p->len < ETH_BYTES) {
		verdict_drop(a, p, DROP_RUNT);
		return;
	}
	const struct eth_header *eth = (const struct eth_header *)p->frame;
	if (!mac_equal(&eth->src, &a->config->ports[p->port].mac)) {
		verdict_drop(a, p, DROP_SPOOFED_MAC);
		return;
	}
	if (eth->ether_type == be16_from(ETHER_ARP)) {
		on_arp(a, p);
		return;
	}
	if (eth->ether_type != be16_from(ETHER_IP4)) {
		verdict_drop(a, p, DROP_ETHER_TYPE);
		return;
	}
	// Any single destination is the gateway's (see on_arp), also one that the VM knew before it was attached here.
	if (mac_is_group(&eth->dst)) {
		verdict_drop(a, p, DROP_NOT_FOR_US);
		return;
	}
	on_ip4(a, p);
}

// ---- Stage 3: a reply of a flow, or the VM's own business ----

// The state of a connection was lost, but the VM still has it. It is taken over when there is no doubt whose it is: one
// endpoint uses this DIP:port, the packet is no beginning, and the peer is none of the data centre, which would speak to
// the DIP itself. (A plain connection from elsewhere is known: inbound.c remembered it.) Sending such a packet as it is
// would be worse than losing it: the client answers a stranger with a RST, and that kills the VM's connection.
static struct flow_entry *adopt_reply(struct agent *a, const struct agent_packet *p)
{
	if (p->ip.protocol != IP_PROTO_TCP || tcp_is_syn(p->ip.tcp_flags))
		return NULL;
	const struct agent_endpoint *e = agent_config_lookup_service(a->config, p->ip.src, p->ip.src_port, p->ip.protocol);
	if (e == NULL || e->is_ambiguous || agent_config_is_known(a->config, p->ip.dst))
		return NULL;
	struct flow_tuple tuple = {
		.remote = p->ip.dst,
		.vip = e->vip,
		.dip = e->dip,
		.remote_port = p->ip.dst_port,
		.vip_port = e->vip_port,
		.dip_port = e->dip_port,
		.protocol = e->protocol,
	};
	struct flow_key inbound = flow_tuple_key(&tuple, FLOW_INBOUND);
	if (flow_table_lookup(&a->flows, &inbound, flow_table_hash(&a->flows, &inbound)) != NULL)
		return NULL; // the client's connection to the VIP is another VM's by now
	struct flow_entry *flow =
		flow_table_insert(&a->flows, &tuple, flow_state_first(tuple.protocol, FLOW_REPLY, p->ip.tcp_flags));
	if (flow != NULL)
		counter_add(&a->counters.flows_adopted, 1);
	return flow;
}

static struct flow_entry *reply_flow(struct agent *a, const struct agent_packet *p)
{
	struct flow_entry *flow = packet_flow(a, p, FLOW_REPLY);
	if (flow == NULL)
		return adopt_reply(a, p);
	bool is_new_connection = tcp_is_syn(p->ip.tcp_flags) && flow_state_is_over((enum flow_state)flow->state);
	if (__builtin_expect(!is_new_connection, 1))
		return flow;
	flow_table_remove(&a->flows, flow); // the VM itself connects from a port that it served before
	counter_add(&a->counters.flows_replaced, 1);
	return NULL;
}

static void stage_forward(struct agent *a, struct agent_packet *p)
{
	if (p->wait == WAIT_NOTHING)
		return;
	struct flow_entry *flow = reply_flow(a, p);
	if (flow == NULL) {
		forward_plain(a, p);
		return;
	}
	flow_entry_touch(&a->flows, flow, FLOW_REPLY, p->ip.tcp_flags);
	if (flow->vip == flow->dip) {
		forward_plain(a, p);
		return;
	}
	rewrite_reply(p->frame, &p->ip, flow);
	if (__builtin_expect(p->ip.tcp_flags & TCP_SYN, 0) && nat_clamp_mss(p->frame, &p->ip, a->settings.mss))
		counter_add(&a->counters.mss_clamped, 1);
	forward(a, p);
	if (p->verdict == AGENT_DROP)
		return;
	counter_add(&a->counters.outbound_packets, 1);
	counter_add(&a->counters.outbound_bytes, p->ip.l3_bytes);
}

void agent_outbound(struct agent *a, struct agent_packet *packets, uint32_t n)
{
	for (uint32_t i = 0; i < n; i++)
		stage_parse(a, &packets[i]);
	for (uint32_t i = 0; i < n; i++) // Stage 2
		if (__builtin_expect(packets[i].wait != WAIT_NOTHING, 1))
			packets[i].candidate = flow_table_prefetch_entry(&a->flows, packets[i].hash);
	for (uint32_t i = 0; i < n; i++)
		stage_forward(a, &packets[i]);
}
