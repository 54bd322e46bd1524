// The pins of a worker: which DIP a flow goes to that its bucket's present owner does not know.
//
// Only flows in buckets that have had other owners are looked up here (mux/core/endpoint_table.h). A pin is a hint: what is wrong or
// missing costs a detour from host to host, never a connection. So a flow is known by its hash alone: the lower half says in which
// set its pin is, the upper half which pin of the set it is.
// A set is one cache line of 6 pins. When it is full one goes that was not used since the last ones came (second chance: a packet
// writes its line only when it is the first of its flow since then, and lines that are only read are cheap to come by). Nothing else
// expires: the pin of a flow that has ended is in nobody's way until its place is needed.
// A pin holds its DIP's address, and where the endpoint's templates had it: who uses a pin checks that (vip_entry_lookup_dip).
// Memory: 10.7 bytes a pin, all of them at start, from the caller; and 160 KB of stamps. Threads: one worker.
#pragma once

#include <immintrin.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/bytes.h"
#include "mux/core/pin_senders.h"

#define PIN_WAYS 6
#define PINS_ALIGN (2u << 20) // a hugepage
#define MAX_PINS_DEFAULT 262144
#define MAX_PINS_LIMIT (1u << 24)

struct pin_set {
	uint32_t tags[PIN_WAYS]; // the upper halves of hashes
	be32 dips[PIN_WAYS]; // 0: free
	uint16_t hints[PIN_WAYS]; // where the endpoint's templates had the DIP
	uint32_t used; // a bit for each way that was used since room was last made
} __attribute__((aligned(64)));

_Static_assert(sizeof(struct pin_set) == 64, "a set is a cache line");

struct pins {
	uint32_t n_sets;
	struct pin_set *sets;
	uint64_t n_pins; // held
	struct pin_stamps stamps; // of those who sent them
};

// How much memory the sets of max_pins pins take: a multiple of PINS_ALIGN. max_pins is 1 to MAX_PINS_LIMIT.
size_t pins_memory_bytes(uint32_t max_pins);

// `memory` for the sets: zeroed, at a multiple of PINS_ALIGN; it stays the caller's.
void pins_init(struct pins *p, uint32_t max_pins, void *memory);

static inline struct pin_set *pins_set_of(const struct pins *p, uint64_t hash)
{
	return &p->sets[(uint64_t)(uint32_t)hash * p->n_sets >> 32];
}

// The way of a flow in its set; PIN_WAYS when it has none. A free way may be found, too, whose dip is 0.
static inline uint32_t pin_set_lookup(const struct pin_set *s, uint64_t hash)
{
	__m256i tags = _mm256_load_si256((const __m256i *)s); // and two of the dips, which do not count
	__m256i is_equal = _mm256_cmpeq_epi32(tags, _mm256_set1_epi32((int)(hash >> 32)));
	unsigned mask = (unsigned)_mm256_movemask_ps(_mm256_castsi256_ps(is_equal)) | 1u << PIN_WAYS;
	return (uint32_t)__builtin_ctz(mask);
}

// Notes that a way was used.
static inline void pin_set_touch(struct pin_set *s, uint32_t way)
{
	if (__builtin_expect((s->used & 1u << way) == 0, 0))
		s->used |= 1u << way;
}

// Makes, or changes, the pin of a flow. Returns whether another flow's went for it. dip is not 0.
bool pins_insert(struct pins *p, uint64_t hash, be32 dip, uint16_t hint);

// Frees a way of a set that is not free: it is the next that is taken.
void pins_remove(struct pins *p, struct pin_set *s, uint32_t way);
