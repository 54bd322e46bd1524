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

// What a sum changes by when the bytes at `old_bytes` become those at `new_bytes` (~m + m' of equation 3), for checksum_apply. n: even.
static inline uint16_t checksum_delta(const void *old_bytes, const void *new_bytes, uint32_t n)
{
	const uint8_t *from = (const uint8_t *)old_bytes;
	const uint8_t *to = (const uint8_t *)new_bytes;
	uint32_t sum = 0;
	for (uint32_t i = 0; i < n; i += 2)
		sum += (uint32_t)(uint16_t)~load16(from + i) + load16(to + i);
	return checksum_fold(sum);
}

// The field after the sum changed by delta. The opposite change is that of ~delta.
static inline be16 checksum_apply(be16 checksum, uint16_t delta)
{
	uint32_t sum = (uint32_t)(uint16_t)~checksum + delta;
	return (be16) ~((sum & 0xffff) + (sum >> 16));
}

// The pseudo-header of IPv6 (RFC 8200 section 8.1), not folded. `addrs`: source and destination, 32 bytes, as they lie in the header.
static inline uint32_t checksum_pseudo_ip6(const uint8_t *addrs, uint32_t l4_bytes, uint8_t protocol)
{
	return checksum_add(addrs, 32, be16_from(protocol)) + be16_from((uint16_t)(l4_bytes >> 16)) +
	       be16_from((uint16_t)l4_bytes);
}
