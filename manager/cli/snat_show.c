// What managers and agents together know of a VIP's SNAT: the pool and the leases from the leader, the use from the agents.
#include "manager/cli/snat_show.h"

#include <stdlib.h>
#include <string.h>

#include "common/base/memory.h"
#include "common/base/text.h"
#include "manager/cli/table.h"

enum { WARN_PERCENT = 80, BUSIEST_SHOWN = 20 };
enum { PROTOCOL_ICMP = 1, PROTOCOL_ICMPV6 = 58 };

struct dip_row {
	const struct ip_addr *dip;
	const struct dip_info *info; // NULL: attached nowhere
	uint32_t leased_ports; // of this VIP
	const struct dip_snat *snat; // what its agent says, of all VIPs of the DIP together; NULL: it says nothing
};

struct busy_row {
	const struct dip_row *dip;
	const struct snat_destination *destination;
};

struct snat_view {
	const struct vip_config *vip;
	struct snat_pool_status pool;
	uint32_t n_dips;
	struct dip_row *dips;
	uint32_t n_busy;
	struct busy_row *busy; // the busiest first
};

static uint32_t count_free(const struct snat_pool_status *p)
{
	uint32_t n_taken = p->n_held + p->n_quarantined;
	return n_taken < p->n_ports ? p->n_ports - n_taken : 0;
}

static uint32_t percent_of(uint32_t part, uint32_t whole)
{
	return whole == 0 ? 100 : (uint32_t)((uint64_t)part * 100 / whole);
}

// ---- putting it together ----

// NULL for a DIP that is not in the VIP's list, which is sorted.
static struct dip_row *find_row(const struct snat_view *v, const struct ip_addr *dip)
{
	const struct ip_addr *found =
		bsearch(dip, v->vip->snat_dips, v->vip->n_snat_dips, sizeof *v->vip->snat_dips, ip_addr_compare_items);
	return found == NULL ? NULL : &v->dips[found - v->vip->snat_dips];
}

static void take_leases(struct snat_view *v, const struct leases_reply *leases)
{
	for (uint32_t i = 0; i < leases->n_pools; i++)
		if (ip_addr_equal(&leases->pools[i].vip, &v->vip->vip))
			v->pool = leases->pools[i];
	for (uint32_t i = 0; i < leases->leases.n; i++) {
		const struct lease *lease = &leases->leases.items[i];
		struct dip_row *row = find_row(v, &lease->dip);
		if (row != NULL && lease->ended_ms == 0 && ip_addr_equal(&lease->vip, &v->vip->vip))
			row->leased_ports += lease->n_ports;
	}
}

// Only the host where the DIP is attached knows; another one may not have heard yet that it has gone.
static void take_node(struct snat_view *v, const struct node_status *node)
{
	for (uint32_t i = 0; i < node->n_dips; i++) {
		struct dip_row *row = find_row(v, &node->dips[i].dip);
		if (row == NULL || row->info == NULL || strcmp(row->info->host, node->name) != 0)
			continue;
		row->snat = &node->dips[i].snat;
		v->n_busy += row->snat->n_busiest;
	}
}

static int compare_busy(const void *a, const void *b)
{
	const struct busy_row *x = a;
	const struct busy_row *y = b;
	if (x->destination->n_ports != y->destination->n_ports)
		return x->destination->n_ports > y->destination->n_ports ? -1 : 1;
	return ip_addr_compare(x->dip->dip, y->dip->dip);
}

static int sort_busy(struct snat_view *v)
{
	v->busy = memory_array(v->n_busy, sizeof *v->busy);
	if (v->busy == NULL)
		return ERR_NO_MEMORY;
	uint32_t n = 0;
	for (uint32_t i = 0; i < v->n_dips; i++) {
		const struct dip_row *row = &v->dips[i];
		for (uint32_t k = 0; row->snat != NULL && k < row->snat->n_busiest; k++)
			v->busy[n++] = (struct busy_row){ .dip = row, .destination = &row->snat->busiest[k] };
	}
	if (n > 0)
		qsort(v->busy, n, sizeof *v->busy, compare_busy);
	return 0;
}

static void view_fini(struct snat_view *v)
{
	memory_free(v->dips);
	memory_free(v->busy);
}

// What it shows is borrowed from the state, the leases and the nodes.
static int view_init(struct snat_view *v, const struct store *state, const struct vip_config *vip,
                     const struct leases_reply *leases, const struct node_list *nodes)
{
	*v = (struct snat_view){ .vip = vip, .n_dips = vip->n_snat_dips };
	v->dips = memory_array(v->n_dips, sizeof *v->dips);
	if (v->dips == NULL)
		return ERR_NO_MEMORY;
	for (uint32_t i = 0; i < v->n_dips; i++)
		v->dips[i] = (struct dip_row){ .dip = &vip->snat_dips[i], .info = store_lookup_dip(state, &vip->snat_dips[i]) };
	take_leases(v, leases);
	for (uint32_t i = 0; i < nodes->n; i++)
		take_node(v, &nodes->items[i]);
	return sort_busy(v);
}

// ---- printing ----

static const char *name_of_protocol(uint8_t protocol, char buf[8])
{
	if (protocol == PROTOCOL_ICMP || protocol == PROTOCOL_ICMPV6)
		return "icmp";
	if (protocol_name(protocol) != NULL)
		return protocol_name(protocol);
	(void)text_format(buf, 8, "%u", protocol);
	return buf;
}

// "198.51.100.7:443", and of ICMP the address alone.
static const char *format_destination(const struct snat_destination *d, char *buf)
{
	return d->port == 0 ? ip_addr_format(&d->addr, buf) : ip_endpoint_format(&d->addr, d->port, buf);
}

static void print_pool(const struct snat_view *v)
{
	const struct snat_pool_status *p = &v->pool;
	uint32_t percent = percent_of(p->n_held, p->n_ports);
	char text[IP_ADDR_TEXT_BYTES];
	printf("vip          %s\nports        %u\nleased       %u (%u %%)\nquarantined  %u\nfree         %u\n",
	       ip_addr_format(&v->vip->vip, text), p->n_ports, p->n_held, percent, p->n_quarantined, count_free(p));
	if (count_free(p) == 0)
		printf(
			"note         no port is free: DIPs that need more get them from another VIP of theirs, or are refused\n");
	else if (percent >= WARN_PERCENT)
		printf("note         at least %u %% are leased: add a VIP for these DIPs, or lower max_ports_per_dip\n",
		       WARN_PERCENT);
}

static void add_use(struct table *t, const struct dip_row *row)
{
	const struct dip_snat *s = row->snat;
	const uint64_t values[] = { s != NULL ? s->used_ports : 0, s != NULL ? s->flows : 0,
		                        s != NULL ? s->held_packets : 0, s != NULL ? s->refused : 0 };
	for (size_t i = 0; i < sizeof values / sizeof *values; i++) {
		if (s != NULL)
			table_add_u64(t, values[i]);
		else
			table_add(t, "");
	}
}

static void print_dips(const struct snat_view *v)
{
	struct table *t = table_create("DIP HOST VM <LEASED <LIMIT <USED <FLOWS <WAITING <REFUSED");
	for (uint32_t i = 0; i < v->n_dips; i++) {
		const struct dip_row *row = &v->dips[i];
		char text[IP_ADDR_TEXT_BYTES];
		table_add(t, ip_addr_format(row->dip, text));
		table_add(t, row->info != NULL ? row->info->host : "");
		table_add(t, row->info != NULL ? row->info->vm : "");
		table_add_u64(t, row->leased_ports);
		table_add_u64(t, v->vip->snat.max_ports_per_dip);
		add_use(t, row);
	}
	table_print(t, stdout);
	table_destroy(t);
}

static void print_busy(const struct snat_view *v)
{
	struct table *t = table_create("DIP DESTINATION PROTOCOL <PORTS <OF <PERCENT");
	for (uint32_t i = 0; i < v->n_busy && i < BUSIEST_SHOWN; i++) {
		const struct busy_row *row = &v->busy[i];
		char text[IP_ADDR_TEXT_BYTES];
		char destination[IP_ENDPOINT_TEXT_BYTES];
		char number[8];
		table_add(t, ip_addr_format(row->dip->dip, text));
		table_add(t, format_destination(row->destination, destination));
		table_add(t, name_of_protocol(row->destination->protocol, number));
		table_add_u64(t, row->destination->n_ports);
		table_add_u64(t, row->dip->snat->leased_ports);
		table_add_u64(t, percent_of(row->destination->n_ports, row->dip->snat->leased_ports));
	}
	table_print(t, stdout);
	table_destroy(t);
}

static void print_view_text(const struct snat_view *v)
{
	print_pool(v);
	putchar('\n');
	print_dips(v);
	if (v->n_busy > 0) {
		putchar('\n');
		print_busy(v);
	}
}

static json_t *make_busiest(const struct dip_snat *s)
{
	json_t *list = json_array();
	for (uint32_t i = 0; i < s->n_busiest; i++) {
		const struct snat_destination *d = &s->busiest[i];
		char number[8];
		json_array_append_new(list, json_pack("{s:o, s:i, s:s, s:I}", "address", cli_json_addr(&d->addr), "port",
		                                      (int)d->port, "protocol", name_of_protocol(d->protocol, number), "ports",
		                                      (json_int_t)d->n_ports));
	}
	return list;
}

static json_t *make_use(const struct dip_snat *s)
{
	return json_pack("{s:I, s:I, s:I, s:I, s:I, s:o}", "leased", (json_int_t)s->leased_ports, "used",
	                 (json_int_t)s->used_ports, "flows", (json_int_t)s->flows, "waiting", (json_int_t)s->held_packets,
	                 "refused", (json_int_t)s->refused, "busiest", make_busiest(s));
}

static json_t *make_row(const struct snat_view *v, const struct dip_row *row)
{
	return json_pack("{s:o, s:s?, s:s?, s:I, s:I, s:o}", "dip", cli_json_addr(row->dip), "host",
	                 row->info != NULL ? row->info->host : NULL, "vm", row->info != NULL ? row->info->vm : NULL,
	                 "leased", (json_int_t)row->leased_ports, "limit", (json_int_t)v->vip->snat.max_ports_per_dip,
	                 "agent", row->snat != NULL ? make_use(row->snat) : json_null());
}

static json_t *make_view(const struct snat_view *v)
{
	const struct snat_pool_status *p = &v->pool;
	json_t *dips = json_array();
	for (uint32_t i = 0; i < v->n_dips; i++)
		json_array_append_new(dips, make_row(v, &v->dips[i]));
	return json_pack("{s:o, s:I, s:I, s:I, s:I, s:I, s:o}", "vip", cli_json_addr(&v->vip->vip), "ports",
	                 (json_int_t)p->n_ports, "leased", (json_int_t)p->n_held, "quarantined",
	                 (json_int_t)p->n_quarantined, "free", (json_int_t)count_free(p), "leased_percent",
	                 (json_int_t)percent_of(p->n_held, p->n_ports), "dips", dips);
}

static enum status print_view(struct cli *cli, const struct store *state, const struct vip_config *vip,
                              const struct leases_reply *leases, const struct node_list *nodes)
{
	struct snat_view view;
	int code = view_init(&view, state, vip, leases, nodes);
	if (code != 0)
		cli_complain("memory is short");
	else if (cli->options->is_json)
		cli_print_json(make_view(&view));
	else
		print_view_text(&view);
	view_fini(&view);
	return code == 0 ? STATUS_DONE : STATUS_UNREACHABLE;
}

// ---- asking ----

static enum status find_vip(const struct store *state, const struct ip_addr *addr, const char *text,
                            const struct vip_config **ret_vip)
{
	const struct vip_config *vip = store_lookup_vip(state, addr);
	if (vip == NULL)
		cli_complain("vip: %s is not configured", text);
	else if (vip->n_snat_dips == 0)
		cli_complain("vip: %s has no snat list", text);
	*ret_vip = vip;
	return vip != NULL && vip->n_snat_dips > 0 ? STATUS_DONE : STATUS_REFUSED;
}

static enum status show_vip(struct cli *cli, const struct store *state, const struct vip_config *vip)
{
	struct leases_reply leases;
	struct node_list nodes;
	enum status status = cli_get_leases(cli, &vip->vip, 0, 0, &leases);
	if (status != STATUS_DONE)
		return status;
	status = cli_get_nodes(cli, ROLE_AGENT, "", &nodes);
	if (status == STATUS_DONE) {
		status = print_view(cli, state, vip, &leases, &nodes);
		node_list_fini(&nodes);
	}
	client_leases_fini(&leases);
	return status;
}

enum status show_snat(struct cli *cli, const char *operand)
{
	struct ip_addr addr;
	struct store state;
	const struct vip_config *vip;
	enum status status = cli_parse_addr("VIP", operand, &addr);
	if (status == STATUS_DONE)
		status = cli_get_state(cli, &state);
	if (status != STATUS_DONE)
		return status;
	status = find_vip(&state, &addr, operand, &vip);
	if (status == STATUS_DONE)
		status = show_vip(cli, &state, vip);
	store_fini(&state);
	return status;
}
