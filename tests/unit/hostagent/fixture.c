#include "tests/unit/hostagent/fixture.h"

#include <stdlib.h>
#include <string.h>

#include "common/base/check.h"
#include "common/base/memory.h"
#include "tests/unit/hostagent/flow_block.h"

const struct mac FIXTURE_GATEWAY_MAC = AGENT_GATEWAY_MAC;
const struct mac FIXTURE_VM1_MAC = { { 2, 0, 0, 1, 1, 11 } };
const struct mac FIXTURE_VM2_MAC = { { 2, 0, 0, 1, 1, 12 } };

static void fill_endpoint(struct endpoint *e, const char *name, uint8_t protocol, uint16_t port, uint16_t dip_port,
                          const char *dip, const char *second)
{
	CHECK(text_copy(e->name, sizeof e->name, name));
	e->protocol = protocol;
	e->port = port;
	e->n_dips = second != NULL ? 2 : 1;
	e->dips = memory_array(e->n_dips, sizeof *e->dips);
	e->dips[0] = (struct endpoint_dip){ .dip = test_addr(dip), .port = dip_port, .weight = 1 };
	if (second != NULL)
		e->dips[1] = (struct endpoint_dip){ .dip = test_addr(second), .port = dip_port, .weight = 1 };
}

typedef const char *(*twin)(const char *ip4);

static const char *itself(const char *ip4)
{
	return ip4;
}

const char *fixture_ip6(const char *ip4)
{
	static char texts[8][64];
	static uint32_t turn;
	char *text = texts[turn++ % 8];
	CHECK(text_format(text, sizeof texts[0], "2001:db8::%s", ip4));
	for (char *dot; (dot = strchr(text, '.')) != NULL;)
		*dot = ':';
	return text;
}

static struct vip_config *fixture_vip(twin of)
{
	struct vip_config *v = memory_array(1, sizeof *v);
	v->vip = test_addr(of("203.0.113.10"));
	CHECK(text_copy(v->tenant, sizeof v->tenant, "shop"));
	v->n_endpoints = 4;
	v->endpoints = memory_array(4, sizeof *v->endpoints);
	v->snat_dips = memory_array(0, sizeof *v->snat_dips);
	fill_endpoint(&v->endpoints[0], "web", IP_PROTO_TCP, 80, 8080, of("10.1.1.11"), of("10.1.2.11"));
	fill_endpoint(&v->endpoints[1], "dns", IP_PROTO_UDP, 53, 5353, of("10.1.1.11"), NULL);
	fill_endpoint(&v->endpoints[2], "api", IP_PROTO_TCP, 81, 8080, of("10.1.1.12"), NULL);
	fill_endpoint(&v->endpoints[3], "old-api", IP_PROTO_TCP, 82, 8080, of("10.1.1.12"), NULL);
	return v;
}

static void apply(struct store *s, struct change c)
{
	CHECK(store_apply(s, &c) == 0);
	change_fini(&c);
	s->version++;
}

void fixture_store(struct store *s)
{
	store_init(s);
	apply(s, test_put_node(OBJECT_MUX, "mux1", "10.0.0.31"));
	apply(s, test_put_node(OBJECT_HOST, "host1", "10.0.0.21"));
	apply(s, test_put_node(OBJECT_HOST, "host2", "10.0.0.22"));
	apply(s, test_put_dip("10.1.1.11", "host1", "vm1"));
	apply(s, test_put_dip("10.1.1.12", "host1", "vm2"));
	apply(s, test_put_dip("10.1.2.11", "host2", "vm1"));
	struct vip_config *vip = fixture_vip(itself);
	CHECK(vip_config_validate(vip, NULL) == 0);
	apply(s, test_put_vip(vip));
}

static void use_config(struct agent_fixture *f)
{
	struct agent_config *config;
	CHECK(agent_config_create(&f->store, "host1", 4, f->names, f->config, &config, NULL) == 0);
	agent_config_destroy(f->config);
	f->config = config;
	f->agent.config = config;
}

void fixture_init(struct agent_fixture *f, uint32_t n_flows)
{
	memset(f, 0, sizeof *f);
	fixture_store(&f->store);
	f->names = addr_names_create();
	CHECK(f->names != NULL);
	struct agent_settings settings = { .uplink_mac = TEST_MAC_B,
		                               .address = test_ip4("10.0.0.21"),
		                               .probe_address = test_ip4(FIXTURE_PROBE_ADDRESS),
		                               .mss = 1440 };
	struct ip_addr gateway = test_addr("10.0.0.1");
	agent_init(&f->agent, &settings, &gateway, 1);
	f->block = flow_block_create(n_flows);
	flow_table_init(&f->agent.flows, f->block, n_flows, TEST_SEED, TEST_OWNER, f->names, at_s(1000));
	agent_set_now(&f->agent, at_s(1000));
	struct arp_info arp = { .operation = ARP_REPLY, .sender_mac = TEST_MAC_A, .sender_ip = test_ip4("10.0.0.1") };
	neighbor_table_on_arp(&f->agent.neighbors, &arp, at_s(1000));
	f->agent.fragments = agent_fragments_create(FIXTURE_DATAGRAMS, TEST_SEED);
	CHECK(f->agent.fragments != NULL);
	use_config(f);
	f->agent.port_is_open[0] = true;
	f->agent.port_is_open[1] = true;
	fixture_end_patience(&f->agent);
}

static struct change node_of_both(enum object_kind kind, const char *name, const char *ip4)
{
	struct change c = test_put_node(kind, name, ip4);
	c.node.addr6 = test_addr(fixture_ip6(ip4));
	return c;
}

static struct change dip6(const char *ip4, const char *host, const char *vm)
{
	struct change like = test_put_dip(ip4, host, vm);
	struct change c = test_put_dip(fixture_ip6(ip4), host, vm);
	memcpy(c.dip.mac, like.dip.mac, sizeof c.dip.mac);
	return c;
}

static void add_gateway6(struct agent *a)
{
	struct nd_info nd = {
		.type = ICMP6_NEIGHBOR_ADVERTISEMENT, .has_mac = true, .is_solicited = true, .is_override = true
	};
	nd.mac = TEST_MAC_A;
	memcpy(nd.target, test_ip6("fe80::1"), sizeof nd.target);
	memcpy(a->settings.address6, test_ip6(fixture_ip6("10.0.0.21")), sizeof a->settings.address6);
	memcpy(a->settings.probe_address6, test_ip6(FIXTURE_PROBE_ADDRESS6), sizeof a->settings.probe_address6);
	neighbor_table_init6(&a->neighbors6, &a->settings.uplink_mac, a->settings.address6);
	CHECK(neighbor_table_insert6(&a->neighbors6, nd.target));
	neighbor_table_on_nd(&a->neighbors6, &nd, a->now);
}

void fixture_add_ip6(struct agent_fixture *f)
{
	apply(&f->store, node_of_both(OBJECT_MUX, "mux1", "10.0.0.31"));
	apply(&f->store, node_of_both(OBJECT_HOST, "host1", "10.0.0.21"));
	apply(&f->store, node_of_both(OBJECT_HOST, "host2", "10.0.0.22"));
	apply(&f->store, dip6("10.1.1.11", "host1", "vm1"));
	apply(&f->store, dip6("10.1.1.12", "host1", "vm2"));
	apply(&f->store, dip6("10.1.2.11", "host2", "vm1"));
	fixture_change(f, test_put_vip(fixture_vip(fixture_ip6)));
	add_gateway6(&f->agent);
}

void fixture_add_vias(struct agent_fixture *f)
{
	static const char *const rows[][3] = { { "10.1.1.11", "10.2.1.11", "host1" },
		                                   { "10.1.2.11", "10.2.2.11", "host2" } };
	for (uint32_t i = 0; i < 2; i++) {
		struct change of4 = test_put_dip(rows[i][0], rows[i][2], "vm1");
		struct change of6 = dip6(rows[i][0], rows[i][2], "vm1");
		of4.dip.via = test_addr(fixture_ip6(rows[i][1]));
		of6.dip.via = test_addr(rows[i][1]);
		apply(&f->store, of4);
		fixture_change(f, of6);
	}
}

void fixture_end_patience(struct agent *a)
{
	uint32_t now_ms = (uint32_t)(a->now.us / 1000);
	for (uint32_t i = 0; i < STRAY_SLOTS; i++) {
		a->strays.slots[i].seen_ms = now_ms;
		a->strays.slots[i].since_ms = now_ms - STRAY_PATIENCE_US / 1000 - 1;
	}
}

void fixture_fini(struct agent_fixture *f)
{
	snat_destroy(f->agent.snat);
	agent_fragments_destroy(f->agent.fragments);
	agent_config_destroy(f->config);
	store_fini(&f->store);
	addr_names_destroy(f->names);
	free(f->block);
}

void fixture_change(struct agent_fixture *f, struct change c)
{
	apply(&f->store, c);
	use_config(f);
}

static void hold_fragment(struct agent_fixture *f, const struct agent_packet *p)
{
	if (p->verdict == AGENT_HOLD_FRAGMENT)
		f->held[p->hold_slot] = *p;
}

bool fixture_next_fragment(struct agent_fixture *f, struct agent_packet *ret_packet)
{
	struct agent_released released;
	if (!agent_next_fragment(&f->agent, &released))
		return false;
	*ret_packet = f->held[released.slot];
	agent_release_fragment(&f->agent, &released, ret_packet);
	return true;
}

struct agent_packet fixture_inbound(struct agent_fixture *f, struct test_frame *frame)
{
	struct agent_packet p = { .frame = test_data(frame), .len = frame->len };
	agent_inbound(&f->agent, &p, 1);
	hold_fragment(f, &p);
	return p;
}

struct agent_packet fixture_outbound(struct agent_fixture *f, uint16_t port, struct test_frame *frame)
{
	struct agent_packet p = { .frame = test_data(frame), .len = frame->len, .port = port };
	agent_outbound(&f->agent, &p, 1);
	hold_fragment(f, &p);
	return p;
}

struct agent_packet fixture_from_host(struct agent_fixture *f, struct test_frame *frame)
{
	struct agent_packet p = { .frame = test_data(frame), .len = frame->len };
	agent_from_host(&f->agent, &p, 1);
	return p;
}

const char *fixture_text(const struct agent_packet *p, char *buf, size_t size)
{
	char frame[256];
	switch (p->verdict) {
	case AGENT_DROP: text_format(buf, size, "drop %s", drop_reason_name(p->reason)); return buf;
	case AGENT_TO_UPLINK:
		text_format(buf, size, "uplink %s", test_format(p->frame, p->len, frame, sizeof frame));
		return buf;
	case AGENT_TO_TAP: text_format(buf, size, "tap %s", test_format(p->frame, p->len, frame, sizeof frame)); return buf;
	case AGENT_TO_VM:
		text_format(buf, size, "vm%d %s", p->port, test_format(p->frame, p->len, frame, sizeof frame));
		return buf;
	case AGENT_HOLD_FRAGMENT: text_format(buf, size, "hold fragment"); return buf;
	case AGENT_HOLD: text_format(buf, size, "hold"); return buf;
	}
	return "no verdict";
}

struct test_frame fixture_encapsulate(const char *source, const char *dip, const struct test_frame *inner)
{
	struct test_tuple outer = { .src = source, .dst = dip };
	return test_ipip(&outer, inner);
}

struct test_tuple vm_tuple(const char *src, uint16_t src_port, const char *dst, uint16_t dst_port)
{
	be32 addr = test_ip4(src);
	return (struct test_tuple){
		.src = src,
		.dst = dst,
		.src_port = src_port,
		.dst_port = dst_port,
		.src_mac = addr == test_ip4("10.1.1.12") ? &FIXTURE_VM2_MAC : &FIXTURE_VM1_MAC,
		.dst_mac = &FIXTURE_GATEWAY_MAC,
	};
}

// ---- SNAT ----

static struct vip_config *snat_vip(const char *addr, const char *tenant, const struct snat_policy *policy,
                                   const char *first, const char *second);

// As validating fills it in, which is the same for both families.
static struct snat_policy default_policy(const struct snat_policy *policy)
{
	struct change like = test_put_vip(snat_vip("203.0.113.20", "out", policy, "10.1.1.11", NULL));
	struct snat_policy filled = like.vip->snat;
	change_fini(&like);
	return filled;
}

static struct vip_config *snat_vip(const char *addr, const char *tenant, const struct snat_policy *policy,
                                   const char *first, const char *second)
{
	struct vip_config *v = memory_array(1, sizeof *v);
	v->vip = test_addr(addr);
	CHECK(text_copy(v->tenant, sizeof v->tenant, tenant));
	v->endpoints = memory_array(0, sizeof *v->endpoints);
	v->n_snat_dips = second != NULL ? 2 : 1;
	v->snat_dips = memory_array(v->n_snat_dips, sizeof *v->snat_dips);
	v->snat_dips[0] = test_addr(first);
	if (second != NULL)
		v->snat_dips[1] = test_addr(second);
	if (policy != NULL)
		v->snat = *policy;
	if (ip_addr_is_v4(&v->vip))
		CHECK(vip_config_validate(v, NULL) == 0);
	else
		v->snat = default_policy(policy);
	return v;
}

static struct mono_time fixture_now(const struct agent_fixture *f)
{
	return f->agent.now;
}

void fixture_add_snat(struct agent_fixture *f, const struct snat_policy *policy)
{
	static const struct snat_limits limits = { .n_dips = 8, .n_blocks = 64, .n_destinations = 512, .n_mappings = 512 };
	fixture_change(f, test_put_vip(snat_vip("203.0.113.20", "out", policy, "10.1.1.11", "10.1.1.12")));
	fixture_change(f, test_put_vip(snat_vip("203.0.113.21", "out", policy, "10.1.1.11", NULL)));
	CHECK(snat_create(&limits, TEST_SEED, 100, fixture_now(f), &f->agent.snat, NULL) == 0);
	struct snat_order rebuild = { .kind = SNAT_ORDER_REBUILD };
	agent_snat_order(&f->agent, &rebuild);
	fixture_link(f, true);
}

static be32 name_of(struct agent_fixture *f, const char *text)
{
	struct ip_addr addr = test_addr(text);
	return addr_names_give(f->names, addr.bytes);
}

void fixture_add_snat6(struct agent_fixture *f, const struct snat_policy *policy)
{
	const char *vm1 = fixture_ip6("10.1.1.11");
	fixture_change(f,
	               test_put_vip(snat_vip(fixture_ip6("203.0.113.20"), "out", policy, vm1, fixture_ip6("10.1.1.12"))));
	fixture_change(f, test_put_vip(snat_vip(fixture_ip6("203.0.113.21"), "out", policy, vm1, NULL)));
}

void fixture_lease(struct agent_fixture *f, const char *vip, const char *dip, uint16_t first_port, uint16_t n_ports,
                   uint32_t epoch)
{
	struct snat_order o = { .kind = SNAT_ORDER_LEASE,
		                    .vip = name_of(f, vip),
		                    .dip = name_of(f, dip),
		                    .first_port = first_port,
		                    .n_ports = n_ports,
		                    .epoch = epoch };
	agent_snat_order(&f->agent, &o);
}

void fixture_end(struct agent_fixture *f, const char *vip, const char *dip, uint16_t first_port, uint32_t epoch)
{
	struct snat_order o = {
		.kind = SNAT_ORDER_END, .vip = name_of(f, vip), .dip = name_of(f, dip), .first_port = first_port, .epoch = epoch
	};
	agent_snat_order(&f->agent, &o);
}

void fixture_answer(struct agent_fixture *f, const char *dip, uint64_t seq, enum error_code code)
{
	struct snat_order o = { .kind = SNAT_ORDER_ANSWERED, .dip = name_of(f, dip), .seq = seq, .code = code };
	agent_snat_order(&f->agent, &o);
}

void fixture_link(struct agent_fixture *f, bool is_up)
{
	struct snat_order o = { .kind = SNAT_ORDER_LINK, .is_up = is_up };
	agent_snat_order(&f->agent, &o);
}

void fixture_pass(struct agent_fixture *f, uint32_t n_seconds)
{
	for (uint32_t i = 0; i < n_seconds; i++) {
		struct mono_time now = mono_add_us(fixture_now(f), 1000000);
		agent_set_now(&f->agent, now);
		agent_expire_flows(&f->agent, now, FLOW_SWEEP_US);
		agent_expire_fragments(&f->agent, now);
		if (f->agent.snat != NULL)
			agent_snat_tend(&f->agent, now, 1000000);
	}
}

// ---- Histories ----

struct change fixture_cluster(void)
{
	struct change c = { .key.kind = OBJECT_CLUSTER, .cluster = { .cluster_id = FIXTURE_CLUSTER_ID, .hash_seed = 5 } };
	memset(c.cluster.pin_key, 0x5a, sizeof c.cluster.pin_key);
	return c;
}

static int compare_members(const void *a, const void *b)
{
	return ip_addr_compare(&((const struct maglev_member *)a)->dip, &((const struct maglev_member *)b)->dip);
}

static void fill_generation(struct generation *g, const char *dips)
{
	char text[32];
	g->members = memory_array(64, sizeof *g->members);
	while (*dips != '\0') {
		size_t n = strcspn(dips, " ");
		CHECK(n < sizeof text && g->n_members < 64);
		memcpy(text, dips, n);
		text[n] = '\0';
		g->members[g->n_members++] = (struct maglev_member){ .dip = test_addr(text), .weight = 1 };
		dips += n + (dips[n] == ' ');
	}
	qsort(g->members, g->n_members, sizeof *g->members, compare_members);
}

static void fill_history(struct endpoint_history *e, uint8_t protocol, uint16_t port, const char *const *generations)
{
	*e = (struct endpoint_history){ .protocol = protocol, .port = port };
	e->generations = memory_array(FIXTURE_GENERATIONS_MAX, sizeof *e->generations);
	for (; generations[e->n_generations] != NULL; e->n_generations++) {
		CHECK(e->n_generations < FIXTURE_GENERATIONS_MAX);
		e->generations[e->n_generations].since_ms = 1000 * e->n_generations;
		fill_generation(&e->generations[e->n_generations], generations[e->n_generations]);
	}
}

static struct vip_history *empty_history(const char *vip, uint32_t n_endpoints)
{
	struct vip_history *h = memory_array(1, sizeof *h);
	h->vip = test_addr(vip);
	h->n_endpoints = n_endpoints;
	h->endpoints = memory_array(n_endpoints, sizeof *h->endpoints);
	h->gone = memory_array(0, sizeof *h->gone);
	return h;
}

struct change fixture_history(const char *vip, uint8_t protocol, uint16_t port, const char *const *generations)
{
	struct vip_history *h = empty_history(vip, 1);
	fill_history(&h->endpoints[0], protocol, port, generations);
	return (struct change){ .key = object_key_of_addr(OBJECT_HISTORY, &h->vip), .history = h };
}

struct change fixture_two_histories(const char *vip, const char *const *web, const char *const *dns)
{
	struct vip_history *h = empty_history(vip, 2);
	fill_history(&h->endpoints[0], IP_PROTO_TCP, 80, web);
	fill_history(&h->endpoints[1], IP_PROTO_UDP, 53, dns);
	return (struct change){ .key = object_key_of_addr(OBJECT_HISTORY, &h->vip), .history = h };
}
