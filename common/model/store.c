#include "common/model/store.h"

#include <string.h>

#include "common/base/check.h"
#include "common/base/memory.h"

void store_init(struct store *s)
{
	memset(s, 0, sizeof *s);
	s->settings = cluster_settings_default();
}

static void destroy_object(enum object_kind kind, void *object)
{
	if (kind == OBJECT_VIP)
		vip_config_destroy(object);
	else if (kind == OBJECT_HISTORY)
		vip_history_destroy(object);
	else
		memory_free(object);
}

static void array_fini(struct store_array *a, enum object_kind kind)
{
	for (uint32_t i = 0; i < a->n; i++)
		destroy_object(kind, a->items[i]);
	memory_free(a->items);
}

void store_fini(struct store *s)
{
	array_fini(&s->vips, OBJECT_VIP);
	array_fini(&s->muxes, OBJECT_MUX);
	array_fini(&s->hosts, OBJECT_HOST);
	array_fini(&s->dips, OBJECT_DIP);
	array_fini(&s->histories, OBJECT_HISTORY);
	array_fini(&s->drains, OBJECT_DRAIN);
	array_fini(&s->unhealthy, OBJECT_UNHEALTHY);
	array_fini(&s->gone_hosts, OBJECT_HOST_GONE);
	array_fini(&s->mux_drains, OBJECT_MUX_DRAIN);
	store_init(s);
}

static struct store_array *array_of(const struct store *s, enum object_kind kind)
{
	struct store *mutable = (struct store *)s;
	switch (kind) {
	case OBJECT_VIP: return &mutable->vips;
	case OBJECT_MUX: return &mutable->muxes;
	case OBJECT_HOST: return &mutable->hosts;
	case OBJECT_DIP: return &mutable->dips;
	case OBJECT_HISTORY: return &mutable->histories;
	case OBJECT_DRAIN: return &mutable->drains;
	case OBJECT_UNHEALTHY: return &mutable->unhealthy;
	case OBJECT_HOST_GONE: return &mutable->gone_hosts;
	case OBJECT_MUX_DRAIN: return &mutable->mux_drains;
	case OBJECT_CLUSTER:
	case OBJECT_SETTINGS: break;
	}
	CHECK(false); // the kinds without an array
	return NULL;
}

static int compare_to_key(const void *object, const struct object_key *key)
{
	switch (key->kind) {
	case OBJECT_VIP: return ip_addr_compare(&((const struct vip_config *)object)->vip, &key->addr);
	case OBJECT_DIP: return ip_addr_compare(&((const struct dip_info *)object)->dip, &key->addr);
	case OBJECT_HISTORY: return ip_addr_compare(&((const struct vip_history *)object)->vip, &key->addr);
	case OBJECT_DRAIN:
	case OBJECT_UNHEALTHY:
	case OBJECT_HOST_GONE:
	case OBJECT_MUX_DRAIN: {
		const struct store_mark *m = object;
		int order = ip_addr_compare(&m->key.addr, &key->addr);
		return order != 0 ? order : strcmp(m->key.name, key->name);
	}
	case OBJECT_MUX:
	case OBJECT_HOST: return strcmp(((const struct node_info *)object)->name, key->name);
	case OBJECT_CLUSTER:
	case OBJECT_SETTINGS: break;
	}
	return 0;
}

// The index of the key, or where it would be put.
static uint32_t array_find(const struct store_array *a, const struct object_key *key, bool *ret_found)
{
	uint32_t low = 0;
	uint32_t high = a->n;
	*ret_found = false;
	while (low < high) {
		uint32_t middle = low + (high - low) / 2;
		int order = compare_to_key(a->items[middle], key);
		if (order == 0) {
			*ret_found = true;
			return middle;
		}
		if (order < 0)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

static int array_put(struct store_array *a, const struct object_key *key, void *object)
{
	bool found;
	uint32_t i = array_find(a, key, &found);
	if (found) {
		destroy_object(key->kind, a->items[i]);
		a->items[i] = object;
		return 0;
	}
	void **items = memory_grow(a->items, a->n, &a->capacity, sizeof *items);
	if (items == NULL)
		return ERR_NO_MEMORY;
	a->items = items;
	memmove(a->items + i + 1, a->items + i, (a->n - i) * sizeof *a->items);
	a->items[i] = object;
	a->n++;
	return 0;
}

static void array_remove(struct store_array *a, const struct object_key *key)
{
	bool found;
	uint32_t i = array_find(a, key, &found);
	if (!found)
		return;
	destroy_object(key->kind, a->items[i]);
	memmove(a->items + i, a->items + i + 1, (a->n - i - 1) * sizeof *a->items);
	a->n--;
}

static int put_copy(struct store *s, const struct object_key *key, const void *object, size_t size)
{
	void *copy = memory_copy(object, size);
	if (copy == NULL)
		return ERR_NO_MEMORY;
	int code = array_put(array_of(s, key->kind), key, copy);
	if (code != 0)
		memory_free(copy);
	return code;
}

int store_apply(struct store *s, struct change *c)
{
	if (c->key.kind == OBJECT_CLUSTER) {
		s->has_cluster = !c->is_delete;
		s->cluster = c->is_delete ? (struct cluster_info){ 0 } : c->cluster;
		return 0;
	}
	if (c->key.kind == OBJECT_SETTINGS) {
		s->has_settings = !c->is_delete;
		s->settings = c->is_delete ? cluster_settings_default() : c->settings;
		return 0;
	}
	if (c->is_delete) {
		array_remove(array_of(s, c->key.kind), &c->key);
		return 0;
	}
	switch (c->key.kind) {
	case OBJECT_VIP: {
		int code = array_put(&s->vips, &c->key, c->vip);
		if (code == 0)
			c->vip = NULL;
		return code;
	}
	case OBJECT_MUX:
	case OBJECT_HOST: return put_copy(s, &c->key, &c->node, sizeof c->node);
	case OBJECT_DIP: return put_copy(s, &c->key, &c->dip, sizeof c->dip);
	case OBJECT_HISTORY: {
		int code = array_put(&s->histories, &c->key, c->history);
		if (code == 0)
			c->history = NULL;
		return code;
	}
	case OBJECT_DRAIN:
	case OBJECT_UNHEALTHY:
	case OBJECT_HOST_GONE:
	case OBJECT_MUX_DRAIN: {
		struct store_mark m = { .key = c->key, .info = c->mark };
		return put_copy(s, &c->key, &m, sizeof m);
	}
	case OBJECT_CLUSTER:
	case OBJECT_SETTINGS: break;
	}
	return 0;
}

static int apply_all(struct store *s, struct change_list *changes, uint64_t version)
{
	for (uint32_t i = 0; i < changes->n; i++)
		if (store_apply(s, &changes->items[i]) != 0)
			return ERR_NO_MEMORY;
	s->version = version;
	return 0;
}

int store_apply_update(struct store *s, struct change_list *changes, bool is_snapshot, uint64_t version)
{
	if (!is_snapshot)
		return apply_all(s, changes, version);
	struct store fresh;
	store_init(&fresh);
	int code = apply_all(&fresh, changes, version);
	if (code != 0) {
		store_fini(&fresh);
		return code;
	}
	store_fini(s);
	*s = fresh;
	return 0;
}

static const void *lookup(const struct store *s, const struct object_key *key)
{
	bool found;
	const struct store_array *a = array_of(s, key->kind);
	uint32_t i = array_find(a, key, &found);
	return found ? a->items[i] : NULL;
}

const struct vip_config *store_lookup_vip(const struct store *s, const struct ip_addr *vip)
{
	struct object_key key = object_key_of_addr(OBJECT_VIP, vip);
	return lookup(s, &key);
}

const struct node_info *store_lookup_mux(const struct store *s, const char *name)
{
	struct object_key key = object_key_of_name(OBJECT_MUX, name);
	return lookup(s, &key);
}

const struct node_info *store_lookup_host(const struct store *s, const char *name)
{
	struct object_key key = object_key_of_name(OBJECT_HOST, name);
	return lookup(s, &key);
}

const struct dip_info *store_lookup_dip(const struct store *s, const struct ip_addr *dip)
{
	struct object_key key = object_key_of_addr(OBJECT_DIP, dip);
	return lookup(s, &key);
}

const struct vip_history *store_lookup_history(const struct store *s, const struct ip_addr *vip)
{
	struct object_key key = object_key_of_addr(OBJECT_HISTORY, vip);
	return lookup(s, &key);
}

const struct store_mark *store_lookup_drain(const struct store *s, const struct ip_addr *dip, const struct ip_addr *vip)
{
	char text[IP_ADDR_TEXT_BYTES];
	struct object_key key = object_key_of_addr(OBJECT_DRAIN, dip);
	const struct store_mark *of_all = lookup(s, &key);
	if (of_all != NULL || s->drains.n == 0)
		return of_all;
	(void)text_copy(key.name, sizeof key.name, ip_addr_format(vip, text));
	return lookup(s, &key);
}

const struct store_mark *store_lookup_unhealthy(const struct store *s, const struct ip_addr *dip,
                                                const struct ip_addr *vip, const struct endpoint *e)
{
	if (s->unhealthy.n == 0)
		return NULL;
	struct object_key key = object_key_of_addr(OBJECT_UNHEALTHY, dip);
	endpoint_key_format(vip, e->protocol, e->port, key.name);
	return lookup(s, &key);
}

const struct store_mark *store_lookup_gone_host(const struct store *s, const struct ip_addr *dip)
{
	const struct dip_info *info = s->gone_hosts.n == 0 ? NULL : store_lookup_dip(s, dip);
	if (info == NULL)
		return NULL;
	struct object_key key = object_key_of_name(OBJECT_HOST_GONE, info->host);
	return lookup(s, &key);
}

const struct store_mark *store_lookup_mark(const struct store *s, const struct object_key *key)
{
	return lookup(s, key);
}

int store_get_change(const struct store *s, const struct object_key *key, struct change *ret_change)
{
	struct change c = { .key = *key };
	if (key->kind == OBJECT_CLUSTER) {
		c.is_delete = !s->has_cluster;
		c.cluster = s->cluster;
		*ret_change = c;
		return 0;
	}
	if (key->kind == OBJECT_SETTINGS) {
		c.is_delete = !s->has_settings;
		c.settings = s->settings;
		*ret_change = c;
		return 0;
	}
	const void *object = lookup(s, key);
	c.is_delete = object == NULL;
	if (object != NULL) {
		switch (key->kind) {
		case OBJECT_VIP:
			c.vip = vip_config_clone(object);
			if (c.vip == NULL)
				return ERR_NO_MEMORY;
			break;
		case OBJECT_MUX:
		case OBJECT_HOST: c.node = *(const struct node_info *)object; break;
		case OBJECT_DIP: c.dip = *(const struct dip_info *)object; break;
		case OBJECT_HISTORY:
			c.history = vip_history_clone(object);
			if (c.history == NULL)
				return ERR_NO_MEMORY;
			break;
		case OBJECT_DRAIN:
		case OBJECT_UNHEALTHY:
		case OBJECT_HOST_GONE:
		case OBJECT_MUX_DRAIN: c.mark = ((const struct store_mark *)object)->info; break;
		case OBJECT_CLUSTER:
		case OBJECT_SETTINGS: break;
		}
	}
	*ret_change = c;
	return 0;
}

static struct object_key key_of(enum object_kind kind, const void *object)
{
	switch (kind) {
	case OBJECT_VIP: return object_key_of_addr(kind, &((const struct vip_config *)object)->vip);
	case OBJECT_DIP: return object_key_of_addr(kind, &((const struct dip_info *)object)->dip);
	case OBJECT_HISTORY: return object_key_of_addr(kind, &((const struct vip_history *)object)->vip);
	case OBJECT_DRAIN:
	case OBJECT_UNHEALTHY:
	case OBJECT_HOST_GONE:
	case OBJECT_MUX_DRAIN: return ((const struct store_mark *)object)->key;
	case OBJECT_MUX:
	case OBJECT_HOST: return object_key_of_name(kind, ((const struct node_info *)object)->name);
	case OBJECT_CLUSTER:
	case OBJECT_SETTINGS: break;
	}
	return (struct object_key){ .kind = kind };
}

static int append_object(const struct store *s, const struct object_key *key, struct change_list *list)
{
	struct change c;
	int code = store_get_change(s, key, &c);
	return code != 0 ? code : change_list_append(list, &c);
}

int store_get_all(const struct store *s, struct change_list *ret_list)
{
	static const enum object_kind kinds[] = { OBJECT_VIP,       OBJECT_MUX,       OBJECT_HOST,
		                                      OBJECT_DIP,       OBJECT_HISTORY,   OBJECT_DRAIN,
		                                      OBJECT_UNHEALTHY, OBJECT_HOST_GONE, OBJECT_MUX_DRAIN };
	struct change_list list = { 0 };
	struct object_key key = { .kind = OBJECT_CLUSTER };
	int code = s->has_cluster ? append_object(s, &key, &list) : 0;
	key.kind = OBJECT_SETTINGS;
	if (code == 0 && s->has_settings)
		code = append_object(s, &key, &list);
	for (uint32_t k = 0; code == 0 && k < sizeof kinds / sizeof *kinds; k++) {
		const struct store_array *a = array_of(s, kinds[k]);
		for (uint32_t i = 0; code == 0 && i < a->n; i++) {
			key = key_of(kinds[k], a->items[i]);
			code = append_object(s, &key, &list);
		}
	}
	if (code != 0) {
		change_list_fini(&list);
		return code;
	}
	*ret_list = list;
	return 0;
}

static bool marks_equal(const struct store_array *a, const struct store_array *b)
{
	if (a->n != b->n)
		return false;
	for (uint32_t i = 0; i < a->n; i++) {
		const struct store_mark *x = a->items[i];
		const struct store_mark *y = b->items[i];
		if (!object_key_equal(&x->key, &y->key) || x->info.since_ms != y->info.since_ms ||
		    strcmp(x->info.cause, y->info.cause) != 0)
			return false;
	}
	return true;
}

static bool nodes_equal(const struct store_array *a, const struct store_array *b)
{
	if (a->n != b->n)
		return false;
	for (uint32_t i = 0; i < a->n; i++)
		if (!node_info_equal(a->items[i], b->items[i]))
			return false;
	return true;
}

bool store_equal(const struct store *a, const struct store *b)
{
	if (a->has_settings != b->has_settings || !cluster_settings_equal(&a->settings, &b->settings))
		return false;
	if (a->version != b->version || a->has_cluster != b->has_cluster || a->vips.n != b->vips.n ||
	    a->dips.n != b->dips.n)
		return false;
	if (a->has_cluster &&
	    (a->cluster.cluster_id != b->cluster.cluster_id || a->cluster.hash_seed != b->cluster.hash_seed ||
	     memcmp(a->cluster.pin_key, b->cluster.pin_key, PIN_KEY_BYTES) != 0))
		return false;
	for (uint32_t i = 0; i < a->vips.n; i++)
		if (!vip_config_equal(store_vip(a, i), store_vip(b, i)))
			return false;
	if (a->histories.n != b->histories.n || !marks_equal(&a->drains, &b->drains) ||
	    !marks_equal(&a->unhealthy, &b->unhealthy) || !marks_equal(&a->gone_hosts, &b->gone_hosts) ||
	    !marks_equal(&a->mux_drains, &b->mux_drains))
		return false;
	for (uint32_t i = 0; i < a->histories.n; i++)
		if (!vip_history_equal(store_history(a, i), store_history(b, i)))
			return false;
	for (uint32_t i = 0; i < a->dips.n; i++)
		if (!dip_info_equal(store_dip(a, i), store_dip(b, i)))
			return false;
	return nodes_equal(&a->muxes, &b->muxes) && nodes_equal(&a->hosts, &b->hosts);
}
