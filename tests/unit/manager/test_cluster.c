// Real managers, as processes: elections, kill -9, subscriptions, statuses.
#include "tests/support/suite.h"

#include <signal.h>
#include <string.h>
#include <sys/wait.h>

#include "tests/unit/manager/cluster.h"
#include "tests/unit/manager/objects.h"

static struct cluster cluster;
static uv_loop_t loop;

static void begin(uint32_t n)
{
	uv_loop_init(&loop);
	cluster_begin(&cluster, n);
}

static void end(void)
{
	uv_run(&loop, UV_RUN_DEFAULT);
	ck_assert_int_eq(uv_loop_close(&loop), 0);
	cluster_end(&cluster);
}

static struct store get_state(void)
{
	struct store state;
	struct error err = { 0 };
	ck_assert_msg(client_get_state(cluster.client, &state, &err) == 0, "%s", err.text);
	return state;
}

START_TEST(a_command_is_answered_by_its_version_and_comes_to_every_replica)
{
	begin(3);
	ck_assert_uint_eq(cluster_must(&cluster, "vip 203.0.113.10 shop web tcp 80 10.1.1.11:80"),
	                  2); // 1: the cluster itself
	for (uint32_t i = 0; i < 3; i++)
		cluster_wait_version(&cluster, i, 2);
	struct store state = get_state();
	ck_assert_uint_eq(state.version, 2);
	ck_assert_uint_eq(state.vips.n, 1);
	ck_assert(state.has_cluster);
	store_fini(&state);
	end();
}
END_TEST

START_TEST(a_refusal_comes_back_with_its_sentence)
{
	uint64_t version;
	struct error err;
	begin(1);
	ck_assert_int_eq(cluster_command(&cluster, "-vip 203.0.113.10", &version, &err), ERR_NOT_FOUND);
	ck_assert_str_eq(err.text, "vip: 203.0.113.10 is not configured");
	ck_assert_int_eq(cluster_command(&cluster, "cluster 5", &version, &err), ERR_INVALID);
	ck_assert_ptr_nonnull(strstr(err.text, "is made by the managers themselves"));
	ck_assert_int_eq(cluster_command(&cluster, "", &version, &err), ERR_INVALID);
	end();
}
END_TEST

START_TEST(the_leader_drops_generations_when_their_time_has_come)
{
	struct test_node mux;
	begin(3);
	struct ip_addr vip = addr_of("203.0.113.10");
	cluster_must(&cluster, "vip 203.0.113.10 shop drain_s=2 web tcp 80 10.1.1.11:80 10.1.1.12:80");
	test_node_begin(&mux, &loop, &cluster, ROLE_MUX, "mux1", "10.0.0.31");
	RUN_UNTIL(&loop, manager_link_is_up(mux.link)); // so that no version is its registration
	uint64_t version = cluster_must(&cluster, "vip 203.0.113.10 shop drain_s=2 web tcp 80 10.1.1.12:80");
	RUN_UNTIL(&loop, mux.store.version == version);
	const struct vip_history *h = store_lookup_history(&mux.store, &vip);
	ck_assert_ptr_nonnull(h);
	ck_assert_uint_eq(h->endpoints[0].n_generations, 2);
	ck_assert_uint_eq(h->n_gone, 2);
	RUN_UNTIL(&loop, mux.store.version == version + 1);
	ck_assert_ptr_null(store_lookup_history(&mux.store, &vip));
	for (uint32_t i = 0; i < 3; i++)
		cluster_wait_version(&cluster, i, version + 1);
	test_node_end(&mux);
	end();
}
END_TEST

START_TEST(a_history_is_not_for_clients_to_change)
{
	uint64_t version;
	struct error err;
	begin(1);
	ck_assert_int_eq(cluster_command(&cluster, "-history 203.0.113.10", &version, &err), ERR_INVALID);
	ck_assert_str_eq(err.text, "history: is made by the managers themselves");
	struct store state = get_state();
	ck_assert(cluster_info_has_pin_key(&state.cluster));
	store_fini(&state);
	end();
}
END_TEST

START_TEST(when_the_leader_is_killed_another_leads_with_everything_and_it_catches_up)
{
	char command[96];
	begin(3);
	uint64_t version = cluster_must(&cluster, "mux mux1 10.0.0.31");
	for (unsigned round = 0; round < 3; round++) {
		uint32_t leader = cluster_leader(&cluster);
		cluster_kill(&cluster, leader, SIGKILL);
		struct store state = get_state();
		ck_assert_uint_eq(state.version, version);
		store_fini(&state);
		(void)text_format(command, sizeof command, "mux round%u 10.0.1.%u", round, round + 1);
		ck_assert_uint_eq(cluster_must(&cluster, command), ++version);
		cluster_start(&cluster, leader);
		cluster_wait_version(&cluster, leader, version);
	}
	end();
}
END_TEST

START_TEST(all_killed_and_started_again_hold_what_was_acknowledged)
{
	char command[96];
	begin(3);
	for (unsigned i = 1; i <= 50; i++) {
		(void)text_format(command, sizeof command, "vip 203.0.113.%u shop web tcp 80 10.1.1.%u:80", i, i);
		ck_assert_uint_eq(cluster_must(&cluster, command), i + 1);
	}
	struct store before = get_state();
	for (uint32_t i = 0; i < 3; i++)
		cluster_kill(&cluster, i, SIGKILL);
	for (uint32_t i = 0; i < 3; i++)
		cluster_start(&cluster, i);
	struct store after = get_state();
	ck_assert(store_equal(&before, &after));
	store_fini(&before);
	store_fini(&after);
	end();
}
END_TEST

START_TEST(without_a_majority_a_command_is_not_acknowledged)
{
	struct message request = { .type = MESSAGE_CLUSTER_REQUEST };
	struct message reply = { 0 };
	struct error err = { 0 };
	begin(3);
	uint64_t version = cluster_must(&cluster, "mux mux1 10.0.0.31");
	uint32_t leader = cluster_leader(&cluster);
	for (uint32_t i = 0; i < 3; i++)
		if (i != leader)
			cluster_kill(&cluster, i, SIGKILL);
	struct client *impatient;
	struct client_config config = { .n_managers = 1, .managers = { cluster.managers[leader].api }, .timeout_ms = 1500 };
	ck_assert_int_eq(client_create(&config, &impatient, &err), 0);
	struct change_list changes = changes_of("mux mux2 10.0.0.32");
	int code = client_command(impatient, &changes, &version, &err);
	ck_assert_msg(code == ERR_TIMEOUT || code == ERR_UNAVAILABLE, "%d %s", code, err.text);
	ck_assert_int_eq(client_ask(cluster.managers[leader].api, 1000, &request, &reply, &err), 0); // still says how it is
	ck_assert(!reply.cluster.is_leader);
	change_list_fini(&changes);
	client_destroy(impatient);
	end();
}
END_TEST

START_TEST(subscribers_follow_every_change_and_every_leader)
{
	char command[96];
	struct test_node mux, agent;
	begin(3);
	test_node_begin(&mux, &loop, &cluster, ROLE_MUX, "mux1", "10.0.0.31");
	test_node_begin(&agent, &loop, &cluster, ROLE_AGENT, "host1", "10.0.0.21");
	RUN_UNTIL(&loop,
	          store_lookup_mux(&agent.store, "mux1") != NULL && store_lookup_host(&agent.store, "host1") != NULL);
	uint64_t version = 0;
	for (unsigned round = 0; round < 3; round++) {
		(void)text_format(command, sizeof command, "vip 203.0.113.%u shop web tcp 80 10.1.1.11:80", round + 1);
		cluster_must(&cluster, command);
		(void)text_format(command, sizeof command, "dip 10.1.1.%u host1 vm if%u 02:00:00:00:00:01", 11 + round, round);
		version = cluster_must(&cluster, command);
		RUN_UNTIL(&loop, mux.store.vips.n == round + 1 && agent.store.version == version);
		uint32_t leader = cluster_leader(&cluster);
		uint32_t n_ups = mux.n_ups;
		cluster_kill(&cluster, leader, SIGKILL);
		RUN_UNTIL(&loop, mux.n_ups > n_ups && manager_link_is_up(agent.link) && manager_link_is_up(mux.link));
		cluster_start(&cluster, leader);
	}
	struct store state = get_state();
	ck_assert_uint_eq(mux.store.vips.n, 3);
	ck_assert_uint_eq(mux.store.dips.n, 0);
	ck_assert_uint_eq(agent.store.vips.n, 3);
	ck_assert_uint_eq(agent.store.dips.n, 3);
	ck_assert_uint_eq(agent.store.version, state.version);
	ck_assert_uint_eq(mux.n_snapshots, 1); // what it held stayed of use
	store_fini(&state);
	test_node_end(&mux);
	test_node_end(&agent);
	end();
}
END_TEST

START_TEST(a_newer_subscription_of_the_same_node_wins)
{
	struct test_node older, newer;
	begin(1);
	test_node_begin(&older, &loop, &cluster, ROLE_MUX, "mux1", "10.0.0.31");
	RUN_UNTIL(&loop, manager_link_is_up(older.link));
	test_node_begin(&newer, &loop, &cluster, ROLE_MUX, "mux1", "10.0.0.31");
	RUN_UNTIL(&loop, manager_link_is_up(newer.link) && older.down_reason.code != 0);
	test_node_end(&older);
	RUN_UNTIL(&loop, manager_link_is_up(newer.link));
	uint64_t version = cluster_must(&cluster, "mux mux2 10.0.0.32");
	RUN_UNTIL(&loop, newer.store.version == version);
	test_node_end(&newer);
	end();
}
END_TEST

START_TEST(a_node_with_the_address_of_another_is_not_subscribed)
{
	struct test_node mux, thief;
	begin(1);
	test_node_begin(&mux, &loop, &cluster, ROLE_MUX, "mux1", "10.0.0.31");
	RUN_UNTIL(&loop, manager_link_is_up(mux.link));
	test_node_begin(&thief, &loop, &cluster, ROLE_AGENT, "host1", "10.0.0.31");
	uint64_t version = cluster_must(&cluster, "mux mux2 10.0.0.32");
	RUN_UNTIL(&loop, mux.store.version == version);
	ck_assert_uint_eq(thief.n_ups, 0);
	struct store state = get_state();
	ck_assert_uint_eq(state.hosts.n, 0);
	store_fini(&state);
	test_node_end(&thief);
	test_node_end(&mux);
	end();
}
END_TEST

static void on_nodes(struct message *reply, const struct error *err, void *user)
{
	struct node_status *found = user;
	ck_assert_ptr_nonnull(reply);
	ck_assert_int_eq(reply->type, MESSAGE_NODES_REPLY);
	for (uint32_t i = 0; i < reply->nodes.n; i++) {
		found[i] = reply->nodes.items[i];
		found[i].counters = NULL;
		if (reply->nodes.items[i].n_counters > 0)
			ck_assert_uint_eq(reply->nodes.items[i].counters[0].value, 42);
	}
}

START_TEST(nodes_answer_for_themselves_and_who_is_gone_is_unreachable)
{
	struct test_node mux, agent;
	struct node_status found[4] = { 0 };
	struct message request = { .type = MESSAGE_NODES_REQUEST };
	begin(1);
	cluster_must(&cluster, "host host9 10.0.0.29"); // known, never there
	test_node_begin(&mux, &loop, &cluster, ROLE_MUX, "mux1", "10.0.0.31");
	test_node_begin(&agent, &loop, &cluster, ROLE_AGENT, "host1", "10.0.0.21");
	RUN_UNTIL(&loop, manager_link_is_up(mux.link) && manager_link_is_up(agent.link));
	// Asked over the mux's own link, so that this loop, on which the nodes live, runs.
	ck_assert_int_eq(manager_link_request(mux.link, &request, CLUSTER_WAIT_MS, on_nodes, found), 0);
	RUN_UNTIL(&loop, found[2].name[0] != '\0');
	ck_assert_str_eq(found[0].name, "mux1");
	ck_assert_str_eq(found[0].state, "ready");
	ck_assert_uint_ge(found[0].version, mux.store.version);
	ck_assert_str_eq(found[1].name, "host1");
	ck_assert_str_eq(found[1].state, "ready");
	ck_assert_uint_eq(found[1].n_counters, 1);
	ck_assert_str_eq(found[2].name, "host9");
	ck_assert_str_eq(found[2].state, "unreachable");
	ck_assert_uint_eq(found[2].n_counters, 0);
	test_node_end(&mux);
	test_node_end(&agent);
	end();
}
END_TEST

START_TEST(a_node_that_does_not_answer_is_unreachable_after_a_second)
{
	struct test_node mux;
	struct node_list nodes;
	struct error err = { 0 };
	begin(1);
	test_node_begin(&mux, &loop, &cluster, ROLE_MUX, "mux1", "10.0.0.31");
	RUN_UNTIL(&loop, manager_link_is_up(mux.link));
	ck_assert_int_eq(client_get_nodes(cluster.client, ROLE_MUX, "", &nodes, &err), 0); // its loop does not run
	ck_assert_uint_eq(nodes.n, 1);
	ck_assert_str_eq(nodes.items[0].state, "unreachable");
	node_list_fini(&nodes);
	ck_assert_int_eq(client_get_nodes(cluster.client, ROLE_MUX, "mux7", &nodes, &err), 0);
	ck_assert_uint_eq(nodes.n, 0);
	node_list_fini(&nodes);
	test_node_end(&mux);
	end();
}
END_TEST

START_TEST(a_connected_node_is_not_removed)
{
	struct test_node mux;
	uint64_t version;
	struct error err;
	begin(1);
	test_node_begin(&mux, &loop, &cluster, ROLE_MUX, "mux1", "10.0.0.31");
	RUN_UNTIL(&loop, manager_link_is_up(mux.link));
	ck_assert_int_eq(cluster_command(&cluster, "-mux mux1", &version, &err), ERR_CONFLICT);
	ck_assert_ptr_nonnull(strstr(err.text, "mux: \"mux1\" is connected"));
	test_node_end(&mux);
	do { // its connection is closed in a moment
		(void)!cluster_command(&cluster, "-mux mux1", &version, &err);
	} while (err.code == ERR_CONFLICT);
	ck_assert_int_eq(err.code, 0);
	end();
}
END_TEST

// 200 VIPs of 512 DIPs: a snapshot of several messages.
START_TEST(a_large_state_comes_in_parts_and_takes_effect_as_a_whole)
{
	enum { N_VIPS = 200, N_DIPS = 512 };
	static char command[64 + N_DIPS * 24];
	struct test_node mux;
	begin(3);
	for (unsigned i = 1; i <= N_VIPS; i++) {
		(void)text_format(command, sizeof command, "vip 203.0.113.%u shop web tcp 80", i);
		for (unsigned k = 0; k < N_DIPS; k++) {
			size_t used = strlen(command);
			(void)text_format(command + used, sizeof command - used, " 10.1.%u.%u:80", k / 250, k % 250 + 1);
		}
		cluster_must(&cluster, command);
	}
	struct store state = get_state();
	ck_assert_uint_eq(state.vips.n, N_VIPS);
	test_node_begin(&mux, &loop, &cluster, ROLE_MUX, "mux1", "10.0.0.31");
	RUN_UNTIL(&loop, manager_link_is_up(mux.link));
	ck_assert_uint_eq(mux.store.vips.n, N_VIPS);
	for (unsigned i = 0; i < N_VIPS; i++)
		ck_assert(vip_config_equal(store_vip(&state, i), store_vip(&mux.store, i)));
	store_fini(&state);
	test_node_end(&mux);
	end();
}
END_TEST

START_TEST(a_signal_to_stop_ends_a_manager_with_0)
{
	begin(3);
	(void)cluster_leader(&cluster);
	for (uint32_t i = 0; i < 3; i++) {
		ck_assert_int_eq(kill(cluster.managers[i].pid, i == 0 ? SIGINT : SIGTERM), 0);
		int status = cluster_wait_exit(&cluster, i);
		ck_assert(WIFEXITED(status) && WEXITSTATUS(status) == 0);
	}
	end();
}
END_TEST

SUITE_MAIN("cluster", a_command_is_answered_by_its_version_and_comes_to_every_replica,
           a_refusal_comes_back_with_its_sentence, the_leader_drops_generations_when_their_time_has_come,
           a_history_is_not_for_clients_to_change,
           when_the_leader_is_killed_another_leads_with_everything_and_it_catches_up,
           all_killed_and_started_again_hold_what_was_acknowledged, without_a_majority_a_command_is_not_acknowledged,
           subscribers_follow_every_change_and_every_leader, a_newer_subscription_of_the_same_node_wins,
           a_node_with_the_address_of_another_is_not_subscribed,
           nodes_answer_for_themselves_and_who_is_gone_is_unreachable,
           a_node_that_does_not_answer_is_unreachable_after_a_second, a_connected_node_is_not_removed,
           a_large_state_comes_in_parts_and_takes_effect_as_a_whole, a_signal_to_stop_ends_a_manager_with_0)
