#include "common/packet/nd.h"

#include <string.h>

#include "common/packet/checksum.h"
#include "common/packet/icmp6.h"
#include "common/packet/martian.h"

enum {
	ADDR_BYTES = 16,
	HOP_LIMIT = 255,
	OPTION_SOURCE_MAC = 1, // RFC 4861 section 4.6
	OPTION_TARGET_MAC = 2,
	OPTION_MTU = 5,
	FLAG_ROUTER = 0x80,
	FLAG_SOLICITED = 0x40,
	FLAG_OVERRIDE = 0x20,
	ADVERTISED_HOP_LIMIT = 64,
};

static const uint8_t all_nodes[ADDR_BYTES] = { 0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1 };

struct nd_message { // of neighbors: RFC 4861 sections 4.3 and 4.4
	uint8_t type;
	uint8_t code;
	be16 checksum;
	uint8_t flags; // of advertisements
	uint8_t reserved[3];
	uint8_t target[ADDR_BYTES];
} PACKED;

struct nd_router_message { // RFC 4861 section 4.2
	uint8_t type;
	uint8_t code;
	be16 checksum;
	uint8_t hop_limit;
	uint8_t flags;
	be16 lifetime_s;
	be32 reachable_ms;
	be32 retransmit_ms;
} PACKED;

struct nd_mac_option {
	uint8_t type;
	uint8_t length; // in 8 bytes
	struct mac mac;
} PACKED;

struct nd_mtu_option {
	uint8_t type;
	uint8_t length;
	be16 reserved;
	be32 mtu;
} PACKED;

_Static_assert(sizeof(struct nd_message) == 24, "neighbor solicitation and advertisement");
_Static_assert(sizeof(struct nd_router_message) == 16, "router advertisement");
_Static_assert(sizeof(struct nd_mac_option) == 8 && sizeof(struct nd_mtu_option) == 8, "options");

// ---- reading ----

static uint32_t header_bytes_of(uint8_t type)
{
	switch (type) {
	case ICMP6_ROUTER_SOLICITATION: return 8;
	case ICMP6_ROUTER_ADVERTISEMENT: return sizeof(struct nd_router_message);
	case ICMP6_NEIGHBOR_SOLICITATION:
	case ICMP6_NEIGHBOR_ADVERTISEMENT: return sizeof(struct nd_message);
	default: return 0;
	}
}

// The MAC of the option of this type; others are skipped. False: an option of length 0, or beyond the packet.
static bool read_options(const uint8_t *at, uint32_t n, uint8_t type, struct nd_info *info)
{
	while (n > 0) {
		uint32_t bytes = n >= 2 ? at[1] * 8u : 0;
		if (bytes == 0 || bytes > n)
			return false;
		if (at[0] == type && bytes == sizeof(struct nd_mac_option)) {
			info->has_mac = true;
			memcpy(&info->mac, at + 2, MAC_BYTES);
		}
		at += bytes;
		n -= bytes;
	}
	return true;
}

static bool has_right_sum(const uint8_t *frame, const struct parsed *p, uint32_t n)
{
	uint32_t sum = checksum_pseudo_ip6(parsed_src6(frame, p), n, IP_PROTO_ICMP6);
	return checksum_fold(checksum_add(frame + p->l4_off, n, sum)) == 0xffff;
}

static bool is_solicited_node(const uint8_t *addr)
{
	static const uint8_t prefix[13] = { 0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0xff };
	return memcmp(addr, prefix, sizeof prefix) == 0;
}

// The rules of RFC 4861 sections 6.1.1, 6.1.2, 7.1.1 and 7.1.2 that are of one type.
static bool is_valid(const struct nd_info *info)
{
	bool is_from_nobody = ip6_is_unspecified(info->src);
	switch (info->type) {
	case ICMP6_ROUTER_SOLICITATION: return !(is_from_nobody && info->has_mac);
	case ICMP6_ROUTER_ADVERTISEMENT: return ip6_is_link_local(info->src);
	case ICMP6_NEIGHBOR_SOLICITATION:
		if (is_from_nobody && (info->has_mac || !is_solicited_node(info->dst)))
			return false;
		return !ip6_is_multicast(info->target);
	default: return !ip6_is_multicast(info->target) && !(ip6_is_multicast(info->dst) && info->is_solicited);
	}
}

static void read_message(const uint8_t *l4, struct nd_info *info)
{
	const struct nd_message *m = (const struct nd_message *)l4;
	if (info->type != ICMP6_NEIGHBOR_SOLICITATION && info->type != ICMP6_NEIGHBOR_ADVERTISEMENT)
		return;
	memcpy(info->target, m->target, ADDR_BYTES);
	if (info->type == ICMP6_NEIGHBOR_SOLICITATION)
		return;
	info->is_router = (m->flags & FLAG_ROUTER) != 0;
	info->is_solicited = (m->flags & FLAG_SOLICITED) != 0;
	info->is_override = (m->flags & FLAG_OVERRIDE) != 0;
}

enum drop_reason nd_parse(const uint8_t *frame, const struct parsed *p, struct nd_info *ret_info)
{
	const struct ip6_header *ip = (const struct ip6_header *)(frame + p->l3_off);
	const uint8_t *l4 = frame + p->l4_off;
	uint32_t n = (uint32_t)p->l3_off + p->l3_bytes - p->l4_off;
	struct nd_info info = { .type = l4[0] };
	uint32_t header_bytes = header_bytes_of(info.type);
	if (header_bytes == 0 || n < header_bytes || l4[1] != 0 || ip->hop_limit != HOP_LIMIT || p->fragment_off != 0 ||
	    !has_right_sum(frame, p, n))
		return DROP_ND_MALFORMED;
	memcpy(info.src, ip->src, ADDR_BYTES);
	memcpy(info.dst, ip->dst, ADDR_BYTES);
	read_message(l4, &info);
	uint8_t option = info.type == ICMP6_NEIGHBOR_ADVERTISEMENT ? OPTION_TARGET_MAC : OPTION_SOURCE_MAC;
	if (!read_options(l4 + header_bytes, n - header_bytes, option, &info) || !is_valid(&info))
		return DROP_ND_MALFORMED;
	*ret_info = info;
	return DROP_NONE;
}

// ---- writing ----

void nd_solicited_node(const uint8_t *addr, uint8_t *ret_group)
{
	const uint8_t group[ADDR_BYTES] = { 0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0xff, addr[13], addr[14], addr[15] };
	memcpy(ret_group, group, ADDR_BYTES);
}

struct mac nd_group_mac(const uint8_t *group)
{
	return (struct mac){ { 0x33, 0x33, group[12], group[13], group[14], group[15] } };
}

struct ends {
	struct mac src_mac, dst_mac;
	uint8_t src[ADDR_BYTES], dst[ADDR_BYTES];
};

// An ICMPv6 message of n bytes, whose checksum field holds anything.
static void write_frame(uint8_t *frame, const struct ends *e, const void *message, uint32_t n)
{
	struct {
		struct eth_header eth;
		struct ip6_header ip;
	} PACKED h = {
		.eth = { .dst = e->dst_mac, .src = e->src_mac, .ether_type = be16_from(ETHER_IP6) },
		.ip = { .version_class_label = be32_from(0x60000000u),
		        .payload_length = be16_from((uint16_t)n),
		        .next_header = IP_PROTO_ICMP6,
		        .hop_limit = HOP_LIMIT },
	};
	memcpy(h.ip.src, e->src, ADDR_BYTES);
	memcpy(h.ip.dst, e->dst, ADDR_BYTES);
	memcpy(frame, &h, sizeof h);
	memcpy(frame + sizeof h, message, n);
	icmp6_put_checksum(frame + sizeof h, n, h.ip.src);
}

void nd_write_solicitation(uint8_t *frame, const struct mac *sender_mac, const uint8_t *sender, const uint8_t *target,
                           const struct mac *dst)
{
	struct {
		struct nd_message nd;
		struct nd_mac_option mac;
	} PACKED m = { .nd = { .type = ICMP6_NEIGHBOR_SOLICITATION },
		           .mac = { .type = OPTION_SOURCE_MAC, .length = 1, .mac = *sender_mac } };
	struct ends e = { .src_mac = *sender_mac };
	memcpy(m.nd.target, target, ADDR_BYTES);
	memcpy(e.src, sender, ADDR_BYTES);
	nd_solicited_node(target, e.dst);
	e.dst_mac = nd_group_mac(e.dst);
	if (dst != NULL) {
		memcpy(e.dst, target, ADDR_BYTES);
		e.dst_mac = *dst;
	}
	write_frame(frame, &e, &m, sizeof m);
}

void nd_write_advertisement(uint8_t *frame, const struct mac *my_mac, const struct nd_info *solicitation,
                            const struct mac *to, enum nd_role role, bool is_proxy)
{
	bool is_to_all = ip6_is_unspecified(solicitation->src);
	struct {
		struct nd_message nd;
		struct nd_mac_option mac;
	} PACKED m = { .nd = { .type = ICMP6_NEIGHBOR_ADVERTISEMENT },
		           .mac = { .type = OPTION_TARGET_MAC, .length = 1, .mac = *my_mac } };
	m.nd.flags = (uint8_t)((role == ND_ROUTER ? FLAG_ROUTER : 0) | (is_to_all ? 0 : FLAG_SOLICITED) |
	                       (is_proxy ? 0 : FLAG_OVERRIDE));
	struct ends e = { .src_mac = *my_mac, .dst_mac = is_to_all ? nd_group_mac(all_nodes) : *to };
	memcpy(m.nd.target, solicitation->target, ADDR_BYTES);
	memcpy(e.src, solicitation->target, ADDR_BYTES);
	memcpy(e.dst, is_to_all ? all_nodes : solicitation->src, ADDR_BYTES);
	write_frame(frame, &e, &m, sizeof m);
}

void nd_write_router_advertisement(uint8_t *frame, const struct nd_router *r, const struct mac *to, const uint8_t *dst)
{
	struct {
		struct nd_router_message nd;
		struct nd_mac_option mac;
		struct nd_mtu_option mtu;
	} PACKED m = { .nd = { .type = ICMP6_ROUTER_ADVERTISEMENT,
		                   .hop_limit = ADVERTISED_HOP_LIMIT,
		                   .lifetime_s = be16_from(r->lifetime_s) },
		           .mac = { .type = OPTION_SOURCE_MAC, .length = 1, .mac = r->mac },
		           .mtu = { .type = OPTION_MTU, .length = 1, .mtu = be32_from(r->mtu) } };
	struct ends e = { .src_mac = r->mac, .dst_mac = dst != NULL ? *to : nd_group_mac(all_nodes) };
	memcpy(e.src, r->addr, ADDR_BYTES);
	memcpy(e.dst, dst != NULL ? dst : all_nodes, ADDR_BYTES);
	write_frame(frame, &e, &m, sizeof m);
}
