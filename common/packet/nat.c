#include "common/packet/nat.h"

#include "common/packet/checksum.h"

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
