#include "tests/bench/mux/setup.h"

#include <rte_eal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "common/base/hash.h"
#include "common/base/memory.h"
#include "common/dpdk/eal.h"
#include "common/io/pages.h"
#include "common/model/flow_hash.h"
#include "tests/support/packet_builder.h"

#define POOL_MB 64
#define OWN_ADDRESS "10.0.0.31"
#define GATEWAY "10.0.0.1"
#define OWN_ADDRESS6 "2001:db8:f::31"
#define GATEWAY6 "fe80::1"
#define ENDPOINT_PORT 80
#define SNAT_FIRST_PORT 1024

static void die(const char *what)
{
	fprintf(stderr, "mux-bench: %s\n", what);
	exit(1);
}

static void *must(void *p)
{
	if (p == NULL)
		die("out of memory");
	return p;
}

// ---- buffers ----

static bool hugepages_are_free(void)
{
	char line[128];
	unsigned long n_free = 0;
	FILE *file = fopen("/proc/meminfo", "re");
	while (file != NULL && fgets(line, sizeof line, file) != NULL)
		if (sscanf(line, "HugePages_Free: %lu", &n_free) == 1)
			break;
	if (file != NULL)
		fclose(file);
	return n_free * 2 >= POOL_MB * 2;
}

static void start_eal(struct bench *b)
{
	char megabytes[16];
	snprintf(megabytes, sizeof megabytes, "%d", POOL_MB);
	b->has_hugepages = !b->options.counts_instructions && hugepages_are_free();
	char *huge[] = { "mux-bench", "--in-memory", "--no-pci", "-m", megabytes, "--log-level=4", "-l", "0" };
	char *small[] = { "mux-bench", "--no-huge",     "--no-shconf", "--no-pci", "-m",
		              megabytes,   "--log-level=4", "-l",          "0",        "--file-prefix=mux-bench" };
	int n = b->has_hugepages ? rte_eal_init(sizeof huge / sizeof *huge, huge)
	                         : rte_eal_init(sizeof small / sizeof *small, small);
	if (n < 0)
		die("DPDK does not start");
}

static void make_buffers(struct bench *b)
{
	struct rte_mempool *pool = dpdk_pool_create(1023);
	if (pool == NULL || rte_pktmbuf_alloc_bulk(pool, b->pipeline_mbufs, MUX_BURST_MAX) != 0 ||
	    rte_pktmbuf_alloc_bulk(pool, b->floor_mbufs, MUX_BURST_MAX) != 0)
		die("no packet buffers");
	b->data_off = b->pipeline_mbufs[0]->data_off;
}

// ---- tables ----

// 2001:db8:<network>::<i>
static struct ip_addr ip6_number(uint16_t network, uint32_t i)
{
	struct ip_addr a = { { 0x20, 0x01, 0x0d, 0xb8 } };
	store16(a.bytes + 4, be16_from(network));
	store32(a.bytes + 12, be32_from(i));
	return a;
}

static struct ip_addr vip_number(const struct bench_options *o, uint32_t i)
{
	return o->is_ip6 ? ip6_number(5, i) : ip_addr_from_v4(be32_from(0xcb000000u + i)); // 203.0.0.0/8
}

// The k-th DIP of the i-th VIP; some are of several VIPs.
static struct ip_addr dip_number(const struct bench_options *o, uint32_t i, uint32_t k)
{
	uint32_t n = i * 101 + k * 7 + 1;
	return o->is_ip6 ? ip6_number(0x100, n) : ip_addr_from_v4(be32_from(0x0a000000u + n));
}

static struct vip_config *make_vip(uint32_t i, const struct bench_options *o)
{
	struct vip_config *vip = must(memory_array(1, sizeof *vip));
	vip->vip = vip_number(o, i);
	strcpy(vip->tenant, "bench");
	vip->n_endpoints = 1;
	vip->endpoints = must(memory_array(1, sizeof *vip->endpoints));
	vip->n_snat_dips = o->path == PATH_SNAT_REPLY ? o->n_dips : 0;
	vip->snat_dips = must(memory_array(vip->n_snat_dips, sizeof *vip->snat_dips));
	struct endpoint *e = &vip->endpoints[0];
	strcpy(e->name, "web");
	e->protocol = o->path == PATH_UDP ? IP_PROTO_UDP : IP_PROTO_TCP;
	e->port = ENDPOINT_PORT;
	e->n_dips = o->n_dips;
	e->dips = must(memory_array(o->n_dips, sizeof *e->dips));
	for (uint32_t k = 0; k < o->n_dips; k++)
		e->dips[k] = (struct endpoint_dip){ .dip = dip_number(o, i, k), .port = 8080, .weight = 1 };
	for (uint32_t k = 0; k < vip->n_snat_dips; k++)
		vip->snat_dips[k] = e->dips[k].dip;
	if (vip_config_validate(vip, NULL) != 0)
		die("the configuration is not valid");
	return vip;
}

// All ports that can be, each range another DIP's than the one before.
static void lease_ports(struct bench *b, const struct vip_config *vip)
{
	struct lease_list leases = { 0 };
	for (uint32_t port = SNAT_FIRST_PORT; vip->n_snat_dips > 0 && port < 65536; port += SNAT_UNIT_PORTS) {
		struct lease lease = { .vip = vip->vip,
			                   .dip = vip->snat_dips[port / SNAT_UNIT_PORTS % vip->n_snat_dips],
			                   .first_port = (uint16_t)port,
			                   .n_ports = SNAT_UNIT_PORTS };
		if (lease_list_append(&leases, &lease) != 0)
			die("out of memory");
	}
	(void)snat_maps_apply(&b->snat, &leases);
	lease_list_fini(&leases);
}

// The generation before: some of the DIPs were others.
static struct vip_history *make_history(const struct vip_config *vip, uint32_t changed_percent)
{
	const struct endpoint *e = &vip->endpoints[0];
	struct vip_history *h = must(memory_array(1, sizeof *h));
	h->vip = vip->vip;
	h->n_endpoints = 1;
	h->endpoints = must(memory_array(1, sizeof *h->endpoints));
	h->endpoints[0] = (struct endpoint_history){ .port = e->port, .protocol = e->protocol, .n_generations = 2 };
	h->endpoints[0].generations = must(memory_array(2, sizeof *h->endpoints[0].generations));
	for (uint32_t g = 0; g < 2; g++) {
		struct generation *generation = &h->endpoints[0].generations[g];
		generation->n_members = e->n_dips;
		generation->members = must(memory_array(e->n_dips, sizeof *generation->members));
		for (uint32_t k = 0; k < e->n_dips; k++) {
			struct ip_addr dip = e->dips[k].dip;
			if (g == 0 && k * 100 < e->n_dips * changed_percent)
				dip.bytes[ip_addr_is_v4(&dip) ? 12 : 4]--; // another one, which sorts in front
			generation->members[k] = (struct maglev_member){ .dip = dip, .weight = 1 };
		}
	}
	return h;
}

static struct mux_tables *make_tables(struct bench *b, const struct store *store, const struct vip_slots *slots)
{
	struct mux_tables *tables;
	struct mux_tables_sources from = {
		.store = store, .own_addr = test_ip4(OWN_ADDRESS), .names = b->names, .slots = slots, .snat = &b->snat
	};
	if (mux_tables_create(&from, &tables) != 0)
		die("no tables");
	return tables;
}

static void put(struct store *store, struct change c)
{
	if (store_apply(store, &c) != 0)
		die("out of memory");
}

static void put_histories(struct bench *b, struct store *store)
{
	for (uint32_t i = 0; i < store->vips.n; i++) {
		const struct vip_config *vip = store_vip(store, i);
		put(store, (struct change){ .key = object_key_of_addr(OBJECT_HISTORY, &vip->vip),
		                            .history = make_history(vip, b->options.changed_percent) });
	}
}

// A way of the other family to each DIP.
static void put_vias(struct bench *b, struct store *store)
{
	const struct bench_options *o = &b->options;
	for (uint32_t i = 0; o->is_outer_ip6 != o->is_ip6 && i < store->vips.n; i++) {
		const struct endpoint *e = &store_vip(store, i)->endpoints[0];
		for (uint32_t k = 0; k < e->n_dips; k++) {
			struct change c = { .key = object_key_of_addr(OBJECT_DIP, &e->dips[k].dip) };
			uint32_t n = i * 101 + k * 7 + 1;
			c.dip.dip = e->dips[k].dip;
			c.dip.via = o->is_ip6 ? ip_addr_from_v4(be32_from(0x0b000000u + n)) : ip6_number(0x200, n);
			put(store, c);
		}
	}
}

static void make_all_tables(struct bench *b)
{
	struct store store;
	struct vip_slots *slots = must(memory_array(1, sizeof *slots));
	store_init(&store);
	put(&store,
	    (struct change){ .key = { .kind = OBJECT_CLUSTER }, .cluster = { .cluster_id = 1, .hash_seed = 0x5eed } });
	for (uint32_t i = 0; i < b->options.n_vips; i++) {
		struct vip_config *vip = make_vip(i, &b->options);
		put(&store, (struct change){ .key = object_key_of_addr(OBJECT_VIP, &vip->vip), .vip = vip });
	}
	put_vias(b, &store);
	b->names = must(addr_names_create());
	vip_slots_init(slots);
	if (vip_slots_update(slots, &store, NULL) != 0 || snat_maps_create(&store, b->names, NULL, &b->snat) != 0)
		die("no tables");
	if (b->options.path == PATH_HISTORY) {
		b->without_history = make_tables(b, &store, slots);
		put_histories(b, &store);
	}
	b->tables = make_tables(b, &store, slots);
	for (uint32_t i = 0; i < store.vips.n; i++)
		lease_ports(b, store_vip(&store, i));
	memory_free(slots);
	store_fini(&store);
}

static void make_worker(struct bench *b)
{
	struct mux_settings settings = {
		.mac = TEST_MAC_B, .address = test_ip4(OWN_ADDRESS), .has_address6 = true, .names = b->names, .mtu = 1600
	};
	memcpy(settings.address6, test_ip6(OWN_ADDRESS6), sizeof settings.address6);
	struct vip_counters *vips = must(memory_aligned(64, sizeof *vips));
	mux_worker_init(&b->worker, &settings, vips, mono_from_us(0));
	(void)neighbor_table_insert(&b->worker.neighbors, test_ip4(GATEWAY));
	struct arp_info arp = { .operation = ARP_REPLY, .sender_mac = TEST_MAC_A, .sender_ip = test_ip4(GATEWAY) };
	neighbor_table_on_arp(&b->worker.neighbors, &arp, mono_from_us(0));
	(void)neighbor_table_insert6(&b->worker.neighbors6, test_ip6(GATEWAY6));
	struct nd_info nd = { .type = ICMP6_NEIGHBOR_ADVERTISEMENT,
		                  .has_mac = true,
		                  .is_solicited = true,
		                  .is_override = true,
		                  .mac = TEST_MAC_A };
	memcpy(nd.src, test_ip6(GATEWAY6), sizeof nd.src);
	memcpy(nd.target, nd.src, sizeof nd.target);
	neighbor_table_on_nd(&b->worker.neighbors6, &nd, mono_from_us(0));
}

// ---- packets ----

static uint64_t draw(struct bench *b)
{
	b->random += 0x9e3779b97f4a7c15ULL;
	return hash_mix64(b->random);
}

static struct ip_addr client_number(const struct bench_options *o, uint64_t r)
{
	struct ip_addr a = ip6_number(0xc, 0);
	if (!o->is_ip6)
		return ip_addr_from_v4(be32_from(0x20000000u | ((uint32_t)r & 0x1fffffffu)));
	store64(a.bytes + 8, hash_mix64(r));
	return a;
}

// The i-th flow: computed, not stored, so that no table of flows competes with the mux for the cache.
static struct bench_flow flow_at(const struct bench *b, uint32_t i)
{
	uint64_t r = hash_mix64((i + 1) * 0x9e3779b97f4a7c15ULL);
	uint32_t leased_port = SNAT_FIRST_PORT + (uint32_t)((r >> 40) % (65536 - SNAT_FIRST_PORT));
	return (struct bench_flow){ .src = client_number(&b->options, r),
		                        .dst = vip_number(&b->options, i % b->options.n_vips),
		                        .src_port = be16_from((uint16_t)(1024 + (r >> 32) % 64000)),
		                        .leased_port = be16_from((uint16_t)leased_port) };
}

static uint64_t hash_of(const struct bench_flow *f, be16 port, uint64_t seed)
{
	if (!ip_addr_is_v4(&f->dst))
		return flow_hash_v6(f->src.bytes, f->dst.bytes, f->src_port, port, IP_PROTO_TCP, seed);
	return flow_hash_v4(ip_addr_to_v4(&f->src), ip_addr_to_v4(&f->dst), f->src_port, port, IP_PROTO_TCP, seed);
}

// Pins, as many as wanted, of flows in buckets that had other owners; each to a DIP of the endpoint. The table has room for half as
// many again, since sets of a table that is full to the last place would not hold them all.
static void make_pins(struct bench *b)
{
	const struct bench_options *o = &b->options;
	if (o->path != PATH_HISTORY)
		return;
	uint32_t capacity = o->n_pins + o->n_pins / 2;
	if (capacity < MAX_PINS_DEFAULT)
		capacity = MAX_PINS_DEFAULT;
	pins_init(&b->pins, capacity, must(pages_create(pins_memory_bytes(capacity))));
	b->worker.pins = &b->pins;
	for (uint32_t i = 0; i < o->n_flows && b->pins.n_pins < o->n_pins; i++) {
		struct bench_flow f = flow_at(b, i);
		be16 port = be16_from(ENDPOINT_PORT);
		const struct vip_entry *e = vip_lookup(b->tables, addr_names_give(b->names, f.dst.bytes), port, IP_PROTO_TCP);
		uint64_t hash = hash_of(&f, port, b->tables->hash_seed);
		uint32_t dip = i % vip_entry_templates(e)->n;
		if ((e->owners[flow_bucket(hash, e->n_buckets)] & BUCKET_HAD_OTHERS) != 0)
			b->n_evicted += pins_insert(&b->pins, hash, e->templates[dip].dst, (uint16_t)dip);
	}
}

static void make_frame(struct bench *b)
{
	struct test_tuple t = { .src = "198.51.100.7", .dst = "203.0.113.10", .src_port = 40000, .dst_port = 80 };
	struct test_frame f = { 0 };
	const bool is_ip6 = b->options.is_ip6;
	const uint32_t n_tcp = is_ip6 ? 0 : 6; // over IPv4 60 bytes: with the FCS a frame of 64
	if (is_ip6) {
		t.src = "2001:db8:c::7";
		t.dst = "2001:db8:5::1";
	}
	switch (b->options.path) {
	case PATH_INBOUND:
	case PATH_HISTORY:
	case PATH_SNAT_REPLY: f = test_tcp(&t, TCP_ACK, NULL, n_tcp); break;
	case PATH_UDP: f = test_udp(&t, NULL, 18); break;
	case PATH_ICMP_ECHO: f = test_icmp(&t, is_ip6 ? ICMP6_ECHO : ICMP_ECHO, 0, 1, 1, NULL, 18); break;
	case PATH_GARBAGE:
		f = test_tcp(&t, TCP_ACK, NULL, n_tcp);
		test_data(&f)[is_ip6 ? 66 : 46] = 0x10; // a data offset below the header
		break;
	}
	b->frame_len = f.len;
	memcpy(b->frame, test_data(&f), f.len);
}

void bench_setup(struct bench *b, const struct bench_options *options)
{
	memset(b, 0, sizeof *b);
	b->options = *options;
	b->random = 42;
	start_eal(b);
	make_buffers(b);
	make_all_tables(b);
	make_worker(b);
	make_pins(b);
	make_frame(b);
}

// Returns where the ports are.
static uint8_t *put_addresses(uint8_t *frame, const struct bench_flow *f)
{
	if (ip_addr_is_v4(&f->dst)) {
		store32(frame + 26, ip_addr_to_v4(&f->src));
		store32(frame + 30, ip_addr_to_v4(&f->dst));
		return frame + 34;
	}
	memcpy(frame + 22, &f->src, sizeof f->src);
	memcpy(frame + 38, &f->dst, sizeof f->dst);
	return frame + 54;
}

void bench_fill(struct bench *b, struct rte_mbuf **mbufs, uint32_t n, bool to_leased_ports)
{
	for (uint32_t i = 0; i < n; i++) {
		struct rte_mbuf *m = mbufs[i];
		struct bench_flow flow = flow_at(b, hash_reduce(draw(b), b->options.n_flows));
		m->data_off = b->data_off;
		m->data_len = (uint16_t)b->frame_len;
		m->pkt_len = b->frame_len;
		uint8_t *data = rte_pktmbuf_mtod(m, uint8_t *);
		memcpy(data, b->frame, b->frame_len);
		uint8_t *ports = put_addresses(data, &flow);
		if (b->options.path != PATH_ICMP_ECHO)
			store16(ports, flow.src_port);
		if (to_leased_ports)
			store16(ports + 2, flow.leased_port);
	}
}
