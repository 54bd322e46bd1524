// Cuts an IPv4 packet in two, as a router does whose way on is too narrow (RFC 791 section 3.2, RFC 1812 section 4.2.2.7).
//
// The first part stays where it is, the second is written elsewhere: each is a valid packet that fits, and what was a fragment
// before gives two of the same datagram. Checksums are updated, not made anew, so that a damaged header stays damaged.
// Pure. Cost: the second part is copied.
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "common/packet/headers.h"

struct ip4_cut {
	uint32_t first_bytes;
	uint32_t second_bytes;
};

// `packet` has n_bytes (its total length) and passed parse_ip4; `second` has room for mtu bytes. False, and nothing is written,
// when two parts of mtu bytes do not suffice, or the header leaves no room for data. DF is not looked at.
bool ip4_cut(uint8_t *packet, uint32_t n_bytes, uint32_t mtu, uint8_t *second, struct ip4_cut *ret_cut);
