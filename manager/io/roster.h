// Who is subscribed: peers by role and name, sorted, so that lookup is O(log n) and iteration is in order.
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "common/wire/message.h"

struct peer;

struct roster {
	uint32_t n;
	uint32_t capacity;
	struct peer **items;
};

void roster_fini(struct roster *r);

// NULL when no such node is subscribed.
struct peer *roster_lookup(const struct roster *r, enum node_role role, const char *name);

// There must be none of this role and name. ERR_NO_MEMORY.
NODISCARD int roster_insert(struct roster *r, struct peer *p);

// False: it is not in it.
bool roster_remove(struct roster *r, struct peer *p);
