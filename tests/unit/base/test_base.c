#include "tests/support/suite.h"

#include <string.h>

#include "common/base/arena.h"
#include "common/base/error.h"
#include "common/base/hash.h"
#include "common/base/memory.h"
#include "common/base/mono.h"
#include "common/base/text.h"

START_TEST(an_error_gathers_context_in_front)
{
	struct error err = { 0 };
	ck_assert_int_eq(error_set(&err, ERR_INVALID, "must be %d to %d", 1, 9), ERR_INVALID);
	ck_assert_int_eq(error_prefix(&err, "dips[%d].port: ", 3), ERR_INVALID);
	ck_assert_str_eq(err.text, "dips[3].port: must be 1 to 9");
	ck_assert_int_eq(error_set(NULL, ERR_IO, "nobody reads this"), ERR_IO);
}
END_TEST

START_TEST(an_error_that_is_too_long_is_cut_not_overrun)
{
	struct error err = { 0 };
	char text[2 * ERROR_TEXT_BYTES];
	memset(text, 'x', sizeof text);
	text[sizeof text - 1] = '\0';
	error_set(&err, ERR_IO, "%s", text);
	ck_assert_uint_eq(strlen(err.text), ERROR_TEXT_BYTES - 1);
	error_prefix(&err, "front: ");
	ck_assert_uint_eq(strlen(err.text), ERROR_TEXT_BYTES - 1);
	ck_assert_int_eq(strncmp(err.text, "front: x", 8), 0);
}
END_TEST

START_TEST(only_whole_decimal_numbers_within_bounds_are_read)
{
	static const struct {
		const char *text;
		bool ok;
		uint64_t value;
	} rows[] = {
		{ "0", true, 0 },
		{ "100", true, 100 },
		{ "", false, 0 },
		{ "+1", false, 0 },
		{ "-1", false, 0 },
		{ "1x", false, 0 },
		{ " 1", false, 0 },
		{ "101", false, 0 },
		{ "0x10", false, 0 },
		{ "1.5", false, 0 },
		{ "007", true, 7 },
		{ "18446744073709551616", false, 0 },
		{ "18446744073709551615", false, 0 },
	};
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		uint64_t value = 77;
		ck_assert_msg(text_parse_u64(rows[i].text, 0, 100, &value) == rows[i].ok, "%s", rows[i].text);
		ck_assert_uint_eq(value, rows[i].ok ? rows[i].value : 77);
	}
	uint64_t value;
	ck_assert(text_parse_u64("18446744073709551615", 0, UINT64_MAX, &value));
	ck_assert_uint_eq(value, UINT64_MAX);
}
END_TEST

START_TEST(a_name_is_letters_digits_and_a_few_marks)
{
	char longest[NAME_BYTES];
	memset(longest, 'a', sizeof longest - 1);
	longest[sizeof longest - 1] = '\0';
	char too_long[NAME_BYTES + 1];
	memset(too_long, 'a', sizeof too_long - 1);
	too_long[sizeof too_long - 1] = '\0';
	ck_assert(text_is_name("shop"));
	ck_assert(text_is_name("vm1-1.prod_x"));
	ck_assert(text_is_name(longest));
	ck_assert(!text_is_name(too_long));
	ck_assert(!text_is_name(""));
	ck_assert(!text_is_name("-x"));
	ck_assert(!text_is_name("a b"));
	ck_assert(!text_is_name("a\n"));
	ck_assert(!text_is_name("\xc3\xa4"));
}
END_TEST

START_TEST(an_arena_gives_zeroed_aligned_memory_of_any_size)
{
	struct arena a;
	arena_init(&a);
	for (size_t n = 0; n < 200; n++) {
		unsigned char *p = arena_array(&a, n * 97, 1);
		ck_assert_ptr_nonnull(p);
		ck_assert_uint_eq((uintptr_t)p % 16, 0);
		for (size_t i = 0; i < n * 97; i++) {
			ck_assert_uint_eq(p[i], 0);
			p[i] = 0xff;
		}
	}
	ck_assert_ptr_nonnull(arena_array(&a, 1 << 20, 1));
	ck_assert_ptr_null(arena_array(&a, SIZE_MAX, 2));
	arena_fini(&a);
	memory_fail_after(0);
	ck_assert_ptr_null(arena_array(&a, 1, 1));
	arena_fini(&a);
}
END_TEST

START_TEST(the_nth_allocation_can_be_made_to_fail_once)
{
	memory_fail_after(1);
	void *first = memory_array(1, 1);
	void *second = memory_array(1, 1);
	void *third = memory_array(1, 1);
	ck_assert_ptr_nonnull(first);
	ck_assert_ptr_null(second);
	ck_assert_ptr_nonnull(third);
	memory_free(first);
	memory_free(third);
	ck_assert_ptr_null(memory_resize(NULL, SIZE_MAX, 8));
}
END_TEST

START_TEST(an_array_grows_when_it_is_full_and_stays_as_it_was_without_memory)
{
	uint32_t capacity = 0;
	uint64_t *items = NULL;
	for (uint32_t n = 0; n < 1000; n++) {
		uint32_t before = capacity;
		if (n == capacity) {
			memory_fail_after(0);
			ck_assert_ptr_null(memory_grow(items, n, &capacity, sizeof *items));
			ck_assert_uint_eq(capacity, before);
		}
		uint64_t *grown = memory_grow(items, n, &capacity, sizeof *items);
		ck_assert_ptr_nonnull(grown);
		ck_assert(n < before ? grown == items && capacity == before : capacity > n);
		items = grown;
		items[n] = n;
	}
	for (uint32_t n = 0; n < 1000; n++)
		ck_assert_uint_eq(items[n], n);
	memory_free(items);
}
END_TEST

START_TEST(hash_reduce_is_even_and_in_range)
{
	enum { N = 7, ROUNDS = 70000 };
	uint32_t counts[N] = { 0 };
	for (uint64_t i = 0; i < ROUNDS; i++)
		counts[hash_reduce(hash_mix64(i), N)]++;
	for (int i = 0; i < N; i++)
		ck_assert_msg(counts[i] > ROUNDS / N * 95 / 100 && counts[i] < ROUNDS / N * 105 / 100, "%u", counts[i]);
}
END_TEST

START_TEST(hashes_of_bytes_never_change)
{
	// Part of the protocol between programs: a change here breaks a running cluster.
	ck_assert_uint_eq(hash_bytes("", 0, 0), hash_mix64(hash_mix64(0)));
	ck_assert_uint_eq(hash_mix64(1), 0xb456bcfc34c2cb2cULL);
	ck_assert_uint_ne(hash_bytes("a", 1, 0), hash_bytes("a\0", 2, 0));
	ck_assert_uint_ne(hash_bytes("a", 1, 0), hash_bytes("a", 1, 1));
}
END_TEST

START_TEST(elapsed_time_is_never_negative)
{
	struct mono_time t = mono_from_us(100);
	ck_assert_uint_eq(mono_elapsed_us(t, mono_add_us(t, 5)), 5);
	ck_assert_uint_eq(mono_elapsed_us(mono_add_us(t, 5), t), 0);
	ck_assert(mono_is_before(t, mono_add_us(t, 1)));
	ck_assert(!mono_is_before(t, t));
}
END_TEST

SUITE_MAIN("base", an_error_gathers_context_in_front, an_error_that_is_too_long_is_cut_not_overrun,
           only_whole_decimal_numbers_within_bounds_are_read, a_name_is_letters_digits_and_a_few_marks,
           an_arena_gives_zeroed_aligned_memory_of_any_size, the_nth_allocation_can_be_made_to_fail_once,
           an_array_grows_when_it_is_full_and_stays_as_it_was_without_memory, hash_reduce_is_even_and_in_range,
           hashes_of_bytes_never_change, elapsed_time_is_never_negative)
