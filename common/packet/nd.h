// Neighbor Discovery over Ethernet (RFC 4861), the counterpart of arp.h: reading a packet, writing solicitations, advertisements, and
// the router advertisement with which VMs find their gateway.
//
// What is read was valid: hop limit 255, so that it is from this segment, checksum, code, addresses and options within bounds (RFC 4861
// sections 6.1 and 7.1), and no fragment (RFC 6980). All that is written has the source's MAC in Ethernet and in its option.
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "common/packet/drop.h"
#include "common/packet/parse.h"

#define ND_SOLICITATION_BYTES (ETH_BYTES + IP6_BYTES + 24 + 8) // frames that are written here
#define ND_ADVERTISEMENT_BYTES ND_SOLICITATION_BYTES
#define ND_ROUTER_ADVERTISEMENT_BYTES (ETH_BYTES + IP6_BYTES + 16 + 8 + 8)
#define ND_FRAME_BYTES_MAX ND_SOLICITATION_BYTES

struct nd_info {
	uint8_t type; // ICMP6_NEIGHBOR_SOLICITATION, _ADVERTISEMENT, ICMP6_ROUTER_SOLICITATION, _ADVERTISEMENT
	bool
		has_mac; // the option: of a solicitation or a router advertisement the source's MAC, of an advertisement the target's
	bool is_router; // the flags of an advertisement
	bool is_solicited;
	bool is_override;
	struct mac mac;
	uint8_t src[16]; // ::, of who looks whether its address is taken (RFC 4862 section 5.4.2)
	uint8_t dst[16];
	uint8_t target[16]; // of neighbor solicitations and advertisements
};

// Is it Neighbor Discovery, redirects among it (valid or not)? `p` is of this frame: parse_ip6 was DROP_NONE.
static inline bool nd_is_nd(const uint8_t *frame, const struct parsed *p)
{
	return p->is_ip6 && p->protocol == IP_PROTO_ICMP6 && frame[p->l4_off] >= ICMP6_ROUTER_SOLICITATION &&
	       frame[p->l4_off] <= ICMP6_REDIRECT;
}

// Reads what nd_is_nd said yes to. DROP_ND_MALFORMED: it is not valid, or a redirect, which nobody here follows.
enum drop_reason nd_parse(const uint8_t *frame, const struct parsed *p, struct nd_info *ret_info);

// The group that a host with this address listens to (RFC 4291 section 2.7.1), and the MAC of a group (RFC 2464 section 7).
void nd_solicited_node(const uint8_t *addr, uint8_t *ret_group);
struct mac nd_group_mac(const uint8_t *group);

// Writes ND_SOLICITATION_BYTES: "who has target, tell sender"; to the target's group unless dst, its MAC, is given.
void nd_write_solicitation(uint8_t *frame, const struct mac *sender_mac, const uint8_t *sender, const uint8_t *target,
                           const struct mac *dst);

enum nd_role { ND_HOST, ND_ROUTER };

// Writes ND_ADVERTISEMENT_BYTES, the answer to a valid solicitation that came from the MAC `to`: "its target is at my_mac". To
// all nodes when the solicitation's source is :: (RFC 4861 section 7.2.4). `frame` may be the solicitation's own buffer. The target
// says so itself (override) unless somebody speaks for it (proxy: RFC 4861 section 7.2.8).
void nd_write_advertisement(uint8_t *frame, const struct mac *my_mac, const struct nd_info *solicitation,
                            const struct mac *to, enum nd_role role, bool is_proxy);

struct nd_router {
	struct mac mac;
	uint8_t addr[16]; // link-local
	uint16_t lifetime_s;
	uint16_t mtu; // of the segment, bytes
};

// Writes ND_ROUTER_ADVERTISEMENT_BYTES without any prefix: addresses are not the router's to give (RFC 4861 section 4.2). To the address
// `dst` at the MAC `to`; to all nodes when dst is NULL.
void nd_write_router_advertisement(uint8_t *frame, const struct nd_router *r, const struct mac *to, const uint8_t *dst);
