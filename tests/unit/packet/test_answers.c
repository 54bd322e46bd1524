// What is answered in somebody's name (RST, ICMP errors), and the rewriting of ICMP errors.
#include "tests/support/suite.h"

#include <stdlib.h>
#include <string.h>

#include "common/packet/icmp.h"
#include "common/packet/tcp_reset.h"
#include "tests/support/packet_builder.h"

static const struct test_tuple sent = {
	.src = "10.1.1.11", .dst = "198.51.100.9", .src_port = 50000, .dst_port = 443, .ip_options_bytes = 8
};

static struct parsed parse(struct test_frame *f)
{
	struct parsed p;
	ck_assert_int_eq(parse_ip4(test_data(f), f->len, ETH_BYTES, &p), DROP_NONE);
	return p;
}

START_TEST(a_reset_has_the_form_that_the_segment_asks_for)
{
	static const struct {
		const char *what;
		uint8_t flags;
		uint32_t n;
		const char *want;
	} rows[] = {
		{ "SYN", TCP_SYN, 0, "tcp RA seq 0 ack 2 len 0 ttl 64 id 0" },
		{ "SYN with data", TCP_SYN, 7, "tcp RA seq 0 ack 9 len 0 ttl 64 id 0" },
		{ "FIN without ACK", TCP_FIN, 3, "tcp RA seq 0 ack 5 len 0 ttl 64 id 0" },
		{ "ACK", TCP_ACK, 100, "tcp R seq 1 ack 0 len 0 ttl 64 id 0" },
		{ "SYN-ACK", TCP_SYN | TCP_ACK, 0, "tcp R seq 1 ack 0 len 0 ttl 64 id 0" },
		{ "FIN", TCP_FIN | TCP_ACK, 0, "tcp R seq 1 ack 0 len 0 ttl 64 id 0" },
	};
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		static const uint8_t options[] = { 2, 4, 5, 0xb4 };
		struct test_frame f = test_tcp_options(&sent, rows[i].flags, options, sizeof options, NULL, rows[i].n);
		struct parsed p = parse(&f);
		uint32_t n = tcp_write_reset(test_data(&f), &p);
		ck_assert_uint_eq(n, 40);
		char got[256];
		const char *text = test_format(test_data(&f), ETH_BYTES + n, got, sizeof got);
		ck_assert_msg(strstr(text, "198.51.100.9:443 > 10.1.1.11:50000") != NULL, "%s: %s", rows[i].what, text);
		ck_assert_msg(strstr(text, rows[i].want) != NULL, "%s: want %s, got %s", rows[i].what, rows[i].want, text);
		ck_assert(test_checksums_ok(test_data(&f), ETH_BYTES + n, NULL));
	}
}
END_TEST

START_TEST(an_error_holds_the_packet_as_it_was_up_to_576_bytes)
{
	static const struct {
		uint32_t n;
		uint32_t want;
	} rows[] = { { 0, 28 + 36 }, { 5, 28 + 41 }, { 512, 576 }, { 513, 576 }, { 1400, 576 } };
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		struct test_frame f = test_udp(&sent, NULL, rows[i].n);
		struct test_frame before = f;
		struct parsed p = parse(&f);
		uint32_t n = icmp_write_error(test_data(&f), &p, ICMP_UNREACHABLE, ICMP_ADMIN_PROHIBITED);
		ck_assert_uint_eq(n, rows[i].want);
		ck_assert_int_eq(memcmp(test_data(&f) + ETH_BYTES, test_data(&before) + ETH_BYTES, n - ICMP_ERROR_BYTES), 0);
		uint8_t *frame = test_data(&f) - ICMP_ERROR_BYTES;
		memset(frame, 0, ETH_BYTES);
		((struct eth_header *)frame)->ether_type = be16_from(ETHER_IP4);
		struct parsed outer;
		struct icmp_error inside;
		ck_assert_int_eq(parse_ip4(frame, ETH_BYTES + n, ETH_BYTES, &outer), DROP_NONE);
		ck_assert_int_eq(icmp_error_parse(frame, &outer, &inside), DROP_NONE);
		ck_assert_uint_eq(outer.src, test_ip4("198.51.100.9"));
		ck_assert_uint_eq(outer.dst, test_ip4("10.1.1.11"));
		ck_assert_uint_eq(be16_to(inside.src_port), 50000);
		ck_assert(test_checksums_ok(frame, ETH_BYTES + n, NULL));
	}
}
END_TEST

static uint64_t next(uint64_t *seed)
{
	*seed ^= *seed << 13;
	*seed ^= *seed >> 7;
	*seed ^= *seed << 17;
	return *seed;
}

static struct test_frame random_error(uint64_t *seed)
{
	struct test_tuple inner = { .src = "203.0.113.20", .dst = "198.51.100.9", .src_port = 1031, .dst_port = 443 };
	inner.ip_options_bytes = 4 * (uint32_t)(next(seed) % 4);
	struct test_tuple outer = { .src = "192.0.2.1", .dst = "203.0.113.20" };
	outer.ip_options_bytes = 4 * (uint32_t)(next(seed) % 3);
	uint32_t n = (uint32_t)(next(seed) % 50);
	uint32_t kind = (uint32_t)(next(seed) % 4);
	struct test_frame f = kind == 0   ? test_tcp(&inner, TCP_SYN, NULL, n)
	                      : kind == 1 ? test_icmp(&inner, ICMP_ECHO, 0, 1031, 1, NULL, n)
	                                  : test_udp(&inner, NULL, n);
	if (kind == 3) // no checksum
		store16(test_data(&f) + ETH_BYTES + IP4_BYTES + inner.ip_options_bytes + 6, 0);
	uint32_t least = IP4_BYTES + inner.ip_options_bytes + 8;
	return test_icmp_error(&outer, ICMP_TIME_EXCEEDED, 0, &f, least + (uint32_t)(next(seed) % 60));
}

// All sums of what an error holds, anew: 0 where they are right. The packet inside may be cut.
static void check_inner_header(const struct test_frame *f, const struct icmp_error *e)
{
	const uint8_t *frame = f->buf + f->offset;
	uint32_t sum = 0;
	for (uint32_t i = e->l3_off; i < e->l4_off; i += 2)
		sum += load16(frame + i);
	while (sum >> 16 != 0)
		sum = (sum & 0xffff) + (sum >> 16);
	ck_assert_uint_eq(sum, 0xffff);
}

START_TEST(an_error_is_rewritten_with_all_its_sums_and_back)
{
	uint64_t seed = 77;
	for (int round = 0; round < 50000; round++) {
		struct test_frame f = random_error(&seed);
		struct test_frame before = f;
		struct parsed p = parse(&f);
		struct icmp_error e;
		ck_assert_int_eq(icmp_error_parse(test_data(&f), &p, &e), DROP_NONE);
		bool is_damaged = next(&seed) % 8 == 0;
		if (is_damaged)
			test_data(&f)[p.l4_off + 2] ^= 0x20;
		be32 addr = (be32)next(&seed);
		be16 port = (be16)next(&seed);
		icmp_rewrite_error_dst(test_data(&f), &p, &e, addr, port);
		ck_assert(test_checksums_ok(test_data(&f), f.len, NULL) == !is_damaged);
		struct parsed q = parse(&f);
		struct icmp_error inside;
		ck_assert_int_eq(icmp_error_parse(test_data(&f), &q, &inside), DROP_NONE);
		ck_assert_uint_eq(q.dst, addr);
		ck_assert_uint_eq(inside.src, addr);
		ck_assert_uint_eq(inside.src_port, port);
		ck_assert_uint_eq(inside.dst, e.dst);
		check_inner_header(&f, &inside);
		if (is_damaged)
			continue;
		icmp_rewrite_error_dst(test_data(&f), &q, &inside, p.dst, e.src_port);
		ck_assert(test_checksums_ok(test_data(&f), f.len, NULL));
		struct parsed r = parse(&f);
		ck_assert_uint_eq(r.dst, p.dst);
		ck_assert_int_eq(memcmp(test_data(&f) + e.l4_off, test_data(&before) + e.l4_off, 2), 0);
	}
}
END_TEST

START_TEST(the_receivers_side_of_an_error_is_rewritten_likewise)
{
	struct test_tuple inner = { .src = "198.51.100.9", .dst = "10.1.1.11", .src_port = 53, .dst_port = 5353 };
	struct test_tuple outer = { .src = "10.1.1.11", .dst = "198.51.100.9" };
	struct test_frame answer = test_udp(&inner, "answer", 6);
	struct test_frame f = test_icmp_error(&outer, ICMP_UNREACHABLE, 3, &answer, UINT16_MAX);
	struct parsed p = parse(&f);
	struct icmp_error e;
	ck_assert_int_eq(icmp_error_parse(test_data(&f), &p, &e), DROP_NONE);
	icmp_rewrite_error_src(test_data(&f), &p, &e, test_ip4("203.0.113.20"), be16_from(1031));
	p = parse(&f);
	ck_assert_int_eq(icmp_error_parse(test_data(&f), &p, &e), DROP_NONE);
	ck_assert_uint_eq(p.src, test_ip4("203.0.113.20"));
	ck_assert_uint_eq(e.dst, test_ip4("203.0.113.20"));
	ck_assert_uint_eq(be16_to(e.dst_port), 1031);
	ck_assert_uint_eq(be16_to(e.src_port), 53);
	ck_assert(test_checksums_ok(test_data(&f), f.len, NULL));
	check_inner_header(&f, &e);
}
END_TEST

START_TEST(an_error_about_a_protocol_without_ports_is_rewritten_by_its_addresses)
{
	static const uint8_t payload[24] = { 1, 2, 3, 4, 5, 6, 7, 8 };
	struct test_tuple inner = { .src = "203.0.113.10", .dst = "198.51.100.9" };
	struct test_tuple outer = { .src = "192.0.2.1", .dst = "203.0.113.10" };
	struct test_frame packet = test_ip_proto(&inner, 47, payload, sizeof payload);
	struct test_frame f = test_icmp_error(&outer, ICMP_UNREACHABLE, ICMP_FRAGMENTATION_NEEDED, &packet, UINT16_MAX);
	struct parsed p = parse(&f);
	struct icmp_error e;
	ck_assert_int_eq(icmp_error_parse(test_data(&f), &p, &e), DROP_NONE);
	icmp_rewrite_error_dst(test_data(&f), &p, &e, test_ip4("10.1.1.11"), be16_from(8080));
	p = parse(&f);
	ck_assert_int_eq(icmp_error_parse(test_data(&f), &p, &e), DROP_NONE);
	ck_assert_uint_eq(e.src, test_ip4("10.1.1.11"));
	ck_assert_mem_eq(test_data(&f) + e.l4_off, payload, sizeof payload);
	ck_assert(test_checksums_ok(test_data(&f), f.len, NULL));
	check_inner_header(&f, &e);
}
END_TEST

// Frames with these bytes changed may be answered or not.
START_TEST(errors_are_not_about_errors_other_fragments_or_from_no_host)
{
	static const struct {
		const char *what;
		const char *src;
		uint8_t protocol;
		uint8_t icmp_type;
		uint16_t offset;
		bool want;
	} rows[] = {
		{ "TCP", "198.51.100.9", IP_PROTO_TCP, 0, 0, true },
		{ "a first fragment", "198.51.100.9", IP_PROTO_UDP, 0, 0, true },
		{ "another fragment", "198.51.100.9", IP_PROTO_UDP, 0, 8, false },
		{ "an echo request", "198.51.100.9", IP_PROTO_ICMP, ICMP_ECHO, 0, true },
		{ "an echo reply", "198.51.100.9", IP_PROTO_ICMP, ICMP_ECHO_REPLY, 0, true },
		{ "unreachable", "198.51.100.9", IP_PROTO_ICMP, ICMP_UNREACHABLE, 0, false },
		{ "source quench", "198.51.100.9", IP_PROTO_ICMP, 4, 0, false },
		{ "a redirect", "198.51.100.9", IP_PROTO_ICMP, 5, 0, false },
		{ "this network", "0.0.0.0", IP_PROTO_UDP, 0, 0, false },
		{ "loopback", "127.0.0.1", IP_PROTO_UDP, 0, 0, false },
		{ "a group", "224.0.0.1", IP_PROTO_UDP, 0, 0, false },
		{ "reserved", "240.0.0.1", IP_PROTO_UDP, 0, 0, false },
		{ "broadcast", "255.255.255.255", IP_PROTO_UDP, 0, 0, false },
		{ "the destination itself", "203.0.113.10", IP_PROTO_UDP, 0, 0, false },
		{ "the highest host", "223.255.255.254", IP_PROTO_UDP, 0, 0, true },
	};
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		const uint8_t content[40] = { [0] = rows[i].icmp_type, [12] = 0x50 };
		struct test_tuple t = { .src = rows[i].src, .dst = "203.0.113.10" };
		struct test_frame f = test_ip_proto(&t, rows[i].protocol, content, sizeof content);
		struct parsed p;
		test_set_fragment(&f, rows[i].offset, rows[i].offset != 0);
		(void)parse_ip4(test_data(&f), f.len, ETH_BYTES, &p);
		ck_assert_msg(icmp_may_answer(test_data(&f), &p) == rows[i].want, "%s", rows[i].what);
	}
}
END_TEST

SUITE_MAIN("packet answers", a_reset_has_the_form_that_the_segment_asks_for,
           an_error_holds_the_packet_as_it_was_up_to_576_bytes, an_error_is_rewritten_with_all_its_sums_and_back,
           the_receivers_side_of_an_error_is_rewritten_likewise,
           an_error_about_a_protocol_without_ports_is_rewritten_by_its_addresses,
           errors_are_not_about_errors_other_fragments_or_from_no_host)
