// Leases on real managers, as processes: the order of an answer, muxes that hang, leaders that die.
#include "tests/support/suite.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>

#include "tests/unit/manager/cluster.h"
#include "tests/unit/manager/objects.h"

#define SEQ 1700000000000000ULL

static struct cluster cluster;
static uv_loop_t loop;

static void begin(uint32_t n)
{
	uv_loop_init(&loop);
	cluster_begin(&cluster, n);
	cluster_must(&cluster, "settings 0 rate=1000 ; host host1 10.0.0.21 ; host host2 10.0.0.22");
	cluster_must(&cluster, "dip 10.1.1.11 host1 vm1 if1 02:00:00:00:00:01 ; dip 10.1.1.12 host1 vm2 if2 "
	                       "02:00:00:00:00:02 ; dip 10.1.2.11 host2 vm3 if1 02:00:00:00:00:03");
	cluster_must(&cluster, "vip 203.0.113.10 shop snat prealloc=0 max=64 10.1.1.11 10.1.1.12 10.1.2.11");
}

static void end(void)
{
	uv_run(&loop, UV_RUN_DEFAULT);
	ck_assert_int_eq(uv_loop_close(&loop), 0);
	cluster_end(&cluster);
}

static void begin_mux(struct test_node *n, const char *name)
{
	test_node_begin(n, &loop, &cluster, ROLE_MUX, name, strcmp(name, "mux1") == 0 ? "10.0.0.31" : "10.0.0.32");
	RUN_UNTIL(&loop, manager_link_is_up(n->link));
}

static void begin_agent(struct test_node *n, const char *name)
{
	test_node_begin(n, &loop, &cluster, ROLE_AGENT, name, strcmp(name, "host1") == 0 ? "10.0.0.21" : "10.0.0.22");
	RUN_UNTIL(&loop, manager_link_is_up(n->link) && n->n_lease_snapshots > 0);
}

static void ask(struct test_node *n, const char *dip, uint64_t seq, uint32_t n_ports)
{
	uint32_t n_replies = n->n_replies;
	ck_assert(test_node_ask(n, dip, seq, n_ports));
	RUN_UNTIL(&loop, n->n_replies > n_replies);
	ck_assert_uint_eq(test_node_last_reply(n)->seq, seq);
}

// As many as that, by as many requests as it takes; returns the number of the next one.
static uint64_t ask_for_all(struct test_node *n, const char *dip, uint64_t seq, uint32_t n_ports)
{
	for (uint32_t n_got = 0; n_got < n_ports; seq++) {
		ask(n, dip, seq, n_ports - n_got < 65536 ? n_ports - n_got : 65536);
		ck_assert_uint_gt(test_node_last_reply(n)->n_ports, 0);
		n_got += test_node_last_reply(n)->n_ports;
	}
	return seq;
}

// ---- what the leader says of the leases ----

struct leases_answer {
	bool is_whole;
	struct lease_list leases;
	struct snat_pool_status pool; // the last one
};

static void on_leases(struct message *reply, const struct error *err, void *user)
{
	struct leases_answer *a = user;
	ck_assert_msg(reply != NULL, "%s", err != NULL ? err->text : "");
	for (uint32_t i = 0; i < reply->leases.leases.n; i++)
		ck_assert_int_eq(lease_list_append(&a->leases, &reply->leases.leases.items[i]), 0);
	if (reply->leases.n_pools > 0)
		a->pool = reply->leases.pools[reply->leases.n_pools - 1];
	a->is_whole = !reply->leases.more;
}

static struct leases_answer get_leases(struct test_node *through, const char *vip, uint16_t port, uint64_t at_ms)
{
	struct leases_answer a = { 0 };
	struct message request = { .type = MESSAGE_LEASES_REQUEST };
	if (vip[0] != '\0')
		request.leases_request.vip = addr_of(vip);
	request.leases_request.port = port;
	request.leases_request.at_ms = at_ms;
	ck_assert_int_eq(manager_link_request(through->link, &request, CLUSTER_WAIT_MS, on_leases, &a), 0);
	RUN_UNTIL(&loop, a.is_whole);
	return a;
}

static int compare_leases(const void *a, const void *b)
{
	const struct lease *x = a;
	const struct lease *y = b;
	int order = ip_addr_compare(&x->vip, &y->vip);
	return order != 0 ? order : (int)x->first_port - (int)y->first_port;
}

static void sort_leases(struct lease_list *list)
{
	if (list->n > 0)
		qsort(list->items, list->n, sizeof *list->items, compare_leases);
}

static void assert_equal_leases(struct lease_list *got, struct lease_list *want)
{
	sort_leases(got);
	sort_leases(want);
	ck_assert_uint_eq(got->n, want->n);
	for (uint32_t i = 0; i < got->n; i++) {
		ck_assert_int_eq(compare_leases(&got->items[i], &want->items[i]), 0);
		ck_assert_uint_eq(got->items[i].epoch, want->items[i].epoch);
		ck_assert(ip_addr_equal(&got->items[i].dip, &want->items[i].dip));
	}
}

// ---- the order of an answer ----

START_TEST(an_agent_has_its_leases_when_the_answer_comes_and_muxes_had_them_before)
{
	struct test_node mux, agent, other;
	begin(3);
	begin_mux(&mux, "mux1");
	begin_agent(&agent, "host1");
	begin_agent(&other, "host2");
	for (uint32_t i = 0; i < 4; i++) {
		ask(&agent, "10.1.1.11", SEQ + i, 8);
		const struct test_reply *r = test_node_last_reply(&agent);
		ck_assert_msg(r->err.code == 0, "%s", r->err.text);
		ck_assert_uint_gt(r->n_ports, 0);
		ck_assert_uint_eq(r->n_held_ports, test_node_ports(&agent, "10.1.1.11"));
		ck_assert_uint_ge(r->n_held_ports, 8 * (i + 1));
		ck_assert_uint_eq(test_node_ports(&mux, "10.1.1.11"), r->n_held_ports); // on the same loop: they came first
		ck_assert_uint_ge(mux.lease_version, agent.lease_version);
	}
	ck_assert_uint_eq(other.leases.n, 0);
	test_node_end(&mux);
	test_node_end(&agent);
	test_node_end(&other);
	end();
}
END_TEST

START_TEST(refusals_say_at_once_what_to_do)
{
	struct test_node agent;
	begin(1);
	begin_agent(&agent, "host1");
	ask(&agent, "10.1.1.11", SEQ, 1000);
	ck_assert_uint_eq(test_node_last_reply(&agent)->n_ports, 64); // as far as the limit goes
	ask(&agent, "10.1.1.11", SEQ + 1, 8);
	ck_assert_int_eq(test_node_last_reply(&agent)->err.code, ERR_LIMIT);
	ck_assert_str_eq(
		test_node_last_reply(&agent)->err.text,
		"10.1.1.11 has 64 ports of 203.0.113.10, which is max_ports_per_dip; raise it, or close connections");
	ask(&agent, "10.1.2.11", SEQ, 8);
	ck_assert_int_eq(test_node_last_reply(&agent)->err.code, ERR_CONFLICT);
	ck_assert_str_eq(test_node_last_reply(&agent)->err.text, "10.1.2.11 is not attached on host1");
	cluster_must(&cluster, "vip 203.0.113.10 shop snat prealloc=0 10.1.1.11 ; dip 10.1.1.13 host1 vm5 if5 "
	                       "02:00:00:00:00:05 ; vip 203.0.113.11 shop snat size=1024 first=64512 prealloc=0 10.1.1.13");
	ask(&agent, "10.1.1.12", SEQ, 8);
	ck_assert_int_eq(test_node_last_reply(&agent)->err.code, ERR_NOT_FOUND);
	ask(&agent, "10.1.1.13", SEQ, 8); // the only range there is
	ck_assert_uint_eq(test_node_last_reply(&agent)->n_ports, 1024);
	ask(&agent, "10.1.1.13", SEQ + 1, 8);
	ck_assert_int_eq(test_node_last_reply(&agent)->err.code, ERR_LIMIT);
	ck_assert_ptr_nonnull(strstr(test_node_last_reply(&agent)->err.text, "all ports of 203.0.113.11 are leased"));
	test_node_end(&agent);
	end();
}
END_TEST

START_TEST(a_mux_that_hangs_is_fenced_and_not_waited_for_and_free_when_it_has_caught_up)
{
	static uv_loop_t hanging;
	struct test_node mux1, mux2, agent;
	begin(3);
	uv_loop_init(&hanging);
	begin_mux(&mux1, "mux1");
	test_node_begin(&mux2, &hanging, &cluster, ROLE_MUX, "mux2", "10.0.0.32");
	RUN_UNTIL(&hanging, manager_link_is_up(mux2.link) && mux2.leases.n == 0);
	begin_agent(&agent, "host1");
	uint64_t asked_ns = uv_hrtime();
	ask(&agent, "10.1.1.11", SEQ, 8);
	uint64_t waited_ms = (uv_hrtime() - asked_ns) / 1000000;
	ck_assert_int_eq(test_node_last_reply(&agent)->err.code, 0);
	ck_assert_msg(waited_ms >= 400 && waited_ms < 3000, "%llu ms", (unsigned long long)waited_ms);
	asked_ns = uv_hrtime();
	ask(&agent, "10.1.1.11", SEQ + 1, 8); // now it is known
	ck_assert_uint_lt((uv_hrtime() - asked_ns) / 1000000, 400);
	RUN_UNTIL(&hanging, mux2.n_fences > 0 && !mux2.is_fenced);
	ck_assert_uint_eq(mux1.n_fences, 0);
	RUN_UNTIL(&hanging, mux2.lease_version >= mux1.lease_version);
	assert_equal_leases(&mux2.leases, &mux1.leases);
	test_node_end(&mux1);
	test_node_end(&mux2);
	uv_run(&hanging, UV_RUN_DEFAULT);
	uv_loop_close(&hanging);
	test_node_end(&agent);
	end();
}
END_TEST

START_TEST(a_request_that_is_repeated_is_granted_once_also_by_another_leader)
{
	struct test_node mux, agent;
	begin(3);
	begin_mux(&mux, "mux1");
	begin_agent(&agent, "host1");
	ask(&agent, "10.1.1.11", SEQ, 16);
	ask(&agent, "10.1.1.11", SEQ, 16);
	ck_assert_uint_eq(test_node_last_reply(&agent)->n_ports, 16);
	ck_assert_uint_eq(test_node_ports(&agent, "10.1.1.11"), 16);
	uint32_t n_ups = agent.n_ups;
	cluster_kill(&cluster, cluster_leader(&cluster), SIGKILL);
	RUN_UNTIL(&loop, agent.n_ups > n_ups && manager_link_is_up(agent.link) && manager_link_is_up(mux.link));
	ask(&agent, "10.1.1.11", SEQ, 16);
	ck_assert_int_eq(test_node_last_reply(&agent)->err.code, 0);
	ck_assert_uint_eq(test_node_last_reply(&agent)->n_ports, 16);
	ck_assert_uint_eq(test_node_ports(&agent, "10.1.1.11"), 16);
	ck_assert_uint_eq(test_node_ports(&mux, "10.1.1.11"), 16);
	test_node_end(&mux);
	test_node_end(&agent);
	end();
}
END_TEST

START_TEST(a_node_that_subscribes_anew_gets_all_of_its_leases)
{
	struct test_node mux, agent, other;
	begin(1);
	begin_mux(&mux, "mux1");
	begin_agent(&agent, "host1");
	begin_agent(&other, "host2");
	ask(&agent, "10.1.1.11", SEQ, 16);
	ask(&agent, "10.1.1.12", SEQ, 24);
	ask(&other, "10.1.2.11", SEQ, 32);
	test_node_end(&mux);
	test_node_end(&agent);
	begin_mux(&mux, "mux1");
	begin_agent(&agent, "host1");
	ck_assert_uint_eq(mux.leases.n, 9);
	ck_assert_uint_eq(test_node_ports(&agent, "10.1.1.11"), 16);
	ck_assert_uint_eq(test_node_ports(&agent, "10.1.1.12"), 24);
	ck_assert_uint_eq(agent.leases.n, 5);
	test_node_end(&mux);
	test_node_end(&agent);
	test_node_end(&other);
	end();
}
END_TEST

START_TEST(what_is_returned_or_revoked_ends_everywhere_and_the_log_knows_it)
{
	struct test_node mux, agent;
	uint64_t version;
	struct error err = { 0 };
	begin(1);
	begin_mux(&mux, "mux1");
	begin_agent(&agent, "host1");
	ask(&agent, "10.1.1.11", SEQ, 24);
	struct lease returned = agent.leases.items[0];
	ck_assert(test_node_return(&agent, &returned));
	RUN_UNTIL(&loop, agent.leases.n == 2 && mux.leases.n == 2);
	struct snat_op revoke = { .kind = SNAT_REVOKE,
		                      .vip = returned.vip,
		                      .first_port = agent.leases.items[0].first_port };
	struct snat_op_list ops = { .n = 1, .capacity = 1, .items = &revoke };
	ck_assert_int_eq(client_operate(cluster.client, &ops, &version, &err), 0);
	RUN_UNTIL(&loop, agent.leases.n == 1 && mux.leases.n == 1);
	ck_assert_int_eq(client_operate(cluster.client, &ops, &version, &err), ERR_NOT_FOUND);
	ck_assert_ptr_nonnull(strstr(err.text, "nobody holds port"));
	revoke = (struct snat_op){ .kind = SNAT_REQUEST, .dip = addr_of("10.1.1.11"), .seq = 5, .n_ports = 8 };
	ck_assert_int_eq(client_operate(cluster.client, &ops, &version, &err), ERR_INVALID);
	struct leases_answer held = get_leases(&agent, "203.0.113.10", 0, 0);
	assert_equal_leases(&held.leases, &agent.leases);
	ck_assert_uint_eq(held.pool.n_held, 8);
	ck_assert_uint_eq(held.pool.n_ports, 65536 - 1024);
	struct leases_answer had = get_leases(&agent, "203.0.113.10", returned.first_port, 0);
	ck_assert_uint_eq(had.leases.n, 1);
	ck_assert_uint_ne(had.leases.items[0].ended_ms, 0);
	lease_list_fini(&held.leases);
	lease_list_fini(&had.leases);
	test_node_end(&mux);
	test_node_end(&agent);
	end();
}
END_TEST

START_TEST(leases_that_do_not_fit_into_one_message_come_in_parts)
{
	struct test_node agent, mux;
	begin(1);
	begin_agent(&agent, "host1");
	cluster_must(&cluster, "vip 203.0.113.10 shop snat prealloc=0 max=65536 10.1.1.11");
	cluster_must(&cluster, "vip 203.0.113.11 shop snat prealloc=0 max=65536 10.1.1.11");
	(void)ask_for_all(&agent, "10.1.1.11", SEQ, 2 * (65536 - 1024));
	ck_assert_uint_eq(test_node_ports(&agent, "10.1.1.11"), 2 * (65536 - 1024));
	struct leases_answer all = get_leases(&agent, "", 0, 0);
	assert_equal_leases(&all.leases, &agent.leases);
	begin_mux(&mux, "mux1");
	assert_equal_leases(&mux.leases, &all.leases);
	lease_list_fini(&all.leases);
	test_node_end(&mux);
	test_node_end(&agent);
	end();
}
END_TEST

static uint64_t counter_of(uint32_t manager, const char *name)
{
	struct message request = { .type = MESSAGE_CLUSTER_REQUEST };
	struct message reply = { 0 };
	struct error err = { 0 };
	ck_assert_int_eq(client_ask(cluster.managers[manager].api, 1000, &request, &reply, &err), 0);
	for (uint32_t i = 0; i < reply.cluster.n_counters; i++)
		if (strcmp(reply.cluster.counters[i].name, name) == 0)
			return reply.cluster.counters[i].value;
	ck_abort_msg("no counter %s", name);
}

START_TEST(the_leader_counts_what_it_does)
{
	struct test_node agent;
	begin(1);
	begin_agent(&agent, "host1");
	ask(&agent, "10.1.1.11", SEQ, 24);
	ask(&agent, "10.1.1.11", SEQ, 24);
	ask(&agent, "10.1.2.11", SEQ, 24);
	ck_assert_uint_eq(counter_of(0, "snat_requests"), 3);
	ck_assert_uint_eq(counter_of(0, "snat_granted"), 1);
	ck_assert_uint_eq(counter_of(0, "snat_granted_ports"), 24);
	ck_assert_uint_eq(counter_of(0, "snat_repeated"), 1);
	ck_assert_uint_eq(counter_of(0, "snat_refused_foreign"), 1);
	ck_assert_uint_eq(counter_of(0, "snat_batches"), 2);
	ck_assert_uint_gt(counter_of(0, "snat_answer_p50_us"), 0);
	ck_assert_uint_eq(counter_of(0, "muxes_fenced"), 0);
	ck_assert_uint_eq(counter_of(0, "lease_floor"), counter_of(0, "lease_version"));
	ck_assert(test_node_ask(&agent, "10.1.1.12", SEQ, 24)); // and ends in order, with whatever is under way
	ck_assert_int_eq(kill(cluster.managers[0].pid, SIGTERM), 0);
	int status = cluster_wait_exit(&cluster, 0);
	ck_assert(WIFEXITED(status) && WEXITSTATUS(status) == 0);
	test_node_end(&agent);
	end();
}
END_TEST

// How often the log of a manager that leads has an event of a VIP.
static uint32_t count_events(uint32_t manager, const char *event, const char *vip)
{
	char path[128], line[512], want[128];
	uint32_t n = 0;
	(void)text_format(path, sizeof path, "%s/log%u", cluster.dir, manager + 1);
	(void)text_format(want, sizeof want, "event=event what=%s object=\"%s\" ", event, vip);
	FILE *file = fopen(path, "r");
	ck_assert_ptr_nonnull(file);
	while (fgets(line, sizeof line, file) != NULL)
		n += strstr(line, want) != NULL;
	fclose(file);
	return n;
}

// Of the 10 ranges of the pool of 203.0.113.11 the DIP has n then.
static void hold_ranges(struct test_node *n, uint32_t n_ranges)
{
	static uint64_t seq = SEQ;
	char command[128];
	struct ip_addr addr = addr_of("10.1.1.13");
	(void)text_format(command, sizeof command,
	                  "vip 203.0.113.11 shop snat size=1024 first=55296 prealloc=0 max=%u 10.1.1.13", 1024 * n_ranges);
	cluster_must(&cluster, command);
	uint32_t n_held = test_node_ports(n, "10.1.1.13") / 1024;
	if (n_held < n_ranges)
		seq = ask_for_all(n, "10.1.1.13", seq, 1024 * (n_ranges - n_held));
	for (uint32_t i = 0; n_held > n_ranges; i++) {
		ck_assert_uint_lt(i, n->leases.n);
		if (ip_addr_equal(&n->leases.items[i].dip, &addr) && test_node_return(n, &n->leases.items[i]))
			n_held--;
	}
	RUN_UNTIL(&loop, test_node_ports(n, "10.1.1.13") == 1024 * n_ranges);
}

// Pools are looked at in the order of their VIPs: when the event of a later one has come, the earlier ones were seen, too.
static void look_at_pools(struct test_node *n, const char *vip)
{
	static uint64_t seq = SEQ;
	char command[128];
	(void)text_format(command, sizeof command, "vip %s shop snat size=1024 first=64512 prealloc=0 10.1.1.14", vip);
	cluster_must(&cluster, command);
	ask(n, "10.1.1.14", seq++, 8);
	RUN_UNTIL(&loop, count_events(0, "snat-pool-exhausted", vip) == 1);
}

START_TEST(a_pool_that_fills_up_is_logged_once_and_again_after_it_was_below_70_percent)
{
	struct test_node agent;
	begin(1);
	begin_agent(&agent, "host1");
	cluster_must(&cluster, "dip 10.1.1.13 host1 vm5 if5 02:00:00:00:00:05");
	cluster_must(&cluster, "dip 10.1.1.14 host1 vm6 if6 02:00:00:00:00:06");
	hold_ranges(&agent, 7);
	look_at_pools(&agent, "203.0.113.20");
	ck_assert_uint_eq(count_events(0, "snat-pool-80-percent", "203.0.113.11"), 0);
	hold_ranges(&agent, 8);
	RUN_UNTIL(&loop, count_events(0, "snat-pool-80-percent", "203.0.113.11") == 1);
	hold_ranges(&agent, 7);
	look_at_pools(&agent, "203.0.113.21");
	hold_ranges(&agent, 8);
	look_at_pools(&agent, "203.0.113.22");
	ck_assert_uint_eq(count_events(0, "snat-pool-80-percent", "203.0.113.11"), 1);
	hold_ranges(&agent, 6);
	look_at_pools(&agent, "203.0.113.23");
	hold_ranges(&agent, 8);
	RUN_UNTIL(&loop, count_events(0, "snat-pool-80-percent", "203.0.113.11") == 2);
	hold_ranges(&agent, 10);
	RUN_UNTIL(&loop, count_events(0, "snat-pool-exhausted", "203.0.113.11") == 1);
	test_node_end(&agent);
	end();
}
END_TEST

START_TEST(a_host_that_is_gone_for_long_loses_its_leases)
{
	struct test_node mux, agent;
	begin(1);
	cluster_must(&cluster, "settings 0 gone=1 rate=1000");
	begin_mux(&mux, "mux1");
	begin_agent(&agent, "host1");
	ask(&agent, "10.1.1.11", SEQ, 24);
	ask(&agent, "10.1.1.12", SEQ, 8);
	ck_assert_uint_eq(mux.leases.n, 4);
	test_node_end(&agent);
	RUN_UNTIL(&loop, mux.leases.n == 0);
	begin_agent(&agent, "host1");
	ck_assert_uint_eq(agent.leases.n, 0);
	test_node_end(&mux);
	test_node_end(&agent);
	end();
}
END_TEST

// ---- a storm ----

enum { STORM_HOSTS = 2, STORM_DIPS = 12 };

struct storm_dip {
	char text[32];
	uint64_t seq;
	bool is_answered;
};

struct storm {
	struct test_node agents[STORM_HOSTS];
	struct storm_dip dips[STORM_HOSTS][STORM_DIPS];
	uint32_t seen[STORM_HOSTS]; // replies
	uint32_t n_answers;
	uint32_t n_refused;
};

static void configure_storm(struct storm *st)
{
	char command[256];
	static char vip[1024];
	memset(st, 0, sizeof *st);
	(void)text_copy(vip, sizeof vip, "vip 203.0.113.20 shop snat prealloc=0 max=512");
	for (uint32_t h = 0; h < STORM_HOSTS; h++) {
		for (uint32_t i = 0; i < STORM_DIPS; i++) {
			struct storm_dip *d = &st->dips[h][i];
			(void)text_format(d->text, sizeof d->text, "10.2.%u.%u", h + 1, 11 + i);
			d->seq = SEQ;
			d->is_answered = true;
			(void)text_format(command, sizeof command, "dip %s host%u vm%u s%u 02:00:00:00:01:%02x", d->text, h + 1, i,
			                  i, i);
			cluster_must(&cluster, command);
			(void)text_format(vip + strlen(vip), sizeof vip - strlen(vip), " %s", d->text);
		}
	}
	cluster_must(&cluster, vip);
	begin_agent(&st->agents[0], "host1");
	begin_agent(&st->agents[1], "host2");
}

static void note_replies(struct storm *st, uint32_t h)
{
	struct test_node *n = &st->agents[h];
	for (; st->seen[h] < n->n_replies; st->seen[h]++) {
		const struct test_reply *r = &n->replies[st->seen[h] % TEST_REPLIES_MAX];
		for (uint32_t i = 0; i < STORM_DIPS; i++) {
			struct storm_dip *d = &st->dips[h][i];
			struct ip_addr addr = addr_of(d->text);
			if (!ip_addr_equal(&r->dip, &addr) || r->seq != d->seq || d->is_answered)
				continue;
			d->is_answered = true;
			st->n_answers++;
			st->n_refused += r->err.code != 0;
		}
	}
}

// Whoever has its answer gives something back and asks for more; who has none repeats itself now and then.
static void drive_storm(struct storm *st, uint32_t h, bool asks_more)
{
	struct test_node *n = &st->agents[h];
	note_replies(st, h);
	for (uint32_t i = 0; i < STORM_DIPS; i++) {
		struct storm_dip *d = &st->dips[h][i];
		if (!d->is_answered) {
			(void)test_node_ask(n, d->text, d->seq, 16);
			continue;
		}
		if (!asks_more)
			continue;
		for (uint32_t k = 0; k < 4 && n->leases.n > 10 * STORM_DIPS; k++)
			(void)test_node_return(n, &n->leases.items[(uint32_t)rand() % n->leases.n]);
		d->seq++;
		d->is_answered = !test_node_ask(n, d->text, d->seq, 16);
		d->seq -= d->is_answered;
	}
}

static void on_tick(uv_timer_t *tick)
{
}

static bool run_storm_for(struct storm *st, uint64_t ms, bool asks_more)
{
	uint64_t end_ns = uv_hrtime() + ms * 1000000;
	bool is_done = false;
	uv_timer_t tick;
	uv_timer_init(&loop, &tick);
	while (!is_done && uv_hrtime() < end_ns) {
		uv_timer_start(&tick, on_tick, 3, 0);
		uv_run(&loop, UV_RUN_ONCE);
		is_done = !asks_more;
		for (uint32_t h = 0; h < STORM_HOSTS; h++) {
			drive_storm(st, h, asks_more);
			for (uint32_t i = 0; i < STORM_DIPS; i++)
				is_done = is_done && st->dips[h][i].is_answered;
		}
	}
	uv_close((uv_handle_t *)&tick, NULL);
	uv_run(&loop, UV_RUN_NOWAIT);
	return is_done;
}

static void assert_sound(struct storm *st, struct test_node *muxes)
{
	struct leases_answer all = get_leases(&st->agents[0], "203.0.113.20", 0, 0);
	sort_leases(&all.leases);
	for (uint32_t i = 1; i < all.leases.n; i++) {
		const struct lease *before = &all.leases.items[i - 1];
		ck_assert_uint_ge(all.leases.items[i].first_port, before->first_port + before->n_ports);
		ck_assert_uint_eq(all.leases.items[i].ended_ms, 0);
	}
	ck_assert_uint_eq(all.pool.n_held, all.leases.n * 8);
	ck_assert_uint_eq(all.pool.n_ports, 65536 - 1024);
	RUN_UNTIL(&loop, muxes[0].leases.n == all.leases.n && muxes[1].leases.n == all.leases.n &&
	                     st->agents[0].leases.n + st->agents[1].leases.n == all.leases.n);
	assert_equal_leases(&muxes[0].leases, &all.leases);
	assert_equal_leases(&muxes[1].leases, &all.leases);
	for (uint32_t i = 0; i < st->agents[1].leases.n; i++)
		ck_assert_int_eq(lease_list_append(&st->agents[0].leases, &st->agents[1].leases.items[i]), 0);
	assert_equal_leases(&st->agents[0].leases, &all.leases);
	// Nothing was lost: all that is not held can be leased once more, to the last range.
	uint32_t n_free = all.pool.n_ports - all.pool.n_held - all.pool.n_quarantined;
	ck_assert_uint_eq(all.pool.n_quarantined, 0);
	cluster_must(&cluster, "dip 10.1.1.13 host1 vm9 if9 02:00:00:00:00:09");
	cluster_must(&cluster, "vip 203.0.113.20 shop snat prealloc=0 max=65536 10.1.1.13");
	RUN_UNTIL(&loop, muxes[0].leases.n == 0);
	(void)ask_for_all(&st->agents[0], "10.1.1.13", SEQ, n_free + all.pool.n_held);
	lease_list_fini(&all.leases);
}

START_TEST(when_leaders_are_killed_in_a_storm_of_requests_no_range_is_held_twice_or_lost)
{
	static struct storm st;
	struct test_node muxes[2];
	unsigned seed = (unsigned)time(NULL);
	printf("seed %u\n", seed);
	srand(seed);
	begin(3);
	begin_mux(&muxes[0], "mux1");
	begin_mux(&muxes[1], "mux2");
	configure_storm(&st);
	for (uint32_t round = 0; round < 3; round++) {
		(void)run_storm_for(&st, 500, true);
		uint32_t leader = cluster_leader(&cluster);
		(void)run_storm_for(&st, 50, true);
		cluster_kill(&cluster, leader, SIGKILL);
		(void)run_storm_for(&st, 1500, true);
		cluster_start(&cluster, leader);
	}
	ck_assert(run_storm_for(&st, CLUSTER_WAIT_MS, false));
	printf("%u answers, %u of them refusals\n", st.n_answers, st.n_refused);
	ck_assert_uint_gt(st.n_answers, 1000);
	assert_sound(&st, muxes);
	for (uint32_t i = 0; i < 2; i++) {
		test_node_end(&muxes[i]);
		test_node_end(&st.agents[i]);
	}
	end();
}
END_TEST

SUITE_MAIN("cluster-snat", an_agent_has_its_leases_when_the_answer_comes_and_muxes_had_them_before,
           refusals_say_at_once_what_to_do,
           a_mux_that_hangs_is_fenced_and_not_waited_for_and_free_when_it_has_caught_up,
           a_request_that_is_repeated_is_granted_once_also_by_another_leader,
           a_node_that_subscribes_anew_gets_all_of_its_leases,
           what_is_returned_or_revoked_ends_everywhere_and_the_log_knows_it,
           leases_that_do_not_fit_into_one_message_come_in_parts, the_leader_counts_what_it_does,
           a_pool_that_fills_up_is_logged_once_and_again_after_it_was_below_70_percent,
           a_host_that_is_gone_for_long_loses_its_leases,
           when_leaders_are_killed_in_a_storm_of_requests_no_range_is_held_twice_or_lost)
