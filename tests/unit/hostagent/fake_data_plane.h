// A data plane without DPDK, for tests of the control: it keeps what it is told.
#pragma once

#include "hostagent/dpdk/data_plane.h"

struct data_plane {
	struct agent_config *config;
	uint32_t n_configs; // how many it was given
	uint32_t n_tended;
	enum vm_port_state state; // of all ports
};
