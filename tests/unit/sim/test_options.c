// Plans of trouble as text.
#include "tests/sim/options.h"

#include <string.h>

#include "tests/support/suite.h"

START_TEST(a_plan_says_what_how_much_how_often_and_from_when)
{
	struct sim_options o;
	const char *problem;
	ck_assert(churn_parse("mux-kill=2@10+5,dips=10%@7,agent-restart", &o, &problem));
	ck_assert_uint_eq(o.n_churn, 3);
	ck_assert_uint_eq(o.churn[0].action, CHURN_MUX_KILL);
	ck_assert_uint_eq(o.churn[0].amount, 2);
	ck_assert(!o.churn[0].is_percent && o.churn[0].period_s == 10 && o.churn[0].first_s == 5);
	ck_assert(o.churn[1].is_percent && o.churn[1].amount == 10);
	ck_assert(o.churn[1].period_s == 7 && o.churn[1].first_s == 7);
	ck_assert_uint_eq(o.churn[2].amount, 1);
}
END_TEST

START_TEST(built_in_plans_are_plans)
{
	static const char *const names[] = { "none",  "trouble", "muxes",       "dips",   "drain", "flap",  "weights",
		                                 "hosts", "agents",  "agents-lose", "leader", "late",  "storm", "snat" };
	for (uint32_t i = 0; i < sizeof names / sizeof *names; i++) {
		struct sim_options o;
		const char *problem;
		ck_assert_msg(churn_parse(names[i], &o, &problem), "%s: %s", names[i], problem);
		ck_assert_msg((o.n_churn == 0) == (strcmp(names[i], "none") == 0), "%s", names[i]);
	}
}
END_TEST

START_TEST(what_is_no_plan_is_refused_with_the_place)
{
	static const struct {
		const char *text;
		const char *where;
	} cases[] = {
		{ "mux-kil", "mux-kil" },      { "dips=10%@", "dips=10%@" },      { "dips=x", "dips=x" },
		{ "dips,nothing", "nothing" }, { "dips=10 %", "dips=10 %" },      { "mux-kill=0", "mux-kill=0" },
		{ "dips@0", "dips@0" },        { "dips@5,drain@5-", "drain@5-" },
	};
	for (uint32_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		struct sim_options o;
		const char *problem = "";
		ck_assert_msg(!churn_parse(cases[i].text, &o, &problem), "%s", cases[i].text);
		ck_assert_str_eq(problem, cases[i].where);
	}
}
END_TEST

SUITE_MAIN("sim-options", a_plan_says_what_how_much_how_often_and_from_when, built_in_plans_are_plans,
           what_is_no_plan_is_refused_with_the_place)
