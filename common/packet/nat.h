// Rewriting addresses and ports of TCP and UDP over IPv4, with incremental checksums (RFC 3022 section 4.1, RFC 1624).
//
// Rewriting and rewriting back gives the same bytes. (RFC 768: a UDP checksum of 0
// means "none" and stays 0; a computed 0 is sent as 0xffff.) Payload is never read.
#pragma once

#include <stdint.h>

#include "common/packet/parse.h"

// Replaces destination address and port. `p` is of this frame, and its protocol is TCP or UDP.
void nat_rewrite_dst(uint8_t *frame, const struct parsed *p, be32 new_dst, be16 new_port);

// Replaces source address and port, likewise.
void nat_rewrite_src(uint8_t *frame, const struct parsed *p, be32 new_src, be16 new_port);

// The same for a fragment that is not the first: it has no ports, and what changes in the checksum is changed in the first one.
void nat_rewrite_fragment_dst(uint8_t *frame, const struct parsed *p, be32 new_dst);
void nat_rewrite_fragment_src(uint8_t *frame, const struct parsed *p, be32 new_src);

// Replaces the Identification.
void ip4_put_id(struct ip4_header *ip, be16 id);

// Lowers the MSS option of a TCP SYN to max_mss when it is above; adds none (RFC 9293 3.7.1: without one the peer
// assumes 536). Malformed options are left as they are. Returns true when it changed the packet.
bool nat_clamp_mss(uint8_t *frame, const struct parsed *p, uint16_t max_mss);
