#include "manager/core/distribution.h"

#include <stdlib.h>
#include <string.h>

#include "common/base/memory.h"

void distribution_init(struct distribution *d, enum audience audience, const char *node, uint64_t cluster_id,
                       uint64_t have_version, const struct cluster_state *s)
{
	memset(d, 0, sizeof *d);
	d->audience = audience;
	(void)text_copy(d->node, sizeof d->node, node);
	bool is_ours = s->store.has_cluster && cluster_id == s->store.cluster.cluster_id;
	if (!is_ours || have_version == 0 || have_version > s->store.version)
		return;
	d->has_base = true;
	d->sent_version = have_version;
	d->acked_version = have_version;
}

bool distribution_is_due(const struct distribution *d, const struct cluster_state *s)
{
	return !d->is_in_flight && (!d->is_greeted || d->sent_version != s->store.version);
}

static int append_current(const struct cluster_state *s, const struct object_key *key, struct change_list *list)
{
	struct change c;
	if (store_get_change(&s->store, key, &c) != 0)
		return ERR_NO_MEMORY;
	return change_list_append(list, &c);
}

static int append_delete(const struct object_key *key, struct change_list *list)
{
	struct change c = { .key = *key, .is_delete = true };
	return change_list_append(list, &c);
}

// Does the agent of this host need the VIP?
static bool host_needs_vip(const struct cluster_state *s, const char *host, const struct vip_config *vip)
{
	uint32_t i = 0;
	for (const struct dip_info *dip; (dip = cluster_state_next_attached(s, host, &i)) != NULL;)
		if (vip_config_has_dip(vip, &dip->dip))
			return true;
	return false;
}

static bool agent_needs(const struct cluster_state *s, const char *host, const struct object_key *key)
{
	switch (key->kind) {
	case OBJECT_CLUSTER:
	case OBJECT_SETTINGS:
	case OBJECT_MUX:
	case OBJECT_HOST: return true;
	case OBJECT_VIP: {
		const struct vip_config *vip = store_lookup_vip(&s->store, &key->addr);
		return vip != NULL && host_needs_vip(s, host, vip);
	}
	case OBJECT_DIP: {
		const struct dip_info *dip = store_lookup_dip(&s->store, &key->addr);
		return dip != NULL && strcmp(dip->host, host) == 0;
	}
	}
	return false;
}

static int append_touched(const struct distribution *d, const struct cluster_state *s, const struct touched_key *t,
                          struct change_list *list)
{
	if (d->audience == AUDIENCE_AGENT)
		return agent_needs(s, d->node, &t->key) ? append_current(s, &t->key, list) : append_delete(&t->key, list);
	if (t->is_audience_only || t->key.kind == OBJECT_HOST || t->key.kind == OBJECT_DIP)
		return 0;
	return append_current(s, &t->key, list);
}

static int collect_delta(const struct distribution *d, const struct cluster_state *s, struct change_list *list)
{
	struct touched_list touched;
	int code = change_log_since(&s->log, d->sent_version, &touched);
	if (code != 0)
		return code;
	for (uint32_t i = 0; code == 0 && i < touched.n; i++)
		code = append_touched(d, s, &touched.items[i], list);
	touched_list_fini(&touched);
	return code;
}

static int append_nodes(const struct cluster_state *s, enum object_kind kind, struct change_list *list)
{
	const struct store_array *nodes = kind == OBJECT_MUX ? &s->store.muxes : &s->store.hosts;
	for (uint32_t i = 0; i < nodes->n; i++) {
		struct object_key key = object_key_of_name(kind, ((const struct node_info *)nodes->items[i])->name);
		if (append_current(s, &key, list) != 0)
			return ERR_NO_MEMORY;
	}
	return 0;
}

static int append_all_vips(const struct cluster_state *s, struct change_list *list)
{
	for (uint32_t i = 0; i < s->store.vips.n; i++) {
		struct object_key key = object_key_of_addr(OBJECT_VIP, &store_vip(&s->store, i)->vip);
		if (append_current(s, &key, list) != 0)
			return ERR_NO_MEMORY;
	}
	return 0;
}

static int compare_addrs(const void *a, const void *b)
{
	return ip_addr_compare(a, b);
}

struct addr_list {
	uint32_t n;
	uint32_t capacity;
	struct ip_addr *items;
};

static int addr_list_append(struct addr_list *list, const struct ip_addr *addr)
{
	if (list->n == list->capacity) {
		uint32_t capacity = list->capacity == 0 ? 16 : list->capacity * 2;
		struct ip_addr *items = memory_resize(list->items, capacity, sizeof *items);
		if (items == NULL)
			return ERR_NO_MEMORY;
		list->items = items;
		list->capacity = capacity;
	}
	list->items[list->n++] = *addr;
	return 0;
}

// The VIPs that hold a DIP of this host, each once, ascending.
static int list_vips_of_host(const struct cluster_state *s, const char *host, struct addr_list *vips)
{
	uint32_t i = 0;
	for (const struct dip_info *dip; (dip = cluster_state_next_attached(s, host, &i)) != NULL;) {
		uint32_t k = 0;
		for (const struct vip_config *vip; (vip = cluster_state_next_holder(s, &dip->dip, &k)) != NULL;)
			if (addr_list_append(vips, &vip->vip) != 0)
				return ERR_NO_MEMORY;
	}
	if (vips->n == 0)
		return 0;
	qsort(vips->items, vips->n, sizeof *vips->items, compare_addrs);
	uint32_t n = 1;
	for (i = 1; i < vips->n; i++)
		if (!ip_addr_equal(&vips->items[n - 1], &vips->items[i]))
			vips->items[n++] = vips->items[i];
	vips->n = n;
	return 0;
}

static int append_vips_of_host(const struct cluster_state *s, const char *host, struct change_list *list)
{
	struct addr_list vips = { 0 };
	int code = list_vips_of_host(s, host, &vips);
	for (uint32_t i = 0; code == 0 && i < vips.n; i++) {
		struct object_key key = object_key_of_addr(OBJECT_VIP, &vips.items[i]);
		code = append_current(s, &key, list);
	}
	memory_free(vips.items);
	return code;
}

static int append_dips_of_host(const struct cluster_state *s, const char *host, struct change_list *list)
{
	uint32_t i = 0;
	for (const struct dip_info *dip; (dip = cluster_state_next_attached(s, host, &i)) != NULL;) {
		struct object_key key = object_key_of_addr(OBJECT_DIP, &dip->dip);
		if (append_current(s, &key, list) != 0)
			return ERR_NO_MEMORY;
	}
	return 0;
}

static int collect_snapshot(const struct distribution *d, const struct cluster_state *s, struct change_list *list)
{
	struct object_key cluster = { .kind = OBJECT_CLUSTER };
	int code = s->store.has_cluster ? append_current(s, &cluster, list) : 0;
	struct object_key settings = { .kind = OBJECT_SETTINGS };
	if (code == 0 && s->store.has_settings)
		code = append_current(s, &settings, list);
	if (code == 0)
		code = d->audience == AUDIENCE_MUX ? append_all_vips(s, list) : append_vips_of_host(s, d->node, list);
	if (code == 0)
		code = append_nodes(s, OBJECT_MUX, list);
	if (code == 0 && d->audience == AUDIENCE_AGENT)
		code = append_nodes(s, OBJECT_HOST, list);
	if (code == 0 && d->audience == AUDIENCE_AGENT)
		code = append_dips_of_host(s, d->node, list);
	return code;
}

int distribution_take_update(struct distribution *d, const struct cluster_state *s,
                             struct distribution_update *ret_update)
{
	struct distribution_update u = { .to_version = s->store.version };
	int code = ERR_NOT_FOUND;
	if (d->has_base) {
		u.from_version = d->sent_version;
		code = collect_delta(d, s, &u.changes);
	}
	if (code == ERR_NOT_FOUND) {
		u.from_version = 0;
		code = collect_snapshot(d, s, &u.changes);
	}
	if (code != 0) {
		change_list_fini(&u.changes);
		return code;
	}
	d->has_base = u.to_version > 0; // an update from version 0 would read as a snapshot
	d->is_greeted = true;
	d->is_in_flight = true;
	d->sent_version = u.to_version;
	*ret_update = u;
	return 0;
}

int distribution_on_ack(struct distribution *d, uint64_t version, struct error *err)
{
	if (!d->is_in_flight || version != d->sent_version)
		return error_set(err, ERR_INVALID, "version %llu is acknowledged, but was not sent",
		                 (unsigned long long)version);
	d->is_in_flight = false;
	d->acked_version = version;
	return 0;
}
