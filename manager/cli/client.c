#include "manager/cli/client.h"

#include <stdlib.h>
#include <string.h>

#include "common/base/memory.h"
#include "common/io/manager_link.h"

struct client {
	uv_loop_t loop;
	struct manager_link *link;
	uint32_t timeout_ms;
	// Of the request that is being waited for:
	bool is_done;
	struct error err;
	uint64_t version;
	bool is_unchanged;
	struct vip_version_list *versions;
	struct wait_reply *wait;
	struct store *state;
	struct node_list *nodes;
	struct leases_reply *leases;
	struct event_list *events;
};

int client_create(const struct client_config *config, struct client **ret_client, struct error *err)
{
	struct client *c = memory_array(1, sizeof *c);
	if (c == NULL || uv_loop_init(&c->loop) != 0) {
		memory_free(c);
		return error_set(err, ERR_NO_MEMORY, "memory is short");
	}
	struct manager_link_config link = { .managers = config->managers, .n_managers = config->n_managers };
	int code = manager_link_create(&c->loop, &link, &c->link, err);
	if (code != 0) {
		uv_loop_close(&c->loop);
		memory_free(c);
		return code;
	}
	c->timeout_ms = config->timeout_ms;
	*ret_client = c;
	return 0;
}

void client_destroy(struct client *c)
{
	if (c == NULL)
		return;
	manager_link_destroy(c->link);
	uv_run(&c->loop, UV_RUN_DEFAULT);
	uv_loop_close(&c->loop);
	memory_free(c);
}

// ---- through the leader ----

// Moves the objects of one part into the state.
static int take_objects(struct client *c, struct update *u)
{
	int code = 0;
	for (uint32_t i = 0; code == 0 && i < u->changes.n; i++)
		code = store_apply(c->state, &u->changes.items[i]);
	c->state->version = u->to_version;
	return code;
}

static int take_nodes(struct client *c, struct message *m)
{
	struct node_list *list = c->nodes;
	struct node_status *items = memory_resize(list->items, list->n + m->nodes.n, sizeof *items);
	if (items == NULL)
		return ERR_NO_MEMORY;
	if (m->nodes.n > 0)
		memcpy(items + list->n, m->nodes.items, m->nodes.n * sizeof *items);
	list->items = items;
	list->n += m->nodes.n;
	m->nodes.n = 0; // their counters are the list's now
	return 0;
}

static int take_leases(struct client *c, const struct leases_reply *part)
{
	struct leases_reply *all = c->leases;
	int code = 0;
	all->log_since_ms = part->log_since_ms;
	for (uint32_t i = 0; code == 0 && i < part->leases.n; i++)
		code = lease_list_append(&all->leases, &part->leases.items[i]);
	if (code != 0 || part->n_pools == 0)
		return code;
	struct snat_pool_status *pools = memory_resize(all->pools, all->n_pools + part->n_pools, sizeof *pools);
	if (pools == NULL)
		return ERR_NO_MEMORY;
	memcpy(pools + all->n_pools, part->pools, part->n_pools * sizeof *pools);
	all->pools = pools;
	all->n_pools += part->n_pools;
	return 0;
}

// One part of the answer; *ret_more: another follows.
static int take_reply(struct client *c, struct message *m, bool *ret_more)
{
	if (m->type == MESSAGE_COMMAND_REPLY) {
		c->version = m->version;
		c->is_unchanged = m->is_unchanged;
		return 0;
	}
	if (m->type == MESSAGE_UPDATE && c->state != NULL) {
		*ret_more = m->update.more;
		return take_objects(c, &m->update);
	}
	if (m->type == MESSAGE_NODES_REPLY && c->nodes != NULL) {
		*ret_more = m->nodes.more;
		return take_nodes(c, m);
	}
	if (m->type == MESSAGE_LEASES_REPLY && c->leases != NULL) {
		*ret_more = m->leases.more;
		return take_leases(c, &m->leases);
	}
	if (m->type == MESSAGE_VERSIONS_REPLY && c->versions != NULL) {
		*c->versions = m->versions;
		m->versions = (struct vip_version_list){ 0 }; // they are the caller's now
		return 0;
	}
	if (m->type == MESSAGE_WAIT_REPLY && c->wait != NULL) {
		*c->wait = m->wait;
		return 0;
	}
	if (m->type == MESSAGE_EVENTS_REPLY && c->events != NULL) {
		*c->events = m->events;
		m->events = (struct event_list){ 0 }; // they are the caller's now
		return 0;
	}
	return ERR_MALFORMED;
}

static void on_reply(struct message *reply, const struct error *err, void *user)
{
	struct client *c = user;
	bool more = false;
	if (err != NULL) {
		c->err = *err;
		if (c->err.code == 0)
			c->err.code = ERR_UNAVAILABLE;
	} else if (c->err.code == 0) {
		int code = take_reply(c, reply, &more);
		if (code != 0)
			error_set(&c->err, (enum error_code)code, "the manager's answer cannot be used (%s)",
			          error_code_name((enum error_code)code));
	}
	c->is_done = !more;
}

static int request_for(struct client *c, const struct message *m, uint32_t timeout_ms, struct error *err)
{
	c->is_done = false;
	memset(&c->err, 0, sizeof c->err);
	int code = manager_link_request(c->link, m, timeout_ms, on_reply, c);
	if (code != 0)
		return error_set(err, (enum error_code)code, "the request cannot be sent (%s)",
		                 error_code_name((enum error_code)code));
	while (!c->is_done)
		uv_run(&c->loop, UV_RUN_ONCE);
	if (c->err.code != 0)
		*err = c->err;
	return c->err.code;
}

static int request(struct client *c, const struct message *m, struct error *err)
{
	return request_for(c, m, c->timeout_ms, err);
}

static int send_command(struct client *c, const struct message *m, uint64_t *ret_version, struct error *err)
{
	int code = request(c, m, err);
	if (code == 0)
		*ret_version = c->version;
	return code;
}

int client_command(struct client *c, const struct change_list *changes, uint64_t *ret_version, struct error *err)
{
	struct message m = { .type = MESSAGE_COMMAND_REQUEST, .changes = *changes };
	return send_command(c, &m, ret_version, err);
}

int client_submit(struct client *c, const struct change_list *changes, const struct command_terms *terms,
                  uint64_t *ret_version, bool *ret_is_unchanged, struct error *err)
{
	struct message m = { .type = MESSAGE_COMMAND_REQUEST };
	m.changes = *changes;
	m.terms = *terms;
	int code = send_command(c, &m, ret_version, err);
	*ret_is_unchanged = c->is_unchanged;
	return code;
}

int client_roll_back(struct client *c, const struct ip_addr *vip, uint64_t to_version, const uint64_t *expect,
                     uint64_t *ret_version, bool *ret_is_unchanged, struct error *err)
{
	struct message m = { .type = MESSAGE_ROLLBACK_REQUEST };
	m.rollback.vip = *vip;
	m.rollback.to_version = to_version;
	m.rollback.has_expect = expect != NULL;
	m.rollback.expect = expect != NULL ? *expect : 0;
	int code = send_command(c, &m, ret_version, err);
	*ret_is_unchanged = c->is_unchanged;
	return code;
}

int client_get_versions(struct client *c, const struct ip_addr *vip, uint64_t version,
                        struct vip_version_list *ret_versions, struct error *err)
{
	struct message m = { .type = MESSAGE_VERSIONS_REQUEST };
	struct vip_version_list versions = { 0 };
	m.versions_request.vip = *vip;
	m.versions_request.version = version;
	c->versions = &versions;
	int code = request(c, &m, err);
	c->versions = NULL;
	if (code == 0)
		*ret_versions = versions;
	return code;
}

// The answer comes in time, also when the time is over; a leader that is lost takes some.
#define WAIT_ANSWER_MS 2000

int client_wait(struct client *c, uint64_t version, uint32_t timeout_ms, struct wait_reply *ret_reply,
                struct error *err)
{
	struct message m = { .type = MESSAGE_WAIT_REQUEST };
	m.wait_request.version = version;
	m.wait_request.timeout_ms = timeout_ms;
	c->wait = ret_reply;
	int code = request_for(c, &m, timeout_ms + WAIT_ANSWER_MS, err);
	c->wait = NULL;
	return code;
}

int client_operate(struct client *c, const struct snat_op_list *ops, uint64_t *ret_version, struct error *err)
{
	struct message m = { .type = MESSAGE_COMMAND_REQUEST, .ops = *ops };
	return send_command(c, &m, ret_version, err);
}

int client_get_state(struct client *c, struct store *ret_state, struct error *err)
{
	struct message m = { .type = MESSAGE_STATE_REQUEST };
	struct store state;
	store_init(&state);
	c->state = &state;
	int code = request(c, &m, err);
	c->state = NULL;
	if (code == 0)
		*ret_state = state;
	else
		store_fini(&state);
	return code;
}

int client_get_nodes(struct client *c, enum node_role role, const char *name, struct node_list *ret_nodes,
                     struct error *err)
{
	struct message m = { .type = MESSAGE_NODES_REQUEST };
	struct node_list list = { 0 };
	m.nodes_request.role = role;
	if (!text_copy(m.nodes_request.name, sizeof m.nodes_request.name, name))
		return error_set(err, ERR_INVALID, "a name has at most %d characters", NAME_BYTES - 1);
	c->nodes = &list;
	int code = request(c, &m, err);
	c->nodes = NULL;
	if (code == 0)
		*ret_nodes = list;
	else
		node_list_fini(&list);
	return code;
}

void node_list_fini(struct node_list *list)
{
	for (uint32_t i = 0; i < list->n; i++)
		node_status_fini(&list->items[i]);
	memory_free(list->items);
	memset(list, 0, sizeof *list);
}

static int compare_leases(const void *a, const void *b)
{
	const struct lease *x = a;
	const struct lease *y = b;
	int order = ip_addr_compare(&x->vip, &y->vip);
	if (order == 0)
		order = (int)x->first_port - (int)y->first_port;
	if (order == 0)
		order = x->granted_ms < y->granted_ms ? -1 : x->granted_ms > y->granted_ms;
	if (order == 0)
		order = x->epoch < y->epoch ? -1 : x->epoch > y->epoch;
	return order;
}

// A connection that broke between two parts has brought the first ones twice: sorted, equal ones stand together.
static void sort_leases(struct lease_list *list)
{
	if (list->n == 0)
		return;
	qsort(list->items, list->n, sizeof *list->items, compare_leases);
	uint32_t n = 1;
	for (uint32_t i = 1; i < list->n; i++)
		if (compare_leases(&list->items[n - 1], &list->items[i]) != 0)
			list->items[n++] = list->items[i];
	list->n = n;
}

int client_get_leases(struct client *c, const struct ip_addr *vip, uint16_t port, uint64_t at_ms,
                      struct leases_reply *ret_leases, struct error *err)
{
	struct message m = { .type = MESSAGE_LEASES_REQUEST };
	struct leases_reply all = { 0 };
	m.leases_request.vip = *vip;
	m.leases_request.port = port;
	m.leases_request.at_ms = at_ms;
	c->leases = &all;
	int code = request(c, &m, err);
	c->leases = NULL;
	if (code == 0) {
		sort_leases(&all.leases);
		*ret_leases = all;
	} else {
		client_leases_fini(&all);
	}
	return code;
}

void client_leases_fini(struct leases_reply *leases)
{
	lease_list_fini(&leases->leases);
	memory_free(leases->pools);
	*leases = (struct leases_reply){ 0 };
}

int client_get_events(struct client *c, uint64_t after_seq, struct event_list *ret_events, struct error *err)
{
	struct message m = { .type = MESSAGE_EVENTS_REQUEST, .after_seq = after_seq };
	struct event_list events = { 0 };
	c->events = &events;
	int code = request(c, &m, err);
	c->events = NULL;
	if (code == 0)
		*ret_events = events;
	return code;
}

// ---- directly ----

struct question {
	struct conn *conn; // NULL once closed
	const struct message *request;
	struct message *reply;
	bool is_answered;
	struct error err;
};

static void on_open(struct conn *conn, void *user)
{
	struct question *q = user;
	struct message m = *q->request;
	m.request_id = 1;
	int code = conn_send(conn, &m);
	if (code != 0 && q->err.code == 0)
		error_set(&q->err, (enum error_code)code, "the request cannot be sent");
	if (code != 0)
		conn_close(conn);
}

static void on_message(struct conn *conn, struct message *m, void *user)
{
	struct question *q = user;
	if (m->request_id != 1 || q->is_answered)
		return;
	if (m->type == MESSAGE_ERROR) {
		q->err = m->error;
	} else {
		*q->reply = *m;
		memset(m, 0, sizeof *m); // its content is the reply's now
	}
	q->is_answered = true;
	conn_close(conn);
}

static void on_close(struct conn *conn, const struct error *reason, void *user)
{
	struct question *q = user;
	q->conn = NULL;
	if (!q->is_answered && q->err.code == 0)
		q->err = *reason;
}

static const struct conn_handler question_handler = { .on_open = on_open,
	                                                  .on_message = on_message,
	                                                  .on_close = on_close };

static void on_timeout(uv_timer_t *timer)
{
	*(bool *)timer->data = true;
}

static uint32_t count_open(const struct question *questions, uint32_t n)
{
	uint32_t n_open = 0;
	for (uint32_t i = 0; i < n; i++)
		n_open += questions[i].conn != NULL;
	return n_open;
}

static void give_up(struct question *questions, uint32_t n)
{
	for (uint32_t i = 0; i < n; i++) {
		if (questions[i].conn == NULL)
			continue;
		if (!questions[i].is_answered && questions[i].err.code == 0)
			error_set(&questions[i].err, ERR_TIMEOUT, "no answer in time");
		conn_close(questions[i].conn);
	}
}

static void wait_for_answers(uv_loop_t *loop, struct question *questions, uint32_t n, uint32_t timeout_ms)
{
	uv_timer_t timer;
	bool is_late = false;
	uv_timer_init(loop, &timer);
	timer.data = &is_late;
	uv_timer_start(&timer, on_timeout, timeout_ms, 0);
	while (count_open(questions, n) > 0 && !is_late)
		uv_run(loop, UV_RUN_ONCE);
	give_up(questions, n);
	uv_close((uv_handle_t *)&timer, NULL);
	uv_run(loop, UV_RUN_DEFAULT);
}

int client_ask_all(uint32_t n, const char *const *addresses, uint32_t timeout_ms, const struct message *message,
                   struct message *replies, bool *ok, struct error *errs)
{
	uv_loop_t loop;
	struct question *questions = memory_array(n, sizeof *questions);
	if (questions == NULL || uv_loop_init(&loop) != 0) {
		memory_free(questions);
		return ERR_NO_MEMORY;
	}
	for (uint32_t i = 0; i < n; i++) {
		struct question *q = &questions[i];
		*q = (struct question){ .request = message, .reply = &replies[i] };
		if (conn_connect(&loop, addresses[i], &question_handler, q, &q->conn, &q->err) != 0)
			q->conn = NULL;
	}
	wait_for_answers(&loop, questions, n, timeout_ms);
	for (uint32_t i = 0; i < n; i++) {
		ok[i] = questions[i].is_answered && questions[i].err.code == 0;
		errs[i] = questions[i].err;
	}
	uv_loop_close(&loop);
	memory_free(questions);
	return 0;
}

int client_ask(const char *address, uint32_t timeout_ms, const struct message *message, struct message *ret_reply,
               struct error *err)
{
	bool ok = false;
	struct error reason = { 0 };
	if (client_ask_all(1, &address, timeout_ms, message, ret_reply, &ok, &reason) != 0)
		return error_set(err, ERR_NO_MEMORY, "memory is short");
	if (ok)
		return 0;
	*err = reason;
	return reason.code;
}
