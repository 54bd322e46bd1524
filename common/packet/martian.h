// Addresses that are no single host's on a network, and so neither where a packet can come from nor where it can go to: this network
// (0/8), loopback (127/8), multicast (224/4) and what is reserved (240/4), the limited broadcast among it.
// Source: RFC 1122 section 3.2.1.3, RFC 1812 section 5.3.7, RFC 6890. Private prefixes are none of them: a data centre has such clients.
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "common/base/bytes.h"

// By the first byte, both ends included.
enum { IP4_HOST_A = 1, IP4_HOST_A_END = 126, IP4_HOST_B = 128, IP4_HOST_B_END = 223 };

static inline bool ip4_is_martian(be32 addr)
{
	uint8_t first = (uint8_t)addr; // on the wire; of a be32 it is the lowest
	bool is_host = (first >= IP4_HOST_A && first <= IP4_HOST_A_END) || (first >= IP4_HOST_B && first <= IP4_HOST_B_END);
	return !is_host;
}
