#include "manager/core/drains.h"

#include <string.h>

#include "manager/core/addr_list.h"

static bool is_in_endpoint(const struct vip_config *vip, const struct ip_addr *dip)
{
	for (uint32_t i = 0; i < vip->n_endpoints; i++)
		if (endpoint_lookup_dip(&vip->endpoints[i], dip) != NULL)
			return true;
	return false;
}

// The i-th VIP that a drain of this key is of, from 0; NULL after the last.
static const struct vip_config *next_vip(const struct cluster_state *s, const struct object_key *key, uint32_t *i)
{
	struct ip_addr addr;
	const struct vip_config *vip;
	if (key->name[0] == '\0') {
		while ((vip = cluster_state_next_holder(s, &key->addr, i)) != NULL)
			if (is_in_endpoint(vip, &key->addr))
				return vip;
		return NULL;
	}
	if ((*i)++ > 0 || ip_addr_parse(key->name, &addr, NULL) != 0)
		return NULL;
	vip = store_lookup_vip(&s->store, &addr);
	return vip != NULL && is_in_endpoint(vip, &key->addr) ? vip : NULL;
}

bool drains_has_endpoint(const struct cluster_state *s, const struct object_key *key)
{
	uint32_t i = 0;
	return next_vip(s, key, &i) != NULL;
}

int drains_list_vips(const struct cluster_state *s, const struct object_key *key, struct addr_list *vips)
{
	uint32_t i = 0;
	for (const struct vip_config *vip; (vip = next_vip(s, key, &i)) != NULL;)
		if (addr_list_append(vips, &vip->vip) != 0)
			return ERR_NO_MEMORY;
	return 0;
}

// ---- rules ----

static int check_vip_name(const struct cluster_state *s, const struct object_key *key, struct error *err)
{
	char text[IP_ADDR_TEXT_BYTES];
	struct ip_addr vip;
	if (key->name[0] == '\0')
		return 0;
	if (ip_addr_parse(key->name, &vip, NULL) != 0 || strcmp(ip_addr_format(&vip, text), key->name) != 0)
		return error_set(err, ERR_INVALID, "drain.vip: \"%s\" is not an address as it is usually written", key->name);
	if (store_lookup_vip(&s->store, &vip) == NULL)
		return error_set(err, ERR_NOT_FOUND, "drain.vip: there is no VIP %s", key->name);
	return 0;
}

// Does the endpoint have a DIP, other than this one, that gets new connections?
static bool has_other(const struct cluster_state *s, const struct ip_addr *vip, const struct endpoint *e,
                      const struct ip_addr *dip)
{
	for (uint32_t i = 0; i < e->n_dips; i++)
		if (!ip_addr_equal(&e->dips[i].dip, dip) && store_lookup_drain(&s->store, &e->dips[i].dip, vip) == NULL)
			return true;
	return false;
}

static int check_others_are_left(const struct cluster_state *s, const struct object_key *key, struct error *err)
{
	char dip[IP_ADDR_TEXT_BYTES];
	char text[IP_ADDR_TEXT_BYTES];
	uint32_t k = 0;
	for (const struct vip_config *vip; (vip = next_vip(s, key, &k)) != NULL;)
		for (uint32_t i = 0; i < vip->n_endpoints; i++) {
			const struct endpoint *e = &vip->endpoints[i];
			if (endpoint_lookup_dip(e, &key->addr) != NULL && !has_other(s, &vip->vip, e, &key->addr))
				return error_set(
					err, ERR_CONFLICT,
					"drain: %s is the last DIP of endpoint \"%s\" of VIP %s that gets new connections; add "
					"another one, or undrain one, first",
					ip_addr_format(&key->addr, dip), e->name, ip_addr_format(&vip->vip, text));
		}
	return 0;
}

int drains_check_change(const struct cluster_state *s, const struct change *c, struct error *err)
{
	char text[IP_ADDR_TEXT_BYTES];
	const char *vip = c->key.name;
	ip_addr_format(&c->key.addr, text);
	bool is_there = store_lookup_mark(&s->store, &c->key) != NULL;
	if (c->is_delete && !is_there)
		return error_set(err, ERR_NOT_FOUND, "drain: %s is not drained%s%s", text, *vip != '\0' ? " of VIP " : "", vip);
	if (c->is_delete || is_there)
		return 0;
	int code = check_vip_name(s, &c->key, err);
	if (code != 0)
		return code;
	if (!drains_has_endpoint(s, &c->key))
		return error_set(err, ERR_NOT_FOUND, "drain: %s is in no endpoint of %s%s", text,
		                 *vip != '\0' ? "VIP " : "any VIP", vip);
	return check_others_are_left(s, &c->key, err);
}
