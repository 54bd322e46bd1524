// Fragments of a VIP's datagrams as packets take them (common/packet/fragments.h); internal to the core.
//
// Only a first fragment has ports: it takes the way of a whole packet, and what came of that is the datagram's decision. All others
// get the same addresses in their IP headers, and nothing else: what a rewrite does to the checksum of TCP or UDP, which covers the
// whole datagram, is done in the first one (RFC 3022 sections 4.1 and 6.3). Nothing is reassembled.
#pragma once

#include "hostagent/core/agent.h"

enum fragment_way {
	FRAGMENT_AS_IT_IS, // outbound: no flow's
	FRAGMENT_TRANSLATED, // inbound: to the DIP `addr`; outbound: from the VIP `addr`, with the Identification `id`
	FRAGMENT_SENT_ON, // inbound: to the owner `addr`, with the hop mark `id`
};

struct fragment_decision {
	enum fragment_way way;
	be32 addr;
	uint32_t id; // as a number
};

// Stage 3 of a fragment, with p->ip as parse_ip4 or parse_ip6 left it and 32 bits for its addresses. The datagram, when this is its first fragment: p->ip has its ports then
// (of an ICMP echo: the identifier, for who asked), and its verdict is to be told by fragmented_decide. NULL otherwise: *ret_decision
// says how it goes on when true is in *ret_goes_on, else it has its verdict.
struct fragment_datagram *fragmented_take(struct agent *a, struct agent_packet *p, enum flow_direction direction,
                                          bool *ret_goes_on, struct fragment_decision *ret_decision);

// The first one has its verdict. Inbound, or outbound when its source was `vm` before.
void fragmented_decide_inbound(struct agent *a, const struct agent_packet *p, struct fragment_datagram *d);
void fragmented_decide_outbound(struct agent *a, struct agent_packet *p, struct fragment_datagram *d, be32 vm);

// Replaces the Identification of a fragment.
void fragmented_put_id(uint8_t *frame, const struct parsed *ip, uint32_t id);

// What is no first fragment, by its datagram's decision.
void inbound_follow(struct agent *a, struct agent_packet *p, const struct fragment_decision *decision);
void outbound_follow(struct agent *a, struct agent_packet *p, const struct fragment_decision *decision);
