// Real managers, and muxes and agents that a test plays: hosts that vanish, what probes found, muxes that are down, drained or
// fenced, and the events of it.
#include "tests/support/suite.h"

#include <signal.h>
#include <string.h>

#include "manager/core/host_watch.h"
#include "tests/unit/manager/cluster.h"
#include "tests/unit/manager/objects.h"

#define WEB "203.0.113.10 tcp 80"

static struct cluster cluster;
static uv_loop_t loop;
static uv_timer_t tick; // so that conditions are looked at often
static struct test_node mux;
static struct test_node hosts[3];
static const char *const host_names[] = { "host1", "host2", "host3" };
static const char *const host_addrs[] = { "10.0.0.21", "10.0.0.22", "10.0.0.23" };

static void on_tick(uv_timer_t *timer)
{
}

static void begin_host(uint32_t i)
{
	test_node_begin(&hosts[i], &loop, &cluster, ROLE_AGENT, host_names[i], host_addrs[i]);
	hosts[i].reports = true;
}

static bool are_up(uint32_t n_hosts)
{
	bool are = manager_link_is_up(mux.link);
	for (uint32_t i = 0; i < n_hosts; i++)
		are &= manager_link_is_up(hosts[i].link);
	return are;
}

// A mux, and hosts with one DIP each: 10.1.1.11, 10.1.1.12, ..., in one endpoint with a probe.
static void begin(uint32_t n_managers, uint32_t n_hosts, const char *settings)
{
	static const char vip[] = "vip 203.0.113.10 shop web tcp 80 probe=8080 10.1.1.11:80 10.1.1.12:80";
	char dip[96];
	cluster_begin(&cluster, n_managers);
	uv_loop_init(&loop);
	uv_timer_init(&loop, &tick);
	uv_timer_start(&tick, on_tick, 20, 20);
	test_node_begin(&mux, &loop, &cluster, ROLE_MUX, "mux1", "10.0.0.31");
	mux.state = "announcing";
	for (uint32_t i = 0; i < n_hosts; i++)
		begin_host(i);
	RUN_UNTIL(&loop, are_up(n_hosts));
	cluster_must(&cluster, settings);
	for (uint32_t i = 0; i < n_hosts; i++) {
		(void)text_format(dip, sizeof dip, "dip 10.1.1.%u %s vm%u if1 02:00:00:00:00:0%u", 11 + i, host_names[i], i + 1,
		                  i + 1);
		cluster_must(&cluster, dip);
	}
	cluster_must(&cluster, vip);
}

static void end(uint32_t n_hosts)
{
	for (uint32_t i = 0; i < n_hosts; i++)
		if (hosts[i].link != NULL)
			test_node_end(&hosts[i]);
	test_node_end(&mux);
	uv_close((uv_handle_t *)&tick, NULL);
	uv_run(&loop, UV_RUN_DEFAULT);
	ck_assert_int_eq(uv_loop_close(&loop), 0);
	cluster_end(&cluster);
}

static void end_host(uint32_t i)
{
	test_node_end(&hosts[i]);
	hosts[i].link = NULL;
}

// Does the mux send new connections of the endpoint to this DIP?
static bool is_member(const char *dip)
{
	struct ip_addr vip = addr_of("203.0.113.10");
	struct ip_addr addr = addr_of(dip);
	const struct vip_config *config = store_lookup_vip(&mux.store, &vip);
	const struct endpoint_history *h = vip_history_lookup(store_lookup_history(&mux.store, &vip), 6, 80);
	if (config == NULL || h == NULL)
		return config != NULL && vip_config_has_dip(config, &addr);
	const struct generation *g = endpoint_history_present(h);
	for (uint32_t i = 0; i < g->n_members; i++)
		if (ip_addr_equal(&g->members[i].dip, &addr))
			return true;
	return false;
}

static bool is_refusing(void)
{
	struct ip_addr vip = addr_of("203.0.113.10");
	const struct endpoint_history *h = vip_history_lookup(store_lookup_history(&mux.store, &vip), 6, 80);
	return h != NULL && h->is_refusing;
}

// ---- events ----

static struct event_list get_events(void)
{
	struct event_list events;
	struct error err = { 0 };
	ck_assert_msg(client_get_events(cluster.client, 0, &events, &err) == 0, "%s", err.text);
	for (uint32_t i = 1; i < events.n; i++)
		ck_assert_uint_eq(events.items[i].seq, events.items[i - 1].seq + 1);
	return events;
}

static const struct cluster_event *find_event(const struct event_list *events, const char *what, const char *object)
{
	for (uint32_t i = events->n; i > 0; i--)
		if (strcmp(events->items[i - 1].what, what) == 0 && strcmp(events->items[i - 1].object, object) == 0)
			return &events->items[i - 1];
	return NULL;
}

static uint32_t count_events(const char *what)
{
	uint32_t n = 0;
	struct event_list events = get_events();
	for (uint32_t i = 0; i < events.n; i++)
		n += strcmp(events.items[i].what, what) == 0;
	event_list_fini(&events);
	return n;
}

static bool has_event(const char *what, const char *object)
{
	struct event_list events = get_events();
	bool has = find_event(&events, what, object) != NULL;
	event_list_fini(&events);
	return has;
}

// The last such event, which must be there and whose cause must hold this text.
static struct cluster_event check_event(const char *what, const char *object, const char *text)
{
	struct event_list events = get_events();
	const struct cluster_event *e = find_event(&events, what, object);
	ck_assert_msg(e != NULL, "%s %s", what, object);
	ck_assert_msg(strstr(e->cause, text) != NULL, "%s %s: %s", what, object, e->cause);
	struct cluster_event copy = *e;
	event_list_fini(&events);
	return copy;
}

static bool is_counter(const char *name, uint64_t value)
{
	struct message request = { .type = MESSAGE_CLUSTER_REQUEST };
	struct message reply = { 0 };
	struct error err = { 0 };
	bool is_it = false;
	ck_assert_int_eq(client_ask(cluster.managers[cluster_leader(&cluster)].api, 1000, &request, &reply, &err), 0);
	for (uint32_t i = 0; i < reply.cluster.n_counters; i++)
		if (strcmp(reply.cluster.counters[i].name, name) == 0)
			is_it = reply.cluster.counters[i].value == value;
	message_fini(&reply);
	return is_it;
}

// ---- hosts ----

START_TEST(a_host_that_vanishes_gets_no_new_connections_until_it_is_back)
{
	begin(1, 2, "settings 60 host_gone_ms=500");
	RUN_UNTIL(&loop, is_member("10.1.1.11") && is_member("10.1.1.12"));
	end_host(0);
	RUN_UNTIL(&loop, !is_member("10.1.1.11"));
	ck_assert(is_member("10.1.1.12"));
	struct cluster_event gone = check_event("host-gone", "host1", "agent not connected for 0.5 s");
	ck_assert(is_counter("hosts_gone", 1));
	ck_assert(is_counter("hosts_away", 1));
	begin_host(0);
	RUN_UNTIL(&loop, is_member("10.1.1.11"));
	struct cluster_event back = check_event("host-back", "host1", "it was gone for ");
	ck_assert_uint_gt(back.seq, gone.seq);
	ck_assert(is_counter("hosts_gone", 0));
	end(2);
}
END_TEST

START_TEST(a_host_is_back_only_when_its_probes_have_been_told)
{
	begin(1, 2, "settings 60 host_gone_ms=500");
	end_host(0);
	RUN_UNTIL(&loop, has_event("host-gone", "host1"));
	begin_host(0);
	hosts[0].reports = false;
	RUN_UNTIL(&loop, manager_link_is_up(hosts[0].link));
	uint64_t version = cluster_must(&cluster, "mux mux2 10.0.0.32");
	RUN_UNTIL(&loop, mux.store.version == version && hosts[0].store.version == version);
	ck_assert(!is_member("10.1.1.11"));
	test_node_probed(&hosts[0], "10.1.1.11", WEB, "tcp 8080: timeout"); // a change, before a whole report
	RUN_UNTIL(&loop, is_counter("health_reports", 3));
	ck_assert(!is_member("10.1.1.11"));
	ck_assert_uint_eq(count_events("host-back"), 0);
	struct message whole = { .type = MESSAGE_HEALTH, .health = hosts[0].health };
	whole.health.is_whole = true;
	ck_assert_int_eq(manager_link_send(hosts[0].link, &whole), 0);
	RUN_UNTIL(&loop, has_event("host-back", "host1"));
	ck_assert(!is_member("10.1.1.11")); // its probe fails
	check_event("dip-unhealthy", "10.1.1.11", WEB ": tcp 8080: timeout");
	end(2);
}
END_TEST

// A machine that is gone closes no connection: its loop does not run.
START_TEST(a_host_that_says_nothing_is_gone_after_the_same_time)
{
	uv_loop_t other;
	struct test_node silent;
	begin(1, 2, "settings 60 host_gone_ms=2000");
	uv_loop_init(&other);
	test_node_begin(&silent, &other, &cluster, ROLE_AGENT, "host3", "10.0.0.23");
	silent.reports = true;
	RUN_UNTIL(&other, manager_link_is_up(silent.link));
	cluster_must(&cluster, "dip 10.1.1.13 host3 vm3 if1 02:00:00:00:00:03");
	RUN_UNTIL(&other, silent.store.dips.n == 1);
	uint64_t begin_ms = uv_hrtime() / 1000000;
	RUN_UNTIL(&loop, has_event("host-gone", "host3"));
	uint64_t passed_ms = uv_hrtime() / 1000000 - begin_ms;
	ck_assert_msg(passed_ms >= 1400 && passed_ms < 3000, "%llu ms", (unsigned long long)passed_ms);
	check_event("host-gone", "host3", "agent not connected for 2.0 s");
	ck_assert_uint_eq(count_events("host-gone"), 1);
	test_node_end(&silent);
	uv_run(&other, UV_RUN_DEFAULT);
	uv_loop_close(&other);
	end(2);
}
END_TEST

START_TEST(when_most_hosts_vanish_nothing_changes_until_they_are_back)
{
	begin(1, 3, "settings 60 host_gone_ms=500");
	RUN_UNTIL(&loop, is_member("10.1.1.11") && is_member("10.1.1.12"));
	end_host(0);
	end_host(1);
	RUN_UNTIL(&loop, has_event("fail-static", "hosts"));
	check_event("fail-static", "hosts", "2 of 3 hosts are not connected, more than 50 %");
	ck_assert(is_counter("fail_static", 1));
	ck_assert(is_member("10.1.1.11") && is_member("10.1.1.12"));
	ck_assert_uint_eq(count_events("host-gone"), 0);
	begin_host(0);
	RUN_UNTIL(&loop, has_event("fail-static-over", "hosts"));
	RUN_UNTIL(&loop, !is_member("10.1.1.12")); // the one that stays away is gone
	ck_assert(is_member("10.1.1.11"));
	ck_assert_uint_eq(count_events("host-gone"), 1);
	ck_assert_uint_eq(count_events("fail-static"), 1);
	end(3);
}
END_TEST

START_TEST(new_settings_count_at_once)
{
	begin(1, 2, "settings 60 host_gone_ms=3600000");
	end_host(0);
	RUN_UNTIL(&loop, is_counter("hosts_away", 1));
	ck_assert_uint_eq(count_events("host-gone"), 0);
	cluster_must(&cluster, "settings 60 host_gone_ms=500");
	RUN_UNTIL(&loop, has_event("host-gone", "host1"));
	end(2);
}
END_TEST

// ---- reports ----

START_TEST(what_probes_found_becomes_generations)
{
	begin(1, 2, "settings 60");
	test_node_probed(&hosts[0], "10.1.1.11", WEB, "");
	RUN_UNTIL(&loop, is_member("10.1.1.11") && is_member("10.1.1.12"));
	test_node_probed(&hosts[0], "10.1.1.11", WEB, "tcp 8080: connection refused");
	RUN_UNTIL(&loop, !is_member("10.1.1.11"));
	check_event("dip-unhealthy", "10.1.1.11", WEB ": tcp 8080: connection refused");
	ck_assert(is_counter("dips_unhealthy", 1));
	test_node_probed(&hosts[1], "10.1.1.12", WEB, "tcp 8080: timeout");
	RUN_UNTIL(&loop, is_member("10.1.1.11") && is_member("10.1.1.12")); // fail open
	check_event("all-down", WEB, "");
	ck_assert(!is_refusing());
	test_node_probed(&hosts[0], "10.1.1.11", WEB, "");
	RUN_UNTIL(&loop, is_member("10.1.1.11") && !is_member("10.1.1.12"));
	check_event("all-down-over", WEB, "");
	check_event("dip-healthy", "10.1.1.11", "it was unhealthy for ");
	end(2);
}
END_TEST

START_TEST(a_vip_that_refuses_when_all_are_down_says_so_to_muxes)
{
	begin(1, 2, "settings 60");
	cluster_must(&cluster, "vip 203.0.113.10 shop refuse=1 web tcp 80 probe=8080 10.1.1.11:80 10.1.1.12:80");
	test_node_probed(&hosts[0], "10.1.1.11", WEB, "tcp 8080: timeout");
	test_node_probed(&hosts[1], "10.1.1.12", WEB, "tcp 8080: timeout");
	RUN_UNTIL(&loop, is_refusing());
	test_node_probed(&hosts[1], "10.1.1.12", WEB, "");
	RUN_UNTIL(&loop, !is_refusing() && !is_member("10.1.1.11"));
	end(2);
}
END_TEST

START_TEST(marks_of_health_are_not_for_clients_to_make)
{
	uint64_t version;
	struct error err;
	begin(1, 2, "settings 60");
	ck_assert_int_eq(cluster_command(&cluster, "gone host1", &version, &err), ERR_INVALID);
	ck_assert_int_eq(cluster_command(&cluster, "unhealthy 10.1.1.11 " WEB, &version, &err), ERR_INVALID);
	RUN_UNTIL(&loop, is_member("10.1.1.11"));
	end(2);
}
END_TEST

START_TEST(a_report_of_one_who_is_no_agent_ends_its_connection)
{
	begin(1, 2, "settings 60");
	uint32_t n_ups = mux.n_ups;
	test_node_probed(&mux, "10.1.1.11", WEB, "tcp 8080: timeout");
	RUN_UNTIL(&loop, mux.down_reason.code != 0);
	mux.reports = false;
	RUN_UNTIL(&loop, mux.n_ups > n_ups);
	ck_assert(is_counter("dips_unhealthy", 0));
	end(2);
}
END_TEST

START_TEST(a_change_of_the_leader_loses_nothing)
{
	begin(3, 2, "settings 60 host_gone_ms=2000");
	test_node_probed(&hosts[0], "10.1.1.11", WEB, "tcp 8080: timeout");
	RUN_UNTIL(&loop, !is_member("10.1.1.11"));
	test_node_tell_state(&mux, "draining");
	RUN_UNTIL(&loop, has_event("mux-state", "mux1"));
	struct event_list before = get_events();
	uint32_t n_elected = count_events("leader-elected");
	uint32_t leader = cluster_leader(&cluster);
	uint32_t n_ups = mux.n_ups;
	cluster_kill(&cluster, leader, SIGKILL);
	hosts[0].health.items[0].is_healthy = true; // found while there was no leader
	RUN_UNTIL(&loop, is_member("10.1.1.11"));
	RUN_UNTIL(&loop, mux.n_ups > n_ups && count_events("leader-elected") == n_elected + 1);
	struct event_list after = get_events();
	for (uint32_t i = 0; i < before.n; i++)
		ck_assert(memcmp(&before.items[i], &after.items[i], sizeof before.items[i]) == 0);
	event_list_fini(&before);
	event_list_fini(&after);
	ck_assert_uint_eq(count_events("dip-unhealthy"), 1);
	ck_assert_uint_eq(count_events("host-gone"), 0);
	ck_assert_uint_eq(count_events("mux-down"), 0);
	ck_assert_uint_eq(count_events("mux-up"), 0);
	test_node_tell_state(&mux, "drained");
	RUN_UNTIL(&loop, count_events("mux-state") == 3);
	check_event("mux-state", "mux1", "drained, before draining");
	end(2);
}
END_TEST

START_TEST(a_new_leader_marks_the_host_that_vanished_with_the_old_one)
{
	begin(3, 2, "settings 60 host_gone_ms=500");
	RUN_UNTIL(&loop, is_member("10.1.1.11") && is_member("10.1.1.12"));
	uint32_t leader = cluster_leader(&cluster);
	end_host(1);
	cluster_kill(&cluster, leader, SIGKILL);
	RUN_UNTIL(&loop, !is_member("10.1.1.12"));
	ck_assert(is_member("10.1.1.11"));
	ck_assert_uint_eq(count_events("host-gone"), 1);
	end(2);
}
END_TEST

// host1 stays, host2 went with the old leader, host3 comes again and again: as long as agents pour in, nobody is taken for gone.
START_TEST(who_may_be_on_the_way_to_a_new_leader_is_not_taken_for_gone)
{
	begin(3, 3, "settings 60 host_gone_ms=500 fail_static=100");
	uint32_t n_elected = count_events("leader-elected");
	uint32_t leader = cluster_leader(&cluster);
	end_host(1);
	cluster_kill(&cluster, leader, SIGKILL);
	RUN_UNTIL(&loop, count_events("leader-elected") > n_elected);
	uint64_t begin_ms = uv_hrtime() / 1000000;
	while (uv_hrtime() / 1000000 < begin_ms + HOST_WATCH_EXPECT_MS + 1500) {
		end_host(2);
		begin_host(2);
		RUN_UNTIL(&loop, manager_link_is_up(hosts[2].link));
		ck_assert_uint_eq(count_events("host-gone"), 0);
	}
	RUN_UNTIL(&loop, has_event("host-gone", "host2"));
	ck_assert_uint_eq(count_events("host-gone"), 1);
	end(3);
}
END_TEST

// ---- muxes ----

START_TEST(muxes_are_told_of_when_they_go_come_and_change_their_state)
{
	begin(1, 2, "settings 60");
	RUN_UNTIL(&loop, has_event("mux-state", "mux1"));
	check_event("mux-joined", "mux1", "10.0.0.31");
	check_event("mux-state", "mux1", "announcing");
	check_event("leader-elected", "manager 1", "term ");
	ck_assert_uint_eq(count_events("mux-up"), 0);
	test_node_tell_state(&mux, "fenced");
	RUN_UNTIL(&loop, count_events("mux-state") == 2);
	check_event("mux-state", "mux1", "fenced, before announcing");
	test_node_tell_state(&mux, "fenced");
	test_node_end(&mux);
	RUN_UNTIL(&loop, has_event("mux-down", "mux1"));
	check_event("mux-down", "mux1", "closed by the peer");
	test_node_begin(&mux, &loop, &cluster, ROLE_MUX, "mux1", "10.0.0.31");
	mux.state = "announcing";
	RUN_UNTIL(&loop, count_events("mux-state") == 3);
	check_event("mux-up", "mux1", "program test");
	ck_assert_uint_eq(count_events("mux-down"), 1);
	ck_assert_uint_eq(count_events("mux-up"), 1);
	end(2);
}
END_TEST

START_TEST(a_mux_that_did_not_come_to_the_new_leader_is_down)
{
	begin(3, 2, "settings 60");
	uint32_t leader = cluster_leader(&cluster);
	cluster_must(&cluster, "mux mux2 10.0.0.32"); // known, and never there
	cluster_kill(&cluster, leader, SIGKILL);
	RUN_UNTIL(&loop, has_event("mux-down", "mux2"));
	check_event("mux-down", "mux2", "did not come to the leader that was elected");
	ck_assert_uint_eq(count_events("mux-down"), 1);
	end(2);
}
END_TEST

START_TEST(a_drained_mux_is_told_and_the_last_one_is_not_drained)
{
	uint64_t version;
	struct error err;
	struct object_key key = object_key_of_name(OBJECT_MUX_DRAIN, "mux1");
	begin(1, 2, "settings 60");
	ck_assert_int_eq(cluster_command(&cluster, "muxdrain mux1", &version, &err), ERR_CONFLICT);
	cluster_must(&cluster, "mux mux2 10.0.0.32");
	cluster_must(&cluster, "muxdrain mux1");
	RUN_UNTIL(&loop, store_lookup_mark(&mux.store, &key) != NULL);
	check_event("mux-draining", "mux1", "");
	cluster_must(&cluster, "-muxdrain mux1");
	RUN_UNTIL(&loop, store_lookup_mark(&mux.store, &key) == NULL);
	check_event("mux-undrained", "mux1", "");
	end(2);
}
END_TEST

START_TEST(fencing_is_told)
{
	uv_loop_t other;
	struct test_node hung;
	begin(1, 2, "settings 60");
	uv_loop_init(&other);
	test_node_begin(&hung, &other, &cluster, ROLE_MUX, "mux2", "10.0.0.32");
	RUN_UNTIL(&other, manager_link_is_up(hung.link));
	cluster_must(&cluster, "vip 203.0.113.20 shop snat 10.1.1.11");
	RUN_UNTIL(&loop, has_event("mux-fenced", "mux2"));
	check_event("mux-fenced", "mux2", "has not acknowledged leases in 500 ms");
	RUN_UNTIL(&other, hung.n_fences == 1 && !hung.is_fenced);
	RUN_UNTIL(&loop, has_event("mux-unfenced", "mux2"));
	test_node_end(&hung);
	uv_run(&other, UV_RUN_DEFAULT);
	uv_loop_close(&other);
	end(2);
}
END_TEST

SUITE_MAIN("cluster_health", a_host_that_vanishes_gets_no_new_connections_until_it_is_back,
           a_host_is_back_only_when_its_probes_have_been_told, a_host_that_says_nothing_is_gone_after_the_same_time,
           when_most_hosts_vanish_nothing_changes_until_they_are_back, new_settings_count_at_once,
           what_probes_found_becomes_generations, a_vip_that_refuses_when_all_are_down_says_so_to_muxes,
           marks_of_health_are_not_for_clients_to_make, a_report_of_one_who_is_no_agent_ends_its_connection,
           a_change_of_the_leader_loses_nothing, a_new_leader_marks_the_host_that_vanished_with_the_old_one,
           who_may_be_on_the_way_to_a_new_leader_is_not_taken_for_gone,
           muxes_are_told_of_when_they_go_come_and_change_their_state,
           a_mux_that_did_not_come_to_the_new_leader_is_down, a_drained_mux_is_told_and_the_last_one_is_not_drained,
           fencing_is_told)
