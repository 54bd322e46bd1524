#include "hostagent/core/agent.h"

#include <string.h>

#include "common/base/check.h"

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
}

void agent_expire_flows(struct agent *a, struct mono_time now, uint64_t elapsed_us)
{
	if (elapsed_us > FLOW_SWEEP_US)
		elapsed_us = FLOW_SWEEP_US;
	uint64_t budget = (uint64_t)a->flows.high_water * elapsed_us / FLOW_SWEEP_US + 1;
	uint32_t n = flow_table_expire(&a->flows, now, (uint32_t)budget);
	counter_add(&a->counters.flows_expired, n);
}

void agent_snat_order(struct agent *a, const struct snat_order *order)
{
}

bool agent_snat_next_report(struct agent *a, struct snat_report *ret_report)
{
	return false;
}

bool agent_snat_next_ready(struct agent *a, uint16_t *ret_slot)
{
	return false;
}

void agent_snat_tend(struct agent *a, struct mono_time now, uint64_t elapsed_us)
{
}
