// Servers outside: they know connections by what they see of them, VIP and port, and their packets go to a router like any client's.
#include <string.h>

#include "common/base/memory.h"
#include "tests/sim/snat.h"

#define HEADS 4096 // of the table

static uint32_t *head_of(struct sim *s, be32 peer, be16 peer_port, uint16_t server)
{
	uint64_t key = (uint64_t)peer << 32 | (uint64_t)peer_port << 16 | server;
	return &s->servers[hash_mix64(key) % HEADS];
}

static uint32_t lookup(struct sim *s, const struct datagram *d, uint16_t server)
{
	uint32_t i = *head_of(s, d->src, d->src_port, server);
	while (i != NONE) {
		const struct half *h = &s->halves[i];
		if (h->peer == d->src && h->peer_port == d->src_port && h->server == server)
			return i;
		i = h->next_at_server;
	}
	return NONE;
}

static uint32_t insert(struct sim *s, uint32_t connection, const struct datagram *d, uint16_t server)
{
	uint32_t half = half_new(s, connection, NONE);
	struct half *h = &s->halves[half];
	uint32_t *head = head_of(s, d->src, d->src_port, server);
	h->peer = d->src;
	h->peer_port = d->src_port;
	h->server = server;
	h->next_at_server = *head;
	*head = half;
	return half;
}

void server_remove(struct sim *s, uint32_t half)
{
	const struct half *h = &s->halves[half];
	uint32_t *at = head_of(s, h->peer, h->peer_port, h->server);
	while (*at != half)
		at = &s->halves[*at].next_at_server;
	*at = h->next_at_server;
}

void server_create(struct sim *s)
{
	s->servers = memory_array(HEADS, sizeof *s->servers);
	for (uint32_t i = 0; i < HEADS; i++)
		s->servers[i] = NONE;
}

struct datagram server_datagram(const struct half *h)
{
	return (struct datagram){ .src = server_address(h->server),
		                      .dst = h->peer,
		                      .src_port = be16_from(SERVER_TCP_PORT),
		                      .dst_port = h->peer_port,
		                      .protocol = IP_PROTO_TCP };
}

void server_send(struct sim *s, uint32_t connection, const struct datagram *d, const struct content *content)
{
	static const struct mac server_mac = { { 2, 0, 0, 0, 0, 5 } };
	static const struct mac router_mac = { { 2, 0, 0, 0, 0, 1 } };
	struct packet *p = packet_take(s);
	p->outbound = connection;
	packet_write(p, d, content, &router_mac, &server_mac);
	network_from_client(s, p, connection);
}

// One connection's packet in the place of another's, which is not over: two VMs have one port.
static bool is_taken(struct sim *s, uint32_t half, uint32_t connection)
{
	uint32_t other = s->halves[half].connection;
	if (other == connection)
		return false;
	if (connection_is_over(&s->connections[other])) {
		half_free(s, half);
		return false;
	}
	truth_violated(s, VIOLATION_TWO_OWNERS, "connections %u of VM %u and %u of VM %u have one port towards server %u",
	               other, s->connections[other].vm, connection, s->connections[connection].vm, s->halves[half].server);
	return true;
}

static void on_tcp(struct sim *s, uint32_t connection, const struct datagram *d, uint16_t server)
{
	uint32_t half = lookup(s, d, server);
	if (half != NONE && s->halves[half].connection != connection && is_taken(s, half, connection))
		return;
	half = lookup(s, d, server);
	TRACE(s, connection, "        server %u gets %s seq %u ack %u, %u bytes", server, trace_flags(d->tcp.flags),
	      d->tcp.seq, d->tcp.ack, d->tcp.n_bytes);
	if (half != NONE) {
		half_on_segment(s, half, d);
	} else if (connection_is_over(&s->connections[connection])) {
		return; // what was on its way
	} else if (tcp_flags_begin(d->tcp.flags)) {
		half = insert(s, connection, d, server);
		half_accept(s, half, &d->tcp);
	} else if (!(d->tcp.flags & TCP_RST)) {
		struct tcp_segment refusal = tcp_refusal(&d->tcp);
		struct datagram answer =
			server_datagram(&(struct half){ .server = server, .peer = d->src, .peer_port = d->src_port });
		answer.tcp = refusal;
		server_send(s, connection, &answer, NULL);
	}
}

static void on_udp(struct sim *s, uint32_t connection, const struct datagram *d)
{
	struct content content;
	if (d->data == NULL)
		return;
	memcpy(&content, d->data, sizeof content);
	if (content.connection != connection || content.vm != s->connections[connection].vm)
		client_break(s, connection, CAUSE_DAMAGED);
	struct datagram answer = {
		.src = d->dst, .dst = d->src, .src_port = d->dst_port, .dst_port = d->src_port, .protocol = IP_PROTO_UDP
	};
	server_send(s, connection, &answer, &content);
}

void server_on_packet(struct sim *s, struct packet *p)
{
	struct datagram d;
	uint32_t connection = p->outbound;
	bool is_whole = packet_read(packet_frame(p), p->len, &d) && connection != NONE;
	if (!is_whole && connection != NONE)
		client_break(s, connection, CAUSE_DAMAGED);
	else if (is_whole && d.protocol == IP_PROTO_TCP)
		on_tcp(s, connection, &d, (uint16_t)p->to_idx);
	else if (is_whole)
		on_udp(s, connection, &d);
	packet_give_back(s, p);
}
