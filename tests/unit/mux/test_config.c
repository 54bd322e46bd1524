// The mux's configuration file: what stands in it, and what is refused by which field.
#include "tests/support/suite.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "mux/io/config.h"

#define NODE                                                                                                          \
	"\"name\": \"mux1\", \"address\": \"10.0.0.31/24\", \"uplink\": { \"interface\": \"eth0\" }, \"tap\": \"mux0\", " \
	"\"gateways\": [\"10.0.0.1\"], \"managers\": [\"10.0.0.11:7400\"]"
#define ROUTES "\"routes\": { \"interface\": \"vip0\" }"
#define PEER "{ \"name\": \"r1\", \"address\": \"10.0.0.1\", \"as\": 65000 }"

static int read_text(const char *text, struct mux_config *c, struct error *err)
{
	char path[] = "/tmp/mux-config.XXXXXX";
	int fd = mkstemp(path);
	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(write(fd, text, strlen(text)), (ssize_t)strlen(text));
	close(fd);
	int code = mux_config_read(path, c, err);
	unlink(path);
	return code;
}

static struct mux_config right(const char *text)
{
	static struct mux_config c;
	struct error err;
	ck_assert_msg(read_text(text, &c, &err) == 0, "%s", err.text);
	return c;
}

START_TEST(defaults_are_those_of_the_documentation)
{
	struct mux_config c = right("{ " NODE ", " ROUTES " }");
	ck_assert_uint_eq(c.routes.table, 100);
	ck_assert_uint_eq(c.routes.prefixes.n, 0);
	ck_assert_uint_eq(c.watchdog_ms, 600);
	ck_assert_uint_eq(c.drain_on_stop_ms, 5000);
	ck_assert_uint_eq(c.n_workers, 1);
	ck_assert_uint_eq(c.max_pps, 0);
	ck_assert_int_eq(c.oversized, MUX_OVERSIZED_CUT);
	ck_assert_int_eq(c.bgp.mode, BGP_UNMANAGED);
}
END_TEST

START_TEST(what_is_too_long_is_cut_or_dropped)
{
	static struct mux_config bad;
	struct error err;
	struct mux_config c = right("{ " NODE ", " ROUTES ", \"oversized\": \"drop\" }");
	ck_assert_int_eq(c.oversized, MUX_OVERSIZED_DROP);
	c = right("{ " NODE ", " ROUTES ", \"oversized\": \"fragment\" }");
	ck_assert_int_eq(c.oversized, MUX_OVERSIZED_CUT);
	ck_assert_int_ne(read_text("{ " NODE ", " ROUTES ", \"oversized\": \"outer\" }", &bad, &err), 0);
	ck_assert_ptr_nonnull(strstr(err.text, "oversized: must be \"fragment\" or \"drop\""));
}
END_TEST

START_TEST(bgp_has_defaults_for_all_but_the_numbers_and_the_routers)
{
	struct mux_config c = right("{ " NODE ", " ROUTES ", \"bgp\": { \"as\": 65001, \"peers\": [" PEER "] } }");
	ck_assert_int_eq(c.bgp.mode, BGP_WRITTEN);
	ck_assert_uint_eq(c.bgp.bgp.as, 65001);
	ck_assert(ip_addr_equal(&c.bgp.bgp.router_id, &c.node.address.addr));
	ck_assert(c.bgp.bgp.has_bfd);
	ck_assert_uint_eq(c.bgp.bgp.bfd_interval_ms, 100);
	ck_assert_uint_eq(c.bgp.bgp.bfd_multiplier, 3);
	ck_assert_uint_eq(c.bgp.bgp.hold_s, 9);
	ck_assert_uint_eq(c.bgp.bgp.keepalive_s, 3);
	ck_assert(c.bgp.bgp.peers[0].ttl_security);
	ck_assert_str_eq(c.bgp.files.file, "/etc/bird/ananta.conf");
	ck_assert_str_eq(c.bgp.files.program, "/usr/sbin/bird");
	ck_assert_str_eq(c.bgp.files.control, "/run/bird/bird.ctl");
}
END_TEST

START_TEST(all_of_it_can_be_said)
{
	struct mux_config c =
		right("{ " NODE ", \"routes\": { \"interface\": \"vip0\", \"table\": 77, \"prefixes\": [\"203.0.113.0/24\", "
	          "\"2001:db8::/64\"] },"
	          "\"watchdog_ms\": 0, \"drain_on_stop_ms\": 0, \"bgp\": { \"as\": 1, \"router_id\": \"1.2.3.4\", \"bfd\": "
	          "false, \"hold_s\": 30,"
	          "\"keepalive_s\": 10, \"file\": \"/a\", \"bird\": \"/b\", \"control\": \"/c\", \"peers\": [{ \"name\": "
	          "\"r1\", \"address\": \"10.9.0.1\","
	          "\"as\": 4294967295, \"password\": \"x y\", \"multihop\": 2, \"ttl_security\": true }] } }");
	ck_assert_uint_eq(c.routes.table, 77);
	ck_assert_uint_eq(c.routes.prefixes.n, 2);
	ck_assert_uint_eq(c.routes.prefixes.items[1].bits, 64);
	ck_assert_uint_eq(c.watchdog_ms, 0);
	ck_assert_uint_eq(c.drain_on_stop_ms, 0);
	ck_assert(!c.bgp.bgp.has_bfd);
	ck_assert_uint_eq(c.bgp.bgp.peers[0].as, UINT32_MAX);
	ck_assert_uint_eq(c.bgp.bgp.peers[0].multihop, 2);
	ck_assert(c.bgp.bgp.peers[0].ttl_security);
	ck_assert_str_eq(c.bgp.bgp.peers[0].password, "x y");
	ck_assert_str_eq(c.bgp.files.control, "/c");
	c = right("{ " NODE ", " ROUTES ", \"bgp\": { \"operator_file\": \"/etc/bird/bird.conf\" } }");
	ck_assert_int_eq(c.bgp.mode, BGP_OPERATOR);
	ck_assert_str_eq(c.bgp.files.operator_file, "/etc/bird/bird.conf");
}
END_TEST

START_TEST(what_is_wrong_is_named_by_its_field)
{
	static const struct {
		const char *more, *complaint;
	} cases[] = {
		{ ROUTES ", \"watchdog_ms\": 100", "watchdog_ms: must be 0 (off) or at least 300" },
		{ ROUTES ", \"watchdog_ms\": 60001", "watchdog_ms: must be 0 to 60000, got 60001" },
		{ "\"routes\": { \"interface\": \"vip0\", \"prefixes\": [\"203.0.113.1/24\"] }",
		  "routes.prefixes: 203.0.113.1/24 has bits behind its length" },
		{ "\"routes\": { \"interface\": \"vip0\", \"prefixes\": [\"203.0.113.1\"] }",
		  "routes.prefixes: must hold prefixes as strings, like \"203.0.113.0/24\"" },
		{ ROUTES ", \"bgp\": { }", "bgp.as: is missing" },
		{ ROUTES ", \"bgp\": { \"as\": 1 }", "bgp.peers: is missing" },
		{ ROUTES ", \"bgp\": { \"as\": 1, \"peers\": [] }", "bgp.peers: must hold 1 to 16 routers" },
		{ ROUTES ", \"bgp\": { \"as\": 1, \"peers\": [{ \"name\": \"r1\" }] }", "bgp.peers[0].address: is missing" },
		{ ROUTES ", \"bgp\": { \"as\": 1, \"peers\": [" PEER ", " PEER "] }",
		  "bgp.peers[1].name: \"r1\" is that of peers[0] already" },
		{ ROUTES ", \"bgp\": { \"as\": 1, \"peers\": [" PEER "], \"bfd\": { \"interval_ms\": 1 } }",
		  "bgp.bfd.interval_ms: must be 10 to 60000, got 1" },
		{ ROUTES ", \"bgp\": { \"as\": 1, \"peers\": [" PEER "], \"bfd\": 7 }", "bgp.bfd: must be an object ({...})" },
		{ ROUTES ", \"bgp\": { \"as\": 1, \"peers\": [" PEER "], \"file\": \"bird.conf\" }",
		  "bgp.file: must be an absolute path" },
		{ ROUTES ", \"bgp\": { \"as\": 1, \"operator_file\": \"/bird.conf\" }",
		  "bgp.as: is not a field that is known here" },
		{ ROUTES ", \"bgp\": { \"as\": 1, \"peers\": [{ \"name\": \"r1\", \"address\": \"10.0.0.1\", \"as\": 1, "
		         "\"password\": \"\" }] }",
		  "bgp.peers[0].password: must not be empty: leave it out for none" },
	};
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		char text[1024];
		static struct mux_config c;
		struct error err = { 0 };
		snprintf(text, sizeof text, "{ " NODE ", %s }", cases[i].more);
		ck_assert_int_eq(read_text(text, &c, &err), ERR_INVALID);
		const char *said = strstr(err.text, ": ") + 2; // behind the file
		ck_assert_str_eq(said, cases[i].complaint);
	}
}
END_TEST

SUITE_MAIN("mux configuration", defaults_are_those_of_the_documentation, what_is_too_long_is_cut_or_dropped,
           bgp_has_defaults_for_all_but_the_numbers_and_the_routers, all_of_it_can_be_said,
           what_is_wrong_is_named_by_its_field)
