// The headers of the wire, as they lie in a frame: packed, unaligned, network byte order.
// Sources: IEEE 802.3, RFC 826 (ARP), RFC 791 (IPv4), RFC 8200 (IPv6), RFC 9293 (TCP), RFC 768 (UDP), RFC 792 (ICMP),
// RFC 4443 (ICMPv6), RFC 4861 (Neighbor Discovery).
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "common/base/bytes.h"

#define PACKED __attribute__((packed))

#define MAC_BYTES 6

enum { ETHER_IP4 = 0x0800, ETHER_ARP = 0x0806, ETHER_IP6 = 0x86dd };

enum ip_protocol {
	IP_PROTO_HOP_BY_HOP = 0, // of IPv6 only
	IP_PROTO_ICMP = 1,
	IP_PROTO_IPIP = 4, // RFC 2003
	IP_PROTO_TCP = 6,
	IP_PROTO_UDP = 17,
	IP_PROTO_DCCP = 33, // RFC 4340
	IP_PROTO_IP6 = 41, // IPv6 inside: RFC 2473, RFC 4213
	IP_PROTO_ROUTING = 43, // of IPv6, as the next ones: RFC 8200 section 4
	IP_PROTO_FRAGMENT = 44,
	IP_PROTO_ICMP6 = 58, // RFC 4443
	IP_PROTO_NONE = 59, // nothing follows
	IP_PROTO_DESTINATION = 60,
	IP_PROTO_UDPLITE = 136, // RFC 3828
	IP_PROTO_ANY = 255, // reserved by IANA: of an endpoint, see ip_protocol_is_any
};

// ICMP of either version: to a VIP it is the mux's.
static inline bool ip_protocol_is_icmp(uint8_t protocol)
{
	return protocol == IP_PROTO_ICMP || protocol == IP_PROTO_ICMP6;
}

// A packet inside a packet: what hosts and muxes speak among themselves.
static inline bool ip_protocol_is_tunnel(uint8_t protocol)
{
	return protocol == IP_PROTO_IPIP || protocol == IP_PROTO_IP6;
}

// The protocols that an endpoint of IP_PROTO_ANY takes: those whose ports, if they have any, are not looked at.
static inline bool ip_protocol_is_any(uint8_t protocol)
{
	return !ip_protocol_is_icmp(protocol) && !ip_protocol_is_tunnel(protocol) && protocol != IP_PROTO_TCP &&
	       protocol != IP_PROTO_UDP && protocol != 0 && protocol != IP_PROTO_ANY;
}

// What the endpoint of packets of this protocol has: its own, or, with port 0, IP_PROTO_ANY.
static inline uint8_t ip_protocol_of_endpoint(uint8_t protocol)
{
	return ip_protocol_is_any(protocol) ? IP_PROTO_ANY : protocol;
}

struct mac {
	uint8_t bytes[MAC_BYTES];
} PACKED;

struct eth_header {
	struct mac dst;
	struct mac src;
	be16 ether_type;
} PACKED;

struct arp_packet {
	be16 hardware; // 1: Ethernet
	be16 protocol; // ETHER_IP4
	uint8_t hardware_bytes;
	uint8_t protocol_bytes;
	be16 operation; // 1 request, 2 reply
	struct mac sender_mac;
	be32 sender_ip;
	struct mac target_mac;
	be32 target_ip;
} PACKED;

struct ip4_header {
	uint8_t version_ihl;
	uint8_t tos;
	be16 total_length;
	be16 id;
	be16 fragment; // flags and offset
	uint8_t ttl;
	uint8_t protocol;
	be16 checksum;
	be32 src;
	be32 dst;
} PACKED;

enum { IP4_DONT_FRAGMENT = 0x4000, IP4_MORE_FRAGMENTS = 0x2000, IP4_OFFSET_MASK = 0x1fff };

struct ip6_header {
	be32 version_class_label; // 4 bits version, 8 bits traffic class, 20 bits flow label
	be16 payload_length; // all that follows this header
	uint8_t next_header;
	uint8_t hop_limit;
	uint8_t src[16];
	uint8_t dst[16];
} PACKED;

// How all extension headers that are walked through begin (RFC 8200 section 4).
struct ip6_extension {
	uint8_t next_header;
	uint8_t length; // in 8 bytes, the first 8 not counted
} PACKED;

struct ip6_fragment {
	uint8_t next_header;
	uint8_t reserved;
	be16 offset_more; // 13 bits offset in 8 bytes, 2 bits reserved, more fragments
	be32 id;
} PACKED;

enum { IP6_MORE_FRAGMENTS = 0x0001, IP6_OFFSET_MASK = 0xfff8 };

struct tcp_header {
	be16 src_port;
	be16 dst_port;
	be32 seq;
	be32 ack;
	uint8_t data_offset; // upper four bits, in words
	uint8_t flags;
	be16 window;
	be16 checksum;
	be16 urgent;
} PACKED;

enum tcp_flag { TCP_FIN = 0x01, TCP_SYN = 0x02, TCP_RST = 0x04, TCP_PSH = 0x08, TCP_ACK = 0x10 };

struct udp_header {
	be16 src_port;
	be16 dst_port;
	be16 length;
	be16 checksum; // 0: none was computed
} PACKED;

struct icmp_header {
	uint8_t type;
	uint8_t code;
	be16 checksum;
	be16 id;
	be16 seq;
} PACKED;

enum icmp_type {
	ICMP_ECHO_REPLY = 0,
	ICMP_UNREACHABLE = 3,
	ICMP_ECHO = 8,
	ICMP_TIME_EXCEEDED = 11,
	ICMP_PARAMETER_PROBLEM = 12,
};

// The same header (struct icmp_header); RFC 4443 section 2.1 and RFC 4861 section 4.
enum icmp6_type {
	ICMP6_UNREACHABLE = 1,
	ICMP6_PACKET_TOO_BIG = 2,
	ICMP6_TIME_EXCEEDED = 3,
	ICMP6_PARAMETER_PROBLEM = 4,
	ICMP6_INFORMATIONAL = 128, // all from here on are no errors
	ICMP6_ECHO = 128,
	ICMP6_ECHO_REPLY = 129,
	ICMP6_ROUTER_SOLICITATION = 133,
	ICMP6_ROUTER_ADVERTISEMENT = 134,
	ICMP6_NEIGHBOR_SOLICITATION = 135,
	ICMP6_NEIGHBOR_ADVERTISEMENT = 136,
	ICMP6_REDIRECT = 137,
};

#define ETH_BYTES 14
#define IP4_BYTES 20
#define IP4_TCP_BYTES 40 // of both headers, without options
#define IP6_BYTES 40
#define IP6_FRAGMENT_BYTES 8
#define IP6_TCP_BYTES 60
#define IP6_MTU_MIN 1280 // RFC 8200 section 5

_Static_assert(sizeof(struct eth_header) == ETH_BYTES, "Ethernet header");
_Static_assert(sizeof(struct arp_packet) == 28, "ARP over Ethernet and IPv4");
_Static_assert(sizeof(struct ip4_header) == IP4_BYTES, "IPv4 header without options");
_Static_assert(sizeof(struct ip6_header) == IP6_BYTES, "IPv6 header");
_Static_assert(sizeof(struct ip6_fragment) == IP6_FRAGMENT_BYTES, "IPv6 fragment header");
_Static_assert(sizeof(struct tcp_header) == 20, "TCP header without options");
_Static_assert(sizeof(struct udp_header) == 8, "UDP header");
