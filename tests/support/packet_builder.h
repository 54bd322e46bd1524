// Frames for tests: built from what they mean, with right checksums, and taken apart again.
//
//   struct test_frame f = test_tcp(&(struct test_tuple){ .src = "198.51.100.7", .dst = "203.0.113.10",
//                                                        .src_port = 40000, .dst_port = 80 }, TCP_SYN, "", 0);
//
// The family is that of the tuple's addresses. Over IPv6 test_icmp and test_icmp_error make ICMPv6, of whose types they are told.
// The bytes lie at data[0..len) of a buffer with TEST_HEADROOM bytes in front, as a packet buffer has, so that a frame can
// be encapsulated in place (test_frame_push). Nothing is allocated. Failures of use (text that is no address) abort.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/packet/headers.h"
#include "common/packet/parse.h"

#define TEST_HEADROOM 128
#define TEST_FRAME_BYTES 2048 // the most a frame can have

struct test_frame {
	uint32_t offset; // of the frame in buf; TEST_HEADROOM at first
	uint32_t len;
	uint8_t buf[TEST_HEADROOM + TEST_FRAME_BYTES];
};

static inline uint8_t *test_data(struct test_frame *f)
{
	return f->buf + f->offset;
}

// Who talks to whom. MACs that are NULL become 02:00:00:00:00:01 (source) and 02:00:00:00:00:02 (destination).
struct test_tuple {
	const char *src;
	const char *dst;
	uint16_t src_port;
	uint16_t dst_port;
	const struct mac *src_mac;
	const struct mac *dst_mac;
	uint8_t ttl; // 0: 64
	uint32_t
		ip_options_bytes; // of IPv4 options (no-operation), a multiple of 4; over IPv6 of a Destination Options header, rounded up to 8
};

extern const struct mac TEST_MAC_A; // 02:00:00:00:00:01
extern const struct mac TEST_MAC_B; // 02:00:00:00:00:02

be32 test_ip4(const char *text);
const uint8_t *test_ip6(const char *text); // 16 bytes, until the eighth call after this one

static inline bool test_is_ip6(const struct test_frame *f)
{
	return f->buf[f->offset + 12] == 0x86 && f->buf[f->offset + 13] == 0xdd;
}

// parse_ip4 or parse_ip6, as the Ethernet type says.
enum drop_reason test_parse(const uint8_t *frame, uint32_t len, struct parsed *ret_parsed);

// Payload: n bytes, from `payload`, or a pattern of the builder's where it is NULL.
struct test_frame test_tcp(const struct test_tuple *t, uint8_t flags, const void *payload, uint32_t n);
// A TCP frame with options: option bytes are padded with zeros to a multiple of 4.
struct test_frame test_tcp_options(const struct test_tuple *t, uint8_t flags, const uint8_t *options,
                                   uint32_t n_options, const void *payload, uint32_t n);
struct test_frame test_udp(const struct test_tuple *t, const void *payload, uint32_t n);
struct test_frame test_icmp(const struct test_tuple *t, uint8_t type, uint8_t code, uint16_t id, uint16_t seq,
                            const void *payload, uint32_t n);
// Any protocol; the payload is what follows the IP header.
struct test_frame test_ip_proto(const struct test_tuple *t, uint8_t protocol, const void *payload, uint32_t n);
struct test_frame test_arp(uint16_t operation, const struct mac *sender_mac, const char *sender_ip,
                           const struct mac *target_mac, const char *target_ip, const struct mac *eth_dst);
// A tunnel's packet around the IP packet of `inner`, between the outer addresses and MACs of t: all four pairs of families.
struct test_frame test_ipip(const struct test_tuple *t, const struct test_frame *inner);

// An ICMP error about the IP packet of `inside`, of which it carries the first n bytes (UINT32_MAX: all).
struct test_frame test_icmp_error(const struct test_tuple *t, uint8_t type, uint8_t code,
                                  const struct test_frame *inside, uint32_t n);

// Makes a fragment of a frame: offset in units of 8 bytes. The IPv4 header's checksum is made anew; an IPv6 packet gets a Fragment
// header behind its IPv6 header, with the identification 0x1234.
void test_set_fragment(struct test_frame *f, uint16_t offset, bool more);

// Writes all checksums of the (outermost) IP packet anew, after a test changed bytes.
void test_fix_checksums(struct test_frame *f);

// Are all checksums of the IP packet right: IP header, and TCP, UDP (0 counts as right over IPv4) or ICMP; through tunnels too?
// Says which is wrong in *ret_what (a string constant), unless that is NULL.
bool test_checksums_ok(const uint8_t *frame, uint32_t len, const char **ret_what);

// "02:..:01 > 02:..:02 ip4 198.51.100.7:40000 > 203.0.113.10:80 tcp S seq 1 ack 0 len 0 ttl 64 id 1"; IP-in-IP shows both.
// Returns buf.
const char *test_format(const uint8_t *frame, uint32_t len, char *buf, size_t size);
