// From the uplink to the VMs, top to bottom: stage_parse sees every frame, stage_deliver those that wait for their flow.
#include "common/packet/nat.h"
#include "hostagent/core/agent.h"
#include "hostagent/core/rewrite.h"
#include "hostagent/core/verdict.h"

// ---- Stage 1: what is it, and for whom ----

static void on_arp(struct agent *a, struct agent_packet *p)
{
	struct arp_info arp;
	enum drop_reason reason = arp_parse(p->frame, p->len, &arp);
	if (reason != DROP_NONE) {
		verdict_drop(a, p, reason);
		return;
	}
	neighbor_table_on_arp(&a->neighbors, &arp, a->now);
	bool asks_for_dip = arp.operation == ARP_REQUEST && a->settings.proxy_arp && a->config != NULL &&
	                    agent_config_lookup_dip(a->config, arp.target_ip) != AGENT_NO_PORT;
	// A gratuitous ARP of a DIP is its VM's own word, or another host's that has it now: no question to us (RFC 5227).
	if (asks_for_dip && arp.sender_ip != arp.target_ip) {
		arp_write_reply(p->frame, &a->settings.uplink_mac);
		p->len = ARP_FRAME_BYTES;
		p->verdict = AGENT_TO_UPLINK;
		counter_add(&a->counters.arp_replies, 1);
		return;
	}
	bool is_ours = arp.target_ip == a->settings.address || arp.sender_ip == arp.target_ip;
	if (is_ours)
		p->verdict = AGENT_TO_TAP;
	else
		verdict_drop(a, p, DROP_NOT_FOR_US);
}

// A packet to a VIP inside one to the DIP (RFC 2003).
static void on_encapsulated(struct agent *a, struct agent_packet *p)
{
	struct parsed outer = p->ip;
	if (!agent_config_is_encap_source(a->config, outer.src)) {
		verdict_drop(a, p, DROP_ENCAP_SOURCE);
		return;
	}
	enum drop_reason reason = parse_ip4(p->frame, (uint32_t)outer.l3_off + outer.l3_bytes, outer.l4_off, &p->ip);
	if (reason != DROP_NONE) {
		verdict_drop(a, p, reason == DROP_FRAGMENT ? reason : DROP_ENCAP_MALFORMED);
		return;
	}
	if (p->ip.protocol != IP_PROTO_TCP && p->ip.protocol != IP_PROTO_UDP) {
		verdict_drop(a, p, DROP_ENCAP_NO_ENDPOINT);
		return;
	}
	p->wait = WAIT_INBOUND;
}

static void give_plain(struct agent *a, struct agent_packet *p)
{
	verdict_to_vm(a, p, p->port);
	if (p->verdict == AGENT_TO_VM)
		counter_add(&a->counters.inbound_plain_packets, 1);
}

// A packet to the DIP itself goes to the VM as it is. TCP to a port that an endpoint uses is remembered, so that the VM's
// replies are known not to be those of a VIP's lost flow (outbound.c).
static void on_plain(struct agent *a, struct agent_packet *p, bool has_ports)
{
	if (has_ports && p->ip.protocol == IP_PROTO_TCP &&
	    agent_config_lookup_service(a->config, p->ip.dst, p->ip.dst_port, IP_PROTO_TCP) != NULL) {
		p->wait = WAIT_PLAIN;
		return;
	}
	give_plain(a, p);
}

static void on_ip4(struct agent *a, struct agent_packet *p)
{
	bool has_ports;
	enum drop_reason reason = parse_carried(p, &has_ports);
	if (reason != DROP_NONE) {
		verdict_drop(a, p, reason);
		return;
	}
	if (p->ip.dst == a->settings.address) {
		p->verdict = AGENT_TO_TAP;
		return;
	}
	if (a->config == NULL) {
		verdict_drop(a, p, DROP_NO_CONFIG);
		return;
	}
	p->dip = p->ip.dst;
	p->port = agent_config_lookup_dip(a->config, p->dip);
	if (p->port == AGENT_NO_PORT) {
		verdict_drop(a, p, DROP_NOT_FOR_US);
		return;
	}
	if (p->ip.protocol != IP_PROTO_IPIP) {
		on_plain(a, p, has_ports);
		return;
	}
	// A piece of an encapsulated packet is nothing that a VM may see.
	const struct ip4_header *ip = (const struct ip4_header *)(p->frame + p->ip.l3_off);
	if ((ip->fragment & be16_from(IP4_MORE_FRAGMENTS | IP4_OFFSET_MASK)) != 0)
		verdict_drop(a, p, DROP_FRAGMENT);
	else
		on_encapsulated(a, p);
}

static void stage_parse(struct agent *a, struct agent_packet *p)
{
	p->wait = WAIT_NOTHING;
	p->reason = DROP_NONE;
	if (p->len < ETH_BYTES) {
		verdict_drop(a, p, DROP_RUNT);
		return;
	}
	be16 type = frame_ether_type(p->frame);
	if (type == be16_from(ETHER_ARP)) {
		on_arp(a, p);
		return;
	}
	if (!mac_equal(&((const struct eth_header *)p->frame)->dst, &a->settings.uplink_mac)) {
		verdict_drop(a, p, DROP_NOT_FOR_US);
		return;
	}
	if (type != be16_from(ETHER_IP4)) {
		verdict_drop(a, p, DROP_ETHER_TYPE);
		return;
	}
	on_ip4(a, p);
	if (p->wait == WAIT_NOTHING)
		return;
	packet_hash(a, p, FLOW_INBOUND);
	flow_table_prefetch(&a->flows, p->hash);
}

// ---- Stage 3: the flow is known, or begins ----

// The VM cannot tell two connections of one client address and port to one port of its own apart. The one that is over,
// or only guessed, gives way; UDP has no connections, so the latest speaks. Returns false when the old one stays.
static bool make_way(struct agent *a, const struct flow_tuple *tuple)
{
	struct flow_key reply = flow_tuple_key(tuple, FLOW_REPLY);
	struct flow_entry *old = flow_table_lookup(&a->flows, &reply, flow_table_hash(&a->flows, &reply));
	if (old == NULL)
		return true;
	if (!flow_state_is_over(old->state) && !flow_state_is_guess(old->state) && old->state != FLOW_UDP)
		return false;
	flow_table_remove(&a->flows, old);
	counter_add(&a->counters.flows_replaced, 1);
	return true;
}

static struct flow_entry *open_flow(struct agent *a, const struct agent_packet *p, const struct flow_tuple *tuple,
                                    enum drop_reason *ret_reason)
{
	if (!make_way(a, tuple)) {
		*ret_reason = DROP_FLOW_CONFLICT;
		return NULL;
	}
	enum flow_state state = flow_state_first(tuple->protocol, FLOW_INBOUND, p->ip.tcp_flags);
	struct flow_entry *flow = flow_table_insert(&a->flows, tuple, state);
	if (flow == NULL) {
		*ret_reason = DROP_FLOW_TABLE_FULL;
		return NULL;
	}
	bool is_first = state == FLOW_UDP || state == FLOW_SYN;
	counter_add(is_first ? &a->counters.flows_created : &a->counters.flows_adopted, 1);
	return flow;
}

static struct flow_tuple tuple_of(const struct agent_packet *p, be16 dip_port)
{
	return (struct flow_tuple){
		.remote = p->ip.src,
		.vip = p->ip.dst,
		.dip = p->dip,
		.remote_port = p->ip.src_port,
		.vip_port = p->ip.dst_port,
		.dip_port = dip_port,
		.protocol = p->ip.protocol,
	};
}

// The flow of an inbound packet, if it is known and goes on; one that is over gives way to a new SYN (TIME_WAIT reuse),
// and one whose VM has left this host to whoever serves the endpoint now.
static struct flow_entry *known_flow(struct agent *a, struct agent_packet *p)
{
	struct flow_entry *flow = flow_table_lookup_staged(&a->flows, &p->key, p->hash, p->candidate);
	if (flow == NULL)
		return NULL;
	if (flow->dip != p->dip)
		p->port = agent_config_lookup_dip(a->config, flow->dip);
	bool is_new_connection = tcp_is_syn(p->ip.tcp_flags) && flow_state_is_over((enum flow_state)flow->state);
	if (__builtin_expect(!is_new_connection && p->port != AGENT_NO_PORT, 1))
		return flow;
	flow_table_remove(&a->flows, flow);
	counter_add(&a->counters.flows_replaced, 1);
	p->port = agent_config_lookup_dip(a->config, p->dip);
	return NULL;
}

// The packet is the VM's by now, addresses and checksums.
static void deliver(struct agent *a, struct agent_packet *p)
{
	if (__builtin_expect(p->ip.tcp_flags & TCP_SYN, 0) && nat_clamp_mss(p->frame, &p->ip, a->settings.mss))
		counter_add(&a->counters.mss_clamped, 1);
	verdict_to_vm(a, p, p->port);
	if (p->verdict != AGENT_TO_VM)
		return;
	counter_add(&a->counters.inbound_packets, 1);
	counter_add(&a->counters.inbound_bytes, p->ip.l3_bytes);
}

// The flow was only guessed from the VM's packets (outbound.c), and the client knows nothing of it: its connection is a
// plain one. The RST answers our mistake and must not reach the VM.
static void withdraw_guess(struct agent *a, struct agent_packet *p, struct flow_entry *flow)
{
	struct flow_tuple plain = {
		.remote = flow->remote,
		.vip = flow->dip,
		.dip = flow->dip,
		.remote_port = flow->remote_port,
		.vip_port = flow->dip_port,
		.dip_port = flow->dip_port,
		.protocol = flow->protocol,
	};
	flow_table_remove(&a->flows, flow);
	(void)flow_table_insert(&a->flows, &plain, FLOW_UNCONFIRMED_OUT);
	verdict_drop(a, p, DROP_FLOW_NOT_SYN);
}

// What is not known must be for an endpoint that the DIP serves. A packet from the middle of a connection is adopted: no
// other host can know it (design section 4 will ask the older owners first); only a RST makes no flow.
static void deliver_unknown(struct agent *a, struct agent_packet *p)
{
	const struct agent_endpoint *endpoint =
	    agent_config_lookup_endpoint(a->config, p->ip.dst, p->ip.dst_port, p->ip.protocol, p->dip);
	if (endpoint == NULL) {
		verdict_drop(a, p, DROP_ENCAP_NO_ENDPOINT);
		return;
	}
	if ((p->ip.tcp_flags & TCP_RST) == 0) {
		struct flow_tuple tuple = tuple_of(p, endpoint->dip_port);
		enum drop_reason reason = DROP_NONE;
		if (open_flow(a, p, &tuple, &reason) == NULL) {
			verdict_drop(a, p, reason);
			return;
		}
	}
	nat_rewrite_dst(p->frame, &p->ip, p->dip, endpoint->dip_port);
	deliver(a, p);
}

// A known flow goes to its own DIP, whatever the endpoint's DIPs are by now and whichever of this host's DIPs the mux
// chose.
static void deliver_inbound(struct agent *a, struct agent_packet *p)
{
	struct flow_entry *flow = known_flow(a, p);
	if (__builtin_expect(flow == NULL, 0)) {
		deliver_unknown(a, p);
		return;
	}
	if (__builtin_expect((p->ip.tcp_flags & TCP_RST) != 0, 0) && flow_state_is_guess(flow->state)) {
		withdraw_guess(a, p, flow);
		return;
	}
	flow_entry_touch(&a->flows, flow, FLOW_INBOUND, p->ip.tcp_flags);
	rewrite_inbound(p->frame, &p->ip, flow);
	deliver(a, p);
}

// A plain connection to an endpoint's port: a flow that is not rewritten. It is delivered in any case; if the table is full,
// or if the client has a connection through the VIP with the same ports, it is just not remembered.
static void deliver_plain(struct agent *a, struct agent_packet *p)
{
	struct flow_entry *flow = flow_table_lookup_staged(&a->flows, &p->key, p->hash, p->candidate);
	bool is_over = flow != NULL && tcp_is_syn(p->ip.tcp_flags) && flow_state_is_over((enum flow_state)flow->state);
	if (is_over)
		flow_table_remove(&a->flows, flow);
	if (flow != NULL && !is_over) {
		flow_entry_touch(&a->flows, flow, FLOW_INBOUND, p->ip.tcp_flags);
	} else if ((p->ip.tcp_flags & TCP_RST) == 0) {
		struct flow_tuple tuple = tuple_of(p, p->ip.dst_port);
		enum drop_reason ignored = DROP_NONE;
		(void)open_flow(a, p, &tuple, &ignored);
	}
	give_plain(a, p);
}

static void stage_deliver(struct agent *a, struct agent_packet *p)
{
	if (p->wait == WAIT_INBOUND)
		deliver_inbound(a, p);
	else if (p->wait == WAIT_PLAIN)
		deliver_plain(a, p);
}

void agent_inbound(struct agent *a, struct agent_packet *packets, uint32_t n)
{
	for (uint32_t i = 0; i < n; i++)
		stage_parse(a, &packets[i]);
	for (uint32_t i = 0; i < n; i++) // Stage 2
		if (packets[i].wait != WAIT_NOTHING)
			packets[i].candidate = flow_table_prefetch_entry(&a->flows, packets[i].hash);
	for (uint32_t i = 0; i < n; i++)
		stage_deliver(a, &packets[i]);
}
