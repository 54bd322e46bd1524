// A mux without ports: a store of VIPs, the tables made from it, and a worker with one resolved gateway of each family.
#pragma once

#include "common/model/store.h"
#include "common/packet/pin.h"
#include "mux/core/pipeline.h"
#include "mux/core/side_frames.h"
#include "tests/support/packet_builder.h"
#include "tests/support/vip_builder.h"

#define MUX_ADDRESS "10.0.0.31"
#define MUX_GATEWAY "10.0.0.1"
#define MUX_ADDRESS6 "2001:db8:f::31"
#define MUX_GATEWAY6 "fe80::1"
#define MUX_MTU 1600
#define MUX_MAX_PINS 60000
#define MUX_NOW_REAL_US 1753000000000000ull

extern const struct mac MUX_MAC; // TEST_MAC_B: frames of the packet builder go to it
extern const struct mac GATEWAY_MAC; // TEST_MAC_A

struct fixture {
	struct store store;
	struct addr_names *names;
	struct vip_slots slots;
	struct mux_tables *tables;
	struct snat_maps snat;
	struct vip_counters vips;
	struct pins pins;
	struct side_frames side;
	void *side_memory;
	struct test_frame held[FRAGMENT_SLOTS];
	uint8_t spares[SIDE_SPARES][MUX_HEADROOM_BYTES + TEST_FRAME_BYTES];
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

// Puts the history of a VIP (taken over), or deletes it, and makes new tables; likewise a host.
void fixture_put_history(struct fixture *f, struct vip_history *history);
void fixture_delete_history(struct fixture *f, const char *vip);
void fixture_put_host(struct fixture *f, const char *name, const char *addr);

// A history of the TCP endpoint at port 80: "a b, b c" are two generations, the DIPs 10.1.1.<letter's place in the alphabet>, all of
// weight 1; "a b, b c; a" says that a is gone. And an endpoint with such DIPs.
struct vip_history *test_history(const char *vip, const char *generations);
struct vip_config *test_letters_vip(const char *vip, const char *letters);
struct ip_addr test_letter(char letter);

// As test_random_vip, where 203.0.113.7 is 2001:db8::203.0.113.7, and DIPs likewise.
struct vip_config *test_random_vip6(unsigned *seed, unsigned n);

// A random history of all endpoints of the VIP in which the present generation is what the configuration says.
struct vip_history *test_random_history(unsigned *seed, const struct vip_config *vip);

// A datagram with pins from a host to the mux, rightly signed.
struct test_frame fixture_pin_frame(const struct fixture *f, const char *sender, uint64_t stamp_us,
                                    const struct pin *pins, uint32_t n);

// Leases ports of a VIP to a DIP, or ends that.
void fixture_lease(struct fixture *f, const char *vip, const char *dip, uint16_t first_port, uint16_t n_ports);
void fixture_end_lease(struct fixture *f, const char *vip, const char *dip, uint16_t first_port, uint16_t n_ports);

// Says where encapsulated packets for a DIP are sent (via NULL: to itself), and makes new tables.
void fixture_put_via(struct fixture *f, const char *dip, const char *via);

// Makes the gateway known, or another one at address and mac, of either family.
void fixture_resolve(struct fixture *f, const char *address, const struct mac *mac);

// Sends a frame through the pipeline as a burst of one; the frame afterwards is what would be sent.
struct mux_frame fixture_send(struct fixture *f, struct test_frame *frame);

// After a burst, for each of its frames in order: keeps a copy of the one that is held. fixture_send does it itself.
void fixture_keep(struct fixture *f, const struct mux_frame *frame);

// The next frame that comes out beside those of bursts; false: there is none. Its spare is lent again by the next call.
bool fixture_next(struct fixture *f, struct side_frame *ret_frame);

// The DIP that the encapsulated frame goes to.
be32 outer_dst(const struct mux_frame *frame);
