#include "common/io/conn.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "common/base/bytes.h"
#include "common/base/check.h"
#include "common/base/memory.h"
#include "common/base/text.h"

#define HEADER_BYTES 4
#define RX_BYTES 4096
#define PEER_BYTES 108
#define BACKLOG 4096 // all hosts come at a time when the leader has changed
#define CLOSE_MS 1000 // for what is queued, once a close was asked for

//  CONNECTING --> OPEN --conn_close--> DRAINING --all written, or CLOSE_MS--> CLOSING --handles closed--> freed
//       |           |                                                            ^
//       +-----------+----------------------- failure ----------------------------+
enum conn_state { CONN_CONNECTING, CONN_OPEN, CONN_DRAINING, CONN_CLOSING };

struct conn {
	union {
		uv_handle_t handle;
		uv_stream_t stream;
		uv_tcp_t tcp;
		uv_pipe_t pipe;
	} socket;
	uv_timer_t timer;
	uv_connect_t connect;
	struct conn_listener *listener; // NULL for connections that we made
	const struct conn_handler *handler;
	void *user;
	enum conn_state state;
	struct error reason;
	char peer[PEER_BYTES];
	uint32_t n_open_handles;
	uint64_t last_rx_ms;
	uint64_t last_tx_ms;
	uint64_t deadline_ms; // of connecting or draining
	uint32_t ping_ms;
	uint32_t dead_ms;
	bool is_suspect; // silent for too long, unless what it said waits to be read
	uint8_t *rx;
	size_t rx_n;
	size_t rx_capacity;
};

struct conn_listener {
	union {
		uv_handle_t handle;
		uv_stream_t stream;
		uv_tcp_t tcp;
		uv_pipe_t pipe;
	} socket;
	struct conn_listener_config config;
	bool is_pipe;
	bool is_closed;
	uint32_t n_conns; // accepted ones that live; the listener's memory outlives them
	char address[PEER_BYTES];
};

struct frame_write {
	uv_write_t request;
	uint8_t bytes[];
};

static bool is_path(const char *address)
{
	return address[0] == '/';
}

// ---- closing ----

static void listener_release(struct conn_listener *l)
{
	if (l->is_closed && l->n_conns == 0)
		memory_free(l);
}

static void on_handle_closed(uv_handle_t *handle)
{
	struct conn *c = handle->data;
	if (--c->n_open_handles > 0)
		return;
	if (c->handler != NULL)
		c->handler->on_close(c, &c->reason, c->user);
	if (c->listener != NULL) {
		c->listener->n_conns--;
		listener_release(c->listener);
	}
	memory_free(c->rx);
	memory_free(c);
}

static void close_now(struct conn *c)
{
	if (c->state == CONN_CLOSING)
		return;
	c->state = CONN_CLOSING;
	uv_close(&c->socket.handle, on_handle_closed);
	uv_close((uv_handle_t *)&c->timer, on_handle_closed);
}

static void schedule(struct conn *c);

static void fail(struct conn *c, enum error_code code, const char *text)
{
	if (c->state == CONN_CLOSING)
		return;
	if (c->reason.code == 0)
		error_set(&c->reason, code, "%s", text);
	close_now(c);
}

void conn_close(struct conn *c)
{
	if (c->state == CONN_DRAINING || c->state == CONN_CLOSING)
		return;
	if (c->reason.code == 0)
		error_set(&c->reason, ERR_UNAVAILABLE, "closed by this side");
	if (c->state == CONN_CONNECTING || uv_stream_get_write_queue_size(&c->socket.stream) == 0) {
		close_now(c);
		return;
	}
	c->state = CONN_DRAINING;
	c->deadline_ms = uv_now(c->timer.loop) + CLOSE_MS;
	uv_read_stop(&c->socket.stream);
	schedule(c);
}

// ---- liveness ----

static void on_timer(uv_timer_t *timer);

static uint64_t next_time(const struct conn *c)
{
	uint64_t ping_at = c->last_tx_ms + c->ping_ms;
	uint64_t dead_at = c->last_rx_ms + c->dead_ms;
	if (c->state != CONN_OPEN)
		return c->deadline_ms;
	return ping_at < dead_at ? ping_at : dead_at;
}

// When there is something to do again. While messages come and go it may be early, and then looks on.
static void schedule(struct conn *c)
{
	uint64_t now = uv_now(c->timer.loop);
	uint64_t at = next_time(c);
	if (c->state != CONN_CLOSING)
		uv_timer_start(&c->timer, on_timer, at > now ? at - now : 1, 0);
}

// The verdict waits for one more turn of the loop: when this program did not run for a while, what the peer has said
// meanwhile is read in it.
static void check_peer(struct conn *c, uint64_t now)
{
	bool is_silent = now - c->last_rx_ms >= c->dead_ms;
	if (is_silent && c->is_suspect) {
		fail(c, ERR_TIMEOUT, "the peer is silent");
		return;
	}
	c->is_suspect = is_silent;
	if (now - c->last_tx_ms >= c->ping_ms)
		(void)conn_send(c, &(struct message){ .type = MESSAGE_PING });
	schedule(c);
}

static void on_timer(uv_timer_t *timer)
{
	struct conn *c = timer->data;
	uint64_t now = uv_now(timer->loop);
	if (c->state == CONN_OPEN)
		check_peer(c, now);
	else if (now < c->deadline_ms)
		schedule(c);
	else if (c->state == CONN_CONNECTING)
		fail(c, ERR_TIMEOUT, "no answer to the connection request");
	else
		close_now(c);
}

uint64_t conn_silent_ms(const struct conn *c)
{
	return uv_now(c->timer.loop) - c->last_rx_ms;
}

void conn_set_liveness(struct conn *c, uint32_t ping_ms, uint32_t dead_ms)
{
	c->ping_ms = ping_ms;
	c->dead_ms = dead_ms;
	schedule(c);
}

// ---- receiving ----

static void on_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *buf)
{
	struct conn *c = handle->data;
	*buf = uv_buf_init((char *)c->rx + c->rx_n, (unsigned)(c->rx_capacity - c->rx_n));
}

static size_t frame_bytes(const uint8_t *header)
{
	return be32_to(load32(header));
}

static void deliver(struct conn *c, const uint8_t *bytes, size_t n)
{
	struct message m;
	struct error err = { 0 };
	int code = message_decode(bytes, n, &m, &err);
	if (code != 0) {
		fail(c, (enum error_code)code, err.text);
		return;
	}
	if (m.type != MESSAGE_PING)
		c->handler->on_message(c, &m, c->user);
	message_fini(&m);
}

// Room for the frame that begins the buffer; without one, the buffer shrinks to what idle connections need.
static bool fit_buffer(struct conn *c)
{
	size_t want = RX_BYTES;
	if (c->rx_n >= HEADER_BYTES) {
		size_t n = frame_bytes(c->rx);
		if (n > MESSAGE_MAX_BYTES) {
			fail(c, ERR_MALFORMED, "a frame of more than 1 MiB");
			return false;
		}
		want = HEADER_BYTES + n > RX_BYTES ? HEADER_BYTES + n : RX_BYTES;
	}
	if (want < c->rx_n)
		want = c->rx_n;
	if (want == c->rx_capacity || (want < c->rx_capacity && c->rx_capacity <= 16 * RX_BYTES))
		return true;
	uint8_t *rx = memory_resize(c->rx, want, 1);
	if (rx == NULL) {
		fail(c, ERR_NO_MEMORY, "out of memory");
		return false;
	}
	c->rx = rx;
	c->rx_capacity = want;
	return true;
}

static void consume_frames(struct conn *c)
{
	size_t at = 0;
	while (c->state == CONN_OPEN && c->rx_n - at >= HEADER_BYTES) {
		size_t n = frame_bytes(c->rx + at);
		if (n > MESSAGE_MAX_BYTES || c->rx_n - at - HEADER_BYTES < n)
			break;
		deliver(c, c->rx + at + HEADER_BYTES, n);
		at += HEADER_BYTES + n;
	}
	memmove(c->rx, c->rx + at, c->rx_n - at);
	c->rx_n -= at;
	if (c->state == CONN_OPEN)
		(void)fit_buffer(c);
}

static void on_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *buf)
{
	struct conn *c = stream->data;
	if (n == UV_EOF) {
		fail(c, ERR_UNAVAILABLE, "closed by the peer");
		return;
	}
	if (n < 0) {
		fail(c, ERR_IO, uv_strerror((int)n));
		return;
	}
	if (c->state != CONN_OPEN)
		return;
	c->last_rx_ms = uv_now(stream->loop);
	c->is_suspect = false;
	c->rx_n += (size_t)n;
	consume_frames(c);
}

static void begin(struct conn *c)
{
	c->state = CONN_OPEN;
	c->last_rx_ms = c->last_tx_ms = uv_now(c->timer.loop);
	schedule(c);
	int code = uv_read_start(&c->socket.stream, on_alloc, on_read);
	if (code != 0)
		fail(c, ERR_IO, uv_strerror(code));
}

// ---- sending ----

static void on_written(uv_write_t *request, int status)
{
	struct conn *c = request->handle->data;
	memory_free(request);
	if (status == 0)
		c->last_tx_ms = uv_now(c->timer.loop);
	if (status != 0 && status != UV_ECANCELED)
		fail(c, ERR_IO, uv_strerror(status));
	if (c->state == CONN_DRAINING && uv_stream_get_write_queue_size(&c->socket.stream) == 0)
		close_now(c);
}

int conn_send_bytes(struct conn *c, const uint8_t *bytes, size_t n)
{
	if (c->state != CONN_OPEN)
		return ERR_UNAVAILABLE;
	if (n > MESSAGE_MAX_BYTES)
		return ERR_LIMIT;
	if (uv_stream_get_write_queue_size(&c->socket.stream) + n > CONN_QUEUE_BYTES) {
		fail(c, ERR_LIMIT, "the peer reads too slowly");
		return ERR_LIMIT;
	}
	struct frame_write *w = memory_array(1, sizeof *w + HEADER_BYTES + n);
	if (w == NULL)
		return ERR_NO_MEMORY;
	store32(w->bytes, be32_from((uint32_t)n));
	memcpy(w->bytes + HEADER_BYTES, bytes, n);
	uv_buf_t buf = uv_buf_init((char *)w->bytes, (unsigned)(HEADER_BYTES + n));
	int code = uv_write(&w->request, &c->socket.stream, &buf, 1, on_written);
	if (code != 0) {
		memory_free(w);
		fail(c, ERR_IO, uv_strerror(code));
		return ERR_UNAVAILABLE;
	}
	c->last_tx_ms = uv_now(c->timer.loop);
	return 0;
}

int conn_send(struct conn *c, const struct message *m)
{
	uint8_t *bytes;
	size_t n;
	if (c->state != CONN_OPEN)
		return ERR_UNAVAILABLE;
	int code = message_encode(m, &bytes, &n);
	if (code != 0)
		return code;
	code = conn_send_bytes(c, bytes, n);
	memory_free(bytes);
	return code;
}

int conn_send_error(struct conn *c, uint64_t request_id, const struct error *err)
{
	return conn_send(c, &(struct message){ .type = MESSAGE_ERROR, .request_id = request_id, .error = *err });
}

// ---- making ----

static struct conn *conn_create(uv_loop_t *loop, const struct conn_handler *handler, void *user, bool is_pipe)
{
	struct conn *c = memory_array(1, sizeof *c);
	if (c == NULL)
		return NULL;
	c->rx = memory_array(RX_BYTES, 1);
	if (c->rx == NULL) {
		memory_free(c);
		return NULL;
	}
	c->rx_capacity = RX_BYTES;
	c->handler = handler;
	c->user = user;
	if (is_pipe) {
		CHECK(uv_pipe_init(loop, &c->socket.pipe, 0) == 0);
	} else {
		CHECK(uv_tcp_init(loop, &c->socket.tcp) == 0);
		uv_tcp_nodelay(&c->socket.tcp, 1);
	}
	CHECK(uv_timer_init(loop, &c->timer) == 0);
	c->socket.handle.data = c;
	c->timer.data = c;
	c->n_open_handles = 2;
	c->ping_ms = CONN_PING_MS;
	c->dead_ms = CONN_DEAD_MS;
	return c;
}

static void on_connected(uv_connect_t *request, int status)
{
	struct conn *c = request->handle->data;
	if (c->state != CONN_CONNECTING)
		return;
	if (status != 0) {
		fail(c, ERR_UNAVAILABLE, uv_strerror(status));
		return;
	}
	begin(c);
	if (c->state == CONN_OPEN && c->handler->on_open != NULL)
		c->handler->on_open(c, c->user);
}

static int parse_socket_address(const char *address, struct sockaddr_storage *ret_address, struct error *err)
{
	struct ip_addr addr;
	uint16_t port;
	int code = ip_endpoint_parse(address, &addr, &port, err);
	if (code != 0)
		return code;
	char text[IP_ADDR_TEXT_BYTES];
	ip_addr_format(&addr, text);
	if (ip_addr_is_v4(&addr))
		uv_ip4_addr(text, port, (struct sockaddr_in *)ret_address);
	else
		uv_ip6_addr(text, port, (struct sockaddr_in6 *)ret_address);
	return 0;
}

int conn_connect(uv_loop_t *loop, const char *address, const struct conn_handler *handler, void *user,
                 struct conn **ret_conn, struct error *err)
{
	struct sockaddr_storage where;
	bool is_pipe = is_path(address);
	if (!is_pipe && parse_socket_address(address, &where, err) != 0)
		return ERR_INVALID;
	struct conn *c = conn_create(loop, handler, user, is_pipe);
	if (c == NULL)
		return error_set(err, ERR_NO_MEMORY, "out of memory");
	(void)text_format(c->peer, sizeof c->peer, "%s", address);
	c->state = CONN_CONNECTING;
	c->deadline_ms = uv_now(loop) + CONN_CONNECT_MS;
	schedule(c);
	int code = 0;
	if (is_pipe)
		uv_pipe_connect(&c->connect, &c->socket.pipe, address, on_connected);
	else
		code = uv_tcp_connect(&c->connect, &c->socket.tcp, (struct sockaddr *)&where, on_connected);
	if (code != 0)
		fail(c, ERR_UNAVAILABLE, uv_strerror(code)); // on_close comes with the loop's next turn
	*ret_conn = c;
	return 0;
}

void conn_set_user(struct conn *c, void *user)
{
	c->user = user;
}

const char *conn_peer(const struct conn *c)
{
	return c->peer;
}

// ---- listening ----

static void name_peer(struct conn *c)
{
	struct sockaddr_storage where;
	int n = sizeof where;
	char text[64] = "?";
	if (uv_tcp_getpeername(&c->socket.tcp, (struct sockaddr *)&where, &n) != 0) {
		(void)text_format(c->peer, sizeof c->peer, "?");
		return;
	}
	bool is_v4 = where.ss_family == AF_INET;
	if (is_v4)
		uv_ip4_name((struct sockaddr_in *)&where, text, sizeof text);
	else
		uv_ip6_name((struct sockaddr_in6 *)&where, text, sizeof text);
	unsigned port =
		ntohs(is_v4 ? ((struct sockaddr_in *)&where)->sin_port : ((struct sockaddr_in6 *)&where)->sin6_port);
	(void)text_format(c->peer, sizeof c->peer, is_v4 ? "%s:%u" : "[%s]:%u", text, port);
}

static void on_incoming(uv_stream_t *stream, int status)
{
	struct conn_listener *l = stream->data;
	if (status != 0)
		return;
	struct conn *c = conn_create(stream->loop, l->config.handler, NULL, l->is_pipe);
	if (c == NULL)
		return; // the backlog keeps it until memory is there again
	c->listener = l;
	l->n_conns++;
	if (uv_accept(stream, &c->socket.stream) != 0 || l->n_conns > l->config.max_conns) {
		c->handler = NULL; // nobody was told of it
		fail(c, ERR_LIMIT, "too many connections");
		return;
	}
	if (l->is_pipe)
		(void)text_format(c->peer, sizeof c->peer, "%s", l->address);
	else
		name_peer(c);
	begin(c);
	l->config.on_accept(c, l->config.user);
}

// A socket file that nobody listens on is left over from a process that died.
static bool remove_stale_socket(const char *path)
{
	struct sockaddr_un where = { .sun_family = AF_UNIX };
	if (!text_copy(where.sun_path, sizeof where.sun_path, path))
		return false;
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return false;
	bool is_stale = connect(fd, (struct sockaddr *)&where, sizeof where) != 0 && errno == ECONNREFUSED;
	close(fd);
	return is_stale && unlink(path) == 0;
}

static int bind_pipe(struct conn_listener *l)
{
	int code = uv_pipe_bind(&l->socket.pipe, l->config.address);
	if (code == UV_EADDRINUSE && remove_stale_socket(l->config.address))
		code = uv_pipe_bind(&l->socket.pipe, l->config.address);
	return code;
}

static int listen_on(struct conn_listener *l, const struct sockaddr_storage *where)
{
	int code = l->is_pipe ? bind_pipe(l) : uv_tcp_bind(&l->socket.tcp, (const struct sockaddr *)where, 0);
	return code != 0 ? code : uv_listen(&l->socket.stream, BACKLOG, on_incoming);
}

static void on_listener_closed(uv_handle_t *handle)
{
	struct conn_listener *l = handle->data;
	l->is_closed = true;
	listener_release(l);
}

int conn_listener_create(uv_loop_t *loop, const struct conn_listener_config *config,
                         struct conn_listener **ret_listener, struct error *err)
{
	struct sockaddr_storage where;
	bool is_pipe = is_path(config->address);
	if (!is_pipe && parse_socket_address(config->address, &where, err) != 0)
		return ERR_INVALID;
	struct conn_listener *l = memory_array(1, sizeof *l);
	if (l == NULL || !text_copy(l->address, sizeof l->address, config->address)) {
		memory_free(l);
		return error_set(err, ERR_INVALID, "%s: too long for a socket's path", config->address);
	}
	l->config = *config;
	l->config.address = l->address;
	l->is_pipe = is_pipe;
	if (is_pipe)
		CHECK(uv_pipe_init(loop, &l->socket.pipe, 0) == 0);
	else
		CHECK(uv_tcp_init(loop, &l->socket.tcp) == 0);
	l->socket.handle.data = l;
	int code = listen_on(l, &where);
	if (code != 0) {
		error_set(err, ERR_IO, "cannot listen on %s: %s", config->address, uv_strerror(code));
		uv_close(&l->socket.handle, on_listener_closed);
		return ERR_IO;
	}
	*ret_listener = l;
	return 0;
}

void conn_listener_destroy(struct conn_listener *l)
{
	if (l != NULL)
		uv_close(&l->socket.handle, on_listener_closed);
}
