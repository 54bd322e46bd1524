// The SNAT ports of one VIP: which range is leased to which DIP, and which one is granted next (paper section 3.5.1).
//
//   excluded   below the VIP's first_port, or holding the port of an endpoint: never leased
//   unused     never leased yet; granted first, in a scrambled order that is the same on every replica
//   freed      leased before; granted then, the longest free first, so that late packets of its last owner meet
//              nobody's connection. Until the quarantine has passed it is not granted at all, even when nothing else is left
//   held       leased to one holder
//
// A holder is a DIP that may lease here. Ranges are numbered by port / range_size; their records lie in the scrambled order,
// so that a pool that has used little touches little memory.
// Deterministic: the next grant depends only on the leases, on when ranges were freed and in which order, on the VIP's
// configuration and on the seed. A pool built from those by the restore functions goes on as the one they came from.
// Cost: grant, end and lookup O(1), and no allocation; exclusions O(ranges). Memory: 24 bytes a range, at most 192 KiB.
// Full: snat_pool_grant says false. Threads: one owner.
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "common/base/error.h"
#include "common/model/lease.h"
#include "common/model/vip.h"

#define SNAT_NO_RANGE UINT16_MAX

struct snat_chain { // of ranges, by position
	uint16_t first;
	uint16_t last;
};

struct snat_holder {
	struct ip_addr dip;
	uint32_t n_ranges;
	struct snat_chain held; // oldest first
};

struct snat_range {
	uint64_t time_ms; // held: since when; freed: since when; 0: never leased
	struct snat_holder *holder; // NULL: not held
	uint32_t epoch; // of the lease
	uint16_t next; // of the same chain: a holder's, or the freed ones
	uint16_t previous;
};

struct snat_scramble { // a permutation of 0 to mask
	uint32_t mask;
	uint32_t shift;
	uint32_t add;
	uint32_t factor[2];
	uint32_t inverse[2];
};

struct snat_pool {
	struct ip_addr vip;
	bool is_retired; // the VIP leases nothing any more; for the owner of the pool
	uint32_t range_size;
	uint32_t n_ranges; // a power of two: all ports of the VIP
	uint64_t seed;
	struct snat_scramble scramble; // from position to range
	struct snat_range *ranges; // by position
	struct snat_chain freed; // by time_ms, oldest first; none that is excluded
	uint32_t cursor; // no unused range lies at a lower position
	uint32_t n_excluded;
	uint32_t n_unused;
	uint32_t n_freed; // of the chain
	uint32_t n_held;
	uint32_t n_holders;
	uint32_t capacity; // of holders
	struct snat_holder **holders; // ascending by DIP
	uint64_t excluded[SNAT_UNITS / 64]; // a bit for each range
};

// When something is granted: what the quarantine is measured by.
struct snat_now {
	uint64_t ms;
	uint64_t quarantine_ms;
};

// range_size as vip_config_validate allows it. At first nothing is excluded and nobody is a holder.
NODISCARD int snat_pool_create(const struct ip_addr *vip, uint32_t range_size, uint64_t seed,
                               struct snat_pool **ret_pool);
void snat_pool_destroy(struct snat_pool *p);

// What the VIP as configured excludes; NULL: nothing. Leases are not touched: the rules see to it that none is excluded.
void snat_pool_set_exclusions(struct snat_pool *p, const struct vip_config *vip);

// Other ranges, or another order; the exclusions are to be set anew. The size may change only when nothing is held. Ports stay
// quarantined, with the range that they are in now. ERR_NO_MEMORY: nothing but the exclusions has changed.
NODISCARD int snat_pool_reshape(struct snat_pool *p, uint32_t range_size, uint64_t seed);

struct snat_holder *snat_pool_lookup_holder(const struct snat_pool *p, const struct ip_addr *dip);
// The holder that is there, or a new one; NULL when memory is short.
struct snat_holder *snat_pool_insert_holder(struct snat_pool *p, const struct ip_addr *dip);
void snat_pool_remove_holder(struct snat_pool *p, struct snat_holder *holder); // which holds nothing any more

// Is there a range to grant?
bool snat_pool_has_room(const struct snat_pool *p, struct snat_now now);

// Leases the next range. False: there is none.
bool snat_pool_grant(struct snat_pool *p, struct snat_holder *holder, struct snat_now now, uint32_t epoch,
                     struct lease *ret_lease);

// The lease that holds a port of the VIP. False: nobody does.
bool snat_pool_lookup(const struct snat_pool *p, uint32_t port, struct lease *ret_lease);

// Ends that lease, at a time that is not before any other; *ret_lease says so. False: nobody holds the port.
bool snat_pool_end(struct snat_pool *p, uint32_t port, uint64_t now_ms, struct lease *ret_lease);

// The leases of a holder, oldest first: *at is SNAT_NO_RANGE at first. False after the last; none may end meanwhile.
bool snat_pool_next_of(const struct snat_pool *p, const struct snat_holder *holder, uint16_t *at,
                       struct lease *ret_lease);

uint32_t snat_pool_count_quarantined(const struct snat_pool *p, struct snat_now now);

// From a snapshot, into a pool whose exclusions and holders are set: held leases of a holder oldest first, freed ranges in the
// order of snat_pool_next_freed. False: it does not fit here, and nothing has changed.
bool snat_pool_restore_held(struct snat_pool *p, const struct lease *lease);
bool snat_pool_restore_freed(struct snat_pool *p, const struct lease *range);

// The freed ranges in the order in which they will be granted, then those that are excluded; *at is 0 at first. The DIP of
// *ret_range is unspecified. False after the last.
bool snat_pool_next_freed(const struct snat_pool *p, uint32_t *at, struct lease *ret_range);
