// What inbound.c and inbound_unknown.c share; internal to the core.
#pragma once

#include "common/packet/nat.h"
#include "hostagent/core/verdict.h"

// The key with which the VM's replies will find the flow of this packet.
static inline struct flow_key inbound_reply_key(const struct agent_packet *p, be16 dip_port)
{
	struct flow_key key = flow_key_make(p->dip, p->ip.src, dip_port, p->ip.src_port, p->ip.protocol, FLOW_REPLY);
	key.remote6 = packet_remote6(p->frame, &p->ip, FLOW_INBOUND);
	return key;
}

// Of what will be a new flow: the endpoint, and where its reply key is.
static HOT_PATH void inbound_find_endpoint(struct agent *a, struct agent_packet *p)
{
	p->endpoint = agent_config_lookup_endpoint(a->config, p->ip.dst, p->ip.dst_port, p->ip.protocol, p->dip);
	if (__builtin_expect(p->endpoint == NULL, 0)) {
		if (!ip_protocol_is_any(p->ip.protocol))
			return;
		p->endpoint = agent_config_lookup_endpoint(a->config, p->ip.dst, 0, IP_PROTO_ANY, p->dip);
		if (p->endpoint == NULL)
			return;
	}
	struct flow_key key = inbound_reply_key(p, p->endpoint->dip_port);
	p->reply_hash = flow_table_hash(&a->flows, &key);
}

// The packet is the VM's by now, addresses and checksums.
static inline void inbound_deliver(struct agent *a, struct agent_packet *p, bool is_ip6)
{
	verdict_to_vm_as(a, p, p->port, is_ip6);
	if (p->verdict != AGENT_TO_VM)
		return;
	counter_add(&a->counters.inbound_packets, 1);
	counter_add(&a->counters.inbound_bytes, p->ip.l3_bytes);
}

// The same, when it may be a SYN.
static inline void inbound_deliver_any(struct agent *a, struct agent_packet *p, be32 dip)
{
	if ((p->ip.tcp_flags & TCP_SYN) != 0 && nat_clamp_mss(p->frame, &p->ip, agent_mss(a, p->port, dip)))
		counter_add(&a->counters.mss_clamped, 1);
	inbound_deliver(a, p, p->ip.is_ip6);
}

// Makes the flow of a packet whose endpoint and hashes are known; NULL: it is to be dropped, for *ret_reason.
struct flow_entry *inbound_open_flow(struct agent *a, const struct agent_packet *p, be16 dip_port, uint64_t reply_hash,
                                     enum drop_reason *ret_reason);

// Is a packet that may belong to another owner of its bucket this DIP's, or one's of this host (p->dip)? False: it has its verdict.
bool inbound_belongs_here(struct agent *a, struct agent_packet *p);

// A packet to a VIP whose flow nobody here knows.
void inbound_deliver_unknown(struct agent *a, struct agent_packet *p);
