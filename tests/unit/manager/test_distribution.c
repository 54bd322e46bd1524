// Subscribers that come, go, are slow and lose their connections always come to hold what is theirs of the state.
#include "tests/support/suite.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

#include "manager/core/distribution.h"
#include "tests/unit/manager/objects.h"

static struct cluster_state state;

// A node's end of a subscription: what it has put together.
struct node {
	struct distribution d;
	enum audience audience;
	const char *name;
	struct store store;
	struct distribution_update under_way;
	bool is_under_way;
	unsigned n_snapshots;
	unsigned n_deltas;
};

static void node_subscribe(struct node *n)
{
	if (n->is_under_way)
		distribution_update_fini(&n->under_way);
	n->is_under_way = false;
	uint64_t cluster_id = n->store.has_cluster ? n->store.cluster.cluster_id : 0;
	distribution_init(&n->d, n->audience, n->name, cluster_id, n->store.version, 0, &state);
}

static void node_begin(struct node *n, enum audience audience, const char *name)
{
	memset(n, 0, sizeof *n);
	store_init(&n->store);
	n->audience = audience;
	n->name = name;
	node_subscribe(n);
}

static void node_end(struct node *n)
{
	if (n->is_under_way)
		distribution_update_fini(&n->under_way);
	store_fini(&n->store);
}

// The manager's turn.
static void node_send(struct node *n)
{
	if (!distribution_is_due(&n->d, &state, LEASE_FLOOR_NONE))
		return;
	ck_assert(!n->is_under_way);
	ck_assert_int_eq(distribution_take_update(&n->d, &state, LEASE_FLOOR_NONE, &n->under_way), 0);
	n->is_under_way = true;
}

// The node's turn: applies what has arrived, and acknowledges.
static void node_receive(struct node *n)
{
	struct error err;
	if (!n->is_under_way)
		return;
	struct distribution_update *u = &n->under_way;
	if (u->from_version == 0) {
		store_fini(&n->store);
		n->n_snapshots++;
	} else {
		ck_assert_uint_eq(u->from_version, n->store.version);
		n->n_deltas++;
	}
	for (uint32_t i = 0; i < u->changes.n; i++)
		ck_assert_int_eq(store_apply(&n->store, &u->changes.items[i]), 0);
	n->store.version = u->to_version;
	distribution_update_fini(u);
	n->is_under_way = false;
	ck_assert_int_eq(distribution_on_ack(&n->d, u->to_version, u->lease_version, &err), 0);
}

static bool host_holds(const char *host, const struct ip_addr *addr)
{
	const struct vip_config *vip = store_lookup_vip(&state.store, addr);
	const struct vip_history *history = store_lookup_history(&state.store, addr);
	for (uint32_t i = 0; i < state.store.dips.n; i++) {
		const struct dip_info *dip = store_dip(&state.store, i);
		if (strcmp(dip->host, host) == 0 &&
		    (vip_config_has_dip(vip, &dip->dip) || (history != NULL && vip_history_has_dip(history, &dip->dip))))
			return true;
	}
	return false;
}

static bool node_wants(const struct node *n, const struct change *c)
{
	bool is_agent = n->audience == AUDIENCE_AGENT;
	switch (c->key.kind) {
	case OBJECT_CLUSTER:
	case OBJECT_SETTINGS:
	case OBJECT_MUX:
	case OBJECT_HOST: return true;
	case OBJECT_VIP:
	case OBJECT_HISTORY: return !is_agent || host_holds(n->name, &c->key.addr);
	case OBJECT_DIP: return dip_info_has_via(&c->dip) || (is_agent && strcmp(c->dip.host, n->name) == 0);
	case OBJECT_MUX_DRAIN: return !is_agent;
	case OBJECT_DRAIN:
	case OBJECT_UNHEALTHY:
	case OBJECT_HOST_GONE: break;
	}
	return false;
}

// By brute force: what this node has to hold.
static void collect_wanted(const struct node *n, struct store *wanted)
{
	struct change_list all;
	store_init(wanted);
	ck_assert_int_eq(store_get_all(&state.store, &all), 0);
	for (uint32_t i = 0; i < all.n; i++) {
		if (node_wants(n, &all.items[i]))
			ck_assert_int_eq(store_apply(wanted, &all.items[i]), 0);
	}
	wanted->version = state.store.version;
	change_list_fini(&all);
}

static void check_converged(struct node *n)
{
	struct store wanted;
	node_receive(n);
	node_send(n);
	node_receive(n);
	ck_assert(!distribution_is_due(&n->d, &state, LEASE_FLOOR_NONE));
	collect_wanted(n, &wanted);
	ck_assert_msg(store_equal(&n->store, &wanted), "%s at version %llu", n->name, (unsigned long long)wanted.version);
	store_fini(&wanted);
}

static void begin(void)
{
	ck_assert_int_eq(cluster_state_init(&state), 0);
	must_apply(&state, "cluster 7 ; mux mux1 10.0.0.31 ; host host1 10.0.0.21 ; host host2 10.0.0.22");
}

START_TEST(an_agent_learns_of_a_vip_when_one_of_its_dips_is_attached_and_forgets_it_again)
{
	struct node agent;
	struct ip_addr vip = addr_of("203.0.113.10");
	begin();
	must_apply(&state, "vip 203.0.113.10 shop web tcp 80 10.1.1.11:80");
	node_begin(&agent, AUDIENCE_AGENT, "host1");
	check_converged(&agent);
	ck_assert_ptr_null(store_lookup_vip(&agent.store, &vip));
	must_apply(&state, "dip 10.1.1.11 host1 vm1 if1 02:00:00:00:00:01");
	check_converged(&agent);
	ck_assert_ptr_nonnull(store_lookup_vip(&agent.store, &vip));
	must_apply(&state, "-dip 10.1.1.11");
	check_converged(&agent);
	ck_assert_ptr_null(store_lookup_vip(&agent.store, &vip));
	must_apply(&state, "dip 10.1.1.11 host2 vm1 if1 02:00:00:00:00:01");
	check_converged(&agent);
	ck_assert_ptr_null(store_lookup_vip(&agent.store, &vip));
	ck_assert_uint_eq(agent.n_snapshots, 1);
	node_end(&agent);
	cluster_state_fini(&state);
}
END_TEST

START_TEST(an_agent_that_held_a_dip_keeps_the_vip_and_its_history_until_it_is_forgotten)
{
	struct node agent, mux;
	struct ip_addr vip = addr_of("203.0.113.10");
	begin();
	must_apply(&state, "dip 10.1.1.11 host1 vm1 if1 02:00:00:00:00:01 ; dip 10.1.1.12 host2 vm2 if1 02:00:00:00:00:02");
	must_apply(&state, "vip 203.0.113.10 shop drain_s=60 web tcp 80 10.1.1.11:80 10.1.1.12:80");
	node_begin(&agent, AUDIENCE_AGENT, "host1");
	node_begin(&mux, AUDIENCE_MUX, "mux1");
	check_converged(&agent);
	check_converged(&mux);
	must_apply(&state, "vip 203.0.113.10 shop drain_s=60 web tcp 80 10.1.1.12:80");
	check_converged(&agent);
	check_converged(&mux);
	ck_assert_ptr_nonnull(store_lookup_vip(&agent.store, &vip));
	ck_assert_ptr_nonnull(store_lookup_history(&agent.store, &vip));
	must_apply(&state, "-dip 10.1.1.11"); // it is gone: nobody there can know a connection
	check_converged(&agent);
	check_converged(&mux);
	ck_assert_ptr_null(store_lookup_vip(&agent.store, &vip));
	ck_assert_ptr_null(store_lookup_history(&agent.store, &vip));
	ck_assert_uint_eq(store_lookup_history(&mux.store, &vip)->n_gone, 1);
	must_apply(&state, "dip 10.1.1.11 host1 vm1 if1 02:00:00:00:00:01"); // it is back
	check_converged(&agent);
	check_converged(&mux);
	ck_assert_ptr_nonnull(store_lookup_history(&agent.store, &vip));
	ck_assert_uint_eq(store_lookup_history(&mux.store, &vip)->n_gone, 0);
	(void)must_apply_at(&state, TEST_TIME_MS + 60000, "", NULL);
	check_converged(&agent);
	check_converged(&mux);
	ck_assert_ptr_null(store_lookup_vip(&agent.store, &vip));
	ck_assert_ptr_null(store_lookup_history(&mux.store, &vip));
	ck_assert_uint_eq(agent.n_snapshots, 1);
	node_end(&agent);
	node_end(&mux);
	cluster_state_fini(&state);
}
END_TEST

START_TEST(drains_are_told_to_nobody_as_such)
{
	struct node mux;
	struct ip_addr vip = addr_of("203.0.113.10");
	begin();
	must_apply(&state, "vip 203.0.113.10 shop web tcp 80 10.1.1.11:80 10.1.1.12:80");
	node_begin(&mux, AUDIENCE_MUX, "mux1");
	check_converged(&mux);
	must_apply(&state, "drain 10.1.1.11");
	check_converged(&mux);
	ck_assert_uint_eq(mux.store.drains.n, 0);
	ck_assert_uint_eq(endpoint_history_present(store_lookup_history(&mux.store, &vip)->endpoints)->n_members, 1);
	node_end(&mux);
	cluster_state_fini(&state);
}
END_TEST

START_TEST(a_mux_is_not_troubled_with_dips_that_come_and_go)
{
	struct node mux;
	begin();
	must_apply(&state, "vip 203.0.113.10 shop web tcp 80 10.1.1.11:80");
	node_begin(&mux, AUDIENCE_MUX, "mux1");
	check_converged(&mux);
	must_apply(&state, "dip 10.1.1.11 host1 vm1 if1 02:00:00:00:00:01");
	node_send(&mux);
	ck_assert(mux.is_under_way); // the version goes on
	ck_assert_uint_eq(mux.under_way.changes.n, 0);
	check_converged(&mux);
	node_end(&mux);
	cluster_state_fini(&state);
}
END_TEST

START_TEST(everybody_learns_of_a_via_and_of_its_end)
{
	struct node mux, agent;
	struct ip_addr dip = addr_of("10.1.1.11");
	begin();
	must_apply(&state, "dip 10.1.1.12 host1 vm2 if2 02:00:00:00:00:02 via=2001:db8:7::12");
	node_begin(&mux, AUDIENCE_MUX, "mux1");
	node_begin(&agent, AUDIENCE_AGENT, "host2");
	check_converged(&mux);
	check_converged(&agent);
	ck_assert_uint_eq(mux.store.dips.n, 1); // of a snapshot
	ck_assert_uint_eq(agent.store.dips.n, 1);
	static const char *const ends[] = { "dip 10.1.1.11 host1 vm1 if1 02:00:00:00:00:01", "-dip 10.1.1.11" };
	for (int i = 0; i < 2; i++) {
		must_apply(&state, "dip 10.1.1.11 host1 vm1 if1 02:00:00:00:00:01 via=2001:db8:7::11");
		check_converged(&mux);
		check_converged(&agent);
		const struct dip_info *known = store_lookup_dip(&mux.store, &dip);
		ck_assert(known != NULL && dip_info_has_via(known));
		ck_assert_ptr_nonnull(store_lookup_dip(&agent.store, &dip));
		must_apply(&state, ends[i]);
		check_converged(&mux);
		check_converged(&agent);
		ck_assert_ptr_null(store_lookup_dip(&mux.store, &dip));
		ck_assert_ptr_null(store_lookup_dip(&agent.store, &dip));
	}
	ck_assert_uint_eq(mux.n_snapshots + agent.n_snapshots, 2);
	node_end(&mux);
	node_end(&agent);
	cluster_state_fini(&state);
}
END_TEST

START_TEST(changes_while_an_update_is_under_way_go_together_into_the_next)
{
	struct node mux;
	begin();
	node_begin(&mux, AUDIENCE_MUX, "mux1");
	node_send(&mux);
	must_apply(&state, "mux mux2 10.0.0.32");
	must_apply(&state, "mux mux2 10.0.0.33");
	must_apply(&state, "mux mux3 10.0.0.34");
	ck_assert(!distribution_is_due(&mux.d, &state, LEASE_FLOOR_NONE));
	node_receive(&mux);
	node_send(&mux);
	ck_assert_uint_eq(mux.under_way.from_version, 1);
	ck_assert_uint_eq(mux.under_way.to_version, 4);
	ck_assert_uint_eq(mux.under_way.changes.n, 2);
	check_converged(&mux);
	node_end(&mux);
	cluster_state_fini(&state);
}
END_TEST

START_TEST(a_subscriber_that_holds_the_present_version_is_greeted_without_changes)
{
	struct node mux;
	begin();
	node_begin(&mux, AUDIENCE_MUX, "mux1");
	check_converged(&mux);
	node_subscribe(&mux);
	ck_assert(distribution_is_due(&mux.d, &state, LEASE_FLOOR_NONE));
	node_send(&mux);
	ck_assert_uint_eq(mux.under_way.from_version, state.store.version);
	ck_assert_uint_eq(mux.under_way.to_version, state.store.version);
	ck_assert_uint_eq(mux.under_way.changes.n, 0);
	check_converged(&mux);
	node_end(&mux);
	cluster_state_fini(&state);
}
END_TEST

START_TEST(the_version_of_another_cluster_or_of_the_future_is_worth_nothing)
{
	static const struct {
		uint64_t cluster_id;
		uint64_t version;
		bool wants_snapshot;
	} rows[] = { { 7, 1, false }, { 8, 1, true }, { 7, 2, true }, { 7, 0, true }, { 0, 1, true } };
	begin();
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		struct distribution d;
		struct distribution_update u;
		distribution_init(&d, AUDIENCE_MUX, "mux1", rows[i].cluster_id, rows[i].version, 0, &state);
		ck_assert_int_eq(distribution_take_update(&d, &state, LEASE_FLOOR_NONE, &u), 0);
		ck_assert((u.from_version == 0) == rows[i].wants_snapshot);
		distribution_update_fini(&u);
	}
	cluster_state_fini(&state);
}
END_TEST

START_TEST(an_acknowledgement_of_what_was_not_sent_is_refused)
{
	struct distribution d;
	struct distribution_update u;
	struct error err;
	begin();
	distribution_init(&d, AUDIENCE_MUX, "mux1", 0, 0, 0, &state);
	ck_assert_int_eq(distribution_on_ack(&d, 0, 0, &err), ERR_INVALID);
	ck_assert_int_eq(distribution_take_update(&d, &state, LEASE_FLOOR_NONE, &u), 0);
	ck_assert_int_eq(distribution_on_ack(&d, 9, 0, &err), ERR_INVALID);
	ck_assert_int_eq(distribution_on_ack(&d, 1, 0, &err), 0);
	ck_assert_int_eq(distribution_on_ack(&d, 1, 0, &err), ERR_INVALID);
	distribution_update_fini(&u);
	cluster_state_fini(&state);
}
END_TEST

static unsigned pick(unsigned *seed, unsigned n)
{
	return (unsigned)rand_r(seed) % n;
}

// Some are refused, which is fine.
static void random_command(unsigned *seed)
{
	static uint64_t now_ms = TEST_TIME_MS;
	now_ms += pick(seed, 20000);
	char text[512];
	struct apply_result result;
	struct error err;
	unsigned a = pick(seed, 12), b = pick(seed, 12), host = pick(seed, 3);
	switch (pick(seed, 10)) {
	case 0:
	case 1:
		(void)text_format(text, sizeof text,
		                  "vip 203.0.113.%u shop drain_s=300 web tcp 80 10.1.1.%u:80 10.1.1.%u:80 , snat 10.1.1.%u",
		                  pick(seed, 8) + 1, a + 1, (a + 1 + pick(seed, 11)) % 12 + 1, b + 1);
		break;
	case 7: (void)text_format(text, sizeof text, "drain 10.1.1.%u", a + 1); break;
	case 8: (void)text_format(text, sizeof text, "-drain 10.1.1.%u", a + 1); break;
	case 9: text[0] = '\0'; break;
	case 2: (void)text_format(text, sizeof text, "-vip 203.0.113.%u", pick(seed, 8) + 1); break;
	case 3: (void)text_format(text, sizeof text, "-dip 10.1.1.%u", a + 1); break;
	case 4: (void)text_format(text, sizeof text, "mux mux%u 10.0.0.%u", pick(seed, 3), pick(seed, 100) + 100); break;
	default:
		(void)text_format(text, sizeof text, "dip 10.1.1.%u host%u vm if%u 02:00:00:00:00:01", a + 1, host,
		                  pick(seed, 9));
		if (pick(seed, 3) == 0)
			(void)text_format(text + strlen(text), sizeof text - strlen(text), " via=2001:db8::%u", b + 1);
		break;
	}
	if (apply_text_at(&state, now_ms, text, &result, &err) == 0)
		apply_result_fini(&result);
}

// A burst that the change log cannot hold.
static void overflow_log(void)
{
	char text[64];
	for (unsigned i = 0; i < CHANGE_LOG_CAPACITY + 10; i++) {
		(void)text_format(text, sizeof text, "mux burst 10.8.%u.%u", i / 250, i % 250 + 1);
		must_apply(&state, text);
	}
}

START_TEST(whatever_happens_a_subscriber_comes_to_hold_what_is_its_own)
{
	const char *env = getenv("ANANTA_TEST_SEED");
	unsigned seed = env != NULL ? (unsigned)strtoul(env, NULL, 10) : (unsigned)time(NULL);
	printf("seed %u (repeat with ANANTA_TEST_SEED=%u)\n", seed, seed);
	struct node nodes[3];
	begin();
	must_apply(&state, "host host0 10.0.0.20");
	node_begin(&nodes[0], AUDIENCE_MUX, "mux1");
	node_begin(&nodes[1], AUDIENCE_AGENT, "host0");
	node_begin(&nodes[2], AUDIENCE_AGENT, "host1");
	for (int step = 0; step < 30000; step++) {
		struct node *n = &nodes[pick(&seed, 3)];
		switch (pick(&seed, 6)) {
		case 0:
		case 1: random_command(&seed); break;
		case 2: node_send(n); break;
		case 3: node_receive(n); break;
		case 4:
			if (pick(&seed, 10) == 0)
				node_subscribe(n); // the connection broke, with or without an update under way
			break;
		default:
			if (pick(&seed, 50) == 0)
				check_converged(n);
			break;
		}
		if (step % 10000 == 9999)
			overflow_log();
	}
	for (int i = 0; i < 3; i++) {
		check_converged(&nodes[i]);
		printf("%s: %u snapshots, %u deltas\n", nodes[i].name, nodes[i].n_snapshots, nodes[i].n_deltas);
		ck_assert_uint_gt(nodes[i].n_snapshots, 1);
		ck_assert_uint_gt(nodes[i].n_deltas, 100);
		node_end(&nodes[i]);
	}
	cluster_state_fini(&state);
}
END_TEST

SUITE_MAIN("distribution", an_agent_learns_of_a_vip_when_one_of_its_dips_is_attached_and_forgets_it_again,
           an_agent_that_held_a_dip_keeps_the_vip_and_its_history_until_it_is_forgotten,
           drains_are_told_to_nobody_as_such, a_mux_is_not_troubled_with_dips_that_come_and_go,
           everybody_learns_of_a_via_and_of_its_end, changes_while_an_update_is_under_way_go_together_into_the_next,
           a_subscriber_that_holds_the_present_version_is_greeted_without_changes,
           the_version_of_another_cluster_or_of_the_future_is_worth_nothing,
           an_acknowledgement_of_what_was_not_sent_is_refused,
           whatever_happens_a_subscriber_comes_to_hold_what_is_its_own)
