// Into a snapshot, and out of it.
#include "manager/core/snat_state.h"

#include "manager/core/snat_state_parts.h"

static int get_pool(const struct snat_pool *pool, struct snat_image *image)
{
	struct lease lease;
	for (uint32_t i = 0; i < pool->n_holders; i++)
		for (uint16_t at = SNAT_NO_RANGE; snat_pool_next_of(pool, pool->holders[i], &at, &lease);)
			if (lease_list_append(&image->held, &lease) != 0)
				return ERR_NO_MEMORY;
	for (uint32_t at = 0; snat_pool_next_freed(pool, &at, &lease);)
		if (lease_list_append(&image->freed, &lease) != 0)
			return ERR_NO_MEMORY;
	return 0;
}

static int get_log(const struct snat_log *log, struct lease_list *list)
{
	for (uint32_t i = 0; i < log->n; i++)
		if (lease_list_append(list, snat_log_at(log, i)) != 0)
			return ERR_NO_MEMORY;
	return 0;
}

int snat_state_get_image(const struct snat_state *s, struct snat_image *ret_image)
{
	struct snat_image image = { .version = s->version, .clock_ms = s->clock_ms, .next_epoch = s->next_epoch };
	int code = 0;
	for (uint32_t i = 0; code == 0 && i < s->n_pools; i++)
		code = get_pool(s->pools[i], &image);
	if (code == 0)
		code = get_log(&s->log, &image.log);
	if (code == 0)
		code = snat_dips_get_demands(&s->dips, &image.demands);
	if (code != 0) {
		snat_image_fini(&image);
		return code;
	}
	*ret_image = image;
	return 0;
}

static int restore_pools(struct snat_state *s, const struct store *store)
{
	for (uint32_t i = 0; i < store->vips.n; i++) {
		const struct vip_config *vip = store_vip(store, i);
		struct snat_pool *pool;
		if (vip->n_snat_dips == 0)
			continue;
		if (snat_state_make_pool(s, store, &vip->vip, vip->snat.range_size, &pool) != 0)
			return ERR_NO_MEMORY;
		snat_pool_set_exclusions(pool, vip);
		if (snat_state_put_claims(s, store, vip, pool) != 0)
			return ERR_NO_MEMORY;
	}
	return 0;
}

// Also of VIPs that are gone: their ranges are in quarantine.
static int restore_freed(struct snat_state *s, const struct store *store, const struct lease_list *freed)
{
	for (uint32_t i = 0; i < freed->n; i++) {
		const struct lease *range = &freed->items[i];
		struct snat_pool *pool = snat_state_lookup_pool(s, &range->vip);
		if (pool == NULL) {
			if (!lease_range_is_valid(range->first_port, range->n_ports))
				continue;
			if (snat_state_make_pool(s, store, &range->vip, range->n_ports, &pool) != 0)
				return ERR_NO_MEMORY;
			snat_state_set_retired(s, pool, true);
		}
		(void)snat_pool_restore_freed(pool, range);
	}
	return 0;
}

static void restore_demands(struct snat_state *s, const struct snat_demand_list *demands)
{
	for (uint32_t i = 0; i < demands->n; i++) {
		struct snat_dip *d = snat_dips_lookup(&s->dips, &demands->items[i].dip);
		if (d != NULL)
			d->demand = demands->items[i];
	}
}

// What was forgotten ended before the retention of the last command began, or before what is there of a full log.
static void restore_log(struct snat_state *s, const struct store *store, const struct lease_list *log)
{
	uint64_t retention_ms = store->settings.snat_log_s * 1000ULL;
	for (uint32_t i = 0; i < log->n; i++)
		snat_log_append(&s->log, &log->items[i], UINT64_MAX / 2);
	s->log.forgot_ms = s->clock_ms > retention_ms ? s->clock_ms - retention_ms : 0;
	if (s->log.n > 0 && (s->log.n == SNAT_LOG_CAPACITY || snat_log_at(&s->log, 0)->ended_ms < s->log.forgot_ms))
		s->log.forgot_ms = snat_log_at(&s->log, 0)->ended_ms;
}

int snat_state_restore(struct snat_state *s, const struct store *store, const struct snat_image *image)
{
	s->version = image->version;
	s->clock_ms = image->clock_ms;
	s->next_epoch = image->next_epoch == 0 ? 1 : image->next_epoch;
	snat_changes_reset(&s->changes, image->version);
	if (restore_pools(s, store) != 0)
		return ERR_NO_MEMORY;
	for (uint32_t i = 0; i < image->held.n; i++) {
		struct snat_pool *pool = snat_state_lookup_pool(s, &image->held.items[i].vip);
		if (pool != NULL)
			(void)snat_pool_restore_held(pool, &image->held.items[i]);
	}
	if (restore_freed(s, store, &image->freed) != 0)
		return ERR_NO_MEMORY;
	restore_demands(s, &image->demands);
	restore_log(s, store, &image->log);
	return 0;
}
