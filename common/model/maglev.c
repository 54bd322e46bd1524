#include "common/model/maglev.h"

#include "common/base/check.h"
#include "common/base/hash.h"
#include "common/base/memory.h"

// Two independent hashes of a DIP give its permutation of the buckets; the constants are part of the protocol between
// programs and never change.
#define MAGLEV_OFFSET_SEED 0x6f66667365740001ULL
#define MAGLEV_SKIP_SEED 0x736b697000000001ULL

static const uint32_t table_sizes[] = { 1009, 1009 << 2, 1009 << 4, 1009 << 6, 1009 << 8, 1009 << 9 };

uint32_t maglev_table_size(uint32_t n_members)
{
	CHECK(n_members >= 1 && n_members <= 4096);
	uint32_t i = 0;
	while (table_sizes[i] < n_members * 100u)
		i++;
	return table_sizes[i];
}

struct turn {
	uint32_t next; // bucket that this member tries next
	uint32_t skip;
	uint32_t weight;
	uint64_t credit; // turns saved up, in units of 1 / sum of weights
};

static uint32_t greatest_common_divisor(uint32_t a, uint32_t b)
{
	while (b != 0) {
		uint32_t rest = a % b;
		a = b;
		b = rest;
	}
	return a;
}

static void turn_init(struct turn *t, const struct maglev_member *m, uint32_t n_slots)
{
	t->next = (uint32_t)(hash_bytes(m->dip.bytes, sizeof m->dip.bytes, MAGLEV_OFFSET_SEED) % n_slots);
	t->skip = (uint32_t)(hash_bytes(m->dip.bytes, sizeof m->dip.bytes, MAGLEV_SKIP_SEED) % (n_slots - 1)) + 1;
	while (greatest_common_divisor(t->skip, n_slots) != 1) // else it would not come to every bucket
		t->skip = t->skip % (n_slots - 1) + 1;
	t->weight = m->weight;
	t->credit = 0;
}

// Takes the first free bucket of the member's permutation.
static void take_bucket(struct turn *t, uint16_t member_idx, uint16_t *slots, uint32_t n_slots)
{
	while (slots[t->next] != UINT16_MAX) {
		t->next += t->skip;
		if (t->next >= n_slots)
			t->next -= n_slots;
	}
	slots[t->next] = member_idx;
}

int maglev_build(const struct maglev_member *members, uint32_t n_members, uint16_t *slots, uint32_t n_slots)
{
	CHECK(n_members >= 1 && n_members < UINT16_MAX && n_slots > n_members);
	struct turn *turns = memory_array(n_members, sizeof *turns);
	if (turns == NULL)
		return ERR_NO_MEMORY;
	uint64_t sum_of_weights = 0;
	for (uint32_t i = 0; i < n_members; i++) {
		turn_init(&turns[i], &members[i], n_slots);
		sum_of_weights += members[i].weight;
	}
	for (uint32_t i = 0; i < n_slots; i++)
		slots[i] = UINT16_MAX;

	// In a round each member gains n x weight in credit and pays the sum of weights for each bucket: n buckets a round on
	// average, whatever the weights, so that the work is linear in the table.
	uint32_t n_taken = 0;
	while (n_taken < n_slots) {
		for (uint32_t i = 0; i < n_members && n_taken < n_slots; i++) {
			turns[i].credit += (uint64_t)turns[i].weight * n_members;
			for (; turns[i].credit >= sum_of_weights && n_taken < n_slots; n_taken++) {
				turns[i].credit -= sum_of_weights;
				take_bucket(&turns[i], (uint16_t)i, slots, n_slots);
			}
		}
	}
	memory_free(turns);
	return 0;
}
