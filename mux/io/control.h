// The control side of a mux: follows the leader's state, makes tables and routes of it, answers for its status.
//
// A new VIP is announced after the worker serves it; a VIP that is gone is withdrawn before the worker forgets it. Nothing
// is announced before a first configuration is held. Without any manager the mux goes on with what it has.
// Threads: the control thread.
#pragma once

#include <uv.h>

#include "mux/bgp/routes.h"
#include "mux/dpdk/loop.h"
#include "mux/io/config.h"

struct control;

struct control_parts { // borrowed; they outlive the control
	const struct mux_config *config;
	struct routes *routes;
	struct loop *loop;
	const struct vip_counters *vips; // VIP_SLOTS_MAX
};

NODISCARD int control_create(uv_loop_t *loop, const struct control_parts *parts, struct control **ret_control,
                             struct error *err);

// Withdraws the routes; the worker goes on.
void control_withdraw(struct control *c);

// Leaves the managers. NULL is fine.
void control_destroy(struct control *c);
