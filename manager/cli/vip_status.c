#include "manager/cli/vip_status.h"

#include <stdlib.h>

#include "manager/cli/command.h"
#include "manager/cli/table.h"
#include "manager/cli/utc.h"

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

json_t *vip_status_make(const struct store *state, const struct vip_config *vip)
{
	json_t *drained = make_drained(state, vip);
	json_t *endpoints = make_endpoints(state, vip);
	bool is_empty = json_array_size(drained) == 0 && json_array_size(endpoints) == 0;
	json_t *status = json_pack("{s:o, s:o}", "drained", drained, "endpoints", endpoints);
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
