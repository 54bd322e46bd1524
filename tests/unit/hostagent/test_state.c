// What outlives the agent's process: flow table, last configuration, lock; and what its local socket lets pass.
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "hostagent/io/config.h"
#include "hostagent/io/flow_file.h"
#include "hostagent/io/local_socket.h"
#include "common/io/store_file.h"
#include "tests/support/suite.h"
#include "tests/unit/hostagent/fixture.h"
#include "tests/unit/hostagent/flow_block.h"

#define CAPACITY 1024

static char directory[64];

static struct state_dir open_dir(void)
{
	struct state_dir d;
	struct error err = { 0 };
	if (directory[0] == '\0') {
		strcpy(directory, "/dev/shm/agent-test-XXXXXX");
		if (mkdtemp(directory) == NULL) {
			strcpy(directory, "/tmp/agent-test-XXXXXX");
			ck_assert_ptr_nonnull(mkdtemp(directory));
		}
	}
	ck_assert_msg(state_dir_open(&d, directory, &err) == 0, "%s", err.text);
	return d;
}

static void remove_dir(struct state_dir *d)
{
	static const char *const names[] = { "lock",   "flows",      "flows.damaged", "flows.new",
		                                 "config", "config.new", "config.damaged" };
	char path[STATE_PATH_BYTES];
	for (size_t i = 0; i < sizeof names / sizeof *names; i++)
		unlink(state_dir_path(d, names[i], path));
	state_dir_close(d);
	rmdir(directory);
	directory[0] = '\0';
}

static void open_flows(struct flow_file *f, const struct state_dir *d, uint32_t capacity, const char *host,
                       struct flow_table *t)
{
	struct error err = { 0 };
	ck_assert_msg(flow_file_open(f, d, host, capacity, NULL, at_s(1000), t, &err) == 0, "%s", err.text);
}

static void add_flows(struct flow_table *t, uint32_t n)
{
	for (uint32_t i = 0; i < n; i++) {
		struct flow_tuple tuple = flow_number(i);
		ck_assert_ptr_nonnull(flow_table_insert(t, &tuple, FLOW_ESTABLISHED));
	}
}

static bool exists(const struct state_dir *d, const char *name)
{
	char path[STATE_PATH_BYTES];
	return access(state_dir_path(d, name, path), F_OK) == 0;
}

START_TEST(flows_are_there_again_after_the_process)
{
	struct state_dir d = open_dir();
	struct flow_file f;
	struct flow_table t;
	open_flows(&f, &d, CAPACITY, "host1", &t);
	ck_assert(!f.is_restored);
	add_flows(&t, 700);
	flow_file_close(&f);
	open_flows(&f, &d, CAPACITY, "host1", &t);
	ck_assert(f.is_restored);
	ck_assert_uint_eq(t.n_flows, 700);
	struct flow_tuple tuple = flow_number(123);
	ck_assert_ptr_nonnull(find_flow(&t, &tuple, FLOW_REPLY));
	flow_file_close(&f);
	struct stat st;
	char path[STATE_PATH_BYTES];
	ck_assert_int_eq(stat(state_dir_path(&d, "flows", path), &st), 0);
	ck_assert_uint_eq(st.st_mode & 0777, 0600);
	remove_dir(&d);
}
END_TEST

// A file as the version before left it: of layout 4, which ends where the addresses of IPv6 begin now.
static void make_older(const struct state_dir *d, uint32_t capacity)
{
	char path[STATE_PATH_BYTES];
	uint32_t version = FLOW_TABLE_LAYOUT_WITH_IP6 - 1;
	int fd = open(state_dir_path(d, "flows", path), O_RDWR | O_CLOEXEC);
	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(pwrite(fd, &version, sizeof version, 8), sizeof version);
	ck_assert_int_eq(ftruncate(fd, (off_t)flow_table_persistent_bytes_ip4(capacity)), 0);
	close(fd);
}

START_TEST(a_file_from_before_ip6_is_taken_over_and_grows)
{
	struct state_dir d = open_dir();
	struct flow_file f;
	struct flow_table t;
	for (uint32_t capacity = CAPACITY; capacity <= 2 * CAPACITY; capacity *= 2) { // also carried over
		open_flows(&f, &d, CAPACITY, "host1", &t);
		if (capacity == CAPACITY)
			add_flows(&t, 700);
		ck_assert_uint_eq(t.n_flows, 700);
		flow_file_close(&f);
		make_older(&d, CAPACITY);
		open_flows(&f, &d, capacity, "host1", &t);
		ck_assert(f.is_restored);
		ck_assert_uint_eq(t.n_flows, 700);
		flow_file_close(&f);
		struct stat st;
		char path[STATE_PATH_BYTES];
		ck_assert_int_eq(stat(state_dir_path(&d, "flows", path), &st), 0);
		ck_assert_uint_eq(st.st_size, flow_table_persistent_bytes(capacity));
	}
	ck_assert(!exists(&d, "flows.damaged"));
	remove_dir(&d);
}
END_TEST

START_TEST(another_capacity_carries_the_flows_over)
{
	struct state_dir d = open_dir();
	struct flow_file f;
	struct flow_table t;
	open_flows(&f, &d, CAPACITY, "host1", &t);
	add_flows(&t, 700);
	flow_file_close(&f);
	open_flows(&f, &d, 4 * CAPACITY, "host1", &t);
	ck_assert_uint_eq(t.n_flows, 700);
	ck_assert_uint_eq(t.capacity, 4 * CAPACITY);
	flow_file_close(&f);
	open_flows(&f, &d, CAPACITY / 2, "host1", &t); // some have no room any more
	ck_assert_uint_eq(t.n_flows, CAPACITY / 2);
	flow_file_close(&f);
	ck_assert(!exists(&d, "flows.damaged"));
	remove_dir(&d);
}
END_TEST

static void spoil(const struct state_dir *d, off_t at, int mode)
{
	char path[STATE_PATH_BYTES];
	int fd = open(state_dir_path(d, "flows", path), O_RDWR);
	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(pwrite(fd, "\x77", 1, at), 1);
	if (mode != 0)
		ck_assert_int_eq(fchmod(fd, (mode_t)mode), 0);
	close(fd);
}

START_TEST(a_damaged_or_foreign_file_is_set_aside)
{
	struct state_dir d = open_dir();
	struct flow_file f;
	struct flow_table t;
	char path[STATE_PATH_BYTES];
	for (int kind = 0; kind < 5; kind++) {
		open_flows(&f, &d, CAPACITY, "host1", &t);
		add_flows(&t, 100);
		flow_file_close(&f);
		const char *host = "host1";
		switch (kind) {
		case 0: spoil(&d, 3, 0); break; // the header
		case 1: spoil(&d, 64 + 32 * 7 + 5, 0); break; // an entry
		case 2: ck_assert_int_eq(truncate(state_dir_path(&d, "flows", path), 5000), 0); break;
		case 3: spoil(&d, 60, 0644); break; // others may read it
		case 4: host = "host2"; break; // not its table
		}
		open_flows(&f, &d, CAPACITY, host, &t);
		ck_assert_msg(!f.is_restored && t.n_flows == 0, "kind %d was used", kind);
		ck_assert(exists(&d, "flows.damaged"));
		flow_file_close(&f);
		unlink(state_dir_path(&d, "flows", path));
		unlink(state_dir_path(&d, "flows.damaged", path));
	}
	remove_dir(&d);
}
END_TEST

START_TEST(a_link_in_the_place_of_the_file_is_not_followed)
{
	struct state_dir d = open_dir();
	char path[STATE_PATH_BYTES];
	ck_assert_int_eq(symlink("/etc/passwd", state_dir_path(&d, "flows", path)), 0);
	struct flow_file f;
	struct flow_table t;
	open_flows(&f, &d, CAPACITY, "host1", &t);
	ck_assert(!f.is_restored);
	flow_file_close(&f);
	remove_dir(&d);
}
END_TEST

START_TEST(two_agents_do_not_share_a_directory)
{
	struct state_dir d = open_dir();
	pid_t child = fork();
	if (child == 0) {
		struct state_dir second;
		struct error err = { 0 };
		_exit(state_dir_open(&second, directory, &err) == ERR_CONFLICT ? 0 : 1);
	}
	int status;
	waitpid(child, &status, 0);
	ck_assert(WIFEXITED(status) && WEXITSTATUS(status) == 0);
	remove_dir(&d);
}
END_TEST

static struct snat_image two_leases(void)
{
	struct snat_image image = { .version = 42, .clock_ms = 1700000000000 };
	for (uint32_t i = 0; i < 2; i++) {
		struct lease l = { .vip = test_addr("203.0.113.10"),
			               .dip = test_addr("10.1.1.11"),
			               .first_port = (uint16_t)(1024 + 8 * i),
			               .n_ports = 8,
			               .epoch = 7 + i,
			               .granted_ms = 1600000000000 };
		ck_assert_int_eq(lease_list_append(&image.held, &l), 0);
	}
	return image;
}

START_TEST(the_last_configuration_and_its_leases_are_there_again)
{
	struct state_dir d = open_dir();
	struct error err = { 0 };
	struct store saved;
	struct store loaded;
	struct snat_image leases = two_leases();
	struct snat_image again;
	fixture_store(&saved);
	store_init(&loaded);
	ck_assert_int_eq(store_file_load(&d, &loaded, &again, &err), ERR_NOT_FOUND);
	ck_assert_msg(store_file_save(&d, &saved, &leases, &err) == 0, "%s", err.text);
	ck_assert_msg(store_file_load(&d, &loaded, &again, &err) == 0, "%s", err.text);
	ck_assert(store_equal(&saved, &loaded));
	ck_assert_uint_eq(again.version, 42);
	ck_assert_uint_eq(again.clock_ms, leases.clock_ms);
	ck_assert_uint_eq(again.held.n, 2);
	ck_assert_mem_eq(again.held.items, leases.held.items, 2 * sizeof *leases.held.items);
	snat_image_fini(&again);
	snat_image_fini(&leases);
	store_fini(&loaded);
	store_fini(&saved);
	remove_dir(&d);
}
END_TEST

// Every byte of it changed, and every length: it is what was saved in some other way, or it is refused, and then nothing is
// taken from it.
START_TEST(a_damaged_configuration_file_gives_nothing_or_something_whole)
{
	struct state_dir d = open_dir();
	struct error err = { 0 };
	struct store saved;
	struct snat_image leases = two_leases();
	char path[STATE_PATH_BYTES];
	char damaged[STATE_PATH_BYTES];
	struct stat st;
	fixture_store(&saved);
	ck_assert_msg(store_file_save(&d, &saved, &leases, &err) == 0, "%s", err.text);
	ck_assert_int_eq(stat(state_dir_path(&d, "config", path), &st), 0);
	for (off_t at = 0; at < st.st_size; at++) {
		for (int kind = 0; kind < 2; kind++) {
			struct store loaded;
			struct snat_image again;
			store_init(&loaded);
			ck_assert_msg(store_file_save(&d, &saved, &leases, &err) == 0, "%s", err.text);
			int fd = open(path, O_RDWR);
			if (kind == 0)
				ck_assert_int_eq(ftruncate(fd, at), 0);
			else
				ck_assert_int_eq(pwrite(fd, "\xff", 1, at), 1);
			close(fd);
			int code = store_file_load(&d, &loaded, &again, &err);
			ck_assert_int_eq(exists(&d, "config.damaged"), code != 0);
			if (code == 0) {
				snat_image_fini(&again);
				store_fini(&loaded);
			}
			ck_assert_uint_eq(loaded.dips.n, 0);
			unlink(state_dir_path(&d, "config.damaged", damaged));
		}
	}
	snat_image_fini(&leases);
	store_fini(&saved);
	remove_dir(&d);
}
END_TEST

// ---- The local socket ----

static struct change_list one(struct change c)
{
	struct change_list list = { 0 };
	ck_assert_int_eq(change_list_append(&list, &c), 0);
	return list;
}

START_TEST(the_local_socket_takes_dips_of_its_own_host_only)
{
	struct store s;
	fixture_store(&s);
	const struct {
		const char *what;
		struct change change;
		int want;
	} rows[] = {
		{ "put", test_put_dip("10.1.1.50", "host1", "vm50"), 0 },
		{ "put without host", test_put_dip("10.1.1.50", "", "vm50"), 0 },
		{ "put of another host", test_put_dip("10.1.1.50", "host2", "vm50"), ERR_INVALID },
		{ "put with a long interface", test_put_dip("10.1.1.50", "host1", "an-interface-of-20-c"), ERR_INVALID },
		{ "delete", test_delete(OBJECT_DIP, "10.1.1.11"), 0 },
		{ "delete of another host's", test_delete(OBJECT_DIP, "10.1.2.11"), ERR_NOT_FOUND },
		{ "delete of nobody's", test_delete(OBJECT_DIP, "10.9.9.9"), ERR_NOT_FOUND },
		{ "a VIP", test_delete(OBJECT_VIP, "203.0.113.10"), ERR_INVALID },
		{ "a mux", test_put_node(OBJECT_MUX, "mux9", "10.0.0.39"), ERR_INVALID },
	};
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		struct change_list list = one(rows[i].change);
		struct error err = { 0 };
		int code = local_command_check(&list, "host1", &s, &err);
		ck_assert_msg(code == rows[i].want, "%s: %d %s", rows[i].what, code, err.text);
		if (code == 0 && !list.items[0].is_delete)
			ck_assert_str_eq(list.items[0].dip.host, "host1");
		change_list_fini(&list);
	}
	struct change_list empty = { 0 };
	ck_assert_int_eq(local_command_check(&empty, "host1", &s, &(struct error){ 0 }), ERR_INVALID);
	store_fini(&s);
}
END_TEST

// ---- The configuration file ----

#define GOOD_START                                                                                                     \
	"{ \"name\": \"host1\", \"address\": \"10.0.0.21/24\", \"uplink\": {\"interface\": \"eth0\"}, \"tap\": \"host0\"," \
	"  \"gateways\": [\"10.0.0.1\"], \"managers\": [\"10.0.0.11:7400\"],"

static int read_text(const char *text, struct agent_file_config *c, struct error *err)
{
	char path[] = "/tmp/agent-config-XXXXXX";
	int fd = mkstemp(path);
	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(write(fd, text, strlen(text)), (ssize_t)strlen(text));
	close(fd);
	int code = agent_file_config_read(path, c, err);
	unlink(path);
	return code;
}

START_TEST(a_config_file_is_read_with_its_defaults)
{
	struct agent_file_config c;
	struct error err;
	int code = read_text(GOOD_START "\"local_socket\": \"/run/a.sock\", \"state_dir\": \"/run/a\" }", &c, &err);
	ck_assert_msg(code == 0, "%s", err.text);
	ck_assert_str_eq(c.vm_driver, "af_xdp");
	ck_assert_uint_eq(c.max_flows, 1048576);
	ck_assert_uint_eq(c.max_vms, 16);
	ck_assert_uint_eq(c.mss, 1540);
	ck_assert(!c.proxy_arp);
	struct ip_addr probe_address = test_addr("169.254.1.1");
	ck_assert(ip_addr_equal(&c.probe_address, &probe_address));
	probe_address = test_addr("fd00:a9fe:101::1");
	ck_assert(ip_addr_equal(&c.probe_address6, &probe_address));
	ck_assert_ptr_null(node_config_address(&c.node, true));
	ck_assert_ptr_null(node_config_gateway(&c.node, true));
	ck_assert_ptr_eq(node_config_address(&c.node, false), &c.node.address);
}
END_TEST

#define REST \
	"\"local_socket\": \"/a\", \"state_dir\": \"/b\", \"uplink\": {\"interface\": \"eth0\"}, \"tap\": \"host0\", "
#define START6 "{ \"name\": \"host1\", \"managers\": [\"[2001:db8::11]:7400\"], " REST

START_TEST(a_node_has_addresses_and_gateways_of_either_family_or_both)
{
	static const struct {
		const char *rest;
		const char *v4; // address, gateway; NULL: none
		const char *v6;
		const char *gateway4;
		const char *gateway6;
	} rows[] = {
		{ "\"address\": \"2001:db8::21/64\", \"gateways\": [\"fe80::1\"] }", NULL, "2001:db8::21", NULL, "fe80::1" },
		{ "\"address\": \"10.0.0.21/24\", \"address6\": \"2001:db8::21/64\", "
		  "\"gateways\": [\"2001:db8::2\", \"10.0.0.1\", \"fe80::1\"] }",
		  "10.0.0.21", "2001:db8::21", "10.0.0.1", "2001:db8::2" },
		{ "\"address\": \"10.0.0.21/24\", \"gateways\": [\"10.0.0.1\", \"fe80::1\"] }", "10.0.0.21", NULL, "10.0.0.1",
		  "fe80::1" },
	};
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		char text[1024];
		struct agent_file_config c;
		struct error err;
		text_format(text, sizeof text, "%s%s", START6, rows[i].rest);
		ck_assert_msg(read_text(text, &c, &err) == 0, "%s", err.text);
		for (int is_ip6 = 0; is_ip6 < 2; is_ip6++) {
			const struct ip_prefix *address = node_config_address(&c.node, is_ip6);
			const struct ip_addr *gateway = node_config_gateway(&c.node, is_ip6);
			const char *want = is_ip6 ? rows[i].v6 : rows[i].v4;
			const char *want_gateway = is_ip6 ? rows[i].gateway6 : rows[i].gateway4;
			ck_assert_msg((address != NULL) == (want != NULL), "row %zu", i);
			ck_assert_msg((gateway != NULL) == (want_gateway != NULL), "row %zu", i);
			struct ip_addr addr = test_addr(want != NULL ? want : "::");
			struct ip_addr next = test_addr(want_gateway != NULL ? want_gateway : "::");
			ck_assert(want == NULL || (ip_addr_equal(&address->addr, &addr) && address->bits == (is_ip6 ? 64 : 24)));
			ck_assert(want_gateway == NULL || ip_addr_equal(gateway, &next));
		}
		struct node_info info = node_config_info(&c.node);
		ck_assert_str_eq(info.name, "host1");
		ck_assert(ip_addr_equal(&info.addr, &c.node.address.addr));
		ck_assert(ip_addr_equal(&info.addr6, &c.node.address6.addr));
	}
}
END_TEST

START_TEST(wrong_addresses_of_a_node_are_refused_by_field)
{
	static const char *const rows[][2] = {
		{ "\"address\": \"2001:db8::21\", \"gateways\": [\"fe80::1\"] }",
		  "address: must be an address with its prefix" },
		{ "\"address\": \"fe80::21/64\", \"gateways\": [\"fe80::1\"] }", "address: fe80::21/64 is not an address" },
		{ "\"address\": \"ff02::21/64\", \"gateways\": [\"fe80::1\"] }", "it is a multicast address" },
		{ "\"address\": \"2001:db8::21/129\", \"gateways\": [\"fe80::1\"] }", "prefix length must be 0 to 128" },
		{ "\"address\": \"2001:db8::21/64\", \"address6\": \"2001:db8::22/64\", \"gateways\": [\"fe80::1\"] }",
		  "address6: \"address\" is IPv6 already" },
		{ "\"address\": \"10.0.0.21/24\", \"address6\": \"10.0.0.22/24\", \"gateways\": [\"10.0.0.1\"] }",
		  "address6: must be an IPv6 address" },
		{ "\"address\": \"10.0.0.21/24\", \"address6\": \"2001:db8::21\", \"gateways\": [\"10.0.0.1\"] }",
		  "address6: must be an address with its prefix length" },
		{ "\"address\": \"10.0.0.21/24\", \"gateways\": [\"ff02::1\"] }", "gateways: ff02::1 is no router's address" },
		{ "\"address\": \"10.0.0.21/24\", \"gateways\": [\"10.0.0.1\"], \"probe_address6\": \"10.0.0.9\" }",
		  "probe_address6: must be an IPv6 address" },
		{ "\"address\": \"10.0.0.21/24\", \"gateways\": [\"10.0.0.1\"], \"probe_address6\": \"fe80::1\" }",
		  "probe_address6: must be an IPv6 address" },
		{ "\"address\": \"2001:db8::21/64\", \"gateways\": [\"fe80::1\"], \"probe_address6\": \"2001:db8::21\" }",
		  "probe_address6: must not be the host's own address" },
	};
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		char text[1024];
		struct agent_file_config c;
		struct error err;
		text_format(text, sizeof text, "%s%s", START6, rows[i][0]);
		ck_assert_int_eq(read_text(text, &c, &err), ERR_INVALID);
		ck_assert_msg(strstr(err.text, rows[i][1]) != NULL, "%s", err.text);
	}
}
END_TEST

START_TEST(the_segment_size_follows_the_mtu)
{
	static const struct {
		const char *rest;
		uint16_t want;
	} rows[] = {
		{ "\"mtu\": 1500", 1440 },
		{ "\"mtu\": 9000", 8940 },
		{ "\"mtu\": 576", 516 },
		{ "\"mtu\": 1600, \"mss\": 1200", 1200 },
	};
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		char text[1024];
		struct agent_file_config c;
		struct error err;
		text_format(text, sizeof text, "%s\"local_socket\": \"/a\", \"state_dir\": \"/b\", %s }", GOOD_START,
		            rows[i].rest);
		ck_assert_msg(read_text(text, &c, &err) == 0, "%s", err.text);
		ck_assert_uint_eq(c.mss, rows[i].want);
	}
}
END_TEST

START_TEST(a_wrong_config_file_is_refused_by_field)
{
	static const struct {
		const char *rest;
		const char *field;
	} rows[] = {
		{ "\"state_dir\": \"/run/a\" }", "local_socket" },
		{ "\"local_socket\": \"a.sock\", \"state_dir\": \"/run/a\" }", "local_socket" },
		{ "\"local_socket\": \"/a\", \"state_dir\": \"run\" }", "state_dir" },
		{ "\"local_socket\": \"/a\", \"state_dir\": \"/b\", \"vm_driver\": \"tap\" }", "vm_driver" },
		{ "\"local_socket\": \"/a\", \"state_dir\": \"/b\", \"max_flows\": 10 }", "max_flows" },
		{ "\"local_socket\": \"/a\", \"state_dir\": \"/b\", \"max_vms\": 2000 }", "max_vms" },
		{ "\"local_socket\": \"/a\", \"state_dir\": \"/b\", \"mss\": 100 }", "mss" },
		{ "\"local_socket\": \"/a\", \"state_dir\": \"/b\", \"mtu\": 1500, \"mss\": 1460 }",
		  "mss: must be 536 to 1440" },
		{ "\"local_socket\": \"/a\", \"state_dir\": \"/b\", \"maxflows\": 5000 }", "maxflows" },
		{ "\"local_socket\": \"/a\", \"state_dir\": \"/b\", \"proxy_arp\": 1 }", "proxy_arp" },
		{ "\"local_socket\": \"/a\", \"state_dir\": \"/b\", \"probe_address\": \"fe80::1\" }", "probe_address" },
		{ "\"local_socket\": \"/a\", \"state_dir\": \"/b\", \"probe_address\": \"0.0.0.0\" }", "probe_address" },
		{ "\"local_socket\": \"/a\", \"state_dir\": \"/b\", \"probe_address\": \"10.0.0.21\" }", "probe_address" },
	};
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		char text[1024];
		struct agent_file_config c;
		struct error err;
		text_format(text, sizeof text, "%s%s", GOOD_START, rows[i].rest);
		ck_assert_int_ne(read_text(text, &c, &err), 0);
		ck_assert_msg(strstr(err.text, rows[i].field) != NULL, "%s is not named: %s", rows[i].field, err.text);
	}
}
END_TEST

SUITE_MAIN("agent state", flows_are_there_again_after_the_process, a_file_from_before_ip6_is_taken_over_and_grows,
           another_capacity_carries_the_flows_over, a_damaged_or_foreign_file_is_set_aside,
           a_link_in_the_place_of_the_file_is_not_followed, two_agents_do_not_share_a_directory,
           the_last_configuration_and_its_leases_are_there_again,
           a_damaged_configuration_file_gives_nothing_or_something_whole,
           the_local_socket_takes_dips_of_its_own_host_only, a_config_file_is_read_with_its_defaults,
           a_node_has_addresses_and_gateways_of_either_family_or_both, wrong_addresses_of_a_node_are_refused_by_field,
           the_segment_size_follows_the_mtu, a_wrong_config_file_is_refused_by_field)
