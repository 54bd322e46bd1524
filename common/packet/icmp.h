// ICMP that the load balancer speaks itself (RFC 792, RFC 1122 section 3.2.2; ICMPv6: RFC 4443), of the family of the packet that
// it is about: functions look at p->is_ip6. ICMPv6 has a checksum over addresses, too (RFC 4443 section 2.3).
#pragma once

#include <stdint.h>

#include "common/packet/icmp_error.h"
#include "common/packet/parse.h"

// Turns an echo request, in its own buffer, into its reply: addresses and MACs swapped, TTL anew, checksums updated
// incrementally (a damaged request gives a damaged reply). `p` is of this frame and holds an echo request (ICMP_KIND_ECHO).
void icmp_write_echo_reply(uint8_t *frame, const struct parsed *p);

// The same of a fragment of such a request that is not its first, and so has no ICMP header: what changes in that is known by the
// first one's checksum alone, which covers the whole.
void icmp_write_echo_reply_fragment(uint8_t *frame, const struct parsed *p);

#define ICMP_PROTOCOL_UNREACHABLE 2 // code of ICMP_UNREACHABLE (RFC 1122 section 3.2.2.1)
#define ICMP_PORT_UNREACHABLE 3 // code of ICMP_UNREACHABLE (RFC 792)
#define ICMP_FRAGMENTATION_NEEDED 4 // code of ICMP_UNREACHABLE (RFC 1191)
#define ICMP_ADMIN_PROHIBITED 13 // code of ICMP_UNREACHABLE (RFC 1812 section 5.2.7.1)
#define ICMP_ERROR_BYTES (IP4_BYTES + 8) // what an error has in front of the packet that it is about
#define ICMP_ERROR_PACKET_BYTES 576 // the most that it has as a whole (RFC 1812 section 4.3.2.3)
#define ICMP6_ERROR_BYTES (IP6_BYTES + 8)
#define ICMP6_ERROR_PACKET_BYTES IP6_MTU_MIN // RFC 4443 section 2.4 (c)

#define ICMP6_ADMIN_PROHIBITED 1 // code of ICMP6_UNREACHABLE (RFC 4443 section 3.1)
#define ICMP6_ADDRESS_UNREACHABLE 3 // code of ICMP6_UNREACHABLE
#define ICMP6_PORT_UNREACHABLE 4 // code of ICMP6_UNREACHABLE
#define ICMP6_UNKNOWN_NEXT_HEADER 1 // code of ICMP6_PARAMETER_PROBLEM (RFC 4443 section 3.4)

// What an error says, in words that both families have.
enum icmp_meaning {
	ICMP_SAYS_PORT, // port unreachable
	ICMP_SAYS_PROTOCOL, // protocol unreachable; of ICMPv6 an unknown next header
	ICMP_SAYS_PROHIBITED, // by an administrator
	ICMP_SAYS_TOO_BIG, // fragmentation needed, packet too big: with an MTU
	ICMP_SAYS_TTL, // time exceeded on the way
};

// In front of the packet that it is about.
static inline uint32_t icmp_error_bytes(const struct parsed *p)
{
	return p->is_ip6 ? ICMP6_ERROR_BYTES : ICMP_ERROR_BYTES;
}

struct icmp_answer {
	be32 src; // in whose name; of IPv6 not looked at
	uint8_t type; // of the packet's family: icmp_answer_make
	uint8_t code;
	uint16_t mtu; // of ICMP_FRAGMENTATION_NEEDED and ICMP6_PACKET_TOO_BIG, bytes (RFC 1191 section 4); else 0
	const uint8_t *src6; // of IPv6: in whose name, 16 bytes; NULL: in that of the packet's destination
};

// In the name of the packet's destination.
static inline struct icmp_answer icmp_answer_make(const struct parsed *p, enum icmp_meaning meaning, uint16_t mtu)
{
	static const uint8_t types[2][5][2] = { { { ICMP_UNREACHABLE, ICMP_PORT_UNREACHABLE },
		                                      { ICMP_UNREACHABLE, ICMP_PROTOCOL_UNREACHABLE },
		                                      { ICMP_UNREACHABLE, ICMP_ADMIN_PROHIBITED },
		                                      { ICMP_UNREACHABLE, ICMP_FRAGMENTATION_NEEDED },
		                                      { ICMP_TIME_EXCEEDED, 0 } },
		                                    { { ICMP6_UNREACHABLE, ICMP6_PORT_UNREACHABLE },
		                                      { ICMP6_PARAMETER_PROBLEM, ICMP6_UNKNOWN_NEXT_HEADER },
		                                      { ICMP6_UNREACHABLE, ICMP6_ADMIN_PROHIBITED },
		                                      { ICMP6_PACKET_TOO_BIG, 0 },
		                                      { ICMP6_TIME_EXCEEDED, 0 } } };
	const uint8_t *t = types[p->is_ip6][meaning];
	return (struct icmp_answer){ .src = p->dst, .type = t[0], .code = t[1], .mtu = mtu };
}

// Writes an ICMP error about the IP packet of this frame, in the name of its destination, to its source: the headers go into the
// icmp_error_bytes(p) in front of the packet (which may be in front of the frame: the buffer must have that room), the
// packet stays where it is and is cut. Returns how many bytes the error has, from frame + p->l3_off - icmp_error_bytes(p) on.
// `type` and `code` are of the packet's family.
uint32_t icmp_write_error(uint8_t *frame, const struct parsed *p, uint8_t type, uint8_t code);

// The same, with all that may differ. An MTU below what every way must have (IP6_MTU_MIN, RFC 8200 section 5) is raised to that.
uint32_t icmp_write_answer(uint8_t *frame, const struct parsed *p, const struct icmp_answer *a);

// May this packet be answered with an error at all? Not an ICMP error, a fragment but the first, or what a group or nobody sent
// (RFC 1122 section 3.2.2, RFC 1812 section 4.3.2.7, RFC 4443 section 2.4 (e)). `p` is of this frame: parse_ip4 or parse_ip6 was
// DROP_NONE or DROP_FRAGMENT.
bool icmp_may_answer(const uint8_t *frame, const struct parsed *p);

// Rewrites an ICMP error over IPv4 as the connection that it is about is rewritten: its own destination and the source of the packet
// inside (an error on its way to who sent that packet), with all checksums that are there, incrementally: what was damaged
// stays damaged. `p` and `e` are of this frame.
void icmp_rewrite_error_dst(uint8_t *frame, const struct parsed *p, const struct icmp_error *e, be32 new_addr,
                            be16 new_port);

// Its own source and the destination of the packet inside (an error from who received that packet).
void icmp_rewrite_error_src(uint8_t *frame, const struct parsed *p, const struct icmp_error *e, be32 new_addr,
                            be16 new_port);

// The same over IPv6, where new_addr is 16 bytes, which lie outside of the error.
void icmp6_rewrite_error_dst(uint8_t *frame, const struct parsed *p, const struct icmp_error *e,
                             const uint8_t *new_addr, be16 new_port);
void icmp6_rewrite_error_src(uint8_t *frame, const struct parsed *p, const struct icmp_error *e,
                             const uint8_t *new_addr, be16 new_port);
