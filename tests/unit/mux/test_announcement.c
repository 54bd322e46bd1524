// The states of a mux's announcement, and when a drain is over.
#include "tests/support/suite.h"

#include "mux/core/announcement.h"

#define STEP_US 100000

static struct mono_time at(uint64_t ms)
{
	return mono_from_us(1000000 + ms * 1000);
}

static struct announcement with_config(void)
{
	struct announcement a = { 0 };
	announcement_on_config(&a, false, 0, at(0));
	return a;
}

// From `from_ms` to `to_ms`, with packets or without; the time at which it was drained first, or 0.
static uint64_t run(struct announcement *a, uint64_t from_ms, uint64_t to_ms, uint64_t *n_packets, uint32_t n_each)
{
	for (uint64_t ms = from_ms; ms <= to_ms; ms += STEP_US / 1000) {
		*n_packets += n_each;
		announcement_step(a, *n_packets, at(ms));
		if (announcement_state(a) == MUX_DRAINED)
			return ms;
	}
	return 0;
}

START_TEST(states_follow_from_what_is_known)
{
	struct announcement a = { 0 };
	ck_assert_str_eq(mux_state_name(announcement_state(&a)), "no-config");
	a.is_fenced = true;
	ck_assert_str_eq(mux_state_name(announcement_state(&a)), "no-config");
	announcement_on_config(&a, false, 0, at(0));
	ck_assert_str_eq(mux_state_name(announcement_state(&a)), "fenced");
	a.is_fenced = false;
	ck_assert_str_eq(mux_state_name(announcement_state(&a)), "announcing");
	announcement_on_config(&a, true, 0, at(0));
	ck_assert_str_eq(mux_state_name(announcement_state(&a)), "draining");
	announcement_step(&a, 0, at(2000));
	ck_assert_str_eq(mux_state_name(announcement_state(&a)), "drained");
	a.is_withdrawn = true;
	ck_assert_str_eq(mux_state_name(announcement_state(&a)), "withdrawn");
}
END_TEST

START_TEST(a_drain_without_any_packet_takes_its_least_time)
{
	struct announcement a = with_config();
	uint64_t n = 7;
	announcement_on_config(&a, true, n, at(0));
	ck_assert_uint_eq(run(&a, 0, 10000, &n, 0), DRAIN_LEAST_US / 1000);
}
END_TEST

START_TEST(a_drain_ends_when_nothing_has_come_for_a_while)
{
	struct announcement a = with_config();
	uint64_t n = 7;
	announcement_on_config(&a, true, n, at(0));
	ck_assert_uint_eq(run(&a, 0, 5000, &n, 3), 0);
	ck_assert_uint_eq(run(&a, 5100, 10000, &n, 0), 5000 + DRAIN_QUIET_US / 1000);
}
END_TEST

START_TEST(a_drain_that_is_not_quiet_goes_on_for_ever)
{
	struct announcement a = with_config();
	uint64_t n = 0;
	announcement_on_config(&a, true, n, at(0));
	ck_assert_uint_eq(run(&a, 0, 3600000, &n, 1), 0);
	ck_assert_int_eq(announcement_state(&a), MUX_DRAINING);
}
END_TEST

START_TEST(what_was_drained_stays_so_when_a_packet_comes)
{
	struct announcement a = with_config();
	uint64_t n = 0;
	announcement_on_config(&a, true, n, at(0));
	ck_assert_uint_gt(run(&a, 0, 5000, &n, 0), 0);
	announcement_step(&a, 99, at(6000));
	announcement_on_config(&a, true, 100, at(6100)); // another configuration
	ck_assert_int_eq(announcement_state(&a), MUX_DRAINED);
}
END_TEST

START_TEST(a_second_drain_begins_anew)
{
	struct announcement a = with_config();
	uint64_t n = 0;
	announcement_on_config(&a, true, n, at(0));
	ck_assert_uint_gt(run(&a, 0, 5000, &n, 0), 0);
	announcement_on_config(&a, false, n, at(5000));
	ck_assert_int_eq(announcement_state(&a), MUX_ANNOUNCING);
	announcement_on_config(&a, true, n, at(6000));
	ck_assert_int_eq(announcement_state(&a), MUX_DRAINING);
	ck_assert_uint_eq(run(&a, 6000, 10000, &n, 0), 6000 + DRAIN_LEAST_US / 1000);
}
END_TEST

START_TEST(a_first_configuration_with_the_mark_is_drained_at_once)
{
	struct announcement a = { 0 };
	announcement_on_config(&a, true, 0, at(0));
	ck_assert_int_eq(announcement_state(&a), MUX_DRAINED);
}
END_TEST

START_TEST(a_stop_drains_and_an_undrain_does_not_call_it_off)
{
	struct announcement a = with_config();
	uint64_t n = 0;
	announcement_on_config(&a, true, n, at(0));
	announcement_stop(&a, n, at(1000));
	announcement_on_config(&a, false, n, at(1500));
	ck_assert_int_eq(announcement_state(&a), MUX_DRAINING);
	ck_assert_uint_eq(run(&a, 1500, 10000, &n, 0), DRAIN_LEAST_US / 1000);
}
END_TEST

START_TEST(a_fence_hides_a_drain_and_does_not_end_it)
{
	struct announcement a = with_config();
	announcement_on_config(&a, true, 0, at(0));
	a.is_fenced = true;
	announcement_step(&a, 0, at(3000));
	ck_assert_int_eq(announcement_state(&a), MUX_FENCED);
	a.is_fenced = false;
	ck_assert_int_eq(announcement_state(&a), MUX_DRAINED);
}
END_TEST

SUITE_MAIN("mux announcement", states_follow_from_what_is_known, a_drain_without_any_packet_takes_its_least_time,
           a_drain_ends_when_nothing_has_come_for_a_while, a_drain_that_is_not_quiet_goes_on_for_ever,
           what_was_drained_stays_so_when_a_packet_comes, a_second_drain_begins_anew,
           a_first_configuration_with_the_mark_is_drained_at_once, a_stop_drains_and_an_undrain_does_not_call_it_off,
           a_fence_hides_a_drain_and_does_not_end_it)
