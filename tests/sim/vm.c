// What VMs do: a TCP server that answers what it is asked, a UDP server likewise, and a RST for what is no connection here.
#include <string.h>

#include "common/base/check.h"
#include "common/base/memory.h"
#include "hostagent/core/agent.h"
#include "tests/sim/sim.h"

#define SYN_TIMEOUTS_MAX 6

static void update_timer(struct sim *s, uint32_t half);

// ---- Halves ----

static uint32_t find_half(const struct sim *s, uint32_t connection, uint32_t vm)
{
	uint32_t i = s->connections[connection].first_half;
	while (i != NONE && s->halves[i].vm != vm)
		i = s->halves[i].next;
	return i;
}

uint32_t half_new(struct sim *s, uint32_t connection, uint32_t vm)
{
	uint32_t i = s->free_half;
	if (i != NONE) {
		s->free_half = s->halves[i].next;
	} else {
		if (s->n_halves == s->halves_capacity) {
			s->halves_capacity = s->halves_capacity == 0 ? 1024 : s->halves_capacity * 2;
			s->halves = memory_resize(s->halves, s->halves_capacity, sizeof *s->halves);
			CHECK(s->halves != NULL && s->halves_capacity <= EVENT_INDEX_MASK);
		}
		i = s->n_halves++;
	}
	struct connection *c = &s->connections[connection];
	s->halves[i] = (struct half){ .connection = connection, .vm = vm, .next = c->first_half, .is_used = true };
	c->first_half = i;
	return i;
}

void half_free(struct sim *s, uint32_t half)
{
	struct half *h = &s->halves[half];
	uint32_t *at = &s->connections[h->connection].first_half;
	if (h->vm == NONE)
		server_remove(s, half);
	while (*at != half)
		at = &s->halves[*at].next;
	*at = h->next;
	*h = (struct half){ .next = s->free_half };
	s->free_half = half;
}

// ---- Sending ----

static struct datagram answer_to(const struct datagram *d, uint32_t vm)
{
	return (struct datagram){
		.src = dip_address(vm), .dst = d->src, .src_port = d->dst_port, .dst_port = d->src_port, .protocol = d->protocol
	};
}

static void write_and_send(struct sim *s, uint32_t vm, const struct datagram *d, const struct content *content)
{
	static const struct mac gateway = AGENT_GATEWAY_MAC;
	struct mac mac = vm_mac(vm);
	struct packet *p = packet_take(s);
	packet_write(p, d, content, &gateway, &mac);
	host_from_vm(s, vm, p);
}

static struct content content_of(uint32_t connection, uint32_t vm, uint32_t number)
{
	struct content content = { .connection = connection, .vm = (uint16_t)vm, .number = number };
	content_seal(&content);
	return content;
}

static struct datagram datagram_of(uint32_t connection, uint32_t vm)
{
	return (struct datagram){ .src = dip_address(vm),
		                      .dst = connection_address(connection),
		                      .src_port = be16_from(VM_TCP_PORT),
		                      .dst_port = connection_port(connection),
		                      .protocol = IP_PROTO_TCP };
}

static void send_segment(struct sim *s, const struct half *h, const struct tcp_segment *segment, uint32_t number)
{
	bool is_server = h->vm == NONE;
	uint32_t vm = s->connections[h->connection].vm;
	struct datagram d = is_server ? server_datagram(h) : datagram_of(h->connection, h->vm);
	struct content content = content_of(h->connection, is_server ? vm : h->vm, number);
	d.tcp = *segment;
	TRACE(s, h->connection, "        %s %u sends %s seq %u ack %u, %u bytes", is_server ? "server" : "VM",
	      is_server ? h->server : h->vm, trace_flags(segment->flags), segment->seq, segment->ack, segment->n_bytes);
	if (is_server)
		server_send(s, h->connection, &d, segment->n_bytes > 0 ? &content : NULL);
	else
		write_and_send(s, h->vm, &d, segment->n_bytes > 0 ? &content : NULL);
}

static void send_all(struct sim *s, uint32_t half)
{
	struct tcp_segment segment;
	while (tcp_next_segment(&s->halves[half].tcp, s->now_us, &segment)) {
		const struct half *h = &s->halves[half];
		send_segment(s, h, &segment, tcp_segment_number(h->tcp.iss, segment.seq));
	}
	update_timer(s, half);
}

// ---- Time ----

static void update_timer(struct sim *s, uint32_t half)
{
	struct half *h = &s->halves[half];
	uint64_t at = h->tcp.timeout_us;
	if (at == 0 || (h->event_us != 0 && h->event_us <= at))
		return;
	h->event_us = at;
	sim_at(s, at, EVENT_HALF, half);
}

void vm_on_event(struct sim *s, uint32_t half)
{
	struct half *h = &s->halves[half];
	if (!h->is_used || h->event_us != s->now_us)
		return;
	h->event_us = 0;
	bool is_lost = s->now_us - h->tcp.progress_us > 2 * us_of(s->options.patience_s) ||
	               (h->tcp.state == TCP_SYN_RCVD && h->tcp.n_timeouts >= SYN_TIMEOUTS_MAX);
	if (is_lost) {
		half_free(s, half);
		return;
	}
	tcp_on_timeout(&h->tcp, s->now_us);
	send_all(s, half);
}

void vm_forget(struct sim *s, uint32_t vm)
{
	for (uint32_t i = 0; i < s->n_halves; i++)
		if (s->halves[i].is_used && s->halves[i].vm == vm)
			half_free(s, i);
	for (uint32_t i = 0; i < s->n_begun; i++)
		if (s->connections[i].vm == vm)
			client_died(s, i);
}

// ---- Receiving ----

void half_on_segment(struct sim *s, uint32_t half, const struct datagram *d)
{
	struct half *h = &s->halves[half];
	uint32_t connection = h->connection;
	uint32_t outcome = tcp_on_segment(&h->tcp, &d->tcp, s->now_us);
	if (outcome & TCP_RESET) {
		bool is_its_own = h->vm == NONE || s->connections[connection].vm == h->vm;
		half_free(s, half);
		if (is_its_own)
			client_break(s, connection, CAUSE_VM_RESET);
		return;
	}
	if (outcome & TCP_REFUSE) {
		struct tcp_segment refusal = tcp_refusal(&d->tcp);
		send_segment(s, h, &refusal, 0);
	}
	if (outcome & TCP_DATA) {
		struct content content;
		memcpy(&content, d->data, sizeof content);
		uint32_t vm = h->vm == NONE ? s->connections[connection].vm : h->vm;
		if (content.connection != connection || content.vm != vm || content.number != h->tcp.n_in - 1)
			client_break(s, connection, CAUSE_WRONG_VM);
		h->tcp.n_out += content.n_asked;
	}
	if (outcome & TCP_PEER_FINISHED)
		h->tcp.wants_fin = true;
	if (outcome & TCP_CLOSED_BOTH)
		half_free(s, half);
	else
		send_all(s, half);
}

void half_accept(struct sim *s, uint32_t half, const struct tcp_segment *syn)
{
	struct half *h = &s->halves[half];
	uint64_t iss = hash_mix64(s->options.seed ^ ((uint64_t)h->connection << 20 | h->vm));
	tcp_accept(&h->tcp, (uint32_t)iss, syn, s->now_us);
	send_all(s, half);
}

static void on_tcp(struct sim *s, uint32_t connection, uint32_t vm, const struct datagram *d)
{
	TRACE(s, connection, "        VM %u gets %s seq %u ack %u, %u bytes", vm, trace_flags(d->tcp.flags), d->tcp.seq,
	      d->tcp.ack, d->tcp.n_bytes);
	uint32_t half = find_half(s, connection, vm);
	if (half != NONE) {
		half_on_segment(s, half, d);
	} else if (tcp_flags_begin(d->tcp.flags)) {
		half = half_new(s, connection, vm);
		half_accept(s, half, &d->tcp);
	} else if (!(d->tcp.flags & TCP_RST)) {
		struct tcp_segment refusal = tcp_refusal(&d->tcp);
		send_segment(s, &(struct half){ .connection = connection, .vm = vm }, &refusal, 0);
	}
}

static void on_udp(struct sim *s, uint32_t connection, uint32_t vm, const struct datagram *d)
{
	struct content asked;
	if (d->data == NULL)
		return;
	memcpy(&asked, d->data, sizeof asked);
	struct datagram answer = answer_to(d, vm);
	struct content content = content_of(connection, vm, asked.number);
	TRACE(s, connection, "        VM %u answers request %u", vm, asked.number);
	if (asked.connection != connection)
		client_break(s, connection, CAUSE_DAMAGED);
	write_and_send(s, vm, &answer, &content);
}

void vm_on_packet(struct sim *s, uint32_t vm, struct packet *p)
{
	struct datagram d;
	CHECK(vm < s->options.n_dips);
	if (p->outbound != NONE) {
		client_on_reply(s, vm, p);
		return;
	}
	bool is_whole = packet_read(packet_frame(p), p->len, &d);
	uint32_t connection =
		connection_of(load32(packet_frame(p) + ETH_BYTES + 12), load16(packet_frame(p) + ETH_BYTES + IP4_BYTES));
	CHECK(connection < s->n_begun);
	bool is_ours = is_whole && d.dst_port == be16_from(d.protocol == IP_PROTO_TCP ? VM_TCP_PORT : VM_UDP_PORT);
	if (!is_ours)
		client_break(s, connection, CAUSE_DAMAGED);
	else if (d.protocol == IP_PROTO_TCP)
		on_tcp(s, connection, vm, &d);
	else
		on_udp(s, connection, vm, &d);
	packet_give_back(s, p);
}
