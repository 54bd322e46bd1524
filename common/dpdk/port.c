#include "common/dpdk/port.h"

#include <errno.h>
#include <rte_bus_vdev.h>
#include <rte_dev.h>
#include <rte_errno.h>
#include <rte_ethdev.h>
#include <stdio.h>
#include <string.h>

#include "common/dpdk/eal.h"
#include "common/dpdk/port_fds.h"
#include "common/dpdk/xsk.h"
#include "common/io/log.h"
#include "common/io/netlink.h"

enum {
	XDP_DESCRIPTORS = 2048,
	TAP_DESCRIPTORS = 128,
	DEVICE_DESCRIPTORS = 1024,
	ARGS_BYTES = 320,
};

int dpdk_driver_parse(const char *name, enum dpdk_driver *ret_driver, struct error *err)
{
	if (strcmp(name, "af_xdp") == 0)
		*ret_driver = DPDK_AF_XDP;
	else if (strcmp(name, "af_packet") == 0)
		*ret_driver = DPDK_AF_PACKET;
	else
		return error_set(err, ERR_INVALID, "must be \"af_xdp\" or \"af_packet\", got \"%.40s\"", name);
	return 0;
}

int dpdk_port_config_of_uplink(const struct node_config *node, uint16_t n_queues, struct rte_mempool *pool,
                               struct dpdk_port_config *ret_config, struct error *err)
{
	*ret_config = (struct dpdk_port_config){
		.driver = DPDK_DEVICE,
		.interface = node->uplink_interface,
		.device = node->uplink_device,
		.mtu = node->mtu,
		.n_queues = n_queues,
		.pool = pool,
	};
	if (node->uplink_device[0] != '\0')
		return 0;
	if (dpdk_driver_parse(node->uplink_driver, &ret_config->driver, err) != 0)
		return error_prefix(err, "uplink.driver: ");
	return 0;
}

// ---- the kernel's side of the interface

void dpdk_port_write_sysctl(const char *family, const char *interface, const char *name, const char *value)
{
	char path[128];
	snprintf(path, sizeof path, "/proc/sys/net/%s/conf/%s/%s", family, interface, name);
	FILE *f = fopen(path, "we");
	if (f == NULL)
		return; // no such family in this kernel, or not ours to set: the port works without
	if (fputs(value, f) < 0)
		log_warn("sysctl-refused", "path=%s value=%s", path, value);
	fclose(f);
}

// With AF_PACKET the kernel sees each packet too, and would answer ARP and TCP for the address on the tap a second time.
static int silence_kernel(struct netlink *nl, const struct dpdk_port_config *config, uint32_t link_index,
                          struct error *err)
{
	dpdk_port_write_sysctl("ipv6", config->interface, "disable_ipv6", "1");
	if (config->driver != DPDK_AF_PACKET)
		return 0;
	dpdk_port_write_sysctl("ipv4", config->interface, "rp_filter", "1");
	return netlink_set_arp(nl, link_index, false, err);
}

static int prepare_link(struct netlink *nl, const struct dpdk_port_config *config, uint16_t *ret_mtu, struct error *err)
{
	struct netlink_link link;
	int code = netlink_get_link(nl, config->interface, &link, err);
	if (code == 0 && config->mtu > link.mtu) {
		code = netlink_set_mtu(nl, link.index, config->mtu, err);
		link.mtu = config->mtu;
	}
	if (code == 0)
		code = silence_kernel(nl, config, link.index, err);
	if (code == 0) // Neighbor Discovery is sent to groups (RFC 4861), and the kernel on this side is in none
		code = netlink_set_all_multicast(nl, link.index, err);
	if (code == 0 && !link.is_up)
		code = netlink_set_up(nl, link.index, true, err);
	if (code == 0 && config->driver == DPDK_AF_XDP)
		code = xsk_wait_free(link.index, err);
	if (code != 0)
		return error_prefix(err, "%s: ", config->interface);
	*ret_mtu = (uint16_t)(config->mtu != 0 ? config->mtu : link.mtu < DPDK_MTU_MAX ? link.mtu : DPDK_MTU_MAX);
	return 0;
}

static int prepare_interface(const struct dpdk_port_config *config, uint16_t *ret_mtu, struct error *err)
{
	struct netlink *nl;
	int code = netlink_open(&nl, err);
	if (code != 0)
		return code;
	code = prepare_link(nl, config, ret_mtu, err);
	netlink_close(nl);
	return code;
}

// ---- the DPDK device

static void build_device_args(const struct dpdk_port_config *config, uint16_t n_queues, char *args)
{
	switch (config->driver) {
	case DPDK_AF_XDP:
		// busy_budget=0: preferred busy polling needs a poll at every turn, and this program sleeps
		snprintf(args, ARGS_BYTES, "net_af_xdp_%s,iface=%s,start_queue=0,queue_count=%u,busy_budget=0",
		         config->interface, config->interface, n_queues);
		return;
	case DPDK_AF_PACKET:
		// frames of 2048 hold the MTU and fit a buffer; 1024 of them are 2 MB each way
		snprintf(args, ARGS_BYTES,
		         "net_af_packet_%s,iface=%s,qpairs=%u,blocksz=65536,framesz=2048,framecnt=1024,qdisc_bypass=1",
		         config->interface, config->interface, n_queues);
		return;
	case DPDK_TAP:
		if (config->mac == NULL) {
			snprintf(args, ARGS_BYTES, "net_tap_%s,iface=%s", config->interface, config->interface);
			return;
		}
		const uint8_t *m = config->mac->bytes;
		snprintf(args, ARGS_BYTES, "net_tap_%s,iface=%s,mac=%02x:%02x:%02x:%02x:%02x:%02x", config->interface,
		         config->interface, m[0], m[1], m[2], m[3], m[4], m[5]);
		return;
	case DPDK_DEVICE: snprintf(args, ARGS_BYTES, "%s", config->device); return;
	}
}

// The device's name is what stands before the first comma.
static void name_of_args(const char *args, char *name)
{
	size_t n = strcspn(args, ",");
	if (n >= DPDK_PORT_NAME_BYTES)
		n = DPDK_PORT_NAME_BYTES - 1;
	memcpy(name, args, n);
	name[n] = '\0';
}

static int probe(struct dpdk_port *port, const struct dpdk_port_config *config, struct error *err)
{
	char args[ARGS_BYTES];
	build_device_args(config, port->n_queues, args);
	name_of_args(args, port->name);
	if (rte_eth_dev_get_port_by_name(port->name, &port->id) == 0)
		return config->driver == DPDK_DEVICE // EAL has probed the card that --allow names
		           ? 0
		           : error_set(err, ERR_CONFLICT, "port %s is open already", port->name);
	int cause = rte_dev_probe(args);
	if (cause != 0 || rte_eth_dev_get_port_by_name(port->name, &port->id) != 0)
		return error_set(err, ERR_IO, "cannot make DPDK port \"%s\": %s", args,
		                 cause != 0 ? rte_strerror(-cause) : "it is not an Ethernet device");
	return 0;
}

static uint16_t descriptors(enum dpdk_driver driver)
{
	switch (driver) {
	case DPDK_AF_XDP: return XDP_DESCRIPTORS;
	case DPDK_TAP: return TAP_DESCRIPTORS;
	case DPDK_AF_PACKET:
	case DPDK_DEVICE: break;
	}
	return DEVICE_DESCRIPTORS;
}

// Some drivers name a limit that they do not have (net_memif: 1518 bytes, and carries 2048).
static void set_device_mtu(const struct dpdk_port *port, uint32_t mtu, const struct rte_eth_dev_info *info,
                           struct rte_eth_conf *conf)
{
	if (mtu <= info->max_mtu && mtu + RTE_ETHER_HDR_LEN + RTE_ETHER_CRC_LEN <= info->max_rx_pktlen)
		conf->rxmode.mtu = mtu;
	else
		log_warn("port-mtu", "port=%s mtu=%u text=\"the driver promises frames of %u bytes only\"", port->name, mtu,
		         info->max_rx_pktlen);
}

static int configure(struct dpdk_port *port, const struct dpdk_port_config *config)
{
	struct rte_eth_dev_info info;
	struct rte_eth_conf conf = { 0 };
	int cause = rte_eth_dev_info_get(port->id, &info);
	if (cause != 0)
		return cause;
	if (config->driver == DPDK_DEVICE && config->mtu != 0)
		set_device_mtu(port, config->mtu, &info, &conf);
	// Every buffer is of the one pool and of one reference.
	conf.txmode.offloads = info.tx_offload_capa & RTE_ETH_TX_OFFLOAD_MBUF_FAST_FREE;
	if (port->n_queues > 1 && info.flow_type_rss_offloads != 0) {
		conf.rxmode.mq_mode = RTE_ETH_MQ_RX_RSS;
		conf.rx_adv_conf.rss_conf.rss_hf =
			(RTE_ETH_RSS_IP | RTE_ETH_RSS_TCP | RTE_ETH_RSS_UDP) & info.flow_type_rss_offloads;
	}
	return rte_eth_dev_configure(port->id, port->n_queues, port->n_queues, &conf);
}

static int setup_queues(struct dpdk_port *port, const struct dpdk_port_config *config)
{
	uint16_t n_rx = descriptors(config->driver);
	uint16_t n_tx = n_rx;
	int cause = rte_eth_dev_adjust_nb_rx_tx_desc(port->id, &n_rx, &n_tx);
	for (uint16_t q = 0; q < port->n_queues && cause == 0; q++) {
		cause = rte_eth_rx_queue_setup(port->id, q, n_rx, SOCKET_ID_ANY, NULL, config->pool);
		if (cause == 0)
			cause = rte_eth_tx_queue_setup(port->id, q, n_tx, SOCKET_ID_ANY, NULL);
	}
	return cause;
}

static int start(struct dpdk_port *port, const struct dpdk_port_config *config, struct error *err)
{
	const char *what = "configure";
	int cause = configure(port, config);
	if (cause == 0) {
		what = "set up the queues of";
		cause = setup_queues(port, config);
	}
	if (cause == 0) {
		what = "start";
		cause = rte_eth_dev_start(port->id);
	}
	if (cause != 0)
		return error_set(err, ERR_IO, "cannot %s DPDK port %s: %s", what, port->name, rte_strerror(-cause));
	if (config->driver == DPDK_DEVICE)
		(void)rte_eth_allmulticast_enable(port->id); // those that filter nothing do not know it
	struct rte_ether_addr mac;
	(void)rte_eth_macaddr_get(port->id, &mac);
	memcpy(port->mac.bytes, mac.addr_bytes, sizeof port->mac.bytes);
	return 0;
}

static void remove_device(struct dpdk_port *port)
{
	struct rte_eth_dev_info info;
	if (rte_eth_dev_info_get(port->id, &info) != 0)
		return;
	(void)rte_eth_dev_stop(port->id);
	(void)rte_eth_dev_close(port->id);
	if (rte_dev_remove(info.device) != 0)
		log_warn("port-not-removed", "port=%s text=\"%s\"", port->name, rte_strerror(rte_errno));
}

int dpdk_port_open(struct dpdk_port *port, const struct dpdk_port_config *config, struct error *err)
{
	*port = (struct dpdk_port){ .n_queues = config->n_queues == 0 ? 1 : config->n_queues,
		                        .pool = config->pool,
		                        .driver = config->driver };
	port->mtu = (uint16_t)config->mtu;
	if (config->mtu > DPDK_MTU_MAX)
		return error_set(err, ERR_INVALID, "mtu: at most %d, got %u", DPDK_MTU_MAX, config->mtu);
	if (config->driver != DPDK_DEVICE)
		snprintf(port->interface, sizeof port->interface, "%s", config->interface);
	if (config->driver == DPDK_AF_XDP || config->driver == DPDK_AF_PACKET) {
		int code = prepare_interface(config, &port->mtu, err);
		if (code != 0)
			return code;
	}
	struct port_fds_mark mark;
	port_fds_mark(&mark);
	int code = probe(port, config, err);
	if (code != 0)
		return code;
	code = start(port, config, err);
	if (code != 0) {
		remove_device(port);
		return code;
	}
	port_fds_find(&mark, port);
	code = xsk_state_create(port, &port->xsk, err);
	if (code != 0) {
		remove_device(port);
		port_fds_close_bpf(port);
		return code;
	}
	port->is_open = true;
	return 0;
}

// Takes back what the AF_XDP driver would forget: packets received and not yet read, sent and not yet returned.
static void drain_xsk(struct dpdk_port *port)
{
	struct rte_mbuf *packets[64];
	for (uint16_t q = 0; q < port->n_queues; q++) {
		uint32_t n_drained = 0;
		uint16_t n;
		while (n_drained < XDP_DESCRIPTORS && (n = rte_eth_rx_burst(port->id, q, packets, 64)) > 0) {
			rte_pktmbuf_free_bulk(packets, n);
			n_drained += n;
		}
		(void)rte_eth_tx_burst(port->id, q, packets, 0); // reads the completion ring
	}
}

void dpdk_port_close(struct dpdk_port *port)
{
	if (!port->is_open)
		return;
	struct port_fds_mark mark;
	port_fds_mark(&mark);
	if (port->xsk != NULL)
		drain_xsk(port);
	remove_device(port);
	port_fds_find(&mark, port);
	port_fds_close_bpf(port);
	(void)xsk_state_destroy(port->xsk);
	port->xsk = NULL;
	port->is_open = false;
	port->n_fds = 0;
}
