#include "manager/cli/ack_wait.h"

#include <string.h>

static const char *role_name(enum node_role role)
{
	return role == ROLE_MUX ? "mux" : "host";
}

static void print_nodes(const struct wait_reply *r, bool is_connected, const char *what)
{
	for (uint32_t i = 0; i < r->n_laggards; i++) {
		const struct laggard *l = &r->laggards[i];
		if (l->is_connected != is_connected)
			continue;
		if (is_connected)
			printf("%s: %s %s, at version %llu\n", what, role_name(l->role), l->name, (unsigned long long)l->version);
		else
			printf("%s: %s %s\n", what, role_name(l->role), l->name);
	}
}

static void print_text(const struct wait_reply *r)
{
	printf("acknowledged by %u, behind %u, not connected %u\n", r->n_acked, r->n_late, r->n_away);
	print_nodes(r, true, "behind");
	print_nodes(r, false, "not connected");
	if (r->n_laggards < r->n_late + r->n_away)
		printf("... and %u more\n", r->n_late + r->n_away - r->n_laggards);
}

static json_t *make_json(const struct wait_reply *r)
{
	json_t *behind = json_array();
	json_t *away = json_array();
	for (uint32_t i = 0; i < r->n_laggards; i++) {
		const struct laggard *l = &r->laggards[i];
		json_t *node = json_pack("{s:s, s:s}", "role", role_name(l->role), "name", l->name);
		if (l->is_connected)
			json_object_set_new(node, "version", json_integer((json_int_t)l->version));
		json_array_append_new(l->is_connected ? behind : away, node);
	}
	return json_pack("{s:b, s:i, s:i, s:i, s:o, s:o}", "done", (int)r->is_done, "acknowledged", (int)r->n_acked,
	                 "n_behind", (int)r->n_late, "n_not_connected", (int)r->n_away, "behind", behind, "not_connected",
	                 away);
}

enum status ack_wait(struct cli *cli, uint64_t version, json_t *document)
{
	struct wait_reply *r = &(struct wait_reply){ 0 };
	struct error err = { 0 };
	const struct options *o = cli->options;
	if (!options_has(o, OPTION_WAIT))
		return STATUS_DONE;
	uint32_t timeout_ms = o->wait_ms != 0 ? o->wait_ms : WAIT_DEFAULT_S * 1000;
	if (client_wait(cli->client, version, timeout_ms, r, &err) != 0) {
		(void)error_prefix(
			&err, "the change is made (version %llu), but who has it is not known: ", (unsigned long long)version);
		(void)cli_report(&err);
		return STATUS_UNREACHABLE;
	}
	if (document != NULL)
		json_object_set_new(document, "wait", make_json(r));
	else
		print_text(r);
	if (!r->is_done)
		cli_complain("version %llu is not acknowledged by %u of %u that are connected", (unsigned long long)version,
		             r->n_late, r->n_late + r->n_acked);
	return r->is_done ? STATUS_DONE : STATUS_UNREACHABLE;
}
