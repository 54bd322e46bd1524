// A handshake that is split between two VMs: the client's SYN came to this host's VM and to another one, and its packets come here.
#include "hostagent/core/chain.h"
#include "tests/support/suite.h"
#include "tests/unit/hostagent/fixture.h"
#include "tests/unit/hostagent/flow_block.h"

// Every bucket of tcp 80: owners 10.1.1.11 (vm1, here), then 10.1.2.11 (host2).
#define CLIENT "198.51.100.7"
#define VIP "203.0.113.10"
#define MUX "10.0.0.31"
#define HOST2 "10.0.0.22"
#define ISN 0xfffffff0u // of vm1; it wraps
#define OTHER_ISN 77000u // of the VM on host2

static struct agent_fixture f;

static void set_up(void)
{
	static const char *const web[] = { "10.1.2.11", "10.1.1.11", NULL };
	fixture_init(&f, 64);
	fixture_change(&f, fixture_cluster());
	fixture_change(&f, fixture_history(VIP, IP_PROTO_TCP, 80, web));
}

static struct test_frame numbered(struct test_frame frame, uint32_t seq, uint32_t ack)
{
	struct tcp_header *tcp = (struct tcp_header *)(test_data(&frame) + ETH_BYTES + IP4_BYTES);
	tcp->seq = be32_from(seq);
	tcp->ack = be32_from(ack);
	test_fix_checksums(&frame);
	return frame;
}

static struct test_frame marked(struct test_frame frame, uint16_t mark)
{
	((struct ip4_header *)(test_data(&frame) + ETH_BYTES))->id = be16_from(mark);
	test_fix_checksums(&frame);
	return frame;
}

static struct test_frame from_client(const char *dip, uint8_t flags, uint32_t ack)
{
	struct test_tuple t = { .src = CLIENT, .dst = VIP, .src_port = 40000, .dst_port = 80 };
	struct test_frame inner = numbered(test_tcp(&t, flags, NULL, (flags & TCP_SYN) ? 0 : 20), 1, ack);
	return marked(fixture_encapsulate(MUX, dip, &inner), 0);
}

// What becomes of it: "vm0", "10.1.2.11" (sent on there), "drop chain_skew".
static const char *fate_of(struct test_frame frame)
{
	static char text[400];
	const char *wrong = NULL;
	struct agent_packet p = fixture_inbound(&f, &frame);
	fixture_text(&p, text, sizeof text);
	if (p.verdict == AGENT_DROP)
		return text;
	ck_assert_msg(test_checksums_ok(p.frame, p.len, &wrong), "wrong %s checksum", wrong);
	if (p.verdict == AGENT_TO_VM) {
		text_format(text, sizeof text, "vm%u", p.port);
		return text;
	}
	const uint8_t *d = (const uint8_t *)&((const struct ip4_header *)(p.frame + ETH_BYTES))->dst;
	text_format(text, sizeof text, "%u.%u.%u.%u", d[0], d[1], d[2], d[3]);
	return text;
}

static void client_sends(uint8_t flags, uint32_t ack, const char *want)
{
	const char *got = fate_of(from_client("10.1.1.11", flags, ack));
	ck_assert_msg(strcmp(got, want) == 0, "flags %x ack %u: want %s, got %s", flags, ack, want, got);
}

static void vm_sends(uint8_t flags, uint32_t seq)
{
	struct test_tuple t = vm_tuple("10.1.1.11", 8080, CLIENT, 40000);
	struct test_frame frame = numbered(test_tcp(&t, flags, NULL, 0), seq, 2);
	struct agent_packet p = fixture_outbound(&f, 0, &frame);
	const char *wrong = NULL;
	ck_assert_int_eq(p.verdict, AGENT_TO_UPLINK);
	ck_assert_msg(test_checksums_ok(p.frame, p.len, &wrong), "wrong %s checksum", wrong);
}

static enum flow_state state(void)
{
	ck_assert_uint_eq(f.agent.flows.n_flows, 1);
	return flow_entry_state(&f.agent.flows.entries[0]);
}

static void vm_answers(uint8_t flags)
{
	client_sends(TCP_SYN, 0, "vm0");
	if (flags != 0)
		vm_sends(flags, ISN);
}

START_TEST(what_acknowledges_another_vm_is_sent_on_and_what_acknowledges_this_one_is_not)
{
	static const struct {
		const char *what;
		uint8_t answer; // of the VM to the SYN; 0: none yet
		uint8_t flags; // of what the client sends then
		uint32_t ack;
		const char *want;
		enum flow_state state; // then
	} rows[] = {
		{ "its ACK", TCP_SYN | TCP_ACK, TCP_ACK, ISN + 1, "vm0", FLOW_ESTABLISHED },
		{ "its data, the ACK was lost", TCP_SYN | TCP_ACK, TCP_ACK | TCP_PSH, ISN + 1, "vm0", FLOW_ESTABLISHED },
		{ "its FIN", TCP_SYN | TCP_ACK, TCP_ACK | TCP_FIN, ISN + 1, "vm0", FLOW_FIN_IN },
		{ "it gives up", TCP_SYN | TCP_ACK, TCP_ACK | TCP_RST, ISN + 1, "vm0", FLOW_RESET_IN },
		{ "its SYN again", TCP_SYN | TCP_ACK, TCP_SYN, 0, "vm0", FLOW_SYN_ACK },
		{ "a RST without ACK", TCP_SYN | TCP_ACK, TCP_RST, 0, "vm0", FLOW_RESET_IN },
		{ "early data are acknowledged", TCP_SYN | TCP_ACK, TCP_ACK, ISN + 0xffff, "vm0", FLOW_ESTABLISHED },
		{ "too much for early data", TCP_SYN | TCP_ACK, TCP_ACK, ISN + 0x10000, "10.1.2.11", FLOW_SYN_ACK },
		{ "before it began", TCP_SYN | TCP_ACK, TCP_ACK, ISN - 1, "10.1.2.11", FLOW_SYN_ACK },
		{ "another's ACK", TCP_SYN | TCP_ACK, TCP_ACK, OTHER_ISN + 1, "10.1.2.11", FLOW_SYN_ACK },
		{ "another's data", TCP_SYN | TCP_ACK, TCP_ACK | TCP_PSH, OTHER_ISN + 1, "10.1.2.11", FLOW_SYN_ACK },
		{ "another's FIN", TCP_SYN | TCP_ACK, TCP_ACK | TCP_FIN, OTHER_ISN + 1, "10.1.2.11", FLOW_SYN_ACK },
		{ "another's abort", TCP_SYN | TCP_ACK, TCP_ACK | TCP_RST, OTHER_ISN + 1, "10.1.2.11", FLOW_SYN_ACK },
		{ "a simultaneous open", TCP_SYN, TCP_ACK, ISN + 1, "vm0", FLOW_ESTABLISHED },
		{ "the VM has not answered", 0, TCP_ACK, OTHER_ISN + 1, "10.1.2.11", FLOW_SYN },
		{ "nor to this", 0, TCP_SYN, 0, "vm0", FLOW_SYN },
		{ "the VM has refused", TCP_RST | TCP_ACK, TCP_ACK, OTHER_ISN + 1, "10.1.2.11", FLOW_REFUSED },
		{ "and may be asked again", TCP_RST | TCP_ACK, TCP_SYN, 0, "vm0", FLOW_SYN },
	};
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		set_up();
		vm_answers(rows[i].answer);
		const char *got = fate_of(from_client("10.1.1.11", rows[i].flags, rows[i].ack));
		ck_assert_msg(strcmp(got, rows[i].want) == 0, "%s: want %s, got %s", rows[i].what, rows[i].want, got);
		ck_assert_msg(state() == rows[i].state, "%s: state %s", rows[i].what, flow_state_name(state()));
		ck_assert_uint_eq(f.agent.counters.handshakes_split, strcmp(rows[i].want, "vm0") != 0);
		ck_assert_uint_eq(f.agent.counters.chain_forwarded, strcmp(rows[i].want, "vm0") != 0);
		fixture_fini(&f);
	}
}
END_TEST

START_TEST(the_handshake_that_is_not_this_vms_leaves_its_own_as_it_is)
{
	set_up();
	vm_answers(TCP_SYN | TCP_ACK);
	uint32_t seen_s = f.agent.flows.entries[0].seen_s;
	agent_set_now(&f.agent, mono_add_us(f.agent.now, 9000000));
	for (int i = 0; i < 3; i++)
		client_sends(TCP_ACK, OTHER_ISN + 1, "10.1.2.11");
	ck_assert_uint_eq(f.agent.flows.entries[0].seen_s, seen_s);
	vm_sends(TCP_SYN | TCP_ACK, ISN); // it repeats its own
	client_sends(TCP_ACK, OTHER_ISN + 1, "10.1.2.11");
	client_sends(TCP_ACK, ISN + 1, "vm0");
	client_sends(TCP_ACK | TCP_PSH, OTHER_ISN + 1, "vm0"); // from here on the numbers are the VM's business
	vm_sends(TCP_ACK | TCP_PSH, ISN + 1);
	vm_sends(TCP_ACK | TCP_RST, ISN + 1);
	ck_assert_int_eq(state(), FLOW_RESET);
	client_sends(TCP_ACK, OTHER_ISN + 1, "vm0");
	fixture_fini(&f);
}
END_TEST

START_TEST(the_vms_latest_answer_counts)
{
	set_up();
	vm_answers(TCP_SYN | TCP_ACK);
	vm_sends(TCP_SYN | TCP_ACK, ISN + 1000000);
	client_sends(TCP_ACK, ISN + 1, "10.1.2.11");
	vm_sends(TCP_RST | TCP_ACK, ISN + 1000001);
	ck_assert_int_eq(state(), FLOW_REFUSED);
	vm_sends(TCP_SYN | TCP_ACK, ISN);
	client_sends(TCP_ACK, ISN + 1, "vm0");
	fixture_fini(&f);
}
END_TEST

START_TEST(an_answer_without_a_flow_is_adopted_with_its_number)
{
	set_up();
	vm_sends(TCP_SYN | TCP_ACK, ISN);
	ck_assert_uint_eq(f.agent.counters.flows_adopted, 1);
	client_sends(TCP_ACK, OTHER_ISN + 1, "10.1.2.11");
	client_sends(TCP_ACK, ISN + 1, "vm0");
	fixture_fini(&f);
}
END_TEST

START_TEST(who_has_the_connection_takes_it_from_the_chain_and_reports_it)
{
	set_up();
	vm_answers(TCP_SYN | TCP_ACK);
	ck_assert_uint_eq(agent_pins_begin(&f.agent, 1700000000000000), 0);
	ck_assert_str_eq(fate_of(marked(from_client("10.1.1.11", TCP_ACK, ISN + 1), CHAIN_MARK | 1)), "vm0");
	ck_assert_int_eq(state(), FLOW_ESTABLISHED);
	ck_assert_uint_eq(f.agent.counters.chain_delivered, 1);
	ck_assert_uint_eq(agent_pins_begin(&f.agent, 1700000000000000), 1);
	fixture_fini(&f);
}
END_TEST

START_TEST(a_half_open_one_is_passed_by_also_in_the_middle_of_a_chain)
{
	set_up();
	vm_answers(TCP_SYN | TCP_ACK);
	ck_assert_str_eq(fate_of(marked(from_client("10.1.1.11", TCP_ACK, OTHER_ISN + 1), CHAIN_MARK | 7)),
	                 "drop chain_skew");
	ck_assert_uint_eq(agent_pins_begin(&f.agent, 1700000000000000), 0);
	fixture_fini(&f);
}
END_TEST

// It is as with any packet that nobody knows: dropped for some seconds, then its VM's.
START_TEST(when_nobody_else_has_it_the_vm_decides)
{
	static const struct {
		uint32_t ms;
		const char *want;
	} rows[] = { { 0, "drop chain_skew" }, { 4900, "drop chain_skew" }, { 5100, "vm0" } };
	set_up();
	vm_answers(TCP_SYN | TCP_ACK);
	memset(&f.agent.strays, 0, sizeof f.agent.strays);
	struct mono_time began = f.agent.now;
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		agent_set_now(&f.agent, mono_add_us(began, rows[i].ms * 1000u));
		struct test_frame frame = from_client("10.1.1.11", TCP_ACK, OTHER_ISN + 1);
		ck_assert_str_eq(fate_of(marked(frame, CHAIN_MARK | CHAIN_MARK_ADOPT)), rows[i].want);
	}
	ck_assert_int_eq(state(), FLOW_ESTABLISHED);
	fixture_fini(&f);
}
END_TEST

START_TEST(it_is_the_flows_own_vm_that_decides_whichever_dip_the_mux_chose)
{
	static const char *const web[] = { "10.1.1.12", "10.1.1.11", NULL };
	fixture_init(&f, 64);
	fixture_change(&f, fixture_cluster());
	fixture_change(&f, fixture_history(VIP, IP_PROTO_TCP, 80, web));
	vm_answers(TCP_SYN | TCP_ACK);
	ck_assert_str_eq(fate_of(from_client("10.1.1.12", TCP_ACK, OTHER_ISN + 1)), "vm0");
	ck_assert_int_eq(state(), FLOW_ESTABLISHED);
	fixture_fini(&f);
}
END_TEST

START_TEST(a_new_process_of_the_agent_still_knows_the_vms_number)
{
	struct flow_table again;
	set_up();
	vm_answers(TCP_SYN | TCP_ACK);
	ck_assert_int_eq(flow_table_attach(&again, f.block, flow_table_bytes(64), 64, TEST_OWNER, NULL, at_s(1001), NULL),
	                 0);
	agent_use_flows(&f.agent, &again);
	client_sends(TCP_ACK, OTHER_ISN + 1, "10.1.2.11");
	client_sends(TCP_ACK, ISN + 1, "vm0");
	fixture_fini(&f);
}
END_TEST

SUITE_MAIN("agent handshake", what_acknowledges_another_vm_is_sent_on_and_what_acknowledges_this_one_is_not,
           the_handshake_that_is_not_this_vms_leaves_its_own_as_it_is, the_vms_latest_answer_counts,
           an_answer_without_a_flow_is_adopted_with_its_number,
           who_has_the_connection_takes_it_from_the_chain_and_reports_it,
           a_half_open_one_is_passed_by_also_in_the_middle_of_a_chain, when_nobody_else_has_it_the_vm_decides,
           it_is_the_flows_own_vm_that_decides_whichever_dip_the_mux_chose,
           a_new_process_of_the_agent_still_knows_the_vms_number)
