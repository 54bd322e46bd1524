// Which descriptors of the process belong to a port: what was opened while the driver made it. DPDK does not tell, and rx
// interrupts do not exist for these drivers. AF_PACKET and AF_XDP sockets and tuns are what a worker sleeps on; BPF programs
// and maps are what the AF_XDP driver leaves open when the port closes.
// Threads: one at a time; other threads may open other kinds of descriptors meanwhile.
#pragma once

#include <stdint.h>

#include "common/dpdk/port.h"

#define PORT_FDS_SEEN_MAX 1024

struct port_fds_mark {
	uint32_t n;
	struct dpdk_bpf_fd fds[PORT_FDS_SEEN_MAX]; // id: 0 for all but BPF's
};

// What is open now.
void port_fds_mark(struct port_fds_mark *mark);

// Adds to the port what came since the mark: fds, bpf_fds.
void port_fds_find(const struct port_fds_mark *mark, struct dpdk_port *port);

// After the port was closed: closes the BPF descriptors that are still open. (Some are opened by closing: find, then this.)
void port_fds_close_bpf(struct dpdk_port *port);
