#include "hostagent/core/strays.h"

bool strays_note(struct strays *s, uint64_t flow_hash, struct mono_time now)
{
	uint32_t i = (uint32_t)flow_hash & (STRAY_SLOTS - 1);
	uint32_t now_ms = (uint32_t)(now.us / 1000) | 1; // never 0
	uint32_t since_ms = s->slots[i].since_ms;
	bool is_quiet = since_ms == 0 || now_ms - s->slots[i].seen_ms > STRAY_QUIET_US / 1000;
	if (is_quiet)
		s->slots[i].since_ms = since_ms = now_ms;
	s->slots[i].seen_ms = now_ms;
	return now_ms - since_ms >= STRAY_PATIENCE_US / 1000;
}
