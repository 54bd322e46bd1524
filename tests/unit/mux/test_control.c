// The mux's control between a manager that the test plays and a data plane that only keeps what it is told, in one event loop,
// driven by events: what is applied, announced and acknowledged, and in which order.
#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "common/base/memory.h"
#include "common/io/conn.h"
#include "common/io/log.h"
#include "common/io/store_file.h"
#include "mux/io/control.h"
#include "mux/io/status.h"
#include "tests/support/packet_builder.h"
#include "tests/support/suite.h"
#include "tests/support/vip_builder.h"
#include "tests/unit/mux/fake_data_plane.h"

#define WATCHDOG_MS 20000
#define VIP "203.0.113.10"
#define OTHER_VIP "203.0.113.11"

struct world {
	uv_loop_t loop;
	uv_timer_t watchdog;
	struct mux_config config;
	struct routes routes;
	struct loop worker;
	struct vip_counters *vips;
	struct control *control;
	struct conn_listener *manager;
	struct conn *mux; // the mux's connection, at the manager
	struct subscribe subscribe; // what it said last
	uint32_t n_subscribed;
	uint64_t acked;
	uint64_t acked_leases;
	struct message status; // the last one that was asked for
	char told_state[32]; // the last one that came unasked
	uint32_t n_drained;
	struct state_dir dir; // of the second life of a mux; lock_fd < 0: none
	char dir_path[32];
};

static struct world w;

static void on_watchdog(uv_timer_t *timer)
{
	ck_abort_msg("the test did not get there in %d ms: %s", WATCHDOG_MS, fake.events);
}

#define RUN_UNTIL(condition) \
	while (!(condition))     \
	uv_run(&w.loop, UV_RUN_ONCE)

// ---- the manager ----

static void manager_message(struct conn *c, struct message *m, void *user)
{
	w.mux = c;
	if (m->type == MESSAGE_SUBSCRIBE) {
		w.subscribe = m->subscribe;
		w.n_subscribed++;
	} else if (m->type == MESSAGE_ACK) {
		w.acked = m->ack.version;
		w.acked_leases = m->ack.lease_version;
		fake_note("ack %llu/%llu, ", (unsigned long long)w.acked, (unsigned long long)w.acked_leases);
	} else if (m->type == MESSAGE_STATUS_REPLY && m->request_id == 0) {
		ck_assert_str_eq(m->status.name, "mux1");
		ck_assert_int_eq(m->status.role, ROLE_MUX);
		memcpy(w.told_state, m->status.state, sizeof w.told_state);
	} else if (m->type == MESSAGE_STATUS_REPLY) {
		message_fini(&w.status);
		w.status = *m;
		memset(m, 0, sizeof *m);
	}
}

static void manager_close(struct conn *c, const struct error *reason, void *user)
{
	w.mux = NULL;
}

static void manager_accept(struct conn *c, void *user)
{
	conn_set_user(c, &w);
}

static const struct conn_handler manager_handler = { .on_message = manager_message, .on_close = manager_close };

static void start_manager(void)
{
	struct error err = { 0 };
	struct conn_listener_config config = {
		.address = w.config.node.managers[0], .max_conns = 4, .handler = &manager_handler, .on_accept = manager_accept
	};
	ck_assert_msg(conn_listener_create(&w.loop, &config, &w.manager, &err) == 0, "%s", err.text);
}

static void stop_manager(void)
{
	conn_listener_destroy(w.manager);
	w.manager = NULL;
	if (w.mux != NULL)
		conn_close(w.mux);
	RUN_UNTIL(w.mux == NULL);
}

// ---- updates ----

static void begin_update(struct message *m, uint64_t from, uint64_t to, uint64_t lease_version)
{
	memset(fake.events, 0, sizeof fake.events);
	*m = (struct message){ .type = MESSAGE_UPDATE,
		                   .update = { .from_version = from, .to_version = to, .lease_version = lease_version } };
}

static void add_change(struct message *m, struct change c)
{
	ck_assert_int_eq(change_list_append(&m->update.changes, &c), 0);
}

static void add_cluster(struct message *m)
{
	add_change(m,
	           (struct change){ .key = { .kind = OBJECT_CLUSTER }, .cluster = { .cluster_id = 7, .hash_seed = 42 } });
}

static void add_vip(struct message *m, const char *text, bool has_snat)
{
	static const char *const dips[] = { "10.1.1.11", "10.1.1.12", NULL };
	struct vip_config *vip = test_vip(text, "shop", dips);
	if (has_snat) {
		memory_free(vip->snat_dips);
		vip->snat_dips = memory_array(1, sizeof *vip->snat_dips);
		vip->snat_dips[0] = test_addr("10.1.1.11");
		vip->n_snat_dips = 1;
	}
	ck_assert_int_eq(vip_config_validate(vip, NULL), 0);
	add_change(m, test_put_vip(vip));
}

static void add_lease(struct message *m, const char *vip, const char *dip, uint16_t first_port, uint64_t ended_ms)
{
	struct lease lease = { test_addr(vip), test_addr(dip), first_port, 8, 1, 1, ended_ms };
	ck_assert_int_eq(lease_list_append(&m->update.leases, &lease), 0);
}

// Until it is acknowledged.
static void send_update(struct message *m)
{
	w.acked = w.acked_leases = 0;
	ck_assert_int_eq(conn_send(w.mux, m), 0);
	uint64_t version = m->update.to_version;
	message_fini(m);
	RUN_UNTIL(w.acked == version);
}

static void send_snapshot(void)
{
	struct message m;
	begin_update(&m, 0, 10, 5);
	m.update.replaces_leases = true;
	add_cluster(&m);
	add_vip(&m, VIP, true);
	add_vip(&m, OTHER_VIP, false);
	add_lease(&m, VIP, "10.1.1.11", 1024, 0);
	send_update(&m);
}

static void send_fence(bool is_fenced)
{
	memset(fake.events, 0, sizeof fake.events);
	struct message m = { .type = MESSAGE_FENCE, .is_fenced = is_fenced };
	ck_assert_int_eq(conn_send(w.mux, &m), 0);
}

static const struct node_status *ask_status(void)
{
	struct message m = { .type = MESSAGE_STATUS_REQUEST, .request_id = 3 };
	message_fini(&w.status);
	memset(&w.status, 0, sizeof w.status);
	ck_assert_int_eq(conn_send(w.mux, &m), 0);
	RUN_UNTIL(w.status.type == MESSAGE_STATUS_REPLY);
	return &w.status.status;
}

static uint64_t counter_of(const struct node_status *s, const char *name)
{
	for (uint32_t i = 0; i < s->n_counters; i++)
		if (strcmp(s->counters[i].name, name) == 0)
			return s->counters[i].value;
	ck_abort_msg("no counter %s", name);
	return 0;
}

// ---- the world ----

static void choose_port(char *address, size_t size)
{
	struct sockaddr_in where = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t n = sizeof where;
	int fd = socket(AF_INET, SOCK_STREAM, 0);
	ck_assert_int_eq(bind(fd, (struct sockaddr *)&where, n), 0);
	ck_assert_int_eq(getsockname(fd, (struct sockaddr *)&where, &n), 0);
	close(fd);
	snprintf(address, size, "127.0.0.1:%u", ntohs(where.sin_port));
}

static void start_control(void)
{
	struct error err = { 0 };
	struct control_parts parts = { .config = &w.config, .routes = &w.routes, .loop = &w.worker, .vips = w.vips };
	if (w.dir.lock_fd >= 0)
		parts.dir = &w.dir;
	ck_assert_msg(control_create(&w.loop, &parts, &w.control, &err) == 0, "%s", err.text);
}

static void set_up_world(void)
{
	memset(&w, 0, sizeof w);
	w.dir.lock_fd = -1;
	memset(&fake, 0, sizeof fake);
	fake.watched_vip = test_ip4(VIP);
	fake.watched_port = 1024;
	log_set_level(LOG_ERROR);
	uv_loop_init(&w.loop);
	uv_timer_init(&w.loop, &w.watchdog);
	uv_timer_start(&w.watchdog, on_watchdog, WATCHDOG_MS, 0);
	uv_unref((uv_handle_t *)&w.watchdog);
	strcpy(w.config.node.name, "mux1");
	w.config.node.address.addr = test_addr("10.0.0.31");
	w.config.node.n_managers = 1;
	choose_port(w.config.node.managers[0], sizeof w.config.node.managers[0]);
	w.config.node.manager_list[0] = w.config.node.managers[0];
	w.vips = memory_aligned(64, sizeof *w.vips);
}

static void set_up(void)
{
	set_up_world();
	start_manager();
	start_control();
	RUN_UNTIL(w.n_subscribed == 1);
}

static void tear_down(void)
{
	control_destroy(w.control);
	conn_listener_destroy(w.manager);
	if (w.mux != NULL)
		conn_close(w.mux);
	uv_close((uv_handle_t *)&w.watchdog, NULL);
	uv_run(&w.loop, UV_RUN_DEFAULT);
	ck_assert_int_eq(uv_loop_close(&w.loop), 0); // nothing is left over
	ck_assert_ptr_null(fake.tables);
	message_fini(&w.status);
	memory_free(w.vips);
}

START_TEST(leases_are_there_before_the_routes_and_both_before_the_acknowledgement)
{
	set_up();
	send_snapshot();
	ck_assert_str_eq(fake.events, "publish, announce 2, ack 10/5, ");
	ck_assert_uint_eq(fake.lessee_when_announced, test_ip4("10.1.1.11"));
	tear_down();
}
END_TEST

START_TEST(leases_alone_change_the_maps_in_place)
{
	set_up();
	send_snapshot();
	const struct mux_tables *tables = fake.tables;
	struct message m;
	begin_update(&m, 10, 10, 6);
	add_lease(&m, VIP, "10.1.1.11", 1024, 99);
	add_lease(&m, VIP, "10.1.1.12", 1032, 0);
	send_update(&m);
	ck_assert_str_eq(fake.events, "ack 10/6, ");
	ck_assert_ptr_eq(fake.tables, tables);
	ck_assert_uint_eq(fake_lessee(test_ip4(VIP), 1024), 0);
	ck_assert_uint_eq(fake_lessee(test_ip4(VIP), 1039), test_ip4("10.1.1.12"));
	tear_down();
}
END_TEST

START_TEST(leases_of_a_new_vip_come_with_it_and_others_keep_theirs)
{
	set_up();
	send_snapshot();
	fake.watched_vip = test_ip4("203.0.113.12");
	struct message m;
	begin_update(&m, 10, 11, 7);
	add_vip(&m, "203.0.113.12", true);
	add_lease(&m, "203.0.113.12", "10.1.1.12", 1024, 0);
	send_update(&m);
	// What is not new is announced all the time.
	ck_assert_str_eq(fake.events, "announce 2, publish, announce 3, ack 11/7, ");
	ck_assert_uint_eq(fake.lessee_when_announced, test_ip4("10.1.1.12"));
	ck_assert_uint_eq(fake_lessee(test_ip4(VIP), 1024), test_ip4("10.1.1.11"));
	tear_down();
}
END_TEST

START_TEST(a_vip_without_snat_any_more_has_no_map_and_a_deleted_one_no_entry)
{
	set_up();
	send_snapshot();
	struct message m;
	begin_update(&m, 10, 11, 6);
	add_vip(&m, VIP, false);
	add_change(&m, test_delete(OBJECT_VIP, OTHER_VIP));
	add_lease(&m, VIP, "10.1.1.11", 1024, 99);
	send_update(&m);
	ck_assert_str_eq(fake.events, "announce 1, publish, announce 1, ack 11/6, ");
	ck_assert_ptr_null(vip_lookup(fake.tables, test_ip4(VIP), 0, 0)->snat);
	ck_assert_ptr_null(vip_lookup(fake.tables, test_ip4(OTHER_VIP), 0, 0));
	tear_down();
}
END_TEST

START_TEST(a_replacement_swaps_full_maps_with_the_tables)
{
	set_up();
	send_snapshot();
	struct message m;
	begin_update(&m, 10, 10, 20); // no object changed
	m.update.replaces_leases = true;
	add_lease(&m, VIP, "10.1.1.12", 1040, 0);
	const struct snat_map *before = vip_lookup(fake.tables, test_ip4(VIP), 0, 0)->snat;
	send_update(&m);
	ck_assert_str_eq(fake.events, "announce 2, publish, announce 2, ack 10/20, ");
	ck_assert_ptr_ne(vip_lookup(fake.tables, test_ip4(VIP), 0, 0)->snat, before);
	ck_assert_uint_eq(fake_lessee(test_ip4(VIP), 1024), 0);
	ck_assert_uint_eq(fake_lessee(test_ip4(VIP), 1040), test_ip4("10.1.1.12"));
	ck_assert_uint_eq(counter_of(ask_status(), "snat_leased_ports"), 8);
	tear_down();
}
END_TEST

START_TEST(a_fenced_mux_withdraws_its_routes_and_goes_on_serving)
{
	set_up();
	send_snapshot();
	send_fence(true);
	RUN_UNTIL(fake.n_vips == 0);
	ck_assert_str_eq(fake.events, "announce 0, ");
	ck_assert_ptr_nonnull(fake.tables);
	ck_assert_str_eq(ask_status()->state, "fenced");
	struct message m;
	begin_update(&m, 10, 11, 6);
	add_vip(&m, "203.0.113.12", true);
	add_lease(&m, VIP, "10.1.1.12", 1032, 0);
	send_update(&m); // is applied and acknowledged, and announces nothing
	ck_assert_uint_eq(fake.n_vips, 0);
	ck_assert_uint_eq(fake_lessee(test_ip4(VIP), 1032), test_ip4("10.1.1.12"));
	send_fence(false);
	RUN_UNTIL(fake.n_vips == 3);
	ck_assert_str_eq(fake.events, "announce 3, ");
	ck_assert_str_eq(ask_status()->state, "announcing");
	send_fence(false); // once more is nothing new
	ck_assert_str_eq(ask_status()->state, "announcing");
	ck_assert_str_eq(fake.events, "");
	tear_down();
}
END_TEST

START_TEST(a_mux_that_is_fenced_before_its_first_update_announces_nothing)
{
	set_up();
	send_fence(true);
	send_snapshot();
	ck_assert_uint_eq(fake.n_vips, 0);
	ck_assert_str_eq(ask_status()->state, "fenced");
	send_fence(false);
	RUN_UNTIL(fake.n_vips == 2);
	tear_down();
}
END_TEST

START_TEST(without_a_leader_the_mux_goes_on_announcing_and_says_later_what_it_has)
{
	set_up();
	send_snapshot();
	stop_manager();
	for (int i = 0; i < 5; i++)
		uv_run(&w.loop, UV_RUN_ONCE); // it tries again
	ck_assert_uint_eq(fake.n_vips, 2);
	ck_assert_uint_eq(fake_lessee(test_ip4(VIP), 1024), test_ip4("10.1.1.11"));
	start_manager();
	RUN_UNTIL(w.n_subscribed == 2);
	ck_assert_uint_eq(w.subscribe.have_version, 10);
	ck_assert_uint_eq(w.subscribe.have_lease_version, 5);
	tear_down();
}
END_TEST

START_TEST(a_fence_holds_through_the_loss_of_the_leader_until_another_lifts_it)
{
	set_up();
	send_snapshot();
	send_fence(true);
	RUN_UNTIL(fake.n_vips == 0);
	stop_manager();
	start_manager();
	RUN_UNTIL(w.n_subscribed == 2);
	struct message m;
	begin_update(&m, 10, 10, 6);
	add_lease(&m, VIP, "10.1.1.12", 1032, 0);
	send_update(&m);
	ck_assert_uint_eq(fake.n_vips, 0);
	send_fence(false);
	RUN_UNTIL(fake.n_vips == 2);
	tear_down();
}
END_TEST

START_TEST(routes_that_failed_are_tried_again_as_fenced_as_they_are)
{
	set_up();
	send_snapshot();
	log_set_level(LOG_ERROR + 1);
	fake.routes_fail = true;
	send_fence(true);
	ck_assert_str_eq(ask_status()->state, "fenced");
	ck_assert_uint_eq(fake.n_vips, 2); // alas
	fake.routes_fail = false;
	RUN_UNTIL(fake.n_vips == 0);
	tear_down();
}
END_TEST

START_TEST(status_counts_snat_for_the_mux_and_for_vips_that_have_it)
{
	set_up();
	send_snapshot();
	const struct vip_entry *e = vip_lookup(fake.tables, test_ip4(VIP), 0, 0);
	w.vips->snat[e->slot] = (struct vip_traffic){ .packets = 3, .bytes = 300 };
	w.vips->icmp_errors_steered[e->slot] = 2;
	w.worker.worker.counters.snat_packets = 3;
	fake.rx_missed = 4711;
	const struct node_status *s = ask_status();
	ck_assert_uint_eq(counter_of(s, "snat_packets"), 3);
	ck_assert_uint_eq(counter_of(s, "rx_missed"), 4711);
	ck_assert_uint_eq(counter_of(s, "snat_leased_ports"), 8);
	ck_assert_uint_eq(counter_of(s, "vip_" VIP "_snat_packets"), 3);
	ck_assert_uint_eq(counter_of(s, "vip_" VIP "_snat_bytes"), 300);
	ck_assert_uint_eq(counter_of(s, "vip_" VIP "_icmp_errors_steered"), 2);
	for (uint32_t i = 0; i < s->n_counters; i++)
		ck_assert_str_ne(s->counters[i].name, "vip_" OTHER_VIP "_snat_packets");
	tear_down();
}
END_TEST

static struct vip_history *other_dip_before(const char *vip)
{
	struct vip_history *h = memory_array(1, sizeof *h);
	h->vip = test_addr(vip);
	h->n_endpoints = 1;
	h->endpoints = memory_array(1, sizeof *h->endpoints);
	h->gone = memory_array(0, sizeof *h->gone);
	h->endpoints[0] = (struct endpoint_history){ .port = 80, .protocol = IP_PROTO_TCP, .n_generations = 2 };
	h->endpoints[0].generations = memory_array(2, sizeof *h->endpoints[0].generations);
	for (uint32_t g = 0; g < 2; g++) {
		struct maglev_member member = { .dip = test_addr(g == 0 ? "10.1.1.13" : "10.1.1.11"), .weight = 1 };
		h->endpoints[0].generations[g] =
			(struct generation){ .since_ms = g + 1, .n_members = 1, .members = memory_copy(&member, sizeof member) };
	}
	return h;
}

START_TEST(a_history_and_hosts_make_new_tables_and_status_says_how_much_there_is)
{
	set_up();
	send_snapshot();
	ck_assert_uint_eq(counter_of(ask_status(), "endpoints_with_history"), 0);
	struct message m;
	begin_update(&m, 10, 11, 5);
	struct ip_addr vip = test_addr(VIP);
	add_change(&m,
	           (struct change){ .key = object_key_of_addr(OBJECT_HISTORY, &vip), .history = other_dip_before(VIP) });
	add_change(&m, test_put_node(OBJECT_HOST, "host1", "10.0.1.1"));
	send_update(&m);
	const struct vip_entry *e = vip_lookup(fake.tables, test_ip4(VIP), be16_from(80), IP_PROTO_TCP);
	ck_assert_uint_eq(e->templates[e->owners[0] & ~BUCKET_HAD_OTHERS].dst, test_ip4("10.1.1.11"));
	ck_assert_uint_ne(e->owners[0] & BUCKET_HAD_OTHERS, 0);
	ck_assert_uint_ne(pin_senders_lookup(fake.tables->pin_senders, test_ip4("10.0.1.1")), PIN_SENDER_NONE);
	const struct node_status *s = ask_status();
	ck_assert_uint_eq(counter_of(s, "endpoints_with_history"), 1);
	ck_assert_uint_eq(counter_of(s, "buckets_with_history"), e->n_buckets);
	ck_assert_uint_eq(counter_of(s, "pins"), 0); // off
	ck_assert_uint_eq(counter_of(s, "pin_hits"), 0);
	ck_assert_uint_eq(counter_of(s, "drop_pin_forged"), 0);
	tear_down();
}
END_TEST

// ---- draining ----

static void send_mark(const char *mux, bool is_delete, uint64_t version)
{
	struct message m;
	begin_update(&m, version - 1, version, 5);
	struct change c = { .key = object_key_of_name(OBJECT_MUX_DRAIN, mux), .is_delete = is_delete };
	c.mark.since_ms = 1;
	add_change(&m, c);
	send_update(&m);
}

static void await_told(const char *state)
{
	RUN_UNTIL(strcmp(w.told_state, state) == 0);
}

START_TEST(the_leader_is_told_of_each_change_of_state_without_asking)
{
	set_up();
	send_snapshot();
	await_told("announcing");
	send_fence(true);
	await_told("fenced");
	send_fence(false);
	await_told("announcing");
	tear_down();
}
END_TEST

START_TEST(a_new_leader_is_told_the_state)
{
	set_up();
	send_snapshot();
	send_fence(true);
	await_told("fenced");
	stop_manager();
	memset(w.told_state, 0, sizeof w.told_state);
	start_manager();
	RUN_UNTIL(w.n_subscribed == 2);
	struct message m;
	begin_update(&m, 10, 11, 5);
	add_vip(&m, "203.0.113.12", false);
	send_update(&m);
	await_told("fenced");
	tear_down();
}
END_TEST

START_TEST(a_drained_mux_asks_for_no_traffic_serves_on_and_withdraws_when_none_comes)
{
	set_up();
	send_snapshot();
	send_mark("mux1", false, 11);
	ck_assert_str_eq(fake.events, "announce 2, publish, drain 2, ack 11/5, ");
	await_told("draining");
	for (int i = 0; i < 30; i++) { // packets come, for longer than it waits for quiet
		w.worker.worker.counters.forwarded_packets++;
		uv_run(&w.loop, UV_RUN_ONCE);
	}
	ck_assert_uint_eq(fake.n_vips, 2);
	ck_assert_str_eq(ask_status()->state, "draining");
	await_told("drained");
	ck_assert_uint_eq(fake.n_vips, 0);
	ck_assert_ptr_nonnull(fake.tables); // what still comes is served
	send_mark("mux1", true, 12);
	ck_assert_uint_eq(fake.n_vips, 2);
	ck_assert_uint_eq(fake.protocol, ROUTES_PROTOCOL_SERVING);
	await_told("announcing");
	tear_down();
}
END_TEST

START_TEST(a_drain_that_is_called_off_announces_as_before)
{
	set_up();
	send_snapshot();
	send_mark("mux1", false, 11);
	await_told("draining");
	send_mark("mux1", true, 12);
	ck_assert_uint_eq(fake.n_vips, 2);
	ck_assert_uint_eq(fake.protocol, ROUTES_PROTOCOL_SERVING);
	await_told("announcing");
	tear_down();
}
END_TEST

START_TEST(the_drain_of_another_mux_is_none_of_its_business)
{
	set_up();
	send_snapshot();
	send_mark("mux2", false, 11);
	ck_assert_uint_eq(fake.protocol, ROUTES_PROTOCOL_SERVING);
	ck_assert_str_eq(ask_status()->state, "announcing");
	tear_down();
}
END_TEST

START_TEST(a_mux_that_starts_drained_announces_nothing)
{
	set_up();
	struct message m;
	begin_update(&m, 0, 10, 5);
	add_cluster(&m);
	add_vip(&m, VIP, false);
	struct change c = { .key = object_key_of_name(OBJECT_MUX_DRAIN, "mux1") };
	add_change(&m, c);
	send_update(&m);
	ck_assert_str_eq(fake.events, "publish, announce 0, ack 10/5, ");
	await_told("drained");
	tear_down();
}
END_TEST

static void on_drained(void *user)
{
	w.n_drained++;
}

START_TEST(a_stop_drains_first_and_says_once_when_it_is_quiet)
{
	set_up();
	send_snapshot();
	memset(fake.events, 0, sizeof fake.events);
	control_drain(w.control, 60000, on_drained, NULL);
	ck_assert_str_eq(fake.events, "drain 2, ");
	await_told("draining");
	ck_assert_uint_eq(w.n_drained, 0);
	RUN_UNTIL(w.n_drained > 0);
	await_told("drained");
	control_withdraw(w.control);
	ck_assert_uint_eq(w.n_drained, 1);
	tear_down();
}
END_TEST

START_TEST(a_stop_waits_no_longer_than_it_was_told_to)
{
	set_up();
	log_set_level(LOG_ERROR + 1);
	send_snapshot();
	control_drain(w.control, 300, on_drained, NULL);
	while (w.n_drained == 0) {
		w.worker.worker.counters.forwarded_packets++;
		uv_run(&w.loop, UV_RUN_ONCE);
	}
	ck_assert_str_eq(ask_status()->state, "draining");
	tear_down();
}
END_TEST

START_TEST(a_stop_with_nothing_announced_waits_for_nothing)
{
	set_up();
	control_drain(w.control, WATCHDOG_MS * 10, on_drained, NULL);
	RUN_UNTIL(w.n_drained == 1);
	tear_down();
}
END_TEST

START_TEST(a_stop_that_may_not_wait_withdraws_at_once)
{
	set_up();
	send_snapshot();
	control_drain(w.control, 0, on_drained, NULL);
	ck_assert_uint_eq(fake.n_vips, 0);
	RUN_UNTIL(w.n_drained == 1);
	tear_down();
}
END_TEST

// ---- what is remembered ----

static void set_up_with_dir(void)
{
	struct error err = { 0 };
	set_up_world();
	strcpy(w.dir_path, "/tmp/mux-state.XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(w.dir_path));
	ck_assert_msg(state_dir_open(&w.dir, w.dir_path, &err) == 0, "%s", err.text);
	start_manager();
	start_control();
	RUN_UNTIL(w.n_subscribed == 1);
}

static void on_handle(uv_handle_t *handle, void *data)
{
	*(uint32_t *)data += handle != (uv_handle_t *)&w.watchdog;
}

// The mux ends, however, and a new one begins; without managers.
static void start_again(void)
{
	control_destroy(w.control);
	w.control = NULL;
	stop_manager();
	for (uint32_t n = 1; n > 0;) { // until nothing of it is left
		n = 0;
		uv_walk(&w.loop, on_handle, &n);
		if (n > 0 || uv_loop_alive(&w.loop))
			uv_run(&w.loop, UV_RUN_ONCE);
	}
	memset(&fake, 0, sizeof fake);
	fake.watched_vip = test_ip4(VIP);
	fake.watched_port = 1024;
	start_control();
}

static void tear_down_with_dir(void)
{
	static const char *const names[] = { "config", "config.damaged", "fenced", "lock" };
	char path[STATE_PATH_BYTES];
	tear_down();
	for (size_t i = 0; i < sizeof names / sizeof *names; i++)
		unlink(state_dir_path(&w.dir, names[i], path));
	state_dir_close(&w.dir);
	ck_assert_int_eq(rmdir(w.dir_path), 0);
}

START_TEST(a_mux_that_starts_without_managers_serves_as_it_did)
{
	set_up_with_dir();
	send_snapshot();
	struct message m;
	begin_update(&m, 10, 10, 6);
	add_lease(&m, VIP, "10.1.1.12", 2048, 0);
	send_update(&m);
	start_again();
	ck_assert_ptr_null(fake.tables);
	RUN_UNTIL(fake.n_vips == 2);
	ck_assert_str_eq(fake.events, "publish, announce 2, ");
	ck_assert_uint_eq(fake.protocol, ROUTES_PROTOCOL_SERVING);
	ck_assert_uint_eq(fake.lessee_when_announced, test_ip4("10.1.1.11"));
	ck_assert_uint_eq(fake_lessee(test_ip4(VIP), 2055), test_ip4("10.1.1.12"));
	ck_assert_uint_eq(fake_lessee(test_ip4(VIP), 2056), 0);
	start_manager(); // and follows the leader when there is one
	RUN_UNTIL(w.n_subscribed == 2);
	ck_assert_uint_eq(w.subscribe.have_version, 0);
	begin_update(&m, 0, 12, 9);
	m.update.replaces_leases = true;
	add_cluster(&m);
	add_vip(&m, OTHER_VIP, true);
	send_update(&m);
	ck_assert_uint_eq(fake.n_vips, 1);
	tear_down_with_dir();
}
END_TEST

START_TEST(a_mux_that_was_fenced_stays_so_and_one_that_no_longer_is_does_not)
{
	set_up_with_dir();
	send_snapshot();
	send_fence(true);
	RUN_UNTIL(fake.n_vips == 0);
	start_again();
	RUN_UNTIL(fake.tables != NULL);
	ck_assert_uint_eq(fake.n_vips, 0);
	start_manager();
	RUN_UNTIL(w.n_subscribed == 2);
	send_snapshot();
	ck_assert_str_eq(ask_status()->state, "fenced");
	send_fence(false);
	RUN_UNTIL(fake.n_vips == 2);
	start_again();
	RUN_UNTIL(fake.tables != NULL);
	ck_assert_uint_eq(fake.n_vips, 2);
	tear_down_with_dir();
}
END_TEST

START_TEST(a_fence_of_before_is_none_where_a_leader_says_nothing_of_it)
{
	set_up_with_dir();
	send_snapshot();
	send_fence(true);
	RUN_UNTIL(fake.n_vips == 0);
	start_again();
	start_manager();
	RUN_UNTIL(w.n_subscribed == 2);
	send_snapshot();
	ck_assert_uint_eq(fake.n_vips, 2);
	start_again();
	RUN_UNTIL(fake.tables != NULL);
	ck_assert_uint_eq(fake.n_vips, 2);
	tear_down_with_dir();
}
END_TEST

START_TEST(a_mux_that_was_drained_stays_so)
{
	set_up_with_dir();
	send_snapshot();
	send_mark("mux1", false, 11);
	start_again();
	RUN_UNTIL(fake.tables != NULL);
	ck_assert_str_eq(fake.events, "publish, announce 0, ");
	tear_down_with_dir();
}
END_TEST

START_TEST(without_anything_saved_nothing_is_announced)
{
	set_up_with_dir();
	start_again();
	log_set_level(LOG_ERROR + 1);
	uint64_t until = uv_now(&w.loop) + CONTROL_ALONE_MS + 200;
	while (uv_now(&w.loop) < until)
		uv_run(&w.loop, UV_RUN_ONCE); // it looks for managers
	ck_assert_str_eq(fake.events, "");
	ck_assert_ptr_null(fake.tables);
	tear_down_with_dir();
}
END_TEST

START_TEST(what_is_damaged_is_not_used)
{
	char path[STATE_PATH_BYTES];
	set_up_with_dir();
	send_snapshot();
	start_again();
	log_set_level(LOG_ERROR + 1);
	ck_assert_int_eq(truncate(state_dir_path(&w.dir, "config", path), 20), 0);
	state_dir_path(&w.dir, "config.damaged", path);
	while (access(path, F_OK) != 0)
		uv_run(&w.loop, UV_RUN_ONCE);
	ck_assert_str_eq(fake.events, "");
	start_manager();
	RUN_UNTIL(w.n_subscribed == 2);
	send_snapshot();
	ck_assert_uint_eq(fake.n_vips, 2);
	tear_down_with_dir();
}
END_TEST

// Not only at the end: the process may be killed.
START_TEST(changes_are_on_disk_soon)
{
	char path[STATE_PATH_BYTES];
	set_up_with_dir();
	send_snapshot();
	state_dir_path(&w.dir, "config", path);
	while (access(path, F_OK) != 0)
		uv_run(&w.loop, UV_RUN_ONCE);
	struct store store;
	struct snat_image leases;
	store_init(&store);
	ck_assert_int_eq(store_file_load(&w.dir, &store, &leases, NULL), 0);
	ck_assert_uint_eq(store.version, 10);
	ck_assert_uint_eq(leases.version, 5);
	ck_assert_uint_eq(leases.held.n, 1);
	ck_assert_uint_eq(leases.held.items[0].first_port, 1024);
	snat_image_fini(&leases);
	store_fini(&store);
	tear_down_with_dir();
}
END_TEST

SUITE_MAIN("mux control", a_mux_that_starts_without_managers_serves_as_it_did,
           a_mux_that_was_fenced_stays_so_and_one_that_no_longer_is_does_not,
           a_fence_of_before_is_none_where_a_leader_says_nothing_of_it, a_mux_that_was_drained_stays_so,
           without_anything_saved_nothing_is_announced, what_is_damaged_is_not_used, changes_are_on_disk_soon,
           the_leader_is_told_of_each_change_of_state_without_asking, a_new_leader_is_told_the_state,
           a_drained_mux_asks_for_no_traffic_serves_on_and_withdraws_when_none_comes,
           a_drain_that_is_called_off_announces_as_before, the_drain_of_another_mux_is_none_of_its_business,
           a_mux_that_starts_drained_announces_nothing, a_stop_drains_first_and_says_once_when_it_is_quiet,
           a_stop_waits_no_longer_than_it_was_told_to, a_stop_with_nothing_announced_waits_for_nothing,
           a_stop_that_may_not_wait_withdraws_at_once,
           a_history_and_hosts_make_new_tables_and_status_says_how_much_there_is,
           leases_are_there_before_the_routes_and_both_before_the_acknowledgement,
           leases_alone_change_the_maps_in_place, leases_of_a_new_vip_come_with_it_and_others_keep_theirs,
           a_vip_without_snat_any_more_has_no_map_and_a_deleted_one_no_entry,
           a_replacement_swaps_full_maps_with_the_tables, a_fenced_mux_withdraws_its_routes_and_goes_on_serving,
           a_mux_that_is_fenced_before_its_first_update_announces_nothing,
           without_a_leader_the_mux_goes_on_announcing_and_says_later_what_it_has,
           a_fence_holds_through_the_loss_of_the_leader_until_another_lifts_it,
           routes_that_failed_are_tried_again_as_fenced_as_they_are,
           status_counts_snat_for_the_mux_and_for_vips_that_have_it)
