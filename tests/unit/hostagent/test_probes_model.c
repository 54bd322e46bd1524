// Random histories of probes against a naive model: it keeps every result of a target and judges from the beginning each time,
// and a leader that puts together what it is told.
#include <stdio.h>

#include "hostagent/core/probes.h"
#include "tests/support/suite.h"
#include "tests/unit/hostagent/probe_store.h"

#define N_SEEDS 60
#define N_STEPS 3000
#define N_DIPS 4
#define N_VIPS 3
#define N_RESULTS_MAX 4096

static uint64_t random_state;
static uint64_t n_results; // of all targets
static uint64_t n_damped; // times that a return took more successes because of those before

static uint32_t pick(uint32_t n)
{
	random_state = random_state * 6364136223846793005ULL + 1442695040888963407ULL;
	return (uint32_t)((random_state >> 33) % n);
}

// ---- The model of one target ----

enum seen { SEEN_SUCCESS, SEEN_FAILURE, SEEN_MISSING };

struct model_target {
	bool is_there;
	bool port_is_known;
	bool port_is_open;
	uint32_t n;
	struct {
		enum seen what;
		uint64_t at_us;
		uint32_t up, down; // as they were then
	} results[N_RESULTS_MAX];
	bool is_probed;
	uint64_t began_us;
	uint64_t attempt;
	bool is_due_checked; // the next one follows a begin without a change of interface or interval between
};

struct judgement {
	enum probe_verdict verdict;
	uint32_t in_a_row;
	uint32_t factor;
	uint64_t changed_us;
	bool fell;
};

static void set_verdict(struct judgement *j, enum probe_verdict verdict, uint64_t at_us)
{
	j->fell = j->verdict == PROBE_HEALTHY;
	j->verdict = verdict;
	j->in_a_row = 0;
	j->changed_us = at_us;
}

static enum probe_verdict judge_with(const struct model_target *t, bool damps)
{
	struct judgement j = { .factor = 1 };
	for (uint32_t i = 0; i < t->n; i++) {
		uint64_t at = t->results[i].at_us;
		bool is_good = t->results[i].what == SEEN_SUCCESS;
		if (at - j.changed_us >= PROBE_QUIET_US)
			j.factor = 1;
		bool agrees = (j.verdict == PROBE_HEALTHY) == is_good;
		j.in_a_row = agrees ? 0 : j.in_a_row + 1;
		if (j.verdict == PROBE_UNKNOWN) {
			set_verdict(&j, is_good ? PROBE_HEALTHY : PROBE_UNHEALTHY, at);
		} else if (j.verdict == PROBE_HEALTHY && !is_good) {
			if (t->results[i].what == SEEN_MISSING || j.in_a_row >= t->results[i].down)
				set_verdict(&j, PROBE_UNHEALTHY, at);
		} else if (j.verdict == PROBE_UNHEALTHY && is_good && j.in_a_row >= t->results[i].up * j.factor) {
			if (damps && j.fell && at - j.changed_us < PROBE_FLAP_US)
				j.factor = j.factor * 2 > PROBE_DAMPING_MAX ? PROBE_DAMPING_MAX : j.factor * 2;
			set_verdict(&j, PROBE_HEALTHY, at);
		}
	}
	return j.verdict;
}

static enum probe_verdict judge(const struct model_target *t)
{
	return judge_with(t, true);
}

static enum probe_verdict judge_undamped(const struct model_target *t)
{
	return judge_with(t, false);
}

// ---- The world ----

struct model_endpoint { // VIP i with DIP i: what the leader was told
	bool is_there;
	bool is_told;
	bool is_healthy;
};

static struct {
	struct store store;
	struct probes probes;
	uint64_t now_us;
	struct probe settings; // of all endpoints
	bool attached[N_DIPS];
	bool uses[N_VIPS][N_DIPS];
	struct model_target targets[N_DIPS]; // one for each DIP: all endpoints ask the same
	struct model_endpoint endpoints[N_VIPS][N_DIPS];
	bool is_up;
	bool had_whole;
	uint32_t awaited; // bits of DIPs
} m;

static struct mono_time now(void)
{
	return mono_from_us(m.now_us);
}

static const char *dip_text(uint32_t i)
{
	static char text[16];
	text_format(text, sizeof text, "10.1.1.%u", 11 + i);
	return text;
}

static void add(uint32_t dip, enum seen what)
{
	struct model_target *t = &m.targets[dip];
	ck_assert_uint_lt(t->n, N_RESULTS_MAX);
	t->results[t->n].what = what;
	t->results[t->n].at_us = m.now_us;
	t->results[t->n].up = m.settings.up;
	t->results[t->n].down = m.settings.down;
	t->n++;
	n_results++;
}

static void put_vips(void)
{
	for (uint32_t v = 0; v < N_VIPS; v++) {
		char text[16];
		text_format(text, sizeof text, "203.0.113.%u", 1 + v);
		struct vip_config *vip = probe_vip(text, N_DIPS);
		for (uint32_t d = 0; d < N_DIPS; d++)
			if (m.uses[v][d])
				probe_vip_add(vip, (uint16_t)(80 + d), dip_text(d), &m.settings);
		probe_store_apply(&m.store, test_put_vip(vip)); // it may have no endpoint at all
	}
}

static void model_configure(void)
{
	for (uint32_t d = 0; d < N_DIPS; d++) {
		bool is_there = false;
		for (uint32_t v = 0; v < N_VIPS; v++) {
			bool is_used = m.attached[d] && m.uses[v][d];
			if (!is_used)
				m.endpoints[v][d] = (struct model_endpoint){ 0 };
			m.endpoints[v][d].is_there = is_used;
			is_there |= is_used;
		}
		if (!is_there)
			memset(&m.targets[d], 0, sizeof m.targets[d]);
		if (!is_there)
			m.awaited &= ~(1u << d);
		m.targets[d].is_there = is_there;
		m.targets[d].is_due_checked = false;
	}
}

static void reconfigure(void)
{
	uint32_t d = pick(N_DIPS);
	switch (pick(3)) {
	case 0:
		m.attached[d] = !m.attached[d];
		probe_store_apply(&m.store, m.attached[d] ? test_put_dip(dip_text(d), "host1", "vm1")
		                                          : test_delete(OBJECT_DIP, dip_text(d)));
		break;
	case 1: {
		uint32_t v = pick(N_VIPS);
		m.uses[v][d] = !m.uses[v][d];
		break;
	}
	default:
		m.settings.up = (uint8_t)(1 + pick(3));
		m.settings.down = (uint8_t)(1 + pick(3));
		m.settings.interval_ms = 500 + pick(5000);
		m.settings.timeout_ms = 1 + pick(m.settings.interval_ms);
		break;
	}
	put_vips();
	ck_assert_int_eq(probes_configure(&m.probes, &m.store, "host1", now()), 0);
	model_configure();
}

static void change_port(void)
{
	uint32_t d = pick(N_DIPS);
	bool is_open = pick(4) > 0;
	struct ip_addr dip = test_addr(dip_text(d));
	struct model_target *t = &m.targets[d];
	bool was_ill = judge(t) == PROBE_UNHEALTHY;
	bool is_change = t->is_there && (!t->port_is_known || t->port_is_open != is_open);
	if (is_change && !is_open)
		add(d, SEEN_MISSING);
	if (is_change) {
		t->is_probed = false;
		t->is_due_checked = false;
	}
	if (t->is_there) {
		t->port_is_known = true;
		t->port_is_open = is_open;
	}
	uint32_t n = probes_set_port(&m.probes, &dip, is_open, "interface missing", now());
	ck_assert_uint_eq(n, is_change && !is_open && !was_ill);
}

static uint32_t dip_of(const struct ip_addr *addr)
{
	return addr->bytes[15] - 11u;
}

static void begin(void)
{
	struct mono_time due;
	if (pick(2) == 0 && probes_due(&m.probes, &due) && due.us > m.now_us)
		m.now_us = due.us;
	const struct probe_target *t = probes_next(&m.probes, now());
	if (t == NULL)
		return;
	struct model_target *mt = &m.targets[dip_of(&t->what.dip)];
	ck_assert(mt->is_there && mt->port_is_known && mt->port_is_open && !mt->is_probed);
	ck_assert_uint_eq(t->interval_ms, m.settings.interval_ms);
	ck_assert_uint_eq(t->timeout_ms, m.settings.timeout_ms);
	if (mt->is_due_checked)
		ck_assert_uint_ge((m.now_us - mt->began_us) / 100, (uint64_t)m.settings.interval_ms * 9);
	mt->is_probed = true;
	mt->is_due_checked = true;
	mt->began_us = m.now_us;
	mt->attempt = t->attempt;
}

static void end(void)
{
	uint32_t d = pick(N_DIPS);
	struct model_target *mt = &m.targets[d];
	struct probe_what what = { .dip = test_addr(dip_text(d)),
		                       .type = PROBE_TCP,
		                       .port = m.settings.port != 0 ? m.settings.port : 8080 };
	if (mt->attempt == 0)
		return;
	enum probe_outcome outcome = pick(8) == 0 ? PROBE_NOT_MADE : pick(3) == 0 ? PROBE_FAILED : PROBE_SUCCEEDED;
	enum probe_verdict before = judge(mt);
	if (mt->is_probed && outcome != PROBE_NOT_MADE)
		add(d, outcome == PROBE_SUCCEEDED ? SEEN_SUCCESS : SEEN_FAILURE);
	if (mt->is_probed && outcome == PROBE_NOT_MADE)
		m.awaited &= ~(1u << d);
	mt->is_probed = false; // a second result of the same attempt is passed over
	n_damped += before == PROBE_UNHEALTHY && judge(mt) == PROBE_UNHEALTHY && judge_undamped(mt) == PROBE_HEALTHY;
	bool has_changed = probes_on_result(&m.probes, &what, mt->attempt, outcome, "refused", now()) != NULL;
	ck_assert_int_eq(has_changed, before != judge(mt));
}

static void change_link(void)
{
	m.is_up = !m.is_up;
	m.had_whole = false;
	m.awaited = 0;
	for (uint32_t d = 0; d < N_DIPS; d++) {
		if (m.is_up && m.targets[d].is_there && judge(&m.targets[d]) == PROBE_UNKNOWN)
			m.awaited |= 1u << d;
		for (uint32_t v = 0; v < N_VIPS; v++)
			m.endpoints[v][d].is_told = false;
	}
	probes_on_link(&m.probes, m.is_up);
}

// ---- What must hold ----

static void take_reports(void)
{
	struct health_report r;
	while (probes_next_report(&m.probes, 1 + pick(3), &r)) {
		ck_assert(m.is_up);
		for (uint32_t i = 0; i < r.n; i++) {
			struct model_endpoint *e = &m.endpoints[r.items[i].vip.bytes[15] - 1][dip_of(&r.items[i].dip)];
			ck_assert(e->is_there);
			ck_assert(!e->is_told || e->is_healthy != r.items[i].is_healthy); // nothing twice
			e->is_told = true;
			e->is_healthy = r.items[i].is_healthy;
		}
		ck_assert(!(r.is_whole && m.had_whole));
		m.had_whole |= r.is_whole;
		health_report_fini(&r);
	}
}

static void check(void)
{
	uint32_t n_unhealthy = 0;
	for (uint32_t d = 0; d < N_DIPS; d++) {
		enum probe_verdict verdict = judge(&m.targets[d]);
		n_unhealthy += verdict == PROBE_UNHEALTHY;
		if (verdict != PROBE_UNKNOWN)
			m.awaited &= ~(1u << d);
	}
	ck_assert_uint_eq(probes_n_unhealthy_dips(&m.probes), n_unhealthy);
	take_reports();
	ck_assert_int_eq(m.had_whole, m.is_up && m.awaited == 0);
	for (uint32_t d = 0; m.had_whole && d < N_DIPS; d++) {
		enum probe_verdict verdict = judge(&m.targets[d]);
		for (uint32_t v = 0; v < N_VIPS; v++) {
			const struct model_endpoint *e = &m.endpoints[v][d];
			ck_assert_int_eq(e->is_told, e->is_there && verdict != PROBE_UNKNOWN);
			if (e->is_told)
				ck_assert_int_eq(e->is_healthy, verdict == PROBE_HEALTHY);
		}
	}
}

static void step(void)
{
	switch (pick(60)) {
	case 0: m.now_us += pick(20) == 0 ? PROBE_QUIET_US : pick(90000000); break;
	case 1: change_port(); break;
	case 2:
		if (pick(3) == 0)
			change_link();
		break;
	case 3:
		if (pick(8) == 0)
			reconfigure();
		break;
	default:
		if (pick(2) == 0)
			begin();
		else
			end();
		break;
	}
	check();
}

START_TEST(what_is_known_and_told_is_what_the_results_say)
{
	for (uint32_t seed = 1; seed <= N_SEEDS; seed++) {
		memset(&m, 0, sizeof m);
		random_state = seed;
		fprintf(stderr, "seed %u\r", seed); // what stands there last is that of a failure
		m.now_us = 1000000;
		m.settings = (struct probe){ .type = PROBE_TCP, .interval_ms = 1000, .timeout_ms = 500, .up = 2, .down = 2 };
		store_init(&m.store);
		probes_init(&m.probes, seed);
		probe_store_apply(&m.store, test_put_node(OBJECT_HOST, "host1", "10.0.0.21"));
		for (uint32_t i = 0; i < 30; i++)
			reconfigure();
		for (uint32_t i = 0; i < N_STEPS; i++)
			step();
		probes_fini(&m.probes);
		store_fini(&m.store);
	}
	ck_assert_uint_gt(n_results, 8000); // it was no empty run
	ck_assert_uint_gt(n_damped, 100);
}
END_TEST

SUITE_MAIN("agent probes model", what_is_known_and_told_is_what_the_results_say)
