// Frames that were cut at every byte: what is not there as a whole goes nowhere, and nothing behind its end is read.
#include "tests/support/suite.h"

#include <stdlib.h>
#include <string.h>

#include "tests/unit/hostagent/fixture.h"

#define VIP "203.0.113.10"
#define SNAT_VIP "203.0.113.20"
#define CLIENT "198.51.100.7"
#define VM "10.1.1.11"

enum { N_FLOWS = 64, PADDING_BYTES = 46 };

static const char *const inbound_kinds[] = { "tcp", "udp", "echo reply", "error", "plain tcp", "plain udp" };
static const char *const outbound_kinds[] = { "tcp", "udp", "echo request", "error", "plain udp" };
enum { N_INBOUND = sizeof inbound_kinds / sizeof *inbound_kinds };
enum { N_OUTBOUND = sizeof outbound_kinds / sizeof *outbound_kinds };

static void make_agent(struct agent_fixture *f)
{
	fixture_init(f, N_FLOWS);
	fixture_add_snat(f, NULL);
	fixture_lease(f, SNAT_VIP, VM, 2048, 8, 1);
}

static struct test_frame from_vm(const char *what)
{
	struct test_tuple reply = vm_tuple(VM, 8080, CLIENT, 40000);
	struct test_tuple query = vm_tuple(VM, 6000, "192.0.2.53", 53);
	struct test_tuple ping = vm_tuple(VM, 0, "192.0.2.9", 0);
	struct test_tuple plain = vm_tuple(VM, 5000, "10.1.2.11", 53);
	const uint8_t mss[] = { 2, 4, 5, 180 };
	struct test_tuple came = { .src = CLIENT, .dst = VM, .src_port = 40000, .dst_port = 8080 };
	struct test_frame inside = test_tcp(&came, TCP_SYN, NULL, 0);
	if (strcmp(what, "tcp") == 0)
		return test_tcp_options(&reply, TCP_SYN | TCP_ACK, mss, sizeof mss, NULL, 9);
	if (strcmp(what, "udp") == 0)
		return test_udp(&query, NULL, 20);
	if (strcmp(what, "echo request") == 0)
		return test_icmp(&ping, ICMP_ECHO, 0, 7, 1, NULL, 20);
	if (strcmp(what, "error") == 0)
		return test_icmp_error(&reply, ICMP_UNREACHABLE, 3, &inside, 28);
	ck_assert_str_eq(what, "plain udp");
	return test_udp(&plain, NULL, 20);
}

// The identifier that the VM's ping has outside.
static uint16_t ping_identifier(struct agent_fixture *f)
{
	struct test_frame ping = from_vm("echo request");
	struct agent_packet p = fixture_outbound(f, 0, &ping);
	ck_assert_int_eq(p.verdict, AGENT_TO_UPLINK);
	return be16_to(((const struct icmp_header *)(p.frame + p.ip.l4_off))->id);
}

static struct test_frame from_uplink(struct agent_fixture *f, const char *what)
{
	struct test_tuple to_web = { .src = CLIENT, .dst = VIP, .src_port = 40000, .dst_port = 80 };
	struct test_tuple to_dns = { .src = CLIENT, .dst = VIP, .src_port = 40000, .dst_port = 53 };
	struct test_tuple to_ping = { .src = "192.0.2.9", .dst = SNAT_VIP };
	struct test_tuple plain = { .src = "10.1.2.11", .dst = VM, .src_port = 4000, .dst_port = 22 };
	struct test_tuple back = { .src = VIP, .dst = CLIENT, .src_port = 80, .dst_port = 40000 };
	const uint8_t mss[] = { 2, 4, 5, 180 };
	struct test_frame sent = test_tcp(&back, TCP_ACK, NULL, 30);
	struct test_frame inner;
	if (strcmp(what, "plain tcp") == 0)
		return test_tcp(&plain, TCP_ACK, NULL, 20);
	if (strcmp(what, "plain udp") == 0)
		return test_udp(&plain, NULL, 20);
	if (strcmp(what, "tcp") == 0)
		inner = test_tcp_options(&to_web, TCP_SYN, mss, sizeof mss, NULL, 9);
	else if (strcmp(what, "udp") == 0)
		inner = test_udp(&to_dns, NULL, 20);
	else if (strcmp(what, "echo reply") == 0)
		inner = test_icmp(&to_ping, ICMP_ECHO_REPLY, 0, ping_identifier(f), 1, NULL, 20);
	else
		inner = test_icmp_error(&to_web, ICMP_UNREACHABLE, 1, &sent, 28);
	return fixture_encapsulate("10.0.0.31", VM, &inner);
}

// The frame lies at the end of its memory, so that ASan sees a read beyond it.
static struct agent_packet send_cut(struct agent_fixture *f, bool is_inbound, struct test_frame *whole, uint32_t n)
{
	uint8_t *exact = malloc(AGENT_HEADROOM + n);
	ck_assert_ptr_nonnull(exact);
	memcpy(exact + AGENT_HEADROOM, test_data(whole), n);
	struct agent_packet p = { .frame = exact + AGENT_HEADROOM, .len = n };
	if (is_inbound)
		agent_inbound(&f->agent, &p, 1);
	else
		agent_outbound(&f->agent, &p, 1);
	free(exact);
	p.frame = NULL;
	return p;
}

static void cut_at_every_byte(struct agent_fixture *f, bool is_inbound, const char *what, struct test_frame whole)
{
	uint32_t n_whole = whole.len;
	uint64_t n_flows = f->agent.flows.n_flows;
	for (uint32_t n = 0; n < n_whole; n++) {
		struct agent_packet p = send_cut(f, is_inbound, &whole, n);
		ck_assert_msg(p.verdict == AGENT_DROP, "%s, %u of %u bytes", what, n, n_whole);
		ck_assert_int_ne(p.reason, DROP_NONE);
	}
	ck_assert_uint_eq(f->agent.flows.n_flows, n_flows); // and nothing is remembered
	enum agent_verdict goes_on = is_inbound ? AGENT_TO_VM : AGENT_TO_UPLINK;
	whole.len += PADDING_BYTES; // which may be cut anywhere
	for (uint32_t n = n_whole; n <= whole.len; n++)
		ck_assert_msg(send_cut(f, is_inbound, &whole, n).verdict == goes_on, "%s, %u bytes", what, n);
}

// The connections that the errors are about.
static void begin(struct agent_fixture *f)
{
	struct test_frame syn = from_uplink(f, "tcp");
	ck_assert_int_eq(fixture_inbound(f, &syn).verdict, AGENT_TO_VM);
}

START_TEST(what_comes_in_and_is_cut_goes_nowhere)
{
	for (int i = 0; i < N_INBOUND; i++) {
		struct agent_fixture f;
		make_agent(&f);
		if (strcmp(inbound_kinds[i], "error") == 0)
			begin(&f);
		// A header of TCP that is not there as a whole is no matter for a packet to the DIP, but its length is.
		cut_at_every_byte(&f, true, inbound_kinds[i], from_uplink(&f, inbound_kinds[i]));
		fixture_fini(&f);
	}
}
END_TEST

START_TEST(what_a_vm_sends_and_is_cut_goes_nowhere)
{
	for (int i = 0; i < N_OUTBOUND; i++) {
		struct agent_fixture f;
		make_agent(&f);
		begin(&f);
		cut_at_every_byte(&f, false, outbound_kinds[i], from_vm(outbound_kinds[i]));
		fixture_fini(&f);
	}
}
END_TEST

// The same cut, by who says so in the total lengths: headers that are not there are not read.
START_TEST(total_lengths_that_cut_are_obeyed)
{
	for (int i = 0; i < N_INBOUND; i++) {
		struct agent_fixture f;
		make_agent(&f);
		begin(&f);
		struct test_frame whole = from_uplink(&f, inbound_kinds[i]);
		struct ip4_header *outer = (struct ip4_header *)(test_data(&whole) + ETH_BYTES);
		bool is_encapsulated = outer->protocol == IP_PROTO_IPIP;
		uint32_t around = is_encapsulated ? IP4_BYTES : 0;
		for (uint32_t n = 0; n + around + ETH_BYTES <= whole.len; n++) {
			struct test_frame cut = whole;
			outer = (struct ip4_header *)(test_data(&cut) + ETH_BYTES);
			outer->total_length = be16_from((uint16_t)(n + around));
			if (is_encapsulated && n >= IP4_BYTES)
				outer[1].total_length = be16_from((uint16_t)n);
			struct agent_packet p = send_cut(&f, true, &cut, ETH_BYTES + around + n);
			if (p.verdict == AGENT_TO_VM)
				ck_assert_uint_eq(p.len, ETH_BYTES + n);
			else
				ck_assert_msg(p.verdict == AGENT_DROP, "%s, %u bytes", inbound_kinds[i], n);
		}
		fixture_fini(&f);
	}
}
END_TEST

SUITE_MAIN("agent truncation", what_comes_in_and_is_cut_goes_nowhere, what_a_vm_sends_and_is_cut_goes_nowhere,
           total_lengths_that_cut_are_obeyed)
