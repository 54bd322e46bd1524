// Frames that wait for ports: their order, who gives way, and who has waited for too long.
#include <stdint.h>
#include <stdio.h>

#include "common/base/memory.h"
#include "hostagent/core/hold_queue.h"
#include "tests/support/suite.h"
#include "tests/unit/hostagent/flow_block.h"

static void *frame_number(uintptr_t n)
{
	return (void *)n; // never looked at
}

static void *put(struct hold_queue *q, uint16_t slot, uintptr_t number, uint64_t s)
{
	struct held_frame f = { .frame = frame_number(number), .since = at_s(s), .port = (uint16_t)(slot + 100) };
	return hold_queue_put(q, slot, &f);
}

static uintptr_t take(struct hold_queue *q, uint16_t slot)
{
	struct held_frame f;
	if (!hold_queue_take(q, slot, &f))
		return 0;
	ck_assert_uint_eq(f.port, slot + 100);
	return (uintptr_t)f.frame;
}

START_TEST(frames_come_back_in_order_and_by_slot)
{
	struct hold_queue q;
	ck_assert_int_eq(hold_queue_init(&q, 3, 16), 0);
	for (uintptr_t i = 1; i <= 6; i++)
		ck_assert_ptr_null(put(&q, i % 2, i, 1));
	ck_assert_uint_eq(q.n, 6);
	ck_assert_uint_eq(hold_queue_count(&q, 1), 3);
	ck_assert_uint_eq(take(&q, 1), 1);
	ck_assert_uint_eq(take(&q, 0), 2);
	ck_assert_uint_eq(take(&q, 1), 3);
	ck_assert_ptr_null(put(&q, 1, 7, 1));
	ck_assert_uint_eq(take(&q, 1), 5);
	ck_assert_uint_eq(take(&q, 1), 7);
	ck_assert_uint_eq(take(&q, 1), 0);
	ck_assert_uint_eq(take(&q, 2), 0);
	ck_assert_uint_eq(q.n, 2);
	hold_queue_fini(&q);
}
END_TEST

START_TEST(the_oldest_of_a_full_queue_gives_way)
{
	struct hold_queue q;
	ck_assert_int_eq(hold_queue_init(&q, 2, 4096), 0);
	for (uintptr_t i = 1; i <= SNAT_HOLD_PACKETS; i++)
		ck_assert_ptr_null(put(&q, 0, i, 1));
	ck_assert_ptr_eq(put(&q, 0, SNAT_HOLD_PACKETS + 1, 1), frame_number(1));
	ck_assert_ptr_eq(put(&q, 0, SNAT_HOLD_PACKETS + 2, 1), frame_number(2));
	ck_assert_uint_eq(hold_queue_count(&q, 0), SNAT_HOLD_PACKETS);
	ck_assert_uint_eq(take(&q, 0), 3);
	hold_queue_fini(&q);
}
END_TEST

START_TEST(who_holds_much_leaves_half_of_the_places_and_nobody_elses_frame_gives_way)
{
	struct hold_queue q;
	ck_assert_int_eq(hold_queue_init(&q, 4, 8), 0);
	for (uintptr_t i = 1; i <= 4; i++)
		ck_assert_ptr_null(put(&q, 0, i, 1));
	ck_assert_ptr_eq(put(&q, 0, 5, 1), frame_number(1)); // as many as are free
	ck_assert_ptr_null(put(&q, 1, 6, 1));
	ck_assert_ptr_null(put(&q, 1, 7, 1));
	ck_assert_ptr_eq(put(&q, 1, 8, 1), frame_number(6)); // its own
	ck_assert_ptr_null(put(&q, 2, 9, 1));
	ck_assert_ptr_null(put(&q, 3, 10, 1));
	ck_assert_ptr_eq(put(&q, 3, 11, 1), frame_number(10));
	ck_assert_uint_eq(take(&q, 2), 9);
	ck_assert_ptr_eq(put(&q, 0, 12, 1), frame_number(2)); // more than are free now, and no more
	ck_assert_uint_eq(hold_queue_count(&q, 0), 4);
	ck_assert_uint_eq(take(&q, 1), 7);
	hold_queue_fini(&q);
}
END_TEST

START_TEST(who_has_waited_too_long_is_found_in_every_slot)
{
	struct hold_queue q;
	struct held_frame f;
	uint32_t cursor = 0;
	uint16_t slot;
	ck_assert_int_eq(hold_queue_init(&q, 4, 16), 0);
	put(&q, 1, 1, 10);
	put(&q, 1, 2, 11);
	put(&q, 1, 3, 13);
	put(&q, 3, 4, 12);
	ck_assert(!hold_queue_take_expired(&q, at_s(10), &cursor, &slot, &f));
	static const struct {
		uint16_t slot;
		uintptr_t number;
	} want[] = { { 1, 1 }, { 1, 2 }, { 3, 4 } };
	cursor = 0;
	for (size_t i = 0; i < 3; i++) {
		ck_assert(hold_queue_take_expired(&q, at_s(13), &cursor, &slot, &f));
		ck_assert_uint_eq(slot, want[i].slot);
		ck_assert_uint_eq((uintptr_t)f.frame, want[i].number);
	}
	ck_assert(!hold_queue_take_expired(&q, at_s(13), &cursor, &slot, &f));
	ck_assert_uint_eq(q.n, 1);
	hold_queue_fini(&q);
}
END_TEST

// ---- Random operations against a model: an array of arrays ----

#define SLOTS 5
#define PLACES 3000
#define STEPS 200000
#define PHASE_STEPS 8000

struct model {
	uint32_t n_at_most; // how often a DIP's limit was met,
	uint32_t n_at_share; // and that of the free places
	uint32_t n[SLOTS];
	uintptr_t frames[SLOTS][SNAT_HOLD_PACKETS + 1];
};

static uintptr_t model_take(struct model *m, uint32_t slot)
{
	if (m->n[slot] == 0)
		return 0;
	uintptr_t first = m->frames[slot][0];
	memmove(m->frames[slot], m->frames[slot] + 1, --m->n[slot] * sizeof first);
	return first;
}

static uintptr_t model_put(struct model *m, uint32_t slot, uintptr_t frame)
{
	uint32_t n = 0;
	uintptr_t gone = 0;
	for (uint32_t i = 0; i < SLOTS; i++)
		n += m->n[i];
	if (m->n[slot] >= SNAT_HOLD_PACKETS || m->n[slot] >= PLACES - n) {
		m->n_at_most += m->n[slot] >= SNAT_HOLD_PACKETS;
		m->n_at_share += m->n[slot] < SNAT_HOLD_PACKETS;
		gone = model_take(m, slot);
		if (gone == 0)
			return frame;
	}
	m->frames[slot][m->n[slot]++] = frame;
	return gone;
}

START_TEST(random_operations_agree_with_a_model)
{
	static struct model m;
	struct hold_queue q;
	uint64_t seed = 77;
	printf("seed %llu\n", (unsigned long long)seed);
	ck_assert_int_eq(hold_queue_init(&q, SLOTS, PLACES), 0);
	for (uintptr_t i = 1; i <= STEPS; i++) {
		bool is_busy_one = i / (2 * PHASE_STEPS) % 2 == 0 && random_below(&seed, 4) > 0;
		uint16_t slot = is_busy_one ? 0 : (uint16_t)random_below(&seed, SLOTS);
		bool is_filling = i / PHASE_STEPS % 2 == 0; // to the brim, and down again
		if (random_below(&seed, 100) < (is_filling ? 70u : 30u))
			ck_assert_uint_eq((uintptr_t)put(&q, slot, i, 1), model_put(&m, slot, i));
		else
			ck_assert_uint_eq(take(&q, slot), model_take(&m, slot));
		ck_assert_uint_eq(hold_queue_count(&q, slot), m.n[slot]);
	}
	ck_assert_uint_gt(m.n_at_most, 0);
	ck_assert_uint_gt(m.n_at_share, 0);
	hold_queue_fini(&q);
}
END_TEST

START_TEST(without_memory_it_is_not_made)
{
	struct hold_queue q;
	for (uint64_t n = 0; n < 2; n++) {
		memory_fail_after(n);
		ck_assert_int_eq(hold_queue_init(&q, 4, 4), ERR_NO_MEMORY);
	}
	memory_fail_after(UINT64_MAX);
}
END_TEST

SUITE_MAIN("agent hold queue", frames_come_back_in_order_and_by_slot, the_oldest_of_a_full_queue_gives_way,
           who_holds_much_leaves_half_of_the_places_and_nobody_elses_frame_gives_way,
           who_has_waited_too_long_is_found_in_every_slot, random_operations_agree_with_a_model,
           without_memory_it_is_not_made)
