// From the uplink to the VMs, top to bottom: stage_parse sees every frame, stage_deliver those that wait for their flow.
#include "common/packet/martian.h"
#include "common/packet/nat.h"
#include "hostagent/core/chain.h"
#include "hostagent/core/chained.h"
#include "hostagent/core/flows.h"
#include "hostagent/core/fragmented.h"
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

// ICMP to a VIP: the reply to a VM's echo request, whose identifier stands for a port, or an error about what a VM sent.
COLD_PATH static void on_encapsulated_icmp(struct agent *a, struct agent_packet *p, struct parsed ip)
{
	const struct icmp_header *icmp = (const struct icmp_header *)(p->frame + ip.l4_off);
	struct icmp_error error;
	if (icmp->type == ICMP_ECHO_REPLY) {
		ip.dst_port = icmp->id;
		packet_wait(a, p, &ip, WAIT_INBOUND);
	} else if (icmp_error_parse(p->frame, &ip, &error) == DROP_NONE && error.src == ip.dst) {
		struct flow_key key = error_key(&error, FLOW_INBOUND);
		packet_wait_for(a, p, &ip, &key, WAIT_ERROR);
	} else {
		verdict_drop(a, p, DROP_ICMP_UNKNOWN);
	}
}

// A fragment, whose datagram is looked up in its turn, or what is no packet.
COLD_PATH static void on_encapsulated_rest(struct agent *a, struct agent_packet *p, uint32_t len, uint32_t l3_off)
{
	struct parsed ip;
	if (parse_ip4(p->frame, len, l3_off, &ip) != DROP_FRAGMENT) {
		verdict_drop(a, p, DROP_ENCAP_MALFORMED);
	} else if (a->fragments == NULL) {
		verdict_drop(a, p, DROP_FRAGMENT);
	} else {
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
		packet_wait(a, p, &ip, WAIT_INBOUND);
}

// A packet to a VIP inside one to the DIP (RFC 2003).
static inline void on_encapsulated(struct agent *a, struct agent_packet *p, const struct parsed *outer)
{
	struct parsed ip;
	if (!agent_config_is_encap_source(a->config, outer->src)) {
		verdict_drop(a, p, DROP_ENCAP_SOURCE);
		return;
	}
	enum drop_reason reason = parse_ip4(p->frame, (uint32_t)outer->l3_off + outer->l3_bytes, outer->l4_off, &ip);
	if (reason != DROP_NONE)
		on_encapsulated_rest(a, p, (uint32_t)outer->l3_off + outer->l3_bytes, outer->l4_off);
	else if (ip.protocol == IP_PROTO_TCP || ip.protocol == IP_PROTO_UDP)
		packet_wait(a, p, &ip, WAIT_INBOUND);
	else if (ip.protocol == IP_PROTO_ICMP)
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
	p->dip = ip.dst;
	p->port = agent_config_lookup_dip(a->config, ip.dst);
	if (p->port == AGENT_NO_PORT)
		verdict_drop(a, p, DROP_NOT_FOR_US);
	else if (ip.protocol != IP_PROTO_IPIP)
		on_plain(a, p, &ip, reason == DROP_NONE);
	else if (reason == DROP_FRAGMENT)
		verdict_drop(a, p, DROP_FRAGMENT); // a piece of an encapsulated packet is nothing that a VM may see
	else
		on_encapsulated(a, p, &ip);
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
	if (type == be16_from(ETHER_ARP))
		on_arp(a, p);
	else if (!mac_equal(&((const struct eth_header *)p->frame)->dst, &a->settings.uplink_mac))
		verdict_drop(a, p, DROP_NOT_FOR_US);
	else if (type != be16_from(ETHER_IP4))
		verdict_drop(a, p, DROP_ETHER_TYPE);
	else
		on_ip4(a, p);
}

// ---- Stage 2: the flow is on its way, or, when it will be a new one, the place where its reply key must be looked up ----

static struct flow_key reply_key(const struct agent_packet *p, be16 dip_port)
{
	return flow_key_make(p->dip, p->ip.src, dip_port, p->ip.src_port, p->ip.protocol, FLOW_REPLY);
}

static HOT_PATH void find_endpoint(struct agent *a, struct agent_packet *p)
{
	p->endpoint = agent_config_lookup_endpoint(a->config, p->ip.dst, p->ip.dst_port, p->ip.protocol, p->dip);
	if (__builtin_expect(p->endpoint == NULL, 0)) {
		if (!ip_protocol_is_any(p->ip.protocol))
			return;
		p->endpoint = agent_config_lookup_endpoint(a->config, p->ip.dst, 0, IP_PROTO_ANY, p->dip);
		if (p->endpoint == NULL)
			return;
	}
	struct flow_key key = reply_key(p, p->endpoint->dip_port);
	p->reply_hash = flow_table_hash(&a->flows, &key);
}

static inline void stage_prefetch(struct agent *a, struct agent_packet *p)
{
	if (__builtin_expect(p->wait == WAIT_NOTHING, 0))
		return;
	p->candidate = flow_table_prefetch_entry(&a->flows, p->hash);
	if (__builtin_expect(p->candidate != FLOW_NO_CANDIDATE || p->wait != WAIT_INBOUND, 1))
		return;
	find_endpoint(a, p);
	if (p->endpoint != NULL)
		flow_table_prefetch(&a->flows, p->reply_hash);
}

// ---- Stage 3: the flow is known, or begins ----

// The VM cannot tell two connections of one client address and port to one port of its own apart. The one that is over,
// or only guessed, gives way; UDP has no connections, so the latest speaks. Returns false when the old one stays.
static bool make_way(struct agent *a, const struct flow_key *reply, uint64_t reply_hash)
{
	struct flow_entry *old = flow_table_lookup(&a->flows, reply, reply_hash);
	if (old == NULL)
		return true;
	enum flow_state state = flow_entry_state(old);
	if (!flow_state_is_over(state) && !flow_entry_is_guess(old) && state != FLOW_UDP)
		return false;
	agent_flow_remove(a, old);
	counter_add(&a->counters.flows_replaced, 1);
	return true;
}

static struct flow_entry *open_flow(struct agent *a, const struct agent_packet *p, be16 dip_port, uint64_t reply_hash,
                                    enum drop_reason *ret_reason)
{
	struct flow_key reply = reply_key(p, dip_port);
	if (probe_path_has(a, p->ip.src)) { // the VM's answers to probes would be taken for those of this flow
		*ret_reason = DROP_PROBE_NOT_LOCAL;
		return NULL;
	}
	if (!make_way(a, &reply, reply_hash)) {
		*ret_reason = DROP_FLOW_CONFLICT;
		return NULL;
	}
	if (!agent_flows_have_room(a)) {
		*ret_reason = DROP_FLOW_TABLE_FULL;
		return NULL;
	}
	struct flow_tuple tuple = {
		.remote = p->ip.src,
		.vip = p->ip.dst,
		.dip = p->dip,
		.remote_port = p->ip.src_port,
		.vip_port = p->ip.dst_port,
		.dip_port = dip_port,
		.protocol = p->ip.protocol,
	};
	enum flow_state state = flow_state_first(tuple.protocol, FLOW_INBOUND, p->ip.tcp_flags);
	struct flow_entry *flow = flow_table_insert_hashed(&a->flows, &tuple, state, p->hash, reply_hash);
	if (flow == NULL) {
		*ret_reason = DROP_FLOW_TABLE_FULL;
		return NULL;
	}
	agent_flow_began(a, flow);
	bool is_first = state == FLOW_UDP || state == FLOW_SYN;
	counter_add(is_first ? &a->counters.flows_created : &a->counters.flows_adopted, 1);
	return flow;
}

// The flow of an inbound packet, if it is known and goes on; one that is over gives way to a new SYN (TIME_WAIT reuse),
// and one whose VM has left this host to whoever serves the endpoint now.
static struct flow_entry *known_flow(struct agent *a, struct agent_packet *p)
{
	struct flow_entry *flow = packet_flow(a, p, FLOW_INBOUND);
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

// The packet is the VM's by now, addresses and checksums.
static inline void deliver(struct agent *a, struct agent_packet *p)
{
	verdict_to_vm(a, p, p->port);
	if (p->verdict != AGENT_TO_VM)
		return;
	counter_add(&a->counters.inbound_packets, 1);
	counter_add(&a->counters.inbound_bytes, p->ip.l3_bytes);
}

// The same, when it may be a SYN.
static inline void deliver_any(struct agent *a, struct agent_packet *p)
{
	if ((p->ip.tcp_flags & TCP_SYN) != 0 && nat_clamp_mss(p->frame, &p->ip, agent_mss(a, p->port)))
		counter_add(&a->counters.mss_clamped, 1);
	deliver(a, p);
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
	agent_flow_remove(a, flow);
	(void)flow_table_insert(&a->flows, &plain, FLOW_UNCONFIRMED_OUT);
	verdict_drop(a, p, DROP_FLOW_NOT_SYN);
}

// To a port that the DIP has leased, but not from where the VM connected to: filtered (RFC 4787 section 5, RFC 5382 REQ-3).
static enum drop_reason reason_of_no_endpoint(const struct agent *a, const struct agent_packet *p)
{
	if (a->snat != NULL && snat_has_port(a->snat, p->ip.dst, p->ip.dst_port, p->dip))
		return DROP_SNAT_NO_FLOW;
	return p->ip.protocol == IP_PROTO_ICMP ? DROP_ICMP_UNKNOWN : DROP_ENCAP_NO_ENDPOINT;
}

// From the middle of a connection, and more than a RST: its flow would be adopted.
static bool is_adoption(const struct agent_packet *p)
{
	return p->ip.protocol == IP_PROTO_TCP && (p->ip.tcp_flags & TCP_RST) == 0 && !tcp_is_syn(p->ip.tcp_flags);
}

// Of an endpoint that is not known to have changed, unless a SYN asks: was the packet sent by a mux that knows of a change before this
// agent does? And of one for all protocols.
COLD_PATH static const struct endpoint_owners *present_owners(const struct agent *a, const struct parsed *ip)
{
	uint8_t protocol = ip_protocol_of_endpoint(ip->protocol);
	const struct endpoint_owners *owners = NULL;
	if (protocol == IP_PROTO_ANY)
		owners = agent_config_lookup_owners(a->config, ip->dst, 0, IP_PROTO_ANY);
	if (owners == NULL && !tcp_is_syn(ip->tcp_flags))
		owners = agent_config_find_present(a->config, ip->dst, ip->dst_port, protocol);
	return owners;
}

// Is a packet that may belong to another owner of its bucket this DIP's, or one's of this host (p->dip)? When all of them were
// asked, or when its endpoint's DIPs have not changed, no other host can know it; and it has come for a while (strays.h).
// False: it has its verdict.
COLD_PATH static bool belongs_here(struct agent *a, struct agent_packet *p)
{
	const struct endpoint_owners *owners =
		agent_config_lookup_owners(a->config, p->ip.dst, p->ip.dst_port, p->ip.protocol);
	if (owners == NULL)
		owners = present_owners(a, &p->ip);
	if (owners != NULL && !chained_adopts(a, p, owners))
		return false;
	find_endpoint(a, p); // it may be another DIP's by now
	if (p->endpoint == NULL || !is_adoption(p))
		return true;
	if (!strays_note(&a->strays, p->hash, a->now)) {
		verdict_drop(a, p, DROP_CHAIN_SKEW);
		return false;
	}
	if ((chained_mark(p) & be16_from(CHAIN_MARK)) != 0)
		counter_add(&a->counters.chain_adopted, 1);
	return true;
}

// A place that nothing comes from: no answer would get there, or it would go round (RFC 1812 section 5.3.7; a "land" packet has the
// very address and port that it goes to).
static bool has_bad_source(const struct agent_packet *p)
{
	return ip4_is_martian(p->ip.src) || (p->ip.src == p->ip.dst && p->ip.src_port == p->ip.dst_port);
}

// What is not known must be for an endpoint that the DIP serves. A packet from the middle of a connection may be somebody else's;
// a SYN only where DIPs have changed. A RST makes no flow.
static void deliver_unknown(struct agent *a, struct agent_packet *p)
{
	if (__builtin_expect(!tcp_is_syn(p->ip.tcp_flags) || a->config->n_owners > 0, 0)) {
		if (!belongs_here(a, p))
			return;
	} else if (p->candidate != FLOW_NO_CANDIDATE) { // stage 2 expected to find the flow
		find_endpoint(a, p);
	}
	if (p->endpoint == NULL) {
		verdict_drop(a, p, reason_of_no_endpoint(a, p));
		return;
	}
	if (__builtin_expect(has_bad_source(p), 0)) {
		verdict_drop(a, p, DROP_BAD_SOURCE);
		return;
	}
	be16 dip_port = p->endpoint->dip_port;
	if ((p->ip.tcp_flags & TCP_RST) != 0) {
		nat_rewrite_dst(p->frame, &p->ip, p->dip, dip_port);
		deliver_any(a, p);
		return;
	}
	enum drop_reason reason = DROP_NONE;
	struct flow_entry *flow = open_flow(a, p, dip_port, p->reply_hash, &reason);
	if (flow == NULL) {
		verdict_drop(a, p, reason);
		return;
	}
	rewrite_inbound(p->frame, &p->ip, flow, flow_entry_deltas(flow));
	deliver_any(a, p);
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
	if (!belongs_here(a, p))
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
	rewrite_inbound(p->frame, &p->ip, flow, flow_entry_any_deltas(&a->flows, flow));
	deliver_any(a, p);
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
	if (__builtin_expect(!flow_entry_is_steady(flow, p->ip.tcp_flags), 0)) {
		deliver_turning(a, p, flow);
		return;
	}
	flow_entry_see(&a->flows, flow);
	note_detour(a, p, flow);
	rewrite_inbound(p->frame, &p->ip, flow, flow_entry_deltas(flow));
	deliver(a, p);
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
		struct flow_key reply = reply_key(p, p->ip.dst_port);
		enum drop_reason ignored = DROP_NONE;
		(void)open_flow(a, p, p->ip.dst_port, flow_table_hash(&a->flows, &reply), &ignored);
	}
	give_plain(a, p);
}

// From the source of the error, which may be any router, to the VM that sent the packet inside.
COLD_PATH static void deliver_error(struct agent *a, struct agent_packet *p)
{
	struct icmp_error error;
	if (ip4_is_martian(p->ip.src)) {
		verdict_drop(a, p, DROP_BAD_SOURCE);
		return;
	}
	if (icmp_error_parse(p->frame, &p->ip, &error) != DROP_NONE) {
		verdict_drop(a, p, DROP_ICMP_UNKNOWN);
		return;
	}
	struct flow_key key = error_key(&error, FLOW_INBOUND);
	struct flow_entry *flow = flow_table_lookup_staged(&a->flows, &key, p->hash, p->candidate);
	uint16_t port = flow == NULL ? AGENT_NO_PORT : agent_config_lookup_dip(a->config, flow->dip);
	if (port == AGENT_NO_PORT) {
		chained_error(a, p, &error);
		return;
	}
	icmp_rewrite_error_dst(p->frame, &p->ip, &error, flow->dip, flow->dip_port);
	verdict_to_vm(a, p, port);
	if (p->verdict == AGENT_TO_VM)
		counter_add(&a->counters.icmp_errors, 1);
}

void inbound_follow(struct agent *a, struct agent_packet *p, const struct fragment_decision *decision)
{
	counter_add(&a->counters.fragments, 1);
	if (decision->way == FRAGMENT_SENT_ON) {
		chained_follow(a, p, decision->addr, be16_to(decision->id));
		return;
	}
	p->port = agent_config_lookup_dip(a->config, decision->addr);
	if (p->port == AGENT_NO_PORT) {
		verdict_drop(a, p, DROP_NOT_FOR_US);
		return;
	}
	nat_rewrite_fragment_dst(p->frame, &p->ip, decision->addr);
	deliver(a, p);
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
	packet_wait(a, p, &p->ip, WAIT_INBOUND);
	p->candidate = 0; // as good as any: the flow is looked up, and so is the endpoint
	stage_deliver(a, p, 1);
	fragmented_decide_inbound(a, p, d);
}

static inline void deliver_one(struct agent *a, struct agent_packet *p)
{
	if (p->wait == WAIT_INBOUND)
		deliver_inbound(a, p);
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
