// What a mux knows, as its workers use it: an immutable snapshot, made by the control thread and swapped by RCU.
//
//   (VIP, protocol, port) --hash--> line of 2 entries --> bucket of the Maglev table --> owner --> outer header template
//
// A lookup touches three cache lines beside the packet: the entry's, the bucket's, the owner's template. An endpoint's
// bucket table is made once for a set of (DIP, weight) and shared by all snapshots that have that set, so that changing one
// VIP among thousands costs one table and the flat array of entries.
// Memory: 64 bytes per endpoint and per VIP, 2 bytes per bucket (1,009 to 409,609 buckets, common/model/maglev.h), 12 bytes
// per DIP. 20,000 endpoints of 10 DIPs: 46 MB.
// Threads: built and destroyed on the control thread; read by any worker between two quiescent states.
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "common/base/error.h"
#include "common/base/hash.h"
#include "common/model/store.h"
#include "common/packet/encap.h"
#include "mux/core/vip_slots.h"

#define VIP_LINE_ENTRIES 2

struct vip_entry {
	be32 vip;
	be16 port; // 0 in the entry of the VIP itself
	uint8_t protocol; // 0 likewise
	uint8_t is_used;
	const uint16_t *owners; // bucket -> index into templates; NULL in the entry of the VIP itself
	const struct encap_template *templates; // one per DIP
	uint32_t n_buckets;
	uint32_t slot; // of the VIP's counters
};

struct vip_line {
	struct vip_entry entries[VIP_LINE_ENTRIES];
} __attribute__((aligned(64)));

_Static_assert(sizeof(struct vip_line) == 64, "an entry is half a cache line");

struct endpoint_table;

struct mux_tables {
	uint64_t hash_seed;
	uint32_t line_mask;
	struct vip_line *lines;
	uint32_t n_endpoints;
	struct endpoint_table **endpoints; // in the order of the store; shared with other snapshots
	uint32_t n_rebuilt; // bucket tables that had to be made: what the change cost
};

// Tables for the store's VIPs. own_addr is the outer source. `before` (may be NULL) is the present snapshot, whose bucket
// tables are shared where sets are equal; it stays as it is. slots were updated from this store.
// ERR_NO_MEMORY; ERR_INVALID when the store holds no cluster object yet.
NODISCARD int mux_tables_create(const struct store *store, be32 own_addr, const struct vip_slots *slots,
                                const struct mux_tables *before, struct mux_tables **ret_tables);

// NULL is fine. Bucket tables that other snapshots share stay.
void mux_tables_destroy(struct mux_tables *t);

static inline uint32_t vip_line_of(const struct mux_tables *t, be32 vip, be16 port, uint8_t protocol)
{
	uint64_t key = ((uint64_t)vip << 32) | ((uint64_t)port << 16) | protocol;
	return (uint32_t)(hash_mix64(key) >> 32) & t->line_mask;
}

// The entry of an endpoint, or, with port and protocol 0, of the VIP itself; NULL when there is none.
static inline const struct vip_entry *vip_lookup_from(const struct mux_tables *t, uint32_t line, be32 vip, be16 port,
                                                      uint8_t protocol)
{
	for (;;) {
		const struct vip_entry *entries = t->lines[line].entries;
		for (uint32_t i = 0; i < VIP_LINE_ENTRIES; i++) {
			const struct vip_entry *e = &entries[i];
			if (e->vip == vip && e->port == port && e->protocol == protocol && e->is_used)
				return e;
		}
		if (!entries[VIP_LINE_ENTRIES - 1].is_used) // lines fill from the front: this one was never full
			return NULL;
		line = (line + 1) & t->line_mask;
	}
}

static inline const struct vip_entry *vip_lookup(const struct mux_tables *t, be32 vip, be16 port, uint8_t protocol)
{
	return vip_lookup_from(t, vip_line_of(t, vip, port, protocol), vip, port, protocol);
}
