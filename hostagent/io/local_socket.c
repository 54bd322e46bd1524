#include "hostagent/io/local_socket.h"

#include <string.h>
#include <sys/stat.h>

#include "common/base/memory.h"
#include "common/io/log.h"
#include "hostagent/core/config.h"

#define TICK_MS 50

// A command under way: asked of the leader, then waiting until this agent's store shows it.
struct request {
	struct local_socket *socket; // NULL: unused
	struct conn *conn; // NULL: the asker has gone
	uint64_t id;
	struct change_list changes;
	bool is_decided; // the leader has answered
	uint64_t version;
	uint64_t deadline_ms;
};

struct local_socket {
	uv_loop_t *loop;
	struct local_socket_config config;
	struct conn_listener *listener;
	uv_timer_t tick; // runs while a decided request waits
	struct conn *conns[LOCAL_CONNS_MAX];
	struct request requests[LOCAL_REQUESTS_MAX];
};

// ---- What may be asked ----

static int check_put(struct dip_info *dip, const char *host, struct error *err)
{
	if (dip->host[0] == '\0')
		(void)text_copy(dip->host, sizeof dip->host, host);
	if (strcmp(dip->host, host) != 0)
		return error_set(err, ERR_INVALID, "host: this agent is %s, it cannot attach for %s", host, dip->host);
	if (strlen(dip->interface) >= INTERFACE_BYTES)
		return error_set(err, ERR_INVALID, "interface: at most %d characters, got \"%s\"", INTERFACE_BYTES - 1,
		                 dip->interface);
	return 0;
}

static int check_delete(const struct ip_addr *dip, const char *host, const struct store *store, struct error *err)
{
	char text[IP_ADDR_TEXT_BYTES];
	const struct dip_info *info = store_lookup_dip(store, dip);
	if (info == NULL || strcmp(info->host, host) != 0)
		return error_set(err, ERR_NOT_FOUND, "dip: %s is not attached to %s", ip_addr_format(dip, text), host);
	return 0;
}

int local_command_check(struct change_list *changes, const char *host, const struct store *store, struct error *err)
{
	if (changes->n == 0)
		return error_set(err, ERR_INVALID, "the command holds no change");
	for (uint32_t i = 0; i < changes->n; i++) {
		struct change *c = &changes->items[i];
		if (c->key.kind != OBJECT_DIP)
			return error_set(err, ERR_INVALID, "an agent's socket takes only DIPs; ask a manager for the rest");
		int code = c->is_delete ? check_delete(&c->key.addr, host, store, err) : check_put(&c->dip, host, err);
		if (code != 0)
			return code;
	}
	return 0;
}

// ---- Requests ----

static struct request *take_request(struct local_socket *s)
{
	for (uint32_t i = 0; i < LOCAL_REQUESTS_MAX; i++)
		if (s->requests[i].socket == NULL)
			return &s->requests[i];
	return NULL;
}

static void request_fini(struct request *r)
{
	change_list_fini(&r->changes);
	memset(r, 0, sizeof *r);
}

static void reply_version(struct request *r)
{
	if (r->conn != NULL)
		(void)conn_send(r->conn,
		                &(struct message){ .type = MESSAGE_COMMAND_REPLY, .request_id = r->id, .version = r->version });
	request_fini(r);
}

static void reply_error(struct request *r, const struct error *err)
{
	if (r->conn != NULL)
		(void)conn_send_error(r->conn, r->id, err);
	request_fini(r);
}

static bool store_shows(const struct store *store, const struct change_list *changes)
{
	for (uint32_t i = 0; i < changes->n; i++) {
		const struct change *c = &changes->items[i];
		const struct dip_info *info = store_lookup_dip(store, &c->key.addr);
		if (c->is_delete ? info != NULL : info == NULL || !dip_info_equal(info, &c->dip))
			return false;
	}
	return true;
}

// Answers what is shown by the store, or has waited for long enough; says whether any is left.
static bool answer_decided(struct local_socket *s)
{
	bool is_any_left = false;
	for (uint32_t i = 0; i < LOCAL_REQUESTS_MAX; i++) {
		struct request *r = &s->requests[i];
		if (r->socket == NULL || !r->is_decided)
			continue;
		if (store_shows(s->config.store, &r->changes) || uv_now(s->loop) >= r->deadline_ms)
			reply_version(r);
		else
			is_any_left = true;
	}
	return is_any_left;
}

static void on_tick(uv_timer_t *timer)
{
	if (!answer_decided(timer->data))
		uv_timer_stop(timer);
}

void local_socket_on_version(struct local_socket *s)
{
	(void)answer_decided(s);
}

static void on_leader_reply(struct message *reply, const struct error *err, void *user)
{
	struct request *r = user;
	struct local_socket *s = r->socket;
	if (reply == NULL) {
		reply_error(r, err);
		return;
	}
	r->is_decided = true;
	r->version = reply->type == MESSAGE_COMMAND_REPLY ? reply->version : 0;
	r->deadline_ms = uv_now(s->loop) + LOCAL_APPLY_MS;
	if (answer_decided(s))
		uv_timer_start(&s->tick, on_tick, TICK_MS, TICK_MS);
}

static void on_command(struct local_socket *s, struct conn *c, struct message *m)
{
	struct error err = { 0 };
	if (local_command_check(&m->changes, s->config.host, s->config.store, &err) != 0) {
		(void)conn_send_error(c, m->request_id, &err);
		return;
	}
	struct request *r = take_request(s);
	if (r == NULL) {
		error_set(&err, ERR_LIMIT, "%d commands are under way already; try again", LOCAL_REQUESTS_MAX);
		(void)conn_send_error(c, m->request_id, &err);
		return;
	}
	*r = (struct request){ .socket = s, .conn = c, .id = m->request_id };
	int code = manager_link_request(s->config.link, m, LOCAL_COMMAND_MS, on_leader_reply, r);
	r->changes = m->changes;
	memset(&m->changes, 0, sizeof m->changes);
	if (code == 0)
		return;
	error_set(&err, (enum error_code)code, "the command cannot be passed on: %s",
	          error_code_name((enum error_code)code));
	reply_error(r, &err);
}

// ---- Connections ----

static void send_status(struct local_socket *s, struct conn *c, uint64_t request_id)
{
	struct message reply = { .type = MESSAGE_STATUS_REPLY, .request_id = request_id };
	s->config.on_status_request(&reply.status, s->config.user);
	(void)conn_send(c, &reply);
	message_fini(&reply);
}

static void on_message(struct conn *c, struct message *m, void *user)
{
	struct local_socket *s = user;
	if (s == NULL)
		return;
	if (m->type == MESSAGE_COMMAND_REQUEST) {
		on_command(s, c, m);
	} else if (m->type == MESSAGE_STATUS_REQUEST) {
		send_status(s, c, m->request_id);
	} else {
		struct error err = { 0 };
		error_set(&err, ERR_INVALID, "an agent's socket answers status and DIP commands only");
		(void)conn_send_error(c, m->request_id, &err);
	}
}

static void on_close(struct conn *c, const struct error *reason, void *user)
{
	struct local_socket *s = user;
	if (s == NULL)
		return;
	for (uint32_t i = 0; i < LOCAL_CONNS_MAX; i++)
		if (s->conns[i] == c)
			s->conns[i] = NULL;
	for (uint32_t i = 0; i < LOCAL_REQUESTS_MAX; i++)
		if (s->requests[i].conn == c)
			s->requests[i].conn = NULL;
}

static const struct conn_handler handler = { .on_message = on_message, .on_close = on_close };

static void on_accept(struct conn *c, void *user)
{
	struct local_socket *s = user;
	for (uint32_t i = 0; i < LOCAL_CONNS_MAX; i++) {
		if (s->conns[i] != NULL)
			continue;
		s->conns[i] = c;
		conn_set_user(c, s);
		return;
	}
	conn_set_user(c, NULL); // the listener's limit makes this impossible, but for one that is just closing
	conn_close(c);
}

// ---- Life ----

static void on_timer_closed(uv_handle_t *handle)
{
	memory_free(handle->data);
}

int local_socket_create(uv_loop_t *loop, const struct local_socket_config *config, struct local_socket **ret_socket,
                        struct error *err)
{
	struct local_socket *s = memory_array(1, sizeof *s);
	if (s == NULL)
		return error_set(err, ERR_NO_MEMORY, "no memory for the local socket");
	s->loop = loop;
	s->config = *config;
	struct conn_listener_config listener = {
		.address = config->path, .max_conns = LOCAL_CONNS_MAX, .handler = &handler, .on_accept = on_accept, .user = s
	};
	int code = conn_listener_create(loop, &listener, &s->listener, err);
	if (code != 0) {
		memory_free(s);
		return error_prefix(err, "local_socket: ");
	}
	(void)chmod(config->path, 0600);
	uv_timer_init(loop, &s->tick);
	s->tick.data = s;
	*ret_socket = s;
	return 0;
}

void local_socket_destroy(struct local_socket *s)
{
	if (s == NULL)
		return;
	conn_listener_destroy(s->listener);
	for (uint32_t i = 0; i < LOCAL_REQUESTS_MAX; i++)
		request_fini(&s->requests[i]);
	for (uint32_t i = 0; i < LOCAL_CONNS_MAX; i++) {
		if (s->conns[i] == NULL)
			continue;
		conn_set_user(s->conns[i], NULL);
		conn_close(s->conns[i]);
	}
	uv_close((uv_handle_t *)&s->tick, on_timer_closed);
}
