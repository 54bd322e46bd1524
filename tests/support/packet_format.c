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

static const char *addr_text(const uint8_t *packet, const struct parsed *p, bool is_src, char *buf)
{
	if (p->is_ip6)
		return inet_ntop(AF_INET6, is_src ? parsed_src6(packet, p) : parsed_dst6(packet, p), buf, INET6_ADDRSTRLEN);
	return ip_text(is_src ? p->src : p->dst, buf);
}

static void add_l4(struct line *l, const uint8_t *packet, const struct parsed *p)
{
	if (p->protocol == IP_PROTO_TCP)
		add_tcp(l, packet, p);
	else if (p->protocol == IP_PROTO_UDP)
		line_add(l, " udp len %u", (unsigned)p->l3_bytes - p->l4_off - 8u);
	else if (p->protocol == IP_PROTO_ICMP)
		line_add(l, " icmp type %u code %u", packet[p->l4_off], packet[p->l4_off + 1]);
	else if (p->protocol == IP_PROTO_ICMP6)
		line_add(l, " icmp6 type %u code %u", packet[p->l4_off], packet[p->l4_off + 1]);
	else
		line_add(l, " protocol %u", p->protocol);
}

static uint32_t fragment_field(const uint8_t *packet, const struct parsed *p)
{
	if (p->is_ip6)
		return be16_to(((const struct ip6_fragment *)(packet + p->fragment_off))->offset_more);
	return be16_to(((const struct ip4_header *)packet)->fragment);
}

static void add_ip(struct line *l, const uint8_t *packet, uint32_t len, bool is_ip6)
{
	struct parsed p;
	const char *family = is_ip6 ? "ip6" : "ip4";
	enum drop_reason reason = is_ip6 ? parse_ip6(packet, len, 0, &p) : parse_ip4(packet, len, 0, &p);
	if (reason != DROP_NONE && reason != DROP_FRAGMENT) {
		line_add(l, " %s malformed (%s)", family, drop_reason_name(reason));
		return;
	}
	char src[INET6_ADDRSTRLEN], dst[INET6_ADDRSTRLEN];
	line_add(l, is_ip6 ? " %s [%s]:%u > [%s]:%u" : " %s %s:%u > %s:%u", family, addr_text(packet, &p, true, src),
	         be16_to(p.src_port), addr_text(packet, &p, false, dst), be16_to(p.dst_port));
	if (reason == DROP_FRAGMENT)
		line_add(l, " fragment %04x", fragment_field(packet, &p));
	else
		add_l4(l, packet, &p);
	if (is_ip6)
		line_add(l, " hops %u", packet[7]);
	else
		line_add(l, " ttl %u id %u", packet[8], be16_to(load16(packet + 4)));
	if (reason == DROP_NONE && ip_protocol_is_tunnel(p.protocol)) {
		line_add(l, " |");
		add_ip(l, packet + p.l4_off, (uint32_t)p.l3_bytes - p.l4_off, p.protocol == IP_PROTO_IP6);
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
		add_ip(&l, frame + ETH_BYTES, len - ETH_BYTES, false);
	else if (eth->ether_type == be16_from(ETHER_IP6))
		add_ip(&l, frame + ETH_BYTES, len - ETH_BYTES, true);
	else if (eth->ether_type == be16_from(ETHER_ARP))
		add_arp(&l, frame, len);
	else
		line_add(&l, " type %04x", be16_to(eth->ether_type));
	return buf;
}
