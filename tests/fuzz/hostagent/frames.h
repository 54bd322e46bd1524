// A fuzz input as a sequence of frames: each is a big-endian u16 (upper 4 bits: seconds that pass before it; the rest: its
// length) and its bytes. Every frame is put into memory of exactly its size, and the headroom, so that ASan sees any byte
// beyond. Both VMs are SNATed and have leased ports; two endpoints have histories, so that frames with hop marks go their ways. All of it
// in both families; host2's DIP of IPv6 has a via of IPv4.
#pragma once

#include <stdlib.h>
#include <string.h>

#include "common/base/check.h"
#include "hostagent/core/chain.h"
#include "tests/unit/hostagent/fixture.h"

struct frames {
	const uint8_t *at;
	size_t n_left;
	uint64_t now_us;
};

// The next frame, AGENT_HEADROOM bytes into what is to be freed by the caller; NULL at the end.
static inline uint8_t *frames_next(struct frames *f, uint32_t *ret_len)
{
	if (f->n_left < 2)
		return NULL;
	uint32_t head = (uint32_t)f->at[0] << 8 | f->at[1];
	uint32_t len = head & 0xfff;
	f->now_us += (uint64_t)(head >> 12) * 1000000;
	f->at += 2;
	f->n_left -= 2;
	if (len > f->n_left)
		len = (uint32_t)f->n_left;
	uint8_t *buffer = malloc(AGENT_HEADROOM + len);
	memset(buffer, 0, AGENT_HEADROOM);
	memcpy(buffer + AGENT_HEADROOM, f->at, len);
	f->at += len;
	f->n_left -= len;
	*ret_len = len;
	return buffer;
}

// What must hold of every packet that goes on, whatever came in.
static inline void check_verdict(const struct agent *a, const struct agent_packet *p, const uint8_t *frame,
                                 uint32_t len)
{
	if (p->verdict == AGENT_DROP) {
		CHECK(p->reason > DROP_NONE && p->reason < DROP_REASON_COUNT);
		return;
	}
	if (p->verdict == AGENT_HOLD_FRAGMENT) {
		CHECK(p->hold_slot < AGENT_FRAGMENT_SLOTS && p->frame == frame && p->len == len);
		return;
	}
	if (p->verdict == AGENT_HOLD) {
		CHECK(p->hold_slot < snat_slots(a->snat) && p->frame == frame && p->len == len);
		return;
	}
	CHECK(p->frame >= frame - AGENT_HEADROOM && p->len >= ETH_BYTES);
	CHECK(p->frame + p->len <= frame + len || (p->verdict == AGENT_TO_VM && p->reason != DROP_NONE));
	if (p->verdict == AGENT_TO_VM)
		CHECK(p->port < a->config->n_ports && a->port_is_open[p->port]);
	CHECK(a->flows.n_flows <= a->flows.capacity);
	CHECK(agent_dip_flows(a, test_ip4("10.1.1.11")) + agent_dip_flows(a, test_ip4("10.1.1.12")) <= a->flows.n_flows);
}

// What was encapsulated anew goes to nobody here, within the hops that there are.
static inline void check_chained(const struct agent *a, const struct agent_packet *p)
{
	struct parsed outer;
	be16 type = p->verdict == AGENT_TO_UPLINK ? frame_ether_type(p->frame) : 0;
	if (type != be16_from(ETHER_IP4) && type != be16_from(ETHER_IP6))
		return;
	enum drop_reason reason = type == be16_from(ETHER_IP6) ? parse_ip6(p->frame, p->len, ETH_BYTES, &outer)
	                                                       : parse_ip4(p->frame, p->len, ETH_BYTES, &outer);
	CHECK(reason == DROP_NONE);
	if (outer.protocol == IP_PROTO_ICMP6) // the answer to a solicitation
		return;
	be32 dst = outer.is_ip6 ? addr_names_lookup(a->flows.names, parsed_dst6(p->frame, &outer)) : outer.dst;
	uint16_t mark =
		outer.is_ip6 ? be16_to(load16(p->frame + ETH_BYTES + 2)) : be16_to(load16(p->frame + ETH_BYTES + 4));
	CHECK(ip_protocol_is_tunnel(outer.protocol));
	CHECK(dst != 0 && agent_config_lookup_dip(a->config, dst) == AGENT_NO_PORT);
	CHECK((mark & CHAIN_MARK) != 0 && (mark & CHAIN_MARK_HOPS) <= CHAIN_HOPS_MAX);
}

static inline void check_pins(struct agent *a, uint64_t wall_us)
{
	uint8_t frame[PIN_REPORTS_FRAME_BYTES];
	uint32_t n = agent_pins_begin(a, wall_us);
	for (uint32_t i = 0; i < n; i++)
		CHECK(agent_pins_write(a, i, frame) <= PIN_REPORTS_FRAME_BYTES);
	CHECK(a->pin_reports.n == 0);
}

// A VM that is SNATed never reaches the outside with its own address.
static inline void check_is_translated(const struct agent *a, const struct agent_packet *p)
{
	if (p->verdict == AGENT_TO_UPLINK && frame_ether_type(p->frame) == be16_from(ETHER_IP6)) {
		const struct ip6_header *ip6 = (const struct ip6_header *)(p->frame + ETH_BYTES);
		be32 src = addr_names_lookup(a->flows.names, ip6->src);
		be32 dst = addr_names_lookup(a->flows.names, ip6->dst);
		CHECK(src != 0 && (agent_config_lookup_dip(a->config, src) == AGENT_NO_PORT ||
		                   agent_config_is_inside6(a->config, ip6->dst, dst)));
	}
	if (p->verdict != AGENT_TO_UPLINK || frame_ether_type(p->frame) != be16_from(ETHER_IP4))
		return;
	const struct ip4_header *ip = (const struct ip4_header *)(p->frame + ETH_BYTES);
	CHECK(agent_config_lookup_dip(a->config, ip->src) == AGENT_NO_PORT || agent_config_is_inside(a->config, ip->dst));
}

// ---- Fragments that wait ----

struct held {
	uint8_t *buffers[AGENT_FRAGMENT_SLOTS];
	struct agent_packet packets[AGENT_FRAGMENT_SLOTS];
};

// The buffer is kept or freed.
static inline void held_put(struct held *h, const struct agent_packet *p, uint8_t *buffer)
{
	if (p->verdict != AGENT_HOLD_FRAGMENT) {
		free(buffer);
		return;
	}
	free(h->buffers[p->hold_slot]);
	h->buffers[p->hold_slot] = buffer;
	h->packets[p->hold_slot] = *p;
}

static inline void held_release(struct held *h, struct agent *a,
                                void (*check)(const struct agent *, const struct agent_packet *))
{
	struct agent_released released;
	while (agent_next_fragment(a, &released)) {
		CHECK(released.slot < AGENT_FRAGMENT_SLOTS && h->buffers[released.slot] != NULL);
		struct agent_packet p = h->packets[released.slot];
		const uint8_t *frame = p.frame;
		uint32_t len = p.len;
		agent_release_fragment(a, &released, &p);
		CHECK(p.verdict != AGENT_HOLD_FRAGMENT && p.verdict != AGENT_HOLD);
		check_verdict(a, &p, frame, len);
		check(a, &p);
		free(h->buffers[released.slot]);
		h->buffers[released.slot] = NULL;
	}
}

static inline void held_free(struct held *h)
{
	for (uint32_t i = 0; i < AGENT_FRAGMENT_SLOTS; i++)
		free(h->buffers[i]);
}

static inline void fuzz_add_ip6(struct agent_fixture *f)
{
	static const char *const web[] = { "2001:db8::10:1:2:12", "2001:db8::10:1:1:12", "2001:db8::10:1:2:11",
		                               "2001:db8::10:1:1:11", NULL };
	static const char *const dns[] = { "2001:db8::10:1:1:11", "2001:db8::10:1:2:11", NULL };
	fixture_add_ip6(f);
	fixture_add_vias(f);
	fixture_change(f, fixture_two_histories("2001:db8::203:0:113:10", web, dns));
	fixture_add_snat6(f, NULL);
	fixture_lease(f, "2001:db8::203:0:113:20", "2001:db8::10:1:1:11", 1024, 8, 4);
	fixture_lease(f, "2001:db8::203:0:113:20", "2001:db8::10:1:1:12", 1032, 8, 5);
	f->agent.settings.proxy_arp = true;
}

static inline void fuzz_fixture_init(struct agent_fixture *f)
{
	fixture_init(f, 16);
	static const char *const web[] = { "10.1.2.12", "10.1.1.12", "10.1.2.11", "10.1.1.11", NULL };
	static const char *const dns[] = { "10.1.1.11", "10.1.2.11", NULL }; // vm1 is drained
	fixture_change(f, fixture_cluster());
	fixture_change(f, fixture_two_histories("203.0.113.10", web, dns));
	fixture_add_snat(f, NULL);
	fixture_lease(f, "203.0.113.20", "10.1.1.11", 1024, 8, 1);
	fixture_lease(f, "203.0.113.20", "10.1.1.12", 1032, 8, 2);
	fuzz_add_ip6(f);
}

static inline void fuzz_answer(struct agent_fixture *f, const struct snat_report *report)
{
	struct snat_order o = { .kind = SNAT_ORDER_ANSWERED, .dip = report->dip, .seq = report->seq, .code = ERR_LIMIT };
	agent_snat_order(&f->agent, &o);
}

// What goes on beside the packets; a frame without bytes takes a lease away and brings it back.
static inline void fuzz_tend(struct agent_fixture *f, uint64_t now_us, uint64_t elapsed_us, uint32_t len)
{
	if (len == 0) {
		fixture_end(f, "203.0.113.20", "10.1.1.11", 1024, 1);
		fixture_lease(f, "203.0.113.20", "10.1.1.12", 1024, 8, 3);
		fixture_end(f, "203.0.113.20", "10.1.1.12", 1024, 3);
		fixture_lease(f, "203.0.113.20", "10.1.1.11", 1024, 8, 1);
	}
	agent_expire_flows(&f->agent, mono_from_us(now_us), elapsed_us);
	agent_expire_fragments(&f->agent, mono_from_us(now_us));
	agent_snat_tend(&f->agent, mono_from_us(now_us), elapsed_us);
	struct snat_report report;
	uint16_t slot;
	while (agent_snat_next_report(&f->agent, &report))
		if (report.kind == SNAT_REPORT_WANTED)
			fuzz_answer(f, &report);
	while (agent_snat_next_ready(&f->agent, &slot))
		CHECK(slot < snat_slots(f->agent.snat));
}
