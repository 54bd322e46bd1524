// The leases of this host's DIPs as the managers gave them, and what the worker must be told when they change.
//
//            in an update             the worker returns it                in an update, as ended
//   (none) --------------> GIVEN ------------------------------> RETURNING ------------------------> (none)
//                          |   ^                                 (the return is repeated until then)
//            gone for long |   | in a whole update
//                          v   |
//                        SUSPENDED                    any --its DIP is detached--> (none)
//
// A lease is known by (VIP, first port) and its epoch; another epoch in the same place is another lease. Only differences
// become orders, so that what is sent again costs the worker nothing. An order that ends a lease comes before the one that
// gives its ports away again.
// A hash table with linear probing, at most half full; 32 bytes a lease, 2 MB for 32,768 of them (16 DIPs with 16,384 ports).
// Threads: one owner, the control thread. Limits: memory.
#pragma once

#include "common/model/lease.h"
#include "common/model/store.h"
#include "common/packet/addr_names.h"
#include "hostagent/core/snat.h"

// Orders in the order in which they are for the worker; those it has taken are at the front and gone.
struct snat_order_queue {
	uint32_t n; // that wait
	uint32_t first; // where they begin
	uint32_t capacity;
	struct snat_order *items;
};

// Makes room for n more, so that as many puts cannot fail. ERR_NO_MEMORY.
NODISCARD int snat_order_queue_reserve(struct snat_order_queue *q, uint32_t n);
void snat_order_queue_put(struct snat_order_queue *q, const struct snat_order *order);
void snat_order_queue_take(struct snat_order_queue *q, uint32_t n);
void snat_order_queue_fini(struct snat_order_queue *q);

static inline const struct snat_order *snat_order_queue_head(const struct snat_order_queue *q)
{
	return q->items + q->first;
}

enum held_lease_state {
	HELD_NONE = 0, // the slot is empty
	HELD_GIVEN, // the worker has it
	HELD_RETURNING, // the worker uses it no more; the managers have not yet said that it has ended
	HELD_SUSPENDED, // the managers were out of reach for so long that they may have given it to somebody else
};

struct held_lease {
	be32 vip;
	be32 dip;
	uint16_t first_port;
	uint16_t n_ports;
	uint32_t epoch;
	uint64_t granted_ms;
	uint32_t seen; // the whole update that held it last
	uint8_t state; // enum held_lease_state
	bool is_asked; // of one that is being returned: lease_set_next_unasked has given it
};

struct lease_set {
	uint32_t n;
	uint32_t n_returning;
	uint32_t n_suspended;
	uint32_t n_updates; // whole ones
	uint32_t mask;
	struct held_lease *slots; // NULL until there is a lease
	struct addr_names *names; // of the process, which the owner gives; NULL: leases of IPv6 are left out
};

// All 0 is an empty set, but for `names`.
void lease_set_fini(struct lease_set *s);

enum lease_update_kind {
	LEASES_CHANGED, // what changed; what has ended says so
	LEASES_ALL, // all there are
};

// Applies an update of the managers. What is no range, or of two families, is left out. ERR_NO_MEMORY: nothing has changed.
NODISCARD int lease_set_apply(struct lease_set *s, const struct lease_list *leases, enum lease_update_kind kind,
                              struct snat_order_queue *orders);

// Leases of DIPs that are not attached here any more have ended with the attachment, and no update says so: the worker must not
// have them should the DIP come back, before its new ones do. ERR_NO_MEMORY: nothing has changed.
NODISCARD int lease_set_end_detached(struct lease_set *s, const struct store *store, struct snat_order_queue *orders);

// The worker does not use this lease any more. False when it is not one that is held: there is nothing to return.
bool lease_set_return(struct lease_set *s, be32 vip, uint16_t first_port, uint32_t epoch);

// No new connections from any lease until a whole update holds it again. ERR_NO_MEMORY: nothing has changed.
NODISCARD int lease_set_suspend(struct lease_set *s, struct snat_order_queue *orders);

// Goes through those that are being returned: *cursor is 0 at first; NULL when there are no more.
const struct held_lease *lease_set_next_returning(const struct lease_set *s, uint32_t *cursor);

// Likewise, only those that it has not given since they were returned last.
const struct held_lease *lease_set_next_unasked(struct lease_set *s, uint32_t *cursor);

const struct held_lease *lease_set_lookup(const struct lease_set *s, be32 vip, uint16_t first_port);

// What is to be there after a restart: all but those that are being returned, the oldest grant first. ERR_NO_MEMORY leaves the list empty.
NODISCARD int lease_set_get(const struct lease_set *s, struct lease_list *ret_list);
