#include "mux/dpdk/loop.h"

#include <rte_cycles.h>
#include <rte_ethdev.h>
#include <rte_launch.h>
#include <rte_mbuf.h>
#include <rte_random.h>
#include <time.h>

#include "mux/dpdk/burst.h"

#define TEND_US 100000 // between looks at the next hops; also the longest sleep

static struct mono_time loop_now(const struct loop *l)
{
	return mono_from_us(rte_rdtsc() / l->tsc_per_us);
}

// A read of some 50 ns, done rarely.
static void read_wall_clock(struct loop *l, struct mono_time now)
{
	struct timespec t;
	clock_gettime(CLOCK_REALTIME, &t);
	l->tended = now;
	l->real_us_at_tended = (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_nsec / 1000;
}

int loop_init(struct loop *l, const struct mux_settings *settings, const struct dpdk_port *uplink,
              const struct dpdk_port *tap, struct vip_counters *vips, struct pins *pins, uint64_t max_pps,
              struct error *err)
{
	*l = (struct loop){ .uplink = uplink->id, .tap = tap->id, .pool = uplink->pool };
	l->turns = &l->own_turns;
	l->tsc_per_us = rte_get_tsc_hz() / 1000000;
	mux_worker_init(&l->worker, settings, vips, loop_now(l));
	l->worker.pins = pins;
	read_wall_clock(l, l->worker.now);
	if (side_buffers_init(&l->side, l->pool, rte_rdtsc() ^ rte_rand()) != 0)
		return error_set(err, ERR_NO_MEMORY, "out of memory");
	l->worker.side = &l->side.frames;
	packet_budget_init(&l->budget, max_pps, l->worker.now);
	int code = dpdk_poller_init(&l->poller, err);
	if (code != 0)
		return code;
	code = dpdk_rcu_init(&l->rcu, 1);
	if (code != 0) {
		dpdk_poller_fini(&l->poller);
		return error_set(err, (enum error_code)code, "out of memory");
	}
	code = dpdk_poller_add_port(&l->poller, uplink, err);
	if (code == 0)
		code = dpdk_poller_add_port(&l->poller, tap, err);
	if (code != 0)
		loop_fini(l);
	return code;
}

void loop_fini(struct loop *l)
{
	rte_pktmbuf_free_bulk(l->own, l->n_own);
	l->n_own = 0;
	dpdk_poller_fini(&l->poller);
	dpdk_rcu_fini(&l->rcu);
	side_buffers_fini(&l->side);
}

uint64_t loop_rx_missed(const struct loop *l)
{
	struct rte_eth_stats stats;
	return rte_eth_stats_get(l->uplink, &stats) == 0 ? stats.imissed : 0;
}

// ---- sending ----

// Takes the buffers over; what the port does not take is dropped.
static uint16_t send_burst(struct loop *l, uint16_t port, struct rte_mbuf **mbufs, uint16_t n)
{
	uint16_t n_sent = n == 0 ? 0 : rte_eth_tx_burst(port, 0, mbufs, n);
	if (n_sent < n) {
		rte_pktmbuf_free_bulk(mbufs + n_sent, (unsigned)(n - n_sent));
		l->worker.counters.drops[DROP_TX_FULL] += (uint64_t)(n - n_sent);
	}
	return n_sent;
}

// n_bytes[i]: of the first i buffers.
static void add_up(struct rte_mbuf **mbufs, uint16_t n, uint64_t n_bytes[LOOP_BURST + 1])
{
	n_bytes[0] = 0;
	for (uint16_t i = 0; i < n; i++)
		n_bytes[i + 1] = n_bytes[i] + mbufs[i]->pkt_len;
}

static void count_sent(struct loop *l, uint16_t n_sent, const uint64_t n_bytes[LOOP_BURST + 1])
{
	l->worker.counters.tx_packets += n_sent;
	l->worker.counters.tx_bytes += n_bytes[n_sent];
}

static void send_uplink(struct loop *l, struct rte_mbuf **mbufs, uint16_t n)
{
	uint64_t n_bytes[LOOP_BURST + 1];
	add_up(mbufs, n, n_bytes); // before they are gone
	count_sent(l, send_burst(l, l->uplink, mbufs, n), n_bytes);
}

// The node's own frames: those that the uplink does not take wait, and are the first of the next turn.
static void send_own(struct loop *l)
{
	uint64_t n_bytes[LOOP_BURST + 1];
	add_up(l->own, l->n_own, n_bytes);
	uint16_t n_sent = l->n_own == 0 ? 0 : rte_eth_tx_burst(l->uplink, 0, l->own, l->n_own);
	count_sent(l, n_sent, n_bytes);
	l->n_own = (uint16_t)(l->n_own - n_sent);
	memmove(l->own, l->own + n_sent, l->n_own * sizeof *l->own);
}

// ---- bursts ----

// After those of the burst: what waited follows its first fragment, second halves the first ones.
static void send_side_frames(struct loop *l)
{
	struct rte_mbuf *mbufs[LOOP_BURST];
	while (side_frames_has_next(&l->side.frames))
		send_uplink(l, mbufs, side_buffers_take(&l->side, &l->worker, mbufs, LOOP_BURST));
}

// Up to GULP_MAX buffers through the pipeline, burst by burst.
static void process(struct loop *l, const struct mux_tables *tables, struct rte_mbuf **mbufs, uint32_t n)
{
	struct burst_out out;
	for (uint32_t i = 0; i < n; i += LOOP_BURST) {
		uint16_t n_burst = (uint16_t)(n - i < LOOP_BURST ? n - i : LOOP_BURST);
		out.n_held = 0;
		burst_process(&l->worker, tables, mbufs + i, n_burst, &out);
		rte_pktmbuf_free_bulk(out.drop, out.n_drop);
		(void)send_burst(l, l->tap, out.tap, out.n_tap);
		send_uplink(l, out.uplink, out.n_uplink);
		side_buffers_hold(&l->side, &out);
		send_side_frames(l);
	}
}

// Beyond max_pps: gone before anything was looked at.
static void drop_over(struct loop *l, struct rte_mbuf **mbufs, uint32_t n)
{
	struct mux_counters *c = &l->worker.counters;
	for (uint32_t i = 0; i < n; i++)
		c->rx_bytes += mbufs[i]->pkt_len;
	c->rx_packets += n;
	c->drops[DROP_OVER_MAX_PPS] += n;
	rte_pktmbuf_free_bulk(mbufs, n);
}

// The node's own traffic goes first, whatever comes with it.
static uint32_t turn_uplink(struct loop *l, const struct mux_tables *tables)
{
	struct gulp g;
	uint32_t n = gulp_take(&g, l->uplink, &l->worker.settings, l->sees_own_frames);
	if (n == 0)
		return 0;
	process(l, tables, g.own, g.n_own);
	uint32_t n_passing = packet_budget_take(&l->budget, g.n_rest, l->worker.now);
	process(l, tables, g.rest, n_passing);
	if (n_passing < g.n_rest)
		drop_over(l, g.rest + n_passing, g.n_rest - n_passing);
	return n;
}

// The node's own packets leave as they are. While some wait, the rest waits in the kernel.
static uint32_t turn_tap(struct loop *l)
{
	if (l->n_own == 0) {
		l->n_own = rte_eth_rx_burst(l->tap, 0, l->own, LOOP_BURST);
		l->worker.counters.from_tap_packets += l->n_own;
		for (uint16_t i = 0; l->bfd != NULL && i < l->n_own; i++)
			bfd_book_note(l->bfd, rte_pktmbuf_mtod(l->own[i], uint8_t *), l->own[i]->data_len);
	}
	uint32_t n = l->n_own;
	send_own(l);
	return n;
}

// Of the gateways of either family; 0: none is due.
static uint32_t next_request(struct loop *l, struct mono_time now, uint8_t *frame)
{
	uint32_t n_bytes = neighbor_table_step(&l->worker.neighbors, now, frame);
	return n_bytes > 0 ? n_bytes : neighbor_table_step(&l->worker.neighbors6, now, frame);
}

static void tend(struct loop *l, struct mono_time now)
{
	uint8_t frame[NEIGHBOR_FRAME_BYTES];
	uint32_t n_bytes;
	if (mono_elapsed_us(l->tended, now) < TEND_US)
		return;
	read_wall_clock(l, now);
	side_frames_expire(&l->worker);
	send_side_frames(l);
	while (l->n_own < LOOP_BURST && (n_bytes = next_request(l, now, frame)) > 0) {
		struct rte_mbuf *m = rte_pktmbuf_alloc(l->pool);
		if (m == NULL)
			break; // the next probe is due in a second
		memcpy(rte_pktmbuf_append(m, (uint16_t)n_bytes), frame, n_bytes);
		l->own[l->n_own++] = m;
	}
	send_own(l);
}

static uint32_t turn(struct loop *l)
{
	const struct mux_tables *tables = atomic_load_explicit(&l->tables, memory_order_acquire);
	struct mono_time now = loop_now(l);
	l->worker.now = now;
	l->worker.tables = tables;
	l->worker.now_real_us = l->real_us_at_tended + mono_elapsed_us(l->tended, now);
	uint32_t n = turn_tap(l);
	n += turn_uplink(l, tables);
	tend(l, now);
	return n;
}

static void count_turn(struct loop *l)
{
	uint64_t n = atomic_load_explicit(l->turns, memory_order_relaxed);
	atomic_store_explicit(l->turns, n + 1, memory_order_relaxed);
}

static int run(void *arg)
{
	struct loop *l = arg;
	uint32_t idle_polls = 0;
	dpdk_rcu_online(&l->rcu, LOOP_WORKER);
	while (!atomic_load_explicit(&l->is_stopping, memory_order_relaxed)) {
		idle_polls = turn(l) > 0 ? 0 : idle_polls + 1;
		count_turn(l);
		dpdk_rcu_quiescent(&l->rcu, LOOP_WORKER);
		dpdk_poller_wait(&l->poller, &l->rcu, LOOP_WORKER, idle_polls, TEND_US);
	}
	dpdk_rcu_offline(&l->rcu, LOOP_WORKER);
	return 0;
}

int loop_start(struct loop *l, unsigned lcore, struct error *err)
{
	if (rte_eal_remote_launch(run, l, lcore) != 0)
		return error_set(err, ERR_IO, "the worker did not start: lcore %u is taken", lcore);
	l->lcore = lcore;
	l->is_running = true;
	return 0;
}

void loop_stop(struct loop *l)
{
	if (!l->is_running)
		return;
	atomic_store_explicit(&l->is_stopping, true, memory_order_relaxed);
	dpdk_poller_wake(&l->poller);
	rte_eal_wait_lcore(l->lcore);
	l->is_running = false;
}

const struct mux_tables *loop_publish(struct loop *l, const struct mux_tables *tables)
{
	const struct mux_tables *before = atomic_exchange_explicit(&l->tables, tables, memory_order_acq_rel);
	dpdk_rcu_synchronize(&l->rcu);
	return before;
}
