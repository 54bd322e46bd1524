#include "manager/core/snat_log.h"

#include <string.h>

#include "common/base/memory.h"

int snat_log_init(struct snat_log *log)
{
	struct lease *entries = memory_array(SNAT_LOG_CAPACITY, sizeof *entries);
	if (entries == NULL)
		return ERR_NO_MEMORY;
	*log = (struct snat_log){ .entries = entries };
	return 0;
}

void snat_log_fini(struct snat_log *log)
{
	memory_free(log->entries);
	memset(log, 0, sizeof *log);
}

const struct lease *snat_log_at(const struct snat_log *log, uint32_t i)
{
	return &log->entries[(log->first + i) % SNAT_LOG_CAPACITY];
}

static void forget_oldest(struct snat_log *log)
{
	log->forgot_ms = snat_log_at(log, 0)->ended_ms;
	log->first = (log->first + 1) % SNAT_LOG_CAPACITY;
	log->n--;
}

void snat_log_append(struct snat_log *log, const struct lease *ended, uint64_t retention_ms)
{
	while (log->n > 0 && snat_log_at(log, 0)->ended_ms + retention_ms < ended->ended_ms)
		forget_oldest(log);
	if (log->n == SNAT_LOG_CAPACITY)
		forget_oldest(log);
	log->entries[(log->first + log->n++) % SNAT_LOG_CAPACITY] = *ended;
}

int snat_log_find(const struct snat_log *log, const struct ip_addr *vip, uint32_t port, uint64_t at_ms,
                  struct lease_list *list)
{
	bool is_any_vip = ip_addr_is_unspecified(vip);
	for (uint32_t i = 0; i < log->n; i++) {
		const struct lease *l = snat_log_at(log, i);
		bool was_held = l->granted_ms <= at_ms && at_ms < l->ended_ms;
		if (!was_held || (port != 0 && !lease_has_port(l, port)) || (!is_any_vip && !ip_addr_equal(&l->vip, vip)))
			continue;
		if (lease_list_append(list, l) != 0)
			return ERR_NO_MEMORY;
	}
	return 0;
}
