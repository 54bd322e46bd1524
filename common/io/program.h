// The command line that the three daemons share: --config FILE, --check-config, --version, --help.
#pragma once

#include <stdbool.h>

enum { PROGRAM_EXIT_CONFIG = 2 }; // the command line or the configuration is wrong

struct program_options {
	const char *config;
	bool checks_only; // say whether the configuration is right, and end
};

// `name` is the program's, `about` what --help says of it. True to go on; else the program ends with *ret_status.
bool program_parse_options(int argc, char **argv, const char *name, const char *about,
                           struct program_options *ret_options, int *ret_status);
