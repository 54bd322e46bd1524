#include "common/model/lease.h"

#include "common/base/memory.h"

int lease_list_append(struct lease_list *list, const struct lease *lease)
{
	struct lease *items = memory_grow(list->items, list->n, &list->capacity, sizeof *items);
	if (items == NULL)
		return ERR_NO_MEMORY;
	list->items = items;
	items[list->n++] = *lease;
	return 0;
}

void lease_list_fini(struct lease_list *list)
{
	memory_free(list->items);
	*list = (struct lease_list){ 0 };
}

int snat_op_list_append(struct snat_op_list *list, const struct snat_op *op)
{
	struct snat_op *items = memory_grow(list->items, list->n, &list->capacity, sizeof *items);
	if (items == NULL)
		return ERR_NO_MEMORY;
	list->items = items;
	items[list->n++] = *op;
	return 0;
}

void snat_op_list_fini(struct snat_op_list *list)
{
	memory_free(list->items);
	*list = (struct snat_op_list){ 0 };
}

int snat_demand_list_append(struct snat_demand_list *list, const struct snat_demand *demand)
{
	struct snat_demand *items = memory_grow(list->items, list->n, &list->capacity, sizeof *items);
	if (items == NULL)
		return ERR_NO_MEMORY;
	list->items = items;
	items[list->n++] = *demand;
	return 0;
}

void snat_demand_list_fini(struct snat_demand_list *list)
{
	memory_free(list->items);
	*list = (struct snat_demand_list){ 0 };
}

void snat_image_fini(struct snat_image *image)
{
	lease_list_fini(&image->held);
	lease_list_fini(&image->freed);
	lease_list_fini(&image->log);
	snat_demand_list_fini(&image->demands);
	*image = (struct snat_image){ 0 };
}
