#include "mux/core/watchdog.h"

void watchdog_init(struct watchdog *w, uint32_t limit_ms, const struct watchdog_sight *sight, struct mono_time now)
{
	*w = (struct watchdog){ .limit_us = (uint64_t)limit_ms * 1000, .looked = now };
	for (int i = 0; i < WATCHDOG_THREADS; i++)
		w->turns[i] = sight->turns[i];
}

static void look_at(struct watchdog *w, int thread, uint64_t turns, uint64_t elapsed_us)
{
	w->still_us[thread] = turns == w->turns[thread] ? w->still_us[thread] + elapsed_us : 0;
	w->turns[thread] = turns;
}

enum watchdog_verdict watchdog_look(struct watchdog *w, const struct watchdog_sight *sight, struct mono_time now)
{
	uint64_t elapsed_us = mono_elapsed_us(w->looked, now);
	if (elapsed_us > WATCHDOG_LOOK_US)
		elapsed_us = WATCHDOG_LOOK_US;
	w->looked = now;
	for (int i = 0; i < WATCHDOG_THREADS; i++)
		look_at(w, i, sight->turns[i], elapsed_us);
	uint64_t control_limit_us = sight->is_in_long_work ? WATCHDOG_WORK_US : w->limit_us;
	if (w->still_us[WATCHDOG_WORKER] >= w->limit_us)
		return WATCHDOG_WORKER_HANGS;
	return w->still_us[WATCHDOG_CONTROL] >= control_limit_us ? WATCHDOG_CONTROL_HANGS : WATCHDOG_MOVES;
}
