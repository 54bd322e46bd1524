// How a pool is taken over: into a snapshot and out of it, and into another shape.
#include <stdlib.h>

#include "common/base/check.h"
#include "common/base/memory.h"
#include "manager/core/snat_pool_parts.h"

// Can this range be taken from the unused ones?
static bool is_unused(const struct snat_pool *p, const struct lease *range, uint16_t *ret_position)
{
	if (range->n_ports != p->range_size || range->first_port % p->range_size != 0)
		return false;
	*ret_position = (uint16_t)snat_pool_position_of(p, range->first_port / p->range_size);
	return p->ranges[*ret_position].time_ms == 0;
}

bool snat_pool_restore_held(struct snat_pool *p, const struct lease *lease)
{
	uint16_t position;
	struct snat_holder *holder = snat_pool_lookup_holder(p, &lease->dip);
	if (holder == NULL || lease->granted_ms == 0 || !is_unused(p, lease, &position))
		return false;
	p->n_unused -= !snat_pool_is_excluded(p, lease->first_port / p->range_size);
	snat_pool_hold(p, holder, position, lease->epoch, lease->granted_ms);
	return true;
}

bool snat_pool_restore_freed(struct snat_pool *p, const struct lease *range)
{
	uint16_t position;
	if (range->ended_ms == 0 || !is_unused(p, range, &position))
		return false;
	p->ranges[position].time_ms = range->ended_ms;
	if (snat_pool_is_excluded(p, range->first_port / p->range_size))
		return true;
	p->n_unused--;
	p->n_freed++;
	snat_pool_append(p, &p->freed, position);
	return true;
}

static struct lease freed_at(const struct snat_pool *p, uint16_t position)
{
	struct lease l = snat_pool_lease_at(p, position);
	l.ended_ms = l.granted_ms;
	l.granted_ms = 0;
	l.epoch = 0;
	return l;
}

#define AFTER_CHAIN 0x10000u // from here on, *at - AFTER_CHAIN is the next range to look at

bool snat_pool_next_freed(const struct snat_pool *p, uint32_t *at, struct lease *ret_range)
{
	if (*at < AFTER_CHAIN) {
		uint16_t position = *at == 0 ? p->freed.first : p->ranges[*at - 1].next;
		if (position != SNAT_NO_RANGE) {
			*at = position + 1u;
			*ret_range = freed_at(p, position);
			return true;
		}
		*at = AFTER_CHAIN;
	}
	while (*at - AFTER_CHAIN < p->n_ranges) {
		uint32_t range = (*at)++ - AFTER_CHAIN;
		uint16_t position = (uint16_t)snat_pool_position_of(p, range);
		const struct snat_range *r = &p->ranges[position];
		if (snat_pool_is_excluded(p, range) && r->holder == NULL && r->time_ms != 0) {
			*ret_range = freed_at(p, position);
			return true;
		}
	}
	return false;
}

// ---- another shape ----

struct aged {
	uint64_t time_ms;
	uint32_t position;
};

static int compare_aged(const void *a, const void *b)
{
	const struct aged *x = a;
	const struct aged *y = b;
	if (x->time_ms != y->time_ms)
		return x->time_ms < y->time_ms ? -1 : 1;
	return x->position < y->position ? -1 : x->position > y->position;
}

static void carry_held(struct snat_pool *p, const struct snat_pool *old, struct snat_holder *holder)
{
	uint16_t at = holder->held.first;
	holder->held = SNAT_EMPTY_CHAIN;
	holder->n_ranges = 0;
	for (; at != SNAT_NO_RANGE; at = old->ranges[at].next) {
		const struct snat_range *r = &old->ranges[at];
		uint16_t position = (uint16_t)snat_pool_position_of(p, snat_pool_range_at(old, at));
		snat_pool_hold(p, holder, position, r->epoch, r->time_ms);
		p->n_unused--;
	}
}

// Every range that holds a freed port counts as freed when the last of its ports was.
static void carry_freed_times(struct snat_pool *p, const struct snat_pool *old)
{
	for (uint16_t at = old->freed.first; at != SNAT_NO_RANGE; at = old->ranges[at].next) {
		uint32_t first_port = snat_pool_range_at(old, at) * old->range_size;
		for (uint32_t port = first_port; port < first_port + old->range_size; port += SNAT_UNIT_PORTS) {
			struct snat_range *r = &p->ranges[snat_pool_position_of(p, port / p->range_size)];
			if (r->time_ms < old->ranges[at].time_ms)
				r->time_ms = old->ranges[at].time_ms;
		}
	}
}

static void chain_freed(struct snat_pool *p, struct aged *aged)
{
	uint32_t n = 0;
	for (uint32_t i = 0; i < p->n_ranges; i++)
		if (p->ranges[i].holder == NULL && p->ranges[i].time_ms != 0)
			aged[n++] = (struct aged){ .time_ms = p->ranges[i].time_ms, .position = i };
	qsort(aged, n, sizeof *aged, compare_aged);
	for (uint32_t i = 0; i < n; i++)
		snat_pool_append(p, &p->freed, (uint16_t)aged[i].position);
	p->n_unused -= n;
	p->n_freed = n;
}

int snat_pool_reshape(struct snat_pool *p, uint32_t range_size, uint64_t seed)
{
	CHECK(p->n_held == 0 || range_size == p->range_size);
	snat_pool_set_exclusions(p, NULL); // so that all that was freed is in the chain
	struct snat_pool old = *p;
	uint32_t n_ranges = 65536 / range_size;
	struct snat_range *ranges = memory_array(n_ranges, sizeof *ranges);
	struct aged *aged = memory_array(n_ranges, sizeof *aged);
	if (ranges == NULL || aged == NULL) {
		memory_free(ranges);
		memory_free(aged);
		return ERR_NO_MEMORY;
	}
	snat_pool_set_shape(p, range_size, seed, ranges);
	for (uint32_t i = 0; i < p->n_holders; i++)
		carry_held(p, &old, p->holders[i]);
	carry_freed_times(p, &old);
	chain_freed(p, aged);
	memory_free(old.ranges);
	memory_free(aged);
	return 0;
}
