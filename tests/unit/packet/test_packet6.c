// IPv6: parsing at every length and with every header in the way, rewriting against checksums made anew.
#include "tests/support/suite.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "common/packet/encap.h"
#include "common/packet/icmp.h"
#include "common/packet/martian.h"
#include "common/packet/nat.h"
#include "tests/support/packet_builder.h"

static const struct test_tuple to_vip = {
	.src = "2001:db8::7", .dst = "2001:db8:a::10", .src_port = 40000, .dst_port = 80
};

static const struct test_tuple with_options = {
	.src = "2001:db8::7", .dst = "2001:db8:a::10", .src_port = 40000, .dst_port = 80, .ip_options_bytes = 24
};

static struct parsed parse(struct test_frame *f)
{
	struct parsed p;
	ck_assert_int_eq(test_parse(test_data(f), f->len, &p), DROP_NONE);
	ck_assert(p.is_ip6);
	return p;
}

START_TEST(martians_are_no_hosts)
{
	static const struct {
		const char *addr;
		bool is_martian;
	} rows[] = {
		{ "::", true },
		{ "::1", true },
		{ "ff00::", true },
		{ "ff02::1", true },
		{ "ffff::1", true },
		{ "::ffff:10.0.0.1", true },
		{ "::ffff:0:0", true },
		{ "fe80::1", true },
		{ "febf:ffff::", true },
		{ "::2", false },
		{ "2001:db8::1", false },
		{ "fec0::1", false },
		{ "fe7f::1", false },
		{ "fc00::1", false },
		{ "::fffe:10.0.0.1", false },
		{ "0:0:0:1::1", false },
		{ "64:ff9b::1", false },
		{ "::1:0:0:0", false },
		{ "0:0:0:0:1:ffff:a00:1", false },
	};
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
		ck_assert_msg(ip6_is_martian(test_ip6(rows[i].addr)) == rows[i].is_martian, "%s", rows[i].addr);
}
END_TEST

START_TEST(every_truncation_is_refused_and_read_within_bounds)
{
	struct test_frame frames[] = { test_tcp(&with_options, TCP_SYN, NULL, 30), test_udp(&to_vip, NULL, 30),
		                           test_icmp(&with_options, ICMP6_ECHO, 0, 1, 1, NULL, 30) };
	struct test_frame atomic = test_udp(&with_options, NULL, 30);
	test_set_fragment(&atomic, 0, false);
	for (int i = 0; i < 4; i++) {
		struct test_frame *f = i < 3 ? &frames[i] : &atomic;
		for (uint32_t n = 0; n < f->len; n++) {
			uint8_t *exact = malloc(n); // its end is the end of its memory: ASan sees a byte beyond
			struct parsed p;
			memcpy(exact, test_data(f), n);
			enum drop_reason reason = parse_ip6(exact, n, ETH_BYTES, &p);
			ck_assert_int_eq(reason, n < ETH_BYTES + IP6_BYTES ? DROP_RUNT : DROP_IP_LENGTH);
			free(exact);
		}
		struct parsed p = parse(f);
		ck_assert_uint_eq(p.l4_off, ETH_BYTES + IP6_BYTES + (i == 1 ? 0 : 24) + (i == 3 ? 8 : 0));
	}
}
END_TEST

// The payload length says less than there is: as if the packet ended there.
START_TEST(every_payload_length_is_refused_or_ends_the_packet)
{
	struct test_frame f = test_tcp(&with_options, TCP_SYN, NULL, 8);
	struct test_frame whole = f;
	uint32_t n = f.len - ETH_BYTES - IP6_BYTES;
	for (uint32_t length = 0; length <= n + 1; length++) {
		struct parsed p;
		store16(test_data(&f) + ETH_BYTES + 4, be16_from((uint16_t)length));
		enum drop_reason want = length > n         ? DROP_IP_LENGTH
		                        : length < 24      ? DROP_IP6_EXTENSION
		                        : length < 24 + 20 ? DROP_L4_LENGTH
		                                           : DROP_NONE;
		ck_assert_msg(test_parse(test_data(&f), f.len, &p) == want, "%u", length);
	}
	store16(test_data(&whole) + ETH_BYTES + 4, 0xffff);
	ck_assert_int_eq(test_parse(test_data(&whole), whole.len, &(struct parsed){ 0 }), DROP_IP_LENGTH);
}
END_TEST

// A UDP packet behind these extension headers, 8 bytes each, of which one byte each is given.
struct chain_case {
	const char *what;
	uint8_t types[12];
	uint32_t n;
	uint8_t second_byte, third_byte, fourth_byte; // of each
	enum drop_reason reason;
};

static struct test_frame chained(const struct chain_case *c)
{
	struct test_frame f = test_udp(&to_vip, NULL, 30);
	uint8_t *ip = test_data(&f) + ETH_BYTES;
	uint8_t *headers = ip + IP6_BYTES;
	memmove(headers + c->n * 8, headers, f.len - ETH_BYTES - IP6_BYTES);
	memset(headers, 0, c->n * 8);
	for (uint32_t i = 0; i < c->n; i++) {
		headers[i * 8] = i + 1 < c->n ? c->types[i + 1] : IP_PROTO_UDP;
		headers[i * 8 + 1] = c->second_byte;
		headers[i * 8 + 2] = c->third_byte;
		headers[i * 8 + 3] = c->fourth_byte;
	}
	if (c->n > 0)
		ip[6] = c->types[0];
	store16(ip + 4, be16_from((uint16_t)(be16_to(load16(ip + 4)) + c->n * 8)));
	f.len += c->n * 8;
	return f;
}

START_TEST(extension_headers_are_walked_within_bounds)
{
	static const struct chain_case cases[] = {
		{ "none", { 0 }, 0, 0, 0, 0, DROP_NONE },
		{ "hop by hop", { 0 }, 1, 0, 1, 4, DROP_NONE },
		{ "all kinds", { 0, 60, 43, 60 }, 4, 0, 2, 0, DROP_NONE },
		{ "eight", { 0, 60, 60, 60, 60, 60, 60, 60 }, 8, 0, 1, 0, DROP_NONE },
		{ "nine", { 0, 60, 60, 60, 60, 60, 60, 60, 60 }, 9, 0, 1, 0, DROP_IP6_EXTENSION },
		{ "hop by hop twice", { 0, 0 }, 2, 0, 1, 4, DROP_IP6_EXTENSION },
		{ "hop by hop behind another", { 60, 0 }, 2, 0, 1, 4, DROP_IP6_EXTENSION },
		{ "a route of type 0", { 43 }, 1, 0, 0, 0, DROP_IP6_EXTENSION },
		{ "a route with segments left", { 43 }, 1, 0, 4, 1, DROP_IP6_EXTENSION },
		{ "a route that has ended", { 43 }, 1, 0, 4, 0, DROP_NONE },
		{ "beyond the packet", { 60 }, 1, 20, 1, 4, DROP_IP6_EXTENSION },
		{ "a fragment of all", { 44 }, 1, 0, 0, 0, DROP_NONE },
		{ "two fragment headers", { 44, 44 }, 2, 0, 0, 0, DROP_IP6_EXTENSION },
		{ "hop by hop behind a fragment header", { 44, 0 }, 2, 0, 0, 0, DROP_IP6_EXTENSION },
	};
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		struct test_frame f = chained(&cases[i]);
		struct parsed p = { 0 };
		enum drop_reason reason = test_parse(test_data(&f), f.len, &p);
		ck_assert_msg(reason == cases[i].reason, "%s: %s", cases[i].what, drop_reason_name(reason));
		if (reason == DROP_NONE)
			ck_assert_msg(p.protocol == IP_PROTO_UDP && p.dst_port == be16_from(80), "%s", cases[i].what);
	}
}
END_TEST

START_TEST(udp_without_a_checksum_is_refused)
{
	struct test_frame f = test_udp(&with_options, NULL, 30);
	struct parsed p = parse(&f);
	store16(test_data(&f) + p.l4_off + 6, 0);
	ck_assert_int_eq(test_parse(test_data(&f), f.len, &p), DROP_UDP6_NO_CHECKSUM);
	ck_assert_uint_eq(p.dst_port, be16_from(80));
}
END_TEST

// ---- NAT ----

static const uint8_t protocols[] = {
	IP_PROTO_TCP, IP_PROTO_UDP, IP_PROTO_ICMP6, IP_PROTO_UDPLITE, IP_PROTO_DCCP, 132, 47
};

// UDP-Lite and DCCP have some checksum at 6.
static struct test_frame random_frame(unsigned *seed, uint8_t protocol)
{
	struct test_tuple t = { .src = "2001:db8::7", .dst = "2001:db8:a::10", .dst_port = 80 };
	uint8_t data[200];
	uint32_t n = 12 + (uint32_t)rand_r(seed) % 180;
	t.src_port = (uint16_t)rand_r(seed);
	t.ip_options_bytes = 8 * ((uint32_t)rand_r(seed) % 4);
	for (uint32_t i = 0; i < n; i++)
		data[i] = (uint8_t)(rand_r(seed) >> 8);
	store16(data + 6, (be16)(1 + rand_r(seed) % 65534)); // neither of the two forms of 0
	if (protocol == IP_PROTO_TCP)
		return test_tcp(&t, TCP_ACK, data, n);
	if (protocol == IP_PROTO_UDP)
		return test_udp(&t, data, n);
	if (protocol == IP_PROTO_ICMP6)
		return test_icmp(&t, ICMP6_ECHO, 0, t.src_port, 5, data, n);
	return test_ip_proto(&t, protocol, data, n);
}

// By hand: the new bytes, and the checksum made anew.
static struct test_frame rewritten_by_hand(const struct test_frame *before, const struct parsed *p, uint32_t addr_off,
                                           const uint8_t *addr, uint32_t port_off, be16 port)
{
	struct test_frame f = *before;
	uint8_t *frame = test_data(&f);
	memcpy(frame + p->l3_off + addr_off, addr, 16);
	if (p->protocol == IP_PROTO_ICMP6)
		store16(frame + p->l4_off + 4, port);
	else if (p->protocol == IP_PROTO_TCP || p->protocol == IP_PROTO_UDP)
		store16(frame + p->l4_off + port_off, port);
	test_fix_checksums(&f);
	if (p->protocol == IP_PROTO_UDPLITE || p->protocol == IP_PROTO_DCCP) { // what a sum over addresses changes by
		const uint8_t *old = before->buf + before->offset + p->l3_off + addr_off;
		be16 sum = load16(frame + p->l4_off + 6);
		for (uint32_t i = 0; i < 16; i += 2)
			sum = checksum_update16(sum, load16(old + i), load16(addr + i));
		store16(frame + p->l4_off + 6, p->protocol == IP_PROTO_UDPLITE && sum == 0 ? 0xffff : sum);
	}
	return f;
}

START_TEST(a_rewritten_packet_is_as_if_made_anew_and_rewriting_back_is_the_identity)
{
	const char *text = getenv("SEED");
	unsigned seed = text != NULL ? (unsigned)atoi(text) : (unsigned)time(NULL), s = seed;
	for (int i = 0; i < 20000; i++) {
		uint8_t addr[16], old_src[16], old_dst[16];
		struct test_frame f = random_frame(&s, protocols[rand_r(&s) % 7]);
		struct test_frame before = f;
		struct parsed p = parse(&f);
		uint8_t *frame = test_data(&f);
		be16 port = (be16)rand_r(&s);
		for (int k = 0; k < 16; k++)
			addr[k] = (uint8_t)(rand_r(&s) >> 8);
		memcpy(old_src, parsed_src6(frame, &p), 16);
		memcpy(old_dst, parsed_dst6(frame, &p), 16);
		bool is_icmp = p.protocol == IP_PROTO_ICMP6;
		be16 src_port = is_icmp ? load16(frame + p.l4_off + 4) : p.src_port;
		be16 dst_port = is_icmp ? src_port : p.dst_port;

		struct test_frame want = rewritten_by_hand(&before, &p, 24, addr, 2, port);
		nat6_rewrite_dst(frame, &p, addr, port);
		ck_assert_msg(memcmp(frame, test_data(&want), f.len) == 0, "destination, protocol %u, seed %u", p.protocol,
		              seed);
		nat6_rewrite_dst(frame, &p, old_dst, dst_port);
		ck_assert_msg(memcmp(frame, test_data(&before), f.len) == 0, "and back, protocol %u, seed %u", p.protocol,
		              seed);

		want = rewritten_by_hand(&before, &p, 8, addr, 0, port);
		uint16_t delta = nat6_delta(old_src, addr, src_port, port);
		if (p.protocol != IP_PROTO_TCP && p.protocol != IP_PROTO_UDP && !is_icmp)
			delta = nat6_delta(old_src, addr, 0, 0);
		nat6_apply_src(frame, &p, addr, port, delta);
		ck_assert_msg(memcmp(frame, test_data(&want), f.len) == 0, "source, protocol %u, seed %u", p.protocol, seed);
		nat6_apply_src(frame, &p, old_src, src_port, (uint16_t)~delta);
		ck_assert_msg(memcmp(frame, test_data(&before), f.len) == 0, "and back, protocol %u, seed %u", p.protocol,
		              seed);
	}
}
END_TEST

START_TEST(a_damaged_packet_stays_damaged)
{
	struct test_frame f = test_tcp(&to_vip, TCP_ACK, NULL, 20);
	struct parsed p = parse(&f);
	test_data(&f)[p.l4_off + 30] ^= 1;
	nat6_rewrite_dst(test_data(&f), &p, test_ip6("2001:db8:c::11"), be16_from(8080));
	ck_assert(!test_checksums_ok(test_data(&f), f.len, NULL));
	test_data(&f)[p.l4_off + 30] ^= 1;
	ck_assert(test_checksums_ok(test_data(&f), f.len, NULL));
}
END_TEST

START_TEST(a_udp_checksum_that_comes_out_as_zero_is_sent_as_ffff)
{
	const uint8_t *dip = test_ip6("2001:db8:c::11");
	struct test_frame f = test_udp(&to_vip, "\0\0", 2);
	struct parsed p = parse(&f);
	struct test_frame translated = rewritten_by_hand(&f, &p, 24, dip, 2, be16_from(5353));
	store16(test_data(&f) + p.l4_off + 8, load16(test_data(&translated) + p.l4_off + 6)); // makes the sum 0 there
	test_fix_checksums(&f);
	nat6_rewrite_dst(test_data(&f), &p, dip, be16_from(5353));
	ck_assert_uint_eq(load16(test_data(&f) + p.l4_off + 6), 0xffff);
	ck_assert(test_checksums_ok(test_data(&f), f.len, NULL));
}
END_TEST

// The first fragment of a datagram has the checksum of all of it.
START_TEST(a_datagram_in_fragments_is_right_after_all_of_them_were_rewritten)
{
	const uint8_t *dip = test_ip6("2001:db8:c::11");
	struct test_frame whole = test_udp(&to_vip, NULL, 100), first = whole, rest = whole;
	struct parsed p = parse(&whole), f;
	test_set_fragment(&first, 0, true);
	test_set_fragment(&rest, 6, false);
	ck_assert_int_eq(test_parse(test_data(&first), first.len, &f), DROP_FRAGMENT);
	nat6_rewrite_dst(test_data(&first), &f, dip, be16_from(5353));
	ck_assert_int_eq(test_parse(test_data(&rest), rest.len, &f), DROP_FRAGMENT);
	nat6_rewrite_fragment_dst(test_data(&rest), &f, dip);
	nat6_rewrite_dst(test_data(&whole), &p, dip, be16_from(5353));
	ck_assert_mem_eq(test_data(&first) + ETH_BYTES + 8, test_data(&whole) + ETH_BYTES + 8, 32);
	ck_assert_mem_eq(test_data(&rest) + ETH_BYTES + 8, test_data(&whole) + ETH_BYTES + 8, 32);
	ck_assert_mem_eq(test_data(&first) + p.l4_off + 8, test_data(&whole) + p.l4_off, 48);
	nat6_rewrite_fragment_src(test_data(&rest), &f, dip);
	ck_assert_mem_eq(parsed_src6(test_data(&rest), &f), dip, 16);
}
END_TEST

START_TEST(the_mss_is_lowered)
{
	static const uint8_t options[] = { 1, 2, 4, 5, 0xa0, 3, 3, 7 }; // 1440, at an odd place
	struct test_frame f = test_tcp_options(&with_options, TCP_SYN, options, sizeof options, NULL, 0);
	struct parsed p = parse(&f);
	ck_assert(!nat_clamp_mss(test_data(&f), &p, 1440));
	ck_assert(nat_clamp_mss(test_data(&f), &p, 1380));
	ck_assert_uint_eq(be16_to(load16(test_data(&f) + p.l4_off + 23)), 1380);
	ck_assert(test_checksums_ok(test_data(&f), f.len, NULL));
}
END_TEST

// ---- echo, encapsulation ----

START_TEST(an_echo_request_becomes_its_reply)
{
	for (uint32_t n = 0; n < 50; n++) {
		struct test_tuple t = with_options;
		t.ttl = 3;
		struct test_frame f = test_icmp(&t, ICMP6_ECHO, 0, 77, 5, NULL, n);
		struct test_tuple back = {
			.src = t.dst, .dst = t.src, .src_mac = &TEST_MAC_B, .dst_mac = &TEST_MAC_A, .ip_options_bytes = 24
		};
		struct test_frame want = test_icmp(&back, ICMP6_ECHO_REPLY, 0, 77, 5, NULL, n);
		struct parsed p = parse(&f);
		ck_assert_int_eq(icmp_kind_of(test_data(&f), &p), ICMP_KIND_ECHO);
		icmp_write_echo_reply(test_data(&f), &p);
		ck_assert_mem_eq(test_data(&f), test_data(&want), f.len);
		ck_assert_int_eq(icmp_kind_of(test_data(&f), &p), ICMP_KIND_ECHO_REPLY);
	}
}
END_TEST

START_TEST(a_fragment_of_an_echo_request_is_turned_round)
{
	struct test_frame f = test_icmp(&to_vip, ICMP6_ECHO, 0, 77, 5, NULL, 200);
	struct parsed p;
	test_set_fragment(&f, 8, false);
	struct test_frame before = f;
	ck_assert_int_eq(test_parse(test_data(&f), f.len, &p), DROP_FRAGMENT);
	icmp_write_echo_reply_fragment(test_data(&f), &p);
	ck_assert_mem_eq(parsed_src6(test_data(&f), &p), test_ip6(to_vip.dst), 16);
	ck_assert_mem_eq(parsed_dst6(test_data(&f), &p), test_ip6(to_vip.src), 16);
	ck_assert_mem_eq(test_data(&f) + p.fragment_off, test_data(&before) + p.fragment_off, f.len - p.fragment_off);
}
END_TEST

START_TEST(kinds_of_icmp_are_those_of_the_family)
{
	static const struct {
		bool is_ip6;
		uint8_t type, code;
		enum icmp_kind kind;
	} rows[] = {
		{ false, 8, 0, ICMP_KIND_ECHO },  { false, 0, 0, ICMP_KIND_ECHO_REPLY },  { false, 8, 1, ICMP_KIND_OTHER },
		{ false, 3, 4, ICMP_KIND_ERROR }, { false, 1, 0, ICMP_KIND_OTHER },       { false, 128, 0, ICMP_KIND_OTHER },
		{ true, 128, 0, ICMP_KIND_ECHO }, { true, 129, 0, ICMP_KIND_ECHO_REPLY }, { true, 129, 1, ICMP_KIND_OTHER },
		{ true, 1, 4, ICMP_KIND_ERROR },  { true, 2, 0, ICMP_KIND_ERROR },        { true, 3, 0, ICMP_KIND_ERROR },
		{ true, 4, 1, ICMP_KIND_ERROR },  { true, 5, 0, ICMP_KIND_OTHER },        { true, 0, 0, ICMP_KIND_OTHER },
		{ true, 8, 0, ICMP_KIND_OTHER },  { true, 135, 0, ICMP_KIND_OTHER },      { true, 137, 0, ICMP_KIND_OTHER },
	};
	struct test_tuple t4 = { .src = "198.51.100.7", .dst = "203.0.113.10" };
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		struct parsed p;
		struct test_frame f = test_icmp(rows[i].is_ip6 ? &to_vip : &t4, rows[i].type, rows[i].code, 1, 1, NULL, 0);
		ck_assert_int_eq(test_parse(test_data(&f), f.len, &p), DROP_NONE);
		ck_assert_msg(icmp_kind_of(test_data(&f), &p) == rows[i].kind, "row %zu", i);
	}
}
END_TEST

START_TEST(an_outer_header_of_ip6_is_as_the_builders)
{
	struct test_tuple outer = { .src = "2001:db8:b::31", .dst = "2001:db8:c::11" };
	struct test_tuple t4 = { .src = "198.51.100.7", .dst = "203.0.113.10", .src_port = 1, .dst_port = 2 };
	struct test_frame inner[] = { test_tcp(&t4, TCP_SYN, NULL, 9), test_tcp(&to_vip, TCP_SYN, NULL, 9) };
	for (int i = 0; i < 2; i++) {
		struct test_frame want = test_ipip(&outer, &inner[i]);
		uint8_t got[IP6_BYTES];
		encap_write_ip6(got, test_ip6(outer.src), test_ip6(outer.dst), inner[i].len - ETH_BYTES, i == 1, 0);
		ck_assert_mem_eq(got, test_data(&want) + ETH_BYTES, IP6_BYTES);
		ck_assert(test_checksums_ok(test_data(&want), want.len, NULL));
	}
}
END_TEST

SUITE_MAIN("packet, IPv6", martians_are_no_hosts, every_truncation_is_refused_and_read_within_bounds,
           every_payload_length_is_refused_or_ends_the_packet, extension_headers_are_walked_within_bounds,
           udp_without_a_checksum_is_refused, a_rewritten_packet_is_as_if_made_anew_and_rewriting_back_is_the_identity,
           a_damaged_packet_stays_damaged, a_udp_checksum_that_comes_out_as_zero_is_sent_as_ffff,
           a_datagram_in_fragments_is_right_after_all_of_them_were_rewritten, the_mss_is_lowered,
           an_echo_request_becomes_its_reply, a_fragment_of_an_echo_request_is_turned_round,
           kinds_of_icmp_are_those_of_the_family, an_outer_header_of_ip6_is_as_the_builders)
