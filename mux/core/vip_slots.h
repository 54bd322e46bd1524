// Which VIP has which counters: a number for each VIP that stays the same while the VIP exists, whatever else changes, so
// that counters survive a swap of tables.
//
// Memory: some 0.5 MB for LIMIT_VIPS. Threads: the control thread; workers only see the numbers, in their tables.
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "common/model/limits.h"
#include "common/model/store.h"

#define VIP_SLOTS_MAX LIMIT_VIPS

struct vip_slot {
	bool is_used;
	struct ip_addr vip;
};

struct vip_slots {
	uint32_t n_high; // no slot from here on was ever used
	struct vip_slot slots[VIP_SLOTS_MAX];
	uint32_t n_sorted;
	uint32_t sorted[VIP_SLOTS_MAX]; // used slots in the order of their VIPs, as the store has them
};

void vip_slots_init(struct vip_slots *s);

// Frees the slots of VIPs that are not in the store and gives slots to those that are new. New slots are noted in
// `is_new` (VIP_SLOTS_MAX bools, or NULL), so that their counters can be counted from here. The store has at most
// VIP_SLOTS_MAX VIPs; ERR_LIMIT otherwise, and nothing is changed.
NODISCARD int vip_slots_update(struct vip_slots *s, const struct store *store, bool *is_new);

// The slot of the i-th VIP of the store that was given to vip_slots_update.
static inline uint32_t vip_slots_of(const struct vip_slots *s, uint32_t store_idx)
{
	return s->sorted[store_idx];
}
