#include "mux/core/pins.h"

#include <string.h>

#include "common/base/check.h"

static uint32_t n_sets_for(uint32_t max_pins)
{
	return max_pins / PIN_WAYS + (max_pins % PIN_WAYS != 0);
}

size_t pins_memory_bytes(uint32_t max_pins)
{
	return n_sets_for(max_pins) * sizeof(struct pin_set);
}

void pins_init(struct pins *p, uint32_t max_pins, void *memory)
{
	CHECK(max_pins >= 1 && max_pins <= MAX_PINS_LIMIT);
	memset(p, 0, sizeof *p);
	p->n_sets = n_sets_for(max_pins);
	p->sets = memory;
}

// The way that was used first of all, a free one before any other.
static uint32_t oldest_way(const struct pin_set *s)
{
	uint32_t way = 0;
	while (way < PIN_WAYS - 1 && (s->order >> way * PIN_WAYS & 0xf) != 0)
		way++;
	return way;
}

bool pins_insert(struct pins *p, uint64_t hash, be32 dip, uint16_t hint)
{
	CHECK(dip != 0);
	struct pin_set *s = pins_set_of(p, hash);
	uint32_t way = pin_set_lookup(s, hash);
	bool is_new = way >= PIN_WAYS;
	if (is_new)
		way = oldest_way(s);
	bool is_eviction = is_new && s->dips[way] != 0;
	p->n_pins += is_new && !is_eviction;
	s->hashes[way] = hash;
	s->dips[way] = dip;
	s->hints[way] = hint;
	pin_set_touch(s, way);
	return is_eviction;
}

void pins_remove(struct pins *p, struct pin_set *s, uint32_t way)
{
	s->hashes[way] = 0;
	s->dips[way] = 0;
	// Used before all others: its row is empty, and its column full in the rows of those that are not free.
	s->order = (uint16_t)(s->order & ~(0xf << way * PIN_WAYS));
	for (uint32_t other = 0; other < PIN_WAYS; other++)
		if (other != way && s->dips[other] != 0)
			s->order = (uint16_t)(s->order | 1u << (other * PIN_WAYS + way));
	p->n_pins--;
}
