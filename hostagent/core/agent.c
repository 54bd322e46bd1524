#include "hostagent/core/agent.h"

#include <string.h>

#include "common/base/check.h"
#include "common/packet/martian.h"
#include "hostagent/core/flows.h"

void agent_init(struct agent *a, const struct agent_settings *settings, const struct ip_addr *gateways,
                uint32_t n_gateways)
{
	memset(a, 0, sizeof *a);
	a->settings = *settings;
	neighbor_table_init(&a->neighbors, &settings->uplink_mac, settings->address);
	neighbor_table_init6(&a->neighbors6, &settings->uplink_mac, settings->address6);
	for (uint32_t i = 0; i < n_gateways; i++) {
		bool has_room = ip_addr_is_v4(&gateways[i]) ? neighbor_table_insert(&a->neighbors, ip_addr_to_v4(&gateways[i]))
		                                            : neighbor_table_insert6(&a->neighbors6, gateways[i].bytes);
		CHECK(has_room);
	}
	token_bucket_init(&a->chain_limit, AGENT_CHAIN_PPS, AGENT_CHAIN_PPS, mono_from_us(0));
	for (uint32_t i = 0; i < AGENT_PORTS_MAX; i++)
		token_bucket_init(&a->probe_limit[i], AGENT_PROBE_PPS, AGENT_PROBE_PPS, mono_from_us(0));
}

void agent_use_flows(struct agent *a, const struct flow_table *flows)
{
	a->flows = *flows;
	memset(&a->dip_flows, 0, sizeof a->dip_flows);
	for (uint32_t i = 0; i < flows->high_water; i++)
		if (flows->entries[i].state != FLOW_FREE && flow_entry_is_balanced(&flows->entries[i]))
			dip_flows_add(&a->dip_flows, flows->entries[i].dip);
}

uint32_t agent_dip_flows(const struct agent *a, be32 dip)
{
	return dip_flows_read(&a->dip_flows, dip);
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
	if (a->config == NULL) // nothing passes, and what VIPs say of their flows is not known
		return;
	if (elapsed_us > FLOW_SWEEP_US)
		elapsed_us = FLOW_SWEEP_US;
	uint64_t budget = (uint64_t)a->flows.high_water * elapsed_us / FLOW_SWEEP_US + 1;
	flow_table_set_now(&a->flows, now);
	counter_add(&a->counters.flows_expired, agent_flows_expire(a, (uint32_t)budget));
}

static const uint8_t *own_address6(const struct agent *a)
{
	return ip6_is_unspecified(a->settings.address6) ? NULL : a->settings.address6;
}

uint32_t agent_pins_begin(struct agent *a, uint64_t wall_us)
{
	if (a->pin_reports.n == 0)
		return 0;
	if (a->config == NULL || a->config->n_muxes == 0) {
		a->pin_reports.n = 0;
		return 0;
	}
	struct pin_reports_sender sender = { .addr = a->settings.address, .addr6 = own_address6(a) };
	uint32_t n = pin_reports_encode(&a->pin_reports, a->config->cluster_id, a->config->pin_key, &sender, wall_us);
	counter_add(&a->counters.pins_sent, n);
	return a->config->n_muxes;
}

// Over IPv4 where both have it, else over IPv6. False: they have no family in common.
static bool route_to_mux(const struct agent *a, const struct agent_mux *mux, struct pin_reports_route *route)
{
	if (a->settings.address != 0 && !addr_is_ip6(mux->addr)) {
		route->src = a->settings.address;
		route->dst = mux->addr;
		return true;
	}
	be32 addr6 = addr_is_ip6(mux->addr) ? mux->addr : mux->addr6;
	if (own_address6(a) == NULL || addr6 == 0)
		return false;
	route->src6 = a->settings.address6;
	route->dst6 = addr_name_address(a->flows.names, addr6);
	return true;
}

uint32_t agent_pins_write(const struct agent *a, uint32_t i, uint8_t *frame)
{
	const struct agent_mux *mux = &a->config->muxes[i];
	struct pin_reports_route route = { .src_mac = a->settings.uplink_mac };
	if (!route_to_mux(a, mux, &route))
		return 0;
	const struct neighbor_table *neighbors = route.src6 != NULL ? &a->neighbors6 : &a->neighbors;
	const struct mac *gateway = neighbor_table_select(neighbors, (uint32_t)(hash_mix64(mux->addr) >> 32));
	if (gateway == NULL)
		return 0;
	route.dst_mac = *gateway;
	return pin_reports_write(&a->pin_reports, &route, frame);
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
	snat_settle(a->snat, &a->flows);
	snat_tend(a->snat, a->config, now, elapsed_us);
}
