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
	struct state_dir dir;
	struct dpdk_eal eal;
	struct node_ports ports;
	struct netlink *netlink;
	struct routes routes;
	struct loop loop;
	struct addr_names *names;
	struct vip_counters *vips;
	struct pins pins;
	void *pin_sets;
	struct control *control;
	struct watchdog_process *watchdog; // NULL: off
	uv_loop_t uv;
	uv_signal_t signals[2];
	uv_timer_t linger;
	bool is_stopping;
};

static void leave(struct program *p)
{
	for (int i = 0; i < 2; i++)
		uv_close((uv_handle_t *)&p->signals[i], NULL);
	uv_close((uv_handle_t *)&p->linger, NULL);
	control_destroy(p->control);
	watchdog_process_destroy(p->watchdog);
}

static void on_lingered(uv_timer_t *timer)
{
	leave(timer->data);
}

static void on_drained(void *user)
{
	struct program *p = user;
	control_withdraw(p->control);
	uv_timer_start(&p->linger, on_lingered, LINGER_MS, 0);
}

// The first one drains, the second one ends it at once.
static void on_signal(uv_signal_t *handle, int number)
{
	struct program *p = handle->data;
	if (p->is_stopping) {
		log_warn("stopping", "signal=%d text=\"at once: it was asked to twice\"", number);
		control_withdraw(p->control);
		leave(p);
		return;
	}
	p->is_stopping = true;
	log_info("stopping", "signal=%d drain_ms=%u linger_ms=%d", number, p->config.drain_on_stop_ms, LINGER_MS);
	control_drain(p->control, p->config.drain_on_stop_ms, on_drained, p);
}

static void watch_signals(struct program *p)
{
	static const int numbers[] = { SIGTERM, SIGINT };
	for (int i = 0; i < 2; i++) {
		uv_signal_init(&p->uv, &p->signals[i]);
		p->signals[i].data = p;
		uv_signal_start(&p->signals[i], on_signal, numbers[i]);
	}
	uv_timer_init(&p->uv, &p->linger);
	p->linger.data = p;
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

static void insert_gateway(struct mux_worker *w, const struct ip_addr *gateway)
{
	if (ip_addr_is_v4(gateway))
		(void)neighbor_table_insert(&w->neighbors, ip_addr_to_v4(gateway));
	else
		(void)neighbor_table_insert6(&w->neighbors6, gateway->bytes);
}

static int start_worker(struct program *p, struct error *err)
{
	const struct node_config *node = &p->config.node;
	struct mux_settings settings = {
		.mac = p->ports.uplink.mac, .names = p->names, .mtu = node->mtu, .oversized = p->config.oversized
	};
	const struct ip_prefix *address = node_config_address(node, false);
	const struct ip_prefix *address6 = node_config_address(node, true);
	settings.address = address != NULL ? ip_addr_to_v4(&address->addr) : 0;
	settings.has_address6 = address6 != NULL;
	if (address6 != NULL)
		memcpy(settings.address6, address6->addr.bytes, sizeof settings.address6);
	p->vips = memory_aligned(64, sizeof *p->vips);
	if (p->vips == NULL)
		return error_set(err, ERR_NO_MEMORY, "out of memory");
	int code = make_pins(p, err);
	struct pins *pins = p->pin_sets != NULL ? &p->pins : NULL;
	if (code == 0)
		code = loop_init(&p->loop, &settings, &p->ports.uplink, &p->ports.tap, p->vips, pins, p->config.max_pps, err);
	if (code != 0)
		return code;
	if (p->watchdog != NULL) {
		p->loop.turns = &watchdog_process_page(p->watchdog)->turns[WATCHDOG_WORKER].n;
		p->loop.bfd = &watchdog_process_page(p->watchdog)->bfd;
	}
	p->loop.sees_own_frames = node->uplink_interface[0] != '\0' && strcmp(node->uplink_driver, "af_packet") == 0;
	for (uint32_t i = 0; i < node->n_gateways; i++)
		insert_gateway(&p->loop.worker, &node->gateways[i]);
	return loop_start(&p->loop, p->eal.workers[0], err);
}

static int start(struct program *p, struct error *err)
{
	const struct mux_config *c = &p->config;
	int code = c->state_dir[0] != '\0' ? state_dir_open(&p->dir, c->state_dir, err) : 0;
	if (code == 0)
		code = bgp_config_use(&c->bgp, &c->node, &c->routes, err);
	if (code == 0)
		code = start_dpdk(p, err);
	if (code == 0)
		code = netlink_open(&p->netlink, err);
	if (code == 0)
		code = routes_init(&p->routes, p->netlink, &c->routes, err);
	if (code == 0 && c->watchdog_ms > 0)
		code = watchdog_process_create(c->node.name, c->node.uplink_interface, c->watchdog_ms, &p->watchdog, err);
	if (code == 0 && (p->names = addr_names_create()) == NULL)
		code = error_set(err, ERR_NO_MEMORY, "out of memory");
	if (code == 0)
		code = start_worker(p, err);
	struct control_parts parts = {
		.config = c, .names = p->names, .routes = &p->routes, .loop = &p->loop, .vips = p->vips
	};
	if (p->dir.lock_fd >= 0)
		parts.dir = &p->dir;
	if (p->watchdog != NULL)
		parts.watchdog = watchdog_process_page(p->watchdog);
	if (code == 0)
		code = control_create(&p->uv, &parts, &p->control, err);
	if (code == 0 && p->watchdog != NULL && watchdog_process_start(p->watchdog, &p->uv, err) != 0) {
		control_destroy(p->control);
		code = err->code;
	}
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
	addr_names_destroy(p->names);
	pages_destroy(p->pin_sets, pins_memory_bytes(p->config.max_pins));
	state_dir_close(&p->dir);
}

static int run(struct program *p)
{
	struct error err = { 0 };
	signal(SIGPIPE, SIG_IGN); // a peer that goes away is an error of its connection, not the end of the program
	uv_loop_init(&p->uv);
	p->dir.lock_fd = -1;
	p->routes.tun_fd = -1; // stop() finds what start() did not get to
	p->loop.poller = (struct dpdk_poller){ .epoll_fd = -1, .wake_fd = -1 };
	int code = start(p, &err);
	if (code == 0) {
		watch_signals(p);
		log_info("started", "mux=%s version=%s", p->config.node.name, ANANTA_VERSION);
	} else {
		fprintf(stderr, "ananta-mux: %s\n", err.text);
		watchdog_process_destroy(p->watchdog);
	}
	uv_run(&p->uv, UV_RUN_DEFAULT);
	uv_loop_close(&p->uv);
	stop(p);
	if (code != 0)
		return code == ERR_INVALID || code == ERR_CONFLICT ? PROGRAM_EXIT_CONFIG : EXIT_FAILURE;
	log_info("stopped", "mux=%s", p->config.node.name);
	return EXIT_SUCCESS;
}

static int print_birds_config(const struct mux_config *c, struct error *err)
{
	char text[BIRD_CONFIG_BYTES_MAX];
	if (c->bgp.mode != BGP_WRITTEN)
		return error_set(err, ERR_INVALID,
		                 "--print-bird: the configuration has no \"bgp\" with an \"as\" and \"peers\"");
	int code = bgp_config_text(&c->bgp, &c->node, &c->routes, text, err);
	if (code == 0 && fputs(text, stdout) == EOF)
		code = error_set(err, ERR_IO, "--print-bird: cannot write");
	return code;
}

int main(int argc, char **argv)
{
	static struct program p;
	static const struct program_flag print_bird = { "print-bird",
		                                            "print BIRD's configuration, as \"bgp\" has it, and exit" };
	struct program_options o;
	bool prints_bird;
	struct error err = { 0 };
	int status;
	if (argc == 2 && strcmp(argv[1], WATCHDOG_ARGUMENT) == 0)
		return watchdog_process_main();
	if (!program_parse_options_and_flag(
			argc, argv, "ananta-mux",
			"The data plane of Ananta for traffic to VIPs: picks a DIP by hash, encapsulates, announces.", &print_bird,
			&o, &prints_bird, &status))
		return status;
	int code = mux_config_read(o.config, &p.config, &err);
	if (code == 0 && o.checks_only && bgp_config_verify(&p.config.bgp, &p.config.node, &p.config.routes, &err) != 0)
		code = error_prefix(&err, "%s: ", o.config);
	if (code == 0 && prints_bird)
		code = print_birds_config(&p.config, &err);
	if (code != 0) {
		fprintf(stderr, "ananta-mux: %s\n", err.text);
		return o.checks_only ? EXIT_FAILURE : PROGRAM_EXIT_CONFIG;
	}
	return o.checks_only || prints_bird ? EXIT_SUCCESS : run(&p);
}
