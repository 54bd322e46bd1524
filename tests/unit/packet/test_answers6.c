// What is answered over IPv6 in somebody's name (RST, ICMPv6 errors), what is inside an error, and its rewriting.
#include "tests/support/suite.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "common/packet/checksum.h"
#include "common/packet/icmp.h"
#include "common/packet/tcp_reset.h"
#include "tests/support/packet_builder.h"

enum { ALL = UINT16_MAX, INSIDE = ETH_BYTES + IP6_BYTES + sizeof(struct icmp_header) };

static const struct test_tuple sent = {
	.src = "2001:db8:a::10", .dst = "2001:db8::7", .src_port = 1031, .dst_port = 443
};
static const struct test_tuple outer = { .src = "2001:db8:f::1", .dst = "2001:db8:a::10" };

static struct parsed parse(struct test_frame *f)
{
	struct parsed p;
	ck_assert_int_eq(test_parse(test_data(f), f->len, &p), DROP_NONE);
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
		{ "SYN", TCP_SYN, 0, "tcp RA seq 0 ack 2 len 0 hops 64" },
		{ "SYN with data", TCP_SYN, 7, "tcp RA seq 0 ack 9 len 0 hops 64" },
		{ "ACK", TCP_ACK, 100, "tcp R seq 1 ack 0 len 0 hops 64" },
		{ "FIN", TCP_FIN | TCP_ACK, 0, "tcp R seq 1 ack 0 len 0 hops 64" },
	};
	for (size_t i = 0; i < 2 * sizeof rows / sizeof *rows; i++) {
		static const uint8_t options[] = { 2, 4, 5, 0xb4 };
		struct test_tuple t = sent;
		t.ip_options_bytes = i % 2 == 0 ? 0 : 16;
		struct test_frame f = test_tcp_options(&t, rows[i / 2].flags, options, sizeof options, NULL, rows[i / 2].n);
		struct parsed p = parse(&f);
		uint32_t n = tcp_write_reset(test_data(&f), &p);
		ck_assert_uint_eq(n, IP6_TCP_BYTES);
		char got[256];
		const char *text = test_format(test_data(&f), ETH_BYTES + n, got, sizeof got);
		ck_assert_msg(strstr(text, "[2001:db8::7]:443 > [2001:db8:a::10]:1031") != NULL, "%s: %s", rows[i / 2].what,
		              text);
		ck_assert_msg(strstr(text, rows[i / 2].want) != NULL, "%s: want %s, got %s", rows[i / 2].what, rows[i / 2].want,
		              text);
		ck_assert(test_checksums_ok(test_data(&f), ETH_BYTES + n, NULL));
	}
}
END_TEST

// The answer, as a frame of its own.
static struct test_frame answer_to(const struct test_frame *packet, const struct icmp_answer *a)
{
	struct test_frame f = *packet;
	struct parsed p = parse(&f);
	uint32_t n = icmp_write_answer(test_data(&f), &p, a);
	f.offset -= icmp_error_bytes(&p);
	f.len = ETH_BYTES + n;
	memset(test_data(&f), 0, ETH_BYTES);
	((struct eth_header *)test_data(&f))->ether_type = be16_from(ETHER_IP6);
	return f;
}

START_TEST(an_error_holds_the_packet_as_it_was_up_to_1280_bytes)
{
	static const struct {
		uint32_t n;
		uint32_t want;
	} rows[] = { { 0, 48 + 48 }, { 5, 48 + 53 }, { 1184, 1280 }, { 1185, 1280 }, { 1400, 1280 } };
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		struct test_frame packet = test_udp(&sent, NULL, rows[i].n);
		struct parsed p = parse(&packet);
		struct icmp_answer a = icmp_answer_make(&p, ICMP_SAYS_PORT, 0);
		struct test_frame f = answer_to(&packet, &a);
		struct test_tuple back = { .src = sent.dst, .dst = sent.src };
		struct test_frame want = test_icmp_error(&back, ICMP6_UNREACHABLE, 4, &packet, rows[i].want - 48);
		ck_assert_uint_eq(f.len, ETH_BYTES + rows[i].want);
		ck_assert_mem_eq(test_data(&f) + ETH_BYTES, test_data(&want) + ETH_BYTES, rows[i].want);
	}
}
END_TEST

START_TEST(an_answer_says_what_it_means_in_its_family)
{
	static const struct {
		enum icmp_meaning meaning;
		uint16_t mtu;
		uint8_t type, code;
		uint32_t parameter;
		uint8_t type4, code4;
	} rows[] = {
		{ ICMP_SAYS_PORT, 0, 1, 4, 0, 3, 3 },
		{ ICMP_SAYS_PROTOCOL, 0, 4, 1, 6, 3, 2 },
		{ ICMP_SAYS_PROHIBITED, 0, 1, 1, 0, 3, 13 },
		{ ICMP_SAYS_TOO_BIG, 1400, 2, 0, 1400, 3, 4 },
		{ ICMP_SAYS_TOO_BIG, 1279, 2, 0, 1280, 3, 4 },
		{ ICMP_SAYS_TOO_BIG, 0, 2, 0, 1280, 3, 4 },
		{ ICMP_SAYS_TOO_BIG, 65535, 2, 0, 65535, 3, 4 },
		{ ICMP_SAYS_TTL, 0, 3, 0, 0, 11, 0 },
	};
	struct test_frame packet = test_udp(&sent, NULL, 20);
	struct parsed p = parse(&packet), p4 = p;
	p4.is_ip6 = false;
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		struct icmp_answer a = icmp_answer_make(&p, rows[i].meaning, rows[i].mtu);
		struct icmp_answer a4 = icmp_answer_make(&p4, rows[i].meaning, rows[i].mtu);
		struct test_frame f = answer_to(&packet, &a);
		const uint8_t *icmp = test_data(&f) + ETH_BYTES + IP6_BYTES;
		ck_assert_msg(icmp[0] == rows[i].type && icmp[1] == rows[i].code, "row %zu", i);
		ck_assert_uint_eq(be32_to(load32(icmp + 4)), rows[i].parameter);
		ck_assert(test_checksums_ok(test_data(&f), f.len, NULL));
		ck_assert_msg(a4.type == rows[i].type4 && a4.code == rows[i].code4 && a4.mtu == rows[i].mtu, "row %zu", i);
	}
}
END_TEST

START_TEST(an_unknown_protocol_is_pointed_at_behind_extension_headers_and_in_another_name)
{
	struct test_tuple t = sent;
	t.ip_options_bytes = 16;
	struct test_frame packet = test_ip_proto(&t, 99, NULL, 20);
	test_set_fragment(&packet, 0, false);
	struct parsed p = parse(&packet);
	struct icmp_answer a = icmp_answer_make(&p, ICMP_SAYS_PROTOCOL, 0);
	a.src6 = test_ip6("2001:db8:b::31");
	struct test_frame f = answer_to(&packet, &a);
	const uint8_t *icmp = test_data(&f) + ETH_BYTES + IP6_BYTES;
	ck_assert_uint_eq(be32_to(load32(icmp + 4)),
	                  IP6_BYTES + IP6_FRAGMENT_BYTES); // the Destination Options header says it
	ck_assert_uint_eq(icmp[8 + IP6_BYTES + IP6_FRAGMENT_BYTES], 99);
	ck_assert_mem_eq(test_data(&f) + ETH_BYTES + 8, test_ip6("2001:db8:b::31"), 16);
	ck_assert(test_checksums_ok(test_data(&f), f.len, NULL));
}
END_TEST

static struct test_frame fragment_of(struct test_frame f, uint16_t offset, bool more)
{
	test_set_fragment(&f, offset, more);
	return f;
}

static struct test_frame between(const char *src, const char *dst)
{
	struct test_tuple t = { .src = src, .dst = dst, .src_port = 1, .dst_port = 2 };
	return test_udp(&t, NULL, 30);
}

START_TEST(errors_are_not_about_errors_other_fragments_groups_or_from_no_host)
{
	struct test_frame udp = test_udp(&sent, NULL, 30);
	struct test_tuple options = sent;
	options.ip_options_bytes = 8;
	struct {
		const char *what;
		struct test_frame f;
		bool want;
	} rows[] = {
		{ "UDP", udp, true },
		{ "echo", test_icmp(&sent, ICMP6_ECHO, 0, 1, 1, NULL, 0), true },
		{ "echo reply", test_icmp(&sent, ICMP6_ECHO_REPLY, 0, 1, 1, NULL, 0), true },
		{ "an error", test_icmp_error(&sent, ICMP6_TIME_EXCEEDED, 0, &udp, ALL), false },
		{ "an error of no known type", test_icmp_error(&sent, 100, 0, &udp, ALL), false },
		{ "a redirect", test_icmp(&sent, ICMP6_REDIRECT, 0, 0, 0, NULL, 32), false },
		{ "the first fragment", fragment_of(udp, 0, true), true },
		{ "another fragment", fragment_of(udp, 1, false), false },
		{ "a first fragment of something behind more headers", fragment_of(test_udp(&options, NULL, 30), 0, true),
		  false },
		{ "from nobody", between("::", "2001:db8::7"), false },
		{ "from a group", between("ff02::1", "2001:db8::7"), false },
		{ "from the loopback", between("::1", "2001:db8::7"), false },
		{ "from a segment", between("fe80::1", "2001:db8::7"), false },
		{ "from IPv4", between("::ffff:10.0.0.1", "2001:db8::7"), false },
		{ "to a group", between("2001:db8::7", "ff02::1"), false },
		{ "to itself", between("2001:db8::7", "2001:db8::7"), false },
	};
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		struct parsed p;
		(void)test_parse(test_data(&rows[i].f), rows[i].f.len, &p);
		ck_assert_msg(icmp_may_answer(test_data(&rows[i].f), &p) == rows[i].want, "%s", rows[i].what);
	}
}
END_TEST

// ---- what is inside ----

static struct test_frame about(struct test_frame inside, uint32_t n)
{
	return test_icmp_error(&outer, ICMP6_UNREACHABLE, 1, &inside, n);
}

static struct test_frame of_type(uint8_t type)
{
	struct test_frame inside = test_tcp(&sent, TCP_SYN, NULL, 0);
	return test_icmp_error(&outer, type, 0, &inside, ALL);
}

static struct test_frame with_byte(struct test_frame f, uint32_t offset, uint8_t value)
{
	test_data(&f)[INSIDE + offset] = value;
	test_fix_checksums(&f);
	return f;
}

START_TEST(what_is_inside_is_read_from_as_little_as_the_error_carries)
{
	struct test_tuple options = sent;
	options.ip_options_bytes = 16;
	struct test_tuple inside4 = { .src = "203.0.113.10", .dst = "198.51.100.7", .src_port = 1031, .dst_port = 443 };
	struct test_frame tcp = test_tcp(&sent, TCP_SYN, NULL, 100), udp = test_udp(&sent, NULL, 92);
	struct test_frame behind = test_tcp(&options, TCP_SYN, NULL, 0);
	struct test_frame echo = test_icmp(&sent, ICMP6_ECHO, 0, 1032, 7, NULL, 20);
	struct test_frame reply = test_icmp(&sent, ICMP6_ECHO_REPLY, 0, 1032, 7, NULL, 20);
	struct {
		const char *what;
		struct test_frame frame;
		enum drop_reason reason;
		uint8_t protocol;
		uint16_t src_port, dst_port, l4_bytes;
	} cases[] = {
		{ "all of a TCP packet", about(tcp, ALL), DROP_NONE, IP_PROTO_TCP, 1031, 443, 120 },
		{ "8 bytes of TCP", about(tcp, 48), DROP_NONE, IP_PROTO_TCP, 1031, 443, 8 },
		{ "7 bytes of TCP", about(tcp, 47), DROP_ICMP_UNKNOWN, 0, 0, 0, 0 },
		{ "no header", about(tcp, 0), DROP_ICMP_UNKNOWN, 0, 0, 0, 0 },
		{ "UDP", about(udp, ALL), DROP_NONE, IP_PROTO_UDP, 1031, 443, 100 },
		{ "an echo request", about(echo, ALL), DROP_NONE, IP_PROTO_ICMP6, 1032, 0, 28 },
		{ "an echo reply", about(reply, ALL), DROP_NONE, IP_PROTO_ICMP6, 0, 1032, 28 },
		{ "extension headers", about(behind, 64), DROP_NONE, IP_PROTO_TCP, 1031, 443, 8 },
		{ "extension headers, cut", about(behind, 63), DROP_ICMP_UNKNOWN, 0, 0, 0, 0 },
		{ "cut in the extension headers", about(behind, 50), DROP_ICMP_UNKNOWN, 0, 0, 0, 0 },
		{ "an extension header beyond what is there", with_byte(about(behind, ALL), 41, 9), DROP_ICMP_UNKNOWN, 0, 0, 0,
		  0 },
		{ "a first fragment", about(fragment_of(udp, 0, true), ALL), DROP_NONE, IP_PROTO_UDP, 1031, 443, 100 },
		{ "another fragment", about(fragment_of(udp, 3, false), ALL), DROP_ICMP_UNKNOWN, 0, 0, 0, 0 },
		{ "a fragment header, cut", about(fragment_of(udp, 0, true), 50), DROP_ICMP_UNKNOWN, 0, 0, 0, 0 },
		{ "an ICMPv6 error", about(of_type(1), ALL), DROP_ICMP_UNKNOWN, 0, 0, 0, 0 },
		{ "GRE, without ports", about(test_ip_proto(&sent, 47, NULL, 20), ALL), DROP_NONE, 47, 0, 0, 20 },
		{ "a tunnel", about(test_ip_proto(&sent, 41, NULL, 20), ALL), DROP_ICMP_UNKNOWN, 0, 0, 0, 0 },
		{ "ICMP of IPv4", about(test_ip_proto(&sent, 1, NULL, 20), ALL), DROP_ICMP_UNKNOWN, 0, 0, 0, 0 },
		{ "IPv4", about(test_tcp(&inside4, TCP_SYN, NULL, 100), ALL), DROP_ICMP_UNKNOWN, 0, 0, 0, 0 },
		{ "a length that leaves out the end", with_byte(of_type(1), 5, 10), DROP_NONE, IP_PROTO_TCP, 1031, 443, 10 },
		{ "a length beyond what is there", with_byte(of_type(1), 4, 9), DROP_NONE, IP_PROTO_TCP, 1031, 443, 20 },
		{ "packet too big", of_type(2), DROP_NONE, IP_PROTO_TCP, 1031, 443, 20 },
		{ "time exceeded", of_type(3), DROP_NONE, IP_PROTO_TCP, 1031, 443, 20 },
		{ "parameter problem", of_type(4), DROP_NONE, IP_PROTO_TCP, 1031, 443, 20 },
		{ "type 5", of_type(5), DROP_ICMP_IGNORED, 0, 0, 0, 0 },
		{ "echo", of_type(128), DROP_ICMP_IGNORED, 0, 0, 0, 0 },
		{ "a redirect", of_type(137), DROP_ICMP_IGNORED, 0, 0, 0, 0 },
	};
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		struct parsed p = parse(&cases[i].frame);
		struct icmp_error e = { 0 };
		uint8_t *frame = test_data(&cases[i].frame);
		enum drop_reason reason = icmp_error_parse(frame, &p, &e);
		ck_assert_msg(reason == cases[i].reason, "%s: %s", cases[i].what, drop_reason_name(reason));
		ck_assert_msg(e.protocol == cases[i].protocol && e.l4_bytes == cases[i].l4_bytes &&
		                  e.src_port == be16_from(cases[i].src_port) && e.dst_port == be16_from(cases[i].dst_port),
		              "%s: protocol %u, %u bytes", cases[i].what, e.protocol, e.l4_bytes);
		if (reason != DROP_NONE)
			continue;
		ck_assert(e.is_ip6);
		ck_assert_mem_eq(icmp_error_src6(frame, &e), test_ip6(sent.src), 16);
		ck_assert_mem_eq(icmp_error_dst6(frame, &e), test_ip6(sent.dst), 16);
		ck_assert_uint_eq(e.l3_off, INSIDE);
	}
}
END_TEST

START_TEST(no_bytes_lead_beyond_the_packet)
{
	unsigned seed = (unsigned)time(NULL), s = seed;
	uint32_t n_read = 0;
	for (int i = 0; i < 200000; i++) {
		struct test_tuple t = sent;
		t.ip_options_bytes = 8 * ((uint32_t)rand_r(&s) % 3);
		struct test_frame inside = test_udp(&t, NULL, (uint32_t)rand_r(&s) % 20);
		if (rand_r(&s) % 3 == 0)
			test_set_fragment(&inside, 0, true);
		struct test_frame f = about(inside, (uint32_t)rand_r(&s) % 110);
		for (int k = rand_r(&s) % 4; k > 0; k--)
			test_data(&f)[ETH_BYTES + IP6_BYTES + (uint32_t)rand_r(&s) % 80] = (uint8_t)rand_r(&s);
		uint8_t *exact = malloc(f.len); // at the end of its memory, so that ASan sees a read beyond
		memcpy(exact, test_data(&f), f.len);
		struct icmp_error e;
		struct parsed p;
		if (test_parse(exact, f.len, &p) == DROP_NONE && icmp_error_parse(exact, &p, &e) == DROP_NONE) {
			n_read++;
			ck_assert_msg(e.l4_bytes >= ICMP_ERROR_L4_BYTES && (uint32_t)e.l4_off + e.l4_bytes <= f.len, "seed %u",
			              seed);
			icmp6_rewrite_error_dst(exact, &p, &e, test_ip6("2001:db8:c::11"), 7);
			icmp6_rewrite_error_src(exact, &p, &e, test_ip6("2001:db8:c::11"), 7);
		}
		free(exact);
	}
	ck_assert_uint_gt(n_read, 10000);
}
END_TEST

// ---- rewriting ----

static const uint8_t protocols[] = { IP_PROTO_TCP, IP_PROTO_UDP, IP_PROTO_ICMP6, 47, IP_PROTO_UDPLITE };

static struct test_frame random_inside(unsigned *s, const struct test_tuple *t, uint8_t protocol, bool is_reply)
{
	uint8_t data[120];
	uint32_t n = 12 + (uint32_t)rand_r(s) % 100;
	for (uint32_t i = 0; i < n; i++)
		data[i] = (uint8_t)(rand_r(s) >> 8);
	switch (protocol) {
	case IP_PROTO_TCP: return test_tcp(t, TCP_ACK, data, n);
	case IP_PROTO_UDP: return test_udp(t, data, n);
	case IP_PROTO_ICMP6:
		return test_icmp(t, is_reply ? ICMP6_ECHO_REPLY : ICMP6_ECHO, 0, is_reply ? t->dst_port : t->src_port, 3, data,
		                 n);
	default: return test_ip_proto(t, protocol, data, n);
	}
}

// An error about what the new address sent or got, made by the builder: what the rewritten one must be, to the bit.
static void compare_rewritten(unsigned seed, bool is_dst)
{
	unsigned s = seed, again;
	uint8_t protocol = protocols[rand_r(&s) % 4];
	uint32_t n_kept = IP6_BYTES + 8 + (uint32_t)rand_r(&s) % 100;
	if (n_kept == IP6_BYTES + 17) // half of the checksum of TCP, which says nothing
		n_kept++;
	struct test_tuple old = sent, new = sent, error = outer, new_error = outer;
	old.ip_options_bytes = new.ip_options_bytes = 8 * ((uint32_t)rand_r(&s) % 3);
	error.ip_options_bytes = new_error.ip_options_bytes = 8 * ((uint32_t)rand_r(&s) % 2);
	n_kept += old.ip_options_bytes;
	if (is_dst) {
		new.src = new_error.dst = "2001:db8:c::11";
		new.src_port = 8080;
	} else {
		error.src = old.dst;
		error.dst = new_error.dst = "2001:db8:f::1";
		new.dst = new_error.src = "2001:db8:c::11";
		new.dst_port = 8080;
	}
	again = s;
	struct test_frame inside = random_inside(&s, &old, protocol, !is_dst);
	struct test_frame new_inside = random_inside(&again, &new, protocol, !is_dst);
	struct test_frame f = test_icmp_error(&error, ICMP6_TIME_EXCEEDED, 0, &inside, n_kept), before = f;
	struct test_frame want = test_icmp_error(&new_error, ICMP6_TIME_EXCEEDED, 0, &new_inside, n_kept);
	struct parsed p = parse(&f);
	struct icmp_error e;
	ck_assert_int_eq(icmp_error_parse(test_data(&f), &p, &e), DROP_NONE);
	uint8_t *frame = test_data(&f);
	if (is_dst)
		icmp6_rewrite_error_dst(frame, &p, &e, test_ip6("2001:db8:c::11"), be16_from(8080));
	else
		icmp6_rewrite_error_src(frame, &p, &e, test_ip6("2001:db8:c::11"), be16_from(8080));
	ck_assert_msg(memcmp(frame, test_data(&want), f.len) == 0, "protocol %u, destination %d, seed %u", protocol, is_dst,
	              seed);
	if (is_dst)
		icmp6_rewrite_error_dst(frame, &p, &e, test_ip6(sent.src), be16_from(1031));
	else
		icmp6_rewrite_error_src(frame, &p, &e, test_ip6(sent.dst), be16_from(443));
	ck_assert_msg(memcmp(frame, test_data(&before), f.len) == 0, "back: protocol %u, seed %u", protocol, seed);
}

START_TEST(a_rewritten_error_is_as_if_made_anew_and_rewriting_back_is_the_identity)
{
	unsigned seed = (unsigned)time(NULL);
	for (unsigned i = 0; i < 20000; i++)
		compare_rewritten(seed + i, i % 2 == 0);
}
END_TEST

START_TEST(a_damaged_packet_inside_stays_damaged_in_a_right_error)
{
	struct test_frame inside = test_udp(&sent, NULL, 20);
	inside.buf[inside.offset + ETH_BYTES + IP6_BYTES + 12] ^= 1;
	struct test_frame f = about(inside, ALL);
	struct parsed p = parse(&f);
	struct icmp_error e;
	ck_assert_int_eq(icmp_error_parse(test_data(&f), &p, &e), DROP_NONE);
	icmp6_rewrite_error_dst(test_data(&f), &p, &e, test_ip6("2001:db8:c::11"), be16_from(8080));
	ck_assert(test_checksums_ok(test_data(&f), f.len, NULL));
	struct test_frame back = { .offset = TEST_HEADROOM, .len = f.len - INSIDE + ETH_BYTES };
	memcpy(test_data(&back), test_data(&f), ETH_BYTES);
	memcpy(test_data(&back) + ETH_BYTES, test_data(&f) + INSIDE, f.len - INSIDE);
	ck_assert(!test_checksums_ok(test_data(&back), back.len, NULL));
	test_data(&back)[ETH_BYTES + IP6_BYTES + 12] ^= 1;
	ck_assert(test_checksums_ok(test_data(&back), back.len, NULL));
}
END_TEST

SUITE_MAIN("packet answers, IPv6", a_reset_has_the_form_that_the_segment_asks_for,
           an_error_holds_the_packet_as_it_was_up_to_1280_bytes, an_answer_says_what_it_means_in_its_family,
           an_unknown_protocol_is_pointed_at_behind_extension_headers_and_in_another_name,
           errors_are_not_about_errors_other_fragments_groups_or_from_no_host,
           what_is_inside_is_read_from_as_little_as_the_error_carries, no_bytes_lead_beyond_the_packet,
           a_rewritten_error_is_as_if_made_anew_and_rewriting_back_is_the_identity,
           a_damaged_packet_inside_stays_damaged_in_a_right_error)
