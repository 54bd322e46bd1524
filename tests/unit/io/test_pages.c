// Memory in hugepages: where it lies, what is in it, that it can be had again and again.
#include "common/io/pages.h"

#include <stdint.h>
#include <string.h>

#include "tests/support/suite.h"

START_TEST(pages_begin_at_a_hugepage_and_are_zero)
{
	static const size_t sizes[] = { 1, 4096, PAGES_HUGE_BYTES - 1, PAGES_HUGE_BYTES, PAGES_HUGE_BYTES + 1 };
	for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
		uint8_t *pages = pages_create(sizes[i]);
		ck_assert_ptr_nonnull(pages);
		ck_assert_uint_eq((uintptr_t)pages % PAGES_HUGE_BYTES, 0);
		for (size_t k = 0; k < sizes[i]; k++)
			ck_assert_uint_eq(pages[k], 0);
		memset(pages, 0xff, sizes[i]); // what is freed here must not come back
		pages_destroy(pages, sizes[i]);
	}
}
END_TEST

START_TEST(several_lie_apart)
{
	enum { N = 4 };
	uint8_t *pages[N];
	for (int i = 0; i < N; i++) {
		pages[i] = pages_create(PAGES_HUGE_BYTES);
		memset(pages[i], i + 1, PAGES_HUGE_BYTES);
	}
	for (int i = 0; i < N; i++) {
		ck_assert_uint_eq(pages[i][0], i + 1);
		ck_assert_uint_eq(pages[i][PAGES_HUGE_BYTES - 1], i + 1);
		pages_destroy(pages[i], PAGES_HUGE_BYTES);
	}
}
END_TEST

START_TEST(too_much_is_refused_and_nothing_is_freed)
{
	ck_assert_ptr_null(pages_create(SIZE_MAX));
	ck_assert_ptr_null(pages_create(SIZE_MAX / 4));
	pages_destroy(NULL, 100);
}
END_TEST

SUITE_MAIN("pages", pages_begin_at_a_hugepage_and_are_zero, several_lie_apart, too_much_is_refused_and_nothing_is_freed)
