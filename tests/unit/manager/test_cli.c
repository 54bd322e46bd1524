// The real anantactl against a real manager: what it prints, and how it exits.
#include "tests/support/suite.h"

#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/base/memory.h"
#include "tests/unit/manager/cluster.h"
#include "tests/unit/manager/ctl.h"

static struct cluster cluster;

static const char shop[] = "{ \"vip\": \"203.0.113.10\", \"tenant\": \"shop\", \"endpoints\": [ { \"name\": \"web\", "
						   "\"protocol\": \"tcp\", \"port\": 80, "
						   "\"dips\": [ { \"dip\": \"10.1.1.11\", \"port\": 8080 } ] } ] }";

static void begin(void)
{
	cluster_begin(&cluster, 1);
	(void)cluster_leader(&cluster);
	setenv("ANANTA_MANAGERS", cluster.managers[0].api, 1);
}

static void apply_shop(void)
{
	char command[1024];
	(void)text_format(command, sizeof command, "echo '%s' | ctl vip apply -f -", shop);
	CHECK_RUN(command, 0, "vip 203.0.113.10 applied (version ");
}

START_TEST(a_vip_is_applied_listed_shown_and_deleted)
{
	begin();
	CHECK_RUN("ctl vip list", 0, "VIP  TENANT  ENDPOINTS  DIPS  SNAT\n");
	apply_shop();
	CHECK_RUN("ctl vip list", 0, "203.0.113.10  shop    tcp/80        1     0\n");
	CHECK_RUN("ctl vip list -o json", 0, "\"vip\": \"203.0.113.10\"");
	CHECK_RUN("ctl vip show 203.0.113.10", 0, "tenant   shop\ndrain_s  3600\n",
	          "web       tcp         80  10.1.1.11      8080       1  -     -   -        -\n");
	CHECK_RUN("ctl vip show 203.0.113.10 -o json | ctl vip apply -o json -f -", 0, "\"result\": \"unchanged\"",
	          "\"version\": 2");
	CHECK_RUN("ctl vip delete 203.0.113.10", 0, "vip 203.0.113.10 deleted (version 3)");
	CHECK_RUN("ctl vip delete 203.0.113.10", 1, "anantactl: vip: 203.0.113.10 is not configured\n");
	CHECK_RUN("ctl vip show 203.0.113.10", 1, "vip: 203.0.113.10 is not configured");
	cluster_end(&cluster);
}
END_TEST

START_TEST(a_refused_or_bad_document_leaves_the_old_configuration)
{
	begin();
	apply_shop();
	CHECK_RUN("ctl vip show 203.0.113.10 -o json | sed s/shop/bank/ | ctl vip apply -f -", 1,
	          "tenant: 203.0.113.10 belongs to tenant \"shop\", not to \"bank\"");
	CHECK_RUN("echo '{ \"vip\": ' | ctl vip apply -f -", 2, "anantactl: standard input: line 2, column 0:");
	CHECK_RUN("ctl vip show 203.0.113.10 -o json | sed 's/8080/0/' | ctl vip apply -f -", 2,
	          "endpoints[0].dips[0].port: must be 1 to 65535, got 0");
	CHECK_RUN("head -c 100000000 /dev/zero | ctl vip apply -f -", 2, "larger than 8 MiB");
	CHECK_RUN("ctl vip apply -f /nowhere.json", 2, "/nowhere.json: No such file or directory");
	CHECK_RUN("ctl vip show 203.0.113.10", 0, "tenant   shop", "8080");
	cluster_end(&cluster);
}
END_TEST

START_TEST(a_vm_is_attached_and_detached)
{
	begin();
	CHECK_RUN("ctl host attach host1 --name vm1 --dip 10.1.1.11 --interface if1 --mac 02:00:00:00:00:01", 1,
	          "host: no host \"host1\" is known");
	cluster_must(&cluster, "host host1 10.0.0.21 ; host host2 10.0.0.22");
	apply_shop();
	CHECK_RUN("ctl host attach host1 --name vm1 --dip 10.1.1.11 --interface if1 --mac 02:00:00:00:00:01", 0,
	          "dip 10.1.1.11 attached on host host1 (version ");
	CHECK_RUN("ctl host attach host2 --name vm1 --dip 10.1.1.11 --interface if1 --mac 02:00:00:00:00:01", 1,
	          "dip: 10.1.1.11 is attached on host \"host1\"");
	CHECK_RUN(
		"ctl dip list", 0,
		"10.1.1.11  host1  vm1  if1        02:00:00:00:00:01  host-unreachable      -  203.0.113.10  -        -\n");
	CHECK_RUN("ctl dip list -o json", 0, "\"state\": \"host-unreachable\"", "\"vips\": [\n      \"203.0.113.10\"");
	CHECK_RUN("ctl host list", 0, "host1  10.0.0.21  unreachable        -    1      -        -      -\n");
	CHECK_RUN("ctl vip show 203.0.113.10", 0, "host1  vm1  -        -\n");
	CHECK_RUN("ctl host remove host1", 1, "host: \"host1\" has DIP 10.1.1.11 attached");
	CHECK_RUN("ctl host detach host2 --dip 10.1.1.11", 1,
	          "dip: 10.1.1.11 is attached on host \"host1\", not on \"host2\"");
	CHECK_RUN("ctl host detach host1 --dip 10.1.1.11 -o json", 0, "\"result\": \"detached from\"");
	CHECK_RUN("ctl host detach host1 --dip 10.1.1.11", 1, "dip: 10.1.1.11 is not attached");
	CHECK_RUN("ctl host remove host1", 0, "host host1 removed (version ");
	cluster_end(&cluster);
}
END_TEST

START_TEST(vms_nodes_and_vips_are_of_both_families)
{
	begin();
	cluster_must(&cluster,
	             "mux mux1 10.0.0.31 2001:db8::31 ; host host1 10.0.0.21 2001:db8::21 ; host host2 2001:db8::22");
	CHECK_RUN("ctl host attach host1 --name vm1 --dip 10.1.1.11 --interface if1 --mac 02:00:00:00:00:01", 0,
	          "attached on");
	CHECK_RUN("ctl dip list", 0, "DIP        HOST   VM   INTERFACE");
	CHECK_RUN("ctl host attach host1 --name vm1 --dip 2001:db8:1::11 --interface if1 --mac 02:00:00:00:00:01", 0,
	          "dip 2001:db8:1::11 attached on host host1 (version ");
	CHECK_RUN("ctl host attach host1 --name vm1 --dip 2001:db8:1::11 --interface if1 --mac 02:00:00:00:00:01 "
	          "--via 10.7.1.11",
	          0, "attached on host host1");
	CHECK_RUN("ctl host attach host1 --name vm1 --dip 2001:db8:1::12 --interface if1 --mac 02:00:00:00:00:01", 1,
	          "interface: \"if1\" of host \"host1\" has DIP 2001:db8:1::11 already; it takes one IPv4 and one IPv6");
	CHECK_RUN(
		"ctl host attach host1 --name vm1 --dip 10.1.1.11 --interface if1 --mac 02:00:00:00:00:01 --via 10.7.1.11", 1,
		"via: 10.7.1.11 is of the same family as DIP 10.1.1.11");
	CHECK_RUN("echo '{\"vip\":\"2001:db8:f::10\",\"tenant\":\"shop\",\"endpoints\":[{\"name\":\"web\","
	          "\"protocol\":\"tcp\",\"port\":80,\"dips\":[{\"dip\":\"2001:db8:1::11\",\"port\":8080}]}]}' | "
	          "ctl vip apply -f -",
	          0, "vip 2001:db8:f::10 applied");
	CHECK_RUN("ctl dip list", 0, "DIP             VIA        HOST   VM   INTERFACE",
	          "2001:db8:1::11  10.7.1.11  host1  vm1  if1  ", "10.1.1.11       -          host1", "  2001:db8:f::10  ");
	CHECK_RUN("ctl dip list -o json", 0, "\"via\": \"10.7.1.11\"", "\"via\": null");
	CHECK_RUN("ctl mux list", 0, "mux1  10.0.0.31,2001:db8::31  ");
	CHECK_RUN("ctl mux show mux1", 0, "address  10.0.0.31,2001:db8::31\n");
	CHECK_RUN("ctl host list -o json", 0, "\"address\": \"10.0.0.21\",\n    \"address6\": \"2001:db8::21\"",
	          "\"address\": \"2001:db8::22\",\n    \"address6\": null");
	CHECK_RUN("ctl vip show 2001:DB8:F:0::10", 0, "vip      2001:db8:f::10", "2001:db8:1::11");
	CHECK_RUN("ctl events", 0, "address 10.0.0.31 and 2001:db8::31",
	          "VM vm1 on host host1, interface if1, via 10.7.1.11");
	CHECK_RUN("ctl host detach host1 --dip 2001:db8:1::11", 0, "dip 2001:db8:1::11 detached from host host1");
	cluster_end(&cluster);
}
END_TEST

START_TEST(nodes_are_listed_shown_and_removed)
{
	begin();
	cluster_must(&cluster, "mux mux1 10.0.0.31");
	CHECK_RUN("ctl mux list", 0, "NAME  ADDRESS    STATE  VERSION  LAG  PACKETS  DROPS\n",
	          "mux1  10.0.0.31  down         -    -        -      -\n");
	CHECK_RUN("ctl mux list -o json", 0, "\"name\": \"mux1\"", "\"state\": \"down\"", "\"lag\": null",
	          "\"drained_since\": null", "\"counters\": {}");
	CHECK_RUN("ctl mux show mux1", 0, "name     mux1\naddress  10.0.0.31\nstate    down\n");
	CHECK_RUN("ctl mux show mux7", 1, "mux: no mux \"mux7\" is known");
	CHECK_RUN("ctl host show host7", 1, "host: no host \"host7\" is known");
	CHECK_RUN("ctl mux remove mux1", 0, "mux mux1 removed (version 3)");
	CHECK_RUN("ctl mux remove mux1", 1, "mux: no mux \"mux1\" is known");
	cluster_end(&cluster);
}
END_TEST

START_TEST(the_status_of_the_cluster_needs_no_leader)
{
	begin();
	CHECK_RUN("ctl cluster status", 0, "cluster      ", "version      1\n", "  leader  ");
	CHECK_RUN("ctl --managers 127.0.0.1:1,$ANANTA_MANAGERS cluster status", 0, "127.0.0.1:1 ", "unreachable", "leader");
	CHECK_RUN("ctl cluster status -o json", 0, "\"role\": \"leader\"", "\"leader\": 1");
	CHECK_RUN("ctl --managers 127.0.0.1:1 cluster status", 3, "no manager can be reached");
	CHECK_RUN("ctl --managers 127.0.0.1:1 --timeout 1 vip list", 3, "no manager that leads can be reached");
	cluster_end(&cluster);
}
END_TEST

START_TEST(wrong_usage_is_explained_and_exits_with_2)
{
	static const struct {
		const char *command;
		const char *sentence;
	} rows[] = {
		{ "ctl", "a command is missing" },
		{ "ctl vipp list", "there is no command \"vipp list\"" },
		{ "ctl vip", "vip: what to do is missing" },
		{ "ctl vip lisst", "there is no command \"vip lisst\"" },
		{ "ctl vip show", "vip show: VIP is missing" },
		{ "ctl vip show 1.2.3.4 5", "\"5\" is one argument too many" },
		{ "ctl vip list x", "\"x\" is one argument too many" },
		{ "ctl vip show 1.2.3", "VIP: \"1.2.3\" is no IP address" },
		{ "ctl vip apply", "vip apply: -f FILE is missing" },
		{ "ctl vip apply -f", "-f: needs a value" },
		{ "ctl vip list --dip 1.2.3.4", "vip list: --dip ADDRESS does not belong here" },
		{ "ctl vip list --frob", "--frob: is no such option" },
		{ "ctl vip list -x", "-x: is no option" },
		{ "ctl vip list -o xml", "-o: must be \"text\" or \"json\", got \"xml\"" },
		{ "ctl vip list --timeout 0", "--timeout: must be 1 to 3600 seconds, got \"0\"" },
		{ "ctl vip list --managers mgr1", "managers: \"mgr1\" is not of the form ADDRESS:PORT" },
		{ "ctl vip list --managers ,", "managers: the list is empty" },
		{ "ANANTA_MANAGERS= ctl vip list", "no managers are given" },
		{ "ctl mux show 'a b'", "mux: a name is 1 to 63 of" },
		{ "ctl host attach h --name v --dip 10.1.1.1 --interface i", "host attach: --mac MAC is missing" },
		{ "ctl host attach h --name v --dip x --interface i --mac 02:00:00:00:00:01", "--dip: \"x\" is no IP address" },
		{ "ctl host attach h --name v --dip 10.1.1.1 --interface i --mac 02", "--mac: \"02\" is no MAC address" },
		{ "ctl host attach h --name 'v v' --dip 10.1.1.1 --interface i --mac 02:00:00:00:00:01",
		  "--name: \"v v\" is not" },
		{ "ctl host attach h --name v --dip 10.1.1.1 --interface i --mac 02:00:00:00:00:01 --via x",
		  "--via: \"x\" is no IP address" },
		{ "ctl host detach h --dip 10.1.1.1 --agent-socket agent.sock", "--agent-socket: must be an absolute path" },
		{ "ctl dip drain", "dip drain: DIP is missing" },
		{ "ctl dip drain x", "DIP: \"x\" is no IP address" },
		{ "ctl dip drain 10.1.1.1 --vip x", "--vip: \"x\" is no IP address" },
		{ "ctl dip drain 10.1.1.1 --wait=x", "--wait: must be 1 to 3600 seconds, got \"x\"" },
		{ "ctl dip drain 10.1.1.1 --wait --timeout 3601", "--timeout: must be 1 to 3600 seconds, got \"3601\"" },
		{ "ctl dip undrain 10.1.1.1 --wait", "dip undrain: --wait[=SECONDS] does not belong here" },
		{ "ctl dip undrain x", "DIP: \"x\" is no IP address" },
		{ "ctl snat show", "snat show: VIP is missing" },
		{ "ctl snat show 1.2.3", "VIP: \"1.2.3\" is no IP address" },
		{ "ctl snat list --vip x", "--vip: \"x\" is no IP address" },
		{ "ctl snat list --dip x", "--dip: \"x\" is no IP address" },
		{ "ctl snat list --at 5", "snat list: --at TIME does not belong here" },
		{ "ctl snat whohad", "snat whohad: VIP:PORT is missing" },
		{ "ctl snat whohad 203.0.113.10", "VIP:PORT: \"203.0.113.10\" is not of the form ADDRESS:PORT" },
		{ "ctl snat whohad 2001:db8:f::10:2056", "an IPv6 address stands in brackets: [ADDRESS]:PORT" },
		{ "ctl vip list --managers 2001:db8::11:7400", "an IPv6 address stands in brackets" },
		{ "ctl snat whohad 203.0.113.10:0", "VIP:PORT: \"203.0.113.10:0\" is not of the form ADDRESS:PORT" },
		{ "ctl snat whohad 203.0.113.10:2056 --at yesterday",
		  "--at: \"yesterday\" is no time in UTC like 2026-11-24T10:00:00Z, nor seconds since 1970" },
		{ "ctl snat whohad 203.0.113.10:2056 --at 2026-02-30T10:00:00Z", "--at: \"2026-02-30T10:00:00Z\" is no time" },
		{ "ctl snat whohad 203.0.113.10:2056 --at 2026-11-24T10:00:00+01:00", "is no time in UTC" },
		{ "ctl snat whohad 203.0.113.10:2056 --at 0", "--at: must be after the first second of 1970" },
		{ "ctl snat revoke", "snat revoke: either VIP:PORT or --dip ADDRESS" },
		{ "ctl snat revoke 203.0.113.10:2056 --dip 10.1.1.11", "snat revoke: either VIP:PORT or --dip ADDRESS" },
		{ "ctl snat revoke 203.0.113.10", "VIP:PORT: \"203.0.113.10\" is not of the form" },
		{ "ctl snat revoke --dip x", "--dip: \"x\" is no IP address" },
		{ "ctl settings apply", "settings apply: -f FILE is missing" },
		{ "echo '{\"snat\":{\"quarantine_s\":86401}}' | ctl settings apply -f -",
		  "standard input: snat.quarantine_s: must be 0 to 86400, got 86401" },
		{ "ctl help nothing", "there is no command \"nothing\"" },
	};
	setenv("ANANTA_MANAGERS", "127.0.0.1:1", 1);
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		CHECK_RUN(rows[i].command, 2, rows[i].sentence, "anantactl: ");
		ck_assert_msg(strchr(ctl_output, '\n') == ctl_output + strlen(ctl_output) - 1, "%s: %s", rows[i].command,
		              ctl_output);
	}
}
END_TEST

START_TEST(help_is_there_at_every_level)
{
	CHECK_RUN("ctl --help", 0, "usage: anantactl", "vip apply -f FILE", "host attach HOST", "cluster status",
	          "exit codes");
	CHECK_RUN("ctl help", 0, "usage: anantactl");
	CHECK_RUN("ctl vip --help", 0, "usage: anantactl [options] vip VERB", "vip delete VIP");
	CHECK_RUN("ctl help vip apply", 0, "usage: anantactl [options] vip apply -f FILE", "example:");
	CHECK_RUN("ctl host attach --help", 0, "--agent-socket PATH");
	CHECK_RUN("ctl snat --help", 0, "snat whohad VIP:PORT [--at TIME]\n", "snat revoke [VIP:PORT] [--dip ADDRESS]\n",
	          "snat list [--dip ADDRESS] [--vip ADDRESS]\n");
	CHECK_RUN("ctl dip --help", 0, "dip drain DIP [--vip ADDRESS] [--wait[=SECONDS]]\n",
	          "dip undrain DIP [--vip ADDRESS]\n");
	CHECK_RUN("ctl --version", 0, "anantactl ");
}
END_TEST

START_TEST(a_snat_policy_is_applied_and_shown)
{
	begin();
	CHECK_RUN("ctl vip show 203.0.113.10", 1, "is not configured");
	CHECK_RUN("echo '{\"vip\":\"203.0.113.10\",\"tenant\":\"shop\",\"snat\":{\"dips\":[\"10.1.1.11\"]}}' | "
	          "ctl vip apply -f -",
	          0, "applied");
	CHECK_RUN(
		"ctl vip show 203.0.113.10", 0,
		"snat     range_size 8, first_port 1024, prealloc_ports 160, max_ports_per_dip 16384, idle_s 120\n\nSNAT-DIP");
	CHECK_RUN("ctl vip show 203.0.113.10 -o json", 0, "\"range_size\": 8,", "\"prealloc_ports\": 160,",
	          "\"max_ports_per_dip\": 16384,", "\"idle_s\": 120", "\"first_port\": 1024,");
	CHECK_RUN("ctl vip show 203.0.113.10 -o json | sed s/16384/4096/ | ctl vip apply -f -", 0, "applied");
	CHECK_RUN("ctl vip show 203.0.113.10", 0, "max_ports_per_dip 4096,");
	CHECK_RUN("ctl vip show 203.0.113.10 -o json | sed 's/\"range_size\": 8/\"range_size\": 12/' | ctl vip apply -f -",
	          2, "snat.range_size: must be a power of two from 8 to 1024, got 12");
	cluster_end(&cluster);
}
END_TEST

START_TEST(leases_are_listed_looked_up_and_revoked)
{
	begin();
	cluster_must(&cluster, "host host1 10.0.0.21 ; dip 10.1.1.11 host1 vm1 if1 02:00:00:00:00:01");
	CHECK_RUN("echo '{\"vip\":\"203.0.113.10\",\"tenant\":\"shop\",\"snat\":{\"dips\":[\"10.1.1.11\"],"
	          "\"prealloc_ports\":16,\"first_port\":65520}}' | ctl vip apply -f -",
	          0, "applied");
	CHECK_RUN("ctl snat show 203.0.113.10", 0,
	          "ports        16\nleased       16 (100 %)\nquarantined  0\nfree         0\n",
	          "note         no port is free", "10.1.1.11  host1  vm1      16  16384     -      -        -        -\n");
	CHECK_RUN("ctl snat list", 0, "203.0.113.10  65520-65527  10.1.1.11  host1  20", "203.0.113.10  65528-65535");
	CHECK_RUN("ctl snat revoke 203.0.113.10:65530", 0, "203.0.113.10:65528-65535 taken from 10.1.1.11\n");
	CHECK_RUN("ctl snat revoke 203.0.113.10:65530", 1, "snat: 203.0.113.10:65530 is leased to nobody");
	CHECK_RUN("ctl snat show 203.0.113.10", 0, "leased       8 (50 %)\nquarantined  8\nfree         0\n");
	CHECK_RUN("ctl snat whohad 203.0.113.10:65530", 0, "203.0.113.10  65528-65535  10.1.1.11  host1  20");
	CHECK_RUN("ctl snat whohad 203.0.113.10:65530 --at $(ctl snat whohad 203.0.113.10:65530 -o json | "
	          "sed -n 's/.*\"since\": \"\\(.*\\)\".*/\\1/p')",
	          0, "203.0.113.10  65528-65535  10.1.1.11  host1  20");
	CHECK_RUN("ctl snat whohad 203.0.113.10:65530 --at 2001-01-01T00:00:00Z", 0, "nobody\n");
	CHECK_RUN("ctl snat revoke --dip 10.1.1.11", 0, "203.0.113.10:65520-65527 taken from 10.1.1.11\n");
	CHECK_RUN("ctl snat list", 0, "VIP  PORTS  DIP  HOST  SINCE  EPOCH\n");
	cluster_end(&cluster);
}
END_TEST

START_TEST(a_dip_is_drained_as_far_as_others_are_left)
{
	begin();
	apply_shop();
	CHECK_RUN("ctl dip drain 10.1.1.11", 1, "drain: 10.1.1.11 is the last DIP of endpoint \"web\" of VIP 203.0.113.10");
	CHECK_RUN("ctl dip drain 10.1.1.12", 1, "drain: 10.1.1.12 is in no endpoint of any VIP\n");
	CHECK_RUN("ctl dip drain 10.1.1.11 --vip 203.0.113.99", 1, "drain.vip: there is no VIP 203.0.113.99\n");
	CHECK_RUN("ctl vip show 203.0.113.10 -o json | grep -c status", 1, "0\n");
	CHECK_RUN("ctl vip show 203.0.113.10 -o json | sed 's/\"dips\": \\[/&{\"dip\":\"10.1.1.12\",\"port\":8080},/' | "
	          "ctl vip apply -f -",
	          0, "applied");
	CHECK_RUN("ctl dip drain 10.1.1.11", 0, "dip 10.1.1.11 drained (version ");
	CHECK_RUN("ctl dip drain 10.1.1.12", 1, "drain: 10.1.1.12 is the last DIP of endpoint \"web\"");
	CHECK_RUN("ctl vip show 203.0.113.10", 0, "10.1.1.11      8080       1  -     -   20", "web                 3  20");
	CHECK_RUN("ctl vip show 203.0.113.10 -o json | ctl vip apply -f -", 0, "unchanged");
	CHECK_RUN("ctl dip drain 10.1.1.11 --wait", 0, "connections left: 0\n");
	CHECK_RUN("ctl dip undrain 10.1.1.11", 0, "dip 10.1.1.11 undrained (version ");
	CHECK_RUN("ctl dip undrain 10.1.1.11", 1, "dip: 10.1.1.11 is not drained\n");
	cluster_end(&cluster);
}
END_TEST

START_TEST(the_examples_are_accepted)
{
	begin();
	CHECK_RUN("ctl vip apply -f " EXAMPLES "/shop.json", 0, "vip 203.0.113.10 applied");
	CHECK_RUN("ctl vip apply -f " EXAMPLES "/egress.json", 0, "vip 203.0.113.20 applied");
	CHECK_RUN("ctl vip apply -f " EXAMPLES "/probed.json", 0, "vip 203.0.113.30 applied");
	CHECK_RUN("ctl vip show 203.0.113.20", 0, "range_size 8, first_port 1024, prealloc_ports 160,");
	CHECK_RUN("ctl settings apply -f " EXAMPLES "/settings.json", 0, "settings applied");
	cluster_end(&cluster);
}
END_TEST

START_TEST(settings_are_shown_applied_and_reset)
{
	begin();
	CHECK_RUN("ctl settings show", 0, "settings                    the defaults\n",
	          "snat.never                  10.0.0.0/8, 100.64.0.0/10, 169.254.0.0/16, 172.16.0.0/12, 192.168.0.0/16\n",
	          "snat.quarantine_s           60\n", "snat.log_s                  604800\n",
	          "snat.gone_s                 86400\n", "snat.dip_requests_per_s     20\n",
	          "health.host_gone_ms         2000\n", "health.fail_static_percent  50\n",
	          "mux.withdraw_percent        50\n");
	CHECK_RUN("echo '{\"snat\":{\"never\":[],\"quarantine_s\":90}}' | ctl settings apply -f -", 0,
	          "settings applied (version 2)\n");
	CHECK_RUN("ctl settings show", 0, "settings                    applied\n", "snat.never                  -\n",
	          "snat.quarantine_s           90\n", "snat.log_s                  604800\n");
	CHECK_RUN("ctl settings show -o json", 0, "\"never\": [],\n", "\"quarantine_s\": 90,");
	CHECK_RUN("ctl settings show -o json | sed 's/90/30/' | ctl settings apply -o json -f -", 0,
	          "\"result\": \"applied\"", "\"version\": 3");
	CHECK_RUN("echo '{\"snat\":{\"never\":[\"10.0.0.1/8\"]}}' | ctl settings apply -f -", 2,
	          "anantactl: standard input: snat.never[0]: 10.0.0.1/8 has bits beyond its length\n");
	CHECK_RUN("ctl settings show", 0, "snat.quarantine_s           30\n");
	CHECK_RUN("ctl settings reset", 0, "settings reset to the defaults (version 4)\n");
	CHECK_RUN("ctl settings show", 0, "settings                    the defaults\n", "snat.quarantine_s           60\n");
	cluster_end(&cluster);
}
END_TEST

// ---- an agent's socket ----

static void on_agent_message(struct conn *c, struct message *m, void *user)
{
	struct message reply = { .type = MESSAGE_COMMAND_REPLY, .request_id = m->request_id, .version = 77 };
	struct error err = { .code = ERR_CONFLICT, .text = "dip: not today" };
	ck_assert_int_eq(m->type, MESSAGE_COMMAND_REQUEST);
	ck_assert_uint_eq(m->changes.n, 1);
	if (m->changes.items[0].is_delete)
		(void)conn_send_error(c, m->request_id, &err);
	else
		(void)conn_send(c, &reply);
}

static void on_agent_close(struct conn *c, const struct error *reason, void *user)
{
	*(int *)user += 1;
}

static void on_agent_accept(struct conn *c, void *user)
{
	conn_set_user(c, user);
}

static const struct conn_handler agent_handler = { .on_message = on_agent_message, .on_close = on_agent_close };

// What an agent does: answers on its socket, until `n` connections have ended.
static void serve_agent_socket(const char *path, int n)
{
	uv_loop_t loop;
	struct conn_listener *listener;
	struct error err = { 0 };
	int n_closed = 0;
	struct conn_listener_config config = {
		.address = path, .max_conns = 4, .handler = &agent_handler, .on_accept = on_agent_accept, .user = &n_closed
	};
	uv_loop_init(&loop);
	if (conn_listener_create(&loop, &config, &listener, &err) != 0)
		_exit(1);
	while (n_closed < n)
		uv_run(&loop, UV_RUN_ONCE);
	_exit(0);
}

START_TEST(attach_and_detach_go_to_the_agent_when_its_socket_is_named)
{
	char path[64];
	char command[256];
	int status;
	(void)text_format(path, sizeof path, "/tmp/test-cli-%d.sock", getpid());
	pid_t agent = fork();
	if (agent == 0)
		serve_agent_socket(path, 2);
	while (access(path, F_OK) != 0)
		ck_assert_int_eq(waitpid(agent, &status, WNOHANG), 0);
	(void)text_format(
		command, sizeof command,
		"ctl host attach h1 --name v --dip 10.1.1.1 --interface i --mac 02:00:00:00:00:01 --agent-socket %s", path);
	CHECK_RUN(command, 0, "dip 10.1.1.1 attached on host h1 (version 77)");
	(void)text_format(command, sizeof command, "ctl host detach h1 --dip 10.1.1.1 --agent-socket %s", path);
	CHECK_RUN(command, 1, "anantactl: agent at ", ".sock: dip: not today\n");
	ck_assert_int_eq(waitpid(agent, &status, 0), agent);
	unlink(path);
	CHECK_RUN(command, 3, "anantactl: agent at ", "no such file");
}
END_TEST

SUITE_MAIN("cli", a_vip_is_applied_listed_shown_and_deleted, a_refused_or_bad_document_leaves_the_old_configuration,
           a_vm_is_attached_and_detached, vms_nodes_and_vips_are_of_both_families, nodes_are_listed_shown_and_removed,
           the_status_of_the_cluster_needs_no_leader, wrong_usage_is_explained_and_exits_with_2,
           help_is_there_at_every_level, a_snat_policy_is_applied_and_shown, leases_are_listed_looked_up_and_revoked,
           a_dip_is_drained_as_far_as_others_are_left, the_examples_are_accepted, settings_are_shown_applied_and_reset,
           attach_and_detach_go_to_the_agent_when_its_socket_is_named)
