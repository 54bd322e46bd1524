// What a mux counts. The worker writes, with plain stores; the control thread reads and sums over workers (relaxed: a value
// may be a moment old, never torn).
#pragma once

#include <stdint.h>

#include "common/packet/drop.h"
#include "mux/core/vip_slots.h"

#define MUX_COUNTERS(X)                                                                \
	X(rx_packets) /* from the uplink */                                                \
	X(rx_bytes)                                                                        \
	X(tx_packets) /* to the uplink */                                                  \
	X(tx_bytes)                                                                        \
	X(forwarded_packets) /* encapsulated to a DIP */                                   \
	X(forwarded_bytes) /* of them, with the outer header */                            \
	X(snat_packets) /* of them, to ports that are leased */                            \
	X(snat_bytes) /* of those, as they came, from the IP header on */                  \
	X(history_packets) /* of the forwarded ones: in buckets that had other owners */   \
	X(pin_hits) /* of them, sent to the DIP that their flow is pinned to */            \
	X(pin_messages) /* of hosts, taken */                                              \
	X(pins_taken) /* from them: made, or made anew */                                  \
	X(pins_ignored) /* of no endpoint, DIP or bucket that could have use of them */    \
	X(pins_evicted) /* went for others */                                              \
	X(icmp_errors_steered) /* of the forwarded ones: about connections of VIPs */      \
	X(icmp_echo_replies) /* answered for VIPs */                                       \
	X(icmp_errors_sent) /* of our own: fragmentation needed, time exceeded */          \
	X(fragment_packets) /* of the forwarded ones: went where their first one went */   \
	X(fragments_held) /* came before their first one */                                \
	X(fragment_datagrams_evicted) /* forgotten before their time: the table is full */ \
	X(packets_cut) /* of the forwarded ones: too long, and sent as two */              \
	X(to_tap_packets) /* the node's own traffic: in */                                 \
	X(from_tap_packets) /* and out */

struct mux_counters {
#define X(name) uint64_t name;
	MUX_COUNTERS(X)
#undef X
	uint64_t drops[DROP_REASON_COUNT];
};

struct vip_traffic {
	uint64_t packets; // encapsulated
	uint64_t bytes; // of the packets as they came, from the IP header on
};

// Of all VIPs, by slot. What an endpoint's packet touches lies close together.
struct vip_counters {
	struct vip_traffic endpoints[VIP_SLOTS_MAX];
	struct vip_traffic snat[VIP_SLOTS_MAX];
	uint64_t icmp_errors_steered[VIP_SLOTS_MAX];
};
