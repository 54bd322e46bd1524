#include "tests/sim/queue.h"

#include "common/base/check.h"
#include "common/base/memory.h"

#define CHILDREN 4

static bool is_before(const struct event *a, const struct event *b)
{
	return a->at_us != b->at_us ? a->at_us < b->at_us : a->seq < b->seq;
}

void event_queue_init(struct event_queue *q)
{
	*q = (struct event_queue){ 0 };
}

void event_queue_fini(struct event_queue *q)
{
	memory_free(q->events);
	event_queue_init(q);
}

static void grow(struct event_queue *q)
{
	q->capacity = q->capacity == 0 ? 1024 : q->capacity * 2;
	q->events = memory_resize(q->events, q->capacity, sizeof *q->events);
	CHECK(q->events != NULL);
}

void event_queue_push(struct event_queue *q, uint64_t at_us, uint32_t what)
{
	if (q->n == q->capacity)
		grow(q);
	CHECK(q->next_seq != UINT32_MAX);
	struct event e = { .at_us = at_us, .seq = q->next_seq++, .what = what };
	uint32_t i = q->n++;
	while (i > 0 && is_before(&e, &q->events[(i - 1) / CHILDREN])) {
		q->events[i] = q->events[(i - 1) / CHILDREN];
		i = (i - 1) / CHILDREN;
	}
	q->events[i] = e;
}

static uint32_t earliest_child(const struct event_queue *q, uint32_t first)
{
	uint32_t best = first;
	uint32_t end = first + CHILDREN < q->n ? first + CHILDREN : q->n;
	for (uint32_t i = first + 1; i < end; i++)
		if (is_before(&q->events[i], &q->events[best]))
			best = i;
	return best;
}

bool event_queue_pop(struct event_queue *q, struct event *ret_event)
{
	if (q->n == 0)
		return false;
	*ret_event = q->events[0];
	struct event last = q->events[--q->n];
	uint32_t i = 0;
	while (CHILDREN * i + 1 < q->n) {
		uint32_t child = earliest_child(q, CHILDREN * i + 1);
		if (!is_before(&q->events[child], &last))
			break;
		q->events[i] = q->events[child];
		i = child;
	}
	q->events[i] = last;
	return true;
}
