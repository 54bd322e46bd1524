#include "tests/support/suite.h"

#include <string.h>
#include <time.h>

#include "common/base/memory.h"
#include "mux/core/routes_plan.h"

enum { N = 64 };

static struct vip_route route(uint32_t i, uint8_t protocol)
{
	return (struct vip_route){ .dst = { ip_addr_from_v4(be32_from(0xcb007100 + i)), 32 }, .protocol = protocol };
}

// 0: no route; else its protocol.
static uint32_t fill(struct vip_route *routes, const uint8_t *protocols)
{
	uint32_t n = 0;
	for (uint32_t i = 0; i < N; i++)
		if (protocols[i] != 0)
			routes[n++] = route(i, protocols[i]);
	return n;
}

static uint32_t number_of(const struct vip_route *r)
{
	return be32_to(ip_addr_to_v4(&r->dst.addr)) - 0xcb007100;
}

static void apply(uint8_t *protocols, const struct routes_plan *plan)
{
	for (uint32_t i = 0; i < plan->n_remove; i++) {
		uint32_t k = number_of(&plan->remove[i]);
		ck_assert_uint_ne(protocols[k], 0);
		ck_assert_uint_eq(protocols[k], plan->remove[i].protocol);
		protocols[k] = 0;
	}
	for (uint32_t i = 0; i < plan->n_add; i++) {
		uint32_t k = number_of(&plan->add[i]);
		ck_assert_uint_ne(protocols[k], plan->add[i].protocol); // nothing is added that is there
		protocols[k] = plan->add[i].protocol;
	}
}

START_TEST(the_plan_leads_from_what_is_there_to_what_is_wanted)
{
	unsigned seed = (unsigned)time(NULL);
	for (int round = 0; round < 2000; round++) {
		struct vip_route wanted[N], present[N];
		uint8_t wants[N], has[N];
		unsigned density = 1 + (unsigned)rand_r(&seed) % 8;
		uint8_t protocol = rand_r(&seed) % 2 == 0 ? 200 : 201;
		for (uint32_t i = 0; i < N; i++) {
			wants[i] = (unsigned)rand_r(&seed) % 8 < density ? protocol : 0;
			has[i] = rand_r(&seed) % 8 < 4 ? 0 : rand_r(&seed) % 2 == 0 ? 200 : 201;
		}
		struct routes_plan plan;
		ck_assert_int_eq(routes_plan_make(wanted, fill(wanted, wants), present, fill(present, has), &plan), 0);
		apply(has, &plan);
		ck_assert_msg(memcmp(has, wants, sizeof has) == 0, "seed %u", seed);
		routes_plan_fini(&plan);
	}
}
END_TEST

START_TEST(another_protocol_is_a_replacement_without_a_removal)
{
	struct vip_route present[] = { route(1, 200), route(2, 200) };
	struct vip_route wanted[] = { route(1, 201), route(2, 201) };
	struct routes_plan plan;
	ck_assert_int_eq(routes_plan_make(wanted, 2, present, 2, &plan), 0);
	ck_assert_uint_eq(plan.n_remove, 0);
	ck_assert_uint_eq(plan.n_add, 2);
	ck_assert_uint_eq(plan.add[0].protocol, 201);
	routes_plan_fini(&plan);
}
END_TEST

START_TEST(nothing_to_do_is_an_empty_plan)
{
	struct vip_route one = route(1, 200);
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
	struct vip_route one = route(1, 200);
	for (uint64_t n = 0; n < 2; n++) {
		struct routes_plan plan;
		memory_fail_after(n);
		ck_assert_int_eq(routes_plan_make(&one, 1, &one, 1, &plan), ERR_NO_MEMORY);
		memory_fail_after(UINT64_MAX);
	}
}
END_TEST

static struct ip_prefix prefix(const char *text)
{
	struct ip_prefix p;
	ck_assert_int_eq(ip_prefix_parse(text, &p, NULL), 0);
	return p;
}

static struct route_prefixes prefixes(const char *a, const char *b)
{
	struct route_prefixes p = { 0 };
	if (a != NULL)
		p.items[p.n++] = prefix(a);
	if (b != NULL)
		p.items[p.n++] = prefix(b);
	return p;
}

START_TEST(vips_inside_a_prefix_are_announced_by_it_and_the_others_alone)
{
	static const char *const vips[] = { "192.0.2.1",   "198.51.100.7", "203.0.113.10", "203.0.113.11",
		                                "203.0.114.1", "2001:db8::1",  "2001:db8::2",  "2001:db9::1" };
	static const char *const wanted[] = { "192.0.2.1/32",   "198.51.100.7/32", "203.0.113.0/24",
		                                  "203.0.114.1/32", "2001:db8::/32",   "2001:db9::1/128" };
	struct ip_addr addrs[8];
	for (int i = 0; i < 8; i++)
		addrs[i] = prefix(vips[i]).addr;
	qsort(addrs, 8, sizeof *addrs, ip_addr_compare_items);
	struct route_prefixes p = prefixes("203.0.113.0/24", "2001:db8::/32");
	struct vip_route *routes;
	uint32_t n;
	ck_assert_int_eq(vip_routes_make(addrs, 8, &p, 201, &routes, &n), 0);
	ck_assert_uint_eq(n, 6);
	for (uint32_t i = 0; i < n; i++) {
		uint32_t n_found = 0;
		for (uint32_t k = 0; k < n; k++) {
			struct ip_prefix one = prefix(wanted[k]);
			n_found += ip_addr_equal(&routes[i].dst.addr, &one.addr) && routes[i].dst.bits == one.bits;
		}
		ck_assert_uint_eq(n_found, 1);
		ck_assert_uint_eq(routes[i].protocol, 201);
		ck_assert(i == 0 || vip_route_compare_items(&routes[i - 1], &routes[i]) < 0);
	}
	memory_free(routes);
}
END_TEST

START_TEST(a_prefix_without_a_vip_is_not_announced)
{
	struct ip_addr one = prefix("203.0.114.1").addr;
	struct route_prefixes p = prefixes("203.0.113.0/24", NULL);
	struct vip_route *routes;
	uint32_t n;
	ck_assert_int_eq(vip_routes_make(&one, 1, &p, 200, &routes, &n), 0);
	ck_assert_uint_eq(n, 1);
	ck_assert_uint_eq(routes[0].dst.bits, 32);
	memory_free(routes);
	ck_assert_int_eq(vip_routes_make(NULL, 0, &p, 200, &routes, &n), 0);
	ck_assert_uint_eq(n, 0);
	memory_free(routes);
}
END_TEST

START_TEST(prefixes_are_checked)
{
	static const struct {
		const char *a, *b, *complaint; // NULL: right
	} cases[] = {
		{ "203.0.113.0/24", "203.0.114.0/24", NULL },
		{ "203.0.113.0/25", "203.0.113.128/25", NULL },
		{ "203.0.113.0/24", "2001:db8::/32", NULL },
		{ "203.0.113.7/32", NULL, NULL },
		{ "203.0.113.1/24", NULL, "203.0.113.1/24 has bits behind its length" },
		{ "2001:db8::1/32", NULL, "2001:db8::1/32 has bits behind its length" },
		{ "0.0.0.0/0", NULL, "0.0.0.0/0 would announce everything" },
		{ "203.0.113.0/24", "203.0.113.128/25", "203.0.113.0/24 and 203.0.113.128/25 overlap" },
		{ "203.0.113.128/25", "203.0.112.0/20", "203.0.113.128/25 and 203.0.112.0/20 overlap" },
	};
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		struct route_prefixes p = prefixes(cases[i].a, cases[i].b);
		struct error err = { 0 };
		int code = route_prefixes_check(&p, &err);
		ck_assert_int_eq(code, cases[i].complaint == NULL ? 0 : ERR_INVALID);
		ck_assert_str_eq(err.text, cases[i].complaint == NULL ? "" : cases[i].complaint);
	}
}
END_TEST

SUITE_MAIN("mux routes plan", the_plan_leads_from_what_is_there_to_what_is_wanted,
           another_protocol_is_a_replacement_without_a_removal, nothing_to_do_is_an_empty_plan,
           a_failed_allocation_is_an_answer, vips_inside_a_prefix_are_announced_by_it_and_the_others_alone,
           a_prefix_without_a_vip_is_not_announced, prefixes_are_checked)
