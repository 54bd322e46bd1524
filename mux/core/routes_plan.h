// Which routes announce VIPs, and which of them to add and to remove: the difference between those wanted and those there.
#pragma once

#include <stdint.h>

#include "common/base/error.h"
#include "common/model/ip_addr.h"

#define ROUTE_PREFIXES_MAX 64

struct vip_route {
	struct ip_prefix dst;
	uint8_t protocol; // says how it is announced
};

// What covers VIPs: those inside are announced together. No two overlap, and no bit is set behind a prefix.
struct route_prefixes {
	uint32_t n;
	struct ip_prefix items[ROUTE_PREFIXES_MAX];
};

struct routes_plan {
	uint32_t n_add;
	uint32_t n_remove;
	struct vip_route *add; // also what is there with another protocol, and is replaced
	struct vip_route *remove;
};

// Is the address inside?
bool route_prefix_covers(const struct ip_prefix *prefix, const struct ip_addr *addr);

// ERR_INVALID with the two that overlap, or the one that is none: bits behind it, or of length 0.
NODISCARD int route_prefixes_check(const struct route_prefixes *p, struct error *err);

// The routes for VIPs (sorted, without repetition): of each the prefix that covers it, once, or the VIP alone. Sorted, in
// memory of the caller's to free. ERR_NO_MEMORY.
NODISCARD int vip_routes_make(const struct ip_addr *vips, uint32_t n_vips, const struct route_prefixes *prefixes,
                              uint8_t protocol, struct vip_route **ret_routes, uint32_t *ret_n);

// By destination, for qsort.
int vip_route_compare_items(const void *a, const void *b);

// Both lists are sorted; `wanted` has a destination once. ERR_NO_MEMORY; the plan is the caller's to finish on success.
NODISCARD int routes_plan_make(const struct vip_route *wanted, uint32_t n_wanted, const struct vip_route *present,
                               uint32_t n_present, struct routes_plan *ret_plan);

void routes_plan_fini(struct routes_plan *plan);
