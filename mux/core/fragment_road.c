#include "mux/core/fragment_road.h"

#include "common/packet/icmp.h"
#include "mux/core/encapsulate.h"
#include "mux/core/family.h"
#include "mux/core/history_road.h"
#include "mux/core/side_frames.h"
#include "mux/core/snat_road.h"
#include "mux/core/vip_icmp.h"

// ---- a decision: DIP | slot of the VIP's counters << 32 | kind << 56 ----

enum way_kind { WAY_ENDPOINT, WAY_LESSEE, WAY_ICMP_ERROR, WAY_ECHO };

struct way {
	be32 dip; // 0: of WAY_ECHO
	uint32_t slot;
	enum way_kind kind;
};

_Static_assert(VIP_SLOTS_MAX <= 1u << 24, "a slot fits into a decision");

static uint64_t decision_of(const struct way *way)
{
	return way->dip | (uint64_t)way->slot << 32 | (uint64_t)way->kind << 56;
}

static struct way way_of(uint64_t decision)
{
	return (struct way){ .dip = (be32)decision,
		                 .slot = (uint32_t)(decision >> 32) & 0xffffff,
		                 .kind = (enum way_kind)(decision >> 56) };
}

// ---- sending ----

static void count_way(struct mux_worker *w, const struct way *way, uint32_t inner_bytes)
{
	w->counters.fragment_packets++;
	switch (way->kind) {
	case WAY_ENDPOINT: count_vip(&w->vips->endpoints[way->slot], inner_bytes); return;
	case WAY_LESSEE:
		count_vip(&w->vips->snat[way->slot], inner_bytes);
		w->counters.snat_packets++;
		w->counters.snat_bytes += inner_bytes;
		return;
	case WAY_ICMP_ERROR:
		w->counters.icmp_errors_steered++;
		w->vips->icmp_errors_steered[way->slot]++;
		return;
	case WAY_ECHO: return;
	}
}

static void send_to_dip(struct mux_worker *w, struct mux_frame *f, const struct parsed *p, const struct way *way)
{
	static const struct vias no_vias;
	struct parsed addrs = { .l3_off = p->l3_off, .src = p->src, .dst = p->dst, .is_ip6 = p->is_ip6 };
	uint64_t hash = family_hash(f->data, &addrs, 0); // one gateway for all of the datagram
	struct encap_template template =
		encap_template_of(w->settings.address, w->tables != NULL ? &w->tables->vias : &no_vias, way->dip);
	if (encapsulate(w, f, &template, hash, p->l3_bytes))
		count_way(w, way, p->l3_bytes);
}

static void send_by(struct mux_worker *w, struct mux_frame *f, const struct parsed *p, bool is_first,
                    const struct way *way)
{
	if (way->kind != WAY_ECHO) {
		send_to_dip(w, f, p, way);
		return;
	}
	if (is_first)
		icmp_write_echo_reply(f->data, p);
	else
		icmp_write_echo_reply_fragment(f->data, p);
	f->verdict = MUX_TO_UPLINK;
	f->reason = DROP_NONE;
	w->counters.icmp_echo_replies += is_first;
}

void fragment_road_send(struct mux_worker *w, struct mux_frame *f, uint64_t decision)
{
	struct parsed p = { 0 };
	struct way way = way_of(decision);
	family_parse_again(f->data, f->len, &p);
	send_by(w, f, &p, false, &way);
}

// ---- the first one ----

// By addresses and ports, which are 0 where the protocol has none.
static void choose_endpoint(struct mux_worker *w, const struct mux_tables *t, const uint8_t *frame,
                            const struct parsed *p, const struct vip_entry *e, struct way *ret_way)
{
	uint64_t hash = family_hash(frame, p, t->hash_seed);
	*ret_way = (struct way){ history_template_of(w, e, hash)->dst, e->slot, WAY_ENDPOINT };
}

static enum drop_reason choose_by_protocol(struct mux_worker *w, const struct mux_tables *t, const uint8_t *frame,
                                           const struct parsed *p, struct way *ret_way)
{
	const struct vip_entry *e = ip_protocol_is_any(p->protocol) ? vip_lookup(t, p->dst, 0, IP_PROTO_ANY) : NULL;
	if (e == NULL)
		return DROP_NO_ENDPOINT;
	if (vip_entry_is_refusing(e))
		return DROP_ENDPOINT_REFUSING;
	choose_endpoint(w, t, frame, p, e, ret_way);
	return DROP_NONE;
}

static enum drop_reason choose_by_ports(struct mux_worker *w, const struct mux_tables *t, const uint8_t *frame,
                                        const struct parsed *p, const struct vip_entry *vip, struct way *ret_way)
{
	const struct vip_entry *e = vip_lookup(t, p->dst, p->dst_port, p->protocol);
	if (e == NULL) {
		*ret_way = (struct way){ lessee_of(vip, p->dst_port), vip->slot, WAY_LESSEE };
		return ret_way->dip != 0 ? DROP_NONE : snat_reason_of(vip, p->dst_port);
	}
	if (vip_entry_is_refusing(e) && p->protocol != IP_PROTO_TCP)
		return DROP_ENDPOINT_REFUSING;
	choose_endpoint(w, t, frame, p, e, ret_way);
	return DROP_NONE;
}

static enum drop_reason choose_by_icmp(struct mux_worker *w, const struct mux_tables *t, const uint8_t *frame,
                                       const struct parsed *p, const struct vip_entry *vip, struct way *ret_way)
{
	const struct icmp_header *icmp = (const struct icmp_header *)(frame + p->l4_off);
	*ret_way = (struct way){ .slot = vip->slot };
	enum icmp_kind kind = icmp_kind_of(frame, p);
	if (kind == ICMP_KIND_ERROR) {
		uint64_t hash;
		ret_way->kind = WAY_ICMP_ERROR;
		ret_way->dip = vip_icmp_dip_of_error(w, t, frame, p, vip, &hash);
		return ret_way->dip != 0 ? DROP_NONE : DROP_ICMP_UNKNOWN;
	}
	if (kind == ICMP_KIND_ECHO) {
		if (family_source_is_destination(frame, p))
			return DROP_BAD_SOURCE;
		ret_way->kind = WAY_ECHO;
		return token_bucket_take(&w->echo_replies, w->now) ? DROP_NONE : DROP_RATE_LIMITED;
	}
	if (kind != ICMP_KIND_ECHO_REPLY)
		return DROP_ICMP_IGNORED;
	ret_way->kind = WAY_LESSEE;
	ret_way->dip = lessee_of(vip, icmp->id);
	return ret_way->dip != 0 ? DROP_NONE : DROP_ICMP_UNKNOWN;
}

static void take_first(struct mux_worker *w, const struct mux_tables *t, struct mux_frame *f,
                       const struct parsed *fragment, const struct vip_entry *vip, struct fragment_datagram *datagram)
{
	struct parsed p = *fragment;
	struct way way;
	enum drop_reason reason;
	fragment_read_ports(f->data, &p);
	if (p.protocol == IP_PROTO_TCP || p.protocol == IP_PROTO_UDP)
		reason = choose_by_ports(w, t, f->data, &p, vip, &way);
	else if (ip_protocol_is_icmp(p.protocol))
		reason = choose_by_icmp(w, t, f->data, &p, vip, &way);
	else
		reason = choose_by_protocol(w, t, f->data, &p, &way);
	if (reason != DROP_NONE) {
		fragments_refuse(&w->side->fragments, datagram);
		mux_drop(w, f, reason);
		return;
	}
	fragments_decide(&w->side->fragments, datagram, decision_of(&way));
	send_by(w, f, &p, true, &way);
}

void fragment_road_take(struct mux_worker *w, const struct mux_tables *t, struct mux_frame *f, const struct parsed *p)
{
	struct fragment fragment;
	const struct vip_entry *vip = vip_lookup(t, p->dst, 0, 0);
	enum drop_reason reason = vip == NULL                            ? DROP_NOT_A_VIP
	                          : family_source_is_martian(f->data, p) ? DROP_BAD_SOURCE
	                          : w->side == NULL                      ? DROP_FRAGMENT
	                                                                 : fragment_parse(f->data, p, &fragment);
	if (reason != DROP_NONE) {
		mux_drop(w, f, reason);
		return;
	}
	struct fragment_step step = fragments_take(&w->side->fragments, &fragment, w->now);
	w->counters.fragment_datagrams_evicted = w->side->fragments.counters.evicted;
	switch (step.verdict) {
	case FRAGMENT_REFUSED: mux_drop(w, f, step.reason); return;
	case FRAGMENT_FIRST: take_first(w, t, f, p, vip, step.datagram); return;
	case FRAGMENT_KNOWN: fragment_road_send(w, f, step.decision); return;
	case FRAGMENT_WAITS: side_frames_hold(w, f, &step); return;
	}
}
