// A mux without ports: a store of VIPs, the tables made from it, and a worker with one resolved gateway.
#pragma once

#include "common/model/store.h"
#include "mux/core/pipeline.h"
#include "tests/support/packet_builder.h"
#include "tests/support/vip_builder.h"

#define MUX_ADDRESS "10.0.0.31"
#define MUX_GATEWAY "10.0.0.1"
#define MUX_MTU 1600

extern const struct mac MUX_MAC; // TEST_MAC_B: frames of the packet builder go to it
extern const struct mac GATEWAY_MAC; // TEST_MAC_A

struct fixture {
	struct store store;
	struct vip_slots slots;
	struct mux_tables *tables;
	struct snat_maps snat;
	struct vip_counters vips;
	struct mux_worker worker;
};

// A fixture on the heap with no VIPs; tables are made by fixture_apply.
struct fixture *fixture_create(const char *own_address);
void fixture_destroy(struct fixture *f);

// Puts a VIP (taken over) or deletes one, and makes new tables.
void fixture_put_vip(struct fixture *f, struct vip_config *vip);
void fixture_delete_vip(struct fixture *f, const char *vip);
void fixture_rebuild(struct fixture *f);
struct mux_tables_sources fixture_sources(const struct fixture *f); // what it makes them from

// Leases ports of a VIP to a DIP, or ends that.
void fixture_lease(struct fixture *f, const char *vip, const char *dip, uint16_t first_port, uint16_t n_ports);
void fixture_end_lease(struct fixture *f, const char *vip, const char *dip, uint16_t first_port, uint16_t n_ports);

// Makes the gateway known, or another one at address and mac.
void fixture_resolve(struct fixture *f, const char *address, const struct mac *mac);

// Sends a frame through the pipeline as a burst of one; the frame afterwards is what would be sent.
struct mux_frame fixture_send(struct fixture *f, struct test_frame *frame);

// The DIP that the encapsulated frame goes to.
be32 outer_dst(const struct mux_frame *frame);
