// A frame as a line of text, for the messages of failed tests.
#include <arpa/inet.h> // inet_ntop: text only
#include <stdarg.h>
#include <string.h>

#include "common/base/text.h"
#include "common/packet/arp.h"
#include "common/packet/parse.h"
#include "tests/support/packet_builder.h"

struct line {
	char *buf;
	size_t size;
};

static void line_add(struct line *l, const char *format, ...) __attribute__((format(printf, 2, 3)));

static void line_add(struct line *l, const char *format, ...)
{
	size_t used = strlen(l->buf);
	va_list args;
	va_start(args, format);
	text_vformat(l->buf + used, l->size - used, format, args);
	va_end(args);
}

static const char *ip_text(be32 addr, char *buf)
{
	return inet_ntop(AF_INET, &addr, buf, INET_ADDRSTRLEN);
}

static const char *mac_text(const struct mac *m, char *buf)
{
	const uint8_t *b = m->bytes;
	text_format(buf, 18, "%02x:%02x:%02x:%02x:%02x:%02x", b[0], b[1], b[2], b[3], b[4], b[5]);
	return buf;
}

static void add_tcp(struct line *l, const uint8_t *packet, const struct parsed *p)
{
	static const char letters[] = "FSRPA"; // bits 0 to 4
	const struct tcp_header *tcp = (const struct tcp_header *)(packet + p->l4_off);
	char flags[sizeof letters] = "";
	for (uint32_t i = 0, n = 0; i < 5; i++)
		if ((tcp->flags & (1u << i)) != 0)
			flags[n++] = letters[i];
	line_add(l, " tcp %s seq %u ack %u len %u", flags, be32_to(tcp->seq), be32_to(tcp->ack),
	         (unsigned)p->l3_bytes - p->l4_off - (tcp->data_offset >> 4) * 4u);
}

static void add_ip4(struct line *l, const uint8_t *packet, uint32_t len)
{
	struct parsed p;
	enum drop_reason reason = parse_ip4(packet, len, 0, &p);
	if (reason != DROP_NONE && reason != DROP_FRAGMENT) {
		line_add(l, " ip4 malformed (%s)", drop_reason_name(reason));
		return;
	}
	const struct ip4_header *ip = (const struct ip4_header *)packet;
	char src[INET_ADDRSTRLEN], dst[INET_ADDRSTRLEN];
	line_add(l, " ip4 %s:%u > %s:%u", ip_text(p.src, src), be16_to(p.src_port), ip_text(p.dst, dst),
	         be16_to(p.dst_port));
	if (reason == DROP_FRAGMENT)
		line_add(l, " fragment %04x", be16_to(ip->fragment));
	else if (p.protocol == IP_PROTO_TCP)
		add_tcp(l, packet, &p);
	else if (p.protocol == IP_PROTO_UDP)
		line_add(l, " udp len %u", (unsigned)p.l3_bytes - p.l4_off - 8u);
	else if (p.protocol == IP_PROTO_ICMP)
		line_add(l, " icmp type %u code %u", packet[p.l4_off], packet[p.l4_off + 1]);
	else
		line_add(l, " protocol %u", p.protocol);
	line_add(l, " ttl %u id %u", ip->ttl, be16_to(ip->id));
	if (reason == DROP_NONE && p.protocol == IP_PROTO_IPIP) {
		line_add(l, " |");
		add_ip4(l, packet + p.l4_off, (uint32_t)p.l3_bytes - p.l4_off);
	}
}

static void add_arp(struct line *l, const uint8_t *frame, uint32_t len)
{
	struct arp_info arp;
	enum drop_reason reason = arp_parse(frame, len, &arp);
	if (reason != DROP_NONE) {
		line_add(l, " arp malformed (%s)", drop_reason_name(reason));
		return;
	}
	char sender[INET_ADDRSTRLEN], target[INET_ADDRSTRLEN], mac[18];
	line_add(l, " arp %s %s (%s) asks/tells %s", arp.operation == ARP_REQUEST ? "request" : "reply",
	         ip_text(arp.sender_ip, sender), mac_text(&arp.sender_mac, mac), ip_text(arp.target_ip, target));
}

const char *test_format(const uint8_t *frame, uint32_t len, char *buf, size_t size)
{
	struct line l = { .buf = buf, .size = size };
	buf[0] = '\0';
	if (len < ETH_BYTES) {
		line_add(&l, "runt of %u bytes", len);
		return buf;
	}
	const struct eth_header *eth = (const struct eth_header *)frame;
	char src[18], dst[18];
	line_add(&l, "%s > %s", mac_text(&eth->src, src), mac_text(&eth->dst, dst));
	if (eth->ether_type == be16_from(ETHER_IP4))
		add_ip4(&l, frame + ETH_BYTES, len - ETH_BYTES);
	else if (eth->ether_type == be16_from(ETHER_ARP))
		add_arp(&l, frame, len);
	else
		line_add(&l, " type %04x", be16_to(eth->ether_type));
	return buf;
}
