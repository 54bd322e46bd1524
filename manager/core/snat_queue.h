// What agents ask of the leases and what waits at the leader until it goes into a Raft entry.
//
//   request --> READY ------------------take--> UNDER WAY --done--> (forgotten, but for the DIP's rate)
//      |          ^                                 |  ^
//      |          | its DIP's rate allows it        |  | a newer request of the same DIP waits behind it
//      `------> DELAYED <---------------------------'--'
//
// One request per DIP: the same or an older seq is ignored while one waits or is under way, a newer one takes the place of
// the one that waits. Ready requests are taken round-robin over VIPs (paper section 3.6.1): a VIP whose DIPs ask without
// limit delays the request of another by one of its own at most. Each DIP has a token bucket of two seconds' worth; what is
// over its rate waits, it is not refused. Leases that end (returned, revoked) have a queue of their own, in order and without
// rates.
// Threads: one owner. Pure: the time comes in. Cost: O(1) per request, O(log n) for one over the rate. Memory: about 7 MB, from
// the start. Full: SNAT_QUEUE_MAX requests wait in all, and SNAT_QUEUE_VIP_MAX of one VIP; more are refused (ERR_LIMIT). The rate is
// remembered of the DIPs that asked last, SNAT_QUEUE_DIPS_MAX of them with those that wait.
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "common/base/mono.h"
#include "common/model/lease.h"

#define SNAT_QUEUE_MAX 16384
#define SNAT_QUEUE_VIP_MAX (SNAT_QUEUE_MAX / 4)
#define SNAT_QUEUE_DIPS_MAX (2 * SNAT_QUEUE_MAX)
#define SNAT_QUEUE_ENDS_MAX SNAT_QUEUE_MAX // returns and revocations

struct snat_queue;

// NULL when memory is short.
struct snat_queue *snat_queue_create(void);
void snat_queue_destroy(struct snat_queue *q); // NULL is fine

// Forgets everything, also the rates.
void snat_queue_clear(struct snat_queue *q);

// Of one DIP, for all that come from now on: at least 1.
void snat_queue_set_rate(struct snat_queue *q, uint32_t dip_requests_per_s);

// A request, filed under `vip` for the round. ERR_LIMIT with the sentence for whoever asks; 0 also when it is ignored as a
// repetition.
NODISCARD int snat_queue_push_request(struct snat_queue *q, const struct snat_op *request, const struct ip_addr *vip,
                                      struct mono_time now, struct error *err);

// A return or revocation. ERR_LIMIT.
NODISCARD int snat_queue_push_end(struct snat_queue *q, const struct snat_op *end, struct error *err);

// Takes up to max_ends ends and then up to max_requests requests, which are under way until they are done. How many in all.
// Ends come first: what they free may serve the requests after them.
uint32_t snat_queue_take(struct snat_queue *q, struct mono_time now, struct snat_op *ret_ops, uint32_t max_ends,
                         uint32_t max_requests);

// The request of this DIP that was under way has been decided, or is lost. When it was pushed, or `now` when none was under way.
struct mono_time snat_queue_done(struct snat_queue *q, const struct ip_addr *dip, struct mono_time now);

// When is there something to take? False: when something was pushed or done.
bool snat_queue_next_time(const struct snat_queue *q, struct mono_time now, struct mono_time *ret_when);

uint32_t snat_queue_n_waiting(const struct snat_queue *q); // requests: ready, delayed, or behind another of their DIP
uint32_t snat_queue_n_ends(const struct snat_queue *q);
