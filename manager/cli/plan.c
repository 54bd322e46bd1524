#include "manager/cli/plan.h"

#include <stdlib.h>
#include <string.h>

#include "common/base/memory.h"
#include "manager/cli/command.h"
#include "manager/cli/plan_parts.h"
#include "manager/cli/settings_json.h"
#include "manager/cli/vip_json.h"
#include "manager/core/bucket_moves.h"
#include "manager/core/cluster_state.h"

// ---- a copy of the state makes the change ----

static int copy_changes(const struct change_list *from, struct change_list *to)
{
	int code = 0;
	for (uint32_t i = 0; code == 0 && i < from->n; i++) {
		struct change c;
		code = change_copy(&from->items[i], &c);
		if (code == 0)
			code = change_list_append(to, &c);
	}
	return code;
}

static int apply_to(struct cluster_state *s, const struct store *before, const struct change_list *changes,
                    uint64_t now_ms, struct error *err)
{
	struct state_snapshot snapshot = { .version = before->version };
	struct state_command command = { .time_ms = now_ms };
	struct apply_result result;
	int code = store_get_all(before, &snapshot.objects);
	if (code == 0)
		code = cluster_state_restore(s, &snapshot);
	if (code == 0)
		code = copy_changes(changes, &command.changes);
	if (code != 0)
		error_set(err, ERR_NO_MEMORY, "memory is short");
	else
		code = cluster_state_apply(s, &command, &result, err);
	if (code == 0)
		apply_result_fini(&result);
	state_command_fini(&command);
	state_snapshot_fini(&snapshot);
	return code;
}

int plan_apply(const struct store *before, const struct change_list *changes, uint64_t now_ms, struct store *ret_after,
               struct error *err)
{
	struct cluster_state *s = memory_array(1, sizeof *s);
	if (s == NULL || cluster_state_init(s) != 0) {
		memory_free(s);
		return error_set(err, ERR_NO_MEMORY, "memory is short");
	}
	int code = apply_to(s, before, changes, now_ms, err);
	if (code == 0) {
		*ret_after = s->store;
		store_init(&s->store);
	}
	cluster_state_fini(s);
	memory_free(s);
	return code;
}

// ---- fields ----

json_t *plan_field(const char *name, json_t *from, json_t *to)
{
	return json_pack("{s:s, s:o, s:o}", "field", name, "from", from != NULL ? from : json_null(), "to",
	                 to != NULL ? to : json_null());
}

// What differs in two documents, one level deep per name: "snat.range_size".
static void add_differences(json_t *fields, const char *prefix, json_t *from, json_t *to)
{
	const char *key;
	json_t *value;
	char name[64];
	json_object_foreach(to, key, value)
	{
		json_t *old = json_object_get(from, key);
		(void)text_format(name, sizeof name, "%s%s", prefix, key);
		if (json_is_object(value) && (old == NULL || json_is_object(old))) {
			char deeper[72];
			(void)text_format(deeper, sizeof deeper, "%s.", name);
			add_differences(fields, deeper, old, value);
		} else if (!json_equal(old, value)) {
			json_array_append_new(fields, plan_field(name, json_incref(old), json_incref(value)));
		}
	}
	json_object_foreach(from, key, value)
	{
		if (json_object_get(to, key) != NULL)
			continue;
		(void)text_format(name, sizeof name, "%s%s", prefix, key);
		json_array_append_new(fields, plan_field(name, json_incref(value), NULL));
	}
}

// The document of a VIP without its lists; NULL stands for none.
static json_t *make_plain(const struct vip_config *vip)
{
	json_t *document = vip != NULL ? vip_json_make(vip) : json_object();
	json_object_del(document, "vip");
	json_object_del(document, "endpoints");
	json_t *snat = json_object_get(document, "snat");
	if (snat != NULL)
		json_object_del(snat, "dips");
	return document;
}

static json_t *make_fields(const struct vip_config *old, const struct vip_config *new)
{
	json_t *fields = json_array();
	json_t *from = make_plain(old);
	json_t *to = make_plain(new);
	if (old != NULL && new != NULL)
		add_differences(fields, "", from, to);
	json_decref(from);
	json_decref(to);
	return fields;
}

// ---- DIPs of an endpoint ----

static void add_dip(json_t *list, const struct endpoint_dip *old, const struct endpoint_dip *new)
{
	json_t *fields = json_array();
	const struct endpoint_dip *d = new != NULL ? new : old;
	const char *action = old == NULL ? "add" : new == NULL ? "remove" : "change";
	if (old == NULL || new == NULL || old->port != new->port)
		json_array_append_new(fields, plan_field("port", old != NULL ? json_integer(old->port) : NULL,
		                                         new != NULL ? json_integer(new->port) : NULL));
	if (old == NULL || new == NULL || old->weight != new->weight)
		json_array_append_new(fields, plan_field("weight", old != NULL ? json_integer(old->weight) : NULL,
		                                         new != NULL ? json_integer(new->weight) : NULL));
	if (json_array_size(fields) == 0) {
		json_decref(fields);
		return;
	}
	json_array_append_new(
		list, json_pack("{s:o, s:s, s:o}", "dip", cli_json_addr(&d->dip), "action", action, "fields", fields));
}

// Both lists are sorted.
static json_t *make_dips(const struct endpoint *old, const struct endpoint *new)
{
	json_t *list = json_array();
	uint32_t i = 0;
	uint32_t k = 0;
	uint32_t n_old = old != NULL ? old->n_dips : 0;
	uint32_t n_new = new != NULL ? new->n_dips : 0;
	while (i < n_old || k < n_new) {
		int order = i == n_old ? 1 : k == n_new ? -1 : ip_addr_compare(&old->dips[i].dip, &new->dips[k].dip);
		add_dip(list, order <= 0 ? &old->dips[i] : NULL, order >= 0 ? &new->dips[k] : NULL);
		i += order <= 0;
		k += order >= 0;
	}
	return list;
}

// ---- endpoints ----

static json_t *probe_document(const struct endpoint *e)
{
	struct vip_config vip = { .n_endpoints = 1, .endpoints = (struct endpoint *)e };
	json_t *document = vip_json_make(&vip);
	json_t *endpoint = json_array_get(json_object_get(document, "endpoints"), 0);
	json_t *probe = json_incref(json_object_get(endpoint, "probe"));
	json_decref(document);
	return probe;
}

static json_t *make_endpoint_fields(const struct endpoint *old, const struct endpoint *new)
{
	json_t *fields = json_array();
	if (old == NULL || new == NULL)
		return fields;
	if (strcmp(old->name, new->name) != 0)
		json_array_append_new(fields, plan_field("name", json_string(old->name), json_string(new->name)));
	if (!probe_equal(&old->probe, &new->probe))
		json_array_append_new(fields, plan_field("probe", probe_document(old), probe_document(new)));
	return fields;
}

// Who gets new connections, as the caller's; of an endpoint that is not there: nobody. ERR_NO_MEMORY.
static int get_present(const struct store *s, const struct ip_addr *vip, const struct endpoint *e,
                       struct plan_members *ret_members)
{
	struct plan_members m = { 0 };
	const struct endpoint_history *h =
		e == NULL ? NULL : vip_history_lookup(store_lookup_history(s, vip), e->protocol, e->port);
	const struct generation *g = h != NULL ? endpoint_history_present(h) : NULL;
	m.n = e == NULL ? 0 : g != NULL ? g->n_members : e->n_dips;
	m.items = memory_array(m.n, sizeof *m.items);
	if (m.items == NULL)
		return ERR_NO_MEMORY;
	for (uint32_t i = 0; i < m.n; i++)
		m.items[i] = g != NULL ? g->members[i] : (struct maglev_member){ e->dips[i].dip, e->dips[i].weight };
	*ret_members = m;
	return 0;
}

static void put_buckets(json_t *document, uint32_t n, uint32_t n_moved)
{
	json_object_set_new(document, "buckets", json_integer(n));
	json_object_set_new(document, "buckets_moved", json_integer(n_moved));
	json_object_set_new(document, "moved_percent", json_real(n == 0 ? 0 : (double)(n_moved * 1000ull / n) / 10));
}

// An endpoint that comes or goes: all of its buckets are new, or move to nobody.
static int count_moves(const struct plan_members *old, const struct plan_members *new, struct bucket_moves *m)
{
	if (old->n > 0 && new->n > 0)
		return bucket_moves_count(old->items, old->n, new->items, new->n, m);
	uint32_t n_buckets = old->n + new->n > 0 ? maglev_table_size(old->n + new->n) : 0;
	*m = (struct bucket_moves){ .n_buckets = n_buckets, .n_moved = old->n > 0 ? n_buckets : 0 };
	return 0;
}

static json_t *make_endpoint(const struct plan_sides *sides, const struct endpoint *old, const struct endpoint *new)
{
	const struct endpoint *e = new != NULL ? new : old;
	struct plan_members from = { 0 };
	struct plan_members to = { 0 };
	struct bucket_moves moves = { 0 };
	bool ok = get_present(sides->before, sides->vip, old, &from) == 0 &&
	          get_present(sides->after, sides->vip, new, &to) == 0 && count_moves(&from, &to, &moves) == 0;
	json_t *document = NULL;
	if (ok) {
		json_t *fields = make_endpoint_fields(old, new);
		json_t *dips = make_dips(old, new);
		bool is_same = json_array_size(fields) + json_array_size(dips) + moves.n_moved == 0;
		const char *action = old == NULL ? "add" : new == NULL ? "remove" : is_same ? "none" : "change";
		document = json_pack("{s:s, s:s, s:i, s:s, s:o, s:o}", "name", e->name, "protocol", protocol_name(e->protocol),
		                     "port", (int)e->port, "action", action, "fields", fields, "dips", dips);
		put_buckets(document, moves.n_buckets, moves.n_moved);
		json_object_set_new(document, "connections", plan_make_connections(sides, &from, &to, &moves));
	}
	memory_free(from.items);
	memory_free(to.items);
	bucket_moves_fini(&moves);
	return document;
}

static int compare_endpoints(const struct endpoint *a, const struct endpoint *b)
{
	return a->protocol != b->protocol ? (int)a->protocol - (int)b->protocol : (int)a->port - (int)b->port;
}

static json_t *make_endpoints(const struct plan_sides *sides)
{
	json_t *list = json_array();
	const struct vip_config *old = sides->old;
	const struct vip_config *new = sides->new;
	uint32_t i = 0;
	uint32_t k = 0;
	uint32_t n_old = old != NULL ? old->n_endpoints : 0;
	uint32_t n_new = new != NULL ? new->n_endpoints : 0;
	while (i < n_old || k < n_new) {
		int order = i == n_old ? 1 : k == n_new ? -1 : compare_endpoints(&old->endpoints[i], &new->endpoints[k]);
		json_t *e =
			make_endpoint(sides, order <= 0 ? &old->endpoints[i] : NULL, order >= 0 ? &new->endpoints[k] : NULL);
		if (e == NULL) {
			json_decref(list);
			return NULL;
		}
		json_array_append_new(list, e);
		i += order <= 0;
		k += order >= 0;
	}
	return list;
}

// ---- SNAT ----

static void add_missing(json_t *list, const struct vip_config *from, const struct vip_config *in)
{
	uint32_t k = 0;
	uint32_t n_in = in != NULL ? in->n_snat_dips : 0;
	for (uint32_t i = 0; from != NULL && i < from->n_snat_dips; i++) {
		while (k < n_in && ip_addr_compare(&in->snat_dips[k], &from->snat_dips[i]) < 0)
			k++;
		if (k == n_in || !ip_addr_equal(&in->snat_dips[k], &from->snat_dips[i]))
			json_array_append_new(list, cli_json_addr(&from->snat_dips[i]));
	}
}

static json_t *make_snat(const struct plan_sides *sides)
{
	json_t *add = json_array();
	json_t *remove = json_array();
	add_missing(add, sides->new, sides->old);
	add_missing(remove, sides->old, sides->new);
	return json_pack("{s:o, s:o}", "add", add, "remove", remove);
}

// ---- the plan ----

static json_t *make_vip(const struct plan_sides *sides)
{
	const struct vip_config *vip = sides->new != NULL ? sides->new : sides->old;
	const char *action = sides->old == NULL ? "create" : sides->new == NULL ? "delete" : "change";
	json_t *endpoints = make_endpoints(sides);
	if (endpoints == NULL)
		return NULL;
	json_t *document = json_pack("{s:o, s:s, s:s, s:o, s:o, s:o}", "vip", cli_json_addr(sides->vip), "tenant",
	                             vip->tenant, "action", action, "fields", make_fields(sides->old, sides->new),
	                             "endpoints", endpoints, "snat", make_snat(sides));
	json_object_set_new(document, "warnings", plan_make_warnings(sides, endpoints));
	return document;
}

static json_t *make_settings(const struct store *before, const struct store *after)
{
	json_t *fields = json_array();
	json_t *from = settings_json_make(&before->settings);
	json_t *to = settings_json_make(&after->settings);
	add_differences(fields, "", from, to);
	json_decref(from);
	json_decref(to);
	return fields;
}

static void count_up(json_t *plan, const char *what)
{
	json_object_set_new(plan, what, json_integer(json_integer_value(json_object_get(plan, what)) + 1));
}

json_t *plan_make(const struct store *before, const struct store *after, const struct change_list *changes,
                  uint32_t n_unchanged, const struct node_list *hosts)
{
	json_t *plan = json_pack("{s:I, s:i, s:i, s:i, s:i}", "version", (json_int_t)before->version, "create", 0, "change",
	                         0, "delete", 0, "unchanged", (int)n_unchanged);
	json_t *vips = json_array();
	struct plan_sides sides = { .before = before, .after = after };
	bool ok = plan_flows_init(&sides.flows, hosts) == 0;
	for (uint32_t i = 0; ok && i < changes->n; i++) {
		const struct object_key *key = &changes->items[i].key;
		if (key->kind == OBJECT_SETTINGS)
			json_object_set_new(plan, "settings", make_settings(before, after));
		if (key->kind != OBJECT_VIP)
			continue;
		sides.vip = &key->addr;
		sides.old = store_lookup_vip(before, &key->addr);
		sides.new = store_lookup_vip(after, &key->addr);
		json_t *vip = make_vip(&sides);
		ok = vip != NULL;
		if (ok) {
			count_up(plan, json_string_value(json_object_get(vip, "action")));
			json_array_append_new(vips, vip);
		}
	}
	json_object_set_new(plan, "vips", vips);
	plan_flows_fini(&sides.flows);
	if (ok)
		return plan;
	json_decref(plan);
	return NULL;
}

bool plan_has_change(const json_t *plan)
{
	return json_array_size(json_object_get(plan, "vips")) > 0 || json_object_get(plan, "settings") != NULL;
}
