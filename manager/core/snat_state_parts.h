// What the files of snat_state share. Included by snat_state*.c only.
#pragma once

#include "common/base/hash.h"
#include "manager/core/snat_state.h"

static inline struct snat_now snat_now_of(uint64_t ms, const struct cluster_settings *settings)
{
	return (struct snat_now){ .ms = ms, .quarantine_ms = settings->snat_quarantine_s * 1000ULL };
}

static inline uint64_t snat_seed_of(const struct store *store, const struct ip_addr *vip)
{
	return hash_bytes(vip->bytes, sizeof vip->bytes, store->cluster.hash_seed);
}

// False: the pool has no range to grant.
bool snat_state_grant(struct snat_state *s, struct snat_pool *pool, struct snat_holder *holder, struct snat_now now);

// Ends the lease that holds the port; false when nobody does.
bool snat_state_end_lease(struct snat_state *s, struct snat_pool *pool, uint32_t port,
                          const struct cluster_settings *settings);

// Ends all leases of a holder; returns how many ports that were.
uint32_t snat_state_end_all_of(struct snat_state *s, struct snat_pool *pool, struct snat_holder *holder,
                               const struct cluster_settings *settings);

// A pool for a VIP that has none.
NODISCARD int snat_state_make_pool(struct snat_state *s, const struct store *store, const struct ip_addr *vip,
                                   uint32_t range_size, struct snat_pool **ret_pool);

// Makes holders with claims of the attached DIPs of the VIP's list.
NODISCARD int snat_state_put_claims(struct snat_state *s, const struct store *store, const struct vip_config *vip,
                                    struct snat_pool *pool);

void snat_state_set_retired(struct snat_state *s, struct snat_pool *pool, bool is_retired);
