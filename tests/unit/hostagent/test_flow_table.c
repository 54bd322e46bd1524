#include <stdio.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <signal.h>
#include <unistd.h>

#include "hostagent/core/rewrite.h"
#include "tests/support/suite.h"
#include "tests/unit/hostagent/flow_block.h"

static bool tuple_is(const struct flow_entry *e, const struct flow_tuple *t)
{
	return e->remote == t->remote && e->vip == t->vip && e->dip == t->dip && e->remote_port == t->remote_port &&
	       e->vip_port == t->vip_port && e->dip_port == t->dip_port && e->protocol == t->protocol;
}

START_TEST(a_flow_is_found_from_both_directions)
{
	void *block = flow_block_create(100);
	struct flow_table t;
	flow_table_init(&t, block, 100, TEST_SEED, TEST_OWNER, NULL, at_s(5));
	struct flow_tuple tuple = flow_number(7);
	struct flow_entry *e = flow_table_insert(&t, &tuple, FLOW_SYN);
	ck_assert_ptr_nonnull(e);
	ck_assert_ptr_eq(find_flow(&t, &tuple, FLOW_INBOUND), e);
	ck_assert_ptr_eq(find_flow(&t, &tuple, FLOW_REPLY), e);
	struct flow_key inbound = flow_tuple_key(&tuple, FLOW_INBOUND);
	inbound.direction = FLOW_REPLY; // the same bytes, but not the same key
	ck_assert_ptr_null(flow_table_lookup(&t, &inbound, flow_table_hash(&t, &inbound)));
	inbound = flow_tuple_key(&tuple, FLOW_INBOUND);
	inbound.protocol = IP_PROTO_UDP;
	ck_assert_ptr_null(flow_table_lookup(&t, &inbound, flow_table_hash(&t, &inbound)));
	flow_table_remove(&t, e);
	ck_assert_ptr_null(find_flow(&t, &tuple, FLOW_INBOUND));
	ck_assert_ptr_null(find_flow(&t, &tuple, FLOW_REPLY));
	ck_assert_uint_eq(t.n_flows, 0);
	free(block);
}
END_TEST

// The scalar twin of the vector comparison.
static uint32_t match_scalar(const struct flow_bucket *b, uint16_t signature)
{
	uint32_t match = 0;
	for (uint32_t slot = 0; slot < FLOW_BUCKET_SLOTS; slot++)
		if (b->signatures[slot] == signature)
			match |= 3u << (2 * slot);
	return match;
}

START_TEST(vector_and_scalar_match_agree)
{
	uint64_t seed = 1;
	for (int round = 0; round < 10000; round++) {
		struct flow_bucket b;
		for (size_t i = 0; i < sizeof b / 8; i++)
			((uint64_t *)&b)[i] = random_next(&seed) & 0x0003000300030003ULL;
		for (uint16_t signature = 0; signature < 4; signature++) {
			uint32_t match = flow_bucket_match(&b, signature);
			ck_assert_uint_eq(match, match_scalar(&b, signature));
			uint32_t n = 0;
			for (uint32_t m = match; m != 0; m = flow_match_next(m), n++)
				ck_assert_uint_eq(b.signatures[flow_match_slot(m)], signature);
			ck_assert_uint_eq(n, (uint32_t)__builtin_popcount(match) / 2);
		}
	}
}
END_TEST

START_TEST(the_alternative_of_the_alternative_is_the_primary)
{
	struct flow_table t = { .n_buckets = 419447 };
	uint64_t seed = 2;
	for (int i = 0; i < 100000; i++) {
		uint32_t bucket = random_below(&seed, t.n_buckets);
		uint16_t signature = (uint16_t)random_next(&seed);
		uint32_t other = flow_table_alternative(&t, bucket, signature);
		ck_assert_uint_lt(other, t.n_buckets);
		ck_assert_uint_eq(flow_table_alternative(&t, other, signature), bucket);
	}
}
END_TEST

static uint64_t n_elsewhere(const struct flow_table *t)
{
	uint64_t n = 0;
	for (uint32_t i = 0; i < t->n_buckets; i++)
		n += t->buckets[i].n_elsewhere;
	return n;
}

static void check_is_empty(const struct flow_table *t)
{
	ck_assert_uint_eq(t->n_flows, 0);
	ck_assert_uint_eq(n_elsewhere(t), 0);
	for (uint32_t i = 0; i < t->n_buckets; i++)
		ck_assert_uint_eq(match_scalar(&t->buckets[i], 0), (1u << (2 * FLOW_BUCKET_SLOTS)) - 1);
}

START_TEST(a_full_table_holds_its_whole_capacity_and_refuses_more)
{
	const uint32_t capacity = 200000;
	void *block = flow_block_create(capacity);
	struct flow_table t;
	flow_table_init(&t, block, capacity, TEST_SEED, TEST_OWNER, NULL, at_s(100));
	for (uint32_t i = 0; i < capacity; i++) {
		struct flow_tuple tuple = flow_number(i);
		ck_assert_ptr_nonnull(flow_table_insert(&t, &tuple, FLOW_ESTABLISHED));
	}
	ck_assert_uint_gt(n_elsewhere(&t), 0); // the way to the alternative was taken, too
	struct flow_tuple one_more = flow_number(capacity);
	ck_assert_ptr_null(flow_table_insert(&t, &one_more, FLOW_SYN));
	for (uint32_t i = 0; i < capacity; i++) {
		struct flow_tuple tuple = flow_number(i);
		struct flow_entry *e = find_flow(&t, &tuple, FLOW_REPLY);
		ck_assert_ptr_nonnull(e);
		ck_assert(tuple_is(e, &tuple));
		ck_assert_ptr_eq(find_flow(&t, &tuple, FLOW_INBOUND), e);
	}
	ck_assert_ptr_null(find_flow(&t, &one_more, FLOW_INBOUND));
	for (uint32_t i = 0; i < capacity; i++) {
		struct flow_tuple tuple = flow_number(i);
		flow_table_remove(&t, find_flow(&t, &tuple, FLOW_INBOUND));
	}
	check_is_empty(&t);
	free(block);
}
END_TEST

START_TEST(an_expired_flow_of_a_full_table_is_found_and_makes_room)
{
	const uint32_t capacity = 32;
	void *block = flow_block_create(capacity);
	struct flow_table t;
	flow_table_init(&t, block, capacity, TEST_SEED, TEST_OWNER, NULL, at_s(100));
	for (uint32_t i = 0; i < capacity; i++) {
		struct flow_tuple tuple = flow_number(i);
		ck_assert_ptr_nonnull(flow_table_insert(&t, &tuple, i == 20 ? FLOW_SYN : FLOW_ESTABLISHED));
	}
	struct flow_tuple more = flow_number(1000);
	uint32_t budget = 64;
	flow_table_set_now(&t, at_s(129));
	ck_assert_ptr_null(flow_table_next_expired(&t, NULL, &budget));
	ck_assert_uint_eq(budget, 0);
	ck_assert(flow_table_is_full(&t));
	ck_assert_ptr_null(flow_table_insert(&t, &more, FLOW_SYN));
	flow_table_set_now(&t, at_s(130));
	budget = 64;
	struct flow_tuple gone = flow_number(20);
	struct flow_entry *expired = flow_table_next_expired(&t, NULL, &budget);
	ck_assert_ptr_eq(expired, find_flow(&t, &gone, FLOW_INBOUND));
	flow_table_remove(&t, expired);
	ck_assert_ptr_null(flow_table_next_expired(&t, NULL, &budget));
	ck_assert(!flow_table_is_full(&t));
	ck_assert_ptr_nonnull(flow_table_insert(&t, &more, FLOW_SYN));
	free(block);
}
END_TEST

START_TEST(every_state_expires_after_its_own_time)
{
	static const struct {
		enum flow_state state;
		uint32_t timeout_s;
	} rows[] = {
		{ FLOW_UDP, 300 },
		{ FLOW_SYN, 30 },
		{ FLOW_SYN_ACK, 240 },
		{ FLOW_ESTABLISHED, 7440 },
		{ FLOW_FIN_IN, 240 },
		{ FLOW_FIN_OUT, 240 },
		{ FLOW_UNCONFIRMED_IN, 240 },
		{ FLOW_CLOSED, 120 },
		{ FLOW_UNCONFIRMED_OUT, 240 },
		{ FLOW_RESET, 10 },
		{ FLOW_SYN_OUT, 240 },
		{ FLOW_SYN_ACK_IN, 240 },
		{ FLOW_ICMP, 60 },
		{ FLOW_REFUSED, 10 },
		{ FLOW_RESET_IN | FLOW_IS_SNAT, 240 },
		{ FLOW_RESET_IN, 10 },
		{ FLOW_DISPUTED, 240 },
	};
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		void *block = flow_block_create(16);
		struct flow_table t;
		flow_table_init(&t, block, 16, TEST_SEED, TEST_OWNER, NULL, at_s(1000));
		struct flow_tuple tuple = flow_number(1);
		bool says_which = (rows[i].state & FLOW_STATE_MASK) == FLOW_RESET_IN;
		flow_table_insert(&t, &tuple, rows[i].state | (!says_which && i % 2 == 0 ? FLOW_IS_SNAT : 0));
		ck_assert_uint_eq(flow_table_expire(&t, at_s(1000 + rows[i].timeout_s - 1), 16), 0);
		ck_assert_uint_eq(flow_table_expire(&t, at_s(1000 + rows[i].timeout_s), 16), 1);
		ck_assert_uint_eq(t.n_flows, 0);
		free(block);
	}
}
END_TEST

START_TEST(expiry_goes_on_where_its_budget_ended)
{
	void *block = flow_block_create(100);
	struct flow_table t;
	flow_table_init(&t, block, 100, TEST_SEED, TEST_OWNER, NULL, at_s(0));
	for (uint32_t i = 0; i < 100; i++) {
		struct flow_tuple tuple = flow_number(i);
		flow_table_insert(&t, &tuple, FLOW_RESET);
	}
	for (uint32_t i = 0; i < 10; i++)
		ck_assert_uint_eq(flow_table_expire(&t, at_s(60), 10), 10);
	check_is_empty(&t);
	free(block);
}
END_TEST

// ---- Against a naive model: an array that is searched ----

#define MODEL_MAX 300

struct model_flow {
	struct flow_tuple tuple;
	enum flow_state state;
	uint32_t snat; // FLOW_IS_SNAT or 0
	uint32_t seen_s;
};

struct model {
	uint32_t n;
	struct model_flow flows[MODEL_MAX];
};

// Few addresses and ports, so that keys meet often.
static struct flow_tuple random_tuple(uint64_t *seed)
{
	static const struct {
		be32 vip;
		uint16_t port;
	} vips[] = { { 1, 80 }, { 1, 81 }, { 2, 80 } };
	static const uint8_t protocols[] = { IP_PROTO_TCP, IP_PROTO_TCP, IP_PROTO_TCP,
		                                 IP_PROTO_TCP, IP_PROTO_UDP, IP_PROTO_ICMP };
	uint32_t v = random_below(seed, 3);
	return (struct flow_tuple){
		.remote = 100 + random_below(seed, 4),
		.vip = vips[v].vip,
		.dip = 10 + random_below(seed, 2),
		.remote_port = (be16)(1000 + random_below(seed, 60)),
		.vip_port = vips[v].port,
		.dip_port = (be16)(8080 + random_below(seed, 2)),
		.protocol = protocols[random_below(seed, 6)],
	};
}

static struct model_flow *model_find(struct model *m, const struct flow_tuple *t, enum flow_direction direction)
{
	for (uint32_t i = 0; i < m->n; i++) {
		const struct flow_tuple *f = &m->flows[i].tuple;
		bool same_local = direction == FLOW_INBOUND ? f->vip == t->vip && f->vip_port == t->vip_port
		                                            : f->dip == t->dip && f->dip_port == t->dip_port;
		if (f->remote == t->remote && f->remote_port == t->remote_port && f->protocol == t->protocol && same_local)
			return &m->flows[i];
	}
	return NULL;
}

static void model_remove(struct model *m, struct model_flow *f)
{
	*f = m->flows[--m->n];
}

static uint32_t model_expire(struct model *m, uint32_t now_s)
{
	uint32_t n = 0;
	for (uint32_t i = m->n; i-- > 0;) {
		struct model_flow *f = &m->flows[i];
		enum flow_state state = f->state == FLOW_RESET_IN && f->snat == 0 ? FLOW_RESET : f->state;
		if (now_s - f->seen_s < flow_state_timeout_s(state))
			continue;
		model_remove(m, f);
		n++;
	}
	return n;
}

static void compare(const struct flow_table *t, struct model *m, const struct flow_tuple *tuple)
{
	for (int direction = 0; direction < 2; direction++) {
		struct flow_entry *e = find_flow(t, tuple, (enum flow_direction)direction);
		struct model_flow *f = model_find(m, tuple, (enum flow_direction)direction);
		ck_assert_msg((e == NULL) == (f == NULL), "one has it and the other has not");
		if (e == NULL)
			continue;
		ck_assert(tuple_is(e, &f->tuple));
		ck_assert_uint_eq(e->state, f->state | f->snat);
		ck_assert_uint_eq(e->seen_s, f->seen_s);
	}
	ck_assert_uint_eq(t->n_flows, m->n);
}

// The block moves to another address and another "process".
static void move_block(struct flow_table *t, void **block, uint32_t capacity, uint32_t now_s)
{
	void *moved = flow_block_create(capacity);
	memcpy(moved, *block, flow_table_persistent_bytes(capacity));
	free(*block);
	*block = moved;
	struct error err;
	memset(t, 0xee, sizeof *t);
	int code = flow_table_attach(t, moved, flow_table_bytes(capacity), capacity, TEST_OWNER, NULL, at_s(now_s), &err);
	ck_assert_msg(code == 0, "attach refused: %s", err.text);
}

static void insert_random(struct flow_table *t, struct model *m, const struct flow_tuple *tuple, uint64_t *seed)
{
	if (model_find(m, tuple, FLOW_INBOUND) != NULL || model_find(m, tuple, FLOW_REPLY) != NULL)
		return;
	enum flow_state state = (enum flow_state)(FLOW_SYN + random_below(seed, FLOW_ICMP - FLOW_SYN));
	if (random_below(seed, 8) == 0)
		state = (enum flow_state)(FLOW_REFUSED + random_below(seed, FLOW_STATE_COUNT - FLOW_REFUSED));
	if (tuple->protocol != IP_PROTO_TCP)
		state = flow_state_begun(tuple->protocol);
	uint32_t snat = random_below(seed, 2) ? FLOW_IS_SNAT : 0;
	bool is_full = m->n == t->capacity;
	struct flow_entry *e = flow_table_insert(t, tuple, state | snat);
	ck_assert((e == NULL) == is_full);
	if (e != NULL)
		m->flows[m->n++] = (struct model_flow){ .tuple = *tuple, .state = state, .snat = snat, .seen_s = t->now_s };
}

static void touch_random(struct flow_table *t, struct model *m, const struct flow_tuple *tuple, uint64_t *seed)
{
	enum flow_direction direction = (enum flow_direction)random_below(seed, 2);
	struct flow_entry *e = find_flow(t, tuple, direction);
	struct model_flow *f = model_find(m, tuple, direction);
	if (e == NULL)
		return;
	uint8_t flags = (uint8_t)random_below(seed, 32);
	flow_entry_touch(t, e, direction, flags);
	f->state = flow_state_after(f->state, direction, flags);
	f->seen_s = t->now_s;
}

static void run_model(uint64_t run_seed, uint32_t capacity)
{
	printf("model: seed %lu capacity %u\n", (unsigned long)run_seed, capacity);
	uint64_t seed = run_seed * 2654435761u + 1;
	uint32_t now_s = 1000;
	void *block = flow_block_create(capacity);
	struct flow_table t;
	struct model m = { 0 };
	flow_table_init(&t, block, capacity, random_next(&seed), TEST_OWNER, NULL, at_s(now_s));
	for (int step = 0; step < 20000; step++) {
		struct flow_tuple tuple = random_tuple(&seed);
		uint32_t what = random_below(&seed, 100);
		if (what < 45) {
			ck_assert_uint_eq(flow_table_expire(&t, at_s(now_s), capacity), model_expire(&m, now_s));
			insert_random(&t, &m, &tuple, &seed);
		} else if (what < 60) {
			struct flow_entry *e = find_flow(&t, &tuple, FLOW_REPLY);
			if (e != NULL) {
				model_remove(&m, model_find(&m, &tuple, FLOW_REPLY));
				flow_table_remove(&t, e);
			}
		} else if (what < 90) {
			touch_random(&t, &m, &tuple, &seed);
		} else if (what < 99) {
			now_s += random_below(&seed, 5);
			flow_table_set_now(&t, at_s(now_s));
		} else {
			move_block(&t, &block, capacity, now_s);
		}
		compare(&t, &m, &tuple);
	}
	free(block);
}

START_TEST(random_operations_agree_with_a_naive_model)
{
	for (uint64_t seed = 1; seed <= 6; seed++)
		run_model(seed, seed % 2 == 0 ? MODEL_MAX : 40);
}
END_TEST

// ---- Attaching ----

static int attach_copy(const uint8_t *persistent, uint32_t capacity, uint64_t owner, struct flow_table *t,
                       void **ret_block)
{
	*ret_block = flow_block_create(capacity);
	memcpy(*ret_block, persistent, flow_table_persistent_bytes(capacity));
	struct error err;
	int code = flow_table_attach(t, *ret_block, flow_table_bytes(capacity), capacity, owner, NULL, at_s(1000), &err);
	if (code != 0)
		ck_assert_msg(strlen(err.text) > 0, "an error without a sentence");
	return code;
}

static void *table_with(struct flow_table *t, uint32_t capacity, uint32_t n_flows)
{
	void *block = flow_block_create(capacity);
	flow_table_init(t, block, capacity, TEST_SEED, TEST_OWNER, NULL, at_s(1000));
	for (uint32_t i = 0; i < n_flows; i++) {
		struct flow_tuple tuple = flow_number(i);
		flow_table_insert(t, &tuple, FLOW_ESTABLISHED);
	}
	return block;
}

START_TEST(attach_refuses_what_is_not_this_hosts_table)
{
	struct flow_table t;
	struct flow_table u;
	void *block = table_with(&t, 64, 30);
	void *copy;
	ck_assert_int_eq(attach_copy(block, 64, TEST_OWNER, &u, &copy), 0);
	ck_assert_uint_eq(u.n_flows, 30);
	free(copy);
	ck_assert_int_eq(attach_copy(block, 64, TEST_OWNER + 1, &u, &copy), ERR_VERSION);
	free(copy);
	ck_assert_int_eq(attach_copy(block, 63, TEST_OWNER, &u, &copy), ERR_VERSION); // another capacity
	free(copy);
	struct error err;
	ck_assert_int_eq(flow_table_attach(&u, block, 100, 64, TEST_OWNER, NULL, at_s(1000), &err), ERR_MALFORMED);
	memset(block, 0, flow_table_persistent_bytes(64));
	ck_assert_int_eq(attach_copy(block, 64, TEST_OWNER, &u, &copy), ERR_MALFORMED);
	free(copy);
	free(block);
}
END_TEST

// A table of the layout before has no flows of SNAT and is the same otherwise.
START_TEST(a_table_of_the_oldest_layout_attaches_and_becomes_one_of_this)
{
	struct flow_table t;
	struct flow_table u;
	uint8_t *block = table_with(&t, 64, 30);
	uint32_t version = FLOW_TABLE_LAYOUT_OLDEST;
	memcpy(block + 8, &version, sizeof version);
	void *copy;
	ck_assert_int_eq(attach_copy(block, 64, TEST_OWNER, &u, &copy), 0);
	ck_assert_uint_eq(u.n_flows, 30);
	ck_assert_uint_eq(load32((uint8_t *)copy + 8), FLOW_TABLE_LAYOUT_VERSION);
	ck_assert_uint_eq(flow_table_capacity_of(copy, flow_table_bytes(64), TEST_OWNER), 64);
	free(copy);
	version = FLOW_TABLE_LAYOUT_VERSION + 1;
	memcpy(block + 8, &version, sizeof version);
	ck_assert_int_eq(attach_copy(block, 64, TEST_OWNER, &u, &copy), ERR_VERSION);
	free(copy);
	free(block);
}
END_TEST

static void *half_open_table(struct flow_table *t, struct flow_tuple *tuple, uint32_t isn)
{
	void *block = table_with(t, 64, 0);
	*tuple = flow_number(7);
	struct flow_entry *e = flow_table_insert(t, tuple, FLOW_SYN);
	flow_entry_touch(t, e, FLOW_REPLY, TCP_SYN | TCP_ACK);
	flow_entry_note_isn(e, isn);
	return block;
}

// The deltas are those of the same flow that never was half open.
static void check_deltas(struct flow_entry *e)
{
	struct flow_entry want = *e;
	flow_entry_set_deltas(NULL, &want);
	ck_assert_uint_eq(e->ip_delta, want.ip_delta);
	ck_assert_uint_eq(e->l4_delta, want.l4_delta);
}

START_TEST(a_half_open_flow_keeps_its_isn_until_it_is_open)
{
	struct flow_table t;
	struct flow_table u;
	struct flow_tuple tuple;
	void *block = half_open_table(&t, &tuple, 0x12345678);
	void *copy;
	ck_assert_int_eq(attach_copy(block, 64, TEST_OWNER, &u, &copy), 0);
	struct flow_entry *e = find_flow(&u, &tuple, FLOW_INBOUND);
	ck_assert_int_eq(flow_entry_state(e), FLOW_SYN_ACK);
	ck_assert(flow_entry_is_answer(e, 0x12345679) && !flow_entry_is_answer(e, 0x12345677));

	void *larger = flow_block_create(100);
	struct flow_table v;
	flow_table_init(&v, larger, 100, TEST_SEED, TEST_OWNER, NULL, at_s(1000));
	ck_assert_uint_eq(flow_table_copy(&v, &u), 0);
	e = find_flow(&v, &tuple, FLOW_INBOUND);
	ck_assert_uint_eq(e->vm_isn, 0x12345678);
	flow_entry_touch(&v, e, FLOW_INBOUND, TCP_ACK);
	ck_assert_int_eq(flow_entry_state(e), FLOW_ESTABLISHED);
	ck_assert(!flow_entry_is_half_open(e));
	check_deltas(e);
	free(larger);
	free(copy);
	free(block);
}
END_TEST

// Version 2 had deltas in the place of the ISN.
START_TEST(a_half_open_flow_of_an_older_layout_is_taken_for_open)
{
	struct flow_table t;
	struct flow_table u;
	struct flow_tuple tuple;
	uint8_t *block = half_open_table(&t, &tuple, 0x12345678);
	uint32_t version = FLOW_TABLE_LAYOUT_WITH_ISN - 1;
	memcpy(block + 8, &version, sizeof version);
	void *copy;
	ck_assert_int_eq(attach_copy(block, 64, TEST_OWNER, &u, &copy), 0);
	struct flow_entry *e = find_flow(&u, &tuple, FLOW_INBOUND);
	ck_assert_int_eq(flow_entry_state(e), FLOW_ESTABLISHED);
	check_deltas(e);
	ck_assert_uint_eq(load32((uint8_t *)copy + 8), FLOW_TABLE_LAYOUT_VERSION);
	free(copy);
	free(block);
}
END_TEST

START_TEST(a_state_that_does_not_fit_its_protocol_is_damage)
{
	static const struct {
		uint8_t state;
		int want;
	} rows[] = {
		{ FLOW_ESTABLISHED, 0 },
		{ FLOW_ESTABLISHED | FLOW_IS_SNAT, 0 },
		{ FLOW_SYN_OUT | FLOW_IS_SNAT, 0 },
		{ FLOW_UDP, ERR_MALFORMED },
		{ FLOW_ICMP | FLOW_IS_SNAT, ERR_MALFORMED },
		{ FLOW_IS_SNAT, ERR_MALFORMED },
		{ FLOW_STATE_COUNT, ERR_MALFORMED },
		{ FLOW_ESTABLISHED | 0x20, ERR_MALFORMED },
	};
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		struct flow_table t;
		struct flow_table u;
		void *block = table_with(&t, 64, 3);
		t.entries[1].state = rows[i].state;
		void *copy;
		ck_assert_int_eq(attach_copy(block, 64, TEST_OWNER, &u, &copy), rows[i].want);
		free(copy);
		free(block);
	}
}
END_TEST

START_TEST(a_flow_that_is_there_twice_is_damage)
{
	struct flow_table t;
	void *block = table_with(&t, 64, 2);
	struct flow_table u;
	void *copy;
	t.entries[5] = t.entries[1];
	ck_assert_int_eq(attach_copy(block, 64, TEST_OWNER, &u, &copy), ERR_MALFORMED);
	free(copy);
	free(block);
}
END_TEST

START_TEST(a_clock_that_went_back_does_not_keep_flows_for_ever)
{
	struct flow_table t;
	void *block = table_with(&t, 64, 1);
	t.entries[0].seen_s = 5000000;
	struct flow_table u;
	void *copy;
	ck_assert_int_eq(attach_copy(block, 64, TEST_OWNER, &u, &copy), 0);
	ck_assert_uint_eq(u.entries[0].seen_s, 1000);
	free(copy);
	free(block);
}
END_TEST

// Uses a table that was accepted, whatever its bytes were.
static void exercise(struct flow_table *t, uint64_t *seed)
{
	for (int i = 0; i < 50; i++) {
		struct flow_tuple tuple = flow_number(random_below(seed, 200));
		struct flow_entry *e = find_flow(t, &tuple, FLOW_INBOUND);
		if (e != NULL)
			flow_table_remove(t, e);
		else if (find_flow(t, &tuple, FLOW_REPLY) == NULL)
			flow_table_insert(t, &tuple, FLOW_SYN);
	}
	flow_table_expire(t, at_s(100000), t->capacity);
	flow_table_expire(t, at_s(100000), t->capacity);
	check_is_empty(t);
}

START_TEST(random_damage_is_refused_or_harmless_and_never_crashes)
{
	uint64_t seed = 77;
	struct flow_table t;
	const uint32_t capacity = 128;
	void *good = table_with(&t, capacity, 100);
	size_t bytes = flow_table_persistent_bytes(capacity);
	uint8_t *bad = malloc(bytes);
	uint32_t n_refused = 0;
	for (int round = 0; round < 20000; round++) {
		memcpy(bad, good, bytes);
		uint32_t n_changes = 1 + random_below(&seed, 4);
		for (uint32_t i = 0; i < n_changes; i++)
			bad[random_below(&seed, (uint32_t)bytes)] = (uint8_t)random_next(&seed);
		struct flow_table u;
		void *copy;
		int code = attach_copy(bad, capacity, TEST_OWNER, &u, &copy);
		if (code == 0) {
			exercise(&u, &seed);
		} else {
			n_refused++;
			ck_assert_msg(memcmp(copy, bad, bytes) == 0, "a refused block was changed");
		}
		free(copy);
	}
	printf("damage: %u of 20000 refused\n", n_refused);
	ck_assert_uint_gt(n_refused, 5000);
	free(bad);
	free(good);
}
END_TEST

START_TEST(every_damaged_byte_of_the_header_is_refused)
{
	struct flow_table t;
	uint8_t *good = table_with(&t, 64, 10);
	for (size_t i = 0; i < 48; i++) {
		good[i] ^= 0x10;
		struct flow_table u;
		void *copy;
		ck_assert_int_ne(attach_copy(good, 64, TEST_OWNER, &u, &copy), 0);
		free(copy);
		good[i] ^= 0x10;
	}
	free(good);
}
END_TEST

// A child inserts and removes as fast as it can, in shared memory, until it is killed; what it leaves must be accepted.
static void churn_for_ever(void *block, uint32_t capacity, volatile uint64_t *n_done)
{
	struct flow_table t;
	struct error err;
	if (flow_table_attach(&t, block, flow_table_bytes(capacity), capacity, TEST_OWNER, NULL, at_s(1000), &err) != 0)
		_exit(1);
	for (uint64_t seed = *n_done + 1;; ++*n_done) {
		struct flow_tuple tuple = flow_number(random_below(&seed, capacity * 2));
		struct flow_entry *e = find_flow(&t, &tuple, FLOW_INBOUND);
		if (e == NULL)
			flow_table_insert(&t, &tuple, FLOW_ESTABLISHED);
		else
			flow_table_remove(&t, e);
	}
}

START_TEST(a_process_killed_at_any_instant_leaves_a_table_to_attach)
{
	const uint32_t capacity = 512;
	size_t bytes = (flow_table_bytes(capacity) + 4095) / 4096 * 4096;
	uint8_t *shared = mmap(NULL, bytes + 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	ck_assert_ptr_ne(shared, MAP_FAILED);
	volatile uint64_t *n_done = (volatile uint64_t *)(void *)(shared + bytes);
	struct flow_table t;
	uint64_t seed = 99;
	flow_table_init(&t, shared, capacity, TEST_SEED, TEST_OWNER, NULL, at_s(1000));
	for (int round = 0; round < 200; round++) {
		uint64_t until = *n_done + 1000 + random_below(&seed, 20000);
		pid_t child = fork();
		if (child == 0)
			churn_for_ever(shared, capacity, n_done);
		while (*n_done < until && waitpid(child, NULL, WNOHANG) == 0)
			;
		kill(child, SIGKILL);
		int status;
		waitpid(child, &status, 0);
		struct error err = { 0 };
		int code =
			flow_table_attach(&t, shared, flow_table_bytes(capacity), capacity, TEST_OWNER, NULL, at_s(1000), &err);
		ck_assert_msg(code == 0, "round %d: %s", round, err.text);
		ck_assert(WIFSIGNALED(status));
		ck_assert_uint_le(t.n_flows, capacity);
	}
	munmap(shared, bytes + 4096);
}
END_TEST

SUITE_MAIN("flow table", a_flow_is_found_from_both_directions, vector_and_scalar_match_agree,
           the_alternative_of_the_alternative_is_the_primary, a_full_table_holds_its_whole_capacity_and_refuses_more,
           an_expired_flow_of_a_full_table_is_found_and_makes_room, every_state_expires_after_its_own_time,
           expiry_goes_on_where_its_budget_ended, random_operations_agree_with_a_naive_model,
           a_half_open_flow_keeps_its_isn_until_it_is_open, a_half_open_flow_of_an_older_layout_is_taken_for_open,
           attach_refuses_what_is_not_this_hosts_table, a_table_of_the_oldest_layout_attaches_and_becomes_one_of_this,
           a_state_that_does_not_fit_its_protocol_is_damage, a_flow_that_is_there_twice_is_damage,
           a_clock_that_went_back_does_not_keep_flows_for_ever, random_damage_is_refused_or_harmless_and_never_crashes,
           every_damaged_byte_of_the_header_is_refused, a_process_killed_at_any_instant_leaves_a_table_to_attach)
