// Which frames are the node's own, by a glance at the first bytes: ARP, Neighbor Discovery, and IP to the node's own addresses (BGP, BFD, managers,
// ssh), which go before all others and count against no limit. Pins come to the own address too and are not meant: they are hints
// from hosts, and may wait or go.
#pragma once

#include "common/packet/pin.h"
#include "mux/core/own_traffic.h"

static inline bool own_first_is_pin(const struct ip4_header *ip, const uint8_t *data, uint32_t len)
{
	const struct udp_header *udp = (const struct udp_header *)(data + ETH_BYTES + IP4_BYTES);
	return ip->version_ihl == 0x45 && ip->protocol == IP_PROTO_UDP && len >= ETH_BYTES + IP4_BYTES + sizeof *udp &&
	       udp->dst_port == be16_from(PIN_PORT);
}

static inline bool own_first_is_own6(const struct mux_settings *s, const uint8_t *data, uint32_t len)
{
	const struct ip6_header *ip = (const struct ip6_header *)(data + ETH_BYTES);
	const struct udp_header *udp = (const struct udp_header *)(ip + 1);
	if (len < ETH_BYTES + IP6_BYTES || !own_traffic_is_own6(s, ip->dst))
		return false;
	return ip->next_header != IP_PROTO_UDP || len < ETH_BYTES + IP6_BYTES + sizeof *udp ||
	       udp->dst_port != be16_from(PIN_PORT);
}

static inline bool own_first_is_own(const struct mux_settings *s, const uint8_t *data, uint32_t len)
{
	if (len < ETH_BYTES + IP4_BYTES)
		return false; // ARP is longer
	be16 type = frame_ether_type(data);
	if (type == be16_from(ETHER_ARP))
		return true;
	if (type == be16_from(ETHER_IP6))
		return own_first_is_own6(s, data, len);
	const struct ip4_header *ip = (const struct ip4_header *)(data + ETH_BYTES);
	return type == be16_from(ETHER_IP4) && ip->dst == s->address && !own_first_is_pin(ip, data, len);
}
