#include "common/model/history.h"

#include <stdlib.h>
#include <string.h>

#include "common/base/memory.h"

// ---- life ----

void vip_history_destroy(struct vip_history *h)
{
	if (h == NULL)
		return;
	for (uint32_t i = 0; h->endpoints != NULL && i < h->n_endpoints; i++) {
		struct endpoint_history *e = &h->endpoints[i];
		for (uint32_t g = 0; e->generations != NULL && g < e->n_generations; g++)
			memory_free(e->generations[g].members);
		memory_free(e->generations);
	}
	memory_free(h->endpoints);
	memory_free(h->gone);
	memory_free(h);
}

static int clone_endpoint(const struct endpoint_history *from, struct endpoint_history *to)
{
	*to = *from;
	to->n_generations = 0;
	to->generations = memory_array(from->n_generations, sizeof *to->generations);
	if (to->generations == NULL)
		return ERR_NO_MEMORY;
	for (uint32_t g = 0; g < from->n_generations; g++) {
		const struct generation *old = &from->generations[g];
		struct maglev_member *members = memory_copy(old->members, old->n_members * sizeof *members);
		if (members == NULL)
			return ERR_NO_MEMORY;
		to->generations[to->n_generations++] =
			(struct generation){ .since_ms = old->since_ms, .n_members = old->n_members, .members = members };
	}
	return 0;
}

struct vip_history *vip_history_clone(const struct vip_history *h)
{
	struct vip_history *copy = memory_array(1, sizeof *copy);
	if (copy == NULL)
		return NULL;
	copy->vip = h->vip;
	copy->endpoints = memory_array(h->n_endpoints, sizeof *copy->endpoints);
	copy->gone = memory_copy(h->gone, h->n_gone * sizeof *copy->gone);
	copy->n_gone = h->n_gone;
	int code = copy->endpoints == NULL || copy->gone == NULL ? ERR_NO_MEMORY : 0;
	for (uint32_t i = 0; code == 0 && i < h->n_endpoints; i++)
		code = clone_endpoint(&h->endpoints[i], &copy->endpoints[copy->n_endpoints++]);
	if (code == 0)
		return copy;
	vip_history_destroy(copy);
	return NULL;
}

// ---- comparing and finding ----

bool generation_has_members(const struct generation *g, const struct maglev_member *members, uint32_t n_members)
{
	if (g->n_members != n_members)
		return false;
	for (uint32_t i = 0; i < n_members; i++)
		if (!ip_addr_equal(&g->members[i].dip, &members[i].dip) || g->members[i].weight != members[i].weight)
			return false;
	return true;
}

static bool endpoint_equal(const struct endpoint_history *a, const struct endpoint_history *b)
{
	if (a->port != b->port || a->protocol != b->protocol || a->n_generations != b->n_generations ||
	    a->is_refusing != b->is_refusing)
		return false;
	for (uint32_t g = 0; g < a->n_generations; g++) {
		const struct generation *x = &a->generations[g];
		const struct generation *y = &b->generations[g];
		if (x->since_ms != y->since_ms || !generation_has_members(x, y->members, y->n_members))
			return false;
	}
	return true;
}

bool vip_history_equal(const struct vip_history *a, const struct vip_history *b)
{
	if (!ip_addr_equal(&a->vip, &b->vip) || a->n_endpoints != b->n_endpoints || a->n_gone != b->n_gone)
		return false;
	for (uint32_t i = 0; i < a->n_endpoints; i++)
		if (!endpoint_equal(&a->endpoints[i], &b->endpoints[i]))
			return false;
	for (uint32_t i = 0; i < a->n_gone; i++)
		if (!ip_addr_equal(&a->gone[i], &b->gone[i]))
			return false;
	return true;
}

const struct endpoint_history *vip_history_lookup(const struct vip_history *h, uint8_t protocol, uint16_t port)
{
	for (uint32_t i = 0; h != NULL && i < h->n_endpoints; i++)
		if (h->endpoints[i].protocol == protocol && h->endpoints[i].port == port)
			return &h->endpoints[i];
	return NULL;
}

static int compare_member(const void *dip, const void *member)
{
	return ip_addr_compare(dip, &((const struct maglev_member *)member)->dip);
}

static bool generation_has_dip(const struct generation *g, const struct ip_addr *dip)
{
	return bsearch(dip, g->members, g->n_members, sizeof *g->members, compare_member) != NULL;
}

bool vip_history_has_dip(const struct vip_history *h, const struct ip_addr *dip)
{
	for (uint32_t i = 0; i < h->n_endpoints; i++)
		for (uint32_t g = 0; g < h->endpoints[i].n_generations; g++)
			if (generation_has_dip(&h->endpoints[i].generations[g], dip))
				return true;
	return false;
}

// ---- folding ----

static int collect_dips(const struct endpoint_history *h, struct owner_history *o)
{
	size_t n = 0;
	for (uint32_t g = 0; g < h->n_generations; g++)
		n += h->generations[g].n_members;
	o->dips = memory_array(n, sizeof *o->dips);
	if (o->dips == NULL)
		return ERR_NO_MEMORY;
	n = 0;
	for (uint32_t g = 0; g < h->n_generations; g++)
		for (uint32_t i = 0; i < h->generations[g].n_members; i++)
			o->dips[n++] = h->generations[g].members[i].dip;
	qsort(o->dips, n, sizeof *o->dips, ip_addr_compare_items);
	for (size_t i = 0; i < n; i++)
		if (o->n_dips == 0 || !ip_addr_equal(&o->dips[o->n_dips - 1], &o->dips[i]))
			o->dips[o->n_dips++] = o->dips[i];
	return 0;
}

static uint16_t dip_index(const struct owner_history *o, const struct ip_addr *dip)
{
	const struct ip_addr *found = bsearch(dip, o->dips, o->n_dips, sizeof *o->dips, ip_addr_compare_items);
	return (uint16_t)(found - o->dips);
}

// The owner becomes the first; the others keep their order, and the last goes when there is no room.
static void push_owner(uint16_t owners[OWNERS_MAX], uint16_t owner)
{
	uint32_t at = 0;
	while (at < OWNERS_MAX - 1 && owners[at] != owner && owners[at] != OWNER_NONE)
		at++;
	for (; at > 0; at--)
		owners[at] = owners[at - 1];
	owners[0] = owner;
}

struct fold {
	struct owner_history *o;
	bool *gone; // of dips
	uint16_t *slots; // of one generation's table
	uint16_t *index; // of a generation's member: into dips; OWNER_NONE: it is left out
};

// Which owners count: those that are gone only in the present generation, where nobody else can answer.
static void index_members(struct fold *f, const struct generation *g, bool is_present)
{
	for (uint32_t i = 0; i < g->n_members; i++) {
		uint16_t dip = dip_index(f->o, &g->members[i].dip);
		f->index[i] = f->gone[dip] && !is_present ? OWNER_NONE : dip;
	}
}

static int fold_generation(struct fold *f, const struct generation *g, bool is_present)
{
	uint32_t n_slots = maglev_table_size(g->n_members);
	uint32_t shift = (uint32_t)__builtin_ctz(f->o->n_buckets / n_slots);
	int code = maglev_build(g->members, g->n_members, f->slots, n_slots);
	if (code != 0)
		return code;
	index_members(f, g, is_present);
	for (uint32_t b = 0; b < f->o->n_buckets; b++) {
		uint16_t owner = f->index[f->slots[b >> shift]];
		if (owner != OWNER_NONE)
			push_owner(f->o->owners[b], owner);
	}
	return 0;
}

static int fold_all(const struct endpoint_history *h, struct fold *f)
{
	int code = 0;
	memset(f->o->owners, 0xff, f->o->n_buckets * sizeof *f->o->owners);
	for (uint32_t g = 0; code == 0 && g < h->n_generations; g++)
		code = fold_generation(f, &h->generations[g], g + 1 == h->n_generations);
	return code;
}

static void find_gone(const struct vip_history *vip, struct fold *f)
{
	for (uint32_t i = 0; i < f->o->n_dips; i++)
		f->gone[i] = vip->n_gone > 0 &&
		             bsearch(&f->o->dips[i], vip->gone, vip->n_gone, sizeof *vip->gone, ip_addr_compare_items) != NULL;
}

static int build_owners(const struct vip_history *vip, const struct endpoint_history *h, struct owner_history *o)
{
	uint32_t n_members = 0;
	for (uint32_t g = 0; g < h->n_generations; g++)
		if (h->generations[g].n_members > n_members)
			n_members = h->generations[g].n_members;
	o->n_buckets = maglev_table_size(n_members);
	o->owners = memory_array(o->n_buckets, sizeof *o->owners);
	struct fold f = { .o = o,
		              .gone = memory_array(o->n_dips, sizeof *f.gone),
		              .slots = memory_array(o->n_buckets, sizeof *f.slots),
		              .index = memory_array(n_members, sizeof *f.index) };
	int code = o->owners == NULL || f.gone == NULL || f.slots == NULL || f.index == NULL ? ERR_NO_MEMORY : 0;
	if (code == 0) {
		find_gone(vip, &f);
		code = fold_all(h, &f);
	}
	memory_free(f.gone);
	memory_free(f.slots);
	memory_free(f.index);
	return code;
}

int owner_history_build(const struct vip_history *vip, const struct endpoint_history *h,
                        struct owner_history *ret_history)
{
	struct owner_history o = { 0 };
	int code = collect_dips(h, &o);
	if (code == 0)
		code = build_owners(vip, h, &o);
	if (code != 0) {
		owner_history_fini(&o);
		return code;
	}
	*ret_history = o;
	return 0;
}

void owner_history_fini(struct owner_history *h)
{
	memory_free(h->dips);
	memory_free(h->owners);
	*h = (struct owner_history){ 0 };
}
