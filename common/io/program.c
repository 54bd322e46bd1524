#include "common/io/program.h"

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>

static void print_help(const char *name, const char *about, const struct program_flag *flag)
{
	printf("usage: %s --config FILE [--check-config", name);
	if (flag != NULL)
		printf("|--%s", flag->name);
	printf("]\n\n%s\n\n"
	       "  --config FILE    the configuration (JSON); see %s(8)\n"
	       "  --check-config   check the configuration and exit: 0 when it is right, 1 when not\n",
	       about, name);
	if (flag != NULL)
		printf("  --%-14s %s\n", flag->name, flag->help);
	printf("  --version        print the version\n"
	       "  --help           print this text\n");
}

static int usage_error(const char *name)
{
	fprintf(stderr, "try `%s --help`\n", name);
	return PROGRAM_EXIT_CONFIG;
}

bool program_parse_options(int argc, char **argv, const char *name, const char *about,
                           struct program_options *ret_options, int *ret_status)
{
	bool has_flag;
	return program_parse_options_and_flag(argc, argv, name, about, NULL, ret_options, &has_flag, ret_status);
}

bool program_parse_options_and_flag(int argc, char **argv, const char *name, const char *about,
                                    const struct program_flag *flag, struct program_options *ret_options,
                                    bool *ret_has_flag, int *ret_status)
{
	struct option table[] = { { "config", required_argument, NULL, 'c' },
		                      { "check-config", no_argument, NULL, 'k' },
		                      { "version", no_argument, NULL, 'v' },
		                      { "help", no_argument, NULL, 'h' },
		                      { flag != NULL ? flag->name : NULL, no_argument, NULL, 'f' },
		                      { 0 } };
	struct program_options o = { 0 };
	*ret_has_flag = false;
	for (int c; (c = getopt_long(argc, argv, "", table, NULL)) != -1;) {
		switch (c) {
		case 'c': o.config = optarg; break;
		case 'k': o.checks_only = true; break;
		case 'f': *ret_has_flag = true; break;
		case 'v':
			printf("%s %s\n", name, ANANTA_VERSION);
			*ret_status = EXIT_SUCCESS;
			return false;
		case 'h':
			print_help(name, about, flag);
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
