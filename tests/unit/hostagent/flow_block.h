// A block of memory for a flow table, and flows to put into it.
#pragma once

#include <stdlib.h>
#include <string.h>

#include "hostagent/core/flow_table.h"

#define TEST_OWNER 0x1234u
#define TEST_SEED 0x9e3779b97f4a7c15u

static inline void *flow_block_create(uint32_t capacity)
{
	size_t bytes = (flow_table_bytes(capacity) + 63) / 64 * 64;
	void *block = aligned_alloc(64, bytes);
	if (block == NULL)
		abort();
	memset(block, 0xa5, bytes);
	return block;
}

// The names of a test's process, made when they are asked for the first time.
static inline struct addr_names *test_names(void)
{
	static struct addr_names *names;
	if (names == NULL)
		names = addr_names_create();
	if (names == NULL)
		abort();
	return names;
}

static inline struct mono_time at_s(uint64_t s)
{
	return mono_from_us(s * 1000000);
}

// xorshift64*: a test's random numbers, the same for the same seed everywhere.
static inline uint64_t random_next(uint64_t *state)
{
	*state ^= *state >> 12;
	*state ^= *state << 25;
	*state ^= *state >> 27;
	return *state * 0x2545f4914f6cdd1dULL;
}

static inline uint32_t random_below(uint64_t *state, uint32_t n)
{
	return (uint32_t)((random_next(state) >> 32) % n);
}

// A tuple of its own for every number.
static inline struct flow_tuple flow_number(uint32_t n)
{
	return (struct flow_tuple){
		.remote = be32_from(0xc6336400u + (n >> 14)),
		.vip = be32_from(0xcb00710au),
		.dip = be32_from(0x0a01010bu),
		.remote_port = be16_from((uint16_t)(1024 + (n & 0x3fff))),
		.vip_port = be16_from(80),
		.dip_port = be16_from(8080),
		.protocol = IP_PROTO_TCP,
	};
}

static inline struct flow_entry *find_flow(const struct flow_table *t, const struct flow_tuple *tuple,
                                           enum flow_direction direction)
{
	struct flow_key key = flow_tuple_key(tuple, direction);
	return flow_table_lookup(t, &key, flow_table_hash(t, &key));
}
