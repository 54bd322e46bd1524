// mux-bench: cycles per packet of the mux's packet path, beside the floor of the same run.
//
// What is measured is burst_process (mux/dpdk/burst.h), the very code between receiving and sending in a mux: from packet
// buffers to packet buffers ready to send. The floor is the least a packet program can do: parse the packet and swap its
// MAC addresses. Bursts of both alternate, and each burst is a sample; buffers are filled between them, outside the time.
// Beside the path snat-reply the inbound path of the same mux is measured in the same run, and beside inbound-history that of one
// whose endpoints have none.
#include <rte_cycles.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "mux/dpdk/burst.h"
#include "tests/bench/mux/setup.h"

// Functions of their own, so that callgrind can tell them apart.
#ifdef __clang__
#define APART __attribute__((noinline))
#else
#define APART __attribute__((noipa))
#endif

APART void bench_measured(struct bench *b, const struct mux_tables *tables, struct burst_out *out);
APART void bench_floor(struct bench *b);

void bench_measured(struct bench *b, const struct mux_tables *tables, struct burst_out *out)
{
	burst_process(&b->worker, tables, b->pipeline_mbufs, (uint16_t)b->options.burst, out);
}

void bench_floor(struct bench *b)
{
	uint32_t n = b->options.burst;
	for (uint32_t i = 0; i < n; i++) {
		struct parsed p;
		uint8_t *frame = rte_pktmbuf_mtod(b->floor_mbufs[i], uint8_t *);
		be16 type = frame_ether_type(frame);
		uint32_t len = b->floor_mbufs[i]->data_len;
		if (type == be16_from(ETHER_IP4) ? parse_ip4(frame, len, ETH_BYTES, &p) != DROP_NONE
		                                 : parse_ip6(frame, len, ETH_BYTES, &p) != DROP_NONE)
			continue;
		struct eth_header *eth = (struct eth_header *)frame;
		struct mac mac = eth->dst;
		eth->dst = eth->src;
		eth->src = mac;
		b->worker.now.us += p.l3_bytes; // a use of what was parsed
	}
}

// ---- samples ----

struct samples {
	uint32_t n;
	uint32_t capacity;
	double *cycles; // per packet
};

static int compare_doubles(const void *a, const void *b)
{
	double x = *(const double *)a;
	double y = *(const double *)b;
	return x < y ? -1 : x > y;
}

static double quantile(const struct samples *s, double q)
{
	return s->cycles[(uint32_t)((s->n - 1) * q)];
}

static struct samples samples_create(uint32_t n)
{
	struct samples s = { .capacity = n, .cycles = calloc(n, sizeof *s.cycles) };
	if (s.cycles == NULL)
		exit(1);
	return s;
}

struct figures {
	struct samples pipeline;
	struct samples inbound; // beside snat-reply and inbound-history; else n is 0
	struct samples floor;
};

#define INBOUND_BLOCK 64 // bursts of the path and those beside it take turns, this many of each

static bool has_inbound_beside(const struct bench_options *o)
{
	return o->path == PATH_SNAT_REPLY || o->path == PATH_HISTORY;
}

static double measure_floor(struct bench *b)
{
	bench_fill(b, b->floor_mbufs, b->options.burst, false);
	uint64_t begin = rte_rdtsc_precise();
	bench_floor(b);
	return (double)(rte_rdtsc_precise() - begin) / b->options.burst;
}

static double measure_pipeline(struct bench *b, bool is_beside)
{
	bool to_leased_ports = b->options.path == PATH_SNAT_REPLY && !is_beside;
	const struct mux_tables *tables = is_beside && b->without_history != NULL ? b->without_history : b->tables;
	struct burst_out out;
	bench_fill(b, b->pipeline_mbufs, b->options.burst, to_leased_ports);
	// Echo replies are limited by time; here time goes on so that none is refused.
	b->worker.now.us += 1000000;
	uint64_t begin = rte_rdtsc_precise();
	bench_measured(b, tables, &out);
	return (double)(rte_rdtsc_precise() - begin) / b->options.burst;
}

static void add_sample(struct samples *s, double cycles)
{
	if (s->n < s->capacity)
		s->cycles[s->n++] = cycles;
}

static void measure(struct bench *b, struct figures *f)
{
	uint32_t n_warm_up = b->options.n_bursts / 10;
	bool is_compared = has_inbound_beside(&b->options);
	for (uint32_t i = 0; i < (is_compared ? 2 : 1) * (n_warm_up + b->options.n_bursts); i++) {
		bool is_inbound = is_compared && i / INBOUND_BLOCK % 2 == 0;
		double floor = measure_floor(b);
		double cycles = measure_pipeline(b, is_inbound);
		if (i < n_warm_up)
			continue;
		add_sample(&f->floor, floor);
		add_sample(is_inbound ? &f->inbound : &f->pipeline, cycles);
	}
	qsort(f->pipeline.cycles, f->pipeline.n, sizeof *f->pipeline.cycles, compare_doubles);
	qsort(f->inbound.cycles, f->inbound.n, sizeof *f->inbound.cycles, compare_doubles);
	qsort(f->floor.cycles, f->floor.n, sizeof *f->floor.cycles, compare_doubles);
}

// That the packets took the path whose name is printed.
static void check_path(const struct bench *b, uint32_t n_paths)
{
	const struct mux_counters *c = &b->worker.counters;
	uint64_t want = c->rx_packets;
	uint64_t got = 0;
	switch (b->options.path) {
	case PATH_INBOUND:
	case PATH_UDP: got = c->forwarded_packets; break;
	case PATH_HISTORY: got = c->history_packets > 0 ? c->forwarded_packets : 0; break;
	case PATH_SNAT_REPLY: got = c->snat_packets * (n_paths + 1) > want ? c->forwarded_packets : 0; break;
	case PATH_ICMP_ECHO: got = c->icmp_echo_replies; break;
	case PATH_GARBAGE: got = c->drops[DROP_L4_LENGTH]; break;
	}
	if (got == want && want > 0)
		return;
	fprintf(stderr, "mux-bench: only %llu of %llu packets took the path\n", (unsigned long long)got,
	        (unsigned long long)want);
	exit(1);
}

// ---- report ----

static void read_cpu(char *buf, size_t size)
{
	char line[256];
	FILE *file = fopen("/proc/cpuinfo", "re");
	snprintf(buf, size, "unknown");
	while (file != NULL && fgets(line, sizeof line, file) != NULL) {
		char *colon = strstr(line, ": ");
		if (strncmp(line, "model name", 10) != 0 || colon == NULL)
			continue;
		snprintf(buf, size, "%.*s", (int)strcspn(colon + 2, "\n"), colon + 2);
		break;
	}
	if (file != NULL)
		fclose(file);
}

static void report(const struct bench *b, const struct figures *f)
{
	const struct samples *pipeline = &f->pipeline;
	const struct samples *floor = &f->floor;
	const struct bench_options *o = &b->options;
	char cpu[200];
	read_cpu(cpu, sizeof cpu);
	double median = quantile(pipeline, 0.5);
	double floor_median = quantile(floor, 0.5);
	double inbound_median = f->inbound.n > 0 ? quantile(&f->inbound, 0.5) : 0;
	double ghz = (double)rte_get_tsc_hz() / 1e9;
	if (o->is_json) {
		printf(
			"{ \"path\": \"%s\", \"family\": %d, \"outer\": %d,\n"
			"  \"flows\": %u, \"vips\": %u, \"dips\": %u, \"burst\": %u, \"bursts\": %u,\n"
			"  \"cycles_per_packet_median\": %.2f, \"cycles_per_packet_p10\": %.2f, \"cycles_per_packet_p90\": %.2f,\n"
			"  \"inbound_cycles_median\": %.2f,\n"
			"  \"floor_cycles_median\": %.2f, \"floor_cycles_p10\": %.2f, \"ratio_to_floor\": %.2f,\n"
			"  \"mpps_per_core\": %.1f, \"hugepages\": %s, \"tsc_ghz\": %.3f, \"cpu\": \"%s\" }\n",
			bench_path_name(o->path), o->is_ip6 ? 6 : 4, o->is_outer_ip6 ? 6 : 4, o->n_flows, o->n_vips, o->n_dips,
			o->burst, o->n_bursts, median, quantile(pipeline, 0.1), quantile(pipeline, 0.9), inbound_median,
			floor_median, quantile(floor, 0.1), median / floor_median, ghz * 1000 / median,
			b->has_hugepages ? "true" : "false", ghz, cpu);
		return;
	}
	printf("path %s, IPv%d over IPv%d: %u flows, %u VIPs of %u DIPs, bursts of %u (%u measured)\n",
	       bench_path_name(o->path), o->is_ip6 ? 6 : 4, o->is_outer_ip6 ? 6 : 4, o->n_flows, o->n_vips, o->n_dips,
	       o->burst, o->n_bursts);
	if (o->path == PATH_HISTORY)
		printf("%u of 100 DIPs are new; %llu flows pinned, %u evicted; %.1f of 100 packets in flagged buckets, %.1f "
		       "pinned\n",
		       o->changed_percent, (unsigned long long)b->pins.n_pins, b->n_evicted,
		       200.0 * (double)b->worker.counters.history_packets / (double)b->worker.counters.rx_packets,
		       200.0 * (double)b->worker.counters.pin_hits / (double)b->worker.counters.rx_packets);
	printf("%s, TSC %.3f GHz, packet buffers in %s\n\n", cpu, ghz, b->has_hugepages ? "hugepages" : "4 KiB pages");
	printf("cycles per packet        p10  median     p90\n");
	printf("pipeline             %7.1f %7.1f %7.1f\n", quantile(pipeline, 0.1), median, quantile(pipeline, 0.9));
	if (f->inbound.n > 0)
		printf("inbound              %7.1f %7.1f %7.1f\n", quantile(&f->inbound, 0.1), inbound_median,
		       quantile(&f->inbound, 0.9));
	printf("floor                %7.1f %7.1f %7.1f\n", quantile(floor, 0.1), floor_median, quantile(floor, 0.9));
	if (f->inbound.n > 0)
		printf("\n%.2f x inbound", median / inbound_median);
	printf("\n%.2f x the floor, %.1f million packets a second on one core\n", median / floor_median,
	       ghz * 1000 / median);
}

int main(int argc, char **argv)
{
	static struct bench b;
	struct bench_options options = bench_options_read(argc, argv);
	bench_setup(&b, &options);
	if (options.counts_instructions) {
		struct burst_out out;
		for (uint32_t i = 0; i < options.n_bursts; i++) {
			bench_fill(&b, b.pipeline_mbufs, options.burst, options.path == PATH_SNAT_REPLY);
			b.worker.now.us += 1000000;
			bench_measured(&b, b.tables, &out);
		}
		check_path(&b, 1);
		printf("%llu packets\n", (unsigned long long)b.worker.counters.rx_packets);
		return 0;
	}
	struct figures f = { .pipeline = samples_create(options.n_bursts),
		                 .inbound = samples_create(options.n_bursts),
		                 .floor = samples_create(options.n_bursts) };
	measure(&b, &f);
	check_path(&b, has_inbound_beside(&options) ? 2 : 1);
	report(&b, &f);
	return 0;
}
