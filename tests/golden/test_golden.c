// Every row of a golden table, byte for byte (tests/golden/README.md).
#include "tests/support/suite.h"

#include <stdio.h>

#include "tests/golden/table.h"

START_TEST(every_packet_comes_out_as_the_table_says)
{
	struct golden_outcome o = golden_run(GOLDEN_TABLE, &golden_world);
	printf("%s: %u cases, %u packets\n", golden_world.name, o.n_cases, o.n_packets);
	ck_assert_uint_gt(o.n_cases, 0);
	ck_assert_msg(o.n_failed == 0, "%u of %u cases have another outcome", o.n_failed, o.n_cases);
	ck_assert_msg(o.n_without_source == 0, "%u cases do not say where it is written", o.n_without_source);
}
END_TEST

SUITE_MAIN("golden", every_packet_comes_out_as_the_table_says)
