// anantactl host ..., anantactl dip ...: hosts, and the VMs that are attached on them.
#include <string.h>

#include "manager/cli/command.h"
#include "manager/cli/host_nodes.h"
#include "manager/cli/table.h"

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
	{ "host", "attach", "HOST", OPTION_NAME | OPTION_DIP | OPTION_INTERFACE | OPTION_MAC, OPTION_AGENT_SOCKET,
	  "attach a VM on a host, or change how it is attached",
	  "host attach host1 --name vm1-1 --dip 10.1.1.11 --interface vm1-1 --mac 02:00:00:01:00:01", attach },
	{ "host", "detach", "HOST", OPTION_DIP, OPTION_AGENT_SOCKET, "detach a VM from a host",
	  "host detach host1 --dip 10.1.1.11", detach },
	{ 0 },
};

// ---- dip list ----

static const struct node_status *find_node(const struct node_list *nodes, const char *name)
{
	for (uint32_t i = 0; i < nodes->n; i++)
		if (strcmp(nodes->items[i].name, name) == 0)
			return &nodes->items[i];
	return NULL;
}

// What the host's agent says of the DIP; "pending" until it has heard of it.
static const char *dip_state(const struct node_list *hosts, const struct dip_info *dip)
{
	const struct node_status *host = find_node(hosts, dip->host);
	if (host == NULL || strcmp(host->state, "unreachable") == 0)
		return "host-unreachable";
	for (uint32_t i = 0; i < host->n_dips; i++)
		if (ip_addr_equal(&host->dips[i].dip, &dip->dip))
			return host->dips[i].state;
	return "pending";
}

static json_t *make_vips_json(const struct store *state, const struct ip_addr *dip)
{
	json_t *list = json_array();
	for (uint32_t i = 0; i < state->vips.n; i++)
		if (vip_config_has_dip(store_vip(state, i), dip))
			json_array_append_new(list, cli_json_addr(&store_vip(state, i)->vip));
	return list;
}

static json_t *make_dip_json(const struct store *state, const struct node_list *hosts, const struct dip_info *dip)
{
	char mac[MAC_TEXT_BYTES];
	return json_pack("{s:o, s:s, s:s, s:s, s:s, s:s, s:o}", "dip", cli_json_addr(&dip->dip), "host", dip->host, "vm",
	                 dip->vm, "interface", dip->interface, "mac", mac_format(dip->mac, mac), "state",
	                 dip_state(hosts, dip), "vips", make_vips_json(state, &dip->dip));
}

#define VIPS_TEXT_BYTES 96

static void format_vips(const struct store *state, const struct ip_addr *dip, char *buf)
{
	char text[IP_ADDR_TEXT_BYTES];
	buf[0] = '\0';
	for (uint32_t i = 0; i < state->vips.n; i++) {
		size_t used = strlen(buf);
		if (!vip_config_has_dip(store_vip(state, i), dip))
			continue;
		if (used + IP_ADDR_TEXT_BYTES + sizeof ",..." > VIPS_TEXT_BYTES) {
			(void)text_format(buf + used, VIPS_TEXT_BYTES - used, ",...");
			return;
		}
		(void)text_format(buf + used, VIPS_TEXT_BYTES - used, "%s%s", used == 0 ? "" : ",",
		                  ip_addr_format(&store_vip(state, i)->vip, text));
	}
}

static void print_dips_text(const struct store *state, const struct node_list *hosts)
{
	struct table *t = table_create("DIP HOST VM INTERFACE MAC STATE VIPS");
	for (uint32_t i = 0; i < state->dips.n; i++) {
		const struct dip_info *dip = store_dip(state, i);
		char text[IP_ADDR_TEXT_BYTES];
		char mac[MAC_TEXT_BYTES];
		char vips[VIPS_TEXT_BYTES];
		format_vips(state, &dip->dip, vips);
		table_add(t, ip_addr_format(&dip->dip, text));
		table_add(t, dip->host);
		table_add(t, dip->vm);
		table_add(t, dip->interface);
		table_add(t, mac_format(dip->mac, mac));
		table_add(t, dip_state(hosts, dip));
		table_add(t, vips);
	}
	table_print(t, stdout);
	table_destroy(t);
}

static enum status list_dips(struct cli *cli, const char *operand)
{
	struct store state;
	struct node_list hosts;
	enum status status = cli_get_state(cli, &state);
	if (status != STATUS_DONE)
		return status;
	status = cli_get_nodes(cli, ROLE_AGENT, "", &hosts);
	if (status == STATUS_DONE && cli->options->is_json) {
		json_t *list = json_array();
		for (uint32_t i = 0; i < state.dips.n; i++)
			json_array_append_new(list, make_dip_json(&state, &hosts, store_dip(&state, i)));
		cli_print_json(list);
	} else if (status == STATUS_DONE) {
		print_dips_text(&state, &hosts);
	}
	if (status == STATUS_DONE)
		node_list_fini(&hosts);
	store_fini(&state);
	return status;
}

const struct command dip_commands[] = {
	{ "dip", "list", NULL, 0, 0, "list the DIPs: where they are attached, and which VIPs hold them", "dip list",
	  list_dips },
	{ 0 },
};
