// Several hosts' agents, each with its own idea of an endpoint's history, and packets of connections that one of them knows:
// a packet reaches that one, or, when those who were asked disagree, is dropped; it is never adopted by another that matters.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/memory.h"
#include "common/model/flow_hash.h"
#include "hostagent/core/chain.h"
#include "hostagent/core/flows.h"
#include "tests/support/suite.h"
#include "tests/unit/hostagent/fixture.h"
#include "tests/unit/hostagent/flow_block.h"

#define VIP "203.0.113.10"
#define N_HOSTS 4
#define N_DIPS 7 // 10.1.N.I on host N: DIP i on host i % N_HOSTS
#define N_FLOWS_MAX 256
#define N_GENERATIONS 8
#define PACKETS_A_ROUND 60

struct host {
	struct store store;
	struct agent_config *config;
	struct agent agent;
	void *block;
};

struct world {
	struct host hosts[N_HOSTS];
	uint32_t n_generations;
	char generations[N_GENERATIONS][N_DIPS * 16];
	uint32_t seen[N_HOSTS]; // generations that the host knows of
	uint64_t seed;
};

static struct world w;

// ---- Addresses ----

static const char *dip_text(uint32_t i)
{
	static char text[N_DIPS][16];
	text_format(text[i], sizeof text[i], "10.1.%u.%u", i % N_HOSTS, 11 + i);
	return text[i];
}

static uint32_t dip_number(be32 dip)
{
	for (uint32_t i = 0; i < N_DIPS; i++)
		if (test_ip4(dip_text(i)) == dip)
			return i;
	ck_abort_msg("no such DIP");
	return 0;
}

static const char *host_addr(uint32_t host)
{
	static char text[N_HOSTS][16];
	text_format(text[host], sizeof text[host], "10.0.0.%u", 21 + host);
	return text[host];
}

static const char *host_name(uint32_t host)
{
	static char text[N_HOSTS][8];
	text_format(text[host], sizeof text[host], "host%u", host);
	return text[host];
}

// ---- The hosts ----

static void apply(struct store *s, struct change c)
{
	ck_assert_int_eq(store_apply(s, &c), 0);
	change_fini(&c);
	s->version++;
}

// All DIPs are in the configuration: who is not in the present generation is drained.
static struct vip_config *make_vip(void)
{
	struct vip_config *v = memory_array(1, sizeof *v);
	v->vip = test_addr(VIP);
	ck_assert(text_copy(v->tenant, sizeof v->tenant, "shop"));
	v->snat_dips = memory_array(0, sizeof *v->snat_dips);
	v->n_endpoints = 2;
	v->endpoints = memory_array(2, sizeof *v->endpoints);
	for (uint32_t e = 0; e < 2; e++) {
		struct endpoint *endpoint = &v->endpoints[e];
		text_format(endpoint->name, sizeof endpoint->name, "e%u", e);
		endpoint->protocol = e == 0 ? IP_PROTO_TCP : IP_PROTO_UDP;
		endpoint->port = e == 0 ? 80 : 53;
		endpoint->n_dips = N_DIPS;
		endpoint->dips = memory_array(N_DIPS, sizeof *endpoint->dips);
		for (uint32_t i = 0; i < N_DIPS; i++)
			endpoint->dips[i] = (struct endpoint_dip){ .dip = test_addr(dip_text(i)), .port = 8080, .weight = 1 };
	}
	return v;
}

static struct change history_of(uint32_t n_generations)
{
	const char *texts[N_GENERATIONS + 1] = { NULL };
	for (uint32_t g = 0; g < n_generations; g++)
		texts[g] = w.generations[g];
	return fixture_two_histories(VIP, texts, texts);
}

static void host_init(struct host *h, uint32_t number)
{
	memset(h, 0, sizeof *h);
	store_init(&h->store);
	apply(&h->store, fixture_cluster());
	apply(&h->store, test_put_node(OBJECT_MUX, "mux1", "10.0.0.31"));
	for (uint32_t i = 0; i < N_HOSTS; i++)
		apply(&h->store, test_put_node(OBJECT_HOST, host_name(i), host_addr(i)));
	for (uint32_t i = number; i < N_DIPS; i += N_HOSTS) {
		char interface[8];
		text_format(interface, sizeof interface, "vm%u", i);
		apply(&h->store, test_put_dip(dip_text(i), host_name(number), interface));
	}
	apply(&h->store, test_put_vip(make_vip()));
	struct agent_settings settings = { .uplink_mac = TEST_MAC_B, .address = test_ip4(host_addr(number)), .mss = 1440 };
	struct ip_addr gateway = test_addr("10.0.0.1");
	agent_init(&h->agent, &settings, &gateway, 1);
	struct arp_info arp = { .operation = ARP_REPLY, .sender_mac = TEST_MAC_A, .sender_ip = test_ip4("10.0.0.1") };
	neighbor_table_on_arp(&h->agent.neighbors, &arp, at_s(1000));
	h->block = flow_block_create(N_FLOWS_MAX);
	memset(h->agent.port_is_open, true, sizeof h->agent.port_is_open);
}

static void host_begin_round(struct host *h, uint32_t n_seen)
{
	apply(&h->store, history_of(n_seen));
	struct agent_config *config;
	ck_assert_int_eq(
		agent_config_create(&h->store, host_name((uint32_t)(h - w.hosts)), 4, test_names(), h->config, &config, NULL),
		0);
	agent_config_destroy(h->config);
	h->config = config;
	h->agent.config = config;
	flow_table_init(&h->agent.flows, h->block, N_FLOWS_MAX, TEST_SEED, TEST_OWNER, test_names(), at_s(1000));
	agent_use_flows(&h->agent, &h->agent.flows);
	agent_set_now(&h->agent, at_s(1000 + 10 * w.seed % 1000));
	token_bucket_init(&h->agent.chain_limit, AGENT_CHAIN_PPS, AGENT_CHAIN_PPS, h->agent.now);
}

static void host_fini(struct host *h)
{
	agent_config_destroy(h->config);
	store_fini(&h->store);
	free(h->block);
}

static void random_generations(void)
{
	w.n_generations = 1 + random_below(&w.seed, N_GENERATIONS);
	for (uint32_t g = 0; g < w.n_generations; g++) {
		uint32_t members = 1 + random_below(&w.seed, (1u << N_DIPS) - 1);
		char *text = w.generations[g];
		text[0] = '\0';
		for (uint32_t i = 0; i < N_DIPS; i++)
			if (members & 1u << i)
				text_format(text + strlen(text), sizeof w.generations[g] - strlen(text), "%s%s",
				            text[0] == '\0' ? "" : " ", dip_text(i));
	}
}

static void begin_round(uint32_t skew)
{
	random_generations();
	for (uint32_t i = 0; i < N_HOSTS; i++) {
		uint32_t behind = skew == 0 ? 0 : random_below(&w.seed, skew + 1);
		w.seen[i] = behind >= w.n_generations ? 1 : w.n_generations - behind;
		host_begin_round(&w.hosts[i], w.seen[i]);
	}
}

// ---- Connections and their packets ----

struct connection {
	struct flow_tuple tuple;
	uint64_t hash;
};

static struct connection connection_number(uint32_t n, uint8_t protocol)
{
	struct connection c = { .tuple = flow_number(n) };
	c.tuple.protocol = protocol;
	c.tuple.vip_port = be16_from(protocol == IP_PROTO_TCP ? 80 : 53);
	c.hash = flow_hash_v4(c.tuple.remote, c.tuple.vip, c.tuple.remote_port, c.tuple.vip_port, protocol, 5);
	return c;
}

static struct bucket_owners owners_at(uint32_t host, const struct connection *c)
{
	const struct endpoint_owners *o =
		agent_config_lookup_owners(w.hosts[host].config, c->tuple.vip, c->tuple.vip_port, c->tuple.protocol);
	return owners_of(o, c->hash);
}

// Who owned the bucket by the whole list of generations, whoever knows of it?
static struct bucket_owners owners_in_truth(const struct connection *c)
{
	struct store s;
	store_init(&s);
	apply(&s, history_of(w.n_generations));
	const struct vip_history *v = store_history(&s, 0);
	struct endpoint_owners *o;
	ck_assert_int_eq(owners_create(test_names(), v, &v->endpoints[c->tuple.protocol == IP_PROTO_TCP ? 0 : 1], &o), 0);
	struct bucket_owners b = owners_of(o, c->hash);
	owners_unref(o);
	store_fini(&s);
	return b;
}

static void establish(struct connection *c, be32 dip)
{
	struct agent *a = &w.hosts[dip_number(dip) % N_HOSTS].agent;
	c->tuple.dip = dip;
	struct flow_entry *e =
		flow_table_insert(&a->flows, &c->tuple, c->tuple.protocol == IP_PROTO_TCP ? FLOW_ESTABLISHED : FLOW_UDP);
	ck_assert_ptr_nonnull(e);
	agent_flow_began(a, e);
}

static struct test_frame packet_of(const struct connection *c, be32 dip)
{
	struct test_tuple t = { .src = "1.1.1.1", .dst = VIP, .src_port = be16_to(c->tuple.remote_port) };
	t.dst_port = be16_to(c->tuple.vip_port);
	struct test_frame inner =
		c->tuple.protocol == IP_PROTO_TCP ? test_tcp(&t, TCP_ACK, NULL, 20) : test_udp(&t, "query", 5);
	memcpy(test_data(&inner) + ETH_BYTES + 12, &c->tuple.remote, 4);
	test_fix_checksums(&inner);
	struct test_frame f = fixture_encapsulate("10.0.0.31", dip_text(dip_number(dip)), &inner);
	((struct ip4_header *)(test_data(&f) + ETH_BYTES))->id = 0; // as a mux has it
	test_fix_checksums(&f);
	return f;
}

struct way {
	uint32_t n_hops;
	uint32_t asked; // hosts, by bits
	enum agent_verdict verdict;
	enum drop_reason reason;
	be32 dip; // of AGENT_TO_VM
};

static struct way send(const struct connection *c, be32 dip)
{
	static struct test_frame f;
	f = packet_of(c, dip);
	struct agent_packet p = { .frame = test_data(&f), .len = f.len };
	struct way way = { 0 };
	for (;; way.n_hops++) {
		uint32_t host = dip_number(((const struct ip4_header *)(p.frame + ETH_BYTES))->dst) % N_HOSTS;
		memcpy(p.frame, &TEST_MAC_B, MAC_BYTES); // the network's part
		way.asked |= 1u << host;
		agent_inbound(&w.hosts[host].agent, &p, 1);
		ck_assert_msg(p.verdict == AGENT_DROP || test_checksums_ok(p.frame, p.len, NULL), "checksum");
		way.verdict = p.verdict;
		way.reason = p.reason;
		if (p.verdict == AGENT_TO_VM)
			way.dip = ((const struct ip4_header *)(p.frame + ETH_BYTES))->dst;
		if (p.verdict != AGENT_TO_UPLINK)
			return way;
	}
}

static bool has(const struct bucket_owners *b, be32 dip)
{
	return chain_position(b, dip) != CHAIN_NOT_OWNER;
}

static bool is_in_view_of_asked(const struct connection *c, const struct way *way)
{
	for (uint32_t i = 0; i < N_HOSTS; i++) {
		struct bucket_owners b = owners_at(i, c);
		if ((way->asked & 1u << i) && has(&b, c->tuple.dip))
			return true;
	}
	return false;
}

// A mux sends to the present owner by its own idea; one that has a pin of an agent that is gone, to any of them.
static be32 mux_choice(const struct connection *c)
{
	struct bucket_owners b = owners_at(random_below(&w.seed, N_HOSTS), c);
	return b.dips[random_below(&w.seed, 4) == 0 ? random_below(&w.seed, b.n) : 0];
}

struct tally {
	uint32_t found;
	uint32_t dropped;
	uint32_t adopted_elsewhere; // though a host that was asked had the right one on its list
	uint32_t n_hops;
	uint32_t n;
};

static struct tally run(uint32_t skew, uint8_t protocol, uint32_t n_rounds, uint64_t seed)
{
	struct tally t = { 0 };
	w.seed = seed;
	for (uint32_t i = 0; i < N_HOSTS; i++)
		host_init(&w.hosts[i], i);
	for (uint32_t round = 0; round < n_rounds; round++) {
		begin_round(skew);
		for (uint32_t i = 0; i < PACKETS_A_ROUND; i++) {
			struct connection c = connection_number(round * PACKETS_A_ROUND + i, protocol);
			struct bucket_owners truth = owners_in_truth(&c);
			establish(&c, truth.dips[random_below(&w.seed, truth.n)]);
			struct way way = send(&c, mux_choice(&c));
			ck_assert_msg(way.n_hops <= CHAIN_HOPS_MAX, "round %u: %u hops", round, way.n_hops);
			bool is_found = way.verdict == AGENT_TO_VM && way.dip == c.tuple.dip;
			t.n++;
			t.n_hops += way.n_hops;
			t.found += is_found;
			t.dropped += way.verdict == AGENT_DROP;
			ck_assert_msg(way.verdict == AGENT_TO_VM || (way.verdict == AGENT_DROP && way.reason == DROP_CHAIN_SKEW),
			              "round %u: verdict %d, %s", round, way.verdict, drop_reason_name(way.reason));
			if (way.verdict == AGENT_TO_VM && !is_found && is_in_view_of_asked(&c, &way))
				t.adopted_elsewhere++;
		}
	}
	for (uint32_t i = 0; i < N_HOSTS; i++)
		host_fini(&w.hosts[i]);
	printf("seed %lu skew %u protocol %u: %u packets, %u found, %u dropped, %u wrongly adopted, %.2f hops\n",
	       (unsigned long)seed, skew, protocol, t.n, t.found, t.dropped, t.adopted_elsewhere, (double)t.n_hops / t.n);
	return t;
}

START_TEST(with_equal_views_every_packet_reaches_who_knows_it)
{
	struct tally tcp = run(0, IP_PROTO_TCP, 60, 1);
	ck_assert_uint_eq(tcp.found, tcp.n);
	struct tally udp = run(0, IP_PROTO_UDP, 60, 2);
	ck_assert_uint_eq(udp.found, udp.n);
}
END_TEST

// The lists are told apart by seven bits, so one disagreement in 127 is not seen; and most of them do no harm.
START_TEST(with_views_apart_a_packet_is_found_or_dropped_but_not_adopted_by_another)
{
	struct tally one = run(1, IP_PROTO_TCP, 150, 3);
	ck_assert_uint_le(one.adopted_elsewhere, one.n / 2000);
	ck_assert_uint_ge(one.found, one.n * 8 / 10);
	struct tally far = run(N_GENERATIONS, IP_PROTO_TCP, 150, 4);
	ck_assert_uint_le(far.adopted_elsewhere, far.n / 2000);
}
END_TEST

START_TEST(datagrams_are_never_dropped)
{
	ck_assert_uint_eq(run(3, IP_PROTO_UDP, 100, 5).dropped, 0);
}
END_TEST

// Nobody knows it: one of them adopts it, and the next packet finds it there.
START_TEST(what_nobody_knows_is_adopted_once)
{
	w.seed = 6;
	for (uint32_t i = 0; i < N_HOSTS; i++)
		host_init(&w.hosts[i], i);
	for (uint32_t round = 0; round < 60; round++) {
		begin_round(0);
		for (uint32_t i = 0; i < PACKETS_A_ROUND; i++) {
			struct connection c = connection_number(round * PACKETS_A_ROUND + i, IP_PROTO_TCP);
			struct bucket_owners truth = owners_in_truth(&c);
			fixture_end_patience(&w.hosts[dip_number(truth.dips[0]) % N_HOSTS].agent);
			struct way first = send(&c, mux_choice(&c));
			struct way second = send(&c, mux_choice(&c));
			ck_assert_int_eq(first.verdict, AGENT_TO_VM);
			ck_assert_uint_eq(first.dip, truth.dips[0]);
			ck_assert_int_eq(second.verdict, AGENT_TO_VM);
			ck_assert_uint_eq(second.dip, first.dip);
		}
	}
	for (uint32_t i = 0; i < N_HOSTS; i++)
		host_fini(&w.hosts[i]);
}
END_TEST

SUITE_MAIN("agent chain model", with_equal_views_every_packet_reaches_who_knows_it,
           with_views_apart_a_packet_is_found_or_dropped_but_not_adopted_by_another, datagrams_are_never_dropped,
           what_nobody_knows_is_adopted_once)
