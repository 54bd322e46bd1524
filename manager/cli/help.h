// The texts of `--help` at every level, made from the table of commands.
#pragma once

#include "manager/cli/command.h"

// `groups` ends with NULL.
void help_print_all(const struct command *const *groups);
void help_print_noun(const struct command *const *groups, const char *noun);
void help_print_command(const struct command *c);
