#include "tests/unit/manager/played.h"

#include <check.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/base/text.h"
#include "tests/unit/manager/ports.h"

static pid_t manager;

static void on_close(struct conn *c, const struct error *reason, void *user)
{
}

static void on_accept(struct conn *c, void *user)
{
	conn_set_user(c, user);
}

static void serve(const char *address, const struct conn_handler *handler, int ready)
{
	uv_loop_t loop;
	struct conn_listener *listener;
	struct error err = { 0 };
	struct conn_listener_config config = {
		.address = address, .max_conns = 16, .handler = handler, .on_accept = on_accept
	};
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	uv_loop_init(&loop);
	if (conn_listener_create(&loop, &config, &listener, &err) != 0 || write(ready, "", 1) != 1)
		_exit(1);
	uv_run(&loop, UV_RUN_DEFAULT);
	_exit(0);
}

void played_begin(void (*on_message)(struct conn *c, struct message *m, void *user))
{
	const struct conn_handler handler = { .on_message = on_message, .on_close = on_close };
	char address[32];
	uint16_t port;
	int ready[2];
	char byte;
	find_free_ports(&port, 1);
	(void)text_format(address, sizeof address, "127.0.0.1:%u", port);
	setenv("ANANTA_MANAGERS", address, 1);
	ck_assert_int_eq(pipe(ready), 0);
	manager = fork();
	if (manager == 0)
		serve(address, &handler, ready[1]);
	ck_assert_int_eq(read(ready[0], &byte, 1), 1);
	close(ready[0]);
	close(ready[1]);
}

void played_end(void)
{
	int status;
	kill(manager, SIGKILL);
	ck_assert_int_eq(waitpid(manager, &status, 0), manager);
}
