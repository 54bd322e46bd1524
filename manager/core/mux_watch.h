// Which muxes an answer waits for, and how long: an agent is told of a lease only when every mux that carries traffic knows it,
// and a mux that does not say so in time is fenced off (its routes are withdrawn), not waited for.
//
//                 .------- connection closed -------.
//                 v                                 |
//   begin --> EXPECTED ------- subscribed -------> LIVE --- late ---> FENCED
//                 |                                 ^ ^                 |
//                 | its time is over                | '-- caught up ----'   (also over a new connection)
//                 v                                 |
//               DOWN ---------- subscribed ---------'
//
// Counted are EXPECTED and LIVE muxes. The floor is the newest lease version that all of them have acknowledged; without any,
// the current one. It never falls within one leadership: what agents were told stays told.
// Late: the oldest version that it has not acknowledged became current, or it subscribed, more than MUX_WATCH_ACK_MS ago.
// EXPECTED lasts MUX_WATCH_EXPECT_MS from the beginning of leadership, MUX_WATCH_ACK_MS after a connection closed; a mux that
// comes back in that time has no longer to acknowledge. Caught up: it has acknowledged the floor, and more than when it
// was fenced; newer versions then wait for it.
// The last LIVE mux is waited for and never fenced, however late, as long as it is connected: without it nothing would be
// served, and what it does not know could not work. Nor are more muxes fenced at a time than withdraw_percent of those that are
// watched, rounded down. Those that are furthest behind are fenced first, and all that are equally far behind or none: to withdraw
// some and wait for the others would help nobody. Whoever is late and not fenced is waited for.
// After each subscription a mux that has caught up is told that it is not fenced: another leader may have fenced it.
// Threads: one owner. Pure: the time comes in. Cost: O(muxes) per call. Full: beyond LIMIT_MUXES a mux is not watched; there
// are no more in a state.
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "common/base/mono.h"
#include "common/base/text.h"
#include "common/model/limits.h"

#define MUX_WATCH_ACK_MS 500
#define MUX_WATCH_EXPECT_MS 3000
#define MUX_WATCH_MARKS 128
#define MUX_WATCH_WITHDRAW_PERCENT 50 // unless mux_watch_set_withdraw_percent says otherwise

enum mux_watch_state { MUX_EXPECTED, MUX_LIVE, MUX_FENCED, MUX_DOWN };

enum mux_told { MUX_TOLD_NOTHING, MUX_TOLD_FENCED, MUX_TOLD_FREE };

struct watched_mux {
	char name[NAME_BYTES];
	enum mux_watch_state state;
	enum mux_told told; // since it subscribed
	bool is_connected;
	bool was_fenced; // by this leader: until the step after it was told that it is free
	uint64_t acked; // lease version
	bool is_held; // late and not fenced: only an event changes that
	uint64_t late_at; // what it had acknowledged when it was fenced
	struct mono_time since; // its time to acknowledge, or to come back, begins then
};

struct mux_watch {
	uint64_t version; // of the leases
	uint64_t floor;
	uint32_t withdraw_percent;
	uint32_t n;
	struct watched_mux items[LIMIT_MUXES];
	// When versions became current: each mark stands for those after the mark before, up to its own. Up to unmarked_version
	// that is not known any more.
	uint64_t unmarked_version;
	uint32_t n_marks;
	struct {
		uint64_t version;
		struct mono_time since;
	} marks[MUX_WATCH_MARKS];
};

// A leadership begins at this lease version, with a floor of 0; then each registered mux is expected.
void mux_watch_begin(struct mux_watch *w, uint64_t version);
void mux_watch_expect(struct mux_watch *w, const char *name, struct mono_time now);

// settings.mux_withdraw_percent: after each mux_watch_begin, and when it has changed. Who is fenced already stays fenced.
void mux_watch_set_withdraw_percent(struct mux_watch *w, uint32_t percent);

void mux_watch_on_version(struct mux_watch *w, uint64_t version, struct mono_time now);
void mux_watch_on_subscribe(struct mux_watch *w, const char *name, uint64_t acked, struct mono_time now);
void mux_watch_on_ack(struct mux_watch *w, const char *name, uint64_t acked);
void mux_watch_on_disconnect(struct mux_watch *w, const char *name, struct mono_time now);
void mux_watch_forget(struct mux_watch *w, const char *name); // it was removed from the cluster

// Moves on with the time. Then the next mux that must be told whether it is fenced (told says what; it counts as told), or
// NULL when there is none: call again until then.
const struct watched_mux *mux_watch_step(struct mux_watch *w, struct mono_time now);

// Until when will nothing happen without an event? False: for ever.
bool mux_watch_next_time(const struct mux_watch *w, struct mono_time *ret_when);

const struct watched_mux *mux_watch_lookup(const struct mux_watch *w, const char *name); // NULL when it is not known
uint32_t mux_watch_n(const struct mux_watch *w, enum mux_watch_state state);
