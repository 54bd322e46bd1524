// A DPDK port, made and removed while the program runs: AF_XDP or AF_PACKET on a kernel interface, a tap, or any device that
// DPDK knows (net_memif, a PCI address).
//
// With AF_XDP the program takes every packet of the interface; with AF_PACKET the kernel sees them too, so opening such a
// port silences the kernel on it (no ARP, no IPv6, strict rp_filter): the interface must be the program's own. Opening sets
// the link up, and its MTU where `mtu` asks for more than it has; frames to all groups are received.
// Transmit and receive functions are DPDK's: rte_eth_rx_burst(port->id, queue, ...). Offloads are off: checksums of what the
// kernel's peer of a veth sends must be complete (`ethtool -K IF tx off` there).
//
// Removing a port under a running worker, in this order (control thread):
//   1. publish a set of ports without it (an atomic pointer that the worker loads in each turn)
//   2. dpdk_rcu_synchronize()  -- after it no worker holds the old set
//   3. dpdk_poller_remove_port()
//   4. dpdk_port_close()
// Adding is: dpdk_port_open(), dpdk_poller_add_port(), publish. Frames in flight need no care: buffers belong to the pool.
// Threads: open and close on the main thread; 40 to 100 ms each for AF_XDP (it loads a BPF program).
#pragma once

#include <rte_mempool.h>
#include <stdbool.h>
#include <stdint.h>

#include "common/base/error.h"
#include "common/io/node_config.h"
#include "common/packet/headers.h"

#define DPDK_PORT_FDS_MAX 32
#define DPDK_PORT_BPF_FDS_MAX 16
#define DPDK_PORT_NAME_BYTES 64

enum dpdk_driver {
	DPDK_AF_XDP, // interface
	DPDK_AF_PACKET, // interface
	DPDK_TAP, // interface: the kernel's name for it, made here and gone when the port closes or the process ends
	DPDK_DEVICE, // device
};

struct dpdk_port_config {
	enum dpdk_driver driver;
	const char *interface;
	const char *device; // "net_memif0,role=client,id=0" or "0000:3b:00.0"
	const struct mac *mac; // of a tap; NULL: a random one
	uint32_t mtu; // bytes after the Ethernet header, up to DPDK_MTU_MAX; 0: as the interface has it
	uint16_t n_queues; // receive and transmit queues, one of each for a worker; 0 means 1
	struct rte_mempool *pool;
};

struct dpdk_bpf_fd {
	int fd;
	uint32_t id; // the kernel's id of the program or map behind it
};

struct dpdk_port {
	bool is_open;
	enum dpdk_driver driver;
	uint16_t id; // DPDK's
	uint16_t mtu;
	uint16_t n_queues;
	struct mac mac; // the kernel interface's for AF_XDP and AF_PACKET
	char name[DPDK_PORT_NAME_BYTES]; // of the DPDK device
	char interface[16]; // "" for DPDK_DEVICE
	uint32_t n_fds; // what wakes a sleeping worker; 0: only polling tells (net_memif, a NIC)
	int fds[DPDK_PORT_FDS_MAX]; // borrowed from the driver: never closed here
	bool fd_is_tun[DPDK_PORT_FDS_MAX];
	uint32_t n_bpf_fds; // programs and maps of AF_XDP, which the driver does not close
	struct dpdk_bpf_fd bpf_fds[DPDK_PORT_BPF_FDS_MAX];
	struct rte_mempool *pool;
	struct xsk_state *xsk; // of AF_XDP ports
};

// "af_xdp", "af_packet". ERR_INVALID for other names.
NODISCARD int dpdk_driver_parse(const char *name, enum dpdk_driver *ret_driver, struct error *err);

// What the node's "uplink" asks for. ERR_INVALID when the driver is unknown.
NODISCARD int dpdk_port_config_of_uplink(const struct node_config *node, uint16_t n_queues, struct rte_mempool *pool,
                                         struct dpdk_port_config *ret_config, struct error *err);

// Makes the device, configures n_queues receive and transmit queues, starts it. ERR_NOT_FOUND: no such interface; ERR_IO with
// the driver's reason; nothing is left behind on failure.
NODISCARD int dpdk_port_open(struct dpdk_port *port, const struct dpdk_port_config *config, struct error *err);

// No worker may use the port any more. Closing a closed port is fine.
void dpdk_port_close(struct dpdk_port *port);

// Sets net.<family>.conf.<interface>.<name>, where the kernel has it.
void dpdk_port_write_sysctl(const char *family, const char *interface, const char *name, const char *value);
