// What SNAT asks for, holds, gives back and counts.
#include <stdio.h>
#include <stdlib.h>

#include "hostagent/core/snat_state.h"
#include "tests/support/suite.h"
#include "tests/unit/hostagent/fixture.h"
#include "tests/unit/hostagent/flow_block.h"

#define SERVER "198.51.100.9"
#define VIP "203.0.113.20"
#define VIP2 "203.0.113.21"
#define VM1 "10.1.1.11"
#define VM2 "10.1.1.12"

static const struct snat_policy small = {
	.range_size = 8, .first_port = 1024, .prealloc_ports = 8, .max_ports_per_dip = 64, .idle_s = 30
};

static struct agent_packet vm2_sends(struct agent_fixture *f, uint8_t protocol, uint16_t port, uint16_t dst_port,
                                     uint8_t flags)
{
	static struct test_frame frame;
	struct test_tuple t = vm_tuple(VM2, port, SERVER, dst_port);
	frame = protocol == IP_PROTO_TCP ? test_tcp(&t, flags, NULL, 0) : test_udp(&t, "query", 5);
	return fixture_outbound(f, 1, &frame);
}

static struct agent_packet vm2_connects(struct agent_fixture *f, uint16_t port)
{
	return vm2_sends(f, IP_PROTO_TCP, port, 443, TCP_SYN);
}

static uint16_t left_from(const struct agent_packet *p)
{
	ck_assert_int_eq(p->verdict, AGENT_TO_UPLINK);
	return be16_to(load16(p->frame + ETH_BYTES + IP4_BYTES));
}

// The next report of that kind; others are passed over.
static bool reported(struct agent_fixture *f, enum snat_report_kind kind, struct snat_report *ret_report)
{
	while (agent_snat_next_report(&f->agent, ret_report))
		if (ret_report->kind == kind)
			return true;
	return false;
}

static uint32_t count_reports(struct agent_fixture *f, enum snat_report_kind kind)
{
	struct snat_report r;
	uint32_t n = 0;
	while (agent_snat_next_report(&f->agent, &r))
		n += r.kind == kind;
	return n;
}

static struct snat_dip_status status_of(struct agent_fixture *f, const char *dip)
{
	struct snat_dip_status st;
	for (uint32_t i = 0; i < snat_slots(f->agent.snat); i++)
		if (snat_read_dip(f->agent.snat, (uint16_t)i, &st) && st.dip == test_ip4(dip))
			return st;
	return (struct snat_dip_status){ 0 };
}

START_TEST(a_packet_without_a_port_is_held_until_the_lease_comes)
{
	struct agent_fixture f;
	fixture_init(&f, 64);
	fixture_add_snat(&f, NULL);
	struct agent_packet p = vm2_connects(&f, 50000);
	ck_assert_int_eq(p.verdict, AGENT_HOLD);
	uint16_t slot;
	ck_assert(!agent_snat_next_ready(&f.agent, &slot));
	struct snat_report r;
	ck_assert(reported(&f, SNAT_REPORT_WANTED, &r));
	ck_assert_uint_eq(r.dip, test_ip4(VM2));
	ck_assert_uint_eq(r.seq, 100);
	ck_assert_uint_eq(r.n_wanted, 8);
	ck_assert_int_eq(vm2_connects(&f, 50001).verdict, AGENT_HOLD);
	ck_assert_uint_eq(count_reports(&f, SNAT_REPORT_WANTED), 0); // one at a time
	fixture_lease(&f, VIP, VM2, 1024, 8, 1);
	fixture_answer(&f, VM2, r.seq, 0);
	ck_assert(agent_snat_next_ready(&f.agent, &slot));
	ck_assert_uint_eq(slot, p.hold_slot);
	ck_assert(!agent_snat_next_ready(&f.agent, &slot));
	p = vm2_connects(&f, 50000);
	ck_assert_uint_ge(left_from(&p), 1024);
	ck_assert_uint_eq(f.agent.counters.snat_held, 2);
	fixture_fini(&f);
}
END_TEST

START_TEST(before_the_rebuild_everything_is_held)
{
	struct agent_fixture f;
	fixture_init(&f, 64);
	fixture_add_snat(&f, NULL);
	f.agent.snat->is_rebuilt = false;
	fixture_lease(&f, VIP, VM2, 1024, 8, 1);
	ck_assert_int_eq(vm2_connects(&f, 50000).verdict, AGENT_HOLD);
	struct snat_order rebuild = { .kind = SNAT_ORDER_REBUILD };
	agent_snat_order(&f.agent, &rebuild);
	uint16_t slot;
	ck_assert(agent_snat_next_ready(&f.agent, &slot));
	ck_assert_int_eq(vm2_connects(&f, 50000).verdict, AGENT_TO_UPLINK);
	fixture_fini(&f);
}
END_TEST

START_TEST(an_unanswered_request_is_repeated_with_its_number)
{
	struct agent_fixture f;
	fixture_init(&f, 64);
	fixture_add_snat(&f, NULL);
	struct snat_report r;
	vm2_connects(&f, 50000);
	ck_assert(reported(&f, SNAT_REPORT_WANTED, &r));
	fixture_pass(&f, 1);
	ck_assert_uint_eq(count_reports(&f, SNAT_REPORT_WANTED), 0);
	fixture_pass(&f, 1);
	ck_assert(reported(&f, SNAT_REPORT_WANTED, &r));
	ck_assert_uint_eq(r.seq, 100);
	fixture_link(&f, false);
	fixture_link(&f, true); // another leader: at once
	ck_assert(reported(&f, SNAT_REPORT_WANTED, &r));
	ck_assert_uint_eq(r.seq, 100);
	fixture_answer(&f, VM2, 99, 0); // not this one
	fixture_pass(&f, 2);
	ck_assert_uint_eq(count_reports(&f, SNAT_REPORT_WANTED), 1);
	fixture_answer(&f, VM2, 100, 0);
	fixture_pass(&f, 4);
	ck_assert_uint_eq(count_reports(&f, SNAT_REPORT_WANTED), 0);
	fixture_fini(&f);
}
END_TEST

START_TEST(after_a_refusal_packets_are_refused_and_nothing_is_asked_for_a_second)
{
	struct agent_fixture f;
	fixture_init(&f, 64);
	fixture_add_snat(&f, NULL);
	struct snat_report r;
	vm2_connects(&f, 50000);
	ck_assert(reported(&f, SNAT_REPORT_WANTED, &r));
	fixture_answer(&f, VM2, r.seq, ERR_LIMIT);
	uint16_t slot;
	ck_assert(agent_snat_next_ready(&f.agent, &slot));
	ck_assert_int_eq(vm2_connects(&f, 50000).verdict, AGENT_TO_VM);
	ck_assert_int_eq(vm2_connects(&f, 50001).verdict, AGENT_TO_VM);
	ck_assert(reported(&f, SNAT_REPORT_EXHAUSTED, &r)); // one for both
	ck_assert_int_eq(r.code, ERR_LIMIT);
	ck_assert_uint_eq(ip_addr_to_v4(&r.remote), test_ip4(SERVER));
	ck_assert_uint_eq(be16_to(r.remote_port), 443);
	ck_assert(!reported(&f, SNAT_REPORT_EXHAUSTED, &r));
	ck_assert_uint_eq(status_of(&f, VM2).refused, 2);
	fixture_pass(&f, 1);
	ck_assert_int_eq(vm2_connects(&f, 50002).verdict, AGENT_HOLD);
	ck_assert(reported(&f, SNAT_REPORT_WANTED, &r));
	ck_assert_uint_eq(r.seq, 101);
	fixture_fini(&f);
}
END_TEST

START_TEST(a_packet_that_was_held_too_long_is_refused)
{
	struct agent_fixture f;
	fixture_init(&f, 64);
	fixture_add_snat(&f, NULL);
	struct test_tuple t = vm_tuple(VM2, 50000, SERVER, 443);
	struct test_frame frame = test_tcp(&t, TCP_SYN, NULL, 0);
	ck_assert_int_eq(fixture_outbound(&f, 1, &frame).verdict, AGENT_HOLD);
	struct agent_packet p = {
		.frame = test_data(&frame), .len = frame.len, .port = 1, .was_held = true, .held_too_long = true
	};
	agent_outbound(&f.agent, &p, 1);
	ck_assert_int_eq(p.verdict, AGENT_TO_VM);
	ck_assert_uint_eq(f.agent.counters.drops[DROP_SNAT_HOLD_TIMEOUT], 1);
	fixture_fini(&f);
}
END_TEST

START_TEST(without_a_leader_packets_are_held_for_a_while_and_then_refused_but_leases_serve)
{
	struct agent_fixture f;
	fixture_init(&f, 64);
	fixture_add_snat(&f, NULL);
	fixture_link(&f, false);
	ck_assert_int_eq(vm2_connects(&f, 50000).verdict, AGENT_HOLD);
	fixture_pass(&f, 3);
	ck_assert_int_eq(vm2_connects(&f, 50000).verdict, AGENT_TO_VM);
	fixture_lease(&f, VIP, VM2, 1024, 8, 1);
	ck_assert_int_eq(vm2_connects(&f, 50000).verdict, AGENT_TO_UPLINK);
	fixture_fini(&f);
}
END_TEST

START_TEST(leases_are_not_used_when_they_may_be_somebody_elses_by_now)
{
	struct agent_fixture f;
	fixture_init(&f, 64);
	fixture_add_snat(&f, NULL);
	f.config->snat_gone_s = 100;
	fixture_lease(&f, VIP, VM2, 1024, 8, 1);
	fixture_link(&f, false);
	fixture_pass(&f, 99);
	ck_assert_int_eq(vm2_connects(&f, 50000).verdict, AGENT_TO_UPLINK);
	fixture_pass(&f, 1);
	ck_assert_int_eq(vm2_connects(&f, 50001).verdict, AGENT_TO_VM);
	ck_assert_int_eq(vm2_connects(&f, 50000).verdict, AGENT_TO_UPLINK); // a known flow
	fixture_link(&f, true);
	ck_assert_int_eq(vm2_connects(&f, 50001).verdict, AGENT_TO_UPLINK);
	fixture_fini(&f);
}
END_TEST

START_TEST(a_port_serves_many_destinations_and_each_once)
{
	struct agent_fixture f;
	fixture_init(&f, 256);
	fixture_add_snat(&f, &small);
	for (uint16_t i = 0; i < 8; i++)
		fixture_lease(&f, VIP, VM2, (uint16_t)(1024 + 8 * i), 8, 1 + i);
	uint64_t used[2] = { 0 };
	for (uint16_t i = 0; i < 64; i++)
		for (uint16_t d = 0; d < 2; d++) {
			struct agent_packet p = vm2_sends(&f, IP_PROTO_TCP, (uint16_t)(50000 + i), (uint16_t)(443 + d), TCP_SYN);
			uint64_t bit = 1ull << (left_from(&p) - 1024);
			ck_assert((used[d] & bit) == 0);
			used[d] |= bit;
		}
	ck_assert_int_eq(vm2_connects(&f, 40000).verdict, AGENT_TO_VM); // at its limit: refused at once
	struct snat_report r;
	ck_assert(reported(&f, SNAT_REPORT_EXHAUSTED, &r));
	ck_assert_int_eq(r.code, 0);
	ck_assert_int_eq(vm2_sends(&f, IP_PROTO_TCP, 40000, 445, TCP_SYN).verdict, AGENT_TO_UPLINK);
	struct snat_dip_status st = status_of(&f, VM2);
	ck_assert_uint_eq(st.leased_ports, 64);
	ck_assert_uint_eq(st.used_ports, 64);
	ck_assert_uint_eq(st.flows, 129);
	ck_assert_uint_eq(st.n_busiest, 3);
	ck_assert_uint_eq(st.busiest[0].n_ports, 64);
	ck_assert_uint_eq(st.busiest[2].n_ports, 1);
	ck_assert_uint_eq(be16_to(st.busiest[2].remote_port), 445);
	fixture_fini(&f);
}
END_TEST

START_TEST(consecutive_ports_to_one_destination_are_not_consecutive_numbers)
{
	struct agent_fixture f;
	fixture_init(&f, 256);
	struct snat_policy policy = small;
	policy.prealloc_ports = 64;
	fixture_add_snat(&f, &policy);
	for (uint16_t i = 0; i < 8; i++)
		fixture_lease(&f, VIP, VM2, (uint16_t)(1024 + 8 * i), 8, 1 + i);
	uint32_t n_neighbours = 0;
	uint32_t n_rising = 0;
	uint16_t before = 0;
	uint16_t first[2];
	for (uint16_t d = 0; d < 2; d++)
		for (uint16_t i = 0; i < 64; i++) {
			struct agent_packet p = vm2_sends(&f, IP_PROTO_TCP, (uint16_t)(50000 + i), (uint16_t)(443 + d), TCP_SYN);
			uint16_t port = left_from(&p);
			if (i == 0)
				first[d] = port;
			else if (port == before + 1 || port + 1 == before)
				n_neighbours++;
			n_rising += port > before;
			before = port;
		}
	ck_assert_uint_lt(n_neighbours, 20);
	ck_assert_uint_gt(n_rising, 32);
	ck_assert_uint_lt(n_rising, 96);
	ck_assert_uint_ne(first[0], first[1]);
	fixture_fini(&f);
}
END_TEST

START_TEST(a_udp_port_keeps_its_mapping_towards_all_and_shares_it_with_nobody)
{
	struct agent_fixture f;
	fixture_init(&f, 256);
	fixture_add_snat(&f, &small);
	fixture_lease(&f, VIP, VM2, 1024, 8, 1);
	uint8_t used = 0;
	for (uint16_t i = 0; i < 8; i++) {
		struct agent_packet p = vm2_sends(&f, IP_PROTO_UDP, (uint16_t)(5000 + i), 53, 0);
		uint16_t port = left_from(&p);
		ck_assert((used >> (port - 1024) & 1) == 0);
		used |= (uint8_t)(1u << (port - 1024));
		p = vm2_sends(&f, IP_PROTO_UDP, (uint16_t)(5000 + i), 54, 0);
		ck_assert_uint_eq(left_from(&p), port);
	}
	ck_assert_int_eq(vm2_sends(&f, IP_PROTO_UDP, 6000, 53, 0).verdict, AGENT_HOLD);
	ck_assert_int_eq(vm2_connects(&f, 5000).verdict, AGENT_TO_UPLINK); // TCP has its own
	fixture_pass(&f, 301);
	ck_assert_uint_eq(f.agent.snat->n_mappings, 0);
	ck_assert_int_eq(vm2_sends(&f, IP_PROTO_UDP, 6000, 53, 0).verdict, AGENT_TO_UPLINK);
	fixture_fini(&f);
}
END_TEST

START_TEST(more_is_asked_for_before_all_is_used)
{
	struct agent_fixture f;
	fixture_init(&f, 256);
	fixture_add_snat(&f, NULL);
	fixture_lease(&f, VIP, VM2, 1024, 64, 1);
	struct snat_report r;
	for (uint16_t i = 0; i < 32; i++) {
		ck_assert_int_eq(vm2_connects(&f, (uint16_t)(50000 + i)).verdict, AGENT_TO_UPLINK);
		fixture_pass(&f, i % 8 == 7); // no burst
	}
	ck_assert(!reported(&f, SNAT_REPORT_WANTED, &r));
	ck_assert_int_eq(vm2_connects(&f, 50032).verdict, AGENT_TO_UPLINK);
	ck_assert(reported(&f, SNAT_REPORT_WANTED, &r));
	ck_assert_uint_eq(r.n_wanted, 64);
	ck_assert_uint_eq(r.n_ports, 64);
	fixture_fini(&f);
}
END_TEST

START_TEST(a_burst_asks_early_and_once_for_what_came_in_the_turn_and_what_waits)
{
	struct agent_fixture f;
	fixture_init(&f, 600);
	fixture_add_snat(&f, NULL);
	fixture_lease(&f, VIP, VM2, 1024, 128, 1);
	fixture_lease(&f, VIP, VM2, 2048, 32, 2);
	struct snat_report r;
	for (uint16_t i = 0; i < 40; i++)
		ck_assert_int_eq(vm2_connects(&f, (uint16_t)(50000 + i)).verdict, AGENT_TO_UPLINK);
	ck_assert(reported(&f, SNAT_REPORT_WANTED, &r));
	ck_assert_uint_eq(r.n_wanted, 40 + SNAT_AHEAD_PORTS - 160);
	for (uint16_t i = 40; i < 160; i++)
		ck_assert_int_eq(vm2_connects(&f, (uint16_t)(50000 + i)).verdict, AGENT_TO_UPLINK);
	for (uint16_t i = 160; i < 260; i++)
		ck_assert_int_eq(vm2_connects(&f, (uint16_t)(50000 + i)).verdict, AGENT_HOLD);
	ck_assert_uint_eq(count_reports(&f, SNAT_REPORT_WANTED), 0); // one at a time
	fixture_lease(&f, VIP, VM2, 4096, 32, 3); // far less than wanted
	fixture_answer(&f, VM2, r.seq, 0);
	uint16_t slot;
	ck_assert(agent_snat_next_ready(&f.agent, &slot));
	for (uint16_t i = 160; i < 260; i++)
		ck_assert_int_eq(vm2_connects(&f, (uint16_t)(50000 + i)).verdict, i < 192 ? AGENT_TO_UPLINK : AGENT_HOLD);
	ck_assert(reported(&f, SNAT_REPORT_WANTED, &r)); // at once
	ck_assert_uint_eq(r.n_wanted, 192 + 68 + SNAT_AHEAD_PORTS - 192);
	fixture_fini(&f);
}
END_TEST

START_TEST(mappings_that_are_made_in_a_burst_are_asked_for_likewise)
{
	struct agent_fixture f;
	fixture_init(&f, 600);
	fixture_add_snat(&f, NULL);
	fixture_lease(&f, VIP, VM2, 1024, 128, 1);
	struct snat_report r;
	for (uint16_t i = 0; i < 19; i++)
		vm2_sends(&f, IP_PROTO_UDP, (uint16_t)(5000 + i), 53, 0);
	ck_assert_uint_eq(count_reports(&f, SNAT_REPORT_WANTED), 0);
	vm2_sends(&f, IP_PROTO_UDP, 5019, 53, 0);
	ck_assert(reported(&f, SNAT_REPORT_WANTED, &r));
	ck_assert_uint_eq(r.n_wanted, 20 + SNAT_AHEAD_PORTS - 128);
	fixture_fini(&f);
}
END_TEST

START_TEST(near_its_limit_a_dip_is_reported_once)
{
	struct agent_fixture f;
	fixture_init(&f, 64);
	fixture_add_snat(&f, &small);
	for (uint16_t i = 0; i < 6; i++)
		fixture_lease(&f, VIP, VM2, (uint16_t)(1024 + 8 * i), 8, 1 + i);
	vm2_connects(&f, 50000);
	fixture_pass(&f, 1);
	ck_assert_uint_eq(count_reports(&f, SNAT_REPORT_NEAR_LIMIT), 0);
	fixture_lease(&f, VIP, VM2, 1072, 8, 7);
	fixture_pass(&f, 1);
	struct snat_report r;
	ck_assert(reported(&f, SNAT_REPORT_NEAR_LIMIT, &r));
	ck_assert_uint_eq(r.n_ports, 56);
	ck_assert_uint_eq(r.n_wanted, 64);
	fixture_pass(&f, 5);
	ck_assert_uint_eq(count_reports(&f, SNAT_REPORT_NEAR_LIMIT), 0);
	fixture_fini(&f);
}
END_TEST

START_TEST(what_is_idle_goes_back_once_and_what_is_kept_stays)
{
	struct agent_fixture f;
	fixture_init(&f, 256);
	fixture_add_snat(&f, &small);
	for (uint16_t i = 0; i < 4; i++)
		fixture_lease(&f, VIP, VM2, (uint16_t)(1024 + 8 * i), 8, 1 + i);
	for (uint16_t i = 0; i < 20; i++)
		vm2_connects(&f, (uint16_t)(50000 + i));
	struct snat_report r;
	ck_assert(reported(&f, SNAT_REPORT_WANTED, &r));
	fixture_answer(&f, VM2, r.seq, 0);
	fixture_pass(&f, 200);
	ck_assert_uint_eq(count_reports(&f, SNAT_REPORT_RETURNED), 0); // its flows live
	fixture_pass(&f, 100); // they were never answered: 240 s, and the window shrinks
	uint32_t returned = 0;
	for (; reported(&f, SNAT_REPORT_RETURNED, &r); returned++) {
		ck_assert_uint_eq(r.n_ports, 8);
		ck_assert_uint_eq(r.epoch, 1 + (r.first_port - 1024) / 8);
	}
	ck_assert_uint_eq(returned, 3);
	ck_assert_uint_eq(status_of(&f, VM2).leased_ports, 8);
	fixture_pass(&f, 100);
	ck_assert_uint_eq(count_reports(&f, SNAT_REPORT_RETURNED), 0);
	fixture_link(&f, false);
	fixture_link(&f, true); // another leader may not have heard it
	fixture_pass(&f, 2);
	ck_assert_uint_eq(count_reports(&f, SNAT_REPORT_RETURNED), 3);
	fixture_fini(&f);
}
END_TEST

// What was held and refused is forgotten: it keeps nothing from going back.
START_TEST(a_dip_whose_packets_waited_in_vain_returns_what_is_idle)
{
	struct agent_fixture f;
	fixture_init(&f, 64);
	fixture_add_snat(&f, &small);
	ck_assert_int_eq(vm2_connects(&f, 50000).verdict, AGENT_HOLD);
	struct snat_report r;
	ck_assert(reported(&f, SNAT_REPORT_WANTED, &r));
	fixture_answer(&f, VM2, r.seq, 0); // without a lease; the edge drops the packet
	uint16_t slot;
	ck_assert(agent_snat_next_ready(&f.agent, &slot));
	ck_assert_int_eq(vm2_connects(&f, 50000).verdict, AGENT_HOLD);
	ck_assert(reported(&f, SNAT_REPORT_WANTED, &r));
	for (uint16_t i = 0; i < 3; i++)
		fixture_lease(&f, VIP, VM2, (uint16_t)(1024 + 8 * i), 8, 1 + i);
	fixture_answer(&f, VM2, r.seq, 0);
	fixture_pass(&f, 60);
	ck_assert_uint_eq(count_reports(&f, SNAT_REPORT_RETURNED), 2);
	fixture_fini(&f);
}
END_TEST

// 64 probes find nothing though a port is free: the packet is held and the search goes on at the next tend.
START_TEST(a_search_that_found_nothing_goes_on_where_it_stopped)
{
	struct agent_fixture f;
	fixture_init(&f, 600);
	struct snat_policy policy = small;
	policy.prealloc_ports = policy.max_ports_per_dip = 512;
	fixture_add_snat(&f, &policy);
	for (uint16_t i = 0; i < 64; i++)
		fixture_lease(&f, VIP, VM2, (uint16_t)(1024 + 8 * i), 8, 1 + i);
	for (uint16_t i = 0; i < 512; i++)
		ck_assert_int_eq(vm2_connects(&f, (uint16_t)(50000 + i)).verdict, AGENT_TO_UPLINK);
	ck_assert_int_eq(vm2_connects(&f, 40000).verdict, AGENT_TO_VM); // all are in use: known without a search
	struct test_tuple t = vm_tuple(VM2, 50300, SERVER, 443);
	struct test_frame rst = test_tcp(&t, TCP_RST, NULL, 0);
	fixture_outbound(&f, 1, &rst);
	for (struct mono_time end = mono_add_us(f.agent.now, 11000000); mono_is_before(f.agent.now, end);)
		fixture_pass(&f, 1);
	uint32_t n_turns = 0;
	while (vm2_connects(&f, 40000).verdict == AGENT_HOLD) {
		uint16_t slot;
		ck_assert(!agent_snat_next_ready(&f.agent, &slot));
		agent_snat_tend(&f.agent, f.agent.now, 10000);
		ck_assert(agent_snat_next_ready(&f.agent, &slot));
		ck_assert_uint_lt(n_turns++, 16);
	}
	ck_assert_uint_gt(n_turns, 0);
	ck_assert_uint_eq(status_of(&f, VM2).flows, 512);
	fixture_fini(&f);
}
END_TEST

START_TEST(a_lease_that_ended_serves_its_flows_and_no_new_ones)
{
	struct agent_fixture f;
	fixture_init(&f, 64);
	fixture_add_snat(&f, &small);
	fixture_lease(&f, VIP, VM2, 1024, 8, 1);
	struct agent_packet p = vm2_sends(&f, IP_PROTO_UDP, 5000, 53, 0);
	uint16_t port = left_from(&p);
	fixture_end(&f, VIP, VM2, 1024, 9); // of another lease
	ck_assert_uint_eq(status_of(&f, VM2).leased_ports, 8);
	fixture_end(&f, VIP, VM2, 1024, 1);
	ck_assert_uint_eq(status_of(&f, VM2).leased_ports, 0);
	p = vm2_sends(&f, IP_PROTO_UDP, 5000, 53, 0);
	ck_assert_uint_eq(left_from(&p), port);
	ck_assert_int_eq(vm2_sends(&f, IP_PROTO_UDP, 5000, 54, 0).verdict, AGENT_HOLD);
	fixture_lease(&f, VIP, VM2, 1032, 8, 2);
	p = vm2_sends(&f, IP_PROTO_UDP, 5000, 54, 0);
	ck_assert_uint_ge(left_from(&p), 1032);
	fixture_pass(&f, 301);
	ck_assert_uint_eq(f.agent.snat->n_free_blocks, 63); // what ended is forgotten with its last flow
	fixture_fini(&f);
}
END_TEST

// Flows on a lease that ended are nobody's use of the ports that are leased now.
START_TEST(a_destination_that_is_full_is_known_at_once_beside_leases_that_ended)
{
	struct agent_fixture f;
	fixture_init(&f, 256);
	struct snat_policy policy = small;
	policy.max_ports_per_dip = 72; // more than are tried for one packet
	fixture_add_snat(&f, &policy);
	fixture_lease(&f, VIP, VM2, 1024, 64, 1);
	for (uint16_t i = 0; i < 60; i++)
		vm2_sends(&f, IP_PROTO_TCP, (uint16_t)(50000 + i), 444, TCP_SYN);
	for (uint16_t i = 0; i < 4; i++)
		vm2_connects(&f, (uint16_t)(50000 + i));
	fixture_end(&f, VIP, VM2, 1024, 1);
	fixture_lease(&f, VIP, VM2, 2048, 64, 2);
	fixture_lease(&f, VIP, VM2, 4096, 8, 3);
	for (uint16_t i = 0; i < 72; i++)
		ck_assert_int_eq(vm2_connects(&f, (uint16_t)(40000 + i)).verdict, AGENT_TO_UPLINK);
	ck_assert_int_eq(vm2_connects(&f, 41000).verdict, AGENT_TO_VM);
	struct snat_dip_status st = status_of(&f, VM2);
	ck_assert_uint_eq(st.flows, 136);
	ck_assert_uint_eq(st.n_busiest, 1);
	ck_assert_uint_eq(st.busiest[0].n_ports, 72);
	fixture_end(&f, VIP, VM2, 2048, 2);
	fixture_pass(&f, 1); // without a new flow
	ck_assert_uint_eq(status_of(&f, VM2).busiest[0].n_ports, 8);
	fixture_pass(&f, 300);
	ck_assert_uint_eq(f.agent.snat->n_destinations, 0);
	ck_assert_uint_eq(status_of(&f, VM2).flows, 0);
	fixture_fini(&f);
}
END_TEST

START_TEST(ports_of_another_dips_last_flows_are_not_mapped_again)
{
	struct agent_fixture f;
	fixture_init(&f, 64);
	fixture_add_snat(&f, &small);
	fixture_lease(&f, VIP, VM2, 1024, 8, 1);
	vm2_sends(&f, IP_PROTO_UDP, 5000, 53, 0);
	fixture_end(&f, VIP, VM2, 1024, 1);
	fixture_lease(&f, VIP, VM1, 1024, 8, 2);
	struct test_tuple t = vm_tuple(VM1, 6000, SERVER, 54);
	struct test_frame frame = test_udp(&t, "query", 5);
	ck_assert_int_eq(fixture_outbound(&f, 0, &frame).verdict, AGENT_HOLD);
	fixture_pass(&f, 301);
	ck_assert_int_eq(fixture_outbound(&f, 0, &frame).verdict, AGENT_TO_UPLINK);
	fixture_fini(&f);
}
END_TEST

START_TEST(the_same_range_again_takes_its_flows_over)
{
	struct agent_fixture f;
	fixture_init(&f, 64);
	fixture_add_snat(&f, &small);
	fixture_lease(&f, VIP, VM2, 1024, 16, 1);
	vm2_connects(&f, 50000);
	fixture_end(&f, VIP, VM2, 1024, 1);
	fixture_lease(&f, VIP, VM2, 1024, 16, 2);
	fixture_lease(&f, VIP, VM2, 1024, 16, 2); // repeated
	struct snat_dip_status st = status_of(&f, VM2);
	ck_assert_uint_eq(st.leased_ports, 16);
	ck_assert_uint_eq(st.used_ports, 1);
	ck_assert_uint_eq(st.flows, 1);
	fixture_lease(&f, VIP, VM2, 1024, 16, 3); // the end of the one before was missed
	ck_assert_uint_eq(status_of(&f, VM2).leased_ports, 16);
	fixture_pass(&f, 300);
	ck_assert_uint_eq(status_of(&f, VM2).flows, 0);
	ck_assert_uint_eq(status_of(&f, VM2).used_ports, 0);
	fixture_end(&f, VIP, VM2, 1024, 3);
	ck_assert_uint_eq(f.agent.snat->n_free_blocks, 64);
	fixture_fini(&f);
}
END_TEST

START_TEST(a_lease_that_finds_no_room_is_given_back)
{
	struct agent_fixture f;
	fixture_init(&f, 64);
	fixture_add_snat(&f, NULL);
	for (uint16_t i = 0; i < 4; i++)
		fixture_lease(&f, VIP, VM2, (uint16_t)(1024 + 128 * i), 128, 1 + i);
	fixture_lease(&f, VIP, VM2, 2048, 8, 5);
	struct snat_report r;
	ck_assert(reported(&f, SNAT_REPORT_RETURNED, &r));
	ck_assert_uint_eq(r.first_port, 2048);
	ck_assert_uint_eq(r.epoch, 5);
	ck_assert_uint_eq(status_of(&f, VM2).leased_ports, 512);
	fixture_fini(&f);
}
END_TEST

START_TEST(a_dip_uses_the_leases_of_several_vips)
{
	struct agent_fixture f;
	fixture_init(&f, 64);
	fixture_add_snat(&f, &small);
	fixture_lease(&f, VIP, VM1, 1024, 8, 1);
	fixture_lease(&f, VIP2, VM1, 1024, 8, 2);
	uint32_t of_vip[2] = { 0 };
	for (uint16_t i = 0; i < 16; i++) {
		struct test_tuple t = vm_tuple(VM1, (uint16_t)(50000 + i), SERVER, 443);
		struct test_frame frame = test_tcp(&t, TCP_SYN, NULL, 0);
		struct agent_packet p = fixture_outbound(&f, 0, &frame);
		left_from(&p);
		of_vip[load32(p.frame + ETH_BYTES + 12) == test_ip4(VIP2)]++;
	}
	ck_assert_uint_eq(of_vip[0], 8);
	ck_assert_uint_eq(of_vip[1], 8);
	fixture_fini(&f);
}
END_TEST

START_TEST(flows_of_the_process_before_are_counted_once)
{
	struct agent_fixture f;
	fixture_init(&f, 64);
	fixture_add_snat(&f, &small);
	fixture_lease(&f, VIP, VM2, 1024, 8, 1);
	fixture_lease(&f, VIP, VM2, 1032, 8, 2);
	for (uint16_t i = 0; i < 5; i++)
		vm2_connects(&f, (uint16_t)(50000 + i));
	vm2_sends(&f, IP_PROTO_UDP, 5000, 53, 0);
	struct snat_dip_status before = status_of(&f, VM2);
	snat_destroy(f.agent.snat); // a new process, with the flow table of the one before
	struct snat_limits limits = { .n_dips = 8, .n_blocks = 64, .n_destinations = 512, .n_mappings = 512 };
	ck_assert_int_eq(snat_create(&limits, 99, 1000, f.agent.now, &f.agent.snat, NULL), 0);
	fixture_lease(&f, VIP, VM2, 1024, 8, 1);
	fixture_lease(&f, VIP, VM2, 1032, 8, 2);
	struct snat_order rebuild = { .kind = SNAT_ORDER_REBUILD };
	agent_snat_order(&f.agent, &rebuild);
	agent_snat_order(&f.agent, &rebuild);
	struct snat_dip_status after = status_of(&f, VM2);
	ck_assert_uint_eq(after.flows, before.flows);
	ck_assert_uint_eq(after.used_ports, before.used_ports);
	ck_assert_uint_eq(after.busiest[0].n_ports, 5);
	struct agent_packet p = vm2_sends(&f, IP_PROTO_UDP, 5000, 54, 0);
	ck_assert_uint_eq(left_from(&p) / 16, 64);
	ck_assert_uint_eq(f.agent.snat->n_mappings, 1);
	fixture_pass(&f, 302);
	ck_assert_uint_eq(status_of(&f, VM2).flows, 0);
	ck_assert_uint_eq(f.agent.snat->n_destinations, 0);
	ck_assert_uint_eq(f.agent.snat->n_mappings, 0);
	fixture_fini(&f);
}
END_TEST

START_TEST(flows_that_are_counted_at_the_start_are_no_burst)
{
	struct agent_fixture f;
	fixture_init(&f, 256);
	fixture_add_snat(&f, NULL);
	fixture_lease(&f, VIP, VM2, 1024, 128, 1);
	for (uint16_t i = 0; i < 50; i++)
		vm2_connects(&f, (uint16_t)(50000 + i));
	ck_assert_uint_eq(count_reports(&f, SNAT_REPORT_WANTED), 1); // but these are
	snat_destroy(f.agent.snat);
	struct snat_limits limits = { .n_dips = 8, .n_blocks = 64, .n_destinations = 512, .n_mappings = 512 };
	ck_assert_int_eq(snat_create(&limits, 99, 1000, f.agent.now, &f.agent.snat, NULL), 0);
	fixture_lease(&f, VIP, VM2, 1024, 128, 1);
	struct snat_order rebuild = { .kind = SNAT_ORDER_REBUILD };
	agent_snat_order(&f.agent, &rebuild);
	vm2_connects(&f, 40000);
	ck_assert_uint_eq(status_of(&f, VM2).busiest[0].n_ports, 51);
	ck_assert_uint_eq(count_reports(&f, SNAT_REPORT_WANTED), 0);
	fixture_fini(&f);
}
END_TEST

START_TEST(full_tables_of_destinations_and_mappings_have_their_answers)
{
	struct agent_fixture f;
	fixture_init(&f, 64);
	fixture_add_snat(&f, &small);
	fixture_lease(&f, VIP, VM2, 1024, 16, 1);
	f.agent.snat->limits.n_destinations = 2;
	f.agent.snat->limits.n_mappings = 1;
	for (uint16_t d = 0; d < 5; d++)
		ck_assert_int_eq(vm2_sends(&f, IP_PROTO_TCP, 50000, (uint16_t)(443 + d), TCP_SYN).verdict, AGENT_TO_UPLINK);
	ck_assert_uint_eq(f.agent.snat->n_destinations, 2);
	vm2_sends(&f, IP_PROTO_UDP, 5000, 53, 0);
	ck_assert_int_ne(vm2_sends(&f, IP_PROTO_UDP, 5001, 53, 0).verdict, AGENT_TO_UPLINK);
	fixture_pass(&f, 302);
	ck_assert_uint_eq(f.agent.snat->n_destinations, 0);
	ck_assert_uint_eq(status_of(&f, VM2).flows, 0);
	fixture_fini(&f);
}
END_TEST

START_TEST(a_dip_without_a_slot_is_refused_and_its_leases_go_back)
{
	struct agent_fixture f;
	fixture_init(&f, 64);
	fixture_add_snat(&f, &small);
	f.agent.snat->limits.n_dips = 1;
	fixture_lease(&f, VIP, VM1, 1024, 8, 1);
	ck_assert_int_eq(vm2_connects(&f, 50000).verdict, AGENT_TO_VM);
	ck_assert_int_eq(vm2_sends(&f, IP_PROTO_UDP, 5000, 53, 0).verdict, AGENT_DROP);
	fixture_lease(&f, VIP, VM2, 1032, 8, 2);
	struct snat_report r;
	ck_assert(reported(&f, SNAT_REPORT_RETURNED, &r));
	ck_assert_uint_eq(r.epoch, 2);
	fixture_fini(&f);
}
END_TEST

START_TEST(a_dip_that_left_leaves_its_slot)
{
	struct agent_fixture f;
	fixture_init(&f, 64);
	fixture_add_snat(&f, &small);
	fixture_lease(&f, VIP, VM2, 1024, 8, 1);
	vm2_connects(&f, 50000);
	fixture_change(&f, test_delete(OBJECT_DIP, VM2));
	fixture_end(&f, VIP, VM2, 1024, 1);
	fixture_pass(&f, 100);
	ck_assert_uint_eq(status_of(&f, VM2).dip, test_ip4(VM2)); // its flows are not over
	fixture_pass(&f, 150);
	ck_assert_uint_eq(status_of(&f, VM2).dip, 0);
	ck_assert_uint_eq(f.agent.snat->n_free_blocks, 64);
	fixture_fini(&f);
}
END_TEST

SUITE_MAIN("agent snat", a_packet_without_a_port_is_held_until_the_lease_comes, before_the_rebuild_everything_is_held,
           an_unanswered_request_is_repeated_with_its_number,
           after_a_refusal_packets_are_refused_and_nothing_is_asked_for_a_second,
           a_packet_that_was_held_too_long_is_refused,
           without_a_leader_packets_are_held_for_a_while_and_then_refused_but_leases_serve,
           leases_are_not_used_when_they_may_be_somebody_elses_by_now, a_port_serves_many_destinations_and_each_once,
           consecutive_ports_to_one_destination_are_not_consecutive_numbers,
           a_udp_port_keeps_its_mapping_towards_all_and_shares_it_with_nobody, more_is_asked_for_before_all_is_used,
           a_burst_asks_early_and_once_for_what_came_in_the_turn_and_what_waits,
           mappings_that_are_made_in_a_burst_are_asked_for_likewise, near_its_limit_a_dip_is_reported_once,
           what_is_idle_goes_back_once_and_what_is_kept_stays, a_dip_whose_packets_waited_in_vain_returns_what_is_idle,
           a_search_that_found_nothing_goes_on_where_it_stopped, a_lease_that_ended_serves_its_flows_and_no_new_ones,
           a_destination_that_is_full_is_known_at_once_beside_leases_that_ended,
           ports_of_another_dips_last_flows_are_not_mapped_again, the_same_range_again_takes_its_flows_over,
           a_lease_that_finds_no_room_is_given_back, a_dip_uses_the_leases_of_several_vips,
           flows_of_the_process_before_are_counted_once, flows_that_are_counted_at_the_start_are_no_burst,
           full_tables_of_destinations_and_mappings_have_their_answers,
           a_dip_without_a_slot_is_refused_and_its_leases_go_back, a_dip_that_left_leaves_its_slot)
