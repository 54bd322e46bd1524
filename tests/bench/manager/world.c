#include "tests/bench/manager/world.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "common/base/check.h"
#include "common/base/memory.h"

#define FIRST_DIP 0x0a400000u // 10.64.0.0
#define FIRST_HOST 0x0a000100u
#define FIRST_VIP 0xcb007100u // 203.0.113.0
#define TICK_MS 1

static uint64_t now_us(void)
{
	return uv_hrtime() / 1000;
}

static struct ip_addr v4(uint32_t addr)
{
	return ip_addr_from_v4(be32_from(addr));
}

static uint32_t index_of(const struct ip_addr *dip)
{
	return be32_to(ip_addr_to_v4(dip)) - FIRST_DIP;
}

// ---- agents ----

static void add_op(struct bench_agent *a, const struct snat_op *op)
{
	CHECK(snat_op_list_append(&a->ops, op) == 0);
}

static void return_all(struct bench_dip *d)
{
	for (uint32_t i = 0; i < d->leases.n; i++) {
		const struct lease *l = &d->leases.items[i];
		struct snat_op op = { .kind = SNAT_RETURN, .dip = l->dip, .vip = l->vip, .epoch = l->epoch };
		op.first_port = l->first_port;
		add_op(d->agent, &op);
	}
	d->leases.n = 0;
}

static void ask(struct bench_dip *d)
{
	struct snat_op op = { .kind = SNAT_REQUEST, .dip = d->addr, .seq = ++d->seq, .n_ports = 8 };
	add_op(d->agent, &op);
	d->asked_us = now_us();
}

static void send_ops(struct bench_agent *a)
{
	if (a->ops.n == 0)
		return;
	struct message m = { .type = MESSAGE_SNAT_ASK };
	m.ops = a->ops;
	if (manager_link_send(a->link, &m) != 0) {
		fprintf(stderr, "manager-bench: an agent has lost the leader\n");
		abort();
	}
	a->ops.n = 0;
}

static void on_reply(struct bench_world *w, const struct message *m)
{
	uint32_t i = index_of(&m->snat_reply.dip);
	CHECK(i < w->n_dips);
	struct bench_dip *d = &w->dips[i];
	if (d->asked_us == 0 || m->snat_reply.seq != d->seq)
		return;
	w->n_answers++;
	w->n_ranges += m->snat_reply.n_ports / 8;
	if (m->snat_reply.err.code != 0) {
		w->n_refused++;
		w->refusal = m->snat_reply.err;
	}
	if (d->samples != NULL)
		samples_add(d->samples, now_us() - d->asked_us);
	d->asked_us = 0;
	return_all(d);
	if (d->mode == BENCH_CLOSED)
		ask(d);
}

static void on_notice(const struct message *m, void *user)
{
	struct bench_agent *a = user;
	if (m->type == MESSAGE_SNAT_REPLY)
		on_reply(a->world, m);
}

static int on_update(struct update *u, void *user)
{
	struct bench_agent *a = user;
	struct bench_world *w = a->world;
	a->has_leases = a->has_leases || u->replaces_leases;
	for (uint32_t i = 0; i < u->leases.n; i++)
		if (u->leases.items[i].ended_ms == 0)
			CHECK(lease_list_append(&w->dips[index_of(&u->leases.items[i].dip)].leases, &u->leases.items[i]) == 0);
	return 0;
}

static void begin_agent(struct bench_world *w, uint32_t i)
{
	struct bench_agent *a = &w->agents[i];
	const char *managers[CLUSTER_MAX];
	struct error err = { 0 };
	for (uint32_t k = 0; k < w->cluster.n; k++)
		managers[k] = w->cluster.managers[k].api;
	struct manager_link_config config = {
		.managers = managers,
		.n_managers = w->cluster.n,
		.subscribes = true,
		.subscribe = { .role = ROLE_AGENT, .program_version = "bench" },
		.handler = { .on_update = on_update, .on_notice = on_notice },
		.user = a,
	};
	a->world = w;
	a->dips = &w->dips[i * w->options.n_dips];
	(void)text_format(a->name, sizeof a->name, "host%u", i);
	(void)text_copy(config.subscribe.node.name, sizeof config.subscribe.node.name, a->name);
	config.subscribe.node.addr = v4(FIRST_HOST + i);
	for (uint32_t k = 0; k < w->options.n_dips; k++)
		a->dips[k] = (struct bench_dip){ .agent = a, .addr = v4(FIRST_DIP + i * w->options.n_dips + k) };
	CHECK(manager_link_create(&w->loop, &config, &a->link, &err) == 0);
	RUN_UNTIL(&w->loop, manager_link_is_up(a->link) && a->has_leases);
}

// ---- configuration ----

static void put(struct bench_world *w, struct change_list *changes)
{
	struct error err = { 0 };
	uint64_t version;
	if (client_command(w->cluster.client, changes, &version, &err) != 0) {
		fprintf(stderr, "manager-bench: %s\n", err.text);
		abort();
	}
	change_list_fini(changes);
}

static void put_host(struct bench_world *w, uint32_t host)
{
	struct change_list changes = { 0 };
	char name[16];
	(void)text_format(name, sizeof name, "host%u", host);
	struct change c = { .key = object_key_of_name(OBJECT_HOST, name) };
	(void)text_copy(c.node.name, sizeof c.node.name, name);
	c.node.addr = v4(FIRST_HOST + host);
	CHECK(change_list_append(&changes, &c) == 0);
	for (uint32_t i = 0; i < w->options.n_dips; i++) {
		uint32_t dip = host * w->options.n_dips + i;
		struct ip_addr addr = v4(FIRST_DIP + dip);
		c = (struct change){ .key = object_key_of_addr(OBJECT_DIP, &addr) };
		c.dip = (struct dip_info){ .dip = addr, .mac = { 2, 0, 0, 0, (uint8_t)(dip >> 8), (uint8_t)dip } };
		(void)text_copy(c.dip.host, sizeof c.dip.host, name);
		(void)text_format(c.dip.vm, sizeof c.dip.vm, "vm%u", dip);
		(void)text_format(c.dip.interface, sizeof c.dip.interface, "if%u", i);
		CHECK(change_list_append(&changes, &c) == 0);
	}
	put(w, &changes);
}

static void put_vip(struct bench_world *w, uint32_t i)
{
	const struct bench_options *o = &w->options;
	struct snat_policy policy = SNAT_POLICY_DEFAULT;
	struct vip_config *vip = memory_array(1, sizeof *vip);
	struct change_list changes = { 0 };
	policy.prealloc_ports = 0;
	policy.max_ports_per_dip = o->max_ports;
	vip->vip = v4(FIRST_VIP + i);
	vip->snat = policy;
	(void)text_format(vip->tenant, sizeof vip->tenant, "tenant%u", i);
	vip->snat_dips = memory_array(w->n_dips, sizeof *vip->snat_dips);
	for (uint32_t dip = i; dip < w->n_dips; dip += o->n_vips)
		vip->snat_dips[vip->n_snat_dips++] = v4(FIRST_DIP + dip);
	struct change c = { .key = object_key_of_addr(OBJECT_VIP, &vip->vip), .vip = vip };
	CHECK(vip_config_validate(vip, NULL) == 0 && change_list_append(&changes, &c) == 0);
	put(w, &changes);
}

static void put_settings(struct bench_world *w)
{
	struct change_list changes = { 0 };
	struct change c = { .key = { .kind = OBJECT_SETTINGS }, .settings = cluster_settings_default() };
	c.settings.snat_quarantine_s = 0;
	c.settings.snat_dip_requests_per_s = 10000;
	CHECK(change_list_append(&changes, &c) == 0);
	put(w, &changes);
}

// ---- running ----

static void on_tick(uv_timer_t *tick)
{
	struct bench_world *w = tick->data;
	uint64_t now = now_us();
	for (uint32_t i = 0; i < w->n_dips; i++) {
		struct bench_dip *d = &w->dips[i];
		if (d->mode != BENCH_PACED || d->due_us > now || d->asked_us != 0)
			continue;
		d->due_us += d->period_us;
		if (d->due_us < now)
			d->due_us = now + d->period_us;
		ask(d);
	}
}

static void run_once(struct bench_world *w)
{
	uv_run(&w->loop, UV_RUN_ONCE);
	for (uint32_t i = 0; i < w->options.n_agents; i++)
		send_ops(&w->agents[i]);
}

void bench_world_run(struct bench_world *w, uint64_t us)
{
	uint64_t end_us = now_us() + us;
	while (now_us() < end_us)
		run_once(w);
}

static bool is_outstanding(const struct bench_world *w)
{
	for (uint32_t i = 0; i < w->n_dips; i++)
		if (w->dips[i].asked_us != 0)
			return true;
	return false;
}

void bench_world_drain(struct bench_world *w)
{
	uint64_t end_us = now_us() + CLUSTER_WAIT_MS * 1000ULL;
	bench_world_set_mode(w, 0, w->n_dips, BENCH_SILENT, 0, NULL);
	while (is_outstanding(w) && now_us() < end_us)
		run_once(w);
	CHECK(!is_outstanding(w));
	bench_world_run(w, 300000);
}

void bench_world_set_mode(struct bench_world *w, uint32_t first_dip, uint32_t n_dips, enum bench_mode mode,
                          uint64_t period_us, struct samples *samples)
{
	for (uint32_t i = first_dip; i < first_dip + n_dips; i++) {
		struct bench_dip *d = &w->dips[i];
		d->mode = mode;
		d->period_us = period_us;
		d->samples = samples;
		if (mode == BENCH_PACED) // spread over the period
			d->due_us = now_us() + (period_us * (uint64_t)(rand() % 1000)) / 1000;
		else if (mode == BENCH_CLOSED && d->asked_us == 0)
			ask(d);
	}
}

uint64_t bench_world_counter(struct bench_world *w, const char *name)
{
	struct message request = { .type = MESSAGE_CLUSTER_REQUEST };
	for (uint32_t i = 0; i < w->cluster.n; i++) {
		struct message reply = { 0 };
		struct error err = { 0 };
		if (client_ask(w->cluster.managers[i].api, 1000, &request, &reply, &err) != 0 || !reply.cluster.is_leader)
			continue;
		for (uint32_t k = 0; k < reply.cluster.n_counters; k++)
			if (strcmp(reply.cluster.counters[k].name, name) == 0)
				return reply.cluster.counters[k].value;
	}
	return 0;
}

void bench_world_begin(struct bench_world *w, const struct bench_options *options)
{
	struct timespec now;
	clock_gettime(CLOCK_REALTIME, &now);
	w->options = *options;
	w->n_dips = options->n_agents * options->n_dips;
	w->agents = memory_array(options->n_agents, sizeof *w->agents);
	w->dips = memory_array(w->n_dips, sizeof *w->dips);
	CHECK(w->agents != NULL && w->dips != NULL);
	uv_loop_init(&w->loop);
	cluster_begin_in(&w->cluster, 3, options->dir);
	(void)cluster_leader(&w->cluster);
	put_settings(w);
	for (uint32_t i = 0; i < options->n_agents; i++)
		put_host(w, i);
	for (uint32_t i = 0; i < options->n_vips; i++)
		put_vip(w, i);
	test_node_begin(&w->muxes[0], &w->loop, &w->cluster, ROLE_MUX, "mux1", "10.0.0.31");
	test_node_begin(&w->muxes[1], &w->loop, &w->cluster, ROLE_MUX, "mux2", "10.0.0.32");
	RUN_UNTIL(&w->loop, manager_link_is_up(w->muxes[0].link) && manager_link_is_up(w->muxes[1].link));
	w->muxes[0].ignores_leases = w->muxes[1].ignores_leases = true;
	for (uint32_t i = 0; i < options->n_agents; i++)
		begin_agent(w, i);
	for (uint32_t i = 0; i < w->n_dips; i++)
		w->dips[i].seq = (uint64_t)now.tv_sec * 1000000;
	uv_timer_init(&w->loop, &w->tick);
	w->tick.data = w;
	uv_timer_start(&w->tick, on_tick, TICK_MS, TICK_MS);
}

void bench_world_end(struct bench_world *w)
{
	for (uint32_t i = 0; i < w->options.n_agents; i++) {
		manager_link_destroy(w->agents[i].link);
		snat_op_list_fini(&w->agents[i].ops);
	}
	for (uint32_t i = 0; i < w->n_dips; i++)
		lease_list_fini(&w->dips[i].leases);
	test_node_end(&w->muxes[0]);
	test_node_end(&w->muxes[1]);
	uv_close((uv_handle_t *)&w->tick, NULL);
	uv_run(&w->loop, UV_RUN_DEFAULT);
	uv_loop_close(&w->loop);
	cluster_end(&w->cluster);
	memory_free(w->agents);
	memory_free(w->dips);
}
