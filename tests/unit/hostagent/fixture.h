// A host with two VMs in a small data centre, and frames put through its agent.
//
//   host1 10.0.0.21 (us)  VM port 0: 10.1.1.11   VM port 1: 10.1.1.12      gateway 10.0.0.1, mux1 10.0.0.31
//   host2 10.0.0.22       10.1.2.11
//   VIP 203.0.113.10      tcp 80 -> 10.1.1.11:8080, 10.1.2.11:8080      udp 53 -> 10.1.1.11:5353
//                         tcp 81, tcp 82 -> 10.1.1.12:8080 (one port of the VM, two endpoints)
//
// With SNAT also:
//   VIP 203.0.113.20      snat 10.1.1.11, 10.1.1.12 (the policy of the caller)
//   VIP 203.0.113.21      snat 10.1.1.11
//
// After fixture_add_ip6 all of it a second time, over IPv6, behind the same VM ports: for a.b.c.d there is 2001:db8::a:b:c:d; the host is
// 2001:db8::10:0:0:21, and the gateway fe80::1.
//
// MAC addresses: the uplink is TEST_MAC_B, the gateway TEST_MAC_A, a VM 02:00:00:01:01:0b by its DIP.
#pragma once

#include "hostagent/core/agent.h"
#include "tests/support/packet_builder.h"
#include "tests/support/vip_builder.h"

struct agent_fixture {
	struct store store;
	struct addr_names *names;
	struct agent_config *config;
	void *block;
	struct agent agent;
	struct agent_packet held[AGENT_FRAGMENT_SLOTS]; // their frames are the test's
};

#define FIXTURE_DATAGRAMS 64

// The store of the data centre above.
void fixture_store(struct store *s);

void fixture_init(struct agent_fixture *f, uint32_t n_flows);
void fixture_fini(struct agent_fixture *f);

// The same data centre over IPv6, beside that of IPv4.
void fixture_add_ip6(struct agent_fixture *f);

// From now on each of the two DIPs of vm1 has a via of the other family, and so has host2's: 10.2.1.11 for 2001:db8::10:1:1:11, and the
// other way round.
void fixture_add_vias(struct agent_fixture *f);

// The IPv6 twin of an IPv4 address of the fixture, until the eighth call after this one.
const char *fixture_ip6(const char *ip4);

// From now on what nobody knows is adopted at once: it is as if its packets had come for long (core/strays.h). So it is after
// fixture_init.
void fixture_end_patience(struct agent *a);

// Puts the VIPs with SNAT, with this policy (NULL: the default one), and gives the agent what SNAT needs: it is ready, a leader
// can be asked, nothing is leased.
void fixture_add_snat(struct agent_fixture *f, const struct snat_policy *policy);

// The same VIPs over IPv6, after fixture_add_snat.
void fixture_add_snat6(struct agent_fixture *f, const struct snat_policy *policy);

// Addresses of either family.
void fixture_lease(struct agent_fixture *f, const char *vip, const char *dip, uint16_t first_port, uint16_t n_ports,
                   uint32_t epoch);
void fixture_end(struct agent_fixture *f, const char *vip, const char *dip, uint16_t first_port, uint32_t epoch);
void fixture_answer(struct agent_fixture *f, const char *dip, uint64_t seq, enum error_code code);
void fixture_link(struct agent_fixture *f, bool is_up);

// Time goes on, second by second, with all that it brings.
void fixture_pass(struct agent_fixture *f, uint32_t n_seconds);

// The cluster's seed and key, and the generations of an endpoint of a VIP, oldest first, each a list of DIPs ("10.1.1.11
// 10.1.2.11"), until NULL. Generations of one DIP each make the same owners for every bucket: the last one's first.
#define FIXTURE_CLUSTER_ID 77
#define FIXTURE_GENERATIONS_MAX 16
struct change fixture_cluster(void);
struct change fixture_history(const char *vip, uint8_t protocol, uint16_t port, const char *const *generations);
// Of tcp 80 and udp 53.
struct change fixture_two_histories(const char *vip, const char *const *web, const char *const *dns);

// Applies a change to the store and gives the agent the configuration that follows.
void fixture_change(struct agent_fixture *f, struct change c);

#define FIXTURE_PROBE_ADDRESS "169.254.1.1"
#define FIXTURE_PROBE_ADDRESS6 "fd00::1"

// One frame through the agent, in place; the packet points into the frame's buffer.
struct agent_packet fixture_inbound(struct agent_fixture *f, struct test_frame *frame);
struct agent_packet fixture_outbound(struct agent_fixture *f, uint16_t port, struct test_frame *frame);
struct agent_packet fixture_from_host(struct agent_fixture *f, struct test_frame *frame);

// A fragment that waited and goes on, or is dropped, by now. False: none. Its frame must still be where it was.
bool fixture_next_fragment(struct agent_fixture *f, struct agent_packet *ret_packet);

// What came of it: "drop encap_source", "vm0 FRAME", "uplink FRAME", "tap FRAME" (FRAME as test_format has it).
const char *fixture_text(const struct agent_packet *p, char *buf, size_t size);

// From mux1 to the DIP, around a packet to the VIP.
struct test_frame fixture_encapsulate(const char *source, const char *dip, const struct test_frame *inner);

// A frame as a VM sends it to its gateway.
struct test_tuple vm_tuple(const char *src, uint16_t src_port, const char *dst, uint16_t dst_port);
extern const struct mac FIXTURE_GATEWAY_MAC;
extern const struct mac FIXTURE_VM1_MAC;
extern const struct mac FIXTURE_VM2_MAC;
