// Leases that have ended, for whoever asks later who had a port: a ring, oldest first, by the time at which they ended.
//
// Replicated. An entry is forgotten when it is older than the retention of the append that comes next, or when the ring is full
// and another one needs its place. Cost: append O(1); a lookup reads the whole ring, about a millisecond.
// Threads: one owner. Memory: SNAT_LOG_CAPACITY entries of 56 bytes, allocated at start, touched as they are used.
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "common/base/error.h"
#include "common/model/lease.h"

#define SNAT_LOG_CAPACITY 262144

struct snat_log {
	uint32_t first; // index of the oldest entry
	uint32_t n;
	uint64_t forgot_ms; // when the last one that was forgotten had ended; 0: none was
	struct lease *entries; // SNAT_LOG_CAPACITY
};

NODISCARD int snat_log_init(struct snat_log *log);
void snat_log_fini(struct snat_log *log);

// A lease that ended not before any other one did; what ended more than retention_ms before it is forgotten.
void snat_log_append(struct snat_log *log, const struct lease *ended, uint64_t retention_ms);

// The i-th, oldest first; i < n.
const struct lease *snat_log_at(const struct snat_log *log, uint32_t i);

// Appends the leases that held a port (0: any) of the VIP (unspecified: any) at that time. ERR_NO_MEMORY.
NODISCARD int snat_log_find(const struct snat_log *log, const struct ip_addr *vip, uint32_t port, uint64_t at_ms,
                            struct lease_list *list);
