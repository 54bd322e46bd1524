// From the configuration to what is probed: endpoints, and the targets that they share.
#include <stdlib.h>
#include <string.h>

#include "common/base/memory.h"
#include "hostagent/core/config.h"
#include "hostagent/core/probes.h"

int probe_what_compare(const struct probe_what *a, const struct probe_what *b)
{
	int order = ip_addr_compare(&a->dip, &b->dip);
	if (order != 0)
		return order;
	if (a->type != b->type)
		return a->type < b->type ? -1 : 1;
	if (a->port != b->port)
		return a->port < b->port ? -1 : 1;
	if (a->expect_min != b->expect_min)
		return a->expect_min < b->expect_min ? -1 : 1;
	if (a->expect_max != b->expect_max)
		return a->expect_max < b->expect_max ? -1 : 1;
	return strcmp(a->path, b->path);
}

// One endpoint's wish for one of its DIPs.
struct wish {
	struct probe_what what;
	struct probe_endpoint endpoint;
	const struct probe *probe; // of the store
};

struct plan {
	uint32_t n;
	struct wish *wishes;
	uint32_t n_targets;
	struct probe_target *targets;
	struct probe_endpoint *endpoints;
	struct due_entry *entries;
};

// ---- Wishes ----

static struct wish make_wish(const struct vip_config *vip, const struct endpoint *e, const struct endpoint_dip *d)
{
	struct wish w = {
		.what = { .dip = d->dip,
		          .type = e->probe.type,
		          .port = e->probe.port != 0 ? e->probe.port : d->port,
		          .expect_min = e->probe.expect_min,
		          .expect_max = e->probe.expect_max },
		.endpoint = { .dip = d->dip, .vip = vip->vip, .protocol = e->protocol, .port = e->port },
		.probe = &e->probe,
	};
	(void)text_copy(w.what.path, sizeof w.what.path, e->probe.path);
	return w;
}

// Counts them, and writes them where wishes is not NULL.
static uint32_t list_wishes(const struct store *store, const char *host, struct wish *wishes)
{
	uint32_t n = 0;
	for (uint32_t v = 0; v < store->vips.n; v++) {
		const struct vip_config *vip = store_vip(store, v);
		for (uint32_t i = 0; i < vip->n_endpoints; i++) {
			const struct endpoint *e = &vip->endpoints[i];
			for (uint32_t d = 0; e->probe.type != PROBE_NONE && d < e->n_dips; d++) {
				if (!agent_config_dip_is_local(store, host, &e->dips[d].dip))
					continue;
				if (wishes != NULL)
					wishes[n] = make_wish(vip, e, &e->dips[d]);
				n++;
			}
		}
	}
	return n;
}

static int compare_wishes(const void *a, const void *b)
{
	return probe_what_compare(&((const struct wish *)a)->what, &((const struct wish *)b)->what);
}

// ---- Targets ----

static uint32_t least(uint32_t a, uint32_t b)
{
	return a == 0 || b < a ? b : a;
}

static void add_wish(struct probe_target *t, const struct probe *probe)
{
	t->interval_ms = least(t->interval_ms, probe->interval_ms);
	t->timeout_ms = least(t->timeout_ms, probe->timeout_ms);
	t->health.up = (uint8_t)least(t->health.up, probe->up);
	t->health.down = (uint8_t)least(t->health.down, probe->down);
}

static void make_targets(struct plan *plan)
{
	for (uint32_t i = 0; i < plan->n; i++) {
		struct wish *w = &plan->wishes[i];
		if (i == 0 || compare_wishes(w - 1, w) != 0)
			plan->targets[plan->n_targets++] = (struct probe_target){ .what = w->what };
		add_wish(&plan->targets[plan->n_targets - 1], w->probe);
		w->endpoint.target = plan->n_targets - 1;
		plan->endpoints[i] = w->endpoint;
	}
}

static int compare_targets(const void *a, const void *b)
{
	return probe_what_compare(&((const struct probe_target *)a)->what, &((const struct probe_target *)b)->what);
}

// What is known of it stays; how it is probed is as the configuration says now.
static void keep_target(const struct probes *p, struct probe_target *t, struct mono_time now)
{
	const struct probe_target *old =
		p->n_targets == 0 ? NULL : bsearch(t, p->targets, p->n_targets, sizeof *t, compare_targets);
	if (old == NULL)
		return;
	struct probe_target wanted = *t;
	*t = *old;
	t->interval_ms = wanted.interval_ms;
	t->timeout_ms = wanted.timeout_ms;
	t->health.up = wanted.health.up;
	t->health.down = wanted.health.down;
	if (mono_is_before(mono_add_us(now, (uint64_t)t->interval_ms * 1100), t->due))
		t->due = probe_first_due(p, t, now); // the interval is shorter than it was
}

// ---- Endpoints ----

static int compare_endpoints(const void *a, const void *b)
{
	const struct probe_endpoint *x = a;
	const struct probe_endpoint *y = b;
	int order = ip_addr_compare(&x->dip, &y->dip);
	if (order == 0)
		order = ip_addr_compare(&x->vip, &y->vip);
	if (order == 0)
		order = (int)x->protocol - y->protocol;
	return order != 0 ? order : (int)x->port - y->port;
}

static void keep_endpoint(const struct probes *p, struct probe_endpoint *e)
{
	const struct probe_endpoint *old =
		p->n_endpoints == 0 ? NULL : bsearch(e, p->endpoints, p->n_endpoints, sizeof *e, compare_endpoints);
	if (old == NULL)
		return;
	e->is_told = old->is_told;
	e->told = old->told;
}

// ---- All of it ----

static int allocate(struct plan *plan)
{
	plan->wishes = memory_array(plan->n, sizeof *plan->wishes);
	plan->targets = memory_array(plan->n, sizeof *plan->targets);
	plan->endpoints = memory_array(plan->n, sizeof *plan->endpoints);
	plan->entries = memory_array(plan->n, sizeof *plan->entries);
	if (plan->wishes != NULL && plan->targets != NULL && plan->endpoints != NULL && plan->entries != NULL)
		return 0;
	memory_free(plan->wishes);
	memory_free(plan->targets);
	memory_free(plan->endpoints);
	memory_free(plan->entries);
	return ERR_NO_MEMORY;
}

static void take_over(struct probes *p, const struct plan *plan)
{
	memory_free(p->targets);
	memory_free(p->endpoints);
	memory_free(p->queue.entries);
	p->n_targets = plan->n_targets;
	p->targets = plan->targets;
	p->n_endpoints = plan->n;
	p->endpoints = plan->endpoints;
	p->queue = (struct due_queue){ .entries = plan->entries };
	p->queue_is_stale = true;
	p->has_news = true;
	p->n_awaited = 0;
	for (uint32_t i = 0; i < p->n_targets; i++)
		p->n_awaited += p->targets[i].is_awaited;
}

int probes_configure(struct probes *p, const struct store *store, const char *host, struct mono_time now)
{
	struct plan plan = { .n = list_wishes(store, host, NULL) };
	if (allocate(&plan) != 0)
		return ERR_NO_MEMORY;
	list_wishes(store, host, plan.wishes);
	qsort(plan.wishes, plan.n, sizeof *plan.wishes, compare_wishes);
	make_targets(&plan);
	qsort(plan.endpoints, plan.n, sizeof *plan.endpoints, compare_endpoints);
	for (uint32_t i = 0; i < plan.n_targets; i++)
		keep_target(p, &plan.targets[i], now);
	for (uint32_t i = 0; i < plan.n; i++)
		keep_endpoint(p, &plan.endpoints[i]);
	memory_free(plan.wishes);
	take_over(p, &plan);
	return 0;
}
