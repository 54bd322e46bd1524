// ananta-manager: reads its configuration, starts the server, waits for a signal.
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <uv.h>

#include "common/io/log.h"
#include "manager/io/config.h"
#include "manager/io/server.h"

enum { EXIT_CONFIG = 2 };

static const char help[] = "usage: ananta-manager --config FILE [--check-config]\n"
						   "\n"
						   "The control plane of Ananta: one of the 3 or 5 replicas that hold the configuration.\n"
						   "\n"
						   "  --config FILE    the configuration (JSON); see ananta-manager(8)\n"
						   "  --check-config   check the configuration and exit: 0 when it is right, 1 when not\n"
						   "  --version        print the version\n"
						   "  --help           print this text\n";

struct options {
	const char *config;
	bool checks_only;
};

static int usage_error(void)
{
	fprintf(stderr, "try `ananta-manager --help`\n");
	return EXIT_CONFIG;
}

// 0 to go on; else the program ends with *ret_status.
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
		case 'v':
			printf("ananta-manager %s\n", ANANTA_VERSION);
			*ret_status = EXIT_SUCCESS;
			return false;
		case 'h':
			fputs(help, stdout);
			*ret_status = EXIT_SUCCESS;
			return false;
		default: *ret_status = usage_error(); return false;
		}
	}
	if (o->config != NULL && optind == argc)
		return true;
	fprintf(stderr,
	        o->config == NULL ? "ananta-manager: --config FILE is missing\n" : "ananta-manager: too many arguments\n");
	*ret_status = usage_error();
	return false;
}

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
	return code == ERR_CONFLICT || code == ERR_INVALID ? EXIT_CONFIG : EXIT_FAILURE;
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
	struct options o = { 0 };
	struct error err = { 0 };
	static struct manager_config config;
	int status;
	if (!parse_options(argc, argv, &o, &status))
		return status;
	if (manager_config_read_file(o.config, &config, &err) != 0) {
		fprintf(stderr, "ananta-manager: %s\n", err.text);
		return o.checks_only ? EXIT_FAILURE : EXIT_CONFIG;
	}
	if (o.checks_only)
		return EXIT_SUCCESS;
	return run(&config);
}
