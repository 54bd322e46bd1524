// Requests that wait until all muxes and agents have acknowledged a version. Of one leadership: the next leader is asked anew.
#include "common/base/memory.h"
#include "manager/io/server_parts.h"

#define WAITS_MAX 256
#define WAITS_OF_PEER_MAX 4
#define WAIT_MAX_MS 3600000u

struct wait_request {
	struct peer *peer;
	struct wait_request *next;
	uint64_t request_id;
	uint64_t version;
	struct mono_time deadline;
};

static void add_laggard(struct wait_reply *r, enum node_role role, const char *name, uint64_t version,
                        bool is_connected)
{
	r->n_late += is_connected;
	r->n_away += !is_connected;
	if (r->n_laggards == LAGGARDS_MAX)
		return;
	struct laggard *l = &r->laggards[r->n_laggards++];
	*l = (struct laggard){ .role = role, .version = version, .is_connected = is_connected };
	(void)text_copy(l->name, sizeof l->name, name);
}

static void add_away(const struct server *s, const struct store_array *nodes, enum node_role role, struct wait_reply *r)
{
	for (uint32_t i = 0; i < nodes->n; i++) {
		const struct node_info *node = nodes->items[i];
		if (roster_lookup(&s->roster, role, node->name) == NULL)
			add_laggard(r, role, node->name, 0, false);
	}
}

static bool is_anyone_late(const struct server *s, uint64_t version)
{
	for (uint32_t i = 0; i < s->roster.n; i++)
		if (s->roster.items[i]->distribution.acked_version < version)
			return true;
	return false;
}

static void judge(const struct server *s, uint64_t version, struct wait_reply *r)
{
	const struct store *store = &s->machine.state.store;
	*r = (struct wait_reply){ 0 };
	for (uint32_t i = 0; i < s->roster.n; i++) {
		const struct peer *p = s->roster.items[i];
		if (p->distribution.acked_version >= version)
			r->n_acked++;
		else
			add_laggard(r, p->subscribe.role, p->subscribe.node.name, p->distribution.acked_version, true);
	}
	add_away(s, &store->muxes, ROLE_MUX, r);
	add_away(s, &store->hosts, ROLE_AGENT, r);
	// In a new leadership all that are known are still expected to come.
	bool are_expected = mono_is_before(server_now(), s->muxes_expected_until);
	r->is_done = r->n_late == 0 && (r->n_away == 0 || !are_expected);
}

static void answer(struct wait_request *w, const struct wait_reply *r)
{
	struct message m = { .type = MESSAGE_WAIT_REPLY, .request_id = w->request_id };
	m.term = replica_term(w->peer->server->replica);
	m.wait = *r;
	(void)conn_send(w->peer->conn, &m);
}

static void on_timer(uv_timer_t *timer)
{
	wait_service_step(timer->data);
}

static void set_timer(struct server *s)
{
	struct mono_time now = server_now();
	uint64_t us = UINT64_MAX;
	for (const struct wait_request *w = s->waits.first; w != NULL; w = w->next) {
		uint64_t left_us = mono_elapsed_us(now, w->deadline);
		us = left_us < us ? left_us : us;
	}
	uint64_t expected_us = mono_elapsed_us(now, s->muxes_expected_until);
	if (expected_us > 0 && expected_us < us)
		us = expected_us;
	if (s->waits.first == NULL)
		uv_timer_stop(&s->waits.timer);
	else
		uv_timer_start(&s->waits.timer, on_timer, us / 1000 + 1, 0);
}

void wait_service_step(struct server *s)
{
	struct mono_time now = server_now();
	struct wait_reply r;
	if (s->waits.first == NULL)
		return;
	for (struct wait_request **at = &s->waits.first; *at != NULL;) {
		struct wait_request *w = *at;
		bool is_over = !mono_is_before(now, w->deadline);
		r.is_done = false;
		if (is_over || !is_anyone_late(s, w->version)) // to name them all takes longer
			judge(s, w->version, &r);
		if (!r.is_done && !is_over) {
			at = &w->next;
			continue;
		}
		*at = w->next;
		s->waits.n--;
		answer(w, &r);
		memory_free(w);
	}
	set_timer(s);
}

static int check(const struct peer *p, uint64_t version, struct error *err)
{
	const struct server *s = p->server;
	uint32_t n_own = 0;
	for (const struct wait_request *w = s->waits.first; w != NULL; w = w->next)
		n_own += w->peer == p;
	if (version > s->machine.state.store.version)
		return error_set(err, ERR_INVALID, "wait: there is no version %llu yet; the cluster is at %llu",
		                 (unsigned long long)version, (unsigned long long)s->machine.state.store.version);
	if (s->waits.n >= WAITS_MAX || n_own >= WAITS_OF_PEER_MAX)
		return error_set(
			err, ERR_LIMIT,
			"%u requests wait for acknowledgements, %u of them of this connection: that is the limit; try again later",
			s->waits.n, n_own);
	return 0;
}

void wait_service_on_request(struct peer *p, uint64_t request_id, uint64_t version, uint32_t timeout_ms)
{
	struct server *s = p->server;
	struct error err = { 0 };
	int code = check(p, version, &err);
	struct wait_request *w = code == 0 ? memory_array(1, sizeof *w) : NULL;
	if (code == 0 && w == NULL)
		code = error_set(&err, ERR_NO_MEMORY, "memory is short");
	if (code != 0) {
		server_send_error(p, request_id, &err);
		return;
	}
	timeout_ms = timeout_ms < WAIT_MAX_MS ? timeout_ms : WAIT_MAX_MS;
	*w = (struct wait_request){ .peer = p, .next = s->waits.first, .request_id = request_id, .version = version };
	w->deadline = mono_add_us(server_now(), timeout_ms * 1000ULL);
	s->waits.first = w;
	s->waits.n++;
	wait_service_step(s);
}

static void drop(struct server *s, const struct peer *p, bool redirects)
{
	for (struct wait_request **at = &s->waits.first; *at != NULL;) {
		struct wait_request *w = *at;
		if (p != NULL && w->peer != p) {
			at = &w->next;
			continue;
		}
		if (redirects)
			server_send_redirect(w->peer, w->request_id);
		*at = w->next;
		s->waits.n--;
		memory_free(w);
	}
}

void wait_service_forget_peer(struct peer *p)
{
	drop(p->server, p, false);
}

void wait_service_end(struct server *s)
{
	drop(s, NULL, true);
}

static void on_closed(uv_handle_t *handle)
{
	server_release(handle->data);
}

void wait_service_start(struct server *s)
{
	uv_timer_init(s->loop, &s->waits.timer);
	s->waits.timer.data = s;
	s->n_open++;
}

void wait_service_stop(struct server *s)
{
	uv_close((uv_handle_t *)&s->waits.timer, on_closed);
}
