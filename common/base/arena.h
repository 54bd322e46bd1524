// A bump allocator: many small allocations, freed all at once. For building something once and throwing it away.
// Threads: one owner.
#pragma once

#include <stddef.h>

struct arena_block;

struct arena {
	struct arena_block *blocks;
	size_t used;
	size_t capacity; // of the newest block, bytes
};

// No memory is taken before the first allocation. arena_fini frees everything.
void arena_init(struct arena *a);
void arena_fini(struct arena *a);

// Zeroed memory for n elements, aligned for any type; NULL when memory is short. n == 0 gives a valid pointer.
void *arena_array(struct arena *a, size_t n, size_t size);
