#include "common/model/health.h"

#include "common/base/memory.h"

void health_report_fini(struct health_report *r)
{
	memory_free(r->items);
	*r = (struct health_report){ 0 };
}

int health_report_append(struct health_report *r, const struct probe_result *result)
{
	struct probe_result *items = memory_grow(r->items, r->n, &r->capacity, sizeof *items);
	if (items == NULL)
		return ERR_NO_MEMORY;
	r->items = items;
	r->items[r->n++] = *result;
	return 0;
}

struct object_key probe_result_key(const struct probe_result *result)
{
	struct object_key key = object_key_of_addr(OBJECT_UNHEALTHY, &result->dip);
	endpoint_key_format(&result->vip, result->protocol, result->port, key.name);
	return key;
}
