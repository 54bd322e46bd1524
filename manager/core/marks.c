#include "manager/core/marks.h"

#include <string.h>

#include "manager/core/addr_list.h"
#include "manager/core/drains.h"

const struct endpoint *marks_lookup_endpoint(const struct store *store, const struct object_key *key)
{
	char text[NAME_BYTES];
	struct ip_addr addr;
	uint8_t protocol;
	uint16_t port;
	if (endpoint_key_parse(key->name, &addr, &protocol, &port) != 0)
		return NULL;
	if (strcmp(endpoint_key_format(&addr, protocol, port, text), key->name) != 0) // one endpoint has one name
		return NULL;
	const struct vip_config *vip = store_lookup_vip(store, &addr);
	const struct endpoint *e = vip == NULL ? NULL : vip_config_lookup_endpoint(vip, protocol, port);
	if (e == NULL || e->probe.type == PROBE_NONE || endpoint_lookup_dip(e, &key->addr) == NULL)
		return NULL;
	return store_lookup_dip(store, &key->addr) == NULL ? NULL : e;
}

uint32_t marks_first_of_dip(const struct store *store, const struct ip_addr *dip)
{
	uint32_t low = 0;
	uint32_t high = store->unhealthy.n;
	while (low < high) {
		uint32_t middle = low + (high - low) / 2;
		if (ip_addr_compare(&store_mark_at(&store->unhealthy, middle)->key.addr, dip) < 0)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

// ---- whom a mark concerns ----

static int list_vips_of_host(const struct cluster_state *s, const char *host, struct addr_list *vips)
{
	uint32_t i = 0;
	for (const struct dip_info *dip; (dip = cluster_state_next_attached(s, host, &i)) != NULL;) {
		struct object_key of_all = object_key_of_addr(OBJECT_DRAIN, &dip->dip);
		if (drains_list_vips(s, &of_all, vips) != 0)
			return ERR_NO_MEMORY;
	}
	return 0;
}

int marks_list_vips(const struct cluster_state *s, const struct object_key *key, struct addr_list *vips)
{
	struct ip_addr vip;
	uint8_t protocol;
	uint16_t port;
	if (key->kind == OBJECT_HOST_GONE)
		return list_vips_of_host(s, key->name, vips);
	if (key->kind != OBJECT_UNHEALTHY || endpoint_key_parse(key->name, &vip, &protocol, &port) != 0)
		return 0;
	return addr_list_append(vips, &vip);
}

// ---- rules ----

static int check_unhealthy_put(const struct cluster_state *s, const struct object_key *key, struct error *err)
{
	char text[IP_ADDR_TEXT_BYTES];
	if (marks_lookup_endpoint(&s->store, key) != NULL)
		return 0;
	return error_set(err, ERR_NOT_FOUND, "unhealthy: %s is not attached, or in no endpoint \"%s\" with a probe",
	                 ip_addr_format(&key->addr, text), key->name);
}

static bool has_other_mux(const struct cluster_state *s, const char *name)
{
	for (uint32_t i = 0; i < s->store.muxes.n; i++) {
		struct object_key key = object_key_of_name(OBJECT_MUX_DRAIN, store_mux(&s->store, i)->name);
		if (strcmp(key.name, name) != 0 && store_lookup_mark(&s->store, &key) == NULL)
			return true;
	}
	return false;
}

static int check_mux_drain_put(const struct cluster_state *s, const char *name, struct error *err)
{
	if (store_lookup_mux(&s->store, name) == NULL)
		return error_set(err, ERR_NOT_FOUND, "mux: no mux \"%s\" is known", name);
	if (has_other_mux(s, name))
		return 0;
	return error_set(err, ERR_CONFLICT,
	                 "mux: \"%s\" is the last one that is not drained; add another mux, or undrain one, first", name);
}

int marks_check_change(const struct cluster_state *s, const struct change *c, struct error *err)
{
	bool is_there = store_lookup_mark(&s->store, &c->key) != NULL;
	const char *name = c->key.name;
	if (c->is_delete && c->key.kind == OBJECT_MUX_DRAIN && !is_there)
		return error_set(err, ERR_NOT_FOUND, "mux: \"%s\" is not drained", name);
	if (c->is_delete || is_there)
		return 0;
	if (c->key.kind == OBJECT_UNHEALTHY)
		return check_unhealthy_put(s, &c->key, err);
	if (c->key.kind == OBJECT_MUX_DRAIN)
		return check_mux_drain_put(s, name, err);
	if (store_lookup_host(&s->store, name) == NULL)
		return error_set(err, ERR_NOT_FOUND, "host: no host \"%s\" is known", name);
	return 0;
}
