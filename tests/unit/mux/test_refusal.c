// Endpoints that refuse: who is told so and how, who passes, and who is dropped.
#include "tests/support/suite.h"

#include "common/base/memory.h"
#include "tests/unit/mux/fixture.h"

#define VIP "203.0.113.10"
#define FORMAT_BYTES 300

static const struct test_tuple to_vip = { .src = "198.51.100.7", .dst = VIP, .src_port = 40000, .dst_port = 80 };

static void set_refusing(struct fixture *f, const char *generations, uint8_t protocol, bool is_refusing)
{
	struct vip_history *h = test_history(VIP, generations);
	h->endpoints[0].protocol = protocol;
	h->endpoints[0].is_refusing = is_refusing;
	fixture_put_history(f, h);
}

static struct fixture *with_endpoint(uint8_t protocol, const char *generations)
{
	struct fixture *f = fixture_create(MUX_ADDRESS);
	struct vip_config *vip = test_letters_vip(VIP, "a b");
	vip->endpoints[0].protocol = protocol;
	fixture_put_vip(f, vip);
	set_refusing(f, generations, protocol, true);
	return f;
}

static void assert_answer(const struct mux_frame *m, const char *wanted)
{
	char text[FORMAT_BYTES];
	const char *what = "";
	ck_assert_int_eq(m->verdict, MUX_TO_UPLINK);
	ck_assert_msg(test_checksums_ok(m->data, m->len, &what), "%s", what);
	ck_assert_str_eq(test_format(m->data, m->len, text, sizeof text), wanted);
}

START_TEST(a_new_connection_is_answered_with_a_reset)
{
	struct fixture *f = with_endpoint(IP_PROTO_TCP, "a b");
	struct test_frame syn = test_tcp(&to_vip, TCP_SYN, NULL, 0);
	struct mux_frame m = fixture_send(f, &syn);
	assert_answer(&m, "02:00:00:00:00:02 > 02:00:00:00:00:01 ip4 203.0.113.10:80 > 198.51.100.7:40000 tcp RA seq 0 ack "
	                  "2 len 0 ttl 64 id 0");
	ck_assert_uint_eq(f->worker.counters.refused_tcp, 1);
	ck_assert_uint_eq(f->worker.counters.forwarded_packets, 0);
	fixture_destroy(f);
}
END_TEST

START_TEST(a_syn_with_ecn_bits_is_one_and_a_syn_with_data_is_acknowledged_whole)
{
	struct fixture *f = with_endpoint(IP_PROTO_TCP, "a b");
	struct test_frame syn = test_tcp(&to_vip, TCP_SYN | 0xc0, "early data", 10);
	struct mux_frame m = fixture_send(f, &syn);
	assert_answer(&m, "02:00:00:00:00:02 > 02:00:00:00:00:01 ip4 203.0.113.10:80 > 198.51.100.7:40000 tcp RA seq 0 ack "
	                  "12 len 0 ttl 64 id 0");
	fixture_destroy(f);
}
END_TEST

START_TEST(what_belongs_to_a_connection_goes_to_its_owner)
{
	static const uint8_t flags[] = { TCP_ACK, TCP_ACK | TCP_PSH, TCP_FIN | TCP_ACK, TCP_RST, TCP_SYN | TCP_ACK, 0 };
	struct fixture *f = with_endpoint(IP_PROTO_TCP, "a b");
	struct fixture *other = with_endpoint(IP_PROTO_TCP, "a b");
	set_refusing(other, "a b", IP_PROTO_TCP, false);
	for (size_t i = 0; i < sizeof flags; i++) {
		struct test_frame frame = test_tcp(&to_vip, flags[i], "data", 4);
		struct test_frame same = frame;
		struct mux_frame m = fixture_send(f, &frame);
		struct mux_frame as_always = fixture_send(other, &same);
		ck_assert_int_eq(m.verdict, MUX_TO_UPLINK);
		ck_assert_uint_eq(m.len, as_always.len);
		ck_assert_mem_eq(m.data, as_always.data, m.len);
	}
	ck_assert_uint_eq(f->worker.counters.forwarded_packets, sizeof flags);
	ck_assert_uint_eq(f->worker.counters.refused_tcp, 0);
	fixture_destroy(f);
	fixture_destroy(other);
}
END_TEST

START_TEST(pins_and_icmp_errors_find_the_endpoint_as_before)
{
	struct fixture *f = with_endpoint(IP_PROTO_TCP, "a b, b");
	fixture_put_host(f, "host1", "10.0.1.1");
	struct test_frame ack = test_tcp(&to_vip, TCP_ACK, NULL, 0);
	struct ip_addr a = test_letter('a');
	struct pin pin = { .remote = pin_addr_from_ip4(test_ip4(to_vip.src)),
		               .vip = pin_addr_from_ip4(test_ip4(VIP)),
		               .dip = pin_addr_from_ip4(ip_addr_to_v4(&a)),
		               .protocol = IP_PROTO_TCP,
		               .vip_port = be16_from(80) };
	uint16_t port = 40000; // one whose bucket had another owner
	struct test_tuple t = to_vip;
	for (;; port++) {
		uint64_t n = f->worker.counters.history_packets;
		t.src_port = port;
		ack = test_tcp(&t, TCP_ACK, NULL, 0);
		(void)fixture_send(f, &ack);
		if (f->worker.counters.history_packets > n)
			break;
	}
	pin.remote_port = be16_from(port);
	struct test_frame pins = fixture_pin_frame(f, "10.0.1.1", f->worker.now_real_us, &pin, 1);
	(void)fixture_send(f, &pins);
	ck_assert_uint_eq(f->worker.counters.pins_taken, 1);
	ack = test_tcp(&t, TCP_ACK, NULL, 0);
	struct mux_frame m = fixture_send(f, &ack);
	ck_assert_uint_eq(outer_dst(&m), ip_addr_to_v4(&a));
	struct test_tuple from_vip = { .src = VIP, .dst = to_vip.src, .src_port = 80, .dst_port = port };
	struct test_frame inside = test_tcp(&from_vip, TCP_ACK, NULL, 0);
	struct test_frame error = test_icmp_error(&to_vip, ICMP_UNREACHABLE, 4, &inside, 28);
	m = fixture_send(f, &error);
	ck_assert_uint_eq(outer_dst(&m), ip_addr_to_v4(&a));
	fixture_destroy(f);
}
END_TEST

START_TEST(udp_is_told_that_the_port_is_unreachable)
{
	struct fixture *f = with_endpoint(IP_PROTO_UDP, "a b");
	struct test_frame question = test_udp(&to_vip, "who?", 4);
	struct test_frame kept = question;
	struct mux_frame m = fixture_send(f, &question);
	const char *what = "";
	ck_assert_int_eq(m.verdict, MUX_TO_UPLINK);
	ck_assert_msg(test_checksums_ok(m.data, m.len, &what), "%s", what);
	ck_assert_uint_eq(m.len, kept.len + ICMP_ERROR_BYTES);
	const struct eth_header *eth = (const struct eth_header *)m.data;
	ck_assert_mem_eq(&eth->dst, &TEST_MAC_A, MAC_BYTES);
	ck_assert_mem_eq(&eth->src, &MUX_MAC, MAC_BYTES);
	const struct ip4_header *ip = (const struct ip4_header *)(m.data + ETH_BYTES);
	ck_assert_uint_eq(ip->src, test_ip4(VIP));
	ck_assert_uint_eq(ip->dst, test_ip4(to_vip.src));
	const struct icmp_header *icmp = (const struct icmp_header *)(ip + 1);
	ck_assert_uint_eq(icmp->type, ICMP_UNREACHABLE);
	ck_assert_uint_eq(icmp->code, 3);
	ck_assert_mem_eq(icmp + 1, test_data(&kept) + ETH_BYTES, kept.len - ETH_BYTES); // what it is about
	ck_assert_uint_eq(f->worker.counters.refused_udp, 1);
	fixture_destroy(f);
}
END_TEST

START_TEST(an_answer_about_a_long_datagram_is_short)
{
	struct fixture *f = with_endpoint(IP_PROTO_UDP, "a b");
	static char data[1400];
	struct test_frame question = test_udp(&to_vip, data, sizeof data);
	struct mux_frame m = fixture_send(f, &question);
	ck_assert_int_eq(m.verdict, MUX_TO_UPLINK);
	ck_assert_uint_eq(m.len, ETH_BYTES + ICMP_ERROR_PACKET_BYTES);
	ck_assert(test_checksums_ok(m.data, m.len, NULL));
	fixture_destroy(f);
}
END_TEST

START_TEST(beyond_the_rate_nobody_is_told_and_it_is_counted)
{
	struct fixture *f = with_endpoint(IP_PROTO_TCP, "a b");
	for (uint32_t i = 0; i < MUX_REFUSALS_SAVED + 5; i++) {
		struct test_frame syn = test_tcp(&to_vip, TCP_SYN, NULL, 0);
		struct mux_frame m = fixture_send(f, &syn);
		ck_assert_int_eq(m.verdict, i < MUX_REFUSALS_SAVED ? MUX_TO_UPLINK : MUX_DROP);
	}
	ck_assert_uint_eq(f->worker.counters.drops[DROP_ENDPOINT_REFUSING], 5);
	f->worker.now = mono_add_us(f->worker.now, 1000000 / MUX_REFUSAL_RATE_PER_S);
	struct test_frame syn = test_tcp(&to_vip, TCP_SYN, NULL, 0);
	ck_assert_int_eq(fixture_send(f, &syn).verdict, MUX_TO_UPLINK);
	struct test_frame ack = test_tcp(&to_vip, TCP_ACK, NULL, 0);
	ck_assert_int_eq(fixture_send(f, &ack).verdict, MUX_TO_UPLINK); // connections are not limited
	fixture_destroy(f);
}
END_TEST

START_TEST(it_begins_and_ends_with_the_history)
{
	struct fixture *f = with_endpoint(IP_PROTO_TCP, "a b");
	const uint16_t *owners = vip_lookup(f->tables, test_ip4(VIP), be16_from(80), IP_PROTO_TCP)->owners;
	ck_assert_uint_eq(f->tables->n_refusing, 1);
	set_refusing(f, "a b", IP_PROTO_TCP, false);
	ck_assert_uint_eq(f->tables->n_refusing, 0);
	struct test_frame syn = test_tcp(&to_vip, TCP_SYN, NULL, 0);
	struct mux_frame m = fixture_send(f, &syn);
	ck_assert_uint_eq(f->worker.counters.forwarded_packets, 1);
	ck_assert_int_eq(m.verdict, MUX_TO_UPLINK);
	// Its buckets are the same all the time, and are not made anew.
	ck_assert_ptr_eq(vip_lookup(f->tables, test_ip4(VIP), be16_from(80), IP_PROTO_TCP)->owners, owners);
	ck_assert_uint_eq(f->tables->n_rebuilt, 0);
	fixture_delete_history(f, VIP);
	ck_assert_uint_eq(f->tables->n_refusing, 0);
	fixture_destroy(f);
}
END_TEST

START_TEST(other_ports_and_protocols_of_the_vip_are_untouched)
{
	struct fixture *f = with_endpoint(IP_PROTO_TCP, "a b");
	struct test_frame udp = test_udp(&to_vip, NULL, 0);
	struct test_frame ping = test_icmp(&to_vip, ICMP_ECHO, 0, 1, 1, NULL, 0);
	ck_assert_int_eq(fixture_send(f, &udp).reason, DROP_NO_ENDPOINT);
	ck_assert_int_eq(fixture_send(f, &ping).verdict, MUX_TO_UPLINK);
	ck_assert_uint_eq(f->worker.counters.icmp_echo_replies, 1);
	ck_assert_uint_eq(f->worker.counters.refused_udp, 0);
	fixture_destroy(f);
}
END_TEST

SUITE_MAIN("mux refusal", a_new_connection_is_answered_with_a_reset,
           a_syn_with_ecn_bits_is_one_and_a_syn_with_data_is_acknowledged_whole,
           what_belongs_to_a_connection_goes_to_its_owner, pins_and_icmp_errors_find_the_endpoint_as_before,
           udp_is_told_that_the_port_is_unreachable, an_answer_about_a_long_datagram_is_short,
           beyond_the_rate_nobody_is_told_and_it_is_counted, it_begins_and_ends_with_the_history,
           other_ports_and_protocols_of_the_vip_are_untouched)
