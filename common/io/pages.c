#include "common/io/pages.h"

#include <stdint.h>
#include <string.h>
#include <sys/mman.h>

static size_t round_up(size_t bytes)
{
	return (bytes + PAGES_HUGE_BYTES - 1) / PAGES_HUGE_BYTES * PAGES_HUGE_BYTES;
}

static void unmap(uint8_t *from, const uint8_t *to)
{
	if (from < to)
		(void)munmap(from, (size_t)(to - from));
}

void *pages_create(size_t bytes)
{
	if (bytes > SIZE_MAX / 2)
		return NULL;
	size_t n_bytes = round_up(bytes);
	size_t n_mapped = n_bytes + PAGES_HUGE_BYTES; // somewhere in it there is a multiple
	uint8_t *map = mmap(NULL, n_mapped, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (map == MAP_FAILED)
		return NULL;
	uint8_t *pages = map + (round_up((uintptr_t)map) - (uintptr_t)map);
	unmap(map, pages);
	unmap(pages + n_bytes, map + n_mapped);
	(void)madvise(pages, n_bytes, MADV_HUGEPAGE);
	memset(pages, 0, n_bytes);
	return pages;
}

void pages_destroy(void *pages, size_t bytes)
{
	if (pages != NULL)
		(void)munmap(pages, round_up(bytes));
}
