// What the agent counts: one set per worker, by names that operators see in `anantactl host show`.
//
// Threads: one writer, the worker; readers take a copy at any time (agent_counters_read), each value whole, the set
// not of one instant.
#pragma once

#include <stdint.h>

#include "common/packet/drop.h"

#define AGENT_COUNTERS(X)                                                             \
	X(rx_packets, "frames received from the uplink")                                  \
	X(tx_packets, "frames sent to the uplink")                                        \
	X(inbound_packets, "packets to VIPs, decapsulated, rewritten, given to a VM")     \
	X(inbound_bytes, "their bytes, without the outer header")                         \
	X(outbound_packets, "replies of VMs, rewritten to the VIP")                       \
	X(outbound_bytes, "their bytes")                                                  \
	X(inbound_plain_packets, "packets from the uplink to a DIP itself")               \
	X(outbound_plain_packets, "packets of VMs that leave as they are")                \
	X(local_packets, "packets from one VM to another of this host")                   \
	X(arp_replies, "ARP requests answered for VMs and for DIPs")                      \
	X(nd_replies, "Neighbor and Router Solicitations answered, for VMs and for DIPs") \
	X(flows_created, "flows that began with a SYN or a UDP packet")                   \
	X(flows_adopted, "flows taken over in the middle of a connection")                \
	X(flows_expired, "flows forgotten after their idle time")                         \
	X(flows_replaced, "flows that gave way to a new connection of the same client")   \
	X(flows_restored, "flows taken over from the process before this one")            \
	X(mss_clamped, "TCP handshakes whose segment size was lowered")                   \
	X(snat_flows, "flows of VMs that began with a leased port of a VIP")              \
	X(snat_held, "packets of VMs that waited for a range of ports")                   \
	X(snat_answered, "packets of VMs that were refused and answered: RST or ICMP")    \
	X(icmp_errors, "ICMP errors that were translated, with the packet inside")        \
	X(fragments, "fragments that took the way of their datagram's first one")         \
	X(fragments_held, "fragments that came before their datagram's first one")        \
	X(chain_forwarded, "packets sent on to another owner of their bucket")            \
	X(chain_delivered, "packets that reached their flow by a detour")                 \
	X(chain_adopted, "connections adopted at the end of a chain")                     \
	X(handshakes_split, "packets that acknowledge what another VM said to the SYN")   \
	X(pins_sent, "flows reported to the muxes as pins")

struct agent_counters {
#define X(name, text) uint64_t name;
	AGENT_COUNTERS(X)
#undef X
	uint64_t drops[DROP_REASON_COUNT];
};

// The gauges beside them, read from the flow table.
struct agent_gauges {
	uint64_t flows;
	uint64_t flow_capacity;
};

// One writer: a relaxed load and store, which is a plain addition to the processor.
static inline void counter_add(uint64_t *counter, uint64_t n)
{
	__atomic_store_n(counter, __atomic_load_n(counter, __ATOMIC_RELAXED) + n, __ATOMIC_RELAXED);
}

static inline uint64_t counter_read(const uint64_t *counter)
{
	return __atomic_load_n(counter, __ATOMIC_RELAXED);
}

// All values with their names, drops as "drop_<reason>"; fills at most `max` and returns how many there are.
struct agent_counter_value {
	char name[48];
	uint64_t value;
};

uint32_t agent_counters_read(const struct agent_counters *counters, const struct agent_gauges *gauges,
                             struct agent_counter_value *ret_values, uint32_t max);
