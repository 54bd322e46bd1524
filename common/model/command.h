// A command to the managers' replicated state: what one Raft entry holds. Changes of objects first, then what is done to
// leases; all changes take effect or none, each operation on leases has an outcome of its own.
#pragma once

#include "common/model/event.h"
#include "common/model/lease.h"
#include "common/model/object.h"

struct state_command {
	uint64_t time_ms; // of the leader's clock, milliseconds since 1970: the only time that the state knows
	struct change_list changes;
	struct snat_op_list ops;
	struct event_list events; // that the leader saw; what the changes themselves bring is not among them
};

// What a snapshot holds.
struct state_snapshot {
	uint64_t version; // of the objects
	struct change_list objects;
	struct snat_image snat;
	struct event_list events; // oldest first
};

static inline void state_command_fini(struct state_command *c)
{
	change_list_fini(&c->changes);
	snat_op_list_fini(&c->ops);
	event_list_fini(&c->events);
}

static inline void state_snapshot_fini(struct state_snapshot *s)
{
	change_list_fini(&s->objects);
	snat_image_fini(&s->snat);
	event_list_fini(&s->events);
}
