#include "common/model/object.h"

#include <string.h>

#include "common/base/memory.h"

struct object_key object_key_of_addr(enum object_kind kind, const struct ip_addr *addr)
{
	return (struct object_key){ .kind = kind, .addr = *addr };
}

struct object_key object_key_of_name(enum object_kind kind, const char *name)
{
	struct object_key key = { .kind = kind };
	(void)text_copy(key.name, sizeof key.name, name);
	return key;
}

int object_key_compare(const struct object_key *a, const struct object_key *b)
{
	if (a->kind != b->kind)
		return a->kind < b->kind ? -1 : 1;
	int order = ip_addr_compare(&a->addr, &b->addr);
	return order != 0 ? order : strcmp(a->name, b->name);
}

bool object_key_equal(const struct object_key *a, const struct object_key *b)
{
	return object_key_compare(a, b) == 0;
}

bool node_info_equal(const struct node_info *a, const struct node_info *b)
{
	return strcmp(a->name, b->name) == 0 && ip_addr_equal(&a->addr, &b->addr) && ip_addr_equal(&a->addr6, &b->addr6);
}

bool dip_info_equal(const struct dip_info *a, const struct dip_info *b)
{
	return ip_addr_equal(&a->dip, &b->dip) && strcmp(a->host, b->host) == 0 && strcmp(a->vm, b->vm) == 0 &&
	       strcmp(a->interface, b->interface) == 0 && memcmp(a->mac, b->mac, sizeof a->mac) == 0 &&
	       ip_addr_equal(&a->via, &b->via);
}

void change_fini(struct change *c)
{
	if (c->key.kind == OBJECT_VIP && !c->is_delete)
		vip_config_destroy(c->vip);
	else if (c->key.kind == OBJECT_HISTORY && !c->is_delete)
		vip_history_destroy(c->history);
	memset(c, 0, sizeof *c);
}

int change_copy(const struct change *c, struct change *ret_copy)
{
	struct change copy = *c;
	if (c->key.kind == OBJECT_VIP && !c->is_delete)
		copy.vip = vip_config_clone(c->vip);
	else if (c->key.kind == OBJECT_HISTORY && !c->is_delete)
		copy.history = vip_history_clone(c->history);
	bool owns = !c->is_delete && (c->key.kind == OBJECT_VIP || c->key.kind == OBJECT_HISTORY);
	if (owns && (c->key.kind == OBJECT_VIP ? (void *)copy.vip : (void *)copy.history) == NULL)
		return ERR_NO_MEMORY;
	*ret_copy = copy;
	return 0;
}

void change_list_fini(struct change_list *list)
{
	for (uint32_t i = 0; i < list->n; i++)
		change_fini(&list->items[i]);
	memory_free(list->items);
	*list = (struct change_list){ 0 };
}

int change_list_append(struct change_list *list, struct change *c)
{
	struct change *items = memory_grow(list->items, list->n, &list->capacity, sizeof *items);
	if (items == NULL) {
		change_fini(c);
		return ERR_NO_MEMORY;
	}
	list->items = items;
	list->items[list->n++] = *c;
	memset(c, 0, sizeof *c);
	return 0;
}

int change_list_append_all(struct change_list *list, struct change_list *from)
{
	if (from->n > 0) {
		struct change *items = memory_resize(list->items, list->n + from->n, sizeof *items);
		if (items == NULL)
			return ERR_NO_MEMORY;
		memcpy(items + list->n, from->items, from->n * sizeof *items);
		list->items = items;
		list->n += from->n;
		list->capacity = list->n;
	}
	memory_free(from->items);
	*from = (struct change_list){ 0 };
	return 0;
}
