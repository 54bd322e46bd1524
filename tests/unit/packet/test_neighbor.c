#include "tests/support/suite.h"

#include "common/packet/neighbor.h"
#include "tests/support/packet_builder.h"

static struct neighbor_table one_gateway(void)
{
	struct neighbor_table t;
	neighbor_table_init(&t, &TEST_MAC_A, test_ip4("10.0.0.31"));
	ck_assert(neighbor_table_insert(&t, test_ip4("10.0.0.1")));
	return t;
}

static void reply_from(struct neighbor_table *t, const char *ip, struct mono_time now)
{
	struct arp_info arp = { .operation = ARP_REPLY, .sender_mac = TEST_MAC_B, .sender_ip = test_ip4(ip) };
	neighbor_table_on_arp(t, &arp, now);
}

START_TEST(a_gateway_is_asked_for_at_once_and_used_when_it_answers)
{
	struct neighbor_table t = one_gateway();
	uint8_t frame[ARP_FRAME_BYTES];
	struct mono_time now = mono_from_us(0);
	ck_assert_ptr_null(neighbor_table_select(&t, 0));
	ck_assert(neighbor_table_step(&t, now, frame));
	struct arp_info asked;
	ck_assert_int_eq(arp_parse(frame, sizeof frame, &asked), DROP_NONE);
	ck_assert_uint_eq(asked.target_ip, test_ip4("10.0.0.1"));
	ck_assert_uint_eq(asked.sender_ip, test_ip4("10.0.0.31"));
	ck_assert_uint_eq(frame[0], 0xff);
	ck_assert(!neighbor_table_step(&t, now, frame));
	reply_from(&t, "10.0.0.1", now);
	ck_assert_mem_eq(neighbor_table_select(&t, 0), TEST_MAC_B.bytes, 6);
}
END_TEST

START_TEST(a_gateway_that_stops_answering_is_used_until_three_probes_failed)
{
	struct neighbor_table t = one_gateway();
	uint8_t frame[ARP_FRAME_BYTES];
	reply_from(&t, "10.0.0.1", mono_from_us(0));
	struct mono_time now = mono_from_us(NEIGHBOR_CONFIRM_US - 1);
	ck_assert(!neighbor_table_step(&t, now, frame));
	now = mono_from_us(NEIGHBOR_CONFIRM_US);
	for (int probe = 0; probe < NEIGHBOR_PROBES; probe++) {
		ck_assert(neighbor_table_step(&t, now, frame));
		ck_assert_mem_eq(frame, TEST_MAC_B.bytes, 6); // unicast: the MAC that was known
		ck_assert_ptr_nonnull(neighbor_table_select(&t, 0));
		ck_assert(!neighbor_table_step(&t, now, frame));
		now = mono_add_us(now, NEIGHBOR_PROBE_US);
	}
	ck_assert(neighbor_table_step(&t, now, frame));
	ck_assert_uint_eq(frame[0], 0xff);
	ck_assert_ptr_null(neighbor_table_select(&t, 0));
	reply_from(&t, "10.0.0.1", now);
	ck_assert_ptr_nonnull(neighbor_table_select(&t, 0));
}
END_TEST

START_TEST(strangers_are_not_learned)
{
	struct neighbor_table t = one_gateway();
	reply_from(&t, "10.0.0.77", mono_from_us(0));
	ck_assert_ptr_null(neighbor_table_select(&t, 0));
}
END_TEST

START_TEST(flows_spread_over_the_gateways_that_answer)
{
	struct neighbor_table t = one_gateway();
	ck_assert(neighbor_table_insert(&t, test_ip4("10.0.0.2")));
	struct arp_info first = { .operation = ARP_REPLY, .sender_mac = TEST_MAC_A, .sender_ip = test_ip4("10.0.0.1") };
	neighbor_table_on_arp(&t, &first, mono_from_us(0));
	for (uint32_t hash = 0; hash < 10; hash++)
		ck_assert_mem_eq(neighbor_table_select(&t, hash), TEST_MAC_A.bytes, 6);
	reply_from(&t, "10.0.0.2", mono_from_us(0));
	int n_second = 0;
	for (uint32_t hash = 0; hash < 10; hash++)
		n_second += memcmp(neighbor_table_select(&t, hash), TEST_MAC_B.bytes, 6) == 0;
	ck_assert_int_eq(n_second, 5);
}
END_TEST

START_TEST(a_full_table_refuses)
{
	struct neighbor_table t;
	neighbor_table_init(&t, &TEST_MAC_A, test_ip4("10.0.0.31"));
	for (uint32_t i = 0; i < NEIGHBOR_MAX; i++)
		ck_assert(neighbor_table_insert(&t, i + 1));
	ck_assert(!neighbor_table_insert(&t, 99));
}
END_TEST

SUITE_MAIN("neighbor", a_gateway_is_asked_for_at_once_and_used_when_it_answers,
           a_gateway_that_stops_answering_is_used_until_three_probes_failed, strangers_are_not_learned,
           flows_spread_over_the_gateways_that_answer, a_full_table_refuses)
