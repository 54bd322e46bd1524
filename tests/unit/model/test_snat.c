// A VIP's snat policy and the settings of the cluster: defaults, and every broken rule with its sentence.
#include <string.h>

#include "common/base/memory.h"
#include "common/model/lease.h"
#include "common/model/store.h"
#include "tests/support/suite.h"
#include "tests/support/vip_builder.h"

static const char *const one_dip[] = { "10.1.1.11", NULL };

static struct vip_config *snat_vip(struct snat_policy policy)
{
	struct vip_config *v = test_vip("203.0.113.10", "shop", one_dip);
	v->snat_dips = memory_resize(v->snat_dips, 1, sizeof *v->snat_dips);
	v->snat_dips[0] = test_addr("10.1.1.11");
	v->n_snat_dips = 1;
	v->snat = policy;
	return v;
}

START_TEST(a_policy_that_is_not_given_is_the_default_and_none_without_dips)
{
	struct error err = { 0 };
	struct vip_config *v = snat_vip((struct snat_policy){ 0 });
	ck_assert_int_eq(vip_config_validate(v, &err), 0);
	ck_assert(v->snat.range_size == 8 && v->snat.first_port == 1024 && v->snat.prealloc_ports == 160);
	ck_assert(v->snat.max_ports_per_dip == 16384 && v->snat.idle_s == 120);
	v->n_snat_dips = 0;
	ck_assert_int_eq(vip_config_validate(v, &err), 0);
	static const struct snat_policy none;
	ck_assert_mem_eq(&v->snat, &none, sizeof none);
	vip_config_destroy(v);
}
END_TEST

START_TEST(each_broken_rule_of_a_policy_is_refused_with_the_field)
{
	static const struct {
		struct snat_policy policy;
		const char *want;
	} rows[] = {
		{ { 12, 1200, 0, 1200, 60 }, "snat.range_size: must be a power of two from 8 to 1024, got 12" },
		{ { 4, 1024, 0, 1024, 60 }, "snat.range_size: " },
		{ { 2048, 2048, 0, 2048, 60 }, "snat.range_size: " },
		{ { 8, 1000, 0, 1024, 60 }, "snat.first_port: must be at least 1024 and a multiple of range_size 8, got 1000" },
		{ { 16, 1032, 0, 1024, 60 }, "snat.first_port: " },
		{ { 16, 1024, 0, 8, 60 }, "snat.max_ports_per_dip: must be 16 (range_size) to 65536, got 8" },
		{ { 8, 1024, 0, 65537, 60 }, "snat.max_ports_per_dip: " },
		{ { 8, 1024, 160, 80, 60 }, "snat.prealloc_ports: must be at most 80" },
		{ { 8, 65528, 16, 64, 60 }, "snat.prealloc_ports: must be at most 8" },
		{ { 8, 1024, 0, 64, 0 }, "snat.idle_s: must be 1 to 86400, got 0" },
		{ { 8, 1024, 0, 64, 86401 }, "snat.idle_s: " },
	};
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		struct error err = { 0 };
		struct vip_config *v = snat_vip(rows[i].policy);
		ck_assert_int_eq(vip_config_validate(v, &err), ERR_INVALID);
		ck_assert_msg(strncmp(err.text, rows[i].want, strlen(rows[i].want)) == 0, "row %zu: %s", i, err.text);
		vip_config_destroy(v);
	}
}
END_TEST

START_TEST(policies_make_configurations_different)
{
	struct vip_config *a = snat_vip((struct snat_policy)SNAT_POLICY_DEFAULT);
	struct vip_config *b = vip_config_clone(a);
	ck_assert(vip_config_equal(a, b));
	b->snat.idle_s++;
	ck_assert(!vip_config_equal(a, b));
	b->snat.idle_s--;
	b->idle_tcp_s = 600;
	ck_assert(!vip_config_equal(a, b));
	b->idle_tcp_s = 0;
	b->idle_udp_s = 60;
	ck_assert(!vip_config_equal(a, b));
	vip_config_destroy(a);
	vip_config_destroy(b);
}
END_TEST

static struct ip_prefix prefix(const char *text)
{
	struct ip_prefix p;
	ck_assert_int_eq(ip_prefix_parse(text, &p, NULL), 0);
	return p;
}

START_TEST(the_default_settings_are_valid_and_sorted)
{
	struct error err = { 0 };
	struct cluster_settings s = cluster_settings_default();
	struct cluster_settings before = s;
	ck_assert_int_eq(cluster_settings_validate(&s, &err), 0);
	ck_assert_mem_eq(&s, &before, sizeof s);
}
END_TEST

enum settings_breakage { BITS_BEYOND, TWICE, TOO_LONG, TOO_MANY, QUARANTINE, LOG, GONE, RATE };

START_TEST(each_broken_rule_of_the_settings_is_refused_with_the_field)
{
	static const struct {
		enum settings_breakage what;
		const char *want;
	} rows[] = {
		{ BITS_BEYOND, "snat.never[1]: 192.0.2.1/24 has bits beyond its length" },
		{ TWICE, "snat.never: 192.0.2.0/24 is listed twice" },
		{ TOO_LONG, "snat.never[0]: /33 is longer than the address" },
		{ TOO_MANY, "snat.never: at most 16 prefixes, got 17" },
		{ QUARANTINE, "snat.quarantine_s: must be 0 to 86400, got 86401" },
		{ LOG, "snat.log_s: " },
		{ GONE, "snat.gone_s: " },
		{ RATE, "snat.dip_requests_per_s: must be 1 to 10000, got 0" },
	};
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		struct error err = { 0 };
		struct cluster_settings s = cluster_settings_default();
		s.n_no_snat = 2;
		s.no_snat[0] = prefix("192.0.2.0/24");
		s.no_snat[1] = prefix("198.51.0.0/16");
		switch (rows[i].what) {
		case BITS_BEYOND: s.no_snat[1] = (struct ip_prefix){ test_addr("192.0.2.1"), 24 }; break;
		case TWICE: s.no_snat[1] = s.no_snat[0]; break;
		case TOO_LONG: s.no_snat[0].bits = 33; break;
		case TOO_MANY: s.n_no_snat = 17; break;
		case QUARANTINE: s.snat_quarantine_s = 86401; break;
		case LOG: s.snat_log_s = UINT32_MAX; break;
		case GONE: s.snat_gone_s = UINT32_MAX; break;
		case RATE: s.snat_dip_requests_per_s = 0; break;
		}
		ck_assert_int_ne(cluster_settings_validate(&s, &err), 0);
		ck_assert_msg(strncmp(err.text, rows[i].want, strlen(rows[i].want)) == 0, "row %zu: %s", i, err.text);
	}
}
END_TEST

START_TEST(settings_in_a_store_come_and_go)
{
	struct store a;
	struct store b;
	store_init(&a);
	store_init(&b);
	ck_assert_uint_eq(a.settings.snat_quarantine_s, 60);
	struct change put = { .key = { .kind = OBJECT_SETTINGS }, .settings = cluster_settings_default() };
	put.settings.snat_quarantine_s = 5;
	ck_assert_int_eq(store_apply(&a, &put), 0);
	ck_assert(a.has_settings && a.settings.snat_quarantine_s == 5);
	ck_assert(!store_equal(&a, &b));
	struct change_list all;
	ck_assert_int_eq(store_get_all(&a, &all), 0);
	ck_assert_uint_eq(all.n, 1);
	ck_assert_int_eq(store_apply_update(&b, &all, true, 0), 0);
	ck_assert(store_equal(&a, &b));
	change_list_fini(&all);
	struct change gone = { .key = { .kind = OBJECT_SETTINGS }, .is_delete = true };
	ck_assert_int_eq(store_apply(&a, &gone), 0);
	ck_assert(!a.has_settings && a.settings.snat_quarantine_s == 60);
	store_fini(&a);
	store_fini(&b);
}
END_TEST

START_TEST(ranges_are_powers_of_two_in_their_place)
{
	static const struct {
		uint32_t first, n;
		bool want;
	} rows[] = {
		{ 1024, 8, true },  { 65528, 8, true },  { 64512, 1024, true }, { 0, 1024, true },   { 1028, 8, false },
		{ 1024, 4, false }, { 1024, 12, false }, { 4096, 2048, false }, { 65536, 8, false }, { 1024, 0, false },
	};
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
		ck_assert_msg(lease_range_is_valid(rows[i].first, rows[i].n) == rows[i].want, "row %zu", i);
	struct lease l = { .first_port = 65528, .n_ports = 8 };
	ck_assert(lease_has_port(&l, 65528) && lease_has_port(&l, 65535) && !lease_has_port(&l, 65527));
}
END_TEST

SUITE_MAIN("model snat", a_policy_that_is_not_given_is_the_default_and_none_without_dips,
           each_broken_rule_of_a_policy_is_refused_with_the_field, policies_make_configurations_different,
           the_default_settings_are_valid_and_sorted, each_broken_rule_of_the_settings_is_refused_with_the_field,
           settings_in_a_store_come_and_go, ranges_are_powers_of_two_in_their_place)
