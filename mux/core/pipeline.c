#include "mux/core/pipeline.h"

#include "common/model/flow_hash.h"
#include "common/packet/arp.h"
#include "common/packet/icmp.h"

#define MAC48 0xffffffffffffull

// A packet on its way through the stages.
struct passage {
	struct mux_frame *frame;
	struct parsed p;
	uint64_t hash;
	uint32_t line;
	const struct vip_entry *entry;
	const uint16_t *owner;
};

void mux_worker_init(struct mux_worker *w, const struct mux_settings *settings, struct vip_counters *vips,
                     struct mono_time now)
{
	memset(w, 0, sizeof *w);
	w->settings = *settings;
	memcpy(&w->mac48, &settings->mac, sizeof settings->mac);
	w->vips = vips;
	w->now = now;
	neighbor_table_init(&w->neighbors, &settings->mac, settings->address);
	token_bucket_init(&w->echo_replies, MUX_ECHO_RATE_PER_S, MUX_ECHO_RATE_PER_S, now);
}

static void drop(struct mux_worker *w, struct mux_frame *f, enum drop_reason reason)
{
	f->verdict = MUX_DROP;
	f->reason = reason;
	w->counters.drops[reason]++;
}

static void pass_to_tap(struct mux_worker *w, struct mux_frame *f)
{
	f->verdict = MUX_TO_TAP;
	f->reason = DROP_NONE;
	w->counters.to_tap_packets++;
}

// ARP is the kernel's, behind the tap; what it says of next hops is noted on the way.
static void take_arp(struct mux_worker *w, struct mux_frame *f)
{
	struct arp_info arp;
	enum drop_reason reason = arp_parse(f->data, f->len, &arp);
	if (reason != DROP_NONE) {
		drop(w, f, reason);
		return;
	}
	neighbor_table_on_arp(&w->neighbors, &arp, w->now);
	pass_to_tap(w, f);
}

static void answer_echo(struct mux_worker *w, struct mux_frame *f, const struct parsed *p)
{
	const struct icmp_header *icmp = (const struct icmp_header *)(f->data + p->l4_off);
	if (icmp->type != ICMP_ECHO || icmp->code != 0) {
		drop(w, f, DROP_ICMP_IGNORED);
		return;
	}
	if (!token_bucket_take(&w->echo_replies, w->now)) {
		drop(w, f, DROP_RATE_LIMITED);
		return;
	}
	icmp_write_echo_reply(f->data, p);
	f->verdict = MUX_TO_UPLINK;
	f->reason = DROP_NONE;
	w->counters.icmp_echo_replies++;
}

// What is neither TCP nor UDP to an endpoint: off the main road.
static void take_other(struct mux_worker *w, const struct mux_tables *t, struct mux_frame *f, const struct parsed *p)
{
	if (vip_lookup(t, p->dst, 0, 0) == NULL)
		drop(w, f, DROP_NOT_A_VIP);
	else if (p->protocol == IP_PROTO_ICMP)
		answer_echo(w, f, p);
	else
		drop(w, f, DROP_NO_ENDPOINT);
}

static uint64_t dst_mac48(const uint8_t *frame)
{
	return load64(frame) & MAC48;
}

// What does not go on to the VIP lookup. Cold: the main road is a frame to our MAC that parses.
__attribute__((noinline, cold)) static void take_aside(struct mux_worker *w, const struct mux_tables *t,
                                                       struct mux_frame *f, struct parsed *p, enum drop_reason reason)
{
	if (f->len < ETH_BYTES) {
		drop(w, f, DROP_RUNT);
		return;
	}
	bool is_ours = dst_mac48(f->data) == w->mac48;
	if (frame_ether_type(f->data) == be16_from(ETHER_ARP)) {
		if (is_ours || dst_mac48(f->data) == MAC48)
			take_arp(w, f);
		else
			drop(w, f, DROP_NOT_FOR_US);
	} else if (!is_ours) {
		drop(w, f, DROP_NOT_FOR_US);
	} else if (frame_ether_type(f->data) != be16_from(ETHER_IP4)) {
		drop(w, f, DROP_ETHER_TYPE);
	} else if (reason == DROP_FRAGMENT && p->dst == w->settings.address) {
		pass_to_tap(w, f);
	} else if (reason != DROP_NONE) {
		drop(w, f, reason);
	} else if (p->dst == w->settings.address) {
		pass_to_tap(w, f);
	} else if (t == NULL) {
		drop(w, f, DROP_NO_CONFIG);
	} else {
		take_other(w, t, f, p);
	}
}

// Stage 1: parse and hash. True when the packet goes on to the VIP lookup.
static inline bool begin(struct mux_worker *w, const struct mux_tables *t, struct mux_frame *f, struct passage *x)
{
	enum drop_reason reason = DROP_RUNT;
	struct parsed *p = &x->p;
	x->frame = f;
	w->counters.rx_bytes += f->len;
	if (__builtin_expect(f->len >= ETH_BYTES + IP4_BYTES && dst_mac48(f->data) == w->mac48 &&
	                         frame_ether_type(f->data) == be16_from(ETHER_IP4),
	                     1)) {
		reason = parse_ip4(f->data, f->len, ETH_BYTES, p);
		if (__builtin_expect(reason == DROP_NONE && p->dst != w->settings.address && t != NULL &&
		                         (p->protocol == IP_PROTO_TCP || p->protocol == IP_PROTO_UDP),
		                     1)) {
			x->line = vip_line_of(t, p->dst, p->dst_port, p->protocol);
			__builtin_prefetch(&t->lines[x->line]);
			x->hash = flow_hash_v4(p->src, p->dst, p->src_port, p->dst_port, p->protocol, t->hash_seed);
			return true;
		}
	}
	take_aside(w, t, f, p, reason);
	return false;
}

__attribute__((noinline, cold)) static void drop_unserved(struct mux_worker *w, const struct mux_tables *t,
                                                          struct passage *x)
{
	drop(w, x->frame, vip_lookup(t, x->p.dst, 0, 0) != NULL ? DROP_NO_ENDPOINT : DROP_NOT_A_VIP);
}

// Stage 2: the endpoint, and where its bucket is. True when there is one.
static inline bool find_bucket(struct mux_worker *w, const struct mux_tables *t, struct passage *x)
{
	const struct vip_entry *e = vip_lookup_from(t, x->line, x->p.dst, x->p.dst_port, x->p.protocol);
	if (__builtin_expect(e == NULL, 0)) {
		drop_unserved(w, t, x);
		return false;
	}
	x->entry = e;
	x->owner = &e->owners[flow_bucket(x->hash, e->n_buckets)];
	__builtin_prefetch(x->owner);
	return true;
}

// Stage 3: the owner, and the outer header for it.
static inline void encapsulate(struct mux_worker *w, struct passage *x)
{
	struct mux_frame *f = x->frame;
	const struct encap_template *dip = &x->entry->templates[*x->owner];
	uint32_t inner_bytes = x->p.l3_bytes;
	if (__builtin_expect(inner_bytes + ENCAP_BYTES > w->settings.mtu, 0)) {
		drop(w, f, DROP_TOO_BIG);
		return;
	}
	const struct mac *gateway = neighbor_table_select(&w->neighbors, (uint32_t)x->hash);
	if (__builtin_expect(gateway == NULL, 0)) {
		drop(w, f, DROP_NO_NEXT_HOP);
		return;
	}
	f->data -= ENCAP_BYTES;
	f->len = ETH_BYTES + ENCAP_BYTES + inner_bytes;
	eth_write_ip4(f->data, gateway, &w->settings.mac);
	encap_write_ip4(f->data + ETH_BYTES, dip, inner_bytes, 0);
	f->verdict = MUX_TO_UPLINK;
	f->reason = DROP_NONE;
	w->counters.forwarded_packets++;
	w->counters.forwarded_bytes += f->len;
	struct vip_counters *vip = &w->vips[x->entry->slot];
	vip->packets++;
	vip->bytes += inner_bytes;
}

void mux_pipeline_burst(struct mux_worker *w, const struct mux_tables *tables, struct mux_frame *frames, uint32_t n)
{
	struct passage passages[MUX_BURST_MAX];
	uint32_t n_parsed = 0;
	uint32_t n_found = 0;
	w->counters.rx_packets += n;
	for (uint32_t i = 0; i < n; i++)
		n_parsed += begin(w, tables, &frames[i], &passages[n_parsed]);
	for (uint32_t i = 0; i < n_parsed; i++) {
		if (__builtin_expect(!find_bucket(w, tables, &passages[i]), 0))
			continue;
		if (__builtin_expect(n_found != i, 0))
			passages[n_found] = passages[i];
		n_found++;
	}
	for (uint32_t i = 0; i < n_found; i++)
		encapsulate(w, &passages[i]);
}

void mux_pipeline_one(struct mux_worker *w, const struct mux_tables *tables, struct mux_frame *frame)
{
	struct passage x;
	w->counters.rx_packets++;
	if (begin(w, tables, frame, &x) && find_bucket(w, tables, &x))
		encapsulate(w, &x);
}
