// ananta-sim: connections through a simulated data centre in trouble, and how many of them broke. See docs/simulator.md.
#include <string.h>

#include "tests/sim/sim.h"

// The same run once more, with these connections followed: what was said of the first run stays true.
static void print_traces(const struct sim_options *o, const struct sim *first)
{
	uint32_t follow[1000];
	uint32_t n = first->n_broken_ids < o->n_trace ? first->n_broken_ids : o->n_trace;
	if (n == 0)
		return;
	memcpy(follow, first->broken_ids, n * sizeof *follow);
	struct sim *again = sim_create(o, follow, n, o->json ? stderr : stdout);
	sim_run(again);
	sim_destroy(again);
}

int main(int argc, char **argv)
{
	struct sim_options options;
	sim_options_parse(argc, argv, &options);
	bool follows = options.follow != UINT32_MAX;
	FILE *trace = follows ? (options.json ? stderr : stdout) : NULL;
	struct sim *s = sim_create(&options, &options.follow, follows ? 1 : 0, trace);
	sim_run(s);
	print_traces(&options, s);
	report_print(s, stdout);
	int code = report_broken(s) + report_violations(s) == 0 ? 0 : 1;
	sim_destroy(s);
	return code;
}
