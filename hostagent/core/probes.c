#include "hostagent/core/probes.h"

#include <string.h>

#include "common/base/hash.h"
#include "common/base/memory.h"

void probes_init(struct probes *p, uint64_t seed)
{
	*p = (struct probes){ .seed = seed };
}

void probes_fini(struct probes *p)
{
	memory_free(p->targets);
	memory_free(p->endpoints);
	memory_free(p->queue.entries);
	*p = (struct probes){ 0 };
}

// ---- When ----

static uint64_t hash_what(const struct probes *p, const struct probe_what *what)
{
	uint64_t h = hash_bytes(&what->dip, sizeof what->dip, p->seed);
	return hash_bytes(what->path, strlen(what->path), h ^ ((uint64_t)what->port << 8 | (uint64_t)what->type));
}

struct mono_time probe_first_due(const struct probes *p, const struct probe_target *t, struct mono_time now)
{
	uint32_t spread_ms = t->interval_ms < PROBE_SPREAD_MS ? t->interval_ms : PROBE_SPREAD_MS;
	return mono_add_us(now, hash_reduce(hash_what(p, &t->what), spread_ms * 1000));
}

static struct mono_time next_due(const struct probes *p, const struct probe_target *t, struct mono_time now)
{
	uint64_t interval_us = (uint64_t)t->interval_ms * 1000;
	uint64_t random = hash_mix64(hash_what(p, &t->what) ^ t->attempt);
	uint64_t jitter_us = (random >> 32) * (interval_us / 5) >> 32;
	return mono_add_us(now, interval_us - interval_us / 10 + jitter_us);
}

static bool is_waiting(const struct probe_target *t)
{
	return t->port == PROBE_PORT_OPEN && t->attempt == 0;
}

static void freshen_queue(struct probes *p)
{
	if (!p->queue_is_stale)
		return;
	p->queue.n = 0;
	for (uint32_t i = 0; i < p->n_targets; i++)
		if (is_waiting(&p->targets[i]))
			due_queue_put(&p->queue, p->targets[i].due, i);
	p->queue_is_stale = false;
}

bool probes_due(struct probes *p, struct mono_time *ret_due)
{
	freshen_queue(p);
	const struct due_entry *first = due_queue_peek(&p->queue);
	if (first == NULL)
		return false;
	*ret_due = first->at;
	return true;
}

const struct probe_target *probes_next(struct probes *p, struct mono_time now)
{
	freshen_queue(p);
	const struct due_entry *first = due_queue_peek(&p->queue);
	if (first == NULL || mono_is_before(now, first->at))
		return NULL;
	struct probe_target *t = &p->targets[first->number];
	due_queue_drop(&p->queue);
	t->attempt = ++p->n_attempts;
	t->due = next_due(p, t, now);
	return t;
}

uint32_t probes_n_waiting(const struct probes *p, struct mono_time now)
{
	uint32_t n = 0;
	for (uint32_t i = 0; i < p->n_targets; i++)
		n += is_waiting(&p->targets[i]) && !mono_is_before(now, p->targets[i].due);
	return n;
}

// ---- What is known ----

static void end_waiting(struct probes *p, struct probe_target *t)
{
	if (!t->is_awaited)
		return;
	t->is_awaited = false;
	p->n_awaited--;
}

static void note_change(struct probes *p, struct probe_target *t)
{
	p->has_news = true;
	end_waiting(p, t);
}

static struct probe_target *find(struct probes *p, const struct probe_what *what)
{
	uint32_t low = 0;
	uint32_t high = p->n_targets;
	while (low < high) {
		uint32_t middle = low + (high - low) / 2;
		int order = probe_what_compare(&p->targets[middle].what, what);
		if (order == 0)
			return &p->targets[middle];
		if (order < 0)
			low = middle + 1;
		else
			high = middle;
	}
	return NULL;
}

const struct probe_target *probes_on_result(struct probes *p, const struct probe_what *what, uint64_t attempt,
                                            enum probe_outcome outcome, const char *cause, struct mono_time now)
{
	struct probe_target *t = find(p, what);
	if (t == NULL || attempt == 0 || t->attempt != attempt)
		return NULL;
	freshen_queue(p); // without this one: it comes by itself
	t->attempt = 0;
	due_queue_put(&p->queue, t->due, (uint32_t)(t - p->targets));
	bool has_changed = false;
	switch (outcome) {
	case PROBE_SUCCEEDED: has_changed = probe_health_on_success(&t->health, now); break;
	case PROBE_FAILED: has_changed = probe_health_on_failure(&t->health, cause, now); break;
	case PROBE_NOT_MADE: end_waiting(p, t); break;
	}
	if (has_changed)
		note_change(p, t);
	return has_changed ? t : NULL;
}

static uint32_t first_of_dip(const struct probes *p, const struct ip_addr *dip)
{
	uint32_t low = 0;
	uint32_t high = p->n_targets;
	while (low < high) {
		uint32_t middle = low + (high - low) / 2;
		if (ip_addr_compare(&p->targets[middle].what.dip, dip) < 0)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

uint32_t probes_set_port(struct probes *p, const struct ip_addr *dip, bool is_open, const char *cause,
                         struct mono_time now)
{
	enum probe_port port = is_open ? PROBE_PORT_OPEN : PROBE_PORT_MISSING;
	uint32_t n_fallen = 0;
	for (uint32_t i = first_of_dip(p, dip); i < p->n_targets && ip_addr_equal(&p->targets[i].what.dip, dip); i++) {
		struct probe_target *t = &p->targets[i];
		if (t->port == port)
			continue;
		t->port = port;
		t->attempt = 0; // what is under way says nothing any more
		t->due = probe_first_due(p, t, now);
		p->queue_is_stale = true;
		if (is_open || !probe_health_on_missing(&t->health, cause, now))
			continue;
		note_change(p, t);
		n_fallen++;
	}
	return n_fallen;
}

uint32_t probes_n_unhealthy_dips(const struct probes *p)
{
	uint32_t n = 0;
	const struct ip_addr *last = NULL;
	for (uint32_t i = 0; i < p->n_targets; i++) {
		const struct probe_target *t = &p->targets[i];
		if (t->health.verdict != PROBE_UNHEALTHY || (last != NULL && ip_addr_equal(last, &t->what.dip)))
			continue;
		last = &t->what.dip;
		n++;
	}
	return n;
}

// ---- What the leader is told ----

void probes_on_link(struct probes *p, bool is_up)
{
	p->is_up = is_up;
	p->owes_whole = is_up;
	p->has_news = is_up;
	p->n_awaited = 0;
	for (uint32_t i = 0; i < p->n_targets; i++) {
		struct probe_target *t = &p->targets[i];
		t->is_awaited = is_up && t->health.verdict == PROBE_UNKNOWN;
		p->n_awaited += t->is_awaited;
	}
	for (uint32_t i = 0; i < p->n_endpoints; i++)
		p->endpoints[i].is_told = false;
}

static bool is_untold(const struct probe_endpoint *e, enum probe_verdict verdict)
{
	return verdict != PROBE_UNKNOWN && (!e->is_told || e->told != verdict);
}

static struct probe_result result_of(const struct probe_endpoint *e, const struct probe_health *h)
{
	struct probe_result r = {
		.dip = e->dip,
		.vip = e->vip,
		.protocol = e->protocol,
		.port = e->port,
		.is_healthy = h->verdict == PROBE_HEALTHY,
	};
	memcpy(r.cause, h->cause, sizeof r.cause);
	return r;
}

// ERR_LIMIT: there is more than `max`.
static int collect(struct probes *p, uint32_t max, struct health_report *report)
{
	for (uint32_t i = 0; i < p->n_endpoints; i++) {
		struct probe_endpoint *e = &p->endpoints[i];
		const struct probe_health *h = &p->targets[e->target].health;
		if (!is_untold(e, h->verdict))
			continue;
		if (report->n == max)
			return ERR_LIMIT;
		struct probe_result result = result_of(e, h);
		if (health_report_append(report, &result) != 0)
			return ERR_NO_MEMORY;
		e->is_told = true;
		e->told = h->verdict;
	}
	return 0;
}

bool probes_next_report(struct probes *p, uint32_t max, struct health_report *ret_report)
{
	*ret_report = (struct health_report){ 0 };
	if (!p->is_up || !p->has_news || (p->owes_whole && p->n_awaited > 0))
		return false;
	int code = collect(p, max, ret_report);
	if (code == 0) {
		ret_report->is_whole = p->owes_whole;
		p->owes_whole = false;
		p->has_news = false;
	}
	if (ret_report->is_whole || ret_report->n > 0)
		return true;
	health_report_fini(ret_report);
	return false;
}
