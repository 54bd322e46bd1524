#include <stdio.h>
#include <stdlib.h>

#include "tests/support/suite.h"
#include "tests/unit/hostagent/fixture.h"
#include "tests/unit/hostagent/flow_block.h"

#define CLIENT "198.51.100.7"
#define VIP "203.0.113.10"
#define TO_VM1 "02:61:6e:61:6e:74 > 02:00:00:01:01:0b ip4 "
#define TO_VM2 "02:61:6e:61:6e:74 > 02:00:00:01:01:0c ip4 "
#define UNCHANGED "02:00:00:00:00:01 > 02:00:00:00:00:02 ip4 "

static const struct mac broadcast = { { 255, 255, 255, 255, 255, 255 } };

static struct test_frame tcp_to(const char *src, uint16_t src_port, const char *dst, uint16_t dst_port, uint8_t flags)
{
	struct test_tuple t = { .src = src, .dst = dst, .src_port = src_port, .dst_port = dst_port };
	return test_tcp(&t, flags, NULL, (flags & TCP_SYN) ? 0 : 20);
}

static struct test_frame udp_to(const char *src, uint16_t src_port, const char *dst, uint16_t dst_port)
{
	struct test_tuple t = { .src = src, .dst = dst, .src_port = src_port, .dst_port = dst_port };
	return test_udp(&t, "query", 5);
}

// What the client sends to the VIP, as mux1 hands it to a DIP.
static struct test_frame from_mux(const char *dip, uint16_t src_port, uint16_t vip_port, uint8_t flags)
{
	struct test_frame inner = tcp_to(CLIENT, src_port, VIP, vip_port, flags);
	return fixture_encapsulate("10.0.0.31", dip, &inner);
}

static void expect_inbound(struct agent_fixture *f, const char *what, struct test_frame frame, const char *want)
{
	char got[400];
	struct agent_packet p = fixture_inbound(f, &frame);
	fixture_text(&p, got, sizeof got);
	ck_assert_msg(strcmp(got, want) == 0, "%s:\n  want %s\n  got  %s", what, want, got);
	const char *wrong = NULL;
	if (p.verdict != AGENT_DROP && frame_ether_type(p.frame) == be16_from(ETHER_IP4))
		ck_assert_msg(test_checksums_ok(p.frame, p.len, &wrong), "%s: wrong %s checksum", what, wrong);
}

static struct test_frame with_dst_mac(struct test_frame f, const struct mac *mac)
{
	memcpy(test_data(&f), mac, MAC_BYTES);
	return f;
}

static struct test_frame with_type(struct test_frame f, uint16_t type)
{
	((struct eth_header *)test_data(&f))->ether_type = be16_from(type);
	return f;
}

static struct test_frame fragment_of(struct test_frame f, uint16_t offset, bool more)
{
	test_set_fragment(&f, offset, more);
	return f;
}

START_TEST(every_kind_of_frame_has_its_verdict)
{
	static const struct mac other = { { 2, 9, 9, 9, 9, 9 } };
	struct test_tuple icmp_vip = { .src = CLIENT, .dst = VIP };
	struct test_tuple icmp_dip = { .src = "10.1.9.9", .dst = "10.1.1.12" };
	struct test_tuple esp = { .src = "10.1.9.9", .dst = "10.1.1.11" };
	struct test_tuple own = { .src = "10.0.0.11", .dst = "10.0.0.21", .src_port = 7400, .dst_port = 33000 };
	struct test_frame icmp_inner = test_icmp(&icmp_vip, ICMP_ECHO, 0, 1, 1, "x", 1);
	struct test_frame syn = tcp_to(CLIENT, 40000, VIP, 80, TCP_SYN);
	struct test_frame in_syn = from_mux("10.1.1.11", 40000, 80, TCP_SYN);
	struct test_frame syn_fragment = fragment_of(syn, 0, true);
	struct test_frame nested = fixture_encapsulate("10.0.0.31", "10.1.1.11", &in_syn);
	const struct {
		const char *what;
		struct test_frame frame;
		const char *want;
	} rows[] = {
		{ "a SYN to the VIP becomes one to the VM", in_syn,
		  "vm0 " TO_VM1 "198.51.100.7:40000 > 10.1.1.11:8080 tcp S seq 1 ack 0 len 0 ttl 64 id 4660" },
		{ "the middle of a connection is adopted", from_mux("10.1.1.11", 40001, 80, TCP_ACK),
		  "vm0 " TO_VM1 "198.51.100.7:40001 > 10.1.1.11:8080 tcp A seq 1 ack 1 len 20 ttl 64 id 4660" },
		{ "another endpoint, another VM", from_mux("10.1.1.12", 40000, 81, TCP_SYN),
		  "vm1 " TO_VM2 "198.51.100.7:40000 > 10.1.1.12:8080 tcp S seq 1 ack 0 len 0 ttl 64 id 4660" },
		{ "an endpoint that the VIP has not", from_mux("10.1.1.11", 40000, 443, TCP_SYN), "drop encap_no_endpoint" },
		{ "an endpoint of another DIP", from_mux("10.1.1.12", 40005, 80, TCP_SYN), "drop encap_no_endpoint" },
		{ "a DIP of another host", from_mux("10.1.2.11", 40000, 80, TCP_SYN), "drop not_for_us" },
		{ "encapsulated by a stranger", fixture_encapsulate("10.0.0.66", "10.1.1.11", &syn), "drop encap_source" },
		{ "encapsulated by the client itself", fixture_encapsulate(CLIENT, "10.1.1.11", &syn), "drop encap_source" },
		{ "encapsulated by another host's agent", fixture_encapsulate("10.0.0.22", "10.1.1.11", &syn),
		  "vm0 " TO_VM1 "198.51.100.7:40000 > 10.1.1.11:8080 tcp S seq 1 ack 0 len 0 ttl 64 id 4660" },
		{ "ICMP inside", fixture_encapsulate("10.0.0.31", "10.1.1.11", &icmp_inner), "drop icmp_unknown" },
		{ "a fragment inside", fixture_encapsulate("10.0.0.31", "10.1.1.11", &syn_fragment),
		  "drop fragment_malformed" },
		{ "encapsulated twice", nested, "drop encap_no_endpoint" },
		{ "a piece of an encapsulated packet", fragment_of(in_syn, 0, true), "drop fragment" },
		{ "its other piece", fragment_of(in_syn, 2, false), "drop fragment" },
		{ "plain TCP to a port without endpoint", tcp_to("10.1.9.9", 5000, "10.1.1.11", 22, TCP_SYN),
		  "vm0 " TO_VM1 "10.1.9.9:5000 > 10.1.1.11:22 tcp S seq 1 ack 0 len 0 ttl 64 id 4660" },
		{ "plain TCP to a port with endpoint", tcp_to("10.1.9.9", 5000, "10.1.1.11", 8080, TCP_SYN),
		  "vm0 " TO_VM1 "10.1.9.9:5000 > 10.1.1.11:8080 tcp S seq 1 ack 0 len 0 ttl 64 id 4660" },
		{ "plain UDP", udp_to("10.1.9.9", 5000, "10.1.1.12", 53),
		  "vm1 " TO_VM2 "10.1.9.9:5000 > 10.1.1.12:53 udp len 5 ttl 64 id 4660" },
		{ "plain ICMP", test_icmp(&icmp_dip, ICMP_ECHO, 0, 1, 1, "x", 1),
		  "vm1 " TO_VM2 "10.1.9.9:0 > 10.1.1.12:0 icmp type 8 code 0 ttl 64 id 4660" },
		{ "a plain fragment", fragment_of(udp_to("10.1.9.9", 5000, "10.1.1.11", 53), 0, true),
		  "vm0 " TO_VM1 "10.1.9.9:0 > 10.1.1.11:0 fragment 2000 ttl 64 id 4660" },
		{ "any other protocol", test_ip_proto(&esp, 50, "abcdefgh", 8),
		  "vm0 " TO_VM1 "10.1.9.9:0 > 10.1.1.11:0 protocol 50 ttl 64 id 4660" },
		{ "the host's own address", test_tcp(&own, TCP_ACK, NULL, 0),
		  "tap " UNCHANGED "10.0.0.11:7400 > 10.0.0.21:33000 tcp A seq 1 ack 1 len 0 ttl 64 id 4660" },
		{ "nobody's address", tcp_to("10.1.9.9", 5000, "10.1.1.99", 80, TCP_SYN), "drop not_for_us" },
		{ "the VIP itself, not encapsulated", syn, "drop not_for_us" },
		{ "another MAC address", with_dst_mac(in_syn, &other), "drop not_for_us" },
		{ "an IPv4 broadcast", with_dst_mac(in_syn, &broadcast), "drop not_for_us" },
		{ "IPv4 that says it is IPv6", with_type(in_syn, ETHER_IP6), "drop ip_version" },
		{ "a VLAN tag", with_type(in_syn, 0x8100), "drop ether_type" },
	};
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		struct agent_fixture f;
		fixture_init(&f, 64);
		expect_inbound(&f, rows[i].what, rows[i].frame, rows[i].want);
		fixture_fini(&f);
	}
}
END_TEST

START_TEST(arp_goes_to_the_tap_and_feeds_the_neighbors)
{
	struct agent_fixture f;
	fixture_init(&f, 64);
	static const struct mac new_mac = { { 2, 7, 7, 7, 7, 7 } };
	expect_inbound(
		&f, "a request for the host", test_arp(1, &TEST_MAC_A, "10.0.0.1", &TEST_MAC_B, "10.0.0.21", &broadcast),
		"tap 02:00:00:00:00:01 > ff:ff:ff:ff:ff:ff arp request 10.0.0.1 (02:00:00:00:00:01) asks/tells 10.0.0.21");
	expect_inbound(
		&f, "the gateway has a new MAC", test_arp(2, &new_mac, "10.0.0.1", &TEST_MAC_B, "10.0.0.21", &TEST_MAC_B),
		"tap 02:07:07:07:07:07 > 02:00:00:00:00:02 arp reply 10.0.0.1 (02:07:07:07:07:07) asks/tells 10.0.0.21");
	ck_assert(memcmp(&f.agent.neighbors.entries[0].mac, &new_mac, MAC_BYTES) == 0);
	struct test_frame for_dip = test_arp(1, &TEST_MAC_A, "10.0.0.1", &TEST_MAC_B, "10.1.1.11", &broadcast);
	expect_inbound(&f, "a request for a DIP", for_dip, "drop not_for_us");
	f.agent.settings.proxy_arp = true;
	expect_inbound(
		&f, "a request for a DIP, on a shared segment", for_dip,
		"uplink 02:00:00:00:00:02 > 02:00:00:00:00:01 arp reply 10.1.1.11 (02:00:00:00:00:02) asks/tells 10.0.0.1");
	expect_inbound(&f, "a request for a DIP elsewhere",
	               test_arp(1, &TEST_MAC_A, "10.0.0.1", &TEST_MAC_B, "10.1.2.11", &broadcast), "drop not_for_us");
	ck_assert_uint_eq(f.agent.counters.arp_replies, 1);
	fixture_fini(&f);
}
END_TEST

START_TEST(without_configuration_only_the_host_itself_is_served)
{
	struct agent_fixture f;
	fixture_init(&f, 64);
	f.agent.config = NULL;
	expect_inbound(&f, "to a VIP", from_mux("10.1.1.11", 40000, 80, TCP_SYN), "drop no_config");
	struct test_tuple own = { .src = "10.0.0.11", .dst = "10.0.0.21", .src_port = 1, .dst_port = 2 };
	struct test_frame frame = test_tcp(&own, TCP_ACK, NULL, 0);
	ck_assert_int_eq(fixture_inbound(&f, &frame).verdict, AGENT_TO_TAP);
	fixture_fini(&f);
}
END_TEST

START_TEST(a_vm_whose_port_is_closed_gets_nothing)
{
	struct agent_fixture f;
	fixture_init(&f, 64);
	f.agent.port_is_open[0] = false;
	expect_inbound(&f, "to a VIP", from_mux("10.1.1.11", 40000, 80, TCP_SYN), "drop vm_not_ready");
	ck_assert_uint_eq(f.agent.counters.inbound_packets, 0);
	fixture_fini(&f);
}
END_TEST

START_TEST(the_mss_of_a_syn_is_clamped)
{
	static const uint8_t mss_1460[] = { 2, 4, 0x05, 0xb4 };
	struct agent_fixture f;
	fixture_init(&f, 64);
	struct test_tuple t = { .src = CLIENT, .dst = VIP, .src_port = 40000, .dst_port = 80 };
	struct test_frame inner = test_tcp_options(&t, TCP_SYN, mss_1460, sizeof mss_1460, NULL, 0);
	struct test_frame frame = fixture_encapsulate("10.0.0.31", "10.1.1.11", &inner);
	struct agent_packet p = fixture_inbound(&f, &frame);
	ck_assert_int_eq(p.verdict, AGENT_TO_VM);
	ck_assert_uint_eq(be16_to(load16(p.frame + ETH_BYTES + IP4_BYTES + 20 + 2)), 1440);
	ck_assert(test_checksums_ok(p.frame, p.len, NULL));
	ck_assert_uint_eq(f.agent.counters.mss_clamped, 1);
	fixture_fini(&f);
}
END_TEST

START_TEST(a_damaged_checksum_stays_damaged)
{
	struct agent_fixture f;
	fixture_init(&f, 64);
	struct test_frame frame = from_mux("10.1.1.11", 40000, 80, TCP_ACK);
	test_data(&frame)[frame.len - 1] ^= 0x55;
	struct agent_packet p = fixture_inbound(&f, &frame);
	ck_assert_int_eq(p.verdict, AGENT_TO_VM);
	ck_assert(!test_checksums_ok(p.frame, p.len, NULL));
	fixture_fini(&f);
}
END_TEST

static uint8_t state_of(struct agent_fixture *f, const char *local, uint16_t port, uint16_t client_port)
{
	struct flow_key key = flow_key_make(test_ip4(CLIENT), test_ip4(local), be16_from(client_port), be16_from(port),
	                                    IP_PROTO_TCP, FLOW_INBOUND);
	struct flow_entry *e = flow_table_lookup(&f->agent.flows, &key, flow_table_hash(&f->agent.flows, &key));
	return e == NULL ? FLOW_FREE : e->state;
}

START_TEST(a_stray_rst_is_delivered_but_makes_no_flow)
{
	struct agent_fixture f;
	fixture_init(&f, 64);
	expect_inbound(&f, "RST", from_mux("10.1.1.11", 40000, 80, TCP_RST),
	               "vm0 " TO_VM1 "198.51.100.7:40000 > 10.1.1.11:8080 tcp R seq 1 ack 0 len 20 ttl 64 id 4660");
	ck_assert_uint_eq(f.agent.flows.n_flows, 0);
	fixture_fini(&f);
}
END_TEST

START_TEST(a_known_flow_goes_on_when_its_dip_left_the_endpoint)
{
	struct agent_fixture f;
	fixture_init(&f, 64);
	struct test_frame frame = from_mux("10.1.1.11", 40000, 80, TCP_SYN);
	ck_assert_int_eq(fixture_inbound(&f, &frame).verdict, AGENT_TO_VM);
	fixture_change(&f, test_delete(OBJECT_VIP, VIP));
	expect_inbound(&f, "known", from_mux("10.1.1.11", 40000, 80, TCP_ACK),
	               "vm0 " TO_VM1 "198.51.100.7:40000 > 10.1.1.11:8080 tcp A seq 1 ack 1 len 20 ttl 64 id 4660");
	expect_inbound(&f, "new", from_mux("10.1.1.11", 40001, 80, TCP_SYN), "drop encap_no_endpoint");
	fixture_fini(&f);
}
END_TEST

START_TEST(a_known_flow_goes_to_its_own_vm_whichever_dip_the_mux_chose)
{
	struct agent_fixture f;
	fixture_init(&f, 64);
	struct test_frame frame = from_mux("10.1.1.11", 40000, 80, TCP_SYN);
	ck_assert_int_eq(fixture_inbound(&f, &frame).verdict, AGENT_TO_VM);
	expect_inbound(&f, "by way of the other DIP", from_mux("10.1.1.12", 40000, 80, TCP_ACK),
	               "vm0 " TO_VM1 "198.51.100.7:40000 > 10.1.1.11:8080 tcp A seq 1 ack 1 len 20 ttl 64 id 4660");
	fixture_change(&f, test_delete(OBJECT_DIP, "10.1.1.11"));
	expect_inbound(&f, "its VM has left this host", from_mux("10.1.1.12", 40000, 80, TCP_ACK),
	               "drop encap_no_endpoint");
	ck_assert_uint_eq(f.agent.flows.n_flows, 0);
	fixture_fini(&f);
}
END_TEST

START_TEST(a_closed_flow_gives_way_to_a_new_syn_and_a_live_one_does_not)
{
	struct agent_fixture f;
	fixture_init(&f, 64);
	struct test_frame frame = from_mux("10.1.1.11", 40000, 80, TCP_SYN);
	fixture_inbound(&f, &frame);
	frame = from_mux("10.1.1.11", 40000, 80, TCP_RST | TCP_ACK);
	fixture_inbound(&f, &frame);
	ck_assert_uint_eq(state_of(&f, VIP, 80, 40000), FLOW_RESET);
	frame = from_mux("10.1.1.11", 40000, 80, TCP_SYN);
	ck_assert_int_eq(fixture_inbound(&f, &frame).verdict, AGENT_TO_VM);
	ck_assert_uint_eq(state_of(&f, VIP, 80, 40000), FLOW_SYN);
	ck_assert_uint_eq(f.agent.counters.flows_replaced, 1);
	frame = from_mux("10.1.1.11", 40000, 80, TCP_SYN); // the same SYN once more
	ck_assert_int_eq(fixture_inbound(&f, &frame).verdict, AGENT_TO_VM);
	ck_assert_uint_eq(f.agent.counters.flows_created, 2);
	fixture_fini(&f);
}
END_TEST

START_TEST(one_client_port_to_two_endpoints_of_one_vm_port_conflicts)
{
	struct agent_fixture f;
	fixture_init(&f, 64);
	struct test_frame frame = from_mux("10.1.1.12", 40000, 81, TCP_SYN);
	fixture_inbound(&f, &frame);
	expect_inbound(&f, "while the first lives", from_mux("10.1.1.12", 40000, 82, TCP_SYN), "drop flow_conflict");
	frame = from_mux("10.1.1.12", 40000, 81, TCP_RST);
	fixture_inbound(&f, &frame);
	expect_inbound(&f, "when the first is over", from_mux("10.1.1.12", 40000, 82, TCP_SYN),
	               "vm1 " TO_VM2 "198.51.100.7:40000 > 10.1.1.12:8080 tcp S seq 1 ack 0 len 0 ttl 64 id 4660");
	ck_assert_uint_eq(f.agent.flows.n_flows, 1);
	fixture_fini(&f);
}
END_TEST

START_TEST(a_full_table_refuses_new_flows_and_serves_the_known_ones)
{
	struct agent_fixture f;
	fixture_init(&f, 16);
	for (uint16_t i = 0; i < 16; i++) {
		struct test_frame frame = from_mux("10.1.1.11", (uint16_t)(40000 + i), 80, TCP_SYN);
		ck_assert_int_eq(fixture_inbound(&f, &frame).verdict, AGENT_TO_VM);
	}
	expect_inbound(&f, "new", from_mux("10.1.1.11", 50000, 80, TCP_SYN), "drop flow_table_full");
	expect_inbound(&f, "plain traffic needs no flow", tcp_to("10.1.9.9", 5000, "10.1.1.11", 8080, TCP_SYN),
	               "vm0 " TO_VM1 "10.1.9.9:5000 > 10.1.1.11:8080 tcp S seq 1 ack 0 len 0 ttl 64 id 4660");
	expect_inbound(&f, "known", from_mux("10.1.1.11", 40003, 80, TCP_ACK),
	               "vm0 " TO_VM1 "198.51.100.7:40003 > 10.1.1.11:8080 tcp A seq 1 ack 1 len 20 ttl 64 id 4660");
	agent_set_now(&f.agent, at_s(1040)); // the SYNs were never answered
	expect_inbound(&f, "new, later", from_mux("10.1.1.11", 50000, 80, TCP_SYN),
	               "vm0 " TO_VM1 "198.51.100.7:50000 > 10.1.1.11:8080 tcp S seq 1 ack 0 len 0 ttl 64 id 4660");
	fixture_fini(&f);
}
END_TEST

START_TEST(a_plain_packet_corrects_a_guess_but_not_a_known_flow)
{
	struct agent_fixture f;
	fixture_init(&f, 64);
	struct test_tuple reply = vm_tuple("10.1.1.11", 8080, CLIENT, 40000);
	struct test_frame frame = test_tcp(&reply, TCP_ACK, NULL, 10);
	ck_assert_int_eq(fixture_outbound(&f, 0, &frame).verdict, AGENT_TO_UPLINK);
	ck_assert_uint_eq(state_of(&f, VIP, 80, 40000), FLOW_UNCONFIRMED_OUT);
	frame = tcp_to(CLIENT, 40000, "10.1.1.11", 8080, TCP_ACK); // so it is a plain connection
	fixture_inbound(&f, &frame);
	ck_assert_uint_eq(state_of(&f, VIP, 80, 40000), FLOW_FREE);
	ck_assert_uint_eq(state_of(&f, "10.1.1.11", 8080, 40000), FLOW_UNCONFIRMED_IN);

	frame = from_mux("10.1.1.11", 40001, 80, TCP_SYN);
	fixture_inbound(&f, &frame);
	frame = tcp_to(CLIENT, 40001, "10.1.1.11", 8080, TCP_ACK);
	ck_assert_int_eq(fixture_inbound(&f, &frame).verdict, AGENT_TO_VM);
	ck_assert_uint_eq(state_of(&f, VIP, 80, 40001), FLOW_SYN);
	ck_assert_uint_eq(state_of(&f, "10.1.1.11", 8080, 40001), FLOW_FREE);
	fixture_fini(&f);
}
END_TEST

START_TEST(every_truncation_of_a_frame_is_dropped_or_was_padding)
{
	struct agent_fixture f;
	fixture_init(&f, 64);
	struct test_frame whole[] = {
		from_mux("10.1.1.11", 40000, 80, TCP_SYN),
		tcp_to("10.1.9.9", 5000, "10.1.1.11", 8080, TCP_ACK),
		test_arp(1, &TEST_MAC_A, "10.0.0.1", &TEST_MAC_B, "10.0.0.21", &broadcast),
	};
	for (size_t i = 0; i < sizeof whole / sizeof *whole; i++) {
		for (uint32_t len = 0; len < whole[i].len; len++) {
			uint8_t *exact = malloc(len + 1); // ASan sees any byte beyond
			memcpy(exact, test_data(&whole[i]), len);
			struct agent_packet p = { .frame = exact, .len = len };
			agent_inbound(&f.agent, &p, 1);
			ck_assert_msg(p.verdict == AGENT_DROP, "frame %zu cut to %u bytes went on", i, len);
			free(exact);
		}
	}
	ck_assert_uint_eq(f.agent.flows.n_flows, 0);
	fixture_fini(&f);
}
END_TEST

START_TEST(an_inner_length_beyond_the_outer_packet_is_malformed)
{
	struct agent_fixture f;
	fixture_init(&f, 64);
	struct test_frame frame = from_mux("10.1.1.11", 40000, 80, TCP_ACK);
	struct ip4_header *inner = (struct ip4_header *)(test_data(&frame) + ETH_BYTES + IP4_BYTES);
	inner->total_length = be16_from((uint16_t)(be16_to(inner->total_length) + 1));
	frame.len += 10; // the bytes would be there, as padding
	expect_inbound(&f, "one byte too long", frame, "drop encap_malformed");
	fixture_fini(&f);
}
END_TEST

// A burst gives what single packets give, also when its packets depend on each other.
START_TEST(a_burst_equals_one_packet_after_the_other)
{
	struct agent_fixture burst;
	struct agent_fixture single;
	fixture_init(&burst, 64);
	fixture_init(&single, 64);
	uint64_t seed = 5;
	for (int round = 0; round < 300; round++) {
		static struct test_frame a[AGENT_BURST];
		static struct test_frame b[AGENT_BURST];
		struct agent_packet packets[AGENT_BURST];
		for (uint32_t i = 0; i < AGENT_BURST; i++) {
			static const uint8_t flags[] = { TCP_SYN, TCP_ACK, TCP_RST, TCP_FIN | TCP_ACK };
			uint16_t client_port = (uint16_t)(40000 + random_below(&seed, 10));
			uint16_t vip_port = (uint16_t)(80 + random_below(&seed, 4));
			a[i] = from_mux(random_below(&seed, 2) ? "10.1.1.11" : "10.1.1.12", client_port, vip_port,
			                flags[random_below(&seed, 4)]);
			b[i] = a[i];
			packets[i] = (struct agent_packet){ .frame = test_data(&a[i]), .len = a[i].len };
		}
		agent_inbound(&burst.agent, packets, AGENT_BURST);
		for (uint32_t i = 0; i < AGENT_BURST; i++) {
			char want[400];
			char got[400];
			struct agent_packet p = fixture_inbound(&single, &b[i]);
			ck_assert_str_eq(fixture_text(&packets[i], got, sizeof got), fixture_text(&p, want, sizeof want));
		}
	}
	ck_assert(memcmp(&burst.agent.counters, &single.agent.counters, sizeof burst.agent.counters) == 0);
	fixture_fini(&burst);
	fixture_fini(&single);
}
END_TEST

SUITE_MAIN("agent inbound", every_kind_of_frame_has_its_verdict, arp_goes_to_the_tap_and_feeds_the_neighbors,
           without_configuration_only_the_host_itself_is_served, a_vm_whose_port_is_closed_gets_nothing,
           the_mss_of_a_syn_is_clamped, a_damaged_checksum_stays_damaged, a_stray_rst_is_delivered_but_makes_no_flow,
           a_known_flow_goes_on_when_its_dip_left_the_endpoint,
           a_known_flow_goes_to_its_own_vm_whichever_dip_the_mux_chose,
           a_closed_flow_gives_way_to_a_new_syn_and_a_live_one_does_not,
           one_client_port_to_two_endpoints_of_one_vm_port_conflicts,
           a_full_table_refuses_new_flows_and_serves_the_known_ones,
           a_plain_packet_corrects_a_guess_but_not_a_known_flow, every_truncation_of_a_frame_is_dropped_or_was_padding,
           an_inner_length_beyond_the_outer_packet_is_malformed, a_burst_equals_one_packet_after_the_other)
