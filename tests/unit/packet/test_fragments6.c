// Fragments of IPv6: reading them, and a table that has both families.
#include "common/packet/fragments.h"

#include <string.h>

#include "common/base/memory.h"
#include "tests/support/packet_builder.h"
#include "tests/support/suite.h"

enum { TABLE = 64 };

static const struct test_tuple tuple = {
	.src = "2001:db8::7", .dst = "2001:db8:a::10", .src_port = 40000, .dst_port = 53
};

static struct fragments table;
static uint64_t memory[TABLE * 1024 / 8];

static void make_table(void)
{
	ck_assert_uint_le(fragments_memory_bytes(TABLE), sizeof memory);
	memset(memory, 0, sizeof memory);
	fragments_init(&table, TABLE, memory, 42);
}

// A fragment that carries n bytes of a datagram of this protocol, of which the Fragment header says what it is told.
struct piece {
	const char *what;
	uint8_t protocol;
	uint32_t n;
	uint16_t offset;
	bool more;
	uint32_t extension_bytes; // of a Destination Options header behind the Fragment header
	enum drop_reason reason;
};

static enum drop_reason read_piece(const struct piece *c, struct test_frame *f, struct parsed *p,
                                   struct fragment *ret_fragment)
{
	struct test_tuple t = tuple;
	t.ip_options_bytes = c->extension_bytes;
	*f = test_ip_proto(&t, c->protocol, NULL, c->n);
	test_set_fragment(f, c->offset, c->more);
	ck_assert_int_eq(test_parse(test_data(f), f->len, p), DROP_FRAGMENT);
	return fragment_parse(test_data(f), p, ret_fragment);
}

START_TEST(tiny_and_impossible_fragments_are_refused)
{
	static const struct piece cases[] = {
		{ "a first one of TCP", IP_PROTO_TCP, 24, 0, true, 0, DROP_NONE },
		{ "TCP, one header short", IP_PROTO_TCP, 16, 0, true, 0, DROP_FRAGMENT_MALFORMED },
		{ "a first one of UDP", IP_PROTO_UDP, 8, 0, true, 0, DROP_NONE },
		{ "a first one of ICMPv6", IP_PROTO_ICMP6, 8, 0, true, 0, DROP_NONE },
		{ "ICMPv6 behind more headers", IP_PROTO_ICMP6, 8, 0, true, 16, DROP_NONE },
		{ "more headers, and nothing behind them", IP_PROTO_UDP, 0, 0, true, 16, DROP_FRAGMENT_MALFORMED },
		{ "a last one of one byte", IP_PROTO_UDP, 1, 9, false, 0, DROP_NONE },
		{ "nothing", IP_PROTO_UDP, 0, 9, false, 0, DROP_FRAGMENT_MALFORMED },
		{ "not in units of eight", IP_PROTO_UDP, 9, 9, true, 0, DROP_FRAGMENT_MALFORMED },
		{ "ends at 65,535", IP_PROTO_UDP, 7, 8191, false, 0, DROP_NONE },
		{ "ends beyond it", IP_PROTO_UDP, 8, 8191, false, 0, DROP_FRAGMENT_MALFORMED },
		{ "of a protocol without ports", 47, 8, 0, true, 0, DROP_NONE },
	};
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		struct test_frame f;
		struct parsed p;
		struct fragment fragment;
		enum drop_reason reason = read_piece(&cases[i], &f, &p, &fragment);
		ck_assert_msg(reason == cases[i].reason, "%s: %s", cases[i].what, drop_reason_name(reason));
		if (reason != DROP_NONE)
			continue;
		ck_assert_uint_eq(fragment.begin, cases[i].offset * 8u);
		ck_assert_uint_eq(fragment.end, cases[i].offset * 8u + cases[i].n + cases[i].extension_bytes);
		ck_assert(fragment.is_last == !cases[i].more && fragment.protocol == cases[i].protocol);
		ck_assert_uint_eq(fragment.id, be32_from(0x1234));
		ck_assert_mem_eq(fragment.addrs6, test_ip6(tuple.src), 16);
		ck_assert_mem_eq(fragment.addrs6 + 16, test_ip6(tuple.dst), 16);
	}
}
END_TEST

// Behind the Fragment header is a chain that a whole packet would be refused for, or that is not all there.
START_TEST(a_first_fragment_has_all_headers_that_may_be_there)
{
	static const struct {
		const char *what;
		uint32_t offset; // in the frame
		uint8_t value;
		enum drop_reason reason;
	} cases[] = {
		{ "as it is", 0, 2, DROP_NONE },
		{ "a chain that goes on in the next fragment", ETH_BYTES + IP6_BYTES + 8 + 1, 9, DROP_FRAGMENT_MALFORMED },
		{ "a route of type 0", ETH_BYTES + IP6_BYTES, IP_PROTO_ROUTING, DROP_FRAGMENT_MALFORMED },
		{ "hop by hop", ETH_BYTES + IP6_BYTES, IP_PROTO_HOP_BY_HOP, DROP_FRAGMENT_MALFORMED },
		{ "another fragment header", ETH_BYTES + IP6_BYTES, IP_PROTO_FRAGMENT, DROP_FRAGMENT_MALFORMED },
		{ "a fragment header at the end", ETH_BYTES + IP6_BYTES + 8, IP_PROTO_FRAGMENT, DROP_FRAGMENT_MALFORMED },
	};
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		struct piece c = { "", IP_PROTO_UDP, 16, 0, true, 8, DROP_NONE };
		struct test_frame f;
		struct parsed p;
		struct fragment fragment;
		ck_assert_int_eq(read_piece(&c, &f, &p, &fragment), DROP_NONE);
		if (cases[i].offset == ETH_BYTES + IP6_BYTES)
			test_data(&f)[ETH_BYTES + IP6_BYTES + 10] = 0;
		test_data(&f)[cases[i].offset] = cases[i].value;
		ck_assert_int_eq(test_parse(test_data(&f), f.len, &p), DROP_FRAGMENT);
		enum drop_reason reason = fragment_parse(test_data(&f), &p, &fragment);
		ck_assert_msg(reason == cases[i].reason, "%s: %s", cases[i].what, drop_reason_name(reason));
	}
}
END_TEST

START_TEST(the_first_fragment_has_ports_behind_all_headers)
{
	for (uint32_t extension_bytes = 0; extension_bytes <= 24; extension_bytes += 8) {
		struct test_tuple t = tuple;
		struct parsed p;
		struct fragment fragment;
		t.ip_options_bytes = extension_bytes;
		struct test_frame f = test_tcp(&t, TCP_SYN | TCP_ACK, NULL, 100);
		test_set_fragment(&f, 0, true);
		ck_assert_int_eq(test_parse(test_data(&f), f.len, &p), DROP_FRAGMENT);
		ck_assert_int_eq(fragment_parse(test_data(&f), &p, &fragment), DROP_NONE);
		for (int i = 0; i < 2; i++) { // a second time changes nothing
			fragment_read_ports(test_data(&f), &p);
			ck_assert(p.protocol == IP_PROTO_TCP && p.tcp_flags == (TCP_SYN | TCP_ACK));
			ck_assert(p.src_port == be16_from(40000) && p.dst_port == be16_from(53));
			ck_assert_uint_eq(p.l4_off, ETH_BYTES + IP6_BYTES + 8 + extension_bytes);
		}
	}
}
END_TEST

START_TEST(a_first_fragment_of_udp_without_a_checksum_is_refused)
{
	struct test_frame f = test_udp(&tuple, NULL, 96);
	struct parsed p;
	struct fragment fragment;
	store16(test_data(&f) + ETH_BYTES + IP6_BYTES + 6, 0);
	test_set_fragment(&f, 0, true);
	ck_assert_int_eq(test_parse(test_data(&f), f.len, &p), DROP_FRAGMENT);
	ck_assert_int_eq(fragment_parse(test_data(&f), &p, &fragment), DROP_UDP6_NO_CHECKSUM);
}
END_TEST

static struct fragment of(const uint8_t *addrs6, uint32_t id, uint32_t begin, uint8_t protocol)
{
	struct fragment f = { .addrs6 = addrs6, .id = id, .protocol = protocol, .begin = begin, .end = begin + 64 };
	return f;
}

static struct fragment_step take(struct fragment f)
{
	return fragments_take(&table, &f, mono_from_us(1000));
}

START_TEST(a_datagram_is_known_by_both_addresses_and_all_of_its_identification)
{
	uint8_t addrs[32] = { 0x20, 1 };
	make_table();
	struct fragment_step step = take(of(addrs, 0x12345678, 0, IP_PROTO_UDP));
	ck_assert_int_eq(step.verdict, FRAGMENT_FIRST);
	fragments_decide(&table, step.datagram, 99);
	for (uint32_t bit = 0; bit < 8 * sizeof addrs; bit++) {
		addrs[bit / 8] ^= (uint8_t)(1u << bit % 8);
		ck_assert_msg(take(of(addrs, 0x12345678, 64, IP_PROTO_UDP)).verdict != FRAGMENT_KNOWN, "bit %u", bit);
		addrs[bit / 8] ^= (uint8_t)(1u << bit % 8);
		if (bit % 32 == 0) { // what was begun for others pushes nothing out
			make_table();
			step = take(of(addrs, 0x12345678, 0, IP_PROTO_UDP));
			fragments_decide(&table, step.datagram, 99);
		}
	}
	for (uint32_t bit = 0; bit < 32; bit++)
		ck_assert(take(of(addrs, 0x12345678 ^ 1u << bit, 64, IP_PROTO_UDP)).verdict != FRAGMENT_KNOWN);
	make_table();
	step = take(of(addrs, 0x12345678, 0, IP_PROTO_UDP));
	fragments_decide(&table, step.datagram, 99);
	step = take(of(addrs, 0x12345678, 64, IP_PROTO_DESTINATION)); // RFC 8200 section 4.5: only the first one's counts
	ck_assert_int_eq(step.verdict, FRAGMENT_KNOWN);
	ck_assert_uint_eq(step.decision, 99);
}
END_TEST

START_TEST(both_families_are_told_apart)
{
	uint8_t addrs[32] = { 0x20, 1 };
	make_table();
	struct fragment f6 = of(addrs, 7, 0, IP_PROTO_UDP);
	struct fragment f4 = { .src = 7, .dst = 9, .id = 7, .protocol = IP_PROTO_UDP, .begin = 0, .end = 64 };
	fragments_decide(&table, take(f6).datagram, 6);
	fragments_decide(&table, take(f4).datagram, 4);
	f6.begin = f4.begin = 64;
	f6.end = f4.end = 100;
	f6.is_last = f4.is_last = true;
	ck_assert_uint_eq(take(f6).decision, 6);
	ck_assert_uint_eq(take(f4).decision, 4);
}
END_TEST

START_TEST(an_overlap_drops_all_of_a_datagram) // RFC 5722
{
	uint8_t addrs[32] = { 0x20, 1 };
	make_table();
	fragments_decide(&table, take(of(addrs, 7, 0, IP_PROTO_UDP)).datagram, 6);
	ck_assert_int_eq(take(of(addrs, 7, 64, IP_PROTO_UDP)).verdict, FRAGMENT_KNOWN);
	ck_assert_int_eq(take(of(addrs, 7, 56, IP_PROTO_UDP)).reason, DROP_FRAGMENT_OVERLAP);
	ck_assert_int_eq(take(of(addrs, 7, 128, IP_PROTO_UDP)).reason, DROP_FRAGMENT_OVERLAP);
	ck_assert_int_eq(take(of(addrs, 8, 128, IP_PROTO_UDP)).verdict, FRAGMENT_WAITS);
}
END_TEST

SUITE_MAIN("fragments, IPv6", tiny_and_impossible_fragments_are_refused,
           a_first_fragment_has_all_headers_that_may_be_there, the_first_fragment_has_ports_behind_all_headers,
           a_first_fragment_of_udp_without_a_checksum_is_refused,
           a_datagram_is_known_by_both_addresses_and_all_of_its_identification, both_families_are_told_apart,
           an_overlap_drops_all_of_a_datagram)
