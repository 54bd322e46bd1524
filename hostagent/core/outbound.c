// From the VMs to the world, top to bottom: stage_parse checks every frame of a VM, stage_forward sends it on its way.
#include "common/packet/martian.h"
#include "common/packet/nat.h"
#include "common/packet/tcp_reset.h"
#include "hostagent/core/flows.h"
#include "hostagent/core/fragmented.h"
#include "hostagent/core/nd_path.h"
#include "hostagent/core/probe_path.h"
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

// To a VM of this host directly, else by the gateway. The packet is final but for its MAC addresses. `is_ip6` as of
// verdict_to_vm_as.
static HOT_PATH void forward_as(struct agent *a, struct agent_packet *p, bool is_ip6)
{
	uint16_t local_port = AGENT_NO_PORT;
	if (!is_ip6 || p->remote_name != 0)
		local_port = agent_config_lookup_dip(a->config, is_ip6 ? p->remote_name : p->ip.dst);
	if (local_port == AGENT_NO_PORT) {
		verdict_to_gateway(a, p, p->hash, is_ip6);
		return;
	}
	verdict_to_vm_as(a, p, local_port, is_ip6);
	if (p->verdict == AGENT_TO_VM)
		counter_add(&a->counters.local_packets, 1);
}

static void forward(struct agent *a, struct agent_packet *p)
{
	forward_as(a, p, p->ip.is_ip6);
}

static void forward_plain(struct agent *a, struct agent_packet *p)
{
	forward(a, p);
	if (p->verdict == AGENT_TO_UPLINK)
		counter_add(&a->counters.outbound_plain_packets, 1);
}

// How the sender is SNATed towards this destination; NULL: not at all, the packet leaves as it is.
static const struct agent_snat *snat_towards(const struct agent *a, const struct agent_packet *p,
                                             const struct parsed *ip)
{
	const struct agent_snat *snat = agent_config_lookup_snat(a->config, ip->src);
	if (snat == NULL)
		return NULL;
	bool is_inside = ip->is_ip6 ? agent_config_is_inside6(a->config, parsed_dst6(p->frame, ip), p->remote_name)
	                            : agent_config_is_inside(a->config, ip->dst);
	return is_inside ? NULL : snat;
}

// May a packet of this VM be a flow's?
static bool may_have_flow(const struct agent *a, const struct agent_packet *p, const struct parsed *ip)
{
	return dip_flows_read(&a->dip_flows, ip->src) > 0 || snat_towards(a, p, ip) != NULL;
}

// What has no flow and can have none: a header that is none, another protocol. A DIP that is SNATed does not
// reach the outside with it.
COLD_PATH static void forward_without_flow(struct agent *a, struct agent_packet *p, struct parsed ip,
                                           enum drop_reason reason)
{
	if (probe_path_is_destination(a, p->frame, &ip)) {
		probe_path_answer(a, p, ip, reason);
		return;
	}
	if (snat_towards(a, p, &ip) != NULL) {
		verdict_drop(a, p, reason);
		return;
	}
	struct flow_key key = packet_key(p->frame, &ip, FLOW_REPLY);
	p->ip = ip;
	p->hash = flow_table_hash(&a->flows, &key); // chooses among several gateways
	forward_plain(a, p);
}

// An echo request that is SNATed has its identifier for a port; an error belongs to the flow of the packet inside.
COLD_PATH static void on_icmp(struct agent *a, struct agent_packet *p, struct parsed ip)
{
	const struct icmp_header *icmp = (const struct icmp_header *)(p->frame + ip.l4_off);
	struct icmp_error error;
	if (probe_path_is_destination(a, p->frame, &ip)) {
		probe_path_answer(a, p, ip, DROP_NONE);
		return;
	}
	bool is_error = ip.is_ip6 ? icmp6_type_is_error(icmp->type) : icmp_type_is_error(icmp->type);
	if (icmp->type == (ip.is_ip6 ? ICMP6_ECHO : ICMP_ECHO) && snat_towards(a, p, &ip) != NULL) {
		ip.src_port = icmp->id;
		packet_wait_flow(a, p, &ip, FLOW_REPLY);
	} else if (error_read(a, p->frame, &ip, FLOW_REPLY, &error)) {
		struct flow_key key = error_key(p->frame, &error, FLOW_REPLY);
		packet_wait_for(a, p, &ip, &key, WAIT_ERROR);
	} else {
		forward_without_flow(a, p, ip, is_error ? DROP_ICMP_UNKNOWN : DROP_SNAT_UNSUPPORTED);
	}
}

// A protocol without ports: it may be the reply of a flow that an endpoint for all protocols has.
COLD_PATH static void on_other(struct agent *a, struct agent_packet *p, struct parsed ip)
{
	if (!may_have_flow(a, p, &ip) || !packet_has_l4(&ip))
		forward_without_flow(a, p, ip, DROP_SNAT_UNSUPPORTED);
	else
		packet_wait_flow(a, p, &ip, FLOW_REPLY);
}

// What of it need not be translated is not looked at more closely.
COLD_PATH static void on_fragment(struct agent *a, struct agent_packet *p, struct parsed ip)
{
	if (a->fragments == NULL || !may_have_flow(a, p, &ip) || probe_path_is_destination(a, p->frame, &ip)) {
		forward_without_flow(a, p, ip, DROP_SNAT_UNSUPPORTED);
		return;
	}
	p->ip = ip;
	p->hash = 0;
	p->wait = WAIT_FRAGMENT;
}

// A packet that is the VM's to send. What carries another packet is what hosts and muxes speak.
__attribute__((noinline)) static void on_sent(struct agent *a, struct agent_packet *p, struct parsed ip,
                                              enum drop_reason reason)
{
	if (ip_protocol_is_tunnel(ip.protocol)) {
		verdict_drop(a, p, DROP_VM_ENCAP);
		return;
	}
	if (reason == DROP_NONE && packet_is_icmp(&ip))
		on_icmp(a, p, ip);
	else if (reason == DROP_NONE)
		on_other(a, p, ip);
	else if (reason == DROP_FRAGMENT)
		on_fragment(a, p, ip);
	else
		forward_without_flow(a, p, ip, DROP_SNAT_UNSUPPORTED);
}

static inline void on_ip4(struct agent *a, struct agent_packet *p)
{
	struct parsed ip;
	enum drop_reason reason = parse_ip4(p->frame, p->len, ETH_BYTES, &ip);
	if (!reason_is_carried(reason)) {
		verdict_drop(a, p, reason);
		return;
	}
	// An IPv4 packet from 0.0.0.0/8 would have the name of an IPv6 DIP (common/packet/addr_names.h).
	if (__builtin_expect(addr_is_name(ip.src), 0) || agent_config_lookup_dip(a->config, ip.src) != p->port) {
		verdict_drop(a, p, DROP_SPOOFED_SOURCE);
		return;
	}
	if (__builtin_expect(reason == DROP_NONE && (ip.protocol == IP_PROTO_TCP || ip.protocol == IP_PROTO_UDP), 1))
		packet_wait(a, p, &ip, WAIT_REPLY);
	else
		on_sent(a, p, ip, reason);
}

// Whom nothing is forwarded to: groups, this host, one segment.
__attribute__((noinline)) static void on_ip6(struct agent *a, struct agent_packet *p)
{
	struct parsed ip;
	enum drop_reason reason = parse_ip6(p->frame, p->len, ETH_BYTES, &ip);
	if (!reason_is_carried(reason)) {
		verdict_drop(a, p, reason);
		return;
	}
	if (__builtin_expect(reason == DROP_NONE && nd_is_nd(p->frame, &ip), 0)) {
		nd_path_vm(a, p, &ip);
		return;
	}
	if (mac_is_group(&((const struct eth_header *)p->frame)->dst)) {
		verdict_drop(a, p, DROP_NOT_FOR_US);
		return;
	}
	p->remote_name = parsed_name_outbound(a, p->frame, &ip);
	if (ip.src == 0 || agent_config_lookup_dip(a->config, ip.src) != p->port) {
		verdict_drop(a, p, DROP_SPOOFED_SOURCE);
		return;
	}
	if (ip6_is_martian(parsed_dst6(p->frame, &ip))) {
		verdict_drop(a, p, DROP_BAD_DESTINATION);
		return;
	}
	if (reason == DROP_NONE && (ip.protocol == IP_PROTO_TCP || ip.protocol == IP_PROTO_UDP))
		packet_wait(a, p, &ip, WAIT_REPLY6);
	else
		on_sent(a, p, ip, reason);
}

__attribute__((noinline)) static void on_other_type(struct agent *a, struct agent_packet *p, be16 type)
{
	if (type == be16_from(ETHER_ARP))
		on_arp(a, p);
	else if (type == be16_from(ETHER_IP6))
		on_ip6(a, p);
	else
		verdict_drop(a, p, DROP_ETHER_TYPE);
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
	if (__builtin_expect(eth->ether_type != be16_from(ETHER_IP4), 0)) {
		on_other_type(a, p, eth->ether_type);
		return;
	}
	// Any single destination is the gateway's (see on_arp), also one that the VM knew before it was attached here.
	if (mac_is_group(&eth->dst)) {
		verdict_drop(a, p, DROP_NOT_FOR_US);
		return;
	}
	on_ip4(a, p);
}

// ---- Stage 2: the flow is on its way, or, when it will be a new one of SNAT, what says which ports are in use ----

static struct flow_tuple new_tuple(const struct agent_packet *p)
{
	return (struct flow_tuple){ .remote = p->ip.dst,
		                        .dip = p->ip.src,
		                        .remote_port = p->ip.dst_port,
		                        .dip_port = p->ip.src_port,
		                        .protocol = p->ip.protocol,
		                        .remote6 = packet_remote6(p->frame, &p->ip, FLOW_REPLY) };
}

static inline bool is_new_connection(const struct agent *a, const struct agent_packet *p)
{
	return (p->wait == WAIT_REPLY || p->wait == WAIT_REPLY6) && p->candidate == FLOW_NO_CANDIDATE &&
	       tcp_is_syn(p->ip.tcp_flags) && a->snat != NULL;
}

// Says whether it will begin a connection.
static inline bool stage_prefetch(struct agent *a, struct agent_packet *p)
{
	if (__builtin_expect(p->wait == WAIT_NOTHING, 0))
		return false;
	p->candidate = packet_prefetch_entry(a, p, p->wait == WAIT_REPLY6);
	if (__builtin_expect(!is_new_connection(a, p), 1))
		return false;
	struct flow_tuple tuple = new_tuple(p);
	snat_prefetch_destination(a->snat, &tuple);
	return true;
}

static void stage_prefetch_port(struct agent *a, struct agent_packet *p)
{
	if (!is_new_connection(a, p))
		return;
	struct flow_tuple tuple = new_tuple(p);
	snat_prefetch_port(a->snat, &a->flows, &tuple);
}

// ---- Stage 3: a packet of a flow, or the VM's own business ----

// The state of a connection was lost, but the VM still has it. It is taken over when there is no doubt whose it is: one
// endpoint uses this DIP:port, the packet is no beginning, and the peer is none of the data centre, which would speak to
// the DIP itself. (A plain connection from elsewhere is known: inbound.c remembered it.) Sending such a packet as it is
// would be worse than losing it: the client answers a stranger with a RST, and that kills the VM's connection.
static struct flow_entry *adopt_reply(struct agent *a, const struct agent_packet *p)
{
	if (p->ip.protocol != IP_PROTO_TCP || tcp_is_syn(p->ip.tcp_flags))
		return NULL;
	const struct agent_endpoint *e = agent_config_lookup_service(a->config, p->ip.src, p->ip.src_port, p->ip.protocol);
	if (e == NULL || e->is_ambiguous || agent_config_is_known(a->config, packet_peer(p, &p->ip)))
		return NULL;
	struct flow_tuple tuple = {
		.remote = p->ip.dst,
		.vip = e->vip,
		.dip = e->dip,
		.remote_port = p->ip.dst_port,
		.vip_port = e->vip_port,
		.dip_port = e->dip_port,
		.protocol = e->protocol,
		.remote6 = packet_remote6(p->frame, &p->ip, FLOW_REPLY),
	};
	struct flow_key inbound = flow_tuple_key(&tuple, FLOW_INBOUND);
	if (flow_table_lookup(&a->flows, &inbound, flow_table_hash(&a->flows, &inbound)) != NULL)
		return NULL; // the client's connection to the VIP is another VM's by now
	if (!agent_flows_have_room(a))
		return NULL;
	struct flow_entry *flow =
		flow_table_insert(&a->flows, &tuple, flow_state_first(tuple.protocol, FLOW_REPLY, p->ip.tcp_flags));
	if (flow == NULL)
		return NULL;
	agent_flow_began(a, flow);
	counter_add(&a->counters.flows_adopted, 1);
	return flow;
}

static HOT_PATH struct flow_entry *reply_flow(struct agent *a, const struct agent_packet *p, bool is_ip6)
{
	struct flow_entry *flow = packet_flow_as(a, p, FLOW_REPLY, is_ip6);
	if (flow == NULL)
		return probe_path_is_destination(a, p->frame, &p->ip) ? NULL : adopt_reply(a, p);
	bool is_over = tcp_is_syn(p->ip.tcp_flags) && flow_state_is_over(flow_entry_state(flow));
	if (__builtin_expect(!is_over, 1))
		return flow;
	agent_flow_remove(a, flow); // the VM itself connects, from a port that it used or served before
	counter_add(&a->counters.flows_replaced, 1);
	return NULL;
}

// The packet becomes the answer to it, for the VM that sent it: a connection attempt gets a RST at once, all else an ICMP
// error, so many a second.
static void refuse(struct agent *a, struct agent_packet *p, enum drop_reason reason)
{
	verdict_drop(a, p, reason);
	if (p->ip.protocol == IP_PROTO_TCP) {
		if ((p->ip.tcp_flags & TCP_RST) != 0)
			return;
		p->ip.l3_bytes = (uint16_t)tcp_write_reset(p->frame, &p->ip);
	} else {
		if (a->snat == NULL || !snat_take_answer(a->snat, p->ip.src))
			return;
		struct icmp_answer answer = icmp_answer_make(&p->ip, ICMP_SAYS_PROHIBITED, 0);
		p->ip.l3_bytes = (uint16_t)icmp_write_answer(p->frame, &p->ip, &answer);
		p->frame -= icmp_error_bytes(&p->ip);
	}
	verdict_to_vm(a, p, p->port);
	if (p->verdict == AGENT_TO_VM)
		counter_add(&a->counters.snat_answered, 1);
}

// Gives the packet's new flow a leased port. NULL: it has its verdict, as there is none now.
static struct flow_entry *begin_snat(struct agent *a, struct agent_packet *p, const struct agent_snat *policy)
{
	if (a->snat == NULL || !agent_flows_have_room(a)) {
		verdict_drop(a, p, a->snat == NULL ? DROP_SNAT_EXHAUSTED : DROP_FLOW_TABLE_FULL);
		return NULL;
	}
	struct flow_tuple tuple = new_tuple(p);
	struct snat_choice choice;
	enum snat_outcome outcome = snat_choose(a->snat, &a->flows, a->config, policy, &tuple, p->held_too_long, &choice);
	if (outcome == SNAT_HELD) {
		p->verdict = AGENT_HOLD;
		p->hold_slot = choice.slot;
		if (!p->was_held)
			counter_add(&a->counters.snat_held, 1);
		return NULL;
	}
	if (outcome == SNAT_REFUSED) {
		refuse(a, p, p->held_too_long ? DROP_SNAT_HOLD_TIMEOUT : DROP_SNAT_EXHAUSTED);
		return NULL;
	}
	uint32_t state = flow_state_begun(tuple.protocol) | FLOW_IS_SNAT;
	struct flow_entry *flow = flow_table_insert_hashed(&a->flows, &tuple, state, choice.inbound_hash, p->hash);
	if (flow == NULL) {
		verdict_drop(a, p, DROP_FLOW_TABLE_FULL);
		return NULL;
	}
	snat_flow_began(a->snat, &tuple, &choice);
	counter_add(&a->counters.snat_flows, 1);
	return flow;
}

// The packet is the VIP's by now, addresses and checksums.
static HOT_PATH void forward_translated_as(struct agent *a, struct agent_packet *p, bool is_ip6)
{
	forward_as(a, p, is_ip6);
	if (p->verdict == AGENT_DROP)
		return;
	counter_add(&a->counters.outbound_packets, 1);
	counter_add(&a->counters.outbound_bytes, p->ip.l3_bytes);
}

static void forward_translated(struct agent *a, struct agent_packet *p)
{
	forward_translated_as(a, p, p->ip.is_ip6);
}

// Of a VM: a SYN-ACK, or the SYN of a connection of its own.
static void on_syn(struct agent *a, struct agent_packet *p, struct flow_entry *flow)
{
	flow_entry_note_isn(flow, be32_to(((const struct tcp_header *)(p->frame + p->ip.l4_off))->seq));
	if (nat_clamp_mss(p->frame, &p->ip, agent_mss(a, p->port, flow->dip)))
		counter_add(&a->counters.mss_clamped, 1);
}

static bool has_snat_port(const struct parsed *ip)
{
	return ip->protocol == IP_PROTO_TCP || ip->protocol == IP_PROTO_UDP || packet_is_icmp(ip);
}

// No flow has it: the one that begins, or NULL: it has its verdict. From here nothing of a SNATed DIP reaches the outside but
// with a leased port.
COLD_PATH static struct flow_entry *new_flow(struct agent *a, struct agent_packet *p)
{
	if (probe_path_is_destination(a, p->frame, &p->ip)) {
		probe_path_answer(a, p, p->ip, DROP_NONE);
		return NULL;
	}
	const struct agent_snat *policy = snat_towards(a, p, &p->ip);
	if (policy == NULL) {
		forward_plain(a, p);
		return NULL;
	}
	if (!p->ip.is_ip6 && ip4_is_martian(p->ip.dst)) {
		verdict_drop(a, p, DROP_BAD_DESTINATION);
		return NULL;
	}
	if (!has_snat_port(&p->ip)) {
		verdict_drop(a, p, DROP_SNAT_UNSUPPORTED);
		return NULL;
	}
	if (p->ip.protocol == IP_PROTO_TCP && !tcp_is_syn(p->ip.tcp_flags)) {
		refuse(a, p, DROP_SNAT_NO_FLOW);
		return NULL;
	}
	return begin_snat(a, p, policy);
}

// A connection to the DIP itself. To the outside a SNATed DIP has none: what came from there came by mistake.
COLD_PATH static void forward_known_plain(struct agent *a, struct agent_packet *p)
{
	if (snat_towards(a, p, &p->ip) == NULL)
		forward_plain(a, p);
	else
		refuse(a, p, DROP_SNAT_NO_FLOW);
}

// From the VM, about a packet that it received: to who sent that.
COLD_PATH static void forward_error(struct agent *a, struct agent_packet *p)
{
	struct icmp_error error;
	struct flow_entry *flow = error_flow(a, p, FLOW_REPLY, &error);
	if (flow == NULL || flow->vip == flow->dip) {
		forward_without_flow(a, p, p->ip, DROP_ICMP_UNKNOWN);
		return;
	}
	if (p->ip.is_ip6)
		icmp6_rewrite_error_src(p->frame, &p->ip, &error, flow_table_addrs(&a->flows, flow)->vip, flow->vip_port);
	else
		icmp_rewrite_error_src(p->frame, &p->ip, &error, flow->vip, flow->vip_port);
	forward(a, p);
	if (p->verdict != AGENT_DROP)
		counter_add(&a->counters.icmp_errors, 1);
}

// A packet that may begin, confirm or end its connection.
__attribute__((noinline)) static void forward_turning(struct agent *a, struct agent_packet *p, struct flow_entry *flow)
{
	rewrite_reply_as(&a->flows, p->frame, &p->ip, flow, flow_entry_any_deltas(&a->flows, flow), p->ip.is_ip6);
	if ((p->ip.tcp_flags & TCP_SYN) != 0)
		on_syn(a, p, flow);
	forward_translated(a, p);
}

void outbound_follow(struct agent *a, struct agent_packet *p, const struct fragment_decision *decision)
{
	struct flow_key key = packet_key(p->frame, &p->ip, FLOW_REPLY);
	p->hash = flow_table_hash(&a->flows, &key);
	counter_add(&a->counters.fragments, 1);
	if (decision->way == FRAGMENT_AS_IT_IS) {
		forward_plain(a, p);
		return;
	}
	if (p->ip.is_ip6)
		nat6_rewrite_fragment_src(p->frame, &p->ip, agent_addr6(a, decision->addr));
	else
		nat_rewrite_fragment_src(p->frame, &p->ip, decision->addr);
	fragmented_put_id(p->frame, &p->ip, decision->id);
	forward_translated(a, p);
}

static bool frame_is_echo(const uint8_t *frame, const struct parsed *ip)
{
	return ((const struct icmp_header *)(frame + ip->l4_off))->type == (ip->is_ip6 ? ICMP6_ECHO : ICMP_ECHO);
}

static bool may_be_translated(const struct agent *a, const struct agent_packet *p)
{
	if (packet_is_icmp(&p->ip))
		return frame_is_echo(p->frame, &p->ip) && snat_towards(a, p, &p->ip) != NULL;
	return true;
}

static __attribute__((noinline)) void stage_forward(struct agent *a, struct agent_packet *packets, uint32_t n);

// The first fragment goes the way of a whole packet, the others after it.
COLD_PATH static void forward_fragment(struct agent *a, struct agent_packet *p)
{
	bool goes_on;
	struct fragment_decision decision;
	struct fragment_datagram *d = fragmented_take(a, p, FLOW_REPLY, &goes_on, &decision);
	if (goes_on)
		outbound_follow(a, p, &decision);
	if (d == NULL)
		return;
	be32 vm = p->ip.src;
	if (may_be_translated(a, p)) {
		packet_wait_flow(a, p, &p->ip, FLOW_REPLY);
		p->candidate = 0; // as good as any: the flow is looked up
		stage_forward(a, p, 1);
	} else {
		forward_without_flow(a, p, p->ip, DROP_SNAT_UNSUPPORTED);
	}
	fragmented_decide_outbound(a, p, d, vm);
}

static HOT_PATH void forward_reply(struct agent *a, struct agent_packet *p, bool is_ip6)
{
	struct flow_entry *flow = reply_flow(a, p, is_ip6);
	if (__builtin_expect(flow == NULL, 0)) {
		flow = new_flow(a, p);
		if (flow != NULL)
			forward_turning(a, p, flow);
		return;
	}
	bool is_steady = flow_entry_is_steady(flow, p->ip.tcp_flags);
	flow_entry_see(&a->flows, flow);
	if (__builtin_expect(!is_steady, 0))
		flow_entry_move(&a->flows, flow, FLOW_REPLY, p->ip.tcp_flags);
	if (__builtin_expect(flow->vip == flow->dip, 0)) {
		forward_known_plain(a, p);
		return;
	}
	if (__builtin_expect(!is_steady, 0)) {
		forward_turning(a, p, flow);
		return;
	}
	rewrite_reply_as(&a->flows, p->frame, &p->ip, flow, flow_entry_deltas(flow), is_ip6);
	forward_translated_as(a, p, is_ip6);
}

// Not in the way of the other one.
__attribute__((noinline)) static void forward_reply6(struct agent *a, struct agent_packet *p)
{
	forward_reply(a, p, true);
}

static inline void forward_one(struct agent *a, struct agent_packet *p)
{
	if (p->wait == WAIT_NOTHING)
		return;
	if (__builtin_expect(p->wait >= WAIT_REPLY6, 0)) {
		if (p->wait == WAIT_REPLY6)
			forward_reply6(a, p);
		else if (p->wait == WAIT_FRAGMENT)
			forward_fragment(a, p);
		else
			forward_error(a, p);
		return;
	}
	forward_reply(a, p, false);
}

static void stage_forward(struct agent *a, struct agent_packet *packets, uint32_t n)
{
	for (uint32_t i = 0; i < n; i++)
		forward_one(a, &packets[i]);
}

void agent_outbound(struct agent *a, struct agent_packet *packets, uint32_t n)
{
	for (uint32_t i = 0; i < n; i++)
		stage_parse(a, &packets[i]);
	uint32_t n_new = 0;
	for (uint32_t i = 0; i < n; i++)
		n_new += stage_prefetch(a, &packets[i]);
	for (uint32_t i = 0; n_new > 0 && i < n; i++)
		stage_prefetch_port(a, &packets[i]);
	stage_forward(a, packets, n);
}
