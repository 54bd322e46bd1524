// What is probed, when, and what is reported of it; and the judgement of one target.
#include "hostagent/core/http_status.h"
#include "hostagent/core/probes.h"
#include "tests/support/suite.h"
#include "tests/unit/hostagent/probe_store.h"

#define DIP1 "10.1.1.11"
#define DIP2 "10.1.1.12"
#define SECOND 1000000u

static struct store store;
static struct probes probes;
static struct mono_time now;

static const struct probe every_second = {
	.type = PROBE_TCP, .interval_ms = 1000, .timeout_ms = 500, .up = 2, .down = 3
};

static void set_up(void)
{
	store_init(&store);
	probes_init(&probes, 7);
	now = mono_from_us(1000 * SECOND);
	probe_store_apply(&store, test_put_node(OBJECT_HOST, "host1", "10.0.0.21"));
	probe_store_apply(&store, test_put_dip(DIP1, "host1", "vm1"));
	probe_store_apply(&store, test_put_dip(DIP2, "host1", "vm2"));
	probe_store_apply(&store, test_put_dip("10.1.2.11", "host2", "vm1"));
}

static void tear_down(void)
{
	probes_fini(&probes);
	store_fini(&store);
}

static void configure(void)
{
	ck_assert_int_eq(probes_configure(&probes, &store, "host1", now), 0);
}

static void open_port(const char *dip)
{
	struct ip_addr addr = test_addr(dip);
	ck_assert_uint_eq(probes_set_port(&probes, &addr, true, "", now), 0);
}

// One VIP with one endpoint for each DIP.
static void put_two(const struct probe *probe)
{
	struct vip_config *v = probe_vip("203.0.113.1", 2);
	probe_vip_add(v, 80, DIP1, probe);
	probe_vip_add(v, 81, DIP2, probe);
	probe_store_put_vip(&store, v);
	configure();
}

// Time goes on to the next probe, and it begins.
static const struct probe_target *begin(void)
{
	struct mono_time due;
	ck_assert(probes_due(&probes, &due));
	if (mono_is_before(now, due))
		now = due;
	const struct probe_target *t = probes_next(&probes, now);
	ck_assert_ptr_nonnull(t);
	return t;
}

static bool result(const struct probe_target *t, enum probe_outcome outcome)
{
	struct probe_what what = t->what;
	return probes_on_result(&probes, &what, t->attempt, outcome, "tcp 8080: connection refused", now) != NULL;
}

// Probes DIP1, and lets every other probe succeed on the way. True when its health changed.
static bool probe_dip1(enum probe_outcome outcome)
{
	struct ip_addr dip1 = test_addr(DIP1);
	for (;;) {
		const struct probe_target *t = begin();
		if (ip_addr_equal(&t->what.dip, &dip1))
			return result(t, outcome);
		(void)result(t, PROBE_SUCCEEDED);
	}
}

// "whole 10.1.1.11 80 well, 10.1.1.12 81 ill (cause)"; "" when nothing is to be sent.
static const char *next_report(uint32_t max)
{
	static char text[2048];
	struct health_report r;
	char addr[IP_ADDR_TEXT_BYTES];
	text[0] = '\0';
	if (!probes_next_report(&probes, max, &r))
		return text;
	size_t n = strlen(strcpy(text, r.is_whole ? "whole" : "part"));
	for (uint32_t i = 0; i < r.n; i++) {
		const struct probe_result *x = &r.items[i];
		text_format(text + n, sizeof text - n, " %s:%u %s", ip_addr_format(&x->dip, addr), x->port,
		            x->is_healthy ? "well" : x->cause);
		n += strlen(text + n);
	}
	health_report_fini(&r);
	return text;
}

START_TEST(endpoints_that_ask_the_same_of_a_dip_share_one_probe)
{
	set_up();
	struct probe slow = { .type = PROBE_TCP, .interval_ms = 5000, .timeout_ms = 200, .up = 5, .down = 1 };
	struct probe other_port = every_second;
	struct probe http = {
		.type = PROBE_HTTP, .path = "/x", .expect_min = 200, .expect_max = 299, .interval_ms = 1000, .timeout_ms = 1
	};
	http.up = http.down = 1;
	other_port.port = 9;
	struct vip_config *v = probe_vip("203.0.113.1", 6);
	probe_vip_add(v, 80, DIP1, &every_second);
	probe_vip_add(v, 81, DIP1, &slow);
	probe_vip_add(v, 82, DIP1, &other_port);
	probe_vip_add(v, 83, DIP1, &http);
	probe_vip_add(v, 84, "10.1.2.11", &every_second); // of another host
	probe_vip_add(v, 85, DIP1, &(struct probe){ 0 }); // none
	probe_store_put_vip(&store, v);
	v = probe_vip("203.0.113.2", 1);
	probe_vip_add(v, 80, DIP1, &every_second);
	probe_store_put_vip(&store, v);
	configure();
	ck_assert_uint_eq(probes.n_endpoints, 5);
	ck_assert_uint_eq(probes.n_targets, 3);
	for (uint32_t i = 0; i < 3; i++) {
		const struct probe_target *t = &probes.targets[i];
		if (t->what.type != PROBE_TCP || t->what.port != 8080)
			continue;
		ck_assert_uint_eq(t->interval_ms, 1000);
		ck_assert_uint_eq(t->timeout_ms, 200);
		ck_assert_uint_eq(t->health.up, 2);
		ck_assert_uint_eq(t->health.down, 1);
	}
	tear_down();
}
END_TEST

START_TEST(nothing_is_probed_until_its_interface_is_known_to_be_there)
{
	set_up();
	put_two(&every_second);
	struct mono_time due;
	ck_assert(!probes_due(&probes, &due));
	open_port(DIP1);
	ck_assert(probes_due(&probes, &due));
	ck_assert_uint_lt(mono_elapsed_us(now, due), PROBE_SPREAD_MS * 1000);
	const struct probe_target *t = begin();
	ck_assert_ptr_null(probes_next(&probes, mono_add_us(now, 100 * SECOND))); // one at a time
	(void)result(t, PROBE_SUCCEEDED);
	ck_assert(probes_due(&probes, &due));
	ck_assert_uint_ge(mono_elapsed_us(now, due), 900000);
	ck_assert_uint_le(mono_elapsed_us(now, due), 1100000);
	ck_assert_ptr_null(probes_next(&probes, now));
	tear_down();
}
END_TEST

START_TEST(the_first_result_decides_and_later_ones_in_a_row)
{
	set_up();
	put_two(&every_second);
	open_port(DIP1);
	ck_assert(probe_dip1(PROBE_FAILED));
	ck_assert(!probe_dip1(PROBE_SUCCEEDED));
	ck_assert(!probe_dip1(PROBE_FAILED));
	ck_assert(!probe_dip1(PROBE_SUCCEEDED));
	ck_assert(probe_dip1(PROBE_SUCCEEDED)); // up: 2
	ck_assert(!probe_dip1(PROBE_FAILED));
	ck_assert(!probe_dip1(PROBE_FAILED));
	ck_assert(!probe_dip1(PROBE_SUCCEEDED));
	ck_assert(!probe_dip1(PROBE_FAILED));
	ck_assert(!probe_dip1(PROBE_NOT_MADE));
	ck_assert(!probe_dip1(PROBE_FAILED));
	ck_assert(probe_dip1(PROBE_FAILED)); // down: 3
	ck_assert_uint_eq(probes_n_unhealthy_dips(&probes), 1);
	tear_down();
}
END_TEST

// Falls ill, and is probed with success until it is well again: how many that took.
static uint32_t fall_and_return(struct probe_health *h)
{
	uint32_t n = 0;
	while (!probe_health_on_failure(h, "x", now))
		;
	do {
		now = mono_add_us(now, SECOND);
		n++;
	} while (!probe_health_on_success(h, now));
	return n;
}

START_TEST(what_comes_and_goes_needs_more_and_more_successes)
{
	now = mono_from_us(SECOND);
	struct probe_health h = { .up = 2, .down = 1 };
	ck_assert(probe_health_on_success(&h, now));
	static const uint32_t wanted[] = { 2, 4, 8, 16, 32, 32 };
	for (size_t i = 0; i < sizeof wanted / sizeof *wanted; i++)
		ck_assert_uint_eq(fall_and_return(&h), wanted[i]);
	now = mono_add_us(now, PROBE_QUIET_US - 1);
	ck_assert_uint_eq(fall_and_return(&h), 32);
	now = mono_add_us(now, PROBE_QUIET_US);
	ck_assert_uint_eq(fall_and_return(&h), 2); // forgotten
	// Who was ill for long returns with as many as before; who was ill for very long, as if it had never been.
	ck_assert(probe_health_on_failure(&h, "x", now));
	now = mono_add_us(now, PROBE_FLAP_US);
	ck_assert_uint_eq(probe_health_successes_needed(&h, now), 4);
	now = mono_add_us(now, PROBE_QUIET_US);
	ck_assert_uint_eq(probe_health_successes_needed(&h, now), 2);
}
END_TEST

START_TEST(a_vm_that_is_ill_from_the_start_is_no_flapping_one)
{
	now = mono_from_us(SECOND);
	struct probe_health h = { .up = 2, .down = 1 };
	ck_assert(probe_health_on_failure(&h, "tcp 80: connection refused", now));
	ck_assert_str_eq(h.cause, "tcp 80: connection refused");
	ck_assert(!probe_health_on_success(&h, now));
	ck_assert(probe_health_on_success(&h, now));
	ck_assert_str_eq(h.cause, "");
	ck_assert_uint_eq(fall_and_return(&h), 2);
	ck_assert_uint_eq(fall_and_return(&h), 4);
}
END_TEST

START_TEST(a_missing_interface_is_ill_at_once_and_what_was_under_way_says_nothing)
{
	set_up();
	put_two(&every_second);
	struct ip_addr dip1 = test_addr(DIP1);
	open_port(DIP1);
	ck_assert(probe_dip1(PROBE_SUCCEEDED));
	const struct probe_target *t = begin();
	struct probe_what what = t->what;
	uint64_t attempt = t->attempt;
	ck_assert_uint_eq(probes_set_port(&probes, &dip1, false, "interface missing", now), 1);
	ck_assert_uint_eq(probes_set_port(&probes, &dip1, false, "interface missing", now), 0);
	ck_assert_str_eq(t->health.cause, "interface missing");
	struct mono_time due;
	ck_assert(!probes_due(&probes, &due));
	open_port(DIP1);
	ck_assert_ptr_null(probes_on_result(&probes, &what, attempt, PROBE_SUCCEEDED, "", now));
	ck_assert(!probe_dip1(PROBE_SUCCEEDED));
	ck_assert(probe_dip1(PROBE_SUCCEEDED));
	tear_down();
}
END_TEST

START_TEST(a_target_that_stays_keeps_its_state)
{
	set_up();
	put_two(&every_second);
	open_port(DIP1);
	open_port(DIP2);
	ck_assert(probe_dip1(PROBE_FAILED));
	ck_assert(!probe_dip1(PROBE_SUCCEEDED));
	const struct probe_target *t;
	do { // until one of DIP1 is under way
		t = begin();
		if (t->what.dip.bytes[15] != 11)
			(void)result(t, PROBE_SUCCEEDED);
	} while (t->what.dip.bytes[15] != 11);
	struct probe_what what = t->what;
	uint64_t attempt = t->attempt;
	struct probe faster = every_second;
	faster.interval_ms = 500;
	put_two(&faster);
	struct mono_time due;
	ck_assert(probes_due(&probes, &due)); // of DIP2: it does not wait for the old interval
	ck_assert_uint_le(mono_elapsed_us(now, due), 550000);
	ck_assert_ptr_nonnull(probes_on_result(&probes, &what, attempt, PROBE_SUCCEEDED, "", now)); // the second of two
	probe_store_apply(&store, test_delete(OBJECT_DIP, DIP1));
	configure();
	ck_assert_uint_eq(probes.n_targets, 1);
	ck_assert_ptr_null(probes_on_result(&probes, &what, attempt, PROBE_SUCCEEDED, "", now));
	tear_down();
}
END_TEST

START_TEST(the_whole_report_waits_for_the_first_result_of_every_probe)
{
	set_up();
	put_two(&every_second);
	open_port(DIP1);
	ck_assert(probe_dip1(PROBE_FAILED));
	ck_assert_str_eq(next_report(10), ""); // no link
	probes_on_link(&probes, true);
	ck_assert_str_eq(next_report(10), "");
	open_port(DIP2);
	const struct probe_target *t = begin();
	ck_assert_uint_eq(t->what.dip.bytes[15], 12);
	ck_assert(result(t, PROBE_SUCCEEDED));
	ck_assert_str_eq(next_report(10), "whole 10.1.1.11:80 tcp 8080: connection refused 10.1.1.12:81 well");
	ck_assert_str_eq(next_report(10), "");
	ck_assert(!probe_dip1(PROBE_SUCCEEDED));
	ck_assert_str_eq(next_report(10), "");
	ck_assert(probe_dip1(PROBE_SUCCEEDED));
	ck_assert_str_eq(next_report(10), "part 10.1.1.11:80 well");
	probes_on_link(&probes, false);
	for (int i = 0; i < 3; i++)
		(void)probe_dip1(PROBE_FAILED);
	ck_assert_str_eq(next_report(10), "");
	probes_on_link(&probes, true);
	ck_assert_str_eq(next_report(1), "part 10.1.1.11:80 tcp 8080: connection refused");
	ck_assert_str_eq(next_report(1), "whole 10.1.1.12:81 well");
	tear_down();
}
END_TEST

START_TEST(without_probes_the_whole_report_comes_at_once)
{
	set_up();
	configure();
	probes_on_link(&probes, true);
	ck_assert_str_eq(next_report(10), "whole");
	ck_assert_str_eq(next_report(10), "");
	tear_down();
}
END_TEST

START_TEST(what_comes_later_does_not_delay_the_whole_report)
{
	set_up();
	struct vip_config *v = probe_vip("203.0.113.1", 1);
	probe_vip_add(v, 80, DIP1, &every_second);
	probe_store_put_vip(&store, v);
	configure();
	open_port(DIP1);
	probes_on_link(&probes, true);
	put_two(&every_second);
	ck_assert_str_eq(next_report(10), "");
	ck_assert(probe_dip1(PROBE_SUCCEEDED));
	ck_assert_str_eq(next_report(10), "whole 10.1.1.11:80 well");
	// A second endpoint of the same target has its result already.
	v = probe_vip("203.0.113.2", 1);
	probe_vip_add(v, 443, DIP1, &every_second);
	probe_store_put_vip(&store, v);
	configure();
	ck_assert_str_eq(next_report(10), "part 10.1.1.11:443 well");
	tear_down();
}
END_TEST

START_TEST(a_probe_that_could_not_be_made_is_not_waited_for_and_says_nothing)
{
	set_up();
	put_two(&every_second);
	open_port(DIP1);
	open_port(DIP2);
	probes_on_link(&probes, true);
	ck_assert(!result(begin(), PROBE_NOT_MADE));
	ck_assert_str_eq(next_report(10), "");
	const struct probe_target *t = begin();
	ck_assert(result(t, PROBE_SUCCEEDED));
	ck_assert(strncmp(next_report(10), "whole 10.1.1.1", 14) == 0);
	tear_down();
}
END_TEST

START_TEST(probes_that_wait_for_their_turn_are_counted)
{
	set_up();
	put_two(&every_second);
	open_port(DIP1);
	open_port(DIP2);
	ck_assert_uint_eq(probes_n_waiting(&probes, mono_from_us(0)), 0);
	now = mono_add_us(now, SECOND);
	ck_assert_uint_eq(probes_n_waiting(&probes, now), 2);
	(void)begin();
	ck_assert_uint_eq(probes_n_waiting(&probes, now), 1);
	tear_down();
}
END_TEST

START_TEST(without_memory_everything_stays_as_it_is)
{
	set_up();
	put_two(&every_second);
	struct vip_config *v = probe_vip("203.0.113.2", 1);
	probe_vip_add(v, 443, DIP1, &every_second);
	probe_store_put_vip(&store, v);
	for (uint64_t i = 0; i < 4; i++) {
		memory_fail_after(i);
		ck_assert_int_eq(probes_configure(&probes, &store, "host1", now), ERR_NO_MEMORY);
		ck_assert_uint_eq(probes.n_endpoints, 2);
	}
	memory_fail_after(UINT64_MAX);
	configure();
	ck_assert_uint_eq(probes.n_endpoints, 3);
	probes_on_link(&probes, true);
	open_port(DIP1);
	open_port(DIP2);
	(void)result(begin(), PROBE_SUCCEEDED);
	(void)result(begin(), PROBE_SUCCEEDED);
	memory_fail_after(0);
	ck_assert_str_eq(next_report(10), "");
	memory_fail_after(UINT64_MAX);
	ck_assert_str_eq(next_report(10), "whole 10.1.1.11:80 well 10.1.1.11:443 well 10.1.1.12:81 well");
	tear_down();
}
END_TEST

START_TEST(a_status_line_is_read)
{
	static const struct {
		const char *bytes;
		enum http_status_outcome want;
		uint16_t status;
	} rows[] = {
		{ "HTTP/1.1 200 OK\r\n", HTTP_STATUS_FOUND, 200 },
		{ "HTTP/1.0 404 ", HTTP_STATUS_FOUND, 404 },
		{ "HTTP/1.1 503\r\n", HTTP_STATUS_FOUND, 503 },
		{ "HTTP/1.1 204\n", HTTP_STATUS_FOUND, 204 },
		{ "", HTTP_STATUS_MORE, 0 },
		{ "HTTP/1.1 20", HTTP_STATUS_MORE, 0 },
		{ "HTTP/1.1 200", HTTP_STATUS_MORE, 0 },
		{ "HTTP/1.1 2000 ", HTTP_STATUS_NONE, 0 },
		{ "HTTP/2 200 OK\r\n", HTTP_STATUS_NONE, 0 },
		{ "http/1.1 200 OK", HTTP_STATUS_NONE, 0 },
		{ "HTTP/1.1  200 ", HTTP_STATUS_NONE, 0 },
		{ "HTTP/1.1 099 ", HTTP_STATUS_NONE, 0 },
		{ "HTTP/1.1 600 ", HTTP_STATUS_NONE, 0 },
		{ "HTTP/1.1 2x0 ", HTTP_STATUS_NONE, 0 },
		{ "SSH-2.0-x", HTTP_STATUS_NONE, 0 },
		{ "<html>", HTTP_STATUS_NONE, 0 },
	};
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		uint16_t status = 0;
		enum http_status_outcome got =
			http_status_parse((const uint8_t *)rows[i].bytes, strlen(rows[i].bytes), &status);
		ck_assert_msg(got == rows[i].want && status == rows[i].status, "%s: %d %u", rows[i].bytes, got, status);
	}
}
END_TEST

SUITE_MAIN("agent probes", endpoints_that_ask_the_same_of_a_dip_share_one_probe,
           nothing_is_probed_until_its_interface_is_known_to_be_there, the_first_result_decides_and_later_ones_in_a_row,
           what_comes_and_goes_needs_more_and_more_successes, a_vm_that_is_ill_from_the_start_is_no_flapping_one,
           a_missing_interface_is_ill_at_once_and_what_was_under_way_says_nothing, a_target_that_stays_keeps_its_state,
           the_whole_report_waits_for_the_first_result_of_every_probe, without_probes_the_whole_report_comes_at_once,
           what_comes_later_does_not_delay_the_whole_report,
           a_probe_that_could_not_be_made_is_not_waited_for_and_says_nothing,
           probes_that_wait_for_their_turn_are_counted, without_memory_everything_stays_as_it_is, a_status_line_is_read)
