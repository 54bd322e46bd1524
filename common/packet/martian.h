// Addresses of IPv4 that are no single host's on a network, and so neither where a packet can come from nor where it can go to: this network
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

static inline bool ip6_is_multicast(const uint8_t *addr)
{
	return addr[0] == 0xff;
}

// fe80::/10 (RFC 4291 section 2.5.6): of one segment, forwarded by nobody.
static inline bool ip6_is_link_local(const uint8_t *addr)
{
	return addr[0] == 0xfe && (addr[1] & 0xc0) == 0x80;
}

// ::
static inline bool ip6_is_unspecified(const uint8_t *addr)
{
	return (load64(addr) | load64(addr + 8)) == 0;
}

// ::, ::1, IPv4-mapped (::ffff:0:0/96), link-local and multicast (RFC 4291 section 2, RFC 6890 section 2.2.3), as a source or destination of
// what is forwarded. An IPv6 address as the packet has it, 16 bytes: ip4_is_martian is not for the names and tags of such.
static inline bool ip6_is_martian(const uint8_t *addr)
{
	if (__builtin_expect(load64(addr) != 0, 1))
		return ip6_is_multicast(addr) || ip6_is_link_local(addr);
	return load64(addr + 8) == 0 || load64(addr + 8) == 0x0100000000000000ull || load32(addr + 8) == 0xffff0000u;
}
