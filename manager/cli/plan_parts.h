// What the files of a plan share. Included by manager/cli/plan*.c only.
#pragma once

#include "manager/cli/plan.h"
#include "manager/core/bucket_moves.h"

struct plan_flow { // of a DIP, as its agent counts
	struct ip_addr dip;
	uint32_t n;
};

struct plan_flows { // sorted by DIP; a DIP whose agent does not say is not in it
	uint32_t n;
	struct plan_flow *items;
};

struct plan_members {
	uint32_t n;
	struct maglev_member *items;
};

// One VIP, before and after.
struct plan_sides {
	const struct store *before;
	const struct store *after;
	const struct ip_addr *vip;
	const struct vip_config *old; // NULL: it comes
	const struct vip_config *new; // NULL: it goes
	struct plan_flows flows;
};

json_t *plan_field(const char *name, json_t *from, json_t *to);

NODISCARD int plan_flows_init(struct plan_flows *f, const struct node_list *hosts); // ERR_NO_MEMORY
void plan_flows_fini(struct plan_flows *f);

// What `connections` of an endpoint is; null when it is not known.
json_t *plan_make_connections(const struct plan_sides *sides, const struct plan_members *from,
                              const struct plan_members *to, const struct bucket_moves *moves);

json_t *plan_make_warnings(const struct plan_sides *sides, const json_t *endpoints);
