// anantactl dip ...: the DIPs, where they are, and which of them are drained.
#include <string.h>

#include "manager/cli/command.h"
#include "manager/cli/dip_drain.h"
#include "manager/cli/dip_health.h"
#include "manager/cli/table.h"

static const struct node_status *find_node(const struct node_list *nodes, const char *name)
{
	for (uint32_t i = 0; i < nodes->n; i++)
		if (strcmp(nodes->items[i].name, name) == 0)
			return &nodes->items[i];
	return NULL;
}

struct dip_view {
	const struct dip_info *info;
	const char *state;
	const struct dip_status *status; // what its host's agent says; NULL: nothing
	bool is_drained; // of at least one VIP
};

// "pending": its agent has not heard of it yet.
static const char *find_state(const struct node_status *host, const struct dip_view *view)
{
	if (host == NULL || strcmp(host->state, "unreachable") == 0)
		return "host-unreachable";
	if (view->status == NULL)
		return "pending";
	return view->is_drained && strcmp(view->status->state, "attached") == 0 ? "draining" : view->status->state;
}

static struct dip_view make_view(const struct store *state, const struct node_list *hosts, const struct dip_info *dip)
{
	struct dip_view view = { .info = dip };
	const struct node_status *host = find_node(hosts, dip->host);
	for (uint32_t i = 0; host != NULL && i < host->n_dips; i++)
		if (ip_addr_equal(&host->dips[i].dip, &dip->dip))
			view.status = &host->dips[i];
	for (uint32_t i = 0; i < state->drains.n; i++)
		view.is_drained |= ip_addr_equal(&store_mark_at(&state->drains, i)->key.addr, &dip->dip);
	view.state = find_state(host, &view);
	return view;
}

static json_t *make_vips_json(const struct store *state, const struct ip_addr *dip)
{
	json_t *list = json_array();
	for (uint32_t i = 0; i < state->vips.n; i++)
		if (vip_config_has_dip(store_vip(state, i), dip))
			json_array_append_new(list, cli_json_addr(&store_vip(state, i)->vip));
	return list;
}

static json_t *make_drains_json(const struct store *state, const struct ip_addr *dip)
{
	json_t *list = json_array();
	for (uint32_t i = 0; i < state->drains.n; i++) {
		const struct store_mark *d = store_mark_at(&state->drains, i);
		if (ip_addr_equal(&d->key.addr, dip))
			json_array_append_new(list, json_pack("{s:s?, s:o}", "vip", d->key.name[0] != '\0' ? d->key.name : NULL,
			                                      "since", cli_json_time(d->info.since_ms)));
	}
	return list;
}

static json_t *make_dip_json(const struct store *state, const struct dip_view *view)
{
	char mac[MAC_TEXT_BYTES];
	const struct dip_info *dip = view->info;
	struct dip_health health = dip_health_of_all(state, &dip->dip);
	json_t *via = dip_info_has_via(dip) ? cli_json_addr(&dip->via) : json_null();
	json_t *flows = view->status != NULL ? json_integer((json_int_t)view->status->flows) : json_null();
	return json_pack("{s:o, s:s, s:s, s:s, s:s, s:o, s:s, s:o, s:o, s:o, s:s?, s:o, s:o}", "dip",
	                 cli_json_addr(&dip->dip), "host", dip->host, "vm", dip->vm, "interface", dip->interface, "mac",
	                 mac_format(dip->mac, mac), "via", via, "state", view->state, "flows", flows, "vips",
	                 make_vips_json(state, &dip->dip), "drains", make_drains_json(state, &dip->dip), "health",
	                 dip_health_word(&health), "unhealthy", dip_health_make_unhealthy(state, &dip->dip), "host_gone",
	                 dip_health_make_mark(health.gone));
}

#define VIPS_TEXT_BYTES 96

// Appends to a list that is cut with "..." where it would be long.
static void append_text(char *buf, const char *text)
{
	size_t used = strlen(buf);
	if (used + IP_ADDR_TEXT_BYTES + sizeof ",..." <= VIPS_TEXT_BYTES)
		(void)text_format(buf + used, VIPS_TEXT_BYTES - used, "%s%s", used == 0 ? "" : ",", text);
	else if (strstr(buf, ",...") == NULL)
		(void)text_format(buf + used, VIPS_TEXT_BYTES - used, ",...");
}

static void format_vips(const struct store *state, const struct ip_addr *dip, char *buf)
{
	char text[IP_ADDR_TEXT_BYTES];
	buf[0] = '\0';
	for (uint32_t i = 0; i < state->vips.n; i++)
		if (vip_config_has_dip(store_vip(state, i), dip))
			append_text(buf, ip_addr_format(&store_vip(state, i)->vip, text));
}

// The VIPs that the DIP is drained of: "all", or their addresses.
static void format_drains(const struct store *state, const struct ip_addr *dip, char *buf)
{
	buf[0] = '\0';
	for (uint32_t i = 0; i < state->drains.n; i++) {
		const struct store_mark *d = store_mark_at(&state->drains, i);
		if (!ip_addr_equal(&d->key.addr, dip))
			continue;
		if (d->key.name[0] == '\0') {
			(void)text_copy(buf, VIPS_TEXT_BYTES, "all");
			return;
		}
		append_text(buf, d->key.name);
	}
}

static void add_flows(struct table *t, const struct dip_view *view)
{
	if (view->status != NULL)
		table_add_u64(t, view->status->flows);
	else
		table_add(t, "");
}

static bool has_any_via(const struct store *state)
{
	for (uint32_t i = 0; i < state->dips.n; i++)
		if (dip_info_has_via(store_dip(state, i)))
			return true;
	return false;
}

// The column is there only where somebody uses it.
static void print_dips_text(const struct store *state, const struct node_list *hosts)
{
	bool has_vias = has_any_via(state);
	struct table *t = table_create(has_vias ? "DIP VIA HOST VM INTERFACE MAC STATE <FLOWS VIPS DRAINED HEALTH"
	                                        : "DIP HOST VM INTERFACE MAC STATE <FLOWS VIPS DRAINED HEALTH");
	for (uint32_t i = 0; i < state->dips.n; i++) {
		const struct dip_info *dip = store_dip(state, i);
		struct dip_view view = make_view(state, hosts, dip);
		char text[IP_ADDR_TEXT_BYTES];
		char mac[MAC_TEXT_BYTES];
		char list[VIPS_TEXT_BYTES];
		char health_text[DIP_HEALTH_TEXT_BYTES];
		struct dip_health health = dip_health_of_all(state, &dip->dip);
		table_add(t, ip_addr_format(&dip->dip, text));
		if (has_vias)
			table_add(t, dip_info_has_via(dip) ? ip_addr_format(&dip->via, text) : "");
		table_add(t, dip->host);
		table_add(t, dip->vm);
		table_add(t, dip->interface);
		table_add(t, mac_format(dip->mac, mac));
		table_add(t, view.state);
		add_flows(t, &view);
		format_vips(state, &dip->dip, list);
		table_add(t, list);
		format_drains(state, &dip->dip, list);
		table_add(t, list);
		table_add(t, dip_health_format(&health, true, health_text));
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
		for (uint32_t i = 0; i < state.dips.n; i++) {
			struct dip_view view = make_view(&state, &hosts, store_dip(&state, i));
			json_array_append_new(list, make_dip_json(&state, &view));
		}
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
	{ "dip", "list", NULL, 0, 0,
	  "list the DIPs: where they are attached, their connections, which VIPs hold them, how they are", "dip list",
	  list_dips },
	{ "dip", "drain", "DIP", 0, OPTION_VIP | OPTION_WAIT,
	  "give a DIP no new connections, of one VIP or of all; with --wait, return when none is left (or --timeout "
	  "passed)",
	  "dip drain 10.1.1.11 --wait", drain_dip },
	{ "dip", "undrain", "DIP", 0, OPTION_VIP, "give a drained DIP new connections again", "dip undrain 10.1.1.11",
	  undrain_dip },
	{ 0 },
};
