#include "mux/core/own_traffic.h"

#include "common/packet/arp.h"
#include "common/packet/nd.h"
#include "common/packet/pin.h"
#include "mux/core/pin_intake.h"
#include "mux/core/verdict.h"

void own_traffic_take_arp(struct mux_worker *w, struct mux_frame *f)
{
	struct arp_info arp;
	enum drop_reason reason = arp_parse(f->data, f->len, &arp);
	if (reason != DROP_NONE) {
		mux_drop(w, f, reason);
		return;
	}
	neighbor_table_on_arp(&w->neighbors, &arp, w->now);
	mux_pass_to_tap(w, f);
}

static void take_pins(struct mux_worker *w, const struct mux_tables *t, struct mux_frame *f, const struct parsed *p)
{
	enum drop_reason reason = t == NULL ? DROP_NO_CONFIG : pin_intake_take(w, t, f->data, p);
	if (reason != DROP_NONE) {
		mux_drop(w, f, reason);
		return;
	}
	f->verdict = MUX_CONSUMED;
	f->reason = DROP_NONE;
}

// Of a group only what is ICMPv6 is the node's: it joins no other.
static void take_group(struct mux_worker *w, struct mux_frame *f, const struct parsed *p, bool is_fragment)
{
	if (is_fragment || p->protocol != IP_PROTO_ICMP6)
		mux_drop(w, f, DROP_NOT_FOR_US);
	else
		mux_pass_to_tap(w, f);
}

static enum drop_reason note_nd(struct mux_worker *w, const uint8_t *frame, const struct parsed *p)
{
	struct nd_info nd;
	enum drop_reason reason = nd_parse(frame, p, &nd);
	if (reason == DROP_NONE)
		neighbor_table_on_nd(&w->neighbors6, &nd, w->now);
	return reason;
}

void own_traffic_take_ip(struct mux_worker *w, const struct mux_tables *t, struct mux_frame *f, const struct parsed *p,
                         bool is_fragment)
{
	bool is_nd = p->is_ip6 && !is_fragment && nd_is_nd(f->data, p);
	enum drop_reason reason = is_nd ? note_nd(w, f->data, p) : DROP_NONE;
	if (reason != DROP_NONE)
		mux_drop(w, f, reason);
	else if (!is_nd && p->is_ip6 && ip6_is_multicast(parsed_dst6(f->data, p)))
		take_group(w, f, p, is_fragment);
	else if (!is_fragment && p->protocol == IP_PROTO_UDP && p->dst_port == be16_from(PIN_PORT))
		take_pins(w, t, f, p);
	else
		mux_pass_to_tap(w, f);
}
