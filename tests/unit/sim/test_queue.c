// The simulator's clock against a naive model: a sorted array.
#include "tests/sim/queue.h"

#include "tests/sim/random.h"
#include "tests/support/suite.h"

#define EVENTS 3000

START_TEST(an_empty_queue_has_no_event)
{
	struct event_queue q;
	struct event e;
	event_queue_init(&q);
	ck_assert(!event_queue_pop(&q, &e));
	event_queue_push(&q, 5, 1);
	ck_assert(event_queue_pop(&q, &e));
	ck_assert(!event_queue_pop(&q, &e));
	event_queue_fini(&q);
}
END_TEST

START_TEST(events_of_one_time_come_in_the_order_in_which_they_were_pushed)
{
	struct event_queue q;
	struct event e;
	event_queue_init(&q);
	for (uint32_t i = 0; i < 100; i++)
		event_queue_push(&q, 7, i);
	for (uint32_t i = 0; i < 100; i++) {
		ck_assert(event_queue_pop(&q, &e));
		ck_assert_uint_eq(e.what, i);
	}
	event_queue_fini(&q);
}
END_TEST

// The earliest of those that were not taken, the first one pushed of equals.
static uint32_t naive_earliest(const uint64_t *at, const bool *is_taken, uint32_t n)
{
	uint32_t best = UINT32_MAX;
	for (uint32_t i = 0; i < n; i++)
		if (!is_taken[i] && (best == UINT32_MAX || at[i] < at[best]))
			best = i;
	return best;
}

START_TEST(a_queue_gives_what_a_naive_model_gives)
{
	static uint64_t at[EVENTS];
	static bool is_taken[EVENTS];
	for (uint64_t seed = 1; seed <= 3; seed++) {
		struct random r = random_make(seed, 0);
		struct event_queue q;
		uint32_t n_pushed = 0;
		uint32_t n_held = 0;
		event_queue_init(&q);
		while (n_pushed < EVENTS || n_held > 0) {
			struct event e;
			if (n_pushed < EVENTS && (n_held == 0 || random_below(&r, 3) != 0)) {
				at[n_pushed] = random_below(&r, 500);
				is_taken[n_pushed] = false;
				event_queue_push(&q, at[n_pushed], n_pushed);
				n_pushed++;
				n_held++;
				continue;
			}
			uint32_t want = naive_earliest(at, is_taken, n_pushed);
			ck_assert(event_queue_pop(&q, &e));
			ck_assert_msg(e.what == want && e.at_us == at[want], "seed %lu: %u instead of %u", seed, e.what, want);
			is_taken[want] = true;
			n_held--;
		}
		event_queue_fini(&q);
	}
}
END_TEST

SUITE_MAIN("sim-queue", an_empty_queue_has_no_event, events_of_one_time_come_in_the_order_in_which_they_were_pushed,
           a_queue_gives_what_a_naive_model_gives)
