#include "common/base/arena.h"

#include "common/base/memory.h"

#define ARENA_BLOCK_BYTES 16384
#define ARENA_ALIGN 16

struct arena_block {
	struct arena_block *next;
	_Alignas(ARENA_ALIGN) unsigned char bytes[];
};

void arena_init(struct arena *a)
{
	*a = (struct arena){ 0 };
}

void arena_fini(struct arena *a)
{
	while (a->blocks != NULL) {
		struct arena_block *next = a->blocks->next;
		memory_free(a->blocks);
		a->blocks = next;
	}
	arena_init(a);
}

void *arena_array(struct arena *a, size_t n, size_t size)
{
	size_t bytes;
	if (__builtin_mul_overflow(n, size, &bytes) || bytes > (size_t)-1 / 2)
		return NULL;
	bytes = (bytes + ARENA_ALIGN - 1) / ARENA_ALIGN * ARENA_ALIGN;
	if (a->blocks == NULL || bytes > a->capacity - a->used) {
		size_t capacity = bytes > ARENA_BLOCK_BYTES ? bytes : ARENA_BLOCK_BYTES;
		struct arena_block *block = memory_array(1, sizeof *block + capacity);
		if (block == NULL)
			return NULL;
		block->next = a->blocks;
		a->blocks = block;
		a->used = 0;
		a->capacity = capacity;
	}
	void *p = a->blocks->bytes + a->used;
	a->used += bytes;
	return p;
}
