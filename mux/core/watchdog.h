// Does the mux still move? The judgement of the watchdog: what it saw of the two threads that must not stand still, and when.
//
// Each thread counts its turns. One that has not counted for `limit` hangs: the worker forwards nothing, or the control thread
// could neither withdraw nor drain any more. Only time in which the watchdog itself looked on time is held against them:
// where it comes late the whole machine stood still, or was too busy, and a late look counts as one.
// A control thread that says that it is in long work (making tables for thousands of endpoints) may take WATCHDOG_WORK_US.
// Pure; one owner.
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "common/base/mono.h"

#define WATCHDOG_LOOK_US 50000 // between looks, and the control thread's longest pause
#define WATCHDOG_WORK_US 60000000
#define WATCHDOG_MS_DEFAULT 600
#define WATCHDOG_MS_MIN 300 // the worker sleeps up to 100 ms, and must not be killed for two bad moments
#define WATCHDOG_MS_MAX 60000

enum watchdog_thread { WATCHDOG_WORKER, WATCHDOG_CONTROL, WATCHDOG_THREADS };

// What it sees in one look.
struct watchdog_sight {
	uint64_t turns[WATCHDOG_THREADS];
	bool is_in_long_work; // the control thread
};

struct watchdog {
	uint64_t limit_us;
	struct mono_time looked;
	uint64_t turns[WATCHDOG_THREADS]; // at that look
	uint64_t still_us[WATCHDOG_THREADS]; // how long each has not moved
};

enum watchdog_verdict { WATCHDOG_MOVES, WATCHDOG_WORKER_HANGS, WATCHDOG_CONTROL_HANGS };

// The first look: nothing is held against anybody yet.
void watchdog_init(struct watchdog *w, uint32_t limit_ms, const struct watchdog_sight *sight, struct mono_time now);

// A further one, due every WATCHDOG_LOOK_US. Where both hang the worker is named.
enum watchdog_verdict watchdog_look(struct watchdog *w, const struct watchdog_sight *sight, struct mono_time now);
