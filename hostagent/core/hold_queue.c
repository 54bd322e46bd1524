#include "hostagent/core/hold_queue.h"

#include "common/base/check.h"
#include "common/base/memory.h"

int hold_queue_init(struct hold_queue *q, uint32_t n_slots, uint32_t n_places)
{
	CHECK(n_places < HOLD_NOTHING);
	*q = (struct hold_queue){ .n_slots = n_slots, .n_places = n_places, .free = HOLD_NOTHING };
	q->places = memory_array(n_places, sizeof *q->places);
	q->slots = memory_array(n_slots, sizeof *q->slots);
	if (q->places == NULL || q->slots == NULL) {
		hold_queue_fini(q);
		return ERR_NO_MEMORY;
	}
	for (uint32_t i = n_places; i-- > 0;) {
		q->places[i].next = q->free;
		q->free = (uint16_t)i;
	}
	return 0;
}

void hold_queue_fini(struct hold_queue *q)
{
	memory_free(q->places);
	memory_free(q->slots);
	*q = (struct hold_queue){ 0 };
}

// Other threads read it.
static void set_count(struct hold_slot *s, uint16_t n)
{
	__atomic_store_n(&s->n, n, __ATOMIC_RELAXED);
}

bool hold_queue_take(struct hold_queue *q, uint16_t slot, struct held_frame *ret_frame)
{
	struct hold_slot *s = &q->slots[slot];
	if (s->n == 0)
		return false;
	uint16_t at = s->first;
	*ret_frame = q->places[at];
	s->first = q->places[at].next;
	set_count(s, (uint16_t)(s->n - 1));
	q->places[at].next = q->free;
	q->free = at;
	q->n--;
	return true;
}

void *hold_queue_put(struct hold_queue *q, uint16_t slot, const struct held_frame *frame)
{
	struct hold_slot *s = &q->slots[slot];
	struct held_frame oldest = { .frame = NULL };
	if (s->n >= SNAT_HOLD_PACKETS || s->n >= q->n_places - q->n) {
		if (!hold_queue_take(q, slot, &oldest))
			return frame->frame;
	}
	uint16_t at = q->free;
	q->free = q->places[at].next;
	q->places[at] = *frame;
	if (s->n == 0)
		s->first = at;
	else
		q->places[s->last].next = at;
	s->last = at;
	set_count(s, (uint16_t)(s->n + 1));
	q->n++;
	return oldest.frame;
}

bool hold_queue_take_expired(struct hold_queue *q, struct mono_time since, uint32_t *cursor, uint16_t *ret_slot,
                             struct held_frame *ret_frame)
{
	for (; q->n > 0 && *cursor < q->n_slots; ++*cursor) {
		const struct hold_slot *s = &q->slots[*cursor];
		if (s->n == 0 || !mono_is_before(q->places[s->first].since, since))
			continue;
		*ret_slot = (uint16_t)*cursor;
		return hold_queue_take(q, *ret_slot, ret_frame);
	}
	return false;
}

uint32_t hold_queue_count(const struct hold_queue *q, uint16_t slot)
{
	return __atomic_load_n(&q->slots[slot].n, __ATOMIC_RELAXED);
}
