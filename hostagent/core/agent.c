#include "hostagent/core/agent.h"

#include <string.h>

#include "common/base/check.h"
#include "hostagent/core/flows.h"

void agent_init(struct agent *a, const struct agent_settings *settings, const be32 *gateways, uint32_t n_gateways)
{
	CHECK(n_gateways <= NEIGHBOR_MAX);
	memset(a, 0, sizeof *a);
	a->settings = *settings;
	neighbor_table_init(&a->neighbors, &settings->uplink_mac, settings->address);
	for (uint32_t i = 0; i < n_gateways; i++)
		neighbor_table_insert(&a->neighbors, gateways[i]);
}

void agent_set_now(struct agent *a, struct mono_time now)
{
	a->now = now;
	flow_table_set_now(&a->flows, now);
	if (a->snat != NULL)
		a->snat->now = now;
}

void agent_expire_flows(struct agent *a, struct mono_time now, uint64_t elapsed_us)
{
	if (elapsed_us > FLOW_SWEEP_US)
		elapsed_us = FLOW_SWEEP_US;
	uint64_t budget = (uint64_t)a->flows.high_water * elapsed_us / FLOW_SWEEP_US + 1;
	flow_table_set_now(&a->flows, now);
	counter_add(&a->counters.flows_expired, agent_flows_expire(a, (uint32_t)budget));
}

void agent_snat_order(struct agent *a, const struct snat_order *order)
{
	snat_order(a->snat, order, &a->flows);
}

bool agent_snat_next_report(struct agent *a, struct snat_report *ret_report)
{
	return snat_next_report(a->snat, ret_report);
}

bool agent_snat_next_ready(struct agent *a, uint16_t *ret_slot)
{
	return snat_next_ready(a->snat, ret_slot);
}

void agent_snat_tend(struct agent *a, struct mono_time now, uint64_t elapsed_us)
{
	snat_tend(a->snat, a->config, now, elapsed_us);
}
