// ananta-mux: reads its configuration, opens the uplink and the tap, starts the worker and its control.
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

#include "common/base/memory.h"
#include "common/dpdk/eal.h"
#include "common/dpdk/node_ports.h"
#include "common/io/log.h"
#include "common/io/pages.h"
#include "common/io/program.h"
#include "mux/io/control.h"

// From the withdrawal of the routes until the worker stops, so that packets that are on their way are still served.
#define LINGER_MS 500

struct program {
	struct mux_config config;
	struct dpdk_eal eal;
	struct node_ports ports;
	struct netlink *netlink;
	struct routes routes;
	struct loop loop;
	struct vip_counters *vips;
	struct pins pins;
	void *pin_sets;
	struct control *control;
	uv_loop_t uv;
	uv_signal_t signals[2];
	uv_timer_t linger;
};

static void on_lingered(uv_timer_t *timer)
{
	struct program *p = timer->data;
	control_destroy(p->control);
	uv_close((uv_handle_t *)timer, NULL);
}

static void on_signal(uv_signal_t *handle, int number)
{
	struct program *p = handle->data;
	log_info("stopping", "signal=%d linger_ms=%d", number, LINGER_MS);
	for (int i = 0; i < 2; i++)
		uv_close((uv_handle_t *)&p->signals[i], NULL);
	control_withdraw(p->control);
	uv_timer_init(&p->uv, &p->linger);
	p->linger.data = p;
	uv_timer_start(&p->linger, on_lingered, LINGER_MS, 0);
}

static void watch_signals(struct program *p)
{
	static const int numbers[] = { SIGTERM, SIGINT };
	for (int i = 0; i < 2; i++) {
		uv_signal_init(&p->uv, &p->signals[i]);
		p->signals[i].data = p;
		uv_signal_start(&p->signals[i], on_signal, numbers[i]);
	}
}

static int start_dpdk(struct program *p, struct error *err)
{
	struct dpdk_eal_config eal = {
		.program = "ananta-mux", .node = &p->config.node, .n_workers = p->config.n_workers, .n_ports_max = 2
	};
	int code = dpdk_eal_start(&eal, &p->eal, err);
	if (code == 0)
		code = node_ports_open(&p->ports, &p->config.node, (uint16_t)p->config.n_workers, p->eal.pool, err);
	return code;
}

static int make_pins(struct program *p, struct error *err)
{
	uint32_t max_pins = p->config.max_pins;
	if (max_pins == 0)
		return 0;
	p->pin_sets = pages_create(pins_memory_bytes(max_pins));
	if (p->pin_sets == NULL)
		return error_set(err, ERR_NO_MEMORY, "out of memory for %u pins", max_pins);
	pins_init(&p->pins, max_pins, p->pin_sets);
	return 0;
}

static int start_worker(struct program *p, struct error *err)
{
	const struct node_config *node = &p->config.node;
	struct mux_settings settings = { .mac = p->ports.uplink.mac,
		                             .address = ip_addr_to_v4(&node->address.addr),
		                             .mtu = node->mtu,
		                             .oversized = p->config.oversized };
	p->vips = memory_aligned(64, sizeof *p->vips);
	if (p->vips == NULL)
		return error_set(err, ERR_NO_MEMORY, "out of memory");
	int code = make_pins(p, err);
	struct pins *pins = p->pin_sets != NULL ? &p->pins : NULL;
	if (code == 0)
		code = loop_init(&p->loop, &settings, &p->ports.uplink, &p->ports.tap, p->vips, pins, err);
	if (code != 0)
		return code;
	p->loop.sees_own_frames = node->uplink_interface[0] != '\0' && strcmp(node->uplink_driver, "af_packet") == 0;
	for (uint32_t i = 0; i < node->n_gateways; i++)
		(void)neighbor_table_insert(&p->loop.worker.neighbors, ip_addr_to_v4(&node->gateways[i]));
	return loop_start(&p->loop, p->eal.workers[0], err);
}

static int start(struct program *p, struct error *err)
{
	const struct mux_config *c = &p->config;
	int code = start_dpdk(p, err);
	if (code == 0)
		code = netlink_open(&p->netlink, err);
	if (code == 0)
		code = routes_init(&p->routes, p->netlink, c->routes_interface, c->routes_table, err);
	if (code == 0)
		code = start_worker(p, err);
	struct control_parts parts = { .config = c, .routes = &p->routes, .loop = &p->loop, .vips = p->vips };
	if (code == 0)
		code = control_create(&p->uv, &parts, &p->control, err);
	return code;
}

static void stop(struct program *p)
{
	routes_fini(&p->routes);
	netlink_close(p->netlink);
	loop_stop(&p->loop);
	loop_fini(&p->loop);
	node_ports_close(&p->ports);
	dpdk_eal_stop(&p->eal);
	memory_free(p->vips);
	pages_destroy(p->pin_sets, pins_memory_bytes(p->config.max_pins));
}

static int run(struct program *p)
{
	struct error err = { 0 };
	signal(SIGPIPE, SIG_IGN); // a peer that goes away is an error of its connection, not the end of the program
	uv_loop_init(&p->uv);
	p->routes.tun_fd = -1; // stop() finds what start() did not get to
	p->loop.poller = (struct dpdk_poller){ .epoll_fd = -1, .wake_fd = -1 };
	int code = start(p, &err);
	if (code == 0) {
		watch_signals(p);
		log_info("started", "mux=%s version=%s", p->config.node.name, ANANTA_VERSION);
	} else {
		fprintf(stderr, "ananta-mux: %s\n", err.text);
	}
	uv_run(&p->uv, UV_RUN_DEFAULT);
	uv_loop_close(&p->uv);
	stop(p);
	if (code != 0)
		return code == ERR_INVALID || code == ERR_CONFLICT ? PROGRAM_EXIT_CONFIG : EXIT_FAILURE;
	log_info("stopped", "mux=%s", p->config.node.name);
	return EXIT_SUCCESS;
}

int main(int argc, char **argv)
{
	static struct program p;
	struct program_options o;
	struct error err = { 0 };
	int status;
	if (!program_parse_options(
			argc, argv, "ananta-mux",
			"The data plane of Ananta for traffic to VIPs: picks a DIP by hash, encapsulates, announces.", &o, &status))
		return status;
	if (mux_config_read(o.config, &p.config, &err) != 0) {
		fprintf(stderr, "ananta-mux: %s\n", err.text);
		return o.checks_only ? EXIT_FAILURE : PROGRAM_EXIT_CONFIG;
	}
	return o.checks_only ? EXIT_SUCCESS : run(&p);
}
