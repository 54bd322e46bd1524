// Packets from the middle of connections that nobody knows: how long they have been coming (design section 4).
//
// Who is asked for a connection and does not know it cannot tell whether it is lost, or lies at a DIP of which only others have heard
// yet: configuration reaches programs at different times. To adopt it at once would be to let a VM reset it that never had it.
// So its packets are dropped (DROP_CHAIN_SKEW) until they have come for STRAY_PATIENCE_US: TCP repeats them. By then everyone knows
// the same, or nobody will answer anyway. A connection whose VM still speaks is adopted at once from that side (outbound.c).
//
// Flows share slots: in a flood of strays, and after the flow table was lost, patience is that of the slot. A slot is quiet
// again after STRAY_QUIET_US.
// Memory: 64 KiB. Threads: one worker.
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "common/base/mono.h"

#define STRAY_PATIENCE_US 5000000u
#define STRAY_QUIET_US 64000000u // longer than most pauses between repetitions
#define STRAY_SLOTS 8192u

struct strays {
	struct {
		uint32_t since_ms; // 0: quiet
		uint32_t seen_ms;
	} slots[STRAY_SLOTS];
};

// A packet of an unknown connection came, at the end of all asking. Has it been so for long enough?
bool strays_note(struct strays *s, uint64_t flow_hash, struct mono_time now);
