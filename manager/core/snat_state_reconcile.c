// Leases follow the configuration: pools and their shape, who may hold ranges, and what they get before they ask.
#include "manager/core/snat_state.h"

#include "common/base/memory.h"
#include "manager/core/snat_state_parts.h"

static bool lists_dip(const struct vip_config *vip, const struct ip_addr *dip)
{
	uint32_t low = 0;
	uint32_t high = vip->n_snat_dips; // sorted
	while (low < high) {
		uint32_t middle = low + (high - low) / 2;
		int order = ip_addr_compare(&vip->snat_dips[middle], dip);
		if (order == 0)
			return true;
		if (order < 0)
			low = middle + 1;
		else
			high = middle;
	}
	return false;
}

// Ends what DIPs hold that may not any more; all DIPs, without a VIP.
static void remove_strangers(struct snat_state *s, const struct store *store, const struct vip_config *vip,
                             struct snat_pool *pool)
{
	for (uint32_t i = 0; i < pool->n_holders;) {
		struct snat_holder *holder = pool->holders[i];
		if (vip != NULL && lists_dip(vip, &holder->dip) && store_lookup_dip(store, &holder->dip) != NULL) {
			i++;
			continue;
		}
		(void)snat_state_end_all_of(s, pool, holder, &store->settings);
		snat_dips_remove_claim(&s->dips, &holder->dip, pool);
		snat_pool_remove_holder(pool, holder);
	}
}

int snat_state_put_claims(struct snat_state *s, const struct store *store, const struct vip_config *vip,
                          struct snat_pool *pool)
{
	for (uint32_t i = 0; i < vip->n_snat_dips; i++) {
		const struct ip_addr *dip = &vip->snat_dips[i];
		if (store_lookup_dip(store, dip) == NULL)
			continue;
		struct snat_claim claim = {
			.pool = pool,
			.holder = snat_pool_insert_holder(pool, dip),
			.max_ranges = vip->snat.max_ports_per_dip / vip->snat.range_size,
		};
		if (claim.holder == NULL || snat_dips_put_claim(&s->dips, &claim) != 0)
			return ERR_NO_MEMORY;
	}
	return 0;
}

// The pool of a VIP with SNAT DIPs, in the shape that the VIP asks for.
static int shape_pool(struct snat_state *s, const struct store *store, const struct vip_config *vip,
                      struct snat_pool **pool)
{
	if (*pool == NULL && snat_state_make_pool(s, store, &vip->vip, vip->snat.range_size, pool) != 0)
		return ERR_NO_MEMORY;
	if ((*pool)->range_size != vip->snat.range_size &&
	    snat_pool_reshape(*pool, vip->snat.range_size, (*pool)->seed) != 0)
		return ERR_NO_MEMORY;
	snat_state_set_retired(s, *pool, false);
	snat_pool_set_exclusions(*pool, vip);
	return 0;
}

static uint32_t min_u32(uint32_t a, uint32_t b)
{
	return a < b ? a : b;
}

// What a DIP is leased before it asks, in ranges.
static uint32_t prealloc_ranges(const struct vip_config *vip, const struct snat_pool *pool)
{
	const struct snat_policy *policy = &vip->snat;
	uint32_t wanted = (policy->prealloc_ports + policy->range_size - 1) / policy->range_size;
	uint32_t share = pool->n_holders == 0 ? 0 : (pool->n_ranges - pool->n_excluded) / pool->n_holders;
	return min_u32(min_u32(wanted, share), policy->max_ports_per_dip / policy->range_size);
}

// One range after the other to each, so that everybody has as many when ranges run out.
static void preallocate(struct snat_state *s, const struct vip_config *vip, struct snat_pool *pool,
                        const struct cluster_settings *settings)
{
	struct snat_now now = snat_now_of(s->clock_ms, settings);
	uint32_t wanted = prealloc_ranges(vip, pool);
	for (uint32_t n = 1; n <= wanted; n++)
		for (uint32_t i = 0; i < pool->n_holders; i++)
			if (pool->holders[i]->n_ranges < n && !snat_state_grant(s, pool, pool->holders[i], now))
				return;
}

int snat_state_reconcile(struct snat_state *s, const struct store *store, const struct ip_addr *vip_addr)
{
	const struct vip_config *vip = store_lookup_vip(store, vip_addr);
	struct snat_pool *pool = snat_state_lookup_pool(s, vip_addr);
	if (vip != NULL && vip->n_snat_dips == 0)
		vip = NULL;
	if (pool != NULL)
		remove_strangers(s, store, vip, pool);
	if (vip != NULL) {
		if (shape_pool(s, store, vip, &pool) != 0 || snat_state_put_claims(s, store, vip, pool) != 0)
			return ERR_NO_MEMORY;
		preallocate(s, vip, pool, &store->settings);
	} else if (pool != NULL) {
		snat_pool_set_exclusions(pool, NULL); // so that nothing but its leases tells one retired pool from another
		snat_state_set_retired(s, pool, true);
	}
	return 0;
}

int snat_state_reseed(struct snat_state *s, const struct store *store)
{
	for (uint32_t i = 0; i < s->n_pools; i++) {
		struct snat_pool *pool = s->pools[i];
		if (snat_pool_reshape(pool, pool->range_size, snat_seed_of(store, &pool->vip)) != 0)
			return ERR_NO_MEMORY;
		if (!pool->is_retired)
			snat_pool_set_exclusions(pool, store_lookup_vip(store, &pool->vip));
	}
	return 0;
}
