// Parsing a frame: bounds are checked here, once; what comes after may rely on the offsets.
//
// Inline because it is the first step of every packet (the floor of the benchmarks). Never reads past `len`, never fails
// an assertion, whatever the bytes; the fuzz target is tests/fuzz/fuzz_parse.c.
// IPv4 and IPv6 give the same struct parsed. Addresses in it have 32 bits (common/packet/addr_names.h): those of an IPv6 packet are
// for the caller to fill in, who has the names; in the packet they are at l3_off.
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "common/packet/drop.h"
#include "common/packet/headers.h"

struct parsed {
	uint16_t l3_off; // of the IP header from the start of the frame, bytes
	uint16_t l4_off; // of the TCP/UDP/ICMP header from the start of the frame, bytes
	uint16_t l3_bytes; // the IP packet's total length; what follows in the frame is padding
	uint8_t protocol; // of IPv6 the last next header, behind all extension headers
	uint8_t tcp_flags; // 0 unless TCP
	be32 src; // of IPv6 both are 0
	be32 dst;
	be16 src_port; // TCP and UDP; ICMP: 0
	be16 dst_port;
	bool is_ip6;
	uint8_t reserved; // 0, so that all from src_port on is cleared at once
	uint16_t fragment_off; // of IPv6, where the Fragment header is, from the start of the frame; 0: there is none
};

// What a packet carries: the ports and flags of TCP and UDP, which are 0 before.
static inline enum drop_reason parse_l4(const uint8_t *l4, uint32_t l4_bytes, uint8_t protocol,
                                        struct parsed *ret_parsed)
{
	switch (protocol) {
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
	ret_parsed->is_ip6 = false;
	ret_parsed->reserved = 0;
	ret_parsed->fragment_off = 0;
	if (__builtin_expect((ip->fragment & be16_from(IP4_MORE_FRAGMENTS | IP4_OFFSET_MASK)) != 0, 0))
		return DROP_FRAGMENT;
	return parse_l4(frame + l4_off, l4_bytes, ip->protocol, ret_parsed);
}

#define IP6_EXTENSIONS_MAX 8 // headers in front of what a packet carries; more are refused

// Where the walk through extension headers stands: at a header of this kind.
struct ip6_walk {
	uint32_t off; // from the start of the frame, bytes
	uint8_t next_header;
	bool is_first; // right behind the IPv6 header
};

// Goes through Hop-by-Hop, Routing and Destination Options headers (RFC 8200 section 4.1), up to `end`. DROP_IP6_EXTENSION: more
// of them than IP6_EXTENSIONS_MAX, Hop-by-Hop not at the beginning, beyond the packet, or a Routing header of type 0 (RFC 5095)
// or with segments left: nobody here is on a source route (RFC 8200 section 4.4).
static inline enum drop_reason ip6_walk_extensions(const uint8_t *frame, uint32_t end, struct ip6_walk *w)
{
	for (uint32_t n = 0;; n++) {
		const struct ip6_extension *x = (const struct ip6_extension *)(frame + w->off);
		bool is_extension = (w->next_header == IP_PROTO_HOP_BY_HOP && n == 0 && w->is_first) ||
		                    w->next_header == IP_PROTO_ROUTING || w->next_header == IP_PROTO_DESTINATION;
		if (!is_extension)
			return w->next_header == IP_PROTO_HOP_BY_HOP ? DROP_IP6_EXTENSION : DROP_NONE;
		if (n == IP6_EXTENSIONS_MAX || end - w->off < 8 || end - w->off < (x->length + 1u) * 8u)
			return DROP_IP6_EXTENSION;
		if (w->next_header == IP_PROTO_ROUTING && (frame[w->off + 2] == 0 || frame[w->off + 3] != 0))
			return DROP_IP6_EXTENSION;
		w->next_header = x->next_header;
		w->off += (x->length + 1u) * 8u;
	}
}

// As parse_l4, and UDP must have a checksum (RFC 8200 section 8.1).
static inline enum drop_reason parse_ip6_l4(const uint8_t *l4, uint32_t l4_bytes, uint8_t protocol,
                                            struct parsed *ret_parsed)
{
	if (protocol == IP_PROTO_ICMP6)
		return l4_bytes < sizeof(struct icmp_header) ? DROP_L4_LENGTH : DROP_NONE;
	enum drop_reason reason = parse_l4(l4, l4_bytes, protocol, ret_parsed);
	if (protocol == IP_PROTO_UDP && reason == DROP_NONE && ((const struct udp_header *)l4)->checksum == 0)
		return DROP_UDP6_NO_CHECKSUM;
	return reason;
}

// The rest of parse_ip6, for packets with other headers between IPv6 and what they carry. ret_parsed is filled but for
// protocol, l4_off, fragment_off, ports and flags.
static inline enum drop_reason parse_ip6_extended(const uint8_t *frame, uint32_t end, struct ip6_walk w,
                                                  struct parsed *ret_parsed)
{
	enum drop_reason reason = ip6_walk_extensions(frame, end, &w);
	if (reason == DROP_NONE && w.next_header == IP_PROTO_FRAGMENT) {
		if (end - w.off < IP6_FRAGMENT_BYTES)
			return DROP_FRAGMENT_MALFORMED;
		const struct ip6_fragment *f = (const struct ip6_fragment *)(frame + w.off);
		ret_parsed->fragment_off = (uint16_t)w.off;
		w.next_header = f->next_header;
		w.off += IP6_FRAGMENT_BYTES;
		w.is_first = false;
		if ((f->offset_more & be16_from(IP6_MORE_FRAGMENTS | IP6_OFFSET_MASK)) != 0) {
			ret_parsed->protocol = w.next_header;
			ret_parsed->l4_off = (uint16_t)w.off;
			return DROP_FRAGMENT;
		}
		reason = ip6_walk_extensions(frame, end, &w); // a fragment that is all of its packet (RFC 6946)
		if (w.next_header == IP_PROTO_FRAGMENT)
			return DROP_IP6_EXTENSION;
	}
	if (reason != DROP_NONE)
		return reason;
	ret_parsed->protocol = w.next_header;
	ret_parsed->l4_off = (uint16_t)w.off;
	return parse_ip6_l4(frame + w.off, end - w.off, w.next_header, ret_parsed);
}

// An IPv6 packet that starts at frame[l3_off]; len is the frame's length. Fills *ret_parsed on DROP_NONE; on DROP_FRAGMENT all but
// the ports and flags, where `protocol` is what the Fragment header says (in the first fragment, other extension headers may follow
// it) and l4_off is behind that header; on DROP_L4_LENGTH all but the ports and flags; on DROP_UDP6_NO_CHECKSUM all. Jumbograms (RFC 2675) are DROP_IP_LENGTH.
static inline enum drop_reason parse_ip6(const uint8_t *frame, uint32_t len, uint32_t l3_off, struct parsed *ret_parsed)
{
	if (__builtin_expect(len < l3_off + IP6_BYTES, 0))
		return DROP_RUNT;
	const struct ip6_header *ip = (const struct ip6_header *)(frame + l3_off);
	uint32_t payload = be16_to(ip->payload_length);
	if (__builtin_expect((frame[l3_off] >> 4) != 6, 0))
		return DROP_IP_VERSION;
	if (__builtin_expect(payload > len - l3_off - IP6_BYTES || payload > UINT16_MAX - IP6_BYTES, 0))
		return DROP_IP_LENGTH;
	if (__builtin_expect(payload == 0 && ip->next_header == IP_PROTO_HOP_BY_HOP, 0))
		return DROP_IP_LENGTH;
	uint32_t l4_off = l3_off + IP6_BYTES;
	*ret_parsed = (struct parsed){
		.l3_off = (uint16_t)l3_off,
		.l4_off = (uint16_t)l4_off,
		.l3_bytes = (uint16_t)(IP6_BYTES + payload),
		.protocol = ip->next_header,
		.is_ip6 = true,
	};
	switch (ip->next_header) {
	case IP_PROTO_HOP_BY_HOP:
	case IP_PROTO_ROUTING:
	case IP_PROTO_FRAGMENT:
	case IP_PROTO_DESTINATION:
		return parse_ip6_extended(frame, l4_off + payload, (struct ip6_walk){ l4_off, ip->next_header, true },
		                          ret_parsed);
	default: return parse_ip6_l4(frame + l4_off, payload, ip->next_header, ret_parsed);
	}
}

static inline const uint8_t *parsed_src6(const uint8_t *frame, const struct parsed *p)
{
	return ((const struct ip6_header *)(frame + p->l3_off))->src;
}

static inline const uint8_t *parsed_dst6(const uint8_t *frame, const struct parsed *p)
{
	return ((const struct ip6_header *)(frame + p->l3_off))->dst;
}

// The Ethernet type of a frame of at least ETH_BYTES, as the wire has it.
static inline be16 frame_ether_type(const uint8_t *frame)
{
	return ((const struct eth_header *)frame)->ether_type;
}
