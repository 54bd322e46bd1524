// Which muxes are waited for: stories as tables, and random events with the invariants.
#include "tests/support/suite.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

#include "manager/core/mux_watch.h"

static struct mux_watch watch;

enum event { BEGIN, EXPECT, VERSION, SUBSCRIBE, ACK, CLOSE, FORGET, NOTHING };

struct step {
	uint64_t at_ms;
	enum event event;
	const char *mux;
	uint64_t version;
	uint64_t want_floor;
	const char *want_told; // "mux1 fenced, mux2 free"
};

static const char *const state_names[] = { "expected", "live", "fenced", "down" };

static void run_event(const struct step *s)
{
	struct mono_time now = mono_from_us(s->at_ms * 1000);
	switch (s->event) {
	case BEGIN: mux_watch_begin(&watch, s->version); break;
	case EXPECT: mux_watch_expect(&watch, s->mux, now); break;
	case VERSION: mux_watch_on_version(&watch, s->version, now); break;
	case SUBSCRIBE: mux_watch_on_subscribe(&watch, s->mux, s->version, now); break;
	case ACK: mux_watch_on_ack(&watch, s->mux, s->version); break;
	case CLOSE: mux_watch_on_disconnect(&watch, s->mux, now); break;
	case FORGET: mux_watch_forget(&watch, s->mux); break;
	case NOTHING: break;
	}
}

static void run_story(const char *name, const struct step *steps, uint32_t n)
{
	for (uint32_t i = 0; i < n; i++) {
		char told[256] = "";
		const struct watched_mux *m;
		run_event(&steps[i]);
		while ((m = mux_watch_step(&watch, mono_from_us(steps[i].at_ms * 1000))) != NULL) {
			size_t used = strlen(told);
			(void)text_format(told + used, sizeof told - used, "%s%s %s", used > 0 ? ", " : "", m->name,
			                  m->told == MUX_TOLD_FENCED ? "fenced" : "free");
		}
		ck_assert_msg(strcmp(told, steps[i].want_told) == 0, "%s, step %u: told \"%s\"", name, i, told);
		ck_assert_msg(watch.floor == steps[i].want_floor, "%s, step %u: floor %llu", name, i,
		              (unsigned long long)watch.floor);
	}
}

#define STORY(name, ...)                                                     \
	do {                                                                     \
		static const struct step steps_[] = { __VA_ARGS__ };                 \
		run_story(name, steps_, (uint32_t)(sizeof steps_ / sizeof *steps_)); \
	} while (0)

static void assert_state(const char *mux, enum mux_watch_state want)
{
	const struct watched_mux *m = mux_watch_lookup(&watch, mux);
	ck_assert_ptr_nonnull(m);
	ck_assert_msg(m->state == want, "%s is %s", mux, state_names[m->state]);
}

START_TEST(without_muxes_the_floor_is_the_current_version)
{
	struct mono_time when;
	STORY("no muxes", { 0, BEGIN, "", 7, 7, "" }, { 1, VERSION, "", 8, 8, "" });
	ck_assert(!mux_watch_next_time(&watch, &when));
}
END_TEST

START_TEST(the_floor_is_what_every_live_mux_has_acknowledged)
{
	STORY("two muxes", { 0, BEGIN, "", 7, 7, "" }, { 1, SUBSCRIBE, "mux1", 7, 7, "mux1 free" },
	      { 2, SUBSCRIBE, "mux2", 0, 7, "" }, { 3, VERSION, "", 8, 7, "" }, { 4, ACK, "mux1", 8, 7, "" },
	      { 5, ACK, "mux2", 7, 7, "mux2 free" }, { 6, ACK, "mux2", 8, 8, "" });
}
END_TEST

START_TEST(registered_muxes_are_expected_for_three_seconds)
{
	STORY("leader change", { 0, BEGIN, "", 7, 7, "" }, { 0, BEGIN, "", 7, 7, "" });
	mux_watch_begin(&watch, 7);
	mux_watch_expect(&watch, "mux1", mono_from_us(0));
	mux_watch_expect(&watch, "mux2", mono_from_us(0));
	STORY("leader change", { 10, NOTHING, "", 0, 0, "" }, { 20, SUBSCRIBE, "mux1", 7, 0, "mux1 free" },
	      { 100, VERSION, "", 8, 0, "" }, { 101, ACK, "mux1", 8, 0, "" }, { 2999, NOTHING, "", 0, 0, "" },
	      { 3000, NOTHING, "", 0, 8, "" });
	assert_state("mux2", MUX_DOWN);
	STORY("and comes at last", { 4000, SUBSCRIBE, "mux2", 5, 8, "" }, { 4001, VERSION, "", 9, 8, "" },
	      { 4002, ACK, "mux1", 9, 8, "" }, { 4003, ACK, "mux2", 9, 9, "mux2 free" });
}
END_TEST

START_TEST(a_late_mux_is_fenced_and_free_again_when_it_has_caught_up)
{
	STORY("late", { 0, BEGIN, "", 1, 1, "" }, { 0, SUBSCRIBE, "mux1", 1, 1, "mux1 free" },
	      { 0, SUBSCRIBE, "mux2", 1, 1, "mux2 free" }, { 1000, VERSION, "", 2, 1, "" }, { 1001, ACK, "mux1", 2, 1, "" },
	      { 1400, VERSION, "", 3, 1, "" }, { 1401, ACK, "mux1", 3, 1, "" }, { 1499, NOTHING, "", 0, 1, "" },
	      { 1500, NOTHING, "", 0, 3, "mux2 fenced" }, { 1600, VERSION, "", 4, 3, "" }, { 1601, ACK, "mux1", 4, 4, "" },
	      { 1700, ACK, "mux2", 3, 4, "" });
	assert_state("mux2", MUX_FENCED);
	STORY("caught up", { 1800, ACK, "mux2", 4, 4, "mux2 free" }, { 1801, VERSION, "", 5, 4, "" },
	      { 1802, ACK, "mux1", 5, 4, "" }, { 1803, ACK, "mux2", 5, 5, "" });
}
END_TEST

START_TEST(the_last_mux_is_waited_for_as_long_as_it_is_connected)
{
	STORY("all late", { 0, BEGIN, "", 1, 1, "" }, { 0, SUBSCRIBE, "mux1", 1, 1, "mux1 free" },
	      { 0, SUBSCRIBE, "mux2", 1, 1, "mux2 free" }, { 100, VERSION, "", 2, 1, "" }, { 200, VERSION, "", 3, 1, "" },
	      { 201, ACK, "mux2", 2, 1, "" }, { 900, NOTHING, "", 0, 2, "mux1 fenced" }, { 9000, NOTHING, "", 0, 2, "" });
	assert_state("mux2", MUX_LIVE);
	STORY("gone", { 9001, CLOSE, "mux2", 0, 3, "" });
	assert_state("mux2", MUX_DOWN);
}
END_TEST

START_TEST(a_closed_connection_is_waited_for_half_a_second)
{
	STORY("closed", { 0, BEGIN, "", 1, 1, "" }, { 0, SUBSCRIBE, "mux1", 1, 1, "mux1 free" },
	      { 0, SUBSCRIBE, "mux2", 1, 1, "mux2 free" }, { 1000, CLOSE, "mux2", 0, 1, "" },
	      { 1100, VERSION, "", 2, 1, "" }, { 1101, ACK, "mux1", 2, 1, "" }, { 1499, NOTHING, "", 0, 1, "" },
	      { 1500, NOTHING, "", 0, 2, "" });
	assert_state("mux2", MUX_DOWN);
}
END_TEST

START_TEST(one_that_comes_and_goes_gets_no_more_time_by_that)
{
	STORY("flapping", { 0, BEGIN, "", 1, 1, "" }, { 0, SUBSCRIBE, "mux1", 1, 1, "mux1 free" },
	      { 0, SUBSCRIBE, "mux2", 1, 1, "mux2 free" }, { 1000, VERSION, "", 2, 1, "" }, { 1001, ACK, "mux1", 2, 1, "" },
	      { 1200, CLOSE, "mux2", 0, 1, "" }, { 1300, SUBSCRIBE, "mux2", 1, 1, "mux2 free" },
	      { 1350, CLOSE, "mux2", 0, 1, "" }, { 1400, SUBSCRIBE, "mux2", 0, 1, "" },
	      { 1500, NOTHING, "", 0, 2, "mux2 fenced" }, { 1600, CLOSE, "mux2", 0, 2, "" },
	      { 1700, SUBSCRIBE, "mux2", 0, 2, "mux2 fenced" });
	assert_state("mux2", MUX_FENCED);
}
END_TEST

START_TEST(a_removed_mux_is_not_waited_for)
{
	STORY("removed", { 0, BEGIN, "", 1, 1, "" }, { 0, SUBSCRIBE, "mux1", 1, 1, "mux1 free" },
	      { 0, SUBSCRIBE, "mux2", 1, 1, "mux2 free" }, { 10, CLOSE, "mux2", 0, 1, "" }, { 11, VERSION, "", 2, 1, "" },
	      { 12, ACK, "mux1", 2, 1, "" }, { 13, FORGET, "mux2", 0, 2, "" });
	ck_assert_ptr_null(mux_watch_lookup(&watch, "mux2"));
}
END_TEST

START_TEST(no_more_muxes_are_fenced_than_the_share_of_the_pool)
{
	struct mono_time when;
	STORY("three of four are late", { 0, BEGIN, "", 1, 1, "" }, { 0, SUBSCRIBE, "mux1", 1, 1, "mux1 free" },
	      { 0, SUBSCRIBE, "mux2", 1, 1, "mux2 free" }, { 0, SUBSCRIBE, "mux3", 1, 1, "mux3 free" },
	      { 0, SUBSCRIBE, "mux4", 1, 1, "mux4 free" }, { 1000, VERSION, "", 2, 1, "" }, { 1001, ACK, "mux1", 2, 1, "" },
	      { 1500, NOTHING, "", 0, 1, "" });
	ck_assert(!mux_watch_next_time(&watch, &when)); // they are waited for
	STORY("then two of four", { 1600, ACK, "mux2", 2, 2, "mux3 fenced, mux4 fenced" }, { 1700, VERSION, "", 3, 2, "" },
	      { 1701, ACK, "mux1", 3, 2, "" }, { 2300, NOTHING, "", 0, 2, "" });
	assert_state("mux2", MUX_LIVE); // a third one
	ck_assert(!mux_watch_next_time(&watch, &when));
	STORY("until one of them has caught up", { 2400, ACK, "mux3", 3, 3, "mux2 fenced, mux3 free" });
	STORY("a removed one makes the pool smaller", { 2500, FORGET, "mux4", 0, 3, "" }, { 2600, VERSION, "", 4, 3, "" },
	      { 2601, ACK, "mux1", 4, 3, "" }, { 3200, NOTHING, "", 0, 3, "" },
	      { 3201, ACK, "mux2", 4, 4, "mux2 free, mux3 fenced" });
}
END_TEST

START_TEST(those_furthest_behind_are_fenced_when_that_helps)
{
	STORY("two behind by one version, one by two", { 0, BEGIN, "", 1, 1, "" },
	      { 0, SUBSCRIBE, "mux1", 1, 1, "mux1 free" }, { 0, SUBSCRIBE, "mux2", 1, 1, "mux2 free" },
	      { 0, SUBSCRIBE, "mux3", 1, 1, "mux3 free" }, { 1000, VERSION, "", 2, 1, "" }, { 1010, VERSION, "", 3, 1, "" },
	      { 1011, ACK, "mux1", 2, 1, "" }, { 1012, ACK, "mux3", 2, 1, "" }, { 1505, NOTHING, "", 0, 2, "mux2 fenced" },
	      { 1600, NOTHING, "", 0, 2, "" }, { 1601, ACK, "mux2", 2, 2, "mux2 free" },
	      { 1700, ACK, "mux1", 3, 2, "mux3 fenced" }, { 1701, ACK, "mux2", 3, 3, "" });
}
END_TEST

START_TEST(a_fenced_mux_has_to_catch_up_also_when_the_floor_stays)
{
	mux_watch_begin(&watch, 7);
	mux_watch_expect(&watch, "mux0", mono_from_us(0));
	STORY("mux0 holds the floor", { 0, SUBSCRIBE, "mux1", 7, 0, "mux1 free" },
	      { 0, SUBSCRIBE, "mux2", 7, 0, "mux2 free" }, { 100, VERSION, "", 8, 0, "" }, { 101, ACK, "mux1", 8, 0, "" },
	      { 600, NOTHING, "", 0, 0, "mux2 fenced" }, { 700, NOTHING, "", 0, 0, "" },
	      { 800, ACK, "mux2", 8, 0, "mux2 free" });
}
END_TEST

START_TEST(the_share_is_a_setting)
{
	STORY("none", { 0, BEGIN, "", 1, 1, "" });
	mux_watch_set_withdraw_percent(&watch, 0);
	STORY("none", { 0, SUBSCRIBE, "mux1", 1, 1, "mux1 free" }, { 0, SUBSCRIBE, "mux2", 1, 1, "mux2 free" },
	      { 0, SUBSCRIBE, "mux3", 1, 1, "mux3 free" }, { 100, VERSION, "", 2, 1, "" }, { 101, ACK, "mux1", 2, 1, "" },
	      { 102, ACK, "mux3", 2, 1, "" }, { 9000, NOTHING, "", 0, 1, "" });
	mux_watch_set_withdraw_percent(&watch, 33); // of three: less than one
	STORY("less than one", { 9001, NOTHING, "", 0, 1, "" });
	mux_watch_set_withdraw_percent(&watch, 34);
	STORY("one", { 9002, NOTHING, "", 0, 2, "mux2 fenced" });
	mux_watch_set_withdraw_percent(&watch, 0);
	STORY("who is fenced stays fenced", { 9003, NOTHING, "", 0, 2, "" });
	assert_state("mux2", MUX_FENCED);
}
END_TEST

// ---- random events ----

enum { N_MUXES = 5, N_STEPS = 300000, SLACK_US = 5000 };

struct history { // when each version became current, and since when the one after the floor has been
	uint64_t version;
	uint64_t since_us[N_STEPS + 2];
};

static void check_floor(const struct history *h, uint64_t before, uint64_t now_us)
{
	bool has_counted = false;
	ck_assert_uint_ge(watch.floor, before);
	ck_assert_uint_le(watch.floor, watch.version);
	for (uint32_t i = 0; i < watch.n; i++) {
		const struct watched_mux *m = &watch.items[i];
		bool is_counted = m->state == MUX_LIVE || m->state == MUX_EXPECTED;
		has_counted = has_counted || is_counted;
		ck_assert(!is_counted || watch.floor <= m->acked || watch.floor == before);
		ck_assert(m->state != MUX_FENCED || !m->is_connected || m->acked < watch.floor || m->acked <= m->late_at);
	}
	ck_assert(has_counted || watch.floor == watch.version);
	// Nobody keeps a version from being told for longer than the deadline, but for those that may not all be fenced.
	bool has_waited = watch.floor < watch.version && now_us > h->since_us[watch.floor + 1] + 500000 + SLACK_US;
	if (!has_waited)
		return;
	uint32_t n_late = 0;
	for (uint32_t i = 0; i < watch.n; i++) {
		const struct watched_mux *m = &watch.items[i];
		bool holds = (m->state == MUX_LIVE || m->state == MUX_EXPECTED) && m->acked == watch.floor;
		bool is_young = now_us < m->since.us + 500000; // it came, or came back, since
		ck_assert(!holds || is_young || m->state == MUX_LIVE);
		n_late += holds && !is_young;
	}
	uint32_t n_live = mux_watch_n(&watch, MUX_LIVE);
	bool are_few = (mux_watch_n(&watch, MUX_FENCED) + n_late) * 100 <= watch.withdraw_percent * watch.n;
	ck_assert(n_late == 0 || n_late >= n_live || !are_few);
}

START_TEST(the_floor_never_falls_and_nobody_is_waited_for_beyond_the_deadline)
{
	static struct history h;
	unsigned seed = (unsigned)time(NULL);
	uint64_t now_us = 1000000;
	uint64_t held[N_MUXES] = { 0 };
	printf("seed %u\n", seed);
	srand(seed);
	mux_watch_begin(&watch, 0);
	mux_watch_set_withdraw_percent(&watch, (uint32_t)rand() % 5 * 25);
	for (uint32_t step = 0; step < N_STEPS; step++) {
		char name[16];
		uint32_t i = (uint32_t)rand() % N_MUXES;
		(void)text_format(name, sizeof name, "mux%u", i);
		const struct watched_mux *known = mux_watch_lookup(&watch, name);
		bool is_connected = known != NULL && known->is_connected;
		struct mono_time now = mono_from_us(now_us += (uint64_t)rand() % 40000);
		uint64_t floor = watch.floor;
		int event = rand() % 32;
		if (event < 8) {
			h.since_us[++h.version] = now_us;
			mux_watch_on_version(&watch, h.version, now);
		} else if (event < 28) {
			held[i] += held[i] < h.version ? 1 + (uint64_t)rand() % (h.version - held[i]) : 0;
			mux_watch_on_ack(&watch, name, held[i]);
		} else if (event < 30 && is_connected) {
			mux_watch_on_disconnect(&watch, name, now);
		} else if (event < 31 && !is_connected) {
			held[i] = rand() % 4 == 0 ? 0 : held[i];
			mux_watch_on_subscribe(&watch, name, held[i], now);
		} else if (rand() % 100 == 0 && !is_connected) {
			mux_watch_forget(&watch, name);
		}
		uint32_t n_fenced = mux_watch_n(&watch, MUX_FENCED);
		while (mux_watch_step(&watch, now) != NULL) {
		}
		bool is_more = mux_watch_n(&watch, MUX_FENCED) > n_fenced;
		ck_assert(!is_more || mux_watch_n(&watch, MUX_FENCED) * 100 <= watch.withdraw_percent * watch.n);
		check_floor(&h, floor, now_us);
		struct mono_time when;
		if (mux_watch_next_time(&watch, &when))
			ck_assert(mono_is_before(now, when));
	}
}
END_TEST

SUITE_MAIN("mux-watch", without_muxes_the_floor_is_the_current_version,
           the_floor_is_what_every_live_mux_has_acknowledged, registered_muxes_are_expected_for_three_seconds,
           a_late_mux_is_fenced_and_free_again_when_it_has_caught_up,
           the_last_mux_is_waited_for_as_long_as_it_is_connected, a_closed_connection_is_waited_for_half_a_second,
           one_that_comes_and_goes_gets_no_more_time_by_that, a_removed_mux_is_not_waited_for,
           no_more_muxes_are_fenced_than_the_share_of_the_pool, those_furthest_behind_are_fenced_when_that_helps,
           a_fenced_mux_has_to_catch_up_also_when_the_floor_stays, the_share_is_a_setting,
           the_floor_never_falls_and_nobody_is_waited_for_beyond_the_deadline)
