// The pins of a worker: which DIP a flow goes to that its bucket's present owner does not know.
//
// Only flows in buckets that have had other owners are looked up here (mux/core/tables.h). A pin is a hint: what is wrong or
// missing costs a detour from host to host, never a connection. So flows are told apart by their 64-bit hash alone.
// A set is one cache line of 4 pins; a flow's set follows from the lower half of its hash, since the upper half chose its bucket.
// When a set is full the pin that was used longest ago goes (a matrix of bits says which one, Maruyama 1975). Nothing else
// expires: the pin of a flow that has ended is in nobody's way until its place is needed.
// A pin holds its DIP's address, and where the endpoint's templates had it: who uses a pin checks that (vip_entry_lookup_dip).
// Memory: 16 bytes a pin, all of them at start, from the caller; and 160 KB of stamps. Threads: one worker.
#pragma once

#include <immintrin.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/bytes.h"
#include "mux/core/pin_senders.h"

#define PIN_WAYS 4
#define MAX_PINS_DEFAULT 262144
#define MAX_PINS_LIMIT (1u << 24)

struct pin_set {
	uint64_t hashes[PIN_WAYS];
	be32 dips[PIN_WAYS]; // 0: free
	uint16_t hints[PIN_WAYS]; // where the endpoint's templates had the DIP
	uint16_t order; // row of 4 bits for each way: which of the others were used before it; 0: it was used first
	uint8_t unused[6];
} __attribute__((aligned(64)));

_Static_assert(sizeof(struct pin_set) == 64, "a set is a cache line");

struct pins {
	uint32_t n_sets;
	struct pin_set *sets;
	uint64_t n_pins; // held
	struct pin_stamps stamps; // of those who sent them
};

// How much memory the sets of max_pins pins take: a multiple of 64. max_pins is 1 to MAX_PINS_LIMIT.
size_t pins_memory_bytes(uint32_t max_pins);

// `memory` for the sets: zeroed, at a multiple of 64; it stays the caller's.
void pins_init(struct pins *p, uint32_t max_pins, void *memory);

static inline struct pin_set *pins_set_of(const struct pins *p, uint64_t hash)
{
	return &p->sets[(uint64_t)(uint32_t)hash * p->n_sets >> 32];
}

// The way of a flow in its set; PIN_WAYS or more when it has none. All four hashes are compared at once.
static inline uint32_t pin_set_lookup(const struct pin_set *s, uint64_t hash)
{
	__m256i is_equal =
		_mm256_cmpeq_epi64(_mm256_load_si256((const __m256i *)s->hashes), _mm256_set1_epi64x((long long)hash));
	uint32_t way =
		(uint32_t)__builtin_ctz((unsigned)_mm256_movemask_pd(_mm256_castsi256_pd(is_equal)) | 1u << PIN_WAYS);
	return way < PIN_WAYS && s->dips[way] == 0 ? PIN_WAYS : way; // a free way has hash 0, which a flow can have, too
}

// Notes that a way was used. Writes only when another one was used in between.
static inline void pin_set_touch(struct pin_set *s, uint32_t way)
{
	uint16_t order = (uint16_t)((s->order | 0xf << way * PIN_WAYS) & ~(0x1111 << way));
	if (order != s->order)
		s->order = order;
}

// Makes, or changes, the pin of a flow. Returns whether another flow's went for it. dip is not 0.
bool pins_insert(struct pins *p, uint64_t hash, be32 dip, uint16_t hint);

// Frees a way of a set: it is the next that is taken.
void pins_remove(struct pins *p, struct pin_set *s, uint32_t way);
