#include "mux/core/routes_plan.h"

#include "common/base/memory.h"

int routes_plan_make(const struct ip_addr *wanted, uint32_t n_wanted, const struct ip_addr *present, uint32_t n_present,
                     struct routes_plan *ret_plan)
{
	struct routes_plan plan = { .add = memory_array(n_wanted, sizeof *plan.add),
		                        .remove = memory_array(n_present, sizeof *plan.remove) };
	if (plan.add == NULL || plan.remove == NULL) {
		routes_plan_fini(&plan);
		return ERR_NO_MEMORY;
	}
	uint32_t w = 0;
	uint32_t p = 0;
	while (w < n_wanted || p < n_present) {
		int order = w == n_wanted ? 1 : p == n_present ? -1 : ip_addr_compare(&wanted[w], &present[p]);
		if (order < 0) {
			plan.add[plan.n_add++] = wanted[w++];
		} else if (order > 0) {
			plan.remove[plan.n_remove++] = present[p++];
		} else {
			w++;
			p++;
		}
	}
	*ret_plan = plan;
	return 0;
}

void routes_plan_fini(struct routes_plan *plan)
{
	memory_free(plan->add);
	memory_free(plan->remove);
	*plan = (struct routes_plan){ 0 };
}
