#include "mux/core/endpoint_table.h"

#include <stdlib.h>

#include "common/base/memory.h"
#include "mux/core/family.h"

struct table_member {
	struct ip_addr dip;
	uint16_t weight;
	bool is_last; // of its generation
	bool is_gone;
	be32 way; // where packets for it are sent
};

void endpoint_table_unref(struct endpoint_table *e)
{
	if (e == NULL || --e->n_refs > 0)
		return;
	memory_free(e->members);
	memory_free(e->templates);
	memory_free(e->owners);
	memory_free(e);
}

// ---- what it was made from ----

static uint32_t count_generations(const struct endpoint_source *from)
{
	return from->history == NULL ? 1 : from->history->n_generations;
}

static uint32_t count_members(const struct endpoint_source *from, uint32_t generation)
{
	return from->history == NULL ? from->config->n_dips : from->history->generations[generation].n_members;
}

static bool is_gone(const struct vip_history *h, const struct ip_addr *dip)
{
	return h->n_gone > 0 && bsearch(dip, h->gone, h->n_gone, sizeof *h->gone, ip_addr_compare_items) != NULL;
}

static be32 way_of(const struct endpoint_source *from, const struct ip_addr *dip)
{
	return from->vias->n == 0 ? 0 : vias_find(from->vias, family_give_name(from->names, dip));
}

static struct table_member member_of(const struct endpoint_source *from, uint32_t generation, uint32_t i)
{
	bool is_last = i == count_members(from, generation) - 1;
	if (from->history == NULL)
		return (struct table_member){ from->config->dips[i].dip, from->config->dips[i].weight, is_last, false,
			                          way_of(from, &from->config->dips[i].dip) };
	const struct maglev_member *m = &from->history->generations[generation].members[i];
	return (struct table_member){ m->dip, m->weight, is_last, is_gone(from->vip_history, &m->dip),
		                          way_of(from, &m->dip) };
}

static bool is_same_member(const struct table_member *a, const struct table_member *b)
{
	return ip_addr_equal(&a->dip, &b->dip) && a->weight == b->weight && a->is_last == b->is_last &&
	       a->is_gone == b->is_gone && a->way == b->way;
}

static uint32_t count_all_members(const struct endpoint_source *from)
{
	uint32_t n = 0;
	for (uint32_t g = 0; g < count_generations(from); g++)
		n += count_members(from, g);
	return n;
}

bool endpoint_table_is_same(const struct endpoint_table *e, const struct endpoint_source *from)
{
	uint32_t n = 0;
	if (e->n_members != count_all_members(from))
		return false;
	for (uint32_t g = 0; g < count_generations(from); g++)
		for (uint32_t i = 0; i < count_members(from, g); i++) {
			struct table_member member = member_of(from, g, i);
			if (!is_same_member(&e->members[n++], &member))
				return false;
		}
	return true;
}

static int remember_members(struct endpoint_table *e, const struct endpoint_source *from)
{
	uint32_t n = 0;
	e->n_members = count_all_members(from);
	e->members = memory_array(e->n_members, sizeof *e->members);
	if (e->members == NULL)
		return ERR_NO_MEMORY;
	for (uint32_t g = 0; g < count_generations(from); g++)
		for (uint32_t i = 0; i < count_members(from, g); i++)
			e->members[n++] = member_of(from, g, i);
	return 0;
}

// ---- making ----

static struct dip_templates *templates_create(uint32_t n)
{
	return memory_array(1, sizeof(struct dip_templates) + n * sizeof(struct encap_template));
}

static void add_template(struct endpoint_table *e, const struct endpoint_source *from, const struct ip_addr *dip)
{
	be32 addr = family_give_name(from->names, dip);
	struct encap_template template = encap_template_of(from->own_addr, from->vias, addr);
	e->is_apart = e->is_apart || template.src == 0;
	e->templates->items[e->templates->n++] = template;
}

static int fill_from_config(struct endpoint_table *e, const struct endpoint_source *from)
{
	const struct endpoint *config = from->config;
	struct maglev_member *members = memory_array(config->n_dips, sizeof *members);
	e->n_buckets = maglev_table_size(config->n_dips);
	e->templates = templates_create(config->n_dips);
	e->owners = memory_array(e->n_buckets, sizeof *e->owners);
	int code = members == NULL || e->templates == NULL || e->owners == NULL ? ERR_NO_MEMORY : 0;
	for (uint32_t i = 0; code == 0 && i < config->n_dips; i++) {
		members[i] = (struct maglev_member){ .dip = config->dips[i].dip, .weight = config->dips[i].weight };
		add_template(e, from, &config->dips[i].dip);
	}
	if (code == 0)
		code = maglev_build(members, config->n_dips, e->owners, e->n_buckets);
	memory_free(members);
	return code;
}

// Templates for all but those that are gone, and where in them each DIP of the history is. One that is gone and yet a present owner
// gets no new owner by that: packets go where the configuration says.
static void choose_dips(struct endpoint_table *e, const struct endpoint_source *from, const struct owner_history *o,
                        uint16_t *index_of)
{
	const struct generation *present = endpoint_history_present(from->history);
	uint32_t k = 0;
	for (uint32_t i = 0; i < o->n_dips; i++) { // both are sorted
		while (k < present->n_members && ip_addr_compare(&present->members[k].dip, &o->dips[i]) < 0)
			k++;
		bool is_present = k < present->n_members && ip_addr_equal(&present->members[k].dip, &o->dips[i]);
		index_of[i] = (uint16_t)e->templates->n;
		if (is_present || !is_gone(from->vip_history, &o->dips[i]))
			add_template(e, from, &o->dips[i]);
	}
}

static void fill_owners(struct endpoint_table *e, const struct owner_history *o, const uint16_t *index_of)
{
	for (uint32_t b = 0; b < e->n_buckets; b++) {
		bool had_others = o->owners[b][1] != OWNER_NONE;
		e->owners[b] = (uint16_t)(index_of[o->owners[b][0]] | (had_others ? BUCKET_HAD_OTHERS : 0));
		e->n_flagged += had_others;
	}
}

static int fill_from_history(struct endpoint_table *e, const struct endpoint_source *from)
{
	struct owner_history o;
	int code = owner_history_build(from->vip_history, from->history, &o);
	if (code != 0)
		return code;
	uint16_t *index_of = memory_array(o.n_dips, sizeof *index_of);
	e->n_buckets = o.n_buckets;
	e->templates = templates_create(o.n_dips);
	e->owners = memory_array(e->n_buckets, sizeof *e->owners);
	if (index_of == NULL || e->templates == NULL || e->owners == NULL) {
		code = ERR_NO_MEMORY;
	} else {
		choose_dips(e, from, &o, index_of);
		fill_owners(e, &o, index_of);
	}
	memory_free(index_of);
	owner_history_fini(&o);
	return code;
}

struct endpoint_table *endpoint_table_create(const struct endpoint_source *from)
{
	struct endpoint_table *e = memory_array(1, sizeof *e);
	if (e == NULL)
		return NULL;
	e->n_refs = 1;
	e->vip = *from->vip;
	e->port = from->config->port;
	e->protocol = from->config->protocol;
	int code = remember_members(e, from);
	if (code == 0)
		code = from->history != NULL ? fill_from_history(e, from) : fill_from_config(e, from);
	if (code == 0)
		return e;
	endpoint_table_unref(e);
	return NULL;
}
