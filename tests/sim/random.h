// Random numbers of the simulator: splitmix64 (Steele, Lea, Flood, OOPSLA 2014). Every part of the world has a stream of its
// own, made from the one seed, so that what one part draws does not change what the others see.
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "common/base/hash.h"

struct random {
	uint64_t state;
};

static inline struct random random_make(uint64_t seed, uint64_t stream)
{
	return (struct random){ .state = hash_mix64(seed ^ hash_mix64(stream * 0x9e3779b97f4a7c15ULL + 1)) };
}

static inline uint64_t random_next(struct random *r)
{
	uint64_t z = (r->state += 0x9e3779b97f4a7c15ULL);
	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ULL;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebULL;
	return z ^ (z >> 31);
}

// 0 to n - 1; 0 when n is 0.
static inline uint64_t random_below(struct random *r, uint64_t n)
{
	return (uint64_t)(((unsigned __int128)random_next(r) * n) >> 64);
}

// A probability as 32 bits of fraction.
static inline bool random_hits(struct random *r, uint32_t chance)
{
	return chance != 0 && (uint32_t)(random_next(r) >> 32) < chance;
}
