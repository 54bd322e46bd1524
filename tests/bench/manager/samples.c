#include "tests/bench/manager/samples.h"

#include <stdlib.h>

#include "common/base/check.h"
#include "common/base/memory.h"

void samples_add(struct samples *s, uint64_t us)
{
	if (s->n == s->capacity) {
		s->capacity = s->capacity == 0 ? 4096 : s->capacity * 2;
		s->us = memory_resize(s->us, s->capacity, sizeof *s->us);
		CHECK(s->us != NULL);
	}
	s->us[s->n++] = us > UINT32_MAX ? UINT32_MAX : (uint32_t)us;
}

static int compare(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a;
	uint32_t y = *(const uint32_t *)b;
	return x < y ? -1 : x > y;
}

double samples_quantile_ms(struct samples *s, double percent)
{
	if (s->n == 0)
		return 0;
	qsort(s->us, s->n, sizeof *s->us, compare);
	uint32_t i = (uint32_t)(percent / 100 * s->n);
	return s->us[i < s->n ? i : s->n - 1] / 1000.0;
}

void samples_clear(struct samples *s)
{
	s->n = 0;
}

void samples_fini(struct samples *s)
{
	memory_free(s->us);
	*s = (struct samples){ 0 };
}
