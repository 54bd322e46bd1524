#include "manager/core/snat_dips.h"

#include <stdlib.h>
#include <string.h>

#include "common/base/hash.h"
#include "common/base/memory.h"

#define MIN_BUCKETS 64

void snat_dips_init(struct snat_dips *x)
{
	memset(x, 0, sizeof *x);
}

static void destroy_dip(struct snat_dip *d)
{
	memory_free(d->claims);
	memory_free(d);
}

void snat_dips_fini(struct snat_dips *x)
{
	for (uint32_t i = 0; i < x->n_buckets; i++) {
		struct snat_dip *next;
		for (struct snat_dip *d = x->buckets[i]; d != NULL; d = next) {
			next = d->next;
			destroy_dip(d);
		}
	}
	memory_free(x->buckets);
	memset(x, 0, sizeof *x);
}

// The link that points to the DIP, or to the NULL where it would be linked. n_buckets > 0.
static struct snat_dip **find_link(const struct snat_dips *x, const struct ip_addr *dip)
{
	struct snat_dip **link = &x->buckets[hash_bytes(dip->bytes, sizeof dip->bytes, 0) & (x->n_buckets - 1)];
	while (*link != NULL && !ip_addr_equal(&(*link)->demand.dip, dip))
		link = &(*link)->next;
	return link;
}

struct snat_dip *snat_dips_lookup(const struct snat_dips *x, const struct ip_addr *dip)
{
	return x->n_buckets == 0 ? NULL : *find_link(x, dip);
}

static int grow_buckets(struct snat_dips *x)
{
	struct snat_dips grown = { .n = x->n, .n_buckets = x->n_buckets == 0 ? MIN_BUCKETS : x->n_buckets * 2 };
	grown.buckets = memory_array(grown.n_buckets, sizeof(struct snat_dip *));
	if (grown.buckets == NULL)
		return ERR_NO_MEMORY;
	for (uint32_t i = 0; i < x->n_buckets; i++) {
		struct snat_dip *next;
		for (struct snat_dip *d = x->buckets[i]; d != NULL; d = next) {
			next = d->next;
			struct snat_dip **link = find_link(&grown, &d->demand.dip);
			d->next = NULL;
			*link = d;
		}
	}
	memory_free(x->buckets);
	*x = grown;
	return 0;
}

static struct snat_dip *insert(struct snat_dips *x, const struct ip_addr *dip)
{
	if (x->n >= x->n_buckets && grow_buckets(x) != 0)
		return NULL;
	struct snat_dip **link = find_link(x, dip);
	if (*link != NULL)
		return *link;
	struct snat_dip *d = memory_array(1, sizeof *d);
	if (d == NULL)
		return NULL;
	d->demand.dip = *dip;
	*link = d;
	x->n++;
	return d;
}

static void remove_dip(struct snat_dips *x, struct snat_dip *d)
{
	struct snat_dip **link = find_link(x, &d->demand.dip);
	*link = d->next;
	x->n--;
	destroy_dip(d);
}

static int insert_claim(struct snat_dip *d, uint32_t i, const struct snat_claim *claim)
{
	struct snat_claim *claims = memory_grow(d->claims, d->n_claims, &d->capacity, sizeof *claims);
	if (claims == NULL)
		return ERR_NO_MEMORY;
	d->claims = claims;
	memmove(d->claims + i + 1, d->claims + i, (d->n_claims - i) * sizeof *d->claims);
	d->claims[i] = *claim;
	d->n_claims++;
	return 0;
}

int snat_dips_put_claim(struct snat_dips *x, const struct snat_claim *claim)
{
	struct snat_dip *d = insert(x, &claim->holder->dip);
	if (d == NULL)
		return ERR_NO_MEMORY;
	uint32_t i = 0;
	while (i < d->n_claims && ip_addr_compare(&d->claims[i].pool->vip, &claim->pool->vip) < 0)
		i++;
	if (i < d->n_claims && d->claims[i].pool == claim->pool) {
		d->claims[i] = *claim;
		return 0;
	}
	if (insert_claim(d, i, claim) == 0)
		return 0;
	if (d->n_claims == 0)
		remove_dip(x, d);
	return ERR_NO_MEMORY;
}

void snat_dips_remove_claim(struct snat_dips *x, const struct ip_addr *dip, const struct snat_pool *pool)
{
	struct snat_dip *d = snat_dips_lookup(x, dip);
	uint32_t i = 0;
	while (d != NULL && i < d->n_claims && d->claims[i].pool != pool)
		i++;
	if (d == NULL || i == d->n_claims)
		return;
	memmove(d->claims + i, d->claims + i + 1, (d->n_claims - i - 1) * sizeof *d->claims);
	if (--d->n_claims == 0)
		remove_dip(x, d);
}

static int compare_demands(const void *a, const void *b)
{
	return ip_addr_compare(&((const struct snat_demand *)a)->dip, &((const struct snat_demand *)b)->dip);
}

int snat_dips_get_demands(const struct snat_dips *x, struct snat_demand_list *ret_list)
{
	struct snat_demand_list list = { 0 };
	for (uint32_t i = 0; i < x->n_buckets; i++) {
		for (const struct snat_dip *d = x->buckets[i]; d != NULL; d = d->next) {
			if (d->demand.asked_ms != 0 && snat_demand_list_append(&list, &d->demand) != 0) {
				snat_demand_list_fini(&list);
				return ERR_NO_MEMORY;
			}
		}
	}
	if (list.n > 1)
		qsort(list.items, list.n, sizeof *list.items, compare_demands);
	*ret_list = list;
	return 0;
}
