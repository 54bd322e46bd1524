// The results of probes that a health view keeps: found by DIP and VIP, by the host that said it, and by being due.
//
// A result is of one host: two may speak of the same DIP, when it has moved. Memory: 200 bytes a result, and the indexes.
// Threads: one owner. Cost: O(1), but for the results of the same DIP and VIP, which are walked through, and the DIPs of a VIP with
// results (and the VIPs of such a DIP), of which one set is moved.
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "common/model/health.h"
#include "manager/core/addr_index.h"

struct health_host;

struct health_result {
	struct probe_result probe;
	struct health_host *host;
	uint64_t absent_version; // not 0: the state was without this endpoint, or this DIP there, from this version on
	bool is_due;
	struct health_result *next_in_bucket;
	struct health_result *previous_of_host;
	struct health_result *next_of_host;
	struct health_result *previous_due;
	struct health_result *next_due;
};

struct health_host { // that has sent a whole report
	char name[NAME_BYTES];
	uint64_t acked_version;
	struct health_result *results;
	bool is_due;
	struct health_host *previous_due;
	struct health_host *next_due;
};

struct health_results {
	uint32_t n;
	uint32_t n_buckets; // a power of two, or 0
	struct health_result **buckets; // by DIP and VIP
	struct addr_index pairs; // of a VIP: the DIPs with results; of a DIP: the VIPs
	uint32_t n_due;
	struct health_result *first_due; // the longest due first
	struct health_result *last_due;
};

void health_results_init(struct health_results *x);
void health_results_fini(struct health_results *x); // frees all results

struct health_result *health_results_lookup(const struct health_results *x, const struct health_host *host,
                                            const struct probe_result *probe);

// A result that is not there yet, not due. NULL when memory is short.
struct health_result *health_results_insert(struct health_results *x, struct health_host *host,
                                            const struct probe_result *probe);
void health_results_remove(struct health_results *x, struct health_result *r);

// The next result of this DIP and VIP, of any endpoint and host; NULL after the last. Begin with NULL.
struct health_result *health_results_next(const struct health_results *x, const struct ip_addr *dip,
                                          const struct ip_addr *vip, const struct health_result *last);

// Makes it the last of those that are due, or none of them.
void health_results_set_due(struct health_results *x, struct health_result *r, bool is_due);
