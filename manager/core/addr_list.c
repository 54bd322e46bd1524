#include "manager/core/addr_list.h"

#include <stdlib.h>

#include "common/base/memory.h"

int addr_list_append(struct addr_list *list, const struct ip_addr *addr)
{
	struct ip_addr *items = memory_grow(list->items, list->n, &list->capacity, sizeof *items);
	if (items == NULL)
		return ERR_NO_MEMORY;
	list->items = items;
	list->items[list->n++] = *addr;
	return 0;
}

void addr_list_make_set(struct addr_list *list)
{
	if (list->n == 0)
		return;
	qsort(list->items, list->n, sizeof *list->items, ip_addr_compare_items);
	uint32_t n = 1;
	for (uint32_t i = 1; i < list->n; i++)
		if (!ip_addr_equal(&list->items[n - 1], &list->items[i]))
			list->items[n++] = list->items[i];
	list->n = n;
}

void addr_list_fini(struct addr_list *list)
{
	memory_free(list->items);
	*list = (struct addr_list){ 0 };
}
