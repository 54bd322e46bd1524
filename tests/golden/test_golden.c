// Every row of the golden tables of a world, byte for byte (tests/golden/README.md).
#include "tests/support/suite.h"

#include <glob.h>
#include <stdio.h>

#include "tests/golden/table.h"

static void run_table(const char *path, struct golden_outcome *sum)
{
	struct golden_outcome o = golden_run(path, &golden_world);
	printf("%s: %u cases, %u packets\n", path, o.n_cases, o.n_packets);
	ck_assert_uint_gt(o.n_cases, 0);
	sum->n_cases += o.n_cases;
	sum->n_packets += o.n_packets;
	sum->n_failed += o.n_failed;
	sum->n_without_source += o.n_without_source;
}

START_TEST(every_packet_comes_out_as_the_tables_say)
{
	struct golden_outcome sum = { 0 };
	glob_t tables;
	ck_assert_int_eq(glob(GOLDEN_TABLES, 0, NULL, &tables), 0);
	for (size_t i = 0; i < tables.gl_pathc; i++)
		run_table(tables.gl_pathv[i], &sum);
	globfree(&tables);
	printf("%s: %u cases, %u packets\n", golden_world.name, sum.n_cases, sum.n_packets);
	ck_assert_msg(sum.n_failed == 0, "%u of %u cases have another outcome", sum.n_failed, sum.n_cases);
	ck_assert_msg(sum.n_without_source == 0, "%u cases do not say where it is written", sum.n_without_source);
}
END_TEST

SUITE_MAIN("golden", every_packet_comes_out_as_the_tables_say)
