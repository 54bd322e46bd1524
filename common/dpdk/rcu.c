#include "common/dpdk/rcu.h"

#include <stdlib.h>
#include <string.h>

int dpdk_rcu_init(struct dpdk_rcu *rcu, uint32_t n_workers)
{
	size_t bytes = rte_rcu_qsbr_get_memsize(n_workers);
	bytes = (bytes + RTE_CACHE_LINE_SIZE - 1) & ~(size_t)(RTE_CACHE_LINE_SIZE - 1);
	rcu->qsbr = aligned_alloc(RTE_CACHE_LINE_SIZE, bytes);
	rcu->n_workers = n_workers;
	if (rcu->qsbr == NULL)
		return ERR_NO_MEMORY;
	memset(rcu->qsbr, 0, bytes);
	rte_rcu_qsbr_init(rcu->qsbr, n_workers);
	for (uint32_t i = 0; i < n_workers; i++)
		rte_rcu_qsbr_thread_register(rcu->qsbr, i);
	return 0;
}

void dpdk_rcu_fini(struct dpdk_rcu *rcu)
{
	free(rcu->qsbr);
	rcu->qsbr = NULL;
}
