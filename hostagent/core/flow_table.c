#include "hostagent/core/flow_table.h"

#include <stdatomic.h>
#include <string.h>

#include "common/base/check.h"
#include "hostagent/core/flow_table_layout.h"
#include "hostagent/core/rewrite.h"

#define LOAD_PER_BUCKET 5 // references per bucket when the table is full; half of the slots

// ---- Layout ----

static uint32_t buckets_of(uint32_t capacity)
{
	return (uint32_t)(((uint64_t)capacity * 2 + LOAD_PER_BUCKET - 1) / LOAD_PER_BUCKET) + 16;
}

static size_t whole_pages(size_t bytes)
{
	return (bytes + PAGE_BYTES - 1) / PAGE_BYTES * PAGE_BYTES;
}

size_t flow_table_persistent_bytes_ip4(uint32_t capacity)
{
	return whole_pages(sizeof(struct flow_table_header) + (size_t)capacity * sizeof(struct flow_entry));
}

size_t flow_table_persistent_bytes(uint32_t capacity)
{
	return flow_table_persistent_bytes_ip4(capacity) + whole_pages((size_t)capacity * sizeof(struct flow_addrs));
}

size_t flow_table_bytes(uint32_t capacity)
{
	return flow_table_persistent_bytes(capacity) + (size_t)buckets_of(capacity) * sizeof(struct flow_bucket);
}

// The version is left out, so that one store makes a table of the oldest layout one of this.
uint64_t flow_table_header_check(const struct flow_table_header *h)
{
	struct flow_table_header copy = *h;
	copy.layout_version = FLOW_TABLE_LAYOUT_OLDEST;
	return hash_bytes(&copy, offsetof(struct flow_table_header, check), FLOW_TABLE_MAGIC);
}

void flow_table_map(struct flow_table *t, void *block, uint32_t capacity, uint64_t seed, struct addr_names *names)
{
	uint8_t *base = block;
	memset(t, 0, sizeof *t);
	t->entries = (struct flow_entry *)(void *)(base + sizeof(struct flow_table_header));
	t->addrs6 = (struct flow_addrs *)(void *)(base + flow_table_persistent_bytes_ip4(capacity));
	t->names = names;
	t->buckets = (struct flow_bucket *)(void *)(base + flow_table_persistent_bytes(capacity));
	t->n_buckets = buckets_of(capacity);
	t->capacity = capacity;
	t->seed = seed;
	t->free_head = NO_ENTRY;
	memset(t->buckets, 0, (size_t)t->n_buckets * sizeof *t->buckets);
}

// Puts all unused entries into the free list, the lowest first, so that a table that is mostly empty stays compact.
void flow_table_rebuild_free_list(struct flow_table *t)
{
	t->free_head = NO_ENTRY;
	for (uint32_t i = t->capacity; i-- > 0;) {
		struct flow_entry *e = &t->entries[i];
		if (e->state != FLOW_FREE) {
			if (t->high_water == 0)
				t->high_water = i + 1;
			continue;
		}
		e->next_free = t->free_head;
		t->free_head = i;
	}
}

void flow_table_set_now(struct flow_table *t, struct mono_time now)
{
	t->now_s = (uint32_t)(now.us / 1000000);
}

void flow_table_init(struct flow_table *t, void *block, uint32_t capacity, uint64_t seed, uint64_t owner,
                     struct addr_names *names, struct mono_time now)
{
	CHECK(capacity >= FLOW_TABLE_CAPACITY_MIN && capacity <= FLOW_TABLE_CAPACITY_MAX);
	struct flow_table_header *h = block;
	h->magic = 0; // a half-made table is none
	atomic_signal_fence(memory_order_seq_cst);
	memset((uint8_t *)block + sizeof h->magic, 0, flow_table_persistent_bytes_ip4(capacity) - sizeof h->magic);
	flow_table_map(t, block, capacity, seed, names);
	flow_table_rebuild_free_list(t);
	flow_table_set_now(t, now);

	struct flow_table_header header = {
		.magic = FLOW_TABLE_MAGIC,
		.layout_version = FLOW_TABLE_LAYOUT_VERSION,
		.header_bytes = sizeof header,
		.entry_bytes = sizeof(struct flow_entry),
		.capacity = capacity,
		.seed = seed,
		.owner = owner,
	};
	header.check = flow_table_header_check(&header);
	memcpy((uint8_t *)block + sizeof h->magic, (uint8_t *)&header + sizeof h->magic, sizeof header - sizeof h->magic);
	atomic_signal_fence(memory_order_seq_cst);
	h->magic = header.magic;
}

// ---- Index ----

struct flow_key flow_entry_key(const struct flow_table *t, const struct flow_entry *e, enum flow_direction direction)
{
	struct flow_tuple tuple = flow_entry_tuple(t, e);
	return flow_tuple_key(&tuple, direction);
}

struct flow_key flow_tuple_key(const struct flow_tuple *t, enum flow_direction direction)
{
	struct flow_key key = direction == FLOW_INBOUND
	                          ? flow_key_make(t->remote, t->vip, t->remote_port, t->vip_port, t->protocol, direction)
	                          : flow_key_make(t->dip, t->remote, t->dip_port, t->remote_port, t->protocol, direction);
	key.remote6 = t->remote6;
	return key;
}

// The whole remote is no part of it.
uint64_t flow_entry_hash(const struct flow_table *t, const struct flow_entry *e, enum flow_direction direction)
{
	struct flow_key key = direction == FLOW_INBOUND
	                          ? flow_key_make(e->remote, e->vip, e->remote_port, e->vip_port, e->protocol, direction)
	                          : flow_key_make(e->dip, e->remote, e->dip_port, e->remote_port, e->protocol, direction);
	return flow_table_hash(t, &key);
}

static uint32_t check_of_hashes(uint64_t inbound_hash, uint64_t reply_hash)
{
	return (uint32_t)(inbound_hash ^ (inbound_hash >> 32)) + (uint32_t)(reply_hash ^ (reply_hash >> 29));
}

// Names are another process's tomorrow: the check is of the addresses themselves.
static uint32_t check_of_ip6(const struct flow_table *t, const struct flow_entry *e)
{
	uint64_t h = hash_bytes(flow_table_addrs(t, e), sizeof(struct flow_addrs), t->seed);
	uint64_t ports = e->dip_port | (uint64_t)e->remote_port << 16 | (uint64_t)e->vip_port << 32;
	return (uint32_t)(hash_mix64(h ^ ports ^ (uint64_t)e->protocol << 48) >> 32);
}

uint32_t flow_entry_check(const struct flow_table *t, const struct flow_entry *e)
{
	if (flow_entry_is_ip6(e))
		return check_of_ip6(t, e);
	return check_of_hashes(flow_entry_hash(t, e, FLOW_INBOUND), flow_entry_hash(t, e, FLOW_REPLY));
}

enum { REF_ALTERNATIVE = 2 };

static bool bucket_put(struct flow_bucket *b, uint16_t signature, uint32_t ref)
{
	uint32_t empty = flow_bucket_match(b, 0);
	if (empty == 0)
		return false;
	uint32_t slot = flow_match_slot(empty);
	b->signatures[slot] = signature;
	b->refs[slot] = ref;
	return true;
}

// Makes room in a full bucket by moving one of its references to that one's other bucket.
static bool bucket_make_room(struct flow_table *t, uint32_t bucket_idx)
{
	struct flow_bucket *b = &t->buckets[bucket_idx];
	for (uint32_t slot = 0; slot < FLOW_BUCKET_SLOTS; slot++) {
		uint16_t signature = b->signatures[slot];
		struct flow_bucket *other = &t->buckets[flow_table_alternative(t, bucket_idx, signature)];
		if (other == b || !bucket_put(other, signature, b->refs[slot] ^ REF_ALTERNATIVE))
			continue;
		if (b->refs[slot] & REF_ALTERNATIVE)
			other->n_elsewhere--; // it came home
		else
			b->n_elsewhere++;
		b->signatures[slot] = 0;
		return true;
	}
	return false;
}

static bool index_put(struct flow_table *t, uint64_t hash, uint32_t ref)
{
	uint16_t signature = flow_signature(hash);
	struct flow_bucket *b = flow_table_bucket(t, hash);
	if (bucket_put(b, signature, ref))
		return true;
	uint32_t bucket_idx = (uint32_t)(b - t->buckets);
	struct flow_bucket *other = &t->buckets[flow_table_alternative(t, bucket_idx, signature)];
	if (bucket_put(other, signature, ref | REF_ALTERNATIVE)) {
		b->n_elsewhere++;
		return true;
	}
	return bucket_make_room(t, bucket_idx) && bucket_put(b, signature, ref);
}

static bool bucket_take(struct flow_bucket *b, uint16_t signature, uint32_t ref)
{
	for (uint32_t match = flow_bucket_match(b, signature); match != 0; match = flow_match_next(match)) {
		uint32_t slot = flow_match_slot(match);
		if (b->refs[slot] != ref)
			continue;
		b->signatures[slot] = 0;
		return true;
	}
	return false;
}

static void index_take(struct flow_table *t, uint64_t hash, uint32_t ref)
{
	uint16_t signature = flow_signature(hash);
	struct flow_bucket *b = flow_table_bucket(t, hash);
	if (bucket_take(b, signature, ref))
		return;
	uint32_t alternative = flow_table_alternative(t, (uint32_t)(b - t->buckets), signature);
	bool was_there = bucket_take(&t->buckets[alternative], signature, ref | REF_ALTERNATIVE);
	CHECK(was_there);
	b->n_elsewhere--;
}

static uint32_t ref_of(uint32_t entry_idx, enum flow_direction direction)
{
	return entry_idx << 2 | (uint32_t)direction;
}

static bool index_put_both(struct flow_table *t, uint32_t entry_idx, uint64_t inbound_hash, uint64_t reply_hash)
{
	if (!index_put(t, inbound_hash, ref_of(entry_idx, FLOW_INBOUND)))
		return false;
	if (index_put(t, reply_hash, ref_of(entry_idx, FLOW_REPLY)))
		return true;
	index_take(t, inbound_hash, ref_of(entry_idx, FLOW_INBOUND));
	return false;
}

bool flow_table_index_both(struct flow_table *t, uint32_t entry_idx, uint64_t inbound_hash, uint64_t reply_hash)
{
	return index_put_both(t, entry_idx, inbound_hash, reply_hash);
}

// ---- Flows ----

static uint64_t tuple_hash(const struct flow_table *t, const struct flow_tuple *tuple, enum flow_direction direction)
{
	struct flow_key key = flow_tuple_key(tuple, direction);
	return flow_table_hash(t, &key);
}

bool flow_table_is_full(const struct flow_table *t)
{
	return t->free_head == NO_ENTRY;
}

struct flow_entry *flow_table_insert(struct flow_table *t, const struct flow_tuple *tuple, uint32_t state)
{
	return flow_table_insert_hashed(t, tuple, state, tuple_hash(t, tuple, FLOW_INBOUND),
	                                tuple_hash(t, tuple, FLOW_REPLY));
}

__attribute__((noinline, cold)) static void put_addrs6(const struct flow_table *t, struct flow_entry *e,
                                                       const uint8_t *remote)
{
	struct flow_addrs *a = flow_table_addrs(t, e);
	memcpy(a->dip, addr_name_address(t->names, e->dip), IP6_ADDR_BYTES);
	memcpy(a->remote, remote, IP6_ADDR_BYTES);
	memcpy(a->vip, addr_name_address(t->names, e->vip), IP6_ADDR_BYTES);
	e->check = check_of_ip6(t, e);
}

struct flow_entry *flow_table_insert_hashed(struct flow_table *t, const struct flow_tuple *tuple, uint32_t state,
                                            uint64_t inbound_hash, uint64_t reply_hash)
{
	CHECK((state & ~FLOW_IS_SNAT) > FLOW_FREE && (state & ~FLOW_IS_SNAT) < FLOW_STATE_COUNT);
	if (t->free_head == NO_ENTRY)
		return NULL;
	uint32_t entry_idx = t->free_head;
	if (!index_put_both(t, entry_idx, inbound_hash, reply_hash))
		return NULL;
	struct flow_entry *e = &t->entries[entry_idx];
	t->free_head = e->next_free;
	if (t->free_head != NO_ENTRY)
		cache_prefetch(&t->entries[t->free_head]);
	e->dip = tuple->dip;
	e->remote = tuple->remote;
	e->vip = tuple->vip;
	e->dip_port = tuple->dip_port;
	e->remote_port = tuple->remote_port;
	e->vip_port = tuple->vip_port;
	e->protocol = tuple->protocol;
	e->seen_s = t->now_s;
	e->check = check_of_hashes(inbound_hash, reply_hash);
	if (__builtin_expect(tuple->remote6 != NULL, 0))
		put_addrs6(t, e, tuple->remote6);
	flow_entry_set_deltas(t, e);
	if (entry_idx >= t->high_water)
		t->high_water = entry_idx + 1;
	t->n_flows++;
	atomic_signal_fence(memory_order_release); // killed before this store: there never was such a flow
	e->state = (uint8_t)state;
	return e;
}

void flow_table_remove(struct flow_table *t, struct flow_entry *e)
{
	CHECK(e->state != FLOW_FREE);
	uint32_t entry_idx = (uint32_t)(e - t->entries);
	e->state = FLOW_FREE;
	atomic_signal_fence(memory_order_release);
	index_take(t, flow_entry_hash(t, e, FLOW_INBOUND), ref_of(entry_idx, FLOW_INBOUND));
	index_take(t, flow_entry_hash(t, e, FLOW_REPLY), ref_of(entry_idx, FLOW_REPLY));
	e->next_free = t->free_head;
	t->free_head = entry_idx;
	t->n_flows--;
}

void flow_entry_move(const struct flow_table *t, struct flow_entry *e, enum flow_direction direction, uint8_t tcp_flags)
{
	enum flow_state before = flow_entry_state(e);
	enum flow_state after = flow_state_after(before, direction, tcp_flags);
	e->state = (uint8_t)((e->state & FLOW_IS_SNAT) | after);
	if (before != FLOW_SYN_ACK || after == FLOW_SYN_ACK)
		return;
	atomic_signal_fence(memory_order_release); // killed before these stores: attach makes the deltas
	flow_entry_set_deltas(t, e);
}

// A RST that came in is seldom forged. Should it have been: a flow of SNAT could not be made anew (RFC 7857 section 2.2), one that
// came through an endpoint is made anew from the next packet of either side, and must not keep who drains its DIP waiting.
static enum flow_state state_of_timeout(const struct flow_entry *e)
{
	enum flow_state state = flow_entry_state(e);
	return state == FLOW_RESET_IN && !flow_entry_is_snat(e) ? FLOW_RESET : state;
}

static bool entry_is_expired(const struct flow_table *t, const struct flow_idles *idles, const struct flow_entry *e)
{
	uint32_t idle_s = t->now_s > e->seen_s ? t->now_s - e->seen_s : 0;
	return idle_s >= flow_idles_timeout_s(idles, e->vip, state_of_timeout(e));
}

struct flow_entry *flow_table_next_expired(struct flow_table *t, const struct flow_idles *idles, uint32_t *budget)
{
	if (t->n_flows == 0)
		return NULL;
	if (*budget > t->high_water)
		*budget = t->high_water;
	while (*budget > 0) {
		--*budget;
		if (t->cursor >= t->high_water)
			t->cursor = 0;
		struct flow_entry *e = &t->entries[t->cursor++];
		if (e->state != FLOW_FREE && entry_is_expired(t, idles, e))
			return e;
	}
	return NULL;
}

uint32_t flow_table_expire(struct flow_table *t, struct mono_time now, uint32_t budget)
{
	flow_table_set_now(t, now);
	uint32_t n_removed = 0;
	for (struct flow_entry *e; (e = flow_table_next_expired(t, NULL, &budget)) != NULL; n_removed++)
		flow_table_remove(t, e);
	return n_removed;
}
