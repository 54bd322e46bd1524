// anantactl host ...: hosts, and attaching VMs on them.
#include <string.h>

#include "manager/cli/command.h"
#include "manager/cli/host_nodes.h"

// ---- attach and detach ----

// To the leader, or to the agent of this very host, which asks the leader.
static enum status send_dip_change(struct cli *cli, struct change *change, uint64_t *ret_version)
{
	const char *socket = options_get(cli->options, OPTION_AGENT_SOCKET);
	if (socket == NULL)
		return cli_send_change(cli, change, ret_version);
	struct error err = { 0 };
	struct message reply = { 0 };
	struct message request = { .type = MESSAGE_COMMAND_REQUEST };
	request.changes = (struct change_list){ .n = 1, .capacity = 1, .items = change };
	if (socket[0] != '/') {
		cli_complain("--agent-socket: must be an absolute path, got \"%.80s\"", socket);
		return STATUS_USAGE;
	}
	if (client_ask(socket, cli->options->timeout_ms, &request, &reply, &err) != 0) {
		error_prefix(&err, "agent at %s: ", socket);
		return cli_report(&err);
	}
	bool is_done = reply.type == MESSAGE_COMMAND_REPLY;
	*ret_version = is_done ? reply.version : 0;
	message_fini(&reply);
	if (!is_done)
		cli_complain("agent at %s: gave an answer that cannot be used", socket);
	return is_done ? STATUS_DONE : STATUS_UNREACHABLE;
}

static enum status report_dip(const struct cli *cli, const struct ip_addr *dip, const char *host, const char *what,
                              uint64_t version)
{
	char text[IP_ADDR_TEXT_BYTES];
	ip_addr_format(dip, text);
	if (cli->options->is_json)
		cli_print_json(json_pack("{s:s, s:s, s:s, s:I}", "dip", text, "host", host, "result", what, "version",
		                         (json_int_t)version));
	else
		printf("dip %s %s host %s (version %llu)\n", text, what, host, (unsigned long long)version);
	return STATUS_DONE;
}

static enum status copy_name(const char *what, const char *text, char *buf, size_t size)
{
	if (text_is_name(text) && text_copy(buf, size, text))
		return STATUS_DONE;
	cli_complain("%s: \"%.80s\" is not 1 to %zu of A-Z a-z 0-9 . _ -", what, text, size - 1);
	return STATUS_USAGE;
}

static enum status read_dip(const struct options *o, const char *host, struct dip_info *dip)
{
	struct error err = { 0 };
	enum status status = copy_name("HOST", host, dip->host, sizeof dip->host);
	if (status == STATUS_DONE)
		status = copy_name("--name", options_get(o, OPTION_NAME), dip->vm, sizeof dip->vm);
	if (status == STATUS_DONE)
		status = copy_name("--interface", options_get(o, OPTION_INTERFACE), dip->interface, sizeof dip->interface);
	if (status == STATUS_DONE)
		status = cli_parse_addr("--dip", options_get(o, OPTION_DIP), &dip->dip);
	if (status == STATUS_DONE && options_has(o, OPTION_VIA))
		status = cli_parse_addr("--via", options_get(o, OPTION_VIA), &dip->via);
	if (status == STATUS_DONE && mac_parse(options_get(o, OPTION_MAC), dip->mac, &err) != 0) {
		cli_complain("--mac: %s", err.text);
		status = STATUS_USAGE;
	}
	return status;
}

static enum status attach(struct cli *cli, const char *host)
{
	struct change put = { 0 };
	uint64_t version;
	enum status status = read_dip(cli->options, host, &put.dip);
	if (status != STATUS_DONE)
		return status;
	struct ip_addr dip = put.dip.dip;
	put.key = object_key_of_addr(OBJECT_DIP, &dip);
	status = send_dip_change(cli, &put, &version);
	return status != STATUS_DONE ? status : report_dip(cli, &dip, host, "attached on", version);
}

// The leader only knows "this DIP goes"; that it is this host's is looked up first.
static enum status check_host_of_dip(struct cli *cli, const char *host, const struct ip_addr *dip)
{
	struct store state;
	char text[IP_ADDR_TEXT_BYTES];
	enum status status = cli_get_state(cli, &state);
	if (status != STATUS_DONE)
		return status;
	const struct dip_info *info = store_lookup_dip(&state, dip);
	if (info != NULL && strcmp(info->host, host) != 0) {
		cli_complain("dip: %s is attached on host \"%s\", not on \"%s\"", ip_addr_format(dip, text), info->host, host);
		status = STATUS_REFUSED;
	}
	store_fini(&state);
	return status;
}

static enum status detach(struct cli *cli, const char *host)
{
	struct ip_addr dip;
	uint64_t version;
	char name[NAME_BYTES];
	enum status status = copy_name("HOST", host, name, sizeof name);
	if (status == STATUS_DONE)
		status = cli_parse_addr("--dip", options_get(cli->options, OPTION_DIP), &dip);
	if (status == STATUS_DONE && options_get(cli->options, OPTION_AGENT_SOCKET) == NULL)
		status = check_host_of_dip(cli, host, &dip);
	if (status != STATUS_DONE)
		return status;
	struct change delete = { .key = object_key_of_addr(OBJECT_DIP, &dip), .is_delete = true };
	status = send_dip_change(cli, &delete, &version);
	return status != STATUS_DONE ? status : report_dip(cli, &dip, host, "detached from", version);
}

const struct command host_commands[] = {
	{ "host", "list", NULL, 0, 0, "list the hosts, with their state, VMs, flows and packets", "host list", list_hosts },
	{ "host", "show", "NAME", 0, 0, "show a host with all its agent's counters", "host show host1", show_host },
	{ "host", "remove", "NAME", 0, 0, "forget a host that is gone for good", "host remove host1", remove_host },
	{ "host", "attach", "HOST", OPTION_NAME | OPTION_DIP | OPTION_INTERFACE | OPTION_MAC,
	  OPTION_VIA | OPTION_AGENT_SOCKET,
	  "attach a VM on a host, or change how it is attached; --via: where packets for it are sent in the other family",
	  "host attach host1 --name vm1-1 --dip 10.1.1.11 --interface vm1-1 --mac 02:00:00:01:00:01", attach },
	{ "host", "detach", "HOST", OPTION_DIP, OPTION_AGENT_SOCKET, "detach a VM from a host",
	  "host detach host1 --dip 10.1.1.11", detach },
	{ 0 },
};
