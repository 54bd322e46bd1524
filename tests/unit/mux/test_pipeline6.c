// IPv6 through the pipeline: VIPs and DIPs, and outer headers of either family (mux/core/pipeline.h).
#include "tests/support/suite.h"

#include <string.h>

#include "common/base/memory.h"
#include "tests/unit/mux/fixture.h"

#define VIP6 "2001:db8:5::10"
#define CLIENT6 "2001:db8:c::7"

static const char *const dips6[] = { "2001:db8:1:1::11", "2001:db8:1:2::11", "2001:db8:1:3::11", NULL };
static const char *const dips4[] = { "10.1.1.11", NULL };
static const struct test_tuple to_vip6 = { .src = CLIENT6, .dst = VIP6, .src_port = 40000, .dst_port = 80 };

static struct fixture *with_vip6(void)
{
	struct fixture *f = fixture_create(MUX_ADDRESS);
	fixture_put_vip(f, test_vip(VIP6, "shop", dips6));
	return f;
}

static const struct ip6_header *outer6(const struct mux_frame *m)
{
	ck_assert_uint_eq(frame_ether_type(m->data), be16_from(ETHER_IP6));
	return (const struct ip6_header *)(m->data + ETH_BYTES);
}

static void assert_dropped(struct fixture *f, struct test_frame frame, enum drop_reason reason)
{
	struct mux_frame m = fixture_send(f, &frame);
	ck_assert_msg(m.verdict == MUX_DROP && m.reason == reason, "verdict %d, %s", m.verdict, drop_reason_name(m.reason));
}

START_TEST(a_packet_is_encapsulated_over_ipv6_as_it_is)
{
	struct fixture *f = with_vip6();
	struct test_frame frame = test_tcp(&to_vip6, TCP_SYN, NULL, 100);
	struct test_frame before = frame;
	struct mux_frame m = fixture_send(f, &frame);
	ck_assert_int_eq(m.verdict, MUX_TO_UPLINK);
	ck_assert_uint_eq(m.len, before.len + ENCAP6_BYTES);
	const struct ip6_header *ip = outer6(&m);
	ck_assert_mem_eq(ip->src, test_ip6(MUX_ADDRESS6), 16);
	ck_assert_uint_eq(ip->next_header, IP_PROTO_IP6);
	ck_assert_uint_eq(be16_to(ip->payload_length), before.len - ETH_BYTES);
	ck_assert_mem_eq(m.data, &GATEWAY_MAC, MAC_BYTES);
	ck_assert_mem_eq(m.data + ETH_BYTES + IP6_BYTES, test_data(&before) + ETH_BYTES, before.len - ETH_BYTES);
	ck_assert_uint_eq(f->worker.counters.forwarded_packets, 1);
	fixture_destroy(f);
}
END_TEST

START_TEST(two_muxes_choose_the_same_dip_and_flows_spread)
{
	struct fixture *one = with_vip6();
	struct fixture *two = fixture_create("10.0.0.32");
	static const char *const others[] = { "2001:db8:9::1", NULL };
	fixture_put_vip(two, test_vip("2001:db8:5::99", "other", others)); // names are given in another order
	fixture_put_vip(two, test_vip(VIP6, "shop", dips6));
	uint32_t n_of_dip[3] = { 0 };
	for (uint16_t port = 1024; port < 4096; port++) {
		struct test_tuple t = to_vip6;
		t.src_port = port;
		struct test_frame a = test_tcp(&t, TCP_SYN, NULL, 0);
		struct test_frame b = a;
		struct mux_frame from_one = fixture_send(one, &a);
		struct mux_frame from_two = fixture_send(two, &b);
		ck_assert_mem_eq(outer6(&from_one)->dst, outer6(&from_two)->dst, 16);
		for (uint32_t i = 0; i < 3; i++)
			n_of_dip[i] += memcmp(outer6(&from_one)->dst, test_ip6(dips6[i]), 16) == 0;
	}
	for (uint32_t i = 0; i < 3; i++) // a third of 3072 each, give or take 6 standard deviations
		ck_assert_msg(n_of_dip[i] > 867 && n_of_dip[i] < 1181, "%s got %u", dips6[i], n_of_dip[i]);
	fixture_destroy(one);
	fixture_destroy(two);
}
END_TEST

START_TEST(the_outer_header_is_of_the_family_of_the_way)
{
	struct fixture *f = with_vip6();
	for (uint32_t i = 0; i < 3; i++) {
		char via[16];
		strcpy(via, "10.1.1.201");
		via[5] = (char)('1' + i);
		fixture_put_via(f, dips6[i], via);
	}
	struct test_frame frame = test_tcp(&to_vip6, TCP_SYN, NULL, 100);
	uint32_t packet_bytes = frame.len - ETH_BYTES;
	struct mux_frame m = fixture_send(f, &frame);
	ck_assert_int_eq(m.verdict, MUX_TO_UPLINK);
	ck_assert_uint_eq(frame_ether_type(m.data), be16_from(ETHER_IP4));
	const struct ip4_header *ip = (const struct ip4_header *)(m.data + ETH_BYTES);
	ck_assert_uint_eq(ip->protocol, IP_PROTO_IP6);
	ck_assert_uint_eq(ip->src, test_ip4(MUX_ADDRESS));
	ck_assert_uint_eq(be32_to(ip->dst) & 0xff, 201);
	ck_assert_uint_eq(m.len, ETH_BYTES + IP4_BYTES + packet_bytes);
	ck_assert(test_checksums_ok(m.data, m.len, NULL));

	fixture_put_vip(f, test_vip("203.0.113.10", "shop", dips4)); // and the reverse
	fixture_put_via(f, "10.1.1.11", "2001:db8:1:1::a01");
	struct test_tuple t = { .src = "198.51.100.7", .dst = "203.0.113.10", .src_port = 40000, .dst_port = 80 };
	frame = test_tcp(&t, TCP_SYN, NULL, 100);
	m = fixture_send(f, &frame);
	ck_assert_int_eq(m.verdict, MUX_TO_UPLINK);
	ck_assert_uint_eq(outer6(&m)->next_header, IP_PROTO_IPIP);
	ck_assert_mem_eq(outer6(&m)->dst, test_ip6("2001:db8:1:1::a01"), 16);

	fixture_put_via(f, "10.1.1.11", NULL);
	frame = test_tcp(&t, TCP_SYN, NULL, 100);
	m = fixture_send(f, &frame);
	ck_assert_uint_eq(outer_dst(&m), test_ip4("10.1.1.11"));
	fixture_destroy(f);
}
END_TEST

START_TEST(snat_replies_go_to_who_has_leased_the_port)
{
	struct fixture *f = with_vip6();
	struct vip_config *vip = test_vip("2001:db8:5::20", "out", dips6);
	vip->n_snat_dips = 1;
	memory_free(vip->snat_dips);
	vip->snat_dips = memory_array(1, sizeof *vip->snat_dips);
	vip->snat_dips[0] = test_addr(dips6[1]);
	fixture_put_vip(f, vip);
	fixture_lease(f, "2001:db8:5::20", dips6[1], 2048, 8);
	struct test_tuple t = { .src = CLIENT6, .dst = "2001:db8:5::20", .src_port = 443, .dst_port = 2050 };
	struct test_frame frame = test_tcp(&t, TCP_ACK, NULL, 10);
	struct mux_frame m = fixture_send(f, &frame);
	ck_assert_int_eq(m.verdict, MUX_TO_UPLINK);
	ck_assert_mem_eq(outer6(&m)->dst, test_ip6(dips6[1]), 16);
	frame = test_icmp(&t, ICMP6_ECHO_REPLY, 0, 2051, 1, NULL, 8);
	m = fixture_send(f, &frame);
	ck_assert_int_eq(m.verdict, MUX_TO_UPLINK);
	ck_assert_mem_eq(outer6(&m)->dst, test_ip6(dips6[1]), 16);
	t.dst_port = 2056;
	assert_dropped(f, test_tcp(&t, TCP_ACK, NULL, 10), DROP_SNAT_NO_LEASE);
	struct lease_list list = { 0 };
	ck_assert_int_eq(snat_maps_get_leases(&f->snat, &list), 0);
	ck_assert_uint_eq(list.n, 1);
	struct ip_addr want = test_addr(dips6[1]);
	ck_assert_mem_eq(&list.items[0].dip, &want, sizeof want);
	lease_list_fini(&list);
	fixture_destroy(f);
}
END_TEST

START_TEST(a_vip_answers_pings_and_errors_go_where_their_connection_goes)
{
	struct fixture *f = with_vip6();
	struct test_frame frame = test_icmp(&to_vip6, ICMP6_ECHO, 0, 7, 1, NULL, 56);
	struct mux_frame m = fixture_send(f, &frame);
	ck_assert_int_eq(m.verdict, MUX_TO_UPLINK);
	ck_assert_mem_eq(outer6(&m)->dst, test_ip6(CLIENT6), 16);
	ck_assert(test_checksums_ok(m.data, m.len, NULL));

	struct test_frame data = test_tcp(&to_vip6, TCP_ACK, NULL, 0);
	struct mux_frame to_dip = fixture_send(f, &data);
	struct test_tuple back = { .src = VIP6, .dst = CLIENT6, .src_port = 80, .dst_port = 40000 };
	struct test_tuple from_router = { .src = "2001:db8:c::1", .dst = VIP6 };
	struct test_frame sent = test_tcp(&back, TCP_ACK, NULL, 1200);
	frame = test_icmp_error(&from_router, ICMP6_PACKET_TOO_BIG, 0, &sent, 200);
	m = fixture_send(f, &frame);
	ck_assert_int_eq(m.verdict, MUX_TO_UPLINK);
	ck_assert_mem_eq(outer6(&m)->dst, outer6(&to_dip)->dst, 16);
	ck_assert_uint_eq(f->worker.counters.icmp_errors_steered, 1);
	back.src = "2001:db8:5::77"; // the packet inside is somebody else's
	sent = test_tcp(&back, TCP_ACK, NULL, 1200);
	assert_dropped(f, test_icmp_error(&from_router, ICMP6_PACKET_TOO_BIG, 0, &sent, 200), DROP_ICMP_UNKNOWN);
	fixture_destroy(f);
}
END_TEST

START_TEST(what_does_not_fit_is_answered_with_what_would)
{
	struct fixture *f = with_vip6();
	struct test_frame fits = test_tcp(&to_vip6, TCP_ACK, NULL, MUX_MTU - ENCAP6_BYTES - 60);
	struct test_frame large = test_tcp(&to_vip6, TCP_ACK, NULL, MUX_MTU - ENCAP6_BYTES - 59);
	struct mux_frame m = fixture_send(f, &fits);
	ck_assert_int_eq(m.verdict, MUX_TO_UPLINK);
	ck_assert_uint_eq(m.len, ETH_BYTES + MUX_MTU);
	m = fixture_send(f, &large);
	ck_assert_int_eq(m.verdict, MUX_TO_UPLINK);
	const struct icmp_header *icmp = (const struct icmp_header *)(m.data + ETH_BYTES + IP6_BYTES);
	ck_assert_mem_eq(outer6(&m)->src, test_ip6(VIP6), 16);
	ck_assert_mem_eq(outer6(&m)->dst, test_ip6(CLIENT6), 16);
	ck_assert_uint_eq(icmp->type, ICMP6_PACKET_TOO_BIG);
	ck_assert_uint_eq(be32_to(load32(m.data + ETH_BYTES + IP6_BYTES + 4)), MUX_MTU - ENCAP6_BYTES);
	ck_assert(test_checksums_ok(m.data, m.len, NULL));
	fixture_destroy(f);
}
END_TEST

// Names of IPv6 addresses lie in 0.0.0.0/8: nobody speaks to a VIP by its name.
START_TEST(an_ipv4_destination_is_no_name)
{
	struct fixture *f = with_vip6();
	be32 name = addr_names_lookup(f->names, test_ip6(VIP6));
	struct test_tuple t = { .src = "198.51.100.7", .dst = "10.0.0.99", .src_port = 40000, .dst_port = 80 };
	struct test_frame frames[] = { test_tcp(&t, TCP_SYN, NULL, 20), test_udp(&t, NULL, 30),
		                           test_icmp(&t, ICMP_ECHO, 0, 1, 1, NULL, 8), test_tcp(&t, TCP_SYN, NULL, 64) };
	ck_assert_uint_ne(name, 0);
	test_set_fragment(&frames[3], 0, true);
	for (size_t i = 0; i < sizeof frames / sizeof *frames; i++) {
		store32(test_data(&frames[i]) + 30, name);
		assert_dropped(f, frames[i], DROP_NOT_A_VIP);
	}
	fixture_destroy(f);
}
END_TEST

START_TEST(a_burst_needs_no_gateway_of_ipv4)
{
	struct fixture *f = with_vip6();
	struct test_frame frames[3] = { test_tcp(&to_vip6, TCP_SYN, NULL, 0), test_udp(&to_vip6, NULL, 9),
		                            test_tcp(&to_vip6, TCP_ACK, NULL, 1400) };
	struct mux_frame m[3];
	uint64_t n_bytes = 0;
	for (uint32_t i = 0; i < 3; i++) {
		m[i] = (struct mux_frame){ .data = test_data(&frames[i]), .len = frames[i].len };
		n_bytes += frames[i].len;
	}
	f->worker.neighbors.entries[0].has_mac = false;
	mux_pipeline_burst(&f->worker, f->tables, m, 3);
	ck_assert_int_eq(m[0].verdict, MUX_TO_UPLINK);
	ck_assert_int_eq(m[1].reason, DROP_NO_ENDPOINT);
	ck_assert_int_eq(m[2].verdict, MUX_TO_UPLINK);
	ck_assert_uint_eq(f->worker.counters.rx_bytes, n_bytes);
	f->worker.neighbors6.entries[0].has_mac = false;
	frames[0] = test_tcp(&to_vip6, TCP_SYN, NULL, 0);
	ck_assert_int_eq(fixture_send(f, &frames[0]).reason, DROP_NO_NEXT_HOP);
	fixture_destroy(f);
}
END_TEST

START_TEST(fragments_go_where_the_first_one_goes)
{
	struct fixture *f = with_vip6();
	struct test_frame whole = test_tcp(&to_vip6, TCP_ACK, NULL, 0);
	struct mux_frame to_dip = fixture_send(f, &whole);
	struct test_frame first = test_tcp(&to_vip6, TCP_ACK, NULL, 44);
	struct test_frame second = first;
	test_set_fragment(&first, 0, true);
	test_set_fragment(&second, 8, false);
	struct mux_frame m = fixture_send(f, &second);
	ck_assert_int_eq(m.verdict, MUX_HELD);
	m = fixture_send(f, &first);
	ck_assert_int_eq(m.verdict, MUX_TO_UPLINK);
	ck_assert_mem_eq(outer6(&m)->dst, outer6(&to_dip)->dst, 16);
	struct side_frame released;
	ck_assert(fixture_next(f, &released));
	ck_assert_int_eq(released.frame.verdict, MUX_TO_UPLINK);
	ck_assert_mem_eq(outer6(&released.frame)->dst, outer6(&to_dip)->dst, 16);
	fixture_destroy(f);
}
END_TEST

START_TEST(the_nodes_own_goes_to_the_tap_and_gateways_are_learned)
{
	struct fixture *f = with_vip6();
	struct test_tuple own = { .src = "2001:db8:f::11", .dst = MUX_ADDRESS6, .src_port = 179, .dst_port = 33000 };
	struct test_frame frame = test_tcp(&own, TCP_ACK, NULL, 0);
	ck_assert_int_eq(fixture_send(f, &frame).verdict, MUX_TO_TAP);
	struct mac other = { { 2, 0, 0, 0, 0, 9 } };
	struct test_frame nd = { .offset = TEST_HEADROOM, .len = ND_SOLICITATION_BYTES };
	nd_write_solicitation(test_data(&nd), &other, test_ip6("fe80::1"), test_ip6(MUX_ADDRESS6), NULL);
	ck_assert_int_eq(fixture_send(f, &nd).verdict, MUX_TO_TAP);
	struct mac group = nd_group_mac(test_ip6("ff02::5"));
	struct test_tuple ospf = { .src = "fe80::1", .dst = "ff02::5", .dst_mac = &group };
	assert_dropped(f, test_ip_proto(&ospf, 89, NULL, 40), DROP_NOT_FOR_US);
	fixture_destroy(f);
}
END_TEST

START_TEST(what_no_host_sends_is_dropped)
{
	struct fixture *f = with_vip6();
	static const char *const martians[] = { "::1", "fe80::7", "ff02::1", "::ffff:198.51.100.7" };
	struct test_tuple t = to_vip6;
	for (size_t i = 0; i < sizeof martians / sizeof *martians; i++) {
		t.src = martians[i];
		assert_dropped(f, test_tcp(&t, TCP_SYN, NULL, 0), DROP_BAD_SOURCE);
		assert_dropped(f, test_icmp(&t, ICMP6_ECHO, 0, 1, 1, NULL, 8), DROP_BAD_SOURCE);
	}
	t.src = VIP6;
	assert_dropped(f, test_icmp(&t, ICMP6_ECHO, 0, 1, 1, NULL, 8), DROP_BAD_SOURCE);
	t = to_vip6;
	t.dst = "2001:db8:5::77";
	assert_dropped(f, test_tcp(&t, TCP_SYN, NULL, 0), DROP_NOT_A_VIP);
	t.dst = VIP6;
	t.dst_port = 81;
	assert_dropped(f, test_tcp(&t, TCP_SYN, NULL, 0), DROP_NO_ENDPOINT);
	fixture_destroy(f);
}
END_TEST

START_TEST(a_pin_of_ipv6_sends_its_flow_to_its_dip)
{
	struct fixture *f = with_vip6();
	struct vip_history *h = test_history(VIP6, "a, b");
	for (uint32_t g = 0; g < 2; g++)
		h->endpoints[0].generations[g].members[0].dip = test_addr(dips6[g]);
	fixture_put_host(f, "host1", "2001:db8:f::101");
	fixture_put_history(f, h);
	struct test_frame frame = test_tcp(&to_vip6, TCP_ACK, NULL, 0);
	struct mux_frame m = fixture_send(f, &frame);
	ck_assert_mem_eq(outer6(&m)->dst, test_ip6(dips6[1]), 16);
	struct pin_message message = { .cluster_id = 1, .stamp_us = MUX_NOW_REAL_US, .n_pins = 1 };
	message.sender = pin_addr_from_ip6(test_ip6("2001:db8:f::101"));
	message.pins[0] = (struct pin){ .remote = pin_addr_from_ip6(test_ip6(CLIENT6)),
		                            .vip = pin_addr_from_ip6(test_ip6(VIP6)),
		                            .dip = pin_addr_from_ip6(test_ip6(dips6[0])),
		                            .remote_port = be16_from(40000),
		                            .vip_port = be16_from(80),
		                            .protocol = IP_PROTO_TCP };
	uint8_t data[PIN_MESSAGE_BYTES_MAX];
	uint32_t n = pin_message_encode(&message, f->store.cluster.pin_key, data);
	struct test_tuple t = { .src = "2001:db8:f::101", .dst = MUX_ADDRESS6, .src_port = PIN_PORT, .dst_port = PIN_PORT };
	frame = test_udp(&t, data, n);
	ck_assert_int_eq(fixture_send(f, &frame).verdict, MUX_CONSUMED);
	frame = test_tcp(&to_vip6, TCP_ACK, NULL, 0);
	m = fixture_send(f, &frame);
	ck_assert_mem_eq(outer6(&m)->dst, test_ip6(dips6[0]), 16);
	ck_assert_uint_eq(f->worker.counters.pin_hits, 1);
	fixture_destroy(f);
}
END_TEST

SUITE_MAIN("mux-pipeline6", a_packet_is_encapsulated_over_ipv6_as_it_is, two_muxes_choose_the_same_dip_and_flows_spread,
           the_outer_header_is_of_the_family_of_the_way, snat_replies_go_to_who_has_leased_the_port,
           a_vip_answers_pings_and_errors_go_where_their_connection_goes, what_does_not_fit_is_answered_with_what_would,
           a_burst_needs_no_gateway_of_ipv4, an_ipv4_destination_is_no_name, fragments_go_where_the_first_one_goes,
           the_nodes_own_goes_to_the_tap_and_gateways_are_learned, what_no_host_sends_is_dropped,
           a_pin_of_ipv6_sends_its_flow_to_its_dip)
