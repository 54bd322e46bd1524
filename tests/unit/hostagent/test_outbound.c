#include <stdio.h>
#include <stdlib.h>

#include "tests/support/suite.h"
#include "tests/unit/hostagent/fixture.h"
#include "tests/unit/hostagent/flow_block.h"

#define CLIENT "198.51.100.7"
#define VIP "203.0.113.10"
#define TO_GATEWAY "uplink 02:00:00:00:00:02 > 02:00:00:00:00:01 ip4 "
#define TO_VM2 "vm1 02:61:6e:61:6e:74 > 02:00:00:01:01:0c ip4 "

static struct test_frame vm_tcp(const char *src, uint16_t src_port, const char *dst, uint16_t dst_port, uint8_t flags)
{
	struct test_tuple t = vm_tuple(src, src_port, dst, dst_port);
	return test_tcp(&t, flags, NULL, (flags & TCP_SYN) ? 0 : 20);
}

static void expect_outbound(struct agent_fixture *f, const char *what, uint16_t port, struct test_frame frame,
                            const char *want)
{
	char got[400];
	struct agent_packet p = fixture_outbound(f, port, &frame);
	fixture_text(&p, got, sizeof got);
	ck_assert_msg(strcmp(got, want) == 0, "%s:\n  want %s\n  got  %s", what, want, got);
	const char *wrong = NULL;
	if (p.verdict != AGENT_DROP && frame_ether_type(p.frame) == be16_from(ETHER_IP4))
		ck_assert_msg(test_checksums_ok(p.frame, p.len, &wrong), "%s: wrong %s checksum", what, wrong);
}

// A client's packet to the VIP, by way of mux1.
static struct agent_packet client_sends(struct agent_fixture *f, const char *client, uint16_t client_port,
                                        const char *dip, uint16_t vip_port, uint8_t flags)
{
	static struct test_frame frame;
	struct test_tuple t = { .src = client, .dst = VIP, .src_port = client_port, .dst_port = vip_port };
	struct test_frame inner = test_tcp(&t, flags, NULL, 0);
	frame = fixture_encapsulate("10.0.0.31", dip, &inner);
	return fixture_inbound(f, &frame);
}

static struct test_frame with_src_mac(struct test_frame f, const struct mac *mac)
{
	memcpy(test_data(&f) + MAC_BYTES, mac, MAC_BYTES);
	return f;
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

static const struct mac other = { { 2, 9, 9, 9, 9, 9 } };
static const struct mac multicast = { { 1, 0, 0x5e, 0, 0, 1 } };

START_TEST(every_kind_of_frame_has_its_verdict)
{
	struct test_tuple ping = vm_tuple("10.1.1.11", 0, "198.51.100.9", 0);
	struct test_tuple query = vm_tuple("10.1.1.11", 5353, CLIENT, 40000);
	struct test_frame syn = vm_tcp("10.1.1.11", 50000, "198.51.100.9", 443, TCP_SYN);
	struct test_tuple outer = vm_tuple("10.1.1.11", 0, "10.1.2.11", 0);
	struct test_frame ipip = test_ipip(&outer, &syn);
	const struct {
		const char *what;
		uint16_t port;
		struct test_frame frame;
		const char *want;
	} rows[] = {
		{ "a connection of the VM's own", 0, syn,
		  TO_GATEWAY "10.1.1.11:50000 > 198.51.100.9:443 tcp S seq 1 ack 0 len 0 ttl 64 id 4660" },
		{ "from a port that an endpoint uses, but a SYN", 0, vm_tcp("10.1.1.11", 8080, CLIENT, 443, TCP_SYN),
		  TO_GATEWAY "10.1.1.11:8080 > 198.51.100.7:443 tcp S seq 1 ack 0 len 0 ttl 64 id 4660" },
		{ "to a VIP of the data centre", 0, vm_tcp("10.1.1.11", 50000, VIP, 81, TCP_SYN),
		  TO_GATEWAY "10.1.1.11:50000 > 203.0.113.10:81 tcp S seq 1 ack 0 len 0 ttl 64 id 4660" },
		{ "to the VM beside it", 0, vm_tcp("10.1.1.11", 50000, "10.1.1.12", 22, TCP_SYN),
		  TO_VM2 "10.1.1.11:50000 > 10.1.1.12:22 tcp S seq 1 ack 0 len 0 ttl 64 id 4660" },
		{ "an echo request", 0, test_icmp(&ping, ICMP_ECHO, 0, 1, 1, "x", 1),
		  TO_GATEWAY "10.1.1.11:0 > 198.51.100.9:0 icmp type 8 code 0 ttl 64 id 4660" },
		{ "an ICMP error", 0, test_icmp(&ping, ICMP_UNREACHABLE, 3, 0, 0, "xxxxxxxx", 8),
		  TO_GATEWAY "10.1.1.11:0 > 198.51.100.9:0 icmp type 3 code 3 ttl 64 id 4660" },
		{ "a fragment", 0, fragment_of(test_udp(&query, NULL, 64), 0, true),
		  TO_GATEWAY "10.1.1.11:0 > 198.51.100.7:0 fragment 2000 ttl 64 id 4660" },
		{ "UDP without a flow", 0, test_udp(&query, "answer", 6),
		  TO_GATEWAY "10.1.1.11:5353 > 198.51.100.7:40000 udp len 6 ttl 64 id 4660" },
		{ "a lost connection, one endpoint fits", 0, vm_tcp("10.1.1.11", 8080, CLIENT, 40000, TCP_ACK),
		  TO_GATEWAY "203.0.113.10:80 > 198.51.100.7:40000 tcp A seq 1 ack 1 len 20 ttl 64 id 4660" },
		{ "a lost SYN-ACK, one endpoint fits", 0, vm_tcp("10.1.1.11", 8080, CLIENT, 40000, TCP_SYN | TCP_ACK),
		  TO_GATEWAY "203.0.113.10:80 > 198.51.100.7:40000 tcp SA seq 1 ack 1 len 0 ttl 64 id 4660" },
		{ "a lost connection, two endpoints fit", 1, vm_tcp("10.1.1.12", 8080, CLIENT, 40000, TCP_ACK),
		  TO_GATEWAY "10.1.1.12:8080 > 198.51.100.7:40000 tcp A seq 1 ack 1 len 20 ttl 64 id 4660" },
		{ "not lost: the peer is a DIP", 0, vm_tcp("10.1.1.11", 8080, "10.1.2.11", 40000, TCP_ACK),
		  TO_GATEWAY "10.1.1.11:8080 > 10.1.2.11:40000 tcp A seq 1 ack 1 len 20 ttl 64 id 4660" },
		{ "not lost: the peer is a host", 0, vm_tcp("10.1.1.11", 8080, "10.0.0.22", 40000, TCP_ACK),
		  TO_GATEWAY "10.1.1.11:8080 > 10.0.0.22:40000 tcp A seq 1 ack 1 len 20 ttl 64 id 4660" },
		{ "another VM's address", 0, vm_tcp("10.1.1.12", 50000, CLIENT, 443, TCP_SYN), "drop spoofed_mac" },
		{ "another VM's address, own MAC", 0,
		  with_src_mac(vm_tcp("10.1.1.12", 50000, CLIENT, 443, TCP_SYN), &FIXTURE_VM1_MAC), "drop spoofed_source" },
		{ "the VIP as source", 0, with_src_mac(vm_tcp(VIP, 80, CLIENT, 40000, TCP_ACK), &FIXTURE_VM1_MAC),
		  "drop spoofed_source" },
		{ "another MAC address", 0, with_src_mac(syn, &other), "drop spoofed_mac" },
		{ "IP-in-IP", 0, ipip, "drop vm_encap" },
		{ "a piece of IP-in-IP", 0, fragment_of(ipip, 0, true), "drop vm_encap" },
		{ "to a multicast MAC", 0, with_dst_mac(syn, &multicast), "drop not_for_us" },
		{ "to a MAC that is not the gateway's", 0, with_dst_mac(syn, &other),
		  TO_GATEWAY "10.1.1.11:50000 > 198.51.100.9:443 tcp S seq 1 ack 0 len 0 ttl 64 id 4660" },
		{ "IPv4 that says it is IPv6", 0, with_type(syn, ETHER_IP6), "drop ip_version" },
	};
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		struct agent_fixture f;
		fixture_init(&f, 64);
		expect_outbound(&f, rows[i].what, rows[i].port, rows[i].frame, rows[i].want);
		fixture_fini(&f);
	}
}
END_TEST

START_TEST(a_reply_leaves_with_the_vips_address)
{
	struct agent_fixture f;
	fixture_init(&f, 64);
	client_sends(&f, CLIENT, 40000, "10.1.1.11", 80, TCP_SYN);
	expect_outbound(&f, "SYN-ACK", 0, vm_tcp("10.1.1.11", 8080, CLIENT, 40000, TCP_SYN | TCP_ACK),
	                TO_GATEWAY "203.0.113.10:80 > 198.51.100.7:40000 tcp SA seq 1 ack 1 len 0 ttl 64 id 4660");
	ck_assert_uint_eq(f.agent.counters.outbound_packets, 1);
	ck_assert_uint_eq(f.agent.counters.flows_adopted, 0);
	expect_outbound(&f, "to another client port: another connection", 0,
	                vm_tcp("10.1.1.11", 8080, CLIENT, 40001, TCP_SYN),
	                TO_GATEWAY "10.1.1.11:8080 > 198.51.100.7:40001 tcp S seq 1 ack 0 len 0 ttl 64 id 4660");
	fixture_fini(&f);
}
END_TEST

START_TEST(a_connection_moves_through_its_states)
{
	static const struct {
		bool is_reply;
		uint8_t flags;
		enum flow_state want;
	} steps[] = {
		{ false, TCP_SYN, FLOW_SYN },
		{ true, TCP_SYN | TCP_ACK, FLOW_SYN_ACK },
		{ false, TCP_ACK, FLOW_ESTABLISHED },
		{ true, TCP_ACK, FLOW_ESTABLISHED },
		{ false, TCP_FIN | TCP_ACK, FLOW_FIN_IN },
		{ true, TCP_ACK, FLOW_FIN_IN },
		{ true, TCP_FIN | TCP_ACK, FLOW_CLOSED },
		{ false, TCP_ACK, FLOW_CLOSED },
		{ false, TCP_SYN, FLOW_SYN }, // the same port again
		{ true, TCP_RST | TCP_ACK, FLOW_REFUSED },
		{ false, TCP_SYN, FLOW_SYN },
		{ true, TCP_SYN | TCP_ACK, FLOW_SYN_ACK },
		{ false, TCP_ACK, FLOW_ESTABLISHED },
		{ true, TCP_RST | TCP_ACK, FLOW_RESET },
	};
	struct agent_fixture f;
	fixture_init(&f, 64);
	for (size_t i = 0; i < sizeof steps / sizeof *steps; i++) {
		if (steps[i].is_reply) {
			struct test_frame frame = vm_tcp("10.1.1.11", 8080, CLIENT, 40000, steps[i].flags);
			fixture_outbound(&f, 0, &frame);
		} else {
			client_sends(&f, CLIENT, 40000, "10.1.1.11", 80, steps[i].flags);
		}
		ck_assert_uint_eq(f.agent.flows.n_flows, 1);
		ck_assert_msg(f.agent.flows.entries[0].state == steps[i].want, "step %zu: state %s, want %s", i,
		              flow_state_name(f.agent.flows.entries[0].state), flow_state_name(steps[i].want));
	}
	fixture_fini(&f);
}
END_TEST

START_TEST(the_mss_of_a_syn_ack_is_clamped)
{
	static const uint8_t options[] = { 1, 2, 4, 0x05, 0xb4 }; // at an odd offset, too
	struct agent_fixture f;
	fixture_init(&f, 64);
	client_sends(&f, CLIENT, 40000, "10.1.1.11", 80, TCP_SYN);
	struct test_tuple t = vm_tuple("10.1.1.11", 8080, CLIENT, 40000);
	struct test_frame frame = test_tcp_options(&t, TCP_SYN | TCP_ACK, options, sizeof options, NULL, 0);
	struct agent_packet p = fixture_outbound(&f, 0, &frame);
	ck_assert_int_eq(p.verdict, AGENT_TO_UPLINK);
	ck_assert_uint_eq(be16_to(load16(p.frame + ETH_BYTES + IP4_BYTES + 20 + 3)), 1440);
	ck_assert(test_checksums_ok(p.frame, p.len, NULL));
	fixture_fini(&f);
}
END_TEST

// A client that is itself a VM of this host: its request came by way of a mux, the reply stays on the host.
START_TEST(a_reply_to_a_vm_of_the_same_host_is_rewritten_and_stays)
{
	struct agent_fixture f;
	fixture_init(&f, 64);
	ck_assert_int_eq(client_sends(&f, "10.1.1.12", 50000, "10.1.1.11", 80, TCP_SYN).verdict, AGENT_TO_VM);
	expect_outbound(&f, "SYN-ACK", 0, vm_tcp("10.1.1.11", 8080, "10.1.1.12", 50000, TCP_SYN | TCP_ACK),
	                TO_VM2 "203.0.113.10:80 > 10.1.1.12:50000 tcp SA seq 1 ack 1 len 0 ttl 64 id 4660");
	fixture_fini(&f);
}
END_TEST

START_TEST(a_plain_connection_to_an_endpoints_port_stays_plain)
{
	struct agent_fixture f;
	fixture_init(&f, 64);
	struct test_tuple t = { .src = CLIENT, .dst = "10.1.1.11", .src_port = 40000, .dst_port = 8080 };
	struct test_frame frame = test_tcp(&t, TCP_SYN, NULL, 0);
	fixture_inbound(&f, &frame);
	expect_outbound(&f, "SYN-ACK", 0, vm_tcp("10.1.1.11", 8080, CLIENT, 40000, TCP_SYN | TCP_ACK),
	                TO_GATEWAY "10.1.1.11:8080 > 198.51.100.7:40000 tcp SA seq 1 ack 1 len 0 ttl 64 id 4660");
	expect_outbound(&f, "data", 0, vm_tcp("10.1.1.11", 8080, CLIENT, 40000, TCP_ACK),
	                TO_GATEWAY "10.1.1.11:8080 > 198.51.100.7:40000 tcp A seq 1 ack 1 len 20 ttl 64 id 4660");
	ck_assert_uint_eq(f.agent.counters.outbound_plain_packets, 2);
	fixture_fini(&f);
}
END_TEST

START_TEST(an_adopted_reply_is_confirmed_by_the_client)
{
	struct agent_fixture f;
	fixture_init(&f, 64);
	struct test_frame frame = vm_tcp("10.1.1.11", 8080, CLIENT, 40000, TCP_ACK);
	fixture_outbound(&f, 0, &frame);
	ck_assert_uint_eq(f.agent.flows.entries[0].state, FLOW_UNCONFIRMED_OUT);
	ck_assert_int_eq(client_sends(&f, CLIENT, 40000, "10.1.1.11", 80, TCP_ACK).verdict, AGENT_TO_VM);
	ck_assert_uint_eq(f.agent.flows.n_flows, 1);
	ck_assert_uint_eq(f.agent.flows.entries[0].state, FLOW_ESTABLISHED);
	fixture_fini(&f);
}
END_TEST

START_TEST(a_client_that_denies_an_adopted_connection_gets_a_plain_one)
{
	struct agent_fixture f;
	fixture_init(&f, 64);
	struct test_frame frame = vm_tcp("10.1.1.11", 8080, CLIENT, 40000, TCP_ACK);
	fixture_outbound(&f, 0, &frame);
	struct agent_packet rst = client_sends(&f, CLIENT, 40000, "10.1.1.11", 80, TCP_RST);
	ck_assert_int_eq(rst.verdict, AGENT_DROP);
	ck_assert_int_eq(rst.reason, DROP_FLOW_NOT_SYN);
	expect_outbound(&f, "the same, plain now", 0, vm_tcp("10.1.1.11", 8080, CLIENT, 40000, TCP_ACK),
	                TO_GATEWAY "10.1.1.11:8080 > 198.51.100.7:40000 tcp A seq 1 ack 1 len 20 ttl 64 id 4660");
	ck_assert_uint_eq(f.agent.flows.n_flows, 1);
	fixture_fini(&f);
}
END_TEST

START_TEST(a_forged_rst_does_not_end_a_flow_that_goes_on)
{
	struct agent_fixture f;
	fixture_init(&f, 64);
	client_sends(&f, CLIENT, 40000, "10.1.1.11", 80, TCP_SYN);
	client_sends(&f, CLIENT, 40000, "10.1.1.11", 80, TCP_RST);
	ck_assert_uint_eq(f.agent.flows.entries[0].state, FLOW_RESET);
	struct test_frame frame = vm_tcp("10.1.1.11", 8080, CLIENT, 40000, TCP_ACK);
	fixture_outbound(&f, 0, &frame);
	client_sends(&f, CLIENT, 40000, "10.1.1.11", 80, TCP_ACK);
	ck_assert_uint_eq(f.agent.flows.entries[0].state, FLOW_ESTABLISHED);
	fixture_fini(&f);
}
END_TEST

START_TEST(arp_is_answered_with_the_gateways_mac)
{
	static const char *const answer =
		"vm0 02:61:6e:61:6e:74 > 02:00:00:01:01:0b arp reply %s (02:61:6e:61:6e:74) asks/tells %s";
	static const struct {
		const char *what;
		uint16_t operation;
		const struct mac *sender_mac;
		const char *sender_ip;
		const char *target_ip;
		const char *want; // NULL: the answer
	} rows[] = {
		{ "the gateway", 1, &FIXTURE_VM1_MAC, "10.1.1.11", "10.1.1.1", NULL },
		{ "a VM of this host", 1, &FIXTURE_VM1_MAC, "10.1.1.11", "10.1.1.12", NULL },
		{ "anything", 1, &FIXTURE_VM1_MAC, "10.1.1.11", "192.0.2.99", NULL },
		{ "a probe for another address", 1, &FIXTURE_VM1_MAC, "0.0.0.0", "10.1.1.1", NULL },
		{ "a probe for its own address", 1, &FIXTURE_VM1_MAC, "0.0.0.0", "10.1.1.11", "drop not_for_us" },
		{ "an announcement", 1, &FIXTURE_VM1_MAC, "10.1.1.11", "10.1.1.11", "drop not_for_us" },
		{ "a reply", 2, &FIXTURE_VM1_MAC, "10.1.1.11", "10.1.1.1", "drop not_for_us" },
		{ "somebody else's address", 1, &FIXTURE_VM1_MAC, "10.1.1.12", "10.1.1.1", "drop spoofed_source" },
		{ "somebody else's MAC address", 1, &FIXTURE_VM2_MAC, "10.1.1.11", "10.1.1.1", "drop spoofed_mac" },
	};
	struct agent_fixture f;
	fixture_init(&f, 64);
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		static const struct mac broadcast = { { 255, 255, 255, 255, 255, 255 } };
		char want[400];
		text_format(want, sizeof want, rows[i].want != NULL ? "%s" : answer,
		            rows[i].want != NULL ? rows[i].want : rows[i].target_ip, rows[i].sender_ip);
		struct test_frame frame = test_arp(rows[i].operation, rows[i].sender_mac, rows[i].sender_ip, &TEST_MAC_A,
		                                   rows[i].target_ip, &broadcast);
		expect_outbound(&f, rows[i].what, 0, frame, want);
		// The Ethernet header lies, and what is inside is right.
		struct test_frame lying = with_src_mac(frame, &other);
		ck_assert_int_eq(fixture_outbound(&f, 0, &lying).verdict, AGENT_DROP);
	}
	ck_assert_uint_eq(f.agent.counters.arp_replies, 4);
	fixture_fini(&f);
}
END_TEST

START_TEST(without_a_gateway_packets_are_dropped_and_counted)
{
	struct agent_fixture f;
	fixture_init(&f, 64);
	f.agent.neighbors.entries[0].has_mac = false;
	expect_outbound(&f, "out", 0, vm_tcp("10.1.1.11", 50000, CLIENT, 443, TCP_SYN), "drop no_next_hop");
	ck_assert_uint_eq(f.agent.counters.drops[DROP_NO_NEXT_HOP], 1);
	ck_assert_uint_eq(f.agent.counters.outbound_plain_packets, 0);
	fixture_fini(&f);
}
END_TEST

START_TEST(a_detached_vm_can_send_nothing)
{
	struct agent_fixture f;
	fixture_init(&f, 64);
	fixture_change(&f, test_delete(OBJECT_DIP, "10.1.1.11"));
	expect_outbound(&f, "out", 0, vm_tcp("10.1.1.11", 50000, CLIENT, 443, TCP_SYN), "drop spoofed_mac");
	fixture_fini(&f);
}
END_TEST

// RFC 3022: what a NAT does on the way in it undoes on the way out. The VM echoes the packet with source and destination
// swapped; the client must see its own packet so swapped, byte for byte but for the Ethernet header and the checksums'
// two zeros.
START_TEST(rewriting_and_rewriting_back_is_the_identity)
{
	struct agent_fixture f;
	fixture_init(&f, 4096);
	uint64_t seed = 11;
	for (int round = 0; round < 2000; round++) {
		struct test_tuple t = { .src = CLIENT, .dst = VIP };
		t.src_port = (uint16_t)(1024 + random_below(&seed, 60000));
		t.ip_options_bytes = 4 * random_below(&seed, 3);
		bool is_udp = random_below(&seed, 2) == 0;
		t.dst_port = is_udp ? 53 : 80;
		uint32_t n = random_below(&seed, 1200);
		struct test_frame sent = is_udp ? test_udp(&t, NULL, n) : test_tcp(&t, TCP_ACK, NULL, n);
		struct test_frame way = fixture_encapsulate("10.0.0.31", "10.1.1.11", &sent);
		struct agent_packet in = fixture_inbound(&f, &way);
		ck_assert_int_eq(in.verdict, AGENT_TO_VM);

		struct test_tuple echo = vm_tuple("10.1.1.11", is_udp ? 5353 : 8080, CLIENT, t.src_port);
		echo.ip_options_bytes = t.ip_options_bytes;
		struct test_frame reply = is_udp ? test_udp(&echo, NULL, n) : test_tcp(&echo, TCP_ACK, NULL, n);
		struct agent_packet out = fixture_outbound(&f, 0, &reply);
		ck_assert_int_eq(out.verdict, AGENT_TO_UPLINK);

		struct test_tuple want_tuple = { .src = VIP, .dst = CLIENT, .src_port = t.dst_port, .dst_port = t.src_port };
		want_tuple.ip_options_bytes = t.ip_options_bytes;
		struct test_frame want = is_udp ? test_udp(&want_tuple, NULL, n) : test_tcp(&want_tuple, TCP_ACK, NULL, n);
		ck_assert_uint_eq(out.len, want.len);
		ck_assert(memcmp(out.frame + ETH_BYTES, test_data(&want) + ETH_BYTES, want.len - ETH_BYTES) == 0);
	}
	fixture_fini(&f);
}
END_TEST

START_TEST(a_udp_reply_without_checksum_stays_without)
{
	struct agent_fixture f;
	fixture_init(&f, 64);
	struct test_tuple t = { .src = CLIENT, .dst = VIP, .src_port = 40000, .dst_port = 53 };
	struct test_frame query = test_udp(&t, "q", 1);
	struct test_frame way = fixture_encapsulate("10.0.0.31", "10.1.1.11", &query);
	fixture_inbound(&f, &way);
	struct test_tuple r = vm_tuple("10.1.1.11", 5353, CLIENT, 40000);
	struct test_frame reply = test_udp(&r, "a", 1);
	store16(test_data(&reply) + ETH_BYTES + IP4_BYTES + 6, 0);
	struct agent_packet out = fixture_outbound(&f, 0, &reply);
	ck_assert_int_eq(out.verdict, AGENT_TO_UPLINK);
	ck_assert_uint_eq(load16(out.frame + ETH_BYTES + IP4_BYTES + 6), 0);
	fixture_fini(&f);
}
END_TEST

START_TEST(every_truncation_of_a_frame_is_dropped)
{
	static const struct mac broadcast = { { 255, 255, 255, 255, 255, 255 } };
	struct agent_fixture f;
	fixture_init(&f, 64);
	struct test_frame whole[] = {
		vm_tcp("10.1.1.11", 8080, CLIENT, 40000, TCP_ACK),
		test_arp(1, &FIXTURE_VM1_MAC, "10.1.1.11", &TEST_MAC_A, "10.1.1.1", &broadcast),
	};
	for (size_t i = 0; i < sizeof whole / sizeof *whole; i++) {
		for (uint32_t len = 0; len < whole[i].len; len++) {
			uint8_t *exact = malloc(len + 1);
			memcpy(exact, test_data(&whole[i]), len);
			struct agent_packet p = { .frame = exact, .len = len };
			agent_outbound(&f.agent, &p, 1);
			ck_assert_msg(p.verdict == AGENT_DROP, "frame %zu cut to %u bytes went on", i, len);
			free(exact);
		}
	}
	fixture_fini(&f);
}
END_TEST

START_TEST(flows_are_swept_within_their_time)
{
	struct agent_fixture f;
	fixture_init(&f, 1024);
	for (uint16_t i = 0; i < 500; i++)
		client_sends(&f, CLIENT, (uint16_t)(40000 + i), "10.1.1.11", 80, TCP_SYN);
	for (uint64_t us = 1000000000; us < 1000000000 + 29000000; us += 100000)
		agent_expire_flows(&f.agent, mono_from_us(us), 100000);
	ck_assert_uint_eq(f.agent.flows.n_flows, 500);
	for (uint64_t us = 1030000000; us < 1030000000 + FLOW_SWEEP_US; us += 100000)
		agent_expire_flows(&f.agent, mono_from_us(us), 100000);
	ck_assert_uint_eq(f.agent.flows.n_flows, 0);
	ck_assert_uint_eq(f.agent.counters.flows_expired, 500);
	fixture_fini(&f);
}
END_TEST

SUITE_MAIN("agent outbound", every_kind_of_frame_has_its_verdict, a_reply_leaves_with_the_vips_address,
           a_connection_moves_through_its_states, the_mss_of_a_syn_ack_is_clamped,
           a_reply_to_a_vm_of_the_same_host_is_rewritten_and_stays, a_plain_connection_to_an_endpoints_port_stays_plain,
           an_adopted_reply_is_confirmed_by_the_client, a_client_that_denies_an_adopted_connection_gets_a_plain_one,
           a_forged_rst_does_not_end_a_flow_that_goes_on, arp_is_answered_with_the_gateways_mac,
           without_a_gateway_packets_are_dropped_and_counted, a_detached_vm_can_send_nothing,
           rewriting_and_rewriting_back_is_the_identity, a_udp_reply_without_checksum_stays_without,
           every_truncation_of_a_frame_is_dropped, flows_are_swept_within_their_time)
