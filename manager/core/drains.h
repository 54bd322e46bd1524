// DIPs that get no new connections: the rules of drains, and which of them mean something.
//
// A drain is of one VIP, or of all VIPs that have the DIP in an endpoint. It is refused when an endpoint would be left without a
// DIP that gets new connections, and it vanishes with the command that takes the DIP out of the last endpoint that it is of.
// Pure. Threads: as the state.
#pragma once

#include "manager/core/cluster_state.h"

NODISCARD int drains_check_change(const struct cluster_state *s, const struct change *c, struct error *err);

// Is the DIP in an endpoint that a drain of this key is of?
bool drains_has_endpoint(const struct cluster_state *s, const struct object_key *key);

// Appends the VIPs that a drain of this key is of. ERR_NO_MEMORY.
struct addr_list;
NODISCARD int drains_list_vips(const struct cluster_state *s, const struct object_key *key, struct addr_list *vips);
