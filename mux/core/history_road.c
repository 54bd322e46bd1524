#include "mux/core/history_road.h"

#include "common/model/flow_hash.h"

// The set of a worker without pins. Nothing is found in it, so that it is never written.
static const struct pin_set no_pins;

// Its sets; of a worker without pins the one above.
struct pin_table {
	struct pin_set *sets;
	uint64_t n_sets;
};

static inline struct pin_table table_of(const struct pins *pins)
{
	if (pins == NULL)
		return (struct pin_table){ (struct pin_set *)&no_pins, 1 };
	return (struct pin_table){ pins->sets, pins->n_sets };
}

static inline struct pin_set *set_of(const struct pin_table *t, uint64_t hash)
{
	return &t->sets[(uint32_t)hash * t->n_sets >> 32];
}

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
	const struct pin_table t = table_of(w->pins);
	const struct encap_template *pinned = find_pin(w, e, hash, set_of(&t, hash));
	w->counters.history_packets++;
	w->counters.pin_hits += pinned != NULL;
	return pinned != NULL ? pinned : &e->templates[owner & ~BUCKET_HAD_OTHERS];
}

// ---- in a burst ----

void history_road_load_all(const struct mux_worker *w, const struct passage *passages, const struct passage *end)
{
	const struct pin_table t = table_of(w->pins);
	for (const struct passage *x = passages; x < end; x++)
		__builtin_prefetch(set_of(&t, x->hash));
}

// Where in the endpoint's templates a packet goes. Whether there is a pin is computed, not branched on: it could not be predicted.
static inline uint32_t choose(struct mux_worker *w, const struct passage *x, struct pin_set *s, uint32_t owner,
                              uint32_t *ret_is_hit)
{
	const struct vip_entry *e = x->entry;
	const uint32_t present = owner & ~BUCKET_HAD_OTHERS;
	const uint32_t match = pin_set_match(s, x->hash) & -(owner / BUCKET_HAD_OTHERS);
	const uint32_t way = (uint32_t)__builtin_ctz(match | 1u << PIN_WAYS);
	const uint32_t is_hit = match != 0;
	uint32_t at = present ^ ((present ^ pin_set_hint(s, way)) & -is_hit);
	*ret_is_hit = is_hit;
	at = at < vip_entry_templates(e)->n ? at : 0;
	if (__builtin_expect(((e->templates[at].dst ^ pin_set_dip(s, way)) & -is_hit) != 0, 0)) {
		at = find_pinned_dip(w, e, s, way);
		if (at == NOT_A_DIP) {
			*ret_is_hit = 0;
			return present;
		}
	}
	if (__builtin_expect((is_hit & ~(s->used >> way)) != 0, 0))
		s->used |= 1u << way;
	return at;
}

static void take_all(struct mux_worker *w, const struct gateways *g, struct passage *passages,
                     const struct passage *end)
{
	const struct pin_table t = table_of(w->pins);
	const uint64_t n = (uint64_t)(end - passages);
	uint64_t n_history = 0;
	uint64_t n_hits = 0;
	for (struct passage *x = passages; x < end; x++) {
		const uint32_t owner = *x->owner;
		uint32_t is_hit;
		x->chosen = (uint16_t)choose(w, x, set_of(&t, x->hash), owner, &is_hit);
		n_history += owner / BUCKET_HAD_OTHERS;
		n_hits += is_hit;
	}
	struct passage_sender sender = passage_sender_of(w, g);
	for (const struct passage *x = passages; x < end; x++)
		passage_send(&sender, x, x->chosen);
	count_forwarded(w, n, sender.inner_bytes);
	w->counters.history_packets += n_history;
	w->counters.pin_hits += n_hits;
	w->history_is_usual = n_history * 2 > n;
}

// Passages by whether their bucket had other owners.
struct parted {
	uint32_t n_plain;
	uint32_t n_history;
	const struct passage *plain[MUX_BURST_MAX];
	struct passage *history[MUX_BURST_MAX];
};

// Likewise without a branch. Begins to load the pins.
static void part(struct parted *p, const struct pin_table *t, struct passage *passages, const struct passage *end)
{
	uint32_t n_plain = 0;
	uint32_t n_history = 0;
	for (struct passage *x = passages; x < end; x++) {
		const uint32_t had_others = *x->owner / BUCKET_HAD_OTHERS;
		p->plain[n_plain] = x;
		p->history[n_history] = x;
		n_plain += 1 - had_others;
		n_history += had_others;
	}
	for (uint32_t i = 0; i < n_history; i++)
		__builtin_prefetch(set_of(t, p->history[i]->hash));
	p->n_plain = n_plain;
	p->n_history = n_history;
}

static void take_parted(struct mux_worker *w, const struct gateways *g, struct passage *passages,
                        const struct passage *end)
{
	const struct pin_table t = table_of(w->pins);
	struct passage_sender sender = passage_sender_of(w, g);
	struct parted p;
	uint64_t n_hits = 0;
	part(&p, &t, passages, end);
	for (uint32_t i = 0; i < p.n_plain; i++)
		passage_send(&sender, p.plain[i], *p.plain[i]->owner);
	for (uint32_t i = 0; i < p.n_history; i++) {
		struct passage *x = p.history[i];
		uint32_t is_hit;
		passage_send(&sender, x, choose(w, x, set_of(&t, x->hash), *x->owner, &is_hit));
		n_hits += is_hit;
	}
	count_forwarded(w, p.n_plain + p.n_history, sender.inner_bytes);
	w->counters.history_packets += p.n_history;
	w->counters.pin_hits += n_hits;
	w->history_is_usual = p.n_history > p.n_plain;
}

void history_road_take(struct mux_worker *w, const struct gateways *g, struct passage *passages,
                       const struct passage *end)
{
	if (w->history_is_usual)
		take_all(w, g, passages, end);
	else
		take_parted(w, g, passages, end);
}
