#include "tests/support/suite.h"

#include <stdio.h>
#include <time.h>

#include "manager/cli/utc.h"

START_TEST(a_time_is_read_as_rfc_3339_has_it_or_as_seconds)
{
	static const struct {
		const char *text;
		uint64_t ms;
	} rows[] = {
		{ "0", 0 },
		{ "1764064800", 1764064800000 },
		{ "1970-01-01T00:00:00Z", 0 },
		{ "1970-01-01T00:00:01.5Z", 1500 },
		{ "2000-02-29T12:00:00Z", 951825600000 },
		{ "2026-11-24T10:00:00Z", 1795514400000 },
		{ "2026-11-24T10:00:00.001Z", 1795514400001 },
		{ "2026-11-24T10:00:00.0019999Z", 1795514400001 },
		{ "9999-12-31T23:59:59Z", 253402300799000 },
	};
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		struct error err = { 0 };
		uint64_t ms = 1;
		ck_assert_msg(utc_parse(rows[i].text, &ms, &err) == 0, "%s", err.text);
		ck_assert_msg(ms == rows[i].ms, "%s: %llu", rows[i].text, (unsigned long long)ms);
	}
}
END_TEST

START_TEST(what_is_no_time_is_refused)
{
	static const char *const rows[] = { "",
		                                "now",
		                                "-1",
		                                "1764064800Z",
		                                "253402300800",
		                                "2026-11-24",
		                                "2026-11-24T10:00:00",
		                                "2026-11-24T10:00:00+00:00",
		                                "2026-11-24T10:00:00Z ",
		                                "2026-11-24T10:00:00.Z",
		                                "2026-11-24 10:00:00Z",
		                                "2026-11-24T10:00Z",
		                                "2026-1-24T10:00:00Z",
		                                "2026-13-24T10:00:00Z",
		                                "2026-02-29T10:00:00Z",
		                                "2026-11-24T24:00:00Z",
		                                "2026-11-24T10:00:60Z",
		                                "1969-12-31T23:59:59Z",
		                                "10000-01-01T00:00:00Z" };
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		struct error err = { 0 };
		uint64_t ms = 7;
		ck_assert_msg(utc_parse(rows[i], &ms, &err) == ERR_INVALID, "%s", rows[i]);
		ck_assert_uint_eq(ms, 7);
	}
}
END_TEST

START_TEST(what_is_printed_parses_back)
{
	unsigned seed = (unsigned)time(NULL);
	printf("seed %u\n", seed);
	srandom(seed);
	for (int i = 0; i < 10000; i++) {
		char text[UTC_TEXT_BYTES];
		struct error err = { 0 };
		uint64_t want = ((uint64_t)random() << 31 ^ (uint64_t)random()) % 253402300800000ull;
		uint64_t ms;
		ck_assert_msg(utc_parse(utc_format(want, text), &ms, &err) == 0, "%s", err.text);
		ck_assert_msg(ms == want, "%s: %llu", text, (unsigned long long)want);
	}
}
END_TEST

SUITE_MAIN("utc", a_time_is_read_as_rfc_3339_has_it_or_as_seconds, what_is_no_time_is_refused,
           what_is_printed_parses_back)
