// A burst does to its frames what the same frames do one by one: random bursts over random VIPs, damaged packets among them.
#include "tests/support/suite.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "tests/unit/mux/fixture.h"

#define HOST "10.0.1.1"

enum {
	N_VIPS = 30,
	N_BURSTS = 3000,
	INET_TEXT = 16,
	FIRST_PORT = 1020,
	N_LEASED = 200,
	N_FEW = 6,
	FEW_PORT = 40000,
	N_PINS = 600,
	BURST_US = 20000,
	N_REFUSALS = 300
};

static unsigned pick(unsigned *seed, unsigned n)
{
	return (unsigned)rand_r(seed) % n;
}

// An ICMP error about something that a VIP, or nobody, may have sent.
static struct test_frame random_error(const struct test_tuple *t, unsigned *seed)
{
	static const uint8_t types[] = { ICMP_UNREACHABLE, ICMP_TIME_EXCEEDED, ICMP_PARAMETER_PROBLEM, 4, 5 };
	struct test_tuple sent = { .src = pick(seed, 10) == 0 ? "203.0.113.1" : t->dst, .dst = t->src };
	sent.src_port = t->dst_port;
	sent.dst_port = t->src_port;
	struct test_frame inside;
	switch (pick(seed, 3)) {
	case 0: inside = test_tcp(&sent, TCP_ACK, NULL, pick(seed, 100)); break;
	case 1: inside = test_udp(&sent, NULL, pick(seed, 100)); break;
	default: inside = test_icmp(&sent, pick(seed, 4) == 0 ? 0 : ICMP_ECHO, 0, t->dst_port, 1, NULL, 20); break;
	}
	return test_icmp_error(t, types[pick(seed, 5)], 0, &inside, 20 + pick(seed, 50));
}

// One of three fragments of one of a few datagrams; one in forty at another place.
static struct test_frame random_fragment(unsigned *seed)
{
	char src[INET_TEXT], dst[INET_TEXT];
	enum { PIECE_UNITS = 8, N_PIECES = 3 };
	snprintf(src, sizeof src, "198.51.100.%u", 1 + pick(seed, 3));
	snprintf(dst, sizeof dst, "203.0.113.%u", 1 + pick(seed, 3));
	struct test_tuple t = {
		.src = src, .dst = dst, .src_port = FEW_PORT, .dst_port = (uint16_t)(pick(seed, 2) == 0 ? 80 : FIRST_PORT + 9)
	};
	struct test_frame f;
	switch (pick(seed, 4)) {
	case 0: f = test_tcp(&t, TCP_ACK, NULL, PIECE_UNITS * 8 - 20); break;
	case 1: f = test_icmp(&t, ICMP_ECHO, 0, 7, 1, NULL, PIECE_UNITS * 8 - 8); break;
	default: f = test_udp(&t, NULL, PIECE_UNITS * 8 - 8); break;
	}
	struct ip4_header *ip = (struct ip4_header *)(test_data(&f) + ETH_BYTES);
	uint16_t piece = (uint16_t)pick(seed, N_PIECES);
	ip->id = (be16)pick(seed, 10);
	test_set_fragment(&f, (uint16_t)(piece * PIECE_UNITS + (pick(seed, 40) == 0)), piece + 1 < N_PIECES);
	return f;
}

static void forbid_fragments(struct test_frame *f)
{
	((struct ip4_header *)(test_data(f) + ETH_BYTES))->fragment = be16_from(IP4_DONT_FRAGMENT);
	test_fix_checksums(f);
}

// TCP, UDP, ICMPv6 or another protocol, to a VIP of IPv6, the mux or nobody, from all kinds of addresses.
static struct test_frame random_frame6(unsigned *seed)
{
	static const char *const edges[] = {
		"::", "::1", "fe80::1", "ff02::1", "::ffff:198.51.100.1", "2001:db8::203.0.113.1"
	};
	char src[IP_ADDR_TEXT_BYTES], dst[IP_ADDR_TEXT_BYTES];
	snprintf(src, sizeof src, "2001:db8:c::%u", 1 + pick(seed, 200));
	snprintf(dst, sizeof dst, "2001:db8::203.0.113.%u", pick(seed, N_VIPS + 3));
	struct test_tuple t = { .src = pick(seed, 10) == 0 ? edges[pick(seed, 6)] : src,
		                    .dst = pick(seed, 20) == 0 ? MUX_ADDRESS6 : dst,
		                    .src_port = (uint16_t)pick(seed, 65536),
		                    .dst_port =
		                        (uint16_t)(pick(seed, 2) == 0 ? 80 + pick(seed, 5) : FIRST_PORT + pick(seed, N_LEASED)),
		                    .ip_options_bytes = pick(seed, 10) == 0 ? 8 : 0 };
	uint32_t n = pick(seed, 40) == 0 ? 1480 + pick(seed, 80) : pick(seed, 200);
	struct test_frame inside;
	switch (pick(seed, 10)) {
	case 0: return test_icmp(&t, (uint8_t)(ICMP6_ECHO + pick(seed, 2)), 0, t.dst_port, 1, NULL, n);
	case 1: return test_ip_proto(&t, 132, NULL, n + 40);
	case 4: { // a Routing header of type 0, which nobody follows
		static const uint8_t routing[48] = { IP_PROTO_TCP, 2, 0, 1 };
		return test_ip_proto(&t, IP_PROTO_ROUTING, routing, sizeof routing);
	}
	case 5: t.dst = MUX_ADDRESS6; return test_icmp(&t, ICMP6_NEIGHBOR_SOLICITATION, 0, 0, 0, NULL, 16);
	case 2: {
		struct test_frame f = test_udp(&t, NULL, n);
		if (pick(seed, 4) == 0 && t.ip_options_bytes == 0)
			store16(test_data(&f) + ETH_BYTES + IP6_BYTES + 6, 0);
		return f;
	}
	case 3: {
		struct test_tuple back = { .src = t.dst, .dst = t.src, .src_port = t.dst_port, .dst_port = t.src_port };
		inside = test_tcp(&back, TCP_ACK, NULL, pick(seed, 100));
		return test_icmp_error(&t, (uint8_t)(1 + pick(seed, 4)), 0, &inside, 40 + pick(seed, 60));
	}
	default: return test_tcp(&t, pick(seed, 3) == 0 ? TCP_SYN : (uint8_t)pick(seed, 64), NULL, n);
	}
}

// `of_100`: how many are IPv6.
static struct test_frame random_frame(unsigned *seed, unsigned of_100)
{
	if (pick(seed, 100) < of_100)
		return random_frame6(seed);
	char src[INET_TEXT], dst[INET_TEXT];
	bool is_of_few = pick(seed, 2) == 0; // of whom some are pinned
	snprintf(src, sizeof src, "198.51.100.%u", 1 + pick(seed, is_of_few ? N_FEW : 254));
	snprintf(dst, sizeof dst, "203.0.113.%u", pick(seed, N_VIPS + 3)); // some are no VIPs
	static const char *const edges[] = { "0.0.0.1",   "1.0.0.1",   "126.0.0.1", "127.0.0.1",
		                                 "128.0.0.1", "223.0.0.1", "224.0.0.1", "255.255.255.255" };
	struct test_tuple t = {
		.src = pick(seed, 10) == 0 ? edges[pick(seed, 8)] : src,
		.dst = pick(seed, 20) == 0   ? MUX_ADDRESS
		       : pick(seed, 50) == 0 ? edges[0]
		                             : dst,
		.src_port = (uint16_t)(is_of_few ? FEW_PORT + pick(seed, N_FEW) : pick(seed, 65536)),
		.dst_port = (uint16_t)(pick(seed, 2) == 0    ? 80 + pick(seed, 5)
		                       : pick(seed, 20) == 0 ? PIN_PORT
		                                             : FIRST_PORT + pick(seed, N_LEASED)),
		.ip_options_bytes = pick(seed, 10) == 0 ? 4 * pick(seed, 11) : 0,
	};
	uint32_t n = pick(seed, 40) == 0 ? 1520 + pick(seed, 60) : pick(seed, 200);
	switch (pick(seed, 15)) {
	case 0: return test_icmp(&t, pick(seed, 2) == 0 ? ICMP_ECHO_REPLY : ICMP_ECHO, 0, t.dst_port, 1, NULL, n);
	case 1: return test_arp((uint16_t)(1 + pick(seed, 2)), &TEST_MAC_A, src, NULL, MUX_ADDRESS, &MUX_MAC);
	case 6: return random_error(&t, seed);
	case 8: return random_fragment(seed);
	case 7: return test_ip_proto(&t, 38, NULL, n + 40); // one of those that look like TCP and UDP to the stages
	case 2:
	case 3:
	case 4:
	case 5: {
		struct test_frame f = test_udp(&t, NULL, n);
		if (pick(seed, 2) == 0)
			forbid_fragments(&f);
		return f;
	}
	default: return test_tcp(&t, pick(seed, 3) == 0 ? TCP_SYN : (uint8_t)pick(seed, 64), NULL, n);
	}
}

// Cuts, flips or fragments one frame in four.
static void damage(struct test_frame *f, unsigned *seed)
{
	switch (pick(seed, 16)) {
	case 0: f->len = pick(seed, f->len + 1); return;
	case 1:
	case 2: test_data(f)[pick(seed, f->len < 60 ? f->len : 60)] ^= (uint8_t)(1u << pick(seed, 8)); return;
	case 3: test_set_fragment(f, (uint16_t)pick(seed, 50), pick(seed, 2) == 0); return;
	default: return;
	}
}

// Other histories for two thirds of the VIPs.
static void change_histories(struct fixture *f, unsigned seed)
{
	for (uint32_t i = 0; i < f->store.vips.n; i++)
		if (pick(&seed, 3) > 0)
			fixture_put_history(f, test_random_history(&seed, store_vip(&f->store, i)));
}

static struct fixture *with_vips(unsigned seed)
{
	struct fixture *f = fixture_create(MUX_ADDRESS);
	pins_init(&f->pins, N_PINS, f->pins.sets); // few: some go for others
	neighbor_table_insert(&f->worker.neighbors, test_ip4("10.0.0.2"));
	for (unsigned i = 0; i < N_VIPS; i++)
		fixture_put_vip(f, test_random_vip(&seed, i + 1));
	fixture_put_host(f, "host1", HOST);
	change_histories(f, seed);
	for (unsigned i = 0; i < N_VIPS; i++)
		fixture_put_vip(f, test_random_vip6(&seed, i + 1));
	return f;
}

// Leases and ends the same in both.
static void change_leases(struct fixture *a, struct fixture *b, unsigned *seed)
{
	for (uint32_t i = 0; i < a->snat.n; i++) {
		char vip[IP_ADDR_TEXT_BYTES];
		char dip[IP_ADDR_TEXT_BYTES];
		uint16_t port = (uint16_t)(1024 + pick(seed, N_LEASED / 8) * 8);
		bool is_ip6 = !ip_addr_is_v4(&a->snat.items[i]->vip);
		ip_addr_format(&a->snat.items[i]->vip, vip);
		snprintf(dip, sizeof dip, "%s10.1.7.%u", is_ip6 ? "2001:db8::" : "", 1 + pick(seed, 3));
		if (pick(seed, 4) == 0) {
			fixture_end_lease(a, vip, dip, port, 8);
			fixture_end_lease(b, vip, dip, port, 8);
		} else {
			fixture_lease(a, vip, dip, port, 8);
			fixture_lease(b, vip, dip, port, 8);
		}
	}
}

// Ways of the other family to the first DIP of each VIP and to one that leases ports, in both; or none.
static void set_ways(struct fixture *a, struct fixture *b, bool are_there)
{
	char dip[IP_ADDR_TEXT_BYTES], via[IP_ADDR_TEXT_BYTES];
	for (uint32_t i = 0; i < a->store.vips.n; i++) {
		const struct ip_addr *first = &store_vip(&a->store, i)->endpoints[0].dips[0].dip;
		bool is_ip6 = !ip_addr_is_v4(first);
		ip_addr_format(first, dip);
		snprintf(via, sizeof via, is_ip6 ? "10.9.0.%u" : "2001:db8:9::%u", i + 1);
		fixture_put_via(a, dip, are_there ? via : NULL);
		fixture_put_via(b, dip, are_there ? via : NULL);
	}
	fixture_put_via(a, "10.1.7.1", are_there ? "2001:db8:9::7:1" : NULL);
	fixture_put_via(b, "10.1.7.1", are_there ? "2001:db8:9::7:1" : NULL);
	fixture_put_via(a, "2001:db8::10.1.7.1", are_there ? "10.9.7.1" : NULL);
	fixture_put_via(b, "2001:db8::10.1.7.1", are_there ? "10.9.7.1" : NULL);
}

// A flow of the few, pinned to any DIP that its endpoint has, or to none of them.
static struct pin random_pin(const struct fixture *f, unsigned *seed)
{
	be32 vip = be32_from(0xcb007100u + pick(seed, N_VIPS + 3));
	struct pin pin = { .remote = pin_addr_from_ip4(be32_from(0xc6336401u + pick(seed, N_FEW))),
		               .vip = pin_addr_from_ip4(vip),
		               .dip = pin_addr_from_ip4(test_ip4("10.1.9.9")),
		               .remote_port = be16_from((uint16_t)(FEW_PORT + pick(seed, N_FEW))),
		               .vip_port = be16_from((uint16_t)(80 + pick(seed, 5))),
		               .protocol = pick(seed, 2) == 0 ? IP_PROTO_TCP : IP_PROTO_UDP };
	const struct vip_entry *e = vip_lookup(f->tables, vip, pin.vip_port, pin.protocol);
	if (e != NULL && pick(seed, 10) > 0)
		pin.dip = pin_addr_from_ip4(e->templates[pick(seed, vip_entry_templates(e)->n)].dst);
	return pin;
}

static struct test_frame random_pins(const struct fixture *f, unsigned *seed)
{
	static uint64_t stamp = MUX_NOW_REAL_US;
	struct pin pins[PINS_MAX];
	uint32_t n = 1 + pick(seed, PINS_MAX);
	for (uint32_t i = 0; i < n; i++)
		pins[i] = random_pin(f, seed);
	return fixture_pin_frame(f, HOST, stamp++, pins, n);
}

static uint32_t n_over_ip6, n_across;

// What went to DIPs, by its outer header.
static void count_families(const struct mux_frame *f)
{
	if (f->verdict != MUX_TO_UPLINK || f->len < ETH_BYTES + IP6_BYTES)
		return;
	const uint8_t *ip = f->data + ETH_BYTES;
	bool is_ip6 = frame_ether_type(f->data) == be16_from(ETHER_IP6);
	uint8_t protocol = is_ip6 ? ip[6] : ip[9];
	n_over_ip6 += is_ip6 && protocol == IP_PROTO_IP6;
	n_across += protocol == (is_ip6 ? IP_PROTO_IPIP : IP_PROTO_IP6);
}

static void compare_frames(const struct mux_frame *a, const struct mux_frame *b, unsigned seed)
{
	ck_assert_msg(a->verdict == b->verdict && a->reason == b->reason, "seed %u: %d/%s against %d/%s", seed, a->verdict,
	              drop_reason_name(a->reason), b->verdict, drop_reason_name(b->reason));
	if (a->verdict == MUX_DROP || a->verdict == MUX_CONSUMED)
		return;
	ck_assert_msg(a->len == b->len, "seed %u: %u against %u bytes", seed, a->len, b->len);
	ck_assert_mem_eq(a->data, b->data, a->len);
}

static uint32_t n_released;

static void compare_side_frames(struct fixture *staged, struct fixture *scalar, unsigned seed)
{
	struct side_frame a, b;
	side_frames_expire(&staged->worker);
	side_frames_expire(&scalar->worker);
	while (fixture_next(staged, &a)) {
		ck_assert(fixture_next(scalar, &b));
		ck_assert_uint_eq(a.slot, b.slot);
		compare_frames(&a.frame, &b.frame, seed);
		n_released += a.frame.verdict == MUX_TO_UPLINK && !a.is_spare;
	}
	ck_assert(!fixture_next(scalar, &b));
	staged->worker.now = scalar->worker.now = mono_add_us(staged->worker.now, BURST_US);
}

// Bursts for which packets with and without a history were expected, and the others: their ways differ.
static uint32_t n_mixed, n_alike;

static void run_burst(struct fixture *staged, struct fixture *scalar, unsigned *seed, unsigned burst_seed)
{
	static struct test_frame originals[MUX_BURST_MAX], copies[MUX_BURST_MAX];
	struct mux_frame frames[MUX_BURST_MAX];
	uint32_t n = pick(seed, MUX_BURST_MAX + 1);
	unsigned of_100 = pick(seed, 3) == 0 ? 80 : 10; // one by one among IPv4, and many on end
	bool has_pins = pick(seed, 3) == 0; // at the end: in a burst they count from the next one on
	for (uint32_t i = 0; i < n; i++) {
		originals[i] = has_pins && i + 2 >= n ? random_pins(staged, seed) : random_frame(seed, of_100);
		damage(&originals[i], seed);
		copies[i] = originals[i];
		frames[i] = (struct mux_frame){ .data = test_data(&originals[i]), .len = originals[i].len };
	}
	n_mixed += staged->worker.history_is_mixed;
	n_alike += !staged->worker.history_is_mixed;
	staged->worker.settings.oversized = scalar->worker.settings.oversized =
		pick(seed, 2) == 0 ? MUX_OVERSIZED_CUT : MUX_OVERSIZED_DROP;
	mux_pipeline_burst(&staged->worker, staged->tables, frames, n);
	for (uint32_t i = 0; i < n; i++) {
		struct mux_frame one = { .data = test_data(&copies[i]), .len = copies[i].len };
		mux_pipeline_one(&scalar->worker, scalar->tables, &one);
		compare_frames(&frames[i], &one, burst_seed);
		count_families(&one);
		fixture_keep(staged, &frames[i]);
		fixture_keep(scalar, &one);
	}
	compare_side_frames(staged, scalar, burst_seed);
}

// As many as anybody wants, or none: in a burst endpoints that refuse are served after others, so that who is the last one to be
// told so may differ.
static void set_refusals(struct fixture *f, bool are_there)
{
	f->worker.refusals.filled = f->worker.now;
	f->worker.refusals.tokens_us = are_there ? MUX_REFUSALS_SAVED * 1000000ull / MUX_REFUSAL_RATE_PER_S : 0;
}

START_TEST(a_burst_equals_its_frames_one_by_one)
{
	const char *given = getenv("TEST_SEED");
	unsigned seed = given != NULL ? (unsigned)strtoul(given, NULL, 10) : (unsigned)time(NULL);
	struct fixture *staged = with_vips(seed);
	struct fixture *scalar = with_vips(seed);
	for (int i = 0; i < N_BURSTS; i++) {
		unsigned burst_seed = seed + (unsigned)i;
		if (i == N_BURSTS / 2) { // a second gateway answers from here on
			fixture_resolve(staged, "10.0.0.2", &MUX_MAC);
			fixture_resolve(scalar, "10.0.0.2", &MUX_MAC);
		}
		if (i == N_BURSTS / 3 || i == N_BURSTS * 2 / 3)
			set_ways(staged, scalar, i == N_BURSTS / 3);
		unsigned s = burst_seed;
		set_refusals(staged, i < N_BURSTS / 2);
		set_refusals(scalar, i < N_BURSTS / 2);
		if (i % 50 == 0)
			change_leases(staged, scalar, &s);
		if (i % 500 == 499) {
			change_histories(staged, burst_seed);
			change_histories(scalar, burst_seed);
		}
		run_burst(staged, scalar, &s, burst_seed);
	}
	ck_assert_mem_eq(&staged->worker.counters, &scalar->worker.counters, sizeof staged->worker.counters);
	ck_assert_mem_eq(&staged->vips, &scalar->vips, sizeof staged->vips);
	const struct mux_counters *c = &staged->worker.counters; // the test does test something
	ck_assert_uint_gt(c->forwarded_packets, N_BURSTS);
	ck_assert_uint_gt(c->snat_packets, N_BURSTS);
	ck_assert_uint_gt(c->icmp_errors_steered, 100);
	ck_assert_uint_gt(c->history_packets, N_BURSTS / 3);
	ck_assert_uint_gt(c->pin_hits, 100);
	ck_assert_uint_gt(c->refused_tcp, 0);
	ck_assert_uint_gt(c->refused_udp, 0);
	ck_assert_uint_gt(c->drops[DROP_ENDPOINT_REFUSING], 0);
	ck_assert_uint_gt(c->pins_taken, N_BURSTS / 3);
	ck_assert_uint_gt(n_mixed, N_BURSTS / 150);
	ck_assert_uint_gt(n_alike, N_BURSTS / 30);
	ck_assert_msg(n_released > 15, "%u released", n_released);
	ck_assert_uint_gt(n_over_ip6, N_BURSTS / 2);
	ck_assert_uint_gt(n_across, N_BURSTS / 6);
	ck_assert_uint_gt(c->fragment_packets, 100);
	ck_assert_uint_gt(c->packets_cut, 20);
	ck_assert_uint_gt(c->icmp_errors_sent, 20);
	ck_assert_uint_gt(c->pins_ignored, N_BURSTS / 3);
	ck_assert_uint_gt(c->pins_evicted, N_BURSTS / 30);
	ck_assert_uint_gt(c->drops[DROP_PIN_MALFORMED], 10);
	ck_assert_uint_gt(c->drops[DROP_PIN_FORGED], 10);
	ck_assert_uint_eq(staged->pins.n_pins, scalar->pins.n_pins);
	ck_assert_mem_eq(staged->pins.sets, scalar->pins.sets, pins_memory_bytes(N_PINS)); // what was used, too
	ck_assert_uint_gt(c->drops[DROP_SNAT_NO_LEASE], 100);
	ck_assert_uint_gt(c->drops[DROP_ICMP_UNKNOWN], 100);
	for (int reason = DROP_RUNT; reason <= DROP_ICMP_IGNORED; reason++)
		ck_assert_msg(reason == DROP_NO_CONFIG || staged->worker.counters.drops[reason] > 0, "no %s among the frames",
		              drop_reason_name((enum drop_reason)reason));
	fixture_destroy(staged);
	fixture_destroy(scalar);
}
END_TEST

START_TEST(an_empty_burst_does_nothing)
{
	struct fixture *f = with_vips(1);
	struct mux_counters before = f->worker.counters;
	mux_pipeline_burst(&f->worker, f->tables, NULL, 0);
	ck_assert_mem_eq(&f->worker.counters, &before, sizeof before);
	fixture_destroy(f);
}
END_TEST

SUITE_MAIN("mux burst", a_burst_equals_its_frames_one_by_one, an_empty_burst_does_nothing)
