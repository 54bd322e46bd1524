// Neighbor Discovery: every rule of RFC 4861 sections 6.1 and 7.1, and what is written against frames by hand.
#include "tests/support/suite.h"

#include <stdlib.h>
#include <string.h>

#include "common/packet/nd.h"
#include "tests/support/packet_builder.h"

#define ME "2001:db8:b::31"
#define GATEWAY "fe80::1"
#define MY_GROUP "ff02::1:ff00:31"

// A message as its sender would make it, with one thing changed.
struct message {
	const char *what;
	enum drop_reason reason;
	uint8_t type;
	const char *src, *dst, *target; // NULL: the right one
	uint8_t flags;
	uint8_t options[16];
	uint32_t n_options;
	uint8_t ttl; // 0: 255
	uint8_t code;
	uint32_t n_cut; // bytes less
	bool is_damaged, is_fragment;
};

static const struct mac mac = { { 2, 0, 0, 0, 0, 9 } };
#define SOURCE_MAC             \
	{                          \
		1, 1, 2, 0, 0, 0, 0, 9 \
	}
#define TARGET_MAC             \
	{                          \
		2, 1, 2, 0, 0, 0, 0, 9 \
	}

static struct test_frame make(const struct message *m)
{
	uint8_t body[64] = { 0 };
	bool is_neighbor = m->type >= ICMP6_NEIGHBOR_SOLICITATION;
	bool is_advertisement = m->type == ICMP6_NEIGHBOR_ADVERTISEMENT;
	uint32_t n = is_neighbor ? 24 : m->type == ICMP6_ROUTER_ADVERTISEMENT ? 16 : 8;
	struct test_tuple t = { .src = m->src != NULL ? m->src : GATEWAY,
		                    .dst = m->dst != NULL     ? m->dst
		                           : is_advertisement ? ME
		                                              : MY_GROUP,
		                    .ttl = m->ttl != 0 ? m->ttl : 255 };
	if (is_neighbor)
		memcpy(body, test_ip6(m->target != NULL ? m->target : is_advertisement ? GATEWAY : ME), 16);
	memcpy(body + n - 8, m->options, m->n_options);
	struct test_frame f =
		test_icmp(&t, m->type, m->code, (uint16_t)(m->flags << 8), 0, body, n - 8 + m->n_options - m->n_cut);
	if (m->is_damaged)
		test_data(&f)[ETH_BYTES + IP6_BYTES + 2] ^= 0x10;
	if (m->is_fragment)
		test_set_fragment(&f, 0, false);
	return f;
}

enum {
	RS = ICMP6_ROUTER_SOLICITATION,
	RA = ICMP6_ROUTER_ADVERTISEMENT,
	NS = ICMP6_NEIGHBOR_SOLICITATION,
	NA = ICMP6_NEIGHBOR_ADVERTISEMENT
};

#define BAD .reason = DROP_ND_MALFORMED
static const struct message messages[] = {
	{ "a solicitation", .type = NS, .options = SOURCE_MAC, .n_options = 8 },
	{ "a unicast solicitation", .type = NS, .dst = ME },
	{ "hop limit 254", .type = NS, .ttl = 254, BAD },
	{ "hop limit 64", .type = NA, .ttl = 64, BAD },
	{ "code 1", .type = NS, .code = 1, BAD },
	{ "a wrong checksum", .type = NS, .is_damaged = true, BAD },
	{ "in a fragment", .type = NS, .is_fragment = true, BAD },
	{ "a byte short", .type = NS, .n_cut = 1, BAD },
	{ "the target is a group", .type = NS, .target = MY_GROUP, BAD },
	{ "is my address taken?", .type = NS, .src = "::" },
	{ "is my address taken? with a MAC", .type = NS, .src = "::", .options = SOURCE_MAC, .n_options = 8, BAD },
	{ "is my address taken? to one", .type = NS, .src = "::", .dst = ME, BAD },
	{ "is my address taken? to all", .type = NS, .src = "::", .dst = "ff02::1", BAD },
	{ "an option of length 0", .type = NS, .options = { 1, 0 }, .n_options = 8, BAD },
	{ "an option beyond the end", .type = NS, .options = { 1, 2 }, .n_options = 8, BAD },
	{ "half an option", .type = NS, .options = { 1 }, .n_options = 1, BAD },
	{ "an unknown option", .type = NS, .options = { 14, 1 }, .n_options = 8 },
	{ "an unknown option and a MAC", .type = NS, .options = { 14, 1, 0, 0, 0, 0, 0, 0, 1, 1, 2, 0, 0, 0, 0, 9 },
	  .n_options = 16 },
	{ "an advertisement", .type = NA, .flags = 0xe0, .options = TARGET_MAC, .n_options = 8 },
	{ "an advertisement without a MAC", .type = NA, .flags = 0x40 },
	{ "to all nodes", .type = NA, .dst = "ff02::1", .flags = 0x20, .options = TARGET_MAC, .n_options = 8 },
	{ "solicited by all nodes", .type = NA, .dst = "ff02::1", .flags = 0x60, BAD },
	{ "advertised is a group", .type = NA, .target = "ff02::1", BAD },
	{ "an advertisement, a byte short", .type = NA, .n_cut = 1, BAD },
	{ "a router solicitation", .type = RS, .dst = "ff02::2", .options = SOURCE_MAC, .n_options = 8 },
	{ "a router solicitation from nobody", .type = RS, .src = "::", .dst = "ff02::2" },
	{ "a router solicitation from nobody with a MAC", .type = RS, .src = "::", .dst = "ff02::2", .options = SOURCE_MAC,
	  .n_options = 8, BAD },
	{ "a router advertisement", .type = RA, .dst = "ff02::1", .options = SOURCE_MAC, .n_options = 8 },
	{ "a router that is of no segment", .type = RA, .src = ME, .dst = "ff02::1", BAD },
	{ "a router advertisement, a byte short", .type = RA, .dst = "ff02::1", .n_cut = 1, BAD },
	{ "a redirect", .type = ICMP6_REDIRECT, .n_options = 16, .options = { 2, 2 }, BAD },
};

START_TEST(what_is_valid_is_read_and_all_else_is_malformed)
{
	for (size_t i = 0; i < sizeof messages / sizeof *messages; i++) {
		const struct message *m = &messages[i];
		struct test_frame f = make(m);
		struct parsed p;
		struct nd_info info;
		ck_assert_int_eq(test_parse(test_data(&f), f.len, &p), DROP_NONE);
		ck_assert_msg(nd_is_nd(test_data(&f), &p), "%s", m->what);
		enum drop_reason reason = nd_parse(test_data(&f), &p, &info);
		ck_assert_msg(reason == m->reason, "%s: %s", m->what, drop_reason_name(reason));
		if (reason != DROP_NONE)
			continue;
		bool has_mac = m->n_options > 0 && (m->options[0] != 14 || m->n_options == 16);
		ck_assert_msg(info.type == m->type && info.has_mac == has_mac, "%s", m->what);
		ck_assert(!has_mac || memcmp(&info.mac, &mac, sizeof mac) == 0);
		ck_assert_mem_eq(info.src, test_ip6(m->src != NULL ? m->src : GATEWAY), 16);
		ck_assert(info.is_router == (m->flags >> 7) && info.is_solicited == (m->flags >> 6 & 1) &&
		          info.is_override == (m->flags >> 5 & 1));
		if (m->type == NS || m->type == NA)
			ck_assert_mem_eq(info.target, test_ip6(m->type == NS ? ME : GATEWAY), 16);
	}
}
END_TEST

START_TEST(what_is_no_neighbor_discovery_is_left_alone)
{
	static const uint8_t others[] = { 1, 4, 128, 129, 130, 132, 138, 143 };
	struct test_tuple t = { .src = GATEWAY, .dst = ME, .ttl = 255 };
	struct parsed p;
	for (size_t i = 0; i < sizeof others; i++) {
		struct test_frame f = test_icmp(&t, others[i], 0, 0, 0, NULL, 20);
		(void)test_parse(test_data(&f), f.len, &p);
		ck_assert_msg(!nd_is_nd(test_data(&f), &p), "type %u", others[i]);
	}
	struct test_frame f = test_udp(&t, NULL, 20);
	(void)test_parse(test_data(&f), f.len, &p);
	ck_assert(!nd_is_nd(test_data(&f), &p));
}
END_TEST

// Bytes of options that say anything: none is read beyond the packet.
START_TEST(no_option_leads_beyond_the_packet)
{
	unsigned seed = 1;
	uint32_t n_valid = 0;
	for (int i = 0; i < 100000; i++) {
		struct message m = { "", .type = (uint8_t)(RS + rand_r(&seed) % 4), .dst = ME,
			                 .n_options = (uint32_t)rand_r(&seed) % 17 };
		for (uint32_t k = 0; k < m.n_options; k++)
			m.options[k] = (uint8_t)(rand_r(&seed) % 4);
		struct test_frame f = make(&m);
		uint8_t *exact = malloc(f.len);
		struct parsed p;
		struct nd_info info;
		memcpy(exact, test_data(&f), f.len);
		ck_assert_int_eq(test_parse(exact, f.len, &p), DROP_NONE);
		n_valid += nd_parse(exact, &p, &info) == DROP_NONE;
		free(exact);
	}
	ck_assert_uint_gt(n_valid, 5000);
}
END_TEST

// ---- writing ----

static struct nd_info read_frame(const uint8_t *frame, uint32_t n, const char *want)
{
	struct parsed p;
	struct nd_info info = { 0 };
	char text[256];
	ck_assert_msg(strstr(test_format(frame, n, text, sizeof text), want) != NULL, "%s", text);
	ck_assert_int_eq(test_parse(frame, n, &p), DROP_NONE);
	ck_assert_int_eq(nd_parse(frame, &p, &info), DROP_NONE);
	return info;
}

START_TEST(a_solicitation_goes_to_the_group_of_its_target_or_to_its_mac)
{
	uint8_t frame[ND_SOLICITATION_BYTES];
	static const struct mac group = { { 0x33, 0x33, 0xff, 0xab, 0xcd, 0xef } };
	nd_write_solicitation(frame, &mac, test_ip6(ME), test_ip6("2001:db8::12:34ab:cdef"), NULL);
	struct nd_info info = read_frame(frame, sizeof frame,
	                                 "02:00:00:00:00:09 > 33:33:ff:ab:cd:ef ip6 [2001:db8:b::31]:0 > "
	                                 "[ff02::1:ffab:cdef]:0 icmp6 type 135 code 0 hops 255");
	ck_assert_mem_eq(frame, &group, sizeof group);
	ck_assert(info.has_mac && memcmp(&info.mac, &mac, sizeof mac) == 0);
	ck_assert_mem_eq(info.target, test_ip6("2001:db8::12:34ab:cdef"), 16);
	nd_write_solicitation(frame, &mac, test_ip6(ME), test_ip6(GATEWAY), &TEST_MAC_B);
	(void)read_frame(frame, sizeof frame,
	                 "02:00:00:00:00:09 > 02:00:00:00:00:02 ip6 [2001:db8:b::31]:0 > [fe80::1]:0 icmp6");
}
END_TEST

START_TEST(an_advertisement_answers_who_asked)
{
	for (int i = 0; i < 4; i++) {
		struct message m = { "", .type = NS, .options = SOURCE_MAC, .n_options = 8 };
		struct test_frame f = make(&m);
		struct nd_info asked = read_frame(test_data(&f), f.len, "");
		nd_write_advertisement(test_data(&f), &TEST_MAC_B, &asked, &mac, i & 1 ? ND_ROUTER : ND_HOST, (i & 2) != 0);
		struct nd_info info = read_frame(test_data(&f), ND_ADVERTISEMENT_BYTES,
		                                 "02:00:00:00:00:02 > 02:00:00:00:00:09 ip6 "
		                                 "[2001:db8:b::31]:0 > [fe80::1]:0 icmp6 type 136 code 0 hops 255");
		ck_assert(info.is_solicited && info.is_router == (i & 1) && info.is_override == !(i & 2));
		ck_assert_mem_eq(info.target, test_ip6(ME), 16);
		ck_assert(info.has_mac && memcmp(&info.mac, &TEST_MAC_B, sizeof mac) == 0);
	}
}
END_TEST

START_TEST(who_has_no_address_yet_is_answered_to_all)
{
	struct message m = { "", .type = NS, .src = "::" };
	struct test_frame f = make(&m);
	struct nd_info asked = read_frame(test_data(&f), f.len, "");
	nd_write_advertisement(test_data(&f), &TEST_MAC_B, &asked, &mac, ND_HOST, false);
	struct nd_info info = read_frame(test_data(&f), ND_ADVERTISEMENT_BYTES,
	                                 "> 33:33:00:00:00:01 ip6 [2001:db8:b::31]:0 > [ff02::1]:0 icmp6 type 136");
	ck_assert(!info.is_solicited && info.is_override);
}
END_TEST

START_TEST(a_router_advertisement_has_no_prefix)
{
	static const uint8_t want[] = { 64, 0, 7, 8, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1,
		                            2,  0, 0, 0, 0, 9, 5, 1, 0, 0, 0, 0, 5, 0xa0 };
	uint8_t frame[ND_ROUTER_ADVERTISEMENT_BYTES];
	struct nd_router r = { .mac = mac, .lifetime_s = 1800, .mtu = 1440 };
	memcpy(r.addr, test_ip6(GATEWAY), 16);
	nd_write_router_advertisement(frame, &r, &TEST_MAC_B, test_ip6("fe80::2"));
	(void)read_frame(
		frame, sizeof frame,
		"02:00:00:00:00:09 > 02:00:00:00:00:02 ip6 [fe80::1]:0 > [fe80::2]:0 icmp6 type 134 code 0 hops 255");
	ck_assert_mem_eq(frame + ETH_BYTES + IP6_BYTES + 4, want, sizeof want);
	nd_write_router_advertisement(frame, &r, NULL, NULL);
	(void)read_frame(frame, sizeof frame, "> 33:33:00:00:00:01 ip6 [fe80::1]:0 > [ff02::1]:0 icmp6 type 134");
}
END_TEST

SUITE_MAIN("nd", what_is_valid_is_read_and_all_else_is_malformed, what_is_no_neighbor_discovery_is_left_alone,
           no_option_leads_beyond_the_packet, a_solicitation_goes_to_the_group_of_its_target_or_to_its_mac,
           an_advertisement_answers_who_asked, who_has_no_address_yet_is_answered_to_all,
           a_router_advertisement_has_no_prefix)
