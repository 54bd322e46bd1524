// Allocation for the control plane. The data plane allocates at start only.
//
// Failure is an answer (NULL -> ERR_NO_MEMORY), and tests can make the n-th allocation fail to see that it is one.
// Threads: as malloc. memory_fail_after is for single-threaded tests.
#pragma once

#include <stddef.h>
#include <stdint.h>

// Zeroed memory for n elements; NULL on failure or when n * size overflows. n == 0 gives a pointer that may be freed.
void *memory_array(size_t n, size_t size);

// Zeroed memory at an address that is a multiple of `align` (a power of two); for memory_free as well.
void *memory_aligned(size_t align, size_t bytes);

// Resizes an array to n elements; what is new is not initialised. NULL leaves the old one as it was.
void *memory_resize(void *old, size_t n, size_t size);

// An array of n elements with room for one more: `items` as it is while n is below *capacity, else one that is twice as large.
// NULL leaves items and *capacity as they were.
void *memory_grow(void *items, uint32_t n, uint32_t *capacity, size_t size);

// A copy of n bytes.
void *memory_copy(const void *src, size_t n);

void memory_free(void *p);

// The (n+1)-th allocation from now fails, once; UINT64_MAX never.
void memory_fail_after(uint64_t n);
