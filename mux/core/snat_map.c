#include "mux/core/snat_map.h"

#include "common/base/memory.h"
#include "mux/core/family.h"

// ---- the set ----

static uint32_t count_vips(const struct store *store)
{
	uint32_t n = 0;
	for (uint32_t i = 0; i < store->vips.n; i++)
		n += store_vip(store, i)->n_snat_dips > 0;
	return n;
}

static struct snat_map *snat_map_create(const struct ip_addr *vip)
{
	struct snat_map *m = memory_aligned(64, sizeof *m);
	if (m != NULL)
		m->vip = *vip;
	return m;
}

static const struct snat_maps no_maps;

int snat_maps_create(const struct store *store, struct addr_names *names, const struct snat_maps *before,
                     struct snat_maps *ret_maps)
{
	struct snat_maps maps = { .names = names, .items = memory_array(count_vips(store), sizeof *maps.items) };
	if (maps.items == NULL)
		return ERR_NO_MEMORY;
	for (uint32_t i = 0; i < store->vips.n; i++) {
		const struct vip_config *vip = store_vip(store, i);
		if (vip->n_snat_dips == 0)
			continue;
		struct snat_map *m = snat_maps_lookup(before != NULL ? before : &no_maps, &vip->vip);
		if (m == NULL)
			m = snat_map_create(&vip->vip);
		if (m == NULL) {
			snat_maps_fini(&maps, before);
			return ERR_NO_MEMORY;
		}
		maps.items[maps.n++] = m;
	}
	*ret_maps = maps;
	return 0;
}

void snat_maps_fini(struct snat_maps *maps, const struct snat_maps *kept)
{
	for (uint32_t i = 0; i < maps->n; i++)
		if (kept == NULL || snat_maps_lookup(kept, &maps->items[i]->vip) != maps->items[i])
			memory_free(maps->items[i]);
	memory_free(maps->items);
	*maps = no_maps;
}

struct snat_map *snat_maps_lookup(const struct snat_maps *maps, const struct ip_addr *vip)
{
	uint32_t low = 0;
	uint32_t high = maps->n;
	while (low < high) {
		uint32_t middle = low + (high - low) / 2;
		int order = ip_addr_compare(&maps->items[middle]->vip, vip);
		if (order == 0)
			return maps->items[middle];
		if (order < 0)
			low = middle + 1;
		else
			high = middle;
	}
	return NULL;
}

// ---- leases ----

static void set_unit(struct snat_map *m, uint32_t unit, be32 dip)
{
	be32 before = atomic_load_explicit(&m->dips[unit], memory_order_relaxed);
	m->n_units += (dip != 0) - (before != 0);
	atomic_store_explicit(&m->dips[unit], dip, memory_order_relaxed);
}

static void apply_lease(struct snat_map *m, const struct lease *lease, be32 dip)
{
	uint32_t first = lease->first_port / SNAT_UNIT_PORTS;
	uint32_t end = first + lease->n_ports / SNAT_UNIT_PORTS;
	for (uint32_t unit = first; unit < end; unit++) {
		if (lease->ended_ms == 0)
			set_unit(m, unit, dip);
		else if (atomic_load_explicit(&m->dips[unit], memory_order_relaxed) == dip)
			set_unit(m, unit, 0);
	}
}

uint32_t snat_maps_apply(struct snat_maps *maps, const struct lease_list *leases)
{
	struct snat_map *m = NULL;
	uint32_t n_ignored = 0;
	for (uint32_t i = 0; i < leases->n; i++) {
		const struct lease *lease = &leases->items[i];
		if (m == NULL || !ip_addr_equal(&m->vip, &lease->vip)) // they come VIP by VIP, more or less
			m = snat_maps_lookup(maps, &lease->vip);
		be32 dip = family_give_name(maps->names, &lease->dip);
		if (m != NULL && lease_range_is_valid(lease->first_port, lease->n_ports) && dip != 0)
			apply_lease(m, lease, dip);
		else
			n_ignored += lease->ended_ms == 0; // that a VIP's leases end with the VIP is as it should be
	}
	return n_ignored;
}

static be32 dip_of(const struct snat_map *m, uint32_t unit)
{
	return atomic_load_explicit(&m->dips[unit], memory_order_relaxed);
}

// Of how many units the largest range is that begins at this one and is one DIP's as a whole.
static uint32_t range_units(const struct snat_map *m, uint32_t unit)
{
	uint32_t n = 1;
	while (unit % (n * 2) == 0 && n * 2 <= SNAT_RANGE_PORTS_MAX / SNAT_UNIT_PORTS) {
		for (uint32_t i = n; i < n * 2; i++)
			if (dip_of(m, unit + i) != dip_of(m, unit))
				return n;
		n *= 2;
	}
	return n;
}

static struct ip_addr addr_of(const struct addr_names *names, be32 dip)
{
	struct ip_addr addr;
	addr_names_expand(names, dip, addr.bytes);
	return addr;
}

static int get_leases_of(const struct addr_names *names, const struct snat_map *m, struct lease_list *list)
{
	for (uint32_t unit = 0, n; unit < SNAT_UNITS; unit += n) {
		be32 dip = dip_of(m, unit);
		n = dip != 0 ? range_units(m, unit) : 1;
		struct lease lease = { .vip = m->vip,
			                   .dip = addr_of(names, dip),
			                   .first_port = (uint16_t)(unit * SNAT_UNIT_PORTS),
			                   .n_ports = (uint16_t)(n * SNAT_UNIT_PORTS) };
		if (dip != 0 && lease_list_append(list, &lease) != 0)
			return ERR_NO_MEMORY;
	}
	return 0;
}

int snat_maps_get_leases(const struct snat_maps *maps, struct lease_list *list)
{
	int code = 0;
	for (uint32_t i = 0; code == 0 && i < maps->n; i++)
		code = get_leases_of(maps->names, maps->items[i], list);
	return code;
}

uint64_t snat_maps_leased_ports(const struct snat_maps *maps)
{
	uint64_t n = 0;
	for (uint32_t i = 0; i < maps->n; i++)
		n += maps->items[i]->n_units;
	return n * SNAT_UNIT_PORTS;
}
