#include "manager/core/generations.h"

#include <stdlib.h>
#include <string.h>

#include "common/base/memory.h"
#include "common/model/limits.h"

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

static bool generation_has_dip(const struct generation *g, const struct ip_addr *dip)
{
	uint32_t low = 0;
	uint32_t high = g->n_members;
	while (low < high) {
		uint32_t middle = low + (high - low) / 2;
		int order = ip_addr_compare(&g->members[middle].dip, dip);
		if (order == 0)
			return true;
		if (order < 0)
			low = middle + 1;
		else
			high = middle;
	}
	return false;
}

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

// What is said against a DIP.
enum { DIP_DRAINED = 1, DIP_UNHEALTHY = 2, DIP_GONE = 4 };

struct verdict_work {
	struct endpoint_verdict verdict;
	uint8_t dips[LIMIT_DIPS_PER_ENDPOINT]; // of each DIP of the endpoint
};

static bool is_unhealthy(const struct store *store, struct object_key *key, const struct ip_addr *dip)
{
	key->addr = *dip;
	return store_lookup_mark(store, key) != NULL;
}

static void look_at_dips(const struct store *store, const struct ip_addr *vip, const struct endpoint *e,
                         struct verdict_work *w)
{
	struct object_key key = { .kind = OBJECT_UNHEALTHY };
	bool has_unhealthy = store->unhealthy.n > 0 && e->probe.type != PROBE_NONE;
	if (has_unhealthy)
		endpoint_key_format(vip, e->protocol, e->port, key.name);
	for (uint32_t i = 0; i < e->n_dips; i++) {
		const struct ip_addr *dip = &e->dips[i].dip;
		w->dips[i] = store_lookup_drain(store, dip, vip) != NULL ? DIP_DRAINED : 0;
		if (has_unhealthy && is_unhealthy(store, &key, dip))
			w->dips[i] |= DIP_UNHEALTHY;
		if (store_lookup_gone_host(store, dip) != NULL)
			w->dips[i] |= DIP_GONE;
	}
}

static void judge(const struct store *store, const struct vip_config *vip, const struct endpoint *e,
                  struct verdict_work *w)
{
	struct endpoint_verdict v = { .state = ENDPOINT_SERVED, .n_dips = (uint16_t)e->n_dips };
	uint32_t n_eligible = 0;
	uint32_t n_there = 0;
	look_at_dips(store, &vip->vip, e, w);
	for (uint32_t i = 0; i < e->n_dips; i++) {
		bool is_drained = (w->dips[i] & DIP_DRAINED) != 0;
		v.n_drained = (uint16_t)(v.n_drained + is_drained);
		v.n_unhealthy = (uint16_t)(v.n_unhealthy + (!is_drained && (w->dips[i] & DIP_UNHEALTHY) != 0));
		v.n_gone = (uint16_t)(v.n_gone + (!is_drained && (w->dips[i] & DIP_GONE) != 0));
		n_there += (w->dips[i] & (DIP_DRAINED | DIP_GONE)) == 0;
		n_eligible += w->dips[i] == 0;
	}
	bool has_any = v.n_drained < v.n_dips;
	if (has_any && n_eligible == 0) {
		v.state = n_there > 0 ? ENDPOINT_ALL_DOWN : ENDPOINT_STATIC;
		v.is_refusing = vip->refuses_when_down && v.n_unhealthy == v.n_dips - v.n_drained;
	}
	w->verdict = v;
}

struct endpoint_verdict generations_verdict(const struct store *store, const struct vip_config *vip,
                                            const struct endpoint *e)
{
	struct verdict_work w;
	judge(store, vip, e, &w);
	return w.verdict;
}

// Leaves those against whom none of this is said, and who are in the generation, unless that is NULL. If that is nobody: all.
static bool leave_members(const struct endpoint *e, const struct verdict_work *w, uint8_t against,
                          const struct generation *of, struct generation *g)
{
	uint32_t n = 0;
	for (uint32_t i = 0; i < e->n_dips; i++)
		if ((w->dips[i] & against) == 0 && (of == NULL || generation_has_dip(of, &e->dips[i].dip)))
			g->members[n++] = (struct maglev_member){ .dip = e->dips[i].dip, .weight = e->dips[i].weight };
	if (n > 0) // else nothing was overwritten
		g->n_members = n;
	return n > 0;
}

// The present generation, which has no members that are not eligible any more.
static int next_members(const struct store *store, const struct vip_config *vip, const struct endpoint *e,
                        const struct endpoint_history *h, uint64_t since_ms, struct generation *ret_generation,
                        struct endpoint_verdict *ret_verdict)
{
	static const uint8_t against[] = {
		[ENDPOINT_SERVED] = DIP_DRAINED | DIP_UNHEALTHY | DIP_GONE,
		[ENDPOINT_ALL_DOWN] = DIP_DRAINED | DIP_GONE,
		[ENDPOINT_STATIC] = DIP_DRAINED,
	};
	struct verdict_work w;
	if (all_members(e, since_ms, ret_generation) != 0)
		return ERR_NO_MEMORY;
	*ret_verdict = (struct endpoint_verdict){ .state = ENDPOINT_SERVED, .n_dips = (uint16_t)e->n_dips };
	if (store->drains.n + store->unhealthy.n + store->gone_hosts.n == 0)
		return 0;
	judge(store, vip, e, &w);
	*ret_verdict = w.verdict;
	const struct generation *present = h->n_generations > 0 ? endpoint_history_present(h) : NULL;
	bool stands = w.verdict.state == ENDPOINT_STATIC && present != NULL;
	if (!stands || !leave_members(e, &w, DIP_DRAINED, present, ret_generation))
		(void)leave_members(e, &w, against[w.verdict.state], NULL, ret_generation);
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
                         const struct generations_before *before, uint64_t now_ms, struct endpoint_history *h,
                         struct endpoint_verdict *ret_verdict)
{
	struct generation g;
	*h = (struct endpoint_history){ .port = e->port, .protocol = e->protocol };
	if (generations_had(before, h) != 0 || next_members(store, vip, e, h, now_ms, &g, ret_verdict) != 0)
		return ERR_NO_MEMORY;
	h->is_refusing = ret_verdict->is_refusing;
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
                          const struct generations_before *before, uint64_t now_ms, struct vip_history *h,
                          struct endpoint_verdict *verdicts)
{
	h->endpoints = memory_array(vip->n_endpoints, sizeof *h->endpoints);
	int code = h->endpoints == NULL ? ERR_NO_MEMORY : 0;
	for (uint32_t i = 0; code == 0 && i < vip->n_endpoints; i++)
		code = next_endpoint(store, vip, &vip->endpoints[i], before, now_ms, &h->endpoints[h->n_endpoints++],
		                     &verdicts[i]);
	return code;
}

// Endpoints whose only generation is their whole configuration are not listed, unless they refuse.
static void leave_out_plain(const struct vip_config *vip, struct vip_history *h)
{
	uint32_t n = 0;
	for (uint32_t i = 0; i < h->n_endpoints; i++) {
		struct endpoint_history *e = &h->endpoints[i];
		const struct endpoint *config = vip_config_lookup_endpoint(vip, e->protocol, e->port);
		if (e->n_generations == 1 && !e->is_refusing && is_all_of(&e->generations[0], config))
			endpoint_fini(e);
		else
			h->endpoints[n++] = *e;
	}
	h->n_endpoints = n;
}

int generations_next(const struct store *store, const struct vip_config *vip, const struct generations_before *before,
                     uint64_t now_ms, struct vip_history **ret_history, struct endpoint_verdict *ret_verdicts)
{
	struct vip_history *h = memory_array(1, sizeof *h);
	if (h == NULL)
		return ERR_NO_MEMORY;
	h->vip = vip->vip;
	int code = next_endpoints(store, vip, before, now_ms, h, ret_verdicts);
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
