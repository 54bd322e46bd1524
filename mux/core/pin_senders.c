#include "mux/core/pin_senders.h"

#include "common/base/hash.h"
#include "common/base/memory.h"
#include "mux/core/family.h"

static uint32_t sender_at(const struct pin_senders *s, be32 addr)
{
	return (uint32_t)hash_mix64(addr) & s->mask;
}

uint32_t pin_senders_lookup(const struct pin_senders *s, be32 addr)
{
	for (uint32_t i = sender_at(s, addr); s->items[i].addr != 0; i = (i + 1) & s->mask)
		if (s->items[i].addr == addr)
			return s->items[i].slot;
	return PIN_SENDER_NONE;
}

bool pin_stamps_advance(struct pin_stamps *s, uint32_t slot, be32 addr, uint64_t stamp_us)
{
	if (s->items[slot].addr == addr && stamp_us <= s->items[slot].stamp_us)
		return false;
	s->items[slot].addr = addr;
	s->items[slot].stamp_us = stamp_us;
	return true;
}

// ---- making ----

// The i-th of all addresses of hosts: each has two, of which one may be none (0).
static be32 host_addr(const struct store *store, struct addr_names *names, uint32_t i)
{
	const struct node_info *host = store_host(store, i / 2);
	const struct ip_addr *addr = i % 2 == 0 ? &host->addr : &host->addr6;
	return ip_addr_is_unspecified(addr) ? 0 : family_give_name(names, addr);
}

static void insert(struct pin_senders *s, be32 addr, uint32_t slot)
{
	uint32_t i = sender_at(s, addr);
	while (s->items[i].addr != 0)
		i = (i + 1) & s->mask;
	s->items[i] = (struct pin_sender){ addr, slot };
}

static struct pin_senders *allocate(uint32_t n_hosts)
{
	uint32_t n_items = 4;
	while (n_items < n_hosts * 2)
		n_items *= 2;
	struct pin_senders *s = memory_array(1, sizeof *s);
	if (s == NULL)
		return NULL;
	s->items = memory_array(n_items, sizeof *s->items);
	s->mask = n_items - 1;
	if (s->items != NULL)
		return s;
	memory_free(s);
	return NULL;
}

// Those that were there keep their slots; the slots that are nobody's any more are the new ones'.
static int fill(struct pin_senders *s, const struct store *store, struct addr_names *names,
                const struct pin_senders *before)
{
	bool *is_taken = memory_array(PIN_SENDERS_MAX, sizeof *is_taken);
	uint32_t n_free = 0; // no slot below is free
	if (is_taken == NULL)
		return ERR_NO_MEMORY;
	for (uint32_t i = 0; before != NULL && i < 2 * store->hosts.n; i++) {
		be32 addr = host_addr(store, names, i);
		uint32_t slot = addr == 0 ? PIN_SENDER_NONE : pin_senders_lookup(before, addr);
		if (slot == PIN_SENDER_NONE || pin_senders_lookup(s, addr) != PIN_SENDER_NONE)
			continue;
		insert(s, addr, slot);
		is_taken[slot] = true;
	}
	for (uint32_t i = 0; i < 2 * store->hosts.n; i++) {
		be32 addr = host_addr(store, names, i);
		if (addr == 0 || pin_senders_lookup(s, addr) != PIN_SENDER_NONE)
			continue;
		while (is_taken[n_free])
			n_free++;
		insert(s, addr, n_free++);
	}
	memory_free(is_taken);
	return 0;
}

int pin_senders_create(const struct store *store, struct addr_names *names, const struct pin_senders *before,
                       struct pin_senders **ret_senders)
{
	if (store->hosts.n > LIMIT_HOSTS)
		return ERR_LIMIT;
	struct pin_senders *s = allocate(2 * store->hosts.n);
	int code = s == NULL ? ERR_NO_MEMORY : fill(s, store, names, before);
	if (code != 0) {
		pin_senders_destroy(s);
		return code;
	}
	*ret_senders = s;
	return 0;
}

void pin_senders_destroy(struct pin_senders *s)
{
	if (s == NULL)
		return;
	memory_free(s->items);
	memory_free(s);
}
