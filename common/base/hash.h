// Mixing for hash tables and for spreading flows. Not cryptographic: where an attacker chooses keys, a seed goes in.
#pragma once

#include <stddef.h>
#include <stdint.h>

// The finalizer of MurmurHash3 (64 bit): every input bit changes every output bit with probability near 1/2.
static inline uint64_t hash_mix64(uint64_t x)
{
	x ^= x >> 33;
	x *= 0xff51afd7ed558ccdULL;
	x ^= x >> 33;
	x *= 0xc4ceb9fe1a85ec53ULL;
	x ^= x >> 33;
	return x;
}

// A hash of bytes; the same on every machine of the cluster.
static inline uint64_t hash_bytes(const void *data, size_t n, uint64_t seed)
{
	const uint8_t *p = (const uint8_t *)data;
	uint64_t h = hash_mix64(seed ^ (n * 0x9e3779b97f4a7c15ULL));
	while (n > 0) {
		uint64_t word = 0;
		size_t take = n < 8 ? n : 8;
		for (size_t i = 0; i < take; i++)
			word |= (uint64_t)p[i] << (8 * i);
		h = hash_mix64(h ^ word) + 0x9e3779b97f4a7c15ULL;
		p += take;
		n -= take;
	}
	return hash_mix64(h);
}

// Maps a uniform 64-bit hash to [0, n) without a division (Lemire's multiply-shift on the upper half).
static inline uint32_t hash_reduce(uint64_t hash, uint32_t n)
{
	return (uint32_t)(((hash >> 32) * (uint64_t)n) >> 32);
}
