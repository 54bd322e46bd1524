// What one subscriber is told, and when: the state filtered to what it needs, as snapshots and deltas with versions.
//
//   a mux gets     the cluster, its settings, all VIPs and their histories, all muxes, all hosts (they send pins), the DIPs that
//                  have a `via`, all leases
//   an agent gets  the cluster, its settings, all muxes, all hosts, the DIPs attached on its host, the VIPs (and their
//                  histories) that hold one of those or held it in a generation that is kept, the leases of those DIPs;
//                  and the DIPs elsewhere that have a `via`, since chains go there
//
// Drains go to nobody: the present generations say what they come to.
//
// An update leads from one version to another; the subscriber acknowledges it when it has taken effect. At most one is
// under way to a subscriber, and what changes meanwhile goes together into the next: so a slow one costs no memory here.
// A delta says "deleted" also of objects that the subscriber never had, which costs it nothing.
//
// Leases have a version of their own. A mux gets them at once. An agent gets them only up to the lease floor, the version that
// every live mux has acknowledged, so that a reply never meets a mux that does not know the lease:
//
//   on subscribing   all leases of its DIPs, as soon as the floor has come to what was there when it subscribed; until then the
//                    updates have no word of leases, and the agent keeps those that it has from the leader before
//   later            what has changed, when distribution_note_leases says that something of its own has
//   a DIP attached   all leases again, as when subscribing: while it was not attached, its leases were nobody's
//   behind the ring  all leases again
//
// Threads: as the state. Pure: the caller sends.
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "manager/core/cluster_state.h"

enum audience { AUDIENCE_MUX, AUDIENCE_AGENT };

#define LEASE_FLOOR_NONE UINT64_MAX // what muxes get, and agents when there is no mux to wait for

struct distribution {
	enum audience audience;
	char node[NAME_BYTES]; // of the mux or host
	bool has_base; // false: the subscriber holds nothing that a delta can build on
	bool is_greeted; // a first update was sent, which also tells it that it is subscribed
	bool is_in_flight; // sent_version and sent_lease_version are not acknowledged yet
	uint64_t sent_version; // what it holds, or will when the update under way has arrived
	uint64_t acked_version; // what it says that it holds
	bool has_lease_base; // false: all leases are to be sent
	bool has_lease_news; // an agent's: something of its own has changed
	uint64_t lease_base; // nothing of its own changed between sent_lease_version and this version
	uint64_t lease_news_version; // up to which it has news
	uint64_t first_lease_version; // an agent gets no leases before the floor has come to this
	uint64_t sent_lease_version; // what it holds, or will; before leases were sent, what it says that it holds
	uint64_t acked_lease_version;
};

struct distribution_update {
	uint64_t from_version; // 0: a snapshot
	uint64_t to_version;
	struct change_list changes;
	uint64_t lease_version; // the leases are then those of this version
	bool replaces_leases; // `leases` are all that it holds then; else they are what changed, in this order
	struct lease_list leases; // those that have ended say so
};

void distribution_update_fini(struct distribution_update *u);

// What the subscriber says that it holds: versions of the state of a cluster. Other clusters, and versions that this state
// has not come to, count as nothing.
void distribution_init(struct distribution *d, enum audience audience, const char *node, uint64_t cluster_id,
                       uint64_t have_version, uint64_t have_lease_version, const struct cluster_state *s);

// Leases of DIPs on the agent's host have changed after the one lease version and up to the other, which is the floor now. To be
// said at each step of the floor that holds such a change, with the floor as it was before and as it is.
void distribution_note_leases(struct distribution *d, uint64_t after_version, uint64_t to_version);

// Does an agent wait for the floor to come to first_lease_version? Nothing else will say that it has become due: whoever raises
// the floor asks all agents.
static inline bool distribution_awaits_floor(const struct distribution *d)
{
	return d->audience == AUDIENCE_AGENT && !d->has_lease_base;
}

// Is there something to send now?
bool distribution_is_due(const struct distribution *d, const struct cluster_state *s, uint64_t lease_floor);

// The next update, when one is due; it counts as sent. What it holds is the caller's. ERR_NO_MEMORY: nothing has happened.
NODISCARD int distribution_take_update(struct distribution *d, const struct cluster_state *s, uint64_t lease_floor,
                                       struct distribution_update *ret_update);

// ERR_INVALID: it acknowledges what was not sent; the subscription is of no use any more.
NODISCARD int distribution_on_ack(struct distribution *d, uint64_t version, uint64_t lease_version, struct error *err);
