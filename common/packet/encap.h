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

// Writes the outer IPv4 header into the IP4_BYTES at `outer`, for an inner packet of inner_bytes (<= 65535 - 20).
static inline void encap_write_ip4(uint8_t *outer, const struct encap_template *t, uint32_t inner_bytes, uint16_t id)
{
	be16 total = be16_from((uint16_t)(inner_bytes + IP4_BYTES));
	uint32_t sum = t->sum + total + be16_from(id);
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	struct ip4_header header = {
		.version_ihl = 0x45,
		.tos = 0,
		.total_length = total,
		.id = be16_from(id),
		.fragment = be16_from(IP4_DONT_FRAGMENT),
		.ttl = ENCAP_TTL,
		.protocol = IP_PROTO_IPIP,
		.checksum = (be16)~sum,
		.src = t->src,
		.dst = t->dst,
	};
	memcpy(outer, &header, sizeof header);
}

// Writes an Ethernet header of type IPv4 into the ETH_BYTES at `frame`.
static inline void eth_write_ip4(uint8_t *frame, const struct mac *dst, const struct mac *src)
{
	struct eth_header header = { .dst = *dst, .src = *src, .ether_type = be16_from(ETHER_IP4) };
	memcpy(frame, &header, sizeof header);
}
