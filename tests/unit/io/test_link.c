// conn and manager_link against managers that a test plays itself, on loopback, in one event loop. Everything is driven by
// events; a watchdog timer fails a test that does not get there.
#include "tests/support/suite.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/un.h>
#include <unistd.h>

#include "common/base/memory.h"
#include "common/io/conn.h"
#include "common/io/log.h"
#include "common/io/manager_link.h"
#include "common/model/store.h"
#include "tests/support/vip_builder.h"

#define N_MANAGERS 2
#define WATCHDOG_MS 20000

struct fake_manager {
	char address[ENDPOINT_TEXT_BYTES];
	struct conn_listener *listener;
	struct conn *conn; // the newest
	uint32_t n_accepted;
	uint32_t n_messages;
	uint64_t acked;
	struct subscribe subscribe; // the last
	void (*on_message)(struct fake_manager *m, struct conn *c, struct message *msg);
};

static uv_loop_t loop;
static uv_timer_t watchdog;
static struct fake_manager managers[N_MANAGERS];
static struct manager_link *test_link;
static struct store store;
static uint32_t n_updates;
static uint32_t n_snapshots;
static uint64_t last_version;

static void on_watchdog(uv_timer_t *timer)
{
	ck_abort_msg("the test did not get there in %d ms", WATCHDOG_MS);
}

static void manager_message(struct conn *c, struct message *msg, void *user)
{
	struct fake_manager *m = user;
	m->n_messages++;
	if (msg->type == MESSAGE_SUBSCRIBE)
		m->subscribe = msg->subscribe;
	if (msg->type == MESSAGE_ACK)
		m->acked = msg->ack.version;
	m->on_message(m, c, msg);
}

static void manager_close(struct conn *c, const struct error *reason, void *user)
{
	struct fake_manager *m = user;
	if (m->conn == c)
		m->conn = NULL;
}

static const struct conn_handler manager_handler = { .on_message = manager_message, .on_close = manager_close };

static void manager_accept(struct conn *c, void *user)
{
	struct fake_manager *m = user;
	conn_set_user(c, m);
	m->conn = c;
	m->n_accepted++;
}

static void start_manager(struct fake_manager *m)
{
	struct error err = { 0 };
	struct conn_listener_config config = {
		.address = m->address, .max_conns = 4, .handler = &manager_handler, .on_accept = manager_accept, .user = m
	};
	ck_assert_msg(conn_listener_create(&loop, &config, &m->listener, &err) == 0, "%s", err.text);
}

// A port that was free a moment ago.
static void choose_address(char *address)
{
	struct sockaddr_in where = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t n = sizeof where;
	int fd = socket(AF_INET, SOCK_STREAM, 0);
	ck_assert_int_eq(bind(fd, (struct sockaddr *)&where, n), 0);
	ck_assert_int_eq(getsockname(fd, (struct sockaddr *)&where, &n), 0);
	close(fd);
	snprintf(address, ENDPOINT_TEXT_BYTES, "127.0.0.1:%u", ntohs(where.sin_port));
}

static void say_nothing(struct fake_manager *m, struct conn *c, struct message *msg)
{
}

static void set_up(void)
{
	log_set_level(LOG_ERROR);
	uv_loop_init(&loop);
	uv_timer_init(&loop, &watchdog);
	uv_timer_start(&watchdog, on_watchdog, WATCHDOG_MS, 0);
	uv_unref((uv_handle_t *)&watchdog);
	store_init(&store);
	for (int i = 0; i < N_MANAGERS; i++) {
		choose_address(managers[i].address);
		managers[i].on_message = say_nothing;
	}
}

static void tear_down(void)
{
	manager_link_destroy(test_link);
	for (int i = 0; i < N_MANAGERS; i++) {
		conn_listener_destroy(managers[i].listener);
		if (managers[i].conn != NULL)
			conn_close(managers[i].conn);
	}
	uv_close((uv_handle_t *)&watchdog, NULL);
	uv_run(&loop, UV_RUN_DEFAULT);
	ck_assert_int_eq(uv_loop_close(&loop), 0); // nothing is left over
	store_fini(&store);
}

static int take_update(struct update *u, void *user)
{
	bool is_snapshot = update_is_snapshot(u);
	n_updates++;
	n_snapshots += is_snapshot;
	ck_assert_int_eq(store_apply_update(&store, &u->changes, is_snapshot, u->to_version), 0);
	last_version = u->to_version;
	return 0;
}

static void fill_status(struct node_status *status, void *user)
{
	strcpy(status->state, "announcing");
	status->n_counters = 1;
	status->counters = memory_array(1, sizeof *status->counters);
	strcpy(status->counters[0].name, "rx_packets");
	status->counters[0].value = 7;
}

static void create_link(bool subscribes)
{
	const char *list[] = { managers[0].address, managers[1].address };
	struct manager_link_config config = {
		.managers = list,
		.n_managers = N_MANAGERS,
		.subscribes = subscribes,
		.subscribe = { .role = ROLE_MUX,
		               .node = { .name = "mux1", .addr = test_addr("10.0.0.31"), .addr6 = test_addr("2001:db8::31") } },
		.handler = { .on_update = take_update, .on_status_request = fill_status },
	};
	struct error err = { 0 };
	ck_assert_msg(manager_link_create(&loop, &config, &test_link, &err) == 0, "%s", err.text);
}

#define RUN_UNTIL(condition) \
	while (!(condition))     \
	ck_assert(uv_run(&loop, UV_RUN_ONCE) || (condition))

static void redirect_to_second(struct fake_manager *m, struct conn *c, struct message *msg)
{
	struct message reply = { .type = MESSAGE_REDIRECT, .request_id = msg->request_id };
	strcpy(reply.leader, managers[1].address);
	conn_send(c, &reply);
}

static void send_part(struct conn *c, uint64_t from, uint64_t to, bool more, const char *name)
{
	struct message m = { .type = MESSAGE_UPDATE, .update = { .from_version = from, .to_version = to, .more = more } };
	struct change change = test_put_node(OBJECT_MUX, name, "10.0.0.31");
	ck_assert_int_eq(change_list_append(&m.update.changes, &change), 0);
	ck_assert_int_eq(conn_send(c, &m), 0);
	message_fini(&m);
}

static void lead(struct fake_manager *m, struct conn *c, struct message *msg)
{
	if (msg->type == MESSAGE_SUBSCRIBE) {
		send_part(c, 0, 5, true, "mux1");
		send_part(c, 0, 5, false, "mux2");
	} else if (msg->type == MESSAGE_COMMAND_REQUEST) {
		conn_send(c, &(struct message){ .type = MESSAGE_COMMAND_REPLY, .request_id = msg->request_id, .version = 6 });
	}
}

START_TEST(a_subscriber_follows_the_redirect_and_takes_a_snapshot_in_parts)
{
	set_up();
	start_manager(&managers[0]);
	start_manager(&managers[1]);
	managers[0].on_message = redirect_to_second;
	managers[1].on_message = lead;
	create_link(true);
	RUN_UNTIL(managers[1].acked == 5);
	ck_assert_uint_eq(n_updates, 1);
	ck_assert_uint_eq(n_snapshots, 1);
	ck_assert_uint_eq(store.muxes.n, 2);
	ck_assert(manager_link_is_up(test_link));
	ck_assert_uint_eq(managers[0].n_accepted, 1);

	// Then a delta, and one for a base that it does not have: it begins anew with a snapshot.
	send_part(managers[1].conn, 5, 6, false, "mux3");
	RUN_UNTIL(managers[1].acked == 6);
	ck_assert_uint_eq(store.muxes.n, 3);
	send_part(managers[1].conn, 9, 10, false, "mux4");
	RUN_UNTIL(n_snapshots == 2);
	ck_assert_uint_eq(managers[1].subscribe.have_version, 0);
	ck_assert_uint_eq(store.muxes.n, 2);
	tear_down();
}
END_TEST

START_TEST(managers_of_one_family_redirect_to_those_of_the_other)
{
	struct ip_addr addr6 = test_addr("2001:db8::31");
	set_up();
	start_manager(&managers[0]);
	char port[8];
	ck_assert(text_copy(port, sizeof port, strchr(managers[1].address, ':') + 1));
	(void)text_format(managers[1].address, sizeof managers[1].address, "[::1]:%s", port);
	start_manager(&managers[1]);
	managers[0].on_message = redirect_to_second;
	managers[1].on_message = lead;
	create_link(true);
	RUN_UNTIL(managers[1].acked == 5);
	ck_assert_int_eq(strncmp(conn_peer(managers[1].conn), "[::1]:", strlen("[::1]:")), 0);
	ck_assert(ip_addr_equal(&managers[1].subscribe.node.addr6, &addr6));
	tear_down();
}
END_TEST

START_TEST(a_subscriber_comes_back_with_what_it_has)
{
	set_up();
	start_manager(&managers[1]);
	managers[1].on_message = lead;
	create_link(true); // the first manager does not live
	RUN_UNTIL(managers[1].acked == 5);
	conn_close(managers[1].conn);
	uint32_t n = managers[1].n_accepted;
	managers[1].on_message = say_nothing;
	RUN_UNTIL(managers[1].n_accepted > n && managers[1].subscribe.have_version == 5);
	ck_assert(!manager_link_is_up(test_link));
	tear_down();
}
END_TEST

static struct message status_reply;

static void keep_status(struct fake_manager *m, struct conn *c, struct message *msg)
{
	lead(m, c, msg);
	if (msg->type == MESSAGE_ACK)
		conn_send(c, &(struct message){ .type = MESSAGE_STATUS_REQUEST, .request_id = 77 });
	if (msg->type == MESSAGE_STATUS_REPLY) {
		status_reply = *msg;
		memset(&msg->status, 0, sizeof msg->status);
	}
}

START_TEST(the_leader_can_ask_for_status)
{
	set_up();
	start_manager(&managers[1]);
	managers[1].on_message = keep_status;
	create_link(true);
	RUN_UNTIL(status_reply.type == MESSAGE_STATUS_REPLY);
	ck_assert_uint_eq(status_reply.request_id, 77);
	ck_assert_str_eq(status_reply.status.name, "mux1");
	ck_assert_str_eq(status_reply.status.state, "announcing");
	ck_assert_uint_eq(status_reply.status.counters[0].value, 7);
	message_fini(&status_reply);
	tear_down();
}
END_TEST

struct outcome {
	uint32_t n_calls;
	struct error err;
	uint64_t version;
};

static void note_outcome(struct message *reply, const struct error *err, void *user)
{
	struct outcome *o = user;
	o->n_calls++;
	if (err != NULL)
		o->err = *err;
	else
		o->version = reply->version;
}

static void send_command(struct outcome *o, uint32_t timeout_ms)
{
	struct message m = { .type = MESSAGE_COMMAND_REQUEST };
	ck_assert_int_eq(manager_link_request(test_link, &m, timeout_ms, note_outcome, o), 0);
}

START_TEST(a_request_goes_to_the_leader_whoever_is_asked_first)
{
	struct outcome o = { 0 };
	set_up();
	start_manager(&managers[0]);
	start_manager(&managers[1]);
	managers[0].on_message = redirect_to_second;
	managers[1].on_message = lead;
	create_link(false);
	send_command(&o, 10000);
	RUN_UNTIL(o.n_calls == 1);
	ck_assert_int_eq(o.err.code, 0);
	ck_assert_uint_eq(o.version, 6);
	tear_down();
}
END_TEST

START_TEST(a_request_without_any_manager_says_so_at_its_deadline)
{
	struct outcome o = { 0 };
	set_up();
	create_link(false);
	send_command(&o, 300);
	RUN_UNTIL(o.n_calls == 1);
	ck_assert_int_eq(o.err.code, ERR_UNAVAILABLE);
	tear_down();
}
END_TEST

static void close_on_command(struct fake_manager *m, struct conn *c, struct message *msg)
{
	if (msg->type == MESSAGE_COMMAND_REQUEST)
		conn_close(c);
}

START_TEST(a_command_whose_connection_broke_is_not_sent_twice)
{
	struct outcome o = { 0 };
	set_up();
	start_manager(&managers[0]);
	managers[0].on_message = close_on_command;
	create_link(false);
	send_command(&o, 10000);
	RUN_UNTIL(o.n_calls == 1);
	ck_assert_int_eq(o.err.code, ERR_TIMEOUT);
	ck_assert_ptr_nonnull(strstr(o.err.text, "may have been made or not"));
	ck_assert_uint_eq(managers[0].n_messages, 1);
	tear_down();
}
END_TEST

START_TEST(pending_requests_fail_when_the_link_is_destroyed)
{
	struct outcome o = { 0 };
	set_up();
	create_link(false);
	send_command(&o, 10000);
	manager_link_destroy(test_link);
	test_link = NULL;
	ck_assert_uint_eq(o.n_calls, 1);
	ck_assert_int_eq(o.err.code, ERR_UNAVAILABLE);
	tear_down();
}
END_TEST

// Garbage and huge frames, from a plain socket.
static uint32_t n_closed;
static struct error close_reason;

static void note_close(struct conn *c, const struct error *reason, void *user)
{
	n_closed++;
	close_reason = *reason;
}

static const struct conn_handler noting_handler = { .on_message = manager_message, .on_close = note_close };

static void throw_at_listener(const uint8_t *bytes, size_t n, const char *want)
{
	n_closed = 0;
	struct sockaddr_in where;
	int port = atoi(strchr(managers[0].address, ':') + 1);
	uv_ip4_addr("127.0.0.1", port, &where);
	int fd = socket(AF_INET, SOCK_STREAM, 0);
	ck_assert_int_eq(connect(fd, (struct sockaddr *)&where, sizeof where), 0);
	ck_assert_int_eq(write(fd, bytes, n), (ssize_t)n);
	RUN_UNTIL(n_closed == 1);
	ck_assert_msg(strstr(close_reason.text, want) != NULL, "%s", close_reason.text);
	close(fd);
}

// A plain socket that says `n` bytes, once the listener has accepted it.
static int connect_quietly(const uint8_t *bytes, size_t n)
{
	struct sockaddr_in where;
	uint32_t n_before = managers[0].n_accepted;
	uv_ip4_addr("127.0.0.1", atoi(strchr(managers[0].address, ':') + 1), &where);
	int fd = socket(AF_INET, SOCK_STREAM, 0);
	ck_assert_int_eq(connect(fd, (struct sockaddr *)&where, sizeof where), 0);
	RUN_UNTIL(managers[0].n_accepted > n_before);
	ck_assert_int_eq(write(fd, bytes, n), (ssize_t)n);
	return fd;
}

static void listen_and_note(void)
{
	struct conn_listener_config config = { .address = managers[0].address,
		                                   .max_conns = 4,
		                                   .handler = &noting_handler,
		                                   .on_accept = manager_accept,
		                                   .user = &managers[0] };
	n_closed = 0;
	ck_assert_int_eq(conn_listener_create(&loop, &config, &managers[0].listener, NULL), 0);
}

static const uint8_t ping_frame[] = { 0, 0, 0, 2, 0x52, 0 };

START_TEST(a_connection_pings_and_closes_when_the_peer_is_silent)
{
	uint8_t frame[sizeof ping_frame];
	set_up();
	listen_and_note();
	int fd = connect_quietly(ping_frame, sizeof ping_frame);
	uint64_t begin_ms = uv_hrtime() / 1000000;
	conn_set_liveness(managers[0].conn, 50, 200);
	RUN_UNTIL(n_closed == 1);
	ck_assert_int_eq(close_reason.code, ERR_TIMEOUT);
	ck_assert_str_eq(close_reason.text, "the peer is silent");
	ck_assert_uint_ge(uv_hrtime() / 1000000 - begin_ms, 190);
	for (int i = 0; i < 3; i++) { // at 50, 100, 150 ms
		ck_assert_int_eq(read(fd, frame, sizeof frame), (ssize_t)sizeof frame);
		ck_assert_mem_eq(frame, ping_frame, sizeof frame);
	}
	close(fd);
	managers[0].conn = NULL;
	tear_down();
}
END_TEST

// As if this program had not run for so long.
static void stall(uint64_t ms)
{
	uint64_t end_ns = uv_hrtime() + ms * 1000000;
	while (uv_hrtime() < end_ns)
		;
}

START_TEST(time_in_which_the_program_stood_still_is_no_silence_of_the_peer)
{
	set_up();
	listen_and_note();
	int fd = connect_quietly(ping_frame, sizeof ping_frame);
	conn_set_liveness(managers[0].conn, 100000, 100);
	for (int i = 0; i < 3; i++) {
		stall(150);
		ck_assert_int_eq(write(fd, ping_frame, sizeof ping_frame), (ssize_t)sizeof ping_frame);
		for (int turn = 0; turn < 4; turn++)
			uv_run(&loop, UV_RUN_NOWAIT);
		ck_assert_uint_eq(n_closed, 0);
	}
	RUN_UNTIL(n_closed == 1);
	close(fd);
	managers[0].conn = NULL;
	tear_down();
}
END_TEST

static void lead_silently(struct fake_manager *m, struct conn *c, struct message *msg)
{
	conn_set_liveness(c, 1000000, 1000000);
	lead(m, c, msg);
}

START_TEST(a_subscriber_leaves_a_leader_that_falls_silent_for_another_manager)
{
	set_up();
	start_manager(&managers[1]);
	managers[1].on_message = lead_silently;
	create_link(true); // the first manager does not live yet
	RUN_UNTIL(managers[1].acked == 5);
	start_manager(&managers[0]);
	managers[0].on_message = lead_silently;
	uint64_t begin_ms = uv_hrtime() / 1000000;
	RUN_UNTIL(managers[0].acked == 5 || managers[1].n_accepted > 1);
	uint64_t passed_ms = uv_hrtime() / 1000000 - begin_ms;
	ck_assert_msg(passed_ms >= CONN_SUBSCRIBER_DEAD_MS - 100, "%llu ms", (unsigned long long)passed_ms);
	ck_assert_uint_eq(managers[0].acked, 5);
	// Again, now that the turn of the one that fell silent would come.
	RUN_UNTIL(managers[1].n_accepted > 1 || managers[0].n_accepted > 1);
	ck_assert_uint_eq(managers[0].n_accepted, 1);
	tear_down();
}
END_TEST

START_TEST(garbage_and_huge_frames_close_only_their_own_connection)
{
	set_up();
	listen_and_note();
	throw_at_listener((const uint8_t *)"\xff\xff\xff\xff", 4, "more than 1 MiB");
	throw_at_listener((const uint8_t *)"GET / HTTP/1.1\r\n", 16, "more than 1 MiB");
	throw_at_listener((const uint8_t *)"\0\0\0\2\xff\xff", 6, "cannot be read");
	throw_at_listener((const uint8_t *)"\0\0\0\0", 4, "kind that this version does not know");
	managers[0].conn = NULL;
	tear_down();
}
END_TEST

START_TEST(connections_beyond_the_limit_are_closed_at_once)
{
	set_up();
	start_manager(&managers[0]);
	struct sockaddr_in where;
	uv_ip4_addr("127.0.0.1", atoi(strchr(managers[0].address, ':') + 1), &where);
	int fds[5];
	for (int i = 0; i < 5; i++) {
		fds[i] = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
		ck_assert(connect(fds[i], (struct sockaddr *)&where, sizeof where) == 0 || errno == EINPROGRESS);
	}
	RUN_UNTIL(managers[0].n_accepted == 4);
	char byte;
	RUN_UNTIL(read(fds[4], &byte, 1) == 0);
	for (int i = 0; i < 4; i++) {
		ck_assert(read(fds[i], &byte, 1) < 0 && errno == EAGAIN);
		close(fds[i]);
	}
	close(fds[4]);
	RUN_UNTIL(managers[0].conn == NULL);
	tear_down();
}
END_TEST

START_TEST(a_unix_socket_left_by_a_dead_process_is_replaced_and_a_live_one_is_not)
{
	char dir[] = "/tmp/ananta-test-XXXXXX";
	char path[64];
	ck_assert_ptr_nonnull(mkdtemp(dir));
	snprintf(path, sizeof path, "%s/agent.sock", dir);
	set_up();
	struct sockaddr_un where = { .sun_family = AF_UNIX };
	strcpy(where.sun_path, path);
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);
	ck_assert_int_eq(bind(fd, (struct sockaddr *)&where, sizeof where), 0);
	close(fd); // the file stays
	strcpy(managers[0].address, path);
	start_manager(&managers[0]);
	struct conn_listener *second;
	struct error err = { 0 };
	struct conn_listener_config config = {
		.address = path, .max_conns = 4, .handler = &manager_handler, .on_accept = manager_accept, .user = &managers[0]
	};
	ck_assert_int_eq(conn_listener_create(&loop, &config, &second, &err), ERR_IO);
	ck_assert_ptr_nonnull(strstr(err.text, "address already in use"));
	tear_down();
	unlink(path);
	rmdir(dir);
}
END_TEST

SUITE_MAIN("link", a_subscriber_follows_the_redirect_and_takes_a_snapshot_in_parts,
           managers_of_one_family_redirect_to_those_of_the_other, a_subscriber_comes_back_with_what_it_has,
           the_leader_can_ask_for_status, a_request_goes_to_the_leader_whoever_is_asked_first,
           a_request_without_any_manager_says_so_at_its_deadline, a_command_whose_connection_broke_is_not_sent_twice,
           pending_requests_fail_when_the_link_is_destroyed, a_connection_pings_and_closes_when_the_peer_is_silent,
           time_in_which_the_program_stood_still_is_no_silence_of_the_peer,
           a_subscriber_leaves_a_leader_that_falls_silent_for_another_manager,
           garbage_and_huge_frames_close_only_their_own_connection, connections_beyond_the_limit_are_closed_at_once,
           a_unix_socket_left_by_a_dead_process_is_replaced_and_a_live_one_is_not)
