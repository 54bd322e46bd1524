#include "manager/io/server.h"

#include <string.h>

#include "common/base/check.h"
#include "common/base/memory.h"
#include "common/io/log.h"
#include "manager/io/server_parts.h"

// ---- what the parts use ----

bool server_is_serving(const struct server *s)
{
	return !s->is_stopping && s->machine.state.store.has_cluster && replica_leads(s->replica);
}

const char *server_leader_api(const struct server *s)
{
	uint64_t id = s->is_stopping ? 0 : replica_leader_id(s->replica);
	const struct replica_info *leader = id != s->config.id ? manager_config_lookup(&s->config, id) : NULL;
	return leader != NULL ? leader->api : "";
}

void server_send_redirect(struct peer *p, uint64_t request_id)
{
	struct message m = { .type = MESSAGE_REDIRECT, .request_id = request_id };
	(void)text_copy(m.leader, sizeof m.leader, server_leader_api(p->server));
	(void)conn_send(p->conn, &m);
}

void server_send_error(struct peer *p, uint64_t request_id, const struct error *err)
{
	(void)conn_send_error(p->conn, request_id, err);
}

void server_close_peer(struct peer *p, const struct error *why)
{
	if (p->state == PEER_CLOSING)
		return;
	if (why != NULL)
		server_send_error(p, 0, why);
	subscriptions_forget_peer(p, why != NULL ? why->text : "the leader closed its connection");
	p->state = PEER_CLOSING;
	conn_close(p->conn);
}

void server_release(struct server *s)
{
	if (--s->n_open > 0)
		return;
	roster_fini(&s->roster);
	snat_service_fini(s);
	health_service_fini(s);
	event_service_fini(s);
	machine_fini(&s->machine);
	memory_free(s);
}

// ---- requests ----

static void refuse_unexpected(struct peer *p, const struct message *m)
{
	struct error err = { 0 };
	error_set(&err, ERR_INVALID, "a manager does not expect messages of kind %d", (int)m->type);
	server_send_error(p, m->request_id, &err);
	server_close_peer(p, NULL);
}

static bool needs_leader(enum message_type type)
{
	return type == MESSAGE_COMMAND_REQUEST || type == MESSAGE_STATE_REQUEST || type == MESSAGE_NODES_REQUEST ||
	       type == MESSAGE_LEASES_REQUEST || type == MESSAGE_SNAT_ASK || type == MESSAGE_HEALTH ||
	       type == MESSAGE_EVENTS_REQUEST || type == MESSAGE_VERSIONS_REQUEST || type == MESSAGE_WAIT_REQUEST ||
	       type == MESSAGE_ROLLBACK_REQUEST;
}

// Asked for by nodes_query.c, or by mux_news.c, or told unasked.
static void on_status(struct peer *p, struct message *m)
{
	if (p->state == PEER_SUBSCRIBED && p->subscribe.role == ROLE_MUX)
		mux_news_on_status(p, &m->status);
	nodes_query_on_status(p, m->request_id, &m->status);
}

static void on_message(struct conn *c, struct message *m, void *user)
{
	struct peer *p = user;
	if (p == NULL || p->state == PEER_CLOSING)
		return;
	if (needs_leader(m->type) && !server_is_serving(p->server)) {
		server_send_redirect(p, m->request_id);
		return;
	}
	switch (m->type) {
	case MESSAGE_SUBSCRIBE: subscriptions_on_request(p, &m->subscribe); return;
	case MESSAGE_ACK: subscriptions_on_ack(p, m->ack.version, m->ack.lease_version); return;
	case MESSAGE_STATUS_REPLY: on_status(p, m); return;
	case MESSAGE_COMMAND_REQUEST: commands_on_request(p, m->request_id, &m->changes, &m->ops, &m->terms); return;
	case MESSAGE_STATE_REQUEST: replies_send_state(p, m->request_id); return;
	case MESSAGE_NODES_REQUEST:
		nodes_query_begin(p, m->request_id, m->nodes_request.role, m->nodes_request.name);
		return;
	case MESSAGE_LEASES_REQUEST:
		leases_query_answer(p, m->request_id, &m->leases_request.vip, m->leases_request.port, m->leases_request.at_ms);
		return;
	case MESSAGE_SNAT_ASK:
		if (p->state != PEER_SUBSCRIBED || p->subscribe.role != ROLE_AGENT)
			break;
		snat_service_on_ask(p, &m->ops);
		return;
	case MESSAGE_HEALTH:
		if (p->state != PEER_SUBSCRIBED || p->subscribe.role != ROLE_AGENT)
			break;
		health_service_on_report(p, &m->health);
		return;
	case MESSAGE_EVENTS_REQUEST: replies_send_events(p, m->request_id, m->after_seq); return;
	case MESSAGE_VERSIONS_REQUEST:
		versions_query_answer(p, m->request_id, &m->versions_request.vip, m->versions_request.version);
		return;
	case MESSAGE_ROLLBACK_REQUEST: versions_query_roll_back(p, m->request_id, m); return;
	case MESSAGE_WAIT_REQUEST:
		wait_service_on_request(p, m->request_id, m->wait_request.version, m->wait_request.timeout_ms);
		return;
	case MESSAGE_CLUSTER_REQUEST: replies_send_cluster(p, m->request_id); return;
	case MESSAGE_PING:
	case MESSAGE_ERROR: return;
	case MESSAGE_REDIRECT:
	case MESSAGE_UPDATE:
	case MESSAGE_STATUS_REQUEST:
	case MESSAGE_COMMAND_REPLY:
	case MESSAGE_NODES_REPLY:
	case MESSAGE_CLUSTER_REPLY:
	case MESSAGE_FENCE:
	case MESSAGE_SNAT_REPLY:
	case MESSAGE_LEASES_REPLY:
	case MESSAGE_EVENTS_REPLY:
	case MESSAGE_VERSIONS_REPLY:
	case MESSAGE_WAIT_REPLY: break;
	}
	refuse_unexpected(p, m);
}

// ---- connections ----

static void on_close(struct conn *c, const struct error *reason, void *user)
{
	struct peer *p = user;
	if (p == NULL) // there was no memory to serve it
		return;
	struct server *s = p->server;
	if (p->state == PEER_SUBSCRIBED)
		log_info("unsubscribed", "name=%s peer=%s reason=\"%s\"", p->subscribe.node.name, conn_peer(c), reason->text);
	p->silent_ms = reason->code == ERR_TIMEOUT ? conn_silent_ms(c) : 0;
	subscriptions_forget_peer(p, reason->text);
	commands_forget_peer(p);
	wait_service_forget_peer(p);
	nodes_query_forget_peer(p);
	if (p->previous != NULL)
		p->previous->next = p->next;
	else
		s->peers = p->next;
	if (p->next != NULL)
		p->next->previous = p->previous;
	memory_free(p);
	server_release(s);
}

static void on_accept(struct conn *c, void *user)
{
	struct server *s = user;
	struct peer *p = memory_array(1, sizeof *p);
	if (p == NULL) {
		conn_close(c);
		return;
	}
	p->server = s;
	p->conn = c;
	p->next = s->peers;
	if (p->next != NULL)
		p->next->previous = p;
	s->peers = p;
	s->n_open++;
	conn_set_user(c, p);
}

static const struct conn_handler peer_handler = { .on_message = on_message, .on_close = on_close };

// ---- what Raft says ----

static const char *kind_name(enum object_kind kind)
{
	switch (kind) {
	case OBJECT_CLUSTER: return "cluster";
	case OBJECT_VIP: return "vip";
	case OBJECT_MUX: return "mux";
	case OBJECT_HOST: return "host";
	case OBJECT_DIP: return "dip";
	case OBJECT_SETTINGS: return "settings";
	case OBJECT_HISTORY: return "history";
	case OBJECT_DRAIN: return "drain";
	case OBJECT_UNHEALTHY: return "unhealthy";
	case OBJECT_HOST_GONE: return "host-gone";
	case OBJECT_MUX_DRAIN: return "mux-drain";
	}
	return "object";
}

#define LOGGED_CHANGES_MAX 100 // of one command

static void log_applied(const struct change_list *changes, uint64_t version)
{
	uint32_t n = changes->n < LOGGED_CHANGES_MAX ? changes->n : LOGGED_CHANGES_MAX;
	if (n < changes->n)
		log_info("applied", "version=%llu changes=%u logged=%u", (unsigned long long)version, changes->n, n);
	for (uint32_t i = 0; i < n; i++) {
		const struct change *c = &changes->items[i];
		char text[IP_ADDR_TEXT_BYTES] = "";
		bool has_addr = c->key.kind == OBJECT_VIP || c->key.kind == OBJECT_DIP || c->key.kind == OBJECT_DRAIN;
		log_info("applied", "version=%llu change=%s object=%s key=%s", (unsigned long long)version,
		         c->is_delete ? "delete" : "put", kind_name(c->key.kind),
		         has_addr ? ip_addr_format(&c->key.addr, text) : c->key.name);
	}
}

static void note_changes(struct server *s, const struct change_list *changes)
{
	for (uint32_t i = 0; i < changes->n; i++) {
		const struct change *c = &changes->items[i];
		if (c->key.kind == OBJECT_SETTINGS)
			subscriptions_on_settings(s);
		else if (c->key.kind == OBJECT_MUX && c->is_delete)
			mux_news_forget(s, c->key.name);
	}
}

static void on_applied(const struct change_list *changes, const struct apply_result *result, void *user)
{
	struct server *s = user;
	s->has_news = true;
	s->has_changes = s->has_changes || result->is_changed;
	if (s->replica == NULL || !replica_leads(s->replica)) // what is read from the disk at start
		return;
	if (result->is_changed)
		log_applied(changes, result->version);
	snat_service_on_applied(s, changes, result);
	health_service_on_applied(s, changes);
	note_changes(s, changes);
}

static void on_restored(void *user)
{
	struct server *s = user;
	s->has_news = s->has_changes = true;
}

static void on_cluster_made(const struct error *err, uint64_t version, void *user)
{
	if (err->code != 0)
		log_warn("cluster-not-made", "text=\"%s\"", err->text); // the next leader tries again
}

// The first leader gives the cluster its identity; and, to one from before there were pins, their key.
static void make_cluster(struct server *s)
{
	const struct store *store = &s->machine.state.store;
	struct change put = { .key.kind = OBJECT_CLUSTER };
	struct state_command command = { .changes = { .n = 1, .capacity = 1, .items = &put } };
	struct error err = { 0 };
	CHECK(uv_random(NULL, NULL, &put.cluster, sizeof put.cluster, 0, NULL) == 0);
	put.cluster.cluster_id |= 1; // never 0
	if (store->has_cluster) {
		put.cluster.cluster_id = store->cluster.cluster_id;
		put.cluster.hash_seed = store->cluster.hash_seed;
	}
	if (server_propose(s, &command, on_cluster_made, s, &err) != 0)
		on_cluster_made(&err, 0, s);
}

static void on_leadership(bool leads, void *user)
{
	struct server *s = ((struct machine *)user)->user;
	if (leads) {
		log_info("became-leader", "replica=%llu term=%llu version=%llu", (unsigned long long)s->config.id,
		         (unsigned long long)replica_term(s->replica), (unsigned long long)s->machine.state.store.version);
		if (!cluster_info_has_pin_key(&s->machine.state.store.cluster)) // or there is no cluster yet
			make_cluster(s);
		snat_service_begin(s);
		health_service_begin(s);
		event_service_begin(s);
		mux_news_begin(s);
		return;
	}
	log_warn("lost-leadership", "replica=%llu", (unsigned long long)s->config.id);
	nodes_query_end_all(s);
	subscriptions_end_all(s);
	wait_service_end(s);
	snat_service_end(s);
	health_service_end(s);
	event_service_end(s);
}

static void on_pump(uv_prepare_t *pump)
{
	struct server *s = pump->data;
	if (!s->has_news)
		return;
	s->has_news = false;
	if (!server_is_serving(s))
		return;
	if (s->has_changes)
		subscriptions_pump(s);
	else
		subscriptions_pump_muxes(s);
	s->has_changes = false;
	snat_service_step(s);
	health_service_step(s);
	event_service_step(s);
	wait_service_step(s);
}

// ---- life ----

static void on_replica_stopped(void *user)
{
	server_release(user);
}

static void on_pump_closed(uv_handle_t *handle)
{
	server_release(handle->data);
}

void server_stop(struct server *s)
{
	replica_stop(s->replica, on_replica_stopped, s);
	s->is_stopping = true;
	nodes_query_end_all(s);
	for (struct peer *p = s->peers; p != NULL; p = p->next) {
		if (p->state != PEER_CLOSING)
			server_send_redirect(p, 0);
		server_close_peer(p, NULL);
	}
	conn_listener_destroy(s->listener);
	snat_service_stop(s);
	health_service_stop(s);
	event_service_stop(s);
	wait_service_stop(s);
	uv_close((uv_handle_t *)&s->pump, on_pump_closed);
}

static int start_replica(struct server *s, struct error *err)
{
	struct replica_config config = {
		.id = s->config.id,
		.data_dir = s->config.data_dir,
		.n_members = s->config.n_replicas,
		.heartbeat_ms = s->config.heartbeat_ms,
		.election_ms = s->config.election_ms,
		.machine = machine_callbacks(&s->machine),
	};
	config.machine.on_leadership = on_leadership;
	for (uint32_t i = 0; i < s->config.n_replicas; i++)
		config.members[i] =
			(struct replica_member){ .id = s->config.replicas[i].id, .address = s->config.replicas[i].raft };
	return replica_create(s->loop, &config, &s->replica, err);
}

static int listen_on_api(struct server *s, struct error *err)
{
	struct conn_listener_config config = {
		.address = manager_config_lookup(&s->config, s->config.id)->api,
		.max_conns = SERVER_CONNS_MAX,
		.handler = &peer_handler,
		.on_accept = on_accept,
		.user = s,
	};
	return conn_listener_create(s->loop, &config, &s->listener, err);
}

int server_create(uv_loop_t *loop, const struct manager_config *config, struct server **ret_server, struct error *err)
{
	struct server *s = memory_array(1, sizeof *s);
	if (s == NULL || machine_init(&s->machine) != 0) {
		memory_free(s);
		return error_set(err, ERR_NO_MEMORY, "memory is short");
	}
	if (snat_service_init(s) != 0) {
		machine_fini(&s->machine);
		memory_free(s);
		return error_set(err, ERR_NO_MEMORY, "memory is short");
	}
	health_service_init(s);
	s->loop = loop;
	s->config = *config;
	s->next_request_id = 1;
	s->machine.on_applied = on_applied;
	s->machine.on_restored = on_restored;
	s->machine.user = s;
	int code = start_replica(s, err);
	if (code != 0) {
		snat_service_fini(s);
		machine_fini(&s->machine);
		memory_free(s);
		return code;
	}
	uv_prepare_init(loop, &s->pump);
	s->pump.data = s;
	uv_prepare_start(&s->pump, on_pump);
	s->n_open = 2; // the replica and the pump
	snat_service_start(s);
	health_service_start(s);
	event_service_start(s);
	wait_service_start(s);
	code = listen_on_api(s, err);
	if (code != 0) {
		server_stop(s);
		return code;
	}
	*ret_server = s;
	return 0;
}
