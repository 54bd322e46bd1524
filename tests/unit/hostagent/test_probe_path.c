// The way of health probes through the agent: from the host's kernel to the VM, back, and nowhere else.
#include "common/packet/icmp.h"
#include "tests/support/suite.h"
#include "tests/unit/hostagent/fixture.h"
#include "tests/unit/hostagent/flow_block.h"

#define PROBE FIXTURE_PROBE_ADDRESS
#define TO_VM1 "vm0 02:61:6e:61:6e:74 > 02:00:00:01:01:0b ip4 "
#define TO_TAP "tap 02:61:6e:61:6e:74 > 02:00:00:00:00:02 ip4 "
#define AS_IT_IS "uplink 02:00:00:00:00:02 > 02:00:00:00:00:01 ip4 "

static struct agent_fixture f;

static void set_up(void)
{
	fixture_init(&f, 64);
}

static void tear_down(void)
{
	ck_assert_uint_eq(f.agent.flows.n_flows, 0); // whatever was probed and answered
	fixture_fini(&f);
}

static struct test_tuple host_tuple(const char *src, const char *dst)
{
	return (struct test_tuple){
		.src = src, .dst = dst, .src_port = 50000, .dst_port = 8080, .src_mac = &TEST_MAC_B, .dst_mac = &TEST_MAC_A
	};
}

static void expect(const char *what, const struct agent_packet *p, const char *want)
{
	char got[400];
	const char *wrong = NULL;
	fixture_text(p, got, sizeof got);
	ck_assert_msg(strcmp(got, want) == 0, "%s:\n  want %s\n  got  %s", what, want, got);
	if (p->verdict != AGENT_DROP && frame_ether_type(p->frame) == be16_from(ETHER_IP4))
		ck_assert_msg(test_checksums_ok(p->frame, p->len, &wrong), "%s: wrong %s checksum", what, wrong);
}

static void expect_from_host(const char *what, struct test_frame frame, const char *want)
{
	struct agent_packet p = fixture_from_host(&f, &frame);
	expect(what, &p, want);
}

static void expect_from_vm(const char *what, struct test_frame frame, const char *want)
{
	struct agent_packet p = fixture_outbound(&f, 0, &frame);
	expect(what, &p, want);
}

static struct test_frame host_tcp(const char *src, const char *dst)
{
	struct test_tuple t = host_tuple(src, dst);
	return test_tcp(&t, TCP_SYN, NULL, 0);
}

static struct test_frame vm_tcp(const char *dst, uint8_t flags)
{
	struct test_tuple t = vm_tuple("10.1.1.11", 8080, dst, 50000);
	return test_tcp(&t, flags, NULL, 0);
}

static uint64_t drops(enum drop_reason reason)
{
	return f.agent.counters.drops[reason];
}

START_TEST(what_comes_from_the_probe_address_goes_to_the_vm_or_nowhere)
{
	set_up();
	expect_from_host("to a VM", host_tcp(PROBE, "10.1.1.11"),
	                 TO_VM1 PROBE ":50000 > 10.1.1.11:8080 tcp S seq 1 ack 0 len 0 ttl 64 id 4660");
	expect_from_host("to a VM of another host", host_tcp(PROBE, "10.1.2.11"), "drop probe_not_local");
	expect_from_host("to the world", host_tcp(PROBE, "198.51.100.7"), "drop probe_not_local");
	expect_from_host("the host's own", host_tcp("10.0.0.21", "10.0.0.11"),
	                 AS_IT_IS "10.0.0.21:50000 > 10.0.0.11:8080 tcp S seq 1 ack 0 len 0 ttl 64 id 4660");
	expect_from_host("the host's own to a VM goes round by the gateway, as always", host_tcp("10.0.0.21", "10.1.1.11"),
	                 AS_IT_IS "10.0.0.21:50000 > 10.1.1.11:8080 tcp S seq 1 ack 0 len 0 ttl 64 id 4660");
	f.agent.port_is_open[0] = false;
	expect_from_host("to a VM whose port is closed", host_tcp(PROBE, "10.1.1.11"), "drop vm_not_ready");
	f.agent.config = NULL;
	expect_from_host("without a configuration", host_tcp(PROBE, "10.1.1.11"), "drop probe_not_local");
	ck_assert_uint_eq(drops(DROP_PROBE_NOT_LOCAL), 3);
	tear_down();
}
END_TEST

START_TEST(frames_of_the_host_that_are_none_of_ipv4_leave_as_they_are)
{
	set_up();
	struct test_frame frame = host_tcp("10.0.0.21", "10.0.0.11");
	frame.len = 10;
	ck_assert_int_eq(fixture_from_host(&f, &frame).verdict, AGENT_TO_UPLINK);
	frame = host_tcp(PROBE, "10.1.1.11");
	((struct eth_header *)test_data(&frame))->ether_type = be16_from(ETHER_IP6);
	ck_assert_int_eq(fixture_from_host(&f, &frame).verdict, AGENT_TO_UPLINK);
	tear_down();
}
END_TEST

START_TEST(the_kernels_arp_for_a_dip_is_answered_with_the_gateways_mac)
{
	static const struct mac nobody;
	set_up();
	struct test_frame frame = test_arp(1, &TEST_MAC_B, PROBE, &nobody, "10.1.1.11", &nobody);
	struct agent_packet p = fixture_from_host(&f, &frame);
	struct arp_info arp;
	ck_assert_int_eq(p.verdict, AGENT_TO_TAP);
	ck_assert_int_eq(arp_parse(p.frame, p.len, &arp), DROP_NONE);
	ck_assert_int_eq(arp.operation, ARP_REPLY);
	ck_assert_uint_eq(arp.sender_ip, test_ip4("10.1.1.11"));
	ck_assert_int_eq(memcmp(&arp.sender_mac, &FIXTURE_GATEWAY_MAC, MAC_BYTES), 0);
	frame = test_arp(2, &TEST_MAC_B, PROBE, &nobody, "10.1.1.11", &nobody);
	p = fixture_from_host(&f, &frame);
	expect("a reply", &p, "drop probe_not_local");
	frame = test_arp(1, &TEST_MAC_B, PROBE, &nobody, "10.0.0.1", &nobody);
	p = fixture_from_host(&f, &frame);
	ck_assert_int_eq(p.verdict, AGENT_TO_UPLINK); // for the gateway: in the host's own name
	ck_assert_int_eq(arp_parse(p.frame, p.len, &arp), DROP_NONE);
	ck_assert_uint_eq(arp.sender_ip, test_ip4("10.0.0.21"));
	ck_assert_uint_eq(arp.target_ip, test_ip4("10.0.0.1"));
	frame = test_arp(1, &TEST_MAC_B, "10.0.0.21", &nobody, "10.0.0.1", &nobody);
	ck_assert_int_eq(fixture_from_host(&f, &frame).verdict, AGENT_TO_UPLINK);
	tear_down();
}
END_TEST

START_TEST(the_vms_answer_reaches_the_host_and_begins_nothing)
{
	set_up();
	fixture_add_snat(&f, NULL); // nor does it take a port
	expect_from_vm("SYN-ACK", vm_tcp(PROBE, TCP_SYN | TCP_ACK),
	               TO_TAP "10.1.1.11:8080 > " PROBE ":50000 tcp SA seq 1 ack 1 len 0 ttl 64 id 4660");
	expect_from_vm("RST", vm_tcp(PROBE, TCP_RST),
	               TO_TAP "10.1.1.11:8080 > " PROBE ":50000 tcp R seq 1 ack 0 len 0 ttl 64 id 4660");
	expect_from_vm("a connection of the VM", vm_tcp(PROBE, TCP_SYN), "drop probe_not_answer");
	expect_from_vm("no flags at all", vm_tcp(PROBE, 0), "drop probe_not_answer");
	struct test_tuple t = vm_tuple("10.1.1.11", 53, PROBE, 53);
	expect_from_vm("UDP", test_udp(&t, NULL, 10), "drop probe_not_answer");
	expect_from_vm("echo request", test_icmp(&t, ICMP_ECHO, 0, 1, 1, NULL, 8), "drop probe_not_answer");
	struct test_frame fragment = vm_tcp(PROBE, TCP_ACK);
	test_set_fragment(&fragment, 0, true);
	expect_from_vm("a fragment", fragment, "drop probe_not_answer");
	struct test_tuple spoofed = vm_tuple("10.1.1.12", 8080, PROBE, 50000);
	spoofed.src_mac = &FIXTURE_VM1_MAC;
	expect_from_vm("of another VM's address", test_tcp(&spoofed, TCP_ACK, NULL, 0), "drop spoofed_source");
	ck_assert_uint_eq(f.agent.counters.snat_held, 0);
	tear_down();
}
END_TEST

START_TEST(an_icmp_error_must_be_about_a_probe_of_that_vm)
{
	set_up();
	struct test_tuple t = vm_tuple("10.1.1.11", 0, PROBE, 0);
	struct test_tuple probe = host_tuple(PROBE, "10.1.1.11");
	struct test_frame inside = test_tcp(&probe, TCP_SYN, NULL, 0);
	struct test_frame frame = test_icmp_error(&t, ICMP_UNREACHABLE, ICMP_ADMIN_PROHIBITED, &inside, UINT32_MAX);
	ck_assert_int_eq(fixture_outbound(&f, 0, &frame).verdict, AGENT_TO_TAP);
	static const struct {
		const char *src;
		const char *dst;
	} others[] = { { "10.0.0.21", "10.0.0.11" }, { PROBE, "10.1.1.12" }, { "10.0.0.21", "10.1.1.11" } };
	for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
		struct test_tuple other = host_tuple(others[i].src, others[i].dst);
		inside = test_tcp(&other, TCP_ACK, NULL, 0);
		expect_from_vm("about the host's own connections",
		               test_icmp_error(&t, ICMP_UNREACHABLE, 4, &inside, UINT32_MAX), "drop probe_not_answer");
	}
	tear_down();
}
END_TEST

START_TEST(a_flood_of_one_vm_is_cut_and_others_are_not)
{
	set_up();
	uint32_t n_passed = 0;
	for (uint32_t i = 0; i < 2 * AGENT_PROBE_PPS; i++) {
		struct test_frame frame = vm_tcp(PROBE, TCP_ACK);
		n_passed += fixture_outbound(&f, 0, &frame).verdict == AGENT_TO_TAP;
	}
	ck_assert_uint_eq(n_passed, AGENT_PROBE_PPS);
	ck_assert_uint_eq(drops(DROP_PROBE_LIMITED), AGENT_PROBE_PPS);
	struct test_tuple t = vm_tuple("10.1.1.12", 8080, PROBE, 50000);
	struct test_frame other = test_tcp(&t, TCP_ACK, NULL, 0);
	ck_assert_int_eq(fixture_outbound(&f, 1, &other).verdict, AGENT_TO_TAP);
	fixture_pass(&f, 1);
	struct test_frame later = vm_tcp(PROBE, TCP_ACK);
	ck_assert_int_eq(fixture_outbound(&f, 0, &later).verdict, AGENT_TO_TAP);
	tear_down();
}
END_TEST

START_TEST(nobody_outside_reaches_the_probe_address)
{
	set_up();
	struct test_tuple t = { .src = "198.51.100.7", .dst = PROBE, .src_port = 1, .dst_port = 2 };
	struct test_frame frame = test_tcp(&t, TCP_SYN, NULL, 0);
	struct agent_packet p = fixture_inbound(&f, &frame);
	expect("from the uplink", &p, "drop not_for_us");
	tear_down();
}
END_TEST

START_TEST(who_forges_the_probe_address_outside_makes_no_flow)
{
	set_up();
	struct test_tuple t = { .src = PROBE, .dst = "203.0.113.10", .src_port = 50000, .dst_port = 80 };
	struct test_frame inner = test_tcp(&t, TCP_SYN, NULL, 0);
	struct test_frame frame = fixture_encapsulate("10.0.0.31", "10.1.1.11", &inner);
	struct agent_packet p = fixture_inbound(&f, &frame);
	expect("to the VIP", &p, "drop probe_not_local");
	t.dst = "10.1.1.11"; // plain: to a port that an endpoint uses, and so would be remembered
	t.dst_port = 8080;
	frame = test_tcp(&t, TCP_SYN, NULL, 0);
	p = fixture_inbound(&f, &frame);
	ck_assert_int_eq(p.verdict, AGENT_TO_VM);
	expect_from_vm("the answer to a probe", vm_tcp(PROBE, TCP_SYN | TCP_ACK),
	               TO_TAP "10.1.1.11:8080 > " PROBE ":50000 tcp SA seq 1 ack 1 len 0 ttl 64 id 4660");
	tear_down();
}
END_TEST

START_TEST(without_a_probe_address_nothing_is_special)
{
	set_up();
	f.agent.settings.probe_address = 0;
	expect_from_host("from the host", host_tcp(PROBE, "10.1.1.11"),
	                 AS_IT_IS PROBE ":50000 > 10.1.1.11:8080 tcp S seq 1 ack 0 len 0 ttl 64 id 4660");
	struct test_frame frame = vm_tcp("0.0.0.0", TCP_SYN);
	ck_assert_int_eq(fixture_outbound(&f, 0, &frame).verdict, AGENT_TO_UPLINK);
	tear_down();
}
END_TEST

SUITE_MAIN("agent probe path", what_comes_from_the_probe_address_goes_to_the_vm_or_nowhere,
           frames_of_the_host_that_are_none_of_ipv4_leave_as_they_are,
           the_kernels_arp_for_a_dip_is_answered_with_the_gateways_mac,
           the_vms_answer_reaches_the_host_and_begins_nothing, an_icmp_error_must_be_about_a_probe_of_that_vm,
           a_flood_of_one_vm_is_cut_and_others_are_not, nobody_outside_reaches_the_probe_address,
           who_forges_the_probe_address_outside_makes_no_flow, without_a_probe_address_nothing_is_special)
