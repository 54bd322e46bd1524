#include "manager/cli/vip_status.h"

#include <stdlib.h>
#include <string.h>

#include "manager/cli/command.h"
#include "manager/cli/dip_health.h"
#include "manager/cli/probe_json.h"
#include "manager/cli/table.h"
#include "manager/cli/utc.h"
#include "manager/core/generations.h"

// An endpoint goes on remembering its oldest generation until drain_s after the next one began. 0: it has only one.
static uint64_t find_oldest_goes_ms(const struct vip_config *vip, const struct endpoint_history *h)
{
	return h->n_generations < 2 ? 0 : h->generations[1].since_ms + vip->drain_s * 1000ull;
}

// ---- JSON ----

static json_t *make_generation(const struct generation *g)
{
	json_t *dips = json_array();
	for (uint32_t i = 0; i < g->n_members; i++)
		json_array_append_new(dips, json_pack("{s:o, s:i}", "dip", cli_json_addr(&g->members[i].dip), "weight",
		                                      (int)g->members[i].weight));
	return json_pack("{s:o, s:o}", "since", cli_json_time(g->since_ms), "dips", dips);
}

static json_t *make_endpoint(const struct vip_config *vip, const struct endpoint *e, const struct endpoint_history *h)
{
	json_t *generations = json_array();
	for (uint32_t i = 0; i < h->n_generations; i++)
		json_array_append_new(generations, make_generation(&h->generations[i]));
	return json_pack("{s:s, s:s, s:i, s:o, s:o}", "name", e->name, "protocol", protocol_name(e->protocol), "port",
	                 (int)e->port, "oldest_goes", cli_json_time(find_oldest_goes_ms(vip, h)), "generations",
	                 generations);
}

static json_t *make_endpoints(const struct store *state, const struct vip_config *vip)
{
	json_t *list = json_array();
	const struct vip_history *history = store_lookup_history(state, &vip->vip);
	for (uint32_t i = 0; i < vip->n_endpoints; i++) {
		const struct endpoint *e = &vip->endpoints[i];
		const struct endpoint_history *h = vip_history_lookup(history, e->protocol, e->port);
		if (h != NULL)
			json_array_append_new(list, make_endpoint(vip, e, h));
	}
	return list;
}

static bool serves_endpoint(const struct vip_config *vip, const struct ip_addr *dip)
{
	for (uint32_t i = 0; i < vip->n_endpoints; i++)
		if (endpoint_lookup_dip(&vip->endpoints[i], dip) != NULL)
			return true;
	return false;
}

// A DIP can be drained of this VIP and of all at once, in two drains that follow each other; it is one drained DIP.
static json_t *make_drained(const struct store *state, const struct vip_config *vip)
{
	json_t *list = json_array();
	for (uint32_t i = 0; i < state->drains.n; i++) {
		const struct ip_addr *dip = &store_mark_at(&state->drains, i)->key.addr;
		const struct store_mark *d = store_lookup_drain(state, dip, &vip->vip);
		if (d == store_mark_at(&state->drains, i) && serves_endpoint(vip, dip))
			json_array_append_new(
				list, json_pack("{s:o, s:o}", "dip", cli_json_addr(dip), "since", cli_json_time(d->info.since_ms)));
	}
	return list;
}

static json_t *make_unhealthy(const struct store *state, const struct vip_config *vip)
{
	json_t *list = json_array();
	for (uint32_t i = 0; i < vip->n_endpoints; i++) {
		const struct endpoint *e = &vip->endpoints[i];
		for (uint32_t k = 0; k < e->n_dips; k++) {
			const struct store_mark *m = store_lookup_unhealthy(state, &e->dips[k].dip, &vip->vip, e);
			if (m == NULL)
				continue;
			json_t *item = json_pack("{s:o, s:s, s:s, s:i}", "dip", cli_json_addr(&e->dips[k].dip), "name", e->name,
			                         "protocol", protocol_name(e->protocol), "port", (int)e->port);
			json_object_set_new(item, "since", cli_json_time(m->info.since_ms));
			json_object_set_new(item, "cause", json_string(m->info.cause));
			json_array_append_new(list, item);
		}
	}
	return list;
}

static json_t *list_dips_on(const struct store *state, const struct vip_config *vip, const char *host)
{
	json_t *list = json_array();
	for (uint32_t i = 0; i < state->dips.n; i++) {
		const struct dip_info *dip = store_dip(state, i);
		if (strcmp(dip->host, host) == 0 && vip_config_has_dip(vip, &dip->dip))
			json_array_append_new(list, cli_json_addr(&dip->dip));
	}
	return list;
}

static json_t *make_hosts_gone(const struct store *state, const struct vip_config *vip)
{
	json_t *list = json_array();
	for (uint32_t i = 0; i < state->gone_hosts.n; i++) {
		const struct store_mark *m = store_mark_at(&state->gone_hosts, i);
		json_t *dips = list_dips_on(state, vip, m->key.name);
		if (json_array_size(dips) > 0)
			json_array_append_new(list, json_pack("{s:s, s:O, s:o, s:s}", "host", m->key.name, "dips", dips, "since",
			                                      cli_json_time(m->info.since_ms), "cause", m->info.cause));
		json_decref(dips);
	}
	return list;
}

// What becomes of new connections where no DIP is fit for them. NULL: one is.
static const char *find_down(const struct store *state, const struct vip_config *vip, const struct endpoint *e,
                             struct endpoint_verdict *v)
{
	*v = generations_verdict(state, vip, e);
	if (v->is_refusing)
		return "refused";
	if (v->state == ENDPOINT_ALL_DOWN)
		return "sent to all";
	return v->state == ENDPOINT_STATIC ? "as before" : NULL;
}

static json_t *make_down(const struct store *state, const struct vip_config *vip)
{
	json_t *list = json_array();
	struct endpoint_verdict v;
	for (uint32_t i = 0; i < vip->n_endpoints; i++) {
		const struct endpoint *e = &vip->endpoints[i];
		const char *down = find_down(state, vip, e, &v);
		if (down != NULL)
			json_array_append_new(list,
			                      json_pack("{s:s, s:s, s:i, s:s}", "name", e->name, "protocol",
			                                protocol_name(e->protocol), "port", (int)e->port, "new_connections", down));
	}
	return list;
}

json_t *vip_status_make(const struct store *state, const struct vip_config *vip)
{
	json_t *status = json_pack("{s:o, s:o, s:o, s:o, s:o}", "drained", make_drained(state, vip), "unhealthy",
	                           make_unhealthy(state, vip), "hosts_gone", make_hosts_gone(state, vip), "down",
	                           make_down(state, vip), "endpoints", make_endpoints(state, vip));
	bool is_empty = true;
	const char *name;
	json_t *list;
	json_object_foreach(status, name, list) is_empty &= json_array_size(list) == 0;
	if (!is_empty)
		return status;
	json_decref(status);
	return NULL;
}

// ---- text ----

static int compare_member(const void *dip, const void *member)
{
	return ip_addr_compare(dip, &((const struct maglev_member *)member)->dip);
}

static bool has_member(const struct generation *g, const struct ip_addr *dip)
{
	return bsearch(dip, g->members, g->n_members, sizeof *g->members, compare_member) != NULL;
}

// DIPs that are no member of the present generation, but of an earlier one; each counted at its last.
static uint32_t count_earlier(const struct endpoint_history *h)
{
	uint32_t n = 0;
	for (uint32_t g = 0; g + 1 < h->n_generations; g++)
		for (uint32_t i = 0; i < h->generations[g].n_members; i++) {
			bool comes_again = false;
			for (uint32_t later = g + 1; later < h->n_generations && !comes_again; later++)
				comes_again = has_member(&h->generations[later], &h->generations[g].members[i].dip);
			n += !comes_again;
		}
	return n;
}

static void add_time(struct table *t, uint64_t ms)
{
	char text[UTC_TEXT_BYTES];
	table_add(t, ms != 0 ? utc_format(ms, text) : "");
}

static uint32_t add_rows(struct table *t, const struct vip_config *vip, const struct vip_history *history)
{
	uint32_t n = 0;
	for (uint32_t i = 0; i < vip->n_endpoints; i++) {
		const struct endpoint *e = &vip->endpoints[i];
		const struct endpoint_history *h = vip_history_lookup(history, e->protocol, e->port);
		if (h == NULL)
			continue;
		n++;
		table_add(t, e->name);
		table_add_u64(t, h->n_generations);
		add_time(t, endpoint_history_present(h)->since_ms);
		table_add_u64(t, endpoint_history_present(h)->n_members);
		table_add_u64(t, count_earlier(h));
		add_time(t, find_oldest_goes_ms(vip, h));
	}
	return n;
}

void vip_status_print_generations(const struct store *state, const struct vip_config *vip)
{
	struct table *t = table_create("ENDPOINT <GENERATIONS SINCE <DIPS <EARLIER OLDEST-GOES");
	if (add_rows(t, vip, store_lookup_history(state, &vip->vip)) > 0) {
		putchar('\n');
		table_print(t, stdout);
	}
	table_destroy(t);
}

void vip_status_print_probes(const struct vip_config *vip)
{
	char text[PROBE_TEXT_BYTES];
	uint32_t n = 0;
	struct table *t = table_create("ENDPOINT PROBE <INTERVAL-MS <TIMEOUT-MS <UP <DOWN");
	for (uint32_t i = 0; i < vip->n_endpoints; i++) {
		const struct probe *p = &vip->endpoints[i].probe;
		if (p->type == PROBE_NONE)
			continue;
		n++;
		table_add(t, vip->endpoints[i].name);
		table_add(t, probe_json_format(p, text));
		table_add_u64(t, p->interval_ms);
		table_add_u64(t, p->timeout_ms);
		table_add_u64(t, p->up);
		table_add_u64(t, p->down);
	}
	if (n > 0) {
		putchar('\n');
		table_print(t, stdout);
	}
	table_destroy(t);
}

void vip_status_print_down(const struct store *state, const struct vip_config *vip)
{
	bool is_first = true;
	for (uint32_t i = 0; i < vip->n_endpoints; i++) {
		const struct endpoint *e = &vip->endpoints[i];
		struct endpoint_verdict v;
		if (find_down(state, vip, e, &v) == NULL)
			continue;
		printf("%sendpoint %s: all down (%u of %u unhealthy, %u on hosts that are gone, %u drained): %s\n",
		       is_first ? "\n" : "", e->name, v.n_unhealthy, v.n_dips, v.n_gone, v.n_drained,
		       v.is_refusing                  ? "refusing new connections"
		       : v.state == ENDPOINT_ALL_DOWN ? "sending to all"
		                                      : "sending to the same as before");
		is_first = false;
	}
}
