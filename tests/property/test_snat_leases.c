// Random commands on VIPs, DIPs, settings and leases, carried out by three replicas: two that only apply, and one that goes on
// from its own snapshot now and then. All three always agree, and no lease ever breaks a rule: an independent record of the
// leases, kept from the changes that subscribers are told of, is checked after every command.
#include "tests/support/suite.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

#include "common/base/memory.h"
#include "tests/unit/manager/objects.h"

enum { N_VIPS = 4, N_DIPS = 8, N_COMMANDS = 20000, N_PORTS = 65536, FIRST_PORT = 57344 };

struct port { // of a VIP, by the record
	unsigned dip; // 0: not leased
	uint32_t epoch;
	uint64_t freed_ms; // 0: never leased
};

struct record {
	uint64_t lease_version;
	uint32_t last_epoch;
	struct port ports[N_VIPS][N_PORTS];
	uint32_t n_held[N_VIPS][N_DIPS + 1]; // ports
	uint64_t seqs[N_DIPS + 1];
};

// libcheck's assertions note each time where they were, in a file: too slow for what is asserted of every port.
#define REQUIRE(condition)                                     \
	do {                                                       \
		if (!(condition))                                      \
			ck_abort_msg("line %d: %s", __LINE__, #condition); \
	} while (0)

static unsigned pick(unsigned *seed, unsigned n)
{
	return (unsigned)rand_r(seed) % n;
}

static unsigned number_of(const struct ip_addr *addr)
{
	return addr->bytes[15];
}

// ---- the record ----

static void record_grant(struct record *r, const struct cluster_state *s, const struct lease *l)
{
	unsigned vip = number_of(&l->vip) - 1;
	uint64_t quarantine_ms = s->store.settings.snat_quarantine_s * 1000ULL;
	const struct vip_config *config = store_lookup_vip(&s->store, &l->vip);
	r->n_held[vip][number_of(&l->dip)] += l->n_ports;
	REQUIRE(r->n_held[vip][number_of(&l->dip)] <= config->snat.max_ports_per_dip);
	REQUIRE(l->epoch > r->last_epoch);
	r->last_epoch = l->epoch;
	REQUIRE(l->granted_ms == s->snat.clock_ms);
	for (uint32_t port = l->first_port; port < l->first_port + (uint32_t)l->n_ports; port++) {
		struct port *p = &r->ports[vip][port];
		REQUIRE(p->dip == 0); // nobody else has it
		REQUIRE(p->freed_ms == 0 || p->freed_ms + quarantine_ms <= l->granted_ms);
		p->dip = number_of(&l->dip);
		p->epoch = l->epoch;
	}
}

static void record_end(struct record *r, const struct cluster_state *s, const struct lease *l)
{
	unsigned vip = number_of(&l->vip) - 1;
	REQUIRE(l->ended_ms == s->snat.clock_ms);
	r->n_held[vip][number_of(&l->dip)] -= l->n_ports;
	for (uint32_t port = l->first_port; port < l->first_port + (uint32_t)l->n_ports; port++) {
		struct port *p = &r->ports[vip][port];
		REQUIRE(p->dip == number_of(&l->dip));
		REQUIRE(p->epoch == l->epoch);
		p->dip = 0;
		p->freed_ms = l->ended_ms;
	}
}

static void follow(struct record *r, const struct cluster_state *s)
{
	uint64_t at;
	struct lease lease;
	REQUIRE(snat_state_seek_changes(&s->snat, r->lease_version, &at) == 0);
	while (snat_state_next_change(&s->snat, &at, s->snat.version, &lease)) {
		if (lease.ended_ms == 0)
			record_grant(r, s, &lease);
		else
			record_end(r, s, &lease);
	}
	r->lease_version = s->snat.version;
}

// A pool is forgotten when nothing of it is held or quarantined; a longer quarantine does not bring it back.
static void follow_forgotten(struct record *r, const struct cluster_state *s)
{
	uint64_t quarantine_ms = s->store.settings.snat_quarantine_s * 1000ULL;
	for (unsigned i = 0; i < N_VIPS; i++) {
		struct ip_addr addr = ip_addr_from_v4(be32_from(0xcb007101u + i));
		if (snat_state_lookup_pool(&s->snat, &addr) != NULL)
			continue;
		for (uint32_t port = 0; port < N_PORTS; port++) {
			struct port *p = &r->ports[i][port];
			REQUIRE(p->dip == 0 && (p->freed_ms == 0 || p->freed_ms + quarantine_ms <= s->snat.clock_ms));
			p->freed_ms = 0;
		}
	}
}

static bool may_hold(const struct cluster_state *s, const struct vip_config *vip, const struct ip_addr *dip)
{
	bool is_listed = false;
	for (uint32_t i = 0; vip != NULL && i < vip->n_snat_dips; i++)
		is_listed = is_listed || ip_addr_equal(&vip->snat_dips[i], dip);
	return is_listed && store_lookup_dip(&s->store, dip) != NULL;
}

static void check_pool(const struct record *r, const struct cluster_state *s, unsigned i)
{
	struct ip_addr addr = ip_addr_from_v4(be32_from(0xcb007101u + i));
	const struct vip_config *vip = store_lookup_vip(&s->store, &addr);
	struct lease_list list = { 0 };
	struct snat_pool_counts counts;
	uint32_t n_held = 0, n_recorded = 0;
	REQUIRE(snat_state_list(&s->snat, &addr, 0, 0, &list) == 0);
	for (uint32_t k = 0; k < list.n; k++) {
		const struct lease *l = &list.items[k];
		REQUIRE(may_hold(s, vip, &l->dip));
		REQUIRE(l->n_ports == vip->snat.range_size);
		REQUIRE(l->first_port >= vip->snat.first_port);
		for (uint32_t e = 0; e < vip->n_endpoints; e++)
			REQUIRE(!lease_has_port(l, vip->endpoints[e].port));
		REQUIRE(r->ports[i][l->first_port].epoch == l->epoch);
		n_held += l->n_ports;
	}
	for (uint32_t port = 0; port < N_PORTS; port++)
		n_recorded += r->ports[i][port].dip != 0;
	REQUIRE(n_held == n_recorded);
	snat_state_pool_status(&s->snat, &addr, s->snat.clock_ms, s->store.settings.snat_quarantine_s, &counts);
	REQUIRE(counts.n_held == n_held);
	REQUIRE(vip == NULL || vip->n_snat_dips == 0 || counts.n_held <= counts.n_ports);
	lease_list_fini(&list);
}

// ---- commands ----

static void random_vip(unsigned *seed, char *buf, size_t size)
{
	static const unsigned sizes[] = { 256, 256, 256, 1024 };
	unsigned range = sizes[pick(seed, 4)];
	int n = snprintf(buf, size, "vip 203.0.113.%u shop", pick(seed, N_VIPS) + 1);
	if (pick(seed, 2) == 0)
		n += snprintf(buf + n, size - n, " web tcp %u 10.1.1.1:80 ,", FIRST_PORT + pick(seed, N_PORTS - FIRST_PORT));
	n += snprintf(buf + n, size - n, " snat size=%u first=%u prealloc=%u max=%u", range,
	              FIRST_PORT + pick(seed, 2) * 1024, pick(seed, 3) * 512, 1024 + pick(seed, 8) * 512);
	for (unsigned i = 1; i <= N_DIPS; i++)
		if (i == 1 || pick(seed, 3) != 0)
			n += snprintf(buf + n, size - n, " 10.1.1.%u", i);
}

static void random_op(unsigned *seed, const struct cluster_state *s, struct record *r, char *buf, size_t size)
{
	unsigned dip = pick(seed, N_DIPS) + 1, vip = pick(seed, N_VIPS), port = FIRST_PORT + pick(seed, 32) * 256;
	const struct port *p = &r->ports[vip][port];
	switch (pick(seed, 6)) {
	case 0:
	case 1:
		r->seqs[dip] += pick(seed, 5) != 0;
		(void)snprintf(buf, size, "request 10.1.1.%u %llu %u", dip, (unsigned long long)r->seqs[dip] + 1,
		               pick(seed, 4) * 256);
		return;
	case 2:
	case 3:
	case 4:
		(void)snprintf(buf, size, "return 10.1.1.%u 203.0.113.%u:%u %u", p->dip != 0 ? p->dip : dip, vip + 1, port,
		               p->epoch);
		return;
	default:
		if (pick(seed, 10) == 0)
			(void)snprintf(buf, size, "revoke 10.1.1.%u", dip);
		else
			(void)snprintf(buf, size, "revoke 203.0.113.%u:%u", vip + 1, port);
		return;
	}
}

static void random_change(unsigned *seed, char *buf, size_t size)
{
	unsigned dip = pick(seed, N_DIPS) + 1;
	switch (pick(seed, 10)) {
	case 0: (void)snprintf(buf, size, "-vip 203.0.113.%u", pick(seed, N_VIPS) + 1); return;
	case 1: (void)snprintf(buf, size, "-dip 10.1.1.%u", dip); return;
	case 2: (void)snprintf(buf, size, "settings %u log=%u", pick(seed, 3) * 20, pick(seed, 2) * 60); return;
	case 3: (void)snprintf(buf, size, "vip 203.0.113.%u shop web tcp 80 10.1.1.1:80", pick(seed, N_VIPS) + 1); return;
	case 4:
	case 5: random_vip(seed, buf, size); return;
	default: (void)snprintf(buf, size, "dip 10.1.1.%u host%u vm if%u 02:00:00:00:00:01", dip, dip % 2, dip); return;
	}
}

static void random_command(unsigned *seed, const struct cluster_state *s, struct record *r, char *buf, size_t size)
{
	size_t n = 0;
	for (unsigned i = 0, n_items = 1 + pick(seed, 4); i < n_items && size - n > 256; i++) {
		if (i > 0)
			n += (size_t)snprintf(buf + n, size - n, " ; ");
		if (pick(seed, 12) == 0)
			random_change(seed, buf + n, size - n);
		else
			random_op(seed, s, r, buf + n, size - n);
		n += strlen(buf + n);
	}
}

static int apply(struct cluster_state *s, uint64_t time_ms, const char *text, struct apply_result *r, struct error *err)
{
	struct state_command command = command_of(time_ms, text);
	memset(err, 0, sizeof *err);
	*r = (struct apply_result){ 0 };
	int code = cluster_state_apply(s, &command, r, err);
	state_command_fini(&command);
	return code;
}

static void check_same_result(const struct apply_result *a, const struct apply_result *b)
{
	ck_assert_uint_eq(a->version, b->version);
	ck_assert_uint_eq(a->lease_version, b->lease_version);
	ck_assert(a->leases_changed == b->leases_changed && a->is_changed == b->is_changed);
	ck_assert_uint_eq(a->outcomes.n, b->outcomes.n);
	for (uint32_t i = 0; i < a->outcomes.n; i++) {
		const struct snat_outcome *x = &a->outcomes.items[i];
		const struct snat_outcome *y = &b->outcomes.items[i];
		ck_assert(x->result == y->result && x->n_ports == y->n_ports && x->seq == y->seq &&
		          ip_addr_equal(&x->vip, &y->vip) && ip_addr_equal(&x->dip, &y->dip));
	}
}

static void count_outcomes(const struct apply_result *result, unsigned *counts)
{
	for (uint32_t i = 0; i < result->outcomes.n; i++)
		counts[result->outcomes.items[i].result]++;
}

START_TEST(replicas_agree_and_no_lease_breaks_a_rule)
{
	const char *env = getenv("ANANTA_TEST_SEED");
	unsigned seed = env != NULL ? (unsigned)strtoul(env, NULL, 10) : (unsigned)time(NULL);
	printf("seed %u (repeat with ANANTA_TEST_SEED=%u)\n", seed, seed);
	struct record *r = calloc(1, sizeof *r);
	struct cluster_state states[3];
	unsigned n_outcomes[SNAT_NOT_HELD + 1] = { 0 };
	uint64_t now_ms = TEST_TIME_MS;
	for (int k = 0; k < 3; k++) {
		ck_assert_int_eq(cluster_state_init(&states[k]), 0);
		must_apply(&states[k], "settings 20 log=60 ; host host0 10.0.0.20 ; host host1 10.0.0.21 ; "
		                       "vip 203.0.113.1 shop snat size=256 first=57344 prealloc=512 10.1.1.1 10.1.1.2");
		must_apply(&states[k], "dip 10.1.1.1 host1 vm if1 02:00:00:00:00:01 ; cluster 7");
	}
	follow(r, &states[0]);
	for (int step = 0; step < N_COMMANDS; step++) {
		char text[4096];
		struct apply_result results[3];
		struct error errors[3];
		int code = 0;
		random_command(&seed, &states[0], r, text, sizeof text);
		now_ms += pick(&seed, 3) == 0 ? pick(&seed, 3000) : pick(&seed, 50);
		for (int k = 0; k < 3; k++) {
			int c = apply(&states[k], now_ms, text, &results[k], &errors[k]);
			ck_assert(k == 0 || c == code);
			code = c;
			if (k > 0) {
				ck_assert_str_eq(errors[0].text, errors[k].text);
				check_same_result(&results[0], &results[k]);
			}
		}
		count_outcomes(&results[0], n_outcomes);
		for (int k = 0; k < 3; k++)
			apply_result_fini(&results[k]);
		follow(r, &states[0]);
		if (results[0].is_changed)
			follow_forgotten(r, &states[0]);
		if (step % 20 == 0)
			for (unsigned i = 0; i < N_VIPS; i++)
				check_pool(r, &states[0], i);
		if (pick(&seed, 30) == 0) {
			ck_assert_msg(snapshots_are_equal(&states[0], &states[1]), "step %d", step);
			ck_assert_msg(snapshots_are_equal(&states[0], &states[2]), "step %d", step);
			replace_by_snapshot(&states[2]);
		}
	}
	ck_assert(snapshots_are_equal(&states[0], &states[2]));
	printf("%u granted, %u repeated, %u not configured, %u at the limit, %u with an empty pool, %u not held\n",
	       n_outcomes[SNAT_DONE], n_outcomes[SNAT_REPEATED], n_outcomes[SNAT_NOT_CONFIGURED], n_outcomes[SNAT_AT_LIMIT],
	       n_outcomes[SNAT_POOL_EMPTY], n_outcomes[SNAT_NOT_HELD]);
	for (int i = 0; i <= SNAT_NOT_HELD; i++)
		ck_assert_uint_gt(n_outcomes[i], 10);
	for (int k = 0; k < 3; k++)
		cluster_state_fini(&states[k]);
	free(r);
}
END_TEST

SUITE_MAIN("snat_leases", replicas_agree_and_no_lease_breaks_a_rule)
