// Outbound SNAT of this host's VMs: which leased ports a DIP has, which are in use towards whom, what must be asked for and
// what can go back (design section 5; paper section 3.5.1).
//
//   control thread --snat_order--> worker (struct snat) --snat_report--> control thread
//
// A lease is divided into blocks of SNAT_UNIT_PORTS ports. A DIP has its blocks in the order in which they came, and uses the
// first `window` of them, which grows with need and shrinks again, so that what is not needed falls idle and goes back.
//
//   TCP        a port serves many destinations at once, each only once: whether it is free towards one says the flow table
//              (the 5-tuple), how many are in use towards it says the destination's entry. RFC 5382 REQ-1 wants an
//              endpoint-independent mapping here, too, and does not get it: it would take a port for each socket, and ports
//              per destination are what a DIP runs out of.
//   UDP, ICMP  one DIP:port (identifier) keeps one VIP:port towards all destinations while one of its flows lives, and a
//              VIP:port belongs to one DIP:port (RFC 4787 REQ-1, RFC 5508 REQ-1): a mapping, exclusive.
//   Filtering is address and port dependent for all: an inbound packet must be of a flow (RFC 4787 section 5).
//   Ports are taken along a permutation that is keyed by a random seed, and each destination begins elsewhere in it, so that
//   nobody outside can guess the next one (RFC 6056 section 3.3.4).
//
// VIPs and DIPs are 32 bits for both families (common/packet/addr_names.h), and so are destinations: of IPv6 by their tags. Two
// destinations of one DIP and port that have the same tag (one in 2^28) are counted as one, so that its ports seem to be used up
// earlier; flows are told apart by whole addresses.
// Invariants: no two flows have one 5-tuple; nothing begins on a port that is not leased, or on a lease that has ended or was
// given back; the flows of an ended lease go on, and its ports are not forgotten before they are over.
// What happens when full (limits are fixed at the start):
//   blocks        a lease that finds no room is given back (SNAT_REPORT_RETURNED)
//   DIPs          likewise; a packet of a DIP without a slot is refused as exhausted
//   destinations  an entry has flows, or is not there; without an entry a port is found by probing alone: the same answer
//                 for up to 64 probes, but a destination that is full is not known at once
//   mappings      the packet is refused as exhausted
// Cost: a new flow is O(1), at most SNAT_PROBES lookups in the flow table; a packet of a known flow does not come here.
// Memory at the defaults (1 M flows): 5 MB of blocks, 16 MB of destinations, 8 MB of mappings.
// Threads: the worker's; orders and reports are carried over by the edge. snat_read_dip from any thread.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/bytes.h"
#include "common/base/error.h"
#include "common/base/mono.h"
#include "common/model/ip_addr.h"

#define SNAT_HOLD_US 3000000u // how long the edge holds a packet
#define SNAT_HOLD_PACKETS 1024 // and how many of a DIP: a burst of connections that finds no port
#define SNAT_REPEAT_US 2000000u // after which an unanswered request is sent again
#define SNAT_REFUSAL_US 1000000u // a DIP that was refused does not ask again before
#define SNAT_PROBES 64 // ports that are tried for one packet
#define SNAT_VIPS_PER_DIP 16 // of which a DIP can have leases; leases of more are given back
#define SNAT_BUSIEST_DESTINATIONS 5 // that status names, of each DIP
#define SNAT_NO_SLOT UINT16_MAX

enum snat_order_kind {
	SNAT_ORDER_LEASE = 1, // dip has vip:first_port .. +n_ports with this epoch; repeating it changes nothing
	SNAT_ORDER_END, // dip has it no more: known flows go on, nothing new begins
	SNAT_ORDER_ANSWERED, // the request of dip with this seq was answered; its leases came before. code 0, or the refusal
	// A leader can be asked (is_up), or not: what nothing is left for is held for SNAT_HOLD_US, in which another leader may
	// come, and from then on refused. Up: unanswered requests and returns are reported again, at once.
	SNAT_ORDER_LINK,
	// All leases that were saved have come, or there were none: count the flows that use them, once, after the start. Before
	// it no SNAT flow begins: packets are held. To be sent in any case.
	SNAT_ORDER_REBUILD,
};

struct snat_order {
	enum snat_order_kind kind;
	be32 vip;
	be32 dip;
	uint16_t first_port; // as a number
	uint16_t n_ports;
	uint32_t epoch;
	uint64_t seq;
	enum error_code code;
	bool is_up;
};

enum snat_report_kind {
	SNAT_REPORT_WANTED = 1, // ask for n_wanted ports for dip, as request seq; again when it was not answered in time
	SNAT_REPORT_RETURNED, // this lease is not used any more: give it back
	SNAT_REPORT_EXHAUSTED, // a connection of dip to remote:remote_port found no port (at most one a second and DIP)
	SNAT_REPORT_NEAR_LIMIT, // dip has leased 80 % of what it may: n_ports of n_wanted
};

struct snat_report {
	enum snat_report_kind kind;
	be32 vip;
	be32 dip;
	struct ip_addr remote;
	be16 remote_port;
	uint8_t protocol;
	uint16_t first_port;
	uint32_t n_ports; // leased to dip by now; of SNAT_REPORT_RETURNED: of the lease
	uint32_t n_wanted; // of SNAT_REPORT_WANTED; of SNAT_REPORT_NEAR_LIMIT: the limit
	uint32_t epoch;
	uint64_t seq;
	enum error_code code; // of SNAT_REPORT_EXHAUSTED: what the last answer said; 0: the limit of the configuration
};

struct snat;

struct snat_limits {
	uint32_t n_dips; // up to 65,534
	uint32_t n_blocks; // of SNAT_UNIT_PORTS ports
	uint32_t n_destinations;
	uint32_t n_mappings;
};

// For a flow table of max_flows: 1024 DIPs, 65,536 blocks (8 VIPs leased as a whole to this host), half as many destinations
// as flows, a quarter as many mappings.
struct snat_limits snat_limits_default(uint32_t max_flows);

// All memory is allocated here. `seed` is random; requests are numbered from first_seq on, which must be above those of the
// process before (CLOCK_REALTIME in microseconds is). ERR_NO_MEMORY.
NODISCARD int snat_create(const struct snat_limits *limits, uint64_t seed, uint64_t first_seq, struct mono_time now,
                          struct snat **ret_snat, struct error *err);
void snat_destroy(struct snat *s); // NULL is fine

// ---- Status, from any thread: each number whole, the set not of one instant ----

struct snat_busy_destination {
	struct ip_addr remote;
	be16 remote_port;
	uint8_t protocol;
	uint32_t n_ports; // in use towards it
};

struct snat_dip_status {
	be32 dip;
	uint32_t leased_ports; // those that are going back not counted
	uint32_t used_ports; // that have a flow
	uint32_t flows;
	uint64_t refused; // connections that found no port
	uint32_t n_busiest;
	struct snat_busy_destination busiest[SNAT_BUSIEST_DESTINATIONS]; // of TCP, the busiest first
};

uint32_t snat_slots(const struct snat *s);

// Of a slot below snat_slots (that of agent_packet.hold_slot); false when no DIP has it.
bool snat_read_dip(const struct snat *s, uint16_t slot, struct snat_dip_status *ret_status);
