#include "mux/bgp/routes.h"

#include <stdlib.h>
#include <unistd.h>

#include "common/base/memory.h"

int routes_init(struct routes *r, struct netlink *netlink, const struct routes_config *config, struct error *err)
{
	*r = (struct routes){ .netlink = netlink, .config = config, .tun_fd = -1 };
	if (netlink_create_tun(netlink, config->interface, &r->tun_fd, &r->link_index, err) != 0)
		return error_prefix(err, "routes.interface: ");
	return 0;
}

void routes_fini(struct routes *r)
{
	if (r->tun_fd >= 0)
		close(r->tun_fd);
	r->tun_fd = -1;
	r->n_announced = 0;
	r->n_routes = 0;
}

static bool is_ours(const struct routes *r, const struct netlink_route *route)
{
	return route->link_index == r->link_index &&
	       (route->protocol == ROUTES_PROTOCOL_SERVING || route->protocol == ROUTES_PROTOCOL_DRAINING);
}

// What the kernel's table holds for our tun, sorted.
static int list_present(struct routes *r, struct vip_route **ret_routes, uint32_t *ret_n, struct error *err)
{
	struct netlink_route *listed;
	uint32_t n_listed;
	int code = netlink_list_routes(r->netlink, r->config->table, NETLINK_PROTOCOL_ANY, &listed, &n_listed, err);
	if (code != 0)
		return code;
	struct vip_route *routes = memory_array(n_listed, sizeof *routes);
	uint32_t n = 0;
	for (uint32_t i = 0; routes != NULL && i < n_listed; i++)
		if (is_ours(r, &listed[i]))
			routes[n++] = (struct vip_route){ .dst = listed[i].dst, .protocol = listed[i].protocol };
	memory_free(listed);
	if (routes == NULL)
		return error_set(err, ERR_NO_MEMORY, "out of memory");
	qsort(routes, n, sizeof *routes, vip_route_compare_items);
	*ret_routes = routes;
	*ret_n = n;
	return 0;
}

static void fill(const struct routes *r, const struct vip_route *from, uint32_t n, struct netlink_route *to)
{
	for (uint32_t i = 0; i < n; i++)
		to[i] = (struct netlink_route){
			.dst = from[i].dst, .link_index = r->link_index, .table = r->config->table, .protocol = from[i].protocol
		};
}

static int apply_plan(struct routes *r, const struct routes_plan *plan, struct error *err)
{
	struct netlink_route *add = memory_array(plan->n_add, sizeof *add);
	struct netlink_route *remove = memory_array(plan->n_remove, sizeof *remove);
	int code = ERR_NO_MEMORY;
	if (add != NULL && remove != NULL) {
		fill(r, plan->add, plan->n_add, add);
		fill(r, plan->remove, plan->n_remove, remove);
		code = netlink_change_routes(r->netlink, add, plan->n_add, remove, plan->n_remove, err);
	} else {
		error_set(err, ERR_NO_MEMORY, "out of memory");
	}
	memory_free(add);
	memory_free(remove);
	return code;
}

static int set_routes(struct routes *r, const struct vip_route *wanted, uint32_t n_wanted, struct error *err)
{
	struct vip_route *present = NULL;
	uint32_t n_present = 0;
	struct routes_plan plan;
	int code = list_present(r, &present, &n_present, err);
	if (code != 0)
		return code;
	code = routes_plan_make(wanted, n_wanted, present, n_present, &plan);
	memory_free(present);
	if (code != 0)
		return error_set(err, ERR_NO_MEMORY, "out of memory");
	code = apply_plan(r, &plan, err);
	routes_plan_fini(&plan);
	return code;
}

int routes_set(struct routes *r, const struct ip_addr *vips, uint32_t n_vips, uint8_t protocol, struct error *err)
{
	struct vip_route *wanted;
	uint32_t n_wanted;
	int code = vip_routes_make(vips, n_vips, &r->config->prefixes, protocol, &wanted, &n_wanted);
	if (code != 0)
		return error_set(err, ERR_NO_MEMORY, "out of memory");
	code = set_routes(r, wanted, n_wanted, err);
	memory_free(wanted);
	if (code == 0) {
		r->n_announced = n_vips;
		r->n_routes = n_wanted;
	}
	return code;
}
