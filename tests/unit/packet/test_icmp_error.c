// The packet inside an ICMP error: tables of {what, frame, reason, tuple}, and every way to cut it short.
#include "tests/support/suite.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "common/packet/icmp_error.h"
#include "tests/support/packet_builder.h"

enum { ALL = UINT16_MAX, INSIDE = ETH_BYTES + IP4_BYTES + sizeof(struct icmp_header) };

// A router says something about a packet from the VIP to a server.
static const struct test_tuple outer = { .src = "192.0.2.1", .dst = "203.0.113.10" };
static const struct test_tuple sent = {
	.src = "203.0.113.10", .dst = "198.51.100.7", .src_port = 1031, .dst_port = 443
};

static enum drop_reason parse(const uint8_t *frame, uint32_t len, struct icmp_error *ret_error)
{
	struct parsed p;
	enum drop_reason reason = parse_ip4(frame, len, ETH_BYTES, &p);
	return reason == DROP_NONE ? icmp_error_parse(frame, &p, ret_error) : reason;
}

static struct test_frame about(struct test_frame inside, uint32_t n)
{
	return test_icmp_error(&outer, ICMP_UNREACHABLE, 1, &inside, n);
}

static struct test_frame of_type(uint8_t type)
{
	struct test_frame inside = test_tcp(&sent, TCP_SYN, NULL, 0);
	return test_icmp_error(&outer, type, 0, &inside, ALL);
}

// One byte of the packet inside is another.
static struct test_frame with_byte(struct test_frame f, uint32_t offset, uint8_t value)
{
	test_data(&f)[INSIDE + offset] = value;
	test_fix_checksums(&f);
	return f;
}

static struct test_frame fragment_about(uint16_t offset, bool more)
{
	struct test_frame inside = test_udp(&sent, NULL, 100);
	test_set_fragment(&inside, offset, more);
	return about(inside, ALL);
}

struct error_case {
	const char *what;
	struct test_frame frame;
	enum drop_reason reason;
	uint8_t protocol;
	uint16_t src_port;
	uint16_t dst_port;
	uint16_t l4_bytes;
};

START_TEST(what_is_inside_is_read_from_as_little_as_the_error_carries)
{
	struct test_tuple with_options = sent;
	with_options.ip_options_bytes = 40;
	struct test_frame tcp = test_tcp(&sent, TCP_SYN, NULL, 100);
	struct test_frame udp = test_udp(&sent, NULL, 4);
	struct test_frame echo = test_icmp(&sent, ICMP_ECHO, 0, 1032, 7, NULL, 20);
	struct test_frame reply = test_icmp(&sent, ICMP_ECHO_REPLY, 0, 1032, 7, NULL, 20);
	struct test_frame nested = of_type(ICMP_UNREACHABLE);
	static const uint8_t gre[20] = { 0 };
	struct error_case cases[] = {
		{ "all of a TCP packet", about(tcp, ALL), DROP_NONE, IP_PROTO_TCP, 1031, 443, 120 },
		{ "8 bytes of TCP", about(tcp, 28), DROP_NONE, IP_PROTO_TCP, 1031, 443, 8 },
		{ "7 bytes of TCP", about(tcp, 27), DROP_ICMP_UNKNOWN, 0, 0, 0, 0 },
		{ "no header", about(tcp, 0), DROP_ICMP_UNKNOWN, 0, 0, 0, 0 },
		{ "UDP", about(udp, ALL), DROP_NONE, IP_PROTO_UDP, 1031, 443, 12 },
		{ "8 bytes of UDP", about(udp, 28), DROP_NONE, IP_PROTO_UDP, 1031, 443, 8 },
		{ "an echo request", about(echo, ALL), DROP_NONE, IP_PROTO_ICMP, 1032, 0, 28 },
		{ "an echo reply", about(reply, ALL), DROP_NONE, IP_PROTO_ICMP, 0, 1032, 28 },
		{ "IP options", about(test_tcp(&with_options, TCP_SYN, NULL, 0), 68), DROP_NONE, IP_PROTO_TCP, 1031, 443, 8 },
		{ "IP options, cut", about(test_tcp(&with_options, TCP_SYN, NULL, 0), 67), DROP_ICMP_UNKNOWN, 0, 0, 0, 0 },
		{ "a first fragment", fragment_about(0, true), DROP_NONE, IP_PROTO_UDP, 1031, 443, 108 },
		{ "another fragment", fragment_about(3, false), DROP_ICMP_UNKNOWN, 0, 0, 0, 0 },
		{ "an ICMP error", about(nested, ALL), DROP_ICMP_UNKNOWN, 0, 0, 0, 0 },
		{ "another protocol", about(test_ip_proto(&sent, 47, gre, 20), ALL), DROP_NONE, 47, 0, 0, 20 },
		{ "version 6", with_byte(of_type(3), 0, 0x65), DROP_ICMP_UNKNOWN, 0, 0, 0, 0 },
		{ "a header of 16 bytes", with_byte(of_type(3), 0, 0x44), DROP_ICMP_UNKNOWN, 0, 0, 0, 0 },
		{ "a header beyond what is there", with_byte(of_type(3), 0, 0x4f), DROP_ICMP_UNKNOWN, 0, 0, 0, 0 },
		{ "a length below the header", with_byte(of_type(3), 3, 19), DROP_ICMP_UNKNOWN, 0, 0, 0, 0 },
		{ "a length that leaves out the end", with_byte(of_type(3), 3, 30), DROP_NONE, IP_PROTO_TCP, 1031, 443, 10 },
		{ "a length beyond what is there", with_byte(of_type(3), 2, 9), DROP_NONE, IP_PROTO_TCP, 1031, 443, 20 },
		{ "time exceeded", of_type(ICMP_TIME_EXCEEDED), DROP_NONE, IP_PROTO_TCP, 1031, 443, 20 },
		{ "parameter problem", of_type(ICMP_PARAMETER_PROBLEM), DROP_NONE, IP_PROTO_TCP, 1031, 443, 20 },
		{ "source quench", of_type(4), DROP_ICMP_IGNORED, 0, 0, 0, 0 },
		{ "redirect", of_type(5), DROP_ICMP_IGNORED, 0, 0, 0, 0 },
		{ "echo", of_type(ICMP_ECHO), DROP_ICMP_IGNORED, 0, 0, 0, 0 },
	};
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		struct error_case *c = &cases[i];
		struct icmp_error e = { 0 };
		enum drop_reason reason = parse(test_data(&c->frame), c->frame.len, &e);
		ck_assert_msg(reason == c->reason, "%s: %s", c->what, drop_reason_name(reason));
		ck_assert_msg(e.protocol == c->protocol && e.l4_bytes == c->l4_bytes && e.src_port == be16_from(c->src_port) &&
		                  e.dst_port == be16_from(c->dst_port),
		              "%s: protocol %u, %u bytes", c->what, e.protocol, e.l4_bytes);
		if (reason != DROP_NONE)
			continue;
		ck_assert_uint_eq(e.src, test_ip4(sent.src));
		ck_assert_uint_eq(e.dst, test_ip4(sent.dst));
		ck_assert_uint_eq(e.l3_off, INSIDE);
	}
}
END_TEST

START_TEST(no_bytes_lead_beyond_the_packet)
{
	unsigned seed = (unsigned)time(NULL);
	unsigned s = seed;
	uint32_t n_read = 0;
	for (int i = 0; i < 200000; i++) {
		struct test_frame f = about(test_udp(&sent, NULL, (uint32_t)rand_r(&s) % 20), (uint32_t)rand_r(&s) % 60);
		for (int k = rand_r(&s) % 4; k > 0; k--)
			test_data(&f)[ETH_BYTES + IP4_BYTES + (uint32_t)rand_r(&s) % 36] = (uint8_t)rand_r(&s);
		// At the end of its memory, so that ASan sees a read beyond.
		uint8_t *exact = malloc(f.len);
		memcpy(exact, test_data(&f), f.len);
		struct icmp_error e;
		if (parse(exact, f.len, &e) == DROP_NONE) {
			n_read++;
			ck_assert_msg(e.l4_bytes >= ICMP_ERROR_L4_BYTES && (uint32_t)e.l4_off + e.l4_bytes <= f.len, "seed %u",
			              seed);
		}
		free(exact);
	}
	ck_assert_uint_gt(n_read, 10000);
}
END_TEST

SUITE_MAIN("icmp error", what_is_inside_is_read_from_as_little_as_the_error_carries, no_bytes_lead_beyond_the_packet)
