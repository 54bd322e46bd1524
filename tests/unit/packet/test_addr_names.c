// Names and tags of IPv6 addresses (common/packet/addr_names.h).
#include <string.h>

#include "common/base/memory.h"
#include "common/packet/addr_names.h"
#include "tests/support/suite.h"

static void address(uint32_t i, uint8_t *ret)
{
	memset(ret, 0, IP6_ADDR_BYTES);
	store32(ret, be32_from(0x20010db8));
	store32(ret + 12, be32_from(i));
}

START_TEST(an_ipv4_address_is_itself)
{
	struct addr_names *n = addr_names_create();
	uint8_t mapped[IP6_ADDR_BYTES] = { [10] = 0xff, [11] = 0xff, [12] = 10, [13] = 1, [14] = 2, [15] = 3 };
	uint8_t back[IP6_ADDR_BYTES];
	be32 addr = addr_names_give(n, mapped);
	ck_assert_uint_eq(be32_to(addr), 0x0a010203);
	ck_assert(!addr_is_ip6(addr));
	addr_names_expand(n, addr, back);
	ck_assert_mem_eq(back, mapped, sizeof back);
	addr_names_destroy(n);
}
END_TEST

// More than a chunk, and the index grows several times: a name stays the same, and is the only one of its address.
START_TEST(names_stay_what_they_are)
{
	enum { N = 5000 };
	struct addr_names *n = addr_names_create();
	uint8_t addr[IP6_ADDR_BYTES];
	uint8_t back[IP6_ADDR_BYTES];
	static be32 names[N];
	for (uint32_t i = 0; i < N; i++) {
		address(i + 1, addr);
		ck_assert_uint_eq(addr_names_lookup(n, addr), 0);
		names[i] = addr_names_give(n, addr);
		ck_assert(names[i] != 0 && addr_is_name(names[i]) && addr_is_ip6(names[i]));
	}
	for (uint32_t i = 0; i < N; i++) {
		address(i + 1, addr);
		ck_assert_uint_eq(addr_names_lookup(n, addr), names[i]);
		ck_assert_uint_eq(addr_names_give(n, addr), names[i]);
		ck_assert_mem_eq(addr_name_address(n, names[i]), addr, sizeof addr);
		addr_names_expand(n, names[i], back);
		ck_assert_mem_eq(back, addr, sizeof addr);
		for (uint32_t k = i + 1; k < N && k < i + 3; k++)
			ck_assert_uint_ne(names[i], names[k]);
	}
	addr_names_destroy(n);
}
END_TEST

START_TEST(the_unspecified_address_has_no_name)
{
	struct addr_names *n = addr_names_create();
	uint8_t nothing[IP6_ADDR_BYTES] = { 0 };
	uint8_t back[IP6_ADDR_BYTES] = { 1 };
	ck_assert_uint_eq(addr_names_give(n, nothing), 0);
	ck_assert_uint_eq(addr_names_lookup(n, nothing), 0);
	addr_names_expand(n, 0, back);
	ck_assert_mem_eq(back, nothing, sizeof back);
	addr_names_destroy(n);
}
END_TEST

// Whichever allocation fails, what was given before is still right, and the next attempt succeeds.
START_TEST(without_memory_nothing_is_lost)
{
	for (uint64_t fail = 0; fail < 4; fail++) {
		struct addr_names *n = addr_names_create();
		uint32_t n_refused = 0;
		uint8_t addr[IP6_ADDR_BYTES];
		memory_fail_after(fail);
		for (uint32_t i = 1; i <= 3000; i++) {
			address(i, addr);
			if (addr_names_give(n, addr) == 0) {
				n_refused++;
				ck_assert_uint_ne(addr_names_give(n, addr), 0);
			}
		}
		memory_fail_after(UINT64_MAX);
		ck_assert_uint_eq(n_refused, 1);
		for (uint32_t i = 1; i <= 3000; i++) {
			address(i, addr);
			be32 name = addr_names_lookup(n, addr);
			ck_assert_uint_ne(name, 0);
			ck_assert_mem_eq(addr_name_address(n, name), addr, sizeof addr);
		}
		addr_names_destroy(n);
	}
}
END_TEST

START_TEST(a_tag_depends_on_address_and_seed)
{
	uint8_t a[IP6_ADDR_BYTES], b[IP6_ADDR_BYTES];
	address(1, a);
	address(2, b);
	ck_assert(addr_is_tag(addr_tag(a, 7)) && addr_is_ip6(addr_tag(a, 7)) && !addr_is_name(addr_tag(a, 7)));
	ck_assert_uint_eq(addr_tag(a, 7), addr_tag(a, 7));
	ck_assert_uint_ne(addr_tag(a, 7), addr_tag(b, 7));
	ck_assert_uint_ne(addr_tag(a, 7), addr_tag(a, 8));
}
END_TEST

SUITE_MAIN("addr-names", an_ipv4_address_is_itself, names_stay_what_they_are, the_unspecified_address_has_no_name,
           without_memory_nothing_is_lost, a_tag_depends_on_address_and_seed)
