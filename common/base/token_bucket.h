// A rate limit: `rate` tokens a second, up to `burst` saved. Pure: the time comes in.
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "common/base/mono.h"

struct token_bucket {
	uint32_t rate_per_s;
	uint32_t burst;
	uint64_t tokens_us; // tokens, each worth 1,000,000 / rate microseconds, as time
	struct mono_time filled;
};

static inline void token_bucket_init(struct token_bucket *b, uint32_t rate_per_s, uint32_t burst, struct mono_time now)
{
	*b = (struct token_bucket){ .rate_per_s = rate_per_s, .burst = burst, .filled = now };
	b->tokens_us = (uint64_t)burst * (1000000u / rate_per_s);
}

// Takes a token; false when there is none. rate_per_s up to 1,000,000.
static inline bool token_bucket_take(struct token_bucket *b, struct mono_time now)
{
	uint64_t price_us = 1000000u / b->rate_per_s;
	uint64_t most_us = b->burst * price_us;
	uint64_t tokens_us = b->tokens_us + mono_elapsed_us(b->filled, now);
	b->filled = now;
	b->tokens_us = tokens_us > most_us ? most_us : tokens_us;
	if (b->tokens_us < price_us)
		return false;
	b->tokens_us -= price_us;
	return true;
}
