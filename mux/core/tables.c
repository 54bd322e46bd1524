#include "mux/core/tables.h"

#include <string.h>

#include "common/base/memory.h"
#include "mux/core/family.h"

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
                                              const struct endpoint_source *from)
{
	if (old != NULL && endpoint_table_is_same(old, from)) {
		old->n_refs++;
		return old;
	}
	t->n_rebuilt++;
	return endpoint_table_create(from);
}

static struct endpoint_table *add_endpoint(struct mux_tables *t, const struct mux_tables_sources *from,
                                           const struct vip_config *vip, uint32_t i, uint32_t *cursor)
{
	const struct endpoint *config = &vip->endpoints[i];
	struct endpoint_source source = {
		.vip = &vip->vip, .config = config, .own_addr = from->own_addr, .names = from->names, .vias = &t->vias
	};
	source.vip_history = store_lookup_history(from->store, &vip->vip);
	source.history = vip_history_lookup(source.vip_history, config->protocol, config->port);
	struct endpoint_table *old = find_before(from->before, cursor, &vip->vip, config);
	struct endpoint_table *e = share_or_create(t, old, &source);
	if (e == NULL)
		return NULL;
	t->endpoints[t->n_endpoints++] = e;
	t->n_with_history += e->n_flagged > 0;
	t->n_flagged += e->n_flagged;
	t->n_apart += e->is_apart && ip_addr_is_v4(&vip->vip);
	return e;
}

// Under which key it is found. The port of one that refuses is on no list: its packets need not try the main road.
static void set_endpoint_key(struct mux_tables *t, const struct mux_tables_sources *from, struct vip_entry *entry,
                             const struct endpoint *config, const struct ip_addr *vip)
{
	be16 port = be16_from(config->port);
	const struct endpoint_history *h =
		vip_history_lookup(store_lookup_history(from->store, vip), config->protocol, config->port);
	entry->key = vip_key(family_give_name(from->names, vip), port, config->protocol);
	if (h != NULL && h->is_refusing) {
		entry->key = vip_refusing_key(entry->key);
		t->n_refusing++;
	} else if (config->protocol != IP_PROTO_ANY) {
		t->endpoint_ports[endpoint_port_bin(port)] = 1;
	}
}

static int add_vip(struct mux_tables *t, const struct mux_tables_sources *from, uint32_t store_idx, uint32_t *cursor)
{
	const struct vip_config *vip = store_vip(from->store, store_idx);
	be32 addr = family_give_name(from->names, &vip->vip);
	if (addr == 0)
		return ERR_NO_MEMORY;
	struct vip_entry entry = { .key = vip_own_key(addr),
		                       .snat = snat_maps_lookup(from->snat, &vip->vip),
		                       .slot = vip_slots_of(from->slots, store_idx) };
	insert_entry(t, &entry);
	for (uint32_t i = 0; i < vip->n_endpoints; i++) {
		const struct endpoint *config = &vip->endpoints[i];
		struct endpoint_table *e = add_endpoint(t, from, vip, i, cursor);
		if (e == NULL)
			return ERR_NO_MEMORY;
		set_endpoint_key(t, from, &entry, config, &vip->vip);
		entry.owners = e->owners;
		entry.templates = e->templates->items;
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
	if (code == 0)
		code = vias_create(store, from->names, &t->vias);
	if (code == 0)
		code = pin_senders_create(store, from->names, from->before != NULL ? from->before->pin_senders : NULL,
		                          &t->pin_senders);
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
	t->cluster_id = from->store->cluster.cluster_id;
	memcpy(t->pin_key, from->store->cluster.pin_key, sizeof t->pin_key);
	t->names = from->names;
	encap_template_init(&t->to_dip, from->own_addr, 0);
	int code = fill_tables(t, from);
	t->overhead_max = t->vias.n > 0 || t->n_apart > 0 ? ENCAP6_BYTES : ENCAP_BYTES;
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
	pin_senders_destroy(t->pin_senders);
	vias_fini(&t->vias);
	memory_free(t->endpoints);
	memory_free(t->lines);
	memory_free(t);
}

uint32_t vip_entry_lookup_dip(const struct vip_entry *e, be32 dip)
{
	const struct dip_templates *t = vip_entry_templates(e);
	uint32_t low = 0;
	uint32_t high = t->n;
	if (addr_is_name(dip)) {
		while (low < high && t->items[low].dst != dip)
			low++;
		return low < high ? low : NOT_A_DIP;
	}
	while (low < high) {
		uint32_t middle = low + (high - low) / 2;
		if (t->items[middle].dst == dip)
			return middle;
		if (be32_to(t->items[middle].dst) < be32_to(dip)) // the order of addresses
			low = middle + 1;
		else
			high = middle;
	}
	return NOT_A_DIP;
}
