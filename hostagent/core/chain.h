// The chain: where a packet goes whose flow nobody here knows, of an endpoint whose DIPs have changed (design section 4).
//
//   mux --mark 0--> DIP at position p of the bucket's owners ---> p + 1 ---> ... ---> last ---> 0 ---> ... ---> p - 1
//                                                                                                        | all were asked
//   a SYN at a DIP that gets no new connections ------------------- mark ADOPT --> owner 0, the present one: adopts it
//
//   flow known here                  delivered, before anyone asks this module; so also at the end of a chain
//   SYN, DIP gets new connections    a new flow
//   mark ADOPT                       a new flow, adopted
//   an owner was not asked yet       on to the next one
//   all were asked                   adopted if this is the present owner, else to it, with the mark ADOPT
//
// A DIP that is in none of its owners' places sends to owner 0, from where the walk is the same. Once lists were found to differ,
// whoever has it sends it to another of its own owners with each hop, so that two do not send it to and fro between them.
//
// Programs learn of a change at different times, so those asked may have different owners in mind. A walk goes on to the end of
// the list of whoever has the packet, even if enough have been asked by the count; and the mark carries seven bits of a hash of
// the first one's list: if anyone asked has another list, then an end without a finding proves nothing. TCP is then dropped
// (DROP_CHAIN_SKEW), and its sender repeats it when they agree, a moment later. To adopt it would be to let a VM that does not
// know the connection reset it.
//
// The mark is the Identification of the outer IPv4 header, which is free with DF set (RFC 6864), or the lower 16 bits of the flow
// label of the outer IPv6 header:
//
//   15 chained | 14 ADOPT | 13..7 whose list, 0: they differed | 6 passed the end of a list | 5..3 owners asked | 2..0 hops
//
// Never more than CHAIN_HOPS_MAX hops, whatever the views and the marks: each hop counts up, and at the limit there is none.
// With equal views OWNERS_MAX - 1 hops ask everyone, one more brings it to the present owner, and one more is for a start at
// somebody who is no owner.
// Pure: no state.
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "common/packet/drop.h"
#include "hostagent/core/owners.h"

#define CHAIN_HOPS_MAX (OWNERS_MAX + 1)
#define CHAIN_NOT_OWNER OWNERS_MAX
#define CHAIN_MARK 0x8000u // else it comes from a mux
#define CHAIN_MARK_ADOPT 0x4000u
#define CHAIN_MARK_HOPS 0x0007u

enum chain_kind {
	CHAIN_SYN, // TCP that begins
	CHAIN_TCP, // in the middle of a connection
	CHAIN_UDP,
	CHAIN_ERROR, // an ICMP error, about a packet of the flow: adopted nowhere
};

struct chain_packet {
	enum chain_kind kind;
	uint16_t mark;
	uint32_t position; // of the DIP that has it, among the owners; CHAIN_NOT_OWNER
	bool is_present; // that DIP gets new connections
	bool can_adopt; // it serves the endpoint, by its configuration
};

enum chain_action { CHAIN_ADOPT, CHAIN_FORWARD, CHAIN_DROP };

struct chain_step {
	enum chain_action action;
	be32 to; // of CHAIN_FORWARD, as what follows
	uint16_t mark;
	enum drop_reason reason; // of CHAIN_DROP
};

// Of a packet whose flow is not known where it is.
struct chain_step chain_decide(const struct bucket_owners *owners, const struct chain_packet *p);

static inline uint32_t chain_position(const struct bucket_owners *owners, be32 dip)
{
	for (uint32_t i = 0; i < owners->n; i++)
		if (owners->dips[i] == dip)
			return i;
	return CHAIN_NOT_OWNER;
}
