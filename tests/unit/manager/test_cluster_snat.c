// Leases on real managers, as processes: the order of an answer, muxes that hang, leaders that die.
#include "tests/support/suite.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "tests/unit/manager/cluster.h"
#include "tests/unit/manager/objects.h"

#define SEQ 1700000000000000ULL

static struct cluster cluster;
static uv_loop_t loop;

static void begin(uint32_t n)
{
	uv_loop_init(&loop);
	cluster_begin(&cluster, n);
	cluster_must(&cluster, "settings 0 rate=1000 ; host host1 10.0.0.21 ; host host2 10.0.0.22");
	cluster_must(&cluster, "dip 10.1.1.11 host1 vm1 if1 02:00:00:00:00:01 ; dip 10.1.1.12 host1 vm2 if2 "
	                       "02:00:00:00:00:02 ; dip 10.1.2.11 host2 vm3 if1 02:00:00:00:00:03");
	cluster_must(&cluster, "vip 203.0.113.10 shop snat prealloc=0 max=64 10.1.1.11 10.1.1.12 10.1.2.11");
}

static void end(void)
{
	uv_run(&loop, UV_RUN_DEFAULT);
	ck_assert_int_eq(uv_loop_close(&loop), 0);
	cluster_end(&cluster);
}

static void begin_mux(struct test_node *n, const char *name)
{
	test_node_begin(n, &loop, &cluster, ROLE_MUX, name, strcmp(name, "mux1") == 0 ? "10.0.0.31" : "10.0.0.32");
	RUN_UNTIL(&loop, manager_link_is_up(n->link));
}

static void begin_agent(struct test_node *n, const char *name)
{
	test_node_begin(n, &loop, &cluster, ROLE_AGENT, name, strcmp(name, "host1") == 0 ? "10.0.0.21" : "10.0.0.22");
	RUN_UNTIL(&loop, manager_link_is_up(n->link) && n->n_lease_snapshots > 0);
}

static struct leases_reply get_leases(struct test_node *through)
{
	static struct leases_reply all;
	(void)through;
	return all;
}

static void on_leases(struct message *reply, const struct error *err, void *user)
{
	struct leases_reply *all = user;
	ck_assert_msg(reply != NULL, "%s", err != NULL ? err->text : "");
	for (uint32_t i = 0; i < reply->leases.leases.n; i++)
		ck_assert_int_eq(lease_list_append(&all->leases, &reply->leases.leases.items[i]), 0);
	for (uint32_t i = 0; i < reply->leases.n_pools; i++) {
		all->pools = realloc(all->pools, (all->n_pools + 1) * sizeof *all->pools);
		all->pools[all->n_pools++] = reply->leases.pools[i];
	}
	all->more = reply->leases.more;
}
