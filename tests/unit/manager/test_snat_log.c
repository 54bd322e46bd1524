// The rings: of leases that have ended, and of lately changed ones.
#include "tests/support/suite.h"

#include "common/base/memory.h"
#include "manager/core/snat_changes.h"
#include "manager/core/snat_log.h"
#include "tests/unit/manager/objects.h"

static struct lease lease_of(uint32_t epoch, uint64_t granted_ms, uint64_t ended_ms)
{
	return (struct lease){ .vip = addr_of("203.0.113.10"),
		                   .dip = addr_of("10.1.1.11"),
		                   .first_port = (uint16_t)(1024 + epoch % 64 * 8),
		                   .n_ports = 8,
		                   .epoch = epoch,
		                   .granted_ms = granted_ms,
		                   .ended_ms = ended_ms };
}

START_TEST(a_full_log_forgets_the_oldest)
{
	struct snat_log log;
	struct lease lease = lease_of(1, 1, 0);
	struct lease_list found = { 0 };
	ck_assert_int_eq(snat_log_init(&log), 0);
	for (uint32_t i = 0; i < SNAT_LOG_CAPACITY + 1000; i++) {
		lease.granted_ms = i;
		lease.ended_ms = i + 5;
		snat_log_append(&log, &lease, 1000000);
	}
	ck_assert_uint_eq(log.n, SNAT_LOG_CAPACITY);
	ck_assert_uint_eq(log.forgot_ms, 999 + 5);
	ck_assert_uint_eq(snat_log_at(&log, 0)->ended_ms, 1000 + 5);
	ck_assert_int_eq(snat_log_find(&log, &lease.vip, 1032, 2000, &found), 0);
	ck_assert_uint_eq(found.n, 5); // granted at 1996 to 2000
	ck_assert_uint_eq(found.items[0].granted_ms, 1996);
	lease_list_fini(&found);
	snat_log_append(&log, &lease, 10); // all that ended earlier than ten milliseconds before it
	ck_assert_uint_eq(log.n, 12);
	snat_log_fini(&log);
}
END_TEST

START_TEST(the_ring_of_changes_gives_what_came_after_a_version_as_long_as_it_reaches)
{
	struct snat_changes ring;
	const struct snat_change *change;
	uint64_t at;
	ck_assert_int_eq(snat_changes_init(&ring), 0);
	ck_assert_int_eq(snat_changes_seek(&ring, 0, &at), 0);
	ck_assert_ptr_null(snat_changes_next(&ring, &at, UINT64_MAX));
	uint32_t n = SNAT_CHANGES_CAPACITY + 1001;
	for (uint32_t i = 0; i < n; i++) { // two changes a version, from 1
		struct lease lease = lease_of(i, 1, 0);
		snat_changes_append(&ring, i / 2 + 1, &lease);
	}
	ck_assert_uint_eq(ring.n, SNAT_CHANGES_CAPACITY);
	ck_assert_uint_eq(ring.floor_version, 501); // half of it is gone
	ck_assert_int_eq(snat_changes_seek(&ring, 500, &at), ERR_NOT_FOUND);
	ck_assert_int_eq(snat_changes_seek(&ring, 501, &at), 0);
	for (uint32_t i = 1002; i < 1010; i++) {
		change = snat_changes_next(&ring, &at, 505);
		ck_assert_uint_eq(change->version, i / 2 + 1);
		ck_assert_uint_eq(change->lease.epoch, i);
	}
	ck_assert_ptr_null(snat_changes_next(&ring, &at, 505));
	snat_changes_reset(&ring, 9000000);
	ck_assert_int_eq(snat_changes_seek(&ring, 8999999, &at), ERR_NOT_FOUND);
	ck_assert_int_eq(snat_changes_seek(&ring, 9000000, &at), 0);
	ck_assert_ptr_null(snat_changes_next(&ring, &at, UINT64_MAX));
	snat_changes_fini(&ring);
}
END_TEST

SUITE_MAIN("snat_log", a_full_log_forgets_the_oldest,
           the_ring_of_changes_gives_what_came_after_a_version_as_long_as_it_reaches)
