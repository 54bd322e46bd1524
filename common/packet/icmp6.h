// What icmp.h says, of packets over IPv6; for icmp.c, which hands on here by the packet's family. (RFC 4443)
#pragma once

#include "common/packet/icmp.h"

void icmp6_write_echo_reply(uint8_t *frame, const struct parsed *p);
void icmp6_write_echo_reply_fragment(uint8_t *frame, const struct parsed *p);
uint32_t icmp6_write_answer(uint8_t *frame, const struct parsed *p, const struct icmp_answer *a);
bool icmp6_may_answer(const uint8_t *frame, const struct parsed *p);

// Writes the checksum of an ICMPv6 packet anew: of the 32 bytes of addresses, and n bytes at `icmp`, whose field holds anything.
void icmp6_put_checksum(uint8_t *icmp, uint32_t n, const uint8_t *addrs);
