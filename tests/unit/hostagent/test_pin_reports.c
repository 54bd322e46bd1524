#include <string.h>

#include "hostagent/core/pin_reports.h"
#include "tests/support/packet_builder.h"
#include "tests/support/suite.h"
#include "tests/unit/hostagent/flow_block.h"

static const uint8_t key[SIPHASH_KEY_BYTES] = "sixteen bytes ..";
static struct pin_reports reports;

static struct pin pin_number(uint32_t n)
{
	return (struct pin){ .remote = pin_addr_from_ip4(be32_from(0xc6336400u + n)),
		                 .vip = pin_addr_from_ip4(test_ip4("203.0.113.10")),
		                 .dip = pin_addr_from_ip4(test_ip4("10.1.1.11")),
		                 .remote_port = be16_from(40000),
		                 .vip_port = be16_from(80),
		                 .protocol = IP_PROTO_TCP };
}

static bool note(uint32_t n, uint64_t ms)
{
	struct pin pin = pin_number(n);
	return pin_reports_note(&reports, &pin, hash_mix64(n + 1), mono_from_us(1000000000 + ms * 1000));
}

static void set_up(void)
{
	memset(&reports, 0, sizeof reports);
}

START_TEST(a_flow_is_reported_once_in_100_ms)
{
	static const struct {
		uint64_t ms;
		uint32_t flow;
		bool want;
	} rows[] = {
		{ 0, 1, true },   { 1, 1, false },   { 50, 2, true },  { 99, 1, false },
		{ 102, 1, true }, { 103, 1, false }, { 152, 2, true },
	};
	set_up();
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
		ck_assert_msg(note(rows[i].flow, rows[i].ms) == rows[i].want, "row %zu", i);
}
END_TEST

START_TEST(a_message_is_signed_and_reads_back)
{
	set_up();
	for (uint32_t i = 0; i < 5; i++)
		note(i, 0);
	be32 sender = test_ip4("10.0.0.21");
	struct pin_reports_sender from = { .addr = sender };
	struct pin_addr said = pin_addr_from_ip4(sender);
	ck_assert_uint_eq(pin_reports_encode(&reports, 77, key, &from, 1700000000000000), 5);
	struct pin_message m;
	ck_assert(pin_message_is_well_formed(reports.messages[0].bytes, reports.messages[0].n_bytes, 77));
	ck_assert(pin_message_is_authentic(reports.messages[0].bytes, reports.messages[0].n_bytes, &said, key));
	reports.messages[0].bytes[30] ^= 1;
	ck_assert(!pin_message_is_authentic(reports.messages[0].bytes, reports.messages[0].n_bytes, &said, key));
	reports.messages[0].bytes[30] ^= 1;
	pin_message_decode(reports.messages[0].bytes, &m);
	ck_assert_uint_eq(m.n_pins, 5);
	ck_assert_uint_eq(m.stamp_us, 1700000000000000);
	struct pin want = pin_number(3);
	ck_assert(pin_addr_equal(&m.pins[3].remote, &want.remote));
	ck_assert(pin_addr_equal(&m.pins[3].dip, &want.dip));
	ck_assert_uint_eq(m.pins[3].remote_port, want.remote_port);
	ck_assert_uint_eq(pin_reports_encode(&reports, 77, key, &from, 1700000000000001), 0); // nothing is left
}
END_TEST

START_TEST(stamps_rise_though_the_clock_stands_or_goes_back)
{
	static const uint64_t clocks[] = { 1000, 1000, 900, 1001, 5000 };
	static const uint64_t want[] = { 1000, 1001, 1002, 1003, 5000 };
	set_up();
	for (uint32_t i = 0; i < 5; i++) {
		struct pin_message m;
		note(i, 0);
		ck_assert_uint_eq(pin_reports_encode(&reports, 77, key, &(struct pin_reports_sender){ .addr = 1 }, clocks[i]),
		                  1);
		pin_message_decode(reports.messages[0].bytes, &m);
		ck_assert_uint_eq(m.stamp_us, want[i]);
	}
}
END_TEST

START_TEST(what_does_not_fit_into_a_turn_comes_with_a_later_packet)
{
	set_up();
	for (uint32_t i = 0; i < PINS_MAX; i++)
		ck_assert(note(i, 0));
	ck_assert(!note(100, 0));
	ck_assert_uint_eq(pin_reports_encode(&reports, 77, key, &(struct pin_reports_sender){ .addr = 1 }, 1), PINS_MAX);
	ck_assert(note(100, 1));
}
END_TEST

START_TEST(the_datagram_is_a_whole_frame)
{
	set_up();
	note(1, 0);
	pin_reports_encode(&reports, 77, key, &(struct pin_reports_sender){ .addr = test_ip4("10.0.0.21") }, 1);
	struct pin_reports_route route = {
		.src_mac = TEST_MAC_B, .dst_mac = TEST_MAC_A, .src = test_ip4("10.0.0.21"), .dst = test_ip4("10.0.0.31")
	};
	uint8_t frame[PIN_REPORTS_FRAME_BYTES];
	char text[200];
	const char *wrong;
	uint32_t n = pin_reports_write(&reports, &route, frame);
	ck_assert_uint_eq(n, ETH_BYTES + IP4_BYTES + 8 + PIN_HEADER_BYTES + PIN_BYTES + PIN_TAG_BYTES);
	ck_assert(test_checksums_ok(frame, n, &wrong));
	ck_assert_str_eq(
		test_format(frame, n, text, sizeof text),
		"02:00:00:00:00:02 > 02:00:00:00:00:01 ip4 10.0.0.21:7402 > 10.0.0.31:7402 udp len 104 ttl 64 id 0");
	ck_assert(memcmp(frame + n - reports.messages[0].n_bytes, reports.messages[0].bytes, reports.messages[0].n_bytes) ==
	          0);
}
END_TEST

// A host with addresses of both families signs for each of them, and a mux gets the one of the family that it is reached over.
START_TEST(the_message_says_the_address_that_it_comes_from)
{
	set_up();
	note(1, 0);
	struct pin_reports_sender from = { .addr = test_ip4("10.0.0.21"), .addr6 = test_ip6("2001:db8::21") };
	ck_assert_uint_eq(pin_reports_encode(&reports, 77, key, &from, 1), 1);
	struct pin_addr said4 = pin_addr_from_ip4(from.addr);
	struct pin_addr said6 = pin_addr_from_ip6(from.addr6);
	const uint8_t *m4 = reports.messages[0].bytes;
	const uint8_t *m6 = reports.messages[1].bytes;
	ck_assert(pin_message_is_authentic(m4, reports.messages[0].n_bytes, &said4, key));
	ck_assert(pin_message_is_authentic(m6, reports.messages[1].n_bytes, &said6, key));
	ck_assert(!pin_message_is_authentic(m6, reports.messages[1].n_bytes, &said4, key));
	struct pin_reports_route route = {
		.src_mac = TEST_MAC_B, .dst_mac = TEST_MAC_A, .src6 = from.addr6, .dst6 = test_ip6("2001:db8::31")
	};
	uint8_t frame[PIN_REPORTS_FRAME_BYTES];
	const char *wrong;
	uint32_t n = pin_reports_write(&reports, &route, frame);
	ck_assert_uint_eq(n, ETH_BYTES + IP6_BYTES + 8 + PIN_HEADER_BYTES + PIN_BYTES + PIN_TAG_BYTES);
	ck_assert_msg(test_checksums_ok(frame, n, &wrong), "%s", wrong);
	struct parsed p;
	ck_assert_int_eq(parse_ip6(frame, n, ETH_BYTES, &p), DROP_NONE);
	ck_assert_mem_eq(parsed_src6(frame, &p), from.addr6, 16);
	ck_assert_uint_eq(be16_to(p.dst_port), PIN_PORT);
	ck_assert_mem_eq(frame + n - reports.messages[1].n_bytes, m6, reports.messages[1].n_bytes);
}
END_TEST

START_TEST(over_a_family_without_an_address_nothing_is_sent)
{
	set_up();
	note(1, 0);
	struct pin_reports_sender from = { .addr = test_ip4("10.0.0.21") };
	pin_reports_encode(&reports, 77, key, &from, 1);
	struct pin_reports_route route = { .src6 = test_ip6("2001:db8::21"), .dst6 = test_ip6("2001:db8::31") };
	uint8_t frame[PIN_REPORTS_FRAME_BYTES];
	ck_assert_uint_eq(pin_reports_write(&reports, &route, frame), 0);
}
END_TEST

SUITE_MAIN("agent pin reports", a_flow_is_reported_once_in_100_ms, a_message_is_signed_and_reads_back,
           stamps_rise_though_the_clock_stands_or_goes_back, what_does_not_fit_into_a_turn_comes_with_a_later_packet,
           the_datagram_is_a_whole_frame, the_message_says_the_address_that_it_comes_from,
           over_a_family_without_an_address_nothing_is_sent)
