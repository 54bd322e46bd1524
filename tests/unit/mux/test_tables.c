#include "tests/support/suite.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

#include "common/base/memory.h"
#include "common/model/maglev.h"
#include "tests/unit/mux/fixture.h"

static unsigned pick(unsigned *seed, unsigned n)
{
	return (unsigned)rand_r(seed) % n;
}

// The naive model: what the store says of (VIP, protocol, port).
static const struct endpoint *model_lookup(const struct store *s, be32 vip, be16 port, uint8_t protocol)
{
	struct ip_addr addr = ip_addr_from_v4(vip);
	const struct vip_config *config = store_lookup_vip(s, &addr);
	return config == NULL ? NULL : vip_config_lookup_endpoint(config, protocol, be16_to(port));
}

static void check_entry(const struct vip_entry *e, const struct endpoint *config, uint32_t slot)
{
	ck_assert_uint_eq(e->slot, slot);
	ck_assert_uint_eq(e->n_buckets, maglev_table_size(config->n_dips));
	uint32_t n_owned = 0;
	for (uint32_t i = 0; i < e->n_buckets; i++) {
		ck_assert_uint_lt(e->owners[i], config->n_dips);
		n_owned += e->owners[i] == 0;
	}
	ck_assert_uint_gt(n_owned, 0);
	for (uint32_t i = 0; i < config->n_dips; i++) {
		ck_assert_uint_eq(e->templates[i].dst, ip_addr_to_v4(&config->dips[i].dip));
		ck_assert_uint_eq(e->templates[i].src, test_ip4(MUX_ADDRESS));
	}
}

static void check_all(const struct fixture *f)
{
	for (uint32_t i = 0; i < f->store.vips.n; i++) {
		const struct vip_config *vip = store_vip(&f->store, i);
		be32 addr = ip_addr_to_v4(&vip->vip);
		uint32_t slot = vip_slots_of(&f->slots, i);
		const struct vip_entry *itself = vip_lookup(f->tables, addr, 0, 0);
		ck_assert_ptr_nonnull(itself);
		ck_assert_ptr_null(itself->owners);
		for (uint32_t k = 0; k < vip->n_endpoints; k++) {
			const struct endpoint *config = &vip->endpoints[k];
			const struct vip_entry *e = vip_lookup(f->tables, addr, be16_from(config->port), config->protocol);
			ck_assert_ptr_nonnull(e);
			check_entry(e, config, slot);
		}
	}
}

static void check_random_keys(const struct fixture *f, unsigned *seed)
{
	static const uint8_t protocols[] = { IP_PROTO_TCP, IP_PROTO_UDP };
	for (int i = 0; i < 2000; i++) {
		be32 vip = be32_from(0xcb007100 + pick(seed, 64));
		be16 port = be16_from((uint16_t)(78 + pick(seed, 10)));
		uint8_t protocol = protocols[pick(seed, 2)];
		const struct endpoint *want = model_lookup(&f->store, vip, port, protocol);
		const struct vip_entry *got = vip_lookup(f->tables, vip, port, protocol);
		ck_assert_int_eq(want != NULL, got != NULL);
	}
}

START_TEST(lookups_agree_with_the_store_through_random_changes)
{
	unsigned seed = (unsigned)time(NULL);
	struct fixture *f = fixture_create(MUX_ADDRESS);
	fixture_rebuild(f);
	ck_assert_ptr_null(vip_lookup(f->tables, test_ip4("203.0.113.1"), 0, 0));
	for (int i = 0; i < 150; i++) {
		char text[16];
		unsigned n = 1 + pick(&seed, 60);
		snprintf(text, sizeof text, "203.0.113.%u", n);
		if (pick(&seed, 3) == 0)
			fixture_delete_vip(f, text);
		else
			fixture_put_vip(f, test_random_vip(&seed, n));
		check_all(f);
		check_random_keys(f, &seed);
	}
	fixture_destroy(f);
}
END_TEST

START_TEST(only_what_changed_is_made_anew)
{
	static const char *const two[] = { "10.1.1.11", "10.1.1.12", NULL };
	static const char *const three[] = { "10.1.1.11", "10.1.1.12", "10.1.1.13", NULL };
	struct fixture *f = fixture_create(MUX_ADDRESS);
	char text[24];
	for (int i = 1; i <= 100; i++) {
		snprintf(text, sizeof text, "203.0.113.%d", i);
		fixture_put_vip(f, test_vip(text, "shop", two));
		ck_assert_uint_eq(f->tables->n_rebuilt, 1);
	}
	const uint16_t *shared = vip_lookup(f->tables, test_ip4("203.0.113.60"), be16_from(80), IP_PROTO_TCP)->owners;
	fixture_put_vip(f, test_vip("203.0.113.50", "shop", three));
	ck_assert_uint_eq(f->tables->n_rebuilt, 1);
	fixture_delete_vip(f, "203.0.113.1");
	ck_assert_uint_eq(f->tables->n_rebuilt, 0);
	fixture_put_vip(f, test_vip("203.0.113.0", "shop", two)); // sorts first
	ck_assert_uint_eq(f->tables->n_rebuilt, 1);
	ck_assert_ptr_eq(vip_lookup(f->tables, test_ip4("203.0.113.60"), be16_from(80), IP_PROTO_TCP)->owners, shared);
	check_all(f);
	fixture_destroy(f);
}
END_TEST

START_TEST(a_new_weight_makes_new_buckets_and_a_new_port_of_the_dip_does_not)
{
	static const char *const two[] = { "10.1.1.11", "10.1.1.12", NULL };
	struct fixture *f = fixture_create(MUX_ADDRESS);
	struct vip_config *vip = test_vip("203.0.113.10", "shop", two);
	vip->endpoints[0].dips[0].port = 9090;
	fixture_put_vip(f, test_vip("203.0.113.10", "shop", two));
	fixture_put_vip(f, vip);
	ck_assert_uint_eq(f->tables->n_rebuilt, 0); // the port on the DIP is the agent's business
	vip = test_vip("203.0.113.10", "shop", two);
	vip->endpoints[0].dips[0].weight = 3;
	fixture_put_vip(f, vip);
	ck_assert_uint_eq(f->tables->n_rebuilt, 1);
	const struct vip_entry *e = vip_lookup(f->tables, test_ip4("203.0.113.10"), be16_from(80), IP_PROTO_TCP);
	uint32_t n_first = 0;
	for (uint32_t i = 0; i < e->n_buckets; i++)
		n_first += e->owners[i] == 0;
	ck_assert_uint_gt(n_first, e->n_buckets * 74 / 100);
	ck_assert_uint_lt(n_first, e->n_buckets * 76 / 100);
	fixture_destroy(f);
}
END_TEST

START_TEST(the_same_set_gives_the_same_buckets_whatever_came_before)
{
	static const char *const dips[] = { "10.1.1.11", "10.1.1.12", "10.1.3.11", "10.1.4.11", NULL };
	static const char *const fewer[] = { "10.1.1.12", "10.1.4.11", NULL };
	struct fixture *straight = fixture_create("10.0.0.31");
	struct fixture *detour = fixture_create("10.0.0.32");
	fixture_put_vip(straight, test_vip("203.0.113.10", "shop", dips));
	fixture_put_vip(detour, test_vip("203.0.113.10", "shop", fewer));
	fixture_put_vip(detour, test_vip("203.0.113.9", "shop", fewer));
	fixture_put_vip(detour, test_vip("203.0.113.10", "shop", dips));
	const struct vip_entry *a = vip_lookup(straight->tables, test_ip4("203.0.113.10"), be16_from(80), IP_PROTO_TCP);
	const struct vip_entry *b = vip_lookup(detour->tables, test_ip4("203.0.113.10"), be16_from(80), IP_PROTO_TCP);
	ck_assert_uint_eq(a->n_buckets, b->n_buckets);
	ck_assert_mem_eq(a->owners, b->owners, a->n_buckets * sizeof *a->owners);
	ck_assert_uint_ne(a->templates[0].src, b->templates[0].src);
	fixture_destroy(straight);
	fixture_destroy(detour);
}
END_TEST

START_TEST(a_vip_that_is_only_a_source_of_snat_is_a_vip)
{
	static const char *const none[] = { NULL };
	struct fixture *f = fixture_create(MUX_ADDRESS);
	struct vip_config *vip = test_vip("203.0.113.10", "shop", none);
	memory_free(vip->endpoints[0].dips);
	vip->n_endpoints = 0;
	memory_free(vip->snat_dips);
	vip->snat_dips = memory_array(1, sizeof *vip->snat_dips);
	vip->snat_dips[0] = test_addr("10.1.1.11");
	vip->n_snat_dips = 1;
	fixture_put_vip(f, vip);
	ck_assert_ptr_nonnull(vip_lookup(f->tables, test_ip4("203.0.113.10"), 0, 0));
	ck_assert_ptr_null(vip_lookup(f->tables, test_ip4("203.0.113.10"), be16_from(80), IP_PROTO_TCP));
	fixture_destroy(f);
}
END_TEST

START_TEST(a_store_without_cluster_gives_no_tables)
{
	struct fixture *f = fixture_create(MUX_ADDRESS);
	struct mux_tables *tables = NULL;
	f->store.has_cluster = false;
	struct mux_tables_sources from = fixture_sources(f);
	ck_assert_int_eq(mux_tables_create(&from, &tables), ERR_INVALID);
	ck_assert_ptr_null(tables);
	fixture_destroy(f);
}
END_TEST

START_TEST(every_failed_allocation_leaves_the_old_tables)
{
	unsigned seed = 7;
	struct fixture *f = fixture_create(MUX_ADDRESS);
	for (unsigned i = 1; i < 5; i++)
		fixture_put_vip(f, test_random_vip(&seed, i));
	struct change c = test_put_vip(test_random_vip(&seed, 2));
	ck_assert_int_eq(store_apply(&f->store, &c), 0);
	ck_assert_int_eq(vip_slots_update(&f->slots, &f->store, NULL), 0);
	const struct vip_entry *before = vip_lookup(f->tables, test_ip4("203.0.113.1"), 0, 0);
	struct mux_tables_sources from = fixture_sources(f);
	struct mux_tables *tables = NULL;
	uint64_t n = 0;
	for (int code = ERR_NO_MEMORY; code != 0; n++) {
		memory_fail_after(n);
		code = mux_tables_create(&from, &tables);
		memory_fail_after(UINT64_MAX);
		ck_assert(code == 0 || code == ERR_NO_MEMORY);
		ck_assert_ptr_eq(vip_lookup(f->tables, test_ip4("203.0.113.1"), 0, 0), before);
	}
	ck_assert_uint_gt(n, 4);
	mux_tables_destroy(f->tables);
	f->tables = tables;
	check_all(f);
	fixture_destroy(f);
}
END_TEST

// A VIP "10.200.x.y" with one endpoint of 10 DIPs.
static struct change large_vip(uint32_t i)
{
	static const char *const ten[] = { "10.1.1.1", "10.1.1.2", "10.1.1.3", "10.1.1.4",  "10.1.1.5", "10.1.1.6",
		                               "10.1.1.7", "10.1.1.8", "10.1.1.9", "10.1.1.10", NULL };
	char text[24];
	snprintf(text, sizeof text, "10.200.%u.%u", i >> 8, i & 255);
	struct vip_config *vip = test_vip(text, "large", ten);
	for (uint32_t k = 0; k < 10; k++)
		vip->endpoints[0].dips[k].dip = ip_addr_from_v4(be32_from(0x0b000000 + i * 16 + k));
	return test_put_vip(vip);
}

START_TEST(twenty_thousand_endpoints_fit_and_one_change_costs_one_table)
{
	struct fixture *f = fixture_create(MUX_ADDRESS);
	for (uint32_t i = 0; i < LIMIT_VIPS; i++) {
		struct change c = large_vip(i);
		ck_assert_int_eq(store_apply(&f->store, &c), 0);
	}
	fixture_rebuild(f);
	ck_assert_uint_eq(f->tables->n_rebuilt, LIMIT_VIPS);
	struct change c = large_vip(12345);
	c.vip->endpoints[0].dips[3].weight = 9;
	ck_assert_int_eq(store_apply(&f->store, &c), 0);
	fixture_rebuild(f);
	ck_assert_uint_eq(f->tables->n_rebuilt, 1);
	for (uint32_t i = 0; i < LIMIT_VIPS; i += 97)
		ck_assert_ptr_nonnull(vip_lookup(f->tables, be32_from(0x0ac80000 + i), be16_from(80), IP_PROTO_TCP));
	fixture_destroy(f);
}
END_TEST

SUITE_MAIN("mux tables", lookups_agree_with_the_store_through_random_changes, only_what_changed_is_made_anew,
           a_new_weight_makes_new_buckets_and_a_new_port_of_the_dip_does_not,
           the_same_set_gives_the_same_buckets_whatever_came_before, a_vip_that_is_only_a_source_of_snat_is_a_vip,
           a_store_without_cluster_gives_no_tables, every_failed_allocation_leaves_the_old_tables,
           twenty_thousand_endpoints_fit_and_one_change_costs_one_table)
