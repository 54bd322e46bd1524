#include <string.h>

#include "common/base/check.h"
#include "common/base/memory.h"
#include "common/packet/checksum.h"
#include "common/packet/encap.h"
#include "tests/sim/sim.h"

static void grow(struct sim *s)
{
	struct packet_pool *pool = &s->packets;
	CHECK(pool->n_chunks < PACKET_CHUNKS_MAX);
	struct packet *chunk = memory_array(PACKET_CHUNK, sizeof *chunk);
	CHECK(chunk != NULL);
	uint32_t first = pool->n_chunks * PACKET_CHUNK;
	pool->chunks[pool->n_chunks++] = chunk;
	for (uint32_t i = PACKET_CHUNK; i-- > 0;) {
		chunk[i].idx = first + i;
		packet_give_back(s, &chunk[i]);
	}
}

struct packet *packet_take(struct sim *s)
{
	if (s->packets.free_head == NONE)
		grow(s);
	struct packet *p = packet_at(s, s->packets.free_head);
	s->packets.free_head = p->next_free;
	p->is_detoured = false;
	p->outbound = NONE;
	return p;
}

void packet_give_back(struct sim *s, struct packet *p)
{
	p->next_free = s->packets.free_head;
	s->packets.free_head = p->idx;
}

struct packet *packet_copy(struct sim *s, const struct packet *p)
{
	struct packet *copy = packet_take(s);
	uint32_t idx = copy->idx;
	memcpy(copy, p, sizeof *copy);
	copy->idx = idx;
	return copy;
}

// The checksum of TCP or UDP with its pseudo header, of a segment whose field holds what it holds; 0xffff folded: right.
static uint16_t sum_transport(const struct ip4_header *ip, const uint8_t *l4, uint32_t n_bytes)
{
	uint32_t sum = checksum_add(&ip->src, 8, 0) + be16_from(ip->protocol) + be16_from((uint16_t)n_bytes);
	return checksum_fold(checksum_add(l4, n_bytes, sum));
}

static uint32_t write_tcp(uint8_t *l4, const struct datagram *d)
{
	*(struct tcp_header *)l4 = (struct tcp_header){ .src_port = d->src_port,
		                                            .dst_port = d->dst_port,
		                                            .seq = be32_from(d->tcp.seq),
		                                            .ack = be32_from(d->tcp.ack),
		                                            .data_offset = 5 << 4,
		                                            .flags = d->tcp.flags,
		                                            .window = be16_from(TCP_WINDOW_BYTES) };
	return sizeof(struct tcp_header);
}

static uint32_t write_udp(uint8_t *l4, const struct datagram *d, uint32_t n_data)
{
	*(struct udp_header *)l4 =
		(struct udp_header){ .src_port = d->src_port,
		                     .dst_port = d->dst_port,
		                     .length = be16_from((uint16_t)(sizeof(struct udp_header) + n_data)) };
	return sizeof(struct udp_header);
}

void packet_write(struct packet *p, const struct datagram *d, const struct content *content, const struct mac *dst,
                  const struct mac *src)
{
	p->offset = PACKET_HEADROOM;
	uint8_t *frame = packet_frame(p);
	uint8_t *l4 = frame + ETH_BYTES + IP4_BYTES;
	bool is_tcp = d->protocol == IP_PROTO_TCP;
	uint32_t n_data = content == NULL ? 0 : sizeof *content;
	uint32_t n_header = is_tcp ? write_tcp(l4, d) : write_udp(l4, d, n_data);
	if (content != NULL)
		memcpy(l4 + n_header, content, n_data);
	struct ip4_header *ip = (struct ip4_header *)(frame + ETH_BYTES);
	*ip = (struct ip4_header){ .version_ihl = 0x45,
		                       .total_length = be16_from((uint16_t)(IP4_BYTES + n_header + n_data)),
		                       .fragment = be16_from(IP4_DONT_FRAGMENT),
		                       .ttl = 64,
		                       .protocol = d->protocol,
		                       .src = d->src,
		                       .dst = d->dst };
	ip->checksum = checksum_compute(ip, IP4_BYTES);
	be16 checksum = (be16)~sum_transport(ip, l4, n_header + n_data);
	if (is_tcp)
		((struct tcp_header *)l4)->checksum = checksum;
	else
		((struct udp_header *)l4)->checksum = checksum == 0 ? 0xffff : checksum;
	eth_write_ip4(frame, dst, src);
	p->len = (uint16_t)(ETH_BYTES + IP4_BYTES + n_header + n_data);
}

static uint32_t content_check(const struct content *c)
{
	return (uint32_t)hash_bytes(c, offsetof(struct content, check), 0x5eed);
}

void content_seal(struct content *c)
{
	c->check = content_check(c);
}

static bool read_tcp(const uint8_t *l4, uint32_t n_bytes, struct datagram *d)
{
	const struct tcp_header *tcp = (const struct tcp_header *)l4;
	if (n_bytes < sizeof *tcp || (tcp->data_offset >> 4) != 5)
		return false;
	d->tcp = (struct tcp_segment){ .seq = be32_to(tcp->seq),
		                           .ack = be32_to(tcp->ack),
		                           .flags = tcp->flags,
		                           .n_bytes = (uint8_t)(n_bytes - sizeof *tcp) };
	return true;
}

bool packet_read(uint8_t *frame, uint32_t len, struct datagram *d)
{
	struct ip4_header *ip = (struct ip4_header *)(frame + ETH_BYTES);
	uint8_t *l4 = frame + ETH_BYTES + IP4_BYTES;
	uint32_t n_bytes = len - ETH_BYTES - IP4_BYTES;
	bool is_tcp = ip->protocol == IP_PROTO_TCP;
	uint32_t n_header = is_tcp ? sizeof(struct tcp_header) : sizeof(struct udp_header);
	if (len < ETH_BYTES + IP4_BYTES + n_header || be16_to(ip->total_length) != len - ETH_BYTES)
		return false;
	if (checksum_fold(checksum_add(ip, IP4_BYTES, 0)) != 0xffff || sum_transport(ip, l4, n_bytes) != 0xffff)
		return false;
	*d = (struct datagram){
		.src = ip->src, .dst = ip->dst, .src_port = load16(l4), .dst_port = load16(l4 + 2), .protocol = ip->protocol
	};
	if (is_tcp && !read_tcp(l4, n_bytes, d))
		return false;
	if (n_bytes == n_header)
		return true;
	struct content content;
	d->data = l4 + n_header;
	if (n_bytes - n_header != sizeof content)
		return false;
	memcpy(&content, d->data, sizeof content);
	return content.check == content_check(&content);
}
