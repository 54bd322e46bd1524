// The real anantactl against a manager that is played here, so that leases and agents are what each test says.
#include "tests/support/suite.h"

#include <string.h>

#include "common/base/memory.h"
#include "tests/unit/manager/ctl.h"
#include "tests/unit/manager/objects.h"
#include "tests/unit/manager/played.h"

#define T0 1795514400000ull // 2026-11-24T10:00:00Z
#define MINUTE 60000ull
#define LEASES_PER_PART 2

static const char state_text[] =
	"cluster 7 ; host host1 10.0.0.21 ; host host2 10.0.0.22 ; settings 90 ; "
	"dip 10.1.1.11 host1 vm1 if1 02:00:00:00:00:01 ; dip 10.1.1.12 host2 vm2 if2 02:00:00:00:00:02 ; "
	"vip 203.0.113.10 shop snat 10.1.1.11 10.1.1.12 10.1.1.13 ; "
	"vip 203.0.113.11 shop web tcp 80 10.1.1.11:8080 ; vip 203.0.113.12 shop snat 10.1.1.11 ; "
	"dip 2001:db8:1::11 host1 vm1 if1 02:00:00:00:00:01 ; vip 2001:db8:f::10 shop snat 2001:db8:1::11";

// What the played manager knows.
static struct lease_list all_leases;
static struct snat_pool_status pool;
static uint64_t log_since_ms;
static struct error refusal; // of commands, when its code is set
static bool is_silent_on_agents; // as if no agent were connected

// ---- the manager ----

static void send_state(struct conn *c, uint64_t request_id)
{
	struct message m = { .type = MESSAGE_UPDATE, .request_id = request_id };
	m.update.to_version = 5;
	m.update.changes = changes_of(state_text);
	for (uint32_t i = 0; i < m.update.changes.n; i++)
		if (m.update.changes.items[i].key.kind == OBJECT_VIP)
			ck_assert_int_eq(vip_config_validate(m.update.changes.items[i].vip, &(struct error){ 0 }), 0);
	(void)conn_send(c, &m);
	message_fini(&m);
}

static bool is_asked_for(const struct message *m, const struct lease *lease)
{
	uint64_t at_ms = m->leases_request.at_ms;
	if (!ip_addr_is_unspecified(&m->leases_request.vip) && !ip_addr_equal(&m->leases_request.vip, &lease->vip))
		return false;
	if (m->leases_request.port != 0 && !lease_has_port(lease, m->leases_request.port))
		return false;
	if (at_ms == 0)
		return lease->ended_ms == 0 || m->leases_request.port != 0;
	return lease->granted_ms <= at_ms && (lease->ended_ms == 0 || at_ms < lease->ended_ms);
}

// Also an empty last part is one.
static void send_leases(struct conn *c, const struct message *request)
{
	struct message m = { .type = MESSAGE_LEASES_REPLY, .request_id = request->request_id };
	m.leases.n_pools = 1;
	m.leases.pools = &pool;
	m.leases.log_since_ms = log_since_ms;
	for (uint32_t i = 0; i < all_leases.n; i++) {
		if (!is_asked_for(request, &all_leases.items[i]))
			continue;
		ck_assert_int_eq(lease_list_append(&m.leases.leases, &all_leases.items[i]), 0);
		m.leases.more = m.leases.leases.n == LEASES_PER_PART;
		if (!m.leases.more)
			continue;
		(void)conn_send(c, &m);
		lease_list_fini(&m.leases.leases);
		m.leases.n_pools = 0; // only in the first part
		m.leases.pools = NULL;
	}
	m.leases.more = false;
	(void)conn_send(c, &m);
	lease_list_fini(&m.leases.leases);
}

static void send_nodes(struct conn *c, const struct message *request)
{
	struct dip_status dips[] = {
		{ .dip = addr_of("10.1.1.11"),
		  .state = "attached",
		  .snat = { .leased_ports = 16,
		            .used_ports = 13,
		            .flows = 20,
		            .held_packets = 3,
		            .refused = 7,
		            .n_busiest = 3,
		            .busiest = { { addr_of("198.51.100.7"), 443, 6, 13 },
		                         { addr_of("198.51.100.8"), 53, 17, 2 },
		                         { addr_of("198.51.100.9"), 0, 1, 1 } } } },
		// It has not heard that this one is host2's now.
		{ .dip = addr_of("10.1.1.12"), .state = "attached", .snat = { .leased_ports = 999, .used_ports = 999 } },
		{ .dip = addr_of("2001:db8:1::11"),
		  .state = "attached",
		  .snat = { .leased_ports = 8,
		            .used_ports = 8,
		            .n_busiest = 2,
		            .busiest = { { addr_of("2001:db8:9::7"), 443, 6, 8 }, { addr_of("2001:db8:9::8"), 0, 58, 1 } } } },
	};
	struct node_status nodes[] = {
		{ .name = "host1", .role = ROLE_AGENT, .state = "ready", .n_dips = 3, .dips = dips },
		{ .name = "host2", .role = ROLE_AGENT, .state = "unreachable" },
	};
	struct message m = { .type = MESSAGE_NODES_REPLY, .request_id = request->request_id };
	m.nodes.n = is_silent_on_agents ? 0 : 2;
	m.nodes.items = nodes;
	(void)conn_send(c, &m);
}

// Which operation came is told by the version: its port, or 4242 for all of a DIP.
static void answer_command(struct conn *c, const struct message *m)
{
	struct message reply = { .type = MESSAGE_COMMAND_REPLY, .request_id = m->request_id };
	const struct snat_op *op = m->ops.items;
	struct ip_addr dip = addr_of("10.1.1.11");
	bool is_by_dip = m->ops.n == 1 && ip_addr_is_unspecified(&op->vip) && ip_addr_equal(&op->dip, &dip);
	if (m->changes.n == 0 && m->ops.n == 1 && op->kind == SNAT_REVOKE)
		reply.version = is_by_dip ? 4242 : op->first_port;
	if (refusal.code != 0)
		(void)conn_send_error(c, m->request_id, &refusal);
	else
		(void)conn_send(c, &reply);
}

static void send_cluster(struct conn *c, const struct message *request)
{
	struct message m = { .type = MESSAGE_CLUSTER_REPLY, .request_id = request->request_id };
	m.cluster = (struct cluster_reply){ .id = 1,
		                                .is_leader = true,
		                                .leader_id = 1,
		                                .n_counters = 2,
		                                .counters = { { "snat_requests", 17 }, { "snat_fences", 3 } } };
	(void)conn_send(c, &m);
}

static void on_message(struct conn *c, struct message *m, void *user)
{
	if (m->type == MESSAGE_STATE_REQUEST)
		send_state(c, m->request_id);
	else if (m->type == MESSAGE_LEASES_REQUEST)
		send_leases(c, m);
	else if (m->type == MESSAGE_NODES_REQUEST)
		send_nodes(c, m);
	else if (m->type == MESSAGE_CLUSTER_REQUEST)
		send_cluster(c, m);
	else if (m->type == MESSAGE_COMMAND_REQUEST)
		answer_command(c, m);
}

static void add_lease(const char *vip, uint16_t first_port, const char *dip, uint64_t granted_ms, uint64_t ended_ms)
{
	struct lease lease = { .vip = addr_of(vip),
		                   .dip = addr_of(dip),
		                   .first_port = first_port,
		                   .n_ports = 8,
		                   .epoch = all_leases.n + 1,
		                   .granted_ms = granted_ms,
		                   .ended_ms = ended_ms };
	ck_assert_int_eq(lease_list_append(&all_leases, &lease), 0);
}

// Begins with what the tests share; what they change stands before.
static void begin(void)
{
	add_lease("203.0.113.10", 2056, "10.1.1.12", T0 - 60 * MINUTE, T0 - 30 * MINUTE);
	add_lease("203.0.113.12", 1024, "10.1.1.11", T0 + 123, 0);
	add_lease("203.0.113.10", 2064, "10.1.1.11", T0 + MINUTE, 0);
	add_lease("203.0.113.10", 2056, "10.1.1.11", T0, 0);
	add_lease("203.0.113.10", 2072, "10.1.1.12", T0, 0);
	played_begin(on_message);
}

static void end(void)
{
	played_end();
	lease_list_fini(&all_leases);
}

static void set_pool(uint32_t n_ports, uint32_t n_held, uint32_t n_quarantined)
{
	pool = (struct snat_pool_status){
		.vip = addr_of("203.0.113.10"), .n_ports = n_ports, .n_held = n_held, .n_quarantined = n_quarantined
	};
}

// ---- snat show ----

START_TEST(show_puts_together_what_managers_and_agents_know)
{
	set_pool(64512, 24, 8);
	begin();
	CHECK_RUN("ctl snat show 203.0.113.10", 0,
	          "vip          203.0.113.10\n"
	          "ports        64512\n"
	          "leased       24 (0 %)\n"
	          "quarantined  8\n"
	          "free         64480\n\n",
	          "DIP        HOST   VM   LEASED  LIMIT  USED  FLOWS  WAITING  REFUSED\n"
	          "10.1.1.11  host1  vm1      16  16384    13     20        3        7\n"
	          "10.1.1.12  host2  vm2       8  16384     -      -        -        -\n"
	          "10.1.1.13  -      -         0  16384     -      -        -        -\n\n",
	          "DIP        DESTINATION       PROTOCOL  PORTS  OF  PERCENT\n"
	          "10.1.1.11  198.51.100.7:443  tcp          13  16       81\n"
	          "10.1.1.11  198.51.100.8:53   udp           2  16       12\n"
	          "10.1.1.11  198.51.100.9      icmp          1  16        6\n");
	ck_assert_ptr_null(strstr(ctl_output, "note"));
	ck_assert_ptr_null(strstr(ctl_output, "999"));
	CHECK_RUN("ctl snat show 203.0.113.10 -o json", 0, "\"ports\": 64512,", "\"leased\": 24,", "\"quarantined\": 8,",
	          "\"free\": 64480,", "\"leased_percent\": 0,", "\"host\": null,", "\"agent\": null", "\"waiting\": 3,",
	          "\"refused\": 7,", "\"address\": \"198.51.100.7\"", "\"protocol\": \"icmp\"");
	end();
}
END_TEST

START_TEST(show_warns_at_80_percent_and_when_nothing_is_free)
{
	static const struct {
		uint32_t n_held, n_quarantined;
		const char *text;
	} rows[] = {
		{ 799, 0, "leased       799 (79 %)\nquarantined  0\nfree         201\n\nDIP" },
		{ 800, 0, "free         200\nnote         at least 80 % are leased: add a VIP" },
		{ 999, 0, "free         1\nnote         at least 80 % are leased: add a VIP" },
		{ 1000, 0, "leased       1000 (100 %)\nquarantined  0\nfree         0\nnote         no port is free" },
		{ 700, 300, "leased       700 (70 %)\nquarantined  300\nfree         0\nnote         no port is free" },
	};
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		set_pool(1000, rows[i].n_held, rows[i].n_quarantined);
		begin();
		CHECK_RUN("ctl snat show 203.0.113.10", 0, rows[i].text);
		end();
	}
}
END_TEST

START_TEST(show_works_without_any_agent)
{
	set_pool(64512, 24, 0);
	is_silent_on_agents = true;
	begin();
	CHECK_RUN("ctl snat show 203.0.113.10", 0, "10.1.1.11  host1  vm1      16  16384     -      -        -        -\n");
	ck_assert_ptr_null(strstr(ctl_output, "DESTINATION"));
	end();
}
END_TEST

START_TEST(show_refuses_what_has_no_snat)
{
	begin();
	CHECK_RUN("ctl snat show 203.0.113.11", 1, "anantactl: vip: 203.0.113.11 has no snat list\n");
	CHECK_RUN("ctl snat show 203.0.113.99", 1, "anantactl: vip: 203.0.113.99 is not configured\n");
	end();
}
END_TEST

// ---- snat list ----

START_TEST(list_shows_the_leases_that_are_held_in_order)
{
	begin();
	CHECK_RUN("ctl snat list", 0,
	          "VIP           PORTS      DIP        HOST   SINCE                     EPOCH\n"
	          "203.0.113.10  2056-2063  10.1.1.11  host1  2026-11-24T10:00:00.000Z      4\n"
	          "203.0.113.10  2064-2071  10.1.1.11  host1  2026-11-24T10:01:00.000Z      3\n"
	          "203.0.113.10  2072-2079  10.1.1.12  host2  2026-11-24T10:00:00.000Z      5\n"
	          "203.0.113.12  1024-1031  10.1.1.11  host1  2026-11-24T10:00:00.123Z      2\n");
	CHECK_RUN("ctl snat list --vip 203.0.113.12", 0, "EPOCH\n203.0.113.12  1024-1031");
	CHECK_RUN("ctl snat list --dip 10.1.1.12", 0, "EPOCH\n203.0.113.10  2072-2079");
	CHECK_RUN("ctl snat list --dip 10.1.1.11 --vip 203.0.113.12", 0, "EPOCH\n203.0.113.12  1024-1031");
	CHECK_RUN("ctl snat list --dip 10.1.1.13 -o json", 0, "[]\n");
	CHECK_RUN("ctl snat list --vip 203.0.113.12 -o json", 0, "\"first_port\": 1024,", "\"last_port\": 1031,",
	          "\"since\": \"2026-11-24T10:00:00.123Z\"", "\"until\": null", "\"vm\": \"vm1\"");
	end();
}
END_TEST

START_TEST(leases_that_come_twice_are_shown_once)
{
	begin();
	end();
	add_lease("203.0.113.10", 4096, "10.1.1.13", T0, 0);
	ck_assert_int_eq(lease_list_append(&all_leases, &all_leases.items[0]), 0);
	begin();
	CHECK_RUN("ctl snat list --dip 10.1.1.13", 0, "4096-4103  10.1.1.13  -     2026-11-24T10:00:00.000Z      1\n");
	ck_assert_ptr_eq(strstr(ctl_output, "4096"), strchr(ctl_output, '\n') + 1 + strlen("203.0.113.10  "));
	ck_assert_ptr_null(strstr(strstr(ctl_output, "4096") + 1, "4096"));
	end();
}
END_TEST

// ---- snat whohad ----

START_TEST(whohad_without_a_time_says_who_has_it_and_who_had_it)
{
	begin();
	CHECK_RUN("ctl snat whohad 203.0.113.10:2060", 0,
	          "VIP           PORTS      DIP        HOST   SINCE                     UNTIL                     EPOCH\n"
	          "203.0.113.10  2056-2063  10.1.1.12  host2  2026-11-24T09:00:00.000Z  2026-11-24T09:30:00.000Z      1\n"
	          "203.0.113.10  2056-2063  10.1.1.11  host1  2026-11-24T10:00:00.000Z  -                             4\n");
	CHECK_RUN("ctl snat whohad 203.0.113.10:80", 0, "nobody\n");
	end();
}
END_TEST

START_TEST(addresses_of_ipv6_stand_in_brackets_where_a_port_follows)
{
	pool = (struct snat_pool_status){ .vip = addr_of("2001:db8:f::10"), .n_ports = 64512, .n_held = 8 };
	add_lease("2001:db8:f::10", 2056, "2001:db8:1::11", T0, 0);
	begin();
	CHECK_RUN("ctl snat whohad '[2001:db8:f::10]:2060'", 0,
	          "VIP             PORTS      DIP             HOST   SINCE                     UNTIL  EPOCH\n"
	          "2001:db8:f::10  2056-2063  2001:db8:1::11  host1  2026-11-24T10:00:00.000Z  -          1\n");
	CHECK_RUN("ctl snat list --vip 2001:db8:f::10 -o json", 0, "\"vip\": \"2001:db8:f::10\"",
	          "\"dip\": \"2001:db8:1::11\"");
	CHECK_RUN("ctl snat show 2001:db8:f::10", 0, "vip          2001:db8:f::10\n",
	          "DIP             DESTINATION          PROTOCOL  PORTS  OF  PERCENT\n"
	          "2001:db8:1::11  [2001:db8:9::7]:443  tcp           8   8      100\n"
	          "2001:db8:1::11  2001:db8:9::8        icmp          1   8       12\n");
	CHECK_RUN("ctl snat revoke '[2001:db8:f::10]:2056'", 0, "[2001:db8:f::10]:2056-2063 taken from 2001:db8:1::11\n");
	end();
}
END_TEST

START_TEST(whohad_at_a_time_says_who_had_it_then)
{
	static const struct {
		const char *at;
		const char *text;
	} rows[] = {
		{ "2026-11-24T08:59:59.999Z", "nobody\n" },
		{ "2026-11-24T09:00:00Z", "EPOCH\n203.0.113.10  2056-2063  10.1.1.12  host2" },
		{ "2026-11-24T09:29:59.999Z", "EPOCH\n203.0.113.10  2056-2063  10.1.1.12  host2" },
		{ "2026-11-24T09:30:00Z", "nobody\n" },
		{ "2026-11-24T10:00:00Z", "EPOCH\n203.0.113.10  2056-2063  10.1.1.11  host1" },
		{ "1795514400", "EPOCH\n203.0.113.10  2056-2063  10.1.1.11  host1" },
	};
	begin();
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		char command[128];
		(void)text_format(command, sizeof command, "ctl snat whohad 203.0.113.10:2056 --at %s", rows[i].at);
		CHECK_RUN(command, 0, rows[i].text);
	}
	CHECK_RUN("ctl snat whohad 203.0.113.10:2056 --at 1795510800 -o json", 0, "\"at\": \"2026-11-24T09:00:00.000Z\"",
	          "\"before_log\": false", "\"log_since\": null", "\"dip\": \"10.1.1.12\"",
	          "\"until\": \"2026-11-24T09:30:00.000Z\"");
	end();
}
END_TEST

START_TEST(whohad_says_how_far_back_the_log_reaches)
{
	log_since_ms = T0 - 10 * MINUTE;
	begin();
	CHECK_RUN(
		"ctl snat whohad 203.0.113.10:2064 --at 2026-11-24T09:00:00Z", 0,
		"nobody that is known\nthe log reaches back to 2026-11-24T09:50:00.000Z: what ended before is not known any "
		"more\n");
	CHECK_RUN("ctl snat whohad 203.0.113.10:2064 --at 2026-11-24T09:00:00Z -o json", 0, "\"before_log\": true",
	          "\"leases\": []", "\"log_since\": \"2026-11-24T09:50:00.000Z\"");
	CHECK_RUN("ctl snat whohad 203.0.113.10:2064 --at 2026-11-24T09:50:00Z", 0, "nobody\n");
	end();
}
END_TEST

// ---- snat revoke ----

START_TEST(revoke_takes_a_lease_or_all_of_a_dip)
{
	begin();
	CHECK_RUN("ctl snat revoke 203.0.113.10:2060", 0,
	          "203.0.113.10:2056-2063 taken from 10.1.1.11\nConnections that used these ports are cut",
	          "after 90 s at the earliest");
	CHECK_RUN("ctl snat revoke 203.0.113.10:2060 -o json", 0, "\"result\": \"revoked\"", "\"version\": 2060",
	          "\"first_port\": 2056");
	CHECK_RUN("ctl snat revoke --dip 10.1.1.11", 0,
	          "203.0.113.10:2056-2063 taken from 10.1.1.11\n203.0.113.10:2064-2071 taken from 10.1.1.11\n"
	          "203.0.113.12:1024-1031 taken from 10.1.1.11\nConnections");
	CHECK_RUN("ctl snat revoke --dip 10.1.1.11 -o json", 0, "\"version\": 4242");
	CHECK_RUN("ctl snat revoke 203.0.113.10:80", 1, "anantactl: snat: 203.0.113.10:80 is leased to nobody\n");
	CHECK_RUN("ctl snat revoke --dip 10.1.1.13", 1, "anantactl: snat: 10.1.1.13 holds no lease\n");
	end();
}
END_TEST

START_TEST(revoke_does_not_print_a_thousand_lines)
{
	for (uint16_t i = 0; i < 1000; i++)
		add_lease("203.0.113.10", (uint16_t)(8192 + 8 * i), "10.1.1.13", T0, 0);
	begin();
	CHECK_RUN("ctl snat revoke --dip 10.1.1.13", 0, "203.0.113.10:8192-8199 taken", "203.0.113.10:8344-8351 taken",
	          "\n... and 980 leases more\nConnections");
	ck_assert_ptr_null(strstr(ctl_output, "8352-"));
	CHECK_RUN("ctl snat list --dip 10.1.1.13 | wc -l", 0, "1001\n");
	end();
}
END_TEST

START_TEST(revoke_says_why_the_managers_refuse)
{
	refusal = (struct error){ .code = ERR_NOT_FOUND, .text = "snat: not today" };
	begin();
	CHECK_RUN("ctl snat revoke 203.0.113.10:2060", 1, "anantactl: snat: not today\n");
	ck_assert_ptr_null(strstr(ctl_output, "taken"));
	end();
}
END_TEST

// ---- cluster status ----

START_TEST(the_status_of_the_cluster_has_the_leaders_counters)
{
	begin();
	CHECK_RUN("ctl cluster status", 0, "\n\nCOUNTER        VALUE\nsnat_requests     17\nsnat_fences        3\n");
	CHECK_RUN("ctl cluster status -o json", 0, "\"counters\": {\n", "\"snat_requests\": 17,", "\"snat_fences\": 3\n");
	end();
}
END_TEST

SUITE_MAIN("cli_snat", show_puts_together_what_managers_and_agents_know,
           show_warns_at_80_percent_and_when_nothing_is_free, show_works_without_any_agent,
           show_refuses_what_has_no_snat, list_shows_the_leases_that_are_held_in_order,
           leases_that_come_twice_are_shown_once, whohad_without_a_time_says_who_has_it_and_who_had_it,
           addresses_of_ipv6_stand_in_brackets_where_a_port_follows, whohad_at_a_time_says_who_had_it_then,
           whohad_says_how_far_back_the_log_reaches, revoke_takes_a_lease_or_all_of_a_dip,
           revoke_does_not_print_a_thousand_lines, revoke_says_why_the_managers_refuse,
           the_status_of_the_cluster_has_the_leaders_counters)
