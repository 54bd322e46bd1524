// How many load-balanced flows each local DIP has: what is left of a DIP that is drained.
//
// Exact, because a VM may be switched off when its DIP says 0: counted where flows begin and end (flows.h), and once over the
// table when that was attached to. A flow counts for as long as it is remembered, so a TCP connection that both sides closed
// still does for two minutes.
// Capacity: DIP_FLOWS_SLOTS DIPs that have flows at one time; of those beyond none is counted.
// Threads: one writer; dip_flows_read from any, each value whole.
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "common/base/bytes.h"

#define DIP_FLOWS_SLOTS 4096u

struct dip_flows {
	uint64_t slots[DIP_FLOWS_SLOTS]; // DIP << 32 | number; 0: never used. A place whose number is 0 may get another DIP
};

static inline uint32_t dip_flows_start(be32 dip)
{
	return (uint32_t)((dip * 0x9e3779b97f4a7c15ULL) >> 32) % DIP_FLOWS_SLOTS;
}

// The place of the DIP, or, when it has none: one that it can have (*ret_is_there false), or NULL.
static inline uint64_t *dip_flows_find(struct dip_flows *f, be32 dip, bool *ret_is_there)
{
	uint64_t *vacant = NULL;
	uint32_t at = dip_flows_start(dip);
	*ret_is_there = true;
	for (uint32_t i = 0; i < DIP_FLOWS_SLOTS; i++, at = (at + 1) % DIP_FLOWS_SLOTS) {
		uint64_t *slot = &f->slots[at];
		uint64_t value = __atomic_load_n(slot, __ATOMIC_RELAXED);
		if (value >> 32 == dip && value != 0)
			return slot;
		if (vacant == NULL && (uint32_t)value == 0)
			vacant = slot;
		if (value == 0)
			break;
	}
	*ret_is_there = false;
	return vacant;
}

static inline void dip_flows_add(struct dip_flows *f, be32 dip)
{
	bool is_there;
	uint64_t *slot = dip_flows_find(f, dip, &is_there);
	if (slot == NULL)
		return;
	uint64_t n = is_there ? (uint32_t)__atomic_load_n(slot, __ATOMIC_RELAXED) : 0;
	__atomic_store_n(slot, (uint64_t)dip << 32 | (n + 1), __ATOMIC_RELAXED);
}

static inline void dip_flows_take(struct dip_flows *f, be32 dip)
{
	bool is_there;
	uint64_t *slot = dip_flows_find(f, dip, &is_there);
	if (slot == NULL || !is_there)
		return;
	uint64_t value = __atomic_load_n(slot, __ATOMIC_RELAXED);
	if ((uint32_t)value != 0)
		__atomic_store_n(slot, value - 1, __ATOMIC_RELAXED);
}

static inline uint32_t dip_flows_read(const struct dip_flows *f, be32 dip)
{
	uint32_t at = dip_flows_start(dip);
	for (uint32_t i = 0; i < DIP_FLOWS_SLOTS; i++, at = (at + 1) % DIP_FLOWS_SLOTS) {
		uint64_t value = __atomic_load_n(&f->slots[at], __ATOMIC_RELAXED);
		if (value == 0)
			return 0;
		if (value >> 32 == dip)
			return (uint32_t)value;
	}
	return 0;
}
