// Fragments through the agent: what a whole packet becomes, its pieces become, in whatever order they come.
#include "common/base/text.h"
#include "common/packet/checksum.h"
#include "tests/support/suite.h"
#include "tests/unit/hostagent/fixture.h"
#include "tests/unit/hostagent/flow_block.h"

#define CLIENT "198.51.100.7"
#define SERVER "198.51.100.80"
#define VIP "203.0.113.10"
#define SNAT_VIP "203.0.113.20"
#define MUX "10.0.0.31"
#define PIECES_MAX 8

static struct agent_fixture f;

static struct ip4_header *ip_of(uint8_t *frame)
{
	return (struct ip4_header *)(frame + ETH_BYTES);
}

// The bytes [begin, end) of the IP payload of a frame without options, as a fragment.
static struct test_frame piece_of(const struct test_frame *whole, uint32_t begin, uint32_t end)
{
	struct test_frame piece = *whole;
	uint8_t *at = test_data(&piece) + ETH_BYTES + IP4_BYTES;
	uint32_t total = whole->len - ETH_BYTES - IP4_BYTES;
	memmove(at, at + begin, end - begin);
	piece.len = ETH_BYTES + IP4_BYTES + end - begin;
	ip_of(test_data(&piece))->total_length = be16_from((uint16_t)(IP4_BYTES + end - begin));
	test_set_fragment(&piece, (uint16_t)(begin / 8), end < total);
	return piece;
}

struct pieces {
	uint32_t n;
	struct test_frame frames[PIECES_MAX];
	uint32_t begins[PIECES_MAX];
};

// Cut after each of these many bytes, until 0.
static struct pieces cut(const struct test_frame *whole, const uint32_t *sizes)
{
	struct pieces p = { .n = 0 };
	uint32_t total = whole->len - ETH_BYTES - IP4_BYTES;
	for (uint32_t begin = 0; begin < total;) {
		uint32_t size = *sizes != 0 ? *sizes++ : total - begin;
		uint32_t end = begin + size < total ? begin + size : total;
		p.begins[p.n] = begin;
		p.frames[p.n++] = piece_of(whole, begin, end);
		begin = end;
	}
	return p;
}

// What came out, put together again.
struct put_together {
	uint8_t payload[TEST_FRAME_BYTES];
	uint32_t n_bytes;
	uint32_t total;
	struct ip4_header ip; // of the last piece that came
	bool ids_differ;
	uint32_t n;
	enum agent_verdict verdict;
	uint16_t port;
};

static void put(struct put_together *t, const struct agent_packet *p)
{
	char text[400];
	ck_assert_msg(p->verdict == AGENT_TO_VM || p->verdict == AGENT_TO_UPLINK, "piece %u: %s", t->n,
	              fixture_text(p, text, sizeof text));
	const struct ip4_header *ip = ip_of(p->frame);
	uint32_t begin = (be16_to(ip->fragment) & IP4_OFFSET_MASK) * 8u;
	uint32_t n = be16_to(ip->total_length) - IP4_BYTES;
	ck_assert_uint_eq(p->len, ETH_BYTES + IP4_BYTES + n);
	ck_assert_uint_eq(checksum_compute(ip, IP4_BYTES), 0);
	ck_assert(t->n == 0 || (ip->src == t->ip.src && ip->dst == t->ip.dst && p->verdict == t->verdict));
	t->ids_differ = t->ids_differ || (t->n > 0 && ip->id != t->ip.id);
	memcpy(t->payload + begin, p->frame + ETH_BYTES + IP4_BYTES, n);
	t->ip = *ip;
	t->verdict = p->verdict;
	t->port = p->port;
	t->n_bytes += n;
	t->n++;
	if ((be16_to(ip->fragment) & IP4_MORE_FRAGMENTS) == 0)
		t->total = begin + n;
}

static void take_released(struct put_together *t)
{
	struct agent_packet p;
	while (fixture_next_fragment(&f, &p)) {
		put(t, &p);
	}
}

static void must_be_whole(const struct put_together *t, const struct agent_packet *whole, const char *what)
{
	ck_assert_msg(t->n_bytes == t->total && t->total == whole->len - ETH_BYTES - IP4_BYTES, "%s: %u bytes of %u", what,
	              t->n_bytes, whole->len - ETH_BYTES - IP4_BYTES);
	ck_assert_msg(memcmp(t->payload, whole->frame + ETH_BYTES + IP4_BYTES, t->total) == 0, "%s: other bytes", what);
	const struct ip4_header *ip = ip_of(whole->frame);
	ck_assert_msg(t->ip.src == ip->src && t->ip.dst == ip->dst, "%s: other addresses", what);
	ck_assert_msg(!t->ids_differ, "%s: identifications differ", what);
	ck_assert_msg(t->verdict == whole->verdict && t->port == whole->port, "%s: another way", what);
}

static void set_id(struct test_frame *frame, uint16_t id)
{
	ip_of(test_data(frame))->id = be16_from(id);
	ip_of(test_data(frame))->checksum = 0;
	ip_of(test_data(frame))->checksum = checksum_compute(ip_of(test_data(frame)), IP4_BYTES);
}

static struct test_frame client_datagram(uint8_t protocol, uint16_t port, uint32_t n, uint16_t id)
{
	struct test_tuple t = {
		.src = CLIENT, .dst = VIP, .src_port = port, .dst_port = protocol == IP_PROTO_TCP ? 80 : 53
	};
	struct test_frame frame = protocol == IP_PROTO_TCP ? test_tcp(&t, TCP_SYN, NULL, n) : test_udp(&t, NULL, n);
	set_id(&frame, id);
	return frame;
}

// In this order of pieces.
static void send_in(const struct test_frame *whole, const uint32_t *sizes, const uint32_t *order, uint32_t n,
                    struct put_together *ret)
{
	static struct test_frame frames[PIECES_MAX];
	struct pieces pieces = cut(whole, sizes);
	ck_assert_uint_eq(pieces.n, n);
	*ret = (struct put_together){ .n = 0 };
	for (uint32_t i = 0; i < n; i++) {
		frames[i] = fixture_encapsulate(MUX, "10.1.1.11", &pieces.frames[order[i]]);
		struct agent_packet p = fixture_inbound(&f, &frames[i]);
		if (p.verdict != AGENT_HOLD_FRAGMENT)
			put(ret, &p);
		take_released(ret);
	}
}

static void send_out(uint16_t port, const struct test_frame *whole, const uint32_t *sizes, const uint32_t *order,
                     uint32_t n, struct put_together *ret)
{
	static struct test_frame frames[PIECES_MAX];
	struct pieces pieces = cut(whole, sizes);
	ck_assert_uint_eq(pieces.n, n);
	*ret = (struct put_together){ .n = 0 };
	for (uint32_t i = 0; i < n; i++) {
		frames[i] = pieces.frames[order[i]];
		struct agent_packet p = fixture_outbound(&f, port, &frames[i]);
		if (p.verdict != AGENT_HOLD_FRAGMENT)
			put(ret, &p);
		take_released(ret);
	}
}

static const uint32_t orders[][4] = { { 0, 1, 2, 3 }, { 3, 2, 1, 0 }, { 1, 0, 3, 2 }, { 2, 3, 0, 1 }, { 3, 0, 1, 2 } };

START_TEST(a_datagram_in_fragments_becomes_what_it_becomes_as_a_whole)
{
	static const uint8_t protocols[] = { IP_PROTO_UDP, IP_PROTO_TCP };
	static const uint32_t sizes[] = { 400, 8, 600, 0 };
	for (size_t k = 0; k < 2; k++) {
		for (size_t i = 0; i < sizeof orders / sizeof *orders; i++) {
			char what[64];
			text_format(what, sizeof what, "protocol %u, order %zu", protocols[k], i);
			fixture_init(&f, 64);
			struct test_frame whole = client_datagram(protocols[k], 40000, 1203, 77);
			struct put_together in, out;
			send_in(&whole, sizes, orders[i], 4, &in);
			struct test_frame encapsulated = fixture_encapsulate(MUX, "10.1.1.11", &whole);
			struct agent_packet p = fixture_inbound(&f, &encapsulated);
			must_be_whole(&in, &p, what);
			ck_assert_uint_eq(in.ip.id, be16_from(77));
			ck_assert_uint_eq(f.agent.counters.inbound_packets, 5);
			ck_assert_uint_eq(f.agent.counters.fragments, 3);
			struct test_tuple t = vm_tuple("10.1.1.11", protocols[k] == IP_PROTO_TCP ? 8080 : 5353, CLIENT, 40000);
			struct test_frame reply =
				protocols[k] == IP_PROTO_TCP ? test_tcp(&t, TCP_ACK, NULL, 1300) : test_udp(&t, NULL, 1300);
			send_out(0, &reply, sizes, orders[i], 4, &out);
			p = fixture_outbound(&f, 0, &reply);
			ck_assert_int_eq(p.verdict, AGENT_TO_UPLINK);
			must_be_whole(&out, &p, what);
			fixture_fini(&f);
		}
	}
}
END_TEST

START_TEST(snat_gives_one_port_to_all_fragments_and_another_identification_to_each_datagram)
{
	static const uint32_t sizes[] = { 800, 8, 200, 0 };
	fixture_init(&f, 64);
	fixture_add_snat(&f, NULL);
	fixture_lease(&f, SNAT_VIP, "10.1.1.11", 2048, 8, 1);
	fixture_lease(&f, SNAT_VIP, "10.1.1.12", 2056, 8, 2);
	be16 ids[2];
	be16 port = 0; // of the second
	for (uint16_t vm = 0; vm < 2; vm++) {
		struct test_tuple t = vm_tuple(vm == 0 ? "10.1.1.11" : "10.1.1.12", 5000, SERVER, 9000);
		struct test_frame whole = test_udp(&t, NULL, 1200); // both with the same identification
		struct put_together out;
		send_out(vm, &whole, sizes, orders[vm], 4, &out);
		struct agent_packet p = fixture_outbound(&f, vm, &whole);
		ck_assert_int_eq(p.verdict, AGENT_TO_UPLINK);
		must_be_whole(&out, &p, "SNAT");
		ck_assert_uint_eq(out.ip.src, test_ip4(SNAT_VIP));
		ids[vm] = out.ip.id;
		port = load16(out.payload);
	}
	ck_assert_uint_ne(ids[0], ids[1]);
	ck_assert_uint_eq(f.agent.counters.snat_flows, 2);
	// And back, to the VM whose port it is.
	struct test_tuple t = { .src = SERVER, .dst = SNAT_VIP, .src_port = 9000, .dst_port = be16_to(port) };
	struct test_frame reply = test_udp(&t, NULL, 1200);
	struct put_together in;
	send_in(&reply, sizes, orders[1], 4, &in);
	ck_assert_uint_eq(in.ip.dst, test_ip4("10.1.1.12"));
	ck_assert_uint_eq(in.port, 1);
	fixture_fini(&f);
}
END_TEST

// ping -s 3000
START_TEST(an_echo_in_fragments_is_translated_like_a_small_one)
{
	static const uint32_t sizes[] = { 800, 8, 200, 0 };
	fixture_init(&f, 64);
	fixture_add_snat(&f, NULL);
	fixture_lease(&f, SNAT_VIP, "10.1.1.11", 2048, 8, 1);
	struct test_tuple t = vm_tuple("10.1.1.11", 0, SERVER, 0);
	struct test_frame request = test_icmp(&t, ICMP_ECHO, 0, 99, 1, NULL, 1200);
	struct put_together out, in;
	send_out(0, &request, sizes, orders[2], 4, &out);
	ck_assert_uint_eq(out.ip.src, test_ip4(SNAT_VIP));
	uint16_t id = be16_to(((const struct icmp_header *)out.payload)->id);
	struct test_tuple back = { .src = SERVER, .dst = SNAT_VIP };
	struct test_frame reply = test_icmp(&back, ICMP_ECHO_REPLY, 0, id, 1, NULL, 1200);
	send_in(&reply, sizes, orders[2], 4, &in);
	ck_assert_uint_eq(in.ip.dst, test_ip4("10.1.1.11"));
	ck_assert_uint_eq(be16_to(((const struct icmp_header *)in.payload)->id), 99);
	struct test_frame small = test_icmp(&back, ICMP_ECHO_REPLY, 0, id, 1, NULL, 1200);
	struct test_frame encapsulated = fixture_encapsulate(MUX, "10.1.1.11", &small);
	struct agent_packet p = fixture_inbound(&f, &encapsulated);
	must_be_whole(&in, &p, "echo");
	fixture_fini(&f);
}
END_TEST

static struct agent_packet piece_in(struct test_frame *buffer, const struct test_frame *whole, uint32_t begin,
                                    uint32_t end)
{
	struct test_frame piece = piece_of(whole, begin, end);
	*buffer = fixture_encapsulate(MUX, "10.1.1.11", &piece);
	return fixture_inbound(&f, buffer);
}

START_TEST(what_is_no_honest_fragment_is_refused)
{
	static const struct {
		const char *what;
		uint8_t protocol;
		uint32_t pieces[3][2]; // the last one's fate is asked
		enum drop_reason want;
	} rows[] = {
		{ "a TCP header in two (RFC 1858)", IP_PROTO_TCP, { { 0, 16 } }, DROP_FRAGMENT_MALFORMED },
		{ "behind the ports, before the flags (RFC 3128)", IP_PROTO_TCP, { { 8, 40 } }, DROP_FRAGMENT_MALFORMED },
		{ "one over another (RFC 5722)", IP_PROTO_UDP, { { 0, 64 }, { 56, 128 } }, DROP_FRAGMENT_OVERLAP },
		{ "and nothing more of it", IP_PROTO_UDP, { { 0, 64 }, { 56, 128 }, { 128, 208 } }, DROP_FRAGMENT_OVERLAP },
	};
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		static struct test_frame buffers[3];
		fixture_init(&f, 64);
		struct test_frame whole = client_datagram(rows[i].protocol, 40000, 200, 5);
		struct agent_packet p = { .verdict = AGENT_DROP };
		for (uint32_t k = 0; k < 3 && rows[i].pieces[k][1] != 0; k++)
			p = piece_in(&buffers[k], &whole, rows[i].pieces[k][0], rows[i].pieces[k][1]);
		ck_assert_msg(p.verdict == AGENT_DROP && p.reason == rows[i].want, "%s: %s", rows[i].what,
		              drop_reason_name(p.reason));
		fixture_fini(&f);
	}
}
END_TEST

START_TEST(what_waits_follows_a_first_one_that_is_dropped_and_does_not_wait_for_ever)
{
	static struct test_frame buffers[3];
	fixture_init(&f, 64);
	struct test_tuple t = { .src = CLIENT, .dst = VIP, .src_port = 1, .dst_port = 99 }; // no endpoint
	struct test_frame whole = test_udp(&t, NULL, 200);
	struct agent_packet p;
	ck_assert_int_eq(piece_in(&buffers[0], &whole, 64, 128).verdict, AGENT_HOLD_FRAGMENT);
	ck_assert(!fixture_next_fragment(&f, &p));
	ck_assert_int_eq(piece_in(&buffers[1], &whole, 0, 64).reason, DROP_ENCAP_NO_ENDPOINT);
	ck_assert(fixture_next_fragment(&f, &p));
	ck_assert_int_eq(p.reason, DROP_FRAGMENT);
	ck_assert_int_eq(piece_in(&buffers[2], &whole, 128, 208).reason, DROP_FRAGMENT);

	whole = client_datagram(IP_PROTO_UDP, 40000, 200, 6);
	ck_assert_int_eq(piece_in(&buffers[0], &whole, 64, 128).verdict, AGENT_HOLD_FRAGMENT);
	fixture_pass(&f, 4);
	ck_assert(!fixture_next_fragment(&f, &p));
	fixture_pass(&f, 2);
	ck_assert(fixture_next_fragment(&f, &p));
	ck_assert_int_eq(p.reason, DROP_FRAGMENT_TIMEOUT);
	ck_assert_uint_eq(f.agent.counters.fragments_held, 2);
	ck_assert_uint_eq(f.agent.counters.drops[DROP_FRAGMENT_TIMEOUT], 1);
	fixture_fini(&f);
}
END_TEST

// The first one goes to the bucket's other owner, and so do they.
START_TEST(fragments_of_a_packet_that_is_sent_on_go_there_too)
{
	static const char *const dns[] = { "10.1.2.11", "10.1.1.11", NULL };
	static struct test_frame buffers[3];
	fixture_init(&f, 64);
	fixture_change(&f, fixture_cluster());
	fixture_change(&f, fixture_history(VIP, IP_PROTO_UDP, 53, dns));
	struct test_frame whole = client_datagram(IP_PROTO_UDP, 40000, 200, 5);
	struct agent_packet waiting = piece_in(&buffers[0], &whole, 64, 128);
	ck_assert_int_eq(waiting.verdict, AGENT_HOLD_FRAGMENT);
	struct agent_packet first = piece_in(&buffers[1], &whole, 0, 64);
	ck_assert_int_eq(first.verdict, AGENT_TO_UPLINK);
	struct agent_packet last = piece_in(&buffers[2], &whole, 128, 208);
	ck_assert(fixture_next_fragment(&f, &waiting));
	const struct agent_packet *all[] = { &first, &last, &waiting };
	for (size_t i = 0; i < 3; i++) {
		const struct ip4_header *outer = ip_of(all[i]->frame);
		ck_assert_int_eq(all[i]->verdict, AGENT_TO_UPLINK);
		ck_assert_uint_eq(outer->protocol, IP_PROTO_IPIP);
		ck_assert_uint_eq(outer->dst, test_ip4("10.1.2.11"));
		ck_assert_uint_eq(outer->id, ip_of(first.frame)->id);
		ck_assert_uint_eq(checksum_compute(outer, IP4_BYTES), 0);
		ck_assert_uint_eq(((const struct ip4_header *)(outer + 1))->dst, test_ip4(VIP));
	}
	ck_assert_uint_eq(f.agent.counters.chain_forwarded, 3);
	fixture_fini(&f);
}
END_TEST

START_TEST(a_first_fragment_that_waits_for_a_port_keeps_the_others_waiting)
{
	static struct test_frame buffers[2];
	fixture_init(&f, 64);
	fixture_add_snat(&f, NULL);
	struct test_tuple t = vm_tuple("10.1.1.11", 5000, SERVER, 9000);
	struct test_frame whole = test_udp(&t, NULL, 200);
	struct agent_packet p;
	buffers[0] = piece_of(&whole, 0, 104);
	buffers[1] = piece_of(&whole, 104, 208);
	ck_assert_int_eq(fixture_outbound(&f, 0, &buffers[0]).verdict, AGENT_HOLD);
	ck_assert_int_eq(fixture_outbound(&f, 0, &buffers[1]).verdict, AGENT_HOLD_FRAGMENT);
	ck_assert(!fixture_next_fragment(&f, &p));
	fixture_lease(&f, SNAT_VIP, "10.1.1.11", 2048, 8, 1);
	struct agent_packet first = { .frame = test_data(&buffers[0]), .len = buffers[0].len, .was_held = true };
	agent_outbound(&f.agent, &first, 1);
	ck_assert_int_eq(first.verdict, AGENT_TO_UPLINK);
	ck_assert(fixture_next_fragment(&f, &p));
	ck_assert_int_eq(p.verdict, AGENT_TO_UPLINK);
	ck_assert_uint_eq(ip_of(p.frame)->src, test_ip4(SNAT_VIP));
	ck_assert_uint_eq(ip_of(p.frame)->id, ip_of(first.frame)->id);
	fixture_fini(&f);
}
END_TEST

START_TEST(fragments_that_are_no_flows_leave_as_they_are)
{
	static const uint32_t sizes[] = { 800, 8, 200, 0 };
	fixture_init(&f, 64);
	struct test_tuple t = vm_tuple("10.1.1.11", 5000, "10.1.2.11", 9000);
	struct test_frame whole = test_udp(&t, NULL, 1200);
	struct put_together out;
	send_out(0, &whole, sizes, orders[1], 4, &out); // no flow at all: nothing waits
	ck_assert_uint_eq(f.agent.counters.fragments_held, 0);
	ck_assert_uint_eq(out.ip.src, test_ip4("10.1.1.11"));
	struct test_frame begin = client_datagram(IP_PROTO_UDP, 40000, 10, 1);
	begin = fixture_encapsulate(MUX, "10.1.1.11", &begin);
	ck_assert_int_eq(fixture_inbound(&f, &begin).verdict, AGENT_TO_VM);
	send_out(0, &whole, sizes, orders[1], 4, &out); // it might be a reply
	struct agent_packet p = fixture_outbound(&f, 0, &whole);
	must_be_whole(&out, &p, "plain");
	ck_assert_uint_eq(out.ip.id, ip_of(p.frame)->id);
	ck_assert_uint_eq(f.agent.counters.fragments_held, 3);
	fixture_fini(&f);
}
END_TEST

START_TEST(a_damaged_checksum_is_as_damaged_after)
{
	static const uint32_t sizes[] = { 64, 0 };
	static const uint32_t order[] = { 1, 0 };
	fixture_init(&f, 64);
	struct test_frame whole = client_datagram(IP_PROTO_UDP, 40000, 200, 5);
	test_data(&whole)[whole.len - 1] ^= 0x55;
	struct put_together in;
	send_in(&whole, sizes, order, 2, &in);
	struct test_frame encapsulated = fixture_encapsulate(MUX, "10.1.1.11", &whole);
	struct agent_packet p = fixture_inbound(&f, &encapsulated);
	must_be_whole(&in, &p, "damaged");
	ck_assert(!test_checksums_ok(p.frame, p.len, NULL));
	fixture_fini(&f);
}
END_TEST

SUITE_MAIN("agent fragmented", a_datagram_in_fragments_becomes_what_it_becomes_as_a_whole,
           snat_gives_one_port_to_all_fragments_and_another_identification_to_each_datagram,
           an_echo_in_fragments_is_translated_like_a_small_one, what_is_no_honest_fragment_is_refused,
           what_waits_follows_a_first_one_that_is_dropped_and_does_not_wait_for_ever,
           fragments_of_a_packet_that_is_sent_on_go_there_too,
           a_first_fragment_that_waits_for_a_port_keeps_the_others_waiting,
           fragments_that_are_no_flows_leave_as_they_are, a_damaged_checksum_is_as_damaged_after)
