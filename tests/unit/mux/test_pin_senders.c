#include "mux/core/pin_senders.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "common/base/memory.h"
#include "tests/support/packet_builder.h"
#include "tests/support/suite.h"
#include "tests/support/vip_builder.h"

static void put_host(struct store *s, uint32_t n)
{
	char name[32], addr[32];
	snprintf(name, sizeof name, "host%u", n);
	snprintf(addr, sizeof addr, "10.1.%u.%u", n >> 8, n & 255);
	struct change c = test_put_node(OBJECT_HOST, name, addr);
	ck_assert_int_eq(store_apply(s, &c), 0);
}

static void delete_host(struct store *s, uint32_t n)
{
	char name[32];
	snprintf(name, sizeof name, "host%u", n);
	struct change c = { .key = object_key_of_name(OBJECT_HOST, name), .is_delete = true };
	ck_assert_int_eq(store_apply(s, &c), 0);
}

static be32 addr_of(uint32_t n)
{
	return be32_from(0x0a010000 + n);
}

static struct pin_senders *rebuild(const struct store *s, struct pin_senders *before)
{
	struct pin_senders *senders;
	ck_assert_int_eq(pin_senders_create(s, NULL, before, &senders), 0);
	pin_senders_destroy(before);
	return senders;
}

START_TEST(without_hosts_nobody_is_a_sender)
{
	struct store s;
	store_init(&s);
	struct pin_senders *senders = rebuild(&s, NULL);
	ck_assert_uint_eq(pin_senders_lookup(senders, addr_of(1)), PIN_SENDER_NONE);
	ck_assert_uint_eq(pin_senders_lookup(senders, 0), PIN_SENDER_NONE);
	pin_senders_destroy(senders);
	store_fini(&s);
}
END_TEST

START_TEST(hosts_keep_their_slots_through_random_changes_and_no_two_have_the_same)
{
	enum { N = 300 };
	unsigned seed = (unsigned)time(NULL);
	uint32_t slots[N];
	bool is_host[N] = { false };
	struct store s;
	store_init(&s);
	struct pin_senders *senders = rebuild(&s, NULL);
	for (int round = 0; round < 300; round++) {
		bool was_host[N];
		memcpy(was_host, is_host, sizeof is_host);
		for (unsigned i = 1 + (unsigned)rand_r(&seed) % 5; i > 0; i--) {
			uint32_t n = (uint32_t)rand_r(&seed) % N;
			is_host[n] = !is_host[n];
			if (is_host[n])
				put_host(&s, n);
			else
				delete_host(&s, n);
		}
		senders = rebuild(&s, senders);
		bool is_taken[N] = { false };
		for (uint32_t n = 0; n < N; n++) {
			uint32_t slot = pin_senders_lookup(senders, addr_of(n));
			ck_assert_msg((slot != PIN_SENDER_NONE) == is_host[n], "host %u, seed %u", n, seed);
			if (slot == PIN_SENDER_NONE)
				continue;
			ck_assert_uint_lt(slot, N);
			ck_assert(!is_taken[slot]);
			ck_assert(!was_host[n] || slots[n] == slot);
			is_taken[slot] = true;
			slots[n] = slot;
		}
	}
	pin_senders_destroy(senders);
	store_fini(&s);
}
END_TEST

START_TEST(ten_thousand_hosts_are_senders)
{
	struct store s;
	store_init(&s);
	for (uint32_t n = 0; n < LIMIT_HOSTS; n++)
		put_host(&s, n);
	struct pin_senders *senders = rebuild(&s, NULL);
	for (uint32_t n = 0; n < LIMIT_HOSTS; n++)
		ck_assert_uint_lt(pin_senders_lookup(senders, addr_of(n)), LIMIT_HOSTS);
	ck_assert_uint_eq(pin_senders_lookup(senders, addr_of(LIMIT_HOSTS)), PIN_SENDER_NONE);
	pin_senders_destroy(senders);
	store_fini(&s);
}
END_TEST

START_TEST(stamps_of_a_sender_rise_and_a_new_one_in_its_slot_begins_anew)
{
	struct pin_stamps *stamps = memory_array(1, sizeof *stamps);
	ck_assert(pin_stamps_advance(stamps, 3, addr_of(1), 100));
	ck_assert(!pin_stamps_advance(stamps, 3, addr_of(1), 100));
	ck_assert(!pin_stamps_advance(stamps, 3, addr_of(1), 99));
	ck_assert(pin_stamps_advance(stamps, 4, addr_of(2), 50));
	ck_assert(pin_stamps_advance(stamps, 3, addr_of(1), 101));
	ck_assert(pin_stamps_advance(stamps, 3, addr_of(7), 20));
	ck_assert(!pin_stamps_advance(stamps, 3, addr_of(7), 20));
	memory_free(stamps);
}
END_TEST

START_TEST(every_failed_allocation_is_an_answer)
{
	struct store s;
	struct pin_senders *senders = NULL;
	store_init(&s);
	put_host(&s, 1);
	int code = ERR_NO_MEMORY;
	for (uint64_t n = 0; code != 0; n++) {
		memory_fail_after(n);
		code = pin_senders_create(&s, NULL, NULL, &senders);
		memory_fail_after(UINT64_MAX);
		ck_assert(code == 0 || (code == ERR_NO_MEMORY && senders == NULL));
	}
	pin_senders_destroy(senders);
	store_fini(&s);
}
END_TEST

SUITE_MAIN("mux pin senders", without_hosts_nobody_is_a_sender,
           hosts_keep_their_slots_through_random_changes_and_no_two_have_the_same, ten_thousand_hosts_are_senders,
           stamps_of_a_sender_rise_and_a_new_one_in_its_slot_begins_anew, every_failed_allocation_is_an_answer)
