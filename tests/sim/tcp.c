#include "tests/sim/tcp.h"

#include <string.h>

// Is a before b in the circle of sequence numbers?
static bool seq_before(uint32_t a, uint32_t b)
{
	return (int32_t)(a - b) < 0;
}

static uint32_t data_end(const struct tcp_end *t)
{
	return t->iss + 1 + t->n_out * TCP_SEGMENT_BYTES;
}

static uint64_t timeout_after(const struct tcp_end *t, uint64_t now_us)
{
	uint64_t base = t->state == TCP_OPEN ? TCP_DATA_TIMEOUT_US : TCP_SYN_TIMEOUT_US;
	uint64_t wait = base << (t->n_timeouts < 6 ? t->n_timeouts : 6);
	return now_us + (wait < TCP_TIMEOUT_MAX_US ? wait : TCP_TIMEOUT_MAX_US);
}

static void begin(struct tcp_end *t, uint32_t iss, uint64_t now_us)
{
	memset(t, 0, sizeof *t);
	t->iss = t->una = t->nxt = t->max = iss;
	t->progress_us = now_us;
}

void tcp_open(struct tcp_end *t, uint32_t iss, uint64_t now_us)
{
	begin(t, iss, now_us);
	t->state = TCP_SYN_SENT;
}

void tcp_accept(struct tcp_end *t, uint32_t iss, const struct tcp_segment *syn, uint64_t now_us)
{
	begin(t, iss, now_us);
	t->state = TCP_SYN_RCVD;
	t->rcv_nxt = syn->seq + 1;
}

static void on_opened(struct tcp_end *t, uint64_t now_us)
{
	t->una = t->nxt = t->max = t->iss + 1;
	t->state = TCP_OPEN;
	t->n_timeouts = 0;
	t->timeout_us = 0;
	t->progress_us = now_us;
}

static uint32_t on_reset(struct tcp_end *t, const struct tcp_segment *s)
{
	bool is_ours = t->state == TCP_SYN_SENT ? (s->flags & TCP_ACK) != 0 && s->ack == t->iss + 1
	                                        : s->seq - t->rcv_nxt < TCP_WINDOW_BYTES;
	if (!is_ours)
		return 0;
	t->state = TCP_DONE;
	t->timeout_us = 0;
	return TCP_RESET;
}

static uint32_t on_syn_sent(struct tcp_end *t, const struct tcp_segment *s, uint64_t now_us)
{
	if (!(s->flags & TCP_ACK))
		return 0;
	if (!(s->flags & TCP_SYN) || s->ack != t->iss + 1)
		return TCP_REFUSE;
	t->rcv_nxt = s->seq + 1;
	t->owes_ack = true;
	on_opened(t, now_us);
	return TCP_OPENED;
}

static void on_ack(struct tcp_end *t, uint32_t ack, uint64_t now_us)
{
	if (!seq_before(t->una, ack) || seq_before(t->max, ack))
		return;
	t->una = ack;
	if (seq_before(t->nxt, ack))
		t->nxt = ack;
	t->n_timeouts = 0;
	t->progress_us = now_us;
	t->timeout_us = t->una == t->max ? 0 : timeout_after(t, now_us);
}

static bool is_all_acknowledged(const struct tcp_end *t)
{
	return t->wants_fin && t->una == data_end(t) + 1;
}

static uint32_t on_open(struct tcp_end *t, const struct tcp_segment *s, uint64_t now_us)
{
	uint32_t outcome = 0;
	if (s->flags & TCP_SYN) {
		t->owes_ack = true; // a challenge (RFC 5961 section 4)
		return 0;
	}
	if (s->flags & TCP_ACK)
		on_ack(t, s->ack, now_us);
	bool is_next = s->seq == t->rcv_nxt;
	if (s->n_bytes > 0 || (s->flags & TCP_FIN))
		t->owes_ack = true;
	if (s->n_bytes > 0 && is_next && !t->has_fin) {
		t->rcv_nxt += s->n_bytes;
		t->n_in++;
		t->progress_us = now_us;
		outcome |= TCP_DATA;
	}
	if ((s->flags & TCP_FIN) && is_next && !t->has_fin) {
		t->rcv_nxt++;
		t->has_fin = true;
		t->progress_us = now_us;
		outcome |= TCP_PEER_FINISHED;
	}
	if (t->has_fin && is_all_acknowledged(t)) {
		t->state = TCP_DONE;
		t->timeout_us = 0;
		outcome |= TCP_CLOSED_BOTH;
	}
	return outcome;
}

uint32_t tcp_on_segment(struct tcp_end *t, const struct tcp_segment *s, uint64_t now_us)
{
	if (t->state == TCP_DONE) { // the last ACK was lost
		t->owes_ack = t->owes_ack || (t->has_fin && (s->flags & TCP_FIN));
		return 0;
	}
	if (s->flags & TCP_RST)
		return on_reset(t, s);
	if (t->state == TCP_SYN_SENT)
		return on_syn_sent(t, s, now_us);
	if (t->state == TCP_OPEN)
		return on_open(t, s, now_us);
	if (s->flags & TCP_SYN) {
		t->nxt = t->iss; // the SYN-ACK once more
		return 0;
	}
	if (!(s->flags & TCP_ACK) || s->ack != t->iss + 1)
		return TCP_REFUSE;
	on_opened(t, now_us);
	return TCP_OPENED | on_open(t, s, now_us);
}

void tcp_on_timeout(struct tcp_end *t, uint64_t now_us)
{
	if (t->timeout_us == 0 || now_us < t->timeout_us)
		return;
	t->timeout_us = 0;
	t->nxt = t->una;
	if (t->n_timeouts < UINT8_MAX)
		t->n_timeouts++;
}

static void sent(struct tcp_end *t, uint32_t n, uint64_t now_us)
{
	t->nxt += n;
	if (seq_before(t->max, t->nxt))
		t->max = t->nxt;
	if (t->timeout_us == 0)
		t->timeout_us = timeout_after(t, now_us);
}

bool tcp_next_segment(struct tcp_end *t, uint64_t now_us, struct tcp_segment *ret_segment)
{
	struct tcp_segment s = { .seq = t->nxt, .ack = t->rcv_nxt, .flags = TCP_ACK };
	uint32_t n = 0;
	if (t->state == TCP_SYN_SENT || t->state == TCP_SYN_RCVD) {
		if (t->nxt != t->iss)
			return false;
		s.flags = t->state == TCP_SYN_SENT ? TCP_SYN : TCP_SYN | TCP_ACK;
		n = 1;
	} else if (t->state == TCP_OPEN && seq_before(t->nxt, data_end(t)) &&
	           t->nxt - t->una < TCP_FLIGHT_SEGMENTS * TCP_SEGMENT_BYTES) {
		s.flags |= TCP_PSH;
		s.n_bytes = TCP_SEGMENT_BYTES;
		n = TCP_SEGMENT_BYTES;
	} else if (t->state == TCP_OPEN && t->wants_fin && t->nxt == data_end(t)) {
		s.flags |= TCP_FIN;
		n = 1;
	} else if (!t->owes_ack) {
		return false;
	}
	if (s.flags & TCP_SYN && t->state == TCP_SYN_SENT)
		s.ack = 0;
	if (n > 0)
		sent(t, n, now_us);
	else
		s.seq = t->max;
	t->owes_ack = false;
	*ret_segment = s;
	return true;
}

struct tcp_segment tcp_refusal(const struct tcp_segment *s)
{
	if (s->flags & TCP_ACK)
		return (struct tcp_segment){ .seq = s->ack, .flags = TCP_RST };
	bool counts = (s->flags & (TCP_SYN | TCP_FIN)) != 0;
	return (struct tcp_segment){ .ack = s->seq + s->n_bytes + counts, .flags = TCP_RST | TCP_ACK };
}
