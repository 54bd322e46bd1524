// The agent against a naive NAT (naive_nat.h), packet for packet: the same verdict, the same bytes.
//
// NAT_SEED=N repeats one run.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "common/base/check.h"
#include "tests/property/naive_nat.h"
#include "tests/support/suite.h"
#include "tests/unit/hostagent/fixture.h"

enum { N_WORLDS = 50, N_PACKETS = 2000, N_FLOWS = 4096, VM_ISN = 1000 };

static const char *const remotes[] = { "198.51.100.7", "198.51.100.8", "192.0.2.53", "192.0.2.80", "203.0.113.10" };
static const uint16_t remote_ports[] = { 443, 53, 40000, 80 };
static const uint16_t vm_ports[] = { 5000, 5001, 6000, 8080, 5353 };
static const char *const dips[] = { "10.1.1.11", "10.1.1.12" };
static const char *const vips[] = { "203.0.113.10", "203.0.113.20", "203.0.113.21" };

#define COUNT(a) ((unsigned)(sizeof(a) / sizeof *(a)))

struct differential {
	struct agent_fixture f;
	struct naive_nat nat;
	unsigned seed;
	char text[4][16]; // addresses of the packet that is being made
	uint32_t n_outcomes[5];
	uint32_t n_errors, n_damaged, n_holds;
};

static unsigned pick(struct differential *d, unsigned n)
{
	return (unsigned)rand_r(&d->seed) % n;
}

static const char *text_of(struct differential *d, int i, be32 addr)
{
	const uint8_t *b = (const uint8_t *)&addr;
	snprintf(d->text[i], sizeof d->text[i], "%u.%u.%u.%u", b[0], b[1], b[2], b[3]);
	return d->text[i];
}

// ---- The world ----

static void add_endpoint(struct naive_nat *nat, uint8_t protocol, uint16_t port, const char *dip, uint16_t dip_port)
{
	nat->endpoints[nat->n_endpoints++] = (struct naive_endpoint){ .vip = test_ip4("203.0.113.10"),
		                                                          .dip = test_ip4(dip),
		                                                          .vip_port = be16_from(port),
		                                                          .dip_port = be16_from(dip_port),
		                                                          .protocol = protocol };
}

static void add_lease(struct differential *d, const char *vip, const char *dip, uint16_t first_port)
{
	d->nat.leases[d->nat.n_leases++] = (struct naive_lease){ test_ip4(vip), test_ip4(dip), first_port };
	fixture_lease(&d->f, vip, dip, first_port, 8, d->nat.n_leases);
}

static void begin_world(struct differential *d)
{
	fixture_init(&d->f, N_FLOWS);
	fixture_add_snat(&d->f, NULL);
	memset(&d->nat, 0, sizeof d->nat);
	add_endpoint(&d->nat, IP_PROTO_TCP, 80, dips[0], 8080);
	add_endpoint(&d->nat, IP_PROTO_UDP, 53, dips[0], 5353);
	add_endpoint(&d->nat, IP_PROTO_TCP, 81, dips[1], 8080);
	add_endpoint(&d->nat, IP_PROTO_TCP, 82, dips[1], 8080);
	add_lease(d, vips[1], dips[0], 2048);
	add_lease(d, vips[2], dips[0], 3072);
	add_lease(d, vips[1], dips[1], 2056);
	d->nat.dips[0] = test_ip4(dips[0]);
	d->nat.dips[1] = test_ip4(dips[1]);
	d->nat.encap_sources[0] = test_ip4("10.0.0.31");
	d->nat.encap_sources[1] = test_ip4("10.0.0.22");
	d->nat.n_encap_sources = 2;
}

// ---- Packets ----

// With random fields that no NAT may touch, options of TCP among them.
static struct test_frame make_packet(struct differential *d, const struct test_tuple *from, uint8_t protocol,
                                     uint8_t flags, bool is_reply)
{
	static const uint8_t options[] = { 1, 2, 4, 5, 180, 3, 3, 7 }; // the MSS at an odd place
	uint32_t n = pick(d, 120);
	struct test_tuple t = *from;
	struct test_frame f;
	t.ttl = (uint8_t)(1 + pick(d, 255));
	t.ip_options_bytes = pick(d, 8) == 0 ? 4 * pick(d, 11) : 0;
	if (protocol == IP_PROTO_UDP)
		f = test_udp(&t, NULL, n);
	else if (protocol == IP_PROTO_ICMP)
		f = test_icmp(&t, is_reply ? ICMP_ECHO_REPLY : ICMP_ECHO, 0, is_reply ? t.dst_port : t.src_port, 3, NULL, n);
	else
		f = test_tcp_options(&t, flags, options, (flags & TCP_SYN) != 0 && pick(d, 2) == 0 ? sizeof options : 0, NULL,
		                     n);
	struct ip4_header *ip = (struct ip4_header *)(test_data(&f) + ETH_BYTES);
	ip->id = (be16)pick(d, 65536);
	ip->tos = (uint8_t)pick(d, 256);
	test_fix_checksums(&f);
	return f;
}

// A damaged checksum, or none where UDP may do without.
static bool damage(struct differential *d, uint8_t *ip)
{
	uint8_t *l4 = ip + (ip[0] & 0x0f) * 4;
	uint8_t *field = l4 + (ip[9] == IP_PROTO_TCP ? 16 : ip[9] == IP_PROTO_UDP ? 6 : 2);
	unsigned kind = pick(d, 20);
	if (kind == 0 && ip[9] == IP_PROTO_UDP)
		store16(field, 0);
	if (kind != 1)
		return false;
	d->n_damaged++;
	store16(field, (be16)(1 + pick(d, 65534)));
	return true;
}

static void set_numbers(struct test_frame *f, uint32_t seq, uint32_t ack)
{
	uint8_t *ip = test_data(f) + ETH_BYTES;
	struct tcp_header *tcp = (struct tcp_header *)(ip + (ip[0] & 0x0f) * 4);
	if (ip[9] != IP_PROTO_TCP)
		return;
	tcp->seq = be32_from(seq);
	tcp->ack = be32_from(ack);
	test_fix_checksums(f);
}

// What may come next of a connection, so that it is one: the naive NAT keeps no account of what is senseless.
static uint8_t next_flags(struct differential *d, const struct naive_flow *f, bool is_inbound)
{
	bool is_answer = is_inbound == f->is_snat;
	if (f->step == 0)
		return is_answer ? TCP_SYN | TCP_ACK : TCP_SYN;
	if (f->step == 1)
		return is_answer ? TCP_SYN | TCP_ACK : TCP_ACK;
	if (naive_flow_is_over(f))
		return pick(d, 3) == 0 ? TCP_SYN : TCP_ACK;
	return (uint8_t)(TCP_ACK | (pick(d, 4) == 0 ? TCP_FIN : 0) | (pick(d, 3) == 0 ? TCP_PSH : 0));
}

// Data with which the checksum of the translated datagram comes out as 0 (RFC 768: it is sent as all ones).
static void make_sum_zero(struct test_frame *frame, const struct naive_flow *f, bool is_inbound)
{
	struct test_frame translated = *frame;
	struct ip4_header *ip = (struct ip4_header *)(test_data(&translated) + ETH_BYTES);
	uint32_t l4_off = ETH_BYTES + (ip->version_ihl & 0x0fu) * 4;
	struct udp_header *udp = (struct udp_header *)(test_data(&translated) + l4_off);
	if (be16_to(udp->length) < sizeof *udp + 2)
		return;
	*(is_inbound ? &ip->dst : &ip->src) = is_inbound ? f->dip : f->vip;
	*(is_inbound ? &udp->dst_port : &udp->src_port) = is_inbound ? f->dip_port : f->vip_port;
	memset(udp + 1, 0, 2);
	test_fix_checksums(&translated);
	store16(test_data(frame) + l4_off + sizeof *udp, udp->checksum);
	test_fix_checksums(frame);
}

// The same client's connection to the other endpoint that uses the same port of the VM.
static void turn_to_sibling(struct naive_flow *f)
{
	f->vip_port = be16_from(f->vip_port == be16_from(81) ? 82 : 81);
	f->step = 0;
	f->has_fin_in = f->has_fin_out = false;
}

static struct test_frame packet_of(struct differential *d, const struct naive_flow *f, bool is_inbound)
{
	struct test_tuple t = { .src = text_of(d, 0, is_inbound ? f->remote : f->dip),
		                    .dst = text_of(d, 1, is_inbound ? f->vip : f->remote),
		                    .src_port = be16_to(is_inbound ? f->remote_port : f->dip_port),
		                    .dst_port = be16_to(is_inbound ? f->vip_port : f->remote_port) };
	struct test_frame frame = make_packet(d, &t, f->protocol, next_flags(d, f, is_inbound), is_inbound);
	set_numbers(&frame, is_inbound ? 1 : VM_ISN, is_inbound ? VM_ISN + 1 : 2);
	if (f->protocol == IP_PROTO_UDP && pick(d, 8) == 0)
		make_sum_zero(&frame, f, is_inbound);
	return frame;
}

// About a packet that the VIP sent (inbound) or that the VM got (outbound), from somebody on the way or from the VM, cut somewhere.
static struct test_frame error_of(struct differential *d, const struct naive_flow *f, bool is_inbound)
{
	static const uint8_t types[] = { ICMP_UNREACHABLE, ICMP_TIME_EXCEEDED, ICMP_PARAMETER_PROBLEM };
	struct test_tuple inside = { .src = text_of(d, 0, is_inbound ? f->vip : f->remote),
		                         .dst = text_of(d, 1, is_inbound ? f->remote : f->dip),
		                         .src_port = be16_to(is_inbound ? f->vip_port : f->remote_port),
		                         .dst_port = be16_to(is_inbound ? f->remote_port : f->dip_port) };
	struct test_frame sent = make_packet(d, &inside, f->protocol, TCP_ACK, !is_inbound);
	uint8_t *ip = test_data(&sent) + ETH_BYTES;
	(void)damage(d, ip);
	struct test_tuple t = { .src = is_inbound && pick(d, 2) == 0 ? "192.0.2.1" : inside.dst, .dst = inside.src };
	d->n_errors++;
	return test_icmp_error(&t, types[pick(d, 3)], (uint8_t)pick(d, 5), &sent, (ip[0] & 0x0fu) * 4 + 8 + pick(d, 60));
}

static const struct naive_flow *any_flow(struct differential *d)
{
	return d->nat.n_flows == 0 ? NULL : &d->nat.flows[pick(d, d->nat.n_flows)];
}

// Now and then another one, so that leased ports run out.
static uint16_t vm_port(struct differential *d)
{
	return pick(d, 4) == 0 ? (uint16_t)(20000 + pick(d, 40)) : vm_ports[pick(d, COUNT(vm_ports))];
}

// A flow that may be there, or not.
static struct naive_flow stranger(struct differential *d)
{
	static const uint8_t protocols[] = { IP_PROTO_TCP, IP_PROTO_UDP, IP_PROTO_ICMP };
	struct naive_flow f = { .remote = test_ip4(remotes[pick(d, COUNT(remotes))]),
		                    .vip = test_ip4(vips[pick(d, COUNT(vips))]),
		                    .dip = d->nat.dips[pick(d, 2)],
		                    .remote_port = be16_from(remote_ports[pick(d, COUNT(remote_ports))]),
		                    .vip_port = be16_from((uint16_t)(pick(d, 3) == 0 ? 2046 + pick(d, 20) : 79 + pick(d, 5))),
		                    .dip_port = be16_from(vm_port(d)),
		                    .protocol = protocols[pick(d, 3)] };
	if (pick(d, 4) == 0) {
		f.protocol = IP_PROTO_UDP;
		f.vip_port = be16_from(53);
	}
	if (f.protocol == IP_PROTO_ICMP)
		f.remote_port = 0;
	return f;
}

// ---- Both of them ----

static void expect_bytes(struct differential *d, const struct agent_packet *p, const uint8_t *ip, uint32_t n,
                         bool is_right)
{
	char got[512];
	const char *wrong = NULL;
	ck_assert_msg(p->len == ETH_BYTES + n && memcmp(p->frame + ETH_BYTES, ip, n) == 0, "seed %u: other bytes: %s",
	              d->seed, test_format(p->frame, p->len, got, sizeof got));
	if (is_right)
		ck_assert_msg(test_checksums_ok(p->frame, p->len, &wrong), "wrong %s checksum", wrong);
}

static void expect(struct differential *d, const struct agent_packet *p, const struct naive_verdict *v)
{
	static const enum agent_verdict verdicts[] = { AGENT_DROP, AGENT_TO_VM, AGENT_TO_UPLINK, AGENT_TO_UPLINK,
		                                           AGENT_TO_VM };
	char got[512];
	ck_assert_msg(p->verdict == verdicts[v->outcome], "seed %u: outcome %d expected (%s), came: %s", d->seed,
	              v->outcome, v->reason == NULL ? "" : v->reason, fixture_text(p, got, sizeof got));
	if (v->reason != NULL)
		ck_assert_str_eq(drop_reason_name(p->reason), v->reason);
	if (p->verdict == AGENT_TO_VM)
		ck_assert_uint_eq(p->port, v->port);
	d->n_outcomes[v->outcome]++;
}

static void send_in(struct differential *d, struct test_frame *frame, be32 dip)
{
	static const char *const sources[] = { "10.0.0.31", "10.0.0.22", "10.0.0.31", "10.0.0.99" };
	const char *source = sources[pick(d, 12) == 0 ? 3 : pick(d, 3)];
	bool is_right = !damage(d, test_data(frame) + ETH_BYTES);
	struct test_frame outer = fixture_encapsulate(source, text_of(d, 2, dip), frame);
	struct agent_packet p = fixture_inbound(&d->f, &outer);
	uint8_t *ip = test_data(frame) + ETH_BYTES;
	uint32_t n = frame->len - ETH_BYTES;
	struct naive_verdict v = naive_inbound(&d->nat, test_ip4(source), dip, ip, n);
	expect(d, &p, &v);
	if (v.outcome == NAIVE_TO_VM)
		expect_bytes(d, &p, ip, n, is_right);
}

// The agent chose a port, or found none: both must be right.
static void check_choice(struct differential *d, const struct agent_packet *p, uint8_t *ip, uint32_t n, bool is_right)
{
	if (p->verdict == AGENT_HOLD) {
		ck_assert_msg(!naive_has_port(&d->nat, ip), "seed %u: a port is free, and the packet waits", d->seed);
		d->n_holds++;
		return;
	}
	ck_assert_int_eq(p->verdict, AGENT_TO_UPLINK);
	const uint8_t *came = p->frame + ETH_BYTES;
	const uint8_t *l4 = came + (came[0] & 0x0f) * 4;
	be16 port = load16(came[9] == IP_PROTO_ICMP ? l4 + 4 : l4);
	ck_assert_msg(naive_begin(&d->nat, ip, n, load32(came + 12), port), "seed %u: a port that is not to be had",
	              d->seed);
	expect_bytes(d, p, ip, n, is_right);
	d->n_outcomes[NAIVE_NEW_SNAT]++;
}

static void send_out(struct differential *d, struct test_frame *frame, uint32_t port)
{
	bool is_right = !damage(d, test_data(frame) + ETH_BYTES);
	struct test_frame sent = *frame;
	memcpy(test_data(&sent), &FIXTURE_GATEWAY_MAC, MAC_BYTES);
	memcpy(test_data(&sent) + MAC_BYTES, port == 0 ? &FIXTURE_VM1_MAC : &FIXTURE_VM2_MAC, MAC_BYTES);
	struct agent_packet p = fixture_outbound(&d->f, (uint16_t)port, &sent);
	uint8_t *ip = test_data(frame) + ETH_BYTES;
	uint32_t n = frame->len - ETH_BYTES;
	struct naive_verdict v = naive_outbound(&d->nat, port, ip, n);
	if (v.outcome == NAIVE_NEW_SNAT) {
		check_choice(d, &p, ip, n, is_right);
		return;
	}
	expect(d, &p, &v);
	if (v.outcome == NAIVE_TO_UPLINK)
		expect_bytes(d, &p, ip, n, is_right);
}

// A packet in the middle of no connection, from a port that serves nobody: a RST for the VM.
static void send_stray(struct differential *d)
{
	struct naive_flow f = stranger(d);
	f.protocol = IP_PROTO_TCP;
	f.dip_port = be16_from(7777);
	f.remote_port = be16_from(443);
	f.step = 2;
	struct test_frame frame = packet_of(d, &f, false);
	send_out(d, &frame, f.dip == d->nat.dips[0] ? 0 : 1);
}

static void send_any(struct differential *d)
{
	bool is_inbound = pick(d, 2) == 0;
	bool is_error = pick(d, 5) == 0;
	const struct naive_flow *known = pick(d, 3) == 0 ? NULL : any_flow(d);
	struct naive_flow f = known != NULL ? *known : stranger(d);
	if (pick(d, 50) == 0) {
		send_stray(d);
		return;
	}
	bool has_sibling = f.vip_port == be16_from(81) || f.vip_port == be16_from(82);
	if (is_inbound && !is_error && has_sibling && pick(d, 3) == 0)
		turn_to_sibling(&f);
	if (known == NULL) // of its side that begins
		f.is_snat = !is_inbound;
	struct test_frame frame = is_error ? error_of(d, &f, is_inbound) : packet_of(d, &f, is_inbound);
	if (is_inbound)
		send_in(d, &frame, pick(d, 10) == 0 ? d->nat.dips[pick(d, 2)] : f.dip);
	else
		send_out(d, &frame, (f.dip == d->nat.dips[0] ? 0 : 1) ^ (pick(d, 30) == 0));
}

START_TEST(the_agent_does_what_a_naive_nat_does)
{
	const char *text = getenv("NAT_SEED");
	unsigned first = text != NULL ? (unsigned)strtoul(text, NULL, 10) : (unsigned)time(NULL);
	struct differential *d = calloc(1, sizeof *d);
	ck_assert_ptr_nonnull(d);
	printf("NAT_SEED=%u\n", first);
	for (unsigned world = 0; world < N_WORLDS; world++) {
		d->seed = first + world;
		begin_world(d);
		for (int i = 0; i < N_PACKETS; i++)
			send_any(d);
		fixture_fini(&d->f);
	}
	// The test does test something.
	for (int i = NAIVE_DROP; i <= NAIVE_REFUSED; i++)
		ck_assert_uint_gt(d->n_outcomes[i], N_WORLDS);
	ck_assert_uint_gt(d->n_errors, 10 * N_WORLDS);
	ck_assert_uint_gt(d->n_damaged, 10 * N_WORLDS);
	ck_assert_uint_gt(d->n_holds, N_WORLDS);
	printf("dropped %u, to VMs %u, to the uplink %u, begun %u, refused %u, held %u; errors %u, damaged %u\n",
	       d->n_outcomes[NAIVE_DROP], d->n_outcomes[NAIVE_TO_VM], d->n_outcomes[NAIVE_TO_UPLINK],
	       d->n_outcomes[NAIVE_NEW_SNAT], d->n_outcomes[NAIVE_REFUSED], d->n_holds, d->n_errors, d->n_damaged);
	free(d);
}
END_TEST

SUITE_MAIN("NAT differential", the_agent_does_what_a_naive_nat_does)
