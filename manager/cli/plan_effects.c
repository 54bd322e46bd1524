// What a change means for those who use a VIP: connections, and what an operator would want to know before.
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/memory.h"
#include "manager/cli/plan_parts.h"
#include "manager/core/generations.h"

// ---- flows ----

static int compare_flows(const void *a, const void *b)
{
	return ip_addr_compare(&((const struct plan_flow *)a)->dip, &((const struct plan_flow *)b)->dip);
}

int plan_flows_init(struct plan_flows *f, const struct node_list *hosts)
{
	uint32_t n = 0;
	for (uint32_t i = 0; hosts != NULL && i < hosts->n; i++)
		n += hosts->items[i].n_dips;
	*f = (struct plan_flows){ .items = memory_array(n, sizeof *f->items) };
	if (f->items == NULL)
		return ERR_NO_MEMORY;
	for (uint32_t i = 0; hosts != NULL && i < hosts->n; i++)
		for (uint32_t k = 0; k < hosts->items[i].n_dips; k++)
			f->items[f->n++] = (struct plan_flow){ hosts->items[i].dips[k].dip, hosts->items[i].dips[k].flows };
	if (f->n > 1)
		qsort(f->items, f->n, sizeof *f->items, compare_flows);
	return 0;
}

void plan_flows_fini(struct plan_flows *f)
{
	memory_free(f->items);
	*f = (struct plan_flows){ 0 };
}

// False: nobody says. A DIP that is attached nowhere has none.
static bool find_flows(const struct plan_sides *s, const struct ip_addr *dip, uint64_t *ret_n)
{
	struct plan_flow key = { .dip = *dip };
	const struct plan_flow *found =
		s->flows.n == 0 ? NULL : bsearch(&key, s->flows.items, s->flows.n, sizeof key, compare_flows);
	*ret_n = found != NULL ? found->n : 0;
	return found != NULL || store_lookup_dip(s->before, dip) == NULL;
}

static bool has_member(const struct plan_members *m, const struct ip_addr *dip)
{
	for (uint32_t i = 0; i < m->n; i++)
		if (ip_addr_equal(&m->items[i].dip, dip))
			return true;
	return false;
}

json_t *plan_make_connections(const struct plan_sides *sides, const struct plan_members *from,
                              const struct plan_members *to, const struct bucket_moves *moves)
{
	uint64_t leaving = 0;
	uint64_t moved = 0;
	for (uint32_t i = 0; i < from->n; i++) {
		uint64_t n;
		if (!find_flows(sides, &from->items[i].dip, &n))
			return json_null();
		if (!has_member(to, &from->items[i].dip))
			leaving += n;
		else if (moves->owned[i] > 0)
			moved += (n * moves->lost[i] + moves->owned[i] / 2) / moves->owned[i];
	}
	return json_pack("{s:I, s:I}", "leaving", (json_int_t)leaving, "moved", (json_int_t)moved);
}

// ---- warnings ----

static void warn(json_t *list, const char *format, ...) __attribute__((format(printf, 2, 3)));

static void warn(json_t *list, const char *format, ...)
{
	char text[256];
	va_list args;
	va_start(args, format);
	(void)text_vformat(text, sizeof text, format, args);
	va_end(args);
	json_array_append_new(list, json_string(text));
}

static void warn_of_dips(const struct plan_sides *s, const struct endpoint *old, const struct endpoint *e, json_t *list)
{
	char text[IP_ADDR_TEXT_BYTES];
	uint32_t n_staying = 0;
	for (uint32_t i = 0; i < e->n_dips; i++) {
		bool was_there = old != NULL && endpoint_lookup_dip(old, &e->dips[i].dip) != NULL;
		n_staying += was_there;
		if (!was_there && store_lookup_dip(s->after, &e->dips[i].dip) == NULL)
			warn(list, "endpoint %s: DIP %s is attached on no host: new connections that it gets go nowhere", e->name,
			     ip_addr_format(&e->dips[i].dip, text));
	}
	if (old != NULL && n_staying == 0)
		warn(list, "endpoint %s: none of its DIPs stays", e->name);
	struct endpoint_verdict v = generations_verdict(s->after, s->new, e);
	if (v.state != ENDPOINT_SERVED)
		warn(list,
		     "endpoint %s: none of its %u DIPs is fit for new connections (%u unhealthy, %u on hosts that are gone, %u "
		     "drained)",
		     e->name, v.n_dips, v.n_unhealthy, v.n_gone, v.n_drained);
}

static void warn_of_endpoints(const struct plan_sides *s, json_t *list)
{
	for (uint32_t i = 0; s->old != NULL && i < s->old->n_endpoints; i++) {
		const struct endpoint *e = &s->old->endpoints[i];
		if (s->new == NULL || vip_config_lookup_endpoint(s->new, e->protocol, e->port) == NULL)
			warn(list, "endpoint %s: goes, and its last DIP with it: connections of it break", e->name);
	}
	for (uint32_t i = 0; s->new != NULL &&i < s->new->n_endpoints; i++) {
		const struct endpoint *e = &s->new->endpoints[i];
		const struct endpoint *old = s->old == NULL ? NULL : vip_config_lookup_endpoint(s->old, e->protocol, e->port);
		warn_of_dips(s, old, e, list);
	}
}

static uint32_t count_gone(const struct vip_config *old, const struct vip_config *new)
{
	uint32_t n = 0;
	for (uint32_t i = 0; old != NULL && i < old->n_snat_dips; i++) {
		bool stays = false;
		for (uint32_t k = 0; new != NULL && !stays &&k < new->n_snat_dips; k++)
			stays = ip_addr_equal(&old->snat_dips[i], &new->snat_dips[k]);
		n += !stays;
	}
	return n;
}

static void warn_of_snat(const struct plan_sides *s, json_t *list)
{
	const struct vip_config *v = s->new;
	uint32_t n_gone = count_gone(s->old, v);
	if (n_gone > 0)
		warn(list, "snat: %u DIPs go: their leases end, and connections of them break", n_gone);
	if (v == NULL || v->n_snat_dips == 0)
		return;
	uint64_t n_wanted = (uint64_t)v->n_snat_dips * v->snat.prealloc_ports;
	uint32_t n_ports = 65536u - v->snat.first_port;
	if (n_wanted > n_ports)
		warn(list, "snat: the pool of %u ports is too small for prealloc_ports %u of %u DIPs; each gets %u", n_ports,
		     v->snat.prealloc_ports, v->n_snat_dips,
		     n_ports / v->n_snat_dips / v->snat.range_size * v->snat.range_size);
}

json_t *plan_make_warnings(const struct plan_sides *sides, const json_t *endpoints)
{
	json_t *list = json_array();
	warn_of_endpoints(sides, list);
	warn_of_snat(sides, list);
	if (sides->old != NULL && sides->new != NULL && sides->new->drain_s < sides->old->drain_s)
		warn(list, "drain_s: connections of DIPs that were removed or drained are found for %u s only, not for %u s",
		     sides->new->drain_s, sides->old->drain_s);
	return list;
}
