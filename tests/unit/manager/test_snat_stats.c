// The quantiles of the answers' latencies.
#include "tests/support/suite.h"

#include <string.h>

#include "manager/io/snat_stats.h"

#define SECOND 1000000ULL

static struct latency_window window;

static uint64_t quantile(uint32_t percent, uint64_t now_us)
{
	return latency_window_quantile_us(&window, percent, mono_from_us(now_us));
}

static void add(uint64_t us, uint64_t now_us)
{
	latency_window_add(&window, us, mono_from_us(now_us));
}

START_TEST(a_quantile_is_at_most_an_eighth_too_high)
{
	for (uint64_t us = 0; us < 1ULL << 34; us += 1 + us / 7) {
		memset(&window, 0, sizeof window);
		window.since = mono_from_us(SECOND);
		add(us, SECOND);
		ck_assert_uint_ge(quantile(50, SECOND), us < 1ULL << 33 ? us : 1ULL << 33);
		ck_assert_uint_le(quantile(50, SECOND), us + us / 8);
	}
}
END_TEST

START_TEST(quantiles_are_of_the_last_ten_to_twenty_seconds)
{
	memset(&window, 0, sizeof window);
	window.since = mono_from_us(100 * SECOND);
	ck_assert_uint_eq(quantile(50, 100 * SECOND), 0);
	for (uint32_t i = 0; i < 98; i++)
		add(7, 101 * SECOND);
	add(5, 101 * SECOND);
	add(1000, 101 * SECOND);
	ck_assert_uint_eq(quantile(1, 102 * SECOND), 5);
	ck_assert_uint_eq(quantile(50, 102 * SECOND), 7);
	ck_assert_uint_eq(quantile(99, 102 * SECOND), 7);
	ck_assert_uint_ge(quantile(100, 102 * SECOND), 1000);
	for (uint32_t i = 0; i < 300; i++)
		add(3, 111 * SECOND);
	ck_assert_uint_eq(quantile(50, 112 * SECOND), 3);
	ck_assert_uint_eq(quantile(99, 112 * SECOND), 7); // the older ones still count
	add(3, 122 * SECOND);
	ck_assert_uint_eq(quantile(100, 122 * SECOND), 3);
	ck_assert_uint_eq(quantile(100, 200 * SECOND), 0);
}
END_TEST

START_TEST(what_does_not_fit_is_left_out)
{
	struct counter counters[CLUSTER_COUNTERS_MAX];
	uint32_t n = CLUSTER_COUNTERS_MAX - 1;
	snat_stats_put(counters, &n, "last", 1);
	snat_stats_put(counters, &n, "too_many", 2);
	ck_assert_uint_eq(n, CLUSTER_COUNTERS_MAX);
	ck_assert_str_eq(counters[n - 1].name, "last");
}
END_TEST

SUITE_MAIN("snat-stats", a_quantile_is_at_most_an_eighth_too_high, quantiles_are_of_the_last_ten_to_twenty_seconds,
           what_does_not_fit_is_left_out)
