#include "common/dpdk/node_ports.h"

#include "common/io/netlink.h"

enum { TABLE_MAIN = 254, PROTOCOL_STATIC = 4 }; // linux/rtnetlink.h: RT_TABLE_MAIN, RTPROT_STATIC

static int add_address_and_route(struct netlink *nl, const struct node_config *node, struct error *err)
{
	struct netlink_link link;
	int code = netlink_get_link(nl, node->tap, &link, err);
	if (code == 0)
		code = netlink_set_up(nl, link.index, true, err);
	if (code == 0)
		code = netlink_add_addr(nl, link.index, &node->address, err);
	struct netlink_route route = {
		.dst = { .addr = ip_addr_from_v4(0) },
		.gateway = node->gateways[0],
		.has_gateway = true,
		.link_index = link.index,
		.table = TABLE_MAIN,
		.protocol = PROTOCOL_STATIC,
	};
	if (code == 0)
		code = netlink_add_route(nl, &route, err);
	return code;
}

static int set_up_tap(const struct node_config *node, struct error *err)
{
	struct netlink *nl;
	int code = netlink_open(&nl, err);
	if (code != 0)
		return code;
	code = add_address_and_route(nl, node, err);
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
