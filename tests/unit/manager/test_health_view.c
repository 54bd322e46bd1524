// What agents say becomes marks: stories as tables; and random worlds of agents that see the state late, in which the marks come
// to be what the agents' probes say.
#include "tests/support/suite.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

#include "common/base/memory.h"
#include "manager/core/health_view.h"
#include "tests/unit/manager/objects.h"

static struct cluster_state state;
static struct health_view view;

#define WEB "vip 203.0.113.10 shop web tcp 80 probe=0 10.1.1.11:1 10.1.1.12:1 10.1.2.13:1"

static void begin(void)
{
	health_view_init(&view);
	ck_assert_int_eq(cluster_state_init(&state), 0);
	must_apply(&state, "cluster 7 ; host host1 10.0.0.21 ; host host2 10.0.0.22");
	must_apply(&state,
	           "dip 10.1.1.11 host1 vm1 if1 02:00:00:00:00:11 ; dip 10.1.1.12 host1 vm2 if2 02:00:00:00:00:12 ; "
	           "dip 10.1.2.13 host2 vm3 if3 02:00:00:00:00:13");
	must_apply(&state, WEB " ; vip 203.0.113.11 shop dns udp 53 probe=1 10.1.1.11:1");
}

static void end(void)
{
	health_view_fini(&view);
	cluster_state_fini(&state);
}

// ---- stories ----

// "11 web down": of DIP 10.1.1.11 (13: 10.1.2.13), endpoint web or dns.
static struct probe_result result_of(const char *dip, const char *endpoint, const char *word)
{
	bool is_web = strcmp(endpoint, "web") == 0;
	char text[32];
	struct probe_result r = { .protocol = is_web ? 6 : 17,
		                      .port = is_web ? 80 : 53,
		                      .is_healthy = strcmp(word, "up") == 0 };
	(void)text_format(text, sizeof text, "10.1.%s.%s", strcmp(dip, "13") == 0 ? "2" : "1", dip);
	r.dip = addr_of(text);
	r.vip = addr_of(is_web ? "203.0.113.10" : "203.0.113.11");
	if (!r.is_healthy)
		ck_assert(text_copy(r.cause, sizeof r.cause, "refused"));
	return r;
}

// "host1 whole 11 web down 12 web up"
static void report(const char *text)
{
	struct health_report r = { 0 };
	char copy[256];
	char *rest = NULL;
	ck_assert(text_copy(copy, sizeof copy, text));
	const char *host = strtok_r(copy, " ", &rest);
	for (const char *word; (word = strtok_r(NULL, " ", &rest)) != NULL;) {
		if (strcmp(word, "whole") == 0) {
			r.is_whole = true;
			continue;
		}
		const char *endpoint = strtok_r(NULL, " ", &rest);
		struct probe_result result = result_of(word, endpoint, strtok_r(NULL, " ", &rest));
		ck_assert_int_eq(health_report_append(&r, &result), 0);
	}
	ck_assert_int_eq(health_view_on_report(&view, host, &r), 0);
	health_report_fini(&r);
}

static void change_state(const char *command)
{
	struct change_list changes = changes_of(command);
	must_apply(&state, command);
	for (uint32_t i = 0; i < changes.n; i++)
		health_view_on_change(&view, &state, &changes.items[i].key);
	change_list_fini(&changes);
}

static const char *changes_text(const struct change_list *changes)
{
	static char buf[1024];
	buf[0] = '\0';
	for (uint32_t i = 0; i < changes->n; i++) {
		const struct change *c = &changes->items[i];
		size_t used = strlen(buf);
		(void)text_format(buf + used, sizeof buf - used, "%s%s", used > 0 ? ", " : "", c->is_delete ? "-" : "+");
		used = strlen(buf);
		if (c->key.kind == OBJECT_HOST_GONE)
			(void)text_format(buf + used, sizeof buf - used, "%s", c->key.name);
		else
			(void)text_format(buf + used, sizeof buf - used, "%u %s%s%s", c->key.addr.bytes[15],
			                  strstr(c->key.name, "tcp") != NULL ? "web" : "dns", c->is_delete ? "" : " ",
			                  c->mark.cause);
	}
	return buf;
}

// What is proposed; it is applied unless it is lost.
static const char *propose(uint32_t max, bool is_lost)
{
	struct state_command command = { .time_ms = TEST_TIME_MS };
	struct apply_result result;
	struct error err;
	ck_assert_int_eq(health_view_next_changes(&view, &state, max, &command.changes), 0);
	ck_assert_uint_le(command.changes.n, max);
	const char *text = changes_text(&command.changes);
	struct object_key keys[32];
	uint32_t n = command.changes.n;
	for (uint32_t i = 0; i < n; i++)
		keys[i] = command.changes.items[i].key;
	if (!is_lost) {
		ck_assert_msg(cluster_state_apply(&state, &command, &result, &err) == 0, "%s: %s", text, err.text);
		ck_assert(result.is_changed || n == 0); // nothing is proposed that is so already
		apply_result_fini(&result);
	}
	for (uint32_t i = 0; i < n && !is_lost; i++)
		health_view_on_change(&view, &state, &keys[i]);
	state_command_fini(&command);
	return text;
}

struct step {
	const char *what; // NULL: one more step of the same story
	const char *
		event; // "host1 whole ...": a report; "- host1": it disconnects; "ack host1": the state's version; "= ...": a command
	const char *want; // what is proposed then, and applied
};

static void run_event(const char *event)
{
	if (strncmp(event, "- ", 2) == 0)
		health_view_on_disconnect(&view, event + 2);
	else if (strncmp(event, "ack ", 4) == 0)
		health_view_on_ack(&view, event + 4, state.store.version);
	else if (strncmp(event, "= ", 2) == 0)
		change_state(event + 2);
	else if (event[0] != '\0')
		report(event);
}

static void run_story(const struct step *steps, size_t n)
{
	const char *what = "";
	for (size_t i = 0; i < n; i++) {
		if (steps[i].what != NULL) {
			if (i > 0)
				end();
			begin();
			what = steps[i].what;
		}
		run_event(steps[i].event);
		if (steps[i].want == NULL)
			continue; // it goes on before anything is proposed
		ck_assert_str_eq(propose(32, true), steps[i].want); // what is lost stays due
		ck_assert_msg(strcmp(propose(32, false), steps[i].want) == 0, "%s, after \"%s\": otherwise the second time",
		              what, steps[i].event);
		ck_assert_msg(strcmp(propose(32, false), "") == 0, "%s, after \"%s\"", what, steps[i].event);
		ck_assert_msg(!health_view_is_due(&view), "%s, after \"%s\"", what, steps[i].event);
	}
	end();
}

START_TEST(what_an_agent_reports_becomes_marks_and_they_go_again)
{
	static const struct step steps[] = {
		{ "changes", "host1 whole 11 web up 12 web down 11 dns up", "+12 web refused" },
		{ NULL, "host1 11 dns down 11 web down", "+11 dns refused, +11 web refused" },
		{ NULL, "host1 11 dns up", "-11 dns" },
		{ NULL, "host1 12 web down 11 dns up", "" },
		{ NULL, "host1 12 web up 11 web up", "-12 web, -11 web" },
		{ "there and back before it is proposed", "host1 whole", "" },
		{ NULL, "host1 12 web down", NULL },
		{ NULL, "host1 12 web up", "" },
		{ "changes without a whole report count for nothing", "host1 12 web down", "" },
		{ NULL, "host1 whole", "" },
		{ NULL, "host1 12 web down", "+12 web refused" },
		{ NULL, "- host1", "" },
		{ NULL, "host1 12 web up", "" },
	};
	run_story(steps, sizeof steps / sizeof *steps);
	ck_assert_uint_eq(view.n_hosts, 0);
}
END_TEST

START_TEST(a_whole_report_brings_the_host_in_line_and_back)
{
	static const struct step steps[] = {
		{ "marks of an earlier leader",
		  "= unhealthy 10.1.1.11 203.0.113.10 tcp 80 ; unhealthy 10.1.1.11 203.0.113.11 udp 53", "" },
		{ NULL, "= gone host1 ; gone host2 ; unhealthy 10.1.2.13 203.0.113.10 tcp 80", "" },
		{ NULL, "host1 whole 11 web up 11 dns down 12 web down", "+12 web refused, -11 web, -host1" },
		{ NULL, "host2 whole 13 web down", "-host2" },
		{ NULL, "host1 whole", "-11 dns, -12 web" },
		{ "a report without probes", "= gone host2", "" },
		{ NULL, "host2 whole", "-host2" },
		{ "another whole one replaces what was said", "host1 whole 11 web down 12 web down",
		  "+12 web refused, +11 web refused" },
		{ NULL, "host1 whole 12 web down", "-11 web" },
		{ "changes while it is brought in line", "= unhealthy 10.1.1.11 203.0.113.10 tcp 80 ; gone host1", "" },
		{ NULL, "host1 whole 11 web down 12 web down", NULL },
		{ NULL, "host1 11 web up 12 web up 11 dns down", "+11 dns refused, -11 web, -host1" },
		{ "gone before it was proposed", "= gone host1", "" },
		{ NULL, "host1 whole 11 web down", NULL },
		{ NULL, "- host1", "" },
	};
	run_story(steps, sizeof steps / sizeof *steps);
}
END_TEST

START_TEST(the_word_of_a_host_counts_for_the_dips_that_are_attached_there)
{
	static const struct step steps[] = {
		{ "of another host", "host1 whole 13 web down", "" },
		{ NULL, "host2 whole", "" },
		{ NULL, "= unhealthy 10.1.2.13 203.0.113.10 tcp 80", "" },
		{ NULL, "host1 13 web up", "" },
		{ NULL, "host2 13 web up", "-13 web" },
		{ "moved", "host1 whole 11 web down", "+11 web refused" },
		{ NULL, "= -dip 10.1.1.11 ; dip 10.1.1.11 host2 vm1 if1 02:00:00:00:00:11", "" },
		{ NULL, "host2 whole 13 web up 11 web down", "+11 web refused" },
		{ NULL, "host1 11 web up", "" },
	};
	run_story(steps, sizeof steps / sizeof *steps);
}
END_TEST

START_TEST(what_vanishes_and_comes_back_unseen_by_the_agent_is_marked_again)
{
	static const struct step steps[] = {
		{ "a VIP, unseen", "host1 whole 11 web down 11 dns down", "+11 dns refused, +11 web refused" },
		{ NULL, "= -vip 203.0.113.10", "" },
		{ NULL, "= " WEB, "+11 web refused" },
		{ "a VIP, unseen: acknowledged is only what was before and after", "host1 whole 11 web down",
		  "+11 web refused" },
		{ NULL, "ack host1", "" },
		{ NULL, "= -vip 203.0.113.10", "" },
		{ NULL, "= " WEB, NULL },
		{ NULL, "ack host1", "+11 web refused" },
		{ "a VIP, seen: its probe begins anew", "host1 whole 11 web down", "+11 web refused" },
		{ NULL, "= -vip 203.0.113.10", "" },
		{ NULL, "ack host1", "" },
		{ NULL, "= " WEB, "" },
		{ NULL, "host1 11 web down", "+11 web refused" },
		{ "a DIP, unseen", "host1 whole 11 web down 11 dns down", "+11 dns refused, +11 web refused" },
		{ NULL, "= -dip 10.1.1.11", "" },
		{ NULL, "= dip 10.1.1.11 host1 vm1 if1 02:00:00:00:00:11", "+11 dns refused, +11 web refused" },
		{ "a DIP, seen", "host1 whole 11 web down", "+11 web refused" },
		{ NULL, "= -dip 10.1.1.11", "" },
		{ NULL, "ack host1", "" },
		{ NULL, "= dip 10.1.1.11 host1 vm1 if1 02:00:00:00:00:11", "" },
		{ "a probe defined anew leaves the mark", "host1 whole 11 web down", "+11 web refused" },
		{ NULL, "= vip 203.0.113.10 shop web tcp 80 probe=99 10.1.1.11:1", "" },
		{ NULL, "host1 11 web up", "-11 web" },
		{ "in the same command", "host1 whole 11 web down", "+11 web refused" },
		{ NULL, "= -dip 10.1.1.11 ; -vip 203.0.113.10 ; dip 10.1.1.11 host1 vm9 if1 02:00:00:00:00:11 ; " WEB, "" },
		{ "reported before it is known to be there no more", "= -vip 203.0.113.10", "" },
		{ NULL, "host1 whole 11 web down", "" },
		{ NULL, "= " WEB, "+11 web refused" },
	};
	run_story(steps, sizeof steps / sizeof *steps);
}
END_TEST

START_TEST(a_host_is_back_only_when_all_its_marks_are_in_line)
{
	begin();
	must_apply(&state, "gone host1");
	report("host1 whole 11 web down 12 web down 11 dns down");
	ck_assert_str_eq(propose(2, false), "+11 dns refused, +12 web refused");
	ck_assert_str_eq(propose(2, true), "+11 web refused, -host1");
	ck_assert_str_eq(propose(1, false), "+11 web refused");
	ck_assert(health_view_is_due(&view));
	ck_assert_str_eq(propose(1, false), "-host1");
	ck_assert_str_eq(propose(1, false), "");
	ck_assert(!health_view_is_due(&view));
	report("host1 11 dns up 12 web up 11 web up");
	ck_assert_str_eq(propose(2, true), "-11 dns, -12 web");
	ck_assert_str_eq(propose(2, false), "-11 web, -11 dns"); // what was not taken the first time goes first
	ck_assert_str_eq(propose(2, false), "-12 web");
	ck_assert_str_eq(propose(2, false), "");
	ck_assert_uint_eq(view.results.n, 0);
	end();
}
END_TEST

START_TEST(short_memory_is_reported_and_a_new_subscription_mends_it)
{
	struct health_report r = { .is_whole = true };
	struct probe_result results[] = { result_of("11", "web", "down"), result_of("12", "web", "down") };
	for (int i = 0; i < 2; i++)
		ck_assert_int_eq(health_report_append(&r, &results[i]), 0);
	for (uint64_t n = 0;; n++) {
		begin();
		memory_fail_after(n);
		int code = health_view_on_report(&view, "host1", &r);
		memory_fail_after(UINT64_MAX);
		ck_assert(code == 0 || (code == ERR_NO_MEMORY && view.n_hosts == 0 && view.results.n == 0));
		if (code != 0)
			ck_assert_int_eq(health_view_on_report(&view, "host1", &r), 0);
		ck_assert_str_eq(propose(9, false), "+12 web refused, +11 web refused");
		end();
		if (code == 0)
			break;
	}
	health_report_fini(&r);
}
END_TEST

// ---- random worlds ----

// Agents hold the state of an earlier version; they forget what is not in it, and probe what is. The leader's commands are
// lost at times, leaders change, agents come and go.
enum { N_VIPS = 3, N_DIPS = 4, N_HOSTS = 2, N_RUNS = 400, N_EVENTS = 80, ELSEWHERE = N_HOSTS };

enum known { UNKNOWN, WELL, ILL }; // what an agent has reported of an endpoint, for a DIP

struct world {
	bool is_there[N_VIPS]; // with all DIPs in it
	unsigned attached[N_DIPS];
	uint64_t version; // counts changes of these
};

struct agent {
	bool is_connected;
	bool was_whole;
	struct world sees;
	enum known known[N_DIPS][N_VIPS];
};

struct run {
	struct world world;
	struct agent agents[N_HOSTS];
	bool is_ill[N_DIPS][N_VIPS]; // the truth
};

static unsigned pick(unsigned *seed, unsigned n)
{
	return (unsigned)rand_r(seed) % n;
}

static void must_change(const char *format, unsigned a, unsigned b, unsigned c) __attribute__((format(printf, 1, 0)));

static void must_change(const char *format, unsigned a, unsigned b, unsigned c)
{
	char text[256];
	(void)text_format(text, sizeof text, format, a, b, c);
	change_state(text);
}

static void put_vip(unsigned vip)
{
	must_change("vip 203.0.113.%u shop web tcp 80 probe=0 10.1.1.0:1 10.1.1.1:1 10.1.1.2:1 10.1.1.3:1", vip, 0, 0);
}

static bool probes(const struct agent *a, unsigned host, unsigned dip, unsigned vip)
{
	return a->sees.is_there[vip] && a->sees.attached[dip] == host;
}

static struct probe_result probe(unsigned dip, unsigned vip, bool is_ill)
{
	struct probe_result r = { .protocol = 6, .port = 80, .is_healthy = !is_ill };
	r.dip = ip_addr_from_v4(be32_from(0x0a010100u + dip));
	r.vip = ip_addr_from_v4(be32_from(0xcb007100u + vip));
	return r;
}

// It sees the world as it is now, and takes its probes over into it.
static void update_agent(struct run *r, unsigned host)
{
	struct agent *a = &r->agents[host];
	char name[8];
	a->sees = r->world;
	for (unsigned d = 0; d < N_DIPS; d++)
		for (unsigned v = 0; v < N_VIPS; v++)
			if (!probes(a, host, d, v))
				a->known[d][v] = UNKNOWN;
	(void)text_format(name, sizeof name, "h%u", host);
	health_view_on_ack(&view, name, state.store.version);
}

static void send_report(struct run *r, unsigned host)
{
	struct agent *a = &r->agents[host];
	struct health_report report = { .is_whole = !a->was_whole };
	char name[8];
	for (unsigned d = 0; d < N_DIPS; d++)
		for (unsigned v = 0; v < N_VIPS; v++) {
			enum known now = r->is_ill[d][v] ? ILL : WELL;
			if (!probes(a, host, d, v) || (a->was_whole && a->known[d][v] == now))
				continue;
			struct probe_result result = probe(d, v, now == ILL);
			ck_assert_int_eq(health_report_append(&report, &result), 0);
			a->known[d][v] = now;
		}
	(void)text_format(name, sizeof name, "h%u", host);
	if (report.n > 0 || report.is_whole)
		ck_assert_int_eq(health_view_on_report(&view, name, &report), 0);
	a->was_whole = true;
	health_report_fini(&report);
}

static void change_world(struct run *r, unsigned *seed)
{
	unsigned v = pick(seed, N_VIPS), d = pick(seed, N_DIPS), h = pick(seed, N_HOSTS);
	if (pick(seed, 2) == 0) {
		r->world.is_there[v] = !r->world.is_there[v];
		if (r->world.is_there[v])
			put_vip(v);
		else
			must_change("-vip 203.0.113.%u", v, 0, 0);
	} else if (r->world.attached[d] != ELSEWHERE) {
		r->world.attached[d] = ELSEWHERE;
		must_change("-dip 10.1.1.%u", d, 0, 0);
	} else {
		r->world.attached[d] = h;
		must_change("dip 10.1.1.%u h%u vm if%u 02:00:00:00:00:01", d, h, d);
	}
}

static void connect_or_not(struct run *r, unsigned host)
{
	struct agent *a = &r->agents[host];
	char name[8];
	(void)text_format(name, sizeof name, "h%u", host);
	a->is_connected = !a->is_connected;
	a->was_whole = false;
	if (!a->is_connected)
		health_view_on_disconnect(&view, name);
	else
		update_agent(r, host);
}

static void new_leader(struct run *r)
{
	health_view_clear(&view);
	for (unsigned h = 0; h < N_HOSTS; h++)
		r->agents[h].is_connected = r->agents[h].was_whole = false;
}

static void random_event(struct run *r, unsigned *seed)
{
	unsigned h = pick(seed, N_HOSTS);
	unsigned event = pick(seed, 100);
	if (event < 25)
		r->is_ill[pick(seed, N_DIPS)][pick(seed, N_VIPS)] = pick(seed, 2) == 0;
	else if (event < 45)
		change_world(r, seed);
	else if (event < 60 && r->agents[h].is_connected)
		update_agent(r, h);
	else if (event < 80 && r->agents[h].is_connected)
		send_report(r, h);
	else if (event < 95)
		(void)propose(1 + pick(seed, 4), pick(seed, 4) == 0);
	else if (event < 97)
		connect_or_not(r, h);
	else if (event < 98 && !r->agents[h].is_connected)
		must_change("gone h%u", h, 0, 0);
	else if (event < 99 && pick(seed, 4) == 0)
		new_leader(r);
}

static void come_to_rest(struct run *r)
{
	for (unsigned h = 0; h < N_HOSTS; h++) {
		if (!r->agents[h].is_connected)
			connect_or_not(r, h);
		update_agent(r, h);
		send_report(r, h);
	}
	for (unsigned i = 0; health_view_is_due(&view); i++) {
		ck_assert_uint_lt(i, 100);
		(void)propose(3, i % 3 == 0);
	}
}

static void check_marks(const struct run *r, unsigned seed)
{
	uint32_t n = 0;
	for (unsigned d = 0; d < N_DIPS; d++)
		for (unsigned v = 0; v < N_VIPS; v++) {
			struct probe_result result = probe(d, v, true);
			struct object_key key = probe_result_key(&result);
			bool is_probed = r->world.is_there[v] && r->world.attached[d] != ELSEWHERE;
			bool is_marked = store_lookup_mark(&state.store, &key) != NULL;
			ck_assert_msg(is_marked == (is_probed && r->is_ill[d][v]), "seed %u: DIP %u of VIP %u is %smarked", seed, d,
			              v, is_marked ? "" : "not ");
			n += is_marked;
		}
	ck_assert_uint_eq(state.store.unhealthy.n, n);
	ck_assert_uint_eq(state.store.gone_hosts.n, 0);
}

START_TEST(the_marks_come_to_be_what_the_probes_say)
{
	const char *env = getenv("ANANTA_TEST_SEED");
	unsigned first = env != NULL ? (unsigned)strtoul(env, NULL, 10) : (unsigned)time(NULL);
	uint64_t n_marks = 0;
	printf("seed %u (repeat with ANANTA_TEST_SEED=%u)\n", first, first);
	for (unsigned i = 0; i < N_RUNS; i++) {
		unsigned seed = first + i;
		struct run r = { 0 };
		health_view_init(&view);
		ck_assert_int_eq(cluster_state_init(&state), 0);
		must_apply(&state, "cluster 7 ; host h0 10.0.0.1 ; host h1 10.0.0.2");
		for (unsigned d = 0; d < N_DIPS; d++)
			r.world.attached[d] = ELSEWHERE;
		for (unsigned k = 0; k < N_EVENTS; k++) {
			random_event(&r, &seed);
			if (k % 20 != 19)
				continue;
			come_to_rest(&r);
			check_marks(&r, first + i);
			n_marks += state.store.unhealthy.n;
		}
		end();
	}
	printf("%llu marks were checked\n", (unsigned long long)n_marks);
	ck_assert_uint_gt(n_marks, N_RUNS);
}
END_TEST

SUITE_MAIN("health_view", what_an_agent_reports_becomes_marks_and_they_go_again,
           a_whole_report_brings_the_host_in_line_and_back,
           the_word_of_a_host_counts_for_the_dips_that_are_attached_there,
           what_vanishes_and_comes_back_unseen_by_the_agent_is_marked_again,
           a_host_is_back_only_when_all_its_marks_are_in_line, short_memory_is_reported_and_a_new_subscription_mends_it,
           the_marks_come_to_be_what_the_probes_say)
