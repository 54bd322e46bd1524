// The simulator's clock: what happens next. Events come out by time, and those of one time in the order in which they went in.
//
// A 4-ary heap of 16-byte entries, so that the children of an entry are one cache line. What an event means is the caller's.
// Cost: O(log n). Capacity: grows; memory short ends the program. At most 2^32 events in one run.
#pragma once

#include <stdbool.h>
#include <stdint.h>

struct event {
	uint64_t at_us;
	uint32_t seq;
	uint32_t what;
};

struct event_queue {
	uint32_t n;
	uint32_t capacity;
	uint32_t next_seq;
	struct event *events;
};

void event_queue_init(struct event_queue *q);
void event_queue_fini(struct event_queue *q);

void event_queue_push(struct event_queue *q, uint64_t at_us, uint32_t what);

// The earliest; false when there is none.
bool event_queue_pop(struct event_queue *q, struct event *ret_event);
