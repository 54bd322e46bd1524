// The real anantactl against a manager that is played here: drains, what is left of a drained DIP, generations.
#include "tests/support/suite.h"

#include <string.h>
#include <time.h>

#include "common/base/memory.h"
#include "tests/unit/manager/ctl.h"
#include "tests/unit/manager/objects.h"
#include "tests/unit/manager/played.h"

#define T0 1795514400000ull // 2026-11-24T10:00:00Z
#define MINUTE 60000ull
#define FIRST_VERSION 5
#define GENERATIONS 3

static const char state_text[] =
	"cluster 7 ; host host1 10.0.0.21 ; host host2 10.0.0.22 ; mux mux1 10.0.0.31 ; "
	"dip 10.1.1.11 host1 vm1 if1 02:00:00:00:00:01 ; dip 10.1.1.12 host2 vm2 if2 02:00:00:00:00:02 ; "
	"dip 10.1.1.13 host2 vm3 if3 02:00:00:00:00:03 ; "
	"vip 203.0.113.10 shop web tcp 80 10.1.1.11:8080 10.1.1.12:8080 , dns udp 53 10.1.1.13:53 10.1.1.14:53 ; "
	"vip 203.0.113.11 shop web tcp 80 10.1.1.11:8081 10.1.1.13:8080 ; vip 203.0.113.12 shop snat 10.1.1.13";

// What the played manager knows. A drain is "DIP" or "DIP VIP".
struct played_drain {
	char dip[IP_ADDR_TEXT_BYTES];
	char vip[NAME_BYTES];
};
static struct played_drain drains[8];
static uint32_t n_drains;
static uint64_t drained_since_ms = T0;
static uint64_t version = FIRST_VERSION;
static bool has_history;
static struct error refusal; // of commands, when its code is set
static int32_t left[8]; // of 10.1.1.11, one each time that its host is asked, the last for ever; -1: no answer
static uint32_t n_left = 1;
static uint32_t n_asked;
static uint32_t mux_is_late; // so many times
static int32_t undrained_at = -1; // that time another operator undrains it

// ---- the manager ----

static void add_drain(const char *dip, const char *vip)
{
	ck_assert_uint_lt(n_drains, sizeof drains / sizeof *drains);
	(void)text_copy(drains[n_drains].dip, sizeof drains->dip, dip);
	(void)text_copy(drains[n_drains++].vip, sizeof drains->vip, vip);
}

static void append_drains(struct change_list *list)
{
	for (uint32_t i = 0; i < n_drains; i++) {
		struct ip_addr dip = addr_of(drains[i].dip);
		struct change put = { .key = object_key_of_addr(OBJECT_DRAIN, &dip) };
		(void)text_copy(put.key.name, sizeof put.key.name, drains[i].vip);
		put.mark.since_ms = drained_since_ms;
		ck_assert_int_eq(change_list_append(list, &put), 0);
	}
}

// Of web: 12 alone, then 11 and 12, then 11 gone and 14 in its place with a weight of 3.
static void append_history(struct change_list *list)
{
	struct maglev_member first[] = { { addr_of("10.1.1.12"), 1 } };
	struct maglev_member second[] = { { addr_of("10.1.1.11"), 1 }, { addr_of("10.1.1.12"), 1 } };
	struct maglev_member third[] = { { addr_of("10.1.1.12"), 1 }, { addr_of("10.1.1.14"), 3 } };
	struct generation generations[GENERATIONS] = { { 0, 1, first },
		                                           { T0 + MINUTE, 2, second },
		                                           { T0 + 2 * MINUTE, 2, third } };
	struct endpoint_history endpoint = { .port = 80, .protocol = 6, .n_generations = 3, .generations = generations };
	struct vip_history history = { .vip = addr_of("203.0.113.10"), .n_endpoints = 1, .endpoints = &endpoint };
	struct change put = { .key = object_key_of_addr(OBJECT_HISTORY, &history.vip) };
	put.history = vip_history_clone(&history);
	ck_assert_int_eq(change_list_append(list, &put), 0);
}

static void send_state(struct conn *c, uint64_t request_id)
{
	struct message m = { .type = MESSAGE_UPDATE, .request_id = request_id };
	m.update.to_version = version;
	m.update.changes = changes_of(state_text);
	for (uint32_t i = 0; i < m.update.changes.n; i++)
		if (m.update.changes.items[i].key.kind == OBJECT_VIP)
			ck_assert_int_eq(vip_config_validate(m.update.changes.items[i].vip, &(struct error){ 0 }), 0);
	append_drains(&m.update.changes);
	if (has_history)
		append_history(&m.update.changes);
	(void)conn_send(c, &m);
	message_fini(&m);
}

static void send_muxes(struct conn *c, uint64_t request_id)
{
	struct node_status nodes[] = {
		{ .name = "mux1", .role = ROLE_MUX, .state = "announcing", .version = version },
		{ .name = "mux2", .role = ROLE_MUX, .state = "unreachable" },
	};
	struct message m = { .type = MESSAGE_NODES_REPLY, .request_id = request_id, .nodes = { .n = 2, .items = nodes } };
	if (mux_is_late > 0) {
		mux_is_late--;
		nodes[0].version = FIRST_VERSION;
	}
	(void)conn_send(c, &m);
}

static void send_hosts(struct conn *c, uint64_t request_id, bool is_one)
{
	int32_t now = left[n_asked < n_left ? n_asked : n_left - 1];
	struct dip_status of_host1[] = { { .dip = addr_of("10.1.1.11"), .state = "attached", .flows = (uint32_t)now } };
	struct dip_status of_host2[] = { { .dip = addr_of("10.1.1.12"), .state = "missing-interface", .flows = 7 } };
	struct node_status nodes[] = {
		{ .name = "host1", .role = ROLE_AGENT, .state = "ready", .version = version, .n_dips = 1, .dips = of_host1 },
		{ .name = "host2", .role = ROLE_AGENT, .state = "ready", .version = version, .n_dips = 1, .dips = of_host2 },
	};
	struct message m = { .type = MESSAGE_NODES_REPLY, .request_id = request_id, .nodes = { .items = nodes } };
	m.nodes.n = is_one ? 1 : 2;
	if (now < 0)
		nodes[0] = (struct node_status){ .name = "host1", .role = ROLE_AGENT, .state = "unreachable" };
	(void)conn_send(c, &m);
	n_asked += is_one;
	if (undrained_at >= 0 && n_asked == (uint32_t)undrained_at) {
		n_drains = 0;
		version++;
	}
}

static bool is_drain(const struct played_drain *d, const struct object_key *key)
{
	struct ip_addr dip = addr_of(d->dip);
	return ip_addr_equal(&dip, &key->addr) && strcmp(d->vip, key->name) == 0;
}

static void apply(const struct change *c)
{
	char text[IP_ADDR_TEXT_BYTES];
	ck_assert_int_eq(c->key.kind, OBJECT_DRAIN);
	uint32_t n = 0;
	for (uint32_t i = 0; i < n_drains; i++)
		if (!is_drain(&drains[i], &c->key))
			drains[n++] = drains[i];
	n_drains = n;
	if (!c->is_delete)
		add_drain(ip_addr_format(&c->key.addr, text), c->key.name);
}

static void answer_command(struct conn *c, const struct message *m)
{
	if (refusal.code != 0) {
		(void)conn_send_error(c, m->request_id, &refusal);
		return;
	}
	for (uint32_t i = 0; i < m->changes.n; i++)
		apply(&m->changes.items[i]);
	struct message reply = { .type = MESSAGE_COMMAND_REPLY, .request_id = m->request_id, .version = ++version };
	(void)conn_send(c, &reply);
}

static void on_message(struct conn *c, struct message *m, void *user)
{
	if (m->type == MESSAGE_STATE_REQUEST)
		send_state(c, m->request_id);
	else if (m->type == MESSAGE_NODES_REQUEST && m->nodes_request.role == ROLE_MUX)
		send_muxes(c, m->request_id);
	else if (m->type == MESSAGE_NODES_REQUEST)
		send_hosts(c, m->request_id, m->nodes_request.name[0] != '\0');
	else if (m->type == MESSAGE_COMMAND_REQUEST)
		answer_command(c, m);
}

static void begin_left(uint32_t n, const int32_t *counts)
{
	n_left = n;
	memcpy(left, counts, n * sizeof *counts);
	drained_since_ms = (uint64_t)time(NULL) * 1000;
	played_begin(on_message);
}

#define BEGIN_LEFT(...) begin_left(sizeof((int32_t[]){ __VA_ARGS__ }) / sizeof(int32_t), (int32_t[]){ __VA_ARGS__ })

// ---- drain and undrain ----

START_TEST(a_dip_is_drained_and_undrained)
{
	BEGIN_LEFT(12);
	CHECK_RUN("ctl dip drain 10.1.1.11", 0, "dip 10.1.1.11 drained (version 6)\n");
	CHECK_RUN("ctl dip list", 0, "10.1.1.11  host1  vm1  if1        02:00:00:00:00:01  draining              12  ",
	          "203.0.113.10,203.0.113.11               all      -\n");
	CHECK_RUN("ctl dip undrain 10.1.1.11", 0, "dip 10.1.1.11 undrained (version 7)\n");
	CHECK_RUN("ctl dip undrain 10.1.1.11", 1, "anantactl: dip: 10.1.1.11 is not drained\n");
	CHECK_RUN("ctl dip drain 10.1.1.11 -o json", 0,
	          "\"dip\": \"10.1.1.11\",\n  \"vip\": null,\n  \"result\": \"drained\",\n  \"version\": 8\n");
	CHECK_RUN("ctl dip undrain 10.1.1.11 -o json", 0, "\"result\": \"undrained\",\n  \"version\": 9\n");
	played_end();
}
END_TEST

START_TEST(a_dip_is_drained_of_one_vip)
{
	BEGIN_LEFT(12);
	CHECK_RUN("ctl dip drain 10.1.1.11 --vip 203.0.113.11", 0, "dip 10.1.1.11 drained of 203.0.113.11 (version 6)\n");
	CHECK_RUN("ctl dip list", 0, "draining              12  203.0.113.10,203.0.113.11               203.0.113.11  -\n");
	CHECK_RUN("ctl dip undrain 10.1.1.11 --vip 203.0.113.10", 1,
	          "anantactl: dip: 10.1.1.11 is not drained of 203.0.113.10\n");
	CHECK_RUN("ctl dip undrain 10.1.1.11 --vip 203.0.113.11 -o json", 0, "\"vip\": \"203.0.113.11\",\n");
	CHECK_RUN("ctl dip list", 0, "attached              12  203.0.113.10,203.0.113.11               -        -\n");
	played_end();
}
END_TEST

START_TEST(undrain_without_a_vip_takes_back_all_drains_of_the_dip)
{
	add_drain("10.1.1.11", "");
	add_drain("10.1.1.11", "203.0.113.10");
	add_drain("10.1.1.13", "203.0.113.11");
	BEGIN_LEFT(0);
	CHECK_RUN("ctl dip undrain 10.1.1.11 --vip 203.0.113.11", 1,
	          "dip: 10.1.1.11 is drained of all of its VIPs; undrain it without --vip\n");
	CHECK_RUN("ctl dip undrain 10.1.1.11", 0, "dip 10.1.1.11 undrained (version 6)\n");
	CHECK_RUN("ctl dip undrain 10.1.1.11", 1, "dip: 10.1.1.11 is not drained\n");
	CHECK_RUN("ctl dip undrain 10.1.1.13", 0, "dip 10.1.1.13 undrained (version 7)\n");
	played_end();
}
END_TEST

START_TEST(what_the_managers_refuse_is_said)
{
	refusal = (struct error){ .code = ERR_CONFLICT, .text = "drain: endpoint \"web\" of 203.0.113.10 would be left" };
	BEGIN_LEFT(12);
	CHECK_RUN("ctl dip drain 10.1.1.11", 1, "anantactl: drain: endpoint \"web\" of 203.0.113.10 would be left\n");
	CHECK_RUN("ctl dip drain 10.1.1.11 --wait", 1,
	          "anantactl: drain: endpoint \"web\" of 203.0.113.10 would be left\n");
	ck_assert_ptr_null(strstr(ctl_output, "connections"));
	played_end();
}
END_TEST

START_TEST(the_states_of_a_host_stand_before_draining)
{
	add_drain("10.1.1.11", "");
	add_drain("10.1.1.12", "203.0.113.10");
	add_drain("10.1.1.13", "203.0.113.10");
	add_drain("10.1.1.13", "203.0.113.11");
	BEGIN_LEFT(-1);
	CHECK_RUN("ctl dip list", 0,
	          "host-unreachable       -  203.0.113.10,203.0.113.11               all                        -\n",
	          "missing-interface      7  203.0.113.10                            203.0.113.10               -\n",
	          "pending                -  203.0.113.10,203.0.113.11,203.0.113.12  203.0.113.10,203.0.113.11  -\n");
	CHECK_RUN("ctl dip list -o json", 0, "\"state\": \"host-unreachable\",\n    \"flows\": null,", "\"flows\": 7,",
	          "\"drains\": [\n      {\n        \"vip\": null,\n        \"since\": \"20",
	          "\"drains\": [\n      {\n        \"vip\": \"203.0.113.10\",\n");
	played_end();
}
END_TEST

// ---- waiting ----

START_TEST(waiting_shows_each_number_once_and_ends_at_0)
{
	BEGIN_LEFT(3, 3, 1, 0);
	CHECK_RUN("ctl dip drain 10.1.1.11 --wait", 0,
	          "dip 10.1.1.11 drained (version 6)\nconnections left: 3\nconnections left: 1\nconnections left: 0\n");
	CHECK_RUN("ctl dip drain 10.1.1.11 --wait -o json", 0,
	          "{\n  \"dip\": \"10.1.1.11\",\n  \"vip\": null,\n  \"result\": \"drained\",\n  \"version\": 7,\n"
	          "  \"end\": \"empty\",\n  \"left\": 0\n}\n");
	ck_assert_int_eq(ctl_output[0], '{');
	played_end();
}
END_TEST

START_TEST(waiting_outlasts_a_host_that_does_not_answer)
{
	BEGIN_LEFT(2, -1, 0);
	CHECK_RUN("ctl dip drain 10.1.1.11 --wait", 0, "connections left: 2\nconnections left: -\nconnections left: 0\n");
	played_end();
}
END_TEST

START_TEST(none_is_left_only_when_all_muxes_have_heard_of_the_drain)
{
	mux_is_late = 2;
	BEGIN_LEFT(0, 0, 5, 0);
	CHECK_RUN("ctl dip drain 10.1.1.11 --wait", 0, "connections left: 0\nconnections left: 5\nconnections left: 0\n");
	played_end();
}
END_TEST

START_TEST(waiting_ends_with_the_timeout_or_the_drain_time)
{
	BEGIN_LEFT(4);
	CHECK_RUN("ctl dip drain 10.1.1.11 --wait --timeout 1", 3, "connections left: 4\n",
	          "anantactl: dip drain: 10.1.1.11 has 4 connections left after 1 s, and stays drained\n");
	CHECK_RUN("ctl dip drain 10.1.1.11 --wait --timeout 1 -o json", 3, "\"end\": \"timeout\",\n  \"left\": 4\n");
	played_end();
	n_drains = 0;
	drained_since_ms -= 3601 * 1000ull; // as if it had been drained before
	played_begin(on_message);
	CHECK_RUN("ctl dip drain 10.1.1.11 --wait", 0, "the drain time has passed; connections left: 4\n");
	CHECK_RUN("ctl dip drain 10.1.1.11 --wait -o json", 0, "\"end\": \"drain-time-passed\",\n  \"left\": 4\n");
	played_end();
}
END_TEST

START_TEST(waiting_ends_when_another_operator_undrains)
{
	undrained_at = 2;
	BEGIN_LEFT(4);
	CHECK_RUN("ctl dip drain 10.1.1.11 --wait", 1, "anantactl: dip drain: 10.1.1.11 is not drained any more\n");
	played_end();
}
END_TEST

START_TEST(a_dip_that_is_attached_nowhere_has_no_connections)
{
	BEGIN_LEFT(4);
	CHECK_RUN("ctl dip drain 10.1.1.14 --wait", 0, "dip 10.1.1.14 drained (version 6)\nconnections left: 0\n");
	played_end();
}
END_TEST

START_TEST(waiting_for_one_vip_of_several_is_refused_before_anything_is_done)
{
	BEGIN_LEFT(4, 0);
	CHECK_RUN("ctl dip drain 10.1.1.11 --vip 203.0.113.10 --wait", 1,
	          "anantactl: dip drain: --wait would wait for the connections of 203.0.113.11, too");
	CHECK_RUN("ctl dip undrain 10.1.1.11", 1, "is not drained");
	CHECK_RUN("ctl dip drain 10.1.1.11 --vip 203.0.113.11", 0, "drained of 203.0.113.11 (version 6)\n");
	CHECK_RUN("ctl dip drain 10.1.1.11 --vip 203.0.113.10 --wait", 0, "drained of 203.0.113.10 (version 7)\n",
	          "connections left: 0\n");
	played_end();
}
END_TEST

// ---- vip show ----

START_TEST(a_vip_shows_its_drained_dips_and_its_generations)
{
	add_drain("10.1.1.11", "203.0.113.10");
	add_drain("10.1.1.13", "");
	has_history = true;
	played_begin(on_message);
	CHECK_RUN("ctl vip show 203.0.113.10", 0, "vip      203.0.113.10\ntenant   shop\ndrain_s  3600\n\n",
	          "WEIGHT  HOST   VM   DRAINED                   HEALTH\n",
	          "web       tcp         80  10.1.1.11      8080       1  host1  vm1  2026-11-24T10:00:00.000Z  -\n"
	          "web       tcp         80  10.1.1.12      8080       1  host2  vm2  -                         -\n",
	          "dns       udp         53  10.1.1.13        53       1  host2  vm3  2026-11-24T10:00:00.000Z  -\n",
	          "\n\nENDPOINT  GENERATIONS  SINCE                     DIPS  EARLIER  OLDEST-GOES\n"
	          "web                 3  2026-11-24T10:02:00.000Z     2        1  2026-11-24T11:01:00.000Z\n");
	CHECK_RUN("ctl vip show 203.0.113.11", 0,
	          "tcp         80  10.1.1.11      8081       1  host1  vm1  -                         -\n");
	ck_assert_ptr_null(strstr(ctl_output, "GENERATIONS"));
	played_end();
}
END_TEST

START_TEST(the_json_of_a_vip_has_them_too_and_can_be_applied)
{
	add_drain("10.1.1.11", "");
	add_drain("10.1.1.11", "203.0.113.10");
	add_drain("10.1.1.13", "203.0.113.11");
	has_history = true;
	played_begin(on_message);
	CHECK_RUN("ctl vip show 203.0.113.10 -o json", 0, "\"drain_s\": 3600,\n", "  \"status\": {\n    \"drained\": [\n",
	          "\"dip\": \"10.1.1.11\",\n        \"since\": \"2026-11-24T10:00:00.000Z\"\n      }\n    ],\n",
	          "\"protocol\": \"tcp\",\n        \"port\": 80,\n        \"oldest_goes\": \"2026-11-24T11:01:00.000Z\",\n"
	          "        \"generations\": [\n          {\n            \"since\": null,\n",
	          "\"dip\": \"10.1.1.14\",\n                \"weight\": 3\n");
	CHECK_RUN("ctl vip show 203.0.113.10 -o json | grep -c '\"since\": \"2026-11-24T10:00:00.000Z\"'", 0, "1\n");
	CHECK_RUN("ctl vip show 203.0.113.12 -o json | grep -c status", 1, "0\n");
	CHECK_RUN("ctl vip show 203.0.113.10 -o json | sed 's/\"port\": 80,/\"port\": 0,/' | ctl vip apply -f -", 2,
	          "endpoints[0].port: must be 1 to 65535, got 0");
	played_end();
}
END_TEST

SUITE_MAIN("cli_drain", a_dip_is_drained_and_undrained, a_dip_is_drained_of_one_vip,
           undrain_without_a_vip_takes_back_all_drains_of_the_dip, what_the_managers_refuse_is_said,
           the_states_of_a_host_stand_before_draining, waiting_shows_each_number_once_and_ends_at_0,
           waiting_outlasts_a_host_that_does_not_answer, none_is_left_only_when_all_muxes_have_heard_of_the_drain,
           waiting_ends_with_the_timeout_or_the_drain_time, waiting_ends_when_another_operator_undrains,
           a_dip_that_is_attached_nowhere_has_no_connections,
           waiting_for_one_vip_of_several_is_refused_before_anything_is_done,
           a_vip_shows_its_drained_dips_and_its_generations, the_json_of_a_vip_has_them_too_and_can_be_applied)
