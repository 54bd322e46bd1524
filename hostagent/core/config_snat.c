// Of a snapshot (config.h): which DIPs are SNATed with which VIPs, and towards which destinations they are not.
#include "hostagent/core/config_build.h"

static struct agent_snat *snat_of(struct config_build *b, const struct ip_addr *dip)
{
	struct agent_config *c = b->config;
	be32 addr = config_name(b, dip);
	const struct addr_slot *slot = addr_map_lookup(&c->snat_dips, addr);
	if (slot != NULL)
		return &c->snats[slot->value];
	config_map_insert(&c->snat_dips, addr, (uint16_t)c->n_snats);
	c->snats[c->n_snats] = (struct agent_snat){ .dip = addr };
	return &c->snats[c->n_snats++];
}

static bool snat_is_served(const struct store *store, const char *host, const struct ip_addr *vip,
                           const struct ip_addr *dip)
{
	return ip_addr_is_v4(vip) == ip_addr_is_v4(dip) && agent_config_dip_is_local(store, host, dip);
}

static void add_snat_vip(struct config_build *b, const struct vip_config *vip, struct agent_snat *snat)
{
	b->config->snat_vips[snat->first_vip + snat->n_vips++] =
		(struct agent_snat_vip){ .vip = config_name(b, &vip->vip), .policy = vip->snat };
	snat->prealloc_ports += vip->snat.prealloc_ports;
	snat->max_ports += vip->snat.max_ports_per_dip;
	if (snat->n_vips == 1 || vip->snat.idle_s < snat->idle_s)
		snat->idle_s = vip->snat.idle_s;
}

// The VIPs come in ascending order. `counts`: only how many each DIP has, to see where they begin.
static void walk_snats(struct config_build *b, const struct store *store, const char *host, bool counts)
{
	for (uint32_t v = 0; v < store->vips.n; v++) {
		const struct vip_config *vip = store_vip(store, v);
		for (uint32_t d = 0; d < vip->n_snat_dips; d++) {
			if (!snat_is_served(store, host, &vip->vip, &vip->snat_dips[d]))
				continue;
			struct agent_snat *snat = snat_of(b, &vip->snat_dips[d]);
			if (counts)
				snat->n_vips++;
			else
				add_snat_vip(b, vip, snat);
		}
	}
}

void config_add_snats(struct config_build *b, const struct store *store, const char *host)
{
	struct agent_config *c = b->config;
	walk_snats(b, store, host, true);
	uint32_t first = 0;
	for (uint32_t i = 0; i < c->n_snats; i++) {
		c->snats[i].first_vip = first;
		first += c->snats[i].n_vips;
		c->snats[i].n_vips = 0;
	}
	walk_snats(b, store, host, false);
}

static struct agent_prefix6 prefix6_of(const struct ip_prefix *p)
{
	uint8_t mask[IP6_ADDR_BYTES] = { 0 };
	for (uint32_t bit = 0; bit < p->bits && bit < 8 * sizeof mask; bit++)
		mask[bit / 8] |= (uint8_t)(0x80u >> bit % 8);
	struct agent_prefix6 r;
	for (uint32_t i = 0; i < 2; i++) {
		r.mask[i] = load64(mask + 8 * i);
		r.addr[i] = load64(p->addr.bytes + 8 * i) & r.mask[i];
	}
	return r;
}

void config_add_settings(struct config_build *b, const struct cluster_settings *settings)
{
	struct agent_config *c = b->config;
	c->snat_gone_s = settings->snat_gone_s;
	for (uint32_t i = 0; i < settings->n_no_snat; i++) {
		const struct ip_prefix *p = &settings->no_snat[i];
		if (!ip_addr_is_v4(&p->addr)) {
			c->no_snat6[c->n_no_snat6++] = prefix6_of(p);
			continue;
		}
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

bool agent_config_is_inside6(const struct agent_config *c, const uint8_t *addr, be32 name)
{
	for (uint32_t i = 0; i < c->n_no_snat6; i++) {
		const struct agent_prefix6 *p = &c->no_snat6[i];
		if ((load64(addr) & p->mask[0]) == p->addr[0] && (load64(addr + 8) & p->mask[1]) == p->addr[1])
			return true;
	}
	return name != 0 && agent_config_is_known(c, name);
}
