#include <stdio.h>
#include <stdlib.h>

#include "common/packet/checksum.h"
#include "hostagent/core/chain.h"
#include "tests/support/suite.h"
#include "tests/unit/hostagent/fixture.h"
#include "tests/unit/hostagent/flow_block.h"

// Every bucket of tcp 80: owners 10.1.1.11 (here, vm1), 10.1.2.11 (host2), 10.1.1.12 (here, vm2: removed from the endpoint),
// 10.1.2.12 (host2, removed). Of tcp 81: 10.1.2.11, and 10.1.1.12 here, which is drained: in the configuration still.
#define CLIENT "198.51.100.7"
#define VIP "203.0.113.10"
#define MUX "10.0.0.31"
#define HOST2 "10.0.0.22"
#define TO_VM1 "vm0 02:61:6e:61:6e:74 > 02:00:00:01:01:0b ip4 198.51.100.7:"
#define TO_VM2 "vm1 02:61:6e:61:6e:74 > 02:00:00:01:01:0c ip4 198.51.100.7:"

static struct agent_fixture f;

static void set_up(void)
{
	static const char *const web[] = { "10.1.2.12", "10.1.1.12", "10.1.2.11", "10.1.1.11", NULL };
	fixture_init(&f, 64);
	fixture_change(&f, fixture_cluster());
	fixture_change(&f, fixture_history(VIP, IP_PROTO_TCP, 80, web));
}

static void set_up_drained(void)
{
	static const char *const api[] = { "10.1.1.12", "10.1.2.11", NULL };
	fixture_init(&f, 64);
	fixture_change(&f, fixture_cluster());
	fixture_change(&f, fixture_history(VIP, IP_PROTO_TCP, 81, api));
}

static struct test_frame marked(struct test_frame frame, uint16_t mark)
{
	struct ip4_header *ip = (struct ip4_header *)(test_data(&frame) + ETH_BYTES);
	ip->checksum = checksum_update16(ip->checksum, ip->id, be16_from(mark));
	ip->id = be16_from(mark);
	return frame;
}

static struct test_frame tcp_from(const char *source, const char *dip, uint16_t src_port, uint16_t port, uint8_t flags)
{
	struct test_tuple t = { .src = CLIENT, .dst = VIP, .src_port = src_port, .dst_port = port };
	struct test_frame inner = test_tcp(&t, flags, NULL, (flags & TCP_SYN) ? 0 : 20);
	return marked(fixture_encapsulate(source, dip, &inner), 0);
}

static struct agent_packet expect(const char *what, struct test_frame frame, const char *want)
{
	static struct test_frame kept;
	char got[400];
	kept = frame;
	uint64_t dropped = 0;
	for (int i = 0; i < DROP_REASON_COUNT; i++)
		dropped -= f.agent.counters.drops[i];
	struct agent_packet p = fixture_inbound(&f, &kept);
	fixture_text(&p, got, sizeof got);
	ck_assert_msg(strcmp(got, want) == 0, "%s:\n  want %s\n  got  %s", what, want, got);
	for (int i = 0; i < DROP_REASON_COUNT; i++)
		dropped += f.agent.counters.drops[i];
	ck_assert_uint_eq(dropped, p.verdict == AGENT_DROP);
	const char *wrong = NULL;
	if (p.verdict != AGENT_DROP)
		ck_assert_msg(test_checksums_ok(p.frame, p.len, &wrong), "%s: wrong %s checksum", what, wrong);
	return p;
}

static uint16_t mark_of(const struct agent_packet *p)
{
	return be16_to(((const struct ip4_header *)(p->frame + ETH_BYTES))->id);
}

// Where it goes next, without the mark: "10.1.2.11", or what else became of it.
static const char *next_of(struct test_frame frame, uint16_t *ret_mark)
{
	static char text[400];
	struct agent_packet p = fixture_inbound(&f, &frame);
	*ret_mark = 0;
	if (p.verdict != AGENT_TO_UPLINK)
		return fixture_text(&p, text, sizeof text);
	const struct ip4_header *ip = (const struct ip4_header *)(p.frame + ETH_BYTES);
	*ret_mark = mark_of(&p);
	const uint8_t *d = (const uint8_t *)&ip->dst;
	text_format(text, sizeof text, "%u.%u.%u.%u", d[0], d[1], d[2], d[3]);
	return text;
}

static void vm_answers(uint16_t port, const char *dip, uint16_t client_port)
{
	struct test_tuple t = vm_tuple(dip, 8080, CLIENT, client_port);
	struct test_frame frame = test_tcp(&t, TCP_SYN | TCP_ACK, NULL, 0);
	ck_assert_int_eq(fixture_outbound(&f, port, &frame).verdict, AGENT_TO_UPLINK);
}

START_TEST(what_is_unknown_goes_to_the_next_owner_in_a_header_of_our_own)
{
	set_up();
	struct test_frame in = tcp_from(MUX, "10.1.1.11", 40000, 80, TCP_ACK);
	struct agent_packet p = fixture_inbound(&f, &in);
	ck_assert_int_eq(p.verdict, AGENT_TO_UPLINK);
	uint16_t mark = mark_of(&p);
	ck_assert_uint_eq(mark & (CHAIN_MARK | CHAIN_MARK_ADOPT | CHAIN_MARK_HOPS), CHAIN_MARK | 1);
	char want[400];
	char got[400];
	text_format(want, sizeof want,
	            "uplink 02:00:00:00:00:02 > 02:00:00:00:00:01 ip4 10.0.0.21:0 > 10.1.2.11:0 protocol 4 ttl 64 id %u | "
	            "ip4 198.51.100.7:40000 > "
	            "203.0.113.10:80 tcp A seq 1 ack 1 len 20 ttl 64 id 4660",
	            mark);
	ck_assert_str_eq(fixture_text(&p, got, sizeof got), want);
	ck_assert(test_checksums_ok(p.frame, p.len, NULL));
	ck_assert_uint_eq(f.agent.counters.chain_forwarded, 1);
	ck_assert_uint_eq(f.agent.flows.n_flows, 0);
	fixture_fini(&f);
}
END_TEST

START_TEST(a_packet_goes_around_over_the_dips_of_this_host_without_leaving_it)
{
	uint16_t mark;
	set_up();
	// vm1 to host2, from there to vm2, which this host asked already: on to host2's other DIP
	ck_assert_str_eq(next_of(tcp_from(MUX, "10.1.1.11", 40000, 80, TCP_ACK), &mark), "10.1.2.11");
	uint32_t second = (mark & 0xffc0u) | 2u << 3 | 2; // as host2 makes it
	struct test_frame frame = marked(tcp_from(HOST2, "10.1.1.12", 40000, 80, TCP_ACK), (uint16_t)second);
	ck_assert_str_eq(next_of(frame, &mark), "10.1.2.12");
	ck_assert_uint_eq(mark & CHAIN_MARK_HOPS, 3);
	// nobody knew it
	frame = marked(tcp_from(HOST2, "10.1.1.11", 40000, 80, TCP_ACK), (uint16_t)(mark | CHAIN_MARK_ADOPT));
	expect("adopted", frame, TO_VM1 "40000 > 10.1.1.11:8080 tcp A seq 1 ack 1 len 20 ttl 64 id 4660");
	ck_assert_uint_eq(f.agent.counters.chain_adopted, 1);
	ck_assert_uint_eq(f.agent.counters.flows_adopted, 1);
	fixture_fini(&f);
}
END_TEST

START_TEST(every_kind_of_packet_has_its_way)
{
	const struct {
		const char *what;
		const char *dip;
		uint16_t mark;
		uint8_t flags;
		const char *want;
	} rows[] = {
		{ "a SYN begins", "10.1.1.11", 0, TCP_SYN,
		  TO_VM1 "40000 > 10.1.1.11:8080 tcp S seq 1 ack 0 len 0 ttl 64 id 4660" },
		{ "a SYN for a DIP that was removed: to the present owner, on this host", "10.1.1.12", 0, TCP_SYN,
		  TO_VM1 "40001 > 10.1.1.11:8080 tcp S seq 1 ack 0 len 0 ttl 64 id 4660" },
		{ "a stray RST at the end makes no flow", "10.1.1.11", CHAIN_MARK | CHAIN_MARK_ADOPT, TCP_RST,
		  TO_VM1 "40002 > 10.1.1.11:8080 tcp R seq 1 ack 0 len 20 ttl 64 id 4660" },
		{ "to be adopted by who has it no more", "10.1.1.12", CHAIN_MARK | CHAIN_MARK_ADOPT | 1, TCP_ACK,
		  "drop encap_no_endpoint" },
		{ "more hops than there can be", "10.1.1.11", CHAIN_MARK | 7, TCP_ACK, "drop chain_skew" },
	};
	set_up();
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
		expect(rows[i].what, marked(tcp_from(MUX, rows[i].dip, (uint16_t)(40000 + i), 80, rows[i].flags), rows[i].mark),
		       rows[i].want);
	ck_assert_uint_eq(f.agent.flows.n_flows, 2);
	fixture_fini(&f);
}
END_TEST

START_TEST(a_drained_dip_gets_no_connection_but_keeps_those_that_it_has)
{
	uint16_t mark;
	fixture_init(&f, 64);
	expect("before", tcp_from(MUX, "10.1.1.12", 40000, 81, TCP_SYN),
	       TO_VM2 "40000 > 10.1.1.12:8080 tcp S seq 1 ack 0 len 0 ttl 64 id 4660");
	ck_assert_uint_eq(agent_dip_flows(&f.agent, test_ip4("10.1.1.12")), 1);
	fixture_fini(&f);

	set_up_drained();
	ck_assert_str_eq(next_of(tcp_from(MUX, "10.1.1.12", 40001, 81, TCP_SYN), &mark), "10.1.2.11");
	ck_assert_uint_eq(mark & (CHAIN_MARK | CHAIN_MARK_ADOPT), CHAIN_MARK | CHAIN_MARK_ADOPT);
	// host2 takes it for the present owner
	expect("a SYN that it is to adopt", marked(tcp_from(HOST2, "10.1.1.12", 40002, 81, TCP_SYN), mark),
	       TO_VM2 "40002 > 10.1.1.12:8080 tcp S seq 1 ack 0 len 0 ttl 64 id 4660");
	vm_answers(1, "10.1.1.12", 40002);
	expect("its own", tcp_from(MUX, "10.1.1.12", 40002, 81, TCP_ACK),
	       TO_VM2 "40002 > 10.1.1.12:8080 tcp A seq 1 ack 1 len 20 ttl 64 id 4660");
	ck_assert_uint_eq(agent_dip_flows(&f.agent, test_ip4("10.1.1.12")), 1);
	fixture_pass(&f, 7500);
	ck_assert_uint_eq(agent_dip_flows(&f.agent, test_ip4("10.1.1.12")), 0);
	fixture_fini(&f);
}
END_TEST

// How many datagrams; of one, the pins.
static uint32_t take_pins(struct pin_message *ret_message)
{
	uint8_t frame[PIN_REPORTS_FRAME_BYTES];
	struct pin_addr sender = pin_addr_from_ip4(test_ip4("10.0.0.21"));
	uint32_t n = agent_pins_begin(&f.agent, 1700000000000000);
	for (uint32_t i = 0; i < n; i++) {
		uint32_t n_bytes = agent_pins_write(&f.agent, i, frame);
		const uint8_t *message = frame + ETH_BYTES + IP4_BYTES + 8;
		uint32_t n_message = n_bytes - (ETH_BYTES + IP4_BYTES + 8);
		ck_assert(test_checksums_ok(frame, n_bytes, NULL));
		ck_assert(pin_message_is_well_formed(message, n_message, FIXTURE_CLUSTER_ID));
		ck_assert(pin_message_is_authentic(message, n_message, &sender, f.config->pin_key));
		pin_message_decode(message, ret_message);
	}
	return n;
}

START_TEST(a_flow_that_was_reached_by_a_detour_is_reported_to_every_mux)
{
	struct pin_message m;
	set_up();
	fixture_change(&f, test_put_node(OBJECT_MUX, "mux2", "10.0.0.32"));
	expect("begins", tcp_from(MUX, "10.1.1.11", 40000, 80, TCP_SYN),
	       TO_VM1 "40000 > 10.1.1.11:8080 tcp S seq 1 ack 0 len 0 ttl 64 id 4660");
	vm_answers(0, "10.1.1.11", 40000);
	expect("straight", tcp_from(MUX, "10.1.1.11", 40000, 80, TCP_ACK),
	       TO_VM1 "40000 > 10.1.1.11:8080 tcp A seq 1 ack 1 len 20 ttl 64 id 4660");
	ck_assert_uint_eq(take_pins(&m), 0);
	for (int i = 0; i < 3; i++)
		expect("by a detour", marked(tcp_from(HOST2, "10.1.1.12", 40000, 80, TCP_ACK), CHAIN_MARK | 1),
		       TO_VM1 "40000 > 10.1.1.11:8080 tcp A seq 1 ack 1 len 20 ttl 64 id 4660");
	ck_assert_uint_eq(f.agent.counters.chain_delivered, 3);
	ck_assert_uint_eq(take_pins(&m), 2);
	ck_assert_uint_eq(m.n_pins, 1);
	ck_assert_uint_eq(pin_addr_to_ip4(&m.pins[0].remote), test_ip4(CLIENT));
	ck_assert_uint_eq(pin_addr_to_ip4(&m.pins[0].vip), test_ip4(VIP));
	ck_assert_uint_eq(pin_addr_to_ip4(&m.pins[0].dip), test_ip4("10.1.1.11"));
	ck_assert_uint_eq(be16_to(m.pins[0].remote_port), 40000);
	ck_assert_uint_eq(be16_to(m.pins[0].vip_port), 80);
	ck_assert_uint_eq(f.agent.counters.pins_sent, 1);
	agent_set_now(&f.agent, mono_add_us(f.agent.now, PIN_REPORTS_AGAIN_US + 2000));
	expect("still", marked(tcp_from(HOST2, "10.1.1.12", 40000, 80, TCP_ACK), CHAIN_MARK | 1),
	       TO_VM1 "40000 > 10.1.1.11:8080 tcp A seq 1 ack 1 len 20 ttl 64 id 4660");
	ck_assert_uint_eq(take_pins(&m), 2);
	fixture_fini(&f);
}
END_TEST

START_TEST(an_icmp_error_follows_the_chain_of_the_packet_inside)
{
	uint16_t mark;
	set_up();
	struct test_tuple lost = { .src = VIP, .dst = CLIENT, .src_port = 80, .dst_port = 40000 };
	struct test_tuple from_router = { .src = "192.0.2.1", .dst = VIP };
	struct test_frame inside = test_tcp(&lost, TCP_ACK, NULL, 100);
	struct test_frame error = test_icmp_error(&from_router, ICMP_UNREACHABLE, 4, &inside, 28);
	struct test_frame frame = marked(fixture_encapsulate(MUX, "10.1.1.11", &error), 0);
	ck_assert_str_eq(next_of(frame, &mark), "10.1.2.11");
	ck_assert_str_eq(next_of(marked(frame, mark | CHAIN_MARK_ADOPT), &mark), "drop icmp_unknown");
	expect("begins", tcp_from(MUX, "10.1.1.11", 40000, 80, TCP_SYN),
	       TO_VM1 "40000 > 10.1.1.11:8080 tcp S seq 1 ack 0 len 0 ttl 64 id 4660");
	struct agent_packet p = fixture_inbound(&f, &frame);
	ck_assert_int_eq(p.verdict, AGENT_TO_VM);
	ck_assert_uint_eq(f.agent.counters.icmp_errors, 1);
	fixture_fini(&f);
}
END_TEST

START_TEST(a_flood_of_strays_is_limited)
{
	static const char *const dns[] = { "10.1.2.11", "10.1.1.11", NULL };
	uint16_t mark;
	set_up();
	for (uint32_t i = 0; i < AGENT_CHAIN_PPS; i++)
		ck_assert_str_eq(next_of(tcp_from(MUX, "10.1.1.11", (uint16_t)i, 80, TCP_ACK), &mark), "10.1.2.11");
	expect("one more", tcp_from(MUX, "10.1.1.11", 40000, 80, TCP_ACK), "drop chain_limited");
	fixture_change(&f, fixture_history(VIP, IP_PROTO_UDP, 53, dns));
	struct test_tuple t = { .src = CLIENT, .dst = VIP, .src_port = 5000, .dst_port = 53 };
	struct test_frame query = test_udp(&t, "query", 5);
	expect("a datagram begins here", marked(fixture_encapsulate(MUX, "10.1.1.11", &query), 0),
	       TO_VM1 "5000 > 10.1.1.11:5353 udp len 5 ttl 64 id 4660");
	agent_set_now(&f.agent, mono_add_us(f.agent.now, 1000000));
	query = test_udp(&(struct test_tuple){ .src = CLIENT, .dst = VIP, .src_port = 5001, .dst_port = 53 }, "query", 5);
	ck_assert_str_eq(next_of(marked(fixture_encapsulate(MUX, "10.1.1.11", &query), 0), &mark), "10.1.2.11");
	fixture_fini(&f);
}
END_TEST

START_TEST(an_agent_that_lost_its_table_adopts_its_own_connections_again)
{
	uint16_t mark;
	set_up();
	// from the client's side: once around, and back with the order to adopt
	ck_assert_str_eq(next_of(tcp_from(MUX, "10.1.1.11", 40000, 80, TCP_ACK), &mark), "10.1.2.11");
	expect("back", marked(tcp_from(HOST2, "10.1.1.11", 40000, 80, TCP_ACK), (uint16_t)(mark | CHAIN_MARK_ADOPT)),
	       TO_VM1 "40000 > 10.1.1.11:8080 tcp A seq 1 ack 1 len 20 ttl 64 id 4660");
	// from the VM's side
	struct test_tuple reply = vm_tuple("10.1.1.11", 8080, CLIENT, 40001);
	struct test_frame frame = test_tcp(&reply, TCP_ACK, NULL, 10);
	ck_assert_int_eq(fixture_outbound(&f, 0, &frame).verdict, AGENT_TO_UPLINK);
	expect("known", tcp_from(MUX, "10.1.1.11", 40001, 80, TCP_ACK),
	       TO_VM1 "40001 > 10.1.1.11:8080 tcp A seq 1 ack 1 len 20 ttl 64 id 4660");
	ck_assert_uint_eq(agent_dip_flows(&f.agent, test_ip4("10.1.1.11")), 2);
	fixture_fini(&f);
}
END_TEST

START_TEST(what_nobody_knows_is_adopted_when_it_has_come_for_some_seconds)
{
	static const char *const to_vm1 = TO_VM1 "40000 > 10.1.1.11:8080 tcp A seq 1 ack 1 len 20 ttl 64 id 4660";
	static const struct {
		uint32_t ms;
		bool is_adopted;
	} rows[] = { { 0, false }, { 200, false }, { 3000, false }, { 4900, false }, { 5100, true }, { 5200, true } };
	set_up();
	memset(&f.agent.strays, 0, sizeof f.agent.strays);
	struct mono_time began = f.agent.now;
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		agent_set_now(&f.agent, mono_add_us(began, rows[i].ms * 1000u));
		expect("at the end of the chain",
		       marked(tcp_from(HOST2, "10.1.1.11", 40000, 80, TCP_ACK), CHAIN_MARK | CHAIN_MARK_ADOPT),
		       rows[i].is_adopted ? to_vm1 : "drop chain_skew");
	}
	ck_assert_uint_eq(f.agent.counters.chain_adopted, 1);
	fixture_fini(&f);
}
END_TEST

START_TEST(a_dip_that_does_not_own_the_bucket_sends_on_also_without_a_history)
{
	uint16_t mark;
	uint32_t n_here = 0;
	fixture_init(&f, 256);
	fixture_change(&f, fixture_cluster());
	for (uint16_t port = 40000; port < 40050; port++) {
		const char *next = next_of(tcp_from(MUX, "10.1.1.11", port, 80, TCP_ACK), &mark);
		n_here += strncmp(next, "vm0 ", 4) == 0;
		ck_assert(strncmp(next, "vm0 ", 4) == 0 || strcmp(next, "10.1.2.11") == 0);
		ck_assert_int_eq(
			strncmp(next_of(tcp_from(MUX, "10.1.1.11", (uint16_t)(port + 100), 80, TCP_SYN), &mark), "vm0 ", 4), 0);
	}
	ck_assert(n_here > 10 && n_here < 40);
	fixture_fini(&f);
}
END_TEST

START_TEST(options_of_the_outer_header_are_left_behind)
{
	uint16_t mark;
	set_up();
	struct test_tuple t = { .src = CLIENT, .dst = VIP, .src_port = 40000, .dst_port = 80 };
	struct test_frame inner = test_tcp(&t, TCP_ACK, NULL, 20);
	struct test_tuple outer = { .src = MUX, .dst = "10.1.1.11", .ip_options_bytes = 8 };
	struct test_frame frame = marked(test_ipip(&outer, &inner), 0);
	ck_assert_str_eq(next_of(frame, &mark), "10.1.2.11");
	struct agent_packet p = fixture_inbound(&f, &frame);
	ck_assert_uint_eq(p.len, ETH_BYTES + IP4_BYTES + IP4_BYTES + 20 + 20);
	ck_assert(test_checksums_ok(p.frame, p.len, NULL));
	fixture_fini(&f);
}
END_TEST

START_TEST(flows_of_a_table_that_was_attached_are_counted)
{
	set_up();
	expect("begins", tcp_from(MUX, "10.1.1.11", 40000, 80, TCP_SYN),
	       TO_VM1 "40000 > 10.1.1.11:8080 tcp S seq 1 ack 0 len 0 ttl 64 id 4660");
	struct flow_table again;
	ck_assert_int_eq(flow_table_attach(&again, f.block, flow_table_bytes(64), 64, TEST_OWNER, NULL, at_s(1001), NULL),
	                 0);
	agent_use_flows(&f.agent, &again);
	ck_assert_uint_eq(agent_dip_flows(&f.agent, test_ip4("10.1.1.11")), 1);
	ck_assert_uint_eq(agent_dip_flows(&f.agent, test_ip4("10.1.1.12")), 0);
	fixture_fini(&f);
}
END_TEST

SUITE_MAIN("agent chained", what_is_unknown_goes_to_the_next_owner_in_a_header_of_our_own,
           a_packet_goes_around_over_the_dips_of_this_host_without_leaving_it, every_kind_of_packet_has_its_way,
           a_drained_dip_gets_no_connection_but_keeps_those_that_it_has,
           a_flow_that_was_reached_by_a_detour_is_reported_to_every_mux,
           an_icmp_error_follows_the_chain_of_the_packet_inside, a_flood_of_strays_is_limited,
           an_agent_that_lost_its_table_adopts_its_own_connections_again, options_of_the_outer_header_are_left_behind,
           flows_of_a_table_that_was_attached_are_counted,
           what_nobody_knows_is_adopted_when_it_has_come_for_some_seconds,
           a_dip_that_does_not_own_the_bucket_sends_on_also_without_a_history)
