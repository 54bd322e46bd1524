#include "manager/core/host_watch.h"

#include <string.h>

#include "common/base/memory.h"

#define EXPECT_US (HOST_WATCH_EXPECT_MS * 1000ULL)
#define AGAIN_US 1000000 // what was proposed and is not in the state is proposed again
#define LOOK_US 10000000 // what was in the state, and should be, may not be any more

// ---- hosts ----

// The index of the name, or where it would be inserted.
static uint32_t find(const struct host_watch *w, const char *name, bool *ret_found)
{
	uint32_t low = 0;
	uint32_t high = w->n;
	*ret_found = false;
	while (low < high) {
		uint32_t middle = low + (high - low) / 2;
		int order = strcmp(w->items[middle]->name, name);
		if (order == 0) {
			*ret_found = true;
			return middle;
		}
		if (order < 0)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

static struct watched_host *lookup(const struct host_watch *w, const char *name)
{
	bool found;
	uint32_t i = find(w, name, &found);
	return found ? w->items[i] : NULL;
}

static void unlink_host(struct host_watch *w, struct watched_host *h)
{
	struct watched_hosts *list = &w->by_state[h->state];
	*(h->previous != NULL ? &h->previous->next : &list->first) = h->next;
	*(h->next != NULL ? &h->next->previous : &list->last) = h->previous;
	list->n--;
}

static void link_host(struct host_watch *w, struct watched_host *h, enum host_watch_state state, struct mono_time now)
{
	struct watched_hosts *list = &w->by_state[state];
	h->state = state;
	h->since = now;
	h->previous = list->last;
	h->next = NULL;
	*(list->last != NULL ? &list->last->next : &list->first) = h;
	list->last = h;
	list->n++;
}

static void move_host(struct host_watch *w, struct watched_host *h, enum host_watch_state state, struct mono_time now)
{
	unlink_host(w, h);
	link_host(w, h, state, now);
}

// A host that is not watched yet. NULL when memory is short.
static struct watched_host *insert(struct host_watch *w, const char *name, enum host_watch_state state,
                                   struct mono_time now)
{
	bool found;
	uint32_t i = find(w, name, &found);
	struct watched_host **items = memory_grow(w->items, w->n, &w->capacity, sizeof(*items));
	if (items == NULL)
		return NULL;
	w->items = items;
	struct watched_host *h = memory_array(1, sizeof *h);
	if (h == NULL)
		return NULL;
	(void)text_copy(h->name, sizeof h->name, name);
	h->away_since = now;
	memmove(items + i + 1, items + i, (w->n++ - i) * sizeof(*items));
	items[i] = h;
	link_host(w, h, state, now);
	return h;
}

void host_watch_init(struct host_watch *w)
{
	memset(w, 0, sizeof *w);
}

void host_watch_fini(struct host_watch *w)
{
	for (uint32_t i = 0; i < w->n; i++)
		memory_free(w->items[i]);
	memory_free(w->items);
	host_watch_init(w);
}

// ---- events ----

int host_watch_begin(struct host_watch *w, const struct store *store, struct mono_time now)
{
	host_watch_fini(w);
	for (uint32_t i = 0; i < store->hosts.n; i++)
		if (insert(w, store_host(store, i)->name, HOST_EXPECTED, now) == NULL) {
			host_watch_fini(w);
			return ERR_NO_MEMORY;
		}
	return 0;
}

int host_watch_on_connect(struct host_watch *w, const char *host, struct mono_time now)
{
	struct watched_host *h = lookup(w, host);
	if (h == NULL)
		return insert(w, host, HOST_CONNECTED, now) == NULL ? ERR_NO_MEMORY : 0;
	move_host(w, h, HOST_CONNECTED, now);
	return 0;
}

void host_watch_on_disconnect(struct host_watch *w, const char *host, struct mono_time now)
{
	struct watched_host *h = lookup(w, host);
	if (h == NULL || h->state != HOST_CONNECTED)
		return;
	h->away_since = now;
	move_host(w, h, HOST_AWAY, now);
}

void host_watch_forget(struct host_watch *w, const char *host)
{
	bool found;
	uint32_t i = find(w, host, &found);
	if (!found)
		return;
	unlink_host(w, w->items[i]);
	memory_free(w->items[i]);
	memmove(w->items + i, w->items + i + 1, (--w->n - i) * sizeof(*w->items));
}

// ---- time ----

// How long a host stays in this state without an event. False: for ever.
static bool stay_us(enum host_watch_state state, const struct cluster_settings *settings, uint64_t *ret_us)
{
	switch (state) {
	case HOST_EXPECTED: *ret_us = settings->host_gone_ms * 1000ULL + EXPECT_US; break;
	case HOST_AWAY: *ret_us = settings->host_gone_ms * 1000ULL; break;
	case HOST_PROPOSED: *ret_us = AGAIN_US; break;
	case HOST_MARKED: *ret_us = LOOK_US; break;
	case HOST_CONNECTED:
	case HOST_WATCH_STATES: return false;
	}
	return settings->host_gone_ms > 0;
}

// The host whose time in a state is over, the longest there first. NULL: none.
static struct watched_host *first_due(const struct host_watch *w, enum host_watch_state state,
                                      const struct cluster_settings *settings, struct mono_time now)
{
	uint64_t us;
	struct watched_host *h = w->by_state[state].first;
	return h != NULL && stay_us(state, settings, &us) && !mono_is_before(now, mono_add_us(h->since, us)) ? h : NULL;
}

static bool are_too_many_away(const struct host_watch *w, const struct cluster_settings *settings)
{
	return host_watch_n_away(w) * 100ULL > (uint64_t)settings->fail_static_percent * w->n;
}

// ---- steps ----

static bool is_marked(const struct store *store, const struct watched_host *h)
{
	struct object_key key = object_key_of_name(OBJECT_HOST_GONE, h->name);
	return store_lookup_mark(store, &key) != NULL;
}

static int append_mark(struct host_watch *w, struct watched_host *h, struct mono_time now, struct change_list *changes)
{
	struct change c = { .key = object_key_of_name(OBJECT_HOST_GONE, h->name) };
	(void)text_format(c.mark.cause, sizeof c.mark.cause, "agent not connected for %.1f s",
	                  (double)mono_elapsed_us(h->away_since, now) / 1000000);
	if (change_list_append(changes, &c) != 0)
		return ERR_NO_MEMORY;
	move_host(w, h, HOST_PROPOSED, now);
	return 0;
}

static int begin_fail_static(struct host_watch *w, const struct cluster_settings *settings, struct event_list *events)
{
	struct cluster_event e = event_make(
		"fail-static", "hosts", "%u of %u hosts are not connected, more than %u %%: no more of them are taken for gone",
		host_watch_n_away(w), w->n, settings->fail_static_percent);
	if (event_list_append(events, &e) != 0)
		return ERR_NO_MEMORY;
	w->is_fail_static = true;
	return 0;
}

// Those that are still away and not marked begin anew.
static int end_fail_static(struct host_watch *w, const struct cluster_settings *settings, struct mono_time now,
                           struct event_list *events)
{
	struct cluster_event e =
		event_make("fail-static-over", "hosts", "%u of %u hosts are not connected", host_watch_n_away(w), w->n);
	if (event_list_append(events, &e) != 0)
		return ERR_NO_MEMORY;
	w->is_fail_static = false;
	for (int state = HOST_EXPECTED; state <= HOST_PROPOSED; state++)
		for (struct watched_host *h; (h = first_due(w, (enum host_watch_state)state, settings, now)) != NULL;)
			move_host(w, h, HOST_AWAY, now);
	return 0;
}

// Goes through those of one state that are due, until max changes are there or it fails static.
static int step_state(struct host_watch *w, enum host_watch_state state, const struct store *store,
                      struct mono_time now, uint32_t max, struct change_list *changes, struct event_list *events)
{
	struct watched_host *h;
	while (!w->is_fail_static && changes->n < max && (h = first_due(w, state, &store->settings, now)) != NULL) {
		int code = 0;
		if (is_marked(store, h))
			move_host(w, h, HOST_MARKED, now);
		else if (are_too_many_away(w, &store->settings))
			code = begin_fail_static(w, &store->settings, events);
		else
			code = append_mark(w, h, now, changes);
		if (code != 0)
			return code;
	}
	return 0;
}

int host_watch_step(struct host_watch *w, const struct store *store, struct mono_time now, uint32_t max,
                    struct change_list *changes, struct event_list *events)
{
	int code = 0;
	uint32_t most = changes->n + max;
	bool is_cut_off = store->settings.host_gone_ms > 0 && are_too_many_away(w, &store->settings);
	if (w->is_fail_static && !is_cut_off)
		code = end_fail_static(w, &store->settings, now, events);
	for (int state = HOST_EXPECTED; code == 0 && state <= HOST_MARKED; state++)
		code = step_state(w, (enum host_watch_state)state, store, now, most, changes, events);
	return code;
}

bool host_watch_next_time(const struct host_watch *w, const struct cluster_settings *settings,
                          struct mono_time *ret_when)
{
	bool has_any = false;
	for (int state = HOST_EXPECTED; state <= HOST_MARKED && !w->is_fail_static; state++) {
		const struct watched_host *h = w->by_state[state].first;
		uint64_t us;
		if (h == NULL || !stay_us((enum host_watch_state)state, settings, &us))
			continue;
		struct mono_time when = mono_add_us(h->since, us);
		if (!has_any || mono_is_before(when, *ret_when))
			*ret_when = when;
		has_any = true;
	}
	return has_any;
}
