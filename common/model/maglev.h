// Weighted Maglev hashing (Eisenbud et al., NSDI 2016, section 3.4): which DIP owns which bucket.
//
// A pure function of the sorted (DIP, weight) set: every mux, agent and simulator computes the same table, whatever the
// order in which DIPs came. Balance: a DIP of weight w owns w / sum of weights of the buckets, to within a few
// turns. Disruption: when one of n DIPs goes, few buckets beside its own move (the paper's section 5.3).
// Cost: about n_slots x ln(n_slots) steps at worst; 65,537 slots take around a millisecond.
#pragma once

#include <stdint.h>

#include "common/base/error.h"
#include "common/model/ip_addr.h"

struct maglev_member {
	struct ip_addr dip;
	uint16_t weight; // >= 1
};

// The table size for n DIPs, at least 100 x n: 1009 times a power of two, from a short list, so that sizes, and with them all
// buckets, change rarely when a DIP comes or goes; and when they do, a bucket of the larger table lies in exactly one of the
// smaller (docs/adr/005). n from 1 to 4096.
uint32_t maglev_table_size(uint32_t n_members);

// Fills slots[0..n_slots) with indices into members, which are sorted by address and distinct. n_slots is greater
// than n_members. ERR_NO_MEMORY leaves slots unspecified.
NODISCARD int maglev_build(const struct maglev_member *members, uint32_t n_members, uint16_t *slots, uint32_t n_slots);
