// Adaptive polling: a worker polls its ports while packets come, and after POLLER_IDLE_POLLS empty turns sleeps in epoll on the
// ports' own descriptors. Idle costs nothing; the first packet after a pause is late by a wake-up, some 10 us.
//
//   for (;;) {
//       n = turn();                                   // receive, process, transmit, quiescent state
//       idle_polls = n > 0 ? 0 : idle_polls + 1;
//       dpdk_poller_wait(poller, rcu, worker, idle_polls, timeout_us);
//   }
//
// Sockets are watched edge-triggered: a link that is down reports its error once and does not spin. A tap is watched
// level-triggered, because its driver learns of packets by a signal that may come after the descriptor is readable.
// Ports without descriptors (net_memif, NICs) are only polled: while one is open a sleep lasts 50 us at first, and up to
// 3.2 ms after a fifth of a second without a packet (1 % of a CPU). That is how late a first packet can be seen.
// Threads: wait by its worker only; add, remove and wake by any thread, at any time.
#pragma once

#include <stdatomic.h>
#include <stdint.h>

#include "common/base/error.h"
#include "common/dpdk/port.h"
#include "common/dpdk/rcu.h"

#define POLLER_IDLE_POLLS 200
#define POLLER_BLIND_US 50
#define POLLER_BLIND_POLLS 64 // after so many sleeps they are twice as long,
#define POLLER_BLIND_DOUBLINGS 6 // so many times

struct dpdk_poller {
	int epoll_fd;
	int wake_fd;
	_Atomic uint32_t n_blind_ports;
};

NODISCARD int dpdk_poller_init(struct dpdk_poller *p, struct error *err);
void dpdk_poller_fini(struct dpdk_poller *p);

// Also wakes the worker, so that it polls the new port at once. ERR_IO.
NODISCARD int dpdk_poller_add_port(struct dpdk_poller *p, const struct dpdk_port *port, struct error *err);
void dpdk_poller_remove_port(struct dpdk_poller *p, const struct dpdk_port *port);

// Returns at once while idle_polls is below POLLER_IDLE_POLLS; else sleeps until a packet, a wake or the timeout. The worker is
// offline in `rcu` while it sleeps: it must hold no published pointer across this call. rcu may be NULL.
void dpdk_poller_wait(struct dpdk_poller *p, struct dpdk_rcu *rcu, uint32_t worker, uint32_t idle_polls,
                      uint32_t timeout_us);

// Ends the sleep that is, or the next one.
void dpdk_poller_wake(struct dpdk_poller *p);
