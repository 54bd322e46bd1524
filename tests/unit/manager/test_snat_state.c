// Operations on leases, and how leases follow the configuration.
#include "tests/support/suite.h"

#include <stdio.h>
#include <string.h>

#include "common/base/memory.h"
#include "tests/unit/manager/objects.h"

#define T TEST_TIME_MS

static struct cluster_state state;
static struct snat_outcome out; // of the last operation

static void begin(void)
{
	ck_assert_int_eq(cluster_state_init(&state), 0);
	must_apply(&state, "cluster 7 ; host host1 10.0.0.21 ; host host2 10.0.0.22 ; settings 60");
	must_apply(&state,
	           "dip 10.1.1.11 host1 vm1 if1 02:00:00:00:00:01 ; dip 10.1.1.12 host1 vm2 if2 02:00:00:00:00:02 ; "
	           "dip 10.1.1.13 host2 vm3 if3 02:00:00:00:00:03");
}

static void end(void)
{
	cluster_state_fini(&state);
}

static void must_do(uint64_t time_ms, const char *op, enum snat_result result, uint32_t n_ports)
{
	(void)must_apply_at(&state, time_ms, op, &out);
	ck_assert_msg(out.result == result && out.n_ports == n_ports, "%s: result %d, %u ports", op, (int)out.result,
	              out.n_ports);
}

static bool is_addr(const struct ip_addr *addr, const char *text)
{
	struct ip_addr other = addr_of(text);
	return ip_addr_equal(addr, &other);
}

static struct lease_list leases_of(const char *dip)
{
	struct lease_list list = { 0 };
	struct ip_addr addr = addr_of(dip);
	ck_assert_int_eq(snat_state_list_of_dip(&state.snat, &addr, &list), 0);
	return list;
}

static uint32_t ports_of(const char *dip)
{
	uint32_t n = 0;
	struct lease_list list = leases_of(dip);
	for (uint32_t i = 0; i < list.n; i++)
		n += list.items[i].n_ports;
	lease_list_fini(&list);
	return n;
}

static struct lease first_lease_of(const char *dip)
{
	struct lease_list list = leases_of(dip);
	ck_assert_uint_gt(list.n, 0);
	struct lease lease = list.items[0];
	lease_list_fini(&list);
	return lease;
}

static struct snat_pool_counts counts_of(const char *vip, uint64_t now_ms)
{
	struct snat_pool_counts counts;
	struct ip_addr addr = addr_of(vip);
	snat_state_pool_status(&state.snat, &addr, now_ms, state.store.settings.snat_quarantine_s, &counts);
	return counts;
}

static const char *return_of(const struct lease *lease, uint32_t epoch)
{
	static char text[128];
	char dip[IP_ADDR_TEXT_BYTES], vip[IP_ADDR_TEXT_BYTES];
	(void)text_format(text, sizeof text, "return %s %s:%u %u", ip_addr_format(&lease->dip, dip),
	                  ip_addr_format(&lease->vip, vip), lease->first_port, epoch);
	return text;
}

// All that the DIP gets, by as many requests as it takes.
static void must_get(const char *dip, uint64_t time_ms, uint32_t n_ports)
{
	char op[64];
	uint32_t n_got = 0;
	for (uint32_t seq = 1000; n_got < n_ports; seq++) {
		(void)text_format(op, sizeof op, "request %s %u %u", dip, seq, n_ports - n_got);
		(void)must_apply_at(&state, time_ms, op, &out);
		ck_assert_msg(out.result == SNAT_DONE, "%s: result %d after %u ports", op, (int)out.result, n_got);
		n_got += out.n_ports;
	}
	ck_assert_uint_eq(n_got, n_ports);
}

// ---- requests ----

START_TEST(a_request_is_granted_whole_ranges_and_a_repeated_one_nothing_more)
{
	begin();
	must_apply(&state, "vip 203.0.113.10 shop snat prealloc=0 10.1.1.11");
	must_do(T, "request 10.1.1.11 100 20", SNAT_DONE, 24);
	ck_assert_uint_eq(out.seq, 100);
	ck_assert(is_addr(&out.vip, "203.0.113.10"));
	uint64_t version = state.snat.version;
	must_do(T + 5000, "request 10.1.1.11 100 20", SNAT_REPEATED, 24);
	must_do(T + 5000, "request 10.1.1.11 99 500", SNAT_REPEATED, 0);
	ck_assert_uint_eq(state.snat.version, version);
	ck_assert_uint_eq(ports_of("10.1.1.11"), 24);
	must_do(T + 5000, "request 10.1.1.11 101 0", SNAT_DONE, 8); // at least one range
	ck_assert_uint_eq(state.snat.version, version + 1);
	end();
}
END_TEST

START_TEST(an_agent_whose_clock_was_set_back_is_served)
{
	begin();
	must_apply(&state, "vip 203.0.113.10 shop snat prealloc=0 10.1.1.11");
	must_do(T, "request 10.1.1.11 1700000000000000 8", SNAT_DONE, 8);
	must_do(T + 5000, "request 10.1.1.11 1699999950000000 8", SNAT_REPEATED, 0);
	must_do(T + 5000, "request 10.1.1.11 1699996400000000 8", SNAT_DONE, 8); // an hour back: not a repetition
	must_do(T + 9000, "request 10.1.1.11 1699996400000001 8", SNAT_DONE, 8);
	end();
}
END_TEST

START_TEST(whoever_asks_again_soon_gets_twice_as_many)
{
	static const struct {
		uint64_t after_ms; // the last request
		uint32_t n_asked;
		uint32_t n_granted;
	} rows[] = { { 0, 8, 8 },   { 1000, 8, 16 }, { 1001, 8, 8 }, { 0, 8, 16 },      { 0, 100, 104 }, { 0, 8, 208 },
		         { 0, 8, 416 }, { 0, 8, 512 },   { 0, 8, 512 },  { 0, 1000, 1000 }, { 10, 8, 512 },  { 5000, 1, 8 } };
	char op[64];
	uint64_t now_ms = T;
	begin();
	must_apply(&state, "vip 203.0.113.10 shop snat prealloc=0 10.1.1.11");
	for (unsigned i = 0; i < sizeof rows / sizeof *rows; i++) {
		now_ms += rows[i].after_ms;
		(void)text_format(op, sizeof op, "request 10.1.1.11 %u %u", i + 1, rows[i].n_asked);
		must_do(now_ms, op, SNAT_DONE, rows[i].n_granted);
	}
	end();
}
END_TEST

START_TEST(nobody_gets_more_than_it_holds_or_a_sixteenth_of_what_is_left)
{
	static const struct {
		const char *op;
		uint32_t n_granted;
	} rows[] = {
		{ "request 10.1.1.11 1 9999", 1024 }, // of 16384
		{ "request 10.1.1.11 2 9999", 1024 }, // as many as it has
		{ "request 10.1.1.11 3 9999", 2048 }, { "request 10.1.1.11 4 9999", 4096 },
		{ "request 10.1.1.12 5 9999", 512 }, // of 8192
		{ "request 10.1.1.11 6 9999", 7680 }, // what is left
	};
	begin();
	must_apply(&state, "vip 203.0.113.10 shop snat first=49152 prealloc=0 max=65536 10.1.1.11 10.1.1.12");
	for (unsigned i = 0; i < sizeof rows / sizeof *rows; i++)
		must_do(T + i * 5000, rows[i].op, SNAT_DONE, rows[i].n_granted);
	must_do(T + 50000, "request 10.1.1.12 7 8", SNAT_POOL_EMPTY, 0);
	end();
}
END_TEST

START_TEST(a_dip_that_is_in_no_list_or_not_attached_is_not_configured)
{
	begin();
	must_apply(&state, "vip 203.0.113.10 shop web tcp 80 10.1.1.12:80 , snat prealloc=0 10.1.1.11 10.1.9.9");
	must_do(T, "request 10.1.1.12 1 8", SNAT_NOT_CONFIGURED, 0);
	must_do(T, "request 10.1.9.9 1 8", SNAT_NOT_CONFIGURED, 0);
	must_do(T, "request 10.1.7.7 1 8", SNAT_NOT_CONFIGURED, 0);
	struct ip_addr dip = addr_of("10.1.1.12");
	ck_assert_ptr_null(cluster_state_snat_vip(&state, &dip));
	ck_assert_uint_eq(state.snat.version, 0);
	end();
}
END_TEST

START_TEST(a_request_spills_over_to_the_next_vip)
{
	struct ip_addr dip = addr_of("10.1.1.11"), first = addr_of("203.0.113.10"), second = addr_of("203.0.113.11");
	begin();
	must_apply(&state, "vip 203.0.113.11 shop snat size=16 prealloc=0 max=32 10.1.1.11");
	must_apply(&state, "vip 203.0.113.10 shop snat prealloc=0 max=24 10.1.1.11");
	ck_assert(ip_addr_equal(&cluster_state_snat_vip(&state, &dip)->vip, &first));
	must_do(T, "request 10.1.1.11 1 16", SNAT_DONE, 16);
	must_do(T + 9000, "request 10.1.1.11 2 20", SNAT_DONE, 24); // 8 from the first VIP, 16 from the second
	ck_assert(ip_addr_equal(&out.vip, &first));
	ck_assert(ip_addr_equal(&cluster_state_snat_vip(&state, &dip)->vip, &second));
	must_do(T + 18000, "request 10.1.1.11 3 999", SNAT_DONE, 16); // what there was
	ck_assert(ip_addr_equal(&out.vip, &second));
	must_do(T + 27000, "request 10.1.1.11 4 8", SNAT_AT_LIMIT, 0);
	ck_assert(ip_addr_equal(&cluster_state_snat_vip(&state, &dip)->vip, &first));
	must_do(T + 28000, "request 10.1.1.11 4 8", SNAT_AT_LIMIT, 0); // a refusal is not remembered
	ck_assert_uint_eq(ports_of("10.1.1.11"), 56);
	end();
}
END_TEST

START_TEST(an_empty_pool_refuses_until_a_quarantine_is_over)
{
	begin();
	must_apply(&state, "vip 203.0.113.10 shop snat size=1024 first=63488 prealloc=0 max=65536 10.1.1.11 10.1.1.12");
	must_do(T, "request 10.1.1.11 1 1", SNAT_DONE, 1024);
	struct lease lease = first_lease_of("10.1.1.11");
	must_do(T, "request 10.1.1.12 1 9999", SNAT_DONE, 1024);
	must_do(T, "request 10.1.1.11 2 1", SNAT_POOL_EMPTY, 0);
	must_do(T + 10, return_of(&lease, lease.epoch), SNAT_DONE, 1024);
	ck_assert_uint_eq(counts_of("203.0.113.10", T + 60009).n_quarantined, 1024);
	ck_assert_uint_eq(counts_of("203.0.113.10", T + 60010).n_quarantined, 0);
	must_do(T + 60009, "request 10.1.1.12 3 1", SNAT_POOL_EMPTY, 0);
	must_do(T + 1, "request 10.1.1.12 3 1", SNAT_POOL_EMPTY, 0); // the clock does not go back
	ck_assert_uint_eq(state.snat.clock_ms, T + 60009);
	must_do(T + 60010, "request 10.1.1.12 3 1", SNAT_DONE, 1024);
	ck_assert_uint_eq(counts_of("203.0.113.10", T + 60010).n_held, 2048);
	ck_assert_uint_eq(counts_of("203.0.113.10", T + 60010).n_ports, 2048);
	end();
}
END_TEST

// ---- returns and revocations ----

START_TEST(only_its_holder_returns_a_lease_and_only_by_its_epoch)
{
	begin();
	must_apply(&state, "vip 203.0.113.10 shop snat prealloc=0 10.1.1.11 10.1.1.12");
	must_do(T, "request 10.1.1.11 1 16", SNAT_DONE, 16);
	must_do(T, "request 10.1.1.12 1 8", SNAT_DONE, 8);
	struct lease lease = first_lease_of("10.1.1.11");
	struct lease other = lease;
	uint64_t version = state.snat.version;
	must_do(T, return_of(&lease, lease.epoch + 1), SNAT_NOT_HELD, 0);
	other.dip = addr_of("10.1.1.12");
	must_do(T, return_of(&other, lease.epoch), SNAT_NOT_HELD, 0);
	other = lease;
	other.first_port++;
	must_do(T, return_of(&other, lease.epoch), SNAT_NOT_HELD, 0);
	other.vip = addr_of("203.0.113.99");
	must_do(T, return_of(&other, lease.epoch), SNAT_NOT_HELD, 0);
	ck_assert_uint_eq(state.snat.version, version);
	must_do(T, return_of(&lease, lease.epoch), SNAT_DONE, 8);
	must_do(T, return_of(&lease, lease.epoch), SNAT_NOT_HELD, 0);
	ck_assert_uint_eq(state.snat.version, version + 1);
	ck_assert_uint_eq(ports_of("10.1.1.11"), 8);
	end();
}
END_TEST

START_TEST(a_port_or_all_of_a_dip_is_revoked)
{
	char op[64];
	begin();
	must_apply(&state, "vip 203.0.113.10 shop snat prealloc=0 10.1.1.11 10.1.1.12");
	must_apply(&state, "vip 203.0.113.11 shop snat prealloc=16 10.1.1.11");
	must_do(T, "request 10.1.1.11 1 24", SNAT_DONE, 24);
	must_do(T, "request 10.1.1.12 1 8", SNAT_DONE, 8);
	struct lease lease = first_lease_of("10.1.1.12");
	(void)text_format(op, sizeof op, "revoke 203.0.113.10:%u", lease.first_port + 5);
	must_do(T, op, SNAT_DONE, 8);
	ck_assert(ip_addr_equal(&out.dip, &lease.dip));
	must_do(T, op, SNAT_NOT_HELD, 0);
	must_do(T, "revoke 10.1.1.11", SNAT_DONE, 40);
	must_do(T, "revoke 10.1.1.11", SNAT_NOT_HELD, 0);
	must_do(T, "revoke 10.1.9.9", SNAT_NOT_HELD, 0);
	ck_assert_uint_eq(counts_of("203.0.113.10", T).n_held + counts_of("203.0.113.11", T).n_held, 0);
	ck_assert_uint_eq(counts_of("203.0.113.10", T).n_quarantined, 32);
	end();
}
END_TEST

// ---- the configuration ----

START_TEST(attached_dips_are_leased_ports_before_they_ask)
{
	begin();
	must_apply(&state, "vip 203.0.113.10 shop snat 10.1.1.11 10.1.9.9");
	ck_assert_uint_eq(ports_of("10.1.1.11"), 160);
	ck_assert_uint_eq(ports_of("10.1.9.9"), 0);
	ck_assert_uint_eq(state.snat.version, 1);
	must_apply(&state, "dip 10.1.9.9 host2 vm9 if9 02:00:00:00:00:09");
	ck_assert_uint_eq(ports_of("10.1.9.9"), 160);
	must_apply(&state, "dip 10.1.9.9 host2 vm9 if9 02:00:00:00:00:0a"); // it is what it was
	ck_assert_uint_eq(ports_of("10.1.9.9"), 160);
	ck_assert_uint_eq(state.snat.version, 2);
	must_apply(&state, "vip 203.0.113.10 shop snat prealloc=161 max=168 10.1.1.11 10.1.9.9");
	ck_assert_uint_eq(ports_of("10.1.9.9"), 168);
	must_apply(&state, "vip 203.0.113.10 shop snat prealloc=8 10.1.1.11 10.1.9.9"); // what is leased stays
	ck_assert_uint_eq(ports_of("10.1.9.9"), 168);
	end();
}
END_TEST

START_TEST(a_pool_that_is_too_small_is_shared_equally)
{
	begin();
	must_apply(&state, "vip 203.0.113.10 shop snat size=64 first=64960 prealloc=512 10.1.1.11 10.1.1.12 10.1.9.9");
	ck_assert_uint_eq(ports_of("10.1.1.11"), 256); // of 9 ranges 4 each
	ck_assert_uint_eq(ports_of("10.1.1.12"), 256);
	must_apply(&state, "dip 10.1.9.9 host2 vm9 if9 02:00:00:00:00:09");
	ck_assert_uint_eq(ports_of("10.1.9.9"), 64); // of a share of 3, what there was
	ck_assert_uint_eq(ports_of("10.1.1.11"), 256);
	end();
}
END_TEST

START_TEST(what_is_short_is_given_out_evenly)
{
	begin();
	must_apply(&state, "vip 203.0.113.10 shop snat size=512 first=62464 prealloc=0 10.1.1.11 10.1.1.12 10.1.1.13");
	must_get("10.1.1.11", T, 2048); // of 6 ranges 2 are left
	must_apply(&state, "vip 203.0.113.10 shop snat size=512 first=62464 prealloc=3072 10.1.1.11 10.1.1.12 10.1.1.13");
	ck_assert_uint_eq(ports_of("10.1.1.11"), 2048);
	ck_assert_uint_eq(ports_of("10.1.1.12"), 512);
	ck_assert_uint_eq(ports_of("10.1.1.13"), 512);
	end();
}
END_TEST

START_TEST(leases_end_with_the_attachment_the_listing_or_the_vip)
{
	static const char *const rows[] = {
		"-dip 10.1.1.11",
		"vip 203.0.113.10 shop snat 10.1.1.12",
		"-vip 203.0.113.10",
		"vip 203.0.113.10 shop web tcp 80 10.1.1.11:80",
	};
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		begin();
		must_apply(&state, "vip 203.0.113.10 shop snat 10.1.1.11 10.1.1.12");
		must_do(T, "request 10.1.1.11 77 8", SNAT_DONE, 8);
		uint64_t version = state.snat.version;
		(void)must_apply_at(&state, T + 1, rows[i], NULL);
		ck_assert_uint_eq(state.snat.version, version + 1);
		ck_assert_uint_eq(ports_of("10.1.1.11"), 0);
		bool keeps_other = i < 2;
		ck_assert_uint_eq(ports_of("10.1.1.12"), keeps_other ? 160 : 0);
		ck_assert_uint_eq(counts_of("203.0.113.10", T + 1).n_quarantined, keeps_other ? 168 : 328);
		ck_assert_uint_eq(state.snat.log.n, keeps_other ? 21 : 41);
		struct ip_addr dip = addr_of("10.1.1.11");
		ck_assert_ptr_null(snat_dips_lookup(&state.snat.dips, &dip)); // with its demand
		end();
	}
}
END_TEST

START_TEST(a_vip_that_comes_back_finds_its_ports_quarantined)
{
	begin();
	must_apply(&state, "vip 203.0.113.10 shop snat size=1024 first=63488 prealloc=1024 10.1.1.11");
	(void)must_apply_at(&state, T + 10, "-vip 203.0.113.10", NULL);
	ck_assert_uint_eq(counts_of("203.0.113.10", T + 10).n_ports, 0);
	replace_by_snapshot(&state);
	(void)must_apply_at(&state, T + 20,
	                    "vip 203.0.113.10 bank snat size=256 first=63488 prealloc=0 max=65536 10.1.1.11", NULL);
	must_get("10.1.1.11", T + 30, 1024);
	must_do(T + 30, "request 10.1.1.11 9999 8", SNAT_POOL_EMPTY, 0);
	(void)must_apply_at(&state, T + 40, "-vip 203.0.113.10", NULL);
	ck_assert_uint_eq(state.snat.n_pools, 1);
	(void)must_apply_at(&state, T + 60040, "mux mux9 10.0.0.99", NULL); // the quarantine is over: it is forgotten
	ck_assert_uint_eq(state.snat.n_pools, 0);
	end();
}
END_TEST

START_TEST(no_range_with_the_port_of_an_endpoint_is_leased)
{
	char command[256];
	begin();
	must_apply(&state, "vip 203.0.113.10 shop web tcp 65000 10.1.1.11:80 , dns udp 65100 10.1.1.11:53 , "
	                   "snat size=64 first=64512 prealloc=0 max=65536 10.1.1.11");
	must_get("10.1.1.11", T, 1024 - 128);
	must_do(T, "request 10.1.1.11 9999 8", SNAT_POOL_EMPTY, 0);
	struct lease_list list = leases_of("10.1.1.11");
	for (uint32_t i = 0; i < list.n; i++)
		ck_assert(!lease_has_port(&list.items[i], 65000) && !lease_has_port(&list.items[i], 65100));
	lease_list_fini(&list);
	must_apply(&state, "vip 203.0.113.10 shop dns udp 65100 10.1.1.11:53 , "
	                   "snat size=64 first=64512 prealloc=0 max=65536 10.1.1.11");
	must_do(T, "request 10.1.1.11 10000 9999", SNAT_DONE, 64);
	(void)text_format(command, sizeof command, "%s",
	                  "vip 203.0.113.10 shop web tcp 65000 10.1.1.11:80 , "
	                  "snat size=64 first=64512 prealloc=0 max=65536 10.1.1.11");
	struct apply_result result;
	struct error err;
	ck_assert_int_eq(apply_text(&state, command, &result, &err), ERR_CONFLICT);
	must_do(T, "revoke 203.0.113.10:65000", SNAT_DONE, 64);
	must_apply(&state, command);
	end();
}
END_TEST

START_TEST(a_refused_command_changes_no_lease_and_no_clock)
{
	begin();
	must_apply(&state, "vip 203.0.113.10 shop snat 10.1.1.11");
	struct cluster_state before;
	copy_by_snapshot(&state, &before);
	struct state_command command = command_of(T + 999, "-vip 203.0.113.10 ; -mux nobody ; request 10.1.1.11 1 8");
	struct apply_result result;
	struct error err;
	ck_assert_int_eq(cluster_state_apply(&state, &command, &result, &err), ERR_NOT_FOUND);
	state_command_fini(&command);
	ck_assert(snapshots_are_equal(&state, &before));
	cluster_state_fini(&before);
	end();
}
END_TEST

START_TEST(one_command_makes_one_lease_version_and_an_outcome_for_each_operation)
{
	begin();
	must_apply(&state, "vip 203.0.113.10 shop snat prealloc=0 10.1.1.11 10.1.1.12");
	struct state_command command =
		command_of(T, "request 10.1.1.11 1 8 ; request 10.1.1.12 1 16 ; request 10.1.1.13 1 8 ; request 10.1.1.11 1 8");
	struct apply_result r;
	struct error err;
	ck_assert_int_eq(cluster_state_apply(&state, &command, &r, &err), 0);
	ck_assert(r.leases_changed && !r.is_changed);
	ck_assert_uint_eq(r.lease_version, 1);
	ck_assert_uint_eq(r.outcomes.n, 4);
	ck_assert_int_eq(r.outcomes.items[0].result, SNAT_DONE);
	ck_assert_int_eq(r.outcomes.items[1].result, SNAT_DONE);
	ck_assert_uint_eq(r.outcomes.items[1].n_ports, 16);
	ck_assert_int_eq(r.outcomes.items[2].result, SNAT_NOT_CONFIGURED);
	ck_assert_int_eq(r.outcomes.items[3].result, SNAT_REPEATED);
	apply_result_fini(&r);
	state_command_fini(&command);
	end();
}
END_TEST

// ---- who had a port ----

START_TEST(the_log_says_who_held_a_port_and_when)
{
	begin();
	must_apply(&state, "settings 1 log=100");
	must_apply(&state, "vip 203.0.113.10 shop snat size=1024 first=64512 prealloc=0 10.1.1.11 10.1.1.12");
	must_do(T + 1000, "request 10.1.1.11 1 1", SNAT_DONE, 1024);
	must_do(T + 5000, "revoke 10.1.1.11", SNAT_DONE, 1024);
	must_do(T + 9000, "request 10.1.1.12 1 1", SNAT_DONE, 1024);
	static const struct {
		uint64_t at_ms;
		const char *dip;
	} rows[] = { { T + 999, NULL },  { T + 1000, "10.1.1.11" }, { T + 4999, "10.1.1.11" },  { T + 5000, NULL },
		         { T + 8999, NULL }, { T + 9000, "10.1.1.12" }, { T + 99999, "10.1.1.12" }, { 0, "10.1.1.12" } };
	struct ip_addr vip = addr_of("203.0.113.10"), any = { { 0 } };
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		struct lease_list list = { 0 };
		ck_assert_int_eq(snat_state_list(&state.snat, i % 2 ? &any : &vip, i % 3 ? 65000 : 0, rows[i].at_ms, &list), 0);
		ck_assert_uint_eq(list.n, rows[i].dip != NULL);
		if (list.n > 0)
			ck_assert(is_addr(&list.items[0].dip, rows[i].dip));
		lease_list_fini(&list);
	}
	ck_assert_uint_eq(snat_state_log_since_ms(&state.snat), 0);
	must_do(T + 200000, "revoke 10.1.1.12", SNAT_DONE, 1024); // the first one is forgotten
	ck_assert_uint_eq(snat_state_log_since_ms(&state.snat), T + 5000);
	ck_assert_uint_eq(state.snat.log.n, 1);
	end();
}
END_TEST

// ---- memory ----

START_TEST(short_memory_is_reported_and_never_crashes)
{
	for (uint64_t n = 0;; n++) {
		begin();
		struct state_command command =
			command_of(T, "vip 203.0.113.10 shop snat 10.1.1.11 10.1.1.12 ; vip 203.0.113.11 shop snat 10.1.1.12 ; "
		                  "request 10.1.1.11 1 8");
		struct apply_result result;
		struct error err = { 0 };
		memory_fail_after(n);
		int code = cluster_state_apply(&state, &command, &result, &err);
		memory_fail_after(UINT64_MAX);
		state_command_fini(&command);
		if (code == 0)
			apply_result_fini(&result);
		else
			ck_assert_int_eq(code, ERR_NO_MEMORY);
		end();
		if (code == 0)
			break;
	}
}
END_TEST

START_TEST(a_snapshot_that_finds_no_memory_changes_nothing)
{
	begin();
	must_apply(&state, "vip 203.0.113.10 shop snat 10.1.1.11 10.1.1.12 ; vip 203.0.113.11 shop snat 10.1.1.12");
	must_do(T, "request 10.1.1.11 1 8", SNAT_DONE, 8);
	must_do(T, "revoke 10.1.1.12", SNAT_DONE, 320);
	struct cluster_state copy, before;
	copy_by_snapshot(&state, &before);
	ck_assert_int_eq(cluster_state_init(&copy), 0);
	for (uint64_t n = 0, is_done = false; !is_done; n++) {
		struct state_snapshot snapshot;
		memory_fail_after(n);
		int code = cluster_state_get_snapshot(&state, &snapshot);
		if (code == 0) {
			code = cluster_state_restore(&copy, &snapshot);
			state_snapshot_fini(&snapshot);
		}
		memory_fail_after(UINT64_MAX);
		ck_assert(code == 0 || (code == ERR_NO_MEMORY && copy.snat.n_pools == 0));
		is_done = code == 0;
	}
	ck_assert(snapshots_are_equal(&state, &before));
	ck_assert(snapshots_are_equal(&state, &copy));
	cluster_state_fini(&copy);
	cluster_state_fini(&before);
	end();
}
END_TEST

SUITE_MAIN("snat_state", a_request_is_granted_whole_ranges_and_a_repeated_one_nothing_more,
           an_agent_whose_clock_was_set_back_is_served, whoever_asks_again_soon_gets_twice_as_many,
           nobody_gets_more_than_it_holds_or_a_sixteenth_of_what_is_left,
           a_dip_that_is_in_no_list_or_not_attached_is_not_configured, a_request_spills_over_to_the_next_vip,
           an_empty_pool_refuses_until_a_quarantine_is_over, only_its_holder_returns_a_lease_and_only_by_its_epoch,
           a_port_or_all_of_a_dip_is_revoked, attached_dips_are_leased_ports_before_they_ask,
           a_pool_that_is_too_small_is_shared_equally, what_is_short_is_given_out_evenly,
           leases_end_with_the_attachment_the_listing_or_the_vip, a_vip_that_comes_back_finds_its_ports_quarantined,
           no_range_with_the_port_of_an_endpoint_is_leased, a_refused_command_changes_no_lease_and_no_clock,
           one_command_makes_one_lease_version_and_an_outcome_for_each_operation, the_log_says_who_held_a_port_and_when,
           short_memory_is_reported_and_never_crashes, a_snapshot_that_finds_no_memory_changes_nothing)
