// Which VIP routes to add and remove: the difference between the VIPs that should be announced and those that are.
#pragma once

#include <stdint.h>

#include "common/base/error.h"
#include "common/model/ip_addr.h"

struct routes_plan {
	uint32_t n_add;
	uint32_t n_remove;
	struct ip_addr *add;
	struct ip_addr *remove;
};

// Both lists are sorted and without repetition. ERR_NO_MEMORY; the plan is the caller's to finish on success.
NODISCARD int routes_plan_make(const struct ip_addr *wanted, uint32_t n_wanted, const struct ip_addr *present,
                               uint32_t n_present, struct routes_plan *ret_plan);

void routes_plan_fini(struct routes_plan *plan);
