#include "tests/support/suite.h"

#include <string.h>

#include "common/io/json_reader.h"
#include "common/io/node_config.h"

START_TEST(syntax_errors_say_line_and_column)
{
	static const struct {
		const char *text;
		const char *want;
	} rows[] = {
		{ "{\n  \"a\": 1,\n  \"b\" 2 }", "line 3, column " },
		{ "", "line 1, column " },
		{ "{} x", "line 1, column " },
		{ "{\"a\":1,\"a\":2}", "duplicate" },
		{ "{\"a\":\"\xff\"}", "line 1, column " },
	};
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		struct error err = { 0 };
		json_t *root;
		ck_assert_int_eq(json_read_text(rows[i].text, strlen(rows[i].text), &root, &err), ERR_INVALID);
		ck_assert_msg(strstr(err.text, rows[i].want) != NULL, "row %zu: %s", i, err.text);
	}
}
END_TEST

START_TEST(a_file_is_read_only_up_to_its_limit)
{
	struct error err = { 0 };
	json_t *root;
	ck_assert_int_eq(json_read_file("/dev/zero", 1 << 20, &root, &err), ERR_LIMIT);
	ck_assert_str_eq(err.text, "/dev/zero: larger than 1 MiB, the limit of a file");
	ck_assert_int_eq(json_read_file("/nonexistent", 1, &root, &err), ERR_IO);
}
END_TEST

// Reads {"name": string, "port": 1..65535, "list": [..]?} and returns the sentence, "" when all is well.
static const char *read_sample(const char *text)
{
	static struct error err;
	memset(&err, 0, sizeof err);
	json_t *root;
	ck_assert_int_eq(json_read_text(text, strlen(text), &root, &err), 0);
	struct json_reader r;
	char name[8] = "";
	uint64_t port = 0;
	json_reader_init(&r, root, "endpoints[1].", &err);
	json_reader_string(&r, "name", name, sizeof name);
	json_reader_u64(&r, "port", 1, 65535, &port);
	(void)json_reader_array(&r, "list", false);
	int code = json_reader_finish(&r);
	ck_assert_int_eq(code, err.code);
	json_decref(root);
	return err.text;
}

START_TEST(each_wrong_field_is_named_with_its_path)
{
	static const struct {
		const char *text;
		const char *want;
	} rows[] = {
		{ "{\"name\":\"web\",\"port\":80}", "" },
		{ "{\"name\":\"web\",\"port\":80,\"list\":[]}", "" },
		{ "{\"port\":80}", "endpoints[1].name: is missing" },
		{ "{\"name\":1,\"port\":80}", "endpoints[1].name: must be a string" },
		{ "{\"name\":\"12345678\",\"port\":80}", "endpoints[1].name: must be at most 7 characters" },
		{ "{\"name\":\"a\\u0000b\",\"port\":80}", "line 1" },
		{ "{\"name\":\"web\",\"port\":0}", "endpoints[1].port: must be 1 to 65535, got 0" },
		{ "{\"name\":\"web\",\"port\":-1}", "endpoints[1].port: must be 1 to 65535, got -1" },
		{ "{\"name\":\"web\",\"port\":65536}", "endpoints[1].port: must be 1 to 65535, got 65536" },
		{ "{\"name\":\"web\",\"port\":80.5}", "endpoints[1].port: must be a whole number from 1 to 65535" },
		{ "{\"name\":\"web\",\"port\":\"80\"}", "endpoints[1].port: must be a whole number from 1 to 65535" },
		{ "{\"name\":\"web\",\"port\":80,\"list\":{}}", "endpoints[1].list: must be a list ([...])" },
		{ "{\"name\":\"web\",\"port\":80,\"prot\":1}", "endpoints[1].prot: is not a field that is known here" },
		{ "[]", "endpoints[1]: must be an object ({...})" },
	};
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		if (strncmp(rows[i].want, "line", 4) == 0) {
			struct error err = { 0 };
			json_t *root;
			ck_assert_int_ne(json_read_text(rows[i].text, strlen(rows[i].text), &root, &err), 0);
			continue;
		}
		ck_assert_str_eq(read_sample(rows[i].text), rows[i].want);
	}
}
END_TEST

#define GOOD_NODE                                                                                               \
	"\"name\":\"mux1\",\"address\":\"10.0.0.31/24\",\"uplink\":{\"interface\":\"eth0\",\"driver\":\"af_xdp\"}," \
	"\"tap\":\"mux0\",\"gateways\":[\"10.0.0.1\"],\"managers\":[\"10.0.0.11:7400\"]"

static const char *read_node(const char *text)
{
	static struct error err;
	static struct node_config c;
	memset(&err, 0, sizeof err);
	json_t *root;
	ck_assert_int_eq(json_read_text(text, strlen(text), &root, &err), 0);
	struct json_reader r;
	json_reader_init(&r, root, "", &err);
	node_config_read(&c, &r);
	(void)!json_reader_finish(&r);
	json_decref(root);
	return err.text;
}

START_TEST(a_node_configuration_is_checked_field_by_field)
{
	static const struct {
		const char *text;
		const char *want;
	} rows[] = {
		{ "{" GOOD_NODE "}", "" },
		{ "{" GOOD_NODE ",\"mtu\":1500,\"eal\":[\"--no-huge\"]}", "" },
		{ "{" GOOD_NODE ",\"mtu\":100}", "mtu: must be 576 to 9000, got 100" },
		{ "{" GOOD_NODE ",\"mtuu\":1500}", "mtuu: is not a field" },
		{ "{}", "name: is missing" },
		{ "{\"name\":\"mux1\",\"address\":\"10.0.0.31\"}", "address: must be an address with its prefix length" },
		{ "{" GOOD_NODE ",\"address6\":\"2001:db8::31/64\"}", "" },
		{ "{" GOOD_NODE ",\"address6\":\"2001:db8::31/64\",\"mtu\":1279}",
		  "mtu: must be at least 1280 where IPv6 is used" },
		{ "{" GOOD_NODE ",\"address6\":\"2001:db8::31\"}", "address6: must be an address with its prefix length" },
		{ "{" GOOD_NODE ",\"address6\":\"10.0.0.32/24\"}", "address6: must be an IPv6 address" },
		{ "{\"name\":\"mux1\",\"address\":\"10.0.0.31/24\",\"uplink\":{}}", "uplink: must have either" },
		{ "{\"name\":\"mux1\",\"address\":\"10.0.0.31/24\",\"uplink\":{\"interface\":\"e\",\"driver\":\"x\"}}",
		  "uplink.driver: must be" },
		{ "{\"name\":\"mux1\",\"address\":\"10.0.0.31/24\",\"uplink\":{\"device\":\"net_memif0\"},\"tap\":\"mux0\","
		  "\"gateways\":[]}",
		  "gateways: must hold 1 to" },
		{ "{\"name\":\"mux1\",\"address\":\"10.0.0.31/24\",\"uplink\":{\"device\":\"net_memif0\"},\"tap\":\"mux0\","
		  "\"gateways\":[\"10.0.0.1\"],\"managers\":[\"10.0.0.11\"]}",
		  "managers: \"10.0.0.11\" is not of the form" },
	};
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		const char *got = read_node(rows[i].text);
		ck_assert_msg(strncmp(got, rows[i].want, strlen(rows[i].want)) == 0 &&
		                  (rows[i].want[0] != '\0' || got[0] == '\0'),
		              "row %zu: %s", i, got);
	}
}
END_TEST

SUITE_MAIN("json-reader", syntax_errors_say_line_and_column, a_file_is_read_only_up_to_its_limit,
           each_wrong_field_is_named_with_its_path, a_node_configuration_is_checked_field_by_field)
