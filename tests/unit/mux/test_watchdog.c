// The watchdog's judgement: who hangs, and that what it did not see is held against nobody.
#include "tests/support/suite.h"

#include "mux/core/watchdog.h"

#define LIMIT_MS 600
#define LOOKS_TO_LIMIT (LIMIT_MS * 1000 / WATCHDOG_LOOK_US)

struct scene {
	struct watchdog watchdog;
	struct watchdog_sight sight;
	struct mono_time now;
};

static struct scene begin(void)
{
	struct scene s = { .sight.turns = { 100, 50 }, .now = mono_from_us(5000000) };
	watchdog_init(&s.watchdog, LIMIT_MS, &s.sight, s.now);
	return s;
}

// `after_us` later, in which the threads made so many turns.
static enum watchdog_verdict look(struct scene *s, uint64_t worker, uint64_t control, uint64_t after_us)
{
	s->sight.turns[WATCHDOG_WORKER] += worker;
	s->sight.turns[WATCHDOG_CONTROL] += control;
	s->now = mono_add_us(s->now, after_us);
	return watchdog_look(&s->watchdog, &s->sight, s->now);
}

static enum watchdog_verdict look_often(struct scene *s, int n, uint64_t worker, uint64_t control)
{
	enum watchdog_verdict verdict = WATCHDOG_MOVES;
	for (int i = 0; i < n && verdict == WATCHDOG_MOVES; i++)
		verdict = look(s, worker, control, WATCHDOG_LOOK_US);
	return verdict;
}

START_TEST(what_moves_is_left_alone)
{
	struct scene s = begin();
	ck_assert_int_eq(look_often(&s, 1000, 7, 1), WATCHDOG_MOVES);
}
END_TEST

START_TEST(a_worker_that_stands_still_hangs_at_the_limit_and_not_before)
{
	struct scene s = begin();
	ck_assert_int_eq(look_often(&s, LOOKS_TO_LIMIT - 1, 0, 1), WATCHDOG_MOVES);
	ck_assert_int_eq(look(&s, 0, 1, WATCHDOG_LOOK_US), WATCHDOG_WORKER_HANGS);
}
END_TEST

START_TEST(a_control_thread_that_stands_still_hangs_at_the_limit_and_not_before)
{
	struct scene s = begin();
	ck_assert_int_eq(look_often(&s, LOOKS_TO_LIMIT - 1, 1, 0), WATCHDOG_MOVES);
	ck_assert_int_eq(look(&s, 1, 0, WATCHDOG_LOOK_US), WATCHDOG_CONTROL_HANGS);
}
END_TEST

START_TEST(one_turn_in_time_is_a_new_beginning)
{
	struct scene s = begin();
	for (int i = 0; i < 10; i++) {
		ck_assert_int_eq(look_often(&s, LOOKS_TO_LIMIT - 1, 0, 0), WATCHDOG_MOVES);
		ck_assert_int_eq(look(&s, 1, 1, WATCHDOG_LOOK_US), WATCHDOG_MOVES);
	}
}
END_TEST

// A machine that was suspended for an hour, or so busy that the watchdog came late each time.
START_TEST(a_late_look_counts_as_one)
{
	struct scene s = begin();
	ck_assert_int_eq(look(&s, 0, 0, 3600000000ull), WATCHDOG_MOVES);
	for (int i = 2; i < LOOKS_TO_LIMIT; i++)
		ck_assert_int_eq(look(&s, 0, 0, 400000), WATCHDOG_MOVES);
	ck_assert_int_eq(look(&s, 0, 0, WATCHDOG_LOOK_US), WATCHDOG_WORKER_HANGS);
}
END_TEST

START_TEST(looks_that_come_early_count_as_what_they_are)
{
	struct scene s = begin();
	for (int i = 1; i < LOOKS_TO_LIMIT * 5; i++)
		ck_assert_int_eq(look(&s, 0, 0, WATCHDOG_LOOK_US / 5), WATCHDOG_MOVES);
	ck_assert_int_eq(look(&s, 0, 0, WATCHDOG_LOOK_US / 5), WATCHDOG_WORKER_HANGS);
}
END_TEST

START_TEST(long_work_gives_the_control_thread_time_and_the_worker_none)
{
	struct scene s = begin();
	s.sight.is_in_long_work = true;
	ck_assert_int_eq(look_often(&s, LOOKS_TO_LIMIT - 1, 0, 0), WATCHDOG_MOVES);
	ck_assert_int_eq(look(&s, 0, 0, WATCHDOG_LOOK_US), WATCHDOG_WORKER_HANGS);
	s = begin();
	s.sight.is_in_long_work = true;
	ck_assert_int_eq(look_often(&s, WATCHDOG_WORK_US / WATCHDOG_LOOK_US - 1, 1, 0), WATCHDOG_MOVES);
	ck_assert_int_eq(look(&s, 1, 0, WATCHDOG_LOOK_US), WATCHDOG_CONTROL_HANGS);
}
END_TEST

START_TEST(after_long_work_the_loop_must_turn_at_once)
{
	struct scene s = begin();
	s.sight.is_in_long_work = true;
	ck_assert_int_eq(look_often(&s, 3 * LOOKS_TO_LIMIT, 1, 0), WATCHDOG_MOVES);
	s.sight.is_in_long_work = false;
	ck_assert_int_eq(look(&s, 1, 1, WATCHDOG_LOOK_US), WATCHDOG_MOVES);
	ck_assert_int_eq(look_often(&s, LOOKS_TO_LIMIT, 1, 0), WATCHDOG_CONTROL_HANGS);
}
END_TEST

SUITE_MAIN("mux watchdog", what_moves_is_left_alone, a_worker_that_stands_still_hangs_at_the_limit_and_not_before,
           a_control_thread_that_stands_still_hangs_at_the_limit_and_not_before, one_turn_in_time_is_a_new_beginning,
           a_late_look_counts_as_one, looks_that_come_early_count_as_what_they_are,
           long_work_gives_the_control_thread_time_and_the_worker_none, after_long_work_the_loop_must_turn_at_once)
