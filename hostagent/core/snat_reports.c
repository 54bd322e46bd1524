// What the edge and the control thread are to do: held frames to submit again, requests, returns, events.
#include "hostagent/core/snat_state.h"

void snat_report_due(struct snat *s, uint16_t slot, enum snat_report_kind kind)
{
	struct snat_dip *d = &s->dips[slot];
	d->due |= (uint8_t)(1u << kind);
	if (!d->is_due)
		d->is_due = index_queue_push(&s->due, slot);
}

void snat_make_ready(struct snat *s, uint16_t slot)
{
	struct snat_dip *d = &s->dips[slot];
	if (d->has_held && !d->is_ready)
		d->is_ready = index_queue_push(&s->ready, slot);
}

bool snat_next_ready(struct snat *s, uint16_t *ret_slot)
{
	uint32_t slot;
	while (index_queue_pop(&s->ready, &slot)) {
		struct snat_dip *d = &s->dips[slot];
		d->is_ready = false;
		if (!d->has_held)
			continue;
		d->has_held = false;
		d->n_waiting = 0;
		*ret_slot = (uint16_t)slot;
		return true;
	}
	return false;
}

void snat_ask(struct snat *s, uint16_t slot)
{
	struct snat_dip *d = &s->dips[slot];
	if (d->is_asking || snat_leased_ports(d) >= d->max_ports || mono_is_before(s->now, d->refused_until))
		return;
	d->is_asking = true;
	d->n_wanted = 0;
	d->seq = s->next_seq++;
	d->reported = s->now;
	snat_report_due(s, slot, SNAT_REPORT_WANTED);
}

static bool next_lost_return(struct snat *s, struct snat_report *r)
{
	if (s->n_lost_returns == 0)
		return false;
	const struct snat_order *lost = &s->lost_returns[--s->n_lost_returns];
	*r = (struct snat_report){ .kind = SNAT_REPORT_RETURNED,
		                       .vip = lost->vip,
		                       .dip = lost->dip,
		                       .first_port = lost->first_port,
		                       .n_ports = lost->n_ports,
		                       .epoch = lost->epoch };
	return true;
}

static bool next_returned(struct snat *s, struct snat_report *r)
{
	uint32_t head;
	while (index_queue_pop(&s->returned, &head)) {
		struct snat_block *b = &s->blocks[head];
		if (b->state != BLOCK_RETURNING || !b->is_queued)
			continue; // it has ended meanwhile
		b->is_queued = false;
		*r = (struct snat_report){ .kind = SNAT_REPORT_RETURNED,
			                       .vip = b->vip,
			                       .dip = s->dips[b->slot].dip,
			                       .first_port = b->first_port,
			                       .n_ports = (uint32_t)b->n_blocks * SNAT_UNIT_PORTS,
			                       .epoch = b->epoch };
		return true;
	}
	return false;
}

// What the neediest of the DIP's destinations and protocols wants; 0: it has all that it may have by now.
static uint32_t wanted_ports(const struct snat *s, const struct snat_dip *d)
{
	struct snat_need need = snat_need_of(s, d);
	uint32_t n_total = 0;
	for (uint32_t i = 0; i < SNAT_BUSIEST_DESTINATIONS + MAPPED_PROTOCOLS; i++) {
		const struct snat_pace *pace =
			i < MAPPED_PROTOCOLS ? &d->mapped_pace[i] : &d->busiest[i - MAPPED_PROTOCOLS].pace;
		uint32_t n_ports = snat_demand_total(pace, &need);
		n_total = n_ports > n_total ? n_ports : n_total;
	}
	return snat_demand_wanted(n_total, &need, SNAT_UNIT_PORTS);
}

static void fill_report(const struct snat_dip *d, enum snat_report_kind kind, struct snat_report *r)
{
	*r = (struct snat_report){ .kind = kind, .dip = d->dip, .n_ports = snat_leased_ports(d) };
	if (kind == SNAT_REPORT_WANTED) {
		r->n_wanted = d->n_wanted;
		r->seq = d->seq;
	} else if (kind == SNAT_REPORT_NEAR_LIMIT) {
		r->n_wanted = d->max_ports;
	} else {
		r->remote = d->exhausted_remote;
		r->remote_port = d->exhausted_port;
		r->protocol = d->exhausted_protocol;
		r->code = d->exhausted_code;
	}
}

// Is there a request to report? Not when it was answered meanwhile, or other leases made it needless.
static bool has_request(struct snat *s, uint16_t slot)
{
	struct snat_dip *d = &s->dips[slot];
	if (d->is_asking && d->n_wanted == 0)
		d->n_wanted = wanted_ports(s, d);
	if (d->n_wanted == 0)
		d->is_asking = false;
	return d->is_asking;
}

// A report of the DIP's that is due still; false when it has none.
static bool next_of_dip(struct snat *s, uint16_t slot, struct snat_report *r)
{
	struct snat_dip *d = &s->dips[slot];
	while (d->is_used && d->due != 0) {
		enum snat_report_kind kind = (enum snat_report_kind)__builtin_ctz(d->due);
		d->due &= (uint8_t)(d->due - 1);
		if (kind == SNAT_REPORT_WANTED && !has_request(s, slot))
			continue;
		fill_report(d, kind, r);
		return true;
	}
	return false;
}

bool snat_next_report(struct snat *s, struct snat_report *ret_report)
{
	if (next_lost_return(s, ret_report) || next_returned(s, ret_report))
		return true;
	uint32_t slot;
	while (index_queue_pop(&s->due, &slot)) {
		struct snat_dip *d = &s->dips[slot];
		d->is_due = false;
		if (!next_of_dip(s, (uint16_t)slot, ret_report))
			continue;
		if (d->due != 0)
			d->is_due = index_queue_push(&s->due, slot);
		return true;
	}
	return false;
}
