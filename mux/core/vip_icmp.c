#include "mux/core/vip_icmp.h"

#include "common/packet/icmp_error.h"
#include "mux/core/encapsulate.h"
#include "mux/core/family.h"
#include "mux/core/history_road.h"
#include "mux/core/snat_road.h"

void vip_icmp_take_echo_reply(struct mux_worker *w, const struct mux_tables *t, struct mux_frame *f,
                              const struct parsed *p, const struct vip_entry *vip)
{
	const struct icmp_header *icmp = (const struct icmp_header *)(f->data + p->l4_off);
	be32 dip = lessee_of(vip, icmp->id);
	if (dip != 0)
		snat_send_to_lessee(w, t, f, p, vip, dip);
	else
		mux_drop(w, f, DROP_ICMP_UNKNOWN);
}

// Was the packet inside sent by whom the error goes to?
static bool is_from_vip(const uint8_t *frame, const struct parsed *p, const struct icmp_error *e)
{
	if (p->is_ip6)
		return memcmp(icmp_error_src6(frame, e), parsed_dst6(frame, p), IP6_ADDR_BYTES) == 0;
	return e->src == p->dst;
}

static uint64_t hash_of_error(const uint8_t *frame, const struct icmp_error *e, uint64_t seed)
{
	if (e->is_ip6)
		return flow_hash_v6(icmp_error_dst6(frame, e), icmp_error_src6(frame, e), e->dst_port, e->src_port, e->protocol,
		                    seed);
	return flow_hash_v4(e->dst, e->src, e->dst_port, e->src_port, e->protocol, seed);
}

// An error goes where the connection's packets go: its packet inside was sent by the VIP, so that a client's packet has the same
// addresses and ports turned round.
be32 vip_icmp_dip_of_error(struct mux_worker *w, const struct mux_tables *t, const uint8_t *frame,
                           const struct parsed *p, const struct vip_entry *vip, uint64_t *ret_hash)
{
	struct icmp_error inside;
	if (icmp_error_parse(frame, p, &inside) != DROP_NONE || !is_from_vip(frame, p, &inside))
		return 0;
	uint64_t hash = hash_of_error(frame, &inside, t->hash_seed);
	uint8_t protocol = ip_protocol_of_endpoint(inside.protocol);
	const struct vip_entry *e = ip_protocol_is_icmp(protocol) ? NULL : vip_lookup(t, p->dst, inside.src_port, protocol);
	*ret_hash = hash;
	return e != NULL ? history_template_of(w, e, hash)->dst : lessee_of(vip, inside.src_port);
}

void vip_icmp_take_error(struct mux_worker *w, const struct mux_tables *t, struct mux_frame *f, const struct parsed *p,
                         const struct vip_entry *vip)
{
	uint64_t hash;
	be32 dip = vip_icmp_dip_of_error(w, t, f->data, p, vip, &hash);
	if (dip == 0) {
		mux_drop(w, f, DROP_ICMP_UNKNOWN);
		return;
	}
	struct encap_template template = mux_tables_template_to(t, dip);
	if (!encapsulate(w, f, &template, hash, p->l3_bytes))
		return;
	w->counters.icmp_errors_steered++;
	w->vips->icmp_errors_steered[vip->slot]++;
}
