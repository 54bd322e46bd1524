#include "common/packet/fragments.h"

#include <string.h>

#include "common/base/hash.h"

enum datagram_state {
	DATAGRAM_FREE, // the zeroed memory of a new table is so
	DATAGRAM_WAITS, // for its first fragment
	DATAGRAM_DECIDED,
	DATAGRAM_REFUSED, // the first one was dropped
	DATAGRAM_SPOILED, // something of it overlapped
};

struct piece {
	uint16_t begin; // units of 8 bytes
	uint16_t end; // bytes
};

struct datagram_key {
	uint64_t addrs; // of IPv6 a hash
	uint32_t id; // of IPv4 with the protocol
	bool is_ip6;
} PACKED;

struct fragment_datagram {
	struct datagram_key key;
	uint8_t state;
	uint8_t n_pieces;
	uint8_t n_waiting;
	struct mono_time since;
	uint64_t decision;
	uint32_t n_bytes; // of all pieces
	uint32_t total; // bytes of the datagram's payload; 0: the last piece has not come
	uint16_t waiting; // the first slot of its list, in order of arrival
	struct piece pieces[FRAGMENT_PIECES_MAX];
};

_Static_assert(sizeof(struct fragment_datagram) == 560, "as the header says");

// ---- reading ----

static uint32_t l4_bytes_min(uint8_t protocol)
{
	switch (protocol) {
	case IP_PROTO_TCP: return sizeof(struct tcp_header);
	case IP_PROTO_UDP: return sizeof(struct udp_header);
	case IP_PROTO_ICMP:
	case IP_PROTO_ICMP6: return sizeof(struct icmp_header);
	default: return 1;
	}
}

// In units of eight bytes, and of a datagram whose payload ends within the largest, with what is in front of it.
static bool is_sized_right(const struct fragment *f, uint32_t front_bytes)
{
	return f->end > f->begin && (f->is_last || f->end % 8 == 0) && f->end + front_bytes <= UINT16_MAX;
}

static enum drop_reason parse4(const uint8_t *frame, const struct parsed *p, struct fragment *ret_fragment)
{
	const struct ip4_header *ip = (const struct ip4_header *)(frame + p->l3_off);
	uint32_t flags = be16_to(ip->fragment);
	uint32_t header_bytes = (uint32_t)p->l4_off - p->l3_off;
	struct fragment f = { .src = p->src, .dst = p->dst, .id = ip->id, .protocol = p->protocol };
	f.is_last = (flags & IP4_MORE_FRAGMENTS) == 0;
	f.begin = (flags & IP4_OFFSET_MASK) * 8;
	f.end = f.begin + p->l3_bytes - header_bytes;
	uint32_t l4_min = l4_bytes_min(p->protocol);
	if (!is_sized_right(&f, header_bytes) || (f.begin == 0 ? f.end < l4_min : f.begin < l4_min))
		return DROP_FRAGMENT_MALFORMED;
	*ret_fragment = f;
	return DROP_NONE;
}

static uint32_t end_of(const struct parsed *p)
{
	return (uint32_t)p->l3_off + p->l3_bytes;
}

static struct ip6_walk behind_fragment_header(const uint8_t *frame, const struct parsed *p)
{
	const struct ip6_fragment *h = (const struct ip6_fragment *)(frame + p->fragment_off);
	return (struct ip6_walk){ .off = p->fragment_off + IP6_FRAGMENT_BYTES, .next_header = h->next_header };
}

// The first one has all headers.
static enum drop_reason check_first6(const uint8_t *frame, const struct parsed *p, struct fragment *f)
{
	struct ip6_walk w = behind_fragment_header(frame, p);
	enum drop_reason reason = ip6_walk_extensions(frame, end_of(p), &w);
	if (reason != DROP_NONE || w.next_header == IP_PROTO_FRAGMENT || end_of(p) - w.off < l4_bytes_min(w.next_header))
		return DROP_FRAGMENT_MALFORMED;
	f->protocol = w.next_header;
	const struct udp_header *udp = (const struct udp_header *)(frame + w.off);
	return f->protocol == IP_PROTO_UDP && udp->checksum == 0 ? DROP_UDP6_NO_CHECKSUM : DROP_NONE;
}

// What follows the Fragment header is one piece of the datagram; what is in front of it, every fragment has.
static enum drop_reason parse6(const uint8_t *frame, const struct parsed *p, struct fragment *ret_fragment)
{
	const struct ip6_fragment *h = (const struct ip6_fragment *)(frame + p->fragment_off);
	uint32_t flags = be16_to(h->offset_more);
	uint32_t begin_off = p->fragment_off + IP6_FRAGMENT_BYTES;
	struct fragment f = { .addrs6 = parsed_src6(frame, p), .id = h->id, .protocol = p->protocol };
	f.is_last = (flags & IP6_MORE_FRAGMENTS) == 0;
	f.begin = flags & IP6_OFFSET_MASK;
	f.end = f.begin + end_of(p) - begin_off;
	if (!is_sized_right(&f, (uint32_t)p->fragment_off - p->l3_off - IP6_BYTES))
		return DROP_FRAGMENT_MALFORMED;
	enum drop_reason reason = f.begin == 0 ? check_first6(frame, p, &f) : DROP_NONE;
	if (reason == DROP_NONE)
		*ret_fragment = f;
	return reason;
}

enum drop_reason fragment_parse(const uint8_t *frame, const struct parsed *p, struct fragment *ret_fragment)
{
	return p->is_ip6 ? parse6(frame, p, ret_fragment) : parse4(frame, p, ret_fragment);
}

void fragment_read_ports(const uint8_t *frame, struct parsed *p)
{
	if (p->is_ip6) {
		struct ip6_walk w = behind_fragment_header(frame, p);
		(void)ip6_walk_extensions(frame, end_of(p), &w); // fragment_parse went there
		p->protocol = w.next_header;
		p->l4_off = (uint16_t)w.off;
	}
	const uint8_t *l4 = frame + p->l4_off;
	if (p->protocol != IP_PROTO_TCP && p->protocol != IP_PROTO_UDP)
		return;
	p->src_port = load16(l4);
	p->dst_port = load16(l4 + 2);
	if (p->protocol == IP_PROTO_TCP)
		p->tcp_flags = ((const struct tcp_header *)l4)->flags;
}

// ---- slots ----

static uint16_t pop_free(struct fragments *t)
{
	uint16_t slot = t->free;
	if (slot != FRAGMENT_NO_SLOT)
		t->free = t->slots[slot].next;
	return slot;
}

static void push_free(struct fragments *t, uint16_t slot)
{
	t->slots[slot].datagram = NULL;
	t->slots[slot].next = t->free;
	t->free = slot;
}

static void link_newest(struct fragments *t, uint16_t slot)
{
	struct fragment_slot *s = &t->slots[slot];
	s->newer = FRAGMENT_NO_SLOT;
	s->older = t->newest;
	if (t->newest != FRAGMENT_NO_SLOT)
		t->slots[t->newest].newer = slot;
	else
		t->oldest = slot;
	t->newest = slot;
}

static void unlink_waiting(struct fragments *t, uint16_t slot)
{
	const struct fragment_slot *s = &t->slots[slot];
	if (s->older != FRAGMENT_NO_SLOT)
		t->slots[s->older].newer = s->newer;
	else
		t->oldest = s->newer;
	if (s->newer != FRAGMENT_NO_SLOT)
		t->slots[s->newer].older = s->older;
	else
		t->newest = s->older;
}

static void append_to_datagram(struct fragments *t, struct fragment_datagram *d, uint16_t slot)
{
	uint16_t *at = &d->waiting;
	while (*at != FRAGMENT_NO_SLOT)
		at = &t->slots[*at].next;
	*at = slot;
	t->slots[slot].next = FRAGMENT_NO_SLOT;
	t->slots[slot].datagram = d;
	d->n_waiting++;
}

// Out of all lists.
static void take_out(struct fragments *t, uint16_t slot)
{
	struct fragment_datagram *d = t->slots[slot].datagram;
	uint16_t *at = &d->waiting;
	while (*at != slot)
		at = &t->slots[*at].next;
	*at = t->slots[slot].next;
	d->n_waiting--;
	unlink_waiting(t, slot);
}

static void release(struct fragments *t, uint16_t slot, enum drop_reason reason)
{
	struct fragment_slot *s = &t->slots[slot];
	s->decision = s->datagram->decision;
	s->reason = (uint8_t)reason;
	take_out(t, slot);
	s->datagram = NULL;
	s->next = FRAGMENT_NO_SLOT;
	if (t->released == FRAGMENT_NO_SLOT)
		t->released = slot;
	else
		t->slots[t->last_released].next = slot;
	t->last_released = slot;
}

static void release_all(struct fragments *t, const struct fragment_datagram *d, enum drop_reason reason)
{
	while (d->waiting != FRAGMENT_NO_SLOT)
		release(t, d->waiting, reason);
}

bool fragments_next_released(struct fragments *t, struct fragment_released *ret_released)
{
	uint16_t slot = t->released;
	if (slot == FRAGMENT_NO_SLOT)
		return false;
	const struct fragment_slot *s = &t->slots[slot];
	*ret_released = (struct fragment_released){ slot, (enum drop_reason)s->reason, s->decision };
	t->released = s->next;
	push_free(t, slot);
	return true;
}

void fragments_expire(struct fragments *t, struct mono_time now)
{
	while (t->oldest != FRAGMENT_NO_SLOT && mono_elapsed_us(t->slots[t->oldest].since, now) >= FRAGMENT_TIMEOUT_US)
		release(t, t->oldest, DROP_FRAGMENT_TIMEOUT);
}

// ---- datagrams ----

size_t fragments_memory_bytes(uint32_t n_datagrams)
{
	return n_datagrams * sizeof(struct fragment_datagram);
}

void fragments_init(struct fragments *t, uint32_t n_datagrams, void *memory, uint64_t seed)
{
	*t = (struct fragments){ .datagrams = memory, .n_sets = n_datagrams / FRAGMENT_WAYS, .seed = seed };
	t->oldest = t->newest = t->free = t->released = t->last_released = FRAGMENT_NO_SLOT;
	for (uint16_t slot = FRAGMENT_SLOTS; slot-- > 0;)
		push_free(t, slot);
}

static bool is_over(const struct fragment_datagram *d, struct mono_time now)
{
	return d->state == DATAGRAM_FREE || mono_elapsed_us(d->since, now) >= FRAGMENT_TIMEOUT_US;
}

static void begin_datagram(struct fragments *t, struct fragment_datagram *d, const struct datagram_key *key,
                           struct mono_time now)
{
	if (d->state != DATAGRAM_FREE) {
		bool is_late = is_over(d, now);
		t->counters.evicted += !is_late;
		release_all(t, d, is_late ? DROP_FRAGMENT_TIMEOUT : DROP_FRAGMENT_HOLD_FULL);
	}
	memset(d, 0, offsetof(struct fragment_datagram, pieces));
	d->key = *key;
	d->state = DATAGRAM_WAITS;
	d->since = now;
	d->waiting = FRAGMENT_NO_SLOT;
	t->counters.datagrams++;
}

// Word by word, each step under the seed: who does not know it makes no two pairs of addresses the same.
static uint64_t hash_addrs6(const uint8_t *addrs, uint64_t seed)
{
	uint64_t h = seed;
	for (uint32_t i = 0; i < 32; i += 8)
		h = hash_mix64(h ^ load64(addrs + i)) + seed;
	return h;
}

static struct datagram_key key_of(const struct fragments *t, const struct fragment *f)
{
	if (f->addrs6 != NULL)
		return (struct datagram_key){ hash_addrs6(f->addrs6, t->seed), f->id, true };
	return (struct datagram_key){ (uint64_t)f->src << 32 | f->dst, (uint32_t)f->protocol << 16 | f->id, false };
}

static bool is_of(const struct fragment_datagram *d, const struct datagram_key *key)
{
	return d->state != DATAGRAM_FREE && d->key.addrs == key->addrs && d->key.id == key->id &&
	       d->key.is_ip6 == key->is_ip6;
}

// The entry of the fragment's datagram, which is begun when there is none.
static struct fragment_datagram *find_datagram(struct fragments *t, const struct fragment *f, struct mono_time now)
{
	struct datagram_key key = key_of(t, f);
	uint64_t hash = hash_mix64(hash_mix64(key.addrs ^ t->seed) ^ key.id);
	struct fragment_datagram *set = t->datagrams + (size_t)hash_reduce(hash, t->n_sets) * FRAGMENT_WAYS;
	struct fragment_datagram *victim = set;
	for (uint32_t i = 0; i < FRAGMENT_WAYS; i++) {
		struct fragment_datagram *d = &set[i];
		if (is_of(d, &key)) {
			if (is_over(d, now))
				begin_datagram(t, d, &key, now);
			return d;
		}
		if (!is_over(victim, now) && (is_over(d, now) || mono_is_before(d->since, victim->since)))
			victim = d;
	}
	begin_datagram(t, victim, &key, now);
	return victim;
}

static void forget_when_complete(struct fragment_datagram *d)
{
	if (d->total != 0 && d->n_bytes == d->total && d->waiting == FRAGMENT_NO_SLOT)
		d->state = DATAGRAM_FREE;
}

static void spoil(struct fragments *t, struct fragment_datagram *d)
{
	release_all(t, d, DROP_FRAGMENT_OVERLAP);
	d->state = DATAGRAM_SPOILED;
}

enum fit {
	FIT_NEW,
	FIT_SAME, // it came before
	FIT_OVERLAP,
	FIT_TOO_MANY,
};

// How a fragment fits what came of its datagram before.
static enum fit fit(const struct fragment_datagram *d, const struct fragment *f)
{
	if (d->total != 0 && (f->is_last ? f->end != d->total : f->end >= d->total))
		return FIT_OVERLAP;
	for (uint32_t i = 0; i < d->n_pieces; i++) {
		uint32_t begin = d->pieces[i].begin * 8u;
		uint32_t end = d->pieces[i].end;
		if (begin == f->begin && end == f->end)
			return f->is_last == (end == d->total) ? FIT_SAME : FIT_OVERLAP;
		if ((f->begin < end && begin < f->end) || (f->is_last && end > f->end))
			return FIT_OVERLAP;
	}
	return d->n_pieces < FRAGMENT_PIECES_MAX ? FIT_NEW : FIT_TOO_MANY;
}

static void add_piece(struct fragment_datagram *d, const struct fragment *f)
{
	d->pieces[d->n_pieces++] = (struct piece){ (uint16_t)(f->begin / 8), (uint16_t)f->end };
	d->n_bytes += f->end - f->begin;
	if (f->is_last)
		d->total = f->end;
}

static struct fragment_step refused(enum drop_reason reason)
{
	return (struct fragment_step){ .verdict = FRAGMENT_REFUSED, .reason = reason };
}

// Puts it into a slot; where none is free the oldest gives way, of its own datagram when that has its share.
static struct fragment_step hold(struct fragments *t, struct fragment_datagram *d, struct mono_time now)
{
	bool has_share = d->n_waiting == FRAGMENT_WAITING_MAX;
	uint16_t slot = has_share ? d->waiting : pop_free(t);
	bool gives_way = slot == FRAGMENT_NO_SLOT || has_share;
	if (slot == FRAGMENT_NO_SLOT)
		slot = t->oldest;
	if (slot == FRAGMENT_NO_SLOT) // all are released, and not yet taken
		return refused(DROP_FRAGMENT_HOLD_FULL);
	if (gives_way)
		take_out(t, slot);
	append_to_datagram(t, d, slot);
	t->slots[slot].since = now;
	link_newest(t, slot);
	t->counters.waited++;
	return (struct fragment_step){ .verdict = FRAGMENT_WAITS, .slot = slot, .gave_way = gives_way };
}

struct fragment_step fragments_take(struct fragments *t, const struct fragment *f, struct mono_time now)
{
	struct fragment_datagram *d = find_datagram(t, f, now);
	if (d->state == DATAGRAM_SPOILED)
		return refused(DROP_FRAGMENT_OVERLAP);
	enum fit how = fit(d, f);
	if (how == FIT_OVERLAP || how == FIT_TOO_MANY) {
		spoil(t, d);
		return refused(how == FIT_OVERLAP ? DROP_FRAGMENT_OVERLAP : DROP_FRAGMENT_MALFORMED);
	}
	if (how == FIT_NEW)
		add_piece(d, f);
	if (f->begin == 0)
		return (struct fragment_step){ .verdict = FRAGMENT_FIRST, .datagram = d };
	if (d->state == DATAGRAM_WAITS)
		return hold(t, d, now);
	struct fragment_step step = { .verdict = FRAGMENT_KNOWN, .decision = d->decision };
	if (d->state == DATAGRAM_REFUSED)
		step = refused(DROP_FRAGMENT);
	forget_when_complete(d);
	return step;
}

void fragments_decide(struct fragments *t, struct fragment_datagram *d, uint64_t decision)
{
	d->state = DATAGRAM_DECIDED;
	d->decision = decision;
	release_all(t, d, DROP_NONE);
	forget_when_complete(d);
}

void fragments_refuse(struct fragments *t, struct fragment_datagram *d)
{
	d->state = DATAGRAM_REFUSED;
	release_all(t, d, DROP_FRAGMENT);
	forget_when_complete(d);
}
