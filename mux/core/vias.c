#include "mux/core/vias.h"

#include "common/base/hash.h"
#include "common/base/memory.h"
#include "mux/core/family.h"

static uint32_t via_at(const struct vias *v, be32 dip)
{
	return (uint32_t)hash_mix64(dip) & v->mask;
}

be32 vias_find(const struct vias *v, be32 dip)
{
	for (uint32_t i = via_at(v, dip); v->items[i].dip != 0; i = (i + 1) & v->mask)
		if (v->items[i].dip == dip)
			return v->items[i].via;
	return dip;
}

static uint32_t count(const struct store *store)
{
	uint32_t n = 0;
	for (uint32_t i = 0; i < store->dips.n; i++)
		n += !ip_addr_is_unspecified(&store_dip(store, i)->via);
	return n;
}

static void insert(struct vias *v, be32 dip, be32 via)
{
	uint32_t i = via_at(v, dip);
	if (dip == 0 || via == 0) // no name was left for it: its packets go to itself
		return;
	while (v->items[i].dip != 0)
		i = (i + 1) & v->mask;
	v->items[i] = (struct via){ dip, via };
	v->n++;
}

int vias_create(const struct store *store, struct addr_names *names, struct vias *ret_vias)
{
	uint32_t n = count(store);
	uint32_t n_slots = 4;
	*ret_vias = (struct vias){ 0 };
	if (n == 0)
		return 0;
	while (n_slots < n * 2)
		n_slots *= 2;
	ret_vias->items = memory_array(n_slots, sizeof *ret_vias->items);
	if (ret_vias->items == NULL)
		return ERR_NO_MEMORY;
	ret_vias->mask = n_slots - 1;
	for (uint32_t i = 0; i < store->dips.n; i++) {
		const struct dip_info *dip = store_dip(store, i);
		if (!ip_addr_is_unspecified(&dip->via))
			insert(ret_vias, family_give_name(names, &dip->dip), family_give_name(names, &dip->via));
	}
	return 0;
}

void vias_fini(struct vias *v)
{
	memory_free(v->items);
	*v = (struct vias){ 0 };
}
