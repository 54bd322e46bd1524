// anantactl mux drain|undrain.
#pragma once

#include "manager/cli/command.h"

enum status drain_mux(struct cli *cli, const char *operand);
enum status undrain_mux(struct cli *cli, const char *operand);
