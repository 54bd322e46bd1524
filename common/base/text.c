#include "common/base/text.h"

#include <stdio.h> // vsnprintf into caller's memory; no stream is touched
#include <string.h>

bool text_vformat(char *buf, size_t size, const char *format, va_list args)
{
	int n = vsnprintf(buf, size, format, args);
	return n >= 0 && (size_t)n < size;
}

bool text_format(char *buf, size_t size, const char *format, ...)
{
	va_list args;
	va_start(args, format);
	bool whole = text_vformat(buf, size, format, args);
	va_end(args);
	return whole;
}

bool text_copy(char *buf, size_t size, const char *src)
{
	size_t n = strlen(src) + 1;
	if (n > size)
		return false;
	memcpy(buf, src, n);
	return true;
}

bool text_parse_u64(const char *text, uint64_t min, uint64_t max, uint64_t *ret_value)
{
	uint64_t value = 0;
	if (*text == '\0')
		return false;
	for (const char *p = text; *p != '\0'; p++) {
		if (*p < '0' || *p > '9')
			return false;
		uint64_t digit = (uint64_t)(*p - '0');
		if (value > (UINT64_MAX - digit) / 10)
			return false;
		value = value * 10 + digit;
	}
	if (value < min || value > max)
		return false;
	*ret_value = value;
	return true;
}

static bool is_alnum(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

bool text_is_name(const char *text)
{
	if (!is_alnum(text[0]))
		return false;
	size_t n = 1;
	for (; text[n] != '\0'; n++) {
		if (n >= NAME_BYTES - 1)
			return false;
		if (!is_alnum(text[n]) && strchr("._-", text[n]) == NULL)
			return false;
	}
	return true;
}
