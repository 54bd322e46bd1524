// The agent's flows: which client's packets belong to which VM, findable from both directions.
//
// One entry per flow, and one index whose buckets are single cache lines of signatures and references:
//
//   inbound key  (remote, VIP:port, protocol) --+                      +--> entry { remote, VIP, DIP, ports, state, seen }
//   reply key    (remote, DIP:port, protocol) --+--> bucket(s) --ref --+
//
// A key has a primary bucket and, when that one was full, an alternative that follows from the signature; a bucket counts
// what it sent away, so that a lookup normally touches two lines: the bucket and the entry. Lookups come in
// stages (hash, prefetch bucket, prefetch entry, compare), so that a burst waits for memory once and not per packet.
//
// Everything lies in ONE block of the caller's, without pointers, so that it works at whatever address it is mapped:
//
//   [ header | entries | padding to a page | addresses of IPv6 | padding to a page ][ index ]
//     ^ flow_table_persistent_bytes: worth keeping in a file                           ^ rebuilt by attach, never trusted
//
// IPv6: an entry has 32 bits for each address (common/packet/addr_names.h): the names of DIP and VIP, and the remote's tag under the
// block's seed, always, also when the remote has a name. Beside the entry lie the three addresses themselves: a key of IPv6 carries
// the whole remote, and a flow is found when that is the same. Names are the process's: attach gives them anew.
//
// A process that is killed at any instruction leaves a block that flow_table_attach accepts: an entry's fields are written
// before the state byte that makes it exist, and free list and index are made anew. What else is wrong in a block (other
// magic, layout, size, owner; a field out of range; an entry whose check does not fit its addresses; a key twice) means
// that somebody else wrote to it: attach refuses it, changes nothing, and the caller starts with an empty table.
//
// Capacity: fixed. Memory per flow: 32 bytes of entry, 25.6 of index, and 48 of addresses, which only IPv6 touches. Full: insert fails, and its caller looks whether some
// expired flow can make room (flow_table_next_expired); no live flow ever gives way. Cost: O(1) each, expiry is a scan in small portions.
// Keys are hashed with the block's own random seed, so that nobody outside can choose keys that collide.
// Source of the idea: Fan et al., "Cuckoo Filter" (CoNEXT 2014), for the alternative bucket from the signature.
// Threads: one owner.
#pragma once

#include <immintrin.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/error.h"
#include "common/base/mono.h"
#include "common/base/bytes.h"
#include "common/base/hash.h"
#include "common/packet/addr_names.h"
#include "hostagent/core/flow_state.h"

#define FLOW_TABLE_CAPACITY_MIN 16u
#define FLOW_TABLE_CAPACITY_MAX (1u << 28)
// Older ones are attached, too. Version 1 has no flows of SNAT. In versions 1 and 2 a flow in FLOW_SYN_ACK has deltas and no ISN.
// Version 3 has no FLOW_RESET_IN, no FLOW_DISPUTED, and TCP, UDP and ICMP only. Version 4 and those before have IPv4 only, and no place
// for the addresses of IPv6: what follows a block of theirs, up to flow_table_persistent_bytes, may be anything.
#define FLOW_TABLE_LAYOUT_VERSION 5u
#define FLOW_TABLE_LAYOUT_WITH_IP6 5u
#define FLOW_TABLE_LAYOUT_WITH_ISN 3u
#define FLOW_TABLE_LAYOUT_OLDEST 1u

// What a flow is, addresses and ports as the wire has them. VIP:port equals DIP:port for a connection that goes to the
// DIP itself: known, but not rewritten.
struct flow_tuple {
	be32 remote;
	be32 vip;
	be32 dip;
	be16 remote_port;
	be16 vip_port;
	be16 dip_port;
	uint8_t protocol;
	const uint8_t *remote6; // of IPv6: the remote's 16 bytes; else NULL
};

// The addresses of a flow of IPv6.
struct flow_addrs {
	uint8_t dip[IP6_ADDR_BYTES];
	uint8_t remote[IP6_ADDR_BYTES];
	uint8_t vip[IP6_ADDR_BYTES];
};

// The order of the fields makes both keys of a flow lie in it as they lie in a packet, source before destination:
// remote, VIP and their ports inbound; DIP, remote and their ports in a reply.
struct flow_entry {
	be32 dip;
	be32 remote;
	be32 vip;
	be16 dip_port;
	be16 remote_port;
	be16 vip_port;
	uint8_t protocol;
	uint8_t state; // enum flow_state, with FLOW_IS_SNAT; written last when a flow begins, first when it ends
	union {
		uint32_t seen_s; // when the last packet came, seconds of the edge's clock
		uint32_t next_free; // while the state is FLOW_FREE
	};
	uint32_t check; // of the addresses and ports
	union {
		struct {
			uint16_t ip_delta; // what rewriting does to a checksum (rewrite.h): of the addresses,
			uint16_t l4_delta; // and of addresses and ports
		};
		uint32_t vm_isn; // while the state is FLOW_SYN_ACK: the sequence number of the VM's SYN-ACK
	};
};

// A packet's addresses and ports as it has them, source before destination, as words (so that they stay in registers).
// Inbound: from the remote to the VIP. Reply: from the DIP to the remote.
struct flow_key {
	uint64_t addrs;
	uint32_t ports;
	uint8_t protocol;
	uint8_t direction; // enum flow_direction
	const uint8_t *remote6; // of IPv6: the remote's 16 bytes; else NULL
};

#define FLOW_BUCKET_SLOTS 10

struct flow_bucket {
	uint16_t signatures[FLOW_BUCKET_SLOTS]; // 0: the slot is empty
	uint32_t n_elsewhere; // references that belong here but live in their alternative
	uint32_t refs[FLOW_BUCKET_SLOTS]; // entry << 2 | is_alternative << 1 | direction
} __attribute__((aligned(64)));

_Static_assert(sizeof(struct flow_entry) == 32, "two entries fill a cache line");
_Static_assert(offsetof(struct flow_entry, vip) == offsetof(struct flow_entry, remote) + 4 &&
                   offsetof(struct flow_entry, remote) == offsetof(struct flow_entry, dip) + 4 &&
                   offsetof(struct flow_entry, vip_port) == offsetof(struct flow_entry, remote_port) + 2 &&
                   offsetof(struct flow_entry, remote_port) == offsetof(struct flow_entry, dip_port) + 2,
               "the keys lie in the entry as in a packet");
_Static_assert(sizeof(struct flow_bucket) == 64, "a bucket is a cache line");

struct flow_table_header;

struct flow_table {
	struct flow_bucket *buckets;
	struct flow_entry *entries;
	struct flow_addrs *addrs6; // as many
	struct addr_names *names; // borrowed; NULL: IPv4 only
	uint64_t seed;
	uint32_t n_buckets;
	uint32_t capacity;
	uint32_t n_flows;
	uint32_t free_head;
	uint32_t high_water; // no entry from here on was ever used: expiry need not look
	uint32_t cursor; // where expiry goes on
	uint32_t now_s;
};

// Of a block for `capacity` flows (FLOW_TABLE_CAPACITY_MIN to _MAX); the persistent part is at its start, whole pages.
size_t flow_table_bytes(uint32_t capacity);
size_t flow_table_persistent_bytes(uint32_t capacity);

// The persistent part of the layouts before FLOW_TABLE_LAYOUT_WITH_IP6: the same without the addresses of IPv6.
size_t flow_table_persistent_bytes_ip4(uint32_t capacity);

// Makes an empty table in a block (64-byte aligned). `seed` is random; `owner` says whose it is and since when (a hash of
// host and boot): attach wants the same. `names` may be NULL: no flow of IPv6 can be inserted then.
void flow_table_init(struct flow_table *t, void *block, uint32_t capacity, uint64_t seed, uint64_t owner,
                     struct addr_names *names, struct mono_time now);

// Takes over a block of `n_bytes` that another process left, with all of its flows: what has expired is found later, when what VIPs
// say is known. DIPs and VIPs of IPv6 get their names (of the thread that gives names). ERR_VERSION: another layout,
// owner or capacity; ERR_MALFORMED: damaged; ERR_NO_MEMORY: for names; the sentence says what. On failure the persistent part is as
// it was, but for names, which mean nothing in it.
NODISCARD int flow_table_attach(struct flow_table *t, void *block, size_t n_bytes, uint32_t capacity, uint64_t owner,
                                struct addr_names *names, struct mono_time now, struct error *err);

// For how many flows a block was made, when its header is whole and of this layout and owner; else 0.
uint32_t flow_table_capacity_of(const void *block, size_t n_bytes, uint64_t owner);

// Inserts all flows of `from`, with their states and times, into the empty table t, which has the same names. Returns how many found
// no room.
uint32_t flow_table_copy(struct flow_table *t, const struct flow_table *from);

// The time that lookups, inserts and touches work with; once per burst.
void flow_table_set_now(struct flow_table *t, struct mono_time now);

// A new flow in an enum flow_state, maybe with FLOW_IS_SNAT. The caller has looked up both of its keys and found neither.
// NULL when the table is full.
struct flow_entry *flow_table_insert(struct flow_table *t, const struct flow_tuple *tuple, uint32_t state);

// The same, when the hashes of its keys are known already.
struct flow_entry *flow_table_insert_hashed(struct flow_table *t, const struct flow_tuple *tuple, uint32_t state,
                                            uint64_t inbound_hash, uint64_t reply_hash);

bool flow_table_is_full(const struct flow_table *t);

void flow_table_remove(struct flow_table *t, struct flow_entry *entry);

// Looks at up to *budget entries, going on where it stopped, for one that was silent for too long, by what VIPs say (`idles`, or
// NULL): the caller removes it and asks again. NULL: the budget is used up.
struct flow_entry *flow_table_next_expired(struct flow_table *t, const struct flow_idles *idles, uint32_t *budget);

// Removes what has expired among the next `budget` entries, whatever VIPs say. Returns how many. (Not for a table whose SNAT flows
// are counted.)
uint32_t flow_table_expire(struct flow_table *t, struct mono_time now, uint32_t budget);

// The key, in that direction, of a flow.
struct flow_key flow_entry_key(const struct flow_table *t, const struct flow_entry *e, enum flow_direction direction);
struct flow_key flow_tuple_key(const struct flow_tuple *t, enum flow_direction direction);

// ---- Lookup, inline because it is the packet path ----

static inline struct flow_key flow_key_make(be32 src, be32 dst, be16 src_port, be16 dst_port, uint8_t protocol,
                                            enum flow_direction direction)
{
	return (struct flow_key){
		.addrs = src | (uint64_t)dst << 32,
		.ports = src_port | (uint32_t)dst_port << 16,
		.protocol = protocol,
		.direction = (uint8_t)direction,
	};
}

// The tag that a remote of IPv6 has in this table.
static inline be32 flow_table_tag(const struct flow_table *t, const uint8_t *addr)
{
	return addr_tag(addr, t->seed);
}

// The addresses of an entry; they mean something when it is of IPv6.
static inline struct flow_addrs *flow_table_addrs(const struct flow_table *t, const struct flow_entry *e)
{
	return &t->addrs6[e - t->entries];
}

static inline bool flow_entry_is_ip6(const struct flow_entry *e)
{
	return addr_is_name(e->dip);
}

static inline struct flow_tuple flow_entry_tuple(const struct flow_table *t, const struct flow_entry *e)
{
	return (struct flow_tuple){
		.remote = e->remote,
		.vip = e->vip,
		.dip = e->dip,
		.remote_port = e->remote_port,
		.vip_port = e->vip_port,
		.dip_port = e->dip_port,
		.protocol = e->protocol,
		.remote6 = flow_entry_is_ip6(e) ? flow_table_addrs(t, e)->remote : NULL,
	};
}

// Not __builtin_prefetch: GCC 12 takes a function that only prefetches for one without effect, and drops its calls.
static inline void cache_prefetch(const void *p)
{
	__asm__ volatile("prefetcht0 %0" : : "m"(*(const char *)p));
}

// Multiplies and folds: every bit of both words reaches every bit of the result (Wang Yi's wyhash).
static inline uint64_t flow_mix(uint64_t a, uint64_t b)
{
	unsigned __int128 product = (unsigned __int128)a * b;
	return (uint64_t)product ^ (uint64_t)(product >> 64);
}

static inline uint64_t flow_table_hash(const struct flow_table *t, const struct flow_key *k)
{
	uint64_t rest = k->ports | (uint64_t)k->protocol << 32 | (uint64_t)k->direction << 40;
	return flow_mix(flow_mix(k->addrs ^ t->seed, rest ^ 0xa0761d6478bd642fULL), t->seed ^ 0xe7037ed1a0b428dbULL);
}

static inline uint16_t flow_signature(uint64_t hash)
{
	uint16_t signature = (uint16_t)hash;
	return signature == 0 ? 1 : signature;
}

static inline struct flow_bucket *flow_table_bucket(const struct flow_table *t, uint64_t hash)
{
	return &t->buckets[hash_reduce(hash, t->n_buckets)];
}

// Stage 1: the bucket is on its way.
static inline void flow_table_prefetch(const struct flow_table *t, uint64_t hash)
{
	cache_prefetch(flow_table_bucket(t, hash));
}

// Which slots hold the signature: two bits per slot, as the byte mask of the comparison gives them.
static inline uint32_t flow_bucket_match(const struct flow_bucket *b, uint16_t signature)
{
	__m256i line = _mm256_load_si256((const __m256i *)(const void *)b);
	__m256i equal = _mm256_cmpeq_epi16(line, _mm256_set1_epi16((short)signature));
	return (uint32_t)_mm256_movemask_epi8(equal) & ((1u << (2 * FLOW_BUCKET_SLOTS)) - 1);
}

static inline uint32_t flow_match_slot(uint32_t match)
{
	return (uint32_t)__builtin_ctz(match) / 2;
}

static inline uint32_t flow_match_next(uint32_t match)
{
	match &= match - 1;
	return match & (match - 1);
}

#define FLOW_NO_CANDIDATE UINT32_MAX

// Stage 2: what will most likely be the entry is on its way. FLOW_NO_CANDIDATE: the flow is not in its primary bucket.
static inline uint32_t flow_table_prefetch_entry(const struct flow_table *t, uint64_t hash)
{
	const struct flow_bucket *b = flow_table_bucket(t, hash);
	uint32_t match = flow_bucket_match(b, flow_signature(hash));
	if (match == 0)
		return FLOW_NO_CANDIDATE;
	uint32_t candidate = b->refs[flow_match_slot(match)] >> 2;
	cache_prefetch(&t->entries[candidate]);
	return candidate;
}

// The same of IPv6: the addresses of the entry are on their way, too.
static inline uint32_t flow_table_prefetch_entry6(const struct flow_table *t, uint64_t hash)
{
	uint32_t candidate = flow_table_prefetch_entry(t, hash);
	if (candidate == FLOW_NO_CANDIDATE)
		return candidate;
	cache_prefetch(&t->addrs6[candidate]);
	cache_prefetch((const uint8_t *)&t->addrs6[candidate + 1] - 1);
	return candidate;
}

static inline bool ip6_addr_equal(const uint8_t *a, const uint8_t *b)
{
	return ((load64(a) ^ load64(b)) | (load64(a + 8) ^ load64(b + 8))) == 0;
}

static inline bool flow_entry_has_key(const struct flow_table *t, const struct flow_entry *e, const struct flow_key *k)
{
	const uint8_t *addrs = (const uint8_t *)(k->direction == FLOW_INBOUND ? &e->remote : &e->dip);
	const uint8_t *ports = (const uint8_t *)(k->direction == FLOW_INBOUND ? &e->remote_port : &e->dip_port);
	return load64(addrs) == k->addrs && load32(ports) == k->ports && e->protocol == k->protocol &&
	       (k->remote6 == NULL || ip6_addr_equal(flow_table_addrs(t, e)->remote, k->remote6));
}

static inline struct flow_entry *flow_bucket_find(const struct flow_table *t, const struct flow_bucket *b,
                                                  const struct flow_key *k, uint16_t signature)
{
	for (uint32_t match = flow_bucket_match(b, signature); match != 0; match = flow_match_next(match)) {
		uint32_t ref = b->refs[flow_match_slot(match)];
		struct flow_entry *e = &t->entries[ref >> 2];
		if ((ref & 1) == k->direction && flow_entry_has_key(t, e, k))
			return e;
	}
	return NULL;
}

// The other bucket of what is in this one; its own inverse.
static inline uint32_t flow_table_alternative(const struct flow_table *t, uint32_t bucket_idx, uint16_t signature)
{
	uint32_t turn = hash_reduce(hash_mix64(signature), t->n_buckets);
	return turn >= bucket_idx ? turn - bucket_idx : turn + t->n_buckets - bucket_idx;
}

// The flow, or NULL.
static inline struct flow_entry *flow_table_lookup(const struct flow_table *t, const struct flow_key *k, uint64_t hash)
{
	const struct flow_bucket *b = flow_table_bucket(t, hash);
	uint16_t signature = flow_signature(hash);
	struct flow_entry *e = flow_bucket_find(t, b, k, signature);
	if (__builtin_expect(e != NULL || b->n_elsewhere == 0, 1))
		return e;
	uint32_t alternative = flow_table_alternative(t, (uint32_t)(b - t->buckets), signature);
	return flow_bucket_find(t, &t->buckets[alternative], k, signature);
}

// Stage 3: the flow, or NULL, when stage 2 gave this candidate (which may have gone since).
static inline struct flow_entry *flow_table_lookup_staged(const struct flow_table *t, const struct flow_key *k,
                                                          uint64_t hash, uint32_t candidate)
{
	if (__builtin_expect(candidate != FLOW_NO_CANDIDATE, 1)) {
		struct flow_entry *e = &t->entries[candidate];
		if (__builtin_expect(flow_entry_has_key(t, e, k) && e->state != FLOW_FREE, 1))
			return e;
	}
	return flow_table_lookup(t, k, hash);
}

static inline enum flow_state flow_entry_state(const struct flow_entry *e)
{
	return (enum flow_state)(e->state & FLOW_STATE_MASK);
}

static inline bool flow_entry_is_snat(const struct flow_entry *e)
{
	return (e->state & FLOW_IS_SNAT) != 0;
}

// Is it, existing, a connection that came through a VIP's endpoint (not of SNAT, not to the DIP itself)?
static inline bool flow_entry_is_balanced(const struct flow_entry *e)
{
	return !flow_entry_is_snat(e) && e->vip != e->dip;
}

// Has the VM not heard yet that the client has its SYN-ACK? (Not of SNAT.) A client whose SYN came to two VMs acknowledges what
// one of them said, and its packets may come to the other one.
static inline bool flow_entry_is_half_open(const struct flow_entry *e)
{
	return e->state == FLOW_SYN || e->state == FLOW_SYN_ACK || e->state == FLOW_REFUSED;
}

// Can a packet with this acknowledgement be for the VM of a half-open flow: has the VM sent what it acknowledges? With TCP Fast
// Open (RFC 7413 section 4.2) that may be some data, too.
#define FLOW_EARLY_BYTES 0xffffu
static inline bool flow_entry_is_answer(const struct flow_entry *e, uint32_t ack)
{
	return e->state == FLOW_SYN_ACK && ack - e->vm_isn <= FLOW_EARLY_BYTES;
}

// The VM sent a SYN with this sequence number, and the flow was touched with it.
static inline void flow_entry_note_isn(struct flow_entry *e, uint32_t isn)
{
	if ((e->state & FLOW_STATE_MASK) == FLOW_SYN_ACK)
		e->vm_isn = isn;
}

// Is it only guessed so far that the client speaks to the VIP? (The flow was adopted from the VM's side; one of SNAT never is.)
static inline bool flow_entry_is_guess(const struct flow_entry *e)
{
	return e->state == FLOW_UNCONFIRMED_OUT;
}

// The state moves on as the packet says.
void flow_entry_move(const struct flow_table *t, struct flow_entry *e, enum flow_direction direction,
                     uint8_t tcp_flags);

// Does a packet leave the state as it is, whichever way it goes, and the flow has its deltas? Nearly all do.
static inline bool flow_entry_is_steady(const struct flow_entry *e, uint8_t tcp_flags)
{
	bool is_plain_data = (tcp_flags & (TCP_SYN | TCP_FIN | TCP_RST)) == 0;
	uint32_t state = e->state & FLOW_STATE_MASK;
	return is_plain_data && (state == FLOW_ESTABLISHED || state == FLOW_UDP || state == FLOW_ICMP);
}

// A packet of the flow came: its idle time begins anew; that is all for a steady one.
static inline void flow_entry_see(const struct flow_table *t, struct flow_entry *e)
{
	if (e->seen_s != t->now_s)
		e->seen_s = t->now_s;
}

// The same with any packet: its state moves on, too.
static inline void flow_entry_touch(const struct flow_table *t, struct flow_entry *e, enum flow_direction direction,
                                    uint8_t tcp_flags)
{
	flow_entry_see(t, e);
	if (!flow_entry_is_steady(e, tcp_flags))
		flow_entry_move(t, e, direction, tcp_flags);
}
