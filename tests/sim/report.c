#include <string.h>

#include "tests/sim/sim.h"

static const char *const cause_names[] = {
#define X(name, text) [CAUSE_##name] = text,
	CAUSES(X)
#undef X
};

static const char *const violation_names[] = {
#define X(name, text) [VIOLATION_##name] = text,
	VIOLATIONS(X)
#undef X
};

uint64_t report_broken(const struct sim *s)
{
	uint64_t n = 0;
	for (uint32_t i = 0; i < CAUSE_COUNT; i++)
		n += s->stats.broken[i];
	return n;
}

uint64_t report_violations(const struct sim *s)
{
	uint64_t n = 0;
	for (uint32_t i = 0; i < VIOLATION_COUNT; i++)
		n += s->stats.violations[i];
	return n;
}

#define COUNTS(X)                                                                             \
	X(opened, "connections that were opened")                                                 \
	X(finished, "of them: ended as they should")                                              \
	X(died_with_vm, "died with their VM's host: nobody's fault here")                         \
	X(broken_beyond_history, "of the broken ones: their VM was in no owner history any more") \
	X(moved, "connections for which a mux came to choose another DIP while they lived")       \
	X(detours, "packets that an agent sent on to another DIP")                                \
	X(detours_moved, "of them: of connections that moved")                                    \
	X(hops, "hops that these took")                                                           \
	X(adopted, "flows that agents adopted in the middle of a connection")                     \
	X(chain_adopted, "of them: at the end of a chain")                                        \
	X(drops_skew, "packets that agents dropped because their views of the owners differed")   \
	X(pins_sent, "pins that agents sent, each to all muxes")                                  \
	X(pins_taken, "pins that muxes took")                                                     \
	X(pin_hits, "packets that muxes sent by a pin")                                           \
	X(pins_refused, "datagrams of pins that muxes refused")                                   \
	X(generations, "changes of the configuration")                                            \
	X(commands_refused, "of them: refused by the managers")                                   \
	X(outbound, "connections of VMs to servers outside that were opened")                     \
	X(refused, "outbound connections that were refused for want of ports")                    \
	X(cut, "outbound connections whose lease an operator ended")                              \
	X(snat_flows, "flows of SNAT that agents made")                                           \
	X(snat_held, "packets that waited for ports")                                             \
	X(snat_asked, "requests for ports that agents sent, repeated ones too")                   \
	X(leases_granted, "leases granted")                                                       \
	X(leases_returned, "leases that agents gave back")                                        \
	X(leases_revoked, "leases that operators ended")                                          \
	X(fences, "muxes fenced for being late")                                                  \
	X(snat_excused, "replies dropped by muxes that were fenced, or out of reach of a leader") \
	X(links_cut, "connections to the leader that broke")                                      \
	X(mux_kills, "muxes killed")                                                              \
	X(packets, "packets that arrived somewhere")                                              \
	X(lost, "packets lost on links, and at machines that were down")                          \
	X(mux_drops, "packets dropped by muxes")                                                  \
	X(agent_drops, "packets dropped by agents")                                               \
	X(events, "events")

static double detours_per_moved(const struct sim *s)
{
	return s->stats.moved == 0 ? 0 : (double)s->stats.detours_moved / (double)s->stats.moved;
}

static double virtual_seconds(const struct sim *s)
{
	return (double)(s->now_us - START_US) / 1e6;
}

static void print_json(const struct sim *s, FILE *out)
{
	const struct sim_options *o = &s->options;
	fprintf(out, "{\"seed\": %lu, \"mode\": \"%s\", \"churn\": \"%s\", \"muxes\": %u, \"hosts\": %u, \"dips\": %u, ",
	        (unsigned long)o->seed, sim_mode_name(o->mode), o->churn_text, o->n_muxes, o->n_hosts, o->n_dips);
	fprintf(out, "\"connections\": %u, \"broken\": %lu, \"causes\": {", o->n_connections,
	        (unsigned long)report_broken(s));
	for (uint32_t i = 0; i < CAUSE_COUNT; i++)
		fprintf(out, "%s\"%s\": %lu", i == 0 ? "" : ", ", cause_names[i], (unsigned long)s->stats.broken[i]);
	fprintf(out, "}, \"violations\": %lu, ", (unsigned long)report_violations(s));
	for (uint32_t i = 0; i < VIOLATION_COUNT; i++)
		fprintf(out, "\"%s\": %lu, ", violation_names[i], (unsigned long)s->stats.violations[i]);
#define X(name, text) fprintf(out, "\"%s\": %lu, ", #name, (unsigned long)s->stats.name);
	COUNTS(X)
#undef X
	fprintf(out, "\"detours_per_moved\": %.3f, \"virtual_seconds\": %.3f, \"first_broken\": [", detours_per_moved(s),
	        virtual_seconds(s));
	for (uint32_t i = 0; i < s->n_broken_ids && i < 10; i++)
		fprintf(out, "%s%u", i == 0 ? "" : ", ", s->broken_ids[i]);
	fputs("]}\n", out);
}

static void print_text(const struct sim *s, FILE *out)
{
	const struct sim_options *o = &s->options;
	fprintf(out, "seed %lu, mode %s, churn %s: %u connections, %u muxes, %u hosts, %u DIPs in %u VIPs\n",
	        (unsigned long)o->seed, sim_mode_name(o->mode), o->churn_text, o->n_connections, o->n_muxes, o->n_hosts,
	        o->n_dips, o->n_vips);
	fprintf(out, "%12lu  broken", (unsigned long)report_broken(s));
	for (uint32_t i = 0; i < CAUSE_COUNT; i++)
		if (s->stats.broken[i] > 0)
			fprintf(out, ", %s %lu", cause_names[i], (unsigned long)s->stats.broken[i]);
	fputc('\n', out);
	for (uint32_t i = 0; i < VIOLATION_COUNT; i++)
		if (s->stats.violations[i] > 0)
			fprintf(out, "%12lu  VIOLATIONS of %s\n", (unsigned long)s->stats.violations[i], violation_names[i]);
#define X(name, text) fprintf(out, "%12lu  %s: %s\n", (unsigned long)s->stats.name, #name, text);
	COUNTS(X)
#undef X
	fprintf(out, "%12.3f  detours of each connection that moved\n%12.3f  virtual seconds\n", detours_per_moved(s),
	        virtual_seconds(s));
	if (s->n_broken_ids > 0) {
		fputs("first broken:", out);
		for (uint32_t i = 0; i < s->n_broken_ids && i < 10; i++)
			fprintf(out, " %u", s->broken_ids[i]);
		fputs(" (--trace N shows the first N)\n", out);
	}
}

void report_print(const struct sim *s, FILE *out)
{
	if (s->options.json)
		print_json(s, out);
	else
		print_text(s, out);
}
