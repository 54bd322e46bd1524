// Marks that are of nothing any more vanish with the command that took away what they were of.
#include <string.h>

#include "common/base/text.h"
#include "manager/core/cluster_state_parts.h"
#include "manager/core/drains.h"
#include "manager/core/marks.h"

static int drop(struct cluster_state *s, const struct object_key *key, struct progress *p)
{
	if (store_lookup_mark(&s->store, key) == NULL)
		return 0;
	return cluster_state_touch(s, &(struct change){ .key = *key, .is_delete = true }, p);
}

// ---- DIPs of an endpoint ----

static int drop_drain(struct cluster_state *s, const struct object_key *key, struct progress *p)
{
	return drains_has_endpoint(s, key) ? 0 : drop(s, key, p);
}

static int drop_drains(struct cluster_state *s, const struct ip_addr *dip, const char *vip, struct progress *p)
{
	struct object_key key = object_key_of_addr(OBJECT_DRAIN, dip);
	if (drop_drain(s, &key, p) != 0)
		return ERR_NO_MEMORY;
	(void)text_copy(key.name, sizeof key.name, vip);
	return drop_drain(s, &key, p);
}

static int drop_unhealthy(struct cluster_state *s, const struct ip_addr *dip, const char *endpoint, struct progress *p)
{
	struct object_key key = object_key_of_addr(OBJECT_UNHEALTHY, dip);
	(void)text_copy(key.name, sizeof key.name, endpoint);
	return marks_lookup_endpoint(&s->store, &key) != NULL ? 0 : drop(s, &key, p);
}

static int drop_of_endpoint(struct cluster_state *s, const char *vip, const struct ip_addr *addr,
                            const struct endpoint *e, struct progress *p)
{
	char key[NAME_BYTES];
	bool has_marks = s->store.unhealthy.n > 0 && e->probe.type != PROBE_NONE;
	endpoint_key_format(addr, e->protocol, e->port, key);
	for (uint32_t i = 0; i < e->n_dips; i++) {
		if (s->store.drains.n > 0 && drop_drains(s, &e->dips[i].dip, vip, p) != 0)
			return ERR_NO_MEMORY;
		if (has_marks && drop_unhealthy(s, &e->dips[i].dip, key, p) != 0)
			return ERR_NO_MEMORY;
	}
	return 0;
}

// Only a DIP that was in an endpoint before can have left it.
static int drop_of_vip(struct cluster_state *s, const struct vip_config *old, struct progress *p)
{
	char text[IP_ADDR_TEXT_BYTES];
	int code = 0;
	ip_addr_format(&old->vip, text);
	for (uint32_t i = 0; code == 0 && i < old->n_endpoints; i++)
		code = drop_of_endpoint(s, text, &old->vip, &old->endpoints[i], p);
	return code;
}

// ---- what is attached, hosts, muxes ----

// What the agent of another host said of a DIP counts no more.
static int drop_of_dip(struct cluster_state *s, const struct dip_info *old, struct progress *p)
{
	const struct dip_info *dip = store_lookup_dip(&s->store, &old->dip);
	if (dip != NULL && strcmp(dip->host, old->host) == 0)
		return 0;
	uint32_t first = marks_first_of_dip(&s->store, &old->dip);
	while (first < s->store.unhealthy.n) {
		struct object_key key = store_mark_at(&s->store.unhealthy, first)->key;
		if (!ip_addr_equal(&key.addr, &old->dip))
			break;
		if (drop(s, &key, p) != 0)
			return ERR_NO_MEMORY;
	}
	return 0;
}

static int drop_of_node(struct cluster_state *s, const struct object_key *old, struct progress *p)
{
	bool is_mux = old->kind == OBJECT_MUX;
	struct object_key key = object_key_of_name(is_mux ? OBJECT_MUX_DRAIN : OBJECT_HOST_GONE, old->name);
	bool is_there =
		is_mux ? store_lookup_mux(&s->store, old->name) != NULL : store_lookup_host(&s->store, old->name) != NULL;
	return is_there ? 0 : drop(s, &key, p);
}

int cluster_state_drop_marks(struct cluster_state *s, struct progress *p)
{
	int code = 0;
	const struct store *store = &s->store;
	if (store->drains.n + store->unhealthy.n + store->gone_hosts.n + store->mux_drains.n == 0)
		return 0;
	for (uint32_t i = 0; code == 0 && i < p->undo.n; i++) {
		const struct change *old = &p->undo.items[i];
		if (old->is_delete)
			continue;
		if (old->key.kind == OBJECT_VIP)
			code = drop_of_vip(s, old->vip, p);
		else if (old->key.kind == OBJECT_DIP)
			code = drop_of_dip(s, &old->dip, p);
		else if (old->key.kind == OBJECT_MUX || old->key.kind == OBJECT_HOST)
			code = drop_of_node(s, &old->key, p);
	}
	return code;
}
