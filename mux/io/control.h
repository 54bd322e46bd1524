// The control side of a mux: follows the leader's state, makes tables and routes of it, answers for its status.
//
// A new VIP is announced after the worker serves it, with its leases; a VIP that is gone is withdrawn before the worker forgets
// it. An update is acknowledged after both, so that an agent uses a lease only when every mux steers by it. Leases alone
// change the maps in place, without new tables. Whether and how VIPs are announced is mux/core/announcement.h; each change of that
// is told to the leader at once, as a status without counters. A fenced mux forwards what still comes and goes on applying updates; a leader tells every mux that subscribed and has caught
// up that it is not fenced. Without any manager the mux goes on with what it has, announced or fenced as it is; one that starts so
// uses after CONTROL_ALONE_MS what an earlier process saved (mux/io/last_state.h).
// Threads: the control thread.
#pragma once

#include <uv.h>

#include "mux/bgp/routes.h"
#include "mux/dpdk/loop.h"
#include "common/io/state_dir.h"
#include "mux/io/config.h"
#include "mux/io/watchdog_process.h"

#define CONTROL_ALONE_MS 3000

struct control;

struct control_parts { // borrowed; they outlive the control
	const struct mux_config *config;
	struct addr_names *names; // of the worker's settings, too; NULL: IPv4 only
	struct routes *routes;
	struct loop *loop;
	const struct vip_counters *vips;
	struct watchdog_page *watchdog; // NULL: nobody watches
	const struct state_dir *dir; // NULL: nothing is remembered
};

NODISCARD int control_create(uv_loop_t *loop, const struct control_parts *parts, struct control **ret_control,
                             struct error *err);

typedef void (*control_drained_fn)(void *user);

// The program is to end: asks routers to send elsewhere, and calls back once, when no packet comes any more or after timeout_ms
// (0, or nothing is announced: from the loop's next turn). For good.
void control_drain(struct control *c, uint32_t timeout_ms, control_drained_fn on_drained, void *user);

// Withdraws the routes at once; the worker goes on.
void control_withdraw(struct control *c);

// Leaves the managers. NULL is fine.
void control_destroy(struct control *c);
