// The DIPs that may lease ports: attached, and in the `snat` list of at least one VIP. Of each: in which pools it is a
// holder, and how its demand goes.
//
// Which DIPs are here, and their claims, follow from the configuration; the demand is replicated. A DIP that goes is forgotten.
// Threads: one owner. Cost: lookup O(1). Grows with the DIPs; the rules of the state bound it.
#pragma once

#include <stdint.h>

#include "common/base/error.h"
#include "common/model/lease.h"
#include "manager/core/snat_pool.h"

struct snat_claim { // of a DIP to ranges of a pool
	struct snat_pool *pool;
	struct snat_holder *holder; // the DIP's
	uint32_t max_ranges; // that it may hold
};

struct snat_dip {
	struct snat_demand demand; // asked_ms 0: it has been granted nothing yet
	struct snat_dip *next; // of the same bucket
	uint32_t n_claims;
	uint32_t capacity;
	struct snat_claim *claims; // ascending by VIP: the order in which they are tried
};

struct snat_dips {
	uint32_t n;
	uint32_t n_buckets; // a power of two, or 0
	struct snat_dip **buckets;
};

void snat_dips_init(struct snat_dips *x);
void snat_dips_fini(struct snat_dips *x); // pools and holders are not its own

// NULL: none.
struct snat_dip *snat_dips_lookup(const struct snat_dips *x, const struct ip_addr *dip);

// Makes the DIP of the holder known, if need be, and adds or changes its claim to the pool.
NODISCARD int snat_dips_put_claim(struct snat_dips *x, const struct snat_claim *claim);

// A DIP without claims is forgotten. What is not there may be removed.
void snat_dips_remove_claim(struct snat_dips *x, const struct ip_addr *dip, const struct snat_pool *pool);

// The demands of those that were granted something, ascending by DIP. ERR_NO_MEMORY leaves the list empty.
NODISCARD int snat_dips_get_demands(const struct snat_dips *x, struct snat_demand_list *ret_list);
