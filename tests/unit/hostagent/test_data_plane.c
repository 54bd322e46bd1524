// The agent's data plane with DPDK, between two VMs and a gateway that the test plays on veth pairs in a private network
// namespace: a packet waits for its ports, and goes on, is refused, is given up, or goes with its VM; and a
// probe of the host's kernel reaches a VM.
#include <check.h>
#include <poll.h>
#include <stdio.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "common/base/memory.h"
#include "hostagent/core/agent.h"
#include "hostagent/dpdk/data_plane.h"
#include "hostagent/io/probe_socket.h"
#include "tests/support/packet_builder.h"
#include "tests/support/vip_builder.h"
#include "tests/unit/dpdk/netns.h"
#include "tests/unit/hostagent/flow_block.h"

#define N_FLOWS 4096
#define WAIT_MS 5000
#define VIP "203.0.113.10"
#define SERVER "198.51.100.7"
#define FIRST_PORT 1024
#define TEXT_BYTES 256
#define PROBE_ADDRESS "169.254.1.1"

// libxdp 1.3 keeps a little of every AF_XDP socket for ever.
const char *__lsan_default_suppressions(void);

const char *__lsan_default_suppressions(void)
{
	return "leak:xsk_umem__create\n";
}

static const struct mac gateway_mac = AGENT_GATEWAY_MAC;
static const struct mac vm_macs[2] = { { { 2, 0, 0, 1, 1, 11 } }, { { 2, 0, 0, 1, 1, 12 } } };
static const char *const dips[2] = { "10.1.1.11", "10.1.1.12" };

static struct node_config node = { .name = "host1",
	                               .uplink_interface = "up0",
	                               .uplink_driver = "af_packet",
	                               .tap = "host0",
	                               .n_gateways = 1,
	                               .mtu = 1600 };
static struct data_plane *dp;
static struct store store;
static struct snat *snat;
static void *block;
static int gateway_fd;
static int vm_fds[2];

static uint64_t now_ms(void)
{
	struct timespec t;
	clock_gettime(CLOCK_BOOTTIME, &t);
	return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

// ---- The network ----

static void send_frame(int fd, struct test_frame f)
{
	ck_assert_int_eq(send(fd, test_data(&f), f.len, 0), (ssize_t)f.len);
}

// Is it a request for the gateway's address? Then the gateway answers.
static bool answer_arp(const uint8_t *frame, size_t n)
{
	be32 gateway = test_ip4("10.0.0.1");
	if (n < 42 || frame[12] != 8 || frame[13] != 6 || frame[21] != 1 || load32(frame + 38) != gateway)
		return false;
	struct mac asker;
	memcpy(&asker, frame + 6, sizeof asker);
	send_frame(gateway_fd, test_arp(2, &TEST_MAC_A, "10.0.0.1", &asker, "10.0.0.101", &asker));
	return true;
}

// The next IPv4 frame at fd whose text holds all of `parts`; the others are passed over. NULL: none came in time.
static const char *receive(int fd, const char *a, const char *b)
{
	static char text[TEXT_BYTES];
	uint64_t end = now_ms() + WAIT_MS;
	struct pollfd p = { .fd = fd, .events = POLLIN };
	while (now_ms() < end) {
		uint8_t frame[2048];
		ssize_t n = poll(&p, 1, 100) == 1 ? recv(fd, frame, sizeof frame, 0) : -1;
		if (n < 42 || answer_arp(frame, (size_t)n) || frame[12] != 8 || frame[13] != 0)
			continue;
		(void)test_format(frame, (uint32_t)n, text, sizeof text);
		if (strstr(text, a) != NULL && strstr(text, b) != NULL)
			return text;
	}
	return NULL;
}

static struct test_tuple tuple_of(int vm, uint16_t port, const char *to)
{
	return (struct test_tuple){
		.src = dips[vm], .dst = to, .src_port = port, .dst_port = 80, .src_mac = &vm_macs[vm], .dst_mac = &gateway_mac
	};
}

static void vm_connects(int vm, uint16_t port, const char *to)
{
	struct test_tuple t = tuple_of(vm, port, to);
	send_frame(vm_fds[vm], test_tcp(&t, TCP_SYN, "", 0));
}

static void make_network(void)
{
	netns_run("ip link add up0 type veth peer name gw0; ip link set gw0 mtu 1600 up; ip link set up0 mtu 1600 up");
	netns_run("ip link add vm1 type veth peer name vm1p; ip link set vm1p up; ip link set vm1 up");
	netns_run("ip link add vm2 type veth peer name vm2p; ip link set vm2p up; ip link set vm2 up");
	gateway_fd = netns_raw_socket("gw0");
	vm_fds[0] = netns_raw_socket("vm1p");
	vm_fds[1] = netns_raw_socket("vm2p");
}

// ---- The configuration ----

static void apply(struct change c)
{
	ck_assert_int_eq(store_apply(&store, &c), 0);
	change_fini(&c);
	store.version++;
}

static void use_config(void)
{
	struct agent_config *config;
	struct error err = { 0 };
	ck_assert_msg(agent_config_create(&store, "host1", 2, test_names(), data_plane_get_config(dp), &config, &err) == 0,
	              "%s", err.text);
	data_plane_set_config(dp, config);
}

static void attach(int vm)
{
	apply(test_put_dip(dips[vm], "host1", vm == 0 ? "vm1" : "vm2"));
	use_config();
	const struct agent_config *config = data_plane_get_config(dp);
	uint16_t port = agent_config_lookup_dip(config, test_ip4(dips[vm]));
	uint64_t end = now_ms() + WAIT_MS;
	while (data_plane_port_state(dp, port) != VM_PORT_OPEN && now_ms() < end)
		(void)data_plane_tend_ports(dp);
	ck_assert_int_eq(data_plane_port_state(dp, port), VM_PORT_OPEN);
}

static void put_vip(void)
{
	struct vip_config *v = memory_array(1, sizeof *v);
	v->vip = test_addr(VIP);
	ck_assert(text_copy(v->tenant, sizeof v->tenant, "shop"));
	v->endpoints = memory_array(1, sizeof *v->endpoints);
	v->n_snat_dips = 2;
	v->snat_dips = memory_array(2, sizeof *v->snat_dips);
	v->snat_dips[0] = test_addr(dips[0]);
	v->snat_dips[1] = test_addr(dips[1]);
	ck_assert_int_eq(vip_config_validate(v, NULL), 0);
	apply(test_put_vip(v));
}

// ---- The control thread's part ----

static void give(struct snat_order order)
{
	order.vip = test_ip4(VIP);
	ck_assert_uint_eq(data_plane_send_orders(dp, &order, 1), 1);
}

static void lease(int vm, uint16_t first_port, uint32_t epoch)
{
	give((struct snat_order){
		.kind = SNAT_ORDER_LEASE, .dip = test_ip4(dips[vm]), .first_port = first_port, .n_ports = 8, .epoch = epoch });
}

static void answer(int vm, uint64_t seq, enum error_code code)
{
	give((struct snat_order){ .kind = SNAT_ORDER_ANSWERED, .dip = test_ip4(dips[vm]), .seq = seq, .code = code });
}

// The next report of this kind about the VM.
static struct snat_report report_of(int vm, enum snat_report_kind kind)
{
	uint64_t end = now_ms() + WAIT_MS;
	struct pollfd p = { .fd = data_plane_report_fd(dp), .events = POLLIN };
	while (now_ms() < end) {
		struct snat_report r;
		while (data_plane_next_report(dp, &r))
			if (r.kind == kind && r.dip == test_ip4(dips[vm]))
				return r;
		(void)poll(&p, 1, 100);
	}
	ck_abort_msg("no report of kind %d", kind);
}

static bool read_snat(int vm, struct snat_dip_status *ret_status, uint32_t *ret_n_held)
{
	for (uint32_t slot = 0; slot < data_plane_snat_slots(dp); slot++)
		if (data_plane_read_snat(dp, (uint16_t)slot, ret_status, ret_n_held) && ret_status->dip == test_ip4(dips[vm]))
			return true;
	return false;
}

// The VM's next request: not one that is repeated.
static struct snat_report request_of(int vm)
{
	static uint64_t last_seq;
	struct snat_report r;
	do {
		r = report_of(vm, SNAT_REPORT_WANTED);
	} while (r.seq == last_seq);
	last_seq = r.seq;
	return r;
}

static uint32_t held_of(int vm)
{
	struct snat_dip_status status;
	uint32_t n_held;
	return read_snat(vm, &status, &n_held) ? n_held : 0;
}

static uint64_t counter(const char *name)
{
	static struct agent_counter_value values[256];
	uint32_t n = data_plane_read_counters(dp, values, 256);
	for (uint32_t i = 0; i < n && i < 256; i++)
		if (strcmp(values[i].name, name) == 0)
			return values[i].value;
	ck_abort_msg("no counter %s", name);
}

static void wait_counter(const char *name, uint64_t value)
{
	uint64_t end = now_ms() + WAIT_MS;
	while (counter(name) < value && now_ms() < end)
		(void)poll(NULL, 0, 1);
	ck_assert_uint_eq(counter(name), value);
}

static void wait_held(int vm, uint32_t n)
{
	uint64_t end = now_ms() + WAIT_MS;
	while (held_of(vm) != n && now_ms() < end)
		(void)poll(NULL, 0, 1);
	ck_assert_uint_eq(held_of(vm), n);
}

// ---- In this order, one after the other ----

static void start(void)
{
	struct error err = { 0 };
	struct snat_limits limits = snat_limits_default(N_FLOWS);
	struct data_plane_config config = {
		.node = &node, .vm_driver = "af_packet", .max_vms = 2, .mss = 1440, .probe_address = test_ip4(PROBE_ADDRESS)
	};
	node.address = (struct ip_prefix){ .addr = test_addr("10.0.0.101"), .bits = 24 };
	node.gateways[0] = test_addr("10.0.0.1");
	block = flow_block_create(N_FLOWS);
	struct mono_time now = mono_from_us(now_ms() * 1000);
	flow_table_init(&config.flows, block, N_FLOWS, TEST_SEED, TEST_OWNER, NULL, now);
	ck_assert_int_eq(snat_create(&limits, TEST_SEED, now.us, now, &snat, &err), 0);
	config.snat = snat;
	ck_assert_msg(data_plane_start(&config, &dp, &err) == 0, "%s", err.text);
	store_init(&store);
	apply(test_put_node(OBJECT_HOST, "host1", "10.0.0.101"));
	put_vip();
}

// Until the gateway has answered ARP, nothing leaves.
static void wait_gateway(void)
{
	uint64_t end = now_ms() + WAIT_MS;
	struct pollfd p = { .fd = gateway_fd, .events = POLLIN };
	while (now_ms() < end) {
		uint8_t frame[2048];
		vm_connects(0, 39999, "10.9.9.9"); // leaves with its own address
		if (poll(&p, 1, 20) == 1)
			for (ssize_t n; (n = recv(gateway_fd, frame, sizeof frame, 0)) > 0;)
				if (!answer_arp(frame, (size_t)n) && n > 42 && load32(frame + 30) == test_ip4("10.9.9.9"))
					return;
	}
	ck_abort_msg("nothing leaves");
}

START_TEST(a_first_packet_waits_for_its_ports_and_goes_on)
{
	start();
	attach(0);
	wait_gateway();
	give((struct snat_order){ .kind = SNAT_ORDER_REBUILD });
	give((struct snat_order){ .kind = SNAT_ORDER_LINK, .is_up = true });
	vm_connects(0, 40001, SERVER);
	struct snat_report wanted = request_of(0);
	ck_assert_uint_gt(wanted.n_wanted, 0);
	vm_connects(0, 40002, SERVER);
	wait_held(0, 2);
	lease(0, FIRST_PORT, 1);
	answer(0, wanted.seq, ERR_OK);
	ck_assert_ptr_nonnull(receive(gateway_fd, VIP ":10", SERVER ":80 tcp S"));
	ck_assert_ptr_nonnull(receive(gateway_fd, VIP ":10", SERVER ":80 tcp S"));
	wait_held(0, 0);
}
END_TEST

START_TEST(what_is_refused_is_told_to_the_vm_that_sent_it)
{
	for (uint16_t i = 3; i <= 8; i++) // all 8 ports towards the server are in use
		vm_connects(0, (uint16_t)(40000 + i), SERVER);
	for (uint16_t i = 3; i <= 8; i++)
		ck_assert_ptr_nonnull(receive(gateway_fd, VIP ":10", SERVER ":80 tcp S"));
	struct snat_report wanted = request_of(0); // ahead of need
	vm_connects(0, 40009, SERVER);
	wait_held(0, 1);
	answer(0, wanted.seq, ERR_LIMIT);
	const char *text = receive(vm_fds[0], SERVER ":80 > 10.1.1.11:40009", " tcp ");
	ck_assert_ptr_nonnull(text);
	ck_assert_ptr_nonnull(strstr(text, " tcp R"));
	struct snat_report exhausted = report_of(0, SNAT_REPORT_EXHAUSTED);
	struct ip_addr server = test_addr(SERVER);
	ck_assert(ip_addr_equal(&exhausted.remote, &server));
	ck_assert_uint_eq(be16_to(exhausted.remote_port), 80);
	ck_assert_int_eq(exhausted.code, ERR_LIMIT);
	ck_assert_uint_eq(counter("drop_snat_exhausted"), 1);
	vm_connects(0, 40009, "198.51.100.8"); // towards another server the ports are free
	ck_assert_ptr_nonnull(receive(gateway_fd, VIP ":10", "198.51.100.8:80 tcp S"));
}
END_TEST

START_TEST(more_frames_than_a_dip_may_hold_push_out_the_oldest)
{
	attach(1);
	uint64_t before = counter("drop_snat_hold_full");
	for (uint16_t i = 0; i < SNAT_HOLD_PACKETS + 6; i++)
		vm_connects(1, (uint16_t)(50000 + i), SERVER);
	wait_counter("drop_snat_hold_full", before + 6);
	ck_assert_uint_eq(held_of(1), SNAT_HOLD_PACKETS);
}
END_TEST

START_TEST(frames_of_a_vm_that_goes_go_with_it)
{
	uint64_t before = counter("drop_vm_not_ready");
	apply(test_delete(OBJECT_DIP, dips[1]));
	use_config();
	wait_counter("drop_vm_not_ready", before + SNAT_HOLD_PACKETS);
	struct snat_dip_status status;
	uint32_t n_held;
	uint64_t end = now_ms() + WAIT_MS;
	while (read_snat(1, &status, &n_held) && now_ms() < end)
		(void)poll(NULL, 0, 1);
	ck_assert_msg(!read_snat(1, &status, &n_held), "its slot is not given up");
}
END_TEST

START_TEST(who_has_waited_for_3_s_is_told)
{
	attach(1);
	uint64_t start = now_ms();
	vm_connects(1, 50100, SERVER);
	const char *text = receive(vm_fds[1], SERVER ":80 > 10.1.1.12:50100", " tcp R");
	ck_assert_ptr_nonnull(text);
	ck_assert_uint_ge(now_ms() - start, SNAT_HOLD_US / 1000 - 50);
	wait_held(1, 0);
}
END_TEST

// ---- Probes ----

static char probe_cause[128];
static int n_results;
static bool is_closed;

static void on_probe_result(struct probe_socket *s, enum probe_outcome outcome, const char *cause)
{
	n_results++;
	text_format(probe_cause, sizeof probe_cause, "%s", outcome == PROBE_SUCCEEDED ? "well" : cause);
}

static void on_probe_closed(struct probe_socket *s)
{
	is_closed = true;
}

// The VM accepts the connection whose SYN is `text`, by test_format.
static void vm_accepts(const char *text)
{
	unsigned port;
	unsigned seq;
	ck_assert_int_eq(sscanf(strstr(text, PROBE_ADDRESS ":"), PROBE_ADDRESS ":%u", &port), 1);
	ck_assert_int_eq(sscanf(strstr(text, " seq "), " seq %u", &seq), 1);
	struct test_tuple t = tuple_of(0, 8080, PROBE_ADDRESS);
	t.dst_port = (uint16_t)port;
	struct test_frame f = test_tcp(&t, TCP_SYN | TCP_ACK, NULL, 0);
	((struct tcp_header *)(test_data(&f) + ETH_BYTES + IP4_BYTES))->ack = be32_from(seq + 1);
	test_fix_checksums(&f);
	send_frame(vm_fds[0], f);
}

static bool gateway_saw_the_probe_address(void)
{
	uint8_t frame[2048];
	be32 address = test_ip4(PROBE_ADDRESS);
	for (ssize_t n; (n = recv(gateway_fd, frame, sizeof frame, 0)) > 0;) {
		for (ssize_t i = ETH_BYTES; i + 4 <= n; i++)
			if (memcmp(frame + i, &address, 4) == 0)
				return true;
	}
	return false;
}

// The kernel has no route to the DIP but by the gateway.
START_TEST(a_probe_reaches_the_vm_by_the_kernel_and_the_gateway_sees_nothing)
{
	uv_loop_t loop;
	struct error err = { 0 };
	struct probe_socket s;
	struct probe_socket_config config = { .loop = &loop,
		                                  .source = test_ip4(PROBE_ADDRESS),
		                                  .device = node.tap,
		                                  .on_result = on_probe_result,
		                                  .on_closed = on_probe_closed };
	struct probe_what what = { .dip = test_addr(dips[0]), .type = PROBE_TCP, .port = 8080 };
	(void)gateway_saw_the_probe_address();
	uv_loop_init(&loop);
	ck_assert_msg(probe_socket_begin(&s, &config, &what, WAIT_MS, &err) == 0, "%s", err.text);
	const char *text = receive(vm_fds[0], PROBE_ADDRESS ":", "10.1.1.11:8080 tcp S");
	ck_assert_ptr_nonnull(text);
	vm_accepts(text);
	uv_run(&loop, UV_RUN_DEFAULT);
	ck_assert_str_eq(probe_cause, "well");
	ck_assert_int_eq(n_results, 1);
	ck_assert(is_closed);
	ck_assert_int_eq(uv_loop_close(&loop), 0);
	ck_assert(!gateway_saw_the_probe_address());
}
END_TEST

static int run(void)
{
	const TTest *const tests[] = { a_first_packet_waits_for_its_ports_and_goes_on,
		                           what_is_refused_is_told_to_the_vm_that_sent_it,
		                           more_frames_than_a_dip_may_hold_push_out_the_oldest,
		                           frames_of_a_vm_that_goes_go_with_it,
		                           who_has_waited_for_3_s_is_told,
		                           a_probe_reaches_the_vm_by_the_kernel_and_the_gateway_sees_nothing };
	Suite *suite = suite_create("agent data plane");
	TCase *tc = tcase_create("ways");
	tcase_set_timeout(tc, 60);
	for (size_t i = 0; i < sizeof tests / sizeof *tests; i++)
		tcase_add_test(tc, tests[i]);
	suite_add_tcase(suite, tc);
	SRunner *runner = srunner_create(suite);
	srunner_set_fork_status(runner, CK_NOFORK);
	srunner_run_all(runner, CK_NORMAL);
	int n_failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return n_failed;
}

int main(void)
{
	if (!netns_enter())
		return SKIPPED_EXIT;
	make_network();
	int n_failed = run();
	data_plane_stop(dp);
	snat_destroy(snat);
	store_fini(&store);
	free(block);
	return n_failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
