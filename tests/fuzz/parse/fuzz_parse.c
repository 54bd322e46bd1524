// Any bytes as a frame of either family: what parses may be rewritten and rewritten back to the same bytes; ARP, ICMP, Neighbor
// Discovery, fragments, resets and errors likewise read and written.
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/check.h"
#include "common/packet/arp.h"
#include "common/packet/fragments.h"
#include "common/packet/icmp.h"
#include "common/packet/icmp6.h"
#include "common/packet/nat.h"
#include "common/packet/nd.h"
#include "common/packet/tcp_reset.h"

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

enum { ADDR_BYTES = 16 };

static const uint8_t other_addr[ADDR_BYTES] = { 0x20, 1, 0x0d, 0xb8, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12 };

static bool has_checksum(uint8_t protocol)
{
	return protocol == IP_PROTO_TCP || protocol == IP_PROTO_UDP || protocol == IP_PROTO_ICMP6 ||
	       protocol == IP_PROTO_UDPLITE || protocol == IP_PROTO_DCCP;
}

// Checksums of 0 and 0xffff mean the same sum; everything else comes back to the letter.
static void rewrite6_and_back(uint8_t *frame, uint32_t len, const struct parsed *p)
{
	uint8_t *before = malloc(len);
	uint8_t src[ADDR_BYTES], dst[ADDR_BYTES];
	uint32_t sum_at = p->l4_off + (p->protocol == IP_PROTO_TCP ? 16u : p->protocol == IP_PROTO_ICMP6 ? 2u : 6u);
	bool is_icmp = p->protocol == IP_PROTO_ICMP6;
	be16 id = is_icmp ? load16(frame + p->l4_off + 4) : 0;
	memcpy(before, frame, len);
	memcpy(src, parsed_src6(frame, p), ADDR_BYTES);
	memcpy(dst, parsed_dst6(frame, p), ADDR_BYTES);
	nat6_rewrite_dst(frame, p, other_addr, 0x901f);
	nat6_rewrite_src(frame, p, other_addr, 0x911f);
	CHECK(memcmp(parsed_src6(frame, p), other_addr, ADDR_BYTES) == 0);
	nat6_rewrite_src(frame, p, src, is_icmp ? id : p->src_port);
	nat6_rewrite_dst(frame, p, dst, is_icmp ? id : p->dst_port);
	for (uint32_t i = 0; i < len; i++)
		CHECK(frame[i] == before[i] || (has_checksum(p->protocol) && (i == sum_at || i == sum_at + 1)));
	(void)nat_clamp_mss(frame, p, 1420);
	free(before);
}

static void read_icmp6(uint8_t *frame, const struct parsed *p)
{
	struct icmp_error e;
	struct nd_info nd;
	if (nd_is_nd(frame, p)) { // with a right checksum, which no mutation finds
		icmp6_put_checksum(frame + p->l4_off, (uint32_t)p->l3_off + p->l3_bytes - p->l4_off, parsed_src6(frame, p));
		(void)nd_parse(frame, p, &nd);
	}
	if (icmp_kind_of(frame, p) == ICMP_KIND_ECHO)
		icmp_write_echo_reply(frame, p);
	if (icmp_kind_of(frame, p) != ICMP_KIND_ERROR || icmp_error_parse(frame, p, &e) != DROP_NONE)
		return;
	CHECK(e.l4_bytes >= ICMP_ERROR_L4_BYTES && e.l4_off + e.l4_bytes <= p->l3_off + p->l3_bytes);
	icmp6_rewrite_error_dst(frame, p, &e, other_addr, 0x901f);
	icmp6_rewrite_error_src(frame, p, &e, other_addr, 0x911f);
}

// The buffer ends where the frame does, and has room for an error's headers in front.
static void answer(const uint8_t *data, uint32_t len, struct parsed *p)
{
	uint8_t *buffer = malloc(ICMP6_ERROR_BYTES + len);
	uint8_t *frame = buffer + ICMP6_ERROR_BYTES;
	memcpy(frame, data, len);
	if (icmp_may_answer(frame, p))
		CHECK(icmp_write_answer(frame, p, &(struct icmp_answer){ .type = 4, .code = 1 }) <= IP6_MTU_MIN);
	memcpy(frame, data, len);
	if (p->protocol == IP_PROTO_TCP && p->fragment_off == 0)
		CHECK(tcp_write_reset(frame, p) <= p->l3_bytes);
	free(buffer);
}

static void take_ip6(uint8_t *frame, const uint8_t *data, uint32_t len)
{
	struct parsed p;
	struct fragment f;
	enum drop_reason reason = parse_ip6(frame, len, ETH_BYTES, &p);
	if (reason == DROP_FRAGMENT && fragment_parse(frame, &p, &f) == DROP_NONE && f.begin == 0)
		fragment_read_ports(frame, &p);
	if (reason == DROP_FRAGMENT)
		(void)icmp_may_answer(frame, &p);
	if (reason != DROP_NONE)
		return;
	CHECK(p.l4_off <= p.l3_off + p.l3_bytes && p.l3_off + p.l3_bytes <= len);
	answer(data, len, &p);
	rewrite6_and_back(frame, len, &p);
	if (p.protocol == IP_PROTO_ICMP6)
		read_icmp6(frame, &p);
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
	memcpy(frame, data, size);
	take_ip6(frame, data, (uint32_t)size);
	free(frame);
	return 0;
}
