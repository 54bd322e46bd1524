// Pins: which DIP has a connection that packets reached by a detour. Agents send them, muxes remember them, in UDP datagrams
// to port PIN_PORT of each mux; this is what is inside one.
//
//   0 magic "ANPN" | 4 version 2 | 5 n pins, 1 to 20 | 6 zero, 2 bytes | 8 cluster id | 16 stamp | 24 sender's address |
//   40 n x { remote, VIP, DIP, port of the remote, port of the VIP, protocol, zero, 3 bytes } | tag, 8 bytes
//
// Addresses have 16 bytes, IPv4 as IPv4-mapped (RFC 4291 section 2.5.5.2); those of a pin are of one family. Numbers in network byte order. The tag is SipHash-2-4 under the cluster's pin key (struct cluster_info) over all that comes
// before it. The stamp is the sender's real time in microseconds and rises with each datagram, so that a mux takes none twice.
// A datagram is at most 1,168 bytes: with its headers it fits into every MTU that IPv6 allows.
// Pure and bounded: nothing is read beyond the length that is given. Fuzz target: that of the mux (tests/fuzz/mux).
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/siphash.h"
#include "common/packet/drop.h"
#include "common/packet/headers.h"

#define PIN_PORT 7402
#define PINS_MAX 20 // of a message
#define PIN_STAMP_SKEW_US 60000000u // how far a sender's clock may be from a mux's
#define PIN_HEADER_BYTES 40
#define PIN_BYTES 56
#define PIN_TAG_BYTES 8
#define PIN_MESSAGE_BYTES_MAX (PIN_HEADER_BYTES + PINS_MAX * PIN_BYTES + PIN_TAG_BYTES)

struct pin_addr {
	uint8_t bytes[16];
};

static inline struct pin_addr pin_addr_from_ip4(be32 addr)
{
	struct pin_addr a = { { 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff } };
	store32(a.bytes + 12, addr);
	return a;
}

static inline struct pin_addr pin_addr_from_ip6(const uint8_t *addr)
{
	struct pin_addr a;
	memcpy(a.bytes, addr, sizeof a.bytes);
	return a;
}

static inline bool pin_addr_is_ip4(const struct pin_addr *a)
{
	return load64(a->bytes) == 0 && load32(a->bytes + 8) == be32_from(0xffff);
}

// Only of IPv4-mapped ones.
static inline be32 pin_addr_to_ip4(const struct pin_addr *a)
{
	return load32(a->bytes + 12);
}

static inline bool pin_addr_equal(const struct pin_addr *a, const struct pin_addr *b)
{
	return load64(a->bytes) == load64(b->bytes) && load64(a->bytes + 8) == load64(b->bytes + 8);
}

// The flow as its packets to the VIP have it.
struct pin {
	struct pin_addr remote;
	struct pin_addr vip;
	struct pin_addr dip; // that knows the flow
	be16 remote_port;
	be16 vip_port;
	uint8_t protocol; // IP_PROTO_TCP, IP_PROTO_UDP, or one of IP_PROTO_ANY, whose ports are 0
};

struct pin_message {
	uint64_t cluster_id;
	uint64_t stamp_us;
	struct pin_addr sender; // the outer source of what it encapsulates, and the source of the datagram
	uint32_t n_pins; // 1 to PINS_MAX
	struct pin pins[PINS_MAX];
};

// Writes the message into PIN_MESSAGE_BYTES_MAX bytes at most; returns how many.
uint32_t pin_message_encode(const struct pin_message *m, const uint8_t key[SIPHASH_KEY_BYTES], uint8_t *out);

// Is it a message at all, whoever made it? Length, magic, version, zeros, protocols and families of addresses, and the cluster's id.
bool pin_message_is_well_formed(const uint8_t *data, size_t n_bytes, uint64_t cluster_id);

// Was it made with this key, by this sender? Of a well-formed message only. The time does not depend on where a tag is wrong.
bool pin_message_is_authentic(const uint8_t *data, size_t n_bytes, const struct pin_addr *sender,
                              const uint8_t key[SIPHASH_KEY_BYTES]);

// Of a well-formed message only.
void pin_message_decode(const uint8_t *data, struct pin_message *ret_message);
