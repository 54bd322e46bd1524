// anantactl snat show; snat_show.c.
#pragma once

#include "manager/cli/command.h"

enum status show_snat(struct cli *cli, const char *operand);
