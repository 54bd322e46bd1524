#include "mux/core/pin_intake.h"

#include "common/packet/pin.h"
#include "mux/core/family.h"

// Not heard before, and of this minute. Without pins it does not matter.
static bool is_fresh(struct mux_worker *w, uint32_t slot, be32 sender, const struct pin_message *m)
{
	uint64_t now_us = w->now_real_us;
	uint64_t skew_us = m->stamp_us > now_us ? m->stamp_us - now_us : now_us - m->stamp_us;
	if (w->pins == NULL)
		return true;
	return skew_us <= PIN_STAMP_SKEW_US && pin_stamps_advance(&w->pins->stamps, slot, sender, m->stamp_us);
}

// 0: not known here. What looks like a name is none when it comes as an address.
static be32 short_addr(const struct mux_tables *t, const struct pin_addr *addr)
{
	if (!pin_addr_is_ip4(addr))
		return family_find_name(t->names, addr->bytes);
	return addr_is_name(pin_addr_to_ip4(addr)) ? 0 : pin_addr_to_ip4(addr);
}

static uint64_t hash_of_pin(const struct pin *pin, uint64_t seed)
{
	if (!pin_addr_is_ip4(&pin->vip))
		return flow_hash_v6(pin->remote.bytes, pin->vip.bytes, pin->remote_port, pin->vip_port, pin->protocol, seed);
	return flow_hash_v4(pin_addr_to_ip4(&pin->remote), pin_addr_to_ip4(&pin->vip), pin->remote_port, pin->vip_port,
	                    pin->protocol, seed);
}

// A pin for an endpoint that the tables have, in a bucket that asks for pins, to a DIP that has a template.
static void take_pin(struct mux_worker *w, const struct mux_tables *t, const struct pin *pin)
{
	uint8_t protocol = ip_protocol_of_endpoint(pin->protocol);
	be32 pin_dip = short_addr(t, &pin->dip);
	const struct vip_entry *e = vip_lookup(t, short_addr(t, &pin->vip), pin->vip_port, protocol);
	uint64_t hash = hash_of_pin(pin, t->hash_seed);
	uint32_t dip = NOT_A_DIP;
	if (w->pins != NULL && e != NULL && pin_dip != 0 &&
	    (e->owners[flow_bucket(hash, e->n_buckets)] & BUCKET_HAD_OTHERS) != 0)
		dip = vip_entry_lookup_dip(e, pin_dip);
	if (dip == NOT_A_DIP) {
		w->counters.pins_ignored++;
		return;
	}
	w->counters.pins_taken++;
	w->counters.pins_evicted += pins_insert(w->pins, hash, pin_dip, (uint16_t)dip);
}

enum drop_reason pin_intake_take(struct mux_worker *w, const struct mux_tables *t, const uint8_t *frame,
                                 const struct parsed *p)
{
	const struct udp_header *udp = (const struct udp_header *)(frame + p->l4_off);
	const uint8_t *message = (const uint8_t *)(udp + 1);
	uint32_t n_bytes = (uint32_t)(p->l3_off + p->l3_bytes - p->l4_off) - (uint32_t)sizeof *udp;
	uint32_t slot = pin_senders_lookup(t->pin_senders, p->src);
	struct pin_addr sender = p->is_ip6 ? pin_addr_from_ip6(parsed_src6(frame, p)) : pin_addr_from_ip4(p->src);
	struct pin_message m;
	if (be16_to(udp->length) != sizeof *udp + n_bytes || !pin_message_is_well_formed(message, n_bytes, t->cluster_id))
		return DROP_PIN_MALFORMED;
	if (slot == PIN_SENDER_NONE || !pin_message_is_authentic(message, n_bytes, &sender, t->pin_key))
		return DROP_PIN_FORGED;
	pin_message_decode(message, &m);
	if (!is_fresh(w, slot, p->src, &m))
		return DROP_PIN_REPLAYED;
	w->counters.pin_messages++;
	for (uint32_t i = 0; i < m.n_pins; i++)
		take_pin(w, t, &m.pins[i]);
	return DROP_NONE;
}
