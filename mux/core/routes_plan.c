#include "mux/core/routes_plan.h"

#include "common/base/memory.h"

// Of 128 bits.
static uint32_t bits_of(const struct ip_prefix *p)
{
	return ip_addr_is_v4(&p->addr) ? 96u + p->bits : p->bits;
}

static bool is_same_start(const struct ip_addr *a, const struct ip_addr *b, uint32_t bits)
{
	uint8_t rest = (uint8_t)(0xff00u >> bits % 8);
	return memcmp(a->bytes, b->bytes, bits / 8) == 0 &&
	       (bits % 8 == 0 || ((a->bytes[bits / 8] ^ b->bytes[bits / 8]) & rest) == 0);
}

bool route_prefix_covers(const struct ip_prefix *prefix, const struct ip_addr *addr)
{
	return ip_addr_is_v4(&prefix->addr) == ip_addr_is_v4(addr) && is_same_start(&prefix->addr, addr, bits_of(prefix));
}

static bool has_bits_behind(const struct ip_prefix *p)
{
	uint32_t bits = bits_of(p);
	for (uint32_t i = bits; i < 128; i++)
		if ((p->addr.bytes[i / 8] & 0x80u >> i % 8) != 0)
			return true;
	return false;
}

int route_prefixes_check(const struct route_prefixes *p, struct error *err)
{
	char text[IP_ADDR_TEXT_BYTES];
	char other[IP_ADDR_TEXT_BYTES];
	for (uint32_t i = 0; i < p->n; i++) {
		const struct ip_prefix *a = &p->items[i];
		ip_addr_format(&a->addr, text);
		if (a->bits == 0)
			return error_set(err, ERR_INVALID, "%s/0 would announce everything", text);
		if (has_bits_behind(a))
			return error_set(err, ERR_INVALID, "%s/%u has bits behind its length", text, a->bits);
		for (uint32_t k = 0; k < i; k++) {
			const struct ip_prefix *b = &p->items[k];
			if (route_prefix_covers(a, &b->addr) || route_prefix_covers(b, &a->addr))
				return error_set(err, ERR_INVALID, "%s/%u and %s/%u overlap", ip_addr_format(&b->addr, other), b->bits,
				                 text, a->bits);
		}
	}
	return 0;
}

static struct ip_prefix announced_by(const struct ip_addr *vip, const struct route_prefixes *prefixes)
{
	for (uint32_t i = 0; i < prefixes->n; i++)
		if (route_prefix_covers(&prefixes->items[i], vip))
			return prefixes->items[i];
	return (struct ip_prefix){ .addr = *vip, .bits = ip_addr_is_v4(vip) ? 32 : 128 };
}

static int compare(const struct ip_prefix *a, const struct ip_prefix *b)
{
	int order = ip_addr_compare(&a->addr, &b->addr);
	return order != 0 ? order : (int)a->bits - (int)b->bits;
}

int vip_route_compare_items(const void *a, const void *b)
{
	return compare(&((const struct vip_route *)a)->dst, &((const struct vip_route *)b)->dst);
}

// The VIPs of a prefix lie side by side, and the prefix sorts where they do.
int vip_routes_make(const struct ip_addr *vips, uint32_t n_vips, const struct route_prefixes *prefixes,
                    uint8_t protocol, struct vip_route **ret_routes, uint32_t *ret_n)
{
	struct vip_route *routes = memory_array(n_vips, sizeof *routes);
	uint32_t n = 0;
	if (routes == NULL)
		return ERR_NO_MEMORY;
	for (uint32_t i = 0; i < n_vips; i++) {
		struct ip_prefix dst = announced_by(&vips[i], prefixes);
		if (n == 0 || compare(&routes[n - 1].dst, &dst) != 0)
			routes[n++] = (struct vip_route){ .dst = dst, .protocol = protocol };
	}
	*ret_routes = routes;
	*ret_n = n;
	return 0;
}

int routes_plan_make(const struct vip_route *wanted, uint32_t n_wanted, const struct vip_route *present,
                     uint32_t n_present, struct routes_plan *ret_plan)
{
	struct routes_plan plan = { .add = memory_array(n_wanted, sizeof *plan.add),
		                        .remove = memory_array(n_present, sizeof *plan.remove) };
	if (plan.add == NULL || plan.remove == NULL) {
		routes_plan_fini(&plan);
		return ERR_NO_MEMORY;
	}
	uint32_t w = 0;
	uint32_t p = 0;
	while (w < n_wanted || p < n_present) {
		int order = w == n_wanted ? 1 : p == n_present ? -1 : compare(&wanted[w].dst, &present[p].dst);
		if (order == 0 && wanted[w].protocol == present[p].protocol) {
			w++;
			p++;
		} else if (order > 0) {
			plan.remove[plan.n_remove++] = present[p++];
		} else {
			plan.add[plan.n_add++] = wanted[w++];
			p += order == 0; // it is replaced
		}
	}
	*ret_plan = plan;
	return 0;
}

void routes_plan_fini(struct routes_plan *plan)
{
	memory_free(plan->add);
	memory_free(plan->remove);
	*plan = (struct routes_plan){ 0 };
}
