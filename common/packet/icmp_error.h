// The packet inside an ICMP error (RFC 792; RFC 1122 section 3.2.2; RFC 1812 section 4.3.2.3): whose connection it is about.
//
// Errors are destination unreachable (fragmentation needed among them, RFC 1191), time exceeded and parameter problem. What
// lies inside is the beginning of a packet that their receiver sent: its IP header and at least 8 bytes of what follows, in
// which TCP, UDP and ICMP echo have their ports or identifier. Routers may cut it there, and what is cut off is not asked for.
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
	uint8_t protocol; // of ICMP: an echo request or reply
	be32 src;
	be32 dst;
	be16
		src_port; // of an echo request: its identifier; of a reply: 0. Of other protocols than these and TCP and UDP: 0
	be16 dst_port; // of an echo reply: its identifier; of a request: 0. Likewise
};

static inline bool icmp_type_is_error(uint8_t type)
{
	return type == ICMP_UNREACHABLE || type == ICMP_TIME_EXCEEDED || type == ICMP_PARAMETER_PROBLEM;
}

// `p` is of this frame (parse_ip4 was DROP_NONE), and its protocol is ICMP. DROP_ICMP_IGNORED when it is no error;
// DROP_ICMP_UNKNOWN when nothing can be learned from what is inside: cut too short, not the first fragment, or
// ICMP other than echo. *ret_error is filled on DROP_NONE only.
enum drop_reason icmp_error_parse(const uint8_t *frame, const struct parsed *p, struct icmp_error *ret_error);
