#include "hostagent/core/owners.h"

#include <stdlib.h>
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

static int compare_dips(const void *a, const void *b)
{
	be32 x = ((const struct owner_dip *)a)->dip;
	be32 y = ((const struct owner_dip *)b)->dip;
	return x < y ? -1 : x > y;
}

// Where the present generation has the DIP; both lists are sorted.
static bool is_in(const struct generation *present, const struct ip_addr *dip, uint32_t *at)
{
	while (*at < present->n_members && ip_addr_compare(&present->members[*at].dip, dip) < 0)
		++*at;
	return *at < present->n_members && ip_addr_equal(&present->members[*at].dip, dip);
}

static int fill_dips(struct endpoint_owners *o, struct addr_names *names, const struct generation *present)
{
	uint32_t at = 0;
	for (uint32_t i = 0; i < o->n_dips; i++) {
		const struct ip_addr *dip = &o->history.dips[i];
		o->dips[i] = addr_names_give(names, dip->bytes);
		o->words[i] = hash_mix64(load64(dip->bytes)) ^ load64(dip->bytes + 8);
		o->by_dip[i] = (struct owner_dip){ .dip = o->dips[i], .is_present = is_in(present, dip, &at) };
		if (o->dips[i] == 0)
			return ERR_NO_MEMORY;
	}
	qsort(o->by_dip, o->n_dips, sizeof *o->by_dip, compare_dips);
	return 0;
}

static int fill(struct endpoint_owners *o, struct addr_names *names, const struct endpoint_history *h)
{
	o->n_dips = o->history.n_dips;
	o->dips = memory_array(o->n_dips, sizeof *o->dips);
	o->words = memory_array(o->n_dips, sizeof *o->words);
	o->by_dip = memory_array(o->n_dips, sizeof *o->by_dip);
	if (o->dips == NULL || o->words == NULL || o->by_dip == NULL)
		return ERR_NO_MEMORY;
	int code = fill_dips(o, names, endpoint_history_present(h));
	memory_free(o->history.dips);
	o->history.dips = NULL;
	return code;
}

int owners_create(struct addr_names *names, const struct vip_history *vip, const struct endpoint_history *h,
                  struct endpoint_owners **ret_owners)
{
	struct endpoint_owners *o = memory_array(1, sizeof *o);
	if (o == NULL)
		return ERR_NO_MEMORY;
	o->n_refs = 1;
	o->vip_port = be16_from(h->port);
	o->protocol = h->protocol;
	o->fingerprint = owners_fingerprint(vip, h);
	o->vip = addr_names_give(names, vip->vip.bytes);
	int code = o->vip == 0 ? ERR_NO_MEMORY : owner_history_build(vip, h, &o->history);
	if (code == 0)
		code = fill(o, names, h);
	if (code == 0)
		*ret_owners = o;
	else
		owners_unref(o);
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
	memory_free(o->words);
	memory_free(o->by_dip);
	memory_free(o);
}

// ---- Asking ----

struct bucket_owners owners_of(const struct endpoint_owners *o, uint64_t flow_hash)
{
	const uint16_t *owners = owner_history_of(&o->history, flow_hash);
	struct bucket_owners b;
	b.n = 0;
	while (b.n < OWNERS_MAX && owners[b.n] != OWNER_NONE) {
		b.dips[b.n] = o->dips[owners[b.n]];
		if (__builtin_expect(addr_is_ip6(o->vip), 0))
			b.words[b.n] = o->words[owners[b.n]];
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
		if (o->by_dip[middle].dip < dip)
			low = middle + 1;
		else
			high = middle;
	}
	return low < o->n_dips && o->by_dip[low].dip == dip && o->by_dip[low].is_present;
}
