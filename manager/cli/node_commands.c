// anantactl mux ..., anantactl host list|show|remove: the nodes, as they say of themselves.
#include <string.h>

#include "manager/cli/command.h"
#include "manager/cli/host_nodes.h"
#include "manager/cli/mux_drain.h"
#include "manager/cli/table.h"
#include "manager/cli/utc.h"

static bool is_unreachable(const struct node_status *node)
{
	return strcmp(node->state, "unreachable") == 0 || strcmp(node->state, "down") == 0;
}

static uint64_t find_counter(const struct node_status *node, const char *name)
{
	for (uint32_t i = 0; i < node->n_counters; i++)
		if (strcmp(node->counters[i].name, name) == 0)
			return node->counters[i].value;
	return 0;
}

static uint64_t sum_drops(const struct node_status *node)
{
	uint64_t sum = 0;
	for (uint32_t i = 0; i < node->n_counters; i++)
		if (strncmp(node->counters[i].name, "drop_", strlen("drop_")) == 0)
			sum += node->counters[i].value;
	return sum;
}

static const struct node_info *find_info(const struct store *state, const struct node_status *node)
{
	return node->role == ROLE_MUX ? store_lookup_mux(state, node->name) : store_lookup_host(state, node->name);
}

static uint32_t count_vms(const struct store *state, const char *host)
{
	uint32_t n = 0;
	for (uint32_t i = 0; i < state->dips.n; i++)
		n += strcmp(store_dip(state, i)->host, host) == 0;
	return n;
}

// How many versions the node is behind the cluster.
static uint64_t find_lag(const struct store *state, const struct node_status *node)
{
	return state->version > node->version ? state->version - node->version : 0;
}

static const struct store_mark *find_drain(const struct store *state, const char *mux)
{
	struct object_key key = object_key_of_name(OBJECT_MUX_DRAIN, mux);
	return store_lookup_mark(state, &key);
}

static void put_mux_facts(json_t *document, const struct store *state, const struct node_status *node)
{
	const struct store_mark *drain = find_drain(state, node->name);
	json_object_set_new(document, "lag",
	                    is_unreachable(node) ? json_null() : json_integer((json_int_t)find_lag(state, node)));
	json_object_set_new(document, "drained_since", drain != NULL ? cli_json_time(drain->info.since_ms) : json_null());
}

static json_t *make_node_json(const struct store *state, const struct node_status *node)
{
	const struct node_info *info = find_info(state, node);
	json_t *counters = json_object();
	for (uint32_t i = 0; i < node->n_counters; i++)
		json_object_set_new(counters, node->counters[i].name, json_integer((json_int_t)node->counters[i].value));
	json_t *document = json_pack("{s:s}", "name", node->name);
	if (info != NULL) {
		bool has_both = !ip_addr_is_unspecified(&info->addr6);
		json_object_set_new(document, "address", cli_json_addr(&info->addr));
		json_object_set_new(document, "address6", has_both ? cli_json_addr(&info->addr6) : json_null());
	}
	json_object_set_new(document, "state", json_string(node->state));
	json_object_set_new(document, "version", json_integer((json_int_t)node->version));
	if (node->role == ROLE_MUX)
		put_mux_facts(document, state, node);
	else
		json_object_set_new(document, "vms", json_integer(count_vms(state, node->name)));
	json_object_set_new(document, "program_version", json_string(node->program_version));
	json_object_set_new(document, "counters", counters);
	return document;
}

static void add_counter(struct table *t, const struct node_status *node, uint64_t value)
{
	if (is_unreachable(node))
		table_add(t, "");
	else
		table_add_u64(t, value);
}

// "10.0.0.31", "10.0.0.31,2001:db8::31"; "" of one that has no address any more.
#define NODE_ADDRESSES_BYTES (2 * IP_ADDR_TEXT_BYTES + 1)
static const char *format_addresses(const struct node_info *info, char *buf)
{
	char addr[IP_ADDR_TEXT_BYTES];
	char addr6[IP_ADDR_TEXT_BYTES];
	buf[0] = '\0';
	if (info != NULL && ip_addr_is_unspecified(&info->addr6))
		ip_addr_format(&info->addr, buf);
	else if (info != NULL)
		(void)text_format(buf, NODE_ADDRESSES_BYTES, "%s,%s", ip_addr_format(&info->addr, addr),
		                  ip_addr_format(&info->addr6, addr6));
	return buf;
}

static void add_node(struct table *t, const struct store *state, const struct node_status *node)
{
	char text[NODE_ADDRESSES_BYTES];
	table_add(t, node->name);
	table_add(t, format_addresses(find_info(state, node), text));
	table_add(t, node->state);
	add_counter(t, node, node->version);
	if (node->role == ROLE_MUX) {
		add_counter(t, node, find_lag(state, node));
	} else {
		table_add_u64(t, count_vms(state, node->name));
		add_counter(t, node, find_counter(node, "flows"));
	}
	add_counter(t, node, find_counter(node, "rx_packets"));
	add_counter(t, node, sum_drops(node));
}

static void print_nodes(const struct cli *cli, enum node_role role, const struct store *state,
                        const struct node_list *nodes)
{
	if (cli->options->is_json) {
		json_t *list = json_array();
		for (uint32_t i = 0; i < nodes->n; i++)
			json_array_append_new(list, make_node_json(state, &nodes->items[i]));
		cli_print_json(list);
		return;
	}
	struct table *t = table_create(role == ROLE_MUX ? "NAME ADDRESS STATE <VERSION <LAG <PACKETS <DROPS"
	                                                : "NAME ADDRESS STATE <VERSION <VMS <FLOWS <PACKETS <DROPS");
	for (uint32_t i = 0; i < nodes->n; i++)
		add_node(t, state, &nodes->items[i]);
	table_print(t, stdout);
	table_destroy(t);
}

static void print_node_text(const struct store *state, const struct node_status *node)
{
	char text[NODE_ADDRESSES_BYTES];
	char time[UTC_TEXT_BYTES];
	const struct node_info *info = find_info(state, node);
	printf("name     %s\naddress  %s\nstate    %s\n", node->name, info != NULL ? format_addresses(info, text) : "-",
	       node->state);
	const struct store_mark *drain = node->role == ROLE_MUX ? find_drain(state, node->name) : NULL;
	if (drain != NULL)
		printf("drained  since %s\n", utc_format(drain->info.since_ms, time));
	if (is_unreachable(node))
		return;
	printf("version  %llu\n", (unsigned long long)node->version);
	if (node->role == ROLE_MUX)
		printf("lag      %llu\n", (unsigned long long)find_lag(state, node));
	printf("program  %s\n\n", node->program_version);
	struct table *t = table_create("COUNTER <VALUE");
	for (uint32_t i = 0; i < node->n_counters; i++) {
		table_add(t, node->counters[i].name);
		table_add_u64(t, node->counters[i].value);
	}
	table_print(t, stdout);
	table_destroy(t);
}

// The state, and what the nodes say; either both or none for the caller to finish.
static enum status get_nodes(struct cli *cli, enum node_role role, const char *name, struct store *state,
                             struct node_list *nodes)
{
	enum status status = cli_get_state(cli, state);
	if (status != STATUS_DONE)
		return status;
	status = cli_get_nodes(cli, role, name, nodes);
	if (status != STATUS_DONE)
		store_fini(state);
	return status;
}

static enum status list_nodes(struct cli *cli, enum node_role role)
{
	struct store state;
	struct node_list nodes;
	enum status status = get_nodes(cli, role, "", &state, &nodes);
	if (status != STATUS_DONE)
		return status;
	print_nodes(cli, role, &state, &nodes);
	node_list_fini(&nodes);
	store_fini(&state);
	return STATUS_DONE;
}

static enum status show_node(struct cli *cli, enum node_role role, const char *name)
{
	struct store state;
	struct node_list nodes;
	const char *what = role == ROLE_MUX ? "mux" : "host";
	if (!text_is_name(name)) {
		cli_complain("%s: a name is 1 to 63 of A-Z a-z 0-9 . _ -", what);
		return STATUS_USAGE;
	}
	enum status status = get_nodes(cli, role, name, &state, &nodes);
	if (status != STATUS_DONE)
		return status;
	if (nodes.n == 0) {
		cli_complain("%s: no %s \"%s\" is known", what, what, name);
		status = STATUS_REFUSED;
	} else if (cli->options->is_json) {
		cli_print_json(make_node_json(&state, &nodes.items[0]));
	} else {
		print_node_text(&state, &nodes.items[0]);
	}
	node_list_fini(&nodes);
	store_fini(&state);
	return status;
}

static enum status remove_node(struct cli *cli, enum object_kind kind, const char *name)
{
	uint64_t version;
	const char *what = kind == OBJECT_MUX ? "mux" : "host";
	if (!text_is_name(name)) {
		cli_complain("%s: a name is 1 to 63 of A-Z a-z 0-9 . _ -", what);
		return STATUS_USAGE;
	}
	struct change delete = { .key = object_key_of_name(kind, name), .is_delete = true };
	enum status status = cli_send_change(cli, &delete, &version);
	if (status != STATUS_DONE)
		return status;
	if (cli->options->is_json)
		cli_print_json(json_pack("{s:s, s:s, s:I}", what, name, "result", "removed", "version", (json_int_t)version));
	else
		printf("%s %s removed (version %llu)\n", what, name, (unsigned long long)version);
	return STATUS_DONE;
}

static enum status list_muxes(struct cli *cli, const char *operand)
{
	return list_nodes(cli, ROLE_MUX);
}

static enum status show_mux(struct cli *cli, const char *operand)
{
	return show_node(cli, ROLE_MUX, operand);
}

static enum status remove_mux(struct cli *cli, const char *operand)
{
	return remove_node(cli, OBJECT_MUX, operand);
}

enum status list_hosts(struct cli *cli, const char *operand)
{
	return list_nodes(cli, ROLE_AGENT);
}

enum status show_host(struct cli *cli, const char *operand)
{
	return show_node(cli, ROLE_AGENT, operand);
}

enum status remove_host(struct cli *cli, const char *operand)
{
	return remove_node(cli, OBJECT_HOST, operand);
}

const struct command mux_commands[] = {
	{ "mux", "list", NULL, 0, 0, "list the muxes, with their state and packets", "mux list", list_muxes },
	{ "mux", "show", "NAME", 0, 0, "show a mux with all its counters", "mux show mux1", show_mux },
	{ "mux", "drain", "NAME", 0, OPTION_WAIT,
	  "have routers send a mux's traffic to the others, then withdraw it; with --wait, return when no packet comes any "
	  "more (or --timeout passed)",
	  "mux drain mux1 --wait", drain_mux },
	{ "mux", "undrain", "NAME", 0, 0, "have a drained mux announce its routes again", "mux undrain mux1", undrain_mux },
	{ "mux", "remove", "NAME", 0, 0, "forget a mux that is gone for good", "mux remove mux1", remove_mux },
	{ 0 },
};
