#include "mux/bgp/routes.h"

#include <stdlib.h>
#include <unistd.h>

#include "common/base/memory.h"
#include "mux/core/routes_plan.h"

int routes_init(struct routes *r, struct netlink *netlink, const char *interface, uint32_t table, struct error *err)
{
	*r = (struct routes){ .netlink = netlink, .tun_fd = -1, .table = table };
	if (netlink_create_tun(netlink, interface, &r->tun_fd, &r->link_index, err) != 0)
		return error_prefix(err, "routes.interface: ");
	return 0;
}

void routes_fini(struct routes *r)
{
	if (r->tun_fd >= 0)
		close(r->tun_fd);
	r->tun_fd = -1;
	r->n_announced = 0;
}

static struct netlink_route route_to(const struct routes *r, const struct ip_addr *vip)
{
	return (struct netlink_route){ .dst = { .addr = *vip, .bits = ip_addr_is_v4(vip) ? 32 : 128 },
		                           .link_index = r->link_index,
		                           .table = r->table,
		                           .protocol = NETLINK_PROTOCOL_ANANTA };
}

// What the kernel's table holds for our tun, sorted.
static int list_present(struct routes *r, struct ip_addr **ret_addrs, uint32_t *ret_n, struct error *err)
{
	struct netlink_route *routes;
	uint32_t n_routes;
	int code = netlink_list_routes(r->netlink, r->table, NETLINK_PROTOCOL_ANANTA, &routes, &n_routes, err);
	if (code != 0)
		return code;
	struct ip_addr *addrs = memory_array(n_routes, sizeof *addrs);
	uint32_t n = 0;
	for (uint32_t i = 0; addrs != NULL && i < n_routes; i++)
		if (routes[i].link_index == r->link_index)
			addrs[n++] = routes[i].dst.addr;
	memory_free(routes);
	if (addrs == NULL)
		return error_set(err, ERR_NO_MEMORY, "out of memory");
	qsort(addrs, n, sizeof *addrs, ip_addr_compare_items);
	*ret_addrs = addrs;
	*ret_n = n;
	return 0;
}

static int apply_plan(struct routes *r, const struct routes_plan *plan, struct error *err)
{
	struct netlink_route *add = memory_array(plan->n_add, sizeof *add);
	struct netlink_route *remove = memory_array(plan->n_remove, sizeof *remove);
	int code = ERR_NO_MEMORY;
	if (add != NULL && remove != NULL) {
		for (uint32_t i = 0; i < plan->n_add; i++)
			add[i] = route_to(r, &plan->add[i]);
		for (uint32_t i = 0; i < plan->n_remove; i++)
			remove[i] = route_to(r, &plan->remove[i]);
		code = netlink_change_routes(r->netlink, add, plan->n_add, remove, plan->n_remove, err);
	} else {
		error_set(err, ERR_NO_MEMORY, "out of memory");
	}
	memory_free(add);
	memory_free(remove);
	return code;
}

int routes_set(struct routes *r, const struct ip_addr *vips, uint32_t n_vips, struct error *err)
{
	struct ip_addr *present = NULL;
	uint32_t n_present = 0;
	struct routes_plan plan;
	int code = list_present(r, &present, &n_present, err);
	if (code != 0)
		return code;
	code = routes_plan_make(vips, n_vips, present, n_present, &plan);
	memory_free(present);
	if (code != 0)
		return error_set(err, ERR_NO_MEMORY, "out of memory");
	code = apply_plan(r, &plan, err);
	routes_plan_fini(&plan);
	if (code == 0)
		r->n_announced = n_vips;
	return code;
}
