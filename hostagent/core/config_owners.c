// Of a snapshot (config.h): who owned the buckets of endpoints, shared with the snapshot before where nothing changed.
#include <string.h>

#include "common/base/memory.h"
#include "hostagent/core/config_build.h"

static struct endpoint_owners **owners_slot(const struct owners_map *m, be32 vip, be16 vip_port, uint8_t protocol)
{
	uint32_t i = config_service_start(vip, vip_port, protocol) & m->mask;
	for (; m->slots[i] != NULL; i = (i + 1) & m->mask) {
		const struct endpoint_owners *o = m->slots[i];
		if (o->vip == vip && o->vip_port == vip_port && o->protocol == protocol)
			break;
	}
	return &m->slots[i];
}

const struct endpoint_owners *agent_config_find_owners(const struct agent_config *c, be32 vip, be16 vip_port,
                                                       uint8_t protocol)
{
	return *owners_slot(&c->owners, vip, vip_port, protocol);
}

const struct endpoint_owners *agent_config_find_present(const struct agent_config *c, be32 vip, be16 vip_port,
                                                        uint8_t protocol)
{
	return *owners_slot(&c->present, vip, vip_port, protocol);
}

// Of the snapshot before, when the history is still the same.
static struct endpoint_owners *owners_shared(const struct owners_map *previous, be32 name,
                                             const struct vip_history *vip, const struct endpoint_history *h)
{
	if (previous == NULL)
		return NULL;
	struct endpoint_owners *o = *owners_slot(previous, name, be16_from(h->port), h->protocol);
	return o != NULL && o->fingerprint == owners_fingerprint(vip, h) ? owners_ref(o) : NULL;
}

static int add_owners(struct config_build *b, struct owners_map *m, const struct owners_map *previous,
                      const struct vip_history *vip, const struct endpoint_history *h)
{
	struct endpoint_owners *o = owners_shared(previous, config_name(b, &vip->vip), vip, h);
	int code = o == NULL ? owners_create(b->names, vip, h, &o) : 0;
	if (code == 0 && o != NULL)
		*owners_slot(m, o->vip, o->vip_port, o->protocol) = o;
	return code;
}

static int add_histories(struct config_build *b, const struct store *store, const struct agent_config *previous)
{
	struct agent_config *c = b->config;
	int code = 0;
	for (uint32_t i = 0; code == 0 && i < store->histories.n; i++) {
		const struct vip_history *vip = store_history(store, i);
		c->n_owners += vip->n_endpoints;
		for (uint32_t e = 0; code == 0 && e < vip->n_endpoints; e++)
			code = add_owners(b, &c->owners, previous == NULL ? NULL : &previous->owners, vip, &vip->endpoints[e]);
	}
	return code;
}

// An endpoint without history has one generation: its configuration.
static int add_present(struct config_build *b, const struct agent_config *previous, const struct ip_addr *vip,
                       const struct endpoint *e)
{
	struct maglev_member *members = memory_array(e->n_dips, sizeof *members);
	if (members == NULL)
		return ERR_NO_MEMORY;
	for (uint32_t i = 0; i < e->n_dips; i++)
		members[i] = (struct maglev_member){ .dip = e->dips[i].dip, .weight = e->dips[i].weight };
	struct generation generation = { .n_members = e->n_dips, .members = members };
	struct endpoint_history h = {
		.port = e->port, .protocol = e->protocol, .n_generations = 1, .generations = &generation
	};
	struct vip_history of_vip = { .vip = *vip };
	int code = add_owners(b, &b->config->present, previous == NULL ? NULL : &previous->present, &of_vip, &h);
	memory_free(members);
	return code;
}

static int add_all_present(struct config_build *b, const struct store *store, const struct agent_config *previous)
{
	int code = 0;
	for (uint32_t i = 0; code == 0 && i < store->vips.n; i++) {
		const struct vip_config *vip = store_vip(store, i);
		const struct vip_history *history = store_lookup_history(store, &vip->vip);
		for (uint32_t e = 0; code == 0 && e < vip->n_endpoints; e++) {
			const struct endpoint *endpoint = &vip->endpoints[e];
			if (endpoint->n_dips > 0 && vip_history_lookup(history, endpoint->protocol, endpoint->port) == NULL)
				code = add_present(b, previous, &vip->vip, endpoint);
		}
	}
	return code;
}

// Without the cluster's seed nobody can tell which bucket a flow is in.
int config_add_owners(struct config_build *b, const struct store *store, const struct agent_config *previous)
{
	struct agent_config *c = b->config;
	if (!store->has_cluster)
		return 0;
	c->cluster_id = store->cluster.cluster_id;
	c->hash_seed = store->cluster.hash_seed;
	memcpy(c->pin_key, store->cluster.pin_key, sizeof c->pin_key);
	int code = add_histories(b, store, previous);
	return code != 0 ? code : add_all_present(b, store, previous);
}
