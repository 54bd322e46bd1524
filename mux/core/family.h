// What differs between the families, in one place: hashes, sources, who an address is. Threads: the worker.
#pragma once

#include "common/model/flow_hash.h"
#include "common/model/ip_addr.h"
#include "common/packet/addr_names.h"
#include "common/packet/martian.h"
#include "common/packet/parse.h"

// Of control threads, with NULL for programs that know IPv4 only: then IPv6 addresses are 0, which nothing is found under.
static inline be32 family_give_name(struct addr_names *names, const struct ip_addr *addr)
{
	if (names != NULL)
		return addr_names_give(names, addr->bytes);
	return ip_addr_is_v4(addr) ? ip_addr_to_v4(addr) : 0;
}

static inline be32 family_find_name(const struct addr_names *names, const uint8_t *addr)
{
	return names == NULL ? 0 : addr_names_lookup(names, addr);
}

// The bucket of a packet's flow follows from it: the same on all muxes and hosts, over whole addresses.
static inline uint64_t family_hash(const uint8_t *frame, const struct parsed *p, uint64_t seed)
{
	if (__builtin_expect(p->is_ip6, 0))
		return flow_hash_v6(parsed_src6(frame, p), parsed_dst6(frame, p), p->src_port, p->dst_port, p->protocol, seed);
	return flow_hash_v4(p->src, p->dst, p->src_port, p->dst_port, p->protocol, seed);
}

static inline bool family_source_is_martian(const uint8_t *frame, const struct parsed *p)
{
	return __builtin_expect(p->is_ip6, 0) ? ip6_is_martian(parsed_src6(frame, p)) : ip4_is_martian(p->src);
}

// A land packet: from where it goes to.
static inline bool family_source_is_destination(const uint8_t *frame, const struct parsed *p)
{
	if (__builtin_expect(p->is_ip6, 0))
		return memcmp(parsed_src6(frame, p), parsed_dst6(frame, p), IP6_ADDR_BYTES) == 0;
	return p->src == p->dst;
}

// Is what a frame carries IPv6? It is known to be one of both.
static inline bool family_frame_is_ip6(const uint8_t *frame)
{
	return frame_ether_type(frame) == be16_from(ETHER_IP6);
}

// Parses anew what has parsed before, by the name that its destination has (0: not looked for).
static inline void family_parse_again(const uint8_t *frame, uint32_t len, struct parsed *ret_parsed)
{
	if (family_frame_is_ip6(frame))
		(void)parse_ip6(frame, len, ETH_BYTES, ret_parsed);
	else
		(void)parse_ip4(frame, len, ETH_BYTES, ret_parsed);
}
