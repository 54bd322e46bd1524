#include "tests/bench/agent/world.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "common/base/check.h"
#include "common/base/memory.h"
#include "hostagent/core/flows.h"
#include "tests/support/packet_builder.h"

#define HUGE_PAGE_BYTES ((size_t)2 << 20)

static const be32 mux_address = 0x1f00000a; // 10.0.0.31

static uint64_t random_next(struct bench_world *w)
{
	w->random ^= w->random >> 12;
	w->random ^= w->random << 25;
	w->random ^= w->random >> 27;
	return w->random * 0x2545f4914f6cdd1dULL;
}

// ---- Configuration: every VM serves one VIP of its own ----

static be32 dip_of(uint32_t vm)
{
	return be32_from(0x0a01000bu + vm);
}

static be32 vip_of(uint32_t vm)
{
	return be32_from(0xcb007100u + vm);
}

static void put(struct store *s, struct change c)
{
	CHECK(store_apply(s, &c) == 0);
	change_fini(&c);
}

static void put_node(struct store *s, enum object_kind kind, const char *name, be32 addr)
{
	struct change c = { .key = object_key_of_name(kind, name), .node = { .addr = ip_addr_from_v4(addr) } };
	CHECK(text_copy(c.node.name, sizeof c.node.name, name));
	put(s, c);
}

static void put_vm(struct bench_world *w, uint32_t vm)
{
	struct store *s = &w->store;
	struct ip_addr dip = ip_addr_from_v4(dip_of(vm));
	struct change c = { .key = object_key_of_addr(OBJECT_DIP, &dip), .dip = { .dip = dip, .host = "host1" } };
	text_format(c.dip.interface, sizeof c.dip.interface, "vm%u", vm);
	c.dip.mac[5] = (uint8_t)vm;
	c.dip.mac[0] = 2;
	put(s, c);

	struct vip_config *v = memory_array(1, sizeof *v);
	v->vip = ip_addr_from_v4(vip_of(vm));
	v->n_endpoints = 1;
	v->endpoints = memory_array(1, sizeof *v->endpoints);
	v->n_snat_dips = w->is_snat ? 1 : 0;
	v->snat_dips = memory_array(1, sizeof *v->snat_dips);
	v->snat_dips[0] = dip;
	v->snat = (struct snat_policy){ .range_size = 8,
		                            .first_port = 1024,
		                            .prealloc_ports = BENCH_SNAT_PORTS,
		                            .max_ports_per_dip = BENCH_SNAT_PORTS,
		                            .idle_s = 120 };
	v->endpoints[0] = (struct endpoint){ .name = "web", .protocol = IP_PROTO_TCP, .port = 80, .n_dips = 1 };
	v->endpoints[0].dips = memory_array(1, sizeof *v->endpoints[0].dips);
	v->endpoints[0].dips[0] = (struct endpoint_dip){ .dip = dip, .port = 8080, .weight = 1 };
	put(s, (struct change){ .key = object_key_of_addr(OBJECT_VIP, &v->vip), .vip = v });
}

static void fill_generation(struct generation *g, be32 dip)
{
	g->n_members = 1;
	g->members = memory_array(1, sizeof *g->members);
	g->members[0] = (struct maglev_member){ .dip = ip_addr_from_v4(dip), .weight = 1 };
}

static void put_history(struct bench_world *w, uint32_t vm)
{
	struct vip_history *h = memory_array(1, sizeof *h);
	h->vip = ip_addr_from_v4(vip_of(vm));
	h->gone = memory_array(0, sizeof *h->gone);
	h->n_endpoints = 1;
	h->endpoints = memory_array(1, sizeof *h->endpoints);
	h->endpoints[0] = (struct endpoint_history){ .port = 80, .protocol = IP_PROTO_TCP, .n_generations = 2 };
	h->endpoints[0].generations = memory_array(2, sizeof *h->endpoints[0].generations);
	fill_generation(&h->endpoints[0].generations[0], be32_from(0x0a02000bu + vm));
	fill_generation(&h->endpoints[0].generations[1], dip_of(vm));
	put(&w->store, (struct change){ .key = object_key_of_addr(OBJECT_HISTORY, &h->vip), .history = h });
}

static void make_config(struct bench_world *w)
{
	store_init(&w->store);
	w->names = addr_names_create();
	CHECK(w->names != NULL);
	put_node(&w->store, OBJECT_MUX, "mux1", mux_address);
	put_node(&w->store, OBJECT_HOST, "host1", test_ip4("10.0.0.21"));
	for (uint32_t vm = 0; vm < w->n_vms; vm++)
		put_vm(w, vm);
	if (w->has_histories)
		put(&w->store, (struct change){ .key.kind = OBJECT_CLUSTER, .cluster = { .cluster_id = 1, .hash_seed = 7 } });
	for (uint32_t vm = 0; w->has_histories && vm < w->n_vms; vm++)
		put_history(w, vm);
	CHECK(agent_config_create(&w->store, "host1", (uint16_t)w->n_vms, w->names, NULL, &w->config, NULL) == 0);
}

// ---- Frames ----

struct bench_flow {
	be32 client;
	be16 client_port;
	uint32_t vm;
};

static struct bench_flow flow_number(const struct bench_world *w, uint32_t n)
{
	return (struct bench_flow){ .client = be32_from(0x64400000u + n / 32768),
		                        .client_port = be16_from((uint16_t)(1024 + n % 32768)),
		                        .vm = n % w->n_vms };
}

static void write_tcp(uint8_t *at, be32 src, be32 dst, be16 src_port, be16 dst_port, uint8_t flags)
{
	*(struct ip4_header *)at = (struct ip4_header){
		.version_ihl = 0x45, .total_length = be16_from(40), .ttl = 64, .protocol = IP_PROTO_TCP, .src = src, .dst = dst
	};
	*(struct tcp_header *)(at + IP4_BYTES) =
		(struct tcp_header){ .src_port = src_port, .dst_port = dst_port, .data_offset = 0x50, .flags = flags };
}

static uint32_t write_inbound(uint8_t *frame, const struct bench_flow *f, uint8_t flags)
{
	struct encap_template t;
	encap_template_init(&t, mux_address, dip_of(f->vm));
	eth_write_ip4(frame, &TEST_MAC_B, &TEST_MAC_A);
	encap_write_ip4(frame + ETH_BYTES, &t, 40, 0);
	write_tcp(frame + ETH_BYTES + IP4_BYTES, f->client, vip_of(f->vm), f->client_port, be16_from(80), flags);
	return ETH_BYTES + IP4_BYTES + 40;
}

static uint32_t write_reply(uint8_t *frame, const struct bench_flow *f)
{
	static const struct mac gateway = AGENT_GATEWAY_MAC;
	struct mac mac = { { 2, 0, 0, 0, 0, (uint8_t)f->vm } };
	eth_write_ip4(frame, &gateway, &mac);
	write_tcp(frame + ETH_BYTES, dip_of(f->vm), f->client, be16_from(8080), f->client_port, TCP_ACK);
	return ETH_BYTES + 40;
}

// A connection that a VM begins: its destinations take turns.
static struct bench_flow snat_number(const struct bench_world *w, uint32_t n)
{
	uint32_t n_destinations = w->n_flows / w->n_vms / BENCH_FLOWS_PER_DESTINATION + 1;
	uint32_t k = n / w->n_vms;
	return (struct bench_flow){ .client = be32_from(0x08000000u + k % n_destinations),
		                        .client_port = be16_from((uint16_t)(1024 + k / n_destinations)),
		                        .vm = n % w->n_vms };
}

// To a destination of its own: whose ports are used up by open_full_destinations.
static struct bench_flow full_number(const struct bench_world *w, uint32_t n)
{
	return (struct bench_flow){ .client = be32_from(0x09000000u),
		                        .client_port = be16_from((uint16_t)(1024 + n / w->n_vms)),
		                        .vm = n % w->n_vms };
}

static uint32_t write_outbound(uint8_t *frame, const struct bench_flow *f, uint8_t flags)
{
	static const struct mac gateway = AGENT_GATEWAY_MAC;
	struct mac mac = { { 2, 0, 0, 0, 0, (uint8_t)f->vm } };
	eth_write_ip4(frame, &gateway, &mac);
	write_tcp(frame + ETH_BYTES, dip_of(f->vm), f->client, f->client_port, be16_from(443), flags);
	return ETH_BYTES + 40;
}

static uint32_t write_answer(uint8_t *frame, const struct bench_flow *f, be16 vip_port)
{
	struct encap_template t;
	encap_template_init(&t, mux_address, dip_of(f->vm));
	eth_write_ip4(frame, &TEST_MAC_B, &TEST_MAC_A);
	encap_write_ip4(frame + ETH_BYTES, &t, 40, 0);
	write_tcp(frame + ETH_BYTES + IP4_BYTES, f->client, vip_of(f->vm), be16_from(443), vip_port, TCP_ACK);
	return ETH_BYTES + IP4_BYTES + 40;
}

static void fill_snat(struct bench_world *w, enum bench_path path, struct agent_packet *packets, uint32_t n)
{
	for (uint32_t i = 0; i < n; i++) {
		uint32_t number = (uint32_t)(random_next(w) >> 32) % w->n_flows;
		if (path == BENCH_SNAT_NEW)
			number = w->next_new++;
		bool is_refused = path == BENCH_SNAT_REFUSED;
		struct bench_flow f = is_refused ? full_number(w, (BENCH_SNAT_PORTS + number % 1024) * w->n_vms + i % w->n_vms)
		                                 : snat_number(w, number);
		uint8_t *frame = w->frames[i] + 64;
		uint32_t len = path == BENCH_SNAT_REPLY ? write_answer(frame, &f, w->vip_ports[number])
		                                        : write_outbound(frame, &f, path == BENCH_SNAT ? TCP_ACK : TCP_SYN);
		packets[i] = (struct agent_packet){ .frame = frame, .len = len, .port = (uint16_t)f.vm };
	}
}

void bench_world_fill(struct bench_world *w, enum bench_path path, struct agent_packet *packets, uint32_t n)
{
	if (w->is_snat) {
		fill_snat(w, path, packets, n);
		return;
	}
	token_bucket_init(&w->agent.chain_limit, AGENT_CHAIN_PPS, AGENT_CHAIN_PPS, w->agent.now);
	for (uint32_t i = 0; i < n; i++) {
		uint32_t number = path == BENCH_NEW ? w->next_new++ : (uint32_t)(random_next(w) >> 32) % w->n_flows;
		struct bench_flow f = flow_number(w, path == BENCH_CHAIN ? w->n_flows + number : number);
		uint8_t *frame = w->frames[i] + 64;
		uint32_t len = path == BENCH_REPLY ? write_reply(frame, &f)
		                                   : write_inbound(frame, &f, path == BENCH_NEW ? TCP_SYN : TCP_ACK);
		packets[i] = (struct agent_packet){ .frame = frame, .len = len, .port = (uint16_t)f.vm };
	}
}

// ---- Flows ----

static void open_flows(struct bench_world *w)
{
	struct agent_packet packets[AGENT_BURST];
	while (w->next_new < w->n_flows) {
		uint32_t n = w->n_flows - w->next_new < AGENT_BURST ? w->n_flows - w->next_new : AGENT_BURST;
		bench_world_fill(w, BENCH_NEW, packets, n);
		agent_inbound(&w->agent, packets, n);
	}
	CHECK(w->agent.flows.n_flows == w->n_flows);
	for (uint32_t i = 0; i < w->agent.flows.high_water; i++)
		if (w->agent.flows.entries[i].state == FLOW_SYN)
			w->agent.flows.entries[i].state = FLOW_ESTABLISHED;
}

static void establish(struct bench_world *w)
{
	for (uint32_t i = 0; i < w->agent.flows.high_water; i++)
		if (w->agent.flows.entries[i].state != FLOW_FREE)
			w->agent.flows.entries[i].state = FLOW_ESTABLISHED | FLOW_IS_SNAT;
}

static void open_full_destinations(struct bench_world *w)
{
	for (uint32_t n = 0; n < BENCH_SNAT_PORTS * w->n_vms; n++) {
		struct bench_flow f = full_number(w, n);
		struct agent_packet p = { .frame = w->frames[0] + 64, .port = (uint16_t)f.vm };
		p.len = write_outbound(p.frame, &f, TCP_SYN);
		agent_outbound(&w->agent, &p, 1);
		CHECK(p.verdict == AGENT_TO_UPLINK);
	}
}

static void open_snat_flows(struct bench_world *w)
{
	struct agent_packet packets[AGENT_BURST];
	w->vip_ports = memory_array(w->n_flows, sizeof *w->vip_ports);
	CHECK(w->vip_ports != NULL);
	while (w->next_new < w->n_flows) {
		uint32_t first = w->next_new;
		uint32_t n = w->n_flows - first < AGENT_BURST ? w->n_flows - first : AGENT_BURST;
		bench_world_fill(w, BENCH_SNAT_NEW, packets, n);
		agent_outbound(&w->agent, packets, n);
		for (uint32_t i = 0; i < n; i++)
			w->vip_ports[first + i] = load16(packets[i].frame + ETH_BYTES + IP4_BYTES);
	}
	CHECK(w->agent.flows.n_flows == w->n_flows);
}

static void lease_ports(struct bench_world *w)
{
	for (uint32_t vm = 0; vm < w->n_vms; vm++)
		for (uint32_t port = 1024; port < 1024 + BENCH_SNAT_PORTS; port += 8) {
			struct snat_order lease = { .kind = SNAT_ORDER_LEASE,
				                        .vip = vip_of(vm),
				                        .dip = dip_of(vm),
				                        .first_port = (uint16_t)port,
				                        .n_ports = 8,
				                        .epoch = 1 };
			agent_snat_order(&w->agent, &lease);
		}
}

static void make_snat(struct bench_world *w, enum bench_path path)
{
	struct snat_limits limits = snat_limits_default(w->n_flows);
	CHECK(snat_create(&limits, 7, 1, mono_from_us(1000), &w->agent.snat, NULL) == 0);
	struct snat_order rebuild = { .kind = SNAT_ORDER_REBUILD };
	agent_snat_order(&w->agent, &rebuild);
	lease_ports(w);
	open_snat_flows(w);
	if (path == BENCH_SNAT_REFUSED)
		open_full_destinations(w);
	establish(w);
}

static void retire_snat(struct bench_world *w, uint32_t n)
{
	for (uint32_t i = 0; i < n; i++) {
		struct bench_flow f = snat_number(w, w->next_new - w->n_flows - n + i);
		struct flow_key key =
			flow_key_make(dip_of(f.vm), f.client, f.client_port, be16_from(443), IP_PROTO_TCP, FLOW_REPLY);
		struct flow_entry *e = flow_table_lookup(&w->agent.flows, &key, flow_table_hash(&w->agent.flows, &key));
		if (e != NULL)
			agent_flow_remove(&w->agent, e);
	}
}

void bench_world_retire(struct bench_world *w, uint32_t n)
{
	if (w->is_snat) {
		retire_snat(w, n);
		return;
	}
	for (uint32_t i = 0; i < n; i++) {
		struct bench_flow f = flow_number(w, w->next_new - w->n_flows - n + i);
		struct flow_key key =
			flow_key_make(f.client, vip_of(f.vm), f.client_port, be16_from(80), IP_PROTO_TCP, FLOW_INBOUND);
		struct flow_entry *e = flow_table_lookup(&w->agent.flows, &key, flow_table_hash(&w->agent.flows, &key));
		if (e != NULL)
			agent_flow_remove(&w->agent, e);
	}
}

// ---- The whole ----

static uint8_t *make_block(struct bench_world *w, uint32_t capacity, bool huge)
{
	size_t persistent = flow_table_persistent_bytes(capacity);
	w->block_bytes = flow_table_bytes(capacity) + HUGE_PAGE_BYTES;
	w->block = mmap(NULL, w->block_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	CHECK(w->block != MAP_FAILED);
	uintptr_t index = ((uintptr_t)w->block + persistent + HUGE_PAGE_BYTES - 1) & ~(uintptr_t)(HUGE_PAGE_BYTES - 1);
	uint8_t *begin = (uint8_t *)(index - persistent);
	(void)madvise((void *)index, flow_table_bytes(capacity) - persistent, MADV_HUGEPAGE);
	if (huge)
		(void)madvise((void *)((uintptr_t)begin & ~(uintptr_t)4095), persistent, MADV_HUGEPAGE);
	return begin;
}

void bench_world_init(struct bench_world *w, enum bench_path path, uint32_t n_flows, uint32_t n_vms, bool huge)
{
	memset(w, 0, sizeof *w);
	w->is_snat = bench_is_snat(path);
	w->has_histories = path == BENCH_CHAIN;
	w->n_flows = n_flows;
	w->n_vms = n_vms;
	w->random = 88172645463325252ULL;
	w->frames = aligned_alloc(4096, BENCH_FRAMES * BENCH_FRAME_BYTES);
	CHECK(w->frames != NULL);
	memset(w->frames, 0, BENCH_FRAMES * BENCH_FRAME_BYTES);
	make_config(w);
	struct agent_settings settings = { .uplink_mac = TEST_MAC_B, .address = test_ip4("10.0.0.21"), .mss = 1440 };
	struct ip_addr gateway = ip_addr_from_v4(test_ip4("10.0.0.1"));
	agent_init(&w->agent, &settings, &gateway, 1);
	struct arp_info arp = { .operation = ARP_REPLY, .sender_mac = TEST_MAC_A, .sender_ip = test_ip4("10.0.0.1") };
	neighbor_table_on_arp(&w->agent.neighbors, &arp, mono_from_us(1000));
	w->agent.config = w->config;
	for (uint32_t vm = 0; vm < n_vms; vm++)
		w->agent.port_is_open[vm] = true;
	uint32_t capacity = n_flows + n_flows / 32 + 1024 + (w->is_snat ? n_vms * BENCH_SNAT_PORTS : 0);
	flow_table_init(&w->agent.flows, make_block(w, capacity, huge), capacity, 7, 7, w->names, mono_from_us(1000));
	agent_set_now(&w->agent, mono_from_us(1000000));
	if (w->is_snat)
		make_snat(w, path);
	else
		open_flows(w);
}

void bench_world_fini(struct bench_world *w)
{
	snat_destroy(w->agent.snat);
	memory_free(w->vip_ports);
	(void)munmap(w->block, w->block_bytes);
	agent_config_destroy(w->config);
	store_fini(&w->store);
	addr_names_destroy(w->names);
	free(w->frames);
}
