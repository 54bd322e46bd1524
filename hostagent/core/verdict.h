// How inbound.c and outbound.c give their verdicts; internal to the core.
//
// Headers are written field by field straight into the frame, and stage 1 keeps what it parsed in registers until it is
// done: building a struct in memory and reading it back with wider loads costs a store-forwarding stall each time.
#pragma once

#include "common/packet/icmp.h"
#include "common/packet/icmp_error.h"
#include "hostagent/core/agent.h"

// Out of line, and given what was parsed by value: whose address is taken does not stay in registers.
#define COLD_PATH __attribute__((noinline, cold))

// What nearly every packet goes through, though what is seldom calls it, too.
#define HOT_PATH inline __attribute__((always_inline))

static inline bool mac_equal(const struct mac *a, const struct mac *b)
{
	return ((load32(a->bytes) ^ load32(b->bytes)) | (uint32_t)(load16(a->bytes + 4) ^ load16(b->bytes + 4))) == 0;
}

static inline bool mac_is_group(const struct mac *m)
{
	return (m->bytes[0] & 1) != 0;
}

static inline void eth_put(uint8_t *frame, const struct mac *dst, const struct mac *src, bool is_ip6)
{
	memcpy(frame, dst, MAC_BYTES);
	memcpy(frame + MAC_BYTES, src, MAC_BYTES);
	store16(frame + 2 * MAC_BYTES, be16_from(is_ip6 ? ETHER_IP6 : ETHER_IP4));
}

static inline void verdict_drop(struct agent *a, struct agent_packet *p, enum drop_reason reason)
{
	p->verdict = AGENT_DROP;
	p->reason = reason;
	counter_add(&a->counters.drops[reason], 1);
}

// To a VM, if its port is there: the Ethernet header is written in front of the packet at p->ip.l3_off.
// `is_ip6` is p->ip.is_ip6: a constant where the road of one family is made of it.
static inline void verdict_to_vm_as(struct agent *a, struct agent_packet *p, uint16_t port, bool is_ip6)
{
	static const struct mac gateway = AGENT_GATEWAY_MAC;
	if (__builtin_expect(!a->port_is_open[port], 0)) {
		verdict_drop(a, p, DROP_VM_NOT_READY);
		return;
	}
	p->frame += (uint32_t)p->ip.l3_off - ETH_BYTES;
	p->len = ETH_BYTES + (uint32_t)p->ip.l3_bytes;
	p->port = port;
	p->verdict = AGENT_TO_VM;
	eth_put(p->frame, &a->config->ports[port].mac, &gateway, is_ip6);
}

static inline void verdict_to_vm(struct agent *a, struct agent_packet *p, uint16_t port)
{
	verdict_to_vm_as(a, p, port, p->ip.is_ip6);
}

// `is_ip6`: what the outermost header is.
static inline void verdict_to_gateway(struct agent *a, struct agent_packet *p, uint64_t hash, bool is_ip6)
{
	const struct neighbor_table *neighbors = is_ip6 ? &a->neighbors6 : &a->neighbors;
	const struct mac *gateway = neighbor_table_select(neighbors, (uint32_t)(hash >> 32));
	if (__builtin_expect(gateway == NULL, 0)) {
		verdict_drop(a, p, DROP_NO_NEXT_HOP);
		return;
	}
	p->verdict = AGENT_TO_UPLINK;
	eth_put(p->frame, gateway, &a->settings.uplink_mac, is_ip6);
}

// May a packet with this outcome of parsing be carried on, though nothing in it can be rewritten? A fragment, or a header
// of TCP, UDP or ICMP that is none, are not the switch's business.
static inline bool reason_is_carried(enum drop_reason reason)
{
	return reason == DROP_NONE || reason == DROP_FRAGMENT || reason == DROP_L4_LENGTH;
}

// The same of either family.
static inline enum drop_reason frame_parse(const uint8_t *frame, uint32_t len, uint32_t l3_off, bool is_ip6,
                                           struct parsed *ret_ip)
{
	return is_ip6 ? parse_ip6(frame, len, l3_off, ret_ip) : parse_ip4(frame, len, l3_off, ret_ip);
}

// ICMP of the packet's own family; that of the other one is nothing.
static inline bool packet_is_icmp(const struct parsed *ip)
{
	return ip->protocol == (ip->is_ip6 ? IP_PROTO_ICMP6 : IP_PROTO_ICMP);
}

// What a handshake of a VM behind this port is clamped to: no more than its own interface takes, and the way carries on which what is
// encapsulated comes to its DIP.
static inline uint16_t agent_mss(const struct agent *a, uint16_t port, be32 dip)
{
	uint32_t headers = IP4_TCP_BYTES;
	uint32_t mss = a->settings.mss; // of IPv4 in IPv4
	if (__builtin_expect(addr_is_ip6(dip) || a->config->vias.n > 0, 0)) {
		uint32_t longer = IP6_BYTES - IP4_BYTES;
		uint32_t more = addr_is_ip6(agent_config_way_to(a->config, dip)) ? longer : 0;
		headers = addr_is_ip6(dip) ? IP6_TCP_BYTES : IP4_TCP_BYTES;
		more += headers - IP4_TCP_BYTES;
		mss = mss > more ? mss - more : 0;
	}
	uint16_t mtu = a->port_mtu[port];
	return (uint16_t)(mtu > headers && mtu - headers < mss ? mtu - headers : mss);
}

// Is there of a packet of another protocol what a rewrite changes (rewrite.h)?
static inline bool packet_has_l4(const struct parsed *ip)
{
	bool has_checksum = ip->protocol == IP_PROTO_UDPLITE || ip->protocol == IP_PROTO_DCCP;
	return !has_checksum || (uint32_t)ip->l3_off + ip->l3_bytes >= ip->l4_off + sizeof(struct udp_header);
}

// ---- The 32 bits of IPv6 addresses ----

static inline const struct addr_names *agent_names(const struct agent *a)
{
	return a->flows.names;
}

static inline be32 agent_lookup_name(const struct agent *a, const uint8_t *addr)
{
	return addr_names_lookup(agent_names(a), addr);
}

// Of a packet that comes from a remote, to a VIP or DIP; the destination stays 0 when nobody here knows it.
static inline void parsed_name_inbound(const struct agent *a, const uint8_t *frame, struct parsed *ip)
{
	ip->src = flow_table_tag(&a->flows, parsed_src6(frame, ip));
	ip->dst = agent_lookup_name(a, parsed_dst6(frame, ip));
}

// Of one that a DIP sends to a remote; returns the remote's name, or 0.
static inline be32 parsed_name_outbound(const struct agent *a, const uint8_t *frame, struct parsed *ip)
{
	ip->src = agent_lookup_name(a, parsed_src6(frame, ip));
	ip->dst = flow_table_tag(&a->flows, parsed_dst6(frame, ip));
	return agent_lookup_name(a, parsed_dst6(frame, ip));
}

// The whole remote of a packet in that direction; NULL of IPv4.
static inline const uint8_t *packet_remote6(const uint8_t *frame, const struct parsed *ip,
                                            enum flow_direction direction)
{
	if (!ip->is_ip6)
		return NULL;
	return direction == FLOW_INBOUND ? parsed_src6(frame, ip) : parsed_dst6(frame, ip);
}

// By what the configuration knows whom a VM's packet goes to: the address of IPv4, the name of IPv6, 0 when that has none.
static inline be32 packet_peer(const struct agent_packet *p, const struct parsed *ip)
{
	return ip->is_ip6 ? p->remote_name : ip->dst;
}

// The whole address of a name, 16 bytes.
static inline const uint8_t *agent_addr6(const struct agent *a, be32 name)
{
	return addr_name_address(agent_names(a), name);
}

// Is it a DIP or a via that is here? 0 is none.
static inline bool agent_has_address(const struct agent *a, be32 addr)
{
	return a->config != NULL && addr != 0 &&
	       (agent_config_lookup_dip(a->config, addr) != AGENT_NO_PORT || agent_config_dip_of_via(a->config, addr) != 0);
}

// ---- Keys ----

static inline struct flow_key packet_key(const uint8_t *frame, const struct parsed *ip, enum flow_direction direction)
{
	struct flow_key key = flow_key_make(ip->src, ip->dst, ip->src_port, ip->dst_port, ip->protocol, direction);
	key.remote6 = packet_remote6(frame, ip, direction);
	return key;
}

// Reads the ICMP error that `ip` is, with the 32 bits of its addresses. False: it is none, nothing can be learned from it, or it is
// not for who sent the packet inside.
static inline bool error_read(const struct agent *a, const uint8_t *frame, const struct parsed *ip,
                              enum flow_direction direction, struct icmp_error *ret_error)
{
	if (icmp_error_parse(frame, ip, ret_error) != DROP_NONE)
		return false;
	if (!ip->is_ip6)
		return ret_error->src == ip->dst;
	const uint8_t *src = icmp_error_src6(frame, ret_error);
	const uint8_t *dst = icmp_error_dst6(frame, ret_error);
	ret_error->src = direction == FLOW_INBOUND ? agent_lookup_name(a, src) : flow_table_tag(&a->flows, src);
	ret_error->dst = direction == FLOW_INBOUND ? flow_table_tag(&a->flows, dst) : agent_lookup_name(a, dst);
	return ip6_addr_equal(src, parsed_dst6(frame, ip));
}

// How an ICMP error finds the flow that it is about: the packet inside went the other way.
static inline struct flow_key error_key(const uint8_t *frame, const struct icmp_error *e, enum flow_direction direction)
{
	struct flow_key key = flow_key_make(e->dst, e->src, e->dst_port, e->src_port, e->protocol, direction);
	if (e->is_ip6)
		key.remote6 = direction == FLOW_INBOUND ? icmp_error_dst6(frame, e) : icmp_error_src6(frame, e);
	return key;
}

// End of stage 1: the packet waits for the flow of that key, whose bucket is on its way.
static inline void packet_wait_for(struct agent *a, struct agent_packet *p, const struct parsed *ip,
                                   const struct flow_key *key, enum agent_wait wait)
{
	p->wait = wait;
	p->ip = *ip;
	p->hash = flow_table_hash(&a->flows, key);
	flow_table_prefetch(&a->flows, p->hash);
}

static inline void packet_wait(struct agent *a, struct agent_packet *p, const struct parsed *ip, enum agent_wait wait)
{
	bool is_reply = wait == WAIT_REPLY || wait == WAIT_REPLY6;
	struct flow_key key = packet_key(p->frame, ip, is_reply ? FLOW_REPLY : FLOW_INBOUND);
	packet_wait_for(a, p, ip, &key, wait);
}

// For a flow in that direction, of whatever family.
static inline void packet_wait_flow(struct agent *a, struct agent_packet *p, const struct parsed *ip,
                                    enum flow_direction direction)
{
	if (direction == FLOW_INBOUND)
		packet_wait(a, p, ip, ip->is_ip6 ? WAIT_INBOUND6 : WAIT_INBOUND);
	else
		packet_wait(a, p, ip, ip->is_ip6 ? WAIT_REPLY6 : WAIT_REPLY);
}

// Stage 2: the entry is on its way; of IPv6 its addresses, too.
static inline uint32_t packet_prefetch_entry(const struct agent *a, const struct agent_packet *p, bool is_ip6)
{
	return is_ip6 ? flow_table_prefetch_entry6(&a->flows, p->hash) : flow_table_prefetch_entry(&a->flows, p->hash);
}

// Stage 3: the flow that an ICMP error is about, or NULL.
static inline struct flow_entry *error_flow(struct agent *a, const struct agent_packet *p,
                                            enum flow_direction direction, struct icmp_error *ret_error)
{
	if (!error_read(a, p->frame, &p->ip, direction, ret_error))
		return NULL;
	struct flow_key key = error_key(p->frame, ret_error, direction);
	return flow_table_lookup_staged(&a->flows, &key, p->hash, p->candidate);
}

// Stage 3: the packet's flow, or NULL. `is_ip6` as of verdict_to_vm_as.
static inline struct flow_entry *packet_flow_as(struct agent *a, const struct agent_packet *p,
                                                enum flow_direction direction, bool is_ip6)
{
	struct flow_key key =
		flow_key_make(p->ip.src, p->ip.dst, p->ip.src_port, p->ip.dst_port, p->ip.protocol, direction);
	if (is_ip6)
		key.remote6 = direction == FLOW_INBOUND ? parsed_src6(p->frame, &p->ip) : parsed_dst6(p->frame, &p->ip);
	return flow_table_lookup_staged(&a->flows, &key, p->hash, p->candidate);
}

static inline struct flow_entry *packet_flow(struct agent *a, const struct agent_packet *p,
                                             enum flow_direction direction)
{
	return packet_flow_as(a, p, direction, p->ip.is_ip6);
}
