#include "common/model/vip_version.h"

#include "common/base/memory.h"

void vip_version_list_fini(struct vip_version_list *list)
{
	for (uint32_t i = 0; i < list->n; i++)
		vip_config_destroy(list->items[i].config);
	memory_free(list->items);
	*list = (struct vip_version_list){ 0 };
}

int vip_version_list_append(struct vip_version_list *list, struct vip_version *v)
{
	struct vip_version *items = memory_grow(list->items, list->n, &list->capacity, sizeof *items);
	if (items == NULL) {
		vip_config_destroy(v->config);
		v->config = NULL;
		return ERR_NO_MEMORY;
	}
	list->items = items;
	list->items[list->n++] = *v;
	v->config = NULL;
	return 0;
}
