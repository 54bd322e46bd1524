// The prober against real services on the loopback: one that accepts, refuses, is silent, slow, broken or floods; in one event loop.
#include <arpa/inet.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/io/log.h"
#include "hostagent/io/prober.h"
#include "tests/support/suite.h"
#include "tests/unit/hostagent/probe_store.h"

#define WATCHDOG_MS 20000
#define SOURCE "127.0.0.9"
#define SOURCE6 "::1"
#define BODY_BYTES 100000

enum service { SERVICE_STATUS, SERVICE_SILENT, SERVICE_SLOW, SERVICE_CLOSES, SERVICE_TALKS_FIRST };

struct peer { // a connection, at the service
	uv_tcp_t tcp;
	uv_timer_t slow;
	uint32_t n_said;
	uint32_t n_open;
	char heard[512];
	size_t n_heard;
};

static struct {
	uv_loop_t loop;
	uv_timer_t watchdog;
	uv_tcp_t listener;
	uint16_t port;
	enum service service;
	const char *says;
	uint32_t n_accepted;
	uint32_t n_ended; // connections that the prober closed in order
	uint32_t n_reset;
	char heard[512]; // the last request
	char from[IP_ADDR_TEXT_BYTES];
	struct store store;
	struct prober *prober;
	int send_code; // of the link
	uint32_t n_reports;
	uint32_t n_whole;
	char report[256]; // the last one: "10.1.1.11:80 well", or the cause
} w;

static void on_watchdog(uv_timer_t *timer)
{
	ck_abort_msg("the test did not get there in %d ms", WATCHDOG_MS);
}

#define RUN_UNTIL(condition) \
	while (!(condition))     \
	uv_run(&w.loop, UV_RUN_ONCE)

// ---- The service ----

static void on_peer_closed(uv_handle_t *handle)
{
	struct peer *p = handle->data;
	if (--p->n_open == 0)
		free(p);
}

static void close_peer(struct peer *p)
{
	if (uv_is_closing((uv_handle_t *)&p->tcp))
		return;
	uv_close((uv_handle_t *)&p->tcp, on_peer_closed);
	uv_close((uv_handle_t *)&p->slow, on_peer_closed);
}

static void say(struct peer *p, const char *bytes, size_t n)
{
	uv_buf_t buf = uv_buf_init((char *)bytes, (unsigned)n);
	(void)uv_try_write((uv_stream_t *)&p->tcp, &buf, 1);
}

static void on_shut_down(uv_shutdown_t *request, int status)
{
	free(request);
}

static void end(struct peer *p)
{
	uv_shutdown_t *request = malloc(sizeof *request);
	if (uv_shutdown(request, (uv_stream_t *)&p->tcp, on_shut_down) != 0)
		free(request);
}

static void on_slow(uv_timer_t *timer)
{
	struct peer *p = timer->data;
	say(p, w.says + p->n_said, 1);
	if (w.says[++p->n_said] == '\0')
		uv_timer_stop(timer);
}

static void answer(struct peer *p)
{
	static const char body[BODY_BYTES];
	switch (w.service) {
	case SERVICE_STATUS:
		say(p, w.says, strlen(w.says));
		say(p, body, sizeof body);
		end(p);
		break;
	case SERVICE_SLOW: uv_timer_start(&p->slow, on_slow, 1, 1); break;
	case SERVICE_CLOSES: end(p); break;
	case SERVICE_SILENT:
	case SERVICE_TALKS_FIRST: break;
	}
}

static void on_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *buf)
{
	struct peer *p = handle->data;
	*buf = uv_buf_init(p->heard + p->n_heard, (unsigned)(sizeof p->heard - 1 - p->n_heard));
}

static void on_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *buf)
{
	struct peer *p = stream->data;
	if (n < 0) {
		w.n_ended += n == UV_EOF;
		w.n_reset += n != UV_EOF;
		close_peer(p);
		return;
	}
	p->n_heard += (size_t)n;
	if (strstr(p->heard, "\r\n\r\n") == NULL)
		return;
	memcpy(w.heard, p->heard, sizeof w.heard);
	answer(p);
}

static void on_connection(uv_stream_t *listener, int status)
{
	struct sockaddr_in6 from;
	struct ip_addr addr;
	int n = sizeof from;
	struct peer *p = calloc(1, sizeof *p);
	uv_tcp_init(&w.loop, &p->tcp);
	uv_timer_init(&w.loop, &p->slow);
	p->tcp.data = p->slow.data = p;
	p->n_open = 2;
	ck_assert_int_eq(uv_accept(listener, (uv_stream_t *)&p->tcp), 0);
	if (uv_tcp_getpeername(&p->tcp, (struct sockaddr *)&from, &n) == 0) {
		memcpy(addr.bytes, &from.sin6_addr, sizeof addr.bytes);
		ip_addr_format(&addr, w.from);
	}
	w.n_accepted++;
	if (w.service == SERVICE_TALKS_FIRST)
		say(p, w.says, strlen(w.says));
	uv_read_start((uv_stream_t *)&p->tcp, on_alloc, on_read);
}

// Of both families, at one port.
static void start_service(enum service service, const char *says)
{
	struct sockaddr_in6 where = { .sin6_family = AF_INET6, .sin6_addr = IN6ADDR_ANY_INIT };
	int n = sizeof where;
	w.service = service;
	w.says = says;
	uv_tcp_init(&w.loop, &w.listener);
	ck_assert_int_eq(uv_tcp_bind(&w.listener, (struct sockaddr *)&where, 0), 0);
	ck_assert_int_eq(uv_listen((uv_stream_t *)&w.listener, 512, on_connection), 0);
	ck_assert_int_eq(uv_tcp_getsockname(&w.listener, (struct sockaddr *)&where, &n), 0);
	w.port = ntohs(where.sin6_port);
}

static void stop_service(void)
{
	uv_close((uv_handle_t *)&w.listener, NULL);
}

// ---- The leader ----

static int send_to_leader(const struct message *m, void *user)
{
	char dip[IP_ADDR_TEXT_BYTES];
	ck_assert_int_eq(m->type, MESSAGE_HEALTH);
	if (w.send_code != 0)
		return w.send_code;
	w.n_reports++;
	w.n_whole += m->health.is_whole;
	for (uint32_t i = 0; i < m->health.n; i++) {
		const struct probe_result *r = &m->health.items[i];
		ck_assert_uint_eq(r->protocol, 6);
		text_format(w.report, sizeof w.report, "%s:%u %s", ip_addr_format(&r->dip, dip), r->port,
		            r->is_healthy ? "well" : r->cause);
	}
	return 0;
}

// ---- The world ----

static void set_up(void)
{
	struct error err = { 0 };
	memset(&w, 0, sizeof w);
	log_set_level(LOG_ERROR);
	uv_loop_init(&w.loop);
	uv_timer_init(&w.loop, &w.watchdog);
	uv_timer_start(&w.watchdog, on_watchdog, WATCHDOG_MS, 0);
	uv_unref((uv_handle_t *)&w.watchdog);
	store_init(&w.store);
	struct prober_config config = { .loop = &w.loop,
		                            .host = "host1",
		                            .source = test_addr(SOURCE),
		                            .source6 = test_addr(SOURCE6),
		                            .device = "",
		                            .send = send_to_leader };
	ck_assert_int_eq(prober_create(&config, &w.prober, &err), 0);
}

static void tear_down(void)
{
	prober_destroy(w.prober);
	if (w.listener.loop != NULL && !uv_is_closing((uv_handle_t *)&w.listener))
		stop_service();
	uv_close((uv_handle_t *)&w.watchdog, NULL);
	uv_run(&w.loop, UV_RUN_DEFAULT); // the service's connections end with those of the prober
	ck_assert_int_eq(uv_loop_close(&w.loop), 0);
	store_fini(&w.store);
}

static const struct probe tcp_probe = { .type = PROBE_TCP, .interval_ms = 100, .timeout_ms = 100, .up = 1, .down = 2 };
static const struct probe http_probe = { .type = PROBE_HTTP,
	                                     .path = "/x",
	                                     .expect_min = 200,
	                                     .expect_max = 399,
	                                     .interval_ms = 100,
	                                     .timeout_ms = 80,
	                                     .up = 1,
	                                     .down = 1 };

// n DIPs 127.0.1.1 and on, each with the endpoint 80.
static void probe_dips(uint32_t n, const struct probe *wanted)
{
	struct probe probe = *wanted;
	char vip_text[32];
	char dip_text[32];
	probe.port = w.port;
	for (uint32_t i = 0; i < n; i++) {
		text_format(dip_text, sizeof dip_text, "127.0.%u.%u", 1 + i / 200, 1 + i % 200);
		text_format(vip_text, sizeof vip_text, "203.0.%u.%u", 1 + i / 200, 1 + i % 200);
		struct vip_config *v = probe_vip(vip_text, 1);
		probe_vip_add(v, 80, dip_text, &probe);
		probe_store_apply(&w.store, test_put_dip(dip_text, "host1", "vm1"));
		probe_store_apply(&w.store, test_put_vip(v)); // no operator may have a DIP in 127.0.0.0/8
	}
	ck_assert_int_eq(prober_configure(w.prober, &w.store), 0);
	for (uint32_t i = 0; i < n; i++) {
		text_format(dip_text, sizeof dip_text, "127.0.%u.%u", 1 + i / 200, 1 + i % 200);
		struct ip_addr dip = test_addr(dip_text);
		prober_set_port(w.prober, &dip, true, "");
	}
}

static uint64_t counter(const char *name)
{
	struct counter values[PROBER_N_COUNTERS];
	prober_read_counters(w.prober, values);
	for (uint32_t i = 0; i < PROBER_N_COUNTERS; i++)
		if (strcmp(values[i].name, name) == 0)
			return values[i].value;
	ck_abort_msg("no counter %s", name);
}

static void expect_report(const char *format)
{
	char want[256];
	prober_on_link(w.prober, true);
	RUN_UNTIL(w.n_whole == 1);
	text_format(want, sizeof want, format, w.port);
	ck_assert_str_eq(w.report, want);
}

// ---- Services ----

START_TEST(a_service_that_accepts_is_well_and_sees_an_orderly_end)
{
	set_up();
	start_service(SERVICE_SILENT, "");
	probe_dips(1, &tcp_probe);
	expect_report("127.0.1.1:80 well");
	RUN_UNTIL(w.n_ended >= 3);
	ck_assert_str_eq(w.from, SOURCE);
	ck_assert_uint_eq(w.n_reset, 0);
	ck_assert_uint_ge(counter("probes_succeeded"), 3);
	ck_assert_uint_eq(counter("probes_failed"), 0);
	ck_assert_uint_eq(w.n_reports, 1); // nothing has changed since
	tear_down();
}
END_TEST

// The loopback has one address of IPv6 only.
static void probe_dip6(const struct probe *wanted)
{
	struct probe probe = *wanted;
	struct ip_addr dip = test_addr("::1");
	struct vip_config *v = probe_vip("2001:db8:f::10", 1);
	probe.port = w.port;
	probe_vip_add(v, 80, "::1", &probe);
	probe_store_apply(&w.store, test_put_dip("::1", "host1", "vm1"));
	probe_store_apply(&w.store, test_put_vip(v));
	ck_assert_int_eq(prober_configure(w.prober, &w.store), 0);
	prober_set_port(w.prober, &dip, true, "");
}

START_TEST(a_service_of_ipv6_is_probed_from_the_address_of_its_family)
{
	set_up();
	start_service(SERVICE_STATUS, "HTTP/1.1 204 No Content\r\n\r\n");
	probe_dip6(&http_probe);
	expect_report("::1:80 well");
	char want[64];
	text_format(want, sizeof want, "\r\nHost: [::1]:%u\r\n", w.port);
	ck_assert_msg(strstr(w.heard, want) != NULL, "%s", w.heard);
	ck_assert_str_eq(w.from, SOURCE6);
	stop_service();
	RUN_UNTIL(w.n_reports == 2);
	text_format(want, sizeof want, "::1:80 http %u /x: connection refused", w.port);
	ck_assert_str_eq(w.report, want);
	ck_assert_uint_eq(counter("probes_not_made"), 0);
	tear_down();
}
END_TEST

START_TEST(a_service_that_talks_first_sees_an_orderly_end_too)
{
	set_up();
	start_service(SERVICE_TALKS_FIRST, "SSH-2.0-x\r\n");
	probe_dips(1, &tcp_probe);
	expect_report("127.0.1.1:80 well");
	RUN_UNTIL(w.n_ended >= 2);
	ck_assert_uint_eq(w.n_reset, 0);
	tear_down();
}
END_TEST

START_TEST(a_service_that_ends_is_ill_after_as_many_failures_and_well_again)
{
	set_up();
	start_service(SERVICE_SILENT, "");
	probe_dips(1, &tcp_probe);
	expect_report("127.0.1.1:80 well");
	stop_service();
	RUN_UNTIL(w.n_reports == 2);
	char want[64];
	text_format(want, sizeof want, "127.0.1.1:80 tcp %u: connection refused", w.port);
	ck_assert_str_eq(w.report, want);
	ck_assert_uint_eq(counter("probes_failed"), 2);
	ck_assert_uint_eq(counter("dips_unhealthy"), 1);
	ck_assert_uint_eq(w.n_whole, 1);
	tear_down();
}
END_TEST

START_TEST(a_good_status_is_well_whatever_the_size_of_the_rest)
{
	set_up();
	start_service(SERVICE_STATUS, "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n");
	probe_dips(1, &http_probe);
	expect_report("127.0.1.1:80 well");
	char want[256];
	text_format(want, sizeof want,
	            "GET /x HTTP/1.1\r\nHost: 127.0.1.1:%u\r\nUser-Agent: ananta-probe\r\nConnection: close\r\n\r\n",
	            w.port);
	ck_assert_str_eq(w.heard, want);
	RUN_UNTIL(w.n_ended >= 2);
	ck_assert_uint_eq(w.n_reset, 0);
	tear_down();
}
END_TEST

START_TEST(a_slow_status_is_well_if_it_comes_in_time)
{
	set_up();
	start_service(SERVICE_SLOW, "HTTP/1.0 302 \r\n\r\n");
	struct probe patient = http_probe;
	patient.interval_ms = patient.timeout_ms = 2000;
	probe_dips(1, &patient);
	expect_report("127.0.1.1:80 well");
	tear_down();
}
END_TEST

static void expect_http(enum service service, const char *says, const char *report)
{
	set_up();
	start_service(service, says);
	probe_dips(1, &http_probe);
	expect_report(report);
	RUN_UNTIL(w.n_ended + w.n_reset >= 2);
	ck_assert_uint_eq(w.n_reset, 0);
	tear_down();
}

START_TEST(a_broken_service_is_ill_and_the_cause_says_why)
{
	expect_http(SERVICE_STATUS, "HTTP/1.1 500 Oops\r\n\r\n", "127.0.1.1:80 http %u /x: status 500, not 200-399");
	expect_http(SERVICE_STATUS, "220 mail ready\r\n", "127.0.1.1:80 http %u /x: the answer is no HTTP");
	expect_http(SERVICE_CLOSES, "", "127.0.1.1:80 http %u /x: closed without an answer");
	expect_http(SERVICE_SILENT, "", "127.0.1.1:80 http %u /x: no answer in 80 ms");
}
END_TEST

START_TEST(a_full_accept_queue_is_no_answer)
{
	set_up();
	struct sockaddr_in where = { .sin_family = AF_INET, .sin_addr.s_addr = inet_addr("127.0.1.1") };
	socklen_t n = sizeof where;
	int fd = socket(AF_INET, SOCK_STREAM, 0);
	int clients[2];
	ck_assert_int_eq(bind(fd, (struct sockaddr *)&where, n), 0);
	ck_assert_int_eq(listen(fd, 0), 0);
	ck_assert_int_eq(getsockname(fd, (struct sockaddr *)&where, &n), 0);
	for (int i = 0; i < 2; i++) { // one is accepted by the kernel, the other one waits
		clients[i] = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
		(void)connect(clients[i], (struct sockaddr *)&where, n);
	}
	w.port = ntohs(where.sin_port);
	probe_dips(1, &tcp_probe);
	expect_report("127.0.1.1:80 tcp %u: no answer in 100 ms");
	for (int i = 0; i < 2; i++)
		close(clients[i]);
	close(fd);
	tear_down();
}
END_TEST

// ---- The prober itself ----

START_TEST(more_than_256_probes_take_turns)
{
	set_up();
	start_service(SERVICE_SILENT, "");
	struct probe slow = http_probe;
	slow.interval_ms = slow.timeout_ms = 2000;
	probe_dips(300, &slow);
	prober_on_link(w.prober, true);
	uint64_t most_waiting = 0;
	while (w.n_whole == 0) { // until the last of them has timed out
		uv_run(&w.loop, UV_RUN_ONCE);
		ck_assert_uint_le(counter("probes_begun") - counter("probes_failed"), PROBER_SOCKETS);
		if (counter("probes_waiting") > most_waiting)
			most_waiting = counter("probes_waiting");
	}
	ck_assert_uint_gt(most_waiting, 0);
	ck_assert_uint_ge(counter("probes_begun"), 300);
	ck_assert_uint_eq(counter("dips_unhealthy"), 300);
	tear_down();
}
END_TEST

START_TEST(what_could_not_be_sent_is_sent_as_a_whole_later)
{
	set_up();
	start_service(SERVICE_SILENT, "");
	probe_dips(1, &tcp_probe);
	w.send_code = ERR_UNAVAILABLE;
	prober_on_link(w.prober, true);
	RUN_UNTIL(counter("probes_succeeded") >= 2);
	w.send_code = 0;
	RUN_UNTIL(w.n_whole == 1);
	ck_assert_str_eq(w.report, "127.0.1.1:80 well");
	tear_down();
}
END_TEST

START_TEST(probes_that_cannot_be_made_say_nothing_of_the_vm)
{
	set_up();
	prober_destroy(w.prober);
	struct error err = { 0 };
	struct prober_config config = {
		.loop = &w.loop, .host = "host1", .source = test_addr("192.0.2.1"), .device = "", .send = send_to_leader
	};
	ck_assert_int_eq(prober_create(&config, &w.prober, &err), 0);
	log_set_level(LOG_ERROR + 1);
	start_service(SERVICE_SILENT, "");
	probe_dips(1, &tcp_probe);
	prober_on_link(w.prober, true);
	RUN_UNTIL(counter("probes_not_made") >= 2); // and it goes on at its interval
	ck_assert_uint_eq(w.n_whole, 1);
	ck_assert_str_eq(w.report, "");
	ck_assert_uint_eq(counter("probes_failed"), 0);
	tear_down();
}
END_TEST

static void on_busy(uv_timer_t *timer)
{
	uint64_t until = uv_hrtime() + 200000000;
	while (uv_hrtime() < until)
		;
	uv_close((uv_handle_t *)timer, NULL);
}

START_TEST(a_loop_that_was_busy_is_no_failure_of_the_vm)
{
	set_up();
	start_service(SERVICE_SLOW, "HTTP/1.1 200 \r\n\r\n"); // some 15 ms, in the same loop
	struct probe probe = http_probe;
	probe.interval_ms = 1000;
	probe_dips(1, &probe);
	RUN_UNTIL(w.n_accepted == 1);
	uv_timer_t busy;
	uv_timer_init(&w.loop, &busy);
	uv_timer_start(&busy, on_busy, 0, 0);
	expect_report("127.0.1.1:80 well");
	tear_down();
}
END_TEST

START_TEST(what_is_under_way_at_the_end_does_no_harm)
{
	set_up();
	start_service(SERVICE_SILENT, "");
	probe_dips(20, &http_probe);
	RUN_UNTIL(counter("probes_begun") >= 5);
	tear_down();
	ck_assert_uint_eq(w.n_reports, 0);
}
END_TEST

SUITE_MAIN("agent prober", a_service_that_accepts_is_well_and_sees_an_orderly_end,
           a_service_of_ipv6_is_probed_from_the_address_of_its_family,
           a_service_that_talks_first_sees_an_orderly_end_too,
           a_service_that_ends_is_ill_after_as_many_failures_and_well_again,
           a_good_status_is_well_whatever_the_size_of_the_rest, a_slow_status_is_well_if_it_comes_in_time,
           a_broken_service_is_ill_and_the_cause_says_why, a_full_accept_queue_is_no_answer,
           more_than_256_probes_take_turns, what_could_not_be_sent_is_sent_as_a_whole_later,
           probes_that_cannot_be_made_say_nothing_of_the_vm, a_loop_that_was_busy_is_no_failure_of_the_vm,
           what_is_under_way_at_the_end_does_no_harm)
