#include "manager/core/addr_index.h"

#include <string.h>

#include "common/base/hash.h"
#include "common/base/memory.h"

#define MIN_BUCKETS 64

void addr_index_init(struct addr_index *x)
{
	memset(x, 0, sizeof *x);
}

static void destroy_set(struct addr_set *set)
{
	memory_free(set->items);
	memory_free(set);
}

void addr_index_fini(struct addr_index *x)
{
	for (uint32_t i = 0; i < x->n_buckets; i++) {
		struct addr_set *next;
		for (struct addr_set *set = x->buckets[i]; set != NULL; set = next) {
			next = set->next;
			destroy_set(set);
		}
	}
	memory_free(x->buckets);
	memset(x, 0, sizeof *x);
}

// The link that points to the set of this key, or to the NULL where it would be linked. n_buckets > 0.
static struct addr_set **find_link(const struct addr_index *x, uint64_t key)
{
	struct addr_set **link = &x->buckets[key & (x->n_buckets - 1)];
	while (*link != NULL && (*link)->key != key)
		link = &(*link)->next;
	return link;
}

static int grow_buckets(struct addr_index *x)
{
	uint32_t n_buckets = x->n_buckets == 0 ? MIN_BUCKETS : x->n_buckets * 2;
	struct addr_set **buckets = memory_array(n_buckets, sizeof(struct addr_set *));
	if (buckets == NULL)
		return ERR_NO_MEMORY;
	for (uint32_t i = 0; i < x->n_buckets; i++) {
		struct addr_set *next;
		for (struct addr_set *set = x->buckets[i]; set != NULL; set = next) {
			next = set->next;
			struct addr_set **head = &buckets[set->key & (n_buckets - 1)];
			set->next = *head;
			*head = set;
		}
	}
	memory_free(x->buckets);
	x->buckets = buckets;
	x->n_buckets = n_buckets;
	return 0;
}

// The index of addr in the set, or where it belongs.
static uint32_t find_member(const struct addr_set *set, const struct ip_addr *addr)
{
	uint32_t low = 0;
	uint32_t high = set->n;
	while (low < high) {
		uint32_t middle = low + (high - low) / 2;
		if (ip_addr_compare(&set->items[middle], addr) < 0)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

static int insert_member(struct addr_set *set, const struct ip_addr *addr)
{
	uint32_t i = find_member(set, addr);
	if (i < set->n && ip_addr_equal(&set->items[i], addr))
		return 0;
	struct ip_addr *items = memory_grow(set->items, set->n, &set->capacity, sizeof *items);
	if (items == NULL)
		return ERR_NO_MEMORY;
	set->items = items;
	memmove(set->items + i + 1, set->items + i, (set->n - i) * sizeof *set->items);
	set->items[i] = *addr;
	set->n++;
	return 0;
}

int addr_index_insert(struct addr_index *x, uint64_t key, const struct ip_addr *addr)
{
	if (x->n_sets >= x->n_buckets && grow_buckets(x) != 0)
		return ERR_NO_MEMORY;
	struct addr_set **link = find_link(x, key);
	if (*link != NULL)
		return insert_member(*link, addr);
	struct addr_set *set = memory_array(1, sizeof *set);
	if (set == NULL)
		return ERR_NO_MEMORY;
	set->key = key;
	if (insert_member(set, addr) != 0) {
		destroy_set(set);
		return ERR_NO_MEMORY;
	}
	*link = set;
	x->n_sets++;
	return 0;
}

void addr_index_remove(struct addr_index *x, uint64_t key, const struct ip_addr *addr)
{
	if (x->n_buckets == 0)
		return;
	struct addr_set **link = find_link(x, key);
	struct addr_set *set = *link;
	if (set == NULL)
		return;
	uint32_t i = find_member(set, addr);
	if (i == set->n || !ip_addr_equal(&set->items[i], addr))
		return;
	memmove(set->items + i, set->items + i + 1, (set->n - i - 1) * sizeof *set->items);
	set->n--;
	if (set->n > 0)
		return;
	*link = set->next;
	destroy_set(set);
	x->n_sets--;
}

const struct addr_set *addr_index_lookup(const struct addr_index *x, uint64_t key)
{
	return x->n_buckets == 0 ? NULL : *find_link(x, key);
}

bool addr_set_has(const struct addr_set *set, const struct ip_addr *addr)
{
	uint32_t i = find_member(set, addr);
	return i < set->n && ip_addr_equal(&set->items[i], addr);
}

uint64_t addr_index_key_of_addr(const struct ip_addr *addr)
{
	return hash_bytes(addr->bytes, sizeof addr->bytes, 0);
}

uint64_t addr_index_key_of_name(const char *name)
{
	return hash_bytes(name, strlen(name), 0);
}
