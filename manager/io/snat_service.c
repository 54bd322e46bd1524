// Requests for ports, from an agent's question to the leases that are in use everywhere:
//
//   SNAT_ASK -> queue -> batch: one Raft command -> applied: outcomes -> every mux has acknowledged -> Update, then SNAT_REPLY
//
// At most BATCHES_MAX batches are under way, so that a configuration command never waits behind more, and none is proposed
// in a turn in which another command is. When leadership is lost everything that is under way is forgotten: agents ask the next
// leader again, with the same seq, which is carried out once.
#include <string.h>

#include "common/base/memory.h"
#include "common/io/log.h"
#include "manager/io/server_parts.h"

#define BATCH_REQUESTS_MAX 512
#define BATCH_ENDS_MAX 2048 // requests ask for many ranges at once, ends come one by one
#define BATCHES_MAX 4
#define FOREIGN_LOG_US 1000000

struct batch {
	struct server *server;
	uint32_t leadership;
	struct snat_op_list ops; // the items below
	struct snat_op items[];
};

struct mono_time server_now(void)
{
	return mono_from_us(uv_hrtime() / 1000);
}

// ---- requests ----

// Of a DIP that is not attached where the agent is: an agent that is behind, or one that wants what is not its own.
static bool is_foreign(struct peer *p, const struct snat_op *op)
{
	struct server *s = p->server;
	const struct dip_info *dip = store_lookup_dip(&s->machine.state.store, &op->dip);
	if (dip != NULL && strcmp(dip->host, p->subscribe.node.name) == 0)
		return false;
	char text[IP_ADDR_TEXT_BYTES];
	struct mono_time now = server_now();
	s->snat.stats.refused_foreign++;
	if (mono_elapsed_us(s->snat.foreign_logged, now) >= FOREIGN_LOG_US) {
		s->snat.foreign_logged = now;
		log_warn("snat-foreign-dip", "host=%s peer=%s dip=%s refused=%llu", p->subscribe.node.name, conn_peer(p->conn),
		         ip_addr_format(&op->dip, text), (unsigned long long)s->snat.stats.refused_foreign);
	}
	return true;
}

static void on_request(struct peer *p, const struct snat_op *op)
{
	struct server *s = p->server;
	const struct cluster_state *state = &s->machine.state;
	char text[IP_ADDR_TEXT_BYTES];
	struct error err = { 0 };
	ip_addr_format(&op->dip, text);
	s->snat.stats.requests++;
	if (is_foreign(p, op)) {
		error_set(&err, ERR_CONFLICT, "%s is not attached on %s", text, p->subscribe.node.name);
		snat_answers_refuse(p, op, &err);
		return;
	}
	const struct vip_config *vip = cluster_state_snat_vip(state, &op->dip);
	if (vip == NULL) {
		s->snat.stats.refused_not_configured++;
		error_set(&err, ERR_NOT_FOUND, "%s is in no `snat` list; put it into that of a VIP", text);
	} else if (snat_queue_push_request(s->snat.queue, op, &vip->vip, server_now(), &err) != 0) {
		s->snat.stats.refused_queue_full++;
	}
	if (err.code != 0)
		snat_answers_refuse(p, op, &err);
}

static void on_return(struct peer *p, const struct snat_op *op)
{
	if (!is_foreign(p, op) && snat_queue_push_end(p->server->snat.queue, op, NULL) != 0)
		p->server->snat.stats.failed++; // the agent returns it again
}

void snat_service_on_ask(struct peer *p, const struct snat_op_list *ops)
{
	for (uint32_t i = 0; i < ops->n; i++) {
		if (ops->items[i].kind == SNAT_REQUEST)
			on_request(p, &ops->items[i]);
		else if (ops->items[i].kind == SNAT_RETURN)
			on_return(p, &ops->items[i]);
	}
	p->server->has_news = true;
}

// ---- batches ----

// Nobody knows what became of it, or it was not taken: in the latter case the agents are told.
static void fail_batch(const struct batch *b, const struct error *err)
{
	struct server *s = b->server;
	for (uint32_t i = 0; i < b->ops.n; i++) {
		const struct snat_op *op = &b->ops.items[i];
		s->snat.stats.failed++;
		if (op->kind != SNAT_REQUEST)
			continue;
		(void)snat_queue_done(s->snat.queue, &op->dip, server_now());
		const struct dip_info *dip = store_lookup_dip(&s->machine.state.store, &op->dip);
		struct peer *p = dip == NULL ? NULL : roster_lookup(&s->roster, ROLE_AGENT, dip->host);
		if (p != NULL && err->code == ERR_LIMIT)
			snat_answers_refuse(p, op, err);
	}
}

static void on_batch(const struct error *err, uint64_t version, void *user)
{
	struct batch *b = user;
	struct server *s = b->server;
	if (b->leadership == s->snat.leadership) {
		s->snat.n_batches--;
		s->has_news = true;
		if (err->code != 0)
			fail_batch(b, err);
	}
	memory_free(b);
}

static uint32_t least(uint32_t a, uint32_t b)
{
	return a < b ? a : b;
}

// NULL: there is nothing, or no memory, and it waits on.
static struct batch *take_batch(struct server *s, struct mono_time now)
{
	struct snat_queue *q = s->snat.queue;
	uint32_t n_requests = least(snat_queue_n_waiting(q), BATCH_REQUESTS_MAX);
	uint32_t n_ends = least(snat_queue_n_ends(q), BATCH_ENDS_MAX);
	struct batch *b = memory_array(1, sizeof *b + (n_requests + n_ends) * sizeof b->items[0]);
	if (b == NULL)
		return NULL;
	b->server = s;
	b->leadership = s->snat.leadership;
	b->ops.items = b->items;
	b->ops.n = snat_queue_take(q, now, b->items, n_ends, n_requests);
	if (b->ops.n > 0)
		return b;
	memory_free(b);
	return NULL;
}

static bool propose_batch(struct server *s, struct mono_time now)
{
	struct snat_service *snat = &s->snat;
	struct error err = { 0 };
	struct batch *b = take_batch(s, now);
	if (b == NULL)
		return false;
	if (server_propose(s, &(struct state_command){ .ops = b->ops }, on_batch, b, &err) != 0) {
		fail_batch(b, &err);
		memory_free(b);
		return false;
	}
	snat->n_batches++;
	snat->stats.batches++;
	snat->stats.batch_ops += b->ops.n;
	if (b->ops.n > snat->stats.batch_ops_max)
		snat->stats.batch_ops_max = b->ops.n;
	return true;
}

// ---- what was applied ----

static void on_outcome(struct server *s, const struct snat_outcome *o, uint64_t lease_version)
{
	if (o->kind == SNAT_REQUEST)
		snat_answers_on_outcome(s, o, lease_version, snat_queue_done(s->snat.queue, &o->dip, server_now()));
	else if (o->kind == SNAT_RETURN && o->result == SNAT_DONE)
		s->snat.stats.returned++;
}

static void take_settings(struct server *s)
{
	const struct cluster_settings *settings = &s->machine.state.store.settings;
	snat_queue_set_rate(s->snat.queue, settings->snat_dip_requests_per_s);
	mux_watch_set_withdraw_percent(&s->snat.muxes, settings->mux_withdraw_percent);
}

void snat_service_on_applied(struct server *s, const struct change_list *changes, const struct apply_result *result)
{
	struct snat_service *snat = &s->snat;
	if (!server_is_serving(s))
		return;
	if (result->leases_changed)
		mux_watch_on_version(&snat->muxes, result->lease_version, server_now());
	for (uint32_t i = 0; i < changes->n; i++) {
		const struct change *c = &changes->items[i];
		if (c->key.kind == OBJECT_MUX && c->is_delete)
			mux_watch_forget(&snat->muxes, c->key.name);
		if (c->key.kind == OBJECT_SETTINGS)
			take_settings(s);
	}
	for (uint32_t i = 0; i < result->outcomes.n; i++)
		on_outcome(s, &result->outcomes.items[i], result->lease_version);
}

// ---- the floor ----

void snat_service_note(struct peer *p)
{
	if (p->is_noted)
		return;
	p->is_noted = true;
	p->next_noted = p->server->snat.noted;
	p->server->snat.noted = p;
}

static void note_agent(struct peer *p)
{
	const struct snat_service *snat = &p->server->snat;
	distribution_note_leases(&p->distribution, snat->noted_floor, snat->muxes.floor);
	snat_service_note(p);
}

// The agents whose leases changed up to the floor; all of them where that is not known any more.
static void note_agents(struct server *s)
{
	struct snat_service *snat = &s->snat;
	const struct cluster_state *state = &s->machine.state;
	uint64_t at;
	struct lease lease;
	struct ip_addr last = { { 0 } };
	if (snat_state_seek_changes(&state->snat, snat->noted_floor, &at) != 0) {
		for (uint32_t i = 0; i < s->roster.n; i++)
			if (s->roster.items[i]->subscribe.role == ROLE_AGENT)
				note_agent(s->roster.items[i]);
		return;
	}
	while (snat_state_next_change(&state->snat, &at, snat->muxes.floor, &lease)) {
		if (ip_addr_equal(&lease.dip, &last))
			continue;
		last = lease.dip;
		const struct dip_info *dip = store_lookup_dip(&state->store, &lease.dip);
		struct peer *p = dip == NULL ? NULL : roster_lookup(&s->roster, ROLE_AGENT, dip->host);
		if (p != NULL)
			note_agent(p);
	}
}

// The agents that have waited for this floor since they subscribed.
static void note_waiting(struct server *s)
{
	struct snat_service *snat = &s->snat;
	if (!snat->has_waiting)
		return;
	snat->has_waiting = false;
	for (uint32_t i = 0; i < s->roster.n; i++) {
		struct peer *p = s->roster.items[i];
		if (!distribution_awaits_floor(&p->distribution))
			continue;
		snat_service_note(p);
		snat->has_waiting = true;
	}
}

static void send_to_noted(struct server *s)
{
	struct peer *p = s->snat.noted;
	s->snat.noted = NULL;
	while (p != NULL) {
		struct peer *next = p->next_noted;
		p->is_noted = false;
		subscriptions_send(p);
		p = next;
	}
}

static void tell_of_fencing(struct server *s, const struct watched_mux *m)
{
	struct cluster_event e;
	if (m->told == MUX_TOLD_FENCED)
		e = event_make("mux-fenced", m->name, "has not acknowledged leases in %u ms: it has lease version %llu of %llu",
		               MUX_WATCH_ACK_MS, (unsigned long long)m->acked, (unsigned long long)s->snat.muxes.version);
	else
		e = event_make("mux-unfenced", m->name, "has caught up: lease version %llu", (unsigned long long)m->acked);
	event_service_add(s, &e);
}

static void tell_muxes(struct server *s, struct mono_time now)
{
	const struct watched_mux *m;
	while ((m = mux_watch_step(&s->snat.muxes, now)) != NULL) {
		struct peer *p = roster_lookup(&s->roster, ROLE_MUX, m->name);
		struct message fence = { .type = MESSAGE_FENCE, .term = replica_term(s->replica) };
		fence.is_fenced = m->told == MUX_TOLD_FENCED;
		s->snat.stats.fences += fence.is_fenced;
		if (fence.is_fenced || m->was_fenced)
			tell_of_fencing(s, m);
		if (p != NULL)
			(void)conn_send(p->conn, &fence);
	}
}

// ---- steps ----

static void on_wake(uv_timer_t *timer)
{
	struct server *s = timer->data;
	s->has_news = true;
}

static void schedule(struct server *s, struct mono_time now)
{
	struct snat_service *snat = &s->snat;
	struct mono_time when;
	uint64_t in_us = UINT64_MAX;
	if (mux_watch_next_time(&snat->muxes, &when))
		in_us = mono_elapsed_us(now, when);
	if (snat->n_batches < BATCHES_MAX && snat_queue_next_time(snat->queue, now, &when) &&
	    mono_elapsed_us(now, when) < in_us)
		in_us = mono_elapsed_us(now, when);
	if (in_us == UINT64_MAX)
		uv_timer_stop(&snat->wake);
	else
		uv_timer_start(&snat->wake, on_wake, in_us / 1000 + 1, 0);
}

void snat_service_step(struct server *s)
{
	struct snat_service *snat = &s->snat;
	struct mono_time now = server_now();
	tell_muxes(s, now);
	if (snat->muxes.floor > snat->noted_floor) {
		note_agents(s);
		note_waiting(s);
		snat->noted_floor = snat->muxes.floor;
	}
	snat_answers_release(s);
	send_to_noted(s);
	if (!replica_has_waiting(s->replica)) // else in the next turn
		while (snat->n_batches < BATCHES_MAX && propose_batch(s, now)) {
		}
	schedule(s, now);
}

// ---- subscribers ----

void snat_service_on_subscribe(struct peer *p)
{
	p->answers_end = &p->answers;
	if (p->subscribe.role == ROLE_MUX)
		mux_watch_on_subscribe(&p->server->snat.muxes, p->subscribe.node.name, p->distribution.acked_lease_version,
		                       server_now());
	else
		p->server->snat.has_waiting = true;
	p->server->has_news = true;
}

void snat_service_on_unsubscribe(struct peer *p)
{
	if (p->subscribe.role == ROLE_MUX)
		mux_watch_on_disconnect(&p->server->snat.muxes, p->subscribe.node.name, server_now());
	p->server->has_news = true;
}

bool snat_service_is_fenced(const struct server *s, const char *mux)
{
	const struct watched_mux *m = mux_watch_lookup(&s->snat.muxes, mux);
	return m != NULL && m->state == MUX_FENCED;
}

// ---- life ----

static void on_second(uv_timer_t *timer)
{
	struct server *s = timer->data;
	if (!server_is_serving(s))
		return;
	snat_watch_run(s);
	history_watch_run(s);
	mux_news_run(s);
}

int snat_service_init(struct server *s)
{
	struct snat_service *snat = &s->snat;
	snat->answers_end = &snat->answers;
	snat->queue = snat_queue_create();
	if (snat->queue == NULL)
		return ERR_NO_MEMORY;
	mux_watch_begin(&snat->muxes, 0);
	return 0;
}

void snat_service_start(struct server *s)
{
	uv_timer_init(s->loop, &s->snat.wake);
	uv_timer_init(s->loop, &s->snat.second);
	s->snat.wake.data = s;
	s->snat.second.data = s;
	uv_timer_start(&s->snat.second, on_second, 1000, 1000);
	s->n_open += 2;
}

static void on_timer_closed(uv_handle_t *handle)
{
	server_release(handle->data);
}

void snat_service_stop(struct server *s)
{
	uv_close((uv_handle_t *)&s->snat.wake, on_timer_closed);
	uv_close((uv_handle_t *)&s->snat.second, on_timer_closed);
}

void snat_service_fini(struct server *s)
{
	snat_answers_clear(s);
	snat_watch_clear(s);
	snat_queue_destroy(s->snat.queue);
}

void snat_service_begin(struct server *s)
{
	struct snat_service *snat = &s->snat;
	const struct store *store = &s->machine.state.store;
	struct mono_time now = server_now();
	snat_queue_clear(snat->queue);
	snat->noted_floor = 0;
	mux_watch_begin(&snat->muxes, s->machine.state.snat.version);
	take_settings(s);
	for (uint32_t i = 0; i < store->muxes.n; i++)
		mux_watch_expect(&snat->muxes, store_mux(store, i)->name, now);
	s->has_news = true;
}

void snat_service_end(struct server *s)
{
	struct snat_service *snat = &s->snat;
	snat->leadership++;
	snat->n_batches = 0;
	snat_queue_clear(snat->queue);
	snat_answers_clear(s);
	snat_watch_clear(s);
	uv_timer_stop(&snat->wake);
}
