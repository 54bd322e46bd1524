// The settings of the cluster as a whole, which operators may change at any time; where none were ever made, the defaults.
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "common/base/error.h"
#include "common/model/ip_addr.h"

#define LIMIT_NO_SNAT_PREFIXES 16

struct cluster_settings {
	uint32_t n_no_snat;
	struct ip_prefix no_snat[LIMIT_NO_SNAT_PREFIXES]; // destinations that VMs reach with their own address; sorted
	uint32_t snat_quarantine_s; // from the end of a lease until its range may be granted again
	uint32_t snat_log_s; // how long the log remembers leases that have ended
	uint32_t snat_gone_s; // after which a host that is not connected loses its leases; 0: never
	uint32_t snat_dip_requests_per_s; // of one DIP; what is beyond waits
	uint32_t host_gone_ms; // after which a host whose agent is not connected gets no new connections; 0: never
	uint32_t fail_static_percent; // more hosts than this share gone at once: the managers are cut off; nothing changes
	uint32_t mux_withdraw_percent; // of the pool may be fenced, or otherwise withdrawn by managers, at most
};

// RFC 1918, RFC 6598 and link-local prefixes; 60 s; 7 days; 1 day; 20; 2 s; 50 %; 50 %.
struct cluster_settings cluster_settings_default(void);

// Checks all rules and sorts the prefixes. ERR_INVALID with the field and what is right.
NODISCARD int cluster_settings_validate(struct cluster_settings *s, struct error *err);

bool cluster_settings_equal(const struct cluster_settings *a, const struct cluster_settings *b);
