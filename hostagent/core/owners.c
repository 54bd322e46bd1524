#include "hostagent/core/owners.h"

#include <string.h>

#include "common/base/memory.h"

// ---- Which history it is made from ----

static uint64_t add_addr(uint64_t h, const struct ip_addr *addr)
{
	return hash_bytes(addr, sizeof *addr, h);
}

uint64_t owners_fingerprint(const struct vip_history *vip, const struct endpoint_history *h)
{
	uint64_t f = add_addr(h->port | (uint64_t)h->protocol << 16, &vip->vip);
	for (uint32_t g = 0; g < h->n_generations; g++) {
		const struct generation *generation = &h->generations[g];
		f = hash_mix64(f ^ generation->n_members);
		for (uint32_t i = 0; i < generation->n_members; i++)
			f = hash_mix64(add_addr(f, &generation->members[i].dip) ^ generation->members[i].weight);
	}
	for (uint32_t i = 0; i < vip->n_gone; i++)
		f = add_addr(f, &vip->gone[i]);
	return f;
}

// ---- Life ----

static bool is_all_v4(const struct ip_addr *vip, const struct owner_history *h)
{
	bool is_v4 = ip_addr_is_v4(vip);
	for (uint32_t i = 0; i < h->n_dips; i++)
		is_v4 = is_v4 && ip_addr_is_v4(&h->dips[i]);
	return is_v4;
}

static void mark_present(struct endpoint_owners *o, const struct generation *present)
{
	uint32_t at = 0;
	for (uint32_t i = 0; i < present->n_members; i++) { // both are sorted
		while (!ip_addr_equal(&o->history.dips[at], &present->members[i].dip))
			at++;
		o->is_present[at] = true;
	}
}

static int fill(struct endpoint_owners *o, const struct endpoint_history *h)
{
	o->n_dips = o->history.n_dips;
	o->dips = memory_array(o->n_dips, sizeof *o->dips);
	o->is_present = memory_array(o->n_dips, sizeof *o->is_present);
	if (o->dips == NULL || o->is_present == NULL)
		return ERR_NO_MEMORY;
	for (uint32_t i = 0; i < o->n_dips; i++)
		o->dips[i] = ip_addr_to_v4(&o->history.dips[i]);
	mark_present(o, endpoint_history_present(h));
	memory_free(o->history.dips);
	o->history.dips = NULL;
	return 0;
}

int owners_create(const struct vip_history *vip, const struct endpoint_history *h, struct endpoint_owners **ret_owners)
{
	struct endpoint_owners *o = memory_array(1, sizeof *o);
	if (o == NULL)
		return ERR_NO_MEMORY;
	o->n_refs = 1;
	o->vip_port = be16_from(h->port);
	o->protocol = h->protocol;
	o->fingerprint = owners_fingerprint(vip, h);
	int code = owner_history_build(vip, h, &o->history);
	bool is_served = code == 0 && is_all_v4(&vip->vip, &o->history);
	if (is_served) {
		o->vip = ip_addr_to_v4(&vip->vip);
		code = fill(o, h);
	}
	if (code != 0 || !is_served) {
		owners_unref(o);
		o = NULL;
	}
	if (code == 0)
		*ret_owners = o;
	return code;
}

struct endpoint_owners *owners_ref(struct endpoint_owners *o)
{
	o->n_refs++;
	return o;
}

void owners_unref(struct endpoint_owners *o)
{
	if (o == NULL || --o->n_refs > 0)
		return;
	owner_history_fini(&o->history);
	memory_free(o->dips);
	memory_free(o->is_present);
	memory_free(o);
}

// ---- Asking ----

struct bucket_owners owners_of(const struct endpoint_owners *o, uint64_t flow_hash)
{
	const uint16_t *owners = owner_history_of(&o->history, flow_hash);
	struct bucket_owners b = { 0 };
	while (b.n < OWNERS_MAX && owners[b.n] != OWNER_NONE) {
		b.dips[b.n] = o->dips[owners[b.n]];
		b.n++;
	}
	return b;
}

bool owners_is_present(const struct endpoint_owners *o, be32 dip)
{
	uint32_t low = 0;
	uint32_t high = o->n_dips;
	while (low < high) {
		uint32_t middle = low + (high - low) / 2;
		if (be32_to(o->dips[middle]) < be32_to(dip))
			low = middle + 1;
		else
			high = middle;
	}
	return low < o->n_dips && o->dips[low] == dip && o->is_present[low];
}
