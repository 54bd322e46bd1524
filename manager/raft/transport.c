#include "manager/raft/transport.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include "common/base/memory.h"

// A request of the library's, while its connection is made.
struct attempt {
	struct raft_uv_connect request; // what libraft's transport sees
	struct raft_uv_connect *asked; // what the library asked with
	raft_uv_connect_cb on_connected;
};

static void tune(uv_stream_t *stream)
{
	uv_os_fd_t fd;
	int on = 1;
	unsigned timeout_ms = TRANSPORT_DEAD_MS;
	if (uv_fileno((uv_handle_t *)stream, &fd) != 0)
		return;
	(void)setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &timeout_ms, sizeof timeout_ms);
	(void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
}

static void on_connected(struct raft_uv_connect *request, struct uv_stream_s *stream, int status)
{
	struct attempt *a = (struct attempt *)request;
	struct raft_uv_connect *asked = a->asked;
	raft_uv_connect_cb callback = a->on_connected;
	memory_free(a);
	if (status == 0)
		tune(stream);
	callback(asked, stream, status);
}

static int connect_impatiently(struct raft_uv_transport *raft, struct raft_uv_connect *request, raft_id id,
                               const char *address, raft_uv_connect_cb callback)
{
	struct transport *t = (struct transport *)raft;
	struct attempt *a = memory_array(1, sizeof *a);
	if (a == NULL)
		return RAFT_NOMEM;
	a->asked = request;
	a->on_connected = callback;
	int status = t->connect(raft, &a->request, id, address, on_connected);
	if (status != 0)
		memory_free(a);
	return status;
}

int transport_init(struct transport *t, uv_loop_t *loop, struct error *err)
{
	*t = (struct transport){ .raft = { .version = 1 } };
	int status = raft_uv_tcp_init(&t->raft, loop);
	if (status != 0)
		return error_set(err, ERR_IO, "raft transport: %s", t->raft.errmsg);
	t->connect = t->raft.connect;
	t->raft.connect = connect_impatiently;
	return 0;
}

void transport_fini(struct transport *t)
{
	raft_uv_tcp_close(&t->raft);
}
