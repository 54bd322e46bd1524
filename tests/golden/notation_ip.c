#include "tests/golden/notation_ip.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/packet/checksum.h"

#define DAMAGE 0x1111 // added to a checksum: the difference stays the same however addresses and ports are rewritten

enum { OPTION_NOP = 1, OPTION_PADN = 1, DEFAULT_TTL = 64, DEFAULT_ID = 0x1234 };

static struct ip4_header *ip4_of(struct packet *p)
{
	return (struct ip4_header *)p->bytes;
}

static struct ip6_header *ip6_of(struct packet *p)
{
	return (struct ip6_header *)p->bytes;
}

// ---- words ----

static bool read_piece(struct packet *p, const char *text)
{
	unsigned offset, n;
	if (sscanf(text, "%u:%u", &offset, &n) != 2)
		return false;
	p->piece_offset = (int32_t)offset;
	p->piece_bytes = n;
	return true;
}

static void add_fragment(struct packet *p, uint32_t offset, bool more)
{
	p->has_fragment = true;
	p->fragment |= be16_from((uint16_t)(offset / 8 | (more ? IP4_MORE_FRAGMENTS : 0)));
	p->fragment6.offset_more |= be16_from((uint16_t)((offset & IP6_OFFSET_MASK) | (more ? IP6_MORE_FRAGMENTS : 0)));
}

static void set_fragment(struct packet *p, const char *text)
{
	bool more = text[0] != '\0' && text[strlen(text) - 1] == '+';
	add_fragment(p, (uint32_t)strtoul(text, NULL, 10), more);
}

static void or_word(struct packet *p, uint32_t bits)
{
	ip6_of(p)->version_class_label |= be32_from(bits);
}

// What only one family has.
static bool read_ip4_word(struct tokens *t, struct packet *p)
{
	uint32_t n;
	struct ip4_header *ip = ip4_of(p);
	if (words_number_of(t, "id", &n) || words_number_of(t, "ipid", &n)) // the latter where "id" is that of ICMP
		ip->id = be16_from((uint16_t)n);
	else if (words_number_of(t, "tos", &n))
		ip->tos = (uint8_t)n;
	else if (words_take(t, "df"))
		p->fragment |= be16_from(IP4_DONT_FRAGMENT);
	else if (words_number_of(t, "ihl", &n))
		ip->version_ihl = (uint8_t)((ip->version_ihl & 0xf0) | n);
	else if (words_take(t, "badip"))
		p->bad_ip = true;
	else
		return words_number_of(t, "opts", &n); // packet_begin read it
	return true;
}

static bool read_ip6_word(struct tokens *t, struct packet *p)
{
	uint32_t n;
	if (words_number_of(t, "id", &n) || words_number_of(t, "ipid", &n))
		p->fragment6.id = be32_from(n);
	else if (words_number_of(t, "tos", &n))
		or_word(p, n << 20);
	else if (words_number_of(t, "label", &n))
		or_word(p, n);
	else
		return words_value_of(t, "ext") != NULL || words_value_of(t, "fext") != NULL; // packet_begin read them
	return true;
}

bool packet_read_word(struct tokens *t, struct packet *p)
{
	uint32_t n;
	const char *text;
	if (words_number_of(t, "ttl", &n))
		*(p->is_ip6 ? &ip6_of(p)->hop_limit : &ip4_of(p)->ttl) = (uint8_t)n;
	else if ((text = words_value_of(t, "frag")) != NULL)
		set_fragment(p, text);
	else if ((text = words_value_of(t, "piece")) != NULL)
		return read_piece(p, text) || words_fail(t, "piece=OFFSET:LENGTH is expected");
	else if (words_number_of(t, "ver", &n))
		p->bytes[0] = (uint8_t)((p->bytes[0] & 0x0f) | n << 4);
	else if (words_number_of(t, "len", &n))
		p->total_length = (int32_t)n;
	else if (words_take(t, "badsum"))
		p->bad_sum = true;
	else
		return p->is_ip6 ? read_ip6_word(t, p) : read_ip4_word(t, p);
	return true;
}

// ---- headers ----

static void begin_ip4(struct packet *p, const struct ends *e, uint32_t option_bytes)
{
	p->header_bytes = IP4_BYTES + option_bytes;
	*ip4_of(p) = (struct ip4_header){ .version_ihl = (uint8_t)(0x40 | p->header_bytes / 4),
		                              .id = be16_from(DEFAULT_ID),
		                              .ttl = DEFAULT_TTL,
		                              .protocol = p->protocol,
		                              .src = e->src.ip4,
		                              .dst = e->dst.ip4 };
	memset(p->bytes + IP4_BYTES, OPTION_NOP, option_bytes);
}

// One extension header, "TYPE", "TYPE:BYTES" or "43/ROUTING_TYPE.SEGMENTS_LEFT", behind those that are there. *named_at is where its type
// belongs, and where that of what follows belongs, then.
static const char *put_extension(struct packet *p, const char *text, uint32_t *named_at)
{
	char *end;
	uint8_t type = (uint8_t)strtoul(text, &end, 10);
	uint32_t bytes = *end == ':' ? (uint32_t)strtoul(end + 1, &end, 10) : 8;
	uint8_t *x = p->bytes + p->header_bytes;
	if (bytes < 8 || bytes > 264 || p->header_bytes + bytes > 1200)
		return NULL;
	memset(x, 0, bytes);
	x[1] = (uint8_t)(bytes / 8 - 1);
	if (type == IP_PROTO_HOP_BY_HOP || type == IP_PROTO_DESTINATION) {
		x[2] = OPTION_PADN;
		x[3] = (uint8_t)(bytes < 260 ? bytes - 4 : 0);
	}
	if (type == IP_PROTO_ROUTING) {
		unsigned routing = 2, left = 0;
		if (*end == '/' && sscanf(end, "/%u.%u", &routing, &left) == 2)
			end += strcspn(end, ",");
		x[2] = (uint8_t)routing;
		x[3] = (uint8_t)left;
	}
	p->bytes[*named_at] = type;
	*named_at = p->header_bytes;
	p->header_bytes += bytes;
	return *end == ',' ? end + 1 : *end == '\0' ? end : NULL;
}

static bool put_extensions(struct tokens *t, struct packet *p, const char *name, uint32_t *named_at)
{
	const char *text = words_peek(t, name);
	while (text != NULL && *text != '\0')
		if ((text = put_extension(p, text, named_at)) == NULL)
			return words_fail(
				t, "extension headers are TYPE, TYPE:BYTES or 43/ROUTING_TYPE.SEGMENTS_LEFT, with commas between");
	return true;
}

static bool begin_ip6(struct tokens *t, struct packet *p, const struct ends *e)
{
	uint32_t named_at = offsetof(struct ip6_header, next_header);
	p->header_bytes = IP6_BYTES;
	*ip6_of(p) = (struct ip6_header){ .version_class_label = be32_from(0x60000000u), .hop_limit = DEFAULT_TTL };
	memcpy(ip6_of(p)->src, e->src.ip6, sizeof e->src.ip6);
	memcpy(ip6_of(p)->dst, e->dst.ip6, sizeof e->dst.ip6);
	p->fragment6.id = be32_from(DEFAULT_ID);
	if (!put_extensions(t, p, "ext", &named_at))
		return false;
	p->fragment_at = p->header_bytes;
	p->fragment_named_at = named_at;
	if (!put_extensions(t, p, "fext", &named_at))
		return false;
	p->bytes[named_at] = p->protocol;
	return true;
}

bool packet_begin(struct tokens *t, struct packet *p, const struct ends *e, uint8_t protocol)
{
	const char *options = words_peek(t, "opts");
	bool ok = true;
	p->is_ip6 = e->src.is_ip6;
	p->protocol = protocol;
	p->total_length = p->piece_offset = -1;
	if (p->is_ip6)
		ok = begin_ip6(t, p, e);
	else
		begin_ip4(p, e, options == NULL ? 0 : (uint32_t)strtoul(options, NULL, 10));
	p->n = p->header_bytes;
	return ok;
}

// ---- ends ----

static uint32_t pseudo_sum(struct packet *p, uint32_t l4_bytes)
{
	uint32_t sum = be16_from(p->protocol) + (uint32_t)be16_from((uint16_t)l4_bytes);
	if (p->protocol == IP_PROTO_ICMP)
		return 0;
	return p->is_ip6 ? checksum_add(ip6_of(p)->src, 32, sum) : checksum_add(&ip4_of(p)->src, 8, sum);
}

// Where the checksum lies in what follows the IP header; 0: there is none.
static uint32_t checksum_offset(uint8_t protocol)
{
	if (protocol == IP_PROTO_TCP)
		return offsetof(struct tcp_header, checksum);
	if (protocol == IP_PROTO_UDP)
		return offsetof(struct udp_header, checksum);
	return ip_protocol_is_icmp(protocol) ? offsetof(struct icmp_header, checksum) : 0;
}

void packet_end_l4(struct packet *p, bool has_sum)
{
	uint32_t offset = checksum_offset(p->protocol);
	uint32_t l4_bytes = p->n - p->header_bytes;
	if (offset == 0 || !has_sum)
		return;
	be16 value = (be16)~checksum_fold(checksum_add(p->bytes + p->header_bytes, l4_bytes, pseudo_sum(p, l4_bytes)));
	if (p->protocol == IP_PROTO_UDP && value == 0)
		value = 0xffff;
	store16(p->bytes + p->header_bytes + offset, p->bad_sum ? checksum_fold((uint32_t)value + DAMAGE) : value);
}

// Of what lies behind `front` bytes that every fragment has.
static void cut_piece(struct packet *p, uint32_t front)
{
	uint32_t content_bytes = p->n - front;
	uint32_t offset = (uint32_t)p->piece_offset;
	uint32_t n = offset >= content_bytes ? 0 : content_bytes - offset;
	bool more = p->piece_bytes < n;
	if (more)
		n = p->piece_bytes;
	memmove(p->bytes + front, p->bytes + front + offset, n);
	p->n = front + n;
	add_fragment(p, offset, more);
}

static void insert_fragment(struct packet *p)
{
	uint8_t *at = p->bytes + p->fragment_at;
	memmove(at + IP6_FRAGMENT_BYTES, at, p->n - p->fragment_at);
	p->fragment6.next_header = p->bytes[p->fragment_named_at];
	p->bytes[p->fragment_named_at] = IP_PROTO_FRAGMENT;
	memcpy(at, &p->fragment6, sizeof p->fragment6);
	p->n += IP6_FRAGMENT_BYTES;
}

void packet_end(struct packet *p)
{
	if (p->piece_offset >= 0)
		cut_piece(p, p->is_ip6 ? p->fragment_at : p->header_bytes);
	if (p->is_ip6) {
		if (p->has_fragment)
			insert_fragment(p);
		uint32_t length = p->total_length >= 0 ? (uint32_t)p->total_length : p->n - IP6_BYTES;
		ip6_of(p)->payload_length = be16_from((uint16_t)length);
		return;
	}
	struct ip4_header *ip = ip4_of(p);
	ip->fragment = p->fragment;
	ip->total_length = be16_from((uint16_t)(p->total_length >= 0 ? (uint32_t)p->total_length : p->n));
	ip->checksum = checksum_compute(p->bytes, p->header_bytes);
	if (p->bad_ip)
		ip->checksum ^= 0x5555;
}
