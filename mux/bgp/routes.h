// The VIP routes that BIRD announces: "VIP/32 dev <tun> table <table> proto 200" in the kernel, or the prefix that covers the
// VIP; with proto 201 while the mux drains, which BIRD announces with the GRACEFUL_SHUTDOWN community (RFC 8326).
//
// The tun belongs to this process and goes with it, however it ends, and with it every route: that is what ties the
// announcement to the mux's life (design section 9). BIRD learns the table (docs/mux.md has its configuration). The
// kernel's table is the truth: each change is planned against what is there. A change of the protocol replaces a route: there
// is no moment without it (fib_table_insert and fib6_add swap it under RCU, and send one notification).
// Threads: the control thread.
#pragma once

#include <stdint.h>

#include "common/base/error.h"
#include "common/io/netlink.h"
#include "common/model/ip_addr.h"
#include "mux/core/routes_plan.h"

#define ROUTES_PROTOCOL_SERVING NETLINK_PROTOCOL_ANANTA
#define ROUTES_PROTOCOL_DRAINING 201

struct routes_config {
	char interface[16]; // the tun
	uint32_t table;
	struct route_prefixes prefixes;
};

struct routes {
	struct netlink *netlink; // borrowed
	const struct routes_config *config; // likewise
	int tun_fd;
	uint32_t link_index;
	uint32_t n_announced; // VIPs
	uint32_t n_routes; // which announce them
};

// Makes the tun; nothing is announced yet. ERR_IO with the kernel's reason (another mux runs here: the name is taken).
NODISCARD int routes_init(struct routes *r, struct netlink *netlink, const struct routes_config *config,
                          struct error *err);

// Withdraws everything, by closing the tun.
void routes_fini(struct routes *r);

// Makes the announced VIPs exactly these (sorted, without repetition), by routes of this protocol; what goes, goes first. After
// a failure what could be done is done, and the next call tries again.
NODISCARD int routes_set(struct routes *r, const struct ip_addr *vips, uint32_t n_vips, uint8_t protocol,
                         struct error *err);
