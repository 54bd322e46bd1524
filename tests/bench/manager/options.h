// The command line of manager-bench.
#pragma once

#include <stdbool.h>
#include <stdint.h>

struct bench_options {
	bool is_fairness;
	bool is_configure;
	uint32_t n_idle; // agents that only ping; 0: the other measurements
	uint32_t seconds; // in all
	uint32_t n_agents;
	uint32_t n_dips; // of each agent
	uint32_t n_vips;
	uint32_t max_ports; // of a DIP: bounds what demand prediction grants at once
	uint32_t load_per_s; // requests, in the phase under load
	const char *dir;
};

// Reads the command line; prints what is wrong, or the help, and ends the program.
struct bench_options bench_options_read(int argc, char **argv);
