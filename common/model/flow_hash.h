// The hash that all muxes share (paper section 3.3.2): a pure function of the 5-tuple and the cluster's seed.
//
// The bucket of a flow is flow_bucket(flow_hash_v4(...), table size). The function is part of the protocol between
// programs and never changes within a cluster.
#pragma once

#include <stdint.h>

#include "common/base/bytes.h"
#include "common/base/hash.h"

// Of the 5-tuple as two words: source << 32 | destination, and protocol << 32 | source port << 16 | destination port.
static inline uint64_t flow_hash_words(uint64_t addrs, uint64_t rest, uint64_t seed)
{
	return hash_mix64(hash_mix64(addrs ^ seed) ^ rest);
}

// Ports are 0 for protocols that have none. Addresses and ports as the wire has them.
static inline uint64_t flow_hash_v4(be32 src, be32 dst, be16 src_port, be16 dst_port, uint8_t protocol, uint64_t seed)
{
	uint64_t addrs = ((uint64_t)src << 32) | dst;
	uint64_t rest = ((uint64_t)protocol << 32) | ((uint64_t)src_port << 16) | dst_port;
	return flow_hash_words(addrs, rest, seed);
}

// Multiplies and folds: every bit of both words reaches every bit of the result.
static inline uint64_t flow_hash_fold(uint64_t a, uint64_t b)
{
	unsigned __int128 product = (unsigned __int128)a * b;
	return (uint64_t)product ^ (uint64_t)(product >> 64);
}

// Four words of addresses as one. `src` and `dst` are 16 bytes each.
static inline uint64_t flow_hash_addrs6(const uint8_t *src, const uint8_t *dst, uint64_t seed)
{
	uint64_t from = flow_hash_fold(load64(src) ^ seed, load64(src + 8) ^ 0xa0761d6478bd642fULL);
	uint64_t to = flow_hash_fold(load64(dst) ^ seed ^ 0xe7037ed1a0b428dbULL, load64(dst + 8) ^ 0x8ebc6af09c88c6e3ULL);
	return from ^ (to << 32 | to >> 32);
}

// The same as flow_hash_v4 over IPv6.
static inline uint64_t flow_hash_v6(const uint8_t *src, const uint8_t *dst, be16 src_port, be16 dst_port,
                                    uint8_t protocol, uint64_t seed)
{
	uint64_t rest = ((uint64_t)protocol << 32) | ((uint64_t)src_port << 16) | dst_port;
	return flow_hash_words(flow_hash_addrs6(src, dst, seed), rest, seed);
}

static inline uint32_t flow_bucket(uint64_t hash, uint32_t n_slots)
{
	return hash_reduce(hash, n_slots);
}
