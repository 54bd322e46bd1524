// Fragments of random datagrams in random order, with doubled, overlapping and lost ones among them, against a model that marks
// every byte of every datagram; of both families, in one table. The seed is printed and can be given by SEED=n.
#include "tests/support/suite.h"

#include <stdio.h>
#include <string.h>

#include "common/base/memory.h"
#include "common/packet/fragments.h"

enum { N_DATAGRAMS = 12, N_CUTS_MAX = 10, N_STEPS = 200000, TABLE = 1024, NOTHING = -1 };

// A datagram as its sender cut it, and what came of it so far.
struct model {
	uint32_t n_pieces;
	uint32_t cuts[N_CUTS_MAX + 1]; // bytes: piece i is [cuts[i], cuts[i + 1])
	uint32_t id;
	bool is_ip6;
	bool has_come[N_CUTS_MAX];
	bool is_spoiled, is_decided, is_refused;
	uint64_t decision;
};

struct world {
	unsigned seed;
	struct fragments table;
	struct mono_time now;
	struct model models[N_DATAGRAMS];
	int waiting[FRAGMENT_SLOTS]; // of which datagram the fragment in this slot is
	uint32_t next_id;
	unsigned n_known, n_released, n_overlaps;
};

static unsigned pick(struct world *w, unsigned n)
{
	return (unsigned)rand_r(&w->seed) % n;
}

static unsigned seed_of_run(void)
{
	const char *text = getenv("SEED");
	unsigned seed = text != NULL ? (unsigned)atoi(text) : 791u;
	printf("SEED=%u\n", seed);
	return seed;
}

static void cut_anew(struct world *w, struct model *m)
{
	*m = (struct model){ .n_pieces = 2 + pick(w, N_CUTS_MAX - 1), .id = w->next_id++ & 0xffff };
	m->is_ip6 = pick(w, 2) == 0;
	if (m->is_ip6)
		m->id |= pick(w, 65536) << 16;
	for (uint32_t i = 0; i < m->n_pieces; i++)
		m->cuts[i + 1] = m->cuts[i] + 24 + 8 * pick(w, 60);
	m->cuts[m->n_pieces] -= pick(w, 8);
}

static struct fragment piece_of(const struct model *m, uint32_t i)
{
	static const uint8_t addrs6[32] = { 0x20, 1, 0x0d, 0xb8, 7 };
	return (struct fragment){ .src = m->is_ip6 ? 0 : 7,
		                      .dst = m->is_ip6 ? 0 : 9,
		                      .addrs6 = m->is_ip6 ? addrs6 : NULL,
		                      .id = m->id,
		                      .protocol = IP_PROTO_UDP,
		                      .is_last = i + 1 == m->n_pieces,
		                      .begin = m->cuts[i],
		                      .end = m->cuts[i + 1] };
}

static void drain(struct world *w)
{
	struct fragment_released r;
	while (fragments_next_released(&w->table, &r)) {
		ck_assert_uint_lt(r.slot, FRAGMENT_SLOTS);
		ck_assert_int_ne(w->waiting[r.slot], NOTHING);
		const struct model *m = &w->models[w->waiting[r.slot]];
		w->waiting[r.slot] = NOTHING;
		if (r.reason == DROP_NONE) {
			ck_assert(m->is_decided && !m->is_spoiled);
			ck_assert_uint_eq(r.decision, m->decision);
			w->n_released++;
		} else if (r.reason == DROP_FRAGMENT) {
			ck_assert(m->is_refused);
		} else {
			ck_assert(r.reason == DROP_FRAGMENT_TIMEOUT || (r.reason == DROP_FRAGMENT_OVERLAP && m->is_spoiled));
		}
	}
}

static void take_first(struct world *w, struct model *m, const struct fragment_step *step)
{
	ck_assert_int_eq(step->verdict, FRAGMENT_FIRST);
	m->is_refused = !m->is_decided && pick(w, 8) == 0;
	m->is_decided = !m->is_refused;
	m->decision = (uint64_t)pick(w, 1000);
	if (m->is_decided)
		fragments_decide(&w->table, step->datagram, m->decision);
	else
		fragments_refuse(&w->table, step->datagram);
}

static void take_other(struct world *w, const struct model *m, const struct fragment_step *step)
{
	if (m->is_decided) {
		ck_assert_int_eq(step->verdict, FRAGMENT_KNOWN);
		ck_assert_uint_eq(step->decision, m->decision);
		w->n_known++;
	} else if (m->is_refused) {
		ck_assert_int_eq(step->verdict, FRAGMENT_REFUSED);
		ck_assert_int_eq(step->reason, DROP_FRAGMENT);
	} else {
		ck_assert_int_eq(step->verdict, FRAGMENT_WAITS);
		ck_assert_uint_lt(step->slot, FRAGMENT_SLOTS);
		ck_assert_int_eq(step->gave_way, w->waiting[step->slot] != NOTHING);
		w->waiting[step->slot] = (int)(m - w->models);
	}
}

static void send_piece(struct world *w, struct model *m)
{
	uint32_t i = pick(w, m->n_pieces);
	struct fragment f = piece_of(m, i);
	m->has_come[i] = true;
	struct fragment_step step = fragments_take(&w->table, &f, w->now);
	if (m->is_spoiled) {
		ck_assert_int_eq(step.verdict, FRAGMENT_REFUSED);
		ck_assert_int_eq(step.reason, DROP_FRAGMENT_OVERLAP);
	} else if (i == 0) {
		take_first(w, m, &step);
	} else {
		take_other(w, m, &step);
	}
}

static bool any_has_come(const struct model *m)
{
	for (uint32_t i = 0; i < m->n_pieces; i++)
		if (m->has_come[i])
			return true;
	return false;
}

// A piece that came before, with eight bytes more or less at one end.
static void send_overlap(struct world *w, struct model *m)
{
	uint32_t i = pick(w, m->n_pieces);
	if (!any_has_come(m))
		return;
	while (!m->has_come[i])
		i = (i + 1) % m->n_pieces;
	struct fragment f = piece_of(m, i);
	if (pick(w, 2) == 0)
		f.begin += 8;
	else
		f.end += 8;
	f.is_last = f.is_last && pick(w, 2) == 0;
	struct fragment_step step = fragments_take(&w->table, &f, w->now);
	ck_assert_int_eq(step.verdict, FRAGMENT_REFUSED);
	ck_assert_int_eq(step.reason, DROP_FRAGMENT_OVERLAP);
	m->is_spoiled = true;
	w->n_overlaps++;
}

static bool is_complete(const struct model *m)
{
	for (uint32_t i = 0; i < m->n_pieces; i++)
		if (!m->has_come[i])
			return false;
	return true;
}

static void step(struct world *w)
{
	struct model *m = &w->models[pick(w, N_DATAGRAMS)];
	if (pick(w, 60) == 0)
		send_overlap(w, m);
	else
		send_piece(w, m);
	drain(w);
	if (is_complete(m)) { // the table forgot it, or its sender begins another one
		for (uint32_t slot = 0; slot < FRAGMENT_SLOTS; slot++)
			ck_assert_int_ne(w->waiting[slot], (int)(m - w->models));
		cut_anew(w, m);
	}
	if (pick(w, 200) == 0) { // all that is not complete is over
		w->now = mono_add_us(w->now, FRAGMENT_TIMEOUT_US);
		fragments_expire(&w->table, w->now);
		drain(w);
		for (uint32_t slot = 0; slot < FRAGMENT_SLOTS; slot++)
			ck_assert_int_eq(w->waiting[slot], NOTHING);
		for (uint32_t i = 0; i < N_DATAGRAMS; i++)
			cut_anew(w, &w->models[i]);
	}
	w->now = mono_add_us(w->now, 1);
}

START_TEST(fragments_go_where_their_first_one_goes_and_overlaps_spoil_their_datagram)
{
	static struct world w;
	void *memory = memory_aligned(64, fragments_memory_bytes(TABLE));
	w.seed = seed_of_run();
	w.now = mono_from_us(1);
	fragments_init(&w.table, TABLE, memory, 42);
	for (uint32_t slot = 0; slot < FRAGMENT_SLOTS; slot++)
		w.waiting[slot] = NOTHING;
	for (uint32_t i = 0; i < N_DATAGRAMS; i++)
		cut_anew(&w, &w.models[i]);
	for (uint32_t i = 0; i < N_STEPS; i++)
		step(&w);
	ck_assert_uint_gt(w.n_known, 1000);
	ck_assert_uint_gt(w.n_released, 1000);
	ck_assert_uint_gt(w.n_overlaps, 1000);
	memory_free(memory);
}
END_TEST

SUITE_MAIN("property-fragments", fragments_go_where_their_first_one_goes_and_overlaps_spoil_their_datagram)
