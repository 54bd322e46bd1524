// Starting DPDK for a program: EAL arguments from the node's configuration, one pool of packet buffers, worker lcores.
//
// Defaults are those of a laptop that runs a dozen of these: no hugepages, no shared files, no PCI, as little memory as the
// ports need, every thread on whichever CPU is free. "eal" in the configuration replaces the memory arguments (and, where it
// names them, --lcores and --file-prefix): on a server it is ["--in-memory", "-m", "1024", "--lcores", "0,1@4"].
//
// The pool is one for the process, because a buffer travels from port to port without a copy, and because AF_XDP pins what
// it registers: it is sized for n_ports_max ports (and n_buffers_held) at start (2.4 KB a buffer: 15 MB for a mux, 55 MB for ten ports) and never
// grows. When it is empty ports receive nothing until buffers come back; nothing fails.
// Threads: all calls from the main thread.
#pragma once

#include <rte_mempool.h>

#include "common/base/error.h"
#include "common/io/node_config.h"

#define DPDK_WORKERS_MAX 16
#define DPDK_BUFFERS_PER_QUEUE 2304 // AF_XDP keeps 2048 in its fill and receive rings; the rest is under way
#define DPDK_BUFFERS_SHARED 1408 // in bursts, transmit rings and the workers' caches
#define DPDK_BUFFER_DATA_BYTES 2048 // beside the headroom: AF_XDP takes 256 of it, the MTU goes up to 1700
#define DPDK_MTU_MAX 1700

struct dpdk_eal_config {
	const char *program; // "ananta-mux"; with the node's name it makes the file prefix
	const struct node_config *node; // name, uplink device, eal arguments
	uint32_t n_workers; // worker lcores beside the main one, 1 to DPDK_WORKERS_MAX
	uint32_t n_ports_max; // ports that may be open at a time, the uplink and the tap among them
	uint32_t n_buffers_held; // that the program keeps for a while, beside those that are in ports and bursts
};

struct dpdk_eal {
	struct rte_mempool *pool;
	uint32_t n_workers;
	unsigned workers[DPDK_WORKERS_MAX]; // lcore ids, for rte_eal_remote_launch
};

// Starts the EAL and makes the pool; once in a process. The log of DPDK (warnings and worse) goes to log_event.
// ERR_IO or ERR_INVALID with what EAL refused.
NODISCARD int dpdk_eal_start(const struct dpdk_eal_config *config, struct dpdk_eal *ret_eal, struct error *err);

// A pool of n packet buffers, as dpdk_eal_start makes it; for programs that start the EAL themselves (benchmarks). NULL when
// memory is short.
struct rte_mempool *dpdk_pool_create(uint32_t n);

// After all workers returned and all ports are closed.
void dpdk_eal_stop(struct dpdk_eal *eal);
