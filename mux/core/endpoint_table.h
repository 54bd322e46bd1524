// The bucket table of one endpoint: made from the set of its DIPs or, where it has one, from its history, and shared by all
// snapshots of the mux's tables in which that is the same.
//
// With a history (common/model/history.h) it has the buckets of the largest generation, their owners are those of the present
// one, and a bucket that other DIPs owned before is flagged: they may have flows in it. Templates are those of all DIPs that
// a flow may be pinned to: of all generations, but for DIPs that are gone and not of the present one.
// Memory: 2 bytes a bucket, 12 for each template, 20 for each DIP of each generation.
// Threads: the control thread; workers read `owners` and `templates`.
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "common/model/history.h"
#include "common/model/vip.h"
#include "common/packet/encap.h"
#include "mux/core/vias.h"

#define BUCKET_HAD_OTHERS 0x8000u // in `owners`: other DIPs owned the bucket before

_Static_assert(HISTORY_MEMBERS_MAX <= BUCKET_HAD_OTHERS, "an index of a DIP leaves the flag free");

// The outer headers to the DIPs of an endpoint, by DIP. One whose src is 0 is none: its dst is the DIP, which is reached over IPv6, or by
// another address than its own (encapsulate_apart).
struct dip_templates {
	uint32_t n;
	struct encap_template items[];
};

struct table_member; // of a generation that it was made from

struct endpoint_table {
	uint32_t n_refs;
	uint32_t n_members; // of all generations
	uint32_t n_buckets;
	uint32_t n_flagged; // buckets
	bool is_apart; // some templates have no source: see struct dip_templates
	struct table_member *members; // one generation after the other
	struct dip_templates *templates;
	uint16_t *owners; // bucket -> index into templates, and the flag
	struct ip_addr vip; // whose it was first: where to look for it again
	uint16_t port;
	uint8_t protocol;
};

// What it is made from.
struct endpoint_source {
	const struct ip_addr *vip;
	const struct endpoint *config;
	const struct vip_history *vip_history; // NULL when the VIP has none
	const struct endpoint_history *history; // NULL when the endpoint has none: then all DIPs of the configuration
	be32 own_addr; // the outer source over IPv4; 0: the mux has none
	struct addr_names *names; // NULL: IPv4 only
	const struct vias *vias;
};

// With one reference; NULL when memory is short.
struct endpoint_table *endpoint_table_create(const struct endpoint_source *from);
void endpoint_table_unref(struct endpoint_table *e); // NULL is fine

// Would the same table be made from this?
bool endpoint_table_is_same(const struct endpoint_table *e, const struct endpoint_source *from);
