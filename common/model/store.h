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

// A mark with its key.
struct store_mark {
	struct object_key key;
	struct mark_info info;
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
	struct store_array drains; // struct store_mark *, as the following ones
	struct store_array unhealthy;
	struct store_array gone_hosts;
	struct store_array mux_drains;
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
const struct store_mark *store_lookup_drain(const struct store *s, const struct ip_addr *dip,
                                            const struct ip_addr *vip);

// Does the probe of this endpoint fail at the DIP? NULL: it does not, as far as is known.
struct endpoint;
const struct store_mark *store_lookup_unhealthy(const struct store *s, const struct ip_addr *dip,
                                                const struct ip_addr *vip, const struct endpoint *e);

// Is the host on which the DIP is attached gone? NULL: it is not, or the DIP is not attached.
const struct store_mark *store_lookup_gone_host(const struct store *s, const struct ip_addr *dip);

// The mark with exactly this key. NULL: there is none.
const struct store_mark *store_lookup_mark(const struct store *s, const struct object_key *key);

static inline const struct vip_history *store_history(const struct store *s, uint32_t i)
{
	return s->histories.items[i];
}

// Of one of the arrays of marks.
static inline const struct store_mark *store_mark_at(const struct store_array *marks, uint32_t i)
{
	return marks->items[i];
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

// All objects, as puts in key order (cluster, settings, VIPs, muxes, hosts, DIPs, histories,
// marks by kind). ERR_NO_MEMORY leaves ret_list empty.
NODISCARD int store_get_all(const struct store *s, struct change_list *ret_list);

bool store_equal(const struct store *a, const struct store *b);
