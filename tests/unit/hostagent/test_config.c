#include <stdio.h>

#include "common/base/memory.h"
#include "tests/unit/hostagent/flow_block.h"
#include "tests/support/suite.h"
#include "tests/unit/hostagent/fixture.h"

static struct agent_config *build(const struct store *s, uint16_t max_ports, const struct agent_config *previous)
{
	struct agent_config *c;
	struct error err = { 0 };
	ck_assert_msg(agent_config_create(s, "host1", max_ports, test_names(), previous, &c, &err) == 0, "%s", err.text);
	return c;
}

static void apply(struct store *s, struct change c)
{
	ck_assert_int_eq(store_apply(s, &c), 0);
	change_fini(&c);
	s->version++;
}

START_TEST(a_config_knows_this_hosts_part_of_the_store)
{
	struct store s;
	fixture_store(&s);
	struct agent_config *c = build(&s, 4, NULL);
	ck_assert_uint_eq(c->version, s.version);
	ck_assert_uint_eq(c->n_dips, 2);
	ck_assert_uint_eq(agent_config_lookup_dip(c, test_ip4("10.1.1.11")), 0);
	ck_assert_uint_eq(agent_config_lookup_dip(c, test_ip4("10.1.1.12")), 1);
	ck_assert_uint_eq(agent_config_lookup_dip(c, test_ip4("10.1.2.11")), AGENT_NO_PORT);
	ck_assert_str_eq(c->ports[1].interface, "vm2");
	ck_assert(memcmp(&c->ports[1].mac, &FIXTURE_VM2_MAC, MAC_BYTES) == 0);
	ck_assert(agent_config_is_encap_source(c, test_ip4("10.0.0.31")));
	ck_assert(agent_config_is_encap_source(c, test_ip4("10.0.0.22")));
	ck_assert(!agent_config_is_encap_source(c, test_ip4("10.1.1.11")));
	ck_assert(agent_config_is_known(c, test_ip4("10.1.2.11")));
	ck_assert(!agent_config_is_known(c, test_ip4("203.0.113.10")));
	agent_config_destroy(c);
	store_fini(&s);
}
END_TEST

START_TEST(endpoints_are_found_by_vip_and_by_dip)
{
	struct store s;
	fixture_store(&s);
	struct agent_config *c = build(&s, 4, NULL);
	be32 vip = test_ip4("203.0.113.10");
	be32 dip1 = test_ip4("10.1.1.11");
	be32 dip2 = test_ip4("10.1.1.12");
	const struct agent_endpoint *e = agent_config_lookup_endpoint(c, vip, be16_from(80), IP_PROTO_TCP, dip1);
	ck_assert_ptr_nonnull(e);
	ck_assert_uint_eq(be16_to(e->dip_port), 8080);
	ck_assert_ptr_null(agent_config_lookup_endpoint(c, vip, be16_from(80), IP_PROTO_TCP, dip2));
	ck_assert_ptr_null(agent_config_lookup_endpoint(c, vip, be16_from(80), IP_PROTO_UDP, dip1));
	e = agent_config_lookup_service(c, dip1, be16_from(5353), IP_PROTO_UDP);
	ck_assert_ptr_nonnull(e);
	ck_assert_uint_eq(be16_to(e->vip_port), 53);
	ck_assert(!e->is_ambiguous);
	ck_assert(agent_config_lookup_service(c, dip2, be16_from(8080), IP_PROTO_TCP)->is_ambiguous);
	ck_assert_ptr_null(agent_config_lookup_service(c, dip1, be16_from(22), IP_PROTO_TCP));
	agent_config_destroy(c);
	store_fini(&s);
}
END_TEST

START_TEST(an_interface_keeps_its_port_while_others_come_and_go)
{
	struct store s;
	fixture_store(&s);
	struct agent_config *first = build(&s, 3, NULL);
	apply(&s, test_delete(OBJECT_DIP, "10.1.1.11"));
	apply(&s, test_put_dip("10.1.1.10", "host1", "vm0")); // sorts before all others
	apply(&s, test_put_dip("10.1.1.20", "host1", "vm20"));
	struct agent_config *second = build(&s, 3, first);
	ck_assert_uint_eq(agent_config_lookup_dip(second, test_ip4("10.1.1.12")), 1);
	ck_assert_uint_eq(agent_config_lookup_dip(second, test_ip4("10.1.1.10")), 0);
	ck_assert_uint_eq(agent_config_lookup_dip(second, test_ip4("10.1.1.20")), 2);
	agent_config_destroy(first);
	agent_config_destroy(second);
	store_fini(&s);
}
END_TEST

START_TEST(dips_that_cannot_be_served_are_named)
{
	struct store s;
	fixture_store(&s);
	struct change second_address = test_put_dip("10.1.1.13", "host1", "vm1"); // its MAC is another one
	apply(&s, second_address);
	apply(&s, test_put_dip("10.1.1.14", "host1", "vm4"));
	apply(&s, test_put_dip("10.1.1.15", "host1", "a-name-of-sixteen"));
	apply(&s, test_put_dip("2001:db8::1", "host1", "vm6"));
	struct agent_config *c = build(&s, 2, NULL);
	static const struct {
		const char *dip;
		enum dip_problem problem;
	} want[] = {
		{ "10.1.1.11", DIP_OK },
		{ "10.1.1.12", DIP_OK },
		{ "10.1.1.13", DIP_MAC_CONFLICT },
		{ "10.1.1.14", DIP_NO_PORT_LEFT },
		{ "10.1.1.15", DIP_BAD_INTERFACE },
		{ "2001:db8::1", DIP_NO_PORT_LEFT },
	};
	ck_assert_uint_eq(c->n_dips, 6);
	for (size_t i = 0; i < 6; i++) {
		struct ip_addr dip = test_addr(want[i].dip);
		ck_assert(ip_addr_equal(&c->dips[i].dip, &dip));
		ck_assert_str_eq(dip_problem_name(c->dips[i].problem), dip_problem_name(want[i].problem));
		bool is_served = ip_addr_is_v4(&dip) && agent_config_lookup_dip(c, ip_addr_to_v4(&dip)) != AGENT_NO_PORT;
		ck_assert(is_served == (want[i].problem == DIP_OK));
	}
	agent_config_destroy(c);
	store_fini(&s);
}
END_TEST

START_TEST(two_addresses_of_one_vm_share_its_port)
{
	struct store s;
	fixture_store(&s);
	struct change c = test_put_dip("10.1.1.13", "host1", "vm1");
	memcpy(c.dip.mac, &FIXTURE_VM1_MAC, MAC_BYTES);
	apply(&s, c);
	struct agent_config *config = build(&s, 4, NULL);
	ck_assert_uint_eq(agent_config_lookup_dip(config, test_ip4("10.1.1.13")), 0);
	agent_config_destroy(config);
	store_fini(&s);
}
END_TEST

START_TEST(a_large_store_is_found_again)
{
	struct store s;
	store_init(&s);
	for (unsigned i = 0; i < 500; i++) {
		char dip[32];
		char name[32];
		text_format(dip, sizeof dip, "10.%u.%u.%u", i / 200 + 1, i % 200, i % 250 + 1);
		text_format(name, sizeof name, "vm%u", i);
		apply(&s, test_put_dip(dip, i % 2 == 0 ? "host1" : "host2", name));
		text_format(name, sizeof name, "mux%u", i);
		apply(&s, test_put_node(OBJECT_MUX, name, dip));
	}
	struct agent_config *c = build(&s, 1024, NULL);
	for (uint32_t i = 0; i < s.dips.n; i++) {
		const struct dip_info *info = store_dip(&s, i);
		uint16_t port = agent_config_lookup_dip(c, ip_addr_to_v4(&info->dip));
		ck_assert((port != AGENT_NO_PORT) == (strcmp(info->host, "host1") == 0));
		if (port != AGENT_NO_PORT)
			ck_assert_str_eq(c->ports[port].interface, info->interface);
		ck_assert(agent_config_is_encap_source(c, ip_addr_to_v4(&info->dip)));
	}
	agent_config_destroy(c);
	store_fini(&s);
}
END_TEST

static struct vip_config *snat_vip(const char *addr, uint32_t prealloc_ports, uint32_t n, const char *const *snat_dips)
{
	struct vip_config *v = memory_array(1, sizeof *v);
	v->vip = test_addr(addr);
	ck_assert(text_copy(v->tenant, sizeof v->tenant, "shop"));
	v->endpoints = memory_array(0, sizeof *v->endpoints);
	v->n_snat_dips = n;
	v->snat_dips = memory_array(n, sizeof *v->snat_dips);
	for (uint32_t i = 0; i < n; i++)
		v->snat_dips[i] = test_addr(snat_dips[i]);
	v->snat = (struct snat_policy)SNAT_POLICY_DEFAULT;
	v->snat.prealloc_ports = prealloc_ports;
	ck_assert_int_eq(vip_config_validate(v, NULL), 0);
	return v;
}

START_TEST(dips_that_are_snated_have_their_vips_in_ascending_order)
{
	static const char *const both[] = { "10.1.1.11", "10.1.1.12" };
	static const char *const some[] = { "10.1.1.11", "10.1.2.11" };
	struct store s;
	fixture_store(&s);
	apply(&s, test_put_vip(snat_vip("203.0.113.30", 8, 2, some)));
	apply(&s, test_put_vip(snat_vip("203.0.113.20", 16, 2, both)));
	struct agent_config *c = build(&s, 4, NULL);
	ck_assert_uint_eq(c->n_snats, 2);
	const struct agent_snat *snat = agent_config_lookup_snat(c, test_ip4("10.1.1.11"));
	ck_assert_ptr_nonnull(snat);
	ck_assert_uint_eq(snat->n_vips, 2);
	ck_assert_uint_eq(c->snat_vips[snat->first_vip].vip, test_ip4("203.0.113.20"));
	ck_assert_uint_eq(c->snat_vips[snat->first_vip + 1].vip, test_ip4("203.0.113.30"));
	ck_assert_uint_eq(c->snat_vips[snat->first_vip + 1].policy.prealloc_ports, 8);
	ck_assert_uint_eq(snat->prealloc_ports, 24);
	ck_assert_uint_eq(snat->max_ports, 2 * 16384);
	snat = agent_config_lookup_snat(c, test_ip4("10.1.1.12"));
	ck_assert_ptr_nonnull(snat);
	ck_assert_uint_eq(snat->n_vips, 1);
	ck_assert_ptr_null(agent_config_lookup_snat(c, test_ip4("10.1.2.11"))); // of another host
	ck_assert_ptr_null(agent_config_lookup_snat(c, test_ip4("10.0.0.31")));
	agent_config_destroy(c);
	store_fini(&s);
}
END_TEST

START_TEST(destinations_inside_are_known_addresses_and_prefixes)
{
	struct store s;
	fixture_store(&s);
	struct agent_config *c = build(&s, 4, NULL);
	ck_assert_uint_eq(c->snat_gone_s, s.settings.snat_gone_s);
	static const struct {
		const char *addr;
		bool is_inside;
	} rows[] = {
		{ "10.1.2.11", true },   { "10.255.255.255", true }, { "172.31.0.1", true },    { "172.32.0.1", false },
		{ "192.168.1.1", true }, { "192.169.0.0", false },   { "100.64.0.1", true },    { "100.128.0.1", false },
		{ "169.254.9.9", true }, { "198.51.100.7", false },  { "203.0.113.10", false }, { "11.0.0.0", false },
	};
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
		ck_assert_msg(agent_config_is_inside(c, test_ip4(rows[i].addr)) == rows[i].is_inside, "%s", rows[i].addr);
	agent_config_destroy(c);
	s.settings.n_no_snat = 1;
	s.settings.no_snat[0] = (struct ip_prefix){ .addr = test_addr("0.0.0.0"), .bits = 0 };
	c = build(&s, 4, NULL);
	ck_assert(agent_config_is_inside(c, test_ip4("198.51.100.7")));
	agent_config_destroy(c);
	s.settings.n_no_snat = 0;
	c = build(&s, 4, NULL);
	ck_assert(!agent_config_is_inside(c, test_ip4("192.168.1.1")));
	ck_assert(agent_config_is_inside(c, test_ip4("10.1.2.11"))); // a DIP
	agent_config_destroy(c);
	store_fini(&s);
}
END_TEST

START_TEST(no_memory_and_bad_limits_are_answers)
{
	struct store s;
	fixture_store(&s);
	struct agent_config *c = NULL;
	struct error err = { 0 };
	(void)test_names();
	memory_fail_after(0);
	ck_assert_int_eq(agent_config_create(&s, "host1", 4, test_names(), NULL, &c, &err), ERR_NO_MEMORY);
	memory_fail_after(UINT64_MAX);
	ck_assert_int_eq(agent_config_create(&s, "host1", 0, test_names(), NULL, &c, &err), ERR_LIMIT);
	ck_assert_int_eq(agent_config_create(&s, "host1", AGENT_PORTS_MAX + 1, test_names(), NULL, &c, &err), ERR_LIMIT);
	ck_assert_ptr_null(c);
	struct snat *snat = NULL;
	struct snat_limits limits = snat_limits_default(1024);
	(void)test_names();
	memory_fail_after(0);
	ck_assert_int_eq(snat_create(&limits, 1, 1, mono_from_us(0), &snat, &err), ERR_NO_MEMORY);
	memory_fail_after(UINT64_MAX);
	ck_assert_ptr_null(snat);
	store_fini(&s);
}
END_TEST

START_TEST(counters_have_names)
{
	struct agent_counters counters = { .inbound_packets = 7 };
	counters.drops[DROP_ENCAP_SOURCE] = 3;
	struct agent_gauges gauges = { .flows = 5, .flow_capacity = 100 };
	struct agent_counter_value values[128];
	uint32_t n = agent_counters_read(&counters, &gauges, values, 128);
	ck_assert_uint_lt(n, 128);
	uint32_t n_seen = 0;
	for (uint32_t i = 0; i < n; i++) {
		n_seen += strcmp(values[i].name, "inbound_packets") == 0 && values[i].value == 7;
		n_seen += strcmp(values[i].name, "drop_encap_source") == 0 && values[i].value == 3;
		n_seen += strcmp(values[i].name, "flows") == 0 && values[i].value == 5;
	}
	ck_assert_uint_eq(n_seen, 3);
	ck_assert_uint_eq(agent_counters_read(&counters, &gauges, values, 2), n);
}
END_TEST

static const struct endpoint_owners *owners(const struct agent_config *c, uint16_t port)
{
	return agent_config_lookup_owners(c, test_ip4("203.0.113.10"), be16_from(port), IP_PROTO_TCP);
}

START_TEST(owners_are_known_by_endpoint_and_say_who_is_present)
{
	static const char *const web[] = { "10.1.1.11 10.1.2.11", "10.1.2.11", NULL };
	struct store s;
	fixture_store(&s);
	apply(&s, fixture_history("203.0.113.10", IP_PROTO_TCP, 80, web));
	struct agent_config *c = build(&s, 4, NULL);
	ck_assert_ptr_null(owners(c, 80)); // nobody knows the seed yet
	agent_config_destroy(c);
	apply(&s, fixture_cluster());
	c = build(&s, 4, NULL);
	ck_assert_uint_eq(c->hash_seed, 5);
	ck_assert_uint_eq(c->cluster_id, FIXTURE_CLUSTER_ID);
	ck_assert_uint_eq(c->n_muxes, 1);
	ck_assert_uint_eq(c->muxes[0].addr, test_ip4("10.0.0.31"));
	ck_assert_uint_eq(c->muxes[0].addr6, 0);
	const struct endpoint_owners *o = owners(c, 80);
	ck_assert_ptr_nonnull(o);
	ck_assert_ptr_null(owners(c, 81));
	ck_assert(owners_is_present(o, test_ip4("10.1.2.11")));
	ck_assert(!owners_is_present(o, test_ip4("10.1.1.11")));
	ck_assert(!owners_is_present(o, test_ip4("10.1.1.12")));
	uint32_t n_two = 0;
	for (uint64_t hash = 0; hash < 1000; hash++) {
		struct bucket_owners b = owners_of(o, hash_mix64(hash));
		ck_assert_uint_eq(b.dips[0], test_ip4("10.1.2.11"));
		ck_assert(b.n == 1 || (b.n == 2 && b.dips[1] == test_ip4("10.1.1.11")));
		n_two += b.n == 2;
	}
	ck_assert(n_two > 400 && n_two < 600);
	agent_config_destroy(c);
	store_fini(&s);
}
END_TEST

START_TEST(owners_are_shared_with_the_snapshot_before_while_their_history_stays)
{
	static const char *const web[] = { "10.1.1.11 10.1.2.11", "10.1.2.11", NULL };
	static const char *const web_later[] = { "10.1.1.11 10.1.2.11", "10.1.2.11", "10.1.1.11", NULL };
	struct store s;
	fixture_store(&s);
	apply(&s, fixture_cluster());
	apply(&s, fixture_history("203.0.113.10", IP_PROTO_TCP, 80, web));
	struct agent_config *first = build(&s, 4, NULL);
	apply(&s, fixture_history("203.0.113.10", IP_PROTO_TCP, 80, web)); // the same again
	struct agent_config *second = build(&s, 4, first);
	ck_assert_ptr_eq(owners(first, 80), owners(second, 80));
	agent_config_destroy(first);
	ck_assert(owners_is_present(owners(second, 80), test_ip4("10.1.2.11")));
	apply(&s, fixture_history("203.0.113.10", IP_PROTO_TCP, 80, web_later));
	struct agent_config *third = build(&s, 4, second);
	ck_assert_ptr_ne(owners(second, 80), owners(third, 80));
	ck_assert(owners_is_present(owners(third, 80), test_ip4("10.1.1.11")));
	struct ip_addr vip = test_addr("203.0.113.10");
	apply(&s, (struct change){ .key = object_key_of_addr(OBJECT_HISTORY, &vip), .is_delete = true });
	struct agent_config *fourth = build(&s, 4, third);
	ck_assert_ptr_null(owners(fourth, 80));
	agent_config_destroy(second);
	agent_config_destroy(third);
	agent_config_destroy(fourth);
	store_fini(&s);
}
END_TEST

START_TEST(a_config_with_histories_is_whole_or_none_when_memory_is_short)
{
	static const char *const web[] = { "10.1.1.11 10.1.2.11", "10.1.2.11", NULL };
	struct store s;
	fixture_store(&s);
	apply(&s, fixture_cluster());
	apply(&s, fixture_history("203.0.113.10", IP_PROTO_TCP, 80, web));
	int code = ERR_NO_MEMORY;
	for (uint64_t n = 0; code != 0; n++) {
		struct agent_config *c;
		struct error err = { 0 };
		(void)test_names();
		memory_fail_after(n);
		code = agent_config_create(&s, "host1", 4, test_names(), NULL, &c, &err);
		memory_fail_after(UINT64_MAX);
		ck_assert(code == 0 || code == ERR_NO_MEMORY);
		if (code == 0) {
			ck_assert_uint_gt(n, 5);
			agent_config_destroy(c);
		}
	}
	store_fini(&s);
}
END_TEST

SUITE_MAIN("agent config", a_config_knows_this_hosts_part_of_the_store, endpoints_are_found_by_vip_and_by_dip,
           an_interface_keeps_its_port_while_others_come_and_go, dips_that_cannot_be_served_are_named,
           two_addresses_of_one_vm_share_its_port, a_large_store_is_found_again,
           dips_that_are_snated_have_their_vips_in_ascending_order,
           destinations_inside_are_known_addresses_and_prefixes, no_memory_and_bad_limits_are_answers,
           counters_have_names, owners_are_known_by_endpoint_and_say_who_is_present,
           owners_are_shared_with_the_snapshot_before_while_their_history_stays,
           a_config_with_histories_is_whole_or_none_when_memory_is_short)
