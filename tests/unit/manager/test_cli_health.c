// The real anantactl against a manager that is played here: health of DIPs, muxes that are drained, events.
#include "tests/support/suite.h"

#include <string.h>

#include "common/base/memory.h"
#include "tests/unit/manager/ctl.h"
#include "tests/unit/manager/objects.h"
#include "tests/unit/manager/played.h"

#define T0 1795514400000ull // 2026-11-24T10:00:00Z
#define FIRST_VERSION 5

static const char state_text[] =
	"cluster 7 ; host host1 10.0.0.21 ; host host2 10.0.0.22 ; mux mux1 10.0.0.31 ; mux mux2 10.0.0.32 ; "
	"dip 10.1.1.11 host1 vm1 if1 02:00:00:00:00:01 ; dip 10.1.1.12 host2 vm2 if2 02:00:00:00:00:02 ; "
	"dip 10.1.1.13 host2 vm3 if3 02:00:00:00:00:03 ; "
	"vip 203.0.113.10 shop web tcp 80 10.1.1.11:8080 10.1.1.12:8080 , dns udp 53 10.1.1.13:53 ; "
	"vip 203.0.113.11 shop web tcp 80 10.1.1.11:8081";

// What the played manager knows.
static struct change marks[8];
static uint32_t n_marks;
static bool refuses_when_down;
static uint64_t version = FIRST_VERSION;
static struct error refusal; // of commands, when its code is set
static const char *mux_states[8] = { "announcing" }; // of mux1, one each time that it is asked, the last for ever
static uint32_t n_mux_states = 1;
static uint32_t n_asked;
static int32_t undrained_at = -1; // that time another operator undrains it
static struct event_list events;
static uint32_t events_later; // so many come with the second question
static uint32_t n_events_asked;

// ---- the manager ----

static void add_mark(struct object_key key, uint64_t since_ms, const char *cause)
{
	struct change *put = &marks[n_marks++];
	*put = (struct change){ .key = key, .mark = { .since_ms = since_ms } };
	(void)text_copy(put->mark.cause, sizeof put->mark.cause, cause);
}

static void add_unhealthy(const char *dip, const char *vip, uint8_t protocol, uint16_t port, const char *cause)
{
	struct probe_result result = { .dip = addr_of(dip), .vip = addr_of(vip), .protocol = protocol, .port = port };
	add_mark(probe_result_key(&result), T0, cause);
}

static void finish_vip(struct vip_config *vip)
{
	struct probe probe = PROBE_DEFAULT;
	probe.type = PROBE_HTTP;
	for (uint32_t i = 0; i < vip->n_endpoints; i++)
		if (vip->endpoints[i].port == 80)
			vip->endpoints[i].probe = probe;
	vip->refuses_when_down = refuses_when_down;
	ck_assert_int_eq(vip_config_validate(vip, &(struct error){ 0 }), 0);
}

static void send_state(struct conn *c, uint64_t request_id)
{
	struct message m = { .type = MESSAGE_UPDATE, .request_id = request_id };
	m.update.to_version = version;
	m.update.changes = changes_of(state_text);
	for (uint32_t i = 0; i < m.update.changes.n; i++)
		if (m.update.changes.items[i].key.kind == OBJECT_VIP)
			finish_vip(m.update.changes.items[i].vip);
	for (uint32_t i = 0; i < n_marks; i++) {
		struct change mark = marks[i];
		ck_assert_int_eq(change_list_append(&m.update.changes, &mark), 0);
	}
	(void)conn_send(c, &m);
	message_fini(&m);
}

static void send_muxes(struct conn *c, uint64_t request_id, bool is_one)
{
	const char *state = mux_states[n_asked < n_mux_states ? n_asked : n_mux_states - 1];
	struct counter counters[] = { { "rx_packets", 2000 + 1000 * n_asked },
		                          { "to_tap_packets", 1000 },
		                          { "drop_unknown_vip", 3 } };
	struct node_status nodes[] = {
		{ .name = "mux1", .role = ROLE_MUX, .version = version, .n_counters = 3, .counters = counters },
		{ .name = "mux2", .role = ROLE_MUX, .state = "announcing", .version = FIRST_VERSION - 2 },
	};
	struct message m = { .type = MESSAGE_NODES_REPLY, .request_id = request_id, .nodes = { .items = nodes } };
	m.nodes.n = is_one ? 1 : 2;
	(void)text_copy(nodes[0].state, sizeof nodes[0].state, state);
	if (strcmp(state, "down") == 0)
		nodes[0].version = nodes[0].n_counters = 0;
	(void)conn_send(c, &m);
	n_asked += is_one;
	if (undrained_at >= 0 && n_asked == (uint32_t)undrained_at) {
		n_marks = 0;
		version++;
	}
}

static void answer_command(struct conn *c, const struct message *m)
{
	const struct change *change = &m->changes.items[0];
	if (refusal.code != 0) {
		(void)conn_send_error(c, m->request_id, &refusal);
		return;
	}
	ck_assert_int_eq(change->key.kind, OBJECT_MUX_DRAIN);
	n_marks = 0;
	if (!change->is_delete)
		add_mark(change->key, T0, "");
	struct message reply = { .type = MESSAGE_COMMAND_REPLY, .request_id = m->request_id, .version = ++version };
	(void)conn_send(c, &reply);
}

static void send_events(struct conn *c, const struct message *m)
{
	struct message reply = { .type = MESSAGE_EVENTS_REPLY, .request_id = m->request_id };
	uint32_t n = n_events_asked++ == 0 ? events.n - events_later : events.n;
	for (uint32_t i = 0; i < n; i++)
		if (events.items[i].seq > m->after_seq)
			ck_assert_int_eq(event_list_append(&reply.events, &events.items[i]), 0);
	(void)conn_send(c, &reply);
	message_fini(&reply);
	if (n_events_asked == 2)
		conn_close(c); // the leader changes
}

static void on_message(struct conn *c, struct message *m, void *user)
{
	if (m->type == MESSAGE_STATE_REQUEST)
		send_state(c, m->request_id);
	else if (m->type == MESSAGE_NODES_REQUEST && m->nodes_request.role == ROLE_MUX)
		send_muxes(c, m->request_id, m->nodes_request.name[0] != '\0');
	else if (m->type == MESSAGE_NODES_REQUEST)
		(void)conn_send(c, &(struct message){ .type = MESSAGE_NODES_REPLY, .request_id = m->request_id });
	else if (m->type == MESSAGE_COMMAND_REQUEST)
		answer_command(c, m);
	else if (m->type == MESSAGE_EVENTS_REQUEST)
		send_events(c, m);
}

// ---- health ----

START_TEST(the_health_of_each_dip_is_listed)
{
	add_unhealthy("10.1.1.11", "203.0.113.10", 6, 80, "http 8080: status 500");
	add_unhealthy("10.1.1.11", "203.0.113.11", 6, 80, "http 8081: connection refused");
	add_mark(object_key_of_name(OBJECT_HOST_GONE, "nobody"), T0, "");
	played_begin(on_message);
	CHECK_RUN(
		"ctl dip list", 0, "DRAINED  HEALTH\n",
		"-        unhealthy since 2026-11-24T10:00:00.000Z: http 8080: status 500 (203.0.113.10 tcp 80, and 1 more)\n",
		"203.0.113.10               -        healthy\n", "203.0.113.10               -        -\n");
	CHECK_RUN("ctl dip list -o json", 0, "\"health\": \"unhealthy\",\n    \"unhealthy\": [\n      {\n        \"vip\": ",
	          "\"vip\": \"203.0.113.11\",\n        \"protocol\": \"tcp\",\n        \"port\": 80,\n        \"since\": "
	          "\"2026-11-24T10:00:00.000Z\",\n        \"cause\": \"http 8081: connection refused\"\n",
	          "\"host_gone\": null\n", "\"health\": \"healthy\",\n    \"unhealthy\": [],", "\"health\": null,");
	played_end();
}
END_TEST

START_TEST(a_host_that_is_gone_is_said_of_its_dips)
{
	add_unhealthy("10.1.1.12", "203.0.113.10", 6, 80, "http 8080: timeout");
	add_mark(object_key_of_name(OBJECT_HOST_GONE, "host2"), T0 + 1, "agent not connected for 2.0 s");
	played_begin(on_message);
	CHECK_RUN(
		"ctl dip list", 0,
		"vm1  if1        02:00:00:00:00:01  host-unreachable      -  203.0.113.10,203.0.113.11  -        healthy\n",
		"10.1.1.12  host2  ", "-        host gone since 2026-11-24T10:00:00.001Z\n");
	CHECK_RUN("ctl dip list -o json", 0, "\"health\": \"host-gone\",\n    \"unhealthy\": [\n      {\n",
	          "\"health\": \"host-gone\",\n    \"unhealthy\": [],\n    \"host_gone\": {\n      \"since\": "
	          "\"2026-11-24T10:00:00.001Z\",\n      \"cause\": \"agent not connected for 2.0 s\"\n");
	CHECK_RUN("ctl vip show 203.0.113.10", 0, "10.1.1.13        53       1  host2  vm3  -        host gone since 2026",
	          "10.1.1.11      8080       1  host1  vm1  -        healthy\n",
	          "endpoint dns: all down (0 of 1 unhealthy, 1 on hosts that are gone, 0 drained): sending to the same as "
	          "before\n");
	CHECK_RUN(
		"ctl vip show 203.0.113.10 -o json", 0,
		"\"hosts_gone\": [\n      {\n        \"host\": \"host2\",\n        \"dips\": [\n          \"10.1.1.12\",\n"
		"          \"10.1.1.13\"\n",
		"\"down\": [\n      {\n        \"name\": \"dns\",\n        \"protocol\": \"udp\",\n        \"port\": 53,\n"
		"        \"new_connections\": \"as before\"\n");
	played_end();
}
END_TEST

START_TEST(a_vip_shows_its_probes_and_who_is_unhealthy)
{
	add_unhealthy("10.1.1.11", "203.0.113.10", 6, 80, "http 8080: status 500");
	played_begin(on_message);
	CHECK_RUN("ctl vip show 203.0.113.10", 0, "HOST   VM   DRAINED  HEALTH\n",
	          "vm1  -        unhealthy since 2026-11-24T10:00:00.000Z: http 8080: status 500\n",
	          "vm2  -        healthy\n", "vm3  -        -\n",
	          "\n\nENDPOINT  PROBE   INTERVAL-MS  TIMEOUT-MS  UP  DOWN\nweb       http /         2000        1000   2  "
	          "   2\n");
	ck_assert_ptr_null(strstr(ctl_output, "all down"));
	CHECK_RUN("ctl vip show 203.0.113.11", 0, "vm1  -        healthy\n");
	CHECK_RUN("ctl vip show 203.0.113.10 -o json", 0,
	          "\"probe\": {\n        \"type\": \"http\",\n        \"path\": \"/\",",
	          "\"status\": {\n    \"drained\": [],\n    \"unhealthy\": [\n      {\n        \"dip\": \"10.1.1.11\",\n",
	          "\"cause\": \"http 8080: status 500\"\n", "\"down\": [],\n    \"endpoints\": []\n");
	played_end();
}
END_TEST

START_TEST(a_vip_says_what_becomes_of_new_connections_when_all_are_down)
{
	add_unhealthy("10.1.1.11", "203.0.113.10", 6, 80, "http 8080: status 500");
	add_unhealthy("10.1.1.12", "203.0.113.10", 6, 80, "http 8080: status 500");
	played_begin(on_message);
	CHECK_RUN("ctl vip show 203.0.113.10", 0,
	          "\nendpoint web: all down (2 of 2 unhealthy, 0 on hosts that are gone, 0 drained): sending to all\n");
	CHECK_RUN("ctl vip show 203.0.113.10 -o json", 0, "\"new_connections\": \"sent to all\"\n",
	          "\"when_all_down\": \"send\"");
	played_end();
	refuses_when_down = true;
	played_begin(on_message);
	CHECK_RUN("ctl vip show 203.0.113.10", 0, "down     new connections are refused when all DIPs",
	          "0 drained): refusing new connections\n");
	CHECK_RUN("ctl vip show 203.0.113.10 -o json", 0, "\"new_connections\": \"refused\"\n",
	          "\"when_all_down\": \"refuse\"");
	played_end();
}
END_TEST

// ---- muxes ----

START_TEST(muxes_are_listed_with_how_far_they_are_behind)
{
	add_mark(object_key_of_name(OBJECT_MUX_DRAIN, "mux2"), T0, "");
	mux_states[0] = "down";
	played_begin(on_message);
	CHECK_RUN("ctl mux list", 0, "NAME  ADDRESS    STATE       VERSION  LAG  PACKETS  DROPS\n",
	          "mux1  10.0.0.31  down              -    -        -      -\n",
	          "mux2  10.0.0.32  announcing        3    2        0      0\n");
	CHECK_RUN("ctl mux list -o json", 0, "\"lag\": null,\n    \"drained_since\": null,",
	          "\"lag\": 2,\n    \"drained_since\": \"2026-11-24T10:00:00.000Z\",");
	CHECK_RUN("ctl mux show mux1", 0, "state    down\n");
	ck_assert_ptr_null(strstr(ctl_output, "version"));
	played_end();
}
END_TEST

static void say_states(uint32_t n, const char *const *states)
{
	n_mux_states = n;
	memcpy(mux_states, states, n * sizeof *states);
	played_begin(on_message);
}

#define SAY_STATES(...) \
	say_states(sizeof((const char *[]){ __VA_ARGS__ }) / sizeof(char *), (const char *[]){ __VA_ARGS__ })

START_TEST(a_mux_is_drained_and_undrained)
{
	SAY_STATES("draining");
	CHECK_RUN("ctl mux drain mux1", 0, "mux mux1 draining (version 6)\n");
	CHECK_RUN("ctl mux show mux1", 0,
	          "state    draining\ndrained  since 2026-11-24T10:00:00.000Z\nversion  6\nlag      0\n");
	CHECK_RUN("ctl mux undrain mux1", 0, "mux mux1 undrained (version 7)\n");
	CHECK_RUN("ctl mux drain mux1 -o json", 0, "\"mux\": \"mux1\",\n  \"result\": \"draining\",\n  \"version\": 8\n");
	played_end();
	refusal = (struct error){ .code = ERR_CONFLICT, .text = "mux: \"mux1\" is the last one that is not drained" };
	played_begin(on_message);
	CHECK_RUN("ctl mux drain mux1 --wait", 1, "anantactl: mux: \"mux1\" is the last one that is not drained\n");
	played_end();
}
END_TEST

START_TEST(waiting_ends_when_no_packets_come_any_more)
{
	SAY_STATES("announcing", "draining", "draining", "drained");
	CHECK_RUN("ctl mux drain mux1 --wait", 0, "mux mux1 draining (version 6)\nstate: announcing\nstate: draining, ",
	          " packets a second\nstate: drained, ");
	played_end();
	played_begin(on_message);
	CHECK_RUN("ctl mux drain mux1 --wait -o json", 0,
	          "{\n  \"mux\": \"mux1\",\n  \"result\": \"draining\",\n  \"version\": 6,\n  \"end\": \"drained\",\n"
	          "  \"state\": \"drained\",\n  \"packets_per_s\": ");
	ck_assert_int_eq(ctl_output[0], '{');
	played_end();
}
END_TEST

START_TEST(waiting_outlasts_a_mux_that_does_not_answer)
{
	SAY_STATES("draining", "down", "draining", "drained");
	CHECK_RUN("ctl mux drain mux1 --wait", 0, "state: draining\nstate: down\nstate: draining\nstate: drained");
	played_end();
}
END_TEST

START_TEST(the_timeout_says_what_still_comes)
{
	SAY_STATES("draining");
	CHECK_RUN("ctl mux drain mux1 --wait --timeout 1", 3, "anantactl: mux drain: mux1 is draining after 1 s: ",
	          " packets a second still come; it goes on draining until `anantactl mux undrain mux1`\n");
	CHECK_RUN("ctl mux drain mux1 --wait --timeout 1 -o json", 3,
	          "\"end\": \"timeout\",\n  \"state\": \"draining\",\n");
	played_end();
	mux_states[0] = "down";
	played_begin(on_message);
	CHECK_RUN("ctl mux drain mux1 --wait --timeout 1", 3,
	          "mux1 is down after 1 s: it does not answer, so that nobody knows what still comes; ");
	played_end();
}
END_TEST

START_TEST(waiting_ends_when_another_operator_undrains)
{
	undrained_at = 2;
	SAY_STATES("announcing", "draining", "announcing");
	CHECK_RUN("ctl mux drain mux1 --wait", 1, "anantactl: mux drain: mux1 is not drained any more\n");
	played_end();
}
END_TEST

// ---- events ----

static void add_event(uint64_t seq, const char *what, const char *object, const char *cause)
{
	struct cluster_event e = event_make(what, object, "%s", cause);
	e.seq = seq;
	e.time_ms = T0 + seq;
	ck_assert_int_eq(event_list_append(&events, &e), 0);
}

static void add_events(void)
{
	add_event(3, "leader-elected", "manager 2", "term 7, version 1");
	add_event(4, "vip-applied", "203.0.113.10", "new, of tenant shop");
	add_event(5, "dip-unhealthy", "10.1.1.11", "203.0.113.1 tcp 80: tcp 8080: connection refused");
	add_event(6, "all-down", "203.0.113.10 tcp 80", "2 of 2 unhealthy");
	add_event(7, "mux-down", "mux1", "closed by the \"peer\"");
}

START_TEST(events_are_shown_oldest_first)
{
	add_events();
	played_begin(on_message);
	CHECK_RUN("ctl events", 0,
	          "TIME                      WHAT                  OBJECT                CAUSE\n"
	          "2026-11-24T10:00:00.003Z  leader-elected        manager 2             term 7, version 1\n"
	          "2026-11-24T10:00:00.004Z  vip-applied           203.0.113.10          new, of tenant shop\n",
	          "2026-11-24T10:00:00.007Z  mux-down              mux1                  closed by the \"peer\"\n");
	CHECK_RUN(
		"ctl events -o json", 0,
		"[\n  {\n    \"seq\": 3,\n    \"time\": \"2026-11-24T10:00:00.003Z\",\n    \"what\": \"leader-elected\",\n"
		"    \"object\": \"manager 2\",\n    \"cause\": \"term 7, version 1\"\n  },\n");
	CHECK_RUN("ctl events foo", 2, "anantactl: events: \"foo\" is one argument too many\n");
	CHECK_RUN("ctl events --wait", 2, "anantactl: events: --wait[=SECONDS] does not belong here\n");
	CHECK_RUN("ctl events --help", 0, "usage: anantactl [options] events [--vip ADDRESS] [--follow] [--object TEXT]\n");
	played_end();
}
END_TEST

START_TEST(events_are_chosen_by_object_and_vip)
{
	add_events();
	played_begin(on_message);
	CHECK_RUN("ctl events --vip 203.0.113.10 | grep -c 2026", 0, "2\n");
	CHECK_RUN("ctl events --vip 203.0.113.1 | grep -c 2026", 0, "1\n");
	CHECK_RUN("ctl events --vip 203.0.113.1", 0, "dip-unhealthy");
	CHECK_RUN("ctl events --object mux1 | grep -c 2026", 0, "1\n");
	CHECK_RUN("ctl events --object mux", 0, "CAUSE\n");
	ck_assert_ptr_null(strstr(ctl_output, "mux1"));
	CHECK_RUN("ctl events --object 'manager 2'", 0, "leader-elected");
	CHECK_RUN("ctl events --object 10.1.1.11 --vip 203.0.113.10 -o json", 0, "[]\n");
	CHECK_RUN("ctl events --vip x", 2, "--vip: \"x\" is no IP address");
	played_end();
}
END_TEST

// Until a text is there; then it is ended as `kill` does.
#define FOLLOW_UNTIL(options, text)                                               \
	"f=$(mktemp); " ANANTACTL " events --follow " options " > $f 2>&1 & pid=$!; " \
	"until grep -q '" text "' $f; do kill -0 $pid || break; done; kill $pid; wait $pid 2> /dev/null; cat $f; rm $f"

START_TEST(following_goes_on_over_a_change_of_the_leader)
{
	add_events();
	events_later = 3;
	played_begin(on_message);
	CHECK_RUN(FOLLOW_UNTIL("", "mux-down"), 0, "OBJECT                CAUSE\n", "10:00:00.003Z  leader-elected",
	          "10:00:00.004Z  vip-applied", "10:00:00.005Z  dip-unhealthy", "10:00:00.006Z  all-down",
	          "10:00:00.007Z  mux-down");
	const char *first = strstr(ctl_output, "leader-elected");
	ck_assert_ptr_null(strstr(first + 1, "leader-elected"));
	ck_assert_ptr_null(strstr(ctl_output, "forgotten"));
	played_end();
}
END_TEST

START_TEST(following_in_json_is_one_object_a_line_and_says_what_it_missed)
{
	add_events();
	add_event(20, "mux-up", "mux1", "");
	events_later = 1;
	played_begin(on_message);
	CHECK_RUN(FOLLOW_UNTIL("--object mux1 -o json", "mux-up"), 0,
	          "{\"seq\":7,\"time\":\"2026-11-24T10:00:00.007Z\",\"what\":\"mux-down\",\"object\":\"mux1\",\"cause\":"
	          "\"closed by "
	          "the \\\"peer\\\"\"}\n",
	          "{\"seq\":20,", "anantactl: events: 12 of them were forgotten before they could be shown\n");
	played_end();
}
END_TEST

START_TEST(following_ends_when_nobody_reads)
{
	add_events();
	events_later = 1;
	played_begin(on_message);
	CHECK_RUN("{ ctl events --follow; echo status $? >&2; } | head -n 1", 0, "TIME ", "status 1\n",
	          "anantactl: the output cannot be written\n");
	played_end();
}
END_TEST

SUITE_MAIN("cli_health", the_health_of_each_dip_is_listed, a_host_that_is_gone_is_said_of_its_dips,
           a_vip_shows_its_probes_and_who_is_unhealthy, a_vip_says_what_becomes_of_new_connections_when_all_are_down,
           muxes_are_listed_with_how_far_they_are_behind, a_mux_is_drained_and_undrained,
           waiting_ends_when_no_packets_come_any_more, waiting_outlasts_a_mux_that_does_not_answer,
           the_timeout_says_what_still_comes, waiting_ends_when_another_operator_undrains,
           events_are_shown_oldest_first, events_are_chosen_by_object_and_vip,
           following_goes_on_over_a_change_of_the_leader,
           following_in_json_is_one_object_a_line_and_says_what_it_missed, following_ends_when_nobody_reads)
