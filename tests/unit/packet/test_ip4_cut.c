#include "common/packet/ip4_cut.h"

#include <string.h>
#include <time.h>

#include "common/packet/checksum.h"
#include "common/packet/fragments.h"
#include "tests/support/packet_builder.h"
#include "tests/support/suite.h"

enum { N_ROUNDS = 20000, NOP = 1, ROUTER_ALERT = 148 };

static unsigned pick(unsigned *seed, unsigned n)
{
	return (unsigned)rand_r(seed) % n;
}

static struct test_frame packet_of(uint32_t options_bytes, uint32_t n)
{
	return test_udp(&(struct test_tuple){ .src = "198.51.100.7",
	                                      .dst = "203.0.113.10",
	                                      .src_port = 40000,
	                                      .dst_port = 53,
	                                      .ip_options_bytes = options_bytes },
	                NULL, n);
}

static uint32_t header_bytes_of(const uint8_t *packet)
{
	return (packet[0] & 0x0fu) * 4u;
}

static struct fragment read_fragment(const uint8_t *packet, uint32_t n)
{
	struct parsed p;
	struct fragment f;
	uint8_t frame[ETH_BYTES + TEST_FRAME_BYTES];
	memcpy(frame + ETH_BYTES, packet, n);
	ck_assert_int_eq(parse_ip4(frame, ETH_BYTES + n, ETH_BYTES, &p), DROP_FRAGMENT);
	ck_assert_uint_eq(p.l3_bytes, n);
	ck_assert_int_eq(fragment_parse(frame, &p, &f), DROP_NONE);
	return f;
}

static bool header_is_right(const uint8_t *packet)
{
	return checksum_compute(packet, header_bytes_of(packet)) == 0;
}

// Both parts together are what was cut.
static void check_parts(const struct test_frame *before, const uint8_t *first, const uint8_t *second,
                        const struct ip4_cut *cut, uint32_t offset, bool is_last, unsigned seed)
{
	const uint8_t *packet = before->buf + before->offset + ETH_BYTES;
	uint32_t n_data = before->len - ETH_BYTES - header_bytes_of(packet);
	struct fragment a = read_fragment(first, cut->first_bytes);
	struct fragment b = read_fragment(second, cut->second_bytes);
	ck_assert_msg(header_is_right(first) && header_is_right(second), "seed %u: checksum", seed);
	ck_assert_uint_eq(a.begin, offset);
	ck_assert_uint_eq(a.end, b.begin);
	ck_assert_uint_eq(b.end, offset + n_data);
	ck_assert(!a.is_last && b.is_last == is_last && a.id == b.id);
	const uint8_t *data = packet + header_bytes_of(packet);
	ck_assert_mem_eq(first + header_bytes_of(first), data, a.end - a.begin);
	ck_assert_mem_eq(second + header_bytes_of(second), data + (a.end - a.begin), b.end - b.begin);
}

START_TEST(two_parts_are_what_was_cut)
{
	unsigned seed = (unsigned)time(NULL);
	for (uint32_t i = 0; i < N_ROUNDS; i++) {
		unsigned round_seed = seed;
		uint8_t second[TEST_FRAME_BYTES];
		struct ip4_cut cut;
		bool more = pick(&seed, 2) == 0; // then in units of eight
		struct test_frame f = packet_of(4 * pick(&seed, 11), more ? 8 * pick(&seed, 225) : 1 + pick(&seed, 1800));
		uint16_t offset = pick(&seed, 2) == 0 ? 0 : (uint16_t)pick(&seed, 4000);
		test_set_fragment(&f, offset, more);
		struct test_frame before = f;
		uint32_t mtu = 68 + pick(&seed, 1700);
		uint32_t n = f.len - ETH_BYTES;
		uint8_t *packet = test_data(&f) + ETH_BYTES;
		if (!ip4_cut(packet, n, mtu, second, &cut)) {
			ck_assert_msg(n <= mtu || n > 2 * mtu - header_bytes_of(packet) - 7 - 8, "seed %u", round_seed);
			ck_assert_mem_eq(&f, &before, sizeof f);
			continue;
		}
		ck_assert(n > mtu && cut.first_bytes <= mtu && cut.second_bytes <= mtu);
		check_parts(&before, packet, second, &cut, offset * 8u, !more, round_seed);
	}
}
END_TEST

START_TEST(options_are_copied_when_they_say_so)
{
	uint8_t second[TEST_FRAME_BYTES];
	struct ip4_cut cut;
	struct test_frame f = packet_of(12, 100);
	uint8_t *packet = test_data(&f) + ETH_BYTES;
	static const uint8_t options[12] = {
		7, 3, 4, ROUTER_ALERT, 4, 0, 0, NOP, NOP, NOP, NOP, 0
	}; // the first is not copied
	static const uint8_t copied[4] = { ROUTER_ALERT, 4, 0, 0 };
	memcpy(packet + IP4_BYTES, options, sizeof options);
	test_fix_checksums(&f);
	ck_assert(ip4_cut(packet, f.len - ETH_BYTES, 100, second, &cut));
	ck_assert_mem_eq(packet + IP4_BYTES, options, sizeof options);
	ck_assert_uint_eq(second[0], 0x46);
	ck_assert_mem_eq(second + IP4_BYTES, copied, sizeof copied);
	ck_assert(header_is_right(second));
}
END_TEST

START_TEST(options_that_cannot_be_read_end_there)
{
	static const uint8_t bad[][4] = { { 148, 0, 0, 0 }, { 148, 1, 0, 0 }, { 148, 5, 0, 0 }, { 1, 1, 1, 148 } };
	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
		uint8_t second[TEST_FRAME_BYTES];
		struct ip4_cut cut;
		struct test_frame f = packet_of(4, 100);
		uint8_t *packet = test_data(&f) + ETH_BYTES;
		memcpy(packet + IP4_BYTES, bad[i], 4);
		test_fix_checksums(&f);
		ck_assert(ip4_cut(packet, f.len - ETH_BYTES, 100, second, &cut));
		ck_assert_uint_eq(second[0], 0x45);
		ck_assert(header_is_right(second));
	}
}
END_TEST

START_TEST(a_damaged_header_gives_two_damaged_ones)
{
	uint8_t second[TEST_FRAME_BYTES];
	struct ip4_cut cut;
	struct test_frame f = packet_of(0, 200);
	uint8_t *packet = test_data(&f) + ETH_BYTES;
	packet[8] ^= 0x10; // the TTL
	ck_assert(ip4_cut(packet, f.len - ETH_BYTES, 150, second, &cut));
	ck_assert(!header_is_right(packet));
	ck_assert(!header_is_right(second));
}
END_TEST

SUITE_MAIN("ip4 cut", two_parts_are_what_was_cut, options_are_copied_when_they_say_so,
           options_that_cannot_be_read_end_there, a_damaged_header_gives_two_damaged_ones)
