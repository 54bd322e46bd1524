// The chain as packets take it: what chain.h decides, done to frames; internal to the core.
//
// DIPs of one host share one flow table, so what is not known to one of them is to none: a step to a DIP of this host is taken
// without leaving it.
#pragma once

#include "common/packet/icmp_error.h"
#include "hostagent/core/agent.h"

// Is the outer header of an encapsulated packet, or of one that was sent on, of IPv6?
static inline bool chained_outer_is_ip6(const struct agent_packet *p)
{
	return p->frame[ETH_BYTES] >> 4 == 6;
}

// The hop mark of an encapsulated packet that has no verdict yet, or was sent on: its outer Identification, or the lower 16 bits of its
// outer flow label.
static inline be16 chained_mark(const struct agent_packet *p)
{
	if (__builtin_expect(chained_outer_is_ip6(p), 0))
		return load16(p->frame + ETH_BYTES + 2);
	return ((const struct ip4_header *)(p->frame + ETH_BYTES))->id;
}

// An encapsulated TCP or UDP packet whose flow is not known here, of an endpoint with these owners. True: it is to be adopted, by
// p->dip, behind p->port, which may be another DIP of this host than before. False: it has its verdict.
bool chained_adopts(struct agent *a, struct agent_packet *p, const struct endpoint_owners *owners);

// The same with an ICMP error about a flow that is not known here; it always has its verdict then.
void chained_error(struct agent *a, struct agent_packet *p, const struct icmp_error *error);

// A fragment of a packet that was sent on, to the same owner with the same mark.
void chained_follow(struct agent *a, struct agent_packet *p, be32 to, uint16_t mark);

// A packet of this flow came with a hop mark: the muxes should know where it belongs.
void chained_found(struct agent *a, const struct agent_packet *p, const struct flow_entry *flow);
