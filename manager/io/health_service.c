// What agents report of their VMs, and whether they are there, to marks in the replicated state:
//
//   HealthReport -> health_view --.
//                                 +-> one command of marks -> Raft -> generations
//   connections  -> host_watch ---'
//
// One such command is under way at a time, and the next begins MARKS_SPACING_US after it at the earliest: what comes meanwhile goes
// together into that. What is refused, because another command came before, is worked out anew at once; after other failures
// in a second. While agents pour in to a new leader, hosts that have not come yet are not taken for gone. Marks of hosts that are gone have a command of their own, so that no other can make it fail.
#include <string.h>

#include "common/base/memory.h"
#include "common/io/log.h"
#include "manager/io/server_parts.h"

#define MARKS_MAX 256 // of a command
#define MARKS_SPACING_US 50000
#define RETRY_US 1000000
#define RUSH_US 10000000 // of a leadership: so long they may pour in,
#define QUIET_US 500000 // that is, one comes in this time

struct marks_command {
	struct server *server;
	uint32_t leadership;
};

// ---- commands ----

static bool is_refusal(enum error_code code)
{
	return code == ERR_NOT_FOUND || code == ERR_CONFLICT || code == ERR_INVALID;
}

static void on_failed(struct server *s, const struct error *err)
{
	s->health.n_failed++;
	if (is_refusal(err->code))
		return;
	s->health.next = mono_add_us(server_now(), RETRY_US);
	log_warn("marks-not-made", "text=\"%s\"", err->text);
}

static void on_result(const struct error *err, uint64_t version, void *user)
{
	struct marks_command *c = user;
	struct server *s = c->server;
	if (c->leadership == s->snat.leadership) {
		s->health.is_proposed = false;
		s->has_news = true;
		if (err->code != 0)
			on_failed(s, err);
	}
	memory_free(c);
}

static void propose(struct server *s, const struct change_list *changes)
{
	struct error err = { 0 };
	struct marks_command *c = memory_array(1, sizeof *c);
	s->health.next = mono_add_us(server_now(), MARKS_SPACING_US);
	if (c == NULL) {
		error_set(&err, ERR_NO_MEMORY, "memory is short");
		on_failed(s, &err);
		return;
	}
	*c = (struct marks_command){ .server = s, .leadership = s->snat.leadership };
	if (server_propose(s, &(struct state_command){ .changes = *changes }, on_result, c, &err) != 0) {
		memory_free(c);
		on_failed(s, &err);
		return;
	}
	s->health.is_proposed = true;
	s->health.n_marks += changes->n;
}

static void tell_all(struct server *s, struct event_list *events)
{
	for (uint32_t i = 0; i < events->n; i++)
		event_service_add(s, &events->items[i]);
	event_list_fini(events);
}

// Until when the rush of agents to a new leader lasts, unless another one comes.
static struct mono_time rush_end(const struct health_service *h)
{
	struct mono_time end = mono_add_us(h->subscribed, QUIET_US);
	struct mono_time latest = mono_add_us(h->begun, HOST_WATCH_EXPECT_MS * 1000ULL + RUSH_US);
	return mono_is_before(latest, end) ? latest : end;
}

static void find_changes(struct server *s, struct mono_time now, struct change_list *changes)
{
	const struct cluster_state *state = &s->machine.state;
	struct event_list events = { 0 };
	int code = 0;
	if (!mono_is_before(now, rush_end(&s->health)))
		code = host_watch_step(&s->health.hosts, &state->store, now, MARKS_MAX, changes, &events);
	tell_all(s, &events);
	if (code == 0 && changes->n == 0)
		code = health_view_next_changes(&s->health.view, state, MARKS_MAX, changes);
	if (code != 0) // what has been found is good; the rest is due still
		s->health.next = mono_add_us(now, RETRY_US);
}

// ---- steps ----

static void on_wake(uv_timer_t *timer)
{
	struct server *s = timer->data;
	s->has_news = true;
}

static void schedule(struct server *s, struct mono_time now)
{
	struct health_service *h = &s->health;
	struct mono_time when;
	bool has_time = host_watch_next_time(&h->hosts, &s->machine.state.store.settings, &when);
	if (mono_is_before(now, rush_end(h))) { // then hosts are looked at again, whether or not one is due
		when = rush_end(h);
		has_time = true;
	}
	if (health_view_is_due(&h->view) && (!has_time || mono_is_before(h->next, when))) {
		when = h->next;
		has_time = true;
	}
	if (has_time && mono_is_before(when, h->next))
		when = h->next;
	if (has_time && !h->is_proposed)
		uv_timer_start(&h->wake, on_wake, mono_elapsed_us(now, when) / 1000 + 1, 0);
	else
		uv_timer_stop(&h->wake);
}

void health_service_step(struct server *s)
{
	struct health_service *h = &s->health;
	struct mono_time now = server_now();
	struct change_list changes = { 0 };
	if (!h->is_proposed && !mono_is_before(now, h->next)) {
		find_changes(s, now, &changes);
		if (changes.n > 0)
			propose(s, &changes);
		change_list_fini(&changes);
	}
	schedule(s, now);
}

// ---- agents ----

void health_service_on_report(struct peer *p, const struct health_report *report)
{
	struct server *s = p->server;
	struct error err = { 0 };
	s->health.n_reports++;
	s->has_news = true;
	if (health_view_on_report(&s->health.view, p->subscribe.node.name, report) == 0)
		return;
	error_set(&err, ERR_NO_MEMORY, "memory is short");
	server_close_peer(p, &err);
}

void health_service_on_subscribe(struct peer *p)
{
	struct server *s = p->server;
	s->health.subscribed = server_now();
	if (host_watch_on_connect(&s->health.hosts, p->subscribe.node.name, s->health.subscribed) != 0)
		log_warn("host-not-watched", "host=%s text=\"memory is short\"", p->subscribe.node.name);
	s->has_news = true;
}

// A host that fell silent has been away since its last word.
void health_service_on_unsubscribe(struct peer *p)
{
	struct server *s = p->server;
	struct mono_time now = server_now();
	uint64_t silent_us = p->silent_ms * 1000ULL < now.us ? p->silent_ms * 1000ULL : 0;
	health_view_on_disconnect(&s->health.view, p->subscribe.node.name);
	host_watch_on_disconnect(&s->health.hosts, p->subscribe.node.name, mono_from_us(now.us - silent_us));
	s->has_news = true;
}

void health_service_on_ack(struct peer *p)
{
	health_view_on_ack(&p->server->health.view, p->subscribe.node.name, p->distribution.acked_version);
}

void health_service_on_applied(struct server *s, const struct change_list *changes)
{
	for (uint32_t i = 0; i < changes->n; i++) {
		const struct change *c = &changes->items[i];
		health_view_on_change(&s->health.view, &s->machine.state, &c->key);
		if (c->key.kind == OBJECT_HOST && c->is_delete)
			host_watch_forget(&s->health.hosts, c->key.name);
	}
}

void health_service_fill(const struct server *s, struct counter *counters, uint32_t *n)
{
	const struct health_service *h = &s->health;
	snat_stats_put(counters, n, "health_reports", h->n_reports);
	snat_stats_put(counters, n, "health_results_dropped", h->view.n_dropped);
	snat_stats_put(counters, n, "marks_proposed", h->n_marks);
	snat_stats_put(counters, n, "marks_failed", h->n_failed);
	snat_stats_put(counters, n, "hosts_away", host_watch_n_away(&h->hosts));
	snat_stats_put(counters, n, "fail_static", h->hosts.is_fail_static);
}

// ---- life ----

void health_service_init(struct server *s)
{
	host_watch_init(&s->health.hosts);
	health_view_init(&s->health.view);
}

void health_service_start(struct server *s)
{
	uv_timer_init(s->loop, &s->health.wake);
	s->health.wake.data = s;
	s->n_open++;
}

static void on_timer_closed(uv_handle_t *handle)
{
	server_release(handle->data);
}

void health_service_stop(struct server *s)
{
	uv_close((uv_handle_t *)&s->health.wake, on_timer_closed);
}

void health_service_fini(struct server *s)
{
	host_watch_fini(&s->health.hosts);
	health_view_fini(&s->health.view);
}

void health_service_begin(struct server *s)
{
	struct mono_time now = server_now();
	s->health.is_proposed = false;
	s->health.next = s->health.begun = now;
	health_view_clear(&s->health.view);
	if (host_watch_begin(&s->health.hosts, &s->machine.state.store, now) != 0)
		log_warn("hosts-not-watched", "text=\"memory is short\"");
}

void health_service_end(struct server *s)
{
	s->health.is_proposed = false;
	health_view_clear(&s->health.view);
	host_watch_fini(&s->health.hosts);
	uv_timer_stop(&s->health.wake);
}
