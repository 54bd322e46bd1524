// The generations of an endpoint's eligible DIPs, and what follows from them: who owned each bucket before (design section 4).
//
// A generation is one version of the set of DIPs that get new connections. Folding generations in their order gives every
// bucket its owner history: the present owner first, then up to OWNERS_MAX - 1 other DIPs, the latest first, that owned it in
// an earlier generation. DIPs that are gone (their VM is attached nowhere) are left out and take nobody's place, unless one is
// the present owner.
// It is a pure function of the generations, the same in every program, and flapping does not make it grow.
// Generations of different sizes have Maglev tables of different sizes; these are powers of two times one prime
// (common/model/maglev.h), so that a bucket of the larger table lies in exactly one bucket of the smaller.
// Memory: a generation 20 bytes a DIP; an owner history 8 bytes a bucket of the largest table.
// Threads: none of it has state.
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "common/base/error.h"
#include "common/base/hash.h"
#include "common/model/maglev.h"

#define GENERATIONS_MAX 64 // of an endpoint, the present one included
#define HISTORY_MEMBERS_MAX \
	32768 // of a VIP, in all generations of all endpoints together: its history fits into one message
#define OWNERS_MAX 4
#define OWNER_NONE UINT16_MAX

struct generation {
	uint64_t since_ms; // when it became the present one, by the managers' clock
	uint32_t n_members; // at least 1
	struct maglev_member *members; // sorted by DIP
};

struct endpoint_history {
	uint16_t port; // of the VIP
	uint8_t protocol;
	bool is_refusing; // all its DIPs are unhealthy, and the VIP wants new connections refused then
	uint32_t n_generations; // at least 1
	struct generation *generations; // oldest first; the last is the present one
};

// Of a VIP. Endpoints that are not in it have one generation: all DIPs of their configuration.
struct vip_history {
	struct ip_addr vip;
	uint32_t n_endpoints;
	struct endpoint_history *endpoints; // by protocol and port, as in the VIP's configuration
	uint32_t n_gone;
	struct ip_addr *gone; // DIPs of these generations that are attached nowhere; sorted
};

// NULL is fine.
void vip_history_destroy(struct vip_history *h);
struct vip_history *vip_history_clone(const struct vip_history *h); // NULL when memory is short
bool vip_history_equal(const struct vip_history *a, const struct vip_history *b);

// NULL: it has none, or h is NULL.
const struct endpoint_history *vip_history_lookup(const struct vip_history *h, uint8_t protocol, uint16_t port);

// Is the DIP a member of any generation of any endpoint?
bool vip_history_has_dip(const struct vip_history *h, const struct ip_addr *dip);

bool generation_has_members(const struct generation *g, const struct maglev_member *members, uint32_t n_members);
static inline const struct generation *endpoint_history_present(const struct endpoint_history *h)
{
	return &h->generations[h->n_generations - 1];
}

struct owner_history {
	uint32_t n_dips;
	struct ip_addr *dips; // of all generations, sorted
	uint32_t n_buckets; // of the largest generation's table
	uint16_t (*owners)[OWNERS_MAX]; // indices into dips, the present owner first; the rest is OWNER_NONE
};

// ERR_NO_MEMORY: nothing to finish. Cost: one Maglev table a generation.
NODISCARD int owner_history_build(const struct vip_history *vip, const struct endpoint_history *h,
                                  struct owner_history *ret_history);
void owner_history_fini(struct owner_history *h);

// How many owners the bucket of this flow hash has, and which.
static inline const uint16_t *owner_history_of(const struct owner_history *h, uint64_t flow_hash)
{
	return h->owners[hash_reduce(flow_hash, h->n_buckets)];
}
