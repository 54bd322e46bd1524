#include "mux/core/pipeline.h"

#include <immintrin.h>

#include "common/model/flow_hash.h"
#include "common/packet/arp.h"
#include "common/packet/encap.h"
#include "common/packet/icmp.h"

#define MAC48 0xffffffffffffull

// A MAC address as the low 48 bits of a word.
static inline uint64_t mac48(const uint8_t *mac)
{
	return load32(mac) | (uint64_t)load16(mac + 4) << 32;
}

void mux_worker_init(struct mux_worker *w, const struct mux_settings *settings, struct vip_counters *vips,
                     struct mono_time now)
{
	memset(w, 0, sizeof *w);
	w->settings = *settings;
	w->mac48 = mac48(settings->mac.bytes);
	w->vips = vips;
	w->now = now;
	neighbor_table_init(&w->neighbors, &settings->mac, settings->address);
	token_bucket_init(&w->echo_replies, MUX_ECHO_RATE_PER_S, MUX_ECHO_RATE_PER_S, now);
}

// ---- one frame, from top to bottom ----

static void drop(struct mux_worker *w, struct mux_frame *f, enum drop_reason reason)
{
	f->verdict = MUX_DROP;
	f->reason = (uint8_t)reason;
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

static void encapsulate(struct mux_worker *w, struct mux_frame *f, const struct vip_entry *e, uint64_t hash,
                        uint32_t inner_bytes)
{
	const struct mac *gateway = neighbor_table_select(&w->neighbors, (uint32_t)hash);
	if (inner_bytes + ENCAP_BYTES > w->settings.mtu) {
		drop(w, f, DROP_TOO_BIG);
		return;
	}
	if (gateway == NULL) {
		drop(w, f, DROP_NO_NEXT_HOP);
		return;
	}
	f->data -= ENCAP_BYTES;
	f->len = ETH_BYTES + ENCAP_BYTES + inner_bytes;
	eth_write_ip4(f->data, gateway, &w->settings.mac);
	encap_write_ip4(f->data + ETH_BYTES, &e->templates[e->owners[flow_bucket(hash, e->n_buckets)]], inner_bytes, 0);
	f->verdict = MUX_TO_UPLINK;
	f->reason = DROP_NONE;
	w->counters.forwarded_packets++;
	w->counters.forwarded_bytes += f->len;
	w->vips[e->slot].packets++;
	w->vips[e->slot].bytes += inner_bytes;
}

static bool has_ports(const struct parsed *p)
{
	return p->protocol == IP_PROTO_TCP || p->protocol == IP_PROTO_UDP;
}

static void take_vip_packet(struct mux_worker *w, const struct mux_tables *t, struct mux_frame *f,
                            const struct parsed *p)
{
	const struct vip_entry *e = has_ports(p) ? vip_lookup(t, p->dst, p->dst_port, p->protocol) : NULL;
	if (e != NULL) {
		uint64_t hash = flow_hash_v4(p->src, p->dst, p->src_port, p->dst_port, p->protocol, t->hash_seed);
		encapsulate(w, f, e, hash, p->l3_bytes);
	} else if (vip_lookup(t, p->dst, 0, 0) == NULL) {
		drop(w, f, DROP_NOT_A_VIP);
	} else if (p->protocol == IP_PROTO_ICMP) {
		answer_echo(w, f, p);
	} else {
		drop(w, f, DROP_NO_ENDPOINT);
	}
}

static void take_ip4(struct mux_worker *w, const struct mux_tables *t, struct mux_frame *f)
{
	struct parsed p;
	enum drop_reason reason = parse_ip4(f->data, f->len, ETH_BYTES, &p);
	if ((reason == DROP_NONE || reason == DROP_FRAGMENT) && p.dst == w->settings.address)
		pass_to_tap(w, f);
	else if (reason != DROP_NONE)
		drop(w, f, reason);
	else if (t == NULL)
		drop(w, f, DROP_NO_CONFIG);
	else
		take_vip_packet(w, t, f, &p);
}

static void take_frame(struct mux_worker *w, const struct mux_tables *t, struct mux_frame *f)
{
	if (f->len < ETH_BYTES) {
		drop(w, f, DROP_RUNT);
		return;
	}
	be16 type = frame_ether_type(f->data);
	uint64_t dst = mac48(f->data);
	if (dst != w->mac48 && !(dst == MAC48 && type == be16_from(ETHER_ARP)))
		drop(w, f, DROP_NOT_FOR_US);
	else if (type == be16_from(ETHER_ARP))
		take_arp(w, f);
	else if (type == be16_from(ETHER_IP4))
		take_ip4(w, t, f);
	else
		drop(w, f, DROP_ETHER_TYPE);
}

void mux_pipeline_one(struct mux_worker *w, const struct mux_tables *tables, struct mux_frame *frame)
{
	w->counters.rx_packets++;
	w->counters.rx_bytes += frame->len;
	take_frame(w, tables, frame);
}

// ---- a burst, in stages: the main road ----
//
// The main road is TCP or UDP over IPv4 without options, to our MAC, of 40 bytes and more that fit with an outer header, to
// an endpoint. Everything else leaves it for take_frame, which is the scalar twin: what it would do, the stages do.
// What is constant for the burst is made before, what is counted is summed up after; both stay in registers.
// (A gateway whose ARP reply is in this very burst is used from the next one on.)

#define MAIN_PROTOCOLS (1u << IP_PROTO_TCP | 1u << IP_PROTO_UDP) // and those 32 above, which no endpoint has

enum { TCP_PACKET_BYTES_MIN = IP4_BYTES + 20, TCP_FRAME_BYTES_MIN = ETH_BYTES + TCP_PACKET_BYTES_MIN };

struct road {
	__m256i want; // what the first 32 bytes of a frame must be,
	__m256i mask; // where these bits are set
	uint32_t longest_beyond_min; // frame that fits with its outer header, beyond TCP_FRAME_BYTES_MIN
	uint32_t line_shift;
	const struct vip_line *lines;
	uint64_t hash_seed;
};

// The first 16 bytes of a frame to each gateway that answers, in the order of neighbor_table_select.
struct gateways {
	uint32_t n;
	__m128i starts[NEIGHBOR_MAX];
};

// A packet on its way through the stages.
struct passage {
	struct mux_frame *frame;
	uint64_t hash;
	uint64_t key;
	const struct vip_line *line;
	const struct vip_entry *entry; // NULL when it left the main road
	const uint16_t *owner;
	uint32_t inner_bytes;
};

// Ethernet header, version and header length of IPv4, type of service.
static inline __m128i start_of_frame(uint64_t dst_mac48, uint64_t src_mac48)
{
	uint64_t low = dst_mac48 | src_mac48 << 48;
	uint64_t high = src_mac48 >> 16 | (uint64_t)be16_from(ETHER_IP4) << 32 | 0x45ull << 48;
	return _mm_set_epi64x((long long)high, (long long)low);
}

static inline struct road road_of(const struct mux_worker *w, const struct mux_tables *t)
{
	return (struct road){
		.want = _mm256_zextsi128_si256(start_of_frame(w->mac48, 0)),
		// destination MAC; Ethernet type, version and header length; more fragments and offset
		.mask = _mm256_set_epi64x(0, 0xff3full << 32, 0xffffffull << 32, (long long)MAC48),
		.longest_beyond_min = w->settings.mtu - ENCAP_BYTES - TCP_PACKET_BYTES_MIN,
		.line_shift = t->line_shift,
		.lines = t->lines,
		.hash_seed = t->hash_seed,
	};
}

static void find_gateways(struct gateways *g, const struct mux_worker *w)
{
	const struct neighbor_table *t = &w->neighbors;
	g->n = 0;
	for (uint32_t i = 0; i < t->n; i++)
		if (t->entries[i].has_mac)
			g->starts[g->n++] = start_of_frame(mac48(t->entries[i].mac.bytes), w->mac48);
}

static inline uint64_t rotate32(uint64_t x)
{
	return x << 32 | x >> 32;
}

// Stage 1: parse, hash, and begin to load the VIP's line. False when the packet is not for the main road.
static inline bool begin(const struct road *r, struct mux_frame *f, struct passage *x)
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
	if (__builtin_expect((MAIN_PROTOCOLS >> (protocol & 31) & 1) == 0, 0))
		return false;
	// Of TCP. In a UDP packet the byte is payload, and a branch on it could not be predicted.
	uint32_t option_words = ((d[46] >> 4) - 5u) & -(uint32_t)(protocol == IP_PROTO_TCP);
	if (__builtin_expect(option_words > content / 4, 0))
		return false;
	uint32_t ports = load32(d + 34);
	uint64_t rest = (ports << 16 | ports >> 16) | protocol << 32;
	x->frame = f;
	x->inner_bytes = total;
	x->key = vip_key_of_packet(d + 30, protocol);
	x->line = &r->lines[vip_line_at(x->key, r->line_shift)];
	__builtin_prefetch(x->line);
	x->hash = flow_hash_words(rotate32(load64(d + 26)), rest, r->hash_seed);
	return true;
}

// Stage 2: the endpoint; begin to load its bucket's owner.
static inline bool find_bucket(const struct mux_tables *t, struct passage *x)
{
	const struct vip_entry *e = vip_line_lookup(x->line, x->key);
	if (__builtin_expect(e == NULL, 0))
		e = vip_lookup_key(t, x->key);
	x->entry = e;
	if (__builtin_expect(e == NULL, 0))
		return false;
	x->owner = &e->owners[flow_bucket(x->hash, e->n_buckets)];
	__builtin_prefetch(x->owner);
	return true;
}

// Stage 3: the owner, and the outer header for it.
static inline void finish(__m128i start, const struct passage *x)
{
	struct mux_frame *f = x->frame;
	uint8_t *out = f->data - ENCAP_BYTES;
	encap_write_ip4(out + ETH_BYTES, &x->entry->templates[*x->owner], x->inner_bytes, 0);
	_mm_storeu_si128((__m128i *)out, start);
	f->data = out;
	f->len = ETH_BYTES + ENCAP_BYTES + x->inner_bytes;
	f->verdict = MUX_TO_UPLINK;
	f->reason = DROP_NONE;
}

// The stages for a burst of which most is expected on the main road. Frames that leave it are done at once.
static void take_burst(struct mux_worker *w, const struct mux_tables *t, const struct gateways *g,
                       struct mux_frame *frames, uint32_t n)
{
	struct passage passages[MUX_BURST_MAX];
	struct passage *end = passages;
	const struct road road = road_of(w, t);
	for (uint32_t i = 0; i < n; i++) {
		if (__builtin_expect(begin(&road, &frames[i], end), 1))
			end++;
		else
			take_frame(w, t, &frames[i]);
	}
	for (struct passage *x = passages; x < end; x++)
		if (__builtin_expect(!find_bucket(t, x), 0))
			take_frame(w, t, x->frame);
	const uint32_t n_gateways = g->n;
	const __m128i first_start = g->starts[0];
	struct vip_counters *const vips = w->vips;
	uint64_t n_forwarded = 0;
	uint64_t inner_bytes = 0;
	for (const struct passage *x = passages; x < end; x++) {
		if (__builtin_expect(x->entry == NULL, 0))
			continue;
		finish(__builtin_expect(n_gateways == 1, 1) ? first_start : g->starts[(uint32_t)x->hash % n_gateways], x);
		struct vip_counters *vip = &vips[x->entry->slot];
		vip->packets++;
		vip->bytes += x->inner_bytes;
		inner_bytes += x->inner_bytes;
		n_forwarded++;
	}
	w->counters.forwarded_packets += n_forwarded;
	w->counters.forwarded_bytes += inner_bytes + n_forwarded * (ETH_BYTES + ENCAP_BYTES);
}

void mux_pipeline_burst(struct mux_worker *w, const struct mux_tables *tables, struct mux_frame *frames, uint32_t n)
{
	struct gateways gateways;
	uint64_t rx_bytes = 0;
	for (uint32_t i = 0; i < n; i++)
		rx_bytes += frames[i].len;
	w->counters.rx_packets += n;
	w->counters.rx_bytes += rx_bytes;
	find_gateways(&gateways, w);
	if (tables != NULL && gateways.n > 0) {
		take_burst(w, tables, &gateways, frames, n);
		return;
	}
	for (uint32_t i = 0; i < n; i++)
		take_frame(w, tables, &frames[i]);
}
