#include "manager/core/generations.h"

#include <stdlib.h>
#include <string.h>

#include "common/base/memory.h"

// ---- lists of generations ----

// Takes over the members of *g.
static int append_generation(struct endpoint_history *h, struct generation *g)
{
	struct generation *items = memory_resize(h->generations, h->n_generations + 1, sizeof *items);
	if (items == NULL) {
		memory_free(g->members);
		return ERR_NO_MEMORY;
	}
	h->generations = items;
	h->generations[h->n_generations++] = *g;
	return 0;
}

static void drop_generation(struct endpoint_history *h, uint32_t i)
{
	memory_free(h->generations[i].members);
	h->n_generations--;
	memmove(h->generations + i, h->generations + i + 1, (h->n_generations - i) * sizeof *h->generations);
}

static void endpoint_fini(struct endpoint_history *h)
{
	while (h->n_generations > 0)
		drop_generation(h, h->n_generations - 1);
	memory_free(h->generations);
}

// ---- members ----

static int all_members(const struct endpoint *e, uint64_t since_ms, struct generation *ret_generation)
{
	struct maglev_member *members = memory_array(e->n_dips, sizeof *members);
	if (members == NULL)
		return ERR_NO_MEMORY;
	for (uint32_t i = 0; i < e->n_dips; i++)
		members[i] = (struct maglev_member){ .dip = e->dips[i].dip, .weight = e->dips[i].weight };
	*ret_generation = (struct generation){ .since_ms = since_ms, .n_members = e->n_dips, .members = members };
	return 0;
}

static int eligible_members(const struct store *store, const struct ip_addr *vip, const struct endpoint *e,
                            uint64_t since_ms, struct generation *ret_generation)
{
	int code = all_members(e, since_ms, ret_generation);
	if (code != 0 || store->drains.n == 0)
		return code;
	uint32_t n = 0;
	struct maglev_member *members = ret_generation->members;
	for (uint32_t i = 0; i < e->n_dips; i++)
		if (store_lookup_drain(store, &e->dips[i].dip, vip) == NULL)
			members[n++] = (struct maglev_member){ .dip = e->dips[i].dip, .weight = e->dips[i].weight };
	if (n > 0) // else nothing was overwritten
		ret_generation->n_members = n;
	return 0;
}

static bool is_all_of(const struct generation *g, const struct endpoint *e)
{
	if (g->n_members != e->n_dips)
		return false;
	for (uint32_t i = 0; i < e->n_dips; i++)
		if (!ip_addr_equal(&g->members[i].dip, &e->dips[i].dip) || g->members[i].weight != e->dips[i].weight)
			return false;
	return true;
}

// ---- one endpoint ----

static int copy_generations(const struct endpoint_history *from, struct endpoint_history *to)
{
	int code = 0;
	for (uint32_t i = 0; code == 0 && i < from->n_generations; i++) {
		struct generation g = from->generations[i];
		g.members = memory_copy(g.members, g.n_members * sizeof *g.members);
		code = g.members == NULL ? ERR_NO_MEMORY : append_generation(to, &g);
	}
	return code;
}

// The generations that it had. One that was not listed had its whole configuration, since when nobody knows.
static int generations_had(const struct generations_before *before, struct endpoint_history *h)
{
	const struct endpoint_history *listed = vip_history_lookup(before->history, h->protocol, h->port);
	const struct endpoint *old =
		before->config == NULL ? NULL : vip_config_lookup_endpoint(before->config, h->protocol, h->port);
	struct generation g;
	if (old == NULL)
		return 0;
	if (listed != NULL)
		return copy_generations(listed, h);
	return all_members(old, 0, &g) != 0 ? ERR_NO_MEMORY : append_generation(h, &g);
}

// The generation that followed takes the place in time of the older one, so that the one before it expires when it would have.
static void drop_repeated(struct endpoint_history *h)
{
	const struct generation present = *endpoint_history_present(h);
	for (uint32_t i = 0; i + 1 < h->n_generations; i++) {
		uint64_t since_ms = h->generations[i].since_ms;
		if (!generation_has_members(&h->generations[i], present.members, present.n_members))
			continue;
		drop_generation(h, i);
		h->generations[i].since_ms = since_ms;
		return;
	}
}

static int begin_generation(struct endpoint_history *h, struct generation *g)
{
	if (h->n_generations > 0 && generation_has_members(endpoint_history_present(h), g->members, g->n_members)) {
		memory_free(g->members);
		return 0;
	}
	if (append_generation(h, g) != 0)
		return ERR_NO_MEMORY;
	drop_repeated(h);
	return 0;
}

static uint64_t expire_ms(const struct endpoint_history *h, const struct vip_config *vip)
{
	return h->n_generations < 2 ? UINT64_MAX : h->generations[1].since_ms + vip->drain_s * 1000ULL;
}

static int next_endpoint(const struct store *store, const struct vip_config *vip, const struct endpoint *e,
                         const struct generations_before *before, uint64_t now_ms, struct endpoint_history *h)
{
	struct generation g;
	*h = (struct endpoint_history){ .port = e->port, .protocol = e->protocol };
	if (generations_had(before, h) != 0 || eligible_members(store, &vip->vip, e, now_ms, &g) != 0)
		return ERR_NO_MEMORY;
	if (begin_generation(h, &g) != 0)
		return ERR_NO_MEMORY;
	while (h->n_generations > GENERATIONS_MAX || expire_ms(h, vip) <= now_ms)
		drop_generation(h, 0);
	return 0;
}

// ---- a VIP ----

static uint32_t n_members_of(const struct endpoint_history *h)
{
	uint32_t n = 0;
	for (uint32_t i = 0; i < h->n_generations; i++)
		n += h->generations[i].n_members;
	return n;
}

static void limit_members(struct vip_history *h)
{
	for (;;) {
		uint32_t n_all = 0;
		uint32_t n_most = 0;
		struct endpoint_history *largest = NULL;
		for (uint32_t i = 0; i < h->n_endpoints; i++) {
			uint32_t n = n_members_of(&h->endpoints[i]);
			n_all += n;
			if (h->endpoints[i].n_generations < 2 || n <= n_most)
				continue;
			n_most = n;
			largest = &h->endpoints[i];
		}
		if (n_all <= HISTORY_MEMBERS_MAX || largest == NULL)
			return;
		drop_generation(largest, 0);
	}
}

static int find_gone(const struct store *store, struct vip_history *h)
{
	size_t n = 0;
	for (uint32_t i = 0; i < h->n_endpoints; i++)
		n += n_members_of(&h->endpoints[i]);
	h->gone = memory_array(n, sizeof *h->gone);
	if (h->gone == NULL)
		return ERR_NO_MEMORY;
	n = 0;
	for (uint32_t i = 0; i < h->n_endpoints; i++)
		for (uint32_t g = 0; g < h->endpoints[i].n_generations; g++)
			for (uint32_t k = 0; k < h->endpoints[i].generations[g].n_members; k++)
				h->gone[n++] = h->endpoints[i].generations[g].members[k].dip;
	if (n > 0)
		qsort(h->gone, n, sizeof *h->gone, ip_addr_compare_items);
	for (size_t i = 0; i < n; i++) {
		bool is_repeated = i > 0 && ip_addr_equal(&h->gone[i], &h->gone[i - 1]);
		struct ip_addr dip = h->gone[i];
		if (!is_repeated && store_lookup_dip(store, &dip) == NULL)
			h->gone[h->n_gone++] = dip;
	}
	return 0;
}

static int next_endpoints(const struct store *store, const struct vip_config *vip,
                          const struct generations_before *before, uint64_t now_ms, struct vip_history *h)
{
	h->endpoints = memory_array(vip->n_endpoints, sizeof *h->endpoints);
	int code = h->endpoints == NULL ? ERR_NO_MEMORY : 0;
	for (uint32_t i = 0; code == 0 && i < vip->n_endpoints; i++)
		code = next_endpoint(store, vip, &vip->endpoints[i], before, now_ms, &h->endpoints[h->n_endpoints++]);
	return code;
}

// Endpoints whose only generation is their whole configuration are not listed.
static void leave_out_plain(const struct vip_config *vip, struct vip_history *h)
{
	uint32_t n = 0;
	for (uint32_t i = 0; i < h->n_endpoints; i++) {
		struct endpoint_history *e = &h->endpoints[i];
		const struct endpoint *config = vip_config_lookup_endpoint(vip, e->protocol, e->port);
		if (e->n_generations == 1 && is_all_of(&e->generations[0], config))
			endpoint_fini(e);
		else
			h->endpoints[n++] = *e;
	}
	h->n_endpoints = n;
}

int generations_next(const struct store *store, const struct vip_config *vip, const struct generations_before *before,
                     uint64_t now_ms, struct vip_history **ret_history)
{
	struct vip_history *h = memory_array(1, sizeof *h);
	if (h == NULL)
		return ERR_NO_MEMORY;
	h->vip = vip->vip;
	int code = next_endpoints(store, vip, before, now_ms, h);
	if (code == 0) {
		leave_out_plain(vip, h);
		limit_members(h);
		leave_out_plain(vip, h);
		code = find_gone(store, h);
	}
	if (code != 0 || h->n_endpoints == 0) {
		vip_history_destroy(h);
		h = NULL;
	}
	if (code == 0)
		*ret_history = h;
	return code;
}

uint64_t generations_expire_ms(const struct vip_history *h, const struct vip_config *vip)
{
	uint64_t first = UINT64_MAX;
	for (uint32_t i = 0; i < h->n_endpoints; i++) {
		uint64_t ms = expire_ms(&h->endpoints[i], vip);
		if (ms < first)
			first = ms;
	}
	return first;
}

uint64_t generations_next_expire_ms(const struct store *store)
{
	uint64_t first = UINT64_MAX;
	for (uint32_t i = 0; i < store->histories.n; i++) {
		const struct vip_history *h = store_history(store, i);
		const struct vip_config *vip = store_lookup_vip(store, &h->vip);
		uint64_t ms = vip == NULL ? UINT64_MAX : generations_expire_ms(h, vip);
		if (ms < first)
			first = ms;
	}
	return first;
}
