// What a change of the configuration may be bound to, and how one that is larger than a command is made: in parts.
//
//   terms    "only if the VIP is at this version", "only if nothing was configured since that version"
//   stage    parts of one transaction carry its number; they wait in the replicated state, and take effect together, with the
//            command that commits. What is never committed goes by itself.
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "common/model/object.h"

// The VIP must be at this version; 0: there must be none.
struct vip_expect {
	struct ip_addr vip;
	uint64_t version;
};

struct vip_expect_list {
	uint32_t n;
	uint32_t capacity;
	struct vip_expect *items;
};

struct stage_ref {
	uint64_t id; // of the transaction, random; 0: the command is one by itself
	uint32_t part; // counted from 0
	bool is_commit; // this command's changes are the last ones, and all take effect
};

// They are looked at when a command would change something: one whose wishes are all true already is accepted anyway.
struct command_terms {
	uint64_t since_version; // no VIP and no setting was changed after this version; 0: whatever was
	struct vip_expect_list expects;
	struct stage_ref stage;
};

// A transaction that waits for its commit.
struct staged {
	uint64_t id;
	uint64_t begun_ms; // by the managers' clock
	uint32_t n_parts;
	struct change_list changes;
};

struct staged_list {
	uint32_t n;
	uint32_t capacity;
	struct staged *items; // by age
};

void vip_expect_list_fini(struct vip_expect_list *list);
NODISCARD int vip_expect_list_append(struct vip_expect_list *list, const struct vip_expect *e); // ERR_NO_MEMORY

void command_terms_fini(struct command_terms *t);

void staged_list_fini(struct staged_list *list);

// Takes ownership of the changes, also on failure. ERR_NO_MEMORY.
NODISCARD int staged_list_append(struct staged_list *list, struct staged *s);
void staged_list_remove(struct staged_list *list, uint32_t i); // and its changes
