// The real anantactl against a real manager: versions, plans, many VIPs as one, export, and waiting for acknowledgements.
#include "tests/support/suite.h"

#include <string.h>
#include <unistd.h>

#include "tests/unit/manager/cluster.h"
#include "tests/unit/manager/ctl.h"

static struct cluster cluster;

// shell functions that print documents: vip N DIP..., of tenant shop
#define SH                                                                                                         \
	"vip() { a=$1; shift; s=''; l=''; for d in $@; do l=\"$l$s{\\\"dip\\\":\\\"10.1.1.$d\\\",\\\"port\\\":80}\"; " \
	"s=,; done; "                                                                                                  \
	"echo "                                                                                                        \
	"\"{\\\"vip\\\":\\\"203.0.113.$a\\\",\\\"tenant\\\":\\\"${T:-shop}\\\",\\\"endpoints\\\":[{\\\"name\\\":"      \
	"\\\"web\\\",\\\"protocol\\\":\\\"tcp\\\",\\\"port\\\":80,"                                                    \
	"\\\"dips\\\":[$l]}]}\"; }; cd $DIR; "

static void begin(void)
{
	cluster_begin(&cluster, 1);
	(void)cluster_leader(&cluster);
	setenv("ANANTA_MANAGERS", cluster.managers[0].api, 1);
	setenv("DIR", cluster.dir, 1);
	cluster_must(&cluster, "host host1 10.0.0.21"); // version 2
	cluster_must(&cluster,
	             "dip 10.1.1.1 host1 vm1 if1 02:00:00:00:00:01 ; dip 10.1.1.2 host1 vm2 if2 02:00:00:00:00:02"); // 3
}

START_TEST(versions_are_listed_shown_and_rolled_back_to)
{
	begin();
	CHECK_RUN(SH "vip 10 1 | ctl vip apply -f -", 0, "vip 203.0.113.10 applied (version 4)");
	CHECK_RUN(SH "vip 10 1 2 | ctl vip apply -f -", 0, "applied (version 5)");
	CHECK_RUN(SH "vip 10 1 2 | ctl vip apply -f -", 0, "vip 203.0.113.10 unchanged (version 5)");
	CHECK_RUN("ctl vip history 203.0.113.10", 0, "VERSION  TIME", "\n      5  20", "present\n      4  20");
	CHECK_RUN("ctl vip history 203.0.113.10 -o json", 0, "\"version\": 5", "\"present\": true", "\"author\": \"\"");
	CHECK_RUN("ctl vip show 203.0.113.10 --version 4", 0, "10.1.1.1 ");
	ck_assert(strstr(ctl_output, "10.1.1.2 ") == NULL);
	CHECK_RUN("ctl vip show 203.0.113.10 --version=4 -o json | ctl vip plan -f -", 4, "- 10.1.1.2 port 80 weight 1");
	CHECK_RUN("ctl vip show 203.0.113.10 --version 3", 1, "vip: version 3 of 203.0.113.10 is not kept");
	CHECK_RUN("ctl vip rollback 203.0.113.10 --to 4", 0, "vip 203.0.113.10 rolled back (version 6)");
	CHECK_RUN("ctl vip rollback 203.0.113.10 --to 4", 0, "vip 203.0.113.10 unchanged (version 6)");
	CHECK_RUN(SH "vip 10 1 | ctl vip plan -f -", 0, "1 unchanged");
	CHECK_RUN("ctl vip delete 203.0.113.10", 0, "deleted (version 7)");
	CHECK_RUN("ctl vip history 203.0.113.10", 0, "      7  20", "deleted\n");
	CHECK_RUN("ctl vip show 203.0.113.10 --version 7", 1, "was deleted at version 7");
	CHECK_RUN("ctl vip rollback 203.0.113.10 --to 7", 1, "was deleted at version 7, and is not configured now");
	CHECK_RUN("ctl vip rollback 203.0.113.10 --to 5", 0, "rolled back (version 8)");
	CHECK_RUN("ctl vip history 203.0.113.99", 1, "203.0.113.99 is not configured");
	cluster_end(&cluster);
}
END_TEST

START_TEST(a_rollback_to_dips_that_are_gone_is_refused_with_the_dip)
{
	begin();
	CHECK_RUN(SH "vip 10 1 2 | ctl vip apply -f -; vip 10 1 | ctl vip apply -f -", 0, "(version 5)");
	CHECK_RUN("ctl host detach host1 --dip 10.1.1.2", 0, "(version 6)");
	CHECK_RUN("ctl vip rollback 203.0.113.10 --to 4", 1, "DIP 10.1.1.2 of version 4 is attached on no host any more");
	CHECK_RUN("ctl vip history 203.0.113.10 -o json | grep -c '\"version\"'", 0, "2\n");
	cluster_end(&cluster);
}
END_TEST

START_TEST(what_is_not_at_the_expected_version_is_refused_with_the_present_one)
{
	begin();
	CHECK_RUN(SH "vip 10 1 | ctl vip apply -f - --if-version 0", 0, "(version 4)");
	CHECK_RUN(SH "vip 10 1 2 | ctl vip apply -f - --if-version 3", 1, "vip: 203.0.113.10 is at version 4, not at 3");
	CHECK_RUN(SH "vip 10 1 2 | ctl vip apply -f - --if-version 4", 0, "applied (version 5)");
	CHECK_RUN(SH "vip 10 1 2 | ctl vip apply -f - --if-version 4", 0, "unchanged (version 5)");
	CHECK_RUN("ctl vip rollback 203.0.113.10 --to 4 --if-version 4", 1, "is at version 5, not at 4");
	CHECK_RUN("ctl vip delete 203.0.113.10 --if-version 4", 1, "is at version 5, not at 4");
	CHECK_RUN("ctl vip delete 203.0.113.10 --if-version x", 2, "--if-version N: must be a whole number");
	CHECK_RUN(SH "vip 11 1 > a.json; ctl apply -f a.json --if-version 4", 1,
	          "the configuration was changed at version 5, after version 4");
	CHECK_RUN(SH "ctl apply -f a.json --if-version 5", 0, "vip 203.0.113.11 created", "(version 6)");
	CHECK_RUN("ctl vip delete 203.0.113.10 --if-version 5", 0, "deleted (version 7)");
	cluster_end(&cluster);
}
END_TEST

START_TEST(a_plan_says_what_would_change_and_changes_nothing)
{
	begin();
	CHECK_RUN(SH "vip 10 1 | ctl vip plan -f -", 4, "vip 203.0.113.10 of tenant shop: create",
	          "endpoint web tcp 80: add", "+ 10.1.1.1 port 80 weight 1",
	          "plan: 1 to create, 0 to change, 0 to delete, 0 unchanged (version 3)");
	CHECK_RUN("ctl vip list -o json", 0, "[]");
	CHECK_RUN(SH "vip 10 1 | ctl vip apply -f -", 0, "(version 4)");
	CHECK_RUN(SH "vip 10 1 | ctl vip plan -f -", 0, "plan: 0 to create, 0 to change, 0 to delete, 1 unchanged");
	CHECK_RUN(SH "vip 10 1 2 | sed 's/\"tenant\"/\"drain_s\":60,\"tenant\"/' | ctl vip plan -f -", 4,
	          "  drain_s: 3600 -> 60\n", "endpoint web tcp 80: change, ",
	          " % of its buckets move; connections are not known", "    + 10.1.1.2 port 80 weight 1\n",
	          "warning: drain_s: ");
	CHECK_RUN(SH "vip 10 7 | ctl vip apply --dry-run -f -", 4, "100.0 % of its buckets move",
	          "warning: endpoint web: DIP 10.1.1.7 is attached on no host",
	          "warning: endpoint web: none of its DIPs stays");
	CHECK_RUN(SH "T=bank vip 10 1 | ctl vip plan -f -", 1,
	          "this would be refused: tenant: 203.0.113.10 belongs to tenant");
	CHECK_RUN(SH "vip 10 1 2 | ctl vip plan -o json -f -", 4, "\"buckets\": 1009",
	          "\"buckets_moved\": ", "\"connections\": null", "\"action\": \"change\"");
	CHECK_RUN("ctl vip history 203.0.113.10 -o json | grep -c '\"version\"'", 0, "1\n");
	cluster_end(&cluster);
}
END_TEST

START_TEST(many_vips_are_applied_as_one_and_pruned_only_when_asked)
{
	begin();
	CHECK_RUN(SH "mkdir v; vip 10 1 > v/a.json; vip 11 2 > v/b.json; ctl apply -f v", 0,
	          "vip 203.0.113.10 created\nvip 203.0.113.11 created\napplied: 2 changed, 0 unchanged (version 4)");
	CHECK_RUN(SH "ctl apply -f v", 0, "unchanged: 0 changed, 2 unchanged (version 4)");
	CHECK_RUN(
		SH "vip 10 1 2 > v/a.json; vip 12 203 > v/c.json; sed -i s/10.1.1.203/203.0.113.10/ v/c.json; ctl apply -f v",
		1,
		"203.0.113.10 is a VIP"); // none of it
	CHECK_RUN("ctl vip history 203.0.113.10 -o json | grep -c '\"version\"'", 0, "1\n");
	CHECK_RUN(SH "rm v/c.json; mv v/b.json b.json; ctl apply -f v -o json", 0, "\"result\": \"applied\"",
	          "\"version\": 5", "\"changed\": [\n    \"203.0.113.10\"\n  ]", "\"deleted\": []");
	CHECK_RUN(SH "T=bank vip 20 1 | ctl apply -f -", 0, "(version 6)");
	CHECK_RUN(SH "ctl apply -f v --prune --tenant shop --dry-run", 4, "vip 203.0.113.11 of tenant shop: delete",
	          "warning: endpoint web: goes", "1 to delete");
	CHECK_RUN(SH "ctl apply -f v --prune --tenant shop", 0, "vip 203.0.113.11 deleted\n", "(version 7)");
	CHECK_RUN("ctl vip list", 0, "203.0.113.10  shop", "203.0.113.20  bank");
	CHECK_RUN(SH "ctl apply -f v --tenant bank", 2,
	          "v/a.json: vip 203.0.113.10 is of tenant \"shop\", not of \"bank\"");
	CHECK_RUN(SH "ctl apply -f v -f v/a.json", 2, "v/a.json: vip 203.0.113.10 is in v/a.json already");
	CHECK_RUN(SH "ctl apply -f v -f b.json --prune", 0, "vip 203.0.113.20 deleted", "vip 203.0.113.11 created",
	          "(version 8)");
	CHECK_RUN(SH "mkdir e; ctl apply -f e", 2, "e: holds no file *.json");
	CHECK_RUN(SH "echo '{\"vips\":[{\"vip\":\"1.2.3.4\"}]}' | ctl apply -f -", 2, "standard input: vips[0].tenant");
	CHECK_RUN(SH "echo '{\"vops\":[]}' | ctl apply -f -", 2, "standard input: vops: is not a field");
	cluster_end(&cluster);
}
END_TEST

START_TEST(what_is_exported_is_applied_to_the_same)
{
	begin();
	CHECK_RUN(SH "vip 10 1 > a.json; vip 11 1 2 > b.json; ctl apply -f a.json -f b.json", 0, "(version 4)");
	CHECK_RUN("echo '{\"snat\":{\"quarantine_s\":77}}' | ctl settings apply -f -", 0, "(version 5)");
	CHECK_RUN(SH "ctl export out", 0, "3 files written to out (version 5)");
	CHECK_RUN(SH "ctl export out", 0, "3 files"); // again
	CHECK_RUN(SH "ctl apply -f out --prune", 0, "unchanged: 0 changed, 2 unchanged (version 5)");
	CHECK_RUN(SH "ctl export > all.json; ctl vip delete 203.0.113.10; ctl vip delete 203.0.113.11; ctl settings reset",
	          0, "(version 8)");
	CHECK_RUN(SH "ctl apply -f - < all.json", 0, "203.0.113.10 created", "203.0.113.11 created", "settings changed",
	          "applied: 3 changed, 0 unchanged (version 9)");
	CHECK_RUN(SH "ctl apply -f out --prune", 0, "unchanged");
	CHECK_RUN(SH "ctl vip delete 203.0.113.10; ctl export out", 2,
	          "out: holds vip-203.0.113.10.json, which is not of this export");
	CHECK_RUN(SH "ctl settings show -o json > settings.json; ctl apply -f settings.json", 0, "unchanged");
	cluster_end(&cluster);
}
END_TEST

START_TEST(a_change_larger_than_a_message_is_made_as_one)
{
	begin();
	CHECK_RUN(SH
	          "python3 -c \"import json; print(json.dumps([{'vip':'203.0.%d.%d'%(a,b),'tenant':'t','endpoints':["
	          "{'name':'e%d'%p,'protocol':'tcp','port':p,'dips':[{'dip':'10.1.1.1','port':p},{'dip':'10.1.1.2','port':"
	          "p}]} for p in range(1,11)]}"
	          " for a in range(10) for b in range(1,201)]))\" > big.json; ctl apply -f big.json --timeout 60 | tail -1",
	          0, "applied: 2000 changed, 0 unchanged (version 4)");
	CHECK_RUN(SH "ctl cluster status -o json", 0, "\"transactions_staged\": 0");
	CHECK_RUN(SH "sed -i 's/\"203.0.9.200\", \"tenant\": \"t\"/\"10.0.0.21\", \"tenant\": \"t\"/; s/\"tenant\": "
	             "\"t\"/\"drain_s\": 60, \"tenant\": \"t\"/g' big.json; "
	             "ctl apply -f big.json --timeout 60 | tail -1",
	          0, "10.0.0.21 is the address of host"); // the pipe's status
	CHECK_RUN(SH "ctl vip show 203.0.0.1", 0, "drain_s  3600");
	CHECK_RUN(SH "ctl cluster status -o json", 0, "\"transactions_staged\": 0");
	cluster_end(&cluster);
}
END_TEST

// Until it holds this version; then it hangs, with its acknowledgement sent.
static void run_to(struct test_node *n, uint64_t version)
{
	RUN_UNTIL(n->loop, manager_link_is_up(n->link) && n->store.version == version);
	(void)uv_run(n->loop, UV_RUN_NOWAIT);
}

START_TEST(wait_returns_when_all_that_are_connected_have_it_and_says_who_lags)
{
	uv_loop_t good_loop, bad_loop;
	struct test_node good, bad;
	begin();
	uv_loop_init(&good_loop);
	uv_loop_init(&bad_loop);
	// A mux that never comes, and others that may be silent for 3 s: version 4.
	cluster_must(&cluster, "mux mux9 10.0.0.39 ; settings 60 host_gone_ms=60000");
	test_node_begin(&good, &good_loop, &cluster, ROLE_MUX, "mux1", "10.0.0.31"); // 5
	run_to(&good, 5);
	test_node_begin(&bad, &bad_loop, &cluster, ROLE_MUX, "mux2", "10.0.0.32"); // 6
	run_to(&bad, 6);
	run_to(&good, 6);
	CHECK_RUN(SH "vip 10 1 | ctl vip apply -f - --wait=1", 3, "vip 203.0.113.10 applied (version 7)",
	          "acknowledged by 0, behind 2, not connected 2", "behind: mux mux1, at version 6",
	          "not connected: mux mux9", "not connected: host host1", "version 7 is not acknowledged by 2 of 2");
	run_to(&good, 7);
	CHECK_RUN(SH "vip 10 1 2 | ctl vip apply -f - --wait=1 -o json", 3, "\"done\": false",
	          "\"name\": \"mux1\",\n        \"version\": 7");
	test_node_end(&bad);
	run_to(&good, 8);
	CHECK_RUN(SH "vip 10 1 2 | ctl vip apply -f - --wait=1", 0, "unchanged (version 8)", "acknowledged by 1, behind 0");
	test_node_end(&good);
	CHECK_RUN("ctl vip delete 203.0.113.10 --wait", 0, "deleted (version 9)",
	          "acknowledged by 0, behind 0, not connected 4");
	uv_loop_close(&good_loop);
	uv_loop_close(&bad_loop);
	cluster_end(&cluster);
}
END_TEST

SUITE_MAIN("cli_transactions", versions_are_listed_shown_and_rolled_back_to,
           a_rollback_to_dips_that_are_gone_is_refused_with_the_dip,
           what_is_not_at_the_expected_version_is_refused_with_the_present_one,
           a_plan_says_what_would_change_and_changes_nothing, many_vips_are_applied_as_one_and_pruned_only_when_asked,
           what_is_exported_is_applied_to_the_same, a_change_larger_than_a_message_is_made_as_one,
           wait_returns_when_all_that_are_connected_have_it_and_says_who_lags)
