#include "hostagent/dpdk/data_plane.h"

#include <inttypes.h>
#include <rte_lcore.h>
#include <rte_launch.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/memory.h"
#include "common/dpdk/eal.h"
#include "common/dpdk/node_ports.h"
#include "common/io/log.h"
#include "common/io/netlink.h"
#include "hostagent/dpdk/loop.h"
#include "hostagent/dpdk/vm_ports.h"

#define HELD_PER_VM 256 // frames that may wait for ports, by the number of VMs; 2.4 KB each
#define HELD_MIN (2 * SNAT_HOLD_PACKETS) // of which one DIP gets half
#define HELD_MAX 4096
#define FRAGMENT_DATAGRAMS 4096u // that come in fragments at a time, each way: 4.6 MB

struct data_plane {
	struct dpdk_eal eal;
	struct node_ports host;
	struct vm_ports vms;
	struct agent_config *config; // in use, owned
	uint64_t generation;
	bool is_running;
	struct loop loop;
};

// ---- Views ----

// Out of memory here would mean to go on with a port that is closed: no way to answer that but to stop. Views are small.
static struct view *make_view(struct data_plane *dp, const struct agent_config *config)
{
	struct view *view = calloc(1, sizeof *view);
	if (view == NULL) {
		log_error("no-memory", "what=view");
		abort();
	}
	view->generation = ++dp->generation;
	view->config = config;
	vm_ports_fill_view(&dp->vms, view);
	return view;
}

static void publish(struct data_plane *dp, const struct agent_config *config)
{
	free((void *)loop_publish(&dp->loop, make_view(dp, config)));
	dpdk_poller_wake(&dp->loop.poller);
}

// The worker lets go of the marked ports, then they close.
static void close_marked(struct data_plane *dp)
{
	publish(dp, dp->config);
	vm_ports_close_marked(&dp->vms);
}

void data_plane_set_config(struct data_plane *dp, struct agent_config *config)
{
	struct agent_config *old = dp->config;
	if (vm_ports_mark_unwanted(&dp->vms, config))
		close_marked(dp);
	vm_ports_set_wanted(&dp->vms, config);
	dp->config = config;
	publish(dp, config);
	agent_config_destroy(old);
}

const struct agent_config *data_plane_get_config(const struct data_plane *dp)
{
	return dp->config;
}

bool data_plane_tend_ports(struct data_plane *dp)
{
	if (vm_ports_mark_vanished(&dp->vms))
		close_marked(dp);
	if (!vm_ports_open_one(&dp->vms))
		return false;
	publish(dp, dp->config);
	return true;
}

enum vm_port_state data_plane_port_state(const struct data_plane *dp, uint16_t port)
{
	return port < dp->vms.n ? dp->vms.ports[port].state : VM_PORT_UNUSED;
}

// ---- Counters ----

static void append(struct agent_counter_value *values, uint32_t max, uint32_t *n, const char *interface,
                   const char *what, uint64_t value)
{
	if (*n < max) {
		text_format(values[*n].name, sizeof values[*n].name, "vm_%s_%s", interface, what);
		values[*n].value = value;
	}
	++*n;
}

uint32_t data_plane_read_counters(const struct data_plane *dp, struct agent_counter_value *ret_values, uint32_t max)
{
	const struct loop *l = &dp->loop;
	struct agent_gauges gauges = {
		.flows = atomic_load_explicit(&l->n_flows, memory_order_relaxed),
		.flow_capacity = l->agent.flows.capacity,
	};
	uint32_t n = agent_counters_read(&l->agent.counters, &gauges, ret_values, max);
	for (uint16_t i = 0; i < dp->vms.n; i++) {
		const char *interface = dp->vms.ports[i].interface;
		if (interface[0] == '\0')
			continue;
		append(ret_values, max, &n, interface, "rx_packets", counter_read(&l->vms[i].rx_packets));
		append(ret_values, max, &n, interface, "tx_packets", counter_read(&l->vms[i].tx_packets));
	}
	return n;
}

uint32_t data_plane_dip_flows(const struct data_plane *dp, be32 dip)
{
	return agent_dip_flows(&dp->loop.agent, dip);
}

// ---- SNAT ----

uint32_t data_plane_send_orders(struct data_plane *dp, const struct snat_order *orders, uint32_t n)
{
	uint32_t n_taken = snat_rings_put_orders(&dp->loop.rings, orders, n);
	if (n_taken > 0)
		dpdk_poller_wake(&dp->loop.poller);
	return n_taken;
}

int data_plane_report_fd(const struct data_plane *dp)
{
	return dp->loop.rings.report_fd;
}

bool data_plane_next_report(struct data_plane *dp, struct snat_report *ret_report)
{
	return snat_rings_next_report(&dp->loop.rings, ret_report);
}

uint32_t data_plane_snat_slots(const struct data_plane *dp)
{
	return snat_slots(dp->loop.agent.snat);
}

bool data_plane_read_snat(const struct data_plane *dp, uint16_t slot, struct snat_dip_status *ret_status,
                          uint32_t *ret_n_held)
{
	if (!snat_read_dip(dp->loop.agent.snat, slot, ret_status))
		return false;
	*ret_n_held = hold_queue_count(&dp->loop.held, slot);
	return true;
}

// ---- Start and stop ----

static uint32_t held_max(const struct data_plane_config *config)
{
	uint32_t n = config->max_vms * HELD_PER_VM;
	if (n < HELD_MIN)
		return HELD_MIN;
	return n < HELD_MAX ? n : HELD_MAX;
}

static void init_agent(struct data_plane *dp, const struct data_plane_config *config)
{
	const struct node_config *node = config->node;
	struct agent_settings settings = {
		.uplink_mac = dp->host.uplink.mac,
		.address = ip_addr_to_v4(&node->address.addr),
		.mss = config->mss,
		.proxy_arp = config->proxy_arp,
		.probe_address = config->probe_address,
	};
	struct loop *l = &dp->loop;
	agent_init(&l->agent, &settings, node->gateways, node->n_gateways);
	agent_use_flows(&l->agent, &config->flows);
	l->agent.snat = config->snat;
	l->agent.counters.flows_restored = config->is_restored ? config->flows.n_flows : 0;
	l->uplink = dp->host.uplink.id;
	l->tap = dp->host.tap.id;
	l->pool = dp->eal.pool;
	l->tended = loop_now();
	l->sees_own_frames = strcmp(config->vm_driver, "af_packet") == 0 ||
	                     (node->uplink_interface[0] != '\0' && strcmp(node->uplink_driver, "af_packet") == 0);
	atomic_init(&l->n_flows, config->flows.n_flows);
}

static int add_probe_address(const char *tap, be32 address, struct error *err)
{
	struct netlink *nl;
	struct netlink_link link;
	struct ip_prefix prefix = { .addr = ip_addr_from_v4(address), .bits = 32 };
	int code = netlink_open(&nl, err);
	if (code != 0)
		return code;
	code = netlink_get_link(nl, tap, &link, err);
	if (code == 0)
		code = netlink_add_addr(nl, link.index, &prefix, err);
	netlink_close(nl);
	return code == 0 ? 0 : error_prefix(err, "probe_address: ");
}

static int start_ports(struct data_plane *dp, const struct data_plane_config *config, struct error *err)
{
	enum dpdk_driver driver;
	struct loop *l = &dp->loop;
	if (dpdk_driver_parse(config->vm_driver, &driver, err) != 0)
		return error_prefix(err, "vm_driver: ");
	int code = node_ports_open(&dp->host, config->node, 1, dp->eal.pool, err);
	if (code == 0 && config->probe_address != 0)
		code = add_probe_address(config->node->tap, config->probe_address, err);
	if (code == 0)
		code = dpdk_poller_init(&l->poller, err);
	if (code == 0)
		code = dpdk_poller_add_port(&l->poller, &dp->host.uplink, err);
	if (code == 0)
		code = dpdk_poller_add_port(&l->poller, &dp->host.tap, err);
	if (code == 0)
		code = vm_ports_init(&dp->vms, config->max_vms, driver, dp->eal.pool, &l->poller, err);
	return code;
}

static int start_worker(struct data_plane *dp, const struct data_plane_config *config, struct error *err)
{
	struct loop *l = &dp->loop;
	if (dpdk_rcu_init(&l->rcu, 1) != 0)
		return error_set(err, ERR_NO_MEMORY, "no memory for RCU");
	init_agent(dp, config);
	l->agent.fragments = agent_fragments_create(FRAGMENT_DATAGRAMS, hash_mix64(config->flows.seed));
	if (l->agent.fragments == NULL)
		return error_set(err, ERR_NO_MEMORY, "no memory for %u datagrams in fragments", FRAGMENT_DATAGRAMS);
	if (hold_queue_init(&l->held, snat_slots(config->snat), held_max(config)) != 0)
		return error_set(err, ERR_NO_MEMORY, "no memory for %u held frames", held_max(config));
	int code = snat_rings_init(&l->rings, err);
	if (code != 0)
		return code;
	atomic_init(&l->is_stopping, false);
	atomic_init(&l->has_ended, false);
	atomic_init(&l->view, make_view(dp, NULL));
	if (rte_eal_remote_launch(loop_run, l, dp->eal.workers[0]) != 0)
		return error_set(err, ERR_IO, "the worker does not start");
	dp->is_running = true;
	log_info("data-plane-started", "uplink=%s tap=%s mtu=%u flows=%" PRIu32 " flow_capacity=%" PRIu32,
	         dp->host.uplink.name, dp->host.tap.interface, dp->host.uplink.mtu, config->flows.n_flows,
	         config->flows.capacity);
	return 0;
}

int data_plane_start(const struct data_plane_config *config, struct data_plane **ret_dp, struct error *err)
{
	struct data_plane *dp = memory_array(1, sizeof *dp);
	if (dp == NULL)
		return error_set(err, ERR_NO_MEMORY, "no memory for the data plane");
	dp->loop.poller.epoll_fd = -1;
	dp->loop.poller.wake_fd = -1;
	dp->loop.rings.report_fd = -1;
	struct dpdk_eal_config eal = {
		.program = "ananta-agent",
		.node = config->node,
		.n_workers = 1,
		.n_ports_max = config->max_vms + 2u,
		.n_buffers_held = held_max(config) + AGENT_FRAGMENT_SLOTS,
	};
	loop_block_tap_signals(SIG_BLOCK);
	int code = dpdk_eal_start(&eal, &dp->eal, err);
	if (code == 0)
		code = start_ports(dp, config, err);
	if (code == 0)
		code = start_worker(dp, config, err);
	if (code != 0) {
		data_plane_stop(dp);
		return code;
	}
	*ret_dp = dp;
	return 0;
}

void data_plane_stop(struct data_plane *dp)
{
	if (dp == NULL)
		return;
	if (dp->is_running) {
		loop_stop(&dp->loop);
		rte_eal_wait_lcore(dp->eal.workers[0]);
		(void)atomic_load_explicit(&dp->loop.has_ended, memory_order_acquire);
	}
	loop_free_held(&dp->loop);
	hold_queue_fini(&dp->loop.held);
	snat_rings_fini(&dp->loop.rings);
	agent_fragments_destroy(dp->loop.agent.fragments);
	vm_ports_fini(&dp->vms);
	node_ports_close(&dp->host);
	dpdk_poller_fini(&dp->loop.poller);
	free((void *)atomic_load(&dp->loop.view));
	dpdk_rcu_fini(&dp->loop.rcu);
	agent_config_destroy(dp->config);
	if (dp->eal.pool != NULL)
		dpdk_eal_stop(&dp->eal);
	memory_free(dp);
}
