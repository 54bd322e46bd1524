// Text into fixed buffers: always terminated, never overrun. The only user of stdio's formatting in pure code.
#pragma once

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

// Formats into buf (size >= 1). Returns false when it had to be cut.
bool text_format(char *buf, size_t size, const char *format, ...) __attribute__((format(printf, 3, 4)));
bool text_vformat(char *buf, size_t size, const char *format, va_list args) __attribute__((format(printf, 3, 0)));

// Copies src with its terminator. Returns false, and copies nothing, when it does not fit.
bool text_copy(char *buf, size_t size, const char *src);

// A whole decimal number between min and max. False, and *ret_value untouched, for anything else ("", "+1", "1x").
bool text_parse_u64(const char *text, uint64_t min, uint64_t max, uint64_t *ret_value);

// Names of tenants, hosts, muxes, VMs, endpoints: 1 to 63 of [A-Za-z0-9._-], the first a letter or digit.
#define NAME_BYTES 64
bool text_is_name(const char *text);
