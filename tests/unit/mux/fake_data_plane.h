// A mux's worker and routes without DPDK and kernel, for tests of the control: what it is told is kept, as a text in the order
// in which it was told, and what is published can be looked up.
//
//   "publish" tables were swapped · "announce N" these many VIPs are announced · "drain N" likewise, asking for no traffic
#pragma once

#include "mux/bgp/routes.h"
#include "mux/dpdk/loop.h"

struct fake_data_plane {
	char events[4096];
	const struct mux_tables *tables; // published
	uint32_t n_vips; // announced
	uint8_t protocol; // by routes of it
	struct ip_addr vips[16];
	be32 lessee_when_announced; // of the watched port, at the last announcement of its VIP
	be32 watched_vip;
	uint16_t watched_port;
	uint64_t rx_missed;
	bool routes_fail;
};

extern struct fake_data_plane fake;

void fake_note(const char *format, ...) __attribute__((format(printf, 1, 2)));

// As the worker would see it.
be32 fake_lessee(be32 vip, uint16_t port);
