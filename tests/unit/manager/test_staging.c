#include "tests/support/suite.h"

#include <string.h>

#include "common/base/memory.h"
#include "tests/unit/manager/objects.h"

#define VIP1 "vip 203.0.113.11 shop web tcp 80 10.1.1.11:80"
#define VIP2 "vip 203.0.113.12 shop web tcp 80 10.1.1.11:80"
#define VIP3 "vip 203.0.113.13 shop web tcp 80 10.1.1.11:80"

static struct cluster_state state;

static void begin(void)
{
	ck_assert_int_eq(cluster_state_init(&state), 0);
	must_apply(&state, "cluster 7"); // version 1
}

static void check_refused_at(uint64_t time_ms, const char *command, int code, const char *sentence)
{
	struct apply_result result;
	struct error err;
	uint64_t version = state.store.version;
	ck_assert_int_eq(apply_text_at(&state, time_ms, command, &result, &err), code);
	ck_assert_msg(strstr(err.text, sentence) != NULL, "%s: %s", command, err.text);
	ck_assert_uint_eq(state.store.version, version);
}

START_TEST(parts_take_effect_together_with_the_commit_in_one_version)
{
	begin();
	must_apply(&state, "part 77 0 ; " VIP1);
	must_apply(&state, "part 77 1 ; " VIP2);
	ck_assert_uint_eq(state.store.version, 1);
	ck_assert_uint_eq(state.store.vips.n, 0);
	replace_by_snapshot(&state); // as a replica that was away
	struct state_command command = command_of(TEST_TIME_MS, "commit 77 2 ; " VIP3);
	struct apply_result result;
	ck_assert_int_eq(cluster_state_apply(&state, &command, &result, NULL), 0);
	ck_assert_uint_eq(command.changes.n, 3); // what the server tells of
	state_command_fini(&command);
	ck_assert(result.is_changed);
	ck_assert_uint_eq(state.store.version, 2);
	ck_assert_uint_eq(state.store.vips.n, 3);
	ck_assert_uint_eq(state.staged.n, 0);
	cluster_state_fini(&state);
}
END_TEST

START_TEST(a_part_that_comes_again_changes_nothing_and_one_out_of_order_is_refused)
{
	begin();
	must_apply(&state, "part 77 0 ; " VIP1);
	must_apply(&state, "part 77 0 ; " VIP2);
	check_refused_at(TEST_TIME_MS, "part 77 2 ; " VIP2, ERR_NOT_FOUND, "does not follow");
	check_refused_at(TEST_TIME_MS, "part 78 1 ; " VIP2, ERR_NOT_FOUND, "does not follow");
	check_refused_at(TEST_TIME_MS, "commit 77 2 ; " VIP2, ERR_NOT_FOUND, "does not follow");
	must_apply(&state, "commit 77 1");
	ck_assert_uint_eq(state.store.vips.n, 1);
	check_refused_at(TEST_TIME_MS, "commit 77 1", ERR_NOT_FOUND, "begin anew");
	cluster_state_fini(&state);
}
END_TEST

START_TEST(a_commit_that_is_refused_leaves_nothing)
{
	begin();
	must_apply(&state, "part 77 0 ; " VIP1 " ; -vip 203.0.113.99");
	check_refused_at(TEST_TIME_MS, "commit 77 1 ; " VIP2, ERR_NOT_FOUND, "change 2 of 3: vip: 203.0.113.99");
	ck_assert_uint_eq(state.store.vips.n, 0);
	ck_assert_uint_eq(state.staged.n, 0);
	must_apply(&state, "part 78 0 ; " VIP1);
	must_apply(&state, VIP2); // 2
	check_refused_at(TEST_TIME_MS, "commit 78 1 ; since 1", ERR_CONFLICT, "was changed at version 2");
	ck_assert_uint_eq(state.store.vips.n, 1);
	cluster_state_fini(&state);
}
END_TEST

START_TEST(a_transaction_that_is_not_committed_goes_after_a_minute)
{
	begin();
	must_apply(&state, "part 77 0 ; " VIP1);
	(void)must_apply_at(&state, TEST_TIME_MS + STAGED_MS - 1, "part 77 1 ; " VIP2, NULL);
	check_refused_at(TEST_TIME_MS + STAGED_MS, "commit 77 2", ERR_NOT_FOUND, "within 60 seconds");
	ck_assert_uint_eq(state.staged.n, 0);
	cluster_state_fini(&state);
}
END_TEST

START_TEST(transactions_beyond_the_limits_are_refused)
{
	char text[128];
	begin();
	for (int i = 0; i < STAGED_MAX; i++) {
		(void)text_format(text, sizeof text, "part %d 0 ; " VIP1, 70 + i);
		must_apply(&state, text);
	}
	check_refused_at(TEST_TIME_MS, "part 99 0 ; " VIP1, ERR_LIMIT, "8 transactions wait");
	must_apply(&state, "commit 70 1");
	// As many changes as would take too much.
	uint32_t n = STAGED_BYTES / 512;
	struct state_command command = { .time_ms = TEST_TIME_MS, .terms.stage = { .id = 99 } };
	command.changes.items = memory_array(n, sizeof *command.changes.items);
	command.changes.n = command.changes.capacity = n;
	for (uint32_t i = 0; i < n; i++)
		command.changes.items[i] = (struct change){ .key.kind = OBJECT_SETTINGS, .is_delete = true };
	struct apply_result result;
	struct error err = { 0 };
	ck_assert_int_eq(cluster_state_apply(&state, &command, &result, &err), ERR_LIMIT);
	ck_assert(strstr(err.text, "more than 64 MiB") != NULL);
	state_command_fini(&command);
	ck_assert_uint_eq(state.staged.n, STAGED_MAX - 1);
	cluster_state_fini(&state);
}
END_TEST

SUITE_MAIN("staging", parts_take_effect_together_with_the_commit_in_one_version,
           a_part_that_comes_again_changes_nothing_and_one_out_of_order_is_refused,
           a_commit_that_is_refused_leaves_nothing, a_transaction_that_is_not_committed_goes_after_a_minute,
           transactions_beyond_the_limits_are_refused)
