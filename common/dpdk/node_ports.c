#include "common/dpdk/node_ports.h"

#include "common/io/netlink.h"

// The address of one family, if the node has it, and the default route, if there is a gateway.
static int add_family(struct netlink *nl, const struct node_config *node, uint32_t link_index, bool is_ip6,
                      struct error *err)
{
	const struct ip_prefix *address = node_config_address(node, is_ip6);
	const struct ip_addr *gateway = node_config_gateway(node, is_ip6);
	if (address == NULL)
		return 0;
	int code = netlink_add_addr(nl, link_index, address, err);
	if (code != 0 || gateway == NULL)
		return code;
	struct netlink_route route = {
		.dst = { .addr = is_ip6 ? (struct ip_addr){ { 0 } } : ip_addr_from_v4(0) },
		.gateway = *gateway,
		.has_gateway = true,
		.link_index = link_index,
		.table = NETLINK_TABLE_MAIN,
		.protocol = NETLINK_PROTOCOL_STATIC,
	};
	return netlink_add_route(nl, &route, err);
}

// Addresses and routes are the configuration's: a router's advertisements bring none (RFC 4861 section 6.2.1).
static int add_addresses_and_routes(struct netlink *nl, const struct node_config *node, struct error *err)
{
	struct netlink_link link;
	dpdk_port_write_sysctl("ipv6", node->tap, "disable_ipv6", "0");
	dpdk_port_write_sysctl("ipv6", node->tap, "accept_ra", "0");
	int code = netlink_get_link(nl, node->tap, &link, err);
	if (code == 0)
		code = netlink_set_up(nl, link.index, true, err);
	if (code == 0)
		code = add_family(nl, node, link.index, false, err);
	return code != 0 ? code : add_family(nl, node, link.index, true, err);
}

static int set_up_tap(const struct node_config *node, struct error *err)
{
	struct netlink *nl;
	int code = netlink_open(&nl, err);
	if (code != 0)
		return code;
	code = add_addresses_and_routes(nl, node, err);
	netlink_close(nl);
	return code == 0 ? 0 : error_prefix(err, "%s: ", node->tap);
}

int node_ports_open(struct node_ports *p, const struct node_config *node, uint16_t n_queues, struct rte_mempool *pool,
                    struct error *err)
{
	struct dpdk_port_config uplink;
	p->uplink.is_open = false;
	p->tap.is_open = false;
	int code = dpdk_port_config_of_uplink(node, n_queues, pool, &uplink, err);
	if (code == 0)
		code = dpdk_port_open(&p->uplink, &uplink, err);
	if (code != 0)
		return error_prefix(err, "uplink: ");
	struct dpdk_port_config tap = {
		.driver = DPDK_TAP, .interface = node->tap, .mac = &p->uplink.mac, .n_queues = n_queues, .pool = pool
	};
	code = dpdk_port_open(&p->tap, &tap, err);
	if (code == 0)
		code = set_up_tap(node, err);
	if (code != 0) {
		node_ports_close(p);
		return error_prefix(err, "tap: ");
	}
	return 0;
}

void node_ports_close(struct node_ports *p)
{
	dpdk_port_close(&p->tap);
	dpdk_port_close(&p->uplink);
}
