// The two ports that every mux and host has: the uplink, and the tap by which the node's kernel speaks with its own address
// (ARP, Neighbor Discovery, BGP, managers). The worker passes frames between them.
#pragma once

#include "common/dpdk/port.h"

struct node_ports {
	struct dpdk_port uplink;
	struct dpdk_port tap;
};

// Opens both; the tap gets the uplink's MAC address, the node's addresses, and of each family a default route by its first
// gateway.
// ERR_NOT_FOUND, ERR_INVALID or ERR_IO with the port that refused; nothing is left behind.
NODISCARD int node_ports_open(struct node_ports *p, const struct node_config *node, uint16_t n_queues,
                              struct rte_mempool *pool, struct error *err);
void node_ports_close(struct node_ports *p);
