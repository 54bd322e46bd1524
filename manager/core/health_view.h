// What agents say of their DIPs, and what of it the replicated state does not say yet: the leader's side of health reports.
//
//   agent --HealthReport--> health_view --next_changes--> puts and deletes of OBJECT_UNHEALTHY, deletes of OBJECT_HOST_GONE
//
// Soft state of one leadership: agents send a whole report with each subscription. Kept is what is unhealthy, and what became
// healthy until the state says so too. A report without a whole one before it is ignored.
// A whole report brings the host in line: marks of its DIPs that it does not confirm go, then the mark that the host is gone.
// That one goes last, in a later command when there is more than one can hold, so that nobody is back before his marks are.
// The word of a host counts for the DIPs that are attached there, in endpoints that have a probe; what else it says is kept
// and counts when it becomes so (a VIP is deleted and made again before the agent sees either), unless the agent has
// acknowledged a version without it: then its probe begins anew, and its next result is news.
// Nothing needs to be told of the fate of a command: what the state does not say stays due.
//
// Threads: one owner. Pure. Cost: a report O(results), plus for a whole one the DIPs of the host; a change of a VIP or a
// DIP O(results of it); next_changes O(due). Full: beyond HEALTH_RESULTS_MAX results that are unhealthy are not kept, and counted
// in n_dropped: what they are of is taken for healthy.
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "common/model/health.h"
#include "manager/core/cluster_state.h"
#include "manager/core/health_results.h"

#define HEALTH_RESULTS_MAX 500000

struct health_view {
	uint32_t n_hosts;
	uint32_t capacity;
	struct health_host **hosts; // that have sent a whole report; ascending by name
	uint32_t n_due_hosts; // to be brought in line
	struct health_host *first_due; // the longest due first
	struct health_host *last_due;
	struct health_results results; // what is unhealthy, or was until the state says so too
	uint64_t n_reports; // counters, of this leadership
	uint64_t n_ignored; // reports without a whole one before them
	uint64_t n_dropped; // results, because there were too many
};

void health_view_init(struct health_view *v);
void health_view_fini(struct health_view *v);
void health_view_clear(struct health_view *v); // a leadership begins or ends

// A report of the host's agent, which is subscribed. ERR_NO_MEMORY: what the host said is forgotten; it must subscribe anew.
NODISCARD int health_view_on_report(struct health_view *v, const char *host, const struct health_report *report);

// Its agent has acknowledged this version of the objects.
void health_view_on_ack(struct health_view *v, const char *host, uint64_t version);
void health_view_on_disconnect(struct health_view *v, const char *host); // forgets what it said; marks stay as they are

// An object of this key was changed by a command that is applied: for each change of it, whoever made it.
void health_view_on_change(struct health_view *v, const struct cluster_state *s, const struct object_key *key);

// May there be changes?
static inline bool health_view_is_due(const struct health_view *v)
{
	return v->n_due_hosts + v->results.n_due > 0;
}

// Appends at most `max` changes that are due, all of which the rules allow in this state. To be called only while no command with
// marks is under way; without any, the state says what the agents say. A command that is refused met another one: call again.
// ERR_NO_MEMORY: what was appended is good, the rest comes with the next call.
NODISCARD int health_view_next_changes(struct health_view *v, const struct cluster_state *s, uint32_t max,
                                       struct change_list *changes);
