// anantactl snat list|whohad|revoke: leases, now and before.
#include <stdlib.h>
#include <string.h>

#include "manager/cli/command.h"
#include "manager/cli/snat_show.h"
#include "manager/cli/table.h"
#include "manager/cli/utc.h"

#define PORTS_TEXT_BYTES 16
#define REVOKED_SHOWN 20 // -o json prints all

static unsigned last_port(const struct lease *lease)
{
	return lease->first_port + lease->n_ports - 1u;
}

static const char *format_ports(const struct lease *lease, char buf[PORTS_TEXT_BYTES])
{
	(void)text_format(buf, PORTS_TEXT_BYTES, "%u-%u", lease->first_port, last_port(lease));
	return buf;
}

static json_t *make_lease(const struct store *state, const struct lease *lease)
{
	const struct dip_info *info = store_lookup_dip(state, &lease->dip);
	return json_pack("{s:o, s:i, s:i, s:o, s:s?, s:s?, s:o, s:o, s:I}", "vip", cli_json_addr(&lease->vip), "first_port",
	                 (int)lease->first_port, "last_port", (int)last_port(lease), "dip", cli_json_addr(&lease->dip),
	                 "host", info != NULL ? info->host : NULL, "vm", info != NULL ? info->vm : NULL, "since",
	                 cli_json_time(lease->granted_ms), "until", cli_json_time(lease->ended_ms), "epoch",
	                 (json_int_t)lease->epoch);
}

static json_t *make_leases(const struct store *state, const struct lease_list *list)
{
	json_t *leases = json_array();
	for (uint32_t i = 0; i < list->n; i++)
		json_array_append_new(leases, make_lease(state, &list->items[i]));
	return leases;
}

static void print_leases(const struct store *state, const struct lease_list *list, bool has_until)
{
	struct table *t =
		table_create(has_until ? "VIP PORTS DIP HOST SINCE UNTIL <EPOCH" : "VIP PORTS DIP HOST SINCE <EPOCH");
	for (uint32_t i = 0; i < list->n; i++) {
		const struct lease *lease = &list->items[i];
		const struct dip_info *info = store_lookup_dip(state, &lease->dip);
		char text[IP_ADDR_TEXT_BYTES];
		char ports[PORTS_TEXT_BYTES];
		char utc[UTC_TEXT_BYTES];
		table_add(t, ip_addr_format(&lease->vip, text));
		table_add(t, format_ports(lease, ports));
		table_add(t, ip_addr_format(&lease->dip, text));
		table_add(t, info != NULL ? info->host : "");
		table_add(t, utc_format(lease->granted_ms, utc));
		if (has_until)
			table_add(t, lease->ended_ms != 0 ? utc_format(lease->ended_ms, utc) : "");
		table_add_u64(t, lease->epoch);
	}
	table_print(t, stdout);
	table_destroy(t);
}

// What of the leases is asked for. An unspecified address is any.
struct lease_filter {
	struct ip_addr vip;
	struct ip_addr dip;
	uint16_t port; // 0: any
	uint64_t at_ms; // 0: those that are held now
	bool is_history; // whenever they were held
};

static bool is_wanted(const struct lease_filter *f, const struct lease *lease)
{
	if (!ip_addr_is_unspecified(&f->vip) && !ip_addr_equal(&f->vip, &lease->vip))
		return false;
	if (!ip_addr_is_unspecified(&f->dip) && !ip_addr_equal(&f->dip, &lease->dip))
		return false;
	if (f->port != 0 && !lease_has_port(lease, f->port))
		return false;
	if (f->is_history)
		return true;
	if (f->at_ms == 0)
		return lease->ended_ms == 0;
	return lease->granted_ms <= f->at_ms && (lease->ended_ms == 0 || f->at_ms < lease->ended_ms);
}

// The state, and the leases that a filter lets pass; either both or none for the caller to finish.
static enum status get_leases(struct cli *cli, const struct lease_filter *f, struct store *state,
                              struct leases_reply *leases)
{
	enum status status = cli_get_state(cli, state);
	if (status != STATUS_DONE)
		return status;
	status = cli_get_leases(cli, &f->vip, f->port, f->at_ms, leases);
	if (status != STATUS_DONE) {
		store_fini(state);
		return status;
	}
	uint32_t n = 0;
	for (uint32_t i = 0; i < leases->leases.n; i++)
		if (is_wanted(f, &leases->leases.items[i]))
			leases->leases.items[n++] = leases->leases.items[i];
	leases->leases.n = n;
	return STATUS_DONE;
}

static enum status parse_option(const struct cli *cli, unsigned bit, const char *what, struct ip_addr *addr)
{
	const char *text = options_get(cli->options, bit);
	return text == NULL ? STATUS_DONE : cli_parse_addr(what, text, addr);
}

static enum status parse_vip_port(const char *text, struct lease_filter *f)
{
	struct error err = { 0 };
	if (ip_endpoint_parse(text, &f->vip, &f->port, &err) == 0)
		return STATUS_DONE;
	cli_complain("VIP:PORT: %s", err.text);
	return STATUS_USAGE;
}

// ---- list ----

static enum status list_leases(struct cli *cli, const char *operand)
{
	struct lease_filter f = { 0 };
	struct store state;
	struct leases_reply leases;
	enum status status = parse_option(cli, OPTION_VIP, "--vip", &f.vip);
	if (status == STATUS_DONE)
		status = parse_option(cli, OPTION_DIP, "--dip", &f.dip);
	if (status == STATUS_DONE)
		status = get_leases(cli, &f, &state, &leases);
	if (status != STATUS_DONE)
		return status;
	if (cli->options->is_json)
		cli_print_json(make_leases(&state, &leases.leases));
	else
		print_leases(&state, &leases.leases, false);
	client_leases_fini(&leases);
	store_fini(&state);
	return STATUS_DONE;
}

// ---- whohad ----

static int compare_granted(const void *a, const void *b)
{
	const struct lease *x = a;
	const struct lease *y = b;
	return x->granted_ms < y->granted_ms ? -1 : x->granted_ms > y->granted_ms;
}

static bool is_before_log(const struct lease_filter *f, const struct leases_reply *leases)
{
	return f->at_ms != 0 && f->at_ms < leases->log_since_ms;
}

static void print_holders(const struct store *state, const struct lease_filter *f, const struct leases_reply *leases)
{
	char utc[UTC_TEXT_BYTES];
	if (leases->leases.n > 0)
		print_leases(state, &leases->leases, true);
	else
		printf("nobody%s\n", is_before_log(f, leases) ? " that is known" : "");
	if (is_before_log(f, leases))
		printf("the log reaches back to %s: what ended before is not known any more\n",
		       utc_format(leases->log_since_ms, utc));
}

static json_t *make_holders(const struct store *state, const struct lease_filter *f, const struct leases_reply *leases)
{
	return json_pack("{s:o, s:i, s:o, s:o, s:b, s:o}", "vip", cli_json_addr(&f->vip), "port", (int)f->port, "at",
	                 cli_json_time(f->at_ms), "log_since", cli_json_time(leases->log_since_ms), "before_log",
	                 is_before_log(f, leases), "leases", make_leases(state, &leases->leases));
}

static enum status parse_at(const struct cli *cli, struct lease_filter *f)
{
	const char *text = options_get(cli->options, OPTION_AT);
	struct error err = { 0 };
	f->is_history = text == NULL;
	if (text == NULL)
		return STATUS_DONE;
	if (utc_parse(text, &f->at_ms, &err) == 0 && f->at_ms != 0)
		return STATUS_DONE;
	cli_complain("--at: %s", err.code != 0 ? err.text : "must be after the first second of 1970");
	return STATUS_USAGE;
}

static enum status show_holders(struct cli *cli, const char *operand)
{
	struct lease_filter f = { 0 };
	struct store state;
	struct leases_reply leases;
	enum status status = parse_vip_port(operand, &f);
	if (status == STATUS_DONE)
		status = parse_at(cli, &f);
	if (status == STATUS_DONE)
		status = get_leases(cli, &f, &state, &leases);
	if (status != STATUS_DONE)
		return status;
	if (leases.leases.n > 0)
		qsort(leases.leases.items, leases.leases.n, sizeof *leases.leases.items, compare_granted);
	if (cli->options->is_json)
		cli_print_json(make_holders(&state, &f, &leases));
	else
		print_holders(&state, &f, &leases);
	client_leases_fini(&leases);
	store_fini(&state);
	return STATUS_DONE;
}

// ---- revoke ----

static enum status parse_revoke(const struct cli *cli, const char *operand, struct lease_filter *f)
{
	bool has_dip = options_get(cli->options, OPTION_DIP) != NULL;
	if ((operand != NULL) == has_dip) {
		cli_complain("snat revoke: either VIP:PORT or --dip ADDRESS says what to revoke");
		return STATUS_USAGE;
	}
	return has_dip ? parse_option(cli, OPTION_DIP, "--dip", &f->dip) : parse_vip_port(operand, f);
}

static enum status send_revoke(struct cli *cli, const struct lease_filter *f, uint64_t *ret_version)
{
	struct error err = { 0 };
	struct snat_op op = { .kind = SNAT_REVOKE, .vip = f->vip, .first_port = f->port, .dip = f->dip };
	struct snat_op_list ops = { .n = 1, .capacity = 1, .items = &op };
	return client_operate(cli->client, &ops, ret_version, &err) == 0 ? STATUS_DONE : cli_report(&err);
}

static void print_revoked(const struct store *state, const struct lease_list *list)
{
	char vip[IP_ADDR_TEXT_BYTES];
	char dip[IP_ADDR_TEXT_BYTES];
	char ports[PORTS_TEXT_BYTES];
	for (uint32_t i = 0; i < list->n && i < REVOKED_SHOWN; i++)
		printf(ip_addr_is_v4(&list->items[i].vip) ? "%s:%s taken from %s\n" : "[%s]:%s taken from %s\n",
		       ip_addr_format(&list->items[i].vip, vip), format_ports(&list->items[i], ports),
		       ip_addr_format(&list->items[i].dip, dip));
	if (list->n > REVOKED_SHOWN)
		printf("... and %u leases more\n", list->n - REVOKED_SHOWN);
	printf("Connections that used these ports are cut: muxes drop their replies. The ports are leased again after %u s "
	       "at the "
	       "earliest;\nthe DIP may ask for others at once, as long as it is in a snat list.\n",
	       state->settings.snat_quarantine_s);
}

static enum status refuse_revoke(const struct cli *cli, const char *operand)
{
	if (operand != NULL)
		cli_complain("snat: %s is leased to nobody", operand);
	else
		cli_complain("snat: %s holds no lease", options_get(cli->options, OPTION_DIP));
	return STATUS_REFUSED;
}

// What goes is looked up first, so that the operator is told.
static enum status revoke(struct cli *cli, const char *operand)
{
	struct lease_filter f = { 0 };
	struct store state;
	struct leases_reply leases;
	uint64_t version;
	enum status status = parse_revoke(cli, operand, &f);
	if (status == STATUS_DONE)
		status = get_leases(cli, &f, &state, &leases);
	if (status != STATUS_DONE)
		return status;
	status = leases.leases.n == 0 ? refuse_revoke(cli, operand) : send_revoke(cli, &f, &version);
	if (status == STATUS_DONE && cli->options->is_json)
		cli_print_json(json_pack("{s:s, s:o, s:I}", "result", "revoked", "leases", make_leases(&state, &leases.leases),
		                         "version", (json_int_t)version));
	else if (status == STATUS_DONE)
		print_revoked(&state, &leases.leases);
	client_leases_fini(&leases);
	store_fini(&state);
	return status;
}

const struct command snat_commands[] = {
	{ "snat", "show", "VIP", 0, 0,
	  "show how a VIP's ports are used: as a whole, by DIP, and by the busiest destinations", "snat show 203.0.113.10",
	  show_snat },
	{ "snat", "list", NULL, 0, OPTION_VIP | OPTION_DIP, "list the leases: which DIP holds which ports, since when",
	  "snat list --vip 203.0.113.10", list_leases },
	{ "snat", "whohad", "VIP:PORT", 0, OPTION_AT,
	  "say who held a port at a time (UTC); without one, who holds it and all who did as far as the log reaches",
	  "snat whohad 203.0.113.10:2056 --at 2026-11-24T10:00:00Z", show_holders },
	{ "snat", "revoke", "[VIP:PORT]", 0, OPTION_DIP,
	  "take the lease that holds a port, or all leases of a DIP, by force: connections that use them are cut",
	  "snat revoke 203.0.113.10:2056", revoke },
	{ 0 },
};
