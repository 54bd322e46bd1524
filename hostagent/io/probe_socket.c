#include "hostagent/io/probe_socket.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/base/text.h"

#define DRAIN_MS 100 // how long a TCP probe waits for the VM to close as well
#define DRAIN_BYTES (256u << 10) // of a response; beyond, closing may reset
#define LATE_NS 10000000 // a loop that is later than this was busy

// ---- The end ----

static void on_handle_closed(uv_handle_t *handle)
{
	struct probe_socket *s = handle->data;
	if (--s->n_open_handles == 0)
		s->config->on_closed(s);
}

static void close_all(struct probe_socket *s)
{
	if (s->is_closing)
		return;
	s->is_closing = true;
	uv_close((uv_handle_t *)&s->poll, on_handle_closed);
	uv_close((uv_handle_t *)&s->timer, on_handle_closed);
	close(s->fd);
}

void probe_socket_abort(struct probe_socket *s)
{
	close_all(s);
}

static const char *type_name(const struct probe_what *what)
{
	return what->type == PROBE_HTTP ? "http" : "tcp";
}

static void on_poll(uv_poll_t *poll, int status, int events);

// "http 8080 /healthz: TEXT".
static void report_failure(struct probe_socket *s, const char *text)
{
	char cause[CAUSE_BYTES];
	bool has_path = s->what.type == PROBE_HTTP;
	text_format(cause, sizeof cause, "%s %u%s%.32s: %s", type_name(&s->what), s->what.port, has_path ? " " : "",
	            has_path ? s->what.path : "", text);
	s->config->on_result(s, PROBE_FAILED, cause);
}

static void fail(struct probe_socket *s, const char *text)
{
	report_failure(s, text);
	close_all(s);
}

static void fail_errno(struct probe_socket *s, int cause)
{
	switch (cause) {
	case ECONNREFUSED: fail(s, "connection refused"); break;
	case ECONNRESET:
	case EPIPE: fail(s, "connection reset"); break;
	case EHOSTUNREACH: fail(s, "host unreachable"); break;
	default: fail(s, strerror(cause)); break;
	}
}

// ---- What the VM says ----

// Reads and throws away (tcp(7): MSG_TRUNC).
static void drain(struct probe_socket *s)
{
	ssize_t n;
	do {
		n = recv(s->fd, NULL, DRAIN_BYTES, MSG_TRUNC | MSG_DONTWAIT);
		if (n > 0)
			s->n_drained += (uint32_t)n;
	} while (n > 0 && s->n_drained < DRAIN_BYTES);
	if (n >= 0 || (errno != EAGAIN && errno != EINTR))
		close_all(s);
}

// Often all of the answer is there already.
static void begin_to_drain(struct probe_socket *s)
{
	bool was_reading = s->state == PROBE_SOCKET_READING;
	s->state = PROBE_SOCKET_DRAINING;
	drain(s);
	if (!s->is_closing && !was_reading)
		uv_poll_start(&s->poll, UV_READABLE, on_poll);
}

// The connection is sound, whatever is said on it: the rest of the answer is awaited.
static void answered(struct probe_socket *s, const char *objection)
{
	if (objection[0] == '\0')
		s->config->on_result(s, PROBE_SUCCEEDED, "");
	else
		report_failure(s, objection);
	begin_to_drain(s);
}

static void judge(struct probe_socket *s, uint16_t status)
{
	char text[48] = "";
	if (status < s->what.expect_min || status > s->what.expect_max)
		text_format(text, sizeof text, "status %u, not %u-%u", status, s->what.expect_min, s->what.expect_max);
	answered(s, text);
}

static void read_status(struct probe_socket *s)
{
	uint16_t status;
	ssize_t n = recv(s->fd, s->status_line + s->n_read, sizeof s->status_line - s->n_read, MSG_DONTWAIT);
	if (n < 0) {
		if (errno != EAGAIN && errno != EINTR)
			fail_errno(s, errno);
		return;
	}
	s->n_read = (uint8_t)(s->n_read + n);
	switch (http_status_parse(s->status_line, s->n_read, &status)) {
	case HTTP_STATUS_FOUND: judge(s, status); break;
	case HTTP_STATUS_NONE: answered(s, "the answer is no HTTP"); break;
	case HTTP_STATUS_MORE:
		if (n == 0)
			fail(s, "closed without an answer");
		break;
	}
}

static void send_request(struct probe_socket *s)
{
	ssize_t n = send(s->fd, s->request + s->n_sent, (size_t)(s->n_request - s->n_sent), MSG_DONTWAIT | MSG_NOSIGNAL);
	if (n < 0) {
		if (errno != EAGAIN && errno != EINTR)
			fail_errno(s, errno);
		return;
	}
	s->n_sent = (uint16_t)(s->n_sent + n);
	if (s->n_sent < s->n_request)
		return;
	s->state = PROBE_SOCKET_READING;
	uv_poll_start(&s->poll, UV_READABLE, on_poll);
}

static void on_connected(struct probe_socket *s)
{
	if (s->what.type == PROBE_HTTP) {
		s->state = PROBE_SOCKET_SENDING;
		send_request(s);
		return;
	}
	(void)shutdown(s->fd, SHUT_WR);
	uv_timer_start(&s->timer, s->timer.timer_cb, s->timeout_ms < DRAIN_MS ? s->timeout_ms : DRAIN_MS, 0);
	answered(s, "");
}

static void check_connected(struct probe_socket *s)
{
	int cause = 0;
	socklen_t n = sizeof cause;
	if (getsockopt(s->fd, SOL_SOCKET, SO_ERROR, &cause, &n) != 0)
		cause = errno;
	if (cause != 0)
		fail_errno(s, cause);
	else
		on_connected(s);
}

static void step(struct probe_socket *s)
{
	switch (s->state) {
	case PROBE_SOCKET_CONNECTING: check_connected(s); break;
	case PROBE_SOCKET_SENDING: send_request(s); break;
	case PROBE_SOCKET_READING: read_status(s); break;
	case PROBE_SOCKET_DRAINING: drain(s); break;
	}
}

static void on_poll(uv_poll_t *poll, int status, int events)
{
	struct probe_socket *s = poll->data;
	if (!s->is_closing)
		step(s);
}

// ---- Time ----

static bool is_ready(const struct probe_socket *s)
{
	bool writes = s->state == PROBE_SOCKET_CONNECTING || s->state == PROBE_SOCKET_SENDING;
	struct pollfd p = { .fd = s->fd, .events = writes ? POLLOUT : POLLIN };
	return poll(&p, 1, 0) == 1;
}

static void on_timer(uv_timer_t *timer)
{
	struct probe_socket *s = timer->data;
	char text[48];
	if (s->is_closing)
		return;
	if (s->state == PROBE_SOCKET_DRAINING) {
		close_all(s);
		return;
	}
	uint64_t now_ns = uv_hrtime();
	uint64_t late_ns = now_ns > s->deadline_ns ? now_ns - s->deadline_ns : 0;
	if (is_ready(s))
		step(s);
	if (s->is_closing || s->state == PROBE_SOCKET_DRAINING)
		return;
	if (late_ns > LATE_NS && !s->was_extended) {
		s->was_extended = true;
		uv_timer_start(timer, on_timer, late_ns / 1000000, 0);
		return;
	}
	text_format(text, sizeof text, "no answer in %u ms", s->timeout_ms);
	fail(s, text);
}

// ---- The beginning ----

static void write_request(struct probe_socket *s)
{
	char host[IP_ENDPOINT_TEXT_BYTES];
	ip_endpoint_format(&s->what.dip, s->what.port, host);
	if (s->what.port == 80) // RFC 9110 section 7.2
		*strrchr(host, ':') = '\0';
	text_format(s->request, sizeof s->request,
	            "GET %s HTTP/1.1\r\nHost: %s\r\nUser-Agent: ananta-probe\r\nConnection: close\r\n\r\n", s->what.path,
	            host);
	s->n_request = (uint16_t)strlen(s->request);
}

union socket_address {
	struct sockaddr any;
	struct sockaddr_in v4;
	struct sockaddr_in6 v6;
};

static socklen_t fill_address(union socket_address *a, const struct ip_addr *addr, uint16_t port)
{
	*a = (union socket_address){ 0 };
	if (ip_addr_is_v4(addr)) {
		a->v4.sin_family = AF_INET;
		a->v4.sin_port = htons(port);
		a->v4.sin_addr.s_addr = ip_addr_to_v4(addr);
		return sizeof a->v4;
	}
	a->v6.sin6_family = AF_INET6;
	a->v6.sin6_port = htons(port);
	memcpy(&a->v6.sin6_addr, addr->bytes, sizeof addr->bytes);
	return sizeof a->v6;
}

// IP_BIND_ADDRESS_NO_PORT, which is of both families: the port is chosen with the destination, so that connections that have just
// closed do not use the ports up.
static int bind_source(int fd, const struct ip_addr *source)
{
	int one = 1;
	union socket_address from;
	socklen_t n = fill_address(&from, source, 0);
	if (ip_addr_is_unspecified(source))
		return 0;
	if (setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &one, sizeof one) != 0 || bind(fd, &from.any, n) != 0)
		return errno;
	return 0;
}

// TCP_QUICKACK off: what the VM sends is acknowledged with the request and with the FIN, three packets in the place of six
// (tcp(7)). SO_DONTROUTE with a device: the kernel asks for the DIP itself, whatever its routes say; over IPv6 it does not know
// this option, and a route of its own that is for the probe address does the same (dpdk/data_plane.c).
static int prepare(int fd, const struct probe_socket_config *config, bool is_ip6)
{
	int one = 1;
	int zero = 0;
	if (setsockopt(fd, IPPROTO_TCP, TCP_QUICKACK, &zero, sizeof zero) != 0)
		return errno;
	if (config->device[0] != '\0' &&
	    (setsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, config->device, (socklen_t)strlen(config->device)) != 0 ||
	     setsockopt(fd, SOL_SOCKET, SO_DONTROUTE, &one, sizeof one) != 0))
		return errno;
	return bind_source(fd, is_ip6 ? &config->source6 : &config->source);
}

static bool is_of_the_vm(int cause)
{
	return cause == ECONNREFUSED || cause == ECONNRESET || cause == EHOSTUNREACH;
}

// 0, or errno; EINPROGRESS when the answer is still to come.
static int begin_connect(int fd, const struct probe_socket_config *config, const struct probe_what *what)
{
	union socket_address to;
	socklen_t n = fill_address(&to, &what->dip, what->port);
	int cause = prepare(fd, config, !ip_addr_is_v4(&what->dip));
	if (cause != 0)
		return cause;
	return connect(fd, &to.any, n) == 0 ? 0 : errno;
}

static int watch(struct probe_socket *s, struct error *err)
{
	if (uv_poll_init(s->config->loop, &s->poll, s->fd) != 0)
		return error_set(err, ERR_IO, "cannot watch a socket");
	uv_timer_init(s->config->loop, &s->timer);
	s->n_open_handles = 2;
	s->poll.data = s->timer.data = s;
	uv_poll_start(&s->poll, UV_WRITABLE, on_poll);
	uv_update_time(s->config->loop); // or what the loop did before would count as the VM's time
	uv_timer_start(&s->timer, on_timer, s->timeout_ms, 0);
	s->deadline_ns = uv_hrtime() + (uint64_t)s->timeout_ms * 1000000;
	return 0;
}

int probe_socket_begin(struct probe_socket *s, const struct probe_socket_config *config, const struct probe_what *what,
                       uint32_t timeout_ms, struct error *err)
{
	int fd = socket(ip_addr_is_v4(&what->dip) ? AF_INET : AF_INET6, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return error_set(err, ERR_IO, "cannot open a socket: %s", strerror(errno));
	*s = (struct probe_socket){ .config = config, .fd = fd, .what = *what, .timeout_ms = timeout_ms };
	int cause = begin_connect(fd, config, what);
	bool is_made = cause == 0 || cause == EINPROGRESS || is_of_the_vm(cause);
	int code = is_made ? watch(s, err) : error_set(err, ERR_IO, "cannot connect: %s", strerror(cause));
	if (code != 0) {
		close(fd);
		return code;
	}
	if (what->type == PROBE_HTTP)
		write_request(s);
	if (is_of_the_vm(cause))
		fail_errno(s, cause);
	return 0;
}
