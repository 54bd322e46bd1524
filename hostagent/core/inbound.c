// From the uplink to the VMs, top to bottom: stage_parse sees every frame, stage_deliver those that wait for their flow.
#include "common/packet/martian.h"
#include "hostagent/core/chain.h"
#include "hostagent/core/chained.h"
#include "hostagent/core/flows.h"
#include "hostagent/core/fragmented.h"
#include "hostagent/core/inbound.h"
#include "hostagent/core/nd_path.h"
#include "hostagent/core/probe_path.h"
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
	bool asks_for_dip = arp.operation == ARP_REQUEST && a->settings.proxy_arp && agent_has_address(a, arp.target_ip);
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

// ICMP to a VIP: the reply to a VM's echo request, whose identifier stands for a port, or an error about what a VM sent.
COLD_PATH static void on_encapsulated_icmp(struct agent *a, struct agent_packet *p, struct parsed ip)
{
	const struct icmp_header *icmp = (const struct icmp_header *)(p->frame + ip.l4_off);
	struct icmp_error error;
	if (icmp->type == (ip.is_ip6 ? ICMP6_ECHO_REPLY : ICMP_ECHO_REPLY)) {
		ip.dst_port = icmp->id;
		packet_wait_flow(a, p, &ip, FLOW_INBOUND);
	} else if (error_read(a, p->frame, &ip, FLOW_INBOUND, &error)) {
		struct flow_key key = error_key(p->frame, &error, FLOW_INBOUND);
		packet_wait_for(a, p, &ip, &key, WAIT_ERROR);
	} else {
		verdict_drop(a, p, DROP_ICMP_UNKNOWN);
	}
}

// A fragment, whose datagram is looked up in its turn, or what is no packet.
COLD_PATH static void on_encapsulated_rest(struct agent *a, struct agent_packet *p, uint32_t len, uint32_t l3_off,
                                           bool is_ip6)
{
	struct parsed ip;
	enum drop_reason reason = frame_parse(p->frame, len, l3_off, is_ip6, &ip);
	if (reason != DROP_FRAGMENT) {
		verdict_drop(a, p, reason == DROP_UDP6_NO_CHECKSUM ? reason : DROP_ENCAP_MALFORMED);
	} else if (a->fragments == NULL) {
		verdict_drop(a, p, DROP_FRAGMENT);
	} else {
		if (is_ip6)
			parsed_name_inbound(a, p->frame, &ip);
		p->ip = ip;
		p->hash = 0;
		p->wait = WAIT_FRAGMENT;
	}
}

// A protocol without ports, or whose ports nobody looks at: its flow is known by addresses and protocol. No tunnel inside the tunnel.
COLD_PATH static void on_encapsulated_other(struct agent *a, struct agent_packet *p, struct parsed ip)
{
	if (!ip_protocol_is_any(ip.protocol))
		verdict_drop(a, p, DROP_ENCAP_NO_ENDPOINT);
	else if (!packet_has_l4(&ip))
		verdict_drop(a, p, DROP_L4_LENGTH);
	else
		packet_wait_flow(a, p, &ip, FLOW_INBOUND);
}

// A packet to a VIP inside one to the DIP (RFC 2003, RFC 2473, RFC 4213). `source`: of the outer one.
static HOT_PATH void on_encapsulated(struct agent *a, struct agent_packet *p, const struct parsed *outer, be32 source,
                                     bool is_ip6)
{
	struct parsed ip;
	if (!agent_config_is_encap_source(a->config, source)) {
		verdict_drop(a, p, DROP_ENCAP_SOURCE);
		return;
	}
	uint32_t len = (uint32_t)outer->l3_off + outer->l3_bytes;
	enum drop_reason reason =
		is_ip6 ? parse_ip6(p->frame, len, outer->l4_off, &ip) : parse_ip4(p->frame, len, outer->l4_off, &ip);
	if (reason != DROP_NONE) {
		on_encapsulated_rest(a, p, len, outer->l4_off, is_ip6);
		return;
	}
	if (is_ip6)
		parsed_name_inbound(a, p->frame, &ip);
	if (ip.protocol == IP_PROTO_TCP || ip.protocol == IP_PROTO_UDP)
		packet_wait(a, p, &ip, is_ip6 ? WAIT_INBOUND6 : WAIT_INBOUND);
	else if (packet_is_icmp(&ip))
		on_encapsulated_icmp(a, p, ip);
	else
		on_encapsulated_other(a, p, ip);
}

static void give_plain(struct agent *a, struct agent_packet *p)
{
	verdict_to_vm(a, p, p->port);
	if (p->verdict == AGENT_TO_VM)
		counter_add(&a->counters.inbound_plain_packets, 1);
}

// A packet to the DIP itself goes to the VM as it is. TCP to a port that an endpoint uses is remembered, so that the VM's
// replies are known not to be those of a VIP's lost flow (outbound.c).
static void on_plain(struct agent *a, struct agent_packet *p, const struct parsed *ip, bool is_whole)
{
	if (is_whole && ip->protocol == IP_PROTO_TCP &&
	    agent_config_lookup_service(a->config, ip->dst, ip->dst_port, IP_PROTO_TCP) != NULL) {
		packet_wait(a, p, ip, WAIT_PLAIN);
		return;
	}
	p->ip = *ip;
	give_plain(a, p);
}

// All but IPv4 in IPv4, out of whose way they are.
__attribute__((noinline)) static void on_encapsulated6(struct agent *a, struct agent_packet *p,
                                                       const struct parsed *outer, be32 source)
{
	on_encapsulated(a, p, outer, source, true);
}

__attribute__((noinline)) static void on_encapsulated4(struct agent *a, struct agent_packet *p,
                                                       const struct parsed *outer, be32 source)
{
	on_encapsulated(a, p, outer, source, false);
}

static void on_tunnel(struct agent *a, struct agent_packet *p, const struct parsed *ip, enum drop_reason reason,
                      be32 source)
{
	if (reason != DROP_NONE)
		verdict_drop(a, p, reason); // a piece of an encapsulated packet is nothing that a VM may see
	else if (ip->protocol == IP_PROTO_IPIP)
		on_encapsulated4(a, p, ip, source);
	else
		on_encapsulated6(a, p, ip, source);
}

// To an address that is no DIP here: is it a via?
COLD_PATH static void on_via(struct agent *a, struct agent_packet *p, struct parsed ip, enum drop_reason reason,
                             be32 source)
{
	p->dip = ip.dst == 0 ? 0 : agent_config_dip_of_via(a->config, ip.dst);
	p->port = p->dip == 0 ? AGENT_NO_PORT : agent_config_lookup_dip(a->config, p->dip);
	if (p->port == AGENT_NO_PORT || !ip_protocol_is_tunnel(ip.protocol))
		verdict_drop(a, p, DROP_NOT_FOR_US);
	else
		on_tunnel(a, p, &ip, reason, source);
}

// To a DIP over IPv4: what is plain, IPv6 inside, and pieces.
__attribute__((noinline)) static void on_rest(struct agent *a, struct agent_packet *p, struct parsed ip,
                                              enum drop_reason reason)
{
	if (ip_protocol_is_tunnel(ip.protocol))
		on_tunnel(a, p, &ip, reason, ip.src);
	else
		on_plain(a, p, &ip, reason == DROP_NONE);
}

static inline void on_ip4(struct agent *a, struct agent_packet *p)
{
	struct parsed ip;
	enum drop_reason reason = parse_ip4(p->frame, p->len, ETH_BYTES, &ip);
	if (!reason_is_carried(reason)) {
		verdict_drop(a, p, reason);
		return;
	}
	if (ip.dst == a->settings.address) {
		p->verdict = AGENT_TO_TAP;
		return;
	}
	if (a->config == NULL) {
		verdict_drop(a, p, DROP_NO_CONFIG);
		return;
	}
	if (__builtin_expect(addr_is_ip6(ip.dst),
	                     0)) { // 0.0.0.0/8 and 240.0.0.0/4 are names and tags of IPv6, and no host's
		verdict_drop(a, p, DROP_NOT_FOR_US);
		return;
	}
	p->dip = ip.dst;
	p->port = agent_config_lookup_dip(a->config, ip.dst);
	if (__builtin_expect(p->port == AGENT_NO_PORT, 0))
		on_via(a, p, ip, reason, ip.src);
	else if (__builtin_expect(ip.protocol == IP_PROTO_IPIP && reason == DROP_NONE, 1))
		on_encapsulated(a, p, &ip, ip.src, false);
	else
		on_rest(a, p, ip, reason);
}

// To a DIP or its via, over IPv6. Neighbor Discovery is of the segment, and no VM's.
static inline void on_ip6_for_us(struct agent *a, struct agent_packet *p, struct parsed *ip, enum drop_reason reason)
{
	parsed_name_inbound(a, p->frame, ip);
	p->dip = ip->dst;
	p->port = ip->dst == 0 ? AGENT_NO_PORT : agent_config_lookup_dip(a->config, ip->dst);
	if (__builtin_expect(reason == DROP_NONE && nd_is_nd(p->frame, ip), 0))
		nd_path_uplink(a, p, ip);
	else if (ip_protocol_is_tunnel(ip->protocol) && p->port != AGENT_NO_PORT)
		on_tunnel(a, p, ip, reason, agent_lookup_name(a, parsed_src6(p->frame, ip)));
	else if (p->port != AGENT_NO_PORT)
		on_plain(a, p, ip, reason == DROP_NONE);
	else
		on_via(a, p, *ip, reason, agent_lookup_name(a, parsed_src6(p->frame, ip)));
}

__attribute__((noinline)) static void on_ip6(struct agent *a, struct agent_packet *p)
{
	struct parsed ip;
	enum drop_reason reason = parse_ip6(p->frame, p->len, ETH_BYTES, &ip);
	if (!reason_is_carried(reason)) {
		verdict_drop(a, p, reason);
		return;
	}
	if (__builtin_expect(nd_path_is_own(a, p->frame, &ip), 0))
		nd_path_own(a, p, &ip, reason);
	else if (a->config == NULL)
		verdict_drop(a, p, DROP_NO_CONFIG);
	else
		on_ip6_for_us(a, p, &ip, reason);
}

static inline void stage_parse(struct agent *a, struct agent_packet *p)
{
	p->wait = WAIT_NOTHING;
	p->reason = DROP_NONE;
	if (p->len < ETH_BYTES) {
		verdict_drop(a, p, DROP_RUNT);
		return;
	}
	be16 type = frame_ether_type(p->frame);
	bool is_to_us = mac_equal(&((const struct eth_header *)p->frame)->dst, &a->settings.uplink_mac);
	if (__builtin_expect(type == be16_from(ETHER_IP4) && is_to_us, 1))
		on_ip4(a, p);
	else if (type == be16_from(ETHER_ARP))
		on_arp(a, p);
	else if (type == be16_from(ETHER_IP6) && mac_is_group((const struct mac *)p->frame))
		nd_path_group(a, p);
	else if (!is_to_us)
		verdict_drop(a, p, DROP_NOT_FOR_US);
	else if (type == be16_from(ETHER_IP6))
		on_ip6(a, p);
	else
		verdict_drop(a, p, DROP_ETHER_TYPE);
}

// ---- Stage 2: the flow is on its way, or, when it will be a new one, the place where its reply key must be looked up ----

static HOT_PATH void prefetch_endpoint(struct agent *a, struct agent_packet *p)
{
	inbound_find_endpoint(a, p);
	if (p->endpoint != NULL)
		flow_table_prefetch(&a->flows, p->reply_hash);
}

__attribute__((noinline)) static void stage_prefetch_other(struct agent *a, struct agent_packet *p)
{
	if (p->wait == WAIT_NOTHING)
		return;
	p->candidate = packet_prefetch_entry(a, p, p->wait == WAIT_INBOUND6);
	if (p->candidate == FLOW_NO_CANDIDATE && p->wait == WAIT_INBOUND6)
		prefetch_endpoint(a, p);
}

static inline void stage_prefetch(struct agent *a, struct agent_packet *p)
{
	if (__builtin_expect(p->wait != WAIT_INBOUND, 0)) {
		stage_prefetch_other(a, p);
		return;
	}
	p->candidate = flow_table_prefetch_entry(&a->flows, p->hash);
	if (__builtin_expect(p->candidate == FLOW_NO_CANDIDATE, 0))
		prefetch_endpoint(a, p);
}

// ---- Stage 3: the flow is known, or begins ----

// The flow of an inbound packet, if it is known and goes on; one that is over gives way to a new SYN (TIME_WAIT reuse),
// and one whose VM has left this host to whoever serves the endpoint now.
static HOT_PATH struct flow_entry *known_flow(struct agent *a, struct agent_packet *p, bool is_ip6)
{
	struct flow_entry *flow = packet_flow_as(a, p, FLOW_INBOUND, is_ip6);
	if (flow == NULL)
		return NULL;
	if (flow->dip != p->dip)
		p->port = agent_config_lookup_dip(a->config, flow->dip);
	bool is_new_connection = tcp_is_syn(p->ip.tcp_flags) && flow_state_is_over(flow_entry_state(flow));
	if (__builtin_expect(!is_new_connection && p->port != AGENT_NO_PORT, 1))
		return flow;
	agent_flow_remove(a, flow);
	counter_add(&a->counters.flows_replaced, 1);
	p->port = agent_config_lookup_dip(a->config, p->dip);
	return NULL;
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
		.remote6 = packet_remote6(p->frame, &p->ip, FLOW_INBOUND),
	};
	agent_flow_remove(a, flow);
	(void)flow_table_insert(&a->flows, &plain, FLOW_UNCONFIRMED_OUT);
	verdict_drop(a, p, DROP_FLOW_NOT_SYN);
}

// A half-open flow, and a packet that acknowledges what its VM has not said: the client's SYN came to two VMs, and its connection
// is with the other one. This VM would answer with a RST that the client believes (RFC 9293 section 3.10.7.4: SEQ = SEG.ACK), so
// it is sent on as a packet that is not known here. False: it has its verdict; the flow stays as it is. True: nobody else knows
// it either, so it is the VM's to decide.
COLD_PATH static bool is_for_half_open(struct agent *a, struct agent_packet *p, const struct flow_entry *flow)
{
	const struct tcp_header *tcp = (const struct tcp_header *)(p->frame + p->ip.l4_off);
	if ((p->ip.tcp_flags & TCP_ACK) == 0 || flow_entry_is_answer(flow, be32_to(tcp->ack)))
		return true;
	counter_add(&a->counters.handshakes_split, 1);
	if (!inbound_belongs_here(a, p))
		return false;
	p->port = agent_config_lookup_dip(a->config, flow->dip);
	return true;
}

static inline void note_detour(struct agent *a, const struct agent_packet *p, const struct flow_entry *flow)
{
	if (__builtin_expect((chained_mark(p) & be16_from(CHAIN_MARK)) != 0, 0))
		chained_found(a, p, flow);
}

// A packet that may begin, confirm or end its connection.
__attribute__((noinline)) static void deliver_turning(struct agent *a, struct agent_packet *p, struct flow_entry *flow)
{
	if (flow_entry_is_half_open(flow) && !is_for_half_open(a, p, flow))
		return;
	if ((p->ip.tcp_flags & TCP_RST) != 0 && flow_entry_is_guess(flow)) {
		withdraw_guess(a, p, flow);
		return;
	}
	flow_entry_touch(&a->flows, flow, FLOW_INBOUND, p->ip.tcp_flags);
	note_detour(a, p, flow);
	rewrite_inbound_as(&a->flows, p->frame, &p->ip, flow, flow_entry_any_deltas(&a->flows, flow), p->ip.is_ip6);
	inbound_deliver_any(a, p, flow->dip);
}

// A known flow goes to its own DIP, whatever the endpoint's DIPs are by now and whichever of this host's DIPs the mux
// chose.
static HOT_PATH void deliver_inbound(struct agent *a, struct agent_packet *p, bool is_ip6)
{
	struct flow_entry *flow = known_flow(a, p, is_ip6);
	if (__builtin_expect(flow == NULL, 0)) {
		inbound_deliver_unknown(a, p);
		return;
	}
	if (__builtin_expect(!flow_entry_is_steady(flow, p->ip.tcp_flags), 0)) {
		deliver_turning(a, p, flow);
		return;
	}
	flow_entry_see(&a->flows, flow);
	note_detour(a, p, flow);
	rewrite_inbound_as(&a->flows, p->frame, &p->ip, flow, flow_entry_deltas(flow), is_ip6);
	inbound_deliver(a, p, is_ip6);
}

// Not in the way of the other one.
__attribute__((noinline)) static void deliver_inbound6(struct agent *a, struct agent_packet *p)
{
	deliver_inbound(a, p, true);
}

// A plain connection to an endpoint's port: a flow that is not rewritten. It is delivered in any case; if the table is full,
// or if the client has a connection through the VIP with the same ports, it is just not remembered.
static void deliver_plain(struct agent *a, struct agent_packet *p)
{
	struct flow_entry *flow = packet_flow(a, p, FLOW_INBOUND);
	bool is_over = flow != NULL && tcp_is_syn(p->ip.tcp_flags) && flow_state_is_over(flow_entry_state(flow));
	if (is_over)
		agent_flow_remove(a, flow);
	if (flow != NULL && !is_over) {
		flow_entry_touch(&a->flows, flow, FLOW_INBOUND, p->ip.tcp_flags);
	} else if ((p->ip.tcp_flags & TCP_RST) == 0) {
		struct flow_key reply = inbound_reply_key(p, p->ip.dst_port);
		enum drop_reason ignored = DROP_NONE;
		(void)inbound_open_flow(a, p, p->ip.dst_port, flow_table_hash(&a->flows, &reply), &ignored);
	}
	give_plain(a, p);
}

static void rewrite_error(const struct agent *a, struct agent_packet *p, const struct icmp_error *error,
                          const struct flow_entry *flow)
{
	if (p->ip.is_ip6)
		icmp6_rewrite_error_dst(p->frame, &p->ip, error, flow_table_addrs(&a->flows, flow)->dip, flow->dip_port);
	else
		icmp_rewrite_error_dst(p->frame, &p->ip, error, flow->dip, flow->dip_port);
}

// From the source of the error, which may be any router, to the VM that sent the packet inside.
COLD_PATH static void deliver_error(struct agent *a, struct agent_packet *p)
{
	struct icmp_error error;
	if (p->ip.is_ip6 ? ip6_is_martian(parsed_src6(p->frame, &p->ip)) : ip4_is_martian(p->ip.src)) {
		verdict_drop(a, p, DROP_BAD_SOURCE);
		return;
	}
	if (!error_read(a, p->frame, &p->ip, FLOW_INBOUND, &error)) {
		verdict_drop(a, p, DROP_ICMP_UNKNOWN);
		return;
	}
	struct flow_key key = error_key(p->frame, &error, FLOW_INBOUND);
	struct flow_entry *flow = flow_table_lookup_staged(&a->flows, &key, p->hash, p->candidate);
	uint16_t port = flow == NULL ? AGENT_NO_PORT : agent_config_lookup_dip(a->config, flow->dip);
	if (port == AGENT_NO_PORT) {
		chained_error(a, p, &error);
		return;
	}
	rewrite_error(a, p, &error, flow);
	verdict_to_vm(a, p, port);
	if (p->verdict == AGENT_TO_VM)
		counter_add(&a->counters.icmp_errors, 1);
}

void inbound_follow(struct agent *a, struct agent_packet *p, const struct fragment_decision *decision)
{
	counter_add(&a->counters.fragments, 1);
	if (decision->way == FRAGMENT_SENT_ON) {
		chained_follow(a, p, decision->addr, (uint16_t)decision->id);
		return;
	}
	p->port = agent_config_lookup_dip(a->config, decision->addr);
	if (p->port == AGENT_NO_PORT) {
		verdict_drop(a, p, DROP_NOT_FOR_US);
		return;
	}
	if (p->ip.is_ip6)
		nat6_rewrite_fragment_dst(p->frame, &p->ip, agent_addr6(a, decision->addr));
	else
		nat_rewrite_fragment_dst(p->frame, &p->ip, decision->addr);
	inbound_deliver(a, p, p->ip.is_ip6);
}

static __attribute__((noinline)) void stage_deliver(struct agent *a, struct agent_packet *packets, uint32_t n);

// The first fragment goes the way of a whole packet, the others after it.
COLD_PATH static void deliver_fragment(struct agent *a, struct agent_packet *p)
{
	bool goes_on;
	struct fragment_decision decision;
	struct fragment_datagram *d = fragmented_take(a, p, FLOW_INBOUND, &goes_on, &decision);
	if (goes_on)
		inbound_follow(a, p, &decision);
	if (d == NULL)
		return;
	packet_wait_flow(a, p, &p->ip, FLOW_INBOUND);
	p->candidate = 0; // as good as any: the flow is looked up, and so is the endpoint
	stage_deliver(a, p, 1);
	fragmented_decide_inbound(a, p, d);
}

static inline void deliver_one(struct agent *a, struct agent_packet *p)
{
	if (p->wait == WAIT_INBOUND)
		deliver_inbound(a, p, false);
	else if (p->wait == WAIT_INBOUND6)
		deliver_inbound6(a, p);
	else if (p->wait == WAIT_PLAIN)
		deliver_plain(a, p);
	else if (p->wait == WAIT_ERROR)
		deliver_error(a, p);
	else if (p->wait == WAIT_FRAGMENT)
		deliver_fragment(a, p);
}

static void stage_deliver(struct agent *a, struct agent_packet *packets, uint32_t n)
{
	for (uint32_t i = 0; i < n; i++)
		deliver_one(a, &packets[i]);
}

void agent_inbound(struct agent *a, struct agent_packet *packets, uint32_t n)
{
	for (uint32_t i = 0; i < n; i++)
		stage_parse(a, &packets[i]);
	for (uint32_t i = 0; i < n; i++)
		stage_prefetch(a, &packets[i]);
	stage_deliver(a, packets, n);
}
