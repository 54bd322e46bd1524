// Addresses in the packet path are 32 bits, of both families: an IPv4 address is itself, and an IPv6 address has a name.
//
//   first byte 1 to 223, but 127  an IPv4 address, as the wire has it
//   first byte 0 (0.0.0.0/8)      the name of an IPv6 address that this program knows from its configuration: a VIP, a DIP, a node
//   first byte 240 to 255         the tag of any other IPv6 address, a client's: 28 bits of a seeded hash
//
// No host has an IPv4 address of the last two kinds (RFC 1122 section 3.2.1.3, RFC 6890), so that tables, keys and flow entries are
// the same for both families and tell them apart by one byte. A name stands for one address, for as long as the table lives; it
// means nothing outside of the process. A tag does not say which address it is of: who compares tags compares the addresses, too.
//
// Names are never given back: a program that runs for years holds those of all addresses that were ever configured, 40 bytes each,
// at most ADDR_NAMES_MAX of them. Memory: 64 KiB for the first ones.
// Threads: one thread gives names; any may look up meanwhile, and finds those that were given before what told it to look.
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "common/base/bytes.h"
#include "common/base/check.h"
#include "common/base/hash.h"

#define IP6_ADDR_BYTES 16
#define ADDR_NAMES_MAX (1u << 22)
#define ADDR_NAMES_CHUNK 1024
#define ADDR_NAMES_CHUNKS (ADDR_NAMES_MAX / ADDR_NAMES_CHUNK)

struct addr_name_slot {
	uint64_t words[2]; // the address; written before the name
	_Atomic uint32_t name; // 0: free
	uint32_t reserved;
};

// Open addressing, at most half full; one that has become too small is kept until the end, since somebody may still look into it.
struct addr_name_index {
	uint32_t mask;
	struct addr_name_index *smaller;
	struct addr_name_slot slots[];
};

struct addr_names {
	_Atomic(struct addr_name_index *) index;
	uint32_t n; // given, 1 to n
	uint8_t (*_Atomic chunks[ADDR_NAMES_CHUNKS])[IP6_ADDR_BYTES];
};

static inline bool addr_is_name(be32 addr)
{
	return (uint8_t)addr == 0;
}

static inline bool addr_is_tag(be32 addr)
{
	return (uint8_t)addr >= 240;
}

// Is it of an IPv6 address, known or not?
static inline bool addr_is_ip6(be32 addr)
{
	return addr_is_name(addr) || addr_is_tag(addr);
}

// NULL: no memory.
struct addr_names *addr_names_create(void);
void addr_names_destroy(struct addr_names *n); // NULL is fine

// The address in 32 bits: of an IPv4-mapped one (RFC 4291 section 2.5.5.2) the IPv4 address, else its name, which is given now if it
// has none; 0 for the unspecified address, and when there is no memory or ADDR_NAMES_MAX are given. Of the one thread that gives names.
be32 addr_names_give(struct addr_names *n, const uint8_t addr[IP6_ADDR_BYTES]);

// Both halves of a product, so that every bit of an address reaches the bits that choose the slot: those of a data centre differ in
// their last byte, which is the highest of the word.
static inline uint32_t addr_names_hash(uint64_t high, uint64_t low)
{
	unsigned __int128 product = (unsigned __int128)(high ^ 0x9e3779b97f4a7c15ULL) * (low ^ 0xd6e8feb86659fd93ULL);
	return (uint32_t)((uint64_t)product >> 32) ^ (uint32_t)(product >> 64);
}

// The slot in which the search for an address begins, for prefetching.
static inline const struct addr_name_slot *addr_names_start(const struct addr_names *n,
                                                            const uint8_t addr[IP6_ADDR_BYTES])
{
	const struct addr_name_index *x = atomic_load_explicit(&n->index, memory_order_acquire);
	return &x->slots[addr_names_hash(load64(addr), load64(addr + 8)) & x->mask];
}

// The name of an IPv6 address (not an IPv4-mapped one, which has none); 0: it has none.
static inline be32 addr_names_lookup(const struct addr_names *n, const uint8_t addr[IP6_ADDR_BYTES])
{
	const uint64_t high = load64(addr);
	const uint64_t low = load64(addr + 8);
	const struct addr_name_index *x = atomic_load_explicit(&n->index, memory_order_acquire);
	for (uint32_t i = addr_names_hash(high, low) & x->mask;; i = (i + 1) & x->mask) {
		const struct addr_name_slot *slot = &x->slots[i];
		uint32_t name = atomic_load_explicit(&slot->name, memory_order_acquire);
		if (name == 0 || (slot->words[0] == high && slot->words[1] == low))
			return name;
	}
}

static inline bool addr_name_slot_is_of(const struct addr_name_slot *slot, const uint8_t addr[IP6_ADDR_BYTES])
{
	return ((slot->words[0] ^ load64(addr)) | (slot->words[1] ^ load64(addr + 8))) == 0;
}

// The same from where addr_names_start said a while ago, without a branch between the first two slots: which of them it is cannot be
// predicted.
static inline be32 addr_names_lookup_from(const struct addr_names *n, const struct addr_name_slot *start,
                                          const uint8_t addr[IP6_ADDR_BYTES])
{
	const struct addr_name_slot *slot = start + addr_name_slot_is_of(start + 1, addr);
	const uint32_t name = atomic_load_explicit(&slot->name, memory_order_acquire);
	return __builtin_expect(addr_name_slot_is_of(slot, addr) && name != 0, 1) ? name : addr_names_lookup(n, addr);
}

// The address that has a name, 16 bytes that stay where they are. Only of names that were given.
static inline const uint8_t *addr_name_address(const struct addr_names *n, be32 name)
{
	uint32_t i = be32_to(name) - 1;
	return atomic_load_explicit(&n->chunks[i / ADDR_NAMES_CHUNK], memory_order_acquire)[i % ADDR_NAMES_CHUNK];
}

// An address in 32 bits as the 16 bytes of the model: of a name the address, of an IPv4 address the IPv4-mapped one. Not of a tag.
void addr_names_expand(const struct addr_names *n, be32 addr, uint8_t ret_addr[IP6_ADDR_BYTES]);

// The tag of an IPv6 address under a seed that nobody outside can guess.
static inline be32 addr_tag(const uint8_t addr[IP6_ADDR_BYTES], uint64_t seed)
{
	uint64_t h = hash_mix64(hash_mix64(load64(addr) ^ seed) ^ load64(addr + 8));
	return be32_from(0xf0000000u | (uint32_t)(h >> 36));
}
