// NAT of a known flow: addresses and ports from the entry, checksums by what the entry knows they change by.
//
// RFC 1624: HC' = ~(~HC + ~m + m'). The part ~m + m' is the same for all packets of a flow in one direction, and in the
// other it is its one's complement; so it is computed once, when the flow begins or its handshake ends. The result is that of
// common/packet/nat.h to the bit (tests/unit/hostagent compares them): incremental, and damaged stays damaged.
#pragma once

#include <string.h>

#include "common/packet/checksum.h"
#include "common/packet/parse.h"
#include "hostagent/core/flow_table.h"

struct flow_deltas {
	uint16_t ip;
	uint16_t l4;
};

// The sum of an IPv6 address's words, at most 8 * 65535.
static inline uint32_t ip6_addr_sum(const uint8_t *addr)
{
	uint32_t sum = 0;
	for (uint32_t i = 0; i < IP6_ADDR_BYTES; i += 2)
		sum += load16(addr + i);
	return sum;
}

// Of IPv6: its header has no checksum, and all that do cover the addresses.
static inline struct flow_deltas flow_entry_make_deltas6(const struct flow_table *t, const struct flow_entry *e)
{
	const struct flow_addrs *a = flow_table_addrs(t, e);
	uint32_t sum = 8 * 0xffffu - ip6_addr_sum(a->vip) + ip6_addr_sum(a->dip);
	return (struct flow_deltas){ .l4 = checksum_fold(sum + (uint16_t)~e->vip_port + e->dip_port) };
}

// Of the inbound direction: the VIP becomes the DIP. The checksum of ICMP over IPv4 does not cover addresses.
static inline struct flow_deltas flow_entry_make_deltas(const struct flow_table *t, const struct flow_entry *e)
{
	if (__builtin_expect(flow_entry_is_ip6(e), 0))
		return flow_entry_make_deltas6(t, e);
	uint32_t sum = (uint16_t)~e->vip + (uint32_t)(uint16_t) ~(e->vip >> 16) + (e->dip & 0xffff) + (e->dip >> 16);
	uint32_t l4_sum = e->protocol == IP_PROTO_ICMP ? 0 : sum;
	return (struct flow_deltas){
		.ip = checksum_fold(sum),
		.l4 = checksum_fold(l4_sum + (uint16_t)~e->vip_port + e->dip_port),
	};
}

static inline void flow_entry_set_deltas(const struct flow_table *t, struct flow_entry *e)
{
	struct flow_deltas d = flow_entry_make_deltas(t, e);
	e->ip_delta = d.ip;
	e->l4_delta = d.l4;
}

// Of a flow that is not in FLOW_SYN_ACK, where their place in the entry is taken.
static inline struct flow_deltas flow_entry_deltas(const struct flow_entry *e)
{
	return (struct flow_deltas){ .ip = e->ip_delta, .l4 = e->l4_delta };
}

// Of a flow in any state.
static inline struct flow_deltas flow_entry_any_deltas(const struct flow_table *t, const struct flow_entry *e)
{
	return flow_entry_state(e) == FLOW_SYN_ACK ? flow_entry_make_deltas(t, e) : flow_entry_deltas(e);
}

enum { L4_SRC_PORT = 0, L4_DST_PORT = 2 }; // where TCP and UDP have them

// Protocols whose ports are not looked at (they are 0 in the flow): only the addresses change. UDP-Lite (RFC 3828 section 3.1) and
// DCCP (RFC 4340 section 9.1) cover them by their checksum, both at the same place; SCTP, ESP, GRE and others do not. Whoever
// comes here knows that the 8 bytes are there (packet_has_l4).
static inline void rewrite_l4_rare(uint8_t *l4, uint8_t protocol, uint16_t delta)
{
	if (protocol != IP_PROTO_UDPLITE && protocol != IP_PROTO_DCCP)
		return;
	struct udp_header *header = (struct udp_header *)l4;
	be16 sum = checksum_apply(header->checksum, delta);
	header->checksum = sum == 0 && protocol == IP_PROTO_UDPLITE ? 0xffff : sum;
}

// RFC 768: a UDP checksum of 0 means that there is none. The identifier of an ICMP echo stands for its port.
static inline void rewrite_l4_other(uint8_t *l4, uint8_t protocol, uint16_t delta, uint32_t port_off, be16 port)
{
	if (ip_protocol_is_icmp(protocol)) {
		struct icmp_header *icmp = (struct icmp_header *)l4;
		icmp->checksum = checksum_apply(icmp->checksum, delta);
		icmp->id = port;
		return;
	}
	if (__builtin_expect(protocol != IP_PROTO_UDP, 0)) {
		rewrite_l4_rare(l4, protocol, delta);
		return;
	}
	struct udp_header *udp = (struct udp_header *)l4;
	store16(l4 + port_off, port);
	if (udp->checksum == 0)
		return;
	be16 sum = checksum_apply(udp->checksum, delta);
	udp->checksum = sum == 0 ? 0xffff : sum;
}

static inline void rewrite_l4(uint8_t *l4, uint8_t protocol, uint16_t delta, uint32_t port_off, be16 port)
{
	if (__builtin_expect(protocol != IP_PROTO_TCP, 0)) {
		rewrite_l4_other(l4, protocol, delta, port_off, port);
		return;
	}
	struct tcp_header *tcp = (struct tcp_header *)l4;
	tcp->checksum = checksum_apply(tcp->checksum, delta);
	store16(l4 + port_off, port);
}

// VIP:port -> DIP:port
static inline void rewrite_inbound(uint8_t *frame, const struct parsed *p, const struct flow_entry *e,
                                   struct flow_deltas d)
{
	struct ip4_header *ip = (struct ip4_header *)(frame + p->l3_off);
	ip->checksum = checksum_apply(ip->checksum, d.ip);
	ip->dst = e->dip;
	rewrite_l4(frame + p->l4_off, p->protocol, d.l4, L4_DST_PORT, e->dip_port);
}

// The same over IPv6. `a`: the entry's addresses.
static inline void rewrite_inbound6(uint8_t *frame, const struct parsed *p, const struct flow_entry *e,
                                    const struct flow_addrs *a, struct flow_deltas d)
{
	memcpy(((struct ip6_header *)(frame + p->l3_off))->dst, a->dip, IP6_ADDR_BYTES);
	rewrite_l4(frame + p->l4_off, p->protocol, d.l4, L4_DST_PORT, e->dip_port);
}

// DIP:port -> VIP:port
static inline void rewrite_reply(uint8_t *frame, const struct parsed *p, const struct flow_entry *e,
                                 struct flow_deltas d)
{
	struct ip4_header *ip = (struct ip4_header *)(frame + p->l3_off);
	ip->checksum = checksum_apply(ip->checksum, (uint16_t)~d.ip);
	ip->src = e->vip;
	rewrite_l4(frame + p->l4_off, p->protocol, (uint16_t)~d.l4, L4_SRC_PORT, e->vip_port);
}

static inline void rewrite_reply6(uint8_t *frame, const struct parsed *p, const struct flow_entry *e,
                                  const struct flow_addrs *a, struct flow_deltas d)
{
	memcpy(((struct ip6_header *)(frame + p->l3_off))->src, a->vip, IP6_ADDR_BYTES);
	rewrite_l4(frame + p->l4_off, p->protocol, (uint16_t)~d.l4, L4_SRC_PORT, e->vip_port);
}

// The same of either family, with the entry's addresses where they are.
static inline void rewrite_inbound_as(const struct flow_table *t, uint8_t *frame, const struct parsed *p,
                                      const struct flow_entry *e, struct flow_deltas d, bool is_ip6)
{
	if (is_ip6)
		rewrite_inbound6(frame, p, e, flow_table_addrs(t, e), d);
	else
		rewrite_inbound(frame, p, e, d);
}

static inline void rewrite_reply_as(const struct flow_table *t, uint8_t *frame, const struct parsed *p,
                                    const struct flow_entry *e, struct flow_deltas d, bool is_ip6)
{
	if (is_ip6)
		rewrite_reply6(frame, p, e, flow_table_addrs(t, e), d);
	else
		rewrite_reply(frame, p, e, d);
}
