// The flow's own rewriting, with its prepared deltas, against the general one of common/packet/nat.h.
#include <stdio.h>

#include "common/packet/nat.h"
#include "hostagent/core/rewrite.h"
#include "tests/support/packet_builder.h"
#include "tests/support/suite.h"
#include "tests/unit/hostagent/flow_block.h"

static const struct flow_table no_table; // IPv4 needs none

static be32 random_ip4(uint64_t *seed)
{
	be32 addr = (be32)random_next(seed);
	return addr_is_ip6(addr) ? addr ^ 0x55 : addr;
}

static struct flow_entry random_entry(uint64_t *seed)
{
	struct flow_entry e = {
		.dip = random_ip4(seed),
		.vip = random_ip4(seed),
		.dip_port = (be16)random_next(seed),
		.vip_port = (be16)random_next(seed),
	};
	if (random_below(seed, 4) == 0)
		e.vip = e.dip ^ (random_below(seed, 2) ? 0xffffffffu : 0); // the extremes of a delta
	flow_entry_set_deltas(&no_table, &e);
	return e;
}

static struct test_frame random_frame(uint64_t *seed, bool is_udp, be32 addr, be16 port, bool is_dst)
{
	struct test_tuple t = { .src = "198.51.100.7", .dst = "198.51.100.8", .src_port = 1000, .dst_port = 2000 };
	t.ip_options_bytes = 4 * random_below(seed, 3);
	struct test_frame f =
		is_udp ? test_udp(&t, NULL, random_below(seed, 64)) : test_tcp(&t, TCP_ACK, NULL, random_below(seed, 64));
	struct ip4_header *ip = (struct ip4_header *)(test_data(&f) + ETH_BYTES);
	uint8_t *l4 = test_data(&f) + ETH_BYTES + IP4_BYTES + t.ip_options_bytes;
	store32(is_dst ? (uint8_t *)&ip->dst : (uint8_t *)&ip->src, addr);
	store16(l4 + (is_dst ? 2 : 0), port);
	test_fix_checksums(&f);
	uint32_t kind = random_below(seed, 8);
	if (kind == 0) // damaged: whatever stands there
		store16(l4 + (is_udp ? 6 : 16), (uint16_t)random_next(seed));
	else if (kind == 1 && is_udp)
		store16(l4 + 6, 0);
	return f;
}

static bool sums_equal(be16 a, be16 b)
{
	return a == b || (a == 0 && b == 0xffff) || (a == 0xffff && b == 0);
}

// Equal but for the two zeros of one's complement, in the IP header's checksum and in that of TCP. UDP's are the same.
static void check_equal(const struct test_frame *a, const struct test_frame *b, const struct parsed *p)
{
	const uint8_t *x = a->buf + a->offset;
	const uint8_t *y = b->buf + b->offset;
	uint32_t l4_sum = p->l4_off + (p->protocol == IP_PROTO_UDP ? 6u : 16u);
	ck_assert(sums_equal(load16(x + ETH_BYTES + 10), load16(y + ETH_BYTES + 10)));
	ck_assert(sums_equal(load16(x + l4_sum), load16(y + l4_sum)));
	if (p->protocol == IP_PROTO_UDP)
		ck_assert((load16(x + l4_sum) == 0) == (load16(y + l4_sum) == 0));
	for (uint32_t i = 0; i < a->len; i++)
		if (i != ETH_BYTES + 10 && i != ETH_BYTES + 11 && i != l4_sum && i != l4_sum + 1)
			ck_assert_uint_eq(x[i], y[i]);
}

START_TEST(rewriting_with_deltas_equals_rewriting_without)
{
	uint64_t seed = 21;
	for (int round = 0; round < 100000; round++) {
		bool is_udp = random_below(&seed, 2) == 0;
		bool is_inbound = random_below(&seed, 2) == 0;
		struct flow_entry e = random_entry(&seed);
		struct test_frame a = is_inbound ? random_frame(&seed, is_udp, e.vip, e.vip_port, true)
		                                 : random_frame(&seed, is_udp, e.dip, e.dip_port, false);
		struct test_frame b = a;
		struct parsed p;
		ck_assert_int_eq(parse_ip4(test_data(&a), a.len, ETH_BYTES, &p), DROP_NONE);
		if (is_inbound) {
			rewrite_inbound(test_data(&a), &p, &e, flow_entry_deltas(&e));
			nat_rewrite_dst(test_data(&b), &p, e.dip, e.dip_port);
		} else {
			rewrite_reply(test_data(&a), &p, &e, flow_entry_deltas(&e));
			nat_rewrite_src(test_data(&b), &p, e.vip, e.vip_port);
		}
		check_equal(&a, &b, &p);
	}
}
END_TEST

// An echo has an identifier in the place of ports, and a checksum that covers no addresses.
START_TEST(an_echo_is_rewritten_there_and_back)
{
	uint64_t seed = 22;
	for (int round = 0; round < 100000; round++) {
		struct flow_entry e = random_entry(&seed);
		e.protocol = IP_PROTO_ICMP;
		flow_entry_set_deltas(&no_table, &e);
		struct test_tuple t = { .src = "198.51.100.7", .dst = "198.51.100.8" };
		struct test_frame f = test_icmp(&t, ICMP_ECHO, 0, be16_to(e.dip_port), 1, NULL, random_below(&seed, 64));
		store32(test_data(&f) + ETH_BYTES + 12, e.dip);
		test_fix_checksums(&f);
		bool is_damaged = random_below(&seed, 8) == 0;
		if (is_damaged)
			test_data(&f)[ETH_BYTES + IP4_BYTES + 2] ^= 0x40;
		struct parsed p;
		ck_assert_int_eq(parse_ip4(test_data(&f), f.len, ETH_BYTES, &p), DROP_NONE);
		rewrite_reply(test_data(&f), &p, &e, flow_entry_make_deltas(&no_table, &e));
		ck_assert_uint_eq(load32(test_data(&f) + ETH_BYTES + 12), e.vip);
		ck_assert_uint_eq(load16(test_data(&f) + ETH_BYTES + IP4_BYTES + 4), e.vip_port);
		ck_assert(test_checksums_ok(test_data(&f), f.len, NULL) == !is_damaged);
		test_data(&f)[ETH_BYTES + IP4_BYTES] = ICMP_ECHO_REPLY; // and comes back as a reply
		store32(test_data(&f) + ETH_BYTES + 16, e.vip);
		test_fix_checksums(&f);
		rewrite_inbound(test_data(&f), &p, &e, flow_entry_make_deltas(&no_table, &e));
		ck_assert_uint_eq(load32(test_data(&f) + ETH_BYTES + 16), e.dip);
		ck_assert_uint_eq(load16(test_data(&f) + ETH_BYTES + IP4_BYTES + 4), e.dip_port);
		ck_assert(test_checksums_ok(test_data(&f), f.len, NULL));
	}
}
END_TEST

SUITE_MAIN("agent rewrite", rewriting_with_deltas_equals_rewriting_without, an_echo_is_rewritten_there_and_back)
