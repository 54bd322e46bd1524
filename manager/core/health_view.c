#include "manager/core/health_view.h"

#include <string.h>

#include "common/base/memory.h"
#include "manager/core/marks.h"

// ---- hosts ----

// The index of the name, or where it would be inserted.
static uint32_t find(const struct health_view *v, const char *name, bool *ret_found)
{
	uint32_t low = 0;
	uint32_t high = v->n_hosts;
	*ret_found = false;
	while (low < high) {
		uint32_t middle = low + (high - low) / 2;
		int order = strcmp(v->hosts[middle]->name, name);
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

static struct health_host *lookup(const struct health_view *v, const char *name)
{
	bool found;
	uint32_t i = find(v, name, &found);
	return found ? v->hosts[i] : NULL;
}

static struct health_host *insert(struct health_view *v, const char *name)
{
	bool found;
	uint32_t i = find(v, name, &found);
	struct health_host **hosts = memory_grow(v->hosts, v->n_hosts, &v->capacity, sizeof(*hosts));
	if (hosts == NULL)
		return NULL;
	v->hosts = hosts;
	struct health_host *h = memory_array(1, sizeof *h);
	if (h == NULL)
		return NULL;
	(void)text_copy(h->name, sizeof h->name, name);
	memmove(hosts + i + 1, hosts + i, (v->n_hosts++ - i) * sizeof(*hosts));
	hosts[i] = h;
	return h;
}

static void set_due(struct health_view *v, struct health_host *h, bool is_due)
{
	if (h->is_due) {
		*(h->previous_due != NULL ? &h->previous_due->next_due : &v->first_due) = h->next_due;
		*(h->next_due != NULL ? &h->next_due->previous_due : &v->last_due) = h->previous_due;
		v->n_due_hosts--;
	}
	h->is_due = is_due;
	h->previous_due = h->next_due = NULL;
	if (!is_due)
		return;
	h->previous_due = v->last_due;
	*(v->last_due != NULL ? &v->last_due->next_due : &v->first_due) = h;
	v->last_due = h;
	v->n_due_hosts++;
}

static void forget_results(struct health_view *v, struct health_host *h)
{
	while (h->results != NULL)
		health_results_remove(&v->results, h->results);
}

void health_view_init(struct health_view *v)
{
	memset(v, 0, sizeof *v);
	health_results_init(&v->results);
}

void health_view_fini(struct health_view *v)
{
	health_results_fini(&v->results);
	for (uint32_t i = 0; i < v->n_hosts; i++)
		memory_free(v->hosts[i]);
	memory_free(v->hosts);
	health_view_init(v);
}

void health_view_clear(struct health_view *v)
{
	health_view_fini(v);
}

// ---- reports ----

static int note_unhealthy(struct health_view *v, struct health_host *h, const struct probe_result *probe)
{
	struct health_result *r = health_results_lookup(&v->results, h, probe);
	if (r == NULL && v->results.n >= HEALTH_RESULTS_MAX) {
		v->n_dropped++;
		return 0;
	}
	if (r == NULL)
		r = health_results_insert(&v->results, h, probe);
	if (r == NULL)
		return ERR_NO_MEMORY;
	r->probe = *probe;
	r->absent_version = 0;
	health_results_set_due(&v->results, r, !h->is_due);
	return 0;
}

// Bringing the host in line takes all marks away that no result confirms.
static int note_healthy(struct health_view *v, struct health_host *h, const struct probe_result *probe)
{
	struct health_result *r = health_results_lookup(&v->results, h, probe);
	if (r == NULL && !h->is_due && v->results.n >= HEALTH_RESULTS_MAX)
		set_due(v, h, true);
	if (h->is_due) {
		if (r != NULL)
			health_results_remove(&v->results, r);
		return 0;
	}
	if (r == NULL)
		r = health_results_insert(&v->results, h, probe);
	if (r == NULL)
		return ERR_NO_MEMORY;
	r->probe = *probe;
	r->absent_version = 0;
	health_results_set_due(&v->results, r, true);
	return 0;
}

static int note_all(struct health_view *v, struct health_host *h, const struct health_report *report)
{
	int code = 0;
	for (uint32_t i = 0; code == 0 && i < report->n; i++) {
		const struct probe_result *probe = &report->items[i];
		code = probe->is_healthy ? note_healthy(v, h, probe) : note_unhealthy(v, h, probe);
	}
	return code;
}

int health_view_on_report(struct health_view *v, const char *host, const struct health_report *report)
{
	struct health_host *h = lookup(v, host);
	if (h == NULL && !report->is_whole) {
		v->n_ignored++;
		return 0;
	}
	v->n_reports++;
	if (h == NULL)
		h = insert(v, host);
	if (h == NULL)
		return ERR_NO_MEMORY;
	if (report->is_whole) {
		forget_results(v, h);
		set_due(v, h, true);
	}
	if (note_all(v, h, report) == 0)
		return 0;
	health_view_on_disconnect(v, host);
	return ERR_NO_MEMORY;
}

void health_view_on_ack(struct health_view *v, const char *host, uint64_t version)
{
	struct health_host *h = lookup(v, host);
	if (h != NULL && version > h->acked_version)
		h->acked_version = version;
}

void health_view_on_disconnect(struct health_view *v, const char *host)
{
	bool found;
	uint32_t i = find(v, host, &found);
	if (!found)
		return;
	struct health_host *h = v->hosts[i];
	forget_results(v, h);
	set_due(v, h, false);
	memory_free(h);
	memmove(v->hosts + i, v->hosts + i + 1, (--v->n_hosts - i) * sizeof(*v->hosts));
}

// ---- changes of the state ----

// Does the host's word count for this?
static bool counts(const struct cluster_state *s, const struct health_result *r, const struct object_key *key)
{
	const struct dip_info *dip = store_lookup_dip(&s->store, &r->probe.dip);
	return dip != NULL && strcmp(dip->host, r->host->name) == 0 && marks_lookup_endpoint(&s->store, key) != NULL;
}

// What the agent has seen absent it probes anew.
static void review(struct health_view *v, const struct cluster_state *s, struct health_result *r)
{
	struct object_key key = probe_result_key(&r->probe);
	if (!counts(s, r, &key)) {
		if (r->absent_version == 0)
			r->absent_version = s->store.version;
		health_results_set_due(&v->results, r, false);
	} else if (r->absent_version != 0 && r->host->acked_version >= r->absent_version) {
		health_results_remove(&v->results, r);
	} else {
		r->absent_version = 0;
		health_results_set_due(&v->results, r, true);
	}
}

static void review_pair(struct health_view *v, const struct cluster_state *s, const struct ip_addr *dip,
                        const struct ip_addr *vip)
{
	struct health_result *next = health_results_next(&v->results, dip, vip, NULL);
	while (next != NULL) {
		struct health_result *r = next;
		next = health_results_next(&v->results, dip, vip, r);
		review(v, s, r);
	}
}

void health_view_on_change(struct health_view *v, const struct cluster_state *s, const struct object_key *key)
{
	bool is_vip = key->kind == OBJECT_VIP;
	if (v->results.n == 0 || (!is_vip && key->kind != OBJECT_DIP))
		return;
	const uint64_t index_key = addr_index_key_of_addr(&key->addr);
	const struct addr_set *set = addr_index_lookup(&v->results.pairs, index_key);
	for (uint32_t i = set == NULL ? 0 : set->n; i > 0; i--) { // from the end: reviewing may take members out
		struct ip_addr other = set->items[i - 1];
		review_pair(v, s, is_vip ? &other : &key->addr, is_vip ? &key->addr : &other);
		set = addr_index_lookup(&v->results.pairs, index_key);
		if (set == NULL)
			break;
	}
}

// ---- changes to propose ----

static int append(const struct object_key *key, const char *cause, struct change_list *changes)
{
	struct change c = { .key = *key, .is_delete = cause == NULL };
	if (cause != NULL)
		(void)text_copy(c.mark.cause, sizeof c.mark.cause, cause);
	return change_list_append(changes, &c);
}

// Takes a result that may be due. When the state has to change it stays due, as the last one, unless its host does instead.
static int take_result(struct health_view *v, const struct cluster_state *s, struct health_result *r,
                       struct change_list *changes)
{
	struct object_key key = probe_result_key(&r->probe);
	bool does_count = counts(s, r, &key);
	bool is_right = (store_lookup_mark(&s->store, &key) == NULL) == r->probe.is_healthy;
	if (!does_count && r->absent_version == 0)
		r->absent_version = s->store.version;
	if (does_count && !is_right) {
		health_results_set_due(&v->results, r, !r->host->is_due);
		return append(&key, r->probe.is_healthy ? NULL : r->probe.cause, changes);
	}
	if (r->probe.is_healthy)
		health_results_remove(&v->results, r);
	else
		health_results_set_due(&v->results, r, false);
	return 0;
}

// Is what the mark says what its host says?
static bool is_confirmed(const struct health_view *v, const struct health_host *h, const struct object_key *key)
{
	struct probe_result probe = { .dip = key->addr };
	if (endpoint_key_parse(key->name, &probe.vip, &probe.protocol, &probe.port) != 0)
		return false;
	const struct health_result *r = health_results_lookup(&v->results, h, &probe);
	return r != NULL && !r->probe.is_healthy;
}

static int append_unconfirmed(const struct health_view *v, const struct cluster_state *s, const struct health_host *h,
                              const struct ip_addr *dip, uint32_t most, struct change_list *changes)
{
	const struct store_array *marks = &s->store.unhealthy;
	for (uint32_t i = marks_first_of_dip(&s->store, dip); i < marks->n && changes->n < most; i++) {
		const struct object_key *key = &store_mark_at(marks, i)->key;
		if (!ip_addr_equal(&key->addr, dip))
			break;
		if (!is_confirmed(v, h, key) && append(key, NULL, changes) != 0)
			return ERR_NO_MEMORY;
	}
	return 0;
}

// What the host's results, its marks and the mark of the host itself lack.
static int bring_in_line(struct health_view *v, const struct cluster_state *s, struct health_host *h, uint32_t most,
                         struct change_list *changes)
{
	int code = 0;
	uint32_t i = 0;
	struct health_result *next;
	for (struct health_result *r = h->results; code == 0 && r != NULL && changes->n < most; r = next) {
		next = r->next_of_host;
		code = take_result(v, s, r, changes);
	}
	for (const struct dip_info *dip; code == 0 && (dip = cluster_state_next_attached(s, h->name, &i)) != NULL;)
		code = append_unconfirmed(v, s, h, &dip->dip, most, changes);
	struct object_key gone = object_key_of_name(OBJECT_HOST_GONE, h->name);
	if (code == 0 && changes->n < most && store_lookup_mark(&s->store, &gone) != NULL)
		code = append(&gone, NULL, changes);
	return code;
}

int health_view_next_changes(struct health_view *v, const struct cluster_state *s, uint32_t max,
                             struct change_list *changes)
{
	uint32_t most = changes->n + max;
	int code = 0;
	for (uint32_t n = v->n_due_hosts; code == 0 && n > 0 && changes->n < most; n--) {
		struct health_host *h = v->first_due;
		uint32_t n_before = changes->n;
		set_due(v, h, true); // stays so until nothing is left to do
		code = bring_in_line(v, s, h, most, changes);
		if (code == 0 && changes->n == n_before)
			set_due(v, h, false);
	}
	for (uint32_t n = v->results.n_due; code == 0 && n > 0 && changes->n < most; n--)
		code = take_result(v, s, v->results.first_due, changes);
	return code;
}
