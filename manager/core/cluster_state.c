#include "manager/core/cluster_state.h"

#include <string.h>

#include "common/base/memory.h"
#include "manager/core/addr_list.h"
#include "manager/core/cluster_state_parts.h"
#include "manager/core/rules.h"

int cluster_state_init(struct cluster_state *s)
{
	memset(s, 0, sizeof *s);
	store_init(&s->store);
	addr_index_init(&s->holders);
	addr_index_init(&s->in_history);
	addr_index_init(&s->attached);
	addr_index_init(&s->vias);
	vip_versions_init(&s->versions);
	if (change_log_init(&s->log, 0) == 0 && event_ring_init(&s->events) == 0 && snat_state_init(&s->snat) == 0)
		return 0;
	cluster_state_fini(s);
	return ERR_NO_MEMORY;
}

void cluster_state_fini(struct cluster_state *s)
{
	store_fini(&s->store);
	addr_index_fini(&s->holders);
	addr_index_fini(&s->in_history);
	addr_index_fini(&s->attached);
	addr_index_fini(&s->vias);
	endpoint_states_fini(&s->endpoint_states);
	change_log_fini(&s->log);
	snat_state_fini(&s->snat);
	event_ring_fini(&s->events);
	vip_versions_fini(&s->versions);
	staged_list_fini(&s->staged);
}

void apply_result_fini(struct apply_result *r)
{
	memory_free(r->outcomes.items);
	r->outcomes = (struct snat_outcome_list){ 0 };
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

static int for_each_dip_of_history(const struct vip_history *h, struct addr_index *x, dip_fn fn)
{
	for (uint32_t i = 0; i < h->n_endpoints; i++)
		for (uint32_t g = 0; g < h->endpoints[i].n_generations; g++)
			for (uint32_t k = 0; k < h->endpoints[i].generations[g].n_members; k++)
				if (fn(x, &h->endpoints[i].generations[g].members[k].dip, &h->vip) != 0)
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
	} else if (key->kind == OBJECT_HISTORY) {
		const struct vip_history *h = store_lookup_history(&s->store, &key->addr);
		if (h != NULL)
			(void)for_each_dip_of_history(h, &s->in_history, remove_holder);
	} else if (key->kind == OBJECT_DIP) {
		const struct dip_info *dip = store_lookup_dip(&s->store, &key->addr);
		if (dip != NULL) {
			addr_index_remove(&s->attached, addr_index_key_of_name(dip->host), &dip->dip);
			addr_index_remove(&s->vias, addr_index_key_of_addr(&dip->via), &dip->dip);
		}
	}
}

static int index_dip(struct cluster_state *s, const struct dip_info *dip)
{
	if (dip_info_has_via(dip) && addr_index_insert(&s->vias, addr_index_key_of_addr(&dip->via), &dip->dip) != 0)
		return ERR_NO_MEMORY;
	return addr_index_insert(&s->attached, addr_index_key_of_name(dip->host), &dip->dip);
}

static int index_object(struct cluster_state *s, const struct object_key *key)
{
	if (key->kind == OBJECT_VIP) {
		const struct vip_config *vip = store_lookup_vip(&s->store, &key->addr);
		return vip == NULL ? 0 : for_each_dip(vip, &s->holders, insert_holder);
	}
	if (key->kind == OBJECT_HISTORY) {
		const struct vip_history *h = store_lookup_history(&s->store, &key->addr);
		return h == NULL ? 0 : for_each_dip_of_history(h, &s->in_history, insert_holder);
	}
	if (key->kind == OBJECT_DIP) {
		const struct dip_info *dip = store_lookup_dip(&s->store, &key->addr);
		return dip == NULL ? 0 : index_dip(s, dip);
	}
	return 0;
}

int cluster_state_replace(struct cluster_state *s, struct change *c)
{
	unindex(s, &c->key);
	int code = store_apply(&s->store, c);
	return code != 0 ? code : index_object(s, &c->key);
}

static bool node_is_same(const struct node_info *old, const struct node_info *new)
{
	return old != NULL && node_info_equal(old, new);
}

static bool dip_is_same(const struct dip_info *old, const struct dip_info *new)
{
	return old != NULL && dip_info_equal(old, new);
}

// Would this change, which the rules allow, leave everything as it is?
static bool is_noop(const struct cluster_state *s, const struct change *c)
{
	if (c->is_delete) // the rules refuse to delete what is not there, unless it is one of these
		return (c->key.kind == OBJECT_UNHEALTHY || c->key.kind == OBJECT_HOST_GONE) &&
		       store_lookup_mark(&s->store, &c->key) == NULL;
	switch (c->key.kind) {
	case OBJECT_CLUSTER:
		return s->store.has_cluster && memcmp(s->store.cluster.pin_key, c->cluster.pin_key, PIN_KEY_BYTES) == 0;
	case OBJECT_VIP: {
		const struct vip_config *old = store_lookup_vip(&s->store, &c->key.addr);
		return old != NULL && vip_config_equal(old, c->vip);
	}
	case OBJECT_MUX: return node_is_same(store_lookup_mux(&s->store, c->key.name), &c->node);
	case OBJECT_HOST: return node_is_same(store_lookup_host(&s->store, c->key.name), &c->node);
	case OBJECT_DIP: return dip_is_same(store_lookup_dip(&s->store, &c->key.addr), &c->dip);
	case OBJECT_SETTINGS: return s->store.has_settings && cluster_settings_equal(&s->store.settings, &c->settings);
	case OBJECT_DRAIN:
	case OBJECT_UNHEALTHY:
	case OBJECT_HOST_GONE:
	case OBJECT_MUX_DRAIN: return store_lookup_mark(&s->store, &c->key) != NULL;
	case OBJECT_HISTORY: break;
	}
	return false;
}

// Is it a DIP that has no `via`, and had none? Then it is the business of its host's agent only.
static bool is_of_one_host(const struct cluster_state *s, const struct change *c)
{
	if (c->key.kind != OBJECT_DIP)
		return false;
	const struct dip_info *old = store_lookup_dip(&s->store, &c->key.addr);
	return (old == NULL || !dip_info_has_via(old)) && (c->is_delete || !dip_info_has_via(&c->dip));
}

static int apply_change(struct cluster_state *s, struct change *c, struct progress *p, struct error *err)
{
	int code = rules_check_change(s, c, err);
	if (code != 0)
		return code;
	if (is_noop(s, c))
		return 0;
	code = cluster_state_check_terms(s, p->terms, &c->key, err);
	if (code != 0)
		return code;
	struct change inverse;
	struct object_key key = c->key;
	if (object_is_mark(key.kind) && !c->is_delete)
		c->mark.since_ms = p->now_ms;
	if (store_get_change(&s->store, &key, &inverse) != 0 || change_list_append(&p->undo, &inverse) != 0 ||
	    touched_list_append(&p->touched, &key, is_of_one_host(s, c)) != 0 || cluster_state_replace(s, c) != 0)
		return error_set(err, ERR_NO_MEMORY, "memory is short");
	return 0;
}

static int roll_back(struct cluster_state *s, struct change_list *undo)
{
	for (uint32_t i = undo->n; i > 0; i--)
		if (cluster_state_replace(s, &undo->items[i - 1]) != 0)
			return ERR_NO_MEMORY;
	return 0;
}

static void log_audience(struct cluster_state *s, enum object_kind kind, const struct ip_addr *vip)
{
	struct object_key key = object_key_of_addr(kind, vip);
	change_log_append(&s->log, s->store.version, &key, true);
}

// A DIP that came or went changes which agents need the VIPs that hold it, or held it.
static void log_holders(struct cluster_state *s, const struct ip_addr *dip)
{
	uint32_t i = 0;
	for (const struct vip_config *vip; (vip = cluster_state_next_holder(s, dip, &i)) != NULL;) {
		log_audience(s, OBJECT_VIP, &vip->vip);
		if (store_lookup_history(&s->store, &vip->vip) != NULL)
			log_audience(s, OBJECT_HISTORY, &vip->vip);
	}
	i = 0;
	for (const struct vip_history *h; (h = cluster_state_next_history(s, dip, &i)) != NULL;) {
		log_audience(s, OBJECT_VIP, &h->vip);
		log_audience(s, OBJECT_HISTORY, &h->vip);
	}
}

static void log_touched(struct cluster_state *s, const struct touched_list *touched)
{
	for (uint32_t i = 0; i < touched->n; i++) {
		const struct object_key *key = &touched->items[i].key;
		if (!object_is_mark(key->kind) || key->kind == OBJECT_MUX_DRAIN) // nobody is told of other marks
			change_log_append(&s->log, s->store.version, key, touched->items[i].is_audience_only);
		if (key->kind == OBJECT_DIP)
			log_holders(s, &key->addr);
		else if (key->kind == OBJECT_HISTORY) // who held a DIP may need the VIP no more
			log_audience(s, OBJECT_VIP, &key->addr);
		else if (key->kind == OBJECT_VIP && store_lookup_history(&s->store, &key->addr) != NULL)
			log_audience(s, OBJECT_HISTORY, &key->addr); // also when only its `snat` list is another
	}
}

static int apply_changes(struct cluster_state *s, struct change_list *changes, struct progress *p, struct error *err)
{
	int code = 0;
	for (uint32_t i = 0; code == 0 && i < changes->n; i++) {
		code = apply_change(s, &changes->items[i], p, err);
		if (code != 0 && changes->n > 1)
			error_prefix(err, "change %u of %u: ", i + 1, changes->n);
	}
	if (code != 0 && code != ERR_NO_MEMORY && roll_back(s, &p->undo) != 0)
		code = error_set(err, ERR_NO_MEMORY, "memory is short");
	return code;
}

// The VIPs whose leases may not be in line with the store any more.
static int list_snat_vips(const struct cluster_state *s, const struct touched_list *touched, struct addr_list *vips)
{
	for (uint32_t i = 0; i < touched->n; i++) {
		const struct object_key *key = &touched->items[i].key;
		if (key->kind == OBJECT_VIP && addr_list_append(vips, &key->addr) != 0)
			return ERR_NO_MEMORY;
		if (key->kind != OBJECT_DIP)
			continue;
		uint32_t k = 0;
		for (const struct vip_config *vip; (vip = cluster_state_next_holder(s, &key->addr, &k)) != NULL;)
			if (vip->n_snat_dips > 0 && addr_list_append(vips, &vip->vip) != 0)
				return ERR_NO_MEMORY;
	}
	addr_list_make_set(vips);
	return 0;
}

static bool has_new_cluster(const struct change_list *undo)
{
	for (uint32_t i = 0; i < undo->n; i++)
		if (undo->items[i].key.kind == OBJECT_CLUSTER && undo->items[i].is_delete)
			return true;
	return false;
}

static int reconcile_leases(struct cluster_state *s, const struct progress *p)
{
	const struct touched_list *touched = &p->touched;
	struct addr_list vips = { 0 };
	int code = has_new_cluster(&p->undo) ? snat_state_reseed(&s->snat, &s->store) : 0;
	if (code == 0)
		code = list_snat_vips(s, touched, &vips);
	for (uint32_t i = 0; code == 0 && i < vips.n; i++)
		code = snat_state_reconcile(&s->snat, &s->store, &vips.items[i]);
	if (code == 0 && touched->n > 0)
		snat_state_sweep(&s->snat, &s->store.settings);
	addr_list_fini(&vips);
	return code;
}

static void apply_ops(struct cluster_state *s, const struct snat_op_list *ops, struct snat_outcome_list *outcomes)
{
	for (uint32_t i = 0; i < ops->n; i++)
		outcomes->items[outcomes->n++] = snat_state_apply(&s->snat, &ops->items[i], &s->store.settings);
}

static int append_events(struct cluster_state *s, const struct event_list *of_leader, const struct progress *p)
{
	if (events_append_changes(&s->events, &s->store, &p->undo, p->now_ms) != 0)
		return ERR_NO_MEMORY;
	for (uint32_t i = 0; i < p->events.n; i++)
		event_ring_append(&s->events, &p->events.items[i], p->now_ms);
	for (uint32_t i = 0; i < of_leader->n; i++)
		event_ring_append(&s->events, &of_leader->items[i], p->now_ms);
	return 0;
}

// What follows when the changes were accepted.
static int apply_rest(struct cluster_state *s, const struct state_command *command, struct progress *p,
                      struct apply_result *r)
{
	const struct touched_list *touched = &p->touched;
	r->outcomes.capacity = command->ops.n;
	if (command->ops.n > 0) {
		r->outcomes.items = memory_array(command->ops.n, sizeof *r->outcomes.items);
		if (r->outcomes.items == NULL)
			return ERR_NO_MEMORY;
	}
	snat_state_begin(&s->snat, command->time_ms);
	const struct command_terms *terms = &command->terms;
	bool is_empty = command->changes.n + command->ops.n + command->events.n == 0 && terms->stage.id == 0 &&
	                terms->since_version == 0;
	if (cluster_state_follow(s, is_empty, p) != 0 || append_events(s, &command->events, p) != 0)
		return ERR_NO_MEMORY;
	r->event_seq = s->events.last_seq;
	r->is_changed = touched->n > 0;
	s->store.version += r->is_changed;
	r->version = s->store.version;
	log_touched(s, touched);
	if (reconcile_leases(s, p) != 0 || cluster_state_note_versions(s, command->author, p) != 0)
		return ERR_NO_MEMORY;
	apply_ops(s, &command->ops, &r->outcomes);
	r->leases_changed = snat_state_end(&s->snat);
	r->lease_version = s->snat.version;
	return 0;
}

// A part waits, and brings no changes now; a commit brings those of all parts.
static int take_stage(struct cluster_state *s, struct state_command *command, const struct progress *p,
                      struct error *err)
{
	const struct stage_ref *stage = &command->terms.stage;
	if (stage->id == 0)
		return 0;
	if (stage->is_commit)
		return staging_commit(&s->staged, stage, &command->changes, err);
	return staging_take(&s->staged, stage, &command->changes, p->now_ms, err);
}

int cluster_state_apply(struct cluster_state *s, struct state_command *command, struct apply_result *ret_result,
                        struct error *err)
{
	struct progress p = { .now_ms = snat_state_clock(&s->snat, command->time_ms), .terms = &command->terms };
	struct apply_result result = { 0 };
	staging_expire(&s->staged, p.now_ms);
	vip_versions_expire(&s->versions, p.now_ms);
	int code = take_stage(s, command, &p, err);
	if (code == 0 && command->changes.n == 0)
		code = cluster_state_check_since(s, &command->terms, err);
	if (code == 0)
		code = apply_changes(s, &command->changes, &p, err);
	if (code == 0 && apply_rest(s, command, &p, &result) != 0)
		code = error_set(err, ERR_NO_MEMORY, "memory is short");
	if (code == 0)
		*ret_result = result;
	else
		apply_result_fini(&result);
	change_list_fini(&p.undo);
	touched_list_fini(&p.touched);
	event_list_fini(&p.events);
	return code;
}

int cluster_state_get_snapshot(const struct cluster_state *s, struct state_snapshot *ret_snapshot)
{
	struct state_snapshot snapshot = { .version = s->store.version, .config_version = s->versions.config_version };
	if (store_get_all(&s->store, &snapshot.objects) != 0 || snat_state_get_image(&s->snat, &snapshot.snat) != 0 ||
	    event_ring_get_all(&s->events, &snapshot.events) != 0 ||
	    vip_versions_get_all(&s->versions, &snapshot.versions) != 0 ||
	    staging_copy(&s->staged, &snapshot.staged) != 0) {
		state_snapshot_fini(&snapshot);
		return ERR_NO_MEMORY;
	}
	*ret_snapshot = snapshot;
	return 0;
}

static int restore_all(struct cluster_state *fresh, struct state_snapshot *snapshot)
{
	if (snat_state_init(&fresh->snat) != 0 || event_ring_init(&fresh->events) != 0)
		return ERR_NO_MEMORY;
	for (uint32_t i = 0; i < snapshot->objects.n; i++)
		if (cluster_state_replace(fresh, &snapshot->objects.items[i]) != 0)
			return ERR_NO_MEMORY;
	fresh->store.version = snapshot->version;
	event_ring_restore(&fresh->events, &snapshot->events);
	fresh->staged = snapshot->staged;
	snapshot->staged = (struct staged_list){ 0 };
	if (vip_versions_restore(&fresh->versions, &snapshot->versions, snapshot->config_version) != 0)
		return ERR_NO_MEMORY;
	if (cluster_state_judge_all(fresh) != 0)
		return ERR_NO_MEMORY;
	return snat_state_restore(&fresh->snat, &fresh->store, &snapshot->snat);
}

int cluster_state_restore(struct cluster_state *s, struct state_snapshot *snapshot)
{
	struct cluster_state fresh = { 0 };
	store_init(&fresh.store);
	vip_versions_init(&fresh.versions);
	if (restore_all(&fresh, snapshot) != 0) {
		cluster_state_fini(&fresh);
		return ERR_NO_MEMORY;
	}
	fresh.log = s->log;
	s->log = (struct change_log){ 0 };
	change_log_reset(&fresh.log, snapshot->version);
	cluster_state_fini(s);
	*s = fresh;
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

bool cluster_state_history_has(const struct cluster_state *s, const struct ip_addr *vip, const struct ip_addr *dip)
{
	const struct addr_set *set = addr_index_lookup(&s->in_history, addr_index_key_of_addr(dip));
	if (set == NULL || !addr_set_has(set, vip))
		return false;
	const struct vip_history *h = store_lookup_history(&s->store, vip);
	return h != NULL && vip_history_has_dip(h, dip);
}

const struct vip_history *cluster_state_next_history(const struct cluster_state *s, const struct ip_addr *dip,
                                                     uint32_t *i)
{
	const struct addr_set *set = addr_index_lookup(&s->in_history, addr_index_key_of_addr(dip));
	while (set != NULL && *i < set->n) {
		const struct vip_history *h = store_lookup_history(&s->store, &set->items[(*i)++]);
		if (h != NULL && vip_history_has_dip(h, dip))
			return h;
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

const struct dip_info *cluster_state_lookup_via(const struct cluster_state *s, const struct ip_addr *via)
{
	const struct addr_set *set = addr_index_lookup(&s->vias, addr_index_key_of_addr(via));
	for (uint32_t i = 0; set != NULL && i < set->n; i++) {
		const struct dip_info *dip = store_lookup_dip(&s->store, &set->items[i]);
		if (dip != NULL && ip_addr_equal(&dip->via, via))
			return dip;
	}
	return NULL;
}

const struct vip_config *cluster_state_snat_vip(const struct cluster_state *s, const struct ip_addr *dip)
{
	const struct ip_addr *vip = snat_state_next_vip(&s->snat, dip, &s->store.settings);
	return vip == NULL ? NULL : store_lookup_vip(&s->store, vip);
}
