// BIRD's configuration as text: exactly this, whatever stands in names and passwords; and what an operator's own must have.
#include "tests/support/suite.h"

#include <string.h>

#include "mux/core/bird_config.h"

static struct ip_addr addr(const char *text)
{
	struct ip_addr a;
	ck_assert_int_eq(ip_addr_parse(text, &a, NULL), 0);
	return a;
}

static struct bgp_config one_router(void)
{
	struct bgp_config c = { .as = 65001,
		                    .router_id = addr("10.0.0.31"),
		                    .n_peers = 1,
		                    .has_bfd = true,
		                    .bfd_interval_ms = 100,
		                    .bfd_multiplier = 3,
		                    .hold_s = 9,
		                    .keepalive_s = 3 };
	c.peers[0] = (struct bgp_peer){
		.name = "router1", .address = addr("10.0.0.1"), .as = 65000, .password = "se cret'#$", .ttl_security = true
	};
	return c;
}

static const char *text_of(const struct bgp_config *c)
{
	static char text[BIRD_CONFIG_BYTES_MAX];
	struct bird_place at = { .address = addr("10.0.0.31"), .tap = "mux0", .table = 100 };
	ck_assert_int_eq(bird_config_format(c, &at, text, sizeof text), 0);
	return text;
}

#define LEARNING                                                                                                 \
	"ipv4 table vip4;\n"                                                                                         \
	"protocol kernel learn4 {\n"                                                                                 \
	"  learn; kernel table 100; scan time 5; netlink rx buffer 67108864;\n"                                      \
	"  ipv4 { table vip4; import filter { if krt_source !~ [200, 201] then reject; accept; }; export none; };\n" \
	"}\n"                                                                                                        \
	"protocol pipe pipe4 { table vip4; peer table master4; import none; export all; }\n"                         \
	"ipv6 table vip6;\n"                                                                                         \
	"protocol kernel learn6 {\n"                                                                                 \
	"  learn; kernel table 100; scan time 5; netlink rx buffer 67108864;\n"                                      \
	"  ipv6 { table vip6; import filter { if krt_source !~ [200, 201] then reject; accept; }; export none; };\n" \
	"}\n"                                                                                                        \
	"protocol pipe pipe6 { table vip6; peer table master6; import none; export all; }\n"                         \
	"filter vip_out {\n"                                                                                         \
	"  if source != RTS_INHERIT then reject;\n"                                                                  \
	"  if krt_source = 201 then bgp_community.add((65535, 0));\n"                                                \
	"  accept;\n"                                                                                                \
	"}\n"

#define HEAD                                                                              \
	"# Written by ananta-mux from its own configuration: what is changed here is lost.\n" \
	"log stderr all;\n"                                                                   \
	"router id 10.0.0.31;\n"                                                              \
	"debug protocols { states };\n"                                                       \
	"protocol device { scan time 10; }\n"

#define CHANNELS                                                       \
	"  ipv4 { import none; export filter vip_out; next hop self; };\n" \
	"}\n"

START_TEST(one_router_with_everything)
{
	struct bgp_config c = one_router();
	ck_assert_int_eq(bgp_config_check(&c, NULL), 0);
	ck_assert_str_eq(
		text_of(&c),
		HEAD "protocol bfd {\n"
			 "  interface \"mux0\" { min rx interval 100 ms; min tx interval 100 ms; multiplier 3; };\n"
			 "}\n" LEARNING "protocol bgp peer_router1 {\n"
			 "  local 10.0.0.31 as 65001; neighbor 10.0.0.1 as 65000; direct;\n"
			 "  hold time 9; keepalive time 3; connect delay time 1; connect retry time 1; error wait time 1, 2; "
			 "graceful restart off;\n"
			 "  bfd on; ttl security on; password \"se cret'#$\";\n" CHANNELS);
}
END_TEST

START_TEST(two_routers_far_away_without_bfd_and_password)
{
	struct bgp_config c = one_router();
	c.has_bfd = false;
	c.n_peers = 2;
	c.hold_s = 30;
	c.keepalive_s = 10;
	c.peers[0] = (struct bgp_peer){ .name = "a", .address = addr("10.9.0.1"), .as = 4200000000u, .multihop = 3 };
	c.peers[1] = (struct bgp_peer){ .name = "b_2", .address = addr("10.9.0.2"), .as = 65001, .ttl_security = true };
	ck_assert_int_eq(bgp_config_check(&c, NULL), 0);
	ck_assert_str_eq(
		text_of(&c), HEAD LEARNING
		"protocol bgp peer_a {\n"
		"  local 10.0.0.31 as 65001; neighbor 10.9.0.1 as 4200000000; multihop 3;\n"
		"  hold time 30; keepalive time 10; connect delay time 1; connect retry time 1; error wait time 1, 2; "
		"graceful restart off;\n"
		"  bfd off; ttl security off;\n" CHANNELS "protocol bgp peer_b_2 {\n"
		"  local 10.0.0.31 as 65001; neighbor 10.9.0.2 as 65001; direct;\n"
		"  hold time 30; keepalive time 10; connect delay time 1; connect retry time 1; error wait time 1, 2; "
		"graceful restart off;\n"
		"  bfd off; ttl security on;\n" CHANNELS);
}
END_TEST

START_TEST(far_routers_get_multihop_bfd)
{
	struct bgp_config c = one_router();
	c.peers[0].multihop = 2;
	ck_assert_ptr_nonnull(
		strstr(text_of(&c), "  multihop { min rx interval 100 ms; min tx interval 100 ms; multiplier 3; };\n"));
}
END_TEST

START_TEST(the_most_that_can_be_configured_fits)
{
	struct bgp_config c = one_router();
	c.n_peers = BGP_PEERS_MAX;
	for (uint32_t i = 0; i < c.n_peers; i++) {
		struct bgp_peer *p = &c.peers[i];
		*p = (struct bgp_peer){ .address = ip_addr_from_v4(be32_from(0xdededede + i)),
			                    .as = UINT32_MAX,
			                    .multihop = 255 };
		memset(p->name, 'n', sizeof p->name - 1);
		p->name[31] = (char)('a' + i);
		memset(p->password, 'p', sizeof p->password - 1);
	}
	ck_assert_int_eq(bgp_config_check(&c, NULL), 0);
	ck_assert_uint_lt(strlen(text_of(&c)), BIRD_CONFIG_BYTES_MAX - 1);
	char small[1000];
	struct bird_place at = { .address = addr("10.0.0.31"), .tap = "mux0", .table = 100 };
	ck_assert_int_eq(bird_config_format(&c, &at, small, sizeof small), ERR_LIMIT);
}
END_TEST

static void assert_refused(const struct bgp_config *c, const char *complaint)
{
	struct error err = { 0 };
	ck_assert_int_eq(bgp_config_check(c, &err), ERR_INVALID);
	ck_assert_msg(strncmp(err.text, complaint, strlen(complaint)) == 0, "%s", err.text);
}

START_TEST(what_could_be_taken_for_more_than_a_name_or_a_password_is_refused)
{
	static const char *const names[] = { "",   "1router", "router-1", "r 1", "r{",       "r\"",
		                                 "r;", "r'",      "_r",       "r\n", "r\xc3\xa9" };
	static const char *const passwords[] = { "a\"; accept", "a\\", "a\nb", "\x7f", "p\xc3\xa4ss", "\t" };
	for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
		struct bgp_config c = one_router();
		strcpy(c.peers[0].name, names[i]);
		assert_refused(&c, "peers[0].name: ");
	}
	for (size_t i = 0; i < sizeof passwords / sizeof *passwords; i++) {
		struct bgp_config c = one_router();
		strcpy(c.peers[0].password, passwords[i]);
		assert_refused(&c, "peers[0].password: ");
	}
}
END_TEST

START_TEST(what_makes_no_sense_is_refused_by_its_field)
{
	struct bgp_config c = one_router();
	c.as = 0;
	assert_refused(&c, "as: ");
	c = one_router();
	c.router_id = addr("2001:db8::1");
	assert_refused(&c, "router_id: ");
	c.router_id = addr("0.0.0.0");
	assert_refused(&c, "router_id: ");
	c = one_router();
	c.n_peers = 0;
	assert_refused(&c, "peers: ");
	c = one_router();
	c.keepalive_s = c.hold_s;
	assert_refused(&c, "keepalive_s: ");
	c = one_router();
	c.peers[0].address = addr("ff02::1");
	assert_refused(&c, "peers[0].address: ");
	c = one_router();
	c.peers[0].as = 0;
	assert_refused(&c, "peers[0].as: ");
	c = one_router();
	c.n_peers = 2;
	c.peers[1] = c.peers[0];
	assert_refused(&c, "peers[1].name: ");
	c.peers[1].name[0] = 'x';
	assert_refused(&c, "peers[1].address: ");
}
END_TEST

START_TEST(routes_of_both_families_go_over_a_session_of_either)
{
	struct bgp_config c = one_router();
	struct bird_place at = {
		.address = addr("10.0.0.31"), .address6 = addr("2001:db8:f::31"), .tap = "mux0", .table = 100
	};
	static char text[BIRD_CONFIG_BYTES_MAX];
	ck_assert_int_eq(bird_config_format(&c, &at, text, sizeof text), 0);
	ck_assert_ptr_nonnull(strstr(text, "local 10.0.0.31 as"));
	ck_assert_ptr_nonnull(strstr(text, "ipv4 { import none; export filter vip_out; next hop self; };"));
	ck_assert_ptr_nonnull(
		strstr(text, "ipv6 { import none; export filter vip_out; next hop address 2001:db8:f::31; };"));
	c.peers[0].address = addr("2001:db8:f::1");
	ck_assert_int_eq(bgp_config_check(&c, NULL), 0);
	ck_assert_int_eq(bird_config_format(&c, &at, text, sizeof text), 0);
	ck_assert_ptr_nonnull(strstr(text, "local 2001:db8:f::31 as"));
	ck_assert_ptr_nonnull(strstr(text, "ipv4 { import none; export filter vip_out; next hop address 10.0.0.31; };"));
	ck_assert_ptr_nonnull(strstr(text, "ipv6 { import none; export filter vip_out; next hop self; };"));
	at.address = (struct ip_addr){ { 0 } }; // a mux of IPv6 only
	ck_assert_int_eq(bird_config_format(&c, &at, text, sizeof text), 0);
	ck_assert_ptr_null(strstr(text, "ipv4 { import none; export filter vip_out"));
}
END_TEST

START_TEST(operators_files_are_looked_through)
{
	static const struct {
		const char *text;
		bool reads_table, has_bfd;
	} cases[] = {
		{ "", false, false },
		{ "protocol kernel { kernel table 100; }", true, false },
		{ "protocol kernel { kernel  /* here */ table\n100 ; }", true, false },
		{ "protocol kernel { kernel table 1000; }", false, false },
		{ "# kernel table 100;\n", false, false },
		{ "/* kernel table 100; */", false, false },
		{ "protocol static { description \"kernel table 100\"; }", false, false },
		{ "protocol bfd { }\nprotocol bgp { bfd on; }", false, true },
		{ "protocol bfd b1 { }\nprotocol bgp { bfd; }", false, true },
		{ "protocol bfd { }\nprotocol bgp { bfd { interval 50 ms; }; }", false, true },
		{ "protocol bfd { }\nprotocol bgp { bfd off; }", false, false },
		{ "protocol bfd { }\nprotocol bgp { # bfd on;\n }", false, false },
		{ "protocol bgp { bfd on; }", false, false },
		{ "/* without an end", false, false },
		{ "\"without an end", false, false },
	};
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		ck_assert_msg(bird_text_reads_table(cases[i].text, 100) == cases[i].reads_table, "%s", cases[i].text);
		ck_assert_msg(bird_text_has_bfd(cases[i].text) == cases[i].has_bfd, "%s", cases[i].text);
	}
	struct bgp_config c = one_router();
	ck_assert(bird_text_reads_table(text_of(&c), 100));
	ck_assert(bird_text_has_bfd(text_of(&c)));
}
END_TEST

SUITE_MAIN("mux BIRD configuration", one_router_with_everything, two_routers_far_away_without_bfd_and_password,
           far_routers_get_multihop_bfd, the_most_that_can_be_configured_fits,
           what_could_be_taken_for_more_than_a_name_or_a_password_is_refused,
           what_makes_no_sense_is_refused_by_its_field, routes_of_both_families_go_over_a_session_of_either,
           operators_files_are_looked_through)
