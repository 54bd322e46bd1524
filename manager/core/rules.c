#include "manager/core/rules.h"

#include <string.h>

#include "common/model/limits.h"
#include "manager/core/drains.h"
#include "manager/core/marks.h"

#define INTERFACE_NAME_BYTES 16 // IFNAMSIZ of Linux, with the terminator

// Is there room for one more object, unless it replaces one?
static int check_count(const struct store_array *a, bool is_new, uint32_t limit, const char *what, struct error *err)
{
	if (is_new && a->n >= limit)
		return error_set(err, ERR_LIMIT, "the cluster holds %u %s already, which is the limit", limit, what);
	return 0;
}

// A mux or host other than the one of this kind and name that has the address.
static const struct node_info *find_node_with_addr(const struct store_array *nodes, const struct ip_addr *addr,
                                                   const char *except)
{
	for (uint32_t i = 0; i < nodes->n; i++) {
		const struct node_info *node = nodes->items[i];
		bool has_it = ip_addr_equal(&node->addr, addr) || ip_addr_equal(&node->addr6, addr);
		if (has_it && (except == NULL || strcmp(node->name, except) != 0))
			return node;
	}
	return NULL;
}

// An address that a VIP, DIP, mux or host wants must not be another mux's or host's.
static int check_no_node_has(const struct cluster_state *s, const struct ip_addr *addr, const struct object_key *except,
                             const char *field, struct error *err)
{
	char text[IP_ADDR_TEXT_BYTES];
	const char *mux_name = except != NULL && except->kind == OBJECT_MUX ? except->name : NULL;
	const char *host_name = except != NULL && except->kind == OBJECT_HOST ? except->name : NULL;
	const struct node_info *mux = find_node_with_addr(&s->store.muxes, addr, mux_name);
	const struct node_info *host = find_node_with_addr(&s->store.hosts, addr, host_name);
	if (mux == NULL && host == NULL)
		return 0;
	return error_set(err, ERR_CONFLICT, "%s: %s is the address of %s \"%s\"; choose another one", field,
	                 ip_addr_format(addr, text), mux != NULL ? "mux" : "host", mux != NULL ? mux->name : host->name);
}

static int check_not_attached(const struct cluster_state *s, const struct ip_addr *addr, const char *field,
                              struct error *err)
{
	char text[IP_ADDR_TEXT_BYTES];
	const struct dip_info *dip = store_lookup_dip(&s->store, addr);
	if (dip == NULL)
		return 0;
	return error_set(err, ERR_CONFLICT, "%s: %s is the DIP of VM \"%s\" on host \"%s\"; choose another address", field,
	                 ip_addr_format(addr, text), dip->vm, dip->host);
}

static int check_no_vip(const struct cluster_state *s, const struct ip_addr *addr, const char *field, struct error *err)
{
	char text[IP_ADDR_TEXT_BYTES];
	if (store_lookup_vip(&s->store, addr) == NULL)
		return 0;
	return error_set(err, ERR_CONFLICT, "%s: %s is a VIP; choose another address", field, ip_addr_format(addr, text));
}

// `except`: a DIP that may keep its own; or NULL.
static int check_no_via(const struct cluster_state *s, const struct ip_addr *addr, const struct ip_addr *except,
                        const char *field, struct error *err)
{
	char text[IP_ADDR_TEXT_BYTES];
	char other[IP_ADDR_TEXT_BYTES];
	const struct dip_info *dip = cluster_state_lookup_via(s, addr);
	if (dip == NULL || (except != NULL && ip_addr_equal(&dip->dip, except)))
		return 0;
	return error_set(err, ERR_CONFLICT, "%s: %s is the via of DIP %s; choose another address", field,
	                 ip_addr_format(addr, text), ip_addr_format(&dip->dip, other));
}

static int check_cluster(const struct cluster_state *s, const struct change *c, struct error *err)
{
	if (c->is_delete)
		return error_set(err, ERR_INVALID, "cluster: cannot be deleted");
	if (c->cluster.cluster_id == 0)
		return error_set(err, ERR_INVALID, "cluster.cluster_id: must not be 0");
	const struct cluster_info *old = &s->store.cluster;
	bool is_same = old->cluster_id == c->cluster.cluster_id && old->hash_seed == c->cluster.hash_seed &&
	               (!cluster_info_has_pin_key(old) || memcmp(old->pin_key, c->cluster.pin_key, PIN_KEY_BYTES) == 0);
	if (s->store.has_cluster && !is_same)
		return error_set(err, ERR_CONFLICT, "cluster: is put once and never changed");
	return 0;
}

static int check_dip_of_vip(const struct cluster_state *s, const struct ip_addr *dip, const char *field,
                            struct error *err)
{
	int code = check_no_vip(s, dip, field, err);
	return code != 0 ? code : check_no_via(s, dip, NULL, field, err);
}

static int check_dips_of_vip(const struct cluster_state *s, const struct vip_config *vip, struct error *err)
{
	for (uint32_t i = 0; i < vip->n_endpoints; i++)
		for (uint32_t k = 0; k < vip->endpoints[i].n_dips; k++)
			if (check_dip_of_vip(s, &vip->endpoints[i].dips[k].dip, "dips", err) != 0)
				return error_prefix(err, "endpoint \"%s\": ", vip->endpoints[i].name);
	for (uint32_t i = 0; i < vip->n_snat_dips; i++)
		if (check_dip_of_vip(s, &vip->snat_dips[i], "snat.dips", err) != 0)
			return ERR_CONFLICT;
	return 0;
}

// A DIP is in the list of a VIP, whether it is attached or not.
static int check_no_holder(const struct cluster_state *s, const struct ip_addr *addr, const char *field,
                           struct error *err)
{
	char text[IP_ADDR_TEXT_BYTES];
	char other[IP_ADDR_TEXT_BYTES];
	uint32_t i = 0;
	const struct vip_config *holder = cluster_state_next_holder(s, addr, &i);
	if (holder == NULL)
		return 0;
	return error_set(err, ERR_CONFLICT, "%s: %s is a DIP of VIP %s; choose another address", field,
	                 ip_addr_format(addr, text), ip_addr_format(&holder->vip, other));
}

static int check_vip_is_no_dip(const struct cluster_state *s, const struct ip_addr *vip, struct error *err)
{
	int code = check_not_attached(s, vip, "vip", err);
	if (code == 0)
		code = check_no_holder(s, vip, "vip", err);
	return code != 0 ? code : check_no_via(s, vip, NULL, "vip", err);
}

static int check_ranges_stay(const struct vip_config *vip, const struct snat_pool *pool, struct error *err)
{
	char text[IP_ADDR_TEXT_BYTES];
	char other[IP_ADDR_TEXT_BYTES];
	char where[IP_ENDPOINT_TEXT_BYTES];
	struct lease lease;
	if (vip->snat.range_size != pool->range_size)
		return error_set(err, ERR_CONFLICT,
		                 "snat.range_size: %u ranges of %u ports are leased; put %s without \"snat\", or "
		                 "delete it, first: that ends their leases",
		                 pool->n_held, pool->range_size, ip_addr_format(&vip->vip, text));
	for (uint32_t port = 0; port < vip->snat.first_port; port += pool->range_size)
		if (snat_pool_lookup(pool, port, &lease))
			return error_set(err, ERR_CONFLICT,
			                 "snat.first_port: %u is leased to %s for SNAT; `anantactl snat revoke %s`, or leave "
			                 "first_port below it",
			                 lease.first_port, ip_addr_format(&lease.dip, other),
			                 ip_endpoint_format(&vip->vip, lease.first_port, where));
	return 0;
}

static int check_endpoints_are_not_leased(const struct vip_config *vip, const struct snat_pool *pool, struct error *err)
{
	char other[IP_ADDR_TEXT_BYTES];
	char where[IP_ENDPOINT_TEXT_BYTES];
	struct lease lease;
	for (uint32_t i = 0; i < vip->n_endpoints; i++)
		if (snat_pool_lookup(pool, vip->endpoints[i].port, &lease))
			return error_set(err, ERR_CONFLICT,
			                 "endpoint \"%s\": port %u is leased to %s for SNAT; `anantactl snat revoke %s`, or "
			                 "choose another port",
			                 vip->endpoints[i].name, vip->endpoints[i].port, ip_addr_format(&lease.dip, other),
			                 ip_endpoint_format(&vip->vip, vip->endpoints[i].port, where));
	return 0;
}

static int check_leases_stay(const struct cluster_state *s, const struct vip_config *vip, struct error *err)
{
	const struct snat_pool *pool = snat_state_lookup_pool(&s->snat, &vip->vip);
	if (pool == NULL || pool->n_held == 0 || vip->n_snat_dips == 0)
		return 0;
	int code = check_ranges_stay(vip, pool, err);
	return code != 0 ? code : check_endpoints_are_not_leased(vip, pool, err);
}

static int check_vip_put(const struct cluster_state *s, struct vip_config *vip, struct error *err)
{
	char text[IP_ADDR_TEXT_BYTES];
	const struct vip_config *old = store_lookup_vip(&s->store, &vip->vip);
	int code = vip_config_validate(vip, err);
	if (code != 0)
		return code;
	if (old != NULL && strcmp(old->tenant, vip->tenant) != 0)
		return error_set(err, ERR_CONFLICT, "tenant: %s belongs to tenant \"%s\", not to \"%s\"; delete it there first",
		                 ip_addr_format(&vip->vip, text), old->tenant, vip->tenant);
	code = check_count(&s->store.vips, old == NULL, LIMIT_VIPS, "VIPs", err);
	if (code == 0 && old == NULL)
		code = check_vip_is_no_dip(s, &vip->vip, err);
	if (code == 0 && old == NULL)
		code = check_no_node_has(s, &vip->vip, NULL, "vip", err);
	if (code == 0)
		code = check_dips_of_vip(s, vip, err);
	return code != 0 ? code : check_leases_stay(s, vip, err);
}

static int check_vip(const struct cluster_state *s, struct change *c, struct error *err)
{
	char text[IP_ADDR_TEXT_BYTES];
	if (!c->is_delete)
		return check_vip_put(s, c->vip, err);
	if (store_lookup_vip(&s->store, &c->key.addr) == NULL)
		return error_set(err, ERR_NOT_FOUND, "vip: %s is not configured", ip_addr_format(&c->key.addr, text));
	return 0;
}

static int check_node_addr(const struct cluster_state *s, const struct change *c, const struct ip_addr *addr,
                           const char *field, struct error *err)
{
	char text[IP_ADDR_TEXT_BYTES];
	const char *problem = ip_addr_problem(addr);
	if (problem != NULL)
		return error_set(err, ERR_INVALID, "%s: %s is not an address that a machine can have: %s", field,
		                 ip_addr_format(addr, text), problem);
	int code = check_no_node_has(s, addr, &c->key, field, err);
	if (code == 0)
		code = check_no_vip(s, addr, field, err);
	if (code == 0)
		code = check_not_attached(s, addr, field, err);
	return code != 0 ? code : check_no_via(s, addr, NULL, field, err);
}

static int check_node_addr6(const struct cluster_state *s, const struct change *c, struct error *err)
{
	char text[IP_ADDR_TEXT_BYTES];
	if (ip_addr_is_unspecified(&c->node.addr6))
		return 0;
	if (ip_addr_is_v4(&c->node.addr6))
		return error_set(err, ERR_INVALID, "address6: %s is no IPv6 address", ip_addr_format(&c->node.addr6, text));
	if (!ip_addr_is_v4(&c->node.addr))
		return error_set(err, ERR_INVALID, "address6: only a node whose address is IPv4 has a second one, got %s",
		                 ip_addr_format(&c->node.addr, text));
	return check_node_addr(s, c, &c->node.addr6, "address6", err);
}

static int check_node_put(const struct cluster_state *s, const struct change *c, const char *what, struct error *err)
{
	bool is_mux = c->key.kind == OBJECT_MUX;
	const struct store_array *nodes = is_mux ? &s->store.muxes : &s->store.hosts;
	bool is_new =
		(is_mux ? store_lookup_mux(&s->store, c->node.name) : store_lookup_host(&s->store, c->node.name)) == NULL;
	if (!text_is_name(c->node.name))
		return error_set(err, ERR_INVALID, "%s.name: must be 1 to 63 of A-Z a-z 0-9 . _ -", what);
	int code = check_count(nodes, is_new, is_mux ? LIMIT_MUXES : LIMIT_HOSTS, is_mux ? "muxes" : "hosts", err);
	if (code != 0)
		return code;
	code = check_node_addr(s, c, &c->node.addr, "address", err);
	if (code == 0)
		code = check_node_addr6(s, c, err);
	return code != 0 ? error_prefix(err, "%s.", what) : 0;
}

static int check_mux(const struct cluster_state *s, const struct change *c, struct error *err)
{
	if (!c->is_delete)
		return check_node_put(s, c, "mux", err);
	if (store_lookup_mux(&s->store, c->key.name) == NULL)
		return error_set(err, ERR_NOT_FOUND, "mux: no mux \"%s\" is known", c->key.name);
	return 0;
}

static int check_host(const struct cluster_state *s, const struct change *c, struct error *err)
{
	char text[IP_ADDR_TEXT_BYTES];
	if (!c->is_delete)
		return check_node_put(s, c, "host", err);
	if (store_lookup_host(&s->store, c->key.name) == NULL)
		return error_set(err, ERR_NOT_FOUND, "host: no host \"%s\" is known", c->key.name);
	uint32_t i = 0;
	const struct dip_info *dip = cluster_state_next_attached(s, c->key.name, &i);
	if (dip != NULL)
		return error_set(err, ERR_CONFLICT, "host: \"%s\" has DIP %s attached; detach its DIPs first", c->key.name,
		                 ip_addr_format(&dip->dip, text));
	return 0;
}

// A VM of both families has one interface with a DIP of each.
static int check_interface_free(const struct cluster_state *s, const struct dip_info *dip, struct error *err)
{
	char text[IP_ADDR_TEXT_BYTES];
	char mac[MAC_TEXT_BYTES];
	uint32_t i = 0;
	for (const struct dip_info *other; (other = cluster_state_next_attached(s, dip->host, &i)) != NULL;) {
		if (ip_addr_equal(&other->dip, &dip->dip) || strcmp(other->interface, dip->interface) != 0)
			continue;
		if (ip_addr_is_same_family(&other->dip, &dip->dip))
			return error_set(err, ERR_CONFLICT,
			                 "interface: \"%s\" of host \"%s\" has DIP %s already; it takes one IPv4 and one IPv6",
			                 dip->interface, dip->host, ip_addr_format(&other->dip, text));
		if (memcmp(other->mac, dip->mac, sizeof dip->mac) != 0)
			return error_set(
				err, ERR_CONFLICT,
				"mac: the VM behind interface \"%s\" of host \"%s\" has %s, as DIP %s says; detach that first",
				dip->interface, dip->host, mac_format(other->mac, mac), ip_addr_format(&other->dip, text));
	}
	return 0;
}

static int check_dip_fields(const struct dip_info *dip, struct error *err)
{
	static const uint8_t no_mac[6] = { 0 };
	char text[IP_ADDR_TEXT_BYTES];
	const char *problem = ip_addr_problem(&dip->dip);
	if (problem != NULL)
		return error_set(err, ERR_INVALID, "dip: %s is not an address that a VM can have: %s",
		                 ip_addr_format(&dip->dip, text), problem);
	if (!text_is_name(dip->vm))
		return error_set(err, ERR_INVALID, "name: a VM's name must be 1 to 63 of A-Z a-z 0-9 . _ -");
	if (!text_is_name(dip->interface) || strlen(dip->interface) >= INTERFACE_NAME_BYTES)
		return error_set(err, ERR_INVALID, "interface: must be 1 to %d of A-Z a-z 0-9 . _ -", INTERFACE_NAME_BYTES - 1);
	if (memcmp(dip->mac, no_mac, sizeof no_mac) == 0 || (dip->mac[0] & 1) != 0)
		return error_set(err, ERR_INVALID, "mac: must be the address of one machine, not a group's or all zeros");
	return 0;
}

static int check_via(const struct cluster_state *s, const struct dip_info *dip, struct error *err)
{
	char text[IP_ADDR_TEXT_BYTES];
	char other[IP_ADDR_TEXT_BYTES];
	if (!dip_info_has_via(dip))
		return 0;
	const char *problem = ip_addr_problem(&dip->via);
	if (problem != NULL)
		return error_set(err, ERR_INVALID, "via: %s is not an address that packets can be sent to: %s",
		                 ip_addr_format(&dip->via, text), problem);
	if (ip_addr_is_same_family(&dip->via, &dip->dip))
		return error_set(err, ERR_INVALID,
		                 "via: %s is of the same family as DIP %s; leave it out, or give one of the other family",
		                 ip_addr_format(&dip->via, text), ip_addr_format(&dip->dip, other));
	int code = check_no_vip(s, &dip->via, "via", err);
	if (code == 0)
		code = check_no_node_has(s, &dip->via, NULL, "via", err);
	if (code == 0)
		code = check_not_attached(s, &dip->via, "via", err);
	if (code == 0)
		code = check_no_holder(s, &dip->via, "via", err);
	return code != 0 ? code : check_no_via(s, &dip->via, &dip->dip, "via", err);
}

static int check_dip_put(const struct cluster_state *s, const struct dip_info *dip, struct error *err)
{
	char text[IP_ADDR_TEXT_BYTES];
	const struct dip_info *old = store_lookup_dip(&s->store, &dip->dip);
	int code = check_dip_fields(dip, err);
	if (code != 0)
		return code;
	if (store_lookup_host(&s->store, dip->host) == NULL)
		return error_set(err, ERR_NOT_FOUND, "host: no host \"%s\" is known; its agent makes it known", dip->host);
	if (old != NULL && strcmp(old->host, dip->host) != 0)
		return error_set(err, ERR_CONFLICT, "dip: %s is attached on host \"%s\" as VM \"%s\"; detach it there first",
		                 ip_addr_format(&dip->dip, text), old->host, old->vm);
	code = check_count(&s->store.dips, old == NULL, LIMIT_DIPS, "DIPs", err);
	if (code == 0)
		code = check_no_vip(s, &dip->dip, "dip", err);
	if (code == 0 && old == NULL)
		code = check_no_node_has(s, &dip->dip, NULL, "dip", err);
	if (code == 0)
		code = check_no_via(s, &dip->dip, NULL, "dip", err);
	if (code == 0)
		code = check_via(s, dip, err);
	return code != 0 ? code : check_interface_free(s, dip, err);
}

static int check_dip(const struct cluster_state *s, const struct change *c, struct error *err)
{
	char text[IP_ADDR_TEXT_BYTES];
	if (!c->is_delete)
		return check_dip_put(s, &c->dip, err);
	if (store_lookup_dip(&s->store, &c->key.addr) == NULL)
		return error_set(err, ERR_NOT_FOUND, "dip: %s is not attached", ip_addr_format(&c->key.addr, text));
	return 0;
}

int rules_check_change(const struct cluster_state *s, struct change *c, struct error *err)
{
	switch (c->key.kind) {
	case OBJECT_CLUSTER: return check_cluster(s, c, err);
	case OBJECT_VIP: return check_vip(s, c, err);
	case OBJECT_MUX: return check_mux(s, c, err);
	case OBJECT_HOST: return check_host(s, c, err);
	case OBJECT_DIP: return check_dip(s, c, err);
	case OBJECT_HISTORY: return error_set(err, ERR_INVALID, "history: is made by the managers themselves");
	case OBJECT_DRAIN: return drains_check_change(s, c, err);
	case OBJECT_UNHEALTHY:
	case OBJECT_HOST_GONE:
	case OBJECT_MUX_DRAIN: return marks_check_change(s, c, err);
	case OBJECT_SETTINGS: return c->is_delete ? 0 : cluster_settings_validate(&c->settings, err);
	}
	return error_set(err, ERR_INVALID, "a change of an object that is not known here");
}

int rules_check_operators(const struct change_list *changes, struct error *err)
{
	for (uint32_t i = 0; i < changes->n; i++) {
		enum object_kind kind = changes->items[i].key.kind;
		if (kind != OBJECT_UNHEALTHY && kind != OBJECT_HOST_GONE)
			continue;
		return error_set(err, ERR_INVALID,
		                 "%s: is found out by the managers themselves; drain a DIP to take it out of use",
		                 kind == OBJECT_UNHEALTHY ? "unhealthy" : "host gone");
	}
	return 0;
}
