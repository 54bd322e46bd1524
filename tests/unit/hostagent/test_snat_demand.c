// When a DIP asks for ports, and for how many.
#include <stdio.h>

#include "hostagent/core/snat_demand.h"
#include "tests/support/suite.h"
#include "tests/unit/hostagent/flow_block.h"

#define LEAST 8

static struct mono_time at_us(uint64_t us)
{
	return mono_from_us(1000000000 + us);
}

static struct snat_need need_at(uint64_t us, uint32_t n_leased, uint32_t n_waiting)
{
	return (struct snat_need){ .n_leased = n_leased, .max_ports = 16384, .n_waiting = n_waiting, .now = at_us(us) };
}

// Ports of one destination that are in use after n flows, one every `gap_us`, of which the last begins at n * gap_us.
static struct snat_pace pace_of(uint32_t n, uint32_t gap_us)
{
	struct snat_pace p = { 0 };
	for (uint32_t i = 1; i <= n; i++)
		snat_pace_note(&p, i, at_us((uint64_t)i * gap_us));
	return p;
}

static uint32_t wanted(const struct snat_pace *p, const struct snat_need *need)
{
	return snat_demand_wanted(snat_demand_total(p, need), need, LEAST);
}

// At which flow it is time to ask, and for how many ports then.
START_TEST(who_is_slow_asks_at_half_and_a_burst_asks_early_for_much)
{
	static const struct {
		const char *what;
		uint32_t gap_us;
		uint32_t n_leased;
		uint32_t n_begun;
		uint32_t n_wanted;
	} cases[] = {
		{ "150 a minute", 400000, 160, 81, 160 },
		{ "100 a second", 10000, 160, 81, 160 },
		{ "1,000 a second: half comes first", 1000, 160, 81, 160 },
		{ "1,000 a second with little: 40 ms are 42 ports", 1000, 60, 20, 65 },
		{ "10 in a millisecond", 100, 160, 20, 884 },
		{ "20 in a millisecond", 50, 160, 20, 884 },
		{ "all at once", 0, 160, 20, 884 },
		{ "all at once, with much: half comes first", 0, 4096, 2049, 4096 },
		{ "all at once, with little: fewer than 20 are no burst", 0, 8, 5, 8 },
	};
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		uint32_t n = 0;
		struct snat_pace p = { 0 };
		struct snat_need need;
		do {
			n++;
			uint64_t us = (uint64_t)n * cases[i].gap_us;
			snat_pace_note(&p, n, at_us(us));
			need = need_at(us, cases[i].n_leased, 0);
		} while (!snat_demand_is_due(&p, &need));
		ck_assert_msg(n == cases[i].n_begun && wanted(&p, &need) == cases[i].n_wanted, "%s: at flow %u %u ports",
		              cases[i].what, n, wanted(&p, &need));
	}
}
END_TEST

START_TEST(growth_that_is_over_fades)
{
	struct snat_pace p = pace_of(200, 50);
	ck_assert_uint_gt(snat_pace_ahead(&p, 0, at_us(10000), SNAT_ANSWER_US), 300);
	ck_assert_uint_lt(snat_pace_ahead(&p, 0, at_us(10000000), SNAT_ANSWER_US), 16);
	snat_pace_note(&p, 201, at_us(10000000));
	ck_assert_uint_eq(snat_pace_ahead(&p, 0, at_us(10000000), SNAT_AHEAD_US), 0);
	for (uint32_t n = 200; n > 100; n--)
		snat_pace_note(&p, n, at_us(10000010));
	ck_assert_uint_eq(p.from, 101);
	snat_pace_note(&p, 102, at_us(10000020)); // it fell, and grows again
	ck_assert_uint_eq(snat_pace_ahead(&p, 0, at_us(10000020), SNAT_AHEAD_US), 0);
}
END_TEST

START_TEST(a_pace_that_goes_on_is_known_all_the_time)
{
	struct snat_pace p = { 0 };
	for (uint32_t n = 1; n <= 20000; n++) {
		uint64_t us = (uint64_t)n * 200; // 5 in a millisecond
		snat_pace_note(&p, n, at_us(us));
		uint32_t n_ahead = snat_pace_ahead(&p, 0, at_us(us), SNAT_AHEAD_US);
		if (n > 50)
			ck_assert_msg(n_ahead >= 490 && n_ahead <= 510, "%u at %u", n_ahead, n);
	}
}
END_TEST

START_TEST(what_waits_is_asked_for_and_what_will_come_like_it)
{
	struct snat_pace none = { 0 };
	struct snat_need need = need_at(0, 0, 1);
	ck_assert(snat_demand_is_due(&none, &need));
	ck_assert_uint_eq(wanted(&none, &need), LEAST);
	need = need_at(0, 0, 40);
	ck_assert_uint_eq(wanted(&none, &need), 40);
	need = need_at(0, 160, 1);
	ck_assert_uint_eq(wanted(&none, &need), 160); // as many again
	struct snat_pace p = pace_of(160, 100); // 16 ms, and 80 more that wait after 8 more
	need = need_at(24000, 160, 80);
	ck_assert_uint_eq(wanted(&p, &need), 80 + 240 * SNAT_AHEAD_US / 23900);
}
END_TEST

START_TEST(never_more_is_asked_for_than_a_dip_may_have)
{
	uint64_t seed = 5;
	uint32_t n_cut = 0;
	printf("seed %llu\n", (unsigned long long)seed);
	for (uint32_t run = 0; run < 500; run++) {
		struct snat_pace p = { 0 };
		uint64_t us = 0;
		uint32_t max_ports = 8 * (1 + random_below(&seed, 8192));
		for (uint32_t i = 0; i < 50; i++) {
			us += random_below(&seed, 2) ? random_below(&seed, 100) : random_below(&seed, 30000);
			snat_pace_note(&p, random_below(&seed, 65536), at_us(us));
			struct snat_need need = need_at(us, 8 * random_below(&seed, 9000), random_below(&seed, 1025));
			need.max_ports = max_ports;
			uint32_t n_total = snat_demand_total(&p, &need);
			uint32_t n_wanted = snat_demand_wanted(n_total, &need, LEAST);
			ck_assert_uint_ge(n_total, need.n_leased);
			ck_assert(n_wanted == 0 || need.n_leased + n_wanted <= max_ports);
			ck_assert((n_wanted == 0) == (need.n_leased >= max_ports));
			ck_assert(n_wanted >= LEAST || need.n_leased + n_wanted >= max_ports);
			n_cut += n_wanted > 0 && need.n_leased + n_wanted == max_ports;
		}
	}
	ck_assert_uint_gt(n_cut, 500);
}
END_TEST

// ---- A whole burst, against managers that grant what is asked for `answer_us` later ----

struct burst {
	struct snat_pace pace;
	struct snat_need need;
	uint32_t n_used;
	uint32_t n_waited; // in all
	uint32_t n_requests;
	uint32_t n_asked; // 0: no request is out
	uint64_t answer_at_us;
};

static void burst_ask(struct burst *b, uint64_t us, uint32_t answer_us)
{
	if (b->n_asked > 0 || !snat_demand_is_due(&b->pace, &b->need))
		return;
	b->n_asked = wanted(&b->pace, &b->need);
	b->answer_at_us = us + answer_us;
	b->n_requests++;
}

static void burst_take(struct burst *b, uint32_t n)
{
	uint32_t n_free = b->need.n_leased - b->n_used;
	b->n_used += n < n_free ? n : n_free;
	b->need.n_waiting = n < n_free ? 0 : n - n_free;
	snat_pace_note(&b->pace, b->n_used, b->need.now);
}

static void burst_answer(struct burst *b, uint64_t us)
{
	if (b->n_asked == 0 || us < b->answer_at_us)
		return;
	b->need.n_leased += b->n_asked;
	b->n_asked = 0;
	burst_take(b, b->need.n_waiting);
}

static struct burst run_burst(uint32_t n, uint32_t per_ms, uint32_t n_leased, uint32_t answer_us)
{
	struct burst b = { .need = need_at(0, n_leased, 0) };
	uint64_t us = 0;
	for (uint32_t n_begun = 0; n_begun < n || b.need.n_waiting > 0; us += 10) {
		b.need.now = at_us(us);
		burst_answer(&b, us);
		for (; n_begun < n && (uint64_t)n_begun * 1000 <= us * per_ms; n_begun++) {
			if (b.n_used < b.need.n_leased) {
				burst_take(&b, 1);
			} else {
				b.need.n_waiting++;
				b.n_waited++;
			}
			burst_ask(&b, us, answer_us);
		}
		burst_ask(&b, us, answer_us);
		ck_assert_uint_lt(us, 1000000);
	}
	return b;
}

START_TEST(a_burst_is_covered_by_few_requests_and_what_waits_is_what_begins_before_the_first_answer)
{
	static const struct {
		uint32_t per_ms;
		uint32_t answer_us;
		uint32_t waited_max;
		uint32_t requests_max;
	} cases[] = {
		{ 5, 3000, 0, 3 },   { 5, 25000, 0, 3 },    { 20, 1000, 0, 3 },  { 20, 3000, 0, 3 },     { 20, 6000, 0, 3 },
		{ 20, 8000, 40, 3 }, { 20, 20000, 260, 3 }, { 50, 3000, 40, 3 }, { 1000, 3000, 840, 3 },
	};
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		struct burst b = run_burst(1000, cases[i].per_ms, 160, cases[i].answer_us);
		printf("%u in a ms, answers after %u us: %u waited, %u requests, %u ports leased\n", cases[i].per_ms,
		       cases[i].answer_us, b.n_waited, b.n_requests, b.need.n_leased);
		ck_assert_uint_eq(b.n_used, 1000);
		ck_assert_uint_le(b.n_waited, cases[i].waited_max);
		ck_assert_uint_le(b.n_requests, cases[i].requests_max);
		ck_assert_uint_le(b.need.n_leased, 2 * 1000 + SNAT_AHEAD_PORTS);
	}
}
END_TEST

SUITE_MAIN("agent snat demand", who_is_slow_asks_at_half_and_a_burst_asks_early_for_much, growth_that_is_over_fades,
           a_pace_that_goes_on_is_known_all_the_time, what_waits_is_asked_for_and_what_will_come_like_it,
           never_more_is_asked_for_than_a_dip_may_have,
           a_burst_is_covered_by_few_requests_and_what_waits_is_what_begins_before_the_first_answer)
