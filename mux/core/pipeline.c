#include "mux/core/pipeline.h"

#include <immintrin.h>

#include "mux/core/encapsulate.h"
#include "mux/core/family.h"
#include "mux/core/fragment_road.h"
#include "mux/core/history_road.h"
#include "mux/core/ip6_road.h"
#include "mux/core/own_traffic.h"
#include "mux/core/refusal.h"
#include "mux/core/snat_road.h"
#include "mux/core/vip_icmp.h"

void mux_worker_init(struct mux_worker *w, const struct mux_settings *settings, struct vip_counters *vips,
                     struct mono_time now)
{
	memset(w, 0, sizeof *w);
	w->settings = *settings;
	w->mac48 = mac48(settings->mac.bytes);
	w->vips = vips;
	w->now = now;
	neighbor_table_init(&w->neighbors, &settings->mac, settings->address);
	neighbor_table_init6(&w->neighbors6, &settings->mac, settings->address6);
	token_bucket_init(&w->refusals, MUX_REFUSAL_RATE_PER_S, MUX_REFUSALS_SAVED, now);
	token_bucket_init(&w->echo_replies, MUX_ECHO_RATE_PER_S, MUX_ECHO_RATE_PER_S, now);
	token_bucket_init(&w->icmp_errors, MUX_ERROR_RATE_PER_S, MUX_ERROR_RATE_PER_S, now);
}

// ---- one frame, from top to bottom ----

// To the endpoint's DIP.
static inline void take_for_endpoint(struct mux_worker *w, const struct mux_tables *t, struct mux_frame *f,
                                     const struct parsed *p, const struct vip_entry *e)
{
	uint64_t hash = family_hash(f->data, p, t->hash_seed);
	if (encapsulate(w, f, history_template_of(w, e, hash), hash, p->l3_bytes))
		count_vip(&w->vips->endpoints[e->slot], p->l3_bytes);
}

static bool has_ports(const struct parsed *p)
{
	return p->protocol == IP_PROTO_TCP || p->protocol == IP_PROTO_UDP;
}

// What follows is compiled once for each family: which one it is, is known where it is called.
#define FOR_EACH_FAMILY static inline __attribute__((always_inline))

FOR_EACH_FAMILY const struct vip_entry *endpoint_of(const struct mux_tables *t, const struct parsed *p)
{
	if (has_ports(p))
		return vip_lookup(t, p->dst, p->dst_port, p->protocol);
	return ip_protocol_is_any(p->protocol) ? vip_lookup(t, p->dst, 0, IP_PROTO_ANY) : NULL;
}

FOR_EACH_FAMILY void take_vip_packet(struct mux_worker *w, const struct mux_tables *t, struct mux_frame *f,
                                     const struct parsed *p)
{
	const bool is_icmp = p->protocol == (p->is_ip6 ? IP_PROTO_ICMP6 : IP_PROTO_ICMP);
	const struct vip_entry *endpoint = is_icmp ? NULL : endpoint_of(t, p);
	if (endpoint != NULL &&
	    !family_source_is_martian(f->data, p)) { // first: no range is leased that contains an endpoint's port
		if (!vip_entry_is_refusing(endpoint) || !refusal_take(w, f, p))
			take_for_endpoint(w, t, f, p, endpoint);
		return;
	}
	const struct vip_entry *vip = vip_lookup(t, p->dst, 0, 0);
	if (vip == NULL)
		mux_drop(w, f, DROP_NOT_A_VIP);
	else if (family_source_is_martian(f->data, p))
		mux_drop(w, f, DROP_BAD_SOURCE);
	else if (is_icmp)
		vip_icmp_take(w, t, f, p, vip);
	else if (has_ports(p))
		snat_take(w, t, f, p, vip);
	else
		mux_drop(w, f, DROP_NO_ENDPOINT);
}

FOR_EACH_FAMILY void take_vip_packet_or_fragment(struct mux_worker *w, const struct mux_tables *t, struct mux_frame *f,
                                                 const struct parsed *p, bool is_fragment)
{
	if (t == NULL)
		mux_drop(w, f, DROP_NO_CONFIG);
	else if (!p->is_ip6 && addr_is_name(p->dst)) // no name: what the packet says
		mux_drop(w, f, DROP_NOT_A_VIP);
	else if (is_fragment)
		fragment_road_take(w, t, f, p);
	else
		take_vip_packet(w, t, f, p);
}

static void take_ip4(struct mux_worker *w, const struct mux_tables *t, struct mux_frame *f)
{
	struct parsed p;
	enum drop_reason reason = parse_ip4(f->data, f->len, ETH_BYTES, &p);
	bool is_fragment = reason == DROP_FRAGMENT;
	p.is_ip6 = false; // as it is, for compilers to know
	if (reason != DROP_NONE && !is_fragment)
		mux_drop(w, f, reason);
	else if (p.dst == w->settings.address && p.dst != 0)
		own_traffic_take_ip(w, t, f, &p, is_fragment);
	else
		take_vip_packet_or_fragment(w, t, f, &p, is_fragment);
}

// The names of both addresses are looked for: that of a VIP, and that of a host which sends pins.
APART static void take_ip6(struct mux_worker *w, const struct mux_tables *t, struct mux_frame *f)
{
	struct parsed p;
	enum drop_reason reason = parse_ip6(f->data, f->len, ETH_BYTES, &p);
	bool is_fragment = reason == DROP_FRAGMENT;
	if (reason != DROP_NONE && !is_fragment) {
		mux_drop(w, f, reason);
		return;
	}
	p.dst = family_find_name(w->settings.names, parsed_dst6(f->data, &p));
	if (own_traffic_is_own6(&w->settings, parsed_dst6(f->data, &p))) {
		p.src = family_find_name(w->settings.names, parsed_src6(f->data, &p));
		own_traffic_take_ip(w, t, f, &p, is_fragment);
	} else {
		take_vip_packet_or_fragment(w, t, f, &p, is_fragment);
	}
}

// To this machine, or to a group that it may be in: ARP is broadcast, groups of IPv6 have MAC addresses of their own (RFC 2464).
static bool is_for_us(const struct mux_worker *w, uint64_t dst, be16 type)
{
	if (__builtin_expect(dst == w->mac48, 1))
		return true;
	return (dst == MAC48 && type == be16_from(ETHER_ARP)) || ((dst & 0xffff) == 0x3333 && type == be16_from(ETHER_IP6));
}

APART static void take_frame(struct mux_worker *w, const struct mux_tables *t, struct mux_frame *f)
{
	if (f->len < ETH_BYTES) {
		mux_drop(w, f, DROP_RUNT);
		return;
	}
	be16 type = frame_ether_type(f->data);
	if (!is_for_us(w, mac48(f->data), type))
		mux_drop(w, f, DROP_NOT_FOR_US);
	else if (type == be16_from(ETHER_IP4))
		take_ip4(w, t, f);
	else if (type == be16_from(ETHER_ARP))
		own_traffic_take_arp(w, f);
	else if (type == be16_from(ETHER_IP6))
		take_ip6(w, t, f);
	else
		mux_drop(w, f, DROP_ETHER_TYPE);
}

void mux_pipeline_one(struct mux_worker *w, const struct mux_tables *tables, struct mux_frame *frame)
{
	w->tables = tables;
	w->counters.rx_packets++;
	w->counters.rx_bytes += frame->len;
	take_frame(w, tables, frame);
}

// ---- a burst, in stages: the roads ----
//
// The main road is TCP or UDP over IPv4 without options, to our MAC, of 40 bytes and more that fit with an outer header, to
// an endpoint, from no martian; the SNAT road is the same to a port that a DIP has leased. Which one it is the port tells: what
// is on no VIP's list of endpoints takes the SNAT road at once, and the rest turns off when it finds no endpoint. Everything else
// leaves the roads for take_frame, which is the scalar twin: what it would do, the stages do. Where endpoints have histories,
// stage 3 is that of history_road.h: pins are one more line to load, while packets that need none are finished.
// What is constant for the burst is made before, what is counted is summed up after; both stay in registers.
// (A gateway whose ARP reply is in this very burst is used from the next one on, and so are pins.)

#define MAIN_PROTOCOLS (1u << IP_PROTO_TCP | 1u << IP_PROTO_UDP) // and those 32 above, which no endpoint has

// By the first byte of the source: from a martian there is none.
static const uint32_t protocols_from[256] = { [IP4_HOST_A... IP4_HOST_A_END] = MAIN_PROTOCOLS,
	                                          [IP4_HOST_B... IP4_HOST_B_END] = MAIN_PROTOCOLS };

enum { TCP_PACKET_BYTES_MIN = IP4_BYTES + 20, TCP_FRAME_BYTES_MIN = ETH_BYTES + TCP_PACKET_BYTES_MIN };

struct road_rule {
	__m256i want; // what the first 32 bytes of a frame must be,
	__m256i mask; // where these bits are set
	uint32_t longest_beyond_min; // frame that fits with its outer header, beyond TCP_FRAME_BYTES_MIN
};

static inline struct road_rule road_of(const struct mux_worker *w, const struct mux_tables *t)
{
	return (struct road_rule){
		.want = _mm256_zextsi128_si256(start_of_frame(w->mac48, 0)),
		// destination MAC; Ethernet type, version and header length; more fragments and offset
		.mask = _mm256_set_epi64x(0, 0xff3full << 32, 0xffffffull << 32, (long long)MAC48),
		.longest_beyond_min = w->settings.mtu - t->overhead_max - TCP_PACKET_BYTES_MIN,
	};
}

static inline uint64_t rotate32(uint64_t x)
{
	return x << 32 | x >> 32;
}

// What stage 1 finds in a frame.
struct start {
	const uint8_t *data;
	uint64_t protocol;
	uint32_t inner_bytes;
};

// Stage 1: parse. False when the packet is for neither road.
static inline bool begin(const struct road_rule *r, const struct mux_frame *f, struct start *ret_start)
{
	const uint8_t *d = f->data;
	uint32_t beyond_min = f->len - TCP_FRAME_BYTES_MIN;
	if (__builtin_expect(beyond_min > r->longest_beyond_min, 0)) // too long, or (below 0 is very large) too short
		return false;
	__m256i is_other = _mm256_xor_si256(_mm256_loadu_si256((const __m256i *)d), r->want);
	if (__builtin_expect(!_mm256_testz_si256(is_other, r->mask), 0))
		return false;
	uint32_t total = __builtin_bswap32(load32(d + 14)) & 0xffff;
	uint32_t content = total - TCP_PACKET_BYTES_MIN;
	if (__builtin_expect(content > beyond_min, 0)) // likewise
		return false;
	uint64_t protocol = d[23];
	if (__builtin_expect((protocols_from[d[26]] >> (protocol & 31) & 1) == 0, 0))
		return false;
	// The words of TCP options, in the upper four bits. In a UDP packet (the protocol is odd) the byte is payload, and a branch
	// on it could not be predicted.
	uint32_t options = d[46] - 0x50u;
	uint32_t options_max = (content * 4 | 15) | -(uint32_t)(protocol & 1);
	if (__builtin_expect(options > options_max, 0))
		return false;
	*ret_start = (struct start){ .data = d, .protocol = protocol, .inner_bytes = total };
	return true;
}

// ... and which road.
static inline bool is_for_endpoint(const struct mux_tables *t, const struct start *s)
{
	return t->endpoint_ports[endpoint_port_bin(load16(s->data + 36))] != 0;
}

// ... and hash, and begin to load the endpoint's line.
static inline void enter(const struct mux_tables *t, struct mux_frame *f, const struct start *s, struct passage *x)
{
	const uint8_t *d = s->data;
	uint32_t ports = load32(d + 34);
	uint64_t rest = (ports << 16 | ports >> 16) | s->protocol << 32;
	x->frame = f;
	x->inner_bytes = s->inner_bytes;
	x->key = vip_key_of_packet(d + 30, s->protocol);
	x->line = &t->lines[vip_line_at(x->key, t->line_shift)];
	__builtin_prefetch(x->line);
	x->hash = flow_hash_words(rotate32(load64(d + 26)), rest, t->hash_seed);
}

// Stage 2: the endpoint; begin to load its bucket's owner.
static inline bool find_bucket(const struct mux_tables *t, struct passage *x)
{
	const struct vip_entry *e = vip_line_lookup(x->line, x->key);
	if (__builtin_expect(e == NULL, 0))
		e = vip_lookup_key(t, x->key);
	if (__builtin_expect(e == NULL, 0))
		return false;
	x->entry = e;
	x->owner = &e->owners[flow_bucket(x->hash, e->n_buckets)];
	__builtin_prefetch(x->owner);
	return true;
}

// ---- the burst ----

// What goes to no lessee is done one by one.
APART static void take_snat(struct mux_worker *w, const struct mux_tables *t, const struct gateways *g,
                            struct snat_road *snat)
{
	struct mux_frame *left[MUX_BURST_MAX];
	uint32_t n_left = snat_road_take(snat, w, t, g, left);
	for (uint32_t i = 0; i < n_left; i++)
		take_frame(w, t, left[i]);
}

APART static void take_ip6_road(struct mux_worker *w, const struct mux_tables *t, struct ip6_road *ip6)
{
	struct mux_frame *left[MUX_BURST_MAX];
	uint32_t n_left = ip6_road_take(ip6, w, t, left);
	for (uint32_t i = 0; i < n_left; i++)
		take_frame(w, t, left[i]);
}

// Stage 3: to the owner of the bucket.
static inline void send_all(struct mux_worker *w, const struct gateways *g, const struct passage *passages,
                            const struct passage *end)
{
	struct passage_sender sender = passage_sender_of(w, g);
	for (const struct passage *x = passages; x < end; x++)
		passage_send(&sender, x, &x->entry->templates[*x->owner]);
	count_forwarded(w, (uint64_t)(end - passages), sender.inner_bytes);
}

// The first of n frames, which is IPv6: with those behind it onto its road, or it is done at once. Returns how many more than
// this one went along, whose bytes are counted here.
APART static uint32_t take_ip6_run(struct ip6_road *ip6, struct mux_worker *w, const struct mux_tables *t,
                                   struct mux_frame *frames, uint32_t n)
{
	const uint32_t first_bytes = frames->len;
	uint64_t n_bytes;
	uint32_t n_ip6 = ip6_road_enter(ip6, w, t, frames, n, &n_bytes);
	if (n_ip6 == 0) {
		take_frame(w, t, frames);
		return 0;
	}
	w->counters.rx_bytes += n_bytes - first_bytes;
	return n_ip6 - 1;
}

// The stages for a burst of which most is expected on the two roads. Frames that leave them are done at once.
static void take_burst(struct mux_worker *w, const struct mux_tables *t, const struct gateways *g,
                       struct mux_frame *frames, uint32_t n)
{
	struct passage passages[MUX_BURST_MAX];
	struct passage *end = passages;
	struct snat_road snat;
	snat.n = 0;
	struct ip6_road ip6;
	ip6_road_init(&ip6);
	const struct road_rule rule = road_of(w, t);
	uint64_t rx_bytes = 0;
	for (struct mux_frame *f = frames; f < frames + n; f++) {
		struct start start;
		rx_bytes += f->len;
		if (__builtin_expect(!begin(&rule, f, &start), 0)) {
			if (f->len >= ETH_BYTES && family_frame_is_ip6(f->data))
				f += take_ip6_run(&ip6, w, t, f, (uint32_t)(frames + n - f));
			else
				take_frame(w, t, f);
		} else if (__builtin_expect(is_for_endpoint(t, &start), 1))
			enter(t, f, &start, end++);
		else
			snat_road_enter(&snat, t, f, vip_key_of_packet(start.data + 30, start.protocol), start.inner_bytes);
	}
	w->counters.rx_bytes += rx_bytes;
	for (struct passage *x = passages; x < end;) {
		if (__builtin_expect(find_bucket(t, x), 1)) {
			x++;
			continue;
		}
		snat_road_enter(&snat, t, x->frame, x->key, x->inner_bytes);
		*x = *--end;
	}
	if (__builtin_expect(t->n_apart > 0, 0))
		passage_send_by_ways(w, passages, end);
	else if (t->n_flagged > 0)
		history_road_take(w, g, passages, end);
	else
		send_all(w, g, passages, end);
	if (snat.n > 0)
		take_snat(w, t, g, &snat);
	if (!ip6_road_is_empty(&ip6))
		take_ip6_road(w, t, &ip6);
}

// The same without a gateway of IPv4.
static void take_burst_without_ip4(struct mux_worker *w, const struct mux_tables *t, struct mux_frame *frames,
                                   uint32_t n)
{
	struct ip6_road ip6;
	ip6_road_init(&ip6);
	for (struct mux_frame *f = frames; f < frames + n; f++) {
		w->counters.rx_bytes += f->len;
		if (t != NULL && f->len >= ETH_BYTES && family_frame_is_ip6(f->data))
			f += take_ip6_run(&ip6, w, t, f, (uint32_t)(frames + n - f));
		else
			take_frame(w, t, f);
	}
	if (!ip6_road_is_empty(&ip6))
		take_ip6_road(w, t, &ip6);
}

void mux_pipeline_burst(struct mux_worker *w, const struct mux_tables *tables, struct mux_frame *frames, uint32_t n)
{
	struct gateways gateways;
	w->tables = tables;
	w->counters.rx_packets += n;
	gateways_find(&gateways, w);
	if (tables != NULL && gateways.n > 0) {
		take_burst(w, tables, &gateways, frames, n);
		return;
	}
	take_burst_without_ip4(w, tables, frames, n);
}
