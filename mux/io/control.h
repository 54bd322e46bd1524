// The control side of a mux: follows the leader's state, makes tables and routes of it, answers for its status.
//
// A new VIP is announced after the worker serves it, with its leases; a VIP that is gone is withdrawn before the worker forgets
// it. An update is acknowledged after both, so that an agent uses a lease only when every mux steers by it. Leases alone
// change the maps in place, without new tables. Nothing is announced before a first configuration is held, nor while fenced:
//
//   NO-CONFIG --first update--> ANNOUNCING --fenced by the leader--> FENCED --told otherwise by any leader--> ANNOUNCING
//
// A fenced mux forwards what still comes and goes on applying updates; a leader tells every mux that subscribed and has caught
// up that it is not fenced. Without any manager the mux goes on with what it has, announced or fenced as it is.
// Threads: the control thread.
#pragma once

#include <uv.h>

#include "mux/bgp/routes.h"
#include "mux/dpdk/loop.h"
#include "mux/io/config.h"
#include "mux/io/watchdog_process.h"

struct control;

struct control_parts { // borrowed; they outlive the control
	const struct mux_config *config;
	struct routes *routes;
	struct loop *loop;
	const struct vip_counters *vips;
	struct watchdog_page *watchdog; // NULL: nobody watches
};

NODISCARD int control_create(uv_loop_t *loop, const struct control_parts *parts, struct control **ret_control,
                             struct error *err);

// Withdraws the routes; the worker goes on.
void control_withdraw(struct control *c);

// Leaves the managers. NULL is fine.
void control_destroy(struct control *c);
