// What a mux tells the leader of itself: its state and everything that it counts, of the mux and of each VIP.
// Threads: the control thread, which reads the worker's counters as it writes them.
#pragma once

#include "common/wire/message.h"
#include "mux/bgp/routes.h"
#include "mux/core/announcement.h"
#include "mux/dpdk/loop.h"

// What was counted for one slot.
struct vip_sums {
	struct vip_traffic endpoints;
	struct vip_traffic snat;
	uint64_t icmp_errors_steered;
};

struct status_facts { // all borrowed
	enum mux_state state;
	const struct loop *loop;
	const struct routes *routes;
	const struct store *store;
	const struct mux_tables *tables; // NULL while there are none
	const struct snat_maps *snat;
	const struct vip_slots *slots;
	const struct vip_counters *vips;
	const struct vip_sums *bases; // what a slot had counted before it was this VIP's
};

struct vip_sums vip_sums_of(const struct vip_counters *vips, uint32_t slot);

// Packets for VIPs that have come, whatever became of them.
uint64_t mux_counters_vip_packets(const struct mux_counters *c);

// Fills state, version and counters (in memory of the status's owner; none when memory is short).
void status_fill(struct node_status *s, const struct status_facts *f);
