// Transactions that wait in the replicated state for their commit: parts come with commands of their own, in order, and take effect
// with the command that commits, as if all had been in it. So a change of the configuration may be larger than a Raft entry.
//
//   part      the first one begins a transaction; one that is there already changes nothing; one out of order is refused
//   commit    whatever it comes to, the transaction is gone
//   never     a transaction without commit goes STAGED_MS after its first part, and with it everything that was uploaded
//   full      STAGED_MAX transactions, STAGED_BYTES (vip_config_weight) in all: refused, and that transaction is gone
//
// Pure and deterministic. Threads: as the state.
#pragma once

#include "common/model/transaction.h"

#define STAGED_MAX 8
#define STAGED_BYTES (64u << 20)
#define STAGED_MS 60000

// Takes a part's changes, which are then empty. ERR_NOT_FOUND, ERR_LIMIT; ERR_NO_MEMORY: the state is of no use any more.
NODISCARD int staging_take(struct staged_list *list, const struct stage_ref *part, struct change_list *changes,
                           uint64_t now_ms, struct error *err);

// Puts what waits before the changes of the command that commits. ERR_NOT_FOUND; ERR_NO_MEMORY as above.
NODISCARD int staging_commit(struct staged_list *list, const struct stage_ref *commit, struct change_list *changes,
                             struct error *err);

void staging_expire(struct staged_list *list, uint64_t now_ms);

// A copy. ERR_NO_MEMORY.
NODISCARD int staging_copy(const struct staged_list *list, struct staged_list *ret_copy);
