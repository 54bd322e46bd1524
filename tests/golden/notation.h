// Packets in one line of text, for the tables of golden tests: written by people, encoded to bytes, compared byte for byte.
//
//   tcp 198.51.100.7:40000 > 203.0.113.10:80 S mss=1460 data=20 ttl=64 df
//   udp 198.51.100.7:40000 > 203.0.113.10:53 data=12 nosum
//   icmp 198.51.100.7 > 203.0.113.10 8/0 id=7 seq=1 data=56
//   icmp 192.0.2.1 > 203.0.113.10 3/4 mtu=1400 ( tcp 203.0.113.10:80 > 198.51.100.7:40000 A data=1000 ) inner=28
//   ipip 10.0.0.31 > 10.1.1.11 df ( tcp ... )
//   tcp [2001:db8::7]:40000 > [2001:db8:a::10]:80 S ext=60:16
//   icmp 2001:db8::7 > 2001:db8:a::10 128/0 id=7 seq=1
//   nd solicit fe80::1 > ff02::1:ff00:31 2001:db8::31 mac=02:00:00:00:00:01
//   proto=47 198.51.100.7 > 203.0.113.10 data=20
//   arp request 02:00:00:00:00:01 10.0.0.1 > 10.0.0.31
//   raw 0800450000...
//
// The family is that of the addresses: icmp is ICMPv6 then, with its types, and ipip (protocol 4 or 41) goes by what is inside.
// nd: solicit and advertise have a target, advertise may be router, solicited, override; rsolicit; radvertise with hops=64, lifetime=0, mtu=N;
// all with mac=MAC (the option), code=0. Its ttl is 255 when left out.
//
// Fields that every kind has, with what they are when left out: from=MAC and to=MAC (those of the port), ttl=64, id=4660 (of ICMP: ipid=), tos=0,
// df (not set). What makes a packet wrong or less: frag=OFFSET or frag=OFFSET+ (bytes; + means that more follow), piece=OFFSET:LENGTH (only
// these bytes of the IP payload, as the fragment that they are), opts=N (bytes of IP options, no-operations), ihl=N, ver=N, len=N
// (total length as written), badsum (of TCP, UDP, ICMP), badip (of the IP header), type=HEX (Ethernet), vlan=N, pad=N (bytes behind the
// packet), cut=N (the frame ends after N bytes), poke=OFFSET:HEX (bytes of the frame, last of all).
// Of IPv6: ttl is the hop limit, tos the traffic class, label=N; id is the Fragment header's, which is there with frag= (frag=0: one that is
// all of its packet) or piece= (of what lies behind it); len is the payload length; ext=TYPE,... extension headers in front of that, fext=
// behind it: TYPE:BYTES (8 when left out), of Routing headers 43/ROUTING_TYPE.SEGMENTS_LEFT (2.0). There is no df, opts, ihl, badip.
// ICMP: mtu=N, of ICMPv6 also ptr=N (both are the same 32 bits). TCP: flags of SAFRPU or "-", seq=1, ack=0 (1 with A), win=65535, mss=N, data=N, off=N (data offset in words). UDP: ulen=N (length as written).
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
