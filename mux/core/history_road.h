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

// Begins to load the pins of all, before it is known who needs them: when w->history_is_usual, so that nobody is sorted out later.
void history_road_load_all(const struct mux_worker *w, const struct passage *passages, const struct passage *end);

// Sends all, those whose bucket had other owners by way of their pins.
void history_road_take(struct mux_worker *w, const struct gateways *g, struct passage *passages,
                       const struct passage *end);
