// How inbound.c and outbound.c give their verdicts; internal to the core.
//
// Headers are written field by field straight into the frame, and stage 1 keeps what it parsed in registers until it is
// done: building a struct in memory and reading it back with wider loads costs a store-forwarding stall each time.
#pragma once

#include "common/packet/icmp.h"
#include "hostagent/core/agent.h"

// Out of line, and given what was parsed by value: whose address is taken does not stay in registers.
#define COLD_PATH __attribute__((noinline, cold))

// What nearly every packet goes through, though what is seldom calls it, too.
#define HOT_PATH inline __attribute__((always_inline))

static inline bool mac_equal(const struct mac *a, const struct mac *b)
{
	return ((load32(a->bytes) ^ load32(b->bytes)) | (uint32_t)(load16(a->bytes + 4) ^ load16(b->bytes + 4))) == 0;
}

static inline bool mac_is_group(const struct mac *m)
{
	return (m->bytes[0] & 1) != 0;
}

static inline void eth_put_ip4(uint8_t *frame, const struct mac *dst, const struct mac *src)
{
	memcpy(frame, dst, MAC_BYTES);
	memcpy(frame + MAC_BYTES, src, MAC_BYTES);
	store16(frame + 2 * MAC_BYTES, be16_from(ETHER_IP4));
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
	p->frame += (uint32_t)p->ip.l3_off - ETH_BYTES;
	p->len = ETH_BYTES + (uint32_t)p->ip.l3_bytes;
	p->port = port;
	p->verdict = AGENT_TO_VM;
	eth_put_ip4(p->frame, &a->config->ports[port].mac, &gateway);
}

static inline void verdict_to_gateway(struct agent *a, struct agent_packet *p, uint64_t hash)
{
	const struct mac *gateway = neighbor_table_select(&a->neighbors, (uint32_t)(hash >> 32));
	if (__builtin_expect(gateway == NULL, 0)) {
		verdict_drop(a, p, DROP_NO_NEXT_HOP);
		return;
	}
	p->verdict = AGENT_TO_UPLINK;
	eth_put_ip4(p->frame, gateway, &a->settings.uplink_mac);
}

// May a packet with this outcome of parsing be carried on, though nothing in it can be rewritten? A fragment, or a header
// of TCP, UDP or ICMP that is none, are not the switch's business.
static inline bool reason_is_carried(enum drop_reason reason)
{
	return reason == DROP_NONE || reason == DROP_FRAGMENT || reason == DROP_L4_LENGTH;
}

// What a handshake of this VM is clamped to: no more than its own interface takes, and the way with the outer header carries.
static inline uint16_t agent_mss(const struct agent *a, uint16_t port)
{
	uint16_t mtu = a->port_mtu[port];
	uint16_t mss = a->settings.mss;
	return mtu > IP4_TCP_BYTES && mtu - IP4_TCP_BYTES < mss ? (uint16_t)(mtu - IP4_TCP_BYTES) : mss;
}

// Is there of a packet of another protocol what a rewrite changes (rewrite.h)?
static inline bool packet_has_l4(const struct parsed *ip)
{
	bool has_checksum = ip->protocol == IP_PROTO_UDPLITE || ip->protocol == IP_PROTO_DCCP;
	return !has_checksum || (uint32_t)ip->l3_off + ip->l3_bytes >= ip->l4_off + sizeof(struct udp_header);
}

static inline struct flow_key packet_key(const struct parsed *ip, enum flow_direction direction)
{
	return flow_key_make(ip->src, ip->dst, ip->src_port, ip->dst_port, ip->protocol, direction);
}

// How an ICMP error finds the flow that it is about: the packet inside went the other way.
static inline struct flow_key error_key(const struct icmp_error *e, enum flow_direction direction)
{
	return flow_key_make(e->dst, e->src, e->dst_port, e->src_port, e->protocol, direction);
}

// End of stage 1: the packet waits for the flow of that key, whose bucket is on its way.
static inline void packet_wait_for(struct agent *a, struct agent_packet *p, const struct parsed *ip,
                                   const struct flow_key *key, enum agent_wait wait)
{
	p->wait = wait;
	p->ip = *ip;
	p->hash = flow_table_hash(&a->flows, key);
	flow_table_prefetch(&a->flows, p->hash);
}

static inline void packet_wait(struct agent *a, struct agent_packet *p, const struct parsed *ip, enum agent_wait wait)
{
	struct flow_key key = packet_key(ip, wait == WAIT_REPLY ? FLOW_REPLY : FLOW_INBOUND);
	packet_wait_for(a, p, ip, &key, wait);
}

// Stage 3: the flow that an ICMP error is about, or NULL.
static inline struct flow_entry *error_flow(struct agent *a, const struct agent_packet *p,
                                            enum flow_direction direction, struct icmp_error *ret_error)
{
	if (icmp_error_parse(p->frame, &p->ip, ret_error) != DROP_NONE)
		return NULL;
	struct flow_key key = error_key(ret_error, direction);
	return flow_table_lookup_staged(&a->flows, &key, p->hash, p->candidate);
}

// Stage 3: the packet's flow, or NULL.
static inline struct flow_entry *packet_flow(struct agent *a, const struct agent_packet *p,
                                             enum flow_direction direction)
{
	struct flow_key key = packet_key(&p->ip, direction);
	return flow_table_lookup_staged(&a->flows, &key, p->hash, p->candidate);
}
