#include "manager/core/snat_pool_level.h"

enum snat_pool_level snat_pool_level_next(enum snat_pool_level level, const struct snat_pool_counts *counts)
{
	uint64_t n_ports = counts->n_ports;
	uint64_t n_held = counts->n_held;
	uint64_t n_taken = n_held + counts->n_quarantined;
	if (n_held == n_ports)
		return SNAT_POOL_EXHAUSTED;
	if (level == SNAT_POOL_EXHAUSTED && n_taken * 20 >= n_ports * 19)
		return SNAT_POOL_EXHAUSTED;
	if (n_held * 5 >= n_ports * 4)
		return SNAT_POOL_80_PERCENT;
	return level == SNAT_POOL_OK || n_held * 10 < n_ports * 7 ? SNAT_POOL_OK : SNAT_POOL_80_PERCENT;
}
