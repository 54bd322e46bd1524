// A cluster of real ananta-manager processes on the loopback address, and nodes that subscribe to it, for tests.
//
// Every wait has a deadline that ends the test. The processes die with the test.
#pragma once

#include <sys/types.h>

#include "common/io/manager_link.h"
#include "manager/cli/client.h"

#define CLUSTER_MAX 5
#define CLUSTER_WAIT_MS 20000

struct cluster {
	uint32_t n;
	char dir[64];
	struct {
		pid_t pid; // 0: not running
		char api[32];
		char config[96];
	} managers[CLUSTER_MAX];
	struct client *client; // knows all managers
};

void cluster_begin(struct cluster *c, uint32_t n); // and starts all
void cluster_begin_in(struct cluster *c, uint32_t n, const char *parent_dir);
void cluster_end(struct cluster *c);
void cluster_start(struct cluster *c, uint32_t i);
void cluster_kill(struct cluster *c, uint32_t i, int signal_number);
int cluster_wait_exit(struct cluster *c, uint32_t i); // the status of waitpid

// Waits until one leads and answers; its index.
uint32_t cluster_leader(struct cluster *c);

// Waits until the i-th manager has this version.
void cluster_wait_version(struct cluster *c, uint32_t i, uint64_t version);

// A command in the text of objects.h: the answer's code.
int cluster_command(struct cluster *c, const char *command, uint64_t *ret_version, struct error *err);
uint64_t cluster_must(struct cluster *c, const char *command);

// An answer to a request for ports, and what the agent held of that DIP at that moment.
struct test_reply {
	struct ip_addr dip;
	uint64_t seq;
	uint32_t n_ports;
	struct error err;
	uint32_t n_held_ports;
};

#define TEST_REPLIES_MAX 64

// A mux or agent: holds what it is told. On a loop of its own that does not run it is one that hangs.
struct test_node {
	uv_loop_t *loop;
	struct manager_link *link;
	const char *name;
	struct store store;
	struct error down_reason; // of the last time that the link went down
	uint32_t n_ups;
	uint32_t n_snapshots;
	bool ignores_leases; // for benchmarks: only acknowledges
	struct lease_list leases; // held
	uint64_t lease_version;
	uint32_t n_lease_snapshots;
	uint32_t n_fences; // that it was told
	bool is_fenced;
	bool reports; // sends what follows as a whole report whenever its link is up
	struct health_report health;
	const char *state; // that it tells; NULL: "ready"
	uint32_t n_replies; // ever
	struct test_reply replies[TEST_REPLIES_MAX]; // the i-th at i % TEST_REPLIES_MAX
};

// Sends a request for ports; false while there is no leader.
bool test_node_ask(struct test_node *n, const char *dip, uint64_t seq, uint32_t n_ports);
bool test_node_return(struct test_node *n, const struct lease *lease);

// What its probe of an endpoint ("203.0.113.10 tcp 80") at a DIP found; cause "" for healthy. Said at once when the link is up.
void test_node_probed(struct test_node *n, const char *dip, const char *endpoint, const char *cause);

// Tells a new state unasked.
void test_node_tell_state(struct test_node *n, const char *state);

const struct test_reply *test_node_last_reply(const struct test_node *n);
uint32_t test_node_ports(const struct test_node *n, const char *dip); // that it holds

void test_node_begin(struct test_node *n, uv_loop_t *loop, const struct cluster *c, enum node_role role,
                     const char *name, const char *addr);
void test_node_end(struct test_node *n);

// Runs a loop until the condition holds.
struct wait {
	uv_timer_t timer;
};
void wait_begin(struct wait *w, uv_loop_t *loop);
void wait_end(struct wait *w);

#define RUN_UNTIL(loop, condition)     \
	do {                               \
		struct wait wait_;             \
		wait_begin(&wait_, loop);      \
		while (!(condition))           \
			uv_run(loop, UV_RUN_ONCE); \
		wait_end(&wait_);              \
	} while (0)
