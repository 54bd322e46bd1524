// Whatever commands, floors, slow subscribers and reconnections do, agents never know a lease that the muxes may not know, never
// lose one that stands, and in the end hold exactly their own.
#include "tests/support/suite.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

#include "common/base/memory.h"
#include "manager/core/distribution.h"
#include "tests/unit/manager/objects.h"

#define REQUIRE(condition)                                     \
	do {                                                       \
		if (!(condition))                                      \
			ck_abort_msg("line %d: %s", __LINE__, #condition); \
	} while (0)

enum { N_NODES = 4, N_STEPS = 200000 };

static struct cluster_state state;
static uint64_t now_ms;
static uint64_t lease_floor;
static uint64_t granted_in[1u << 22]; // the version of the lease with this epoch
static uint64_t versions_noted; // up to where granted_in is filled

// A node's end of a subscription.
struct node {
	struct distribution d;
	enum audience audience;
	const char *name;
	struct store store;
	uint64_t lease_version;
	struct lease_list leases;
	struct distribution_update under_way;
	bool is_under_way;
	unsigned n_replaced;
	unsigned n_deltas;
};

static struct node nodes[N_NODES];

static void note_grants(void)
{
	for (uint64_t v = versions_noted; v < state.snat.version; v++) {
		uint64_t at;
		struct lease lease;
		if (snat_state_seek_changes(&state.snat, v, &at) != 0)
			continue;
		while (snat_state_next_change(&state.snat, &at, v + 1, &lease))
			granted_in[lease.epoch] = lease.ended_ms == 0 ? v + 1 : granted_in[lease.epoch];
	}
	versions_noted = state.snat.version;
}

static void run(const char *text)
{
	struct state_command command = command_of(now_ms, text);
	struct apply_result result;
	struct error err;
	if (cluster_state_apply(&state, &command, &result, &err) == 0)
		apply_result_fini(&result);
	state_command_fini(&command);
	note_grants();
}

static void node_subscribe(struct node *n)
{
	if (n->is_under_way)
		distribution_update_fini(&n->under_way);
	n->is_under_way = false;
	uint64_t cluster_id = n->store.has_cluster ? n->store.cluster.cluster_id : 0;
	distribution_init(&n->d, n->audience, n->name, cluster_id, n->store.version, n->lease_version, &state);
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
	lease_list_fini(&n->leases);
	store_fini(&n->store);
}

// ---- the manager's turn ----

static void node_send(struct node *n)
{
	uint64_t f = n->audience == AUDIENCE_MUX ? LEASE_FLOOR_NONE : lease_floor;
	if (!distribution_is_due(&n->d, &state, f))
		return;
	REQUIRE(!n->is_under_way);
	REQUIRE(distribution_take_update(&n->d, &state, f, &n->under_way) == 0);
	n->is_under_way = true;
}

// The floor rises, and the agents that have something to hear of it are told so.
static void raise_floor(uint64_t to)
{
	uint64_t at, from = lease_floor;
	struct lease lease;
	lease_floor = to;
	bool is_known = snat_state_seek_changes(&state.snat, from, &at) == 0;
	for (int i = 0; i < N_NODES && !is_known; i++)
		distribution_note_leases(&nodes[i].d, from, to); // all may have news
	while (is_known && snat_state_next_change(&state.snat, &at, to, &lease)) {
		const struct dip_info *dip = store_lookup_dip(&state.store, &lease.dip);
		for (int i = 0; dip != NULL && i < N_NODES; i++)
			if (nodes[i].audience == AUDIENCE_AGENT && strcmp(nodes[i].name, dip->host) == 0)
				distribution_note_leases(&nodes[i].d, from, to);
	}
}

// Another replica leads: nothing of its predecessor's subscriptions and floor is left.
static void change_leader(void)
{
	if (rand() % 2 == 0)
		replace_by_snapshot(&state);
	lease_floor = 0;
	for (int i = 0; i < N_NODES; i++)
		node_subscribe(&nodes[i]);
}

// ---- the node's turn ----

static struct lease *find_lease(const struct lease_list *list, const struct lease *l)
{
	for (uint32_t i = 0; i < list->n; i++)
		if (list->items[i].first_port == l->first_port && ip_addr_equal(&list->items[i].vip, &l->vip))
			return &list->items[i];
	return NULL;
}

static void take_change(struct node *n, const struct lease *l)
{
	struct lease *old = find_lease(&n->leases, l);
	if (l->ended_ms == 0) {
		REQUIRE(old == NULL);
		REQUIRE(lease_list_append(&n->leases, l) == 0);
	} else if (old != NULL && old->epoch == l->epoch) {
		*old = n->leases.items[--n->leases.n];
	}
}

static void drop_leases_of_detached(struct node *n)
{
	uint32_t kept = 0;
	for (uint32_t i = 0; i < n->leases.n; i++)
		if (store_lookup_dip(&n->store, &n->leases.items[i].dip) != NULL)
			n->leases.items[kept++] = n->leases.items[i];
	n->leases.n = kept;
}

static bool stands(const struct lease *l)
{
	struct lease now;
	return snat_state_lookup(&state.snat, &l->vip, l->first_port, &now) && now.epoch == l->epoch;
}

// All leases anew: none is lost that the node had and that still stands.
static void replace_leases(struct node *n, const struct lease_list *all)
{
	for (uint32_t i = 0; i < n->leases.n; i++) {
		const struct lease *l = &n->leases.items[i];
		const struct lease *again = find_lease(all, l);
		REQUIRE(!stands(l) || (again != NULL && again->epoch == l->epoch));
	}
	n->leases.n = 0;
	for (uint32_t i = 0; i < all->n; i++)
		take_change(n, &all->items[i]);
	n->n_replaced++;
}

static void check_leases(const struct node *n)
{
	for (uint32_t i = 0; i < n->leases.n && n->audience == AUDIENCE_AGENT; i++) {
		const struct lease *l = &n->leases.items[i];
		const struct dip_info *dip = store_lookup_dip(&n->store, &l->dip);
		REQUIRE(granted_in[l->epoch] <= n->lease_version);
		REQUIRE(dip != NULL && strcmp(dip->host, n->name) == 0);
	}
}

static void node_receive(struct node *n)
{
	struct error err;
	if (!n->is_under_way)
		return;
	struct distribution_update *u = &n->under_way;
	REQUIRE(u->from_version == 0 || u->from_version == n->store.version);
	REQUIRE(store_apply_update(&n->store, &u->changes, u->from_version == 0, u->to_version) == 0);
	if (n->audience == AUDIENCE_AGENT)
		drop_leases_of_detached(n);
	if (u->replaces_leases)
		replace_leases(n, &u->leases);
	for (uint32_t i = 0; i < u->leases.n && !u->replaces_leases; i++)
		take_change(n, &u->leases.items[i]);
	n->n_deltas += !u->replaces_leases && u->leases.n > 0;
	REQUIRE(u->lease_version >= n->lease_version);
	n->lease_version = u->lease_version;
	check_leases(n);
	distribution_update_fini(u);
	n->is_under_way = false;
	REQUIRE(distribution_on_ack(&n->d, u->to_version, u->lease_version, &err) == 0);
	REQUIRE(n->d.acked_lease_version == n->lease_version);
}

static void check_converged(struct node *n)
{
	struct lease_list all = { 0 };
	struct ip_addr any = { { 0 } };
	uint32_t n_own = 0;
	raise_floor(state.snat.version);
	for (int i = 0; i < 3; i++) {
		node_receive(n);
		node_send(n);
	}
	REQUIRE(!n->is_under_way);
	REQUIRE(snat_state_list(&state.snat, &any, 0, 0, &all) == 0);
	for (uint32_t i = 0; i < all.n; i++) {
		const struct dip_info *dip = store_lookup_dip(&state.store, &all.items[i].dip);
		if (n->audience == AUDIENCE_AGENT && strcmp(dip->host, n->name) != 0)
			continue;
		const struct lease *own = find_lease(&n->leases, &all.items[i]);
		REQUIRE(own != NULL && own->epoch == all.items[i].epoch && ip_addr_equal(&own->dip, &all.items[i].dip));
		n_own++;
	}
	REQUIRE(n_own == n->leases.n);
	lease_list_fini(&all);
}

// ---- what happens ----

static unsigned pick(unsigned *seed, unsigned n)
{
	return (unsigned)rand_r(seed) % n;
}

static uint64_t next_seq;

static void random_command(unsigned *seed)
{
	char text[256];
	unsigned dip = pick(seed, 8) + 1, vip = pick(seed, 3) + 1;
	now_ms += pick(seed, 100);
	switch (pick(seed, 12)) {
	case 0:
		(void)text_format(text, sizeof text,
		                  "vip 203.0.113.%u shop snat size=1024 first=49152 prealloc=%u 10.1.1.%u 10.1.1.%u", vip,
		                  pick(seed, 3) * 1024, dip, (dip + 3) % 8 + 1);
		break;
	case 1: (void)text_format(text, sizeof text, "-vip 203.0.113.%u", vip); break;
	case 2: (void)text_format(text, sizeof text, "-dip 10.1.1.%u", dip); break;
	case 3:
		(void)text_format(text, sizeof text, "-dip 10.1.1.%u ; dip 10.1.1.%u host%u vm if%u 02:00:00:00:00:01", dip,
		                  dip, pick(seed, 3), dip);
		break;
	case 4:
	case 5:
		(void)text_format(text, sizeof text, "dip 10.1.1.%u host%u vm if%u 02:00:00:00:00:01", dip, pick(seed, 3), dip);
		break;
	case 6:
	case 7:
	case 8: (void)text_format(text, sizeof text, "revoke 203.0.113.%u:%u", vip, 49152 + pick(seed, 16) * 1024); break;
	default:
		(void)text_format(text, sizeof text, "request 10.1.1.%u %llu 1024", dip, (unsigned long long)++next_seq);
		break;
	}
	run(text);
}

// More changes than the ring holds.
static void overflow_ring(void)
{
	char text[128];
	run("vip 203.0.113.9 shop snat size=8 prealloc=0 max=65536 10.1.1.1 ; dip 10.1.1.1 host0 vm if1 02:00:00:00:00:01");
	for (unsigned i = 0; i < SNAT_CHANGES_CAPACITY / 4096 / 2 + 2; i++) {
		(void)text_format(text, sizeof text, "request 10.1.1.1 %llu 32768", (unsigned long long)++next_seq);
		run(text);
		run("revoke 10.1.1.1");
	}
	run("-vip 203.0.113.9");
}

static void random_step(unsigned *seed)
{
	struct node *n = &nodes[pick(seed, N_NODES)];
	switch (pick(seed, 8)) {
	case 0:
	case 1: random_command(seed); break;
	case 2:
	case 3: node_send(n); break;
	case 4:
	case 5: node_receive(n); break;
	case 6: raise_floor(lease_floor + pick(seed, (unsigned)(state.snat.version - lease_floor) + 1)); break;
	default:
		if (pick(seed, 40) == 0)
			node_subscribe(n); // the connection broke
		else if (pick(seed, 200) == 0)
			change_leader();
		else if (pick(seed, 50) == 0)
			check_converged(n);
		break;
	}
}

static void begin(void)
{
	ck_assert_int_eq(cluster_state_init(&state), 0);
	now_ms = TEST_TIME_MS;
	lease_floor = versions_noted = next_seq = 0;
	must_apply(&state,
	           "cluster 7 ; settings 0 log=0 ; host host0 10.0.0.20 ; host host1 10.0.0.21 ; host host2 10.0.0.22");
	must_apply(&state, "dip 10.1.1.1 host0 vm if1 02:00:00:00:00:01 ; dip 10.1.1.2 host1 vm if2 02:00:00:00:00:01");
}

START_TEST(whatever_happens_every_node_comes_to_hold_its_own_leases_and_none_too_early)
{
	const char *env = getenv("ANANTA_TEST_SEED");
	unsigned seed = env != NULL ? (unsigned)strtoul(env, NULL, 10) : (unsigned)time(NULL);
	printf("seed %u (repeat with ANANTA_TEST_SEED=%u)\n", seed, seed);
	srand(seed);
	begin();
	node_begin(&nodes[0], AUDIENCE_MUX, "mux1");
	for (int i = 1; i < N_NODES; i++)
		node_begin(&nodes[i], AUDIENCE_AGENT, (const char *[]){ "host0", "host1", "host2" }[i - 1]);
	for (int step = 0; step < N_STEPS; step++) {
		random_step(&seed);
		if (step % (N_STEPS / 3) == N_STEPS / 4)
			overflow_ring();
	}
	for (int i = 0; i < N_NODES; i++) {
		check_converged(&nodes[i]);
		printf("%s: %u times all, %u deltas\n", nodes[i].name, nodes[i].n_replaced, nodes[i].n_deltas);
		ck_assert_uint_gt(nodes[i].n_replaced, 2);
		ck_assert_uint_gt(nodes[i].n_deltas, 100);
		node_end(&nodes[i]);
	}
	cluster_state_fini(&state);
}
END_TEST

// ---- one thing at a time ----

static void send_and_receive(struct node *n)
{
	node_send(n);
	node_receive(n);
}

START_TEST(an_agent_gets_a_grant_when_the_floor_has_passed_it)
{
	begin();
	run("vip 203.0.113.1 shop snat prealloc=0 10.1.1.1");
	node_begin(&nodes[1], AUDIENCE_AGENT, "host0");
	send_and_receive(&nodes[1]);
	ck_assert_uint_eq(nodes[1].n_replaced, 1); // at once: there is nothing that the floor could withhold
	run("request 10.1.1.1 1 8");
	run("request 10.1.1.1 2 8");
	lease_floor = 0;
	ck_assert(!distribution_is_due(&nodes[1].d, &state, lease_floor));
	distribution_note_leases(&nodes[1].d, 0, 1);
	lease_floor = 1;
	send_and_receive(&nodes[1]);
	ck_assert_uint_eq(nodes[1].leases.n, 1);
	ck_assert_uint_eq(nodes[1].lease_version, 1);
	lease_floor = 2;
	ck_assert(!distribution_is_due(&nodes[1].d, &state, lease_floor)); // it has not been told of any news
	distribution_note_leases(&nodes[1].d, 1, 2);
	send_and_receive(&nodes[1]);
	ck_assert_uint_eq(nodes[1].leases.n, 3); // twice as many as the first time
	node_end(&nodes[1]);
	cluster_state_fini(&state);
}
END_TEST

START_TEST(under_a_new_leader_an_agent_keeps_its_leases_until_the_floor_is_known)
{
	begin();
	run("vip 203.0.113.1 shop snat prealloc=80 10.1.1.1");
	lease_floor = 1;
	node_begin(&nodes[1], AUDIENCE_AGENT, "host0");
	send_and_receive(&nodes[1]);
	ck_assert_uint_eq(nodes[1].leases.n, 10);
	lease_floor = 0; // no mux has reported yet
	node_subscribe(&nodes[1]);
	run("mux mux1 10.0.0.31");
	send_and_receive(&nodes[1]); // the configuration does not wait
	ck_assert_uint_eq(nodes[1].store.muxes.n, 1);
	ck_assert_uint_eq(nodes[1].leases.n, 10);
	ck_assert_uint_eq(nodes[1].n_replaced, 1);
	lease_floor = 1;
	send_and_receive(&nodes[1]);
	ck_assert_uint_eq(nodes[1].n_replaced, 2);
	ck_assert_uint_eq(nodes[1].leases.n, 10);
	node_end(&nodes[1]);
	cluster_state_fini(&state);
}
END_TEST

START_TEST(a_mux_goes_on_from_the_version_that_it_has)
{
	begin();
	run("vip 203.0.113.1 shop snat prealloc=8 10.1.1.1");
	node_begin(&nodes[0], AUDIENCE_MUX, "mux1");
	send_and_receive(&nodes[0]);
	ck_assert_uint_eq(nodes[0].n_replaced, 1);
	run("request 10.1.1.1 1 8");
	node_subscribe(&nodes[0]);
	ck_assert_uint_eq(nodes[0].d.acked_lease_version, 1);
	send_and_receive(&nodes[0]);
	ck_assert_uint_eq(nodes[0].n_replaced, 1);
	ck_assert_uint_eq(nodes[0].leases.n, 2);
	struct distribution d;
	struct distribution_update u;
	distribution_init(&d, AUDIENCE_MUX, "mux1", 8, state.store.version, 1, &state); // of another cluster
	ck_assert_uint_eq(d.acked_lease_version, 0);
	ck_assert_int_eq(distribution_take_update(&d, &state, LEASE_FLOOR_NONE, &u), 0);
	ck_assert(u.replaces_leases);
	distribution_update_fini(&u);
	distribution_init(&d, AUDIENCE_MUX, "mux1", 7, state.store.version, 3, &state); // of the future
	ck_assert_int_eq(distribution_take_update(&d, &state, LEASE_FLOOR_NONE, &u), 0);
	ck_assert(u.replaces_leases);
	struct error err;
	ck_assert_int_eq(distribution_on_ack(&d, u.to_version, u.lease_version - 1, &err), ERR_INVALID);
	ck_assert_int_eq(distribution_on_ack(&d, u.to_version, u.lease_version, &err), 0);
	distribution_update_fini(&u);
	node_end(&nodes[0]);
	cluster_state_fini(&state);
}
END_TEST

START_TEST(an_update_that_finds_no_memory_is_made_later)
{
	begin();
	run("vip 203.0.113.1 shop snat 10.1.1.1 10.1.1.2");
	for (int audience = AUDIENCE_MUX; audience <= AUDIENCE_AGENT; audience++) {
		struct distribution d;
		struct distribution_update u;
		int code = ERR_NO_MEMORY;
		distribution_init(&d, (enum audience)audience, "host0", 0, 0, 0, &state);
		for (uint64_t n = 0; code != 0; n++) {
			struct distribution before = d;
			memory_fail_after(n);
			code = distribution_take_update(&d, &state, LEASE_FLOOR_NONE, &u);
			memory_fail_after(UINT64_MAX);
			ck_assert(code == 0 || (code == ERR_NO_MEMORY && memcmp(&d, &before, sizeof d) == 0));
		}
		ck_assert_uint_eq(u.leases.n, audience == AUDIENCE_MUX ? 40 : 20);
		distribution_update_fini(&u);
	}
	cluster_state_fini(&state);
}
END_TEST

SUITE_MAIN("snat_distribution", whatever_happens_every_node_comes_to_hold_its_own_leases_and_none_too_early,
           an_agent_gets_a_grant_when_the_floor_has_passed_it,
           under_a_new_leader_an_agent_keeps_its_leases_until_the_floor_is_known,
           a_mux_goes_on_from_the_version_that_it_has, an_update_that_finds_no_memory_is_made_later)
