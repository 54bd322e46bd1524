// The last EVENTS_KEPT events of the cluster (common/model/event.h; the words are in docs/events.md), as a part of the replicated
// state: what the changes of a command brought, then what the leader saw.
//
// seq counts events from 1, without gaps; the ring holds the last ones. Deterministic: texts are made of the state before and
// after a command, times are the state's. One command brings at most one event for each object, of what it was before and what
// it is after the command as a whole; what changed and came back is no event.
// Threads: as the state. Memory: all events, allocated at start. Cost: appending and looking up O(1).
#pragma once

#include "common/model/event.h"
#include "common/model/store.h"

struct event_ring {
	uint64_t last_seq; // 0: there never was one
	uint32_t n; // so many, up to last_seq, are kept
	struct cluster_event *items; // EVENTS_KEPT; each at its seq modulo that
};

NODISCARD int event_ring_init(struct event_ring *r); // ERR_NO_MEMORY
void event_ring_fini(struct event_ring *r);

// Takes a copy, with the next seq and this time; the oldest one makes room.
void event_ring_append(struct event_ring *r, const struct cluster_event *e, uint64_t time_ms);

// The oldest event that is kept and later than this seq; NULL: there is none. All of them:
//   for (e = event_ring_after(r, seq); e != NULL; e = event_ring_after(r, e->seq))
// When the first one has another seq than the one asked for + 1, those between are forgotten. Valid until the next command.
const struct cluster_event *event_ring_after(const struct event_ring *r, uint64_t seq);

// The events as a snapshot holds them, oldest first (ERR_NO_MEMORY); and an empty ring filled with them, as they are.
NODISCARD int event_ring_get_all(const struct event_ring *r, struct event_list *ret_list);
void event_ring_restore(struct event_ring *r, const struct event_list *list);

// Appends what the accepted changes of a command come to: `undo` holds the objects as they were before, in the order of the
// command; the store is that after it. ERR_NO_MEMORY.
NODISCARD int events_append_changes(struct event_ring *r, const struct store *store, const struct change_list *undo,
                                    uint64_t now_ms);
