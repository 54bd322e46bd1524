#include "hostagent/core/snat_demand.h"

void snat_pace_note(struct snat_pace *p, uint32_t n_ports, struct mono_time now)
{
	uint64_t elapsed_us = mono_elapsed_us(p->since, now);
	if (elapsed_us >= 2 * SNAT_PACE_US) {
		p->since = now;
		p->from = p->n_ports;
	} else if (elapsed_us >= SNAT_PACE_US) {
		p->since = mono_add_us(p->since, elapsed_us / 2);
		p->from += (p->n_ports - p->from) / 2;
	}
	p->n_ports = n_ports;
	if (p->from > n_ports)
		p->from = n_ports;
}

uint32_t snat_pace_ahead(const struct snat_pace *p, uint32_t n_waiting, struct mono_time now, uint32_t ahead_us)
{
	uint64_t n_grown = (uint64_t)p->n_ports - p->from + n_waiting;
	uint64_t elapsed_us = mono_elapsed_us(p->since, now);
	if (n_grown < SNAT_BURST_FLOWS)
		return 0;
	uint64_t n_ahead = n_grown * SNAT_AHEAD_US / (elapsed_us > SNAT_PACE_LEAST_US ? elapsed_us : SNAT_PACE_LEAST_US);
	if (n_ahead > SNAT_AHEAD_PORTS)
		n_ahead = SNAT_AHEAD_PORTS;
	return (uint32_t)(n_ahead * ahead_us / SNAT_AHEAD_US);
}

static bool is_half_used(const struct snat_pace *p, const struct snat_need *need)
{
	return 2 * (uint64_t)p->n_ports > need->n_leased;
}

bool snat_demand_is_due(const struct snat_pace *p, const struct snat_need *need)
{
	return is_half_used(p, need) || need->n_waiting > 0 ||
	       p->n_ports + snat_pace_ahead(p, 0, need->now, SNAT_ANSWER_US) > need->n_leased;
}

uint32_t snat_demand_total(const struct snat_pace *p, const struct snat_need *need)
{
	uint32_t n_ahead = snat_pace_ahead(p, need->n_waiting, need->now, SNAT_AHEAD_US);
	uint32_t n_ports = p->n_ports + need->n_waiting + n_ahead;
	uint32_t n_least = is_half_used(p, need) || need->n_waiting > 0 ? 2 * need->n_leased : need->n_leased;
	return n_ports > n_least ? n_ports : n_least;
}

uint32_t snat_demand_wanted(uint32_t n_total, const struct snat_need *need, uint32_t n_least)
{
	uint32_t n_room = need->max_ports > need->n_leased ? need->max_ports - need->n_leased : 0;
	uint32_t n_wanted = n_total > need->n_leased + n_least ? n_total - need->n_leased : n_least;
	return n_wanted < n_room ? n_wanted : n_room;
}
