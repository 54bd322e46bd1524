// Memory for large tables that are read at random: in hugepages where the kernel gives them (transparent ones, by madvise), since
// with 4 KiB pages each read would need a translation that no TLB holds. Without them it is slower, no more.
// All of it is touched at once, so that no packet waits for a page. Threads: any.
#pragma once

#include <stddef.h>

#define PAGES_HUGE_BYTES ((size_t)2 << 20)

// Zeroed memory at a multiple of PAGES_HUGE_BYTES, and of that size; NULL when there is none.
void *pages_create(size_t bytes);

// The same bytes; NULL is fine.
void pages_destroy(void *pages, size_t bytes);
