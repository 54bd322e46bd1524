#include "common/wire/pb_history.h"

#include <stdlib.h>
#include <string.h>

#include "common/base/memory.h"
#include "common/model/limits.h"

// ---- to pb ----

struct addresses {
	uint32_t n;
	struct ip_addr *items; // sorted, distinct
};

// The DIPs of all generations, and those that are gone, which are of them.
static bool collect_addresses(struct arena *a, const struct vip_history *h, struct addresses *all)
{
	size_t n = h->n_gone;
	for (uint32_t i = 0; i < h->n_endpoints; i++)
		for (uint32_t g = 0; g < h->endpoints[i].n_generations; g++)
			n += h->endpoints[i].generations[g].n_members;
	all->n = 0;
	all->items = arena_array(a, n, sizeof *all->items);
	if (all->items == NULL)
		return false;
	n = 0;
	for (uint32_t i = 0; i < h->n_endpoints; i++)
		for (uint32_t g = 0; g < h->endpoints[i].n_generations; g++)
			for (uint32_t k = 0; k < h->endpoints[i].generations[g].n_members; k++)
				all->items[n++] = h->endpoints[i].generations[g].members[k].dip;
	for (uint32_t i = 0; i < h->n_gone; i++)
		all->items[n++] = h->gone[i];
	if (n > 0)
		qsort(all->items, n, sizeof *all->items, ip_addr_compare_items);
	for (size_t i = 0; i < n; i++)
		if (all->n == 0 || !ip_addr_equal(&all->items[all->n - 1], &all->items[i]))
			all->items[all->n++] = all->items[i];
	return true;
}

static uint32_t index_of(const struct addresses *all, const struct ip_addr *dip)
{
	const struct ip_addr *found = bsearch(dip, all->items, all->n, sizeof *all->items, ip_addr_compare_items);
	return (uint32_t)(found - all->items);
}

static bool fill_generation(struct arena *a, const struct addresses *all, const struct generation *g,
                            Ananta__Generation *pb)
{
	ananta__generation__init(pb);
	pb->since_ms = g->since_ms;
	pb->n_dip = pb->n_weight = g->n_members;
	pb->dip = arena_array(a, g->n_members, sizeof *pb->dip);
	pb->weight = arena_array(a, g->n_members, sizeof *pb->weight);
	if (pb->dip == NULL || pb->weight == NULL)
		return false;
	for (uint32_t i = 0; i < g->n_members; i++) {
		pb->dip[i] = index_of(all, &g->members[i].dip);
		pb->weight[i] = g->members[i].weight;
	}
	return true;
}

static bool fill_endpoint(struct arena *a, const struct addresses *all, const struct endpoint_history *e,
                          Ananta__EndpointHistory *pb)
{
	ananta__endpoint_history__init(pb);
	pb->protocol = e->protocol;
	pb->port = e->port;
	pb->is_refusing = e->is_refusing;
	pb->n_generations = e->n_generations;
	pb->generations = arena_array(a, e->n_generations, sizeof *pb->generations);
	Ananta__Generation *items = arena_array(a, e->n_generations, sizeof *items);
	if (pb->generations == NULL || items == NULL)
		return false;
	for (uint32_t g = 0; g < e->n_generations; g++) {
		if (!fill_generation(a, all, &e->generations[g], &items[g]))
			return false;
		pb->generations[g] = &items[g];
	}
	return true;
}

static bool fill_addresses(struct arena *a, const struct addresses *all, Ananta__VipHistory *pb)
{
	pb->addresses = arena_array(a, all->n, sizeof *pb->addresses);
	if (pb->addresses == NULL)
		return false;
	pb->n_addresses = all->n;
	for (uint32_t i = 0; i < all->n; i++)
		pb->addresses[i] = pb_from_addr(&all->items[i]);
	return true;
}

static bool fill_gone(struct arena *a, const struct addresses *all, const struct vip_history *h, Ananta__VipHistory *pb)
{
	if (h->n_gone == 0)
		return true;
	pb->gone.len = (all->n + 7) / 8;
	pb->gone.data = arena_array(a, pb->gone.len, 1);
	if (pb->gone.data == NULL)
		return false;
	memset(pb->gone.data, 0, pb->gone.len);
	for (uint32_t i = 0; i < h->n_gone; i++) {
		uint32_t bit = index_of(all, &h->gone[i]);
		pb->gone.data[bit / 8] |= (uint8_t)(1 << bit % 8);
	}
	return true;
}

Ananta__VipHistory *pb_from_history(struct arena *a, const struct vip_history *h)
{
	struct addresses all;
	Ananta__VipHistory *pb = arena_array(a, 1, sizeof *pb);
	if (pb == NULL || !collect_addresses(a, h, &all))
		return NULL;
	ananta__vip_history__init(pb);
	pb->vip = pb_from_addr(&h->vip);
	pb->n_endpoints = h->n_endpoints;
	pb->endpoints = arena_array(a, h->n_endpoints, sizeof *pb->endpoints);
	Ananta__EndpointHistory *endpoints = arena_array(a, h->n_endpoints, sizeof *endpoints);
	if (pb->endpoints == NULL || endpoints == NULL || !fill_addresses(a, &all, pb) || !fill_gone(a, &all, h, pb))
		return NULL;
	for (uint32_t i = 0; i < h->n_endpoints; i++) {
		if (!fill_endpoint(a, &all, &h->endpoints[i], &endpoints[i]))
			return NULL;
		pb->endpoints[i] = &endpoints[i];
	}
	return pb;
}

// ---- from pb ----

struct reading {
	const Ananta__VipHistory *pb;
	uint32_t n_members; // read so far
	struct error *err;
};

static int no_memory(struct error *err)
{
	return error_set(err, ERR_NO_MEMORY, "out of memory");
}

static int read_member(struct reading *r, const Ananta__Generation *pb, uint32_t i, struct generation *g)
{
	struct maglev_member *m = &g->members[i];
	if (pb->dip[i] >= r->pb->n_addresses || pb->weight[i] == 0 || pb->weight[i] > LIMIT_WEIGHT)
		return error_set(r->err, ERR_MALFORMED, "a generation with a DIP or weight that cannot be");
	m->weight = (uint16_t)pb->weight[i];
	int code = pb_to_addr(&r->pb->addresses[pb->dip[i]], &m->dip, r->err);
	if (code == 0 && i > 0 && ip_addr_compare(&g->members[i - 1].dip, &m->dip) >= 0)
		code = error_set(r->err, ERR_MALFORMED, "a generation whose DIPs are not in order");
	return code;
}

static int read_generation(struct reading *r, const Ananta__Generation *pb, struct generation *g)
{
	r->n_members += (uint32_t)pb->n_dip;
	if (pb->n_dip == 0 || pb->n_dip != pb->n_weight || pb->n_dip > LIMIT_DIPS_PER_ENDPOINT ||
	    r->n_members > HISTORY_MEMBERS_MAX)
		return error_set(r->err, ERR_MALFORMED, "a generation of %zu DIPs", pb->n_dip);
	g->since_ms = pb->since_ms;
	g->members = memory_array(pb->n_dip, sizeof *g->members);
	if (g->members == NULL)
		return no_memory(r->err);
	g->n_members = (uint32_t)pb->n_dip;
	int code = 0;
	for (uint32_t i = 0; code == 0 && i < g->n_members; i++)
		code = read_member(r, pb, i, g);
	return code;
}

static int read_endpoint(struct reading *r, const Ananta__EndpointHistory *pb, struct endpoint_history *e)
{
	if (pb->protocol > UINT8_MAX || pb->port > UINT16_MAX || pb->n_generations == 0 ||
	    pb->n_generations > GENERATIONS_MAX)
		return error_set(r->err, ERR_MALFORMED, "a history of %zu generations", pb->n_generations);
	e->protocol = (uint8_t)pb->protocol;
	e->port = (uint16_t)pb->port;
	e->is_refusing = pb->is_refusing;
	e->generations = memory_array(pb->n_generations, sizeof *e->generations);
	if (e->generations == NULL)
		return no_memory(r->err);
	e->n_generations = (uint32_t)pb->n_generations;
	int code = 0;
	for (uint32_t g = 0; code == 0 && g < e->n_generations; g++)
		code = read_generation(r, pb->generations[g], &e->generations[g]);
	return code;
}

static bool is_gone(const Ananta__VipHistory *pb, size_t address)
{
	return address / 8 < pb->gone.len && (pb->gone.data[address / 8] >> address % 8 & 1) != 0;
}

static int read_gone(struct reading *r, struct vip_history *h)
{
	uint32_t n = 0;
	for (size_t i = 0; i < r->pb->gone.len * 8; i++)
		n += is_gone(r->pb, i);
	h->gone = memory_array(n, sizeof *h->gone);
	if (h->gone == NULL)
		return no_memory(r->err);
	int code = 0;
	for (size_t i = 0; code == 0 && i < r->pb->n_addresses; i++) {
		if (!is_gone(r->pb, i))
			continue;
		code = pb_to_addr(&r->pb->addresses[i], &h->gone[h->n_gone], r->err);
		if (code == 0 && h->n_gone > 0 && ip_addr_compare(&h->gone[h->n_gone - 1], &h->gone[h->n_gone]) >= 0)
			code = error_set(r->err, ERR_MALFORMED, "DIPs that are gone are not in order");
		h->n_gone++;
	}
	if (code == 0 && h->n_gone != n)
		code = error_set(r->err, ERR_MALFORMED, "more DIPs that are gone than there are");
	return code;
}

static int read_history(struct reading *r, struct vip_history *h)
{
	int code = pb_to_addr(&r->pb->vip, &h->vip, r->err);
	if (code == 0 && r->pb->n_endpoints > LIMIT_ENDPOINTS_PER_VIP)
		code = error_set(r->err, ERR_MALFORMED, "a history of %zu endpoints", r->pb->n_endpoints);
	if (code != 0)
		return code;
	h->endpoints = memory_array(r->pb->n_endpoints, sizeof *h->endpoints);
	if (h->endpoints == NULL)
		return no_memory(r->err);
	h->n_endpoints = (uint32_t)r->pb->n_endpoints;
	for (uint32_t i = 0; code == 0 && i < h->n_endpoints; i++)
		code = read_endpoint(r, r->pb->endpoints[i], &h->endpoints[i]);
	return code != 0 ? code : read_gone(r, h);
}

int pb_to_history(const Ananta__VipHistory *pb, struct vip_history **ret_history, struct error *err)
{
	struct reading r = { .pb = pb, .err = err };
	struct vip_history *h = memory_array(1, sizeof *h);
	if (h == NULL)
		return no_memory(err);
	int code = read_history(&r, h);
	if (code != 0) {
		vip_history_destroy(h);
		return code;
	}
	*ret_history = h;
	return 0;
}
