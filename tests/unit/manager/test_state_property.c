// Random commands against a naive model of the rules: plain tables over a handful of addresses and names, so that
// conflicts are frequent. Everything may be anything: address 3 may be a VIP, a DIP, a mux's, a host's, or a DIP's `via`. The
// first addresses are IPv4, the others IPv6.
#include "tests/support/suite.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

#include "tests/unit/manager/objects.h"

enum {
	N_ADDRS = 9,
	N_V4 = 5,
	NO_ADDR = N_ADDRS,
	N_NAMES = 3,
	N_INTERFACES = 3,
	N_TENANTS = 2,
	MAX_CHANGES = 3,
	N_COMMANDS = 20000
};

struct op {
	enum object_kind kind;
	bool is_delete;
	unsigned addr; // of a VIP, DIP, mux, host
	unsigned name; // of a mux, host; a DIP's host; a VIP's tenant
	unsigned interface; // of a DIP
	unsigned mac;
	unsigned other; // a mux's or host's second address, a DIP's `via`; or NO_ADDR
	unsigned dips; // of a VIP's endpoint, and of its SNAT list: a bit for each address
	unsigned snat;
};

struct model {
	bool has_cluster;
	uint64_t version;
	struct {
		bool is_used;
		unsigned tenant, dips, snat;
	} vips[N_ADDRS];
	struct {
		bool is_used;
		unsigned addr, other;
	} nodes[2][N_NAMES]; // muxes, hosts
	struct {
		bool is_used;
		unsigned host, interface, mac, via;
	} dips[N_ADDRS];
};

static bool is_v4(unsigned addr)
{
	return addr < N_V4;
}

// The DIP that has this `via`, or NO_ADDR.
static unsigned dip_of_via(const struct model *m, unsigned via)
{
	for (unsigned i = 0; via != NO_ADDR && i < N_ADDRS; i++)
		if (m->dips[i].is_used && m->dips[i].via == via)
			return i;
	return NO_ADDR;
}

static bool is_held(const struct model *m, unsigned addr)
{
	for (unsigned i = 0; i < N_ADDRS; i++)
		if (m->vips[i].is_used && ((m->vips[i].dips | m->vips[i].snat) >> addr & 1) != 0)
			return true;
	return false;
}

static bool node_has(const struct model *m, unsigned addr, int except_kind, unsigned except_name)
{
	for (int kind = 0; kind < 2; kind++)
		for (unsigned i = 0; i < N_NAMES; i++)
			if (m->nodes[kind][i].is_used && (m->nodes[kind][i].addr == addr || m->nodes[kind][i].other == addr) &&
			    !(kind == except_kind && i == except_name))
				return true;
	return false;
}

static bool model_put_vip(struct model *m, const struct op *op)
{
	unsigned all = op->dips | op->snat;
	bool is_new = !m->vips[op->addr].is_used;
	if (all == 0 || (all >> op->addr & 1) != 0 || (!is_new && m->vips[op->addr].tenant != op->name % N_TENANTS))
		return false;
	if (is_new && (m->dips[op->addr].is_used || node_has(m, op->addr, -1, 0) || is_held(m, op->addr) ||
	               dip_of_via(m, op->addr) != NO_ADDR))
		return false;
	for (unsigned i = 0; i < N_ADDRS; i++)
		if ((all >> i & 1) != 0 && (m->vips[i].is_used || is_v4(i) != is_v4(op->addr) || dip_of_via(m, i) != NO_ADDR))
			return false;
	m->vips[op->addr].is_used = true;
	m->vips[op->addr].tenant = op->name % N_TENANTS;
	m->vips[op->addr].dips = op->dips;
	m->vips[op->addr].snat = op->snat;
	return true;
}

static bool is_free_for_node(const struct model *m, const struct op *op, int kind, unsigned addr)
{
	return !node_has(m, addr, kind, op->name) && !m->vips[addr].is_used && !m->dips[addr].is_used &&
	       dip_of_via(m, addr) == NO_ADDR;
}

static bool model_put_node(struct model *m, const struct op *op, int kind)
{
	if (!is_free_for_node(m, op, kind, op->addr))
		return false;
	if (op->other != NO_ADDR && (!is_v4(op->addr) || is_v4(op->other) || !is_free_for_node(m, op, kind, op->other)))
		return false;
	m->nodes[kind][op->name].other = op->other;
	m->nodes[kind][op->name].is_used = true;
	m->nodes[kind][op->name].addr = op->addr;
	return true;
}

static bool is_good_via(const struct model *m, const struct op *op)
{
	unsigned via = op->other;
	unsigned owner = dip_of_via(m, via);
	if (via == NO_ADDR)
		return true;
	return is_v4(via) != is_v4(op->addr) && !m->vips[via].is_used && !m->dips[via].is_used && !is_held(m, via) &&
	       !node_has(m, via, -1, 0) && (owner == NO_ADDR || owner == op->addr);
}

static bool model_put_dip(struct model *m, const struct op *op)
{
	bool is_new = !m->dips[op->addr].is_used;
	if (!m->nodes[1][op->name].is_used || m->vips[op->addr].is_used || (is_new && node_has(m, op->addr, -1, 0)))
		return false;
	if (!is_new && m->dips[op->addr].host != op->name)
		return false;
	if (dip_of_via(m, op->addr) != NO_ADDR || !is_good_via(m, op))
		return false;
	for (unsigned i = 0; i < N_ADDRS; i++)
		if (i != op->addr && m->dips[i].is_used && m->dips[i].host == op->name &&
		    m->dips[i].interface == op->interface && (is_v4(i) == is_v4(op->addr) || m->dips[i].mac != op->mac))
			return false;
	m->dips[op->addr].via = op->other;
	m->dips[op->addr].is_used = true;
	m->dips[op->addr].host = op->name;
	m->dips[op->addr].interface = op->interface;
	m->dips[op->addr].mac = op->mac;
	return true;
}

static bool model_delete(struct model *m, const struct op *op)
{
	int kind = op->kind == OBJECT_HOST;
	bool *is_used = op->kind == OBJECT_VIP   ? &m->vips[op->addr].is_used
	                : op->kind == OBJECT_DIP ? &m->dips[op->addr].is_used
	                                         : &m->nodes[kind][op->name].is_used;
	for (unsigned i = 0; op->kind == OBJECT_HOST && i < N_ADDRS; i++)
		if (m->dips[i].is_used && m->dips[i].host == op->name)
			return false;
	bool was_used = *is_used;
	*is_used = false;
	return was_used;
}

static bool model_op(struct model *m, const struct op *op)
{
	if (op->is_delete)
		return op->kind != OBJECT_CLUSTER && model_delete(m, op);
	switch (op->kind) {
	case OBJECT_CLUSTER:
		if (m->has_cluster && op->name != 0)
			return false;
		m->has_cluster = true;
		return true;
	case OBJECT_VIP: return model_put_vip(m, op);
	case OBJECT_MUX: return model_put_node(m, op, 0);
	case OBJECT_HOST: return model_put_node(m, op, 1);
	case OBJECT_DIP: return model_put_dip(m, op);
	case OBJECT_SETTINGS:
	case OBJECT_HISTORY:
	case OBJECT_DRAIN:
	case OBJECT_UNHEALTHY:
	case OBJECT_HOST_GONE:
	case OBJECT_MUX_DRAIN: break;
	}
	return false;
}

static unsigned pick(unsigned *seed, unsigned n)
{
	return (unsigned)rand_r(seed) % n;
}

static struct op random_op(unsigned *seed, bool has_cluster)
{
	static const enum object_kind kinds[] = { OBJECT_VIP, OBJECT_VIP, OBJECT_MUX, OBJECT_HOST, OBJECT_DIP, OBJECT_DIP };
	struct op op = {
		.kind = pick(seed, 50) == 0 ? OBJECT_CLUSTER : kinds[pick(seed, 6)],
		.is_delete = pick(seed, 4) == 0,
		.addr = pick(seed, N_ADDRS),
		.name = pick(seed, N_NAMES),
		.interface = pick(seed, N_INTERFACES),
		.mac = pick(seed, 2),
		.other = pick(seed, 6) == 0 ? pick(seed, N_ADDRS) : NO_ADDR,
		.dips =
			pick(seed, 3) == 0 ? 0 : pick(seed, 1u << N_ADDRS) & pick(seed, 1u << N_ADDRS) & pick(seed, 1u << N_ADDRS),
		.snat = pick(seed, 3) != 0 ? 0 : 1u << pick(seed, N_ADDRS),
	};
	unsigned family = is_v4(op.addr) ? (1u << N_V4) - 1 : ~((1u << N_V4) - 1);
	if (op.kind == OBJECT_VIP && pick(seed, 10) != 0) { // mixtures are rare
		op.dips &= family;
		op.snat &= family;
	}
	if (op.kind == OBJECT_CLUSTER && !has_cluster)
		op.name = 0; // the first one is the model's
	return op;
}

static void add_text(char *buf, size_t size, const char *format, ...) __attribute__((format(printf, 3, 4)));

static void add_text(char *buf, size_t size, const char *format, ...)
{
	size_t used = strlen(buf);
	va_list args;
	va_start(args, format);
	text_vformat(buf + used, size - used, format, args);
	va_end(args);
}

static struct ip_addr addr_at(unsigned i)
{
	struct ip_addr addr = ip_addr_from_v4(be32_from(0x0a000001u + i));
	if (!is_v4(i))
		addr = (struct ip_addr){ { 0x20, 0x01, 0x0d, 0xb8, [15] = (uint8_t)(i + 1) } };
	return addr;
}

static const char *text_of(unsigned i)
{
	static char texts[N_ADDRS][IP_ADDR_TEXT_BYTES];
	struct ip_addr addr = addr_at(i);
	return ip_addr_format(&addr, texts[i]);
}

static void add_vip(char *buf, size_t size, const struct op *op)
{
	add_text(buf, size, "vip %s t%u", text_of(op->addr), op->name % N_TENANTS);
	if (op->dips != 0)
		add_text(buf, size, " web tcp 80");
	for (unsigned i = 0; i < N_ADDRS; i++)
		if ((op->dips >> i & 1) != 0)
			add_text(buf, size, is_v4(i) ? " %s:80" : " [%s]:80", text_of(i));
	if (op->snat != 0)
		add_text(buf, size, " , snat");
	for (unsigned i = 0; i < N_ADDRS; i++)
		if ((op->snat >> i & 1) != 0)
			add_text(buf, size, " %s", text_of(i));
}

static void add_op(char *buf, size_t size, const struct op *op)
{
	const char *minus = op->is_delete ? "-" : "";
	add_text(buf, size, buf[0] == '\0' ? "" : " ; ");
	if (op->kind == OBJECT_CLUSTER)
		add_text(buf, size, op->is_delete ? "-cluster" : "cluster %u", op->name + 1);
	else if (op->kind == OBJECT_MUX || op->kind == OBJECT_HOST)
		add_text(buf, size, op->is_delete ? "%s%s n%u" : "%s%s n%u %s%s%s", minus,
		         op->kind == OBJECT_MUX ? "mux" : "host", op->name, text_of(op->addr), op->other != NO_ADDR ? " " : "",
		         op->other != NO_ADDR ? text_of(op->other) : "");
	else if (op->is_delete)
		add_text(buf, size, "-%s %s", op->kind == OBJECT_VIP ? "vip" : "dip", text_of(op->addr));
	else if (op->kind == OBJECT_VIP)
		add_vip(buf, size, op);
	else
		add_text(buf, size, "dip %s n%u vm if%u 02:00:00:00:00:0%u%s%s", text_of(op->addr), op->name, op->interface,
		         op->mac, op->other != NO_ADDR ? " via=" : "", op->other != NO_ADDR ? text_of(op->other) : "");
}

// Applies to a copy of the model; says whether all of it is allowed and whether it changes anything.
static bool model_apply(struct model *m, const struct op *ops, unsigned n)
{
	struct model next = *m;
	bool is_changed = false;
	for (unsigned i = 0; i < n; i++) {
		struct model before = next;
		if (!model_op(&next, &ops[i]))
			return false;
		is_changed = is_changed || memcmp(&before, &next, sizeof next) != 0;
	}
	next.version += is_changed;
	*m = next;
	return true;
}

static unsigned mask_of(const struct vip_config *vip, bool snat)
{
	unsigned mask = 0;
	for (unsigned i = 0; i < N_ADDRS; i++) {
		struct ip_addr addr = addr_at(i);
		bool has = false;
		for (uint32_t k = 0; snat && k < vip->n_snat_dips; k++)
			has = has || ip_addr_equal(&vip->snat_dips[k], &addr);
		if (!snat && vip->n_endpoints > 0)
			has = endpoint_lookup_dip(&vip->endpoints[0], &addr) != NULL;
		mask |= (unsigned)has << i;
	}
	return mask;
}

static void compare_addresses(const struct model *m, const struct store *s, unsigned i)
{
	struct ip_addr addr = addr_at(i);
	const struct vip_config *vip = store_lookup_vip(s, &addr);
	const struct dip_info *dip = store_lookup_dip(s, &addr);
	ck_assert(m->vips[i].is_used == (vip != NULL));
	ck_assert(m->dips[i].is_used == (dip != NULL));
	if (vip != NULL) {
		ck_assert_uint_eq(m->vips[i].tenant, (unsigned)(vip->tenant[1] - '0'));
		ck_assert_uint_eq(m->vips[i].dips, mask_of(vip, false));
		ck_assert_uint_eq(m->vips[i].snat, mask_of(vip, true));
	}
	if (dip != NULL) {
		ck_assert_uint_eq(m->dips[i].host, (unsigned)(dip->host[1] - '0'));
		ck_assert_uint_eq(m->dips[i].interface, (unsigned)(dip->interface[2] - '0'));
		ck_assert_uint_eq(m->dips[i].mac, dip->mac[5]);
		ck_assert_uint_eq(m->dips[i].via, dip_info_has_via(dip) ? dip->via.bytes[15] - 1u : NO_ADDR);
	}
}

static void compare_nodes(const struct model *m, const struct store *s, unsigned i)
{
	char name[] = { 'n', (char)('0' + i), '\0' };
	const struct node_info *nodes[2] = { store_lookup_mux(s, name), store_lookup_host(s, name) };
	for (int kind = 0; kind < 2; kind++) {
		ck_assert(m->nodes[kind][i].is_used == (nodes[kind] != NULL));
		if (nodes[kind] == NULL)
			continue;
		ck_assert_uint_eq(m->nodes[kind][i].addr, nodes[kind]->addr.bytes[15] - 1u);
		const struct ip_addr *addr6 = &nodes[kind]->addr6;
		ck_assert_uint_eq(m->nodes[kind][i].other, ip_addr_is_unspecified(addr6) ? NO_ADDR : addr6->bytes[15] - 1u);
	}
}

static void compare(const struct model *m, const struct cluster_state *s)
{
	ck_assert_uint_eq(m->version, s->store.version);
	ck_assert(m->has_cluster == s->store.has_cluster);
	for (unsigned i = 0; i < N_ADDRS; i++)
		compare_addresses(m, &s->store, i);
	for (unsigned i = 0; i < N_NAMES; i++)
		compare_nodes(m, &s->store, i);
}

static unsigned choose_seed(void)
{
	const char *text = getenv("ANANTA_TEST_SEED");
	unsigned seed = text != NULL ? (unsigned)strtoul(text, NULL, 10) : (unsigned)time(NULL);
	printf("seed %u (repeat with ANANTA_TEST_SEED=%u)\n", seed, seed);
	return seed;
}

START_TEST(random_commands_do_to_the_state_what_they_do_to_a_naive_model)
{
	unsigned seed = choose_seed();
	struct cluster_state leader, follower;
	struct model *model = calloc(1, sizeof *model);
	unsigned n_accepted = 0;
	ck_assert_int_eq(cluster_state_init(&leader), 0);
	ck_assert_int_eq(cluster_state_init(&follower), 0);
	for (int step = 0; step < N_COMMANDS; step++) {
		struct op ops[MAX_CHANGES];
		char text[1024] = "";
		unsigned n = pick(&seed, 3) == 0 ? 1 + pick(&seed, MAX_CHANGES) : 1;
		for (unsigned i = 0; i < n; i++) {
			ops[i] = random_op(&seed, model->has_cluster);
			add_op(text, sizeof text, &ops[i]);
		}
		struct apply_result result = { 0 }, again = { 0 };
		struct error err, err_again;
		int code = apply_text(&leader, text, &result, &err);
		ck_assert_msg((code == 0) == model_apply(model, ops, n), "%s: %d %s", text, code, err.text);
		ck_assert_int_eq(apply_text(&follower, text, &again, &err_again), code);
		ck_assert_str_eq(err.text, err_again.text);
		ck_assert(memcmp(&result, &again, sizeof result) == 0);
		compare(model, &leader);
		n_accepted += code == 0;
		if (pick(&seed, 100) == 0)
			replace_by_snapshot(&follower); // as a replica that was away
	}
	ck_assert(snapshots_are_equal(&leader, &follower));
	printf("%u of %u commands were accepted\n", n_accepted, N_COMMANDS);
	ck_assert_uint_gt(n_accepted, N_COMMANDS / 10);
	cluster_state_fini(&leader);
	cluster_state_fini(&follower);
	free(model);
}
END_TEST

SUITE_MAIN("state_property", random_commands_do_to_the_state_what_they_do_to_a_naive_model)
