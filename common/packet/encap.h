// IP-in-IP (RFC 2003): the outer header goes in front, the inner packet is untouched.
//
// The outer header has DF set, so its Identification is free (RFC 6864): it carries the hop mark of chain forwarding
// (design: 0 from a mux). Cost: 34 bytes written, no checksum over the packet: the outer header's checksum is completed
// from a sum that was prepared with the template.
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "common/packet/drop.h"
#include "common/packet/headers.h"

#define ENCAP_BYTES IP4_BYTES // what encapsulation adds to a packet
#define ENCAP_TTL 64

// What is constant for one (outer source, outer destination); made by encap_template_init.
struct encap_template {
	be32 src;
	be32 dst;
	uint32_t sum; // of the outer header's words but total length, id and checksum; not folded
};

static inline void encap_template_init(struct encap_template *t, be32 src, be32 dst)
{
	t->src = src;
	t->dst = dst;
	t->sum = (uint32_t)be16_from(0x4500) + be16_from(IP4_DONT_FRAGMENT) + be16_from((ENCAP_TTL << 8) | IP_PROTO_IPIP);
	t->sum += (src & 0xffff) + (src >> 16) + (dst & 0xffff) + (dst >> 16);
}

// The template of the same source and another destination, from one whose destination is 0.
static inline struct encap_template encap_template_to(const struct encap_template *from, be32 dst)
{
	return (struct encap_template){ .src = from->src, .dst = dst, .sum = from->sum + (dst & 0xffff) + (dst >> 16) };
}

// Writes the outer IPv4 header into the IP4_BYTES at `outer`, for an inner packet of inner_bytes (<= 65535 - 20). In words:
// field by field it would be twice as many instructions, and this is half of what a mux does to a packet.
static inline void encap_write_ip4(uint8_t *outer, const struct encap_template *t, uint32_t inner_bytes, uint16_t id)
{
	uint64_t total = __builtin_bswap32(inner_bytes + IP4_BYTES) >> 16;
	uint64_t id_be = be16_from(id);
	uint32_t sum = t->sum + (uint32_t)total + (uint32_t)id_be;
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	uint64_t checksum = (be16)~sum;
	// version and header length, type of service, total length, identification, flags and offset
	store64(outer, 0x45 | total << 16 | id_be << 32 | (uint64_t)be16_from(IP4_DONT_FRAGMENT) << 48);
	// time to live, protocol, checksum, source
	store64(outer + 8, ENCAP_TTL | IP_PROTO_IPIP << 8 | checksum << 16 | (uint64_t)t->src << 32);
	store32(outer + 16, t->dst);
}

// The same around an IPv6 packet (RFC 4213 section 3.5).
static inline void encap_write_ip4_around_ip6(uint8_t *outer, const struct encap_template *t, uint32_t inner_bytes,
                                              uint16_t id)
{
	struct encap_template around = *t;
	around.sum += be16_from(IP_PROTO_IP6 - IP_PROTO_IPIP);
	encap_write_ip4(outer, &around, inner_bytes, id);
	((struct ip4_header *)outer)->protocol = IP_PROTO_IP6;
}

#define ENCAP6_BYTES IP6_BYTES // what encapsulation over IPv6 adds (RFC 2473)

// What an outer header of either family says that carries a packet of this one.
static inline uint8_t encap_protocol(bool inner_is_ip6)
{
	return inner_is_ip6 ? IP_PROTO_IP6 : IP_PROTO_IPIP;
}

// Writes the outer IPv6 header into the IP6_BYTES at `outer`, for an inner packet of inner_bytes (<= 65535). The 20 bits of the
// flow label carry the hop mark of chain forwarding as the Identification does over IPv4 (0 from a mux). `src` and `dst`: 16 bytes.
static inline void encap_write_ip6(uint8_t *outer, const uint8_t *src, const uint8_t *dst, uint32_t inner_bytes,
                                   bool inner_is_ip6, uint16_t id)
{
	uint64_t words = be32_from(0x60000000u | id);
	words |= (uint64_t)be16_from((uint16_t)inner_bytes) << 32;
	words |= (uint64_t)encap_protocol(inner_is_ip6) << 48 | (uint64_t)ENCAP_TTL << 56;
	store64(outer, words);
	memcpy(outer + 8, src, 16);
	memcpy(outer + 24, dst, 16);
}

// Writes an Ethernet header of type IPv4 into the ETH_BYTES at `frame`.
static inline void eth_write_ip4(uint8_t *frame, const struct mac *dst, const struct mac *src)
{
	struct eth_header header = { .dst = *dst, .src = *src, .ether_type = be16_from(ETHER_IP4) };
	memcpy(frame, &header, sizeof header);
}

// The same of type IPv6.
static inline void eth_write_ip6(uint8_t *frame, const struct mac *dst, const struct mac *src)
{
	struct eth_header header = { .dst = *dst, .src = *src, .ether_type = be16_from(ETHER_IP6) };
	memcpy(frame, &header, sizeof header);
}
