// Which hosts are gone: the leader's clockwork for OBJECT_HOST_GONE marks.
//
//                     .---------- subscribed ----------.
//                     v                                |
//     joins --> CONNECTED -- closed --> AWAY --------->|  host_gone_ms after the disconnect: to be marked
//                     ^                                |
//     begin --> EXPECTED ---- subscribed --------------+  host_gone_ms + HOST_WATCH_EXPECT_MS after the beginning
//                                                      |
//               PROPOSED (looked at again after 1 s) --+  a mark was proposed; is it in the state?
//               MARKED (looked at again after 10 s) ---'  it is in the state already, perhaps from an earlier leader
//
// The mark of a host that is back is taken away by its whole health report (health_view.h), not here: connected alone is not
// yet known to be well. Coming back before the mark was proposed leaves no trace.
// Fail static: when a mark is due while more than settings.fail_static_percent of all hosts are not connected, the managers are
// taken to be cut off. No marks are made until fewer are away; those that are still away then have host_gone_ms more, to come
// back with the others. Events "fail-static" and "fail-static-over" say so, with counts.
// host_gone_ms of 0: nobody is ever marked; settings count at once, also for those that are away already.
// Nothing needs to be told of the fate of a command: what was proposed and is not in the state is proposed again after a second.
//
// Threads: one owner. Pure: the time comes in. Cost: an event O(log hosts), joining moves up to so many pointers; a step O(due).
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "common/base/error.h"
#include "common/base/mono.h"
#include "common/model/event.h"
#include "common/model/store.h"

#define HOST_WATCH_EXPECT_MS 3000 // how long agents may take to find a new leader

enum host_watch_state { HOST_EXPECTED, HOST_AWAY, HOST_PROPOSED, HOST_MARKED, HOST_CONNECTED, HOST_WATCH_STATES };

struct watched_host {
	char name[NAME_BYTES];
	enum host_watch_state state;
	struct mono_time away_since; // not connected, or this leadership began
	struct mono_time since; // in this state
	struct watched_host *previous; // of the same state; the first one came to it first
	struct watched_host *next;
};

struct watched_hosts {
	uint32_t n;
	struct watched_host *first;
	struct watched_host *last;
};

struct host_watch {
	bool is_fail_static;
	uint32_t n;
	uint32_t capacity;
	struct watched_host **items; // ascending by name
	struct watched_hosts by_state[HOST_WATCH_STATES];
};

void host_watch_init(struct host_watch *w);
void host_watch_fini(struct host_watch *w);

// A leadership begins: all hosts of the store are expected. ERR_NO_MEMORY: nobody is watched.
NODISCARD int host_watch_begin(struct host_watch *w, const struct store *store, struct mono_time now);

// An agent has subscribed; its host may be a new one, and is watched from now on. ERR_NO_MEMORY: it is not watched.
NODISCARD int host_watch_on_connect(struct host_watch *w, const char *host, struct mono_time now);
void host_watch_on_disconnect(struct host_watch *w, const char *host,
                              struct mono_time now); // unless it was not connected
void host_watch_forget(struct host_watch *w, const char *host); // it was removed from the cluster

// Moves on with the time: appends at most `max` marks that are due (puts of OBJECT_HOST_GONE; settings are the store's), and events.
// To be called at host_watch_next_time, after each event, when the settings have changed, and only while no command with marks
// is under way. ERR_NO_MEMORY: what was appended is good, the rest comes in the next step.
NODISCARD int host_watch_step(struct host_watch *w, const struct store *store, struct mono_time now, uint32_t max,
                              struct change_list *changes, struct event_list *events);

// Until when will nothing happen without an event? May be past: at once. False: for ever.
bool host_watch_next_time(const struct host_watch *w, const struct cluster_settings *settings,
                          struct mono_time *ret_when);

// Of all hosts that are watched.
static inline uint32_t host_watch_n_away(const struct host_watch *w)
{
	return w->n - w->by_state[HOST_CONNECTED].n;
}
