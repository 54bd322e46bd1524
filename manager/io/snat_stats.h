// What the SNAT service counts, since the program started, and how long its answers take: quantiles over the last ten to
// twenty seconds, from a histogram with eight steps in each power of two (an answer is at most 12.5 % off).
// Threads: the server's.
#pragma once

#include <stdint.h>

#include "common/base/mono.h"
#include "common/wire/message.h"

#define LATENCY_WINDOW_US 10000000
#define LATENCY_STEPS 256

struct latency_window {
	struct mono_time since; // of `now`
	uint32_t n_now;
	uint32_t n_before;
	uint32_t now[LATENCY_STEPS];
	uint32_t before[LATENCY_STEPS];
};

void latency_window_add(struct latency_window *w, uint64_t us, struct mono_time now);

// How long the fastest `percent` of the answers took at most; 0 when there were none.
uint64_t latency_window_quantile_us(const struct latency_window *w, uint32_t percent, struct mono_time now);

// Named snat_<x> in ClusterReply.
#define SNAT_STATS(X)                                                                                \
	X(requests) /* that came, repetitions too */                                                     \
	X(granted) /* requests */                                                                        \
	X(granted_ports)                                                                                 \
	X(repeated) /* requests that had been carried out before */                                      \
	X(refused_at_limit)                                                                              \
	X(refused_pool_empty)                                                                            \
	X(refused_not_configured)                                                                        \
	X(refused_queue_full)                                                                            \
	X(refused_foreign) /* of a DIP that is not attached on the host whose agent asked */             \
	X(failed) /* requests that Raft did not take, or that were under way when leadership was lost */ \
	X(returned) /* leases */                                                                         \
	X(revoked) /* leases of hosts that are gone: DIPs */                                             \
	X(batches)                                                                                       \
	X(batch_ops)                                                                                     \
	X(batch_ops_max)                                                                                 \
	X(answers)                                                                                       \
	X(fences)

struct snat_stats {
#define X(name) uint64_t name;
	SNAT_STATS(X)
#undef X
	struct latency_window latency; // from a request's arrival to its answer
};

void snat_stats_put(struct counter *counters, uint32_t *n, const char *name, uint64_t value);
// Appends all of them; there is room for CLUSTER_COUNTERS_MAX.
void snat_stats_fill(const struct snat_stats *s, struct mono_time now, struct counter *counters, uint32_t *n);
