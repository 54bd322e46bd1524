// Datagrams with pins, from the hosts' agents to the mux's own address (common/packet/pin.h): checked, then remembered.
//
// Whoever cannot sign for a host changes nothing here. A message counts once: its stamp must be above the last one of its sender,
// and within a minute of the mux's own clock, so that one that a mux heard before it was started anew is soon worth nothing.
// Cost: a lookup for a datagram from nobody, 1.5 cycles a byte for a wrong tag, and some 100 cycles for each pin.
// Threads: the worker.
#pragma once

#include "mux/core/pipeline.h"

// `p` is of this frame, UDP to PIN_PORT. DROP_NONE: its pins are taken, or ignored and counted, one by one. Else
// DROP_PIN_MALFORMED, DROP_PIN_FORGED or DROP_PIN_REPLAYED.
enum drop_reason pin_intake_take(struct mux_worker *w, const struct mux_tables *t, const uint8_t *frame,
                                 const struct parsed *p);
