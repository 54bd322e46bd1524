// How many packets a second may pass, at a price of a few instructions a burst. Pure: the time comes in.
#pragma once

#include <stdint.h>

#include "common/base/mono.h"

#define PACKET_BUDGET_SAVED_US 10000 // what was not used is kept for so long,
#define PACKET_BUDGET_SAVED_MIN 256 // and is at least so many packets

struct packet_budget {
	uint64_t per_s; // 0: as many as come
	uint64_t millionths; // of packets that may pass now
	struct mono_time filled;
};

static inline uint64_t packet_budget_most(const struct packet_budget *b)
{
	uint64_t saved = b->per_s * PACKET_BUDGET_SAVED_US;
	return saved < PACKET_BUDGET_SAVED_MIN * 1000000ull ? PACKET_BUDGET_SAVED_MIN * 1000000ull : saved;
}

static inline void packet_budget_init(struct packet_budget *b, uint64_t per_s, struct mono_time now)
{
	*b = (struct packet_budget){ .per_s = per_s, .filled = now };
	b->millionths = packet_budget_most(b);
}

// How many of n packets may pass.
static inline uint32_t packet_budget_take(struct packet_budget *b, uint32_t n, struct mono_time now)
{
	if (b->per_s == 0)
		return n;
	uint64_t most = packet_budget_most(b);
	uint64_t elapsed_us = mono_elapsed_us(b->filled, now);
	// A second fills it, whatever the rate: beyond that the product could overflow.
	b->millionths = elapsed_us >= 1000000 ? most : b->millionths + elapsed_us * b->per_s;
	if (b->millionths > most)
		b->millionths = most;
	b->filled = now;
	uint32_t n_passing = b->millionths / 1000000 < n ? (uint32_t)(b->millionths / 1000000) : n;
	b->millionths -= n_passing * 1000000ull;
	return n_passing;
}
