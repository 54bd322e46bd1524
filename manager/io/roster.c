#include "manager/io/roster.h"

#include <string.h>

#include "common/base/memory.h"
#include "manager/io/server_parts.h"

void roster_fini(struct roster *r)
{
	memory_free(r->items);
	memset(r, 0, sizeof *r);
}

static int compare(const struct peer *p, enum node_role role, const char *name)
{
	if (p->subscribe.role != role)
		return p->subscribe.role < role ? -1 : 1;
	return strcmp(p->subscribe.node.name, name);
}

static uint32_t find(const struct roster *r, enum node_role role, const char *name)
{
	uint32_t low = 0;
	uint32_t high = r->n;
	while (low < high) {
		uint32_t middle = low + (high - low) / 2;
		if (compare(r->items[middle], role, name) < 0)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

struct peer *roster_lookup(const struct roster *r, enum node_role role, const char *name)
{
	uint32_t i = find(r, role, name);
	return i < r->n && compare(r->items[i], role, name) == 0 ? r->items[i] : NULL;
}

int roster_insert(struct roster *r, struct peer *p)
{
	struct peer **items = memory_grow(r->items, r->n, &r->capacity, sizeof(struct peer *));
	if (items == NULL)
		return ERR_NO_MEMORY;
	r->items = items;
	uint32_t i = find(r, p->subscribe.role, p->subscribe.node.name);
	memmove(r->items + i + 1, r->items + i, (r->n - i) * sizeof *r->items);
	r->items[i] = p;
	r->n++;
	return 0;
}

bool roster_remove(struct roster *r, struct peer *p)
{
	uint32_t i = find(r, p->subscribe.role, p->subscribe.node.name);
	if (i == r->n || r->items[i] != p)
		return false;
	memmove(r->items + i, r->items + i + 1, (r->n - i - 1) * sizeof *r->items);
	r->n--;
	return true;
}
