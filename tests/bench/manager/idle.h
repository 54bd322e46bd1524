// manager-bench --idle: what agents that have nothing to say cost the leader. Each pings it, and it them, every
// CONN_SUBSCRIBER_PING_MS.
#pragma once

#include "tests/bench/manager/options.h"

void idle_run(const struct bench_options *options);
