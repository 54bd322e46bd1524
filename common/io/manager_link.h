// A program's link to whichever manager leads: tries the managers in turn, follows redirects, reconnects for ever (50 ms
// to 1 s apart, with jitter; at most 200 ms while any manager answers), subscribes when it is told to, and carries requests. Used by muxes, agents and anantactl.
//
//   IDLE --start--> CONNECTING --open--> OPEN --(redirect | close | refused)--> WAITING --timer--> CONNECTING
//
// A subscriber pings each CONN_SUBSCRIBER_PING_MS. Once it has a first update it leaves a leader that is silent for
// CONN_SUBSCRIBER_DEAD_MS (before, CONN_DEAD_MS), for another manager first.
// Updates are put together from their parts and given out whole, in order: from_version is always the version held before
// (or it is a snapshot). What comes for another base closes the link, and a new subscription begins.
// Threads: everything on the thread of its uv loop.
#pragma once

#include <uv.h>

#include "common/io/conn.h"

struct manager_link;

struct manager_link_handler {
	// A whole update took place: apply it, all of it; what its lists own may be moved out. A snapshot (update_is_snapshot)
	// replaces all objects; replaces_leases likewise says that the leases are all there are. A delta may be empty: then only
	// the versions went on (what changed does not concern this node). It is acknowledged afterwards, when the handler
	// returned 0; otherwise the link is closed and begins anew with a snapshot. May be NULL without subscription.
	int (*on_update)(struct update *update, void *user);
	// The leader asks for status: fill it (counters and dips are allocated with memory_*; the link frees them).
	void (*on_status_request)(struct node_status *status, void *user);
	// What the leader says beside updates: Fence, SnatReply. May be NULL.
	void (*on_notice)(const struct message *m, void *user);
	// The link to the leader came (true) or went; err says why. May be NULL.
	void (*on_state)(bool is_up, const struct error *err, void *user);
};

struct manager_link_config {
	const char *const *managers; // ADDRESS:PORT, copied
	uint32_t n_managers;
	bool subscribes;
	struct subscribe subscribe; // role, node, program_version; have_version and cluster_id are kept by the link
	struct manager_link_handler handler;
	void *user;
};

NODISCARD int manager_link_create(uv_loop_t *loop, const struct manager_link_config *config,
                                  struct manager_link **ret_link, struct error *err);

// Closes; pending requests fail with ERR_UNAVAILABLE before it returns. NULL is fine.
void manager_link_destroy(struct manager_link *link);

// Is there an open connection to a leader (for a subscriber: one that has accepted the subscription)?
bool manager_link_is_up(const struct manager_link *link);

// Sends what is not answered as such (SnatAsk) to the leader; only while the link is up, else ERR_UNAVAILABLE. It may be lost
// with the connection.
int manager_link_send(struct manager_link *link, const struct message *m);

// What a request came to: reply != NULL, or err says why not (refused by the leader; or ERR_TIMEOUT, ERR_UNAVAILABLE).
// The reply is finished after the call. A reply in parts (Update, NodesReply, LeasesReply with `more`) calls it for each part.
typedef void (*manager_reply_fn)(struct message *reply, const struct error *err, void *user);

// Sends a request to the leader as soon as there is one, waiting up to timeout_ms for that and the reply together. A
// request whose connection broke is sent again only if it is safe to (it asks; it does not change): a command then fails
// with ERR_TIMEOUT, "it may have happened or not". *request stays the caller's; request_id is given by the link.
NODISCARD int manager_link_request(struct manager_link *link, const struct message *request, uint32_t timeout_ms,
                                   manager_reply_fn on_reply, void *user);
