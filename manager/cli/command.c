#include "manager/cli/command.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/text.h"
#include "manager/cli/help.h"
#include "manager/cli/utc.h"

void cli_complain(const char *format, ...)
{
	char text[2 * ERROR_TEXT_BYTES];
	va_list args;
	va_start(args, format);
	text_vformat(text, sizeof text, format, args);
	va_end(args);
	fprintf(stderr, "anantactl: %s\n", text);
}

enum status cli_report(const struct error *err)
{
	cli_complain("%s", err->text);
	switch (err->code) {
	case ERR_INVALID:
	case ERR_NOT_FOUND:
	case ERR_CONFLICT:
	case ERR_LIMIT: return STATUS_REFUSED;
	case ERR_OK:
	case ERR_NO_MEMORY:
	case ERR_TRUNCATED:
	case ERR_MALFORMED:
	case ERR_IO:
	case ERR_NOT_LEADER:
	case ERR_TIMEOUT:
	case ERR_UNAVAILABLE:
	case ERR_VERSION: break;
	}
	return STATUS_UNREACHABLE;
}

static enum status add_manager(struct cli *cli, const char *address)
{
	struct error err = { 0 };
	struct ip_addr addr;
	uint16_t port;
	if (cli->n_managers == REPLICAS_MAX) {
		cli_complain("managers: at most %d can be given", REPLICAS_MAX);
		return STATUS_USAGE;
	}
	if (ip_endpoint_parse(address, &addr, &port, &err) != 0) {
		cli_complain("managers: %s", err.text);
		return STATUS_USAGE;
	}
	cli->managers[cli->n_managers++] = address;
	return STATUS_DONE;
}

enum status cli_read_managers(struct cli *cli)
{
	const char *list = cli->options->managers != NULL ? cli->options->managers : getenv("ANANTA_MANAGERS");
	if (list == NULL || list[0] == '\0') {
		cli_complain("no managers are given; use --managers ADDRESS:PORT,... or set ANANTA_MANAGERS");
		return STATUS_USAGE;
	}
	if (!text_copy(cli->text, sizeof cli->text, list)) {
		cli_complain("managers: the list is too long");
		return STATUS_USAGE;
	}
	enum status status = STATUS_DONE;
	char *save = NULL;
	for (char *word = strtok_r(cli->text, ", ", &save); word != NULL && status == STATUS_DONE;
	     word = strtok_r(NULL, ", ", &save))
		status = add_manager(cli, word);
	if (status == STATUS_DONE && cli->n_managers == 0) {
		cli_complain("managers: the list is empty");
		status = STATUS_USAGE;
	}
	return status;
}

enum status cli_connect(struct cli *cli)
{
	struct error err = { 0 };
	if (cli->client != NULL)
		return STATUS_DONE;
	enum status status = cli_read_managers(cli);
	if (status != STATUS_DONE)
		return status;
	struct client_config config = { .n_managers = cli->n_managers, .timeout_ms = cli->options->timeout_ms };
	memcpy(config.managers, cli->managers, sizeof config.managers);
	return client_create(&config, &cli->client, &err) == 0 ? STATUS_DONE : cli_report(&err);
}

enum status cli_send_change(struct cli *cli, struct change *change, uint64_t *ret_version)
{
	struct error err = { 0 };
	struct change_list changes = { .n = 1, .capacity = 1, .items = change };
	enum status status = cli_connect(cli);
	if (status == STATUS_DONE && client_command(cli->client, &changes, ret_version, &err) != 0)
		status = cli_report(&err);
	change_fini(change);
	return status;
}

enum status cli_submit_change(struct cli *cli, struct change *change, const struct command_terms *terms,
                              uint64_t *ret_version, bool *ret_is_unchanged)
{
	struct error err = { 0 };
	struct change_list changes = { .n = 1, .capacity = 1, .items = change };
	enum status status = cli_connect(cli);
	if (status == STATUS_DONE && client_submit(cli->client, &changes, terms, ret_version, ret_is_unchanged, &err) != 0)
		status = cli_report(&err);
	change_fini(change);
	return status;
}

enum status cli_get_state(struct cli *cli, struct store *ret_state)
{
	struct error err = { 0 };
	enum status status = cli_connect(cli);
	if (status == STATUS_DONE && client_get_state(cli->client, ret_state, &err) != 0)
		status = cli_report(&err);
	return status;
}

enum status cli_get_nodes(struct cli *cli, enum node_role role, const char *name, struct node_list *ret_nodes)
{
	struct error err = { 0 };
	enum status status = cli_connect(cli);
	if (status == STATUS_DONE && client_get_nodes(cli->client, role, name, ret_nodes, &err) != 0)
		status = cli_report(&err);
	return status;
}

enum status cli_get_leases(struct cli *cli, const struct ip_addr *vip, uint16_t port, uint64_t at_ms,
                           struct leases_reply *ret_leases)
{
	struct error err = { 0 };
	enum status status = cli_connect(cli);
	if (status == STATUS_DONE && client_get_leases(cli->client, vip, port, at_ms, ret_leases, &err) != 0)
		status = cli_report(&err);
	return status;
}

enum status cli_parse_addr(const char *what, const char *text, struct ip_addr *ret_addr)
{
	struct error err = { 0 };
	if (ip_addr_parse(text, ret_addr, &err) == 0)
		return STATUS_DONE;
	cli_complain("%s: %s", what, err.text);
	return STATUS_USAGE;
}

void cli_print_json(json_t *document)
{
	json_dumpf(document, stdout, JSON_INDENT(2) | JSON_PRESERVE_ORDER);
	putchar('\n');
	json_decref(document);
}

json_t *cli_json_addr(const struct ip_addr *addr)
{
	char text[IP_ADDR_TEXT_BYTES];
	return json_string(ip_addr_format(addr, text));
}

json_t *cli_json_time(uint64_t ms)
{
	char text[UTC_TEXT_BYTES];
	return ms == 0 ? json_null() : json_string(utc_format(ms, text));
}

// ---- the table ----

static const struct command *const all_commands[] = {
	vip_commands,      snat_commands,  mux_commands,   host_commands,   dip_commands, cluster_commands,
	settings_commands, event_commands, apply_commands, export_commands, NULL
};

const char *command_name(const struct command *c, char *buf)
{
	(void)text_format(buf, COMMAND_NAME_BYTES, "%s%s%s", c->noun, c->verb != NULL ? " " : "",
	                  c->verb != NULL ? c->verb : "");
	return buf;
}

static bool is_noun(const char *noun)
{
	for (const struct command *const *group = all_commands; *group != NULL; group++)
		if (strcmp((*group)->noun, noun) == 0)
			return true;
	return false;
}

// Of a noun that is a command alone, whatever word follows.
static const struct command *find_command(const char *noun, const char *verb)
{
	for (const struct command *const *group = all_commands; *group != NULL; group++)
		for (const struct command *c = *group; c->noun != NULL; c++)
			if (strcmp(c->noun, noun) == 0 && (c->verb == NULL || (verb != NULL && strcmp(c->verb, verb) == 0)))
				return c;
	return NULL;
}

static enum status show_help(const char *noun, const char *verb)
{
	const struct command *c = noun != NULL ? find_command(noun, verb) : NULL;
	if (noun == NULL)
		help_print_all(all_commands);
	else if (c != NULL)
		help_print_command(c);
	else if (verb == NULL && is_noun(noun))
		help_print_noun(all_commands, noun);
	else {
		cli_complain("there is no command \"%s%s%s\"; try `anantactl --help`", noun, verb != NULL ? " " : "",
		             verb != NULL ? verb : "");
		return STATUS_USAGE;
	}
	return STATUS_DONE;
}

static enum status check_options(const struct command *c, const struct options *o)
{
	char name[COMMAND_NAME_BYTES];
	command_name(c, name);
	for (unsigned bit = 1; bit < 1u << OPTION_BITS; bit <<= 1) {
		if ((c->required & bit) != 0 && (o->given & bit) == 0) {
			cli_complain("%s: %s is missing; try `anantactl %s --help`", name, option_usage(bit), name);
			return STATUS_USAGE;
		}
		if ((o->given & bit) != 0 && ((c->required | c->optional) & bit) == 0) {
			cli_complain("%s: %s does not belong here", name, option_usage(bit));
			return STATUS_USAGE;
		}
	}
	return STATUS_DONE;
}

static enum status run_command(const struct command *c, const struct options *o)
{
	char name[COMMAND_NAME_BYTES];
	int n_words = c->verb != NULL ? 2 : 1;
	int n_wanted = n_words + (c->operand != NULL);
	bool may_lack = c->operand != NULL && c->operand[0] == '[';
	if (o->n_operands < n_wanted && !may_lack) {
		cli_complain("%s: %s is missing", command_name(c, name), c->operand);
		return STATUS_USAGE;
	}
	if (o->n_operands > n_wanted) {
		cli_complain("%s: \"%.60s\" is one argument too many", command_name(c, name), o->operands[n_wanted]);
		return STATUS_USAGE;
	}
	enum status status = check_options(c, o);
	if (status != STATUS_DONE)
		return status;
	struct cli cli = { .options = o };
	status = c->run(&cli, o->n_operands > n_words ? o->operands[n_words] : NULL);
	client_destroy(cli.client);
	return status;
}

enum status command_run(const struct options *o)
{
	const char *noun = o->n_operands > 0 ? o->operands[0] : NULL;
	const char *verb = o->n_operands > 1 ? o->operands[1] : NULL;
	if (noun != NULL && strcmp(noun, "help") == 0)
		return show_help(verb, o->n_operands > 2 ? o->operands[2] : NULL);
	if (o->wants_help)
		return show_help(noun, verb);
	if (noun == NULL) {
		cli_complain("a command is missing; try `anantactl --help`");
		return STATUS_USAGE;
	}
	const struct command *c = find_command(noun, verb);
	if (c != NULL)
		return run_command(c, o);
	if (verb == NULL && is_noun(noun))
		cli_complain("%s: what to do is missing; try `anantactl %s --help`", noun, noun);
	else
		cli_complain("there is no command \"%.60s%s%.60s\"; try `anantactl --help`", noun, verb != NULL ? " " : "",
		             verb != NULL ? verb : "");
	return STATUS_USAGE;
}
