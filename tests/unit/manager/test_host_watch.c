// Which hosts are gone: stories as tables, and random events against a naive model.
#include "tests/support/suite.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

#include "common/base/memory.h"
#include "manager/core/host_watch.h"
#include "tests/unit/manager/objects.h"

enum { N_HOSTS = 10 };

static struct cluster_state state;
static struct host_watch watch;

static struct mono_time at_ms(uint64_t ms)
{
	return mono_from_us(1000000 + ms * 1000);
}

static const char *host_name(unsigned i)
{
	static char name[16];
	(void)text_format(name, sizeof name, "h%u", i);
	return name;
}

static void begin(unsigned n_hosts, const char *more)
{
	ck_assert_int_eq(cluster_state_init(&state), 0);
	must_apply(&state, "cluster 7");
	for (unsigned i = 0; i < n_hosts; i++) {
		char text[64];
		(void)text_format(text, sizeof text, "host h%u 10.0.0.%u", i, i + 1);
		must_apply(&state, text);
	}
	must_apply(&state, more);
	host_watch_init(&watch);
	ck_assert_int_eq(host_watch_begin(&watch, &state.store, at_ms(0)), 0);
}

static void end(void)
{
	host_watch_fini(&watch);
	cluster_state_fini(&state);
}

// ---- stories ----

struct step {
	uint64_t at_ms;
	const char *event; // "+h1 -h2": these connect, and disconnect; "!h1": forgotten; "=...": a command
	const char *want; // "h1 (5.0), fail-static": what is to be marked, and after how long; events
	uint64_t want_next_ms; // 0: never
};

static void run_word(const char *word, struct mono_time now)
{
	if (word[0] == '+')
		ck_assert_int_eq(host_watch_on_connect(&watch, word + 1, now), 0);
	else if (word[0] == '-')
		host_watch_on_disconnect(&watch, word + 1, now);
	else if (word[0] == '!')
		host_watch_forget(&watch, word + 1);
	else
		ck_abort_msg("%s", word);
}

static void run_event(const char *event, struct mono_time now)
{
	char copy[128];
	char *rest = NULL;
	if (event[0] == '=') {
		must_apply(&state, event + 1);
		return;
	}
	ck_assert(text_copy(copy, sizeof copy, event));
	for (char *word = strtok_r(copy, " ", &rest); word != NULL; word = strtok_r(NULL, " ", &rest))
		run_word(word, now);
}

static void add_mark(char *buf, size_t size, const struct change *c)
{
	double seconds = 0;
	size_t used = strlen(buf);
	ck_assert(c->key.kind == OBJECT_HOST_GONE && !c->is_delete);
	ck_assert_int_eq(sscanf(c->mark.cause, "agent not connected for %lf s", &seconds), 1);
	(void)text_format(buf + used, size - used, "%s%s (%.1f)", used > 0 ? ", " : "", c->key.name, seconds);
}

static const char *step_text(struct mono_time now, uint32_t max)
{
	static char buf[512];
	struct change_list changes = { 0 };
	struct event_list events = { 0 };
	buf[0] = '\0';
	ck_assert_int_eq(host_watch_step(&watch, &state.store, now, max, &changes, &events), 0);
	ck_assert_uint_le(changes.n, max);
	for (uint32_t i = 0; i < changes.n; i++)
		add_mark(buf, sizeof buf, &changes.items[i]);
	for (uint32_t i = 0; i < events.n; i++) {
		size_t used = strlen(buf);
		(void)text_format(buf + used, sizeof buf - used, "%s%s: %s", used > 0 ? ", " : "", events.items[i].what,
		                  events.items[i].cause);
	}
	change_list_fini(&changes);
	event_list_fini(&events);
	return buf;
}

static void run_story(const char *name, const struct step *steps, uint32_t n)
{
	for (uint32_t i = 0; i < n; i++) {
		struct mono_time now = at_ms(steps[i].at_ms);
		struct mono_time when = at_ms(0);
		run_event(steps[i].event, now);
		const char *text = step_text(now, 3);
		ck_assert_msg(strcmp(text, steps[i].want) == 0, "%s, step %u: %s", name, i, text);
		bool has_next = host_watch_next_time(&watch, &state.store.settings, &when);
		uint64_t next_ms = has_next ? (when.us - 1000000) / 1000 : 0;
		ck_assert_msg(next_ms == steps[i].want_next_ms, "%s, step %u: next at %llu", name, i,
		              (unsigned long long)next_ms);
	}
}

#define STORY(name, ...)                                                     \
	do {                                                                     \
		static const struct step steps_[] = { __VA_ARGS__ };                 \
		run_story(name, steps_, (uint32_t)(sizeof steps_ / sizeof *steps_)); \
	} while (0)

START_TEST(a_host_is_marked_when_its_agent_was_not_connected_for_so_long)
{
	begin(4, "");
	STORY("one goes", { 10, "+h0 +h1 +h2 +h3", "", 0 }, { 1000, "-h1", "", 3000 }, { 1500, "-h1", "", 3000 },
	      { 2999, "", "", 3000 }, { 3000, "", "h1 (2.0)", 4000 }, { 3500, "=gone h1", "", 4000 },
	      { 4000, "", "", 14000 }, { 14000, "", "", 24000 }, { 15000, "+h1", "", 0 }, { 15001, "=-gone h1", "", 0 },
	      { 16000, "-h1", "", 18000 }, { 18000, "", "h1 (2.0)", 19000 });
	STORY("what was proposed and did not happen is proposed again", { 19000, "", "h1 (3.0)", 20000 },
	      { 20100, "", "h1 (4.1)", 21100 });
	STORY("back before it was marked", { 20200, "+h1", "", 0 }, { 20300, "-h2", "", 22300 }, { 22299, "+h2", "", 0 });
	STORY("a mark that should be there and is not", { 23000, "-h3", "", 25000 }, { 25000, "=gone h3", "", 35000 },
	      { 25001, "=-gone h3", "", 35000 }, { 35000, "", "h3 (12.0)", 36000 });
	end();
}
END_TEST

START_TEST(a_new_leader_gives_agents_time_to_find_it)
{
	begin(4, "gone h3");
	STORY("begin", { 0, "", "", 5000 }, { 100, "+h0 +h2", "", 5000 }, { 4999, "", "", 5000 },
	      { 5000, "", "h1 (5.0)", 6000 });
	STORY("h3 was marked by an earlier leader", { 5001, "=gone h1", "", 6000 }, { 6000, "", "", 15000 });
	STORY("who leaves meanwhile is not given it", { 6500, "-h2", "", 8500 }, { 7000, "+h1 +h3", "", 8500 },
	      { 8500, "", "h2 (2.0)", 9500 });
	end();
}
END_TEST

START_TEST(hosts_join_and_are_removed)
{
	begin(2, "");
	STORY("join", { 10, "+h0 +h1 +new", "", 0 }, { 20, "-new", "", 2020 }, { 30, "!new !nobody", "", 0 },
	      { 40, "+a +z +m", "", 0 }, { 50, "-m", "", 2050 }, { 60, "-z -nobody", "", 2050 },
	      { 2050, "", "m (2.0)", 2060 }, { 2060, "!m", "z (2.0)", 3060 });
	ck_assert_uint_eq(watch.n, 4);
	ck_assert_uint_eq(host_watch_n_away(&watch), 1);
	end();
}
END_TEST

START_TEST(when_too_many_are_away_nobody_is_marked)
{
	begin(4, "");
	STORY("all come, three leave", { 10, "+h0 +h1 +h2 +h3", "", 0 }, { 1000, "-h0", "", 3000 },
	      { 1500, "-h1", "", 3000 }, { 2000, "-h2", "", 3000 },
	      { 3000, "", "fail-static: 3 of 4 hosts are not connected, more than 50 %: no more of them are taken for gone",
	        0 },
	      { 9000, "", "", 0 }, { 9500, "-h3", "", 0 }, { 9600, "+h3", "", 0 });
	STORY("one comes back, the others are given time",
	      { 10000, "+h1", "fail-static-over: 2 of 4 hosts are not connected", 12000 }, { 11999, "", "", 12000 },
	      { 12000, "", "h0 (11.0), h2 (10.0)", 13000 });
	STORY("those that are marked count", { 12500, "=gone h0 ; gone h2", "", 13000 }, { 13000, "-h1", "", 15000 },
	      { 15000, "",
	        "fail-static: 3 of 4 hosts are not connected, more than 50 %: no more of them are taken for gone", 0 });
	STORY("the share is a setting",
	      { 15100, "=settings 60 fail_static=75", "fail-static-over: 3 of 4 hosts are not connected", 17100 },
	      { 17100, "", "h1 (4.1)", 18100 });
	end();
}
END_TEST

START_TEST(a_new_leader_that_few_agents_find_marks_nobody)
{
	begin(4, "");
	STORY("begin", { 100, "+h0", "", 5000 },
	      { 5000, "", "fail-static: 3 of 4 hosts are not connected, more than 50 %: no more of them are taken for gone",
	        0 },
	      { 6000, "+h1", "fail-static-over: 2 of 4 hosts are not connected", 8000 },
	      { 8000, "", "h2 (8.0), h3 (8.0)", 9000 });
	end();
}
END_TEST

START_TEST(with_0_ms_nobody_is_ever_marked)
{
	begin(4, "settings 60 host_gone_ms=0");
	STORY("never", { 10, "+h0 +h1", "", 0 }, { 20, "-h0", "", 0 }, { 3600000, "", "", 0 });
	STORY("until it is set", { 3600001, "+h2 +h3", "", 0 },
	      { 3600002, "=settings 60 host_gone_ms=1000", "h0 (3600.0)", 3601002 });
	STORY("and taken back", { 3600003, "=settings 60 host_gone_ms=0", "", 0 });
	end();
}
END_TEST

START_TEST(a_step_gives_no_more_than_asked_for)
{
	begin(N_HOSTS, "");
	for (unsigned i = 0; i < N_HOSTS; i++)
		ck_assert_int_eq(host_watch_on_connect(&watch, host_name(i), at_ms(1)), 0);
	STORY("five leave", { 10, "-h0 -h1 -h2 -h3 -h4", "", 2010 }, { 2010, "", "h0 (2.0), h1 (2.0), h2 (2.0)", 2010 },
	      { 2011, "", "h3 (2.0), h4 (2.0)", 3010 });
	end();
}
END_TEST

START_TEST(short_memory_is_reported_and_loses_nobody)
{
	begin(4, "");
	for (uint64_t n = 0;; n++) {
		memory_fail_after(n);
		int code = host_watch_begin(&watch, &state.store, at_ms(0));
		memory_fail_after(UINT64_MAX);
		if (code == 0)
			break;
		ck_assert_int_eq(code, ERR_NO_MEMORY);
		ck_assert_uint_eq(watch.n, 0);
	}
	STORY("two stay away", { 10, "+h0 +h1", "", 5000 });
	struct change_list changes = { 0 };
	struct event_list events = { 0 };
	memory_fail_after(0);
	ck_assert_int_eq(host_watch_step(&watch, &state.store, at_ms(5000), 9, &changes, &events), ERR_NO_MEMORY);
	memory_fail_after(UINT64_MAX);
	ck_assert_uint_eq(changes.n, 0);
	STORY("later", { 5001, "", "h2 (5.0), h3 (5.0)", 6001 });
	end();
}
END_TEST

// ---- random events ----

enum { N_STEPS = 100000 };

struct model_host {
	bool is_watched;
	bool is_connected;
	bool is_marked; // in the state
	bool is_expected;
	bool is_proposed;
	uint64_t since_us; // away, or proposed, or given time anew
};

struct model {
	bool is_static;
	struct model_host hosts[N_HOSTS];
};

static unsigned pick(unsigned *seed, unsigned n)
{
	return (unsigned)rand_r(seed) % n;
}

static bool is_over(const struct model_host *h, uint64_t gone_us, uint64_t now_us)
{
	uint64_t stay_us = h->is_proposed ? 1000000 : h->is_expected ? gone_us + 3000000 : gone_us;
	return h->is_watched && !h->is_connected && now_us >= h->since_us + stay_us;
}

// Who is to be marked, as a bit each; *ret_event 1: it becomes static, 2: that is over, 3: both.
static unsigned model_step(struct model *m, uint64_t gone_us, unsigned percent, uint64_t now_us, unsigned *ret_event)
{
	unsigned n = 0, n_away = 0, due = 0;
	*ret_event = 0;
	for (unsigned i = 0; i < N_HOSTS; i++) {
		n += m->hosts[i].is_watched;
		n_away += m->hosts[i].is_watched && !m->hosts[i].is_connected;
	}
	bool is_cut_off = gone_us > 0 && n_away * 100 > percent * n;
	if (m->is_static && !is_cut_off) {
		m->is_static = false;
		*ret_event |= 2;
		for (unsigned i = 0; i < N_HOSTS; i++)
			if (gone_us > 0 && is_over(&m->hosts[i], gone_us, now_us)) {
				m->hosts[i].is_proposed = m->hosts[i].is_expected = false;
				m->hosts[i].since_us = now_us;
			}
	}
	for (unsigned i = 0; i < N_HOSTS && !m->is_static && gone_us > 0; i++)
		due |= (unsigned)(is_over(&m->hosts[i], gone_us, now_us) && !m->hosts[i].is_marked) << i;
	if (due != 0 && is_cut_off) {
		m->is_static = true;
		*ret_event |= 1;
		return 0;
	}
	for (unsigned i = 0; i < N_HOSTS; i++)
		if ((due >> i & 1) != 0) {
			m->hosts[i].is_proposed = true;
			m->hosts[i].since_us = now_us;
		}
	return due;
}

static unsigned watch_step(uint64_t now_us, unsigned *ret_event)
{
	struct change_list changes = { 0 };
	struct event_list events = { 0 };
	unsigned due = 0;
	*ret_event = 0;
	ck_assert_int_eq(host_watch_step(&watch, &state.store, mono_from_us(now_us), 100, &changes, &events), 0);
	for (uint32_t i = 0; i < changes.n; i++)
		due |= 1u << atoi(changes.items[i].key.name + 1);
	for (uint32_t i = 0; i < events.n; i++)
		*ret_event |= strcmp(events.items[i].what, "fail-static") == 0 ? 1 : 2;
	change_list_fini(&changes);
	event_list_fini(&events);
	return due;
}

static void set_mark(struct model *m, unsigned i, bool is_put)
{
	char text[32];
	(void)text_format(text, sizeof text, "%sgone h%u", is_put ? "" : "-", i);
	must_apply(&state, text);
	m->hosts[i].is_marked = is_put;
}

static void random_event(struct model *m, unsigned *seed, uint64_t now_us)
{
	unsigned i = pick(seed, N_HOSTS);
	struct model_host *h = &m->hosts[i];
	struct mono_time now = mono_from_us(now_us);
	unsigned event = pick(seed, 100);
	if (event < 40) {
		ck_assert_int_eq(host_watch_on_connect(&watch, host_name(i), now), 0);
		*h = (struct model_host){ .is_watched = true, .is_connected = true, .is_marked = h->is_marked };
	} else if (event < 65) {
		host_watch_on_disconnect(&watch, host_name(i), now);
		if (h->is_connected)
			*h = (struct model_host){ .is_watched = true, .is_marked = h->is_marked, .since_us = now_us };
	} else if (event < 67 && !h->is_connected) {
		host_watch_forget(&watch, host_name(i));
		set_mark(m, i, false);
		*h = (struct model_host){ 0 };
	} else if (event < 80 && h->is_proposed) {
		set_mark(m, i, true); // also late, when it is connected again
	} else if (event < 90 && h->is_connected && h->is_marked) {
		set_mark(m, i, false); // its whole report
	}
}

static void check_next_time(uint64_t now_us)
{
	struct mono_time when = mono_from_us(now_us + 3600000000);
	unsigned event;
	if (host_watch_next_time(&watch, &state.store.settings, &when))
		ck_assert_uint_gt(when.us, now_us);
	ck_assert_uint_eq(watch_step(when.us - 1, &event), 0);
	ck_assert_uint_eq(event, 0);
}

START_TEST(random_events_mark_the_hosts_that_a_naive_model_marks)
{
	static const unsigned gone_ms[] = { 0, 500, 2000, 2000, 2000 };
	static const unsigned percents[] = { 30, 50, 50, 80 };
	const char *env = getenv("ANANTA_TEST_SEED");
	unsigned seed = env != NULL ? (unsigned)strtoul(env, NULL, 10) : (unsigned)time(NULL);
	struct model m = { 0 };
	uint64_t now_us = 1000000;
	unsigned gone = 2000, percent = 50, n_marks = 0, n_static = 0;
	printf("seed %u (repeat with ANANTA_TEST_SEED=%u)\n", seed, seed);
	begin(N_HOSTS, "");
	for (unsigned i = 0; i < N_HOSTS; i++)
		m.hosts[i] = (struct model_host){ .is_watched = true, .is_expected = true, .since_us = now_us };
	for (unsigned step = 0; step < N_STEPS; step++) {
		unsigned event, want_event;
		now_us += pick(&seed, 20) == 0 ? pick(&seed, 3000000) : pick(&seed, 300000);
		if (pick(&seed, 200) == 0) {
			char text[96];
			gone = gone_ms[pick(&seed, 5)];
			percent = percents[pick(&seed, 4)];
			(void)text_format(text, sizeof text, "settings 60 host_gone_ms=%u fail_static=%u", gone, percent);
			must_apply(&state, text);
		}
		random_event(&m, &seed, now_us);
		unsigned want = model_step(&m, gone * 1000ULL, percent, now_us, &want_event);
		unsigned due = watch_step(now_us, &event);
		ck_assert_msg(due == want && event == want_event, "step %u: %x %u, want %x %u", step, due, event, want,
		              want_event);
		check_next_time(now_us);
		n_marks += due != 0;
		n_static += event & 1;
	}
	printf("%u steps marked hosts, %u times it became static\n", n_marks, n_static);
	ck_assert_uint_gt(n_marks, N_STEPS / 100);
	ck_assert_uint_gt(n_static, N_STEPS / 1000);
	end();
}
END_TEST

SUITE_MAIN("host_watch", a_host_is_marked_when_its_agent_was_not_connected_for_so_long,
           a_new_leader_gives_agents_time_to_find_it, hosts_join_and_are_removed,
           when_too_many_are_away_nobody_is_marked, a_new_leader_that_few_agents_find_marks_nobody,
           with_0_ms_nobody_is_ever_marked, a_step_gives_no_more_than_asked_for,
           short_memory_is_reported_and_loses_nobody, random_events_mark_the_hosts_that_a_naive_model_marks)
