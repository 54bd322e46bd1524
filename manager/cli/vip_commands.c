// anantactl vip ...
#include <string.h>

#include "manager/cli/apply_commands.h"
#include "manager/cli/command.h"
#include "manager/cli/dip_health.h"
#include "manager/cli/table.h"
#include "manager/cli/utc.h"
#include "manager/cli/version_commands.h"
#include "manager/cli/vip_json.h"
#include "manager/cli/vip_status.h"

static enum status submit_vip(struct cli *cli, struct change *change, const char *what)
{
	struct ip_addr vip = change->key.addr;
	struct vip_expect expect = { .vip = vip };
	struct command_terms terms = { .expects = { .capacity = 1, .items = &expect } };
	bool is_unchanged = false;
	bool is_given;
	uint64_t version;
	enum status status = read_if_version(cli, &expect.version, &is_given);
	if (status != STATUS_DONE) {
		change_fini(change);
		return status;
	}
	terms.expects.n = is_given;
	status = cli_submit_change(cli, change, &terms, &version, &is_unchanged);
	return status != STATUS_DONE ? status : report_vip(cli, &vip, is_unchanged ? "unchanged" : what, version);
}

static enum status apply_vip(struct cli *cli, const char *operand)
{
	struct vip_config *vip;
	struct error err = { 0 };
	if (cli->options->n_files > 1) {
		cli_complain("vip apply: one -f only; `anantactl apply` takes many");
		return STATUS_USAGE;
	}
	if (options_has(cli->options, OPTION_DRY_RUN))
		return plan_vip(cli, operand);
	if (vip_json_read_file(options_get(cli->options, OPTION_FILE), &vip, &err) != 0) {
		cli_complain("%s", err.text);
		return STATUS_USAGE;
	}
	struct change put = { .key = object_key_of_addr(OBJECT_VIP, &vip->vip), .vip = vip };
	return submit_vip(cli, &put, "applied");
}

static enum status delete_vip(struct cli *cli, const char *operand)
{
	struct change delete = { .key.kind = OBJECT_VIP, .is_delete = true };
	enum status status = cli_parse_addr("VIP", operand, &delete.key.addr);
	return status != STATUS_DONE ? status : submit_vip(cli, &delete, "deleted");
}

static void print_vips_json(const struct store *state)
{
	json_t *list = json_array();
	for (uint32_t i = 0; i < state->vips.n; i++)
		json_array_append_new(list, vip_json_make(store_vip(state, i)));
	cli_print_json(list);
}

// "tcp/80,udp/53", cut with "..." where it would be long.
static void format_endpoints(const struct vip_config *vip, char *buf, size_t size)
{
	buf[0] = '\0';
	for (uint32_t i = 0; i < vip->n_endpoints; i++) {
		size_t used = strlen(buf);
		if (used + sizeof ",tcp/65535,..." > size) {
			(void)text_format(buf + used, size - used, ",...");
			return;
		}
		(void)text_format(buf + used, size - used, "%s%s/%u", i == 0 ? "" : ",",
		                  protocol_name(vip->endpoints[i].protocol), vip->endpoints[i].port);
	}
}

static uint32_t count_dips(const struct vip_config *vip)
{
	uint32_t n = 0;
	for (uint32_t i = 0; i < vip->n_endpoints; i++)
		n += vip->endpoints[i].n_dips;
	return n;
}

static void print_vips_text(const struct store *state)
{
	struct table *t = table_create("VIP TENANT ENDPOINTS <DIPS <SNAT");
	for (uint32_t i = 0; i < state->vips.n; i++) {
		const struct vip_config *vip = store_vip(state, i);
		char text[IP_ADDR_TEXT_BYTES];
		char endpoints[64];
		format_endpoints(vip, endpoints, sizeof endpoints);
		table_add(t, ip_addr_format(&vip->vip, text));
		table_add(t, vip->tenant);
		table_add(t, endpoints);
		table_add_u64(t, count_dips(vip));
		table_add_u64(t, vip->n_snat_dips);
	}
	table_print(t, stdout);
	table_destroy(t);
}

static enum status list_vips(struct cli *cli, const char *operand)
{
	struct store state;
	enum status status = cli_get_state(cli, &state);
	if (status != STATUS_DONE)
		return status;
	if (cli->options->is_json)
		print_vips_json(&state);
	else
		print_vips_text(&state);
	store_fini(&state);
	return STATUS_DONE;
}

static void add_dip_cells(struct table *t, const struct store *state, const struct ip_addr *dip)
{
	const struct dip_info *info = store_lookup_dip(state, dip);
	table_add(t, info != NULL ? info->host : "");
	table_add(t, info != NULL ? info->vm : "");
}

static void add_drain_cell(struct table *t, const struct store *state, const struct ip_addr *vip,
                           const struct ip_addr *dip)
{
	char text[UTC_TEXT_BYTES];
	const struct store_mark *drain = store_lookup_drain(state, dip, vip);
	table_add(t, drain != NULL ? utc_format(drain->info.since_ms, text) : "");
}

static void add_health_cell(struct table *t, const struct store *state, const struct ip_addr *vip,
                            const struct endpoint *e, const struct ip_addr *dip)
{
	char text[DIP_HEALTH_TEXT_BYTES];
	struct dip_health health = dip_health_of_endpoint(state, vip, e, dip);
	table_add(t, dip_health_format(&health, false, text));
}

static void print_endpoints(const struct store *state, const struct vip_config *vip)
{
	char text[IP_ADDR_TEXT_BYTES];
	struct table *t = table_create("ENDPOINT PROTOCOL <PORT DIP <DIP-PORT <WEIGHT HOST VM DRAINED HEALTH");
	for (uint32_t i = 0; i < vip->n_endpoints; i++) {
		const struct endpoint *e = &vip->endpoints[i];
		for (uint32_t k = 0; k < e->n_dips; k++) {
			table_add(t, e->name);
			table_add(t, protocol_name(e->protocol));
			table_add_u64(t, e->port);
			table_add(t, ip_addr_format(&e->dips[k].dip, text));
			table_add_u64(t, e->dips[k].port);
			table_add_u64(t, e->dips[k].weight);
			add_dip_cells(t, state, &e->dips[k].dip);
			add_drain_cell(t, state, &vip->vip, &e->dips[k].dip);
			add_health_cell(t, state, &vip->vip, e, &e->dips[k].dip);
		}
	}
	table_print(t, stdout);
	table_destroy(t);
}

static void print_snat(const struct store *state, const struct vip_config *vip)
{
	char text[IP_ADDR_TEXT_BYTES];
	const struct snat_policy *p = &vip->snat;
	printf("snat     range_size %u, first_port %u, prealloc_ports %u, max_ports_per_dip %u, idle_s %u\n\n",
	       p->range_size, p->first_port, p->prealloc_ports, p->max_ports_per_dip, p->idle_s);
	struct table *t = table_create("SNAT-DIP HOST VM");
	for (uint32_t i = 0; i < vip->n_snat_dips; i++) {
		table_add(t, ip_addr_format(&vip->snat_dips[i], text));
		add_dip_cells(t, state, &vip->snat_dips[i]);
	}
	table_print(t, stdout);
	table_destroy(t);
}

static void print_vip_text(const struct store *state, const struct vip_config *vip)
{
	char text[IP_ADDR_TEXT_BYTES];
	printf("vip      %s\ntenant   %s\ndrain_s  %u\n", ip_addr_format(&vip->vip, text), vip->tenant, vip->drain_s);
	if (vip->refuses_when_down)
		puts("down     new connections are refused when all DIPs of an endpoint are unhealthy");
	if (vip->n_endpoints > 0) {
		putchar('\n');
		print_endpoints(state, vip);
		vip_status_print_probes(vip);
		vip_status_print_down(state, vip);
		vip_status_print_generations(state, vip);
	}
	if (vip->n_snat_dips > 0) {
		putchar('\n');
		print_snat(state, vip);
	}
}

// What `vip apply` accepts; it ignores "status".
static void print_vip_json(const struct store *state, const struct vip_config *vip)
{
	json_t *document = vip_json_make(vip);
	json_t *status = vip_status_make(state, vip);
	if (status != NULL)
		json_object_set_new(document, "status", status);
	cli_print_json(document);
}

// As it was: without what the state says of it now.
static enum status show_version(struct cli *cli, const struct ip_addr *addr)
{
	struct vip_config *vip;
	struct store nothing;
	enum status status = get_vip_version(cli, addr, &vip);
	if (status != STATUS_DONE)
		return status;
	store_init(&nothing);
	if (cli->options->is_json)
		cli_print_json(vip_json_make(vip));
	else
		print_vip_text(&nothing, vip);
	vip_config_destroy(vip);
	return STATUS_DONE;
}

static enum status show_vip(struct cli *cli, const char *operand)
{
	struct ip_addr addr;
	struct store state;
	enum status status = cli_parse_addr("VIP", operand, &addr);
	if (status == STATUS_DONE && options_has(cli->options, OPTION_VERSION))
		return show_version(cli, &addr);
	if (status == STATUS_DONE)
		status = cli_get_state(cli, &state);
	if (status != STATUS_DONE)
		return status;
	const struct vip_config *vip = store_lookup_vip(&state, &addr);
	if (vip == NULL) {
		cli_complain("vip: %s is not configured", operand);
		status = STATUS_REFUSED;
	} else if (cli->options->is_json) {
		print_vip_json(&state, vip);
	} else {
		print_vip_text(&state, vip);
	}
	store_fini(&state);
	return status;
}

const struct command vip_commands[] = {
	{ "vip", "plan", NULL, OPTION_FILE, 0,
	  "print what `vip apply` would change; exit code 4 when it would change something", "vip plan -f shop.json",
	  plan_vip },
	{ "vip", "apply", NULL, OPTION_FILE, OPTION_IF_VERSION | OPTION_WAIT | OPTION_DRY_RUN,
	  "make a VIP what a JSON document says (\"-\": standard input); with --wait, return when all muxes and agents "
	  "have it",
	  "vip apply -f shop.json --wait", apply_vip },
	{ "vip", "list", NULL, 0, 0, "list the VIPs", "vip list", list_vips },
	{ "vip", "show", "VIP", 0, OPTION_VERSION,
	  "show a VIP, or what it was at a version; with -o json what `vip apply` accepts", "vip show 203.0.113.10 -o json",
	  show_vip },
	{ "vip", "history", "VIP", 0, 0, "list the versions of a VIP that are kept, the latest first",
	  "vip history 203.0.113.10", show_vip_history },
	{ "vip", "rollback", "VIP", OPTION_TO, OPTION_IF_VERSION | OPTION_WAIT,
	  "make a VIP what it was at a version, as a new version", "vip rollback 203.0.113.10 --to 7", roll_vip_back },
	{ "vip", "delete", "VIP", 0, OPTION_IF_VERSION | OPTION_WAIT, "delete a VIP", "vip delete 203.0.113.10",
	  delete_vip },
	{ 0 },
};
