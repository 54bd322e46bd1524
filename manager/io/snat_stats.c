#include "manager/io/snat_stats.h"

#include <string.h>

#include "common/base/text.h"

#define SUBSTEPS 8 // of a power of two

// 0 to 7 by themselves, then eight steps for each power of two.
static uint32_t step_of(uint64_t us)
{
	if (us < SUBSTEPS)
		return (uint32_t)us;
	uint32_t power = 63 - (uint32_t)__builtin_clzll(us); // 3 at least
	uint32_t step = (power - 2) * SUBSTEPS + (uint32_t)(us >> (power - 3) & (SUBSTEPS - 1));
	return step < LATENCY_STEPS ? step : LATENCY_STEPS - 1;
}

// The highest value of a step.
static uint64_t top_of(uint32_t step)
{
	if (step < SUBSTEPS)
		return step;
	uint32_t power = step / SUBSTEPS + 2;
	return ((uint64_t)(SUBSTEPS + step % SUBSTEPS + 1) << (power - 3)) - 1;
}

static void slide(struct latency_window *w, struct mono_time now)
{
	uint64_t age_us = mono_elapsed_us(w->since, now);
	if (age_us < LATENCY_WINDOW_US)
		return;
	bool is_old = age_us >= 2 * LATENCY_WINDOW_US;
	w->n_before = is_old ? 0 : w->n_now;
	memcpy(w->before, w->now, sizeof w->before);
	if (is_old)
		memset(w->before, 0, sizeof w->before);
	w->n_now = 0;
	memset(w->now, 0, sizeof w->now);
	w->since = now;
}

void latency_window_add(struct latency_window *w, uint64_t us, struct mono_time now)
{
	slide(w, now);
	w->now[step_of(us)]++;
	w->n_now++;
}

uint64_t latency_window_quantile_us(const struct latency_window *w, uint32_t percent, struct mono_time now)
{
	struct latency_window copy = *w;
	slide(&copy, now);
	uint64_t n = copy.n_now + copy.n_before;
	uint64_t rank = (n * percent + 99) / 100;
	uint64_t seen = 0;
	for (uint32_t i = 0; i < LATENCY_STEPS; i++) {
		seen += copy.now[i] + copy.before[i];
		if (seen >= rank && seen > 0)
			return top_of(i);
	}
	return 0;
}

void snat_stats_put(struct counter *counters, uint32_t *n, const char *name, uint64_t value)
{
	if (*n == CLUSTER_COUNTERS_MAX)
		return;
	(void)text_copy(counters[*n].name, sizeof counters[*n].name, name);
	counters[(*n)++].value = value;
}

void snat_stats_fill(const struct snat_stats *s, struct mono_time now, struct counter *counters, uint32_t *n)
{
#define X(name) snat_stats_put(counters, n, "snat_" #name, s->name);
	SNAT_STATS(X)
#undef X
	snat_stats_put(counters, n, "snat_answer_p50_us", latency_window_quantile_us(&s->latency, 50, now));
	snat_stats_put(counters, n, "snat_answer_p99_us", latency_window_quantile_us(&s->latency, 99, now));
}
