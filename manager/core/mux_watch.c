#include "manager/core/mux_watch.h"

#include <string.h>

#define ACK_US (MUX_WATCH_ACK_MS * 1000ULL)
#define EXPECT_US (MUX_WATCH_EXPECT_MS * 1000ULL)
#define MARK_US 5000 // versions this close together share a mark, with the time of the first

static struct watched_mux *find(struct mux_watch *w, const char *name)
{
	for (uint32_t i = 0; i < w->n; i++)
		if (strcmp(w->items[i].name, name) == 0)
			return &w->items[i];
	return NULL;
}

static struct watched_mux *find_or_add(struct mux_watch *w, const char *name)
{
	struct watched_mux *m = find(w, name);
	if (m != NULL || w->n == LIMIT_MUXES)
		return m;
	m = &w->items[w->n++];
	memset(m, 0, sizeof *m);
	m->state = MUX_DOWN;
	(void)text_copy(m->name, sizeof m->name, name);
	return m;
}

static bool is_counted(const struct watched_mux *m)
{
	return m->state == MUX_EXPECTED || m->state == MUX_LIVE;
}

// ---- marks ----

static void add_mark(struct mux_watch *w, struct mono_time now)
{
	uint32_t n = w->n_marks;
	if (n > 0 && mono_elapsed_us(w->marks[n - 1].since, now) < MARK_US) {
		w->marks[n - 1].version = w->version;
		return;
	}
	if (n == MUX_WATCH_MARKS) { // the two oldest become one: whoever waits for them is late anyway
		w->marks[1].since = w->marks[0].since;
		memmove(w->marks, w->marks + 1, (n - 1) * sizeof w->marks[0]);
		n--;
	}
	w->marks[n].version = w->version;
	w->marks[n].since = now;
	w->n_marks = n + 1;
}

static void drop_marks(struct mux_watch *w)
{
	uint64_t least = w->version;
	for (uint32_t i = 0; i < w->n; i++)
		if (is_counted(&w->items[i]) && w->items[i].acked < least)
			least = w->items[i].acked;
	uint32_t n = 0;
	while (n < w->n_marks && w->marks[n].version <= least)
		w->unmarked_version = w->marks[n++].version;
	memmove(w->marks, w->marks + n, (w->n_marks - n) * sizeof w->marks[0]);
	w->n_marks -= n;
}

// When did the first version after this one, which is not the current one, become current? 0: long ago.
static struct mono_time first_after(const struct mux_watch *w, uint64_t acked)
{
	for (uint32_t i = 0; i < w->n_marks && acked >= w->unmarked_version; i++)
		if (w->marks[i].version > acked)
			return w->marks[i].since;
	return mono_from_us(0);
}

// Until when a LIVE mux has to acknowledge what it has not; false: it has everything.
static bool deadline_of(const struct mux_watch *w, const struct watched_mux *m, struct mono_time *ret_deadline)
{
	if (m->acked >= w->version)
		return false;
	struct mono_time since = first_after(w, m->acked);
	if (mono_is_before(since, m->since))
		since = m->since;
	*ret_deadline = mono_add_us(since, ACK_US);
	return true;
}

// ---- the floor ----

static void update_floor(struct mux_watch *w)
{
	uint64_t floor = w->version;
	for (uint32_t i = 0; i < w->n; i++)
		if (is_counted(&w->items[i]) && w->items[i].acked < floor)
			floor = w->items[i].acked;
	if (floor > w->floor)
		w->floor = floor;
}

// ---- events ----

void mux_watch_begin(struct mux_watch *w, uint64_t version)
{
	memset(w, 0, sizeof *w);
	w->version = w->unmarked_version = version;
	w->withdraw_percent = MUX_WATCH_WITHDRAW_PERCENT;
}

void mux_watch_set_withdraw_percent(struct mux_watch *w, uint32_t percent)
{
	w->withdraw_percent = percent;
}

void mux_watch_expect(struct mux_watch *w, const char *name, struct mono_time now)
{
	struct watched_mux *m = find_or_add(w, name);
	if (m == NULL || m->is_connected)
		return;
	m->state = MUX_EXPECTED;
	m->since = mono_add_us(now, EXPECT_US - ACK_US);
}

void mux_watch_on_version(struct mux_watch *w, uint64_t version, struct mono_time now)
{
	if (version <= w->version)
		return;
	w->version = version;
	add_mark(w, now);
}

void mux_watch_on_subscribe(struct mux_watch *w, const char *name, uint64_t acked, struct mono_time now)
{
	struct watched_mux *m = find_or_add(w, name);
	if (m == NULL)
		return;
	// Coming back while it is expected, however often, gives it no more time.
	if (m->state != MUX_EXPECTED || mono_is_before(now, m->since))
		m->since = now;
	if (m->state != MUX_FENCED)
		m->state = MUX_LIVE;
	m->told = MUX_TOLD_NOTHING;
	m->is_connected = true;
	m->acked = acked;
}

void mux_watch_on_ack(struct mux_watch *w, const char *name, uint64_t acked)
{
	struct watched_mux *m = find(w, name);
	if (m == NULL || !m->is_connected || acked <= m->acked)
		return;
	m->acked = acked;
	drop_marks(w);
}

void mux_watch_on_disconnect(struct mux_watch *w, const char *name, struct mono_time now)
{
	struct watched_mux *m = find(w, name);
	if (m == NULL || !m->is_connected)
		return;
	m->is_connected = false;
	if (m->state != MUX_LIVE)
		return;
	struct mono_time since = m->acked < w->version ? first_after(w, m->acked) : now;
	if (mono_is_before(m->since, since)) // what it owed already stays owed since then
		m->since = since;
	m->state = MUX_EXPECTED;
}

void mux_watch_forget(struct mux_watch *w, const char *name)
{
	struct watched_mux *m = find(w, name);
	if (m != NULL)
		*m = w->items[--w->n];
}

// ---- steps ----

static void move_by_time(struct mux_watch *w, struct watched_mux *m, struct mono_time now)
{
	if (m->state == MUX_LIVE && m->told == MUX_TOLD_FREE)
		m->was_fenced = false;
	if (m->state == MUX_EXPECTED && !mono_is_before(now, mono_add_us(m->since, ACK_US)))
		m->state = MUX_DOWN;
	else if (m->state == MUX_FENCED && m->is_connected && m->acked >= w->floor && m->acked > m->late_at) {
		m->state = MUX_LIVE;
		m->since = now;
	}
}

static bool is_late(const struct mux_watch *w, const struct watched_mux *m, struct mono_time now)
{
	struct mono_time deadline;
	return m->state == MUX_LIVE && deadline_of(w, m, &deadline) && !mono_is_before(now, deadline);
}

// How many more muxes may be fenced? The last live one never is.
static uint32_t n_fenceable(const struct mux_watch *w)
{
	uint32_t most = w->n * w->withdraw_percent / 100;
	uint32_t n_fenced = mux_watch_n(w, MUX_FENCED);
	uint32_t n_live = mux_watch_n(w, MUX_LIVE);
	uint32_t n = most > n_fenced ? most - n_fenced : 0;
	if (n_live < 2)
		return 0;
	return n < n_live ? n : n_live - 1;
}

// Of those that are late and have acknowledged no more than `most`: how many, and the least that one has acknowledged.
static uint32_t count_late(const struct mux_watch *w, struct mono_time now, uint64_t most, uint64_t *ret_least)
{
	uint32_t n = 0;
	*ret_least = UINT64_MAX;
	for (uint32_t i = 0; i < w->n; i++) {
		const struct watched_mux *m = &w->items[i];
		if (m->acked > most || !is_late(w, m, now))
			continue;
		n++;
		if (m->acked < *ret_least)
			*ret_least = m->acked;
	}
	return n;
}

// Those that are furthest behind go first, and all that are equally far or none: otherwise nobody's answer would come sooner.
static void fence_late(struct mux_watch *w, struct mono_time now)
{
	uint64_t least, ignored;
	while (count_late(w, now, UINT64_MAX, &least) > 0 && count_late(w, now, least, &ignored) <= n_fenceable(w))
		for (uint32_t i = 0; i < w->n; i++) {
			struct watched_mux *m = &w->items[i];
			if (m->acked > least || !is_late(w, m, now))
				continue;
			m->state = MUX_FENCED;
			m->was_fenced = true;
			m->late_at = m->acked;
		}
	for (uint32_t i = 0; i < w->n; i++)
		w->items[i].is_held = is_late(w, &w->items[i], now);
}

static enum mux_told must_hear(const struct mux_watch *w, const struct watched_mux *m)
{
	if (m->state == MUX_FENCED)
		return MUX_TOLD_FENCED;
	return m->state == MUX_LIVE && m->acked >= w->floor ? MUX_TOLD_FREE : m->told;
}

const struct watched_mux *mux_watch_step(struct mux_watch *w, struct mono_time now)
{
	for (uint32_t i = 0; i < w->n; i++)
		move_by_time(w, &w->items[i], now);
	fence_late(w, now);
	update_floor(w);
	drop_marks(w);
	for (uint32_t i = 0; i < w->n; i++) {
		struct watched_mux *m = &w->items[i];
		if (!m->is_connected || must_hear(w, m) == m->told)
			continue;
		m->told = must_hear(w, m);
		return m;
	}
	return NULL;
}

bool mux_watch_next_time(const struct mux_watch *w, struct mono_time *ret_when)
{
	struct mono_time earliest = mono_from_us(UINT64_MAX);
	struct mono_time deadline;
	bool fences = n_fenceable(w) > 0;
	for (uint32_t i = 0; i < w->n; i++) {
		const struct watched_mux *m = &w->items[i];
		if (m->state == MUX_EXPECTED)
			deadline = mono_add_us(m->since, ACK_US);
		else if (m->state != MUX_LIVE || m->is_held || !fences || !deadline_of(w, m, &deadline))
			continue;
		if (mono_is_before(deadline, earliest))
			earliest = deadline;
	}
	if (earliest.us == UINT64_MAX)
		return false;
	*ret_when = earliest;
	return true;
}

const struct watched_mux *mux_watch_lookup(const struct mux_watch *w, const char *name)
{
	return find((struct mux_watch *)w, name);
}

uint32_t mux_watch_n(const struct mux_watch *w, enum mux_watch_state state)
{
	uint32_t n = 0;
	for (uint32_t i = 0; i < w->n; i++)
		n += w->items[i].state == state;
	return n;
}
