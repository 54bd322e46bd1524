// Marks of health, of hosts and of muxes: what may be marked, who is eligible then, what vanishes with what, and the events.
#include "tests/support/suite.h"

#include <string.h>

#include "common/base/memory.h"
#include "manager/core/rules.h"
#include "tests/unit/manager/objects.h"

static struct cluster_state state;

#define PLAIN "vip 203.0.113.10 shop drain_s=60 web tcp 80 probe=0 10.1.1.11:1 10.1.1.12:1 10.1.2.13:1"
#define REFUSING "vip 203.0.113.10 shop drain_s=60 refuse=1 web tcp 80 probe=0 10.1.1.11:1 10.1.1.12:1 10.1.2.13:1"
#define BAD(dip) "unhealthy 10.1." dip " 203.0.113.10 tcp 80"
#define WELL(dip) "-unhealthy 10.1." dip " 203.0.113.10 tcp 80"

static void begin(void)
{
	ck_assert_int_eq(cluster_state_init(&state), 0);
	must_apply(&state,
	           "cluster 7 ; host host1 10.0.0.21 ; host host2 10.0.0.22 ; mux mux1 10.0.0.31 ; mux mux2 10.0.0.32");
	must_apply(&state,
	           "dip 10.1.1.11 host1 vm1 if1 02:00:00:00:00:11 ; dip 10.1.1.12 host1 vm2 if2 02:00:00:00:00:12 ; "
	           "dip 10.1.2.13 host2 vm3 if3 02:00:00:00:00:13");
	must_apply(&state, PLAIN);
}

static void end(void)
{
	cluster_state_fini(&state);
}

// ---- rules ----

START_TEST(marks_that_make_no_sense_are_refused_and_change_nothing)
{
	static const struct {
		const char *command;
		int code;
		const char *sentence;
	} rows[] = {
		{ "unhealthy 10.1.1.11 203.0.113.11 tcp 80", ERR_NOT_FOUND, "in no endpoint \"203.0.113.11 tcp 80\"" },
		{ "unhealthy 10.1.1.11 203.0.113.10 udp 80", ERR_NOT_FOUND, "in no endpoint" },
		{ "unhealthy 10.1.1.11 203.0.113.10 tcp 81", ERR_NOT_FOUND, "in no endpoint" },
		{ "unhealthy 10.1.1.99 203.0.113.10 tcp 80", ERR_NOT_FOUND, "unhealthy: 10.1.1.99 is not attached" },
		{ "unhealthy 10.1.1.11 203.0.113.10 tcp 080", ERR_NOT_FOUND, "in no endpoint" },
		{ "-dip 10.1.1.11 ; " BAD("1.11"), ERR_NOT_FOUND, "10.1.1.11 is not attached" },
		{ "vip 203.0.113.10 shop web tcp 80 10.1.1.11:1 ; " BAD("1.11"), ERR_NOT_FOUND, "with a probe" },
		{ "gone host9", ERR_NOT_FOUND, "no host \"host9\" is known" },
		{ "muxdrain mux9", ERR_NOT_FOUND, "no mux \"mux9\" is known" },
		{ "-muxdrain mux1", ERR_NOT_FOUND, "mux: \"mux1\" is not drained" },
		{ "muxdrain mux1 ; muxdrain mux2", ERR_CONFLICT, "mux: \"mux2\" is the last one that is not drained" },
		{ "-mux mux2 ; muxdrain mux1", ERR_CONFLICT, "add another mux, or undrain one, first" },
	};
	begin();
	struct cluster_state before;
	copy_by_snapshot(&state, &before);
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		struct apply_result result;
		struct error err;
		int code = apply_text(&state, rows[i].command, &result, &err);
		ck_assert_msg(code == rows[i].code, "%s: %d %s", rows[i].command, code, err.text);
		ck_assert_msg(strstr(err.text, rows[i].sentence) != NULL, "%s: %s", rows[i].command, err.text);
		ck_assert_msg(snapshots_are_equal(&state, &before), "%s", rows[i].command);
	}
	cluster_state_fini(&before);
	end();
}
END_TEST

START_TEST(putting_a_mark_that_is_there_and_deleting_one_that_is_not_change_nothing)
{
	static const char *const rows[] = { BAD("1.11"),     WELL("1.12"),
		                                "gone host1",    "-gone host2",
		                                "muxdrain mux1", "-unhealthy 10.9.9.9 203.0.113.99 tcp 1 ; -gone nobody" };
	begin();
	must_apply(&state, BAD("1.11") " cause=refused ; gone host1 ; muxdrain mux1");
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		uint64_t seq = state.events.last_seq;
		struct apply_result result = must_apply_at(&state, TEST_TIME_MS + 5, rows[i], NULL);
		ck_assert_msg(!result.is_changed, "%s", rows[i]);
		ck_assert_msg(result.event_seq == seq, "%s", rows[i]);
	}
	ck_assert_str_eq(store_mark_at(&state.store.unhealthy, 0)->info.cause, "refused");
	ck_assert_uint_eq(store_mark_at(&state.store.unhealthy, 0)->info.since_ms, TEST_TIME_MS);
	end();
}
END_TEST

START_TEST(operators_may_not_say_who_is_unhealthy_or_gone)
{
	static const char *const refused[] = { BAD("1.11"), WELL("1.11"), "gone host1",
		                                   "mux mux3 10.0.0.33 ; -gone host1" };
	struct error err = { 0 };
	for (size_t i = 0; i < sizeof refused / sizeof *refused; i++) {
		struct change_list changes = changes_of(refused[i]);
		ck_assert_int_eq(rules_check_operators(&changes, &err), ERR_INVALID);
		ck_assert_ptr_nonnull(strstr(err.text, "by the managers themselves"));
		change_list_fini(&changes);
	}
	struct change_list allowed = changes_of("muxdrain mux1 ; -muxdrain mux1 ; drain 10.1.1.11 ; " PLAIN);
	ck_assert_int_eq(rules_check_operators(&allowed, &err), 0);
	change_list_fini(&allowed);
}
END_TEST

// ---- who is eligible ----

// "11 12 !": the present generation of the endpoint and whether it refuses; "" when it is not listed.
static const char *present_text(void)
{
	static char buf[64];
	struct ip_addr vip = addr_of("203.0.113.10");
	const struct endpoint_history *e = vip_history_lookup(store_lookup_history(&state.store, &vip), 6, 80);
	buf[0] = '\0';
	for (uint32_t i = 0; e != NULL && i < endpoint_history_present(e)->n_members; i++) {
		size_t used = strlen(buf);
		(void)text_format(buf + used, sizeof buf - used, "%s%u", used > 0 ? " " : "",
		                  endpoint_history_present(e)->members[i].dip.bytes[15]);
	}
	if (e != NULL && e->is_refusing)
		(void)text_format(buf + strlen(buf), sizeof buf - strlen(buf), " !");
	return buf;
}

// What happened in the last command: "what object, what object".
static const char *events_text(uint64_t after)
{
	static char buf[1024];
	buf[0] = '\0';
	for (const struct cluster_event *e = event_ring_after(&state.events, after); e != NULL;
	     e = event_ring_after(&state.events, e->seq)) {
		size_t used = strlen(buf);
		(void)text_format(buf + used, sizeof buf - used, "%s%s %s", used > 0 ? ", " : "", e->what, e->object);
	}
	return buf;
}

struct row {
	const char *what; // NULL: one more step of the same story
	const char *command;
	const char *want; // present_text
	const char *want_events; // events_text
};

static void run_rows(const struct row *rows, size_t n)
{
	const char *what = "";
	for (size_t i = 0; i < n; i++) {
		if (rows[i].what != NULL) {
			if (i > 0)
				end();
			begin();
			what = rows[i].what;
		}
		uint64_t seq = state.events.last_seq;
		(void)must_apply_at(&state, TEST_TIME_MS + i, rows[i].command, NULL);
		ck_assert_msg(strcmp(present_text(), rows[i].want) == 0, "%s, after \"%s\": %s", what, rows[i].command,
		              present_text());
		ck_assert_msg(strcmp(events_text(seq), rows[i].want_events) == 0, "%s, after \"%s\": %s", what, rows[i].command,
		              events_text(seq));
	}
	end();
}

#define EP "203.0.113.10 tcp 80"

START_TEST(unhealthy_dips_get_no_new_connections_unless_all_are)
{
	static const struct row rows[] = {
		{ "one after the other", BAD("1.11"), "12 13", "dip-unhealthy 10.1.1.11" },
		{ NULL, BAD("2.13"), "12", "dip-unhealthy 10.1.2.13" },
		{ NULL, BAD("1.12"), "11 12 13", "dip-unhealthy 10.1.1.12, all-down " EP },
		{ NULL, WELL("2.13"), "13", "dip-healthy 10.1.2.13, all-down-over " EP },
		{ NULL, WELL("1.11") " ; " WELL("1.12"), "11 12 13", "dip-healthy 10.1.1.11, dip-healthy 10.1.1.12" },

		{ "a drained DIP is not fallen back to", "drain 10.1.1.12", "11 13", "dip-drained 10.1.1.12" },
		{ NULL, BAD("1.11") " ; " BAD("2.13"), "11 13",
		  "dip-unhealthy 10.1.1.11, dip-unhealthy 10.1.2.13, all-down " EP },
		{ NULL, "-drain 10.1.1.12", "12", "dip-undrained 10.1.1.12, all-down-over " EP },

		{ "refusing, when the VIP wants it", REFUSING, "", "vip-applied 203.0.113.10" },
		{ NULL, BAD("1.11") " ; " BAD("1.12"), "13", "dip-unhealthy 10.1.1.11, dip-unhealthy 10.1.1.12" },
		{ NULL, BAD("2.13"), "11 12 13 !", "dip-unhealthy 10.1.2.13, all-down " EP },
		{ NULL, PLAIN, "11 12 13", "vip-applied 203.0.113.10" },
		{ NULL, REFUSING, "11 12 13 !", "vip-applied 203.0.113.10" },
		{ NULL, WELL("1.12"), "12", "dip-healthy 10.1.1.12, all-down-over " EP },

		{ "refusing with a single generation is listed", REFUSING, "", "vip-applied 203.0.113.10" },
		{ NULL, BAD("1.11") " ; " BAD("1.12") " ; " BAD("2.13"), "11 12 13 !",
		  "dip-unhealthy 10.1.1.11, dip-unhealthy 10.1.1.12, dip-unhealthy 10.1.2.13, all-down " EP },
		{ NULL, WELL("1.11") " ; " WELL("1.12") " ; " WELL("2.13"), "",
		  "dip-healthy 10.1.1.11, dip-healthy 10.1.1.12, dip-healthy 10.1.2.13, all-down-over " EP },
	};
	run_rows(rows, sizeof rows / sizeof *rows);
}
END_TEST

START_TEST(dips_of_hosts_that_are_gone_get_no_new_connections_unless_all_are)
{
	static const struct row rows[] = {
		{ "one host, then the other", "gone host1 cause=silent", "13", "host-gone host1" },
		{ NULL, "gone host2", "13", "host-gone host2, fail-static-endpoint " EP },
		{ NULL, "-gone host1", "11 12", "host-back host1, fail-static-endpoint-over " EP },
		{ NULL, "-gone host2", "11 12 13", "host-back host2" },

		{ "all at once: what was stands", BAD("1.12"), "11 13", "dip-unhealthy 10.1.1.12" },
		{ NULL, "gone host1 ; gone host2", "11 13", "host-gone host1, host-gone host2, fail-static-endpoint " EP },
		{ NULL, "drain 10.1.1.11", "13", "dip-drained 10.1.1.11" },
		{ NULL, "-drain 10.1.1.11", "13", "dip-undrained 10.1.1.11" },
		{ NULL, "-gone host1 ; -gone host2", "11 13",
		  "host-back host1, host-back host2, fail-static-endpoint-over " EP },

		{ "what stood is not in the configuration any more", "gone host1", "13", "host-gone host1" },
		{ NULL, "gone host2", "13", "host-gone host2, fail-static-endpoint " EP },
		{ NULL, "vip 203.0.113.10 shop drain_s=60 web tcp 80 probe=0 10.1.1.11:1 10.1.1.12:1", "11 12",
		  "vip-applied 203.0.113.10" },

		{ "unhealthy and there goes before healthy and gone", BAD("2.13") " ; gone host1", "13",
		  "dip-unhealthy 10.1.2.13, host-gone host1, all-down " EP },
		{ NULL, "gone host2", "13", "host-gone host2, all-down-over " EP ", fail-static-endpoint " EP },

		{ "not all are unhealthy: nobody is refused", REFUSING, "", "vip-applied 203.0.113.10" },
		{ NULL, BAD("2.13") " ; gone host1", "13", "dip-unhealthy 10.1.2.13, host-gone host1, all-down " EP },
		{ NULL, BAD("1.11") " ; " BAD("1.12"), "13 !", "dip-unhealthy 10.1.1.11, dip-unhealthy 10.1.1.12" },

		{ "attached anew on a host that is gone, and elsewhere", "gone host2", "11 12", "host-gone host2" },
		{ NULL, "-dip 10.1.1.11 ; dip 10.1.1.11 host2 vm1 if1 02:00:00:00:00:11", "12", "dip-attached 10.1.1.11" },
		{ NULL, "-dip 10.1.1.11", "11 12", "dip-detached 10.1.1.11" },
		{ NULL, "-gone host2 ; -dip 10.1.2.13", "11 12 13", "host-back host2, dip-detached 10.1.2.13" },
	};
	run_rows(rows, sizeof rows / sizeof *rows);
}
END_TEST

// ---- what vanishes with what ----

START_TEST(a_mark_vanishes_with_what_it_is_of)
{
	static const struct {
		const char *command;
		uint32_t n_unhealthy; // of 10.1.1.11 in two endpoints, and of 10.1.2.13 in one
		uint32_t n_gone;
		uint32_t n_mux_drains;
	} rows[] = {
		{ "vip 203.0.113.10 shop web tcp 80 probe=80 10.1.1.11:9 10.1.2.13:1 ; mux mux1 10.0.0.39 ; host host1 "
		  "10.0.0.29",
		  3, 1, 1 },
		{ "vip 203.0.113.10 shop web tcp 80 probe=0 10.1.2.13:1", 2, 1, 1 },
		{ "vip 203.0.113.10 shop web tcp 80 10.1.1.11:1 10.1.2.13:1", 1, 1, 1 },
		{ "vip 203.0.113.10 shop web tcp 81 probe=0 10.1.1.11:1 10.1.2.13:1", 1, 1, 1 },
		{ "-vip 203.0.113.10", 1, 1, 1 },
		{ "-vip 203.0.113.10 ; " PLAIN, 3, 1, 1 },
		{ "-dip 10.1.1.11", 1, 1, 1 },
		{ "dip 10.1.1.11 host1 vm1 if9 02:00:00:00:00:99", 3, 1, 1 },
		{ "-dip 10.1.1.11 ; dip 10.1.1.11 host1 vm1 if1 02:00:00:00:00:11", 3, 1, 1 },
		{ "-dip 10.1.1.11 ; dip 10.1.1.11 host2 vm1 if1 02:00:00:00:00:11", 1, 1, 1 },
		{ "-mux mux1", 3, 1, 0 },
		{ "-mux mux2", 3, 1, 1 },
		{ "-dip 10.1.2.13 ; -host host2", 2, 0, 1 },
		{ "-dip 10.1.2.13", 2, 1, 1 },
	};
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		begin();
		must_apply(&state, "vip 203.0.113.11 shop dns udp 53 probe=1 10.1.1.11:1");
		must_apply(&state, BAD("1.11") " ; " BAD("2.13") " ; unhealthy 10.1.1.11 203.0.113.11 udp 53 ; gone host2 ; "
		                                                 "muxdrain mux1");
		must_apply(&state, rows[i].command);
		ck_assert_msg(state.store.unhealthy.n == rows[i].n_unhealthy, "%s: %u", rows[i].command,
		              state.store.unhealthy.n);
		ck_assert_msg(state.store.gone_hosts.n == rows[i].n_gone, "%s", rows[i].command);
		ck_assert_msg(state.store.mux_drains.n == rows[i].n_mux_drains, "%s", rows[i].command);
		end();
	}
}
END_TEST

// ---- events ----

START_TEST(events_say_what_was_and_what_is)
{
	static const struct {
		const char *command;
		const char *want; // "what object: cause"
	} rows[] = {
		{ BAD("1.11") " cause=refused", "dip-unhealthy 10.1.1.11: 203.0.113.10 tcp 80: refused" },
		{ WELL("1.11"), "dip-healthy 10.1.1.11: 203.0.113.10 tcp 80: it was unhealthy for 1.5 s (refused)" },
		{ "gone host1 cause=silent", "host-gone host1: silent" },
		{ "-gone host1", "host-back host1: it was gone for 1.5 s" },
		{ "muxdrain mux1", "mux-draining mux1: an operator asked for it" },
		{ "-muxdrain mux1", "mux-undrained mux1: it was drained for 1.5 s" },
		{ "mux mux3 10.0.0.33", "mux-joined mux3: address 10.0.0.33" },
		{ "mux mux3 10.0.0.34", "mux-joined mux3: address 10.0.0.34, before 10.0.0.33" },
		{ "-mux mux3", "mux-removed mux3: it had address 10.0.0.34" },
		{ "host host3 10.0.0.23", "host-joined host3: address 10.0.0.23" },
		{ "-host host3", "host-removed host3: it had address 10.0.0.23" },
		{ "dip 10.1.1.14 host1 vm4 if4 02:00:00:00:00:14",
		  "dip-attached 10.1.1.14: VM vm4 on host host1, interface if4" },
		{ "-dip 10.1.1.14", "dip-detached 10.1.1.14: it was VM vm4 on host host1" },
		{ "vip 203.0.113.11 shop dns udp 53 10.1.1.11:1",
		  "vip-applied 203.0.113.11: new, of tenant shop: endpoints 1, their DIPs 1, SNAT DIPs 0" },
		{ "vip 203.0.113.11 shop dns udp 53 10.1.1.12:1 10.1.1.11:1",
		  "vip-applied 203.0.113.11: endpoints 1, their DIPs 2, SNAT DIPs 0; before: endpoints 1, their DIPs 1, "
		  "SNAT DIPs 0" },
		{ "drain 10.1.1.11 203.0.113.11", "dip-drained 10.1.1.11: of VIP 203.0.113.11" },
		{ "-vip 203.0.113.11",
		  "vip-deleted 203.0.113.11: of tenant shop; it had endpoints 1, their DIPs 2, SNAT DIPs 0" },
		{ "settings 30 host_gone_ms=500",
		  "settings-changed cluster: snat.quarantine_s 30 (60), health.host_gone_ms 500 (2000)" },
		{ "-settings", "settings-changed cluster: snat.quarantine_s 60 (30), health.host_gone_ms 2000 (500)" },
		{ "event mux-up mux1", "mux-up mux1: seen by the leader" },
	};
	begin();
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		char text[EVENT_CAUSE_BYTES + 128];
		uint64_t seq = state.events.last_seq;
		uint64_t version = state.store.version;
		struct apply_result result = must_apply_at(&state, TEST_TIME_MS + 1500 * i, rows[i].command, NULL);
		const struct cluster_event *e = event_ring_after(&state.events, seq);
		ck_assert_msg(e != NULL && state.events.last_seq == seq + 1, "%s", rows[i].command);
		ck_assert_uint_eq(result.event_seq, seq + 1);
		(void)text_format(text, sizeof text, "%s %s: %s", e->what, e->object, e->cause);
		ck_assert_str_eq(text, rows[i].want);
		ck_assert_uint_eq(e->seq, seq + 1);
		ck_assert_uint_eq(e->time_ms, TEST_TIME_MS + 1500 * i);
		bool is_event_only = strncmp(rows[i].command, "event", 5) == 0;
		ck_assert(result.is_changed == !is_event_only && state.store.version == version + !is_event_only);
	}
	end();
}
END_TEST

START_TEST(what_changed_and_came_back_within_a_command_is_no_event)
{
	begin();
	uint64_t seq = state.events.last_seq;
	must_apply(&state, BAD("1.11") " ; " WELL("1.11") " ; mux mux9 10.0.0.39 ; -mux mux9 ; -vip 203.0.113.10 ; " PLAIN);
	ck_assert_str_eq(events_text(seq), "");
	must_apply(&state, "mux mux9 10.0.0.38 ; event leader-elected 1 ; mux mux9 10.0.0.39");
	ck_assert_str_eq(events_text(seq), "mux-joined mux9, leader-elected 1");
	end();
}
END_TEST

START_TEST(a_command_with_events_alone_drops_no_generations)
{
	begin();
	must_apply(&state, BAD("1.11"));
	ck_assert_uint_eq(state.store.histories.n, 1);
	must_apply_at(&state, TEST_TIME_MS + 100000, "event mux-up mux1", NULL);
	ck_assert_str_eq(present_text(), "12 13");
	struct ip_addr vip = addr_of("203.0.113.10");
	ck_assert_uint_eq(store_lookup_history(&state.store, &vip)->endpoints[0].n_generations, 2);
	must_apply_at(&state, TEST_TIME_MS + 100000, "", NULL);
	ck_assert_uint_eq(store_lookup_history(&state.store, &vip)->endpoints[0].n_generations, 1);
	end();
}
END_TEST

START_TEST(a_refused_command_leaves_no_event)
{
	struct apply_result result;
	struct error err;
	begin();
	uint64_t seq = state.events.last_seq;
	ck_assert_int_eq(apply_text(&state, BAD("1.11") " ; event mux-up mux1 ; -mux nobody", &result, &err),
	                 ERR_NOT_FOUND);
	ck_assert_uint_eq(state.events.last_seq, seq);
	end();
}
END_TEST

START_TEST(the_ring_keeps_the_last_thousand_events_also_over_a_snapshot)
{
	begin();
	uint64_t first = state.events.last_seq + 1;
	for (unsigned i = 0; i < EVENTS_KEPT + 10; i++) {
		char text[64];
		(void)text_format(text, sizeof text, "event mux-up mux%u", i);
		must_apply(&state, text);
	}
	replace_by_snapshot(&state);
	must_apply(&state, "event last one");
	const struct cluster_event *e = event_ring_after(&state.events, 0);
	ck_assert_uint_eq(e->seq, first + 11);
	ck_assert_str_eq(e->object, "mux11");
	uint32_t n = 0;
	for (uint64_t seq = e->seq - 1; e != NULL; e = event_ring_after(&state.events, seq)) {
		ck_assert_uint_eq(e->seq, ++seq);
		n++;
	}
	ck_assert_uint_eq(n, EVENTS_KEPT);
	ck_assert_ptr_null(event_ring_after(&state.events, state.events.last_seq));
	ck_assert_ptr_null(event_ring_after(&state.events, UINT64_MAX));
	ck_assert_str_eq(event_ring_after(&state.events, state.events.last_seq - 1)->what, "last");
	end();
}
END_TEST

START_TEST(a_replica_from_a_snapshot_says_the_same_of_endpoints_that_are_all_down)
{
	begin();
	must_apply(&state, BAD("1.11") " ; " BAD("1.12") " ; " BAD("2.13"));
	struct cluster_state copy;
	copy_by_snapshot(&state, &copy);
	ck_assert_uint_eq(copy.endpoint_states.n, 1);
	must_apply(&state, WELL("1.11"));
	must_apply(&copy, WELL("1.11"));
	ck_assert(snapshots_are_equal(&state, &copy));
	ck_assert_str_eq(event_ring_after(&copy.events, copy.events.last_seq - 1)->what, "all-down-over");
	cluster_state_fini(&copy);
	end();
}
END_TEST

START_TEST(short_memory_is_reported_and_never_crashes)
{
	uint64_t n_failures = 0;
	for (;; n_failures++) {
		begin();
		must_apply(&state, BAD("1.11") " ; muxdrain mux1 ; gone host2");
		struct state_command command = command_of(
			TEST_TIME_MS, "-mux mux1 ; " BAD("1.12") " ; -dip 10.1.1.11 ; " REFUSING " ; event a b ; -gone host2");
		struct apply_result result;
		struct error err = { 0 };
		memory_fail_after(n_failures);
		int code = cluster_state_apply(&state, &command, &result, &err);
		memory_fail_after(UINT64_MAX);
		state_command_fini(&command);
		end();
		if (code == 0)
			break;
		ck_assert_int_eq(code, ERR_NO_MEMORY);
	}
	ck_assert_uint_gt(n_failures, 10);
}
END_TEST

SUITE_MAIN("marks", marks_that_make_no_sense_are_refused_and_change_nothing,
           putting_a_mark_that_is_there_and_deleting_one_that_is_not_change_nothing,
           operators_may_not_say_who_is_unhealthy_or_gone, unhealthy_dips_get_no_new_connections_unless_all_are,
           dips_of_hosts_that_are_gone_get_no_new_connections_unless_all_are, a_mark_vanishes_with_what_it_is_of,
           events_say_what_was_and_what_is, what_changed_and_came_back_within_a_command_is_no_event,
           a_command_with_events_alone_drops_no_generations, a_refused_command_leaves_no_event,
           the_ring_keeps_the_last_thousand_events_also_over_a_snapshot,
           a_replica_from_a_snapshot_says_the_same_of_endpoints_that_are_all_down,
           short_memory_is_reported_and_never_crashes)
