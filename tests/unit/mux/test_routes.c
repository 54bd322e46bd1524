// mux/bgp against a real kernel, in a private network namespace.
#include <check.h>
#include <stdlib.h>

#include "mux/bgp/routes.h"
#include "tests/support/vip_builder.h"
#include "tests/unit/dpdk/netns.h"

static struct netlink *netlink;

static void set(struct routes *r, uint32_t n, const char *const *vips)
{
	struct ip_addr addrs[8];
	struct error err;
	for (uint32_t i = 0; i < n; i++)
		addrs[i] = test_addr(vips[i]);
	ck_assert_msg(routes_set(r, addrs, n, &err) == 0, "%s", err.text);
}

START_TEST(the_kernels_table_follows_the_vips)
{
	static const char *const first[] = { "203.0.113.10", "203.0.113.11" };
	static const char *const second[] = { "203.0.113.9", "203.0.113.11" };
	struct routes r;
	struct error err;
	ck_assert_msg(routes_init(&r, netlink, "vip0", 100, &err) == 0, "%s", err.text);
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
	ck_assert_int_eq(routes_init(&r, netlink, "vip0", 100, NULL), 0);
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
	ck_assert_int_eq(routes_init(&r, netlink, "vip0", 100, NULL), 0);
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
	ck_assert_int_eq(routes_init(&one, netlink, "vip0", 100, NULL), 0);
	ck_assert_int_ne(routes_init(&two, netlink, "vip0", 100, &err), 0);
	ck_assert_str_ne(err.text, "");
	routes_fini(&one);
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
	suite_add_tcase(suite, tc);
	SRunner *runner = srunner_create(suite);
	srunner_set_fork_status(runner, CK_NOFORK);
	srunner_run_all(runner, CK_NORMAL);
	int n_failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	netlink_close(netlink);
	return n_failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
