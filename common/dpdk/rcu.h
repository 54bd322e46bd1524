// How a control thread takes things away from running workers (rte_rcu_qsbr): publish a pointer to what replaces them, wait
// until every worker has been quiescent once, free.
//
// A worker is online while it may hold pointers, reports a quiescent state once a turn, and goes offline before it blocks
// (dpdk_poller_wait does that), so that a sleeping worker delays nobody.
// Threads: one writer; every worker its own index. Cost of a quiescent state: one store.
#pragma once

#include <rte_rcu_qsbr.h>

#include "common/base/error.h"

struct dpdk_rcu {
	struct rte_rcu_qsbr *qsbr;
	uint32_t n_workers;
};

// ERR_NO_MEMORY.
NODISCARD int dpdk_rcu_init(struct dpdk_rcu *rcu, uint32_t n_workers);
void dpdk_rcu_fini(struct dpdk_rcu *rcu);

static inline void dpdk_rcu_online(struct dpdk_rcu *rcu, uint32_t worker)
{
	rte_rcu_qsbr_thread_online(rcu->qsbr, worker);
}

static inline void dpdk_rcu_offline(struct dpdk_rcu *rcu, uint32_t worker)
{
	rte_rcu_qsbr_thread_offline(rcu->qsbr, worker);
}

static inline void dpdk_rcu_quiescent(struct dpdk_rcu *rcu, uint32_t worker)
{
	rte_rcu_qsbr_quiescent(rcu->qsbr, worker);
}

// Waits until no worker holds a pointer that was replaced before this call: one turn of a busy worker, some microseconds.
static inline void dpdk_rcu_synchronize(struct dpdk_rcu *rcu)
{
	rte_rcu_qsbr_synchronize(rcu->qsbr, RTE_QSBR_THRID_INVALID);
}
