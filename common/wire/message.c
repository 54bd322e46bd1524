#include "common/wire/message.h"

#include <string.h>

#include "common/base/memory.h"
#include "common/model/limits.h"
#include "common/wire/pb_event.h"
#include "common/wire/pb_lease.h"
#include "common/wire/pb_txn.h"

#define NODES_MAX 20000

void node_status_fini(struct node_status *status)
{
	memory_free(status->counters);
	memory_free(status->dips);
	memset(status, 0, sizeof *status);
}

void message_fini(struct message *m)
{
	switch (m->type) {
	case MESSAGE_UPDATE:
		change_list_fini(&m->update.changes);
		lease_list_fini(&m->update.leases);
		break;
	case MESSAGE_COMMAND_REQUEST:
	case MESSAGE_SNAT_ASK:
		change_list_fini(&m->changes);
		snat_op_list_fini(&m->ops);
		command_terms_fini(&m->terms);
		break;
	case MESSAGE_LEASES_REPLY:
		lease_list_fini(&m->leases.leases);
		memory_free(m->leases.pools);
		m->leases.pools = NULL;
		m->leases.n_pools = 0;
		break;
	case MESSAGE_STATUS_REPLY: node_status_fini(&m->status); break;
	case MESSAGE_HEALTH: health_report_fini(&m->health); break;
	case MESSAGE_EVENTS_REPLY: event_list_fini(&m->events); break;
	case MESSAGE_VERSIONS_REPLY: vip_version_list_fini(&m->versions); break;
	case MESSAGE_NODES_REPLY:
		for (uint32_t i = 0; m->nodes.items != NULL && i < m->nodes.n; i++)
			node_status_fini(&m->nodes.items[i]);
		memory_free(m->nodes.items);
		m->nodes.items = NULL;
		m->nodes.n = 0;
		break;
	case MESSAGE_PING:
	case MESSAGE_ERROR:
	case MESSAGE_REDIRECT:
	case MESSAGE_SUBSCRIBE:
	case MESSAGE_ACK:
	case MESSAGE_STATUS_REQUEST:
	case MESSAGE_COMMAND_REPLY:
	case MESSAGE_STATE_REQUEST:
	case MESSAGE_NODES_REQUEST:
	case MESSAGE_CLUSTER_REQUEST:
	case MESSAGE_CLUSTER_REPLY:
	case MESSAGE_FENCE:
	case MESSAGE_SNAT_REPLY:
	case MESSAGE_LEASES_REQUEST:
	case MESSAGE_EVENTS_REQUEST:
	case MESSAGE_VERSIONS_REQUEST:
	case MESSAGE_WAIT_REQUEST:
	case MESSAGE_WAIT_REPLY:
	case MESSAGE_ROLLBACK_REQUEST: break;
	}
}

static Ananta__Role pb_from_role(enum node_role role)
{
	switch (role) {
	case ROLE_MUX: return ANANTA__ROLE__ROLE_MUX;
	case ROLE_AGENT: return ANANTA__ROLE__ROLE_AGENT;
	case ROLE_NONE: break;
	}
	return ANANTA__ROLE__ROLE_UNSPECIFIED;
}

static enum node_role pb_to_role(int role)
{
	if (role == ANANTA__ROLE__ROLE_MUX)
		return ROLE_MUX;
	return role == ANANTA__ROLE__ROLE_AGENT ? ROLE_AGENT : ROLE_NONE;
}

// --- encoding: each makes its body in the arena and hangs it into the envelope; NULL bodies mean out of memory ---

#define NEW_PB(arena, type, name)                 \
	type *pb = arena_array(arena, 1, sizeof *pb); \
	if (pb == NULL)                               \
		return NULL;                              \
	ananta__##name##__init(pb)

static Ananta__Subscribe *encode_subscribe(struct arena *a, const struct subscribe *s)
{
	NEW_PB(a, Ananta__Subscribe, subscribe);
	pb->role = pb_from_role(s->role);
	pb->node = pb_from_node(a, &s->node);
	pb->cluster_id = s->cluster_id;
	pb->have_version = s->have_version;
	pb->have_lease_version = s->have_lease_version;
	pb->program_version = (char *)s->program_version;
	return pb->node == NULL ? NULL : pb;
}

static Ananta__Update *encode_update(struct arena *a, const struct update *u)
{
	NEW_PB(a, Ananta__Update, update);
	pb->from_version = u->from_version;
	pb->to_version = u->to_version;
	pb->more = u->more;
	pb->n_changes = u->changes.n;
	pb->changes = pb_from_changes(a, &u->changes);
	pb->lease_version = u->lease_version;
	pb->replaces_leases = u->replaces_leases;
	if (pb->changes == NULL || u->leases.n == 0)
		return pb->changes == NULL ? NULL : pb;
	pb->leases = pb_from_leases(a, &u->leases);
	return pb->leases == NULL ? NULL : pb;
}

static Ananta__SnatAsk *encode_snat_ask(struct arena *a, const struct snat_op_list *ops)
{
	NEW_PB(a, Ananta__SnatAsk, snat_ask);
	pb->n_ops = ops->n;
	pb->ops = pb_from_snat_ops(a, ops);
	return pb->ops == NULL ? NULL : pb;
}

// NULL stands for none; *ret_ok becomes false when memory is short.
static Ananta__DipSnat *encode_dip_snat(struct arena *a, const struct dip_snat *s, bool *ret_ok)
{
	static const struct dip_snat none;
	if (memcmp(s, &none, sizeof none) == 0)
		return NULL;
	Ananta__DipSnat *pb = arena_array(a, 1, sizeof *pb);
	Ananta__SnatDestination *items = arena_array(a, s->n_busiest, sizeof *items);
	if (pb == NULL || items == NULL) {
		*ret_ok = false;
		return NULL;
	}
	ananta__dip_snat__init(pb);
	pb->leased_ports = s->leased_ports;
	pb->used_ports = s->used_ports;
	pb->flows = s->flows;
	pb->held_packets = s->held_packets;
	pb->refused = s->refused;
	pb->n_busiest = s->n_busiest;
	pb->busiest = arena_array(a, s->n_busiest, sizeof *pb->busiest);
	for (uint32_t i = 0; pb->busiest != NULL && i < s->n_busiest; i++) {
		ananta__snat_destination__init(&items[i]);
		items[i].address = pb_from_addr(&s->busiest[i].addr);
		items[i].port = s->busiest[i].port;
		items[i].protocol = s->busiest[i].protocol;
		items[i].ports = s->busiest[i].n_ports;
		pb->busiest[i] = &items[i];
	}
	*ret_ok = *ret_ok && pb->busiest != NULL;
	return pb;
}

// NULL when memory is short.
static Ananta__Counter **encode_counters(struct arena *a, const struct counter *counters, uint32_t n)
{
	Ananta__Counter **pb = arena_array(a, n, sizeof *pb);
	Ananta__Counter *items = arena_array(a, n, sizeof *items);
	if (pb == NULL || items == NULL)
		return NULL;
	for (uint32_t i = 0; i < n; i++) {
		ananta__counter__init(&items[i]);
		items[i].name = (char *)counters[i].name;
		items[i].value = counters[i].value;
		pb[i] = &items[i];
	}
	return pb;
}

static Ananta__NodeStatus *encode_status(struct arena *a, const struct node_status *s)
{
	bool ok = true;
	NEW_PB(a, Ananta__NodeStatus, node_status);
	pb->name = (char *)s->name;
	pb->role = pb_from_role(s->role);
	pb->state = (char *)s->state;
	pb->version = s->version;
	pb->program_version = (char *)s->program_version;
	pb->n_counters = s->n_counters;
	pb->counters = encode_counters(a, s->counters, s->n_counters);
	pb->n_dips = s->n_dips;
	pb->dips = arena_array(a, s->n_dips, sizeof *pb->dips);
	Ananta__DipStatus *dips = arena_array(a, s->n_dips, sizeof *dips);
	if (pb->counters == NULL || pb->dips == NULL || dips == NULL)
		return NULL;
	for (uint32_t i = 0; i < s->n_dips; i++) {
		ananta__dip_status__init(&dips[i]);
		dips[i].dip = pb_from_addr(&s->dips[i].dip);
		dips[i].state = (char *)s->dips[i].state;
		dips[i].flows = s->dips[i].flows;
		dips[i].snat = encode_dip_snat(a, &s->dips[i].snat, &ok);
		pb->dips[i] = &dips[i];
	}
	return ok ? pb : NULL;
}

static Ananta__NodesReply *encode_nodes(struct arena *a, const struct node_status *items, uint32_t n, bool more)
{
	NEW_PB(a, Ananta__NodesReply, nodes_reply);
	pb->n_nodes = n;
	pb->more = more;
	pb->nodes = arena_array(a, n, sizeof *pb->nodes);
	for (uint32_t i = 0; pb->nodes != NULL && i < n; i++) {
		pb->nodes[i] = encode_status(a, &items[i]);
		if (pb->nodes[i] == NULL)
			return NULL;
	}
	return pb->nodes == NULL ? NULL : pb;
}

static Ananta__ClusterReply *encode_cluster(struct arena *a, const struct cluster_reply *c)
{
	NEW_PB(a, Ananta__ClusterReply, cluster_reply);
	pb->id = c->id;
	pb->is_leader = c->is_leader;
	pb->leader_id = c->leader_id;
	pb->term = c->term;
	pb->applied_index = c->applied_index;
	pb->version = c->version;
	pb->cluster_id = c->cluster_id;
	pb->program_version = (char *)c->program_version;
	pb->n_subscribers = c->n_subscribers;
	pb->n_replicas = c->n_replicas;
	pb->replicas = arena_array(a, c->n_replicas, sizeof *pb->replicas);
	Ananta__ReplicaInfo *replicas = arena_array(a, c->n_replicas, sizeof *replicas);
	pb->n_counters = c->n_counters;
	pb->counters = encode_counters(a, c->counters, c->n_counters);
	if (pb->replicas == NULL || replicas == NULL || pb->counters == NULL)
		return NULL;
	for (uint32_t i = 0; i < c->n_replicas; i++) {
		ananta__replica_info__init(&replicas[i]);
		replicas[i].id = c->replicas[i].id;
		replicas[i].api = (char *)c->replicas[i].api;
		replicas[i].raft = (char *)c->replicas[i].raft;
		pb->replicas[i] = &replicas[i];
	}
	return pb;
}

static Ananta__Error *encode_error(struct arena *a, const struct error *err)
{
	NEW_PB(a, Ananta__Error, error);
	pb->code = err->code;
	pb->text = (char *)err->text;
	return pb;
}

static Ananta__Redirect *encode_redirect(struct arena *a, const char *leader)
{
	NEW_PB(a, Ananta__Redirect, redirect);
	pb->leader = (char *)leader;
	return pb;
}

static Ananta__NodesRequest *encode_nodes_request(struct arena *a, enum node_role role, const char *name)
{
	NEW_PB(a, Ananta__NodesRequest, nodes_request);
	pb->role = pb_from_role(role);
	pb->name = (char *)name;
	return pb;
}

static Ananta__Ack *encode_ack(struct arena *a, uint64_t version, uint64_t lease_version)
{
	NEW_PB(a, Ananta__Ack, ack);
	pb->version = version;
	pb->lease_version = lease_version;
	return pb;
}

static Ananta__Fence *encode_fence(struct arena *a, bool is_fenced)
{
	NEW_PB(a, Ananta__Fence, fence);
	pb->is_fenced = is_fenced;
	return pb;
}

static Ananta__SnatReply *encode_snat_reply(struct arena *a, const struct message *m)
{
	NEW_PB(a, Ananta__SnatReply, snat_reply);
	pb->dip = pb_from_addr(&m->snat_reply.dip);
	pb->seq = m->snat_reply.seq;
	pb->n_ports = m->snat_reply.n_ports;
	pb->code = m->snat_reply.err.code;
	pb->text = (char *)m->snat_reply.err.text;
	return pb;
}

static Ananta__LeasesRequest *encode_leases_request(struct arena *a, const struct message *m)
{
	NEW_PB(a, Ananta__LeasesRequest, leases_request);
	pb->vip = pb_from_addr_or_none(&m->leases_request.vip);
	pb->port = m->leases_request.port;
	pb->at_ms = m->leases_request.at_ms;
	return pb;
}

static Ananta__LeasesReply *encode_leases_reply(struct arena *a, const struct leases_reply *r)
{
	NEW_PB(a, Ananta__LeasesReply, leases_reply);
	pb->log_since_ms = r->log_since_ms;
	pb->more = r->more;
	pb->leases = pb_from_leases(a, &r->leases);
	pb->n_pools = r->n_pools;
	pb->pools = arena_array(a, r->n_pools, sizeof *pb->pools);
	Ananta__SnatPoolStatus *pools = arena_array(a, r->n_pools, sizeof *pools);
	if (pb->leases == NULL || pb->pools == NULL || pools == NULL)
		return NULL;
	for (uint32_t i = 0; i < r->n_pools; i++) {
		ananta__snat_pool_status__init(&pools[i]);
		pools[i].vip = pb_from_addr(&r->pools[i].vip);
		pools[i].n_ports = r->pools[i].n_ports;
		pools[i].n_held = r->pools[i].n_held;
		pools[i].n_quarantined = r->pools[i].n_quarantined;
		pb->pools[i] = &pools[i];
	}
	return pb;
}

static Ananta__EventsRequest *encode_events_request(struct arena *a, uint64_t after_seq)
{
	NEW_PB(a, Ananta__EventsRequest, events_request);
	pb->after_seq = after_seq;
	return pb;
}

static Ananta__EventsReply *encode_events_reply(struct arena *a, const struct event_list *events)
{
	NEW_PB(a, Ananta__EventsReply, events_reply);
	pb->n_events = events->n;
	pb->events = pb_from_events(a, events);
	return pb->events == NULL ? NULL : pb;
}

static Ananta__CommandReply *encode_command_reply(struct arena *a, const struct message *m)
{
	NEW_PB(a, Ananta__CommandReply, command_reply);
	pb->version = m->version;
	pb->is_unchanged = m->is_unchanged;
	return pb;
}

// Bodies without fields are shared; they are never written to.
static Ananta__Ping ping = ANANTA__PING__INIT;
static Ananta__StatusRequest status_request = ANANTA__STATUS_REQUEST__INIT;
static Ananta__StateRequest state_request = ANANTA__STATE_REQUEST__INIT;
static Ananta__ClusterRequest cluster_request = ANANTA__CLUSTER_REQUEST__INIT;

#define BODY(tag, field, value)                   \
	pb->body_case = ANANTA__ENVELOPE__BODY_##tag; \
	pb->field = (value);                          \
	return pb->field != NULL

static bool encode_body(struct arena *a, const struct message *m, Ananta__Envelope *pb)
{
	switch (m->type) {
	case MESSAGE_PING: BODY(PING, ping, &ping);
	case MESSAGE_ERROR: BODY(ERROR, error, encode_error(a, &m->error));
	case MESSAGE_REDIRECT: BODY(REDIRECT, redirect, encode_redirect(a, m->leader));
	case MESSAGE_SUBSCRIBE: BODY(SUBSCRIBE, subscribe, encode_subscribe(a, &m->subscribe));
	case MESSAGE_UPDATE: BODY(UPDATE, update, encode_update(a, &m->update));
	case MESSAGE_ACK: BODY(ACK, ack, encode_ack(a, m->ack.version, m->ack.lease_version));
	case MESSAGE_STATUS_REQUEST: BODY(STATUS_REQUEST, status_request, &status_request);
	case MESSAGE_STATUS_REPLY: BODY(STATUS_REPLY, status_reply, encode_status(a, &m->status));
	case MESSAGE_COMMAND_REQUEST: BODY(COMMAND_REQUEST, command_request, pb_from_command_request(a, m));
	case MESSAGE_COMMAND_REPLY: BODY(COMMAND_REPLY, command_reply, encode_command_reply(a, m));
	case MESSAGE_STATE_REQUEST: BODY(STATE_REQUEST, state_request, &state_request);
	case MESSAGE_NODES_REQUEST:
		BODY(NODES_REQUEST, nodes_request, encode_nodes_request(a, m->nodes_request.role, m->nodes_request.name));
	case MESSAGE_NODES_REPLY:
		BODY(NODES_REPLY, nodes_reply, encode_nodes(a, m->nodes.items, m->nodes.n, m->nodes.more));
	case MESSAGE_CLUSTER_REQUEST: BODY(CLUSTER_REQUEST, cluster_request, &cluster_request);
	case MESSAGE_CLUSTER_REPLY: BODY(CLUSTER_REPLY, cluster_reply, encode_cluster(a, &m->cluster));
	case MESSAGE_FENCE: BODY(FENCE, fence, encode_fence(a, m->is_fenced));
	case MESSAGE_SNAT_ASK: BODY(SNAT_ASK, snat_ask, encode_snat_ask(a, &m->ops));
	case MESSAGE_SNAT_REPLY: BODY(SNAT_REPLY, snat_reply, encode_snat_reply(a, m));
	case MESSAGE_LEASES_REQUEST: BODY(LEASES_REQUEST, leases_request, encode_leases_request(a, m));
	case MESSAGE_LEASES_REPLY: BODY(LEASES_REPLY, leases_reply, encode_leases_reply(a, &m->leases));
	case MESSAGE_HEALTH: BODY(HEALTH_REPORT, health_report, pb_from_health(a, &m->health));
	case MESSAGE_EVENTS_REQUEST: BODY(EVENTS_REQUEST, events_request, encode_events_request(a, m->after_seq));
	case MESSAGE_EVENTS_REPLY: BODY(EVENTS_REPLY, events_reply, encode_events_reply(a, &m->events));
	case MESSAGE_VERSIONS_REQUEST: BODY(VIP_VERSIONS_REQUEST, vip_versions_request, pb_from_versions_request(a, m));
	case MESSAGE_VERSIONS_REPLY: BODY(VIP_VERSIONS_REPLY, vip_versions_reply, pb_from_versions_reply(a, &m->versions));
	case MESSAGE_WAIT_REQUEST: BODY(WAIT_REQUEST, wait_request, pb_from_wait_request(a, m));
	case MESSAGE_WAIT_REPLY: BODY(WAIT_REPLY, wait_reply, pb_from_wait_reply(a, &m->wait));
	case MESSAGE_ROLLBACK_REQUEST: BODY(ROLLBACK_REQUEST, rollback_request, pb_from_rollback(a, m));
	}
	return false;
}

static int encode_envelope(struct arena *a, const struct message *m, uint8_t **ret_bytes, size_t *ret_n)
{
	Ananta__Envelope pb = ANANTA__ENVELOPE__INIT;
	pb.request_id = m->request_id;
	pb.term = m->term;
	if (!encode_body(a, m, &pb))
		return ERR_NO_MEMORY;
	size_t n = ananta__envelope__get_packed_size(&pb);
	if (n > MESSAGE_MAX_BYTES)
		return ERR_LIMIT;
	uint8_t *bytes = memory_array(n, 1);
	if (bytes == NULL)
		return ERR_NO_MEMORY;
	ananta__envelope__pack(&pb, bytes);
	*ret_bytes = bytes;
	*ret_n = n;
	return 0;
}

int message_encode(const struct message *m, uint8_t **ret_bytes, size_t *ret_n)
{
	struct arena a;
	arena_init(&a);
	int code = encode_envelope(&a, m, ret_bytes, ret_n);
	arena_fini(&a);
	return code;
}

// --- decoding ---

static int decode_subscribe(const Ananta__Subscribe *pb, struct subscribe *s, struct error *err)
{
	s->role = pb_to_role(pb->role);
	s->cluster_id = pb->cluster_id;
	s->have_version = pb->have_version;
	s->have_lease_version = pb->have_lease_version;
	if (pb->node == NULL || s->role == ROLE_NONE)
		return error_set(err, ERR_MALFORMED, "a subscription without role or node");
	int code = pb_to_node(pb->node, &s->node, err);
	return code != 0 ? code
	                 : pb_to_text(pb->program_version, s->program_version, sizeof s->program_version, "version", err);
}

static int decode_dip_snat(const Ananta__DipSnat *pb, struct dip_snat *s, struct error *err)
{
	if (pb == NULL)
		return 0;
	s->leased_ports = pb->leased_ports;
	s->used_ports = pb->used_ports;
	s->flows = pb->flows;
	s->held_packets = pb->held_packets;
	s->refused = pb->refused;
	int code = 0;
	for (size_t i = 0; code == 0 && i < pb->n_busiest && i < SNAT_BUSIEST; i++) {
		const Ananta__SnatDestination *from = pb->busiest[i];
		struct snat_destination *to = &s->busiest[s->n_busiest++];
		if (from->port > UINT16_MAX || from->protocol > UINT8_MAX)
			return error_set(err, ERR_MALFORMED, "a destination's port or protocol is out of range");
		to->port = (uint16_t)from->port;
		to->protocol = (uint8_t)from->protocol;
		to->n_ports = from->ports;
		code = pb_to_addr(&from->address, &to->addr, err);
	}
	return code;
}

static int decode_counters(Ananta__Counter **pb, uint32_t n, struct counter *ret_counters, struct error *err)
{
	int code = 0;
	for (uint32_t i = 0; code == 0 && i < n; i++) {
		ret_counters[i].value = pb[i]->value;
		code = pb_to_text(pb[i]->name, ret_counters[i].name, sizeof ret_counters[i].name, "counter", err);
	}
	return code;
}

static int decode_status(const Ananta__NodeStatus *pb, struct node_status *s, struct error *err)
{
	s->role = pb_to_role(pb->role);
	s->version = pb->version;
	s->counters = memory_array(pb->n_counters, sizeof *s->counters);
	s->dips = memory_array(pb->n_dips, sizeof *s->dips);
	if (s->counters == NULL || s->dips == NULL)
		return error_set(err, ERR_NO_MEMORY, "out of memory");
	s->n_counters = (uint32_t)pb->n_counters;
	s->n_dips = (uint32_t)pb->n_dips;
	int code = pb_to_text(pb->name, s->name, sizeof s->name, "name", err);
	if (code == 0)
		code = pb_to_text(pb->state, s->state, sizeof s->state, "state", err);
	if (code == 0)
		code = pb_to_text(pb->program_version, s->program_version, sizeof s->program_version, "version", err);
	if (code == 0)
		code = decode_counters(pb->counters, s->n_counters, s->counters, err);
	for (uint32_t i = 0; code == 0 && i < s->n_dips; i++) {
		s->dips[i].flows = pb->dips[i]->flows;
		code = pb_to_addr(&pb->dips[i]->dip, &s->dips[i].dip, err);
		if (code == 0)
			code = pb_to_text(pb->dips[i]->state, s->dips[i].state, sizeof s->dips[i].state, "state", err);
		if (code == 0)
			code = decode_dip_snat(pb->dips[i]->snat, &s->dips[i].snat, err);
	}
	return code;
}

static int decode_nodes(const Ananta__NodesReply *pb, struct message *m, struct error *err)
{
	if (pb->n_nodes > NODES_MAX)
		return error_set(err, ERR_MALFORMED, "too many nodes in one message");
	m->nodes.items = memory_array(pb->n_nodes, sizeof *m->nodes.items);
	if (m->nodes.items == NULL)
		return error_set(err, ERR_NO_MEMORY, "out of memory");
	m->nodes.n = (uint32_t)pb->n_nodes;
	m->nodes.more = pb->more;
	int code = 0;
	for (uint32_t i = 0; code == 0 && i < m->nodes.n; i++)
		code = decode_status(pb->nodes[i], &m->nodes.items[i], err);
	return code;
}

static int decode_cluster(const Ananta__ClusterReply *pb, struct cluster_reply *c, struct error *err)
{
	c->id = pb->id;
	c->is_leader = pb->is_leader;
	c->leader_id = pb->leader_id;
	c->term = pb->term;
	c->applied_index = pb->applied_index;
	c->version = pb->version;
	c->cluster_id = pb->cluster_id;
	c->n_subscribers = pb->n_subscribers;
	if (pb->n_replicas > REPLICAS_MAX)
		return error_set(err, ERR_MALFORMED, "more than %d replicas", REPLICAS_MAX);
	c->n_replicas = (uint32_t)pb->n_replicas;
	c->n_counters = pb->n_counters < CLUSTER_COUNTERS_MAX ? (uint32_t)pb->n_counters : CLUSTER_COUNTERS_MAX;
	int code = pb_to_text(pb->program_version, c->program_version, sizeof c->program_version, "version", err);
	if (code == 0)
		code = decode_counters(pb->counters, c->n_counters, c->counters, err);
	for (uint32_t i = 0; code == 0 && i < c->n_replicas; i++) {
		struct replica_info *r = &c->replicas[i];
		r->id = pb->replicas[i]->id;
		code = pb_to_text(pb->replicas[i]->api, r->api, sizeof r->api, "address", err);
		if (code == 0)
			code = pb_to_text(pb->replicas[i]->raft, r->raft, sizeof r->raft, "address", err);
	}
	return code;
}

static int decode_update(const Ananta__Update *pb, struct update *u, struct error *err)
{
	u->from_version = pb->from_version;
	u->to_version = pb->to_version;
	u->more = pb->more;
	u->lease_version = pb->lease_version;
	u->replaces_leases = pb->replaces_leases;
	int code = pb_to_changes(pb->changes, pb->n_changes, &u->changes, err);
	return code != 0 ? code : pb_to_leases(pb->leases, &u->leases, err);
}

static enum error_code pb_to_error_code(int32_t code)
{
	return code < 0 && code >= ERR_VERSION ? (enum error_code)code : ERR_INVALID;
}

static int decode_snat_reply(const Ananta__SnatReply *pb, struct message *m, struct error *err)
{
	m->snat_reply.seq = pb->seq;
	m->snat_reply.n_ports = pb->n_ports;
	m->snat_reply.err.code = pb->code == 0 ? ERR_OK : pb_to_error_code(pb->code);
	text_format(m->snat_reply.err.text, sizeof m->snat_reply.err.text, "%s", pb->text);
	return pb_to_addr(&pb->dip, &m->snat_reply.dip, err);
}

static int decode_leases_request(const Ananta__LeasesRequest *pb, struct message *m, struct error *err)
{
	if (pb->port > UINT16_MAX)
		return error_set(err, ERR_MALFORMED, "a port beyond 65535");
	m->leases_request.port = (uint16_t)pb->port;
	m->leases_request.at_ms = pb->at_ms;
	return pb_to_addr_or_none(&pb->vip, &m->leases_request.vip, err);
}

static int decode_leases_reply(const Ananta__LeasesReply *pb, struct leases_reply *r, struct error *err)
{
	r->log_since_ms = pb->log_since_ms;
	r->more = pb->more;
	if (pb->n_pools > LIMIT_VIPS)
		return error_set(err, ERR_MALFORMED, "too many VIPs in one message");
	r->pools = memory_array(pb->n_pools, sizeof *r->pools);
	if (r->pools == NULL)
		return error_set(err, ERR_NO_MEMORY, "out of memory");
	r->n_pools = (uint32_t)pb->n_pools;
	int code = pb_to_leases(pb->leases, &r->leases, err);
	for (uint32_t i = 0; code == 0 && i < r->n_pools; i++) {
		r->pools[i].n_ports = pb->pools[i]->n_ports;
		r->pools[i].n_held = pb->pools[i]->n_held;
		r->pools[i].n_quarantined = pb->pools[i]->n_quarantined;
		code = pb_to_addr(&pb->pools[i]->vip, &r->pools[i].vip, err);
	}
	return code;
}

static int decode_error(const Ananta__Error *pb, struct error *ret_error)
{
	ret_error->code = pb_to_error_code(pb->code);
	text_format(ret_error->text, sizeof ret_error->text, "%s", pb->text);
	return 0;
}

static int decode_nodes_request(const Ananta__NodesRequest *pb, struct message *m, struct error *err)
{
	m->nodes_request.role = pb_to_role(pb->role);
	return pb_to_text(pb->name, m->nodes_request.name, sizeof m->nodes_request.name, "name", err);
}

static int decode_body(const Ananta__Envelope *pb, struct message *m, struct error *err)
{
	switch ((int)pb->body_case) {
	case ANANTA__ENVELOPE__BODY_PING: m->type = MESSAGE_PING; return 0;
	case ANANTA__ENVELOPE__BODY_ERROR: m->type = MESSAGE_ERROR; return decode_error(pb->error, &m->error);
	case ANANTA__ENVELOPE__BODY_REDIRECT:
		m->type = MESSAGE_REDIRECT;
		return pb_to_text(pb->redirect->leader, m->leader, sizeof m->leader, "leader", err);
	case ANANTA__ENVELOPE__BODY_SUBSCRIBE:
		m->type = MESSAGE_SUBSCRIBE;
		return decode_subscribe(pb->subscribe, &m->subscribe, err);
	case ANANTA__ENVELOPE__BODY_UPDATE: m->type = MESSAGE_UPDATE; return decode_update(pb->update, &m->update, err);
	case ANANTA__ENVELOPE__BODY_ACK:
		m->type = MESSAGE_ACK;
		m->ack.version = pb->ack->version;
		m->ack.lease_version = pb->ack->lease_version;
		return 0;
	case ANANTA__ENVELOPE__BODY_STATUS_REQUEST: m->type = MESSAGE_STATUS_REQUEST; return 0;
	case ANANTA__ENVELOPE__BODY_STATUS_REPLY:
		m->type = MESSAGE_STATUS_REPLY;
		return decode_status(pb->status_reply, &m->status, err);
	case ANANTA__ENVELOPE__BODY_COMMAND_REQUEST:
		m->type = MESSAGE_COMMAND_REQUEST;
		return pb_to_command_request(pb->command_request, m, err);
	case ANANTA__ENVELOPE__BODY_COMMAND_REPLY:
		m->type = MESSAGE_COMMAND_REPLY;
		m->version = pb->command_reply->version;
		m->is_unchanged = pb->command_reply->is_unchanged;
		return 0;
	case ANANTA__ENVELOPE__BODY_STATE_REQUEST: m->type = MESSAGE_STATE_REQUEST; return 0;
	case ANANTA__ENVELOPE__BODY_NODES_REQUEST:
		m->type = MESSAGE_NODES_REQUEST;
		return decode_nodes_request(pb->nodes_request, m, err);
	case ANANTA__ENVELOPE__BODY_NODES_REPLY:
		m->type = MESSAGE_NODES_REPLY;
		return decode_nodes(pb->nodes_reply, m, err);
	case ANANTA__ENVELOPE__BODY_CLUSTER_REQUEST: m->type = MESSAGE_CLUSTER_REQUEST; return 0;
	case ANANTA__ENVELOPE__BODY_CLUSTER_REPLY:
		m->type = MESSAGE_CLUSTER_REPLY;
		return decode_cluster(pb->cluster_reply, &m->cluster, err);
	case ANANTA__ENVELOPE__BODY_FENCE:
		m->type = MESSAGE_FENCE;
		m->is_fenced = pb->fence->is_fenced;
		return 0;
	case ANANTA__ENVELOPE__BODY_SNAT_ASK:
		m->type = MESSAGE_SNAT_ASK;
		return pb_to_snat_ops(pb->snat_ask->ops, pb->snat_ask->n_ops, &m->ops, err);
	case ANANTA__ENVELOPE__BODY_SNAT_REPLY:
		m->type = MESSAGE_SNAT_REPLY;
		return decode_snat_reply(pb->snat_reply, m, err);
	case ANANTA__ENVELOPE__BODY_LEASES_REQUEST:
		m->type = MESSAGE_LEASES_REQUEST;
		return decode_leases_request(pb->leases_request, m, err);
	case ANANTA__ENVELOPE__BODY_LEASES_REPLY:
		m->type = MESSAGE_LEASES_REPLY;
		return decode_leases_reply(pb->leases_reply, &m->leases, err);
	case ANANTA__ENVELOPE__BODY_HEALTH_REPORT:
		m->type = MESSAGE_HEALTH;
		return pb_to_health(pb->health_report, &m->health, err);
	case ANANTA__ENVELOPE__BODY_EVENTS_REQUEST:
		m->type = MESSAGE_EVENTS_REQUEST;
		m->after_seq = pb->events_request->after_seq;
		return 0;
	case ANANTA__ENVELOPE__BODY_EVENTS_REPLY:
		m->type = MESSAGE_EVENTS_REPLY;
		return pb_to_events(pb->events_reply->events, pb->events_reply->n_events, &m->events, err);
	case ANANTA__ENVELOPE__BODY_VIP_VERSIONS_REQUEST:
		m->type = MESSAGE_VERSIONS_REQUEST;
		return pb_to_versions_request(pb->vip_versions_request, m, err);
	case ANANTA__ENVELOPE__BODY_VIP_VERSIONS_REPLY:
		m->type = MESSAGE_VERSIONS_REPLY;
		return pb_to_versions(pb->vip_versions_reply->versions, pb->vip_versions_reply->n_versions, &m->versions, err);
	case ANANTA__ENVELOPE__BODY_WAIT_REQUEST:
		m->type = MESSAGE_WAIT_REQUEST;
		m->wait_request.version = pb->wait_request->version;
		m->wait_request.timeout_ms = pb->wait_request->timeout_ms;
		return 0;
	case ANANTA__ENVELOPE__BODY_WAIT_REPLY:
		m->type = MESSAGE_WAIT_REPLY;
		return pb_to_wait_reply(pb->wait_reply, &m->wait, err);
	case ANANTA__ENVELOPE__BODY_ROLLBACK_REQUEST:
		m->type = MESSAGE_ROLLBACK_REQUEST;
		return pb_to_rollback(pb->rollback_request, m, err);
	case ANANTA__ENVELOPE__BODY__NOT_SET:
	default: return error_set(err, ERR_MALFORMED, "a message of a kind that this version does not know");
	}
}

int message_decode(const uint8_t *bytes, size_t n, struct message *ret_message, struct error *err)
{
	Ananta__Envelope *pb = ananta__envelope__unpack(NULL, n, bytes);
	if (pb == NULL)
		return error_set(err, ERR_MALFORMED, "a message that cannot be read");
	struct message *m = ret_message;
	memset(m, 0, sizeof *m);
	m->request_id = pb->request_id;
	m->term = pb->term;
	int code = decode_body(pb, m, err);
	ananta__envelope__free_unpacked(pb, NULL);
	if (code != 0)
		message_fini(m);
	return code;
}
