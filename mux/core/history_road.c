#include "mux/core/history_road.h"

#include "common/model/flow_hash.h"

// The set of a worker without pins. Nothing is found in it, so that it is never written.
const struct pin_set no_pins;

// Looks for the DIP of a pin where it is not expected: it has moved, or is of no generation any more, and so is the pin then.
APART static uint32_t find_pinned_dip(struct mux_worker *w, const struct vip_entry *e, struct pin_set *s, uint32_t way)
{
	if (s->dips[way] == 0) // it is free
		return NOT_A_DIP;
	uint32_t at = vip_entry_lookup_dip(e, s->dips[way]);
	if (at == NOT_A_DIP)
		pins_remove(w->pins, s, way);
	else
		s->hints[way] = (uint16_t)at;
	return at;
}

// Where a flow is pinned to; NULL when it is not. `s` is its set.
static inline const struct encap_template *find_pin(struct mux_worker *w, const struct vip_entry *e, uint64_t hash,
                                                    struct pin_set *s)
{
	uint32_t way = pin_set_lookup(s, hash);
	if (way == PIN_WAYS)
		return NULL;
	uint32_t at = s->hints[way];
	if (__builtin_expect(!vip_entry_has_dip_at(e, s->dips[way], at), 0)) {
		at = find_pinned_dip(w, e, s, way);
		if (at == NOT_A_DIP)
			return NULL;
	}
	pin_set_touch(s, way);
	return &e->templates[at];
}

const struct encap_template *history_template_of(struct mux_worker *w, const struct vip_entry *e, uint64_t hash)
{
	uint32_t owner = e->owners[flow_bucket(hash, e->n_buckets)];
	if ((owner & BUCKET_HAD_OTHERS) == 0)
		return &e->templates[owner];
	const struct encap_template *pinned = find_pin(w, e, hash, set_of(w->pins, hash));
	w->counters.history_packets++;
	w->counters.pin_hits += pinned != NULL;
	return pinned != NULL ? pinned : &e->templates[owner & ~BUCKET_HAD_OTHERS];
}

void history_road_take(const struct history_road *r, struct mux_worker *w, const struct gateways *g)
{
	const uint32_t n = r->n;
	const uint32_t n_gateways = g->n;
	const __m128i first_start = g->starts[0];
	struct vip_traffic *const vips = w->vips->endpoints;
	uint64_t inner_bytes = 0;
	uint64_t n_hits = 0;
	for (uint32_t i = 0; i < n; i++) {
		const struct passage *x = r->passages[i];
		const struct vip_entry *e = x->entry;
		const uint32_t n_bytes = x->inner_bytes;
		const struct encap_template *template = find_pin(w, e, x->hash, x->pins);
		if (template != NULL)
			n_hits++;
		else
			template = &e->templates[*x->owner & ~BUCKET_HAD_OTHERS];
		encapsulate_checked(x->frame, gateways_choose(g, n_gateways, first_start, x->hash), template, n_bytes);
		count_vip(&vips[e->slot], n_bytes);
		inner_bytes += n_bytes;
	}
	count_forwarded(w, n, inner_bytes);
	w->counters.history_packets += n;
	w->counters.pin_hits += n_hits;
}
