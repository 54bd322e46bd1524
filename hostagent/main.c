// ananta-agent: reads its configuration, takes over the flows that are there, starts the data plane and its control.
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <uv.h>

#include "common/io/log.h"
#include "hostagent/io/control.h"
#include "hostagent/io/flow_file.h"

enum { EXIT_CONFIG = 2 };

static const char help[] =
    "usage: ananta-agent --config FILE [--check-config]\n"
    "\n"
    "The host agent of Ananta: stands between a host's uplink and its VMs, and does the NAT for them.\n"
    "\n"
    "  --config FILE    the configuration (JSON); see ananta-agent(8)\n"
    "  --check-config   check the configuration and exit: 0 when it is right, 1 when not\n"
    "  --version        print the version\n"
    "  --help           print this text\n";

struct options {
	const char *config;
	bool checks_only;
};

static int usage_error(void)
{
	fprintf(stderr, "try `ananta-agent --help`\n");
	return EXIT_CONFIG;
}

// True to go on; else the program ends with *ret_status.
static bool parse_options(int argc, char **argv, struct options *o, int *ret_status)
{
	static const struct option table[] = { { "config", required_argument, NULL, 'c' },
		                                   { "check-config", no_argument, NULL, 'k' },
		                                   { "version", no_argument, NULL, 'v' },
		                                   { "help", no_argument, NULL, 'h' },
		                                   { 0 } };
	for (int c; (c = getopt_long(argc, argv, "", table, NULL)) != -1;) {
		switch (c) {
		case 'c': o->config = optarg; break;
		case 'k': o->checks_only = true; break;
		case 'v': printf("ananta-agent %s\n", ANANTA_VERSION); *ret_status = EXIT_SUCCESS; return false;
		case 'h': fputs(help, stdout); *ret_status = EXIT_SUCCESS; return false;
		default: *ret_status = usage_error(); return false;
		}
	}
	if (o->config != NULL && optind == argc)
		return true;
	fprintf(stderr, o->config == NULL ? "ananta-agent: --config FILE is missing\n" : "ananta-agent: too many arguments\n");
	*ret_status = usage_error();
	return false;
}

struct program {
	struct agent_file_config config;
	struct state_dir dir;
	struct flow_file flows;
	struct data_plane *dp;
	struct control *control;
	uv_loop_t loop;
	uv_signal_t signals[2];
};

static void on_signal(uv_signal_t *handle, int number)
{
	struct program *p = handle->data;
	log_info("stopping", "signal=%d", number);
	for (int i = 0; i < 2; i++)
		uv_close((uv_handle_t *)&p->signals[i], NULL);
	control_destroy(p->control);
}

static void watch_signals(struct program *p)
{
	static const int numbers[] = { SIGTERM, SIGINT };
	for (int i = 0; i < 2; i++) {
		uv_signal_init(&p->loop, &p->signals[i]);
		p->signals[i].data = p;
		uv_signal_start(&p->signals[i], on_signal, numbers[i]);
	}
}

// The clock of the flows' ages: it goes on while no agent runs.
static struct mono_time boot_time(void)
{
	struct timespec t;
	clock_gettime(CLOCK_BOOTTIME, &t);
	return mono_from_us((uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_nsec / 1000);
}

static int open_flows(struct program *p, struct flow_table *ret_table, struct error *err)
{
	const struct agent_file_config *c = &p->config;
	int code = flow_file_open(&p->flows, &p->dir, c->node.name, c->max_flows, boot_time(), ret_table, err);
	if (code == 0 && p->flows.is_restored)
		log_info("flows-restored", "flows=%u", ret_table->n_flows);
	return code;
}

static int start_data_plane(struct program *p, const struct flow_table *flows, struct error *err)
{
	const struct agent_file_config *c = &p->config;
	struct data_plane_config config = {
		.node = &c->node,
		.max_vms = c->max_vms,
		.mss = c->mss,
		.proxy_arp = c->proxy_arp,
		.flows = *flows,
		.is_restored = p->flows.is_restored,
	};
	memcpy(config.vm_driver, c->vm_driver, sizeof config.vm_driver);
	return data_plane_start(&config, &p->dp, err);
}

static int start(struct program *p, struct error *err)
{
	struct flow_table flows;
	int code = state_dir_open(&p->dir, p->config.state_dir, err);
	if (code == 0)
		code = open_flows(p, &flows, err);
	if (code == 0)
		code = start_data_plane(p, &flows, err);
	if (code == 0)
		code = control_create(&p->loop, &p->config, &p->dir, p->dp, &p->control, err);
	return code;
}

static int run(struct program *p)
{
	struct error err = { 0 };
	signal(SIGPIPE, SIG_IGN); // a peer that goes away is an error of its connection, not the end of the program
	p->dir.lock_fd = -1;
	uv_loop_init(&p->loop);
	int code = start(p, &err);
	if (code == 0) {
		watch_signals(p);
		log_info("started", "host=%s version=%s", p->config.node.name, ANANTA_VERSION);
	} else {
		fprintf(stderr, "ananta-agent: %s\n", err.text);
	}
	uv_run(&p->loop, UV_RUN_DEFAULT);
	uv_loop_close(&p->loop);
	data_plane_stop(p->dp);
	flow_file_close(&p->flows);
	state_dir_close(&p->dir);
	if (code != 0)
		return code == ERR_INVALID || code == ERR_CONFLICT ? EXIT_CONFIG : EXIT_FAILURE;
	log_info("stopped", "host=%s", p->config.node.name);
	return EXIT_SUCCESS;
}

int main(int argc, char **argv)
{
	static struct program p;
	struct options o = { 0 };
	struct error err = { 0 };
	int status;
	if (!parse_options(argc, argv, &o, &status))
		return status;
	if (agent_file_config_read(o.config, &p.config, &err) != 0) {
		fprintf(stderr, "ananta-agent: %s\n", err.text);
		return o.checks_only ? EXIT_FAILURE : EXIT_CONFIG;
	}
	return o.checks_only ? EXIT_SUCCESS : run(&p);
}
