// The command line of mux-bench.
#pragma once

#include <stdbool.h>
#include <stdint.h>

enum bench_path { PATH_INBOUND, PATH_UDP, PATH_SNAT_REPLY, PATH_HISTORY, PATH_ICMP_ECHO, PATH_GARBAGE };

struct bench_options {
	enum bench_path path;
	uint32_t n_flows;
	uint32_t n_vips;
	uint32_t n_dips; // of each endpoint
	uint32_t changed_percent; // of them, that the generation before did not have; of PATH_HISTORY
	uint32_t n_pins; // of flows, from the first on; likewise
	uint32_t burst; // packets
	bool is_ip6; // VIPs, DIPs and packets
	bool is_outer_ip6; // the way to the DIPs
	uint32_t n_bursts; // measured, of the pipeline and of the floor each
	bool is_json;
	bool counts_instructions; // run bench_measured only: for callgrind
};

const char *bench_path_name(enum bench_path path);

// Reads the command line; prints what is wrong, or the help, and ends the program.
struct bench_options bench_options_read(int argc, char **argv);
