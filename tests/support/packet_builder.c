#include "tests/support/packet_builder.h"

#include <arpa/inet.h> // inet_pton: text only
#include <string.h>

#include "common/base/check.h"
#include "common/packet/arp.h"
#include "common/packet/checksum.h"
#include "common/packet/encap.h"
#include "common/packet/parse.h"

const struct mac TEST_MAC_A = { { 2, 0, 0, 0, 0, 1 } };
const struct mac TEST_MAC_B = { { 2, 0, 0, 0, 0, 2 } };

enum { TCP_OPTION_NOP = 1, DEFAULT_TTL = 64, ETHERNET = 1 };

be32 test_ip4(const char *text)
{
	be32 addr;
	CHECK(inet_pton(AF_INET, text, &addr) == 1);
	return addr;
}

const uint8_t *test_ip6(const char *text)
{
	static uint8_t addrs[8][16];
	static uint32_t at;
	uint8_t *addr = addrs[at++ % 8];
	CHECK(inet_pton(AF_INET6, text, addr) == 1);
	return addr;
}

enum drop_reason test_parse(const uint8_t *frame, uint32_t len, struct parsed *ret_parsed)
{
	bool is_ip6 = len >= ETH_BYTES && frame_ether_type(frame) == be16_from(ETHER_IP6);
	return is_ip6 ? parse_ip6(frame, len, ETH_BYTES, ret_parsed) : parse_ip4(frame, len, ETH_BYTES, ret_parsed);
}

static bool is_ip6_text(const char *addr)
{
	return strchr(addr, ':') != NULL;
}

static void frame_init(struct test_frame *f, uint32_t len)
{
	CHECK(len <= TEST_FRAME_BYTES);
	memset(f, 0, sizeof *f);
	f->offset = TEST_HEADROOM;
	f->len = len;
}

// Pads to its end (RFC 8200 section 4.2).
static void put_destination_options(uint8_t *to, uint8_t next_header, uint32_t n)
{
	to[0] = next_header;
	to[1] = (uint8_t)(n / 8 - 1);
	to[2] = 1; // PadN
	to[3] = (uint8_t)(n - 4);
}

static uint8_t *begin_ip6(struct test_frame *f, const struct test_tuple *t, uint8_t protocol, uint32_t l4_bytes)
{
	uint32_t n_options = (t->ip_options_bytes + 7) & ~7u;
	frame_init(f, ETH_BYTES + IP6_BYTES + n_options + l4_bytes);
	eth_write_ip4(test_data(f), t->dst_mac != NULL ? t->dst_mac : &TEST_MAC_B,
	              t->src_mac != NULL ? t->src_mac : &TEST_MAC_A);
	((struct eth_header *)test_data(f))->ether_type = be16_from(ETHER_IP6);
	struct ip6_header *ip = (struct ip6_header *)(test_data(f) + ETH_BYTES);
	*ip = (struct ip6_header){
		.version_class_label = be32_from(0x60000000u),
		.payload_length = be16_from((uint16_t)(n_options + l4_bytes)),
		.next_header = n_options != 0 ? IP_PROTO_DESTINATION : protocol,
		.hop_limit = t->ttl != 0 ? t->ttl : DEFAULT_TTL,
	};
	memcpy(ip->src, test_ip6(t->src), sizeof ip->src);
	memcpy(ip->dst, test_ip6(t->dst), sizeof ip->dst);
	if (n_options != 0)
		put_destination_options((uint8_t *)(ip + 1), protocol, n_options);
	return (uint8_t *)(ip + 1) + n_options;
}

// Ethernet and IPv4 headers for l4_bytes of content; returns where the content goes. Checksums are not yet made.
static uint8_t *begin_ip4(struct test_frame *f, const struct test_tuple *t, uint8_t protocol, uint32_t l4_bytes)
{
	CHECK(t->ip_options_bytes % 4 == 0 && t->ip_options_bytes <= 40);
	uint32_t header_bytes = IP4_BYTES + t->ip_options_bytes;
	frame_init(f, ETH_BYTES + header_bytes + l4_bytes);
	eth_write_ip4(test_data(f), t->dst_mac != NULL ? t->dst_mac : &TEST_MAC_B,
	              t->src_mac != NULL ? t->src_mac : &TEST_MAC_A);
	struct ip4_header *ip = (struct ip4_header *)(test_data(f) + ETH_BYTES);
	*ip = (struct ip4_header){
		.version_ihl = (uint8_t)(0x40 | (header_bytes / 4)),
		.total_length = be16_from((uint16_t)(header_bytes + l4_bytes)),
		.id = be16_from(0x1234),
		.ttl = t->ttl != 0 ? t->ttl : DEFAULT_TTL,
		.protocol = protocol,
		.src = test_ip4(t->src),
		.dst = test_ip4(t->dst),
	};
	memset(ip + 1, TCP_OPTION_NOP, t->ip_options_bytes);
	return test_data(f) + ETH_BYTES + header_bytes;
}

static uint8_t *begin_ip(struct test_frame *f, const struct test_tuple *t, uint8_t protocol, uint32_t l4_bytes)
{
	return is_ip6_text(t->src) ? begin_ip6(f, t, protocol, l4_bytes) : begin_ip4(f, t, protocol, l4_bytes);
}

static void fill_payload(uint8_t *to, const void *payload, uint32_t n)
{
	if (payload != NULL) {
		memcpy(to, payload, n);
		return;
	}
	for (uint32_t i = 0; i < n; i++)
		to[i] = (uint8_t)(i * 7 + 3);
}

struct test_frame test_tcp_options(const struct test_tuple *t, uint8_t flags, const uint8_t *options,
                                   uint32_t n_options, const void *payload, uint32_t n)
{
	struct test_frame f;
	uint32_t option_bytes = (n_options + 3) & ~3u;
	CHECK(option_bytes <= 40);
	uint32_t header_bytes = (uint32_t)sizeof(struct tcp_header) + option_bytes;
	uint8_t *l4 = begin_ip(&f, t, IP_PROTO_TCP, header_bytes + n);
	*(struct tcp_header *)l4 = (struct tcp_header){
		.src_port = be16_from(t->src_port),
		.dst_port = be16_from(t->dst_port),
		.seq = be32_from(1),
		.ack = be32_from((flags & TCP_ACK) != 0 ? 1 : 0),
		.data_offset = (uint8_t)(header_bytes / 4 << 4),
		.flags = flags,
		.window = be16_from(65535),
	};
	if (n_options > 0)
		memcpy(l4 + sizeof(struct tcp_header), options, n_options);
	fill_payload(l4 + header_bytes, payload, n);
	test_fix_checksums(&f);
	return f;
}

struct test_frame test_tcp(const struct test_tuple *t, uint8_t flags, const void *payload, uint32_t n)
{
	return test_tcp_options(t, flags, NULL, 0, payload, n);
}

struct test_frame test_udp(const struct test_tuple *t, const void *payload, uint32_t n)
{
	struct test_frame f;
	uint8_t *l4 = begin_ip(&f, t, IP_PROTO_UDP, (uint32_t)sizeof(struct udp_header) + n);
	*(struct udp_header *)l4 = (struct udp_header){
		.src_port = be16_from(t->src_port),
		.dst_port = be16_from(t->dst_port),
		.length = be16_from((uint16_t)(sizeof(struct udp_header) + n)),
	};
	fill_payload(l4 + sizeof(struct udp_header), payload, n);
	test_fix_checksums(&f);
	return f;
}

struct test_frame test_icmp(const struct test_tuple *t, uint8_t type, uint8_t code, uint16_t id, uint16_t seq,
                            const void *payload, uint32_t n)
{
	struct test_frame f;
	uint8_t *l4 =
		begin_ip(&f, t, is_ip6_text(t->src) ? IP_PROTO_ICMP6 : IP_PROTO_ICMP, (uint32_t)sizeof(struct icmp_header) + n);
	*(struct icmp_header *)l4 = (struct icmp_header){
		.type = type,
		.code = code,
		.id = be16_from(id),
		.seq = be16_from(seq),
	};
	fill_payload(l4 + sizeof(struct icmp_header), payload, n);
	test_fix_checksums(&f);
	return f;
}

struct test_frame test_ip_proto(const struct test_tuple *t, uint8_t protocol, const void *payload, uint32_t n)
{
	struct test_frame f;
	uint8_t *l4 = begin_ip(&f, t, protocol, n);
	fill_payload(l4, payload, n);
	test_fix_checksums(&f);
	return f;
}

struct test_frame test_arp(uint16_t operation, const struct mac *sender_mac, const char *sender_ip,
                           const struct mac *target_mac, const char *target_ip, const struct mac *eth_dst)
{
	struct test_frame f;
	frame_init(&f, ARP_FRAME_BYTES);
	struct eth_header *eth = (struct eth_header *)test_data(&f);
	*eth = (struct eth_header){ .dst = *eth_dst, .src = *sender_mac, .ether_type = be16_from(ETHER_ARP) };
	*(struct arp_packet *)(eth + 1) = (struct arp_packet){
		.hardware = be16_from(ETHERNET),
		.protocol = be16_from(ETHER_IP4),
		.hardware_bytes = MAC_BYTES,
		.protocol_bytes = 4,
		.operation = be16_from(operation),
		.sender_mac = *sender_mac,
		.sender_ip = test_ip4(sender_ip),
		.target_mac = target_mac != NULL ? *target_mac : (struct mac){ { 0 } },
		.target_ip = test_ip4(target_ip),
	};
	return f;
}

struct test_frame test_ipip(const struct test_tuple *t, const struct test_frame *inner)
{
	struct test_frame f;
	const uint8_t *packet = inner->buf + inner->offset + ETH_BYTES;
	uint32_t n = inner->len - ETH_BYTES;
	uint8_t *l4 = begin_ip(&f, t, encap_protocol(test_is_ip6(inner)), n);
	memcpy(l4, packet, n);
	if (test_is_ip6(&f))
		return f;
	struct ip4_header *ip = (struct ip4_header *)(test_data(&f) + ETH_BYTES);
	ip->id = 0; // as the mux writes it
	ip->fragment = be16_from(IP4_DONT_FRAGMENT);
	test_fix_checksums(&f);
	return f;
}

struct test_frame test_icmp_error(const struct test_tuple *t, uint8_t type, uint8_t code,
                                  const struct test_frame *inside, uint32_t n)
{
	uint32_t n_all = inside->len - ETH_BYTES;
	return test_icmp(t, type, code, 0, 0, inside->buf + inside->offset + ETH_BYTES, n < n_all ? n : n_all);
}

static void insert_fragment_header(struct test_frame *f, uint16_t offset, bool more)
{
	struct ip6_header *ip = (struct ip6_header *)(test_data(f) + ETH_BYTES);
	struct ip6_fragment *h = (struct ip6_fragment *)(ip + 1);
	CHECK(f->len + IP6_FRAGMENT_BYTES <= TEST_FRAME_BYTES);
	memmove(h + 1, h, f->len - ETH_BYTES - IP6_BYTES);
	*h = (struct ip6_fragment){ .next_header = ip->next_header,
		                        .offset_more = be16_from((uint16_t)(offset * 8 | (more ? IP6_MORE_FRAGMENTS : 0))),
		                        .id = be32_from(0x1234) };
	ip->next_header = IP_PROTO_FRAGMENT;
	ip->payload_length = be16_from((uint16_t)(be16_to(ip->payload_length) + IP6_FRAGMENT_BYTES));
	f->len += IP6_FRAGMENT_BYTES;
}

void test_set_fragment(struct test_frame *f, uint16_t offset, bool more)
{
	if (test_is_ip6(f)) {
		insert_fragment_header(f, offset, more);
		return;
	}
	struct ip4_header *ip = (struct ip4_header *)(test_data(f) + ETH_BYTES);
	ip->fragment = be16_from((uint16_t)((offset & IP4_OFFSET_MASK) | (more ? IP4_MORE_FRAGMENTS : 0)));
	ip->checksum = 0;
	ip->checksum = checksum_compute(ip, (ip->version_ihl & 0x0fu) * 4u);
}

// One's-complement sum of the pseudo header (RFC 9293 section 3.1, RFC 768, RFC 8200 section 8.1); of ICMP there is none.
static uint32_t pseudo_sum(const uint8_t *frame, const struct parsed *p, uint32_t l4_bytes)
{
	if (p->protocol == IP_PROTO_ICMP)
		return 0;
	uint32_t sum = be16_from(p->protocol) + (uint32_t)be16_from((uint16_t)l4_bytes);
	if (p->is_ip6)
		return checksum_add(parsed_src6(frame, p), 32, sum);
	return checksum_add(&((const struct ip4_header *)(frame + p->l3_off))->src, 8, sum);
}

// Where an IP packet's own checksum field lies after the L4 offset; false for protocols without one.
static bool l4_checksum_offset(uint8_t protocol, uint32_t *ret_offset)
{
	switch (protocol) {
	case IP_PROTO_TCP: *ret_offset = offsetof(struct tcp_header, checksum); return true;
	case IP_PROTO_UDP: *ret_offset = offsetof(struct udp_header, checksum); return true;
	case IP_PROTO_ICMP:
	case IP_PROTO_ICMP6: *ret_offset = offsetof(struct icmp_header, checksum); return true;
	default: return false;
	}
}

static bool is_udp(const struct parsed *p)
{
	return p->protocol == IP_PROTO_UDP;
}

// Without looking at what is inside it.
static void locate_ip4(const struct test_frame *f, struct parsed *ret_parsed)
{
	const struct ip4_header *ip = (const struct ip4_header *)(f->buf + f->offset + ETH_BYTES);
	*ret_parsed = (struct parsed){ .l3_off = ETH_BYTES,
		                           .l4_off = (uint16_t)(ETH_BYTES + (ip->version_ihl & 0x0fu) * 4u),
		                           .l3_bytes = be16_to(ip->total_length),
		                           .protocol = ip->protocol };
}

void test_fix_checksums(struct test_frame *f)
{
	struct parsed p;
	uint8_t *frame = test_data(f);
	if (test_is_ip6(f)) {
		enum drop_reason reason = test_parse(frame, f->len, &p);
		if (reason != DROP_NONE && reason != DROP_UDP6_NO_CHECKSUM && reason != DROP_L4_LENGTH)
			return;
	} else {
		struct ip4_header *ip = (struct ip4_header *)(frame + ETH_BYTES);
		locate_ip4(f, &p);
		ip->checksum = 0;
		ip->checksum = checksum_compute(ip, (uint32_t)p.l4_off - ETH_BYTES);
	}
	uint32_t l4_bytes = (uint32_t)p.l3_off + p.l3_bytes - p.l4_off;
	uint32_t offset;
	if (!l4_checksum_offset(p.protocol, &offset))
		return;
	uint8_t *l4 = frame + p.l4_off;
	store16(l4 + offset, 0);
	be16 checksum = (be16)~checksum_fold(checksum_add(l4, l4_bytes, pseudo_sum(frame, &p, l4_bytes)));
	if (is_udp(&p) && checksum == 0)
		checksum = 0xffff;
	store16(l4 + offset, checksum);
}

static bool ip_checksums_ok(const uint8_t *packet, uint32_t len, const char **ret_what)
{
	struct parsed p;
	bool is_ip6 = len > 0 && packet[0] >> 4 == 6;
	enum drop_reason reason = is_ip6 ? parse_ip6(packet, len, 0, &p) : parse_ip4(packet, len, 0, &p);
	*ret_what = "packet";
	if (reason != DROP_NONE && reason != DROP_FRAGMENT)
		return false;
	*ret_what = "ip";
	if (!is_ip6 && checksum_compute(packet, p.l4_off) != 0)
		return false;
	uint32_t l4_bytes = (uint32_t)p.l3_bytes - p.l4_off;
	uint32_t offset;
	if (reason == DROP_FRAGMENT)
		return true;
	if (ip_protocol_is_tunnel(p.protocol))
		return ip_checksums_ok(packet + p.l4_off, l4_bytes, ret_what);
	if (!l4_checksum_offset(p.protocol, &offset))
		return true;
	*ret_what = p.protocol == IP_PROTO_TCP ? "tcp" : is_udp(&p) ? "udp" : "icmp";
	if (is_udp(&p) && load16(packet + p.l4_off + offset) == 0)
		return true;
	return checksum_fold(checksum_add(packet + p.l4_off, l4_bytes, pseudo_sum(packet, &p, l4_bytes))) == 0xffff;
}

bool test_checksums_ok(const uint8_t *frame, uint32_t len, const char **ret_what)
{
	const char *what = "frame";
	bool is_ip = len >= ETH_BYTES &&
	             (frame_ether_type(frame) == be16_from(ETHER_IP4) || frame_ether_type(frame) == be16_from(ETHER_IP6));
	bool ok = is_ip && ip_checksums_ok(frame + ETH_BYTES, len - ETH_BYTES, &what);
	if (ret_what != NULL)
		*ret_what = ok ? "none" : what;
	return ok;
}
