// What the worker works with: a configuration and the DPDK ports that are open. Immutable once published.
#pragma once

#include <rte_ethdev.h>
#include <stdint.h>

#include "hostagent/core/config.h"

#define NO_DPDK_PORT UINT16_MAX

struct view {
	uint64_t generation; // another one for every view, from 1
	const struct agent_config *config; // NULL: none has arrived
	uint16_t n_open;
	uint16_t open[AGENT_PORTS_MAX]; // VM ports that are open
	uint16_t dpdk_port[AGENT_PORTS_MAX]; // of a VM port; NO_DPDK_PORT when it is not open
	uint16_t mtu[AGENT_PORTS_MAX]; // of an open VM port, as it was when it was opened
	struct mac own_mac[AGENT_PORTS_MAX]; // of the host's end of the VM port
};
