// How inbound.c and outbound.c give their verdicts; internal to the core.
#pragma once

#include "hostagent/core/agent.h"

static inline bool mac_equal(const struct mac *a, const struct mac *b)
{
	return ((load32(a->bytes) ^ load32(b->bytes)) | (uint32_t)(load16(a->bytes + 4) ^ load16(b->bytes + 4))) == 0;
}

static inline bool mac_is_group(const struct mac *m)
{
	return (m->bytes[0] & 1) != 0;
}

static inline void verdict_drop(struct agent *a, struct agent_packet *p, enum drop_reason reason)
{
	p->verdict = AGENT_DROP;
	p->reason = reason;
	counter_add(&a->counters.drops[reason], 1);
}

// To a VM, if its port is there: the Ethernet header is written in front of the packet at p->ip.l3_off.
static inline void verdict_to_vm(struct agent *a, struct agent_packet *p, uint16_t port)
{
	static const struct mac gateway = AGENT_GATEWAY_MAC;
	if (__builtin_expect(!a->port_is_open[port], 0)) {
		verdict_drop(a, p, DROP_VM_NOT_READY);
		return;
	}
	uint32_t start = (uint32_t)p->ip.l3_off - ETH_BYTES;
	p->frame += start;
	p->len = ETH_BYTES + (uint32_t)p->ip.l3_bytes;
	p->port = port;
	p->verdict = AGENT_TO_VM;
	eth_write_ip4(p->frame, &a->config->ports[port].mac, &gateway);
}

static inline void verdict_to_gateway(struct agent *a, struct agent_packet *p, uint64_t hash)
{
	const struct mac *gateway = neighbor_table_select(&a->neighbors, (uint32_t)(hash >> 32));
	if (__builtin_expect(gateway == NULL, 0)) {
		verdict_drop(a, p, DROP_NO_NEXT_HOP);
		return;
	}
	p->verdict = AGENT_TO_UPLINK;
	eth_write_ip4(p->frame, gateway, &a->settings.uplink_mac);
}

// Parses a packet that need not be ours to understand: what is only carried on may be a fragment, or have a header of
// TCP, UDP or ICMP that is none. *ret_has_ports: it is whole TCP or UDP.
static inline enum drop_reason parse_carried(struct agent_packet *p, bool *ret_has_ports)
{
	enum drop_reason reason = parse_ip4(p->frame, p->len, ETH_BYTES, &p->ip);
	*ret_has_ports = reason == DROP_NONE && (p->ip.protocol == IP_PROTO_TCP || p->ip.protocol == IP_PROTO_UDP);
	return reason == DROP_FRAGMENT || reason == DROP_L4_LENGTH ? DROP_NONE : reason;
}

// The packet's key in the flow table, and its hash.
static inline void packet_hash(const struct agent *a, struct agent_packet *p, enum flow_direction direction)
{
	p->key = (struct flow_key){
		.src = p->ip.src,
		.dst = p->ip.dst,
		.src_port = p->ip.src_port,
		.dst_port = p->ip.dst_port,
		.protocol = p->ip.protocol,
		.direction = (uint8_t)direction,
	};
	p->hash = flow_table_hash(&a->flows, &p->key);
}
