#include "hostagent/core/lease_set.h"

#include <stdlib.h>
#include <string.h>

#include "common/base/hash.h"
#include "common/base/memory.h"

#define SLOTS_MIN 64u

// ---- Orders ----

int snat_order_queue_reserve(struct snat_order_queue *q, uint32_t n)
{
	if (q->first > 0) {
		memmove(q->items, q->items + q->first, q->n * sizeof *q->items);
		q->first = 0;
	}
	if (n <= q->capacity - q->n)
		return 0;
	uint64_t capacity = q->capacity == 0 ? 64 : q->capacity;
	while (capacity - q->n < n)
		capacity *= 2;
	struct snat_order *grown = capacity <= UINT32_MAX ? memory_resize(q->items, capacity, sizeof *grown) : NULL;
	if (grown == NULL)
		return ERR_NO_MEMORY;
	q->items = grown;
	q->capacity = (uint32_t)capacity;
	return 0;
}

void snat_order_queue_put(struct snat_order_queue *q, const struct snat_order *order)
{
	q->items[q->first + q->n++] = *order;
}

void snat_order_queue_take(struct snat_order_queue *q, uint32_t n)
{
	q->n -= n;
	q->first = q->n == 0 ? 0 : q->first + n;
}

void snat_order_queue_fini(struct snat_order_queue *q)
{
	memory_free(q->items);
	*q = (struct snat_order_queue){ 0 };
}

static void put_order(struct snat_order_queue *q, enum snat_order_kind kind, const struct held_lease *h)
{
	struct snat_order order = { .kind = kind,
		                        .vip = h->vip,
		                        .dip = h->dip,
		                        .first_port = h->first_port,
		                        .n_ports = h->n_ports,
		                        .epoch = h->epoch };
	snat_order_queue_put(q, &order);
}

// ---- The table ----

static uint32_t slot_start(const struct lease_set *s, be32 vip, uint16_t first_port)
{
	return (uint32_t)(hash_mix64((uint64_t)vip << 16 | first_port) >> 32) & s->mask;
}

// The lease's slot, or the empty one where it would be.
static struct held_lease *find(const struct lease_set *s, be32 vip, uint16_t first_port)
{
	uint32_t i = slot_start(s, vip, first_port);
	while (s->slots[i].state != HELD_NONE && (s->slots[i].vip != vip || s->slots[i].first_port != first_port))
		i = (i + 1) & s->mask;
	return &s->slots[i];
}

const struct held_lease *lease_set_lookup(const struct lease_set *s, be32 vip, uint16_t first_port)
{
	const struct held_lease *h = s->slots == NULL ? NULL : find(s, vip, first_port);
	return h == NULL || h->state == HELD_NONE ? NULL : h;
}

static int reserve(struct lease_set *s, uint32_t n_more)
{
	uint64_t n_slots = s->slots == NULL ? SLOTS_MIN : (uint64_t)s->mask + 1;
	while (n_slots < 2 * ((uint64_t)s->n + n_more))
		n_slots *= 2;
	if (s->slots != NULL && n_slots == (uint64_t)s->mask + 1)
		return 0;
	struct lease_set grown = *s;
	grown.mask = (uint32_t)(n_slots - 1);
	grown.slots = memory_array(n_slots, sizeof *grown.slots);
	if (grown.slots == NULL)
		return ERR_NO_MEMORY;
	for (uint32_t i = 0; s->slots != NULL && i <= s->mask; i++)
		if (s->slots[i].state != HELD_NONE)
			*find(&grown, s->slots[i].vip, s->slots[i].first_port) = s->slots[i];
	memory_free(s->slots);
	*s = grown;
	return 0;
}

static void set_state(struct lease_set *s, struct held_lease *h, enum held_lease_state state)
{
	s->n_returning += (state == HELD_RETURNING) - (h->state == HELD_RETURNING);
	s->n_suspended += (state == HELD_SUSPENDED) - (h->state == HELD_SUSPENDED);
	h->state = (uint8_t)state;
}

// Empties the slot and moves back those behind it that would not be found any more (Knuth 6.4, algorithm R).
static void remove_slot(struct lease_set *s, struct held_lease *h)
{
	set_state(s, h, HELD_NONE);
	s->n--;
	uint32_t hole = (uint32_t)(h - s->slots);
	for (uint32_t i = (hole + 1) & s->mask; s->slots[i].state != HELD_NONE; i = (i + 1) & s->mask) {
		uint32_t start = slot_start(s, s->slots[i].vip, s->slots[i].first_port);
		if (((i - start) & s->mask) < ((i - hole) & s->mask))
			continue; // it begins behind the hole
		s->slots[hole] = s->slots[i];
		s->slots[i].state = HELD_NONE;
		hole = i;
	}
}

void lease_set_fini(struct lease_set *s)
{
	memory_free(s->slots);
	*s = (struct lease_set){ .names = s->names };
}

// ---- Updates ----

static void end_lease(struct lease_set *s, struct held_lease *h, struct snat_order_queue *orders)
{
	if (h->state != HELD_SUSPENDED) // the worker was told then
		put_order(orders, SNAT_ORDER_END, h);
	remove_slot(s, h);
}

// The address in 32 bits; 0: it has no name, and there is nobody to give it one.
static be32 name_of(const struct lease_set *s, const struct ip_addr *addr)
{
	if (ip_addr_is_v4(addr))
		return ip_addr_to_v4(addr);
	return s->names == NULL ? 0 : addr_names_give(s->names, addr->bytes);
}

// The 16 bytes again.
static struct ip_addr addr_of(const struct lease_set *s, be32 name)
{
	struct ip_addr addr;
	if (!addr_is_ip6(name))
		return ip_addr_from_v4(name);
	addr_names_expand(s->names, name, addr.bytes);
	return addr;
}

static void hold_lease(struct lease_set *s, const struct lease *lease, struct snat_order_queue *orders)
{
	be32 vip = name_of(s, &lease->vip);
	be32 dip = name_of(s, &lease->dip);
	struct held_lease *h = find(s, vip, lease->first_port);
	if (h->state != HELD_NONE && (h->epoch != lease->epoch || h->dip != dip || h->n_ports != lease->n_ports)) {
		end_lease(s, h, orders);
		h = find(s, vip, lease->first_port);
	}
	bool is_new = h->state == HELD_NONE;
	if (is_new) {
		*h = (struct held_lease){ .vip = vip,
			                      .dip = dip,
			                      .first_port = lease->first_port,
			                      .n_ports = lease->n_ports,
			                      .epoch = lease->epoch,
			                      .granted_ms = lease->granted_ms };
		s->n++;
	}
	h->seen = s->n_updates;
	// One that is being returned stays so: the return may be carried out in this moment, or is repeated.
	if (!is_new && h->state != HELD_SUSPENDED)
		return;
	set_state(s, h, HELD_GIVEN);
	put_order(orders, SNAT_ORDER_LEASE, h);
}

static void apply_one(struct lease_set *s, const struct lease *lease, struct snat_order_queue *orders)
{
	if (name_of(s, &lease->vip) == 0 || name_of(s, &lease->dip) == 0 ||
	    ip_addr_is_v4(&lease->vip) != ip_addr_is_v4(&lease->dip) ||
	    !lease_range_is_valid(lease->first_port, lease->n_ports))
		return;
	if (lease->ended_ms == 0) {
		hold_lease(s, lease, orders);
		return;
	}
	struct held_lease *h = find(s, name_of(s, &lease->vip), lease->first_port);
	if (h->state != HELD_NONE && h->epoch == lease->epoch)
		end_lease(s, h, orders);
}

static void end_unseen(struct lease_set *s, struct snat_order_queue *orders)
{
	for (uint32_t i = 0; i <= s->mask; i++)
		while (s->slots[i].state != HELD_NONE && s->slots[i].seen != s->n_updates)
			end_lease(s, &s->slots[i], orders); // another may have moved here
}

// What a whole update holds, before it is applied: leases that it does not hold end first.
static void mark_seen(struct lease_set *s, const struct lease_list *leases)
{
	s->n_updates++;
	for (uint32_t i = 0; i < leases->n; i++) {
		const struct lease *lease = &leases->items[i];
		struct held_lease *h = find(s, name_of(s, &lease->vip), lease->first_port);
		if (h->state != HELD_NONE && lease->ended_ms == 0 && h->epoch == lease->epoch)
			h->seen = s->n_updates;
	}
}

int lease_set_apply(struct lease_set *s, const struct lease_list *leases, enum lease_update_kind kind,
                    struct snat_order_queue *orders)
{
	bool is_all = kind != LEASES_CHANGED;
	if (snat_order_queue_reserve(orders, 2 * leases->n + (is_all ? s->n : 0)) != 0 || reserve(s, leases->n) != 0)
		return ERR_NO_MEMORY;
	if (is_all) {
		mark_seen(s, leases);
		end_unseen(s, orders);
	}
	for (uint32_t i = 0; i < leases->n; i++)
		apply_one(s, &leases->items[i], orders);
	return 0;
}

static bool is_detached(const struct lease_set *s, const struct store *store, be32 dip)
{
	struct ip_addr addr = addr_of(s, dip);
	return store_lookup_dip(store, &addr) == NULL;
}

int lease_set_end_detached(struct lease_set *s, const struct store *store, struct snat_order_queue *orders)
{
	if (snat_order_queue_reserve(orders, s->n) != 0)
		return ERR_NO_MEMORY;
	for (uint32_t i = 0; s->slots != NULL && i <= s->mask; i++)
		while (s->slots[i].state != HELD_NONE && is_detached(s, store, s->slots[i].dip))
			end_lease(s, &s->slots[i], orders); // another may have moved here
	return 0;
}

bool lease_set_return(struct lease_set *s, be32 vip, uint16_t first_port, uint32_t epoch)
{
	struct held_lease *h = s->slots == NULL ? NULL : find(s, vip, first_port);
	if (h == NULL || h->state == HELD_NONE || h->epoch != epoch)
		return false;
	set_state(s, h, HELD_RETURNING);
	h->is_asked = false;
	return true;
}

const struct held_lease *lease_set_next_unasked(struct lease_set *s, uint32_t *cursor)
{
	while (s->slots != NULL && *cursor <= s->mask) {
		struct held_lease *h = &s->slots[(*cursor)++];
		if (h->state != HELD_RETURNING || h->is_asked)
			continue;
		h->is_asked = true;
		return h;
	}
	return NULL;
}

const struct held_lease *lease_set_next_returning(const struct lease_set *s, uint32_t *cursor)
{
	while (s->slots != NULL && *cursor <= s->mask) {
		const struct held_lease *h = &s->slots[(*cursor)++];
		if (h->state == HELD_RETURNING)
			return h;
	}
	return NULL;
}

int lease_set_suspend(struct lease_set *s, struct snat_order_queue *orders)
{
	if (snat_order_queue_reserve(orders, s->n) != 0)
		return ERR_NO_MEMORY;
	for (uint32_t i = 0; s->slots != NULL && i <= s->mask; i++) {
		if (s->slots[i].state != HELD_GIVEN)
			continue;
		put_order(orders, SNAT_ORDER_END, &s->slots[i]);
		set_state(s, &s->slots[i], HELD_SUSPENDED);
	}
	return 0;
}

static int compare_grants(const void *a, const void *b)
{
	const struct lease *l = a;
	const struct lease *m = b;
	if (l->granted_ms != m->granted_ms)
		return l->granted_ms < m->granted_ms ? -1 : 1;
	return (l->epoch > m->epoch) - (l->epoch < m->epoch);
}

int lease_set_get(const struct lease_set *s, struct lease_list *ret_list)
{
	*ret_list = (struct lease_list){ 0 };
	for (uint32_t i = 0; s->slots != NULL && i <= s->mask; i++) {
		const struct held_lease *h = &s->slots[i];
		if (h->state == HELD_NONE || h->state == HELD_RETURNING)
			continue;
		struct lease lease = { .vip = addr_of(s, h->vip),
			                   .dip = addr_of(s, h->dip),
			                   .first_port = h->first_port,
			                   .n_ports = h->n_ports,
			                   .epoch = h->epoch,
			                   .granted_ms = h->granted_ms };
		if (lease_list_append(ret_list, &lease) != 0) {
			lease_list_fini(ret_list);
			return ERR_NO_MEMORY;
		}
	}
	if (ret_list->n > 0)
		qsort(ret_list->items, ret_list->n, sizeof *ret_list->items, compare_grants);
	return 0;
}
