// Who may send pins: the addresses of the configuration's hosts, each with a number that stays the same while it exists, under which a
// worker keeps the last stamp that it took from it (struct pin_stamps).
//
// Open addressing, at most half full. A slot may go from a host that is gone to a new one, whose stamps then begin anew.
// Memory: 16 to 32 bytes a host; stamps 320 KB a worker. Threads: made on the control thread; read by any worker.
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "common/base/bytes.h"
#include "common/base/error.h"
#include "common/model/limits.h"
#include "common/model/store.h"
#include "common/packet/addr_names.h"

#define PIN_SENDER_NONE UINT32_MAX
#define PIN_SENDERS_MAX (2 * LIMIT_HOSTS) // a host may have an address of each family

struct pin_sender {
	be32 addr; // 0: free
	uint32_t slot; // below PIN_SENDERS_MAX
};

struct pin_senders {
	uint32_t mask;
	struct pin_sender *items;
};

// Of a worker: the last stamp of each slot, and whose it was.
struct pin_stamps {
	struct {
		uint64_t stamp_us;
		be32 addr;
	} items[PIN_SENDERS_MAX];
};

// The senders of the store's hosts; those that are in `before` (NULL: none) keep their slots. ERR_NO_MEMORY; ERR_LIMIT when
// there are more than LIMIT_HOSTS.
NODISCARD int pin_senders_create(const struct store *store, struct addr_names *names, const struct pin_senders *before,
                                 struct pin_senders **ret_senders);
void pin_senders_destroy(struct pin_senders *s); // NULL is fine

// The slot of a sender; PIN_SENDER_NONE when it is no host.
uint32_t pin_senders_lookup(const struct pin_senders *s, be32 addr);

// Is the stamp above the last one of this sender? It is the last one from now on.
bool pin_stamps_advance(struct pin_stamps *s, uint32_t slot, be32 addr, uint64_t stamp_us);
