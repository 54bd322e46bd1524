// Next hops on the uplink's segment: who has which MAC address (RFC 826, with the states of RFC 4861 section 7.3.2).
//
//            request sent                reply             30 s without confirmation
//   NONE ------------------> PROBING -----------> REACHABLE -------------------------> PROBING (unicast, the old MAC is used)
//                              | 3 probes unanswered, 1 s apart
//                              v
//                           FAILED (no MAC) --- a probe each 1 s goes on, a reply makes it REACHABLE
//
// Pure: `now` comes in, requests to send come out. Fixed capacity NEIGHBOR_MAX, no allocation.
// Threads: one worker owns it.
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "common/base/mono.h"
#include "common/packet/arp.h"

#define NEIGHBOR_MAX 16
#define NEIGHBOR_CONFIRM_US 30000000u
#define NEIGHBOR_PROBE_US 1000000u
#define NEIGHBOR_PROBES 3

enum neighbor_state { NEIGHBOR_NONE, NEIGHBOR_PROBING, NEIGHBOR_REACHABLE, NEIGHBOR_FAILED };

struct neighbor {
	be32 ip;
	struct mac mac;
	enum neighbor_state state;
	bool has_mac;
	uint8_t n_probes;
	struct mono_time since; // of the last probe, or of the last confirmation
};

struct neighbor_table {
	struct mac my_mac;
	be32 my_ip;
	uint32_t n;
	struct neighbor entries[NEIGHBOR_MAX];
};

void neighbor_table_init(struct neighbor_table *t, const struct mac *my_mac, be32 my_ip);

// Adds a next hop to keep resolved. False when the table is full.
bool neighbor_table_insert(struct neighbor_table *t, be32 ip);

// An ARP packet was seen, request or reply: a sender that is ours to know confirms its MAC.
void neighbor_table_on_arp(struct neighbor_table *t, const struct arp_info *arp, struct mono_time now);

// Writes the request that is due, if any, into frame (ARP_FRAME_BYTES); call again until it returns false.
bool neighbor_table_step(struct neighbor_table *t, struct mono_time now, uint8_t *frame);

// The MAC of the next hop for a flow: among those that have one, chosen by hash. NULL when there is none.
static inline const struct mac *neighbor_table_select(const struct neighbor_table *t, uint32_t hash)
{
	if (__builtin_expect(t->n == 1 && t->entries[0].has_mac, 1))
		return &t->entries[0].mac;
	uint32_t usable[NEIGHBOR_MAX];
	uint32_t n = 0;
	for (uint32_t i = 0; i < t->n; i++)
		if (t->entries[i].has_mac)
			usable[n++] = i;
	return n == 0 ? NULL : &t->entries[usable[hash % n]].mac;
}
