#include "common/packet/icmp.h"

#include "common/packet/checksum.h"

enum { ECHO_REPLY_TTL = 64 };

void icmp_write_echo_reply(uint8_t *frame, const struct parsed *p)
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

	struct icmp_header *icmp = (struct icmp_header *)(frame + p->l4_off);
	old_word = load16(&icmp->type);
	icmp->type = ICMP_ECHO_REPLY;
	icmp->checksum = checksum_update16(icmp->checksum, old_word, load16(&icmp->type));
}
