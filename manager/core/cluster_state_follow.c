// What follows from the changes of a command: drains, then histories.
#include <stdlib.h>
#include <string.h>

#include "common/base/memory.h"
#include "manager/core/addr_list.h"
#include "manager/core/cluster_state_parts.h"
#include "manager/core/drains.h"
#include "manager/core/generations.h"

static int touch_and_replace(struct cluster_state *s, struct change *c, struct progress *p)
{
	if (touched_list_append(&p->touched, &c->key, false) == 0 && cluster_state_replace(s, c) == 0)
		return 0;
	change_fini(c);
	return ERR_NO_MEMORY;
}

// ---- drains ----

static int drop_drain(struct cluster_state *s, const struct object_key *key, struct progress *p)
{
	if (store_lookup_mark(&s->store, key) == NULL || drains_has_endpoint(s, key))
		return 0;
	return touch_and_replace(s, &(struct change){ .key = *key, .is_delete = true }, p);
}

static int drop_drains_of_dip(struct cluster_state *s, const struct ip_addr *dip, const char *vip, struct progress *p)
{
	struct object_key key = object_key_of_addr(OBJECT_DRAIN, dip);
	if (drop_drain(s, &key, p) != 0)
		return ERR_NO_MEMORY;
	(void)text_copy(key.name, sizeof key.name, vip);
	return drop_drain(s, &key, p);
}

// Only a DIP that was in an endpoint before can have left it.
static int drop_drains(struct cluster_state *s, struct progress *p)
{
	char text[IP_ADDR_TEXT_BYTES];
	for (uint32_t u = 0; u < p->undo.n && s->store.drains.n > 0; u++) {
		const struct change *old = &p->undo.items[u];
		if (old->key.kind != OBJECT_VIP || old->is_delete)
			continue;
		ip_addr_format(&old->key.addr, text);
		for (uint32_t i = 0; i < old->vip->n_endpoints; i++)
			for (uint32_t k = 0; k < old->vip->endpoints[i].n_dips; k++)
				if (drop_drains_of_dip(s, &old->vip->endpoints[i].dips[k].dip, text, p) != 0)
					return ERR_NO_MEMORY;
	}
	return 0;
}

// ---- which VIPs ----

static int list_histories_of_dip(const struct cluster_state *s, const struct ip_addr *dip, struct addr_list *vips)
{
	uint32_t i = 0;
	for (const struct vip_history *h; (h = cluster_state_next_history(s, dip, &i)) != NULL;)
		if (addr_list_append(vips, &h->vip) != 0)
			return ERR_NO_MEMORY;
	return 0;
}

static int list_touched_vips(const struct cluster_state *s, const struct touched_list *touched, struct addr_list *vips)
{
	int code = 0;
	for (uint32_t i = 0; code == 0 && i < touched->n; i++) {
		const struct object_key *key = &touched->items[i].key;
		if (key->kind == OBJECT_VIP)
			code = addr_list_append(vips, &key->addr);
		else if (key->kind == OBJECT_DRAIN)
			code = drains_list_vips(s, key, vips);
		else if (key->kind == OBJECT_DIP) // it may be gone, or back
			code = list_histories_of_dip(s, &key->addr, vips);
	}
	return code;
}

static int list_expired_vips(const struct cluster_state *s, uint64_t now_ms, struct addr_list *vips)
{
	for (uint32_t i = 0; i < s->store.histories.n; i++) {
		const struct vip_history *h = store_history(&s->store, i);
		const struct vip_config *vip = store_lookup_vip(&s->store, &h->vip);
		if (vip != NULL && generations_expire_ms(h, vip) <= now_ms && addr_list_append(vips, &h->vip) != 0)
			return ERR_NO_MEMORY;
	}
	return 0;
}

// ---- what they were before ----

// What undoes the changes of VIPs, by VIP, then in the order of the command.
struct old_vips {
	uint32_t n;
	const struct change **items;
};

static int compare_old_vips(const void *a, const void *b)
{
	const struct change *x = *(const struct change *const *)a;
	const struct change *y = *(const struct change *const *)b;
	int order = ip_addr_compare(&x->key.addr, &y->key.addr);
	return order != 0 ? order : (x > y) - (x < y); // of one array
}

static int collect_old_vips(const struct change_list *undo, struct old_vips *old)
{
	old->items = memory_array(undo->n, sizeof *old->items);
	if (old->items == NULL)
		return ERR_NO_MEMORY;
	for (uint32_t i = 0; i < undo->n; i++)
		if (undo->items[i].key.kind == OBJECT_VIP)
			old->items[old->n++] = &undo->items[i];
	if (old->n > 0)
		qsort(old->items, old->n, sizeof *old->items, compare_old_vips);
	return 0;
}

// VIPs are asked for in ascending order; *at is where the last answer ended.
static struct generations_before before_of(const struct cluster_state *s, const struct old_vips *old, uint32_t *at,
                                           const struct ip_addr *vip)
{
	while (*at < old->n && ip_addr_compare(&old->items[*at]->key.addr, vip) < 0)
		(*at)++;
	uint32_t first = *at;
	bool was_there = true;
	for (; *at < old->n && ip_addr_equal(&old->items[*at]->key.addr, vip); (*at)++)
		was_there = was_there && !old->items[*at]->is_delete;
	if (!was_there)
		return (struct generations_before){ 0 };
	return (struct generations_before){
		.config = *at > first ? old->items[first]->vip : store_lookup_vip(&s->store, vip),
		.history = store_lookup_history(&s->store, vip),
	};
}

// ---- histories ----

static int update_history(struct cluster_state *s, const struct ip_addr *addr, const struct generations_before *before,
                          struct progress *p)
{
	const struct vip_config *vip = store_lookup_vip(&s->store, addr);
	const struct vip_history *present = store_lookup_history(&s->store, addr);
	struct vip_history *next = NULL;
	if (vip != NULL && generations_next(&s->store, vip, before, p->now_ms, &next) != 0)
		return ERR_NO_MEMORY;
	bool is_same = present == NULL || next == NULL ? present == next : vip_history_equal(present, next);
	if (is_same) {
		vip_history_destroy(next);
		return 0;
	}
	struct change c = { .key = object_key_of_addr(OBJECT_HISTORY, addr), .is_delete = next == NULL, .history = next };
	return touch_and_replace(s, &c, p);
}

static int update_histories(struct cluster_state *s, const struct addr_list *vips, struct progress *p)
{
	struct old_vips old = { 0 };
	uint32_t at = 0;
	int code = collect_old_vips(&p->undo, &old);
	for (uint32_t i = 0; code == 0 && i < vips->n; i++) {
		struct generations_before before = before_of(s, &old, &at, &vips->items[i]);
		code = update_history(s, &vips->items[i], &before, p);
	}
	memory_free(old.items);
	return code;
}

int cluster_state_follow(struct cluster_state *s, bool is_empty, struct progress *p)
{
	struct addr_list vips = { 0 };
	int code = drop_drains(s, p);
	if (code == 0)
		code = is_empty ? list_expired_vips(s, p->now_ms, &vips) : list_touched_vips(s, &p->touched, &vips);
	addr_list_make_set(&vips);
	if (code == 0)
		code = update_histories(s, &vips, p);
	addr_list_fini(&vips);
	return code;
}
