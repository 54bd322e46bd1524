#include "tests/support/suite.h"

#include <string.h>

#include "manager/cli/settings_json.h"

#define SNAT(fields) "{\"snat\":{" fields "}}"

static int parse(const char *text, struct cluster_settings *ret_settings, struct error *err)
{
	memset(err, 0, sizeof *err);
	return settings_json_parse(text, strlen(text), ret_settings, err);
}

START_TEST(a_bad_document_is_refused_in_one_sentence_that_names_the_field)
{
	static const struct {
		const char *text;
		const char *sentence;
	} rows[] = {
		{ "", "line 1, column 0" },
		{ "[]", "must be a JSON object" },
		{ "{\"snat\":[]}", "snat: must be an object" },
		{ "{\"dns\":{}}", "dns: is not a field that is known here" },
		{ SNAT("\"frob\":1"), "snat.frob: is not a field that is known here" },
		{ SNAT("\"never\":\"10.0.0.0/8\""), "snat.never: must be a list" },
		{ SNAT("\"never\":[7]"), "snat.never[0]: must be a string" },
		{ SNAT("\"never\":[\"10.0.0.0/8\",\"x/8\"]"), "snat.never[1]: \"x\" is no IP address" },
		{ SNAT("\"never\":[\"10.0.0.0/33\"]"), "snat.never[0]: \"10.0.0.0/33\": the prefix length must be 0 to 32" },
		{ SNAT("\"never\":[\"10.0.0.1/8\"]"), "snat.never[0]: 10.0.0.1/8 has bits beyond its length" },
		{ SNAT("\"never\":[\"10.0.0.0/8\",\"10.0.0.0/8\"]"), "snat.never: 10.0.0.0/8 is listed twice" },
		{ SNAT("\"never\":[\"1.0.0.0/8\",\"2.0.0.0/8\",\"3.0.0.0/8\",\"4.0.0.0/8\",\"5.0.0.0/8\",\"6.0.0.0/"
		       "8\",\"7.0.0.0/8\","
		       "\"8.0.0.0/8\",\"9.0.0.0/8\",\"10.0.0.0/8\",\"11.0.0.0/8\",\"12.0.0.0/8\",\"13.0.0.0/8\",\"14.0.0.0/8\","
		       "\"15.0.0.0/8\",\"16.0.0.0/8\",\"17.0.0.0/8\"]"),
		  "snat.never: at most 16 prefixes, got 17" },
		{ SNAT("\"quarantine_s\":86401"), "snat.quarantine_s: must be 0 to 86400, got 86401" },
		{ SNAT("\"quarantine_s\":\"60\""), "snat.quarantine_s: must be a whole number" },
		{ SNAT("\"quarantine_s\":-1"), "snat.quarantine_s: must be 0 to" },
		{ SNAT("\"log_s\":99999999"), "snat.log_s: must be 0 to 31622400, got 99999999" },
		{ SNAT("\"gone_s\":99999999"), "snat.gone_s: must be 0 to 31622400, got 99999999" },
		{ SNAT("\"dip_requests_per_s\":0"), "snat.dip_requests_per_s: must be 1 to 10000, got 0" },
		{ SNAT("\"dip_requests_per_s\":10001"), "snat.dip_requests_per_s: must be 1 to 10000, got 10001" },
		{ "{\"health\":7}", "health: must be an object" },
		{ "{\"health\":{\"gone\":7}}", "health.gone: is not a field that is known here" },
		{ "{\"health\":{\"host_gone_ms\":499}}", "health.host_gone_ms: must be 500 to 3600000, got 499" },
		{ "{\"health\":{\"host_gone_ms\":3600001}}", "health.host_gone_ms: must be 500 to 3600000, got 3600001" },
		{ "{\"health\":{\"fail_static_percent\":0}}", "health.fail_static_percent: must be 1 to 100, got 0" },
		{ "{\"health\":{\"fail_static_percent\":101}}", "health.fail_static_percent: must be 1 to 100, got 101" },
		{ "{\"mux\":[]}", "mux: must be an object" },
		{ "{\"mux\":{\"withdraw_percent\":101}}", "mux.withdraw_percent: must be 0 to 100, got 101" },
		{ "{\"mux\":{\"withdraw_percent\":\"50\"}}", "mux.withdraw_percent: must be a whole number" },
	};
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		struct cluster_settings s;
		struct error err;
		ck_assert_msg(parse(rows[i].text, &s, &err) != 0, "%s", rows[i].text);
		ck_assert_msg(strstr(err.text, rows[i].sentence) != NULL, "%s: %s", rows[i].text, err.text);
		ck_assert_ptr_null(strchr(err.text, '\n'));
	}
}
END_TEST

START_TEST(what_is_left_out_is_the_default)
{
	static const char *const rows[] = { "{}",
		                                "{\"snat\":{}}",
		                                "{\"health\":{},\"mux\":{}}",
		                                "{\"health\":{\"host_gone_ms\":2000}}",
		                                SNAT("\"quarantine_s\":60"),
		                                SNAT("\"gone_s\":86400") };
	struct cluster_settings standard = cluster_settings_default();
	struct cluster_settings s;
	struct error err;
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		ck_assert_msg(parse(rows[i], &s, &err) == 0, "%s", err.text);
		ck_assert(cluster_settings_equal(&s, &standard));
	}
	ck_assert_msg(parse(SNAT("\"never\":[],\"gone_s\":0"), &s, &err) == 0, "%s", err.text);
	ck_assert_uint_eq(s.n_no_snat, 0);
	ck_assert_uint_eq(s.snat_gone_s, 0);
	ck_assert_uint_eq(s.snat_log_s, standard.snat_log_s);
}
END_TEST

START_TEST(what_is_printed_parses_back)
{
	static const char *const rows[] = {
		"{}",
		SNAT("\"never\":[]"),
		SNAT(
			"\"never\":[\"192.0.2.0/24\",\"0.0.0.0/0\",\"2001:db8::/32\",\"::/0\",\"198.51.100.7\"],\"quarantine_s\":0,"
			"\"log_s\":1,\"gone_s\":2,\"dip_requests_per_s\":3"),
	};
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		struct cluster_settings s, again;
		struct error err;
		ck_assert_msg(parse(rows[i], &s, &err) == 0, "%s", err.text);
		json_t *document = settings_json_make(&s);
		char *text = json_dumps(document, JSON_INDENT(2));
		ck_assert_msg(parse(text, &again, &err) == 0, "%s: %s", text, err.text);
		ck_assert(cluster_settings_equal(&s, &again));
		json_decref(document);
		free(text);
	}
}
END_TEST

SUITE_MAIN("settings_json", a_bad_document_is_refused_in_one_sentence_that_names_the_field,
           what_is_left_out_is_the_default, what_is_printed_parses_back)
