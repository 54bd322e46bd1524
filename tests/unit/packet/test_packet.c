#include "tests/support/suite.h"

#include <string.h>

#include "common/packet/arp.h"
#include "common/packet/checksum.h"
#include "common/packet/encap.h"
#include "common/packet/icmp.h"
#include "common/packet/nat.h"
#include "tests/support/packet_builder.h"

static const struct test_tuple client = {
	.src = "198.51.100.7", .dst = "203.0.113.10", .src_port = 40000, .dst_port = 80
};

static struct parsed parsed_of(struct test_frame *f)
{
	struct parsed p;
	ck_assert_int_eq(parse_ip4(test_data(f), f->len, ETH_BYTES, &p), DROP_NONE);
	return p;
}

START_TEST(a_tcp_frame_is_parsed)
{
	struct test_frame f = test_tcp(&client, TCP_SYN | TCP_ACK, "hello", 5);
	struct parsed p = parsed_of(&f);
	ck_assert_uint_eq(p.l3_off, 14);
	ck_assert_uint_eq(p.l4_off, 34);
	ck_assert_uint_eq(p.l3_bytes, 45);
	ck_assert_uint_eq(p.protocol, IP_PROTO_TCP);
	ck_assert_uint_eq(p.tcp_flags, TCP_SYN | TCP_ACK);
	ck_assert_uint_eq(p.src, test_ip4(client.src));
	ck_assert_uint_eq(p.dst, test_ip4(client.dst));
	ck_assert_uint_eq(be16_to(p.src_port), 40000);
	ck_assert_uint_eq(be16_to(p.dst_port), 80);
}
END_TEST

START_TEST(ip_options_move_the_ports)
{
	struct test_tuple t = client;
	t.ip_options_bytes = 40;
	struct test_frame f = test_udp(&t, NULL, 10);
	struct parsed p = parsed_of(&f);
	ck_assert_uint_eq(p.l4_off, 14 + 60);
	ck_assert_uint_eq(be16_to(p.dst_port), 80);
}
END_TEST

START_TEST(every_truncation_is_refused_and_read_within_bounds)
{
	struct test_frame frames[] = { test_tcp(&client, TCP_SYN, NULL, 0), test_udp(&client, NULL, 0),
		                           test_icmp(&client, ICMP_ECHO, 0, 1, 1, NULL, 0) };
	for (size_t i = 0; i < sizeof frames / sizeof *frames; i++) {
		for (uint32_t len = 0; len < frames[i].len; len++) {
			uint8_t *exact = malloc(len == 0 ? 1 : len); // so that ASan sees a read beyond
			memcpy(exact, test_data(&frames[i]), len);
			struct parsed p;
			ck_assert_int_ne(parse_ip4(exact, len, ETH_BYTES, &p), DROP_NONE);
			free(exact);
		}
	}
}
END_TEST

START_TEST(each_malformed_header_has_its_reason)
{
	static const struct {
		const char *what;
		uint32_t offset; // of the byte that is changed
		uint8_t value;
		enum drop_reason want;
	} rows[] = {
		{ "version 6 under an IPv4 type", 14, 0x65, DROP_IP_VERSION },
		{ "header length below five words", 14, 0x44, DROP_IP_LENGTH },
		{ "header length beyond the packet", 14, 0x4f, DROP_IP_LENGTH },
		{ "total length below the header", 17, 19, DROP_IP_LENGTH },
		{ "total length beyond the frame", 16, 0x40, DROP_IP_LENGTH },
		{ "total length that cuts the TCP header", 17, 39, DROP_L4_LENGTH },
		{ "TCP data offset below five words", 46, 0x40, DROP_L4_LENGTH },
		{ "TCP data offset beyond the packet", 46, 0xf0, DROP_L4_LENGTH },
		{ "more fragments", 20, 0x20, DROP_FRAGMENT },
		{ "a later fragment", 21, 0x01, DROP_FRAGMENT },
		{ "don't fragment is fine", 20, 0x40, DROP_NONE },
	};
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		struct test_frame f = test_tcp(&client, TCP_ACK, NULL, 0);
		test_data(&f)[rows[i].offset] = rows[i].value;
		struct parsed p;
		ck_assert_msg(parse_ip4(test_data(&f), f.len, ETH_BYTES, &p) == rows[i].want, "%s", rows[i].what);
	}
}
END_TEST

START_TEST(padding_behind_the_packet_is_not_part_of_it)
{
	struct test_frame f = test_udp(&client, "x", 1);
	uint32_t ip_bytes = f.len - ETH_BYTES;
	f.len = 60;
	struct parsed p = parsed_of(&f);
	ck_assert_uint_eq(p.l3_bytes, ip_bytes);
}
END_TEST

START_TEST(an_encapsulated_packet_is_a_valid_outer_around_the_same_inner)
{
	for (uint32_t n = 0; n <= 1400; n += 7) {
		struct test_frame f = test_tcp(&client, TCP_ACK, NULL, n);
		uint8_t inner[TEST_FRAME_BYTES];
		uint32_t inner_bytes = f.len - ETH_BYTES;
		memcpy(inner, test_data(&f) + ETH_BYTES, inner_bytes);
		struct encap_template t;
		encap_template_init(&t, test_ip4("10.0.0.31"), test_ip4("10.1.1.11"));
		f.offset -= ENCAP_BYTES;
		f.len += ENCAP_BYTES;
		eth_write_ip4(test_data(&f), &TEST_MAC_B, &TEST_MAC_A);
		encap_write_ip4(test_data(&f) + ETH_BYTES, &t, inner_bytes, (uint16_t)n);
		const char *what = NULL;
		ck_assert_msg(test_checksums_ok(test_data(&f), f.len, &what), "%s", what);
		struct parsed p = parsed_of(&f);
		ck_assert_uint_eq(p.protocol, IP_PROTO_IPIP);
		ck_assert_uint_eq(p.src, test_ip4("10.0.0.31"));
		ck_assert_uint_eq(p.dst, test_ip4("10.1.1.11"));
		ck_assert_uint_eq(p.l3_bytes, inner_bytes + IP4_BYTES);
		ck_assert_int_eq(memcmp(test_data(&f) + p.l4_off, inner, inner_bytes), 0);
	}
}
END_TEST

START_TEST(a_rewritten_packet_has_right_checksums_and_rewriting_back_is_the_identity)
{
	struct test_frame frames[] = { test_tcp(&client, TCP_SYN, NULL, 3), test_udp(&client, "abc", 3) };
	for (size_t i = 0; i < sizeof frames / sizeof *frames; i++) {
		struct test_frame *f = &frames[i];
		struct test_frame before = *f;
		struct parsed p = parsed_of(f);
		nat_rewrite_dst(test_data(f), &p, test_ip4("10.1.1.11"), be16_from(8080));
		const char *what = NULL;
		ck_assert_msg(test_checksums_ok(test_data(f), f->len, &what), "%s", what);
		struct parsed after = parsed_of(f);
		ck_assert_uint_eq(after.dst, test_ip4("10.1.1.11"));
		ck_assert_uint_eq(be16_to(after.dst_port), 8080);
		ck_assert_uint_eq(after.src, p.src);
		nat_rewrite_dst(test_data(f), &after, p.dst, p.dst_port);
		ck_assert_mem_eq(test_data(f), test_data(&before), f->len);
	}
}
END_TEST

START_TEST(a_udp_packet_without_checksum_stays_without)
{
	struct test_frame f = test_udp(&client, "abc", 3);
	struct parsed p = parsed_of(&f);
	store16(test_data(&f) + p.l4_off + 6, 0);
	nat_rewrite_src(test_data(&f), &p, test_ip4("203.0.113.99"), be16_from(1));
	ck_assert_uint_eq(load16(test_data(&f) + p.l4_off + 6), 0);
	ck_assert(test_checksums_ok(test_data(&f), f.len, NULL));
}
END_TEST

START_TEST(a_udp_checksum_that_comes_out_as_zero_is_sent_as_ffff)
{
	// Over all ports one of them makes the sum 0; 0 would mean "none was computed" (RFC 768).
	bool seen = false;
	for (uint32_t port = 1; port < 65536; port++) {
		struct test_frame f = test_udp(&client, "abc", 3);
		struct parsed p = parsed_of(&f);
		nat_rewrite_src(test_data(&f), &p, p.src, be16_from((uint16_t)port));
		be16 sum = load16(test_data(&f) + p.l4_off + 6);
		ck_assert_uint_ne(sum, 0);
		seen = seen || sum == 0xffff;
		if (sum == 0xffff)
			ck_assert(test_checksums_ok(test_data(&f), f.len, NULL));
	}
	ck_assert(seen);
}
END_TEST

START_TEST(a_damaged_packet_stays_damaged)
{
	struct test_frame f = test_tcp(&client, TCP_ACK, "payload", 7);
	test_data(&f)[f.len - 1] ^= 0x55;
	struct parsed p = parsed_of(&f);
	nat_rewrite_dst(test_data(&f), &p, test_ip4("10.1.1.11"), be16_from(8080));
	const char *what = NULL;
	ck_assert(!test_checksums_ok(test_data(&f), f.len, &what));
	test_data(&f)[f.len - 1] ^= 0x55;
	ck_assert(test_checksums_ok(test_data(&f), f.len, &what));
}
END_TEST

START_TEST(the_mss_is_lowered_wherever_its_option_stands)
{
	static const struct {
		const char *what;
		uint8_t options[12];
		uint32_t n;
		uint8_t flags;
		bool want;
		uint32_t mss_at;
	} rows[] = {
		{ "first", { 2, 4, 0x05, 0xb4 }, 4, TCP_SYN, true, 2 },
		{ "in a SYN-ACK", { 2, 4, 0x05, 0xb4 }, 4, TCP_SYN | TCP_ACK, true, 2 },
		{ "at an odd offset", { 1, 2, 4, 0x05, 0xb4, 0, 0, 0 }, 8, TCP_SYN, true, 3 },
		{ "behind another option", { 3, 3, 7, 1, 2, 4, 0x05, 0xb4 }, 8, TCP_SYN, true, 6 },
		{ "small enough already", { 2, 4, 0x02, 0x18 }, 4, TCP_SYN, false, 2 },
		{ "not a SYN", { 2, 4, 0x05, 0xb4 }, 4, TCP_ACK, false, 2 },
		{ "no option", { 1, 1, 1, 1 }, 4, TCP_SYN, false, 0 },
		{ "end before it", { 0, 0, 2, 4, 0x05, 0xb4, 0, 0 }, 8, TCP_SYN, false, 4 },
		{ "length of zero", { 3, 0, 2, 4, 0x05, 0xb4, 0, 0 }, 8, TCP_SYN, false, 4 },
		{ "length beyond the header", { 3, 200, 2, 4 }, 4, TCP_SYN, false, 0 },
		{ "MSS of a wrong length", { 2, 3, 0x05, 0 }, 4, TCP_SYN, false, 0 },
		{ "kind without length at the end", { 1, 1, 1, 2 }, 4, TCP_SYN, false, 0 },
	};
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		struct test_frame f = test_tcp_options(&client, rows[i].flags, rows[i].options, rows[i].n, NULL, 0);
		struct test_frame before = f;
		struct parsed p = parsed_of(&f);
		ck_assert_msg(nat_clamp_mss(test_data(&f), &p, 1440) == rows[i].want, "%s", rows[i].what);
		const char *wrong = NULL;
		ck_assert_msg(test_checksums_ok(test_data(&f), f.len, &wrong), "%s: %s", rows[i].what, wrong);
		if (rows[i].want)
			ck_assert_uint_eq(be16_to(load16(test_data(&f) + 54 + rows[i].mss_at)), 1440);
		else
			ck_assert_mem_eq(test_data(&f), test_data(&before), f.len);
	}
}
END_TEST

START_TEST(an_echo_request_becomes_its_reply)
{
	struct test_tuple t = client;
	t.ttl = 3;
	struct test_frame f = test_icmp(&t, ICMP_ECHO, 0, 77, 5, "ping", 4);
	struct parsed p = parsed_of(&f);
	icmp_write_echo_reply(test_data(&f), &p);
	ck_assert(test_checksums_ok(test_data(&f), f.len, NULL));
	struct parsed after = parsed_of(&f);
	ck_assert_uint_eq(after.src, p.dst);
	ck_assert_uint_eq(after.dst, p.src);
	const struct icmp_header *icmp = (const struct icmp_header *)(test_data(&f) + after.l4_off);
	ck_assert_uint_eq(icmp->type, ICMP_ECHO_REPLY);
	ck_assert_uint_eq(be16_to(icmp->id), 77);
	ck_assert_uint_eq(test_data(&f)[22], 64); // TTL
	ck_assert_mem_eq(test_data(&f), TEST_MAC_A.bytes, 6);
}
END_TEST

START_TEST(an_arp_request_gets_its_reply)
{
	struct test_frame f = test_arp(ARP_REQUEST, &TEST_MAC_A, "10.1.1.11", &TEST_MAC_B, "10.1.1.1", &TEST_MAC_B);
	struct arp_info info;
	ck_assert_int_eq(arp_parse(test_data(&f), f.len, &info), DROP_NONE);
	ck_assert_int_eq(info.operation, ARP_REQUEST);
	ck_assert_uint_eq(info.target_ip, test_ip4("10.1.1.1"));
	arp_write_reply(test_data(&f), &TEST_MAC_B);
	ck_assert_int_eq(arp_parse(test_data(&f), f.len, &info), DROP_NONE);
	ck_assert_int_eq(info.operation, ARP_REPLY);
	ck_assert_uint_eq(info.sender_ip, test_ip4("10.1.1.1"));
	ck_assert_mem_eq(info.sender_mac.bytes, TEST_MAC_B.bytes, 6);
	ck_assert_uint_eq(info.target_ip, test_ip4("10.1.1.11"));
	ck_assert_mem_eq(test_data(&f), TEST_MAC_A.bytes, 6);
}
END_TEST

START_TEST(arp_of_other_kinds_or_sizes_is_refused)
{
	struct arp_info info;
	for (uint32_t offset = 14; offset < 22; offset++) {
		struct test_frame f = test_arp(ARP_REQUEST, &TEST_MAC_A, "10.1.1.11", &TEST_MAC_B, "10.1.1.1", &TEST_MAC_B);
		test_data(&f)[offset] ^= 0x40;
		ck_assert_int_eq(arp_parse(test_data(&f), f.len, &info), DROP_ARP_MALFORMED);
	}
	struct test_frame f = test_arp(ARP_REQUEST, &TEST_MAC_A, "10.1.1.11", &TEST_MAC_B, "10.1.1.1", &TEST_MAC_B);
	for (uint32_t len = 0; len < ARP_FRAME_BYTES; len++)
		ck_assert_int_eq(arp_parse(test_data(&f), len, &info), DROP_RUNT);
}
END_TEST

START_TEST(every_drop_reason_has_a_name_of_its_own_and_a_text)
{
	for (int i = 0; i < DROP_REASON_COUNT; i++) {
		ck_assert_uint_gt(strlen(drop_reason_name((enum drop_reason)i)), 0);
		ck_assert_uint_gt(strlen(drop_reason_text((enum drop_reason)i)), 0);
		for (int j = 0; j < i; j++)
			ck_assert_str_ne(drop_reason_name((enum drop_reason)i), drop_reason_name((enum drop_reason)j));
	}
}
END_TEST

START_TEST(an_incremental_checksum_equals_a_computed_one)
{
	unsigned seed = 1;
	uint8_t bytes[64];
	for (int round = 0; round < 20000; round++) {
		for (size_t i = 0; i < sizeof bytes; i++)
			bytes[i] = (uint8_t)rand_r(&seed);
		be16 sum = checksum_compute(bytes, sizeof bytes);
		size_t at = (size_t)rand_r(&seed) % 15 * 4;
		be32 old_word = load32(bytes + at);
		be32 new_word = (be32)rand_r(&seed) * 3u;
		store32(bytes + at, new_word);
		be16 updated = checksum_update32(sum, old_word, new_word);
		ck_assert_uint_eq(updated, checksum_compute(bytes, sizeof bytes));
	}
}
END_TEST

SUITE_MAIN("packet", a_tcp_frame_is_parsed, ip_options_move_the_ports,
           every_truncation_is_refused_and_read_within_bounds, each_malformed_header_has_its_reason,
           padding_behind_the_packet_is_not_part_of_it, an_encapsulated_packet_is_a_valid_outer_around_the_same_inner,
           a_rewritten_packet_has_right_checksums_and_rewriting_back_is_the_identity,
           a_udp_packet_without_checksum_stays_without, a_udp_checksum_that_comes_out_as_zero_is_sent_as_ffff,
           a_damaged_packet_stays_damaged, the_mss_is_lowered_wherever_its_option_stands,
           an_echo_request_becomes_its_reply, an_arp_request_gets_its_reply, arp_of_other_kinds_or_sizes_is_refused,
           every_drop_reason_has_a_name_of_its_own_and_a_text, an_incremental_checksum_equals_a_computed_one)
