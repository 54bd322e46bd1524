// Where packets for a DIP are sent: to itself, unless it has an address of the other family for that (struct dip_info, via).
//
// Open addressing, at most half full; of DIPs with a via only. Memory: 16 to 32 bytes for each. Threads: made on the control thread,
// read by any worker.
#pragma once

#include <stdint.h>

#include "common/base/error.h"
#include "common/model/store.h"
#include "common/packet/addr_names.h"
#include "common/packet/encap.h"

struct via {
	be32 dip; // 0: free
	be32 via;
};

struct vias {
	uint32_t n;
	uint32_t mask;
	struct via *items; // NULL when there is none
};

// ERR_NO_MEMORY.
NODISCARD int vias_create(const struct store *store, struct addr_names *names, struct vias *ret_vias);
void vias_fini(struct vias *v);

// The address to which packets for a DIP are sent.
be32 vias_find(const struct vias *v, be32 dip);

static inline be32 vias_way_to(const struct vias *v, be32 dip)
{
	return __builtin_expect(v->n == 0, 1) ? dip : vias_find(v, dip);
}

// The outer header over IPv4 from the mux's own address; src 0 where that is not the way: see struct dip_templates.
static inline struct encap_template encap_template_of(be32 own_addr, const struct vias *v, be32 dip)
{
	struct encap_template t = { .dst = dip };
	if (own_addr != 0 && !addr_is_name(dip) && vias_way_to(v, dip) == dip)
		encap_template_init(&t, own_addr, dip);
	return t;
}
