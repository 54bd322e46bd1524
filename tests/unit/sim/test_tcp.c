// The small TCP: two ends with a wire between them that loses, doubles and delays, and what an end does with strangers.
#include "tests/sim/tcp.h"

#include <string.h>

#include "tests/sim/random.h"
#include "tests/support/suite.h"

#define WIRE_MAX 64
#define ROUNDS_MAX 20000
#define CLIENT_ISS 0xfffffff0u // goes around the circle of sequence numbers soon
#define SERVER_ISS 77u

struct wire {
	uint32_t n;
	struct tcp_segment segments[WIRE_MAX];
};

struct pair {
	struct tcp_end client;
	struct tcp_end server;
	struct wire to_server;
	struct wire to_client;
	struct random random;
	uint32_t loss;
	uint64_t now_us;
	uint32_t client_outcomes;
	uint32_t server_outcomes;
};

static void put(struct pair *p, struct wire *w, const struct tcp_segment *s)
{
	uint32_t n = random_hits(&p->random, p->loss) ? 0 : random_hits(&p->random, p->loss) ? 2 : 1;
	for (uint32_t i = 0; i < n && w->n < WIRE_MAX; i++)
		w->segments[w->n++] = *s;
}

// Any segment of the wire: so they are reordered.
static bool take(struct pair *p, struct wire *w, struct tcp_segment *ret_segment)
{
	if (w->n == 0)
		return false;
	uint32_t i = p->loss == 0 ? 0 : (uint32_t)random_below(&p->random, w->n);
	*ret_segment = w->segments[i];
	memmove(&w->segments[i], &w->segments[i + 1], (--w->n - i) * sizeof *w->segments);
	return true;
}

static void send_all(struct pair *p, struct tcp_end *end, struct wire *w)
{
	struct tcp_segment s;
	while (tcp_next_segment(end, p->now_us, &s))
		put(p, w, &s);
}

static void round_of(struct pair *p)
{
	struct tcp_segment s;
	p->now_us += 50000;
	tcp_on_timeout(&p->client, p->now_us);
	send_all(p, &p->client, &p->to_server);
	if (take(p, &p->to_server, &s)) {
		if (p->server.state == TCP_CLOSED)
			tcp_accept(&p->server, SERVER_ISS, &s, p->now_us);
		else
			p->server_outcomes |= tcp_on_segment(&p->server, &s, p->now_us);
		p->server.wants_fin = p->server.wants_fin || p->server.has_fin;
	}
	tcp_on_timeout(&p->server, p->now_us);
	send_all(p, &p->server, &p->to_client);
	if (take(p, &p->to_client, &s))
		p->client_outcomes |= tcp_on_segment(&p->client, &s, p->now_us);
}

static struct pair pair_of(uint64_t seed, uint32_t loss)
{
	struct pair p = { .random = random_make(seed, 0), .loss = loss, .now_us = 1000000 };
	tcp_open(&p.client, CLIENT_ISS, p.now_us);
	p.client.n_out = 20;
	p.server.n_out = 0;
	p.client.wants_fin = true;
	return p;
}

static void run_to_the_end(struct pair *p)
{
	for (uint32_t i = 0; i < ROUNDS_MAX; i++) {
		bool is_over = p->client.state == TCP_DONE && p->server.state == TCP_DONE;
		if (is_over)
			return;
		round_of(p);
		if (p->server.state == TCP_OPEN)
			p->server.n_out = 15;
	}
}

START_TEST(two_ends_exchange_their_data_and_close)
{
	struct pair p = pair_of(1, 0);
	run_to_the_end(&p);
	ck_assert_uint_eq(p.client.state, TCP_DONE);
	ck_assert_uint_eq(p.server.state, TCP_DONE);
	ck_assert_uint_eq(p.server.n_in, 20);
	ck_assert_uint_eq(p.client.n_in, 15);
	ck_assert_uint_eq(p.client_outcomes, TCP_OPENED | TCP_DATA | TCP_PEER_FINISHED | TCP_CLOSED_BOTH);
}
END_TEST

START_TEST(two_ends_come_to_the_same_over_a_wire_that_loses_doubles_and_reorders)
{
	for (uint64_t seed = 1; seed <= 50; seed++) {
		struct pair p = pair_of(seed, UINT32_MAX / 5);
		run_to_the_end(&p);
		ck_assert_msg(p.client.state == TCP_DONE && p.server.state == TCP_DONE, "seed %lu: states %u, %u", seed,
		              p.client.state, p.server.state);
		ck_assert_msg(p.server.n_in == 20 && p.client.n_in == 15, "seed %lu: %u and %u segments", seed, p.server.n_in,
		              p.client.n_in);
		ck_assert_msg(((p.client_outcomes | p.server_outcomes) & (TCP_RESET | TCP_REFUSE)) == 0, "seed %lu", seed);
	}
}
END_TEST

// An open client, whose connection is with a server that began at SERVER_ISS.
static struct tcp_end open_client(void)
{
	struct tcp_end client;
	struct tcp_segment s;
	struct tcp_segment syn_ack = { .seq = SERVER_ISS, .ack = CLIENT_ISS + 1, .flags = TCP_SYN | TCP_ACK };
	tcp_open(&client, CLIENT_ISS, 1);
	ck_assert(tcp_next_segment(&client, 1, &s));
	ck_assert_uint_eq(s.flags, TCP_SYN);
	ck_assert_uint_eq(tcp_on_segment(&client, &syn_ack, 2), TCP_OPENED);
	ck_assert(tcp_next_segment(&client, 2, &s));
	ck_assert_uint_eq(s.flags, TCP_ACK);
	return client;
}

START_TEST(a_machine_without_the_connection_resets_it)
{
	struct tcp_end client = open_client();
	struct tcp_segment s;
	client.n_out = 1;
	ck_assert(tcp_next_segment(&client, 3, &s));
	struct tcp_segment refusal = tcp_refusal(&s);
	ck_assert_uint_eq(tcp_on_segment(&client, &refusal, 4), TCP_RESET);
	ck_assert_uint_eq(client.state, TCP_DONE);
}
END_TEST

START_TEST(a_reset_outside_the_window_is_not_believed)
{
	struct tcp_end client = open_client();
	struct tcp_segment below = { .seq = SERVER_ISS, .flags = TCP_RST };
	struct tcp_segment above = { .seq = SERVER_ISS + 1 + TCP_WINDOW_BYTES, .flags = TCP_RST };
	ck_assert_uint_eq(tcp_on_segment(&client, &below, 3), 0);
	ck_assert_uint_eq(tcp_on_segment(&client, &above, 3), 0);
	ck_assert_uint_eq(client.state, TCP_OPEN);
}
END_TEST

START_TEST(data_of_another_connection_is_not_taken)
{
	struct tcp_end client = open_client();
	struct tcp_segment other = { .seq = 123456, .ack = CLIENT_ISS + 1, .flags = TCP_ACK, .n_bytes = TCP_SEGMENT_BYTES };
	ck_assert_uint_eq(tcp_on_segment(&client, &other, 3), 0);
	ck_assert_uint_eq(client.n_in, 0);
}
END_TEST

START_TEST(a_second_machine_that_saw_the_syn_refuses_the_clients_ack)
{
	struct tcp_end client = open_client();
	struct tcp_end second;
	struct tcp_segment s;
	struct tcp_segment syn = { .seq = CLIENT_ISS, .flags = TCP_SYN };
	tcp_accept(&second, 9000, &syn, 3);
	ck_assert(tcp_next_segment(&second, 3, &s));
	ck_assert_uint_eq(tcp_on_segment(&client, &s, 4), 0);
	ck_assert(tcp_next_segment(&client, 4, &s)); // the challenge
	ck_assert_uint_eq(s.flags, TCP_ACK);
	ck_assert_uint_eq(tcp_on_segment(&second, &s, 5), TCP_REFUSE);
	struct tcp_segment refusal = tcp_refusal(&s);
	ck_assert_uint_eq(tcp_on_segment(&client, &refusal, 6), TCP_RESET);
}
END_TEST

START_TEST(what_is_not_acknowledged_is_sent_again_later_and_later)
{
	struct tcp_end client;
	struct tcp_segment s;
	tcp_open(&client, CLIENT_ISS, 0);
	ck_assert(tcp_next_segment(&client, 0, &s));
	uint64_t now_us = 0;
	uint64_t before_us = 0;
	for (uint32_t i = 0; i < 8; i++) {
		uint64_t wait_us = client.timeout_us - now_us;
		ck_assert_uint_ge(wait_us, before_us);
		ck_assert_uint_le(wait_us, TCP_TIMEOUT_MAX_US);
		ck_assert(!tcp_next_segment(&client, now_us, &s));
		now_us = client.timeout_us;
		tcp_on_timeout(&client, now_us);
		ck_assert(tcp_next_segment(&client, now_us, &s));
		ck_assert_uint_eq(s.flags, TCP_SYN);
		before_us = wait_us;
	}
}
END_TEST

SUITE_MAIN("sim-tcp", two_ends_exchange_their_data_and_close,
           two_ends_come_to_the_same_over_a_wire_that_loses_doubles_and_reorders,
           a_machine_without_the_connection_resets_it, a_reset_outside_the_window_is_not_believed,
           data_of_another_connection_is_not_taken, a_second_machine_that_saw_the_syn_refuses_the_clients_ack,
           what_is_not_acknowledged_is_sent_again_later_and_later)
