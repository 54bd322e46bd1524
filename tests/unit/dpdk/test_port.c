// common/dpdk on veth pairs in a private network namespace: ports that come and go, buffers that come back, sleep.
#include <check.h>
#include <fcntl.h>
#include <poll.h>
#include <rte_ethdev.h>
#include <rte_mbuf.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "common/dpdk/eal.h"
#include "common/dpdk/node_ports.h"
#include "common/dpdk/poller.h"
#include "common/dpdk/port.h"
#include "tests/unit/dpdk/netns.h"

enum { N_PORTS_MAX = 4, FRAME_BYTES = 200, WAIT_MS = 2000 };

// In 300 ms: a stray packet or two cost POLLER_IDLE_POLLS each; spinning would be tens of thousands.
enum { IDLE_TURNS_MAX = 10 * POLLER_IDLE_POLLS };

// libxdp 1.3 keeps a little of every AF_XDP socket for ever.
const char *__lsan_default_suppressions(void);

const char *__lsan_default_suppressions(void)
{
	return "leak:xsk_umem__create\n";
}

static struct node_config node = { .name = "test" };
static struct dpdk_eal eal;

static uint64_t now_us(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_nsec / 1000;
}

// Until the peer's carrier has reached its queueing discipline, the kernel drops what is sent there.
static void wait_carrier(void)
{
	netns_run("until grep -q up /sys/class/net/dv1/operstate; do sleep 0.005; done");
}

static void open_port(struct dpdk_port *port, enum dpdk_driver driver, const char *interface, uint32_t mtu)
{
	struct dpdk_port_config config = { .driver = driver, .interface = interface, .mtu = mtu, .pool = eal.pool };
	struct error err = { 0 };
	ck_assert_msg(dpdk_port_open(port, &config, &err) == 0, "%s", err.text);
	if (driver != DPDK_TAP)
		wait_carrier();
}

static void fill_frame(uint8_t *frame, uint8_t mark)
{
	memset(frame, mark, FRAME_BYTES);
	memset(frame, 0xff, 6);
	frame[12] = 0x88; // an Ethernet type for experiments (IEEE 802)
	frame[13] = 0xb5;
}

// Receives until n marked frames came, or time is over. Returns how many came.
static uint32_t receive(const struct dpdk_port *port, uint32_t n, uint8_t mark)
{
	uint32_t got = 0;
	uint64_t end = now_us() + WAIT_MS * 1000;
	while (got < n && now_us() < end) {
		struct rte_mbuf *packets[32];
		uint16_t burst = rte_eth_rx_burst(port->id, 0, packets, 32);
		for (uint16_t i = 0; i < burst; i++)
			got += packets[i]->data_len == FRAME_BYTES && rte_pktmbuf_mtod(packets[i], uint8_t *)[20] == mark;
		if (burst > 0)
			rte_pktmbuf_free_bulk(packets, burst);
	}
	return got;
}

static void send_frames(const struct dpdk_port *port, uint32_t n, uint8_t mark)
{
	for (uint32_t i = 0; i < n; i++) {
		struct rte_mbuf *m = rte_pktmbuf_alloc(eal.pool);
		ck_assert_ptr_nonnull(m);
		uint8_t *frame = (uint8_t *)rte_pktmbuf_append(m, FRAME_BYTES);
		if (frame == NULL)
			ck_abort_msg("a buffer without room");
		fill_frame(frame, mark);
		while (rte_eth_tx_burst(port->id, 0, &m, 1) == 0)
			;
	}
}

static void send_raw(int fd, uint32_t n, uint8_t mark)
{
	uint8_t frame[FRAME_BYTES];
	fill_frame(frame, mark);
	for (uint32_t i = 0; i < n; i++)
		ck_assert_int_eq(send(fd, frame, sizeof frame, 0), FRAME_BYTES);
}

static uint32_t receive_raw(int fd, uint32_t n, uint8_t mark)
{
	uint32_t got = 0;
	struct pollfd p = { .fd = fd, .events = POLLIN };
	while (got < n && poll(&p, 1, WAIT_MS) == 1) {
		uint8_t frame[2048];
		while (recv(fd, frame, sizeof frame, 0) == FRAME_BYTES)
			got += frame[20] == mark;
	}
	return got;
}

static void make_veth(void)
{
	netns_run("ip link del dv0 2> /dev/null; ip link add dv0 type veth peer name dv1; ip link set dv1 mtu 1600 up; "
	          "ethtool -K dv1 tx off > /dev/null");
}

static void check_both_ways(enum dpdk_driver driver)
{
	make_veth();
	int fd = netns_raw_socket("dv1");
	struct dpdk_port port;
	open_port(&port, driver, "dv0", 1600);
	ck_assert_uint_eq(port.mtu, 1600);
	ck_assert_uint_ge(port.n_fds, 1);
	netns_run("ip link show dv0 | grep -q 'mtu 1600.*UP'"); // it was down, with 1500
	send_raw(fd, 100, 7);
	ck_assert_uint_eq(receive(&port, 100, 7), 100);
	send_frames(&port, 100, 8);
	ck_assert_uint_eq(receive_raw(fd, 100, 8), 100);
	dpdk_port_close(&port);
	close(fd);
	netns_run("ip link del dv0");
}

START_TEST(af_xdp_carries_packets_both_ways)
{
	check_both_ways(DPDK_AF_XDP);
}
END_TEST

START_TEST(af_packet_carries_packets_both_ways)
{
	check_both_ways(DPDK_AF_PACKET);
}
END_TEST

START_TEST(the_mac_is_that_of_the_kernel_interface)
{
	make_veth();
	netns_run("ip link set dv0 address 02:00:00:00:aa:01");
	const uint8_t want[6] = { 2, 0, 0, 0, 0xaa, 1 };
	for (int driver = DPDK_AF_XDP; driver <= DPDK_AF_PACKET; driver++) {
		struct dpdk_port port;
		open_port(&port, (enum dpdk_driver)driver, "dv0", 0);
		ck_assert_mem_eq(port.mac.bytes, want, 6);
		dpdk_port_close(&port);
	}
	netns_run("ip link del dv0");
}
END_TEST

static uint32_t count_fds(void)
{
	uint32_t n = 0;
	for (int fd = 0; fd < 1024; fd++)
		n += fcntl(fd, F_GETFD) >= 0;
	return n;
}

START_TEST(buffers_and_descriptors_come_back_when_ports_come_and_go)
{
	make_veth();
	int fd = netns_raw_socket("dv1");
	unsigned n_before = rte_mempool_avail_count(eal.pool);
	uint32_t n_fds_before = count_fds();
	for (int i = 0; i < 12; i++) {
		struct dpdk_port port;
		open_port(&port, i % 4 == 3 ? DPDK_AF_PACKET : DPDK_AF_XDP, "dv0", 1600);
		send_raw(fd, 50, 1);
		ck_assert_uint_ge(receive(&port, 30, 1), 30); // some are left unread
		send_frames(&port, 40, 2);
		send_raw(fd, 50, 1);
		dpdk_port_close(&port);
		(void)receive_raw(fd, 40, 2);
	}
	ck_assert_uint_eq(rte_mempool_avail_count(eal.pool), n_before);
	ck_assert_uint_eq(count_fds(), n_fds_before);
	close(fd);
	netns_run("ip link del dv0");
}
END_TEST

START_TEST(an_interface_that_does_not_exist_is_refused_by_name)
{
	struct dpdk_port port;
	struct dpdk_port_config config = { .driver = DPDK_AF_XDP, .interface = "nosuch0", .pool = eal.pool };
	struct error err = { 0 };
	ck_assert_int_eq(dpdk_port_open(&port, &config, &err), ERR_NOT_FOUND);
	ck_assert_ptr_nonnull(strstr(err.text, "nosuch0"));
	ck_assert(!port.is_open);
	config = (struct dpdk_port_config){ .driver = DPDK_DEVICE, .device = "net_nosuch0", .pool = eal.pool };
	ck_assert_int_eq(dpdk_port_open(&port, &config, &err), ERR_IO);
	config = (struct dpdk_port_config){ .driver = DPDK_AF_XDP, .interface = "lo", .mtu = 9000, .pool = eal.pool };
	ck_assert_int_eq(dpdk_port_open(&port, &config, &err), ERR_INVALID);
	dpdk_port_close(&port);
}
END_TEST

START_TEST(a_port_opened_twice_is_refused)
{
	make_veth();
	struct dpdk_port port, again;
	struct dpdk_port_config config = { .driver = DPDK_AF_XDP, .interface = "dv0", .pool = eal.pool };
	struct error err = { 0 };
	open_port(&port, DPDK_AF_XDP, "dv0", 0);
	ck_assert_int_eq(dpdk_port_open(&again, &config, &err), ERR_CONFLICT);
	dpdk_port_close(&port);
	netns_run("ip link del dv0");
}
END_TEST

START_TEST(an_interface_that_vanishes_leaves_a_port_that_closes)
{
	unsigned n_before = rte_mempool_avail_count(eal.pool);
	for (int driver = DPDK_AF_XDP; driver <= DPDK_AF_PACKET; driver++) {
		make_veth();
		struct dpdk_port port;
		open_port(&port, (enum dpdk_driver)driver, "dv0", 1600);
		netns_run("ip link del dv0");
		struct rte_mbuf *packets[32]; // the kernel may have said something before
		rte_pktmbuf_free_bulk(packets, rte_eth_rx_burst(port.id, 0, packets, 32));
		dpdk_port_close(&port);
	}
	ck_assert_uint_eq(rte_mempool_avail_count(eal.pool), n_before);
}
END_TEST

START_TEST(a_device_string_opens_any_driver)
{
	struct dpdk_port port;
	struct dpdk_port_config config = { .driver = DPDK_DEVICE, .device = "net_null0,size=60", .pool = eal.pool };
	struct error err = { 0 };
	ck_assert_msg(dpdk_port_open(&port, &config, &err) == 0, "%s", err.text);
	ck_assert_uint_eq(port.n_fds, 0);
	struct rte_mbuf *packets[32];
	ck_assert_uint_eq(rte_eth_rx_burst(port.id, 0, packets, 32), 32);
	rte_pktmbuf_free_bulk(packets, 32);
	dpdk_port_close(&port);
}
END_TEST

START_TEST(a_tap_has_the_name_and_mac_asked_for)
{
	const struct mac mac = { { 2, 0, 0, 0, 0xbb, 1 } };
	struct dpdk_port port;
	struct dpdk_port_config config = { .driver = DPDK_TAP, .interface = "tap7", .mac = &mac, .pool = eal.pool };
	struct error err = { 0 };
	ck_assert_msg(dpdk_port_open(&port, &config, &err) == 0, "%s", err.text);
	netns_run("ip link show tap7 | grep -q 02:00:00:00:bb:01; ip link set tap7 up");
	int fd = netns_raw_socket("tap7");
	send_raw(fd, 10, 3);
	ck_assert_uint_eq(receive(&port, 10, 3), 10);
	send_frames(&port, 10, 4);
	ck_assert_uint_eq(receive_raw(fd, 10, 4), 10);
	close(fd);
	dpdk_port_close(&port);
	netns_run("! ip link show tap7 2> /dev/null");
}
END_TEST

static struct ip_prefix prefix_of(const char *text)
{
	struct ip_prefix p;
	ck_assert_int_eq(ip_prefix_parse(text, &p, NULL), 0);
	return p;
}

START_TEST(the_tap_of_a_node_has_its_addresses_and_a_default_route_of_each_family)
{
	struct node_config both = {
		.uplink_interface = "nv0",
		.uplink_driver = "af_packet",
		.tap = "ntap0",
		.address = prefix_of("10.0.0.31/24"),
		.address6 = prefix_of("2001:db8::31/64"),
		.n_gateways = 4,
		.gateways = { prefix_of("fe80::1").addr, prefix_of("10.0.0.1").addr, prefix_of("2001:db8::1").addr,
		              prefix_of("10.0.0.2").addr },
		.mtu = 1600,
	};
	struct node_ports ports;
	struct error err = { 0 };
	netns_run("ip link add nv0 type veth peer name nv1");
	ck_assert_msg(node_ports_open(&ports, &both, 1, eal.pool, &err) == 0, "%s", err.text);
	netns_run("ip -4 addr show ntap0 | grep -q 'inet 10.0.0.31/24'");
	netns_run("ip -6 addr show ntap0 | grep 'inet6 2001:db8::31/64' | grep -qv tentative");
	netns_run("ip -4 route | grep -q 'default via 10.0.0.1 dev ntap0'");
	netns_run("ip -6 route | grep -q 'default via fe80::1 dev ntap0'");
	netns_run("test $(cat /proc/sys/net/ipv6/conf/ntap0/accept_ra) = 0");
	netns_run("test $(cat /proc/sys/net/ipv6/conf/nv0/disable_ipv6) = 1");
	node_ports_close(&ports);
	both.address = both.address6; // of IPv6 alone
	both.address6 = (struct ip_prefix){ 0 };
	ck_assert_msg(node_ports_open(&ports, &both, 1, eal.pool, &err) == 0, "%s", err.text);
	netns_run("! ip -4 addr show ntap0 | grep -q inet");
	netns_run("! ip -4 route | grep -q default");
	netns_run("ip -6 route | grep -q 'default via fe80::1 dev ntap0'");
	node_ports_close(&ports);
	both.address = prefix_of("10.0.0.31/24"); // of IPv4 alone
	ck_assert_msg(node_ports_open(&ports, &both, 1, eal.pool, &err) == 0, "%s", err.text);
	netns_run("! ip -6 addr show ntap0 | grep -q 'scope global'");
	netns_run("! ip -6 route | grep -q default");
	node_ports_close(&ports);
	netns_run("ip link del nv0");
}
END_TEST

// ---- a worker

struct worker {
	struct dpdk_poller poller;
	struct dpdk_rcu rcu;
	_Atomic(struct dpdk_port *) port;
	atomic_bool stop;
	_Atomic uint64_t n_turns;
	_Atomic uint64_t n_received;
};

static int worker_main(void *arg)
{
	struct worker *w = arg;
	uint32_t idle_polls = 0;
	dpdk_rcu_online(&w->rcu, 0);
	while (!atomic_load(&w->stop)) {
		struct rte_mbuf *packets[32];
		struct dpdk_port *port = atomic_load_explicit(&w->port, memory_order_acquire);
		uint16_t n = port == NULL ? 0 : rte_eth_rx_burst(port->id, 0, packets, 32);
		if (n > 0)
			rte_pktmbuf_free_bulk(packets, n);
		atomic_fetch_add(&w->n_turns, 1);
		atomic_fetch_add(&w->n_received, n);
		dpdk_rcu_quiescent(&w->rcu, 0);
		idle_polls = n > 0 ? 0 : idle_polls + 1;
		dpdk_poller_wait(&w->poller, &w->rcu, 0, idle_polls, 100000);
	}
	dpdk_rcu_offline(&w->rcu, 0);
	return 0;
}

static void start_worker(struct worker *w)
{
	memset(w, 0, sizeof *w);
	ck_assert_int_eq(dpdk_poller_init(&w->poller, NULL), 0);
	ck_assert_int_eq(dpdk_rcu_init(&w->rcu, 1), 0);
	ck_assert_int_eq(rte_eal_remote_launch(worker_main, w, eal.workers[0]), 0);
}

static void stop_worker(struct worker *w)
{
	atomic_store(&w->stop, true);
	dpdk_poller_wake(&w->poller);
	rte_eal_wait_lcore(eal.workers[0]);
	dpdk_poller_fini(&w->poller);
	dpdk_rcu_fini(&w->rcu);
}

static void add_port(struct worker *w, struct dpdk_port *port)
{
	ck_assert_int_eq(dpdk_poller_add_port(&w->poller, port, NULL), 0);
	atomic_store_explicit(&w->port, port, memory_order_release);
}

static void remove_port(struct worker *w, struct dpdk_port *port)
{
	atomic_store_explicit(&w->port, NULL, memory_order_release);
	dpdk_rcu_synchronize(&w->rcu);
	dpdk_poller_remove_port(&w->poller, port);
	dpdk_port_close(port);
}

static bool wait_received(struct worker *w, uint64_t n)
{
	for (uint64_t end = now_us() + WAIT_MS * 1000; now_us() < end;)
		if (atomic_load(&w->n_received) >= n)
			return true;
	return false;
}

// Turns in 300 ms with nothing to do: three sleeps of 100 ms and the polls before them.
static uint64_t idle_turns(struct worker *w)
{
	usleep(50000);
	uint64_t before = atomic_load(&w->n_turns);
	usleep(300000);
	return atomic_load(&w->n_turns) - before;
}

static void check_sleep(enum dpdk_driver driver)
{
	static struct worker w;
	static struct dpdk_port port;
	make_veth();
	int fd = netns_raw_socket("dv1");
	start_worker(&w);
	open_port(&port, driver, "dv0", 1600);
	add_port(&w, &port);
	ck_assert_uint_lt(idle_turns(&w), IDLE_TURNS_MAX);
	for (int i = 0; i < 200; i++) { // each one wakes it
		uint64_t start = now_us();
		uint64_t before = atomic_load(&w.n_received);
		send_raw(fd, 1, 5);
		ck_assert(wait_received(&w, before + 1));
		ck_assert_msg(now_us() - start < 90000, "packet %d was seen after %lu us", i, now_us() - start);
		usleep(500);
	}
	netns_run("ip link set dv1 down");
	ck_assert_msg(idle_turns(&w) < IDLE_TURNS_MAX, "a link that is down makes the worker spin");
	netns_run("ip link set dv1 up; ip link set dv0 down");
	ck_assert_msg(idle_turns(&w) < IDLE_TURNS_MAX, "an interface that is down makes the worker spin");
	netns_run("ip link set dv0 up");
	wait_carrier();
	(void)!send(fd, "", 0, 0); // reports that the interface was down
	uint64_t before_down = atomic_load(&w.n_received);
	send_raw(fd, 20, 5);
	ck_assert_msg(wait_received(&w, before_down + 20), "nothing comes after the link was down");
	remove_port(&w, &port);
	ck_assert_uint_lt(idle_turns(&w), IDLE_TURNS_MAX);
	stop_worker(&w);
	close(fd);
	netns_run("ip link del dv0");
}

START_TEST(an_idle_worker_sleeps_and_a_packet_wakes_it_af_xdp)
{
	check_sleep(DPDK_AF_XDP);
}
END_TEST

START_TEST(an_idle_worker_sleeps_and_a_packet_wakes_it_af_packet)
{
	check_sleep(DPDK_AF_PACKET);
}
END_TEST

START_TEST(an_idle_worker_sleeps_with_a_tap)
{
	static struct worker w;
	static struct dpdk_port port;
	start_worker(&w);
	open_port(&port, DPDK_TAP, "tap8", 0);
	netns_run("echo 1 > /proc/sys/net/ipv6/conf/tap8/disable_ipv6; ip link set tap8 up");
	add_port(&w, &port);
	int fd = netns_raw_socket("tap8");
	ck_assert_uint_lt(idle_turns(&w), IDLE_TURNS_MAX);
	for (uint64_t i = 1; i <= 200; i++) {
		send_raw(fd, 1, 5);
		ck_assert(wait_received(&w, i));
	}
	remove_port(&w, &port);
	stop_worker(&w);
	close(fd);
}
END_TEST

START_TEST(ports_are_removed_under_a_running_worker)
{
	static struct worker w;
	make_veth();
	int fd = netns_raw_socket("dv1");
	unsigned n_before = rte_mempool_avail_count(eal.pool);
	start_worker(&w);
	for (int i = 0; i < 10; i++) {
		static struct dpdk_port port;
		open_port(&port, DPDK_AF_XDP, "dv0", 1600);
		add_port(&w, &port);
		uint64_t before = atomic_load(&w.n_received);
		send_raw(fd, 50, 5);
		ck_assert(wait_received(&w, before + 50));
		send_raw(fd, 50, 5);
		remove_port(&w, &port);
	}
	stop_worker(&w);
	ck_assert_uint_eq(rte_mempool_avail_count(eal.pool), n_before);
	close(fd);
	netns_run("ip link del dv0");
}
END_TEST

static TCase *ports_case(void)
{
	TCase *tc = tcase_create("ports");
	tcase_set_timeout(tc, 60);
	tcase_add_test(tc, af_xdp_carries_packets_both_ways);
	tcase_add_test(tc, af_packet_carries_packets_both_ways);
	tcase_add_test(tc, the_mac_is_that_of_the_kernel_interface);
	tcase_add_test(tc, buffers_and_descriptors_come_back_when_ports_come_and_go);
	tcase_add_test(tc, an_interface_that_does_not_exist_is_refused_by_name);
	tcase_add_test(tc, a_port_opened_twice_is_refused);
	tcase_add_test(tc, an_interface_that_vanishes_leaves_a_port_that_closes);
	tcase_add_test(tc, a_device_string_opens_any_driver);
	tcase_add_test(tc, a_tap_has_the_name_and_mac_asked_for);
	tcase_add_test(tc, the_tap_of_a_node_has_its_addresses_and_a_default_route_of_each_family);
	return tc;
}

static TCase *worker_case(void)
{
	TCase *tc = tcase_create("worker");
	tcase_set_timeout(tc, 60);
	tcase_add_test(tc, an_idle_worker_sleeps_and_a_packet_wakes_it_af_xdp);
	tcase_add_test(tc, an_idle_worker_sleeps_and_a_packet_wakes_it_af_packet);
	tcase_add_test(tc, an_idle_worker_sleeps_with_a_tap);
	tcase_add_test(tc, ports_are_removed_under_a_running_worker);
	return tc;
}

int main(void)
{
	if (!netns_enter())
		return SKIPPED_EXIT;
	struct dpdk_eal_config config = {
		.program = "test-dpdk", .node = &node, .n_workers = 1, .n_ports_max = N_PORTS_MAX
	};
	struct error err = { 0 };
	snprintf(node.name, sizeof node.name, "%d", getpid());
	if (dpdk_eal_start(&config, &eal, &err) != 0) {
		fprintf(stderr, "%s\n", err.text);
		return EXIT_FAILURE;
	}
	Suite *suite = suite_create("dpdk");
	suite_add_tcase(suite, ports_case());
	suite_add_tcase(suite, worker_case());
	SRunner *runner = srunner_create(suite);
	srunner_set_fork_status(runner, CK_NOFORK);
	srunner_run_all(runner, CK_NORMAL);
	int n_failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	if (n_failed > 0)
		_exit(EXIT_FAILURE); // the worker of a test that failed may still run
	dpdk_eal_stop(&eal);
	return EXIT_SUCCESS;
}
