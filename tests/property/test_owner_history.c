// Owner histories of random generations against what they promise, computed naively from each generation's own Maglev table.
// The seed is printed and can be given by SEED=n.
#include "tests/support/suite.h"

#include <stdio.h>
#include <string.h>

#include "common/base/memory.h"
#include "common/model/flow_hash.h"
#include "common/model/history.h"

enum { N_DIPS = 60, N_HASHES = 4000 };

static unsigned seed_of_run(void)
{
	const char *text = getenv("SEED");
	unsigned seed = text != NULL ? (unsigned)atoi(text) : 20260102u;
	printf("SEED=%u\n", seed);
	return seed;
}

static unsigned pick(unsigned *seed, unsigned n)
{
	return (unsigned)rand_r(seed) % n;
}

static uint64_t random_hash(unsigned *seed)
{
	return hash_mix64(((uint64_t)rand_r(seed) << 32) ^ (uint64_t)rand_r(seed));
}

static struct ip_addr dip_of(unsigned i)
{
	return ip_addr_from_v4(be32_from(0x0a010100u + i));
}

// Each of the first n DIPs with this chance in percent; at least one.
static struct generation random_generation(unsigned *seed, unsigned n, unsigned percent)
{
	struct generation g = { .members = memory_array(n, sizeof *g.members) };
	while (g.n_members == 0)
		for (unsigned i = 0; i < n; i++)
			if (pick(seed, 100) < percent)
				g.members[g.n_members++] =
					(struct maglev_member){ .dip = dip_of(i), .weight = (uint16_t)(1 + pick(seed, 4)) };
	return g;
}

static struct vip_history *random_history(unsigned *seed)
{
	static const unsigned sizes[] = { 3, 9, 12, 45, N_DIPS }; // tables of 1009, 4036 and 16144 buckets
	struct vip_history *h = memory_array(1, sizeof *h);
	h->n_endpoints = 1;
	h->endpoints = memory_array(1, sizeof *h->endpoints);
	h->endpoints->n_generations = 1 + pick(seed, 8);
	h->endpoints->generations = memory_array(h->endpoints->n_generations, sizeof *h->endpoints->generations);
	for (uint32_t g = 0; g < h->endpoints->n_generations; g++)
		h->endpoints->generations[g] = random_generation(seed, sizes[pick(seed, 5)], 20 + pick(seed, 81));
	h->gone = memory_array(N_DIPS, sizeof *h->gone);
	unsigned percent_gone = pick(seed, 2) * 30;
	for (unsigned i = 0; i < N_DIPS; i++)
		if (pick(seed, 100) < percent_gone)
			h->gone[h->n_gone++] = dip_of(i);
	return h;
}

static bool is_gone(const struct vip_history *h, const struct ip_addr *dip)
{
	for (uint32_t i = 0; i < h->n_gone; i++)
		if (ip_addr_equal(&h->gone[i], dip))
			return true;
	return false;
}

// Each generation's own table.
static uint16_t **tables_of(const struct endpoint_history *e)
{
	uint16_t **tables = memory_array(e->n_generations, sizeof *tables);
	for (uint32_t g = 0; g < e->n_generations; g++) {
		const struct generation *gen = &e->generations[g];
		uint32_t n_slots = maglev_table_size(gen->n_members);
		tables[g] = memory_array(n_slots, sizeof *tables[g]);
		ck_assert_int_eq(maglev_build(gen->members, gen->n_members, tables[g], n_slots), 0);
	}
	return tables;
}

static void free_tables(const struct endpoint_history *e, uint16_t **tables)
{
	for (uint32_t g = 0; g < e->n_generations; g++)
		memory_free(tables[g]);
	memory_free(tables);
}

// From the present generation back: distinct owners, without those that are gone.
static uint32_t naive_owners(const struct vip_history *h, uint16_t *const *tables, uint64_t hash,
                             struct ip_addr owners[OWNERS_MAX])
{
	const struct endpoint_history *e = h->endpoints;
	uint32_t n = 0;
	for (uint32_t g = e->n_generations; g > 0 && n < OWNERS_MAX; g--) {
		const struct generation *gen = &e->generations[g - 1];
		uint16_t member = tables[g - 1][flow_bucket(hash, maglev_table_size(gen->n_members))];
		struct ip_addr dip = gen->members[member].dip;
		bool is_there = n > 0 && is_gone(h, &dip);
		for (uint32_t i = 0; i < n; i++)
			is_there = is_there || ip_addr_equal(&owners[i], &dip);
		if (!is_there)
			owners[n++] = dip;
	}
	return n;
}

static void check_hash(const struct vip_history *h, const struct owner_history *o, uint16_t *const *tables,
                       uint64_t hash)
{
	struct ip_addr want[OWNERS_MAX];
	uint32_t n = naive_owners(h, tables, hash, want);
	const uint16_t *owners = owner_history_of(o, hash);
	for (uint32_t i = 0; i < OWNERS_MAX; i++) {
		if (i >= n) {
			ck_assert_uint_eq(owners[i], OWNER_NONE);
			continue;
		}
		ck_assert_uint_lt(owners[i], o->n_dips);
		ck_assert_msg(ip_addr_equal(&o->dips[owners[i]], &want[i]), "owner %u of %u of hash %llx", i, n,
		              (unsigned long long)hash);
	}
}

START_TEST(every_generations_owner_of_a_flow_is_in_its_owner_history)
{
	unsigned seed = seed_of_run();
	for (int round = 0; round < 150; round++) {
		struct vip_history *h = random_history(&seed);
		uint16_t **tables = tables_of(h->endpoints);
		struct owner_history o;
		ck_assert_int_eq(owner_history_build(h, h->endpoints, &o), 0);
		for (int i = 0; i < N_HASHES; i++)
			check_hash(h, &o, tables, random_hash(&seed));
		owner_history_fini(&o);
		free_tables(h->endpoints, tables);
		vip_history_destroy(h);
	}
}
END_TEST

static void move_to_end(struct endpoint_history *e, uint32_t from)
{
	struct generation g = e->generations[from];
	memmove(e->generations + from, e->generations + from + 1, (e->n_generations - from - 1) * sizeof *e->generations);
	e->generations[e->n_generations - 1] = g;
}

// What lets the managers keep a repeated set once: only its last place counts.
START_TEST(a_generation_that_comes_back_needs_its_last_place_only)
{
	unsigned seed = seed_of_run();
	for (int round = 0; round < 60; round++) {
		struct vip_history *twice = random_history(&seed);
		struct endpoint_history *e = twice->endpoints;
		struct vip_history *once = vip_history_clone(twice);
		uint32_t which = pick(&seed, e->n_generations);
		struct generation again = e->generations[which];
		again.members = memory_copy(again.members, again.n_members * sizeof *again.members);
		e->generations = memory_resize(e->generations, e->n_generations + 1, sizeof *e->generations);
		e->generations[e->n_generations++] = again;
		move_to_end(once->endpoints, which);
		struct owner_history a, b;
		ck_assert_int_eq(owner_history_build(twice, twice->endpoints, &a), 0);
		ck_assert_int_eq(owner_history_build(once, once->endpoints, &b), 0);
		ck_assert_uint_eq(a.n_buckets, b.n_buckets);
		ck_assert_uint_eq(a.n_dips, b.n_dips);
		ck_assert_mem_eq(a.owners, b.owners, a.n_buckets * sizeof *a.owners);
		owner_history_fini(&a);
		owner_history_fini(&b);
		vip_history_destroy(twice);
		vip_history_destroy(once);
	}
}
END_TEST

START_TEST(dips_that_flap_do_not_push_out_the_owner_before_them)
{
	// 11 and 12; then 12 flaps thirty times.
	struct generation all[31];
	struct maglev_member members[2] = { { dip_of(11), 1 }, { dip_of(12), 1 } };
	for (uint32_t g = 0; g < 31; g++)
		all[g] = (struct generation){ .since_ms = g, .n_members = g % 2 == 0 ? 2 : 1, .members = members };
	struct endpoint_history e = { .n_generations = 31, .generations = all };
	struct vip_history h = { .n_endpoints = 1, .endpoints = &e };
	struct owner_history o;
	ck_assert_int_eq(owner_history_build(&h, &e, &o), 0);
	uint32_t n_two = 0;
	for (uint32_t b = 0; b < o.n_buckets; b++) {
		ck_assert_uint_eq(o.owners[b][2], OWNER_NONE);
		n_two += o.owners[b][1] != OWNER_NONE;
	}
	ck_assert_uint_ge(n_two, o.n_buckets / 2 - 2); // 12's buckets, which 11 had meanwhile
	ck_assert_uint_le(n_two, o.n_buckets / 2 + 2);
	owner_history_fini(&o);
}
END_TEST

START_TEST(short_memory_is_an_answer)
{
	unsigned seed = seed_of_run();
	struct vip_history *h = random_history(&seed);
	for (uint64_t n = 0;; n++) {
		struct owner_history o;
		memory_fail_after(n);
		int code = owner_history_build(h, h->endpoints, &o);
		struct vip_history *copy = vip_history_clone(h);
		memory_fail_after(UINT64_MAX);
		if (code == 0)
			owner_history_fini(&o);
		else
			ck_assert_int_eq(code, ERR_NO_MEMORY);
		bool is_whole = code == 0 && copy != NULL;
		if (copy != NULL)
			ck_assert(vip_history_equal(h, copy));
		vip_history_destroy(copy);
		if (is_whole)
			break;
	}
	vip_history_destroy(h);
}
END_TEST

SUITE_MAIN("property-owner-history", every_generations_owner_of_a_flow_is_in_its_owner_history,
           a_generation_that_comes_back_needs_its_last_place_only, dips_that_flap_do_not_push_out_the_owner_before_them,
           short_memory_is_an_answer)
