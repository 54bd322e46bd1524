// Lines of notation against frames of the builder, and bytes by hand.
#include <string.h>

#include "tests/golden/notation.h"
#include "tests/support/suite.h"

static const struct notation_port port = { .from = { { 2, 0, 0, 0, 0, 1 } }, .to = { { 2, 0, 0, 0, 0, 2 } } };
static const struct test_tuple from4 = { "198.51.100.7", "203.0.113.10", 40000, 80, NULL, NULL, 0, 0 };
static const struct test_tuple from6 = { "2001:db8::7", "2001:db8:a::10", 40000, 80, NULL, NULL, 0, 0 };

static struct test_frame read_line(const char *line)
{
	struct test_frame f;
	const char *what;
	ck_assert_msg(notation_encode(line, &port, &f, &what), "%s: %s", line, what);
	return f;
}

static void expect_frame(const char *line, struct test_frame want)
{
	struct test_frame got = read_line(line);
	char text[2][512];
	ck_assert_msg(got.len == want.len && memcmp(test_data(&got), test_data(&want), got.len) == 0,
	              "%s\n  written: %s\n  builder: %s", line, test_format(test_data(&got), got.len, text[0], 512),
	              test_format(test_data(&want), want.len, text[1], 512));
}

START_TEST(lines_are_the_frames_of_the_builder)
{
	struct test_tuple hops = from6, pings4 = from4, pings6 = from6, options = from6, tunnel = { 0 };
	struct test_frame tcp4 = test_tcp(&from4, TCP_SYN, NULL, 20);
	struct test_frame tcp6 = test_tcp(&from6, TCP_SYN, NULL, 20);
	hops.ttl = 3;
	options.ip_options_bytes = 16;
	pings4.src_port = pings4.dst_port = pings6.src_port = pings6.dst_port = 0;
	expect_frame("tcp 198.51.100.7:40000 > 203.0.113.10:80 S data=20", tcp4);
	expect_frame("tcp [2001:db8::7]:40000 > [2001:db8:a::10]:80 S data=20", tcp6);
	expect_frame("udp [2001:db8::7]:40000 > [2001:db8:a::10]:80 data=9 ttl=3", test_udp(&hops, NULL, 9));
	expect_frame("udp [2001:db8::7]:40000 > [2001:db8:a::10]:80 data=9 ext=60:16", test_udp(&options, NULL, 9));
	expect_frame("icmp 198.51.100.7 > 203.0.113.10 8/0 id=7 seq=1 data=8", test_icmp(&pings4, 8, 0, 7, 1, NULL, 8));
	expect_frame("icmp 2001:db8::7 > 2001:db8:a::10 128/0 id=7 seq=1 data=8",
	             test_icmp(&pings6, 128, 0, 7, 1, NULL, 8));
	expect_frame("proto=47 2001:db8::7 > 2001:db8:a::10 data=8", test_ip_proto(&pings6, 47, NULL, 8));
	expect_frame("icmp 2001:db8::7 > 2001:db8:a::10 1/4 ( tcp [2001:db8::7]:40000 > [2001:db8:a::10]:80 S data=20 ) "
	             "inner=48",
	             test_icmp_error(&pings6, 1, 4, &tcp6, 48));
	tunnel = (struct test_tuple){ .src = "2001:db8:b::31", .dst = "2001:db8:c::11" };
	expect_frame("ipip 2001:db8:b::31 > 2001:db8:c::11 ( tcp 198.51.100.7:40000 > 203.0.113.10:80 S data=20 )",
	             test_ipip(&tunnel, &tcp4));
	expect_frame("ipip 2001:db8:b::31 > 2001:db8:c::11 ( tcp [2001:db8::7]:40000 > [2001:db8:a::10]:80 S data=20 )",
	             test_ipip(&tunnel, &tcp6));
	tunnel = (struct test_tuple){ .src = "10.0.0.31", .dst = "10.1.1.11" };
	expect_frame("ipip 10.0.0.31 > 10.1.1.11 df id=0 ( tcp [2001:db8::7]:40000 > [2001:db8:a::10]:80 S data=20 )",
	             test_ipip(&tunnel, &tcp6));
	test_set_fragment(&tcp6, 3, true);
	struct test_frame got =
		read_line("tcp [2001:db8::7]:40000 > [2001:db8:a::10]:80 S data=20 frag=24+ id=4660 badsum");
	ck_assert_mem_eq(test_data(&got), test_data(&tcp6), ETH_BYTES + IP6_BYTES + IP6_FRAGMENT_BYTES + 16);
}
END_TEST

// What the pieces of a packet have behind their Fragment headers is what lies behind that in the whole.
START_TEST(pieces_of_an_ip6_packet_make_the_whole)
{
	struct test_frame whole = read_line("udp [2001:db8::7]:40000 > [2001:db8:a::10]:53 data=40 fext=60:16");
	struct test_frame first =
		read_line("udp [2001:db8::7]:40000 > [2001:db8:a::10]:53 data=40 fext=60:16 piece=0:32 id=9");
	struct test_frame rest =
		read_line("udp [2001:db8::7]:40000 > [2001:db8:a::10]:53 data=40 fext=60:16 piece=32:99 id=9");
	const uint32_t front = ETH_BYTES + IP6_BYTES, piece = front + IP6_FRAGMENT_BYTES;
	static const uint8_t header_first[] = { 60, 0, 0, 1, 0, 0, 0, 9 }, header_rest[] = { 60, 0, 0, 32, 0, 0, 0, 9 };
	ck_assert_uint_eq(whole.len, front + 64);
	ck_assert_uint_eq(first.len, piece + 32);
	ck_assert_uint_eq(rest.len, piece + 32);
	ck_assert_uint_eq(test_data(&first)[20], IP_PROTO_FRAGMENT);
	ck_assert_mem_eq(test_data(&first) + front, header_first, 8);
	ck_assert_mem_eq(test_data(&rest) + front, header_rest, 8);
	ck_assert_mem_eq(test_data(&first) + piece, test_data(&whole) + front, 32);
	ck_assert_mem_eq(test_data(&rest) + piece, test_data(&whole) + front + 32, 32);
}
END_TEST

START_TEST(extension_headers_lie_as_they_are_written)
{
	struct test_frame f =
		read_line("udp [2001:db8::7]:1 > [2001:db8::8]:2 nosum ext=0,43/0.1 fext=60 frag=0 id=1 len=99 label=5 tos=16");
	static const uint8_t headers[] = { 43, 0, 1, 4, 0,  0, 0, 0, 44, 0, 0, 1, 0, 0, 0, 0, 60, 0, 0, 0,
		                               0,  0, 0, 1, 17, 0, 1, 4, 0,  0, 0, 0, 0, 1, 0, 2, 0,  8, 0, 0 };
	static const uint8_t start[] = { 0x61, 0, 0, 5, 0, 99, 0, 64 };
	ck_assert_mem_eq(test_data(&f) + ETH_BYTES, start, sizeof start);
	ck_assert_mem_eq(test_data(&f) + ETH_BYTES + IP6_BYTES, headers, sizeof headers);
	ck_assert_uint_eq(f.len, ETH_BYTES + IP6_BYTES + sizeof headers);
}
END_TEST

START_TEST(neighbor_discovery_is_as_in_the_rfc)
{
	struct test_frame f =
		read_line("nd advertise fe80::1 > 2001:db8::31 fe80::1 mac=02:00:00:00:00:01 router override");
	static const uint8_t want[] = { 136, 0, 0, 0, 0xa0, 0, 0, 0, 0xfe, 0x80, 0, 0, 0, 0, 0, 0,
		                            0,   0, 0, 0, 0,    0, 0, 1, 2,    1,    2, 0, 0, 0, 0, 1 };
	const uint8_t *icmp = test_data(&f) + ETH_BYTES + IP6_BYTES;
	ck_assert_uint_eq(test_data(&f)[21], 255);
	ck_assert_mem_eq(icmp, want, 2);
	ck_assert_mem_eq(icmp + 4, want + 4, sizeof want - 4);
	ck_assert_uint_eq(f.len, ETH_BYTES + IP6_BYTES + sizeof want);
	ck_assert(test_checksums_ok(test_data(&f), f.len, NULL));
	f = read_line("nd radvertise fe80::1 > fe80::2 lifetime=1800 mtu=1440 mac=02:00:00:00:00:01");
	ck_assert_uint_eq(f.len, ETH_BYTES + IP6_BYTES + 32);
	ck_assert(test_checksums_ok(test_data(&f), f.len, NULL));
}
END_TEST

START_TEST(two_families_in_one_packet_are_refused)
{
	struct test_frame f;
	const char *what;
	ck_assert(!notation_encode("tcp [2001:db8::7]:1 > 10.0.0.1:2 S", &port, &f, &what));
	ck_assert(!notation_encode("tcp [2001:db8::7]:1 > [2001:db8::8]:2 S df", &port, &f, &what));
	ck_assert(!notation_encode("tcp [2001:db8::7]:1 > [2001:db8::8]:2 S ext=60:7", &port, &f, &what));
}
END_TEST

SUITE_MAIN("notation", lines_are_the_frames_of_the_builder, pieces_of_an_ip6_packet_make_the_whole,
           extension_headers_lie_as_they_are_written, neighbor_discovery_is_as_in_the_rfc,
           two_families_in_one_packet_are_refused)
