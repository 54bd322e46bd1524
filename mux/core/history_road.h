// The way by the pins: of packets whose bucket had other owners, which may still have the flow.
//
// Such a packet goes to the DIP that its flow is pinned to, and to the present owner of its bucket when it is not (mux/core/pins.h).
// The burst and one packet at a time do the same. Threads: the worker.
#pragma once

#include "mux/core/passage.h"

// ---- one packet ----

// To the owner of a flow's bucket; where that had other owners, first of all to the DIP that the flow is pinned to.
const struct encap_template *history_template_of(struct mux_worker *w, const struct vip_entry *e, uint64_t hash);

// ---- in a burst ----

// The last stage of the main road where endpoints have histories: sends all, those whose bucket had other owners last, when
// their pins have come from memory.
void history_road_take(struct mux_worker *w, const struct gateways *g, struct passage *passages,
                       const struct passage *end);
