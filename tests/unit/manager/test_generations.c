// Which generations a VIP's endpoints have after which commands. Times are milliseconds after TEST_TIME_MS.
//
// A history as text: "tcp 80 [-] 11 12*2 [5000] 11 ; gone 12": endpoints by their place, generations with the time since when, or
// "-" when nobody knows, and the last number of each DIP, with its weight when it is not 1. "": none.
#include "tests/support/suite.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "common/base/memory.h"
#include "common/model/limits.h"
#include "manager/core/generations.h"
#include "tests/unit/manager/objects.h"

static struct cluster_state state;

static void add_text(char *buf, size_t size, const char *format, ...) __attribute__((format(printf, 3, 4)));

static void add_text(char *buf, size_t size, const char *format, ...)
{
	size_t used = strlen(buf);
	va_list args;
	va_start(args, format);
	ck_assert(text_vformat(buf + used, size - used, format, args));
	va_end(args);
}

static void add_generation(char *buf, size_t size, const struct generation *g)
{
	if (g->since_ms == 0)
		add_text(buf, size, " [-]");
	else
		add_text(buf, size, " [%llu]", (unsigned long long)(g->since_ms - TEST_TIME_MS));
	for (uint32_t i = 0; i < g->n_members; i++) {
		add_text(buf, size, " %u", g->members[i].dip.bytes[15]);
		if (g->members[i].weight != 1)
			add_text(buf, size, "*%u", g->members[i].weight);
	}
}

static const char *history_text(const char *vip)
{
	static char buf[4096];
	struct ip_addr addr = addr_of(vip);
	const struct vip_history *h = store_lookup_history(&state.store, &addr);
	buf[0] = '\0';
	for (uint32_t i = 0; h != NULL && i < h->n_endpoints; i++) {
		const struct endpoint_history *e = &h->endpoints[i];
		add_text(buf, sizeof buf, "%s%s %u", i > 0 ? " , " : "", protocol_name(e->protocol), e->port);
		for (uint32_t g = 0; g < e->n_generations; g++)
			add_generation(buf, sizeof buf, &e->generations[g]);
	}
	for (uint32_t i = 0; h != NULL && i < h->n_gone; i++)
		add_text(buf, sizeof buf, "%s %u", i == 0 ? " ; gone" : "", h->gone[i].bytes[15]);
	return buf;
}

static void begin(void)
{
	ck_assert_int_eq(cluster_state_init(&state), 0);
	must_apply(&state, "cluster 7 ; host host1 10.0.0.21");
	for (unsigned i = 11; i <= 19; i++) {
		char text[128];
		(void)text_format(text, sizeof text, "dip 10.1.1.%u host1 vm%u if%u 02:00:00:00:00:%u", i, i, i, i);
		must_apply(&state, text);
	}
}

static void end(void)
{
	cluster_state_fini(&state);
}

struct row {
	const char *what; // NULL: one more step of the same story
	uint64_t at_ms;
	const char *command;
	const char *want; // the history of 203.0.113.10
};

#define VIP "vip 203.0.113.10 shop drain_s=60 "

START_TEST(each_change_of_the_eligible_dips_begins_a_generation)
{
	static const struct row rows[] = {
		{ "a new endpoint has no history", 0, VIP "web tcp 80 10.1.1.11:80 10.1.1.12:80", "" },
		{ NULL, 1000, VIP "web tcp 80 10.1.1.11:80", "tcp 80 [-] 11 12 [1000] 11" },
		{ NULL, 2000, VIP "web tcp 80 10.1.1.11:80*3", "tcp 80 [-] 11 12 [1000] 11 [2000] 11*3" },
		{ NULL, 3000, VIP "web tcp 80 10.1.1.11:8080*3", "tcp 80 [-] 11 12 [1000] 11 [2000] 11*3" },
		{ NULL, 3000, VIP "www tcp 80 10.1.1.11:8080*3", "tcp 80 [-] 11 12 [1000] 11 [2000] 11*3" },

		{ "each is kept until the drain time has passed since the next began", 0,
		  VIP "a tcp 80 10.1.1.11:1 10.1.1.12:1", "" },
		{ NULL, 1000, VIP "a tcp 80 10.1.1.12:1", "tcp 80 [-] 11 12 [1000] 12" },
		{ NULL, 5000, VIP "a tcp 80 10.1.1.13:1", "tcp 80 [-] 11 12 [1000] 12 [5000] 13" },
		{ NULL, 60999, "", "tcp 80 [-] 11 12 [1000] 12 [5000] 13" },
		{ NULL, 61000, "mux mux1 10.0.0.31", "tcp 80 [-] 11 12 [1000] 12 [5000] 13" },
		{ NULL, 61000, "", "tcp 80 [1000] 12 [5000] 13" },
		{ NULL, 64999, "", "tcp 80 [1000] 12 [5000] 13" },
		{ NULL, 70000, "", "" },

		{ "a shorter drain time counts at once, a longer one for what is still there", 0, VIP "a tcp 80 10.1.1.11:1",
		  "" },
		{ NULL, 1000, VIP "a tcp 80 10.1.1.12:1", "tcp 80 [-] 11 [1000] 12" },
		{ NULL, 50000, "vip 203.0.113.10 shop drain_s=70 a tcp 80 10.1.1.12:1", "tcp 80 [-] 11 [1000] 12" },
		{ NULL, 61000, "", "tcp 80 [-] 11 [1000] 12" },
		{ NULL, 62000, VIP "a tcp 80 10.1.1.12:1", "" },

		{ "a set that comes back is kept once, in its new place", 0, VIP "a tcp 80 10.1.1.11:1", "" },
		{ NULL, 1000, VIP "a tcp 80 10.1.1.12:1", "tcp 80 [-] 11 [1000] 12" },
		{ NULL, 2000, VIP "a tcp 80 10.1.1.13:1", "tcp 80 [-] 11 [1000] 12 [2000] 13" },
		{ NULL, 3000, VIP "a tcp 80 10.1.1.12:1", "tcp 80 [-] 11 [1000] 13 [3000] 12" },
		{ NULL, 3010, VIP "a tcp 80 10.1.1.13:1", "tcp 80 [-] 11 [1000] 12 [3010] 13" },
		{ NULL, 3020, VIP "a tcp 80 10.1.1.11:1", "tcp 80 [-] 12 [3010] 13 [3020] 11" },
		{ NULL, 63009, "", "tcp 80 [-] 12 [3010] 13 [3020] 11" },
		{ NULL, 63010, "", "tcp 80 [3010] 13 [3020] 11" },

		{ "endpoints have histories of their own, in the order of the configuration", 0,
		  VIP "a tcp 80 10.1.1.11:1 , b tcp 443 10.1.1.11:1 , c udp 53 10.1.1.11:1", "" },
		{ NULL, 1000, VIP "a tcp 80 10.1.1.11:1 , b tcp 443 10.1.1.12:1 , c udp 53 10.1.1.13:1",
		  "tcp 443 [-] 11 [1000] 12 , udp 53 [-] 11 [1000] 13" },
		{ NULL, 2000, VIP "a tcp 80 10.1.1.14:1 , b tcp 443 10.1.1.12:1 , c udp 53 10.1.1.13:1",
		  "tcp 80 [-] 11 [2000] 14 , tcp 443 [-] 11 [1000] 12 , udp 53 [-] 11 [1000] 13" },
		{ NULL, 3000, VIP "c udp 53 10.1.1.13:1 , d tcp 443 10.1.1.12:1",
		  "tcp 443 [-] 11 [1000] 12 , udp 53 [-] 11 [1000] 13" },
		{ NULL, 4000, VIP "a tcp 80 10.1.1.14:1 , d tcp 443 10.1.1.12:1", "tcp 443 [-] 11 [1000] 12" },
		{ NULL, 5000, VIP "a tcp 80 10.1.1.14:1", "" },

		{ "a VIP that is deleted has no history, and none when it comes back", 0, VIP "a tcp 80 10.1.1.11:1", "" },
		{ NULL, 1000, VIP "a tcp 80 10.1.1.12:1", "tcp 80 [-] 11 [1000] 12" },
		{ NULL, 2000, "-vip 203.0.113.10", "" },
		{ NULL, 3000, VIP "a tcp 80 10.1.1.13:1", "" },
		{ NULL, 4000, VIP "a tcp 80 10.1.1.12:1", "tcp 80 [-] 13 [4000] 12" },
		{ NULL, 5000, "-vip 203.0.113.10 ; " VIP "a tcp 80 10.1.1.14:1", "" },

		{ "of a command only what it comes to counts", 0, VIP "a tcp 80 10.1.1.11:1", "" },
		{ NULL, 1000, VIP "a tcp 80 10.1.1.12:1 ; " VIP "a tcp 80 10.1.1.13:1", "tcp 80 [-] 11 [1000] 13" },
		{ NULL, 2000, VIP "a tcp 80 10.1.1.12:1 ; " VIP "a tcp 80 10.1.1.13:1", "tcp 80 [-] 11 [1000] 13" },

		{ "a clock that is set back stands still", 5000, VIP "a tcp 80 10.1.1.11:1", "" },
		{ NULL, 1000, VIP "a tcp 80 10.1.1.12:1", "tcp 80 [-] 11 [5000] 12" },
	};
	bool is_open = false;
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		if (rows[i].what != NULL) {
			if (is_open)
				end();
			begin();
			is_open = true;
		}
		(void)must_apply_at(&state, TEST_TIME_MS + rows[i].at_ms, rows[i].command, NULL);
		ck_assert_msg(strcmp(history_text("203.0.113.10"), rows[i].want) == 0, "row %zu: \"%s\", not \"%s\"", i,
		              history_text("203.0.113.10"), rows[i].want);
	}
	end();
}
END_TEST

START_TEST(drained_dips_are_not_in_the_present_generation)
{
	static const struct row rows[] = {
		{ NULL, 0, VIP "a tcp 80 10.1.1.11:1 10.1.1.12:1 , b tcp 81 10.1.1.12:1 10.1.1.13:1", "" },
		{ NULL, 1000, "drain 10.1.1.12", "tcp 80 [-] 11 12 [1000] 11 , tcp 81 [-] 12 13 [1000] 13" },
		{ NULL, 1500, "drain 10.1.1.12 203.0.113.10", "tcp 80 [-] 11 12 [1000] 11 , tcp 81 [-] 12 13 [1000] 13" },
		{ NULL, 2000, "-drain 10.1.1.12", "tcp 80 [-] 11 12 [1000] 11 , tcp 81 [-] 12 13 [1000] 13" },
		{ NULL, 2500, "-drain 10.1.1.12 203.0.113.10", "tcp 80 [-] 11 [2500] 11 12 , tcp 81 [-] 13 [2500] 12 13" },
		// A set that is not the configuration's stays listed after the drain time.
		{ NULL, 3000, "drain 10.1.1.12", "tcp 80 [-] 11 12 [3000] 11 , tcp 81 [-] 12 13 [3000] 13" },
		{ NULL, 63000, "", "tcp 80 [3000] 11 , tcp 81 [3000] 13" },
		// None is left that is not drained: all of them.
		{ NULL, 64000, VIP "a tcp 80 10.1.1.12:1 , b tcp 81 10.1.1.12:1 10.1.1.13:1",
		  "tcp 80 [3000] 11 [64000] 12 , tcp 81 [3000] 13" },
		// A drain goes with the last endpoint that has its DIP.
		{ NULL, 65000, VIP "a tcp 80 10.1.1.11:1 , b tcp 81 10.1.1.13:1 , snat 10.1.1.12",
		  "tcp 80 [-] 12 [65000] 11 , tcp 81 [3000] 13" },
	};
	begin();
	for (size_t i = 0; i < 8; i++) {
		(void)must_apply_at(&state, TEST_TIME_MS + rows[i].at_ms, rows[i].command, NULL);
		ck_assert_msg(strcmp(history_text("203.0.113.10"), rows[i].want) == 0, "row %zu: \"%s\", not \"%s\"", i,
		              history_text("203.0.113.10"), rows[i].want);
	}
	ck_assert_uint_eq(state.store.drains.n, 1);
	ck_assert_uint_eq(store_mark_at(&state.store.drains, 0)->info.since_ms, TEST_TIME_MS + 3000);
	(void)must_apply_at(&state, TEST_TIME_MS + 65000, rows[8].command, NULL);
	ck_assert_uint_eq(state.store.drains.n, 0);
	// Of endpoint b the only generation is its whole configuration now.
	ck_assert_str_eq(history_text("203.0.113.10"), "tcp 80 [3000] 12 [65000] 11");
	end();
}
END_TEST

START_TEST(drains_that_make_no_sense_are_refused)
{
	static const struct {
		const char *command;
		int code;
		const char *sentence;
	} rows[] = {
		{ "drain 10.1.1.19", ERR_NOT_FOUND, "drain: 10.1.1.19 is in no endpoint of any VIP" },
		{ "drain 10.1.1.14", ERR_NOT_FOUND, "drain: 10.1.1.14 is in no endpoint of any VIP" }, // SNAT only
		{ "drain 10.1.1.13 203.0.113.10", ERR_NOT_FOUND, "drain: 10.1.1.13 is in no endpoint of VIP 203.0.113.10" },
		{ "drain 10.1.1.11 203.0.113.12", ERR_NOT_FOUND, "drain.vip: there is no VIP 203.0.113.12" },
		{ "drain 10.1.1.11 shop", ERR_INVALID, "drain.vip: \"shop\" is not an address" },
		{ "drain 10.1.1.11 ::ffff:203.0.113.10", ERR_INVALID, "drain.vip: " },
		{ "-drain 10.1.1.11", ERR_NOT_FOUND, "drain: 10.1.1.11 is not drained" },
		{ "drain 10.1.1.11 203.0.113.10 ; -drain 10.1.1.11", ERR_NOT_FOUND,
		  "change 2 of 2: drain: 10.1.1.11 is not drained" },
		{ "drain 10.1.1.11", ERR_CONFLICT,
		  "drain: 10.1.1.11 is the last DIP of endpoint \"api\" of VIP 203.0.113.11 that gets new connections" },
		{ "drain 10.1.1.11 203.0.113.10 ; drain 10.1.1.12", ERR_CONFLICT,
		  "change 2 of 2: drain: 10.1.1.12 is the last DIP of endpoint \"web\"" },
		{ "-history 203.0.113.10", ERR_INVALID, "history: is made by the managers themselves" },
	};
	struct apply_result result;
	struct error err;
	struct cluster_state before;
	begin();
	must_apply(&state, "vip 203.0.113.10 shop web tcp 80 10.1.1.11:1 10.1.1.12:1 , snat 10.1.1.14");
	must_apply(&state, "vip 203.0.113.11 shop api tcp 80 10.1.1.11:1 , www tcp 81 10.1.1.11:1 10.1.1.13:1");
	copy_by_snapshot(&state, &before);
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		ck_assert_msg(apply_text(&state, rows[i].command, &result, &err) == rows[i].code, "%s: %s", rows[i].command,
		              err.text);
		ck_assert_msg(strncmp(err.text, rows[i].sentence, strlen(rows[i].sentence)) == 0, "%s: %s", rows[i].command,
		              err.text);
		ck_assert(snapshots_are_equal(&before, &state));
	}
	must_apply(&state, "drain 10.1.1.11 203.0.113.10");
	ck_assert_int_eq(apply_text(&state, "drain 10.1.1.11 203.0.113.10", &result, &err), 0); // it is so already
	ck_assert(!result.is_changed);
	cluster_state_fini(&before);
	end();
}
END_TEST

START_TEST(a_drain_stays_while_another_vip_has_the_dip)
{
	begin();
	must_apply(&state, "vip 203.0.113.10 shop web tcp 80 10.1.1.11:1 10.1.1.12:1");
	must_apply(&state, "vip 203.0.113.11 shop web tcp 80 10.1.1.11:1 10.1.1.12:1");
	must_apply(&state, "drain 10.1.1.11 ; drain 10.1.1.11 203.0.113.10 ; drain 10.1.1.11 203.0.113.11");
	ck_assert_uint_eq(state.store.drains.n, 3);
	must_apply(&state, "vip 203.0.113.10 shop web tcp 80 10.1.1.12:1");
	ck_assert_uint_eq(state.store.drains.n, 2);
	must_apply(&state, "-vip 203.0.113.11");
	ck_assert_uint_eq(state.store.drains.n, 0);
	end();
}
END_TEST

START_TEST(dips_that_are_attached_nowhere_are_listed_as_gone)
{
	begin();
	(void)must_apply_at(&state, TEST_TIME_MS, VIP "a tcp 80 10.1.1.11:1 10.1.1.77:1", NULL);
	(void)must_apply_at(&state, TEST_TIME_MS + 1, VIP "a tcp 80 10.1.1.12:1 10.1.1.77:1", NULL);
	ck_assert_str_eq(history_text("203.0.113.10"), "tcp 80 [-] 11 77 [1] 12 77 ; gone 77");
	must_apply(&state, "-dip 10.1.1.11 ; -dip 10.1.1.13");
	ck_assert_str_eq(history_text("203.0.113.10"), "tcp 80 [-] 11 77 [1] 12 77 ; gone 11 77");
	must_apply(&state, "dip 10.1.1.77 host1 vm77 if77 02:00:00:00:00:77");
	ck_assert_str_eq(history_text("203.0.113.10"), "tcp 80 [-] 11 77 [1] 12 77 ; gone 11");
	must_apply(&state, "-dip 10.1.1.12 ; dip 10.1.1.12 host1 vm12 if12 02:00:00:00:00:12");
	ck_assert_str_eq(history_text("203.0.113.10"), "tcp 80 [-] 11 77 [1] 12 77 ; gone 11");
	end();
}
END_TEST

START_TEST(time_alone_drops_what_is_due_and_says_when_the_next_is)
{
	begin();
	ck_assert_uint_eq(generations_next_expire_ms(&state.store), UINT64_MAX);
	(void)must_apply_at(&state, TEST_TIME_MS, VIP "a tcp 80 10.1.1.11:1", NULL);
	(void)must_apply_at(&state, TEST_TIME_MS, "vip 203.0.113.11 shop drain_s=90 a tcp 80 10.1.1.11:1", NULL);
	(void)must_apply_at(&state, TEST_TIME_MS + 1, VIP "a tcp 80 10.1.1.12:1", NULL);
	(void)must_apply_at(&state, TEST_TIME_MS + 2, "vip 203.0.113.11 shop drain_s=90 a tcp 80 10.1.1.12:1", NULL);
	ck_assert_uint_eq(generations_next_expire_ms(&state.store), TEST_TIME_MS + 60001);
	uint64_t version = state.store.version;
	ck_assert(!must_apply_at(&state, TEST_TIME_MS + 60000, "", NULL).is_changed);
	ck_assert_uint_eq(state.store.version, version);
	ck_assert(must_apply_at(&state, TEST_TIME_MS + 60001, "", NULL).is_changed);
	ck_assert_uint_eq(state.store.version, version + 1);
	ck_assert_uint_eq(generations_next_expire_ms(&state.store), TEST_TIME_MS + 90002);
	ck_assert_str_eq(history_text("203.0.113.11"), "tcp 80 [-] 11 [2] 12");
	(void)must_apply_at(&state, TEST_TIME_MS + 90002, "", NULL);
	ck_assert_uint_eq(generations_next_expire_ms(&state.store), UINT64_MAX);
	ck_assert_uint_eq(state.store.histories.n, 0);
	end();
}
END_TEST

// "a tcp 80 10.2.0.0:1*3 10.2.0.1:1*3 ...", each DIP with this weight.
static void add_big_endpoint(char *buf, size_t size, unsigned port, unsigned n_dips, unsigned weight)
{
	size_t used = strlen(buf);
	used += (size_t)snprintf(buf + used, size - used, " , e%u tcp %u", port, port);
	for (unsigned i = 1; i <= n_dips; i++)
		used += (size_t)snprintf(buf + used, size - used, " 10.2.%u.%u:1*%u", i / 250, i % 250 + 1, weight);
}

START_TEST(beyond_the_limits_the_oldest_go)
{
	static char text[400000];
	struct ip_addr vip = addr_of("203.0.113.10");
	begin();
	for (unsigned i = 0; i < GENERATIONS_MAX + 10; i++) {
		(void)text_format(text, sizeof text, "vip 203.0.113.10 shop a tcp 80 10.1.1.11:1*%u", i + 1);
		must_apply(&state, text);
	}
	const struct endpoint_history *e = store_lookup_history(&state.store, &vip)->endpoints;
	ck_assert_uint_eq(e->n_generations, GENERATIONS_MAX);
	ck_assert_uint_eq(e->generations[0].members[0].weight, 11);
	ck_assert_uint_eq(endpoint_history_present(e)->members[0].weight, GENERATIONS_MAX + 10);

	for (unsigned i = 0; i < 12; i++) {
		(void)text_format(text, sizeof text, "vip 203.0.113.10 shop a tcp 80 10.1.1.11:1*%u", i + 1);
		add_big_endpoint(text, sizeof text, 81, LIMIT_DIPS_PER_ENDPOINT, i + 1);
		add_big_endpoint(text, sizeof text, 82, 100, i + 1);
		must_apply(&state, text);
	}
	const struct vip_history *h = store_lookup_history(&state.store, &vip);
	ck_assert_uint_eq(h->n_endpoints, 3);
	ck_assert_uint_eq(h->endpoints[0].n_generations, GENERATIONS_MAX); // the smaller ones keep theirs
	ck_assert_uint_eq(h->endpoints[1].n_generations, 7);
	ck_assert_uint_eq(h->endpoints[2].n_generations, 12);
	ck_assert_uint_eq(h->endpoints[1].generations[0].members[0].weight, 6);
	end();
}
END_TEST

START_TEST(a_refused_command_leaves_generations_and_drains_as_they_were)
{
	struct apply_result result;
	struct error err;
	struct cluster_state before;
	begin();
	must_apply(&state, "vip 203.0.113.10 shop web tcp 80 10.1.1.11:1 10.1.1.12:1 10.1.1.13:1 ; drain 10.1.1.13");
	copy_by_snapshot(&state, &before);
	ck_assert_int_eq(apply_text(&state,
	                            "drain 10.1.1.11 ; -drain 10.1.1.13 ; vip 203.0.113.10 shop web tcp 80 10.1.1.14:1 ; "
	                            "-vip 203.0.113.10 ; -dip 10.1.1.11 ; -mux none",
	                            &result, &err),
	                 ERR_NOT_FOUND);
	ck_assert(snapshots_are_equal(&before, &state));
	cluster_state_fini(&before);
	end();
}
END_TEST

START_TEST(short_memory_is_reported_and_never_crashes)
{
	for (uint64_t n = 0;; n++) {
		begin();
		must_apply(&state, "vip 203.0.113.10 shop web tcp 80 10.1.1.11:1 10.1.1.12:1 10.1.1.13:1 ; drain 10.1.1.13");
		struct state_command command =
			command_of(TEST_TIME_MS, "vip 203.0.113.10 shop web tcp 80 10.1.1.11:1 10.1.1.12:1 ; drain 10.1.1.12");
		struct apply_result result;
		struct error err = { 0 };
		memory_fail_after(n);
		int code = cluster_state_apply(&state, &command, &result, &err);
		memory_fail_after(UINT64_MAX);
		state_command_fini(&command);
		end();
		if (code == 0)
			break;
		ck_assert_int_eq(code, ERR_NO_MEMORY);
	}
}
END_TEST

SUITE_MAIN("generations", each_change_of_the_eligible_dips_begins_a_generation,
           drained_dips_are_not_in_the_present_generation, drains_that_make_no_sense_are_refused,
           a_drain_stays_while_another_vip_has_the_dip, dips_that_are_attached_nowhere_are_listed_as_gone,
           time_alone_drops_what_is_due_and_says_when_the_next_is, beyond_the_limits_the_oldest_go,
           a_refused_command_leaves_generations_and_drains_as_they_were, short_memory_is_reported_and_never_crashes)
