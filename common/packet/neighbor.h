// Next hops on the uplink's segment: who has which MAC address (RFC 826 over IPv4, RFC 4861 over IPv6, with the states of its section
// 7.3.2 in both). A table is of one family; a node that has both has two.
//
//            request sent                reply             30 s without confirmation
//   NONE ------------------> PROBING -----------> REACHABLE -------------------------> PROBING (unicast, the old MAC is used)
//                              | 3 probes unanswered, 1 s apart
//                              v
//                           FAILED (no MAC) --- a probe each 1 s goes on, a reply makes it REACHABLE
//
// Over IPv6 what confirms is a solicited advertisement; what a next hop says unasked is taken as its MAC, and asked for.
// Pure: `now` comes in, requests to send come out. Fixed capacity NEIGHBOR_MAX, no allocation.
// Threads: one worker owns it.
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "common/base/mono.h"
#include "common/packet/arp.h"
#include "common/packet/nd.h"

#define NEIGHBOR_MAX 16
#define NEIGHBOR_CONFIRM_US 30000000u
#define NEIGHBOR_PROBE_US 1000000u
#define NEIGHBOR_PROBES 3
#define NEIGHBOR_FRAME_BYTES ND_SOLICITATION_BYTES // the larger of both families' requests

enum neighbor_state { NEIGHBOR_NONE, NEIGHBOR_PROBING, NEIGHBOR_REACHABLE, NEIGHBOR_FAILED };

struct neighbor {
	be32 ip;
	uint8_t ip6[16]; // of a table of IPv6
	struct mac mac;
	enum neighbor_state state;
	bool has_mac;
	uint8_t n_probes;
	struct mono_time since; // of the last probe, or of the last confirmation
};

struct neighbor_table {
	struct mac my_mac;
	bool is_ip6;
	be32 my_ip;
	uint8_t my_ip6[16];
	uint32_t n;
	struct neighbor entries[NEIGHBOR_MAX];
};

void neighbor_table_init(struct neighbor_table *t, const struct mac *my_mac, be32 my_ip);

// Of IPv6: requests come from my_ip6, 16 bytes, an address of this segment or a link-local one.
void neighbor_table_init6(struct neighbor_table *t, const struct mac *my_mac, const uint8_t *my_ip6);

// Adds a next hop to keep resolved. False when the table is full.
bool neighbor_table_insert(struct neighbor_table *t, be32 ip);
bool neighbor_table_insert6(struct neighbor_table *t, const uint8_t *ip6);

// An ARP packet was seen, request or reply: a sender that is ours to know confirms its MAC.
void neighbor_table_on_arp(struct neighbor_table *t, const struct arp_info *arp, struct mono_time now);

// Neighbor Discovery was seen that is valid: what a next hop says of itself. Unicast solicitations among it say its MAC, too.
void neighbor_table_on_nd(struct neighbor_table *t, const struct nd_info *nd, struct mono_time now);

// Writes the request that is due, if any, into frame (NEIGHBOR_FRAME_BYTES) and returns how many bytes it has; call again until it
// returns 0.
uint32_t neighbor_table_step(struct neighbor_table *t, struct mono_time now, uint8_t *frame);

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
