#include "tests/support/suite.h"

#include <string.h>
#include <time.h>

#include "common/base/memory.h"
#include "mux/core/routes_plan.h"

enum { N = 64 };

static uint32_t fill(struct ip_addr *addrs, const bool *is_in)
{
	uint32_t n = 0;
	for (uint32_t i = 0; i < N; i++)
		if (is_in[i])
			addrs[n++] = ip_addr_from_v4(be32_from(0xcb007100 + i));
	return n;
}

static void mark(bool *is_in, const struct ip_addr *addrs, uint32_t n, bool value)
{
	for (uint32_t i = 0; i < n; i++) {
		uint32_t k = be32_to(ip_addr_to_v4(&addrs[i])) - 0xcb007100;
		ck_assert(is_in[k] != value); // nothing is added twice, or removed that is not there
		is_in[k] = value;
	}
}

START_TEST(the_plan_leads_from_what_is_there_to_what_is_wanted)
{
	unsigned seed = (unsigned)time(NULL);
	for (int round = 0; round < 2000; round++) {
		struct ip_addr wanted[N], present[N];
		bool is_wanted[N], is_present[N];
		unsigned density = 1 + (unsigned)rand_r(&seed) % 8;
		for (uint32_t i = 0; i < N; i++) {
			is_wanted[i] = (unsigned)rand_r(&seed) % 8 < density;
			is_present[i] = rand_r(&seed) % 8 < 4;
		}
		struct routes_plan plan;
		ck_assert_int_eq(routes_plan_make(wanted, fill(wanted, is_wanted), present, fill(present, is_present), &plan),
		                 0);
		mark(is_present, plan.remove, plan.n_remove, false);
		mark(is_present, plan.add, plan.n_add, true);
		ck_assert_mem_eq(is_present, is_wanted, sizeof is_wanted);
		routes_plan_fini(&plan);
	}
}
END_TEST

START_TEST(nothing_to_do_is_an_empty_plan)
{
	struct ip_addr one = ip_addr_from_v4(be32_from(0xcb007101));
	struct routes_plan plan;
	ck_assert_int_eq(routes_plan_make(&one, 1, &one, 1, &plan), 0);
	ck_assert_uint_eq(plan.n_add + plan.n_remove, 0);
	routes_plan_fini(&plan);
	ck_assert_int_eq(routes_plan_make(NULL, 0, NULL, 0, &plan), 0);
	ck_assert_uint_eq(plan.n_add + plan.n_remove, 0);
	routes_plan_fini(&plan);
}
END_TEST

START_TEST(a_failed_allocation_is_an_answer)
{
	struct ip_addr one = ip_addr_from_v4(be32_from(0xcb007101));
	for (uint64_t n = 0; n < 2; n++) {
		struct routes_plan plan;
		memory_fail_after(n);
		ck_assert_int_eq(routes_plan_make(&one, 1, &one, 1, &plan), ERR_NO_MEMORY);
		memory_fail_after(UINT64_MAX);
	}
}
END_TEST

SUITE_MAIN("mux routes plan", the_plan_leads_from_what_is_there_to_what_is_wanted, nothing_to_do_is_an_empty_plan,
           a_failed_allocation_is_an_answer)
