// Monotonic time as a value that is passed in: pure code never reads a clock.
#pragma once

#include <stdbool.h>
#include <stdint.h>

struct mono_time {
	uint64_t us; // microseconds since an arbitrary start that all parts of one process share
};

static inline struct mono_time mono_from_us(uint64_t us)
{
	return (struct mono_time){ .us = us };
}

static inline struct mono_time mono_add_us(struct mono_time t, uint64_t us)
{
	return (struct mono_time){ .us = t.us + us };
}

// Microseconds from `earlier` to `later`; 0 when it is not earlier.
static inline uint64_t mono_elapsed_us(struct mono_time earlier, struct mono_time later)
{
	return later.us > earlier.us ? later.us - earlier.us : 0;
}

static inline bool mono_is_before(struct mono_time a, struct mono_time b)
{
	return a.us < b.us;
}
