// Which leases were granted and ended lately: a ring by lease version, from which subscribers get deltas.
//
// Derived, not replicated: a replica that starts or restores a snapshot begins with an empty ring at that version.
// Full: the oldest entries make room, and whoever is behind them gets all leases instead.
// Threads: one owner. Cost: append O(1), seek O(log n). Memory: SNAT_CHANGES_CAPACITY entries of 64 bytes, allocated at start,
// touched as they are used.
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "common/base/error.h"
#include "common/model/lease.h"

#define SNAT_CHANGES_CAPACITY 131072 // at 20,000 grants and 20,000 returns a second: three seconds

struct snat_change {
	uint64_t version;
	struct lease lease; // ended_ms 0: it was granted
};

struct snat_changes {
	uint64_t floor_version; // what changed after this version is here
	uint64_t n_appended; // ever; the number of the next entry
	uint32_t n;
	struct snat_change *entries; // SNAT_CHANGES_CAPACITY
};

NODISCARD int snat_changes_init(struct snat_changes *x);
void snat_changes_fini(struct snat_changes *x);

// Forgets everything up to this version.
void snat_changes_reset(struct snat_changes *x, uint64_t version);

// Versions never fall from one call to the next.
void snat_changes_append(struct snat_changes *x, uint64_t version, const struct lease *lease);

// *ret_at: where the changes after `version` begin. ERR_NOT_FOUND: the ring does not reach back that far.
NODISCARD int snat_changes_seek(const struct snat_changes *x, uint64_t version, uint64_t *ret_at);

// The next change up to `to_version`; NULL after the last. Valid until the next append.
const struct snat_change *snat_changes_next(const struct snat_changes *x, uint64_t *at, uint64_t to_version);
