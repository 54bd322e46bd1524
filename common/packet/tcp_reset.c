#include "common/packet/tcp_reset.h"

#include "common/packet/checksum.h"

enum { RESET_TTL = 64 };

// What the segment takes of the sequence space.
static uint32_t segment_length(const uint8_t *frame, const struct parsed *p)
{
	const struct tcp_header *tcp = (const struct tcp_header *)(frame + p->l4_off);
	uint32_t header_bytes = (uint32_t)(tcp->data_offset >> 4) * 4u;
	uint32_t data_bytes = (uint32_t)p->l3_off + p->l3_bytes - p->l4_off - header_bytes;
	return data_bytes + ((tcp->flags & TCP_SYN) != 0) + ((tcp->flags & TCP_FIN) != 0);
}

uint32_t tcp_write_reset(uint8_t *frame, const struct parsed *p)
{
	struct tcp_header old;
	memcpy(&old, frame + p->l4_off, sizeof old);
	bool has_ack = (old.flags & TCP_ACK) != 0;
	uint32_t end = be32_to(old.seq) + segment_length(frame, p);
	struct {
		struct ip4_header ip;
		struct tcp_header tcp;
	} PACKED reset = {
		.ip = { .version_ihl = 0x45,
		        .total_length = be16_from(sizeof reset),
		        .fragment = be16_from(IP4_DONT_FRAGMENT),
		        .ttl = RESET_TTL,
		        .protocol = IP_PROTO_TCP,
		        .src = p->dst,
		        .dst = p->src },
		.tcp = { .src_port = old.dst_port,
		         .dst_port = old.src_port,
		         .seq = has_ack ? old.ack : 0,
		         .ack = has_ack ? 0 : be32_from(end),
		         .data_offset = 0x50,
		         .flags = has_ack ? TCP_RST : TCP_RST | TCP_ACK },
	};
	reset.ip.checksum = checksum_compute(&reset.ip, sizeof reset.ip);
	uint32_t pseudo = checksum_add(&reset.ip.src, 8, be16_from(IP_PROTO_TCP) + (uint32_t)be16_from(sizeof reset.tcp));
	reset.tcp.checksum = (be16)~checksum_fold(checksum_add(&reset.tcp, sizeof reset.tcp, pseudo));
	memcpy(frame + p->l3_off, &reset, sizeof reset);
	return sizeof reset;
}
