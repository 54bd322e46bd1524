// What a mux knows, as its workers use it: an immutable snapshot, made by the control thread and swapped by RCU.
//
//   (VIP, protocol, port) --hash--> line of 2 entries --> bucket of the Maglev table --> owner --> outer header template
//            |                                                     '- had other owners --> pins ----------^
//            | no such endpoint
//            '--> (VIP) --hash--> line of 2 entries --> SNAT map, by port --> DIP
//
// A lookup touches three cache lines beside the packet: the entry's, the bucket's, the owner's template. An endpoint's
// bucket table is made once for a set of (DIP, weight) and shared by all snapshots that have that set, so that changing one
// VIP among thousands costs one table and the flat array of entries.
// An endpoint that refuses (its history says so) has its entry under a key of its own, where the burst does not find it: its packets
// are taken one by one, and all others are asked nothing.
// A bucket that had other owners before the present one is flagged (mux/core/endpoint_table.h): its packets ask for a pin first.
// Memory: 128 to 256 bytes per endpoint and per VIP, 2 bytes per bucket (1,009 to 516,608 buckets, common/model/maglev.h), 12 bytes
// per DIP, and 20 per DIP and generation. 20,000 endpoints of 10 DIPs: 51 MB; with 3 generations each: 61 MB.
// Threads: built and destroyed on the control thread; read by any worker between two quiescent states.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/error.h"
#include "common/model/store.h"
#include "common/packet/encap.h"
#include "mux/core/endpoint_table.h"
#include "mux/core/pin_senders.h"
#include "mux/core/snat_map.h"
#include "mux/core/vias.h"
#include "mux/core/vip_slots.h"

#define VIP_LINE_ENTRIES 2
#define ENDPOINT_PORT_BINS 8192
#define NOT_A_DIP UINT32_MAX

struct vip_entry {
	uint64_t key; // vip_key(), vip_refusing_key() or vip_own_key(); 0: free
	const uint16_t *owners; // bucket -> index into templates, and the flag; NULL in the entry of the VIP itself
	union {
		const struct encap_template *templates; // of an endpoint: the items of its struct dip_templates
		const struct snat_map *snat; // of the VIP itself; NULL when it has no SNAT DIPs
	};
	uint32_t n_buckets;
	uint32_t slot; // of the VIP's counters
};

struct vip_line {
	struct vip_entry entries[VIP_LINE_ENTRIES];
} __attribute__((aligned(64)));

_Static_assert(sizeof(struct vip_line) == 64, "an entry is half a cache line");

struct mux_tables {
	uint64_t hash_seed;
	struct encap_template to_dip; // the outer header to a DIP that is not known yet: see encap_template_to
	uint32_t line_mask;
	uint32_t line_shift; // 64 less the bits of the mask
	struct vip_line *lines;
	uint8_t endpoint_ports[ENDPOINT_PORT_BINS]; // whether any VIP has an endpoint on one of these ports
	uint32_t n_endpoints;
	struct endpoint_table **endpoints; // in the order of the store; shared with other snapshots
	uint32_t n_rebuilt; // bucket tables that had to be made: what the change cost
	uint32_t n_with_history; // endpoints with flagged buckets
	uint64_t n_flagged; // buckets
	uint32_t n_refusing; // endpoints
	uint32_t overhead_max; // bytes: what the largest outer header adds to an IPv4 packet
	uint32_t
		n_apart; // endpoints over IPv4 with DIPs that an outer header over IPv4 from the mux to the DIP is not the way to
	uint64_t cluster_id;
	uint8_t pin_key[PIN_KEY_BYTES];
	struct pin_senders *pin_senders;
	const struct addr_names *names; // NULL: IPv4 only
	struct vias vias;
};

// What tables are made from.
struct mux_tables_sources {
	const struct store *store;
	be32 own_addr; // the outer source over IPv4; 0: the mux has none
	struct addr_names *names; // they outlive the tables; NULL: IPv4 only
	const struct vip_slots *slots; // updated from this store
	const struct snat_maps *snat; // made for this store; they outlive the tables
	const struct mux_tables
		*before; // the present snapshot, whose bucket tables are shared where sets and histories are equal; NULL: none
};

// Tables for the store's VIPs; `before` stays as it is. ERR_NO_MEMORY; ERR_INVALID when the store holds no cluster object yet.
NODISCARD int mux_tables_create(const struct mux_tables_sources *from, struct mux_tables **ret_tables);

// NULL is fine. Bucket tables that other snapshots share stay.
void mux_tables_destroy(struct mux_tables *t);

// Of the key of a VIP of IPv6: a bit that no IPv4 packet's key has. A destination in 0.0.0.0/8, which such a packet may say, is no name.
#define VIP_KEY_IP6 (0x400ull << 32)

static inline uint64_t vip_key_family(be32 vip)
{
	return addr_is_name(vip) ? VIP_KEY_IP6 : 0;
}

// An endpoint's key in one word, never 0: vip | protocol << 32 | port << 48, which is nearly how a packet has it.
static inline uint64_t vip_key(be32 vip, be16 port, uint8_t protocol)
{
	return vip | (uint64_t)protocol << 32 | (uint64_t)port << 48 | vip_key_family(vip);
}

// The same from a packet: `dst` points to its destination address, behind which the ports lie.
static inline uint64_t vip_key_of_packet(const uint8_t *dst, uint64_t protocol)
{
	return (load64(dst) & 0xffff0000ffffffffull) | protocol << 32;
}

// Where a port counts in endpoint_ports: 13 of its bits, those that cost nothing to take.
static inline uint32_t endpoint_port_bin(be16 port)
{
	return port & (ENDPOINT_PORT_BINS - 1);
}

// The key of the VIP itself: that of no packet, whatever its protocol and port.
static inline uint64_t vip_own_key_ip4(be32 vip)
{
	return vip | 0x100ull << 32;
}

static inline uint64_t vip_own_key(be32 vip)
{
	return vip_own_key_ip4(vip) | vip_key_family(vip);
}

#define VIP_KEY_REFUSES (0x200ull << 32)

// The key of an endpoint that refuses: that of no packet either.
static inline uint64_t vip_refusing_key(uint64_t key)
{
	return key | VIP_KEY_REFUSES;
}

static inline bool vip_entry_is_refusing(const struct vip_entry *e)
{
	return (e->key & VIP_KEY_REFUSES) != 0;
}

// Multiplication spreads every bit of the key into the uppermost ones (Knuth 6.4). The keys are the operator's, so that
// nobody outside can make them collide.
static inline uint64_t vip_line_at(uint64_t key, uint32_t line_shift)
{
	return key * 0x9e3779b97f4a7c15ULL >> line_shift;
}

// The entry of a key if it is in this line, as nearly all are; else NULL. Without a branch between the two entries, since
// which of them it is cannot be predicted.
static inline const struct vip_entry *vip_line_lookup(const struct vip_line *line, uint64_t key)
{
	const struct vip_entry *e = line->entries + (line->entries[1].key == key);
	return __builtin_expect(e->key == key, 1) ? e : NULL;
}

// The entry of a key; NULL when there is none.
static inline const struct vip_entry *vip_lookup_key(const struct mux_tables *t, uint64_t key)
{
	for (uint64_t i = vip_line_at(key, t->line_shift);; i = (i + 1) & t->line_mask) {
		const struct vip_line *line = &t->lines[i];
		const struct vip_entry *e = vip_line_lookup(line, key);
		if (e != NULL ||
		    line->entries[VIP_LINE_ENTRIES - 1].key == 0) // lines fill from the front: this one was never full
			return e;
	}
}

// The entry of an endpoint, whether it refuses or not, or, with port and protocol 0, of the VIP itself; NULL when there is none.
static inline const struct vip_entry *vip_lookup(const struct mux_tables *t, be32 vip, be16 port, uint8_t protocol)
{
	if (protocol == 0)
		return vip_lookup_key(t, vip_own_key(vip));
	const struct vip_entry *e = vip_lookup_key(t, vip_key(vip, port, protocol));
	return e == NULL && t->n_refusing > 0 ? vip_lookup_key(t, vip_refusing_key(vip_key(vip, port, protocol))) : e;
}

// The outer header to a DIP, as encap_template_of.
static inline struct encap_template mux_tables_template_to(const struct mux_tables *t, be32 dip)
{
	if (__builtin_expect(addr_is_name(dip) || t->vias.n > 0 || t->to_dip.src == 0, 0))
		return encap_template_of(t->to_dip.src, &t->vias, dip);
	return encap_template_to(&t->to_dip, dip);
}

// All templates of an endpoint.
static inline const struct dip_templates *vip_entry_templates(const struct vip_entry *e)
{
	return (const struct dip_templates *)((const char *)e->templates - offsetof(struct dip_templates, items));
}

// Where they have a DIP that packets may be pinned to; NOT_A_DIP when they have not. Of IPv6 all are looked at: names have no order.
uint32_t vip_entry_lookup_dip(const struct vip_entry *e, be32 dip);

static inline bool vip_entry_has_dip_at(const struct vip_entry *e, be32 dip, uint32_t at)
{
	return at < vip_entry_templates(e)->n && e->templates[at].dst == dip;
}
