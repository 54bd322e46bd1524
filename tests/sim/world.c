// Makes the world, and turns its clock.
#include <string.h>

#include "common/base/check.h"
#include "common/base/memory.h"
#include "tests/sim/snat.h"

#define TICK_US 100000u
#define CLOCK_SKEW_US 5000000u
#define SETTLE_US 1000000u // from the first configuration to the first connection
#define AFTER_US 30000000u // from the end of the last connection until nothing may wait any more

bool sim_is_sabotaged(const struct sim *s, const char *what)
{
	return strcmp(s->options.sabotage, what) == 0;
}

static bool plan_has(const struct sim_options *o, enum churn_action action)
{
	for (uint32_t i = 0; i < o->n_churn; i++)
		if (o->churn[i].action == action)
			return true;
	return false;
}

static void make_vms(struct sim *s)
{
	const struct sim_options *o = &s->options;
	uint32_t out_percent = plan_has(o, CHURN_DIPS) ? o->out_percent : 0;
	for (uint32_t i = 0; i < o->n_dips; i++)
		s->vms[i] = (struct sim_vm){ .host = i % o->n_hosts,
			                         .vip = i % o->n_vips,
			                         .is_alive = true,
			                         .is_in = i < o->n_vips || random_below(&s->trouble, 100) >= out_percent,
			                         .weight = 1 };
}

static void make_nodes(struct sim *s)
{
	for (uint32_t i = 0; i < s->options.n_muxes; i++) {
		text_format(s->muxes[i].name, NAME_BYTES, "mux%u", i);
		s->muxes[i].address = be32_from(MUX_BASE + i);
	}
	for (uint32_t i = 0; i < s->options.n_hosts; i++) {
		text_format(s->hosts[i].name, NAME_BYTES, "host%u", i);
		s->hosts[i].address = be32_from(HOST_BASE + i);
		s->hosts[i].clock_us = (int64_t)random_below(&s->trouble, 2 * CLOCK_SKEW_US) - (int64_t)CLOCK_SKEW_US;
	}
	for (uint32_t i = 0; i < s->options.n_routers; i++)
		s->routers[i].hash_seed = hash_mix64(s->options.seed * 131 + i);
}

static void *make(uint32_t n, size_t size)
{
	void *p = memory_array(n, size);
	CHECK(p != NULL);
	return p;
}

struct sim *sim_create(const struct sim_options *options, const uint32_t *follow, uint32_t n_follow, FILE *trace)
{
	struct sim *s = make(1, sizeof *s);
	s->options = *options;
	s->now_us = START_US;
	s->net = random_make(options->seed, 1);
	s->config_delays = random_make(options->seed, 2);
	s->trouble = random_make(options->seed, 3);
	s->packets.free_head = NONE;
	s->free_half = NONE;
	s->free_pin_frame = NONE;
	s->follow = follow;
	s->n_follow = n_follow;
	s->trace = trace;
	s->names = addr_names_create();
	CHECK(s->names != NULL);
	s->muxes = make(options->n_muxes, sizeof *s->muxes);
	s->hosts = make(options->n_hosts, sizeof *s->hosts);
	s->vms = make(options->n_dips, sizeof *s->vms);
	s->routers = make(options->n_routers, sizeof *s->routers);
	s->connections = make(options->n_connections, sizeof *s->connections);
	event_queue_init(&s->queue);
	make_vms(s);
	make_nodes(s);
	if (sim_has_snat(s)) {
		links_create(s);
		leader_create(s);
		truth_create(s);
		server_create(s);
	}
	return s;
}

static void destroy_snat(struct sim *s)
{
	if (!sim_has_snat(s))
		return;
	leader_destroy(s);
	s->leader = NULL;
	links_destroy(s);
	truth_destroy(s);
	memory_free(s->servers);
}

void sim_destroy(struct sim *s)
{
	destroy_snat(s);
	for (uint32_t i = 0; i < s->options.n_muxes; i++) {
		managers_unsubscribe(s, i);
		if (s->muxes[i].is_alive)
			mux_free(s, i);
	}
	for (uint32_t i = 0; i < s->options.n_hosts; i++) {
		managers_unsubscribe(s, node_of_host(s, i));
		host_free(s, i);
	}
	cluster_state_fini(&s->state);
	event_queue_fini(&s->queue);
	for (uint32_t i = 0; i < s->packets.n_chunks; i++)
		memory_free(s->packets.chunks[i]);
	memory_free(s->muxes);
	memory_free(s->hosts);
	memory_free(s->vms);
	memory_free(s->routers);
	memory_free(s->connections);
	memory_free(s->halves);
	memory_free(s->pin_frames);
	addr_names_destroy(s->names);
	memory_free(s);
}

// ---- Events ----

static void on_packet(struct sim *s, uint32_t packet)
{
	struct packet *p = packet_at(s, packet);
	s->stats.packets++;
	switch ((enum place)p->to) {
	case AT_MUX: mux_on_packet(s, p->to_idx, p); break;
	case AT_HOST: host_on_packet(s, p->to_idx, p); break;
	case AT_CLIENT: client_on_packet(s, p); break;
	case AT_SERVER: server_on_packet(s, p); break;
	}
}

static void on_node(struct sim *s, uint32_t node)
{
	if (node >= s->options.n_muxes) {
		uint32_t host = node - s->options.n_muxes;
		if (s->hosts[host].is_alive)
			host_restart(s, host, s->hosts[host].keeps_flows);
		return;
	}
	struct sim_mux *m = &s->muxes[node];
	if (!m->is_alive && m->back_us == s->now_us)
		mux_start(s, node);
	else if (m->is_alive)
		network_mux_changed(s);
}

static bool node_is_there(const struct sim *s, uint32_t node)
{
	return node < s->options.n_muxes ? s->muxes[node].is_alive : host_is_up(s, node - s->options.n_muxes);
}

static void on_leader(struct sim *s)
{
	if (s->leaderless_until_us > s->now_us)
		return; // it was lost again
	if (s->leader != NULL) {
		managers_back(s);
		return;
	}
	for (uint32_t node = 0; node < s->options.n_muxes + s->options.n_hosts; node++)
		if (node_is_there(s, node))
			managers_subscribe(s, node);
}

static void on_connect(struct sim *s, uint32_t node)
{
	if (node_is_there(s, node) && !subscriber_of(s, node)->is_connected)
		managers_subscribe(s, node);
}

// The last connection is over, and, with SNAT, so much time has passed since that nothing may wait any more.
static bool is_over(struct sim *s)
{
	if (s->n_over < s->options.n_connections)
		return false;
	if (s->ends_us == 0)
		s->ends_us = s->now_us + (sim_has_snat(s) ? AFTER_US : 0);
	return s->now_us >= s->ends_us;
}

static void on_tick(struct sim *s)
{
	managers_tick(s);
	for (uint32_t i = 0; i < s->options.n_hosts; i++)
		host_on_tick(s, i);
	if (!is_over(s))
		sim_at(s, s->now_us + TICK_US, EVENT_TICK, 0);
}

static void on_event(struct sim *s, enum event_kind kind, uint32_t idx)
{
	switch (kind) {
	case EVENT_PACKET: on_packet(s, idx); break;
	case EVENT_CLIENT: client_on_event(s, idx); break;
	case EVENT_HALF: vm_on_event(s, idx); break;
	case EVENT_ARRIVAL: client_begin_next(s); break;
	case EVENT_UPDATE: managers_on_update(s, idx); break;
	case EVENT_NODE: on_node(s, idx); break;
	case EVENT_ROUTER: network_on_router(s, idx); break;
	case EVENT_CHURN: churn_on_item(s, idx); break;
	case EVENT_LATER: churn_on_later(s, idx); break;
	case EVENT_TICK: on_tick(s); break;
	case EVENT_LEADER: on_leader(s); break;
	case EVENT_FLUSH: host_on_flush(s, idx); break;
	case EVENT_PINS: mux_on_pins(s, idx); break;
	case EVENT_MESSAGE: links_on_message(s, idx); break;
	case EVENT_CONNECT: on_connect(s, idx); break;
	case EVENT_BATCH: leader_on_batch(s, idx); break;
	case EVENT_STEP: leader_on_step(s); break;
	}
}

static void collect(struct sim *s)
{
	for (uint32_t i = 0; i < s->options.n_muxes; i++)
		if (s->muxes[i].is_alive)
			mux_collect(s, i);
	for (uint32_t i = 0; i < s->options.n_hosts; i++)
		if (s->hosts[i].is_alive)
			host_collect(s, i);
}

void sim_run(struct sim *s)
{
	struct event e;
	managers_start(s);
	for (uint32_t i = 0; i < s->options.n_muxes; i++)
		mux_start(s, i);
	for (uint32_t i = 0; i < s->options.n_hosts; i++)
		host_start(s, i);
	s->arrivals_us = s->now_us + us_of(s->options.skew_s + s->options.detect_s) + SETTLE_US;
	sim_at(s, s->arrivals_us, EVENT_ARRIVAL, 0);
	sim_at(s, s->arrivals_us, EVENT_TICK, 0);
	churn_start(s);
	while (!is_over(s) && event_queue_pop(&s->queue, &e)) {
		s->now_us = e.at_us;
		s->stats.events++;
		on_event(s, (enum event_kind)(e.what >> EVENT_INDEX_BITS), e.what & EVENT_INDEX_MASK);
	}
	if (sim_has_snat(s))
		truth_at_end(s);
	collect(s);
}
