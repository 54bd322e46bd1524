#include "common/packet/nat.h"

#include <stddef.h>
#include <string.h>

// The checksum field of TCP or UDP after address and port changed. RFC 768: 0 stays 0; a result of 0 becomes 0xffff.
static void update_l4(uint8_t *frame, const struct parsed *p, be32 old_ip, be32 new_ip, be16 old_port, be16 new_port)
{
	uint8_t *l4 = frame + p->l4_off;
	if (p->protocol == IP_PROTO_TCP) {
		struct tcp_header *tcp = (struct tcp_header *)l4;
		tcp->checksum = checksum_update16(checksum_update32(tcp->checksum, old_ip, new_ip), old_port, new_port);
		return;
	}
	struct udp_header *udp = (struct udp_header *)l4;
	if (udp->checksum == 0)
		return;
	be16 sum = checksum_update16(checksum_update32(udp->checksum, old_ip, new_ip), old_port, new_port);
	udp->checksum = sum == 0 ? 0xffff : sum;
}

void nat_rewrite_dst(uint8_t *frame, const struct parsed *p, be32 new_dst, be16 new_port)
{
	struct ip4_header *ip = (struct ip4_header *)(frame + p->l3_off);
	uint8_t *l4 = frame + p->l4_off;
	be32 old_dst = ip->dst;
	be16 old_port = load16(l4 + 2);
	ip->checksum = checksum_update32(ip->checksum, old_dst, new_dst);
	ip->dst = new_dst;
	update_l4(frame, p, old_dst, new_dst, old_port, new_port);
	store16(l4 + 2, new_port);
}

void nat_rewrite_src(uint8_t *frame, const struct parsed *p, be32 new_src, be16 new_port)
{
	struct ip4_header *ip = (struct ip4_header *)(frame + p->l3_off);
	uint8_t *l4 = frame + p->l4_off;
	be32 old_src = ip->src;
	be16 old_port = load16(l4);
	ip->checksum = checksum_update32(ip->checksum, old_src, new_src);
	ip->src = new_src;
	update_l4(frame, p, old_src, new_src, old_port, new_port);
	store16(l4, new_port);
}

void nat_rewrite_fragment_dst(uint8_t *frame, const struct parsed *p, be32 new_dst)
{
	struct ip4_header *ip = (struct ip4_header *)(frame + p->l3_off);
	ip->checksum = checksum_update32(ip->checksum, ip->dst, new_dst);
	ip->dst = new_dst;
}

void nat_rewrite_fragment_src(uint8_t *frame, const struct parsed *p, be32 new_src)
{
	struct ip4_header *ip = (struct ip4_header *)(frame + p->l3_off);
	ip->checksum = checksum_update32(ip->checksum, ip->src, new_src);
	ip->src = new_src;
}

void ip4_put_id(struct ip4_header *ip, be16 id)
{
	ip->checksum = checksum_update16(ip->checksum, ip->id, id);
	ip->id = id;
}

// ---- IPv6 ----

static uint8_t *src6(uint8_t *frame, const struct parsed *p)
{
	return frame + p->l3_off + offsetof(struct ip6_header, src);
}

static uint8_t *dst6(uint8_t *frame, const struct parsed *p)
{
	return frame + p->l3_off + offsetof(struct ip6_header, dst);
}

// What the protocol has that NAT rewrites; NAT6_NONE: it lies nowhere.
struct nat6_layout {
	uint8_t checksum_off;
	uint8_t src_off, dst_off; // of ports
};

enum { NAT6_NONE = 0xff };

static struct nat6_layout layout_of(uint8_t protocol)
{
	switch (protocol) {
	case IP_PROTO_TCP: return (struct nat6_layout){ offsetof(struct tcp_header, checksum), 0, 2 };
	case IP_PROTO_UDP: return (struct nat6_layout){ offsetof(struct udp_header, checksum), 0, 2 };
	case IP_PROTO_ICMP6: return (struct nat6_layout){ offsetof(struct icmp_header, checksum), 4, 4 };
	case IP_PROTO_UDPLITE: // RFC 3828 section 3.1
	case IP_PROTO_DCCP: return (struct nat6_layout){ 6, NAT6_NONE, NAT6_NONE }; // RFC 4340 section 9.1
	default: return (struct nat6_layout){ NAT6_NONE, NAT6_NONE, NAT6_NONE };
	}
}

static uint32_t l4_bytes_of(const struct parsed *p)
{
	return (uint32_t)p->l3_off + p->l3_bytes - p->l4_off;
}

// Of UDP 0 means that there is none, and so is never the result (RFC 768); it is not valid over IPv6, and stays what it is.
static void apply_checksum(uint8_t *at, uint8_t protocol, uint16_t delta)
{
	be16 old = load16(at);
	bool is_udp = protocol == IP_PROTO_UDP || protocol == IP_PROTO_UDPLITE;
	if (is_udp && old == 0)
		return;
	be16 sum = checksum_apply(old, delta);
	store16(at, is_udp && sum == 0 ? 0xffff : sum);
}

static void apply_l4(uint8_t *frame, const struct parsed *p, const struct nat6_layout *l, uint32_t port_off, be16 port,
                     uint16_t delta)
{
	uint8_t *l4 = frame + p->l4_off;
	if (l->checksum_off == NAT6_NONE || l4_bytes_of(p) < l->checksum_off + 2u)
		return;
	if (port_off != NAT6_NONE)
		store16(l4 + port_off, port);
	apply_checksum(l4 + l->checksum_off, p->protocol, delta);
}

// Port and identifier as they are now; `new_port` where there is none, so that it changes nothing.
static be16 old_port_of(const uint8_t *frame, const struct parsed *p, uint32_t port_off, be16 new_port)
{
	if (port_off == NAT6_NONE || l4_bytes_of(p) < port_off + 2u)
		return new_port;
	return load16(frame + p->l4_off + port_off);
}

void nat6_apply_dst(uint8_t *frame, const struct parsed *p, const uint8_t *new_dst, be16 new_port, uint16_t delta)
{
	struct nat6_layout l = layout_of(p->protocol);
	memmove(dst6(frame, p), new_dst, 16);
	apply_l4(frame, p, &l, l.dst_off, new_port, delta);
}

void nat6_apply_src(uint8_t *frame, const struct parsed *p, const uint8_t *new_src, be16 new_port, uint16_t delta)
{
	struct nat6_layout l = layout_of(p->protocol);
	memmove(src6(frame, p), new_src, 16);
	apply_l4(frame, p, &l, l.src_off, new_port, delta);
}

void nat6_rewrite_dst(uint8_t *frame, const struct parsed *p, const uint8_t *new_dst, be16 new_port)
{
	be16 old_port = old_port_of(frame, p, layout_of(p->protocol).dst_off, new_port);
	nat6_apply_dst(frame, p, new_dst, new_port, nat6_delta(dst6(frame, p), new_dst, old_port, new_port));
}

void nat6_rewrite_src(uint8_t *frame, const struct parsed *p, const uint8_t *new_src, be16 new_port)
{
	be16 old_port = old_port_of(frame, p, layout_of(p->protocol).src_off, new_port);
	nat6_apply_src(frame, p, new_src, new_port, nat6_delta(src6(frame, p), new_src, old_port, new_port));
}

void nat6_rewrite_fragment_dst(uint8_t *frame, const struct parsed *p, const uint8_t *new_dst)
{
	memmove(dst6(frame, p), new_dst, 16);
}

void nat6_rewrite_fragment_src(uint8_t *frame, const struct parsed *p, const uint8_t *new_src)
{
	memmove(src6(frame, p), new_src, 16);
}

// ---- MSS ----

enum { TCP_OPTION_END = 0, TCP_OPTION_NOP = 1, TCP_OPTION_MSS = 2, TCP_OPTION_MSS_BYTES = 4 };

bool nat_clamp_mss(uint8_t *frame, const struct parsed *p, uint16_t max_mss)
{
	if (p->protocol != IP_PROTO_TCP || (p->tcp_flags & TCP_SYN) == 0)
		return false;
	struct tcp_header *tcp = (struct tcp_header *)(frame + p->l4_off);
	uint8_t *options = (uint8_t *)(tcp + 1);
	uint32_t n = (uint32_t)(tcp->data_offset >> 4) * 4u - (uint32_t)sizeof *tcp;
	for (uint32_t i = 0; i < n;) {
		if (options[i] == TCP_OPTION_END)
			return false;
		if (options[i] == TCP_OPTION_NOP) {
			i++;
			continue;
		}
		if (i + 1 >= n || options[i + 1] < 2 || options[i + 1] > n - i)
			return false;
		if (options[i] != TCP_OPTION_MSS || options[i + 1] != TCP_OPTION_MSS_BYTES) {
			i += options[i + 1];
			continue;
		}
		be16 old_mss = load16(options + i + 2);
		if (be16_to(old_mss) <= max_mss)
			return false;
		be16 new_mss = be16_from(max_mss);
		// Where the option starts at an odd offset its value straddles two checksum words: bytes change places.
		if ((i & 1) == 0)
			tcp->checksum = checksum_update16(tcp->checksum, old_mss, new_mss);
		else
			tcp->checksum = checksum_update16(tcp->checksum, __builtin_bswap16(old_mss), __builtin_bswap16(new_mss));
		store16(options + i + 2, new_mss);
		return true;
	}
	return false;
}
