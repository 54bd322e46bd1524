// Leases of SNAT ranges (paper section 3.5.1): which DIP may use which ports of a VIP as the source of its outbound connections.
//
// A range is a power-of-two block of ports, aligned to its size; a lease is the right of one DIP to one range, from when
// managers granted it until they ended it. Ports of a range are good for every protocol.
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "common/base/error.h"
#include "common/model/ip_addr.h"

#define SNAT_UNIT_PORTS 8 // the least range; muxes and agents keep one entry for each unit
#define SNAT_UNITS (65536 / SNAT_UNIT_PORTS) // of a VIP
#define SNAT_RANGE_PORTS_MAX 1024

struct lease {
	struct ip_addr vip;
	struct ip_addr dip;
	uint16_t first_port; // a multiple of n_ports
	uint16_t n_ports; // a power of two, SNAT_UNIT_PORTS to SNAT_RANGE_PORTS_MAX
	uint32_t epoch; // different for every lease of the cluster; whoever returns one says which he means
	uint64_t granted_ms; // by the managers' clock, milliseconds since 1970
	uint64_t ended_ms; // 0: it is held
};

struct lease_list {
	uint32_t n;
	uint32_t capacity;
	struct lease *items;
};

// ERR_NO_MEMORY leaves the list as it was.
NODISCARD int lease_list_append(struct lease_list *list, const struct lease *lease);
void lease_list_fini(struct lease_list *list);

// Can such a range be: its size a power of two within the limits, aligned, not beyond port 65535?
static inline bool lease_range_is_valid(uint32_t first_port, uint32_t n_ports)
{
	return n_ports >= SNAT_UNIT_PORTS && n_ports <= SNAT_RANGE_PORTS_MAX && (n_ports & (n_ports - 1)) == 0 &&
	       first_port % n_ports == 0 && first_port + n_ports <= 65536;
}

static inline bool lease_has_port(const struct lease *lease, uint32_t port)
{
	return port >= lease->first_port && port - lease->first_port < lease->n_ports;
}

// What agents and operators ask of the leases; carried out in the order of the Raft log (manager/core/snat_pool.h).
enum snat_op_kind {
	SNAT_REQUEST = 1, // the agent of a DIP wants ports
	SNAT_RETURN, // the agent gives a lease back: dip, vip, first_port, epoch
	SNAT_REVOKE, // by force: the lease that holds vip:first_port, or, with an unspecified vip, all leases of the DIP
};

struct snat_op {
	enum snat_op_kind kind;
	struct ip_addr dip;
	struct ip_addr vip;
	uint64_t seq; // of a request, per DIP: rises with every new one; a repeated one is carried out once
	uint32_t n_ports; // of a request: how many are wanted at least
	uint16_t first_port;
	uint32_t epoch;
};

struct snat_op_list {
	uint32_t n;
	uint32_t capacity;
	struct snat_op *items;
};

NODISCARD int snat_op_list_append(struct snat_op_list *list, const struct snat_op *op);
void snat_op_list_fini(struct snat_op_list *list);

// The request state of a DIP, which makes a repeated request harmless and tells how fast its demand grows.
struct snat_demand {
	struct ip_addr dip;
	uint64_t seq; // of the last request that was carried out
	uint64_t asked_ms; // when that was
	uint32_t n_ports; // what it was granted
};

struct snat_demand_list {
	uint32_t n;
	uint32_t capacity;
	struct snat_demand *items;
};

NODISCARD int snat_demand_list_append(struct snat_demand_list *list, const struct snat_demand *demand);
void snat_demand_list_fini(struct snat_demand_list *list);

// All that is replicated of SNAT, for snapshots.
struct snat_image {
	uint64_t version; // of the leases: rises with every command that changed one
	uint64_t clock_ms; // of the last command
	uint32_t next_epoch;
	struct lease_list held;
	struct lease_list freed; // ranges that were leased before, in the order in which they will be granted again
	struct lease_list log; // leases that have ended, oldest first
	struct snat_demand_list demands;
};

void snat_image_fini(struct snat_image *image);
