// A libcheck program in one line: SUITE_MAIN("packet", a_test, another_test). Test names are sentences.
#pragma once

#include <check.h>
#include <stdlib.h>

static inline int suite_run(const char *name, const TTest *const *tests, size_t n)
{
	Suite *suite = suite_create(name);
	for (size_t i = 0; i < n; i++) {
		TCase *tcase = tcase_create(tests[i]->name);
		tcase_set_timeout(tcase, 120);
		tcase_add_test(tcase, tests[i]);
		suite_add_tcase(suite, tcase);
	}
	SRunner *runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	int n_failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return n_failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

#define SUITE_MAIN(name, ...)                                        \
	int main(void)                                                   \
	{                                                                \
		const TTest *const tests[] = { __VA_ARGS__ };                \
		return suite_run(name, tests, sizeof tests / sizeof *tests); \
	}
