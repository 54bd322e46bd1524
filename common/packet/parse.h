// Parsing a frame: bounds are checked here, once; what comes after may rely on the offsets.
//
// Inline because it is the first step of every packet (the floor of the benchmarks). Never reads past `len`, never fails
// an assertion, whatever the bytes; the fuzz target is tests/fuzz/fuzz_parse.c.
// IPv4 is parsed; IPv6 gets its own branch later and is DROP_ETHER_TYPE until then.
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "common/packet/drop.h"
#include "common/packet/headers.h"

struct parsed {
	uint16_t l3_off; // of the IP header from the start of the frame, bytes
	uint16_t l4_off; // of the TCP/UDP/ICMP header from the start of the frame, bytes
	uint16_t l3_bytes; // the IP packet's total length; what follows in the frame is padding
	uint8_t protocol; // IPv4 protocol
	uint8_t tcp_flags; // 0 unless TCP
	be32 src;
	be32 dst;
	be16 src_port; // TCP and UDP; ICMP: 0
	be16 dst_port;
};

// An IPv4 packet that starts at frame[l3_off]; len is the frame's length. Fills *ret_parsed on DROP_NONE, and on
// DROP_FRAGMENT and DROP_L4_LENGTH all but the ports and flags.
static inline enum drop_reason parse_ip4(const uint8_t *frame, uint32_t len, uint32_t l3_off, struct parsed *ret_parsed)
{
	if (__builtin_expect(len < l3_off + IP4_BYTES, 0))
		return DROP_RUNT;
	const struct ip4_header *ip = (const struct ip4_header *)(frame + l3_off);
	uint32_t header_bytes = (ip->version_ihl & 0x0fu) * 4u;
	uint32_t total = be16_to(ip->total_length);
	if (__builtin_expect((ip->version_ihl >> 4) != 4, 0))
		return DROP_IP_VERSION;
	if (__builtin_expect(header_bytes < IP4_BYTES || total < header_bytes || total > len - l3_off, 0))
		return DROP_IP_LENGTH;
	uint32_t l4_off = l3_off + header_bytes;
	uint32_t l4_bytes = total - header_bytes;
	ret_parsed->l3_off = (uint16_t)l3_off;
	ret_parsed->l4_off = (uint16_t)l4_off;
	ret_parsed->l3_bytes = (uint16_t)total;
	ret_parsed->protocol = ip->protocol;
	ret_parsed->tcp_flags = 0;
	ret_parsed->src = ip->src;
	ret_parsed->dst = ip->dst;
	ret_parsed->src_port = 0;
	ret_parsed->dst_port = 0;
	if (__builtin_expect((ip->fragment & be16_from(IP4_MORE_FRAGMENTS | IP4_OFFSET_MASK)) != 0, 0))
		return DROP_FRAGMENT;
	const uint8_t *l4 = frame + l4_off;
	switch (ip->protocol) {
	case IP_PROTO_TCP: {
		if (__builtin_expect(l4_bytes < sizeof(struct tcp_header), 0))
			return DROP_L4_LENGTH;
		const struct tcp_header *tcp = (const struct tcp_header *)l4;
		uint32_t tcp_bytes = (uint32_t)(tcp->data_offset >> 4) * 4u;
		if (__builtin_expect(tcp_bytes < sizeof(struct tcp_header) || tcp_bytes > l4_bytes, 0))
			return DROP_L4_LENGTH;
		ret_parsed->src_port = tcp->src_port;
		ret_parsed->dst_port = tcp->dst_port;
		ret_parsed->tcp_flags = tcp->flags;
		return DROP_NONE;
	}
	case IP_PROTO_UDP: {
		if (__builtin_expect(l4_bytes < sizeof(struct udp_header), 0))
			return DROP_L4_LENGTH;
		const struct udp_header *udp = (const struct udp_header *)l4;
		ret_parsed->src_port = udp->src_port;
		ret_parsed->dst_port = udp->dst_port;
		return DROP_NONE;
	}
	case IP_PROTO_ICMP:
		if (l4_bytes < sizeof(struct icmp_header))
			return DROP_L4_LENGTH;
		return DROP_NONE;
	default: return DROP_NONE;
	}
}

// The Ethernet type of a frame of at least ETH_BYTES, as the wire has it.
static inline be16 frame_ether_type(const uint8_t *frame)
{
	return ((const struct eth_header *)frame)->ether_type;
}
