// Commands: proposed to Raft on behalf of a peer, answered when they are applied.
#include <string.h>

#include "common/base/memory.h"
#include "common/wire/changes.h"
#include "manager/io/server_parts.h"

struct command {
	struct peer *peer; // NULL: gone meanwhile
	struct command *next;
	uint64_t request_id;
	command_fn on_done;
};

static void unlink_command(struct command *c)
{
	struct command **at = &c->peer->commands;
	while (*at != c)
		at = &(*at)->next;
	*at = c->next;
	c->peer->n_commands--;
}

static void on_result(const struct error *err, uint64_t version, void *user)
{
	struct command *c = user;
	if (c->peer != NULL) {
		unlink_command(c);
		c->on_done(c->peer, c->request_id, err, version);
	}
	memory_free(c);
}

static int propose(struct command *c, const struct change_list *changes, struct error *err)
{
	uint8_t *bytes;
	size_t n;
	struct state_command command = { .changes = *changes };
	if (command_encode(&command, &bytes, &n) != 0)
		return error_set(err, ERR_NO_MEMORY, "memory is short");
	int code = replica_propose(c->peer->server->replica, bytes, n, on_result, c, err);
	memory_free(bytes);
	return code;
}

int commands_propose(struct peer *p, uint64_t request_id, const struct change_list *changes, command_fn on_done,
                     struct error *err)
{
	if (p->n_commands >= SERVER_PEER_COMMANDS_MAX)
		return error_set(err, ERR_LIMIT, "%u commands of this connection wait, which is the limit; try again later",
		                 p->n_commands);
	struct command *c = memory_array(1, sizeof *c);
	if (c == NULL)
		return error_set(err, ERR_NO_MEMORY, "memory is short");
	*c = (struct command){ .peer = p, .next = p->commands, .request_id = request_id, .on_done = on_done };
	int code = propose(c, changes, err);
	if (code != 0) {
		memory_free(c);
		return code;
	}
	p->commands = c;
	p->n_commands++;
	return 0;
}

void commands_forget_peer(struct peer *p)
{
	for (struct command *c = p->commands; c != NULL; c = c->next)
		c->peer = NULL;
	p->commands = NULL;
	p->n_commands = 0;
}

static void answer(struct peer *p, uint64_t request_id, const struct error *err, uint64_t version)
{
	if (err->code == ERR_NOT_LEADER) // nothing was done: the new leader may be asked
		server_send_redirect(p, request_id);
	else if (err->code != 0)
		server_send_error(p, request_id, err);
	else
		(void)conn_send(p->conn, &(struct message){ .type = MESSAGE_COMMAND_REPLY,
		                                            .request_id = request_id,
		                                            .term = replica_term(p->server->replica),
		                                            .version = version });
}

// What a client may not ask for, beside the rules of the state.
static int check_change(const struct server *s, const struct change *c, struct error *err)
{
	bool is_node = c->key.kind == OBJECT_MUX || c->key.kind == OBJECT_HOST;
	enum node_role role = c->key.kind == OBJECT_MUX ? ROLE_MUX : ROLE_AGENT;
	if (c->key.kind == OBJECT_CLUSTER)
		return error_set(err, ERR_INVALID, "cluster: is made by the managers themselves");
	if (is_node && c->is_delete && roster_lookup(&s->roster, role, c->key.name) != NULL)
		return error_set(err, ERR_CONFLICT, "%s: \"%s\" is connected and would come back at once; stop it first",
		                 role == ROLE_MUX ? "mux" : "host", c->key.name);
	return 0;
}

void commands_on_request(struct peer *p, uint64_t request_id, const struct change_list *changes)
{
	struct error err = { 0 };
	int code = changes->n == 0 ? error_set(&err, ERR_INVALID, "the command holds no change") : 0;
	for (uint32_t i = 0; code == 0 && i < changes->n; i++)
		code = check_change(p->server, &changes->items[i], &err);
	if (code == 0)
		code = commands_propose(p, request_id, changes, answer, &err);
	if (code != 0)
		answer(p, request_id, &err, 0);
}
