#include "common/model/transaction.h"

#include <string.h>

#include "common/base/memory.h"

void vip_expect_list_fini(struct vip_expect_list *list)
{
	memory_free(list->items);
	*list = (struct vip_expect_list){ 0 };
}

int vip_expect_list_append(struct vip_expect_list *list, const struct vip_expect *e)
{
	struct vip_expect *items = memory_grow(list->items, list->n, &list->capacity, sizeof *items);
	if (items == NULL)
		return ERR_NO_MEMORY;
	list->items = items;
	list->items[list->n++] = *e;
	return 0;
}

void command_terms_fini(struct command_terms *t)
{
	vip_expect_list_fini(&t->expects);
	*t = (struct command_terms){ 0 };
}

void staged_list_fini(struct staged_list *list)
{
	for (uint32_t i = 0; i < list->n; i++)
		change_list_fini(&list->items[i].changes);
	memory_free(list->items);
	*list = (struct staged_list){ 0 };
}

int staged_list_append(struct staged_list *list, struct staged *s)
{
	struct staged *items = memory_grow(list->items, list->n, &list->capacity, sizeof *items);
	if (items == NULL) {
		change_list_fini(&s->changes);
		return ERR_NO_MEMORY;
	}
	list->items = items;
	list->items[list->n++] = *s;
	memset(s, 0, sizeof *s);
	return 0;
}

void staged_list_remove(struct staged_list *list, uint32_t i)
{
	change_list_fini(&list->items[i].changes);
	memmove(list->items + i, list->items + i + 1, (list->n - i - 1) * sizeof *list->items);
	list->n--;
}
