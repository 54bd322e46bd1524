// anantactl settings ...: what holds for the cluster as a whole.
#include "manager/cli/command.h"
#include "manager/cli/settings_json.h"

static void print_number(const char *name, uint32_t value)
{
	printf("%-27s %u\n", name, value);
}

static void print_settings(const struct store *state)
{
	const struct cluster_settings *s = &state->settings;
	char text[IP_PREFIX_TEXT_BYTES];
	printf("%-27s %s\n%-27s ", "settings", state->has_settings ? "applied" : "the defaults", "snat.never");
	for (uint32_t i = 0; i < s->n_no_snat; i++)
		printf("%s%s", i == 0 ? "" : ", ", settings_json_format_prefix(&s->no_snat[i], text));
	puts(s->n_no_snat == 0 ? "-" : "");
	print_number("snat.quarantine_s", s->snat_quarantine_s);
	print_number("snat.log_s", s->snat_log_s);
	print_number("snat.gone_s", s->snat_gone_s);
	print_number("snat.dip_requests_per_s", s->snat_dip_requests_per_s);
	print_number("health.host_gone_ms", s->host_gone_ms);
	print_number("health.fail_static_percent", s->fail_static_percent);
	print_number("mux.withdraw_percent", s->mux_withdraw_percent);
}

static enum status show_settings(struct cli *cli, const char *operand)
{
	struct store state;
	enum status status = cli_get_state(cli, &state);
	if (status != STATUS_DONE)
		return status;
	if (cli->options->is_json)
		cli_print_json(settings_json_make(&state.settings));
	else
		print_settings(&state);
	store_fini(&state);
	return STATUS_DONE;
}

static enum status send_settings(struct cli *cli, struct change *change, const char *what)
{
	uint64_t version;
	enum status status = cli_send_change(cli, change, &version);
	if (status != STATUS_DONE)
		return status;
	if (cli->options->is_json)
		cli_print_json(json_pack("{s:s, s:I}", "result", what, "version", (json_int_t)version));
	else
		printf("settings %s (version %llu)\n", what, (unsigned long long)version);
	return STATUS_DONE;
}

static enum status apply_settings(struct cli *cli, const char *operand)
{
	struct change put = { .key = { .kind = OBJECT_SETTINGS } };
	struct error err = { 0 };
	if (settings_json_read_file(options_get(cli->options, OPTION_FILE), &put.settings, &err) != 0) {
		cli_complain("%s", err.text);
		return STATUS_USAGE;
	}
	return send_settings(cli, &put, "applied");
}

static enum status reset_settings(struct cli *cli, const char *operand)
{
	struct change delete = { .key = { .kind = OBJECT_SETTINGS }, .is_delete = true };
	return send_settings(cli, &delete, "reset to the defaults");
}

const struct command settings_commands[] = {
	{ "settings", "show", NULL, 0, 0, "show the cluster's settings; with -o json what `settings apply` accepts",
	  "settings show -o json", show_settings },
	{ "settings", "apply", NULL, OPTION_FILE, 0,
	  "make the settings what a JSON document says (\"-\": standard input); what it leaves out is the default",
	  "settings apply -f settings.json", apply_settings },
	{ "settings", "reset", NULL, 0, 0, "make all settings the defaults", "settings reset", reset_settings },
	{ 0 },
};
