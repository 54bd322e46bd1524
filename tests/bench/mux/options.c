#include "tests/bench/mux/options.h"

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/text.h"
#include "common/model/limits.h"
#include "mux/core/pipeline.h"

static const char *const path_names[] = {
	[PATH_INBOUND] = "inbound",       [PATH_HISTORY] = "inbound-history", [PATH_UDP] = "udp",
	[PATH_SNAT_REPLY] = "snat-reply", [PATH_ICMP_ECHO] = "icmp-echo",     [PATH_GARBAGE] = "garbage",
};

const char *bench_path_name(enum bench_path path)
{
	return path_names[path];
}

static void print_help(void)
{
	printf("usage: mux-bench [OPTIONS]\n\n"
	       "Cycles per packet of the mux's pipeline on packets in memory, and of the floor (parse + MAC swap), "
	       "interleaved in\n"
	       "one run. Packet buffers are hugepages where the machine has free ones (vm.nr_hugepages), and lie warm in "
	       "the cache.\n\n"
	       "  --path P      inbound (TCP), udp, snat-reply, inbound-history, icmp-echo, garbage\n"
	       "                (inbound)\n"
	       "  --flows N     5-tuples that packets are drawn from      (1000000)\n"
	       "  --vips N      VIPs of one endpoint each                 (16)\n"
	       "  --dips N      DIPs of each endpoint                     (100)\n"
	       "  --changed P   of inbound-history: percent of the DIPs that came with the present generation (10)\n"
	       "  --pins N      likewise: flows that are pinned, one after the other; 0 is none (0)\n"
	       "  --family F    4 or 6: of VIPs, DIPs and packets         (4)\n"
	       "  --outer F     4 or 6: of outer headers, other than --family by a via of each DIP\n"
	       "  --burst N     packets of a burst, 1 to %d               (32)\n"
	       "  --bursts N    measured bursts                           (100000)\n"
	       "  --json        print JSON\n"
	       "  --instructions   run without timing, for callgrind --toggle-collect=bench_measured\n",
	       MUX_BURST_MAX);
}

static void fail(const char *text)
{
	fprintf(stderr, "mux-bench: %s (see --help)\n", text);
	exit(2);
}

static uint32_t read_number_from(const char *name, uint64_t min, uint64_t max)
{
	uint64_t value = 0;
	if (!text_parse_u64(optarg, min, max, &value)) {
		fprintf(stderr, "mux-bench: --%s: must be %llu to %llu, got \"%s\"\n", name, (unsigned long long)min,
		        (unsigned long long)max, optarg);
		exit(2);
	}
	return (uint32_t)value;
}

static uint32_t read_number(const char *name, uint64_t max)
{
	return read_number_from(name, 1, max);
}

static uint32_t read_family(const char *name)
{
	uint32_t family = read_number(name, 6);
	if (family != 4 && family != 6)
		fail("--family, --outer: must be 4 or 6");
	return family;
}

static enum bench_path read_path(void)
{
	for (size_t i = 0; i < sizeof path_names / sizeof *path_names; i++)
		if (strcmp(optarg, path_names[i]) == 0)
			return (enum bench_path)i;
	fail("--path: must be inbound, udp, snat-reply, inbound-history, icmp-echo or garbage");
	return PATH_INBOUND;
}

struct bench_options bench_options_read(int argc, char **argv)
{
	static const struct option table[] = {
		{ "path", required_argument, NULL, 'p' },    { "flows", required_argument, NULL, 'f' },
		{ "vips", required_argument, NULL, 'v' },    { "dips", required_argument, NULL, 'd' },
		{ "changed", required_argument, NULL, 'c' }, { "pins", required_argument, NULL, 'P' },
		{ "family", required_argument, NULL, '6' },  { "outer", required_argument, NULL, 'o' },
		{ "burst", required_argument, NULL, 'b' },   { "bursts", required_argument, NULL, 'n' },
		{ "json", no_argument, NULL, 'j' },          { "instructions", no_argument, NULL, 'i' },
		{ "help", no_argument, NULL, 'h' },          { 0 },
	};
	struct bench_options o = { .path = PATH_INBOUND,
		                       .n_flows = 1000000,
		                       .n_vips = 16,
		                       .n_dips = 100,
		                       .changed_percent = 10,
		                       .burst = 32,
		                       .n_bursts = 100000 };
	uint32_t outer = 0;
	for (int c; (c = getopt_long(argc, argv, "", table, NULL)) != -1;) {
		switch (c) {
		case 'p': o.path = read_path(); break;
		case 'f': o.n_flows = read_number("flows", 1u << 26); break;
		case 'v': o.n_vips = read_number("vips", LIMIT_VIPS); break;
		case 'd': o.n_dips = read_number("dips", LIMIT_DIPS_PER_ENDPOINT); break;
		case 'c': o.changed_percent = read_number("changed", 100); break;
		case 'P': o.n_pins = read_number_from("pins", 0, MAX_PINS_LIMIT / 2); break;
		case '6': o.is_ip6 = read_family("family") == 6; break;
		case 'o': outer = read_family("outer"); break;
		case 'b': o.burst = read_number("burst", MUX_BURST_MAX); break;
		case 'n': o.n_bursts = read_number("bursts", 1u << 24); break;
		case 'j': o.is_json = true; break;
		case 'i': o.counts_instructions = true; break;
		case 'h': print_help(); exit(0);
		default: exit(2);
		}
	}
	if (optind != argc)
		fail("one word too many");
	o.is_outer_ip6 = outer == 0 ? o.is_ip6 : outer == 6;
	return o;
}
