// The agent's prober: probes its VMs all the time, connected or not, and tells the leader what it found.
//
//   store --prober_configure--> core/probes.h --due--> probe_socket --result--> core/probes.h --HealthReport--> send
//
// At most PROBER_SOCKETS probes are under way at once; those that are due beyond wait their turn, the longest first
// (probes_waiting). What changes the health of a DIP is sent in the same turn of the loop. Reports beyond PROBER_REPORT_MAX results
// are cut. What could not be sent is sent anew as a whole.
// Threads: everything on the thread of the loop.
#pragma once

#include <uv.h>

#include "common/wire/message.h"
#include "hostagent/core/probes.h"

#define PROBER_SOCKETS 256
#define PROBER_REPORT_MAX 2048 // results of a message: some 400 KB
#define PROBER_EVENTS_BURST 20 // lines in a row; later PROBER_EVENTS_PER_S, what is beyond is counted in the next line
#define PROBER_EVENTS_PER_S 2

#define PROBER_COUNTERS(X)                                                             \
	X(probes_begun, "probes that began")                                               \
	X(probes_succeeded, "probes that succeeded")                                       \
	X(probes_failed, "probes that failed")                                             \
	X(probes_not_made, "probes that this host could not make: they say nothing")       \
	X(health_reports_sent, "messages with results of probes to the leader")            \
	X(health_events_suppressed, "changes of health that were not logged")              \
	X(probes_waiting, "gauge: probes that are due, but too many others are under way") \
	X(probe_targets, "gauge: what is probed")                                          \
	X(dips_unhealthy, "gauge: DIPs of which some probe fails")

struct prober;

struct prober_config {
	uv_loop_t *loop;
	const char *host;
	struct ip_addr source; // the probe address of IPv4, and of IPv6; unspecified: the kernel's choice
	struct ip_addr source6;
	const char *device; // the tap; "": by the kernel's routes
	// Sends a message to the leader; may fail while there is none.
	int (*send)(const struct message *m, void *user);
	void *user;
};

NODISCARD int prober_create(const struct prober_config *config, struct prober **ret_prober, struct error *err);

// Nothing is sent any more; the memory goes with the loop's next turns. NULL is fine.
void prober_destroy(struct prober *p);

// ERR_NO_MEMORY: everything stays as it was.
NODISCARD int prober_configure(struct prober *p, const struct store *store);

// Whether the interface of the DIP's VM is there; `cause` says why not.
void prober_set_port(struct prober *p, const struct ip_addr *dip, bool is_open, const char *cause);

// A link to the leader, with its first update in use, came or went.
void prober_on_link(struct prober *p, bool is_up);

enum {
	PROBER_N_COUNTERS = 0
#define X(name, text) +1
	PROBER_COUNTERS(X)
#undef X
};
void prober_read_counters(const struct prober *p, struct counter ret_values[PROBER_N_COUNTERS]);
