#include "hostagent/dpdk/loop.h"

#include <rte_ethdev.h>
#include <rte_mbuf.h>
#include <signal.h>
#include <time.h>

#define TEND_US 10000 // next hops and flow expiry, while packets come
#define IDLE_US 100000 // the longest sleep
#define ORDERS_BURST 64
#define ORDERS_TURN 1024 // orders carried out in a turn: some 100 us

struct mono_time loop_now(void)
{
	struct timespec t;
	clock_gettime(CLOCK_BOOTTIME, &t);
	return mono_from_us((uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_nsec / 1000);
}

// ---- Sending ----

static void count_unsent(struct loop *l, struct rte_mbuf **packets, uint16_t n)
{
	if (n == 0)
		return;
	rte_pktmbuf_free_bulk(packets, n);
	counter_add(&l->agent.counters.drops[DROP_TX_FULL], n);
}

static uint16_t tx_flush(struct loop *l, struct tx_buffer *b, uint16_t dpdk_port)
{
	uint16_t n_sent = rte_eth_tx_burst(dpdk_port, 0, b->packets, b->n);
	count_unsent(l, b->packets + n_sent, (uint16_t)(b->n - n_sent));
	b->n = 0;
	return n_sent;
}

static void tx_put(struct tx_buffer *b, struct rte_mbuf *m)
{
	b->packets[b->n++] = m;
}

static void put_vm(struct loop *l, uint16_t port, struct rte_mbuf *m)
{
	if (l->to_vm[port].n == 0)
		l->touched[l->n_touched++] = port;
	tx_put(&l->to_vm[port], m);
}

static void tx_flush_all(struct loop *l, const struct view *view)
{
	if (l->to_uplink.n > 0)
		counter_add(&l->agent.counters.tx_packets, tx_flush(l, &l->to_uplink, l->uplink));
	if (l->to_tap.n > 0)
		(void)tx_flush(l, &l->to_tap, l->tap);
	for (uint16_t i = 0; i < l->n_touched; i++) {
		uint16_t port = l->touched[i];
		counter_add(&l->vms[port].tx_packets, tx_flush(l, &l->to_vm[port], view->dpdk_port[port]));
	}
	l->n_touched = 0;
}

// ---- Bursts ----

_Static_assert(RTE_PKTMBUF_HEADROOM >= AGENT_HEADROOM, "the answer to what is refused begins in front of the frame");

static void packet_begin(struct agent_packet *p, struct rte_mbuf *m, uint16_t port)
{
	p->frame = rte_pktmbuf_mtod(m, uint8_t *);
	p->len = m->data_len;
	p->port = port;
	p->was_held = false;
	p->held_too_long = false;
}

// What is in the slot gave way, and is counted.
static void fragment_hold(struct loop *l, const struct agent_packet *p, struct rte_mbuf *m)
{
	struct held_fragment *held = &l->fragments[p->hold_slot];
	rte_pktmbuf_free(held->frame);
	*held = (struct held_fragment){ .frame = m, .port = p->port };
}

// The buffer follows what the core made of its frame.
static void packet_end(struct loop *l, struct agent_packet *p, struct rte_mbuf *m)
{
	if (p->verdict == AGENT_DROP) {
		rte_pktmbuf_free(m);
		return;
	}
	if (__builtin_expect(p->verdict == AGENT_HOLD_FRAGMENT, 0)) {
		fragment_hold(l, p, m);
		return;
	}
	m->data_off = (uint16_t)(p->frame - (uint8_t *)m->buf_addr);
	m->data_len = (uint16_t)p->len;
	m->pkt_len = p->len;
	if (p->verdict == AGENT_TO_UPLINK) {
		tx_put(&l->to_uplink, m);
	} else if (p->verdict == AGENT_TO_TAP) {
		tx_put(&l->to_tap, m);
	} else {
		put_vm(l, p->port, m);
	}
}

static void drop(struct loop *l, struct rte_mbuf *m, enum drop_reason reason)
{
	counter_add(&l->agent.counters.drops[reason], 1);
	rte_pktmbuf_free(m);
}

// The frame stays in its buffer until there are ports for it, or has waited for too long.
static void packet_hold(struct loop *l, uint16_t slot, const struct held_frame *frame)
{
	struct rte_mbuf *gone = hold_queue_put(&l->held, slot, frame);
	if (gone != NULL)
		drop(l, gone, DROP_SNAT_HOLD_FULL);
}

static bool is_own_frame(struct rte_mbuf *m, const struct mac *own)
{
	return m->data_len >= ETH_BYTES && memcmp(rte_pktmbuf_mtod(m, uint8_t *) + MAC_BYTES, own, MAC_BYTES) == 0;
}

// Receives a burst, without what the kernel itself sent there.
static uint16_t receive(struct loop *l, uint16_t dpdk_port, const struct mac *own, struct rte_mbuf **mbufs)
{
	uint16_t n = rte_eth_rx_burst(dpdk_port, 0, mbufs, AGENT_BURST);
	if (!l->sees_own_frames)
		return n;
	uint16_t kept = 0;
	for (uint16_t i = 0; i < n; i++) {
		if (is_own_frame(mbufs[i], own))
			rte_pktmbuf_free(mbufs[i]);
		else
			mbufs[kept++] = mbufs[i];
	}
	return kept;
}

// Fragments whose first one has come by now, or which waited too long.
static void submit_fragments(struct loop *l, const struct view *view)
{
	struct agent_released released;
	uint16_t n = 0;
	while (agent_next_fragment(&l->agent, &released)) {
		struct held_fragment *held = &l->fragments[released.slot];
		struct agent_packet p;
		packet_begin(&p, held->frame, held->port);
		agent_release_fragment(&l->agent, &released, &p);
		packet_end(l, &p, held->frame);
		held->frame = NULL;
		if (++n % AGENT_BURST == 0)
			tx_flush_all(l, view);
	}
	if (n > 0)
		tx_flush_all(l, view);
}

static uint16_t turn_uplink(struct loop *l, const struct view *view)
{
	struct rte_mbuf *mbufs[AGENT_BURST];
	struct agent_packet packets[AGENT_BURST];
	uint16_t n = receive(l, l->uplink, &l->agent.settings.uplink_mac, mbufs);
	if (n == 0)
		return 0;
	for (uint16_t i = 0; i < n; i++)
		packet_begin(&packets[i], mbufs[i], 0);
	counter_add(&l->agent.counters.rx_packets, n);
	agent_inbound(&l->agent, packets, n);
	for (uint16_t i = 0; i < n; i++)
		packet_end(l, &packets[i], mbufs[i]);
	tx_flush_all(l, view);
	submit_fragments(l, view);
	return n;
}

static uint16_t turn_vm(struct loop *l, const struct view *view, uint16_t port)
{
	struct rte_mbuf *mbufs[AGENT_BURST];
	struct agent_packet packets[AGENT_BURST];
	uint16_t n = receive(l, view->dpdk_port[port], &view->own_mac[port], mbufs);
	if (n == 0)
		return 0;
	for (uint16_t i = 0; i < n; i++)
		packet_begin(&packets[i], mbufs[i], port);
	counter_add(&l->vms[port].rx_packets, n);
	agent_outbound(&l->agent, packets, n);
	for (uint16_t i = 0; i < n; i++) {
		struct held_frame frame = { .frame = mbufs[i], .since = l->agent.now, .port = port };
		if (__builtin_expect(packets[i].verdict == AGENT_HOLD, 0))
			packet_hold(l, packets[i].hold_slot, &frame);
		else
			packet_end(l, &packets[i], mbufs[i]);
	}
	tx_flush_all(l, view);
	submit_fragments(l, view);
	return n;
}

// The host's own packets leave as they are, but for probes of the VMs.
static uint16_t turn_tap(struct loop *l, const struct view *view)
{
	struct rte_mbuf *mbufs[AGENT_BURST];
	struct agent_packet packets[AGENT_BURST];
	uint16_t n = rte_eth_rx_burst(l->tap, 0, mbufs, AGENT_BURST);
	if (n == 0)
		return 0;
	for (uint16_t i = 0; i < n; i++)
		packet_begin(&packets[i], mbufs[i], 0);
	agent_from_host(&l->agent, packets, n);
	for (uint16_t i = 0; i < n; i++)
		packet_end(l, &packets[i], mbufs[i]);
	tx_flush_all(l, view);
	return n;
}

// ---- Frames that waited for ports ----

static void submit_held(struct loop *l, const struct view *view, const struct held_frame *frames, uint16_t n,
                        bool held_too_long)
{
	struct agent_packet packets[AGENT_BURST];
	for (uint16_t i = 0; i < n; i++) {
		packet_begin(&packets[i], frames[i].frame, frames[i].port);
		packets[i].was_held = true;
		packets[i].held_too_long = held_too_long;
	}
	agent_outbound(&l->agent, packets, n);
	for (uint16_t i = 0; i < n; i++) {
		if (packets[i].verdict != AGENT_HOLD)
			packet_end(l, &packets[i], frames[i].frame);
		else if (held_too_long)
			drop(l, frames[i].frame, DROP_SNAT_HOLD_TIMEOUT);
		else
			packet_hold(l, packets[i].hold_slot, &frames[i]);
	}
	tx_flush_all(l, view);
	submit_fragments(l, view);
}

// All frames of the slot once more, in order; those that must go on waiting come to the end of the queue in the same order.
static void submit_slot(struct loop *l, const struct view *view, uint16_t slot)
{
	uint32_t n_left = hold_queue_count(&l->held, slot);
	while (n_left > 0) {
		struct held_frame frames[AGENT_BURST];
		uint16_t n = 0;
		while (n < AGENT_BURST && n < n_left && hold_queue_take(&l->held, slot, &frames[n]))
			n++;
		n_left -= n;
		submit_held(l, view, frames, n, false);
	}
}

static void submit_ready(struct loop *l, const struct view *view)
{
	uint16_t slot;
	while (agent_snat_next_ready(&l->agent, &slot))
		submit_slot(l, view, slot);
}

static void submit_expired(struct loop *l, const struct view *view, struct mono_time now)
{
	struct mono_time since = mono_from_us(now.us < SNAT_HOLD_US ? 0 : now.us - SNAT_HOLD_US);
	struct held_frame frames[AGENT_BURST];
	uint16_t n = 0;
	uint16_t slot;
	uint32_t cursor = 0;
	while (hold_queue_take_expired(&l->held, since, &cursor, &slot, &frames[n])) {
		if (++n < AGENT_BURST)
			continue;
		submit_held(l, view, frames, n, true);
		n = 0;
	}
	if (n > 0)
		submit_held(l, view, frames, n, true);
}

// The DIP that sent a frame, which is IPv4 or IPv6 without a VLAN tag; 0: it has no name any more.
static be32 source_of(const struct agent_config *config, const uint8_t *frame)
{
	if (frame_ether_type(frame) == be16_from(ETHER_IP6))
		return addr_names_lookup(config->names, ((const struct ip6_header *)(frame + ETH_BYTES))->src);
	return ((const struct ip4_header *)(frame + ETH_BYTES))->src;
}

// Is the VM still there that sent it?
static bool is_orphan(const struct loop *l, const struct held_frame *frame)
{
	const struct rte_mbuf *m = frame->frame;
	const struct agent_config *config = l->agent.config;
	return !l->agent.port_is_open[frame->port] || config == NULL ||
	       agent_config_lookup_dip(config, source_of(config, rte_pktmbuf_mtod(m, const uint8_t *))) != frame->port;
}

// The frames of VMs that have gone, or all.
static void free_held(struct loop *l, bool is_all)
{
	for (uint32_t slot = 0; l->held.n > 0 && slot < l->held.n_slots; slot++) {
		for (uint32_t n = hold_queue_count(&l->held, (uint16_t)slot); n > 0; n--) {
			struct held_frame frame;
			if (!hold_queue_take(&l->held, (uint16_t)slot, &frame))
				break;
			if (is_all || is_orphan(l, &frame))
				drop(l, frame.frame, DROP_VM_NOT_READY);
			else
				packet_hold(l, (uint16_t)slot, &frame);
		}
	}
}

void loop_free_held(struct loop *l)
{
	free_held(l, true);
	for (uint32_t i = 0; i < AGENT_FRAGMENT_SLOTS; i++)
		rte_pktmbuf_free(l->fragments[i].frame);
	memset(l->fragments, 0, sizeof l->fragments);
}

// ---- Orders and reports ----

static uint32_t take_orders(struct loop *l)
{
	struct snat_order orders[ORDERS_BURST];
	uint32_t n_all = 0;
	uint32_t n;
	do {
		n = snat_rings_take_orders(&l->rings, orders, ORDERS_BURST);
		for (uint32_t i = 0; i < n; i++)
			agent_snat_order(&l->agent, &orders[i]);
		n_all += n;
	} while (n == ORDERS_BURST && n_all < ORDERS_TURN);
	return n_all;
}

static void send_reports(struct loop *l)
{
	struct snat_report report;
	bool is_any = false;
	while (snat_rings_has_room(&l->rings) && agent_snat_next_report(&l->agent, &report)) {
		snat_rings_put_report(&l->rings, &report);
		is_any = true;
	}
	if (is_any)
		snat_rings_wake(&l->rings);
}

// ---- Pins ----

static uint64_t wall_us(void)
{
	struct timespec t;
	clock_gettime(CLOCK_REALTIME, &t);
	return (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_nsec / 1000;
}

static void flush_uplink(struct loop *l)
{
	if (l->to_uplink.n > 0)
		counter_add(&l->agent.counters.tx_packets, tx_flush(l, &l->to_uplink, l->uplink));
}

static void send_pins(struct loop *l)
{
	if (__builtin_expect(l->agent.pin_reports.n == 0, 1))
		return;
	uint32_t n = agent_pins_begin(&l->agent, wall_us());
	for (uint32_t i = 0; i < n; i++) {
		uint8_t frame[PIN_REPORTS_FRAME_BYTES];
		uint16_t n_bytes = (uint16_t)agent_pins_write(&l->agent, i, frame);
		struct rte_mbuf *m = n_bytes > 0 ? rte_pktmbuf_alloc(l->pool) : NULL;
		if (m == NULL)
			continue; // reported again with a later packet of the flow
		memcpy(rte_pktmbuf_append(m, n_bytes), frame, n_bytes);
		tx_put(&l->to_uplink, m);
		if (l->to_uplink.n == AGENT_BURST)
			flush_uplink(l);
	}
	flush_uplink(l);
}

// ---- What time brings ----

// Who has the next hops' addresses? Of one family; the rest is asked at the next turn.
static void ask_neighbors(struct loop *l, struct neighbor_table *neighbors, struct mono_time now)
{
	uint8_t frame[NEIGHBOR_FRAME_BYTES];
	uint32_t n;
	while (l->to_uplink.n < AGENT_BURST && (n = neighbor_table_step(neighbors, now, frame)) > 0) {
		struct rte_mbuf *m = rte_pktmbuf_alloc(l->pool);
		if (m == NULL)
			break; // the next probe is due in a second
		memcpy(rte_pktmbuf_append(m, (uint16_t)n), frame, n);
		tx_put(&l->to_uplink, m);
	}
	flush_uplink(l);
}

// To VMs, that the gateway is still there.
static void advertise(struct loop *l, const struct view *view)
{
	uint8_t frame[AGENT_FRAME_BYTES_MAX];
	uint16_t port;
	uint32_t n;
	for (uint32_t i = 0; i < AGENT_BURST && (n = agent_next_advertisement(&l->agent, frame, &port)) > 0; i++) {
		struct rte_mbuf *m = rte_pktmbuf_alloc(l->pool);
		if (m == NULL)
			break; // it holds for many times as long
		memcpy(rte_pktmbuf_append(m, (uint16_t)n), frame, n);
		put_vm(l, port, m);
	}
	tx_flush_all(l, view);
}

static void tend(struct loop *l, const struct view *view, struct mono_time now)
{
	uint64_t elapsed_us = mono_elapsed_us(l->tended, now);
	if (elapsed_us < TEND_US)
		return;
	l->tended = now;
	ask_neighbors(l, &l->agent.neighbors, now);
	ask_neighbors(l, &l->agent.neighbors6, now);
	advertise(l, view);
	agent_expire_flows(&l->agent, now, elapsed_us);
	agent_expire_fragments(&l->agent, now);
	submit_fragments(l, view);
	agent_snat_tend(&l->agent, now, elapsed_us);
	submit_expired(l, view, now);
	atomic_store_explicit(&l->n_flows, l->agent.flows.n_flows, memory_order_relaxed);
}

static void take_view(struct loop *l, const struct view *view)
{
	l->generation = view->generation;
	l->agent.config = view->config;
	memset(l->agent.port_is_open, 0, sizeof l->agent.port_is_open);
	memcpy(l->agent.port_mtu, view->mtu, sizeof l->agent.port_mtu);
	for (uint16_t i = 0; i < view->n_open; i++)
		l->agent.port_is_open[view->open[i]] = true;
	free_held(l, false);
}

static uint32_t turn(struct loop *l)
{
	const struct view *view = atomic_load_explicit(&l->view, memory_order_acquire);
	if (view->generation != l->generation)
		take_view(l, view);
	struct mono_time now = loop_now();
	agent_set_now(&l->agent, now);
	uint32_t n = take_orders(l);
	n += turn_tap(l, view);
	n += turn_uplink(l, view);
	for (uint16_t i = 0; i < view->n_open; i++)
		n += turn_vm(l, view, view->open[i]);
	tend(l, view, now);
	submit_ready(l, view);
	send_pins(l);
	send_reports(l);
	return n;
}

void loop_block_tap_signals(int how)
{
	sigset_t signals;
	sigemptyset(&signals);
	for (int i = SIGRTMIN; i <= SIGRTMAX; i++)
		sigaddset(&signals, i);
	pthread_sigmask(how, &signals, NULL);
}

int loop_run(void *arg)
{
	struct loop *l = arg;
	uint32_t idle_polls = 0;
	loop_block_tap_signals(SIG_UNBLOCK);
	dpdk_rcu_online(&l->rcu, LOOP_WORKER);
	while (!atomic_load_explicit(&l->is_stopping, memory_order_relaxed)) {
		idle_polls = turn(l) > 0 ? 0 : idle_polls + 1;
		dpdk_rcu_quiescent(&l->rcu, LOOP_WORKER);
		dpdk_poller_wait(&l->poller, &l->rcu, LOOP_WORKER, idle_polls, IDLE_US);
	}
	dpdk_rcu_offline(&l->rcu, LOOP_WORKER);
	atomic_store_explicit(&l->has_ended, true, memory_order_release);
	return 0;
}

void loop_stop(struct loop *l)
{
	atomic_store_explicit(&l->is_stopping, true, memory_order_relaxed);
	dpdk_poller_wake(&l->poller);
}

const struct view *loop_publish(struct loop *l, const struct view *view)
{
	const struct view *old = atomic_exchange_explicit(&l->view, view, memory_order_acq_rel);
	dpdk_rcu_synchronize(&l->rcu);
	return old;
}
