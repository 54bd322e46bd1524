// TCP as a NAT sees it, beyond a plain connection: what may be forged, what comes twice or at the same time, what is silent.
#include "tests/support/suite.h"
#include "tests/unit/hostagent/fixture.h"
#include "tests/unit/hostagent/flow_block.h"

#define CLIENT "198.51.100.7"
#define VIP "203.0.113.10"
#define SA (TCP_SYN | TCP_ACK)
#define RA (TCP_RST | TCP_ACK)
#define FA (TCP_FIN | TCP_ACK)

static struct agent_fixture f;

static struct agent_packet client_sends(uint8_t flags)
{
	static struct test_frame frame;
	struct test_tuple t = { .src = CLIENT, .dst = VIP, .src_port = 40000, .dst_port = 80 };
	struct test_frame inner = test_tcp(&t, flags, NULL, 0);
	frame = fixture_encapsulate("10.0.0.31", "10.1.1.11", &inner);
	return fixture_inbound(&f, &frame);
}

static struct agent_packet vm_sends(uint8_t flags)
{
	static struct test_frame frame;
	struct test_tuple t = vm_tuple("10.1.1.11", 8080, CLIENT, 40000);
	frame = test_tcp(&t, flags, NULL, 0);
	return fixture_outbound(&f, 0, &frame);
}

// A step: "c" the client, "v" the VM, or seconds that go by; then the flow's state, FLOW_FREE: there is none.
struct step {
	char who;
	uint8_t flags;
	uint16_t seconds;
	enum flow_state want;
};

static void open_connection(void)
{
	client_sends(TCP_SYN);
	vm_sends(SA);
	client_sends(TCP_ACK);
	ck_assert_uint_eq(f.agent.flows.entries[0].state, FLOW_ESTABLISHED);
}

static enum flow_state state(void)
{
	ck_assert_uint_le(f.agent.flows.n_flows, 1);
	return f.agent.flows.n_flows == 0 ? FLOW_FREE : flow_entry_state(&f.agent.flows.entries[0]);
}

static void take_steps(const char *what, const struct step *steps)
{
	fixture_init(&f, 64);
	open_connection();
	for (size_t i = 0; steps[i].who != '\0'; i++) {
		const struct step *s = &steps[i];
		if (s->who == 'c')
			ck_assert_msg(client_sends(s->flags).verdict == AGENT_TO_VM, "%s, step %zu: not delivered", what, i);
		else if (s->who == 'v')
			ck_assert_msg(vm_sends(s->flags).verdict == AGENT_TO_UPLINK, "%s, step %zu: not sent", what, i);
		else
			fixture_pass(&f, s->seconds);
		ck_assert_msg(state() == s->want, "%s, step %zu: %s, want %s", what, i, flow_state_name(state()),
		              flow_state_name(s->want));
	}
	fixture_fini(&f);
}

START_TEST(a_rst_of_the_client_ends_nothing_that_the_vm_goes_on_with)
{
	static const struct {
		const char *what;
		struct step steps[8];
	} rows[] = {
		{ "the VM believed it",
		  { { 'c', TCP_RST, 0, FLOW_RESET_IN }, { 't', 0, 9, FLOW_RESET_IN }, { 't', 0, 1, FLOW_FREE } } },
		{ "forged, while both were silent",
		  { { 'c', TCP_RST, 0, FLOW_RESET_IN },
		    { 't', 0, 9, FLOW_RESET_IN },
		    { 'v', TCP_ACK, 0, FLOW_DISPUTED },
		    { 'c', TCP_ACK, 0, FLOW_ESTABLISHED },
		    { 't', 0, 7000, FLOW_ESTABLISHED } } },
		{ "forged, and the client speaks first",
		  { { 'c', TCP_RST, 0, FLOW_RESET_IN },
		    { 'c', TCP_ACK, 0, FLOW_RESET_IN },
		    { 'v', TCP_ACK, 0, FLOW_DISPUTED },
		    { 'c', TCP_ACK, 0, FLOW_ESTABLISHED } } },
		{ "forged again and again: it stays the VIP's",
		  { { 'c', TCP_RST, 0, FLOW_RESET_IN },
		    { 'v', TCP_ACK, 0, FLOW_DISPUTED },
		    { 'c', TCP_RST, 0, FLOW_RESET_IN },
		    { 'v', TCP_ACK, 0, FLOW_DISPUTED },
		    { 'c', TCP_ACK, 0, FLOW_ESTABLISHED } } },
		{ "what was on its way when the RST came keeps nothing for long",
		  { { 'c', TCP_RST, 0, FLOW_RESET_IN }, { 'v', TCP_ACK, 0, FLOW_DISPUTED }, { 't', 0, 240, FLOW_FREE } } },
		{ "while it closes",
		  { { 'v', FA, 0, FLOW_FIN_OUT }, { 'c', TCP_RST, 0, FLOW_RESET_IN }, { 'v', FA, 0, FLOW_DISPUTED } } },
		{ "the VM's own word ends it", { { 'v', RA, 0, FLOW_RESET }, { 't', 0, 10, FLOW_FREE } } },
	};
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
		take_steps(rows[i].what, rows[i].steps);
}
END_TEST

START_TEST(a_port_that_is_used_again_begins_a_new_connection)
{
	static const struct {
		const char *what;
		struct step steps[8];
	} rows[] = {
		{ "closed by the VM",
		  { { 'v', FA, 0, FLOW_FIN_OUT }, { 'c', FA, 0, FLOW_CLOSED }, { 'c', TCP_SYN, 0, FLOW_SYN } } },
		{ "closed by the client, a minute ago",
		  { { 'c', FA, 0, FLOW_FIN_IN },
		    { 'v', FA, 0, FLOW_CLOSED },
		    { 't', 0, 60, FLOW_CLOSED },
		    { 'c', TCP_SYN, 0, FLOW_SYN },
		    { 'v', SA, 0, FLOW_SYN_ACK },
		    { 'c', TCP_ACK, 0, FLOW_ESTABLISHED } } },
		{ "reset by the client", { { 'c', TCP_RST, 0, FLOW_RESET_IN }, { 'c', TCP_SYN, 0, FLOW_SYN } } },
		{ "reset by the VM", { { 'v', RA, 0, FLOW_RESET }, { 'c', TCP_SYN, 0, FLOW_SYN } } },
		{ "alive: the VM answers a SYN with an ACK (RFC 5961 section 4)",
		  { { 'c', TCP_SYN, 0, FLOW_ESTABLISHED }, { 'v', TCP_ACK, 0, FLOW_ESTABLISHED } } },
	};
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
		take_steps(rows[i].what, rows[i].steps);
}
END_TEST

static void expect_idle(uint32_t tcp_s, uint32_t udp_s, uint32_t seconds, bool is_left)
{
	fixture_init(&f, 64);
	struct vip_config *vip = vip_config_clone(store_vip(&f.store, 0));
	vip->idle_tcp_s = tcp_s;
	vip->idle_udp_s = udp_s;
	fixture_change(&f, test_put_vip(vip));
	open_connection();
	fixture_pass(&f, seconds);
	ck_assert_msg((f.agent.flows.n_flows == 1) == is_left, "idle %u, after %u s", tcp_s, seconds);
	fixture_fini(&f);
}

START_TEST(a_vip_says_how_long_its_connections_may_be_silent)
{
	expect_idle(0, 0, 7439, true);
	expect_idle(0, 0, 7440, false);
	expect_idle(0, 20, 7439, true);
	expect_idle(600, 20, 599, true);
	expect_idle(600, 20, 600, false);
	expect_idle(8000, 0, 7999, true);
	expect_idle(8000, 0, 8000, false);
}
END_TEST

START_TEST(the_vips_time_is_for_what_is_established_and_for_udp)
{
	struct flow_idle list[] = { { .vip = 5, .tcp_s = 600, .udp_s = 20 }, { .vip = 9, .udp_s = 30 } };
	struct flow_idles idles = { .n = 2, .list = list };
	for (uint32_t s = FLOW_UDP; s < FLOW_STATE_COUNT; s++) {
		enum flow_state st = (enum flow_state)s;
		uint32_t usual = flow_state_timeout_s(st);
		ck_assert_uint_eq(flow_idles_timeout_s(&idles, 5, st), st == FLOW_UDP           ? 20
		                                                       : st == FLOW_ESTABLISHED ? 600
		                                                                                : usual);
		ck_assert_uint_eq(flow_idles_timeout_s(&idles, 9, st), st == FLOW_UDP ? 30 : usual);
		ck_assert_uint_eq(flow_idles_timeout_s(&idles, 7, st), usual);
		ck_assert_uint_eq(flow_idles_timeout_s(NULL, 5, st), usual);
	}
}
END_TEST

// Random options, well formed or not: of all bytes of a SYN only the MSS, the addresses, ports and checksums are others.
static uint32_t random_options(uint64_t *seed, uint8_t *options)
{
	uint32_t n = 4 * random_below(seed, 11);
	for (uint32_t i = 0; i < n;) {
		uint32_t left = n - i;
		uint32_t kind = random_below(seed, 12);
		if (kind < 4 || left < 4) {
			options[i++] = 1;
			continue;
		}
		uint32_t length = kind < 8 ? 4 : 2 + random_below(seed, left - 1);
		options[i] = (uint8_t)(kind < 8 ? 2 : 3 + random_below(seed, 252));
		options[i + 1] = (uint8_t)(random_below(seed, 50) == 0 ? random_below(seed, 256) : length);
		for (uint32_t k = 2; k < length; k++)
			options[i + k] = (uint8_t)random_next(seed);
		i += length;
	}
	return n;
}

static uint32_t first_mss(const uint8_t *options, uint32_t n)
{
	for (uint32_t i = 0; i + 1 < n && options[i] != 0;) {
		if (options[i] == 1) {
			i++;
			continue;
		}
		if (options[i + 1] < 2 || options[i + 1] > n - i)
			break;
		if (options[i] == 2 && options[i + 1] == 4)
			return i + 2;
		i += options[i + 1];
	}
	return UINT32_MAX;
}

static void check_options(const struct agent_packet *p, const uint8_t *options, uint32_t n, uint64_t seed)
{
	uint8_t want[40];
	uint32_t at = first_mss(options, n);
	memcpy(want, options, n);
	if (at != UINT32_MAX && be16_to(load16(options + at)) > 1440)
		store16(want + at, be16_from(1440));
	ck_assert_msg(test_checksums_ok(p->frame, p->len, NULL), "seed %lu: wrong checksum", (unsigned long)seed);
	ck_assert_msg(memcmp(p->frame + ETH_BYTES + IP4_TCP_BYTES, want, n) == 0, "seed %lu: other options",
	              (unsigned long)seed);
}

START_TEST(no_option_is_touched_but_the_segment_size)
{
	uint64_t seed = 1;
	fixture_init(&f, 64);
	for (uint32_t i = 0; i < 20000; i++) {
		uint8_t options[40];
		uint64_t began = seed;
		uint32_t n = random_options(&seed, options);
		struct test_tuple in = { .src = CLIENT, .dst = VIP, .src_port = 40000, .dst_port = 80 };
		struct test_frame inner = test_tcp_options(&in, TCP_SYN, options, n, "early", 5);
		struct test_frame frame = fixture_encapsulate("10.0.0.31", "10.1.1.11", &inner);
		struct agent_packet p = fixture_inbound(&f, &frame);
		ck_assert_int_eq(p.verdict, AGENT_TO_VM);
		check_options(&p, options, n, began);
		ck_assert_int_eq(memcmp(p.frame + ETH_BYTES + IP4_TCP_BYTES + n, "early", 5), 0);
		struct test_tuple out = vm_tuple("10.1.1.11", 8080, CLIENT, 40000);
		frame = test_tcp_options(&out, SA, options, n, NULL, 0);
		p = fixture_outbound(&f, 0, &frame);
		ck_assert_int_eq(p.verdict, AGENT_TO_UPLINK);
		check_options(&p, options, n, began);
	}
	fixture_fini(&f);
}
END_TEST

START_TEST(the_segment_size_is_what_way_and_vm_carry)
{
	static const struct {
		uint16_t port_mtu;
		uint16_t want;
	} rows[] = { { 0, 1440 },    { 1500, 1440 }, { 1480, 1440 }, { 1479, 1439 },
		         { 1280, 1240 }, { 9000, 1440 }, { 40, 1440 } };
	static const uint8_t mss_8960[] = { 2, 4, 0x23, 0x00 };
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		fixture_init(&f, 64);
		f.agent.port_mtu[0] = rows[i].port_mtu;
		struct test_tuple in = { .src = CLIENT, .dst = VIP, .src_port = 40000, .dst_port = 80 };
		struct test_frame inner = test_tcp_options(&in, TCP_SYN, mss_8960, 4, NULL, 0);
		struct test_frame frame = fixture_encapsulate("10.0.0.31", "10.1.1.11", &inner);
		struct agent_packet p = fixture_inbound(&f, &frame);
		ck_assert_uint_eq(be16_to(load16(p.frame + ETH_BYTES + IP4_TCP_BYTES + 2)), rows[i].want);
		struct test_tuple out = vm_tuple("10.1.1.11", 8080, CLIENT, 40000);
		frame = test_tcp_options(&out, SA, mss_8960, 4, NULL, 0);
		p = fixture_outbound(&f, 0, &frame);
		ck_assert_uint_eq(be16_to(load16(p.frame + ETH_BYTES + IP4_TCP_BYTES + 2)), rows[i].want);
		fixture_fini(&f);
	}
}
END_TEST

SUITE_MAIN("agent tcp", a_rst_of_the_client_ends_nothing_that_the_vm_goes_on_with,
           a_port_that_is_used_again_begins_a_new_connection, a_vip_says_how_long_its_connections_may_be_silent,
           the_vips_time_is_for_what_is_established_and_for_udp, no_option_is_touched_but_the_segment_size,
           the_segment_size_is_what_way_and_vm_carry)
