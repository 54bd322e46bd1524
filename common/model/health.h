// What an agent's probes found: for each endpoint with a probe and each of its DIPs on the agent's host, whether it serves.
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "common/model/object.h"

struct probe_result {
	struct ip_addr dip;
	struct ip_addr vip;
	uint8_t protocol;
	uint16_t port; // of the VIP
	bool is_healthy;
	char cause[CAUSE_BYTES]; // of what is unhealthy: "tcp 8080: connection refused"
};

struct health_report {
	// true: the first one after subscribing, when every probe has a first result (at once when there are none): these are all of
	// the agent's, and the host is back if it was gone. false: these have changed.
	bool is_whole;
	uint32_t n;
	uint32_t capacity;
	struct probe_result *items;
};

void health_report_fini(struct health_report *r);
NODISCARD int health_report_append(struct health_report *r, const struct probe_result *result); // ERR_NO_MEMORY

// The key of the mark that says that this DIP does not serve this endpoint.
struct object_key probe_result_key(const struct probe_result *result);
