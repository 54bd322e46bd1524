// agent-bench: cycles per packet of the agent's own code (agent_inbound, agent_outbound), on packets in memory.
//
// Each round measures one burst of the floor (parse and MAC swap of the same frames) and one of the path, on frames that
// were just written (warm), of random flows (cold). What is printed are the quantiles over all bursts.
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <x86intrin.h>

#include "common/base/check.h"
#include "tests/bench/agent/world.h"

#define ROUNDS_MAX 200000

struct options {
	enum bench_path path;
	uint32_t n_flows;
	uint32_t n_vms;
	uint32_t burst;
	uint32_t n_rounds;
	bool huge;
	bool is_ip6;
	bool json;
	bool counts_instructions; // under callgrind: no cycles, no warming up
};

struct samples {
	uint32_t n;
	uint32_t cycles[ROUNDS_MAX]; // of a burst
};

static const char *const path_names[] = {
	[BENCH_INBOUND] = "inbound",   [BENCH_REPLY] = "reply",
	[BENCH_NEW] = "new",           [BENCH_CHAIN] = "chain",
	[BENCH_SNAT] = "snat",         [BENCH_SNAT_REPLY] = "snat-reply",
	[BENCH_SNAT_NEW] = "snat-new", [BENCH_SNAT_REFUSED] = "snat-refused",
};

// Nothing before is under way any more, nothing after has begun.
static uint64_t cycles_now(void)
{
	unsigned aux;
	_mm_mfence(); // frames were just written: they are in the cache, not in the store buffer
	_mm_lfence();
	uint64_t now = __rdtscp(&aux);
	_mm_lfence();
	return now;
}

// The floor: what any program that forwards does.
static uint32_t swap_macs(struct agent_packet *packets, uint32_t n, bool is_ip6)
{
	uint32_t sum = 0;
	for (uint32_t i = 0; i < n; i++) {
		struct agent_packet *p = &packets[i];
		enum drop_reason reason =
			is_ip6 ? parse_ip6(p->frame, p->len, ETH_BYTES, &p->ip) : parse_ip4(p->frame, p->len, ETH_BYTES, &p->ip);
		if (reason != DROP_NONE)
			continue;
		struct eth_header *eth = (struct eth_header *)p->frame;
		struct mac dst = eth->dst;
		eth->dst = eth->src;
		eth->src = dst;
		sum += p->ip.dst;
	}
	return sum;
}

void bench_measured(struct bench_world *w, enum bench_path path, struct agent_packet *packets, uint32_t n);

// What is measured; callgrind finds it by its name (tests/bench/check-instructions).
__attribute__((noipa)) void bench_measured(struct bench_world *w, enum bench_path path, struct agent_packet *packets,
                                           uint32_t n)
{
	if (bench_is_outbound(path))
		agent_outbound(&w->agent, packets, n);
	else
		agent_inbound(&w->agent, packets, n);
}

static void check_verdicts(const struct options *o, const struct agent_packet *packets)
{
	bool to_uplink = (bench_is_outbound(o->path) && o->path != BENCH_SNAT_REFUSED) || o->path == BENCH_CHAIN;
	for (uint32_t i = 0; i < o->burst; i++)
		CHECK(packets[i].verdict == (to_uplink ? AGENT_TO_UPLINK : AGENT_TO_VM));
}

// Frames like those of the path, which make no flows.
static enum bench_path floor_path(enum bench_path path)
{
	switch (path) {
	case BENCH_NEW: return BENCH_INBOUND;
	case BENCH_SNAT_NEW: return BENCH_SNAT;
	case BENCH_INBOUND:
	case BENCH_REPLY:
	case BENCH_CHAIN:
	case BENCH_SNAT:
	case BENCH_SNAT_REPLY:
	case BENCH_SNAT_REFUSED: break;
	}
	return path;
}

static void measure(struct bench_world *w, const struct options *o, struct samples *floor_samples,
                    struct samples *samples)
{
	struct agent_packet packets[AGENT_BURST];
	for (uint32_t round = 0; round < o->n_rounds; round++) {
		bench_world_fill(w, floor_path(o->path), packets, o->burst);
		uint64_t began = cycles_now();
		uint32_t sum = swap_macs(packets, o->burst, o->is_ip6);
		uint64_t ended = cycles_now();
		__asm__ volatile("" : : "r"(sum));
		floor_samples->cycles[floor_samples->n++] = (uint32_t)(ended - began);

		bench_world_fill(w, o->path, packets, o->burst);
		began = cycles_now();
		bench_measured(w, o->path, packets, o->burst);
		ended = cycles_now();
		samples->cycles[samples->n++] = (uint32_t)(ended - began);
		check_verdicts(o, packets);
		if (bench_makes_flows(o->path))
			bench_world_retire(w, o->burst);
	}
}

static void count_instructions(struct bench_world *w, const struct options *o)
{
	struct agent_packet packets[AGENT_BURST];
	for (uint32_t round = 0; round < o->n_rounds; round++) {
		bench_world_fill(w, o->path, packets, o->burst);
		bench_measured(w, o->path, packets, o->burst);
		if (bench_makes_flows(o->path))
			bench_world_retire(w, o->burst);
	}
	printf("%lu packets\n", (unsigned long)o->n_rounds * o->burst);
}

static int compare(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a;
	uint32_t y = *(const uint32_t *)b;
	return (x > y) - (x < y);
}

static double quantile(const struct samples *s, double q, uint32_t burst)
{
	return (double)s->cycles[(uint32_t)((s->n - 1) * q)] / burst;
}

static void print(const struct options *o, struct samples *floor_samples, struct samples *s)
{
	qsort(floor_samples->cycles, floor_samples->n, sizeof *floor_samples->cycles, compare);
	qsort(s->cycles, s->n, sizeof *s->cycles, compare);
	double floor_median = quantile(floor_samples, 0.5, o->burst);
	double median = quantile(s, 0.5, o->burst);
	double p10 = quantile(s, 0.1, o->burst);
	double p90 = quantile(s, 0.9, o->burst);
	double bytes = (double)flow_table_bytes(1 << 20) / (1 << 20);
	if (o->json)
		printf("{\"path\": \"%s\", \"family\": %d, \"flows\": %u, \"vms\": %u, \"burst\": %u, \"huge_entries\": %s, "
		       "\"rounds\": %u, "
		       "\"cycles_per_packet_median\": %.1f, \"cycles_per_packet_p10\": %.1f, \"cycles_per_packet_p90\": %.1f, "
		       "\"floor_cycles_median\": %.1f, \"floor_cycles_p10\": %.1f, \"bytes_per_flow\": %.1f}\n",
		       path_names[o->path], o->is_ip6 ? 6 : 4, o->n_flows, o->n_vms, o->burst, o->huge ? "true" : "false",
		       o->n_rounds, median, p10, p90, floor_median, quantile(floor_samples, 0.1, o->burst), bytes);
	else
		printf("%-8s %9u flows, %u VMs, burst %u: %.1f cycles a packet (p10 %.1f, p90 %.1f); floor %.1f; "
		       "%.1f bytes a flow\n",
		       path_names[o->path], o->n_flows, o->n_vms, o->burst, median, p10, p90, floor_median, bytes);
}

static const char help[] = "usage: agent-bench [--path inbound|reply|new|chain|snat|snat-reply|snat-new|snat-refused] "
						   "[--flows N] [--vms N] [--burst N] [--bursts N]\n"
						   "                   [--family 4|6] [--small-pages] [--json | --instructions]\n";

static bool parse_path(const char *name, enum bench_path *ret_path)
{
	for (uint32_t i = 0; i < sizeof path_names / sizeof *path_names; i++) {
		if (strcmp(name, path_names[i]) != 0)
			continue;
		*ret_path = (enum bench_path)i;
		return true;
	}
	return false;
}

static uint32_t number(const char *text, uint32_t min, uint32_t max)
{
	unsigned long value = strtoul(text, NULL, 10);
	if (value < min || value > max) {
		fprintf(stderr, "agent-bench: %s: must be %u to %u\n", text, min, max);
		exit(2);
	}
	return (uint32_t)value;
}

static void parse_options(int argc, char **argv, struct options *o)
{
	static const struct option table[] = { { "path", required_argument, NULL, 'p' },
		                                   { "flows", required_argument, NULL, 'f' },
		                                   { "vms", required_argument, NULL, 'v' },
		                                   { "burst", required_argument, NULL, 'b' },
		                                   { "bursts", required_argument, NULL, 'r' },
		                                   { "small-pages", no_argument, NULL, 's' },
		                                   { "json", no_argument, NULL, 'j' },
		                                   { "instructions", no_argument, NULL, 'i' },
		                                   { "family", required_argument, NULL, '6' },
		                                   { "help", no_argument, NULL, 'h' },
		                                   { 0 } };
	for (int c; (c = getopt_long(argc, argv, "", table, NULL)) != -1;) {
		switch (c) {
		case 'p':
			if (parse_path(optarg, &o->path))
				break;
			fprintf(stderr, "agent-bench: no such path: %s\n", optarg);
			exit(2);
		case 'f': o->n_flows = number(optarg, 64, 1u << 27); break;
		case 'v': o->n_vms = number(optarg, 1, 250); break;
		case 'b': o->burst = number(optarg, 1, AGENT_BURST); break;
		case 'r': o->n_rounds = number(optarg, 100, ROUNDS_MAX); break;
		case '6': o->is_ip6 = number(optarg, 4, 6) == 6; break;
		case 's': o->huge = false; break;
		case 'j': o->json = true; break;
		case 'i': o->counts_instructions = true; break;
		case 'h': fputs(help, stdout); exit(0);
		default: fputs(help, stderr); exit(2);
		}
	}
}

int main(int argc, char **argv)
{
	static struct bench_world world;
	static struct samples floor_samples;
	static struct samples samples;
	struct options o = {
		.path = BENCH_INBOUND, .n_flows = 1u << 20, .n_vms = 16, .burst = AGENT_BURST, .n_rounds = 20000, .huge = true
	};
	parse_options(argc, argv, &o);
	bench_world_init(&world, o.path, o.n_flows, o.n_vms, o.huge, o.is_ip6);
	if (o.counts_instructions) {
		count_instructions(&world, &o);
		bench_world_fini(&world);
		return EXIT_SUCCESS;
	}
	measure(&world, &o, &floor_samples, &samples); // the first time to warm up
	floor_samples.n = 0;
	samples.n = 0;
	measure(&world, &o, &floor_samples, &samples);
	print(&o, &floor_samples, &samples);
	bench_world_fini(&world);
	return EXIT_SUCCESS;
}
