// When a DIP asks the managers for ports, and for how many: ahead of need, by what is in use and how fast that grows.
//
//   growth     more than half of what is leased is in use towards one destination: as many again
//   a burst    at least SNAT_BURST_FLOWS flows began lately, and at this pace what is free does not last until an answer
//              comes (SNAT_ANSWER_US): what this pace needs for SNAT_AHEAD_US, beyond what is in use
//   waiting    packets are held because no port is left: one port for each, and a burst's share, for they have come, too
//
// An answer takes milliseconds, in which a burst takes ports at tens in a millisecond; and a DIP may ask 20 times a second
// (settings: dip_requests_per_s). So a burst must be covered by few, large requests. What it did not need goes back when it
// was idle for idle_s; the managers give large parts only out of pools that have plenty (manager/core/snat_state.h).
// Pure. Units: ports, microseconds. Source: paper section 3.5.1 (demand prediction).
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "common/base/mono.h"

#define SNAT_BURST_FLOWS 20u // fewer are no burst
#define SNAT_PACE_US 20000u // growth that is older than this fades, by halves
#define SNAT_PACE_LEAST_US 1000u // flows that begin within less have taken so long: 20 at once are 20 in a millisecond
#define SNAT_ANSWER_US 40000u // for so long what is free must last when a request is made: managers may be busy
#define SNAT_AHEAD_US 100000u // a burst asks for what it takes in this time
#define SNAT_AHEAD_PORTS 1024u // but no more than this; nor is a faster pace believed

// How fast one destination's ports, or a protocol's mappings, grow. All 0: nothing was seen yet.
struct snat_pace {
	struct mono_time since;
	uint32_t from; // in use then
	uint32_t n_ports; // and now
};

// What a DIP's request is made of.
struct snat_need {
	uint32_t n_leased;
	uint32_t max_ports; // n_leased may be more, when this was changed
	uint32_t n_waiting; // packets that are held
	struct mono_time now;
};

// So many are in use now.
void snat_pace_note(struct snat_pace *p, uint32_t n_ports, struct mono_time now);

// How many more will be in use after `ahead_us` if it goes on like this, those that wait counted as begun. At
// most SNAT_AHEAD_PORTS in SNAT_AHEAD_US.
uint32_t snat_pace_ahead(const struct snat_pace *p, uint32_t n_waiting, struct mono_time now, uint32_t ahead_us);

// Is it time to ask?
bool snat_demand_is_due(const struct snat_pace *p, const struct snat_need *need);

// How many ports the DIP must have leased in all for this destination (or protocol): not below need->n_leased.
uint32_t snat_demand_total(const struct snat_pace *p, const struct snat_need *need);

// What is to be asked for, so that n_total are leased: at least `n_least`, and never more than the DIP may have; 0 when it has
// that already.
uint32_t snat_demand_wanted(uint32_t n_total, const struct snat_need *need, uint32_t n_least);
