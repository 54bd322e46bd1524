// SNAT maps against a naive model: random leases that begin, end and move, VIPs that come and go, replacements of everything.
#include "tests/support/suite.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

#include "common/base/memory.h"
#include "tests/unit/mux/fixture.h"

enum { N_VIPS = 6, N_STEPS = 4000, N_DIPS = 5, PORTS = 65536 };

static unsigned pick(unsigned *seed, unsigned n)
{
	return (unsigned)rand_r(seed) % n;
}

static struct ip_addr vip_of(unsigned i)
{
	return ip_addr_from_v4(be32_from(0xcb007100 + i));
}

static struct ip_addr dip_of(unsigned i)
{
	return ip_addr_from_v4(be32_from(0x0a010001 + i));
}

static void put_vip(struct fixture *f, unsigned i, bool has_snat)
{
	static const char *const dips[] = { "10.1.1.11", NULL };
	char text[IP_ADDR_TEXT_BYTES];
	struct ip_addr addr = vip_of(i);
	struct vip_config *vip = test_vip(ip_addr_format(&addr, text), "shop", dips);
	if (has_snat) {
		memory_free(vip->snat_dips);
		vip->snat_dips = memory_array(1, sizeof *vip->snat_dips);
		vip->snat_dips[0] = dip_of(0);
		vip->n_snat_dips = 1;
	}
	fixture_put_vip(f, vip);
}

// Every port of every VIP, the naive way.
struct model {
	bool has_map[N_VIPS];
	be32 dips[N_VIPS][PORTS];
};

static struct model model;

static void model_apply(const struct lease *lease)
{
	for (unsigned i = 0; i < N_VIPS; i++) {
		struct ip_addr vip = vip_of(i);
		if (!model.has_map[i] || !ip_addr_equal(&vip, &lease->vip))
			continue;
		for (uint32_t port = lease->first_port; port < (uint32_t)lease->first_port + lease->n_ports; port++) {
			be32 dip = ip_addr_to_v4(&lease->dip);
			if (lease->ended_ms == 0)
				model.dips[i][port] = dip;
			else if (model.dips[i][port] == dip)
				model.dips[i][port] = 0;
		}
	}
}

static void compare(const struct fixture *f, unsigned seed)
{
	uint64_t n_leased = 0;
	for (unsigned i = 0; i < N_VIPS; i++) {
		struct ip_addr vip = vip_of(i);
		const struct snat_map *m = snat_maps_lookup(&f->snat, &vip);
		ck_assert_msg((m != NULL) == model.has_map[i], "seed %u", seed);
		const struct vip_entry *e = vip_lookup(f->tables, ip_addr_to_v4(&vip), 0, 0);
		ck_assert_ptr_eq(e == NULL ? NULL : e->snat, m);
		for (uint32_t port = 0; m != NULL && port < PORTS; port++) {
			n_leased += model.dips[i][port] != 0;
			if (snat_map_lookup(m, (uint16_t)port) != model.dips[i][port])
				ck_abort_msg("seed %u: port %u of VIP %u", seed, port, i);
		}
	}
	ck_assert_uint_eq(snat_maps_leased_ports(&f->snat), n_leased);
}

static struct lease random_lease(unsigned *seed)
{
	uint16_t n_ports = (uint16_t)(8u << pick(seed, 8));
	uint32_t n_ranges = pick(seed, 3) == 0 ? PORTS / n_ports : 16; // many meet
	return (struct lease){ .vip = vip_of(pick(seed, N_VIPS)),
		                   .dip = dip_of(pick(seed, N_DIPS)),
		                   .first_port = (uint16_t)(pick(seed, n_ranges) * n_ports),
		                   .n_ports = n_ports,
		                   .ended_ms = pick(seed, 2) };
}

// Some leases at once.
static void change_leases(struct fixture *f, unsigned *seed)
{
	struct lease leases[8];
	struct lease_list list = { .n = 1 + pick(seed, 8), .items = leases };
	for (uint32_t i = 0; i < list.n; i++)
		leases[i] = random_lease(seed);
	for (uint32_t i = 0; i < list.n; i++)
		model_apply(&leases[i]);
	(void)snat_maps_apply(&f->snat, &list);
}

static void change_vip(struct fixture *f, unsigned *seed)
{
	unsigned i = pick(seed, N_VIPS);
	bool has_snat = pick(seed, 3) > 0;
	if (!has_snat || !model.has_map[i])
		memset(model.dips[i], 0, sizeof model.dips[i]);
	model.has_map[i] = has_snat;
	put_vip(f, i, has_snat);
}

static void replace_all(struct fixture *f)
{
	memset(model.dips, 0, sizeof model.dips);
	struct snat_maps old = f->snat;
	ck_assert_int_eq(snat_maps_create(&f->store, NULL, NULL, &f->snat), 0);
	fixture_rebuild(f);
	snat_maps_fini(&old, &f->snat);
}

START_TEST(maps_agree_with_a_naive_model_through_random_changes)
{
	unsigned seed = (unsigned)time(NULL);
	unsigned s = seed;
	struct fixture *f = fixture_create(MUX_ADDRESS);
	fixture_rebuild(f);
	memset(&model, 0, sizeof model);
	for (int i = 0; i < N_STEPS; i++) {
		unsigned what = pick(&s, 100);
		if (what == 0)
			replace_all(f);
		else if (what < 5)
			change_vip(f, &s);
		else
			change_leases(f, &s);
		if (i % 40 == 0)
			compare(f, seed);
	}
	compare(f, seed);
	fixture_destroy(f);
}
END_TEST

START_TEST(what_ends_is_cleared_only_where_it_is_still_that_dips)
{
	struct fixture *f = fixture_create(MUX_ADDRESS);
	put_vip(f, 0, true);
	fixture_lease(f, "203.0.113.0", "10.1.0.1", 1024, 64);
	fixture_lease(f, "203.0.113.0", "10.1.0.2", 1032, 8); // somebody else's by now
	fixture_end_lease(f, "203.0.113.0", "10.1.0.1", 1024, 64);
	const struct snat_map *m = f->snat.items[0];
	for (uint16_t port = 1000; port < 1100; port++)
		ck_assert_uint_eq(snat_map_lookup(m, port), port / 8 == 1032 / 8 ? test_ip4("10.1.0.2") : 0);
	ck_assert_uint_eq(snat_maps_leased_ports(&f->snat), 8);
	fixture_destroy(f);
}
END_TEST

START_TEST(a_range_that_moves_within_one_update_belongs_to_the_new_dip)
{
	struct fixture *f = fixture_create(MUX_ADDRESS);
	put_vip(f, 0, true);
	fixture_lease(f, "203.0.113.0", "10.1.0.1", 1024, 8);
	struct lease leases[] = { { vip_of(0), test_addr("10.1.0.1"), 1024, 8, 1, 10, 15 },
		                      { vip_of(0), test_addr("10.1.0.2"), 1024, 8, 2, 20, 25 },
		                      { vip_of(0), test_addr("10.1.0.1"), 1024, 8, 3, 30, 0 } }; // again
	struct lease_list list = { .n = 3, .items = leases };
	ck_assert_uint_eq(snat_maps_apply(&f->snat, &list), 0);
	ck_assert_uint_eq(snat_map_lookup(f->snat.items[0], 1031), test_ip4("10.1.0.1"));
	fixture_destroy(f);
}
END_TEST

START_TEST(a_lease_that_begins_and_ends_within_one_update_is_nobodys)
{
	struct fixture *f = fixture_create(MUX_ADDRESS);
	put_vip(f, 0, true);
	struct lease leases[] = { { vip_of(0), test_addr("10.1.0.1"), 1024, 8, 1, 10, 0 },
		                      { vip_of(0), test_addr("10.1.0.1"), 1024, 8, 1, 10, 15 } };
	struct lease_list list = { .n = 2, .items = leases };
	ck_assert_uint_eq(snat_maps_apply(&f->snat, &list), 0);
	ck_assert_uint_eq(snat_map_lookup(f->snat.items[0], 1024), 0);
	ck_assert_uint_eq(snat_maps_leased_ports(&f->snat), 0);
	fixture_destroy(f);
}
END_TEST

START_TEST(leases_that_fit_no_map_are_ignored_and_counted)
{
	struct fixture *f = fixture_create(MUX_ADDRESS);
	put_vip(f, 0, true);
	put_vip(f, 1, false);
	struct lease leases[] = {
		{ vip_of(1), dip_of(1), 1024, 8, 1, 1, 0 }, // no map
		{ vip_of(2), dip_of(1), 1024, 8, 1, 1, 0 }, // no VIP
		{ vip_of(2), dip_of(1), 1024, 8, 1, 1, 9 }, // that has ended, as it should
		{ vip_of(0), dip_of(1), 1028, 8, 1, 1, 0 }, // not aligned
		{ vip_of(0), dip_of(1), 65528, 16, 1, 1, 0 }, { vip_of(0), dip_of(1), 1024, 4, 1, 1, 0 },
	};
	struct lease_list list = { .n = 6, .items = leases };
	ck_assert_uint_eq(snat_maps_apply(&f->snat, &list), 5);
	ck_assert_uint_eq(snat_maps_leased_ports(&f->snat), 0);
	fixture_destroy(f);
}
END_TEST

START_TEST(every_failed_allocation_leaves_the_old_maps)
{
	struct fixture *f = fixture_create(MUX_ADDRESS);
	for (unsigned i = 0; i < 3; i++)
		put_vip(f, i, true);
	fixture_lease(f, "203.0.113.1", "10.1.0.1", 1024, 8);
	struct vip_config *vip = vip_config_clone(store_vip(&f->store, 0));
	vip->vip = vip_of(4);
	struct change c = test_put_vip(vip);
	ck_assert_int_eq(store_apply(&f->store, &c), 0);
	struct snat_maps after;
	uint64_t n = 0;
	for (int code = ERR_NO_MEMORY; code != 0; n++) {
		memory_fail_after(n);
		code = snat_maps_create(&f->store, NULL, &f->snat, &after);
		memory_fail_after(UINT64_MAX);
		ck_assert(code == 0 || code == ERR_NO_MEMORY);
		ck_assert_uint_eq(snat_map_lookup(f->snat.items[1], 1024), test_ip4("10.1.0.1"));
	}
	ck_assert_uint_eq(n, 3); // the list, one map, and success
	ck_assert_uint_eq(after.n, 4);
	snat_maps_fini(&after, &f->snat);
	fixture_destroy(f);
}
END_TEST

START_TEST(more_than_a_million_and_a_half_leased_ports_take_less_than_ten_megabytes)
{
	struct fixture *f = fixture_create(MUX_ADDRESS);
	for (unsigned i = 0; i < 25; i++) {
		put_vip(f, i, true);
		struct lease_list list = { 0 };
		for (uint32_t port = 1024; port < PORTS; port += 8) {
			struct lease lease = { vip_of(i), dip_of(port % 1000), (uint16_t)port, 8, 1, 1, 0 };
			ck_assert_int_eq(lease_list_append(&list, &lease), 0);
		}
		ck_assert_uint_eq(snat_maps_apply(&f->snat, &list), 0);
		lease_list_fini(&list);
	}
	uint64_t n_ports = snat_maps_leased_ports(&f->snat);
	uint64_t n_bytes = f->snat.n * (sizeof *f->snat.items + sizeof **f->snat.items);
	printf("%llu leased ports of %u VIPs: %.2f MB\n", (unsigned long long)n_ports, f->snat.n, (double)n_bytes / 1e6);
	ck_assert_uint_ge(n_ports, 1600000);
	ck_assert_uint_lt(n_bytes, 10000000);
	fixture_destroy(f);
}
END_TEST

// A lease of any valid shape, held or ended.
static struct lease lease_of_any_shape(unsigned *seed)
{
	uint16_t n_ports = (uint16_t)(SNAT_UNIT_PORTS << pick(seed, 8));
	return (struct lease){ .vip = vip_of(pick(seed, 2)),
		                   .dip = dip_of(pick(seed, 2)),
		                   .first_port = (uint16_t)(pick(seed, 65536u / n_ports) * n_ports),
		                   .n_ports = n_ports,
		                   .ended_ms = pick(seed, 4) == 0 };
}

static void apply_one(struct snat_maps *maps, struct lease lease)
{
	struct lease_list one = { .n = 1, .items = &lease };
	ck_assert_uint_eq(snat_maps_apply(maps, &one), 0);
}

static bool are_equal(const struct snat_maps *a, const struct snat_maps *b)
{
	for (uint32_t i = 0; i < a->n; i++)
		for (uint32_t port = 0; port < PORTS; port += SNAT_UNIT_PORTS)
			if (snat_map_lookup(a->items[i], (uint16_t)port) != snat_map_lookup(b->items[i], (uint16_t)port))
				return false;
	return a->n == b->n;
}

START_TEST(the_leases_of_maps_make_the_same_maps)
{
	unsigned seed = (unsigned)time(NULL);
	struct fixture *f = fixture_create(MUX_ADDRESS);
	put_vip(f, 0, true);
	put_vip(f, 1, true);
	for (int round = 0; round < 50; round++) {
		struct snat_maps maps, again;
		struct lease_list leases = { 0 };
		ck_assert_int_eq(snat_maps_create(&f->store, NULL, NULL, &maps), 0);
		ck_assert_int_eq(snat_maps_create(&f->store, NULL, NULL, &again), 0);
		for (uint32_t i = pick(&seed, 400); i > 0; i--)
			apply_one(&maps, lease_of_any_shape(&seed));
		ck_assert_int_eq(snat_maps_get_leases(&maps, &leases), 0);
		ck_assert_uint_eq(snat_maps_apply(&again, &leases), 0); // all are valid
		ck_assert_msg(are_equal(&maps, &again), "seed %u", seed);
		ck_assert_uint_eq(snat_maps_leased_ports(&maps), snat_maps_leased_ports(&again));
		lease_list_fini(&leases);
		snat_maps_fini(&maps, NULL);
		snat_maps_fini(&again, NULL);
	}
	fixture_destroy(f);
}
END_TEST

START_TEST(a_whole_range_of_one_dip_is_one_lease)
{
	struct lease_list leases = { 0 };
	struct fixture *f = fixture_create(MUX_ADDRESS);
	put_vip(f, 0, true);
	for (uint32_t i = 0; i < 128; i++)
		apply_one(
			&f->snat,
			(struct lease){ .vip = vip_of(0), .dip = dip_of(0), .first_port = (uint16_t)(1024 + 8 * i), .n_ports = 8 });
	ck_assert_int_eq(snat_maps_get_leases(&f->snat, &leases), 0);
	ck_assert_uint_eq(leases.n, 1);
	ck_assert_uint_eq(leases.items[0].n_ports, 1024);
	lease_list_fini(&leases);
	fixture_destroy(f);
}
END_TEST

SUITE_MAIN("snat map", the_leases_of_maps_make_the_same_maps, a_whole_range_of_one_dip_is_one_lease,
           maps_agree_with_a_naive_model_through_random_changes, what_ends_is_cleared_only_where_it_is_still_that_dips,
           a_range_that_moves_within_one_update_belongs_to_the_new_dip,
           a_lease_that_begins_and_ends_within_one_update_is_nobodys, leases_that_fit_no_map_are_ignored_and_counted,
           every_failed_allocation_leaves_the_old_maps,
           more_than_a_million_and_a_half_leased_ports_take_less_than_ten_megabytes)
