// What manager-bench runs on: three managers as processes, two muxes and agents on one loop of this process.
//
// A DIP has one request outstanding; when it is answered it returns all that it holds and may ask again. How: `mode`.
#pragma once

#include "tests/bench/manager/options.h"
#include "tests/bench/manager/samples.h"
#include "tests/unit/manager/cluster.h"

enum bench_mode {
	BENCH_SILENT,
	BENCH_CLOSED, // asks again at once
	BENCH_PACED, // asks at its times, when it has its answer
};

struct bench_agent;

struct bench_dip {
	struct bench_agent *agent;
	struct ip_addr addr;
	enum bench_mode mode;
	uint64_t seq;
	uint64_t asked_us; // 0: nothing is outstanding
	uint64_t due_us; // PACED: when it asks next
	uint64_t period_us;
	struct lease_list leases; // held
	struct samples *samples; // where its answers are counted
};

struct bench_agent {
	struct bench_world *world;
	struct manager_link *link;
	char name[16];
	bool has_leases; // it was told of all of its leases
	struct bench_dip *dips; // options.n_dips
	struct snat_op_list ops; // to be sent
};

struct bench_world {
	struct bench_options options;
	struct cluster cluster;
	uv_loop_t loop;
	uv_timer_t tick;
	struct test_node muxes[2];
	struct bench_agent *agents;
	struct bench_dip *dips; // all, by agent
	uint32_t n_dips;
	uint64_t n_ranges; // granted
	uint64_t n_answers;
	uint64_t n_refused;
	struct error refusal; // the last one
};

// Begins the cluster, configures it and connects all. The i-th DIP's VIP is the (i % n_vips)-th.
void bench_world_begin(struct bench_world *w, const struct bench_options *options);
void bench_world_end(struct bench_world *w);

// Runs the loop; DIPs ask as their mode says.
void bench_world_run(struct bench_world *w, uint64_t us);

// Until nothing is outstanding.
void bench_world_drain(struct bench_world *w);

void bench_world_set_mode(struct bench_world *w, uint32_t first_dip, uint32_t n_dips, enum bench_mode mode,
                          uint64_t period_us, struct samples *samples);

// Of the leader's counters.
uint64_t bench_world_counter(struct bench_world *w, const char *name);
