// Any bytes as a frame: what parses may be rewritten and rewritten back to the same bytes; ARP and ICMP likewise read.
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/check.h"
#include "common/packet/arp.h"
#include "common/packet/icmp.h"
#include "common/packet/nat.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void rewrite_and_back(uint8_t *frame, uint32_t len, const struct parsed *p)
{
	uint8_t *before = malloc(len);
	memcpy(before, frame, len);
	struct parsed now = *p;
	nat_rewrite_dst(frame, &now, 0x0b01010a, 0x901f);
	CHECK(parse_ip4(frame, len, ETH_BYTES, &now) == DROP_NONE);
	CHECK(now.dst == 0x0b01010a && now.dst_port == 0x901f);
	nat_rewrite_src(frame, &now, 0x0c01010a, 0x911f);
	CHECK(parse_ip4(frame, len, ETH_BYTES, &now) == DROP_NONE);
	nat_rewrite_src(frame, &now, p->src, p->src_port);
	nat_rewrite_dst(frame, &now, p->dst, p->dst_port);
	// A checksum of 0xffff and one of 0 mean the same sum; everything else comes back to the letter.
	uint32_t checksum_at = p->l4_off + (p->protocol == IP_PROTO_TCP ? 16u : 6u);
	for (uint32_t i = 0; i < len; i++)
		if (i != 24 && i != 25 && i != checksum_at && i != checksum_at + 1)
			CHECK(frame[i] == before[i]);
	(void)nat_clamp_mss(frame, p, 1440);
	free(before);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size < ETH_BYTES || size > 9000)
		return 0;
	uint8_t *frame = malloc(size); // exactly as large, so that ASan sees any byte beyond
	memcpy(frame, data, size);
	struct parsed p;
	struct arp_info arp;
	if (arp_parse(frame, (uint32_t)size, &arp) == DROP_NONE && arp.operation == ARP_REQUEST)
		arp_write_reply(frame, &arp.sender_mac);
	memcpy(frame, data, size);
	if (parse_ip4(frame, (uint32_t)size, ETH_BYTES, &p) == DROP_NONE) {
		if (p.protocol == IP_PROTO_TCP || p.protocol == IP_PROTO_UDP)
			rewrite_and_back(frame, (uint32_t)size, &p);
		else if (p.protocol == IP_PROTO_ICMP)
			icmp_write_echo_reply(frame, &p);
	}
	free(frame);
	return 0;
}
