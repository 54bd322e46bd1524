#include "tests/bench/manager/configure.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/base/check.h"
#include "common/base/memory.h"
#include "manager/cli/transaction.h"
#include "tests/bench/manager/samples.h"
#include "tests/unit/manager/cluster.h"
#include "tests/unit/manager/objects.h"

enum { N_MUXES = 2, N_HOSTS = 3, N_ALONE = 1000, N_WAITED = 500, N_PROGRAMS = 200, N_MANY = 2000, N_PORTS = 10 };

static struct cluster cluster;

// ---- those who are told, in a process of their own ----

static void subscribe_all(void)
{
	static struct test_node nodes[N_MUXES + N_HOSTS];
	uv_loop_t loop;
	char addr[32];
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	uv_loop_init(&loop);
	for (uint32_t i = 0; i < N_MUXES + N_HOSTS; i++) {
		static const char *const names[] = { "mux1", "mux2", "host1", "host2", "host3" };
		(void)text_format(addr, sizeof addr, "10.0.0.%u", i < N_MUXES ? 31 + i : 21 + i - N_MUXES);
		test_node_begin(&nodes[i], &loop, &cluster, i < N_MUXES ? ROLE_MUX : ROLE_AGENT, names[i], addr);
	}
	uv_run(&loop, UV_RUN_DEFAULT);
	_exit(0);
}

static void wait_for_all(uint64_t version)
{
	struct wait_reply *r = &(struct wait_reply){ 0 };
	struct error err = { 0 };
	if (client_wait(cluster.client, version, CLUSTER_WAIT_MS, r, &err) != 0 || !r->is_done) {
		fprintf(stderr, "manager-bench: not acknowledged: %s\n", err.text);
		exit(1);
	}
}

// ---- documents ----

static struct change make_vip(uint32_t i, uint32_t n_ports, uint32_t drain_s)
{
	char text[4096];
	(void)text_format(text, sizeof text, "203.%u.%u.%u t drain_s=%u", i / 62500, i / 250 % 250, i % 250 + 1, drain_s);
	for (uint32_t port = 1; port <= n_ports; port++)
		(void)text_format(text + strlen(text), sizeof text - strlen(text), "%s e%u tcp %u 10.1.1.1:%u 10.1.2.1:%u",
		                  port > 1 ? " ," : "", port, port, port, port);
	struct change c = { .vip = vip_of(text) };
	c.key = object_key_of_addr(OBJECT_VIP, &c.vip->vip);
	return c;
}

static uint64_t submit(struct change_list *changes)
{
	struct error err = { 0 };
	uint64_t version = 0;
	bool is_unchanged;
	if (transaction_submit(cluster.client, changes, 0, &version, &is_unchanged, &err) != 0) {
		fprintf(stderr, "manager-bench: %s\n", err.text);
		exit(1);
	}
	change_list_fini(changes);
	return version;
}

static uint64_t submit_one(uint32_t i, uint32_t drain_s)
{
	struct change_list changes = { 0 };
	struct change c = make_vip(i, 1, drain_s);
	CHECK(change_list_append(&changes, &c) == 0);
	return submit(&changes);
}

// ---- measurements ----

static double seconds_since(uint64_t begin_ns)
{
	return (double)(uv_hrtime() - begin_ns) / 1e9;
}

static void measure_waited(void)
{
	struct samples s = { 0 };
	for (uint32_t i = 0; i < N_WAITED; i++) {
		uint64_t begin_ns = uv_hrtime();
		wait_for_all(submit_one(i % 10, 1 + i));
		samples_add(&s, (uv_hrtime() - begin_ns) / 1000);
	}
	printf("%u changes of a VIP, until all %u have acknowledged: p50 %.2f ms, p99 %.2f ms, max %.2f ms\n", N_WAITED,
	       N_MUXES + N_HOSTS, samples_quantile_ms(&s, 50), samples_quantile_ms(&s, 99), samples_quantile_ms(&s, 100));
	samples_fini(&s);
}

static void measure_alone(void)
{
	uint64_t begin_ns = uv_hrtime();
	uint64_t version = 0;
	for (uint32_t i = 0; i < N_ALONE; i++)
		version = submit_one(i, 7200);
	double seconds = seconds_since(begin_ns);
	wait_for_all(version);
	printf("%u VIPs one after the other, on one connection: %.0f a second (%.3f s; acknowledged after %.3f s)\n",
	       N_ALONE, N_ALONE / seconds, seconds, seconds_since(begin_ns));
}

// The same by a program for each.
static void measure_programs(void)
{
	char command[256];
	char path[96];
	(void)text_format(path, sizeof path, "%s/vip.json", cluster.dir);
	FILE *file = fopen(path, "w");
	CHECK(file != NULL);
	fputs("{\"vip\":\"203.0.113.N\",\"tenant\":\"t\",\"endpoints\":[{\"name\":\"web\",\"protocol\":\"tcp\",\"port\":80,"
	      "\"dips\":[{\"dip\":\"10.1.1.1\",\"port\":80}]}]}\n",
	      file);
	fclose(file);
	setenv("ANANTA_MANAGERS", cluster.managers[0].api, 1);
	(void)text_format(command, sizeof command,
	                  "for i in $(seq %u); do sed s/N/$i/ %s | " ANANTACTL " vip apply -f - > %s/out || exit 1; done",
	                  N_PROGRAMS, path, cluster.dir);
	uint64_t begin_ns = uv_hrtime();
	CHECK(system(command) == 0);
	double seconds = seconds_since(begin_ns);
	printf("%u VIPs one after the other, an anantactl for each: %.0f a second\n", N_PROGRAMS, N_PROGRAMS / seconds);
}

// The resident memory of the largest manager, now and at most, in MB.
static void print_memory(void)
{
	long now = 0;
	long peak = 0;
	for (uint32_t i = 0; i < cluster.n; i++) {
		char path[64];
		char line[128];
		long kb;
		(void)text_format(path, sizeof path, "/proc/%d/status", (int)cluster.managers[i].pid);
		FILE *file = fopen(path, "r");
		while (file != NULL && fgets(line, sizeof line, file) != NULL) {
			if (sscanf(line, "VmRSS: %ld", &kb) == 1 && kb > now)
				now = kb;
			if (sscanf(line, "VmHWM: %ld", &kb) == 1 && kb > peak)
				peak = kb;
		}
		if (file != NULL)
			fclose(file);
	}
	printf("memory of the largest manager: %ld MB, at most %ld MB\n", now / 1024, peak / 1024);
}

static void measure_fresh_mux(uint64_t version)
{
	struct test_node mux;
	uv_loop_t loop;
	uv_loop_init(&loop);
	uint64_t begin_ns = uv_hrtime();
	test_node_begin(&mux, &loop, &cluster, ROLE_MUX, "mux3", "10.0.0.33");
	RUN_UNTIL(&loop, mux.store.version >= version);
	printf("a fresh mux has it after %.3f s\n", seconds_since(begin_ns));
	test_node_end(&mux);
	uv_run(&loop, UV_RUN_DEFAULT);
	uv_loop_close(&loop);
}

static void measure_many(uint32_t drain_s, const char *what)
{
	struct change_list changes = { 0 };
	for (uint32_t i = 0; i < N_MANY; i++) {
		struct change c = make_vip(i, N_PORTS, drain_s);
		CHECK(change_list_append(&changes, &c) == 0);
	}
	uint64_t begin_ns = uv_hrtime();
	uint64_t version = submit(&changes);
	double seconds = seconds_since(begin_ns);
	wait_for_all(version);
	printf("%s %u endpoints of %u VIPs as one change: committed after %.3f s, acknowledged after %.3f s\n", what,
	       N_MANY * N_PORTS, N_MANY, seconds, seconds_since(begin_ns));
	print_memory();
	measure_fresh_mux(version);
}

void configure_run(const struct bench_options *options)
{
	cluster_begin_in(&cluster, 3, options->dir);
	(void)cluster_leader(&cluster);
	cluster_must(&cluster,
	             "host host1 10.0.0.21 ; host host2 10.0.0.22 ; host host3 10.0.0.23 ; "
	             "dip 10.1.1.1 host1 vm1 if1 02:00:00:00:00:01 ; dip 10.1.2.1 host2 vm2 if1 02:00:00:00:00:02");
	pid_t nodes = fork();
	CHECK(nodes >= 0);
	if (nodes == 0)
		subscribe_all();
	struct node_list list = { 0 };
	struct error err = { 0 };
	do { // each question waits for the nodes' answers, up to a second
		uint32_t n = 0;
		node_list_fini(&list);
		CHECK(client_get_nodes(cluster.client, ROLE_NONE, "", &list, &err) == 0);
		for (uint32_t i = 0; i < list.n; i++)
			n += strcmp(list.items[i].state, "ready") == 0;
		if (n == N_MUXES + N_HOSTS)
			break;
	} while (waitpid(nodes, NULL, WNOHANG) == 0);
	node_list_fini(&list);
	printf("3 managers in %s, %u muxes and %u agents\n", options->dir, N_MUXES, N_HOSTS);
	measure_waited();
	measure_alone();
	measure_programs();
	measure_many(3600, "new:");
	measure_many(60, "changed:");
	kill(nodes, SIGKILL);
	(void)waitpid(nodes, NULL, 0);
	cluster_end(&cluster);
}
