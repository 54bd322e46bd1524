// The queue at the leader: the rules one by one, fairness, and random operations against a naive model.
#include "tests/support/suite.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

#include "manager/core/snat_queue.h"

#define BATCH 512

static struct snat_queue *queue;

static void setup(void)
{
	queue = snat_queue_create();
	ck_assert_ptr_nonnull(queue);
}

static void teardown(void)
{
	snat_queue_destroy(queue);
}

static struct ip_addr addr(uint32_t kind, uint32_t i)
{
	struct ip_addr a = ip_addr_from_v4(be32_from(kind << 24 | i));
	return a;
}

static struct ip_addr dip_of(uint32_t i)
{
	return addr(10, i);
}

static struct ip_addr vip_of(uint32_t i)
{
	return addr(203, i);
}

static uint32_t index_of(const struct ip_addr *a)
{
	return be32_to(ip_addr_to_v4(a)) & 0xffffff;
}

static int push(uint32_t dip, uint64_t seq, uint32_t vip, uint64_t now_us, struct error *err)
{
	struct snat_op op = { .kind = SNAT_REQUEST, .dip = dip_of(dip), .seq = seq, .n_ports = 8 };
	struct ip_addr at = vip_of(vip);
	return snat_queue_push_request(queue, &op, &at, mono_from_us(now_us), err);
}

static void must_push(uint32_t dip, uint64_t seq, uint32_t vip, uint64_t now_us)
{
	struct error err = { 0 };
	ck_assert_msg(push(dip, seq, vip, now_us, &err) == 0, "%s", err.text);
}

static uint32_t take(uint64_t now_us, struct snat_op *ops, uint32_t max)
{
	return snat_queue_take(queue, mono_from_us(now_us), ops, 0, max);
}

static uint64_t done(uint32_t dip, uint64_t now_us)
{
	struct ip_addr a = dip_of(dip);
	return snat_queue_done(queue, &a, mono_from_us(now_us)).us;
}

START_TEST(a_repeated_request_is_ignored_while_it_waits_and_while_it_is_under_way)
{
	struct snat_op ops[4];
	setup();
	must_push(1, 100, 1, 0);
	must_push(1, 100, 1, 0);
	must_push(1, 99, 1, 0);
	ck_assert_uint_eq(snat_queue_n_waiting(queue), 1);
	ck_assert_uint_eq(take(0, ops, 4), 1);
	ck_assert_uint_eq(ops[0].seq, 100);
	must_push(1, 100, 1, 0);
	ck_assert_uint_eq(take(0, ops, 4), 0);
	done(1, 0);
	must_push(1, 100, 1, 0); // its answer was lost: the state says that it was carried out before
	ck_assert_uint_eq(take(0, ops, 4), 1);
	teardown();
}
END_TEST

START_TEST(a_newer_request_replaces_the_one_that_waits_and_follows_the_one_under_way)
{
	struct snat_op ops[4];
	setup();
	must_push(1, 100, 1, 0);
	must_push(1, 101, 1, 0);
	ck_assert_uint_eq(take(0, ops, 4), 1);
	ck_assert_uint_eq(ops[0].seq, 101);
	must_push(1, 102, 1, 0);
	must_push(1, 103, 1, 0);
	ck_assert_uint_eq(snat_queue_n_waiting(queue), 1);
	ck_assert_uint_eq(take(0, ops, 4), 0);
	done(1, 0);
	ck_assert_uint_eq(take(0, ops, 4), 1);
	ck_assert_uint_eq(ops[0].seq, 103);
	teardown();
}
END_TEST

START_TEST(what_is_over_the_rate_of_a_dip_waits)
{
	struct snat_op ops[4];
	struct mono_time when;
	setup();
	snat_queue_set_rate(queue, 10);
	for (uint64_t seq = 1; seq <= 20; seq++) { // two seconds' worth
		must_push(1, seq, 1, 5);
		ck_assert_uint_eq(take(5, ops, 4), 1);
		done(1, 5);
	}
	must_push(1, 21, 1, 5);
	must_push(2, 1, 1, 5); // others do not wait for it
	ck_assert_uint_eq(take(5, ops, 4), 1);
	ck_assert_uint_eq(index_of(&ops[0].dip), 2);
	ck_assert(snat_queue_next_time(queue, mono_from_us(5), &when));
	ck_assert_uint_eq(when.us, 100005);
	ck_assert_uint_eq(take(100004, ops, 4), 0);
	ck_assert_uint_eq(take(100005, ops, 4), 1);
	ck_assert_uint_eq(ops[0].seq, 21);
	ck_assert(!snat_queue_next_time(queue, mono_from_us(100005), &when));
	teardown();
}
END_TEST

START_TEST(it_is_known_when_a_request_was_pushed)
{
	struct snat_op ops[4];
	setup();
	must_push(1, 100, 1, 10);
	must_push(1, 100, 1, 20);
	ck_assert_uint_eq(take(30, ops, 4), 1);
	must_push(1, 101, 1, 40);
	ck_assert_uint_eq(done(1, 50), 10);
	ck_assert_uint_eq(take(60, ops, 4), 1);
	ck_assert_uint_eq(done(1, 70), 40);
	ck_assert_uint_eq(done(1, 80), 80);
	teardown();
}
END_TEST

START_TEST(one_vip_cannot_fill_the_queue_and_all_together_are_bounded)
{
	struct error err = { 0 };
	setup();
	for (uint32_t i = 0; i < SNAT_QUEUE_VIP_MAX; i++)
		must_push(i, 1, 1, 0);
	ck_assert_int_eq(push(SNAT_QUEUE_VIP_MAX, 1, 1, 0, &err), ERR_LIMIT);
	ck_assert_str_eq(err.text, "4096 requests for ports of 203.0.0.1 wait, which is the limit; ask again later");
	must_push(0, 2, 1, 0); // takes the place of its own
	for (uint32_t i = SNAT_QUEUE_VIP_MAX; i < SNAT_QUEUE_MAX; i++)
		must_push(i, 1, i, 0);
	ck_assert_int_eq(push(SNAT_QUEUE_MAX, 1, 2, 0, &err), ERR_LIMIT);
	ck_assert_str_eq(err.text, "16384 requests for ports wait, which is the limit; ask again later");
	ck_assert_uint_eq(snat_queue_n_waiting(queue), SNAT_QUEUE_MAX);
	snat_queue_clear(queue);
	ck_assert_uint_eq(snat_queue_n_waiting(queue), 0);
	must_push(SNAT_QUEUE_MAX, 1, 2, 0);
	teardown();
}
END_TEST

START_TEST(more_dips_than_are_remembered_are_served_all_the_same)
{
	static struct snat_op ops[BATCH];
	setup();
	for (uint32_t i = 0; i < 3 * SNAT_QUEUE_DIPS_MAX; i++) {
		must_push(i, 1, i % 7, i);
		ck_assert_uint_eq(take(i, ops, BATCH), 1);
		done(i, i);
	}
	teardown();
}
END_TEST

START_TEST(a_vip_that_asks_without_limit_delays_others_by_one_round)
{
	static struct snat_op ops[BATCH];
	uint64_t seq = 1;
	setup();
	snat_queue_set_rate(queue, 1000000);
	for (uint32_t i = 0; i < SNAT_QUEUE_VIP_MAX; i++)
		must_push(i, seq, 0, 0);
	for (uint32_t round = 1; round <= 100; round++) {
		for (uint32_t vip = 1; vip <= 4; vip++)
			must_push(100000 + vip, round, vip, round);
		uint32_t n = take(round, ops, 8);
		ck_assert_uint_eq(n, 8);
		uint32_t n_normal = 0;
		for (uint32_t i = 0; i < n; i++) {
			n_normal += i < 5 && index_of(&ops[i].dip) > 100000;
			done(index_of(&ops[i].dip), round);
		}
		ck_assert_uint_eq(n_normal, 4); // each within the first round of five VIPs
		for (uint32_t i = 0; i < n; i++)
			if (index_of(&ops[i].dip) < 100000)
				must_push(index_of(&ops[i].dip), ++seq, 0, round);
	}
	teardown();
}
END_TEST

START_TEST(ends_keep_their_order_and_come_before_requests)
{
	static struct snat_op ops[BATCH];
	struct error err = { 0 };
	setup();
	for (uint32_t i = 0; i < SNAT_QUEUE_ENDS_MAX; i++) {
		struct snat_op op = { .kind = SNAT_RETURN, .dip = dip_of(1), .vip = vip_of(1), .epoch = i };
		ck_assert_int_eq(snat_queue_push_end(queue, &op, &err), 0);
	}
	ck_assert_int_eq(snat_queue_push_end(queue, &(struct snat_op){ .kind = SNAT_RETURN }, &err), ERR_LIMIT);
	for (uint32_t i = 0; i < 6; i++)
		must_push(i, 1, 1, 0);
	ck_assert_uint_eq(snat_queue_take(queue, mono_from_us(0), ops, 5, 4), 9);
	for (uint32_t i = 0; i < 9; i++) {
		ck_assert_int_eq(ops[i].kind, i < 5 ? SNAT_RETURN : SNAT_REQUEST);
		ck_assert(i >= 5 || ops[i].epoch == i);
	}
	uint32_t epoch = 5;
	while (snat_queue_n_ends(queue) > 0) {
		uint32_t n = snat_queue_take(queue, mono_from_us(0), ops, BATCH, 0);
		for (uint32_t i = 0; i < n; i++)
			ck_assert_uint_eq(ops[i].epoch, epoch++);
	}
	ck_assert_uint_eq(epoch, SNAT_QUEUE_ENDS_MAX);
	teardown();
}
END_TEST

// ---- against a naive model ----

enum { N_DIPS = 24, N_VIPS = 4, N_STEPS = 200000 };

enum model_state { IDLE, DELAYED, READY, UNDER_WAY };

struct model {
	uint32_t rate;
	struct {
		enum model_state state;
		bool has_next;
		bool has_asked;
		uint64_t seq, under_way_seq;
		uint32_t vip;
		uint64_t credit_us, filled_us, due_us;
	} dips[N_DIPS];
	uint32_t n_ready[N_VIPS], ready[N_VIPS][N_DIPS];
	uint32_t n_round, round[N_VIPS];
};

static void model_begin(struct model *m, uint32_t dip, uint64_t now_us)
{
	uint64_t price_us = 1000000 / m->rate;
	uint64_t most_us = 2 * m->rate * price_us;
	uint64_t credit_us = m->dips[dip].credit_us + now_us - m->dips[dip].filled_us;
	m->dips[dip].credit_us = credit_us > most_us || !m->dips[dip].has_asked ? most_us : credit_us;
	m->dips[dip].filled_us = now_us;
	m->dips[dip].has_asked = true;
	if (m->dips[dip].credit_us < price_us) {
		m->dips[dip].state = DELAYED;
		m->dips[dip].due_us = now_us + price_us - m->dips[dip].credit_us;
		return;
	}
	m->dips[dip].credit_us -= price_us;
	m->dips[dip].state = READY;
	uint32_t vip = m->dips[dip].vip;
	if (m->n_ready[vip] == 0)
		m->round[m->n_round++] = vip;
	m->ready[vip][m->n_ready[vip]++] = dip;
}

static void model_push(struct model *m, uint32_t dip, uint64_t seq, uint32_t vip, uint64_t now_us)
{
	bool waits = m->dips[dip].state == DELAYED || m->dips[dip].state == READY || m->dips[dip].has_next;
	if (m->dips[dip].state == UNDER_WAY && seq <= m->dips[dip].under_way_seq)
		return;
	if (waits) {
		if (seq > m->dips[dip].seq)
			m->dips[dip].seq = seq;
		return;
	}
	m->dips[dip].seq = seq;
	m->dips[dip].vip = vip;
	if (m->dips[dip].state == UNDER_WAY)
		m->dips[dip].has_next = true;
	else
		model_begin(m, dip, now_us);
}

static uint32_t model_take(struct model *m, uint64_t now_us, uint32_t *ret_dips, uint32_t max)
{
	for (;;) { // what is due, earliest first
		uint32_t next = N_DIPS;
		for (uint32_t i = 0; i < N_DIPS; i++)
			if (m->dips[i].state == DELAYED && m->dips[i].due_us <= now_us &&
			    (next == N_DIPS || m->dips[i].due_us < m->dips[next].due_us))
				next = i;
		if (next == N_DIPS)
			break;
		model_begin(m, next, now_us);
	}
	uint32_t n = 0;
	while (n < max && m->n_round > 0) {
		uint32_t vip = m->round[0];
		uint32_t dip = m->ready[vip][0];
		memmove(m->round, m->round + 1, --m->n_round * sizeof m->round[0]);
		memmove(m->ready[vip], m->ready[vip] + 1, --m->n_ready[vip] * sizeof m->ready[vip][0]);
		if (m->n_ready[vip] > 0)
			m->round[m->n_round++] = vip;
		m->dips[dip].state = UNDER_WAY;
		m->dips[dip].under_way_seq = m->dips[dip].seq;
		m->dips[dip].has_next = false;
		ret_dips[n++] = dip;
	}
	return n;
}

static void model_done(struct model *m, uint32_t dip, uint64_t now_us)
{
	if (m->dips[dip].state != UNDER_WAY)
		return;
	m->dips[dip].state = IDLE;
	if (m->dips[dip].has_next) {
		m->dips[dip].has_next = false;
		model_begin(m, dip, now_us);
	}
}

static void compare_takes(struct model *m, uint64_t now_us, uint32_t max)
{
	struct snat_op ops[N_DIPS];
	uint32_t dips[N_DIPS];
	uint32_t n = take(now_us, ops, max);
	ck_assert_uint_eq(n, model_take(m, now_us, dips, max));
	for (uint32_t i = 0; i < n; i++) {
		ck_assert_uint_eq(index_of(&ops[i].dip), dips[i]);
		ck_assert_uint_eq(ops[i].seq, m->dips[dips[i]].under_way_seq);
	}
}

START_TEST(random_operations_come_to_what_a_naive_model_says)
{
	static struct model m;
	static const uint32_t rates[] = { 1, 7, 20, 1000 };
	const char *env = getenv("ANANTA_TEST_SEED");
	unsigned seed = env != NULL ? (unsigned)strtoul(env, NULL, 10) : (unsigned)time(NULL);
	uint64_t now_us = 1000000000;
	printf("seed %u (repeat with ANANTA_TEST_SEED=%u)\n", seed, seed);
	srand(seed);
	setup();
	m.rate = 20;
	for (uint32_t step = 0; step < N_STEPS; step++) {
		uint32_t dip = (uint32_t)rand() % N_DIPS;
		now_us += 1 + (uint64_t)rand() % (rand() % 50 == 0 ? 400000 : 2000);
		switch (rand() % 8) {
		case 0:
		case 1:
		case 2: {
			uint64_t seq = m.dips[dip].seq + (uint64_t)(rand() % 3);
			uint32_t vip = dip % 3 == 0 ? 0 : (uint32_t)rand() % N_VIPS;
			must_push(dip, seq, vip, now_us);
			model_push(&m, dip, seq, vip, now_us);
			break;
		}
		case 3: compare_takes(&m, now_us, 1 + (uint32_t)rand() % N_DIPS); break;
		case 4:
		case 5:
		case 6:
			done(dip, now_us);
			model_done(&m, dip, now_us);
			break;
		case 7:
			if (rand() % 500 == 0) {
				m.rate = rates[rand() % 4];
				snat_queue_set_rate(queue, m.rate);
			}
			break;
		}
		uint32_t n_waiting = 0;
		for (uint32_t i = 0; i < N_DIPS; i++)
			n_waiting += m.dips[i].state == DELAYED || m.dips[i].state == READY || m.dips[i].has_next;
		ck_assert_uint_eq(snat_queue_n_waiting(queue), n_waiting);
	}
	teardown();
}
END_TEST

SUITE_MAIN("snat-queue", a_repeated_request_is_ignored_while_it_waits_and_while_it_is_under_way,
           a_newer_request_replaces_the_one_that_waits_and_follows_the_one_under_way,
           what_is_over_the_rate_of_a_dip_waits, it_is_known_when_a_request_was_pushed,
           one_vip_cannot_fill_the_queue_and_all_together_are_bounded,
           more_dips_than_are_remembered_are_served_all_the_same,
           a_vip_that_asks_without_limit_delays_others_by_one_round, ends_keep_their_order_and_come_before_requests,
           random_operations_come_to_what_a_naive_model_says)
