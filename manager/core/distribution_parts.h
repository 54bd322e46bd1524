// What the files of distribution share. Included by distribution*.c only.
#pragma once

#include "manager/core/distribution.h"

// Are there leases to send now?
bool distribution_leases_are_due(const struct distribution *d, const struct cluster_state *s, uint64_t lease_floor);

// All leases are to be sent again, when the floor has come to those of now: what ended while a DIP was not attached was said to
// nobody.
void distribution_renew_leases(struct distribution *d, const struct cluster_state *s);

// Fills in the leases of the next update, and the version that they lead to; all leases where a delta cannot be.
NODISCARD int distribution_collect_leases(const struct distribution *d, const struct cluster_state *s,
                                          uint64_t lease_floor, struct distribution_update *u);

// The update counts as sent.
void distribution_on_leases_sent(struct distribution *d, const struct distribution_update *u);
