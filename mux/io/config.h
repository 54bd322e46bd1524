// The configuration file of ananta-mux: what all nodes have (common/io/node_config.h), and
//
//   "routes": { "interface": "vip0", "table": 100 }, "workers": 1,
//   "max_pins": 262144, "oversized": "fragment" or "drop"
#pragma once

#include "common/io/node_config.h"
#include "mux/core/pipeline.h"

struct mux_config {
	struct node_config node;
	char routes_interface[16];
	uint32_t routes_table;
	uint32_t n_workers;
	uint32_t max_pins; // that the worker remembers; 0: none
	enum mux_oversized oversized;
};

// Reads and checks a whole file. ERR_INVALID or ERR_IO with the file, the field and what is right.
NODISCARD int mux_config_read(const char *path, struct mux_config *ret_config, struct error *err);
