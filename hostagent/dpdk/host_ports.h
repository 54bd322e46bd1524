// The two ports every host has: the uplink, and the tap by which the kernel of the host speaks with its own address.
#pragma once

#include "common/dpdk/port.h"

struct host_ports {
	struct dpdk_port uplink;
	struct dpdk_port tap;
};

// Opens both; the tap gets the uplink's MAC address, the node's address, and a default route by the first gateway.
NODISCARD int host_ports_open(struct host_ports *p, const struct node_config *node, struct rte_mempool *pool,
                              struct error *err);
void host_ports_close(struct host_ports *p);
