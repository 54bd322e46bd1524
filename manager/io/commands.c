// Commands: proposed to Raft on behalf of a peer, answered when they are applied.
#include <string.h>
#include <time.h>

#include "common/base/memory.h"
#include "common/wire/changes.h"
#include "manager/core/rules.h"
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

static void on_result(const struct error *err, uint64_t result, void *user)
{
	struct command *c = user;
	if (c->peer != NULL) {
		unlink_command(c);
		c->on_done(c->peer, c->request_id, err, result);
	}
	memory_free(c);
}

uint64_t server_clock_ms(void)
{
	struct timespec now;
	clock_gettime(CLOCK_REALTIME, &now);
	return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

int server_propose(struct server *s, const struct state_command *command, replica_result_fn on_done, void *user,
                   struct error *err)
{
	uint8_t *bytes;
	size_t n;
	struct state_command stamped = *command;
	stamped.time_ms = server_clock_ms();
	if (command_encode(&stamped, &bytes, &n) != 0)
		return error_set(err, ERR_NO_MEMORY, "memory is short");
	int code = replica_propose(s->replica, bytes, n, on_done, user, err);
	memory_free(bytes);
	return code;
}

int commands_propose(struct peer *p, uint64_t request_id, const struct change_list *changes,
                     const struct snat_op_list *ops, const struct command_terms *terms, command_fn on_done,
                     struct error *err)
{
	if (p->n_commands >= SERVER_PEER_COMMANDS_MAX)
		return error_set(err, ERR_LIMIT, "%u commands of this connection wait, which is the limit; try again later",
		                 p->n_commands);
	struct command *c = memory_array(1, sizeof *c);
	if (c == NULL)
		return error_set(err, ERR_NO_MEMORY, "memory is short");
	*c = (struct command){ .peer = p, .next = p->commands, .request_id = request_id, .on_done = on_done };
	struct state_command command = { .changes = *changes, .ops = *ops, .terms = *terms };
	(void)text_copy(command.author, sizeof command.author, p->author);
	int code = server_propose(p->server, &command, on_result, c, err);
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

static void answer(struct peer *p, uint64_t request_id, const struct error *err, uint64_t result)
{
	if (err->code == ERR_NOT_LEADER) // nothing was done: the new leader may be asked
		server_send_redirect(p, request_id);
	else if (err->code != 0)
		server_send_error(p, request_id, err);
	else
		(void)conn_send(p->conn, &(struct message){ .type = MESSAGE_COMMAND_REPLY,
		                                            .request_id = request_id,
		                                            .term = replica_term(p->server->replica),
		                                            .version = machine_result_version(result),
		                                            .is_unchanged = !machine_result_is_changed(result) });
}

// What a client may not ask for, beside the rules of the state.
static int check_change(const struct server *s, const struct change *c, struct error *err)
{
	bool is_node = c->key.kind == OBJECT_MUX || c->key.kind == OBJECT_HOST;
	enum node_role role = c->key.kind == OBJECT_MUX ? ROLE_MUX : ROLE_AGENT;
	if (c->key.kind == OBJECT_CLUSTER)
		return error_set(err, ERR_INVALID, "cluster: is made by the managers themselves");
	if (c->key.kind == OBJECT_HISTORY)
		return error_set(err, ERR_INVALID, "history: is made by the managers themselves");
	if (is_node && c->is_delete && roster_lookup(&s->roster, role, c->key.name) != NULL)
		return error_set(err, ERR_CONFLICT, "%s: \"%s\" is connected and would come back at once; stop it first",
		                 role == ROLE_MUX ? "mux" : "host", c->key.name);
	return 0;
}

// Of operations on leases a client may only revoke; and it is told when there is nothing to revoke.
static int check_op(const struct server *s, const struct snat_op *op, struct error *err)
{
	const struct snat_state *snat = &s->machine.state.snat;
	char text[IP_ADDR_TEXT_BYTES];
	struct lease held;
	struct lease_list leases = { 0 };
	if (op->kind != SNAT_REVOKE)
		return error_set(err, ERR_INVALID, "snat: ports are asked for and returned by agents; a command can revoke");
	if (!ip_addr_is_unspecified(&op->vip)) {
		if (snat_state_lookup(snat, &op->vip, op->first_port, &held))
			return 0;
		return error_set(err, ERR_NOT_FOUND, "snat: nobody holds port %u of %s", op->first_port,
		                 ip_addr_format(&op->vip, text));
	}
	int code = snat_state_list_of_dip(snat, &op->dip, &leases);
	bool has_any = leases.n > 0;
	lease_list_fini(&leases);
	if (code != 0)
		return error_set(err, ERR_NO_MEMORY, "memory is short");
	return has_any ? 0 : error_set(err, ERR_NOT_FOUND, "snat: %s holds no ports", ip_addr_format(&op->dip, text));
}

// A command may hold nothing but its terms, which are then looked at; or the commit of a transaction.
static int check_command(const struct change_list *changes, const struct snat_op_list *ops,
                         const struct command_terms *terms, struct error *err)
{
	bool is_part = terms->stage.id != 0 && !terms->stage.is_commit;
	if (changes->n + ops->n == 0 && (is_part || (terms->stage.id == 0 && terms->since_version == 0)))
		return error_set(err, ERR_INVALID, "the command holds no change");
	if (is_part && ops->n > 0)
		return error_set(err, ERR_INVALID, "snat: operations on leases belong to no transaction");
	return 0;
}

void commands_on_request(struct peer *p, uint64_t request_id, const struct change_list *changes,
                         const struct snat_op_list *ops, const struct command_terms *terms)
{
	struct error err = { 0 };
	int code = check_command(changes, ops, terms, &err);
	if (code == 0)
		code = rules_check_operators(changes, &err);
	for (uint32_t i = 0; code == 0 && i < changes->n; i++)
		code = check_change(p->server, &changes->items[i], &err);
	for (uint32_t i = 0; code == 0 && i < ops->n; i++)
		code = check_op(p->server, &ops->items[i], &err);
	if (code == 0)
		code = commands_propose(p, request_id, changes, ops, terms, answer, &err);
	if (code != 0)
		answer(p, request_id, &err, 0);
}
