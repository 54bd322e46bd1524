// A command to the managers' replicated state: what one Raft entry holds. Changes of objects first, then what is done to
// leases; all changes take effect or none, each operation on leases has an outcome of its own.
#pragma once

#include "common/model/event.h"
#include "common/model/lease.h"
#include "common/model/object.h"
#include "common/model/transaction.h"
#include "common/model/vip_version.h"

struct state_command {
	uint64_t time_ms; // of the leader's clock, milliseconds since 1970: the only time that the state knows
	struct change_list changes;
	struct snat_op_list ops;
	struct event_list events; // that the leader saw; what the changes themselves bring is not among them
	struct command_terms terms;
	char author[AUTHOR_BYTES]; // who asked for the changes; "": the managers themselves, or not known
};

// What a snapshot holds.
struct state_snapshot {
	uint64_t version; // of the objects
	struct change_list objects;
	struct snat_image snat;
	struct event_list events; // oldest first
	uint64_t config_version; // at which a VIP or the settings were changed last
	struct vip_version_list versions; // by VIP, oldest first; the present ones without their configuration
	struct staged_list staged;
};

static inline void state_command_fini(struct state_command *c)
{
	change_list_fini(&c->changes);
	snat_op_list_fini(&c->ops);
	event_list_fini(&c->events);
	command_terms_fini(&c->terms);
}

static inline void state_snapshot_fini(struct state_snapshot *s)
{
	change_list_fini(&s->objects);
	snat_image_fini(&s->snat);
	event_list_fini(&s->events);
	vip_version_list_fini(&s->versions);
	staged_list_fini(&s->staged);
}
