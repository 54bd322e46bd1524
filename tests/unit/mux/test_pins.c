// The table of pins against a naive model, and its answers when a set is full.
#include "mux/core/pins.h"

#include <stdlib.h>
#include <time.h>

#include "common/base/hash.h"
#include "common/base/memory.h"
#include "tests/support/suite.h"

static struct pins *pins_create(uint32_t max_pins)
{
	struct pins *p = memory_array(1, sizeof *p);
	pins_init(p, max_pins, memory_aligned(PINS_ALIGN, pins_memory_bytes(max_pins)));
	return p;
}

static void pins_destroy(struct pins *p)
{
	memory_free(p->sets);
	memory_free(p);
}

// The DIP of a flow, as the pipeline asks for it: 0 when it has no pin.
static be32 ask(struct pins *p, uint64_t hash)
{
	struct pin_set *s = pins_set_of(p, hash);
	uint32_t way = pin_set_lookup(s, hash);
	if (way == PIN_WAYS || s->dips[way] == 0)
		return 0;
	pin_set_touch(s, way);
	return s->dips[way];
}

static bool take_away(struct pins *p, uint64_t hash)
{
	struct pin_set *s = pins_set_of(p, hash);
	uint32_t way = pin_set_lookup(s, hash);
	if (way == PIN_WAYS || s->dips[way] == 0)
		return false;
	pins_remove(p, s, way);
	return true;
}

START_TEST(an_empty_table_finds_nothing_not_even_hash_zero)
{
	struct pins *p = pins_create(1000);
	ck_assert_uint_eq(ask(p, 0), 0);
	ck_assert_uint_eq(ask(p, UINT64_MAX), 0);
	for (uint64_t i = 0; i < 1000; i++)
		ck_assert_uint_eq(ask(p, hash_mix64(i)), 0);
	pins_destroy(p);
}
END_TEST

START_TEST(a_pin_is_found_until_it_is_removed_and_a_new_one_of_the_flow_takes_its_place)
{
	struct pins *p = pins_create(100);
	static const uint64_t hashes[] = { 0, 1, 0xffffffff00000000ull, 0x123456789abcdef0ull };
	for (size_t i = 0; i < sizeof hashes / sizeof *hashes; i++) {
		ck_assert(!pins_insert(p, hashes[i], 11, 1));
		ck_assert_uint_eq(ask(p, hashes[i]), 11);
		ck_assert(!pins_insert(p, hashes[i], 12, 2));
		ck_assert_uint_eq(ask(p, hashes[i]), 12);
		ck_assert_uint_eq(p->n_pins, 1);
		ck_assert(take_away(p, hashes[i]));
		ck_assert_uint_eq(ask(p, hashes[i]), 0);
		ck_assert_uint_eq(p->n_pins, 0);
	}
	pins_destroy(p);
}
END_TEST

START_TEST(a_full_set_loses_a_pin_that_was_not_used_lately)
{
	struct pins *p = pins_create(PIN_WAYS); // one set
	for (uint64_t i = 0; i < PIN_WAYS; i++)
		ck_assert(!pins_insert(p, (i + 1) << 32, 7, 0));
	ck_assert(pins_insert(p, 100ull << 32, 7,
	                      0)); // the last one was used last, the rest counts as unused: the first one goes
	ck_assert_uint_eq(ask(p, 1ull << 32), 0);
	for (uint64_t i = 2; i < PIN_WAYS; i++)
		if (i != 4)
			ck_assert_uint_eq(ask(p, i << 32), 7);
	ck_assert(pins_insert(p, 101ull << 32, 7, 0));
	ck_assert_uint_eq(ask(p, 4ull << 32), 0); // the one that nobody asked for
	ck_assert_uint_eq(ask(p, 100ull << 32), 7);
	ck_assert_uint_eq(p->n_pins, PIN_WAYS);
	pins_destroy(p);
}
END_TEST

START_TEST(when_all_were_used_one_goes_and_the_others_have_to_be_used_again)
{
	struct pins *p = pins_create(PIN_WAYS);
	for (uint64_t i = 1; i <= PIN_WAYS; i++)
		ck_assert(!pins_insert(p, i << 32, 7, 0));
	for (uint64_t i = 1; i <= PIN_WAYS; i++)
		ck_assert_uint_eq(ask(p, i << 32), 7);
	ck_assert(pins_insert(p, 100ull << 32, 7, 0));
	uint64_t kept = 0; // one of those that are left, and the only one of them that goes on
	for (uint64_t i = 1; i <= PIN_WAYS && kept == 0; i++)
		kept = ask(p, i << 32) != 0 ? i : 0;
	for (uint64_t i = 101; i < 101 + 4 * PIN_WAYS; i++) {
		ck_assert(pins_insert(p, i << 32, 7, 0));
		ck_assert_uint_eq(ask(p, i << 32), 7);
		ck_assert_uint_eq(ask(p, kept << 32), 7);
	}
	for (uint64_t i = 1; i <= PIN_WAYS; i++)
		ck_assert_uint_eq(ask(p, i << 32), i == kept ? 7 : 0);
	pins_destroy(p);
}
END_TEST

START_TEST(a_set_whose_pins_were_all_used_is_only_read)
{
	struct pins *p = pins_create(PIN_WAYS);
	for (uint64_t i = 1; i <= PIN_WAYS; i++)
		ck_assert(!pins_insert(p, i << 32, 7, 0));
	for (uint64_t i = 1; i <= PIN_WAYS; i++)
		(void)ask(p, i << 32);
	struct pin_set before = p->sets[0];
	for (uint64_t i = 1; i <= 3 * PIN_WAYS; i++)
		(void)ask(p, i << 32);
	ck_assert_mem_eq(&before, &p->sets[0], sizeof before);
	pins_destroy(p);
}
END_TEST

START_TEST(a_free_way_is_taken_before_anything_goes)
{
	struct pins *p = pins_create(PIN_WAYS);
	for (uint64_t i = 0; i < PIN_WAYS; i++)
		ck_assert(!pins_insert(p, (i + 1) << 32, 7, 0));
	ck_assert(take_away(p, 3ull << 32));
	ck_assert(!pins_insert(p, 9ull << 32, 8, 0));
	for (uint64_t i = 0; i < PIN_WAYS; i++)
		ck_assert_uint_eq(ask(p, (i + 1) << 32), i + 1 == 3 ? 0 : 7);
	pins_destroy(p);
}
END_TEST

START_TEST(a_flow_in_use_outlives_any_number_of_others)
{
	struct pins *p = pins_create(60);
	uint64_t mine = hash_mix64(4711);
	unsigned seed = 1;
	(void)pins_insert(p, mine, 5, 0);
	for (uint64_t i = 0; i < 10000; i++) {
		ck_assert_uint_eq(ask(p, mine), 5);
		(void)pins_insert(p, hash_mix64(i) ^ (uint64_t)rand_r(&seed) << 40, 6, 0);
	}
	pins_destroy(p);
}
END_TEST

// ---- a naive model: the list of all pins there ever were; what was evicted is told by the table ----

enum { N_FLOWS = 4000, N_ROUNDS = 200000 };

static void check_count(const struct pins *p, uint64_t n_model, unsigned seed)
{
	uint64_t n = 0;
	for (uint32_t i = 0; i < p->n_sets; i++)
		for (uint32_t way = 0; way < PIN_WAYS; way++)
			n += p->sets[i].dips[way] != 0;
	ck_assert_msg(n == p->n_pins && n == n_model, "%llu counted, %llu held, %llu in the model; seed %u",
	              (unsigned long long)n, (unsigned long long)p->n_pins, (unsigned long long)n_model, seed);
}

static void run_random(uint32_t max_pins)
{
	unsigned seed = (unsigned)time(NULL);
	unsigned first_seed = seed;
	struct pins *p = pins_create(max_pins);
	be32 *model = memory_array(N_FLOWS, sizeof *model); // what was pinned last; 0: nothing, or taken away
	uint64_t n_held = 0, n_evicted = 0, n_missing = 0;
	for (int i = 0; i < N_ROUNDS; i++) {
		uint32_t flow = (uint32_t)rand_r(&seed) % N_FLOWS;
		uint64_t hash = hash_mix64(flow + 1);
		be32 before = ask(p, hash);
		ck_assert_msg(before == 0 || before == model[flow], "flow %u, seed %u", flow, first_seed);
		switch (rand_r(&seed) % 4) {
		case 0:
			ck_assert_int_eq(take_away(p, hash), before != 0);
			n_held -= before != 0;
			model[flow] = 0;
			break;
		case 1: {
			bool is_eviction = pins_insert(p, hash, model[flow] = 1 + (be32)rand_r(&seed) % 1000, 0);
			ck_assert(!is_eviction || before == 0);
			n_held += before == 0 && !is_eviction;
			n_evicted += is_eviction;
			ck_assert_uint_eq(ask(p, hash), model[flow]);
			break;
		}
		default: break;
		}
	}
	check_count(p, n_held, first_seed);
	for (uint32_t flow = 0; flow < N_FLOWS; flow++)
		n_missing += model[flow] != 0 && ask(p, hash_mix64(flow + 1)) == 0;
	ck_assert_uint_le(n_missing, n_evicted); // nothing is lost but by evictions
	ck_assert_uint_le(p->n_pins, (uint64_t)p->n_sets * PIN_WAYS);
	pins_destroy(p);
	memory_free(model);
}

START_TEST(random_operations_agree_with_a_list)
{
	run_random(1); // hardly any room
	run_random(1000);
	run_random(100000); // nothing is evicted
}
END_TEST

START_TEST(a_table_of_one_pin_has_a_set_and_memory_is_10_7_bytes_a_pin)
{
	ck_assert_uint_eq(pins_memory_bytes(1), PINS_ALIGN);
	size_t n_bytes = pins_memory_bytes(1u << 20);
	ck_assert_uint_le(n_bytes, (1u << 20) * 64 / 6 + 64 + PINS_ALIGN);
	ck_assert_uint_ge(n_bytes, (1u << 20) * 64 / 6);
}
END_TEST

SUITE_MAIN("mux pins", an_empty_table_finds_nothing_not_even_hash_zero,
           a_pin_is_found_until_it_is_removed_and_a_new_one_of_the_flow_takes_its_place,
           a_full_set_loses_a_pin_that_was_not_used_lately,
           when_all_were_used_one_goes_and_the_others_have_to_be_used_again,
           a_set_whose_pins_were_all_used_is_only_read, a_free_way_is_taken_before_anything_goes,
           a_flow_in_use_outlives_any_number_of_others, random_operations_agree_with_a_list,
           a_table_of_one_pin_has_a_set_and_memory_is_10_7_bytes_a_pin)
