#include "tests/property/naive_nat.h"

#include <string.h>

#include "common/base/check.h"

enum side { SOURCE, DESTINATION };
enum { PACKET_MAX = 2048, MODULUS = 65535 };

// ---- Checksums, as numbers modulo 65535 (RFC 1071 section 1: one's-complement sums are that) ----

static uint64_t sum_of(const uint8_t *p, uint32_t n)
{
	uint64_t sum = 0;
	for (uint32_t i = 0; i < n; i++)
		sum += (i & 1) == 0 ? (uint64_t)p[i] << 8 : p[i];
	return sum;
}

static uint32_t field_of(const uint8_t *p)
{
	return (uint32_t)p[0] << 8 | p[1];
}

// The field after what it covers had the sum `before` and has `after`. A sum of nothing but zeros does not come, so that 0 modulo
// 65535 is 65535.
static uint32_t field_after(uint32_t field, uint64_t before, uint64_t after)
{
	uint64_t sum = (MODULUS - field + MODULUS - before % MODULUS + after) % MODULUS;
	return (uint32_t)(sum == 0 ? 0 : MODULUS - sum);
}

static void put_field(uint8_t *p, uint32_t value)
{
	p[0] = (uint8_t)(value >> 8);
	p[1] = (uint8_t)value;
}

static uint32_t header_bytes(const uint8_t *ip)
{
	return (ip[0] & 0x0fu) * 4u;
}

// Where the checksum of what follows the IP header is.
static uint32_t l4_field(uint8_t protocol)
{
	return protocol == IP_PROTO_TCP ? 16 : protocol == IP_PROTO_UDP ? 6 : 2;
}

// All that the checksum of TCP, UDP or ICMP covers, as far as it is there, but for the field itself.
static uint64_t l4_sum(const uint8_t *ip, uint32_t n)
{
	uint32_t at = header_bytes(ip);
	uint64_t sum = sum_of(ip + at, n - at) - field_of(ip + at + l4_field(ip[9]));
	return ip[9] == IP_PROTO_ICMP ? sum : sum + sum_of(ip + 12, 8); // the rest of the pseudo header does not change
}

static void fix_checksums(uint8_t *ip, const uint8_t *old, uint32_t n)
{
	uint32_t at = header_bytes(ip);
	uint64_t before = sum_of(old, at) - field_of(old + 10);
	uint64_t after = sum_of(ip, at) - field_of(ip + 10);
	put_field(ip + 10, field_after(field_of(old + 10), before, after));
	uint8_t *field = ip + at + l4_field(ip[9]);
	if (field + 2 > ip + n || (ip[9] == IP_PROTO_UDP && field_of(field) == 0)) // cut off, or there is none
		return;
	uint32_t value = field_after(field_of(field), l4_sum(old, n), l4_sum(ip, n));
	put_field(field, ip[9] == IP_PROTO_UDP && value == 0 ? 0xffff : value);
}

// ---- Rewriting ----

static bool is_error(const uint8_t *ip)
{
	uint8_t type = ip[header_bytes(ip)];
	return ip[9] == IP_PROTO_ICMP && (type == 3 || type == 11 || type == 12);
}

// The packet inside an error went the other way.
static void translate(uint8_t *ip, uint32_t n, enum side side, be32 addr, be16 port)
{
	uint8_t old[PACKET_MAX];
	uint8_t *l4 = ip + header_bytes(ip);
	CHECK(n <= sizeof old);
	memcpy(old, ip, n);
	memcpy(ip + (side == SOURCE ? 12 : 16), &addr, sizeof addr);
	if (is_error(ip))
		translate(l4 + 8, n - header_bytes(ip) - 8, side == SOURCE ? DESTINATION : SOURCE, addr, port);
	else if (ip[9] == IP_PROTO_ICMP)
		memcpy(l4 + 4, &port, sizeof port);
	else
		memcpy(l4 + (side == SOURCE ? 0 : 2), &port, sizeof port);
	fix_checksums(ip, old, n);
}

static uint8_t tcp_flags(const uint8_t *ip)
{
	return ip[9] == IP_PROTO_TCP ? ip[header_bytes(ip) + 13] : 0;
}

// RFC 9293 section 3.7.1: the option has kind 2 and four bytes.
static void clamp_mss(uint8_t *ip, uint32_t n)
{
	uint8_t old[PACKET_MAX];
	uint8_t *tcp = ip + header_bytes(ip);
	if ((tcp_flags(ip) & TCP_SYN) == 0)
		return;
	memcpy(old, ip, n);
	uint8_t *end = tcp + (tcp[12] >> 4) * 4;
	for (uint8_t *o = tcp + 20; o + 4 <= end && *o != 0; o += *o == 1 ? 1 : o[1])
		if (*o == 2 && field_of(o + 2) > NAIVE_MSS)
			put_field(o + 2, NAIVE_MSS);
	fix_checksums(ip, old, n);
}

// ---- Flows ----

// The two ends of a packet. An echo has its identifier on the side that asks.
struct ends {
	be32 src, dst;
	be16 src_port, dst_port;
	uint8_t protocol;
};

static struct ends ends_of(const uint8_t *ip)
{
	const uint8_t *l4 = ip + header_bytes(ip);
	struct ends e = { .src = load32(ip + 12), .dst = load32(ip + 16), .protocol = ip[9] };
	if (ip[9] != IP_PROTO_ICMP) {
		e.src_port = load16(l4);
		e.dst_port = load16(l4 + 2);
	} else if (l4[0] == ICMP_ECHO) {
		e.src_port = load16(l4 + 4);
	} else {
		e.dst_port = load16(l4 + 4);
	}
	return e;
}

static struct naive_flow *find_inbound(struct naive_nat *nat, const struct ends *e)
{
	for (uint32_t i = 0; i < nat->n_flows; i++) {
		struct naive_flow *f = &nat->flows[i];
		if (f->remote == e->src && f->remote_port == e->src_port && f->vip == e->dst && f->vip_port == e->dst_port &&
		    f->protocol == e->protocol)
			return f;
	}
	return NULL;
}

static struct naive_flow *find_outbound(struct naive_nat *nat, const struct ends *e)
{
	for (uint32_t i = 0; i < nat->n_flows; i++) {
		struct naive_flow *f = &nat->flows[i];
		if (f->remote == e->dst && f->remote_port == e->dst_port && f->dip == e->src && f->dip_port == e->src_port &&
		    f->protocol == e->protocol)
			return f;
	}
	return NULL;
}

static void forget(struct naive_nat *nat, struct naive_flow *f)
{
	*f = nat->flows[--nat->n_flows];
}

static void remember(struct naive_nat *nat, struct naive_flow f)
{
	CHECK(nat->n_flows < NAIVE_FLOWS_MAX);
	nat->flows[nat->n_flows++] = f;
}

bool naive_flow_is_over(const struct naive_flow *f)
{
	return f->has_fin_in && f->has_fin_out;
}

static bool is_syn(const uint8_t *ip)
{
	return (tcp_flags(ip) & (TCP_SYN | TCP_ACK)) == TCP_SYN;
}

// The handshake, as the side that did not begin it answers and the other one confirms.
static void follow(struct naive_flow *f, const uint8_t *ip, bool is_inbound)
{
	uint8_t flags = tcp_flags(ip);
	bool is_answer = is_inbound == f->is_snat;
	if (f->protocol != IP_PROTO_TCP)
		return;
	if (f->step == 0 && is_answer && (flags & TCP_SYN) != 0)
		f->step = 1;
	else if (f->step == 1 && !is_answer && !is_syn(ip))
		f->step = 2;
	if ((flags & TCP_FIN) != 0)
		*(is_inbound ? &f->has_fin_in : &f->has_fin_out) = true;
}

static uint32_t port_of(const struct naive_nat *nat, be32 dip)
{
	return dip == nat->dips[0] ? 0 : 1;
}

static struct naive_verdict drop(const char *reason)
{
	return (struct naive_verdict){ .outcome = NAIVE_DROP, .reason = reason };
}

// ---- Inbound ----

static struct naive_verdict to_vm(struct naive_nat *nat, const struct naive_flow *f, uint8_t *ip, uint32_t n)
{
	translate(ip, n, DESTINATION, f->dip, f->dip_port);
	clamp_mss(ip, n);
	return (struct naive_verdict){ .outcome = NAIVE_TO_VM, .port = port_of(nat, f->dip) };
}

static bool is_leased(const struct naive_nat *nat, be32 vip, be16 port, be32 dip)
{
	for (uint32_t i = 0; i < nat->n_leases; i++) {
		const struct naive_lease *l = &nat->leases[i];
		if (l->vip == vip && l->dip == dip && be16_to(port) >= l->first_port && be16_to(port) < l->first_port + 8)
			return true;
	}
	return false;
}

static struct naive_verdict begin_inbound(struct naive_nat *nat, const struct ends *e, be32 dip, uint8_t *ip,
                                          uint32_t n)
{
	for (uint32_t i = 0; i < nat->n_endpoints; i++) {
		const struct naive_endpoint *p = &nat->endpoints[i];
		if (p->vip != e->dst || p->vip_port != e->dst_port || p->protocol != e->protocol || p->dip != dip)
			continue;
		if (e->src == e->dst && e->src_port == e->dst_port)
			return drop("bad_source");
		struct ends reply = { dip, e->src, p->dip_port, e->src_port, e->protocol };
		struct naive_flow *other = find_outbound(nat, &reply);
		if (other != NULL && other->protocol == IP_PROTO_TCP && !naive_flow_is_over(other))
			return drop("flow_conflict");
		if (other != NULL)
			forget(nat, other);
		struct naive_flow f = { e->src,      e->dst,      dip,         e->src_port,
			                    e->dst_port, p->dip_port, e->protocol, .is_snat = false };
		remember(nat, f);
		return to_vm(nat, &f, ip, n);
	}
	if (is_leased(nat, e->dst, e->dst_port, dip))
		return drop("snat_no_flow");
	return drop(e->protocol == IP_PROTO_ICMP ? "icmp_unknown" : "encap_no_endpoint");
}

static struct naive_verdict error_inbound(struct naive_nat *nat, uint8_t *ip, uint32_t n)
{
	struct ends sent = ends_of(ip + header_bytes(ip) + 8);
	struct ends came = { sent.dst, sent.src, sent.dst_port, sent.src_port, sent.protocol };
	const struct naive_flow *f = find_inbound(nat, &came);
	if (f == NULL || sent.src != load32(ip + 16))
		return drop("icmp_unknown");
	translate(ip, n, DESTINATION, f->dip, f->dip_port);
	return (struct naive_verdict){ .outcome = NAIVE_TO_VM, .port = port_of(nat, f->dip) };
}

struct naive_verdict naive_inbound(struct naive_nat *nat, be32 source, be32 dip, uint8_t *ip, uint32_t n)
{
	bool is_known_source = false;
	for (uint32_t i = 0; i < nat->n_encap_sources; i++)
		is_known_source |= nat->encap_sources[i] == source;
	if (!is_known_source)
		return drop("encap_source");
	if (is_error(ip))
		return error_inbound(nat, ip, n);
	struct ends e = ends_of(ip);
	struct naive_flow *f = find_inbound(nat, &e);
	if (f != NULL && is_syn(ip) && naive_flow_is_over(f)) {
		forget(nat, f);
		f = NULL;
	}
	if (f == NULL)
		return begin_inbound(nat, &e, dip, ip, n);
	follow(f, ip, true);
	return to_vm(nat, f, ip, n);
}

// ---- Outbound ----

// Is this VIP:port free for the flow: of TCP towards its destination, of others for its VM's port (RFC 4787 REQ-1)?
static bool is_free(const struct naive_nat *nat, const struct ends *e, be32 vip, be16 port)
{
	for (uint32_t i = 0; i < nat->n_flows; i++) {
		const struct naive_flow *f = &nat->flows[i];
		if (f->protocol != e->protocol)
			continue;
		bool same_outside = f->vip == vip && f->vip_port == port;
		bool same_inside = f->dip == e->src && f->dip_port == e->src_port;
		if (e->protocol == IP_PROTO_TCP && same_outside && f->remote == e->dst && f->remote_port == e->dst_port)
			return false;
		if (e->protocol != IP_PROTO_TCP && f->is_snat && same_outside != same_inside)
			return false;
	}
	return true;
}

bool naive_has_port(const struct naive_nat *nat, const uint8_t *ip)
{
	struct ends e = ends_of(ip);
	for (uint32_t i = 0; i < nat->n_leases; i++)
		for (uint16_t k = 0; k < 8; k++)
			if (nat->leases[i].dip == e.src &&
			    is_free(nat, &e, nat->leases[i].vip, be16_from((uint16_t)(nat->leases[i].first_port + k))))
				return true;
	return false;
}

static struct naive_verdict to_uplink(struct naive_flow *f, uint8_t *ip, uint32_t n)
{
	translate(ip, n, SOURCE, f->vip, f->vip_port);
	clamp_mss(ip, n);
	return (struct naive_verdict){ .outcome = NAIVE_TO_UPLINK };
}

bool naive_begin(struct naive_nat *nat, uint8_t *ip, uint32_t n, be32 vip, be16 vip_port)
{
	struct ends e = ends_of(ip);
	if (!is_leased(nat, vip, vip_port, e.src) || !is_free(nat, &e, vip, vip_port))
		return false;
	struct naive_flow f = { e.dst, vip, e.src, e.dst_port, vip_port, e.src_port, e.protocol, .is_snat = true };
	remember(nat, f);
	(void)to_uplink(&f, ip, n);
	return true;
}

static struct naive_verdict error_outbound(struct naive_nat *nat, uint8_t *ip, uint32_t n)
{
	struct ends came = ends_of(ip + header_bytes(ip) + 8);
	struct ends reply = { came.dst, came.src, came.dst_port, came.src_port, came.protocol };
	struct naive_flow *f = find_outbound(nat, &reply);
	if (f == NULL || came.src != load32(ip + 16))
		return drop("icmp_unknown");
	translate(ip, n, SOURCE, f->vip, f->vip_port);
	return (struct naive_verdict){ .outcome = NAIVE_TO_UPLINK };
}

struct naive_verdict naive_outbound(struct naive_nat *nat, uint32_t port, uint8_t *ip, uint32_t n)
{
	if (load32(ip + 12) != nat->dips[port])
		return drop("spoofed_source");
	if (is_error(ip))
		return error_outbound(nat, ip, n);
	struct ends e = ends_of(ip);
	struct naive_flow *f = find_outbound(nat, &e);
	if (f != NULL && is_syn(ip) && naive_flow_is_over(f)) {
		forget(nat, f);
		f = NULL;
	}
	if (f != NULL) {
		follow(f, ip, false);
		return to_uplink(f, ip, n);
	}
	if (e.protocol == IP_PROTO_TCP && !is_syn(ip))
		return (struct naive_verdict){ .outcome = NAIVE_REFUSED, .reason = "snat_no_flow", .port = port };
	return (struct naive_verdict){ .outcome = NAIVE_NEW_SNAT };
}
