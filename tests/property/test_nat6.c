// The NAT over IPv6 against a list of flows that is searched from its beginning: random connections of clients and of VMs, their
// packets both ways and errors about them, in outer headers of either family. Every packet that comes out has the addresses and
// ports that the list says, and checksums that are right when they are found anew.
//
// NAT_SEED=N repeats one run.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "common/packet/icmp_error.h"
#include "tests/support/suite.h"
#include "tests/unit/hostagent/fixture.h"

enum { N_WORLDS = 40, N_STEPS = 1500, N_FLOWS = 4096 };

#define SNAT_VIP "2001:db8::203:0:113:20"

static const char *const remotes[] = { "2001:db8::198:51:100:7", "2001:db8::198:51:100:8", "2001:db8:ffff::1",
	                                   "2001:db8:1::10:1:2:11", "2a00::7" };
static const char *const dips[] = { "2001:db8::10:1:1:11", "2001:db8::10:1:1:12" };
static const uint16_t ports[] = { 443, 53, 5000, 40000, 65535 };

#define COUNT(a) ((unsigned)(sizeof(a) / sizeof *(a)))

struct flow { // as the packets of the outside have it, and the VM's
	const char *remote, *vip;
	uint32_t vm;
	uint16_t remote_port, vip_port, dip_port; // of an echo: remote_port is 0, the others are the identifiers
	uint8_t protocol;
	bool is_snat;
};

static struct agent_fixture f;
static struct flow flows[N_STEPS];
static uint32_t n_flows;
static unsigned seed;
static uint32_t n_seen[4];

static unsigned pick(unsigned n)
{
	return (unsigned)rand_r(&seed) % n;
}

// ---- Packets ----

static struct test_frame make(const char *src, uint16_t src_port, const char *dst, uint16_t dst_port, uint8_t protocol,
                              uint8_t flags, uint8_t echo, uint32_t vm)
{
	struct test_tuple t = { .src = src,
		                    .dst = dst,
		                    .src_port = src_port,
		                    .dst_port = dst_port,
		                    .ttl = (uint8_t)(1 + pick(255)),
		                    .ip_options_bytes = pick(6) == 0 ? 8 * (1 + pick(5)) : 0,
		                    .src_mac = vm == 1 ? &FIXTURE_VM2_MAC : &FIXTURE_VM1_MAC,
		                    .dst_mac = &FIXTURE_GATEWAY_MAC };
	if (protocol == IP_PROTO_TCP)
		return test_tcp(&t, flags, NULL, pick(200));
	if (protocol == IP_PROTO_UDP)
		return test_udp(&t, NULL, pick(200));
	return test_icmp(&t, echo, 0, echo == ICMP6_ECHO ? src_port : dst_port, 1, NULL, pick(200));
}

static struct test_frame from_outside(const struct flow *w, uint8_t flags)
{
	struct test_frame inner =
		make(w->remote, w->remote_port, w->vip, w->vip_port, w->protocol, flags, ICMP6_ECHO_REPLY, 0);
	bool by_via = w->vm == 0 && pick(2) == 0;
	return fixture_encapsulate(by_via ? "10.0.0.31" : "2001:db8::10:0:0:31", by_via ? "10.2.1.11" : dips[w->vm],
	                           &inner);
}

static struct agent_packet to_outside(const struct flow *w, uint8_t flags, struct test_frame *ret_sent)
{
	*ret_sent = make(dips[w->vm], w->dip_port, w->remote, w->remote_port, w->protocol, flags, ICMP6_ECHO, w->vm);
	static struct test_frame frame;
	frame = *ret_sent;
	return fixture_outbound(&f, (uint16_t)w->vm, &frame);
}

static uint16_t port_of(const struct agent_packet *p, const struct parsed *ip, bool is_source)
{
	if (ip->protocol == IP_PROTO_ICMP6)
		return be16_to(((const struct icmp_header *)(p->frame + ip->l4_off))->id);
	return be16_to(is_source ? ip->src_port : ip->dst_port);
}

static void expect(const struct agent_packet *p, enum agent_verdict verdict, const char *src, const char *dst,
                   struct parsed *ret_ip)
{
	char text[400];
	const char *wrong = NULL;
	ck_assert_msg(p->verdict == verdict, "%s", fixture_text(p, text, sizeof text));
	ck_assert_msg(test_checksums_ok(p->frame, p->len, &wrong), "wrong %s checksum: %s", wrong,
	              fixture_text(p, text, sizeof text));
	ck_assert_int_eq(parse_ip6(p->frame, p->len, ETH_BYTES, ret_ip), DROP_NONE);
	ck_assert_mem_eq(parsed_src6(p->frame, ret_ip), test_ip6(src), 16);
	ck_assert_mem_eq(parsed_dst6(p->frame, ret_ip), test_ip6(dst), 16);
	n_seen[verdict == AGENT_TO_VM]++;
}

// ---- What happens ----

static const struct flow *find(const char *remote, uint16_t remote_port, const char *vip, uint16_t vip_port,
                               uint8_t protocol)
{
	for (uint32_t i = 0; i < n_flows; i++) {
		const struct flow *w = &flows[i];
		if (strcmp(w->remote, remote) == 0 && strcmp(w->vip, vip) == 0 && w->remote_port == remote_port &&
		    w->vip_port == vip_port && w->protocol == protocol)
			return w;
	}
	return NULL;
}

static bool vm_has(const struct flow *w)
{
	for (uint32_t i = 0; i < n_flows; i++)
		if (flows[i].vm == w->vm && flows[i].dip_port == w->dip_port && flows[i].protocol == w->protocol &&
		    strcmp(flows[i].remote, w->remote) == 0 && flows[i].remote_port == w->remote_port)
			return true;
	return false;
}

static void client_begins(void)
{
	bool is_tcp = pick(2) == 0;
	struct flow w = { .remote = remotes[pick(COUNT(remotes))],
		              .vip = "2001:db8::203:0:113:10",
		              .remote_port = (uint16_t)(ports[pick(COUNT(ports))] - pick(8)),
		              .vip_port = is_tcp ? 80 : 53,
		              .dip_port = is_tcp ? 8080 : 5353,
		              .protocol = is_tcp ? IP_PROTO_TCP : IP_PROTO_UDP };
	if (find(w.remote, w.remote_port, w.vip, w.vip_port, w.protocol) != NULL || vm_has(&w))
		return;
	struct parsed ip;
	struct test_frame in = from_outside(&w, TCP_SYN);
	struct agent_packet p = fixture_inbound(&f, &in);
	expect(&p, AGENT_TO_VM, w.remote, dips[0], &ip);
	ck_assert_uint_eq(port_of(&p, &ip, false), w.dip_port);
	flows[n_flows++] = w;
	if (is_tcp) {
		struct test_frame sent;
		p = to_outside(&w, TCP_SYN | TCP_ACK, &sent);
		expect(&p, AGENT_TO_UPLINK, w.vip, w.remote, &ip);
	}
}

// One port of UDP and of echoes serves all destinations of its socket (RFC 4787 REQ-1); no two flows are one outside.
static void check_choice(const struct flow *w)
{
	ck_assert(w->vip_port >= (w->vm == 0 ? 2048 : 2056) && w->vip_port < (w->vm == 0 ? 2056 : 2064));
	ck_assert_ptr_null(find(w->remote, w->remote_port, w->vip, w->vip_port, w->protocol));
	for (uint32_t i = 0; i < n_flows; i++) {
		const struct flow *o = &flows[i];
		bool is_same_socket = o->vm == w->vm && o->dip_port == w->dip_port;
		if (o->is_snat && o->protocol == w->protocol && w->protocol != IP_PROTO_TCP)
			ck_assert(is_same_socket == (o->vip_port == w->vip_port));
	}
}

static void vm_begins(void)
{
	static const uint8_t protocols[] = { IP_PROTO_TCP, IP_PROTO_UDP, IP_PROTO_ICMP6 };
	struct flow w = { .remote = remotes[pick(COUNT(remotes))],
		              .vip = SNAT_VIP,
		              .vm = pick(2),
		              .remote_port = ports[pick(COUNT(ports))],
		              .dip_port = (uint16_t)(20000 + pick(40)),
		              .protocol = protocols[pick(3)],
		              .is_snat = true };
	if (w.protocol == IP_PROTO_ICMP6)
		w.remote_port = 0;
	if (vm_has(&w))
		return;
	struct test_frame sent;
	struct parsed ip;
	struct agent_packet p = to_outside(&w, TCP_SYN, &sent);
	if (p.verdict != AGENT_TO_UPLINK) { // nothing is free: held, and by and by refused
		ck_assert(p.verdict == AGENT_HOLD || (p.verdict == AGENT_TO_VM && p.reason == DROP_SNAT_EXHAUSTED));
		n_seen[2]++;
		return;
	}
	expect(&p, AGENT_TO_UPLINK, w.vip, w.remote, &ip);
	w.vip_port = port_of(&p, &ip, true);
	check_choice(&w);
	flows[n_flows++] = w;
}

static void flow_goes_on(void)
{
	if (n_flows == 0)
		return;
	const struct flow *w = &flows[pick(n_flows)];
	struct parsed ip;
	if (pick(2) == 0) {
		struct test_frame in = from_outside(w, TCP_SYN | TCP_ACK);
		if (!w->is_snat)
			in = from_outside(w, TCP_ACK);
		struct agent_packet p = fixture_inbound(&f, &in);
		expect(&p, AGENT_TO_VM, w->remote, dips[w->vm], &ip);
		ck_assert_uint_eq(p.port, w->vm);
		ck_assert_uint_eq(port_of(&p, &ip, false), w->dip_port);
	} else if (w->is_snat || w->protocol != IP_PROTO_ICMP6) {
		struct test_frame sent;
		struct agent_packet p = to_outside(w, TCP_ACK, &sent);
		expect(&p, AGENT_TO_UPLINK, w->vip, w->remote, &ip);
		ck_assert_uint_eq(port_of(&p, &ip, true), w->vip_port);
	}
}

static void stranger_comes(void)
{
	struct flow w = { .remote = remotes[pick(COUNT(remotes))],
		              .vip = SNAT_VIP,
		              .vm = 0,
		              .remote_port = (uint16_t)(1 + pick(300)),
		              .vip_port = (uint16_t)(2048 + pick(8)),
		              .protocol = pick(2) == 0 ? IP_PROTO_TCP : IP_PROTO_UDP };
	if (find(w.remote, w.remote_port, w.vip, w.vip_port, w.protocol) != NULL)
		return;
	struct test_frame in = from_outside(&w, TCP_ACK);
	struct agent_packet p = fixture_inbound(&f, &in);
	ck_assert_int_eq(p.verdict, AGENT_DROP);
	ck_assert_int_eq(p.reason, DROP_SNAT_NO_FLOW);
}

// A router says something of what the VIP sent; it reaches the VM as of what that sent.
static void error_comes(void)
{
	static const uint8_t types[] = { ICMP6_UNREACHABLE, ICMP6_PACKET_TOO_BIG, ICMP6_TIME_EXCEEDED,
		                             ICMP6_PARAMETER_PROBLEM };
	if (n_flows == 0)
		return;
	const struct flow *w = &flows[pick(n_flows)];
	struct test_frame sent = make(w->vip, w->vip_port, w->remote, w->remote_port, w->protocol, TCP_ACK, ICMP6_ECHO, 0);
	struct test_tuple t = { .src = "2001:db8:77::1", .dst = w->vip };
	struct test_frame inner = test_icmp_error(&t, types[pick(4)], 0, &sent, UINT32_MAX);
	struct test_frame in = fixture_encapsulate("2001:db8::10:0:0:31", dips[w->vm], &inner);
	struct agent_packet p = fixture_inbound(&f, &in);
	struct parsed ip;
	struct icmp_error e;
	expect(&p, AGENT_TO_VM, "2001:db8:77::1", dips[w->vm], &ip);
	ck_assert_int_eq(icmp_error_parse(p.frame, &ip, &e), DROP_NONE);
	ck_assert_mem_eq(icmp_error_src6(p.frame, &e), test_ip6(dips[w->vm]), 16);
	ck_assert_uint_eq(be16_to(e.src_port), w->dip_port);
	static struct test_frame inside; // as a packet of its own its checksums are right, too
	inside = (struct test_frame){ .offset = TEST_HEADROOM, .len = ETH_BYTES + ip.l3_off + ip.l3_bytes - e.l3_off };
	memcpy(test_data(&inside), p.frame, ETH_BYTES);
	memcpy(test_data(&inside) + ETH_BYTES, p.frame + e.l3_off, inside.len - ETH_BYTES);
	const char *wrong = NULL;
	ck_assert_msg(test_checksums_ok(test_data(&inside), inside.len, &wrong), "inside: wrong %s checksum", wrong);
	n_seen[3]++;
}

static void run_world(unsigned world)
{
	seed = world;
	n_flows = 0;
	fixture_init(&f, N_FLOWS);
	fixture_add_ip6(&f);
	fixture_add_vias(&f);
	fixture_add_snat(&f, NULL);
	fixture_add_snat6(&f, NULL);
	fixture_lease(&f, SNAT_VIP, dips[0], 2048, 8, 1);
	fixture_lease(&f, SNAT_VIP, dips[1], 2056, 8, 2);
	static void (*const steps[])(void) = { client_begins, vm_begins,    vm_begins,      flow_goes_on,
		                                   flow_goes_on,  flow_goes_on, stranger_comes, error_comes };
	for (uint32_t i = 0; i < N_STEPS; i++)
		steps[pick(COUNT(steps))]();
	ck_assert_uint_eq(f.agent.flows.n_flows, n_flows);
	fixture_fini(&f);
}

START_TEST(packets_have_what_the_list_says)
{
	const char *fixed = getenv("NAT_SEED");
	unsigned first = fixed != NULL ? (unsigned)atoi(fixed) : (unsigned)time(NULL);
	for (unsigned i = 0; i < (fixed != NULL ? 1 : N_WORLDS); i++) {
		printf("NAT_SEED=%u\n", first + i);
		fflush(stdout);
		run_world(first + i);
	}
	printf("out %u, in %u, without a port %u, errors %u\n", n_seen[0], n_seen[1], n_seen[2], n_seen[3]);
	ck_assert(n_seen[0] > 0 && n_seen[1] > 0 && n_seen[3] > 0);
}
END_TEST

SUITE_MAIN("NAT over IPv6", packets_have_what_the_list_says)
