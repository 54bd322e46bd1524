// Points in time as people write them: UTC, as RFC 3339 has it, to the millisecond.
#pragma once

#include <stdint.h>

#include "common/base/error.h"

#define UTC_TEXT_BYTES 32

// "2026-11-24T10:00:00.123Z" of milliseconds since 1970, into UTC_TEXT_BYTES. Returns buf.
const char *utc_format(uint64_t ms, char *buf);

// "2026-11-24T10:00:00Z", with a fraction of a second or without, or whole seconds since 1970; of the years 1970 to 9999. What is
// printed parses back to the same. ERR_INVALID names the text.
NODISCARD int utc_parse(const char *text, uint64_t *ret_ms, struct error *err);
