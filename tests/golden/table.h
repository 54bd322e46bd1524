// A table of golden tests: {what, where it is written, configuration, packets in, packets out, verdicts}.
//
//   world mux                                   which pipeline; the worlds are described in tests/golden/README.md
//   case a SYN goes to the endpoint's DIP       [RFC 2003 section 3; Ananta section 3.3.2]
//     set snat                                  what the configuration has beyond the world's own
//     in uplink tcp 198.51.100.7:40000 > 203.0.113.10:80 S
//     out uplink ipip 10.0.0.31 > 10.1.1.11 df id=0 ( tcp 198.51.100.7:40000 > 203.0.113.10:80 S )
//     in uplink tcp 198.51.100.7:40000 > 203.0.113.10:99 S
//     out drop no_endpoint
//
// Each `in` goes through a fresh world of the case, in order, and has one `out`; what comes out beside it has one each after that:
// what one packet became two of, and what had waited. Bytes are compared exactly. Lines that begin with # are
// for readers. GOLDEN_PCAP=DIRECTORY writes what goes in and comes out as one pcap file a case.
#pragma once

#include "tests/golden/notation.h"

struct golden_world {
	const char *name; // of `world` lines
	void *(*create)(void);
	void (*destroy)(void *world);
	// "set WORDS": changes the configuration. False: unknown words.
	bool (*set)(void *world, const char *words);
	// The MACs of frames that come in on a port, and of those that leave by it. False: there is no such port.
	bool (*port)(const char *name, bool is_out, struct notation_port *ret_port);
	// Puts the frame through; what came of it: "drop no_endpoint", or the port that it leaves by; the frame is *ret_out then.
	const char *(*send)(void *world, const char *port, struct test_frame *frame, struct test_frame *ret_out);
	// What comes out beside that: likewise, or NULL when there is no more. NULL: nothing ever does.
	const char *(*next)(void *world, struct test_frame *ret_out);
};

// The one that this program is linked with.
extern const struct golden_world golden_world;

struct golden_outcome {
	unsigned n_cases;
	unsigned n_packets; // in
	unsigned n_failed;
	unsigned n_without_source; // cases that name no RFC or section
};

// Runs every case of a file; failures are printed with the line, what was expected and what came.
struct golden_outcome golden_run(const char *path, const struct golden_world *world);
