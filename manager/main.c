// ananta-manager: reads its configuration, starts the server, waits for a signal.
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <uv.h>

#include "common/io/log.h"
#include "common/io/program.h"
#include "manager/io/config.h"
#include "manager/io/server.h"

struct program {
	uv_loop_t loop;
	uv_signal_t signals[2];
	struct server *server;
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
	server_stop(p->server);
}

// Before the server starts, so that a signal that comes early is kept until the loop runs.
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

// One descriptor for each mux and host.
static void raise_descriptor_limit(void)
{
	struct rlimit limit;
	if (getrlimit(RLIMIT_NOFILE, &limit) != 0)
		return;
	limit.rlim_cur = limit.rlim_max;
	(void)setrlimit(RLIMIT_NOFILE, &limit);
}

static int fail(struct program *p, int code, const struct error *err)
{
	fprintf(stderr, "ananta-manager: %s\n", err->text);
	close_signals(p);
	uv_run(&p->loop, UV_RUN_DEFAULT);
	uv_loop_close(&p->loop);
	return code == ERR_CONFLICT || code == ERR_INVALID ? PROGRAM_EXIT_CONFIG : EXIT_FAILURE;
}

static int run(const struct manager_config *config)
{
	static struct program p;
	struct error err = { 0 };
	raise_descriptor_limit();
	uv_loop_init(&p.loop);
	watch_signals(&p);
	int code = server_create(&p.loop, config, &p.server, &err);
	if (code != 0)
		return fail(&p, code, &err);
	log_info("started", "replica=%llu api=%s version=%s", (unsigned long long)config->id,
	         manager_config_lookup(config, config->id)->api, ANANTA_VERSION);
	uv_run(&p.loop, UV_RUN_DEFAULT);
	uv_loop_close(&p.loop);
	log_info("stopped", "replica=%llu", (unsigned long long)config->id);
	return EXIT_SUCCESS;
}

int main(int argc, char **argv)
{
	struct program_options o;
	struct error err = { 0 };
	static struct manager_config config;
	int status;
	if (!program_parse_options(argc, argv, "ananta-manager",
	                           "The control plane of Ananta: one of the 3 or 5 replicas that hold the configuration.",
	                           &o, &status))
		return status;
	if (manager_config_read_file(o.config, &config, &err) != 0) {
		fprintf(stderr, "ananta-manager: %s\n", err.text);
		return o.checks_only ? EXIT_FAILURE : PROGRAM_EXIT_CONFIG;
	}
	if (o.checks_only)
		return EXIT_SUCCESS;
	return run(&config);
}
