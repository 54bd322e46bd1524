// Addresses: 128 bits, IPv4 as v4-mapped (RFC 4291 section 2.5.5.2), in config, protocol and tables.
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "common/base/bytes.h"
#include "common/base/error.h"

struct ip_addr {
	uint8_t bytes[16]; // network order
};

#define IP_ADDR_TEXT_BYTES 46

struct ip_prefix {
	struct ip_addr addr;
	uint8_t bits; // of the address's own family: 0 to 32 or 0 to 128
};

static inline bool ip_addr_is_v4(const struct ip_addr *a)
{
	static const uint8_t mapped[12] = { 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff };
	return memcmp(a->bytes, mapped, sizeof mapped) == 0;
}

// The IPv4 address as the wire has it; only for v4-mapped ones.
static inline be32 ip_addr_to_v4(const struct ip_addr *a)
{
	return load32(a->bytes + 12);
}

static inline struct ip_addr ip_addr_from_v4(be32 v4)
{
	struct ip_addr a = { { 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff } };
	store32(a.bytes + 12, v4);
	return a;
}

static inline int ip_addr_compare(const struct ip_addr *a, const struct ip_addr *b)
{
	return memcmp(a->bytes, b->bytes, sizeof a->bytes);
}

// The same for qsort and bsearch over addresses.
static inline int ip_addr_compare_items(const void *a, const void *b)
{
	return ip_addr_compare((const struct ip_addr *)a, (const struct ip_addr *)b);
}

static inline bool ip_addr_equal(const struct ip_addr *a, const struct ip_addr *b)
{
	return ip_addr_compare(a, b) == 0;
}

static inline bool ip_addr_is_unspecified(const struct ip_addr *a)
{
	return load64(a->bytes) == 0 && load64(a->bytes + 8) == 0;
}

static inline bool ip_addr_is_same_family(const struct ip_addr *a, const struct ip_addr *b)
{
	return ip_addr_is_v4(a) == ip_addr_is_v4(b);
}

// fe80::/10, which names a machine on one link only.
static inline bool ip_addr_is_link_local6(const struct ip_addr *a)
{
	return a->bytes[0] == 0xfe && (a->bytes[1] & 0xc0) == 0x80;
}

// Why no machine or service can be reached by this address from everywhere: "it is a multicast address"; NULL: it is unicast and
// usable. Of IPv4: 0.0.0.0/8, 127.0.0.0/8, 224.0.0.0/3; of IPv6: ::, ::1, ff00::/8, fe80::/10, and ::/96, which RFC 4291 section
// 2.5.5.1 gave up.
const char *ip_addr_problem(const struct ip_addr *a);

static inline bool ip_addr_is_usable(const struct ip_addr *a)
{
	return ip_addr_problem(a) == NULL;
}

// "10.1.1.11" or "2001:db8::1" (RFC 5952), into IP_ADDR_TEXT_BYTES.
const char *ip_addr_format(const struct ip_addr *a, char *buf);

// Strict: dotted quad without leading zeros, or RFC 4291 text. ERR_INVALID names the text.
NODISCARD int ip_addr_parse(const char *text, struct ip_addr *ret_addr, struct error *err);

// "10.0.0.31/24"; without "/" the whole address. ERR_INVALID.
NODISCARD int ip_prefix_parse(const char *text, struct ip_prefix *ret_prefix, struct error *err);

// "10.0.0.11:7400" or "[2001:db8::1]:7400"; IPv6 addresses only in brackets (RFC 5952 section 6). ERR_INVALID.
NODISCARD int ip_endpoint_parse(const char *text, struct ip_addr *ret_addr, uint16_t *ret_port, struct error *err);

// The same text of an address and a port, into IP_ENDPOINT_TEXT_BYTES.
#define IP_ENDPOINT_TEXT_BYTES (IP_ADDR_TEXT_BYTES + sizeof "[]:65535")
const char *ip_endpoint_format(const struct ip_addr *addr, uint16_t port, char *buf);

// A MAC address: aa:bb:cc:dd:ee:ff.
#define MAC_TEXT_BYTES 18
NODISCARD int mac_parse(const char *text, uint8_t ret_mac[6], struct error *err);
const char *mac_format(const uint8_t mac[6], char *buf);
