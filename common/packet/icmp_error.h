// The packet inside an ICMP error (RFC 792; RFC 1122 section 3.2.2; RFC 1812 section 4.3.2.3; RFC 4443): whose connection it is about.
//
// Errors are destination unreachable (fragmentation needed among them, RFC 1191), time exceeded, parameter problem, and of ICMPv6
// packet too big. What lies inside is the beginning of a packet that their receiver sent: its IP header, of IPv6 with extension
// headers, and at least 8 bytes of what follows, in which TCP, UDP and ICMP echo have their ports or identifier; those of
// IP_PROTO_ANY are known by their addresses. Routers may cut it there, and what is cut off is not asked for.
// Pure and bounded: nothing is read beyond the outer packet, whatever the lengths inside say. Checksums are not looked at.
// Fuzz target: that of the mux (tests/fuzz/mux).
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "common/packet/parse.h"

#define ICMP_ERROR_L4_BYTES 8 // of the packet inside, which are always there

struct icmp_error {
	uint16_t l3_off; // of the IP header inside, from the start of the frame, bytes
	uint16_t l4_off; // of its TCP, UDP or ICMP header
	uint16_t l4_bytes; // of it and what follows that are there: ICMP_ERROR_L4_BYTES or more
	uint8_t
		protocol; // IP_PROTO_TCP, IP_PROTO_UDP, IP_PROTO_ICMP or _ICMP6 (an echo request or reply), or one of IP_PROTO_ANY
	bool is_ip6; // as the error itself is
	be32 src; // of IPv6 both are 0, and for the caller to fill in, who has the names: icmp_error_src6
	be32 dst;
	be16 src_port; // of an echo request: its identifier; of a reply, and of IP_PROTO_ANY: 0
	be16 dst_port; // of an echo reply: its identifier; of a request, and of IP_PROTO_ANY: 0
};

static inline bool icmp_type_is_error(uint8_t type)
{
	return type == ICMP_UNREACHABLE || type == ICMP_TIME_EXCEEDED || type == ICMP_PARAMETER_PROBLEM;
}

static inline bool icmp6_type_is_error(uint8_t type)
{
	return type >= ICMP6_UNREACHABLE && type <= ICMP6_PARAMETER_PROBLEM;
}

// What an ICMP packet of either family is. Echo with another code than 0 is ICMP_KIND_OTHER; all ND is.
enum icmp_kind { ICMP_KIND_OTHER, ICMP_KIND_ECHO, ICMP_KIND_ECHO_REPLY, ICMP_KIND_ERROR };

// `p` is of this frame (parse_ip4 or parse_ip6 was DROP_NONE), and its protocol is that of ICMP of its family or not: then it is
// ICMP_KIND_OTHER.
static inline enum icmp_kind icmp_kind_of(const uint8_t *frame, const struct parsed *p)
{
	const struct icmp_header *icmp = (const struct icmp_header *)(frame + p->l4_off);
	if (p->protocol != (p->is_ip6 ? IP_PROTO_ICMP6 : IP_PROTO_ICMP))
		return ICMP_KIND_OTHER;
	if (p->is_ip6 ? icmp6_type_is_error(icmp->type) : icmp_type_is_error(icmp->type))
		return ICMP_KIND_ERROR;
	if (icmp->code != 0)
		return ICMP_KIND_OTHER;
	if (icmp->type == (p->is_ip6 ? ICMP6_ECHO : ICMP_ECHO))
		return ICMP_KIND_ECHO;
	return icmp->type == (p->is_ip6 ? ICMP6_ECHO_REPLY : ICMP_ECHO_REPLY) ? ICMP_KIND_ECHO_REPLY : ICMP_KIND_OTHER;
}

static inline const uint8_t *icmp_error_src6(const uint8_t *frame, const struct icmp_error *e)
{
	return ((const struct ip6_header *)(frame + e->l3_off))->src;
}

static inline const uint8_t *icmp_error_dst6(const uint8_t *frame, const struct icmp_error *e)
{
	return ((const struct ip6_header *)(frame + e->l3_off))->dst;
}

// `p` is of this frame (parse_ip4 or parse_ip6 was DROP_NONE), and its protocol is ICMP of its family. DROP_ICMP_IGNORED when it is no
// error; DROP_ICMP_UNKNOWN when nothing can be learned from what is inside: cut too short, of the other family, not the first
// fragment, extension headers as parse.h refuses them, a tunnel's packet, or ICMP other than echo. *ret_error is filled on DROP_NONE only.
enum drop_reason icmp_error_parse(const uint8_t *frame, const struct parsed *p, struct icmp_error *ret_error);
