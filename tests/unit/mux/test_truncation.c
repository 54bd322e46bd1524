// Frames that were cut at every byte: what is not there as a whole goes nowhere, and nothing behind its end is read.
#include "tests/support/suite.h"

#include <stdlib.h>
#include <string.h>

#include "common/base/memory.h"
#include "tests/unit/mux/fixture.h"

#define VIP "203.0.113.10"
#define SNAT_VIP "203.0.113.20"
#define CLIENT "198.51.100.7"

enum { PADDING_BYTES = 46 };

static struct test_frame to_vip(const char *what)
{
	struct test_tuple t = { .src = CLIENT, .dst = VIP, .src_port = 40000, .dst_port = 80 };
	struct test_tuple back = { .src = VIP, .dst = CLIENT, .src_port = 80, .dst_port = 40000 };
	struct test_tuple leased = { .src = CLIENT, .dst = SNAT_VIP, .src_port = 443, .dst_port = 2050 };
	struct test_tuple with_options = t;
	with_options.ip_options_bytes = 12;
	const uint8_t mss[] = { 2, 4, 5, 180 };
	struct test_frame sent = test_tcp(&back, TCP_ACK, NULL, 30);
	if (strcmp(what, "tcp") == 0)
		return test_tcp(&t, TCP_ACK, NULL, 20);
	if (strcmp(what, "tcp with options") == 0)
		return test_tcp_options(&with_options, TCP_SYN, mss, sizeof mss, NULL, 5);
	if (strcmp(what, "tcp to a leased port") == 0)
		return test_tcp(&leased, TCP_SYN | TCP_ACK, NULL, 0);
	if (strcmp(what, "udp to a leased port") == 0)
		return test_udp(&leased, NULL, 17);
	if (strcmp(what, "echo request") == 0)
		return test_icmp(&t, ICMP_ECHO, 0, 7, 1, NULL, 30);
	if (strcmp(what, "echo reply") == 0)
		return test_icmp(&leased, ICMP_ECHO_REPLY, 0, 2050, 1, NULL, 30);
	ck_assert_str_eq(what, "error");
	return test_icmp_error(&t, ICMP_UNREACHABLE, 1, &sent, 28);
}

static const char *const kinds[] = {
	"tcp", "tcp with options", "tcp to a leased port", "udp to a leased port", "echo request", "echo reply", "error"
};
enum { N_KINDS = sizeof kinds / sizeof *kinds };

static struct fixture *make_mux(void)
{
	struct fixture *f = fixture_create(MUX_ADDRESS);
	struct vip_config *vip = test_letters_vip(VIP, "a");
	fixture_put_vip(f, vip);
	vip = memory_array(1, sizeof *vip);
	vip->vip = test_addr(SNAT_VIP);
	ck_assert(text_copy(vip->tenant, sizeof vip->tenant, "shop"));
	vip->endpoints = memory_array(0, sizeof *vip->endpoints);
	vip->n_snat_dips = 1;
	vip->snat_dips = memory_array(1, sizeof *vip->snat_dips);
	vip->snat_dips[0] = test_letter('b');
	ck_assert_int_eq(vip_config_validate(vip, NULL), 0);
	fixture_put_vip(f, vip);
	fixture_lease(f, SNAT_VIP, "10.1.1.2", 2048, 8);
	return f;
}

// The frame lies at the end of its memory, so that ASan sees a read beyond it.
static struct mux_frame send_cut(struct fixture *f, struct test_frame *whole, uint32_t n)
{
	uint8_t *exact = malloc(ENCAP_BYTES + n);
	ck_assert_ptr_nonnull(exact);
	memcpy(exact + ENCAP_BYTES, test_data(whole), n);
	struct mux_frame m = { .data = exact + ENCAP_BYTES, .len = n };
	mux_pipeline_burst(&f->worker, f->tables, &m, 1);
	free(exact);
	m.data = NULL;
	return m;
}

START_TEST(what_is_cut_goes_nowhere_and_what_is_whole_goes_on)
{
	struct fixture *f = make_mux();
	for (int i = 0; i < N_KINDS; i++) {
		struct test_frame whole = to_vip(kinds[i]);
		for (uint32_t n = 0; n < whole.len; n++) {
			struct mux_frame m = send_cut(f, &whole, n);
			ck_assert_msg(m.verdict == MUX_DROP, "%s, %u of %u bytes", kinds[i], n, whole.len);
			ck_assert_int_ne(m.reason, DROP_NONE);
		}
		ck_assert_msg(send_cut(f, &whole, whole.len).verdict == MUX_TO_UPLINK, "%s", kinds[i]);
	}
	fixture_destroy(f);
}
END_TEST

// Of a packet with padding any part of that may be gone; it is never sent on.
START_TEST(padding_may_be_cut_anywhere)
{
	struct fixture *f = make_mux();
	for (int i = 0; i < N_KINDS; i++) {
		struct test_frame whole = to_vip(kinds[i]);
		uint32_t n_whole = whole.len;
		uint32_t n_sent = send_cut(f, &whole, n_whole).len;
		whole.len += PADDING_BYTES;
		for (uint32_t n = n_whole; n <= whole.len; n++) {
			struct mux_frame m = send_cut(f, &whole, n);
			ck_assert_msg(m.verdict == MUX_TO_UPLINK, "%s with %u of padding", kinds[i], n - n_whole);
			if (strcmp(kinds[i], "echo request") != 0) // which is answered in its own frame
				ck_assert_uint_eq(m.len, n_sent);
		}
	}
	fixture_destroy(f);
}
END_TEST

// The same cut, by who says so in the total length: headers that are not there are not read, and what is sent is no longer.
START_TEST(a_total_length_that_cuts_is_obeyed)
{
	struct fixture *f = make_mux();
	for (int i = 0; i < N_KINDS; i++) {
		struct test_frame whole = to_vip(kinds[i]);
		for (uint32_t n = 0; n <= whole.len - ETH_BYTES; n++) {
			struct test_frame cut = whole;
			((struct ip4_header *)(test_data(&cut) + ETH_BYTES))->total_length = be16_from((uint16_t)n);
			struct mux_frame m = send_cut(f, &cut, ETH_BYTES + n);
			bool is_echo = strcmp(kinds[i], "echo request") == 0;
			if (m.verdict == MUX_TO_UPLINK)
				ck_assert_uint_eq(m.len, ETH_BYTES + (is_echo ? 0 : ENCAP_BYTES) + n);
			else
				ck_assert_int_ne(m.reason, DROP_NONE);
		}
	}
	fixture_destroy(f);
}
END_TEST

SUITE_MAIN("mux truncation", what_is_cut_goes_nowhere_and_what_is_whole_goes_on, padding_may_be_cut_anywhere,
           a_total_length_that_cuts_is_obeyed)
