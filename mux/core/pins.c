#include "mux/core/pins.h"

#include <string.h>

#include "common/base/check.h"

static uint32_t n_sets_for(uint32_t max_pins)
{
	return max_pins / PIN_WAYS + (max_pins % PIN_WAYS != 0);
}

size_t pins_memory_bytes(uint32_t max_pins)
{
	size_t n_bytes = n_sets_for(max_pins) * sizeof(struct pin_set);
	return (n_bytes + PINS_ALIGN - 1) / PINS_ALIGN * PINS_ALIGN;
}

void pins_init(struct pins *p, uint32_t max_pins, void *memory)
{
	CHECK(max_pins >= 1 && max_pins <= MAX_PINS_LIMIT);
	memset(p, 0, sizeof *p);
	p->n_sets = n_sets_for(max_pins);
	p->sets = memory;
}

#define ALL_WAYS ((1u << PIN_WAYS) - 1)

// A free way, or one that was not used. When all were, any one goes, and all others have to be used again to stay.
static uint32_t choose_way(struct pin_set *s, uint64_t hash)
{
	for (uint32_t way = 0; way < PIN_WAYS; way++)
		if (s->dips[way] == 0)
			return way;
	if (s->used != ALL_WAYS)
		return (uint32_t)__builtin_ctz(~s->used);
	s->used = 0;
	return (uint32_t)(hash >> 32) % PIN_WAYS;
}

bool pins_insert(struct pins *p, uint64_t hash, be32 dip, uint16_t hint)
{
	CHECK(dip != 0);
	struct pin_set *s = pins_set_of(p, hash);
	uint32_t way = pin_set_lookup(s, hash);
	if (way == PIN_WAYS || s->dips[way] == 0)
		way = choose_way(s, hash);
	bool is_eviction = s->dips[way] != 0 && s->tags[way] != (uint32_t)(hash >> 32);
	p->n_pins += s->dips[way] == 0;
	s->tags[way] = (uint32_t)(hash >> 32);
	s->dips[way] = dip;
	s->hints[way] = hint;
	s->used |= 1u << way;
	if (s->used == ALL_WAYS)
		s->used = 1u << way;
	return is_eviction;
}

void pins_remove(struct pins *p, struct pin_set *s, uint32_t way)
{
	s->tags[way] = 0;
	s->dips[way] = 0;
	s->used &= ~(1u << way);
	p->n_pins--;
}
