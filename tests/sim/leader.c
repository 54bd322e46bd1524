// The leader's work on leases, with the cores of the managers, in the order of manager/io/snat_service.c and snat_answers.c:
// ask --> queue --> batch --commit--> outcomes --every live mux has acknowledged--> update of the agent, then the answer.
#include <string.h>

#include "common/base/check.h"
#include "common/base/memory.h"
#include "manager/core/mux_watch.h"
#include "manager/core/snat_queue.h"
#include "tests/sim/snat.h"

#define BATCH_OPS_MAX 512 // of each kind
#define BATCHES_MAX 4
#define COMMIT_US 1000
#define COMMIT_JITTER_US 15000 // of the replicas' disks, most of the time;
#define COMMIT_SLOW_US 300000 // and one batch in so many takes up to this
#define COMMIT_SLOW_ONE_IN 32

struct answer {
	uint64_t lease_version;
	struct ip_addr dip;
	uint64_t seq;
	uint32_t n_ports;
};

struct answer_list { // oldest first
	uint32_t n;
	uint32_t capacity;
	struct answer *items;
};

struct batch {
	uint64_t at_us; // when it is committed; 0: unused
	struct snat_op_list ops;
};

struct leader {
	struct snat_queue *queue;
	struct mux_watch muxes;
	struct random random;
	uint64_t noted_floor;
	bool has_waiting;
	struct answer_list answers; // that wait for the floor
	struct answer_list *of_host; // that wait for an update to go before
	bool *is_noted; // hosts
	uint32_t n_batches; // under way
	struct batch batches[BATCHES_MAX];
	uint64_t last_commit_us; // when the last batch is committed: they stay in order
	uint64_t wake_us; // of the event that is planned; 0: none
};

// ---- lists ----

static void append(struct answer_list *list, const struct answer *a)
{
	if (list->n == list->capacity) {
		list->capacity = list->capacity == 0 ? 64 : 2 * list->capacity;
		list->items = memory_resize(list->items, list->capacity, sizeof *list->items);
		CHECK(list->items != NULL);
	}
	list->items[list->n++] = *a;
}

static struct answer take_first(struct answer_list *list)
{
	struct answer first = list->items[0];
	memmove(list->items, list->items + 1, --list->n * sizeof *list->items);
	return first;
}

// The host where the DIP is attached, by the managers' state, when its agent is connected; NONE.
static uint32_t host_of(struct sim *s, const struct ip_addr *dip)
{
	const struct dip_info *info = store_lookup_dip(&s->state.store, dip);
	for (uint32_t i = 0; info != NULL && i < s->options.n_hosts; i++)
		if (strcmp(s->hosts[i].name, info->host) == 0)
			return s->hosts[i].subscriber.is_connected ? i : NONE;
	return NONE;
}

// ---- answers ----

static void refuse(struct sim *s, uint32_t host, const struct ip_addr *dip, uint64_t seq, enum error_code code)
{
	struct message m = { .type = MESSAGE_SNAT_REPLY };
	m.snat_reply.dip = *dip;
	m.snat_reply.seq = seq;
	error_set(&m.snat_reply.err, code, "refused");
	if (host != NONE)
		links_to_node(s, node_of_host(s, host), &m);
}

static void answer(struct sim *s, uint32_t host, const struct answer *a)
{
	struct message m = { .type = MESSAGE_SNAT_REPLY };
	m.snat_reply.dip = a->dip;
	m.snat_reply.seq = a->seq;
	m.snat_reply.n_ports = a->n_ports;
	links_to_node(s, node_of_host(s, host), &m);
}

static void on_outcome(struct sim *s, const struct snat_outcome *o, uint64_t lease_version)
{
	struct leader *l = s->leader;
	if (o->kind != SNAT_REQUEST)
		return;
	(void)snat_queue_done(l->queue, &o->dip, sim_now(s));
	if (o->result == SNAT_DONE || o->result == SNAT_REPEATED)
		append(&l->answers, &(struct answer){ lease_version, o->dip, o->seq, o->n_ports });
	else
		refuse(s, host_of(s, &o->dip), &o->dip, o->seq, o->result == SNAT_NOT_CONFIGURED ? ERR_NOT_FOUND : ERR_LIMIT);
}

static void note(struct leader *l, uint32_t host)
{
	l->is_noted[host] = true;
}

static void release_answers(struct sim *s)
{
	struct leader *l = s->leader;
	bool is_early = sim_is_sabotaged(s, "no-floor");
	while (l->answers.n > 0 && (is_early || l->answers.items[0].lease_version <= l->muxes.floor)) {
		struct answer a = take_first(&l->answers);
		uint32_t host = host_of(s, &a.dip);
		if (host == NONE)
			continue;
		append(&l->of_host[host], &a);
		note(l, host);
	}
}

void leader_flush(struct sim *s, uint32_t node)
{
	if (s->leader == NULL || node < s->options.n_muxes)
		return;
	uint32_t host = node - s->options.n_muxes;
	const struct distribution *d = &s->hosts[host].subscriber.distribution;
	struct answer_list *list = &s->leader->of_host[host];
	while (list->n > 0 && d->has_lease_base &&
	       (!d->is_in_flight || list->items[0].lease_version <= d->sent_lease_version)) {
		struct answer a = take_first(list);
		answer(s, host, &a);
	}
}

// ---- asks ----

static void on_request(struct sim *s, uint32_t host, const struct snat_op *op)
{
	struct error err = { 0 };
	const struct dip_info *dip = store_lookup_dip(&s->state.store, &op->dip);
	const struct vip_config *vip = cluster_state_snat_vip(&s->state, &op->dip);
	if (dip == NULL || strcmp(dip->host, s->hosts[host].name) != 0)
		refuse(s, host, &op->dip, op->seq, ERR_CONFLICT);
	else if (vip == NULL)
		refuse(s, host, &op->dip, op->seq, ERR_NOT_FOUND);
	else if (snat_queue_push_request(s->leader->queue, op, &vip->vip, sim_now(s), &err) != 0)
		refuse(s, host, &op->dip, op->seq, err.code);
}

static void on_return(struct sim *s, uint32_t host, const struct snat_op *op)
{
	const struct dip_info *dip = store_lookup_dip(&s->state.store, &op->dip);
	if (dip != NULL && strcmp(dip->host, s->hosts[host].name) == 0)
		CHECK(snat_queue_push_end(s->leader->queue, op, NULL) == 0);
}

static void on_ask(struct sim *s, uint32_t host, const struct snat_op_list *ops)
{
	for (uint32_t i = 0; i < ops->n; i++) {
		if (ops->items[i].kind == SNAT_REQUEST)
			on_request(s, host, &ops->items[i]);
		else if (ops->items[i].kind == SNAT_RETURN)
			on_return(s, host, &ops->items[i]);
	}
}

void leader_on_message(struct sim *s, uint32_t node, const struct message *m)
{
	bool is_mux = node < s->options.n_muxes;
	if (m->type == MESSAGE_ACK) {
		managers_on_ack(s, node, m->ack.version, m->ack.lease_version);
		if (is_mux)
			mux_watch_on_ack(&s->leader->muxes, s->muxes[node].name,
			                 s->muxes[node].subscriber.distribution.acked_lease_version);
		managers_push_to(s, node);
		leader_flush(s, node);
	} else if (m->type == MESSAGE_SNAT_ASK && !is_mux) {
		on_ask(s, node - s->options.n_muxes, &m->ops);
	}
	leader_step(s);
}

// ---- batches ----

static bool propose(struct sim *s)
{
	static struct snat_op ops[2 * BATCH_OPS_MAX];
	struct leader *l = s->leader;
	uint32_t n = snat_queue_take(l->queue, sim_now(s), ops, BATCH_OPS_MAX, BATCH_OPS_MAX);
	uint32_t idx = 0;
	if (n == 0)
		return false;
	while (l->batches[idx].at_us != 0)
		idx++;
	struct batch *b = &l->batches[idx];
	for (uint32_t i = 0; i < n; i++)
		CHECK(snat_op_list_append(&b->ops, &ops[i]) == 0);
	bool is_slow = random_below(&l->random, COMMIT_SLOW_ONE_IN) == 0;
	uint64_t at_us = s->now_us + COMMIT_US + random_below(&l->random, is_slow ? COMMIT_SLOW_US : COMMIT_JITTER_US);
	if (at_us <= l->last_commit_us)
		at_us = l->last_commit_us + 1;
	l->last_commit_us = b->at_us = at_us;
	l->n_batches++;
	sim_at(s, at_us, EVENT_BATCH, idx);
	return true;
}

static void commit(struct sim *s, struct batch *b)
{
	struct snat_op_list ops = b->ops;
	*b = (struct batch){ 0 };
	s->leader->n_batches--;
	managers_commit(s, &ops);
	snat_op_list_fini(&ops);
}

void leader_on_batch(struct sim *s, uint32_t idx)
{
	struct batch *b = &s->leader->batches[idx];
	if (b->at_us == s->now_us) // else it was settled when its leader ended
		commit(s, b);
}

void leader_on_applied(struct sim *s, const struct apply_result *result)
{
	struct leader *l = s->leader;
	if (!managers_lead(s))
		return;
	if (result->leases_changed)
		mux_watch_on_version(&l->muxes, result->lease_version, sim_now(s));
	for (uint32_t i = 0; i < result->outcomes.n; i++)
		on_outcome(s, &result->outcomes.items[i], result->lease_version);
}

// ---- the floor ----

static void note_agents(struct sim *s)
{
	struct leader *l = s->leader;
	uint64_t at;
	struct lease lease;
	if (snat_state_seek_changes(&s->state.snat, l->noted_floor, &at) != 0) {
		for (uint32_t i = 0; i < s->options.n_hosts; i++) {
			distribution_note_leases(&s->hosts[i].subscriber.distribution, l->noted_floor, l->muxes.floor);
			note(l, i);
		}
		return;
	}
	while (snat_state_next_change(&s->state.snat, &at, l->muxes.floor, &lease)) {
		uint32_t host = host_of(s, &lease.dip);
		if (host == NONE)
			continue;
		distribution_note_leases(&s->hosts[host].subscriber.distribution, l->noted_floor, l->muxes.floor);
		note(l, host);
	}
}

static void note_waiting(struct sim *s)
{
	struct leader *l = s->leader;
	if (!l->has_waiting)
		return;
	l->has_waiting = false;
	for (uint32_t i = 0; i < s->options.n_hosts; i++) {
		const struct subscriber *sub = &s->hosts[i].subscriber;
		if (!sub->is_connected || !distribution_awaits_floor(&sub->distribution))
			continue;
		note(l, i);
		l->has_waiting = true;
	}
}

static void send_to_noted(struct sim *s)
{
	for (uint32_t i = 0; i < s->options.n_hosts; i++) {
		if (!s->leader->is_noted[i])
			continue;
		s->leader->is_noted[i] = false;
		managers_push_to(s, node_of_host(s, i));
		leader_flush(s, node_of_host(s, i));
	}
}

static uint32_t mux_named(const struct sim *s, const char *name)
{
	uint32_t i = 0;
	while (strcmp(s->muxes[i].name, name) != 0)
		i++;
	return i;
}

static void tell_muxes(struct sim *s)
{
	const struct watched_mux *m;
	while ((m = mux_watch_step(&s->leader->muxes, sim_now(s))) != NULL) {
		struct message fence = { .type = MESSAGE_FENCE };
		fence.is_fenced = m->told == MUX_TOLD_FENCED;
		s->stats.fences += fence.is_fenced;
		links_to_node(s, mux_named(s, m->name), &fence);
	}
}

// What the floor has passed while a mux was not waited for, it need not know.
static void excuse(struct sim *s)
{
	const struct mux_watch *w = &s->leader->muxes;
	for (uint32_t i = 0; i < s->options.n_muxes; i++) {
		const struct watched_mux *m = mux_watch_lookup(w, s->muxes[i].name);
		bool is_awaited = m != NULL && (m->state == MUX_LIVE || m->state == MUX_EXPECTED);
		if (!is_awaited && w->floor > s->muxes[i].excused_version)
			s->muxes[i].excused_version = w->floor;
	}
}

uint64_t leader_floor(const struct sim *s, uint32_t node)
{
	bool has_floor = s->leader != NULL && node >= s->options.n_muxes && !sim_is_sabotaged(s, "no-floor");
	return has_floor ? s->leader->muxes.floor : LEASE_FLOOR_NONE;
}

// ---- steps ----

static void schedule(struct sim *s)
{
	struct leader *l = s->leader;
	struct mono_time when;
	uint64_t at_us = UINT64_MAX;
	if (mux_watch_next_time(&l->muxes, &when))
		at_us = when.us;
	if (l->n_batches < BATCHES_MAX && snat_queue_next_time(l->queue, sim_now(s), &when) && when.us < at_us)
		at_us = when.us;
	if (at_us == UINT64_MAX || (l->wake_us > s->now_us && l->wake_us <= at_us))
		return;
	l->wake_us = at_us > s->now_us ? at_us : s->now_us + 1;
	sim_at(s, l->wake_us, EVENT_STEP, 0);
}

void leader_step(struct sim *s)
{
	struct leader *l = s->leader;
	if (!managers_lead(s))
		return;
	tell_muxes(s);
	excuse(s);
	if (l->muxes.floor > l->noted_floor) {
		note_agents(s);
		note_waiting(s);
		l->noted_floor = l->muxes.floor;
	}
	release_answers(s);
	send_to_noted(s);
	while (l->n_batches < BATCHES_MAX && propose(s)) {
	}
	schedule(s);
}

void leader_on_step(struct sim *s)
{
	if (s->leader->wake_us == s->now_us)
		leader_step(s);
}

// ---- subscribers ----

void leader_on_subscribe(struct sim *s, uint32_t node)
{
	if (node < s->options.n_muxes)
		mux_watch_on_subscribe(&s->leader->muxes, s->muxes[node].name,
		                       s->muxes[node].subscriber.distribution.acked_lease_version, sim_now(s));
	else
		s->leader->has_waiting = true;
}

void leader_on_unsubscribe(struct sim *s, uint32_t node)
{
	if (node < s->options.n_muxes)
		mux_watch_on_disconnect(&s->leader->muxes, s->muxes[node].name, sim_now(s));
	else
		s->leader->of_host[node - s->options.n_muxes].n = 0;
	leader_step(s);
}

// ---- life ----

void leader_create(struct sim *s)
{
	struct leader *l = memory_array(1, sizeof *l);
	CHECK(l != NULL);
	l->queue = snat_queue_create();
	l->of_host = memory_array(s->options.n_hosts, sizeof *l->of_host);
	l->is_noted = memory_array(s->options.n_hosts, sizeof *l->is_noted);
	CHECK(l->queue != NULL && l->of_host != NULL && l->is_noted != NULL);
	l->random = random_make(s->options.seed, 5);
	s->leader = l;
}

void leader_begin(struct sim *s)
{
	struct leader *l = s->leader;
	snat_queue_clear(l->queue);
	snat_queue_set_rate(l->queue, s->state.store.settings.snat_dip_requests_per_s);
	l->noted_floor = 0;
	mux_watch_begin(&l->muxes, s->state.snat.version);
	for (uint32_t i = 0; i < s->options.n_muxes; i++)
		mux_watch_expect(&l->muxes, s->muxes[i].name, sim_now(s));
	leader_step(s);
}

static struct batch *first_batch(struct leader *l)
{
	struct batch *first = NULL;
	for (uint32_t i = 0; i < BATCHES_MAX; i++)
		if (l->batches[i].at_us != 0 && (first == NULL || l->batches[i].at_us < first->at_us))
			first = &l->batches[i];
	return first;
}

// What nobody answers for any more: the first of what was under way is in the log, the rest is not.
void leader_end(struct sim *s)
{
	struct leader *l = s->leader;
	for (uint64_t n_kept = random_below(&l->random, l->n_batches + 1); n_kept > 0; n_kept--)
		commit(s, first_batch(l));
	while (l->n_batches > 0) {
		struct batch *lost = first_batch(l);
		snat_op_list_fini(&lost->ops);
		*lost = (struct batch){ 0 };
		l->n_batches--;
	}
	snat_queue_clear(l->queue);
	l->answers.n = 0;
	for (uint32_t i = 0; i < s->options.n_hosts; i++)
		l->of_host[i].n = 0;
}

void leader_destroy(struct sim *s)
{
	struct leader *l = s->leader;
	snat_queue_destroy(l->queue);
	for (uint32_t i = 0; i < BATCHES_MAX; i++)
		snat_op_list_fini(&l->batches[i].ops);
	for (uint32_t i = 0; i < s->options.n_hosts; i++)
		memory_free(l->of_host[i].items);
	memory_free(l->of_host);
	memory_free(l->is_noted);
	memory_free(l->answers.items);
	memory_free(l);
}

// ---- for the report ----

uint32_t leader_n_fenced(const struct sim *s)
{
	return mux_watch_n(&s->leader->muxes, MUX_FENCED);
}
