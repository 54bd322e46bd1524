// What only the leader sees, as events of the replicated state (common/model/event.h): kept here until a command has brought
// them there. One command at a time, at most one each EVENTS_SPACING_MS. What the queue has no room for is counted, and a further
// event says how many. With the leadership the queue goes: what still holds the next leader sees itself.
#include <string.h>

#include "common/base/memory.h"
#include "common/io/log.h"
#include "manager/io/server_parts.h"

#define EVENTS_QUEUE_MAX 256
#define EVENTS_SPACING_US 100000

struct event_batch {
	struct server *server;
	uint32_t leadership;
	struct event_list events;
};

static void drop(struct server *s, uint32_t n)
{
	s->events.n_dropped += n;
	s->events.n_unsaid += n;
}

void event_service_add(struct server *s, const struct cluster_event *e)
{
	struct event_service *events = &s->events;
	if (s->is_stopping || !replica_leads(s->replica))
		return;
	log_info("event", "what=%s object=\"%s\" cause=\"%s\"", e->what, e->object, e->cause);
	if (events->queue.n >= EVENTS_QUEUE_MAX || event_list_append(&events->queue, e) != 0)
		drop(s, 1);
	s->has_news = true;
}

// ---- commands ----

static void free_batch(struct event_batch *b)
{
	event_list_fini(&b->events);
	memory_free(b);
}

// Before those that have come meanwhile, as far as there is room.
static void put_back(struct server *s, struct event_batch *b)
{
	struct event_list later = s->events.queue;
	s->events.queue = b->events;
	b->events = (struct event_list){ 0 };
	for (uint32_t i = 0; i < later.n; i++)
		if (s->events.queue.n >= EVENTS_QUEUE_MAX || event_list_append(&s->events.queue, &later.items[i]) != 0)
			drop(s, 1);
	event_list_fini(&later);
}

static void on_result(const struct error *err, uint64_t version, void *user)
{
	struct event_batch *b = user;
	struct server *s = b->server;
	if (b->leadership == s->snat.leadership) {
		s->events.is_proposed = false;
		s->has_news = true;
		if (err->code == ERR_LIMIT || err->code == ERR_NO_MEMORY)
			put_back(s, b);
		else if (err->code != 0)
			drop(s, b->events.n);
	}
	free_batch(b);
}

static void say_dropped(struct server *s)
{
	struct event_service *events = &s->events;
	struct cluster_event e =
		event_make("events-dropped", "cluster", "%u events were more than there was room for", events->n_unsaid);
	if (events->n_unsaid > 0 && event_list_append(&events->queue, &e) == 0)
		events->n_unsaid = 0;
}

static void propose(struct server *s, struct mono_time now)
{
	struct event_service *events = &s->events;
	struct error err = { 0 };
	struct event_batch *b = memory_array(1, sizeof *b);
	events->next = mono_add_us(now, EVENTS_SPACING_US);
	if (b == NULL)
		return; // they wait
	say_dropped(s);
	*b = (struct event_batch){ .server = s, .leadership = s->snat.leadership, .events = events->queue };
	events->queue = (struct event_list){ 0 };
	if (server_propose(s, &(struct state_command){ .events = b->events }, on_result, b, &err) == 0) {
		events->is_proposed = true;
		return;
	}
	put_back(s, b);
	free_batch(b);
}

static void on_wake(uv_timer_t *timer)
{
	struct server *s = timer->data;
	s->has_news = true;
}

void event_service_step(struct server *s)
{
	struct event_service *events = &s->events;
	struct mono_time now = server_now();
	if (events->is_proposed || events->queue.n + events->n_unsaid == 0)
		return;
	if (!mono_is_before(now, events->next))
		propose(s, now);
	if (!events->is_proposed)
		uv_timer_start(&events->wake, on_wake, mono_elapsed_us(now, events->next) / 1000 + 1, 0);
}

// ---- life ----

void event_service_start(struct server *s)
{
	uv_timer_init(s->loop, &s->events.wake);
	s->events.wake.data = s;
	s->n_open++;
}

static void on_timer_closed(uv_handle_t *handle)
{
	server_release(handle->data);
}

void event_service_stop(struct server *s)
{
	uv_close((uv_handle_t *)&s->events.wake, on_timer_closed);
}

void event_service_fini(struct server *s)
{
	event_list_fini(&s->events.queue);
}

void event_service_begin(struct server *s)
{
	char object[NAME_BYTES];
	s->events.is_proposed = false;
	s->events.next = server_now();
	(void)text_format(object, sizeof object, "manager %llu", (unsigned long long)s->config.id);
	struct cluster_event e =
		event_make("leader-elected", object, "term %llu, version %llu", (unsigned long long)replica_term(s->replica),
	               (unsigned long long)s->machine.state.store.version);
	event_service_add(s, &e);
}

void event_service_end(struct server *s)
{
	event_list_fini(&s->events.queue);
	s->events.n_unsaid = 0;
	s->events.is_proposed = false;
	uv_timer_stop(&s->events.wake);
}
