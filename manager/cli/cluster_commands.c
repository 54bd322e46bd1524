// anantactl cluster status: asks every manager itself, so that it tells the truth also when there is no leader.
#include <string.h>

#include "common/base/text.h"
#include "manager/cli/command.h"
#include "manager/cli/table.h"

// One manager, as far as it is known.
struct replica_view {
	struct replica_info info; // id 0 and no raft address: only its api address was given
	bool has_answered;
	struct cluster_reply reply;
	struct error err; // why not
};

struct cluster_view {
	uint32_t n;
	struct replica_view items[2 * REPLICAS_MAX]; // those given, and those learned
};

static struct replica_view *find_by_api(struct cluster_view *v, const char *api)
{
	for (uint32_t i = 0; i < v->n; i++)
		if (strcmp(v->items[i].info.api, api) == 0)
			return &v->items[i];
	return NULL;
}

static struct replica_view *find_by_id(struct cluster_view *v, uint64_t id)
{
	for (uint32_t i = 0; i < v->n; i++)
		if (v->items[i].info.id == id)
			return &v->items[i];
	return NULL;
}

static void add_api(struct cluster_view *v, const char *api)
{
	if (find_by_api(v, api) == NULL && v->n < 2 * REPLICAS_MAX)
		(void)text_copy(v->items[v->n++].info.api, ENDPOINT_TEXT_BYTES, api);
}

// Asks those from `first` on, all at once.
static int ask_from(struct cluster_view *v, uint32_t first, uint32_t timeout_ms)
{
	struct message request = { .type = MESSAGE_CLUSTER_REQUEST };
	const char *addresses[2 * REPLICAS_MAX];
	static struct message replies[2 * REPLICAS_MAX];
	bool ok[2 * REPLICAS_MAX];
	struct error errs[2 * REPLICAS_MAX];
	for (uint32_t i = first; i < v->n; i++)
		addresses[i] = v->items[i].info.api;
	int code = client_ask_all(v->n - first, addresses + first, timeout_ms, &request, replies + first, ok + first,
	                          errs + first);
	for (uint32_t i = first; code == 0 && i < v->n; i++) {
		v->items[i].has_answered = ok[i] && replies[i].type == MESSAGE_CLUSTER_REPLY;
		v->items[i].err = errs[i];
		if (v->items[i].has_answered)
			v->items[i].reply = replies[i].cluster;
		if (ok[i])
			message_fini(&replies[i]);
	}
	return code;
}

// What the answers say of the members: their numbers and addresses, also of those that did not answer.
static void learn_members(struct cluster_view *v)
{
	for (uint32_t i = 0; i < v->n; i++) {
		const struct cluster_reply *reply = &v->items[i].reply;
		for (uint32_t k = 0; v->items[i].has_answered && k < reply->n_replicas; k++) {
			add_api(v, reply->replicas[k].api);
			struct replica_view *member = find_by_api(v, reply->replicas[k].api);
			if (member != NULL)
				member->info = reply->replicas[k];
		}
	}
}

// Two addresses of one manager are one line; and in the order of their numbers.
static void sort_members(struct cluster_view *v)
{
	for (uint32_t i = 1; i < v->n; i++) {
		struct replica_view item = v->items[i];
		uint32_t k = i;
		for (; k > 0 && v->items[k - 1].info.id > item.info.id; k--)
			v->items[k] = v->items[k - 1];
		v->items[k] = item;
	}
}

static const struct replica_view *find_leader(const struct cluster_view *v)
{
	const struct replica_view *leader = NULL;
	for (uint32_t i = 0; i < v->n; i++) {
		const struct replica_view *r = &v->items[i];
		if (r->has_answered && r->reply.is_leader && (leader == NULL || r->reply.term > leader->reply.term))
			leader = r;
	}
	return leader;
}

static const char *role_of(const struct replica_view *r)
{
	if (!r->has_answered)
		return "unreachable";
	return r->reply.is_leader ? "leader" : "follower";
}

// Who knows best what the cluster's version is: the leader, or whoever has come furthest.
static const struct cluster_reply *find_best(const struct cluster_view *v)
{
	static const struct cluster_reply nothing;
	const struct replica_view *leader = find_leader(v);
	const struct cluster_reply *best = leader != NULL ? &leader->reply : &nothing;
	for (uint32_t i = 0; leader == NULL && i < v->n; i++)
		if (v->items[i].has_answered && v->items[i].reply.version >= best->version)
			best = &v->items[i].reply;
	return best;
}

// Those of the leader, which does the work, that are not 0; JSON has them all.
static void print_counters(const struct replica_view *leader)
{
	struct table *t = table_create("COUNTER <VALUE");
	for (uint32_t i = 0; i < leader->reply.n_counters; i++) {
		if (leader->reply.counters[i].value == 0)
			continue;
		table_add(t, leader->reply.counters[i].name);
		table_add_u64(t, leader->reply.counters[i].value);
	}
	putchar('\n');
	table_print(t, stdout);
	table_destroy(t);
}

static void print_text(const struct cluster_view *v)
{
	const struct cluster_reply *best = find_best(v);
	printf("cluster      %016llx\nversion      %llu\nsubscribers  %u\n\n", (unsigned long long)best->cluster_id,
	       (unsigned long long)best->version, best->n_subscribers);
	struct table *t = table_create("<ID API RAFT ROLE <TERM <APPLIED");
	for (uint32_t i = 0; i < v->n; i++) {
		const struct replica_view *r = &v->items[i];
		if (r->info.id != 0)
			table_add_u64(t, r->info.id);
		else
			table_add(t, "");
		table_add(t, r->info.api);
		table_add(t, r->info.raft);
		table_add(t, role_of(r));
		if (r->has_answered) {
			table_add_u64(t, r->reply.term);
			table_add_u64(t, r->reply.applied_index);
		} else {
			table_add(t, "");
			table_add(t, "");
		}
	}
	table_print(t, stdout);
	table_destroy(t);
	const struct replica_view *leader = find_leader(v);
	if (leader != NULL && leader->reply.n_counters > 0)
		print_counters(leader);
}

static json_t *make_counters(const struct cluster_reply *reply)
{
	json_t *counters = json_object();
	for (uint32_t i = 0; i < reply->n_counters; i++)
		json_object_set_new(counters, reply->counters[i].name, json_integer((json_int_t)reply->counters[i].value));
	return counters;
}

static json_t *make_replica_json(const struct replica_view *r)
{
	json_t *document = json_pack("{s:I, s:s, s:s, s:s}", "id", (json_int_t)r->info.id, "api", r->info.api, "raft",
	                             r->info.raft, "role", role_of(r));
	if (r->has_answered) {
		json_object_set_new(document, "term", json_integer((json_int_t)r->reply.term));
		json_object_set_new(document, "applied", json_integer((json_int_t)r->reply.applied_index));
		json_object_set_new(document, "version", json_integer((json_int_t)r->reply.version));
		json_object_set_new(document, "program_version", json_string(r->reply.program_version));
		json_object_set_new(document, "counters", make_counters(&r->reply));
	} else {
		json_object_set_new(document, "error", json_string(r->err.text));
	}
	return document;
}

static void print_json(const struct cluster_view *v)
{
	const struct cluster_reply *best = find_best(v);
	const struct replica_view *leader = find_leader(v);
	char cluster_id[24];
	json_t *replicas = json_array();
	(void)text_format(cluster_id, sizeof cluster_id, "%016llx", (unsigned long long)best->cluster_id);
	for (uint32_t i = 0; i < v->n; i++)
		json_array_append_new(replicas, make_replica_json(&v->items[i]));
	cli_print_json(json_pack("{s:s, s:I, s:I, s:i, s:o}", "cluster_id", cluster_id, "version",
	                         (json_int_t)best->version, "leader", (json_int_t)(leader != NULL ? leader->info.id : 0),
	                         "subscribers", (int)best->n_subscribers, "replicas", replicas));
}

static enum status ask_all(const struct cli *cli, struct cluster_view *v)
{
	uint32_t timeout_ms = cli->options->timeout_ms;
	for (uint32_t i = 0; i < cli->n_managers; i++)
		add_api(v, cli->managers[i]);
	uint32_t n_given = v->n;
	int code = ask_from(v, 0, timeout_ms);
	learn_members(v);
	if (code == 0 && v->n > n_given)
		code = ask_from(v, n_given, timeout_ms);
	for (uint32_t i = 0; i < v->n; i++) // who was asked at an address that no manager names is still itself
		if (v->items[i].has_answered && v->items[i].info.id == 0 && find_by_id(v, v->items[i].reply.id) == NULL)
			v->items[i].info.id = v->items[i].reply.id;
	sort_members(v);
	if (code == 0)
		return STATUS_DONE;
	cli_complain("memory is short");
	return STATUS_UNREACHABLE;
}

static bool any_has_answered(const struct cluster_view *v)
{
	for (uint32_t i = 0; i < v->n; i++)
		if (v->items[i].has_answered)
			return true;
	return false;
}

static enum status show_status(struct cli *cli, const char *operand)
{
	static struct cluster_view view;
	enum status status = cli_read_managers(cli);
	if (status == STATUS_DONE)
		status = ask_all(cli, &view);
	if (status != STATUS_DONE)
		return status;
	if (cli->options->is_json)
		print_json(&view);
	else
		print_text(&view);
	if (find_leader(&view) != NULL)
		return STATUS_DONE;
	cli_complain(any_has_answered(&view) ? "the managers have no leader" : "no manager can be reached");
	return STATUS_UNREACHABLE;
}

const struct command cluster_commands[] = {
	{ "cluster", "status", NULL, 0, 0, "show the managers, asking each of them", "cluster status", show_status },
	{ 0 },
};
