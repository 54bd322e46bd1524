// What `anantactl vip` has of documents.
#pragma once

#include "manager/cli/command.h"

enum status plan_vip(struct cli *cli, const char *operand);
