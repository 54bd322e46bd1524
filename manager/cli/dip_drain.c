#include "manager/cli/dip_drain.h"

#include <string.h>

#include "common/base/memory.h"

const char *drain_target_format(const struct drain_target *t, char *buf)
{
	char dip[IP_ADDR_TEXT_BYTES];
	bool is_of_one = !ip_addr_is_unspecified(&t->vip);
	(void)text_format(buf, DRAIN_TEXT_BYTES, "%s%s%s", ip_addr_format(&t->dip, dip), is_of_one ? " of " : "",
	                  t->key.name);
	return buf;
}

// The drain of exactly this VIP, or of exactly all.
static const struct store_mark *lookup_exact(const struct store *state, const struct drain_target *t)
{
	for (uint32_t i = 0; i < state->drains.n; i++) {
		const struct store_mark *d = store_mark_at(&state->drains, i);
		if (ip_addr_equal(&d->key.addr, &t->dip) && strcmp(d->key.name, t->key.name) == 0)
			return d;
	}
	return NULL;
}

const struct store_mark *drain_target_lookup(const struct store *state, const struct drain_target *t)
{
	return ip_addr_is_unspecified(&t->vip) ? lookup_exact(state, t) : store_lookup_drain(state, &t->dip, &t->vip);
}

static enum status read_target(const struct cli *cli, const char *operand, struct drain_target *t)
{
	const char *vip = options_get(cli->options, OPTION_VIP);
	*t = (struct drain_target){ 0 };
	enum status status = cli_parse_addr("DIP", operand, &t->dip);
	if (status == STATUS_DONE && vip != NULL)
		status = cli_parse_addr("--vip", vip, &t->vip);
	if (status != STATUS_DONE)
		return status;
	t->key = object_key_of_addr(OBJECT_DRAIN, &t->dip);
	if (vip != NULL)
		ip_addr_format(&t->vip, t->key.name);
	return STATUS_DONE;
}

// "vip" is null for all. Takes the reference to what is added to it.
static json_t *make_report(const struct drain_target *t, const char *result, uint64_t version)
{
	return json_pack("{s:o, s:s?, s:s, s:I}", "dip", cli_json_addr(&t->dip), "vip",
	                 t->key.name[0] != '\0' ? t->key.name : NULL, "result", result, "version", (json_int_t)version);
}

static void report_change(const struct cli *cli, const struct drain_target *t, const char *result, uint64_t version)
{
	char dip[IP_ADDR_TEXT_BYTES];
	bool is_of_one = t->key.name[0] != '\0';
	if (cli->options->is_json)
		cli_print_json(make_report(t, result, version));
	else
		printf("dip %s %s%s%s (version %llu)\n", ip_addr_format(&t->dip, dip), result, is_of_one ? " of " : "",
		       t->key.name, (unsigned long long)version);
	fflush(stdout);
}

// ---- drain ----

static bool serves_endpoint(const struct vip_config *vip, const struct ip_addr *dip)
{
	for (uint32_t i = 0; i < vip->n_endpoints; i++)
		if (endpoint_lookup_dip(&vip->endpoints[i], dip) != NULL)
			return true;
	return false;
}

// Agents count a DIP's connections of all VIPs together: waiting makes sense when no other VIP gives it new ones.
static enum status check_can_wait(struct cli *cli, const struct drain_target *t)
{
	struct store state;
	enum status status = cli_get_state(cli, &state);
	if (status != STATUS_DONE)
		return status;
	for (uint32_t i = 0; status == STATUS_DONE && i < state.vips.n; i++) {
		const struct vip_config *vip = store_vip(&state, i);
		char dip[IP_ADDR_TEXT_BYTES];
		char other[IP_ADDR_TEXT_BYTES];
		if (ip_addr_equal(&vip->vip, &t->vip) || !serves_endpoint(vip, &t->dip) ||
		    store_lookup_drain(&state, &t->dip, &vip->vip) != NULL)
			continue;
		cli_complain("dip drain: --wait would wait for the connections of %s, too, which goes on giving %s new ones; "
		             "leave out --wait, or --vip",
		             ip_addr_format(&vip->vip, other), ip_addr_format(&t->dip, dip));
		status = STATUS_REFUSED;
	}
	store_fini(&state);
	return status;
}

static const char *const end_names[] = {
	[DRAIN_EMPTY] = "empty", [DRAIN_PASSED] = "drain-time-passed", [DRAIN_TIMEOUT] = "timeout"
};

static enum status report_wait(const struct cli *cli, const struct drain_target *t, uint64_t version,
                               const struct drain_outcome *o)
{
	char text[DRAIN_TEXT_BYTES];
	char left[32] = "an unknown number of";
	if (o->is_known)
		(void)text_format(left, sizeof left, "%llu", (unsigned long long)o->n_left);
	if (cli->options->is_json) {
		json_t *report = make_report(t, "drained", version);
		json_object_set_new(report, "end", json_string(end_names[o->end]));
		json_object_set_new(report, "left", o->is_known ? json_integer((json_int_t)o->n_left) : json_null());
		cli_print_json(report);
	} else if (o->end == DRAIN_PASSED) {
		printf("the drain time has passed; connections left: %s\n", o->is_known ? left : "-");
	}
	if (o->end != DRAIN_TIMEOUT)
		return STATUS_DONE;
	cli_complain("dip drain: %s has %s connections left after %u s, and stays drained", drain_target_format(t, text),
	             left, cli->options->wait_ms / 1000);
	return STATUS_UNREACHABLE;
}

enum status drain_dip(struct cli *cli, const char *operand)
{
	struct drain_target t;
	struct drain_outcome outcome;
	uint64_t version;
	bool has_to_wait = options_has(cli->options, OPTION_WAIT);
	enum status status = read_target(cli, operand, &t);
	if (status == STATUS_DONE && has_to_wait && !ip_addr_is_unspecified(&t.vip))
		status = check_can_wait(cli, &t);
	if (status != STATUS_DONE)
		return status;
	struct change put = { .key = t.key };
	status = cli_send_change(cli, &put, &version);
	if (status != STATUS_DONE)
		return status;
	if (!has_to_wait || !cli->options->is_json)
		report_change(cli, &t, "drained", version);
	if (!has_to_wait)
		return STATUS_DONE;
	status = drain_wait(cli, &t, version, &outcome);
	return status != STATUS_DONE ? status : report_wait(cli, &t, version, &outcome);
}

// ---- undrain ----

static enum status refuse_undrain(const struct store *state, const struct drain_target *t)
{
	char dip[IP_ADDR_TEXT_BYTES];
	ip_addr_format(&t->dip, dip);
	if (drain_target_lookup(state, t) != NULL)
		cli_complain("dip: %s is drained of all of its VIPs; undrain it without --vip", dip);
	else if (t->key.name[0] != '\0')
		cli_complain("dip: %s is not drained of %s", dip, t->key.name);
	else
		cli_complain("dip: %s is not drained", dip);
	return STATUS_REFUSED;
}

// Without --vip all of the DIP's drains go, those of single VIPs too.
static enum status list_undrains(const struct store *state, const struct drain_target *t, struct change_list *list)
{
	for (uint32_t i = 0; i < state->drains.n; i++) {
		const struct store_mark *d = store_mark_at(&state->drains, i);
		if (!ip_addr_equal(&d->key.addr, &t->dip) || (t->key.name[0] != '\0' && strcmp(d->key.name, t->key.name) != 0))
			continue;
		struct change delete = { .key = object_key_of_addr(OBJECT_DRAIN, &d->key.addr), .is_delete = true };
		(void)text_copy(delete.key.name, sizeof delete.key.name, d->key.name);
		if (change_list_append(list, &delete) != 0) {
			cli_complain("memory is short");
			return STATUS_UNREACHABLE;
		}
	}
	return list->n > 0 ? STATUS_DONE : refuse_undrain(state, t);
}

enum status undrain_dip(struct cli *cli, const char *operand)
{
	struct drain_target t;
	struct store state;
	struct change_list deletes = { 0 };
	struct error err = { 0 };
	uint64_t version;
	enum status status = read_target(cli, operand, &t);
	if (status == STATUS_DONE)
		status = cli_get_state(cli, &state);
	if (status != STATUS_DONE)
		return status;
	status = list_undrains(&state, &t, &deletes);
	if (status == STATUS_DONE && client_command(cli->client, &deletes, &version, &err) != 0)
		status = cli_report(&err);
	if (status == STATUS_DONE)
		report_change(cli, &t, "undrained", version);
	change_list_fini(&deletes);
	store_fini(&state);
	return status;
}
