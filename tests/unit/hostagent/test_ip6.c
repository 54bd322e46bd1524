// What the golden tables of IPv6 cannot say: marks and vias of the chain, identifications, numbers from the edge's side, probes.
#include <stdio.h>
#include <string.h>

#include "hostagent/core/chain.h"
#include "hostagent/core/nd_path.h"
#include "tests/support/suite.h"
#include "tests/unit/hostagent/fixture.h"
#include "tests/unit/hostagent/flow_block.h"

#define CLIENT "2001:db8::198:51:100:7"
#define SERVER "2001:db8::192:0:2:80"
#define VIP "2001:db8::203:0:113:10"
#define SNAT_VIP "2001:db8::203:0:113:20"
#define VM1 "2001:db8::10:1:1:11"
#define VM2 "2001:db8::10:1:1:12"
#define FAR "2001:db8::10:1:2:11"
#define MUX "2001:db8::10:0:0:31"

static struct agent_fixture f;

static void set_up(void)
{
	fixture_init(&f, 64);
	fixture_add_ip6(&f);
}

static struct test_tuple from_vm(const char *src, uint16_t src_port, const char *dst, uint16_t dst_port)
{
	bool is_vm2 = strcmp(src, VM2) == 0;
	return (struct test_tuple){ .src = src,
		                        .dst = dst,
		                        .src_port = src_port,
		                        .dst_port = dst_port,
		                        .src_mac = is_vm2 ? &FIXTURE_VM2_MAC : &FIXTURE_VM1_MAC,
		                        .dst_mac = &FIXTURE_GATEWAY_MAC };
}

static struct test_frame tcp_to(const char *dip, const char *source, uint16_t port, uint8_t flags)
{
	struct test_tuple t = { .src = CLIENT, .dst = VIP, .src_port = port, .dst_port = 80 };
	struct test_frame inner = test_tcp(&t, flags, NULL, 4);
	return fixture_encapsulate(source, dip, &inner);
}

static void must_be_right(const struct agent_packet *p)
{
	const char *wrong = NULL;
	ck_assert_msg(test_checksums_ok(p->frame, p->len, &wrong), "wrong %s checksum", wrong);
}

// ---- The chain ----

static void with_history(void)
{
	const char *const web[] = { FAR, VM1, NULL }; // the present owner is vm1 here, the one before is host2's
	fixture_change(&f, fixture_cluster());
	fixture_change(&f, fixture_history(VIP, IP_PROTO_TCP, 80, web));
}

START_TEST(what_is_unknown_goes_on_with_the_mark_in_the_flow_label)
{
	set_up();
	with_history();
	struct test_frame in = tcp_to(VM1, MUX, 40000, TCP_ACK);
	struct agent_packet p = fixture_inbound(&f, &in);
	ck_assert_int_eq(p.verdict, AGENT_TO_UPLINK);
	must_be_right(&p);
	struct parsed outer;
	ck_assert_int_eq(parse_ip6(p.frame, p.len, ETH_BYTES, &outer), DROP_NONE);
	ck_assert_uint_eq(outer.protocol, IP_PROTO_IP6);
	ck_assert_mem_eq(parsed_dst6(p.frame, &outer), test_ip6(FAR), 16);
	ck_assert_mem_eq(parsed_src6(p.frame, &outer), f.agent.settings.address6, 16);
	uint32_t label = be32_to(((const struct ip6_header *)(p.frame + ETH_BYTES))->version_class_label) & 0xfffff;
	ck_assert_uint_eq(label & (CHAIN_MARK | CHAIN_MARK_ADOPT | CHAIN_MARK_HOPS), CHAIN_MARK | 1);
	ck_assert_uint_eq(label >> 16, 0);
	fixture_fini(&f);
}
END_TEST

// host2's DIP of IPv6 has a via of IPv4, and what comes from a mux over IPv6 goes on over IPv4; and the other way round, for which the
// longer header needs room in front of the frame.
START_TEST(what_is_sent_on_goes_by_the_way_of_the_next_owner)
{
	for (uint32_t k = 0; k < 2; k++) {
		set_up();
		with_history();
		const char *const web4[] = { "10.1.2.11", "10.1.1.11", NULL };
		fixture_change(&f, fixture_history("203.0.113.10", IP_PROTO_TCP, 80, web4));
		fixture_add_vias(&f);
		struct test_tuple t4 = { .src = "198.51.100.7", .dst = "203.0.113.10", .src_port = 40000, .dst_port = 80 };
		struct test_frame inner4 = test_tcp(&t4, TCP_ACK, NULL, 4);
		struct test_frame in =
			k == 0 ? tcp_to(VM1, MUX, 40000, TCP_ACK) : fixture_encapsulate("10.0.0.31", "10.1.1.11", &inner4);
		uint32_t n_bytes = in.len;
		struct agent_packet p = fixture_inbound(&f, &in);
		ck_assert_int_eq(p.verdict, AGENT_TO_UPLINK);
		must_be_right(&p);
		struct parsed outer;
		ck_assert_int_eq(test_parse(p.frame, p.len, &outer), DROP_NONE);
		ck_assert(outer.is_ip6 == (k == 1));
		ck_assert_uint_eq(outer.protocol, k == 0 ? IP_PROTO_IP6 : IP_PROTO_IPIP);
		ck_assert_uint_eq(p.len, k == 0 ? n_bytes - 20 : n_bytes + 20);
		if (k == 0)
			ck_assert_uint_eq(outer.dst, test_ip4("10.2.2.11"));
		else
			ck_assert_mem_eq(parsed_dst6(p.frame, &outer), test_ip6("2001:db8::10:2:2:11"), 16);
		fixture_fini(&f);
	}
}
END_TEST

// At the end of a detour the muxes are told, with whole addresses.
START_TEST(a_flow_that_is_found_by_a_detour_is_reported)
{
	set_up();
	with_history();
	struct test_frame syn = tcp_to(VM1, MUX, 40000, TCP_SYN);
	ck_assert_int_eq(fixture_inbound(&f, &syn).verdict, AGENT_TO_VM);
	struct test_frame marked = tcp_to(VM1, "2001:db8::10:0:0:22", 40000, TCP_ACK);
	store16(test_data(&marked) + ETH_BYTES + 2, be16_from(CHAIN_MARK | 1));
	struct test_tuple t = from_vm(VM1, 8080, CLIENT, 40000);
	struct test_frame answer = test_tcp(&t, TCP_SYN | TCP_ACK, NULL, 0);
	ck_assert_int_eq(fixture_outbound(&f, 0, &answer).verdict, AGENT_TO_UPLINK);
	ck_assert_int_eq(fixture_inbound(&f, &marked).verdict, AGENT_TO_VM);
	ck_assert_uint_eq(f.agent.counters.chain_delivered, 1);
	ck_assert_uint_eq(f.agent.pin_reports.n, 1);
	const struct pin *pin = &f.agent.pin_reports.items[0];
	ck_assert_mem_eq(pin->remote.bytes, test_ip6(CLIENT), 16);
	ck_assert_mem_eq(pin->vip.bytes, test_ip6(VIP), 16);
	ck_assert_mem_eq(pin->dip.bytes, test_ip6(VM1), 16);
	uint8_t frame[PIN_REPORTS_FRAME_BYTES];
	ck_assert_uint_eq(agent_pins_begin(&f.agent, 1), 1);
	ck_assert_uint_gt(agent_pins_write(&f.agent, 0, frame), 0);
	ck_assert(frame_ether_type(frame) == be16_from(ETHER_IP4)); // over IPv4, which both have
	f.agent.settings.address = 0;
	fixture_pass(&f, 1); // a flow is reported again after a while
	struct test_frame again = tcp_to(VM1, "2001:db8::10:0:0:22", 40000, TCP_ACK);
	store16(test_data(&again) + ETH_BYTES + 2, be16_from(CHAIN_MARK | 1));
	ck_assert_int_eq(fixture_inbound(&f, &again).verdict, AGENT_TO_VM);
	ck_assert_uint_eq(agent_pins_begin(&f.agent, 2), 1);
	uint32_t n = agent_pins_write(&f.agent, 0, frame);
	ck_assert(frame_ether_type(frame) == be16_from(ETHER_IP6));
	ck_assert(test_checksums_ok(frame, n, NULL));
	fixture_fini(&f);
}
END_TEST

// ---- SNAT ----

static void with_snat(void)
{
	set_up();
	fixture_add_snat(&f, NULL);
	fixture_add_snat6(&f, NULL);
	fixture_lease(&f, SNAT_VIP, VM1, 2048, 8, 1);
	fixture_lease(&f, SNAT_VIP, VM2, 2056, 8, 2);
}

START_TEST(status_names_the_busiest_destinations_of_both_families)
{
	with_snat();
	for (uint16_t i = 0; i < 3; i++) {
		struct test_tuple t = from_vm(VM1, (uint16_t)(50000 + i), SERVER, 443);
		struct test_frame syn = test_tcp(&t, TCP_SYN, NULL, 0);
		struct agent_packet p = fixture_outbound(&f, 0, &syn);
		ck_assert_int_eq(p.verdict, AGENT_TO_UPLINK);
		must_be_right(&p);
	}
	struct snat_dip_status st;
	bool is_there = false;
	be32 vm1 = addr_names_lookup(f.names, test_ip6(VM1));
	for (uint32_t i = 0; i < snat_slots(f.agent.snat) && !is_there; i++)
		is_there = snat_read_dip(f.agent.snat, (uint16_t)i, &st) && st.dip == vm1;
	ck_assert(is_there);
	ck_assert_uint_eq(st.flows, 3);
	ck_assert_uint_eq(st.n_busiest, 1);
	ck_assert_uint_eq(st.busiest[0].n_ports, 3);
	ck_assert_mem_eq(st.busiest[0].remote.bytes, test_ip6(SERVER), 16);
	fixture_fini(&f);
}
END_TEST

START_TEST(what_finds_no_port_is_reported_with_its_whole_destination)
{
	with_snat();
	for (uint16_t i = 0; i < 9; i++) {
		struct test_tuple t = from_vm(VM1, (uint16_t)(50000 + i), SERVER, 443);
		struct test_frame syn = test_tcp(&t, TCP_SYN, NULL, 0);
		(void)fixture_outbound(&f, 0, &syn);
	}
	fixture_link(&f, false);
	fixture_pass(&f, 5);
	struct test_tuple t = from_vm(VM1, 51000, SERVER, 443);
	struct test_frame syn = test_tcp(&t, TCP_SYN, NULL, 0);
	struct agent_packet p = fixture_outbound(&f, 0, &syn);
	ck_assert_int_eq(p.verdict, AGENT_TO_VM); // a RST
	must_be_right(&p);
	struct snat_report r = { 0 };
	while (r.kind != SNAT_REPORT_EXHAUSTED)
		ck_assert(agent_snat_next_report(&f.agent, &r));
	ck_assert_mem_eq(r.remote.bytes, test_ip6(SERVER), 16);
	ck_assert_uint_eq(r.dip, addr_names_lookup(f.names, test_ip6(VM1)));
	fixture_fini(&f);
}
END_TEST

// Several VMs' datagrams leave with one source: each gets an identification of its own, in all of its fragments.
START_TEST(fragments_that_leave_translated_have_another_identification)
{
	with_snat();
	be32 ids[2][2];
	for (uint16_t vm = 0; vm < 2; vm++) {
		for (uint32_t i = 0; i < 2; i++) {
			struct test_tuple t = from_vm(vm == 0 ? VM1 : VM2, 5000, SERVER, 9000);
			struct test_frame frame = test_udp(&t, NULL, i == 0 ? 792 : 592);
			test_set_fragment(&frame, i == 0 ? 0 : 100, i == 0);
			struct agent_packet p = fixture_outbound(&f, vm, &frame);
			ck_assert_int_eq(p.verdict, AGENT_TO_UPLINK);
			struct parsed ip;
			ck_assert_int_eq(parse_ip6(p.frame, p.len, ETH_BYTES, &ip), DROP_FRAGMENT);
			ck_assert_mem_eq(parsed_src6(p.frame, &ip), test_ip6(SNAT_VIP), 16);
			ids[vm][i] = ((const struct ip6_fragment *)(p.frame + ip.fragment_off))->id;
		}
	}
	ck_assert_uint_eq(ids[0][0], ids[0][1]);
	ck_assert_uint_eq(ids[1][0], ids[1][1]);
	ck_assert_uint_ne(ids[0][0], ids[1][0]);
	fixture_fini(&f);
}
END_TEST

// ---- Names ----

// A remote gets a name while it has a flow: the flow goes on, for in it a remote is a tag whatever it is called.
START_TEST(a_client_that_gets_a_name_keeps_its_flow)
{
	set_up();
	struct test_frame syn = tcp_to(VM1, MUX, 40000, TCP_SYN);
	ck_assert_int_eq(fixture_inbound(&f, &syn).verdict, AGENT_TO_VM);
	ck_assert_uint_eq(f.agent.flows.n_flows, 1);
	fixture_change(&f, test_put_node(OBJECT_HOST, "host3", CLIENT));
	ck_assert_uint_ne(addr_names_lookup(f.names, test_ip6(CLIENT)), 0);
	struct test_tuple t = from_vm(VM1, 8080, CLIENT, 40000);
	struct test_frame answer = test_tcp(&t, TCP_SYN | TCP_ACK, NULL, 0);
	struct agent_packet p = fixture_outbound(&f, 0, &answer);
	ck_assert_int_eq(p.verdict, AGENT_TO_UPLINK);
	must_be_right(&p);
	struct parsed ip;
	ck_assert_int_eq(parse_ip6(p.frame, p.len, ETH_BYTES, &ip), DROP_NONE);
	ck_assert_mem_eq(parsed_src6(p.frame, &ip), test_ip6(VIP), 16);
	ck_assert_uint_eq(f.agent.flows.n_flows, 1);
	ck_assert_uint_eq(agent_dip_flows(&f.agent, addr_names_lookup(f.names, test_ip6(VM1))), 1);
	fixture_fini(&f);
}
END_TEST

// ---- no_snat ----

START_TEST(what_is_inside_a_prefix_is_reached_without_SNAT)
{
	static const struct {
		const char *prefix;
		const char *dst;
		bool is_inside;
	} rows[] = {
		{ "2001:db8::192:0:0:0/80", SERVER, true },
		{ "2001:db8:0:0:193::/80", SERVER, false },
		{ "2001:db8::192:0:2:80/128", SERVER, true },
		{ "2001:db8::192:0:2:81/128", SERVER, false },
		{ "2001:db8::192:0:2:80/127", SERVER, true },
		{ "2001:db8::192:0:0:0/96", SERVER, true },
		{ "2001:db8::/32", SERVER, true },
		{ "2001:db9::/32", SERVER, false },
		{ "::/0", SERVER, true },
		{ "2001:db8::/64", "2001:db8:0:1::1", false },
		{ "2001:db8::/63", "2001:db8:0:1::1", true },
		{ "2001:db8::/65", "2001:db8::8000:0:0:1", false },
	};
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		with_snat();
		struct change c = { .key.kind = OBJECT_SETTINGS };
		c.settings = f.store.settings;
		c.settings.n_no_snat = 1;
		ck_assert_int_eq(ip_prefix_parse(rows[i].prefix, &c.settings.no_snat[0], NULL), 0);
		fixture_change(&f, c);
		struct test_tuple t = from_vm(VM1, 50000, rows[i].dst, 443);
		struct test_frame syn = test_tcp(&t, TCP_SYN, NULL, 0);
		struct agent_packet p = fixture_outbound(&f, 0, &syn);
		ck_assert_int_eq(p.verdict, AGENT_TO_UPLINK);
		struct parsed ip;
		ck_assert_int_eq(parse_ip6(p.frame, p.len, ETH_BYTES, &ip), DROP_NONE);
		bool is_own = memcmp(parsed_src6(p.frame, &ip), test_ip6(VM1), 16) == 0;
		ck_assert_msg(is_own == rows[i].is_inside, "%s in %s", rows[i].dst, rows[i].prefix);
		fixture_fini(&f);
	}
}
END_TEST

// ---- Probes ----

START_TEST(probes_reach_the_vm_and_its_answer_the_host)
{
	set_up();
	struct test_tuple t = { .src = FIXTURE_PROBE_ADDRESS6, .dst = VM1, .src_port = 33000, .dst_port = 8080 };
	struct test_frame syn = test_tcp(&t, TCP_SYN, NULL, 0);
	struct agent_packet p = fixture_from_host(&f, &syn);
	ck_assert_int_eq(p.verdict, AGENT_TO_VM);
	ck_assert_uint_eq(p.port, 0);
	struct test_tuple back = from_vm(VM1, 8080, FIXTURE_PROBE_ADDRESS6, 33000);
	struct test_frame answer = test_tcp(&back, TCP_SYN | TCP_ACK, NULL, 0);
	p = fixture_outbound(&f, 0, &answer);
	ck_assert_int_eq(p.verdict, AGENT_TO_TAP);
	ck_assert(frame_ether_type(p.frame) == be16_from(ETHER_IP6));
	struct test_frame begin = test_tcp(&back, TCP_SYN, NULL, 0);
	ck_assert_int_eq(fixture_outbound(&f, 0, &begin).verdict, AGENT_DROP);
	struct test_tuple away = { .src = FIXTURE_PROBE_ADDRESS6, .dst = SERVER, .src_port = 33000, .dst_port = 8080 };
	struct test_frame nowhere = test_tcp(&away, TCP_SYN, NULL, 0);
	p = fixture_from_host(&f, &nowhere);
	ck_assert_int_eq(p.verdict, AGENT_DROP);
	ck_assert_int_eq(p.reason, DROP_PROBE_NOT_LOCAL);
	fixture_fini(&f);
}
END_TEST

static struct test_frame solicitation(const char *sender, const char *target)
{
	struct test_frame frame = { .offset = TEST_HEADROOM, .len = ND_SOLICITATION_BYTES };
	nd_write_solicitation(test_data(&frame), &TEST_MAC_B, test_ip6(sender), test_ip6(target), NULL);
	return frame;
}

START_TEST(the_kernel_finds_dips_behind_the_gateway_and_asks_for_others_in_the_hosts_name)
{
	set_up();
	struct test_frame for_dip = solicitation(FIXTURE_PROBE_ADDRESS6, VM1);
	struct agent_packet p = fixture_from_host(&f, &for_dip);
	ck_assert_int_eq(p.verdict, AGENT_TO_TAP);
	must_be_right(&p);
	struct parsed ip;
	struct nd_info nd;
	ck_assert_int_eq(parse_ip6(p.frame, p.len, ETH_BYTES, &ip), DROP_NONE);
	ck_assert_int_eq(nd_parse(p.frame, &ip, &nd), DROP_NONE);
	ck_assert_int_eq(nd.type, ICMP6_NEIGHBOR_ADVERTISEMENT);
	ck_assert(memcmp(&nd.mac, &FIXTURE_GATEWAY_MAC, sizeof nd.mac) == 0);
	struct test_frame for_other = solicitation(FIXTURE_PROBE_ADDRESS6, "fe80::1");
	p = fixture_from_host(&f, &for_other);
	ck_assert_int_eq(p.verdict, AGENT_TO_UPLINK);
	must_be_right(&p);
	ck_assert_int_eq(parse_ip6(p.frame, p.len, ETH_BYTES, &ip), DROP_NONE);
	ck_assert_mem_eq(parsed_src6(p.frame, &ip), f.agent.settings.address6, 16);
	struct test_frame own = solicitation("2001:db8::10:0:0:21", "fe80::1");
	struct test_frame before = own;
	p = fixture_from_host(&f, &own);
	ck_assert_int_eq(p.verdict, AGENT_TO_UPLINK);
	ck_assert_mem_eq(p.frame, test_data(&before), before.len);
	fixture_fini(&f);
}
END_TEST

// ---- Router advertisements ----

START_TEST(vms_with_ip6_are_told_of_the_router_again_and_again)
{
	set_up();
	uint8_t frame[AGENT_FRAME_BYTES_MAX];
	uint16_t port;
	uint32_t seen = 0;
	f.agent.port_mtu[0] = 1450;
	for (uint32_t n; (n = agent_next_advertisement(&f.agent, frame, &port)) > 0; seen |= 1u << port) {
		struct parsed ip;
		struct nd_info nd;
		ck_assert_int_eq(parse_ip6(frame, n, ETH_BYTES, &ip), DROP_NONE);
		ck_assert_int_eq(nd_parse(frame, &ip, &nd), DROP_NONE);
		ck_assert_int_eq(nd.type, ICMP6_ROUTER_ADVERTISEMENT);
		ck_assert((seen & 1u << port) == 0);
	}
	ck_assert_uint_eq(seen, 3);
	fixture_pass(&f, 299);
	ck_assert_uint_eq(agent_next_advertisement(&f.agent, frame, &port), 0);
	f.agent.port_is_open[1] = false;
	fixture_pass(&f, 1);
	ck_assert_uint_gt(agent_next_advertisement(&f.agent, frame, &port), 0);
	ck_assert_uint_eq(port, 0);
	ck_assert_uint_eq(agent_next_advertisement(&f.agent, frame, &port), 0);
	fixture_fini(&f);
	fixture_init(&f, 64); // IPv4 only
	ck_assert_uint_eq(agent_next_advertisement(&f.agent, frame, &port), 0);
	fixture_fini(&f);
}
END_TEST

SUITE_MAIN("agent ip6", what_is_unknown_goes_on_with_the_mark_in_the_flow_label,
           what_is_sent_on_goes_by_the_way_of_the_next_owner, a_flow_that_is_found_by_a_detour_is_reported,
           status_names_the_busiest_destinations_of_both_families,
           what_finds_no_port_is_reported_with_its_whole_destination,
           fragments_that_leave_translated_have_another_identification, a_client_that_gets_a_name_keeps_its_flow,
           what_is_inside_a_prefix_is_reached_without_SNAT, probes_reach_the_vm_and_its_answer_the_host,
           the_kernel_finds_dips_behind_the_gateway_and_asks_for_others_in_the_hosts_name,
           vms_with_ip6_are_told_of_the_router_again_and_again)
