#include "hostagent/core/probe_health.h"

static uint32_t damping_of(const struct probe_health *h, struct mono_time now)
{
	return h->damping == 0 || mono_elapsed_us(h->changed, now) >= PROBE_QUIET_US ? 1 : h->damping;
}

uint32_t probe_health_successes_needed(const struct probe_health *h, struct mono_time now)
{
	return h->up * damping_of(h, now);
}

static bool become(struct probe_health *h, enum probe_verdict verdict, struct mono_time now)
{
	h->damping = damping_of(h, now);
	h->fell_ill = h->verdict == PROBE_HEALTHY;
	h->verdict = verdict;
	h->streak = 0;
	h->changed = now;
	return true;
}

static void note_return(struct probe_health *h, struct mono_time now)
{
	bool is_flap = h->fell_ill && mono_elapsed_us(h->changed, now) < PROBE_FLAP_US;
	h->damping = damping_of(h, now) * (is_flap ? 2 : 1);
	if (h->damping > PROBE_DAMPING_MAX)
		h->damping = PROBE_DAMPING_MAX;
}

bool probe_health_on_success(struct probe_health *h, struct mono_time now)
{
	if (h->verdict == PROBE_HEALTHY) {
		h->streak = 0;
		return false;
	}
	if (h->verdict == PROBE_UNHEALTHY && ++h->streak < probe_health_successes_needed(h, now))
		return false;
	if (h->verdict == PROBE_UNHEALTHY)
		note_return(h, now);
	h->cause[0] = '\0';
	return become(h, PROBE_HEALTHY, now);
}

static void set_cause(struct probe_health *h, const char *cause)
{
	text_format(h->cause, sizeof h->cause, "%s", cause);
}

bool probe_health_on_failure(struct probe_health *h, const char *cause, struct mono_time now)
{
	if (h->verdict == PROBE_UNHEALTHY) {
		h->streak = 0;
		set_cause(h, cause);
		return false;
	}
	if (h->verdict == PROBE_HEALTHY && ++h->streak < h->down)
		return false;
	set_cause(h, cause);
	return become(h, PROBE_UNHEALTHY, now);
}

bool probe_health_on_missing(struct probe_health *h, const char *cause, struct mono_time now)
{
	set_cause(h, cause);
	h->streak = 0;
	return h->verdict != PROBE_UNHEALTHY && become(h, PROBE_UNHEALTHY, now);
}
