// Packets in one line of text, for the tables of golden tests: written by people, encoded to bytes, compared byte for byte.
//
//   tcp 198.51.100.7:40000 > 203.0.113.10:80 S mss=1460 data=20 ttl=64 df
//   udp 198.51.100.7:40000 > 203.0.113.10:53 data=12 nosum
//   icmp 198.51.100.7 > 203.0.113.10 8/0 id=7 seq=1 data=56
//   icmp 192.0.2.1 > 203.0.113.10 3/4 mtu=1400 ( tcp 203.0.113.10:80 > 198.51.100.7:40000 A data=1000 ) inner=28
//   ipip 10.0.0.31 > 10.1.1.11 df ( tcp ... )
//   proto=47 198.51.100.7 > 203.0.113.10 data=20
//   arp request 02:00:00:00:00:01 10.0.0.1 > 10.0.0.31
//   raw 0800450000...
//
// Fields that every kind has, with what they are when left out: from=MAC and to=MAC (those of the port), ttl=64, id=4660 (of ICMP: ipid=), tos=0,
// df (not set). What makes a packet wrong or less: frag=OFFSET or frag=OFFSET+ (bytes; + means that more follow), piece=OFFSET:LENGTH (only
// these bytes of the IP payload, as the fragment that they are), opts=N (bytes of IP options, no-operations), ihl=N, ver=N, len=N
// (total length as written), badsum (of TCP, UDP, ICMP), badip (of the IP header), type=HEX (Ethernet), vlan=N, pad=N (bytes behind the
// packet), cut=N (the frame ends after N bytes), poke=OFFSET:HEX (bytes of the frame, last of all).
// TCP: flags of SAFRPU or "-", seq=1, ack=0 (1 with A), win=65535, mss=N, data=N, off=N (data offset in words). UDP: ulen=N (length as written).
// Data is a pattern that depends on its place only, so that a piece of a packet has the bytes of that piece.
#pragma once

#include "tests/support/packet_builder.h"

// MACs of a frame whose line does not say them.
struct notation_port {
	struct mac from;
	struct mac to;
};

// False: the line is wrong; *ret_what says where, for people.
bool notation_encode(const char *line, const struct notation_port *port, struct test_frame *ret_frame,
                     const char **ret_what);
