// Rewriting addresses and ports of TCP and UDP, with incremental checksums (RFC 3022 section 4.1, RFC 1624): nat_* over IPv4, nat6_*
// over IPv6, which has no checksum of its own; those of TCP, UDP and ICMPv6 cover the addresses (RFC 8200 section 8.1).
//
// Rewriting and rewriting back gives the same bytes. (RFC 768: a UDP checksum of 0
// means "none" and stays 0; a computed 0 is sent as 0xffff.) Payload is never read.
#pragma once

#include <stdint.h>

#include "common/packet/checksum.h"
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

// Replaces the destination address of an IPv6 packet, 16 bytes that may lie anywhere, and its port: of TCP and UDP; of ICMPv6, an echo
// request or reply, it is the identifier (RFC 5508 section 3.1). UDP-Lite and DCCP keep theirs, and their checksums follow the
// address; of all other protocols only the address changes. `p` is of this frame (parse_ip6 was DROP_NONE), or of a first fragment
// after fragment_read_ports. A UDP checksum of 0, which IPv6 does not know, stays 0.
void nat6_rewrite_dst(uint8_t *frame, const struct parsed *p, const uint8_t *new_dst, be16 new_port);
void nat6_rewrite_src(uint8_t *frame, const struct parsed *p, const uint8_t *new_src, be16 new_port);

// The same with what the checksum changes by, for who keeps it with a flow: delta = checksum_fold(checksum_delta of the addresses + that of
// the port or identifier); nat6_delta makes it. The result is the same to the bit.
void nat6_apply_dst(uint8_t *frame, const struct parsed *p, const uint8_t *new_dst, be16 new_port, uint16_t delta);
void nat6_apply_src(uint8_t *frame, const struct parsed *p, const uint8_t *new_src, be16 new_port, uint16_t delta);

// Of protocols whose ports are not rewritten, give the same port twice.
static inline uint16_t nat6_delta(const uint8_t *old_addr, const uint8_t *new_addr, be16 old_port, be16 new_port)
{
	return checksum_fold((uint32_t)checksum_delta(old_addr, new_addr, 16) + (uint16_t)~old_port + new_port);
}

// A fragment that is not the first.
void nat6_rewrite_fragment_dst(uint8_t *frame, const struct parsed *p, const uint8_t *new_dst);
void nat6_rewrite_fragment_src(uint8_t *frame, const struct parsed *p, const uint8_t *new_src);

// Lowers the MSS option of a TCP SYN to max_mss when it is above; adds none (RFC 9293 3.7.1: without one the peer
// assumes 536; over IPv6 1220). Malformed options are left as they are. Returns true when it changed the packet. Of both families.
bool nat_clamp_mss(uint8_t *frame, const struct parsed *p, uint16_t max_mss);
