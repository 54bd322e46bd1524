// The generations of a VIP's endpoints: which DIPs get new connections now, and which did before (design section 4).
//
//   eligible        the DIPs of an endpoint's configuration that are not drained; when none is left, all of them
//   generation      begins when the eligible (DIP, weight) set changes; an older one is kept until drain_s have passed since it
//                   was last the present one
//   repeated set    a set that becomes present again is kept once, in its new place: owner histories come out the same, and
//                   DIPs that flap push nothing out
//   limits          GENERATIONS_MAX of an endpoint, the oldest goes; HISTORY_MEMBERS_MAX of a VIP, the oldest of the endpoint
//                   with the most members goes
//   not listed      an endpoint whose only generation is its whole configuration; a VIP without any other has no history
//   begin anew      an endpoint that was not there before the command, and all of a VIP that was not there all the time
//
// since_ms is exact for the present generation; for an older one it is when the one before it in the list was last present.
// Pure and deterministic. Cost: the VIP's DIPs and the members of its generations. Threads: none of it has state.
#pragma once

#include <stdint.h>

#include "common/model/store.h"

// What is known from before a command.
struct generations_before {
	const struct vip_config *config; // NULL: the VIP was not there, or not all the time
	const struct vip_history *history; // NULL: none
};

// What the VIP's history is to be at this time, as the caller's; NULL: none. The store is that after the command. ERR_NO_MEMORY.
NODISCARD int generations_next(const struct store *store, const struct vip_config *vip,
                               const struct generations_before *before, uint64_t now_ms,
                               struct vip_history **ret_history);

// When the first generation of this history has been kept long enough; UINT64_MAX: nothing is older than the present.
uint64_t generations_expire_ms(const struct vip_history *h, const struct vip_config *vip);

// The same of all histories.
uint64_t generations_next_expire_ms(const struct store *store);
