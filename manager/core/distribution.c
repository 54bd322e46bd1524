#include "manager/core/distribution.h"

#include <string.h>

#include "manager/core/addr_list.h"
#include "manager/core/distribution_parts.h"

void distribution_init(struct distribution *d, enum audience audience, const char *node, uint64_t cluster_id,
                       uint64_t have_version, uint64_t have_lease_version, const struct cluster_state *s)
{
	memset(d, 0, sizeof *d);
	d->audience = audience;
	d->first_lease_version = s->snat.version;
	(void)text_copy(d->node, sizeof d->node, node);
	bool is_ours = s->store.has_cluster && cluster_id == s->store.cluster.cluster_id;
	if (is_ours && have_version > 0 && have_version <= s->store.version) {
		d->has_base = true;
		d->sent_version = have_version;
		d->acked_version = have_version;
	}
	if (is_ours && have_lease_version > 0 && have_lease_version <= s->snat.version) {
		d->has_lease_base = audience == AUDIENCE_MUX; // which of its leases an agent still has is never sure
		d->lease_base = have_lease_version;
		d->sent_lease_version = have_lease_version;
		d->acked_lease_version = have_lease_version;
	}
}

bool distribution_is_due(const struct distribution *d, const struct cluster_state *s, uint64_t lease_floor)
{
	if (d->is_in_flight)
		return false;
	return !d->is_greeted || d->sent_version != s->store.version || distribution_leases_are_due(d, s, lease_floor);
}

void distribution_update_fini(struct distribution_update *u)
{
	change_list_fini(&u->changes);
	lease_list_fini(&u->leases);
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

// Does the agent of this host need the VIP: has a DIP that is attached there connections of it, or may have?
static bool host_needs_vip(const struct cluster_state *s, const char *host, const struct ip_addr *addr)
{
	const struct vip_config *vip = store_lookup_vip(&s->store, addr);
	uint32_t i = 0;
	if (vip == NULL)
		return false;
	for (const struct dip_info *dip; (dip = cluster_state_next_attached(s, host, &i)) != NULL;)
		if (vip_config_has_dip(vip, &dip->dip) || cluster_state_history_has(s, addr, &dip->dip))
			return true;
	return false;
}

static bool is_dip_of_host(const struct cluster_state *s, const char *host, const struct object_key *key)
{
	const struct dip_info *dip = key->kind == OBJECT_DIP ? store_lookup_dip(&s->store, &key->addr) : NULL;
	return dip != NULL && strcmp(dip->host, host) == 0;
}

// Must everybody who sends to the DIP know where its packets go?
static bool has_via(const struct cluster_state *s, const struct object_key *key)
{
	const struct dip_info *dip = store_lookup_dip(&s->store, &key->addr);
	return dip != NULL && dip_info_has_via(dip);
}

static bool agent_needs(const struct cluster_state *s, const char *host, const struct object_key *key)
{
	switch (key->kind) {
	case OBJECT_CLUSTER:
	case OBJECT_SETTINGS:
	case OBJECT_MUX:
	case OBJECT_HOST: return true;
	case OBJECT_VIP:
	case OBJECT_HISTORY: return host_needs_vip(s, host, &key->addr);
	case OBJECT_DIP: return is_dip_of_host(s, host, key) || has_via(s, key);
	case OBJECT_MUX_DRAIN:
	case OBJECT_DRAIN:
	case OBJECT_UNHEALTHY:
	case OBJECT_HOST_GONE: break; // the present generation says it
	}
	return false;
}

static int append_touched(const struct distribution *d, const struct cluster_state *s, const struct touched_key *t,
                          struct change_list *list)
{
	if (object_is_mark(t->key.kind) && (t->key.kind != OBJECT_MUX_DRAIN || d->audience != AUDIENCE_MUX))
		return 0;
	if (d->audience == AUDIENCE_AGENT)
		return agent_needs(s, d->node, &t->key) ? append_current(s, &t->key, list) : append_delete(&t->key, list);
	if (t->is_audience_only)
		return 0;
	bool is_gone = t->key.kind == OBJECT_DIP && !has_via(s, &t->key);
	return is_gone ? append_delete(&t->key, list) : append_current(s, &t->key, list);
}

static int collect_delta(const struct distribution *d, const struct cluster_state *s, struct change_list *list,
                         bool *ret_has_own_dip)
{
	struct touched_list touched;
	int code = change_log_since(&s->log, d->sent_version, &touched);
	if (code != 0)
		return code;
	*ret_has_own_dip = false;
	for (uint32_t i = 0; code == 0 && i < touched.n; i++) {
		const struct object_key *key = &touched.items[i].key;
		*ret_has_own_dip = *ret_has_own_dip || is_dip_of_host(s, d->node, key);
		code = append_touched(d, s, &touched.items[i], list);
	}
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
	for (uint32_t i = 0; i < s->store.mux_drains.n; i++)
		if (append_current(s, &store_mark_at(&s->store.mux_drains, i)->key, list) != 0)
			return ERR_NO_MEMORY;
	for (uint32_t i = 0; i < s->store.histories.n; i++) {
		struct object_key key = object_key_of_addr(OBJECT_HISTORY, &store_history(&s->store, i)->vip);
		if (append_current(s, &key, list) != 0)
			return ERR_NO_MEMORY;
	}
	return 0;
}

// The VIPs that hold a DIP of this host, or held one, each once, ascending.
static int list_vips_of_host(const struct cluster_state *s, const char *host, struct addr_list *vips)
{
	uint32_t i = 0;
	for (const struct dip_info *dip; (dip = cluster_state_next_attached(s, host, &i)) != NULL;) {
		uint32_t k = 0;
		for (const struct vip_config *vip; (vip = cluster_state_next_holder(s, &dip->dip, &k)) != NULL;)
			if (addr_list_append(vips, &vip->vip) != 0)
				return ERR_NO_MEMORY;
		k = 0;
		for (const struct vip_history *h; (h = cluster_state_next_history(s, &dip->dip, &k)) != NULL;)
			if (addr_list_append(vips, &h->vip) != 0)
				return ERR_NO_MEMORY;
	}
	addr_list_make_set(vips);
	return 0;
}

static int append_vips_of_host(const struct cluster_state *s, const char *host, struct change_list *list)
{
	struct addr_list vips = { 0 };
	int code = list_vips_of_host(s, host, &vips);
	for (uint32_t i = 0; code == 0 && i < vips.n; i++) {
		struct object_key key = object_key_of_addr(OBJECT_VIP, &vips.items[i]);
		code = append_current(s, &key, list);
		key.kind = OBJECT_HISTORY;
		if (code == 0 && store_lookup_history(&s->store, &key.addr) != NULL)
			code = append_current(s, &key, list);
	}
	addr_list_fini(&vips);
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

// Of a mux's audience `host` is "", where no DIP is.
static int append_vias_elsewhere(const struct cluster_state *s, const char *host, struct change_list *list)
{
	for (uint32_t i = 0; i < s->store.dips.n; i++) {
		const struct dip_info *dip = store_dip(&s->store, i);
		struct object_key key = object_key_of_addr(OBJECT_DIP, &dip->dip);
		if (dip_info_has_via(dip) && strcmp(dip->host, host) != 0 && append_current(s, &key, list) != 0)
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
	if (code == 0)
		code = append_nodes(s, OBJECT_HOST, list); // a mux takes pins from them
	if (code == 0 && d->audience == AUDIENCE_AGENT)
		code = append_dips_of_host(s, d->node, list);
	if (code == 0)
		code = append_vias_elsewhere(s, d->audience == AUDIENCE_AGENT ? d->node : "", list);
	return code;
}

// *ret_has_own_dip: it holds a DIP of the agent's host, which may have been detached and attached again.
static int collect_objects(const struct distribution *d, const struct cluster_state *s, struct distribution_update *u,
                           bool *ret_has_own_dip)
{
	int code = ERR_NOT_FOUND;
	u->to_version = s->store.version;
	*ret_has_own_dip = true;
	if (d->has_base) {
		u->from_version = d->sent_version;
		code = collect_delta(d, s, &u->changes, ret_has_own_dip);
	}
	if (code == ERR_NOT_FOUND) {
		u->from_version = 0;
		code = collect_snapshot(d, s, &u->changes);
	}
	return code;
}

int distribution_take_update(struct distribution *d, const struct cluster_state *s, uint64_t lease_floor,
                             struct distribution_update *ret_update)
{
	struct distribution next = *d;
	struct distribution_update u = { 0 };
	bool has_own_dip;
	int code = collect_objects(d, s, &u, &has_own_dip);
	if (code == 0 && d->audience == AUDIENCE_AGENT && has_own_dip)
		distribution_renew_leases(&next, s);
	if (code == 0)
		code = distribution_collect_leases(&next, s, lease_floor, &u);
	if (code != 0) {
		distribution_update_fini(&u);
		return ERR_NO_MEMORY;
	}
	next.has_base = u.to_version > 0; // an update from version 0 would read as a snapshot
	next.is_greeted = true;
	next.is_in_flight = true;
	next.sent_version = u.to_version;
	distribution_on_leases_sent(&next, &u);
	*d = next;
	*ret_update = u;
	return 0;
}

int distribution_on_ack(struct distribution *d, uint64_t version, uint64_t lease_version, struct error *err)
{
	if (!d->is_in_flight || version != d->sent_version || lease_version != d->sent_lease_version)
		return error_set(err, ERR_INVALID, "versions %llu and %llu (leases) are acknowledged, but were not sent",
		                 (unsigned long long)version, (unsigned long long)lease_version);
	d->is_in_flight = false;
	d->acked_version = version;
	d->acked_lease_version = lease_version;
	return 0;
}
