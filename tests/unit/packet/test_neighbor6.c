#include "tests/support/suite.h"

#include <string.h>

#include "common/packet/neighbor.h"
#include "tests/support/packet_builder.h"

#define GATEWAY "fe80::1"

static struct neighbor_table one_gateway(void)
{
	struct neighbor_table t;
	neighbor_table_init6(&t, &TEST_MAC_A, test_ip6("2001:db8:b::31"));
	ck_assert(neighbor_table_insert6(&t, test_ip6(GATEWAY)));
	return t;
}

enum { SOLICITED = 1, OVERRIDE = 2 };

// An advertisement of `who`; mac NULL: without the option.
static void advertise(struct neighbor_table *t, const char *who, const struct mac *mac, int flags, uint64_t us)
{
	struct nd_info nd = { .type = ICMP6_NEIGHBOR_ADVERTISEMENT,
		                  .has_mac = mac != NULL,
		                  .is_solicited = (flags & SOLICITED) != 0,
		                  .is_override = (flags & OVERRIDE) != 0 };
	memcpy(nd.target, test_ip6(who), 16);
	memcpy(nd.src, test_ip6("2001:db8:b::99"), 16);
	if (mac != NULL)
		nd.mac = *mac;
	neighbor_table_on_nd(t, &nd, mono_from_us(us));
}

static void solicit_from(struct neighbor_table *t, const char *who, const struct mac *mac, uint64_t us)
{
	struct nd_info nd = { .type = ICMP6_NEIGHBOR_SOLICITATION, .has_mac = true, .mac = *mac };
	memcpy(nd.src, test_ip6(who), 16);
	memcpy(nd.target, test_ip6("2001:db8:b::31"), 16);
	neighbor_table_on_nd(t, &nd, mono_from_us(us));
}

static bool has(const struct neighbor_table *t, const struct mac *mac)
{
	const struct mac *selected = neighbor_table_select(t, 0);
	return mac == NULL ? selected == NULL : selected != NULL && memcmp(selected, mac, sizeof *mac) == 0;
}

START_TEST(a_gateway_is_asked_for_at_once_and_used_when_it_answers)
{
	struct neighbor_table t = one_gateway();
	uint8_t frame[NEIGHBOR_FRAME_BYTES], want[ND_SOLICITATION_BYTES];
	ck_assert(has(&t, NULL));
	ck_assert_uint_eq(neighbor_table_step(&t, mono_from_us(0), frame), ND_SOLICITATION_BYTES);
	nd_write_solicitation(want, &TEST_MAC_A, test_ip6("2001:db8:b::31"), test_ip6(GATEWAY), NULL);
	ck_assert_mem_eq(frame, want, sizeof want);
	ck_assert_uint_eq(neighbor_table_step(&t, mono_from_us(0), frame), 0);
	advertise(&t, GATEWAY, &TEST_MAC_B, SOLICITED | OVERRIDE, 0);
	ck_assert(has(&t, &TEST_MAC_B));
	ck_assert_uint_eq(neighbor_table_step(&t, mono_from_us(NEIGHBOR_CONFIRM_US - 1), frame), 0);
	ck_assert_uint_eq(neighbor_table_step(&t, mono_from_us(NEIGHBOR_CONFIRM_US), frame), ND_SOLICITATION_BYTES);
	ck_assert_mem_eq(frame, TEST_MAC_B.bytes, 6); // unicast: the MAC that was known
}
END_TEST

START_TEST(a_gateway_that_stops_answering_is_used_until_three_probes_failed)
{
	struct neighbor_table t = one_gateway();
	uint8_t frame[NEIGHBOR_FRAME_BYTES];
	uint64_t now = NEIGHBOR_CONFIRM_US;
	advertise(&t, GATEWAY, &TEST_MAC_B, SOLICITED | OVERRIDE, 0);
	for (int probe = 0; probe < NEIGHBOR_PROBES; probe++, now += NEIGHBOR_PROBE_US) {
		ck_assert_uint_ne(neighbor_table_step(&t, mono_from_us(now), frame), 0);
		ck_assert(has(&t, &TEST_MAC_B));
	}
	ck_assert_uint_ne(neighbor_table_step(&t, mono_from_us(now), frame), 0);
	ck_assert_uint_eq(frame[0], 0x33);
	ck_assert(has(&t, NULL));
	advertise(&t, GATEWAY, NULL, SOLICITED, now); // says not where it is
	ck_assert(has(&t, NULL));
	advertise(&t, GATEWAY, &TEST_MAC_B, SOLICITED, now);
	ck_assert(has(&t, &TEST_MAC_B));
}
END_TEST

// The table of RFC 4861 section 7.2.5 and appendix C: of a gateway at B that is reachable, what another message makes of it.
START_TEST(what_is_said_of_a_known_gateway)
{
	static const struct mac c = { { 2, 0, 0, 0, 0, 0xc } };
	static const struct {
		const char *what;
		const struct mac *mac;
		int flags;
		const struct mac *used;
		bool is_confirmed, is_asked_at_once;
	} rows[] = {
		{ "the same, solicited", &TEST_MAC_B, SOLICITED, &TEST_MAC_B, true, false },
		{ "without a MAC, solicited", NULL, SOLICITED, &TEST_MAC_B, true, false },
		{ "another one, solicited, override", &c, SOLICITED | OVERRIDE, &c, true, false },
		{ "another one, solicited", &c, SOLICITED, &TEST_MAC_B, false, false },
		{ "another one, override", &c, OVERRIDE, &c, false, true },
		{ "another one", &c, 0, &TEST_MAC_B, false, false },
		{ "the same, unasked", &TEST_MAC_B, OVERRIDE, &TEST_MAC_B, false, false },
		{ "without a MAC, unasked", NULL, 0, &TEST_MAC_B, false, false },
	};
	uint8_t frame[NEIGHBOR_FRAME_BYTES];
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		struct neighbor_table t = one_gateway();
		advertise(&t, GATEWAY, &TEST_MAC_B, SOLICITED | OVERRIDE, 0);
		advertise(&t, GATEWAY, rows[i].mac, rows[i].flags, 1000);
		ck_assert_msg(has(&t, rows[i].used), "%s", rows[i].what);
		bool is_asked = neighbor_table_step(&t, mono_from_us(1000), frame) != 0;
		ck_assert_msg(is_asked == rows[i].is_asked_at_once, "%s", rows[i].what);
		if (is_asked)
			continue;
		bool is_due = neighbor_table_step(&t, mono_from_us(NEIGHBOR_CONFIRM_US), frame) != 0;
		ck_assert_msg(is_due == !rows[i].is_confirmed, "%s", rows[i].what);
	}
}
END_TEST

START_TEST(a_gateway_that_asks_says_where_it_is)
{
	struct neighbor_table t = one_gateway();
	uint8_t frame[NEIGHBOR_FRAME_BYTES];
	solicit_from(&t, GATEWAY, &TEST_MAC_B, 5);
	ck_assert(has(&t, &TEST_MAC_B));
	ck_assert_uint_ne(neighbor_table_step(&t, mono_from_us(5), frame), 0); // and whether that is so is asked at once
	ck_assert_mem_eq(frame, TEST_MAC_B.bytes, 6);
}
END_TEST

START_TEST(strangers_are_not_learned)
{
	struct neighbor_table t = one_gateway();
	advertise(&t, "fe80::2", &TEST_MAC_B, SOLICITED | OVERRIDE, 0);
	solicit_from(&t, "2001:db8:b::1", &TEST_MAC_B, 0);
	ck_assert(has(&t, NULL));
}
END_TEST

START_TEST(flows_spread_over_the_gateways_that_answer_and_a_full_table_refuses)
{
	struct neighbor_table t = one_gateway();
	static const char *const others[] = { "fe80::2", "2001:db8:b::1" };
	unsigned n_at[3] = { 0 };
	struct mac macs[3] = { { { 2, 0, 0, 0, 0, 1 } }, { { 2, 0, 0, 0, 0, 2 } }, { { 2, 0, 0, 0, 0, 3 } } };
	for (int i = 0; i < 2; i++)
		ck_assert(neighbor_table_insert6(&t, test_ip6(others[i])));
	for (int i = 0; i < 3; i++)
		advertise(&t, i == 0 ? GATEWAY : others[i - 1], &macs[i], SOLICITED, 0);
	for (uint32_t hash = 0; hash < 300; hash++)
		n_at[neighbor_table_select(&t, hash)->bytes[5] - 1]++;
	ck_assert(n_at[0] == 100 && n_at[1] == 100 && n_at[2] == 100);
	while (t.n < NEIGHBOR_MAX)
		ck_assert(neighbor_table_insert6(&t, test_ip6("fe80::3")));
	ck_assert(!neighbor_table_insert6(&t, test_ip6("fe80::4")));
}
END_TEST

SUITE_MAIN("neighbor, IPv6", a_gateway_is_asked_for_at_once_and_used_when_it_answers,
           a_gateway_that_stops_answering_is_used_until_three_probes_failed, what_is_said_of_a_known_gateway,
           a_gateway_that_asks_says_where_it_is, strangers_are_not_learned,
           flows_spread_over_the_gateways_that_answer_and_a_full_table_refuses)
