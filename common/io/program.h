// The command line that the three daemons share: --config FILE, --check-config, --version, --help.
#pragma once

#include <stdbool.h>

enum { PROGRAM_EXIT_CONFIG = 2 }; // the command line or the configuration is wrong

struct program_options {
	const char *config;
	bool checks_only; // say whether the configuration is right, and end
};

// An option of one program alone: a word that makes the program print something and end, instead of running.
struct program_flag {
	const char *name; // "print-bird"
	const char *help;
};

// `name` is the program's, `about` what --help says of it. True to go on; else the program ends with *ret_status.
bool program_parse_options(int argc, char **argv, const char *name, const char *about,
                           struct program_options *ret_options, int *ret_status);

// The same for a program that has a flag; *ret_has_flag says whether it was given.
bool program_parse_options_and_flag(int argc, char **argv, const char *name, const char *about,
                                    const struct program_flag *flag, struct program_options *ret_options,
                                    bool *ret_has_flag, int *ret_status);
