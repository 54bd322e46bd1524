// What is told of muxes as events: that one is down or up again, and its states. A mux is up while it is subscribed; a new leader
// takes up all that the events do not call down, and gives them MUX_WATCH_EXPECT_MS to come. Each tells its state when asked, which
// happens when it subscribes, and unasked when it changes. Fencing is told by snat_service.c.
#include <string.h>

#include "manager/io/server_parts.h"

static struct mux_news *find(struct server *s, const char *mux)
{
	for (uint32_t i = 0; i < s->n_mux_news; i++)
		if (strcmp(s->mux_news[i].name, mux) == 0)
			return &s->mux_news[i];
	return NULL;
}

// NULL: there are more than a state can have, of which nothing is told.
static struct mux_news *find_or_add(struct server *s, const char *mux)
{
	struct mux_news *m = find(s, mux);
	if (m != NULL || s->n_mux_news == LIMIT_MUXES)
		return m;
	m = &s->mux_news[s->n_mux_news++];
	*m = (struct mux_news){ .is_up = true }; // that it has joined is an event already
	(void)text_copy(m->name, sizeof m->name, mux);
	return m;
}

static void tell_down(struct server *s, struct mux_news *m, const char *why)
{
	struct cluster_event e = event_make("mux-down", m->name, "%s", why);
	m->is_up = false;
	event_service_add(s, &e);
}

// ---- what the events say ----

// The state is the first word of the cause.
static void take_state(struct mux_news *m, const char *cause)
{
	size_t n = strcspn(cause, ", ");
	if (n >= sizeof m->state)
		return;
	memset(m->state, 0, sizeof m->state);
	memcpy(m->state, cause, n);
}

static void take_event(struct server *s, const struct cluster_event *e)
{
	bool is_down = strcmp(e->what, "mux-down") == 0;
	bool is_up = strcmp(e->what, "mux-up") == 0 || strcmp(e->what, "mux-joined") == 0;
	bool is_state = strcmp(e->what, "mux-state") == 0;
	struct mux_news *m = is_down || is_up || is_state ? find(s, e->object) : NULL;
	if (m == NULL)
		return;
	if (is_state)
		take_state(m, e->cause);
	else
		m->is_up = is_up;
}

void mux_news_begin(struct server *s)
{
	const struct cluster_state *state = &s->machine.state;
	s->n_mux_news = 0;
	s->muxes_expected_until = mono_add_us(server_now(), MUX_WATCH_EXPECT_MS * 1000ULL);
	for (uint32_t i = 0; i < state->store.muxes.n; i++)
		(void)find_or_add(s, store_mux(&state->store, i)->name);
	const struct cluster_event *e = event_ring_after(&state->events, 0);
	for (; e != NULL; e = event_ring_after(&state->events, e->seq))
		take_event(s, e);
}

// ---- what happens ----

void mux_news_on_subscribe(struct peer *p)
{
	struct server *s = p->server;
	struct mux_news *m = find_or_add(s, p->subscribe.node.name);
	if (m != NULL && !m->is_up) {
		struct cluster_event e =
			event_make("mux-up", m->name, "connected from %s, program %s, has version %llu", conn_peer(p->conn),
		               p->subscribe.program_version, (unsigned long long)p->subscribe.have_version);
		m->is_up = true;
		event_service_add(s, &e);
	}
	(void)conn_send(p->conn, &(struct message){ .type = MESSAGE_STATUS_REQUEST, .request_id = s->next_request_id++ });
}

void mux_news_on_unsubscribe(struct peer *p, const char *why)
{
	struct mux_news *m = find(p->server, p->subscribe.node.name);
	if (m != NULL && m->is_up && server_is_serving(p->server))
		tell_down(p->server, m, why);
}

void mux_news_on_status(struct peer *p, const struct node_status *status)
{
	struct mux_news *m = find(p->server, p->subscribe.node.name);
	if (m == NULL || status->state[0] == '\0' || strcmp(m->state, status->state) == 0)
		return;
	struct cluster_event e =
		event_make("mux-state", m->name, "%s%s%s", status->state, m->state[0] != '\0' ? ", before " : "", m->state);
	memcpy(m->state, status->state, sizeof m->state);
	event_service_add(p->server, &e);
}

void mux_news_forget(struct server *s, const char *mux)
{
	struct mux_news *m = find(s, mux);
	if (m != NULL)
		*m = s->mux_news[--s->n_mux_news];
}

void mux_news_run(struct server *s)
{
	if (mono_is_before(server_now(), s->muxes_expected_until))
		return;
	for (uint32_t i = 0; i < s->n_mux_news; i++) {
		struct mux_news *m = &s->mux_news[i];
		if (m->is_up && roster_lookup(&s->roster, ROLE_MUX, m->name) == NULL)
			tell_down(s, m, "did not come to the leader that was elected");
	}
}
