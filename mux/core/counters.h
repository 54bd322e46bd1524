// What a mux counts. The worker writes, with plain stores; the control thread reads and sums over workers (relaxed: a value
// may be a moment old, never torn).
#pragma once

#include <stdint.h>

#include "common/packet/drop.h"

#define MUX_COUNTERS(X)                                     \
	X(rx_packets) /* from the uplink */                     \
	X(rx_bytes)                                             \
	X(tx_packets) /* to the uplink */                       \
	X(tx_bytes)                                             \
	X(forwarded_packets) /* encapsulated to a DIP */        \
	X(forwarded_bytes) /* of them, with the outer header */ \
	X(icmp_echo_replies) /* answered for VIPs */            \
	X(to_tap_packets) /* the node's own traffic: in */      \
	X(from_tap_packets) /* and out */

struct mux_counters {
#define X(name) uint64_t name;
	MUX_COUNTERS(X)
#undef X
	uint64_t drops[DROP_REASON_COUNT];
};

struct vip_counters {
	uint64_t packets; // encapsulated
	uint64_t bytes; // of the packets as they came, from the IP header on
};
