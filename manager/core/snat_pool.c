#include "manager/core/snat_pool.h"

#include <string.h>

#include "common/base/check.h"
#include "common/base/hash.h"
#include "common/base/memory.h"
#include "manager/core/snat_pool_parts.h"

// ---- the scrambled order ----

// Of an odd number, modulo 2^32: Newton's iteration doubles the right bits.
static uint32_t inverse_of(uint32_t odd)
{
	uint32_t inverse = odd;
	for (int i = 0; i < 5; i++)
		inverse *= 2 - odd * inverse;
	return inverse;
}

static struct snat_scramble make_scramble(uint32_t n, uint64_t seed)
{
	struct snat_scramble s = { .mask = n - 1, .add = (uint32_t)hash_mix64(seed + 1) };
	uint32_t n_bits = (uint32_t)__builtin_ctz(n);
	s.shift = (n_bits + 1) / 2; // at least half: x ^= x >> shift is then its own inverse
	uint64_t factors = hash_mix64(seed + 2);
	s.factor[0] = (uint32_t)factors | 1;
	s.factor[1] = (uint32_t)(factors >> 32) | 1;
	s.inverse[0] = inverse_of(s.factor[0]);
	s.inverse[1] = inverse_of(s.factor[1]);
	return s;
}

uint32_t snat_pool_range_at(const struct snat_pool *p, uint32_t position)
{
	const struct snat_scramble *s = &p->scramble;
	uint32_t x = (position * s->factor[0] + s->add) & s->mask;
	x ^= x >> s->shift;
	return (x * s->factor[1]) & s->mask;
}

uint32_t snat_pool_position_of(const struct snat_pool *p, uint32_t range)
{
	const struct snat_scramble *s = &p->scramble;
	uint32_t x = (range * s->inverse[1]) & s->mask;
	x ^= x >> s->shift;
	return ((x - s->add) * s->inverse[0]) & s->mask;
}

// ---- chains ----

// Links a range into a chain behind another one, or, after SNAT_NO_RANGE, first.
static void link_after(struct snat_pool *p, struct snat_chain *chain, uint16_t after, uint16_t position)
{
	struct snat_range *r = &p->ranges[position];
	r->previous = after;
	r->next = after == SNAT_NO_RANGE ? chain->first : p->ranges[after].next;
	if (after == SNAT_NO_RANGE)
		chain->first = position;
	else
		p->ranges[after].next = position;
	if (r->next == SNAT_NO_RANGE)
		chain->last = position;
	else
		p->ranges[r->next].previous = position;
}

void snat_pool_append(struct snat_pool *p, struct snat_chain *chain, uint16_t position)
{
	link_after(p, chain, chain->last, position);
}

static void unlink_range(struct snat_pool *p, struct snat_chain *chain, uint16_t position)
{
	const struct snat_range *r = &p->ranges[position];
	if (r->previous == SNAT_NO_RANGE)
		chain->first = r->next;
	else
		p->ranges[r->previous].next = r->next;
	if (r->next == SNAT_NO_RANGE)
		chain->last = r->previous;
	else
		p->ranges[r->next].previous = r->previous;
}

// ---- life ----

void snat_pool_set_shape(struct snat_pool *p, uint32_t range_size, uint64_t seed, struct snat_range *ranges)
{
	p->range_size = range_size;
	p->n_ranges = 65536 / range_size;
	p->seed = seed;
	p->scramble = make_scramble(p->n_ranges, seed);
	p->ranges = ranges;
	p->freed = SNAT_EMPTY_CHAIN;
	p->cursor = 0;
	p->n_excluded = 0;
	p->n_unused = p->n_ranges;
	p->n_freed = 0;
	p->n_held = 0;
	memset(p->excluded, 0, sizeof p->excluded);
}

int snat_pool_create(const struct ip_addr *vip, uint32_t range_size, uint64_t seed, struct snat_pool **ret_pool)
{
	struct snat_pool *p = memory_array(1, sizeof *p);
	struct snat_range *ranges = memory_array(65536 / range_size, sizeof *ranges);
	if (p == NULL || ranges == NULL) {
		memory_free(p);
		memory_free(ranges);
		return ERR_NO_MEMORY;
	}
	p->vip = *vip;
	snat_pool_set_shape(p, range_size, seed, ranges);
	*ret_pool = p;
	return 0;
}

void snat_pool_destroy(struct snat_pool *p)
{
	if (p == NULL)
		return;
	for (uint32_t i = 0; i < p->n_holders; i++)
		memory_free(p->holders[i]);
	memory_free(p->holders);
	memory_free(p->ranges);
	memory_free(p);
}

// ---- exclusions ----

static void exclude(struct snat_pool *p, uint32_t range)
{
	uint16_t position = (uint16_t)snat_pool_position_of(p, range);
	const struct snat_range *r = &p->ranges[position];
	p->excluded[range / 64] |= 1ULL << (range % 64);
	p->n_excluded++;
	if (r->time_ms == 0) {
		p->n_unused--;
	} else if (r->holder == NULL) {
		unlink_range(p, &p->freed, position);
		p->n_freed--;
	}
}

// A range that was freed before takes the place in the chain that its time gives it: behind those of the same time.
static void insert_freed(struct snat_pool *p, uint16_t position)
{
	uint16_t after = p->freed.last;
	while (after != SNAT_NO_RANGE && p->ranges[after].time_ms > p->ranges[position].time_ms)
		after = p->ranges[after].previous;
	link_after(p, &p->freed, after, position);
	p->n_freed++;
}

static void include(struct snat_pool *p, uint32_t range)
{
	uint16_t position = (uint16_t)snat_pool_position_of(p, range);
	const struct snat_range *r = &p->ranges[position];
	p->excluded[range / 64] &= ~(1ULL << (range % 64));
	p->n_excluded--;
	if (r->time_ms == 0) {
		p->n_unused++;
		if (position < p->cursor)
			p->cursor = position;
	} else if (r->holder == NULL) {
		insert_freed(p, position);
	}
}

static void mark(uint64_t *bits, uint32_t range)
{
	bits[range / 64] |= 1ULL << (range % 64);
}

void snat_pool_set_exclusions(struct snat_pool *p, const struct vip_config *vip)
{
	uint64_t wanted[SNAT_UNITS / 64] = { 0 };
	if (vip != NULL) {
		for (uint32_t range = 0; range < vip->snat.first_port / p->range_size; range++)
			mark(wanted, range);
		for (uint32_t i = 0; i < vip->n_endpoints; i++)
			mark(wanted, vip->endpoints[i].port / p->range_size);
	}
	for (uint32_t word = 0; word < SNAT_UNITS / 64; word++) {
		for (uint64_t diff = wanted[word] ^ p->excluded[word]; diff != 0; diff &= diff - 1) {
			uint32_t range = word * 64 + (uint32_t)__builtin_ctzll(diff);
			if (snat_pool_is_excluded(p, range))
				include(p, range);
			else
				exclude(p, range);
		}
	}
}

// ---- holders ----

// The index of the DIP's holder, or where it belongs.
static uint32_t find_holder(const struct snat_pool *p, const struct ip_addr *dip)
{
	uint32_t low = 0;
	uint32_t high = p->n_holders;
	while (low < high) {
		uint32_t middle = low + (high - low) / 2;
		if (ip_addr_compare(&p->holders[middle]->dip, dip) < 0)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

struct snat_holder *snat_pool_lookup_holder(const struct snat_pool *p, const struct ip_addr *dip)
{
	uint32_t i = find_holder(p, dip);
	return i < p->n_holders && ip_addr_equal(&p->holders[i]->dip, dip) ? p->holders[i] : NULL;
}

struct snat_holder *snat_pool_insert_holder(struct snat_pool *p, const struct ip_addr *dip)
{
	uint32_t i = find_holder(p, dip);
	if (i < p->n_holders && ip_addr_equal(&p->holders[i]->dip, dip))
		return p->holders[i];
	struct snat_holder **holders = memory_grow(p->holders, p->n_holders, &p->capacity, sizeof *holders);
	if (holders == NULL)
		return NULL;
	p->holders = holders;
	struct snat_holder *holder = memory_array(1, sizeof *holder);
	if (holder == NULL)
		return NULL;
	*holder = (struct snat_holder){ .dip = *dip, .held = SNAT_EMPTY_CHAIN };
	memmove(p->holders + i + 1, p->holders + i, (p->n_holders - i) * sizeof *p->holders);
	p->holders[i] = holder;
	p->n_holders++;
	return holder;
}

void snat_pool_remove_holder(struct snat_pool *p, struct snat_holder *holder)
{
	CHECK(holder->n_ranges == 0);
	uint32_t i = find_holder(p, &holder->dip);
	memmove(p->holders + i, p->holders + i + 1, (p->n_holders - i - 1) * sizeof *p->holders);
	p->n_holders--;
	memory_free(holder);
}

// ---- leases ----

struct lease snat_pool_lease_at(const struct snat_pool *p, uint16_t position)
{
	const struct snat_range *r = &p->ranges[position];
	return (struct lease){
		.vip = p->vip,
		.dip = r->holder != NULL ? r->holder->dip : (struct ip_addr){ { 0 } },
		.first_port = (uint16_t)(snat_pool_range_at(p, position) * p->range_size),
		.n_ports = (uint16_t)p->range_size,
		.epoch = r->epoch,
		.granted_ms = r->time_ms,
	};
}

static bool has_ripe(const struct snat_pool *p, struct snat_now now)
{
	return p->freed.first != SNAT_NO_RANGE && p->ranges[p->freed.first].time_ms + now.quarantine_ms <= now.ms;
}

bool snat_pool_has_room(const struct snat_pool *p, struct snat_now now)
{
	return p->n_unused > 0 || has_ripe(p, now);
}

// Takes the range that comes next out of the unused or freed ones.
static uint16_t take_next(struct snat_pool *p, struct snat_now now)
{
	if (p->n_unused > 0) {
		while (p->ranges[p->cursor].time_ms != 0 || snat_pool_is_excluded(p, snat_pool_range_at(p, p->cursor)))
			p->cursor++;
		p->n_unused--;
		return (uint16_t)p->cursor++;
	}
	if (!has_ripe(p, now))
		return SNAT_NO_RANGE;
	uint16_t position = p->freed.first;
	unlink_range(p, &p->freed, position);
	p->n_freed--;
	return position;
}

void snat_pool_hold(struct snat_pool *p, struct snat_holder *holder, uint16_t position, uint32_t epoch,
                    uint64_t granted_ms)
{
	struct snat_range *r = &p->ranges[position];
	r->holder = holder;
	r->epoch = epoch;
	r->time_ms = granted_ms;
	snat_pool_append(p, &holder->held, position);
	holder->n_ranges++;
	p->n_held++;
}

bool snat_pool_grant(struct snat_pool *p, struct snat_holder *holder, struct snat_now now, uint32_t epoch,
                     struct lease *ret_lease)
{
	uint16_t position = take_next(p, now);
	if (position == SNAT_NO_RANGE)
		return false;
	snat_pool_hold(p, holder, position, epoch, now.ms);
	*ret_lease = snat_pool_lease_at(p, position);
	return true;
}

bool snat_pool_lookup(const struct snat_pool *p, uint32_t port, struct lease *ret_lease)
{
	uint16_t position = (uint16_t)snat_pool_position_of(p, port / p->range_size);
	if (p->ranges[position].holder == NULL)
		return false;
	*ret_lease = snat_pool_lease_at(p, position);
	return true;
}

bool snat_pool_end(struct snat_pool *p, uint32_t port, uint64_t now_ms, struct lease *ret_lease)
{
	uint32_t range = port / p->range_size;
	uint16_t position = (uint16_t)snat_pool_position_of(p, range);
	struct snat_range *r = &p->ranges[position];
	if (r->holder == NULL)
		return false;
	*ret_lease = snat_pool_lease_at(p, position);
	ret_lease->ended_ms = now_ms;
	unlink_range(p, &r->holder->held, position);
	r->holder->n_ranges--;
	p->n_held--;
	r->holder = NULL;
	r->time_ms = now_ms;
	if (snat_pool_is_excluded(p, range))
		return true;
	snat_pool_append(p, &p->freed, position);
	p->n_freed++;
	return true;
}

bool snat_pool_next_of(const struct snat_pool *p, const struct snat_holder *holder, uint16_t *at,
                       struct lease *ret_lease)
{
	*at = *at == SNAT_NO_RANGE ? holder->held.first : p->ranges[*at].next;
	if (*at == SNAT_NO_RANGE)
		return false;
	*ret_lease = snat_pool_lease_at(p, *at);
	return true;
}

uint32_t snat_pool_count_quarantined(const struct snat_pool *p, struct snat_now now)
{
	uint32_t n = 0;
	uint16_t position = p->freed.last;
	for (; position != SNAT_NO_RANGE && p->ranges[position].time_ms + now.quarantine_ms > now.ms; n++)
		position = p->ranges[position].previous;
	return n;
}
