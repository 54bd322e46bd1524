#include "tests/sim/options.h"

#include <getopt.h>
#include <stdlib.h>
#include <string.h>

static const char *const mode_names[] = {
	[MODE_ANANTA] = "ananta", [MODE_MAGLEV] = "maglev", [MODE_FLOW_TABLE] = "flow-table"
};

static const char *const action_names[CHURN_ACTIONS] = {
	[CHURN_MUX_KILL] = "mux-kill",
	[CHURN_MUX_HANG] = "mux-hang",
	[CHURN_DIPS] = "dips",
	[CHURN_DRAIN] = "drain",
	[CHURN_FLAP] = "flap",
	[CHURN_WEIGHTS] = "weights",
	[CHURN_HOST_KILL] = "host-kill",
	[CHURN_AGENT_RESTART] = "agent-restart",
	[CHURN_AGENT_LOSE] = "agent-lose",
	[CHURN_LEADER] = "leader",
	[CHURN_LINK] = "link",
	[CHURN_REVOKE] = "revoke",
	[CHURN_DETACH] = "detach",
	[CHURN_LATE] = "late",
};

static const struct {
	const char *name;
	const char *plan;
} built_in[] = {
	{ "none", "" },
	{ "trouble", "mux-kill=1@10+5,dips=10%@10+5" },
	{ "muxes", "mux-kill=1@7+3,mux-hang=2@9+6" },
	{ "dips", "dips=10%@10+4" },
	{ "drain", "drain=10%@8+3,mux-kill=1@11+5" },
	{ "flap", "flap=5%@2+3,mux-kill=1@7+4" },
	{ "weights", "weights=10%@10+3,mux-kill=1@11+5" },
	{ "hosts", "host-kill=1@13+6,mux-kill=1@11+5" },
	{ "agents", "agent-restart=20%@5+3,dips=10%@12+4,mux-kill=1@9+5" },
	{ "agents-lose", "agent-lose=20%@5+3" },
	{ "leader", "leader=4@12+4,dips=10%@12+5,mux-kill=1@12+6" },
	{ "late", "late=5@12+3,dips=10%@12+4,mux-kill=1@6+5" },
	{ "storm", "mux-kill=1@10+5,dips=5%@10+5,drain=5%@13+7,agent-restart=10%@7+2,mux-hang=1@17+8,leader=2@19+9,"
	           "flap=1%@11+6,weights=5%@31+12,late=3@23+9" },
	{ "snat", "mux-kill=1@23+9,mux-hang=2@17+6,leader=2@31+12,link=10%@7+4,agent-restart=10%@11+5,revoke=2@9+8,"
	          "detach=2@13+7,late=3@29+15" },
};

const char *sim_mode_name(enum sim_mode mode)
{
	return mode_names[mode];
}

// ---- The plan ----

static const char *expand(const char *text)
{
	for (uint32_t i = 0; i < sizeof built_in / sizeof *built_in; i++)
		if (strcmp(built_in[i].name, text) == 0)
			return built_in[i].plan;
	return text;
}

static bool parse_action(const char **at, enum churn_action *ret_action)
{
	size_t n = strcspn(*at, "=@,");
	for (uint32_t i = 0; i < CHURN_ACTIONS; i++) {
		if (strlen(action_names[i]) != n || memcmp(action_names[i], *at, n) != 0)
			continue;
		*ret_action = (enum churn_action)i;
		*at += n;
		return true;
	}
	return false;
}

static bool parse_seconds(const char **at, char mark, double *ret_seconds)
{
	char *end;
	if (**at != mark)
		return true;
	*ret_seconds = strtod(*at + 1, &end);
	bool is_number = end != *at + 1 && *ret_seconds > 0;
	*at = end;
	return is_number;
}

static bool parse_item(const char **at, struct churn_item *item)
{
	*item = (struct churn_item){ .amount = 1, .period_s = 10 };
	if (!parse_action(at, &item->action))
		return false;
	if (**at == '=') {
		char *end;
		item->amount = (uint32_t)strtoul(*at + 1, &end, 10);
		if (end == *at + 1 || item->amount == 0)
			return false;
		item->is_percent = *end == '%';
		*at = end + item->is_percent;
	}
	if (!parse_seconds(at, '@', &item->period_s))
		return false;
	item->first_s = item->period_s;
	return parse_seconds(at, '+', &item->first_s) && (**at == ',' || **at == '\0');
}

bool churn_parse(const char *text, struct sim_options *o, const char **ret_problem)
{
	const char *at = expand(text);
	o->n_churn = 0;
	while (*at != '\0') {
		*ret_problem = at;
		if (o->n_churn == CHURN_ITEMS_MAX || !parse_item(&at, &o->churn[o->n_churn]))
			return false;
		o->n_churn++;
		at += *at == ',';
	}
	return true;
}

// ---- The command line ----

static const char help[] =
	"usage: ananta-sim [--seed N] [--mode ananta|maglev|flow-table] [--churn PLAN] [--json]\n"
	"  the world:        --muxes N  --hosts N  --dips N  --vips N  --routers N\n"
	"  connections:      --connections N  --udp PERCENT  --snat PERCENT  --seconds S  --lifetime MIN:MAX  --patience "
	"S\n"
	"  links:            --delay US  --client-delay US  --jitter US  --loss P  --duplicate P  --reorder P   (P: 0 to "
	"1)\n"
	"  configuration:    --skew S  --detect S  --drain S  --out PERCENT  --max-pins N\n"
	"  SNAT:             --snat-ports N (of a VIP)  --snat-max-ports N (of a DIP)  --quarantine S\n"
	"  looking closer:   --trace N (the first N broken connections)  --follow CONNECTION\n"
	"  --sabotage WHAT:  a mechanism is broken on purpose, to see that it is noticed (docs/simulator.md)\n"
	"PLAN: none, trouble, muxes, dips, drain, flap, weights, hosts, agents, agents-lose, leader, late, storm, snat, "
	"or a list\n"
	"      ACTION[=N[%]][@PERIOD_S[+FIRST_S]],... of mux-kill mux-hang dips drain flap weights host-kill "
	"agent-restart\n"
	"      agent-lose leader late link revoke detach\n"
	"Exit code: 0, or 1 when a connection was broken.\n";

static void die(const char *option, const char *text)
{
	fprintf(stderr, "ananta-sim: --%s %s: not a value of this option\n%s", option, text, help);
	exit(2);
}

static uint32_t number(const char *option, const char *text, uint32_t min, uint32_t max)
{
	char *end;
	unsigned long value = strtoul(text, &end, 10);
	if (*text == '\0' || *end != '\0' || value < min || value > max)
		die(option, text);
	return (uint32_t)value;
}

static double seconds(const char *option, const char *text)
{
	char *end;
	double value = strtod(text, &end);
	if (*text == '\0' || *end != '\0' || !(value >= 0 && value <= 1e6))
		die(option, text);
	return value;
}

static uint32_t chance(const char *option, const char *text)
{
	double value = seconds(option, text);
	if (value >= 1)
		die(option, text);
	return (uint32_t)(value * 4294967296.0);
}

static void parse_lifetime(const char *text, struct sim_options *o)
{
	char *end;
	o->lifetime_min_s = strtod(text, &end);
	if (*end != ':')
		die("lifetime", text);
	o->lifetime_max_s = strtod(end + 1, &end);
	if (*end != '\0' || o->lifetime_min_s <= 0 || o->lifetime_max_s < o->lifetime_min_s)
		die("lifetime", text);
}

static enum sim_mode parse_mode(const char *text)
{
	for (uint32_t i = 0; i < sizeof mode_names / sizeof *mode_names; i++)
		if (strcmp(mode_names[i], text) == 0)
			return (enum sim_mode)i;
	die("mode", text);
	return MODE_ANANTA;
}

static void parse_churn(const char *text, struct sim_options *o)
{
	const char *problem;
	o->churn_text = text;
	if (!churn_parse(text, o, &problem))
		die("churn", problem);
}

enum option_id {
	OPT_SEED = 1,
	OPT_MODE,
	OPT_MUXES,
	OPT_HOSTS,
	OPT_DIPS,
	OPT_VIPS,
	OPT_ROUTERS,
	OPT_CONNECTIONS,
	OPT_UDP,
	OPT_OUT,
	OPT_SNAT,
	OPT_SNAT_PORTS,
	OPT_SNAT_MAX_PORTS,
	OPT_QUARANTINE,
	OPT_SECONDS,
	OPT_LIFETIME,
	OPT_PATIENCE,
	OPT_SKEW,
	OPT_DETECT,
	OPT_DRAIN,
	OPT_DELAY,
	OPT_CLIENT_DELAY,
	OPT_JITTER,
	OPT_LOSS,
	OPT_DUPLICATE,
	OPT_REORDER,
	OPT_MAX_PINS,
	OPT_CHURN,
	OPT_TRACE,
	OPT_FOLLOW,
	OPT_SABOTAGE,
	OPT_JSON,
	OPT_HELP
};

static const struct option table[] = {
	{ "seed", required_argument, NULL, OPT_SEED },
	{ "mode", required_argument, NULL, OPT_MODE },
	{ "muxes", required_argument, NULL, OPT_MUXES },
	{ "hosts", required_argument, NULL, OPT_HOSTS },
	{ "dips", required_argument, NULL, OPT_DIPS },
	{ "vips", required_argument, NULL, OPT_VIPS },
	{ "routers", required_argument, NULL, OPT_ROUTERS },
	{ "connections", required_argument, NULL, OPT_CONNECTIONS },
	{ "udp", required_argument, NULL, OPT_UDP },
	{ "out", required_argument, NULL, OPT_OUT },
	{ "snat", required_argument, NULL, OPT_SNAT },
	{ "snat-ports", required_argument, NULL, OPT_SNAT_PORTS },
	{ "snat-max-ports", required_argument, NULL, OPT_SNAT_MAX_PORTS },
	{ "quarantine", required_argument, NULL, OPT_QUARANTINE },
	{ "seconds", required_argument, NULL, OPT_SECONDS },
	{ "lifetime", required_argument, NULL, OPT_LIFETIME },
	{ "patience", required_argument, NULL, OPT_PATIENCE },
	{ "skew", required_argument, NULL, OPT_SKEW },
	{ "detect", required_argument, NULL, OPT_DETECT },
	{ "drain", required_argument, NULL, OPT_DRAIN },
	{ "delay", required_argument, NULL, OPT_DELAY },
	{ "client-delay", required_argument, NULL, OPT_CLIENT_DELAY },
	{ "jitter", required_argument, NULL, OPT_JITTER },
	{ "loss", required_argument, NULL, OPT_LOSS },
	{ "duplicate", required_argument, NULL, OPT_DUPLICATE },
	{ "reorder", required_argument, NULL, OPT_REORDER },
	{ "max-pins", required_argument, NULL, OPT_MAX_PINS },
	{ "churn", required_argument, NULL, OPT_CHURN },
	{ "trace", required_argument, NULL, OPT_TRACE },
	{ "follow", required_argument, NULL, OPT_FOLLOW },
	{ "sabotage", required_argument, NULL, OPT_SABOTAGE },
	{ "json", no_argument, NULL, OPT_JSON },
	{ "help", no_argument, NULL, OPT_HELP },
	{ 0 },
};

// Of the world and its connections; false: it is another option.
static bool take_size(struct sim_options *o, int id, const char *text)
{
	switch (id) {
	case OPT_SEED: o->seed = strtoull(text, NULL, 10); return true;
	case OPT_MUXES: o->n_muxes = number("muxes", text, 1, 64); return true;
	case OPT_HOSTS: o->n_hosts = number("hosts", text, 1, 10000); return true;
	case OPT_DIPS: o->n_dips = number("dips", text, 1, 60000); return true;
	case OPT_VIPS: o->n_vips = number("vips", text, 1, 20000); return true;
	case OPT_ROUTERS: o->n_routers = number("routers", text, 1, 16); return true;
	case OPT_CONNECTIONS: o->n_connections = number("connections", text, 1, 1u << 27); return true;
	case OPT_UDP: o->udp_percent = number("udp", text, 0, 100); return true;
	case OPT_OUT: o->out_percent = number("out", text, 0, 90); return true;
	case OPT_SNAT: o->snat_percent = number("snat", text, 0, 100); return true;
	case OPT_SNAT_PORTS: o->snat_ports = number("snat-ports", text, 64, 64512) / 8 * 8; return true;
	case OPT_SNAT_MAX_PORTS: o->snat_max_ports = number("snat-max-ports", text, 16, 65536); return true;
	case OPT_QUARANTINE: o->quarantine_s = number("quarantine", text, 1, 86400); return true;
	default: return false;
	}
}

// Of time and of links.
static bool take_link(struct sim_options *o, int id, const char *text)
{
	switch (id) {
	case OPT_SECONDS: o->seconds = seconds("seconds", text); return true;
	case OPT_LIFETIME: parse_lifetime(text, o); return true;
	case OPT_PATIENCE: o->patience_s = seconds("patience", text); return true;
	case OPT_SKEW: o->skew_s = seconds("skew", text); return true;
	case OPT_DETECT: o->detect_s = seconds("detect", text); return true;
	case OPT_DRAIN: o->drain_s = number("drain", text, 1, 30 * 86400); return true;
	case OPT_MAX_PINS: o->max_pins = number("max-pins", text, 0, 1u << 24); return true;
	case OPT_DELAY: o->delay_us = number("delay", text, 1, 10000000); return true;
	case OPT_CLIENT_DELAY: o->client_delay_us = number("client-delay", text, 1, 10000000); return true;
	case OPT_JITTER: o->jitter_us = number("jitter", text, 0, 10000000); return true;
	case OPT_LOSS: o->loss = chance("loss", text); return true;
	case OPT_DUPLICATE: o->duplicate = chance("duplicate", text); return true;
	case OPT_REORDER: o->reorder = chance("reorder", text); return true;
	default: return false;
	}
}

static void take_option(struct sim_options *o, int id, const char *text)
{
	if (take_size(o, id, text) || take_link(o, id, text))
		return;
	switch (id) {
	case OPT_MODE: o->mode = parse_mode(text); break;
	case OPT_CHURN: parse_churn(text, o); break;
	case OPT_TRACE: o->n_trace = number("trace", text, 0, 1000); break;
	case OPT_FOLLOW: o->follow = number("follow", text, 0, UINT32_MAX - 1); break;
	case OPT_SABOTAGE: o->sabotage = text; break;
	case OPT_JSON: o->json = true; break;
	case OPT_HELP: fputs(help, stdout); exit(0);
	default: fputs(help, stderr); exit(2);
	}
}

void sim_options_parse(int argc, char **argv, struct sim_options *ret_options)
{
	*ret_options = (struct sim_options){
		.seed = 1,
		.n_muxes = 8,
		.n_hosts = 20,
		.n_dips = 80,
		.n_routers = 2,
		.n_connections = 20000,
		.udp_percent = 10,
		.out_percent = 20,
		.snat_ports = 2048,
		.snat_max_ports = 512,
		.quarantine_s = 30,
		.seconds = 60,
		.lifetime_min_s = 0.5,
		.lifetime_max_s = 25,
		.patience_s = 60,
		.skew_s = 1,
		.detect_s = 0.3,
		.delay_us = 100,
		.client_delay_us = 5000,
		.jitter_us = 50,
		.drain_s = 3600,
		.max_pins = 262144,
		.follow = UINT32_MAX,
		.churn_text = "none",
		.sabotage = "",
	};
	for (int id; (id = getopt_long(argc, argv, "", table, NULL)) != -1;)
		take_option(ret_options, id, optarg);
	if (optind != argc) {
		fprintf(stderr, "ananta-sim: %s: not an option\n%s", argv[optind], help);
		exit(2);
	}
	if (ret_options->n_vips == 0)
		ret_options->n_vips = ret_options->n_dips < 20 ? 1 : ret_options->n_dips / 20;
}
