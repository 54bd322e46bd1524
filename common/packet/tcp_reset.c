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

// Without a checksum.
static struct tcp_header make_reset(const uint8_t *frame, const struct parsed *p)
{
	const struct tcp_header *old = (const struct tcp_header *)(frame + p->l4_off);
	bool has_ack = (old->flags & TCP_ACK) != 0;
	uint32_t end = be32_to(old->seq) + segment_length(frame, p);
	return (struct tcp_header){ .src_port = old->dst_port,
		                        .dst_port = old->src_port,
		                        .seq = has_ack ? old->ack : 0,
		                        .ack = has_ack ? 0 : be32_from(end),
		                        .data_offset = 0x50,
		                        .flags = has_ack ? TCP_RST : TCP_RST | TCP_ACK };
}

static uint32_t write_reset4(uint8_t *frame, const struct parsed *p)
{
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
		.tcp = make_reset(frame, p),
	};
	reset.ip.checksum = checksum_compute(&reset.ip, sizeof reset.ip);
	uint32_t pseudo = checksum_add(&reset.ip.src, 8, be16_from(IP_PROTO_TCP) + (uint32_t)be16_from(sizeof reset.tcp));
	reset.tcp.checksum = (be16)~checksum_fold(checksum_add(&reset.tcp, sizeof reset.tcp, pseudo));
	memcpy(frame + p->l3_off, &reset, sizeof reset);
	return sizeof reset;
}

static uint32_t write_reset6(uint8_t *frame, const struct parsed *p)
{
	struct {
		struct ip6_header ip;
		struct tcp_header tcp;
	} PACKED reset = {
		.ip = { .version_class_label = be32_from(0x60000000u),
		        .payload_length = be16_from(sizeof reset.tcp),
		        .next_header = IP_PROTO_TCP,
		        .hop_limit = RESET_TTL },
		.tcp = make_reset(frame, p),
	};
	memcpy(reset.ip.src, parsed_dst6(frame, p), sizeof reset.ip.src);
	memcpy(reset.ip.dst, parsed_src6(frame, p), sizeof reset.ip.dst);
	uint32_t pseudo = checksum_pseudo_ip6(reset.ip.src, sizeof reset.tcp, IP_PROTO_TCP);
	reset.tcp.checksum = (be16)~checksum_fold(checksum_add(&reset.tcp, sizeof reset.tcp, pseudo));
	memcpy(frame + p->l3_off, &reset, sizeof reset);
	return sizeof reset;
}

uint32_t tcp_write_reset(uint8_t *frame, const struct parsed *p)
{
	return p->is_ip6 ? write_reset6(frame, p) : write_reset4(frame, p);
}
