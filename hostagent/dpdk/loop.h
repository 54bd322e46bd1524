// The worker: receives from uplink, tap and VM ports, lets the core decide, sends; sleeps when nothing comes.
//
// One turn is: orders about leases, the host's own traffic (tap), a burst from the uplink, a burst from every VM port, frames
// whose wait for ports is over, pins to the muxes, reports, and, some hundred times a second at most, next hops and what time brings. Packets are sent at the end of each burst, in order, one transmit call per
// port. What a port does not take is dropped and counted (drop_tx_full): a VM that does not read must not stop the others.
// A frame that waits for ports stays in its buffer, in a queue of its DIP (core/hold_queue.h).
// Threads: loop_run on the worker; the rest before it starts, or atomically from the control thread.
#pragma once

#include <stdatomic.h>

#include "common/dpdk/poller.h"
#include "common/dpdk/rcu.h"
#include "hostagent/core/agent.h"
#include "hostagent/core/hold_queue.h"
#include "hostagent/dpdk/snat_rings.h"
#include "hostagent/dpdk/view.h"

#define LOOP_WORKER 0 // the only one, in `rcu`

struct vm_counters {
	uint64_t rx_packets;
	uint64_t tx_packets;
};

struct tx_buffer {
	uint16_t n;
	struct rte_mbuf *packets[AGENT_BURST];
};

struct held_fragment {
	struct rte_mbuf *frame; // NULL: none
	uint16_t port; // the VM port that it came from
};

struct loop {
	_Atomic(const struct view *) view;
	atomic_bool is_stopping;
	atomic_bool has_ended; // the worker's last store: what it wrote before may be read and freed
	_Atomic uint64_t n_flows; // gauge, some ms old
	struct dpdk_poller poller;
	struct dpdk_rcu rcu;
	uint16_t uplink;
	uint16_t tap;
	struct snat_rings rings;
	bool sees_own_frames; // AF_PACKET also receives what the kernel itself sends on the interface
	// Of the worker:
	struct agent agent;
	uint64_t generation; // of the view that agent.port_is_open is from
	struct mono_time tended;
	struct vm_counters vms[AGENT_PORTS_MAX];
	struct tx_buffer to_uplink;
	struct tx_buffer to_tap;
	struct tx_buffer to_vm[AGENT_PORTS_MAX];
	uint16_t n_touched; // VM ports with packets in to_vm
	uint16_t touched[AGENT_BURST];
	struct rte_mempool *pool;
	struct hold_queue held;
	struct held_fragment fragments[AGENT_FRAGMENT_SLOTS]; // that wait for their datagram's first one
};

// The body of the worker lcore, for rte_eal_remote_launch; returns after loop_stop.
int loop_run(void *loop);

void loop_stop(struct loop *l);

// The tap's driver learns of each packet of the kernel by a real-time signal to the process, and finds none before: it must reach the
// worker, and not wake another thread first while the worker looks in vain. So they are blocked (SIG_BLOCK) before any thread
// is made; the worker takes them.
void loop_block_tap_signals(int how);

// After it has ended: frees what still waits.
void loop_free_held(struct loop *l);

// Publishes a view and returns the one before it, when the worker no longer uses it.
const struct view *loop_publish(struct loop *l, const struct view *view);

// CLOCK_BOOTTIME: goes on over restarts of the process.
struct mono_time loop_now(void);
