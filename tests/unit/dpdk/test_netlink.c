// common/io/netlink against a real kernel, in a private network namespace.
#include <check.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/base/memory.h"
#include "common/io/netlink.h"
#include "tests/unit/dpdk/netns.h"

#define TABLE 100

static struct ip_addr addr(const char *text)
{
	struct ip_addr a;
	ck_assert_int_eq(ip_addr_parse(text, &a, NULL), 0);
	return a;
}

static struct netlink *open_netlink(void)
{
	struct netlink *nl;
	struct error err;
	ck_assert_msg(netlink_open(&nl, &err) == 0, "%s", err.text);
	return nl;
}

static struct netlink_route vip_route(uint32_t link_index, uint32_t i)
{
	return (struct netlink_route){
		.dst = { .addr = ip_addr_from_v4(be32_from(0xcb007100 + i)), .bits = 32 },
		.link_index = link_index,
		.table = TABLE,
		.protocol = NETLINK_PROTOCOL_ANANTA,
	};
}

static uint32_t count_routes(struct netlink *nl)
{
	struct netlink_route *routes;
	uint32_t n;
	struct error err;
	ck_assert_msg(netlink_list_routes(nl, TABLE, NETLINK_PROTOCOL_ANANTA, &routes, &n, &err) == 0, "%s", err.text);
	memory_free(routes);
	return n;
}

START_TEST(an_interface_that_does_not_exist_is_named)
{
	struct netlink *nl = open_netlink();
	struct netlink_link link;
	struct error err = { 0 };
	ck_assert_int_eq(netlink_get_link(nl, "nosuch0", &link, &err), ERR_NOT_FOUND);
	ck_assert_ptr_nonnull(strstr(err.text, "nosuch0"));
	ck_assert_int_eq(netlink_get_link(nl, "a-name-that-is-far-too-long", &link, &err), ERR_INVALID);
	netlink_close(nl);
}
END_TEST

START_TEST(links_are_set_up_and_changed)
{
	struct netlink *nl = open_netlink();
	struct netlink_link link;
	const uint8_t mac[6] = { 2, 0, 0, 0, 0, 9 };
	netns_run("ip link add lv0 type veth peer name lv1");
	ck_assert_int_eq(netlink_get_link(nl, "lv0", &link, NULL), 0);
	ck_assert(!link.is_up);
	ck_assert_int_eq(netlink_set_mtu(nl, link.index, 1600, NULL), 0);
	ck_assert_int_eq(netlink_set_mac(nl, link.index, mac, NULL), 0);
	ck_assert_int_eq(netlink_set_up(nl, link.index, true, NULL), 0);
	ck_assert_int_eq(netlink_set_arp(nl, link.index, false, NULL), 0);
	ck_assert_int_eq(netlink_get_link(nl, "lv0", &link, NULL), 0);
	ck_assert(link.is_up);
	ck_assert_uint_eq(link.mtu, 1600);
	ck_assert_mem_eq(link.mac, mac, sizeof mac);
	netns_run("ip link show lv0 | grep -q NOARP");
	ck_assert_int_eq(netlink_set_all_multicast(nl, link.index, NULL), 0);
	netns_run("ip link show lv0 | grep -q ALLMULTI");
	netns_run("ip link del lv0");
	netlink_close(nl);
}
END_TEST

START_TEST(address_and_default_route_are_as_ip_shows_them)
{
	struct netlink *nl = open_netlink();
	struct netlink_link link;
	struct ip_prefix prefix = { .addr = addr("10.0.0.31"), .bits = 24 };
	netns_run("ip link add av0 type veth peer name av1; ip link set av1 up");
	ck_assert_int_eq(netlink_get_link(nl, "av0", &link, NULL), 0);
	ck_assert_int_eq(netlink_set_up(nl, link.index, true, NULL), 0);
	for (int i = 0; i < 2; i++) // twice: what is there already is fine
		ck_assert_int_eq(netlink_add_addr(nl, link.index, &prefix, NULL), 0);
	struct netlink_route route = {
		.dst = { .addr = addr("0.0.0.0") },
		.gateway = addr("10.0.0.1"),
		.has_gateway = true,
		.link_index = link.index,
		.table = 254,
		.protocol = NETLINK_PROTOCOL_ANANTA,
	};
	struct error err;
	for (int i = 0; i < 2; i++)
		ck_assert_msg(netlink_add_route(nl, &route, &err) == 0, "%s", err.text);
	netns_run("ip -4 addr show av0 | grep -q 'inet 10.0.0.31/24'");
	netns_run("ip route | grep -q 'default via 10.0.0.1 dev av0'");
	route.gateway = addr("192.0.2.1"); // not on any link
	ck_assert_int_eq(netlink_add_route(nl, &route, &err), ERR_IO);
	ck_assert_ptr_nonnull(strstr(err.text, "0.0.0.0/0"));
	netns_run("ip link del av0");
	netlink_close(nl);
}
END_TEST

START_TEST(an_ipv6_address_is_usable_at_once_and_its_gateway_may_be_link_local)
{
	struct netlink *nl = open_netlink();
	struct netlink_link link;
	struct ip_prefix prefix = { .addr = addr("2001:db8::31"), .bits = 64 };
	netns_run("ip link add bv0 type veth peer name bv1; ip link set bv1 up");
	ck_assert_int_eq(netlink_get_link(nl, "bv0", &link, NULL), 0);
	ck_assert_int_eq(netlink_set_up(nl, link.index, true, NULL), 0);
	for (int i = 0; i < 2; i++)
		ck_assert_int_eq(netlink_add_addr(nl, link.index, &prefix, NULL), 0);
	netns_run("ip -6 addr show dev bv0 | grep 'inet6 2001:db8::31/64' | grep -qv tentative");
	struct netlink_route route = {
		.dst = { .addr = addr("::") },
		.gateway = addr("fe80::1"),
		.has_gateway = true,
		.link_index = link.index,
		.table = 254,
		.protocol = NETLINK_PROTOCOL_ANANTA,
	};
	struct error err;
	for (int i = 0; i < 2; i++)
		ck_assert_msg(netlink_add_route(nl, &route, &err) == 0, "%s", err.text);
	netns_run("ip -6 route | grep -q 'default via fe80::1 dev bv0'");
	netns_run("ip link del bv0");
	netlink_close(nl);
}
END_TEST

START_TEST(ten_thousand_routes_come_and_go_with_the_tun)
{
	enum { N = 10000 };
	static struct netlink_route routes[N];
	struct netlink *nl = open_netlink();
	uint32_t index;
	int fd;
	struct error err;
	ck_assert_msg(netlink_create_tun(nl, "vip0", &fd, &index, &err) == 0, "%s", err.text);
	for (uint32_t i = 0; i < N; i++)
		routes[i] = vip_route(index, i);
	ck_assert_msg(netlink_change_routes(nl, routes, N, NULL, 0, &err) == 0, "%s", err.text);
	ck_assert_uint_eq(count_routes(nl), N);
	// Again, and half of them away, some twice.
	ck_assert_int_eq(netlink_change_routes(nl, routes, N, NULL, 0, &err), 0);
	ck_assert_int_eq(netlink_change_routes(nl, NULL, 0, routes, N / 2, &err), 0);
	ck_assert_int_eq(netlink_change_routes(nl, NULL, 0, routes, 10, &err), 0);
	ck_assert_uint_eq(count_routes(nl), N / 2);
	close(fd);
	ck_assert_uint_eq(count_routes(nl), 0);
	netlink_close(nl);
}
END_TEST

START_TEST(routes_of_others_are_not_listed)
{
	struct netlink *nl = open_netlink();
	uint32_t index;
	int fd;
	ck_assert_int_eq(netlink_create_tun(nl, "vip1", &fd, &index, NULL), 0);
	netns_run("ip route add 203.0.113.1/32 dev vip1 table 100");
	netns_run("ip route add 203.0.113.2/32 dev vip1 table 101 proto 200");
	ck_assert_uint_eq(count_routes(nl), 0);
	struct netlink_route route = vip_route(index, 9);
	struct netlink_route *routes;
	uint32_t n;
	ck_assert_int_eq(netlink_add_route(nl, &route, NULL), 0);
	ck_assert_int_eq(netlink_list_routes(nl, TABLE, NETLINK_PROTOCOL_ANANTA, &routes, &n, NULL), 0);
	ck_assert_uint_eq(n, 1);
	ck_assert(ip_addr_equal(&routes[0].dst.addr, &route.dst.addr));
	ck_assert_uint_eq(routes[0].dst.bits, 32);
	ck_assert_uint_eq(routes[0].link_index, index);
	memory_free(routes);
	close(fd);
	netlink_close(nl);
}
END_TEST

START_TEST(a_tun_whose_name_is_taken_is_refused)
{
	struct netlink *nl = open_netlink();
	uint32_t index;
	int first, second;
	struct error err = { 0 };
	ck_assert_int_eq(netlink_create_tun(nl, "vip2", &first, &index, NULL), 0);
	ck_assert_int_eq(netlink_create_tun(nl, "vip2", &second, &index, &err), ERR_IO);
	ck_assert_ptr_nonnull(strstr(err.text, "vip2"));
	close(first);
	netlink_close(nl);
}
END_TEST

int main(void)
{
	if (!netns_enter())
		return SKIPPED_EXIT;
	Suite *suite = suite_create("netlink");
	TCase *tc = tcase_create("kernel");
	tcase_set_timeout(tc, 60);
	tcase_add_test(tc, an_interface_that_does_not_exist_is_named);
	tcase_add_test(tc, links_are_set_up_and_changed);
	tcase_add_test(tc, address_and_default_route_are_as_ip_shows_them);
	tcase_add_test(tc, an_ipv6_address_is_usable_at_once_and_its_gateway_may_be_link_local);
	tcase_add_test(tc, ten_thousand_routes_come_and_go_with_the_tun);
	tcase_add_test(tc, routes_of_others_are_not_listed);
	tcase_add_test(tc, a_tun_whose_name_is_taken_is_refused);
	suite_add_tcase(suite, tc);
	SRunner *runner = srunner_create(suite);
	srunner_set_fork_status(runner, CK_NOFORK);
	srunner_run_all(runner, CK_NORMAL);
	int n_failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return n_failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
