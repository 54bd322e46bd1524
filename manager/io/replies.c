// Answers to questions that the leader's state answers at once: all objects, events; and, of any replica, how it is itself.
#include <string.h>

#include "common/io/log.h"
#include "common/wire/changes.h"
#include "manager/io/server_parts.h"

// ---- updates in parts ----

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

// ---- answers ----

static void refuse_for_memory(struct peer *p, uint64_t request_id)
{
	struct error err = { 0 };
	error_set(&err, ERR_NO_MEMORY, "memory is short");
	server_send_error(p, request_id, &err);
}

void replies_send_state(struct peer *p, uint64_t request_id)
{
	const struct cluster_state *state = &p->server->machine.state;
	struct update u = { .to_version = state->store.version };
	if (store_get_all(&state->store, &u.changes) != 0) {
		refuse_for_memory(p, request_id);
		return;
	}
	server_send_update(p, request_id, &u);
	change_list_fini(&u.changes);
}

void replies_send_events(struct peer *p, uint64_t request_id, uint64_t after_seq)
{
	const struct event_ring *ring = &p->server->machine.state.events;
	struct message m = { .type = MESSAGE_EVENTS_REPLY, .request_id = request_id };
	int code = 0;
	const struct cluster_event *e = event_ring_after(ring, after_seq);
	for (; e != NULL && code == 0; e = event_ring_after(ring, e->seq))
		code = event_list_append(&m.events, e);
	if (code == 0)
		(void)conn_send(p->conn, &m); // all that are kept fit into one message
	else
		refuse_for_memory(p, request_id);
	message_fini(&m);
}

static void put_counters(const struct server *s, struct cluster_reply *c)
{
	const struct cluster_state *state = &s->machine.state;
	snat_stats_fill(&s->snat.stats, server_now(), c->counters, &c->n_counters);
	snat_stats_put(c->counters, &c->n_counters, "snat_waiting", snat_queue_n_waiting(s->snat.queue));
	snat_stats_put(c->counters, &c->n_counters, "muxes_fenced", mux_watch_n(&s->snat.muxes, MUX_FENCED));
	snat_stats_put(c->counters, &c->n_counters, "lease_version", state->snat.version);
	snat_stats_put(c->counters, &c->n_counters, "lease_floor", s->snat.muxes.floor);
	snat_stats_put(c->counters, &c->n_counters, "dips_unhealthy", state->store.unhealthy.n);
	snat_stats_put(c->counters, &c->n_counters, "hosts_gone", state->store.gone_hosts.n);
	snat_stats_put(c->counters, &c->n_counters, "events", state->events.last_seq);
	health_service_fill(s, c->counters, &c->n_counters);
	snat_stats_put(c->counters, &c->n_counters, "events_dropped", s->events.n_dropped);
	snat_stats_put(c->counters, &c->n_counters, "config_version", state->versions.config_version);
	snat_stats_put(c->counters, &c->n_counters, "versions_bytes", state->versions.n_bytes);
	snat_stats_put(c->counters, &c->n_counters, "transactions_staged", state->staged.n);
	snat_stats_put(c->counters, &c->n_counters, "waits", s->waits.n);
}

void replies_send_cluster(struct peer *p, uint64_t request_id)
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
