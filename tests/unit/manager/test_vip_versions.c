#include "tests/support/suite.h"

#include <stdio.h>
#include <string.h>

#include "tests/unit/manager/objects.h"

#define VIP "203.0.113.10"
#define A "vip 203.0.113.10 shop web tcp 80 10.1.1.11:80"
#define B "vip 203.0.113.10 shop web tcp 80 10.1.1.11:80 10.1.2.11:80"
#define OTHER "vip 203.0.113.11 shop web tcp 80 10.1.3.11:80"

static struct cluster_state state;

static void begin(void)
{
	ck_assert_int_eq(cluster_state_init(&state), 0);
	must_apply(&state, "cluster 7"); // version 1
}

static const struct vip_trail *trail(void)
{
	struct ip_addr vip = addr_of(VIP);
	return vip_versions_lookup(&state.versions, &vip);
}

static bool kept(uint64_t version, const char *text)
{
	struct ip_addr vip = addr_of(VIP);
	const struct vip_version *v = vip_versions_find(&state.versions, &vip, version);
	if (v == NULL || v->config == NULL)
		return false;
	struct vip_config *want = vip_of(strchr(text, ' ') + 1);
	ck_assert_int_eq(vip_config_validate(want, NULL), 0);
	bool is_equal = vip_config_equal(v->config, want);
	vip_config_destroy(want);
	return is_equal;
}

static void check_refused(const char *command, const char *sentence)
{
	struct apply_result result;
	struct error err;
	uint64_t version = state.store.version;
	ck_assert_int_eq(apply_text(&state, command, &result, &err), ERR_CONFLICT);
	ck_assert_msg(strstr(err.text, sentence) != NULL, "%s: %s", command, err.text);
	ck_assert_uint_eq(state.store.version, version);
}

START_TEST(each_change_of_a_vip_is_a_version_with_time_author_and_what_it_was)
{
	begin();
	(void)must_apply_at(&state, TEST_TIME_MS + 5, "author operator/ann ; " A, NULL); // 2
	(void)must_apply_at(&state, TEST_TIME_MS + 7, "author operator/bob ; " B, NULL); // 3
	must_apply(&state, B); // no version
	must_apply(&state, OTHER); // 4
	must_apply(&state, "-vip " VIP); // 5
	must_apply(&state, A); // 6
	const struct vip_trail *t = trail();
	ck_assert_uint_eq(t->n, 4);
	static const uint64_t versions[] = { 2, 3, 5, 6 };
	for (uint32_t i = 0; i < t->n; i++)
		ck_assert_uint_eq(t->nodes[i]->v.version, versions[i]);
	ck_assert_str_eq(t->nodes[0]->v.author, "operator/ann");
	ck_assert_str_eq(t->nodes[1]->v.author, "operator/bob");
	ck_assert_str_eq(t->nodes[2]->v.author, "");
	ck_assert_uint_eq(t->nodes[0]->v.time_ms, TEST_TIME_MS + 5);
	ck_assert_uint_eq(t->nodes[1]->v.time_ms, TEST_TIME_MS + 7);
	ck_assert(kept(2, A) && kept(3, B) && !kept(6, A));
	ck_assert(t->nodes[2]->v.is_delete && t->nodes[2]->v.config == NULL);
	ck_assert_uint_eq(state.versions.config_version, 6);
	cluster_state_fini(&state);
}
END_TEST

START_TEST(what_a_command_makes_and_unmakes_is_no_version)
{
	begin();
	must_apply(&state, A); // 2
	must_apply(&state, B " ; " A " ; host host1 10.0.0.21"); // 3
	must_apply(&state, OTHER " ; -vip 203.0.113.11 ; " B); // 4
	ck_assert_uint_eq(trail()->n, 2);
	ck_assert_uint_eq(vip_trail_present(trail())->version, 4);
	ck_assert(kept(2, A));
	ck_assert_uint_eq(state.versions.n, 1);
	cluster_state_fini(&state);
}
END_TEST

START_TEST(sixteen_versions_beside_the_present_one_are_kept)
{
	char text[128];
	begin();
	for (int i = 0; i < 30; i++) {
		(void)text_format(text, sizeof text, "vip 203.0.113.10 shop drain_s=%d web tcp 80 10.1.1.11:80", i + 1);
		must_apply(&state, text);
	}
	ck_assert_uint_eq(trail()->n, VERSIONS_KEPT + 1);
	ck_assert_uint_eq(trail()->nodes[0]->v.version, state.store.version - VERSIONS_KEPT);
	cluster_state_fini(&state);
}
END_TEST

START_TEST(beyond_the_bytes_the_one_that_is_past_the_longest_goes_and_never_a_present_one)
{
	begin();
	state.versions.limit_bytes = 2 * (128 + 256 + 256 + 24 * 2);
	must_apply(&state, OTHER); // 2
	must_apply(&state, A); // 3
	must_apply(&state, "-vip 203.0.113.11"); // 4: 2 is past
	must_apply(&state, B); // 5: 3 is past
	ck_assert_uint_eq(state.versions.n, 2);
	must_apply(&state, A); // 6: 5 is past, 2 goes, and with it all of the VIP that was deleted
	ck_assert_uint_eq(state.versions.n, 1);
	ck_assert(kept(3, A) && kept(5, B));
	must_apply(&state, B); // 7: 6 is past, 3 goes
	ck_assert(!kept(3, A) && kept(5, B) && kept(6, A));
	ck_assert_uint_le(state.versions.n_bytes, state.versions.limit_bytes);
	state.versions.limit_bytes = 0;
	must_apply(&state, A); // 8
	ck_assert_uint_eq(trail()->n, 1);
	ck_assert_uint_eq(vip_trail_present(trail())->version, 8);
	ck_assert_uint_eq(state.versions.n_bytes, 0);
	cluster_state_fini(&state);
}
END_TEST

START_TEST(versions_of_a_deleted_vip_go_when_seven_days_have_passed)
{
	begin();
	must_apply(&state, OTHER);
	must_apply(&state, A); // 3
	must_apply(&state, "-vip " VIP);
	(void)must_apply_at(&state, TEST_TIME_MS + VERSIONS_DELETED_MS - 1, "mux mux1 10.0.0.31", NULL);
	ck_assert(kept(3, A));
	replace_by_snapshot(&state);
	(void)must_apply_at(&state, TEST_TIME_MS + VERSIONS_DELETED_MS, "mux mux2 10.0.0.32", NULL);
	ck_assert(trail() == NULL);
	ck_assert_uint_eq(state.versions.n, 1);
	cluster_state_fini(&state);
}
END_TEST

START_TEST(a_command_is_refused_when_its_vip_is_not_at_the_version_that_it_expects)
{
	begin();
	check_refused("expect 203.0.113.10 2 ; " A,
	              "203.0.113.10 is not configured, and not at version 2; its version is 0");
	must_apply(&state, "expect 203.0.113.10 0 ; author operator/ann ; " A); // 2
	check_refused("expect 203.0.113.10 0 ; " B, "is at version 2 by operator/ann, not at 0");
	check_refused("expect 203.0.113.10 1 ; -vip " VIP, "is at version 2");
	must_apply(&state, "mux mux1 10.0.0.31"); // 3: another object
	must_apply(&state, "expect 203.0.113.10 2 ; " B); // 4
	must_apply(&state, "expect 203.0.113.10 2 ; " B); // is so already
	ck_assert_uint_eq(state.store.version, 4);
	check_refused("expect 203.0.113.10 2 ; " A, "is at version 4");
	must_apply(&state, "expect 203.0.113.10 4 ; -vip " VIP); // 5
	must_apply(&state, "expect 203.0.113.10 0 ; " A);
	cluster_state_fini(&state);
}
END_TEST

START_TEST(a_command_is_refused_when_anything_was_configured_since)
{
	begin();
	must_apply(&state, A); // 2
	must_apply(&state, "mux mux1 10.0.0.31"); // 3
	must_apply(&state, "since 2 ; " B); // 4: a mux is no configuration
	check_refused("since 3 ; " A, "the configuration was changed at version 4, after version 3");
	check_refused("since 3", "the configuration was changed at version 4"); // also when it changes nothing
	must_apply(&state, "since 3 ; " B); // is so already
	must_apply(&state, "since 4 ; settings 60"); // 5
	check_refused("since 4 ; " A, "at version 5");
	replace_by_snapshot(&state);
	check_refused("since 4 ; " A, "at version 5");
	must_apply(&state, "since 9 ; " A);
	cluster_state_fini(&state);
}
END_TEST

SUITE_MAIN("vip_versions", each_change_of_a_vip_is_a_version_with_time_author_and_what_it_was,
           what_a_command_makes_and_unmakes_is_no_version, sixteen_versions_beside_the_present_one_are_kept,
           beyond_the_bytes_the_one_that_is_past_the_longest_goes_and_never_a_present_one,
           versions_of_a_deleted_vip_go_when_seven_days_have_passed,
           a_command_is_refused_when_its_vip_is_not_at_the_version_that_it_expects,
           a_command_is_refused_when_anything_was_configured_since)
