// ICMP that the load balancer speaks itself (RFC 792, RFC 1122 section 3.2.2).
#pragma once

#include <stdint.h>

#include "common/packet/icmp_error.h"
#include "common/packet/parse.h"

// Turns an echo request, in its own buffer, into its reply: addresses and MACs swapped, TTL anew, checksums updated
// incrementally (a damaged request gives a damaged reply). `p` is of this frame and holds an ICMP echo request.
void icmp_write_echo_reply(uint8_t *frame, const struct parsed *p);

// The same of a fragment of such a request that is not its first, and so has no ICMP header: what changes in that is known by the
// first one's checksum alone, which covers the whole.
void icmp_write_echo_reply_fragment(uint8_t *frame, const struct parsed *p);

#define ICMP_FRAGMENTATION_NEEDED 4 // code of ICMP_UNREACHABLE (RFC 1191)
#define ICMP_ADMIN_PROHIBITED 13 // code of ICMP_UNREACHABLE (RFC 1812 section 5.2.7.1)
#define ICMP_ERROR_BYTES (IP4_BYTES + 8) // what an error has in front of the packet that it is about
#define ICMP_ERROR_PACKET_BYTES 576 // the most that it has as a whole (RFC 1812 section 4.3.2.3)

// Writes an ICMP error about the IP packet of this frame, in the name of its destination, to its source: the headers go into
// the ICMP_ERROR_BYTES in front of the packet (which may be in front of the frame: the buffer must have that room), the
// packet stays where it is and is cut. Returns how many bytes the error has, from frame + p->l3_off - ICMP_ERROR_BYTES on.
uint32_t icmp_write_error(uint8_t *frame, const struct parsed *p, uint8_t type, uint8_t code);

struct icmp_answer {
	be32 src; // in whose name
	uint8_t type;
	uint8_t code;
	uint16_t mtu; // of ICMP_FRAGMENTATION_NEEDED, bytes (RFC 1191 section 4); else 0
};

// The same, with all that may differ.
uint32_t icmp_write_answer(uint8_t *frame, const struct parsed *p, const struct icmp_answer *a);

// May this packet be answered with an error at all? Not an ICMP error, a fragment but the first, or what a group or nobody sent
// (RFC 1122 section 3.2.2, RFC 1812 section 4.3.2.7). `p` is of this frame: parse_ip4 was DROP_NONE or DROP_FRAGMENT.
bool icmp_may_answer(const uint8_t *frame, const struct parsed *p);

// Rewrites an ICMP error as the connection that it is about is rewritten: its own destination and the source of the packet
// inside (an error on its way to who sent that packet), with all checksums that are there, incrementally: what was damaged
// stays damaged. `p` and `e` are of this frame.
void icmp_rewrite_error_dst(uint8_t *frame, const struct parsed *p, const struct icmp_error *e, be32 new_addr,
                            be16 new_port);

// Its own source and the destination of the packet inside (an error from who received that packet).
void icmp_rewrite_error_src(uint8_t *frame, const struct parsed *p, const struct icmp_error *e, be32 new_addr,
                            be16 new_port);
