#include "tests/support/suite.h"

#include <stdio.h>

#include "manager/core/addr_index.h"
#include "manager/core/change_log.h"

static struct change_log ring;

static void touch(uint64_t version, const char *name, bool is_audience_only)
{
	struct object_key key = object_key_of_name(OBJECT_MUX, name);
	change_log_append(&ring, version, &key, is_audience_only);
}

START_TEST(each_key_touched_since_a_version_is_told_once_in_key_order)
{
	struct touched_list keys;
	ck_assert_int_eq(change_log_init(&ring, 10), 0);
	touch(11, "b", false);
	touch(12, "a", false);
	touch(12, "c", false);
	touch(13, "b", false);
	ck_assert_int_eq(change_log_since(&ring, 10, &keys), 0);
	ck_assert_uint_eq(keys.n, 3);
	ck_assert_str_eq(keys.items[0].key.name, "a");
	ck_assert_str_eq(keys.items[1].key.name, "b");
	ck_assert_str_eq(keys.items[2].key.name, "c");
	touched_list_fini(&keys);
	ck_assert_int_eq(change_log_since(&ring, 12, &keys), 0);
	ck_assert_uint_eq(keys.n, 1);
	touched_list_fini(&keys);
	ck_assert_int_eq(change_log_since(&ring, 13, &keys), 0);
	ck_assert_uint_eq(keys.n, 0);
	touched_list_fini(&keys);
	change_log_fini(&ring);
}
END_TEST

START_TEST(a_key_is_audience_only_when_it_never_was_more)
{
	struct touched_list keys;
	ck_assert_int_eq(change_log_init(&ring, 0), 0);
	touch(1, "a", false);
	touch(2, "a", true);
	touch(2, "b", true);
	touch(3, "b", true);
	ck_assert_int_eq(change_log_since(&ring, 0, &keys), 0);
	ck_assert(!keys.items[0].is_audience_only);
	ck_assert(keys.items[1].is_audience_only);
	touched_list_fini(&keys);
	ck_assert_int_eq(change_log_since(&ring, 1, &keys), 0);
	ck_assert(keys.items[0].is_audience_only);
	touched_list_fini(&keys);
	change_log_fini(&ring);
}
END_TEST

START_TEST(a_full_log_forgets_the_oldest_version_whole)
{
	struct touched_list keys;
	char name[NAME_BYTES];
	ck_assert_int_eq(change_log_init(&ring, 0), 0);
	for (uint64_t i = 0; i < CHANGE_LOG_CAPACITY; i++) { // two keys a version
		(void)text_format(name, sizeof name, "m%llu", (unsigned long long)i);
		touch(i / 2 + 1, name, false);
	}
	ck_assert_int_eq(change_log_since(&ring, 0, &keys), 0);
	ck_assert_uint_eq(keys.n, CHANGE_LOG_CAPACITY);
	touched_list_fini(&keys);
	touch(CHANGE_LOG_CAPACITY, "last", false); // half of version 1 goes
	ck_assert_int_eq(change_log_since(&ring, 0, &keys), ERR_NOT_FOUND);
	ck_assert_int_eq(change_log_since(&ring, 1, &keys), 0);
	ck_assert_uint_eq(keys.n, CHANGE_LOG_CAPACITY - 1);
	touched_list_fini(&keys);
	change_log_fini(&ring);
}
END_TEST

START_TEST(a_reset_log_knows_nothing_of_before)
{
	struct touched_list keys;
	ck_assert_int_eq(change_log_init(&ring, 0), 0);
	touch(1, "a", false);
	change_log_reset(&ring, 50);
	ck_assert_int_eq(change_log_since(&ring, 49, &keys), ERR_NOT_FOUND);
	ck_assert_int_eq(change_log_since(&ring, 50, &keys), 0);
	ck_assert_uint_eq(keys.n, 0);
	touched_list_fini(&keys);
	change_log_fini(&ring);
}
END_TEST

START_TEST(an_address_index_holds_what_a_plain_table_holds)
{
	enum { N_KEYS = 300, N_ADDRS = 40 };
	static bool table[N_KEYS][N_ADDRS];
	struct addr_index x;
	unsigned seed = 4711;
	addr_index_init(&x);
	for (int step = 0; step < 200000; step++) {
		unsigned key = (unsigned)rand_r(&seed) % N_KEYS;
		unsigned a = (unsigned)rand_r(&seed) % N_ADDRS;
		struct ip_addr addr = ip_addr_from_v4(be32_from(0x0a000000u + a));
		table[key][a] = rand_r(&seed) % 2 == 0;
		if (table[key][a])
			ck_assert_int_eq(addr_index_insert(&x, key * 0x9e3779b97f4a7c15ULL, &addr), 0);
		else
			addr_index_remove(&x, key * 0x9e3779b97f4a7c15ULL, &addr);
	}
	for (unsigned key = 0; key < N_KEYS; key++) {
		const struct addr_set *set = addr_index_lookup(&x, key * 0x9e3779b97f4a7c15ULL);
		uint32_t n = 0;
		for (unsigned a = 0; a < N_ADDRS; a++) {
			struct ip_addr addr = ip_addr_from_v4(be32_from(0x0a000000u + a));
			if (!table[key][a])
				continue;
			ck_assert_ptr_nonnull(set);
			ck_assert(n < set->n && ip_addr_equal(&set->items[n++], &addr));
		}
		ck_assert_uint_eq(set == NULL ? 0 : set->n, n);
	}
	addr_index_fini(&x);
}
END_TEST

SUITE_MAIN("change_log", each_key_touched_since_a_version_is_told_once_in_key_order,
           a_key_is_audience_only_when_it_never_was_more, a_full_log_forgets_the_oldest_version_whole,
           a_reset_log_knows_nothing_of_before, an_address_index_holds_what_a_plain_table_holds)
