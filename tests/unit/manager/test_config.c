#include "tests/support/suite.h"

#include <string.h>

#include "manager/io/config.h"

#define R(id, api, raft) "{\"id\":" #id ",\"api\":\"10.0.0.1" #id ":" #api "\",\"raft\":\"10.0.0.1" #id ":" #raft "\"}"
#define THREE "\"cluster\":[" R(1, 7400, 7401) "," R(2, 7400, 7401) "," R(3, 7400, 7401) "]"
#define HEAD "\"id\":1,\"data_dir\":\"/var/lib/ananta\""

static int read_text(const char *text, struct manager_config *ret_config, struct error *err)
{
	json_t *root;
	memset(err, 0, sizeof *err);
	int code = json_read_text(text, strlen(text), &root, err);
	if (code != 0)
		return code;
	code = manager_config_read(root, ret_config, err);
	json_decref(root);
	return code;
}

START_TEST(a_complete_configuration_is_read)
{
	struct manager_config c;
	struct error err;
	ck_assert_msg(read_text("{" HEAD "," THREE ",\"heartbeat_ms\":20,\"election_ms\":200}", &c, &err) == 0, "%s",
	              err.text);
	ck_assert_uint_eq(c.id, 1);
	ck_assert_uint_eq(c.n_replicas, 3);
	ck_assert_str_eq(c.data_dir, "/var/lib/ananta");
	ck_assert_uint_eq(c.heartbeat_ms, 20);
	ck_assert_uint_eq(c.election_ms, 200);
	ck_assert_str_eq(manager_config_lookup(&c, 3)->raft, "10.0.0.13:7401");
	ck_assert_ptr_null(manager_config_lookup(&c, 4));
}
END_TEST

START_TEST(times_have_defaults)
{
	struct manager_config c;
	struct error err;
	ck_assert_msg(read_text("{" HEAD "," THREE "}", &c, &err) == 0, "%s", err.text);
	ck_assert_uint_eq(c.heartbeat_ms, 50);
	ck_assert_uint_eq(c.election_ms, 500);
}
END_TEST

START_TEST(what_is_wrong_is_named)
{
	static const struct {
		const char *text;
		const char *sentence;
	} rows[] = {
		{ "[]", "must be a JSON object" },
		{ "{}", "id: is missing" },
		{ "{\"id\":0}", "id: must be 1 to" },
		{ "{\"id\":1," THREE "}", "data_dir: is missing" },
		{ "{\"id\":1,\"data_dir\":\"relative\"," THREE "}", "data_dir: must be an absolute path" },
		{ "{" HEAD "}", "cluster: is missing" },
		{ "{" HEAD ",\"cluster\":[]}", "cluster: must hold 1 to 9 replicas" },
		{ "{" HEAD ",\"cluster\":[7]}", "cluster[0]: must be an object" },
		{ "{" HEAD ",\"cluster\":[{\"id\":1}]}", "cluster[0].api: is missing" },
		{ "{" HEAD ",\"cluster\":[{\"id\":1,\"api\":\"x\",\"raft\":\"10.0.0.1:1\"}]}",
		  "cluster[0].api: \"x\" is not of the form" },
		{ "{" HEAD ",\"cluster\":[{\"id\":1,\"api\":\"10.0.0.1:1\",\"raft\":\"[::1]:2\"}]}",
		  "cluster[0].raft: must be an IPv4" },
		{ "{" HEAD ",\"cluster\":[{\"id\":1,\"api\":\"10.0.0.1:1\",\"raft\":\"10.0.0.1:1\"}]}",
		  "cluster[0].raft: is the same as" },
		{ "{" HEAD ",\"cluster\":[" R(1, 1, 2) "," R(1, 3, 4) "]}", "cluster[1].id: 1 is that of another replica too" },
		{ "{" HEAD ",\"cluster\":[{\"id\":1,\"api\":\"10.0.0.12:5\",\"raft\":\"10.0.0.11:2\"}," R(2, 5, 6) "]}",
		  "cluster[1].api: an address of this replica is that of replica 1 too" },
		{ "{\"id\":4,\"data_dir\":\"/d\"," THREE "}", "id: 4 is not among the replicas" },
		{ "{" HEAD "," THREE ",\"heartbeat_ms\":100,\"election_ms\":400}",
		  "election_ms: must be at least 5 times heartbeat_ms, got 400" },
		{ "{" HEAD "," THREE ",\"heartbeat_ms\":1}", "heartbeat_ms: must be 5 to 10000, got 1" },
		{ "{" HEAD "," THREE ",\"tls\":{}}", "tls: is not a field" },
		{ "{" HEAD ",\"cluster\":[{\"id\":1,\"api\":\"10.0.0.1:1\",\"raft\":\"10.0.0.1:2\",\"x\":1}]}",
		  "cluster[0].x: is not a field" },
	};
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		struct manager_config c;
		struct error err;
		ck_assert_msg(read_text(rows[i].text, &c, &err) != 0, "%s", rows[i].text);
		ck_assert_msg(strstr(err.text, rows[i].sentence) != NULL, "%s: %s", rows[i].text, err.text);
	}
}
END_TEST

SUITE_MAIN("config", a_complete_configuration_is_read, times_have_defaults, what_is_wrong_is_named)
