// What becomes of each kind of packet: tables of {what, frame, verdict, reason}, and the bytes that leave.
#include "tests/support/suite.h"

#include <string.h>

#include "common/base/memory.h"
#include "tests/unit/mux/fixture.h"

static const char *const dips[] = { "10.1.1.11", "10.1.1.12", "10.1.2.11", NULL };
static const struct test_tuple to_vip = {
	.src = "198.51.100.7", .dst = "203.0.113.10", .src_port = 40000, .dst_port = 80
};

static struct fixture *with_vip(void)
{
	struct fixture *f = fixture_create(MUX_ADDRESS);
	fixture_put_vip(f, test_vip("203.0.113.10", "shop", dips));
	return f;
}

static bool is_a_dip(be32 addr)
{
	for (int i = 0; dips[i] != NULL; i++)
		if (addr == test_ip4(dips[i]))
			return true;
	return false;
}

START_TEST(a_packet_to_an_endpoint_is_encapsulated_for_one_of_its_dips)
{
	struct fixture *f = with_vip();
	struct test_frame frame = test_tcp(&to_vip, TCP_ACK, "GET / HTTP/1.1\r\n", 16);
	struct test_frame before = frame;
	struct mux_frame m = fixture_send(f, &frame);
	ck_assert_int_eq(m.verdict, MUX_TO_UPLINK);
	ck_assert_int_eq(m.reason, DROP_NONE);
	ck_assert_ptr_eq(m.data, test_data(&frame) - ENCAP_BYTES);
	ck_assert_uint_eq(m.len, before.len + ENCAP_BYTES);
	const char *what;
	ck_assert_msg(test_checksums_ok(m.data, m.len, &what), "checksum of %s", what);

	const struct eth_header *eth = (const struct eth_header *)m.data;
	const struct ip4_header *outer = (const struct ip4_header *)(eth + 1);
	ck_assert_mem_eq(&eth->dst, &GATEWAY_MAC, sizeof eth->dst);
	ck_assert_mem_eq(&eth->src, &MUX_MAC, sizeof eth->src);
	ck_assert_uint_eq(outer->src, test_ip4(MUX_ADDRESS));
	ck_assert(is_a_dip(outer->dst));
	ck_assert_uint_eq(outer->protocol, IP_PROTO_IPIP);
	ck_assert_uint_eq(be16_to(outer->fragment), IP4_DONT_FRAGMENT);
	ck_assert_uint_eq(outer->id, 0);
	// The packet inside is what came, to the byte.
	ck_assert_mem_eq(m.data + ETH_BYTES + ENCAP_BYTES, before.buf + before.offset + ETH_BYTES, before.len - ETH_BYTES);
	fixture_destroy(f);
}
END_TEST

START_TEST(padding_after_the_packet_is_not_carried_on)
{
	struct fixture *f = with_vip();
	struct test_frame frame = test_tcp(&to_vip, TCP_ACK, NULL, 0); // 54 bytes, on the wire 60
	uint32_t packet_bytes = frame.len - ETH_BYTES;
	frame.len = 60;
	struct mux_frame m = fixture_send(f, &frame);
	ck_assert_int_eq(m.verdict, MUX_TO_UPLINK);
	ck_assert_uint_eq(m.len, ETH_BYTES + ENCAP_BYTES + packet_bytes);
	ck_assert(test_checksums_ok(m.data, m.len, NULL));
	fixture_destroy(f);
}
END_TEST

START_TEST(a_flow_always_goes_to_the_same_dip_whatever_its_flags_and_payload)
{
	struct fixture *f = with_vip();
	be32 dip = 0;
	static const uint8_t flags[] = { TCP_SYN, TCP_ACK, TCP_ACK | TCP_PSH, TCP_FIN | TCP_ACK, TCP_RST };
	for (uint32_t i = 0; i < 200; i++) {
		struct test_frame frame = test_tcp(&to_vip, flags[i % sizeof flags], NULL, i * 7 % 1400);
		struct mux_frame m = fixture_send(f, &frame);
		ck_assert_int_eq(m.verdict, MUX_TO_UPLINK);
		ck_assert(dip == 0 || dip == outer_dst(&m));
		dip = outer_dst(&m);
	}
	fixture_destroy(f);
}
END_TEST

START_TEST(two_muxes_choose_the_same_dip_for_every_flow)
{
	struct fixture *one = with_vip();
	struct fixture *two = fixture_create("10.0.0.32");
	fixture_put_vip(two, test_vip("203.0.113.99", "other", dips)); // another history, the same state in the end
	fixture_put_vip(two, test_vip("203.0.113.10", "shop", dips));
	uint32_t n_of_dip[3] = { 0 };
	for (uint16_t port = 1024; port < 4096; port++) {
		struct test_tuple t = to_vip;
		t.src_port = port;
		struct test_frame a = test_tcp(&t, TCP_SYN, NULL, 0);
		struct test_frame b = a;
		struct mux_frame from_one = fixture_send(one, &a);
		struct mux_frame from_two = fixture_send(two, &b);
		ck_assert_uint_eq(outer_dst(&from_one), outer_dst(&from_two));
		for (uint32_t i = 0; i < 3; i++)
			n_of_dip[i] += outer_dst(&from_one) == test_ip4(dips[i]);
	}
	for (uint32_t i = 0; i < 3; i++) // a third of 3072 each, give or take 6 standard deviations
		ck_assert_msg(n_of_dip[i] > 867 && n_of_dip[i] < 1181, "%s got %u", dips[i], n_of_dip[i]);
	fixture_destroy(one);
	fixture_destroy(two);
}
END_TEST

// ---- verdicts ----

struct verdict_case {
	const char *what;
	struct test_frame frame;
	enum mux_verdict verdict;
	enum drop_reason reason;
};

static void check_cases(struct fixture *f, struct verdict_case *cases, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		struct verdict_case *c = &cases[i];
		char text[256];
		uint64_t counted = f->worker.counters.drops[c->reason];
		test_format(test_data(&c->frame), c->frame.len, text, sizeof text);
		struct mux_frame m = fixture_send(f, &c->frame);
		ck_assert_msg(m.verdict == c->verdict && m.reason == c->reason, "%s: verdict %d, %s (%s)", c->what, m.verdict,
		              drop_reason_name(m.reason), text);
		if (c->verdict == MUX_DROP)
			ck_assert_msg(f->worker.counters.drops[c->reason] == counted + 1, "%s is not counted", c->what);
	}
}

static struct test_frame tcp_to(const char *dst, uint16_t port)
{
	struct test_tuple t = to_vip;
	t.dst = dst;
	t.dst_port = port;
	return test_tcp(&t, TCP_SYN, NULL, 0);
}

static struct test_frame udp_to(const char *dst, uint16_t port)
{
	struct test_tuple t = to_vip;
	t.dst = dst;
	t.dst_port = port;
	return test_udp(&t, NULL, 20);
}

static struct test_frame icmp_to(const char *dst, uint8_t type)
{
	struct test_tuple t = to_vip;
	t.dst = dst;
	return test_icmp(&t, type, 0, 7, 1, NULL, 56);
}

static struct test_frame fragment_to(const char *dst, uint16_t offset, bool more)
{
	struct test_frame f = tcp_to(dst, 80);
	test_set_fragment(&f, offset, more);
	return f;
}

static struct test_frame with_eth(struct test_frame f, const struct mac *dst, uint16_t ether_type)
{
	struct eth_header *eth = (struct eth_header *)test_data(&f);
	eth->dst = *dst;
	eth->ether_type = be16_from(ether_type);
	return f;
}

static struct test_frame with_byte(struct test_frame f, uint32_t offset, uint8_t value)
{
	test_data(&f)[offset] = value;
	return f;
}

START_TEST(every_kind_of_packet_gets_its_verdict)
{
	static const struct mac broadcast = { { 0xff, 0xff, 0xff, 0xff, 0xff, 0xff } };
	static const struct mac other = { { 2, 0, 0, 0, 0, 9 } };
	static const uint8_t gre[24];
	struct fixture *f = with_vip();
	struct test_tuple with_options = to_vip;
	with_options.ip_options_bytes = 8;
	struct test_tuple gre_to_vip = to_vip;
	struct test_frame arp_request = test_arp(ARP_REQUEST, &TEST_MAC_A, "10.0.0.1", NULL, MUX_ADDRESS, &broadcast);
	struct verdict_case cases[] = {
		{ "TCP to the endpoint", tcp_to("203.0.113.10", 80), MUX_TO_UPLINK, DROP_NONE },
		{ "IP options", test_tcp(&with_options, TCP_SYN, NULL, 0), MUX_TO_UPLINK, DROP_NONE },
		{ "a port without endpoint", tcp_to("203.0.113.10", 81), MUX_DROP, DROP_NO_ENDPOINT },
		{ "UDP where TCP is served", udp_to("203.0.113.10", 80), MUX_DROP, DROP_NO_ENDPOINT },
		{ "another protocol", test_ip_proto(&gre_to_vip, 47, gre, sizeof gre), MUX_DROP, DROP_NO_ENDPOINT },
		{ "TCP to nobody", tcp_to("203.0.113.11", 80), MUX_DROP, DROP_NOT_A_VIP },
		{ "UDP to nobody", udp_to("203.0.113.11", 53), MUX_DROP, DROP_NOT_A_VIP },
		{ "ICMP to nobody", icmp_to("203.0.113.11", ICMP_ECHO), MUX_DROP, DROP_NOT_A_VIP },
		{ "TCP to port 0", tcp_to("203.0.113.10", 0), MUX_DROP, DROP_NO_ENDPOINT },
		{ "first fragment", fragment_to("203.0.113.10", 0, true), MUX_DROP, DROP_FRAGMENT_MALFORMED },
		{ "last fragment", fragment_to("203.0.113.10", 100, false), MUX_HELD, DROP_NONE },
		{ "fragment to nobody", fragment_to("203.0.113.11", 100, false), MUX_DROP, DROP_NOT_A_VIP },
		{ "echo request", icmp_to("203.0.113.10", ICMP_ECHO), MUX_TO_UPLINK, DROP_NONE },
		{ "echo reply", icmp_to("203.0.113.10", ICMP_ECHO_REPLY), MUX_DROP, DROP_ICMP_UNKNOWN },
		{ "ICMP about nothing", icmp_to("203.0.113.10", ICMP_UNREACHABLE), MUX_DROP, DROP_ICMP_UNKNOWN },
		{ "ICMP redirect", icmp_to("203.0.113.10", 5), MUX_DROP, DROP_ICMP_IGNORED },
		{ "ICMP timestamp", icmp_to("203.0.113.10", 13), MUX_DROP, DROP_ICMP_IGNORED },
		{ "TCP to the mux", tcp_to(MUX_ADDRESS, 179), MUX_TO_TAP, DROP_NONE },
		{ "UDP to the mux", udp_to(MUX_ADDRESS, 3784), MUX_TO_TAP, DROP_NONE },
		{ "ICMP to the mux", icmp_to(MUX_ADDRESS, ICMP_ECHO), MUX_TO_TAP, DROP_NONE },
		{ "a fragment to the mux", fragment_to(MUX_ADDRESS, 100, true), MUX_TO_TAP, DROP_NONE },
		{ "ARP request", arp_request, MUX_TO_TAP, DROP_NONE },
		{ "ARP to us", with_eth(arp_request, &MUX_MAC, ETHER_ARP), MUX_TO_TAP, DROP_NONE },
		{ "ARP to another", with_eth(arp_request, &other, ETHER_ARP), MUX_DROP, DROP_NOT_FOR_US },
		{ "ARP of a strange kind", with_byte(arp_request, ETH_BYTES, 9), MUX_DROP, DROP_ARP_MALFORMED },
		{ "another MAC", with_eth(tcp_to("203.0.113.10", 80), &other, ETHER_IP4), MUX_DROP, DROP_NOT_FOR_US },
		{ "broadcast IP", with_eth(tcp_to("203.0.113.10", 80), &broadcast, ETHER_IP4), MUX_DROP, DROP_NOT_FOR_US },
		{ "IPv4 that says it is IPv6", with_eth(tcp_to("203.0.113.10", 80), &MUX_MAC, ETHER_IP6), MUX_DROP,
		  DROP_IP_VERSION },
		{ "a VLAN", with_eth(tcp_to("203.0.113.10", 80), &MUX_MAC, 0x8100), MUX_DROP, DROP_ETHER_TYPE },
		{ "IP version 6", with_byte(tcp_to("203.0.113.10", 80), 14, 0x65), MUX_DROP, DROP_IP_VERSION },
		{ "IP header of 16 bytes", with_byte(tcp_to("203.0.113.10", 80), 14, 0x44), MUX_DROP, DROP_IP_LENGTH },
		{ "more bytes than there are", with_byte(tcp_to("203.0.113.10", 80), 16, 1), MUX_DROP, DROP_IP_LENGTH },
		{ "TCP header of 16 bytes", with_byte(tcp_to("203.0.113.10", 80), 46, 0x40), MUX_DROP, DROP_L4_LENGTH },
		{ "TCP header beyond the packet", with_byte(tcp_to("203.0.113.10", 80), 46, 0xf0), MUX_DROP, DROP_L4_LENGTH },
	};
	check_cases(f, cases, sizeof cases / sizeof *cases);
	fixture_destroy(f);
}
END_TEST

START_TEST(without_configuration_only_own_traffic_passes)
{
	struct fixture *f = fixture_create(MUX_ADDRESS);
	static const struct mac broadcast = { { 0xff, 0xff, 0xff, 0xff, 0xff, 0xff } };
	struct verdict_case cases[] = {
		{ "TCP", tcp_to("203.0.113.10", 80), MUX_DROP, DROP_NO_CONFIG },
		{ "ICMP", icmp_to("203.0.113.10", ICMP_ECHO), MUX_DROP, DROP_NO_CONFIG },
		{ "own TCP", tcp_to(MUX_ADDRESS, 179), MUX_TO_TAP, DROP_NONE },
		{ "ARP", test_arp(ARP_REQUEST, &TEST_MAC_A, "10.0.0.1", NULL, MUX_ADDRESS, &broadcast), MUX_TO_TAP, DROP_NONE },
	};
	check_cases(f, cases, sizeof cases / sizeof *cases);
	fixture_destroy(f);
}
END_TEST

START_TEST(a_vip_that_is_deleted_is_no_vip)
{
	struct fixture *f = with_vip();
	fixture_delete_vip(f, "203.0.113.10");
	struct verdict_case cases[] = {
		{ "TCP", tcp_to("203.0.113.10", 80), MUX_DROP, DROP_NOT_A_VIP },
		{ "ICMP", icmp_to("203.0.113.10", ICMP_ECHO), MUX_DROP, DROP_NOT_A_VIP },
	};
	check_cases(f, cases, sizeof cases / sizeof *cases);
	fixture_destroy(f);
}
END_TEST

START_TEST(what_would_exceed_the_mtu_with_its_outer_header_is_dropped)
{
	struct fixture *f = with_vip();
	struct test_frame fits = test_tcp(&to_vip, TCP_ACK, NULL, MUX_MTU - ENCAP_BYTES - 40);
	struct test_frame large = test_tcp(&to_vip, TCP_ACK, NULL, MUX_MTU - ENCAP_BYTES - 39);
	f->worker.settings.oversized = MUX_OVERSIZED_DROP;
	struct verdict_case cases[] = {
		{ "1580 bytes", fits, MUX_TO_UPLINK, DROP_NONE },
		{ "1581 bytes", large, MUX_DROP, DROP_TOO_BIG },
	};
	check_cases(f, cases, sizeof cases / sizeof *cases);
	fixture_destroy(f);
}
END_TEST

START_TEST(every_truncation_of_a_packet_is_dropped_and_counted)
{
	struct fixture *f = with_vip();
	struct test_frame frames[] = { tcp_to("203.0.113.10", 80), udp_to("203.0.113.10", 80),
		                           icmp_to("203.0.113.10", ICMP_ECHO),
		                           test_arp(ARP_REQUEST, &TEST_MAC_A, "10.0.0.1", NULL, MUX_ADDRESS, &MUX_MAC) };
	for (size_t i = 0; i < sizeof frames / sizeof *frames; i++) {
		for (uint32_t len = 0; len < frames[i].len; len++) {
			// At the end of its memory, so that ASan sees a read beyond.
			uint8_t *exact = malloc(MUX_HEADROOM_BYTES + len);
			memcpy(exact + MUX_HEADROOM_BYTES, test_data(&frames[i]), len);
			struct mux_frame m = { .data = exact + MUX_HEADROOM_BYTES, .len = len };
			mux_pipeline_burst(&f->worker, f->tables, &m, 1);
			ck_assert_msg(m.verdict == MUX_DROP, "frame %zu cut to %u bytes", i, len);
			ck_assert_int_ne(m.reason, DROP_NONE);
			free(exact);
		}
	}
	fixture_destroy(f);
}
END_TEST

// ---- ARP and next hops ----

START_TEST(nothing_is_forwarded_before_a_gateway_answers)
{
	struct fixture *f = with_vip();
	f->worker.neighbors.n = 0;
	neighbor_table_insert(&f->worker.neighbors, test_ip4(MUX_GATEWAY));
	struct test_frame frame = tcp_to("203.0.113.10", 80);
	struct mux_frame m = fixture_send(f, &frame);
	ck_assert_int_eq(m.reason, DROP_NO_NEXT_HOP);

	struct test_frame reply = test_arp(ARP_REPLY, &TEST_MAC_A, MUX_GATEWAY, &MUX_MAC, MUX_ADDRESS, &MUX_MAC);
	m = fixture_send(f, &reply); // the kernel gets it too
	ck_assert_int_eq(m.verdict, MUX_TO_TAP);
	frame = tcp_to("203.0.113.10", 80);
	m = fixture_send(f, &frame);
	ck_assert_int_eq(m.verdict, MUX_TO_UPLINK);
	fixture_destroy(f);
}
END_TEST

START_TEST(flows_are_spread_over_the_gateways_that_answer)
{
	static const struct mac second = { { 2, 0, 0, 0, 0, 0x77 } };
	struct fixture *f = with_vip();
	neighbor_table_insert(&f->worker.neighbors, test_ip4("10.0.0.2"));
	neighbor_table_insert(&f->worker.neighbors, test_ip4("10.0.0.3")); // never answers
	fixture_resolve(f, "10.0.0.2", &second);
	uint32_t n_first = 0, n_second = 0;
	for (uint16_t port = 1024; port < 2048; port++) {
		struct test_tuple t = to_vip;
		t.src_port = port;
		struct test_frame frame = test_tcp(&t, TCP_SYN, NULL, 0);
		struct mux_frame m = fixture_send(f, &frame);
		n_first += memcmp(m.data, &GATEWAY_MAC, MAC_BYTES) == 0;
		n_second += memcmp(m.data, &second, MAC_BYTES) == 0;
	}
	ck_assert_uint_eq(n_first + n_second, 1024);
	ck_assert_uint_gt(n_first, 400);
	ck_assert_uint_gt(n_second, 400);
	fixture_destroy(f);
}
END_TEST

// ---- ICMP echo ----

START_TEST(an_echo_request_to_a_vip_is_answered_by_the_vip)
{
	struct fixture *f = with_vip();
	struct test_frame frame = icmp_to("203.0.113.10", ICMP_ECHO);
	struct test_frame before = frame;
	struct mux_frame m = fixture_send(f, &frame);
	ck_assert_int_eq(m.verdict, MUX_TO_UPLINK);
	ck_assert_uint_eq(m.len, before.len);
	ck_assert(test_checksums_ok(m.data, m.len, NULL));
	const struct ip4_header *ip = (const struct ip4_header *)(m.data + ETH_BYTES);
	ck_assert_uint_eq(ip->src, test_ip4("203.0.113.10"));
	ck_assert_uint_eq(ip->dst, test_ip4("198.51.100.7"));
	ck_assert_mem_eq(m.data, &TEST_MAC_A, MAC_BYTES);
	ck_assert_mem_eq(m.data + MAC_BYTES, &MUX_MAC, MAC_BYTES);
	ck_assert_uint_eq(m.data[ETH_BYTES + IP4_BYTES], ICMP_ECHO_REPLY);
	uint32_t payload = ETH_BYTES + IP4_BYTES + 4; // id, sequence number and data
	ck_assert_mem_eq(m.data + payload, before.buf + before.offset + payload, before.len - payload);
	ck_assert_uint_eq(f->worker.counters.icmp_echo_replies, 1);
	fixture_destroy(f);
}
END_TEST

START_TEST(echo_replies_are_limited_and_the_limit_recovers)
{
	struct fixture *f = with_vip();
	uint32_t n_answered = 0;
	for (int i = 0; i < 3 * MUX_ECHO_RATE_PER_S; i++) {
		struct test_frame frame = icmp_to("203.0.113.10", ICMP_ECHO);
		struct mux_frame m = fixture_send(f, &frame);
		ck_assert(m.verdict == MUX_TO_UPLINK || m.reason == DROP_RATE_LIMITED);
		n_answered += m.verdict == MUX_TO_UPLINK;
	}
	ck_assert_uint_eq(n_answered, MUX_ECHO_RATE_PER_S);
	ck_assert_uint_eq(f->worker.counters.drops[DROP_RATE_LIMITED], 2 * MUX_ECHO_RATE_PER_S);
	f->worker.now = mono_add_us(f->worker.now, 10000); // a hundredth of the rate
	for (int i = 0; i < 100; i++) {
		struct test_frame frame = icmp_to("203.0.113.10", ICMP_ECHO);
		n_answered += fixture_send(f, &frame).verdict == MUX_TO_UPLINK;
	}
	ck_assert_uint_eq(n_answered, MUX_ECHO_RATE_PER_S + MUX_ECHO_RATE_PER_S / 100);
	fixture_destroy(f);
}
END_TEST

// ---- SNAT: replies to what DIPs began ----

#define SNAT_VIP "203.0.113.20"
#define PLAIN_VIP "203.0.113.10" // without SNAT DIPs

static struct vip_config *snat_vip(void)
{
	struct vip_config *vip = test_vip(SNAT_VIP, "shop", dips);
	memory_free(vip->snat_dips);
	vip->snat_dips = memory_array(2, sizeof *vip->snat_dips);
	vip->snat_dips[0] = test_addr("10.1.1.11");
	vip->snat_dips[1] = test_addr("10.1.5.5");
	vip->n_snat_dips = 2;
	vip->endpoints[0].port = 8080; // among the ports that could be leased
	return vip;
}

// 1032 to 1039 and 65528 to 65535 are leased.
static struct fixture *with_leases(void)
{
	struct fixture *f = with_vip();
	fixture_put_vip(f, snat_vip());
	fixture_lease(f, SNAT_VIP, "10.1.1.11", 1032, 8);
	fixture_lease(f, SNAT_VIP, "10.1.5.5", 65528, 8);
	return f;
}

struct steer_case {
	const char *what;
	struct test_frame frame;
	const char *dip; // NULL: dropped
	enum drop_reason reason;
};

static void check_steering(struct fixture *f, struct steer_case *cases, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		struct steer_case *c = &cases[i];
		struct test_frame before = c->frame;
		struct mux_frame m = fixture_send(f, &c->frame);
		ck_assert_msg(m.verdict == (c->dip == NULL ? MUX_DROP : MUX_TO_UPLINK) && m.reason == c->reason,
		              "%s: verdict %d, %s", c->what, m.verdict, drop_reason_name(m.reason));
		if (c->dip == NULL)
			continue;
		const struct ip4_header *outer = (const struct ip4_header *)(m.data + ETH_BYTES);
		ck_assert_msg(outer->dst == test_ip4(c->dip), "%s: to another DIP", c->what);
		ck_assert_uint_eq(outer->src, test_ip4(MUX_ADDRESS));
		ck_assert_uint_eq(outer->protocol, IP_PROTO_IPIP);
		ck_assert_msg(test_checksums_ok(m.data, m.len, NULL), "%s: checksums", c->what);
		ck_assert_mem_eq(m.data, &GATEWAY_MAC, MAC_BYTES);
		ck_assert_mem_eq(m.data + ETH_BYTES + ENCAP_BYTES, before.buf + before.offset + ETH_BYTES,
		                 before.len - ETH_BYTES);
	}
}

START_TEST(a_reply_to_a_leased_port_goes_to_the_dip_that_has_it)
{
	struct fixture *f = with_leases();
	struct test_tuple options = to_vip;
	options.dst = SNAT_VIP;
	options.dst_port = 1035;
	options.ip_options_bytes = 8;
	struct steer_case cases[] = {
		{ "TCP, the first port", tcp_to(SNAT_VIP, 1032), "10.1.1.11", DROP_NONE },
		{ "TCP, the last port", tcp_to(SNAT_VIP, 1039), "10.1.1.11", DROP_NONE },
		{ "UDP", udp_to(SNAT_VIP, 1033), "10.1.1.11", DROP_NONE },
		{ "the highest range", udp_to(SNAT_VIP, 65535), "10.1.5.5", DROP_NONE },
		{ "IP options", test_udp(&options, NULL, 9), "10.1.1.11", DROP_NONE },
		{ "one port below", tcp_to(SNAT_VIP, 1031), NULL, DROP_SNAT_NO_LEASE },
		{ "one port above", udp_to(SNAT_VIP, 1040), NULL, DROP_SNAT_NO_LEASE },
		{ "a port that is never leased", tcp_to(SNAT_VIP, 1023), NULL, DROP_NO_ENDPOINT },
		{ "port 0", tcp_to(SNAT_VIP, 0), NULL, DROP_NO_ENDPOINT },
		{ "UDP to the endpoint's port", udp_to(SNAT_VIP, 8080), NULL, DROP_SNAT_NO_LEASE },
		{ "a port like an endpoint's of another VIP", tcp_to(SNAT_VIP, 80), NULL, DROP_NO_ENDPOINT },
		{ "a VIP without SNAT", tcp_to(PLAIN_VIP, 1032), NULL, DROP_NO_ENDPOINT },
		{ "no VIP", tcp_to("203.0.113.11", 1032), NULL, DROP_NOT_A_VIP },
		{ "another protocol", test_ip_proto(&options, 38, "01234567890123456789", 20), NULL, DROP_NO_ENDPOINT },
		{ "a fragment in the TCP header", fragment_to(SNAT_VIP, 2, true), NULL, DROP_FRAGMENT_MALFORMED },
	};
	check_steering(f, cases, sizeof cases / sizeof *cases);
	fixture_end_lease(f, SNAT_VIP, "10.1.1.11", 1032, 8);
	struct steer_case after[] = {
		{ "a lease that has ended", tcp_to(SNAT_VIP, 1032), NULL, DROP_SNAT_NO_LEASE },
	};
	check_steering(f, after, 1);
	fixture_destroy(f);
}
END_TEST

START_TEST(an_endpoint_keeps_its_port_whatever_is_leased)
{
	struct fixture *f = with_leases();
	fixture_lease(f, SNAT_VIP, "10.1.5.5", 8080, 8);
	uint32_t n_of_endpoint = 0;
	for (uint16_t port = 1; port < 200; port++) {
		struct test_tuple t = { "198.51.100.7", SNAT_VIP, port, 8080, NULL, NULL, 0, 0 };
		struct test_frame frame = test_tcp(&t, TCP_SYN, NULL, 0);
		struct mux_frame m = fixture_send(f, &frame);
		n_of_endpoint += m.verdict == MUX_TO_UPLINK && is_a_dip(outer_dst(&m));
	}
	ck_assert_uint_eq(n_of_endpoint, 199);
	struct steer_case udp[] = { { "UDP is not the endpoint's", udp_to(SNAT_VIP, 8080), "10.1.5.5", DROP_NONE } };
	check_steering(f, udp, 1);
	fixture_destroy(f);
}
END_TEST

START_TEST(snat_replies_obey_mtu_and_next_hops)
{
	struct fixture *f = with_leases();
	struct test_tuple t = { "198.51.100.7", SNAT_VIP, 443, 1032, NULL, NULL, 0, 0 };
	f->worker.settings.oversized = MUX_OVERSIZED_DROP;
	struct steer_case cases[] = {
		{ "as long as can be", test_tcp(&t, TCP_ACK, NULL, MUX_MTU - ENCAP_BYTES - 40), "10.1.1.11", DROP_NONE },
		{ "longer", test_tcp(&t, TCP_ACK, NULL, MUX_MTU - ENCAP_BYTES - 39), NULL, DROP_TOO_BIG },
	};
	check_steering(f, cases, 2);
	f->worker.neighbors.entries[0].has_mac = false;
	struct steer_case none[] = { { "no gateway", test_tcp(&t, TCP_ACK, NULL, 0), NULL, DROP_NO_NEXT_HOP } };
	check_steering(f, none, 1);
	fixture_destroy(f);
}
END_TEST

START_TEST(leases_live_through_changes_of_their_vip_and_of_others)
{
	static const char *const one[] = { "10.1.9.11", NULL };
	struct fixture *f = with_leases();
	fixture_put_vip(f, test_vip("203.0.113.5", "other", one));
	struct vip_config *vip = snat_vip();
	vip->endpoints[0].port = 9090;
	fixture_put_vip(f, vip);
	struct steer_case kept[] = { { "leased", tcp_to(SNAT_VIP, 1032), "10.1.1.11", DROP_NONE } };
	check_steering(f, kept, 1);
	fixture_put_vip(f, test_vip(SNAT_VIP, "shop", one)); // no SNAT any more
	fixture_put_vip(f, snat_vip());
	struct steer_case gone[] = { { "a new beginning", tcp_to(SNAT_VIP, 1032), NULL, DROP_SNAT_NO_LEASE } };
	check_steering(f, gone, 1);
	fixture_destroy(f);
}
END_TEST

// ---- ICMP about connections ----

// What a VIP sent, from its port to a client or server.
static struct test_tuple from_vip(const char *vip, uint16_t port)
{
	return (struct test_tuple){ .src = vip, .dst = "198.51.100.7", .src_port = port, .dst_port = 40000 };
}

static struct test_frame error_about(const struct test_frame *inside, const char *vip, uint8_t type, uint32_t n_bytes)
{
	struct test_tuple router = { .src = "192.0.2.1", .dst = vip };
	return test_icmp_error(&router, type, 4, inside, n_bytes);
}

static struct test_frame unreachable_tcp(const char *vip, uint16_t port, uint32_t n_bytes)
{
	struct test_tuple t = from_vip(vip, port);
	struct test_frame inside = test_tcp(&t, TCP_ACK, NULL, 1400);
	return error_about(&inside, vip, ICMP_UNREACHABLE, n_bytes);
}

static struct test_frame unreachable_udp(const char *vip, uint16_t port, uint8_t type)
{
	struct test_tuple t = from_vip(vip, port);
	struct test_frame inside = test_udp(&t, NULL, 30);
	return error_about(&inside, vip, type, 28);
}

static struct test_frame about_echo(const char *vip, uint8_t type, uint16_t id)
{
	struct test_tuple t = from_vip(vip, 0);
	struct test_frame inside = test_icmp(&t, type, 0, id, 1, NULL, 56);
	return error_about(&inside, vip, ICMP_TIME_EXCEEDED, UINT32_MAX);
}

static struct test_frame echo_reply(const char *vip, uint8_t code, uint16_t id)
{
	struct test_tuple t = { .src = "198.51.100.7", .dst = vip };
	return test_icmp(&t, ICMP_ECHO_REPLY, code, id, 1, NULL, 56);
}

static struct test_frame of_other_vip(void)
{
	struct test_tuple t = from_vip(PLAIN_VIP, 1032);
	struct test_frame inside = test_tcp(&t, TCP_ACK, NULL, 0);
	return error_about(&inside, SNAT_VIP, ICMP_UNREACHABLE, 28);
}

START_TEST(icmp_goes_to_the_dip_whose_connection_it_is_about)
{
	struct fixture *f = with_leases();
	struct steer_case cases[] = {
		{ "fragmentation needed, TCP", unreachable_tcp(SNAT_VIP, 1032, 548), "10.1.1.11", DROP_NONE },
		{ "the same cut to 8 bytes", unreachable_tcp(SNAT_VIP, 1039, 28), "10.1.1.11", DROP_NONE },
		{ "cut to 7 bytes", unreachable_tcp(SNAT_VIP, 1032, 27), NULL, DROP_ICMP_UNKNOWN },
		{ "time exceeded, UDP", unreachable_udp(SNAT_VIP, 65530, ICMP_TIME_EXCEEDED), "10.1.5.5", DROP_NONE },
		{ "parameter problem", unreachable_udp(SNAT_VIP, 1032, ICMP_PARAMETER_PROBLEM), "10.1.1.11", DROP_NONE },
		{ "source quench", unreachable_udp(SNAT_VIP, 1032, 4), NULL, DROP_ICMP_IGNORED },
		{ "about an echo request", about_echo(SNAT_VIP, ICMP_ECHO, 1034), "10.1.1.11", DROP_NONE },
		{ "about an echo reply", about_echo(SNAT_VIP, ICMP_ECHO_REPLY, 1034), NULL, DROP_ICMP_UNKNOWN },
		{ "not leased", unreachable_tcp(SNAT_VIP, 1040, 28), NULL, DROP_ICMP_UNKNOWN },
		{ "about another's packet", of_other_vip(), NULL, DROP_ICMP_UNKNOWN },
		{ "a VIP without SNAT", unreachable_tcp(PLAIN_VIP, 1032, 28), NULL, DROP_ICMP_UNKNOWN },
		{ "to no VIP", unreachable_tcp("203.0.113.11", 1032, 28), NULL, DROP_NOT_A_VIP },
		{ "echo reply", echo_reply(SNAT_VIP, 0, 65528), "10.1.5.5", DROP_NONE },
		{ "echo reply to nobody", echo_reply(SNAT_VIP, 0, 2000), NULL, DROP_ICMP_UNKNOWN },
		{ "echo reply, a strange code", echo_reply(SNAT_VIP, 1, 65528), NULL, DROP_ICMP_IGNORED },
	};
	check_steering(f, cases, sizeof cases / sizeof *cases);
	const struct vip_counters *vips = &f->vips;
	uint32_t slot = vip_slots_of(&f->slots, 1);
	ck_assert_uint_eq(f->worker.counters.icmp_errors_steered, 5);
	ck_assert_uint_eq(vips->icmp_errors_steered[slot], 5);
	ck_assert_uint_eq(vips->snat[slot].packets, 1);
	fixture_destroy(f);
}
END_TEST

START_TEST(an_error_about_an_endpoints_connection_goes_where_its_packets_go)
{
	struct fixture *f = with_leases();
	for (uint16_t port = 1024; port < 1524; port++) {
		struct test_tuple in = to_vip;
		in.src_port = port;
		struct test_frame packet = test_tcp(&in, TCP_ACK, NULL, 0);
		struct mux_frame m = fixture_send(f, &packet);
		struct test_tuple back = { to_vip.dst, to_vip.src, to_vip.dst_port, port, NULL, NULL, 0, 0 };
		struct test_frame answer = test_tcp(&back, TCP_ACK, NULL, 1400);
		struct test_frame error = error_about(&answer, to_vip.dst, ICMP_UNREACHABLE, 28);
		struct mux_frame e = fixture_send(f, &error);
		ck_assert_int_eq(e.verdict, MUX_TO_UPLINK);
		ck_assert_uint_eq(outer_dst(&e), outer_dst(&m));
	}
	fixture_destroy(f);
}
END_TEST

// ---- counters ----

START_TEST(snat_is_counted_for_the_mux_and_for_the_vip)
{
	struct fixture *f = with_leases();
	uint32_t bytes = 0;
	for (uint32_t i = 0; i < 5; i++) {
		struct test_frame frame = i % 2 == 0 ? tcp_to(SNAT_VIP, 1032) : udp_to(SNAT_VIP, 65528);
		bytes += frame.len - ETH_BYTES;
		(void)fixture_send(f, &frame);
	}
	struct test_frame in = tcp_to(SNAT_VIP, 8080);
	uint32_t in_bytes = in.len - ETH_BYTES;
	(void)fixture_send(f, &in);
	const struct mux_counters *c = &f->worker.counters;
	uint32_t slot = vip_slots_of(&f->slots, 1);
	ck_assert_uint_eq(c->forwarded_packets, 6);
	ck_assert_uint_eq(c->snat_packets, 5);
	ck_assert_uint_eq(c->snat_bytes, bytes);
	ck_assert_uint_eq(f->vips.snat[slot].packets, 5);
	ck_assert_uint_eq(f->vips.snat[slot].bytes, bytes);
	ck_assert_uint_eq(f->vips.endpoints[slot].packets, 1);
	ck_assert_uint_eq(f->vips.endpoints[slot].bytes, in_bytes);
	fixture_destroy(f);
}
END_TEST

START_TEST(counters_tell_what_was_done)
{
	struct fixture *f = with_vip();
	uint32_t in_bytes = 0, inner_bytes = 0;
	for (uint32_t i = 0; i < 10; i++) {
		struct test_frame frame = test_tcp(&to_vip, TCP_ACK, NULL, 100 * i);
		in_bytes += frame.len;
		inner_bytes += frame.len - ETH_BYTES;
		(void)fixture_send(f, &frame);
	}
	struct test_frame own = tcp_to(MUX_ADDRESS, 179);
	(void)fixture_send(f, &own);
	const struct mux_counters *c = &f->worker.counters;
	ck_assert_uint_eq(c->rx_packets, 11);
	ck_assert_uint_eq(c->rx_bytes, in_bytes + own.len);
	ck_assert_uint_eq(c->forwarded_packets, 10);
	ck_assert_uint_eq(c->forwarded_bytes, in_bytes + 10 * ENCAP_BYTES);
	ck_assert_uint_eq(c->to_tap_packets, 1);
	const struct vip_traffic *vip = &f->vips.endpoints[vip_slots_of(&f->slots, 0)];
	ck_assert_uint_eq(vip->packets, 10);
	ck_assert_uint_eq(vip->bytes, inner_bytes);
	fixture_destroy(f);
}
END_TEST

START_TEST(counters_of_a_vip_survive_changes_of_it_and_of_others)
{
	static const char *const one[] = { "10.1.9.11", NULL };
	struct fixture *f = with_vip();
	struct test_frame frame = tcp_to("203.0.113.10", 80);
	(void)fixture_send(f, &frame);
	fixture_put_vip(f, test_vip("203.0.113.5", "other", one)); // sorts before
	fixture_put_vip(f, test_vip("203.0.113.10", "shop", one));
	frame = tcp_to("203.0.113.10", 80);
	struct mux_frame m = fixture_send(f, &frame);
	ck_assert_uint_eq(outer_dst(&m), test_ip4("10.1.9.11"));
	ck_assert_uint_eq(f->vips.endpoints[vip_slots_of(&f->slots, 1)].packets, 2);
	ck_assert_uint_eq(f->vips.endpoints[vip_slots_of(&f->slots, 0)].packets, 0);
	fixture_destroy(f);
}
END_TEST

SUITE_MAIN("mux pipeline", a_packet_to_an_endpoint_is_encapsulated_for_one_of_its_dips,
           padding_after_the_packet_is_not_carried_on,
           a_flow_always_goes_to_the_same_dip_whatever_its_flags_and_payload,
           two_muxes_choose_the_same_dip_for_every_flow, every_kind_of_packet_gets_its_verdict,
           without_configuration_only_own_traffic_passes, a_vip_that_is_deleted_is_no_vip,
           what_would_exceed_the_mtu_with_its_outer_header_is_dropped,
           every_truncation_of_a_packet_is_dropped_and_counted, nothing_is_forwarded_before_a_gateway_answers,
           flows_are_spread_over_the_gateways_that_answer, an_echo_request_to_a_vip_is_answered_by_the_vip,
           echo_replies_are_limited_and_the_limit_recovers, a_reply_to_a_leased_port_goes_to_the_dip_that_has_it,
           an_endpoint_keeps_its_port_whatever_is_leased, snat_replies_obey_mtu_and_next_hops,
           leases_live_through_changes_of_their_vip_and_of_others, icmp_goes_to_the_dip_whose_connection_it_is_about,
           an_error_about_an_endpoints_connection_goes_where_its_packets_go,
           snat_is_counted_for_the_mux_and_for_the_vip, counters_tell_what_was_done,
           counters_of_a_vip_survive_changes_of_it_and_of_others)
