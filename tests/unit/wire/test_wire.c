#include "tests/support/suite.h"

#include <stdio.h>
#include <string.h>

#include "common/base/memory.h"
#include "common/model/store.h"
#include "common/wire/changes.h"
#include "common/wire/message.h"
#include "tests/support/vip_builder.h"

// A history of endpoints with as many generations, of members that are all distinct.
static struct vip_history *history_of(uint32_t n_endpoints, uint32_t n_generations, uint32_t n_members, bool is_v6)
{
	uint32_t n = 0;
	struct vip_history *h = memory_array(1, sizeof *h);
	h->vip = test_addr(is_v6 ? "2001:db8::10" : "203.0.113.10");
	h->n_endpoints = n_endpoints;
	h->endpoints = memory_array(n_endpoints, sizeof *h->endpoints);
	h->gone = memory_array((size_t)n_endpoints * n_generations * n_members, sizeof *h->gone);
	for (uint32_t i = 0; i < n_endpoints; i++) {
		struct endpoint_history *e = &h->endpoints[i];
		*e = (struct endpoint_history){ .protocol = 6, .port = (uint16_t)(65000 + i), .n_generations = n_generations };
		e->generations = memory_array(n_generations, sizeof *e->generations);
		for (uint32_t g = 0; g < n_generations; g++) {
			struct maglev_member *members = memory_array(n_members, sizeof *members);
			for (uint32_t k = 0; k < n_members; k++, n++) {
				members[k].dip = is_v6 ? test_addr("2001:db8:1::") : test_addr("10.0.0.0");
				members[k].dip.bytes[13] = (uint8_t)(n >> 16);
				members[k].dip.bytes[14] = (uint8_t)(n >> 8);
				members[k].dip.bytes[15] = (uint8_t)n;
				members[k].weight = (uint16_t)(1000 - k % 3);
				h->gone[n] = members[k].dip;
			}
			e->generations[g] =
				(struct generation){ .since_ms = 1700000000000 + n, .n_members = n_members, .members = members };
		}
	}
	h->n_gone = n;
	return h;
}

static struct change put_history(uint32_t n_gone)
{
	struct vip_history *h = history_of(2, 3, 2, false);
	h->n_gone = n_gone;
	h->endpoints[1].generations[0].since_ms = 0;
	return (struct change){ .key = object_key_of_addr(OBJECT_HISTORY, &h->vip), .history = h };
}

static struct change drain(const char *dip, const char *vip, uint64_t since_ms)
{
	struct change c = test_delete(OBJECT_DIP, dip);
	c.key.kind = OBJECT_DRAIN;
	ck_assert(text_copy(c.key.name, sizeof c.key.name, vip));
	c.is_delete = since_ms == 0;
	c.mark.since_ms = since_ms;
	return c;
}

// With all that a node and a DIP may have, and as long as it may be.
static struct change node_of_both(void)
{
	struct change c =
		test_put_node(OBJECT_MUX, "mux-0123456789-0123456789-0123456789-0123456789-0123456789-0123", "10.0.0.32");
	c.node.addr6 = test_addr("2001:db8::32");
	return c;
}

static struct change dip_with_via(void)
{
	static const char name[] = "name-0123456789-0123456789-0123456789-0123456789-0123456789-012";
	struct change c = test_put_dip("2001:db8:1::11", name, name);
	ck_assert(text_copy(c.dip.vm, sizeof c.dip.vm, name));
	c.dip.via = test_addr("10.7.1.11");
	return c;
}

static struct change dip_with_via6(void)
{
	struct change c = dip_with_via();
	c.dip.dip = test_addr("10.1.1.13");
	c.dip.via = test_addr("2001:db8:7::13");
	c.key = object_key_of_addr(OBJECT_DIP, &c.dip.dip);
	return c;
}

// One change of every kind.
static struct change_list all_kinds(void)
{
	unsigned seed = 3;
	struct change_list list = { 0 };
	struct ip_addr changes_vip = test_addr("203.0.113.10");
	struct change changes[] = {
		{ .key = { .kind = OBJECT_CLUSTER }, .cluster = { 0x1122334455667788ULL, 42, { 1, 0, 3 } } },
		test_put_vip(test_random_vip(&seed, 10)),
		test_put_node(OBJECT_MUX, "mux1", "10.0.0.31"),
		test_put_node(OBJECT_HOST, "host1", "2001:db8::21"),
		test_put_dip("10.1.1.11", "host1", "vm1"),
		node_of_both(),
		dip_with_via(),
		dip_with_via6(),
		test_delete(OBJECT_VIP, "203.0.113.11"),
		test_delete(OBJECT_MUX, "mux2"),
		test_delete(OBJECT_HOST, "host2"),
		test_delete(OBJECT_DIP, "10.1.1.12"),
		{ .key = { .kind = OBJECT_SETTINGS }, .settings = cluster_settings_default() },
		{ .key = { .kind = OBJECT_SETTINGS }, .is_delete = true },
		put_history(0),
		put_history(9),
		drain("10.1.1.11", "", 1700000000000),
		drain("10.1.1.11", "203.0.113.10", 1700000000001),
		drain("10.1.1.11", "203.0.113.10", 0),
		drain("2001:db8::7", "", 0),
		{ .key = object_key_of_addr(OBJECT_HISTORY, &changes_vip), .is_delete = true },
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
		case OBJECT_SETTINGS: ck_assert(cluster_settings_equal(&x->settings, &y->settings)); break;
		case OBJECT_HISTORY: ck_assert(vip_history_equal(x->history, y->history)); break;
		case OBJECT_DRAIN:
		case OBJECT_UNHEALTHY:
		case OBJECT_HOST_GONE:
		case OBJECT_MUX_DRAIN:
			ck_assert_uint_eq(x->mark.since_ms, y->mark.since_ms);
			ck_assert_str_eq(x->mark.cause, y->mark.cause);
			break;
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

static struct lease_list some_leases(uint32_t n)
{
	struct lease_list list = { 0 };
	for (uint32_t i = 0; i < n; i++) {
		struct lease l = {
			.vip = test_addr(i % 2 == 0 ? "203.0.113.10" : "203.0.113.11"),
			.first_port = (uint16_t)(1024 + 8 * i),
			.n_ports = 8,
			.epoch = i,
			.granted_ms = 1700000000000 + i,
			.ended_ms = i % 3 == 0 ? 0 : 1700000001000 + i,
		};
		if (i % 5 != 4) // one in five has no DIP
			l.dip = test_addr(i % 7 == 0 ? "10.1.1.11" : "10.1.2.11");
		ck_assert_int_eq(lease_list_append(&list, &l), 0);
	}
	return list;
}

static void assert_leases_equal(const struct lease_list *a, const struct lease_list *b)
{
	ck_assert_uint_eq(a->n, b->n);
	for (uint32_t i = 0; i < a->n; i++) {
		const struct lease *x = &a->items[i];
		const struct lease *y = &b->items[i];
		ck_assert(ip_addr_equal(&x->vip, &y->vip) && ip_addr_equal(&x->dip, &y->dip));
		ck_assert(x->first_port == y->first_port && x->n_ports == y->n_ports && x->epoch == y->epoch);
		ck_assert(x->granted_ms == y->granted_ms && x->ended_ms == y->ended_ms);
	}
}

static struct snat_op_list all_ops(void)
{
	struct snat_op_list list = { 0 };
	struct snat_op ops[] = {
		{ .kind = SNAT_REQUEST, .dip = test_addr("10.1.1.11"), .seq = 12, .n_ports = 24 },
		{ .kind = SNAT_RETURN,
		  .dip = test_addr("10.1.1.11"),
		  .vip = test_addr("203.0.113.10"),
		  .first_port = 1032,
		  .epoch = 9 },
		{ .kind = SNAT_REVOKE, .vip = test_addr("203.0.113.10"), .first_port = 1035 },
		{ .kind = SNAT_REVOKE, .dip = test_addr("10.1.1.12") },
	};
	for (uint32_t i = 0; i < sizeof ops / sizeof *ops; i++)
		ck_assert_int_eq(snat_op_list_append(&list, &ops[i]), 0);
	return list;
}

static void assert_ops_equal(const struct snat_op_list *a, const struct snat_op_list *b)
{
	ck_assert_uint_eq(a->n, b->n);
	for (uint32_t i = 0; i < a->n; i++) {
		const struct snat_op *x = &a->items[i];
		const struct snat_op *y = &b->items[i];
		ck_assert(x->kind == y->kind && ip_addr_equal(&x->vip, &y->vip) && ip_addr_equal(&x->dip, &y->dip));
		ck_assert(x->seq == y->seq && x->n_ports == y->n_ports && x->first_port == y->first_port);
		ck_assert_uint_eq(x->epoch, y->epoch);
	}
}

static struct snat_image some_image(void)
{
	struct snat_image image = { .version = 7,
		                        .clock_ms = 1000,
		                        .next_epoch = 55,
		                        .held = some_leases(40),
		                        .freed = some_leases(3),
		                        .log = some_leases(9) };
	struct snat_demand demand = { .dip = test_addr("10.1.1.11"), .seq = 3, .asked_ms = 900, .n_ports = 16 };
	ck_assert_int_eq(snat_demand_list_append(&image.demands, &demand), 0);
	return image;
}

START_TEST(commands_and_snapshots_come_back_equal)
{
	struct state_command command = { .time_ms = 1234567890123, .changes = all_kinds(), .ops = all_ops() };
	struct state_command got_command;
	uint8_t *bytes;
	size_t n;
	ck_assert_int_eq(command_encode(&command, &bytes, &n), 0);
	ck_assert_int_eq(command_decode(bytes, n, &got_command, NULL), 0);
	ck_assert_uint_eq(got_command.time_ms, command.time_ms);
	assert_changes_equal(&command.changes, &got_command.changes);
	assert_ops_equal(&command.ops, &got_command.ops);
	state_command_fini(&got_command);
	state_command_fini(&command);
	memory_free(bytes);

	struct state_snapshot snapshot = { .version = 99, .objects = all_kinds(), .snat = some_image() };
	struct state_snapshot got;
	ck_assert_int_eq(snapshot_encode(&snapshot, &bytes, &n), 0);
	ck_assert_int_eq(snapshot_decode(bytes, n, &got, NULL), 0);
	ck_assert_uint_eq(got.version, 99);
	assert_changes_equal(&snapshot.objects, &got.objects);
	ck_assert_uint_eq(got.snat.version, 7);
	ck_assert_uint_eq(got.snat.clock_ms, 1000);
	ck_assert_uint_eq(got.snat.next_epoch, 55);
	assert_leases_equal(&snapshot.snat.held, &got.snat.held);
	assert_leases_equal(&snapshot.snat.freed, &got.snat.freed);
	assert_leases_equal(&snapshot.snat.log, &got.snat.log);
	ck_assert_uint_eq(got.snat.demands.n, 1);
	ck_assert_uint_eq(got.snat.demands.items[0].seq, 3);
	ck_assert_uint_eq(got.snat.demands.items[0].n_ports, 16);
	state_snapshot_fini(&snapshot);
	state_snapshot_fini(&got);
	memory_free(bytes);
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
		                                .n_subscribers = 5,
		                                .n_counters = 2,
		                                .counters = { { "snat_requests", 7 }, { "snat_granted_ports", UINT64_MAX } } };
	got = sent_and_received(&m);
	ck_assert_mem_eq(&got.cluster, &m.cluster, sizeof m.cluster);
}
END_TEST

START_TEST(node_statuses_come_back_equal)
{
	struct counter counters[] = { { "rx_packets", 5 }, { "drop_runt", UINT64_MAX } };
	struct dip_status dips[] = { { .dip = test_addr("10.1.1.11"),
		                           .state = "attached",
		                           .flows = 17,
		                           .snat = { .leased_ports = 160,
		                                     .refused = 3,
		                                     .n_busiest = 1,
		                                     .busiest = { { test_addr("198.51.100.1"), 443, 6, 12 } } } } };
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
	ck_assert_uint_eq(s->dips[0].flows, 17);
	ck_assert_mem_eq(&s->dips[0].snat, &dips[0].snat, sizeof dips[0].snat);
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
	m = (struct message){ .type = MESSAGE_ACK, .ack = { .version = 12, .lease_version = 13 } };
	got = sent_and_received(&m);
	ck_assert_uint_eq(got.ack.version, 12);
	ck_assert_uint_eq(got.ack.lease_version, 13);
	m = (struct message){ .type = MESSAGE_FENCE, .is_fenced = true };
	got = sent_and_received(&m);
	ck_assert(got.is_fenced);
	m = (struct message){ .type = MESSAGE_SNAT_REPLY,
		                  .snat_reply = { test_addr("10.1.1.11"), 4, 0, { ERR_LIMIT, "no more" } } };
	got = sent_and_received(&m);
	ck_assert_uint_eq(got.snat_reply.seq, 4);
	ck_assert_int_eq(got.snat_reply.err.code, ERR_LIMIT);
	ck_assert_str_eq(got.snat_reply.err.text, "no more");
	m = (struct message){ .type = MESSAGE_LEASES_REQUEST, .leases_request = { test_addr("203.0.113.10"), 1029, 77 } };
	got = sent_and_received(&m);
	ck_assert(ip_addr_equal(&got.leases_request.vip, &m.leases_request.vip));
	ck_assert(got.leases_request.port == 1029 && got.leases_request.at_ms == 77);
}
END_TEST

START_TEST(leases_and_operations_come_back_equal)
{
	struct message m = { .type = MESSAGE_UPDATE };
	m.update = (struct update){
		.from_version = 7, .to_version = 7, .lease_version = 40, .replaces_leases = true, .leases = some_leases(1000)
	};
	struct message got = sent_and_received(&m);
	ck_assert(got.update.lease_version == 40 && got.update.replaces_leases);
	assert_leases_equal(&m.update.leases, &got.update.leases);
	message_fini(&got);
	message_fini(&m);

	m = (struct message){ .type = MESSAGE_SNAT_ASK, .ops = all_ops() };
	got = sent_and_received(&m);
	assert_ops_equal(&m.ops, &got.ops);
	message_fini(&got);
	message_fini(&m);

	struct snat_pool_status pools[] = { { test_addr("203.0.113.10"), 64512, 160, 8 } };
	m = (struct message){ .type = MESSAGE_LEASES_REPLY };
	m.leases = (struct leases_reply){
		.leases = some_leases(3), .n_pools = 1, .pools = pools, .log_since_ms = 5, .more = true
	};
	got = sent_and_received(&m);
	assert_leases_equal(&m.leases.leases, &got.leases.leases);
	ck_assert(got.leases.n_pools == 1 && got.leases.pools[0].n_held == 160 && got.leases.pools[0].n_quarantined == 8);
	ck_assert(got.leases.log_since_ms == 5 && got.leases.more);
	message_fini(&got);
	lease_list_fini(&m.leases.leases);
}
END_TEST

START_TEST(the_estimate_of_a_lease_is_never_too_small)
{
	struct lease_list list = { 0 };
	struct lease l = { .vip = test_addr("2001:db8::1"), .dip = test_addr("2001:db8::2"), .epoch = UINT32_MAX };
	l.first_port = 65528;
	l.n_ports = 8;
	l.granted_ms = l.ended_ms = UINT64_MAX;
	ck_assert_int_eq(lease_list_append(&list, &l), 0);
	struct message m = { .type = MESSAGE_UPDATE };
	uint8_t *bytes;
	size_t without;
	size_t with;
	ck_assert_int_eq(message_encode(&m, &bytes, &without), 0);
	memory_free(bytes);
	m.update.leases = list;
	ck_assert_int_eq(message_encode(&m, &bytes, &with), 0);
	memory_free(bytes);
	ck_assert_uint_le(with - without, LEASE_ENCODED_BYTES);
	lease_list_fini(&list);
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
		struct state_command command = { 0 };
		struct change c = test_put_vip(test_random_vip(&seed, i % 250));
		size_t estimate = change_encoded_bytes(&c);
		ck_assert_int_eq(change_list_append(&command.changes, &c), 0);
		uint8_t *bytes;
		size_t n;
		ck_assert_int_eq(command_encode(&command, &bytes, &n), 0);
		ck_assert_uint_ge(estimate, n);
		memory_free(bytes);
		state_command_fini(&command);
	}
	struct change_list list = all_kinds();
	for (uint32_t i = 0; i < list.n; i++) {
		struct state_command one = { .changes = { .n = 1, .items = &list.items[i] } };
		uint8_t *bytes;
		size_t n;
		ck_assert_int_eq(command_encode(&one, &bytes, &n), 0);
		ck_assert_uint_ge(change_encoded_bytes(&list.items[i]), n);
		memory_free(bytes);
	}
	change_list_fini(&list);
}
END_TEST

START_TEST(the_largest_history_fits_into_one_message)
{
	// Both have HISTORY_MEMBERS_MAX members; the first has as many generations as there can be.
	static const uint32_t shapes[][3] = { { 256, 64, 2 }, { 1, 8, 4096 } };
	for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
		struct vip_history *h = history_of(shapes[i][0], shapes[i][1], shapes[i][2], true);
		struct change c = { .key = object_key_of_addr(OBJECT_HISTORY, &h->vip), .history = h };
		struct message m = { .type = MESSAGE_UPDATE, .update = { .to_version = UINT64_MAX } };
		ck_assert_uint_eq(h->n_gone, HISTORY_MEMBERS_MAX);
		ck_assert_int_eq(change_list_append(&m.update.changes, &c), 0);
		uint8_t *bytes;
		size_t n;
		ck_assert_int_eq(message_encode(&m, &bytes, &n), 0);
		ck_assert_uint_le(n, change_encoded_bytes(&m.update.changes.items[0]) + 64);
		printf("%u endpoints, %u generations of %u: %zu bytes\n", shapes[i][0], shapes[i][1], shapes[i][2], n);
		memory_free(bytes);
		struct message got = sent_and_received(&m);
		assert_changes_equal(&m.update.changes, &got.update.changes);
		message_fini(&got);
		message_fini(&m);
	}
}
END_TEST

START_TEST(a_history_that_cannot_be_is_refused)
{
	static const struct {
		const char *what;
		uint32_t shape[3];
		int damage;
	} rows[] = {
		{ "a history of 0 generations", { 1, 0, 0 }, 0 },
		{ "a history of 65 generations", { 1, 65, 1 }, 0 },
		{ "a history of 257 endpoints", { 257, 1, 1 }, 0 },
		{ "a generation of 0 DIPs", { 1, 1, 0 }, 0 },
		{ "a generation of 4097 DIPs", { 1, 1, 4097 }, 0 },
		{ "a generation of 4096 DIPs", { 1, 9, 4096 }, 0 }, // the ninth
		{ "a generation whose DIPs are not in order", { 1, 1, 2 }, 1 },
		{ "a generation with a DIP or weight that cannot be", { 1, 1, 2 }, 2 },
	};
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		struct vip_history *h = history_of(rows[i].shape[0], rows[i].shape[1], rows[i].shape[2], false);
		struct message m = { .type = MESSAGE_UPDATE };
		struct change c = { .key = object_key_of_addr(OBJECT_HISTORY, &h->vip), .history = h };
		struct error err;
		if (rows[i].damage == 1)
			h->endpoints[0].generations[0].members[1].dip = h->endpoints[0].generations[0].members[0].dip;
		else if (rows[i].damage == 2)
			h->endpoints[0].generations[0].members[1].weight = 1001;
		ck_assert_int_eq(change_list_append(&m.update.changes, &c), 0);
		uint8_t *bytes;
		size_t n;
		struct message got;
		ck_assert_int_eq(message_encode(&m, &bytes, &n), 0);
		ck_assert_int_eq(message_decode(bytes, n, &got, &err), ERR_MALFORMED);
		ck_assert_msg(strstr(err.text, rows[i].what) != NULL, "%s, not %s", err.text, rows[i].what);
		memory_free(bytes);
		message_fini(&m);
	}
}
END_TEST

START_TEST(every_truncation_and_every_damaged_byte_is_refused_or_read_soundly)
{
	struct message m = { .type = MESSAGE_UPDATE,
		                 .update = { .to_version = 1, .changes = all_kinds(), .leases = some_leases(9) } };
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
	struct state_snapshot snapshot;
	struct error err = { 0 };
	ck_assert_int_eq(snapshot_decode(newer, sizeof newer, &snapshot, &err), ERR_VERSION);
	ck_assert_str_eq(err.text, "a snapshot of format 2; this program reads format 1");
}
END_TEST

START_TEST(messages_are_made_or_refused_when_memory_is_short)
{
	struct message m = { .type = MESSAGE_UPDATE,
		                 .update = { .to_version = 1, .changes = all_kinds(), .leases = some_leases(9) } };
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
           short_messages_come_back_equal, leases_and_operations_come_back_equal,
           the_estimate_of_a_lease_is_never_too_small, a_message_over_the_limit_is_not_made,
           the_estimate_of_a_change_is_never_too_small, the_largest_history_fits_into_one_message,
           a_history_that_cannot_be_is_refused, every_truncation_and_every_damaged_byte_is_refused_or_read_soundly,
           a_snapshot_of_a_newer_format_is_refused_by_name, messages_are_made_or_refused_when_memory_is_short)
