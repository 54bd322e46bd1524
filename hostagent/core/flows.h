// Flows of an agent come and go: through these, so that SNAT and draining count them; internal to the core.
#pragma once

#include "hostagent/core/agent.h"
#include "hostagent/core/snat_state.h"

#define FLOWS_FULL_BUDGET 64 // entries that are looked at for one that has expired, when the table is full

static inline void agent_flow_began(struct agent *a, const struct flow_entry *e)
{
	if (flow_entry_is_balanced(e))
		dip_flows_add(&a->dip_flows, e->dip);
}

static inline void agent_flow_remove(struct agent *a, struct flow_entry *e)
{
	if (flow_entry_is_snat(e) && a->snat != NULL) {
		struct flow_tuple tuple = flow_entry_tuple(&a->flows, e);
		snat_flow_ended(a->snat, &tuple);
	}
	if (flow_entry_is_balanced(e))
		dip_flows_take(&a->dip_flows, e->dip);
	flow_table_remove(&a->flows, e);
}

// Removes what has expired among the next `budget` entries. Returns how many.
static inline uint32_t agent_flows_expire(struct agent *a, uint32_t budget)
{
	uint32_t n_removed = 0;
	const struct flow_idles *idles = a->config == NULL ? NULL : &a->config->idles;
	for (struct flow_entry *e; (e = flow_table_next_expired(&a->flows, idles, &budget)) != NULL; n_removed++)
		agent_flow_remove(a, e);
	return n_removed;
}

// Is there room for one more flow, perhaps because one has expired?
static inline bool agent_flows_have_room(struct agent *a)
{
	if (__builtin_expect(!flow_table_is_full(&a->flows), 1))
		return true;
	(void)agent_flows_expire(a, FLOWS_FULL_BUDGET);
	return !flow_table_is_full(&a->flows);
}
