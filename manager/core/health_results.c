#include "manager/core/health_results.h"

#include <string.h>

#include "common/base/hash.h"
#include "common/base/memory.h"

#define MIN_BUCKETS 64

void health_results_init(struct health_results *x)
{
	memset(x, 0, sizeof *x);
	addr_index_init(&x->pairs);
}

void health_results_fini(struct health_results *x)
{
	for (uint32_t i = 0; i < x->n_buckets; i++) {
		struct health_result *next;
		for (struct health_result *r = x->buckets[i]; r != NULL; r = next) {
			next = r->next_in_bucket;
			memory_free(r);
		}
	}
	memory_free(x->buckets);
	addr_index_fini(&x->pairs);
	health_results_init(x);
}

// ---- buckets ----

static bool is_of_pair(const struct health_result *r, const struct ip_addr *dip, const struct ip_addr *vip)
{
	return ip_addr_equal(&r->probe.dip, dip) && ip_addr_equal(&r->probe.vip, vip);
}

// n_buckets > 0.
static struct health_result **bucket_of(const struct health_results *x, const struct ip_addr *dip,
                                        const struct ip_addr *vip)
{
	uint64_t hash = hash_bytes(vip->bytes, sizeof vip->bytes, hash_bytes(dip->bytes, sizeof dip->bytes, 0));
	return &x->buckets[hash & (x->n_buckets - 1)];
}

static int grow_buckets(struct health_results *x)
{
	struct health_results grown = *x;
	grown.n_buckets = x->n_buckets == 0 ? MIN_BUCKETS : x->n_buckets * 2;
	grown.buckets = memory_array(grown.n_buckets, sizeof(*grown.buckets));
	if (grown.buckets == NULL)
		return ERR_NO_MEMORY;
	for (uint32_t i = 0; i < x->n_buckets; i++) {
		struct health_result *next;
		for (struct health_result *r = x->buckets[i]; r != NULL; r = next) {
			next = r->next_in_bucket;
			struct health_result **bucket = bucket_of(&grown, &r->probe.dip, &r->probe.vip);
			r->next_in_bucket = *bucket;
			*bucket = r;
		}
	}
	memory_free(x->buckets);
	*x = grown;
	return 0;
}

struct health_result *health_results_next(const struct health_results *x, const struct ip_addr *dip,
                                          const struct ip_addr *vip, const struct health_result *last)
{
	struct health_result *r = NULL;
	if (last != NULL)
		r = last->next_in_bucket;
	else if (x->n_buckets > 0)
		r = *bucket_of(x, dip, vip);
	while (r != NULL && !is_of_pair(r, dip, vip))
		r = r->next_in_bucket;
	return r;
}

struct health_result *health_results_lookup(const struct health_results *x, const struct health_host *host,
                                            const struct probe_result *probe)
{
	struct health_result *r = NULL;
	while ((r = health_results_next(x, &probe->dip, &probe->vip, r)) != NULL)
		if (r->host == host && r->probe.protocol == probe->protocol && r->probe.port == probe->port)
			return r;
	return NULL;
}

// ---- pairs ----

static int insert_pair(struct health_results *x, const struct ip_addr *dip, const struct ip_addr *vip)
{
	if (addr_index_insert(&x->pairs, addr_index_key_of_addr(vip), dip) != 0)
		return ERR_NO_MEMORY;
	return addr_index_insert(&x->pairs, addr_index_key_of_addr(dip), vip);
}

static void remove_pair(struct health_results *x, const struct ip_addr *dip, const struct ip_addr *vip)
{
	if (health_results_next(x, dip, vip, NULL) != NULL)
		return;
	addr_index_remove(&x->pairs, addr_index_key_of_addr(vip), dip);
	addr_index_remove(&x->pairs, addr_index_key_of_addr(dip), vip);
}

// ---- results ----

struct health_result *health_results_insert(struct health_results *x, struct health_host *host,
                                            const struct probe_result *probe)
{
	if (x->n >= x->n_buckets && grow_buckets(x) != 0)
		return NULL;
	struct health_result *r = memory_array(1, sizeof *r);
	if (r == NULL || insert_pair(x, &probe->dip, &probe->vip) != 0) {
		remove_pair(x, &probe->dip, &probe->vip);
		memory_free(r);
		return NULL;
	}
	struct health_result **bucket = bucket_of(x, &probe->dip, &probe->vip);
	r->probe = *probe;
	r->host = host;
	r->next_in_bucket = *bucket;
	*bucket = r;
	r->next_of_host = host->results;
	if (host->results != NULL)
		host->results->previous_of_host = r;
	host->results = r;
	x->n++;
	return r;
}

void health_results_remove(struct health_results *x, struct health_result *r)
{
	struct health_result **link = bucket_of(x, &r->probe.dip, &r->probe.vip);
	health_results_set_due(x, r, false);
	while (*link != r)
		link = &(*link)->next_in_bucket;
	*link = r->next_in_bucket;
	*(r->previous_of_host != NULL ? &r->previous_of_host->next_of_host : &r->host->results) = r->next_of_host;
	if (r->next_of_host != NULL)
		r->next_of_host->previous_of_host = r->previous_of_host;
	remove_pair(x, &r->probe.dip, &r->probe.vip);
	memory_free(r);
	x->n--;
}

static void unlink_due(struct health_results *x, struct health_result *r)
{
	*(r->previous_due != NULL ? &r->previous_due->next_due : &x->first_due) = r->next_due;
	*(r->next_due != NULL ? &r->next_due->previous_due : &x->last_due) = r->previous_due;
	r->previous_due = r->next_due = NULL;
	x->n_due--;
}

void health_results_set_due(struct health_results *x, struct health_result *r, bool is_due)
{
	if (r->is_due)
		unlink_due(x, r);
	r->is_due = is_due;
	if (!is_due)
		return;
	r->previous_due = x->last_due;
	*(x->last_due != NULL ? &x->last_due->next_due : &x->first_due) = r;
	x->last_due = r;
	x->n_due++;
}
