// Times that something took, and their quantiles.
#pragma once

#include <stdint.h>

struct samples {
	uint32_t n;
	uint32_t capacity;
	uint32_t *us;
};

void samples_add(struct samples *s, uint64_t us);
double samples_quantile_ms(struct samples *s, double percent); // 0 when there are none
void samples_clear(struct samples *s);
void samples_fini(struct samples *s);
