#include "tests/golden/notation.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/packet/encap.h"
#include "tests/golden/notation_ip.h"
#include "tests/golden/notation_nd.h"

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
static void fill_data(uint8_t *to, uint32_t n)
{
	for (uint32_t i = 0; i < n; i++)
		to[i] = (uint8_t)(i * 7 + 3);
}

// ---- kinds ----

static bool read_flags(struct tokens *t, uint8_t *ret_flags)
{
	static const char letters[] = "FSRPAU";
	const char *word = words_next(t);
	*ret_flags = 0;
	for (const char *c = word; *c != '\0' && strcmp(word, "-") != 0; c++) {
		const char *at = strchr(letters, *c);
		if (at == NULL)
			return words_fail(t, "TCP flags are expected: letters of SAFRPU, or -");
		*ret_flags |= (uint8_t)(1u << (at - letters));
	}
	return *word != '\0' || words_fail(t, "TCP flags are expected");
}

static bool read_tcp(struct tokens *t, struct packet *p)
{
	struct ends e;
	uint8_t flags;
	uint32_t seq = 1, ack, win = 65535, mss = 0, data = 0, off = 0;
	if (!words_ends(t, &e) || !read_flags(t, &flags))
		return false;
	ack = (flags & TCP_ACK) != 0 ? 1 : 0;
	if (!packet_begin(t, p, &e, IP_PROTO_TCP))
		return false;
	while (words_number_of(t, "seq", &seq) || words_number_of(t, "ack", &ack) || words_number_of(t, "win", &win) ||
	       words_number_of(t, "mss", &mss) || words_number_of(t, "data", &data) || words_number_of(t, "off", &off) ||
	       packet_read_word(t, p))
		;
	uint32_t header_bytes = (uint32_t)sizeof(struct tcp_header) + (mss != 0 ? 4 : 0);
	uint8_t *l4 = p->bytes + p->header_bytes;
	*(struct tcp_header *)l4 = (struct tcp_header){ .src_port = be16_from(e.src.port),
		                                            .dst_port = be16_from(e.dst.port),
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
	packet_end_l4(p, true);
	return true;
}

static bool read_udp(struct tokens *t, struct packet *p)
{
	struct ends e;
	uint32_t data = 0, length = UINT32_MAX;
	bool has_sum = true;
	if (!words_ends(t, &e))
		return false;
	if (!packet_begin(t, p, &e, IP_PROTO_UDP))
		return false;
	while (words_number_of(t, "data", &data) || words_number_of(t, "ulen", &length) ||
	       (words_take(t, "nosum") && !(has_sum = false)) || packet_read_word(t, p))
		;
	uint8_t *l4 = p->bytes + p->header_bytes;
	*(struct udp_header *)l4 =
		(struct udp_header){ .src_port = be16_from(e.src.port),
		                     .dst_port = be16_from(e.dst.port),
		                     .length = be16_from((uint16_t)(length != UINT32_MAX ? length : 8 + data)) };
	fill_data(l4 + 8, data);
	p->n += 8 + data;
	packet_end_l4(p, has_sum);
	return true;
}

static bool read_packet(struct tokens *t, struct packet *p);

// "( packet )" as content; *ret_n bytes are written to `to`.
static bool read_inner(struct tokens *t, uint8_t *to, uint32_t *ret_n)
{
	*ret_n = 0;
	if (!words_take(t, "("))
		return true;
	struct packet *inner = calloc(1, sizeof *inner);
	bool ok = inner != NULL && read_packet(t, inner) && (words_take(t, ")") || words_fail(t, "')' is expected"));
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
	uint32_t id = 0, seq = 0, data = 0, parameter = 0, n_inner, inner_max = UINT32_MAX;
	if (!words_ends(t, &e))
		return false;
	if (sscanf(words_next(t), "%u/%u", &type, &code) != 2)
		return words_fail(t, "TYPE/CODE is expected");
	if (!packet_begin(t, p, &e, e.src.is_ip6 ? IP_PROTO_ICMP6 : IP_PROTO_ICMP))
		return false;
	while (words_number_of(t, "id", &id) || words_number_of(t, "seq", &seq) || words_number_of(t, "data", &data) ||
	       words_number_of(t, "mtu", &parameter) || words_number_of(t, "ptr", &parameter) || packet_read_word(t, p))
		;
	uint8_t *l4 = p->bytes + p->header_bytes;
	*(struct icmp_header *)l4 = (struct icmp_header){
		.type = (uint8_t)type, .code = (uint8_t)code, .id = be16_from((uint16_t)id), .seq = be16_from((uint16_t)seq)
	};
	if (parameter != 0 && p->is_ip6)
		store32(l4 + 4, be32_from(parameter));
	else if (parameter != 0)
		store16(l4 + 6, be16_from((uint16_t)parameter));
	fill_data(l4 + 8, data);
	if (!read_inner(t, l4 + 8, &n_inner))
		return false;
	while (words_number_of(t, "inner", &inner_max) || packet_read_word(t, p))
		;
	p->n += 8 + data + (n_inner < inner_max ? n_inner : inner_max);
	packet_end_l4(p, true);
	return true;
}

static bool read_other(struct tokens *t, struct packet *p, uint8_t protocol)
{
	struct ends e;
	uint32_t data = 0, n_inner;
	if (!words_ends(t, &e))
		return false;
	if (!packet_begin(t, p, &e, protocol))
		return false;
	while (words_number_of(t, "data", &data) || packet_read_word(t, p))
		;
	fill_data(p->bytes + p->header_bytes, data);
	if (!read_inner(t, p->bytes + p->header_bytes, &n_inner))
		return false;
	while (packet_read_word(t, p))
		;
	p->n += data + n_inner;
	return true;
}

// Of the packet in the parentheses to come: its second word is an address.
static bool inner_is_ip6(const struct tokens *t)
{
	uint32_t i = t->at;
	while (i < t->n && strcmp(t->items[i], "(") != 0)
		i++;
	const char *colon = i + 2 < t->n ? strchr(t->items[i + 2], ':') : NULL;
	return colon != NULL && strchr(colon + 1, ':') != NULL;
}

static bool read_packet(struct tokens *t, struct packet *p)
{
	uint32_t protocol;
	bool ok;
	if (words_take(t, "tcp"))
		ok = read_tcp(t, p);
	else if (words_take(t, "udp"))
		ok = read_udp(t, p);
	else if (words_take(t, "icmp"))
		ok = read_icmp(t, p);
	else if (words_take(t, "ipip"))
		ok = read_other(t, p, encap_protocol(inner_is_ip6(t)));
	else if (words_take(t, "nd"))
		ok = notation_read_nd(t, p);
	else if (words_number_of(t, "proto", &protocol))
		ok = read_other(t, p, (uint8_t)protocol);
	else
		return words_fail(t, "a packet begins with tcp, udp, icmp, nd, ipip, proto=N, arp or raw");
	if (ok)
		packet_end(p);
	return ok;
}

// ---- frames ----

static bool read_poke(struct tokens *t, const char *text, struct edits *e)
{
	char *colon;
	if (e->n_pokes == sizeof e->pokes / sizeof *e->pokes)
		return words_fail(t, "too many pokes");
	e->pokes[e->n_pokes].at = (uint32_t)strtoul(text, &colon, 10);
	if (*colon != ':')
		return words_fail(t, "poke=OFFSET:HEX is expected");
	e->pokes[e->n_pokes].n = words_hex(colon + 1, e->pokes[e->n_pokes].bytes, sizeof e->pokes->bytes);
	e->n_pokes++;
	return true;
}

static bool read_edits(struct tokens *t, struct edits *e)
{
	uint32_t n;
	const char *text;
	while (t->at < t->n) {
		if ((text = words_value_of(t, "from")) != NULL)
			e->has_from = words_mac(t, text, &e->from);
		else if ((text = words_value_of(t, "to")) != NULL)
			e->has_to = words_mac(t, text, &e->to);
		else if ((text = words_value_of(t, "type")) != NULL)
			e->ether_type = (uint32_t)strtoul(text, NULL, 16);
		else if (words_number_of(t, "vlan", &n))
			e->vlan = (int32_t)n;
		else if (words_number_of(t, "cut", &n))
			e->cut = (int32_t)n;
		else if ((text = words_value_of(t, "poke")) != NULL)
			(void)read_poke(t, text, e);
		else if (!words_number_of(t, "pad", &e->pad))
			return words_fail(t, t->items[t->at]);
	}
	return t->wrong == NULL;
}

static bool read_arp(struct tokens *t, uint8_t *bytes, uint32_t *ret_n)
{
	const char *operation = words_next(t);
	struct arp_packet arp = { .hardware = be16_from(1),
		                      .protocol = be16_from(ETHER_IP4),
		                      .hardware_bytes = 6,
		                      .protocol_bytes = 4,
		                      .operation = be16_from(strcmp(operation, "request") == 0 ? 1 : 2) };
	struct end sender, target;
	if (!words_mac(t, words_next(t), &arp.sender_mac) || !words_end(t, words_next(t), &sender))
		return false;
	if (!words_take(t, ">"))
		return words_fail(t, "'>' is expected between the two sides of ARP");
	if (t->at < t->n && strchr(t->items[t->at], ':') != NULL && !words_mac(t, words_next(t), &arp.target_mac))
		return false;
	if (!words_end(t, words_next(t), &target))
		return false;
	arp.sender_ip = sender.ip4;
	arp.target_ip = target.ip4;
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
	if (words_take(t, "raw")) {
		f->len = words_hex(words_next(t), test_data(f), TEST_FRAME_BYTES);
		return t->at == t->n || words_fail(t, "nothing may follow raw bytes");
	}
	if (words_take(t, "arp")) {
		type = be16_from(ETHER_ARP);
		ok = read_arp(t, p->bytes, &p->n);
	} else {
		ok = read_packet(t, p);
		type = be16_from(p->is_ip6 ? ETHER_IP6 : ETHER_IP4);
	}
	if (!ok || !read_edits(t, &e))
		return false;
	if (p->n + e.pad + ETH_BYTES + 4 > TEST_FRAME_BYTES)
		return words_fail(t, "the frame is too long");
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
	bool ok = p != NULL && words_split(&t, line) && encode(&t, port, p, ret_frame);
	free(p);
	*ret_what = ok ? NULL : t.wrong;
	return ok;
}
