// Whether and how a mux announces its VIPs, and the word for it that operators see.
//
//              first configuration              drained by an operator, or stopping
//   no-config ---------------------> announcing <--------------------------------> draining
//                                        |                                            | quiet
//   any --fenced by the leader--> fenced |                                            v
//   any --on its way out--> withdrawn    '--------------- undrained --------------- drained
//
// Draining: routers are asked to send elsewhere (RFC 8326) and what still comes is served; when no packet to a VIP has come for
// DRAIN_QUIET_US, and DRAIN_LEAST_US after it began, the routes go: it is drained. A mux whose first configuration says that
// it is drained announces nothing at all. Fenced goes before drained: when the fence is lifted it is as drained as it was.
// Pure; the control thread's.
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "common/base/mono.h"

#define DRAIN_QUIET_US 1000000
#define DRAIN_LEAST_US 2000000 // so that routers have heard of it

enum mux_state { MUX_NO_CONFIG, MUX_ANNOUNCING, MUX_DRAINING, MUX_DRAINED, MUX_FENCED, MUX_WITHDRAWN };

struct announcement {
	bool has_config;
	bool is_fenced;
	bool is_marked; // the cluster's state has a drain mark of this mux
	bool is_stopping; // the program ends when it is drained
	bool is_withdrawn;
	bool is_quiet; // since it drains
	struct mono_time began; // to drain
	struct mono_time moved; // when the last packet was seen
	uint64_t n_packets; // up to then
};

enum mux_state announcement_state(const struct announcement *a);
const char *mux_state_name(enum mux_state state);

// Configuration is held: with or without a drain mark. n_packets have come for VIPs since the program started.
void announcement_on_config(struct announcement *a, bool is_marked, uint64_t n_packets, struct mono_time now);

// The program is to end: drains if it does not already.
void announcement_stop(struct announcement *a, uint64_t n_packets, struct mono_time now);

// Now and then while it drains.
void announcement_step(struct announcement *a, uint64_t n_packets, struct mono_time now);
