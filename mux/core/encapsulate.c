#include "mux/core/encapsulate.h"

#include "mux/core/family.h"
#include "mux/core/oversized.h"

// Where packets to the DIP of a template go: the DIP, or its via.
static be32 way_of(const struct mux_worker *w, const struct encap_template *template)
{
	if (template->src != 0 || w->tables == NULL)
		return template->dst;
	return vias_way_to(&w->tables->vias, template->dst);
}

uint32_t encapsulate_overhead(const struct mux_worker *w, const struct encap_template *template)
{
	return addr_is_name(way_of(w, template)) ? ENCAP6_BYTES : ENCAP_BYTES;
}

// Makes room for Ethernet and outer header. False: there is no gateway of this family.
static bool begin(struct mux_worker *w, struct mux_frame *f, bool is_ip6, uint64_t hash, uint32_t inner_bytes)
{
	uint32_t overhead = is_ip6 ? ENCAP6_BYTES : ENCAP_BYTES;
	const struct mac *gateway = neighbor_table_select(is_ip6 ? &w->neighbors6 : &w->neighbors, (uint32_t)hash);
	if (gateway == NULL || (is_ip6 ? !w->settings.has_address6 : w->settings.address == 0)) {
		mux_drop(w, f, DROP_NO_NEXT_HOP);
		return false;
	}
	f->data -= overhead;
	f->len = ETH_BYTES + overhead + inner_bytes;
	if (is_ip6)
		eth_write_ip6(f->data, gateway, &w->settings.mac);
	else
		eth_write_ip4(f->data, gateway, &w->settings.mac);
	f->verdict = MUX_TO_UPLINK;
	f->reason = DROP_NONE;
	w->counters.forwarded_packets++;
	w->counters.forwarded_bytes += f->len;
	return true;
}

bool encapsulate(struct mux_worker *w, struct mux_frame *f, const struct encap_template *template, uint64_t hash,
                 uint32_t inner_bytes)
{
	const be32 to = way_of(w, template);
	const bool is_ip6 = addr_is_name(to);
	const bool inner_is_ip6 = f->data[ETH_BYTES] >> 4 == 6;
	if (inner_bytes + (is_ip6 ? ENCAP6_BYTES : ENCAP_BYTES) > w->settings.mtu)
		return oversized_take(w, f, template, hash, inner_bytes);
	if (!begin(w, f, is_ip6, hash, inner_bytes))
		return false;
	uint8_t *outer = f->data + ETH_BYTES;
	if (is_ip6) {
		encap_write_ip6(outer, w->settings.address6, addr_name_address(w->settings.names, to), inner_bytes,
		                inner_is_ip6, 0);
		return true;
	}
	struct encap_template plain = *template;
	if (template->src == 0)
		encap_template_init(&plain, w->settings.address, to);
	if (inner_is_ip6)
		encap_write_ip4_around_ip6(outer, &plain, inner_bytes, 0);
	else
		encap_write_ip4(outer, &plain, inner_bytes, 0);
	return true;
}
