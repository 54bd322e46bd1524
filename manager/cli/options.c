#include "manager/cli/options.h"

#include <getopt.h>
#include <string.h>

#include "common/base/text.h"

enum { DEFAULT_TIMEOUT_MS = 5000, LONG_ONLY = 256 };

static const char *const usages[OPTION_BITS] = {
	"-f FILE",       "--name VM", "--dip ADDRESS",    "--interface NAME", "--mac MAC",     "--agent-socket PATH",
	"--vip ADDRESS", "--at TIME", "--wait[=SECONDS]", "--follow",         "--object TEXT", "--if-version N",
	"--dry-run",     "--prune",   "--tenant NAME",    "--version N",      "--to N",        "--via ADDRESS"
};

static unsigned bit_index(unsigned bit)
{
	return (unsigned)__builtin_ctz(bit);
}

const char *option_usage(unsigned bit)
{
	return usages[bit_index(bit)];
}

const char *options_get(const struct options *o, unsigned bit)
{
	return o->values[bit_index(bit)];
}

int options_get_u64(const struct options *o, unsigned bit, uint64_t *ret_value, struct error *err)
{
	if (text_parse_u64(options_get(o, bit), 0, UINT64_MAX - 1, ret_value))
		return 0;
	return error_set(err, ERR_INVALID, "%s: must be a whole number, got \"%.40s\"", option_usage(bit),
	                 options_get(o, bit));
}

enum {
	ARG_MANAGERS = LONG_ONLY,
	ARG_TIMEOUT,
	ARG_VERSION,
	ARG_BITS, // + index of the bit
};

static const struct option long_options[] = {
	{ "managers", required_argument, NULL, ARG_MANAGERS },
	{ "output", required_argument, NULL, 'o' },
	{ "timeout", required_argument, NULL, ARG_TIMEOUT },
	{ "help", no_argument, NULL, 'h' },
	{ "version", optional_argument, NULL, ARG_VERSION },
	{ "file", required_argument, NULL, ARG_BITS + 0 },
	{ "name", required_argument, NULL, ARG_BITS + 1 },
	{ "dip", required_argument, NULL, ARG_BITS + 2 },
	{ "interface", required_argument, NULL, ARG_BITS + 3 },
	{ "mac", required_argument, NULL, ARG_BITS + 4 },
	{ "agent-socket", required_argument, NULL, ARG_BITS + 5 },
	{ "vip", required_argument, NULL, ARG_BITS + 6 },
	{ "at", required_argument, NULL, ARG_BITS + 7 },
	{ "wait", optional_argument, NULL, ARG_BITS + 8 },
	{ "follow", no_argument, NULL, ARG_BITS + 9 },
	{ "object", required_argument, NULL, ARG_BITS + 10 },
	{ "if-version", required_argument, NULL, ARG_BITS + 11 },
	{ "dry-run", no_argument, NULL, ARG_BITS + 12 },
	{ "prune", no_argument, NULL, ARG_BITS + 13 },
	{ "tenant", required_argument, NULL, ARG_BITS + 14 },
	{ "to", required_argument, NULL, ARG_BITS + 16 },
	{ "via", required_argument, NULL, ARG_BITS + 17 },
	{ 0 },
};

static int parse_timeout(struct options *o, const char *option, struct error *err)
{
	uint64_t seconds;
	if (!text_parse_u64(optarg, 1, 3600, &seconds))
		return error_set(err, ERR_INVALID, "%s: must be 1 to 3600 seconds, got \"%.40s\"", option, optarg);
	o->wait_ms = (uint32_t)seconds * 1000;
	return 0;
}

// How long to wait for an answer; but with --wait, for what is waited for.
static void settle_timeout(struct options *o)
{
	o->timeout_ms = DEFAULT_TIMEOUT_MS;
	if (o->wait_ms != 0 && (o->wait_ms < DEFAULT_TIMEOUT_MS || !options_has(o, OPTION_WAIT)))
		o->timeout_ms = o->wait_ms;
}

static int parse_output(struct options *o, struct error *err)
{
	o->is_json = strcmp(optarg, "json") == 0;
	if (!o->is_json && strcmp(optarg, "text") != 0)
		return error_set(err, ERR_INVALID, "-o: must be \"text\" or \"json\", got \"%.40s\"", optarg);
	return 0;
}

static void give(struct options *o, unsigned bit, const char *value)
{
	o->given |= bit;
	o->values[bit_index(bit)] = value;
}

// "--version 7" is of a VIP, "--version" alone of the program.
static void take_version(struct options *o, int argc, char **argv)
{
	if (optarg == NULL && optind < argc && argv[optind][0] >= '0' && argv[optind][0] <= '9')
		optarg = argv[optind++];
	if (optarg != NULL)
		give(o, OPTION_VERSION, optarg);
	else
		o->wants_version = true;
}

static int take_file(struct options *o, struct error *err)
{
	if (o->n_files == FILES_MAX)
		return error_set(err, ERR_INVALID, "-f: at most %d files and directories can be named", FILES_MAX);
	o->files[o->n_files++] = optarg;
	give(o, OPTION_FILE, optarg);
	return 0;
}

static int take_option(struct options *o, int c, int argc, char **argv, struct error *err)
{
	if (c == ARG_BITS + 0)
		return take_file(o, err);
	if (c == ARG_BITS + 8 && optarg != NULL && parse_timeout(o, "--wait", err) != 0)
		return err->code;
	if (c >= ARG_BITS && c < ARG_BITS + OPTION_BITS) {
		give(o, 1u << (c - ARG_BITS), optarg);
		return 0;
	}
	switch (c) {
	case ARG_MANAGERS: o->managers = optarg; return 0;
	case ARG_TIMEOUT: return parse_timeout(o, "--timeout", err);
	case ARG_VERSION: take_version(o, argc, argv); return 0;
	case 'o': return parse_output(o, err);
	case 'h': o->wants_help = true; return 0;
	case 'f': return take_file(o, err);
	case ':': return error_set(err, ERR_INVALID, "%s: needs a value", argv[optind - 1]);
	default:
		if (optopt != 0 && optopt < LONG_ONLY)
			return error_set(err, ERR_INVALID, "-%c: is no option that is known here", optopt);
		return error_set(err, ERR_INVALID, "%s: is no such option, or one that takes no value", argv[optind - 1]);
	}
}

int options_parse(int argc, char **argv, struct options *ret_options, struct error *err)
{
	struct options o = { 0 };
	opterr = 0;
	optind = 1;
	for (int c; (c = getopt_long(argc, argv, ":hf:o:", long_options, NULL)) != -1;) {
		int code = take_option(&o, c, argc, argv, err);
		if (code != 0)
			return code;
	}
	for (; optind < argc && o.n_operands < OPERANDS_MAX; optind++)
		o.operands[o.n_operands++] = argv[optind];
	settle_timeout(&o);
	*ret_options = o;
	return 0;
}
