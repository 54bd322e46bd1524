// What changed lately: a ring of (version, object key), from which a subscriber that was away for a while gets a delta
// instead of a snapshot.
//
// Derived, not replicated: a replica that starts or restores a snapshot begins with an empty log at that version.
// Full: the oldest entries make room, and whoever is behind them gets a snapshot.
// Threads: one owner. Memory: CHANGE_LOG_CAPACITY entries, allocated at start.
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "common/base/error.h"
#include "common/model/object.h"

#define CHANGE_LOG_CAPACITY 8192

struct touched_key {
	struct object_key key;
	// The object itself is as it was; only who must know of it has changed (a VIP whose DIP was attached or detached). Of a DIP:
	// only its host must know of it.
	bool is_audience_only;
};

struct change_log_entry {
	uint64_t version;
	struct touched_key touched;
};

struct change_log {
	uint64_t floor_version; // what changed after this version is here
	uint32_t first; // index of the oldest entry
	uint32_t n;
	struct change_log_entry *entries; // CHANGE_LOG_CAPACITY
};

struct touched_list {
	uint32_t n;
	uint32_t capacity;
	struct touched_key *items;
};

NODISCARD int change_log_init(struct change_log *log, uint64_t version);
void change_log_fini(struct change_log *log);

// Forgets everything up to this version.
void change_log_reset(struct change_log *log, uint64_t version);

// Versions never fall from one call to the next.
void change_log_append(struct change_log *log, uint64_t version, const struct object_key *key, bool is_audience_only);

// The keys touched after `version`, each once, in key order. ERR_NOT_FOUND: the log does not reach back that far, take a
// snapshot. ERR_NO_MEMORY. *ret_keys is the caller's to finish on success only.
NODISCARD int change_log_since(const struct change_log *log, uint64_t version, struct touched_list *ret_keys);

NODISCARD int touched_list_append(struct touched_list *list, const struct object_key *key, bool is_audience_only);
void touched_list_fini(struct touched_list *list);
