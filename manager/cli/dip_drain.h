// anantactl dip drain|undrain: what the two begin with, and waiting until a drained DIP has no connections left.
#pragma once

#include "manager/cli/command.h"

struct drain_target {
	struct ip_addr dip;
	struct ip_addr vip; // unspecified: all of its VIPs
	struct object_key key; // of the drain
};

enum status drain_dip(struct cli *cli, const char *operand);
enum status undrain_dip(struct cli *cli, const char *operand);

// "10.1.1.11", or "10.1.1.11 of 203.0.113.10"
#define DRAIN_TEXT_BYTES (2 * IP_ADDR_TEXT_BYTES + 8)
const char *drain_target_format(const struct drain_target *target, char *buf);

// What of the target is drained, itself or (of all VIPs) with it: NULL for nothing.
const struct store_mark *drain_target_lookup(const struct store *state, const struct drain_target *target);

// How waiting ended.
enum drain_end {
	DRAIN_EMPTY, // no connection is left, and none can come
	DRAIN_PASSED, // the drain time has
	DRAIN_TIMEOUT, // --timeout
};

struct drain_outcome {
	enum drain_end end;
	bool is_known; // does the agent say how many are left?
	uint64_t n_left;
};

// Waits for the end of the connections that a DIP has, drained at `version`. Managers, muxes and agents may come and go
// meanwhile. Refused when the drain is taken back.
NODISCARD enum status drain_wait(struct cli *cli, const struct drain_target *target, uint64_t version,
                                 struct drain_outcome *ret_outcome);
