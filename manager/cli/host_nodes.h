// The commands on hosts that are the same as those on muxes; node_commands.c.
#pragma once

#include "manager/cli/command.h"

enum status list_hosts(struct cli *cli, const char *operand);
enum status show_host(struct cli *cli, const char *operand);
enum status remove_host(struct cli *cli, const char *operand);
