// The VIP routes that BIRD announces: "VIP/32 dev <tun> table <table> proto 200" in the kernel.
//
// The tun belongs to this process and goes with it, however it ends, and with it every route: that is what ties the
// announcement to the mux's life (design section 9). BIRD learns the table (docs/mux.md has its configuration). The
// kernel's table is the truth: each change is planned against what is there.
// Threads: the control thread.
#pragma once

#include <stdint.h>

#include "common/base/error.h"
#include "common/io/netlink.h"
#include "common/model/ip_addr.h"

struct routes {
	struct netlink *netlink; // borrowed
	int tun_fd;
	uint32_t link_index;
	uint32_t table;
	uint32_t n_announced;
};

// Makes the tun; nothing is announced yet. ERR_IO with the kernel's reason (another mux runs here: the name is taken).
NODISCARD int routes_init(struct routes *r, struct netlink *netlink, const char *interface, uint32_t table,
                          struct error *err);

// Withdraws everything, by closing the tun.
void routes_fini(struct routes *r);

// Makes the announced VIPs exactly these (sorted, without repetition), those that go first. After a failure what could be
// done is done, and the next call tries again.
NODISCARD int routes_set(struct routes *r, const struct ip_addr *vips, uint32_t n_vips, struct error *err);
