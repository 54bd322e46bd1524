// The worker of a mux: receives from the uplink and the tap, lets the core decide, sends; sleeps when nothing comes.
//
// One turn is: the node's own traffic (tap to uplink), then a burst from the uplink, own traffic of it sent first, and some
// ten times a second the next hops. What a port does not take is dropped and counted (drop_tx_full).
// Tables are published by the control thread and swapped by RCU: a worker uses one snapshot for a whole turn.
// Threads: all functions are the control thread's; the worker runs between loop_start and loop_stop.
#pragma once

#include <stdatomic.h>

#include "common/dpdk/poller.h"
#include "common/dpdk/rcu.h"
#include "mux/core/pipeline.h"
#include "mux/dpdk/side_buffers.h"

#define LOOP_BURST 32
#define LOOP_WORKER 0 // the only one, in `rcu`

struct loop {
	_Atomic(const struct mux_tables *) tables;
	atomic_bool is_stopping;
	bool is_running;
	unsigned lcore;
	struct dpdk_poller poller;
	struct dpdk_rcu rcu;
	uint16_t uplink;
	uint16_t tap;
	bool sees_own_frames; // AF_PACKET also receives what the kernel itself sends on the interface
	struct rte_mempool *pool;
	// Of the worker:
	struct mux_worker worker;
	struct side_buffers side;
	uint64_t tsc_per_us;
	struct mono_time tended;
	uint64_t real_us_at_tended; // the wall clock then; in between it goes on with the monotonic one
};

// Before the worker is launched. The ports are open. pins: NULL turns them off.
NODISCARD int loop_init(struct loop *l, const struct mux_settings *settings, const struct dpdk_port *uplink,
                        const struct dpdk_port *tap, struct vip_counters *vips, struct pins *pins, struct error *err);
void loop_fini(struct loop *l);

// Starts the worker on an lcore of the EAL. ERR_IO when it is taken.
NODISCARD int loop_start(struct loop *l, unsigned lcore, struct error *err);

// Ends it and waits until it has ended. Not started is fine.
void loop_stop(struct loop *l);

// Publishes tables and returns the ones before, when the worker no longer uses them.
const struct mux_tables *loop_publish(struct loop *l, const struct mux_tables *tables);
