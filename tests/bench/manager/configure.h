// manager-bench --configure: how fast the configuration is changed, and who has it when.
#pragma once

#include "tests/bench/manager/options.h"

void configure_run(const struct bench_options *options);
