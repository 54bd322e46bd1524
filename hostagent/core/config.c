#include "hostagent/core/config.h"

#include <stdlib.h>
#include <string.h>

#include "common/base/check.h"
#include "common/base/memory.h"
#include "hostagent/core/config_build.h"

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
	uint32_t via_slots;
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
	return vip->idle_tcp_s != 0 || vip->idle_udp_s != 0;
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
	struct sizes s = { .n_sources = 2 * (store->muxes.n + store->hosts.n) };
	uint32_t n_vias = 0;
	for (uint32_t i = 0; i < store->dips.n; i++) {
		s.n_dips += strcmp(store_dip(store, i)->host, host) == 0;
		n_vias += !ip_addr_is_unspecified(&store_dip(store, i)->via);
	}
	s.via_slots = slots_for(n_vias);
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
	size_t via_bytes = s->via_slots * sizeof(struct addr_pair);
	c->vias = (struct addr_pair_map){ s->via_slots - 1, 0, carve(base, &at, via_bytes) };
	c->local_vias = (struct addr_pair_map){ s->via_slots - 1, 0, carve(base, &at, via_bytes) };
	c->owners = (struct owners_map){ s->owners_slots - 1, carve(base, &at, s->owners_slots * sizeof *c->owners.slots) };
	c->present =
		(struct owners_map){ s->present_slots - 1, carve(base, &at, s->present_slots * sizeof *c->present.slots) };
	return at;
}

// ---- Tables ----

be32 config_name(struct config_build *b, const struct ip_addr *addr)
{
	be32 name = addr_names_give(b->names, addr->bytes);
	if (name == 0 && !ip_addr_is_unspecified(addr))
		b->lacks_names = true;
	return name;
}

void config_map_insert(struct addr_map *m, be32 addr, uint16_t value)
{
	uint32_t i = addr_map_start(addr) & m->mask;
	while (m->slots[i].is_used && m->slots[i].addr != addr)
		i = (i + 1) & m->mask;
	m->slots[i] = (struct addr_slot){ .addr = addr, .value = value, .is_used = true };
}

static void addr_pair_insert(struct addr_pair_map *m, be32 key, be32 value)
{
	uint32_t i = addr_map_start(key) & m->mask;
	while (m->slots[i].key != 0 && m->slots[i].key != key)
		i = (i + 1) & m->mask;
	m->slots[i] = (struct addr_pair){ .key = key, .value = value };
	m->n++;
}

static uint32_t by_vip_start(be32 vip, be16 vip_port, uint8_t protocol, be32 dip)
{
	return (uint32_t)(hash_mix64(((uint64_t)vip << 32 | dip) ^ ((uint64_t)vip_port << 8 | protocol)) >> 16);
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
	for (uint32_t i = config_service_start(dip, dip_port, protocol) & m->mask; m->slots[i].is_used;
	     i = (i + 1) & m->mask) {
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
	i = config_service_start(e->dip, e->dip_port, e->protocol) & c->by_dip.mask;
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

static void add_local_dips(struct config_build *b, const struct store *store, const char *host)
{
	struct agent_config *c = b->config;
	for (uint32_t i = 0; i < store->dips.n; i++) {
		const struct dip_info *info = store_dip(store, i);
		if (strcmp(info->host, host) != 0)
			continue;
		struct agent_dip *dip = &c->dips[c->n_dips++];
		dip->dip = info->dip;
		dip->port = AGENT_NO_PORT;
		dip->problem = assign_port(c, info, &dip->port);
		if (dip->problem != DIP_OK)
			continue;
		c->ports[dip->port].has_ip6 |= !ip_addr_is_v4(&info->dip);
		config_map_insert(&c->local_dips, config_name(b, &info->dip), dip->port);
	}
}

// ---- Building ----

static void add_known(struct config_build *b, const struct ip_addr *addr)
{
	if (!ip_addr_is_unspecified(addr))
		config_map_insert(&b->config->known, config_name(b, addr), 0);
}

// Who may send what is encapsulated, from either address.
static void add_node(struct config_build *b, const struct node_info *node)
{
	const struct ip_addr *addrs[2] = { &node->addr, &node->addr6 };
	for (uint32_t i = 0; i < 2; i++)
		if (!ip_addr_is_unspecified(addrs[i]))
			config_map_insert(&b->config->encap_sources, config_name(b, addrs[i]), 0);
	add_known(b, &node->addr);
	add_known(b, &node->addr6);
}

static void add_via(struct config_build *b, const struct dip_info *info)
{
	if (ip_addr_is_unspecified(&info->via))
		return;
	struct agent_config *c = b->config;
	be32 dip = config_name(b, &info->dip);
	be32 via = config_name(b, &info->via);
	add_known(b, &info->via);
	addr_pair_insert(&c->vias, dip, via);
	if (agent_config_lookup_dip(c, dip) != AGENT_NO_PORT)
		addr_pair_insert(&c->local_vias, via, dip);
}

static void add_addresses(struct config_build *b, const struct store *store)
{
	struct agent_config *c = b->config;
	for (uint32_t i = 0; i < store->muxes.n; i++) {
		const struct node_info *mux = store_mux(store, i);
		c->muxes[c->n_muxes++] =
			(struct agent_mux){ .addr = config_name(b, &mux->addr), .addr6 = config_name(b, &mux->addr6) };
		add_node(b, mux);
	}
	for (uint32_t i = 0; i < store->hosts.n; i++)
		add_node(b, store_host(store, i));
	for (uint32_t i = 0; i < store->dips.n; i++) {
		add_known(b, &store_dip(store, i)->dip);
		add_via(b, store_dip(store, i));
	}
}

static void add_endpoint(struct config_build *b, const struct store *store, const char *host, const struct ip_addr *vip,
                         const struct endpoint *endpoint)
{
	for (uint32_t i = 0; i < endpoint->n_dips; i++) {
		const struct endpoint_dip *dip = &endpoint->dips[i];
		add_known(b, &dip->dip);
		if (ip_addr_is_v4(vip) != ip_addr_is_v4(&dip->dip) || !agent_config_dip_is_local(store, host, &dip->dip))
			continue;
		struct agent_endpoint e = {
			.vip = config_name(b, vip),
			.dip = config_name(b, &dip->dip),
			.vip_port = be16_from(endpoint->port),
			.dip_port = be16_from(dip->port),
			.protocol = endpoint->protocol,
			.is_used = true,
		};
		endpoint_insert(b->config, &e);
	}
}

static void add_vips(struct config_build *b, const struct store *store, const char *host)
{
	for (uint32_t i = 0; i < store->vips.n; i++) {
		const struct vip_config *vip = store_vip(store, i);
		for (uint32_t e = 0; e < vip->n_endpoints; e++)
			add_endpoint(b, store, host, &vip->vip, &vip->endpoints[e]);
		for (uint32_t d = 0; d < vip->n_snat_dips; d++)
			add_known(b, &vip->snat_dips[d]);
	}
}

// ---- How long flows may be silent ----

static int compare_idles(const void *a, const void *b)
{
	be32 x = ((const struct flow_idle *)a)->vip;
	be32 y = ((const struct flow_idle *)b)->vip;
	return x < y ? -1 : x > y;
}

static void add_idles(struct config_build *b, const struct store *store)
{
	struct agent_config *c = b->config;
	for (uint32_t i = 0; i < store->vips.n; i++) {
		const struct vip_config *vip = store_vip(store, i);
		if (has_idle(vip))
			c->idles.list[c->idles.n++] = (struct flow_idle){ .vip = config_name(b, &vip->vip),
				                                              .tcp_s = vip->idle_tcp_s,
				                                              .udp_s = vip->idle_udp_s };
	}
	if (c->idles.n > 0)
		qsort(c->idles.list, c->idles.n, sizeof *c->idles.list, compare_idles);
}

// ---- All of it ----

int agent_config_create(const struct store *store, const char *host, uint16_t max_ports, struct addr_names *names,
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
	struct config_build b = { .config = c, .names = names };
	c->names = names;
	c->version = store->version;
	c->n_ports = max_ports;
	int code = config_add_owners(&b, store, previous);
	if (previous != NULL)
		keep_ports(c, store, host, previous);
	add_local_dips(&b, store, host);
	add_addresses(&b, store);
	add_vips(&b, store, host);
	add_idles(&b, store);
	config_add_snats(&b, store, host);
	config_add_settings(&b, &store->settings);
	if (code != 0 || b.lacks_names) {
		agent_config_destroy(c);
		return error_set(err, ERR_NO_MEMORY,
		                 b.lacks_names ? "no memory for the names of IPv6 addresses"
		                               : "no memory for the owners of %u endpoints",
		                 s.n_present);
	}
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
	};
	CHECK(problem <= DIP_BAD_INTERFACE);
	return names[problem];
}
