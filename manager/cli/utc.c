#include "manager/cli/utc.h"

#include <stdbool.h>
#include <string.h>
#include <time.h>

#include "common/base/text.h"

#define SECONDS_MAX 253402300799ull // 9999-12-31T23:59:59Z

const char *utc_format(uint64_t ms, char *buf)
{
	time_t seconds = (time_t)(ms / 1000 <= SECONDS_MAX ? ms / 1000 : SECONDS_MAX);
	struct tm t;
	gmtime_r(&seconds, &t);
	(void)text_format(buf, UTC_TEXT_BYTES, "%04d-%02d-%02dT%02d:%02d:%02d.%03uZ", t.tm_year + 1900, t.tm_mon + 1,
	                  t.tm_mday, t.tm_hour, t.tm_min, t.tm_sec, (unsigned)(ms % 1000));
	return buf;
}

// n digits and the character behind them; -1 for anything else.
static int take_digits(const char **at, int n, char behind)
{
	int value = 0;
	for (int i = 0; i < n; i++) {
		char c = (*at)[i];
		if (c < '0' || c > '9')
			return -1;
		value = value * 10 + (c - '0');
	}
	if (behind != '\0' && (*at)[n] != behind)
		return -1;
	*at += n + (behind != '\0');
	return value;
}

// ".5Z", "Z": the milliseconds, or -1. Digits beyond the third are read and left out.
static int take_fraction(const char *at)
{
	int ms = 0;
	int unit = 100;
	if (*at == '.') {
		const char *first = ++at;
		for (; *at >= '0' && *at <= '9'; at++, unit /= 10)
			ms += (*at - '0') * unit;
		if (at == first)
			return -1;
	}
	return strcmp(at, "Z") == 0 ? ms : -1;
}

static bool parse_date(const char *text, uint64_t *ret_ms)
{
	const char *at = text;
	struct tm t = { 0 };
	int fields[6];
	static const struct {
		int n;
		char behind;
	} shape[6] = { { 4, '-' }, { 2, '-' }, { 2, 'T' }, { 2, ':' }, { 2, ':' }, { 2, '\0' } };
	for (int i = 0; i < 6; i++) {
		fields[i] = take_digits(&at, shape[i].n, shape[i].behind);
		if (fields[i] < 0)
			return false;
	}
	int ms = take_fraction(at);
	t = (struct tm){ .tm_year = fields[0] - 1900,
		             .tm_mon = fields[1] - 1,
		             .tm_mday = fields[2],
		             .tm_hour = fields[3],
		             .tm_min = fields[4],
		             .tm_sec = fields[5] };
	struct tm normal = t;
	time_t seconds = timegm(&normal); // moves what is no date, the 30th of February, to one that is
	if (ms < 0 || seconds < 0 || normal.tm_mon != t.tm_mon || normal.tm_mday != t.tm_mday ||
	    normal.tm_hour != t.tm_hour || normal.tm_min != t.tm_min || normal.tm_sec != t.tm_sec)
		return false;
	*ret_ms = (uint64_t)seconds * 1000 + (uint64_t)ms;
	return true;
}

int utc_parse(const char *text, uint64_t *ret_ms, struct error *err)
{
	uint64_t seconds;
	if (text_parse_u64(text, 0, SECONDS_MAX, &seconds))
		*ret_ms = seconds * 1000;
	else if (!parse_date(text, ret_ms))
		return error_set(err, ERR_INVALID,
		                 "\"%.60s\" is no time in UTC like 2026-11-24T10:00:00Z, nor seconds since 1970", text);
	return 0;
}
