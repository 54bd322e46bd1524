#include "mux/core/pipeline.h"

#include <immintrin.h>

#include "common/model/flow_hash.h"
#include "common/packet/arp.h"
#include "common/packet/encap.h"
#include "common/packet/icmp.h"
#include "common/packet/icmp_error.h"
#include "common/packet/pin.h"
#include "mux/core/pin_intake.h"
#include "mux/core/refusal.h"

#define MAC48 0xffffffffffffull

// A function that is not to be inlined: what is done beside it needs the registers.
#define APART __attribute__((noinline))

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
	token_bucket_init(&w->refusals, MUX_REFUSAL_RATE_PER_S, MUX_REFUSALS_SAVED, now);
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
	if (!token_bucket_take(&w->echo_replies, w->now)) {
		drop(w, f, DROP_RATE_LIMITED);
		return;
	}
	icmp_write_echo_reply(f->data, p);
	f->verdict = MUX_TO_UPLINK;
	f->reason = DROP_NONE;
	w->counters.icmp_echo_replies++;
}

// False when it is dropped.
static bool encapsulate(struct mux_worker *w, struct mux_frame *f, const struct encap_template *template, uint64_t hash,
                        uint32_t inner_bytes)
{
	const struct mac *gateway = neighbor_table_select(&w->neighbors, (uint32_t)hash);
	if (inner_bytes + ENCAP_BYTES > w->settings.mtu) {
		drop(w, f, DROP_TOO_BIG);
		return false;
	}
	if (gateway == NULL) {
		drop(w, f, DROP_NO_NEXT_HOP);
		return false;
	}
	f->data -= ENCAP_BYTES;
	f->len = ETH_BYTES + ENCAP_BYTES + inner_bytes;
	eth_write_ip4(f->data, gateway, &w->settings.mac);
	encap_write_ip4(f->data + ETH_BYTES, template, inner_bytes, 0);
	f->verdict = MUX_TO_UPLINK;
	f->reason = DROP_NONE;
	w->counters.forwarded_packets++;
	w->counters.forwarded_bytes += f->len;
	return true;
}

static void count_vip(struct vip_traffic *vip, uint32_t inner_bytes)
{
	vip->packets++;
	vip->bytes += inner_bytes;
}

// Looks for the DIP of a pin where it is not expected: it has moved, or is of no generation any more, and so is the pin then.
APART static uint32_t find_pinned_dip(struct mux_worker *w, const struct vip_entry *e, struct pin_set *s, uint32_t way)
{
	if (s->dips[way] == 0) // it is free
		return NOT_A_DIP;
	uint32_t at = vip_entry_lookup_dip(e, s->dips[way]);
	if (at == NOT_A_DIP)
		pins_remove(w->pins, s, way);
	else
		s->hints[way] = (uint16_t)at;
	return at;
}

// Where a flow is pinned to; NULL when it is not. `s` is its set.
static inline const struct encap_template *find_pin(struct mux_worker *w, const struct vip_entry *e, uint64_t hash,
                                                    struct pin_set *s)
{
	uint32_t way = pin_set_lookup(s, hash);
	if (way == PIN_WAYS)
		return NULL;
	uint32_t at = s->hints[way];
	if (__builtin_expect(!vip_entry_has_dip_at(e, s->dips[way], at), 0)) {
		at = find_pinned_dip(w, e, s, way);
		if (at == NOT_A_DIP)
			return NULL;
	}
	pin_set_touch(s, way);
	return &e->templates[at];
}

// The set of a worker without pins. Nothing is found in it, so that it is never written.
static const struct pin_set no_pins;

static inline struct pin_set *set_of(const struct pins *pins, uint64_t hash)
{
	return pins == NULL ? (struct pin_set *)&no_pins : pins_set_of(pins, hash);
}

// To the owner of a flow's bucket; where that had other owners, first of all to the DIP that the flow is pinned to.
APART static const struct encap_template *template_of(struct mux_worker *w, const struct vip_entry *e, uint64_t hash)
{
	uint32_t owner = e->owners[flow_bucket(hash, e->n_buckets)];
	if ((owner & BUCKET_HAD_OTHERS) == 0)
		return &e->templates[owner];
	const struct encap_template *pinned = find_pin(w, e, hash, set_of(w->pins, hash));
	w->counters.history_packets++;
	w->counters.pin_hits += pinned != NULL;
	return pinned != NULL ? pinned : &e->templates[owner & ~BUCKET_HAD_OTHERS];
}

static uint64_t hash_of(const struct mux_tables *t, const struct parsed *p)
{
	return flow_hash_v4(p->src, p->dst, p->src_port, p->dst_port, p->protocol, t->hash_seed);
}

APART static void take_for_endpoint(struct mux_worker *w, const struct mux_tables *t, struct mux_frame *f,
                                    const struct parsed *p, const struct vip_entry *e)
{
	uint64_t hash = hash_of(t, p);
	if (encapsulate(w, f, template_of(w, e, hash), hash, p->l3_bytes))
		count_vip(&w->vips->endpoints[e->slot], p->l3_bytes);
}

// The DIP that has leased a port of the VIP whose own entry this is; 0: none.
static be32 lessee_of(const struct vip_entry *vip, be16 port)
{
	return vip->snat == NULL ? 0 : snat_map_lookup(vip->snat, be16_to(port));
}

// A reply to a connection that the DIP began.
static void send_to_lessee(struct mux_worker *w, const struct mux_tables *t, struct mux_frame *f,
                           const struct parsed *p, const struct vip_entry *vip, be32 dip)
{
	struct encap_template template = encap_template_to(&t->to_dip, dip);
	if (!encapsulate(w, f, &template, hash_of(t, p), p->l3_bytes))
		return;
	count_vip(&w->vips->snat[vip->slot], p->l3_bytes);
	w->counters.snat_packets++;
	w->counters.snat_bytes += p->l3_bytes;
}

enum { LEASED_PORT_MIN = 1024 }; // below it no port is ever leased

APART static void take_for_leased_port(struct mux_worker *w, const struct mux_tables *t, struct mux_frame *f,
                                       const struct parsed *p, const struct vip_entry *vip)
{
	be32 dip = lessee_of(vip, p->dst_port);
	if (dip != 0)
		send_to_lessee(w, t, f, p, vip, dip);
	else if (vip->snat != NULL && be16_to(p->dst_port) >= LEASED_PORT_MIN)
		drop(w, f, DROP_SNAT_NO_LEASE);
	else
		drop(w, f, DROP_NO_ENDPOINT);
}

// ---- ICMP to a VIP ----

// To a ping of the DIP that has the identifier (RFC 5508: what the port is to TCP and UDP).
APART static void take_echo_reply(struct mux_worker *w, const struct mux_tables *t, struct mux_frame *f,
                                  const struct parsed *p, const struct vip_entry *vip)
{
	const struct icmp_header *icmp = (const struct icmp_header *)(f->data + p->l4_off);
	be32 dip = lessee_of(vip, icmp->id);
	if (dip != 0)
		send_to_lessee(w, t, f, p, vip, dip);
	else
		drop(w, f, DROP_ICMP_UNKNOWN);
}

// An error goes where the connection's packets go: its packet inside was sent by the VIP, so that a client's packet has the same
// addresses and ports turned round.
APART static void take_icmp_error(struct mux_worker *w, const struct mux_tables *t, struct mux_frame *f,
                                  const struct parsed *p, const struct vip_entry *vip)
{
	struct icmp_error inside;
	enum drop_reason reason = icmp_error_parse(f->data, p, &inside);
	if (reason != DROP_NONE || inside.src != p->dst) {
		drop(w, f, DROP_ICMP_UNKNOWN);
		return;
	}
	uint64_t hash =
		flow_hash_v4(inside.dst, inside.src, inside.dst_port, inside.src_port, inside.protocol, t->hash_seed);
	const struct vip_entry *e =
		inside.protocol == IP_PROTO_ICMP ? NULL : vip_lookup(t, inside.src, inside.src_port, inside.protocol);
	be32 dip = e != NULL ? template_of(w, e, hash)->dst : lessee_of(vip, inside.src_port);
	if (dip == 0) {
		drop(w, f, DROP_ICMP_UNKNOWN);
		return;
	}
	struct encap_template template = encap_template_to(&t->to_dip, dip);
	if (!encapsulate(w, f, &template, hash, p->l3_bytes))
		return;
	w->counters.icmp_errors_steered++;
	w->vips->icmp_errors_steered[vip->slot]++;
}

static void take_icmp(struct mux_worker *w, const struct mux_tables *t, struct mux_frame *f, const struct parsed *p,
                      const struct vip_entry *vip)
{
	const struct icmp_header *icmp = (const struct icmp_header *)(f->data + p->l4_off);
	if (icmp_type_is_error(icmp->type))
		take_icmp_error(w, t, f, p, vip);
	else if (icmp->type == ICMP_ECHO && icmp->code == 0)
		answer_echo(w, f, p);
	else if (icmp->type == ICMP_ECHO_REPLY && icmp->code == 0)
		take_echo_reply(w, t, f, p, vip);
	else
		drop(w, f, DROP_ICMP_IGNORED);
}

// ---- what comes for VIPs, what comes at all ----

static bool has_ports(const struct parsed *p)
{
	return p->protocol == IP_PROTO_TCP || p->protocol == IP_PROTO_UDP;
}

static void take_vip_packet(struct mux_worker *w, const struct mux_tables *t, struct mux_frame *f,
                            const struct parsed *p)
{
	const struct vip_entry *endpoint = has_ports(p) ? vip_lookup(t, p->dst, p->dst_port, p->protocol) : NULL;
	if (endpoint != NULL) { // first: no range is leased that contains an endpoint's port
		if (!vip_entry_is_refusing(endpoint) || !refusal_take(w, f, p))
			take_for_endpoint(w, t, f, p, endpoint);
		return;
	}
	const struct vip_entry *vip = vip_lookup(t, p->dst, 0, 0);
	if (vip == NULL)
		drop(w, f, DROP_NOT_A_VIP);
	else if (has_ports(p))
		take_for_leased_port(w, t, f, p, vip);
	else if (p->protocol == IP_PROTO_ICMP)
		take_icmp(w, t, f, p, vip);
	else
		drop(w, f, DROP_NO_ENDPOINT);
}

static void take_pins(struct mux_worker *w, const struct mux_tables *t, struct mux_frame *f, const struct parsed *p)
{
	enum drop_reason reason = t == NULL ? DROP_NO_CONFIG : pin_intake_take(w, t, f->data, p);
	if (reason != DROP_NONE) {
		drop(w, f, reason);
		return;
	}
	f->verdict = MUX_CONSUMED;
	f->reason = DROP_NONE;
}

// To the node's own address: pins are the worker's, all else is the kernel's. A fragment has no ports.
APART static void take_own(struct mux_worker *w, const struct mux_tables *t, struct mux_frame *f,
                           const struct parsed *p, bool is_fragment)
{
	if (!is_fragment && p->protocol == IP_PROTO_UDP && p->dst_port == be16_from(PIN_PORT))
		take_pins(w, t, f, p);
	else
		pass_to_tap(w, f);
}

static void take_ip4(struct mux_worker *w, const struct mux_tables *t, struct mux_frame *f)
{
	struct parsed p;
	enum drop_reason reason = parse_ip4(f->data, f->len, ETH_BYTES, &p);
	if ((reason == DROP_NONE || reason == DROP_FRAGMENT) && p.dst == w->settings.address)
		take_own(w, t, f, &p, reason == DROP_FRAGMENT);
	else if (reason != DROP_NONE)
		drop(w, f, reason);
	else if (t == NULL)
		drop(w, f, DROP_NO_CONFIG);
	else
		take_vip_packet(w, t, f, &p);
}

APART static void take_frame(struct mux_worker *w, const struct mux_tables *t, struct mux_frame *f)
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

// ---- a burst, in stages: the roads ----
//
// The main road is TCP or UDP over IPv4 without options, to our MAC, of 40 bytes and more that fit with an outer header, to
// an endpoint; the side road is the same to a port that a DIP has leased. Which one it is the port tells: what is on no
// VIP's list of endpoints takes the side road at once, and the rest turns off when it finds no endpoint. Everything else
// leaves the roads for take_frame, which is the scalar twin: what it would do, the stages do. In stage 3 those packets turn
// off the main road whose bucket had other owners: their pins are one more line to load, while the others are finished.
// What is constant for the burst is made before, what is counted is summed up after; both stay in registers.
// (A gateway whose ARP reply is in this very burst is used from the next one on, and so are pins.)

#define MAIN_PROTOCOLS (1u << IP_PROTO_TCP | 1u << IP_PROTO_UDP) // and those 32 above, which no endpoint has
#define OTHER_PROTOCOLS (0xe0ull << 32) // in a key: a bit of it is set for those

enum { TCP_PACKET_BYTES_MIN = IP4_BYTES + 20, TCP_FRAME_BYTES_MIN = ETH_BYTES + TCP_PACKET_BYTES_MIN };

struct road {
	__m256i want; // what the first 32 bytes of a frame must be,
	__m256i mask; // where these bits are set
	uint32_t longest_beyond_min; // frame that fits with its outer header, beyond TCP_FRAME_BYTES_MIN
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
	struct pin_set *pins; // when its bucket had other owners
	uint32_t inner_bytes;
};

// One on the side road: to a port of a VIP that is probably no endpoint's.
struct side_passage {
	struct mux_frame *frame;
	uint64_t key;
	const struct vip_line *line; // of the VIP itself
	const struct vip_entry *entry;
	const _Atomic be32 *lessee; // who has leased the port
	uint32_t inner_bytes;
};

// The passages of a burst, and how far they are filled.
struct side_road {
	uint32_t n;
	struct side_passage passages[MUX_BURST_MAX];
};

// Packets whose bucket had other owners, on their way from the main road to their pins.
struct history_road {
	uint32_t n;
	struct passage *passages[MUX_BURST_MAX];
};

// Ethernet header, version and header length of IPv4, type of service.
static inline __m128i start_of_frame(uint64_t dst_mac48, uint64_t src_mac48)
{
	uint64_t low = dst_mac48 | src_mac48 << 48;
	uint64_t high = src_mac48 >> 16 | (uint64_t)be16_from(ETHER_IP4) << 32 | 0x45ull << 48;
	return _mm_set_epi64x((long long)high, (long long)low);
}

static inline struct road road_of(const struct mux_worker *w)
{
	return (struct road){
		.want = _mm256_zextsi128_si256(start_of_frame(w->mac48, 0)),
		// destination MAC; Ethernet type, version and header length; more fragments and offset
		.mask = _mm256_set_epi64x(0, 0xff3full << 32, 0xffffffull << 32, (long long)MAC48),
		.longest_beyond_min = w->settings.mtu - ENCAP_BYTES - TCP_PACKET_BYTES_MIN,
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

// What stage 1 finds in a frame.
struct start {
	const uint8_t *data;
	uint64_t protocol;
	uint32_t inner_bytes;
};

// Stage 1: parse. False when the packet is for neither road.
static inline bool begin(const struct road *r, const struct mux_frame *f, struct start *ret_start)
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

// ... or begin to load the line of the VIP itself. It needs no hash.
static inline void enter_side(const struct mux_tables *t, struct mux_frame *f, uint64_t key, uint32_t inner_bytes,
                              struct side_road *side)
{
	struct side_passage *x = &side->passages[side->n++];
	x->frame = f;
	x->inner_bytes = inner_bytes;
	x->key = key;
	x->line = &t->lines[vip_line_at(vip_own_key((be32)key), t->line_shift)];
	__builtin_prefetch(x->line);
}

// The entry of a key; this is its first line.
static inline const struct vip_entry *find_entry(const struct mux_tables *t, const struct vip_line *line, uint64_t key)
{
	const struct vip_entry *e = vip_line_lookup(line, key);
	if (__builtin_expect(e != NULL, 1) || line->entries[VIP_LINE_ENTRIES - 1].key == 0)
		return e;
	return vip_lookup_key(t, key);
}

// The owner of no bucket: what has it leaves the main road, like what is flagged, by one and the same branch.
static const uint16_t nobody = BUCKET_HAD_OTHERS;

// Stage 2: the endpoint; begin to load its bucket's owner.
static inline bool find_bucket(const struct mux_tables *t, struct passage *x)
{
	const struct vip_entry *e = vip_line_lookup(x->line, x->key);
	if (__builtin_expect(e == NULL, 0))
		e = vip_lookup_key(t, x->key);
	x->entry = e;
	if (__builtin_expect(e == NULL, 0)) {
		x->owner = &nobody;
		return false;
	}
	x->owner = &e->owners[flow_bucket(x->hash, e->n_buckets)];
	__builtin_prefetch(x->owner);
	return true;
}

// Stage 3: the outer header.
static inline void finish(struct mux_frame *f, __m128i start, const struct encap_template *template,
                          uint32_t inner_bytes)
{
	uint8_t *out = f->data - ENCAP_BYTES;
	encap_write_ip4(out + ETH_BYTES, template, inner_bytes, 0);
	_mm_storeu_si128((__m128i *)out, start);
	f->data = out;
	f->len = ETH_BYTES + ENCAP_BYTES + inner_bytes;
	f->verdict = MUX_TO_UPLINK;
	f->reason = DROP_NONE;
}

// ---- the side road: ports of a VIP that are no endpoint's ----

// Stage 2: the VIP, and begin to load who has the port. False when there is no such VIP, or nobody leases its ports.
static inline bool find_lessee(const struct mux_tables *t, struct side_passage *x)
{
	const struct vip_entry *e = find_entry(t, x->line, vip_own_key((be32)x->key));
	x->entry = e;
	if (__builtin_expect(e == NULL || e->snat == NULL || (x->key & OTHER_PROTOCOLS) != 0, 0))
		return false;
	x->lessee = snat_map_at(e->snat, be16_to((be16)(x->key >> 48)));
	__builtin_prefetch((const void *)x->lessee);
	return true;
}

// The hash is of use where there is a choice of gateways only.
static inline __m128i start_of_side(const struct gateways *g, const struct mux_tables *t, const struct mux_frame *f)
{
	if (__builtin_expect(g->n == 1, 1))
		return g->starts[0];
	const uint8_t *d = f->data;
	uint64_t hash = flow_hash_v4(load32(d + 26), load32(d + 30), load16(d + 34), load16(d + 36), d[23], t->hash_seed);
	return g->starts[(uint32_t)hash % g->n];
}

// Frames that go to nobody leave this road, too. A function of its own: the main road needs its registers.
APART static void take_side(struct mux_worker *w, const struct mux_tables *t, const struct gateways *g,
                            struct side_road *side)
{
	static const _Atomic be32 no_lessee;
	struct side_passage *const end = side->passages + side->n;
	for (struct side_passage *x = side->passages; x < end; x++)
		if (__builtin_expect(!find_lessee(t, x), 0))
			x->lessee = &no_lessee;
	const struct encap_template to_dip = t->to_dip;
	struct vip_traffic *const vips = w->vips->snat;
	uint64_t n_forwarded = 0;
	uint64_t inner_bytes = 0;
	for (const struct side_passage *x = side->passages; x < end; x++) {
		struct mux_frame *f = x->frame;
		const struct vip_entry *e = x->entry;
		const uint32_t n_bytes = x->inner_bytes;
		be32 dip = atomic_load_explicit(x->lessee, memory_order_relaxed);
		if (__builtin_expect(dip == 0, 0)) {
			take_frame(w, t, f);
			continue;
		}
		struct encap_template template = encap_template_to(&to_dip, dip);
		finish(f, start_of_side(g, t, f), &template, n_bytes);
		count_vip(&vips[e->slot], n_bytes);
		inner_bytes += n_bytes;
		n_forwarded++;
	}
	w->counters.forwarded_packets += n_forwarded;
	w->counters.forwarded_bytes += inner_bytes + n_forwarded * (ETH_BYTES + ENCAP_BYTES);
	w->counters.snat_packets += n_forwarded;
	w->counters.snat_bytes += inner_bytes;
}

// ---- the road by way of the pins ----

// In stage 3: begin to load the packet's pins.
static inline void enter_history(const struct pins *pins, struct passage *x, struct history_road *h)
{
	x->pins = set_of(pins, x->hash);
	__builtin_prefetch(x->pins);
	h->passages[h->n++] = x;
}

APART static void take_history(struct mux_worker *w, const struct gateways *g, const struct history_road *h)
{
	const uint32_t n = h->n;
	const uint32_t n_gateways = g->n;
	const __m128i first_start = g->starts[0];
	struct vip_traffic *const vips = w->vips->endpoints;
	uint64_t inner_bytes = 0;
	uint64_t n_hits = 0;
	for (uint32_t i = 0; i < n; i++) {
		const struct passage *x = h->passages[i];
		const struct vip_entry *e = x->entry;
		const uint32_t n_bytes = x->inner_bytes;
		const struct encap_template *template = find_pin(w, e, x->hash, x->pins);
		if (template != NULL)
			n_hits++;
		else
			template = &e->templates[*x->owner & ~BUCKET_HAD_OTHERS];
		finish(x->frame, __builtin_expect(n_gateways == 1, 1) ? first_start : g->starts[(uint32_t)x->hash % n_gateways],
		       template, n_bytes);
		count_vip(&vips[e->slot], n_bytes);
		inner_bytes += n_bytes;
	}
	w->counters.forwarded_packets += n;
	w->counters.forwarded_bytes += inner_bytes + (uint64_t)n * (ETH_BYTES + ENCAP_BYTES);
	w->counters.history_packets += n;
	w->counters.pin_hits += n_hits;
}

// ---- the burst ----

// The stages for a burst of which most is expected on the two roads. Frames that leave them are done at once.
static void take_burst(struct mux_worker *w, const struct mux_tables *t, const struct gateways *g,
                       struct mux_frame *frames, uint32_t n)
{
	struct passage passages[MUX_BURST_MAX];
	struct passage *end = passages;
	struct side_road side;
	struct history_road history;
	side.n = 0;
	history.n = 0;
	const struct road road = road_of(w);
	uint64_t rx_bytes = 0;
	for (uint32_t i = 0; i < n; i++) {
		struct start start;
		rx_bytes += frames[i].len;
		if (__builtin_expect(!begin(&road, &frames[i], &start), 0))
			take_frame(w, t, &frames[i]);
		else if (__builtin_expect(is_for_endpoint(t, &start), 1))
			enter(t, &frames[i], &start, end++);
		else
			enter_side(t, &frames[i], vip_key_of_packet(start.data + 30, start.protocol), start.inner_bytes, &side);
	}
	for (struct passage *x = passages; x < end; x++)
		if (__builtin_expect(!find_bucket(t, x), 0))
			enter_side(t, x->frame, x->key, x->inner_bytes, &side);
	w->counters.rx_bytes += rx_bytes;
	const uint32_t n_gateways = g->n;
	const __m128i first_start = g->starts[0];
	struct vip_traffic *const vips = w->vips->endpoints;
	uint64_t n_forwarded = 0;
	uint64_t inner_bytes = 0;
	for (struct passage *x = passages; x < end; x++) {
		const struct vip_entry *e = x->entry; // read before anything is written through a byte pointer
		const uint32_t n_bytes = x->inner_bytes;
		const int16_t owner = (int16_t)*x->owner;
		if (__builtin_expect(owner < 0, 0)) { // BUCKET_HAD_OTHERS
			if (e != NULL)
				enter_history(w->pins, x, &history);
			continue;
		}
		finish(x->frame, __builtin_expect(n_gateways == 1, 1) ? first_start : g->starts[(uint32_t)x->hash % n_gateways],
		       &e->templates[owner], n_bytes);
		count_vip(&vips[e->slot], n_bytes);
		inner_bytes += n_bytes;
		n_forwarded++;
	}
	w->counters.forwarded_packets += n_forwarded;
	w->counters.forwarded_bytes += inner_bytes + n_forwarded * (ETH_BYTES + ENCAP_BYTES);
	if (history.n > 0)
		take_history(w, g, &history);
	if (side.n > 0)
		take_side(w, t, g, &side);
}

void mux_pipeline_burst(struct mux_worker *w, const struct mux_tables *tables, struct mux_frame *frames, uint32_t n)
{
	struct gateways gateways;
	w->counters.rx_packets += n;
	find_gateways(&gateways, w);
	if (tables != NULL && gateways.n > 0) {
		take_burst(w, tables, &gateways, frames, n);
		return;
	}
	for (uint32_t i = 0; i < n; i++) {
		w->counters.rx_bytes += frames[i].len;
		take_frame(w, tables, &frames[i]);
	}
}
