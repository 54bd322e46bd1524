// Unaligned and big-endian access to bytes, and the byte order of the wire.
#pragma once

#include <stdint.h>
#include <string.h>

typedef uint16_t be16; // network byte order; only in wire structs and packet code
typedef uint32_t be32;

static inline be16 be16_from(uint16_t host)
{
	return __builtin_bswap16(host);
}

static inline uint16_t be16_to(be16 net)
{
	return __builtin_bswap16(net);
}

static inline be32 be32_from(uint32_t host)
{
	return __builtin_bswap32(host);
}

static inline uint32_t be32_to(be32 net)
{
	return __builtin_bswap32(net);
}

static inline uint16_t load16(const void *p)
{
	uint16_t v;
	memcpy(&v, p, sizeof v);
	return v;
}

static inline uint32_t load32(const void *p)
{
	uint32_t v;
	memcpy(&v, p, sizeof v);
	return v;
}

static inline uint64_t load64(const void *p)
{
	uint64_t v;
	memcpy(&v, p, sizeof v);
	return v;
}

static inline void store16(void *p, uint16_t v)
{
	memcpy(p, &v, sizeof v);
}

static inline void store64(void *p, uint64_t v)
{
	memcpy(p, &v, sizeof v);
}

static inline void store32(void *p, uint32_t v)
{
	memcpy(p, &v, sizeof v);
}

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "the byte-order helpers assume a little-endian machine");
