#include "manager/core/staging.h"

#include "manager/core/vip_versions.h"

static uint32_t find(const struct staged_list *list, uint64_t id)
{
	uint32_t i = 0;
	while (i < list->n && list->items[i].id != id)
		i++;
	return i;
}

static uint64_t weigh(const struct change_list *changes)
{
	uint64_t n = 0;
	for (uint32_t i = 0; i < changes->n; i++) {
		const struct change *c = &changes->items[i];
		n += 512 + (c->key.kind == OBJECT_VIP && !c->is_delete ? vip_config_weight(c->vip) : 0);
	}
	return n;
}

static int refuse_unknown(const struct stage_ref *ref, struct error *err)
{
	return error_set(
		err, ERR_NOT_FOUND,
		"transaction %llx: part %u does not follow what is there; a transaction must be committed within %u "
		"seconds, begin anew",
		(unsigned long long)ref->id, ref->part, STAGED_MS / 1000);
}

static int begin(struct staged_list *list, uint64_t id, uint64_t now_ms, struct error *err)
{
	struct staged s = { .id = id, .begun_ms = now_ms };
	if (list->n >= STAGED_MAX)
		return error_set(err, ERR_LIMIT, "%u transactions wait for their commit, which is the limit; try again later",
		                 list->n);
	return staged_list_append(list, &s) == 0 ? 0 : error_set(err, ERR_NO_MEMORY, "memory is short");
}

int staging_take(struct staged_list *list, const struct stage_ref *part, struct change_list *changes, uint64_t now_ms,
                 struct error *err)
{
	uint32_t i = find(list, part->id);
	if (i == list->n && part->part != 0)
		return refuse_unknown(part, err);
	int code = i == list->n ? begin(list, part->id, now_ms, err) : 0;
	if (code != 0)
		return code;
	struct staged *s = &list->items[i];
	if (part->part > s->n_parts)
		return refuse_unknown(part, err);
	if (part->part < s->n_parts) {
		change_list_fini(changes);
		return 0;
	}
	uint64_t n_bytes = weigh(changes);
	for (uint32_t k = 0; k < list->n; k++)
		n_bytes += weigh(&list->items[k].changes);
	if (n_bytes > STAGED_BYTES) {
		staged_list_remove(list, i);
		return error_set(err, ERR_LIMIT,
		                 "transactions that wait for their commit would take more than %u MiB; divide it",
		                 STAGED_BYTES >> 20);
	}
	s->n_parts++;
	return change_list_append_all(&s->changes, changes) == 0 ? 0 : error_set(err, ERR_NO_MEMORY, "memory is short");
}

int staging_commit(struct staged_list *list, const struct stage_ref *commit, struct change_list *changes,
                   struct error *err)
{
	uint32_t i = find(list, commit->id);
	if (i == list->n || list->items[i].n_parts != commit->part)
		return refuse_unknown(commit, err);
	struct change_list all = list->items[i].changes;
	list->items[i].changes = (struct change_list){ 0 };
	staged_list_remove(list, i);
	if (change_list_append_all(&all, changes) != 0) {
		change_list_fini(&all);
		return error_set(err, ERR_NO_MEMORY, "memory is short");
	}
	*changes = all;
	return 0;
}

void staging_expire(struct staged_list *list, uint64_t now_ms)
{
	while (list->n > 0 && now_ms >= list->items[0].begun_ms + STAGED_MS)
		staged_list_remove(list, 0);
}

int staging_copy(const struct staged_list *list, struct staged_list *ret_copy)
{
	struct staged_list copy = { 0 };
	int code = 0;
	for (uint32_t i = 0; code == 0 && i < list->n; i++) {
		struct staged s = list->items[i];
		s.changes = (struct change_list){ 0 };
		for (uint32_t k = 0; code == 0 && k < list->items[i].changes.n; k++) {
			struct change c;
			code = change_copy(&list->items[i].changes.items[k], &c);
			if (code == 0)
				code = change_list_append(&s.changes, &c);
		}
		if (code == 0)
			code = staged_list_append(&copy, &s);
		else
			change_list_fini(&s.changes);
	}
	if (code != 0) {
		staged_list_fini(&copy);
		return code;
	}
	*ret_copy = copy;
	return 0;
}
