#include "manager/core/endpoint_states.h"

#include <string.h>

#include "common/base/memory.h"

void endpoint_states_fini(struct endpoint_states *s)
{
	memory_free(s->items);
	*s = (struct endpoint_states){ 0 };
}

static int compare(const struct endpoint_state_entry *e, const struct ip_addr *vip, uint8_t protocol, uint16_t port)
{
	int order = ip_addr_compare(&e->vip, vip);
	if (order != 0)
		return order;
	return e->protocol != protocol ? (int)e->protocol - (int)protocol : (int)e->port - (int)port;
}

// The first entry that is not before this endpoint's.
static uint32_t find(const struct endpoint_states *s, const struct ip_addr *vip, uint8_t protocol, uint16_t port)
{
	uint32_t low = 0;
	uint32_t high = s->n;
	while (low < high) {
		uint32_t middle = low + (high - low) / 2;
		if (compare(&s->items[middle], vip, protocol, port) < 0)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

static bool is_at(const struct endpoint_states *s, uint32_t i, const struct ip_addr *vip, uint8_t protocol,
                  uint16_t port)
{
	return i < s->n && compare(&s->items[i], vip, protocol, port) == 0;
}

enum endpoint_state endpoint_states_lookup(const struct endpoint_states *s, const struct ip_addr *vip, uint8_t protocol,
                                           uint16_t port)
{
	uint32_t i = find(s, vip, protocol, port);
	return is_at(s, i, vip, protocol, port) ? (enum endpoint_state)s->items[i].state : ENDPOINT_SERVED;
}

static void remove_at(struct endpoint_states *s, uint32_t i, uint32_t n)
{
	s->n -= n;
	memmove(s->items + i, s->items + i + n, (s->n - i) * sizeof *s->items);
}

int endpoint_states_set(struct endpoint_states *s, const struct ip_addr *vip, uint8_t protocol, uint16_t port,
                        enum endpoint_state state)
{
	uint32_t i = find(s, vip, protocol, port);
	bool is_listed = is_at(s, i, vip, protocol, port);
	if (state == ENDPOINT_SERVED) {
		if (is_listed)
			remove_at(s, i, 1);
		return 0;
	}
	if (!is_listed) {
		struct endpoint_state_entry *items = memory_grow(s->items, s->n, &s->capacity, sizeof *items);
		if (items == NULL)
			return ERR_NO_MEMORY;
		s->items = items;
		memmove(items + i + 1, items + i, (s->n++ - i) * sizeof *items);
	}
	s->items[i] =
		(struct endpoint_state_entry){ .vip = *vip, .port = port, .protocol = protocol, .state = (uint8_t)state };
	return 0;
}

void endpoint_states_drop_vip(struct endpoint_states *s, const struct ip_addr *vip)
{
	uint32_t i = find(s, vip, 0, 0);
	uint32_t n = 0;
	while (i + n < s->n && ip_addr_equal(&s->items[i + n].vip, vip))
		n++;
	if (n > 0)
		remove_at(s, i, n);
}
