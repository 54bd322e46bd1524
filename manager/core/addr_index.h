// From a 64-bit key to a sorted set of addresses: "which VIPs hold this DIP", "which DIPs are attached on this host".
//
// A key is a hash (addr_index_key_*): two things may share one, so that whoever reads a set looks its members up and checks.
// Cost: lookup O(1); insert and remove move up to the size of one set. Grows without limit; the rules of the state bound it.
// Threads: one owner. A set that was looked up is valid until the next insert or remove.
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "common/base/error.h"
#include "common/model/ip_addr.h"

struct addr_set {
	uint64_t key;
	uint32_t n;
	uint32_t capacity;
	struct ip_addr *items; // ascending, distinct
	struct addr_set *next; // of the same bucket
};

struct addr_index {
	uint32_t n_sets;
	uint32_t n_buckets; // a power of two, or 0
	struct addr_set **buckets;
};

void addr_index_init(struct addr_index *x);
void addr_index_fini(struct addr_index *x);

// Inserting what is there and removing what is not are fine. ERR_NO_MEMORY changes nothing.
NODISCARD int addr_index_insert(struct addr_index *x, uint64_t key, const struct ip_addr *addr);
void addr_index_remove(struct addr_index *x, uint64_t key, const struct ip_addr *addr);

// NULL when nothing has this key.
const struct addr_set *addr_index_lookup(const struct addr_index *x, uint64_t key);

bool addr_set_has(const struct addr_set *set, const struct ip_addr *addr);

uint64_t addr_index_key_of_addr(const struct ip_addr *addr);
uint64_t addr_index_key_of_name(const char *name);
