#include "common/packet/icmp6.h"

#include <stddef.h>
#include <string.h>

#include "common/packet/checksum.h"
#include "common/packet/martian.h"

enum { ECHO_REPLY_HOP_LIMIT = 64, ERROR_HOP_LIMIT = 64, ADDR_BYTES = 16 };

void icmp6_put_checksum(uint8_t *icmp, uint32_t n, const uint8_t *addrs)
{
	uint8_t *field = icmp + offsetof(struct icmp_header, checksum);
	store16(field, 0);
	uint32_t sum = checksum_pseudo_ip6(addrs, n, IP_PROTO_ICMP6);
	store16(field, (be16)~checksum_fold(checksum_add(icmp, n, sum)));
}

// Extension headers stay as they are: the walk through them lets no source route pass.
void icmp6_write_echo_reply_fragment(uint8_t *frame, const struct parsed *p)
{
	struct eth_header *eth = (struct eth_header *)frame;
	struct mac mac = eth->dst;
	eth->dst = eth->src;
	eth->src = mac;

	// Swapping source and destination leaves the sum as it is, and the hop limit is not in it.
	struct ip6_header *ip = (struct ip6_header *)(frame + p->l3_off);
	uint8_t src[ADDR_BYTES];
	memcpy(src, ip->src, ADDR_BYTES);
	memcpy(ip->src, ip->dst, ADDR_BYTES);
	memcpy(ip->dst, src, ADDR_BYTES);
	ip->hop_limit = ECHO_REPLY_HOP_LIMIT;
}

void icmp6_write_echo_reply(uint8_t *frame, const struct parsed *p)
{
	icmp6_write_echo_reply_fragment(frame, p);
	struct icmp_header *icmp = (struct icmp_header *)(frame + p->l4_off);
	be16 old_word = load16(&icmp->type);
	icmp->type = ICMP6_ECHO_REPLY;
	icmp->checksum = checksum_update16(icmp->checksum, old_word, load16(&icmp->type));
}

static bool is_later_fragment(const uint8_t *frame, const struct parsed *p)
{
	const struct ip6_fragment *f = (const struct ip6_fragment *)(frame + p->fragment_off);
	return p->fragment_off != 0 && (f->offset_more & be16_from(IP6_OFFSET_MASK)) != 0;
}

bool icmp6_may_answer(const uint8_t *frame, const struct parsed *p)
{
	const uint8_t *src = parsed_src6(frame, p);
	const uint8_t *dst = parsed_dst6(frame, p);
	if (ip6_is_martian(src) || ip6_is_multicast(dst) || memcmp(src, dst, ADDR_BYTES) == 0 ||
	    is_later_fragment(frame, p))
		return false;
	if (p->protocol == IP_PROTO_ROUTING || p->protocol == IP_PROTO_DESTINATION)
		return false; // of a first fragment: what it carries comes behind, and may be an error
	uint32_t l4_bytes = (uint32_t)p->l3_off + p->l3_bytes - p->l4_off;
	if (p->protocol != IP_PROTO_ICMP6)
		return true;
	uint8_t type = l4_bytes > 0 ? frame[p->l4_off] : ICMP6_UNREACHABLE;
	return type == ICMP6_ECHO || type == ICMP6_ECHO_REPLY;
}

// Where, from the start of the packet, it says what it carries: the pointer of an error about that (RFC 4443 section 3.4).
static uint16_t next_header_offset(const uint8_t *frame, const struct parsed *p)
{
	uint32_t field = p->l3_off + (uint32_t)offsetof(struct ip6_header, next_header);
	uint8_t next = frame[field];
	for (uint32_t off = p->l3_off + IP6_BYTES; off < p->l4_off;) {
		uint32_t bytes = next == IP_PROTO_FRAGMENT ? IP6_FRAGMENT_BYTES : (frame[off + 1] + 1u) * 8u;
		field = off;
		next = frame[field];
		off += bytes;
	}
	return (uint16_t)(field - p->l3_off);
}

// The 32 bits behind the checksum, of which the upper half is 0.
static uint16_t parameter_of(const uint8_t *frame, const struct parsed *p, const struct icmp_answer *a)
{
	if (a->type == ICMP6_PACKET_TOO_BIG)
		return a->mtu < IP6_MTU_MIN ? IP6_MTU_MIN : a->mtu;
	if (a->type == ICMP6_PARAMETER_PROBLEM && a->code == ICMP6_UNKNOWN_NEXT_HEADER)
		return next_header_offset(frame, p);
	return 0;
}

uint32_t icmp6_write_answer(uint8_t *frame, const struct parsed *p, const struct icmp_answer *a)
{
	uint32_t n_kept = p->l3_bytes;
	if (n_kept > ICMP6_ERROR_PACKET_BYTES - ICMP6_ERROR_BYTES)
		n_kept = ICMP6_ERROR_PACKET_BYTES - ICMP6_ERROR_BYTES;
	uint32_t icmp_bytes = (uint32_t)sizeof(struct icmp_header) + n_kept;
	struct {
		struct ip6_header ip;
		struct icmp_header icmp;
	} PACKED error = {
		.ip = { .version_class_label = be32_from(0x60000000u),
		        .payload_length = be16_from((uint16_t)icmp_bytes),
		        .next_header = IP_PROTO_ICMP6,
		        .hop_limit = ERROR_HOP_LIMIT },
		.icmp = { .type = a->type, .code = a->code, .seq = be16_from(parameter_of(frame, p, a)) },
	};
	memcpy(error.ip.src, a->src6 != NULL ? a->src6 : parsed_dst6(frame, p), ADDR_BYTES);
	memcpy(error.ip.dst, parsed_src6(frame, p), ADDR_BYTES);
	uint8_t *at = frame + p->l3_off - ICMP6_ERROR_BYTES;
	memcpy(at, &error, sizeof error);
	icmp6_put_checksum(at + IP6_BYTES, icmp_bytes, error.ip.src);
	return IP6_BYTES + icmp_bytes;
}

// ---- Rewriting what is inside an error ----

// Where the packet inside has the checksum of what it carries; NULL when that is cut off, or when it has none.
static uint8_t *inner_checksum(uint8_t *frame, const struct icmp_error *e)
{
	uint8_t *l4 = frame + e->l4_off;
	switch (e->protocol) {
	case IP_PROTO_ICMP6: return l4 + 2;
	case IP_PROTO_TCP: return e->l4_bytes >= 18 ? l4 + 16 : NULL;
	case IP_PROTO_UDP:
	case IP_PROTO_UDPLITE: return load16(l4 + 6) == 0 ? NULL : l4 + 6;
	case IP_PROTO_DCCP: return l4 + 6;
	default: return NULL;
	}
}

// Puts n bytes, an even number, and adds to *sum what the sum over them changes by.
static void put(uint8_t *at, const void *value, uint32_t n, uint32_t *sum)
{
	*sum += checksum_delta(at, value, n);
	memcpy(at, value, n);
}

// `addr` and `port` are the packet's inside, `outer_addr` the error's own: all become the new ones. ICMPv6 covers its own addresses, and
// all that is inside.
static void rewrite(uint8_t *frame, const struct parsed *p, const struct icmp_error *e, uint8_t *outer_addr,
                    uint8_t *addr, uint8_t *port, const uint8_t *new_addr, be16 new_port)
{
	struct icmp_header *icmp = (struct icmp_header *)(frame + p->l4_off);
	uint8_t *field = inner_checksum(frame, e);
	uint32_t inner = 0; // what the sum of the packet inside changes by
	uint32_t sum = 0; // and that of the error
	put(addr, new_addr, ADDR_BYTES, &inner);
	if (!ip_protocol_is_any(e->protocol)) // what has no ports keeps what lies in their place
		put(port, &new_port, sizeof new_port, &inner);
	sum += inner;
	if (field != NULL) {
		be16 value = checksum_apply(load16(field), checksum_fold(inner));
		bool has_no_zero = e->protocol == IP_PROTO_UDP || e->protocol == IP_PROTO_UDPLITE;
		if (has_no_zero && value == 0)
			value = 0xffff;
		put(field, &value, sizeof value, &sum);
	}
	put(outer_addr, new_addr, ADDR_BYTES, &sum);
	icmp->checksum = checksum_apply(icmp->checksum, checksum_fold(sum));
}

void icmp6_rewrite_error_dst(uint8_t *frame, const struct parsed *p, const struct icmp_error *e,
                             const uint8_t *new_addr, be16 new_port)
{
	struct ip6_header *outer = (struct ip6_header *)(frame + p->l3_off);
	struct ip6_header *inner = (struct ip6_header *)(frame + e->l3_off);
	uint8_t *l4 = frame + e->l4_off;
	rewrite(frame, p, e, outer->dst, inner->src, e->protocol == IP_PROTO_ICMP6 ? l4 + 4 : l4, new_addr, new_port);
}

void icmp6_rewrite_error_src(uint8_t *frame, const struct parsed *p, const struct icmp_error *e,
                             const uint8_t *new_addr, be16 new_port)
{
	struct ip6_header *outer = (struct ip6_header *)(frame + p->l3_off);
	struct ip6_header *inner = (struct ip6_header *)(frame + e->l3_off);
	uint8_t *l4 = frame + e->l4_off;
	rewrite(frame, p, e, outer->src, inner->dst, e->protocol == IP_PROTO_ICMP6 ? l4 + 4 : l4 + 2, new_addr, new_port);
}
