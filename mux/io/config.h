// The configuration file of ananta-mux: what all nodes have (common/io/node_config.h), and
//
//   "routes": { "interface": "vip0", "table": 100, "prefixes": ["203.0.113.0/24"] }, "workers": 1, "drain_on_stop_ms": 5000,
//   "max_pins": 262144, "state_dir": "/var/lib/ananta/mux", "watchdog_ms": 600, "max_pps": 0,
//   "oversized": "fragment" or "drop", "bgp": see mux/io/bgp_config.h
#pragma once

#include "common/io/node_config.h"
#include "common/io/state_dir.h"
#include "mux/core/pipeline.h"
#include "mux/io/bgp_config.h"

struct mux_config {
	struct node_config node;
	struct routes_config routes;
	struct bgp_file_config bgp;
	char state_dir[STATE_DIR_BYTES]; // "": nothing is remembered
	uint32_t n_workers;
	uint32_t drain_on_stop_ms; // how long a stop waits at most until no packet comes any more; 0: not at all
	uint32_t max_pins; // that the worker remembers; 0: none
	enum mux_oversized oversized;
	uint64_t max_pps; // for VIPs, of the worker; 0: no limit
	uint32_t watchdog_ms; // without a turn, after which the mux is killed; 0: never
};

// Reads and checks a whole file. ERR_INVALID or ERR_IO with the file, the field and what is right.
NODISCARD int mux_config_read(const char *path, struct mux_config *ret_config, struct error *err);
