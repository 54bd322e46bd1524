// What agents and operators ask for, one operation at a time.
#include "manager/core/snat_state.h"

#include "manager/core/snat_state_parts.h"

static bool is_repeated(const struct snat_demand *last, uint64_t seq)
{
	return last->asked_ms != 0 && seq <= last->seq && last->seq - seq < SNAT_SEQ_SPAN;
}

// How many ports the DIP is to get.
static uint32_t predict(const struct snat_demand *last, uint32_t n_asked, uint64_t now_ms, uint32_t range_size)
{
	uint32_t most = SNAT_DEMAND_RANGES * range_size;
	if (last->asked_ms == 0 || now_ms - last->asked_ms > SNAT_DEMAND_MS)
		return n_asked;
	uint32_t doubled = last->n_ports < most / 2 ? last->n_ports * 2 : most;
	return doubled > n_asked ? doubled : n_asked;
}

static uint32_t max_u32(uint32_t a, uint32_t b)
{
	return a > b ? a : b;
}

// What one request may get: as much as the DIP holds already, or its share of what its pools have left; at least 1.
static uint32_t most_of(const struct snat_dip *d)
{
	uint32_t n_held = 0;
	uint32_t n_left = 0;
	for (uint32_t i = 0; i < d->n_claims; i++) {
		const struct snat_pool *pool = d->claims[i].pool;
		n_held += d->claims[i].holder->n_ranges * pool->range_size;
		n_left += (pool->n_unused + pool->n_freed) * pool->range_size;
	}
	return max_u32(max_u32(n_held, n_left / SNAT_DEMAND_SHARE), 1);
}

// Grants from one VIP until `wanted` ports are granted in all, as far as its ranges and the DIP's limit there go.
static void grant_from(struct snat_state *s, const struct snat_claim *claim, struct snat_now now, uint32_t wanted,
                       struct snat_outcome *out)
{
	while (out->n_ports < wanted && claim->holder->n_ranges < claim->max_ranges) {
		if (!snat_state_grant(s, claim->pool, claim->holder, now)) {
			if (out->n_ports == 0)
				out->result = SNAT_POOL_EMPTY; // it would be within the limit
			return;
		}
		if (out->n_ports == 0)
			out->vip = claim->pool->vip;
		out->n_ports += claim->pool->range_size;
		out->result = SNAT_DONE;
	}
}

static void request(struct snat_state *s, const struct snat_op *op, const struct cluster_settings *settings,
                    struct snat_outcome *out)
{
	struct snat_dip *d = snat_dips_lookup(&s->dips, &op->dip);
	if (d == NULL) {
		out->result = SNAT_NOT_CONFIGURED;
		return;
	}
	out->vip = d->claims[0].pool->vip;
	if (is_repeated(&d->demand, op->seq)) {
		out->result = SNAT_REPEATED;
		out->n_ports = op->seq == d->demand.seq ? d->demand.n_ports : 0; // what older ones got is not known any more
		return;
	}
	uint32_t predicted = predict(&d->demand, op->n_ports, s->clock_ms, d->claims[0].pool->range_size);
	uint32_t most = most_of(d);
	uint32_t wanted = predicted < most ? predicted : most;
	struct snat_now now = snat_now_of(s->clock_ms, settings);
	out->result = SNAT_AT_LIMIT;
	for (uint32_t i = 0; i < d->n_claims; i++)
		grant_from(s, &d->claims[i], now, max_u32(wanted, 1), out);
	if (out->result != SNAT_DONE)
		return;
	d->demand.seq = op->seq;
	d->demand.asked_ms = s->clock_ms;
	d->demand.n_ports = out->n_ports;
}

static void give_back(struct snat_state *s, const struct snat_op *op, const struct cluster_settings *settings,
                      struct snat_outcome *out)
{
	struct lease lease;
	struct snat_pool *pool = snat_state_lookup_pool(s, &op->vip);
	bool is_held = pool != NULL && snat_pool_lookup(pool, op->first_port, &lease) &&
	               lease.first_port == op->first_port && lease.epoch == op->epoch &&
	               ip_addr_equal(&lease.dip, &op->dip);
	if (!is_held)
		return;
	(void)snat_state_end_lease(s, pool, op->first_port, settings);
	out->result = SNAT_DONE;
	out->n_ports = lease.n_ports;
}

static void revoke_port(struct snat_state *s, const struct snat_op *op, const struct cluster_settings *settings,
                        struct snat_outcome *out)
{
	struct lease lease;
	struct snat_pool *pool = snat_state_lookup_pool(s, &op->vip);
	if (pool == NULL || !snat_pool_lookup(pool, op->first_port, &lease))
		return;
	(void)snat_state_end_lease(s, pool, op->first_port, settings);
	out->result = SNAT_DONE;
	out->dip = lease.dip;
	out->n_ports = lease.n_ports;
}

static void revoke_dip(struct snat_state *s, const struct snat_op *op, const struct cluster_settings *settings,
                       struct snat_outcome *out)
{
	const struct snat_dip *d = snat_dips_lookup(&s->dips, &op->dip);
	for (uint32_t i = 0; d != NULL && i < d->n_claims; i++) {
		uint32_t n_ports = snat_state_end_all_of(s, d->claims[i].pool, d->claims[i].holder, settings);
		if (n_ports > 0 && out->n_ports == 0)
			out->vip = d->claims[i].pool->vip;
		out->n_ports += n_ports;
	}
	if (out->n_ports > 0)
		out->result = SNAT_DONE;
}

struct snat_outcome snat_state_apply(struct snat_state *s, const struct snat_op *op,
                                     const struct cluster_settings *settings)
{
	struct snat_outcome out = {
		.kind = op->kind,
		.result = SNAT_NOT_HELD,
		.dip = op->dip,
		.vip = op->vip,
		.seq = op->seq,
	};
	switch (op->kind) {
	case SNAT_REQUEST: request(s, op, settings, &out); break;
	case SNAT_RETURN: give_back(s, op, settings, &out); break;
	case SNAT_REVOKE:
		if (ip_addr_is_unspecified(&op->vip))
			revoke_dip(s, op, settings, &out);
		else
			revoke_port(s, op, settings, &out);
		break;
	}
	return out;
}
