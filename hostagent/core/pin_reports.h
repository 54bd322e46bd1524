// Pins that this host reports to the muxes: flows of its VMs whose packets came by a detour (design section 4).
//
//   a packet of a known flow came with a hop mark --> pin_reports_note --> end of the turn: one message, to every mux of the pool
//
// A flow is reported at most once in PIN_REPORTS_AGAIN_US, and again when its packets still come by a detour: the mux that they pass
// lost the pin, or never had it. What does not fit into the turn's message is reported with a later packet of its flow.
// Memory is fixed; two flows in one place of the cache only make each other be reported more often.
// Threads: one worker.
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "common/base/mono.h"
#include "common/packet/headers.h"
#include "common/packet/pin.h"

#define PIN_REPORTS_AGAIN_US 100000u
#define PIN_REPORTS_RECENT 4096u // flows that are remembered as reported
#define PIN_REPORTS_FRAME_BYTES (ETH_BYTES + IP6_BYTES + 8 + PIN_MESSAGE_BYTES_MAX)

struct pin_reports_recent {
	uint32_t hash;
	uint32_t at_ms; // 0: never
};

struct pin_reports {
	uint32_t n; // to be sent
	struct pin items[PINS_MAX];
	uint64_t stamp_us; // of the last message
	struct {
		uint32_t n_bytes; // 0: there is none
		uint8_t bytes[PIN_MESSAGE_BYTES_MAX];
	} messages[2]; // that are being sent: from the host's IPv4 address, from that of IPv6
	struct pin_reports_recent recent[PIN_REPORTS_RECENT];
};

// From where to where the message goes, and by which next hop.
struct pin_reports_route {
	struct mac src_mac;
	struct mac dst_mac;
	be32 src; // of IPv4, as dst
	be32 dst;
	const uint8_t *src6; // of IPv6, as dst6: 16 bytes; NULL: it goes over IPv4
	const uint8_t *dst6;
};

// `flow_hash` tells flows apart. Returns whether it will be sent.
bool pin_reports_note(struct pin_reports *p, const struct pin *pin, uint64_t flow_hash, struct mono_time now);

// The host's addresses, which are in the message: it is of the family over which it is sent.
struct pin_reports_sender {
	be32 addr; // 0: none
	const uint8_t *addr6; // NULL: none
};

// Signs what is to be sent; then there is nothing any more. The stamp is the wall clock's, or what makes it rise. Returns how many
// pins are in the message.
uint32_t pin_reports_encode(struct pin_reports *p, uint64_t cluster_id, const uint8_t key[SIPHASH_KEY_BYTES],
                            const struct pin_reports_sender *sender, uint64_t wall_us);

// The message as a UDP datagram in an Ethernet frame of up to PIN_REPORTS_FRAME_BYTES; returns how many.
uint32_t pin_reports_write(const struct pin_reports *p, const struct pin_reports_route *route, uint8_t *frame);
