#include "mux/core/own_traffic.h"

#include "common/packet/arp.h"
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

void own_traffic_take_ip4(struct mux_worker *w, const struct mux_tables *t, struct mux_frame *f, const struct parsed *p,
                          bool is_fragment)
{
	if (!is_fragment && p->protocol == IP_PROTO_UDP && p->dst_port == be16_from(PIN_PORT))
		take_pins(w, t, f, p);
	else
		mux_pass_to_tap(w, f);
}
