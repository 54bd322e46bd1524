#include "common/packet/icmp.h"

#include "common/packet/checksum.h"
#include "common/packet/icmp6.h"
#include "common/packet/martian.h"

enum { ECHO_REPLY_TTL = 64, ERROR_TTL = 64 };

static inline void turn_round(uint8_t *frame, const struct parsed *p)
{
	struct eth_header *eth = (struct eth_header *)frame;
	struct mac mac = eth->dst;
	eth->dst = eth->src;
	eth->src = mac;

	// Swapping source and destination leaves the sum as it is; the TTL does not.
	struct ip4_header *ip = (struct ip4_header *)(frame + p->l3_off);
	be16 old_word = load16(&ip->ttl);
	be32 src = ip->src;
	ip->src = ip->dst;
	ip->dst = src;
	ip->ttl = ECHO_REPLY_TTL;
	ip->checksum = checksum_update16(ip->checksum, old_word, load16(&ip->ttl));
}

void icmp_write_echo_reply_fragment(uint8_t *frame, const struct parsed *p)
{
	if (p->is_ip6)
		icmp6_write_echo_reply_fragment(frame, p);
	else
		turn_round(frame, p);
}

void icmp_write_echo_reply(uint8_t *frame, const struct parsed *p)
{
	if (p->is_ip6) {
		icmp6_write_echo_reply(frame, p);
		return;
	}
	turn_round(frame, p);
	struct icmp_header *icmp = (struct icmp_header *)(frame + p->l4_off);
	be16 old_word = load16(&icmp->type);
	icmp->type = ICMP_ECHO_REPLY;
	icmp->checksum = checksum_update16(icmp->checksum, old_word, load16(&icmp->type));
}

bool icmp_may_answer(const uint8_t *frame, const struct parsed *p)
{
	const struct ip4_header *ip = (const struct ip4_header *)(frame + p->l3_off);
	if (p->is_ip6)
		return icmp6_may_answer(frame, p);
	if (ip4_is_martian(p->src) || p->src == p->dst || (ip->fragment & be16_from(IP4_OFFSET_MASK)) != 0)
		return false;
	uint32_t l4_bytes = (uint32_t)p->l3_off + p->l3_bytes - p->l4_off;
	if (p->protocol != IP_PROTO_ICMP)
		return true;
	uint8_t type = l4_bytes > 0 ? frame[p->l4_off] : ICMP_UNREACHABLE;
	return type == ICMP_ECHO || type == ICMP_ECHO_REPLY; // of all others one cannot know
}

uint32_t icmp_write_error(uint8_t *frame, const struct parsed *p, uint8_t type, uint8_t code)
{
	return icmp_write_answer(frame, p, &(struct icmp_answer){ .src = p->dst, .type = type, .code = code });
}

uint32_t icmp_write_answer(uint8_t *frame, const struct parsed *p, const struct icmp_answer *a)
{
	if (p->is_ip6)
		return icmp6_write_answer(frame, p, a);
	uint32_t n_kept = p->l3_bytes;
	if (n_kept > ICMP_ERROR_PACKET_BYTES - ICMP_ERROR_BYTES)
		n_kept = ICMP_ERROR_PACKET_BYTES - ICMP_ERROR_BYTES;
	struct {
		struct ip4_header ip;
		struct icmp_header icmp;
	} PACKED error = {
		.ip = { .version_ihl = 0x45,
		        .tos = 0xc0, // RFC 1812 section 4.3.2.5: internetwork control
		        .total_length = be16_from((uint16_t)(ICMP_ERROR_BYTES + n_kept)),
		        .ttl = ERROR_TTL,
		        .protocol = IP_PROTO_ICMP,
		        .src = a->src,
		        .dst = p->src },
		.icmp = { .type = a->type, .code = a->code, .seq = be16_from(a->mtu) },
	};
	error.ip.checksum = checksum_compute(&error.ip, sizeof error.ip);
	uint32_t sum = checksum_add(frame + p->l3_off, n_kept, 0);
	error.icmp.checksum = (be16)~checksum_fold(checksum_add(&error.icmp, sizeof error.icmp, sum));
	memcpy(frame + p->l3_off - ICMP_ERROR_BYTES, &error, sizeof error);
	return ICMP_ERROR_BYTES + n_kept;
}

// ---- Rewriting what is inside an error; `sum` is the error's own checksum, which covers every word of it ----

static void put16(uint8_t *at, be16 value, be16 *sum)
{
	*sum = checksum_update16(*sum, load16(at), value);
	store16(at, value);
}

static void put32(uint8_t *at, be32 value, be16 *sum)
{
	*sum = checksum_update32(*sum, load32(at), value);
	store32(at, value);
}

// Where the packet inside has the checksum of its TCP, UDP or ICMP header; NULL when that is cut off, or when it has none.
static uint8_t *inner_checksum(uint8_t *frame, const struct icmp_error *e)
{
	uint8_t *l4 = frame + e->l4_off;
	switch (e->protocol) {
	case IP_PROTO_ICMP: return l4 + 2;
	case IP_PROTO_TCP: return e->l4_bytes >= 18 ? l4 + 16 : NULL;
	case IP_PROTO_UDP:
	case IP_PROTO_UDPLITE: return load16(l4 + 6) == 0 ? NULL : l4 + 6;
	case IP_PROTO_DCCP: return l4 + 6;
	default: return NULL; // none that would cover addresses, or none that is known
	}
}

// What has no ports keeps what lies in their place.
static void rewrite_inner(uint8_t *frame, const struct icmp_error *e, uint8_t *addr, uint8_t *port, be32 new_addr,
                          be16 new_port, be16 *sum)
{
	be32 old_addr = load32(addr);
	be16 old_port = load16(port);
	if (ip_protocol_is_any(e->protocol))
		new_port = old_port;
	uint8_t *ip_sum = frame + e->l3_off + 10;
	uint8_t *l4_sum = inner_checksum(frame, e);
	put16(ip_sum, checksum_update32(load16(ip_sum), old_addr, new_addr), sum);
	if (l4_sum != NULL) {
		be16 value = checksum_update16(load16(l4_sum), old_port, new_port);
		if (e->protocol != IP_PROTO_ICMP)
			value = checksum_update32(value, old_addr, new_addr);
		bool has_no_zero = e->protocol == IP_PROTO_UDP || e->protocol == IP_PROTO_UDPLITE;
		put16(l4_sum, has_no_zero && value == 0 ? 0xffff : value, sum);
	}
	put32(addr, new_addr, sum);
	put16(port, new_port, sum);
}

static void rewrite_outer(uint8_t *frame, const struct parsed *p, uint8_t *addr, be32 new_addr)
{
	struct ip4_header *ip = (struct ip4_header *)(frame + p->l3_off);
	be32 old_addr = load32(addr);
	ip->checksum = checksum_update32(ip->checksum, old_addr, new_addr);
	store32(addr, new_addr);
}

void icmp_rewrite_error_dst(uint8_t *frame, const struct parsed *p, const struct icmp_error *e, be32 new_addr,
                            be16 new_port)
{
	struct icmp_header *icmp = (struct icmp_header *)(frame + p->l4_off);
	uint8_t *l4 = frame + e->l4_off;
	be16 sum = icmp->checksum;
	rewrite_inner(frame, e, frame + e->l3_off + 12, e->protocol == IP_PROTO_ICMP ? l4 + 4 : l4, new_addr, new_port,
	              &sum);
	icmp->checksum = sum;
	rewrite_outer(frame, p, frame + p->l3_off + 16, new_addr);
}

void icmp_rewrite_error_src(uint8_t *frame, const struct parsed *p, const struct icmp_error *e, be32 new_addr,
                            be16 new_port)
{
	struct icmp_header *icmp = (struct icmp_header *)(frame + p->l4_off);
	uint8_t *l4 = frame + e->l4_off;
	be16 sum = icmp->checksum;
	rewrite_inner(frame, e, frame + e->l3_off + 16, e->protocol == IP_PROTO_ICMP ? l4 + 4 : l4 + 2, new_addr, new_port,
	              &sum);
	icmp->checksum = sum;
	rewrite_outer(frame, p, frame + p->l3_off + 12, new_addr);
}
