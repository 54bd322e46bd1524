// Endpoints with a history, and pins: where flows go that another DIP may have, and who can say so.
#include "tests/support/suite.h"

#include <malloc.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "common/base/memory.h"
#include "common/model/flow_hash.h"
#include "tests/unit/mux/fixture.h"

#define VIP "203.0.113.10"
#define HOST "10.0.1.1"

static const struct test_tuple to_vip = { .src = "198.51.100.7", .dst = VIP, .src_port = 40000, .dst_port = 80 };

static be32 letter(char c)
{
	struct ip_addr addr = test_letter(c);
	return ip_addr_to_v4(&addr);
}

static struct pin pin_of(uint16_t src_port, be32 dip)
{
	return (struct pin){ .remote = pin_addr_from_ip4(test_ip4(to_vip.src)),
		                 .vip = pin_addr_from_ip4(test_ip4(VIP)),
		                 .dip = pin_addr_from_ip4(dip),
		                 .remote_port = be16_from(src_port),
		                 .vip_port = be16_from(80),
		                 .protocol = IP_PROTO_TCP };
}

static struct fixture *with_history(const char *letters, const char *generations)
{
	struct fixture *f = fixture_create(MUX_ADDRESS);
	fixture_put_host(f, "host1", HOST);
	fixture_put_vip(f, test_letters_vip(VIP, letters));
	if (generations != NULL)
		fixture_put_history(f, test_history(VIP, generations));
	return f;
}

static enum drop_reason take_pins(struct fixture *f, const struct pin *pins, uint32_t n)
{
	static uint64_t stamp;
	struct test_frame frame = fixture_pin_frame(f, HOST, f->worker.now_real_us + stamp++, pins, n);
	struct mux_frame m = fixture_send(f, &frame);
	ck_assert_int_eq(m.verdict, MUX_CONSUMED);
	return m.reason;
}

static be32 where(struct fixture *f, uint16_t src_port, uint8_t flags)
{
	struct test_tuple t = to_vip;
	t.src_port = src_port;
	struct test_frame frame = test_tcp(&t, flags, NULL, 0);
	struct mux_frame m = fixture_send(f, &frame);
	ck_assert_int_eq(m.verdict, MUX_TO_UPLINK);
	ck_assert_uint_eq(((const struct ip4_header *)(m.data + ETH_BYTES))->id, 0); // no hop mark
	ck_assert(test_checksums_ok(m.data, m.len, NULL));
	return outer_dst(&m);
}

// An ICMP error about what the VIP sent to the client's port.
static be32 where_error(struct fixture *f, uint16_t src_port)
{
	struct test_tuple sent = { .src = VIP, .dst = to_vip.src, .src_port = 80, .dst_port = src_port };
	struct test_tuple t = { .src = "192.0.2.1", .dst = VIP };
	struct test_frame inside = test_tcp(&sent, TCP_ACK, NULL, 0);
	struct test_frame frame = test_icmp_error(&t, ICMP_UNREACHABLE, 4, &inside, 28);
	struct mux_frame m = fixture_send(f, &frame);
	ck_assert_int_eq(m.verdict, MUX_TO_UPLINK);
	return outer_dst(&m);
}

// ---- owners ----

static const struct vip_entry *entry(const struct fixture *f)
{
	return vip_lookup(f->tables, test_ip4(VIP), be16_from(80), IP_PROTO_TCP);
}

static uint64_t hash_of_port(uint16_t src_port)
{
	return flow_hash_v4(test_ip4(to_vip.src), test_ip4(VIP), be16_from(src_port), be16_from(80), IP_PROTO_TCP, 42);
}

static bool is_flagged(const struct vip_entry *e, uint16_t src_port)
{
	return (e->owners[flow_bucket(hash_of_port(src_port), e->n_buckets)] & BUCKET_HAD_OTHERS) != 0;
}

static void check_against_owner_history(const struct fixture *f, const struct vip_history *h)
{
	struct owner_history o;
	const struct vip_entry *e = entry(f);
	uint64_t n_flagged = 0;
	ck_assert_int_eq(owner_history_build(h, h->endpoints, &o), 0);
	ck_assert_uint_eq(e->n_buckets, o.n_buckets);
	for (uint32_t b = 0; b < o.n_buckets; b++) {
		be32 want = ip_addr_to_v4(&o.dips[o.owners[b][0]]);
		ck_assert_uint_eq(e->templates[e->owners[b] & ~BUCKET_HAD_OTHERS].dst, want);
		ck_assert_int_eq((e->owners[b] & BUCKET_HAD_OTHERS) != 0, o.owners[b][1] != OWNER_NONE);
		n_flagged += o.owners[b][1] != OWNER_NONE;
	}
	ck_assert_uint_eq(f->tables->n_flagged, n_flagged);
	ck_assert_uint_eq(f->tables->n_with_history, n_flagged > 0);
	owner_history_fini(&o);
}

START_TEST(buckets_have_the_owners_of_the_owner_history_and_are_flagged_when_there_are_others)
{
	static const char *const histories[] = { "a b",
		                                     "a b, a b c",
		                                     "a b c, b c",
		                                     "a, b, c, a",
		                                     "a b c, c; a b",
		                                     "a b c, c d; a",
		                                     "a b c d e f g h i j k l m n, a",
		                                     "a, b c d e f g h i j k l m n; b",
		                                     "a b, c d; a b c d" };
	for (size_t i = 0; i < sizeof histories / sizeof *histories; i++) {
		struct fixture *f = with_history("a b c", histories[i]);
		struct vip_history *h = test_history(VIP, histories[i]);
		check_against_owner_history(f, h);
		vip_history_destroy(h);
		fixture_destroy(f);
	}
}
END_TEST

START_TEST(the_present_generation_counts_not_the_configuration)
{
	struct fixture *f = with_history("a b c", "b"); // a and c are drained, and nobody remembers them any more
	for (uint16_t port = 1024; port < 1124; port++)
		ck_assert_uint_eq(where(f, port, TCP_SYN), letter('b'));
	ck_assert_uint_eq(f->tables->n_flagged, 0);
	ck_assert_uint_eq(f->worker.counters.history_packets, 0);
	fixture_destroy(f);
}
END_TEST

START_TEST(without_pins_every_flow_goes_to_the_present_owner)
{
	struct fixture *f = with_history("b c", "a b, b c");
	struct fixture *plain = with_history("b c", NULL);
	for (int with_table = 0; with_table < 2; with_table++) {
		for (uint16_t port = 1024; port < 2048; port++)
			ck_assert_uint_eq(where(f, port, TCP_ACK), where(plain, port, TCP_ACK));
		f->worker.pins = NULL; // off
	}
	ck_assert_uint_gt(f->worker.counters.history_packets, 400);
	ck_assert_uint_eq(f->worker.counters.pin_hits, 0);
	fixture_destroy(f);
	fixture_destroy(plain);
}
END_TEST

// ---- pins ----

START_TEST(a_flow_goes_where_it_is_pinned_to)
{
	static const struct {
		const char *what;
		const char *config;
		const char *history; // NULL: none
		char pinned;
		bool is_pinned; // else it goes to the present owner
	} cases[] = {
		{ "to the owner before", "b", "a, b", 'a', true },
		{ "to the one before that", "c", "a, b, c", 'a', true },
		{ "to the present owner", "b", "a, b", 'b', true },
		{ "to one that another generation has", "d", "a, b, c, d", 'b', true },
		{ "further back than there are owners", "f", "a, b, c, d, e, f", 'a', true },
		{ "to one that has come back", "a", "a, b, a", 'b', true },
		{ "to a stranger", "b", "a, b", 'x', false },
		{ "to one that is gone", "b", "a, c, b; a", 'a', false },
		{ "no history", "b", NULL, 'a', false },
		{ "nobody owned the bucket before", "b", "b", 'b', false },
	};
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		struct fixture *f = with_history(cases[i].config, cases[i].history);
		struct pin pin = pin_of(40000, letter(cases[i].pinned));
		char present = cases[i].config[0];
		ck_assert_msg(where(f, 40000, TCP_ACK) == letter(present), "%s: before", cases[i].what);
		ck_assert_int_eq(take_pins(f, &pin, 1), DROP_NONE);
		char want = cases[i].is_pinned ? cases[i].pinned : present;
		ck_assert_msg(where(f, 40000, TCP_ACK) == letter(want), "%s", cases[i].what);
		ck_assert_msg(where_error(f, 40000) == letter(want), "%s: ICMP", cases[i].what);
		ck_assert_msg(where(f, 40001, TCP_ACK) == letter(present), "%s: another flow", cases[i].what);
		ck_assert_uint_eq(f->worker.counters.pins_taken, cases[i].is_pinned);
		ck_assert_uint_eq(f->worker.counters.pins_ignored, !cases[i].is_pinned);
		ck_assert_uint_eq(f->worker.counters.pin_hits, cases[i].is_pinned ? 2 : 0);
		ck_assert_uint_eq(f->pins.n_pins, cases[i].is_pinned);
		fixture_destroy(f);
	}
}
END_TEST

START_TEST(a_packet_with_ip_options_finds_its_pin_too)
{
	struct fixture *f = with_history("b", "a, b");
	struct pin pin = pin_of(40000, letter('a'));
	ck_assert_int_eq(take_pins(f, &pin, 1), DROP_NONE);
	struct test_tuple t = to_vip;
	t.ip_options_bytes = 8;
	struct test_frame frame = test_tcp(&t, TCP_ACK, NULL, 0);
	struct mux_frame m = fixture_send(f, &frame);
	ck_assert_uint_eq(outer_dst(&m), letter('a'));
	fixture_destroy(f);
}
END_TEST

START_TEST(a_pin_of_an_endpoint_or_protocol_that_is_not_there_is_ignored)
{
	struct fixture *f = with_history("b", "a, b");
	struct pin pins[4];
	for (int i = 0; i < 4; i++)
		pins[i] = pin_of((uint16_t)(1000 + i), letter('a'));
	pins[0].vip = pin_addr_from_ip4(test_ip4("203.0.113.11"));
	pins[1].vip_port = be16_from(81);
	pins[2].protocol = IP_PROTO_UDP;
	ck_assert_int_eq(take_pins(f, pins, 4), DROP_NONE);
	ck_assert_uint_eq(f->worker.counters.pins_ignored, 3);
	ck_assert_uint_eq(f->worker.counters.pins_taken, 1);
	ck_assert_uint_eq(f->worker.counters.pin_messages, 1);
	ck_assert_uint_eq(where(f, 1003, TCP_ACK), letter('a'));
	fixture_destroy(f);
}
END_TEST

START_TEST(a_pin_survives_what_happens_to_others_and_ends_with_its_dip)
{
	struct fixture *f = with_history("d", "c, d");
	struct pin pin = pin_of(40000, letter('c'));
	ck_assert_int_eq(take_pins(f, &pin, 1), DROP_NONE);
	fixture_put_history(f, test_history(VIP, "a b, c, d")); // c is found elsewhere in the templates
	ck_assert_uint_eq(where(f, 40000, TCP_ACK), letter('c'));
	fixture_put_history(f, test_history(VIP, "b, c d e, d"));
	ck_assert_uint_eq(where(f, 40000, TCP_ACK), letter('c'));
	ck_assert_uint_eq(f->pins.n_pins, 1);
	fixture_put_history(f, test_history(VIP, "b, d")); // c is of no generation any more
	ck_assert_uint_eq(where(f, 40000, TCP_ACK), letter('d'));
	ck_assert_uint_eq(f->pins.n_pins, 0);
	fixture_put_history(f, test_history(VIP, "c, d"));
	ck_assert_uint_eq(where(f, 40000, TCP_ACK), letter('d')); // it would have to be reported again
	fixture_destroy(f);
}
END_TEST

START_TEST(pins_of_a_vip_that_is_deleted_are_in_nobodys_way)
{
	struct fixture *f = with_history("b", "a, b");
	struct pin pin = pin_of(40000, letter('a'));
	ck_assert_int_eq(take_pins(f, &pin, 1), DROP_NONE);
	fixture_delete_history(f, VIP);
	ck_assert_uint_eq(where(f, 40000, TCP_ACK), letter('b'));
	fixture_delete_vip(f, VIP);
	fixture_put_vip(f, test_letters_vip(VIP, "x"));
	ck_assert_uint_eq(where(f, 40000, TCP_ACK), letter('x'));
	fixture_destroy(f);
}
END_TEST

START_TEST(pins_are_spread_over_the_table_also_when_few_buckets_are_flagged)
{
	struct fixture *f = with_history("b c d e f g h i j k", "a c d e f g h i j k, b c d e f g h i j k");
	uint32_t n = 0;
	uint32_t max_pins = 6000;
	pins_init(&f->pins, max_pins, f->pins.sets);
	for (uint32_t port = 1024; port < 65536; port++) {
		struct pin pin = pin_of((uint16_t)port, letter('a'));
		n += is_flagged(entry(f), (uint16_t)port);
		ck_assert_int_eq(take_pins(f, &pin, 1), DROP_NONE);
	}
	// Some 6,500 flows in a tenth of the buckets, over 1,000 sets of 6: as many are held as when all buckets were flagged.
	ck_assert_uint_gt(n, 3000);
	ck_assert_msg(f->pins.n_pins > (n < max_pins ? n : max_pins) * 75 / 100, "%llu of %u",
	              (unsigned long long)f->pins.n_pins, n);
	ck_assert_uint_eq(f->pins.n_pins + f->worker.counters.pins_evicted, f->worker.counters.pins_taken);
	fixture_destroy(f);
}
END_TEST

// ---- who may pin ----

static struct mux_frame send_pins(struct fixture *f, const char *sender, uint64_t stamp_us)
{
	struct pin pin = pin_of(40000, letter('a'));
	struct test_frame frame = fixture_pin_frame(f, sender, stamp_us, &pin, 1);
	return fixture_send(f, &frame);
}

START_TEST(a_message_counts_once_and_only_when_it_is_of_this_minute)
{
	static const struct {
		const char *what;
		const char *sender;
		int64_t stamp_us; // from now
		enum drop_reason reason;
	} cases[] = {
		{ "now", HOST, 0, DROP_NONE },
		{ "the same again", HOST, 0, DROP_PIN_REPLAYED },
		{ "one that came late", HOST, -1, DROP_PIN_REPLAYED },
		{ "the next", HOST, 1, DROP_NONE },
		{ "the same stamp of another host", "10.0.1.2", 1, DROP_NONE },
		{ "nobody", "10.0.1.3", 2, DROP_PIN_FORGED },
		{ "a clock that is a minute ahead", HOST, 60000000, DROP_NONE },
		{ "more than a minute ahead", HOST, 60000001, DROP_PIN_REPLAYED },
		{ "a minute behind, and behind the last one", HOST, -60000000, DROP_PIN_REPLAYED },
		{ "another host, more than a minute behind", "10.0.1.2", -60000001, DROP_PIN_REPLAYED },
	};
	struct fixture *f = with_history("b", "a, b");
	fixture_put_host(f, "host2", "10.0.1.2");
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		uint64_t counted = f->worker.counters.drops[cases[i].reason];
		struct mux_frame m = send_pins(f, cases[i].sender, f->worker.now_real_us + (uint64_t)cases[i].stamp_us);
		ck_assert_msg(m.reason == cases[i].reason, "%s: %s", cases[i].what, drop_reason_name(m.reason));
		ck_assert_int_eq(m.verdict, m.reason == DROP_NONE ? MUX_CONSUMED : MUX_DROP);
		ck_assert(m.reason == DROP_NONE || f->worker.counters.drops[cases[i].reason] == counted + 1);
	}
	ck_assert_uint_eq(f->worker.counters.pin_messages, 4);
	fixture_destroy(f);
}
END_TEST

START_TEST(a_host_whose_clock_goes_on_is_taken_and_one_that_is_removed_is_not)
{
	struct fixture *f = with_history("b", "a, b");
	ck_assert_int_eq(send_pins(f, HOST, MUX_NOW_REAL_US).reason, DROP_NONE);
	fixture_put_host(f, "host0", "10.0.1.2"); // others come: the stamp of this one is kept
	ck_assert_int_eq(send_pins(f, HOST, MUX_NOW_REAL_US).reason, DROP_PIN_REPLAYED);
	f->worker.now_real_us += 3600000000ull;
	ck_assert_int_eq(send_pins(f, HOST, MUX_NOW_REAL_US + 1).reason, DROP_PIN_REPLAYED); // recorded an hour ago
	ck_assert_int_eq(send_pins(f, HOST, f->worker.now_real_us).reason, DROP_NONE);
	struct change gone = { .key = object_key_of_name(OBJECT_HOST, "host1"), .is_delete = true };
	ck_assert_int_eq(store_apply(&f->store, &gone), 0);
	fixture_rebuild(f);
	ck_assert_int_eq(send_pins(f, HOST, f->worker.now_real_us + 1).reason, DROP_PIN_FORGED);
	fixture_destroy(f);
}
END_TEST

START_TEST(what_is_not_signed_or_no_message_changes_nothing)
{
	struct fixture *f = with_history("b", "a, b");
	struct pin pin = pin_of(40000, letter('a'));
	struct test_frame good = fixture_pin_frame(f, HOST, MUX_NOW_REAL_US, &pin, 1);
	static const struct test_tuple t = { .src = HOST, .dst = MUX_ADDRESS, .src_port = 1, .dst_port = PIN_PORT };
	const uint32_t message = ETH_BYTES + IP4_BYTES + 8;
	for (uint32_t at = message; at < good.len; at++) { // any byte of the message
		struct test_frame bad = good;
		test_data(&bad)[at] ^= 0x11;
		struct mux_frame m = fixture_send(f, &bad);
		ck_assert_int_eq(m.verdict, MUX_DROP);
		ck_assert(m.reason == DROP_PIN_FORGED || m.reason == DROP_PIN_MALFORMED);
	}
	for (uint32_t n = 0; n < good.len - message; n++) { // cut anywhere
		struct test_frame cut = test_udp(&t, test_data(&good) + message, n);
		struct mux_frame m = fixture_send(f, &cut);
		ck_assert_int_eq(m.reason, DROP_PIN_MALFORMED);
	}
	struct test_frame bad_udp = good; // UDP says less than IP
	test_data(&bad_udp)[ETH_BYTES + IP4_BYTES + 5]--;
	ck_assert_int_eq(fixture_send(f, &bad_udp).reason, DROP_PIN_MALFORMED);
	ck_assert_uint_eq(f->worker.counters.to_tap_packets, 0);
	ck_assert_uint_eq(f->worker.counters.pin_messages, 0);
	ck_assert_uint_eq(f->pins.n_pins, 0);
	ck_assert_uint_eq(where(f, 40000, TCP_ACK), letter('b'));
	ck_assert_int_eq(fixture_send(f, &good).reason, DROP_NONE); // and it was good
	fixture_destroy(f);
}
END_TEST

START_TEST(another_key_or_cluster_is_refused_and_nothing_is_taken_before_a_configuration)
{
	struct fixture *f = with_history("b", "a, b");
	struct pin pin = pin_of(40000, letter('a'));
	f->store.cluster.pin_key[15] ^= 1; // the sender's, not that of the tables
	struct test_frame frame = fixture_pin_frame(f, HOST, MUX_NOW_REAL_US, &pin, 1);
	ck_assert_int_eq(fixture_send(f, &frame).reason, DROP_PIN_FORGED);
	f->store.cluster.pin_key[15] ^= 1;
	f->store.cluster.cluster_id++;
	frame = fixture_pin_frame(f, HOST, MUX_NOW_REAL_US, &pin, 1);
	ck_assert_int_eq(fixture_send(f, &frame).reason, DROP_PIN_MALFORMED);
	f->store.cluster.cluster_id--;
	frame = fixture_pin_frame(f, HOST, MUX_NOW_REAL_US, &pin, 1);
	struct mux_frame m = { .data = test_data(&frame), .len = frame.len };
	mux_pipeline_burst(&f->worker, NULL, &m, 1);
	ck_assert_int_eq(m.reason, DROP_NO_CONFIG);
	f->worker.pins = NULL; // pins are off: they are checked, and ignored
	ck_assert_int_eq(fixture_send(f, &frame).reason, DROP_NONE);
	ck_assert_uint_eq(f->worker.counters.pins_ignored, 1);
	fixture_destroy(f);
}
END_TEST

START_TEST(the_port_of_pins_is_the_muxs_own_and_others_may_have_it)
{
	struct fixture *f = with_history("b", "a, b");
	struct test_tuple tcp = { .src = HOST, .dst = MUX_ADDRESS, .src_port = 1, .dst_port = PIN_PORT };
	struct test_tuple other = { .src = HOST, .dst = MUX_ADDRESS, .src_port = PIN_PORT, .dst_port = PIN_PORT + 1 };
	struct test_tuple vip = { .src = HOST, .dst = VIP, .src_port = 1, .dst_port = PIN_PORT };
	struct test_frame frame = test_tcp(&tcp, TCP_SYN, NULL, 0);
	ck_assert_int_eq(fixture_send(f, &frame).verdict, MUX_TO_TAP);
	frame = test_udp(&other, NULL, 20);
	ck_assert_int_eq(fixture_send(f, &frame).verdict, MUX_TO_TAP);
	frame = test_udp(&vip, NULL, 20);
	ck_assert_int_eq(fixture_send(f, &frame).reason, DROP_NO_ENDPOINT);
	fixture_destroy(f);
}
END_TEST

// ---- sharing, memory ----

START_TEST(tables_are_shared_while_a_history_means_the_same)
{
	static const struct {
		const char *what;
		const char *history; // NULL: deleted
		uint32_t n_rebuilt;
	} steps[] = {
		{ "a first history", "a, b", 1 },
		{ "the same", "a, b", 0 },
		{ "another generation", "a, b, a b", 1 },
		{ "one of them went", "b, a b", 1 },
		{ "the same members in other generations", "a b, b", 1 },
		{ "one is gone", "a b, b; a", 1 },
		{ "the same one", "a b, b; a", 0 },
		{ "one of no generation is gone, too", "a b, b; a x", 0 },
		{ "only the present generation is left, and it is what the configuration says", "b", 1 },
		{ "no history says the same", NULL, 0 },
	};
	struct fixture *f = with_history("b", NULL);
	fixture_put_vip(f, test_letters_vip("203.0.113.11", "a b c"));
	for (size_t i = 0; i < sizeof steps / sizeof *steps; i++) {
		if (steps[i].history != NULL)
			fixture_put_history(f, test_history(VIP, steps[i].history));
		else
			fixture_delete_history(f, VIP);
		ck_assert_msg(f->tables->n_rebuilt == steps[i].n_rebuilt, "%s: %u", steps[i].what, f->tables->n_rebuilt);
	}
	fixture_destroy(f);
}
END_TEST

START_TEST(every_failed_allocation_leaves_the_old_tables)
{
	struct fixture *f = with_history("b", "a, b");
	struct vip_history *h = test_history(VIP, "a, b c, b; c");
	struct change c = { .key = object_key_of_addr(OBJECT_HISTORY, &h->vip), .history = h };
	ck_assert_int_eq(store_apply(&f->store, &c), 0);
	struct mux_tables_sources from = fixture_sources(f);
	struct mux_tables *tables = NULL;
	int code = ERR_NO_MEMORY;
	for (uint64_t n = 0; code != 0; n++) {
		memory_fail_after(n);
		code = mux_tables_create(&from, &tables);
		memory_fail_after(UINT64_MAX);
		ck_assert(code == 0 || code == ERR_NO_MEMORY);
		ck_assert_uint_eq(where(f, 40000, TCP_ACK), letter('b'));
	}
	mux_tables_destroy(tables);
	fixture_destroy(f);
}
END_TEST

enum { N_LARGE = 20000, N_DIPS = 10 };

static struct ip_addr large_dip(uint32_t vip, uint32_t k)
{
	return ip_addr_from_v4(be32_from(0x0b000000 + vip * 16 + k));
}

// Ten DIPs, of which two generations ago one and one generation ago another was a different one.
static void put_large(struct fixture *f, uint32_t i)
{
	char text[24];
	snprintf(text, sizeof text, "10.200.%u.%u", i >> 8, i & 255);
	struct vip_config *vip = test_letters_vip(text, "abcdefghij");
	struct vip_history *h = test_history(text, "abcdefghij, abcdefghij, abcdefghij");
	for (uint32_t k = 0; k < N_DIPS; k++) {
		vip->endpoints[0].dips[k].dip = large_dip(i, k + 2);
		for (uint32_t g = 0; g < 3; g++)
			h->endpoints[0].generations[g].members[k].dip = large_dip(i, k + g);
	}
	struct change put_vip = test_put_vip(vip);
	struct change put_history = { .key = object_key_of_addr(OBJECT_HISTORY, &h->vip), .history = h };
	ck_assert_int_eq(store_apply(&f->store, &put_vip), 0);
	ck_assert_int_eq(store_apply(&f->store, &put_history), 0);
}

static size_t allocated_bytes(void)
{
	struct mallinfo2 m = mallinfo2();
	return m.uordblks + m.hblkhd;
}

START_TEST(twenty_thousand_endpoints_with_three_generations_fit)
{
	struct timespec begin, end;
	struct fixture *f = fixture_create(MUX_ADDRESS);
	for (uint32_t i = 0; i < N_LARGE; i++)
		put_large(f, i);
	size_t before = allocated_bytes();
	clock_gettime(CLOCK_MONOTONIC, &begin);
	fixture_rebuild(f);
	clock_gettime(CLOCK_MONOTONIC, &end);
	printf(
		"%d endpoints of %d DIPs with 3 generations: tables of %.1f MB, made in %.2f s; %llu of %llu buckets flagged\n",
		N_LARGE, N_DIPS, (double)(allocated_bytes() - before) / 1e6,
		(double)(end.tv_sec - begin.tv_sec) + (double)(end.tv_nsec - begin.tv_nsec) / 1e9,
		(unsigned long long)f->tables->n_flagged, 1009ull * N_LARGE);
	ck_assert_uint_eq(f->tables->n_with_history, N_LARGE);
	put_large(f, 4711);
	fixture_rebuild(f);
	ck_assert_uint_eq(f->tables->n_rebuilt, 0);
	fixture_destroy(f);
}
END_TEST

SUITE_MAIN("mux history", buckets_have_the_owners_of_the_owner_history_and_are_flagged_when_there_are_others,
           the_present_generation_counts_not_the_configuration, without_pins_every_flow_goes_to_the_present_owner,
           a_flow_goes_where_it_is_pinned_to, a_packet_with_ip_options_finds_its_pin_too,
           a_pin_of_an_endpoint_or_protocol_that_is_not_there_is_ignored,
           a_pin_survives_what_happens_to_others_and_ends_with_its_dip,
           pins_of_a_vip_that_is_deleted_are_in_nobodys_way,
           pins_are_spread_over_the_table_also_when_few_buckets_are_flagged,
           a_message_counts_once_and_only_when_it_is_of_this_minute,
           a_host_whose_clock_goes_on_is_taken_and_one_that_is_removed_is_not,
           what_is_not_signed_or_no_message_changes_nothing,
           another_key_or_cluster_is_refused_and_nothing_is_taken_before_a_configuration,
           the_port_of_pins_is_the_muxs_own_and_others_may_have_it, tables_are_shared_while_a_history_means_the_same,
           every_failed_allocation_leaves_the_old_tables, twenty_thousand_endpoints_with_three_generations_fit)
