#include "tests/bench/manager/idle.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/base/check.h"
#include "common/base/memory.h"
#include "tests/unit/manager/cluster.h"

#define HOSTS_PER_COMMAND 200

struct idle_world {
	struct cluster cluster;
	uv_loop_t loop;
	uint32_t n;
	uint32_t n_up;
	uint32_t n_downs;
	struct manager_link **links;
	uint64_t cluster_id; // what all of them hold
	uint64_t version;
};

static int on_update(struct update *u, void *user)
{
	return 0;
}

static void on_status_request(struct node_status *status, void *user)
{
}

static void on_state(bool is_up, const struct error *err, void *user)
{
	struct idle_world *w = user;
	w->n_up += is_up ? 1u : -1u;
	w->n_downs += !is_up;
}

// Known before they come, so that none of them makes a version that all the others are told of; and what they hold is up to date.
static void register_hosts(struct idle_world *w)
{
	static char command[HOSTS_PER_COMMAND * 48];
	for (uint32_t i = 0; i < w->n;) {
		size_t used = 0;
		for (uint32_t k = 0; k < HOSTS_PER_COMMAND && i < w->n; k++, i++) {
			(void)text_format(command + used, sizeof command - used, "%shost h%u 10.%u.%u.%u", k == 0 ? "" : " ; ", i,
			                  64 + i / 62500, i / 250 % 250, i % 250 + 1);
			used += strlen(command + used);
		}
		w->version = cluster_must(&w->cluster, command);
	}
	struct store state;
	CHECK(client_get_state(w->cluster.client, &state, &(struct error){ 0 }) == 0);
	w->cluster_id = state.cluster.cluster_id;
	store_fini(&state);
}

static void connect_host(struct idle_world *w, uint32_t i)
{
	const char *managers[CLUSTER_MAX];
	char addr[IP_ADDR_TEXT_BYTES];
	struct error err = { 0 };
	for (uint32_t k = 0; k < w->cluster.n; k++)
		managers[k] = w->cluster.managers[k].api;
	struct manager_link_config config = {
		.managers = managers,
		.n_managers = w->cluster.n,
		.subscribes = true,
		.subscribe = { .role = ROLE_AGENT,
		               .program_version = "bench",
		               .cluster_id = w->cluster_id,
		               .have_version = w->version },
		.handler = { .on_update = on_update, .on_status_request = on_status_request, .on_state = on_state },
		.user = w,
	};
	(void)text_format(config.subscribe.node.name, sizeof config.subscribe.node.name, "h%u", i);
	(void)text_format(addr, sizeof addr, "10.%u.%u.%u", 64 + i / 62500, i / 250 % 250, i % 250 + 1);
	CHECK(ip_addr_parse(addr, &config.subscribe.node.addr, &err) == 0);
	CHECK(manager_link_create(&w->loop, &config, &w->links[i], &err) == 0);
}

// Of a process, in seconds.
static double cpu_seconds(pid_t pid)
{
	char path[64];
	unsigned long user = 0;
	unsigned long system_time = 0;
	(void)text_format(path, sizeof path, "/proc/%d/stat", (int)pid);
	FILE *file = fopen(path, "r");
	CHECK(file != NULL);
	int n = fscanf(file, "%*d %*s %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu", &user, &system_time);
	fclose(file);
	CHECK(n == 2);
	return (double)(user + system_time) / (double)sysconf(_SC_CLK_TCK);
}

static void on_end(uv_timer_t *timer)
{
	uv_stop(timer->loop);
}

static void run_for(struct idle_world *w, uint64_t ms)
{
	uv_timer_t timer;
	uv_timer_init(&w->loop, &timer);
	uv_timer_start(&timer, on_end, ms, 0);
	uv_run(&w->loop, UV_RUN_DEFAULT);
	uv_close((uv_handle_t *)&timer, NULL);
	uv_run(&w->loop, UV_RUN_NOWAIT);
}

static void measure(struct idle_world *w, uint32_t seconds)
{
	pid_t leader = w->cluster.managers[cluster_leader(&w->cluster)].pid;
	run_for(w, 2000);
	w->n_downs = 0;
	double before = cpu_seconds(leader);
	uint64_t begin_ns = uv_hrtime();
	run_for(w, seconds * 1000ULL);
	double passed = (double)(uv_hrtime() - begin_ns) / 1e9;
	double used = cpu_seconds(leader) - before;
	printf("%u idle agents: the leader takes %.1f %% of a core, %.1f us a ping (each way %u a second); %u lost it\n",
	       w->n, used / passed * 100, used / passed / (2.0 * w->n * 1000 / CONN_SUBSCRIBER_PING_MS) * 1e6,
	       w->n * 1000 / CONN_SUBSCRIBER_PING_MS, w->n_downs);
}

static uint32_t count_marks(struct idle_world *w)
{
	struct store state;
	struct error err = { 0 };
	if (client_get_state(w->cluster.client, &state, &err) != 0) {
		fprintf(stderr, "manager-bench: %s\n", err.text);
		abort();
	}
	uint32_t n = state.gone_hosts.n;
	store_fini(&state);
	return n;
}

// The leader dies: how long until all have found the next one, and whether it took any of them for gone.
static void change_leader(struct idle_world *w)
{
	uint64_t begin_ns = uv_hrtime();
	cluster_kill(&w->cluster, cluster_leader(&w->cluster), SIGKILL);
	w->n_downs = 0;
	while (w->n_downs < w->n || w->n_up < w->n)
		uv_run(&w->loop, UV_RUN_ONCE);
	double passed = (double)(uv_hrtime() - begin_ns) / 1e9;
	printf("the leader dies: all are with the next one after %.1f s, ", passed);
	run_for(w, 6000);
	printf("%u are taken for gone, %u lost it again\n", count_marks(w), w->n_downs - w->n);
}

void idle_run(const struct bench_options *options)
{
	static struct idle_world w;
	w.n = options->n_idle;
	w.links = memory_array(w.n, sizeof(struct manager_link *));
	CHECK(w.links != NULL);
	uv_loop_init(&w.loop);
	cluster_begin_in(&w.cluster, 3, options->dir);
	register_hosts(&w);
	for (uint32_t i = 0; i < w.n; i++) {
		connect_host(&w, i);
		while (w.n_up + 64 < i) // the listener's backlog is not endless
			uv_run(&w.loop, UV_RUN_ONCE);
	}
	while (w.n_up < w.n)
		uv_run(&w.loop, UV_RUN_ONCE);
	measure(&w, options->seconds);
	change_leader(&w);
	for (uint32_t i = 0; i < w.n; i++)
		manager_link_destroy(w.links[i]);
	uv_run(&w.loop, UV_RUN_DEFAULT);
	cluster_end(&w.cluster);
	memory_free(w.links);
}
