#include "hostagent/core/dip_flows.h"

#include <stddef.h>

static uint32_t next_place(uint32_t at)
{
	return (at + 1) % DIP_FLOWS_SLOTS;
}

// The place of the DIP, or NULL.
static const uint64_t *find(const struct dip_flows *f, be32 dip)
{
	uint32_t at = dip_flows_start(dip);
	for (uint32_t i = 0; i < DIP_FLOWS_SLOTS; i++, at = next_place(at)) {
		uint64_t value = __atomic_load_n(&f->slots[at], __ATOMIC_RELAXED);
		if (value == 0)
			return NULL;
		if (value >> 32 == dip)
			return &f->slots[at];
	}
	return NULL;
}

// The first place that a DIP without one can have, or NULL. What is put there does not cut off what lies behind.
static uint64_t *find_vacant(struct dip_flows *f, be32 dip)
{
	uint32_t at = dip_flows_start(dip);
	for (uint32_t i = 0; i < DIP_FLOWS_SLOTS; i++, at = next_place(at))
		if ((uint32_t)f->slots[at] == 0)
			return &f->slots[at];
	return NULL;
}

void dip_flows_add_elsewhere(struct dip_flows *f, be32 dip)
{
	uint64_t *slot = (uint64_t *)find(f, dip);
	uint64_t value = slot != NULL ? *slot : (uint64_t)dip << 32;
	if (slot == NULL)
		slot = find_vacant(f, dip);
	if (slot != NULL)
		__atomic_store_n(slot, value + 1, __ATOMIC_RELAXED);
}

void dip_flows_take_elsewhere(struct dip_flows *f, be32 dip)
{
	uint64_t *slot = (uint64_t *)find(f, dip);
	if (slot != NULL && (uint32_t)*slot != 0)
		__atomic_store_n(slot, *slot - 1, __ATOMIC_RELAXED);
}

uint32_t dip_flows_read(const struct dip_flows *f, be32 dip)
{
	const uint64_t *slot = find(f, dip);
	return slot == NULL ? 0 : (uint32_t)__atomic_load_n(slot, __ATOMIC_RELAXED);
}
