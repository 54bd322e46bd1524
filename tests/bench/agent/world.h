// What agent-bench measures on: an agent with VMs, VIPs and many flows, and frames of random ones of these flows.
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "hostagent/core/agent.h"

#define BENCH_FRAME_BYTES 256 // room for one frame, and for its headroom
#define BENCH_FRAMES AGENT_BURST

// In a world of SNAT all flows are ones that VMs began, each VM with BENCH_SNAT_PORTS leased ports of its VIP.
#define BENCH_SNAT_PORTS 1024
#define BENCH_FLOWS_PER_DESTINATION 16

enum bench_path {
	BENCH_INBOUND,
	BENCH_REPLY,
	BENCH_NEW,
	BENCH_CHAIN, // of a flow that is not known, whose bucket has an earlier owner elsewhere: it is sent on
	BENCH_SNAT, // an outbound packet of a flow that is there
	BENCH_SNAT_REPLY, // its answer from outside
	BENCH_SNAT_NEW, // a connection of a VM begins
	BENCH_SNAT_REFUSED, // a connection to a destination towards which every leased port is in use
};

static inline bool bench_is_snat(enum bench_path path)
{
	return path >= BENCH_SNAT;
}

static inline bool bench_is_outbound(enum bench_path path)
{
	return path == BENCH_REPLY || (bench_is_snat(path) && path != BENCH_SNAT_REPLY);
}

static inline bool bench_makes_flows(enum bench_path path)
{
	return path == BENCH_NEW || path == BENCH_SNAT_NEW;
}

struct bench_world {
	uint32_t n_flows;
	uint32_t n_vms;
	struct agent agent;
	struct store store;
	struct addr_names *names;
	struct agent_config *config;
	void *block;
	size_t block_bytes;
	uint64_t random;
	uint32_t next_new; // number of the flow that comes next
	bool is_snat;
	bool has_histories; // every VIP had another DIP before
	be16 *vip_ports; // of the flows of SNAT, by number
	uint8_t (*frames)[BENCH_FRAME_BYTES];
};

// Aborts when memory is short. `huge`: the entries on huge pages, too (the index always is).
void bench_world_init(struct bench_world *w, enum bench_path path, uint32_t n_flows, uint32_t n_vms, bool huge);
void bench_world_fini(struct bench_world *w);

// Fills packets[0..n) with frames of random flows (or of flows that do not exist) as they come in on that path.
void bench_world_fill(struct bench_world *w, enum bench_path path, struct agent_packet *packets, uint32_t n);

// After a burst of new flows: as many old flows go, so that their number stays.
void bench_world_retire(struct bench_world *w, uint32_t n);
