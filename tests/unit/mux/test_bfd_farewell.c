// The last word to routers: of which sessions, and what it says.
#include "tests/support/suite.h"

#include <stdio.h>
#include <string.h>

#include "mux/core/bfd_farewell.h"
#include "tests/support/packet_builder.h"

static struct bfd_book book;
static struct bfd_frame farewells[BFD_ROUTERS_MAX];

// Version 1, no diagnostic; state in the upper two bits; multiplier 3; both discriminators and three intervals.
#define CONTROL(state, flags, length)                                                                                \
	{                                                                                                                \
		0x20, (state) << 6 | (flags), 3, (length), 1, 2, 3, 4, 5, 6, 7, 8, 0, 1, 0x86, 0xa0, 0, 1, 0x86, 0xa0, 0, 0, \
			0, 0                                                                                                     \
	}

static struct test_frame bfd(const char *router, uint16_t port, uint8_t state, uint8_t flags)
{
	uint8_t control[BFD_CONTROL_BYTES] = CONTROL(state, flags, BFD_CONTROL_BYTES);
	struct test_tuple t = { .src = strchr(router, ':') != NULL ? "2001:db8::31" : "10.0.0.31",
		                    .dst = router,
		                    .src_port = 49152,
		                    .dst_port = port };
	return test_udp(&t, control, sizeof control);
}

static void note(struct test_frame f)
{
	bfd_book_note(&book, test_data(&f), f.len);
}

static uint32_t count(void)
{
	return bfd_book_farewells(&book, farewells);
}

static void begin(void)
{
	memset(&book, 0, sizeof book);
}

START_TEST(a_session_that_is_up_gets_its_last_packet_with_state_down)
{
	begin();
	struct test_frame f = bfd("10.0.0.1", 3784, 3, 0x20); // with a poll
	note(f);
	ck_assert_uint_eq(count(), 1);
	const uint8_t *was = test_data(&f);
	const uint8_t *is = farewells[0].bytes;
	ck_assert_uint_eq(farewells[0].n_bytes, BFD_FRAME_BYTES);
	enum { UDP = ETH_BYTES + IP4_BYTES, BFD = UDP + 8 };
	ck_assert_mem_eq(is, was, UDP + 6); // all headers, but for the checksum
	ck_assert_uint_eq(is[UDP + 6] | is[UDP + 7], 0);
	ck_assert_uint_eq(is[BFD], 1 << 5 | 5); // path down
	ck_assert_uint_eq(is[BFD + 1], 1 << 6); // down, no poll
	ck_assert_mem_eq(is + BFD + 2, was + BFD + 2, BFD_CONTROL_BYTES - 2); // the discriminators among them
	ck_assert(test_checksums_ok(is, BFD_FRAME_BYTES, NULL));
}
END_TEST

START_TEST(over_ipv6_it_has_a_checksum)
{
	begin();
	struct test_frame f = bfd("fe80::1", 3784, 3, 0);
	note(f);
	note(bfd("2001:db8::1", 4784, 3, 0));
	note(bfd("10.0.0.1", 3784, 3, 0));
	ck_assert_uint_eq(count(), 3);
	enum { BFD = ETH_BYTES + IP6_BYTES + 8 };
	for (uint32_t i = 0; i < 2; i++) {
		const uint8_t *is = farewells[i].bytes;
		ck_assert_uint_eq(farewells[i].n_bytes, BFD_FRAME6_BYTES);
		ck_assert(test_checksums_ok(is, BFD_FRAME6_BYTES, NULL));
		ck_assert_uint_ne(is[BFD - 2] | is[BFD - 1], 0);
		ck_assert_uint_eq(is[BFD], 1 << 5 | 5);
		ck_assert_uint_eq(is[BFD + 1], 1 << 6);
	}
	ck_assert_mem_eq(farewells[0].bytes, test_data(&f), BFD - 2);
	ck_assert_uint_eq(farewells[2].n_bytes, BFD_FRAME_BYTES);
	note(bfd("fe80::1", 3784, 1, 0));
	ck_assert_uint_eq(count(), 2);
	f = bfd("fe80::2", 3784, 3, 0);
	f.len--;
	note(f);
	ck_assert_uint_eq(count(), 2);
}
END_TEST

START_TEST(sessions_that_are_not_up_get_none)
{
	begin();
	ck_assert_uint_eq(count(), 0);
	for (uint8_t state = 0; state < 3; state++)
		note(bfd("10.0.0.1", 3784, state, 0));
	ck_assert_uint_eq(count(), 0);
	note(bfd("10.0.0.1", 3784, 3, 0));
	ck_assert_uint_eq(count(), 1);
	note(bfd("10.0.0.1", 3784, 1, 0));
	ck_assert_uint_eq(count(), 0);
	note(bfd("10.0.0.1", 3784, 3, 0x04)); // authenticated: it cannot be signed
	ck_assert_uint_eq(count(), 0);
}
END_TEST

START_TEST(each_router_has_its_own_and_further_ones_have_none)
{
	begin();
	char router[32];
	for (int round = 0; round < 2; round++)
		for (int i = 1; i <= BFD_ROUTERS_MAX + 3; i++) {
			snprintf(router, sizeof router, "10.0.0.%d", i);
			note(bfd(router, i % 2 == 0 ? 3784 : 4784, 3, 0));
		}
	ck_assert_uint_eq(count(), BFD_ROUTERS_MAX);
	note(bfd("10.0.0.2", 3784, 0, 0));
	ck_assert_uint_eq(count(), BFD_ROUTERS_MAX - 1);
	for (uint32_t i = 0; i < BFD_ROUTERS_MAX - 1; i++)
		ck_assert_uint_ne(((const struct ip4_header *)(farewells[i].bytes + ETH_BYTES))->dst, test_ip4("10.0.0.2"));
}
END_TEST

START_TEST(what_is_no_bfd_is_not_noted)
{
	begin();
	struct test_tuple t = { .src = "10.0.0.31", .dst = "10.0.0.1", .src_port = 1, .dst_port = 179 };
	note(test_tcp(&t, TCP_ACK, NULL, 30));
	note(bfd("10.0.0.1", 53, 3, 0));
	struct test_frame f = bfd("10.0.0.1", 3784, 3, 0);
	f.len--;
	note(f);
	f = bfd("10.0.0.1", 3784, 3, 0);
	test_data(&f)[ETH_BYTES + IP4_BYTES + 8] = 0x40; // version 2
	note(f);
	f = test_arp(1, &TEST_MAC_A, "10.0.0.31", NULL, "10.0.0.1", &TEST_MAC_B);
	note(f);
	ck_assert_uint_eq(count(), 0);
	ck_assert_uint_eq(book.notes[0].n_bytes, 0);
}
END_TEST

START_TEST(a_note_that_was_just_being_written_is_left_out)
{
	begin();
	note(bfd("10.0.0.1", 3784, 3, 0));
	atomic_fetch_add(&book.notes[0].n_changes, 1);
	ck_assert_uint_eq(count(), 0);
}
END_TEST

SUITE_MAIN("mux BFD farewell", a_session_that_is_up_gets_its_last_packet_with_state_down, over_ipv6_it_has_a_checksum,
           sessions_that_are_not_up_get_none, each_router_has_its_own_and_further_ones_have_none,
           what_is_no_bfd_is_not_noted, a_note_that_was_just_being_written_is_left_out)
