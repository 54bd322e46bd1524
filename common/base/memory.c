#include "common/base/memory.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

// The one static of pure code: a test's order to fail. Production never sets it.
static _Thread_local uint64_t fail_after = UINT64_MAX;

static bool fails_now(void)
{
	if (__builtin_expect(fail_after == UINT64_MAX, 1))
		return false;
	return fail_after-- == 0;
}

void *memory_array(size_t n, size_t size)
{
	if (fails_now())
		return NULL;
	return calloc(n == 0 ? 1 : n, size);
}

void *memory_aligned(size_t align, size_t bytes)
{
	void *p;
	if (fails_now() || posix_memalign(&p, align, bytes == 0 ? align : bytes) != 0)
		return NULL;
	memset(p, 0, bytes);
	return p;
}

void *memory_resize(void *old, size_t n, size_t size)
{
	size_t bytes;
	if (fails_now() || __builtin_mul_overflow(n == 0 ? 1 : n, size, &bytes))
		return NULL;
	return realloc(old, bytes);
}

void *memory_grow(void *items, uint32_t n, uint32_t *capacity, size_t size)
{
	if (n < *capacity)
		return items;
	uint32_t twice = *capacity == 0 ? 8 : *capacity * 2;
	void *grown = memory_resize(items, twice, size);
	if (grown != NULL)
		*capacity = twice;
	return grown;
}

void *memory_copy(const void *src, size_t n)
{
	void *copy = memory_array(n, 1);
	if (copy != NULL && n > 0)
		memcpy(copy, src, n);
	return copy;
}

void memory_free(void *p)
{
	free(p);
}

void memory_fail_after(uint64_t n)
{
	fail_after = n;
}
