// How many buckets of an endpoint move when its present generation becomes another: by the same tables as those of muxes and agents
// (common/model/maglev.h). Tables of different sizes are compared bucket by bucket of the larger one (docs/adr/005).
// Pure. Cost: two Maglev tables.
#pragma once

#include <stdint.h>

#include "common/base/error.h"
#include "common/model/maglev.h"

struct bucket_moves {
	uint32_t n_buckets; // of the larger table
	uint32_t n_moved; // that have another owner than before
	uint32_t n_members; // before
	uint32_t *owned; // by each of them, before
	uint32_t *lost; // of these
};

// Both are sorted by DIP, and hold at least one. ERR_NO_MEMORY: nothing to finish.
NODISCARD int bucket_moves_count(const struct maglev_member *before, uint32_t n_before,
                                 const struct maglev_member *after, uint32_t n_after, struct bucket_moves *ret_moves);
void bucket_moves_fini(struct bucket_moves *m);
