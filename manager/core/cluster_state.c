#include "manager/core/cluster_state.h"

#include <string.h>

#include "manager/core/rules.h"

int cluster_state_init(struct cluster_state *s)
{
	memset(s, 0, sizeof *s);
	store_init(&s->store);
	addr_index_init(&s->holders);
	addr_index_init(&s->attached);
	return change_log_init(&s->log, 0);
}

void cluster_state_fini(struct cluster_state *s)
{
	store_fini(&s->store);
	addr_index_fini(&s->holders);
	addr_index_fini(&s->attached);
	change_log_fini(&s->log);
}

// Calls fn for each DIP that a VIP holds, also when it is in several lists; stops at the first failure.
typedef int (*dip_fn)(struct addr_index *x, const struct ip_addr *dip, const struct ip_addr *vip);

static int for_each_dip(const struct vip_config *vip, struct addr_index *x, dip_fn fn)
{
	for (uint32_t i = 0; i < vip->n_endpoints; i++)
		for (uint32_t k = 0; k < vip->endpoints[i].n_dips; k++)
			if (fn(x, &vip->endpoints[i].dips[k].dip, &vip->vip) != 0)
				return ERR_NO_MEMORY;
	for (uint32_t i = 0; i < vip->n_snat_dips; i++)
		if (fn(x, &vip->snat_dips[i], &vip->vip) != 0)
			return ERR_NO_MEMORY;
	return 0;
}

static int insert_holder(struct addr_index *x, const struct ip_addr *dip, const struct ip_addr *vip)
{
	return addr_index_insert(x, addr_index_key_of_addr(dip), vip);
}

static int remove_holder(struct addr_index *x, const struct ip_addr *dip, const struct ip_addr *vip)
{
	addr_index_remove(x, addr_index_key_of_addr(dip), vip);
	return 0;
}

// Takes the object of this key out of the indexes, if there is one; and puts it in.
static void unindex(struct cluster_state *s, const struct object_key *key)
{
	if (key->kind == OBJECT_VIP) {
		const struct vip_config *vip = store_lookup_vip(&s->store, &key->addr);
		if (vip != NULL)
			(void)for_each_dip(vip, &s->holders, remove_holder);
	} else if (key->kind == OBJECT_DIP) {
		const struct dip_info *dip = store_lookup_dip(&s->store, &key->addr);
		if (dip != NULL)
			addr_index_remove(&s->attached, addr_index_key_of_name(dip->host), &dip->dip);
	}
}

static int index_object(struct cluster_state *s, const struct object_key *key)
{
	if (key->kind == OBJECT_VIP) {
		const struct vip_config *vip = store_lookup_vip(&s->store, &key->addr);
		return vip == NULL ? 0 : for_each_dip(vip, &s->holders, insert_holder);
	}
	if (key->kind == OBJECT_DIP) {
		const struct dip_info *dip = store_lookup_dip(&s->store, &key->addr);
		return dip == NULL ? 0 : addr_index_insert(&s->attached, addr_index_key_of_name(dip->host), &dip->dip);
	}
	return 0;
}

static int replace_object(struct cluster_state *s, struct change *c)
{
	unindex(s, &c->key);
	int code = store_apply(&s->store, c);
	return code != 0 ? code : index_object(s, &c->key);
}

static bool node_is_same(const struct node_info *old, const struct node_info *new)
{
	return old != NULL && ip_addr_equal(&old->addr, &new->addr);
}

static bool dip_is_same(const struct dip_info *old, const struct dip_info *new)
{
	return old != NULL && strcmp(old->host, new->host) == 0 && strcmp(old->vm, new->vm) == 0 &&
	       strcmp(old->interface, new->interface) == 0 && memcmp(old->mac, new->mac, sizeof old->mac) == 0;
}

// Would this change, which the rules allow, leave everything as it is?
static bool is_noop(const struct cluster_state *s, const struct change *c)
{
	if (c->is_delete)
		return false;
	switch (c->key.kind) {
	case OBJECT_CLUSTER: return s->store.has_cluster;
	case OBJECT_VIP: {
		const struct vip_config *old = store_lookup_vip(&s->store, &c->key.addr);
		return old != NULL && vip_config_equal(old, c->vip);
	}
	case OBJECT_MUX: return node_is_same(store_lookup_mux(&s->store, c->key.name), &c->node);
	case OBJECT_HOST: return node_is_same(store_lookup_host(&s->store, c->key.name), &c->node);
	case OBJECT_DIP: return dip_is_same(store_lookup_dip(&s->store, &c->key.addr), &c->dip);
	case OBJECT_SETTINGS: return s->store.has_settings && cluster_settings_equal(&s->store.settings, &c->settings);
	}
	return false;
}

// What one command has done so far: how to take it back, and which keys it touched.
struct progress {
	struct change_list undo;
	struct touched_list touched;
};

static int apply_change(struct cluster_state *s, struct change *c, struct progress *p, struct error *err)
{
	int code = rules_check_change(s, c, err);
	if (code != 0)
		return code;
	if (is_noop(s, c))
		return 0;
	struct change inverse;
	struct object_key key = c->key;
	if (store_get_change(&s->store, &key, &inverse) != 0 || change_list_append(&p->undo, &inverse) != 0 ||
	    touched_list_append(&p->touched, &key, false) != 0 || replace_object(s, c) != 0)
		return error_set(err, ERR_NO_MEMORY, "memory is short");
	return 0;
}

static int roll_back(struct cluster_state *s, struct change_list *undo)
{
	for (uint32_t i = undo->n; i > 0; i--)
		if (replace_object(s, &undo->items[i - 1]) != 0)
			return ERR_NO_MEMORY;
	return 0;
}

// A DIP that came or went changes which agents need the VIPs that hold it.
static void log_holders(struct cluster_state *s, const struct ip_addr *dip)
{
	uint32_t i = 0;
	for (const struct vip_config *vip; (vip = cluster_state_next_holder(s, dip, &i)) != NULL;) {
		struct object_key key = object_key_of_addr(OBJECT_VIP, &vip->vip);
		change_log_append(&s->log, s->store.version, &key, true);
	}
}

static void log_touched(struct cluster_state *s, const struct touched_list *touched)
{
	for (uint32_t i = 0; i < touched->n; i++) {
		const struct object_key *key = &touched->items[i].key;
		change_log_append(&s->log, s->store.version, key, false);
		if (key->kind == OBJECT_DIP)
			log_holders(s, &key->addr);
	}
}

int cluster_state_apply(struct cluster_state *s, struct change_list *changes, struct apply_result *ret_result,
                        struct error *err)
{
	struct progress p = { 0 };
	int code = 0;
	for (uint32_t i = 0; code == 0 && i < changes->n; i++) {
		code = apply_change(s, &changes->items[i], &p, err);
		if (code != 0 && changes->n > 1)
			error_prefix(err, "change %u of %u: ", i + 1, changes->n);
	}
	if (code != 0 && code != ERR_NO_MEMORY && roll_back(s, &p.undo) != 0)
		code = error_set(err, ERR_NO_MEMORY, "memory is short");
	if (code == 0) {
		bool is_changed = p.touched.n > 0;
		s->store.version += is_changed;
		log_touched(s, &p.touched);
		*ret_result = (struct apply_result){ .version = s->store.version, .is_changed = is_changed };
	}
	change_list_fini(&p.undo);
	touched_list_fini(&p.touched);
	return code;
}

int cluster_state_get_snapshot(const struct cluster_state *s, struct change_list *ret_objects)
{
	return store_get_all(&s->store, ret_objects);
}

int cluster_state_restore(struct cluster_state *s, uint64_t version, struct change_list *objects)
{
	struct cluster_state restored = { 0 };
	store_init(&restored.store);
	for (uint32_t i = 0; i < objects->n; i++) {
		if (replace_object(&restored, &objects->items[i]) != 0) {
			cluster_state_fini(&restored);
			return ERR_NO_MEMORY;
		}
	}
	restored.store.version = version;
	restored.log = s->log;
	s->log = (struct change_log){ 0 };
	change_log_reset(&restored.log, version);
	cluster_state_fini(s);
	*s = restored;
	return 0;
}

const struct vip_config *cluster_state_next_holder(const struct cluster_state *s, const struct ip_addr *dip,
                                                   uint32_t *i)
{
	const struct addr_set *set = addr_index_lookup(&s->holders, addr_index_key_of_addr(dip));
	while (set != NULL && *i < set->n) {
		const struct vip_config *vip = store_lookup_vip(&s->store, &set->items[(*i)++]);
		if (vip != NULL && vip_config_has_dip(vip, dip))
			return vip;
	}
	return NULL;
}

const struct dip_info *cluster_state_next_attached(const struct cluster_state *s, const char *host, uint32_t *i)
{
	const struct addr_set *set = addr_index_lookup(&s->attached, addr_index_key_of_name(host));
	while (set != NULL && *i < set->n) {
		const struct dip_info *dip = store_lookup_dip(&s->store, &set->items[(*i)++]);
		if (dip != NULL && strcmp(dip->host, host) == 0)
			return dip;
	}
	return NULL;
}
