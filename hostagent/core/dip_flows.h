// How many load-balanced flows each local DIP has: what is left of a DIP that is drained.
//
// Exact, because a VM may be switched off when its DIP says 0: counted where flows begin and end (flows.h), and once over the
// table when that was attached to. A flow counts for as long as it is remembered, so a TCP connection that both sides closed
// still does for two minutes.
// Capacity: DIP_FLOWS_SLOTS DIPs that have flows at one time; of those beyond none is counted.
// Threads: one writer; dip_flows_read from any, each value whole.
#pragma once

#include <stdint.h>

#include "common/base/bytes.h"

#define DIP_FLOWS_SLOTS 4096u

struct dip_flows {
	uint64_t
		slots[DIP_FLOWS_SLOTS]; // DIP << 32 | number, by hash; 0: never used. One whose number is 0 may get another DIP
};

static inline uint32_t dip_flows_start(be32 dip)
{
	return (uint32_t)((dip * 0x9e3779b97f4a7c15ULL) >> 32) % DIP_FLOWS_SLOTS;
}

// One more, one less, when the DIP is not in its first place.
void dip_flows_add_elsewhere(struct dip_flows *f, be32 dip);
void dip_flows_take_elsewhere(struct dip_flows *f, be32 dip);

static inline void dip_flows_add(struct dip_flows *f, be32 dip)
{
	uint64_t *slot = &f->slots[dip_flows_start(dip)];
	uint64_t value = __atomic_load_n(slot, __ATOMIC_RELAXED);
	if (__builtin_expect(value >> 32 == dip, 1))
		__atomic_store_n(slot, value + 1, __ATOMIC_RELAXED);
	else
		dip_flows_add_elsewhere(f, dip);
}

static inline void dip_flows_take(struct dip_flows *f, be32 dip)
{
	uint64_t *slot = &f->slots[dip_flows_start(dip)];
	uint64_t value = __atomic_load_n(slot, __ATOMIC_RELAXED);
	if (__builtin_expect(value >> 32 == dip && (uint32_t)value != 0, 1))
		__atomic_store_n(slot, value - 1, __ATOMIC_RELAXED);
	else
		dip_flows_take_elsewhere(f, dip);
}

uint32_t dip_flows_read(const struct dip_flows *f, be32 dip);
