#include "common/model/lease.h"

#include "common/base/memory.h"

// Room for one more element at the end of *items; NULL when memory is short, and then nothing has changed.
static void *grow(void **items, uint32_t *n, uint32_t *capacity, size_t size)
{
	if (*n == *capacity) {
		uint32_t more = *capacity == 0 ? 16 : *capacity * 2;
		void *grown = memory_resize(*items, more, size);
		if (grown == NULL)
			return NULL;
		*items = grown;
		*capacity = more;
	}
	return (uint8_t *)*items + (size_t)(*n)++ * size;
}

int lease_list_append(struct lease_list *list, const struct lease *lease)
{
	struct lease *at = grow((void **)&list->items, &list->n, &list->capacity, sizeof *lease);
	if (at == NULL)
		return ERR_NO_MEMORY;
	*at = *lease;
	return 0;
}

void lease_list_fini(struct lease_list *list)
{
	memory_free(list->items);
	*list = (struct lease_list){ 0 };
}

int snat_op_list_append(struct snat_op_list *list, const struct snat_op *op)
{
	struct snat_op *at = grow((void **)&list->items, &list->n, &list->capacity, sizeof *op);
	if (at == NULL)
		return ERR_NO_MEMORY;
	*at = *op;
	return 0;
}

void snat_op_list_fini(struct snat_op_list *list)
{
	memory_free(list->items);
	*list = (struct snat_op_list){ 0 };
}

int snat_demand_list_append(struct snat_demand_list *list, const struct snat_demand *demand)
{
	struct snat_demand *at = grow((void **)&list->items, &list->n, &list->capacity, sizeof *demand);
	if (at == NULL)
		return ERR_NO_MEMORY;
	*at = *demand;
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
