#include "common/packet/fragments.h"

#include "common/base/memory.h"
#include "tests/support/packet_builder.h"
#include "tests/support/suite.h"

enum { TABLE = 64 };

static struct fragments table;
static void *memory;
static struct mono_time now;

static void make_table(uint32_t n_datagrams)
{
	memory_free(memory);
	memory = memory_aligned(64, fragments_memory_bytes(n_datagrams));
	fragments_init(&table, n_datagrams, memory, 42);
	now = mono_from_us(1000);
}

static struct fragment piece(uint16_t id, uint32_t begin, uint32_t end, bool is_last)
{
	return (struct fragment){
		.src = 7, .dst = 9, .id = id, .protocol = IP_PROTO_UDP, .is_last = is_last, .begin = begin, .end = end
	};
}

static struct fragment_step take(uint16_t id, uint32_t begin, uint32_t end, bool is_last)
{
	struct fragment f = piece(id, begin, end, is_last);
	return fragments_take(&table, &f, now);
}

static void expect_released(uint16_t slot, enum drop_reason reason, uint64_t decision)
{
	struct fragment_released r;
	ck_assert(fragments_next_released(&table, &r));
	ck_assert_uint_eq(r.slot, slot);
	ck_assert_int_eq(r.reason, reason);
	if (reason == DROP_NONE)
		ck_assert_uint_eq(r.decision, decision);
}

// ---- reading ----

static enum drop_reason read_piece(uint8_t protocol, uint32_t n_bytes, uint16_t offset, bool more,
                                   struct fragment *ret_fragment)
{
	struct parsed p;
	struct test_frame f =
		test_ip_proto(&(struct test_tuple){ .src = "198.51.100.7", .dst = "203.0.113.10" }, protocol, NULL, n_bytes);
	test_set_fragment(&f, offset, more);
	ck_assert_int_eq(parse_ip4(test_data(&f), f.len, ETH_BYTES, &p), DROP_FRAGMENT);
	return fragment_parse(test_data(&f), &p, ret_fragment);
}

START_TEST(tiny_and_impossible_fragments_are_refused)
{
	static const struct {
		const char *what;
		uint8_t protocol;
		uint32_t n_bytes;
		uint16_t offset; // units of 8 bytes
		bool more;
		enum drop_reason want;
	} cases[] = {
		{ "RFC 1858: a first one without the flags of TCP", IP_PROTO_TCP, 8, 0, true, DROP_FRAGMENT_MALFORMED },
		{ "a first one that ends in the TCP header", IP_PROTO_TCP, 16, 0, true, DROP_FRAGMENT_MALFORMED },
		{ "a first one with the TCP header", IP_PROTO_TCP, 24, 0, true, DROP_NONE },
		{ "RFC 3128: one that begins in the TCP header", IP_PROTO_TCP, 800, 1, true, DROP_FRAGMENT_MALFORMED },
		{ "another one", IP_PROTO_TCP, 800, 2, false, DROP_FRAGMENT_MALFORMED },
		{ "one behind the TCP header", IP_PROTO_TCP, 800, 3, false, DROP_NONE },
		{ "a first one with no more than the UDP header", IP_PROTO_UDP, 8, 0, true, DROP_NONE },
		{ "one behind the UDP header", IP_PROTO_UDP, 1, 1, false, DROP_NONE },
		{ "a first one of ICMP", IP_PROTO_ICMP, 8, 0, true, DROP_NONE },
		{ "a first one of another protocol", 47, 8, 0, true, DROP_NONE },
		{ "nothing in it", IP_PROTO_UDP, 0, 5, false, DROP_FRAGMENT_MALFORMED },
		{ "RFC 791: not in units of eight", IP_PROTO_UDP, 801, 5, true, DROP_FRAGMENT_MALFORMED },
		{ "the last one may be so", IP_PROTO_UDP, 801, 5, false, DROP_NONE },
		{ "beyond the largest packet", IP_PROTO_UDP, 800, 8150, false, DROP_FRAGMENT_MALFORMED },
		{ "the end of the largest packet", IP_PROTO_UDP, 315, 8150, false, DROP_NONE },
		{ "one byte more", IP_PROTO_UDP, 316, 8150, false, DROP_FRAGMENT_MALFORMED },
	};
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		struct fragment f;
		enum drop_reason reason = read_piece(cases[i].protocol, cases[i].n_bytes, cases[i].offset, cases[i].more, &f);
		ck_assert_msg(reason == cases[i].want, "%s: %s", cases[i].what, drop_reason_name(reason));
	}
}
END_TEST

START_TEST(a_fragment_is_read_with_its_place)
{
	struct fragment f;
	ck_assert_int_eq(read_piece(IP_PROTO_UDP, 100, 185, false, &f), DROP_NONE);
	ck_assert_uint_eq(f.src, test_ip4("198.51.100.7"));
	ck_assert_uint_eq(f.dst, test_ip4("203.0.113.10"));
	ck_assert_uint_eq(f.protocol, IP_PROTO_UDP);
	ck_assert_uint_eq(f.begin, 1480);
	ck_assert_uint_eq(f.end, 1580);
	ck_assert(f.is_last);
}
END_TEST

START_TEST(the_first_fragment_has_ports)
{
	struct parsed p;
	struct test_frame f = test_tcp(
		&(struct test_tuple){ .src = "198.51.100.7", .dst = "203.0.113.10", .src_port = 40000, .dst_port = 80 },
		TCP_SYN, NULL, 100);
	test_set_fragment(&f, 0, true);
	ck_assert_int_eq(parse_ip4(test_data(&f), f.len, ETH_BYTES, &p), DROP_FRAGMENT);
	fragment_read_ports(test_data(&f), &p);
	ck_assert_uint_eq(p.src_port, be16_from(40000));
	ck_assert_uint_eq(p.dst_port, be16_from(80));
	ck_assert_uint_eq(p.tcp_flags, TCP_SYN);
}
END_TEST

// ---- the table ----

START_TEST(what_follows_the_first_goes_its_way)
{
	make_table(TABLE);
	struct fragment_step step = take(1, 0, 800, false);
	ck_assert_int_eq(step.verdict, FRAGMENT_FIRST);
	fragments_decide(&table, step.datagram, 77);
	ck_assert(!fragments_has_released(&table));
	step = take(1, 800, 1600, false);
	ck_assert_int_eq(step.verdict, FRAGMENT_KNOWN);
	ck_assert_uint_eq(step.decision, 77);
}
END_TEST

START_TEST(what_came_before_the_first_is_released_in_order)
{
	make_table(TABLE);
	struct fragment_step last = take(1, 1600, 1700, true);
	struct fragment_step middle = take(1, 800, 1600, false);
	ck_assert_int_eq(last.verdict, FRAGMENT_WAITS);
	ck_assert_int_eq(middle.verdict, FRAGMENT_WAITS);
	ck_assert_uint_ne(last.slot, middle.slot);
	ck_assert(!fragments_has_released(&table));
	fragments_decide(&table, take(1, 0, 800, false).datagram, 5);
	expect_released(last.slot, DROP_NONE, 5);
	expect_released(middle.slot, DROP_NONE, 5);
	ck_assert(!fragments_has_released(&table));
}
END_TEST

START_TEST(a_complete_datagram_is_forgotten_and_its_identification_may_come_again)
{
	make_table(TABLE);
	fragments_decide(&table, take(1, 0, 800, false).datagram, 5);
	ck_assert_int_eq(take(1, 800, 900, true).verdict, FRAGMENT_KNOWN);
	ck_assert_int_eq(take(1, 400, 500, true).verdict, FRAGMENT_WAITS); // of another datagram: no overlap
}
END_TEST

START_TEST(nothing_of_a_datagram_with_an_overlap_goes_on)
{
	static const struct {
		uint32_t begin, end;
		bool is_last;
	} overlaps[] = { { 792, 1600, false }, { 1200, 2000, false }, { 800, 1608, false },
		             { 0, 24, false },     { 808, 1592, false },  { 1600, 2408, false },
		             { 1600, 1700, true }, { 2400, 2408, false }, { 800, 1600, true } };
	for (size_t i = 0; i < sizeof overlaps / sizeof *overlaps; i++) {
		make_table(TABLE);
		fragments_decide(&table, take(1, 0, 800, false).datagram, 5);
		ck_assert_int_eq(take(1, 800, 1600, false).verdict, FRAGMENT_KNOWN);
		ck_assert_int_eq(take(1, 2000, 2400, true).verdict, FRAGMENT_KNOWN);
		struct fragment_step step = take(1, overlaps[i].begin, overlaps[i].end, overlaps[i].is_last);
		ck_assert_msg(step.verdict == FRAGMENT_REFUSED && step.reason == DROP_FRAGMENT_OVERLAP, "overlap %zu", i);
		ck_assert_int_eq(take(1, 1600, 2000, false).reason, DROP_FRAGMENT_OVERLAP);
		ck_assert_int_eq(take(1, 0, 800, false).reason, DROP_FRAGMENT_OVERLAP);
	}
}
END_TEST

START_TEST(a_fragment_that_the_network_doubled_goes_on_twice)
{
	make_table(TABLE);
	fragments_decide(&table, take(1, 0, 800, false).datagram, 5);
	ck_assert_int_eq(take(1, 0, 800, false).verdict, FRAGMENT_FIRST);
	ck_assert_int_eq(take(1, 800, 1600, false).verdict, FRAGMENT_KNOWN);
	ck_assert_int_eq(take(1, 800, 1600, false).verdict, FRAGMENT_KNOWN);
}
END_TEST

START_TEST(what_waits_for_too_long_is_dropped)
{
	make_table(TABLE);
	struct fragment_step step = take(1, 800, 1600, false);
	now = mono_add_us(now, FRAGMENT_TIMEOUT_US - 1);
	fragments_expire(&table, now);
	ck_assert(!fragments_has_released(&table));
	now = mono_add_us(now, 1);
	fragments_expire(&table, now);
	expect_released(step.slot, DROP_FRAGMENT_TIMEOUT, 0);
	fragments_decide(&table, take(1, 0, 800, false).datagram, 5); // and the datagram is another one
	ck_assert(!fragments_has_released(&table));
}
END_TEST

START_TEST(a_datagram_that_is_refused_takes_all_with_it)
{
	make_table(TABLE);
	struct fragment_step step = take(1, 800, 1600, false);
	fragments_refuse(&table, take(1, 0, 800, false).datagram);
	expect_released(step.slot, DROP_FRAGMENT, 0);
	ck_assert_int_eq(take(1, 1600, 1700, true).reason, DROP_FRAGMENT);
}
END_TEST

START_TEST(a_datagram_has_its_share_of_what_waits_and_the_oldest_gives_way)
{
	uint16_t slots[FRAGMENT_WAITING_MAX];
	make_table(TABLE);
	for (uint32_t i = 0; i < FRAGMENT_WAITING_MAX; i++)
		slots[i] = take(1, 800 * (i + 1), 800 * (i + 2), false).slot;
	struct fragment_step step = take(1, 8000, 8800, false);
	ck_assert_int_eq(step.verdict, FRAGMENT_WAITS);
	ck_assert(step.gave_way);
	ck_assert_uint_eq(step.slot, slots[0]);
	fragments_decide(&table, take(1, 0, 800, false).datagram, 5);
	for (uint32_t i = 1; i < FRAGMENT_WAITING_MAX; i++)
		expect_released(slots[i], DROP_NONE, 5);
	expect_released(slots[0], DROP_NONE, 5);
}
END_TEST

START_TEST(where_all_slots_are_taken_the_oldest_of_all_gives_way)
{
	make_table(1024);
	for (uint16_t i = 0; i < FRAGMENT_SLOTS; i++)
		ck_assert(!take(i, 800, 1600, false).gave_way);
	struct fragment_step step = take(1000, 800, 1600, false);
	ck_assert_int_eq(step.verdict, FRAGMENT_WAITS);
	ck_assert(step.gave_way);
	ck_assert_uint_eq(step.slot, 0);
	fragments_decide(&table, take(0, 0, 800, false).datagram, 5); // its follower is gone
	ck_assert(!fragments_has_released(&table));
	fragments_decide(&table, take(1000, 0, 800, false).datagram, 6);
	expect_released(0, DROP_NONE, 6);
}
END_TEST

START_TEST(slots_that_are_released_and_not_yet_taken_are_not_given_anew)
{
	make_table(1024);
	for (uint16_t i = 0; i < FRAGMENT_SLOTS; i++)
		(void)take(i, 800, 1600, false);
	for (uint16_t i = 0; i < FRAGMENT_SLOTS; i++)
		fragments_decide(&table, take(i, 0, 800, false).datagram, i);
	struct fragment_step step = take(1000, 800, 1600, false);
	ck_assert_int_eq(step.verdict, FRAGMENT_REFUSED);
	ck_assert_int_eq(step.reason, DROP_FRAGMENT_HOLD_FULL);
	for (uint16_t i = 0; i < FRAGMENT_SLOTS; i++)
		expect_released(i, DROP_NONE, i);
	ck_assert_int_eq(take(1000, 1600, 2400, false).verdict, FRAGMENT_WAITS);
}
END_TEST

START_TEST(a_full_table_forgets_the_oldest_of_a_set_and_keeps_going)
{
	make_table(FRAGMENT_WAYS);
	struct fragment_step oldest = take(0, 800, 1600, false);
	for (uint16_t i = 1; i <= FRAGMENT_WAYS; i++) {
		now = mono_add_us(now, 1);
		fragments_decide(&table, take(i, 0, 800, false).datagram, i);
	}
	expect_released(oldest.slot, DROP_FRAGMENT_HOLD_FULL, 0);
	ck_assert_uint_eq(table.counters.evicted, 1);
	for (uint16_t i = 1; i <= FRAGMENT_WAYS; i++)
		ck_assert_uint_eq(take(i, 800, 1600, false).decision, i);
}
END_TEST

START_TEST(more_pieces_than_are_told_apart_spoil_the_datagram)
{
	make_table(TABLE);
	fragments_decide(&table, take(1, 0, 8, false).datagram, 5);
	for (uint32_t i = 1; i < FRAGMENT_PIECES_MAX; i++)
		ck_assert_int_eq(take(1, 8 * i, 8 * i + 8, false).verdict, FRAGMENT_KNOWN);
	ck_assert_int_eq(take(1, 8 * FRAGMENT_PIECES_MAX, 8 * FRAGMENT_PIECES_MAX + 8, false).reason,
	                 DROP_FRAGMENT_MALFORMED);
	ck_assert_int_eq(take(1, 8, 16, false).verdict, FRAGMENT_REFUSED);
}
END_TEST

SUITE_MAIN("fragments", tiny_and_impossible_fragments_are_refused, a_fragment_is_read_with_its_place,
           the_first_fragment_has_ports, what_follows_the_first_goes_its_way,
           what_came_before_the_first_is_released_in_order,
           a_complete_datagram_is_forgotten_and_its_identification_may_come_again,
           nothing_of_a_datagram_with_an_overlap_goes_on, a_fragment_that_the_network_doubled_goes_on_twice,
           what_waits_for_too_long_is_dropped, a_datagram_that_is_refused_takes_all_with_it,
           a_datagram_has_its_share_of_what_waits_and_the_oldest_gives_way,
           where_all_slots_are_taken_the_oldest_of_all_gives_way,
           slots_that_are_released_and_not_yet_taken_are_not_given_anew,
           a_full_table_forgets_the_oldest_of_a_set_and_keeps_going, more_pieces_than_are_told_apart_spoil_the_datagram)
