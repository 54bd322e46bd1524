// ananta-agent: reads its configuration, takes over the flows that are there, starts the data plane and its control.
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>
#include <uv.h>

#include "common/io/log.h"
#include "common/io/program.h"
#include "hostagent/io/control.h"
#include "hostagent/io/flow_file.h"

struct program {
	struct agent_file_config config;
	struct state_dir dir;
	struct addr_names *names;
	struct flow_file flows;
	struct snat *snat;
	struct data_plane *dp;
	struct control *control;
	uv_loop_t loop;
	uv_signal_t signals[2];
};

static void close_signals(struct program *p)
{
	for (int i = 0; i < 2; i++)
		uv_close((uv_handle_t *)&p->signals[i], NULL);
}

static void on_signal(uv_signal_t *handle, int number)
{
	struct program *p = handle->data;
	log_info("stopping", "signal=%d", number);
	close_signals(p);
	control_destroy(p->control);
}

// Before the data plane starts, so that a signal that comes early is kept until the loop runs.
static void watch_signals(struct program *p)
{
	static const int numbers[] = { SIGTERM, SIGINT };
	signal(SIGPIPE, SIG_IGN); // a peer that goes away is an error of its connection, not the end of the program
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
	int code = flow_file_open(&p->flows, &p->dir, c->node.name, c->max_flows, p->names, boot_time(), ret_table, err);
	if (code == 0 && p->flows.is_restored)
		log_info("flows-restored", "flows=%u", ret_table->n_flows);
	return code;
}

// Requests are numbered from the wall clock's microseconds on, so that their numbers rise over restarts.
static int create_snat(struct program *p, struct error *err)
{
	struct snat_limits limits = snat_limits_default(p->config.max_flows);
	struct timespec t;
	uint64_t seed;
	clock_gettime(CLOCK_REALTIME, &t);
	if (getrandom(&seed, sizeof seed, 0) != sizeof seed)
		return error_set(err, ERR_IO, "the kernel gives no random numbers");
	return snat_create(&limits, seed, (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_nsec / 1000, boot_time(), &p->snat,
	                   err);
}

static int start_data_plane(struct program *p, const struct flow_table *flows, struct error *err)
{
	const struct agent_file_config *c = &p->config;
	struct data_plane_config config = {
		.node = &c->node,
		.max_vms = c->max_vms,
		.mss = c->mss,
		.proxy_arp = c->proxy_arp,
		.probe_address = ip_addr_to_v4(&c->probe_address),
		.flows = *flows,
		.is_restored = p->flows.is_restored,
		.snat = p->snat,
	};
	memcpy(config.vm_driver, c->vm_driver, sizeof config.vm_driver);
	return data_plane_start(&config, &p->dp, err);
}

static int start(struct program *p, struct error *err)
{
	struct flow_table flows;
	p->names = addr_names_create();
	if (p->names == NULL)
		return error_set(err, ERR_NO_MEMORY, "no memory for the names of addresses");
	int code = state_dir_open(&p->dir, p->config.state_dir, err);
	if (code == 0)
		state_dir_warn_of_disk(&p->dir);
	if (code == 0)
		code = open_flows(p, &flows, err);
	if (code == 0)
		code = create_snat(p, err);
	if (code == 0)
		code = start_data_plane(p, &flows, err);
	if (code == 0)
		code = control_create(&p->loop, &p->config, &p->dir, p->dp, p->names, &p->control, err);
	return code;
}

static int run(struct program *p)
{
	struct error err = { 0 };
	p->dir.lock_fd = -1;
	uv_loop_init(&p->loop);
	watch_signals(p);
	int code = start(p, &err);
	if (code == 0) {
		log_info("started", "host=%s version=%s", p->config.node.name, ANANTA_VERSION);
	} else {
		fprintf(stderr, "ananta-agent: %s\n", err.text);
		close_signals(p);
	}
	uv_run(&p->loop, UV_RUN_DEFAULT);
	uv_loop_close(&p->loop);
	data_plane_stop(p->dp);
	snat_destroy(p->snat);
	flow_file_close(&p->flows);
	addr_names_destroy(p->names);
	state_dir_close(&p->dir);
	if (code != 0)
		return code == ERR_INVALID || code == ERR_CONFLICT ? PROGRAM_EXIT_CONFIG : EXIT_FAILURE;
	log_info("stopped", "host=%s", p->config.node.name);
	return EXIT_SUCCESS;
}

int main(int argc, char **argv)
{
	static struct program p;
	struct program_options o;
	struct error err = { 0 };
	int status;
	if (!program_parse_options(argc, argv, "ananta-agent",
	                           "The host agent of Ananta: stands between a host's uplink and its VMs, and does the NAT "
	                           "for them.",
	                           &o, &status))
		return status;
	if (agent_file_config_read(o.config, &p.config, &err) != 0) {
		fprintf(stderr, "ananta-agent: %s\n", err.text);
		return o.checks_only ? EXIT_FAILURE : PROGRAM_EXIT_CONFIG;
	}
	return o.checks_only ? EXIT_SUCCESS : run(&p);
}
