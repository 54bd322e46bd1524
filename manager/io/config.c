#include "manager/io/config.h"

#include <string.h>

#include "common/base/text.h"
#include "common/model/ip_addr.h"
#include "common/model/limits.h"

const struct replica_info *manager_config_lookup(const struct manager_config *c, uint64_t id)
{
	for (uint32_t i = 0; i < c->n_replicas; i++)
		if (c->replicas[i].id == id)
			return &c->replicas[i];
	return NULL;
}

static void read_endpoint(struct json_reader *r, const char *field, bool must_be_v4, char *buf, size_t size)
{
	struct ip_addr addr;
	uint16_t port;
	struct error err = { 0 };
	json_reader_string(r, field, buf, size);
	if (r->err->code != 0)
		return;
	if (ip_endpoint_parse(buf, &addr, &port, &err) != 0)
		json_reader_fail(r, field, "%s", err.text);
	else if (must_be_v4 && !ip_addr_is_v4(&addr))
		json_reader_fail(r, field, "must be an IPv4 address with a port");
}

static bool shares_address(const struct replica_info *a, const struct replica_info *b)
{
	return strcmp(a->api, b->api) == 0 || strcmp(a->raft, b->raft) == 0 || strcmp(a->api, b->raft) == 0 ||
	       strcmp(a->raft, b->api) == 0;
}

static void check_distinct(struct json_reader *r, const struct manager_config *c, const struct replica_info *replica)
{
	if (strcmp(replica->api, replica->raft) == 0)
		json_reader_fail(r, "raft", "is the same as \"api\"; each needs a port of its own");
	for (uint32_t i = 0; i < c->n_replicas; i++) {
		if (c->replicas[i].id == replica->id)
			json_reader_fail(r, "id", "%llu is that of another replica too", (unsigned long long)replica->id);
		if (shares_address(&c->replicas[i], replica))
			json_reader_fail(r, "api", "an address of this replica is that of replica %llu too",
			                 (unsigned long long)c->replicas[i].id);
	}
}

static void read_replica(json_t *object, const char *path, struct manager_config *c, struct error *err)
{
	struct json_reader r;
	struct replica_info replica = { 0 };
	json_reader_init(&r, object, path, err);
	json_reader_u64(&r, "id", 1, INT64_MAX, &replica.id);
	read_endpoint(&r, "api", false, replica.api, sizeof replica.api);
	read_endpoint(&r, "raft", true, replica.raft, sizeof replica.raft);
	if (err->code == 0)
		check_distinct(&r, c, &replica);
	if (json_reader_finish(&r) == 0)
		c->replicas[c->n_replicas++] = replica;
}

static void read_cluster(struct json_reader *r, struct manager_config *c)
{
	char path[JSON_PATH_BYTES];
	json_t *list = json_reader_array(r, "cluster", true);
	size_t n = json_array_size(list);
	if (list != NULL && (n == 0 || n > REPLICAS_MAX)) {
		json_reader_fail(r, "cluster", "must hold 1 to %d replicas (3 or 5 are usual), got %zu", REPLICAS_MAX, n);
		return;
	}
	for (size_t i = 0; i < n && r->err->code == 0; i++)
		read_replica(json_array_get(list, i), json_reader_path(r, "cluster", (int)i, path), c, r->err);
}

static void read_times(struct json_reader *r, struct manager_config *c)
{
	uint64_t heartbeat_ms = 50;
	json_reader_u64_or(r, "heartbeat_ms", 5, 10000, &heartbeat_ms);
	uint64_t election_ms = heartbeat_ms * 10;
	json_reader_u64_or(r, "election_ms", 25, 100000, &election_ms);
	if (r->err->code == 0 && election_ms < 5 * heartbeat_ms)
		json_reader_fail(r, "election_ms", "must be at least 5 times heartbeat_ms, got %llu",
		                 (unsigned long long)election_ms);
	c->heartbeat_ms = (uint32_t)heartbeat_ms;
	c->election_ms = (uint32_t)election_ms;
}

int manager_config_read(json_t *root, struct manager_config *ret_config, struct error *err)
{
	struct json_reader r;
	struct manager_config c = { 0 };
	memset(err, 0, sizeof *err);
	json_reader_init(&r, root, "", err);
	json_reader_u64(&r, "id", 1, INT64_MAX, &c.id);
	json_reader_string(&r, "data_dir", c.data_dir, sizeof c.data_dir);
	if (err->code == 0 && c.data_dir[0] != '/')
		json_reader_fail(&r, "data_dir", "must be an absolute path");
	read_cluster(&r, &c);
	read_times(&r, &c);
	if (err->code == 0 && manager_config_lookup(&c, c.id) == NULL)
		json_reader_fail(&r, "id", "%llu is not among the replicas of \"cluster\"", (unsigned long long)c.id);
	int code = json_reader_finish(&r);
	if (code == 0)
		*ret_config = c;
	return code;
}

int manager_config_read_file(const char *path, struct manager_config *ret_config, struct error *err)
{
	json_t *root;
	int code = json_read_file(path, LIMIT_CONFIG_FILE_BYTES, &root, err);
	if (code != 0)
		return code;
	code = manager_config_read(root, ret_config, err);
	json_decref(root);
	return code == 0 ? 0 : error_prefix(err, "%s: ", path);
}
