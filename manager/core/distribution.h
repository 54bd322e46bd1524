// What one subscriber is told, and when: the state filtered to what it needs, as snapshots and deltas with versions.
//
//   a mux gets     the cluster, its settings, all VIPs, all muxes
//   an agent gets  the cluster, its settings, all muxes, all hosts, the DIPs attached on its host, the VIPs that hold one of those
//
// An update leads from one version to another; the subscriber acknowledges it when it has taken effect. At most one is
// under way to a subscriber, and what changes meanwhile goes together into the next: so a slow one costs no memory here.
// A delta says "deleted" also of objects that the subscriber never had, which costs it nothing.
// Threads: as the state. Pure: the caller sends.
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "manager/core/cluster_state.h"

enum audience { AUDIENCE_MUX, AUDIENCE_AGENT };

struct distribution {
	enum audience audience;
	char node[NAME_BYTES]; // of the mux or host
	bool has_base; // false: the subscriber holds nothing that a delta can build on
	bool is_greeted; // a first update was sent, which also tells it that it is subscribed
	bool is_in_flight; // sent_version is not acknowledged yet
	uint64_t sent_version; // what it holds, or will when the update under way has arrived
	uint64_t acked_version; // what it says that it holds
};

struct distribution_update {
	uint64_t from_version; // 0: a snapshot
	uint64_t to_version;
	struct change_list changes;
};

// What the subscriber says that it holds: a version of the state of a cluster. Other clusters, and versions that this state
// has not come to, count as nothing.
void distribution_init(struct distribution *d, enum audience audience, const char *node, uint64_t cluster_id,
                       uint64_t have_version, const struct cluster_state *s);

// Is there something to send now?
bool distribution_is_due(const struct distribution *d, const struct cluster_state *s);

// The next update, when one is due; it counts as sent. Its changes are the caller's. ERR_NO_MEMORY: nothing has happened.
NODISCARD int distribution_take_update(struct distribution *d, const struct cluster_state *s,
                                       struct distribution_update *ret_update);

// ERR_INVALID: it acknowledges what was not sent; the subscription is of no use any more.
NODISCARD int distribution_on_ack(struct distribution *d, uint64_t version, struct error *err);
