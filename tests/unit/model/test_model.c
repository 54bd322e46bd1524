#include "tests/support/suite.h"

#include <string.h>

#include "common/base/memory.h"
#include "common/model/limits.h"
#include "common/model/object.h"
#include "common/model/store.h"
#include "common/model/vip.h"
#include "tests/support/vip_builder.h"

static const char *const two_dips[] = { "10.1.2.11", "10.1.1.11", NULL };

START_TEST(addresses_are_read_strictly_and_printed_back)
{
	static const char *const good[] = { "10.1.1.11", "203.0.113.255", "2001:db8::1", "::1" };
	static const char *const bad[] = { "",          "10.1.1",      "10.1.1.256", "010.1.1.1",
		                               "10.1.1.1 ", "10.1.1.1/24", "a",          "2001:::1" };
	char text[IP_ADDR_TEXT_BYTES];
	struct ip_addr addr;
	for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
		ck_assert_int_eq(ip_addr_parse(good[i], &addr, NULL), 0);
		ck_assert_str_eq(ip_addr_format(&addr, text), good[i]);
	}
	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
		struct error err = { 0 };
		ck_assert_msg(ip_addr_parse(bad[i], &addr, &err) == ERR_INVALID, "%s", bad[i]);
		ck_assert_ptr_nonnull(strstr(err.text, bad[i]));
	}
}
END_TEST

START_TEST(an_ipv4_address_is_the_same_as_its_mapped_form)
{
	struct ip_addr a = test_addr("10.1.1.11");
	struct ip_addr b = test_addr("::ffff:10.1.1.11");
	ck_assert(ip_addr_equal(&a, &b));
	ck_assert(ip_addr_is_v4(&b));
}
END_TEST

START_TEST(prefixes_endpoints_and_macs_are_read)
{
	struct ip_prefix p;
	struct ip_addr addr;
	uint16_t port;
	uint8_t mac[6];
	char text[MAC_TEXT_BYTES];
	ck_assert_int_eq(ip_prefix_parse("10.0.0.31/24", &p, NULL), 0);
	ck_assert_uint_eq(p.bits, 24);
	ck_assert_int_eq(ip_prefix_parse("10.0.0.31", &p, NULL), 0);
	ck_assert_uint_eq(p.bits, 32);
	ck_assert_int_ne(ip_prefix_parse("10.0.0.31/33", &p, NULL), 0);
	ck_assert_int_eq(ip_endpoint_parse("10.0.0.11:7400", &addr, &port, NULL), 0);
	ck_assert_uint_eq(port, 7400);
	ck_assert_int_eq(ip_endpoint_parse("[2001:db8::1]:7400", &addr, &port, NULL), 0);
	ck_assert_uint_eq(port, 7400);
	char endpoint[IP_ENDPOINT_TEXT_BYTES];
	ck_assert_str_eq(ip_endpoint_format(&addr, port, endpoint), "[2001:db8::1]:7400");
	ck_assert_int_ne(ip_endpoint_parse("2001:db8::1:7400", &addr, &port, NULL), 0); // which of them is the port?
	ck_assert_int_ne(ip_endpoint_parse("[2001:db8::1]", &addr, &port, NULL), 0);
	ck_assert_int_ne(ip_endpoint_parse("10.0.0.11", &addr, &port, NULL), 0);
	ck_assert_int_ne(ip_endpoint_parse("10.0.0.11:0", &addr, &port, NULL), 0);
	ck_assert_int_ne(ip_endpoint_parse("10.0.0.11:99999", &addr, &port, NULL), 0);
	ck_assert_int_eq(mac_parse("02:aB:00:00:00:0f", mac, NULL), 0);
	ck_assert_str_eq(mac_format(mac, text), "02:ab:00:00:00:0f");
	ck_assert_int_ne(mac_parse("02:ab:00:00:00", mac, NULL), 0);
	ck_assert_int_ne(mac_parse("02:ab:00:00:00:0f:", mac, NULL), 0);
	ck_assert_int_ne(mac_parse("02-ab-00-00-00-0f", mac, NULL), 0);
	ck_assert_int_ne(mac_parse("02:ab:00:00:00:0g", mac, NULL), 0);
}
END_TEST

START_TEST(a_valid_configuration_is_sorted)
{
	struct vip_config *v = test_vip("203.0.113.10", "shop", two_dips);
	ck_assert_int_eq(vip_config_validate(v, NULL), 0);
	struct ip_addr first = test_addr("10.1.1.11");
	struct ip_addr second = test_addr("10.1.2.11");
	struct ip_addr absent = test_addr("10.1.2.12");
	ck_assert(ip_addr_equal(&v->endpoints[0].dips[0].dip, &first));
	ck_assert_ptr_eq(endpoint_lookup_dip(&v->endpoints[0], &second), &v->endpoints[0].dips[1]);
	ck_assert_ptr_null(endpoint_lookup_dip(&v->endpoints[0], &absent));
	ck_assert(vip_config_has_dip(v, &first));
	ck_assert(!vip_config_has_dip(v, &absent));
	ck_assert_ptr_eq(vip_config_lookup_endpoint(v, 6, 80), v->endpoints);
	ck_assert_ptr_null(vip_config_lookup_endpoint(v, 17, 80));
	vip_config_destroy(v);
}
END_TEST

// Each row breaks one thing of a good configuration; the sentence must name the field.
enum breakage {
	VIP_LOOPBACK,
	VIP_MULTICAST,
	VIP_V6,
	TENANT_EMPTY,
	TENANT_BAD,
	NO_ENDPOINTS,
	NAME_EMPTY,
	PROTOCOL_BAD,
	PORT_ZERO,
	NO_DIPS,
	DIP_TWICE,
	DIP_PORT_ZERO,
	WEIGHT_ZERO,
	WEIGHT_HUGE,
	DIP_IS_VIP,
	DIP_ZERO,
	SNAT_DIP_BAD,
};

static void break_config(struct vip_config *v, enum breakage what)
{
	struct endpoint *e = &v->endpoints[0];
	switch (what) {
	case VIP_LOOPBACK: v->vip = test_addr("127.0.0.1"); break;
	case VIP_MULTICAST: v->vip = test_addr("224.0.0.1"); break;
	case VIP_V6: v->vip = test_addr("2001:db8::1"); break;
	case TENANT_EMPTY: v->tenant[0] = '\0'; break;
	case TENANT_BAD: strcpy(v->tenant, "a b"); break;
	case NO_ENDPOINTS:
		memory_free(e->dips);
		v->n_endpoints = 0;
		break;
	case NAME_EMPTY: e->name[0] = '\0'; break;
	case PROTOCOL_BAD: e->protocol = 99; break;
	case PORT_ZERO: e->port = 0; break;
	case NO_DIPS: e->n_dips = 0; break;
	case DIP_TWICE: e->dips[1] = e->dips[0]; break;
	case DIP_PORT_ZERO: e->dips[1].port = 0; break;
	case WEIGHT_ZERO: e->dips[1].weight = 0; break;
	case WEIGHT_HUGE: e->dips[1].weight = LIMIT_WEIGHT + 1; break;
	case DIP_IS_VIP: e->dips[0].dip = v->vip; break;
	case DIP_ZERO: e->dips[0].dip = test_addr("0.0.0.0"); break;
	case SNAT_DIP_BAD:
		v->snat_dips = memory_resize(v->snat_dips, 1, sizeof *v->snat_dips);
		v->snat_dips[0] = v->vip;
		v->n_snat_dips = 1;
		break;
	}
}

START_TEST(addresses_that_no_machine_can_be_reached_by_say_why)
{
	static const struct {
		const char *addr;
		const char *want; // NULL: fine
	} rows[] = {
		{ "10.0.0.1", NULL },
		{ "2001:db8::1", NULL },
		{ "fd00::1", NULL },
		{ "64:ff9b::1", NULL },
		{ "::ffff:10.0.0.1", NULL }, // the IPv4 address
		{ "::ffff:127.0.0.1", "loopback" },
		{ "0.1.2.3", "0.0.0.0/8" },
		{ "224.0.0.1", "multicast" },
		{ "255.255.255.255", "240.0.0.0/4" },
		{ "::", "unspecified" },
		{ "::1", "loopback" },
		{ "::2", "::/96" },
		{ "ff02::1", "multicast" },
		{ "fe80::1", "link-local" },
		{ "febf::1", "link-local" },
		{ "fec0::1", NULL },
	};
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		struct ip_addr addr = test_addr(rows[i].addr);
		const char *problem = ip_addr_problem(&addr);
		ck_assert_msg((problem == NULL) == (rows[i].want == NULL), "%s: %s", rows[i].addr, problem);
		ck_assert_msg(problem == NULL || strstr(problem, rows[i].want) != NULL, "%s: %s", rows[i].addr, problem);
	}
}
END_TEST

START_TEST(each_broken_rule_is_refused_with_the_field)
{
	static const struct {
		enum breakage what;
		const char *want;
	} rows[] = {
		{ VIP_LOOPBACK, "vip: 127.0.0.1" },
		{ VIP_MULTICAST, "vip: 224.0.0.1" },
		{ VIP_V6, "endpoints[0].dips[0].dip: 10.1.2.11: the DIPs of an IPv6 VIP are IPv6" },
		{ TENANT_EMPTY, "tenant: " },
		{ TENANT_BAD, "tenant: " },
		{ NO_ENDPOINTS, "endpoints: must hold at least one" },
		{ NAME_EMPTY, "endpoints[0].name: " },
		{ PROTOCOL_BAD, "endpoints[0].protocol: " },
		{ PORT_ZERO, "endpoints[0].port: must be 1 to 65535, got 0" },
		{ NO_DIPS, "endpoints[0].dips: must hold at least one DIP" },
		{ DIP_TWICE, "endpoints[0].dips: 10.1.2.11 is listed twice" },
		{ DIP_PORT_ZERO, "endpoints[0].dips[1].port: must be 1 to 65535, got 0" },
		{ WEIGHT_ZERO, "endpoints[0].dips[1].weight: must be 1 to 1000, got 0" },
		{ WEIGHT_HUGE, "endpoints[0].dips[1].weight: must be 1 to 1000, got 1001" },
		{ DIP_IS_VIP, "endpoints[0].dips[0].dip: 203.0.113.10 is the VIP itself" },
		{ DIP_ZERO, "endpoints[0].dips[0].dip: 0.0.0.0" },
		{ SNAT_DIP_BAD, "snat.dips[0]: 203.0.113.10 is the VIP itself" },
	};
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		struct vip_config *v = test_vip("203.0.113.10", "shop", two_dips);
		struct error err = { 0 };
		break_config(v, rows[i].what);
		ck_assert_int_ne(vip_config_validate(v, &err), 0);
		ck_assert_msg(strncmp(err.text, rows[i].want, strlen(rows[i].want)) == 0, "row %zu: %s", i, err.text);
		if (rows[i].what == NO_ENDPOINTS)
			v->endpoints[0].dips = NULL;
		vip_config_destroy(v);
	}
}
END_TEST

static struct vip_config *vip_with_two_endpoints(void)
{
	struct vip_config *v = test_vip("203.0.113.10", "shop", two_dips);
	struct vip_config *other = test_vip("203.0.113.10", "shop", two_dips);
	v->endpoints = memory_resize(v->endpoints, 2, sizeof *v->endpoints);
	v->endpoints[1] = other->endpoints[0];
	v->n_endpoints = 2;
	other->n_endpoints = 0;
	vip_config_destroy(other);
	return v;
}

START_TEST(two_endpoints_of_one_port_or_one_name_are_refused)
{
	struct error err = { 0 };
	struct vip_config *v = vip_with_two_endpoints();
	v->endpoints[1].port = 443;
	ck_assert_int_ne(vip_config_validate(v, &err), 0);
	ck_assert_ptr_nonnull(strstr(err.text, "endpoints[1].name"));
	vip_config_destroy(v);
	v = vip_with_two_endpoints();
	strcpy(v->endpoints[1].name, "web2");
	ck_assert_int_ne(vip_config_validate(v, &err), 0);
	ck_assert_ptr_nonnull(strstr(err.text, "tcp port 80 is defined twice"));
	v->endpoints[1].protocol = 17;
	ck_assert_int_eq(vip_config_validate(v, &err), 0);
	vip_config_destroy(v);
}
END_TEST

START_TEST(ten_thousand_dips_are_over_the_limit)
{
	struct vip_config *v = test_vip("203.0.113.10", "shop", two_dips);
	struct endpoint *e = &v->endpoints[0];
	e->dips = memory_resize(e->dips, 10000, sizeof *e->dips);
	e->n_dips = 10000;
	struct error err = { 0 };
	ck_assert_int_eq(vip_config_validate(v, &err), ERR_LIMIT);
	ck_assert_str_eq(err.text, "endpoints[0].dips: at most 4096 DIPs, got 10000");
	vip_config_destroy(v);
}
END_TEST

START_TEST(a_clone_is_equal_and_fails_cleanly_without_memory)
{
	struct vip_config *v = test_vip("203.0.113.10", "shop", two_dips);
	struct vip_config *copy = vip_config_clone(v);
	ck_assert(vip_config_equal(v, copy));
	copy->endpoints[0].dips[0].weight = 9;
	ck_assert(!vip_config_equal(v, copy));
	vip_config_destroy(copy);
	for (uint64_t n = 0; n < 4; n++) {
		memory_fail_after(n);
		ck_assert_ptr_null(vip_config_clone(v));
	}
	memory_fail_after(UINT64_MAX);
	vip_config_destroy(v);
	vip_config_destroy(NULL);
}
END_TEST

START_TEST(a_store_holds_what_was_put_in_key_order)
{
	struct store s;
	store_init(&s);
	static const char *const names[] = { "mux2", "mux1", "mux3" };
	for (size_t i = 0; i < 3; i++) {
		struct change c = test_put_node(OBJECT_MUX, names[i], "10.0.0.31");
		ck_assert_int_eq(store_apply(&s, &c), 0);
	}
	ck_assert_uint_eq(s.muxes.n, 3);
	ck_assert_str_eq(store_mux(&s, 0)->name, "mux1");
	ck_assert_str_eq(store_mux(&s, 2)->name, "mux3");
	struct change c = test_put_node(OBJECT_MUX, "mux1", "10.0.0.99");
	ck_assert_int_eq(store_apply(&s, &c), 0);
	ck_assert_uint_eq(s.muxes.n, 3);
	struct ip_addr want = test_addr("10.0.0.99");
	ck_assert(ip_addr_equal(&store_lookup_mux(&s, "mux1")->addr, &want));
	c = test_delete(OBJECT_MUX, "mux2");
	ck_assert_int_eq(store_apply(&s, &c), 0);
	ck_assert_int_eq(store_apply(&s, &c), 0);
	ck_assert_ptr_null(store_lookup_mux(&s, "mux2"));
	ck_assert_uint_eq(s.muxes.n, 2);
	store_fini(&s);
}
END_TEST

START_TEST(a_store_rebuilt_from_its_objects_is_equal)
{
	unsigned seed = 7;
	struct store a;
	struct store b;
	store_init(&a);
	store_init(&b);
	for (unsigned i = 0; i < 300; i++) {
		struct change c = test_put_vip(test_random_vip(&seed, 1 + i % 200));
		ck_assert_int_eq(store_apply(&a, &c), 0);
	}
	struct change dip = test_put_dip("10.1.1.11", "host1", "vm1");
	ck_assert_int_eq(store_apply(&a, &dip), 0);
	struct change cluster = { .key = { .kind = OBJECT_CLUSTER }, .cluster = { 1, 2 } };
	ck_assert_int_eq(store_apply(&a, &cluster), 0);
	struct change_list all;
	ck_assert_int_eq(store_get_all(&a, &all), 0);
	ck_assert(!store_equal(&a, &b));
	for (uint32_t i = 0; i < all.n; i++)
		ck_assert_int_eq(store_apply(&b, &all.items[i]), 0);
	change_list_fini(&all);
	ck_assert(store_equal(&a, &b));
	store_fini(&a);
	store_fini(&b);
}
END_TEST

START_TEST(a_store_is_unchanged_when_memory_is_short)
{
	struct store s;
	store_init(&s);
	for (uint64_t n = 0; n < 2; n++) {
		struct change c = test_put_node(OBJECT_HOST, "host1", "10.0.0.21");
		memory_fail_after(n);
		ck_assert_int_eq(store_apply(&s, &c), ERR_NO_MEMORY);
		ck_assert_uint_eq(s.hosts.n, 0);
	}
	memory_fail_after(UINT64_MAX);
	store_fini(&s);
}
END_TEST

SUITE_MAIN("model", addresses_are_read_strictly_and_printed_back, an_ipv4_address_is_the_same_as_its_mapped_form,
           prefixes_endpoints_and_macs_are_read, a_valid_configuration_is_sorted,
           addresses_that_no_machine_can_be_reached_by_say_why, each_broken_rule_is_refused_with_the_field,
           two_endpoints_of_one_port_or_one_name_are_refused, ten_thousand_dips_are_over_the_limit,
           a_clone_is_equal_and_fails_cleanly_without_memory, a_store_holds_what_was_put_in_key_order,
           a_store_rebuilt_from_its_objects_is_equal, a_store_is_unchanged_when_memory_is_short)
