#include "manager/core/change_log.h"

#include <stdlib.h>
#include <string.h>

#include "common/base/memory.h"

int change_log_init(struct change_log *log, uint64_t version)
{
	struct change_log_entry *entries = memory_array(CHANGE_LOG_CAPACITY, sizeof *entries);
	if (entries == NULL)
		return ERR_NO_MEMORY;
	*log = (struct change_log){ .floor_version = version, .entries = entries };
	return 0;
}

void change_log_fini(struct change_log *log)
{
	memory_free(log->entries);
	memset(log, 0, sizeof *log);
}

void change_log_reset(struct change_log *log, uint64_t version)
{
	log->floor_version = version;
	log->first = 0;
	log->n = 0;
}

static struct change_log_entry *entry_at(const struct change_log *log, uint32_t i)
{
	return &log->entries[(log->first + i) % CHANGE_LOG_CAPACITY];
}

void change_log_append(struct change_log *log, uint64_t version, const struct object_key *key, bool is_audience_only)
{
	if (log->n == CHANGE_LOG_CAPACITY) {
		log->floor_version = entry_at(log, 0)->version;
		log->first = (log->first + 1) % CHANGE_LOG_CAPACITY;
		log->n--;
	}
	struct change_log_entry *e = entry_at(log, log->n++);
	e->version = version;
	e->touched = (struct touched_key){ .key = *key, .is_audience_only = is_audience_only };
}

// The first entry that is newer than `version`.
static uint32_t first_after(const struct change_log *log, uint64_t version)
{
	uint32_t low = 0;
	uint32_t high = log->n;
	while (low < high) {
		uint32_t middle = low + (high - low) / 2;
		if (entry_at(log, middle)->version <= version)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

static int compare_touched(const void *a, const void *b)
{
	return object_key_compare(&((const struct touched_key *)a)->key, &((const struct touched_key *)b)->key);
}

// Sorts, and makes one of those with the same key: the object changed if it did in any of them.
static void merge_same_keys(struct touched_list *list)
{
	qsort(list->items, list->n, sizeof *list->items, compare_touched);
	uint32_t n = 0;
	for (uint32_t i = 0; i < list->n; i++) {
		struct touched_key *last = n > 0 ? &list->items[n - 1] : NULL;
		if (last != NULL && object_key_equal(&last->key, &list->items[i].key))
			last->is_audience_only = last->is_audience_only && list->items[i].is_audience_only;
		else
			list->items[n++] = list->items[i];
	}
	list->n = n;
}

int change_log_since(const struct change_log *log, uint64_t version, struct touched_list *ret_keys)
{
	if (version < log->floor_version)
		return ERR_NOT_FOUND;
	struct touched_list list = { 0 };
	for (uint32_t i = first_after(log, version); i < log->n; i++) {
		const struct touched_key *t = &entry_at(log, i)->touched;
		if (touched_list_append(&list, &t->key, t->is_audience_only) != 0) {
			touched_list_fini(&list);
			return ERR_NO_MEMORY;
		}
	}
	if (list.n > 1)
		merge_same_keys(&list);
	*ret_keys = list;
	return 0;
}

int touched_list_append(struct touched_list *list, const struct object_key *key, bool is_audience_only)
{
	struct touched_key *items = memory_grow(list->items, list->n, &list->capacity, sizeof *items);
	if (items == NULL)
		return ERR_NO_MEMORY;
	list->items = items;
	list->items[list->n++] = (struct touched_key){ .key = *key, .is_audience_only = is_audience_only };
	return 0;
}

void touched_list_fini(struct touched_list *list)
{
	memory_free(list->items);
	memset(list, 0, sizeof *list);
}
