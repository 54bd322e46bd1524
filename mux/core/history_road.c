#include "mux/core/history_road.h"

#include "common/model/flow_hash.h"

// The set of a worker without pins. Nothing is found in it, so that it is never written.
static const struct pin_set no_pins;

static inline struct pin_set *set_of(const struct pins *pins, uint64_t hash)
{
	return pins == NULL ? (struct pin_set *)&no_pins : pins_set_of(pins, hash);
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
	const struct encap_template *pinned = find_pin(w, e, hash, set_of(w->pins, hash));
	w->counters.history_packets++;
	w->counters.pin_hits += pinned != NULL;
	return pinned != NULL ? pinned : &e->templates[owner & ~BUCKET_HAD_OTHERS];
}

// ---- in a burst ----

// Those whose bucket had other owners.
struct history_road {
	uint32_t n;
	struct passage *passages[MUX_BURST_MAX];
};

// Begins to load a packet's pins.
static inline void load_pins(const struct pins *pins, struct passage *x)
{
	x->pins = set_of(pins, x->hash);
	__builtin_prefetch(x->pins);
}

// Sends those whose bucket has had one owner, and gathers the rest: for bursts in which one of the two is rare.
APART static void send_plain(struct mux_worker *w, const struct gateways *g, struct passage *passages,
                             const struct passage *end, struct history_road *ret_rest)
{
	struct passage_sender sender = passage_sender_of(w, g);
	uint32_t n_rest = 0;
	for (struct passage *x = passages; x < end; x++) {
		const uint32_t owner = *x->owner;
		if ((owner & BUCKET_HAD_OTHERS) != 0) {
			load_pins(w->pins, x);
			ret_rest->passages[n_rest++] = x;
			continue;
		}
		passage_send(&sender, x, &x->entry->templates[owner]);
	}
	count_forwarded(w, (uint64_t)(end - passages) - n_rest, sender.inner_bytes);
	ret_rest->n = n_rest;
}

// The same for bursts of both: which is which cannot be predicted then, so that they are parted without a branch before any is sent.
APART static void send_plain_of_mixed(struct mux_worker *w, const struct gateways *g, struct passage *passages,
                                      const struct passage *end, struct history_road *ret_rest)
{
	struct passage_sender sender = passage_sender_of(w, g);
	struct passage *plain[MUX_BURST_MAX];
	uint32_t n_plain = 0;
	uint32_t n_rest = 0;
	for (struct passage *x = passages; x < end; x++) {
		const uint32_t had_others = *x->owner / BUCKET_HAD_OTHERS;
		plain[n_plain] = x;
		ret_rest->passages[n_rest] = x;
		n_plain += 1 - had_others;
		n_rest += had_others;
	}
	for (uint32_t i = 0; i < n_rest; i++)
		load_pins(w->pins, ret_rest->passages[i]);
	for (uint32_t i = 0; i < n_plain; i++)
		passage_send(&sender, plain[i], &plain[i]->entry->templates[*plain[i]->owner]);
	count_forwarded(w, n_plain, sender.inner_bytes);
	ret_rest->n = n_rest;
}

APART static void send_by_pins(struct mux_worker *w, const struct gateways *g, const struct history_road *r)
{
	struct passage_sender sender = passage_sender_of(w, g);
	const uint32_t n = r->n;
	uint64_t n_hits = 0;
	for (uint32_t i = 0; i < n; i++) {
		const struct passage *x = r->passages[i];
		const struct encap_template *template = find_pin(w, x->entry, x->hash, x->pins);
		if (template != NULL)
			n_hits++;
		else
			template = &x->entry->templates[*x->owner & ~BUCKET_HAD_OTHERS];
		passage_send(&sender, x, template);
	}
	count_forwarded(w, n, sender.inner_bytes);
	w->counters.history_packets += n;
	w->counters.pin_hits += n_hits;
}

// What the next burst will be like, this one tells: more than a sixteenth and less than half had other owners.
static bool is_mixed(uint32_t n_history, uint64_t n)
{
	return n_history * 16 > n && n_history * 2 < n;
}

void history_road_take(struct mux_worker *w, const struct gateways *g, struct passage *passages,
                       const struct passage *end)
{
	struct history_road rest;
	if (w->history_is_mixed)
		send_plain_of_mixed(w, g, passages, end, &rest);
	else
		send_plain(w, g, passages, end, &rest);
	w->history_is_mixed = is_mixed(rest.n, (uint64_t)(end - passages));
	if (rest.n > 0)
		send_by_pins(w, g, &rest);
}

void passage_send_by_ways(struct mux_worker *w, const struct passage *passages, const struct passage *end)
{
	for (const struct passage *x = passages; x < end; x++)
		if (encapsulate(w, x->frame, history_template_of(w, x->entry, x->hash), x->hash, x->inner_bytes))
			count_vip(&w->vips->endpoints[x->entry->slot], x->inner_bytes);
}
