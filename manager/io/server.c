#include "manager/io/server.h"

#include <string.h>

#include "common/base/check.h"
#include "common/base/memory.h"
#include "common/io/log.h"
#include "common/wire/changes.h"
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

#define PART_MAX_BYTES (MESSAGE_MAX_BYTES - 256) // what is left for changes and leases beside the envelope

// The next part of what `whole` still holds, taken from its front: at least one change or lease, if there are any.
static struct update take_part(struct update *whole)
{
	struct update part = *whole;
	size_t n_bytes = 0;
	uint32_t n = 0;
	while (n < whole->changes.n) {
		n_bytes += change_encoded_bytes(&whole->changes.items[n]);
		if (n > 0 && n_bytes > PART_MAX_BYTES)
			break;
		n++;
	}
	part.changes.n = n;
	whole->changes.items += n;
	whole->changes.n -= n;
	size_t room = n_bytes < PART_MAX_BYTES ? (PART_MAX_BYTES - n_bytes) / LEASE_ENCODED_BYTES : 0;
	if (part.leases.n > room)
		part.leases.n = (uint32_t)room;
	whole->leases.items += part.leases.n;
	whole->leases.n -= part.leases.n;
	part.more = whole->changes.n + whole->leases.n > 0;
	return part;
}

void server_send_update(struct peer *p, uint64_t request_id, const struct update *update)
{
	struct update rest = *update;
	bool has_more;
	int code;
	do {
		struct message m = { .type = MESSAGE_UPDATE,
			                 .request_id = request_id,
			                 .term = replica_term(p->server->replica) };
		m.update = take_part(&rest);
		has_more = m.update.more;
		code = conn_send(p->conn, &m);
	} while (code == 0 && has_more);
	if (code != 0 && code != ERR_UNAVAILABLE) {
		log_error("update-not-sent", "peer=%s version=%llu error=%s", conn_peer(p->conn),
		          (unsigned long long)update->to_version, error_code_name((enum error_code)code));
		server_close_peer(p, NULL);
	}
}

void server_close_peer(struct peer *p, const struct error *why)
{
	if (p->state == PEER_CLOSING)
		return;
	if (why != NULL)
		server_send_error(p, 0, why);
	subscriptions_forget_peer(p);
	p->state = PEER_CLOSING;
	conn_close(p->conn);
}

void server_release(struct server *s)
{
	if (--s->n_open > 0)
		return;
	roster_fini(&s->roster);
	snat_service_fini(s);
	machine_fini(&s->machine);
	memory_free(s);
}

// ---- requests ----

static void send_state(struct peer *p, uint64_t request_id)
{
	const struct cluster_state *state = &p->server->machine.state;
	struct update u = { .to_version = state->store.version };
	struct error err = { 0 };
	if (store_get_all(&state->store, &u.changes) != 0) {
		error_set(&err, ERR_NO_MEMORY, "memory is short");
		server_send_error(p, request_id, &err);
		return;
	}
	server_send_update(p, request_id, &u);
	change_list_fini(&u.changes);
}

static void put_counters(const struct server *s, struct cluster_reply *c)
{
	snat_stats_fill(&s->snat.stats, server_now(), c->counters, &c->n_counters);
	snat_stats_put(c->counters, &c->n_counters, "snat_waiting", snat_queue_n_waiting(s->snat.queue));
	snat_stats_put(c->counters, &c->n_counters, "muxes_fenced", mux_watch_n(&s->snat.muxes, MUX_FENCED));
	snat_stats_put(c->counters, &c->n_counters, "lease_version", s->machine.state.snat.version);
	snat_stats_put(c->counters, &c->n_counters, "lease_floor", s->snat.muxes.floor);
}

static void send_cluster(struct peer *p, uint64_t request_id)
{
	const struct server *s = p->server;
	struct message m = { .type = MESSAGE_CLUSTER_REPLY, .request_id = request_id };
	struct cluster_reply *c = &m.cluster;
	c->id = s->config.id;
	c->is_leader = replica_leads(s->replica);
	c->leader_id = replica_leader_id(s->replica);
	c->term = replica_term(s->replica);
	c->applied_index = replica_applied_index(s->replica);
	c->version = s->machine.state.store.version;
	c->cluster_id = s->machine.state.store.cluster.cluster_id;
	c->n_subscribers = s->roster.n;
	c->n_replicas = s->config.n_replicas;
	memcpy(c->replicas, s->config.replicas, sizeof c->replicas);
	(void)text_copy(c->program_version, sizeof c->program_version, ANANTA_VERSION);
	put_counters(s, c);
	(void)conn_send(p->conn, &m);
}

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
	       type == MESSAGE_LEASES_REQUEST || type == MESSAGE_SNAT_ASK;
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
	case MESSAGE_STATUS_REPLY: nodes_query_on_status(p, m->request_id, &m->status); return;
	case MESSAGE_COMMAND_REQUEST: commands_on_request(p, m->request_id, &m->changes, &m->ops); return;
	case MESSAGE_STATE_REQUEST: send_state(p, m->request_id); return;
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
	case MESSAGE_CLUSTER_REQUEST: send_cluster(p, m->request_id); return;
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
	case MESSAGE_HEALTH:
	case MESSAGE_EVENTS_REQUEST:
	case MESSAGE_EVENTS_REPLY: break;
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
	subscriptions_forget_peer(p);
	commands_forget_peer(p);
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

static void log_applied(const struct change_list *changes, uint64_t version)
{
	for (uint32_t i = 0; i < changes->n; i++) {
		const struct change *c = &changes->items[i];
		char text[IP_ADDR_TEXT_BYTES] = "";
		bool has_addr = c->key.kind == OBJECT_VIP || c->key.kind == OBJECT_DIP || c->key.kind == OBJECT_DRAIN;
		log_info("applied", "version=%llu change=%s object=%s key=%s", (unsigned long long)version,
		         c->is_delete ? "delete" : "put", kind_name(c->key.kind),
		         has_addr ? ip_addr_format(&c->key.addr, text) : c->key.name);
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
	struct change_list changes = { .n = 1, .capacity = 1, .items = &put };
	struct error err = { 0 };
	CHECK(uv_random(NULL, NULL, &put.cluster, sizeof put.cluster, 0, NULL) == 0);
	put.cluster.cluster_id |= 1; // never 0
	if (store->has_cluster) {
		put.cluster.cluster_id = store->cluster.cluster_id;
		put.cluster.hash_seed = store->cluster.hash_seed;
	}
	if (server_propose(s, &changes, NULL, on_cluster_made, s, &err) != 0)
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
		return;
	}
	log_warn("lost-leadership", "replica=%llu", (unsigned long long)s->config.id);
	nodes_query_end_all(s);
	subscriptions_end_all(s);
	snat_service_end(s);
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
	code = listen_on_api(s, err);
	if (code != 0) {
		server_stop(s);
		return code;
	}
	*ret_server = s;
	return 0;
}
