// Which DIP has which ports of a VIP as the source of its outbound connections: what a mux knows of SNAT leases.
//
// A map is a flat array of one VIP, port / 8 -> DIP, so that the reply to a connection is steered by one load and without any
// state of flows. The control thread changes it in place; a worker sees each unit before or after a change, never in between.
// The set of maps follows the configuration: every VIP with SNAT DIPs has a map that lives through all swaps of tables; a new
// set shares the maps of the one before, or has fresh ones, which are filled before any worker sees them.
// Memory: 32 KiB for each VIP with SNAT DIPs, however many of its ports are leased: 1.6 million ports of 25 VIPs take 0.8 MB.
// Leases of a VIP without a map are of no use to a mux; they are counted and otherwise ignored.
// Threads: one control thread changes; any worker looks up. Nothing waits.
// Source: the paper, section 3.5.1; design section 5.
#pragma once

#include <stdatomic.h>
#include <stdint.h>

#include "common/base/error.h"
#include "common/model/lease.h"
#include "common/model/store.h"
#include "common/packet/addr_names.h"

struct snat_map {
	struct ip_addr vip;
	uint32_t n_units; // leased; of the control thread
	_Alignas(64) _Atomic be32 dips[SNAT_UNITS]; // 0: not leased
};

struct snat_maps {
	uint32_t n;
	struct snat_map **items; // in the order of their VIPs
	struct addr_names *names; // NULL: IPv4 only
};

// The entry of a port, for prefetching; see snat_map_lookup.
static inline const _Atomic be32 *snat_map_at(const struct snat_map *m, uint16_t port)
{
	return &m->dips[port / SNAT_UNIT_PORTS];
}

// The DIP that has the port, 0 when nobody has. What was changed before an update was acknowledged is seen by every packet
// that came of it, since the acknowledgement goes out later than the store.
static inline be32 snat_map_lookup(const struct snat_map *m, uint16_t port)
{
	return atomic_load_explicit(snat_map_at(m, port), memory_order_relaxed);
}

// The maps for the store's VIPs with SNAT DIPs: those of `before` (NULL: none) where they are there, and empty ones for the
// rest. `before` stays as it is. ERR_NO_MEMORY.
NODISCARD int snat_maps_create(const struct store *store, struct addr_names *names, const struct snat_maps *before,
                               struct snat_maps *ret_maps);

// Frees the list, and the maps that `kept` (NULL: none) does not share.
void snat_maps_fini(struct snat_maps *maps, const struct snat_maps *kept);

// NULL when the VIP has none.
struct snat_map *snat_maps_lookup(const struct snat_maps *maps, const struct ip_addr *vip);

// Takes over what changed, in the order in which it did: a range may have gone from one DIP to another in between, and a lease may
// have begun and ended. One that has ended clears a unit where it is still that DIP's. Returns how many that are held were ignored: of a VIP without a
// map, or of a shape that no lease has.
uint32_t snat_maps_apply(struct snat_maps *maps, const struct lease_list *leases);

// Appends what is leased, as leases of which only VIP, DIP and ports are known: as few as make the same maps. ERR_NO_MEMORY.
NODISCARD int snat_maps_get_leases(const struct snat_maps *maps, struct lease_list *list);

// Of all maps together.
uint64_t snat_maps_leased_ports(const struct snat_maps *maps);
