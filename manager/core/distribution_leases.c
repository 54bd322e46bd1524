// Which leases a subscriber is told of.
#include <string.h>

#include "common/base/hash.h"
#include "manager/core/distribution_parts.h"

// The version to which the subscriber may know the leases.
static uint64_t target_version(const struct distribution *d, const struct cluster_state *s, uint64_t lease_floor)
{
	bool is_held_back = d->audience == AUDIENCE_AGENT && lease_floor < s->snat.version;
	return is_held_back ? lease_floor : s->snat.version;
}

static bool is_delta_possible(const struct distribution *d, const struct cluster_state *s)
{
	return d->has_lease_base && d->lease_base >= s->snat.changes.floor_version;
}

// All leases as they were at a version below the present one can be told only where the later changes are known.
static bool are_all_possible(const struct cluster_state *s, uint64_t target)
{
	return target == s->snat.version || target >= s->snat.changes.floor_version;
}

bool distribution_leases_are_due(const struct distribution *d, const struct cluster_state *s, uint64_t lease_floor)
{
	uint64_t target = target_version(d, s, lease_floor);
	if (d->audience == AUDIENCE_MUX)
		return !d->has_lease_base || d->sent_lease_version != target;
	if (!d->has_lease_base)
		return target >= d->first_lease_version && are_all_possible(s, target);
	return d->has_lease_news && target > d->sent_lease_version &&
	       (is_delta_possible(d, s) || are_all_possible(s, target));
}

// ---- which DIPs are the host's: a coarse answer first, since most are not ----

#define SIEVE_BITS 2048

struct sieve {
	uint64_t bits[SIEVE_BITS / 64];
};

static uint32_t sieve_bit(const struct ip_addr *dip)
{
	return hash_reduce(hash_mix64(load64(dip->bytes + 8)), SIEVE_BITS);
}

static struct sieve sieve_of_host(const struct cluster_state *s, const char *host)
{
	struct sieve sieve = { { 0 } };
	uint32_t i = 0;
	for (const struct dip_info *dip; (dip = cluster_state_next_attached(s, host, &i)) != NULL;) {
		uint32_t bit = sieve_bit(&dip->dip);
		sieve.bits[bit / 64] |= 1ULL << (bit % 64);
	}
	return sieve;
}

static bool is_of_host(const struct sieve *sieve, const struct cluster_state *s, const char *host,
                       const struct ip_addr *dip)
{
	uint32_t bit = sieve_bit(dip);
	if ((sieve->bits[bit / 64] >> (bit % 64) & 1) == 0)
		return false;
	const struct dip_info *info = store_lookup_dip(&s->store, dip);
	return info != NULL && strcmp(info->host, host) == 0;
}

// ---- what changed ----

// A lease whose DIP was detached has ended with it, so that the agent, which drops it with the DIP, need not be told.
static int collect_changes(const struct distribution *d, const struct cluster_state *s, uint64_t target,
                           struct lease_list *list)
{
	uint64_t at;
	struct lease lease;
	bool is_mux = d->audience == AUDIENCE_MUX;
	struct sieve sieve = { { 0 } };
	if (!is_mux)
		sieve = sieve_of_host(s, d->node);
	int code = snat_state_seek_changes(&s->snat, d->lease_base, &at);
	while (code == 0 && snat_state_next_change(&s->snat, &at, target, &lease))
		if (is_mux || is_of_host(&sieve, s, d->node, &lease.dip))
			code = lease_list_append(list, &lease);
	return code;
}

// ---- all ----

static int collect_all(const struct cluster_state *s, struct lease_list *list)
{
	struct ip_addr any = { { 0 } };
	return snat_state_list(&s->snat, &any, 0, 0, list);
}

static void drop_later_grants(const struct cluster_state *s, uint64_t target, struct lease_list *list)
{
	uint32_t first_epoch = snat_state_first_epoch_after(&s->snat, target);
	uint32_t n = 0;
	for (uint32_t i = 0; i < list->n; i++)
		if (list->items[i].epoch - first_epoch >= s->snat.next_epoch - first_epoch)
			list->items[n++] = list->items[i];
	list->n = n;
}

static int collect_all_of_host(const struct distribution *d, const struct cluster_state *s, uint64_t target,
                               struct lease_list *list)
{
	uint32_t i = 0;
	for (const struct dip_info *dip; (dip = cluster_state_next_attached(s, d->node, &i)) != NULL;)
		if (snat_state_list_of_dip(&s->snat, &dip->dip, list) != 0)
			return ERR_NO_MEMORY;
	if (target < s->snat.version)
		drop_later_grants(s, target, list);
	return 0;
}

void distribution_renew_leases(struct distribution *d, const struct cluster_state *s)
{
	d->has_lease_base = false;
	d->first_lease_version = s->snat.version;
}

int distribution_collect_leases(const struct distribution *d, const struct cluster_state *s, uint64_t lease_floor,
                                struct distribution_update *u)
{
	u->lease_version = d->sent_lease_version;
	if (!distribution_leases_are_due(d, s, lease_floor))
		return 0;
	u->lease_version = target_version(d, s, lease_floor);
	if (is_delta_possible(d, s))
		return collect_changes(d, s, u->lease_version, &u->leases);
	u->replaces_leases = true;
	return d->audience == AUDIENCE_MUX ? collect_all(s, &u->leases)
	                                   : collect_all_of_host(d, s, u->lease_version, &u->leases);
}

void distribution_on_leases_sent(struct distribution *d, const struct distribution_update *u)
{
	bool is_told = u->replaces_leases || u->lease_version != d->sent_lease_version;
	if (!is_told)
		return;
	d->has_lease_base = true;
	d->has_lease_news = d->lease_news_version > u->lease_version;
	d->sent_lease_version = u->lease_version;
	d->lease_base = u->lease_version;
}

void distribution_note_leases(struct distribution *d, uint64_t after_version, uint64_t to_version)
{
	if (!d->has_lease_news && after_version > d->lease_base)
		d->lease_base = after_version;
	d->has_lease_news = true;
	if (to_version > d->lease_news_version)
		d->lease_news_version = to_version;
}
