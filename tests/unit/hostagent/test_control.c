// The agent's control between a manager that the test plays, a data plane that only keeps what it is told, and a client of
// the local socket; in one event loop, driven by events.
#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "common/io/log.h"
#include "hostagent/io/control.h"
#include "common/io/store_file.h"
#include "tests/unit/hostagent/flow_block.h"
#include "tests/support/suite.h"
#include "tests/support/vip_builder.h"
#include "tests/unit/hostagent/fake_data_plane.h"
#include "tests/unit/hostagent/fixture.h"

#define WATCHDOG_MS 20000
#define CONFIG_VERSION 10

struct world {
	uv_loop_t loop;
	uv_timer_t watchdog;
	char directory[64];
	struct agent_file_config config;
	struct state_dir dir;
	struct data_plane dp;
	struct control *control;
	struct conn_listener *manager;
	struct conn *agent; // the agent's connection, at the manager
	struct message command; // the last that the manager got
	uint64_t acked;
	uint64_t acked_leases;
	struct lease_list leases; // that the manager holds for this host
	struct snat_op_list asked; // all that the agent asked for
	struct health_report health; // the last, which was whole
	uint32_t n_health; // how many came, all in all
	bool has_probe; // an endpoint of the VIP
	struct conn *client; // of the local socket
	bool client_is_open;
	struct message reply;
	struct error refusal;
};

static struct world w;

static void on_watchdog(uv_timer_t *timer)
{
	ck_abort_msg("the test did not get there in %d ms", WATCHDOG_MS);
}

#define RUN_UNTIL(condition) \
	while (!(condition))     \
	uv_run(&w.loop, UV_RUN_ONCE)

// ---- The manager ----

static void send_leases(bool replaces, uint64_t version, const struct lease_list *leases)
{
	struct message m = { .type = MESSAGE_UPDATE,
		                 .update = { .from_version = CONFIG_VERSION,
		                             .to_version = CONFIG_VERSION,
		                             .lease_version = version,
		                             .replaces_leases = replaces,
		                             .leases = *leases } };
	ck_assert_int_eq(conn_send(w.agent, &m), 0);
}

static void send_update(uint64_t from, uint64_t to, struct change_list *changes)
{
	struct message m = { .type = MESSAGE_UPDATE,
		                 .update = { .from_version = from, .to_version = to, .changes = *changes } };
	ck_assert_int_eq(conn_send(w.agent, &m), 0);
	change_list_fini(changes);
}

// To udp 53 of the VIP, which 10.1.1.11 serves.
static void add_probe(struct store *s)
{
	struct ip_addr addr = test_addr("203.0.113.10");
	struct vip_config *v = vip_config_clone(store_lookup_vip(s, &addr));
	struct endpoint *e = (struct endpoint *)vip_config_lookup_endpoint(v, 17, 53);
	e->probe =
		(struct probe){ .type = PROBE_TCP, .port = 9, .interval_ms = 1000, .timeout_ms = 500, .up = 2, .down = 2 };
	struct change c = test_put_vip(v);
	ck_assert_int_eq(store_apply(s, &c), 0);
	change_fini(&c);
}

static void send_snapshot(void)
{
	struct store s;
	struct change_list all = { 0 };
	fixture_store(&s);
	if (w.has_probe)
		add_probe(&s);
	ck_assert_int_eq(store_get_all(&s, &all), 0);
	store_fini(&s);
	struct message m = { .type = MESSAGE_UPDATE,
		                 .update = { .to_version = CONFIG_VERSION,
		                             .changes = all,
		                             .lease_version = 1,
		                             .replaces_leases = true,
		                             .leases = w.leases } };
	ck_assert_int_eq(conn_send(w.agent, &m), 0);
	change_list_fini(&all);
}

static struct lease lease_of(uint16_t first_port, uint32_t epoch)
{
	return (struct lease){ .vip = test_addr("203.0.113.10"),
		                   .dip = test_addr("10.1.1.11"),
		                   .first_port = first_port,
		                   .n_ports = 8,
		                   .epoch = epoch,
		                   .granted_ms = epoch };
}

static void grant(uint16_t first_port, uint32_t epoch)
{
	struct lease l = lease_of(first_port, epoch);
	ck_assert_int_eq(lease_list_append(&w.leases, &l), 0);
}

static void note_health(struct message *m)
{
	w.n_health++;
	if (!m->health.is_whole)
		return;
	health_report_fini(&w.health);
	w.health = m->health;
	m->health = (struct health_report){ 0 };
}

static void manager_message(struct conn *c, struct message *m, void *user)
{
	w.agent = c;
	if (m->type == MESSAGE_SUBSCRIBE)
		send_snapshot();
	if (m->type == MESSAGE_ACK) {
		w.acked = m->ack.version;
		w.acked_leases = m->ack.lease_version;
	}
	if (m->type == MESSAGE_HEALTH)
		note_health(m);
	for (uint32_t i = 0; m->type == MESSAGE_SNAT_ASK && i < m->ops.n; i++)
		ck_assert_int_eq(snat_op_list_append(&w.asked, &m->ops.items[i]), 0);
	if (m->type == MESSAGE_COMMAND_REQUEST) {
		message_fini(&w.command);
		w.command = *m;
		memset(&m->changes, 0, sizeof m->changes);
	}
}

static void manager_close(struct conn *c, const struct error *reason, void *user)
{
	w.agent = NULL;
}

static void manager_accept(struct conn *c, void *user)
{
	conn_set_user(c, &w);
}

static const struct conn_handler manager_handler = { .on_message = manager_message, .on_close = manager_close };

// ---- The client ----

static void client_message(struct conn *c, struct message *m, void *user)
{
	if (m->type == MESSAGE_ERROR)
		w.refusal = m->error;
	message_fini(&w.reply);
	w.reply = *m;
	memset(m, 0, sizeof *m);
}

static void client_open(struct conn *c, void *user)
{
	w.client_is_open = true;
}

static void client_close(struct conn *c, const struct error *reason, void *user)
{
	w.client = NULL;
	w.client_is_open = false;
}

static const struct conn_handler client_handler = { .on_open = client_open,
	                                                .on_message = client_message,
	                                                .on_close = client_close };

static void ask(const struct message *m)
{
	struct error err = { 0 };
	memset(&w.refusal, 0, sizeof w.refusal);
	message_fini(&w.reply);
	memset(&w.reply, 0, sizeof w.reply);
	if (w.client == NULL)
		ck_assert_int_eq(conn_connect(&w.loop, w.config.local_socket, &client_handler, &w, &w.client, &err), 0);
	RUN_UNTIL(w.client_is_open);
	ck_assert_int_eq(conn_send(w.client, m), 0);
}

static void ask_command(struct change c)
{
	struct message m = { .type = MESSAGE_COMMAND_REQUEST, .request_id = 5 };
	ck_assert_int_eq(change_list_append(&m.changes, &c), 0);
	ask(&m);
	message_fini(&m);
}

// ---- The world ----

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

static void make_config(void)
{
	struct agent_file_config *c = &w.config;
	strcpy(w.directory, "/tmp/agent-control-XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(w.directory));
	strcpy(c->node.name, "host1");
	c->node.address.addr = test_addr("10.0.0.21");
	c->node.n_managers = 1;
	choose_port(c->node.managers[0], sizeof c->node.managers[0]);
	c->node.manager_list[0] = c->node.managers[0];
	snprintf(c->local_socket, sizeof c->local_socket, "%s/sock", w.directory);
	snprintf(c->state_dir, sizeof c->state_dir, "%s", w.directory);
	c->max_vms = 4;
}

static void set_up(void)
{
	struct error err = { 0 };
	memset(&w, 0, sizeof w);
	log_set_level(LOG_ERROR);
	uv_loop_init(&w.loop);
	uv_timer_init(&w.loop, &w.watchdog);
	uv_timer_start(&w.watchdog, on_watchdog, WATCHDOG_MS, 0);
	uv_unref((uv_handle_t *)&w.watchdog);
	make_config();
	fake_data_plane_init(&w.dp);
	ck_assert_int_eq(state_dir_open(&w.dir, w.config.state_dir, &err), 0);
}

static void start_manager(void)
{
	struct error err = { 0 };
	struct conn_listener_config config = {
		.address = w.config.node.managers[0], .max_conns = 4, .handler = &manager_handler, .on_accept = manager_accept
	};
	ck_assert_msg(conn_listener_create(&w.loop, &config, &w.manager, &err) == 0, "%s", err.text);
}

static void start_control(void)
{
	struct error err = { 0 };
	ck_assert_msg(control_create(&w.loop, &w.config, &w.dir, &w.dp, test_names(), &w.control, &err) == 0, "%s",
	              err.text);
}

static void tear_down(void)
{
	static const char *const names[] = { "lock", "config", "config.damaged", "sock" };
	char path[STATE_PATH_BYTES];
	control_destroy(w.control);
	conn_listener_destroy(w.manager);
	if (w.client != NULL)
		conn_close(w.client);
	if (w.agent != NULL)
		conn_close(w.agent);
	uv_close((uv_handle_t *)&w.watchdog, NULL);
	uv_run(&w.loop, UV_RUN_DEFAULT);
	ck_assert_int_eq(uv_loop_close(&w.loop), 0); // nothing is left over
	fake_data_plane_fini(&w.dp);
	lease_list_fini(&w.leases);
	snat_op_list_fini(&w.asked);
	health_report_fini(&w.health);
	message_fini(&w.command);
	message_fini(&w.reply);
	for (size_t i = 0; i < sizeof names / sizeof *names; i++)
		unlink(state_dir_path(&w.dir, names[i], path));
	state_dir_close(&w.dir);
	ck_assert_int_eq(rmdir(w.directory), 0);
}

START_TEST(an_update_becomes_the_data_planes_configuration_and_is_kept)
{
	set_up();
	start_manager();
	start_control();
	RUN_UNTIL(w.acked == CONFIG_VERSION);
	ck_assert_uint_eq(w.dp.config->version, CONFIG_VERSION);
	ck_assert_uint_eq(w.dp.config->n_dips, 2);
	control_destroy(w.control); // saves what is not yet saved
	w.control = NULL;
	struct store s;
	struct snat_image leases;
	struct error err = { 0 };
	store_init(&s);
	ck_assert_msg(store_file_load(&w.dir, &s, &leases, &err) == 0, "%s", err.text);
	snat_image_fini(&leases);
	ck_assert_uint_eq(s.version, CONFIG_VERSION);
	ck_assert_uint_eq(s.dips.n, 3);
	store_fini(&s);
	tear_down();
}
END_TEST

START_TEST(the_last_configuration_is_used_while_no_manager_answers)
{
	set_up();
	struct store s;
	struct error err = { 0 };
	fixture_store(&s);
	ck_assert_int_eq(store_file_save(&w.dir, &s, &(struct snat_image){ 0 }, &err), 0);
	store_fini(&s);
	start_control();
	ck_assert_ptr_nonnull(w.dp.config); // before the loop has turned once
	ck_assert_uint_eq(w.dp.config->n_dips, 2);
	RUN_UNTIL(w.dp.n_tended > 0);
	tear_down();
}
END_TEST

START_TEST(a_vm_is_attached_by_way_of_the_leader)
{
	set_up();
	start_manager();
	start_control();
	RUN_UNTIL(w.acked == CONFIG_VERSION);
	ask_command(test_put_dip("10.1.1.50", "", "vm50"));
	RUN_UNTIL(w.command.changes.n == 1);
	const struct dip_info *asked = &w.command.changes.items[0].dip;
	ck_assert_str_eq(asked->host, "host1"); // filled in
	struct message done = { .type = MESSAGE_COMMAND_REPLY,
		                    .request_id = w.command.request_id,
		                    .version = CONFIG_VERSION + 1 };
	ck_assert_int_eq(conn_send(w.agent, &done), 0);
	for (int i = 0; i < 20; i++)
		uv_run(&w.loop, UV_RUN_NOWAIT);
	ck_assert_int_eq(w.reply.type, 0); // not before this agent knows it, too
	struct change_list changes = { 0 };
	struct change c = test_put_dip("10.1.1.50", "host1", "vm50");
	ck_assert_int_eq(change_list_append(&changes, &c), 0);
	send_update(CONFIG_VERSION, CONFIG_VERSION + 1, &changes);
	RUN_UNTIL(w.reply.type != 0);
	ck_assert_int_eq(w.reply.type, MESSAGE_COMMAND_REPLY);
	ck_assert_uint_eq(w.reply.request_id, 5);
	ck_assert_uint_eq(w.dp.config->n_dips, 3);
	tear_down();
}
END_TEST

START_TEST(a_command_that_is_not_this_hosts_is_refused_at_once)
{
	set_up();
	start_manager();
	start_control();
	RUN_UNTIL(w.acked == CONFIG_VERSION);
	ask_command(test_put_dip("10.1.1.50", "host2", "vm50"));
	RUN_UNTIL(w.reply.type != 0);
	ck_assert_int_eq(w.refusal.code, ERR_INVALID);
	ask_command(test_delete(OBJECT_DIP, "10.1.2.11"));
	RUN_UNTIL(w.reply.type != 0);
	ck_assert_int_eq(w.refusal.code, ERR_NOT_FOUND);
	ask(&(struct message){ .type = MESSAGE_CLUSTER_REQUEST, .request_id = 6 });
	RUN_UNTIL(w.reply.type != 0);
	ck_assert_int_eq(w.refusal.code, ERR_INVALID);
	ck_assert_uint_eq(w.command.changes.n, 0); // the leader heard of none of it
	tear_down();
}
END_TEST

START_TEST(a_refusal_of_the_leader_is_passed_back)
{
	set_up();
	start_manager();
	start_control();
	RUN_UNTIL(w.acked == CONFIG_VERSION);
	ask_command(test_delete(OBJECT_DIP, "10.1.1.11"));
	RUN_UNTIL(w.command.changes.n == 1);
	struct error err = { 0 };
	error_set(&err, ERR_CONFLICT, "because");
	ck_assert_int_eq(conn_send_error(w.agent, w.command.request_id, &err), 0);
	RUN_UNTIL(w.reply.type != 0);
	ck_assert_int_eq(w.refusal.code, ERR_CONFLICT);
	ck_assert_str_eq(w.refusal.text, "because");
	tear_down();
}
END_TEST

START_TEST(status_names_every_dip_and_counter)
{
	set_up();
	start_manager();
	start_control();
	RUN_UNTIL(w.acked == CONFIG_VERSION);
	w.dp.state = VM_PORT_MISSING;
	ask(&(struct message){ .type = MESSAGE_STATUS_REQUEST, .request_id = 5 });
	RUN_UNTIL(w.reply.type != 0);
	const struct node_status *status = &w.reply.status;
	ck_assert_int_eq(w.reply.type, MESSAGE_STATUS_REPLY);
	ck_assert_str_eq(status->name, "host1");
	ck_assert_str_eq(status->state, "ready");
	ck_assert_uint_eq(status->version, CONFIG_VERSION);
	ck_assert_uint_eq(status->n_dips, 2);
	ck_assert_str_eq(status->dips[0].state, "missing-interface");
	ck_assert_uint_gt(status->n_counters, 1);
	ck_assert_uint_eq(status->counters[0].value, 7);
	bool has_own = false;
	for (uint32_t i = 0; i < status->n_counters; i++)
		has_own |= strcmp(status->counters[i].name, "snat_requests") == 0;
	ck_assert(has_own);
	tear_down();
}
END_TEST

START_TEST(status_tells_of_a_dips_snat)
{
	set_up();
	start_manager();
	start_control();
	RUN_UNTIL(w.acked == CONFIG_VERSION);
	w.dp.n_held = 3;
	w.dp.dip_flows = 40;
	w.dp.snat = (struct snat_dip_status){
		.dip = test_ip4("10.1.1.12"),
		.leased_ports = 160,
		.used_ports = 90,
		.flows = 1000,
		.refused = 2,
		.n_busiest = 1,
		.busiest = { { .remote = test_addr("198.51.100.7"),
		               .remote_port = be16_from(443),
		               .protocol = 6,
		               .n_ports = 88 } },
	};
	ask(&(struct message){ .type = MESSAGE_STATUS_REQUEST, .request_id = 5 });
	RUN_UNTIL(w.reply.type != 0);
	const struct node_status *status = &w.reply.status;
	ck_assert_uint_eq(status->n_dips, 2);
	ck_assert_uint_eq(status->dips[0].snat.leased_ports, 0); // has none
	ck_assert_uint_eq(status->dips[0].flows, 0);
	ck_assert_uint_eq(status->dips[1].flows, 40);
	const struct dip_snat *snat = &status->dips[1].snat;
	ck_assert_uint_eq(snat->leased_ports, 160);
	ck_assert_uint_eq(snat->used_ports, 90);
	ck_assert_uint_eq(snat->flows, 1000);
	ck_assert_uint_eq(snat->held_packets, 3);
	ck_assert_uint_eq(snat->refused, 2);
	ck_assert_uint_eq(snat->n_busiest, 1);
	ck_assert_uint_eq(snat->busiest[0].port, 443);
	ck_assert_uint_eq(snat->busiest[0].n_ports, 88);
	tear_down();
}
END_TEST

// ---- SNAT ----

START_TEST(leases_reach_the_worker_and_are_acknowledged)
{
	set_up();
	grant(1024, 1);
	start_manager();
	start_control();
	RUN_UNTIL(w.acked_leases == 1);
	ck_assert_str_eq(fake_data_plane_take_orders(&w.dp), "+1024/8@1, rebuild, link up");
	ck_assert_uint_eq(w.dp.n_configs_at_first_order, 1); // the worker knows the DIP when its lease comes
	struct lease l = lease_of(1032, 2);
	send_leases(false, 2, &(struct lease_list){ .n = 1, .items = &l });
	RUN_UNTIL(w.acked_leases == 2);
	ck_assert_str_eq(fake_data_plane_take_orders(&w.dp), "+1032/8@2");
	ck_assert_uint_eq(w.dp.n_configs, 1); // for leases alone no configuration is built
	tear_down();
}
END_TEST

static void worker_asks(uint64_t seq)
{
	struct snat_report r = { .kind = SNAT_REPORT_WANTED, .dip = test_ip4("10.1.1.11"), .seq = seq, .n_wanted = 16 };
	fake_data_plane_report(&w.dp, &r);
}

static void worker_returns(uint16_t first_port, uint32_t epoch)
{
	struct snat_report r = { .kind = SNAT_REPORT_RETURNED,
		                     .vip = test_ip4("203.0.113.10"),
		                     .dip = test_ip4("10.1.1.11"),
		                     .first_port = first_port,
		                     .n_ports = 8,
		                     .epoch = epoch };
	fake_data_plane_report(&w.dp, &r);
}

START_TEST(a_request_goes_to_the_leader_and_its_answer_to_the_worker)
{
	set_up();
	start_manager();
	start_control();
	RUN_UNTIL(w.acked == CONFIG_VERSION);
	(void)fake_data_plane_take_orders(&w.dp);
	worker_asks(100);
	RUN_UNTIL(w.asked.n == 1);
	struct ip_addr dip = test_addr("10.1.1.11");
	ck_assert_int_eq(w.asked.items[0].kind, SNAT_REQUEST);
	ck_assert_uint_eq(w.asked.items[0].seq, 100);
	ck_assert_uint_eq(w.asked.items[0].n_ports, 16);
	ck_assert(ip_addr_equal(&w.asked.items[0].dip, &dip));
	struct message refusal = { .type = MESSAGE_SNAT_REPLY };
	refusal.snat_reply.dip = dip;
	refusal.snat_reply.seq = 100;
	error_set(&refusal.snat_reply.err, ERR_LIMIT, "max_ports_per_dip");
	ck_assert_int_eq(conn_send(w.agent, &refusal), 0);
	RUN_UNTIL(w.dp.n_orders > 0);
	ck_assert_str_eq(fake_data_plane_take_orders(&w.dp), "answer 100 limit");
	tear_down();
}
END_TEST

// How often a request with this number has come to the leader.
static uint32_t n_requests(uint64_t seq)
{
	uint32_t n = 0;
	for (uint32_t i = 0; i < w.asked.n; i++)
		n += w.asked.items[i].kind == SNAT_REQUEST && w.asked.items[i].seq == seq;
	return n;
}

START_TEST(after_a_reconnect_what_was_not_answered_is_asked_again)
{
	set_up();
	grant(1024, 1);
	start_manager();
	start_control();
	RUN_UNTIL(w.acked == CONFIG_VERSION);
	(void)fake_data_plane_take_orders(&w.dp);
	worker_asks(100);
	worker_returns(1024, 1);
	RUN_UNTIL(w.asked.n == 2);
	conn_close(w.agent);
	RUN_UNTIL(w.agent == NULL);
	w.acked = 0;
	RUN_UNTIL(w.acked == CONFIG_VERSION);
	// This leader may have heard of the return, or not: the worker does not get the lease again.
	ck_assert_str_eq(fake_data_plane_take_orders(&w.dp), "link down, link up");
	worker_asks(100); // as it does when it hears of the link
	RUN_UNTIL(n_requests(100) == 2);
	tear_down();
}
END_TEST

START_TEST(leases_are_there_after_a_restart_without_any_manager)
{
	set_up();
	grant(1024, 1);
	grant(1032, 2);
	start_manager();
	start_control();
	RUN_UNTIL(w.acked == CONFIG_VERSION);
	worker_returns(1032, 2);
	RUN_UNTIL(w.asked.n == 1);
	control_destroy(w.control);
	w.control = NULL;
	conn_listener_destroy(w.manager);
	w.manager = NULL;
	RUN_UNTIL(w.agent == NULL);
	fake_data_plane_fini(&w.dp);
	fake_data_plane_init(&w.dp);
	start_control();
	ck_assert_uint_eq(w.dp.n_configs_at_first_order, 1);
	RUN_UNTIL(w.dp.n_tended > 0);
	ck_assert_uint_eq(w.dp.n_given_at_first_tend, 2); // no VM port is opened before
	ck_assert_str_eq(fake_data_plane_take_orders(&w.dp), "+1024/8@1, rebuild");
	tear_down();
}
END_TEST

START_TEST(a_saved_file_that_is_none_is_set_aside_and_the_managers_are_asked)
{
	set_up();
	char path[STATE_PATH_BYTES];
	FILE *f = fopen(state_dir_path(&w.dir, "config", path), "w");
	ck_assert_ptr_nonnull(f);
	fputs("this is no configuration", f);
	fclose(f);
	grant(1024, 1);
	start_manager();
	start_control();
	ck_assert_ptr_null(w.dp.config);
	ck_assert_int_eq(access(state_dir_path(&w.dir, "config.damaged", path), F_OK), 0);
	RUN_UNTIL(w.acked == CONFIG_VERSION);
	ck_assert_str_eq(fake_data_plane_take_orders(&w.dp), "+1024/8@1, rebuild, link up");
	tear_down();
}
END_TEST

START_TEST(vm_ports_wait_until_the_worker_has_taken_all_leases)
{
	set_up();
	struct store s;
	struct error err = { 0 };
	struct snat_image saved = { 0 };
	for (uint32_t i = 0; i < 10; i++)
		grant((uint16_t)(1024 + 8 * i), i + 1);
	saved.held = w.leases;
	fixture_store(&s);
	ck_assert_int_eq(store_file_save(&w.dir, &s, &saved, &err), 0);
	store_fini(&s);
	w.dp.orders_max = 4;
	start_control();
	while (w.dp.n_tended == 0) {
		w.dp.n_orders = 0; // taken
		uv_run(&w.loop, UV_RUN_ONCE);
	}
	ck_assert_uint_eq(w.dp.n_given_at_first_tend, 11);
	tear_down();
}
END_TEST

// ---- Health ----

START_TEST(without_probes_the_leader_learns_at_once_that_the_host_is_whole)
{
	set_up();
	start_manager();
	start_control();
	RUN_UNTIL(w.n_health == 1);
	ck_assert_uint_eq(w.acked, CONFIG_VERSION); // not before the configuration is in use
	ck_assert_uint_eq(w.health.n, 0);
	tear_down();
}
END_TEST

START_TEST(a_missing_interface_is_told_and_told_again_to_the_next_leader)
{
	set_up();
	w.dp.state = VM_PORT_MISSING;
	w.has_probe = true;
	start_manager();
	start_control();
	for (uint32_t leader = 0; leader < 2; leader++) {
		RUN_UNTIL(w.health.n == 1);
		ck_assert_uint_eq(w.n_health, leader + 1);
		ck_assert_uint_eq(w.health.items[0].port, 53);
		ck_assert(!w.health.items[0].is_healthy);
		ck_assert_str_eq(w.health.items[0].cause, "interface missing");
		health_report_fini(&w.health);
		conn_close(w.agent);
	}
	ask(&(struct message){ .type = MESSAGE_STATUS_REQUEST, .request_id = 5 });
	RUN_UNTIL(w.reply.type != 0);
	uint64_t n_unhealthy = 0;
	for (uint32_t i = 0; i < w.reply.status.n_counters; i++)
		if (strcmp(w.reply.status.counters[i].name, "dips_unhealthy") == 0)
			n_unhealthy = w.reply.status.counters[i].value;
	ck_assert_uint_eq(n_unhealthy, 1);
	tear_down();
}
END_TEST

START_TEST(a_client_that_leaves_with_a_command_under_way_does_no_harm)
{
	set_up();
	start_manager();
	start_control();
	RUN_UNTIL(w.acked == CONFIG_VERSION);
	ask_command(test_delete(OBJECT_DIP, "10.1.1.11"));
	RUN_UNTIL(w.command.changes.n == 1);
	conn_close(w.client);
	RUN_UNTIL(w.client == NULL);
	for (int i = 0; i < 20; i++)
		uv_run(&w.loop, UV_RUN_NOWAIT);
	struct message done = { .type = MESSAGE_COMMAND_REPLY,
		                    .request_id = w.command.request_id,
		                    .version = CONFIG_VERSION + 1 };
	ck_assert_int_eq(conn_send(w.agent, &done), 0);
	ask(&(struct message){ .type = MESSAGE_STATUS_REQUEST, .request_id = 9 });
	RUN_UNTIL(w.reply.type == MESSAGE_STATUS_REPLY);
	tear_down();
}
END_TEST

SUITE_MAIN("agent control", an_update_becomes_the_data_planes_configuration_and_is_kept,
           the_last_configuration_is_used_while_no_manager_answers, a_vm_is_attached_by_way_of_the_leader,
           a_command_that_is_not_this_hosts_is_refused_at_once, a_refusal_of_the_leader_is_passed_back,
           status_names_every_dip_and_counter, status_tells_of_a_dips_snat,
           leases_reach_the_worker_and_are_acknowledged, a_request_goes_to_the_leader_and_its_answer_to_the_worker,
           after_a_reconnect_what_was_not_answered_is_asked_again, leases_are_there_after_a_restart_without_any_manager,
           a_saved_file_that_is_none_is_set_aside_and_the_managers_are_asked,
           vm_ports_wait_until_the_worker_has_taken_all_leases,
           without_probes_the_leader_learns_at_once_that_the_host_is_whole,
           a_missing_interface_is_told_and_told_again_to_the_next_leader,
           a_client_that_leaves_with_a_command_under_way_does_no_harm)
