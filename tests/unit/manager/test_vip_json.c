#include "tests/support/suite.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "common/base/memory.h"
#include "manager/cli/vip_json.h"

#define DIP "{\"dip\":\"10.1.1.11\",\"port\":80}"
#define WEB "{\"name\":\"web\",\"protocol\":\"tcp\",\"port\":80,\"dips\":[" DIP "]}"
#define ANY_DIP "{\"dip\":\"10.1.1.11\"}"
#define ANY(name) "{\"name\":\"" name "\",\"protocol\":\"any\",\"dips\":[" ANY_DIP "]}"
#define HEAD "\"vip\":\"203.0.113.10\",\"tenant\":\"shop\""
#define SNAT(fields) "{" HEAD ",\"snat\":{\"dips\":[\"10.1.1.1\"]," fields "}}"
#define ENDPOINT(fields) "{" HEAD ",\"endpoints\":[{" fields "}]}"
#define PROBE(fields) \
	ENDPOINT("\"name\":\"web\",\"protocol\":\"tcp\",\"port\":80,\"dips\":[" DIP "],\"probe\":{" fields "}")
#define DIPS(list) ENDPOINT("\"name\":\"web\",\"protocol\":\"tcp\",\"port\":80,\"dips\":" list)

static int parse(const char *text, struct vip_config **ret_vip, struct error *err)
{
	memset(err, 0, sizeof *err);
	return vip_json_parse(text, strlen(text), ret_vip, err);
}

static void check_policy(const struct vip_config *vip, struct snat_policy want)
{
	ck_assert_uint_eq(vip->snat.range_size, want.range_size);
	ck_assert_uint_eq(vip->snat.first_port, want.first_port);
	ck_assert_uint_eq(vip->snat.prealloc_ports, want.prealloc_ports);
	ck_assert_uint_eq(vip->snat.max_ports_per_dip, want.max_ports_per_dip);
	ck_assert_uint_eq(vip->snat.idle_s, want.idle_s);
}

START_TEST(a_bad_document_is_refused_in_one_sentence_that_names_the_field)
{
	static const struct {
		const char *text;
		const char *sentence;
	} rows[] = {
		{ "", "line 1, column 0" },
		{ "{ \"vip\": ", "line 1, column 9" },
		{ "{\n  \"vip\": \"203.0.113.10\",\n}", "line 3, column 1" },
		{ "[]", "must be a JSON object" },
		{ "\"203.0.113.10\"", "'[' or '{' expected" },
		{ "{}", "vip: is missing" },
		{ "{\"vip\":7}", "vip: must be a string" },
		{ "{\"vip\":\"203.0.113\"}", "vip: \"203.0.113\" is no IP address" },
		{ "{\"vip\":\"203.0.113.10\"}", "tenant: is missing" },
		{ "{\"vip\":\"203.0.113.10\",\"vip\":\"203.0.113.11\"}", "duplicate object key" },
		{ "{" HEAD "}", "endpoints: is missing" },
		{ "{" HEAD ",\"drain_s\":0,\"endpoints\":[" WEB "]}", "drain_s: must be 1 to 2592000, got 0" },
		{ "{" HEAD ",\"drain_s\":2592001,\"endpoints\":[" WEB "]}", "drain_s: must be 1 to 2592000, got 2592001" },
		{ "{" HEAD ",\"drain_s\":\"1h\",\"endpoints\":[" WEB "]}", "drain_s: must be a whole number" },
		{ "{" HEAD ",\"idle\":{\"tcp_s\":9},\"endpoints\":[" WEB "]}", "idle.tcp_s: must be 10 to 2592000, got 9" },
		{ "{" HEAD ",\"idle\":{\"sctp_s\":60},\"endpoints\":[" WEB "]}", "idle.sctp_s: is not a field" },
		{ "{" HEAD ",\"status\":7,\"endpoints\":[" WEB "]}", "status: must be an object" },
		{ "{" HEAD ",\"endpoints\":{}}", "endpoints: must be a list" },
		{ "{" HEAD ",\"endpoints\":[]}", "endpoints: must hold at least one endpoint" },
		{ "{" HEAD ",\"endpoints\":[7]}", "endpoints[0]: must be an object" },
		{ "{" HEAD ",\"endpoints\":[" WEB "],\"probe\":{}}", "probe: is not a field that is known here" },
		{ "{\"vip\":\"203.0.113.10\",\"tenant\":\"a b\",\"endpoints\":[" WEB "]}", "tenant: must be 1 to 63 of" },
		{ "{\"vip\":\"127.0.0.1\",\"tenant\":\"shop\",\"endpoints\":[" WEB "]}",
		  "vip: 127.0.0.1 is not an address that" },
		{ "{\"vip\":\"2001:db8::1\",\"tenant\":\"shop\",\"endpoints\":[" WEB "]}",
		  "endpoints[0].dips[0].dip: 10.1.1.11: the DIPs of an IPv6 VIP" },
		{ "{\"vip\":\"10.1.1.11\",\"tenant\":\"shop\",\"endpoints\":[" WEB "]}",
		  "endpoints[0].dips[0].dip: 10.1.1.11 is the VIP" },
		{ ENDPOINT(""), "endpoints[0].name: is missing" },
		{ ENDPOINT("\"name\":\"web\""), "endpoints[0].protocol: is missing" },
		{ ENDPOINT("\"name\":\"web\",\"protocol\":\"sctp\",\"port\":80,\"dips\":[" DIP "]"),
		  "endpoints[0].protocol: must be \"tcp\", \"udp\" or \"any\", got \"sctp\"" },
		{ ENDPOINT("\"name\":\"web\",\"protocol\":\"tcp\",\"port\":0,\"dips\":[" DIP "]"),
		  "endpoints[0].port: must be 1 to 65535, got 0" },
		{ ENDPOINT("\"name\":\"web\",\"protocol\":\"tcp\",\"port\":65536,\"dips\":[" DIP "]"),
		  "endpoints[0].port: must be 1 to 65535, got 65536" },
		{ ENDPOINT("\"name\":\"web\",\"protocol\":\"tcp\",\"port\":\"80\",\"dips\":[" DIP "]"),
		  "endpoints[0].port: must be a whole number" },
		{ ENDPOINT("\"name\":\"web\",\"protocol\":\"tcp\",\"port\":80"), "endpoints[0].dips: is missing" },
		{ ENDPOINT("\"name\":\"web\",\"protocol\":\"tcp\",\"port\":80,\"dips\":[" DIP "],\"timeout\":1"),
		  "endpoints[0].timeout: is not a field" },
		{ ENDPOINT("\"name\":\"x\",\"protocol\":\"any\",\"port\":80,\"dips\":[" ANY_DIP "]"),
		  "endpoints[0].port: must be left out for protocol \"any\", got 80" },
		{ ENDPOINT("\"name\":\"x\",\"protocol\":\"any\",\"dips\":[" DIP "]"),
		  "endpoints[0].dips[0].port: must be left out for protocol \"any\", got 80" },
		{ "{" HEAD ",\"endpoints\":[" ANY("x") "," ANY("y") "]}", "endpoints: any port 0 is defined twice" },
		{ DIPS("[]"), "endpoints[0].dips: must hold at least one DIP" },
		{ DIPS("[{}]"), "endpoints[0].dips[0].dip: is missing" },
		{ DIPS("[\"10.1.1.11\"]"), "endpoints[0].dips[0]: must be an object" },
		{ DIPS("[" DIP "," DIP "]"), "endpoints[0].dips: 10.1.1.11 is listed twice" },
		{ DIPS("[{\"dip\":\"10.1.1.011\",\"port\":80}]"), "endpoints[0].dips[0].dip: \"10.1.1.011\" is no IP address" },
		{ DIPS("[{\"dip\":\"10.1.1.11\"}]"), "endpoints[0].dips[0].port: is missing" },
		{ DIPS("[{\"dip\":\"10.1.1.11\",\"port\":0}]"), "endpoints[0].dips[0].port: must be 1 to 65535, got 0" },
		{ DIPS("[{\"dip\":\"10.1.1.11\",\"port\":80,\"weight\":0}]"),
		  "endpoints[0].dips[0].weight: must be 1 to 1000, got 0" },
		{ DIPS("[{\"dip\":\"10.1.1.11\",\"port\":80,\"weight\":1001}]"), "weight: must be 1 to 1000, got 1001" },
		{ DIPS("[{\"dip\":\"10.1.1.11\",\"port\":80,\"weight\":1.5}]"), "weight: must be a whole number" },
		{ DIPS("[{\"dip\":\"10.1.1.11\",\"port\":99999999999999999999}]"), "too big integer" },
		{ DIPS("[{\"dip\":\"10.1.1.11\",\"port\":80,\"wieght\":2}]"), "endpoints[0].dips[0].wieght: is not a field" },
		{ "{" HEAD ",\"endpoints\":[" WEB "," WEB "]}", "endpoints[1].name: \"web\" is the name of endpoints[0] too" },
		{ "{" HEAD ",\"endpoints\":[" WEB ",{\"name\":\"x\",\"protocol\":\"tcp\",\"port\":80,\"dips\":[" DIP "]}]}",
		  "endpoints: tcp port 80 is defined twice" },
		{ "{" HEAD ",\"snat\":[]}", "snat: must be an object" },
		{ "{" HEAD ",\"snat\":{}}", "snat.dips: is missing" },
		{ "{" HEAD ",\"snat\":{\"dips\":[]}}", "snat.dips: must hold at least one DIP" },
		{ "{" HEAD ",\"snat\":{\"dips\":[7]}}", "snat.dips[0]: must be a string" },
		{ "{" HEAD ",\"snat\":{\"dips\":[\"x\"]}}", "snat.dips[0]: \"x\" is no IP address" },
		{ "{" HEAD ",\"snat\":{\"dips\":[\"10.1.1.1\",\"10.1.1.1\"]}}", "snat.dips: 10.1.1.1 is listed twice" },
		{ "{" HEAD ",\"snat\":{\"dips\":[\"10.1.1.1\"],\"ports\":8}}", "snat.ports: is not a field" },
		{ SNAT("\"range_size\":4"), "snat.range_size: must be 8 to 1024, got 4" },
		{ SNAT("\"range_size\":2048"), "snat.range_size: must be 8 to 1024, got 2048" },
		{ SNAT("\"range_size\":24"), "snat.range_size: must be a power of two from 8 to 1024, got 24" },
		{ SNAT("\"range_size\":\"8\""), "snat.range_size: must be a whole number from 8 to 1024" },
		{ SNAT("\"first_port\":80"), "snat.first_port: must be 1024 to 65528, got 80" },
		{ SNAT("\"first_port\":1028"),
		  "snat.first_port: must be at least 1024 and a multiple of range_size 8, got 1028" },
		{ SNAT("\"first_port\":1536,\"range_size\":1024"), "snat.first_port: must be at least 1024 and a multiple" },
		{ SNAT("\"max_ports_per_dip\":7"), "snat.max_ports_per_dip: must be 8 to 65536, got 7" },
		{ SNAT("\"max_ports_per_dip\":8,\"range_size\":16"),
		  "snat.max_ports_per_dip: must be 16 (range_size) to 65536, got 8" },
		{ SNAT("\"prealloc_ports\":65537"), "snat.prealloc_ports: must be 0 to 65536, got 65537" },
		{ SNAT("\"prealloc_ports\":161,\"max_ports_per_dip\":160"),
		  "snat.prealloc_ports: must be at most 160 (max_ports_per_dip, and what is above first_port), got 161" },
		{ SNAT("\"prealloc_ports\":16,\"first_port\":65528"), "snat.prealloc_ports: must be at most 8 (" },
		{ SNAT("\"idle_s\":0"), "snat.idle_s: must be 1 to 86400, got 0" },
		{ SNAT("\"idle_s\":-1"), "snat.idle_s: must be 1 to 86400, got -1" },
		{ "{" HEAD ",\"when_all_down\":\"drop\",\"endpoints\":[" WEB "]}",
		  "when_all_down: must be \"send\" or \"refuse\", got \"drop\"" },
		{ ENDPOINT("\"name\":\"web\",\"protocol\":\"tcp\",\"port\":80,\"probe\":7,\"dips\":[" DIP "]"),
		  "endpoints[0].probe: must be an object" },
		{ PROBE(""), "endpoints[0].probe.type: is missing" },
		{ PROBE("\"type\":\"icmp\""), "endpoints[0].probe.type: must be \"tcp\" or \"http\", got \"icmp\"" },
		{ PROBE("\"type\":\"tcp\",\"path\":\"/\""), "endpoints[0].probe.path: belongs to probes of type \"http\"" },
		{ PROBE("\"type\":\"tcp\",\"expect\":\"200\""), "endpoints[0].probe.expect: belongs to probes of" },
		{ PROBE("\"type\":\"tcp\",\"port\":0"), "endpoints[0].probe.port: must be 1 to 65535, got 0" },
		{ PROBE("\"type\":\"tcp\",\"every\":1"), "endpoints[0].probe.every: is not a field" },
		{ PROBE("\"type\":\"http\",\"path\":\"health\""), "endpoints[0].probe.path: must begin with \"/\"" },
		{ PROBE("\"type\":\"http\",\"path\":\"/a b\""), "endpoints[0].probe.path: character 3 is none of a URL's" },
		{ PROBE("\"type\":\"http\",\"expect\":200"), "endpoints[0].probe.expect: must be a string" },
		{ PROBE("\"type\":\"http\",\"expect\":\"\""), "endpoints[0].probe.expect: must be a status, or a range" },
		{ PROBE("\"type\":\"http\",\"expect\":\"200-\""), "endpoints[0].probe.expect: must be a status" },
		{ PROBE("\"type\":\"http\",\"expect\":\"299-200\""), "endpoints[0].probe.expect: must be a status" },
		{ PROBE("\"type\":\"http\",\"expect\":\"200-600\""), "endpoints[0].probe.expect: must be a status" },
		{ PROBE("\"type\":\"tcp\",\"interval_ms\":99"), "probe.interval_ms: must be 100 to 3600000, got 99" },
		{ PROBE("\"type\":\"tcp\",\"timeout_ms\":2001"),
		  "probe.timeout_ms: must be 1 to 2000 (interval_ms), got 2001" },
		{ PROBE("\"type\":\"tcp\",\"timeout_ms\":0"), "probe.timeout_ms: must be 1 to 3600000, got 0" },
		{ PROBE("\"type\":\"tcp\",\"up\":0"), "endpoints[0].probe.up: must be 1 to 100, got 0" },
		{ PROBE("\"type\":\"tcp\",\"down\":101"), "endpoints[0].probe.down: must be 1 to 100, got 101" },
		{ ENDPOINT("\"name\":\"d\",\"protocol\":\"udp\",\"port\":53,\"dips\":[" DIP "],\"probe\":{\"type\":\"tcp\"}"),
		  "endpoints[0].probe.port: must be given for an endpoint that is not TCP" },
		{ "{" HEAD ",\"endpoints\":[],\"snat\":{\"dips\":[\"10.1.1.1\"]}}",
		  "endpoints: must hold at least one endpoint" },
	};
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		struct vip_config *vip = NULL;
		struct error err;
		ck_assert_msg(parse(rows[i].text, &vip, &err) != 0, "%s", rows[i].text);
		ck_assert_msg(strstr(err.text, rows[i].sentence) != NULL, "%s: %s", rows[i].text, err.text);
		ck_assert_ptr_null(vip);
		ck_assert_ptr_null(strchr(err.text, '\n'));
	}
}
END_TEST

START_TEST(what_may_be_left_out_may_be_left_out)
{
	struct vip_config *vip;
	struct error err;
	ck_assert_msg(parse("{" HEAD ",\"endpoints\":[" WEB "]}", &vip, &err) == 0, "%s", err.text);
	ck_assert_uint_eq(vip->endpoints[0].dips[0].weight, 1);
	ck_assert_uint_eq(vip->drain_s, 3600);
	ck_assert_uint_eq(vip->n_snat_dips, 0);
	vip_config_destroy(vip);
	ck_assert_msg(parse("{" HEAD ",\"snat\":{\"dips\":[\"10.1.1.1\"]}}", &vip, &err) == 0, "%s", err.text);
	ck_assert_uint_eq(vip->n_endpoints, 0);
	ck_assert_uint_eq(vip->n_snat_dips, 1);
	check_policy(vip, (struct snat_policy)SNAT_POLICY_DEFAULT);
	vip_config_destroy(vip);
}
END_TEST

START_TEST(an_endpoint_of_any_protocol_has_no_ports_and_is_printed_as_it_is_read)
{
	struct vip_config *vip, *again;
	struct error err;
	ck_assert_msg(parse("{" HEAD ",\"endpoints\":[" ANY("rest") "," WEB "]}", &vip, &err) == 0, "%s", err.text);
	const struct endpoint *e = vip_config_lookup_endpoint(vip, 255, 0);
	ck_assert_ptr_nonnull(e);
	ck_assert_str_eq(e->name, "rest");
	ck_assert_uint_eq(e->dips[0].port, 0);
	json_t *document = vip_json_make(vip);
	char *text = json_dumps(document, 0);
	json_decref(document);
	ck_assert_msg(parse(text, &again, &err) == 0, "%s", err.text);
	ck_assert(vip_config_equal(vip, again));
	free(text);
	vip_config_destroy(vip);
	vip_config_destroy(again);
}
END_TEST

START_TEST(of_a_snat_policy_each_field_stands_for_itself)
{
	static const struct {
		const char *text;
		struct snat_policy want;
	} rows[] = {
		{ SNAT("\"range_size\":64"), { 64, 1024, 160, 16384, 120 } },
		{ SNAT("\"first_port\":40000"), { 8, 40000, 160, 16384, 120 } },
		{ SNAT("\"prealloc_ports\":0"), { 8, 1024, 0, 16384, 120 } },
		{ SNAT("\"max_ports_per_dip\":65536"), { 8, 1024, 160, 65536, 120 } },
		{ SNAT("\"idle_s\":86400"), { 8, 1024, 160, 16384, 86400 } },
		// Nobody wrote prealloc_ports, so it makes room.
		{ SNAT("\"max_ports_per_dip\":64"), { 8, 1024, 64, 64, 120 } },
		{ SNAT("\"first_port\":65528"), { 8, 65528, 8, 16384, 120 } },
	};
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		struct vip_config *vip;
		struct error err;
		ck_assert_msg(parse(rows[i].text, &vip, &err) == 0, "%s: %s", rows[i].text, err.text);
		check_policy(vip, rows[i].want);
		vip_config_destroy(vip);
	}
}
END_TEST

START_TEST(of_a_probe_each_field_stands_for_itself)
{
	static const struct {
		const char *text;
		struct probe want;
	} rows[] = {
		{ PROBE("\"type\":\"tcp\""), { PROBE_TCP, 0, "", 0, 0, 2000, 1000, 2, 2 } },
		{ PROBE("\"type\":\"tcp\",\"port\":8081,\"up\":3,\"down\":5"),
		  { PROBE_TCP, 8081, "", 0, 0, 2000, 1000, 3, 5 } },
		{ PROBE("\"type\":\"http\""), { PROBE_HTTP, 0, "/", 200, 399, 2000, 1000, 2, 2 } },
		{ PROBE("\"type\":\"http\",\"path\":\"/x\",\"expect\":\"204\""),
		  { PROBE_HTTP, 0, "/x", 204, 204, 2000, 1000, 2, 2 } },
		{ PROBE("\"type\":\"http\",\"expect\":\"100-599\",\"timeout_ms\":7"),
		  { PROBE_HTTP, 0, "/", 100, 599, 2000, 7, 2, 2 } },
		// Nobody wrote timeout_ms, so it makes room.
		{ PROBE("\"type\":\"tcp\",\"interval_ms\":300"), { PROBE_TCP, 0, "", 0, 0, 300, 300, 2, 2 } },
	};
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		struct vip_config *vip;
		struct error err;
		ck_assert_msg(parse(rows[i].text, &vip, &err) == 0, "%s: %s", rows[i].text, err.text);
		ck_assert_msg(probe_equal(&vip->endpoints[0].probe, &rows[i].want), "%s", rows[i].text);
		vip_config_destroy(vip);
	}
}
END_TEST

START_TEST(what_happens_when_all_are_down_is_read)
{
	static const char *const words[] = { "send", "refuse" };
	for (int i = 0; i < 2; i++) {
		char text[512];
		struct vip_config *vip;
		struct error err;
		snprintf(text, sizeof text, "{" HEAD ",\"when_all_down\":\"%s\",\"endpoints\":[" WEB "]}", words[i]);
		ck_assert_msg(parse(text, &vip, &err) == 0, "%s", err.text);
		ck_assert_int_eq(vip->refuses_when_down, i == 1);
		vip_config_destroy(vip);
	}
}
END_TEST

START_TEST(the_drain_time_is_read_and_the_status_ignored)
{
	struct vip_config *vip;
	struct error err;
	ck_assert_msg(
		parse("{" HEAD ",\"drain_s\":2592000,\"status\":{\"drained\":[7]},\"endpoints\":[" WEB "]}", &vip, &err) == 0,
		"%s", err.text);
	ck_assert_uint_eq(vip->drain_s, 2592000);
	vip_config_destroy(vip);
}
END_TEST

START_TEST(what_is_printed_parses_back)
{
	static const char *const rows[] = {
		"{" HEAD ",\"endpoints\":[" WEB "]}",
		"{" HEAD ",\"drain_s\":60,\"endpoints\":[" WEB "]}",
		"{" HEAD ",\"idle\":{\"tcp_s\":600,\"udp_s\":10},\"endpoints\":[" WEB "]}",
		"{" HEAD ",\"idle\":{\"udp_s\":2592000},\"endpoints\":[" WEB "]}",
		"{" HEAD ",\"snat\":{\"dips\":[\"10.1.1.2\",\"10.1.1.1\"]}}",
		SNAT("\"range_size\":1024,\"first_port\":2048,\"prealloc_ports\":0,\"max_ports_per_dip\":2048,\"idle_s\":30"),
		SNAT("\"max_ports_per_dip\":8"),
		PROBE("\"type\":\"tcp\",\"port\":7,\"interval_ms\":100,\"timeout_ms\":50,\"up\":100,\"down\":1"),
		PROBE("\"type\":\"http\",\"path\":\"/a?b=c\",\"expect\":\"200-204\""),
		"{" HEAD ",\"when_all_down\":\"refuse\",\"endpoints\":[" WEB "]}",
		"{" HEAD ",\"endpoints\":[{\"name\":\"b\",\"protocol\":\"udp\",\"port\":53,\"dips\":[{\"dip\":\"10.1.2.2\","
		"\"port\":5353,"
		"\"weight\":1000}," DIP "]}," WEB "],\"snat\":{\"dips\":[\"10.1.1.11\"]}}",
	};
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		struct vip_config *vip, *again;
		struct error err;
		ck_assert_msg(parse(rows[i], &vip, &err) == 0, "%s", err.text);
		json_t *document = vip_json_make(vip);
		char *text = json_dumps(document, JSON_INDENT(2));
		ck_assert_msg(parse(text, &again, &err) == 0, "%s: %s", text, err.text);
		ck_assert(vip_config_equal(vip, again));
		vip_config_destroy(vip);
		vip_config_destroy(again);
		json_decref(document);
		free(text);
	}
}
END_TEST

// A document with n DIPs in its one endpoint.
static char *make_large(uint32_t n)
{
	char *text = malloc(200 + n * 64u);
	char *at =
		text + sprintf(text, "{" HEAD ",\"endpoints\":[{\"name\":\"web\",\"protocol\":\"tcp\",\"port\":80,\"dips\":[");
	for (uint32_t i = 0; i < n; i++)
		at += sprintf(at, "%s{\"dip\":\"10.%u.%u.%u\",\"port\":80}", i == 0 ? "" : ",", i >> 16, i >> 8 & 255, i & 255);
	strcpy(at, "]}]}");
	return text;
}

START_TEST(ten_thousand_dips_are_refused_by_the_limit)
{
	struct vip_config *vip;
	struct error err;
	char *text = make_large(10000);
	ck_assert_int_ne(parse(text, &vip, &err), 0);
	ck_assert_str_eq(err.text, "endpoints[0].dips: at most 4096 DIPs, got 10000");
	free(text);
	text = make_large(4096);
	ck_assert_msg(parse(text, &vip, &err) == 0, "%s", err.text);
	vip_config_destroy(vip);
	free(text);
}
END_TEST

START_TEST(a_file_of_100_MB_is_refused_at_once)
{
	struct vip_config *vip;
	struct error err = { 0 };
	char path[] = "/tmp/test-vip-json-XXXXXX";
	int fd = mkstemp(path);
	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(ftruncate(fd, 100 << 20), 0);
	ck_assert_int_eq(vip_json_read_file(path, &vip, &err), ERR_LIMIT);
	ck_assert_msg(strstr(err.text, "larger than 8 MiB") != NULL, "%s", err.text);
	unlink(path);
	close(fd);
	ck_assert_int_eq(vip_json_read_file("/nowhere/vip.json", &vip, &err), ERR_IO);
	ck_assert_str_eq(err.text, "/nowhere/vip.json: No such file or directory");
}
END_TEST

START_TEST(short_memory_is_reported)
{
	static const char text[] = "{" HEAD ",\"endpoints\":[" WEB "],\"snat\":{\"dips\":[\"10.1.1.1\"]}}";
	struct vip_config *vip;
	struct error err = { 0 };
	for (uint64_t n = 0;; n++) {
		memory_fail_after(n);
		int code = vip_json_parse(text, sizeof text - 1, &vip, &err);
		memory_fail_after(UINT64_MAX);
		if (code == 0)
			break;
		ck_assert_int_eq(code, ERR_NO_MEMORY);
	}
	vip_config_destroy(vip);
}
END_TEST

SUITE_MAIN("vip_json", a_bad_document_is_refused_in_one_sentence_that_names_the_field,
           an_endpoint_of_any_protocol_has_no_ports_and_is_printed_as_it_is_read, what_may_be_left_out_may_be_left_out,
           of_a_snat_policy_each_field_stands_for_itself, of_a_probe_each_field_stands_for_itself,
           what_happens_when_all_are_down_is_read, the_drain_time_is_read_and_the_status_ignored,
           what_is_printed_parses_back, ten_thousand_dips_are_refused_by_the_limit, a_file_of_100_MB_is_refused_at_once,
           short_memory_is_reported)
