#include "tests/unit/manager/cluster.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/base/check.h"
#include "common/base/memory.h"
#include "common/io/log.h"
#include "tests/unit/manager/objects.h"
#include "tests/unit/manager/ports.h"

static void write_config(const struct cluster *c, uint32_t i, const uint16_t *ports)
{
	FILE *file = fopen(c->managers[i].config, "w");
	CHECK(file != NULL);
	fprintf(file, "{ \"id\": %u, \"data_dir\": \"%s/%u\", \"heartbeat_ms\": 40, \"election_ms\": 400, \"cluster\": [",
	        i + 1, c->dir, i + 1);
	for (uint32_t k = 0; k < c->n; k++)
		fprintf(file, "%s { \"id\": %u, \"api\": \"127.0.0.1:%u\", \"raft\": \"127.0.0.1:%u\" }", k == 0 ? "" : ",",
		        k + 1, ports[2 * k], ports[2 * k + 1]);
	fprintf(file, " ] }\n");
	fclose(file);
}

void cluster_start(struct cluster *c, uint32_t i)
{
	pid_t parent = getpid();
	pid_t pid = fork();
	CHECK(pid >= 0);
	if (pid > 0) {
		c->managers[i].pid = pid;
		return;
	}
	char log[128];
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != parent)
		_exit(1);
	(void)text_format(log, sizeof log, "%s/log%u", c->dir, i + 1);
	int fd = open(log, O_CREAT | O_APPEND | O_WRONLY, 0600);
	dup2(fd, STDERR_FILENO);
	execl(ANANTA_MANAGER, ANANTA_MANAGER, "--config", c->managers[i].config, NULL);
	_exit(127);
}

static void create_client(struct cluster *c)
{
	struct error err = { 0 };
	struct client_config config = { .n_managers = c->n, .timeout_ms = CLUSTER_WAIT_MS };
	for (uint32_t i = 0; i < c->n; i++)
		config.managers[i] = c->managers[i].api;
	CHECK(client_create(&config, &c->client, &err) == 0);
}

void cluster_begin(struct cluster *c, uint32_t n)
{
	cluster_begin_in(c, n, "/tmp");
}

void cluster_begin_in(struct cluster *c, uint32_t n, const char *parent_dir)
{
	uint16_t ports[2 * CLUSTER_MAX];
	memset(c, 0, sizeof *c);
	signal(SIGPIPE, SIG_IGN);
	log_set_level(LOG_ERROR);
	c->n = n;
	CHECK(text_format(c->dir, sizeof c->dir, "%s/test-cluster-XXXXXX", parent_dir));
	CHECK(mkdtemp(c->dir) != NULL);
	find_free_ports(ports, 2 * n);
	for (uint32_t i = 0; i < n; i++) {
		(void)text_format(c->managers[i].api, sizeof c->managers[i].api, "127.0.0.1:%u", ports[2 * i]);
		(void)text_format(c->managers[i].config, sizeof c->managers[i].config, "%s/m%u.json", c->dir, i + 1);
		write_config(c, i, ports);
	}
	for (uint32_t i = 0; i < n; i++)
		cluster_start(c, i);
	create_client(c);
}

int cluster_wait_exit(struct cluster *c, uint32_t i)
{
	int status;
	CHECK(waitpid(c->managers[i].pid, &status, 0) == c->managers[i].pid);
	c->managers[i].pid = 0;
	return status;
}

void cluster_kill(struct cluster *c, uint32_t i, int signal_number)
{
	CHECK(c->managers[i].pid > 0 && kill(c->managers[i].pid, signal_number) == 0);
	(void)cluster_wait_exit(c, i);
}

void cluster_end(struct cluster *c)
{
	char command[96];
	client_destroy(c->client);
	for (uint32_t i = 0; i < c->n; i++)
		if (c->managers[i].pid != 0)
			cluster_kill(c, i, SIGKILL);
	(void)text_format(command, sizeof command, "rm -r %s", c->dir);
	CHECK(system(command) == 0);
}

static bool ask_cluster(const struct cluster *c, uint32_t i, struct cluster_reply *ret_reply)
{
	struct message request = { .type = MESSAGE_CLUSTER_REQUEST };
	struct message reply = { 0 };
	struct error err = { 0 };
	if (client_ask(c->managers[i].api, 1000, &request, &reply, &err) != 0)
		return false;
	CHECK(reply.type == MESSAGE_CLUSTER_REPLY);
	*ret_reply = reply.cluster;
	return true;
}

uint32_t cluster_leader(struct cluster *c)
{
	for (;;) {
		struct store state;
		struct error err = { 0 };
		if (client_get_state(c->client, &state, &err) != 0) { // waits for a leader that serves
			fprintf(stderr, "no leader: %s\n", err.text);
			abort();
		}
		store_fini(&state);
		struct cluster_reply reply;
		for (uint32_t i = 0; i < c->n; i++)
			if (c->managers[i].pid != 0 && ask_cluster(c, i, &reply) && reply.is_leader)
				return i;
	}
}

void cluster_wait_version(struct cluster *c, uint32_t i, uint64_t version)
{
	struct cluster_reply reply = { 0 };
	uint64_t end_ns = uv_hrtime() + CLUSTER_WAIT_MS * 1000000ULL;
	while (!ask_cluster(c, i, &reply) || reply.version != version) {
		if (uv_hrtime() > end_ns) {
			fprintf(stderr, "manager %u has version %llu, not %llu\n", i + 1, (unsigned long long)reply.version,
			        (unsigned long long)version);
			abort();
		}
	}
}

// The client's loop does not run between requests: it may not have seen yet that its connection broke, and then a command
// would be lost. A question is simply asked again.
static void refresh_client(struct cluster *c)
{
	struct store state;
	struct error err = { 0 };
	if (client_get_state(c->client, &state, &err) == 0)
		store_fini(&state);
}

int cluster_command(struct cluster *c, const char *command, uint64_t *ret_version, struct error *err)
{
	struct change_list changes = changes_of(command);
	refresh_client(c);
	memset(err, 0, sizeof *err);
	int code = client_command(c->client, &changes, ret_version, err);
	change_list_fini(&changes);
	return code;
}

uint64_t cluster_must(struct cluster *c, const char *command)
{
	uint64_t version = 0;
	struct error err;
	if (cluster_command(c, command, &version, &err) != 0) {
		fprintf(stderr, "%s: %s\n", command, err.text);
		abort();
	}
	return version;
}

// ---- nodes ----

static void remove_lease(struct lease_list *list, const struct lease *ended)
{
	uint32_t i = 0;
	while (i < list->n && !(list->items[i].epoch == ended->epoch && list->items[i].first_port == ended->first_port &&
	                        ip_addr_equal(&list->items[i].vip, &ended->vip)))
		i++;
	if (i < list->n)
		list->items[i] = list->items[--list->n];
}

static void apply_leases(struct test_node *n, const struct update *u)
{
	if (n->ignores_leases)
		return;
	if (u->replaces_leases)
		lease_list_fini(&n->leases);
	n->n_lease_snapshots += u->replaces_leases;
	n->lease_version = u->lease_version;
	for (uint32_t i = 0; i < u->leases.n; i++) {
		if (u->leases.items[i].ended_ms != 0)
			remove_lease(&n->leases, &u->leases.items[i]);
		else
			CHECK(lease_list_append(&n->leases, &u->leases.items[i]) == 0);
	}
}

static uint32_t count_ports(const struct test_node *n, const struct ip_addr *dip)
{
	uint32_t n_ports = 0;
	for (uint32_t i = 0; i < n->leases.n; i++)
		if (ip_addr_equal(&n->leases.items[i].dip, dip))
			n_ports += n->leases.items[i].n_ports;
	return n_ports;
}

static void on_notice(const struct message *m, void *user)
{
	struct test_node *n = user;
	if (m->type == MESSAGE_FENCE) {
		n->n_fences += m->is_fenced;
		n->is_fenced = m->is_fenced;
	} else if (m->type == MESSAGE_SNAT_REPLY) {
		struct test_reply *r = &n->replies[n->n_replies++ % TEST_REPLIES_MAX];
		*r = (struct test_reply){ .dip = m->snat_reply.dip, .seq = m->snat_reply.seq };
		r->n_ports = m->snat_reply.n_ports;
		r->err = m->snat_reply.err;
		r->n_held_ports = count_ports(n, &r->dip);
	}
}

static int on_update(struct update *u, void *user)
{
	struct test_node *n = user;
	bool is_snapshot = update_is_snapshot(u);
	n->n_snapshots += is_snapshot;
	apply_leases(n, u);
	CHECK(store_apply_update(&n->store, &u->changes, is_snapshot, u->to_version) == 0);
	return 0;
}

static void on_status_request(struct node_status *status, void *user)
{
	struct test_node *n = user;
	(void)text_copy(status->state, sizeof status->state, n->state != NULL ? n->state : "ready");
	status->version = n->store.version;
	status->counters = memory_array(1, sizeof *status->counters);
	status->n_counters = 1;
	(void)text_copy(status->counters[0].name, sizeof status->counters[0].name, "rx_packets");
	status->counters[0].value = 42;
}

static void send_health(struct test_node *n, const struct health_report *report, bool is_whole)
{
	struct message m = { .type = MESSAGE_HEALTH, .health = *report };
	m.health.is_whole = is_whole;
	(void)manager_link_send(n->link, &m);
}

static void on_state(bool is_up, const struct error *err, void *user)
{
	struct test_node *n = user;
	n->n_ups += is_up;
	if (is_up && n->reports)
		send_health(n, &n->health, true);
	if (!is_up && err != NULL)
		n->down_reason = *err;
}

void test_node_begin(struct test_node *n, uv_loop_t *loop, const struct cluster *c, enum node_role role,
                     const char *name, const char *addr)
{
	const char *managers[CLUSTER_MAX];
	struct error err = { 0 };
	memset(n, 0, sizeof *n);
	for (uint32_t i = 0; i < c->n; i++)
		managers[i] = c->managers[i].api;
	struct manager_link_config config = {
		.managers = managers,
		.n_managers = c->n,
		.subscribes = true,
		.subscribe = { .role = role, .program_version = "test" },
		.handler = { .on_update = on_update,
		             .on_status_request = on_status_request,
		             .on_notice = on_notice,
		             .on_state = on_state },
		.user = n,
	};
	n->loop = loop;
	n->name = name;
	(void)text_copy(config.subscribe.node.name, sizeof config.subscribe.node.name, name);
	config.subscribe.node.addr = addr_of(addr);
	CHECK(manager_link_create(loop, &config, &n->link, &err) == 0);
}

void test_node_end(struct test_node *n)
{
	manager_link_destroy(n->link);
	uv_run(n->loop, UV_RUN_NOWAIT);
	store_fini(&n->store);
	lease_list_fini(&n->leases);
	health_report_fini(&n->health);
}

void test_node_probed(struct test_node *n, const char *dip, const char *endpoint, const char *cause)
{
	struct probe_result r = { .dip = addr_of(dip), .is_healthy = cause[0] == '\0' };
	uint32_t i = 0;
	CHECK(endpoint_key_parse(endpoint, &r.vip, &r.protocol, &r.port) == 0);
	(void)text_copy(r.cause, sizeof r.cause, cause);
	struct object_key key = probe_result_key(&r);
	for (; i < n->health.n; i++) {
		struct object_key other = probe_result_key(&n->health.items[i]);
		if (object_key_equal(&key, &other))
			break;
	}
	if (i < n->health.n)
		n->health.items[i] = r;
	else
		CHECK(health_report_append(&n->health, &r) == 0);
	n->reports = true;
	if (manager_link_is_up(n->link))
		send_health(n, &(struct health_report){ .n = 1, .items = &r }, false);
}

void test_node_tell_state(struct test_node *n, const char *state)
{
	struct message m = { .type = MESSAGE_STATUS_REPLY, .status = { .role = ROLE_MUX } };
	n->state = state;
	(void)text_copy(m.status.name, sizeof m.status.name, n->name);
	(void)text_copy(m.status.state, sizeof m.status.state, state);
	(void)manager_link_send(n->link, &m);
}

static bool send_op(struct test_node *n, struct snat_op *op)
{
	struct message m = { .type = MESSAGE_SNAT_ASK };
	m.ops = (struct snat_op_list){ .n = 1, .capacity = 1, .items = op };
	return manager_link_send(n->link, &m) == 0;
}

bool test_node_ask(struct test_node *n, const char *dip, uint64_t seq, uint32_t n_ports)
{
	struct snat_op op = { .kind = SNAT_REQUEST, .dip = addr_of(dip), .seq = seq, .n_ports = n_ports };
	return send_op(n, &op);
}

bool test_node_return(struct test_node *n, const struct lease *lease)
{
	struct snat_op op = { .kind = SNAT_RETURN, .dip = lease->dip, .vip = lease->vip, .epoch = lease->epoch };
	op.first_port = lease->first_port;
	return send_op(n, &op);
}

const struct test_reply *test_node_last_reply(const struct test_node *n)
{
	CHECK(n->n_replies > 0);
	return &n->replies[(n->n_replies - 1) % TEST_REPLIES_MAX];
}

uint32_t test_node_ports(const struct test_node *n, const char *dip)
{
	struct ip_addr addr = addr_of(dip);
	return count_ports(n, &addr);
}

static void on_deadline(uv_timer_t *timer)
{
	fprintf(stderr, "not in time\n");
	abort();
}

void wait_begin(struct wait *w, uv_loop_t *loop)
{
	uv_timer_init(loop, &w->timer);
	uv_timer_start(&w->timer, on_deadline, CLUSTER_WAIT_MS, 0);
}

static void on_timer_closed(uv_handle_t *handle)
{
	*(bool *)handle->data = true;
}

void wait_end(struct wait *w)
{
	bool is_closed = false;
	w->timer.data = &is_closed;
	uv_close((uv_handle_t *)&w->timer, on_timer_closed);
	while (!is_closed)
		uv_run(w->timer.loop, UV_RUN_NOWAIT);
}
