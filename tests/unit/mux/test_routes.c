// mux/bgp against a real kernel, in a private network namespace.
#include <check.h>
#include <libmnl/libmnl.h>
#include <linux/rtnetlink.h>
#include <stdlib.h>
#include <sys/socket.h>

#include "mux/bgp/routes.h"
#include "tests/support/vip_builder.h"
#include "tests/unit/dpdk/netns.h"

static struct netlink *netlink;
static struct routes_config config = { .interface = "vip0", .table = 100 };

static void set(struct routes *r, uint32_t n, const char *const *vips)
{
	struct ip_addr addrs[8];
	struct error err;
	for (uint32_t i = 0; i < n; i++)
		addrs[i] = test_addr(vips[i]);
	ck_assert_msg(routes_set(r, addrs, n, ROUTES_PROTOCOL_SERVING, &err) == 0, "%s", err.text);
}

static void drain(struct routes *r, uint32_t n, const char *const *vips)
{
	struct ip_addr addrs[8];
	for (uint32_t i = 0; i < n; i++)
		addrs[i] = test_addr(vips[i]);
	ck_assert_int_eq(routes_set(r, addrs, n, ROUTES_PROTOCOL_DRAINING, NULL), 0);
}

// What the kernel says of routes from now on.
static struct mnl_socket *listen_to_routes(void)
{
	struct mnl_socket *s = mnl_socket_open2(NETLINK_ROUTE, SOCK_CLOEXEC | SOCK_NONBLOCK);
	ck_assert_ptr_nonnull(s);
	ck_assert_int_eq(mnl_socket_bind(s, RTMGRP_IPV4_ROUTE | RTMGRP_IPV6_ROUTE, MNL_SOCKET_AUTOPID), 0);
	return s;
}

struct heard {
	int n_new;
	int n_gone;
};

static int on_heard(const struct nlmsghdr *message, void *data)
{
	const struct rtmsg *route = mnl_nlmsg_get_payload(message);
	struct heard *h = data;
	if (route->rtm_table != config.table)
		return MNL_CB_OK; // the kernel's own
	h->n_new += message->nlmsg_type == RTM_NEWROUTE;
	h->n_gone += message->nlmsg_type == RTM_DELROUTE;
	return MNL_CB_OK;
}

// Until now: the kernel sends while it changes the route.
static struct heard hear(struct mnl_socket *s)
{
	char buf[32768];
	struct heard h = { 0 };
	for (ssize_t n; (n = mnl_socket_recvfrom(s, buf, sizeof buf)) > 0;)
		mnl_cb_run(buf, (size_t)n, 0, 0, on_heard, &h);
	return h;
}

START_TEST(the_kernels_table_follows_the_vips)
{
	static const char *const first[] = { "203.0.113.10", "203.0.113.11" };
	static const char *const second[] = { "203.0.113.9", "203.0.113.11" };
	struct routes r;
	struct error err;
	ck_assert_msg(routes_init(&r, netlink, &config, &err) == 0, "%s", err.text);
	netns_run("! ip route show table 100 2> /dev/null | grep -q ."); // nothing is announced yet
	set(&r, 2, first);
	netns_run("ip route show table 100 | grep -q '^203.0.113.10 dev vip0 proto 200'");
	netns_run("test $(ip route show table 100 | wc -l) = 2");
	set(&r, 2, second);
	netns_run("! ip route show table 100 | grep -q '^203.0.113.10 '");
	netns_run("test $(ip route show table 100 | wc -l) = 2");
	set(&r, 0, NULL);
	netns_run("test $(ip route show table 100 | wc -l) = 0");
	routes_fini(&r);
}
END_TEST

START_TEST(what_somebody_else_did_to_the_table_is_put_right)
{
	static const char *const vips[] = { "203.0.113.10" };
	struct routes r;
	ck_assert_int_eq(routes_init(&r, netlink, &config, NULL), 0);
	set(&r, 1, vips);
	netns_run("ip route del 203.0.113.10/32 table 100");
	netns_run("ip route add 203.0.113.77/32 dev vip0 table 100 proto 200"); // of ours, but not wanted
	netns_run("ip route add 203.0.113.88/32 dev vip0 table 100 proto static"); // not ours
	set(&r, 1, vips);
	netns_run("ip route show table 100 | grep -q '^203.0.113.10 '");
	netns_run("! ip route show table 100 | grep -q '^203.0.113.77 '");
	netns_run("ip route show table 100 | grep -q '^203.0.113.88 '");
	routes_fini(&r);
}
END_TEST

START_TEST(everything_is_withdrawn_with_the_tun)
{
	static const char *const vips[] = { "203.0.113.10", "203.0.113.11", "203.0.113.12" };
	struct routes r;
	ck_assert_int_eq(routes_init(&r, netlink, &config, NULL), 0);
	set(&r, 3, vips);
	routes_fini(&r);
	netns_run("! ip link show vip0 2> /dev/null");
	netns_run("test $(ip route show table 100 2> /dev/null | wc -l) = 0");
	routes_fini(&r); // twice is fine
}
END_TEST

START_TEST(a_second_mux_in_the_same_place_is_refused)
{
	struct routes one, two;
	struct error err = { 0 };
	ck_assert_int_eq(routes_init(&one, netlink, &config, NULL), 0);
	ck_assert_int_ne(routes_init(&two, netlink, &config, &err), 0);
	ck_assert_str_ne(err.text, "");
	routes_fini(&one);
}
END_TEST

START_TEST(draining_replaces_routes_without_a_moment_without_them)
{
	static const char *const vips[] = { "203.0.113.10", "203.0.113.11", "2001:db8::1" };
	struct routes r;
	ck_assert_int_eq(routes_init(&r, netlink, &config, NULL), 0);
	set(&r, 3, vips);
	struct mnl_socket *ear = listen_to_routes();
	drain(&r, 3, vips);
	struct heard h = hear(ear);
	ck_assert_int_eq(h.n_new, 3);
	ck_assert_int_eq(h.n_gone, 0);
	netns_run("test $(ip route show table 100 proto 201 | wc -l) = 2");
	netns_run("test $(ip -6 route show table 100 proto 201 | wc -l) = 1");
	netns_run("test $(ip route show table 100 proto 200 | wc -l) = 0");
	drain(&r, 3, vips);
	ck_assert_int_eq(hear(ear).n_new, 0); // nothing is new
	set(&r, 3, vips);
	h = hear(ear);
	ck_assert_int_eq(h.n_new, 3);
	ck_assert_int_eq(h.n_gone, 0);
	netns_run("test $(ip route show table 100 proto 200 | wc -l) = 2");
	drain(&r, 0, NULL);
	ck_assert_int_eq(hear(ear).n_gone, 3);
	mnl_socket_close(ear);
	routes_fini(&r);
}
END_TEST

START_TEST(ipv6_vips_have_routes_too)
{
	static const char *const vips[] = { "203.0.113.10", "2001:db8::10", "2001:db8::11" };
	struct routes r;
	ck_assert_int_eq(routes_init(&r, netlink, &config, NULL), 0);
	set(&r, 3, vips);
	netns_run("ip -6 route show table 100 | grep -q '^2001:db8::10 dev vip0 proto 200'");
	netns_run("test $(ip -6 route show table 100 | wc -l) = 2");
	set(&r, 2, vips);
	netns_run("test $(ip -6 route show table 100 | wc -l) = 1");
	netns_run("test $(ip route show table 100 | wc -l) = 1");
	routes_fini(&r);
	netns_run("test $(ip -6 route show table 100 | wc -l) = 0");
}
END_TEST

START_TEST(a_prefix_stands_as_long_as_a_vip_inside_it_does)
{
	static const char *const vips[] = { "203.0.113.10", "203.0.113.11", "203.0.114.1" };
	struct routes_config with_prefix = config;
	with_prefix.prefixes.n = 1;
	ck_assert_int_eq(ip_prefix_parse("203.0.113.0/24", &with_prefix.prefixes.items[0], NULL), 0);
	struct routes r;
	ck_assert_int_eq(routes_init(&r, netlink, &with_prefix, NULL), 0);
	set(&r, 3, vips);
	netns_run("ip route show table 100 | grep -q '^203.0.113.0/24 dev vip0 proto 200'");
	netns_run("ip route show table 100 | grep -q '^203.0.114.1 dev vip0 proto 200'");
	netns_run("test $(ip route show table 100 | wc -l) = 2");
	ck_assert_uint_eq(r.n_announced, 3);
	ck_assert_uint_eq(r.n_routes, 2);
	struct mnl_socket *ear = listen_to_routes();
	set(&r, 1, vips + 1);
	ck_assert_int_eq(hear(ear).n_gone, 1); // that of 203.0.114.1
	set(&r, 0, NULL);
	netns_run("test $(ip route show table 100 | wc -l) = 0");
	mnl_socket_close(ear);
	routes_fini(&r);
}
END_TEST

int main(void)
{
	if (!netns_enter())
		return SKIPPED_EXIT;
	if (netlink_open(&netlink, NULL) != 0)
		return EXIT_FAILURE;
	Suite *suite = suite_create("mux routes");
	TCase *tc = tcase_create("kernel");
	tcase_set_timeout(tc, 60);
	tcase_add_test(tc, the_kernels_table_follows_the_vips);
	tcase_add_test(tc, what_somebody_else_did_to_the_table_is_put_right);
	tcase_add_test(tc, everything_is_withdrawn_with_the_tun);
	tcase_add_test(tc, a_second_mux_in_the_same_place_is_refused);
	tcase_add_test(tc, draining_replaces_routes_without_a_moment_without_them);
	tcase_add_test(tc, ipv6_vips_have_routes_too);
	tcase_add_test(tc, a_prefix_stands_as_long_as_a_vip_inside_it_does);
	suite_add_tcase(suite, tc);
	SRunner *runner = srunner_create(suite);
	srunner_set_fork_status(runner, CK_NOFORK);
	srunner_run_all(runner, CK_NORMAL);
	int n_failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	netlink_close(netlink);
	return n_failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
