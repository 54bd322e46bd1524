// How full a VIP's pool of ports is, for the operator: what is worth an event. A level that was reached is left only well below
// where it began, so that a pool whose use goes up and down a little is reported once.
//
//   OK --80 % leased--> 80_PERCENT --all leased, or a request was refused--> EXHAUSTED
//   OK <--below 70 % leased-- 80_PERCENT <--below 95 % leased or in quarantine-- EXHAUSTED
#pragma once

#include "manager/core/snat_state.h"

enum snat_pool_level { SNAT_POOL_OK, SNAT_POOL_80_PERCENT, SNAT_POOL_EXHAUSTED };

// The level that follows; a pool may pass several at once.
enum snat_pool_level snat_pool_level_next(enum snat_pool_level level, const struct snat_pool_counts *counts);
