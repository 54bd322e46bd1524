#include "tests/unit/mux/fixture.h"

#include <stdlib.h>

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
	struct change cluster = { .key = { .kind = OBJECT_CLUSTER }, .cluster = { .cluster_id = 1, .hash_seed = 42 } };
	put(f, cluster);
	struct mux_settings settings = { .mac = MUX_MAC, .address = test_ip4(own_address), .mtu = MUX_MTU };
	mux_worker_init(&f->worker, &settings, &f->vips, mono_from_us(1000000));
	neighbor_table_insert(&f->worker.neighbors, test_ip4(MUX_GATEWAY));
	fixture_resolve(f, MUX_GATEWAY, &GATEWAY_MAC);
	return f;
}

void fixture_destroy(struct fixture *f)
{
	mux_tables_destroy(f->tables);
	snat_maps_fini(&f->snat, NULL);
	store_fini(&f->store);
	memory_free(f);
}

void fixture_rebuild(struct fixture *f)
{
	struct mux_tables *tables;
	struct snat_maps snat;
	CHECK(vip_slots_update(&f->slots, &f->store, NULL) == 0);
	CHECK(snat_maps_create(&f->store, &f->snat, &snat) == 0);
	struct mux_tables_sources from = fixture_sources(f);
	from.snat = &snat;
	CHECK(mux_tables_create(&from, &tables) == 0);
	mux_tables_destroy(f->tables);
	snat_maps_fini(&f->snat, &snat);
	f->tables = tables;
	f->snat = snat;
}

struct mux_tables_sources fixture_sources(const struct fixture *f)
{
	return (struct mux_tables_sources){ .store = &f->store,
		                                .own_addr = f->worker.settings.address,
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

void fixture_resolve(struct fixture *f, const char *address, const struct mac *mac)
{
	struct arp_info arp = { .operation = ARP_REPLY, .sender_mac = *mac, .sender_ip = test_ip4(address) };
	neighbor_table_on_arp(&f->worker.neighbors, &arp, f->worker.now);
}

struct mux_frame fixture_send(struct fixture *f, struct test_frame *frame)
{
	struct mux_frame m = { .data = test_data(frame), .len = frame->len };
	mux_pipeline_burst(&f->worker, f->tables, &m, 1);
	return m;
}

be32 outer_dst(const struct mux_frame *frame)
{
	return ((const struct ip4_header *)(frame->data + ETH_BYTES))->dst;
}
