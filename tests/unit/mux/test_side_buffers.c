// The buffers of fragments that wait and of second halves, through bursts as a worker takes them: each leaves once, and none is lost.
#include <check.h>
#include <rte_eal.h>
#include <stdlib.h>

#include "common/dpdk/eal.h"
#include "mux/dpdk/side_buffers.h"
#include "tests/unit/mux/fixture.h"

enum { N_BUFFERS = 511, N_MAX = 32 };

static struct rte_mempool *pool;
static struct fixture *mux;
static struct side_buffers side;

static void setup(void)
{
	static const char *const dips[] = { "10.1.1.11", NULL };
	mux = fixture_create(MUX_ADDRESS);
	fixture_put_vip(mux, test_vip("203.0.113.10", "shop", dips));
	ck_assert_int_eq(side_buffers_init(&side, pool, 42), 0);
	mux->worker.side = &side.frames;
}

static void teardown(void)
{
	side_buffers_fini(&side);
	fixture_destroy(mux);
	ck_assert_uint_eq(rte_mempool_in_use_count(pool), 0); // nothing is lost
}

static struct rte_mbuf *buffer_of(struct test_frame *f)
{
	struct rte_mbuf *m = rte_pktmbuf_alloc(pool);
	ck_assert_ptr_nonnull(m);
	memcpy(rte_pktmbuf_append(m, (uint16_t)f->len), test_data(f), f->len);
	return m;
}

static struct test_frame segment(uint32_t n)
{
	struct test_tuple t = { .src = "198.51.100.7", .dst = "203.0.113.10", .src_port = 40000, .dst_port = 80 };
	return test_tcp(&t, TCP_ACK, NULL, n);
}

// Of 1,000 bytes each; the header of TCP is in the first one.
static struct rte_mbuf *fragment(uint16_t id, uint16_t place, bool more)
{
	struct test_frame f = segment(980);
	((struct ip4_header *)(test_data(&f) + ETH_BYTES))->id = be16_from(id);
	test_set_fragment(&f, (uint16_t)(place * 125), more);
	return buffer_of(&f);
}

// What a worker does with a burst. Returns how many are sent, which are checked and freed.
static uint32_t take(struct rte_mbuf **mbufs, uint16_t n)
{
	struct burst_out out;
	struct rte_mbuf *sent[N_MAX];
	out.n_held = 0;
	burst_process(&mux->worker, mux->tables, mbufs, n, &out);
	rte_pktmbuf_free_bulk(out.drop, out.n_drop);
	side_buffers_hold(&side, &out);
	uint32_t n_sent = out.n_uplink;
	for (uint16_t i = 0; i < out.n_uplink; i++)
		ck_assert(test_checksums_ok(rte_pktmbuf_mtod(out.uplink[i], uint8_t *), out.uplink[i]->data_len, NULL));
	rte_pktmbuf_free_bulk(out.uplink, out.n_uplink);
	while (side_frames_has_next(&side.frames)) {
		uint16_t n_taken = side_buffers_take(&side, &mux->worker, sent, N_MAX);
		for (uint16_t i = 0; i < n_taken; i++) {
			ck_assert_uint_eq(sent[i]->data_len, sent[i]->pkt_len);
			ck_assert_uint_le(sent[i]->data_len, ETH_BYTES + mux->worker.settings.mtu);
			ck_assert_uint_eq(rte_pktmbuf_mtod(sent[i], uint8_t *)[ETH_BYTES + 9], IP_PROTO_IPIP);
		}
		rte_pktmbuf_free_bulk(sent, n_taken);
		n_sent += n_taken;
	}
	return n_sent;
}

static uint32_t take_one(struct rte_mbuf *m)
{
	return take(&m, 1);
}

START_TEST(fragments_wait_in_their_buffers_and_leave_behind_their_first_one)
{
	setup();
	ck_assert_uint_eq(take_one(fragment(1, 2, false)), 0);
	ck_assert_uint_eq(take_one(fragment(1, 1, true)), 0);
	ck_assert_uint_eq(rte_mempool_in_use_count(pool), SIDE_SPARES + 2);
	ck_assert_uint_eq(take_one(fragment(1, 0, true)), 3);
	ck_assert_uint_eq(rte_mempool_in_use_count(pool), SIDE_SPARES);
	teardown();
}
END_TEST

START_TEST(all_in_one_burst_is_the_same)
{
	setup();
	struct rte_mbuf *mbufs[] = { fragment(1, 1, true), fragment(2, 1, false), fragment(1, 0, true),
		                         fragment(1, 2, false), fragment(3, 1, false) };
	ck_assert_uint_eq(take(mbufs, 5), 3);
	ck_assert_uint_eq(rte_mempool_in_use_count(pool), SIDE_SPARES + 2);
	ck_assert_uint_eq(take_one(fragment(3, 0, true)), 2);
	teardown();
}
END_TEST

START_TEST(buffers_that_give_way_or_wait_too_long_are_freed)
{
	setup();
	for (uint16_t id = 0; id < 3 * FRAGMENT_SLOTS; id++)
		ck_assert_uint_eq(take_one(fragment(id, 1, false)), 0);
	ck_assert_uint_eq(rte_mempool_in_use_count(pool), SIDE_SPARES + FRAGMENT_SLOTS);
	ck_assert_uint_eq(mux->worker.counters.drops[DROP_FRAGMENT_HOLD_FULL], 2 * FRAGMENT_SLOTS);
	mux->worker.now = mono_add_us(mux->worker.now, FRAGMENT_TIMEOUT_US);
	side_frames_expire(&mux->worker);
	ck_assert_uint_eq(take(NULL, 0), 0);
	ck_assert_uint_eq(rte_mempool_in_use_count(pool), SIDE_SPARES);
	ck_assert_uint_eq(mux->worker.counters.drops[DROP_FRAGMENT_TIMEOUT], FRAGMENT_SLOTS);
	teardown();
}
END_TEST

START_TEST(second_halves_take_spare_buffers_which_are_lent_anew)
{
	setup();
	for (uint32_t round = 0; round < 3; round++) {
		struct rte_mbuf *mbufs[MUX_BURST_MAX];
		struct test_frame f = segment(MUX_MTU - ENCAP_BYTES - 40 + 1);
		for (uint32_t i = 0; i < MUX_BURST_MAX; i++)
			mbufs[i] = buffer_of(&f);
		ck_assert_uint_eq(take(mbufs, MUX_BURST_MAX), 2 * MUX_BURST_MAX);
		ck_assert_uint_eq(rte_mempool_in_use_count(pool), SIDE_SPARES);
	}
	ck_assert_uint_eq(mux->worker.counters.packets_cut, 3 * MUX_BURST_MAX);
	ck_assert_uint_eq(mux->worker.counters.drops[DROP_NO_BUFFER], 0);
	teardown();
}
END_TEST

START_TEST(without_buffers_what_would_be_cut_is_dropped)
{
	struct rte_mbuf *all[N_BUFFERS];
	struct test_frame f = segment(MUX_MTU - ENCAP_BYTES - 40 + 1);
	uint32_t n = 0;
	setup();
	struct rte_mbuf *packet = buffer_of(&f);
	struct rte_mbuf *other = buffer_of(&f);
	while ((all[n] = rte_pktmbuf_alloc(pool)) != NULL)
		n++;
	for (uint32_t i = 0; i < SIDE_SPARES; i++) { // all that was lent is gone
		rte_pktmbuf_free(side.spares[i]);
		side.spares[i] = NULL;
		side_frames_lend(&side.frames, i, NULL);
	}
	ck_assert_uint_eq(take_one(packet), 0);
	ck_assert_uint_eq(mux->worker.counters.drops[DROP_NO_BUFFER], 1);
	rte_pktmbuf_free_bulk(all, n);
	struct rte_mbuf *none;
	ck_assert_uint_eq(side_buffers_take(&side, &mux->worker, &none, 1), 0); // lends anew
	ck_assert_uint_eq(take_one(other), 2);
	teardown();
}
END_TEST

static bool start_dpdk(void)
{
	char *arguments[] = { "test-mux-side-buffers",
		                  "--no-huge",
		                  "--no-shconf",
		                  "--no-pci",
		                  "-m",
		                  "32",
		                  "-l",
		                  "0",
		                  "--log-level=4",
		                  "--file-prefix=test-mux-side-buffers" };
	if (rte_eal_init(sizeof arguments / sizeof *arguments, arguments) < 0)
		return false;
	pool = dpdk_pool_create(N_BUFFERS);
	return pool != NULL;
}

static int run_all(void)
{
	Suite *suite = suite_create("mux side buffers");
	TCase *tc = tcase_create("side buffers");
	tcase_set_timeout(tc, 60);
	tcase_add_test(tc, fragments_wait_in_their_buffers_and_leave_behind_their_first_one);
	tcase_add_test(tc, all_in_one_burst_is_the_same);
	tcase_add_test(tc, buffers_that_give_way_or_wait_too_long_are_freed);
	tcase_add_test(tc, second_halves_take_spare_buffers_which_are_lent_anew);
	tcase_add_test(tc, without_buffers_what_would_be_cut_is_dropped);
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
	if (!start_dpdk())
		return EXIT_FAILURE;
	int n_failed = run_all();
	rte_mempool_free(pool);
	rte_eal_cleanup();
	return n_failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
