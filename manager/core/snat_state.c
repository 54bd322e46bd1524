#include "manager/core/snat_state.h"

#include <stdlib.h>
#include <string.h>

#include "common/base/memory.h"
#include "manager/core/snat_state_parts.h"

// ---- life ----

int snat_state_init(struct snat_state *s)
{
	memset(s, 0, sizeof *s);
	s->next_epoch = 1;
	snat_dips_init(&s->dips);
	if (snat_changes_init(&s->changes) == 0 && snat_log_init(&s->log) == 0)
		return 0;
	snat_state_fini(s);
	return ERR_NO_MEMORY;
}

void snat_state_fini(struct snat_state *s)
{
	for (uint32_t i = 0; i < s->n_pools; i++)
		snat_pool_destroy(s->pools[i]);
	memory_free(s->pools);
	snat_dips_fini(&s->dips);
	snat_changes_fini(&s->changes);
	snat_log_fini(&s->log);
	memset(s, 0, sizeof *s);
}

void snat_state_begin(struct snat_state *s, uint64_t time_ms)
{
	s->clock_ms = snat_state_clock(s, time_ms);
	s->has_changed = false;
}

bool snat_state_end(struct snat_state *s)
{
	s->version += s->has_changed;
	return s->has_changed;
}

// ---- pools ----

// The index of the VIP's pool, or where it belongs.
static uint32_t find_pool(const struct snat_state *s, const struct ip_addr *vip)
{
	uint32_t low = 0;
	uint32_t high = s->n_pools;
	while (low < high) {
		uint32_t middle = low + (high - low) / 2;
		if (ip_addr_compare(&s->pools[middle]->vip, vip) < 0)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

struct snat_pool *snat_state_lookup_pool(const struct snat_state *s, const struct ip_addr *vip)
{
	uint32_t i = find_pool(s, vip);
	return i < s->n_pools && ip_addr_equal(&s->pools[i]->vip, vip) ? s->pools[i] : NULL;
}

int snat_state_make_pool(struct snat_state *s, const struct store *store, const struct ip_addr *vip,
                         uint32_t range_size, struct snat_pool **ret_pool)
{
	struct snat_pool **pools = memory_grow(s->pools, s->n_pools, &s->capacity, sizeof *pools);
	if (pools == NULL)
		return ERR_NO_MEMORY;
	s->pools = pools;
	struct snat_pool *pool;
	if (snat_pool_create(vip, range_size, snat_seed_of(store, vip), &pool) != 0)
		return ERR_NO_MEMORY;
	uint32_t i = find_pool(s, vip);
	memmove(s->pools + i + 1, s->pools + i, (s->n_pools - i) * sizeof *s->pools);
	s->pools[i] = pool;
	s->n_pools++;
	*ret_pool = pool;
	return 0;
}

void snat_state_set_retired(struct snat_state *s, struct snat_pool *pool, bool is_retired)
{
	s->n_retired += is_retired;
	s->n_retired -= pool->is_retired;
	pool->is_retired = is_retired;
}

void snat_state_sweep(struct snat_state *s, const struct cluster_settings *settings)
{
	struct snat_now now = snat_now_of(s->clock_ms, settings);
	if (s->n_retired == 0)
		return;
	uint32_t n = 0;
	for (uint32_t i = 0; i < s->n_pools; i++) {
		struct snat_pool *pool = s->pools[i];
		if (pool->is_retired && snat_pool_count_quarantined(pool, now) == 0) {
			snat_state_set_retired(s, pool, false);
			snat_pool_destroy(pool);
		} else {
			s->pools[n++] = pool;
		}
	}
	s->n_pools = n;
}

// ---- leases ----

static void note_change(struct snat_state *s, const struct lease *lease)
{
	s->has_changed = true;
	snat_changes_append(&s->changes, s->version + 1, lease);
}

bool snat_state_grant(struct snat_state *s, struct snat_pool *pool, struct snat_holder *holder, struct snat_now now)
{
	struct lease lease;
	if (!snat_pool_grant(pool, holder, now, s->next_epoch, &lease))
		return false;
	if (++s->next_epoch == 0)
		s->next_epoch = 1;
	note_change(s, &lease);
	return true;
}

bool snat_state_end_lease(struct snat_state *s, struct snat_pool *pool, uint32_t port,
                          const struct cluster_settings *settings)
{
	struct lease lease;
	if (!snat_pool_end(pool, port, s->clock_ms, &lease))
		return false;
	snat_log_append(&s->log, &lease, settings->snat_log_s * 1000ULL);
	note_change(s, &lease);
	return true;
}

uint32_t snat_state_end_all_of(struct snat_state *s, struct snat_pool *pool, struct snat_holder *holder,
                               const struct cluster_settings *settings)
{
	uint32_t n_ports = 0;
	struct lease lease;
	for (uint16_t at = SNAT_NO_RANGE; snat_pool_next_of(pool, holder, &at, &lease); at = SNAT_NO_RANGE) {
		(void)snat_state_end_lease(s, pool, lease.first_port, settings);
		n_ports += lease.n_ports;
	}
	return n_ports;
}

// ---- questions ----

bool snat_state_lookup(const struct snat_state *s, const struct ip_addr *vip, uint32_t port, struct lease *ret_lease)
{
	const struct snat_pool *pool = snat_state_lookup_pool(s, vip);
	return pool != NULL && snat_pool_lookup(pool, port, ret_lease);
}

const struct ip_addr *snat_state_next_vip(const struct snat_state *s, const struct ip_addr *dip,
                                          const struct cluster_settings *settings)
{
	const struct snat_dip *d = snat_dips_lookup(&s->dips, dip);
	if (d == NULL)
		return NULL;
	struct snat_now now = snat_now_of(s->clock_ms, settings);
	for (uint32_t i = 0; i < d->n_claims; i++)
		if (d->claims[i].holder->n_ranges < d->claims[i].max_ranges && snat_pool_has_room(d->claims[i].pool, now))
			return &d->claims[i].pool->vip;
	return &d->claims[0].pool->vip;
}

static int compare_ports(const void *a, const void *b)
{
	return (int)((const struct lease *)a)->first_port - (int)((const struct lease *)b)->first_port;
}

static int list_holder(const struct snat_pool *pool, const struct snat_holder *holder, uint64_t at_ms,
                       struct lease_list *list)
{
	struct lease lease;
	for (uint16_t at = SNAT_NO_RANGE; snat_pool_next_of(pool, holder, &at, &lease);)
		if ((at_ms == 0 || lease.granted_ms <= at_ms) && lease_list_append(list, &lease) != 0)
			return ERR_NO_MEMORY;
	return 0;
}

static int list_pool(const struct snat_pool *pool, uint32_t port, uint64_t at_ms, struct lease_list *list)
{
	struct lease lease;
	if (port != 0) {
		bool is_held = snat_pool_lookup(pool, port, &lease) && (at_ms == 0 || lease.granted_ms <= at_ms);
		return is_held ? lease_list_append(list, &lease) : 0;
	}
	uint32_t first = list->n;
	for (uint32_t i = 0; i < pool->n_holders; i++)
		if (list_holder(pool, pool->holders[i], at_ms, list) != 0)
			return ERR_NO_MEMORY;
	if (list->n > first)
		qsort(list->items + first, list->n - first, sizeof *list->items, compare_ports);
	return 0;
}

int snat_state_list(const struct snat_state *s, const struct ip_addr *vip, uint16_t port, uint64_t at_ms,
                    struct lease_list *list)
{
	for (uint32_t i = 0; i < s->n_pools; i++)
		if (ip_addr_is_unspecified(vip) || ip_addr_equal(&s->pools[i]->vip, vip))
			if (list_pool(s->pools[i], port, at_ms, list) != 0)
				return ERR_NO_MEMORY;
	return at_ms == 0 ? 0 : snat_log_find(&s->log, vip, port, at_ms, list);
}

int snat_state_list_of_dip(const struct snat_state *s, const struct ip_addr *dip, struct lease_list *list)
{
	const struct snat_dip *d = snat_dips_lookup(&s->dips, dip);
	for (uint32_t i = 0; d != NULL && i < d->n_claims; i++)
		if (list_holder(d->claims[i].pool, d->claims[i].holder, 0, list) != 0)
			return ERR_NO_MEMORY;
	return 0;
}

void snat_state_pool_status(const struct snat_state *s, const struct ip_addr *vip, uint64_t now_ms,
                            uint32_t quarantine_s, struct snat_pool_counts *ret_counts)
{
	const struct snat_pool *pool = snat_state_lookup_pool(s, vip);
	struct snat_now now = { .ms = now_ms, .quarantine_ms = quarantine_s * 1000ULL };
	*ret_counts = (struct snat_pool_counts){ 0 };
	if (pool == NULL)
		return;
	ret_counts->n_ports = pool->is_retired ? 0 : (pool->n_ranges - pool->n_excluded) * pool->range_size;
	ret_counts->n_held = pool->n_held * pool->range_size;
	ret_counts->n_quarantined = snat_pool_count_quarantined(pool, now) * pool->range_size;
}

uint64_t snat_state_log_since_ms(const struct snat_state *s)
{
	return s->log.forgot_ms;
}

int snat_state_seek_changes(const struct snat_state *s, uint64_t after_version, uint64_t *ret_at)
{
	return snat_changes_seek(&s->changes, after_version, ret_at);
}

bool snat_state_next_change(const struct snat_state *s, uint64_t *at, uint64_t to_version, struct lease *ret_lease)
{
	const struct snat_change *change = snat_changes_next(&s->changes, at, to_version);
	if (change != NULL)
		*ret_lease = change->lease;
	return change != NULL;
}

uint32_t snat_state_first_epoch_after(const struct snat_state *s, uint64_t version)
{
	uint64_t at;
	struct lease lease;
	if (snat_state_seek_changes(s, version, &at) == 0)
		while (snat_state_next_change(s, &at, UINT64_MAX, &lease))
			if (lease.ended_ms == 0)
				return lease.epoch;
	return s->next_epoch;
}
