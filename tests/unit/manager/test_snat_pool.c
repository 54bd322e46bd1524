// The ports of one VIP: random grants, ends and exclusions against a naive model that searches all ranges every time.
#include "tests/support/suite.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

#include "common/base/memory.h"
#include "manager/core/snat_pool.h"
#include "tests/unit/manager/objects.h"

enum { N_HOLDERS = 5, N_STEPS = 60000 };

static unsigned pick(unsigned *seed, unsigned n)
{
	return (unsigned)rand_r(seed) % n;
}

static unsigned choose_seed(void)
{
	const char *text = getenv("ANANTA_TEST_SEED");
	unsigned seed = text != NULL ? (unsigned)strtoul(text, NULL, 10) : (unsigned)time(NULL);
	printf("seed %u (repeat with ANANTA_TEST_SEED=%u)\n", seed, seed);
	return seed;
}

static struct ip_addr dip_of(unsigned i)
{
	return ip_addr_from_v4(be32_from(0x0a010100u + i));
}

static struct snat_pool *make_pool(uint32_t range_size, uint64_t seed)
{
	struct snat_pool *pool;
	struct ip_addr vip = addr_of("203.0.113.10");
	ck_assert_int_eq(snat_pool_create(&vip, range_size, seed, &pool), 0);
	return pool;
}

static void exclude_as(struct snat_pool *pool, const char *text)
{
	struct vip_config *vip = vip_of(text);
	struct error err;
	ck_assert_msg(vip_config_validate(vip, &err) == 0, "%s", err.text);
	snat_pool_set_exclusions(pool, vip);
	vip_config_destroy(vip);
}

// ---- the model ----

struct model_range {
	bool is_excluded;
	unsigned holder; // 0: none
	uint32_t epoch;
	uint64_t time_ms; // as in the pool
	uint64_t order; // among those freed at the same time
};

struct model {
	uint32_t range_size;
	uint32_t n;
	uint64_t now_ms;
	uint64_t quarantine_ms;
	uint64_t next_order;
	uint32_t next_epoch;
	struct model_range ranges[SNAT_UNITS];
};

static bool is_ripe(const struct model *m, const struct model_range *r)
{
	return !r->is_excluded && r->holder == 0 && r->time_ms + m->quarantine_ms <= m->now_ms;
}

// The freed range that is next, or NULL; and whether there is one that was never leased.
static const struct model_range *find_next(const struct model *m, bool *ret_has_unused)
{
	const struct model_range *best = NULL;
	*ret_has_unused = false;
	for (uint32_t i = 0; i < m->n; i++) {
		const struct model_range *r = &m->ranges[i];
		if (!r->is_excluded && r->holder == 0 && r->time_ms == 0)
			*ret_has_unused = true;
		else if (is_ripe(m, r) && (best == NULL || r->time_ms < best->time_ms ||
		                           (r->time_ms == best->time_ms && r->order < best->order)))
			best = r;
	}
	return best;
}

static void check_counts(const struct model *m, const struct snat_pool *pool)
{
	uint32_t n_excluded = 0, n_unused = 0, n_freed = 0, n_held = 0, n_quarantined = 0;
	struct snat_now now = { .ms = m->now_ms, .quarantine_ms = m->quarantine_ms };
	for (uint32_t i = 0; i < m->n; i++) {
		const struct model_range *r = &m->ranges[i];
		struct lease lease;
		n_excluded += r->is_excluded;
		n_held += r->holder != 0;
		n_unused += !r->is_excluded && r->holder == 0 && r->time_ms == 0;
		n_freed += !r->is_excluded && r->holder == 0 && r->time_ms != 0;
		n_quarantined += !r->is_excluded && r->holder == 0 && r->time_ms != 0 && !is_ripe(m, r);
		bool is_held = snat_pool_lookup(pool, i * m->range_size + m->range_size / 2, &lease);
		ck_assert(is_held == (r->holder != 0));
		if (!is_held)
			continue;
		struct ip_addr dip = dip_of(r->holder);
		ck_assert(ip_addr_equal(&lease.dip, &dip));
		ck_assert_uint_eq(lease.first_port, i * m->range_size);
		ck_assert_uint_eq(lease.n_ports, m->range_size);
		ck_assert_uint_eq(lease.epoch, r->epoch);
		ck_assert_uint_eq(lease.granted_ms, r->time_ms);
		ck_assert_uint_eq(lease.ended_ms, 0);
	}
	ck_assert_uint_eq(n_excluded + n_unused + n_freed + n_held, pool->n_ranges); // nothing leaks
	ck_assert_uint_eq(pool->n_excluded, n_excluded);
	ck_assert_uint_eq(pool->n_unused, n_unused);
	ck_assert_uint_eq(pool->n_freed, n_freed);
	ck_assert_uint_eq(pool->n_held, n_held);
	ck_assert_uint_eq(snat_pool_count_quarantined(pool, now), n_quarantined);
}

static void check_holders(const struct model *m, const struct snat_pool *pool)
{
	for (unsigned h = 1; h <= N_HOLDERS; h++) {
		struct ip_addr dip = dip_of(h);
		const struct snat_holder *holder = snat_pool_lookup_holder(pool, &dip);
		struct lease lease;
		uint32_t n = 0, n_wanted = 0, last_epoch = 0;
		for (uint16_t at = SNAT_NO_RANGE; snat_pool_next_of(pool, holder, &at, &lease); n++) {
			ck_assert_uint_gt(lease.epoch, last_epoch); // oldest first
			last_epoch = lease.epoch;
			ck_assert_uint_eq(m->ranges[lease.first_port / m->range_size].holder, h);
		}
		for (uint32_t i = 0; i < m->n; i++)
			n_wanted += m->ranges[i].holder == h;
		ck_assert_uint_eq(n, n_wanted);
		ck_assert_uint_eq(holder->n_ranges, n_wanted);
	}
}

static void model_grant(struct model *m, struct snat_pool *pool, unsigned h)
{
	struct ip_addr dip = dip_of(h);
	struct snat_now now = { .ms = m->now_ms, .quarantine_ms = m->quarantine_ms };
	struct lease lease;
	bool has_unused;
	const struct model_range *next = find_next(m, &has_unused);
	bool has_room = snat_pool_has_room(pool, now);
	bool is_granted = snat_pool_grant(pool, snat_pool_lookup_holder(pool, &dip), now, m->next_epoch, &lease);
	ck_assert(is_granted == (has_unused || next != NULL));
	ck_assert(has_room == is_granted);
	if (!is_granted)
		return;
	struct model_range *r = &m->ranges[lease.first_port / m->range_size];
	ck_assert(r->holder == 0 && !r->is_excluded);
	if (has_unused)
		ck_assert_uint_eq(r->time_ms, 0);
	else
		ck_assert_ptr_eq(r, next);
	ck_assert(ip_addr_equal(&lease.dip, &dip));
	*r = (struct model_range){ .holder = h, .epoch = m->next_epoch++, .time_ms = m->now_ms };
}

static void model_end(struct model *m, struct snat_pool *pool, uint32_t i)
{
	struct model_range *r = &m->ranges[i];
	struct lease lease;
	bool is_ended = snat_pool_end(pool, i * m->range_size + 3, m->now_ms, &lease);
	ck_assert(is_ended == (r->holder != 0));
	if (!is_ended)
		return;
	ck_assert_uint_eq(lease.epoch, r->epoch);
	ck_assert_uint_eq(lease.granted_ms, r->time_ms);
	ck_assert_uint_eq(lease.ended_ms, m->now_ms);
	r->holder = 0;
	r->time_ms = m->now_ms;
	r->order = m->next_order++;
}

// Another set of endpoints, none of them in a range that is held, and another first port below which nothing is.
static void model_configure(struct model *m, struct snat_pool *pool, unsigned *seed)
{
	struct endpoint endpoints[6] = { 0 };
	struct vip_config vip = { .endpoints = endpoints, .snat.range_size = (uint16_t)m->range_size };
	uint32_t first = (1024 + m->range_size - 1) / m->range_size;
	while (pick(seed, 3) != 0 && m->ranges[first].holder == 0)
		first++;
	vip.snat.first_port = (uint16_t)(first * m->range_size);
	for (unsigned k = pick(seed, 6); k > 0; k--) {
		uint32_t port = pick(seed, 65535) + 1;
		if (m->ranges[port / m->range_size].holder == 0)
			endpoints[vip.n_endpoints++].port = (uint16_t)port;
	}
	for (uint32_t i = 0; i < m->n; i++) {
		bool is_excluded = i < first;
		for (uint32_t k = 0; k < vip.n_endpoints; k++)
			is_excluded = is_excluded || endpoints[k].port / m->range_size == i;
		if (m->ranges[i].is_excluded && !is_excluded)
			m->ranges[i].order = m->next_order++;
		m->ranges[i].is_excluded = is_excluded;
	}
	snat_pool_set_exclusions(pool, &vip);
}

// A pool from what a snapshot would hold of this one.
static struct snat_pool *restored_twin(const struct model *m, const struct snat_pool *pool)
{
	struct snat_pool *twin = make_pool(pool->range_size, pool->seed);
	struct endpoint *endpoints = calloc(m->n, sizeof *endpoints);
	struct vip_config vip = { .endpoints = endpoints };
	for (uint32_t i = 0; i < m->n; i++)
		if (m->ranges[i].is_excluded)
			endpoints[vip.n_endpoints++].port = (uint16_t)(i * m->range_size);
	snat_pool_set_exclusions(twin, &vip);
	free(endpoints);
	struct lease lease;
	for (uint32_t i = 0; i < pool->n_holders; i++) {
		ck_assert_ptr_nonnull(snat_pool_insert_holder(twin, &pool->holders[i]->dip));
		for (uint16_t at = SNAT_NO_RANGE; snat_pool_next_of(pool, pool->holders[i], &at, &lease);)
			ck_assert(snat_pool_restore_held(twin, &lease));
	}
	for (uint32_t at = 0; snat_pool_next_freed(pool, &at, &lease);)
		ck_assert(snat_pool_restore_freed(twin, &lease));
	return twin;
}

static void run_against_model(uint32_t range_size, unsigned *seed)
{
	struct model *m = calloc(1, sizeof *m);
	struct snat_pool *pool = make_pool(range_size, pick(seed, 1000));
	*m = (struct model){ .range_size = range_size, .n = 65536 / range_size, .now_ms = 1000, .next_epoch = 1 };
	for (unsigned h = 1; h <= N_HOLDERS; h++) {
		struct ip_addr dip = dip_of(h);
		ck_assert_ptr_nonnull(snat_pool_insert_holder(pool, &dip));
	}
	model_configure(m, pool, seed);
	for (int step = 0; step < N_STEPS; step++) {
		unsigned what = pick(seed, 1000);
		bool is_rising = step / 5000 % 2 == 0;
		if (what < (is_rising ? 600 : 300)) {
			model_grant(m, pool, 1 + pick(seed, N_HOLDERS));
		} else if (what < 900) {
			model_end(m, pool, pick(seed, m->n));
		} else if (what < 970) {
			m->now_ms += pick(seed, 2000);
		} else if (what < 980) {
			m->quarantine_ms = pick(seed, 3) == 0 ? 0 : pick(seed, 60000);
		} else if (what < 990) {
			model_configure(m, pool, seed);
		} else if (what < 995) {
			struct snat_pool *twin = restored_twin(m, pool);
			snat_pool_destroy(pool);
			pool = twin;
		} else {
			check_counts(m, pool);
			check_holders(m, pool);
		}
	}
	check_counts(m, pool);
	check_holders(m, pool);
	snat_pool_destroy(pool);
	free(m);
}

START_TEST(random_operations_do_to_a_pool_what_they_do_to_a_naive_model)
{
	unsigned seed = choose_seed();
	run_against_model(1024, &seed);
	run_against_model(256, &seed);
	run_against_model(1024, &seed);
}
END_TEST

// ---- the order of unused ranges ----

START_TEST(every_port_is_granted_once_in_an_order_that_is_scrambled_and_depends_on_the_seed)
{
	for (uint32_t size = SNAT_UNIT_PORTS; size <= SNAT_RANGE_PORTS_MAX; size *= 2) {
		struct snat_pool *pool = make_pool(size, 5), *same = make_pool(size, 5), *other = make_pool(size, 6);
		struct snat_pool *pools[3] = { pool, same, other };
		struct ip_addr dip = dip_of(1);
		bool *is_granted = calloc(pool->n_ranges, sizeof *is_granted);
		uint32_t n_neighbours = 0, n_alike = 0;
		struct lease lease[3], last = { 0 };
		for (int k = 0; k < 3; k++)
			ck_assert_ptr_nonnull(snat_pool_insert_holder(pools[k], &dip));
		for (uint32_t i = 0; i < pool->n_ranges; i++) {
			for (uint32_t k = 0; k < 3; k++)
				ck_assert(snat_pool_grant(pools[k], pools[k]->holders[0], (struct snat_now){ .ms = 7 }, i, &lease[k]));
			ck_assert(!is_granted[lease[0].first_port / size]);
			is_granted[lease[0].first_port / size] = true;
			ck_assert_uint_eq(lease[0].first_port, lease[1].first_port);
			n_alike += lease[0].first_port == lease[2].first_port;
			n_neighbours += lease[0].first_port == last.first_port + size;
			last = lease[0];
		}
		ck_assert_uint_lt(n_alike, pool->n_ranges / 8);
		ck_assert_uint_lt(n_neighbours, pool->n_ranges / 8);
		ck_assert(!snat_pool_grant(pool, pool->holders[0], (struct snat_now){ .ms = UINT64_MAX / 2 }, 1, &last));
		for (int k = 0; k < 3; k++)
			snat_pool_destroy(pools[k]);
		free(is_granted);
	}
}
END_TEST

// ---- another shape ----

START_TEST(a_port_stays_quarantined_when_the_ranges_change_their_size)
{
	struct snat_pool *pool = make_pool(8, 5);
	struct ip_addr dip = dip_of(1);
	struct snat_holder *holder = snat_pool_insert_holder(pool, &dip);
	struct lease leases[3], other;
	exclude_as(pool, "203.0.113.10 shop snat size=8 10.1.1.1");
	for (uint32_t i = 0; i < 3; i++) {
		ck_assert(snat_pool_grant(pool, holder, (struct snat_now){ .ms = 5 }, i, &leases[i]));
		ck_assert(snat_pool_end(pool, leases[i].first_port, 1000 + i * 1000, &leases[i]));
	}
	ck_assert_int_eq(snat_pool_reshape(pool, 64, 5), 0);
	exclude_as(pool, "203.0.113.10 shop snat size=64 10.1.1.1");
	uint32_t n_unused = pool->n_unused;
	ck_assert_uint_eq(n_unused + pool->n_freed, (65536 - 1024) / 64);
	for (uint32_t i = 0; i < n_unused; i++) {
		ck_assert(snat_pool_grant(pool, holder, (struct snat_now){ .ms = 5000, .quarantine_ms = 4500 }, 9, &other));
		for (uint32_t k = 0; k < 3; k++)
			ck_assert(!lease_has_port(&other, leases[k].first_port));
	}
	ck_assert(!snat_pool_grant(pool, holder, (struct snat_now){ .ms = 5499, .quarantine_ms = 4500 }, 9, &other));
	ck_assert(snat_pool_grant(pool, holder, (struct snat_now){ .ms = 7500, .quarantine_ms = 4500 }, 9, &other));
	ck_assert(lease_has_port(&other, leases[0].first_port));
	snat_pool_destroy(pool);
}
END_TEST

START_TEST(another_seed_changes_the_order_and_no_lease)
{
	struct snat_pool *pool = make_pool(512, 5);
	struct lease before[20], lease;
	struct ip_addr dips[2] = { dip_of(1), dip_of(2) };
	for (int k = 0; k < 2; k++)
		ck_assert_ptr_nonnull(snat_pool_insert_holder(pool, &dips[k]));
	for (uint32_t i = 0; i < 20; i++)
		ck_assert(snat_pool_grant(pool, pool->holders[i % 2], (struct snat_now){ .ms = 5 + i }, i, &before[i]));
	ck_assert(snat_pool_end(pool, before[0].first_port, 100, &lease));
	ck_assert_int_eq(snat_pool_reshape(pool, 512, 77), 0);
	ck_assert_uint_eq(pool->n_held, 19);
	ck_assert_uint_eq(pool->n_freed, 1);
	ck_assert_uint_eq(pool->n_unused, 128 - 20);
	ck_assert(!snat_pool_lookup(pool, before[0].first_port, &lease));
	for (uint32_t i = 1; i < 20; i++) {
		ck_assert(snat_pool_lookup(pool, before[i].first_port, &lease));
		ck_assert_uint_eq(lease.epoch, i);
		ck_assert_uint_eq(lease.granted_ms, 5 + i);
		ck_assert(ip_addr_equal(&lease.dip, &dips[i % 2]));
	}
	snat_pool_destroy(pool);
}
END_TEST

START_TEST(short_memory_leaves_a_pool_in_its_shape)
{
	struct snat_pool *pool = NULL;
	struct ip_addr vip = addr_of("203.0.113.10");
	struct ip_addr dip = dip_of(1);
	uint64_t n;
	for (n = 0; pool == NULL; n++) {
		memory_fail_after(n);
		ck_assert_int_eq(snat_pool_create(&vip, 8, 1, &pool), n < 2 ? ERR_NO_MEMORY : 0);
	}
	struct snat_holder *holder = NULL;
	for (n = 0; holder == NULL; n++) {
		memory_fail_after(n);
		holder = snat_pool_insert_holder(pool, &dip);
	}
	ck_assert_uint_eq(n, 3); // the third try had all it needs
	int code = ERR_NO_MEMORY;
	for (n = 0; code != 0; n++) {
		ck_assert_uint_eq(pool->range_size, 8);
		memory_fail_after(n);
		code = snat_pool_reshape(pool, 16, 1);
	}
	memory_fail_after(UINT64_MAX);
	ck_assert_uint_eq(pool->range_size, 16);
	snat_pool_destroy(pool);
}
END_TEST

SUITE_MAIN("snat_pool", random_operations_do_to_a_pool_what_they_do_to_a_naive_model,
           every_port_is_granted_once_in_an_order_that_is_scrambled_and_depends_on_the_seed,
           a_port_stays_quarantined_when_the_ranges_change_their_size, another_seed_changes_the_order_and_no_lease,
           short_memory_leaves_a_pool_in_its_shape)
