// What DPDK's AF_XDP driver (22.11, libxdp 1.3) leaves undone when a port closes, done from outside over the kernel's own
// interface (Documentation/networking/af_xdp.rst), so that VM ports may come and go for ever:
//   - it forgets the buffers in its rings: 2048 of a pool that all ports share. The rings are memory shared with the kernel:
//     they are mapped a second time when it opens, and what they hold at the end goes back into the pool.
//   - it does not close the socket, so that the interface's queue stays taken (EBUSY) while the process lives.
//   - the kernel frees the queue later than close() returns, and a driver that is refused leaks another 2048 buffers: so
//     opening waits until the queue is free.
// All of it does nothing where a newer driver has done it.
// Threads: the main one; no worker uses the port.
#pragma once

#include <stdint.h>

#include "common/base/error.h"
#include "common/dpdk/port.h"

struct xsk_state;

// Just after a port was opened: finds its AF_XDP sockets and maps their rings. *ret_state is NULL for other ports. (Not when
// it closes: the kernel refuses to map the rings of an interface that vanished meanwhile.) ERR_NO_MEMORY, ERR_IO.
NODISCARD int xsk_state_create(const struct dpdk_port *port, struct xsk_state **ret_state, struct error *err);

// After the port closed: frees the sockets, the maps and the buffers. Returns how many buffers came back. NULL is fine.
uint32_t xsk_state_destroy(struct xsk_state *s);

// Waits until queue 0 of an interface can be bound. ERR_CONFLICT: somebody keeps it.
NODISCARD int xsk_wait_free(uint32_t link_index, struct error *err);

// libbpf and libxdp print to stderr what does not matter; once they are loaded they can be told not to.
void xsk_silence_libraries(void);
