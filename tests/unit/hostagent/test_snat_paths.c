// The way of SNATed packets: tables of {what, frame, verdict and frame out}.
#include <stdio.h>
#include <stdlib.h>

#include "common/packet/checksum.h"
#include "common/packet/icmp.h"
#include "tests/support/suite.h"
#include "tests/unit/hostagent/fixture.h"
#include "tests/unit/hostagent/flow_block.h"

#define SERVER "198.51.100.9"
#define VIP "203.0.113.20"
#define VM1 "10.1.1.11"
#define VM2 "10.1.1.12"
#define TO_GATEWAY "uplink 02:00:00:00:00:02 > 02:00:00:00:00:01 ip4 "
#define TO_VM1 "vm0 02:61:6e:61:6e:74 > 02:00:00:01:01:0b ip4 "
#define TO_VM2 "vm1 02:61:6e:61:6e:74 > 02:00:00:01:01:0c ip4 "

enum { ALL = UINT16_MAX };

// VM 2 has one range of one VIP: 203.0.113.20:1024 to 1031.
static void set_up(struct agent_fixture *f)
{
	fixture_init(f, 64);
	fixture_add_snat(f, NULL);
	fixture_lease(f, VIP, VM2, 1024, 8, 1);
}

static struct test_tuple from_vm2(uint16_t port, const char *dst, uint16_t dst_port)
{
	return vm_tuple(VM2, port, dst, dst_port);
}

static struct test_frame vm_tcp(uint16_t port, const char *dst, uint16_t dst_port, uint8_t flags)
{
	struct test_tuple t = from_vm2(port, dst, dst_port);
	return test_tcp(&t, flags, NULL, (flags & TCP_SYN) ? 0 : 20);
}

static struct test_frame vm_udp(uint16_t port, const char *dst, uint16_t dst_port)
{
	struct test_tuple t = from_vm2(port, dst, dst_port);
	return test_udp(&t, "query", 5);
}

static struct test_frame vm_ping(const char *dst, uint16_t id)
{
	struct test_tuple t = from_vm2(0, dst, 0);
	return test_icmp(&t, ICMP_ECHO, 0, id, 1, "ping", 4);
}

static struct test_frame fragment_of(struct test_frame f, uint16_t offset, bool more)
{
	test_set_fragment(&f, offset, more);
	return f;
}

static struct test_frame by_mux(const struct test_frame *inner)
{
	return fixture_encapsulate("10.0.0.31", VM2, inner);
}

static struct test_tuple to_vip(const char *src, uint16_t port, uint16_t vip_port)
{
	return (struct test_tuple){ .src = src, .dst = VIP, .src_port = port, .dst_port = vip_port };
}

// The VIP's port that the frame left with.
static uint16_t port_of(const struct agent_packet *p)
{
	const uint8_t *ip = p->frame + ETH_BYTES;
	uint32_t offset = ip[9] == IP_PROTO_ICMP ? 4 : 0;
	return be16_to(load16(ip + IP4_BYTES + offset));
}

static void check_text(const char *what, const struct agent_packet *p, const char *want)
{
	char got[400];
	fixture_text(p, got, sizeof got);
	ck_assert_msg(strcmp(got, want) == 0, "%s:\n  want %s\n  got  %s", what, want, got);
	const char *wrong = NULL;
	if (p->verdict == AGENT_TO_UPLINK || p->verdict == AGENT_TO_VM)
		ck_assert_msg(test_checksums_ok(p->frame, p->len, &wrong), "%s: wrong %s checksum", what, wrong);
}

static void expect_outbound(struct agent_fixture *f, const char *what, uint16_t port, struct test_frame frame,
                            const char *want)
{
	struct agent_packet p = fixture_outbound(f, port, &frame);
	check_text(what, &p, want);
}

static void expect_inbound(struct agent_fixture *f, const char *what, struct test_frame frame, const char *want)
{
	struct agent_packet p = fixture_inbound(f, &frame);
	check_text(what, &p, want);
}

// Sends it, expects it to leave with a leased port, and gives that.
static uint16_t leaves(struct agent_fixture *f, struct test_frame frame)
{
	struct agent_packet p = fixture_outbound(f, 1, &frame);
	ck_assert_int_eq(p.verdict, AGENT_TO_UPLINK);
	ck_assert_uint_eq(load32(p.frame + ETH_BYTES + 12), test_ip4(VIP));
	ck_assert(test_checksums_ok(p.frame, p.len, NULL));
	uint16_t port = port_of(&p);
	ck_assert_uint_ge(port, 1024);
	ck_assert_uint_lt(port, 1032);
	return port;
}

START_TEST(what_is_not_snated_and_what_can_not_be)
{
	struct test_tuple esp = from_vm2(0, SERVER, 0);
	struct test_tuple reply = from_vm2(0, SERVER, 0);
	struct test_frame inner = vm_tcp(1, SERVER, 2, TCP_SYN);
	struct test_frame cut = test_icmp(&reply, ICMP_UNREACHABLE, 3, 0, 0, "xxxxxxxx", 8);
	const struct {
		const char *what;
		struct test_frame frame;
		const char *want;
	} rows[] = {
		{ "to a DIP", vm_tcp(50000, "10.1.2.11", 22, TCP_SYN),
		  TO_GATEWAY "10.1.1.12:50000 > 10.1.2.11:22 tcp S seq 1 ack 0 len 0 ttl 64 id 4660" },
		{ "to a private address", vm_tcp(50000, "192.168.7.7", 22, TCP_SYN),
		  TO_GATEWAY "10.1.1.12:50000 > 192.168.7.7:22 tcp S seq 1 ack 0 len 0 ttl 64 id 4660" },
		{ "a ping to a private address", vm_ping("192.168.7.7", 9),
		  TO_GATEWAY "10.1.1.12:0 > 192.168.7.7:0 icmp type 8 code 0 ttl 64 id 4660" },
		{ "a fragment to a private address", fragment_of(vm_udp(1, "192.168.7.7", 2), 0, true),
		  TO_GATEWAY "10.1.1.12:0 > 192.168.7.7:0 fragment 2000 ttl 64 id 4660" },
		{ "to the VM beside it", vm_tcp(50000, VM1, 22, TCP_SYN),
		  TO_VM1 "10.1.1.12:50000 > 10.1.1.11:22 tcp S seq 1 ack 0 len 0 ttl 64 id 4660" },
		{ "a fragment to the outside", fragment_of(vm_udp(1, SERVER, 2), 0, true), "drop fragment_malformed" },
		{ "its second piece", fragment_of(vm_udp(1, SERVER, 2), 1, false), "hold fragment" },
		{ "another protocol", test_ip_proto(&esp, 50, "abcdefgh", 8), "drop snat_unsupported" },
		{ "a TCP header that is none", test_ip_proto(&esp, IP_PROTO_TCP, "abcdefgh", 8), "drop snat_unsupported" },
		{ "an echo reply", test_icmp(&reply, ICMP_ECHO_REPLY, 0, 1, 1, "x", 1), "drop snat_unsupported" },
		{ "an ICMP error about nothing", cut, "drop icmp_unknown" },
		{ "an ICMP error about no known flow", test_icmp_error(&reply, ICMP_UNREACHABLE, 3, &inner, ALL),
		  "drop icmp_unknown" },
		{ "a lost connection", vm_tcp(50000, SERVER, 443, TCP_ACK),
		  TO_VM2 "198.51.100.9:443 > 10.1.1.12:50000 tcp R seq 1 ack 0 len 0 ttl 64 id 0" },
		{ "a stray SYN-ACK", vm_tcp(50000, SERVER, 443, TCP_SYN | TCP_ACK),
		  TO_VM2 "198.51.100.9:443 > 10.1.1.12:50000 tcp R seq 1 ack 0 len 0 ttl 64 id 0" },
		{ "a stray RST", vm_tcp(50000, SERVER, 443, TCP_RST), "drop snat_no_flow" },
	};
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		struct agent_fixture f;
		set_up(&f);
		expect_outbound(&f, rows[i].what, 1, rows[i].frame, rows[i].want);
		ck_assert_uint_eq(f.agent.flows.n_flows, 0);
		fixture_fini(&f);
	}
}
END_TEST

START_TEST(a_tcp_connection_goes_out_and_its_packets_come_back)
{
	struct agent_fixture f;
	set_up(&f);
	uint16_t port = leaves(&f, vm_tcp(50000, SERVER, 443, TCP_SYN));
	ck_assert_uint_eq(leaves(&f, vm_tcp(50000, SERVER, 443, TCP_SYN)), port); // once more
	ck_assert_uint_eq(f.agent.flows.entries[0].state, FLOW_SYN_OUT | FLOW_IS_SNAT);
	struct test_tuple t = to_vip(SERVER, 443, port);
	struct test_frame inner = test_tcp(&t, TCP_SYN | TCP_ACK, NULL, 0);
	expect_inbound(&f, "SYN-ACK", by_mux(&inner),
	               TO_VM2 "198.51.100.9:443 > 10.1.1.12:50000 tcp SA seq 1 ack 1 len 0 ttl 64 id 4660");
	ck_assert_uint_eq(f.agent.flows.entries[0].state, FLOW_SYN_ACK_IN | FLOW_IS_SNAT);
	ck_assert_uint_eq(leaves(&f, vm_tcp(50000, SERVER, 443, TCP_ACK)), port);
	ck_assert_uint_eq(f.agent.flows.entries[0].state, FLOW_ESTABLISHED | FLOW_IS_SNAT);
	inner = test_tcp(&t, TCP_FIN | TCP_ACK, NULL, 0);
	struct test_frame frame = by_mux(&inner);
	fixture_inbound(&f, &frame);
	leaves(&f, vm_tcp(50000, SERVER, 443, TCP_FIN | TCP_ACK));
	ck_assert_uint_eq(f.agent.flows.entries[0].state, FLOW_CLOSED | FLOW_IS_SNAT);
	uint16_t next =
		leaves(&f, vm_tcp(50000, SERVER, 443, TCP_SYN)); // the same source port: a new flow, another VIP port
	ck_assert_uint_ne(next, port);
	ck_assert_uint_eq(f.agent.flows.n_flows, 1);
	ck_assert_uint_eq(f.agent.counters.snat_flows, 2);
	fixture_fini(&f);
}
END_TEST

START_TEST(a_ping_and_a_query_go_out_and_their_answers_come_back)
{
	struct agent_fixture f;
	set_up(&f);
	uint16_t id = leaves(&f, vm_ping(SERVER, 4711));
	struct test_tuple t = to_vip(SERVER, 0, 0);
	struct test_frame inner = test_icmp(&t, ICMP_ECHO_REPLY, 0, id, 1, "pong", 4);
	struct test_frame frame = by_mux(&inner);
	struct agent_packet p = fixture_inbound(&f, &frame);
	check_text("echo reply", &p, TO_VM2 "198.51.100.9:0 > 10.1.1.12:0 icmp type 0 code 0 ttl 64 id 4660");
	ck_assert_uint_eq(port_of(&p), 4711);
	inner = test_icmp(&t, ICMP_ECHO_REPLY, 0, (uint16_t)(id ^ 1), 1, "pong", 4);
	expect_inbound(&f, "of another identifier", by_mux(&inner), "drop snat_no_flow");
	inner = test_icmp(&t, ICMP_ECHO_REPLY, 0, 4711, 1, "pong", 4);
	expect_inbound(&f, "of an identifier that is not leased", by_mux(&inner), "drop icmp_unknown");
	inner = test_icmp(&t, ICMP_ECHO, 0, id, 1, "ping", 4);
	expect_inbound(&f, "an echo request", by_mux(&inner), "drop icmp_unknown");

	uint16_t port = leaves(&f, vm_udp(5353, SERVER, 53));
	t = to_vip(SERVER, 53, port);
	inner = test_udp(&t, "answer", 6);
	expect_inbound(&f, "UDP", by_mux(&inner), TO_VM2 "198.51.100.9:53 > 10.1.1.12:5353 udp len 6 ttl 64 id 4660");
	t = to_vip("198.51.100.77", 53, port);
	inner = test_udp(&t, "answer", 6);
	expect_inbound(&f, "from whom the VM did not ask", by_mux(&inner), "drop snat_no_flow");
	t = to_vip(SERVER, 53, 2000);
	inner = test_udp(&t, "answer", 6);
	expect_inbound(&f, "to a port that is not leased", by_mux(&inner), "drop encap_no_endpoint");
	fixture_fini(&f);
}
END_TEST

START_TEST(a_packet_to_the_vip_itself_is_snated_and_goes_to_the_router)
{
	struct agent_fixture f;
	set_up(&f);
	uint16_t port = leaves(&f, vm_tcp(50000, VIP, 80, TCP_SYN));
	ck_assert_uint_ge(port, 1024);
	fixture_fini(&f);
}
END_TEST

START_TEST(the_mss_of_an_outbound_syn_is_clamped_and_damage_stays)
{
	static const uint8_t mss_1460[] = { 2, 4, 0x05, 0xb4 };
	struct agent_fixture f;
	set_up(&f);
	struct test_tuple t = from_vm2(50000, SERVER, 443);
	struct test_frame frame = test_tcp_options(&t, TCP_SYN, mss_1460, sizeof mss_1460, NULL, 0);
	struct agent_packet p = fixture_outbound(&f, 1, &frame);
	ck_assert_int_eq(p.verdict, AGENT_TO_UPLINK);
	ck_assert_uint_eq(be16_to(load16(p.frame + ETH_BYTES + IP4_BYTES + 20 + 2)), 1440);
	ck_assert(test_checksums_ok(p.frame, p.len, NULL));
	frame = vm_ping(SERVER, 7);
	test_data(&frame)[frame.len - 1] ^= 0x55;
	p = fixture_outbound(&f, 1, &frame);
	ck_assert_int_eq(p.verdict, AGENT_TO_UPLINK);
	ck_assert(!test_checksums_ok(p.frame, p.len, NULL));
	fixture_fini(&f);
}
END_TEST

// ---- ICMP errors ----

// The packet that left, as a router on its way has it.
static struct test_frame as_left(const struct agent_packet *p)
{
	struct test_frame f = { .offset = TEST_HEADROOM, .len = p->len };
	memcpy(test_data(&f), p->frame, p->len);
	return f;
}

// What an ICMP error has inside, with its checksums as they must be.
static void check_inside(const struct agent_packet *p, const char *src, uint16_t src_port, const char *dst,
                         uint16_t dst_port, bool is_whole)
{
	struct parsed outer;
	struct icmp_error e;
	ck_assert_int_eq(parse_ip4(p->frame, p->len, ETH_BYTES, &outer), DROP_NONE);
	ck_assert_int_eq(icmp_error_parse(p->frame, &outer, &e), DROP_NONE);
	ck_assert_uint_eq(e.src, test_ip4(src));
	ck_assert_uint_eq(e.dst, test_ip4(dst));
	ck_assert_uint_eq(be16_to(e.src_port), src_port);
	ck_assert_uint_eq(be16_to(e.dst_port), dst_port);
	struct test_frame inside = { .offset = TEST_HEADROOM, .len = ETH_BYTES + (uint32_t)outer.l3_bytes - 28 };
	memcpy(test_data(&inside), p->frame, ETH_BYTES);
	memcpy(test_data(&inside) + ETH_BYTES, p->frame + e.l3_off, inside.len - ETH_BYTES);
	const char *wrong = NULL;
	if (is_whole)
		ck_assert_msg(test_checksums_ok(test_data(&inside), inside.len, &wrong), "wrong %s checksum inside", wrong);
	else
		ck_assert_uint_eq(checksum_compute(test_data(&inside) + ETH_BYTES, IP4_BYTES), 0);
}

START_TEST(an_icmp_error_from_outside_is_translated_with_the_packet_inside)
{
	static const uint32_t lengths[] = { IP4_BYTES + 8, ALL };
	struct test_frame sent[] = { vm_tcp(50000, SERVER, 443, TCP_SYN), vm_udp(5353, SERVER, 53), vm_ping(SERVER, 9) };
	static const struct {
		uint16_t src_port;
		uint16_t dst_port;
	} want[] = { { 50000, 443 }, { 5353, 53 }, { 9, 0 } };
	struct agent_fixture f;
	set_up(&f);
	for (size_t i = 0; i < sizeof sent / sizeof *sent; i++) {
		struct test_frame frame = sent[i];
		struct agent_packet p = fixture_outbound(&f, 1, &frame);
		struct test_frame left = as_left(&p);
		for (size_t k = 0; k < sizeof lengths / sizeof *lengths; k++) {
			struct test_tuple router = { .src = "192.0.2.1", .dst = VIP };
			struct test_frame inner = test_icmp_error(&router, ICMP_TIME_EXCEEDED, 0, &left, lengths[k]);
			struct test_frame error = by_mux(&inner);
			struct agent_packet q = fixture_inbound(&f, &error);
			check_text("time exceeded", &q, TO_VM2 "192.0.2.1:0 > 10.1.1.12:0 icmp type 11 code 0 ttl 64 id 4660");
			check_inside(&q, VM2, want[i].src_port, SERVER, want[i].dst_port, lengths[k] == ALL);
		}
	}
	ck_assert_uint_eq(f.agent.counters.icmp_errors, 6);
	fixture_fini(&f);
}
END_TEST

START_TEST(an_icmp_error_about_no_flow_is_dropped)
{
	struct agent_fixture f;
	set_up(&f);
	uint16_t port = leaves(&f, vm_tcp(50000, SERVER, 443, TCP_SYN));
	struct test_tuple t = { .src = VIP, .dst = "198.51.100.77", .src_port = port, .dst_port = 443 };
	struct test_frame other = test_tcp(&t, TCP_SYN, NULL, 0);
	struct test_tuple router = { .src = "192.0.2.1", .dst = VIP };
	struct test_frame inner = test_icmp_error(&router, ICMP_UNREACHABLE, 1, &other, ALL);
	expect_inbound(&f, "to another server", by_mux(&inner), "drop icmp_unknown");
	t.dst = SERVER;
	other = test_tcp(&t, TCP_SYN, NULL, 0);
	router.dst = "203.0.113.21";
	inner = test_icmp_error(&router, ICMP_UNREACHABLE, 1, &other, ALL);
	expect_inbound(&f, "to another VIP than the packet came from", by_mux(&inner), "drop icmp_unknown");
	fixture_fini(&f);
}
END_TEST

// A load-balanced flow has them, too: from the client's side and from the VM's.
START_TEST(icmp_errors_about_load_balanced_flows_are_translated_both_ways)
{
	struct agent_fixture f;
	fixture_init(&f, 64);
	struct test_tuple t = { .src = "198.51.100.7", .dst = "203.0.113.10", .src_port = 40000, .dst_port = 53 };
	struct test_frame query = test_udp(&t, "query", 5);
	struct test_frame frame = fixture_encapsulate("10.0.0.31", VM1, &query);
	struct agent_packet p = fixture_inbound(&f, &frame);
	struct test_frame received = as_left(&p);
	struct test_tuple vm = vm_tuple(VM1, 0, "198.51.100.7", 0);
	struct test_frame error = test_icmp_error(&vm, ICMP_UNREACHABLE, 3, &received, ALL);
	p = fixture_outbound(&f, 0, &error);
	check_text("port unreachable", &p, TO_GATEWAY "203.0.113.10:0 > 198.51.100.7:0 icmp type 3 code 3 ttl 64 id 4660");
	check_inside(&p, "198.51.100.7", 40000, "203.0.113.10", 53, true);

	t = (struct test_tuple){ .src = "203.0.113.10", .dst = "198.51.100.7", .src_port = 53, .dst_port = 40000 };
	struct test_frame answer = test_udp(&t, "answer", 6);
	struct test_tuple router = { .src = "192.0.2.1", .dst = "203.0.113.10" };
	struct test_frame inner = test_icmp_error(&router, ICMP_UNREACHABLE, 4, &answer, ALL);
	frame = fixture_encapsulate("10.0.0.31", VM1, &inner);
	p = fixture_inbound(&f, &frame);
	check_text("fragmentation needed", &p, TO_VM1 "192.0.2.1:0 > 10.1.1.11:0 icmp type 3 code 4 ttl 64 id 4660");
	check_inside(&p, VM1, 5353, "198.51.100.7", 40000, true);
	fixture_fini(&f);
}
END_TEST

// ---- Refusals ----

static void refuse_from_now_on(struct agent_fixture *f)
{
	fixture_link(f, false);
	fixture_pass(f, 4);
}

START_TEST(a_refused_syn_gets_a_rst_and_a_refused_query_an_icmp_error)
{
	struct agent_fixture f;
	fixture_init(&f, 64);
	fixture_add_snat(&f, NULL);
	refuse_from_now_on(&f);
	expect_outbound(&f, "SYN", 1, vm_tcp(50000, SERVER, 443, TCP_SYN),
	                TO_VM2 "198.51.100.9:443 > 10.1.1.12:50000 tcp RA seq 0 ack 2 len 0 ttl 64 id 0");
	struct test_frame query = vm_udp(5353, SERVER, 53);
	struct test_frame untouched = query;
	struct agent_packet p = fixture_outbound(&f, 1, &query);
	check_text("UDP", &p, TO_VM2 "198.51.100.9:0 > 10.1.1.12:0 icmp type 3 code 13 ttl 64 id 0");
	check_inside(&p, VM2, 5353, SERVER, 53, true);
	ck_assert_int_eq(memcmp(p.frame + ETH_BYTES + 28, test_data(&untouched) + ETH_BYTES, untouched.len - ETH_BYTES), 0);
	ck_assert_uint_le((size_t)(test_data(&query) - p.frame), AGENT_HEADROOM);
	ck_assert_int_eq(p.reason, DROP_SNAT_EXHAUSTED);
	ck_assert_uint_eq(f.agent.counters.drops[DROP_SNAT_EXHAUSTED], 2);
	ck_assert_uint_eq(f.agent.counters.snat_answered, 2);
	fixture_fini(&f);
}
END_TEST

START_TEST(icmp_answers_to_a_vm_are_limited)
{
	struct agent_fixture f;
	fixture_init(&f, 64);
	fixture_add_snat(&f, NULL);
	refuse_from_now_on(&f);
	uint32_t n_answers = 0;
	for (uint32_t i = 0; i < 100; i++) {
		struct test_frame query = vm_udp(5353, SERVER, 53);
		n_answers += fixture_outbound(&f, 1, &query).verdict == AGENT_TO_VM;
	}
	ck_assert_uint_eq(n_answers, 10);
	ck_assert_uint_eq(f.agent.counters.drops[DROP_SNAT_EXHAUSTED], 100);
	fixture_pass(&f, 1);
	struct test_frame query = vm_udp(5353, SERVER, 53);
	ck_assert_int_eq(fixture_outbound(&f, 1, &query).verdict, AGENT_TO_VM);
	fixture_fini(&f);
}
END_TEST

START_TEST(a_large_refused_packet_is_cut_in_its_answer)
{
	struct agent_fixture f;
	fixture_init(&f, 64);
	fixture_add_snat(&f, NULL);
	refuse_from_now_on(&f);
	struct test_tuple t = from_vm2(5353, SERVER, 53);
	struct test_frame query = test_udp(&t, NULL, 1400);
	struct agent_packet p = fixture_outbound(&f, 1, &query);
	ck_assert_int_eq(p.verdict, AGENT_TO_VM);
	ck_assert_uint_eq(p.len, ETH_BYTES + 576);
	ck_assert(test_checksums_ok(p.frame, p.len, NULL));
	fixture_fini(&f);
}
END_TEST

START_TEST(without_snat_memory_nothing_leaves_as_it_is)
{
	struct agent_fixture f;
	set_up(&f);
	struct snat *snat = f.agent.snat;
	f.agent.snat = NULL;
	expect_outbound(&f, "SYN", 1, vm_tcp(50000, SERVER, 443, TCP_SYN), "drop snat_exhausted");
	f.agent.snat = snat;
	fixture_fini(&f);
}
END_TEST

// A plain flow of a SNATed DIP that began outside: what came from there is not answered with the DIP's own address.
START_TEST(a_plain_flow_to_the_outside_does_not_leave_as_it_is)
{
	struct agent_fixture f;
	set_up(&f);
	struct test_tuple t = { .src = SERVER, .dst = VM2, .src_port = 4000, .dst_port = 8080 };
	struct test_frame frame = test_tcp(&t, TCP_SYN, NULL, 0);
	ck_assert_int_eq(fixture_inbound(&f, &frame).verdict, AGENT_TO_VM);
	expect_outbound(&f, "its answer", 1, vm_tcp(8080, SERVER, 4000, TCP_SYN | TCP_ACK),
	                TO_VM2 "198.51.100.9:4000 > 10.1.1.12:8080 tcp R seq 1 ack 0 len 0 ttl 64 id 0");
	fixture_fini(&f);
}
END_TEST

// A burst gives what single packets give, also when its packets depend on each other.
START_TEST(a_burst_equals_one_packet_after_the_other)
{
	struct agent_fixture burst;
	struct agent_fixture single;
	set_up(&burst);
	set_up(&single);
	uint64_t seed = 5;
	for (int round = 0; round < 300; round++) {
		static struct test_frame a[AGENT_BURST];
		static struct test_frame b[AGENT_BURST];
		struct agent_packet packets[AGENT_BURST];
		for (uint32_t i = 0; i < AGENT_BURST; i++) {
			static const uint8_t flags[] = { TCP_SYN, TCP_SYN, TCP_RST, TCP_ACK };
			uint16_t port = (uint16_t)(50000 + random_below(&seed, 12));
			uint16_t dst_port = (uint16_t)(443 + random_below(&seed, 2));
			switch (random_below(&seed, 4)) {
			case 0: a[i] = vm_udp(port, SERVER, dst_port); break;
			case 1: a[i] = vm_ping(SERVER, port); break;
			default: a[i] = vm_tcp(port, SERVER, dst_port, flags[random_below(&seed, 4)]); break;
			}
			b[i] = a[i];
			packets[i] = (struct agent_packet){ .frame = test_data(&a[i]), .len = a[i].len, .port = 1 };
		}
		agent_outbound(&burst.agent, packets, AGENT_BURST);
		for (uint32_t i = 0; i < AGENT_BURST; i++) {
			char want[400];
			char got[400];
			struct agent_packet p = fixture_outbound(&single, 1, &b[i]);
			ck_assert_str_eq(fixture_text(&packets[i], got, sizeof got), fixture_text(&p, want, sizeof want));
		}
		fixture_pass(&burst, 1);
		fixture_pass(&single, 1);
	}
	ck_assert(memcmp(&burst.agent.counters, &single.agent.counters, sizeof burst.agent.counters) == 0);
	ck_assert_uint_gt(burst.agent.counters.snat_flows, 100);
	fixture_fini(&burst);
	fixture_fini(&single);
}
END_TEST

SUITE_MAIN("agent snat paths", a_burst_equals_one_packet_after_the_other, what_is_not_snated_and_what_can_not_be,
           a_tcp_connection_goes_out_and_its_packets_come_back, a_ping_and_a_query_go_out_and_their_answers_come_back,
           a_packet_to_the_vip_itself_is_snated_and_goes_to_the_router,
           the_mss_of_an_outbound_syn_is_clamped_and_damage_stays,
           an_icmp_error_from_outside_is_translated_with_the_packet_inside, an_icmp_error_about_no_flow_is_dropped,
           icmp_errors_about_load_balanced_flows_are_translated_both_ways,
           a_refused_syn_gets_a_rst_and_a_refused_query_an_icmp_error, icmp_answers_to_a_vm_are_limited,
           a_large_refused_packet_is_cut_in_its_answer, without_snat_memory_nothing_leaves_as_it_is,
           a_plain_flow_to_the_outside_does_not_leave_as_it_is)
