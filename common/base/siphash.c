#include "common/base/siphash.h"

#include "common/base/bytes.h"

struct sip_state {
	uint64_t v0;
	uint64_t v1;
	uint64_t v2;
	uint64_t v3;
};

static inline uint64_t rotate_left(uint64_t x, unsigned n_bits)
{
	return x << n_bits | x >> (64 - n_bits);
}

static inline void sip_round(struct sip_state *s)
{
	s->v0 += s->v1;
	s->v1 = rotate_left(s->v1, 13) ^ s->v0;
	s->v0 = rotate_left(s->v0, 32);
	s->v2 += s->v3;
	s->v3 = rotate_left(s->v3, 16) ^ s->v2;
	s->v0 += s->v3;
	s->v3 = rotate_left(s->v3, 21) ^ s->v0;
	s->v2 += s->v1;
	s->v1 = rotate_left(s->v1, 17) ^ s->v2;
	s->v2 = rotate_left(s->v2, 32);
}

static inline void compress(struct sip_state *s, uint64_t word)
{
	s->v3 ^= word;
	sip_round(s);
	sip_round(s);
	s->v0 ^= word;
}

// The last word: what is left of the data, and its length in the uppermost byte.
static uint64_t last_word(const uint8_t *rest, size_t n_bytes)
{
	uint64_t word = (uint64_t)n_bytes << 56;
	for (size_t i = 0; i < (n_bytes & 7); i++)
		word |= (uint64_t)rest[i] << (8 * i);
	return word;
}

uint64_t siphash24(const uint8_t key[SIPHASH_KEY_BYTES], const void *data, size_t n_bytes)
{
	const uint8_t *p = data;
	const uint8_t *end = p + (n_bytes & ~(size_t)7);
	uint64_t k0 = load64(key);
	uint64_t k1 = load64(key + 8);
	struct sip_state s = { // "somepseudorandomlygeneratedbytes"
		                   k0 ^ 0x736f6d6570736575ull, k1 ^ 0x646f72616e646f6dull, k0 ^ 0x6c7967656e657261ull,
		                   k1 ^ 0x7465646279746573ull
	};
	for (; p < end; p += 8)
		compress(&s, load64(p));
	compress(&s, last_word(end, n_bytes));
	s.v2 ^= 0xff;
	for (int i = 0; i < 4; i++)
		sip_round(&s);
	return s.v0 ^ s.v1 ^ s.v2 ^ s.v3;
}
