// Connections from the client's side: they ask, wait for the answer, think, ask again, and notice when something is wrong.
#include <string.h>

#include "hostagent/core/agent.h"
#include "tests/sim/snat.h"

#define UDP_TIMEOUT_US 500000u
#define BURST_CONNECTIONS 60
#define BURST_ONE_IN 6
#define VM_PORT_BASE 20000
#define VM_PORTS 40000

static const struct mac client_mac = { { 2, 0, 0, 0, 0, 4 } };
static const struct mac router_mac = { { 2, 0, 0, 0, 0, 1 } };

static void update_timer(struct sim *s, uint32_t connection);

// ---- Beginning and end ----

static uint64_t draw(const struct sim *s, uint32_t connection, uint32_t what)
{
	return hash_mix64(hash_mix64(s->options.seed * 31 + what) ^ connection * 0x9e3779b97f4a7c15ULL);
}

static double share(uint64_t drawn) // 0 to 1
{
	return (double)(drawn >> 11) * 0x1p-53;
}

// How many segments of answer the n-th request asks for.
static uint32_t n_asked(const struct sim *s, uint32_t connection, uint32_t n)
{
	return draw(s, connection, 1000 + n) % 4 == 0 ? 4 : 1;
}

static void end(struct sim *s, uint32_t connection, enum connection_state state)
{
	struct connection *c = &s->connections[connection];
	c->state = (uint8_t)state;
	c->next_us = 0;
	s->n_over++;
}

void client_break(struct sim *s, uint32_t connection, enum cause cause)
{
	static const char *const names[] = {
#define X(name, text) [CAUSE_##name] = text,
		CAUSES(X)
#undef X
	};
	struct connection *c = &s->connections[connection];
	if (connection_is_over(c))
		return;
	bool is_beyond = !c->is_outbound && c->vm != NONE && !managers_knows_owner(s, connection);
	s->stats.broken[cause]++;
	s->stats.broken_beyond_history += is_beyond;
	TRACE(s, connection, "BROKEN: %s%s", names[cause], is_beyond ? " (its VM is in no owner history any more)" : "");
	if (s->n_broken_ids < sizeof s->broken_ids / sizeof *s->broken_ids)
		s->broken_ids[s->n_broken_ids++] = connection;
	end(s, connection, CONN_BROKEN);
}

static void forget_halves(struct sim *s, uint32_t connection)
{
	while (s->connections[connection].first_half != NONE)
		half_free(s, s->connections[connection].first_half);
}

void client_died(struct sim *s, uint32_t connection)
{
	if (connection_is_over(&s->connections[connection]))
		return;
	s->stats.died_with_vm++;
	TRACE(s, connection, "its VM died");
	end(s, connection, CONN_DIED);
	if (s->connections[connection].is_outbound)
		forget_halves(s, connection);
}

void client_cut(struct sim *s, uint32_t connection)
{
	if (connection_is_over(&s->connections[connection]))
		return;
	s->stats.cut++;
	TRACE(s, connection, "cut: its lease was ended by an operator");
	end(s, connection, CONN_CUT);
	forget_halves(s, connection);
}

void client_refused(struct sim *s, uint32_t connection)
{
	if (connection_is_over(&s->connections[connection]))
		return;
	s->stats.refused++;
	TRACE(s, connection, "refused: %s", drop_reason_name((enum drop_reason)s->connections[connection].refusal));
	end(s, connection, CONN_REFUSED);
	forget_halves(s, connection);
}

static void finish(struct sim *s, uint32_t connection)
{
	s->stats.finished++;
	TRACE(s, connection, "finished");
	end(s, connection, CONN_FINISHED);
}

static void give_up(struct sim *s, uint32_t connection)
{
	const struct connection *c = &s->connections[connection];
	bool is_dead = (c->vm != NONE && !s->vms[c->vm].is_alive) || (c->target != NONE && !s->vms[c->target].is_alive);
	if (is_dead)
		client_died(s, connection);
	else if (c->is_outbound && !c->was_opened && c->refusal != DROP_NONE)
		client_refused(s, connection);
	else
		client_break(s, connection, c->was_opened ? CAUSE_TIMEOUT : CAUSE_NOT_OPENED);
}

static void on_opened(struct sim *s, uint32_t connection, uint32_t vm)
{
	struct connection *c = &s->connections[connection];
	c->vm = vm;
	c->state = CONN_LIVE;
	c->was_opened = true;
	s->stats.opened++;
	s->stats.outbound += c->is_outbound;
	TRACE(s, connection, "open with VM %u", vm);
}

// ---- Sending ----

static struct content content_of(const struct sim *s, uint32_t connection, uint32_t number)
{
	const struct connection *c = &s->connections[connection];
	struct content content = { .connection = connection,
		                       .vm = c->vm == NONE ? UINT16_MAX : (uint16_t)c->vm,
		                       .n_asked = (uint16_t)n_asked(s, connection, number),
		                       .number = number };
	content_seal(&content);
	return content;
}

static struct datagram datagram_of(const struct sim *s, uint32_t connection)
{
	const struct connection *c = &s->connections[connection];
	if (c->is_outbound)
		return (struct datagram){ .src = dip_address(c->vm),
			                      .dst = server_address(c->vip),
			                      .src_port = be16_from(c->port),
			                      .dst_port =
			                          be16_from(c->protocol == IP_PROTO_TCP ? SERVER_TCP_PORT : SERVER_UDP_PORT),
			                      .protocol = c->protocol };
	return (struct datagram){ .src = connection_address(connection),
		                      .dst = vip_address(c->vip),
		                      .src_port = connection_port(connection),
		                      .dst_port = be16_from(c->protocol == IP_PROTO_TCP ? VIP_TCP_PORT : VIP_UDP_PORT),
		                      .protocol = c->protocol };
}

static void write_and_send(struct sim *s, uint32_t connection, const struct datagram *d, const struct content *content)
{
	static const struct mac gateway_mac = AGENT_GATEWAY_MAC;
	const struct connection *c = &s->connections[connection];
	struct packet *p = packet_take(s);
	if (!c->is_outbound) {
		packet_write(p, d, content, &router_mac, &client_mac);
		network_from_client(s, p, connection);
		return;
	}
	struct mac mac = vm_mac(c->vm);
	p->outbound = connection;
	packet_write(p, d, content, &gateway_mac, &mac);
	host_from_vm(s, c->vm, p);
}

static void send_segment(struct sim *s, uint32_t connection, const struct tcp_segment *segment)
{
	struct datagram d = datagram_of(s, connection);
	d.tcp = *segment;
	uint32_t number = tcp_segment_number(s->connections[connection].tcp.iss, segment->seq);
	struct content content = content_of(s, connection, number);
	TRACE(s, connection, "client sends %s seq %u ack %u, %u bytes", trace_flags(segment->flags), segment->seq,
	      segment->ack, segment->n_bytes);
	write_and_send(s, connection, &d, segment->n_bytes > 0 ? &content : NULL);
}

static void send_request(struct sim *s, uint32_t connection)
{
	struct connection *c = &s->connections[connection];
	struct datagram d = datagram_of(s, connection);
	struct content content = content_of(s, connection, c->tcp.n_out - 1);
	TRACE(s, connection, "client sends request %u", content.number);
	c->tcp.timeout_us = s->now_us + (UDP_TIMEOUT_US << (c->tcp.n_timeouts < 4 ? c->tcp.n_timeouts : 4));
	write_and_send(s, connection, &d, &content);
}

static void send_all(struct sim *s, uint32_t connection)
{
	struct tcp_segment segment;
	while (tcp_next_segment(&s->connections[connection].tcp, s->now_us, &segment))
		send_segment(s, connection, &segment);
	update_timer(s, connection);
}

// ---- Time ----

static bool is_waiting(const struct connection *c)
{
	return !connection_is_over(c) && c->next_us == 0;
}

static void update_timer(struct sim *s, uint32_t connection)
{
	struct connection *c = &s->connections[connection];
	if (connection_is_over(c))
		return;
	uint64_t at = is_waiting(c) ? c->tcp.progress_us + us_of(s->options.patience_s) : c->next_us;
	if (c->tcp.timeout_us != 0 && c->tcp.timeout_us < at)
		at = c->tcp.timeout_us;
	if (at < s->now_us)
		at = s->now_us;
	if (c->event_us != 0 && c->event_us <= at)
		return;
	c->event_us = at;
	sim_at(s, at, EVENT_CLIENT, connection);
}

static void ask_next(struct sim *s, uint32_t connection)
{
	struct connection *c = &s->connections[connection];
	c->next_us = 0;
	c->tcp.progress_us = s->now_us;
	if (c->n_requests == 0) {
		c->tcp.wants_fin = true;
		return;
	}
	c->n_requests--;
	c->n_expected += n_asked(s, connection, c->tcp.n_out);
	c->tcp.n_out++;
	if (c->protocol != IP_PROTO_TCP)
		send_request(s, connection);
}

static void on_udp_timeout(struct sim *s, uint32_t connection)
{
	struct connection *c = &s->connections[connection];
	if (c->tcp.timeout_us == 0 || s->now_us < c->tcp.timeout_us)
		return;
	c->tcp.n_timeouts++;
	send_request(s, connection);
}

void client_on_event(struct sim *s, uint32_t connection)
{
	struct connection *c = &s->connections[connection];
	if (c->event_us != s->now_us)
		return; // another one was set since
	c->event_us = 0;
	if (connection_is_over(c))
		return;
	if (is_waiting(c) && s->now_us - c->tcp.progress_us >= us_of(s->options.patience_s)) {
		give_up(s, connection);
		return;
	}
	if (c->protocol == IP_PROTO_TCP)
		tcp_on_timeout(&c->tcp, s->now_us);
	else
		on_udp_timeout(s, connection);
	if (c->next_us != 0 && c->next_us <= s->now_us)
		ask_next(s, connection);
	if (c->protocol == IP_PROTO_TCP)
		send_all(s, connection);
	else
		update_timer(s, connection);
}

// Some come in bursts, of one VM to one server, so that its ports run out. False: no VM lives.
static bool begin_at_vm(struct sim *s, uint32_t connection)
{
	struct connection *c = &s->connections[connection];
	uint32_t burst = connection / BURST_CONNECTIONS;
	bool is_burst = draw(s, burst, 7) % BURST_ONE_IN == 0;
	uint64_t drawn = is_burst ? draw(s, burst, 8) : draw(s, connection, 9);
	uint32_t vm = (uint32_t)(drawn % s->options.n_dips);
	c->vip = (uint32_t)((drawn >> 40) % SERVERS);
	for (uint32_t n = 0; n < s->options.n_dips; n++, vm = (vm + 1) % s->options.n_dips) {
		if (!s->vms[vm].is_alive)
			continue;
		c->vm = vm;
		c->port = (uint16_t)(VM_PORT_BASE + s->vms[vm].n_opened++ % VM_PORTS);
		TRACE(s, connection, "VM %u opens it from port %u to server %u", vm, c->port, c->vip);
		return true;
	}
	return false;
}

void client_begin_next(struct sim *s)
{
	const struct sim_options *o = &s->options;
	uint32_t connection = s->n_begun++;
	struct connection *c = &s->connections[connection];
	double square = share(draw(s, connection, 1));
	double lifetime = o->lifetime_min_s + (o->lifetime_max_s - o->lifetime_min_s) * square * square;
	c->first_half = c->vm = c->target = NONE;
	c->vip = (uint32_t)(draw(s, connection, 2) % o->n_vips);
	c->is_outbound = draw(s, connection, 6) % 100 < o->snat_percent;
	c->protocol = draw(s, connection, 3) % 100 < o->udp_percent ? IP_PROTO_UDP : IP_PROTO_TCP;
	c->n_requests = (uint16_t)(2 + draw(s, connection, 4) % 4);
	c->think_us = (uint32_t)(us_of(lifetime) / (c->n_requests + 1u));
	c->state = CONN_OPENING;
	for (uint32_t i = 0; i < s->n_follow; i++)
		c->is_followed = c->is_followed || s->follow[i] == connection;
	TRACE(s, connection, "begins: %s, VIP %u, %u requests, %u ms between them",
	      c->protocol == IP_PROTO_TCP ? "TCP" : "UDP", c->vip, c->n_requests, c->think_us / 1000);
	tcp_open(&c->tcp, (uint32_t)draw(s, connection, 5), s->now_us);
	if (c->is_outbound && !begin_at_vm(s, connection)) {
		client_died(s, connection);
	} else if (c->protocol == IP_PROTO_TCP) {
		send_all(s, connection);
	} else {
		ask_next(s, connection);
		update_timer(s, connection);
	}
	if (s->n_begun < o->n_connections)
		sim_at(s, s->arrivals_us + (uint64_t)(o->seconds * 1e6 * s->n_begun / o->n_connections), EVENT_ARRIVAL, 0);
}

// ---- Receiving ----

static uint32_t vm_of_opening(const struct sim *s, const struct connection *c)
{
	for (uint32_t i = c->first_half; i != NONE; i = s->halves[i].next)
		if (s->halves[i].tcp.iss + 1 == c->tcp.rcv_nxt)
			return s->halves[i].vm;
	return NONE;
}

// Has no VM answered a request yet, and did another VM than its own see its SYN?
static bool is_split(const struct sim *s, const struct connection *c)
{
	bool has_other = false;
	for (uint32_t i = c->first_half; i != NONE; i = s->halves[i].next)
		has_other = has_other || s->halves[i].vm != c->vm;
	return has_other && c->tcp.n_in == 0;
}

static void on_answer(struct sim *s, uint32_t connection)
{
	struct connection *c = &s->connections[connection];
	if (c->tcp.n_in == c->n_expected)
		c->next_us = s->now_us + c->think_us;
}

static void on_segment(struct sim *s, uint32_t connection, const struct datagram *d)
{
	struct connection *c = &s->connections[connection];
	TRACE(s, connection, "client gets %s seq %u ack %u, %u bytes", trace_flags(d->tcp.flags), d->tcp.seq, d->tcp.ack,
	      d->tcp.n_bytes);
	uint32_t outcome = tcp_on_segment(&c->tcp, &d->tcp, s->now_us);
	if (outcome & TCP_RESET && c->state == CONN_OPENING && c->refusal != DROP_NONE) {
		client_refused(s, connection);
		return;
	}
	if (outcome & TCP_RESET) {
		client_break(s, connection, is_split(s, c) ? CAUSE_SPLIT : CAUSE_RESET);
		return;
	}
	if (outcome & TCP_REFUSE) {
		struct tcp_segment refusal = tcp_refusal(&d->tcp);
		send_segment(s, connection, &refusal);
	}
	if (outcome & TCP_OPENED) {
		on_opened(s, connection, c->is_outbound ? c->vm : vm_of_opening(s, c));
		c->next_us = s->now_us + c->think_us;
	}
	if (outcome & TCP_DATA) {
		struct content content;
		memcpy(&content, d->data, sizeof content);
		if (content.vm != c->vm || content.connection != connection || content.number != c->tcp.n_in - 1) {
			client_break(s, connection, CAUSE_WRONG_VM);
			return;
		}
		on_answer(s, connection);
	}
	if (outcome & TCP_CLOSED_BOTH)
		finish(s, connection);
	send_all(s, connection);
}

static void on_udp(struct sim *s, uint32_t connection, const struct datagram *d)
{
	struct connection *c = &s->connections[connection];
	struct content content;
	if (d->data == NULL) {
		client_break(s, connection, CAUSE_DAMAGED);
		return;
	}
	memcpy(&content, d->data, sizeof content);
	TRACE(s, connection, "client gets answer %u of VM %u", content.number, content.vm);
	if (!c->was_opened)
		on_opened(s, connection, content.vm);
	if (content.vm != c->vm || content.connection != connection) {
		client_break(s, connection, CAUSE_WRONG_VM);
		return;
	}
	if (content.number != c->tcp.n_out - 1 || c->next_us != 0)
		return; // again
	c->tcp.timeout_us = 0;
	c->tcp.n_timeouts = 0;
	c->tcp.progress_us = s->now_us;
	if (c->n_requests == 0)
		finish(s, connection);
	else
		c->next_us = s->now_us + c->think_us;
	update_timer(s, connection);
}

void client_on_packet(struct sim *s, struct packet *p)
{
	struct datagram d;
	bool is_whole = packet_read(packet_frame(p), p->len, &d);
	uint32_t connection =
		connection_of(load32(packet_frame(p) + ETH_BYTES + 16), load16(packet_frame(p) + ETH_BYTES + IP4_BYTES + 2));
	struct connection *c = &s->connections[connection];
	bool is_ours = connection < s->n_begun && is_whole && d.src == vip_address(c->vip) && d.protocol == c->protocol;
	if (!is_ours && connection < s->n_begun)
		client_break(s, connection, CAUSE_DAMAGED);
	else if (is_ours && d.protocol == IP_PROTO_TCP)
		on_segment(s, connection, &d);
	else if (is_ours && !connection_is_over(c))
		on_udp(s, connection, &d);
	packet_give_back(s, p);
}

static bool is_of(const struct connection *c, uint32_t vm, const struct datagram *d)
{
	uint16_t from = c->protocol == IP_PROTO_TCP ? SERVER_TCP_PORT : SERVER_UDP_PORT;
	return c->vm == vm && d->src == server_address(c->vip) && d->src_port == be16_from(from) &&
	       d->dst == dip_address(vm) && d->dst_port == be16_from(c->port) && d->protocol == c->protocol;
}

static void on_wrong_vm(struct sim *s, uint32_t connection, uint32_t vm)
{
	truth_violated(s, VIOLATION_WRONG_VM, "VM %u got a reply of connection %u, which VM %u opened", vm, connection,
	               s->connections[connection].vm);
	client_break(s, connection, CAUSE_WRONG_VM);
}

void client_on_reply(struct sim *s, uint32_t vm, struct packet *p)
{
	struct datagram d;
	uint32_t connection = p->outbound;
	struct connection *c = &s->connections[connection];
	bool is_whole = packet_read(packet_frame(p), p->len, &d);
	if (!is_whole)
		client_break(s, connection, CAUSE_DAMAGED);
	else if (!is_of(c, vm, &d))
		on_wrong_vm(s, connection, vm);
	else if (c->state <= CONN_FINISHED && d.protocol == IP_PROTO_TCP)
		on_segment(s, connection, &d);
	else if (!connection_is_over(c) && d.protocol == IP_PROTO_UDP)
		on_udp(s, connection, &d);
	packet_give_back(s, p);
}
