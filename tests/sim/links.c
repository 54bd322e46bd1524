#include <string.h>

#include "common/base/check.h"
#include "common/base/memory.h"
#include "tests/sim/snat.h"

#define MESSAGE_US 500 // of the way, at least
#define MESSAGE_JITTER_US 4000

struct sim_message {
	uint32_t node;
	uint32_t generation; // of the connection that it is on
	uint32_t next_free;
	bool is_to_leader;
	struct message m;
};

struct links {
	uint32_t n;
	uint32_t capacity;
	uint32_t free;
	struct sim_message **items;
	struct random random;
};

void links_create(struct sim *s)
{
	s->links = memory_array(1, sizeof *s->links);
	CHECK(s->links != NULL);
	s->links->free = NONE;
	s->links->random = random_make(s->options.seed, 4);
}

static void forget(struct sim_message *x)
{
	if (x->m.type == MESSAGE_SNAT_ASK)
		snat_op_list_fini(&x->m.ops);
	memset(&x->m, 0, sizeof x->m);
}

void links_destroy(struct sim *s)
{
	for (uint32_t i = 0; i < s->links->n; i++) {
		forget(s->links->items[i]);
		memory_free(s->links->items[i]);
	}
	memory_free(s->links->items);
	memory_free(s->links);
}

static uint32_t take(struct links *l)
{
	uint32_t i = l->free;
	if (i != NONE) {
		l->free = l->items[i]->next_free;
		return i;
	}
	if (l->n == l->capacity) {
		l->capacity = l->capacity == 0 ? 256 : 2 * l->capacity;
		l->items = memory_resize(l->items, l->capacity, sizeof *l->items);
		CHECK(l->items != NULL);
	}
	l->items[l->n] = memory_array(1, sizeof **l->items);
	CHECK(l->items[l->n] != NULL);
	return l->n++;
}

static void give_back(struct links *l, uint32_t idx)
{
	forget(l->items[idx]);
	l->items[idx]->next_free = l->free;
	l->free = idx;
}

static uint64_t in_order(uint64_t *last_us, uint64_t at_us)
{
	if (at_us > *last_us)
		*last_us = at_us;
	return *last_us;
}

uint64_t links_due(struct subscriber *sub, uint64_t at_us)
{
	return in_order(&sub->last_down_us, at_us);
}

static void send(struct sim *s, uint32_t node, const struct message *m, bool is_to_leader)
{
	struct links *l = s->links;
	struct subscriber *sub = subscriber_of(s, node);
	uint64_t late_us = s->now_us < sub->late_until_us ? sub->late_us : 0;
	uint64_t at_us = s->now_us + MESSAGE_US + random_below(&l->random, MESSAGE_JITTER_US) + late_us;
	uint32_t idx = take(l);
	struct sim_message *copy = l->items[idx];
	copy->node = node;
	copy->generation = sub->generation;
	copy->is_to_leader = is_to_leader;
	copy->m = *m;
	if (m->type == MESSAGE_SNAT_ASK)
		copy->m.ops = (struct snat_op_list){ 0 };
	for (uint32_t i = 0; m->type == MESSAGE_SNAT_ASK && i < m->ops.n; i++)
		CHECK(snat_op_list_append(&copy->m.ops, &m->ops.items[i]) == 0);
	sim_at(s, in_order(is_to_leader ? &sub->last_up_us : &sub->last_down_us, at_us), EVENT_MESSAGE, idx);
}

void links_to_node(struct sim *s, uint32_t node, const struct message *m)
{
	if (m->type == MESSAGE_SNAT_REPLY && sim_is_sabotaged(s, "lost-answers"))
		return;
	if (subscriber_of(s, node)->is_connected)
		send(s, node, m, false);
}

void links_to_leader(struct sim *s, uint32_t node, const struct message *m)
{
	if (subscriber_of(s, node)->is_connected)
		send(s, node, m, true);
}

// What stands still takes nothing.
static bool put_off(struct sim *s, uint32_t idx)
{
	const struct sim_message *x = s->links->items[idx];
	if (x->is_to_leader || x->node >= s->options.n_muxes || s->muxes[x->node].hangs_until_us <= s->now_us)
		return false;
	sim_at(s, s->muxes[x->node].hangs_until_us, EVENT_MESSAGE, idx);
	return true;
}

static void deliver(struct sim *s, const struct sim_message *x)
{
	if (x->is_to_leader)
		leader_on_message(s, x->node, &x->m);
	else if (x->node >= s->options.n_muxes)
		agent_side_on_message(s, x->node - s->options.n_muxes, &x->m);
	else if (x->m.type == MESSAGE_FENCE)
		mux_on_fence(s, x->node, x->m.is_fenced);
}

void links_on_message(struct sim *s, uint32_t idx)
{
	struct sim_message *x = s->links->items[idx];
	const struct subscriber *sub = subscriber_of(s, x->node);
	bool is_lost = !sub->is_connected || sub->generation != x->generation;
	if (!is_lost && put_off(s, idx))
		return;
	if (!is_lost)
		deliver(s, x);
	give_back(s->links, idx);
}
