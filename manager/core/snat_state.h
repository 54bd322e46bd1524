// All leases of SNAT ranges, as a part of the replicated state: pools, demands, epochs, the log of ended leases, the clock.
//
//   REQUEST  a repeated one (the DIP's last seq) changes nothing. Else the DIP gets the ports that it asks for, at least one
//            range, or, when its last grant was within a second, twice as many as then (at most 64 ranges, unless it asks
//            for more), but no more than it holds already or, when that is more, a sixteenth of what its pools have left
//            (quarantined ranges included), so that DIPs that expect much do not empty a pool that others need; from the
//            lowest of its VIPs that has a free range and where it is below max_ports_per_dip, then from the next. Granted
//            less than that: it is what there was. Granted nothing: refused, and nothing has changed.
//   RETURN   ends the lease of the DIP if the epoch is that of the lease
//   REVOKE   ends the lease that holds a port, or all of a DIP
//
// After changes of objects snat_state_reconcile makes leases and configuration agree: those of a DIP that is no longer
// attached, or no longer in the VIP's `snat`, end; those that are get prealloc_ports, or an equal share of the pool when that is
// less, evenly as far as free ranges go.
//
// The version rises by one with every command that changed a lease; beside it the state keeps which leases changed lately.
// Deterministic: the only time is that of the commands, and it never goes back.
// A pool outlives its VIP until the quarantine of its ranges has passed, for the case that the VIP comes back.
// Cost: a request O(1) a range granted, without allocation. Threads: as cluster_state.
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "common/model/store.h"
#include "manager/core/snat_changes.h"
#include "manager/core/snat_dips.h"
#include "manager/core/snat_log.h"
#include "manager/core/snat_outcome.h"
#include "manager/core/snat_pool.h"

#define SNAT_DEMAND_MS 1000 // whoever asks again within this time of its last grant gets twice as many
#define SNAT_DEMAND_RANGES 64 // up to this many
#define SNAT_DEMAND_SHARE 16 // a request gets at most this part of what is left, or as much as its DIP holds

// Requests of one life of an agent are numbered from its clock, in microseconds. What is older than the last request by more
// than this is no repetition, but an agent that has restarted with a clock that was set back.
#define SNAT_SEQ_SPAN 60000000u

struct snat_state {
	uint64_t version;
	uint64_t clock_ms; // of the last command
	uint32_t next_epoch;
	bool has_changed; // within this command: `version` will rise at its end
	uint32_t n_pools;
	uint32_t capacity;
	struct snat_pool **pools; // ascending by VIP
	uint32_t n_retired; // of them: their VIP has no `snat` any more
	struct snat_dips dips;
	struct snat_changes changes;
	struct snat_log log;
};

struct snat_pool_counts { // in ports
	uint32_t n_ports; // that can be leased
	uint32_t n_held;
	uint32_t n_quarantined;
};

NODISCARD int snat_state_init(struct snat_state *s);
void snat_state_fini(struct snat_state *s);

// ---- what a command does, in this order ----

// The state's time, when a command of this time has begun: it never goes back.
static inline uint64_t snat_state_clock(const struct snat_state *s, uint64_t time_ms)
{
	uint64_t ms = s->clock_ms < time_ms ? time_ms : s->clock_ms;
	return ms == 0 ? 1 : ms; // 0 stands for never
}

void snat_state_begin(struct snat_state *s, uint64_t time_ms);

// Brings the leases of a VIP in line with the store, after the VIP or one of its DIPs has changed. ERR_NO_MEMORY: the state
// is of no use any more.
NODISCARD int snat_state_reconcile(struct snat_state *s, const struct store *store, const struct ip_addr *vip);

// The cluster has got its identity, which goes into the order of unused ranges.
NODISCARD int snat_state_reseed(struct snat_state *s, const struct store *store);

// Forgets pools without VIP whose quarantine is over; after changes of objects.
void snat_state_sweep(struct snat_state *s, const struct cluster_settings *settings);

// One operation. Never fails; the outcome says what it came to.
struct snat_outcome snat_state_apply(struct snat_state *s, const struct snat_op *op,
                                     const struct cluster_settings *settings);

// Has a lease changed?
bool snat_state_end(struct snat_state *s);

// ---- snapshots ----

NODISCARD int snat_state_get_image(const struct snat_state *s, struct snat_image *ret_image);

// Into a state that was just initialized; the store is what was restored with it. ERR_NO_MEMORY.
NODISCARD int snat_state_restore(struct snat_state *s, const struct store *store, const struct snat_image *image);

// ---- questions ----

struct snat_pool *snat_state_lookup_pool(const struct snat_state *s, const struct ip_addr *vip);

// The lease that holds the port now. False: nobody does.
bool snat_state_lookup(const struct snat_state *s, const struct ip_addr *vip, uint32_t port, struct lease *ret_lease);

// The VIP from which the DIP's next request would be served; when none has room, the first one. NULL: it is in no list, or not
// attached.
const struct ip_addr *snat_state_next_vip(const struct snat_state *s, const struct ip_addr *dip,
                                          const struct cluster_settings *settings);

// Appends the leases of a VIP (unspecified: of all) that hold a port (0: any) now, or (at_ms not 0) held it then: by VIP and
// port, then those that have ended meanwhile, in that order. ERR_NO_MEMORY leaves the list to the caller, incomplete.
NODISCARD int snat_state_list(const struct snat_state *s, const struct ip_addr *vip, uint16_t port, uint64_t at_ms,
                              struct lease_list *list);

// Appends the leases of a DIP, by VIP, oldest first.
NODISCARD int snat_state_list_of_dip(const struct snat_state *s, const struct ip_addr *dip, struct lease_list *list);

// All 0 when the VIP has no pool.
void snat_state_pool_status(const struct snat_state *s, const struct ip_addr *vip, uint64_t now_ms,
                            uint32_t quarantine_s, struct snat_pool_counts *ret_counts);

// Leases that ended before are not known any more; 0: all are.
uint64_t snat_state_log_since_ms(const struct snat_state *s);

// Goes through the changes of leases after a version: seek, then next until false. ERR_NOT_FOUND: they are not known any more.
// *at is valid until the next command.
NODISCARD int snat_state_seek_changes(const struct snat_state *s, uint64_t after_version, uint64_t *ret_at);
bool snat_state_next_change(const struct snat_state *s, uint64_t *at, uint64_t to_version, struct lease *ret_lease);

// The epoch of the first lease that was granted after this version, to which the changes must reach back; next_epoch when
// none was. Leases from it on, and only those, were granted later.
uint32_t snat_state_first_epoch_after(const struct snat_state *s, uint64_t version);
