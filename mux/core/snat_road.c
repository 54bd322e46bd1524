#include "mux/core/snat_road.h"

#include "mux/core/answer.h"
#include "mux/core/family.h"

#define OTHER_PROTOCOLS (0xe0ull << 32) // in a key: a bit of it is set for what is neither TCP nor UDP

// ---- one packet ----

void snat_send_to_lessee(struct mux_worker *w, const struct mux_tables *t, struct mux_frame *f, const struct parsed *p,
                         const struct vip_entry *vip, be32 dip)
{
	struct encap_template template = mux_tables_template_to(t, dip);
	uint64_t hash = family_hash(f->data, p, t->hash_seed);
	if (!encapsulate(w, f, &template, hash, p->l3_bytes))
		return;
	count_vip(&w->vips->snat[vip->slot], p->l3_bytes);
	w->counters.snat_packets++;
	w->counters.snat_bytes += p->l3_bytes;
}

// What no one listens to is dropped in silence, but for the last probe of a traceroute: its TTL just reached the VIP, and it ends by
// this answer (RFC 1122 section 3.2.2.1). A scan learns nothing, and a flood costs no answers.
static uint8_t packet_ttl(const uint8_t *frame, const struct parsed *p)
{
	const uint8_t *ip = frame + p->l3_off;
	return p->is_ip6 ? ((const struct ip6_header *)ip)->hop_limit : ((const struct ip4_header *)ip)->ttl;
}

static void refuse(struct mux_worker *w, struct mux_frame *f, const struct parsed *p, enum drop_reason reason)
{
	struct icmp_answer answer = icmp_answer_make(p, ICMP_SAYS_PORT, 0);
	if (p->protocol == IP_PROTO_UDP && packet_ttl(f->data, p) == 1)
		answer_with_error(w, f, p, &answer, reason);
	else
		mux_drop(w, f, reason);
}

void snat_take(struct mux_worker *w, const struct mux_tables *t, struct mux_frame *f, const struct parsed *p,
               const struct vip_entry *vip)
{
	be32 dip = lessee_of(vip, p->dst_port);
	if (dip != 0)
		snat_send_to_lessee(w, t, f, p, vip, dip);
	else
		refuse(w, f, p, snat_reason_of(vip, p->dst_port));
}

// ---- in a burst ----

// The entry of a key; this is its first line.
static inline const struct vip_entry *find_entry(const struct mux_tables *t, const struct vip_line *line, uint64_t key)
{
	const struct vip_entry *e = vip_line_lookup(line, key);
	if (__builtin_expect(e != NULL, 1) || line->entries[VIP_LINE_ENTRIES - 1].key == 0)
		return e;
	return vip_lookup_key(t, key);
}

// Stage 2: the VIP, and begin to load who has the port. False when there is no such VIP, or nobody leases its ports.
static inline bool find_lessee(const struct mux_tables *t, struct snat_passage *x)
{
	const struct vip_entry *e = find_entry(t, x->line, vip_own_key_ip4((be32)x->key));
	x->entry = e;
	if (__builtin_expect(e == NULL || e->snat == NULL || (x->key & OTHER_PROTOCOLS) != 0, 0))
		return false;
	x->lessee = snat_map_at(e->snat, be16_to((be16)(x->key >> 48)));
	__builtin_prefetch((const void *)x->lessee);
	return true;
}

// The hash is of use where there is a choice of gateways only.
static inline __m128i start_to(const struct gateways *g, const struct mux_tables *t, const struct mux_frame *f)
{
	if (__builtin_expect(g->n == 1, 1))
		return g->starts[0];
	const uint8_t *d = f->data;
	uint64_t hash = flow_hash_v4(load32(d + 26), load32(d + 30), load16(d + 34), load16(d + 36), d[23], t->hash_seed);
	return g->starts[(uint32_t)hash % g->n];
}

// Where a DIP may need more than its address and the mux's: one after the other.
static uint32_t leave_all(const struct snat_road *r, struct mux_frame **ret_left)
{
	for (uint32_t i = 0; i < r->n; i++)
		ret_left[i] = r->passages[i].frame;
	return r->n;
}

uint32_t snat_road_take(struct snat_road *r, struct mux_worker *w, const struct mux_tables *t, const struct gateways *g,
                        struct mux_frame **ret_left)
{
	static const _Atomic be32 no_lessee;
	struct snat_passage *const end = r->passages + r->n;
	if (__builtin_expect(t->vias.n > 0 || t->to_dip.src == 0, 0))
		return leave_all(r, ret_left);
	for (struct snat_passage *x = r->passages; x < end; x++)
		if (__builtin_expect(!find_lessee(t, x), 0))
			x->lessee = &no_lessee;
	const struct encap_template to_dip = t->to_dip;
	struct vip_traffic *const vips = w->vips->snat;
	uint32_t n_left = 0;
	uint64_t n_forwarded = 0;
	uint64_t inner_bytes = 0;
	for (const struct snat_passage *x = r->passages; x < end; x++) {
		struct mux_frame *f = x->frame;
		const struct vip_entry *e = x->entry;
		const uint32_t n_bytes = x->inner_bytes;
		be32 dip = atomic_load_explicit(x->lessee, memory_order_relaxed);
		if (__builtin_expect(addr_is_name(dip), 0)) { // as 0 is
			ret_left[n_left++] = f;
			continue;
		}
		struct encap_template template = encap_template_to(&to_dip, dip);
		encapsulate_checked(f, start_to(g, t, f), &template, n_bytes);
		count_vip(&vips[e->slot], n_bytes);
		inner_bytes += n_bytes;
		n_forwarded++;
	}
	count_forwarded(w, n_forwarded, inner_bytes);
	w->counters.snat_packets += n_forwarded;
	w->counters.snat_bytes += inner_bytes;
	return n_left;
}
