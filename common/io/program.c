#include "common/io/program.h"

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>

static void print_help(const char *name, const char *about)
{
	printf("usage: %s --config FILE [--check-config]\n\n%s\n\n"
	       "  --config FILE    the configuration (JSON); see %s(8)\n"
	       "  --check-config   check the configuration and exit: 0 when it is right, 1 when not\n"
	       "  --version        print the version\n"
	       "  --help           print this text\n",
	       name, about, name);
}

static int usage_error(const char *name)
{
	fprintf(stderr, "try `%s --help`\n", name);
	return PROGRAM_EXIT_CONFIG;
}

bool program_parse_options(int argc, char **argv, const char *name, const char *about,
                           struct program_options *ret_options, int *ret_status)
{
	static const struct option table[] = { { "config", required_argument, NULL, 'c' },
		                                   { "check-config", no_argument, NULL, 'k' },
		                                   { "version", no_argument, NULL, 'v' },
		                                   { "help", no_argument, NULL, 'h' },
		                                   { 0 } };
	struct program_options o = { 0 };
	for (int c; (c = getopt_long(argc, argv, "", table, NULL)) != -1;) {
		switch (c) {
		case 'c': o.config = optarg; break;
		case 'k': o.checks_only = true; break;
		case 'v':
			printf("%s %s\n", name, ANANTA_VERSION);
			*ret_status = EXIT_SUCCESS;
			return false;
		case 'h':
			print_help(name, about);
			*ret_status = EXIT_SUCCESS;
			return false;
		default: *ret_status = usage_error(name); return false;
		}
	}
	if (o.config != NULL && optind == argc) {
		*ret_options = o;
		return true;
	}
	fprintf(stderr, o.config == NULL ? "%s: --config FILE is missing\n" : "%s: too many arguments\n", name);
	*ret_status = usage_error(name);
	return false;
}
