#include "manager/core/vip_versions.h"

#include <stdlib.h>
#include <string.h>

#include "common/base/memory.h"

void vip_versions_init(struct vip_versions *v)
{
	*v = (struct vip_versions){ .limit_bytes = VERSIONS_BYTES, .expire_ms = UINT64_MAX };
}

static void node_destroy(struct version_node *node)
{
	vip_config_destroy(node->v.config);
	memory_free(node);
}

void vip_versions_fini(struct vip_versions *v)
{
	for (uint32_t i = 0; i < v->n; i++) {
		for (uint32_t k = 0; k < v->items[i]->n; k++)
			node_destroy(v->items[i]->nodes[k]);
		memory_free(v->items[i]);
	}
	memory_free(v->items);
	vip_versions_init(v);
}

uint32_t vip_config_weight(const struct vip_config *vip)
{
	uint32_t n = 256 + 16 * vip->n_snat_dips;
	for (uint32_t i = 0; i < vip->n_endpoints; i++)
		n += 256 + 24 * vip->endpoints[i].n_dips;
	return n;
}

// ---- the trails ----

// The index of the VIP, or where it would be put.
static uint32_t find(const struct vip_versions *v, const struct ip_addr *vip, bool *ret_found)
{
	uint32_t low = 0;
	uint32_t high = v->n;
	while (low < high) {
		uint32_t middle = low + (high - low) / 2;
		if (ip_addr_compare(&v->items[middle]->vip, vip) < 0)
			low = middle + 1;
		else
			high = middle;
	}
	*ret_found = low < v->n && ip_addr_equal(&v->items[low]->vip, vip);
	return low;
}

const struct vip_trail *vip_versions_lookup(const struct vip_versions *v, const struct ip_addr *vip)
{
	bool found;
	uint32_t i = find(v, vip, &found);
	return found ? v->items[i] : NULL;
}

// NULL when memory is short.
static struct vip_trail *make_trail(struct vip_versions *v, const struct ip_addr *vip)
{
	bool found;
	uint32_t i = find(v, vip, &found);
	if (found)
		return v->items[i];
	struct vip_trail **items = memory_grow(v->items, v->n, &v->capacity, sizeof *items);
	if (items == NULL)
		return NULL;
	v->items = items;
	struct vip_trail *t = memory_array(1, sizeof *t);
	if (t == NULL)
		return NULL;
	t->vip = *vip;
	memmove(items + i + 1, items + i, (v->n - i) * sizeof *items);
	items[i] = t;
	v->n++;
	return t;
}

static void remove_trail(struct vip_versions *v, uint32_t i)
{
	memory_free(v->items[i]);
	memmove(v->items + i, v->items + i + 1, (v->n - i - 1) * sizeof *v->items);
	v->n--;
}

// ---- what is past ----

static void link_past(struct vip_versions *v, struct version_node *node)
{
	node->n_bytes = 128 + (node->v.config != NULL ? vip_config_weight(node->v.config) : 0);
	v->n_bytes += node->n_bytes;
	node->older = v->newest;
	if (v->newest != NULL)
		v->newest->newer = node;
	else
		v->oldest = node;
	v->newest = node;
}

static void unlink_past(struct vip_versions *v, struct version_node *node)
{
	v->n_bytes -= node->n_bytes;
	if (node->older != NULL)
		node->older->newer = node->newer;
	else
		v->oldest = node->newer;
	if (node->newer != NULL)
		node->newer->older = node->older;
	else
		v->newest = node->older;
}

// The oldest of a trail is always one that became past before the others of it.
static void drop_first(struct vip_versions *v, struct vip_trail *t)
{
	unlink_past(v, t->nodes[0]);
	node_destroy(t->nodes[0]);
	t->n--;
	memmove(t->nodes, t->nodes + 1, t->n * sizeof *t->nodes);
}

// A deletion of which nothing is known any more is nothing to keep.
static void drop_oldest(struct vip_versions *v)
{
	bool found;
	uint32_t i = find(v, &v->oldest->v.vip, &found);
	struct vip_trail *t = v->items[i];
	drop_first(v, t);
	if (t->n > 1 || !t->nodes[0]->v.is_delete)
		return;
	node_destroy(t->nodes[0]);
	remove_trail(v, i);
}

// ---- appending ----

static struct version_node *make_node(const struct vip_version *from)
{
	struct version_node *node = memory_array(1, sizeof *node);
	if (node == NULL)
		return NULL;
	node->v = *from;
	node->v.config = NULL;
	return node;
}

// The one that was present becomes past, with what it was.
static void retire(struct vip_versions *v, struct vip_trail *t, struct vip_config *before)
{
	struct version_node *present = t->nodes[t->n - 1];
	present->v.config = before;
	link_past(v, present);
}

static void note_expiry(struct vip_versions *v, const struct vip_version *deletion)
{
	if (deletion->time_ms + VERSIONS_DELETED_MS < v->expire_ms)
		v->expire_ms = deletion->time_ms + VERSIONS_DELETED_MS;
}

// A version before the first one that was noted.
static int begin_trail(struct vip_trail *t)
{
	struct vip_version unknown = { .vip = t->vip, .version = VERSION_UNKNOWN };
	t->nodes[0] = make_node(&unknown);
	if (t->nodes[0] == NULL)
		return ERR_NO_MEMORY;
	t->n = 1;
	return 0;
}

int vip_versions_append(struct vip_versions *v, const struct vip_version *next, struct vip_config *before)
{
	struct vip_trail *t = make_trail(v, &next->vip);
	struct version_node *node = make_node(next);
	bool ok = t != NULL && node != NULL && (before == NULL || t->n > 0 || begin_trail(t) == 0);
	if (!ok) {
		memory_free(node);
		vip_config_destroy(before);
		return ERR_NO_MEMORY;
	}
	if (t->n > 0)
		retire(v, t, before);
	if (t->n == VERSIONS_KEPT + 1)
		drop_first(v, t);
	t->nodes[t->n++] = node;
	if (next->is_delete)
		note_expiry(v, next);
	while (v->n_bytes > v->limit_bytes && v->oldest != NULL)
		drop_oldest(v);
	return 0;
}

void vip_versions_expire(struct vip_versions *v, uint64_t now_ms)
{
	if (now_ms < v->expire_ms)
		return;
	v->expire_ms = UINT64_MAX;
	for (uint32_t i = v->n; i > 0; i--) {
		struct vip_trail *t = v->items[i - 1];
		const struct vip_version *present = vip_trail_present(t);
		if (!present->is_delete)
			continue;
		if (now_ms < present->time_ms + VERSIONS_DELETED_MS) {
			note_expiry(v, present);
			continue;
		}
		while (t->n > 1)
			drop_first(v, t);
		node_destroy(t->nodes[0]);
		remove_trail(v, i - 1);
	}
}

// ---- asking ----

const struct vip_version *vip_versions_find(const struct vip_versions *v, const struct ip_addr *vip, uint64_t version)
{
	const struct vip_trail *t = vip_versions_lookup(v, vip);
	for (uint32_t i = 0; t != NULL && i < t->n; i++)
		if (t->nodes[i]->v.version == version)
			return &t->nodes[i]->v;
	return NULL;
}

uint64_t vip_versions_present(const struct vip_versions *v, const struct ip_addr *vip, bool is_there)
{
	const struct vip_trail *t = vip_versions_lookup(v, vip);
	if (t == NULL)
		return is_there ? VERSION_UNKNOWN : 0;
	return vip_trail_present(t)->is_delete ? 0 : vip_trail_present(t)->version;
}

// ---- snapshots ----

int vip_versions_get_all(const struct vip_versions *v, struct vip_version_list *ret_list)
{
	struct vip_version_list list = { 0 };
	int code = 0;
	for (uint32_t i = 0; i < v->n; i++) {
		for (uint32_t k = 0; code == 0 && k < v->items[i]->n; k++) {
			struct vip_version copy = v->items[i]->nodes[k]->v;
			if (copy.config != NULL)
				copy.config = vip_config_clone(copy.config);
			bool ok = (copy.config == NULL) == (v->items[i]->nodes[k]->v.config == NULL);
			code = ok ? vip_version_list_append(&list, &copy) : ERR_NO_MEMORY;
		}
	}
	if (code != 0) {
		vip_version_list_fini(&list);
		return code;
	}
	*ret_list = list;
	return 0;
}

// A past version, and when it became past.
struct retired {
	uint64_t since; // version
	struct version_node *node;
};

static int compare_retired(const void *a, const void *b)
{
	const struct retired *x = a;
	const struct retired *y = b;
	if (x->since != y->since)
		return x->since < y->since ? -1 : 1;
	return ip_addr_compare(&x->node->v.vip, &y->node->v.vip);
}

static int link_all(struct vip_versions *v, uint32_t n_nodes)
{
	uint32_t n = 0;
	struct retired *all = memory_array(n_nodes, sizeof *all);
	if (all == NULL)
		return ERR_NO_MEMORY;
	for (uint32_t i = 0; i < v->n; i++)
		for (uint32_t k = 0; k + 1 < v->items[i]->n; k++)
			all[n++] = (struct retired){ v->items[i]->nodes[k + 1]->v.version, v->items[i]->nodes[k] };
	if (n > 0)
		qsort(all, n, sizeof *all, compare_retired);
	for (uint32_t i = 0; i < n; i++)
		link_past(v, all[i].node);
	memory_free(all);
	return 0;
}

int vip_versions_restore(struct vip_versions *v, struct vip_version_list *list, uint64_t config_version)
{
	v->config_version = config_version;
	for (uint32_t i = 0; i < list->n; i++) {
		struct vip_version *from = &list->items[i];
		struct vip_trail *t = make_trail(v, &from->vip);
		if (t == NULL || t->n > VERSIONS_KEPT)
			return ERR_NO_MEMORY;
		struct version_node *node = make_node(from);
		if (node == NULL)
			return ERR_NO_MEMORY;
		node->v.config = from->config;
		from->config = NULL;
		t->nodes[t->n++] = node;
	}
	for (uint32_t i = 0; i < v->n; i++)
		if (vip_trail_present(v->items[i])->is_delete)
			note_expiry(v, vip_trail_present(v->items[i]));
	return link_all(v, list->n);
}
