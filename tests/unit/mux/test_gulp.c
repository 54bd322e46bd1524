// The gulp over a port that is a ring of buffers: what is taken, and what of it is the node's own; and the budget of packets.
#include <check.h>
#include <rte_eal.h>
#include <rte_eth_ring.h>
#include <rte_ethdev.h>
#include <rte_ring.h>
#include <stdlib.h>

#include "common/dpdk/eal.h"
#include "mux/core/packet_budget.h"
#include "mux/dpdk/gulp.h"
#include "tests/unit/mux/fixture.h"

#define OWN MUX_ADDRESS
#define N_BUFFERS 1023

static struct rte_mempool *pool;
static struct rte_ring *ring;
static uint16_t port;
static struct mux_settings settings;
static struct gulp g;

static void put(struct test_frame *f)
{
	struct rte_mbuf *m = rte_pktmbuf_alloc(pool);
	ck_assert_ptr_nonnull(m);
	memcpy(rte_pktmbuf_append(m, (uint16_t)f->len), test_data(f), f->len);
	ck_assert_int_eq(rte_ring_enqueue(ring, m), 0);
}

static void put_vip_packets(uint32_t n)
{
	struct test_tuple t = { .src = "198.51.100.1", .dst = "203.0.113.10", .src_port = 1, .dst_port = 80 };
	struct test_frame f = test_tcp(&t, TCP_SYN, NULL, 0);
	for (uint32_t i = 0; i < n; i++)
		put(&f);
}

static struct test_frame bgp(void)
{
	struct test_tuple t = { .src = "10.0.0.1", .dst = OWN, .src_port = 40000, .dst_port = 179 };
	return test_tcp(&t, TCP_ACK, "keepalive", 9);
}

static struct test_frame arp(void)
{
	return test_arp(1, &TEST_MAC_A, "10.0.0.1", NULL, OWN, &MUX_MAC);
}

static uint32_t take(bool skips_sent)
{
	return gulp_take(&g, port, &settings, skips_sent);
}

static void free_gulp(void)
{
	rte_pktmbuf_free_bulk(g.own, g.n_own);
	rte_pktmbuf_free_bulk(g.rest, g.n_rest);
	ck_assert_uint_eq(rte_mempool_in_use_count(pool), rte_ring_count(ring)); // nothing is lost
}

START_TEST(nothing_is_nothing)
{
	ck_assert_uint_eq(take(false), 0);
	free_gulp();
}
END_TEST

START_TEST(own_traffic_behind_a_flood_is_found_and_comes_in_its_order)
{
	struct test_frame first = bgp();
	struct test_frame second = arp();
	put_vip_packets(200);
	put(&first);
	put_vip_packets(10);
	put(&second);
	ck_assert_uint_eq(take(false), 212);
	ck_assert_uint_eq(g.n_own, 2);
	ck_assert_uint_eq(g.n_rest, 210);
	ck_assert_uint_eq(g.own[0]->data_len, first.len);
	ck_assert_uint_eq(g.own[1]->data_len, second.len);
	free_gulp();
}
END_TEST

START_TEST(a_gulp_has_an_end_and_the_rest_waits)
{
	put_vip_packets(GULP_MAX + 7);
	ck_assert_uint_eq(take(false), GULP_MAX);
	free_gulp();
	ck_assert_uint_eq(take(false), 7);
	free_gulp();
}
END_TEST

START_TEST(what_is_own_is_told_by_a_glance)
{
	struct test_tuple to_us = { .src = "10.0.0.1", .dst = OWN, .src_port = 7000, .dst_port = 3784 };
	struct test_tuple to_vip = { .src = "10.0.0.1", .dst = "203.0.113.10", .src_port = 7000, .dst_port = 179 };
	struct test_tuple pins = { .src = "10.0.0.1", .dst = OWN, .src_port = PIN_PORT, .dst_port = PIN_PORT };
	struct {
		struct test_frame frame;
		bool is_own;
	} cases[] = {
		{ test_udp(&to_us, "bfd", 3), true },
		{ test_icmp(&to_us, ICMP_ECHO, 0, 1, 1, NULL, 0), true },
		{ test_tcp(&to_vip, TCP_SYN, NULL, 0), false },
		{ test_udp(&pins, "pins", 4), false },
		{ test_tcp(&pins, TCP_SYN, NULL, 0), true }, // another protocol
		{ arp(), true },
		{ bgp(), false }, // cut below
	};
	size_t n = sizeof cases / sizeof *cases;
	cases[n - 1].frame.len = ETH_BYTES + IP4_BYTES - 1;
	for (size_t i = 0; i < n; i++) {
		put(&cases[i].frame);
		ck_assert_uint_eq(take(false), 1);
		ck_assert_msg(g.n_own == cases[i].is_own, "case %zu", i);
		free_gulp();
	}
}
END_TEST

START_TEST(frames_that_were_sent_here_are_skipped_where_the_port_gives_them)
{
	struct test_frame f = bgp();
	memcpy(test_data(&f) + MAC_BYTES, &settings.mac, MAC_BYTES);
	put(&f);
	put_vip_packets(1);
	ck_assert_uint_eq(take(true), 1);
	ck_assert_uint_eq(g.n_rest, 1);
	free_gulp();
	put(&f);
	ck_assert_uint_eq(take(false), 1);
	ck_assert_uint_eq(g.n_own, 1);
	free_gulp();
}
END_TEST

// ---- the budget ----

START_TEST(without_a_limit_everything_passes)
{
	struct packet_budget b;
	packet_budget_init(&b, 0, mono_from_us(5));
	ck_assert_uint_eq(packet_budget_take(&b, 1000000, mono_from_us(5)), 1000000);
}
END_TEST

// Gulps of n each every_us, over ten seconds: how many a second passed.
static uint64_t rate_of(uint64_t per_s, uint32_t n, uint64_t every_us)
{
	struct packet_budget b;
	uint64_t passed = 0;
	packet_budget_init(&b, per_s, mono_from_us(0));
	for (uint64_t us = every_us; us <= 10000000; us += every_us)
		passed += packet_budget_take(&b, n, mono_from_us(us));
	return passed / 10;
}

START_TEST(what_passes_is_the_rate_whatever_the_gulps)
{
	static const uint64_t rates[] = { 100, 3333, 50000, 1234567, 100000000 };
	for (size_t i = 0; i < sizeof rates / sizeof *rates; i++) {
		for (uint64_t every_us = 7; every_us < 10000; every_us *= 11) {
			uint64_t n = rates[i] * every_us / 500000 + 1; // twice as many, or more
			uint64_t passed = rate_of(rates[i], (uint32_t)n, every_us);
			uint64_t saved =
				rates[i] / 1000 + PACKET_BUDGET_SAVED_MIN / 10; // at the beginning, spread over ten seconds
			ck_assert_uint_ge(passed, rates[i] - rates[i] / 100 - 1);
			ck_assert_uint_le(passed, rates[i] + saved + 1);
		}
	}
}
END_TEST

START_TEST(a_long_pause_saves_no_more_than_a_moment)
{
	struct packet_budget b;
	packet_budget_init(&b, 1000000, mono_from_us(0));
	ck_assert_uint_eq(packet_budget_take(&b, UINT32_MAX, mono_from_us(3600000000000ull)), 10000);
	ck_assert_uint_eq(packet_budget_take(&b, 10, mono_from_us(3600000000000ull)), 0);
	packet_budget_init(&b, 1, mono_from_us(0));
	ck_assert_uint_eq(packet_budget_take(&b, 1000, mono_from_us(0)), PACKET_BUDGET_SAVED_MIN);
}
END_TEST

static bool start_port(void)
{
	struct rte_eth_conf conf = { 0 };
	int id = rte_eth_from_ring(ring);
	port = (uint16_t)id;
	return id >= 0 && rte_eth_dev_configure(port, 1, 1, &conf) == 0 &&
	       rte_eth_rx_queue_setup(port, 0, 64, SOCKET_ID_ANY, NULL, pool) == 0 &&
	       rte_eth_tx_queue_setup(port, 0, 64, SOCKET_ID_ANY, NULL) == 0 && rte_eth_dev_start(port) == 0;
}

static bool start_dpdk(void)
{
	char *arguments[] = { "test-mux-gulp",
		                  "--no-huge",
		                  "--no-shconf",
		                  "--no-pci",
		                  "-m",
		                  "32",
		                  "-l",
		                  "0",
		                  "--log-level=4",
		                  "--file-prefix=test-mux-gulp" };
	if (rte_eal_init(sizeof arguments / sizeof *arguments, arguments) < 0)
		return false;
	pool = dpdk_pool_create(N_BUFFERS);
	ring = rte_ring_create("gulp", 512, SOCKET_ID_ANY, RING_F_SP_ENQ | RING_F_SC_DEQ);
	return pool != NULL && ring != NULL && start_port();
}

static int run_all(void)
{
	Suite *suite = suite_create("mux gulp");
	TCase *tc = tcase_create("gulp");
	tcase_set_timeout(tc, 60);
	tcase_add_test(tc, nothing_is_nothing);
	tcase_add_test(tc, own_traffic_behind_a_flood_is_found_and_comes_in_its_order);
	tcase_add_test(tc, a_gulp_has_an_end_and_the_rest_waits);
	tcase_add_test(tc, what_is_own_is_told_by_a_glance);
	tcase_add_test(tc, frames_that_were_sent_here_are_skipped_where_the_port_gives_them);
	tcase_add_test(tc, without_a_limit_everything_passes);
	tcase_add_test(tc, what_passes_is_the_rate_whatever_the_gulps);
	tcase_add_test(tc, a_long_pause_saves_no_more_than_a_moment);
	suite_add_tcase(suite, tc);
	SRunner *runner = srunner_create(suite);
	srunner_set_fork_status(runner, CK_NOFORK);
	srunner_run_all(runner, CK_NORMAL);
	int n_failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return n_failed;
}

int main(void)
{
	settings = (struct mux_settings){ .mac = MUX_MAC, .address = test_ip4(OWN), .mtu = MUX_MTU };
	if (!start_dpdk())
		return EXIT_FAILURE;
	int n_failed = run_all();
	rte_eth_dev_stop(port);
	rte_eth_dev_close(port);
	rte_ring_free(ring);
	rte_mempool_free(pool);
	rte_eal_cleanup();
	return n_failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
