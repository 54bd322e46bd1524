// What is due next: a binary heap of (time, number). Its memory is the caller's: room for as many as may wait.
// Cost: O(log n) to put and to take.
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "common/base/mono.h"

struct due_entry {
	struct mono_time at;
	uint32_t number;
};

struct due_queue {
	uint32_t n;
	struct due_entry *entries;
};

static inline void due_queue_put(struct due_queue *q, struct mono_time at, uint32_t number)
{
	uint32_t i = q->n++;
	for (; i > 0 && mono_is_before(at, q->entries[(i - 1) / 2].at); i = (i - 1) / 2)
		q->entries[i] = q->entries[(i - 1) / 2];
	q->entries[i] = (struct due_entry){ .at = at, .number = number };
}

// The first one stays in the queue; NULL when it is empty.
static inline const struct due_entry *due_queue_peek(const struct due_queue *q)
{
	return q->n > 0 ? &q->entries[0] : NULL;
}

// Takes the first one away; the queue is not empty.
static inline void due_queue_drop(struct due_queue *q)
{
	struct due_entry last = q->entries[--q->n];
	uint32_t i = 0;
	for (uint32_t child = 1; child < q->n; child = 2 * i + 1) {
		if (child + 1 < q->n && mono_is_before(q->entries[child + 1].at, q->entries[child].at))
			child++;
		if (!mono_is_before(q->entries[child].at, last.at))
			break;
		q->entries[i] = q->entries[child];
		i = child;
	}
	q->entries[i] = last;
}
