#include "manager/core/events.h"

#include <stdlib.h>
#include <string.h>

#include "common/base/memory.h"

// ---- the ring ----

int event_ring_init(struct event_ring *r)
{
	*r = (struct event_ring){ .items = memory_array(EVENTS_KEPT, sizeof *r->items) };
	return r->items == NULL ? ERR_NO_MEMORY : 0;
}

void event_ring_fini(struct event_ring *r)
{
	memory_free(r->items);
	*r = (struct event_ring){ 0 };
}

static struct cluster_event *at(const struct event_ring *r, uint64_t seq)
{
	return &r->items[seq % EVENTS_KEPT];
}

void event_ring_append(struct event_ring *r, const struct cluster_event *e, uint64_t time_ms)
{
	struct cluster_event *item = at(r, ++r->last_seq);
	*item = *e;
	item->seq = r->last_seq;
	item->time_ms = time_ms;
	item->what[sizeof item->what - 1] = item->object[sizeof item->object - 1] = '\0';
	item->cause[sizeof item->cause - 1] = '\0';
	r->n += r->n < EVENTS_KEPT;
}

const struct cluster_event *event_ring_after(const struct event_ring *r, uint64_t seq)
{
	uint64_t first = r->last_seq - r->n + 1;
	if (seq >= r->last_seq)
		return NULL;
	return at(r, seq + 1 < first ? first : seq + 1);
}

int event_ring_get_all(const struct event_ring *r, struct event_list *ret_list)
{
	struct event_list list = { 0 };
	for (const struct cluster_event *e = event_ring_after(r, 0); e != NULL; e = event_ring_after(r, e->seq))
		if (event_list_append(&list, e) != 0) {
			event_list_fini(&list);
			return ERR_NO_MEMORY;
		}
	*ret_list = list;
	return 0;
}

void event_ring_restore(struct event_ring *r, const struct event_list *list)
{
	for (uint32_t i = 0; i < list->n; i++) {
		const struct cluster_event *e = &list->items[i];
		if (e->seq != r->last_seq + 1) // those before belong to another count
			r->n = 0;
		r->last_seq = e->seq - 1;
		event_ring_append(r, e, e->time_ms);
	}
}

// ---- what changes come to ----

// An object before and after a command.
struct turn {
	const struct store *store; // after
	const struct change *old;
	struct event_ring *ring;
	uint64_t now_ms;
};

static void append(const struct turn *t, struct cluster_event e)
{
	event_ring_append(t->ring, &e, t->now_ms);
}

static uint32_t n_dips_of(const struct vip_config *vip)
{
	uint32_t n = 0;
	for (uint32_t i = 0; i < vip->n_endpoints; i++)
		n += vip->endpoints[i].n_dips;
	return n;
}

static void vip_sizes(const struct vip_config *vip, char *buf, size_t size)
{
	(void)text_format(buf, size, "endpoints %u, their DIPs %u, SNAT DIPs %u", vip->n_endpoints, n_dips_of(vip),
	                  vip->n_snat_dips);
}

static void append_vip(const struct turn *t)
{
	char text[IP_ADDR_TEXT_BYTES];
	char old_sizes[EVENT_CAUSE_BYTES] = "";
	char sizes[EVENT_CAUSE_BYTES] = "";
	const struct vip_config *old = t->old->is_delete ? NULL : t->old->vip;
	const struct vip_config *vip = store_lookup_vip(t->store, &t->old->key.addr);
	ip_addr_format(&t->old->key.addr, text);
	if (old != NULL)
		vip_sizes(old, old_sizes, sizeof old_sizes);
	if (vip != NULL)
		vip_sizes(vip, sizes, sizeof sizes);
	if (vip == NULL && old != NULL)
		append(t, event_make("vip-deleted", text, "of tenant %s; it had %s", old->tenant, old_sizes));
	else if (vip != NULL && old == NULL)
		append(t, event_make("vip-applied", text, "new, of tenant %s: %s", vip->tenant, sizes));
	else if (vip != NULL && !vip_config_equal(old, vip))
		append(t, event_make("vip-applied", text, "%s; before: %s", sizes,
		                     strcmp(sizes, old_sizes) == 0 ? "as many" : old_sizes));
}

// "10.0.0.31", "10.0.0.31 and 2001:db8::31".
#define ADDRESSES_TEXT_BYTES (2 * IP_ADDR_TEXT_BYTES + 8)
static const char *format_addresses(const struct node_info *node, char *buf)
{
	char addr[IP_ADDR_TEXT_BYTES];
	char addr6[IP_ADDR_TEXT_BYTES];
	bool has_both = !ip_addr_is_unspecified(&node->addr6);
	(void)text_format(buf, ADDRESSES_TEXT_BYTES, "%s%s%s", ip_addr_format(&node->addr, addr), has_both ? " and " : "",
	                  has_both ? ip_addr_format(&node->addr6, addr6) : "");
	return buf;
}

static void append_node(const struct turn *t, const struct node_info *node, const char *joined, const char *removed)
{
	char now[ADDRESSES_TEXT_BYTES];
	char before[ADDRESSES_TEXT_BYTES];
	const struct node_info *old = t->old->is_delete ? NULL : &t->old->node;
	const char *name = t->old->key.name;
	if (node != NULL && old == NULL)
		append(t, event_make(joined, name, "address %s", format_addresses(node, now)));
	else if (node == NULL && old != NULL)
		append(t, event_make(removed, name, "it had address %s", format_addresses(old, before)));
	else if (node != NULL && !node_info_equal(node, old))
		append(t, event_make(joined, name, "address %s, before %s", format_addresses(node, now),
		                     format_addresses(old, before)));
}

// ", via 2001:db8::5", or nothing.
#define VIA_TEXT_BYTES (IP_ADDR_TEXT_BYTES + 8)
static const char *format_via(const struct dip_info *dip, char *buf)
{
	char via[IP_ADDR_TEXT_BYTES];
	buf[0] = '\0';
	if (dip_info_has_via(dip))
		(void)text_format(buf, VIA_TEXT_BYTES, ", via %s", ip_addr_format(&dip->via, via));
	return buf;
}

static void append_dip(const struct turn *t)
{
	char text[IP_ADDR_TEXT_BYTES];
	char via[VIA_TEXT_BYTES];
	const struct dip_info *old = t->old->is_delete ? NULL : &t->old->dip;
	const struct dip_info *dip = store_lookup_dip(t->store, &t->old->key.addr);
	ip_addr_format(&t->old->key.addr, text);
	if (dip != NULL && old != NULL && dip_info_equal(old, dip))
		return;
	if (dip == NULL && old != NULL)
		append(t, event_make("dip-detached", text, "it was VM %s on host %s", old->vm, old->host));
	else if (dip != NULL && old == NULL)
		append(t, event_make("dip-attached", text, "VM %s on host %s, interface %s%s", dip->vm, dip->host,
		                     dip->interface, format_via(dip, via)));
	else if (dip != NULL)
		append(t, event_make("dip-attached", text, "VM %s on host %s, interface %s%s; before VM %s on host %s", dip->vm,
		                     dip->host, dip->interface, format_via(dip, via), old->vm, old->host));
}

static void append_drain(const struct turn *t, bool is_there)
{
	char text[IP_ADDR_TEXT_BYTES];
	const struct object_key *key = &t->old->key;
	append(t, event_make(is_there ? "dip-drained" : "dip-undrained", ip_addr_format(&key->addr, text), "of %s%s",
	                     key->name[0] == '\0' ? "all its VIPs" : "VIP ", key->name));
}

// "was so for 12.3 s", as a number of seconds.
static double seconds_since(const struct turn *t)
{
	uint64_t since_ms = t->old->mark.since_ms;
	return since_ms > t->now_ms ? 0 : (double)(t->now_ms - since_ms) / 1000;
}

static void append_unhealthy(const struct turn *t, const struct store_mark *mark)
{
	char text[IP_ADDR_TEXT_BYTES];
	const struct object_key *key = &t->old->key;
	ip_addr_format(&key->addr, text);
	if (mark != NULL)
		append(t, event_make("dip-unhealthy", text, "%s: %s", key->name, mark->info.cause));
	else
		append(t, event_make("dip-healthy", text, "%s: it was unhealthy for %.1f s (%s)", key->name, seconds_since(t),
		                     t->old->mark.cause));
}

static void append_gone_host(const struct turn *t, const struct store_mark *mark)
{
	if (mark != NULL)
		append(t, event_make("host-gone", t->old->key.name, "%s", mark->info.cause));
	else
		append(t, event_make("host-back", t->old->key.name, "it was gone for %.1f s", seconds_since(t)));
}

static void append_mux_drain(const struct turn *t, const struct store_mark *mark)
{
	if (mark != NULL)
		append(t, event_make("mux-draining", t->old->key.name, "%s",
		                     mark->info.cause[0] == '\0' ? "an operator asked for it" : mark->info.cause));
	else
		append(t, event_make("mux-undrained", t->old->key.name, "it was drained for %.1f s", seconds_since(t)));
}

static void append_mark(const struct turn *t)
{
	const struct store_mark *mark = store_lookup_mark(t->store, &t->old->key);
	if ((mark == NULL) == t->old->is_delete)
		return;
	if (t->old->key.kind == OBJECT_DRAIN)
		append_drain(t, mark != NULL);
	else if (t->old->key.kind == OBJECT_UNHEALTHY)
		append_unhealthy(t, mark);
	else if (t->old->key.kind == OBJECT_HOST_GONE)
		append_gone_host(t, mark);
	else
		append_mux_drain(t, mark);
}

static void add_number(char *cause, const char *field, uint32_t old, uint32_t new)
{
	size_t used = strlen(cause);
	if (old != new)
		(void)text_format(cause + used, EVENT_CAUSE_BYTES - used, "%s%s %u (%u)", used == 0 ? "" : ", ", field, new,
		                  old);
}

// What is now, and in brackets what was before.
static void append_settings(const struct turn *t)
{
	char cause[EVENT_CAUSE_BYTES] = "";
	struct cluster_settings old = t->old->is_delete ? cluster_settings_default() : t->old->settings;
	const struct cluster_settings *new = &t->store->settings;
	if (cluster_settings_equal(&old, new))
		return;
	add_number(cause, "snat.quarantine_s", old.snat_quarantine_s, new->snat_quarantine_s);
	add_number(cause, "snat.log_s", old.snat_log_s, new->snat_log_s);
	add_number(cause, "snat.gone_s", old.snat_gone_s, new->snat_gone_s);
	add_number(cause, "snat.dip_requests_per_s", old.snat_dip_requests_per_s, new->snat_dip_requests_per_s);
	add_number(cause, "health.host_gone_ms", old.host_gone_ms, new->host_gone_ms);
	add_number(cause, "health.fail_static_percent", old.fail_static_percent, new->fail_static_percent);
	add_number(cause, "mux.withdraw_percent", old.mux_withdraw_percent, new->mux_withdraw_percent);
	append(t, event_make("settings-changed", "cluster", "%s", cause[0] == '\0' ? "snat.never" : cause));
}

static void append_turn(const struct turn *t)
{
	const char *name = t->old->key.name;
	switch (t->old->key.kind) {
	case OBJECT_VIP: append_vip(t); break;
	case OBJECT_MUX: append_node(t, store_lookup_mux(t->store, name), "mux-joined", "mux-removed"); break;
	case OBJECT_HOST: append_node(t, store_lookup_host(t->store, name), "host-joined", "host-removed"); break;
	case OBJECT_DIP: append_dip(t); break;
	case OBJECT_SETTINGS: append_settings(t); break;
	case OBJECT_DRAIN:
	case OBJECT_UNHEALTHY:
	case OBJECT_HOST_GONE:
	case OBJECT_MUX_DRAIN: append_mark(t); break;
	case OBJECT_CLUSTER:
	case OBJECT_HISTORY: break;
	}
}

// ---- each object once ----

static int compare_changes(const void *a, const void *b)
{
	const struct change *x = *(const struct change *const *)a;
	const struct change *y = *(const struct change *const *)b;
	int order = object_key_compare(&x->key, &y->key);
	return order != 0 ? order : (x > y) - (x < y); // of one array
}

static int compare_places(const void *a, const void *b)
{
	const struct change *x = *(const struct change *const *)a;
	const struct change *y = *(const struct change *const *)b;
	return (x > y) - (x < y);
}

// The first change of each object, which has what was before the command; in the order of the command.
static uint32_t list_firsts(const struct change_list *undo, const struct change **firsts)
{
	uint32_t n = 0;
	for (uint32_t i = 0; i < undo->n; i++)
		firsts[i] = &undo->items[i];
	qsort(firsts, undo->n, sizeof(*firsts), compare_changes);
	for (uint32_t i = 0; i < undo->n; i++)
		if (n == 0 || object_key_compare(&firsts[n - 1]->key, &firsts[i]->key) != 0)
			firsts[n++] = firsts[i];
	qsort(firsts, n, sizeof(*firsts), compare_places);
	return n;
}

int events_append_changes(struct event_ring *r, const struct store *store, const struct change_list *undo,
                          uint64_t now_ms)
{
	if (undo->n == 0)
		return 0;
	const struct change **firsts = memory_array(undo->n, sizeof(*firsts));
	if (firsts == NULL)
		return ERR_NO_MEMORY;
	uint32_t n = list_firsts(undo, firsts);
	for (uint32_t i = 0; i < n; i++)
		append_turn(&(struct turn){ .store = store, .old = firsts[i], .ring = r, .now_ms = now_ms });
	memory_free(firsts);
	return 0;
}
