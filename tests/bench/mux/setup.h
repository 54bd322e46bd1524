// What mux-bench runs on: tables made as a mux makes them, packet buffers, and flows to draw packets from.
#pragma once

#include <rte_mbuf.h>
#include <stdbool.h>

#include "mux/core/pipeline.h"
#include "tests/bench/mux/options.h"

struct bench_flow {
	struct ip_addr src;
	struct ip_addr dst;
	be16 src_port;
	be16 leased_port; // of dst
};

struct bench {
	struct bench_options options;
	bool has_hugepages;
	struct mux_worker worker;
	struct addr_names *names;
	struct mux_tables *tables;
	struct mux_tables *without_history; // of the same VIPs; beside PATH_HISTORY
	struct pins pins;
	uint32_t n_evicted; // of those that were pinned
	struct snat_maps snat;
	uint64_t random; // state of the draw
	uint32_t frame_len;
	uint8_t frame[256]; // what every packet begins as
	struct rte_mbuf *pipeline_mbufs[MUX_BURST_MAX];
	struct rte_mbuf *floor_mbufs[MUX_BURST_MAX];
	uint16_t data_off; // of a fresh buffer
};

// Ends the program with a sentence when something fails.
void bench_setup(struct bench *b, const struct bench_options *options);

// Puts fresh packets of random flows into n buffers, to endpoints or to leased ports. Not measured.
void bench_fill(struct bench *b, struct rte_mbuf **mbufs, uint32_t n, bool to_leased_ports);
