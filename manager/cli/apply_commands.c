// anantactl apply, anantactl export, anantactl vip plan: the configuration as documents.
#include <string.h>
#include <time.h>

#include "common/base/memory.h"
#include "manager/cli/ack_wait.h"
#include "manager/cli/apply_commands.h"
#include "manager/cli/config_diff.h"
#include "manager/cli/plan.h"
#include "manager/cli/transaction.h"

#define ATTEMPTS_MAX 5 // when others change the configuration at the same time

struct apply {
	struct cli *cli;
	struct config_set set;
	struct config_scope scope;
	uint64_t if_version; // 0: not given
	struct store state;
	struct config_diff diff;
};

static enum status complain(const struct error *err)
{
	cli_complain("%s", err->text);
	return STATUS_USAGE;
}

// ---- plan ----

static json_t *make_plan(struct apply *a, const struct store *after)
{
	struct node_list hosts = { 0 };
	struct error err = { 0 };
	bool has_hosts = client_get_nodes(a->cli->client, ROLE_AGENT, "", &hosts, &err) == 0;
	json_t *plan = plan_make(&a->state, after, &a->diff.changes, a->diff.n_unchanged, has_hosts ? &hosts : NULL);
	node_list_fini(&hosts);
	return plan;
}

static enum status show_plan(struct apply *a, bool *ret_has_change)
{
	struct store after;
	struct error err = { 0 };
	uint64_t now_ms = (uint64_t)time(NULL) * 1000;
	if (plan_apply(&a->state, &a->diff.changes, now_ms, &after, &err) != 0) {
		(void)error_prefix(&err, "this would be refused: ");
		return cli_report(&err);
	}
	json_t *plan = make_plan(a, &after);
	store_fini(&after);
	if (plan == NULL) {
		cli_complain("memory is short");
		return STATUS_UNREACHABLE;
	}
	*ret_has_change = plan_has_change(plan);
	if (a->cli->options->is_json) {
		cli_print_json(plan);
	} else {
		plan_print(plan);
		json_decref(plan);
	}
	return STATUS_DONE;
}

// ---- apply ----

static const char *kind_of(const struct apply *a, const struct change *c)
{
	if (c->is_delete)
		return "deleted";
	return store_lookup_vip(&a->state, &c->key.addr) == NULL ? "created" : "changed";
}

static void print_changes(const struct apply *a, uint64_t version)
{
	char text[IP_ADDR_TEXT_BYTES];
	for (uint32_t i = 0; i < a->diff.changes.n; i++) {
		const struct change *c = &a->diff.changes.items[i];
		if (c->key.kind == OBJECT_SETTINGS)
			puts("settings changed");
		else
			printf("vip %s %s\n", ip_addr_format(&c->key.addr, text), kind_of(a, c));
	}
	printf("%s: %u changed, %u unchanged (version %llu)\n", a->diff.changes.n > 0 ? "applied" : "unchanged",
	       a->diff.changes.n, a->diff.n_unchanged, (unsigned long long)version);
}

static json_t *make_result(const struct apply *a, uint64_t version)
{
	json_t *document = json_pack("{s:s, s:I, s:[], s:[], s:[], s:i, s:b}", "result",
	                             a->diff.changes.n > 0 ? "applied" : "unchanged", "version", (json_int_t)version,
	                             "created", "changed", "deleted", "unchanged", (int)a->diff.n_unchanged, "settings", 0);
	for (uint32_t i = 0; i < a->diff.changes.n; i++) {
		const struct change *c = &a->diff.changes.items[i];
		if (c->key.kind == OBJECT_SETTINGS)
			json_object_set_new(document, "settings", json_true());
		else
			json_array_append_new(json_object_get(document, kind_of(a, c)), cli_json_addr(&c->key.addr));
	}
	return document;
}

static enum status report(struct apply *a, uint64_t version)
{
	json_t *document = a->cli->options->is_json ? make_result(a, version) : NULL;
	if (document == NULL)
		print_changes(a, version);
	enum status status = ack_wait(a->cli, version, document);
	if (document != NULL)
		cli_print_json(document);
	return status;
}

static enum status compare(struct apply *a)
{
	struct error err = { 0 };
	config_diff_fini(&a->diff);
	int code = config_diff_make(&a->state, &a->set, &a->scope, &a->diff, &err);
	return code == 0 ? STATUS_DONE : code == ERR_INVALID ? complain(&err) : cli_report(&err);
}

// What was compared with is what is changed, or nothing is.
static int submit(struct apply *a, uint64_t *ret_version, struct error *err)
{
	bool is_unchanged;
	uint64_t since = a->state.version;
	if (a->if_version != 0 && a->if_version < since)
		since = a->if_version;
	return transaction_submit(a->cli->client, &a->diff.changes, since, ret_version, &is_unchanged, err);
}

// Others may have changed something since the state was read: then all is compared again.
static bool has_changed_meanwhile(struct apply *a)
{
	struct store now;
	struct error err = { 0 };
	if (a->if_version != 0 || client_get_state(a->cli->client, &now, &err) != 0)
		return false;
	bool is_changed = !config_is_same(&a->state, &now);
	store_fini(&a->state);
	a->state = now;
	return is_changed;
}

static enum status submit_all(struct apply *a)
{
	for (uint32_t attempt = 1;; attempt++) {
		struct error err = { 0 };
		uint64_t version = 0;
		int code = submit(a, &version, &err);
		if (code == 0)
			return report(a, version);
		bool may_be_late = code == ERR_CONFLICT || code == ERR_NOT_FOUND;
		if (attempt == ATTEMPTS_MAX || !may_be_late || !has_changed_meanwhile(a))
			return cli_report(&err);
		enum status status = compare(a);
		if (status != STATUS_DONE)
			return status;
	}
}

static enum status read_terms(struct apply *a)
{
	const struct options *o = a->cli->options;
	struct error err = { 0 };
	a->scope.tenant = options_get(o, OPTION_TENANT);
	a->scope.prunes = options_has(o, OPTION_PRUNE);
	if (a->scope.tenant != NULL && !text_is_name(a->scope.tenant)) {
		cli_complain("--tenant: a name is 1 to 63 of A-Z a-z 0-9 . _ -");
		return STATUS_USAGE;
	}
	if (options_has(o, OPTION_IF_VERSION) && options_get_u64(o, OPTION_IF_VERSION, &a->if_version, &err) != 0)
		return complain(&err);
	return STATUS_DONE;
}

static enum status begin(struct apply *a)
{
	const struct options *o = a->cli->options;
	struct error err = { 0 };
	enum status status = read_terms(a);
	if (status != STATUS_DONE)
		return status;
	if (config_files_read(o->files, o->n_files, &a->set, &err) != 0)
		return complain(&err);
	status = cli_get_state(a->cli, &a->state);
	return status != STATUS_DONE ? status : compare(a);
}

static void end(struct apply *a)
{
	config_set_fini(&a->set);
	store_fini(&a->state);
	config_diff_fini(&a->diff);
}

static enum status run(struct cli *cli, bool is_plan)
{
	struct apply a = { .cli = cli };
	bool has_change = false;
	store_init(&a.state);
	enum status status = begin(&a);
	if (status == STATUS_DONE && is_plan)
		status = show_plan(&a, &has_change);
	else if (status == STATUS_DONE)
		status = submit_all(&a);
	end(&a);
	return status == STATUS_DONE && has_change ? STATUS_CHANGES : status;
}

static enum status apply_all(struct cli *cli, const char *operand)
{
	return run(cli, options_has(cli->options, OPTION_DRY_RUN));
}

enum status plan_vip(struct cli *cli, const char *operand)
{
	return run(cli, true);
}

// ---- export ----

static enum status export_all(struct cli *cli, const char *operand)
{
	struct store state;
	struct error err = { 0 };
	uint32_t n_files = 0;
	const char *tenant = options_get(cli->options, OPTION_TENANT);
	enum status status = cli_get_state(cli, &state);
	if (status != STATUS_DONE)
		return status;
	if (operand == NULL || strcmp(operand, "-") == 0) {
		cli_print_json(config_set_make(&state, tenant));
	} else if (config_files_write(&state, tenant, operand, &n_files, &err) != 0) {
		status = complain(&err);
	} else if (cli->options->is_json) {
		cli_print_json(json_pack("{s:s, s:i, s:I}", "directory", operand, "files", (int)n_files, "version",
		                         (json_int_t)state.version));
	} else {
		printf("%u files written to %s (version %llu)\n", n_files, operand, (unsigned long long)state.version);
	}
	store_fini(&state);
	return status;
}

const struct command apply_commands[] = {
	{ "apply", NULL, NULL, OPTION_FILE, OPTION_PRUNE | OPTION_TENANT | OPTION_IF_VERSION | OPTION_DRY_RUN | OPTION_WAIT,
	  "make many VIPs, and the settings, what documents say, all of them or none; -f takes files and directories, and "
	  "may be "
	  "repeated; with --prune, VIPs (of --tenant) that are in none are deleted",
	  "apply -f vips/ --prune --dry-run", apply_all },
	{ 0 },
};

const struct command export_commands[] = {
	{ "export", NULL, "[DIR]", 0, OPTION_TENANT,
	  "write all VIPs and the settings as files that `apply` reads (without DIR, or \"-\": as one document to standard "
	  "output)",
	  "export vips/", export_all },
	{ 0 },
};
