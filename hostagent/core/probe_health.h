// What the results of one probe, one after the other, say of what it probes.
//
//              first result decides
//   UNKNOWN -----------------------------> HEALTHY or UNHEALTHY
//   HEALTHY ---`down` failures in a row--> UNHEALTHY            (or at once, when the VM's interface is missing)
//   UNHEALTHY -`up` successes in a row---> HEALTHY
//
// Damping: each return to HEALTHY within PROBE_FLAP_US after falling ill doubles the successes that the next return needs, up to
// PROBE_DAMPING_MAX times `up`; it is forgotten when nothing has changed for PROBE_QUIET_US. So what comes and goes stays away,
// and is no change of the hash table each time.
// Pure; time is given.
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "common/base/mono.h"
#include "common/model/object.h"

#define PROBE_FLAP_US 60000000u
#define PROBE_QUIET_US 300000000u
#define PROBE_DAMPING_MAX 16

enum probe_verdict { PROBE_UNKNOWN = 0, PROBE_HEALTHY, PROBE_UNHEALTHY };

struct probe_health {
	enum probe_verdict verdict;
	uint8_t up;
	uint8_t down;
	bool fell_ill; // UNHEALTHY, after it was HEALTHY
	uint32_t streak; // results in a row that speak against the verdict
	uint32_t damping; // 1 to PROBE_DAMPING_MAX; 0 counts as 1
	struct mono_time changed; // when the verdict did last
	char cause[CAUSE_BYTES]; // of UNHEALTHY
};

// Each returns true when the verdict has changed.
bool probe_health_on_success(struct probe_health *h, struct mono_time now);
bool probe_health_on_failure(struct probe_health *h, const char *cause, struct mono_time now);
bool probe_health_on_missing(struct probe_health *h, const char *cause, struct mono_time now);

// How many successes in a row it takes to be healthy again.
uint32_t probe_health_successes_needed(const struct probe_health *h, struct mono_time now);
