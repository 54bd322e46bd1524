// manager-bench: how many ranges three managers lease per second, and how long an agent waits for its answer: request, Raft
// entry on the disks of a majority, acknowledged by two muxes, leases and answer back at the agent.
//
// All programs, also muxes and agents, run on this machine and share its processors; so the figures are lower bounds.
#include <stdio.h>

#include "tests/bench/manager/configure.h"
#include "tests/bench/manager/idle.h"
#include "tests/bench/manager/world.h"

#define FAIR_TENANTS 4
#define FAIR_VMS 10 // of a tenant
#define FAIR_PERIOD_US (60000000 / 150)

static struct bench_world world;

static void print_latency(const char *name, struct samples *s, double seconds)
{
	printf("%-34s %8.0f answers/s   p50 %7.2f ms   p90 %7.2f ms   p99 %7.2f ms   max %7.2f ms\n", name, s->n / seconds,
	       samples_quantile_ms(s, 50), samples_quantile_ms(s, 90), samples_quantile_ms(s, 99),
	       samples_quantile_ms(s, 100));
}

static void check_refusals(const struct bench_world *w)
{
	if (w->n_refused > 0)
		printf("  %llu answers were refusals, the last: %s\n", (unsigned long long)w->n_refused, w->refusal.text);
}

// One phase: what the modes say, for a time.
static void measure(struct bench_world *w, const char *name, uint64_t us, struct samples *s, bool prints_ranges)
{
	uint64_t batches = bench_world_counter(w, "snat_batches");
	uint64_t ops = bench_world_counter(w, "snat_batch_ops");
	w->n_ranges = w->n_answers = w->n_refused = 0;
	samples_clear(s);
	uint64_t begin_ns = uv_hrtime();
	bench_world_run(w, us);
	double seconds = (double)(uv_hrtime() - begin_ns) / 1e9;
	uint64_t n_ranges = w->n_ranges;
	print_latency(name, s, seconds);
	bench_world_drain(w);
	check_refusals(w);
	batches = bench_world_counter(w, "snat_batches") - batches;
	ops = bench_world_counter(w, "snat_batch_ops") - ops;
	if (prints_ranges)
		printf("%-34s %8.0f ranges/s    %.1f operations a batch, %.0f batches/s\n", "", (double)n_ranges / seconds,
		       batches > 0 ? (double)ops / (double)batches : 0.0, (double)batches / seconds);
}

static void run_throughput(const struct bench_options *options)
{
	struct bench_world *w = &world;
	struct samples s = { 0 };
	uint64_t third_us = options->seconds * 1000000ULL / 3;
	bench_world_begin(w, options);
	printf("3 managers in %s, 2 muxes, %u agents with %u DIPs each, %u VIPs, max_ports_per_dip %u\n", options->dir,
	       options->n_agents, options->n_dips, options->n_vips, options->max_ports);
	bench_world_set_mode(w, 0, 1, BENCH_CLOSED, 0, &s);
	measure(w, "one DIP alone, one after the other", third_us, &s, true);
	uint64_t period_us = w->n_dips * 1000000ULL / options->load_per_s;
	bench_world_set_mode(w, 0, w->n_dips, BENCH_PACED, period_us, &s);
	measure(w, "under load", third_us, &s, true);
	bench_world_set_mode(w, 0, w->n_dips, BENCH_CLOSED, 0, &s);
	measure(w, "all DIPs, as fast as they can", third_us, &s, true);
	samples_fini(&s);
	bench_world_end(w);
}

// The heavy tenant is a VIP as the others; the DIPs of VIP i are those with index i modulo n_vips.
static void set_normal(struct bench_world *w, struct samples *s)
{
	for (uint32_t tenant = 0; tenant < FAIR_TENANTS; tenant++)
		for (uint32_t vm = 0; vm < FAIR_VMS; vm++)
			bench_world_set_mode(w, vm * w->options.n_vips + tenant, 1, BENCH_PACED, FAIR_PERIOD_US, s);
}

static void run_fairness(const struct bench_options *options)
{
	struct bench_world *w = &world;
	struct bench_options o = *options;
	struct samples normal = { 0 };
	struct samples heavy = { 0 };
	o.n_vips = FAIR_TENANTS + 1;
	bench_world_begin(w, &o);
	printf("%u tenants of %u VMs that ask 150 times a minute each\n", FAIR_TENANTS, FAIR_VMS);
	set_normal(w, &normal);
	measure(w, "normal tenants alone", o.seconds * 500000ULL, &normal, false);
	double alone_ms = samples_quantile_ms(&normal, 99);
	set_normal(w, &normal);
	for (uint32_t dip = FAIR_TENANTS; dip < w->n_dips; dip += o.n_vips)
		bench_world_set_mode(w, dip, 1, BENCH_CLOSED, 0, &heavy);
	measure(w, "beside one that asks without limit", o.seconds * 500000ULL, &normal, false);
	print_latency("  that one", &heavy, o.seconds / 2.0);
	printf("the normal tenants' p99 changes by %+.0f %%\n", (samples_quantile_ms(&normal, 99) / alone_ms - 1) * 100);
	samples_fini(&normal);
	samples_fini(&heavy);
	bench_world_end(w);
}

int main(int argc, char **argv)
{
	struct bench_options options = bench_options_read(argc, argv);
	setvbuf(stdout, NULL, _IOLBF, 0);
	if (options.n_idle > 0)
		idle_run(&options);
	else if (options.is_configure)
		configure_run(&options);
	else if (options.is_fairness)
		run_fairness(&options);
	else
		run_throughput(&options);
	return 0;
}
