// The set of objects that a program holds: the managers' replicated state, and what muxes and agents know of it.
//
// Sorted arrays of pointers by key: lookup is O(log n), a put moves up to n pointers, iteration is in key order, which
// makes snapshots deterministic. Objects are immutable once put; a put replaces.
// Threads: one owner. Pointers given out stay valid until the object is replaced or removed.
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "common/base/error.h"
#include "common/model/object.h"

// A drain with its key.
struct store_drain {
	struct ip_addr dip;
	char vip[NAME_BYTES]; // as text; "": all
	struct drain_info info;
};

struct store_array {
	uint32_t n;
	uint32_t capacity;
	void **items;
};

struct store {
	bool has_cluster;
	struct cluster_info cluster;
	bool has_settings;
	struct cluster_settings settings; // the defaults while there are none
	uint64_t version; // of the state as a whole: that of the last applied change
	struct store_array vips; // struct vip_config *
	struct store_array muxes; // struct node_info *
	struct store_array hosts; // struct node_info *
	struct store_array dips; // struct dip_info *
	struct store_array histories; // struct vip_history *
	struct store_array drains; // struct store_drain *
};

void store_init(struct store *s);
void store_fini(struct store *s); // leaves an empty store

// Applies one change: puts a copy of the object, or removes it (removing what is absent is fine). The VIP of *c changes
// its owner and c->vip becomes NULL (a history likewise). ERR_NO_MEMORY: nothing was changed.
NODISCARD int store_apply(struct store *s, struct change *c);

// Applies a whole update to `version`: all changes to what is there, or, for a snapshot, in place of it. What the changes own
// moves into the store. ERR_NO_MEMORY: a snapshot leaves the store as it was; a delta may be half applied, and the store is
// good for a snapshot only.
NODISCARD int store_apply_update(struct store *s, struct change_list *changes, bool is_snapshot, uint64_t version);

const struct vip_config *store_lookup_vip(const struct store *s, const struct ip_addr *vip);
const struct node_info *store_lookup_mux(const struct store *s, const char *name);
const struct node_info *store_lookup_host(const struct store *s, const char *name);
const struct dip_info *store_lookup_dip(const struct store *s, const struct ip_addr *dip);
const struct vip_history *store_lookup_history(const struct store *s, const struct ip_addr *vip);

// Is the DIP drained of this VIP, alone or with all others? NULL: it is not.
const struct store_drain *store_lookup_drain(const struct store *s, const struct ip_addr *dip,
                                             const struct ip_addr *vip);

// The drain with exactly this key. NULL: there is none.
const struct store_drain *store_lookup_drain_of(const struct store *s, const struct object_key *key);

static inline const struct vip_history *store_history(const struct store *s, uint32_t i)
{
	return s->histories.items[i];
}

static inline const struct store_drain *store_drain_at(const struct store *s, uint32_t i)
{
	return s->drains.items[i];
}

static inline const struct vip_config *store_vip(const struct store *s, uint32_t i)
{
	return s->vips.items[i];
}

static inline const struct node_info *store_mux(const struct store *s, uint32_t i)
{
	return s->muxes.items[i];
}

static inline const struct node_info *store_host(const struct store *s, uint32_t i)
{
	return s->hosts.items[i];
}

static inline const struct dip_info *store_dip(const struct store *s, uint32_t i)
{
	return s->dips.items[i];
}

// The object of this key as a change: a put of a copy, or a delete when there is none. ERR_NO_MEMORY.
NODISCARD int store_get_change(const struct store *s, const struct object_key *key, struct change *ret_change);

// All objects, as puts in key order (cluster, settings, VIPs, muxes, hosts, DIPs, histories, drains). ERR_NO_MEMORY leaves ret_list empty.
NODISCARD int store_get_all(const struct store *s, struct change_list *ret_list);

bool store_equal(const struct store *a, const struct store *b);
