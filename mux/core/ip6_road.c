#include "mux/core/ip6_road.h"

#include "common/model/flow_hash.h"
#include "mux/core/history_road.h"

enum {
	SRC_OFF = ETH_BYTES + 8,
	DST_OFF = ETH_BYTES + 24,
	PORTS_OFF = ETH_BYTES + IP6_BYTES,
	TCP6_FRAME_BYTES_MIN = ETH_BYTES + IP6_TCP_BYTES
};

// ---- stage 1: parse and hash; begin to load the name ----

struct ip6_rule {
	__m128i want; // what the first 16 bytes of a frame must be,
	__m128i mask; // where these bits are set
	uint32_t longest_beyond_min; // frame that fits with its outer header, beyond TCP6_FRAME_BYTES_MIN
};

// By the first byte of the source: global unicast and unique local addresses (2000::/3, fc00::/7). The rest is looked at one by one.
static const bool is_plain_source[256] = { [0x20 ... 0x3f] = true, [0xfc ... 0xfd] = true };

static inline bool is_tcp_or_udp(const uint8_t *frame, uint32_t protocol, uint32_t content)
{
	if (__builtin_expect(protocol == IP_PROTO_TCP, 1)) {
		uint32_t options = frame[PORTS_OFF + 12] - 0x50u; // their words in the upper four bits
		return options <= (content * 4 | 15);
	}
	return protocol == IP_PROTO_UDP && load16(frame + PORTS_OFF + 6) != 0;
}

// Returns the packet's bytes; 0 when it is for another road.
static inline uint32_t begin(const struct ip6_rule *r, const struct mux_frame *f)
{
	const uint8_t *d = f->data;
	const uint32_t beyond_min = f->len - TCP6_FRAME_BYTES_MIN;
	if (__builtin_expect(beyond_min > r->longest_beyond_min, 0)) // too long, or (below 0 is very large) too short
		return 0;
	__m128i is_other = _mm_xor_si128(_mm_loadu_si128((const __m128i *)d), r->want);
	if (__builtin_expect(!_mm_testz_si128(is_other, r->mask), 0))
		return 0;
	const uint32_t content = be16_to(load16(d + 18)) - 20u;
	if (__builtin_expect(content > beyond_min || !is_plain_source[d[SRC_OFF]] || !is_tcp_or_udp(d, d[20], content), 0))
		return 0;
	return content + IP6_TCP_BYTES;
}

static inline void fill(struct ip6_passage *x, struct mux_frame *f, const struct addr_names *names, uint64_t seed,
                        uint32_t inner_bytes)
{
	const uint8_t *d = f->data;
	const uint32_t ports = load32(d + PORTS_OFF);
	const uint64_t protocol = (uint64_t)d[20] << 32;
	x->slot = addr_names_start(names, d + DST_OFF);
	__builtin_prefetch(x->slot);
	x->frame = f;
	x->inner_bytes = inner_bytes;
	x->key =
		(uint64_t)(ports & 0xffff0000u) << 32 | protocol | VIP_KEY_IP6; // as vip_key(0, destination port, protocol)
	x->hash =
		flow_hash_words(flow_hash_addrs6(d + SRC_OFF, d + DST_OFF, seed), (ports << 16 | ports >> 16) | protocol, seed);
}

uint32_t ip6_road_enter(struct ip6_road *r, const struct mux_worker *w, const struct mux_tables *t,
                        struct mux_frame *frames, uint32_t n, uint64_t *ret_bytes)
{
	const struct addr_names *const names = w->settings.names;
	const uint64_t seed = t->hash_seed;
	const struct ip6_rule rule = {
		.want = start_of_frame_of(w->mac48, 0, ETHER_IP6, 0x60),
		.mask = _mm_set_epi64x(0xf0ffffull << 32, (long long)MAC48), // destination MAC; Ethernet type, version
		.longest_beyond_min = w->settings.mtu - ENCAP6_BYTES - IP6_TCP_BYTES,
	};
	struct ip6_passage *next = r->passages + r->n;
	struct ip6_passage *next_leased = r->passages + MUX_BURST_MAX - r->n_leased - 1;
	uint64_t n_bytes = 0;
	uint32_t i = 0;
	if (!r->has_gateways)
		gateways_find6(&r->gateways, w);
	r->has_gateways = true;
	if (names == NULL || w->settings.mtu < ENCAP6_BYTES + IP6_TCP_BYTES)
		return 0;
	for (; i < n; i++) {
		const uint32_t inner_bytes = begin(&rule, &frames[i]);
		if (__builtin_expect(inner_bytes == 0, 0))
			break;
		n_bytes += frames[i].len;
		const be16 port = load16(frames[i].data + PORTS_OFF + 2);
		if (__builtin_expect(t->endpoint_ports[endpoint_port_bin(port)] != 0, 1))
			fill(next++, &frames[i], names, seed, inner_bytes);
		else
			fill(next_leased--, &frames[i], names, seed, inner_bytes);
	}
	r->n = (uint32_t)(next - r->passages);
	r->n_leased = (uint32_t)(r->passages + MUX_BURST_MAX - 1 - next_leased);
	*ret_bytes = n_bytes;
	return i;
}

// ---- stage 2: the name; begin to load the line ----

static inline be32 name_of(const struct addr_names *names, const struct ip6_passage *x)
{
	return addr_names_lookup_from(names, x->slot, x->frame->data + DST_OFF);
}

static inline uint64_t own_key(const struct ip6_passage *x)
{
	return vip_own_key_ip4((be32)x->key) | VIP_KEY_IP6;
}

static inline void load_line(const struct mux_tables *t, struct ip6_passage *x, uint64_t key)
{
	x->line = &t->lines[vip_line_at(key, t->line_shift)];
	__builtin_prefetch(x->line);
}

// ---- stage 3: endpoint or VIP; begin to load the owner of the bucket, or the lessee ----

static inline const struct vip_entry *find_entry(const struct mux_tables *t, const struct vip_line *line, uint64_t key)
{
	const struct vip_entry *e = vip_line_lookup(line, key);
	return __builtin_expect(e != NULL, 1) ? e : vip_lookup_key(t, key);
}

static inline bool find_lessee(const struct mux_tables *t, struct ip6_passage *x)
{
	const struct vip_entry *e = find_entry(t, x->line, own_key(x));
	x->entry = e;
	if (__builtin_expect(e == NULL || e->snat == NULL, 0))
		return false;
	x->lessee = snat_map_at(e->snat, be16_to((be16)(x->key >> 48)));
	__builtin_prefetch((const void *)x->lessee);
	return true;
}

static inline bool find_owner(const struct mux_tables *t, struct ip6_passage *x)
{
	const struct vip_entry *e = find_entry(t, x->line, x->key);
	x->entry = e;
	if (__builtin_expect(e == NULL, 0))
		return false;
	x->owner = &e->owners[flow_bucket(x->hash, e->n_buckets)];
	__builtin_prefetch(x->owner);
	return true;
}

// ---- stage 4: the DIP's address, and the outer header ----

// What is constant for a burst, and what is counted: see struct passage_sender.
struct ip6_sender {
	const struct gateways *gateways;
	uint32_t n_gateways;
	__m128i first_start;
	const struct addr_names *names;
	struct vip_traffic *vips;
	__m128i own_address;
	uint64_t n, inner_bytes; // with outer headers over IPv6
};

static inline struct ip6_sender sender_of(const struct mux_worker *w, const struct gateways *g,
                                          struct vip_traffic *vips)
{
	return (struct ip6_sender){ .gateways = g,
		                        .n_gateways = g->n,
		                        .first_start = g->starts[0],
		                        .names = w->settings.names,
		                        .vips = vips,
		                        .own_address = _mm_loadu_si128((const __m128i *)w->settings.address6) };
}

static inline void send_one(struct ip6_sender *s, const struct ip6_passage *x, be32 dip)
{
	struct mux_frame *f = x->frame;
	const uint32_t n_bytes = x->inner_bytes;
	const uint32_t slot = x->entry->slot; // read before anything is written through a byte pointer
	const __m128i address = _mm_loadu_si128((const __m128i *)addr_name_address(s->names, dip));
	const __m128i start = gateways_choose(s->gateways, s->n_gateways, s->first_start, x->hash);
	uint8_t *out = f->data - ENCAP6_BYTES;
	encap_write_ip6(out + ETH_BYTES, (const uint8_t *)&s->own_address, (const uint8_t *)&address, n_bytes, true, 0);
	_mm_storeu_si128((__m128i *)out, start);
	f->data = out;
	f->len = ETH_BYTES + ENCAP6_BYTES + n_bytes;
	f->verdict = MUX_TO_UPLINK;
	f->reason = DROP_NONE;
	count_vip(&s->vips[slot], n_bytes);
	s->n++;
	s->inner_bytes += n_bytes;
}

// By the way that the DIP has, if it has one. Returns whether it went.
APART static bool send_by_way(struct mux_worker *w, const struct mux_tables *t, const struct ip6_passage *x,
                              struct vip_traffic *vips, be32 dip)
{
	struct encap_template template = mux_tables_template_to(t, dip);
	if (!encapsulate(w, x->frame, &template, x->hash, x->inner_bytes))
		return false;
	count_vip(&vips[x->entry->slot], x->inner_bytes);
	return true;
}

static inline void count_sent(struct mux_worker *w, uint64_t n, uint64_t inner_bytes)
{
	w->counters.forwarded_packets += n;
	w->counters.forwarded_bytes += inner_bytes + n * (ETH_BYTES + ENCAP6_BYTES);
}

static inline void send_to_owners(struct mux_worker *w, const struct mux_tables *t, const struct gateways *g,
                                  const struct ip6_passage *passages, const struct ip6_passage *end)
{
	struct ip6_sender s = sender_of(w, g, w->vips->endpoints);
	for (const struct ip6_passage *x = passages; x < end; x++) {
		be32 dip = x->entry->templates[*x->owner].dst;
		if (__builtin_expect(addr_is_name(dip), 1)) // a VIP's DIPs are of its family
			send_one(&s, x, dip);
		else
			(void)send_by_way(w, t, x, s.vips, dip);
	}
	count_sent(w, s.n, s.inner_bytes);
}

// Where endpoints have histories, or DIPs ways of the other family.
APART static void send_to_pins(struct mux_worker *w, const struct mux_tables *t, const struct ip6_passage *passages,
                               const struct ip6_passage *end)
{
	for (const struct ip6_passage *x = passages; x < end; x++)
		if (w->pins != NULL && (*x->owner & BUCKET_HAD_OTHERS) != 0)
			__builtin_prefetch(pins_set_of(w->pins, x->hash));
	for (const struct ip6_passage *x = passages; x < end; x++)
		(void)send_by_way(w, t, x, w->vips->endpoints, history_template_of(w, x->entry, x->hash)->dst);
}

// ---- the burst ----

static uint32_t leave(const struct ip6_passage *passages, const struct ip6_passage *end, struct mux_frame **ret_left)
{
	for (const struct ip6_passage *x = passages; x < end; x++)
		*ret_left++ = x->frame;
	return (uint32_t)(end - passages);
}

// What is no endpoint's may be a leased port's: it goes over to those.
static struct ip6_passage *take_endpoints(struct ip6_road *r, struct mux_worker *w, const struct mux_tables *t,
                                          const struct gateways *g, struct ip6_passage *leased)
{
	struct ip6_passage *end = r->passages + r->n;
	for (struct ip6_passage *x = r->passages; x < end; x++) {
		x->key |= name_of(w->settings.names, x);
		load_line(t, x, x->key);
	}
	for (struct ip6_passage *x = r->passages; x < end;) {
		if (__builtin_expect(find_owner(t, x), 1)) {
			x++;
			continue;
		}
		struct ip6_passage gone = *x;
		*x = *--end;
		*--leased = gone; // whose place is free: there are no more passages than frames
	}
	if (t->n_flagged > 0 || t->vias.n > 0)
		send_to_pins(w, t, r->passages, end);
	else
		send_to_owners(w, t, g, r->passages, end);
	return leased;
}

APART static uint32_t take_leased(struct mux_worker *w, const struct mux_tables *t, const struct gateways *g,
                                  struct ip6_passage *passages, struct ip6_passage *end, struct mux_frame **ret_left)
{
	struct ip6_sender s = sender_of(w, g, w->vips->snat);
	uint64_t n = 0, n_bytes = 0;
	uint32_t n_left = 0;
	for (struct ip6_passage *x = passages; x < end; x++) {
		x->key |= (be32)x->key != 0 ? 0 : name_of(w->settings.names, x); // it came from an endpoint's line: it has it
		load_line(t, x, own_key(x));
	}
	static const _Atomic be32 no_lessee;
	for (struct ip6_passage *x = passages; x < end; x++)
		if (__builtin_expect(!find_lessee(t, x), 0))
			x->lessee = &no_lessee;
	for (const struct ip6_passage *x = passages; x < end; x++) {
		const be32 dip = atomic_load_explicit(x->lessee, memory_order_relaxed);
		if (__builtin_expect(dip == 0, 0)) {
			ret_left[n_left++] = x->frame;
			continue;
		}
		if (__builtin_expect(addr_is_name(dip) && t->vias.n == 0, 1))
			send_one(&s, x, dip);
		else if (!send_by_way(w, t, x, s.vips, dip))
			continue;
		n++;
		n_bytes += x->inner_bytes;
	}
	count_sent(w, s.n, s.inner_bytes);
	w->counters.snat_packets += n;
	w->counters.snat_bytes += n_bytes;
	return n_left;
}

uint32_t ip6_road_take(struct ip6_road *r, struct mux_worker *w, const struct mux_tables *t,
                       struct mux_frame **ret_left)
{
	const struct gateways *g = &r->gateways;
	struct ip6_passage *const end = r->passages + MUX_BURST_MAX;
	struct ip6_passage *leased = end - r->n_leased;
	if (g->n == 0) {
		uint32_t n_left = leave(r->passages, r->passages + r->n, ret_left);
		return n_left + leave(leased, end, ret_left + n_left);
	}
	leased = take_endpoints(r, w, t, g, leased);
	return leased < end ? take_leased(w, t, g, leased, end, ret_left) : 0;
}
