// What SNAT keeps: blocks, DIPs, destinations, mappings; internal to the core (snat.h says what it is for).
//
//   lease ---> blocks of 8 ports ---> list of its DIP: the first `window` ones are in use
//   flow  ---> block (its port's flows) and, TCP: destination (DIP, remote:port), how many ports are in use towards it
//                                           UDP, ICMP: mapping (DIP:port -> VIP:port), how many flows it has
//
// A lease is a chain of blocks that begins with its head. A lease that ended leaves those of its blocks that have flows, each
// a lease of its own, until the last flow is over; so a (VIP, port) can have a block of its present DIP and one of a DIP
// before, which keeps the mappings of both apart (is_contended).
// All counts follow the flows that have FLOW_IS_SNAT: snat_flow_began, snat_flow_ended. Used ports, destinations and mapped
// ports count what is on blocks of the list alone: only there a new flow can begin. When a lease with flows ends, or the same
// range comes back, destinations are settled by one pass over the flow table, before the next flow begins and in any case
// with the next tend; 1.5 ms for a million flows, once for all
// leases that ended until then, and 40 ns for each flow on them.
#pragma once

#include "common/base/token_bucket.h"
#include "common/model/lease.h"
#include "hostagent/core/config.h"
#include "hostagent/core/flow_table.h"
#include "hostagent/core/snat.h"
#include "hostagent/core/snat_demand.h"

#define NO_BLOCK UINT32_MAX
#define LIST_PAGE_BLOCKS 64
#define LIST_PAGES 256 // of a DIP: 131,072 ports, two VIPs as a whole
#define WINDOW_PERIOD_US 10000000u // in which the need is seen that a window shrinks to
#define TEND_PERIOD_US 1000000u // in which every DIP and block is tended once
#define LOST_RETURNS 64 // leases that found no room and wait for being reported

enum block_state { BLOCK_FREE, BLOCK_LEASED, BLOCK_RETURNING, BLOCK_ENDED };
enum mapped_protocol { MAPPED_UDP, MAPPED_ICMP, MAPPED_PROTOCOLS };

struct snat_block {
	be32 vip;
	uint16_t first_port;
	uint16_t slot; // of its DIP
	uint32_t next; // in its hash chain, or of the free list
	uint32_t head; // the lease's first block
	uint32_t next_in_lease;
	uint32_t position; // in its DIP's list; NO_BLOCK: not for new flows
	uint32_t n_flows;
	uint16_t port_flows[SNAT_UNIT_PORTS]; // stays at UINT16_MAX once it was there
	uint8_t mapped[MAPPED_PROTOCOLS]; // a bit for each port that a mapping has
	uint8_t state; // enum block_state
	bool is_contended : 1; // another DIP still has flows on these ports
	bool is_counted : 1; // its flows count for their destinations; as is to be while it is in the list
	// Of a head:
	uint32_t lease_flows;
	uint32_t epoch;
	uint32_t idle_since_s;
	uint16_t n_blocks;
	bool is_queued; // to be reported as returned
	uint8_t reported_in; // generation of the link that knows of the return
};

_Static_assert(sizeof(struct snat_block) == 64, "a block is a cache line");

struct snat_destination { // n_used 0: the slot is empty
	be32 remote;
	be16 remote_port;
	uint16_t slot;
	uint32_t n_used; // ports; one flow each
	uint32_t cursor;
};

struct snat_mapping { // n_flows 0: the slot is empty
	be16 dip_port;
	uint16_t slot;
	uint32_t block;
	uint32_t n_flows;
	uint8_t protocol; // enum mapped_protocol
	uint8_t offset; // of the port in the block
	uint16_t reserved;
};

// Who reads it from another thread takes the address when `turn` is even and the same before and after (a sequence lock).
struct snat_busy {
	uint64_t key; // remote << 32 | remote_port
	uint64_t addr[2]; // the remote's 16 bytes, IPv4-mapped of IPv4
	uint32_t turn;
	uint32_t n_ports; // 0: unused
	struct snat_pace pace; // the worker's alone
};

struct snat_dip {
	be32 dip;
	bool is_used;
	uint16_t next; // in its hash chain
	// Leases.
	uint32_t n_blocks; // in the list
	uint32_t n_all_blocks; // also those that are not for new flows
	uint32_t window; // blocks of the list that are in use
	uint32_t peak; // the most ports that were in use towards one destination, or by mappings, in this period
	struct mono_time period;
	struct {
		be32 vip;
		uint32_t n_ports;
	} vips[SNAT_VIPS_PER_DIP]; // of the list's blocks; n_ports 0: unused
	// Flows.
	uint32_t n_flows;
	uint32_t n_begun; // ever; makes the start of a destination another one each time
	uint32_t used_ports;
	uint32_t n_mapped[MAPPED_PROTOCOLS]; // ports of the list's blocks
	uint32_t cursor[MAPPED_PROTOCOLS];
	uint64_t n_refused;
	struct snat_busy busiest[SNAT_BUSIEST_DESTINATIONS];
	struct snat_pace mapped_pace[MAPPED_PROTOCOLS];
	// The request.
	bool is_asking;
	uint32_t n_wanted; // 0: not reported yet
	uint32_t n_waiting; // packets that found no port and were held, since held ones were taken up the last time
	uint64_t seq;
	struct mono_time reported;
	struct mono_time refused_until;
	enum error_code refusal;
	// What is to be reported, and the edge's held frames.
	uint8_t due; // bits of enum snat_report_kind
	bool is_due; // in the queue
	bool has_held;
	struct mono_time held; // when the last one was
	bool is_ready; // in that queue
	bool is_later; // in that queue
	bool was_near_limit;
	uint32_t max_ports; // as last seen in the configuration
	struct mono_time exhausted_at;
	struct ip_addr exhausted_remote;
	be16 exhausted_port;
	uint8_t exhausted_protocol;
	enum error_code exhausted_code;
	struct token_bucket answers; // ICMP errors to the VM
	uint16_t pages[LIST_PAGES];
};

struct index_queue { // of indices; a ring
	uint32_t mask;
	uint32_t first;
	uint32_t n;
	uint32_t *items;
};

struct snat {
	struct snat_limits limits;
	uint64_t seed;
	uint64_t next_seq;
	struct mono_time now;
	bool is_rebuilt;
	bool
		is_unsettled; // blocks with flows may have come into a list, or out of it, without their destinations being told
	bool is_up; // a leader can be asked
	uint8_t link_generation;
	struct mono_time link_since;
	// DIPs, by address.
	struct snat_dip *dips;
	uint16_t *dip_heads;
	uint32_t dip_mask;
	uint32_t n_dips; // slots in use
	uint32_t n_dips_seen; // no slot from here on was ever used
	uint32_t dip_cursor;
	// Blocks, by (VIP, first port), of all DIPs.
	struct snat_block *blocks;
	uint32_t *block_heads;
	uint32_t block_mask;
	uint32_t free_block;
	uint32_t n_free_blocks;
	uint32_t n_blocks_seen;
	uint32_t block_cursor;
	// The pages of the DIPs' lists.
	uint32_t (*pages)[LIST_PAGE_BLOCKS];
	uint16_t *free_pages;
	uint32_t n_free_pages;
	// Flows' counts: open addressing, at most half full.
	struct snat_destination *destinations;
	uint32_t destination_mask;
	uint32_t n_destinations;
	struct snat_mapping *mappings;
	uint32_t mapping_mask;
	uint32_t n_mappings;
	// To the edge.
	struct index_queue due; // slots
	struct index_queue ready; // slots
	struct index_queue later; // slots that become ready at the next tend
	struct index_queue returned; // heads of leases
	uint32_t n_lost_returns;
	struct snat_order lost_returns[LOST_RETURNS];
};

// ---- Flows (snat_ports.c; from snat_flow_began to snat_rebuild: snat_counts.c) ----

enum snat_outcome {
	SNAT_CHOSEN,
	SNAT_HELD, // for its DIP's slot
	SNAT_REFUSED, // for good, as far as can be seen
};

struct snat_choice {
	uint16_t slot; // of SNAT_HELD and SNAT_CHOSEN
	uint32_t block;
	uint32_t offset;
	struct snat_destination *destination; // of TCP, when there is one
	uint32_t cursor; // where the destination goes on
	uint64_t inbound_hash;
	enum error_code code; // of SNAT_REFUSED
};

// Finds a VIP:port for a new flow whose other fields are in *tuple and whose reply key no flow has; fills in vip and
// vip_port. Nothing is counted before snat_flow_began. `is_last`: it is not held once more.
enum snat_outcome snat_choose(struct snat *s, const struct flow_table *flows, const struct agent_config *config,
                              const struct agent_snat *policy, struct flow_tuple *tuple, bool is_last,
                              struct snat_choice *ret_choice);

// The flow was inserted, with FLOW_IS_SNAT.
void snat_flow_began(struct snat *s, const struct flow_tuple *tuple, const struct snat_choice *choice);

// The flow is about to be removed.
void snat_flow_ended(struct snat *s, const struct flow_tuple *e);

// Makes destinations count what is on blocks of the lists alone; nothing to do for most calls.
void snat_settle(struct snat *s, const struct flow_table *flows);

// Counts all flows anew; what cannot be counted loses FLOW_IS_SNAT.
void snat_rebuild(struct snat *s, struct flow_table *flows);

// What snat_choose will look at for a new TCP connection is on its way: the destination, and then, with it, the bucket of the
// port that will most likely be chosen.
void snat_prefetch_destination(const struct snat *s, const struct flow_tuple *tuple);
void snat_prefetch_port(const struct snat *s, const struct flow_table *flows, const struct flow_tuple *tuple);

// Is it a port that this DIP has, or had, leased?
bool snat_has_port(const struct snat *s, be32 vip, be16 vip_port, be32 dip);

// May an ICMP error be sent to the VM now?
bool snat_take_answer(struct snat *s, be32 dip);

// ---- Leases, time (snat.c), reports (snat_reports.c) ----

void snat_order(struct snat *s, const struct snat_order *order, struct flow_table *flows);
bool snat_next_report(struct snat *s, struct snat_report *ret_report);
bool snat_next_ready(struct snat *s, uint16_t *ret_slot);
void snat_tend(struct snat *s, const struct agent_config *config, struct mono_time now, uint64_t elapsed_us);

// A request is due, unless there is one, or the DIP may have no more. For how many ports is decided when it is reported, by
// all that came until then (snat_demand.h).
void snat_ask(struct snat *s, uint16_t slot);
uint32_t snat_leased_ports(const struct snat_dip *d);
struct snat_need snat_need_of(const struct snat *s, const struct snat_dip *d);
void snat_make_ready(struct snat *s, uint16_t slot);
void snat_lease_unused(struct snat *s, uint32_t head); // its last flow is over
void snat_report_due(struct snat *s, uint16_t slot, enum snat_report_kind kind);

// ---- Tables (snat_tables.c) ----

bool index_queue_push(struct index_queue *q, uint32_t item);
bool index_queue_pop(struct index_queue *q, uint32_t *ret_item);

// The DIP's slot, or SNAT_NO_SLOT; snat_dip_add makes one when there is room.
uint16_t snat_dip_lookup(const struct snat *s, be32 dip);
uint16_t snat_dip_add(struct snat *s, be32 dip);
void snat_dip_remove(struct snat *s, uint16_t slot);

// The block of that port that belongs to the slot; NO_BLOCK when there is none.
uint32_t snat_block_lookup(const struct snat *s, be32 vip, uint32_t port, uint16_t slot);
// A new one, in state BLOCK_ENDED, a lease of its own, in no list. NO_BLOCK when there is no room.
uint32_t snat_block_add(struct snat *s, be32 vip, uint32_t first_port, uint16_t slot);
void snat_block_remove(struct snat *s, uint32_t block);

// The DIP's list. What is in use is counted with the blocks that are in it (used_ports, n_mapped).
bool snat_list_has_room(const struct snat *s, uint16_t slot, be32 vip, uint32_t n_blocks);
void snat_list_append(struct snat *s, uint32_t block);
void snat_list_remove(struct snat *s, uint32_t block);
static inline uint32_t snat_list_at(const struct snat *s, const struct snat_dip *d, uint32_t position)
{
	return s->pages[d->pages[position / LIST_PAGE_BLOCKS]][position % LIST_PAGE_BLOCKS];
}

// NULL when there is none; snat_destination_add: NULL when the table is full. Both are valid until the next removal.
struct snat_destination *snat_destination_lookup(const struct snat *s, uint16_t slot, be32 remote, be16 remote_port);
struct snat_destination *snat_destination_add(struct snat *s, uint16_t slot, be32 remote, be16 remote_port);
void snat_destination_remove(struct snat *s, struct snat_destination *d);
uint64_t snat_destination_hash(const struct snat *s, uint16_t slot, be32 remote, be16 remote_port);

// The mapping of DIP:port on that block and offset, or, with block NO_BLOCK, one on which new flows may begin.
struct snat_mapping *snat_mapping_lookup(const struct snat *s, uint16_t slot, be16 dip_port,
                                         enum mapped_protocol protocol, uint32_t block, uint32_t offset);
struct snat_mapping *snat_mapping_add(struct snat *s, uint16_t slot, be16 dip_port, enum mapped_protocol protocol,
                                      uint32_t block, uint32_t offset);
void snat_mapping_remove(struct snat *s, struct snat_mapping *m);

static inline enum mapped_protocol mapped_protocol_of(uint8_t ip_protocol)
{
	return ip_protocol == IP_PROTO_UDP ? MAPPED_UDP : MAPPED_ICMP;
}

// The whole address of a destination.
static inline struct ip_addr snat_remote_addr(be32 remote, const uint8_t *remote6)
{
	struct ip_addr addr;
	if (remote6 == NULL)
		return ip_addr_from_v4(remote);
	memcpy(addr.bytes, remote6, sizeof addr.bytes);
	return addr;
}

// Of numbers that other threads read.
static inline void stat_add32(uint32_t *n, uint32_t more)
{
	__atomic_store_n(n, __atomic_load_n(n, __ATOMIC_RELAXED) + more, __ATOMIC_RELAXED);
}

static inline void stat_sub32(uint32_t *n, uint32_t less)
{
	__atomic_store_n(n, __atomic_load_n(n, __ATOMIC_RELAXED) - less, __ATOMIC_RELAXED);
}
