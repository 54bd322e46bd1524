// The Internet checksum (RFC 1071) and its incremental update (RFC 1624, equation 3).
//
// What passes through is only ever updated incrementally: a checksum that was wrong before is wrong after, so that a
// damaged packet is never turned into a valid one.
#pragma once

#include <stdint.h>

#include "common/base/bytes.h"

// One's-complement sum of n bytes on top of `sum`, not folded. n up to 65535.
static inline uint32_t checksum_add(const void *data, uint32_t n, uint32_t sum)
{
	const uint8_t *p = (const uint8_t *)data;
	for (; n >= 2; n -= 2, p += 2)
		sum += load16(p);
	if (n == 1)
		sum += *p;
	return sum;
}

static inline uint16_t checksum_fold(uint32_t sum)
{
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	return (uint16_t)sum;
}

// The value for the checksum field of n bytes whose field holds 0.
static inline be16 checksum_compute(const void *data, uint32_t n)
{
	return (be16)~checksum_fold(checksum_add(data, n, 0));
}

// HC' = ~(~HC + ~m + m'): the field after a 16-bit word m became m'.
static inline be16 checksum_update16(be16 checksum, be16 old_word, be16 new_word)
{
	uint32_t sum = (uint16_t)~checksum + (uint32_t)(uint16_t)~old_word + new_word;
	return (be16)~checksum_fold(sum);
}

static inline be16 checksum_update32(be16 checksum, be32 old_word, be32 new_word)
{
	uint32_t sum = (uint16_t)~checksum;
	sum += (uint16_t) ~(old_word & 0xffff);
	sum += (uint16_t) ~(old_word >> 16);
	sum += new_word & 0xffff;
	sum += new_word >> 16;
	return (be16)~checksum_fold(sum);
}
