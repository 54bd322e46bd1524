// The control side of SNAT between a worker and managers that the test plays, with time as it likes.
#include <stdio.h>

#include "common/base/memory.h"
#include "common/io/log.h"
#include "hostagent/io/snat_control.h"
#include "tests/unit/hostagent/flow_block.h"
#include "tests/support/packet_builder.h"
#include "tests/support/suite.h"
#include "tests/unit/hostagent/fake_data_plane.h"

#define VIP "203.0.113.10"
#define DIP "10.1.1.11"
#define START_MS 1000
#define DAY_S 86400u

struct world {
	struct data_plane dp;
	struct snat_control snat;
	int send_code; // what the link answers
	uint32_t n_messages;
	uint32_t n_ops; // of all messages
	char sent[2048]; // "ask 100 160", "return 1024@5"
};

static struct world w;

static int on_send(const struct message *m, void *user)
{
	ck_assert_int_eq(m->type, MESSAGE_SNAT_ASK);
	if (w.send_code != 0)
		return w.send_code;
	w.n_messages++;
	w.n_ops += m->ops.n;
	for (uint32_t i = 0; i < m->ops.n; i++) {
		const struct snat_op *op = &m->ops.items[i];
		size_t n = strlen(w.sent);
		if (n > sizeof w.sent - 64)
			break;
		if (n > 0)
			n += strlen(strcpy(w.sent + n, ", "));
		if (op->kind == SNAT_REQUEST)
			snprintf(w.sent + n, sizeof w.sent - n, "ask %llu %u", (unsigned long long)op->seq, op->n_ports);
		else
			snprintf(w.sent + n, sizeof w.sent - n, "return %u@%u", op->first_port, op->epoch);
	}
	return 0;
}

static const char *take_sent(void)
{
	static char text[sizeof w.sent];
	memcpy(text, w.sent, sizeof text);
	w.sent[0] = '\0';
	w.n_messages = 0;
	return text;
}

static const char *take_orders(void)
{
	ck_assert(!snat_control_send_orders(&w.snat));
	return fake_data_plane_take_orders(&w.dp);
}

static void set_up(void)
{
	memset(&w, 0, sizeof w);
	log_set_level(LOG_ERROR);
	fake_data_plane_init(&w.dp);
	snat_control_init(&w.snat, &(struct snat_control_config){ .dp = &w.dp, .names = test_names(), .send = on_send },
	                  START_MS);
}

static void tear_down(void)
{
	snat_control_fini(&w.snat);
	fake_data_plane_fini(&w.dp);
}

static struct lease lease_of(unsigned port, uint32_t epoch, bool is_ended)
{
	return (struct lease){ .vip = ip_addr_from_v4(test_ip4(VIP)),
		                   .dip = ip_addr_from_v4(test_ip4(DIP)),
		                   .first_port = (uint16_t)port,
		                   .n_ports = 8,
		                   .epoch = epoch,
		                   .ended_ms = is_ended };
}

// n leases from `port` on, all of this epoch; those of a whole update, or changed ones.
static bool update(bool replaces, unsigned port, uint32_t n, uint32_t epoch, bool is_ended)
{
	bool is_changed = false;
	struct update u = { .lease_version = 7, .replaces_leases = replaces };
	for (uint32_t i = 0; i < n; i++) {
		struct lease l = lease_of(port + 8 * i, epoch, is_ended);
		ck_assert_int_eq(lease_list_append(&u.leases, &l), 0);
	}
	ck_assert_int_eq(snat_control_on_update(&w.snat, &u, &is_changed), 0);
	lease_list_fini(&u.leases);
	return is_changed;
}

static void report(enum snat_report_kind kind, unsigned port, uint32_t epoch, uint64_t seq)
{
	struct snat_report r = { .kind = kind,
		                     .vip = test_ip4(VIP),
		                     .dip = test_ip4(DIP),
		                     .first_port = (uint16_t)port,
		                     .n_ports = 8,
		                     .n_wanted = 16,
		                     .epoch = epoch,
		                     .seq = seq };
	fake_data_plane_report(&w.dp, &r);
}

static void reports_at(uint64_t now_ms)
{
	snat_control_on_reports(&w.snat, now_ms);
}

// As the link does it: the first update on a connection is a whole one, then the link is up.
static void connect_with(uint32_t n_leases, uint64_t now_ms)
{
	(void)update(true, 1024, n_leases, 1, false);
	snat_control_on_link(&w.snat, true, now_ms);
}

START_TEST(leases_reach_the_worker_once_and_then_the_count_of_flows)
{
	set_up();
	connect_with(2, START_MS);
	ck_assert_str_eq(take_orders(), "+1024/8@1, +1032/8@1, rebuild, link up");
	ck_assert(!update(true, 1024, 2, 1, false));
	ck_assert_str_eq(take_orders(), "");
	ck_assert(update(false, 1032, 1, 1, true));
	ck_assert_str_eq(take_orders(), "-1032/8@1");
	ck_assert(update(false, 1040, 1, 2, false));
	ck_assert_str_eq(take_orders(), "+1040/8@2");
	ck_assert_uint_eq(w.snat.counters.snat_leases_granted, 3);
	ck_assert_uint_eq(w.snat.counters.snat_leases_ended, 1);
	tear_down();
}
END_TEST

START_TEST(orders_that_have_no_room_wait_and_keep_their_order)
{
	set_up();
	w.dp.orders_max = 3;
	connect_with(5, START_MS);
	ck_assert(snat_control_send_orders(&w.snat));
	ck_assert_str_eq(fake_data_plane_take_orders(&w.dp), "+1024/8@1, +1032/8@1, +1040/8@1");
	ck_assert(update(false, 1024, 1, 1, true));
	ck_assert(snat_control_send_orders(&w.snat));
	ck_assert_str_eq(fake_data_plane_take_orders(&w.dp), "+1048/8@1, +1056/8@1, rebuild");
	ck_assert_str_eq(take_orders(), "-1024/8@1, link up");
	tear_down();
}
END_TEST

START_TEST(what_is_reported_together_is_one_message)
{
	set_up();
	connect_with(2, START_MS);
	report(SNAT_REPORT_WANTED, 0, 0, 100);
	report(SNAT_REPORT_RETURNED, 1024, 1, 0);
	report(SNAT_REPORT_WANTED, 0, 0, 101);
	report(SNAT_REPORT_RETURNED, 1032, 1, 0);
	reports_at(START_MS);
	ck_assert_uint_eq(w.n_messages, 1);
	ck_assert_str_eq(take_sent(), "ask 100 16, ask 101 16");
	snat_control_on_saved(&w.snat);
	ck_assert_uint_eq(w.n_messages, 1);
	ck_assert_str_eq(take_sent(), "return 1024@1, return 1032@1");
	tear_down();
}
END_TEST

START_TEST(a_message_holds_a_bounded_number_of_operations)
{
	set_up();
	connect_with(1, START_MS);
	uint32_t n = SNAT_ASK_OPS_MAX + 10;
	for (uint32_t i = 0; i < n; i++) {
		report(SNAT_REPORT_WANTED, 0, 0, i);
		if (w.dp.n_reports == FAKE_REPORTS_MAX)
			reports_at(START_MS);
	}
	reports_at(START_MS);
	ck_assert_uint_eq(w.n_ops, n);
	tear_down();
}
END_TEST

START_TEST(an_answer_follows_its_leases)
{
	set_up();
	connect_with(1, START_MS);
	(void)take_orders();
	(void)update(false, 2048, 2, 9, false);
	struct message reply = { .type = MESSAGE_SNAT_REPLY };
	reply.snat_reply.dip = ip_addr_from_v4(test_ip4(DIP));
	reply.snat_reply.seq = 100;
	snat_control_on_reply(&w.snat, &reply, START_MS);
	ck_assert_str_eq(take_orders(), "+2048/8@9, +2056/8@9, answer 100 ok");
	error_set(&reply.snat_reply.err, ERR_LIMIT, "no more");
	reply.snat_reply.seq = 101;
	snat_control_on_reply(&w.snat, &reply, START_MS);
	ck_assert_str_eq(take_orders(), "answer 101 limit");
	ck_assert_uint_eq(w.snat.counters.snat_requests_refused, 1);
	tear_down();
}
END_TEST

START_TEST(a_return_is_asked_until_it_is_confirmed)
{
	set_up();
	connect_with(2, START_MS);
	(void)take_orders();
	report(SNAT_REPORT_RETURNED, 1024, 1, 0);
	report(SNAT_REPORT_RETURNED, 1032, 7, 0); // an older lease of the same range: nobody's business
	reports_at(START_MS);
	ck_assert_str_eq(take_sent(), ""); // the file still holds it
	snat_control_on_saved(&w.snat);
	ck_assert_str_eq(take_sent(), "return 1024@1");
	snat_control_on_saved(&w.snat);
	ck_assert_str_eq(take_sent(), "");
	snat_control_tick(&w.snat, 0, START_MS + SNAT_RETURN_REPEAT_MS);
	ck_assert_str_eq(take_sent(), "return 1024@1");
	snat_control_tick(&w.snat, 0, START_MS + SNAT_RETURN_REPEAT_MS + 1000);
	ck_assert_str_eq(take_sent(), "");
	(void)update(false, 1024, 1, 1, true);
	ck_assert_str_eq(take_orders(), "-1024/8@1");
	snat_control_tick(&w.snat, 0, START_MS + 3 * SNAT_RETURN_REPEAT_MS);
	ck_assert_str_eq(take_sent(), "");
	tear_down();
}
END_TEST

START_TEST(a_return_is_asked_in_the_end_also_when_nothing_can_be_saved)
{
	set_up();
	connect_with(1, START_MS);
	report(SNAT_REPORT_RETURNED, 1024, 1, 0);
	reports_at(START_MS);
	snat_control_tick(&w.snat, 0, START_MS + SNAT_RETURN_REPEAT_MS - 1);
	ck_assert_str_eq(take_sent(), "");
	snat_control_tick(&w.snat, 0, START_MS + SNAT_RETURN_REPEAT_MS);
	ck_assert_str_eq(take_sent(), "return 1024@1");
	tear_down();
}
END_TEST

START_TEST(a_lost_return_is_repeated_after_a_reconnect)
{
	set_up();
	connect_with(2, START_MS);
	(void)take_orders();
	snat_control_on_link(&w.snat, false, START_MS);
	report(SNAT_REPORT_RETURNED, 1024, 1, 0);
	reports_at(START_MS);
	ck_assert_str_eq(take_sent(), ""); // nobody to send it to
	connect_with(2, START_MS);
	ck_assert_str_eq(take_orders(),
	                 ""); // the link came back before the worker heard that it went; the lease stays given back
	snat_control_tick(&w.snat, 0, START_MS + SNAT_RETURN_REPEAT_MS);
	ck_assert_str_eq(take_sent(), "return 1024@1");
	tear_down();
}
END_TEST

START_TEST(the_worker_hears_of_the_link)
{
	set_up();
	ck_assert_str_eq(take_orders(), ""); // none at the start: it knows
	connect_with(0, START_MS);
	ck_assert_str_eq(take_orders(), "rebuild, link up");
	snat_control_on_link(&w.snat, false, START_MS);
	ck_assert_str_eq(take_orders(), "link down");
	report(SNAT_REPORT_WANTED, 0, 0, 5);
	reports_at(START_MS);
	ck_assert_str_eq(take_sent(), "");
	connect_with(0, START_MS);
	ck_assert_str_eq(take_orders(), "link up");
	report(SNAT_REPORT_WANTED, 0, 0, 5); // with which it asks again
	reports_at(START_MS);
	ck_assert_str_eq(take_sent(), "ask 5 16");
	tear_down();
}
END_TEST

START_TEST(a_link_that_refuses_a_message_loses_nothing)
{
	set_up();
	connect_with(1, START_MS);
	w.send_code = ERR_UNAVAILABLE;
	report(SNAT_REPORT_RETURNED, 1024, 1, 0);
	reports_at(START_MS);
	snat_control_on_saved(&w.snat);
	w.send_code = 0;
	snat_control_tick(&w.snat, 0, START_MS + SNAT_RETURN_REPEAT_MS);
	ck_assert_str_eq(take_sent(), "return 1024@1");
	tear_down();
}
END_TEST

START_TEST(without_a_leader_for_long_no_lease_is_used_until_it_is_confirmed)
{
	set_up();
	uint64_t down_ms = START_MS + 500000;
	connect_with(2, START_MS);
	(void)take_orders();
	snat_control_tick(&w.snat, DAY_S, down_ms - 1);
	snat_control_on_link(&w.snat, false, down_ms);
	snat_control_tick(&w.snat, DAY_S, down_ms + DAY_S * 1000ull - 1);
	ck_assert_str_eq(take_orders(), "link down");
	snat_control_tick(&w.snat, DAY_S, down_ms + DAY_S * 1000ull);
	const char *ends = take_orders();
	ck_assert_ptr_nonnull(strstr(ends, "-1024/8@1"));
	ck_assert_ptr_nonnull(strstr(ends, "-1032/8@1"));
	ck_assert_uint_eq(w.snat.counters.snat_gone, 1);
	snat_control_tick(&w.snat, DAY_S, down_ms + 3 * DAY_S * 1000ull);
	ck_assert_str_eq(take_orders(), "");
	connect_with(1, down_ms + 3 * DAY_S * 1000ull);
	ck_assert_str_eq(take_orders(), "+1024/8@1, link up"); // the other one is somebody else's by now
	ck_assert_uint_eq(w.snat.leases.n, 1);
	tear_down();
}
END_TEST

START_TEST(a_gone_time_of_0_never_comes)
{
	set_up();
	connect_with(1, START_MS);
	snat_control_on_link(&w.snat, false, START_MS);
	(void)take_orders();
	snat_control_tick(&w.snat, 0, START_MS + 100 * DAY_S * 1000ull);
	ck_assert_str_eq(take_orders(), "");
	tear_down();
}
END_TEST

// What the first process has, given to a second one that starts `unseen_ms` after it had a leader last.
static void restart(uint64_t unseen_ms)
{
	struct snat_image image;
	ck_assert_int_eq(snat_control_get(&w.snat, &image), 0);
	tear_down();
	set_up();
	ck_assert_int_eq(snat_control_load(&w.snat, &image, unseen_ms, START_MS), 0);
	snat_image_fini(&image);
}

START_TEST(a_restarted_agent_has_its_leases_at_once)
{
	set_up();
	connect_with(1, START_MS);
	(void)update(false, 2048, 1, 3, false);
	report(SNAT_REPORT_RETURNED, 2048, 3, 0);
	reports_at(START_MS);
	restart(1000);
	ck_assert_uint_eq(w.snat.lease_version, 7);
	snat_control_tick(&w.snat, DAY_S, START_MS);
	ck_assert_str_eq(take_orders(), "+1024/8@1, rebuild"); // not the one that was being returned
	connect_with(2, START_MS); // by the managers 1032 is ours, too
	ck_assert_str_eq(take_orders(), "+1032/8@1, link up");
	tear_down();
}
END_TEST

START_TEST(leases_that_were_saved_too_long_ago_are_counted_but_not_used)
{
	set_up();
	connect_with(1, START_MS);
	restart(DAY_S * 1000ull);
	snat_control_tick(&w.snat, DAY_S, START_MS);
	ck_assert_str_eq(take_orders(), "+1024/8@1, rebuild, -1024/8@1");
	restart(2 * DAY_S * 1000ull); // what is suspended is saved as well
	snat_control_tick(&w.snat, DAY_S, START_MS);
	ck_assert_str_eq(take_orders(), "+1024/8@1, rebuild, -1024/8@1");
	connect_with(1, START_MS);
	ck_assert_str_eq(take_orders(), "+1024/8@1, link up");
	tear_down();
}
END_TEST

START_TEST(events_are_limited_and_the_rest_is_counted)
{
	set_up();
	connect_with(1, START_MS);
	log_set_level(LOG_ERROR); // the lines themselves are not looked at
	for (uint32_t i = 0; i < SNAT_EVENTS_BURST + 5; i++) {
		report(i % 2 == 0 ? SNAT_REPORT_EXHAUSTED : SNAT_REPORT_NEAR_LIMIT, 0, 0, 0);
		reports_at(START_MS);
	}
	ck_assert_uint_eq(w.snat.counters.snat_events_suppressed, 5);
	report(SNAT_REPORT_EXHAUSTED, 0, 0, 0);
	reports_at(START_MS + 1000 / SNAT_EVENTS_PER_S);
	ck_assert_uint_eq(w.snat.counters.snat_events_suppressed, 5);
	ck_assert_uint_eq(w.snat.n_suppressed, 0); // told in that line
	ck_assert_str_eq(take_sent(), "");
	tear_down();
}
END_TEST

START_TEST(an_update_without_memory_is_refused_and_can_come_again)
{
	set_up();
	bool is_changed;
	struct lease l = lease_of(1024, 1, false);
	struct update u = { .replaces_leases = true, .leases = { .n = 1, .capacity = 1, .items = &l } };
	memory_fail_after(0);
	ck_assert_int_eq(snat_control_on_update(&w.snat, &u, &is_changed), ERR_NO_MEMORY);
	memory_fail_after(UINT64_MAX);
	ck_assert_int_eq(snat_control_on_update(&w.snat, &u, &is_changed), 0);
	ck_assert_str_eq(take_orders(), "+1024/8@1, rebuild");
	tear_down();
}
END_TEST

SUITE_MAIN("agent snat control", leases_reach_the_worker_once_and_then_the_count_of_flows,
           orders_that_have_no_room_wait_and_keep_their_order, what_is_reported_together_is_one_message,
           a_message_holds_a_bounded_number_of_operations, an_answer_follows_its_leases,
           a_return_is_asked_until_it_is_confirmed, a_return_is_asked_in_the_end_also_when_nothing_can_be_saved,
           a_lost_return_is_repeated_after_a_reconnect, the_worker_hears_of_the_link,
           a_link_that_refuses_a_message_loses_nothing,
           without_a_leader_for_long_no_lease_is_used_until_it_is_confirmed, a_gone_time_of_0_never_comes,
           a_restarted_agent_has_its_leases_at_once, leases_that_were_saved_too_long_ago_are_counted_but_not_used,
           events_are_limited_and_the_rest_is_counted, an_update_without_memory_is_refused_and_can_come_again)
