#include "tests/golden/notation.h"

#include <arpa/inet.h> // inet_pton: text only
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/text.h"
#include "common/packet/checksum.h"
#include "common/packet/encap.h"

#define PACKET_MAX 65535
#define TOKENS_MAX 96
#define DAMAGE 0x1111 // added to a checksum: the difference stays the same however addresses and ports are rewritten

struct tokens {
	char text[2048];
	char *items[TOKENS_MAX];
	uint32_t n;
	uint32_t at;
	const char *wrong; // NULL: nothing so far
};

// One IP packet with what the line says of it.
struct packet {
	uint8_t bytes[PACKET_MAX];
	uint32_t header_bytes; // of IP
	uint32_t n; // of the packet
	uint8_t protocol;
	bool bad_sum;
	bool bad_ip;
	int32_t total_length; // as written; -1: right
	int32_t piece_offset; // -1: the whole packet
	uint32_t piece_bytes;
	be16 fragment;
};

struct edits { // of the frame as a whole
	bool has_from, has_to;
	struct mac from, to;
	uint32_t ether_type;
	int32_t vlan;
	uint32_t pad;
	int32_t cut;
	uint32_t n_pokes;
	struct {
		uint32_t at;
		uint8_t bytes[32];
		uint32_t n;
	} pokes[8];
};

static bool fail(struct tokens *t, const char *what)
{
	if (t->wrong == NULL)
		t->wrong = what;
	return false;
}

static bool split(struct tokens *t, const char *line)
{
	char *rest = NULL;
	if (!text_copy(t->text, sizeof t->text, line))
		return fail(t, "the line is too long");
	for (char *word = strtok_r(t->text, " \t", &rest); word != NULL; word = strtok_r(NULL, " \t", &rest)) {
		if (t->n == TOKENS_MAX)
			return fail(t, "too many words");
		t->items[t->n++] = word;
	}
	return true;
}

static const char *next(struct tokens *t)
{
	return t->at < t->n ? t->items[t->at++] : "";
}

static bool take(struct tokens *t, const char *word)
{
	if (t->at >= t->n || strcmp(t->items[t->at], word) != 0)
		return false;
	t->at++;
	return true;
}

// "name=..." at the present word: its value, and on to the next word; else NULL.
static const char *value_of(struct tokens *t, const char *name)
{
	size_t n = strlen(name);
	if (t->at >= t->n || strncmp(t->items[t->at], name, n) != 0 || t->items[t->at][n] != '=')
		return NULL;
	return t->items[t->at++] + n + 1;
}

static bool number_of(struct tokens *t, const char *name, uint32_t *ret_value)
{
	const char *text = value_of(t, name);
	if (text == NULL)
		return false;
	*ret_value = (uint32_t)strtoul(text, NULL, 0);
	return true;
}

static uint32_t hex_bytes(const char *text, uint8_t *to, uint32_t max)
{
	uint32_t n = 0;
	unsigned byte;
	for (; n < max && sscanf(text + 2 * (size_t)n, "%2x", &byte) == 1; n++)
		to[n] = (uint8_t)byte;
	return n;
}

static bool read_mac(struct tokens *t, const char *text, struct mac *ret_mac)
{
	uint8_t *b = ret_mac->bytes;
	if (sscanf(text, "%2hhx:%2hhx:%2hhx:%2hhx:%2hhx:%2hhx", b, b + 1, b + 2, b + 3, b + 4, b + 5) != 6)
		return fail(t, "a MAC address is expected");
	return true;
}

static bool read_addr(struct tokens *t, const char *text, be32 *ret_addr, uint16_t *ret_port)
{
	char copy[64];
	if (!text_copy(copy, sizeof copy, text))
		return fail(t, "an address is expected");
	char *colon = strchr(copy, ':');
	if (colon != NULL)
		*colon = '\0';
	if (ret_port != NULL)
		*ret_port = colon == NULL ? 0 : (uint16_t)strtoul(colon + 1, NULL, 10);
	if (inet_pton(AF_INET, copy, ret_addr) != 1)
		return fail(t, "an address is expected");
	return true;
}

struct ends {
	be32 src, dst;
	uint16_t src_port, dst_port;
};

static bool read_ends(struct tokens *t, struct ends *e)
{
	if (!read_addr(t, next(t), &e->src, &e->src_port))
		return false;
	if (!take(t, ">"))
		return fail(t, "'>' is expected between two addresses");
	return read_addr(t, next(t), &e->dst, &e->dst_port);
}

static void fill_data(uint8_t *to, uint32_t n)
{
	for (uint32_t i = 0; i < n; i++)
		to[i] = (uint8_t)(i * 7 + 3);
}

// ---- IP ----

static bool read_piece(struct packet *p, const char *text)
{
	unsigned offset, n;
	if (sscanf(text, "%u:%u", &offset, &n) != 2)
		return false;
	p->piece_offset = (int32_t)offset;
	p->piece_bytes = n;
	return true;
}

static void set_fragment(struct packet *p, const char *text)
{
	uint32_t offset = (uint32_t)strtoul(text, NULL, 10) / 8;
	bool more = text[0] != '\0' && text[strlen(text) - 1] == '+';
	p->fragment |= be16_from((uint16_t)(offset | (more ? IP4_MORE_FRAGMENTS : 0)));
}

// A word that every IP packet may have; false: it is none.
static bool read_ip_word(struct tokens *t, struct packet *p, struct ip4_header *ip)
{
	uint32_t n;
	const char *text;
	if (number_of(t, "ttl", &n))
		ip->ttl = (uint8_t)n;
	else if (number_of(t, "id", &n) || number_of(t, "ipid", &n)) // the latter where "id" is that of ICMP
		ip->id = be16_from((uint16_t)n);
	else if (number_of(t, "tos", &n))
		ip->tos = (uint8_t)n;
	else if (take(t, "df"))
		p->fragment |= be16_from(IP4_DONT_FRAGMENT);
	else if ((text = value_of(t, "frag")) != NULL)
		set_fragment(p, text);
	else if ((text = value_of(t, "piece")) != NULL)
		return read_piece(p, text) || fail(t, "piece=OFFSET:LENGTH is expected");
	else if (number_of(t, "ihl", &n))
		ip->version_ihl = (uint8_t)((ip->version_ihl & 0xf0) | n);
	else if (number_of(t, "ver", &n))
		ip->version_ihl = (uint8_t)((ip->version_ihl & 0x0f) | n << 4);
	else if (number_of(t, "len", &n))
		p->total_length = (int32_t)n;
	else if (take(t, "badsum"))
		p->bad_sum = true;
	else if (take(t, "badip"))
		p->bad_ip = true;
	else
		return false;
	return true;
}

static struct ip4_header *begin_ip(struct packet *p, const struct ends *e, uint8_t protocol, uint32_t option_bytes)
{
	struct ip4_header *ip = (struct ip4_header *)p->bytes;
	p->header_bytes = IP4_BYTES + option_bytes;
	p->n = p->header_bytes;
	p->protocol = protocol;
	p->total_length = p->piece_offset = -1;
	*ip = (struct ip4_header){ .version_ihl = (uint8_t)(0x40 | p->header_bytes / 4),
		                       .id = be16_from(0x1234),
		                       .ttl = 64,
		                       .protocol = protocol,
		                       .src = e->src,
		                       .dst = e->dst };
	memset(p->bytes + IP4_BYTES, 1, option_bytes);
	return ip;
}

static uint32_t pseudo_sum(const struct ip4_header *ip, uint32_t l4_bytes)
{
	uint32_t sum = (ip->src & 0xffff) + (ip->src >> 16) + (ip->dst & 0xffff) + (ip->dst >> 16);
	return sum + be16_from(ip->protocol) + be16_from((uint16_t)l4_bytes);
}

// Where the checksum lies in what follows the IP header; 0: there is none.
static uint32_t checksum_offset(uint8_t protocol)
{
	if (protocol == IP_PROTO_TCP)
		return offsetof(struct tcp_header, checksum);
	if (protocol == IP_PROTO_UDP)
		return offsetof(struct udp_header, checksum);
	return protocol == IP_PROTO_ICMP ? offsetof(struct icmp_header, checksum) : 0;
}

static void end_l4(struct packet *p, bool has_sum)
{
	uint32_t offset = checksum_offset(p->protocol);
	uint32_t l4_bytes = p->n - p->header_bytes;
	if (offset == 0 || !has_sum)
		return;
	uint32_t sum = p->protocol == IP_PROTO_ICMP ? 0 : pseudo_sum((struct ip4_header *)p->bytes, l4_bytes);
	be16 value = (be16)~checksum_fold(checksum_add(p->bytes + p->header_bytes, l4_bytes, sum));
	if (p->protocol == IP_PROTO_UDP && value == 0)
		value = 0xffff;
	store16(p->bytes + p->header_bytes + offset, p->bad_sum ? checksum_fold((uint32_t)value + DAMAGE) : value);
}

static void cut_piece(struct packet *p)
{
	uint32_t l4_bytes = p->n - p->header_bytes;
	uint32_t offset = (uint32_t)p->piece_offset;
	uint32_t n = offset >= l4_bytes ? 0 : l4_bytes - offset;
	bool more = p->piece_bytes < n;
	if (more)
		n = p->piece_bytes;
	memmove(p->bytes + p->header_bytes, p->bytes + p->header_bytes + offset, n);
	p->n = p->header_bytes + n;
	p->fragment |= be16_from((uint16_t)(offset / 8 | (more ? IP4_MORE_FRAGMENTS : 0)));
}

static void end_ip(struct packet *p)
{
	struct ip4_header *ip = (struct ip4_header *)p->bytes;
	if (p->piece_offset >= 0)
		cut_piece(p);
	ip->fragment = p->fragment;
	ip->total_length = be16_from((uint16_t)(p->total_length >= 0 ? (uint32_t)p->total_length : p->n));
	ip->checksum = checksum_compute(p->bytes, p->header_bytes);
	if (p->bad_ip)
		ip->checksum ^= 0x5555;
}

// ---- kinds ----

static bool read_flags(struct tokens *t, uint8_t *ret_flags)
{
	static const char letters[] = "FSRPAU";
	const char *word = next(t);
	*ret_flags = 0;
	for (const char *c = word; *c != '\0' && strcmp(word, "-") != 0; c++) {
		const char *at = strchr(letters, *c);
		if (at == NULL)
			return fail(t, "TCP flags are expected: letters of SAFRPU, or -");
		*ret_flags |= (uint8_t)(1u << (at - letters));
	}
	return *word != '\0' || fail(t, "TCP flags are expected");
}

static uint32_t options_of(struct tokens *t)
{
	uint32_t n = 0;
	for (uint32_t i = t->at; i < t->n && strcmp(t->items[i], "(") != 0 && strcmp(t->items[i], ")") != 0; i++)
		if (strncmp(t->items[i], "opts=", 5) == 0)
			n = (uint32_t)strtoul(t->items[i] + 5, NULL, 10);
	return n;
}

static bool read_tcp(struct tokens *t, struct packet *p)
{
	struct ends e;
	uint8_t flags;
	uint32_t seq = 1, ack, win = 65535, mss = 0, data = 0, off = 0, ignored;
	if (!read_ends(t, &e) || !read_flags(t, &flags))
		return false;
	ack = (flags & TCP_ACK) != 0 ? 1 : 0;
	struct ip4_header *ip = begin_ip(p, &e, IP_PROTO_TCP, options_of(t));
	while (number_of(t, "seq", &seq) || number_of(t, "ack", &ack) || number_of(t, "win", &win) ||
	       number_of(t, "mss", &mss) || number_of(t, "data", &data) || number_of(t, "off", &off) ||
	       number_of(t, "opts", &ignored) || read_ip_word(t, p, ip))
		;
	uint32_t header_bytes = (uint32_t)sizeof(struct tcp_header) + (mss != 0 ? 4 : 0);
	uint8_t *l4 = p->bytes + p->header_bytes;
	*(struct tcp_header *)l4 = (struct tcp_header){ .src_port = be16_from(e.src_port),
		                                            .dst_port = be16_from(e.dst_port),
		                                            .seq = be32_from(seq),
		                                            .ack = be32_from(ack),
		                                            .data_offset = (uint8_t)((off != 0 ? off : header_bytes / 4) << 4),
		                                            .flags = flags,
		                                            .window = be16_from((uint16_t)win) };
	if (mss != 0) {
		const uint8_t option[4] = { 2, 4, (uint8_t)(mss >> 8), (uint8_t)mss };
		memcpy(l4 + sizeof(struct tcp_header), option, sizeof option);
	}
	fill_data(l4 + header_bytes, data);
	p->n += header_bytes + data;
	end_l4(p, true);
	return true;
}

static bool read_udp(struct tokens *t, struct packet *p)
{
	struct ends e;
	uint32_t data = 0, length = UINT32_MAX, ignored;
	bool has_sum = true;
	if (!read_ends(t, &e))
		return false;
	struct ip4_header *ip = begin_ip(p, &e, IP_PROTO_UDP, options_of(t));
	while (number_of(t, "data", &data) || number_of(t, "ulen", &length) || number_of(t, "opts", &ignored) ||
	       (take(t, "nosum") && !(has_sum = false)) || read_ip_word(t, p, ip))
		;
	uint8_t *l4 = p->bytes + p->header_bytes;
	*(struct udp_header *)l4 =
		(struct udp_header){ .src_port = be16_from(e.src_port),
		                     .dst_port = be16_from(e.dst_port),
		                     .length = be16_from((uint16_t)(length != UINT32_MAX ? length : 8 + data)) };
	fill_data(l4 + 8, data);
	p->n += 8 + data;
	end_l4(p, has_sum);
	return true;
}

static bool read_packet(struct tokens *t, struct packet *p);

// "( packet )" as content; *ret_n bytes are written to `to`.
static bool read_inner(struct tokens *t, uint8_t *to, uint32_t *ret_n)
{
	*ret_n = 0;
	if (!take(t, "("))
		return true;
	struct packet *inner = calloc(1, sizeof *inner);
	bool ok = inner != NULL && read_packet(t, inner) && (take(t, ")") || fail(t, "')' is expected"));
	if (ok) {
		memcpy(to, inner->bytes, inner->n);
		*ret_n = inner->n;
	}
	free(inner);
	return ok;
}

static bool read_icmp(struct tokens *t, struct packet *p)
{
	struct ends e;
	unsigned type, code;
	uint32_t id = 0, seq = 0, data = 0, mtu = 0, n_inner, inner_max = UINT32_MAX, ignored;
	if (!read_ends(t, &e))
		return false;
	if (sscanf(next(t), "%u/%u", &type, &code) != 2)
		return fail(t, "TYPE/CODE is expected");
	struct ip4_header *ip = begin_ip(p, &e, IP_PROTO_ICMP, options_of(t));
	while (number_of(t, "id", &id) || number_of(t, "seq", &seq) || number_of(t, "data", &data) ||
	       number_of(t, "mtu", &mtu) || number_of(t, "opts", &ignored) || read_ip_word(t, p, ip))
		;
	uint8_t *l4 = p->bytes + p->header_bytes;
	*(struct icmp_header *)l4 = (struct icmp_header){ .type = (uint8_t)type,
		                                              .code = (uint8_t)code,
		                                              .id = be16_from((uint16_t)id),
		                                              .seq = be16_from((uint16_t)(mtu != 0 ? mtu : seq)) };
	fill_data(l4 + 8, data);
	if (!read_inner(t, l4 + 8, &n_inner))
		return false;
	while (number_of(t, "inner", &inner_max) || read_ip_word(t, p, ip))
		;
	p->n += 8 + data + (n_inner < inner_max ? n_inner : inner_max);
	end_l4(p, true);
	return true;
}

static bool read_other(struct tokens *t, struct packet *p, uint8_t protocol)
{
	struct ends e;
	uint32_t data = 0, n_inner, ignored;
	if (!read_ends(t, &e))
		return false;
	struct ip4_header *ip = begin_ip(p, &e, protocol, options_of(t));
	while (number_of(t, "data", &data) || number_of(t, "opts", &ignored) || read_ip_word(t, p, ip))
		;
	fill_data(p->bytes + p->header_bytes, data);
	if (!read_inner(t, p->bytes + p->header_bytes, &n_inner))
		return false;
	while (read_ip_word(t, p, ip))
		;
	p->n += data + n_inner;
	return true;
}

static bool read_packet(struct tokens *t, struct packet *p)
{
	uint32_t protocol;
	bool ok;
	if (take(t, "tcp"))
		ok = read_tcp(t, p);
	else if (take(t, "udp"))
		ok = read_udp(t, p);
	else if (take(t, "icmp"))
		ok = read_icmp(t, p);
	else if (take(t, "ipip"))
		ok = read_other(t, p, IP_PROTO_IPIP);
	else if (number_of(t, "proto", &protocol))
		ok = read_other(t, p, (uint8_t)protocol);
	else
		return fail(t, "a packet begins with tcp, udp, icmp, ipip, proto=N, arp or raw");
	if (ok)
		end_ip(p);
	return ok;
}

// ---- frames ----

static bool read_poke(struct tokens *t, const char *text, struct edits *e)
{
	char *colon;
	if (e->n_pokes == sizeof e->pokes / sizeof *e->pokes)
		return fail(t, "too many pokes");
	e->pokes[e->n_pokes].at = (uint32_t)strtoul(text, &colon, 10);
	if (*colon != ':')
		return fail(t, "poke=OFFSET:HEX is expected");
	e->pokes[e->n_pokes].n = hex_bytes(colon + 1, e->pokes[e->n_pokes].bytes, sizeof e->pokes->bytes);
	e->n_pokes++;
	return true;
}

static bool read_edits(struct tokens *t, struct edits *e)
{
	uint32_t n;
	const char *text;
	while (t->at < t->n) {
		if ((text = value_of(t, "from")) != NULL)
			e->has_from = read_mac(t, text, &e->from);
		else if ((text = value_of(t, "to")) != NULL)
			e->has_to = read_mac(t, text, &e->to);
		else if ((text = value_of(t, "type")) != NULL)
			e->ether_type = (uint32_t)strtoul(text, NULL, 16);
		else if (number_of(t, "vlan", &n))
			e->vlan = (int32_t)n;
		else if (number_of(t, "cut", &n))
			e->cut = (int32_t)n;
		else if ((text = value_of(t, "poke")) != NULL)
			(void)read_poke(t, text, e);
		else if (!number_of(t, "pad", &e->pad))
			return fail(t, t->items[t->at]);
	}
	return t->wrong == NULL;
}

static bool read_arp(struct tokens *t, uint8_t *bytes, uint32_t *ret_n)
{
	const char *operation = next(t);
	struct arp_packet arp = { .hardware = be16_from(1),
		                      .protocol = be16_from(ETHER_IP4),
		                      .hardware_bytes = 6,
		                      .protocol_bytes = 4,
		                      .operation = be16_from(strcmp(operation, "request") == 0 ? 1 : 2) };
	be32 sender, target;
	if (!read_mac(t, next(t), &arp.sender_mac) || !read_addr(t, next(t), &sender, NULL))
		return false;
	if (!take(t, ">"))
		return fail(t, "'>' is expected between the two sides of ARP");
	if (t->at < t->n && strchr(t->items[t->at], ':') != NULL && !read_mac(t, next(t), &arp.target_mac))
		return false;
	if (!read_addr(t, next(t), &target, NULL))
		return false;
	arp.sender_ip = sender;
	arp.target_ip = target;
	memcpy(bytes, &arp, sizeof arp);
	*ret_n = sizeof arp;
	return true;
}

static void put_frame(struct test_frame *f, const struct edits *e, const struct notation_port *port, be16 type,
                      const uint8_t *bytes, uint32_t n)
{
	uint8_t *at = test_data(f);
	struct eth_header eth = { .dst = e->has_to ? e->to : port->to,
		                      .src = e->has_from ? e->from : port->from,
		                      .ether_type = e->ether_type != 0 ? be16_from((uint16_t)e->ether_type) : type };
	be16 inner_type = eth.ether_type;
	if (e->vlan >= 0)
		eth.ether_type = be16_from(0x8100);
	memcpy(at, &eth, sizeof eth);
	at += sizeof eth;
	if (e->vlan >= 0) {
		store16(at, be16_from((uint16_t)e->vlan));
		store16(at + 2, inner_type);
		at += 4;
	}
	memcpy(at, bytes, n);
	memset(at + n, 0, e->pad);
	f->len = (uint32_t)(at - test_data(f)) + n + e->pad;
	if (e->cut >= 0 && (uint32_t)e->cut < f->len)
		f->len = (uint32_t)e->cut;
	for (uint32_t i = 0; i < e->n_pokes; i++)
		memcpy(test_data(f) + e->pokes[i].at, e->pokes[i].bytes, e->pokes[i].n);
}

static bool encode(struct tokens *t, const struct notation_port *port, struct packet *p, struct test_frame *f)
{
	struct edits e = { .vlan = -1, .cut = -1 };
	be16 type = be16_from(ETHER_IP4);
	bool ok;
	if (take(t, "raw")) {
		f->len = hex_bytes(next(t), test_data(f), TEST_FRAME_BYTES);
		return t->at == t->n || fail(t, "nothing may follow raw bytes");
	}
	if (take(t, "arp")) {
		type = be16_from(ETHER_ARP);
		ok = read_arp(t, p->bytes, &p->n);
	} else {
		ok = read_packet(t, p);
	}
	if (!ok || !read_edits(t, &e))
		return false;
	if (p->n + e.pad + ETH_BYTES + 4 > TEST_FRAME_BYTES)
		return fail(t, "the frame is too long");
	put_frame(f, &e, port, type, p->bytes, p->n);
	return true;
}

bool notation_encode(const char *line, const struct notation_port *port, struct test_frame *ret_frame,
                     const char **ret_what)
{
	static __thread struct tokens t; // the text that *ret_what may point into
	struct packet *p = calloc(1, sizeof *p);
	memset(&t, 0, sizeof t);
	memset(ret_frame, 0, sizeof *ret_frame);
	ret_frame->offset = TEST_HEADROOM;
	bool ok = p != NULL && split(&t, line) && encode(&t, port, p, ret_frame);
	free(p);
	*ret_what = ok ? NULL : t.wrong;
	return ok;
}
