#include "common/packet/addr_names.h"

#include <string.h>

#include "common/base/memory.h"

#define SLOTS_MIN 1024

static const uint8_t v4_mapped[12] = { 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff };

// One slot more, which stays free: see addr_names_lookup_from.
static struct addr_name_index *index_create(uint32_t n_slots, struct addr_name_index *smaller)
{
	struct addr_name_index *x = memory_array(1, sizeof *x + (n_slots + 1) * sizeof x->slots[0]);
	if (x == NULL)
		return NULL;
	x->mask = n_slots - 1;
	x->smaller = smaller;
	return x;
}

struct addr_names *addr_names_create(void)
{
	struct addr_names *n = memory_array(1, sizeof *n);
	struct addr_name_index *x = index_create(SLOTS_MIN, NULL);
	if (n == NULL || x == NULL) {
		memory_free(n);
		memory_free(x);
		return NULL;
	}
	atomic_store_explicit(&n->index, x, memory_order_relaxed);
	return n;
}

void addr_names_destroy(struct addr_names *n)
{
	if (n == NULL)
		return;
	for (struct addr_name_index *x = atomic_load(&n->index); x != NULL;) {
		struct addr_name_index *smaller = x->smaller;
		memory_free(x);
		x = smaller;
	}
	for (uint32_t i = 0; i < ADDR_NAMES_CHUNKS; i++)
		memory_free(atomic_load(&n->chunks[i]));
	memory_free(n);
}

static void index_put(struct addr_name_index *x, const uint8_t *addr, be32 name)
{
	const uint64_t words[2] = { load64(addr), load64(addr + 8) };
	uint32_t i = addr_names_hash(words[0], words[1]) & x->mask;
	while (atomic_load_explicit(&x->slots[i].name, memory_order_relaxed) != 0)
		i = (i + 1) & x->mask;
	memcpy(x->slots[i].words, words, sizeof words);
	atomic_store_explicit(&x->slots[i].name, name, memory_order_release);
}

// Twice as many slots; those who look up go over to them with their next lookup.
static bool index_grow(struct addr_names *n)
{
	struct addr_name_index *old = atomic_load_explicit(&n->index, memory_order_relaxed);
	struct addr_name_index *x = index_create(2 * (old->mask + 1), old);
	if (x == NULL)
		return false;
	for (uint32_t i = 1; i <= n->n; i++)
		index_put(x, addr_name_address(n, be32_from(i)), be32_from(i));
	atomic_store_explicit(&n->index, x, memory_order_release);
	return true;
}

static bool chunk_is_there(struct addr_names *n, uint32_t at)
{
	if (atomic_load_explicit(&n->chunks[at], memory_order_relaxed) != NULL)
		return true;
	uint8_t(*chunk)[IP6_ADDR_BYTES] = memory_array(ADDR_NAMES_CHUNK, IP6_ADDR_BYTES);
	atomic_store_explicit(&n->chunks[at], chunk, memory_order_release);
	return chunk != NULL;
}

be32 addr_names_give(struct addr_names *n, const uint8_t addr[IP6_ADDR_BYTES])
{
	if (memcmp(addr, v4_mapped, sizeof v4_mapped) == 0)
		return load32(addr + sizeof v4_mapped);
	if (load64(addr) == 0 && load64(addr + 8) == 0)
		return 0;
	be32 name = addr_names_lookup(n, addr);
	if (name != 0 || n->n == ADDR_NAMES_MAX || !chunk_is_there(n, n->n / ADDR_NAMES_CHUNK))
		return name;
	if (2 * (n->n + 1) > atomic_load_explicit(&n->index, memory_order_relaxed)->mask && !index_grow(n))
		return 0;
	memcpy(atomic_load_explicit(&n->chunks[n->n / ADDR_NAMES_CHUNK], memory_order_relaxed)[n->n % ADDR_NAMES_CHUNK],
	       addr, IP6_ADDR_BYTES);
	n->n++;
	name = be32_from(n->n);
	index_put(atomic_load_explicit(&n->index, memory_order_relaxed), addr, name);
	return name;
}

void addr_names_expand(const struct addr_names *n, be32 addr, uint8_t ret_addr[IP6_ADDR_BYTES])
{
	if (addr == 0) {
		memset(ret_addr, 0, IP6_ADDR_BYTES);
	} else if (addr_is_name(addr)) {
		memcpy(ret_addr, addr_name_address(n, addr), IP6_ADDR_BYTES);
	} else {
		memcpy(ret_addr, v4_mapped, sizeof v4_mapped);
		store32(ret_addr + sizeof v4_mapped, addr);
	}
}
