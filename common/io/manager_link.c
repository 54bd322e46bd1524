#include "common/io/manager_link.h"

#include <string.h>

#include "common/base/hash.h"
#include "common/base/memory.h"
#include "common/base/text.h"
#include "common/io/log.h"

#define BACKOFF_MIN_MS 50
#define BACKOFF_MAX_MS 1000
#define BACKOFF_ANSWERED_MAX_MS 200 // while any manager answers: one of them soon leads
#define REDIRECTS_MAX 4 // in a row without waiting
#define REQUESTS_MAX 1024

enum link_state { LINK_IDLE, LINK_CONNECTING, LINK_OPEN, LINK_WAITING };

struct pending {
	struct pending *next;
	uint64_t id;
	uint64_t deadline_ms;
	bool was_sent; // on the present connection
	bool is_command; // must not be sent twice
	manager_reply_fn on_reply;
	void *user;
	size_t n;
	uint8_t bytes[];
};

struct manager_link {
	uv_loop_t *loop;
	struct manager_link_config config;
	char managers[REPLICAS_MAX][ENDPOINT_TEXT_BYTES];
	char redirect[ENDPOINT_TEXT_BYTES]; // where to next; "" for the next of the list
	char target[ENDPOINT_TEXT_BYTES]; // of the present connection
	char silent[ENDPOINT_TEXT_BYTES]; // did not answer any more; passed over once
	uint32_t next_manager;
	uint32_t n_redirects;
	uint32_t backoff_ms;
	uint32_t n_unanswered; // managers in a row of which no word came
	enum link_state state;
	bool is_up;
	bool is_destroyed;
	struct conn *conn;
	uv_timer_t retry;
	uv_timer_t deadlines;
	uint32_t n_open_handles;
	struct pending *pending; // oldest first
	uint32_t n_pending;
	uint64_t next_id;
	bool has_update; // parts of an update are being collected
	struct update update;
};

static void try_next(struct manager_link *l);

// ---- the link's state ----

static void set_up(struct manager_link *l, bool is_up, const struct error *why)
{
	if (l->is_up == is_up)
		return;
	l->is_up = is_up;
	if (l->config.handler.on_state != NULL)
		l->config.handler.on_state(is_up, why, l->config.user);
}

// An answer shows that a leader is there: the next search for one begins without waiting.
static void note_leader(struct manager_link *l)
{
	l->backoff_ms = BACKOFF_MIN_MS;
	l->n_redirects = 0;
}

static void drop_update(struct manager_link *l)
{
	change_list_fini(&l->update.changes);
	lease_list_fini(&l->update.leases);
	memset(&l->update, 0, sizeof l->update);
	l->has_update = false;
}

static void on_retry(uv_timer_t *timer)
{
	try_next(timer->data);
}

static void wait_and_retry(struct manager_link *l)
{
	uint32_t max_ms = l->n_unanswered < l->config.n_managers ? BACKOFF_ANSWERED_MAX_MS : BACKOFF_MAX_MS;
	uint32_t backoff_ms = l->backoff_ms < max_ms ? l->backoff_ms : max_ms;
	uint64_t jitter = hash_mix64(uv_hrtime()) % (backoff_ms / 2 + 1);
	l->state = LINK_WAITING;
	uv_timer_start(&l->retry, on_retry, backoff_ms / 2 + jitter, 0);
	l->backoff_ms = backoff_ms * 2 < BACKOFF_MAX_MS ? backoff_ms * 2 : BACKOFF_MAX_MS;
	l->n_unanswered++;
}

// ---- requests ----

static struct pending *take_pending(struct manager_link *l, uint64_t id)
{
	for (struct pending **at = &l->pending; *at != NULL; at = &(*at)->next) {
		struct pending *p = *at;
		if (p->id != id)
			continue;
		*at = p->next;
		l->n_pending--;
		return p;
	}
	return NULL;
}

static void fail_pending(struct pending *p, enum error_code code, const char *text)
{
	struct error err = { 0 };
	error_set(&err, code, "%s", text);
	p->on_reply(NULL, &err, p->user);
	memory_free(p);
}

static void on_deadline(uv_timer_t *timer);

static void schedule_deadline(struct manager_link *l)
{
	uint64_t earliest = UINT64_MAX;
	for (struct pending *p = l->pending; p != NULL; p = p->next)
		if (p->deadline_ms < earliest)
			earliest = p->deadline_ms;
	if (earliest == UINT64_MAX) {
		uv_timer_stop(&l->deadlines);
		return;
	}
	uint64_t now = uv_now(l->loop);
	uv_timer_start(&l->deadlines, on_deadline, earliest > now ? earliest - now : 0, 0);
}

static void fail_expired(struct manager_link *l, struct pending *p)
{
	if (p->was_sent && p->is_command)
		fail_pending(p, ERR_TIMEOUT, "no answer from the leader in time; the change may have been made or not");
	else if (p->was_sent)
		fail_pending(p, ERR_TIMEOUT, "no answer from the leader in time");
	else if (l->state == LINK_OPEN)
		fail_pending(p, ERR_UNAVAILABLE, "the managers have no leader");
	else
		fail_pending(p, ERR_UNAVAILABLE, "no manager that leads can be reached");
}

static void on_deadline(uv_timer_t *timer)
{
	struct manager_link *l = timer->data;
	uint64_t now = uv_now(l->loop);
	struct pending *p = l->pending;
	while (p != NULL) {
		uint64_t id = p->id;
		bool is_due = p->deadline_ms <= now;
		p = p->next;
		if (is_due)
			fail_expired(l, take_pending(l, id));
	}
	schedule_deadline(l);
}

static void send_pending(struct manager_link *l)
{
	for (struct pending *p = l->pending; p != NULL && l->state == LINK_OPEN; p = p->next)
		if (!p->was_sent && conn_send_bytes(l->conn, p->bytes, p->n) == 0)
			p->was_sent = true;
}

// The connection is gone: what only asks is asked again elsewhere, a command may or may not have been carried out.
static void requeue_pending(struct manager_link *l)
{
	struct pending *p = l->pending;
	while (p != NULL) {
		uint64_t id = p->id;
		bool is_lost = p->was_sent && p->is_command;
		p->was_sent = false;
		p = p->next;
		if (is_lost)
			fail_pending(take_pending(l, id), ERR_TIMEOUT,
			             "the connection to the leader broke; the change may have been made or not");
	}
	schedule_deadline(l);
}

static void on_reply(struct manager_link *l, struct message *m)
{
	struct pending *p = NULL;
	bool is_part = (m->type == MESSAGE_UPDATE && m->update.more) || (m->type == MESSAGE_NODES_REPLY && m->nodes.more) ||
	               (m->type == MESSAGE_LEASES_REPLY && m->leases.more);
	if (is_part) {
		for (p = l->pending; p != NULL && p->id != m->request_id;)
			p = p->next;
	} else {
		p = take_pending(l, m->request_id);
	}
	if (p == NULL)
		return; // its deadline has passed
	note_leader(l);
	if (m->type == MESSAGE_ERROR)
		p->on_reply(NULL, &m->error, p->user);
	else
		p->on_reply(m, NULL, p->user);
	if (!is_part)
		memory_free(p);
	schedule_deadline(l);
}

int manager_link_request(struct manager_link *link, const struct message *request, uint32_t timeout_ms,
                         manager_reply_fn on_reply_fn, void *user)
{
	if (link->n_pending >= REQUESTS_MAX)
		return ERR_LIMIT;
	struct message copy = *request; // shallow: only the id differs
	copy.request_id = ++link->next_id;
	uint8_t *bytes;
	size_t n;
	int code = message_encode(&copy, &bytes, &n);
	if (code != 0)
		return code;
	struct pending *p = memory_array(1, sizeof *p + n);
	if (p == NULL) {
		memory_free(bytes);
		return ERR_NO_MEMORY;
	}
	p->id = copy.request_id;
	p->deadline_ms = uv_now(link->loop) + timeout_ms;
	p->is_command = request->type == MESSAGE_COMMAND_REQUEST || request->type == MESSAGE_ROLLBACK_REQUEST;
	p->on_reply = on_reply_fn;
	p->user = user;
	p->n = n;
	memcpy(p->bytes, bytes, n);
	memory_free(bytes);
	struct pending **end = &link->pending;
	while (*end != NULL)
		end = &(*end)->next;
	*end = p;
	link->n_pending++;
	if (link->state == LINK_OPEN)
		send_pending(link);
	schedule_deadline(link);
	return 0;
}

int manager_link_send(struct manager_link *link, const struct message *m)
{
	return link->is_up ? conn_send(link->conn, m) : ERR_UNAVAILABLE;
}

// ---- what the leader says ----

static void follow_redirect(struct manager_link *l, uint64_t request_id, const char *leader)
{
	// The request that was redirected was not carried out and may be sent again; of others that is not known.
	for (struct pending *p = l->pending; p != NULL; p = p->next)
		if (p->id == request_id)
			p->was_sent = false;
	memset(l->redirect, 0, sizeof l->redirect);
	if (l->n_redirects < REDIRECTS_MAX && strcmp(leader, l->target) != 0)
		(void)text_copy(l->redirect, sizeof l->redirect, leader);
	conn_close(l->conn);
}

static void resubscribe_from_scratch(struct manager_link *l)
{
	l->config.subscribe.have_version = 0;
	l->config.subscribe.have_lease_version = 0;
	l->config.subscribe.cluster_id = 0;
	conn_close(l->conn);
}

static void note_cluster(struct manager_link *l, const struct change_list *changes)
{
	for (uint32_t i = 0; i < changes->n; i++)
		if (changes->items[i].key.kind == OBJECT_CLUSTER && !changes->items[i].is_delete)
			l->config.subscribe.cluster_id = changes->items[i].cluster.cluster_id;
}

static void finish_update(struct manager_link *l)
{
	struct update *u = &l->update;
	bool is_snapshot = update_is_snapshot(u);
	if (!is_snapshot && u->from_version != l->config.subscribe.have_version) {
		log_warn("update-refused", "manager=%s from=%llu have=%llu", l->target, (unsigned long long)u->from_version,
		         (unsigned long long)l->config.subscribe.have_version);
		drop_update(l);
		resubscribe_from_scratch(l);
		return;
	}
	note_cluster(l, &u->changes);
	uint64_t version = u->to_version;
	uint64_t lease_version = u->lease_version;
	bool is_news = is_snapshot || version != l->config.subscribe.have_version || u->replaces_leases || u->leases.n > 0;
	int code = is_news ? l->config.handler.on_update(u, l->config.user) : 0;
	drop_update(l);
	if (code != 0) {
		log_warn("update-failed", "manager=%s version=%llu error=%s", l->target, (unsigned long long)version,
		         error_code_name((enum error_code)code));
		resubscribe_from_scratch(l);
		return;
	}
	l->config.subscribe.have_version = version;
	l->config.subscribe.have_lease_version = lease_version;
	note_leader(l);
	conn_set_liveness(l->conn, CONN_SUBSCRIBER_PING_MS, CONN_SUBSCRIBER_DEAD_MS);
	set_up(l, true, NULL);
	struct message ack = { .type = MESSAGE_ACK, .ack = { .version = version, .lease_version = lease_version } };
	(void)conn_send(l->conn, &ack);
	send_pending(l);
}

// Adds what a further part holds to what is there.
static int collect_part(struct update *u, struct update *part)
{
	for (uint32_t i = 0; i < part->changes.n; i++)
		if (change_list_append(&u->changes, &part->changes.items[i]) != 0)
			return ERR_NO_MEMORY;
	for (uint32_t i = 0; i < part->leases.n; i++)
		if (lease_list_append(&u->leases, &part->leases.items[i]) != 0)
			return ERR_NO_MEMORY;
	return 0;
}

static void on_update_part(struct manager_link *l, struct update *part)
{
	if (!l->has_update) {
		l->update = *part;
		memset(&part->changes, 0, sizeof part->changes);
		memset(&part->leases, 0, sizeof part->leases);
		l->has_update = true;
	} else if (part->from_version != l->update.from_version || part->to_version != l->update.to_version ||
	           part->lease_version != l->update.lease_version || collect_part(&l->update, part) != 0) {
		drop_update(l);
		resubscribe_from_scratch(l);
		return;
	}
	if (!part->more)
		finish_update(l);
}

static void send_status(struct manager_link *l, uint64_t request_id)
{
	struct message reply = { .type = MESSAGE_STATUS_REPLY, .request_id = request_id };
	reply.status.role = l->config.subscribe.role;
	(void)text_copy(reply.status.name, sizeof reply.status.name, l->config.subscribe.node.name);
	(void)text_copy(reply.status.program_version, sizeof reply.status.program_version,
	                l->config.subscribe.program_version);
	if (l->config.handler.on_status_request != NULL)
		l->config.handler.on_status_request(&reply.status, l->config.user);
	(void)conn_send(l->conn, &reply);
	message_fini(&reply);
}

static void on_message(struct conn *c, struct message *m, void *user)
{
	struct manager_link *l = user;
	if (l == NULL || l->conn != c)
		return;
	l->n_unanswered = 0;
	if (m->type == MESSAGE_REDIRECT) {
		follow_redirect(l, m->request_id, m->leader);
	} else if (m->type == MESSAGE_STATUS_REQUEST) {
		send_status(l, m->request_id);
	} else if (m->request_id != 0) {
		on_reply(l, m);
	} else if (m->type == MESSAGE_UPDATE && l->config.subscribes) {
		on_update_part(l, &m->update);
	} else if (m->type == MESSAGE_FENCE || m->type == MESSAGE_SNAT_REPLY) {
		if (l->config.handler.on_notice != NULL)
			l->config.handler.on_notice(m, l->config.user);
	} else if (m->type == MESSAGE_ERROR) {
		log_warn("manager-refuses", "manager=%s code=%s text=\"%s\"", l->target, error_code_name(m->error.code),
		         m->error.text);
		conn_close(c);
	}
}

static void on_open(struct conn *c, void *user)
{
	struct manager_link *l = user;
	if (l == NULL || l->conn != c)
		return;
	l->state = LINK_OPEN;
	if (l->config.subscribes) {
		conn_set_liveness(c, CONN_SUBSCRIBER_PING_MS, CONN_DEAD_MS); // the leader may have many at a time to begin with
		(void)conn_send(c, &(struct message){ .type = MESSAGE_SUBSCRIBE, .subscribe = l->config.subscribe });
		return; // requests wait for the first update: it shows that this one leads
	}
	send_pending(l);
	set_up(l, true, NULL);
}

static void on_close(struct conn *c, const struct error *reason, void *user)
{
	struct manager_link *l = user;
	if (l == NULL || l->conn != c)
		return;
	l->conn = NULL;
	l->state = LINK_WAITING;
	drop_update(l);
	requeue_pending(l);
	if (reason->code == ERR_TIMEOUT)
		memcpy(l->silent, l->target, sizeof l->silent);
	set_up(l, false, reason);
	if (l->redirect[0] != '\0') {
		l->n_redirects++;
		try_next(l);
		return;
	}
	l->n_redirects = 0;
	wait_and_retry(l);
}

static const struct conn_handler link_handler = { .on_open = on_open, .on_message = on_message, .on_close = on_close };

static void pass_over_silent(struct manager_link *l)
{
	if (strcmp(l->managers[l->next_manager], l->silent) == 0)
		l->next_manager = (l->next_manager + 1) % l->config.n_managers;
	memset(l->silent, 0, sizeof l->silent);
}

static void try_next(struct manager_link *l)
{
	if (l->redirect[0] != '\0') {
		memcpy(l->target, l->redirect, sizeof l->target);
		memset(l->redirect, 0, sizeof l->redirect);
	} else {
		pass_over_silent(l);
		memcpy(l->target, l->managers[l->next_manager], sizeof l->target);
		l->next_manager = (l->next_manager + 1) % l->config.n_managers;
	}
	struct error err = { 0 };
	l->state = LINK_CONNECTING;
	if (conn_connect(l->loop, l->target, &link_handler, l, &l->conn, &err) != 0) {
		l->conn = NULL;
		log_warn("manager-address", "manager=%s text=\"%s\"", l->target, err.text);
		wait_and_retry(l);
	}
}

// ---- life ----

int manager_link_create(uv_loop_t *loop, const struct manager_link_config *config, struct manager_link **ret_link,
                        struct error *err)
{
	if (config->n_managers == 0 || config->n_managers > REPLICAS_MAX)
		return error_set(err, ERR_INVALID, "1 to %d managers must be given", REPLICAS_MAX);
	struct manager_link *l = memory_array(1, sizeof *l);
	if (l == NULL)
		return error_set(err, ERR_NO_MEMORY, "out of memory");
	l->loop = loop;
	l->config = *config;
	l->config.managers = NULL;
	l->backoff_ms = BACKOFF_MIN_MS;
	for (uint32_t i = 0; i < config->n_managers; i++) {
		struct ip_addr addr;
		uint16_t port;
		if (ip_endpoint_parse(config->managers[i], &addr, &port, err) != 0 ||
		    !text_copy(l->managers[i], sizeof l->managers[i], config->managers[i])) {
			memory_free(l);
			return ERR_INVALID;
		}
	}
	uv_timer_init(loop, &l->retry);
	uv_timer_init(loop, &l->deadlines);
	l->retry.data = l->deadlines.data = l;
	l->n_open_handles = 2;
	try_next(l);
	*ret_link = l;
	return 0;
}

static void on_timer_closed(uv_handle_t *handle)
{
	struct manager_link *l = handle->data;
	if (--l->n_open_handles == 0)
		memory_free(l);
}

void manager_link_destroy(struct manager_link *link)
{
	if (link == NULL)
		return;
	while (link->pending != NULL)
		fail_pending(take_pending(link, link->pending->id), ERR_UNAVAILABLE, "the program is stopping");
	if (link->conn != NULL) {
		conn_set_user(link->conn, NULL);
		conn_close(link->conn);
	}
	drop_update(link);
	uv_close((uv_handle_t *)&link->retry, on_timer_closed);
	uv_close((uv_handle_t *)&link->deadlines, on_timer_closed);
}

bool manager_link_is_up(const struct manager_link *link)
{
	return link->is_up;
}
