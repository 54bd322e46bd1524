// Three replicas of a small state machine in one process, on one loop and real sockets and disks.
#include "tests/support/suite.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "common/base/memory.h"
#include "common/base/text.h"
#include "common/io/log.h"
#include "manager/raft/replica.h"
#include "tests/unit/manager/ports.h"

// The Raft library (0.22.1) forgets some 150 bytes of members at each snapshot; ASan's leak check is not about that.
const char *__lsan_default_suppressions(void);

const char *__lsan_default_suppressions(void)
{
	return "leak:libraft.so\n";
}

enum { N = 3, WAIT_MS = 20000 };

// The machine: a running sum and a count; adding 13 is refused.
struct machine {
	uint64_t n_applied;
	uint64_t sum;
	bool leads;
};

struct member {
	struct replica *replica;
	struct machine machine;
	char dir[64];
	char address[32];
	bool is_stopped;
};

static uv_loop_t loop;
static uv_timer_t deadline;
static char top[] = "/tmp/test-replica-XXXXXX";
static struct member members[N];
static uint32_t snapshot_threshold;

static int machine_apply(const uint8_t *bytes, size_t n, uint64_t *ret_version, struct error *err, void *user)
{
	struct machine *m = user;
	uint64_t value;
	ck_assert_uint_ge(n, sizeof value); // the rest is ballast
	memcpy(&value, bytes, sizeof value);
	if (value == 13)
		return error_set(err, ERR_INVALID, "13 is not added");
	m->sum += value;
	*ret_version = ++m->n_applied;
	return 0;
}

static int machine_snapshot(uint8_t **ret_bytes, size_t *ret_n, void *user)
{
	const struct machine *m = user;
	*ret_bytes = memory_copy(m, 2 * sizeof(uint64_t));
	*ret_n = 2 * sizeof(uint64_t);
	return 0;
}

static int machine_restore(const uint8_t *bytes, size_t n, struct error *err, void *user)
{
	struct machine *m = user;
	ck_assert_uint_eq(n, 2 * sizeof(uint64_t));
	memcpy(m, bytes, n);
	return 0;
}

static void machine_on_leadership(bool leads, void *user)
{
	struct machine *m = user;
	m->leads = leads;
}

static struct replica_config config_of(unsigned i)
{
	struct replica_config config = {
		.id = i + 1,
		.data_dir = members[i].dir,
		.n_members = N,
		.heartbeat_ms = 40,
		.election_ms = 400,
		.snapshot_threshold = snapshot_threshold,
		.snapshot_trailing = snapshot_threshold / 2,
		.machine = { .apply = machine_apply,
		             .snapshot = machine_snapshot,
		             .restore = machine_restore,
		             .on_leadership = machine_on_leadership,
		             .user = &members[i].machine },
	};
	for (unsigned k = 0; k < N; k++)
		config.members[k] = (struct replica_member){ .id = k + 1, .address = members[k].address };
	return config;
}

static void start(unsigned i)
{
	struct replica_config config = config_of(i);
	struct error err = { 0 };
	memset(&members[i].machine, 0, sizeof members[i].machine);
	ck_assert_msg(replica_create(&loop, &config, &members[i].replica, &err) == 0, "%s", err.text);
}

static void on_stopped(void *user)
{
	((struct member *)user)->is_stopped = true;
}

static void on_deadline(uv_timer_t *timer)
{
	for (unsigned i = 0; i < N; i++)
		fprintf(stderr, "replica %u: applied %llu leads %d\n", i + 1, (unsigned long long)members[i].machine.n_applied,
		        members[i].machine.leads);
	ck_abort_msg("not in time");
}

// Runs the loop until the condition holds; the timer ends the test when it never does.
#define RUN_UNTIL(condition)                                \
	do {                                                    \
		uv_timer_start(&deadline, on_deadline, WAIT_MS, 0); \
		while (!(condition))                                \
			uv_run(&loop, UV_RUN_ONCE);                     \
		uv_timer_stop(&deadline);                           \
	} while (0)

static void stop(unsigned i)
{
	members[i].is_stopped = false;
	replica_stop(members[i].replica, on_stopped, &members[i]);
	RUN_UNTIL(members[i].is_stopped);
	members[i].replica = NULL;
}

static void begin(void)
{
	uint16_t ports[N];
	signal(SIGPIPE, SIG_IGN);
	log_set_level(LOG_ERROR);
	uv_loop_init(&loop);
	uv_timer_init(&loop, &deadline);
	ck_assert_ptr_nonnull(mkdtemp(top));
	find_free_ports(ports, N);
	for (unsigned i = 0; i < N; i++) {
		(void)text_format(members[i].dir, sizeof members[i].dir, "%s/made/%u", top, i);
		(void)text_format(members[i].address, sizeof members[i].address, "127.0.0.1:%u", ports[i]);
	}
}

static void end(void)
{
	char command[128];
	for (unsigned i = 0; i < N; i++)
		if (members[i].replica != NULL)
			stop(i);
	uv_close((uv_handle_t *)&deadline, NULL);
	uv_run(&loop, UV_RUN_DEFAULT);
	ck_assert_int_eq(uv_loop_close(&loop), 0); // nothing was left open
	(void)text_format(command, sizeof command, "rm -r %s", top);
	ck_assert_int_eq(system(command), 0);
}

static struct member *leader(void)
{
	struct member *found = NULL;
	for (unsigned i = 0; i < N; i++)
		if (members[i].replica != NULL && replica_leads(members[i].replica))
			found = &members[i];
	return found;
}

struct outcome {
	bool is_done;
	int code;
	uint64_t version;
};

static void on_result(const struct error *err, uint64_t version, void *user)
{
	struct outcome *o = user;
	*o = (struct outcome){ .is_done = true, .code = err->code, .version = version };
}

static struct outcome propose(struct member *m, uint64_t value)
{
	struct outcome o = { 0 };
	struct error err = { 0 };
	ck_assert_msg(replica_propose(m->replica, (uint8_t *)&value, sizeof value, on_result, &o, &err) == 0, "%s",
	              err.text);
	ck_assert(!o.is_done);
	RUN_UNTIL(o.is_done);
	return o;
}

static bool all_have_applied(uint64_t n)
{
	for (unsigned i = 0; i < N; i++)
		if (members[i].replica != NULL && members[i].machine.n_applied != n)
			return false;
	return true;
}

START_TEST(three_replicas_elect_a_leader_and_agree)
{
	begin();
	for (unsigned i = 0; i < N; i++)
		start(i);
	RUN_UNTIL(leader() != NULL);
	for (uint64_t i = 1; i <= 20; i++)
		ck_assert_uint_eq(propose(leader(), 100 + i).version, i);
	RUN_UNTIL(all_have_applied(20));
	for (unsigned i = 0; i < N; i++) {
		ck_assert_uint_eq(members[i].machine.sum, 2210);
		ck_assert_uint_eq(replica_leader_id(members[i].replica), (uint64_t)(leader() - members) + 1);
		ck_assert_uint_eq(replica_term(members[i].replica), replica_term(leader()->replica));
	}
	end();
}
END_TEST

START_TEST(a_refusal_of_the_machine_comes_back_to_who_proposed)
{
	begin();
	for (unsigned i = 0; i < N; i++)
		start(i);
	RUN_UNTIL(leader() != NULL);
	ck_assert_int_eq(propose(leader(), 13).code, ERR_INVALID);
	ck_assert_int_eq(propose(leader(), 12).code, 0);
	RUN_UNTIL(all_have_applied(1));
	end();
}
END_TEST

START_TEST(what_cannot_be_proposed_is_refused_at_once)
{
	struct outcome o = { 0 };
	struct error err = { 0 };
	static uint8_t large[REPLICA_COMMAND_MAX_BYTES + 1];
	begin();
	for (unsigned i = 0; i < N; i++)
		start(i);
	RUN_UNTIL(leader() != NULL);
	struct replica *follower = members[leader() == &members[0] ? 1 : 0].replica;
	ck_assert_int_eq(replica_propose(follower, large, 8, on_result, &o, &err), ERR_NOT_LEADER);
	ck_assert_int_eq(replica_propose(leader()->replica, large, sizeof large, on_result, &o, &err), ERR_LIMIT);
	ck_assert_int_eq(replica_propose(leader()->replica, large, sizeof large - 1, on_result, &o, &err), 0);
	RUN_UNTIL(o.is_done);
	ck_assert_int_eq(o.code, 0);
	RUN_UNTIL(all_have_applied(1));
	end();
}
END_TEST

START_TEST(only_so_many_proposals_wait_and_all_get_their_result)
{
	static struct outcome outcomes[REPLICA_PENDING_MAX];
	uint64_t value = 1;
	struct error err = { 0 };
	begin();
	for (unsigned i = 0; i < N; i++)
		start(i);
	RUN_UNTIL(leader() != NULL);
	struct replica *r = leader()->replica;
	for (unsigned i = 0; i < REPLICA_PENDING_MAX; i++)
		ck_assert_int_eq(replica_propose(r, (uint8_t *)&value, sizeof value, on_result, &outcomes[i], &err), 0);
	ck_assert_int_eq(replica_propose(r, (uint8_t *)&value, sizeof value, on_result, &outcomes[0], &err), ERR_LIMIT);
	RUN_UNTIL(all_have_applied(REPLICA_PENDING_MAX) && outcomes[REPLICA_PENDING_MAX - 1].is_done);
	for (unsigned i = 0; i < REPLICA_PENDING_MAX; i++)
		ck_assert_msg(outcomes[i].code == 0 && outcomes[i].version == i + 1, "%u", i);
	end();
}
END_TEST

START_TEST(a_new_leader_has_everything_and_the_old_one_catches_up)
{
	begin();
	for (unsigned i = 0; i < N; i++)
		start(i);
	for (uint64_t n = 0; n < 5; n++) {
		RUN_UNTIL(leader() != NULL);
		ck_assert_uint_eq(propose(leader(), n).version, n + 1);
		unsigned gone = (unsigned)(leader() - members);
		stop(gone);
		RUN_UNTIL(leader() != NULL);
		start(gone);
		RUN_UNTIL(all_have_applied(n + 1));
	}
	end();
}
END_TEST

START_TEST(proposals_of_a_leader_that_stops_get_a_result)
{
	struct outcome o = { 0 };
	struct error err = { 0 };
	uint64_t value = 1;
	begin();
	for (unsigned i = 0; i < N; i++)
		start(i);
	RUN_UNTIL(leader() != NULL);
	ck_assert_int_eq(replica_propose(leader()->replica, (uint8_t *)&value, sizeof value, on_result, &o, &err), 0);
	stop((unsigned)(leader() - members));
	ck_assert(o.is_done);
	ck_assert_int_eq(o.code, ERR_UNAVAILABLE);
	end();
}
END_TEST

START_TEST(a_leader_without_a_majority_stops_to_lead)
{
	begin();
	for (unsigned i = 0; i < N; i++)
		start(i);
	RUN_UNTIL(leader() != NULL);
	struct member *alone = leader();
	for (unsigned i = 0; i < N; i++)
		if (&members[i] != alone)
			stop(i);
	struct outcome o = { 0 };
	struct error err = { 0 };
	uint64_t value = 1;
	ck_assert_int_eq(replica_propose(alone->replica, (uint8_t *)&value, sizeof value, on_result, &o, &err), 0);
	RUN_UNTIL(o.is_done);
	ck_assert_int_eq(o.code, ERR_TIMEOUT); // nobody can know
	RUN_UNTIL(!alone->machine.leads);
	ck_assert_int_eq(replica_propose(alone->replica, (uint8_t *)&value, sizeof value, on_result, &o, &err),
	                 ERR_NOT_LEADER);
	end();
}
END_TEST

START_TEST(all_stopped_and_started_again_know_what_was_acknowledged)
{
	begin();
	for (uint64_t round = 0; round < 3; round++) {
		for (unsigned i = 0; i < N; i++)
			start(i);
		RUN_UNTIL(leader() != NULL);
		ck_assert_uint_eq(propose(leader(), 100).version, round + 1);
		for (unsigned i = 0; i < N; i++)
			stop(i);
	}
	end();
}
END_TEST

START_TEST(a_replica_that_was_away_for_long_gets_a_snapshot)
{
	snapshot_threshold = 64;
	begin();
	start(0);
	start(1);
	for (uint64_t i = 1; i <= 500; i++) {
		RUN_UNTIL(leader() != NULL);
		ck_assert_uint_eq(propose(leader(), 1).version, i);
	}
	start(2);
	RUN_UNTIL(all_have_applied(500));
	ck_assert_uint_eq(members[2].machine.sum, 500);
	for (unsigned i = 0; i < N; i++)
		stop(i);
	for (unsigned i = 0; i < N; i++)
		start(i);
	RUN_UNTIL(leader() != NULL);
	ck_assert_uint_eq(propose(leader(), 1).version, 501);
	RUN_UNTIL(all_have_applied(501));
	snapshot_threshold = 0;
	end();
}
END_TEST

START_TEST(a_data_dir_serves_one_replica_of_one_cluster)
{
	struct replica *other = NULL;
	struct error err = { 0 };
	begin();
	start(0);
	struct replica_config config = config_of(0);
	ck_assert_int_eq(replica_create(&loop, &config, &other, &err), ERR_CONFLICT);
	ck_assert_ptr_nonnull(strstr(err.text, "another process runs on"));
	stop(0);
	config = config_of(1);
	config.data_dir = members[0].dir;
	ck_assert_int_eq(replica_create(&loop, &config, &other, &err), ERR_CONFLICT);
	ck_assert_ptr_nonnull(strstr(err.text, "is that of replica 1, not of 2"));
	config = config_of(0);
	config.members[2].address = "127.0.0.1:1";
	ck_assert_int_eq(replica_create(&loop, &config, &other, &err), ERR_CONFLICT);
	ck_assert_ptr_nonnull(strstr(err.text, "data_dir knows replica 3 at 127.0.0.1:"));
	config = config_of(0);
	config.n_members = 2;
	ck_assert_int_eq(replica_create(&loop, &config, &other, &err), ERR_CONFLICT);
	config = config_of(0);
	config.data_dir = "/proc/nowhere";
	ck_assert_int_eq(replica_create(&loop, &config, &other, &err), ERR_IO);
	ck_assert_ptr_nonnull(strstr(err.text, "data_dir: cannot make /proc/nowhere"));
	ck_assert_ptr_null(other);
	end();
}
END_TEST

SUITE_MAIN("replica", three_replicas_elect_a_leader_and_agree, a_refusal_of_the_machine_comes_back_to_who_proposed,
           what_cannot_be_proposed_is_refused_at_once, only_so_many_proposals_wait_and_all_get_their_result,
           a_new_leader_has_everything_and_the_old_one_catches_up, proposals_of_a_leader_that_stops_get_a_result,
           a_leader_without_a_majority_stops_to_lead, all_stopped_and_started_again_know_what_was_acknowledged,
           a_replica_that_was_away_for_long_gets_a_snapshot, a_data_dir_serves_one_replica_of_one_cluster)
