#include "common/packet/icmp_error.h"

// The identifier stands for the port of the side that asks (RFC 5508 section 3.1).
static bool read_echo(const uint8_t *l4, struct icmp_error *e)
{
	const struct icmp_header *icmp = (const struct icmp_header *)l4;
	bool is_request = icmp->type == (e->is_ip6 ? ICMP6_ECHO : ICMP_ECHO);
	if (icmp->code != 0 || (!is_request && icmp->type != (e->is_ip6 ? ICMP6_ECHO_REPLY : ICMP_ECHO_REPLY)))
		return false;
	e->src_port = is_request ? icmp->id : 0;
	e->dst_port = is_request ? 0 : icmp->id;
	return true;
}

// TCP and UDP begin alike.
static bool read_ports(const uint8_t *l4, struct icmp_error *e)
{
	switch (e->protocol) {
	case IP_PROTO_TCP:
	case IP_PROTO_UDP:
		e->src_port = load16(l4);
		e->dst_port = load16(l4 + 2);
		return true;
	case IP_PROTO_ICMP:
	case IP_PROTO_ICMP6: return e->protocol == (e->is_ip6 ? IP_PROTO_ICMP6 : IP_PROTO_ICMP) && read_echo(l4, e);
	default: return ip_protocol_is_any(e->protocol); // without ports
	}
}

static enum drop_reason parse_error4(const uint8_t *frame, const struct parsed *p, struct icmp_error *ret_error)
{
	const struct icmp_header *outer = (const struct icmp_header *)(frame + p->l4_off);
	if (!icmp_type_is_error(outer->type))
		return DROP_ICMP_IGNORED;
	uint32_t l3_off = p->l4_off + (uint32_t)sizeof *outer;
	uint32_t n_there = (uint32_t)p->l3_off + p->l3_bytes - l3_off;
	if (n_there < IP4_BYTES + ICMP_ERROR_L4_BYTES)
		return DROP_ICMP_UNKNOWN;
	const struct ip4_header *ip = (const struct ip4_header *)(frame + l3_off);
	uint32_t header_bytes = (ip->version_ihl & 0x0fu) * 4u;
	uint32_t total = be16_to(ip->total_length);
	uint32_t n_inside = total < n_there ? total : n_there; // what follows it are extensions (RFC 4884), or padding
	if (ip->version_ihl >> 4 != 4 || header_bytes < IP4_BYTES || n_inside < header_bytes + ICMP_ERROR_L4_BYTES ||
	    (ip->fragment & be16_from(IP4_OFFSET_MASK)) != 0)
		return DROP_ICMP_UNKNOWN;
	struct icmp_error e = {
		.l3_off = (uint16_t)l3_off,
		.l4_off = (uint16_t)(l3_off + header_bytes),
		.l4_bytes = (uint16_t)(n_inside - header_bytes),
		.protocol = ip->protocol,
		.src = ip->src,
		.dst = ip->dst,
	};
	if (!read_ports(frame + e.l4_off, &e))
		return DROP_ICMP_UNKNOWN;
	*ret_error = e;
	return DROP_NONE;
}

// Behind the extension headers of the packet inside, which ends at `end`. False: they are none that parse.h would go through, or it
// is a fragment but the first.
static bool skip_extensions(const uint8_t *frame, uint32_t end, struct ip6_walk *w)
{
	if (ip6_walk_extensions(frame, end, w) != DROP_NONE)
		return false;
	if (w->next_header != IP_PROTO_FRAGMENT)
		return true;
	const struct ip6_fragment *f = (const struct ip6_fragment *)(frame + w->off);
	if (end - w->off < IP6_FRAGMENT_BYTES || (f->offset_more & be16_from(IP6_OFFSET_MASK)) != 0)
		return false;
	*w = (struct ip6_walk){ .off = w->off + IP6_FRAGMENT_BYTES, .next_header = f->next_header };
	return ip6_walk_extensions(frame, end, w) == DROP_NONE;
}

static enum drop_reason parse_error6(const uint8_t *frame, const struct parsed *p, struct icmp_error *ret_error)
{
	const struct icmp_header *outer = (const struct icmp_header *)(frame + p->l4_off);
	if (!icmp6_type_is_error(outer->type))
		return DROP_ICMP_IGNORED;
	uint32_t l3_off = p->l4_off + (uint32_t)sizeof *outer;
	uint32_t n_there = (uint32_t)p->l3_off + p->l3_bytes - l3_off;
	if (n_there < IP6_BYTES + ICMP_ERROR_L4_BYTES || frame[l3_off] >> 4 != 6)
		return DROP_ICMP_UNKNOWN;
	const struct ip6_header *ip = (const struct ip6_header *)(frame + l3_off);
	uint32_t total = IP6_BYTES + be16_to(ip->payload_length);
	uint32_t end =
		l3_off + (total < n_there ? total : n_there); // what follows it are extensions (RFC 4884), or padding
	struct ip6_walk w = { l3_off + IP6_BYTES, ip->next_header, true };
	if (!skip_extensions(frame, end, &w) || end < w.off + ICMP_ERROR_L4_BYTES)
		return DROP_ICMP_UNKNOWN;
	struct icmp_error e = {
		.l3_off = (uint16_t)l3_off,
		.l4_off = (uint16_t)w.off,
		.l4_bytes = (uint16_t)(end - w.off),
		.protocol = w.next_header,
		.is_ip6 = true,
	};
	if (!read_ports(frame + e.l4_off, &e))
		return DROP_ICMP_UNKNOWN;
	*ret_error = e;
	return DROP_NONE;
}

enum drop_reason icmp_error_parse(const uint8_t *frame, const struct parsed *p, struct icmp_error *ret_error)
{
	return p->is_ip6 ? parse_error6(frame, p, ret_error) : parse_error4(frame, p, ret_error);
}
