// What the files of the pool share. Included by snat_pool*.c only.
#pragma once

#include "manager/core/snat_pool.h"

#define SNAT_EMPTY_CHAIN ((struct snat_chain){ .first = SNAT_NO_RANGE, .last = SNAT_NO_RANGE })

// The permutation, and back.
uint32_t snat_pool_range_at(const struct snat_pool *p, uint32_t position);
uint32_t snat_pool_position_of(const struct snat_pool *p, uint32_t range);

static inline bool snat_pool_is_excluded(const struct snat_pool *p, uint32_t range)
{
	return (p->excluded[range / 64] >> (range % 64) & 1) != 0;
}

// Begins anew with these ranges, which are all 0; the holders stay.
void snat_pool_set_shape(struct snat_pool *p, uint32_t range_size, uint64_t seed, struct snat_range *ranges);

void snat_pool_append(struct snat_pool *p, struct snat_chain *chain, uint16_t position);

// Makes a range that is in no chain the holder's newest.
void snat_pool_hold(struct snat_pool *p, struct snat_holder *holder, uint16_t position, uint32_t epoch,
                    uint64_t granted_ms);

// As it is held: without an end. Of a free range the DIP is unspecified.
struct lease snat_pool_lease_at(const struct snat_pool *p, uint16_t position);
