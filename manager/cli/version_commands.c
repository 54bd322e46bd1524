#include "manager/cli/version_commands.h"

#include "manager/cli/ack_wait.h"
#include "manager/cli/table.h"
#include "manager/cli/utc.h"

enum status report_vip(struct cli *cli, const struct ip_addr *vip, const char *what, uint64_t version)
{
	char text[IP_ADDR_TEXT_BYTES];
	json_t *document = NULL;
	ip_addr_format(vip, text);
	if (cli->options->is_json)
		document = json_pack("{s:s, s:s, s:I}", "vip", text, "result", what, "version", (json_int_t)version);
	else
		printf("vip %s %s (version %llu)\n", text, what, (unsigned long long)version);
	enum status status = ack_wait(cli, version, document);
	if (document != NULL)
		cli_print_json(document);
	return status;
}

static enum status read_number(struct cli *cli, unsigned bit, uint64_t *ret_number)
{
	struct error err = { 0 };
	if (options_get_u64(cli->options, bit, ret_number, &err) == 0)
		return STATUS_DONE;
	cli_complain("%s", err.text);
	return STATUS_USAGE;
}

enum status read_if_version(struct cli *cli, uint64_t *ret_version, bool *ret_given)
{
	*ret_given = options_has(cli->options, OPTION_IF_VERSION);
	return *ret_given ? read_number(cli, OPTION_IF_VERSION, ret_version) : STATUS_DONE;
}

static enum status get_versions(struct cli *cli, const struct ip_addr *vip, uint64_t version,
                                struct vip_version_list *ret_list)
{
	struct error err = { 0 };
	enum status status = cli_connect(cli);
	if (status == STATUS_DONE && client_get_versions(cli->client, vip, version, ret_list, &err) != 0)
		status = cli_report(&err);
	return status;
}

// ---- history ----

static const char *word_of(const struct vip_version_list *list, uint32_t i)
{
	if (list->items[i].is_delete)
		return "deleted";
	return i + 1 == list->n ? "present" : "";
}

static void print_json(const struct vip_version_list *list)
{
	json_t *array = json_array();
	for (uint32_t i = list->n; i > 0; i--) {
		const struct vip_version *v = &list->items[i - 1];
		json_array_append_new(array, json_pack("{s:I, s:o, s:s, s:b, s:b}", "version", (json_int_t)v->version, "time",
		                                       cli_json_time(v->time_ms), "author", v->author, "deleted",
		                                       (int)v->is_delete, "present", (int)(i == list->n && !v->is_delete)));
	}
	cli_print_json(array);
}

// The latest first.
static void print_table(const struct vip_version_list *list)
{
	char time[UTC_TEXT_BYTES];
	struct table *t = table_create("<VERSION TIME AUTHOR WHAT");
	for (uint32_t i = list->n; i > 0; i--) {
		const struct vip_version *v = &list->items[i - 1];
		table_add_u64(t, v->version);
		table_add(t, v->time_ms != 0 ? utc_format(v->time_ms, time) : "");
		table_add(t, v->author);
		table_add(t, word_of(list, i - 1));
	}
	table_print(t, stdout);
	table_destroy(t);
}

enum status show_vip_history(struct cli *cli, const char *operand)
{
	struct ip_addr vip;
	struct vip_version_list list = { 0 };
	enum status status = cli_parse_addr("VIP", operand, &vip);
	if (status == STATUS_DONE)
		status = get_versions(cli, &vip, 0, &list);
	if (status != STATUS_DONE)
		return status;
	if (cli->options->is_json)
		print_json(&list);
	else
		print_table(&list);
	vip_version_list_fini(&list);
	return STATUS_DONE;
}

// ---- one version ----

enum status get_vip_version(struct cli *cli, const struct ip_addr *vip, struct vip_config **ret_config)
{
	char text[IP_ADDR_TEXT_BYTES];
	uint64_t version;
	struct vip_version_list list = { 0 };
	enum status status = read_number(cli, OPTION_VERSION, &version);
	if (status == STATUS_DONE && version == 0) {
		cli_complain("--version: versions begin with 1");
		status = STATUS_USAGE;
	}
	if (status == STATUS_DONE)
		status = get_versions(cli, vip, version, &list);
	if (status != STATUS_DONE)
		return status;
	if (list.n == 0 || list.items[0].config == NULL) {
		cli_complain("vip: %s was deleted at version %llu", ip_addr_format(vip, text), (unsigned long long)version);
		status = STATUS_REFUSED;
	} else {
		*ret_config = list.items[0].config;
		list.items[0].config = NULL;
	}
	vip_version_list_fini(&list);
	return status;
}

enum status roll_vip_back(struct cli *cli, const char *operand)
{
	struct ip_addr vip;
	uint64_t to = 0;
	uint64_t expect = 0;
	uint64_t version = 0;
	bool has_expect = false;
	bool is_unchanged = false;
	struct error err = { 0 };
	enum status status = cli_parse_addr("VIP", operand, &vip);
	if (status == STATUS_DONE)
		status = read_number(cli, OPTION_TO, &to);
	if (status == STATUS_DONE)
		status = read_if_version(cli, &expect, &has_expect);
	if (status == STATUS_DONE)
		status = cli_connect(cli);
	if (status != STATUS_DONE)
		return status;
	if (client_roll_back(cli->client, &vip, to, has_expect ? &expect : NULL, &version, &is_unchanged, &err) != 0)
		return cli_report(&err);
	return report_vip(cli, &vip, is_unchanged ? "unchanged" : "rolled back", version);
}
