// "Who holds, who had?": answered from the leader's state, in as many parts as it needs, the pools first.
#include <time.h>

#include "common/base/memory.h"
#include "common/io/log.h"
#include "common/wire/changes.h"
#include "manager/io/server_parts.h"

#define PART_POOLS_MAX 10000 // of about 40 bytes
#define PART_LEASES_MAX ((MESSAGE_MAX_BYTES - 1024) / LEASE_ENCODED_BYTES)

// Everything that the log knows of a port.
static int append_log(const struct snat_log *log, const struct ip_addr *vip, uint16_t port, struct lease_list *list)
{
	int code = 0;
	for (uint32_t i = 0; code == 0 && i < log->n; i++) {
		const struct lease *l = snat_log_at(log, i);
		if (lease_has_port(l, port) && (ip_addr_is_unspecified(vip) || ip_addr_equal(&l->vip, vip)))
			code = lease_list_append(list, l);
	}
	return code;
}

static int list_leases(const struct snat_state *snat, const struct ip_addr *vip, uint16_t port, uint64_t at_ms,
                       struct lease_list *list)
{
	int code = snat_state_list(snat, vip, port, at_ms, list);
	if (code == 0 && port != 0 && at_ms == 0)
		code = append_log(&snat->log, vip, port, list);
	return code;
}

static void put_pool(const struct cluster_state *state, const struct vip_config *vip, uint64_t now_ms,
                     struct leases_reply *r)
{
	if (vip == NULL || vip->n_snat_dips == 0)
		return;
	struct snat_pool_counts counts;
	snat_state_pool_status(&state->snat, &vip->vip, now_ms, state->store.settings.snat_quarantine_s, &counts);
	r->pools[r->n_pools++] = (struct snat_pool_status){
		.vip = vip->vip, .n_ports = counts.n_ports, .n_held = counts.n_held, .n_quarantined = counts.n_quarantined
	};
}

static int list_pools(const struct cluster_state *state, const struct ip_addr *vip, struct leases_reply *r)
{
	struct timespec now;
	clock_gettime(CLOCK_REALTIME, &now);
	uint64_t now_ms = (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
	bool is_one = !ip_addr_is_unspecified(vip);
	r->pools = memory_array(is_one ? 1 : state->store.vips.n, sizeof *r->pools);
	if (r->pools == NULL)
		return ERR_NO_MEMORY;
	if (is_one)
		put_pool(state, store_lookup_vip(&state->store, vip), now_ms, r);
	for (uint32_t i = 0; !is_one && i < state->store.vips.n; i++)
		put_pool(state, store_vip(&state->store, i), now_ms, r);
	return 0;
}

static uint32_t least(uint32_t a, uint32_t b)
{
	return a < b ? a : b;
}

static void send_parts(struct peer *p, uint64_t request_id, const struct leases_reply *all)
{
	uint32_t pool = 0;
	uint32_t lease = 0;
	int code;
	do {
		struct message m = { .type = MESSAGE_LEASES_REPLY, .request_id = request_id };
		struct leases_reply *part = &m.leases;
		part->log_since_ms = all->log_since_ms;
		part->pools = all->pools + pool;
		part->n_pools = least(all->n_pools - pool, PART_POOLS_MAX);
		part->leases.items = all->leases.items + lease;
		part->leases.n = part->n_pools > 0 && all->n_pools > 1 ? 0 : least(all->leases.n - lease, PART_LEASES_MAX);
		pool += part->n_pools;
		lease += part->leases.n;
		part->more = pool < all->n_pools || lease < all->leases.n;
		code = conn_send(p->conn, &m);
	} while (code == 0 && (pool < all->n_pools || lease < all->leases.n));
	if (code != 0)
		log_warn("leases-reply", "peer=%s error=%s", conn_peer(p->conn), error_code_name((enum error_code)code));
}

void leases_query_answer(struct peer *p, uint64_t request_id, const struct ip_addr *vip, uint16_t port, uint64_t at_ms)
{
	const struct cluster_state *state = &p->server->machine.state;
	struct leases_reply all = { .log_since_ms = snat_state_log_since_ms(&state->snat) };
	struct error err = { 0 };
	int code = list_leases(&state->snat, vip, port, at_ms, &all.leases);
	if (code == 0)
		code = list_pools(state, vip, &all);
	if (code == 0) {
		send_parts(p, request_id, &all);
	} else {
		error_set(&err, ERR_NO_MEMORY, "memory is short");
		server_send_error(p, request_id, &err);
	}
	lease_list_fini(&all.leases);
	memory_free(all.pools);
}
