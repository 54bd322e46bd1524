// A packet to a VIP whose flow nobody here knows: it begins one, belongs to another owner of its bucket, or is dropped.
#include "common/packet/martian.h"
#include "hostagent/core/chain.h"
#include "hostagent/core/chained.h"
#include "hostagent/core/flows.h"
#include "hostagent/core/inbound.h"
#include "hostagent/core/probe_path.h"
#include "hostagent/core/rewrite.h"

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

struct flow_entry *inbound_open_flow(struct agent *a, const struct agent_packet *p, be16 dip_port, uint64_t reply_hash,
                                     enum drop_reason *ret_reason)
{
	struct flow_key reply = inbound_reply_key(p, dip_port);
	if (probe_path_is_source(a, p->frame, &p->ip)) { // the VM's answers to probes would be taken for those of this flow
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
		.remote6 = reply.remote6,
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

// To a port that the DIP has leased, but not from where the VM connected to: filtered (RFC 4787 section 5, RFC 5382 REQ-3).
static enum drop_reason reason_of_no_endpoint(const struct agent *a, const struct agent_packet *p)
{
	if (a->snat != NULL && snat_has_port(a->snat, p->ip.dst, p->ip.dst_port, p->dip))
		return DROP_SNAT_NO_FLOW;
	return packet_is_icmp(&p->ip) ? DROP_ICMP_UNKNOWN : DROP_ENCAP_NO_ENDPOINT;
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
COLD_PATH bool inbound_belongs_here(struct agent *a, struct agent_packet *p)
{
	const struct endpoint_owners *owners =
		agent_config_lookup_owners(a->config, p->ip.dst, p->ip.dst_port, p->ip.protocol);
	if (owners == NULL)
		owners = present_owners(a, &p->ip);
	if (owners != NULL && !chained_adopts(a, p, owners))
		return false;
	inbound_find_endpoint(a, p); // it may be another DIP's by now
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
	bool is_same_port = p->ip.src_port == p->ip.dst_port;
	if (!p->ip.is_ip6)
		return ip4_is_martian(p->ip.src) || (p->ip.src == p->ip.dst && is_same_port);
	const uint8_t *src = parsed_src6(p->frame, &p->ip);
	return ip6_is_martian(src) || (ip6_addr_equal(src, parsed_dst6(p->frame, &p->ip)) && is_same_port);
}

static void rewrite_without_flow(const struct agent *a, struct agent_packet *p, be16 dip_port)
{
	if (p->ip.is_ip6)
		nat6_rewrite_dst(p->frame, &p->ip, agent_addr6(a, p->dip), dip_port);
	else
		nat_rewrite_dst(p->frame, &p->ip, p->dip, dip_port);
}

// What is not known must be for an endpoint that the DIP serves. A packet from the middle of a connection may be somebody else's;
// a SYN only where DIPs have changed. A RST makes no flow.
void inbound_deliver_unknown(struct agent *a, struct agent_packet *p)
{
	if (__builtin_expect(!tcp_is_syn(p->ip.tcp_flags) || a->config->n_owners > 0, 0)) {
		if (!inbound_belongs_here(a, p))
			return;
	} else if (p->candidate != FLOW_NO_CANDIDATE) { // stage 2 expected to find the flow
		inbound_find_endpoint(a, p);
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
		rewrite_without_flow(a, p, dip_port);
		inbound_deliver_any(a, p, p->dip);
		return;
	}
	enum drop_reason reason = DROP_NONE;
	struct flow_entry *flow = inbound_open_flow(a, p, dip_port, p->reply_hash, &reason);
	if (flow == NULL) {
		verdict_drop(a, p, reason);
		return;
	}
	rewrite_inbound_as(&a->flows, p->frame, &p->ip, flow, flow_entry_deltas(flow), p->ip.is_ip6);
	inbound_deliver_any(a, p, p->dip);
}
