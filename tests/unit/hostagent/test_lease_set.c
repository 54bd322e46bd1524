// The agent's leases: what becomes an order and what does not, and random updates against a naive model.
#include <stdio.h>

#include "common/base/memory.h"
#include "hostagent/core/lease_set.h"
#include "tests/support/packet_builder.h"
#include "tests/support/suite.h"
#include "tests/support/vip_builder.h"
#include "tests/unit/hostagent/flow_block.h"

#define VIP "203.0.113.10"

static struct lease_set set;
static struct snat_order_queue orders;

static void fini(void)
{
	lease_set_fini(&set);
	snat_order_queue_fini(&orders);
}

// "+1024@5 -1032@6": a lease of 8 ports, one that has ended.
static struct lease_list list_of(const char *text)
{
	struct lease_list list = { 0 };
	char sign;
	unsigned port;
	unsigned epoch;
	int n;
	for (; sscanf(text, " %c%u@%u%n", &sign, &port, &epoch, &n) == 3; text += n) {
		struct lease lease = { .vip = ip_addr_from_v4(test_ip4(VIP)),
			                   .dip = ip_addr_from_v4(test_ip4("10.1.1.11")),
			                   .first_port = (uint16_t)port,
			                   .n_ports = 8,
			                   .epoch = epoch,
			                   .ended_ms = sign == '-' };
		ck_assert_int_eq(lease_list_append(&list, &lease), 0);
	}
	return list;
}

// The orders that wait, in the same form; and takes them.
static const char *take_orders(void)
{
	static char text[1024];
	int n = 0;
	text[0] = '\0';
	for (uint32_t i = 0; i < orders.n; i++) {
		const struct snat_order *o = snat_order_queue_head(&orders) + i;
		n += snprintf(text + n, sizeof text - (size_t)n, "%s%c%u@%u", i > 0 ? " " : "",
		              o->kind == SNAT_ORDER_LEASE ? '+' : '-', o->first_port, o->epoch);
	}
	snat_order_queue_take(&orders, orders.n);
	return text;
}

static const char *apply(enum lease_update_kind kind, const char *text)
{
	struct lease_list list = list_of(text);
	ck_assert_int_eq(lease_set_apply(&set, &list, kind, &orders), 0);
	lease_list_fini(&list);
	return take_orders();
}

static bool give_back(unsigned port, uint32_t epoch)
{
	return lease_set_return(&set, test_ip4(VIP), (uint16_t)port, epoch);
}

START_TEST(only_differences_become_orders)
{
	ck_assert_str_eq(apply(LEASES_ALL, "+1024@1 +1032@2"), "+1024@1 +1032@2");
	ck_assert_str_eq(apply(LEASES_ALL, "+1024@1 +1032@2"), "");
	ck_assert_str_eq(apply(LEASES_CHANGED, "+1032@2 +1040@3"), "+1040@3");
	ck_assert_str_eq(apply(LEASES_CHANGED, "-1024@1"), "-1024@1");
	ck_assert_str_eq(apply(LEASES_CHANGED, "-1024@1"), "");
	ck_assert_str_eq(apply(LEASES_ALL, "+1040@3 +1048@4"), "-1032@2 +1048@4");
	ck_assert_uint_eq(set.n, 2);
	ck_assert_str_eq(apply(LEASES_ALL, "+1040@3"), "-1048@4");
	ck_assert_str_eq(apply(LEASES_ALL, ""), "-1040@3");
	ck_assert_uint_eq(set.n, 0);
	fini();
}
END_TEST

START_TEST(another_epoch_is_another_lease)
{
	apply(LEASES_ALL, "+1024@1");
	ck_assert_str_eq(apply(LEASES_CHANGED, "-1024@9"), "");
	ck_assert_str_eq(apply(LEASES_CHANGED, "+1024@5 -1024@1"), "-1024@1 +1024@5");
	ck_assert_str_eq(apply(LEASES_CHANGED, "-1024@5 +1024@7"), "-1024@5 +1024@7");
	ck_assert_str_eq(apply(LEASES_ALL, "+1024@8"), "-1024@7 +1024@8");
	ck_assert(!give_back(1024, 7));
	ck_assert(give_back(1024, 8));
	fini();
}
END_TEST

START_TEST(a_return_is_confirmed_by_an_update)
{
	apply(LEASES_ALL, "+1024@1 +1032@2");
	ck_assert(give_back(1024, 1));
	ck_assert_uint_eq(set.n_returning, 1);
	uint32_t cursor = 0;
	const struct held_lease *h = lease_set_next_returning(&set, &cursor);
	ck_assert_ptr_nonnull(h);
	ck_assert_uint_eq(h->first_port, 1024);
	ck_assert_ptr_null(lease_set_next_returning(&set, &cursor));
	ck_assert_str_eq(apply(LEASES_CHANGED, "+1024@1"), ""); // sent before the leader heard of it
	ck_assert_str_eq(apply(LEASES_ALL, "+1024@1 +1032@2"), ""); // likewise
	ck_assert_str_eq(apply(LEASES_CHANGED, "-1024@1"), "-1024@1"); // over for the worker, too
	ck_assert_uint_eq(set.n, 1);
	ck_assert_uint_eq(set.n_returning, 0);
	ck_assert(!give_back(1024, 1));
	fini();
}
END_TEST

START_TEST(what_is_returned_is_not_used_again_whatever_an_update_still_holds)
{
	apply(LEASES_ALL, "+1024@1 +1032@2");
	ck_assert(give_back(1024, 1));
	ck_assert(give_back(1032, 2));
	ck_assert_str_eq(apply(LEASES_ALL, "+1024@1"),
	                 "-1032@2"); // made before the return of 1024 was carried out, perhaps
	uint32_t cursor = 0;
	const struct held_lease *h = lease_set_next_returning(&set, &cursor);
	ck_assert_ptr_nonnull(h); // and the return is repeated, if it was lost
	ck_assert_uint_eq(h->first_port, 1024);
	ck_assert_uint_eq(set.n_returning, 1);
	fini();
}
END_TEST

START_TEST(leases_of_a_dip_that_is_detached_end)
{
	struct store store;
	struct change_list changes = { 0 };
	struct change dips[2];
	dips[0] = test_put_dip("10.1.1.11", "host1", "vm1");
	dips[1] = (struct change){ .key = dips[0].key, .is_delete = true };
	store_init(&store);
	apply(LEASES_ALL, "+1024@1 +1032@2");
	ck_assert(give_back(1032, 2));
	for (uint64_t i = 0; i < 2; i++) {
		ck_assert_int_eq(change_list_append(&changes, &dips[i]), 0);
		ck_assert_int_eq(store_apply_update(&store, &changes, false, i + 1), 0);
		change_list_fini(&changes);
		changes = (struct change_list){ 0 };
		ck_assert_int_eq(lease_set_end_detached(&set, &store, &orders), 0);
		ck_assert_uint_eq(orders.n, i * 2);
		ck_assert_uint_eq(set.n, 2 - i * 2);
	}
	ck_assert_uint_eq(set.n_returning, 0);
	take_orders();
	ck_assert_int_eq(lease_set_end_detached(&set, &store, &orders), 0); // nothing is held
	ck_assert_uint_eq(orders.n, 0);
	ck_assert_str_eq(apply(LEASES_ALL, "+1040@3"), "+1040@3"); // it came back
	store_fini(&store);
	fini();
}
END_TEST

START_TEST(suspended_leases_come_back_when_they_are_confirmed)
{
	apply(LEASES_ALL, "+1024@1 +1032@2 +1040@3");
	ck_assert(give_back(1040, 3));
	ck_assert_int_eq(lease_set_suspend(&set, &orders), 0);
	ck_assert_uint_eq(orders.n, 2);
	take_orders();
	ck_assert_uint_eq(set.n_suspended, 2);
	ck_assert_int_eq(lease_set_suspend(&set, &orders), 0);
	ck_assert_uint_eq(orders.n, 0);
	ck_assert_str_eq(apply(LEASES_ALL, "+1032@2"), "-1040@3 +1032@2"); // 1024 was ended for the worker already
	ck_assert_uint_eq(set.n, 1);
	ck_assert_uint_eq(set.n_suspended, 0);
	fini();
}
END_TEST

START_TEST(what_cannot_be_used_is_left_out)
{
	struct lease_list list = list_of("+1024@1 +1032@2 +1040@3");
	list.items[0].n_ports = 24;
	list.items[1].vip.bytes[0] = 0x20;
	list.items[2].dip.bytes[0] = 0x20;
	ck_assert_int_eq(lease_set_apply(&set, &list, LEASES_ALL, &orders), 0);
	ck_assert_uint_eq(set.n, 0);
	ck_assert_uint_eq(orders.n, 0);
	lease_list_fini(&list);
	fini();
}
END_TEST

START_TEST(without_memory_nothing_changes)
{
	apply(LEASES_ALL, "+1024@1");
	struct lease_list list = { 0 };
	for (uint32_t i = 0; i < 100; i++) {
		struct lease_list one = list_of("+2048@9");
		one.items[0].first_port = (uint16_t)(2048 + 8 * i);
		ck_assert_int_eq(lease_list_append(&list, one.items), 0);
		lease_list_fini(&one);
	}
	for (uint64_t n = 0; n < 2; n++) {
		memory_fail_after(n);
		ck_assert_int_eq(lease_set_apply(&set, &list, LEASES_ALL, &orders), ERR_NO_MEMORY);
		memory_fail_after(UINT64_MAX);
		ck_assert_uint_eq(set.n, 1);
		ck_assert_uint_eq(orders.n, 0);
		snat_order_queue_fini(&orders);
	}
	ck_assert_int_eq(lease_set_apply(&set, &list, LEASES_ALL, &orders), 0);
	ck_assert_uint_eq(set.n, 100);
	lease_list_fini(&list);
	fini();
}
END_TEST

START_TEST(what_is_saved_is_in_the_order_of_the_grants)
{
	struct lease_list list = list_of("+1024@1 +1032@2 +1040@3 +1048@4");
	static const uint16_t want[] = { 1040, 1048, 1024 };
	for (uint32_t i = 0; i < 4; i++)
		list.items[i].granted_ms = i < 2 ? 2000 : 1000;
	ck_assert_int_eq(lease_set_apply(&set, &list, LEASES_ALL, &orders), 0);
	lease_list_fini(&list);
	ck_assert(give_back(1032, 2)); // and is not saved
	ck_assert_int_eq(lease_set_get(&set, &list), 0);
	ck_assert_uint_eq(list.n, 3);
	for (uint32_t i = 0; i < 3; i++)
		ck_assert_uint_eq(list.items[i].first_port, want[i]);
	lease_list_fini(&list);
	fini();
}
END_TEST

// ---- Random updates against a model: an array by range, and what the worker has by the orders it got ----

#define RANGES 200
#define STEPS 20000

struct model {
	uint32_t epoch[RANGES]; // 0: no lease
	bool is_returning[RANGES];
	uint32_t worker[RANGES]; // the epoch that the worker may use
};

static void carry_out(struct model *m)
{
	for (uint32_t i = 0; i < orders.n; i++) {
		const struct snat_order *o = snat_order_queue_head(&orders) + i;
		uint32_t r = (o->first_port - 1024u) / 8;
		if (o->kind == SNAT_ORDER_LEASE) {
			ck_assert_uint_eq(m->worker[r], 0); // given once
			m->worker[r] = o->epoch;
		} else if (m->worker[r] == o->epoch) {
			m->worker[r] = 0;
		}
	}
	snat_order_queue_take(&orders, orders.n);
}

static void append(struct lease_list *list, uint32_t r, uint32_t epoch, bool is_ended)
{
	char text[32];
	snprintf(text, sizeof text, "%c%u@%u", is_ended ? '-' : '+', 1024 + 8 * r, epoch);
	struct lease_list one = list_of(text);
	ck_assert_int_eq(lease_list_append(list, one.items), 0);
	lease_list_fini(&one);
}

static void random_delta(struct model *m, uint64_t *seed, uint32_t *next_epoch)
{
	struct lease_list list = { 0 };
	for (uint32_t n = random_below(seed, 8); n > 0; n--) {
		uint32_t r = random_below(seed, RANGES);
		if (m->epoch[r] != 0)
			append(&list, r, m->epoch[r], true);
		m->epoch[r] = random_below(seed, 3) == 0 ? 0 : ++*next_epoch;
		m->is_returning[r] = false;
		if (m->epoch[r] != 0)
			append(&list, r, m->epoch[r], false);
	}
	ck_assert_int_eq(lease_set_apply(&set, &list, LEASES_CHANGED, &orders), 0);
	lease_list_fini(&list);
}

static void random_whole(struct model *m, uint64_t *seed, uint32_t *next_epoch)
{
	struct lease_list list = { 0 };
	for (uint32_t r = 0; r < RANGES; r++) {
		if (random_below(seed, 20) == 0) { // what happened while nothing was heard
			m->epoch[r] = random_below(seed, 2) == 0 ? 0 : ++*next_epoch;
			m->is_returning[r] = false;
		}
		if (m->epoch[r] != 0)
			append(&list, r, m->epoch[r], false);
	}
	ck_assert_int_eq(lease_set_apply(&set, &list, LEASES_ALL, &orders), 0);
	lease_list_fini(&list);
}

static void random_return(struct model *m, uint64_t *seed)
{
	uint32_t r = random_below(seed, RANGES);
	uint32_t epoch = m->worker[r];
	if (epoch == 0)
		return;
	ck_assert(give_back(1024 + 8 * r, epoch));
	m->worker[r] = 0;
	m->is_returning[r] = true;
}

static void compare(const struct model *m)
{
	uint32_t n = 0;
	for (uint32_t r = 0; r < RANGES; r++) {
		const struct held_lease *h = lease_set_lookup(&set, test_ip4(VIP), (uint16_t)(1024 + 8 * r));
		ck_assert_uint_eq(h == NULL ? 0 : h->epoch, m->epoch[r]);
		ck_assert_uint_eq(m->worker[r], m->is_returning[r] ? 0 : m->epoch[r]);
		n += m->epoch[r] != 0;
	}
	ck_assert_uint_eq(set.n, n);
}

START_TEST(random_updates_give_the_worker_what_is_leased)
{
	static struct model m;
	uint64_t seed = 20250131;
	uint32_t next_epoch = 0;
	printf("seed %llu\n", (unsigned long long)seed);
	for (uint32_t i = 0; i < STEPS; i++) {
		uint32_t what = random_below(&seed, 100);
		if (what < 50)
			random_delta(&m, &seed, &next_epoch);
		else if (what < 97)
			random_return(&m, &seed);
		else
			random_whole(&m, &seed, &next_epoch);
		carry_out(&m);
		if (i % 50 == 0 || what >= 97)
			compare(&m);
	}
	fini();
}
END_TEST

SUITE_MAIN("agent lease set", only_differences_become_orders, another_epoch_is_another_lease,
           a_return_is_confirmed_by_an_update, what_is_returned_is_not_used_again_whatever_an_update_still_holds,
           leases_of_a_dip_that_is_detached_end, suspended_leases_come_back_when_they_are_confirmed,
           what_cannot_be_used_is_left_out, what_is_saved_is_in_the_order_of_the_grants, without_memory_nothing_changes,
           random_updates_give_the_worker_what_is_leased)
