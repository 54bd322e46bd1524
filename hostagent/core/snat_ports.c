// Which port a new flow gets.
#include <string.h>

#include "common/base/check.h"
#include "hostagent/core/snat_state.h"

// ---- The way through the window ----

// A permutation of the numbers of `bits` bits: each step can be undone. The cursor counts, the ports do not (RFC 6056).
static uint32_t permute(uint64_t key, uint32_t bits, uint32_t x)
{
	uint32_t mask = (1u << bits) - 1;
	uint32_t shift = bits / 2 + 1;
	for (uint32_t round = 0; round < 3; round++) {
		x = (x + (uint32_t)key) & mask;
		x ^= x >> shift;
		x = (x * ((uint32_t)(key >> 32) | 1)) & mask;
		key = key * 0x9e3779b97f4a7c15ULL + 1;
	}
	return x ^ (x >> shift);
}

struct walk {
	uint64_t key;
	uint32_t bits;
	uint32_t n_ports;
	uint32_t n_left; // steps
	uint32_t n_probes; // ports that were given
	uint32_t cursor;
};

static struct walk walk_begin(const struct snat *s, const struct snat_dip *d, uint32_t cursor)
{
	uint32_t n_ports = d->window * SNAT_UNIT_PORTS;
	return (struct walk){
		.key = s->seed ^ ((uint64_t)d->dip << 32 | d->dip),
		.bits = n_ports < 2 ? 1 : 32u - (uint32_t)__builtin_clz(n_ports - 1),
		.n_ports = n_ports,
		.n_left = 2 * SNAT_PROBES,
		.cursor = cursor,
	};
}

// The next port as its place in the list; false when enough were tried. At least half of the numbers are places.
static bool walk_next(struct walk *w, uint32_t *ret_place)
{
	while (w->n_left > 0 && w->n_probes < SNAT_PROBES) {
		w->n_left--;
		uint32_t place = permute(w->key, w->bits, w->cursor++ & ((1u << w->bits) - 1));
		if (place >= w->n_ports)
			continue;
		w->n_probes++;
		*ret_place = place;
		return true;
	}
	return false;
}

// Did the walk come to every port of the DIP?
static bool walk_saw_all(const struct walk *w, const struct snat_dip *d)
{
	return w->n_ports == d->n_blocks * SNAT_UNIT_PORTS && w->n_ports <= SNAT_PROBES;
}

// ---- Finding a port ----

enum search { FOUND, NOTHING_FREE, SEARCH_GOES_ON };

// Makes the tuple one with that port, and says whether its inbound key is nobody's.
static bool is_free_towards(const struct flow_table *flows, const struct snat_block *b, uint32_t offset,
                            struct flow_tuple *tuple, struct snat_choice *choice)
{
	tuple->vip = b->vip;
	tuple->vip_port = be16_from((uint16_t)(b->first_port + offset));
	struct flow_key key = flow_tuple_key(tuple, FLOW_INBOUND);
	choice->inbound_hash = flow_table_hash(flows, &key);
	return flow_table_lookup(flows, &key, choice->inbound_hash) == NULL;
}

// More ports are in use than half of the window: it doubles.
static void widen_window(struct snat_dip *d, const struct agent_snat *policy, uint32_t n_ports)
{
	uint32_t n_kept = (policy->prealloc_ports + SNAT_UNIT_PORTS - 1) / SNAT_UNIT_PORTS;
	uint32_t n_wanted = (2 * n_ports + SNAT_UNIT_PORTS - 1) / SNAT_UNIT_PORTS;
	if (d->peak < n_ports)
		d->peak = n_ports;
	if (d->window < n_wanted)
		d->window = 2 * d->window > n_wanted ? 2 * d->window : n_wanted;
	if (d->window < n_kept)
		d->window = n_kept;
	if (d->window > d->n_blocks)
		d->window = d->n_blocks;
}

static void take_place(const struct snat *s, const struct snat_dip *d, uint32_t place, struct snat_choice *choice)
{
	choice->block = snat_list_at(s, d, place / SNAT_UNIT_PORTS);
	choice->offset = place % SNAT_UNIT_PORTS;
}

// Where a destination goes on; one that is new begins at a place of its own, and each time at another.
static uint32_t cursor_of(const struct snat *s, const struct snat_dip *d, const struct snat_destination *known,
                          const struct flow_tuple *tuple)
{
	if (known != NULL)
		return known->cursor;
	uint16_t slot = (uint16_t)(d - s->dips);
	return (uint32_t)(snat_destination_hash(s, slot, tuple->remote, tuple->remote_port) >> 32) + d->n_begun;
}

// A port towards this destination: any that is in use towards others only.
static enum search choose_tcp(struct snat *s, const struct flow_table *flows, const struct agent_snat *policy,
                              struct flow_tuple *tuple, struct snat_choice *choice)
{
	struct snat_dip *d = &s->dips[choice->slot];
	struct snat_destination *known = snat_destination_lookup(s, choice->slot, tuple->remote, tuple->remote_port);
	uint32_t n_used = known == NULL ? 0 : known->n_used;
	choice->destination = known;
	widen_window(d, policy, n_used + 1);
	if (d->n_blocks == 0 || n_used >= snat_leased_ports(d))
		return NOTHING_FREE; // without a search
	struct walk w = walk_begin(s, d, cursor_of(s, d, known, tuple));
	enum search found = SEARCH_GOES_ON;
	for (uint32_t place; found != FOUND && walk_next(&w, &place);) {
		take_place(s, d, place, choice);
		if (is_free_towards(flows, &s->blocks[choice->block], choice->offset, tuple, choice))
			found = FOUND;
	}
	choice->cursor = w.cursor;
	if (found == FOUND)
		return FOUND;
	d->window = d->n_blocks;
	d->n_begun++; // where a destination without an entry goes on
	if (known != NULL)
		known->cursor = w.cursor;
	return walk_saw_all(&w, d) ? NOTHING_FREE : SEARCH_GOES_ON;
}

// The DIP:port's own port, or one that is nobody's.
static enum search choose_mapped(struct snat *s, const struct flow_table *flows, const struct agent_snat *policy,
                                 struct flow_tuple *tuple, struct snat_choice *choice)
{
	struct snat_dip *d = &s->dips[choice->slot];
	enum mapped_protocol protocol = mapped_protocol_of(tuple->protocol);
	const struct snat_mapping *m = snat_mapping_lookup(s, choice->slot, tuple->dip_port, protocol, NO_BLOCK, 0);
	if (m != NULL) {
		choice->block = m->block;
		choice->offset = m->offset;
		bool is_free = is_free_towards(flows, &s->blocks[m->block], m->offset, tuple, choice);
		return is_free ? FOUND : NOTHING_FREE;
	}
	widen_window(d, policy, d->n_mapped[protocol] + 1);
	if (d->n_mapped[protocol] >= snat_leased_ports(d) || s->n_mappings == s->limits.n_mappings)
		return NOTHING_FREE;
	struct walk w = walk_begin(s, d, d->cursor[protocol]);
	enum search found = SEARCH_GOES_ON;
	for (uint32_t place; found != FOUND && walk_next(&w, &place);) {
		take_place(s, d, place, choice);
		const struct snat_block *b = &s->blocks[choice->block];
		if ((b->mapped[protocol] >> choice->offset & 1) == 0 && !b->is_contended &&
		    is_free_towards(flows, b, choice->offset, tuple, choice))
			found = FOUND;
	}
	d->cursor[protocol] = w.cursor;
	if (found == FOUND)
		return FOUND;
	d->window = d->n_blocks;
	return walk_saw_all(&w, d) ? NOTHING_FREE : SEARCH_GOES_ON;
}

// ---- When there is none ----

static enum snat_outcome refuse(struct snat *s, struct snat_choice *choice, const struct flow_tuple *tuple,
                                enum error_code code)
{
	struct snat_dip *d = &s->dips[choice->slot];
	choice->code = code;
	__atomic_store_n(&d->n_refused, d->n_refused + 1, __ATOMIC_RELAXED);
	if (d->exhausted_at.us != 0 && mono_elapsed_us(d->exhausted_at, s->now) < 1000000)
		return SNAT_REFUSED;
	d->exhausted_at = s->now;
	d->exhausted_remote = snat_remote_addr(tuple->remote, tuple->remote6);
	d->exhausted_port = tuple->remote_port;
	d->exhausted_protocol = tuple->protocol;
	d->exhausted_code = code;
	snat_report_due(s, choice->slot, SNAT_REPORT_EXHAUSTED);
	return SNAT_REFUSED;
}

static enum snat_outcome hold_or_refuse(struct snat *s, struct snat_choice *choice, const struct flow_tuple *tuple,
                                        enum search search, bool is_last)
{
	struct snat_dip *d = &s->dips[choice->slot];
	bool is_unreachable = !s->is_up && mono_elapsed_us(s->link_since, s->now) >= SNAT_HOLD_US;
	if (is_last)
		return refuse(s, choice, tuple, d->is_asking ? ERR_TIMEOUT : d->refusal);
	if (search == NOTHING_FREE && s->is_rebuilt) {
		if (snat_leased_ports(d) >= d->max_ports)
			return refuse(s, choice, tuple, 0);
		if (mono_is_before(s->now, d->refused_until))
			return refuse(s, choice, tuple, d->refusal);
		if (is_unreachable)
			return refuse(s, choice, tuple, ERR_UNAVAILABLE);
		snat_ask(s, choice->slot);
	}
	if (search == NOTHING_FREE && d->n_waiting < SNAT_HOLD_PACKETS)
		d->n_waiting++;
	if (search == SEARCH_GOES_ON && !d->is_later)
		d->is_later = index_queue_push(&s->later, choice->slot);
	d->has_held = true;
	d->held = s->now;
	return SNAT_HELD;
}

// Without a leader for so long that the leases may have been given to others?
static bool are_leases_gone(const struct snat *s, const struct agent_config *config)
{
	return !s->is_up && config->snat_gone_s != 0 &&
	       mono_elapsed_us(s->link_since, s->now) >= (uint64_t)config->snat_gone_s * 1000000;
}

enum snat_outcome snat_choose(struct snat *s, const struct flow_table *flows, const struct agent_config *config,
                              const struct agent_snat *policy, struct flow_tuple *tuple, bool is_last,
                              struct snat_choice *ret_choice)
{
	snat_settle(s, flows);
	memset(ret_choice, 0, sizeof *ret_choice);
	ret_choice->slot = snat_dip_lookup(s, tuple->dip);
	if (ret_choice->slot == SNAT_NO_SLOT)
		ret_choice->slot = snat_dip_add(s, tuple->dip);
	if (ret_choice->slot == SNAT_NO_SLOT)
		return SNAT_REFUSED;
	s->dips[ret_choice->slot].max_ports = policy->max_ports;
	if (are_leases_gone(s, config))
		return refuse(s, ret_choice, tuple, ERR_UNAVAILABLE);
	if (!s->is_rebuilt)
		return hold_or_refuse(s, ret_choice, tuple, NOTHING_FREE, is_last);
	enum search search = tuple->protocol == IP_PROTO_TCP ? choose_tcp(s, flows, policy, tuple, ret_choice)
	                                                     : choose_mapped(s, flows, policy, tuple, ret_choice);
	if (search == FOUND)
		return SNAT_CHOSEN;
	return hold_or_refuse(s, ret_choice, tuple, search, is_last);
}

void snat_prefetch_destination(const struct snat *s, const struct flow_tuple *tuple)
{
	uint16_t slot = snat_dip_lookup(s, tuple->dip);
	if (slot == SNAT_NO_SLOT || tuple->protocol != IP_PROTO_TCP)
		return;
	uint64_t hash = snat_destination_hash(s, slot, tuple->remote, tuple->remote_port);
	cache_prefetch(&s->destinations[(uint32_t)hash & s->destination_mask]);
}

void snat_prefetch_port(const struct snat *s, const struct flow_table *flows, const struct flow_tuple *tuple)
{
	uint16_t slot = snat_dip_lookup(s, tuple->dip);
	if (slot == SNAT_NO_SLOT || tuple->protocol != IP_PROTO_TCP || s->dips[slot].window == 0)
		return;
	const struct snat_dip *d = &s->dips[slot];
	const struct snat_destination *known = snat_destination_lookup(s, slot, tuple->remote, tuple->remote_port);
	struct walk w = walk_begin(s, d, cursor_of(s, d, known, tuple));
	uint32_t place;
	if (!walk_next(&w, &place))
		return;
	const struct snat_block *b = &s->blocks[snat_list_at(s, d, place / SNAT_UNIT_PORTS)];
	struct flow_key key =
		flow_key_make(tuple->remote, b->vip, tuple->remote_port,
	                  be16_from((uint16_t)(b->first_port + place % SNAT_UNIT_PORTS)), tuple->protocol, FLOW_INBOUND);
	flow_table_prefetch(flows, flow_table_hash(flows, &key));
}

// ---- Questions ----

bool snat_has_port(const struct snat *s, be32 vip, be16 vip_port, be32 dip)
{
	uint16_t slot = snat_dip_lookup(s, dip);
	return slot != SNAT_NO_SLOT && snat_block_lookup(s, vip, be16_to(vip_port), slot) != NO_BLOCK;
}

bool snat_take_answer(struct snat *s, be32 dip)
{
	uint16_t slot = snat_dip_lookup(s, dip);
	return slot != SNAT_NO_SLOT && token_bucket_take(&s->dips[slot].answers, s->now);
}
