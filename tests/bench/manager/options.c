#include "tests/bench/manager/options.h"

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>

#include "common/base/text.h"

static const char help[] =
	"manager-bench: SNAT allocations of three real managers on the loopback address, with two muxes that acknowledge\n"
	"and agents that return what they got.\n"
	"\n"
	"  --fairness       four tenants of 10 VMs that ask 150 times a minute each, without and with one that asks\n"
	"                   without limit (paper, figure 13)\n"
	"  --configure      changes of the configuration: one after the other, 20,000 endpoints as one, until all have "
	"them\n"
	"  --idle N         what N agents cost the leader that have nothing to say\n"
	"  --seconds N      how long in all (10)\n"
	"  --dir DIR        where the managers' data lie while it runs (/var/tmp)\n"
	"  --agents N       (16)\n"
	"  --dips N         of each agent, each with one request outstanding (64)\n"
	"  --vips N         (16)\n"
	"  --max-ports N    max_ports_per_dip: what demand prediction may grant at once (16)\n"
	"  --load N         requests per second in the phase under load (5000)\n";

static uint32_t number(const char *option, const char *text, uint32_t max)
{
	uint64_t value;
	if (text_parse_u64(text, 1, max, &value))
		return (uint32_t)value;
	fprintf(stderr, "manager-bench: --%s must be 1 to %u, got \"%s\"\n", option, max, text);
	exit(2);
}

struct bench_options bench_options_read(int argc, char **argv)
{
	struct bench_options o = { .seconds = 10,
		                       .n_agents = 16,
		                       .n_dips = 64,
		                       .n_vips = 16,
		                       .max_ports = 16,
		                       .load_per_s = 5000,
		                       .dir = "/var/tmp" };
	static const struct option options[] = {
		{ "fairness", no_argument, NULL, 'f' },
		{ "configure", no_argument, NULL, 'c' },
		{ "idle", required_argument, NULL, 'i' },
		{ "seconds", required_argument, NULL, 's' },
		{ "dir", required_argument, NULL, 'd' },
		{ "agents", required_argument, NULL, 'a' },
		{ "dips", required_argument, NULL, 'n' },
		{ "vips", required_argument, NULL, 'v' },
		{ "max-ports", required_argument, NULL, 'm' },
		{ "load", required_argument, NULL, 'l' },
		{ "help", no_argument, NULL, 'h' },
		{ 0 },
	};
	int c;
	int i = 0;
	while ((c = getopt_long(argc, argv, "", options, &i)) != -1) {
		switch (c) {
		case 'f': o.is_fairness = true; break;
		case 'c': o.is_configure = true; break;
		case 'i': o.n_idle = number("idle", optarg, 10000); break;
		case 's': o.seconds = number("seconds", optarg, 600); break;
		case 'd': o.dir = optarg; break;
		case 'a': o.n_agents = number("agents", optarg, 200); break;
		case 'n': o.n_dips = number("dips", optarg, 250); break;
		case 'v': o.n_vips = number("vips", optarg, 200); break;
		case 'm': o.max_ports = number("max-ports", optarg, 65536); break;
		case 'l': o.load_per_s = number("load", optarg, 1000000); break;
		case 'h': fputs(help, stdout); exit(0);
		default: fputs(help, stderr); exit(2);
		}
	}
	return o;
}
