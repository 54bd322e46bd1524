// Which health probe begins when, what its result says, and what the leader is to know of it.
//
//   store --probes_configure--> endpoints (what is reported) --> targets (what is probed)
//   probes_set_port (the VM's interface) --> due_queue --probes_next--> the edge probes --probes_on_result--> health
//   health, link --probes_next_report--> HealthReport
//
// Targets. Endpoints of one DIP that ask the same (type, port, path, expected statuses) share one target; the shortest interval and
// timeout that any of them has, and the smallest `up` and `down`, are the target's. A target that stays keeps its state through
// every change of the configuration.
// Times. A target is probed first within PROBE_SPREAD_MS after its interface is known to be there, by the hash of what it is, then every
// interval, 10 % more or less: probes of one moment drift apart. One probe of a target at a time. A VM whose interface is missing
// is unhealthy at once, and not probed; as long as nobody said whether it is there, nothing is known.
// Reports. After probes_on_link(true) one whole report as soon as every target of that moment has a first result, cut into
// parts, of which the last is_whole; before it nothing, after it what changes. While there is no link everything goes on.
// Pure, time is given. Cost: probes_next and probes_on_result O(log n); a report and a change of interfaces O(n).
#pragma once

#include "common/model/health.h"
#include "common/model/store.h"
#include "hostagent/core/due_queue.h"
#include "hostagent/core/probe_health.h"

#define PROBE_SPREAD_MS 500

struct probe_what {
	struct ip_addr dip;
	enum probe_type type;
	uint16_t port;
	uint16_t expect_min; // of PROBE_HTTP, as the path
	uint16_t expect_max;
	char path[PROBE_PATH_BYTES];
};

enum probe_port { PROBE_PORT_UNKNOWN = 0, PROBE_PORT_OPEN, PROBE_PORT_MISSING };

struct probe_target {
	struct probe_what what;
	uint32_t interval_ms;
	uint32_t timeout_ms;
	struct probe_health health;
	enum probe_port port;
	bool is_awaited; // the whole report waits for its first result
	uint64_t attempt; // that is under way; 0: none
	struct mono_time due; // the next one
};

struct probe_endpoint { // a local DIP's part in an endpoint with a probe
	struct ip_addr dip;
	struct ip_addr vip;
	uint16_t port;
	uint8_t protocol;
	bool is_told; // the leader that there is now knows of `told`
	enum probe_verdict told;
	uint32_t target;
};

struct probes {
	uint64_t seed;
	uint64_t n_attempts;
	uint32_t n_targets;
	uint32_t n_endpoints;
	struct probe_target *targets; // by what they are
	struct probe_endpoint *endpoints; // by DIP, VIP, protocol, port
	struct due_queue queue; // targets whose port is open and that are not being probed
	bool queue_is_stale;
	bool is_up; // there is a link to a leader
	bool owes_whole; // and no whole report has been given out for it
	bool has_news; // a report may be due
	uint32_t n_awaited;
};

void probes_init(struct probes *p, uint64_t seed);
void probes_fini(struct probes *p);

// Takes over the probes of all endpoints that have a DIP attached to `host`. ERR_NO_MEMORY: nothing was changed.
NODISCARD int probes_configure(struct probes *p, const struct store *store, const char *host, struct mono_time now);

// Whether the interface of the DIP's VM is open; `cause` says why not. How many targets became unhealthy by it.
uint32_t probes_set_port(struct probes *p, const struct ip_addr *dip, bool is_open, const char *cause,
                         struct mono_time now);

// When the next probe is due; false: none is.
bool probes_due(struct probes *p, struct mono_time *ret_due);

// Begins the next one that is due: its target with the number of the attempt, valid until the next call of anything that changes
// *p; NULL: none is due.
const struct probe_target *probes_next(struct probes *p, struct mono_time now);

enum probe_outcome {
	PROBE_SUCCEEDED,
	PROBE_FAILED,
	PROBE_NOT_MADE, // for a reason of this host: it says nothing of the VM, and is tried again when the next one is due
};

// The target, when its health has changed by it; else NULL. A result of an attempt that is not under way (the target went, its
// interface did) is passed over.
const struct probe_target *probes_on_result(struct probes *p, const struct probe_what *what, uint64_t attempt,
                                            enum probe_outcome outcome, const char *cause, struct mono_time now);

// A link to a leader that has taken the subscription came (with the configuration used), or went.
void probes_on_link(struct probes *p, bool is_up);

// What is to be sent now, of at most `max` results, for health_report_fini; false: nothing (or no memory: then it is due at the
// next call).
bool probes_next_report(struct probes *p, uint32_t max, struct health_report *ret_report);

// Gauges: probes that are due and have not begun; DIPs for which some probe fails.
uint32_t probes_n_waiting(const struct probes *p, struct mono_time now);
uint32_t probes_n_unhealthy_dips(const struct probes *p);

// ---- Internal: probe_plan.c ----

int probe_what_compare(const struct probe_what *a, const struct probe_what *b);

// When the first probe of a target is due that may be probed from now on.
struct mono_time probe_first_due(const struct probes *p, const struct probe_target *t, struct mono_time now);
