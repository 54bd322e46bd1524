#include "tests/unit/mux/fixture.h"

#include <stdlib.h>
#include <string.h>

#include "common/base/check.h"
#include "common/base/memory.h"

const struct mac MUX_MAC = { { 2, 0, 0, 0, 0, 2 } };
const struct mac GATEWAY_MAC = { { 2, 0, 0, 0, 0, 1 } };

static void put(struct fixture *f, struct change c)
{
	CHECK(store_apply(&f->store, &c) == 0);
	change_fini(&c);
	f->store.version++;
}

struct fixture *fixture_create(const char *own_address)
{
	struct fixture *f = memory_array(1, sizeof *f);
	CHECK(f != NULL);
	store_init(&f->store);
	vip_slots_init(&f->slots);
	struct change cluster = { .key = { .kind = OBJECT_CLUSTER },
		                      .cluster = { .cluster_id = 1, .hash_seed = 42, .pin_key = "the key of tests" } };
	put(f, cluster);
	f->names = addr_names_create();
	CHECK(f->names != NULL);
	struct mux_settings settings = {
		.mac = MUX_MAC, .address = test_ip4(own_address), .has_address6 = true, .names = f->names, .mtu = MUX_MTU
	};
	memcpy(settings.address6, test_ip6(MUX_ADDRESS6), sizeof settings.address6);
	mux_worker_init(&f->worker, &settings, &f->vips, mono_from_us(1000000));
	pins_init(&f->pins, MUX_MAX_PINS, memory_aligned(PINS_ALIGN, pins_memory_bytes(MUX_MAX_PINS)));
	CHECK(f->pins.sets != NULL);
	f->worker.pins = &f->pins;
	f->side_memory = memory_aligned(64, fragments_memory_bytes(SIDE_DATAGRAMS));
	CHECK(f->side_memory != NULL);
	side_frames_init(&f->side, f->side_memory, 42, TEST_FRAME_BYTES);
	for (uint32_t i = 0; i < SIDE_SPARES; i++)
		side_frames_lend(&f->side, i, f->spares[i] + MUX_HEADROOM_BYTES);
	f->worker.side = &f->side;
	f->worker.now_real_us = MUX_NOW_REAL_US;
	neighbor_table_insert(&f->worker.neighbors, test_ip4(MUX_GATEWAY));
	fixture_resolve(f, MUX_GATEWAY, &GATEWAY_MAC);
	neighbor_table_insert6(&f->worker.neighbors6, test_ip6(MUX_GATEWAY6));
	fixture_resolve(f, MUX_GATEWAY6, &GATEWAY_MAC);
	return f;
}

void fixture_destroy(struct fixture *f)
{
	mux_tables_destroy(f->tables);
	snat_maps_fini(&f->snat, NULL);
	store_fini(&f->store);
	addr_names_destroy(f->names);
	memory_free(f->pins.sets);
	memory_free(f->side_memory);
	memory_free(f);
}

void fixture_rebuild(struct fixture *f)
{
	struct mux_tables *tables;
	struct snat_maps snat;
	CHECK(vip_slots_update(&f->slots, &f->store, NULL) == 0);
	CHECK(snat_maps_create(&f->store, f->names, &f->snat, &snat) == 0);
	struct mux_tables_sources from = fixture_sources(f);
	from.snat = &snat;
	CHECK(mux_tables_create(&from, &tables) == 0);
	mux_tables_destroy(f->tables);
	snat_maps_fini(&f->snat, &snat);
	f->tables = tables;
	f->worker.tables = tables;
	f->snat = snat;
}

struct mux_tables_sources fixture_sources(const struct fixture *f)
{
	return (struct mux_tables_sources){ .store = &f->store,
		                                .own_addr = f->worker.settings.address,
		                                .names = f->names,
		                                .slots = &f->slots,
		                                .snat = &f->snat,
		                                .before = f->tables };
}

static void apply_lease(struct fixture *f, struct lease lease)
{
	struct lease_list list = { .n = 1, .items = &lease };
	CHECK(snat_maps_apply(&f->snat, &list) == 0);
}

void fixture_lease(struct fixture *f, const char *vip, const char *dip, uint16_t first_port, uint16_t n_ports)
{
	apply_lease(f, (struct lease){ test_addr(vip), test_addr(dip), first_port, n_ports, 1, 1, 0 });
}

void fixture_end_lease(struct fixture *f, const char *vip, const char *dip, uint16_t first_port, uint16_t n_ports)
{
	apply_lease(f, (struct lease){ test_addr(vip), test_addr(dip), first_port, n_ports, 1, 1, 2 });
}

void fixture_put_vip(struct fixture *f, struct vip_config *vip)
{
	put(f, test_put_vip(vip));
	fixture_rebuild(f);
}

void fixture_delete_vip(struct fixture *f, const char *vip)
{
	put(f, test_delete(OBJECT_VIP, vip));
	fixture_rebuild(f);
}

// ---- histories, hosts, pins ----

void fixture_put_history(struct fixture *f, struct vip_history *history)
{
	put(f, (struct change){ .key = object_key_of_addr(OBJECT_HISTORY, &history->vip), .history = history });
	fixture_rebuild(f);
}

void fixture_delete_history(struct fixture *f, const char *vip)
{
	struct ip_addr addr = test_addr(vip);
	put(f, (struct change){ .key = object_key_of_addr(OBJECT_HISTORY, &addr), .is_delete = true });
	fixture_rebuild(f);
}

void fixture_put_host(struct fixture *f, const char *name, const char *addr)
{
	put(f, test_put_node(OBJECT_HOST, name, addr));
	fixture_rebuild(f);
}

struct ip_addr test_letter(char letter)
{
	return ip_addr_from_v4(be32_from(0x0a010100u + (uint32_t)(letter - 'a') + 1));
}

static void add_generation(struct endpoint_history *e, const char *letters, size_t n)
{
	struct generation *g = &e->generations[e->n_generations++];
	g->since_ms = e->n_generations;
	g->members = memory_array(n, sizeof *g->members);
	for (size_t i = 0; i < n; i++)
		if (letters[i] != ' ')
			g->members[g->n_members++] = (struct maglev_member){ .dip = test_letter(letters[i]), .weight = 1 };
}

struct vip_history *test_history(const char *vip, const char *generations)
{
	struct vip_history *h = memory_array(1, sizeof *h);
	h->vip = test_addr(vip);
	h->n_endpoints = 1;
	h->endpoints = memory_array(1, sizeof *h->endpoints);
	h->gone = memory_array(26, sizeof *h->gone);
	struct endpoint_history *e = h->endpoints;
	e->port = 80;
	e->protocol = IP_PROTO_TCP;
	e->generations = memory_array(GENERATIONS_MAX, sizeof *e->generations);
	for (const char *at = generations; *at != '\0' && *at != ';'; at += *at == ',') {
		size_t n = strcspn(at, ",;");
		add_generation(e, at, n);
		at += n;
	}
	for (const char *at = strchr(generations, ';'); at != NULL && *at != '\0'; at++)
		if (*at >= 'a' && *at <= 'z')
			h->gone[h->n_gone++] = test_letter(*at);
	return h;
}

struct vip_config *test_letters_vip(const char *vip, const char *letters)
{
	static const char *const one[] = { "10.1.1.1", NULL };
	struct vip_config *v = test_vip(vip, "shop", one);
	struct endpoint *e = v->endpoints;
	memory_free(e->dips);
	e->dips = memory_array(strlen(letters), sizeof *e->dips);
	e->n_dips = 0;
	for (; *letters != '\0'; letters++)
		if (*letters != ' ')
			e->dips[e->n_dips++] = (struct endpoint_dip){ .dip = test_letter(*letters), .port = 8080, .weight = 1 };
	return v;
}

static void fill_random_endpoint(struct endpoint_history *h, const struct endpoint *e, unsigned *seed)
{
	uint32_t n_generations = 1 + (uint32_t)rand_r(seed) % 4;
	h->port = e->port;
	h->protocol = e->protocol;
	// With earlier owners the pins of a burst would count for its own packets here, and from the next burst on one by one.
	h->is_refusing = n_generations == 1 && rand_r(seed) % 2 == 0;
	h->generations = memory_array(n_generations, sizeof *h->generations);
	while (h->n_generations < n_generations) {
		struct generation *g = &h->generations[h->n_generations++];
		bool is_present = h->n_generations == n_generations;
		g->members = memory_array(e->n_dips + 1, sizeof *g->members);
		if (!is_present && rand_r(seed) % 2 == 0) // sorts in front of all
			g->members[g->n_members++] = (struct maglev_member){ test_letter((char)('a' + rand_r(seed) % 5)), 1 };
		for (uint32_t i = 0; i < e->n_dips; i++)
			if (is_present || g->n_members == 0 || rand_r(seed) % 2 == 0)
				if (ip_addr_to_v4(&e->dips[i].dip) != (g->n_members > 0 ? ip_addr_to_v4(&g->members[0].dip) : 0))
					g->members[g->n_members++] = (struct maglev_member){ e->dips[i].dip, e->dips[i].weight };
	}
}

// 203.0.113.7 becomes 2001:db8::203.0.113.7.
static void to_ip6(struct ip_addr *addr)
{
	static const uint8_t prefix[12] = { 0x20, 0x01, 0x0d, 0xb8 };
	memcpy(addr->bytes, prefix, sizeof prefix);
}

struct vip_config *test_random_vip6(unsigned *seed, unsigned n)
{
	struct vip_config *vip = test_random_vip(seed, n);
	to_ip6(&vip->vip);
	for (uint32_t i = 0; i < vip->n_endpoints; i++)
		for (uint32_t k = 0; k < vip->endpoints[i].n_dips; k++)
			to_ip6(&vip->endpoints[i].dips[k].dip);
	for (uint32_t i = 0; i < vip->n_snat_dips; i++)
		to_ip6(&vip->snat_dips[i]);
	return vip;
}

static int compare_members(const void *a, const void *b)
{
	return ip_addr_compare(&((const struct maglev_member *)a)->dip, &((const struct maglev_member *)b)->dip);
}

struct vip_history *test_random_history(unsigned *seed, const struct vip_config *vip)
{
	struct vip_history *h = memory_array(1, sizeof *h);
	h->vip = vip->vip;
	h->endpoints = memory_array(vip->n_endpoints, sizeof *h->endpoints);
	h->gone = memory_array(1, sizeof *h->gone);
	if (rand_r(seed) % 3 == 0)
		h->gone[h->n_gone++] = test_letter((char)('a' + rand_r(seed) % 5));
	for (uint32_t i = 0; i < vip->n_endpoints; i++)
		fill_random_endpoint(&h->endpoints[h->n_endpoints++], &vip->endpoints[i], seed);
	for (uint32_t i = 0; i < h->n_endpoints; i++)
		for (uint32_t g = 0; g < h->endpoints[i].n_generations; g++)
			qsort(h->endpoints[i].generations[g].members, h->endpoints[i].generations[g].n_members,
			      sizeof(struct maglev_member), compare_members);
	return h;
}

struct test_frame fixture_pin_frame(const struct fixture *f, const char *sender, uint64_t stamp_us,
                                    const struct pin *pins, uint32_t n)
{
	uint8_t data[PIN_MESSAGE_BYTES_MAX];
	char own[IP_ADDR_TEXT_BYTES];
	struct ip_addr own_addr = ip_addr_from_v4(f->worker.settings.address);
	struct pin_message m = { .cluster_id = f->store.cluster.cluster_id,
		                     .stamp_us = stamp_us,
		                     .sender = pin_addr_from_ip4(test_ip4(sender)),
		                     .n_pins = n };
	memcpy(m.pins, pins, n * sizeof *pins);
	ip_addr_format(&own_addr, own);
	uint32_t n_bytes = pin_message_encode(&m, f->store.cluster.pin_key, data);
	struct test_tuple t = { .src = sender, .dst = own, .src_port = PIN_PORT, .dst_port = PIN_PORT };
	return test_udp(&t, data, n_bytes);
}

void fixture_put_via(struct fixture *f, const char *dip, const char *via)
{
	struct change c = test_put_dip(dip, "host1", "vm1");
	c.dip.via = via != NULL ? test_addr(via) : (struct ip_addr){ { 0 } };
	put(f, c);
	fixture_rebuild(f);
}

static void resolve6(struct fixture *f, const char *address, const struct mac *mac)
{
	struct nd_info nd = {
		.type = ICMP6_NEIGHBOR_ADVERTISEMENT, .has_mac = true, .is_solicited = true, .is_override = true, .mac = *mac
	};
	memcpy(nd.src, test_ip6(address), sizeof nd.src);
	memcpy(nd.target, nd.src, sizeof nd.target);
	neighbor_table_on_nd(&f->worker.neighbors6, &nd, f->worker.now);
}

void fixture_resolve(struct fixture *f, const char *address, const struct mac *mac)
{
	if (strchr(address, ':') != NULL) {
		resolve6(f, address, mac);
		return;
	}
	struct arp_info arp = { .operation = ARP_REPLY, .sender_mac = *mac, .sender_ip = test_ip4(address) };
	neighbor_table_on_arp(&f->worker.neighbors, &arp, f->worker.now);
}

void fixture_keep(struct fixture *f, const struct mux_frame *frame)
{
	if (frame->verdict != MUX_HELD)
		return;
	struct test_frame *copy = &f->held[frame->slot];
	*copy = (struct test_frame){ .offset = TEST_HEADROOM, .len = frame->len };
	memcpy(test_data(copy), frame->data, frame->len);
	f->side.held[frame->slot].data = test_data(copy);
}

struct mux_frame fixture_send(struct fixture *f, struct test_frame *frame)
{
	struct mux_frame m = { .data = test_data(frame), .len = frame->len };
	mux_pipeline_burst(&f->worker, f->tables, &m, 1);
	fixture_keep(f, &m);
	return m;
}

bool fixture_next(struct fixture *f, struct side_frame *ret_frame)
{
	if (side_frames_next(&f->worker, ret_frame))
		return true;
	for (uint32_t i = 0; i < SIDE_SPARES; i++)
		side_frames_lend(&f->side, i, f->spares[i] + MUX_HEADROOM_BYTES);
	return false;
}

be32 outer_dst(const struct mux_frame *frame)
{
	return ((const struct ip4_header *)(frame->data + ETH_BYTES))->dst;
}
