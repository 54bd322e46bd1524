// The generations of a VIP's endpoints: which DIPs get new connections now, and which did before (design section 4).
//
//   eligible        the DIPs of an endpoint's configuration that are not drained, not unhealthy for this endpoint, and on no host
//                   that is gone
//   fail open       none is left of these: those that are not drained and whose host is there, unhealthy as they are. When all
//                   that are not drained are unhealthy and the VIP wants it, new connections are refused (is_refusing)
//   fail static     none is left of those either: the present generation stands, but for what is drained or no longer in the
//                   configuration; without one, those that are not drained
//   all drained     all of them
//   generation      begins when the eligible (DIP, weight) set changes; an older one is kept until drain_s have passed since it
//                   was last the present one
//   repeated set    a set that becomes present again is kept once, in its new place: owner histories come out the same, and
//                   DIPs that flap push nothing out
//   limits          GENERATIONS_MAX of an endpoint, the oldest goes; HISTORY_MEMBERS_MAX of a VIP, the oldest of the endpoint
//                   with the most members goes
//   not listed      an endpoint whose only generation is its whole configuration, unless it refuses; a VIP without any other
//                   has no history
//   begin anew      an endpoint that was not there before the command, and all of a VIP that was not there all the time
//
// since_ms is exact for the present generation; for an older one it is when the one before it in the list was last present.
// Pure and deterministic. Cost: the VIP's DIPs and the members of its generations. Threads: none of it has state.
#pragma once

#include <stdint.h>

#include "common/model/store.h"
#include "manager/core/endpoint_states.h"

// What is known from before a command.
struct generations_before {
	const struct vip_config *config; // NULL: the VIP was not there, or not all the time
	const struct vip_history *history; // NULL: none
};

// Where the new connections of an endpoint go, and the facts behind it.
struct endpoint_verdict {
	enum endpoint_state state;
	bool is_refusing;
	uint16_t n_dips;
	uint16_t n_drained;
	uint16_t n_unhealthy; // that are not drained
	uint16_t n_gone; // likewise
};

// It follows from the store alone.
struct endpoint_verdict generations_verdict(const struct store *store, const struct vip_config *vip,
                                            const struct endpoint *e);

// What the VIP's history is to be at this time, as the caller's; NULL: none. The store is that after the command. ERR_NO_MEMORY.
// ret_verdicts: as many as the VIP has endpoints.
NODISCARD int generations_next(const struct store *store, const struct vip_config *vip,
                               const struct generations_before *before, uint64_t now_ms,
                               struct vip_history **ret_history, struct endpoint_verdict *ret_verdicts);

// When the first generation of this history has been kept long enough; UINT64_MAX: nothing is older than the present.
uint64_t generations_expire_ms(const struct vip_history *h, const struct vip_config *vip);

// The same of all histories.
uint64_t generations_next_expire_ms(const struct store *store);
