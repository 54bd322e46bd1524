// Messages and state of transactions: what is sent is what comes, and lack of memory is an answer.
#include "tests/support/suite.h"

#include <string.h>

#include "common/base/memory.h"
#include "common/wire/changes.h"
#include "common/wire/message.h"
#include "tests/support/vip_builder.h"

static struct message sent_and_received(const struct message *m)
{
	uint8_t *bytes;
	size_t n;
	struct message got;
	ck_assert_int_eq(message_encode(m, &bytes, &n), 0);
	ck_assert_int_eq(message_decode(bytes, n, &got, NULL), 0);
	memory_free(bytes);
	ck_assert_int_eq(got.type, m->type);
	ck_assert_uint_eq(got.request_id, m->request_id);
	return got;
}

static struct command_terms some_terms(void)
{
	struct command_terms terms = { .since_version = 9, .stage = { .id = UINT64_MAX, .part = 3, .is_commit = true } };
	struct vip_expect expects[] = { { test_addr("203.0.113.10"), 7 }, { test_addr("2001:db8::1"), 0 } };
	for (int i = 0; i < 2; i++)
		ck_assert_int_eq(vip_expect_list_append(&terms.expects, &expects[i]), 0);
	return terms;
}

static void check_terms(const struct command_terms *a, const struct command_terms *b)
{
	ck_assert_uint_eq(a->since_version, b->since_version);
	ck_assert_uint_eq(a->stage.id, b->stage.id);
	ck_assert_uint_eq(a->stage.part, b->stage.part);
	ck_assert(a->stage.is_commit == b->stage.is_commit);
	ck_assert_uint_eq(a->expects.n, b->expects.n);
	for (uint32_t i = 0; i < a->expects.n; i++) {
		ck_assert(ip_addr_equal(&a->expects.items[i].vip, &b->expects.items[i].vip));
		ck_assert_uint_eq(a->expects.items[i].version, b->expects.items[i].version);
	}
}

static struct vip_version_list some_versions(void)
{
	unsigned seed = 5;
	struct vip_version_list list = { 0 };
	struct vip_version versions[] = {
		{ .vip = test_addr("203.0.113.10"), .version = 4, .time_ms = 1700000000000, .author = "operator/ann" },
		{ .vip = test_addr("203.0.113.10"), .version = UINT64_MAX, .is_delete = true },
		{ .vip = test_addr("2001:db8::1"), .version = 1 },
	};
	versions[0].config = test_random_vip(&seed, 10);
	for (int i = 0; i < 3; i++)
		ck_assert_int_eq(vip_version_list_append(&list, &versions[i]), 0);
	return list;
}

static void check_versions(const struct vip_version_list *a, const struct vip_version_list *b)
{
	ck_assert_uint_eq(a->n, b->n);
	for (uint32_t i = 0; i < a->n; i++) {
		const struct vip_version *x = &a->items[i];
		const struct vip_version *y = &b->items[i];
		ck_assert(ip_addr_equal(&x->vip, &y->vip) && x->version == y->version && x->time_ms == y->time_ms);
		ck_assert(x->is_delete == y->is_delete && (x->config == NULL) == (y->config == NULL));
		ck_assert_str_eq(x->author, y->author);
		if (x->config != NULL)
			ck_assert(vip_config_equal(x->config, y->config));
	}
}

static struct change_list some_changes(void)
{
	unsigned seed = 3;
	struct change_list list = { 0 };
	struct change put = test_put_vip(test_random_vip(&seed, 10));
	struct change delete = test_delete(OBJECT_VIP, "203.0.113.11");
	ck_assert_int_eq(change_list_append(&list, &put), 0);
	ck_assert_int_eq(change_list_append(&list, &delete), 0);
	return list;
}

static struct state_snapshot some_snapshot(void)
{
	struct state_snapshot s = { .version = 99, .config_version = 98, .versions = some_versions() };
	struct staged staged = { .id = UINT64_MAX, .begun_ms = 1700000000000, .n_parts = 2, .changes = some_changes() };
	ck_assert_int_eq(staged_list_append(&s.staged, &staged), 0);
	return s;
}

START_TEST(a_command_comes_back_with_its_terms_and_author)
{
	struct message m = {
		.type = MESSAGE_COMMAND_REQUEST, .request_id = 4, .changes = some_changes(), .terms = some_terms()
	};
	struct message got = sent_and_received(&m);
	ck_assert_uint_eq(got.changes.n, 2);
	check_terms(&m.terms, &got.terms);
	message_fini(&got);

	struct state_command command = { .changes = m.changes, .terms = m.terms, .author = "operator/ann" };
	struct state_command back;
	uint8_t *bytes;
	size_t n;
	ck_assert_int_eq(command_encode(&command, &bytes, &n), 0);
	ck_assert_int_eq(command_decode(bytes, n, &back, NULL), 0);
	check_terms(&command.terms, &back.terms);
	ck_assert_str_eq(back.author, "operator/ann");
	memory_free(bytes);
	state_command_fini(&back);
	state_command_fini(&command);
}
END_TEST

START_TEST(a_snapshot_comes_back_with_versions_and_what_is_staged)
{
	struct state_snapshot s = some_snapshot();
	struct state_snapshot got;
	uint8_t *bytes;
	size_t n;
	ck_assert_int_eq(snapshot_encode(&s, &bytes, &n), 0);
	ck_assert_int_eq(snapshot_decode(bytes, n, &got, NULL), 0);
	ck_assert_uint_eq(got.config_version, 98);
	check_versions(&s.versions, &got.versions);
	ck_assert_uint_eq(got.staged.n, 1);
	ck_assert_uint_eq(got.staged.items[0].id, UINT64_MAX);
	ck_assert_uint_eq(got.staged.items[0].begun_ms, 1700000000000);
	ck_assert_uint_eq(got.staged.items[0].n_parts, 2);
	ck_assert_uint_eq(got.staged.items[0].changes.n, 2);
	state_snapshot_fini(&got);
	// Whatever allocation fails: an error, or all of it.
	int code = ERR_NO_MEMORY;
	for (uint64_t i = 0; code != 0; i++) {
		memory_fail_after(i);
		code = snapshot_decode(bytes, n, &got, NULL);
		memory_fail_after(UINT64_MAX);
		ck_assert(code == 0 || code == ERR_NO_MEMORY);
	}
	state_snapshot_fini(&got);
	memory_free(bytes);
	state_snapshot_fini(&s);
}
END_TEST

START_TEST(questions_and_answers_come_back_equal)
{
	struct message m = { .type = MESSAGE_VERSIONS_REQUEST, .request_id = 4 };
	m.versions_request.vip = test_addr("203.0.113.10");
	m.versions_request.version = 7;
	struct message got = sent_and_received(&m);
	ck_assert(ip_addr_equal(&got.versions_request.vip, &m.versions_request.vip));
	ck_assert_uint_eq(got.versions_request.version, 7);

	m = (struct message){ .type = MESSAGE_ROLLBACK_REQUEST };
	m.rollback.vip = test_addr("203.0.113.10");
	m.rollback.to_version = 5;
	m.rollback.has_expect = true;
	m.rollback.expect = 6;
	got = sent_and_received(&m);
	ck_assert(got.rollback.to_version == 5 && got.rollback.has_expect && got.rollback.expect == 6);

	m = (struct message){ .type = MESSAGE_WAIT_REQUEST };
	m.wait_request.version = 12;
	m.wait_request.timeout_ms = 5000;
	got = sent_and_received(&m);
	ck_assert(got.wait_request.version == 12 && got.wait_request.timeout_ms == 5000);

	m = (struct message){ .type = MESSAGE_COMMAND_REPLY, .version = 3, .is_unchanged = true };
	got = sent_and_received(&m);
	ck_assert(got.version == 3 && got.is_unchanged);

	m = (struct message){ .type = MESSAGE_WAIT_REPLY };
	m.wait = (struct wait_reply){ .is_done = true, .n_acked = 3, .n_late = 1, .n_away = 1, .n_laggards = 2 };
	m.wait.laggards[0] = (struct laggard){ ROLE_MUX, "mux1", 11, true };
	m.wait.laggards[1] = (struct laggard){ ROLE_AGENT, "host1", 0, false };
	got = sent_and_received(&m);
	ck_assert(got.wait.is_done && got.wait.n_acked == 3 && got.wait.n_late == 1 && got.wait.n_away == 1);
	ck_assert_uint_eq(got.wait.n_laggards, 2);
	ck_assert_str_eq(got.wait.laggards[0].name, "mux1");
	ck_assert(got.wait.laggards[0].role == ROLE_MUX && got.wait.laggards[0].version == 11 &&
	          got.wait.laggards[0].is_connected);
	ck_assert(got.wait.laggards[1].role == ROLE_AGENT && !got.wait.laggards[1].is_connected);

	m = (struct message){ .type = MESSAGE_VERSIONS_REPLY, .versions = some_versions() };
	got = sent_and_received(&m);
	check_versions(&m.versions, &got.versions);
	message_fini(&got);
	message_fini(&got);
	message_fini(&m);
}
END_TEST

SUITE_MAIN("wire_txn", a_command_comes_back_with_its_terms_and_author,
           a_snapshot_comes_back_with_versions_and_what_is_staged, questions_and_answers_come_back_equal)
