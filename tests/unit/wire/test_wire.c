#include "tests/support/suite.h"

#include <string.h>

#include "common/base/memory.h"
#include "common/model/store.h"
#include "common/wire/changes.h"
#include "common/wire/message.h"
#include "tests/support/vip_builder.h"

// One change of every kind.
static struct change_list all_kinds(void)
{
	unsigned seed = 3;
	struct change_list list = { 0 };
	struct change changes[] = {
		{ .key = { .kind = OBJECT_CLUSTER }, .cluster = { 0x1122334455667788ULL, 42 } },
		test_put_vip(test_random_vip(&seed, 10)),
		test_put_node(OBJECT_MUX, "mux1", "10.0.0.31"),
		test_put_node(OBJECT_HOST, "host1", "2001:db8::21"),
		test_put_dip("10.1.1.11", "host1", "vm1"),
		test_delete(OBJECT_VIP, "203.0.113.11"),
		test_delete(OBJECT_MUX, "mux2"),
		test_delete(OBJECT_HOST, "host2"),
		test_delete(OBJECT_DIP, "10.1.1.12"),
	};
	for (size_t i = 0; i < sizeof changes / sizeof *changes; i++)
		ck_assert_int_eq(change_list_append(&list, &changes[i]), 0);
	return list;
}

static void assert_changes_equal(const struct change_list *a, const struct change_list *b)
{
	ck_assert_uint_eq(a->n, b->n);
	for (uint32_t i = 0; i < a->n; i++) {
		const struct change *x = &a->items[i];
		const struct change *y = &b->items[i];
		ck_assert(object_key_equal(&x->key, &y->key));
		ck_assert_int_eq(x->is_delete, y->is_delete);
		if (x->is_delete)
			continue;
		switch (x->key.kind) {
		case OBJECT_CLUSTER: ck_assert_mem_eq(&x->cluster, &y->cluster, sizeof x->cluster); break;
		case OBJECT_VIP: ck_assert(vip_config_equal(x->vip, y->vip)); break;
		case OBJECT_MUX:
		case OBJECT_HOST: ck_assert_mem_eq(&x->node, &y->node, sizeof x->node); break;
		case OBJECT_DIP: ck_assert_mem_eq(&x->dip, &y->dip, sizeof x->dip); break;
		}
	}
}

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
	ck_assert_uint_eq(got.term, m->term);
	return got;
}

START_TEST(commands_and_snapshots_come_back_equal)
{
	struct change_list list = all_kinds();
	struct change_list got;
	uint8_t *bytes;
	size_t n;
	ck_assert_int_eq(command_encode(&list, &bytes, &n), 0);
	ck_assert_int_eq(command_decode(bytes, n, &got, NULL), 0);
	assert_changes_equal(&list, &got);
	change_list_fini(&got);
	memory_free(bytes);

	uint64_t version = 0;
	ck_assert_int_eq(snapshot_encode(99, &list, &bytes, &n), 0);
	ck_assert_int_eq(snapshot_decode(bytes, n, &version, &got, NULL), 0);
	ck_assert_uint_eq(version, 99);
	assert_changes_equal(&list, &got);
	change_list_fini(&got);
	memory_free(bytes);
	change_list_fini(&list);
}
END_TEST

START_TEST(an_update_comes_back_equal)
{
	struct message m = { .type = MESSAGE_UPDATE, .term = 5 };
	m.update = (struct update){ .from_version = 7, .to_version = 9, .more = true, .changes = all_kinds() };
	struct message got = sent_and_received(&m);
	ck_assert_uint_eq(got.update.from_version, 7);
	ck_assert_uint_eq(got.update.to_version, 9);
	ck_assert(got.update.more);
	assert_changes_equal(&m.update.changes, &got.update.changes);
	message_fini(&got);
	message_fini(&m);
}
END_TEST

START_TEST(a_subscription_and_a_cluster_reply_come_back_equal)
{
	struct message m = { .type = MESSAGE_SUBSCRIBE };
	m.subscribe = (struct subscribe){ .role = ROLE_AGENT,
		                              .node = { .name = "host1", .addr = test_addr("10.0.0.21") },
		                              .cluster_id = 1,
		                              .have_version = 2,
		                              .program_version = "0.1.0" };
	struct message got = sent_and_received(&m);
	ck_assert_mem_eq(&got.subscribe, &m.subscribe, sizeof m.subscribe);

	m = (struct message){ .type = MESSAGE_CLUSTER_REPLY, .request_id = 8 };
	m.cluster = (struct cluster_reply){ .id = 2,
		                                .is_leader = true,
		                                .leader_id = 2,
		                                .term = 3,
		                                .applied_index = 4,
		                                .version = 5,
		                                .cluster_id = 6,
		                                .program_version = "0.1.0",
		                                .n_replicas = 2,
		                                .replicas = { { 1, "10.0.0.11:7400", "10.0.0.11:7401" },
		                                              { 2, "10.0.0.12:7400", "10.0.0.12:7401" } },
		                                .n_subscribers = 5 };
	got = sent_and_received(&m);
	ck_assert_mem_eq(&got.cluster, &m.cluster, sizeof m.cluster);
}
END_TEST

START_TEST(node_statuses_come_back_equal)
{
	struct counter counters[] = { { "rx_packets", 5 }, { "drop_runt", UINT64_MAX } };
	struct dip_status dips[] = { { test_addr("10.1.1.11"), "attached" } };
	struct node_status nodes[2] = { { .name = "host1",
		                              .role = ROLE_AGENT,
		                              .state = "ready",
		                              .version = 4,
		                              .program_version = "0.1.0",
		                              .n_counters = 2,
		                              .counters = counters,
		                              .n_dips = 1,
		                              .dips = dips },
		                            { .name = "mux1", .role = ROLE_MUX, .state = "unreachable" } };
	struct message m = { .type = MESSAGE_NODES_REPLY, .nodes = { .n = 2, .items = nodes } };
	struct message got = sent_and_received(&m);
	ck_assert_uint_eq(got.nodes.n, 2);
	const struct node_status *s = &got.nodes.items[0];
	ck_assert_str_eq(s->name, "host1");
	ck_assert_int_eq(s->role, ROLE_AGENT);
	ck_assert_str_eq(s->state, "ready");
	ck_assert_str_eq(s->counters[1].name, "drop_runt");
	ck_assert_uint_eq(s->counters[1].value, UINT64_MAX);
	ck_assert(ip_addr_equal(&s->dips[0].dip, &dips[0].dip));
	ck_assert_str_eq(got.nodes.items[1].state, "unreachable");
	message_fini(&got);
	message_fini(&got);
}
END_TEST

START_TEST(short_messages_come_back_equal)
{
	static const enum message_type types[] = { MESSAGE_PING, MESSAGE_STATUS_REQUEST, MESSAGE_STATE_REQUEST,
		                                       MESSAGE_CLUSTER_REQUEST };
	for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
		struct message got = sent_and_received(&(struct message){ .type = types[i], .request_id = i });
		message_fini(&got);
	}
	struct message m = { .type = MESSAGE_ERROR };
	error_set(&m.error, ERR_CONFLICT, "vip: held by tenant shop");
	struct message got = sent_and_received(&m);
	ck_assert_int_eq(got.error.code, ERR_CONFLICT);
	ck_assert_str_eq(got.error.text, m.error.text);
	m = (struct message){ .type = MESSAGE_REDIRECT, .leader = "10.0.0.12:7400" };
	got = sent_and_received(&m);
	ck_assert_str_eq(got.leader, "10.0.0.12:7400");
	m = (struct message){ .type = MESSAGE_NODES_REQUEST, .nodes_request = { ROLE_MUX, "mux1" } };
	got = sent_and_received(&m);
	ck_assert_str_eq(got.nodes_request.name, "mux1");
	m = (struct message){ .type = MESSAGE_ACK, .version = 12 };
	got = sent_and_received(&m);
	ck_assert_uint_eq(got.version, 12);
}
END_TEST

START_TEST(a_message_over_the_limit_is_not_made)
{
	struct message m = { .type = MESSAGE_UPDATE };
	for (int i = 0; i < 6000; i++) {
		struct change c =
			test_put_dip("10.1.1.11", "a-host-with-quite-a-long-name-so-that-the-message-fills-up", "vm1");
		memset(c.dip.vm, 'v', sizeof c.dip.vm - 1);
		memset(c.dip.interface, 'i', sizeof c.dip.interface - 1);
		ck_assert_int_eq(change_list_append(&m.update.changes, &c), 0);
	}
	uint8_t *bytes;
	size_t n;
	ck_assert_int_eq(message_encode(&m, &bytes, &n), ERR_LIMIT);
	message_fini(&m);
}
END_TEST

START_TEST(the_estimate_of_a_change_is_never_too_small)
{
	unsigned seed = 11;
	for (unsigned i = 0; i < 500; i++) {
		struct change_list list = { 0 };
		struct change c = test_put_vip(test_random_vip(&seed, i % 250));
		size_t estimate = change_encoded_bytes(&c);
		ck_assert_int_eq(change_list_append(&list, &c), 0);
		uint8_t *bytes;
		size_t n;
		ck_assert_int_eq(command_encode(&list, &bytes, &n), 0);
		ck_assert_uint_ge(estimate, n);
		memory_free(bytes);
		change_list_fini(&list);
	}
	struct change_list list = all_kinds();
	for (uint32_t i = 0; i < list.n; i++) {
		struct change_list one = { .n = 1, .items = &list.items[i] };
		uint8_t *bytes;
		size_t n;
		ck_assert_int_eq(command_encode(&one, &bytes, &n), 0);
		ck_assert_uint_ge(change_encoded_bytes(&list.items[i]), n);
		memory_free(bytes);
	}
	change_list_fini(&list);
}
END_TEST

START_TEST(every_truncation_and_every_damaged_byte_is_refused_or_read_soundly)
{
	struct message m = { .type = MESSAGE_UPDATE, .update = { .to_version = 1, .changes = all_kinds() } };
	uint8_t *bytes;
	size_t n;
	ck_assert_int_eq(message_encode(&m, &bytes, &n), 0);
	for (size_t i = 0; i < n; i++) {
		struct message got;
		if (message_decode(bytes, i, &got, NULL) == 0)
			message_fini(&got);
		for (int bit = 0; bit < 8; bit++) {
			bytes[i] ^= (uint8_t)(1 << bit);
			if (message_decode(bytes, n, &got, NULL) == 0)
				message_fini(&got);
			bytes[i] ^= (uint8_t)(1 << bit);
		}
	}
	memory_free(bytes);
	message_fini(&m);
}
END_TEST

START_TEST(a_snapshot_of_a_newer_format_is_refused_by_name)
{
	static const uint8_t newer[] = { 0x08, SNAPSHOT_FORMAT + 1 };
	uint64_t version;
	struct change_list list;
	struct error err = { 0 };
	ck_assert_int_eq(snapshot_decode(newer, sizeof newer, &version, &list, &err), ERR_VERSION);
	ck_assert_str_eq(err.text, "a snapshot of format 2; this program reads format 1");
}
END_TEST

START_TEST(messages_are_made_or_refused_when_memory_is_short)
{
	struct message m = { .type = MESSAGE_UPDATE, .update = { .to_version = 1, .changes = all_kinds() } };
	uint8_t *bytes;
	size_t n;
	int code = ERR_NO_MEMORY;
	for (uint64_t i = 0; code == ERR_NO_MEMORY; i++) {
		memory_fail_after(i);
		code = message_encode(&m, &bytes, &n);
		memory_fail_after(UINT64_MAX);
	}
	ck_assert_int_eq(code, 0);
	code = ERR_NO_MEMORY;
	for (uint64_t i = 0; code == ERR_NO_MEMORY; i++) {
		struct message got;
		memory_fail_after(i);
		code = message_decode(bytes, n, &got, NULL);
		memory_fail_after(UINT64_MAX);
		if (code == 0)
			message_fini(&got);
	}
	ck_assert_int_eq(code, 0);
	memory_free(bytes);
	message_fini(&m);
}
END_TEST

SUITE_MAIN("wire", commands_and_snapshots_come_back_equal, an_update_comes_back_equal,
           a_subscription_and_a_cluster_reply_come_back_equal, node_statuses_come_back_equal,
           short_messages_come_back_equal, a_message_over_the_limit_is_not_made,
           the_estimate_of_a_change_is_never_too_small,
           every_truncation_and_every_damaged_byte_is_refused_or_read_soundly,
           a_snapshot_of_a_newer_format_is_refused_by_name, messages_are_made_or_refused_when_memory_is_short)
