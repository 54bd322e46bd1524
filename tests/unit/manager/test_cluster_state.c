#include "tests/support/suite.h"

#include <stdio.h>
#include <string.h>

#include "common/base/memory.h"
#include "common/model/limits.h"
#include "tests/unit/manager/objects.h"

static struct cluster_state state;

// What the tables below begin with.
static const char *const base[] = {
	"cluster 7",
	"mux mux1 10.0.0.31 2001:db8::31",
	"host host1 10.0.0.21",
	"host host2 10.0.0.22",
	"dip 10.1.1.11 host1 vm1 if1 02:00:00:00:00:01 via=2001:db8:7::11",
	"vip 203.0.113.10 shop web tcp 80 10.1.1.11:8080 10.1.2.11:8080*2 , snat 10.1.1.11",
};
#define BASE_VERSION (sizeof base / sizeof *base)

static void begin(void)
{
	ck_assert_int_eq(cluster_state_init(&state), 0);
	for (size_t i = 0; i < BASE_VERSION; i++)
		must_apply(&state, base[i]);
	ck_assert_uint_eq(state.store.version, BASE_VERSION);
}

static void end(void)
{
	cluster_state_fini(&state);
}

START_TEST(what_breaks_a_rule_is_refused_with_the_field_and_changes_nothing)
{
	static const struct {
		const char *command;
		int code;
		const char *sentence;
	} rows[] = {
		{ "cluster 8", ERR_CONFLICT, "cluster: is put once" },
		{ "cluster 0", ERR_INVALID, "cluster.cluster_id" },
		{ "-cluster", ERR_INVALID, "cluster: cannot be deleted" },

		{ "vip 203.0.113.10 bank web tcp 80 10.1.1.11:80", ERR_CONFLICT,
		  "belongs to tenant \"shop\", not to \"bank\"" },
		{ "vip 203.0.113.11 shop web tcp 0 10.1.1.11:80", ERR_INVALID, "endpoints[0].port: must be 1 to 65535" },
		{ "vip 203.0.113.11 shop web tcp 80", ERR_INVALID, "endpoints[0].dips: must hold at least one" },
		{ "vip 203.0.113.11 shop", ERR_INVALID, "endpoints: must hold at least one" },
		{ "vip 203.0.113.11 shop web tcp 80 10.1.1.11:80*0", ERR_INVALID, "weight" },
		{ "vip 203.0.113.11 shop web tcp 80 10.1.1.11:80 10.1.1.11:81", ERR_INVALID, "listed twice" },
		{ "vip 203.0.113.11 shop web icmp 80 10.1.1.11:80", ERR_INVALID, "protocol" },
		{ "vip 10.1.1.11 shop web tcp 80 10.1.1.12:80", ERR_CONFLICT, "is the DIP of VM \"vm1\" on host \"host1\"" },
		{ "vip 10.1.2.11 shop web tcp 80 10.1.1.12:80", ERR_CONFLICT, "is a DIP of VIP 203.0.113.10" },
		{ "vip 10.0.0.31 shop web tcp 80 10.1.1.12:80", ERR_CONFLICT, "vip: 10.0.0.31 is the address of mux \"mux1\"" },
		{ "vip 10.0.0.22 shop web tcp 80 10.1.1.12:80", ERR_CONFLICT, "address of host \"host2\"" },
		{ "vip 203.0.113.11 shop web tcp 80 203.0.113.10:80", ERR_CONFLICT,
		  "endpoint \"web\": dips: 203.0.113.10 is a VIP" },
		{ "vip 203.0.113.11 shop snat 203.0.113.10", ERR_CONFLICT, "snat.dips: 203.0.113.10 is a VIP" },
		{ "vip 2001:db8:f::1 shop web tcp 80 10.1.1.12:80", ERR_INVALID,
		  "dips[0].dip: 10.1.1.12: the DIPs of an IPv6 VIP are IPv6 addresses too" },
		{ "vip 203.0.113.11 shop snat 2001:db8:1::12", ERR_INVALID,
		  "snat.dips[0]: 2001:db8:1::12: the DIPs of an IPv4 VIP are IPv4 addresses too" },
		{ "vip fe80::1 shop web tcp 80 [2001:db8:1::12]:80", ERR_INVALID,
		  "vip: fe80::1 is not an address that a service" },
		{ "vip ff02::1 shop web tcp 80 [2001:db8:1::12]:80", ERR_INVALID, "it is a multicast address" },
		{ "vip ::1 shop web tcp 80 [2001:db8:1::12]:80", ERR_INVALID, "it is the loopback address" },
		{ "vip ::10.1.2.3 shop web tcp 80 [2001:db8:1::12]:80", ERR_INVALID, "::/96" },
		{ "vip 2001:db8:f::1 shop web tcp 80 [fe80::12]:80", ERR_INVALID, "it is link-local" },
		{ "vip 2001:db8::31 shop web tcp 80 [2001:db8:1::12]:80", ERR_CONFLICT, "is the address of mux \"mux1\"" },
		{ "vip 2001:db8:7::11 shop web tcp 80 [2001:db8:1::12]:80", ERR_CONFLICT,
		  "vip: 2001:db8:7::11 is the via of DIP 10.1.1.11" },
		{ "vip 2001:db8:f::1 shop web tcp 80 [2001:db8:7::11]:80", ERR_CONFLICT,
		  "endpoint \"web\": dips: 2001:db8:7::11 is the via of DIP 10.1.1.11" },
		{ "vip 224.0.0.1 shop web tcp 80 10.1.1.12:80", ERR_INVALID, "vip: 224.0.0.1" },
		{ "-vip 203.0.113.99", ERR_NOT_FOUND, "vip: 203.0.113.99 is not configured" },

		{ "mux mux2 10.0.0.31", ERR_CONFLICT, "address: 10.0.0.31 is the address of mux \"mux1\"" },
		{ "mux mux2 10.0.0.21", ERR_CONFLICT, "address: 10.0.0.21 is the address of host \"host1\"" },
		{ "mux mux2 203.0.113.10", ERR_CONFLICT, "is a VIP" },
		{ "mux mux2 10.1.1.11", ERR_CONFLICT, "is the DIP of VM" },
		{ "mux mux2 127.0.0.1", ERR_INVALID, "mux.address: 127.0.0.1" },
		{ "mux mux2 2001:db8::31", ERR_CONFLICT, "mux.address: 2001:db8::31 is the address of mux \"mux1\"" },
		{ "mux mux2 10.0.0.32 2001:db8::31", ERR_CONFLICT,
		  "mux.address6: 2001:db8::31 is the address of mux \"mux1\"" },
		{ "mux mux2 10.0.0.32 10.0.0.33", ERR_INVALID, "mux.address6: 10.0.0.33 is no IPv6 address" },
		{ "mux mux2 2001:db8::32 2001:db8::33", ERR_INVALID, "mux.address6: only a node whose address is IPv4" },
		{ "mux mux2 10.0.0.32 fe80::32", ERR_INVALID,
		  "mux.address6: fe80::32 is not an address that a machine can have" },
		{ "host host3 10.0.0.23 2001:db8:7::11", ERR_CONFLICT,
		  "host.address6: 2001:db8:7::11 is the via of DIP 10.1.1.11" },
		{ "mux mux2 fe80::32", ERR_INVALID, "mux.address: fe80::32" },
		{ "mux bad/name 10.0.0.32", ERR_INVALID, "mux.name" },
		{ "-mux mux9", ERR_NOT_FOUND, "mux: no mux \"mux9\"" },
		{ "host host3 10.0.0.21", ERR_CONFLICT, "address of host \"host1\"" },
		{ "host host3 10.0.0.31", ERR_CONFLICT, "address of mux \"mux1\"" },
		{ "host host1 10.0.0.22", ERR_CONFLICT, "address of host \"host2\"" },
		{ "-host host9", ERR_NOT_FOUND, "host: no host \"host9\"" },
		{ "-host host1", ERR_CONFLICT, "host: \"host1\" has DIP 10.1.1.11 attached" },

		{ "dip 10.1.1.12 host9 vm2 if2 02:00:00:00:00:02", ERR_NOT_FOUND, "host: no host \"host9\"" },
		{ "dip 10.1.1.11 host2 vm1 if1 02:00:00:00:00:01", ERR_CONFLICT,
		  "is attached on host \"host1\" as VM \"vm1\"" },
		{ "dip 10.1.1.12 host1 vm2 if1 02:00:00:00:00:02", ERR_CONFLICT,
		  "interface: \"if1\" of host \"host1\" has DIP 10.1.1.11" },
		{ "dip 203.0.113.10 host1 vm2 if2 02:00:00:00:00:02", ERR_CONFLICT, "dip: 203.0.113.10 is a VIP" },
		{ "dip 10.0.0.21 host1 vm2 if2 02:00:00:00:00:02", ERR_CONFLICT, "dip: 10.0.0.21 is the address of host" },
		{ "dip 10.1.1.12 host1 vm2 a-far-too-long-name 02:00:00:00:00:02", ERR_INVALID, "interface: must be 1 to 15" },
		{ "dip 10.1.1.12 host1 vm2 ../if 02:00:00:00:00:02", ERR_INVALID, "interface" },
		{ "dip 10.1.1.12 host1 v@m if2 02:00:00:00:00:02", ERR_INVALID, "name: a VM's name" },
		{ "dip 10.1.1.12 host1 vm2 if2 00:00:00:00:00:00", ERR_INVALID, "mac" },
		{ "dip 10.1.1.12 host1 vm2 if2 01:00:5e:00:00:01", ERR_INVALID, "mac" },
		{ "dip fe80::5 host1 vm2 if2 02:00:00:00:00:02", ERR_INVALID, "dip: fe80::5" },
		{ "dip 2001:db8:7::11 host1 vm2 if2 02:00:00:00:00:02", ERR_CONFLICT, "is the via of DIP 10.1.1.11" },
		{ "dip 2001:db8:1::11 host1 vm1 if1 02:00:00:00:00:09", ERR_CONFLICT,
		  "mac: the VM behind interface \"if1\" of host \"host1\" has 02:00:00:00:00:01, as DIP 10.1.1.11 says" },
		{ "dip 10.1.1.12 host1 vm2 if2 02:00:00:00:00:02 via=10.9.9.9", ERR_INVALID,
		  "of the same family as DIP 10.1.1.12" },
		{ "dip 10.1.1.12 host1 vm2 if2 02:00:00:00:00:02 via=fe80::9", ERR_INVALID, "via: fe80::9 is not an address" },
		{ "dip 10.1.1.12 host1 vm2 if2 02:00:00:00:00:02 via=2001:db8:7::11", ERR_CONFLICT,
		  "via: 2001:db8:7::11 is the via of DIP 10.1.1.11" },
		{ "dip 10.1.1.12 host1 vm2 if2 02:00:00:00:00:02 via=2001:db8::31", ERR_CONFLICT,
		  "via: 2001:db8::31 is the address of mux \"mux1\"" },
		{ "dip 2001:db8:1::12 host1 vm2 if2 02:00:00:00:00:02 via=203.0.113.10", ERR_CONFLICT,
		  "via: 203.0.113.10 is a VIP" },
		{ "dip 2001:db8:1::12 host1 vm2 if2 02:00:00:00:00:02 via=10.1.1.11", ERR_CONFLICT,
		  "via: 10.1.1.11 is the DIP of VM" },
		{ "dip 2001:db8:1::12 host1 vm2 if2 02:00:00:00:00:02 via=10.1.2.11", ERR_CONFLICT,
		  "via: 10.1.2.11 is a DIP of VIP 203.0.113.10" },
		{ "dip 0.1.2.3 host1 vm2 if2 02:00:00:00:00:02", ERR_INVALID, "dip: 0.1.2.3" },
		{ "-dip 10.1.9.9", ERR_NOT_FOUND, "dip: 10.1.9.9 is not attached" },
	};
	begin();
	struct cluster_state before;
	copy_by_snapshot(&state, &before);
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		struct apply_result result;
		struct error err;
		int code = apply_text(&state, rows[i].command, &result, &err);
		ck_assert_msg(code == rows[i].code, "%s: %d %s", rows[i].command, code, err.text);
		ck_assert_msg(strstr(err.text, rows[i].sentence) != NULL, "%s: %s", rows[i].command, err.text);
		ck_assert_msg(snapshots_are_equal(&state, &before), "%s", rows[i].command);
	}
	cluster_state_fini(&before);
	end();
}
END_TEST

START_TEST(a_change_that_would_pull_a_leased_port_from_under_a_dip_is_refused)
{
	static const struct {
		const char *command;
		const char *sentence;
	} rows[] = {
		{ "vip 203.0.113.20 shop snat size=2048 first=61440 10.1.1.11", "snat.range_size: must be a power of two" },
		{ "vip 203.0.113.20 shop snat size=512 first=61440 prealloc=0 10.1.1.11",
		  "snat.range_size: 4 ranges of 1024 ports are leased; put 203.0.113.20 without" },
		{ "vip 203.0.113.20 shop snat size=1024 first=62464 prealloc=0 10.1.1.11",
		  "snat.first_port: 61440 is leased to 10.1.1.11 for SNAT; `anantactl snat revoke 203.0.113.20:61440`" },
		{ "vip 203.0.113.20 shop web tcp 65000 10.1.1.11:80 , snat size=1024 first=61440 prealloc=0 10.1.1.11",
		  "endpoint \"web\": port 65000 is leased to 10.1.1.11 for SNAT; `anantactl snat revoke 203.0.113.20:65000`, "
		  "or "
		  "choose another port" },
		{ "-vip 203.0.113.20 ; vip 203.0.113.20 shop snat size=512 first=61440 prealloc=0 10.1.1.11",
		  "change 2 of 2: snat.range_size: 4 ranges" },
	};
	static const char *const allowed[] = {
		"vip 203.0.113.20 shop web tcp 50000 10.1.1.11:80 , snat size=1024 first=61440 prealloc=0 10.1.1.11",
		"vip 203.0.113.20 shop snat size=1024 first=1024 prealloc=0 10.1.1.11",
		"vip 203.0.113.20 shop snat size=1024 first=61440 prealloc=0 max=1024 10.1.1.11 10.1.1.12",
		"vip 203.0.113.20 shop web tcp 65000 10.1.1.11:80", // which ends all leases
		"vip 203.0.113.20 shop web tcp 65000 10.1.1.11:80 , snat size=8 prealloc=0 10.1.1.11",
	};
	begin();
	must_apply(&state, "vip 203.0.113.20 shop snat size=1024 first=61440 prealloc=4096 10.1.1.11");
	struct cluster_state before;
	copy_by_snapshot(&state, &before);
	struct apply_result result;
	struct error err;
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		ck_assert_int_ne(apply_text(&state, rows[i].command, &result, &err), 0);
		ck_assert_msg(strstr(err.text, rows[i].sentence) != NULL, "%s: %s", rows[i].command, err.text);
		ck_assert_msg(snapshots_are_equal(&state, &before), "%s", rows[i].command);
	}
	for (size_t i = 0; i < sizeof allowed / sizeof *allowed; i++)
		ck_assert_msg(apply_text(&state, allowed[i], &result, &err) == 0, "%s: %s", allowed[i], err.text);
	cluster_state_fini(&before);
	end();
}
END_TEST

START_TEST(what_the_rules_allow_makes_one_new_version)
{
	static const char *const rows[] = {
		"vip 203.0.113.10 shop web tcp 80 10.1.1.11:8080",
		"vip 203.0.113.11 shop web tcp 80 10.1.1.11:8080 , dns udp 53 10.1.9.9:53",
		"vip 203.0.113.12 bank snat 10.1.1.11",
		"-vip 203.0.113.12",
		"vip 203.0.113.12 other snat 10.1.1.11",
		"mux mux1 10.0.0.32",
		"mux mux2 10.0.0.31",
		"-mux mux2",
		"mux mux2 10.0.0.33 2001:db8::33",
		"mux mux2 10.0.0.33",
		"mux mux2 2001:db8::33",
		"-mux mux2",
		"vip 2001:db8:f::10 shop web tcp 80 [2001:db8:1::11]:80*3 , snat 2001:db8:1::11",
		"dip 2001:db8:1::11 host1 vm1 if1 02:00:00:00:00:01",
		"dip 2001:db8:1::11 host1 vm1 if1 02:00:00:00:00:01 via=10.7.1.11",
		"-dip 2001:db8:1::11",
		"dip 10.1.1.11 host1 vm1 if2 02:00:00:00:00:07",
		"dip 10.1.1.11 host1 vm1 if2 02:00:00:00:00:07 via=2001:db8:7::12",
		"mux mux2 2001:db8:7::11",
		"-mux mux2",
		"dip 10.1.1.12 host1 vm1 if1 02:00:00:00:00:08",
		"dip 10.1.2.12 host2 vm1 if1 02:00:00:00:00:08",
		"-dip 10.1.1.11",
		"-dip 10.1.1.12 ; -host host1",
		"host host3 10.0.0.21 ; dip 10.1.1.11 host3 vm1 if1 02:00:00:00:00:01 ; mux mux3 10.0.0.33",
	};
	begin();
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		struct apply_result result;
		struct error err;
		ck_assert_msg(apply_text(&state, rows[i], &result, &err) == 0, "%s: %s", rows[i], err.text);
		ck_assert_msg(result.is_changed, "%s", rows[i]);
		ck_assert_uint_eq(result.version, BASE_VERSION + i + 1);
		ck_assert_uint_eq(state.store.version, result.version);
	}
	end();
}
END_TEST

START_TEST(ports_of_an_ipv6_vip_are_leased_kept_and_taken_back_as_of_any_other)
{
	struct ip_addr vip = addr_of("2001:db8:f::10");
	struct ip_addr dip = addr_of("2001:db8:1::11");
	struct snat_outcome outcome;
	struct apply_result result;
	struct error err;
	struct lease lease;
	static const char endpoint_on_it[] =
		"vip 2001:db8:f::10 shop b tcp 65529 [2001:db8:1::11]:81 , snat first=65528 prealloc=0 2001:db8:1::11";
	begin();
	must_apply(&state, "dip 2001:db8:1::11 host1 vm1 if1 02:00:00:00:00:01");
	must_apply(&state, "vip 2001:db8:f::10 shop snat first=65528 prealloc=0 2001:db8:1::11"); // one range
	ck_assert(ip_addr_equal(&cluster_state_snat_vip(&state, &dip)->vip, &vip));
	(void)must_apply_at(&state, TEST_TIME_MS + 1, "request 2001:db8:1::11 7 8", &outcome);
	ck_assert_int_eq(outcome.result, SNAT_DONE);
	ck_assert_uint_eq(outcome.n_ports, 8);
	ck_assert(snat_pool_lookup(snat_state_lookup_pool(&state.snat, &vip), 65528, &lease));
	ck_assert(ip_addr_equal(&lease.vip, &vip) && ip_addr_equal(&lease.dip, &dip));
	ck_assert_int_eq(apply_text(&state, endpoint_on_it, &result, &err), ERR_CONFLICT);
	ck_assert_msg(strstr(err.text, "port 65529 is leased to 2001:db8:1::11 for SNAT; `anantactl snat revoke "
	                               "[2001:db8:f::10]:65529`") != NULL,
	              "%s", err.text);
	replace_by_snapshot(&state);
	ck_assert_uint_eq(snat_state_lookup_pool(&state.snat, &vip)->n_held, 1);
	(void)must_apply_at(&state, TEST_TIME_MS + 2, "revoke [2001:db8:f::10]:65529", &outcome);
	ck_assert_int_eq(outcome.result, SNAT_DONE);
	ck_assert_uint_eq(snat_state_lookup_pool(&state.snat, &vip)->n_held, 0);
	end();
}
END_TEST

START_TEST(what_is_so_already_is_accepted_and_makes_no_version)
{
	begin();
	for (size_t i = 0; i < BASE_VERSION; i++) {
		struct apply_result result;
		struct error err;
		ck_assert_msg(apply_text(&state, base[i], &result, &err) == 0, "%s: %s", base[i], err.text);
		ck_assert(!result.is_changed);
		ck_assert_uint_eq(result.version, BASE_VERSION);
	}
	end();
}
END_TEST

START_TEST(a_vip_written_in_another_order_is_the_same_vip)
{
	struct apply_result result;
	struct error err;
	begin();
	must_apply(&state, "vip 203.0.113.11 shop b tcp 81 10.1.1.12:1 10.1.1.11:1 , a tcp 80 10.1.1.11:1");
	ck_assert_int_eq(apply_text(&state, "vip 203.0.113.11 shop a tcp 80 10.1.1.11:1 , b tcp 81 10.1.1.11:1 10.1.1.12:1",
	                            &result, &err),
	                 0);
	ck_assert(!result.is_changed);
	end();
}
END_TEST

START_TEST(a_command_takes_effect_as_a_whole_or_not_at_all)
{
	static const char *const rows[] = {
		"vip 203.0.113.11 shop web tcp 80 10.1.1.11:80 ; -vip 203.0.113.99",
		"-vip 203.0.113.10 ; -mux mux1 ; -dip 10.1.1.11 ; -host host1 ; mux mux2 10.0.0.22",
		"dip 10.1.1.12 host1 vm2 if2 02:00:00:00:00:02 ; dip 10.1.1.13 host1 vm3 if2 02:00:00:00:00:03",
		"vip 203.0.113.10 shop web tcp 81 10.1.7.7:1 ; vip 203.0.113.10 shop web tcp 82 10.1.7.8:1 ; cluster 9",
		"host host3 10.0.0.23 ; dip 10.1.3.1 host3 a if1 02:00:00:00:00:04 ; -host host3",
	};
	begin();
	struct cluster_state before;
	copy_by_snapshot(&state, &before);
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		struct apply_result result;
		struct error err;
		ck_assert_msg(apply_text(&state, rows[i], &result, &err) != 0, "%s", rows[i]);
		ck_assert_msg(strncmp(err.text, "change ", 7) == 0, "%s", err.text);
		ck_assert_msg(snapshots_are_equal(&state, &before), "%s", rows[i]);
	}
	// The indexes were rolled back too: the DIP has its holder, the host its DIP, and nothing else.
	uint32_t i = 0;
	struct ip_addr dip = addr_of("10.1.1.11");
	ck_assert_ptr_nonnull(cluster_state_next_holder(&state, &dip, &i));
	ck_assert_ptr_null(cluster_state_next_holder(&state, &dip, &i));
	i = 0;
	ck_assert_ptr_nonnull(cluster_state_next_attached(&state, "host1", &i));
	ck_assert_ptr_null(cluster_state_next_attached(&state, "host1", &i));
	i = 0;
	dip = addr_of("10.1.7.7");
	ck_assert_ptr_null(cluster_state_next_holder(&state, &dip, &i));
	cluster_state_fini(&before);
	end();
}
END_TEST

START_TEST(a_cluster_without_a_pin_key_is_given_one_once)
{
	struct apply_result result;
	struct error err;
	begin();
	must_apply(&state, "request 10.1.1.11 1 16");
	ck_assert_int_eq(apply_text(&state, "cluster 8 key=5", &result, &err), ERR_CONFLICT);
	ck_assert_int_eq(apply_text(&state, "cluster 7 key=5", &result, &err), 0);
	ck_assert(result.is_changed && !result.leases_changed);
	ck_assert_uint_eq(state.store.cluster.pin_key[0], 5);
	ck_assert_int_eq(apply_text(&state, "cluster 7 key=5", &result, &err), 0);
	ck_assert(!result.is_changed);
	ck_assert_int_eq(apply_text(&state, "cluster 7 key=6", &result, &err), ERR_CONFLICT);
	ck_assert_int_eq(apply_text(&state, "cluster 7", &result, &err), ERR_CONFLICT);
	replace_by_snapshot(&state);
	ck_assert_uint_eq(state.store.cluster.pin_key[0], 5);
	end();
}
END_TEST

START_TEST(a_limit_is_refused_by_its_number)
{
	struct apply_result result;
	struct error err;
	char command[128];
	ck_assert_int_eq(cluster_state_init(&state), 0);
	for (unsigned i = 0; i <= LIMIT_MUXES; i++) {
		(void)text_format(command, sizeof command, "mux m%u 10.9.%u.%u", i, i / 250, i % 250 + 1);
		int code = apply_text(&state, command, &result, &err);
		ck_assert_int_eq(code, i < LIMIT_MUXES ? 0 : ERR_LIMIT);
	}
	ck_assert_str_eq(err.text, "the cluster holds 256 muxes already, which is the limit");
	ck_assert_int_eq(apply_text(&state, "mux m1 10.10.0.1", &result, &err), 0); // one that is there may change
	end();
}
END_TEST

START_TEST(a_snapshot_restores_to_an_equal_state_that_goes_on_alike)
{
	begin();
	struct cluster_state copy;
	copy_by_snapshot(&state, &copy);
	ck_assert(snapshots_are_equal(&copy, &state));
	struct apply_result a, b;
	struct error err;
	ck_assert_int_eq(apply_text(&copy, "-host host1", &a, &err), ERR_CONFLICT); // the indexes were rebuilt
	ck_assert_int_eq(apply_text(&copy, "vip 10.1.2.11 shop snat 10.1.9.9", &a, &err), ERR_CONFLICT);
	ck_assert_int_eq(apply_text(&copy, "-dip 10.1.1.11 ; -host host1", &a, &err), 0);
	ck_assert_int_eq(apply_text(&state, "-dip 10.1.1.11 ; -host host1", &b, &err), 0);
	ck_assert_uint_eq(a.version, b.version);
	ck_assert(snapshots_are_equal(&copy, &state));
	cluster_state_fini(&copy);
	end();
}
END_TEST

START_TEST(a_failed_restore_leaves_the_state_as_it_was)
{
	begin();
	struct cluster_state before;
	copy_by_snapshot(&state, &before);
	for (uint64_t n = 0;; n++) {
		struct state_snapshot snapshot = { .version = 44 };
		snapshot.objects = changes_of("cluster 9 ; host h 10.0.0.5 ; dip 10.1.1.1 h v i 02:00:00:00:00:01 ; "
		                              "vip 203.0.113.77 shop web tcp 80 10.1.1.1:1");
		memory_fail_after(n);
		int code = cluster_state_restore(&state, &snapshot);
		memory_fail_after(UINT64_MAX);
		state_snapshot_fini(&snapshot);
		if (code == 0)
			break;
		ck_assert_int_eq(code, ERR_NO_MEMORY);
		ck_assert(snapshots_are_equal(&state, &before));
	}
	ck_assert_uint_eq(state.store.version, 44);
	ck_assert_uint_eq(state.store.vips.n, 1);
	cluster_state_fini(&before);
	end();
}
END_TEST

START_TEST(short_memory_is_reported_and_never_crashes)
{
	for (uint64_t n = 0;; n++) {
		begin();
		struct state_command command =
			command_of(TEST_TIME_MS, "vip 203.0.113.77 shop web tcp 80 10.1.1.1:1 ; -vip 203.0.113.10 ; "
		                             "dip 10.1.1.1 host1 v i 02:00:00:00:00:01");
		struct apply_result result;
		struct error err = { 0 };
		memory_fail_after(n);
		int code = cluster_state_apply(&state, &command, &result, &err);
		memory_fail_after(UINT64_MAX);
		state_command_fini(&command);
		end();
		if (code == 0)
			break;
		ck_assert_int_eq(code, ERR_NO_MEMORY);
	}
}
END_TEST

SUITE_MAIN("cluster_state", what_breaks_a_rule_is_refused_with_the_field_and_changes_nothing,
           a_change_that_would_pull_a_leased_port_from_under_a_dip_is_refused,
           what_the_rules_allow_makes_one_new_version,
           ports_of_an_ipv6_vip_are_leased_kept_and_taken_back_as_of_any_other,
           what_is_so_already_is_accepted_and_makes_no_version, a_vip_written_in_another_order_is_the_same_vip,
           a_command_takes_effect_as_a_whole_or_not_at_all, a_cluster_without_a_pin_key_is_given_one_once,
           a_limit_is_refused_by_its_number, a_snapshot_restores_to_an_equal_state_that_goes_on_alike,
           a_failed_restore_leaves_the_state_as_it_was, short_memory_is_reported_and_never_crashes)
