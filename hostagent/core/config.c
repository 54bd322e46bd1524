#include "hostagent/core/config.h"

#include <stdlib.h>
#include <string.h>

#include "common/base/check.h"
#include "common/base/memory.h"

// ---- Sizes: the whole snapshot is one allocation ----

struct sizes {
	uint32_t n_dips;
	uint32_t n_sources;
	uint32_t n_known;
	uint32_t n_endpoints; // (endpoint, local DIP) pairs
	uint32_t n_snat_pairs; // (VIP, local DIP of its snat list)
	uint32_t local_slots;
	uint32_t source_slots;
	uint32_t known_slots;
	uint32_t endpoint_slots;
	uint32_t snat_slots;
	uint32_t n_owners;
	uint32_t owners_slots;
	uint32_t n_idles;
	uint32_t n_present;
	uint32_t present_slots;
};

bool agent_config_dip_is_local(const struct store *store, const char *host, const struct ip_addr *dip)
{
	const struct dip_info *info = store_lookup_dip(store, dip);
	return info != NULL && strcmp(info->host, host) == 0;
}

// A power of two, at least twice n: lookups of what is absent stay short.
static uint32_t slots_for(uint32_t n)
{
	uint32_t slots = 4;
	while (slots < n * 2)
		slots *= 2;
	return slots;
}

static bool has_idle(const struct vip_config *vip)
{
	return ip_addr_is_v4(&vip->vip) && (vip->idle_tcp_s != 0 || vip->idle_udp_s != 0);
}

static void count_vip(const struct store *store, const char *host, const struct vip_config *vip, struct sizes *s)
{
	for (uint32_t e = 0; e < vip->n_endpoints; e++) {
		s->n_known += vip->endpoints[e].n_dips;
		for (uint32_t d = 0; d < vip->endpoints[e].n_dips; d++)
			s->n_endpoints += agent_config_dip_is_local(store, host, &vip->endpoints[e].dips[d].dip);
	}
	s->n_known += vip->n_snat_dips;
	s->n_idles += has_idle(vip);
	for (uint32_t d = 0; d < vip->n_snat_dips; d++)
		s->n_snat_pairs += agent_config_dip_is_local(store, host, &vip->snat_dips[d]);
}

static struct sizes sizes_of(const struct store *store, const char *host)
{
	struct sizes s = { .n_sources = store->muxes.n + store->hosts.n };
	for (uint32_t i = 0; i < store->dips.n; i++)
		s.n_dips += strcmp(store_dip(store, i)->host, host) == 0;
	s.n_known = s.n_sources + store->dips.n;
	for (uint32_t i = 0; i < store->vips.n; i++)
		count_vip(store, host, store_vip(store, i), &s);
	s.local_slots = slots_for(s.n_dips);
	s.source_slots = slots_for(s.n_sources);
	s.known_slots = slots_for(s.n_known);
	s.endpoint_slots = slots_for(s.n_endpoints);
	s.snat_slots = slots_for(s.n_dips);
	for (uint32_t i = 0; i < store->histories.n; i++)
		s.n_owners += store_history(store, i)->n_endpoints;
	s.owners_slots = slots_for(s.n_owners);
	for (uint32_t i = 0; i < store->vips.n; i++)
		s.n_present += store_vip(store, i)->n_endpoints;
	s.present_slots = slots_for(s.n_present);
	return s;
}

static void *carve(uint8_t *base, size_t *at, size_t bytes)
{
	size_t here = *at;
	*at += (bytes + 63) / 64 * 64;
	return base == NULL ? NULL : base + here;
}

// Lays the arrays out from `base`, or only measures when that is NULL; returns the bytes used.
static size_t lay_out(struct agent_config *c, const struct sizes *s, uint16_t max_ports, uint8_t *base)
{
	size_t at = 0;
	carve(base, &at, sizeof *c);
	c->ports = carve(base, &at, max_ports * sizeof *c->ports);
	c->dips = carve(base, &at, s->n_dips * sizeof *c->dips);
	c->local_dips =
		(struct addr_map){ s->local_slots - 1, carve(base, &at, s->local_slots * sizeof(struct addr_slot)) };
	c->encap_sources =
		(struct addr_map){ s->source_slots - 1, carve(base, &at, s->source_slots * sizeof(struct addr_slot)) };
	c->known = (struct addr_map){ s->known_slots - 1, carve(base, &at, s->known_slots * sizeof(struct addr_slot)) };
	size_t endpoint_bytes = s->endpoint_slots * sizeof(struct agent_endpoint);
	c->by_vip = (struct endpoint_map){ s->endpoint_slots - 1, carve(base, &at, endpoint_bytes) };
	c->by_dip = (struct endpoint_map){ s->endpoint_slots - 1, carve(base, &at, endpoint_bytes) };
	c->snat_dips = (struct addr_map){ s->snat_slots - 1, carve(base, &at, s->snat_slots * sizeof(struct addr_slot)) };
	c->snats = carve(base, &at, s->n_dips * sizeof *c->snats);
	c->snat_vips = carve(base, &at, s->n_snat_pairs * sizeof *c->snat_vips);
	c->idles.list = carve(base, &at, s->n_idles * sizeof *c->idles.list);
	c->muxes = carve(base, &at, s->n_sources * sizeof *c->muxes);
	c->owners = (struct owners_map){ s->owners_slots - 1, carve(base, &at, s->owners_slots * sizeof *c->owners.slots) };
	c->present =
		(struct owners_map){ s->present_slots - 1, carve(base, &at, s->present_slots * sizeof *c->present.slots) };
	return at;
}

// ---- Tables ----

// Other addresses than IPv4 wait for the IPv6 branch of the packet path.
static void addr_map_insert(struct addr_map *m, const struct ip_addr *addr, uint16_t value)
{
	if (!ip_addr_is_v4(addr))
		return;
	be32 v4 = ip_addr_to_v4(addr);
	uint32_t i = addr_map_start(v4) & m->mask;
	while (m->slots[i].is_used && m->slots[i].addr != v4)
		i = (i + 1) & m->mask;
	m->slots[i] = (struct addr_slot){ .addr = v4, .value = value, .is_used = true };
}

static uint32_t by_vip_start(be32 vip, be16 vip_port, uint8_t protocol, be32 dip)
{
	return (uint32_t)(hash_mix64(((uint64_t)vip << 32 | dip) ^ ((uint64_t)vip_port << 8 | protocol)) >> 16);
}

static uint32_t by_dip_start(be32 dip, be16 dip_port, uint8_t protocol)
{
	return (uint32_t)(hash_mix64((uint64_t)dip << 32 | (uint64_t)dip_port << 8 | protocol) >> 16);
}

const struct agent_endpoint *agent_config_lookup_endpoint(const struct agent_config *c, be32 vip, be16 vip_port,
                                                          uint8_t protocol, be32 dip)
{
	const struct endpoint_map *m = &c->by_vip;
	for (uint32_t i = by_vip_start(vip, vip_port, protocol, dip) & m->mask; m->slots[i].is_used;
	     i = (i + 1) & m->mask) {
		const struct agent_endpoint *e = &m->slots[i];
		if (e->vip == vip && e->vip_port == vip_port && e->protocol == protocol && e->dip == dip)
			return e;
	}
	return NULL;
}

const struct agent_endpoint *agent_config_lookup_service(const struct agent_config *c, be32 dip, be16 dip_port,
                                                         uint8_t protocol)
{
	const struct endpoint_map *m = &c->by_dip;
	for (uint32_t i = by_dip_start(dip, dip_port, protocol) & m->mask; m->slots[i].is_used; i = (i + 1) & m->mask) {
		const struct agent_endpoint *e = &m->slots[i];
		if (e->dip == dip && e->dip_port == dip_port && e->protocol == protocol)
			return e;
	}
	return NULL;
}

static void endpoint_insert(struct agent_config *c, const struct agent_endpoint *e)
{
	uint32_t i = by_vip_start(e->vip, e->vip_port, e->protocol, e->dip) & c->by_vip.mask;
	while (c->by_vip.slots[i].is_used)
		i = (i + 1) & c->by_vip.mask;
	c->by_vip.slots[i] = *e;

	struct agent_endpoint *service =
		(struct agent_endpoint *)agent_config_lookup_service(c, e->dip, e->dip_port, e->protocol);
	if (service != NULL) {
		service->is_ambiguous = true;
		return;
	}
	i = by_dip_start(e->dip, e->dip_port, e->protocol) & c->by_dip.mask;
	while (c->by_dip.slots[i].is_used)
		i = (i + 1) & c->by_dip.mask;
	c->by_dip.slots[i] = *e;
}

// ---- Ports ----

static uint16_t port_lookup(const struct agent_config *c, const char *interface)
{
	for (uint16_t i = 0; i < c->n_ports; i++)
		if (strcmp(c->ports[i].interface, interface) == 0)
			return i;
	return AGENT_NO_PORT;
}

// Interfaces that stay keep their slots, so that a running VM is not touched by what happens to others.
static void keep_ports(struct agent_config *c, const struct store *store, const char *host,
                       const struct agent_config *previous)
{
	for (uint32_t i = 0; i < store->dips.n; i++) {
		const struct dip_info *info = store_dip(store, i);
		if (strcmp(info->host, host) != 0 || strlen(info->interface) >= INTERFACE_BYTES)
			continue;
		uint16_t slot = port_lookup(previous, info->interface);
		if (slot != AGENT_NO_PORT && slot < c->n_ports)
			memcpy(c->ports[slot].interface, previous->ports[slot].interface, INTERFACE_BYTES);
	}
}

static bool mac_is_set(const struct mac *mac)
{
	static const struct mac zero;
	return memcmp(mac, &zero, sizeof zero) != 0;
}

static enum dip_problem assign_port(struct agent_config *c, const struct dip_info *info, uint16_t *ret_port)
{
	size_t name_bytes = strlen(info->interface);
	if (!ip_addr_is_v4(&info->dip))
		return DIP_NOT_IP4;
	if (name_bytes == 0 || name_bytes >= INTERFACE_BYTES)
		return DIP_BAD_INTERFACE;
	uint16_t slot = port_lookup(c, info->interface);
	if (slot == AGENT_NO_PORT)
		slot = port_lookup(c, "");
	if (slot == AGENT_NO_PORT)
		return DIP_NO_PORT_LEFT;
	struct agent_vm_port *port = &c->ports[slot];
	if (mac_is_set(&port->mac) && memcmp(&port->mac, info->mac, MAC_BYTES) != 0)
		return DIP_MAC_CONFLICT;
	memcpy(port->interface, info->interface, name_bytes + 1);
	memcpy(&port->mac, info->mac, MAC_BYTES);
	*ret_port = slot;
	return DIP_OK;
}

static void add_local_dips(struct agent_config *c, const struct store *store, const char *host)
{
	for (uint32_t i = 0; i < store->dips.n; i++) {
		const struct dip_info *info = store_dip(store, i);
		if (strcmp(info->host, host) != 0)
			continue;
		struct agent_dip *dip = &c->dips[c->n_dips++];
		dip->dip = info->dip;
		dip->port = AGENT_NO_PORT;
		dip->problem = assign_port(c, info, &dip->port);
		if (dip->problem == DIP_OK)
			addr_map_insert(&c->local_dips, &info->dip, dip->port);
	}
}

// ---- Building ----

static void add_addresses(struct agent_config *c, const struct store *store)
{
	for (uint32_t i = 0; i < store->muxes.n; i++) {
		if (ip_addr_is_v4(&store_mux(store, i)->addr))
			c->muxes[c->n_muxes++] = ip_addr_to_v4(&store_mux(store, i)->addr);
		addr_map_insert(&c->encap_sources, &store_mux(store, i)->addr, 0);
		addr_map_insert(&c->known, &store_mux(store, i)->addr, 0);
	}
	for (uint32_t i = 0; i < store->hosts.n; i++) {
		addr_map_insert(&c->encap_sources, &store_host(store, i)->addr, 0);
		addr_map_insert(&c->known, &store_host(store, i)->addr, 0);
	}
	for (uint32_t i = 0; i < store->dips.n; i++)
		addr_map_insert(&c->known, &store_dip(store, i)->dip, 0);
}

static void add_endpoint(struct agent_config *c, const struct store *store, const char *host, const struct ip_addr *vip,
                         const struct endpoint *endpoint)
{
	for (uint32_t i = 0; i < endpoint->n_dips; i++) {
		const struct endpoint_dip *dip = &endpoint->dips[i];
		addr_map_insert(&c->known, &dip->dip, 0);
		if (!ip_addr_is_v4(vip) || !ip_addr_is_v4(&dip->dip) || !agent_config_dip_is_local(store, host, &dip->dip))
			continue;
		struct agent_endpoint e = {
			.vip = ip_addr_to_v4(vip),
			.dip = ip_addr_to_v4(&dip->dip),
			.vip_port = be16_from(endpoint->port),
			.dip_port = be16_from(dip->port),
			.protocol = endpoint->protocol,
			.is_used = true,
		};
		endpoint_insert(c, &e);
	}
}

static void add_vips(struct agent_config *c, const struct store *store, const char *host)
{
	for (uint32_t i = 0; i < store->vips.n; i++) {
		const struct vip_config *vip = store_vip(store, i);
		for (uint32_t e = 0; e < vip->n_endpoints; e++)
			add_endpoint(c, store, host, &vip->vip, &vip->endpoints[e]);
		for (uint32_t d = 0; d < vip->n_snat_dips; d++)
			addr_map_insert(&c->known, &vip->snat_dips[d], 0);
	}
}

// ---- How long flows may be silent ----

static int compare_idles(const void *a, const void *b)
{
	be32 x = ((const struct flow_idle *)a)->vip;
	be32 y = ((const struct flow_idle *)b)->vip;
	return x < y ? -1 : x > y;
}

static void add_idles(struct agent_config *c, const struct store *store)
{
	for (uint32_t i = 0; i < store->vips.n; i++) {
		const struct vip_config *vip = store_vip(store, i);
		if (has_idle(vip))
			c->idles.list[c->idles.n++] = (struct flow_idle){ .vip = ip_addr_to_v4(&vip->vip),
				                                              .tcp_s = vip->idle_tcp_s,
				                                              .udp_s = vip->idle_udp_s };
	}
	if (c->idles.n > 0)
		qsort(c->idles.list, c->idles.n, sizeof *c->idles.list, compare_idles);
}

// ---- SNAT ----

static struct agent_snat *snat_of(struct agent_config *c, const struct ip_addr *dip)
{
	be32 addr = ip_addr_to_v4(dip);
	const struct addr_slot *slot = addr_map_lookup(&c->snat_dips, addr);
	if (slot != NULL)
		return &c->snats[slot->value];
	addr_map_insert(&c->snat_dips, dip, (uint16_t)c->n_snats);
	c->snats[c->n_snats] = (struct agent_snat){ .dip = addr };
	return &c->snats[c->n_snats++];
}

static bool snat_is_served(const struct store *store, const char *host, const struct ip_addr *vip,
                           const struct ip_addr *dip)
{
	return ip_addr_is_v4(vip) && ip_addr_is_v4(dip) && agent_config_dip_is_local(store, host, dip);
}

static void add_snat_vip(struct agent_config *c, const struct vip_config *vip, struct agent_snat *snat)
{
	c->snat_vips[snat->first_vip + snat->n_vips++] =
		(struct agent_snat_vip){ .vip = ip_addr_to_v4(&vip->vip), .policy = vip->snat };
	snat->prealloc_ports += vip->snat.prealloc_ports;
	snat->max_ports += vip->snat.max_ports_per_dip;
	if (snat->n_vips == 1 || vip->snat.idle_s < snat->idle_s)
		snat->idle_s = vip->snat.idle_s;
}

// The VIPs come in ascending order. `counts`: only how many each DIP has, to see where they begin.
static void walk_snats(struct agent_config *c, const struct store *store, const char *host, bool counts)
{
	for (uint32_t v = 0; v < store->vips.n; v++) {
		const struct vip_config *vip = store_vip(store, v);
		for (uint32_t d = 0; d < vip->n_snat_dips; d++) {
			if (!snat_is_served(store, host, &vip->vip, &vip->snat_dips[d]))
				continue;
			struct agent_snat *snat = snat_of(c, &vip->snat_dips[d]);
			if (counts)
				snat->n_vips++;
			else
				add_snat_vip(c, vip, snat);
		}
	}
}

static void add_snats(struct agent_config *c, const struct store *store, const char *host)
{
	walk_snats(c, store, host, true);
	uint32_t first = 0;
	for (uint32_t i = 0; i < c->n_snats; i++) {
		c->snats[i].first_vip = first;
		first += c->snats[i].n_vips;
		c->snats[i].n_vips = 0;
	}
	walk_snats(c, store, host, false);
}

static void add_settings(struct agent_config *c, const struct cluster_settings *settings)
{
	c->snat_gone_s = settings->snat_gone_s;
	for (uint32_t i = 0; i < settings->n_no_snat; i++) {
		const struct ip_prefix *p = &settings->no_snat[i];
		if (!ip_addr_is_v4(&p->addr))
			continue;
		be32 mask = p->bits == 0 ? 0 : be32_from(UINT32_MAX << (32 - p->bits));
		c->no_snat[c->n_no_snat++] = (struct agent_prefix){ .addr = ip_addr_to_v4(&p->addr) & mask, .mask = mask };
	}
}

bool agent_config_is_inside(const struct agent_config *c, be32 addr)
{
	for (uint32_t i = 0; i < c->n_no_snat; i++)
		if ((addr & c->no_snat[i].mask) == c->no_snat[i].addr)
			return true;
	return agent_config_is_known(c, addr);
}

// ---- Owner histories ----

static struct endpoint_owners **owners_slot(const struct owners_map *m, be32 vip, be16 vip_port, uint8_t protocol)
{
	uint32_t i = by_dip_start(vip, vip_port, protocol) & m->mask;
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
static struct endpoint_owners *owners_shared(const struct owners_map *previous, const struct vip_history *vip,
                                             const struct endpoint_history *h)
{
	if (previous == NULL || !ip_addr_is_v4(&vip->vip))
		return NULL;
	struct endpoint_owners *o = *owners_slot(previous, ip_addr_to_v4(&vip->vip), be16_from(h->port), h->protocol);
	return o != NULL && o->fingerprint == owners_fingerprint(vip, h) ? owners_ref(o) : NULL;
}

static int add_owners(struct owners_map *m, const struct owners_map *previous, const struct vip_history *vip,
                      const struct endpoint_history *h)
{
	struct endpoint_owners *o = owners_shared(previous, vip, h);
	int code = o == NULL ? owners_create(vip, h, &o) : 0;
	if (code == 0 && o != NULL)
		*owners_slot(m, o->vip, o->vip_port, o->protocol) = o;
	return code;
}

static int add_histories(struct agent_config *c, const struct store *store, const struct agent_config *previous)
{
	int code = 0;
	for (uint32_t i = 0; code == 0 && i < store->histories.n; i++) {
		const struct vip_history *vip = store_history(store, i);
		c->n_owners += vip->n_endpoints;
		for (uint32_t e = 0; code == 0 && e < vip->n_endpoints; e++)
			code = add_owners(&c->owners, previous == NULL ? NULL : &previous->owners, vip, &vip->endpoints[e]);
	}
	return code;
}

// An endpoint without history has one generation: its configuration.
static int add_present(struct agent_config *c, const struct agent_config *previous, const struct ip_addr *vip,
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
	int code = add_owners(&c->present, previous == NULL ? NULL : &previous->present, &of_vip, &h);
	memory_free(members);
	return code;
}

static int add_all_present(struct agent_config *c, const struct store *store, const struct agent_config *previous)
{
	int code = 0;
	for (uint32_t i = 0; code == 0 && i < store->vips.n; i++) {
		const struct vip_config *vip = store_vip(store, i);
		const struct vip_history *history = store_lookup_history(store, &vip->vip);
		for (uint32_t e = 0; code == 0 && e < vip->n_endpoints; e++) {
			const struct endpoint *endpoint = &vip->endpoints[e];
			if (endpoint->n_dips > 0 && vip_history_lookup(history, endpoint->protocol, endpoint->port) == NULL)
				code = add_present(c, previous, &vip->vip, endpoint);
		}
	}
	return code;
}

// Without the cluster's seed nobody can tell which bucket a flow is in.
static int add_all_owners(struct agent_config *c, const struct store *store, const struct agent_config *previous)
{
	if (!store->has_cluster)
		return 0;
	c->cluster_id = store->cluster.cluster_id;
	c->hash_seed = store->cluster.hash_seed;
	memcpy(c->pin_key, store->cluster.pin_key, sizeof c->pin_key);
	int code = add_histories(c, store, previous);
	return code != 0 ? code : add_all_present(c, store, previous);
}

int agent_config_create(const struct store *store, const char *host, uint16_t max_ports,
                        const struct agent_config *previous, struct agent_config **ret_config, struct error *err)
{
	if (max_ports == 0 || max_ports > AGENT_PORTS_MAX)
		return error_set(err, ERR_LIMIT, "max_vms: must be 1 to %d, got %d", AGENT_PORTS_MAX, max_ports);
	struct sizes s = sizes_of(store, host);
	struct agent_config measure = { 0 };
	size_t bytes = lay_out(&measure, &s, max_ports, NULL);
	struct agent_config *c = memory_array(bytes, 1);
	if (c == NULL)
		return error_set(err, ERR_NO_MEMORY, "no memory for a configuration of %zu bytes", bytes);
	lay_out(c, &s, max_ports, (uint8_t *)c);
	if (add_all_owners(c, store, previous) != 0) {
		agent_config_destroy(c);
		return error_set(err, ERR_NO_MEMORY, "no memory for the owners of %u endpoints", s.n_present);
	}
	c->version = store->version;
	c->n_ports = max_ports;
	if (previous != NULL)
		keep_ports(c, store, host, previous);
	add_local_dips(c, store, host);
	add_addresses(c, store);
	add_vips(c, store, host);
	add_idles(c, store);
	add_snats(c, store, host);
	add_settings(c, &store->settings);
	*ret_config = c;
	return 0;
}

void agent_config_destroy(struct agent_config *c)
{
	if (c == NULL)
		return;
	for (uint32_t i = 0; i <= c->owners.mask; i++)
		owners_unref(c->owners.slots[i]);
	for (uint32_t i = 0; i <= c->present.mask; i++)
		owners_unref(c->present.slots[i]);
	memory_free(c);
}

const char *dip_problem_name(enum dip_problem problem)
{
	static const char *const names[] = {
		[DIP_OK] = "ok",
		[DIP_NO_PORT_LEFT] = "too-many-interfaces",
		[DIP_MAC_CONFLICT] = "mac-conflict",
		[DIP_BAD_INTERFACE] = "bad-interface",
		[DIP_NOT_IP4] = "not-ipv4",
	};
	CHECK(problem <= DIP_NOT_IP4);
	return names[problem];
}
