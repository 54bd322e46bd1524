// What the files of the state machine share. Included by cluster_state*.c only.
#pragma once

#include "manager/core/cluster_state.h"

// What one command has done so far.
struct progress {
	uint64_t now_ms; // the state's time
	const struct command_terms *terms; // that the command is bound to
	struct change_list undo; // how to take the changes back: the object before each, in their order
	struct touched_list touched;
	struct event_list events; // of what follows from the changes
};

// Applies a change to the store and the indexes, without rules. ERR_NO_MEMORY.
NODISCARD int cluster_state_replace(struct cluster_state *s, struct change *c);

// The same, and its key is touched; what it owns is freed on failure. ERR_NO_MEMORY.
NODISCARD int cluster_state_touch(struct cluster_state *s, struct change *c, struct progress *p);

// Marks that are of nothing any more vanish. ERR_NO_MEMORY.
NODISCARD int cluster_state_drop_marks(struct cluster_state *s, struct progress *p);

// What follows from the accepted changes for other objects: marks that are of nothing any more vanish, generations begin, and
// older ones expire. All keys that it changes are touched. ERR_NO_MEMORY: the state is of no use any more.
NODISCARD int cluster_state_follow(struct cluster_state *s, bool is_empty, struct progress *p);

// Do the terms of a command allow it to change this object now? ERR_CONFLICT. The state holds none of its changes to it.
NODISCARD int cluster_state_check_terms(const struct cluster_state *s, const struct command_terms *terms,
                                        const struct object_key *key, struct error *err);
NODISCARD int cluster_state_check_since(const struct cluster_state *s, const struct command_terms *terms,
                                        struct error *err);

// What undoes the changes of VIPs, by VIP, then in the order of the command.
struct old_vips {
	uint32_t n;
	const struct change **items;
};
NODISCARD int cluster_state_collect_old_vips(const struct change_list *undo, struct old_vips *old);

// The VIPs that the command has changed get a version, that of the store. What they were is moved out of p->undo: to be done when
// nothing else needs it. ERR_NO_MEMORY: the state is of no use any more.
NODISCARD int cluster_state_note_versions(struct cluster_state *s, const char *author, struct progress *p);

// The states of all endpoints, of a state that was just restored. ERR_NO_MEMORY.
NODISCARD int cluster_state_judge_all(struct cluster_state *s);
