#include "mux/core/tables.h"

#include <stdlib.h>
#include <string.h>

#include "common/base/memory.h"
#include "common/model/maglev.h"

// The bucket table of one set of (DIP, weight).
struct endpoint_table {
	uint32_t n_refs;
	uint32_t n_dips;
	uint32_t n_buckets;
	struct maglev_member *members; // what it was made from
	struct encap_template *templates;
	uint16_t *owners;
	struct ip_addr vip; // whose it was first: where to look for it again
	uint16_t port;
	uint8_t protocol;
};

static void endpoint_table_unref(struct endpoint_table *e)
{
	if (e == NULL || --e->n_refs > 0)
		return;
	memory_free(e->members);
	memory_free(e->templates);
	memory_free(e->owners);
	memory_free(e);
}

static bool is_same_set(const struct endpoint_table *e, const struct endpoint *config)
{
	if (e->n_dips != config->n_dips)
		return false;
	for (uint32_t i = 0; i < e->n_dips; i++)
		if (!ip_addr_equal(&e->members[i].dip, &config->dips[i].dip) || e->members[i].weight != config->dips[i].weight)
			return false;
	return true;
}

static int fill_endpoint_table(struct endpoint_table *e, const struct endpoint *config, be32 own_addr)
{
	e->n_dips = config->n_dips;
	e->n_buckets = maglev_table_size(config->n_dips);
	e->members = memory_array(e->n_dips, sizeof *e->members);
	e->templates = memory_array(e->n_dips, sizeof *e->templates);
	e->owners = memory_array(e->n_buckets, sizeof *e->owners);
	if (e->members == NULL || e->templates == NULL || e->owners == NULL)
		return ERR_NO_MEMORY;
	for (uint32_t i = 0; i < e->n_dips; i++) {
		e->members[i] = (struct maglev_member){ .dip = config->dips[i].dip, .weight = config->dips[i].weight };
		encap_template_init(&e->templates[i], own_addr, ip_addr_to_v4(&config->dips[i].dip));
	}
	return maglev_build(e->members, e->n_dips, e->owners, e->n_buckets);
}

static struct endpoint_table *endpoint_table_create(const struct ip_addr *vip, const struct endpoint *config,
                                                    be32 own_addr)
{
	struct endpoint_table *e = memory_array(1, sizeof *e);
	if (e == NULL)
		return NULL;
	e->n_refs = 1;
	e->vip = *vip;
	e->port = config->port;
	e->protocol = config->protocol;
	if (fill_endpoint_table(e, config, own_addr) != 0) {
		endpoint_table_unref(e);
		return NULL;
	}
	return e;
}

// The order of the store: by VIP, then by protocol and port.
static int compare_to_endpoint(const struct endpoint_table *e, const struct ip_addr *vip, const struct endpoint *config)
{
	int order = ip_addr_compare(&e->vip, vip);
	if (order != 0)
		return order;
	if (e->protocol != config->protocol)
		return e->protocol < config->protocol ? -1 : 1;
	return e->port < config->port ? -1 : e->port > config->port;
}

// Both go through the same order, so that a cursor finds what was there before.
static struct endpoint_table *find_before(const struct mux_tables *before, uint32_t *cursor, const struct ip_addr *vip,
                                          const struct endpoint *config)
{
	while (before != NULL && *cursor < before->n_endpoints) {
		int order = compare_to_endpoint(before->endpoints[*cursor], vip, config);
		if (order == 0)
			return before->endpoints[*cursor];
		if (order > 0)
			return NULL;
		(*cursor)++;
	}
	return NULL;
}

static void insert_entry(struct mux_tables *t, const struct vip_entry *entry)
{
	uint64_t line = vip_line_at(entry->key, t->line_shift);
	for (;; line = (line + 1) & t->line_mask) {
		for (uint32_t i = 0; i < VIP_LINE_ENTRIES; i++) {
			if (t->lines[line].entries[i].key != 0)
				continue;
			t->lines[line].entries[i] = *entry;
			return;
		}
	}
}

static struct endpoint_table *share_or_create(struct mux_tables *t, struct endpoint_table *old,
                                              const struct ip_addr *vip, const struct endpoint *config, be32 own_addr)
{
	if (old != NULL && is_same_set(old, config)) {
		old->n_refs++;
		return old;
	}
	t->n_rebuilt++;
	return endpoint_table_create(vip, config, own_addr);
}

static int add_vip(struct mux_tables *t, const struct mux_tables_sources *from, uint32_t store_idx, uint32_t *cursor)
{
	const struct vip_config *vip = store_vip(from->store, store_idx);
	be32 addr = ip_addr_to_v4(&vip->vip);
	struct vip_entry entry = { .key = vip_own_key(addr),
		                       .snat = snat_maps_lookup(from->snat, &vip->vip),
		                       .slot = vip_slots_of(from->slots, store_idx) };
	insert_entry(t, &entry);
	for (uint32_t i = 0; i < vip->n_endpoints; i++) {
		const struct endpoint *config = &vip->endpoints[i];
		struct endpoint_table *old = find_before(from->before, cursor, &vip->vip, config);
		struct endpoint_table *e = share_or_create(t, old, &vip->vip, config, from->own_addr);
		if (e == NULL)
			return ERR_NO_MEMORY;
		t->endpoints[t->n_endpoints++] = e;
		entry.key = vip_key(addr, be16_from(config->port), config->protocol);
		t->endpoint_ports[endpoint_port_bin(be16_from(config->port))] = 1;
		entry.owners = e->owners;
		entry.templates = e->templates;
		entry.n_buckets = e->n_buckets;
		insert_entry(t, &entry);
	}
	return 0;
}

// At least two lines for an entry: then all but 3 keys of 100 are in their first line, or more.
static uint32_t n_lines_for(uint32_t n_entries)
{
	uint32_t n = 16;
	while (n < n_entries * 2)
		n *= 2;
	return n;
}

static int allocate(struct mux_tables *t, uint32_t n_vips, uint32_t n_endpoints)
{
	uint32_t n_lines = n_lines_for(n_vips + n_endpoints); // a power of two
	size_t bytes = n_lines * sizeof *t->lines;
	t->endpoints = memory_array(n_endpoints, sizeof *t->endpoints);
	t->lines = memory_aligned(64, bytes);
	if (t->endpoints == NULL || t->lines == NULL)
		return ERR_NO_MEMORY;
	t->line_mask = n_lines - 1;
	t->line_shift = 64 - (uint32_t)__builtin_ctz(n_lines);
	return 0;
}

static int fill_tables(struct mux_tables *t, const struct mux_tables_sources *from)
{
	const struct store *store = from->store;
	uint32_t n_endpoints = 0;
	uint32_t cursor = 0;
	for (uint32_t i = 0; i < store->vips.n; i++)
		n_endpoints += store_vip(store, i)->n_endpoints;
	int code = allocate(t, store->vips.n, n_endpoints);
	for (uint32_t i = 0; code == 0 && i < store->vips.n; i++)
		code = add_vip(t, from, i, &cursor);
	return code;
}

int mux_tables_create(const struct mux_tables_sources *from, struct mux_tables **ret_tables)
{
	if (!from->store->has_cluster)
		return ERR_INVALID;
	struct mux_tables *t = memory_array(1, sizeof *t);
	if (t == NULL)
		return ERR_NO_MEMORY;
	t->hash_seed = from->store->cluster.hash_seed;
	encap_template_init(&t->to_dip, from->own_addr, 0);
	int code = fill_tables(t, from);
	if (code != 0) {
		mux_tables_destroy(t);
		return code;
	}
	*ret_tables = t;
	return 0;
}

void mux_tables_destroy(struct mux_tables *t)
{
	if (t == NULL)
		return;
	for (uint32_t i = 0; i < t->n_endpoints; i++)
		endpoint_table_unref(t->endpoints[i]);
	memory_free(t->endpoints);
	memory_free(t->lines);
	memory_free(t);
}
