// When a pool that fills up is worth an event, and when that is over.
#include "manager/core/snat_pool_level.h"
#include "tests/support/suite.h"

struct row {
	uint32_t n_held; // of 1000
	uint32_t n_quarantined;
	enum snat_pool_level want;
};

static void expect(const struct row *rows, size_t n)
{
	enum snat_pool_level level = SNAT_POOL_OK;
	for (size_t i = 0; i < n; i++) {
		struct snat_pool_counts counts = { .n_ports = 1000,
			                               .n_held = rows[i].n_held,
			                               .n_quarantined = rows[i].n_quarantined };
		level = snat_pool_level_next(level, &counts);
		ck_assert_msg(level == rows[i].want, "row %zu: %u held, %u quarantined: level %d", i, rows[i].n_held,
		              rows[i].n_quarantined, (int)level);
	}
}

#define EXPECT(...)                                       \
	do {                                                  \
		static const struct row rows[] = { __VA_ARGS__ }; \
		expect(rows, sizeof rows / sizeof *rows);         \
	} while (0)

START_TEST(a_pool_is_at_80_percent_until_it_is_below_70)
{
	EXPECT({ 0, 1000, SNAT_POOL_OK }, { 799, 201, SNAT_POOL_OK }, { 800, 0, SNAT_POOL_80_PERCENT },
	       { 799, 0, SNAT_POOL_80_PERCENT }, { 700, 0, SNAT_POOL_80_PERCENT }, { 900, 0, SNAT_POOL_80_PERCENT },
	       { 699, 301, SNAT_POOL_OK }, { 700, 0, SNAT_POOL_OK }, { 799, 0, SNAT_POOL_OK },
	       { 800, 0, SNAT_POOL_80_PERCENT });
}
END_TEST

START_TEST(a_pool_is_exhausted_until_less_than_95_percent_are_leased_or_quarantined)
{
	EXPECT({ 999, 1, SNAT_POOL_80_PERCENT }, { 1000, 0, SNAT_POOL_EXHAUSTED }, { 500, 450, SNAT_POOL_EXHAUSTED },
	       { 900, 49, SNAT_POOL_80_PERCENT }, { 960, 0, SNAT_POOL_80_PERCENT }, { 1000, 0, SNAT_POOL_EXHAUSTED },
	       { 100, 0, SNAT_POOL_OK }, { 1000, 0, SNAT_POOL_EXHAUSTED }, { 750, 0, SNAT_POOL_80_PERCENT });
}
END_TEST

SUITE_MAIN("snat pool level", a_pool_is_at_80_percent_until_it_is_below_70,
           a_pool_is_exhausted_until_less_than_95_percent_are_leased_or_quarantined)
