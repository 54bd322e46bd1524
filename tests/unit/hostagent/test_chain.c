#include <stdio.h>
#include <string.h>

#include "common/base/mono.h"
#include "common/base/text.h"
#include "hostagent/core/chain.h"
#include "tests/support/suite.h"
#include "tests/unit/hostagent/flow_block.h"

// DIPs are letters; a view is the owners of the bucket as one DIP's host has them, "ABC": A is the present one.
#define VIEWS 8

static struct bucket_owners owners_from(const char *view)
{
	struct bucket_owners b = { 0 };
	for (; *view != '\0'; view++)
		b.dips[b.n++] = (be32)*view;
	return b;
}

struct walk {
	const char *what;
	const char *views[VIEWS]; // of A, B, ...
	char start;
	enum chain_kind kind;
	const char *present; // who gets new connections; in whose configuration the endpoint is
	const char *configured;
	const char *want; // the way, "A B C A! adopt": ! is the mark ADOPT
};

static const char *reason_text(const struct chain_step *step)
{
	return step->action == CHAIN_ADOPT ? "adopt" : drop_reason_name(step->reason);
}

// The way of a packet that nobody knows; returns its hops.
static uint32_t walk(const struct walk *w, uint16_t mark, char *text, size_t size)
{
	char dip = w->start;
	size_t at = 0;
	for (uint32_t hops = 0;; hops++) {
		struct bucket_owners owners = owners_from(w->views[dip - 'A']);
		struct chain_packet p = { .kind = w->kind,
			                      .mark = mark,
			                      .position = chain_position(&owners, (be32)dip),
			                      .is_present = strchr(w->present, dip) != NULL,
			                      .can_adopt = strchr(w->configured, dip) != NULL };
		struct chain_step step = chain_decide(&owners, &p);
		bool is_adopt = (mark & CHAIN_MARK_ADOPT) != 0;
		at += (size_t)snprintf(text + at, size - at, "%c%s ", dip, is_adopt ? "!" : "");
		if (step.action != CHAIN_FORWARD) {
			snprintf(text + at, size - at, "%s", reason_text(&step));
			return hops;
		}
		ck_assert_uint_eq(step.mark & CHAIN_MARK, CHAIN_MARK);
		ck_assert_uint_gt(step.mark & CHAIN_MARK_HOPS, (mark & CHAIN_MARK) ? mark & CHAIN_MARK_HOPS : 0);
		dip = (char)step.to;
		mark = step.mark;
	}
}

#define SAME(view)                               \
	{                                            \
		view, view, view, view, view, view, view \
	}

START_TEST(a_packet_that_nobody_knows_goes_once_around)
{
	static const struct walk rows[] = {
		{ "one owner", SAME("A"), 'A', CHAIN_TCP, "A", "A", "A adopt" },
		{ "from the present owner", SAME("ABC"), 'A', CHAIN_TCP, "A", "ABC", "A B C A! adopt" },
		{ "from an earlier one", SAME("ABC"), 'B', CHAIN_TCP, "A", "ABC", "B C A adopt" },
		{ "from the last", SAME("ABCD"), 'D', CHAIN_TCP, "A", "ABCD", "D A B C A! adopt" },
		{ "from one that is no owner", SAME("ABCD"), 'E', CHAIN_TCP, "A", "A", "E A B C D A! adopt" },
		{ "from one that is none, of a bucket of one", SAME("A"), 'E', CHAIN_TCP, "A", "A", "E A adopt" },
		{ "UDP", SAME("AB"), 'A', CHAIN_UDP, "A", "AB", "A B A! adopt" },
		{ "the present owner does not have the endpoint yet", SAME("AB"), 'A', CHAIN_TCP, "A", "B",
		  "A B A! encap_no_endpoint" },
		{ "an ICMP error makes no flow", SAME("ABC"), 'A', CHAIN_ERROR, "A", "ABC", "A B C icmp_unknown" },
		{ "a SYN begins where it came", SAME("ABC"), 'A', CHAIN_SYN, "ABC", "ABC", "A adopt" },
		{ "also at an earlier owner that still gets some", SAME("ABC"), 'B', CHAIN_SYN, "AB", "ABC", "B adopt" },
		{ "not at one that is drained", SAME("ABC"), 'B', CHAIN_SYN, "A", "ABC", "B A! adopt" },
		{ "nor at one that was removed", SAME("ABC"), 'C', CHAIN_SYN, "AB", "AB", "C A! adopt" },
		{ "nor at one that is none", SAME("ABC"), 'E', CHAIN_SYN, "A", "A", "E A! adopt" },
		{ "at a new DIP that nobody told", SAME("AB"), 'A', CHAIN_SYN, "A", "", "A encap_no_endpoint" },
	};
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		char got[100];
		walk(&rows[i], 0, got, sizeof got);
		ck_assert_msg(strcmp(got, rows[i].want) == 0, "%s:\n  want %s\n  got  %s", rows[i].what, rows[i].want, got);
	}
}
END_TEST

START_TEST(where_views_differ_the_walk_goes_on_and_tcp_is_not_adopted)
{
	static const struct walk rows[] = {
		{ "B does not know yet of A", { "ABC", "BC", "ABC" }, 'A', CHAIN_TCP, "A", "ABC", "A B C chain_skew" },
		{ "C does not know yet of A", { "ABC", "ABC", "BC" }, 'A', CHAIN_TCP, "A", "ABC", "A B C chain_skew" },
		{ "UDP is", { "ABC", "ABC", "BC" }, 'A', CHAIN_UDP, "A", "ABC", "A B C B! adopt" },
		{ "the mux is late, the hosts are not", SAME("ABC"), 'B', CHAIN_TCP, "A", "ABC", "B C A adopt" },
		{ "B and A each take the other for the owner: SYN", { "BA", "AB" }, 'A', CHAIN_SYN, "", "AB", "A B! adopt" },
		{ "and in the middle", { "BA", "AB" }, 'A', CHAIN_TCP, "", "AB", "A B chain_skew" },
	};
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		char got[100];
		walk(&rows[i], 0, got, sizeof got);
		ck_assert_msg(strcmp(got, rows[i].want) == 0, "%s:\n  want %s\n  got  %s", rows[i].what, rows[i].want, got);
	}
}
END_TEST

START_TEST(whatever_mark_comes_it_ends)
{
	struct walk w = { "any", SAME("ABCD"), 'A', CHAIN_TCP, "A", "ABCD", "" };
	for (uint32_t mark = 0; mark <= UINT16_MAX; mark++) {
		for (w.start = 'A'; w.start <= 'E'; w.start++) {
			char got[200];
			ck_assert_uint_le(walk(&w, (uint16_t)mark, got, sizeof got), CHAIN_HOPS_MAX);
		}
	}
}
END_TEST

static void random_view(uint64_t *seed, char view[OWNERS_MAX + 1])
{
	char all[] = "ABCDEF";
	uint32_t n = 1 + random_below(seed, OWNERS_MAX);
	for (uint32_t i = 0; i < n; i++) {
		uint32_t pick = i + random_below(seed, 6 - i);
		char other = all[i];
		all[i] = all[pick];
		all[pick] = other;
		view[i] = all[i];
	}
	view[n] = '\0';
}

// Whatever anyone believes: bounded, and with one and the same list everyone on it is asked.
START_TEST(random_views_end_within_the_limit)
{
	uint64_t seed = 11;
	for (int round = 0; round < 100000; round++) {
		char views[7][OWNERS_MAX + 1];
		struct walk w = { "random", { 0 }, (char)('A' + random_below(&seed, 7)), CHAIN_TCP, "", "ABCDEFG", "" };
		bool is_same = random_below(&seed, 2) == 0;
		w.kind = (enum chain_kind)random_below(&seed, 4);
		for (int i = 0; i < 7; i++) {
			random_view(&seed, views[i]);
			w.views[i] = is_same ? views[0] : views[i];
		}
		char got[200];
		uint32_t hops = walk(&w, 0, got, sizeof got);
		ck_assert_msg(hops <= CHAIN_HOPS_MAX, "round %d: %s", round, got);
		for (const char *c = views[0]; is_same && w.kind != CHAIN_SYN && *c != '\0'; c++)
			ck_assert_msg(strchr(got, *c) != NULL, "round %d: %c of %s not asked: %s", round, *c, views[0], got);
	}
}
END_TEST

SUITE_MAIN("agent chain", a_packet_that_nobody_knows_goes_once_around,
           where_views_differ_the_walk_goes_on_and_tcp_is_not_adopted, whatever_mark_comes_it_ends,
           random_views_end_within_the_limit)
