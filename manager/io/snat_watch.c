// What the leader looks at every second: pools that run out of ports, and hosts that are gone for so long that they lose their
// leases (settings.snat_gone_s).
#include <string.h>
#include <time.h>

#include "common/base/memory.h"
#include "common/io/log.h"
#include "manager/core/snat_pool_level.h"
#include "manager/io/server_parts.h"

struct snat_pool_watch {
	struct ip_addr vip;
	enum snat_pool_level level; // of which the event was logged; not SNAT_POOL_OK
};

struct snat_gone_host {
	char name[NAME_BYTES];
	struct mono_time since; // not connected, or this leadership began
	bool is_logged;
};

// ---- pools ----

static uint64_t wall_ms(void)
{
	struct timespec now;
	clock_gettime(CLOCK_REALTIME, &now);
	return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

static struct snat_pool_watch *find_pool(struct snat_service *snat, const struct ip_addr *vip)
{
	for (uint32_t i = 0; i < snat->n_pools; i++)
		if (ip_addr_equal(&snat->pools[i].vip, vip))
			return &snat->pools[i];
	return NULL;
}

static struct snat_pool_counts count_pool(const struct server *s, const struct ip_addr *vip)
{
	const struct cluster_state *state = &s->machine.state;
	struct snat_pool_counts counts;
	snat_state_pool_status(&state->snat, vip, wall_ms(), state->store.settings.snat_quarantine_s, &counts);
	return counts;
}

static void set_level(struct server *s, const struct ip_addr *vip, enum snat_pool_level level)
{
	struct snat_service *snat = &s->snat;
	struct snat_pool_watch *w = find_pool(snat, vip);
	enum snat_pool_level before = w == NULL ? SNAT_POOL_OK : w->level;
	struct snat_pool_counts counts = count_pool(s, vip);
	char text[IP_ADDR_TEXT_BYTES];
	if (level == before)
		return;
	if (level > before) {
		struct cluster_event e = event_make(level == SNAT_POOL_EXHAUSTED ? "snat-pool-exhausted" : "snat-pool-80-percent",
		                                    ip_addr_format(vip, text), "%u ports, %u leased, %u in quarantine",
		                                    counts.n_ports, counts.n_held, counts.n_quarantined);
		event_service_add(s, &e);
	}
	if (w == NULL) {
		struct snat_pool_watch *pools = memory_resize(snat->pools, snat->n_pools + 1, sizeof *pools);
		if (pools == NULL)
			return; // it is logged again
		snat->pools = pools;
		w = &pools[snat->n_pools++];
		w->vip = *vip;
	}
	w->level = level;
	if (level == SNAT_POOL_OK)
		*w = snat->pools[--snat->n_pools];
}

void snat_watch_note_empty(struct server *s, const struct ip_addr *vip)
{
	set_level(s, vip, SNAT_POOL_EXHAUSTED);
}

static void watch_pool(struct server *s, const struct vip_config *vip)
{
	struct snat_pool_watch *w = find_pool(&s->snat, &vip->vip);
	const struct snat_pool *pool = snat_state_lookup_pool(&s->machine.state.snat, &vip->vip);
	// Nearly all pools are far from full, which is seen without counting.
	if (pool == NULL || (w == NULL && pool->n_held * 5 < (pool->n_ranges - pool->n_excluded) * 4))
		return;
	struct snat_pool_counts counts = count_pool(s, &vip->vip);
	set_level(s, &vip->vip, snat_pool_level_next(w == NULL ? SNAT_POOL_OK : w->level, &counts));
}

static void watch_pools(struct server *s)
{
	const struct store *store = &s->machine.state.store;
	for (uint32_t i = 0; i < s->snat.n_pools;) {
		const struct vip_config *vip = store_lookup_vip(store, &s->snat.pools[i].vip);
		if (vip != NULL && vip->n_snat_dips > 0)
			i++;
		else
			s->snat.pools[i] = s->snat.pools[--s->snat.n_pools];
	}
	for (uint32_t i = 0; i < store->vips.n; i++)
		if (store_vip(store, i)->n_snat_dips > 0)
			watch_pool(s, store_vip(store, i));
}

// ---- hosts ----

static void revoke_leases(struct server *s, struct snat_gone_host *host)
{
	const struct cluster_state *state = &s->machine.state;
	uint32_t n_dips = 0;
	uint32_t n_leases = 0;
	const struct dip_info *dip;
	for (uint32_t i = 0; (dip = cluster_state_next_attached(state, host->name, &i)) != NULL;) {
		struct lease_list leases = { 0 };
		struct snat_op revoke = { .kind = SNAT_REVOKE, .dip = dip->dip };
		int code = snat_state_list_of_dip(&state->snat, &dip->dip, &leases);
		bool has_any = code == 0 && leases.n > 0;
		n_leases += leases.n;
		lease_list_fini(&leases);
		if (has_any && snat_queue_push_end(s->snat.queue, &revoke, NULL) == 0)
			n_dips++;
	}
	if (n_dips == 0)
		return;
	s->snat.stats.revoked += n_dips;
	s->has_news = true;
	if (!host->is_logged)
		log_warn("host-gone-leases-revoked", "host=%s gone_s=%u dips=%u leases=%u", host->name,
		         state->store.settings.snat_gone_s, n_dips, n_leases);
	host->is_logged = true;
}

// Those that are not connected now, ascending by name as the store has them; since when is taken over from the last time.
static int list_gone(struct server *s, struct snat_gone_host **ret_gone, uint32_t *ret_n)
{
	const struct store *store = &s->machine.state.store;
	const struct snat_service *snat = &s->snat;
	struct snat_gone_host *gone = memory_array(store->hosts.n, sizeof *gone);
	uint32_t n = 0;
	uint32_t k = 0;
	if (gone == NULL)
		return ERR_NO_MEMORY;
	for (uint32_t i = 0; i < store->hosts.n; i++) {
		const char *name = store_host(store, i)->name;
		if (roster_lookup(&s->roster, ROLE_AGENT, name) != NULL)
			continue;
		while (k < snat->n_gone && strcmp(snat->gone[k].name, name) < 0)
			k++;
		if (k < snat->n_gone && strcmp(snat->gone[k].name, name) == 0) {
			gone[n++] = snat->gone[k];
			continue;
		}
		gone[n] = (struct snat_gone_host){ .since = server_now() };
		memcpy(gone[n++].name, name, sizeof gone->name);
	}
	*ret_gone = gone;
	*ret_n = n;
	return 0;
}

static void watch_hosts(struct server *s)
{
	struct snat_service *snat = &s->snat;
	uint32_t gone_s = s->machine.state.store.settings.snat_gone_s;
	struct mono_time now = server_now();
	struct snat_gone_host *gone;
	uint32_t n;
	if (list_gone(s, &gone, &n) != 0)
		return;
	memory_free(snat->gone);
	snat->gone = gone;
	snat->n_gone = n;
	for (uint32_t i = 0; i < n && gone_s > 0; i++)
		if (mono_elapsed_us(gone[i].since, now) >= gone_s * 1000000ULL)
			revoke_leases(s, &gone[i]);
}

void snat_watch_run(struct server *s)
{
	watch_pools(s);
	watch_hosts(s);
}

void snat_watch_clear(struct server *s)
{
	memory_free(s->snat.pools);
	memory_free(s->snat.gone);
	s->snat.pools = NULL;
	s->snat.gone = NULL;
	s->snat.n_pools = s->snat.n_gone = 0;
}
